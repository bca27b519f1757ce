"""Draws logs of language models and their nearest toys on axes without units."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from toybed import plotting
from toybed.llm.compare import Overlay
from toybed.llm.signature import Curve, directions, shares, smoothed
from toybed.llm.table import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TOYS_SHOWN = 3
HIGHEST = 3.0  # where the axes end: an explosion runs out of them
LONGEST = 70  # letters of a name
TITLES = (
    ("Entropy", "share of the run", "over its start"),
    ("Reward", "share of the run", "won, of what was to win"),
    ("Gain against entropy spent", "share of the entropy's loss", "share of the gain"),
)


def figure(overlays: Sequence[Overlay]) -> Figure:
    """Logs in full lines over their points, and their nearest toys in broken lines.

    A log that has no reward shows its entropy; one whose entropy does not fall, or whose reward does not rise, has no
    shares of these.
    """
    with plotting.panels(3) as (drawn, axes):
        for i, of in enumerate(overlays):
            colour = plotting.COLOURS[i % len(plotting.COLOURS)]
            _draw(axes, of.curve if len(of.curve) else _alone(of.table), of.name, colour, "-")
        toys = {toy.label: toy for of in overlays for _, toy in of.near[:TOYS_SHOWN]}
        for i, toy in enumerate(toys.values(), len(overlays)):
            colour = plotting.COLOURS[i % len(plotting.COLOURS)]
            _draw(axes, _mean(toy.curves), f"toy: {toy.label}", colour, "--")
        axes[2].plot([0, 1], [0, 1], color="#999999", linewidth=0.8, zorder=0)
        axes[0].set_ylim(0, min(axes[0].get_ylim()[1], HIGHEST))
        axes[1].set_ylim(bottom=max(axes[1].get_ylim()[0], -1.0))
        axes[2].set(xlim=(-0.25, 1.25), ylim=(-0.25, 1.25))
        for ax, (title, x, y) in zip(axes, TITLES, strict=True):
            ax.set(title=title, xlabel=x, ylabel=y)
        lines = len(overlays) + len(toys)
        drawn.legend(loc="outside lower left", frameon=False, fontsize=7.5, ncols=1 if lines <= 4 else 2)
    return drawn


def _draw(axes: Sequence[Axes], of: Curve, name: str, colour: str, style: str) -> None:
    """One curve on all panels for which it has what they show; its name for the legend in any case."""
    label = name if len(name) <= LONGEST else f"{name[: LONGEST - 3]}..."
    axes[0].plot([], [], style, color=colour, label=label)
    if not len(of):
        return
    start = of.entropy[: of.window].mean()
    if np.isfinite(of.entropy).all() and start > 0:
        _line(axes[0], of, of.entropy / start, colour, style)
    if not np.isfinite(of.reward).all():
        return
    first, best = of.reward[: of.window].mean(), max(1.0, of.reward.max())
    if best > first:
        _line(axes[1], of, (of.reward - first) / (best - first), colour, style)
    if all(directions(of)):
        axes[2].plot(*shares(of), style, color=colour, linewidth=1.2)


def _line(axes: Axes, of: Curve, values: np.ndarray, colour: str, style: str) -> None:
    """The points of a log, faint, and the mean around each."""
    if style == "-":
        axes.plot(of.time, values, ".", color=colour, alpha=0.15, markersize=3)
    axes.plot(of.time, smoothed(values, of.window), style, color=colour)


def _alone(table: Table) -> Curve:
    """The entropy of a log that has no reward."""
    found = np.isfinite(table.entropy)
    return Curve(table.step[found].astype(float), table.entropy[found], table.reward[found])


def _mean(curves: Sequence[Curve]) -> Curve:
    """The mean over the runs that were measured at the same steps as the first."""
    same = [of for of in curves if np.array_equal(of.step, curves[0].step)]
    entropy, reward = (np.mean([getattr(of, name) for of in same], axis=0) for name in ("entropy", "reward"))
    return Curve(curves[0].step, entropy, reward)
