"""The figure of ``shortcut_pressure``: separable accuracy over the share, and by what keeps entropy at one share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from toybed import plotting
from toybed.benchmarks.belief_sweep import SEPARABLE, SHORTCUT
from toybed.benchmarks.shortcut_pressure_sweep import AT, INTERVENTIONS, SHARES, rl, sft
from toybed.stats import mean_of_found
from toybed.study import Records

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLACK, BLUE, RED, GREEN, *_, GREY = plotting.COLOURS
CONTROLS = {"longer": "twice as long", "slower": "a third of the rate", "faster": "twice the rate", "fresh": "one step"}


def figure(records: Mapping[str, Records]) -> Figure:
    """Over the share; and against the entropy left."""
    with plotting.panels(2, width=5.0, height=3.8) as (page, (left, right)):
        _over_shares(left, records)
        _against_entropy(right, records)
    return page


def _over_shares(axes: Axes, records: Mapping[str, Records]) -> None:
    at = [share for share in SHARES if rl(share) in records]
    for arm, colour, name in ((rl, RED, "RL from scratch"), (sft, BLUE, "SFT")):
        values = [records[arm(share)].at(SEPARABLE, -1) for share in at]
        axes.plot(at, [mean_of_found(each) for each in values], "-", color=colour, label=name)
        for share, each in zip(at, values, strict=True):
            axes.plot([share] * len(each), each, ".", color=colour, alpha=0.5, markersize=5)
    axes.axhline(SHORTCUT, color=BLACK, linewidth=0.8, linestyle=":")
    axes.set(xlabel="share of train questions that are separable", ylabel="right on separable questions")
    axes.set(ylim=(-0.03, 1.03), title="Pressure against the shortcut")
    axes.legend(frameon=False, fontsize=8, loc="lower right")


def _against_entropy(axes: Axes, records: Mapping[str, Records]) -> None:
    labels = {rl(AT): "GRPO", **{name: label for name, (label, _) in INTERVENTIONS.items()}, **CONTROLS}
    places = {}
    for name, label in labels.items():
        if name not in records:
            continue
        x, y = (mean_of_found(records[name].at(measure, -1)) for measure in ("entropy_train", SEPARABLE))
        colour = RED if name == rl(AT) else GREY if name in CONTROLS else GREEN
        axes.plot(x, y, "o", color=colour, markersize=5)
        if x == x and y == y:  # every run may have diverged
            places[label] = (x, y)
    axes.axhline(SHORTCUT, color=BLACK, linewidth=0.8, linestyle=":")
    axes.set(xlabel="entropy left (nats)", ylabel="right on separable questions", ylim=(-0.03, 1.03))
    axes.set(title=f"At a share of {AT:g}")
    axes.margins(x=0.15)
    plotting.label_points(axes, places)
