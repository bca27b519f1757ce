"""Rewards that tell more or less than the world's number, against slow twins, and the identities that they obey.

Tolerance: float64. A reward is a sum of at most four products of size 1: rounding is below 1e-15; 1e-12 is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from toybed.agents.companions import Companions
from toybed.agents.config import Learning
from toybed.envs import make
from toybed.errors import ToybedError
from toybed.objectives import get, signals
from toybed.objectives.batch import Batch
from toybed.objectives.rewards import weighted_components
from toybed.streams import Streams

Draw = Callable[..., Any]
SHAPES = [(3, 4, 5), (1, 2, 1), (2, 3, 3)]
cases = pytest.mark.parametrize(("seed", "shape"), [(seed, shape) for seed in range(3) for shape in SHAPES])


def close(got: Tensor, expected: object) -> None:
    np.testing.assert_allclose(got.numpy(), np.asarray(expected), rtol=1e-12, atol=1e-12)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch_of(random_batch: Draw, seed: int, shape: tuple[int, int, int], *extra: int) -> Batch:
    """A batch of two runs with rewards of 0 or 1, and axes ``extra`` after B and G."""
    reward = np.random.default_rng(seed).integers(0, 2, (2, *shape[:2], *extra))
    return replace(random_batch(seed, shape, (2,)).batch, reward=torch.tensor(reward, dtype=torch.float64))


# Shuffled components ------------------------------------------------------------------------------------------------


@cases
@pytest.mark.parametrize("kept", [0, 2, -1, -3])
def test_shuffled_components(random_batch: Draw, seed: int, shape: tuple[int, int, int], kept: int) -> None:
    """Dealt by the order of uniform numbers, group by group, in a loop."""
    batch, weights = batch_of(random_batch, seed, shape, 3), (1.0, 0.5, 0.25)
    uniform = torch.rand(2, *shape[:2], generator=seeded(9)).numpy()
    expected = np.zeros((2, *shape[:2]))
    for s, b in np.ndindex(2, shape[0]):
        order = sorted(range(shape[1]), key=lambda g: uniform[s, b, g])
        for i in range(shape[1]):
            for d, w in enumerate(weights):
                giver = i if d == kept % 3 else order[i]
                expected[s, b, i] += w * float(batch.reward[s, b, giver, d])
    close(signals.shuffled_components(batch, generator=seeded(9), reward_weights=weights, kept=kept), expected)


@cases
def test_shuffling_keeps_the_kept_and_the_sum_of_the_group(
    random_batch: Draw, seed: int, shape: tuple[int, int, int]
) -> None:
    batch = batch_of(random_batch, seed, shape, 3)
    own = signals.shuffled_components(batch, generator=seeded(1), reward_weights=(1.0, 0.0, 0.0), kept=0)
    close(own, batch.reward[..., 0])
    whole = signals.shuffled_components(batch, generator=seeded(1), reward_weights=None, kept=0)
    close(whole.sum(-1), batch.reward.mean(-1).sum(-1))


def test_one_component_has_nothing_to_shuffle(random_batch: Draw) -> None:
    batch = batch_of(random_batch, 0, (3, 4, 5), 1)
    got = signals.shuffled_components(batch, generator=seeded(1), reward_weights=None, kept=0)
    close(got, weighted_components(batch, reward_weights=None))


def test_dealt_components_say_nothing_of_their_response(random_batch: Draw) -> None:
    """Of a group of 4 with one right step, each response is dealt it as often.

    Of 4000 groups each gets it 1000 times with a standard deviation of 27.4; six of these are asked for, which chance
    breaks with a probability below 1e-8 for all four.
    """
    batch = random_batch(0, (4000, 4, 1), ()).batch
    reward = torch.zeros(4000, 4, 2, dtype=torch.float64)
    reward[:, 1, 1] = 1.0
    got = signals.shuffled_components(
        replace(batch, reward=reward), generator=seeded(4), reward_weights=(1.0, 1.0), kept=0
    )
    assert (got.sum(0) - 1000).abs().max() < 6 * math.sqrt(4000 * 0.25 * 0.75)


def test_a_component_that_is_not_there_is_refused(random_batch: Draw) -> None:
    with pytest.raises(ToybedError, match=r"kept is 3; allowed: -3 to 2"):
        signals.shuffled_components(
            batch_of(random_batch, 0, (2, 2, 2), 3), generator=seeded(0), reward_weights=None, kept=3
        )


# The noisy verifier -------------------------------------------------------------------------------------------------


@cases
def test_noisy_verifier(random_batch: Draw, seed: int, shape: tuple[int, int, int]) -> None:
    batch = batch_of(random_batch, seed, shape)
    uniform = torch.rand(2, *shape[:2], generator=seeded(3)).numpy()
    expected = np.zeros((2, *shape[:2]))
    for place in np.ndindex(*expected.shape):
        right = bool(batch.reward[place])
        errs = uniform[place] < (0.3 if right else 0.2)  # float32 draws keep 24 bits: none of these lies on a bound
        expected[place] = right != errs
    close(signals.noisy_verifier(batch, generator=seeded(3), true_positive=0.7, false_positive=0.2), expected)


def test_a_perfect_verifier_is_grpo_and_a_backward_one_its_opposite(random_batch: Draw) -> None:
    batch = batch_of(random_batch, 0, (3, 4, 5))
    grpo = get("grpo").advantages(batch)
    assert torch.equal(get("grpo_noisy").advantages(batch, generator=seeded(0)), grpo)
    backward = get("grpo_noisy", true_positive=0.0, false_positive=1.0).advantages(batch, generator=seeded(0))
    close(backward, -grpo)


def test_the_verifier_passes_as_often_as_it_says(random_batch: Draw) -> None:
    """Of 20000 right and as many wrong responses; six standard deviations, broken by chance with less than 1e-8."""
    batch = random_batch(0, (20000, 2, 1), ()).batch
    batch = replace(batch, reward=torch.tensor([1.0, 0.0], dtype=torch.float64).expand(20000, 2))
    got = signals.noisy_verifier(batch, generator=seeded(8), true_positive=0.8, false_positive=0.3).mean(0)
    for share, chance in zip(got.tolist(), (0.8, 0.3), strict=True):
        assert abs(share - chance) < 6 * math.sqrt(chance * (1 - chance) / 20000)


def test_runs_of_a_stack_may_have_verifiers_of_their_own(random_batch: Draw) -> None:
    batch = batch_of(random_batch, 0, (3, 4, 5))
    rate = torch.tensor([1.0, 0.0], dtype=torch.float64).view(2, 1, 1, 1)
    got = signals.noisy_verifier(batch, generator=seeded(0), true_positive=rate, false_positive=1 - rate)
    close(got, torch.stack([batch.reward[0], 1 - batch.reward[1]]))


@pytest.mark.parametrize("name", ["true_positive", "false_positive"])
def test_a_chance_above_one_is_refused(random_batch: Draw, name: str) -> None:
    with pytest.raises(ToybedError, match=rf"{name} is 1.5; allowed: 0 to 1"):
        get("grpo_noisy", **{name: 1.5}).advantages(batch_of(random_batch, 0, (2, 2, 2)), generator=seeded(0))


# Unlikeliness -------------------------------------------------------------------------------------------------------


@cases
def test_unlikeliness(random_batch: Draw, seed: int, shape: tuple[int, int, int]) -> None:
    batch = batch_of(random_batch, seed, shape)
    old, mask = batch.log_prob_old.numpy(), batch.mask.numpy()
    expected = np.zeros((2, *shape[:2]))
    for s, b in np.ndindex(2, shape[0]):
        likely = [sum(x for x, real in zip(old[s, b, i], mask[s, b, i], strict=True) if real) for i in range(shape[1])]
        for i in range(shape[1]):
            rank = sum(other > likely[i] for other in likely)
            expected[s, b, i] = float(batch.reward[s, b, i]) * (1 - 0.25 * (shape[1] - rank) / shape[1])
    close(signals.unlikeliness(batch, rank_penalty=0.25), expected)


def test_no_penalty_is_grpo_and_ties_share_a_rank(random_batch: Draw) -> None:
    batch = batch_of(random_batch, 0, (3, 4, 5))
    assert torch.equal(get("unlikeliness", rank_penalty=0.0).advantages(batch), get("grpo").advantages(batch))
    same = replace(batch, log_prob_old=torch.full_like(batch.log_prob_old, -1.0), mask=torch.ones_like(batch.mask))
    close(signals.unlikeliness(same, rank_penalty=0.5), 0.5 * batch.reward)


def test_where_all_are_right_the_rare_one_is_pushed_up(random_batch: Draw) -> None:
    batch = batch_of(random_batch, 0, (3, 4, 5))
    batch = replace(batch, reward=torch.ones_like(batch.reward), mask=torch.ones_like(batch.mask))
    advantage = get("unlikeliness").advantages(batch).squeeze(-1)
    likely = batch.log_prob_old.sum(-1)
    assert (advantage.gather(-1, likely.argmin(-1, keepdim=True)) > 0).all()
    assert (advantage.gather(-1, likely.argmax(-1, keepdim=True)) < 0).all()


# Shaping that draws -------------------------------------------------------------------------------------------------


def test_a_run_draws_alone_what_it_draws_in_a_stack(random_batch: Draw) -> None:
    batch = batch_of(random_batch, 0, (3, 4, 5))
    objective = get("grpo_noisy", true_positive=0.6, false_positive=0.4)
    both = objective.advantages(batch, generator=Streams("objective", [3, 4]))
    for run, seed in enumerate((3, 4)):
        alone = replace(
            batch,
            **{n: getattr(batch, n)[run : run + 1] for n in ("log_prob_old", "mask", "reward")},
            **{n: None for n in ("log_prob_ref", "entropy_old", "planning", "source", "value", "log_z", "tempered")},
        )
        assert torch.equal(both[run], objective.advantages(alone, generator=Streams("objective", [seed]))[0])


def test_a_reward_that_draws_asks_for_a_generator_and_goes_with_no_critic(random_batch: Draw) -> None:
    batch = batch_of(random_batch, 0, (2, 3, 2))
    with pytest.raises(ToybedError, match=r"grpo_noisy needs generator"):
        get("grpo_noisy").shaped(batch)
    critic = replace(get("ppo_gae"), shape_reward=get("grpo_noisy").shape_reward)
    with pytest.raises(ToybedError, match=r"shapes its reward at random, and has a critic"):
        Companions(make("chain_reach", modulus=13), critic, Learning(), [0], None)
