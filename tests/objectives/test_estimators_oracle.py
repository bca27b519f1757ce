"""The advantages of rows/estimators.py against slow twins, by hand, and by enumeration.

Tolerance: everything is float64. A result is a sum of at most N = 60 terms after at most ten rounded operations,
divided by a spread of order 1 (rewards are either normal or small integers): its error is below 10 * 60 * 2.2e-16, and
ten times that where terms cancel: 1e-12, relative and absolute. A wrong formula differs in the first digits.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from toybed.errors import ToybedError
from toybed.objectives import best_of_k, difficulty, get, polarity, returns, row, shaping
from toybed.objectives.advantages import batch_whitened, group_centered, group_standardized
from toybed.objectives.batch import Batch

Array = np.ndarray
Draw = Callable[..., Any]
SHAPES = [(3, 4, 5), (2, 8, 3), (1, 2, 1), (2, 1, 3)]
cases = pytest.mark.parametrize(("seed", "shape"), [(seed, shape) for seed in range(3) for shape in SHAPES])


def close(got: Tensor, expected: Array | Tensor | float) -> None:
    expected = expected.detach().numpy() if isinstance(expected, Tensor) else np.asarray(expected)
    np.testing.assert_allclose(got.detach().numpy(), np.broadcast_to(expected, got.shape), rtol=1e-12, atol=1e-12)


def graded(random_batch: Draw, seed: int, shape: tuple[int, int, int]) -> Batch:
    return random_batch(seed, shape, (2,)).batch


def binary(random_batch: Draw, seed: int, shape: tuple[int, int, int]) -> Batch:
    return random_batch(seed, shape, (2,), rewards=(0.0, 1.0)).batch


def group_of(*rewards: float, tokens: int = 1) -> Batch:
    """One prompt, one token a response, by default."""
    shape = (1, len(rewards), tokens)
    return Batch(
        log_prob_old=torch.zeros(shape, dtype=torch.float64),
        mask=torch.ones(shape, dtype=torch.bool),
        reward=torch.tensor([rewards], dtype=torch.float64),
    )


def group_twin(reward: Tensor, twin: Callable[[list[float]], list[float]]) -> Array:
    """A twin of one group's rewards, applied to every group: ``[..., B, G] -> [..., B, G, 1]``."""
    flat = reward.numpy().reshape(-1, reward.shape[-1])
    return np.array([twin(list(group)) for group in flat]).reshape(*reward.shape, 1)


def std(values: list[float], ddof: int) -> float:
    mean = sum(values) / len(values)
    return math.sqrt(sum((v - mean) ** 2 for v in values) / max(len(values) - ddof, 1))


def whitened_twin(value: Array, mask: Array, floor: float) -> Array:
    out = np.zeros_like(value)
    for s in range(len(value)):
        inside = [value[s][index] for index in np.ndindex(*mask[s].shape) if mask[s][index]]
        mean = sum(inside) / len(inside)
        variance = sum((x - mean) ** 2 for x in inside) / max(len(inside) - 1, 1)
        for index in np.ndindex(*mask[s].shape):
            if mask[s][index] and max(inside) > min(inside):
                out[s][index] = (value[s][index] - mean) / math.sqrt(variance + floor)
    return out


def gae_twin(reward: Array, value: Array, mask: Array, gamma: float, lam: float) -> Array:
    """Reward, value and mask ``[S, B, G, (T)]``: the sum over later TD errors, term by term."""
    out = np.zeros_like(value)
    for row_index in np.ndindex(*reward.shape):
        tokens = [t for t in range(mask.shape[-1]) if mask[row_index][t]]
        v = [value[row_index][t] for t in tokens] + [0.0]
        delta = [gamma * v[n + 1] - v[n] for n in range(len(tokens))]
        delta[-1] += reward[row_index]
        for n, t in enumerate(tokens):
            out[row_index][t] = sum((gamma * lam) ** (m - n) * delta[m] for m in range(n, len(tokens)))
    return out


# Returns and whitening ----------------------------------------------------------------------------------------------


@cases
@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_discounted_whitened(random_batch: Draw, seed: int, shape: tuple[int, int, int], gamma: float) -> None:
    batch = graded(random_batch, seed, shape)
    mask = batch.mask.numpy()
    plain = gae_twin(batch.reward.numpy(), np.zeros(mask.shape), mask, gamma, 1.0)
    close(returns.discounted_whitened(batch, gamma=gamma, floor=1e-8), whitened_twin(plain, mask, 1e-8))


@cases
def test_discounted_whitened_with_kl(random_batch: Draw, seed: int, shape: tuple[int, int, int]) -> None:
    batch, gamma, beta, bound = graded(random_batch, seed, shape), 0.9, 0.3, 0.2
    mask, reward = batch.mask.numpy(), batch.reward.numpy()
    assert batch.log_prob_ref is not None
    kl = np.clip((batch.log_prob_old - batch.log_prob_ref).numpy(), -bound, bound)
    plain = np.zeros(mask.shape)
    for index in np.ndindex(*reward.shape):
        tokens = [t for t in range(mask.shape[-1]) if mask[index][t]]
        for n, t in enumerate(tokens):
            later = [(gamma ** (m - n), -beta * kl[index][tokens[m]]) for m in range(n, len(tokens))]
            plain[index][t] = sum(a * b for a, b in later) + later[-1][0] * reward[index]
    got = returns.discounted_whitened_with_kl(
        batch, gamma=gamma, floor=1e-8, token_kl_coefficient=beta, token_kl_bound=bound
    )
    close(got, whitened_twin(plain, mask, 1e-8))
    off = returns.discounted_whitened_with_kl(
        batch, gamma=gamma, floor=1e-8, token_kl_coefficient=0.0, token_kl_bound=bound
    )
    close(off, returns.discounted_whitened(batch, gamma=gamma, floor=1e-8))


