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
RANKS = ("most used option", "second", "third", "fourth")
ROWS = {
    "joint/main": "joint training",
    "joint/alternating": "alternating",
    "maml/main": "MAML",
    "bonus/main": "entropy bonus",
    "soft/main": "soft actor-critic",
    "visible": "type visible",
}
OPTIMUM = "optimum"
MET = 0.01  # of all choices: a phase that is met less often is left blank
NAMED_FROM = 0.3  # of a bar: a smaller part has no room for a name


def shares(records: Records) -> Array:
    """Share of all choices with a named type, by phase and rank of the option, ``[3, 4, 4]``, mean over runs.

    Options that are learned from scratch have no meaning before: each run's are ranked by how often it takes them.
    """
    places = range(len(OPTIONS))
    names = [[[f"adapted_option_{user}_{w}_{o}" for o in places] for w in places] for user in range(len(NAMED))]
    each = np.array([[[records[n][:, -1] for n in row] for row in user] for user in names])  # [3, 4, 4, n]
    ranked = np.stack([_ranked(run) for run in np.moveaxis(each, -1, 0)], -1)
    ranked[..., ~records.sound] = np.nan
    return np.apply_along_axis(mean_of_found, -1, ranked)


def _ranked(options: Array) -> Array:
    """``[3, 4, 4]`` with the options in the order of their use."""
    return options[..., ranks(options)]


def ranks(options: Array) -> NDArray[np.int64]:
    """The options of ``[3, 4, 4]``, the most used first."""
    return np.argsort(-options.sum((0, 1)), kind="stable")


@cache
def optimum() -> Array:
    """The same, by option, of the best master with fixed specialists as sub-policies, ``[3, 4, 4]``."""
    from toybed.envs import make

    world: Any = make("mi_dialogue", **{**WORLD, "level": "option", "see_type": True})
    table = world.optimal_policy()
    options = world.evaluate_each(table.expand(world.n_prompts, *table.shape)).options
    found: Array = options[: len(NAMED)].numpy()
    return found


def figure(records: Mapping[str, Records]) -> Figure:
    """A row for each condition, a column for each named type; bars are phases, colours options by their use."""
    from matplotlib.patches import Patch

    rows = [name for name in ROWS if name in records]
    with plotting.grid(len(rows) + 1, len(NAMED), width=2.6, height=1.0) as (page, axes):
        for line, row in zip(axes, rows, strict=False):
            for cell, by_phase in zip(line, shares(records[row]), strict=True):
                _draw(cell, by_phase)
        order = ranks(optimum())
        for cell, by_phase in zip(axes[-1], _ranked(optimum()), strict=True):
            _draw(cell, by_phase, [OPTIONS[place] for place in order])
            cell.set_xticks(range(len(OPTIONS)), OPTIONS)
            cell.set_xlabel("phase of the ladder")
        for line, title in zip(axes, [*(ROWS[row] for row in rows), OPTIMUM], strict=True):
            line[0].set_ylabel(title, rotation=0, ha="right", va="center", fontweight="bold")
        for user, cell in zip(NAMED, axes[0], strict=True):
            cell.set_title(f"{user} user")
        handles = [Patch(color=colour, label=name) for name, colour in zip(RANKS, _COLOURS, strict=True)]
        page.legend(handles=handles, loc="outside upper center", ncols=len(RANKS), frameon=False)
    return page


_COLOURS = tuple(plotting.COLOURS[place] for place in (6, 3, 5, 2))


def _draw(axes: Axes, by_phase: Array, names: list[str] | None = None) -> None:
    """Stacked bars of the options in each phase that is met, with their names where there is room."""
    met = by_phase.sum(1)
    place = np.flatnonzero(np.nan_to_num(met) > MET)
    part = by_phase[place] / met[place, None]
    bottom = np.zeros(len(place))
    for option, colour in enumerate(_COLOURS):
        axes.bar(place, part[:, option], bottom=bottom, color=colour, width=0.84)
        for x, y, height in zip(place, bottom, part[:, option], strict=True):
            if names is not None and height > NAMED_FROM:
                axes.text(float(x), float(y + height / 2), names[option], ha="center", va="center", fontsize=7.5)
        bottom = bottom + part[:, option]
    axes.set(xlim=(-0.6, 3.6), ylim=(0, 1), xticks=[], yticks=[])
    axes.grid(visible=False)
