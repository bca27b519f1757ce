"""The figure of ``law_constants``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from toybed import laws, plotting
from toybed.benchmarks.entropy_law import GOOD_FIT, SAME_CONSTANT
from toybed.benchmarks.law_constants_sweep import ARMS, GROUPS, present
from toybed.benchmarks.law_measures import per_run, r2, ratio
from toybed.stats import mean_interval, mean_of_found
from toybed.study import Records

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN = ("sharp", "flat", "exact", "noisy", "no_habits", "short_sft")
DOTS = plotting.COLOURS[1]
A_RANGE = (0.1, 3.0)  # of a over GRPO's; what lies outside is drawn at the edge


def figure(records: Mapping[str, Records]) -> Figure:
    """Reward against entropy from each base with its law, and a over GRPO's for every arm."""
    with plotting.panels(2, width=5.2, height=6.2) as (page, (curves, dots)):
        _draw_curves(curves, records)
        _draw_dots(dots, records)
    return page


def _draw_curves(axes: Axes, records: Mapping[str, Records]) -> None:
    ends = {}
    shown = ["grpo", *(arm for arm in SHOWN if arm in records)]
    for arm, colour in zip(shown, plotting.COLOURS, strict=False):
        h, r = (plotting.sound_mean(records[arm][m]) for m in ("entropy_train", "reward_test"))
        if not np.isfinite(h).all():
            continue
        axes.plot(h, r, "o", color=colour, markersize=2.6, markeredgewidth=0)
        axes.plot(h[0], r[0], "o", color=colour, markersize=6)
        span = np.linspace(0, h.max(), 100)
        axes.plot(span, laws.fit(h, r).predict(span), color=colour, linewidth=1.1, alpha=0.8)
        ends["usual base" if arm == "grpo" else ARMS[arm][0]] = (float(h[0]), float(r[0]), colour)
    axes.set(title="GRPO from different bases", xlabel="entropy H (nats per token)", ylabel="held-out success R")
    axes.set(xlim=(0, None), ylim=(0, None))
    axes.text(0.03, 0.03, "large dots: the bases\nlines: the laws fitted", transform=axes.transAxes, fontsize=8)
    plotting.label_ends(axes, ends)


def _draw_dots(axes: Axes, records: Mapping[str, Records]) -> None:
    y, labels = 0.0, {}
    for group in GROUPS:
        y -= 0.7
        for i, arm in enumerate(present(records, group)):
            y -= 1.0
            if not i:
                axes.text(A_RANGE[1], y, group, fontsize=8, fontweight="bold", va="center", ha="right")
            labels[y] = ARMS[arm][0]
            interval = mean_interval(ratio(records, arm))
            if not interval.n:
                continue
            center, low, high = np.clip(interval[:3], *A_RANGE)
            fits = mean_of_found(per_run(records[arm], r2("exp"))) > GOOD_FIT
            axes.plot([low, high], [y, y], color=DOTS, linewidth=1.3)
            axes.plot(center, y, "o", color=DOTS, markerfacecolor=DOTS if fits else "white", markersize=5)
    axes.axvspan(1 - SAME_CONSTANT, 1 + SAME_CONSTANT, color="#e3e3e3", zorder=0)
    axes.set_xscale("log")
    axes.minorticks_off()
    axes.set(
        title="a, relative to GRPO's from the usual base",
        xlabel=f"a over GRPO's (log scale; open: R² of the law below {GOOD_FIT})",
        xlim=A_RANGE,
        xticks=[0.1, 0.2, 0.5, 1, 2],
        xticklabels=["0.1", "0.2", "0.5", "1", "2"],
        ylim=(y - 0.8, -0.9),
        yticks=list(labels),
    )
    axes.set_yticklabels(labels.values(), fontsize=8)
    axes.grid(axis="y", visible=False)