@cases
def test_undiscounted_returns_are_ppo_without_a_critic(
    random_batch: Draw, seed: int, shape: tuple[int, int, int]
) -> None:
    batch = graded(random_batch, seed, shape)
    expected = torch.where(batch.mask, batch_whitened(batch, floor=1e-8), 0.0)
    close(returns.discounted_whitened(batch, gamma=1.0, floor=1e-8), expected)
    no_critic = replace(batch, value=torch.zeros_like(batch.log_prob_old))
    close(returns.gae(no_critic, gamma=1.0, lam=1.0, floor=1e-8), expected)


@cases
def test_group_centered_whitened(random_batch: Draw, seed: int, shape: tuple[int, int, int]) -> None:
    batch = graded(random_batch, seed, shape)
    centered = group_twin(batch.reward, lambda group: [r - sum(group) / len(group) for r in group])
    plain = np.broadcast_to(centered, batch.mask.shape)
    got = returns.group_centered_whitened(batch, floor=1e-8)
    if shape[1] == 1:  # a group of one is its own mean
        assert (got == 0).all()
    else:
        close(got, whitened_twin(plain, batch.mask.numpy(), 1e-8))


@cases
@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 1.0), (0.9, 0.95), (0.9, 0.0)])
def test_gae(random_batch: Draw, seed: int, shape: tuple[int, int, int], gamma: float, lam: float) -> None:
    batch = graded(random_batch, seed, shape)
    value = torch.tensor(np.random.default_rng(seed).normal(size=batch.mask.shape))
    mask = batch.mask.numpy()
    plain = gae_twin(batch.reward.numpy(), value.numpy(), mask, gamma, lam)
    # What stands in the padding of the critic must not matter.
    dirty = replace(batch, value=torch.where(batch.mask, value, torch.nan))
    close(returns.gae(dirty, gamma=gamma, lam=lam, floor=1e-8), whitened_twin(plain, mask, 1e-8))
    close(returns.gae_returns(dirty, gamma=gamma, lam=lam), np.where(mask, plain + value.numpy(), 0.0))


def test_gae_at_its_limits(random_batch: Draw) -> None:
    batch = graded(random_batch, 5, (3, 4, 5))
    value = torch.tensor(np.random.default_rng(5).normal(size=batch.mask.shape))
    batch = replace(batch, value=value)
    # lambda = gamma = 1: the return-to-go, which is the reward, less V.
    to_go = torch.where(batch.mask, batch.reward.unsqueeze(-1), 0.0)
    close(returns.gae_returns(batch, gamma=1.0, lam=1.0), to_go)
    plain = torch.where(batch.mask, to_go - value, 0.0)
    close(returns.gae(batch, gamma=1.0, lam=1.0, floor=1e-8), whitened_twin(plain.numpy(), batch.mask.numpy(), 1e-8))
    # By hand: two tokens, R = 1, V = (0.5, 0.25), gamma 0.5, lambda 0.5.
    # delta = (0.5 * 0.25 - 0.5, 1 - 0.25) = (-0.375, 0.75); A = (-0.375 + 0.25 * 0.75, 0.75); returns = A + V.
    small = replace(group_of(1.0, tokens=2), value=torch.tensor([[[0.5, 0.25]]], dtype=torch.float64))
    close(returns.gae_returns(small, gamma=0.5, lam=0.5), [[[0.3125, 1.0]]])


def test_gae_of_stacked_runs_takes_one_parameter_each(random_batch: Draw) -> None:
    batch = replace(graded(random_batch, 6, (3, 4, 5)))
    batch = replace(batch, value=torch.ones_like(batch.log_prob_old))
    gamma = torch.tensor([1.0, 0.5], dtype=torch.float64).view(2, 1, 1, 1)
    got = returns.gae(batch, gamma=gamma, lam=0.9, floor=1e-8)
    for run, value in enumerate((1.0, 0.5)):
        close(got[run], returns.gae(batch, gamma=value, lam=0.9, floor=1e-8)[run])


@pytest.mark.parametrize("clip", [None, 0.5, 0.1])
def test_value_loss(random_batch: Draw, clip: float | None) -> None:
    batch = graded(random_batch, 7, (3, 4, 5))
    random = np.random.default_rng(7)
    value, old, target = (random.normal(size=batch.mask.shape) for _ in range(3))
    expected = np.zeros(2)
    for s in range(2):
        terms = []
        for i in np.ndindex(*batch.mask.shape[1:]):
            if batch.mask[s][i]:
                moved = value[s][i] - old[s][i]
                near = old[s][i] + (moved if clip is None else max(-clip, min(clip, moved)))
                terms.append(max((value[s][i] - target[s][i]) ** 2, (near - target[s][i]) ** 2) / 2)
        expected[s] = sum(terms) / len(terms)
    close(returns.value_loss(*map(torch.tensor, (value, old, target)), batch.mask, clip=clip), expected)


