"""The figure of ``two_phases``: entropies along training, the distance of the phases, and HICRA against its rivals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from toybed import plotting
from toybed.benchmarks.two_phases_measures import (
    ACCURACY,
    EXECUTION,
    LATER,
    PLANNING,
    PLANNING_ALL,
    STRATEGY_ALL,
    Array,
    entropy_lag,
    gain,
    levels,
)
from toybed.benchmarks.two_phases_sweep import ALPHAS, LEVELS, RIVALS
from toybed.stats import mean_interval
from toybed.study import Records

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLACK, BLUE, ORANGE, GREEN = plotting.COLOURS[:4]
CURVES = {
    EXECUTION: ("execution", ORANGE),
    PLANNING: ("plan, given\nproblem", BLUE),
    PLANNING_ALL: ("plan, over\nproblems", GREEN),
}
ROWS = {
    "grpo": "MLP",
    "sharp": "MLP, sharp plans",
    "tables": "tables",
    "tables_sharp": "tables, sharp plans",
    "few": "MLP, four types",
    "slow": "MLP, rate / 3",
    "fast": "MLP, rate x 3",
}
SHORT = {"plain": "no bonus", "placebo": "placebo", "reweighted": "difficulty weights"}


def figure(records: Mapping[str, Records]) -> Figure:
    """Entropies along training from either base, distances of the phases, HICRA less its rivals."""
    with plotting.grid(2, 2, width=5.4, height=3.6) as (page, (top, (distances, gains))):
        for axes, level in zip(top, LEVELS, strict=True):
            if f"grpo_{level}" in records:
                _draw_curves(axes, records, level)
        _draw_distances(distances, records)
        _draw_gains(gains, records)
    return page


def _draw_curves(axes: Axes, records: Mapping[str, Records], level: str) -> None:
    own, ends = records[f"grpo_{level}"], {}
    for measure, (name, colour) in CURVES.items():
        steps, mean = own.steps[measure], plotting.sound_mean(own[measure])
        plotting.mean_line(axes, steps, own[measure], colour)
        ends[name] = (float(steps[-1]), float(mean[-1]), colour)
    if f"tables_{level}" in records:
        other = records[f"tables_{level}"]
        mean = plotting.sound_mean(other[PLANNING_ALL])
        axes.plot(other.steps[PLANNING_ALL], mean, "--", color=GREEN, linewidth=1)
        ends["the same,\ntables"] = (float(other.steps[PLANNING_ALL][-1]), float(mean[-1]), GREEN)
    axes.set(title=f"Base executing {LEVELS[level]:g}", xlabel="updates", ylabel="entropy, nats per token")
    axes.set_ylim(bottom=0)
    mean = plotting.sound_mean(own[EXECUTION])
    gone = np.flatnonzero(mean <= (1 - LATER) * mean[0])
    if len(gone):
        axes.axvline(own.steps[EXECUTION][gone[0]], color="#777777", linewidth=0.9, linestyle=(0, (4, 4)), zorder=0)
    plotting.label_ends(axes, ends)


def _draw_distances(axes: Axes, records: Mapping[str, Records]) -> None:
    rows = [(arm, level) for arm in ROWS for level in levels(records, arm)]
    for row, (arm, level) in enumerate(rows):
        _draw_interval(axes, entropy_lag(records[f"{arm}_{level}"]), -row, BLACK)
    axes.axvline(0, color="#555555", linewidth=0.9, zorder=0)
    axes.set(title="Execution first?", xlabel="updates from half of execution to half of planning entropy")
    _name_rows(axes, [f"{ROWS[arm]}, {LEVELS[level]:g}" for arm, level in rows])


def _draw_gains(axes: Axes, records: Mapping[str, Records]) -> None:
    rows = [(alpha, rival) for alpha in ALPHAS if levels(records, f"hicra_{alpha:g}") for rival in RIVALS]
    for row, (alpha, rival) in enumerate(rows):
        other = rival if rival == "plain" else f"{rival}_{alpha:g}"
        for measure, colour, up in ((ACCURACY, BLACK, 0.16), (STRATEGY_ALL, GREEN, -0.16)):
            _draw_interval(axes, gain(records, f"hicra_{alpha:g}", other, measure), up - row, colour)
    axes.axvline(0, color="#555555", linewidth=0.9, zorder=0)
    axes.set(title="HICRA less its rivals", xlabel="success; strategy entropy over problems, nats per response")
    for text, colour, x in (("success", BLACK, 0.0), ("strategy entropy", GREEN, 0.2)):
        axes.text(x, 1.0, text, color=colour, fontsize=8, transform=axes.transAxes, va="bottom")
    _name_rows(axes, [f"alpha {alpha:g}, {SHORT[rival]}" for alpha, rival in rows])


def _draw_interval(axes: Axes, values: Array, y: float, colour: str) -> None:
    interval = mean_interval(values)
    axes.plot(values, np.full(len(values), y), "o", color=colour, markersize=3, alpha=0.25, markeredgewidth=0)
    axes.plot([interval.low, interval.high], [y, y], color=colour, linewidth=1.6)
    axes.plot(interval.estimate, y, "o", color=colour, markersize=5)


def _name_rows(axes: Axes, names: list[str]) -> None:
    axes.set(ylim=(0.5 - max(len(names), 1), 0.6), yticks=[-float(row) for row in range(len(names))])
    axes.set_yticklabels(names)
    axes.grid(axis="y", visible=False)
