"""The picture of a comparison: two curves for each objective, and what tells them apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from toybed import plotting

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from toybed.comparing import Comparison


def draw(comparison: Comparison) -> Figure:
    """Held-out reward and entropy against updates, each run faint, and the paired differences."""
    names = list(comparison.records)
    colours = {name: plotting.COLOURS[i % len(plotting.COLOURS)] for i, name in enumerate(names)}
    reward = "success" if comparison.binary else "reward"
    with plotting.panels(3, width=3.9, height=3.2) as (page, (left, middle, right)):
        for axes, measure, title in (
            (left, "reward_test", f"Held-out {reward}"),
            (middle, "entropy_test", "Entropy, nats per token"),
        ):
            _curves(axes, comparison, measure, colours)
            axes.set(title=title, xlabel="updates")
        _intervals(right, comparison, colours)
        seeds = len(comparison.records[names[0]]["reward_test"])
        page.suptitle(
            f"{comparison.world}: {seeds} seeds each, paired; compared at {comparison.rollouts:,} responses a run",
            fontsize=9,
            x=0.01,
            ha="left",
        )
    return page


def _curves(axes: Axes, comparison: Comparison, measure: str, colours: dict[str, str]) -> None:
    ends = {}
    for name, records in comparison.records.items():
        steps = records.steps[measure]
        plotting.mean_line(axes, steps, records[measure], colours[name])
        ends[name] = (float(steps[-1]), float(plotting.sound_mean(records[measure])[-1]), colours[name])
    if all(np.nanmin(r[measure], initial=0.0) >= 0 for r in comparison.records.values()):
        axes.set_ylim(bottom=0)
    plotting.label_ends(axes, ends)


def _intervals(axes: Axes, comparison: Comparison, colours: dict[str, str]) -> None:
    """One line for each difference: its estimate and 95 % interval, 0 marked."""
    reward = "success" if comparison.binary else "reward"
    words = {"reward_test": reward, "entropy_test": "entropy (nats)"}
    axes.set(title=f"Minus {next(iter(comparison.records))}, 95 %", xlabel="difference at equal rollouts")
    found = [d for d in comparison.differences if np.isfinite(d.estimate)]
    if not found:
        axes.text(0.5, 0.5, "no pair of runs\nthat both ended well", transform=axes.transAxes, ha="center", va="center")
        return
    for place, d in enumerate(found):
        axes.plot([d.low, d.high], [place, place], color=colours[d.objective], linewidth=2.2)
        axes.plot(d.estimate, place, "o", color=colours[d.objective], markersize=5)
    axes.axvline(0, color="#888888", linewidth=0.8)
    axes.set_yticks(range(len(found)), [f"{d.objective}:\n{words[d.measure]}" for d in found])
    axes.set_ylim(len(found) - 0.5, -0.5)
