"""Every stage against a slow and obvious twin: NumPy loops in float64, one response and one token at a time.

Tolerance: a result is a sum of at most N = 60 terms of size 1, after at most ten rounded operations, divided by a
spread that is about 1. Its rounding error is below 10 * 60 * 2.2e-16 = 1.3e-13 of the largest term, ten times that
where terms cancel: 1e-12 relative, 1e-12 absolute. A wrong formula differs in the first digits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from toybed.errors import ToybedError
from toybed.objectives import advantages, aggregation, get, regularizers, sampling, surrogates, weights
from toybed.streams import Streams

Array = np.ndarray
LEADS = [(), (2,)]
SEEDS = [0, 1, 2]
SHAPES = [(3, 4, 5), (1, 2, 1), (2, 1, 3)]
cases = pytest.mark.parametrize(
    ("seed", "lead", "shape"), [(seed, lead, shape) for seed in SEEDS for lead in LEADS for shape in SHAPES]
)


def assert_close(got: Tensor, expected: Array) -> None:
    np.testing.assert_allclose(got.detach().numpy(), expected, rtol=1e-12, atol=1e-12)


def each_run(twin: Callable[..., Any], *tensors: Tensor) -> Array:
    """The twin of one run ``[B, G, ...]`` applied to every run of a stack. The first tensor is ``[..., B, G, T]``."""
    arrays = [tensor.detach().numpy() for tensor in tensors]
    if arrays[0].ndim == 3:
        return np.asarray(twin(*arrays))
    return np.stack([twin(*(array[s] for array in arrays)) for s in range(len(arrays[0]))])


def tokens_of(mask: Array) -> list[tuple[int, int, int]]:
    return [(b, i, t) for b in range(mask.shape[0]) for i in range(mask.shape[1]) for t in range(mask.shape[2])]


# Stage 1 ------------------------------------------------------------------------------------------------------------


def outcome_twin(mask: Array, reward: Array, baseline: float = 0.0) -> Array:
    result = np.zeros((*reward.shape, 1))
    for b in range(reward.shape[0]):
        for i in range(reward.shape[1]):
            result[b, i, 0] = reward[b, i] - baseline
    return result


def centered_twin(mask: Array, reward: Array) -> Array:
    result = np.zeros((*reward.shape, 1))
    for b in range(reward.shape[0]):
        group = list(reward[b])
        for i in range(len(group)):
            result[b, i, 0] = group[i] - sum(group) / len(group)
    return result


def leave_one_out_twin(mask: Array, reward: Array) -> Array:
    result = np.zeros((*reward.shape, 1))
    for b in range(reward.shape[0]):
        for i in range(reward.shape[1]):
            others = [reward[b, j] for j in range(reward.shape[1]) if j != i]
            result[b, i, 0] = reward[b, i] - sum(others) / len(others) if others else 0.0
    return result


def standardized_twin(mask: Array, reward: Array, ddof: int = 1, floor: float = 1e-6) -> Array:
    result = np.zeros((*reward.shape, 1))
    for b in range(reward.shape[0]):
        group = list(reward[b])
        if max(group) == min(group):
            continue
        mean = sum(group) / len(group)
        std = math.sqrt(sum((r - mean) ** 2 for r in group) / (len(group) - ddof))
        for i in range(len(group)):
            result[b, i, 0] = (group[i] - mean) / (std + floor)
    return result


def whitened_twin(mask: Array, reward: Array, floor: float = 1e-8) -> Array:
    values = [reward[b, i] for b, i, t in tokens_of(mask) if mask[b, i, t]]
    result = np.zeros((*reward.shape, 1))
    if max(values) == min(values):
        return result
    mean = sum(values) / len(values)
    variance = sum((r - mean) ** 2 for r in values) / (len(values) - 1)
    for b in range(reward.shape[0]):
        for i in range(reward.shape[1]):
            result[b, i, 0] = (reward[b, i] - mean) / math.sqrt(variance + floor)
    return result


@cases
@pytest.mark.parametrize("rewards", [None, (0.0, 1.0)])
@pytest.mark.parametrize(
    ("stage", "twin", "parameters"),
    [
        (advantages.outcome, outcome_twin, {"baseline": 0.3}),
        (advantages.group_centered, centered_twin, {}),
        (advantages.leave_one_out, leave_one_out_twin, {}),
        (advantages.group_standardized, standardized_twin, {"ddof": 1, "floor": 1e-6}),
        (advantages.group_standardized, standardized_twin, {"ddof": 0, "floor": 1e-2}),
        (advantages.batch_whitened, whitened_twin, {"floor": 1e-8}),
    ],
)
def test_advantage(
    random_batch: Any, stage: Any, twin: Any, parameters: Any, rewards: Any, seed: int, lead: Any, shape: Any
) -> None:
    batch = random_batch(seed, shape, lead, rewards=rewards).batch
    expected = each_run(lambda m, r: twin(m, r, **parameters), batch.mask, batch.reward)
    got = stage(batch, **parameters)
    assert got.shape[-1] in (1, shape[-1])
    assert_close(got, np.broadcast_to(expected, got.shape))


# Stage 3 (before stage 2, which needs its coefficient) ---------------------------------------------------------------


def ppo_coefficient(rho: float, a: float, low: float, high: float, dual: float | None) -> float:
    if a >= 0:
        return rho if rho <= 1 + high else 0.0
    if rho < 1 - low or (dual is not None and rho > dual):
        return 0.0
    return rho


def gppo_coefficient(rho: float, a: float, low: float, high: float, dual: float | None) -> float:
    if a >= 0:
        return rho if rho <= 1 + high else 1 + high
    if dual is not None and rho > dual:
        return 0.0
    return rho if rho >= 1 - low else 1 - low


def ppo_value(rho: float, a: float, low: float, high: float, dual: float | None) -> float:
    clipped = 1 - low if rho < 1 - low else 1 + high if rho > 1 + high else rho
    value = min(rho * a, clipped * a)
    return max(value, dual * a) if dual is not None and a < 0 else value


CLIPS = [(0.2, 0.2, None), (0.2, 0.28, 3.0), (1.0, 1.0, None), (0.1, 0.5, 1.5)]


def surrogate_inputs(random_batch: Any, seed: int, lead: Any, per_token: bool) -> tuple[Tensor, Tensor, Any]:
    draw = random_batch(seed, lead=lead, drift=0.8)
    random = torch.Generator().manual_seed(seed)
    shape = [*draw.log_prob.shape[:-1], 5 if per_token else 1]
    advantage = torch.randn(shape, generator=random, dtype=torch.float64)
    advantage.flatten()[::7] = 0.0
    return (draw.log_prob - draw.batch.log_prob_old).detach(), advantage, draw.batch


@pytest.mark.parametrize("lead", LEADS)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("per_token", [True, False])
@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize(
    ("stage", "twin"),
    [(surrogates.ppo_clip, ppo_coefficient), (surrogates.gradient_preserving_clip, gppo_coefficient)],
)
def test_clipping_surrogates(
    random_batch: Any, stage: Any, twin: Any, clip: Any, per_token: bool, seed: int, lead: Any
) -> None:
    log_ratio, advantage, batch = surrogate_inputs(random_batch, seed, lead, per_token)
    options = dict(zip(("clip_low", "clip_high", "dual_clip"), clip, strict=True))
    wide = np.broadcast_to(advantage.numpy(), log_ratio.shape)
    for function, slow in ((stage, twin), (stage.value, ppo_value)):
        expected = [slow(math.exp(d), a, *clip) for d, a in zip(log_ratio.flatten().tolist(), wide.flat, strict=True)]
        got = function(log_ratio, advantage, batch, **options)
        assert_close(got.expand_as(log_ratio), np.reshape(expected, log_ratio.shape))


@pytest.mark.parametrize("lead", LEADS)
def test_surrogates_without_a_clip(random_batch: Any, lead: Any) -> None:
    log_ratio, advantage, batch = surrogate_inputs(random_batch, 0, lead, per_token=True)
    rho = np.reshape([math.exp(d) for d in log_ratio.flatten().tolist()], log_ratio.shape)
    assert_close(surrogates.score_function(log_ratio, advantage, batch), np.ones(rho.shape))
    assert not hasattr(surrogates.score_function, "value")
    assert_close(surrogates.importance_weighted(log_ratio, advantage, batch), rho)
    assert_close(surrogates.importance_weighted.value(log_ratio, advantage, batch), rho * advantage.numpy())


# Stage 2 ------------------------------------------------------------------------------------------------------------


def covariance_twin(log_prob: Array, a: Array, mask: Array) -> Array:
    a = np.broadcast_to(a, mask.shape)
    where = [token for token in tokens_of(mask) if mask[token]]
    mean_log_prob = sum(log_prob[token] for token in where) / len(where)
    mean_a = sum(a[token] for token in where) / len(where)
    result = np.zeros(mask.shape)
    for token in where:
        result[token] = (log_prob[token] - mean_log_prob) * (a[token] - mean_a)
    return result


def exact_share(share: float, tokens: int) -> Fraction:
    """``share * N`` for the decimal number that was written, without its rounding to binary."""
    return Fraction(str(share)) * tokens


def clip_cov_twin(
    mask: Array, log_prob: Array, a: Array, c: Array, uniform: Array, share: float, low: float, high: float, scale: str
) -> Array:
    cov = covariance_twin(log_prob, a, mask)
    where = [token for token in tokens_of(mask) if mask[token]]
    if scale == "quantile":
        ordered = sorted(cov[token] for token in where)
        low, high = (ordered[math.floor(exact_share(q, len(where) - 1))] for q in (low, high))
        candidates = [token for token in where if low < cov[token] <= high and c[token] > 0]
    else:
        candidates = [token for token in where if low < cov[token] < high and c[token] > 0]
    count = max(math.floor(exact_share(share, len(where))), 1)
    weight = mask.astype(float)
    for token in sorted(candidates, key=lambda token: -uniform[token])[:count]:
        weight[token] = 0.0
    return weight


def test_every_token(random_batch: Any) -> None:
    batch = random_batch(0, lead=(2,)).batch
    weight, counted = weights.every_token(batch, advantage=None, anything="ignored")
    assert_close(weight, each_run(lambda mask: np.where(mask, 1.0, 0.0), batch.mask))
    assert torch.equal(counted, batch.mask)
    assert weight.dtype == torch.float64


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize(
    ("share", "low", "high", "scale"),
    [
        (0.02, 0.96, 1.0, "quantile"),
        (0.1, 0.5, 0.9, "quantile"),
        (0.2, 0.0, 1.0, "quantile"),
        (0.05, 0.1, 1.0, "absolute"),
        (0.5, -math.inf, math.inf, "absolute"),
        (0.3, 90.0, 99.0, "absolute"),
    ],
)
def test_drop_covariant(
    random_batch: Any, seed: int, streams: bool, share: float, low: float, high: float, scale: str
) -> None:
    lead = (2,) if streams else ()
    draw = random_batch(seed, lead=lead)
    log_prob, mask = draw.log_prob.detach(), draw.batch.mask
    advantage = advantages.group_standardized(draw.batch, ddof=1, floor=1e-6)
    coefficient = surrogates.ppo_clip(
        log_prob - draw.batch.log_prob_old, advantage, draw.batch, clip_low=0.2, clip_high=0.2
    )

    def source() -> torch.Generator | Streams:
        return Streams("tokens", [7, 8]) if streams else torch.Generator().manual_seed(5)

    first = source()
    uniform = (
        first.uniform(log_prob.shape[1:]) if isinstance(first, Streams) else torch.rand(log_prob.shape, generator=first)
    )
    expected = each_run(
        lambda *arrays: clip_cov_twin(*arrays, share, low, high, scale), mask, log_prob, advantage, coefficient, uniform
    )
    got = weights.drop_covariant(
        draw.batch,
        advantage=advantage,
        log_prob=log_prob,
        coefficient=coefficient,
        generator=source(),
        share=share,
        cov_low=low,
        cov_high=high,
        cov_scale=scale,
    )
    np.testing.assert_array_equal(got.weight.numpy(), expected)
    assert torch.equal(got.counted, mask), "the denominator counts the dropped tokens"
    if low == 90.0:
        assert torch.equal(got.weight, mask.double()), "no candidates: nothing is dropped"


def test_top_tokens(random_batch: Any) -> None:
    random = np.random.default_rng(0)
    for _ in range(50):
        value = random.integers(0, 4, (2, 2, 3, 4)).astype(float)  # many ties
        count = random.integers(0, 26, (2, 1, 1, 1))
        expected = np.zeros(value.shape, bool)
        for s in range(2):
            order = sorted(range(24), key=lambda k: (-value[s].flat[k], k))
            for k in order[: count[s, 0, 0, 0]]:
                expected[s].flat[k] = True
        got = weights.top_tokens(torch.tensor(value), torch.tensor(count))
        np.testing.assert_array_equal(got.numpy(), expected)


# Stage 4 ------------------------------------------------------------------------------------------------------------


def kl_twin(d: float, estimator: str) -> float:
    return {"k1": d, "k2": d * d / 2, "k3": math.exp(-d) - 1 + d}[estimator]


@pytest.mark.parametrize("lead", LEADS)
@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
def test_kl_reference(random_batch: Any, estimator: str, lead: Any) -> None:
    draw = random_batch(0, lead=lead)

    def twin(mask: Array, log_prob: Array, ref: Array) -> Array:
        result = np.zeros(mask.shape)
        for token in tokens_of(mask):
            if mask[token]:
                result[token] = 0.7 * kl_twin(log_prob[token] - ref[token], estimator)
        return result

    got = regularizers.kl_reference(draw.log_prob, draw.batch, kl_coefficient=0.7, kl_estimator=estimator)
    got = torch.where(draw.batch.mask, got, 0.0)
    assert_close(got, each_run(twin, draw.batch.mask, draw.log_prob, draw.batch.log_prob_ref))


def test_kl_reference_names_its_estimators(random_batch: Any) -> None:
    draw = random_batch(0)
    with pytest.raises(ToybedError, match=r"unknown kl_estimator 'k4'.*k[123]"):
        regularizers.kl_reference(draw.log_prob, draw.batch, kl_coefficient=0.7, kl_estimator="k4")


@pytest.mark.parametrize("lead", LEADS)
def test_entropy_bonus(random_batch: Any, lead: Any) -> None:
    draw = random_batch(0, lead=lead)
    got = regularizers.entropy_bonus(draw.log_prob, draw.batch, entropy=draw.entropy, entropy_coefficient=0.7)
    assert_close(got, np.reshape([-0.7 * h for h in draw.entropy.flatten().tolist()], draw.entropy.shape))


def planning_bonus_twin(mask: Array, planning: Array, entropy: Array) -> Array:
    tokens = [token for token in tokens_of(mask) if mask[token]]
    where = [token for token in tokens if planning[token]]
    out = np.zeros(mask.shape)
    for token in where:
        out[token] = -0.7 * entropy[token] * len(tokens) / len(where)
    return out


@pytest.mark.parametrize("lead", LEADS)
def test_planning_entropy_bonus(random_batch: Any, lead: Any) -> None:
    """Averaged over all tokens, as the objective does, it is the mean over planning tokens times the coefficient."""
    draw = random_batch(0, lead=lead)
    planning = draw.batch.require("planning", "")
    assert bool((planning & draw.batch.mask).any() and (~planning & draw.batch.mask).any())
    got = regularizers.planning_entropy_bonus(
        draw.log_prob, draw.batch, entropy=draw.entropy, planning_entropy_coefficient=0.7
    )
    assert_close(got, each_run(planning_bonus_twin, draw.batch.mask, planning, draw.entropy))


def test_planning_entropy_bonus_limits(random_batch: Any) -> None:
    """With planning tokens alone it is the entropy bonus; without any it is nothing, and has no gradient."""
    draw = random_batch(3, lead=(2,))
    for planning in (draw.batch.mask, ~draw.batch.mask):
        batch = replace(draw.batch, planning=planning)
        loss = get("grpo", planning_entropy_coefficient=0.3).loss(draw.log_prob, batch, entropy=draw.entropy)
        options = {"entropy_coefficient": 0.3} if planning is draw.batch.mask else {}
        expected = get("grpo", **options).loss(draw.log_prob, batch, entropy=draw.entropy if options else None)
        torch.testing.assert_close(loss.value, expected.value, rtol=1e-12, atol=1e-15)


def selected_twin(mask: Array, log_prob: Array, a: Array, share: float) -> Array:
    cov = covariance_twin(log_prob, a, mask)
    where = [token for token in tokens_of(mask) if mask[token]]
    count = max(math.ceil(exact_share(share, len(where))), 1)
    result = np.zeros(mask.shape, bool)
    for token in sorted(where, key=lambda token: -cov[token])[:count]:
        result[token] = True
    return result


@pytest.mark.parametrize("lead", LEADS)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 1.0])
def test_covariance_penalty(random_batch: Any, share: float, seed: int, lead: Any) -> None:
    draw = random_batch(seed, lead=lead)
    advantage = advantages.group_standardized(draw.batch, ddof=1, floor=1e-6)

    def twin(mask: Array, log_prob: Array, a: Array, old: Array) -> Array:
        selected = selected_twin(mask, log_prob, a, share)
        return np.where(selected, 0.7 * np.abs(log_prob - old), 0.0)

    got = regularizers.covariance_penalty(draw.log_prob, draw.batch, advantage=advantage, share=share, penalty=0.7)
    assert_close(got, each_run(twin, draw.batch.mask, draw.log_prob, advantage, draw.batch.log_prob_old))


# Stage 5 ------------------------------------------------------------------------------------------------------------


def aggregate_twin(per_token: Array, mask: Array, counted: Array, mode: str, budget: int | None = None) -> float:
    total, rows, tokens = 0.0, [], 0
    for b in range(mask.shape[0]):
        for i in range(mask.shape[1]):
            row_sum, row_count = 0.0, 0
            for t in range(mask.shape[2]):
                row_sum += per_token[b, i, t] if mask[b, i, t] else 0.0
                row_count += bool(counted[b, i, t])
            total += row_sum
            tokens += row_count
            rows.append((row_sum, row_count))
    if mode == "token_mean":
        return total / max(tokens, 1)
    if mode == "seq_mean_token_mean":
        return sum(s / max(n, 1) for s, n in rows) / len(rows)
    if mode == "seq_mean_token_sum":
        return total / len(rows)
    return total / len(rows) / (mask.shape[2] if budget is None else budget)


@cases
@pytest.mark.parametrize("fewer_counted", [False, True])
@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("token_mean", {}),
        ("seq_mean_token_mean", {}),
        ("seq_mean_token_sum", {}),
        ("seq_mean_token_sum_norm", {"budget": None}),
        ("seq_mean_token_sum_norm", {"budget": 13}),
    ],
)
def test_aggregation(
    random_batch: Any, mode: str, options: Any, fewer_counted: bool, seed: int, lead: Any, shape: Any
) -> None:
    draw = random_batch(seed, shape, lead)
    mask = draw.batch.mask
    counted = mask & (draw.entropy > 0.8) if fewer_counted else mask
    per_token = draw.log_prob.masked_fill(~mask, math.nan)
    got = getattr(aggregation, mode)(per_token, mask, counted, **options)
    assert got.shape == lead
    expected = each_run(lambda *arrays: aggregate_twin(*arrays, mode, **options), per_token, mask, counted)
    assert_close(got, expected)


@pytest.mark.parametrize("lead", LEADS)
def test_mixed_outcomes(lead: Any) -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        reward = random.choice([0.0, 1.0], (*lead, 6, 3))
        groups = reward.reshape(-1, 3)
        expected = [any(r != group[0] for r in group) for group in groups.tolist()]
        got = sampling.mixed_outcomes(torch.tensor(reward), resample=True)
        assert sampling.mixed_outcomes(torch.tensor(reward), resample=False).all()
        np.testing.assert_array_equal(got.numpy(), np.reshape(expected, reward.shape[:-1]))


# All five: value and gradient of every row ---------------------------------------------------------------------------
# What a row *is* stands here a second time, by hand: advantage, coefficient, aggregation with their numbers.


def _one(rho: float, a: float) -> float:
    return 1.0


def _ratio(rho: float, a: float) -> float:
    return rho


def _clip(low: float, high: float, dual: float | None) -> Callable[[float, float], float]:
    return lambda rho, a: ppo_coefficient(rho, a, low, high, dual)


def _gppo(rho: float, a: float) -> float:
    return gppo_coefficient(rho, a, 0.2, 0.28, 3.0)


HAND: dict[str, tuple[Any, Callable[[float, float], float], str]] = {
    "reinforce": (outcome_twin, _one, "seq_mean_token_sum"),
    "rloo": (leave_one_out_twin, _one, "seq_mean_token_sum"),
    "ppo": (whitened_twin, _clip(0.2, 0.2, None), "token_mean"),
    "grpo": (standardized_twin, _clip(0.2, 0.2, None), "seq_mean_token_mean"),
    "dr_grpo": (centered_twin, _clip(0.2, 0.2, None), "seq_mean_token_sum_norm"),
    "dapo": (standardized_twin, _clip(0.2, 0.28, 10.0), "token_mean"),
    "gppo": (standardized_twin, _gppo, "token_mean"),
    "clip_cov": (standardized_twin, _clip(1.0, 1.0, None), "token_mean"),
    "kl_cov": (standardized_twin, _ratio, "token_mean"),
}
DRIFT = 1.2  # ratios on both sides of every clip, the dual clip of 10 included (2.7 % of tokens)


def run_twin(name: str, mask: Array, reward: Array, log_prob: Array, old: Array, uniform: Array) -> tuple[Any, Array]:
    """Value and gradient of one run's loss, by the coefficient formula."""
    advantage, coefficient, mode = HAND[name]
    a = np.broadcast_to(advantage(mask, reward), mask.shape)
    c = np.zeros(mask.shape)
    for token in tokens_of(mask):
        if mask[token]:
            c[token] = coefficient(math.exp(log_prob[token] - old[token]), a[token])
    weight = mask.astype(float)
    if name == "clip_cov":
        weight = clip_cov_twin(mask, log_prob, a, c, uniform, 0.02, 0.96, 1.0, "quantile")
    value = aggregate_twin(-weight * c * a * log_prob, mask, mask, mode)
    gradient = np.zeros(mask.shape)
    tokens = mask.sum()
    responses = mask.shape[0] * mask.shape[1]
    for b, i, t in tokens_of(mask):
        if not mask[b, i, t]:
            continue
        share = {
            "token_mean": 1 / tokens,
            "seq_mean_token_mean": 1 / mask[b, i].sum() / responses,
            "seq_mean_token_sum": 1 / responses,
            "seq_mean_token_sum_norm": 1 / responses / mask.shape[2],
        }[mode]
        gradient[b, i, t] = -weight[b, i, t] * c[b, i, t] * a[b, i, t] * share
    if name == "kl_cov":
        for token in zip(*np.nonzero(selected_twin(mask, log_prob, a, 0.02)), strict=True):
            d = log_prob[token] - old[token]
            value += abs(d) / tokens
            gradient[token] += math.copysign(1, d) / tokens
    return value, gradient


