"""The figure of ``several_objectives``: entropy against success by what is paid for, and verifiers at equal J."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from toybed import plotting
from toybed.benchmarks.several_objectives_measures import ENTROPY, MATCHED, SUCCESS, value
from toybed.benchmarks.several_objectives_sweep import CHANNELS, NAMES, STEPWISE
from toybed.stats import mean_interval, mean_of_found
from toybed.study import Records

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DRAWN = {
    "outcome": plotting.COLOURS[1],
    "process": plotting.COLOURS[2],
    "shuffled": plotting.COLOURS[0],
    "more": plotting.COLOURS[3],
    "dense": plotting.COLOURS[5],
    "vpo_parallel": plotting.COLOURS[4],
}
KINDS = {"fails": plotting.COLOURS[1], "both": plotting.COLOURS[0], "passes": plotting.COLOURS[2]}
HOW = {"fails": "fails right ones", "both": "errs both ways", "passes": "passes wrong ones"}


def figure(records: Mapping[str, Records]) -> Figure:
    """Both worlds with steps along training, and the verifiers of ChainReach."""
    with plotting.panels(3, width=4.3, height=3.8) as (page, axes):
        for panel, (world, paid) in zip(axes, STEPWISE.items(), strict=False):
            _draw_paths(panel, records, world)
            panel.set(title=paid.title, xlabel="held-out success", ylabel="held-out entropy (nats per token)")
        _draw_verifiers(axes[2], records)
    return page


def _draw_paths(axes: Axes, records: Mapping[str, Records], world: str) -> None:
    for credit, colour in DRAWN.items():
        found = records.get(f"{world}/{credit}")
        if found is None:
            continue
        x, y = (plotting.sound_mean(found[measure]) for measure in (SUCCESS, ENTROPY))
        axes.plot(x, y, color=colour, label=NAMES[credit], linewidth=1.4)
        axes.plot(x[-1:], y[-1:], "o", color=colour, markersize=4)
    axes.legend(fontsize=7, frameon=False, loc="upper right")
    first, last = (mean_of_found(records[f"{world}/outcome"].at(SUCCESS, place)) for place in (0, -1))
    if np.isfinite(first + last):
        axes.axvline(first + MATCHED * (last - first), color="#999999", linestyle=":", linewidth=1)


def _draw_verifiers(axes: Axes, records: Mapping[str, Records]) -> None:
    _draw_point(axes, records, "outcome", plotting.COLOURS[3], "perfect")
    for j, kinds in CHANNELS.items():
        for kind in kinds:
            words = f"J = {j}, {HOW[kind]}"
            _draw_point(axes, records, f"{kind}_{j}", KINDS[kind], words, hollow=j != "0.6")
    axes.set(title="ChainReach, by verifier", xlabel="held-out success in the end", ylabel="entropy in the end")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=7, frameon=False, loc="upper right")


def _draw_point(
    axes: Axes,
    records: Mapping[str, Records],
    credit: str,
    colour: str,
    label: str,
    *,
    hollow: bool = False,
) -> None:
    if f"chain/{credit}" not in records:
        return
    x, y = (mean_interval(value(records, "chain", credit, measure, None)) for measure in (SUCCESS, ENTROPY))
    if not np.isfinite(x.estimate + y.estimate):
        return
    errors = [[[v.estimate - v.low], [v.high - v.estimate]] for v in (x, y)]
    axes.errorbar(
        x.estimate,
        y.estimate,
        errors[1],
        errors[0],
        fmt="o",
        color=colour,
        markerfacecolor="white" if hollow else colour,
        markersize=5,
        linewidth=0.8,
        label=label,
    )
