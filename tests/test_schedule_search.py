"""Learning a schedule: evolution strategies on functions whose optimum is known, and gradients through a whole run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from toybed.benchmarks.schedule_search import Evolution, MetaSchedule, centered_ranks
from toybed.benchmarks.schedule_unrolled import UnrolledRun, by_evolution, by_gradient, compare, small_run
from toybed.envs.chain_reach import ChainReach
from toybed.exact import entropy_gradient, reward_gradient
from toybed.study import Records

SMALL = Evolution(dimensions=3, pairs=4)


# -- evolution strategies -------------------------------------------------------------------------------------------
def test_candidates_come_in_opposite_pairs_and_are_the_same_every_time() -> None:
    center = np.array([0.5, -1.0, 2.0])
    points = SMALL.candidates(7, center)
    assert points.shape == (8, 3)
    np.testing.assert_allclose((points[:4] + points[4:]) / 2, np.tile(center, (4, 1)), atol=1e-12)
    np.testing.assert_array_equal(points, SMALL.candidates(7, center))
    assert (points != SMALL.candidates(8, center)).all()


def test_a_step_twin() -> None:
    center, utility = np.array([0.5, -1.0, 2.9]), np.linspace(-0.5, 0.5, 8)
    twin = center.copy()
    for u, deviate in zip(utility, SMALL.deviates(3), strict=True):
        for k in range(3):
            twin[k] += 0.35 / (8 * 0.5) * u * deviate[k]
    np.testing.assert_allclose(SMALL.step(3, center, utility), np.minimum(twin, 3.0), rtol=1e-12)


def test_where_all_are_worth_the_same_nothing_moves() -> None:
    center = np.array([0.5, -1.0, 2.0])
    np.testing.assert_allclose(SMALL.step(0, center, centered_ranks(np.full(8, 0.3))), center, atol=1e-12)


def test_only_the_order_counts() -> None:
    values = np.array([0.3, -2.0, np.nan, 0.1, 5.0])
    np.testing.assert_allclose(centered_ranks(values), [0.25, -0.25, -0.5, 0.0, 0.5])
    np.testing.assert_array_equal(centered_ranks(values), centered_ranks(np.exp(values)))


def test_it_climbs_a_slope_at_the_speed_that_is_said() -> None:
    """With n candidates the ranks are ``i / (n - 1) - 1/2``: 0.282 of the step's length, rate / sigma, as n grows.

    Over 100 generations of 64 pairs the mean has a standard error below ``0.29 / sqrt(12800) = 0.0026``; allowed are
    0.0026 x 5, and 1 % for n / (n - 1).
    """
    evolution = Evolution(dimensions=4, pairs=64, limit=1e9)
    slope = np.array([0.6, 0.0, -0.8, 0.0])
    center = by_evolution(lambda x: float(x @ slope), evolution, np.zeros(4), 100)
    moved = center / 100 * evolution.spread / evolution.rate
    np.testing.assert_allclose(moved, slope / (2 * np.pi**0.5), atol=0.013 + 0.003)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_it_finds_the_top_of_a_quadratic(scale: float) -> None:
    """From 3 away, at 0.2 a generation, 80 generations are enough.

    At the top it wanders by 0.29 rate / (sigma sqrt n) = 0.05 a generation in each direction and is pulled back by
    about a fifth of its distance: a spread of 0.05 / sqrt(2 / 5) < 0.1. The mean of 30 centres has less; allowed is
    0.3.
    """
    top = np.array([1.5, -1.0, 0.5, 0.0, -2.0])
    evolution, center, centers = Evolution(5), np.zeros(5), []
    for generation in range(80):
        center = evolution.step(
            generation,
            center,
            centered_ranks(-scale * ((evolution.candidates(generation, center) - top) ** 2).sum(1)),
        )
        centers.append(center)
    np.testing.assert_allclose(np.mean(centers[50:], 0), top, atol=0.3)


def records(first: float, many: float | None) -> Records:
    values = {"reward_train": first, "reward_test": first} | ({} if many is None else {"pass@64_test": many})
    curves = {name: np.array([[0.0, value]]) for name, value in values.items()}
    return Records(dict.fromkeys(curves, np.array([0, 9])), curves)


def test_worlds_and_measures_count_alike_whatever_their_size() -> None:
    meta = MetaSchedule(replace(SMALL, pairs=2), ("reward_test", "pass@64_test"))
    found = {
        "one": [records(*pair) for pair in ((0.1, 0.9), (0.2, 0.8), (0.3, 0.95), (np.nan, np.nan))],
        "two": [records(value, None) for value in (3.0, 40.0, 20.0, 10.0)],
    }
    centers = meta.begin()
    again = meta.tell(4, centers, found)
    # By rank: (0, 1, 2) of 0.1, 0.2, 0.3 above the lost one, and 2, 1, 3 of pass@64; then 0, 3, 2, 1.
    ranks = np.array([(1 + 2) / 2 + 0, (2 + 1) / 2 + 3, 3 + 2, 0 + 1]) / 2
    utility = ranks / 3 - 0.5
    np.testing.assert_allclose(again[1], meta.evolution.step(4, centers[0], utility), atol=1e-12)
    assert len(again) == 2


def test_the_result_is_the_mean_of_the_second_half() -> None:
    meta = MetaSchedule(SMALL, ("reward_test",))
    np.testing.assert_array_equal(meta.result(meta.begin()), [1.0, 1.0, 1.0])
    centers = tuple(np.full(3, x) for x in (9.0, 9.0, 1.0, 2.0))
    np.testing.assert_allclose(meta.result(centers), np.exp(np.full(3, 1.5)))


# -- through the run ------------------------------------------------------------------------------------------------
def chains() -> UnrolledRun:
    env = ChainReach(modulus=3, operations=3, length=2)
    return UnrolledRun(env, env.demonstrator(noise=0.3).double(), steps=4, rate=5.0, samples=4)


@pytest.mark.parametrize("run", [replace(small_run(), steps=5), chains()], ids=["bandit", "chains"])
def test_a_run_is_gradient_ascent_twin(run: UnrolledRun) -> None:
    coefficients, logits = [0.3, 0.05], run.start
    for step in range(run.steps):
        coefficient = coefficients[0 if step / (run.steps - 1) < 0.5 else 1]
        uphill = reward_gradient(run.env, logits) + coefficient * entropy_gradient(run.env, logits)
        logits = logits + run.rate * uphill
    end = run.end(torch.tensor(coefficients, dtype=torch.float64)).detach()
    torch.testing.assert_close(end, logits, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("run", [replace(small_run(), steps=6), chains()], ids=["bandit", "chains"])
def test_gradient_through_a_run_against_finite_differences(run: UnrolledRun) -> None:
    coefficients = torch.tensor([0.2, 0.1, 0.03], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(run.worth(coefficients), coefficients)
    assert (gradient.abs() > 1e-7).all()
    for k in range(3):
        step = torch.zeros(3, dtype=torch.float64)
        step[k] = 1e-5
        above, below = (float(run.worth(coefficients.detach() + sign * step).detach()) for sign in (1, -1))
        # Central differences err by step^2 / 6 times a third derivative, and by rounding of 1e-16 / 1e-5.
        assert float(gradient[k]) == pytest.approx((above - below) / 2e-5, rel=1e-4, abs=1e-9)


def test_a_bonus_of_none_is_the_policy_gradient_alone() -> None:
    run = replace(small_run(), steps=3)
    fixed, none = (run.worth(torch.full((2,), c, dtype=torch.float64)).detach() for c in (0.1, 0.0))
    assert fixed != none


def test_both_ways_of_learning_agree_and_beat_what_is_fixed() -> None:
    """Where both work they come to the same worth, within a tenth of what they gain over the best fixed coefficient."""
    found = compare(small_run())
    fixed, gradient, evolution = (worth for _, worth in found.values())
    assert gradient > fixed
    assert abs(gradient - evolution) < 0.1 * (gradient - fixed)


def test_the_gradient_goes_uphill() -> None:
    run, start = replace(small_run(), steps=6), torch.tensor([-3.0, -3.0], dtype=torch.float64)
    logs = by_gradient(run, start, steps=5)
    assert run.worth(logs.exp()) > run.worth(start.exp())
