"""The figure of ``sparse_updates``: formats by rate, one curve for all, overlaps, subnetworks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from toybed import plotting
from toybed.benchmarks.sparse_updates_measures import BF16, SIZE, gain, overlaps
from toybed.benchmarks.sparse_updates_sweep import (
    BETWEEN,
    FAST,
    FASTER,
    ON_THE_CURVE,
    OTHER,
    PURE_RATES,
    RATES,
    RL,
    SLOW,
    SLOWER,
)
from toybed.stats import mean_interval, mean_of_found
from toybed.study import Records

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLACK, BLUE, RED, GREEN, PINK, ORANGE, SKY, GREY = plotting.COLOURS
FORMATS = {
    "float32": ("changed_fp32", BLACK),
    "beyond 1e-5": ("changed_tolerance", BLUE),
    "rounded to bf16": (BF16, RED),
}
PAIRS = {
    "other random numbers": ("again", "grpo"),
    "other prompts": ("other_half", "half"),
    RL[OTHER]: (OTHER, "grpo"),
    "all three": ("all_other", "half"),
    "SFT": ("sft", "grpo"),
    "pure bf16: other random numbers": ("pure_again", "pure"),
    "pure bf16: other prompts": ("pure_other_half", "pure_half"),
    "pure bf16: all three": ("pure_all_other", "pure_half"),
    "pure bf16: SFT": ("pure_sft", "pure"),
}
PUBLISHED_OVERLAP = {"other random numbers": (60.5, 36.7), "other prompts": (26.7, 14.6), "all three": (59.1, 23.0)}
"""One-sided overlap and chance's, in percent: arXiv 2505.11711, Table 4 (published.toml)."""
PUBLISHED_UNCHANGED = (36.0, 92.0)  # percent, of weights in bf16 after RL: arXiv 2511.08567 (published.toml)
PARTS = {
    "changed": ("the subnetwork", RED),
    "shuffled": ("shuffled places", BLUE),
    "matched": ("shuffled, same size", SKY),
    "unchanged": ("all the rest", GREY),
}


def figure(records: Mapping[str, Records]) -> Figure:
    """Formats by rate; changed share over the update's length; overlaps; subnetworks."""
    with plotting.grid(2, 2, width=5.2, height=3.7) as (page, axes):
        _draw_formats(axes[0][0], records)
        _draw_curve(axes[0][1], records)
        _draw_overlaps(axes[1][0], records)
        _draw_subnetworks(axes[1][1], records)
    return page


def _draw_formats(axes: Axes, records: Mapping[str, Records]) -> None:
    rates = [SLOWER, SLOW, BETWEEN, FAST, FASTER]
    ends = {}
    for name, (measure, colour) in FORMATS.items():
        shares = [mean_of_found(records[arm].at(measure, -1)) for arm in ON_THE_CURVE]
        axes.plot(rates, shares, "o-", color=colour, markersize=4)
        ends[name] = (rates[-1], shares[-1], colour)
    shares = [mean_of_found(records[arm].at(BF16, -1)) for arm in PURE_RATES]
    axes.plot(list(PURE_RATES.values()), shares, "o-", color=ORANGE, markersize=4)
    axes.set(xscale="log", xlabel="learning rate", ylabel="share of weights changed", ylim=(-0.03, 1.12))
    axes.set_title("GRPO's update by number format")
    low, high = (1 - share / 100 for share in PUBLISHED_UNCHANGED[::-1])
    plotting.published_band(axes, low, high, "RL in bf16 (arXiv 2511.08567)")
    plotting.label_ends(axes, {**ends, "pure bf16": (FAST, shares[-1], ORANGE)})


