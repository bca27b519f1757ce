"""What is had without training anything: answering some responses by one policy and the rest by another."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from toybed.stats import mean_interval
from toybed.study import Outcome, above

Array = NDArray[np.float64]


def frontier(points: Array, reward: Array) -> Array:
    """The most diversity that mixing policies gives each run, by :func:`best_mixture`.

    Args:
        points: pass@1 and diversity of each policy in each run, ``[arms, 2, n]``.
        reward: the pass@1 at which it is asked for, ``[n]``.
    """
    return np.array([best_mixture(at, *points[:, :, run].T) for run, at in enumerate(reward)])


def more_than_mixtures(excess: Array, points: Array, reward: Array) -> Outcome:
    """Is there more diversity than any mixture of rivals has: refuted, or undecided, seldom supported.

    What lies below a chord lies below the mixture. What lies above it may not lie above the mixture, which has more
    than the chord: so that is supported only where no chord is met, the pass@1 being above all rivals' in each run.

    Args:
        excess: diversity above the frontier, or a positive multiple of that, ``[n]``.
        points: pass@1 and diversity of the rivals, ``[arms, 2, n]``.
        reward: the pass@1 at which it was taken, ``[n]``.
    """
    outcome = above(mean_interval(excess), 0.0)
    met = (points[:, 0] >= reward).any(0) & np.isfinite(excess)
    return "undecided" if outcome == "supported" and met.any() else outcome


def best_mixture(at: float, reward: Array, diversity: Array) -> float:
    """The largest diversity at a pass@1 of at least ``at`` on the points or on the chord between two.

    Drawing a share of the responses from one policy and the rest from another gives the chord's pass@1, and at least
    its coverage or pass@k, which are concave in the probability of each response.

    Args:
        at: a pass@1; above the highest of the points it counts as that.
        reward, diversity: the points, ``[arms]``; those without a value are left out.
    """
    found = np.isfinite(reward) & np.isfinite(diversity)
    if not found.any() or not np.isfinite(at):
        return float("nan")
    reward, diversity = reward[found], diversity[found]
    at = min(at, float(reward.max()))
    right = reward >= at
    left = ~right
    step = (at - reward[left, None]) / (reward[right] - reward[left, None])
    chords = diversity[left, None] * (1 - step) + diversity[right] * step
    return float(max(diversity[right].max(), chords.max(initial=-np.inf)))
