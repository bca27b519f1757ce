"""Measures against NumPy, brute force and algebra.

Tolerance where none is stated: float64 and fewer than 100 terms of size 1, so 1e-12 relative and absolute.
"""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from toybed.errors import ToybedError
from toybed.measures.covariance import covariance, token_covariance
from toybed.measures.divergence import SAMPLED_KL, kl_divergence
from toybed.measures.diversity import coverage, distinct_at_k, distinct_exact, pass_at_k, pass_at_k_exact
from toybed.measures.entropy import sampled_entropy, token_entropy
from toybed.measures.moments import masked_mean

CLOSE = {"rtol": 1e-12, "atol": 1e-12}


def double(value: Any) -> Tensor:
    return torch.as_tensor(value, dtype=torch.float64)


# Entropy ------------------------------------------------------------------------------------------------------------


def test_token_entropy_sums_over_the_vocabulary() -> None:
    z = np.random.default_rng(0).normal(size=(2, 3, 5))
    expected = np.zeros((2, 3))
    for index in np.ndindex(2, 3):
        p = np.exp(z[index]) / np.exp(z[index]).sum()
        expected[index] = -sum(p[v] * math.log(p[v]) for v in range(5))
    np.testing.assert_allclose(token_entropy(double(z).log_softmax(-1)).numpy(), expected, **CLOSE)


@given(legal=st.integers(1, 6), illegal=st.integers(0, 4), floor=st.sampled_from([-1e9, -1e4, -800.0]))
def test_entropy_of_uniform_over_legal_tokens(legal: int, illegal: int, floor: float) -> None:
    log_probs = double([-math.log(legal)] * legal + [floor] * illegal)
    assert float(token_entropy(log_probs)) == pytest.approx(math.log(legal), abs=1e-12)
    assert float(token_entropy(log_probs.float())) == pytest.approx(math.log(legal), abs=1e-5)


@given(z=st.lists(st.floats(-30, 30), min_size=2, max_size=8))
def test_entropy_lies_between_zero_and_log_v(z: list[float]) -> None:
    entropy = float(token_entropy(double(z).log_softmax(-1)))
    assert -1e-12 <= entropy <= math.log(len(z)) + 1e-12


@pytest.mark.parametrize("lead", [(), (2,)])
def test_sampled_entropy_is_the_mean_over_tokens(random_batch: Any, lead: Any) -> None:
    draw = random_batch(0, lead=lead)
    log_prob, mask = draw.log_prob.detach(), draw.batch.mask
    holed = log_prob.masked_fill(~mask, math.nan)
    got = sampled_entropy(holed, mask)
    assert got.shape == lead
    runs = zip(log_prob.numpy().reshape(-1, 60), mask.numpy().reshape(-1, 60), strict=True)
    expected = [-sum(v for v, m in zip(*run, strict=True) if m) / run[1].sum() for run in runs]
    np.testing.assert_allclose(got.numpy().reshape(-1), expected, **CLOSE)


def test_sampled_entropy_is_unbiased_for_the_entropy() -> None:
    """Sum over all answers with their chances: E[-log pi] = H."""
    log_pi = double([0.5, 0.3, 0.2]).log()
    one = torch.ones(1, 1, 1, dtype=torch.bool)
    expectation = sum(log_pi[a].exp() * sampled_entropy(log_pi[a].view(1, 1, 1), one) for a in range(3))
    assert float(expectation) == pytest.approx(float(token_entropy(log_pi)), rel=1e-14)


def test_a_mean_over_nothing_is_zero() -> None:
    none = torch.zeros(2, 1, 1, 3, dtype=torch.bool)
    got = masked_mean(torch.full((2, 1, 1, 3), math.nan), none)
    assert got.shape == (2, 1, 1, 1) and (got == 0).all()


def test_kl_divergence() -> None:
    p, q = double([0.5, 0.5]), double([0.25, 0.75])
    # 1/2 log 2 + 1/2 log(2/3), and the other way 1/4 log(1/2) + 3/4 log(3/2)
    assert float(kl_divergence(p.log(), q.log())) == pytest.approx(0.5 * math.log(4 / 3), rel=1e-14)
    other = 0.25 * math.log(0.5) + 0.75 * math.log(1.5)
    assert float(kl_divergence(q.log(), p.log())) == pytest.approx(other, rel=1e-13)
    assert kl_divergence(torch.stack([p, q]).log(), q.log()).shape == (2,)


@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_a_sampled_divergence_is_right_on_average(estimator: str) -> None:
    log_p, log_q = torch.randn(2, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64).log_softmax(-1)
    average = (log_p.exp() * SAMPLED_KL[estimator](log_p - log_q)).sum()
    assert float(average) == pytest.approx(float(kl_divergence(log_p, log_q)), rel=1e-12)