def _draw_curve(axes: Axes, records: Mapping[str, Records]) -> None:
    size, share = (
        np.concatenate([[mean_of_found(column) for column in records[arm][name].T[1:]] for arm in ON_THE_CURVE])
        for name in (SIZE, BF16)
    )
    order = np.argsort(size)
    axes.plot(size[order], share[order], color=GREY, linewidth=1.2, zorder=1)
    kinds = {
        "other RL algorithms": (
            [f"{name}{end_}" for name in RL if name != "grpo" for end_ in RATES],
            BLUE,
            "o",
        ),
        "SFT": ([f"sft{end_}" for end_ in RATES], RED, "s"),
        "SFT, base's own kind": (["sft_habit"], PINK, "s"),
        "SGD": (["sgd"], GREEN, "^"),
        "AdamW": (["adamw"], BLACK, "v"),
        "pure bf16": ([*PURE_RATES, "pure"], ORANGE, "D"),
    }
    axes.plot([], [], color=GREY, label="GRPO, Adam, all rates and times")
    for name, (arms, colour, marker) in kinds.items():
        places = np.array([[mean_of_found(records[arm].at(m, -1)) for m in (SIZE, BF16)] for arm in arms])
        axes.plot(*places.T, marker, color=colour, markersize=4.5, alpha=0.85, label=name, markeredgewidth=0)
    axes.set(xscale="log", xlabel="length of the update / weights' norm", ylim=(-0.03, 1.03))
    axes.set_title("Changed in bf16, by the update's length")
    axes.legend(fontsize=6.5, loc="upper left", frameon=False)


def _draw_overlaps(axes: Axes, records: Mapping[str, Records]) -> None:
    for row, (first, second) in enumerate(PAIRS.values()):
        for by_exponent, colour, lift in ((False, BLUE, 0.13), (True, RED, -0.13)):
            found = overlaps(records[first], records[second], by_exponent=by_exponent)
            interval = mean_interval(found["ratio"])
            axes.plot(interval.estimate, -row + lift, "o", color=colour, markersize=4)
            axes.plot(interval[1:3], [-row + lift] * 2, color=colour, linewidth=1.2)
    axes.axvline(1, color=BLACK, linewidth=0.8)
    rows = [*PAIRS]
    points = [(mine / chance, -float(rows.index(name))) for name, (mine, chance) in PUBLISHED_OVERLAP.items()]
    plotting.published_points(axes, points, "chance by tensor (arXiv 2505.11711)", (-20, -16))
    axes.set_yticks([-row for row in range(len(PAIRS))], [*PAIRS], fontsize=7.5)
    axes.set(xlabel="overlap / chance", ylim=(-len(PAIRS) + 0.4, 0.6))
    axes.set_title("Do they change the same weights?")
    for colour, name in ((BLUE, "chance by tensor"), (RED, "by tensor and spacing of bf16")):
        axes.plot([], [], "o-", color=colour, markersize=4, label=name)
    axes.legend(fontsize=6.5, frameon=False, loc="center right")


def _draw_subnetworks(axes: Axes, records: Mapping[str, Records]) -> None:
    for group, (prefix, full) in enumerate((("", "grpo"), ("pure_", "pure"))):
        whole = gain(records[full])
        for place, (part, (name, colour)) in enumerate(PARTS.items()):
            interval = mean_interval(gain(records[prefix + part]) / mean_of_found(whole))
            x = 5 * group + place
            axes.bar(x, interval.estimate, color=colour, width=0.8, label=None if group else name)
            axes.plot([x, x], interval[1:3], color=BLACK, linewidth=1)
    axes.axhline(1, color=BLACK, linewidth=0.8)
    shares = [mean_of_found(records[arm].at(BF16, -1)) for arm in ("grpo", "pure")]
    names = [f"float32 masters\n({_percent(shares[0])} changed)", f"pure bf16\n({_percent(shares[1])} changed)"]
    axes.set_xticks([1.5, 6.5], names)
    axes.set(ylabel="gain in reward / the full run's", ylim=(0, 1.3))
    axes.set_title("Trained alone")
    axes.grid(False, axis="x")
    axes.legend(fontsize=7, frameon=False, ncols=2, loc="upper left")


def _percent(share: float) -> str:
    return f"{share:.0%}" if np.isfinite(share) else "not known"
