"""The figure of ``architecture``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from toybed import laws, plotting
from toybed.benchmarks.architecture_measures import fit, interval_of, kept, present, slope
from toybed.benchmarks.architecture_sweep import EVERY, INTERVENTIONS
from toybed.benchmarks.entropy_law import MATCHED_REWARD
from toybed.stats import mean_of_found
from toybed.study import Records, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = dict(zip(EVERY, (plotting.COLOURS[i] for i in (0, 1, 2, 3, 3, 4, 0, 0)), strict=True))
DRAWN = {n: network for n, network in EVERY.items() if network.factor == 1}  # the rates in the middle panel only


def figure(records: Mapping[str, Records]) -> Figure:
    """Success against entropy with the fits, entropy kept by each intervention, and pass@16 against success."""
    with plotting.panels(3, width=4.3, height=4.2) as (page, (law, kept, breadth)):
        _draw_law(law, records)
        _draw_kept(kept, records)
        ends: dict[str, tuple[float, float, str]] = {}
        for n in present(records, DRAWN):
            r, p = (plotting.sound_mean(records[f"{n}/grpo"][m]) for m in ("reward_train", "pass@16_test"))
            breadth.plot(r, p, ".-", color=COLOURS[n], markersize=4, linewidth=1.0)
            ends[EVERY[n].short] = (float(r[-1]), float(p[-1]), COLOURS[n])
        breadth.axvline(MATCHED_REWARD, color="#777777", linewidth=0.8, linestyle=":")
        breadth.set(
            title="Held-out pass@16 against success", xlabel="success on train prompts R", ylabel="held-out pass@16"
        )
        breadth.set(ylim=(0, 1.02))
        plotting.label_ends(breadth, ends)
    return page


def _draw_law(axes: Axes, records: Mapping[str, Records]) -> None:
    """The mean curve of each network, with the law fitted to it, and the runs' own R² and a beside the name."""
    for row, n in enumerate(present(records, DRAWN)):
        grpo = records[f"{n}/grpo"]
        h, r = (plotting.sound_mean(grpo[m]) for m in ("entropy_train", "reward_train"))
        axes.plot(h, r, ".", color=COLOURS[n], markersize=5)
        if np.isfinite(h + r).all():
            span = np.linspace(0, h.max(), 100)
            axes.plot(span, laws.fit(h, r).predict(span), "-", color=COLOURS[n], linewidth=1.0)
        r2, a = (mean_of_found(of(records, n)) for of in (fit, slope))
        axes.text(
            0.03,
            0.33 - 0.065 * row,
            f"{EVERY[n].label}: a = {number(a)}, R² = {number(r2, '.3f')}",
            color=COLOURS[n],
            transform=axes.transAxes,
            fontsize=8,
        )
    axes.axhline(MATCHED_REWARD, color="#777777", linewidth=0.8, linestyle=":")
    axes.set(title="Success bought with entropy", xlabel="entropy H (nats per token)")
    axes.set(ylabel="success on train prompts R", xlim=(0, None), ylim=(0, 1.02))


def _draw_kept(axes: Axes, records: Mapping[str, Records]) -> None:
    """A row for each intervention and network; a bar is a 95 % interval, a faint point a run."""
    networks = present(records, EVERY)
    ticks: dict[float, str] = {}
    for block, arm in enumerate(INTERVENTIONS):
        top = -block * (len(networks) + 1.6)
        axes.text(0.98, top + 0.9, INTERVENTIONS[arm][0], transform=axes.get_yaxis_transform(), ha="right", va="center")
        for row, n in enumerate(networks):
            values, y = kept(arm, records, n), top - row
            interval = interval_of(values)
            axes.plot(values, np.full(len(values), y), ".", color=COLOURS[n], alpha=0.3, markersize=4)
            axes.plot([interval.low, interval.high], [y, y], color=COLOURS[n])
            axes.plot(interval.estimate, y, "o", color=COLOURS[n], markersize=4)
            ticks[y] = EVERY[n].short
    axes.axvline(0, color="#333333", linewidth=0.8)
    axes.set_yticks(list(ticks), list(ticks.values()), fontsize=7)
    for tick, n in zip(axes.get_yticklabels(), networks * len(INTERVENTIONS), strict=True):
        tick.set_color(COLOURS[n])
    axes.set(ylim=(min(ticks) - 0.7, 1.6), title=f"Entropy kept at {MATCHED_REWARD:.0%} success")
    axes.set(xlabel="nats per token above GRPO's")
    axes.grid(axis="y", visible=False)