def test_value_loss_holds_a_value_that_has_moved_far_enough() -> None:
    # V moved from 0 to 1 toward a return of 2: its own error is 1, the clipped value's (0.5 - 2)^2 = 2.25.
    value = torch.tensor([[[1.0]]], dtype=torch.float64, requires_grad=True)
    one = torch.ones_like(value.detach())
    loss = returns.value_loss(value, 0 * one, 2 * one, one.bool(), clip=0.5)
    close(loss, 1.125)
    loss.sum().backward()
    assert value.grad is not None and (value.grad == 0).all()


# Difficulty ---------------------------------------------------------------------------------------------------------


@cases
def test_gpg(random_batch: Draw, seed: int, shape: tuple[int, int, int]) -> None:
    batch = binary(random_batch, seed, shape)
    expected = np.zeros((*batch.reward.shape, 1))
    verl = np.zeros_like(expected)
    for s, run in enumerate(batch.reward.numpy()):
        valid = sum(max(group) > min(group) for group in run)
        hits = sum(r != 0 for group in run for r in group)
        for b, i in np.ndindex(*run.shape):
            centered = run[b, i] - sum(run[b]) / len(run[b])
            expected[s, b, i] = len(run) / max(valid, 1) * centered / 2
            verl[s, b, i] = run.size / max(hits, 1) * centered / 2
    close(difficulty.spread_share_scaled(batch, f_norm=2.0), expected)
    close(difficulty.nonzero_share_scaled(batch, f_norm=2.0), verl)


def test_gpg_ignores_groups_without_spread_and_verls_does_not() -> None:
    mixed, solved = group_of(1.0, 0.0, 0.0), group_of(1.0, 1.0, 1.0)
    both = Batch(*(torch.cat([getattr(b, f) for b in (mixed, solved)]) for f in ("log_prob_old", "mask", "reward")))
    sums = {}
    for name, batch in (("alone", mixed), ("both", both)):
        for stage in (difficulty.spread_share_scaled, difficulty.nonzero_share_scaled):
            # The mean over the batch's groups, as an aggregator takes it.
            sums[name, stage.__name__] = stage(batch, f_norm=1.0).abs().sum() / len(batch.reward)
    close(sums["both", "spread_share_scaled"], sums["alone", "spread_share_scaled"])
    assert not torch.isclose(sums["both", "nonzero_share_scaled"], sums["alone", "nonzero_share_scaled"], rtol=0.1)


@cases
def test_maxrl(random_batch: Draw, seed: int, shape: tuple[int, int, int]) -> None:
    def twin(group: list[float]) -> list[float]:
        mean = sum(group) / len(group)
        return [0.0 if mean == 0 else (r - mean) / (mean + 1e-6) for r in group]

    batch = binary(random_batch, seed, shape)
    batch = replace(batch, reward=batch.reward * 3)
    close(difficulty.mean_normalized(batch, floor=1e-6), group_twin(batch.reward, twin))


def test_maxrl_by_hand() -> None:
    # 2 of 5 right: right ones (G - c)/c = 3/2, wrong ones -1.
    close(difficulty.mean_normalized(group_of(1, 1, 0, 0, 0), floor=0.0), [[[1.5], [1.5], [-1], [-1], [-1]]])
    # G = 2 with one right: unit weight, REINFORCE's with the true advantage up to a factor of 2.
    close(difficulty.mean_normalized(group_of(1, 0), floor=0.0), [[[1], [-1]]])
    for group in ((0.0, 0.0), (1.0, 1.0), (1.0,), (0.0,), (-1.0, 0.5)):
        assert (difficulty.mean_normalized(group_of(*group), floor=0.0) == 0).all()


def quantile_twin(group: list[float], q: float, ddof: int, floor: float, interpolate: bool) -> list[float]:
    if max(group) == min(group):
        return [0.0] * len(group)
    ordered = sorted(group)
    if interpolate:
        baseline = float(np.quantile(ordered, q))
    else:
        baseline = next(r for r in ordered if sum(x <= r for x in group) / len(group) >= q)
    return [(r - baseline) / (std(group, ddof) + floor) for r in group]


@cases
@pytest.mark.parametrize("q", [0.1, 0.4, 0.5, 0.75, 0.9])
@pytest.mark.parametrize("interpolate", [False, True])
def test_qae(random_batch: Draw, seed: int, shape: tuple[int, int, int], q: float, interpolate: bool) -> None:
    stage = difficulty.interpolated_quantile_standardized if interpolate else difficulty.quantile_standardized
    for batch in (graded(random_batch, seed, shape), binary(random_batch, seed, shape)):
        expected = group_twin(batch.reward, lambda group: quantile_twin(group, q, 1, 1e-6, interpolate))
        close(stage(batch, quantile=q, ddof=1, floor=1e-6), expected)


