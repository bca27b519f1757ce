"""The figure of ``belief_shortcuts``: tracking over size, accuracy against agreement with the rule, and the probe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from toybed import plotting
from toybed.benchmarks.belief_shortcuts_measures import REGIMES, over_sizes, sizes_of
from toybed.benchmarks.belief_sweep import SEPARABLE, TRACKS
from toybed.stats import Array, mean_of_found
from toybed.study import Records

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLACK, BLUE, RED, GREEN, PINK, ORANGE, SKY, GREY = plotting.COLOURS
COLOURS = {"short": GREY, "sft": BLUE, "rl": RED, "sft_rl": GREEN}
NAMES = {"short": "short SFT, where both go on from", **REGIMES}
RULE = "agreement_common_ground"


def figure(records: Mapping[str, Records]) -> Figure:
    """A row for each network: separable accuracy over size, against the rule, and what a probe reads."""
    groups = sizes_of(records)
    with plotting.grid(len(groups), 3, width=4.4, height=3.2) as (page, axes):
        for row, (network, sizes) in zip(axes, groups.items(), strict=True):
            _draw_sizes(row[0], records, network, sizes)
            _draw_plane(row[1], records, network, sizes)
            _draw_probe(row[2], records, network, sizes)
        axes[0][0].legend(fontsize=6.5, frameon=False, loc="upper left")
        axes[0][2].legend(fontsize=6.5, frameon=False, loc="upper left")
    return page


def _draw_sizes(axes: Axes, records: Mapping[str, Records], network: str, sizes: Sequence[str]) -> None:
    for regime, name in NAMES.items():
        values = over_sizes(records, sizes, regime)
        style = "--" if regime == "short" else "-"
        axes.plot(*_means(values), "o" + style, color=COLOURS[regime], markersize=4, label=name)
        for x, runs in enumerate(values):
            axes.plot([x] * len(runs), runs, ".", color=COLOURS[regime], alpha=0.3, markersize=4)
    axes.axhline(TRACKS, color=BLACK, linewidth=0.8, linestyle=":")
    axes.text(len(sizes) - 1, TRACKS + 0.02, "tracks", fontsize=7, ha="right")
    _size_ticks(axes, network, sizes)
    axes.set(ylabel="right on separable questions", ylim=(-0.03, 1.05), title=f"{network}: tracking over size")


def _draw_plane(axes: Axes, records: Mapping[str, Records], network: str, sizes: Sequence[str]) -> None:
    for regime in REGIMES:
        x, y = (
            [mean_of_found(row) for row in over_sizes(records, sizes, regime, measure)] for measure in (RULE, SEPARABLE)
        )
        axes.plot(x, y, "-", color=COLOURS[regime], linewidth=0.8)
        axes.scatter(x, y, s=10 + 14 * np.arange(len(sizes)), color=COLOURS[regime], alpha=0.8, linewidths=0)
    axes.plot(1, 0, "x", color=BLACK, markersize=6)
    axes.annotate("common ground", (1, 0), xytext=(-6, 6), textcoords="offset points", fontsize=7, ha="right")
    axes.set(xlim=(0, 1.05), ylim=(-0.03, 1.05), xlabel="answers as common ground says")
    axes.set(ylabel="right on separable questions", title=f"{network}: right, or by the rule? (larger: dots)")


def _draw_probe(axes: Axes, records: Mapping[str, Records], network: str, sizes: Sequence[str]) -> None:
    untrained = np.stack([records[f"{size}/rl"].at("probe_directed", 0) for size in sizes])
    axes.plot(*_means(untrained), "o:", color=GREY, markersize=4, label="probe, untrained")
    for regime in REGIMES:
        for measure, style, name in (("probe_directed", "-", "probe"), (SEPARABLE, "--", "answer")):
            values = over_sizes(records, sizes, regime, measure)
            label = f"{name}, {REGIMES[regime]}"
            axes.plot(*_means(values), style, color=COLOURS[regime], linewidth=1.2, label=label)
    _size_ticks(axes, network, sizes)
    axes.set(ylabel="right on separable questions", ylim=(-0.03, 1.05), title=f"{network}: what the state knows")


def _means(values: Array) -> tuple[list[int], list[float]]:
    """Places and means over runs, of ``[sizes, n]``."""
    return list(range(len(values))), [mean_of_found(row) for row in values]


def _size_ticks(axes: Axes, network: str, sizes: Sequence[str]) -> None:
    axes.set_xticks(range(len(sizes)), [size.removeprefix(f"{network}_") for size in sizes])
    axes.set_xlabel("width" if network == "gru" else "width x layers")
