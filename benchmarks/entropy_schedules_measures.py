"""How far outside the frontier of fixed arms a point lies, on runs that did not choose where to look."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

from toybed.stats import Array, Interval, mean_interval, mean_of_found

PARTS = 8
SMALLEST_SPAN = 0.01


def weightings(measures: int) -> Array:
    """Weights of the measures that add up to 1, in eighths, ``[W, measures]``; each alone is among them."""
    whole = [w for w in product(range(PARTS + 1), repeat=measures) if sum(w) == PARTS]
    return np.array(whole) / PARTS


def spans(fixed: Array) -> Array:
    """How far apart the fixed arms ``[A, M, n]`` lie in each measure, of means over runs, ``[M]``; at least 0.01."""
    means = np.apply_along_axis(mean_of_found, -1, fixed)
    means = means[np.isfinite(means).all(1)]
    reach: Array = np.maximum(np.ptp(means, 0) if len(means) else 0.0, np.full(fixed.shape[1], SMALLEST_SPAN))
    return reach


def gains(challenger: Array, fixed: Array) -> Array:
    """By how much a challenger beats each fixed arm under each weighting, run by run, ``[W, A, n]``.

    Measures are in units of the span of the fixed arms, so that a gain of 1 is all that a choice among them is worth.

    Args:
        challenger: ``[M, n]``.
        fixed: ``[A, M, n]``.
    """
    apart = (challenger - fixed) / spans(fixed)[:, None]
    return np.einsum("wm,amn->wan", weightings(len(challenger)), apart)


def of_others(values: Array) -> Array:
    """For each run the mean over the other runs, ``[..., n]``; runs without a value are left out."""
    known = np.isfinite(values)
    filled = np.where(known, values, 0.0)
    count = known.sum(-1, keepdims=True) - known
    mean: Array = (filled.sum(-1, keepdims=True) - filled) / np.where(count > 0, count, np.nan)
    return mean


def margins(gained: Array) -> Array:
    """For each run how far outside the frontier the challenger lies on the other runs, ``[n]``.

    The signed distance ``max_w min_a w (s - a)``: in the weighting that favours it most, from the best fixed arm.
    """
    worst = np.nan_to_num(of_others(gained), nan=-np.inf).min(1)
    return np.asarray(worst.max(0))


def favoured(gained: Array) -> Array:
    """Gains over each fixed arm in the weighting that favours the challenger most on the *other* runs, ``[A, n]``."""
    worst = np.nan_to_num(of_others(gained), nan=-np.inf).min(1)
    chosen: NDArray[np.int64] = worst.argmax(0)
    own: Array = gained[chosen, :, np.arange(gained.shape[-1])].T
    return own


def least(over: Array) -> tuple[int, Interval]:
    """The fixed arm that is hardest to tell from the challenger: the one whose interval reaches lowest.

    It lies above 0 only if those of all arms do, each of which is a test by itself: nothing is chosen, and a claim
    that all of them are beaten needs no correction for their number. (Against the arm that is best on the other runs
    alone, 7 % of simulated challengers that lie on the frontier came out as outside, where 2.5 % should: the choice is
    at times wrong, and then the frontier is taken for lower than it is.)

    Args:
        over: gains ``[A, n]``.

    Returns:
        Its index, and the interval of the gain over it.
    """
    intervals = [mean_interval(row) for row in over]
    hardest = min(range(len(over)), key=lambda arm: intervals[arm].low if intervals[arm].n else -np.inf)
    return hardest, intervals[hardest]


def most(gained: Array) -> Interval:
    """The interval that reaches highest over all weightings, each against the arm that is best on the other runs.

    Where even this one lies below a bound, the challenger does so in every weighting.
    """
    others = np.nan_to_num(of_others(gained), nan=np.inf)
    best = others.argmin(1)[:, None]
    against = np.take_along_axis(gained, best, 1)[:, 0]
    return max((mean_interval(row) for row in against), key=lambda each: each.high if each.n else np.inf)
