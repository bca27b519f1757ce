"""The figure of ``critique_feedback``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from toybed import plotting
from toybed.benchmarks.critique_feedback_measures import ALL, HARD_TYPES
from toybed.benchmarks.critique_feedback_sweep import HARD
from toybed.stats import mean_of_found
from toybed.study import Records

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINES = {
    "grpo": ("GRPO", plotting.COLOURS[0]),
    "indicative": ("indicative", plotting.COLOURS[5]),
    "located": ("located", plotting.COLOURS[6]),
    "full": ("full critique", plotting.COLOURS[1]),
    "solution": ("solutions", plotting.COLOURS[2]),
}
ROWS = {
    "grpo": "GRPO",
    "far": "GRPO, 4x updates",
    "fast": "GRPO, 3x rate",
    "sampled": "GRPO, no clip, no std",
    "bonus": "GRPO, entropy bonus",
    "none": "critique: none",
    "indicative": "indicative",
    "located": "located",
    "full": "full",
    "noise_0.1": "full, noise .1",
    "noise_0.25": "noise .25",
    "noise_0.25_unshaped": "noise .25, ratios",
    "noise_0.25_longer": "noise .25, 12 attempts",
    "noise_0.5": "noise .5",
    "noise_0.5_unshaped": "noise .5, ratios",
    "noise_0.5_all": "noise .5, wrong ones kept",
    "all": "full, wrong ones kept",
    "unshaped": "full, ratios",
    "imitated": "full, imitated",
    "solution": "solutions, shaped",
    "solution_unshaped": "solutions, ratios",
    "solution_imitated": "solutions, imitated",
    "table_grpo": "table: GRPO",
    "table_far": "table: GRPO, 4x updates",
    "table_indicative": "table: indicative",
    "table_located": "table: located",
    "table_full": "table: full",
    "table_noise_0.25": "table: full, noise .25",
}
CUTS = ("none", "noise", "all", "solution", "table")
"""How rows begin before whose first one a line is drawn."""


def figure(records: Mapping[str, Records]) -> Figure:
    """Success and plan entropy along training, and where every arm ends."""
    with plotting.panels(3, width=4.3, height=4.9) as (page, axes):
        _draw_lines(axes[0], records, ALL)
        axes[0].axhline(1 - HARD, color="#777777", linestyle="--", linewidth=0.9)
        axes[0].set(title="Success", xlabel="update", ylabel="held-out success", ylim=(0, 1.06))
        _draw_lines(axes[1], records, "entropy_plan_conditional")
        axes[1].set(title="Entropy of a plan, given the problem", xlabel="update", ylabel="nats")
        _draw_rows(axes[2], records)
    return page


def _draw_lines(axes: Axes, records: Mapping[str, Records], measure: str) -> None:
    ends = {}
    for arm, (name, colour) in LINES.items():
        if arm not in records:
            continue
        steps, values = records[arm].steps[measure], records[arm][measure]
        plotting.mean_line(axes, steps, values, colour)
        ends[name] = (float(steps[-1]), float(plotting.sound_mean(values)[-1]), colour)
    axes.set_ylim(bottom=0)
    plotting.label_ends(axes, ends)


def _draw_rows(axes: Axes, records: Mapping[str, Records]) -> None:
    rows = [arm for arm in ROWS if arm in records]
    for i, arm in enumerate(rows):
        # The ring is the larger one: where both are alike, the dot stands in it.
        for measure, face, size in ((HARD_TYPES, "white", 8), (ALL, plotting.COLOURS[1], 4)):
            mean = mean_of_found(records[arm].at(measure, -1))
            axes.plot(mean, -i, "o", color=plotting.COLOURS[1], markerfacecolor=face, markersize=size)
        values = records[arm].at(ALL, -1)
        axes.plot(values, np.full(len(values), -i), "o", color=plotting.COLOURS[1], markersize=3, alpha=0.25)
        if any(arm.startswith(cut) and not rows[i - 1].startswith(cut) for cut in CUTS):
            axes.axhline(0.5 - i, color="#777777", linewidth=0.6)
    axes.axvline(1 - HARD, color="#777777", linestyle="--", linewidth=0.9)
    axes.set_yticks([-float(i) for i in range(len(rows))], [ROWS[arm] for arm in rows], fontsize=7)
    axes.set(title="End: all (dots), hard (rings)", xlabel="held-out success", xlim=(-0.03, 1.03))
    axes.set_ylim(0.7 - len(rows), 0.7)
    axes.grid(axis="y", visible=False)