@pytest.mark.parametrize("group", range(2, 9))
@pytest.mark.parametrize("q", [0.2, 0.4, 0.5, 0.6])
def test_qae_is_two_regime_on_binary_rewards(group: int, q: float) -> None:
    """Hard prompts (success rate at most 1 - K) learn from successes alone, easy ones from failures alone."""
    for right in range(1, group):
        batch = group_of(*[1.0] * right, *[0.0] * (group - right))
        advantage = difficulty.quantile_standardized(batch, quantile=q, ddof=1, floor=1e-6)[0, :, 0]
        hard = right <= group - math.ceil(q * group - 1e-9)
        assert (advantage[:right] > 0).all() == hard and (advantage[:right] != 0).any() == hard
        assert (advantage[right:] < 0).all() == (not hard) and (advantage[right:] != 0).any() == (not hard)


def test_qae_by_hand() -> None:
    # G = 8, K = 0.4, 5 right: F(0) = 3/8 < 0.4, so the paper's quantile is 1; between ranks 2 and 3 of 0..7 lies
    # 0.4 * 7 = 2.8, so the interpolated one is 0.8.
    batch = group_of(*[1.0] * 5, *[0.0] * 3)
    spread = std(list(batch.reward[0]), 1)
    proper = difficulty.quantile_standardized(batch, quantile=0.4, ddof=1, floor=0.0)
    close(proper, np.array([[0.0] * 5 + [-1 / spread] * 3])[..., None])
    loose = difficulty.interpolated_quantile_standardized(batch, quantile=0.4, ddof=1, floor=0.0)
    close(loose, np.array([[0.2 / spread] * 5 + [-0.8 / spread] * 3])[..., None])
    # K = 0.5 and odd G: the median, and both forms agree.
    odd = group_of(3.0, 1.0, 2.0)
    for stage in (difficulty.quantile_standardized, difficulty.interpolated_quantile_standardized):
        close(stage(odd, quantile=0.5, ddof=1, floor=0.0), [[[1], [-1], [0]]])


def test_quantiles_of_stacked_runs(random_batch: Draw) -> None:
    batch = graded(random_batch, 1, (3, 5, 2))
    levels = torch.tensor([0.4, 0.6]).view(2, 1, 1, 1)  # float32: 0.4 is a little more than 2/5 of 5
    for stage in (difficulty.quantile_standardized, difficulty.interpolated_quantile_standardized):
        got = stage(batch, quantile=levels, ddof=1, floor=1e-6)
        for run, level in enumerate((0.4, 0.6)):
            # float32's 0.4 is off by 6e-9; the interpolated baseline moves by 4 times that times a gap of order 1.
            torch.testing.assert_close(
                got[run], stage(batch, quantile=level, ddof=1, floor=1e-6)[run], rtol=1e-6, atol=1e-6
            )


# Right and wrong apart ----------------------------------------------------------------------------------------------


@cases
def test_polarity(random_batch: Draw, seed: int, shape: tuple[int, int, int]) -> None:
    batch = binary(random_batch, seed, shape)
    got = polarity.signed_outcome(batch, positive=0.1, negative=2.0, correct_above=0.5)
    close(got, group_twin(batch.reward, lambda group: [0.1 if r > 0.5 else -2.0 for r in group]))


@cases
@pytest.mark.parametrize("name", ["psr", "nsr", "w_reinforce"])
def test_denominators_of_polarity_rows(random_batch: Draw, seed: int, shape: tuple[int, int, int], name: str) -> None:
    """The gradient token by token: PSR and NSR divide by kept tokens, W-REINFORCE by all of them."""
    draw = random_batch(seed, shape, (2,), rewards=(0.0, 1.0), drift=0.0)
    get(name).loss(draw.log_prob, draw.batch).value.sum().backward()
    right, wrong = {"psr": (1.0, 0.0), "nsr": (0.0, 1.0), "w_reinforce": (0.1, 1.0)}[name]
    expected = np.zeros(draw.batch.mask.shape)
    for s in range(2):
        mask, reward = draw.batch.mask[s].numpy(), draw.batch.reward[s].numpy()
        weight = np.where(reward > 0, right, -wrong)
        kept = sum(mask[b, i].sum() for b, i in np.ndindex(*reward.shape) if name == "w_reinforce" or weight[b, i])
        for b, i, t in np.ndindex(*mask.shape):
            expected[s, b, i, t] = -weight[b, i] / max(kept, 1) if mask[b, i, t] else 0.0
    close(draw.log_prob.grad, expected)


def policy_gradient(name: str, counts: list[int], reward: list[float], **overrides: Any) -> Tensor:
    """The objective's exact ascent direction on the logits of a softmax over answers of one token.

    The group holds answer y ``counts[y]`` times, and the policy's probabilities are those frequencies: the average over
    the group *is* the expectation.
    """
    probability = torch.tensor(counts, dtype=torch.float64) / sum(counts)
    logits = probability.log().requires_grad_()
    answers = torch.tensor([y for y, n in enumerate(counts) for _ in range(n)])
    log_prob = logits.log_softmax(0)[answers].view(1, -1, 1)
    batch = Batch(
        log_prob_old=log_prob.detach(),
        mask=torch.ones(log_prob.shape, dtype=torch.bool),
        reward=torch.tensor(reward, dtype=torch.float64)[answers].view(1, -1),
        log_prob_ref=log_prob.detach(),
    )
    (gradient,) = torch.autograd.grad(get(name, **overrides).loss(log_prob, batch).value, logits)
    return -gradient


