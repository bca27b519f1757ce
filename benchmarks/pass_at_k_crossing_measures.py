"""What the question ``pass_at_k_crossing`` looks at: losses of pass@k, and where two curves cross."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from toybed import laws
from toybed.stats import Interval, mean_interval
from toybed.study import Records

Array = NDArray[np.float64]

KS = (1, 4, 16, 64, 256)  # recorded; 1 is the reward


def pass_at(records: Records, k: int, split: str = "test") -> Array:
    """pass@k along each run, ``[n, points]``."""
    return records[f"reward_{split}" if k == 1 else f"pass@{k}_{split}"]


def loss(records: Records, k: int = KS[-1], split: str = "test") -> Array:
    """The base's pass@k less the policy's, along each run, ``[n, points]``."""
    curve = pass_at(records, k, split)
    return curve[:, :1] - curve


def crossings(records: Records, split: str = "test") -> Array:
    """The k at which each run's base overtakes it in the end, ``[n]``; NaN where it never leads, or leads to the last.

    Linear in log k between the recorded ones.
    """
    losses = np.stack([loss(records, k, split)[:, -1] for k in KS], 1)
    return np.array([_first_zero(row) for row in losses])


def _first_zero(losses: Array) -> float:
    later = np.flatnonzero(losses > 0)
    if not (losses[0] < 0 and len(later)):  # so not for a diverged run, either: NaN is not below 0
        return float("nan")
    i = int(later[0])
    share = losses[i - 1] / (losses[i - 1] - losses[i])
    return float(np.exp(np.log(KS[i - 1]) + share * (np.log(KS[i]) - np.log(KS[i - 1]))))


def matched(one: Records, other: Records) -> tuple[Array, Array]:
    """The loss at k = 256 of both, at the highest train success that both reached, each ``[n]``."""
    level = np.minimum(one["reward_train"].max(1), other["reward_train"].max(1))  # NaN for a diverged run

    def at_level(records: Records) -> Array:
        rows = zip(level, records["reward_train"], loss(records), strict=True)
        return np.array([laws.value_at(*row) for row in rows])

    return at_level(one), at_level(other)


def typical(crossed: Array) -> Interval:
    """Geometric mean of k with its interval, over the runs that cross."""
    estimate, low, high, n = mean_interval(np.log(crossed))
    return Interval(float(np.exp(estimate)), float(np.exp(low)), float(np.exp(high)), n)


def told_crossing(records: Records, split: str = "test") -> str:
    """How many runs cross, and where, in words."""
    crossed = crossings(records, split)
    interval = typical(crossed)
    where = f", at k = {interval.estimate:.0f}" if interval.n else ""
    return f"{interval.n} of {len(crossed)} runs cross{where}"
