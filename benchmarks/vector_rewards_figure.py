"""The figure of ``vector_rewards``: the best of n answers, the lead by the components' correlation, and searches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from toybed import plotting
from toybed.benchmarks.vector_rewards_contrasts import MANY
from toybed.benchmarks.vector_rewards_measures import BUDGETS, COUNTS, NAMES, last
from toybed.benchmarks.vector_rewards_sweep import COMMONS, arm_at
from toybed.stats import mean_interval, mean_of_found
from toybed.study import Records

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLACK, BLUE, RED, GREEN, PINK, ORANGE, SKY, GREY = plotting.COLOURS
LOOKS = {
    "base": (GREY, ":"),
    "grpo": (BLACK, "-"),
    "grpo_mean": (BLACK, "--"),
    "gdpo": (SKY, "--"),
    "pkpo": (GREEN, "-"),
    "pkpo_vector": (GREEN, "--"),
    "vpo_parallel": (PINK, "-"),
    "grpo_set": (ORANGE, "-"),
    "multi_rlvr": (BLUE, "-"),
    "multi_rlvr_sum": (BLUE, "--"),
    "vpo": (RED, "-"),
}
RIVALS = ("grpo", "grpo_mean", "gdpo", "pkpo_vector", "vpo_parallel", "multi_rlvr")
SEARCHED = ("base", "grpo", "gdpo", "pkpo_vector", "vpo_parallel", "multi_rlvr", "vpo")


def figure(records: Mapping[str, Records]) -> Figure:
    """Best of n answers; VPO less its rivals against the components' correlation; hard questions solved."""
    with plotting.panels(3, width=4.8, height=4.2) as (page, axes):
        _draw_best(axes[0], records)
        _draw_correlation(axes[1], records)
        _draw_search(axes[2], records)
    return page


def _draw_best(axes: Axes, records: Mapping[str, Records]) -> None:
    ends = {}
    for arm, (colour, style) in LOOKS.items():
        means = [mean_of_found(last(records, arm, f"best@{n}")) for n in COUNTS]
        axes.plot(COUNTS, means, style, color=colour, linewidth=2.2 if arm == "vpo" else 1.4)
        ends[NAMES[arm]] = (COUNTS[-1], means[-1], colour)
    _log_axis(axes, COUNTS)
    axes.set(title="Best of n answers", xlabel="answers n", ylabel="best w . r, mean over preferences")
    plotting.label_ends(axes, ends)


def _draw_correlation(axes: Axes, records: Mapping[str, Records]) -> None:
    commons = [common for common in COMMONS["standard"] if arm_at("vpo", common) in records]
    places = [mean_of_found(last(records, "base", "correlation", common)) for common in commons]
    ends = {}
    for rival in RIVALS:
        gaps = [mean_interval(last(records, "vpo", MANY, c) - last(records, rival, MANY, c)) for c in commons]
        colour, style = LOOKS[rival]
        means = [gap.estimate for gap in gaps]
        axes.plot(places, means, style, marker="o", markersize=4, color=colour)
        for place, gap in zip(places, gaps, strict=True):
            axes.plot([place, place], [gap.low, gap.high], color=colour, linewidth=1)
        ends[NAMES[rival]] = (places[-1], means[-1], colour)
    axes.axhline(0, color="#555555", linewidth=0.9, linestyle=(0, (4, 4)), zorder=0)
    axes.set(
        title="VPO less its rivals, best of 48",
        xlabel="correlation of the components under the base",
        ylabel="difference in best@48",
    )
    plotting.label_ends(axes, ends)


def _draw_search(axes: Axes, records: Mapping[str, Records]) -> None:
    ends = {}
    for arm in SEARCHED:
        colour = LOOKS[arm][0]
        for search, style in (("evolution", "-"), ("best_of", ":")):
            means = [mean_of_found(last(records, arm, f"{search}_solved@{n}")) for n in BUDGETS]
            axes.plot(BUDGETS, means, style, marker="o", markersize=4, color=colour)
            if search == "evolution":
                ends[NAMES[arm]] = (BUDGETS[-1], means[-1], colour)
    _log_axis(axes, BUDGETS)
    axes.set(title="Search on the hardest questions", xlabel="budget (answers)", ylabel="share solved", ylim=(0, 1.02))
    axes.text(0.03, 0.97, "evolution: solid\nbest of n: dotted", transform=axes.transAxes, va="top", fontsize=8)
    plotting.label_ends(axes, ends)


def _log_axis(axes: Axes, ticks: tuple[int, ...]) -> None:
    axes.set_xscale("log")
    axes.set(xticks=ticks, xticklabels=[str(tick) for tick in ticks])
    axes.minorticks_off()