@pytest.mark.parametrize("lead", LEADS)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", HAND)
def test_row_has_the_value_and_gradient_of_the_coefficient_formula(
    random_batch: Any, name: str, seed: int, lead: Any
) -> None:
    draw = random_batch(seed, (4, 4, 6), lead, drift=DRIFT)
    batch = draw.batch
    uniform = torch.rand(draw.log_prob.shape, generator=torch.Generator().manual_seed(3))
    loss = get(name).loss(draw.log_prob, batch, generator=torch.Generator().manual_seed(3))
    (gradient,) = torch.autograd.grad(loss.value.sum(), draw.log_prob)
    inputs = (batch.mask, batch.reward, draw.log_prob, batch.log_prob_old, uniform)
    assert_close(loss.value, each_run(lambda *arrays: run_twin(name, *arrays)[0], *inputs))
    assert_close(gradient, each_run(lambda *arrays: run_twin(name, *arrays)[1], *inputs))


def printed_objective(name: str, log_prob: Tensor, batch: Any, a: Tensor) -> Tensor:
    """The per-token objective as the papers print it (to be maximised), differentiated by torch."""
    ratio = (log_prob - batch.log_prob_old).exp()
    if name in ("reinforce", "rloo"):
        return a * log_prob
    if name == "kl_cov":
        return ratio * a
    low, high, dual = {
        "dapo": (0.2, 0.28, 10.0),
        "gppo": (0.2, 0.28, 3.0),
        "clip_cov": (1.0, 1.0, None),
    }.get(name, (0.2, 0.2, None))
    clipped = ratio.clamp(1 - low, 1 + high)
    if name == "gppo":  # KlearReasoner: the bound, times a factor that is 1 in value and carries the gradient
        clipped = clipped.detach() * ratio / ratio.detach()
    result = torch.minimum(ratio * a, clipped * a)
    if dual is not None:
        result = torch.where(a < 0, torch.maximum(result, dual * a), result)
    return result


