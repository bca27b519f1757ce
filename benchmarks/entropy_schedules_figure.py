"""The figure of ``entropy_schedules``: the frontier of fixed arms in each world, and what is held against it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from toybed import plotting
from toybed.benchmarks.entropy_schedules_sweep import (
    BLOCKS,
    CHALLENGERS,
    MEASURES,
    PLACES,
    coefficient_arms,
    target_arms,
)
from toybed.stats import Interval, mean_interval
from toybed.study import Records

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FIXED, TARGET, CHANGING, LEARNED = (plotting.COLOURS[i] for i in (0, 1, 2, 3))


def figure(records: Mapping[str, Records]) -> Figure:
    """Pass@1 against pass@64 in each world, and the learned schedule."""
    with plotting.grid(2, 2, width=5.6, height=4.2) as (page, rows):
        *worlds, last = (axes for row in rows for axes in row)
        for axes, place in zip(worlds, PLACES, strict=True):
            _draw_world(axes, records, place)
        _draw_learned(last, records)
    return page


def _draw_world(axes: Axes, records: Mapping[str, Records], place: str) -> None:
    coefficients = _found(records, coefficient_arms(place))
    line = [(x.estimate, y.estimate) for x, y in coefficients.values()]
    axes.plot([x for x, _ in line], [y for _, y in line], "o-", color=FIXED, markersize=4, linewidth=1.0)
    for x, y in _found(records, target_arms(place)).values():
        axes.plot(x.estimate, y.estimate, "s", color=TARGET, markersize=4.5)
    labels = {"no bonus": line[0]} if f"{place}/bonus_0" in coefficients else {}
    for name, (x, y) in _found(records, [f"{place}/{arm}" for arm in CHALLENGERS]).items():
        colour = LEARNED if name.endswith("/meta") else CHANGING
        across, up = x.estimate - x.low, y.estimate - y.low
        axes.errorbar(x.estimate, y.estimate, up, across, fmt="o", color=colour, markersize=4, elinewidth=0.6)
        labels[CHALLENGERS[name.split("/")[1]]] = x.estimate, y.estimate
    axes.set(title=PLACES[place].name.capitalize(), xlabel="held-out pass@1", ylabel="held-out pass@64")
    axes.margins(0.1)
    plotting.label_points(axes, labels)


def _found(records: Mapping[str, Records], names: Sequence[str]) -> dict[str, tuple[Interval, Interval]]:
    """Intervals of pass@1 and pass@64 of the arms that have a value."""
    known = {
        name: (mean_interval(records[name].at(MEASURES[0], -1)), mean_interval(records[name].at(MEASURES[1], -1)))
        for name in names
        if name in records
    }
    return {name: (x, y) for name, (x, y) in known.items() if x.n and y.n}


def _draw_learned(axes: Axes, records: Mapping[str, Records]) -> None:
    edges = np.linspace(0, 1, BLOCKS + 1)
    axes.plot((0, 1), (1, 1), color=FIXED, linewidth=1.0)
    axes.annotate("where it began", (1, 1), xytext=(-2, 3), textcoords="offset points", ha="right", fontsize=8)
    place = next(iter(PLACES))
    own = records.get(f"{place}/meta")
    if own is not None and own.setting is not None:
        for values in own.setting.objective.blocks.values():
            multiples = np.array(values) / PLACES[place].reference
            axes.stairs(multiples, edges, baseline=None, color=LEARNED, linewidth=1.8)
    axes.set(title="The learned bonus", xlabel="progress of the run", ylabel="in multiples of the reference")
    axes.set_ylim(bottom=0)
