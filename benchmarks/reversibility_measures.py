"""What ``reversibility`` measures: shares of what was lost and won, the choice of a dose, and what mixing gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from toybed.benchmarks.reversibility_sweep import SECOND
from toybed.stats import best_on_others, mean_interval
from toybed.study import Records

Array = NDArray[np.float64]

COVERAGE, MANY, ONE = "coverage@256_test", "pass@256_test", "reward_test"
SHARES = {COVERAGE: "coverage brought back", MANY: "pass@256 brought back", ONE: "pass@1 kept"}
HALF = 0.5  # of what was lost and of what was won


def last(records: Mapping[str, Records], arm: str, measure: str) -> Array:
    """A measure at the end of each run ``[n]``; NaN for one that diverged. ``base`` is where ``collapsed`` began."""
    return records["collapsed"].at(measure, 0) if arm == "base" else records[arm].at(measure, -1)


def whole(records: Mapping[str, Records], measure: str) -> Array:
    """What the collapse cost of coverage or pass@256, or won of pass@1, ``[n]``."""
    cost = last(records, "base", measure) - last(records, "collapsed", measure)
    return -cost if measure == ONE else cost


def share(records: Mapping[str, Records], measure: str, change: Array, at: float) -> Array:
    """A change as a share of what the collapse cost or won, ``[n]``: its mean is the ratio of the means.

    The interval of its mean holds ``at`` exactly when that of ``change - at * whole`` holds 0, so no seed's small loss
    is divided by. NaN where the collapse did not certainly cost both coverage and pass@256 and win pass@1.
    """
    if not all(mean_interval(whole(records, m)).low > 0 for m in SHARES):
        return np.full(len(change), np.nan)
    mine = whole(records, measure)
    return at + (change - at * mine) / mean_interval(mine).estimate


def shares_of(records: Mapping[str, Records], arm: str, at: float) -> Array:
    """What an arm brought back of coverage and pass@256 and kept of pass@1, ``[3, n]``."""
    start = {m: "base" if m == ONE else "collapsed" for m in SHARES}
    return np.stack([share(records, m, last(records, arm, m) - last(records, start[m], m), at) for m in SHARES])


def chosen(records: Mapping[str, Records], candidates: Sequence[str], at: float) -> tuple[list[str], Array]:
    """For each run the candidate that is best on the other runs, and its shares ``[3, n]``."""
    values = np.stack([shares_of(records, arm, at) for arm in candidates])
    best = best_on_others(values)
    return [candidates[i] for i in best], values[best, :, np.arange(len(best))].T


def points(records: Mapping[str, Records], arms: Sequence[str]) -> Array:
    """Pass@1 and coverage with which each run of each arm ends, ``[arms, 2, n]``."""
    return np.stack([[last(records, arm, m) for m in (ONE, COVERAGE)] for arm in arms])


def collapses(records: Mapping[str, Records]) -> dict[str, Mapping[str, Records]]:
    """The records of each collapse, with the same names for the same arms."""
    second = {arm.removeprefix(SECOND): found for arm, found in records.items() if arm.startswith(SECOND)}
    return {"first": records, "second": second} if second else {"first": records}