def test_psr_nsr_and_w_reinforce_share_one_expected_gradient() -> None:
    counts, reward = [1, 2, 3, 4], [1.0, 0.0, 1.0, 0.0]
    plain = policy_gradient("reinforce", counts, reward)  # E[r grad log pi], the true policy gradient
    p = (counts[0] + counts[2]) / sum(counts)
    # PSR divides by the share p of kept rows, NSR by 1 - p; E[(1-r) grad] = -E[r grad].
    close(policy_gradient("psr", counts, reward), plain / p)
    close(policy_gradient("nsr", counts, reward), plain / (1 - p))
    for positive in (0.0, 0.1, 1.0):
        close(policy_gradient("w_reinforce", counts, reward, positive=positive), (1 + positive) * plain)


def test_absolute_advantage_multiplies_the_expected_gradient() -> None:
    """``A + alpha |A|`` on every token is the gradient times ``1 + alpha (1 - 2p)``: HICRA with a full mask."""
    counts, reward, alpha = [1, 2, 3, 4], [1.0, 0.0, 1.0, 0.0], 0.2
    plain = policy_gradient("reinforce", counts, reward)
    answers = torch.tensor([y for y, n in enumerate(counts) for _ in range(n)])
    batch = group_of(*(reward[y] for y in answers))
    batch = replace(batch, planning=batch.mask)
    probability = torch.tensor(counts, dtype=torch.float64) / sum(counts)
    logits = probability.log().requires_grad_()
    weight = shaping.planning_bonus(batch, alpha=alpha)[0, :, 0]
    (gradient,) = torch.autograd.grad((weight * logits.log_softmax(0)[answers]).mean(), logits)
    close(gradient, (1 + alpha * (1 - 2 * 0.4)) * plain)


# The best of k ------------------------------------------------------------------------------------------------------


def subsets(group: int, k: int) -> list[tuple[int, ...]]:
    return list(itertools.combinations(range(group), k))


def passk_twin(group: list[float], k: int) -> list[float]:
    """The mean over the size-k subsets with i of the subset's reward, standardised over all subsets."""
    if k > len(group):
        return [0.0] * len(group)
    best = {s: max(group[i] for i in s) for s in subsets(len(group), k)}
    mean = sum(best.values()) / len(best)
    spread = std(list(best.values()), 0)
    if spread == 0:
        return [0.0] * len(group)
    with_i = [[best[s] for s in best if i in s] for i in range(len(group))]
    return [(sum(x) / len(x) - mean) / spread for x in with_i]


@cases
@pytest.mark.parametrize("k", [1, 2, 3, 4, 8])
def test_passk_against_all_subsets(random_batch: Draw, seed: int, shape: tuple[int, int, int], k: int) -> None:
    batch = binary(random_batch, seed, shape)
    got = best_of_k.pass_at_k_standardized(batch, k=k, correct_above=0.0, floor=0.0)
    close(got, group_twin(batch.reward, lambda group: passk_twin(group, k)))
    close(got.sum(-2), 0.0)


@cases
def test_passk_of_one_is_grpo_with_the_populations_std(
    random_batch: Draw, seed: int, shape: tuple[int, int, int]
) -> None:
    batch = binary(random_batch, seed, shape)
    got = best_of_k.pass_at_k_standardized(batch, k=1, correct_above=0.0, floor=1e-6)
    close(got, group_standardized(batch, ddof=0, floor=1e-6))


def test_passk_by_hand() -> None:
    # G = 4, c = 1, k = 2: rho = 1 - C(3,2)/C(4,2) = 1/2, sigma = 1/2. Right: 1. Wrong: (1/2 - C(2,1)/C(3,1)) / (1/2).
    got = best_of_k.pass_at_k_standardized(group_of(1, 0, 0, 0), k=2, correct_above=0.0, floor=0.0)
    close(got, [[[1], [-1 / 3], [-1 / 3], [-1 / 3]]])
    for rewards, k in (((1, 0, 0), 3), ((1, 1, 0), 2), ((0, 0, 0), 2), ((1,), 1), ((1, 0), 5)):
        got = best_of_k.pass_at_k_standardized(group_of(*map(float, rewards)), k=k, correct_above=0.0, floor=0.0)
        assert (got == 0).all()


def test_k_must_be_positive() -> None:
    for call in (
        lambda: best_of_k.max_at_k_marginal(group_of(1.0), k=0),
        lambda: get("passk", k=0).advantages(group_of(1.0, 0.0)),
    ):
        with pytest.raises(ToybedError, match="k is 0; allowed: at least 1"):
            call()


def pkpo_twin(group: list[float], k: int) -> list[float]:
    total = math.comb(len(group), k)
    if k == 1:
        return [r / total for r in group]
    out = []
    for i in range(len(group)):
        terms = [
            max(group[j] for j in s) - max(group[j] for j in s if j != i) for s in subsets(len(group), k) if i in s
        ]
        out.append(sum(terms) / total if total else 0.0)
    return out