@pytest.mark.parametrize("lead", LEADS)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", HAND)
def test_row_has_the_gradient_and_forward_value_of_the_printed_objective(
    random_batch: Any, name: str, seed: int, lead: Any
) -> None:
    """Almost everywhere: at a clip's edge the printed objective has no gradient, and no ratio here is at an edge."""
    draw = random_batch(seed, (4, 4, 6), lead, drift=DRIFT)
    batch = draw.batch
    overrides = {"penalty": 0.0} if name == "kl_cov" else {}
    objective = get(name, **overrides)
    loss = objective.loss(draw.log_prob, batch, generator=torch.Generator().manual_seed(3))
    (gradient,) = torch.autograd.grad(loss.value.sum(), draw.log_prob)
    printed = printed_objective(name, draw.log_prob, batch, loss.advantage)
    direct = objective.aggregate(-loss.weight * printed, batch.mask, batch.mask)
    (expected,) = torch.autograd.grad(direct.sum(), draw.log_prob)
    assert_close(gradient, expected.numpy())
    assert_close(loss.forward_value, direct.detach().numpy())
    assert not loss.forward_value.requires_grad


@pytest.mark.parametrize("lead", LEADS)
@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
def test_optional_regularizers_add_their_token_mean(random_batch: Any, estimator: str, lead: Any) -> None:
    """Whatever the aggregation of the policy's term: reinforce sums over tokens, its bonus is a mean."""
    draw = random_batch(4, lead=lead)
    batch = draw.batch
    plain = get("reinforce").loss(draw.log_prob, batch)
    both = get("reinforce", entropy_coefficient=0.3, kl_coefficient=0.2, kl_estimator=estimator)
    loss = both.loss(draw.log_prob, batch, entropy=draw.entropy)
    on_log_prob, on_entropy = torch.autograd.grad((loss.value - plain.value).sum(), [draw.log_prob, draw.entropy])
    slope = {"k1": lambda d: 1.0, "k2": lambda d: d, "k3": lambda d: 1 - math.exp(-d)}[estimator]

    def twin(mask: Array, log_prob: Array, ref: Array, entropy: Array) -> tuple[float, Array, Array]:
        n, value = mask.sum(), 0.0
        gradient, bonus = np.zeros(mask.shape), np.zeros(mask.shape)
        for token in tokens_of(mask):
            if mask[token]:
                d = log_prob[token] - ref[token]
                value += (0.2 * kl_twin(d, estimator) - 0.3 * entropy[token]) / n
                gradient[token] = 0.2 * slope(d) / n
                bonus[token] = -0.3 / n
        return value, gradient, bonus

    inputs = (batch.mask, draw.log_prob, batch.log_prob_ref, draw.entropy)
    assert_close(loss.value - plain.value, each_run(lambda *arrays: twin(*arrays)[0], *inputs))
    assert_close(on_log_prob, each_run(lambda *arrays: twin(*arrays)[1], *inputs))
    assert_close(on_entropy, each_run(lambda *arrays: twin(*arrays)[2], *inputs))
