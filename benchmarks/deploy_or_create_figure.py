"""The figure of ``deploy_or_create``: hybrids by execution, share of tokens, ways of steering, and missing skills."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from toybed import plotting
from toybed.benchmarks.deploy_or_create_measures import recovered
from toybed.benchmarks.deploy_or_create_sweep import EXECUTIONS, LACKS, STAGES, WELL, dial
from toybed.stats import mean_of_found
from toybed.study import Records

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLACK, BLUE, RED, GREEN, _, ORANGE, _, GREY = plotting.COLOURS
PUBLISHED = (0.12, 0.91)
WAYS = {
    "targeted": "a direction\nfor each skill",
    "gradient": "the base's own\ngradients",
    "held": "always on",
    "shuffled": "shuffled places",
    "untargeted": "one direction",
    "random": "random directions",
}
NAMES = {
    "table_known": "known\ntable",
    "table_lacks1": "lacks it\ntable",
    "table_lacks3": "lacks three\ntable",
    "mlp_known": "known\nMLP",
    "mlp_lacks1": "lacks it\nMLP",
}


def figure(records: Mapping[str, Records]) -> Figure:
    """Hybrids over execution; share of tokens; ways of steering; hard types whose skill is known or missing."""
    with plotting.panels(4, width=3.9, height=3.9) as (page, axes):
        _draw_dial(axes[0], records)
        _draw_tokens(axes[1], records)
        _draw_ways(axes[2], records[dial("mlp", WELL)])
        _draw_hard(axes[3], records)
    return page


def _draw_dial(axes: Axes, records: Mapping[str, Records]) -> None:
    grid = np.linspace(0.7, 1, 50)
    axes.plot(grid, grid**STAGES, color=GREY, linewidth=3, alpha=0.6)
    axes.text(0.86, 0.56, "$q^D$", color="#777777", fontsize=9)
    styles = {
        "mlp": {"marker": "o", "markersize": 5},
        "transformer": {"marker": "D", "markersize": 6},
        "table": {"marker": "o", "markersize": 7, "markerfacecolor": "none"},
    }
    heights = [0.0, 1.0]
    for policy, style in styles.items():
        for measure, colour in (("hybrid_planning", BLUE), ("hybrid_execution", RED)):
            for q in (q for q in EXECUTIONS if dial(policy, q) in records):
                own = records[dial(policy, q)]
                place = (mean_of_found(own.at("exec_accuracy", 0)), mean_of_found(recovered(own, measure)))
                axes.plot(*place, linestyle="", color=colour, **style)  # type: ignore[arg-type]
                heights.append(place[1])
    axes.text(0.71, 0.62, "RL's plans", color=BLUE, fontsize=8)
    axes.text(0.77, 0.2, "RL's executions", color=RED, fontsize=8)
    axes.text(0.71, 0.9, "● MLP  ◆ transformer", color="#555555", fontsize=8)
    axes.set(title="Whose plans, whose executions", xlabel="right executions of the base, q", ylabel="recovered share")
    axes.set(xlim=(0.7, 1), ylim=(np.nanmin(heights) - 0.08, np.nanmax(heights) + 0.08))


def _draw_tokens(axes: Axes, records: Mapping[str, Records]) -> None:
    own = records[dial("mlp", WELL)]
    lines = [
        (own, "touched", "handed to RL", BLUE, "-"),
        (own, "touched_shuffled", "in any order", GREY, "-"),
        (own, "steered", "steered", GREEN, "-"),
    ]
    if "sharp" in records:
        lines.append((records["sharp"], "touched", "handed to RL,\nsharp habit", ORANGE, "-"))
    ends = {}
    for arm, measure, name, colour, style in lines:
        shares = sorted(float(m.split("@")[1]) for m in arm.curves if m.split("@")[0] == measure)
        values = np.stack([recovered(arm, f"{measure}@{share:g}") for share in shares], 1)
        plotting.mean_line(axes, np.array(shares), values, colour, linestyle=style)
        ends[name] = (shares[-1], float(plotting.sound_mean(values)[-1]), colour)
    plotting.published_points(axes, [PUBLISHED], "arXiv 2510.07364", (7, 4))
    axes.set(title="How many tokens", xlabel="share of tokens", ylabel="recovered share", xlim=(0, 0.7))
    axes.set_ylim(-0.08, 1.02)
    plotting.label_ends(axes, ends)


def _draw_ways(axes: Axes, records: Records) -> None:
    for row, way in enumerate(WAYS):
        for layer, shift, fill in (("first", 0.14, "none"), ("second", -0.14, GREEN)):
            values = recovered(records, f"steered_{way}_{layer}")
            height = -row + shift
            axes.plot(values, np.full(len(values), height), "o", color=GREEN, markersize=3, alpha=0.3, mew=0)
            axes.plot(mean_of_found(values), height, "o", color=GREEN, markersize=6, markerfacecolor=fill)
    ceiling = mean_of_found(recovered(records, "hybrid_planning"))
    axes.axvline(ceiling, color=BLUE, linewidth=1)
    axes.text(ceiling - 0.02, 0.45, "RL's plans", color=BLUE, fontsize=8, ha="right")
    axes.set_yticks([-float(i) for i in range(len(WAYS))], [*WAYS.values()])
    axes.set(title="Steered", xlabel="recovered share", xlim=(-0.15, 1.02), ylim=(-len(WAYS) + 0.5, 0.75))
    axes.grid(axis="y", visible=False)


def _draw_hard(axes: Axes, records: Mapping[str, Records]) -> None:
    shown = [arm for arm in LACKS if arm in records]
    bars = (
        ("base", "success_hard", 0, BLACK),
        ("base with RL's plans", "hybrid_planning_hard", -1, BLUE),
        ("RL", "success_hard", -1, RED),
    )
    for number, (name, measure, place, colour) in enumerate(bars):
        at = np.arange(len(shown)) + 0.27 * (number - 1)
        values = [records[arm].at(measure, place) for arm in shown]
        axes.bar(at, [mean_of_found(v) for v in values], 0.24, color=colour, zorder=2, label=name)
        for x, v in zip(at, values, strict=True):
            axes.plot(np.full(len(v), x), v, ".", color="#777777", markersize=2.5, zorder=3)
    axes.set_xticks(range(len(shown)), [NAMES[arm] for arm in shown], fontsize=7.5)
    axes.set(title="Hard types, small world", ylabel="success", ylim=(0, 1.25))
    axes.legend(fontsize=7.5, frameon=False, loc="upper right", ncols=3, columnspacing=1, handlelength=1)
    axes.grid(axis="x", visible=False)
