"""The picture of ``dialogue_collapse``: option by phase and user type, for each condition, beside the optimum."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from toybed import plotting
from toybed.benchmarks.dialogue_collapse_sweep import NAMED, WORLD
from toybed.stats import mean_of_found
from toybed.study import Records

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.float64]

OPTIONS = ("engage", "focus", "evoke", "plan")
ROWS = {
    "joint/main": "joint training",
    "joint/alternating": "alternating",
    "maml/main": "MAML",
    "bonus/main": "entropy bonus",
    "visible": "type visible",
}
OPTIMUM = "optimum"
MET = 0.01  # of all choices: a phase that is met less often is left blank


def shares(records: Records, user: int) -> Array:
    """Share of all choices with a type, by phase and option, ``[4, 4]``, mean over runs."""
    names = [[f"adapted_option_{user}_{w}_{o}" for o in range(len(OPTIONS))] for w in range(len(OPTIONS))]
    return np.array([[mean_of_found(np.where(records.sound, records[n][:, -1], np.nan)) for n in row] for row in names])


@cache
def optimum() -> Array:
    """The same of the best master with fixed specialists as sub-policies, for all types, ``[K, 4, 4]``."""
    from toybed.envs import make

    world: Any = make("mi_dialogue", **{**WORLD, "level": "option", "see_type": True})
    table = world.optimal_policy()
    options = world.evaluate_each(table.expand(world.n_prompts, *table.shape)).options
    found: Array = options.numpy()
    return found


def figure(records: Mapping[str, Records]) -> Figure:
    """A row for each condition, a column for each named type; bars are phases, colours options."""
    from matplotlib.patches import Patch

    rows = [name for name in ROWS if name in records]
    with plotting.grid(len(rows) + 1, len(NAMED), width=2.6, height=1.0) as (page, axes):
        for line, name in zip(axes, [*rows, OPTIMUM], strict=True):
            for user, cell in enumerate(line):
                _draw(cell, optimum()[user] if name == OPTIMUM else shares(records[name], user))
            line[0].set_ylabel(ROWS.get(name, OPTIMUM), rotation=0, ha="right", va="center", fontweight="bold")
        for name, cell in zip(NAMED, axes[0], strict=True):
            cell.set_title(f"{name} user")
        for cell in axes[-1]:
            cell.set_xticks(range(len(OPTIONS)), OPTIONS)
            cell.set_xlabel("phase of the ladder")
        handles = [Patch(color=colour, label=f"option {o}") for o, colour in zip(OPTIONS, _COLOURS, strict=True)]
        page.legend(handles=handles, loc="outside upper center", ncols=len(OPTIONS), frameon=False)
    return page


_COLOURS = tuple(plotting.COLOURS[i] for i in (6, 3, 5, 2))


def _draw(axes: Axes, by_phase: Array) -> None:
    """Stacked bars of the options in each phase that is met."""
    met = by_phase.sum(1)
    place = np.flatnonzero(np.nan_to_num(met) > MET)
    part = by_phase[place] / met[place, None]
    bottom = np.zeros(len(place))
    for option, colour in enumerate(_COLOURS):
        axes.bar(place, part[:, option], bottom=bottom, color=colour, width=0.8)
        bottom = bottom + part[:, option]
    axes.set(xlim=(-0.6, 3.6), ylim=(0, 1), xticks=[], yticks=[])
    axes.grid(visible=False)
