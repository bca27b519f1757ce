"""Uncertainty against definitions, brute force and simulation."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, spearmanr, t

from toybed.errors import ToybedError
from toybed.stats import (
    Interval,
    best_on_others,
    bootstrap,
    correlation_interval,
    iqm,
    mean,
    mean_interval,
    paired_difference,
    probability_of_improvement,
    rank_correlation,
)

values = st.lists(st.integers(-100, 100), min_size=1, max_size=25)


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# Interquartile mean ----------------------------------------------------------------------------------------------


@given(x=values)
def test_iqm_is_the_trimmed_mean_of_each_value_four_times(x: list[int]) -> None:
    """Four copies of n values can be cut at the quartiles exactly: drop n at each end, average the 2n left.

    Values up to 100 and weights that sum to 1: float64 rounds by less than 25 * 100 * 2.2e-16 = 6e-13.
    """
    copies = sorted(x * 4)
    expected = Fraction(sum(copies[len(x) : 3 * len(x)]), 2 * len(x))
    assert float(iqm(x)) == pytest.approx(float(expected), rel=0, abs=1e-12)


def test_iqm_by_hand() -> None:
    """0 1 4 9 16 25 36, four times each: the middle 14 of 28 are 1 4 4 4 4 9 9 9 9 16 16 16 16 25, sum 142.

    One copy of 1 and of 25 is inside. 142 / 14 = 10.142857.
    """
    assert float(iqm(np.arange(7) ** 2)) == pytest.approx(142 / 14, rel=1e-14)
    assert float(iqm([5.0])) == 5.0
    assert float(iqm([1.0, 3.0])) == 2.0
    assert float(iqm([0.0, 3.0, 100.0])) == pytest.approx((0.25 * 0 + 1 * 3 + 0.25 * 100) / 1.5)
    assert float(iqm([-1000.0, 1.0, 2.0, 1000.0])) == 1.5


def test_iqm_axes_and_holes() -> None:
    matrix = generator().normal(size=(7, 3, 2))
    for axis in range(3):
        got = iqm(matrix, axis)
        assert np.shape(got) == tuple(np.delete(matrix.shape, axis))
        np.testing.assert_allclose(got, np.apply_along_axis(iqm, axis, matrix), rtol=1e-12)
    assert math.isnan(iqm([1.0, math.nan, 2.0, 3.0, 4.0])), "a diverged run is not trimmed away in silence"
    with pytest.raises(ToybedError, match=r"^iqm: there are no values$"):
        iqm([])


# Bootstrap ---------------------------------------------------------------------------------------------------------


def test_bootstrap_is_fixed_by_its_generator() -> None:
    x = generator(1).normal(size=12)
    global_state = np.random.get_state()  # noqa: NPY002
    first, again, other = (bootstrap(x, generator(seed)) for seed in (5, 5, 6))
    after = np.random.get_state()  # noqa: NPY002
    assert first == again
    assert (first.low, first.high) != (other.low, other.high)
    assert first.estimate == other.estimate == pytest.approx(x.mean())
    assert first.n == 12
    assert after[2:] == global_state[2:]
    np.testing.assert_array_equal(after[1], global_state[1])


@pytest.mark.parametrize("statistic", [mean, iqm])
@settings(max_examples=20)
@given(x=values, seed=st.integers(0, 1000), shift=st.integers(-50, 50), scale=st.sampled_from([0.5, 2.0]))
def test_bootstrap_moves_with_its_values(statistic: Any, x: list[int], seed: int, shift: int, scale: float) -> None:
    """The same draws, shifted and scaled; and an interval lies among the values. Rounding as for the IQM, scaled."""
    one = bootstrap(x, generator(seed), statistic, resamples=200)
    two = bootstrap(scale * np.array(x) + shift, generator(seed), statistic, resamples=200)
    np.testing.assert_allclose(two[:3], scale * np.array(one[:3]) + shift, rtol=0, atol=1e-11)
    assert min(x) - 1e-12 <= one.low <= one.high <= max(x) + 1e-12
    assert one.estimate == pytest.approx(float(statistic(np.array(x, float))), abs=1e-12)


def test_bootstrap_of_equal_values_is_a_point() -> None:
    assert bootstrap([3.0] * 6, generator()) == Interval(3.0, 3.0, 3.0, 6)
    assert bootstrap([3.0], generator()) == Interval(3.0, 3.0, 3.0, 1)


def test_interval_prints_its_runs() -> None:
    assert str(Interval(0.123456, -1.0, 2.5, 8)) == "0.123 [-1, 2.5], n = 8"


def test_bootstrap_of_two_values_is_a_coin() -> None:
    """Means of two draws from 0 and 1: 0, 1/2, 1 with chances 1/4, 1/2, 1/4, so the 95 % interval is all of [0, 1].

    It fails where fewer than 2.5 % of 4000 resamples are 0 (or 1), expected 25 %: far below 1e-100.
    """
    assert bootstrap([0.0, 1.0], generator()) == Interval(0.5, 0.0, 1.0, 2)


def test_level_is_95_percent() -> None:
    """Of the mean of n 0/1 values with half ones: the quantiles of Binomial(n, 1/2) / n at 2.5 and 97.5 %.

    For n = 400 these are 180.4 and 219.6 of 400, in steps of 1. The quantile of 4000 resamples has standard error
    sqrt(0.025 * 0.975 / 4000) = 0.0025 in probability, and the density there is 0.0058 a step, so 0.43 steps: five of
    them and the rounding, 3.2 steps = 0.008, is exceeded with a chance below 1e-6. A 90 % interval is 3.1 steps off
    on both sides, so the width is also held: its error is at most 1.5 times one end's, 0.64 steps, five of it 3.2.
    """
    interval = bootstrap([0.0, 1.0] * 200, generator(), resamples=4000)
    low, high = binom.ppf([0.025, 0.975], 400, 0.5) / 400
    assert interval.low == pytest.approx(low, abs=0.008)
    assert interval.high == pytest.approx(high, abs=0.008)
    assert interval.high - interval.low == pytest.approx(high - low, abs=0.0082)


def test_coverage_of_the_interval() -> None:
    """How often the 95 % interval of 20 normal values holds the true mean, in 2000 simulations.

    The percentile bootstrap is known to cover too little in small samples: it is about mean +- 1.96 s_n / sqrt(n) with
    the population form s_n^2 = (n-1)/n s^2, so it covers P(|t_19| < 1.96 sqrt(19/20)) = 0.929. Allowed for what this
    leaves out (skewness of the sample, 1000 resamples): 0.01. Each side then fails with a chance of 1e-6 by the
    binomial. An interval of 90 % (covers 0.87) and one that always covers are both outside.
    """
    n, simulations = 20, 2000
    random = generator(0)
    hits = 0
    for _ in range(simulations):
        interval = bootstrap(random.normal(size=n), random, resamples=1000)
        hits += interval.low <= 0 <= interval.high
    theory = 2 * t.cdf(1.959964 * math.sqrt((n - 1) / n), n - 1) - 1
    assert theory == pytest.approx(0.929, abs=5e-4)
    lowest, highest = binom.ppf(1e-6, simulations, theory - 0.01), binom.isf(1e-6, simulations, theory + 0.01)
    assert 0.88 < lowest / simulations < highest / simulations < 0.97
    assert lowest <= hits <= highest


def test_runs_are_resampled_within_each_task() -> None:
    """Tasks that differ, runs that do not: there is no uncertainty about the mean of these tasks."""
    matrix = np.tile([0.0, 10.0, 50.0], (5, 1))
    assert bootstrap(matrix, generator()) == Interval(20.0, 20.0, 20.0, 5)
    flat = bootstrap(matrix.reshape(-1), generator())
    assert flat.high - flat.low > 10


def test_tasks_are_resampled_independently() -> None:
    """Two tasks with opposite runs: resampled together the mean would never move."""
    column = np.array([0.0, 1.0] * 5)
    together = np.stack([column, 1 - column], 1)
    interval = bootstrap(together, generator())
    assert interval.estimate == 0.5 and interval.n == 10
    assert interval.low < 0.5 < interval.high


def test_stratified_iqm_is_taken_over_all_runs_and_tasks() -> None:
    matrix = generator(3).normal(size=(6, 4))
    assert bootstrap(matrix, generator(), iqm).estimate == pytest.approx(float(iqm(matrix.reshape(-1))), rel=1e-12)


def test_runs_without_a_value_are_left_out_of_a_vector() -> None:
    with_holes = bootstrap([1.0, math.nan, 2.0, 4.0, math.nan], generator(2))
    assert with_holes == bootstrap([1.0, 2.0, 4.0], generator(2))
    assert with_holes.n == 3
    for nothing in ([], [math.nan, math.nan]):
        with pytest.raises(ToybedError, match=r"^bootstrap: no run has a value$"):
            bootstrap(nothing, generator())
    with pytest.raises(ToybedError, match=r"matrix of runs and tasks may not have missing values"):
        bootstrap([[1.0, math.nan], [2.0, 3.0]], generator())


# Comparisons -------------------------------------------------------------------------------------------------------


def test_paired_difference_is_tighter_where_seeds_are_shared() -> None:
    """Runs share a seed effect of std 1 and differ by noise of std 0.1 and an effect of 0.5.

    The paired interval has half-width about 1.96 * 0.14 / sqrt(20) = 0.06, the unpaired one 1.96 * 1.4 / sqrt(20) =
    0.6: a ratio of ten. Below three the quotient of two variances of 19 degrees of freedom would have to be eleven
    times too small, and a paired interval that reaches 0.2 would be five half-widths off: chances below 1e-5.
    """
    random = generator(0)
    seed_effect = random.normal(size=20)
    control = seed_effect + 0.1 * random.normal(size=20)
    treatment = seed_effect + 0.5 + 0.1 * random.normal(size=20)
    paired = paired_difference(treatment, control, generator(1))
    unpaired = paired_difference(treatment, generator(2).permutation(control), generator(1))
    assert paired == bootstrap(treatment - control, generator(1))
    assert paired.estimate == pytest.approx(unpaired.estimate, abs=1e-12)
    assert 3 * (paired.high - paired.low) < unpaired.high - unpaired.low
    assert 0.2 < paired.low < paired.high < 0.8


def test_paired_difference_has_a_sign_and_drops_broken_pairs() -> None:
    assert paired_difference([3.0, 4.0], [1.0, 2.0], generator()) == Interval(2.0, 2.0, 2.0, 2)
    assert paired_difference([1.0, 2.0], [3.0, 4.0], generator()).estimate == -2.0
    broken = paired_difference([3.0, math.nan, 5.0], [1.0, 2.0, 3.0], generator())
    assert broken == Interval(2.0, 2.0, 2.0, 2)
    assert paired_difference([9.0, 3.0, 3.0], [1.0, 1.0, 1.0], generator(), iqm).estimate == pytest.approx(
        float(iqm([8.0, 2.0, 2.0]))
    )
    with pytest.raises(ToybedError, match=r"^paired_difference: \(3,\) and \(2,\) runs cannot be paired$"):
        paired_difference([1.0, 2.0, 3.0], [1.0, 2.0], generator())


small = st.lists(st.integers(-3, 3), min_size=1, max_size=12)


@given(x=small, y=small)
def test_probability_of_improvement_counts_pairs(x: list[int], y: list[int]) -> None:
    wins = sum(Fraction(1) if a > b else Fraction(1, 2) if a == b else Fraction(0) for a in x for b in y)
    got = probability_of_improvement(x, y)
    # Sums of at most 24 half-integers are exact; the one division rounds.
    assert got == pytest.approx(float(wins / (len(x) * len(y))), rel=1e-15, abs=0)
    assert got + probability_of_improvement(y, x) == pytest.approx(1.0, rel=1e-15)


def test_probability_of_improvement_without_runs() -> None:
    for x, y in (([], [1.0]), ([1.0], [])):
        with pytest.raises(ToybedError, match=r"^probability_of_improvement: a sample is empty$"):
            probability_of_improvement(x, y)
    assert math.isnan(probability_of_improvement([math.nan, 1.0], [0.0])), "a diverged run is no win and no loss"


def test_the_t_interval_is_the_textbooks():
    """n = 4, values 1 2 3 6: mean 3, s^2 = 14/3, s/sqrt(4) = 1.0801; t(.975, 3) = 3.1824, half-width 3.4374."""
    interval = mean_interval([1.0, 2.0, 3.0, 6.0, np.nan])
    assert interval.estimate == 3.0
    assert interval.high - 3.0 == pytest.approx(3.4374, abs=1e-4)
    assert 3.0 - interval.low == pytest.approx(3.4374, abs=1e-4)
    assert interval.n == 4
    assert mean_interval([2.0]) == (2.0, 2.0, 2.0, 1)
    none = mean_interval([np.nan])
    assert none.n == 0
    assert np.isnan(none.estimate)


@pytest.mark.parametrize("n", [3, 6])
def test_the_t_interval_keeps_its_promise_for_few_runs(n):
    """On normal data coverage is exactly 95 %: of 2000 intervals 1900 cover, with a deviation of sqrt(95) = 9.7.

    Outside five deviations, 1851 to 1949, lies 6e-7. (The percentile bootstrap covers some 1520 with three runs.)
    """
    random = np.random.default_rng(n)
    hits = 0
    for _ in range(2000):
        interval = mean_interval(random.normal(size=n))
        hits += interval.low <= 0 <= interval.high
    assert 1851 <= hits <= 1949


def test_rank_correlation_is_scipys_over_complete_pairs() -> None:
    random = np.random.default_rng(0)
    for size in (3, 10, 40):
        x, y = random.integers(0, 6, (2, size)).astype(float)  # with ties
        if x.std() and y.std():
            assert rank_correlation(x, y) == pytest.approx(spearmanr(x, y).statistic)
    holes = np.array([1.0, np.nan, 2.0, 3.0, 9.0])
    assert rank_correlation(holes, [4.0, 5.0, 3.0, np.nan, 1.0]) == pytest.approx(-1)
    assert np.isnan(rank_correlation([1.0, 2.0], [1.0, 2.0]))
    assert np.isnan(rank_correlation([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]))


@pytest.mark.parametrize("truth", [0.0, 0.6])
@pytest.mark.parametrize("pairs", [10, 30])
def test_the_interval_of_a_rank_correlation_covers_it(truth: float, pairs: int) -> None:
    """Of 2,000 samples 95 % should cover. For bivariate normal pairs Spearman's r is 6/pi asin(rho/2); the interval is
    an approximation, published as good to about one percent, and 2,000 draws have a standard error of 0.5 %.
    """
    rho = 2 * math.sin(math.pi * truth / 6)
    random = np.random.default_rng(3)
    x = random.standard_normal((2000, pairs))
    y = rho * x + math.sqrt(1 - rho**2) * random.standard_normal(x.shape)
    intervals = [correlation_interval(rank_correlation(*pair), pairs) for pair in zip(x, y, strict=True)]
    covered = np.mean([interval.low <= truth <= interval.high for interval in intervals])
    assert 0.92 < covered < 0.98


def test_few_pairs_in_one_order_prove_nothing() -> None:
    few = correlation_interval(1.0, 7)
    assert few.n == 0
    assert math.isnan(few.low)
    many = correlation_interval(1.0, 30)
    assert 0.9 < many.low < many.estimate
    assert many.n == 30


def test_best_on_others_by_hand() -> None:
    values = np.array([[[9.0, 0, 0]], [[1.0, 1, 1]], [[np.nan, np.nan, np.nan]]])
    assert best_on_others(values).tolist() == [1, 0, 0]
    # The smaller of two measures counts.
    two = np.array([[[5.0, 5, 5], [0.0, 0, 0]], [[1.0, 1, 1], [1.0, 1, 1]]])
    assert best_on_others(two).tolist() == [1, 1, 1]
    assert best_on_others(np.full((2, 1, 3), np.nan)).tolist() == [0, 0, 0]