@cases
@pytest.mark.parametrize("k", [1, 2, 3, 4, 5])
def test_pkpo_against_all_subsets(random_batch: Draw, seed: int, shape: tuple[int, int, int], k: int) -> None:
    for batch in (graded(random_batch, seed, shape), binary(random_batch, seed, shape)):
        if k <= shape[1]:
            expected = group_twin(batch.reward, lambda group: pkpo_twin(group, k))
            close(best_of_k.max_at_k_marginal(batch, k=k), expected)
        else:
            assert (best_of_k.max_at_k_marginal(batch, k=k) == 0).all()


def test_pkpo_identities(random_batch: Draw) -> None:
    for size in range(2, 7):
        group = [float(x) for x in np.random.default_rng(size).normal(size=size)]
        for k in range(2, size + 1):
            got = best_of_k.max_at_k_marginal(group_of(*group), k=k)[0, :, 0]
            assert (got >= 0).all()
            # s_i - (k/n) rho_{k-1}(without i), with s_i and rho by brute force.
            total = math.comb(size, k)
            for i in range(size):
                s_i = sum(max(group[j] for j in s) for s in subsets(size, k) if i in s) / total
                rest = [group[j] for j in range(size) if j != i]
                below = [max(rest[j] for j in s) for s in subsets(size - 1, k - 1)]
                close(got[i], s_i - k / size * sum(below) / len(below))
    # k = G: the best response's margin over the second.
    best = best_of_k.best_margin(group_of(3.0, 1.0, 2.5), by_std=False, ddof=1, floor=0.0)
    close(best, best_of_k.max_at_k_marginal(group_of(3.0, 1.0, 2.5), k=3))
    close(best, [[[0.5], [0], [0]]])


def half_credit_twin(group: list[float], share: float) -> list[float]:
    if len(group) == 1 or max(group) == min(group):
        return [0.0] * len(group)
    scale, mean = std(group, 1) + 1e-6, sum(group) / len(group)
    adds = [max(group) - max(group[:i] + group[i + 1 :]) for i in range(len(group))]
    return [(share * (r - mean) + (1 - share) * more) / scale for r, more in zip(group, adds, strict=True)]


@cases
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_half_credit(random_batch: Draw, seed: int, shape: tuple[int, int, int], share: float) -> None:
    for batch in (graded(random_batch, seed, shape), binary(random_batch, seed, shape)):
        got = best_of_k.half_credit(batch, share=share, ddof=1, floor=1e-6)
        close(got, group_twin(batch.reward, lambda group: half_credit_twin(group, share)))


@pytest.mark.parametrize(("seed", "shape"), [(seed, shape) for seed in range(3) for shape in SHAPES if shape[1] > 1])
def test_half_credit_at_its_edges(random_batch: Draw, seed: int, shape: tuple[int, int, int]) -> None:
    graded_batch, binary_batch = graded(random_batch, seed, shape), binary(random_batch, seed, shape)
    for batch in (graded_batch, binary_batch):
        close(get("half_credit", share=1.0).advantages(batch), get("grpo").advantages(batch))
        close(get("half_credit", share=0.0).advantages(batch), get("grpo_passk").advantages(batch))
        # The scale of the reward does not matter, nor where its zero lies.
        moved = best_of_k.half_credit(replace(batch, reward=3 * batch.reward - 2), share=0.5, ddof=1, floor=0.0)
        close(moved, best_of_k.half_credit(batch, share=0.5, ddof=1, floor=0.0))
    # The only right one of G: a standard deviation of sqrt(1/G) with Bessel's correction.
    set_only = get("half_credit", share=0.0, floor=0.0).advantages(binary_batch)
    close(set_only, shape[1] ** 0.5 * best_of_k.max_at_k_marginal(binary_batch, k=shape[1]))


@cases
def test_best_margin(random_batch: Draw, seed: int, shape: tuple[int, int, int]) -> None:
    def twin(group: list[float]) -> list[float]:
        if len(group) == 1 or max(group) == min(group):
            return [0.0] * len(group)
        first, second = sorted(group)[-1], sorted(group)[-2]
        return [(r - second) / (std(group, 1) + 1e-6) if r == first else 0.0 for r in group]

    for batch in (graded(random_batch, seed, shape), binary(random_batch, seed, shape)):
        close(best_of_k.best_margin(batch, by_std=True, ddof=1, floor=1e-6), group_twin(batch.reward, twin))


# Token by token -----------------------------------------------------------------------------------------------------


@cases
def test_planning_bonus(random_batch: Draw, seed: int, shape: tuple[int, int, int]) -> None:
    batch = graded(random_batch, seed, shape)
    base = group_twin(batch.reward, lambda g: [0.0 if len(g) == 1 else r - sum(g) / len(g) for r in g])
    assert batch.planning is not None
    expected = base + np.where(batch.planning.numpy() & batch.mask.numpy(), 0.2 * abs(base), 0.0)
    close(shaping.planning_bonus(batch, alpha=0.2), expected)
    close(shaping.planning_bonus(batch, alpha=0.0), base)
    assert (torch.sign(shaping.planning_bonus(batch, alpha=0.9)) == torch.sign(group_centered(batch))).all()


