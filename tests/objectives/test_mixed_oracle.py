"""The objectives of rows/mixed.py: their gradient is that of the loss as printed, by autograd, and by enumeration.

Tolerance: float64; a gradient is a sum of at most 60 terms of at most ten rounded operations each, of sizes up to 50
(beta is 15): 60 * 10 * 50 * 2.2e-16 = 7e-12. 1e-10 is asked for; a wrong formula differs in the first digits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from toybed.errors import ToybedError
from toybed.objectives import get, guidance, matching, polarity
from toybed.objectives.advantages import group_standardized
from toybed.objectives.batch import Batch

Array = np.ndarray
Draw = Callable[..., Any]
SHAPES = [(3, 4, 5), (1, 2, 1), (2, 2, 3), (2, 3, 4)]
cases = pytest.mark.parametrize(("seed", "shape"), [(seed, shape) for seed in range(3) for shape in SHAPES])


def close(got: Tensor, expected: Array | Tensor | float) -> None:
    expected = expected.detach().numpy() if isinstance(expected, Tensor) else np.asarray(expected)
    np.testing.assert_allclose(got.detach().numpy(), np.broadcast_to(expected, got.shape), rtol=1e-10, atol=1e-10)


def gradient(value: Tensor, *leaves: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(value.sum(), leaves, retain_graph=True)


def sums(value: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask, value, 0.0).sum(-1)


# FlowRL -------------------------------------------------------------------------------------------------------------


def with_log_z(draw: Any, seed: int) -> tuple[Batch, Tensor]:
    log_z = torch.tensor(np.random.default_rng(seed).normal(size=draw.batch.reward.shape[:-1])).requires_grad_()
    return replace(draw.batch, log_z=log_z), log_z


@cases
@pytest.mark.parametrize(("low", "high"), [(None, None), (0.8, 1.2), (None, 10.0)])
def test_flowrl_gradient_is_that_of_the_weighted_square(
    random_batch: Draw, seed: int, shape: tuple[int, int, int], low: float | None, high: float | None
) -> None:
    draw = random_batch(seed, shape, (2,), rewards=(0.0, 1.0))
    batch, log_z = with_log_z(draw, seed)
    got = gradient(
        get("flowrl", weight_low=low, weight_high=high).loss(draw.log_prob, batch).value, draw.log_prob, log_z
    )
    assert batch.log_prob_ref is not None
    length = batch.mask.sum(-1)
    standard = group_standardized(batch, ddof=1, floor=1e-6).squeeze(-1)
    delta = (
        log_z[..., None]
        + sums(draw.log_prob, batch.mask) / length
        - 15.0 * standard
        - sums(batch.log_prob_ref, batch.mask) / length
    )
    weight = sums(draw.log_prob.detach() - batch.log_prob_old, batch.mask).exp()
    if high is not None:
        weight = weight.clamp(low, high)
    expected = gradient((weight * delta.square()).mean((-2, -1)), draw.log_prob, log_z)
    for a, b in zip(got, expected, strict=True):
        close(a, b)


@cases
def test_flow_residual(random_batch: Draw, seed: int, shape: tuple[int, int, int]) -> None:
    draw = random_batch(seed, shape, (2,))
    batch, log_z = with_log_z(draw, seed)
    standard = group_standardized(batch, ddof=1, floor=1e-6).numpy()
    now, mask, z = draw.log_prob.detach().numpy(), batch.mask.numpy(), log_z.detach().numpy()
    assert batch.log_prob_ref is not None
    old, ref = batch.log_prob_old.numpy(), batch.log_prob_ref.numpy()
    expected = np.zeros(standard.shape)
    for s, b, i in np.ndindex(*batch.reward.shape):
        tokens = [t for t in range(shape[2]) if mask[s, b, i, t]]
        delta = z[s, b] - 2.0 * standard[s, b, i, 0]
        delta += sum(now[s, b, i, t] - ref[s, b, i, t] for t in tokens) / len(tokens)
        weight = min(np.exp(sum(now[s, b, i, t] - old[s, b, i, t] for t in tokens)), 1.5)
        expected[s, b, i, 0] = -2 * weight * delta / len(tokens)
    got = matching.flow_residual(
        batch, log_prob=draw.log_prob.detach(), beta=2.0, ddof=1, floor=1e-6, weight_low=None, weight_high=1.5
    )
    close(got, expected)


def answers_batch(counts: list[int], reward: list[float], reference: list[float]) -> tuple[Batch, Tensor, Tensor]:
    """Answers of one token, each ``counts[y]`` times, under the policy whose probabilities are those frequencies.

    The mean over the group is then the expectation over the policy.
    """
    answers = torch.tensor([y for y, n in enumerate(counts) for _ in range(n)])
    logits = (torch.tensor(counts, dtype=torch.float64) / sum(counts)).log().requires_grad_()
    log_prob = logits.log_softmax(0)[answers].view(1, -1, 1)
    batch = Batch(
        log_prob_old=log_prob.detach(),
        mask=torch.ones(log_prob.shape, dtype=torch.bool),
        reward=torch.tensor(reward, dtype=torch.float64)[answers].view(1, -1),
        log_prob_ref=torch.tensor(reference, dtype=torch.float64).log()[answers].view(1, -1, 1),
    )
    return batch, log_prob, logits


def test_flowrl_with_exact_z_is_twice_the_kl_to_its_target() -> None:
    beta, reference = 0.7, [0.4, 0.3, 0.2, 0.1]
    batch, log_prob, logits = answers_batch([1, 2, 3, 4], [1.0, 0.0, 1.0, 0.0], reference)
    standard = group_standardized(batch, ddof=1, floor=1e-6)[0, :, 0]
    by_answer = standard[torch.tensor([0, 1, 3, 6])]  # the first response with each answer
    tilted = torch.tensor(reference, dtype=torch.float64).log() + beta * by_answer
    log_z = tilted.logsumexp(0).view(1)
    policy = logits.log_softmax(0)
    (expected,) = gradient(2 * (policy.exp() * (policy - tilted)).sum(), logits)
    loss = get("flowrl", beta=beta).loss(log_prob, replace(batch, log_z=log_z))
    close(gradient(loss.value, logits)[0], expected)


def test_flowrl_at_rest() -> None:
    """Policy at its reference, equal rewards, Z = 1: nothing moves; a shift of log Z is answered by all alike."""
    batch, log_prob, _ = answers_batch([1, 2, 3], [1.0, 1.0, 1.0], [1 / 6, 2 / 6, 3 / 6])
    batch = replace(batch, log_prob_ref=batch.log_prob_old)
    assert (get("flowrl").loss(log_prob, replace(batch, log_z=torch.zeros(1))).advantage == 0).all()
    close(get("flowrl").loss(log_prob, replace(batch, log_z=torch.ones(1))).advantage, -2.0)
    with pytest.raises(ToybedError, match=r"flowrl needs batch\.log_z"):
        get("flowrl").loss(log_prob, batch)


def test_flowrl_stays_finite_where_the_policy_has_moved_far(random_batch: Draw) -> None:
    draw = random_batch(0, (3, 4, 5), (2,), dtype=torch.float32)
    batch, _ = with_log_z(draw, 0)
    far = (draw.log_prob.detach() + 60.0).requires_grad_()
    assert torch.isfinite(
        gradient(get("flowrl").loss(far, replace(batch, log_z=torch.zeros(2, 3))).value, far)[0]
    ).all()


# Critique-GRPO ------------------------------------------------------------------------------------------------------


@cases
def test_critique_grpo_gradient_is_that_of_its_two_losses(
    random_batch: Draw, seed: int, shape: tuple[int, int, int]
) -> None:
    draw = random_batch(seed, shape, (2,))
    source = torch.tensor(np.random.default_rng(seed).integers(0, 2, draw.batch.reward.shape))
    batch = replace(draw.batch, source=source)
    (got,) = gradient(get("critique_grpo").loss(draw.log_prob, batch).value, draw.log_prob)
    centered = (batch.reward - batch.reward.mean(-1, keepdim=True))[..., None]
    probability = draw.log_prob.exp()
    gain = torch.where(
        source[..., None] == 1, probability / (probability + 0.1), (draw.log_prob - batch.log_prob_old).exp()
    )
    printed = -sums(gain * centered, batch.mask).mean((-2, -1)) / shape[2]
    close(got, gradient(printed, draw.log_prob)[0])
    close(get("critique_grpo").loss(draw.log_prob, batch).forward_value, printed)


def test_critique_grpo_without_refinements_is_unclipped_dr_grpo(random_batch: Draw) -> None:
    draw = random_batch(1, (3, 4, 5), (2,))
    infinite = get("dr_grpo", clip_low=float("inf"), clip_high=float("inf"))
    (got,) = gradient(get("critique_grpo").loss(draw.log_prob, draw.batch).value, draw.log_prob)
    close(got, gradient(infinite.loss(draw.log_prob, draw.batch).value, draw.log_prob)[0])


def test_weight_of_a_refined_token_peaks_at_gamma() -> None:
    probability = torch.tensor([1e-9, 0.02, 0.1, 0.5, 0.999], dtype=torch.float64)
    old = probability.log().view(1, 1, 5)
    batch = Batch(old, torch.ones(1, 1, 5, dtype=torch.bool), torch.zeros(1, 1), source=torch.ones(1, 1).long())
    got = guidance.refinement_shaped(torch.zeros_like(old), torch.ones_like(old), batch, gamma=0.1).flatten()
    close(got, 0.1 * probability / (probability + 0.1).square())
    close(got[2], 0.25)
    assert got.argmax() == 2 and got[0] < 1e-7


# SFT and RAFT -------------------------------------------------------------------------------------------------------


@cases
def test_sft_is_the_mean_log_probability_of_demonstrated_tokens(
    random_batch: Draw, seed: int, shape: tuple[int, int, int]
) -> None:
    draw = random_batch(seed, shape, (2,))
    source = torch.tensor(np.random.default_rng(seed).integers(0, 3, draw.batch.reward.shape))
    loss = get("sft").loss(draw.log_prob, replace(draw.batch, source=source))
    for s in range(2):
        shown = draw.batch.mask[s] & (source[s] == 2)[..., None]
        expected = -draw.log_prob[s][shown].mean() if shown.any() else torch.zeros(())
        close(loss.value[s], expected)


@cases
@pytest.mark.parametrize("normalizer", ["group", "batch", "none"])
def test_raft(random_batch: Draw, seed: int, shape: tuple[int, int, int], normalizer: str) -> None:
    batch = random_batch(seed, shape, (2,), rewards=(-1.0, 0.0, 1.0)).batch
    expected = np.zeros((*batch.reward.shape, 1))
    for s, b, i in np.ndindex(*batch.reward.shape):
        run = batch.reward[s].numpy()
        pool = {"group": run[b], "batch": run.flatten(), "none": np.ones(1)}[normalizer]
        expected[s, b, i] = len(pool) / sum(r > 0 for r in pool) if run[b, i] > 0 else 0.0
    close(polarity.successes(batch, correct_above=0.0, normalizer=normalizer), expected)


def test_raft_is_the_gradient_of_the_log_success_rate() -> None:
    batch, log_prob, logits = answers_batch([1, 2, 3, 4], [1.0, 0.0, 1.0, 0.0], [0.25] * 4)
    success = logits.softmax(0)[[0, 2]].sum()
    (raft,) = gradient(-get("raft").loss(log_prob, batch).value, logits)
    close(raft, gradient(success.log(), logits)[0])
    (plain,) = gradient(-get("raft", normalizer="none").loss(log_prob, batch).value, logits)
    close(plain, gradient(success, logits)[0])
    close(plain, gradient(-get("reinforce").loss(log_prob, batch).value, logits)[0])
    with pytest.raises(ToybedError, match="normalizer"):
        get("raft", normalizer="prompt").advantages(batch)


def test_raft_without_successes_does_nothing(random_batch: Draw) -> None:
    draw = random_batch(0, (3, 4, 5), (2,), rewards=(0.0,))
    for normalizer in ("group", "batch", "none"):
        assert (get("raft", normalizer=normalizer).advantages(draw.batch) == 0).all()


# DPO ----------------------------------------------------------------------------------------------------------------


@cases
@pytest.mark.parametrize("beta", [0.1, 2.0])
def test_dpo_gradient_is_that_of_the_log_sigmoid(
    random_batch: Draw, seed: int, shape: tuple[int, int, int], beta: float
) -> None:
    draw = random_batch(seed, shape, (2,), rewards=(0.0, 0.5, 1.0))
    batch = draw.batch
    assert batch.log_prob_ref is not None
    gain = sums(draw.log_prob - batch.log_prob_ref, batch.mask)
    total = torch.zeros((), dtype=torch.float64)
    for s in range(2):
        losses = []
        for b in range(shape[0]):
            rewards = batch.reward[s, b].tolist()
            if max(rewards) > min(rewards):
                winner, loser = rewards.index(max(rewards)), rewards.index(min(rewards))
                losses.append(-torch.nn.functional.logsigmoid(beta * (gain[s, b, winner] - gain[s, b, loser])))
        if losses:
            total = total + torch.stack(losses).mean()
    (got,) = gradient(get("dpo", beta=beta).loss(draw.log_prob, batch).value, draw.log_prob)
    expected = gradient(total, draw.log_prob)[0] if total.requires_grad else torch.zeros_like(got)
    close(got, expected)


def test_dpo_by_hand_and_at_its_limits(random_batch: Draw) -> None:
    # One pair at its reference: sigma(0) = 1/2, n/P = 2, so A = beta (1, -1); the mean over two rows halves it again.
    batch, log_prob, _ = answers_batch([1, 1], [1.0, 0.0], [0.5, 0.5])
    close(get("dpo", beta=0.3).loss(log_prob, batch).advantage, [[[0.3], [-0.3]]])
    # A constant of the prompt on both log-probabilities changes nothing.
    draw = random_batch(2, (3, 4, 5), (2,), equal_lengths=True)
    shift = torch.tensor(np.random.default_rng(2).normal(size=(2, 3, 1, 1)))
    plain = get("dpo").loss(draw.log_prob, draw.batch).advantage
    close(get("dpo").loss(draw.log_prob + shift, draw.batch).advantage, plain)
    # Padding may hold anything.
    draw = random_batch(3, (3, 4, 5), (2,))
    assert draw.batch.log_prob_ref is not None
    dirty = replace(draw.batch, log_prob_ref=torch.where(draw.batch.mask, draw.batch.log_prob_ref, torch.nan))
    close(get("dpo").loss(draw.log_prob, dirty).advantage, get("dpo").loss(draw.log_prob, draw.batch).advantage)


def test_dpo_without_pairs_does_nothing(random_batch: Draw) -> None:
    for shape in ((2, 3, 4), (2, 2, 3)):
        draw = random_batch(0, shape, (2,), rewards=(0.1,))
        loss = get("dpo").loss(draw.log_prob, draw.batch)
        assert (gradient(loss.value, draw.log_prob)[0] == 0).all()


# Runs ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "parameter"), [("flowrl", "beta"), ("dpo", "beta"), ("critique_grpo", "gamma")])
def test_stacked_runs_take_one_parameter_each(random_batch: Draw, name: str, parameter: str) -> None:
    draw = random_batch(4, (3, 4, 5), (2,))
    batch, _ = with_log_z(draw, 4)
    batch = replace(batch, source=torch.ones_like(batch.reward).long())
    both = torch.tensor([0.2, 2.0], dtype=torch.float64).view(2, 1, 1, 1)
    stacked = get(name, **{parameter: both}).loss(draw.log_prob, batch).value
    for run, value in enumerate((0.2, 2.0)):
        close(stacked[run], get(name, **{parameter: value}).loss(draw.log_prob, batch).value[run])


def test_a_mini_batch_takes_its_prompts_log_partitions(random_batch: Draw) -> None:
    draw = random_batch(5, (3, 4, 5), (2,))
    batch, log_z = with_log_z(draw, 5)
    part = batch.prompts(1, 3)
    assert part.log_z is not None
    close(part.log_z, log_z[:, 1:3])
    whole = get("flowrl").loss(draw.log_prob, batch).advantage
    close(get("flowrl").loss(draw.log_prob[:, 1:3], part).advantage, whole[:, 1:3])


@pytest.mark.parametrize("name", ["flowrl", "critique_grpo", "sft", "raft", "dpo"])
@pytest.mark.parametrize("shape", [(2, 4, 3), (2, 2, 3), (1, 2, 1)])
def test_padding_gets_no_gradient_and_everything_is_finite(
    random_batch: Draw, name: str, shape: tuple[int, int, int]
) -> None:
    draw = random_batch(0, shape, (2,), rewards=(0.0, 1.0), dtype=torch.float32)
    dirty = torch.where(draw.batch.mask, draw.log_prob.detach(), 50.0).requires_grad_()
    source = torch.arange(draw.batch.reward.numel()).view(draw.batch.reward.shape) % 3
    batch = replace(draw.batch, source=source, log_z=torch.zeros(2, shape[0]))
    (got,) = gradient(get(name).loss(dirty, batch).value, dirty)
    assert torch.isfinite(got).all() and (got[~batch.mask] == 0).all()
