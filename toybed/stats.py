"""Uncertainty: interquartile mean, bootstrap intervals, paired differences, probability of improvement.

Scores are arrays whose first axis is the run (seed). Nothing here uses global randomness: a ``numpy`` generator is
required where something is drawn. The ideas are rliable's (arXiv 2108.13264).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from toybed.errors import ToybedError

Array = NDArray[np.float64]
LEVEL = 0.95
RESAMPLES = 4000


class Interval(NamedTuple):
    """An estimate with a two-sided 95 % interval and the number of runs behind it."""

    estimate: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.estimate:.3g} [{self.low:.3g}, {self.high:.3g}], n = {self.n}"


def mean(values: Array, axis: int = 0) -> Array:
    """The mean along an axis."""
    return np.asarray(values, dtype=float).mean(axis)


def iqm(values: ArrayLike, axis: int = 0) -> Array:
    """Interquartile mean, with fractional weights: the mean of exactly the middle half of the mass.

    With n values each holds mass 1/n; the lowest and the highest quarter of the mass are dropped, of a value that
    straddles a quartile only the part outside. (Trimming whole values would drop none of 3, and 2 of 7.)

    >>> round(float(iqm(np.arange(7) ** 2)), 2)
    10.14

    Args:
        values: any shape.
        axis: the axis of runs.
    """
    ordered = np.sort(np.asarray(values, dtype=float), axis)
    n = ordered.shape[axis]
    if n == 0:
        raise ToybedError("iqm: there are no values")
    edges = np.arange(n + 1) / n
    weight = np.clip(np.minimum(edges[1:], 0.75) - np.maximum(edges[:-1], 0.25), 0, None) * 2
    result: Array = np.tensordot(np.moveaxis(ordered, axis, -1), weight, axes=1)
    return result


def bootstrap(
    values: ArrayLike,
    random: np.random.Generator,
    statistic: Callable[..., Array] = mean,
    resamples: int = RESAMPLES,
) -> Interval:
    """Percentile bootstrap over runs.

    For a matrix (runs, tasks) runs are resampled within each task, independently (stratified), and the statistic is
    taken over all runs and tasks together.

    Args:
        values: ``[n]`` or ``[n, tasks]``; runs without a value (NaN) are left out of a vector.
        random: the randomness.
        statistic: a function of ``(values, axis)``: :func:`mean`, :func:`iqm`.

    Raises:
        ToybedError: no value is left, or a matrix has holes.
    """
    data = np.asarray(values, dtype=float)
    if data.ndim == 1:
        data = data[~np.isnan(data)]
    if data.size == 0:
        raise ToybedError("bootstrap: no run has a value")
    if np.isnan(data).any():
        raise ToybedError("bootstrap: a matrix of runs and tasks may not have missing values")
    n = data.shape[0]
    matrix = data.reshape(n, -1)
    index = random.integers(n, size=(resamples, *matrix.shape))
    drawn = np.take_along_axis(matrix[None], index, 1).reshape(resamples, -1)
    low, high = np.quantile(statistic(drawn, 1), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(statistic(matrix.reshape(-1), 0)), float(low), float(high), n)


def mean_of_found(values: ArrayLike) -> float:
    """The mean over the runs that have a value; NaN, quietly, where none has."""
    data = np.asarray(values, dtype=float)
    data = data[np.isfinite(data)]
    return float(data.mean()) if len(data) else float("nan")


def mean_interval(values: ArrayLike) -> Interval:
    """The mean over runs with Student's t interval, which keeps its 95 % for few runs.

    A percentile bootstrap of 6 runs covers about 85 %, of 3 about 76 %; verdicts are taken at such sizes. Runs without
    a value (NaN) are left out; where none is left everything is NaN and n is 0. One run has an interval without width:
    it decides nothing by itself.

    Args:
        values: one number for each run, ``[n]``; differences, where runs are paired.
    """
    from scipy.special import stdtrit  # slow to import, and the command line imports this module to list questions

    data = np.asarray(values, dtype=float)
    data = data[np.isfinite(data)]
    n = len(data)
    center = mean_of_found(data)
    half = float(stdtrit(n - 1, (1 + LEVEL) / 2) * data.std(ddof=1) / n**0.5) if n > 1 else 0.0
    return Interval(center, center - half, center + half, n)


def paired_difference(
    treatment: ArrayLike, control: ArrayLike, random: np.random.Generator, statistic: Callable[..., Array] = mean
) -> Interval:
    """Interval of ``treatment - control`` where run i of both had the same seed (and so the same base policy).

    Far tighter than comparing two intervals, because what the seeds share cancels.

    Raises:
        ToybedError: the two have different numbers of runs.
    """
    a, b = np.asarray(treatment, dtype=float), np.asarray(control, dtype=float)
    if a.shape != b.shape:
        raise ToybedError(f"paired_difference: {a.shape} and {b.shape} runs cannot be paired")
    return bootstrap(a - b, random, statistic)


def probability_of_improvement(x: ArrayLike, y: ArrayLike) -> float:
    """P(X > Y) over all pairs of runs, ties counted half (Mann-Whitney U divided by the number of pairs)."""
    from scipy.stats import rankdata  # slow to import, and the command line imports this module to list questions

    a, b = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if not a.size or not b.size:
        raise ToybedError("probability_of_improvement: a sample is empty")
    ranks = rankdata(np.concatenate([a, b]))
    wins = ranks[: a.size].sum() - a.size * (a.size + 1) / 2
    return float(wins / (a.size * b.size))


def rank_correlation(x: ArrayLike, y: ArrayLike) -> float:
    """Spearman's rank correlation over the pairs that have both values, ties at their mean rank.

    NaN where fewer than 3 pairs are left, or where one side does not vary.
    """
    from scipy.stats import rankdata

    a, b = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    both = np.isfinite(a) & np.isfinite(b)
    if both.sum() < 3:
        return float("nan")
    ranks = np.stack([rankdata(values[both]) for values in (a, b)])
    if not ranks.std(1).all():
        return float("nan")
    return float(np.corrcoef(ranks)[0, 1])


def correlation_interval(correlation: float, pairs: int) -> Interval:
    """Fisher's 95 % interval of a rank correlation of ``pairs`` independent pairs; its n is their number.

    ``tanh(artanh r ± 1.96 sqrt(1.06 / (pairs - 3)))`` (Fieller, Hartley and Pearson 1957 for Spearman's r). With fewer
    than 8 pairs there is none (NaN, and n 0): a handful of points in one order is no rare thing.
    """
    if pairs < 8 or not np.isfinite(correlation):
        return Interval(correlation, float("nan"), float("nan"), 0)
    center = np.arctanh(np.clip(correlation, -0.9999, 0.9999))
    half = 1.96 * (1.06 / (pairs - 3)) ** 0.5
    return Interval(correlation, float(np.tanh(center - half)), float(np.tanh(center + half)), pairs)


def best_on_others(values: Array) -> NDArray[np.int64]:
    """For each run the arm that is best on the other runs: the one whose smallest mean measure is largest.

    Args:
        values: ``[arms, measures, n]``.

    Returns:
        Index of an arm, ``[n]``; the first where no arm has a value.
    """
    found = np.isfinite(values)
    filled = np.where(found, values, 0.0)
    count = found.sum(-1, keepdims=True) - found
    others = (filled.sum(-1, keepdims=True) - filled) / np.where(count > 0, count, np.nan)
    score = np.nan_to_num(others.min(1), nan=-np.inf)  # of an arm without a value: the mean is NaN, so is the smallest
    return np.asarray(score.argmax(0))