@pytest.mark.parametrize("d", [1e-6, -1e-6, 1e-3, 1.0, -5.0])
def test_k3_keeps_the_digits_of_a_small_log_ratio(d: float) -> None:
    """Its series is d^2/2 - d^3/6 + ...; of a ``d`` of 1e-6, exp(-d) - 1 + d keeps four digits, expm1 keeps ten."""
    series = sum(Fraction(-d) ** n / math.factorial(n) for n in range(2, 60))
    assert float(SAMPLED_KL["k3"](double(d))) == pytest.approx(float(series), rel=1e-9, abs=0)


# Covariance ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lead", [(), (2,)])
@pytest.mark.parametrize("width", [1, 5])
def test_covariance_is_numpys(random_batch: Any, lead: Any, width: int) -> None:
    draw = random_batch(1, (3, 4, 5), lead)
    log_prob, mask = draw.log_prob.detach(), draw.batch.mask
    advantage = draw.entropy.detach()[..., :width]
    got = covariance(log_prob, advantage, mask)
    each = token_covariance(log_prob, advantage, mask)
    assert got.shape == lead and each.shape == log_prob.shape
    assert (each[~mask] == 0).all()
    wide = advantage.expand_as(log_prob)
    for s in range(2 if lead else 1):
        pick = (s,) if lead else ()
        rows = [x[pick].numpy()[mask[pick].numpy()] for x in (log_prob, wide)]
        assert float(got[pick]) == pytest.approx(np.cov(*rows, bias=True)[0, 1], rel=1e-11, abs=1e-12)
        products = (rows[0] - rows[0].mean()) * (rows[1] - rows[1].mean())
        np.testing.assert_allclose(each[pick][mask[pick]].numpy(), products, **CLOSE)


@given(seed=st.integers(0, 2**32 - 1), shift=st.floats(-5, 5))
def test_covariance_ignores_a_shift_of_the_advantage(random_batch: Any, seed: int, shift: float) -> None:
    draw = random_batch(seed)
    log_prob, advantage, mask = draw.log_prob.detach(), draw.entropy.detach(), draw.batch.mask
    # Terms up to 5 * 10: fifty times the usual size.
    torch.testing.assert_close(
        covariance(log_prob, advantage + shift, mask), covariance(log_prob, advantage, mask), rtol=0, atol=1e-11
    )


def entropy_after(log_pi: Tensor, step: Tensor) -> float:
    return float(token_entropy((log_pi + step).log_softmax(-1)))


@pytest.mark.parametrize("natural", [True, False])
@given(counts=st.lists(st.integers(1, 9), min_size=2, max_size=6), seed=st.integers(0, 2**32 - 1))
def test_entropy_falls_by_eta_times_the_covariance(natural: bool, counts: list[int], seed: int) -> None:
    """``dH = -eta Cov(log pi, A)`` for a natural-gradient step, ``-eta Cov(log pi, pi A)`` for a vanilla one.

    Each answer a is repeated n_a times, so that the mean over tokens is exactly the expectation under pi = n / sum n.
    The error is ``c2 eta^2 + c3 eta^3 + ...`` with c2 = H''/2 along the step, so halving eta quarters it: the quotient
    is ``1/4 (1 - (c3/c2) eta/2 + ...)``. Along a step d of size |d| <= 1 the third derivative of the entropy is
    -k4(log pi, d, d, d) - 2 k3(d, d, d) in cumulants; |log pi_a - log pi_b| < 2.2 here, so it is below 8 + 4 and
    |c3| < 2. With |c2| > 0.05 and eta = 1e-3 the quotient deviates by less than 2 % and the error from c2 eta^2 by less
    than 4 %. Rounding of H (1e-15) is 1e-7 of an error above 1e-8.
    """
    p = double(counts) / sum(counts)
    log_pi = p.log()
    advantage = double(np.random.default_rng(seed).normal(size=len(counts)))
    # The vanilla theorem wants the true advantage, whose mean under pi is zero.
    direction = advantage if natural else p * (advantage - (p * advantage).sum())
    direction = direction / direction.abs().max()
    second = _second_derivative(log_pi, direction)
    assume(abs(second) / 2 > 0.05)
    answers = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    shape = (1, len(answers), 1)
    every = torch.ones(shape, dtype=torch.bool)
    slope = -float(covariance(log_pi[answers].view(shape), direction[answers].view(shape), every))
    before = float(token_entropy(log_pi))

    def error(eta: float) -> float:
        return entropy_after(log_pi, eta * direction) - before - eta * slope

    assert error(5e-4) / error(1e-3) == pytest.approx(0.25, rel=0.03)
    assert error(1e-3) == pytest.approx(second / 2 * 1e-6, rel=0.05)


def _second_derivative(log_pi: Tensor, direction: Tensor) -> float:
    eta = torch.zeros((), dtype=torch.float64, requires_grad=True)
    entropy = token_entropy((log_pi + eta * direction).log_softmax(-1))
    (first,) = torch.autograd.grad(entropy, eta, create_graph=True)
    (second,) = torch.autograd.grad(first, eta)
    return float(second)