@cases
def test_random_planning_bonus_has_the_same_dose(random_batch: Draw, seed: int, shape: tuple[int, int, int]) -> None:
    batch = graded(random_batch, seed, shape)
    got = shaping.random_planning_bonus(batch, generator=torch.Generator().manual_seed(seed), alpha=0.2)
    draw = torch.rand(batch.mask.shape, generator=torch.Generator().manual_seed(seed)).numpy()
    assert batch.planning is not None
    base, mask = group_centered(batch).numpy(), batch.mask.numpy()
    expected = np.broadcast_to(base, mask.shape).copy()
    for index in np.ndindex(*batch.reward.shape):
        count = int((batch.planning.numpy() & mask)[index].sum())
        tokens = [t for t in range(mask.shape[-1]) if mask[index][t]]
        for t in sorted(tokens, key=lambda t, index=index: -draw[index][t])[:count]:
            expected[index][t] += 0.2 * abs(base[index][0])
    close(got, expected)


def test_the_placebo_equals_hicra_when_every_token_plans(random_batch: Draw) -> None:
    batch = graded(random_batch, 3, (3, 4, 5))
    batch = replace(batch, planning=batch.mask)
    got = shaping.random_planning_bonus(batch, generator=torch.Generator().manual_seed(0), alpha=0.2)
    close(got, shaping.planning_bonus(batch, alpha=0.2))


@cases
def test_difficulty_weighted(random_batch: Draw, seed: int, shape: tuple[int, int, int]) -> None:
    def twin(group: list[float]) -> list[float]:
        mean = sum(group) / len(group)
        return [(1 + 0.3 * (1 - 2 * mean)) * (r - mean) for r in group]

    batch = binary(random_batch, seed, shape)
    close(difficulty.difficulty_weighted(batch, alpha=0.3), group_twin(batch.reward, twin))
    close(difficulty.difficulty_weighted(batch, alpha=0.0), group_centered(batch))


@cases
def test_the_bonus_on_every_token_is_a_weight_of_the_prompt_and_a_constant(
    random_batch: Draw, seed: int, shape: tuple[int, int, int]
) -> None:
    """``A + alpha |A| = (1 + alpha (1 - 2m)) A + 2 alpha m (1 - m)`` for 0/1 reward, where there is an advantage."""
    batch = binary(random_batch, seed, shape)
    batch = replace(batch, mask=torch.ones_like(batch.mask), planning=torch.ones_like(batch.mask))
    mean = batch.reward.mean(-1, keepdim=True)[..., None]
    weighted = difficulty.difficulty_weighted(batch, alpha=0.2)
    close(shaping.planning_bonus(batch, alpha=0.2), (weighted + 0.4 * mean * (1 - mean)).expand(batch.mask.shape))


@cases
def test_entropy_bonus_shaped(random_batch: Draw, seed: int, shape: tuple[int, int, int]) -> None:
    batch = graded(random_batch, seed, shape)
    base = group_standardized(batch, ddof=1, floor=1e-6).numpy()
    assert batch.entropy_old is not None
    expected = np.zeros(batch.mask.shape)
    for i in np.ndindex(*expected.shape):
        a = base[i[:-1]][0]
        expected[i] = a + (min(0.4 * float(batch.entropy_old[i]), abs(a) / 2) if batch.mask[i] else 0.0)
    got = shaping.entropy_bonus_shaped(batch, alpha=0.4, kappa=2.0, ddof=1, floor=1e-6)
    close(got, expected)
    assert (got.sign() == torch.tensor(base).sign()).all()
    close(shaping.entropy_bonus_shaped(batch, alpha=0.0, kappa=2.0, ddof=1, floor=1e-6), base)


@cases
@pytest.mark.parametrize("zeta", [0.0, 0.1, 2.0, -0.5])
def test_log_prob_rescaled(random_batch: Draw, seed: int, shape: tuple[int, int, int], zeta: float) -> None:
    draw = random_batch(seed, shape, (2,))
    base = group_standardized(draw.batch, ddof=1, floor=1e-6).numpy()
    log_prob = draw.log_prob.detach().numpy()
    expected = np.zeros(draw.batch.mask.shape)
    for i in np.ndindex(*expected.shape):
        a, now = base[i[:-1]][0], log_prob[i] if draw.batch.mask[i] else 0.0
        factor = 1 - zeta * now if a > 0 else 1 + zeta * now
        expected[i] = a * max(factor, 0.0)
    got = shaping.log_prob_rescaled(draw.batch, log_prob=draw.log_prob.detach(), zeta=zeta, ddof=1, floor=1e-6)
    close(got, expected)
    assert (got.sign() * torch.tensor(base).sign() >= 0).all()


def test_repo_r_reads_the_current_policy(random_batch: Draw) -> None:
    draw = random_batch(2, (3, 4, 5), (2,))
    stale = get("repo_r").advantages(draw.batch)
    loss = get("repo_r").loss(draw.log_prob, draw.batch, advantage=stale)
    close(loss.advantage, get("repo_r").advantages(draw.batch, log_prob=draw.log_prob))
    assert not loss.advantage.requires_grad


# All rows -----------------------------------------------------------------------------------------------------------

