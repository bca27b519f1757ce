"""What ``critique_feedback`` reads off its runs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from toybed.stats import mean_of_found
from toybed.study import Records, number

Array = NDArray[np.float64]

ALL, HARD_TYPES = "reward_test", "success_hard"
ENTROPY = "entropy_test"
PASS_AT = (ALL, "pass@4_test", "pass@16_test", "pass@64_test", "pass@256_test")


def difference(records: Mapping[str, Records], own: str, rival: str, measure: str = ALL) -> Array:
    """A measure at the end of each run less that of the rival with the same seed, ``[n]``."""
    return records[own].at(measure, -1) - records[rival].at(measure, -1)


def on_the_way(records: Mapping[str, Records], own: str, rival: str, measure: str) -> Array:
    """The mean of the difference over the updates at which both were measured, the start left out, ``[n]``.

    NaN where one of the two runs diverged.
    """
    a, b = records[own], records[rival]
    _, mine, theirs = np.intersect1d(a.steps[measure], b.steps[measure], return_indices=True)
    mean = (a[measure][:, mine[1:]] - b[measure][:, theirs[1:]]).mean(1)
    return np.where(a.sound & b.sound, mean, np.nan)


def told(own: Records, place: int = -1) -> str:
    """Success on all types and on hard ones, in words."""
    return " and ".join(number(mean_of_found(own.at(name, place)), ".3f") for name in (ALL, HARD_TYPES))