# Diversity ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", range(1, 9))
def test_pass_at_k_counts_subsets(n: int) -> None:
    for k in range(1, n + 1):
        subsets = list(itertools.combinations(range(n), k))
        expected = [sum(any(i < c for i in s) for s in subsets) / len(subsets) for c in range(n + 1)]
        got = pass_at_k(torch.arange(n + 1), n, k)
        np.testing.assert_allclose(got.numpy(), expected, **CLOSE)
        assert float(got[0]) == 0.0 and float(got[n]) == 1.0


@settings(max_examples=30)
@given(draws=st.lists(st.integers(0, 3), min_size=1, max_size=8), data=st.data())
def test_distinct_at_k_counts_subsets(draws: list[int], data: Any) -> None:
    """Solutions 0, 1, 2; 3 is a draw that hit none."""
    k = data.draw(st.integers(1, len(draws)))
    subsets = list(itertools.combinations(draws, k))
    expected = sum(len(set(s) - {3}) for s in subsets) / len(subsets)
    counts = torch.tensor([[draws.count(s) for s in range(4)]] * 2)
    np.testing.assert_allclose(distinct_at_k(counts, k).numpy(), [expected] * 2, **CLOSE)


def test_distinct_at_k_of_all_draws_is_what_was_seen() -> None:
    assert float(distinct_at_k(torch.tensor([3, 0, 1, 4]), 8)) == 2.0
    assert float(distinct_at_k(torch.tensor([3, 0, 1, 4]), 1)) == pytest.approx(0.5, rel=1e-14)  # the share of hits


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), k=st.integers(1, 20))
def test_coverage_is_a_sum_over_solutions(seed: int, k: int) -> None:
    random = np.random.default_rng(seed)
    log_probs = double(random.normal(size=(2, 3, 6))).log_softmax(-1)
    solution = random.random((3, 6)) < 0.4
    solution[np.arange(3), random.integers(0, 6, 3)] = True
    got = coverage(log_probs, torch.tensor(solution), k)
    expected = np.zeros((2, 3))
    for s, prompt in np.ndindex(2, 3):
        p = log_probs[s, prompt].exp().tolist()
        right = [y for y in range(6) if solution[prompt, y]]
        expected[s, prompt] = sum(1 - (1 - p[y]) ** k for y in right) / len(right)
    np.testing.assert_allclose(got.numpy(), expected, **CLOSE)
    everything = sum(distinct_exact(log_probs, torch.tensor(kind), k) for kind in (solution, ~solution))
    all_found = -np.expm1(k * np.log1p(-log_probs.exp().numpy())).sum(-1)
    np.testing.assert_allclose(everything.numpy(), all_found, **CLOSE)


@pytest.mark.parametrize("p", [1e-300, 1e-18, 1e-12, 1e-6, 0.25, 0.999])
@pytest.mark.parametrize("k", [1, 2, 16, 1024])
def test_pass_at_k_of_tiny_chances(p: float, k: int) -> None:
    """Against exact rational arithmetic; log1p, a product and expm1 lose a few units in the last place."""
    expected = float(1 - (1 - Fraction(p)) ** k) if p > 1e-200 else k * p
    assert float(pass_at_k_exact(double(p), k)) == pytest.approx(expected, rel=1e-14, abs=0)
    if p > 1e-30:  # single precision: 2^-24, a few times
        single = torch.tensor(p, dtype=torch.float32)
        exact = float(1 - (1 - Fraction(float(single))) ** k)
        assert float(pass_at_k_exact(single, k)) == pytest.approx(exact, rel=1e-6, abs=0)


def test_pass_at_k_of_certain_and_impossible_prompts() -> None:
    got = pass_at_k_exact(double([0.0, 1.0, 1.0 + 1e-15]), 3)
    assert got.tolist() == [0.0, 1.0, 1.0]


@given(n=st.integers(1, 60), data=st.data())
def test_pass_at_k_grows_with_k_and_with_correct(n: int, data: Any) -> None:
    k = data.draw(st.integers(1, n))
    got = pass_at_k(torch.arange(n + 1), n, k)
    assert (got.diff() >= -1e-15).all()
    assert ((got >= 0) & (got <= 1)).all()
    if k > 1:
        assert (got >= pass_at_k(torch.arange(n + 1), n, k - 1) - 1e-15).all()
    # pass@1 is the mean; the product form of one factor rounds twice.
    np.testing.assert_allclose(pass_at_k(torch.arange(n + 1), n, 1).numpy(), np.arange(n + 1) / n, rtol=0, atol=3e-16)


@pytest.mark.parametrize("k", [0, -1, 9])
def test_k_must_be_drawn(k: int) -> None:
    for function in (lambda: pass_at_k(torch.tensor([3]), 8, k), lambda: distinct_at_k(torch.tensor([[3, 5]]), k)):
        with pytest.raises(ToybedError) as error:
            function()
        assert str(error.value) == f"k is {k}; allowed: 1 to the number of draws, 8"


def test_rows_must_have_the_same_number_of_draws() -> None:
    with pytest.raises(ToybedError, match=r"^distinct_at_k: .*same number of draws in every row$"):
        distinct_at_k(torch.tensor([[3, 5], [3, 4]]), 2)