NAMES = [
    *("reinforce_pp", "reinforce_pp_kl", "reinforce_pp_baseline", "ppo_gae", "gpg", "gpg_verl", "maxrl"),
    *("qae", "qae_interpolated", "psr", "nsr", "w_reinforce", "passk", "grpo_passk", "pkpo"),
    *("half_credit", "hicra", "hicra_random", "difficulty_weighted", "entropy_shaped", "repo_r"),
]
# These do not compare responses of a prompt with each other, or the critic with itself.
NOT_ZERO = {"psr", "nsr", "w_reinforce", "reinforce_pp_kl", "ppo_gae"}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(2, 4, 3), (2, 2, 3), (1, 2, 1)])
@pytest.mark.parametrize("level", [0.0, 0.1, 1.0])
def test_equal_rewards(random_batch: Draw, name: str, shape: tuple[int, int, int], level: float) -> None:
    draw = random_batch(0, shape, (2,), rewards=(level,), dtype=torch.float32)
    batch = replace(draw.batch, value=torch.zeros_like(draw.batch.log_prob_old) + 0.3)
    generator = torch.Generator().manual_seed(0)
    loss = get(name).loss(draw.log_prob, batch, entropy=draw.entropy, generator=generator)
    (gradient,) = torch.autograd.grad(loss.value.sum(), draw.log_prob)
    assert torch.isfinite(gradient).all() and torch.isfinite(loss.advantage).all()
    assert (gradient[~batch.mask] == 0).all()
    assert name in NOT_ZERO or (gradient == 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_rows_are_complete(name: str) -> None:
    entry = row(name)
    assert entry.verified.strip() and set(entry.verified.replace(",", " ").split()) <= {"C", "P", "S", "D"}
    assert set(entry.published) <= set(entry.parameters())


# Expectations over all groups that can be drawn ---------------------------------------------------------------------


def expected_over_groups(name: str, reward: list[float], group: int, **overrides: Any) -> tuple[Tensor, Tensor]:
    """Exact expected ascent direction on the logits of a softmax over answers of one token, and the logits.

    Every group of answers is one prompt of the batch; the loss is a mean over prompts, so that each prompt's part is
    weighted by the probability of its group times the number of groups.
    """
    logits = torch.tensor([0.3, -0.4, 0.1], dtype=torch.float64).requires_grad_()
    answers = torch.tensor(list(itertools.product(range(3), repeat=group)))
    log_prob = logits.log_softmax(0)[answers].unsqueeze(-1)
    chance = log_prob.detach().sum((1, 2)).exp()
    batch = Batch(
        log_prob_old=log_prob.detach(),
        mask=torch.ones(log_prob.shape, dtype=torch.bool),
        reward=torch.tensor(reward, dtype=torch.float64)[answers],
    )
    advantage = get(name, **overrides).advantages(batch)
    weighted = (chance[:, None, None] * advantage * log_prob).mean(1).sum()
    return torch.autograd.grad(weighted, logits)[0], logits


@pytest.mark.parametrize("group", [2, 3, 4])
def test_maxrl_climbs_log_p_cut_at_order_g_minus_1(group: int) -> None:
    got, logits = expected_over_groups("maxrl", [1.0, 0.0, 0.0], group, floor=0.0)
    success = logits.softmax(0)[0]
    # sum_{k=1}^{G-1} of -(1-p)^k / k
    series = sum(-((1 - success) ** k) / k for k in range(1, group))
    close(got, torch.autograd.grad(series, logits)[0])


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_pkpo_climbs_the_expected_best_of_k(k: int) -> None:
    reward = [0.2, 1.0, 0.5]
    got, logits = expected_over_groups("pkpo", reward, 4, k=k)
    policy = logits.softmax(0)
    best = sum(
        max(reward[y] for y in tries) * torch.stack([policy[y] for y in tries]).prod()
        for tries in itertools.product(range(3), repeat=k)
    )
    close(4 * got, torch.autograd.grad(best, logits)[0])


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_passk_without_its_sigma_climbs_pass_at_k(k: int) -> None:
    """Multiplied back by its sigma: ``A sigma`` has the expected gradient ``(G-k)/(G k) grad pass@k``."""
    reward, group = [1.0, 0.0, 0.0], 4
    logits = torch.tensor([0.3, -0.4, 0.1], dtype=torch.float64).requires_grad_()
    answers = torch.tensor(list(itertools.product(range(3), repeat=group)))
    batch = group_of(*[0.0] * group)
    batch = Batch(
        log_prob_old=batch.log_prob_old.expand(len(answers), -1, -1),
        mask=batch.mask.expand(len(answers), -1, -1),
        reward=torch.tensor(reward, dtype=torch.float64)[answers],
    )
    advantage = best_of_k.pass_at_k_standardized(batch, k=k, correct_above=0.0, floor=0.0)
    wrong = (batch.reward == 0).sum(-1).tolist()
    rho = torch.tensor([1 - math.comb(w, k) / math.comb(group, k) for w in wrong], dtype=torch.float64)
    sigma = (rho * (1 - rho)).sqrt()[:, None, None]
    log_prob = logits.log_softmax(0)[answers].unsqueeze(-1)
    chance = log_prob.detach().sum((1, 2)).exp()[:, None, None]
    (got,) = torch.autograd.grad((chance * sigma * advantage * log_prob).mean(1).sum(), logits)
    pass_at_k = 1 - (1 - logits.softmax(0)[0]) ** k
    close(got, (group - k) / (group * k) * torch.autograd.grad(pass_at_k, logits)[0])
