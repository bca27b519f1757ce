"""Vector rewards, sets of answers and shaped rewards against slow twins, and the identities that they should obey.

Tolerance: float64. A value is a mean of at most K = 50 best-of-few scores of size 1, divided by a spread that is no
smaller than 1e-3 on random rewards: rounding is below 50 * 2.2e-16 / 1e-3 = 1.1e-11; 1e-10 is asked for.
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

from toybed.errors import ToybedError
from toybed.objectives import best_of_k, get, rewards, vector_rewards
from toybed.objectives.advantages import batch_whitened, group_standardized
from toybed.objectives.batch import Batch
from toybed.streams import Streams

Array = np.ndarray
Draw = Callable[..., Any]
SHAPES = [(3, 4, 5), (1, 2, 1), (2, 1, 3)]
cases = pytest.mark.parametrize(("seed", "shape"), [(seed, shape) for seed in range(3) for shape in SHAPES])
DRAWS = 50


def close(got: Tensor, expected: Array | Tensor | float) -> None:
    expected = expected.detach().numpy() if isinstance(expected, Tensor) else np.asarray(expected)
    np.testing.assert_allclose(got.detach().numpy(), np.broadcast_to(expected, got.shape), rtol=1e-10, atol=1e-10)


def rewarded(random_batch: Draw, seed: int, shape: tuple[int, int, int], *extra: int) -> Batch:
    """A batch of two runs whose rewards are uniform in [0, 1), with axes ``extra`` after B and G."""
    random = np.random.default_rng(seed)
    return replace(random_batch(seed, shape, (2,)).batch, reward=torch.tensor(random.random((2, *shape[:2], *extra))))


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def preferences(seed: int, lead: tuple[int, ...], components: int, concentration: int = 1) -> Array:
    """The Dirichlet draws of a torch generator, normalised sums of exponentials one by one: ``[*lead, K, D]``."""
    uniform = torch.rand((*lead, DRAWS, concentration, components), generator=seeded(seed)).double().numpy()
    out = np.zeros((*lead, DRAWS, components))
    for index in np.ndindex(*lead, DRAWS):
        gamma = [sum(-math.log1p(-u) for u in uniform[index][:, d]) for d in range(components)]
        out[index] = [g / sum(gamma) for g in gamma]
    return out


def standardized(values: list[float], ddof: int, floor: float, least: float = 0.0) -> list[float]:
    mean = sum(values) / len(values)
    std = math.sqrt(sum((v - mean) ** 2 for v in values) / max(len(values) - ddof, 1))
    if max(values) == min(values) or std < least:
        return [0.0] * len(values)
    return [(v - mean) / (std + floor) for v in values]


# Vectors ------------------------------------------------------------------------------------------------------------


@cases
@pytest.mark.parametrize("weights", [None, (0.5, 2.0, 1.0)])
def test_gdpo(random_batch: Draw, seed: int, shape: tuple[int, int, int], weights: tuple[float, ...] | None) -> None:
    batch = rewarded(random_batch, seed, shape, 3)
    reward, mask = batch.reward.numpy(), batch.mask.numpy()
    expected = np.zeros(mask.shape)
    for s in range(2):
        total = np.zeros(shape[:2])
        for b in range(shape[0]):
            for d, w in enumerate(weights or (1.0, 1.0, 1.0)):
                total[b] += w * np.array(standardized(list(reward[s, b, :, d]), 1, 1e-6))
        inside = [total[b, i] for b, i, t in np.ndindex(*mask[s].shape) if mask[s, b, i, t]]
        mean = sum(inside) / len(inside)
        variance = sum((x - mean) ** 2 for x in inside) / max(len(inside) - 1, 1)
        for b, i, t in np.ndindex(*mask[s].shape):
            if mask[s, b, i, t] and max(inside) > min(inside):
                expected[s, b, i, t] = (total[b, i] - mean) / math.sqrt(variance + 1e-8)
    got = vector_rewards.component_standardized(batch, reward_weights=weights, ddof=1, floor=1e-6, whitening_floor=1e-8)
    close(got, expected)


def gdpo(batch: Batch) -> Tensor:
    return vector_rewards.component_standardized(batch, reward_weights=None, ddof=1, floor=0.0, whitening_floor=0.0)


def test_gdpo_of_one_component_is_whitened_grpo(random_batch: Draw) -> None:
    batch = rewarded(random_batch, 3, (3, 4, 5))
    grpo = group_standardized(batch, ddof=1, floor=0.0).squeeze(-1)
    expected = torch.where(batch.mask, batch_whitened(replace(batch, reward=grpo), floor=0.0), 0.0)
    close(gdpo(batch), expected)
    close(gdpo(replace(batch, reward=batch.reward.unsqueeze(-1))), expected)


def test_gdpo_ignores_the_scale_of_a_component(random_batch: Draw) -> None:
    batch = rewarded(random_batch, 4, (3, 4, 5), 2)
    scaled = batch.reward * torch.tensor([1000.0, 0.5], dtype=torch.float64) + torch.tensor([3.0, -1.0])
    close(gdpo(replace(batch, reward=scaled)), gdpo(batch))


def test_wrong_reward_shapes_are_named(random_batch: Draw) -> None:
    sets = rewarded(random_batch, 0, (2, 3, 4), 2, 3)
    with pytest.raises(ToybedError, match=r"gdpo needs one reward vector"):
        get("gdpo").advantages(sets)
    with pytest.raises(ToybedError, match=r"vpo_parallel needs one reward vector"):
        get("vpo_parallel").advantages(sets, generator=seeded(0))
    with pytest.raises(ToybedError, match=r"reward_weights has 2 numbers; the reward has 3 components"):
        get("multi_rlvr", reward_weights=(1.0, 1.0)).advantages(sets)
    with pytest.raises(ToybedError, match="over_answers"):
        get("multi_rlvr", over_answers="bset").advantages(sets)
    with pytest.raises(ToybedError, match="draws is 0"):
        get("vpo", draws=0).advantages(sets, generator=seeded(0))


# Sets ---------------------------------------------------------------------------------------------------------------


def best_twin(reward: Array, weights: Array) -> float:
    """The expected best of the answers ``[M, D]`` under preferences ``[K, D]``."""
    best = [max(sum(w * r for w, r in zip(weight, answer, strict=True)) for answer in reward) for weight in weights]
    return sum(best) / len(best)


@cases
@pytest.mark.parametrize("concentration", [1, 3])
def test_vpo(random_batch: Draw, seed: int, shape: tuple[int, int, int], concentration: int) -> None:
    batch = rewarded(random_batch, seed, shape, 3, 2)
    weights = preferences(seed, (2, shape[0]), 2, concentration)
    expected = np.zeros((2, *shape[:2], 1))
    for s, b in np.ndindex(2, shape[0]):
        values = [best_twin(answers, weights[s, b]) for answers in batch.reward[s, b].numpy()]
        expected[s, b, :, 0] = standardized(values, 0, 1e-6, least=1e-6)
    got = vector_rewards.best_of_set(
        batch, generator=seeded(seed), draws=DRAWS, concentration=concentration, floor=1e-6
    )
    close(got, expected)


def vpo(batch: Batch, seed: int = 0) -> Tensor:
    return vector_rewards.best_of_set(batch, generator=seeded(seed), draws=DRAWS, concentration=1, floor=1e-6)


def test_vpo_of_one_component_is_grpo_on_the_best_answer(random_batch: Draw) -> None:
    batch = rewarded(random_batch, 1, (3, 4, 5), 3, 1)
    best = replace(batch, reward=batch.reward.amax((-2, -1)))
    close(vpo(batch), group_standardized(best, ddof=0, floor=1e-6))
    close(vpo(best), group_standardized(best, ddof=0, floor=1e-6))  # a scalar reward is a set of one


def test_vpo_of_identical_answers_is_that_answer(random_batch: Draw) -> None:
    one = rewarded(random_batch, 2, (3, 4, 5), 1, 2)
    close(vpo(replace(one, reward=one.reward.expand(-1, -1, -1, 4, -1))), vpo(one))
    close(vpo(replace(one, reward=one.reward.squeeze(-2))), vpo(one))


def test_sets_are_sets(random_batch: Draw) -> None:
    """Order and duplicates of answers do not matter; an added answer never lowers the value of a set."""
    batch = rewarded(random_batch, 3, (3, 4, 5), 3, 2)
    reward = batch.reward
    weights = torch.tensor(preferences(3, (2, 3), 2))
    value = vector_rewards.expected_best(reward, weights)
    close(vector_rewards.expected_best(reward.flip(-2), weights), value)
    close(vector_rewards.expected_best(torch.cat([reward, reward[..., :1, :]], -2), weights), value)
    assert (value >= vector_rewards.expected_best(reward[..., :2, :], weights)).all()


def test_preferences_are_a_law_on_the_simplex() -> None:
    reward = torch.zeros(2, 500, 1, 1, 3, dtype=torch.float64)
    for concentration in (1, 4):
        weights = vector_rewards.draw_preferences(seeded(0), reward, 40, concentration)
        assert weights.shape == (2, 500, 40, 3) and (weights > 0).all()
        close(weights.sum(-1), 1.0)
        # Dirichlet(a, a, a): mean 1/3, variance 2/9 / (3a + 1). 40000 draws: five standard errors, one failure in 10^6.
        variance = 2 / 9 / (3 * concentration + 1)
        assert abs(float(weights[..., 0].mean()) - 1 / 3) < 5 * math.sqrt(variance / 40000)
        # The square of a variable in [0, 1] has a standard deviation of at most 1/2.
        assert abs(float((weights[..., 0] - 1 / 3).square().mean()) - variance) < 5 * 0.5 / math.sqrt(40000)


def test_a_run_draws_the_same_preferences_alone_and_in_a_stack(random_batch: Draw) -> None:
    batch = rewarded(random_batch, 4, (3, 4, 5), 3, 2)
    together = get("vpo").advantages(batch, generator=Streams("objective", [7, 8]))
    for run, seed in enumerate((7, 8)):
        fields = {k: None if v is None else v[run : run + 1] for k, v in vars(batch).items()}
        close(get("vpo").advantages(Batch(**fields), generator=Streams("objective", [seed])), together[run : run + 1])


@cases
def test_vpo_parallel(random_batch: Draw, seed: int, shape: tuple[int, int, int]) -> None:
    batch = rewarded(random_batch, seed, shape, 2)
    weights = preferences(seed, (2, shape[0]), 2)
    expected = np.zeros((2, *shape[:2], 1))
    for s, b in np.ndindex(2, shape[0]):
        group = batch.reward[s, b].numpy()
        for i in range(shape[1]):
            rest = np.delete(group, i, axis=0)
            if len(rest):
                expected[s, b, i, 0] = best_twin(group, weights[s, b]) - best_twin(rest, weights[s, b])
    close(vector_rewards.marginal_best(batch, generator=seeded(seed), draws=DRAWS, concentration=1), expected)


def test_vpo_parallel_of_two_equal_best_is_exactly_zero(random_batch: Draw) -> None:
    """Wherever in the group they stand; the others are not best under any preference."""
    for first, second in ((0, 1), (0, 3), (2, 3)):
        batch = rewarded(random_batch, 6, (3, 4, 5), 2)
        reward = batch.reward.clone()
        reward[..., [first, second], :] = reward.amax((-2, -1), keepdim=True) + 1
        advantage = get("vpo_parallel").advantages(replace(batch, reward=reward), generator=seeded(0))
        assert torch.equal(advantage, torch.zeros_like(advantage))


def test_vpo_parallel_of_one_component_is_pkpo_of_the_whole_group(random_batch: Draw) -> None:
    batch = rewarded(random_batch, 5, (3, 4, 5))
    got = vector_rewards.marginal_best(batch, generator=seeded(0), draws=DRAWS, concentration=1)
    close(got, best_of_k.max_at_k_marginal(batch, k=4))


@cases
@pytest.mark.parametrize("over_answers", ["best", "sum"])
@pytest.mark.parametrize("weights", [None, (0.2, 0.7)])
def test_multi_rlvr(
    random_batch: Draw,
    seed: int,
    shape: tuple[int, int, int],
    over_answers: str,
    weights: tuple[float, ...] | None,
) -> None:
    batch = rewarded(random_batch, seed, shape, 3, 2)
    expected = np.zeros((2, *shape[:2], 1))
    for s, b in np.ndindex(2, shape[0]):
        values = []
        for answers in batch.reward[s, b].numpy():
            scores = [sum(w * r for w, r in zip(weights or (0.5, 0.5), a, strict=True)) for a in answers]
            values.append(max(scores) if over_answers == "best" else sum(scores))
        expected[s, b, :, 0] = standardized(values, 0, 1e-6, least=1e-6)
    got = vector_rewards.fixed_scalarization(batch, reward_weights=weights, over_answers=over_answers, floor=1e-6)
    close(got, expected)


@cases
@pytest.mark.parametrize("weights", [None, (0.2, 0.7)])
@pytest.mark.parametrize("answers", [0, 1, 3])
def test_weighted_components(
    random_batch: Draw, seed: int, shape: tuple[int, int, int], weights: tuple[float, ...] | None, answers: int
) -> None:
    batch = rewarded(random_batch, seed, shape, *((answers,) if answers else ()), 2)
    w = weights or (0.5, 0.5)
    expected = np.zeros((2, *shape[:2]))
    for index in np.ndindex(*expected.shape):
        sets = batch.reward.numpy()[index].reshape(-1, 2)
        expected[index] = max(w[0] * a + w[1] * b for a, b in sets)
    close(rewards.weighted_components(batch, reward_weights=weights), expected)


def test_max_at_k_on_the_weighted_reward_is_pkpo_on_it(random_batch: Draw) -> None:
    batch = rewarded(random_batch, 7, (3, 6, 4), 3)
    number = replace(batch, reward=batch.reward.mean(-1))
    close(get("pkpo_vector").advantages(batch), get("pkpo").advantages(number))
    assert get("pkpo_vector").takes_vectors == "set" and get("pkpo").takes_vectors == ""
    # One component is the number itself, bit for bit: a weight of 1.
    one = replace(batch, reward=number.reward.unsqueeze(-1))
    for same in (one, number):
        assert torch.equal(get("pkpo_vector").advantages(same), get("pkpo").advantages(number))


def test_vpo_in_parallel_of_equal_components_is_max_at_k_of_the_whole_group(random_batch: Draw) -> None:
    batch = rewarded(random_batch, 8, (3, 4, 5), 1)
    equal = replace(batch, reward=batch.reward.expand(-1, -1, -1, 3))
    close(get("vpo_parallel").advantages(equal, generator=seeded(0)), get("pkpo_vector", k=4).advantages(equal))


def test_vpo_of_equal_components_is_multi_rlvr(random_batch: Draw) -> None:
    """The weights of a preference sum to 1, so that it has nothing to choose."""
    batch = rewarded(random_batch, 9, (3, 4, 5), 3, 1)
    equal = replace(batch, reward=batch.reward.expand(-1, -1, -1, -1, 4))
    close(get("vpo").advantages(equal, generator=seeded(0)), get("multi_rlvr").advantages(equal))


# Shaped rewards -----------------------------------------------------------------------------------------------------


@cases
@pytest.mark.parametrize(("max_length", "cache"), [(None, 0), (None, 2), (4, 3), (5, 4), (20480, 4096)])
def test_overlong_penalty(
    random_batch: Draw, seed: int, shape: tuple[int, int, int], max_length: int | None, cache: int
) -> None:
    batch = rewarded(random_batch, seed, shape)
    expected = batch.reward.numpy().copy()
    for index in np.ndindex(*expected.shape):
        length = sum(batch.mask.numpy()[index])
        longest = shape[2] if max_length is None else max_length
        if cache:
            expected[index] += min(0.0, -(length - (longest - cache)) / cache)
    close(rewards.overlong_penalty(batch, max_length=max_length, cache=cache), expected)


def test_dapo_has_its_four_parts_and_the_penalty_is_off(random_batch: Draw) -> None:
    dapo = get("dapo")
    assert dapo.shape_reward is not None and dapo.keep_group is not None
    draw = random_batch(0, (3, 4, 5), (2,), rewards=(0.0, 1.0))
    assert torch.equal(dapo.advantages(draw.batch), group_standardized(draw.batch, ddof=1, floor=1e-6))
    # By hand: lengths 2 and 4, L_max 4, cache 2: the longer one pays (4 - 2 - 4)/2 = -1, so 1 becomes 0 and ties.
    mask = torch.tensor([[[True, True, False, False], [True] * 4]])
    batch = Batch(torch.zeros(1, 2, 4), mask, torch.tensor([[0.0, 1.0]]))
    assert (get("dapo", max_length=4, cache=2).advantages(batch) == 0).all()


@cases
@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
def test_kl_in_reward(random_batch: Draw, seed: int, shape: tuple[int, int, int], estimator: str) -> None:
    batch = rewarded(random_batch, seed, shape)
    assert batch.log_prob_ref is not None
    old, ref, mask = batch.log_prob_old.numpy(), batch.log_prob_ref.numpy(), batch.mask.numpy()
    expected = batch.reward.numpy().copy()
    for index in np.ndindex(*expected.shape):
        for t in range(shape[2]):
            if mask[index][t]:
                d = old[index][t] - ref[index][t]
                expected[index] -= 0.05 * {"k1": d, "k2": d * d / 2, "k3": math.exp(-d) - 1 + d}[estimator]
    got = rewards.kl_in_reward(batch, kl_in_reward_coefficient=0.05, kl_in_reward_estimator=estimator)
    close(got, expected)


def test_kl_in_reward_by_run_and_by_row(random_batch: Draw) -> None:
    batch = rewarded(random_batch, 1, (3, 4, 5))
    both = torch.tensor([0.0, 0.05], dtype=torch.float64).view(2, 1, 1, 1)
    got = get("rloo_kl", kl_in_reward_coefficient=both).advantages(batch)
    close(got[0], get("rloo").advantages(batch)[0])
    close(got[1], get("rloo_kl").advantages(batch)[1])
    with pytest.raises(ToybedError, match="kl_in_reward_estimator"):
        get("rloo_kl", kl_in_reward_estimator="k4").advantages(batch)
    with pytest.raises(ToybedError, match=r"needs batch\.log_prob_ref"):
        get("rloo_kl").advantages(replace(batch, log_prob_ref=None))


@pytest.mark.parametrize("estimator", ["k1"])
def test_k1_in_the_reward_has_the_gradient_of_the_reverse_kl(estimator: str) -> None:
    """A group whose frequencies are the policy's probabilities: the mean over the group is the expectation."""
    counts = [1, 2, 3, 4]
    answers = torch.tensor([y for y, n in enumerate(counts) for _ in range(n)])
    logits = (torch.tensor(counts, dtype=torch.float64) / 10).log().requires_grad_()
    reference = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64).log()
    log_prob = logits.log_softmax(0)[answers].view(1, -1, 1)
    batch = Batch(
        log_prob_old=log_prob.detach(),
        mask=torch.ones(1, 10, 1, dtype=torch.bool),
        reward=torch.zeros(1, 10, dtype=torch.float64),
        log_prob_ref=reference[answers].view(1, -1, 1),
    )
    shaped = replace(
        get("reinforce"),
        shape_reward=lambda b: rewards.kl_in_reward(b, kl_in_reward_coefficient=1.0, kl_in_reward_estimator=estimator),
    )
    (gradient,) = torch.autograd.grad(shaped.loss(log_prob, batch).value, logits)
    policy = logits.log_softmax(0)
    (expected,) = torch.autograd.grad((policy.exp() * (policy - reference)).sum(), logits)
    close(gradient, expected)


@pytest.mark.parametrize("name", ["gdpo", "vpo", "vpo_parallel", "multi_rlvr", "pkpo_vector", "rloo_kl", "dapo"])
@pytest.mark.parametrize("shape", [(2, 4, 3), (2, 2, 3), (1, 2, 1)])
def test_equal_rewards_give_exactly_nothing(random_batch: Draw, name: str, shape: tuple[int, int, int]) -> None:
    draw = random_batch(0, shape, (2,), dtype=torch.float32)
    sizes = {"gdpo": (3,), "vpo_parallel": (3,), "vpo": (2, 3), "multi_rlvr": (2, 3), "pkpo_vector": (2, 3)}.get(
        name, ()
    )
    batch = replace(draw.batch, reward=torch.full((2, *shape[:2], *sizes), 0.1), log_prob_ref=draw.batch.log_prob_old)
    loss = get(name).loss(draw.log_prob, batch, generator=seeded(0))
    (gradient,) = torch.autograd.grad(loss.value.sum(), draw.log_prob)
    assert (gradient == 0).all() and (loss.advantage == 0).all()
