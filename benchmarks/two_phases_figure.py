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
    skill_lag,
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
    PLANNING: ("given problem", BLUE),
    PLANNING_ALL: ("over problems", GREEN),
}
SHOWN = {
    "grpo_75": "Shared parameters, base executing 0.75",
    "grpo_95": "Shared parameters, base executing 0.95",
    "tables_75": "Tables, base executing 0.75",
}
ROWS = {
    "grpo": "MLP",
    "single": "MLP, one valid plan",
    "sharp": "MLP, sharp plans",
    "tables": "tables",
    "tables_sharp": "tables, sharp plans",
    "few": "MLP, four types",
    "slow": "MLP, rate / 3",
    "fast": "MLP, rate x 3",
    "planning_0.01": "MLP, entropy bonus",
}
SHORT = {"plain": "none", "placebo": "placebo", "reweighted": "weights"}


def figure(records: Mapping[str, Records]) -> Figure:
    """Entropies along training, distances of the phases, HICRA less its rivals."""
    with plotting.grid(2, 3, width=4.6, height=3.6) as (page, (top, (distances, success, strategies))):
        for axes, (arm, title) in zip(top, SHOWN.items(), strict=True):
            axes.set(title=title, xlabel="updates")
            if arm in records:
                _draw_curves(axes, records[arm])
        top[0].set_ylabel("entropy, nats per token")
        _draw_distances(distances, records)
        _draw_gains(success, records, ACCURACY, BLACK)
        _draw_gains(strategies, records, STRATEGY_ALL, GREEN)
        success.set(title="What is won in success", xlabel="success at the end, difference")
        strategies.set(title="... and in strategy entropy", xlabel="over problems, nats per response, difference")
        strategies.set_yticklabels([])
    return page


def _draw_curves(axes: Axes, own: Records) -> None:
    ends = {}
    for measure, (name, colour) in CURVES.items():
        steps, mean = own.steps[measure], plotting.sound_mean(own[measure])
        plotting.mean_line(axes, steps, own[measure], colour)
        ends[name] = (float(steps[-1]), float(mean[-1]), colour)
    axes.set_ylim(0, 1.7)
    mean = plotting.sound_mean(own[EXECUTION])
    gone = np.flatnonzero(mean <= (1 - LATER) * mean[0])
    if len(gone):
        axes.axvline(own.steps[EXECUTION][gone[0]], color="#777777", linewidth=0.9, linestyle=(0, (4, 4)), zorder=0)
    plotting.label_ends(axes, ends)


def _draw_distances(axes: Axes, records: Mapping[str, Records]) -> None:
    rows = [(arm, level) for arm in ROWS for level in levels(records, arm)]
    for row, (arm, level) in enumerate(rows):
        _draw_interval(axes, entropy_lag(records[f"{arm}_{level}"]), 0.16 - row, BLACK)
        _draw_interval(axes, skill_lag(records[f"{arm}_{level}"]), -0.16 - row, BLUE)
    axes.axvline(0, color="#555555", linewidth=0.9, zorder=0)
    axes.set(title="Execution first?", xlabel="updates from execution to planning: entropy, skill")
    _name_rows(axes, [f"{ROWS[arm]}, {LEVELS[level]:g}" for arm, level in rows])


def _draw_gains(axes: Axes, records: Mapping[str, Records], measure: str, colour: str) -> None:
    alphas = [alpha for alpha in ALPHAS if levels(records, f"hicra_{alpha:g}")]
    rows = {
        f"HICRA {alpha:g} over {SHORT[rival]}": (
            f"hicra_{alpha:g}",
            rival if rival == "plain" else f"{rival}_{alpha:g}",
        )
        for alpha in alphas
        for rival in RIVALS
    }
    if levels(records, "planning_0.01"):
        rows["entropy bonus over none"] = ("planning_0.01", "plain")
    for row, (arm, rival) in enumerate(rows.values()):
        _draw_interval(axes, gain(records, arm, rival, measure), -row, colour)
    axes.axvline(0, color="#555555", linewidth=0.9, zorder=0)
    _name_rows(axes, list(rows))


def _draw_interval(axes: Axes, values: Array, y: float, colour: str) -> None:
    interval = mean_interval(values)
    axes.plot(values, np.full(len(values), y), "o", color=colour, markersize=3, alpha=0.25, markeredgewidth=0)
    axes.plot([interval.low, interval.high], [y, y], color=colour, linewidth=1.6)
    axes.plot(interval.estimate, y, "o", color=colour, markersize=5)


def _name_rows(axes: Axes, names: list[str]) -> None:
    axes.set(ylim=(0.5 - max(len(names), 1), 0.6), yticks=[-float(row) for row in range(len(names))])
    axes.set_yticklabels(names)
    axes.grid(axis="y", visible=False)
