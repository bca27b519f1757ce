"""The figure of ``reversibility``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from toybed import plotting
from toybed.benchmarks.reversibility_measures import COVERAGE, HALF, MANY, ONE, chosen, collapses, last
from toybed.benchmarks.reversibility_sweep import FREE, OBJECTIVES, REMEDIES, SHARPENED, TRAINED
from toybed.stats import mean_interval, mean_of_found
from toybed.study import Records

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def figure(records: Mapping[str, Records]) -> Figure:
    """Coverage against pass@1 for everything that was tried after each collapse, and each remedy's shares."""
    worlds = collapses(records)
    with plotting.panels(len(worlds) + 1, width=4.9, height=5.2) as (page, (*planes, shares)):
        _draw_shares(shares, worlds)
        for axes, (which, world) in zip(planes, worlds.items(), strict=True):
            _draw_plane(axes, world)
            axes.set(title=f"After the {which} collapse", xlabel="pass@1, held-out")
        planes[0].set_ylabel("coverage@256, held-out (logarithmic)")
    return page


HUES = dict(zip((*REMEDIES, "base"), (*plotting.COLOURS[1:7], "#7A4B00", "#7A4B00", "#777777"), strict=True))
PATHS = {
    "temperature": ("collapsed", *FREE["temperature"][1]),
    "interpolation": ("collapsed", *FREE["interpolation"][1], "base"),
    "base": ("base", *(f"base_{t:g}" for t in SHARPENED)),
    "opposite": ("collapsed", *TRAINED["opposite"][1]),
}
NOTES = {  # name, side of the text at which the point is, and how many points higher the text stands
    "temperature_2": ("temperature 2", "right", -9),
    "keep_0.6": ("interpolation 0.6", "left", -3),
    "base_0.1": ("base, T = 0.1", "right", -3),
    "opposite_24": ("24 updates with the opposite advantage", "left", -3),
    "entropy_0.1": ("entropy\nbonus", "left", -19),
    "relearn": ("opposite, then GRPO", "left", -12),
}
POINTS = {
    "base": "base",
    "collapsed": "collapsed",
    "goes_on": "GRPO goes on",
    "entropy_0.1_from_base": "bonus from the base",
    "nsr_slow": "negative samples",
    "passk_slow": "pass@k",
    "maxrl_slow": "MaxRL",
}


def _draw_plane(axes: Axes, records: Mapping[str, Records]) -> None:
    def place(arm: str) -> tuple[float, float]:
        return mean_of_found(last(records, arm, ONE)), mean_of_found(last(records, arm, COVERAGE))

    for key, path in PATHS.items():
        if all(arm in records for arm in path if arm != "base"):
            places = np.array([place(arm) for arm in path])
            style = "--" if key == "base" else "-"
            axes.plot(*places.T, style, marker=".", color=HUES[key], linewidth=1.3, markersize=5)
    for key, (_, doses) in TRAINED.items():
        for arm in (arm for arm in doses if arm in records and key != "opposite"):
            axes.plot(*place(arm), "D", color=HUES[key], markersize=6 if arm in POINTS or arm in NOTES else 3.5)
            if f"{arm}_from_base" in records:
                places = np.array([place(arm), place(f"{arm}_from_base")])
                axes.plot(*places.T, ":", color=HUES[key], linewidth=1)
                axes.plot(*places[1], "D", color=HUES[key], markersize=4.5, markerfacecolor="white")
    for arm, (name, side, up) in NOTES.items():
        if arm in records:
            shift = (6 if side == "left" else -6, up)
            note = axes.annotate(name, place(arm), xytext=shift, textcoords="offset points", ha=side)
            note.set(color=HUES.get(arm.split("_")[0], HUES["interpolation"]), fontsize=7)
    for arm, size in {"base": 7, "collapsed": 7, "goes_on": 4}.items():
        axes.plot(*place(arm), "o", color="#000000", markersize=size)
    axes.margins(x=0.1)
    axes.set_yscale("log")
    ticks = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4]
    axes.set(yticks=ticks, yticklabels=[f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    named = {name: place(arm) for arm, name in POINTS.items() if arm in records or arm == "base"}
    # Blank names keep the points free that have none.
    named |= {" " * i: place(arm) for i, arm in enumerate(OBJECTIVES, 1) if arm in records and arm not in POINTS}
    plotting.label_points(axes, {name: found for name, found in named.items() if np.isfinite(found).all()})


MARKS = {
    COVERAGE: ("o", 0.24, "coverage back"),
    MANY: ("s", 0.0, "pass@256 back"),
    ONE: ("^", -0.24, "pass@1 kept"),
}
EDGE = -0.5  # smaller shares are drawn here, as an arrow


def _draw_shares(axes: Axes, worlds: Mapping[str, Mapping[str, Records]]) -> None:
    rows = [(w, k) for w, world in worlds.items() for k, (_, doses) in REMEDIES.items() if doses[-1] in world]
    for row, (which, key) in enumerate(rows):
        _, values = chosen(worlds[which], [arm for arm in REMEDIES[key][1] if arm in worlds[which]], HALF)
        for (mark, shift, _), found in zip(MARKS.values(), values, strict=True):
            interval, y = mean_interval(found), shift - row
            axes.plot(np.maximum([interval.low, interval.high], EDGE), [y, y], color=HUES[key], linewidth=1.2)
            lost = interval.estimate < EDGE
            axes.plot(max(interval.estimate, EDGE), y, "<" if lost else mark, color=HUES[key], markersize=4.5)
    for (mark, _, name), x in zip(MARKS.values(), (0.02, 0.34, 0.68), strict=True):
        axes.plot(x, 1, mark, color="#333333", markersize=4.5, transform=axes.get_yaxis_transform())
        axes.text(x + 0.02, 1, name, transform=axes.get_yaxis_transform(), va="center", fontsize=8)
    axes.axvline(HALF, color="#555555", linewidth=0.9, linestyle=(0, (4, 4)), zorder=0)
    axes.set(
        title="Shares, and the half that is asked for",
        xlabel="share of what the collapse cost or won",
        ylim=(0.6 - len(rows), 1.5),
        yticks=[-row for row in range(len(rows))],
    )
    axes.set_yticklabels([REMEDIES[key][0] + (", 2nd" if which == "second" else "") for which, key in rows])
    axes.grid(axis="y", visible=False)
