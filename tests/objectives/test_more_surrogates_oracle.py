"""The surrogates that pool, gate or search, against slow twins, against autograd of the papers' losses, and by hand.

Tolerance of a twin: a coefficient is at most ten rounded operations on numbers below ``exp(0.8 * 4) = 25`` and sums of
five of them, an error below 10 * 5 * 2.2e-16 of it: 1e-12 relative. Gradients add a division by a count: 1e-11.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from toybed.errors import ToybedError
from toybed.objectives import Batch, Objective, bounds, get, row, sequence_surrogates, surrogates
from toybed.objectives.aggregation import seq_mean_token_mean, seq_mean_token_sum, token_mean
from toybed.objectives.batch import needs_of
from toybed.objectives.regularizers import quadratic_log_ratio

LEADS = [(), (2,)]
SEEDS = [0, 1, 2]
ROWS = [
    *("is_pg", "dual_clip", "gspo", "gspo_token", "luspo", "gmpo", "cispo", "cispo_verl", "cispo_trl", "sapo", "gppo"),
    *("ce_gppo", "bapo", "dppo_tv", "dppo_kl", "vespo", "dro", "archer"),
]
Response = dict[str, list[float]]


def inputs(random_batch: Any, seed: int, lead: Any, per_token: bool) -> tuple[Tensor, Tensor, Batch]:
    draw = random_batch(seed, lead=lead, drift=0.8)
    random = torch.Generator().manual_seed(seed)
    advantage = torch.randn([*draw.log_prob.shape[:-1], 5 if per_token else 1], generator=random, dtype=torch.float64)
    advantage.flatten()[::7] = 0.0
    log_ratio = torch.where(draw.batch.mask, draw.log_prob - draw.batch.log_prob_old, 0.0).detach()
    return log_ratio, advantage, draw.batch


def responses(log_ratio: Tensor, advantage: Tensor, batch: Batch) -> list[Response]:
    """The tokens of every response, without padding."""
    parts = {
        "d": log_ratio,
        "a": advantage.expand_as(log_ratio),
        "old": batch.log_prob_old,
        "entropy": batch.entropy_old,
    }
    flat = {name: value.flatten(0, -2) for name, value in parts.items()}
    mask = batch.mask.flatten(0, -2)
    return [{name: value[i][mask[i]].tolist() for name, value in flat.items()} for i in range(len(mask))]


def assert_tokens(got: Tensor, expected: list[list[float]], batch: Batch) -> None:
    wide = got.expand_as(batch.log_prob_old)
    np.testing.assert_allclose(wide[batch.mask].numpy(), [x for row in expected for x in row], rtol=1e-12, atol=1e-12)


# Twins: a response in, a list of (coefficient, value) out -----------------------------------------------------------

Pairs = list[tuple[float, float]]


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def ppo(rho: float, a: float, low: float, high: float, dual: float | None = None) -> tuple[float, float]:
    """Coefficient and value of one token with absolute bounds."""
    value = min(rho * a, min(max(rho, low), high) * a)
    dropped = (a >= 0 and rho > high) or (a < 0 and rho < low)
    if dual is not None and a < 0:
        value = max(value, dual * a)
        dropped = dropped or rho > dual
    return (0.0 if dropped else rho), value


def scaled_twin(
    r: Response, clip_low: float, clip_high: float, beta_low: float, beta_high: float, dual_clip: float | None
) -> Pairs:
    out = []
    for d, a in zip(r["d"], r["a"], strict=True):
        rho = math.exp(d)
        if a < 0 and rho < 1 - clip_low:
            c = beta_low * (1 - clip_low)
        elif a > 0 and rho > 1 + clip_high:
            c = beta_high * (1 + clip_high)
        else:
            c = rho
        value = c * a
        if dual_clip is not None and a < 0:
            value = max(value, dual_clip * a)
            c = 0.0 if rho > dual_clip else c
        out.append((c, value))
    return out


def weight_twin(r: Response, weight_low: float, weight_high: float) -> Pairs:
    out = []
    for d, a, old in zip(r["d"], r["a"], r["old"], strict=True):
        c = min(max(math.exp(d), weight_low), weight_high)
        out.append((c, c * a * (old + d)))
    return out


def gate_twin(r: Response, tau_positive: float, tau_negative: float) -> Pairs:
    out = []
    for d, a in zip(r["d"], r["a"], strict=True):
        rho, tau = math.exp(d), tau_positive if a > 0 else tau_negative
        out.append((rho / math.cosh(tau * (rho - 1) / 2) ** 2, 4 / tau / (1 + math.exp(-tau * (rho - 1))) * a))
    return out


def sequence_twin(r: Response, clip_low: float, clip_high: float) -> Pairs:
    return [ppo(math.exp(mean(r["d"])), mean(r["a"]), 1 - clip_low, 1 + clip_high) for _ in r["d"]]


def sequence_token_twin(r: Response, clip_low: float, clip_high: float) -> Pairs:
    return [ppo(math.exp(mean(r["d"])), a, 1 - clip_low, 1 + clip_high) for a in r["a"]]


def geometric_twin(r: Response, log_clip_low: float, log_clip_high: float) -> Pairs:
    a = mean(r["a"])
    clipped = [min(d, log_clip_high) if a >= 0 else max(d, -log_clip_low) for d in r["d"]]
    geo = math.exp(mean(clipped))
    return [(geo if d == e else 0.0, geo * a) for d, e in zip(r["d"], clipped, strict=True)]


def product_twin(
    r: Response, power_positive: float, decay_positive: float, power_negative: float, decay_negative: float
) -> Pairs:
    w = math.prod(math.exp(d) for d in r["d"])
    out = []
    for d, a, old in zip(r["d"], r["a"], r["old"], strict=True):
        k, decay = (power_positive, decay_positive) if a >= 0 else (power_negative, decay_negative)
        c = math.exp(decay) * w**k * math.exp(-decay * w)
        out.append((c, c * a * (old + d)))
    return out


def tv_twin(r: Response, mask_low: float, mask_high: float, ratio_cap: float) -> Pairs:
    out = []
    for d, a, old in zip(r["d"], r["a"], r["old"], strict=True):
        change = math.exp(old + d) - math.exp(old)
        kept = change <= mask_high if a > 0 else change >= -mask_low
        c = min(math.exp(d), ratio_cap) if kept else 0.0
        out.append((c, c * a * (old + d)))
    return out


def kl_twin(r: Response, mask_low: float, mask_high: float, ratio_cap: float) -> Pairs:
    out = []
    for d, a, old in zip(r["d"], r["a"], r["old"], strict=True):
        p_old, p = math.exp(old), min(math.exp(old + d), 1.0)
        kl = p_old * math.log(p_old / p) + (1 - p_old) * math.log((1 - p_old + 1e-8) / (1 - p + 1e-8))
        away = p > p_old if a > 0 else p < p_old
        c = 0.0 if away and kl > (mask_high if a > 0 else mask_low) else min(math.exp(d), ratio_cap)
        out.append((c, c * a * (old + d)))
    return out


def archer_twin(
    r: Response,
    clip_low: float,
    clip_high: float,
    uncertain_clip_low: float,
    uncertain_clip_high: float,
    clip_split: float,
    dual_clip: float | None,
) -> Pairs:
    quantile = np.quantile(r["entropy"], clip_split)
    out = []
    for d, a, h in zip(r["d"], r["a"], r["entropy"], strict=True):
        low, high = (clip_low, clip_high) if h <= quantile else (uncertain_clip_low, uncertain_clip_high)
        out.append(ppo(math.exp(d), a, 1 - low, 1 + high, dual_clip))
    return out


BETAS = {"clip_low": 0.2, "clip_high": 0.28}
CASES: list[tuple[Any, Any, dict[str, Any]]] = [
    (surrogates.gradient_scaled_clip, scaled_twin, {**BETAS, "beta_low": 0.75, "beta_high": 1.5, "dual_clip": 3.0}),
    (surrogates.gradient_scaled_clip, scaled_twin, {**BETAS, "beta_low": 0.25, "beta_high": 1.0, "dual_clip": None}),
    (surrogates.clipped_weight, weight_twin, {"weight_low": 0.0, "weight_high": 5.0}),
    (surrogates.clipped_weight, weight_twin, {"weight_low": 0.8, "weight_high": 1.2}),
    (surrogates.soft_gate, gate_twin, {"tau_positive": 1.0, "tau_negative": 1.05}),
    (surrogates.soft_gate, gate_twin, {"tau_positive": 3.0, "tau_negative": 0.5}),
    (sequence_surrogates.sequence_clip, sequence_twin, {"clip_low": 0.1, "clip_high": 0.14}),
    (sequence_surrogates.sequence_token_clip, sequence_token_twin, {"clip_low": 0.1, "clip_high": 0.14}),
    (sequence_surrogates.geometric_clip, geometric_twin, {"log_clip_low": 0.4, "log_clip_high": 0.3}),
    (
        sequence_surrogates.product_gate,
        product_twin,
        {"power_positive": 2.0, "decay_positive": 3.0, "power_negative": 3.0, "decay_negative": 2.0},
    ),
    (bounds.total_variation_mask, tv_twin, {"mask_low": 0.1, "mask_high": 0.2, "ratio_cap": 3.0}),
    (bounds.binary_kl_mask, kl_twin, {"mask_low": 0.02, "mask_high": 0.05, "ratio_cap": 3.0}),
    (
        bounds.entropy_split_clip,
        archer_twin,
        {**BETAS, "uncertain_clip_low": 0.5, "uncertain_clip_high": 0.6, "clip_split": 0.6, "dual_clip": 3.0},
    ),
]
cases = pytest.mark.parametrize(("stage", "twin", "options"), CASES, ids=[stage.__name__ for stage, _, _ in CASES])


@cases
@pytest.mark.parametrize("lead", LEADS)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("per_token", [True, False])
def test_twin(random_batch: Any, stage: Any, twin: Any, options: Any, seed: int, lead: Any, per_token: bool) -> None:
    log_ratio, advantage, batch = inputs(random_batch, seed, lead, per_token)
    pairs = [twin(response, **options) for response in responses(log_ratio, advantage, batch)]
    assert_tokens(stage(log_ratio, advantage, batch, **options), [[c for c, _ in r] for r in pairs], batch)
    assert_tokens(stage.value(log_ratio, advantage, batch, **options), [[v for _, v in r] for r in pairs], batch)


SEARCH = {"low_start": 0.6, "low_end": 0.8, "low_step": 0.05, "high_start": 1.2, "high_end": 2.0, "high_step": 0.3}


def bounds_twin(tokens: list[tuple[float, float]], balance: float, first: str) -> tuple[float, float]:
    """One bound is raised until it is at its end, then the other; stop as soon as the target is met."""
    low, high = SEARCH["low_start"], SEARCH["high_start"]

    def met() -> bool:
        positive = sum(min(rho, high) * a for rho, a in tokens if a >= 0)
        negative = sum(max(rho, low) * -a for rho, a in tokens if a < 0)
        return positive >= balance * negative

    for which in ("low", "high") if first == "low" else ("high", "low"):
        start, end, step = (SEARCH[f"{which}_{part}"] for part in ("start", "end", "step"))
        i = 0
        while not met() and (low if which == "low" else high) < end:
            i += 1
            moved = min(start + i * step, end)
            low, high = (moved, high) if which == "low" else (low, moved)
    return low, high


def run_tokens(log_ratio: Tensor, advantage: Tensor, mask: Tensor) -> list[tuple[float, float]]:
    pairs = zip(log_ratio[mask].tolist(), advantage.expand_as(log_ratio)[mask].tolist(), strict=True)
    return [(math.exp(d), a) for d, a in pairs]


@pytest.mark.parametrize("first", ["low", "high"])
@pytest.mark.parametrize("balance", [0.0, 0.4, 0.8, 1.0, 1.3, 2.0, 50.0])
@pytest.mark.parametrize("seed", SEEDS)
def test_balanced_clip_twin(random_batch: Any, seed: int, balance: float, first: str) -> None:
    log_ratio, advantage, batch = inputs(random_batch, seed, (2,), per_token=False)
    low, high = bounds.balanced_bounds(log_ratio, advantage, batch, **SEARCH, balance=balance, first=first)
    stage = partial(bounds.balanced_clip, **SEARCH, balance=balance, first=first, dual_clip=3.0)
    c = stage(log_ratio, advantage, batch)
    value = bounds.balanced_clip.value(log_ratio, advantage, batch, **stage.keywords)  # type: ignore[attr-defined]
    for s in range(2):
        tokens = run_tokens(log_ratio[s], advantage[s], batch.mask[s])
        twin = bounds_twin(tokens, balance, first)
        # Both sides take start + i * step in float64.
        assert (float(low[s]), float(high[s])) == pytest.approx(twin, rel=1e-15)
        pairs = [ppo(rho, a, *twin, 3.0) for rho, a in tokens]
        np.testing.assert_allclose(c[s][batch.mask[s]].numpy(), [x for x, _ in pairs], rtol=1e-12)
        np.testing.assert_allclose(value[s][batch.mask[s]].numpy(), [x for _, x in pairs], rtol=1e-12)


# The gradient is that of the loss which the paper prints --------------------------------------------------------------


def responses_mean(per_response: Tensor) -> Tensor:
    return per_response.mean((-2, -1))


def masked_mean_of(value: Tensor, batch: Batch) -> Tensor:
    return torch.where(batch.mask, value, 0.0).sum(-1) / batch.mask.sum(-1)


def clipped_loss(ratio: Tensor, a: Tensor, low: Any, high: Any, dual: float | None = None) -> Tensor:
    loss = torch.maximum(-a * ratio, -a * torch.clamp(ratio, low, high))
    return loss if dual is None else torch.where(a < 0, torch.minimum(loss, -a * dual), loss)


def over_tokens(loss: Callable[..., Tensor]) -> Callable[[Tensor, Tensor, Batch], Tensor]:
    """A per-token loss averaged over the tokens of the mini-batch."""
    return lambda lp, a, b: token_mean(loss((lp - b.log_prob_old).exp(), a, lp, b), b.mask, b.mask)


def gspo_loss(lp: Tensor, a: Tensor, b: Batch) -> Tensor:
    s = masked_mean_of(lp - b.log_prob_old, b).exp()
    return clipped_loss(s, a.squeeze(-1), 0.9, 1.14)


def gspo_token_loss(lp: Tensor, a: Tensor, b: Batch) -> Tensor:
    pooled = masked_mean_of(lp - b.log_prob_old, b)[..., None].detach()
    return seq_mean_token_mean(clipped_loss((lp - lp.detach() + pooled).exp(), a, 0.9, 1.14), b.mask, b.mask)


def gmpo_loss(lp: Tensor, a: Tensor, b: Batch) -> Tensor:
    d, sign = lp - b.log_prob_old, torch.sign(a)
    one_sided = sign * torch.minimum(sign * d, sign * d.clamp(-0.4, 0.4))
    return responses_mean(-a.squeeze(-1) * masked_mean_of(one_sided, b).exp())


def ce_gppo_loss(rho: Tensor, a: Tensor, lp: Tensor, b: Batch) -> Tensor:
    one = rho / rho.detach()
    low, high = (rho < 0.8) & (a < 0), (rho > 1.2) & (a > 0)
    loss = -a * torch.where(low, 0.75 * 0.8 * one, torch.where(high, 1.0 * 1.2 * one, rho))
    return torch.where(a < 0, torch.minimum(loss, -a * 10.0), loss)


def dppo_loss(kl: bool) -> Callable[..., Tensor]:
    def loss(rho: Tensor, a: Tensor, lp: Tensor, b: Batch) -> Tensor:
        p, old = lp.detach().clamp(max=0.0).exp(), b.log_prob_old.exp()
        other = ((1 - old + 1e-8) / (1 - p + 1e-8)).log()
        divergence = old * (b.log_prob_old - p.log()) + (1 - old) * other
        if kl:
            keep = torch.where(a > 0, (divergence <= 0.05) | (p <= old), (divergence <= 0.05) | (p >= old))
        else:
            change = lp.detach().exp() - old
            keep = torch.where(a > 0, change <= 0.2, change >= -0.2)
        return -a * rho.detach().clamp(max=20.0) * keep * lp

    return loss


def vespo_loss(rho: Tensor, a: Tensor, lp: Tensor, b: Batch) -> Tensor:
    w = torch.where(b.mask, lp - b.log_prob_old, 0.0).sum(-1, keepdim=True).exp()
    phi = torch.where(a >= 0, math.exp(3) * w**2 * (-3 * w).exp(), math.exp(2) * w**3 * (-2 * w).exp())
    return -phi.detach() * a * lp


def bapo_loss(lp: Tensor, a: Tensor, b: Batch) -> Tensor:
    options = {k: v for k, v in row("bapo").surrogate.parameters.items() if k != "dual_clip"}
    log_ratio = torch.where(b.mask, (lp - b.log_prob_old).detach(), 0.0)
    low, high = bounds.balanced_bounds(log_ratio, a, b, **options)
    return token_mean(clipped_loss((lp - b.log_prob_old).exp(), a, low, high, 3.0), b.mask, b.mask)


def tau(a: Tensor) -> Tensor:
    return torch.where(a > 0, 1.0, torch.full_like(a, 1.05))


PAPERS: dict[str, Callable[[Tensor, Tensor, Batch], Tensor]] = {
    "is_pg": over_tokens(lambda rho, a, lp, b: -rho * a),
    "dual_clip": lambda lp, a, b: seq_mean_token_mean(
        clipped_loss((lp - b.log_prob_old).exp(), a, 0.8, 1.2, 3.0), b.mask, b.mask
    ),
    "gspo": lambda lp, a, b: responses_mean(gspo_loss(lp, a, b)),
    "gspo_token": gspo_token_loss,
    "luspo": lambda lp, a, b: responses_mean(gspo_loss(lp, a, b) * b.mask.sum(-1)),
    "gmpo": gmpo_loss,
    "cispo": over_tokens(lambda rho, a, lp, b: -rho.detach().clamp(max=5.0) * a * lp),
    "cispo_verl": over_tokens(lambda rho, a, lp, b: -rho.detach().clamp(0.8, 1.2) * a * lp),
    "cispo_trl": over_tokens(lambda rho, a, lp, b: -rho.detach().clamp(max=0.2) * a * lp),
    "sapo": lambda lp, a, b: seq_mean_token_mean(
        -4 / tau(a) * torch.sigmoid(tau(a) * ((lp - b.log_prob_old).exp() - 1)) * a, b.mask, b.mask
    ),
    "ce_gppo": over_tokens(ce_gppo_loss),
    "bapo": bapo_loss,
    "dppo_tv": over_tokens(dppo_loss(kl=False)),
    "dppo_kl": over_tokens(dppo_loss(kl=True)),
    "vespo": over_tokens(vespo_loss),
    "dro": over_tokens(lambda rho, a, lp, b: -(a * lp - 0.05 / 2 * (lp - b.log_prob_old) ** 2)),
}


@pytest.mark.parametrize("name", PAPERS)
@pytest.mark.parametrize("seed", SEEDS)
def test_gradient_is_that_of_the_papers_loss(random_batch: Any, name: str, seed: int) -> None:
    draw = random_batch(seed, lead=(2,), drift=0.5)
    objective, batch = get(name), draw.batch
    advantage = objective.advantages(batch)
    [expected] = torch.autograd.grad(PAPERS[name](draw.log_prob, advantage, batch).sum(), draw.log_prob)
    loss = objective.loss(draw.log_prob, batch)
    [got] = torch.autograd.grad(loss.value.sum(), draw.log_prob)
    assert float(expected.abs().max()) > 0
    torch.testing.assert_close(got, expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("name", [name for name in PAPERS if name not in ("dro",)])
def test_value_is_the_papers(random_batch: Any, name: str) -> None:
    draw = random_batch(5, lead=(2,), drift=0.5)
    objective = get(name)
    expected = PAPERS[name](draw.log_prob, objective.advantages(draw.batch), draw.batch)
    torch.testing.assert_close(objective.loss(draw.log_prob, draw.batch).forward_value, expected.detach())


# Laws of all rows -----------------------------------------------------------------------------------------------------


def coefficient(name: str, log_ratio: Tensor, advantage: Tensor, batch: Batch, **overrides: Any) -> Tensor:
    return get(name, **overrides).surrogate(log_ratio, advantage, batch)


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_coefficient_is_one_at_ratio_one(random_batch: Any, name: str, dtype: torch.dtype) -> None:
    batch = random_batch(0, lead=(2,), dtype=dtype).batch
    advantage = torch.randn(2, 3, 4, 1, dtype=dtype, generator=torch.Generator().manual_seed(0))
    c = coefficient(name, torch.zeros_like(batch.log_prob_old), advantage, batch)
    assert c.dtype == dtype
    # Exactly; TRL's cap is below 1.
    expected = torch.full_like(c, 0.2 if name == "cispo_trl" else 1.0)
    assert torch.equal(c, expected)


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("size", [50.0, -50.0])
@pytest.mark.parametrize("share", [0.3, 1.0])
def test_extreme_ratios_are_finite(random_batch: Any, name: str, dtype: torch.dtype, size: float, share: float) -> None:
    draw = random_batch(1, lead=(2,), dtype=dtype)
    jump = (torch.rand(draw.log_prob.shape, generator=torch.Generator().manual_seed(1)) < share) * size
    log_prob = (draw.batch.log_prob_old + jump.to(dtype)).requires_grad_()
    loss = get(name).loss(log_prob, draw.batch)
    [gradient] = torch.autograd.grad(loss.value.sum(), log_prob)
    for value in (loss.value, loss.forward_value, loss.coefficient, gradient):
        assert bool(torch.isfinite(value).all())
    assert bool((loss.coefficient >= 0).all())


@pytest.mark.parametrize("name", ROWS)
def test_padding_gets_no_gradient_and_may_hold_anything(random_batch: Any, name: str) -> None:
    draw = random_batch(2, lead=(2,))
    batch, value, gradient = draw.batch, [], []
    for filler in (0.0, 7.0):
        log_prob = torch.where(batch.mask, draw.log_prob.detach(), filler).requires_grad_()
        loss = get(name).loss(log_prob, batch)
        value.append(loss.value)
        gradient.append(torch.autograd.grad(loss.value.sum(), log_prob)[0])
    assert torch.equal(value[0], value[1]) and torch.equal(gradient[0], gradient[1])
    assert bool((gradient[0][~batch.mask] == 0).all())


def part_of(batch: Batch, s: int) -> Batch:
    """One run of a stack."""
    fields = ("log_prob_old", "mask", "reward", "log_prob_ref", "entropy_old")
    return Batch(**{name: getattr(batch, name)[s : s + 1] for name in fields})


@pytest.mark.parametrize("name", ROWS)
def test_hyper_parameters_of_each_run(random_batch: Any, name: str) -> None:
    draw, entry = random_batch(3, lead=(2,)), row(name)
    for stage in (entry.surrogate, *entry.regularizers):
        for parameter, value in stage.parameters.items():
            if value is None or isinstance(value, str) or not stage.stackable(parameter):
                continue
            values = [value, value * 0.7]
            stacked = torch.tensor(values, dtype=torch.float64).view(2, 1, 1, 1)
            together = get(name, **{parameter: stacked}).loss(draw.log_prob, draw.batch).value
            for s in range(2):
                alone = get(name, **{parameter: values[s]}).loss(draw.log_prob[s : s + 1], part_of(draw.batch, s)).value
                torch.testing.assert_close(together[s : s + 1], alone, rtol=1e-12, atol=1e-14)


def test_surrogates_read_no_field_that_they_do_not_name() -> None:
    for name in ROWS:
        assert needs_of(get(name).surrogate) == (("entropy_old",) if name == "archer" else ())


# Limits ---------------------------------------------------------------------------------------------------------------


def one_token(random_batch: Any) -> tuple[Tensor, Tensor, Batch]:
    draw = random_batch(4, shape=(5, 6, 1), lead=(2,), drift=0.6)
    advantage = torch.randn(2, 5, 6, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    return (draw.log_prob - draw.batch.log_prob_old).detach(), advantage, draw.batch


def test_one_token_responses(random_batch: Any) -> None:
    given = one_token(random_batch)
    for name in ("gspo", "gspo_token", "luspo"):
        assert torch.equal(coefficient(name, *given), coefficient("grpo", *given, clip_low=0.1, clip_high=0.14))
    ppo_c = coefficient("grpo", *given, clip_low=1 - math.exp(-0.4), clip_high=math.exp(0.4) - 1)
    torch.testing.assert_close(coefficient("gmpo", *given), ppo_c, rtol=1e-15, atol=0)
    rho = given[0].exp()
    phi = torch.where(given[1] >= 0, rho**2 * (3 - 3 * rho).exp(), rho**3 * (2 - 2 * rho).exp())
    torch.testing.assert_close(coefficient("vespo", *given), phi, rtol=1e-13, atol=0)


@pytest.mark.parametrize("lead", LEADS)
def test_limits(random_batch: Any, lead: Any) -> None:
    given = inputs(random_batch, 6, lead, per_token=True)
    rho, inf = given[0].exp(), math.inf
    ones = torch.ones_like(rho)

    def same(a: Tensor, b: Tensor, rtol: float = 0.0) -> None:
        # Times A: what a surrogate says where A = 0 is a matter of convention.
        torch.testing.assert_close(a * given[1], b * given[1], rtol=rtol, atol=0)

    clips = {"clip_low": 0.2, "clip_high": 0.28}
    same(coefficient("dual_clip", *given, dual_clip=inf), coefficient("grpo", *given))
    gppo = coefficient("gppo", *given, **clips, dual_clip=3.0)
    same(coefficient("ce_gppo", *given, **clips, beta_low=1.0, beta_high=1.0, dual_clip=3.0), gppo)
    dual = coefficient("dual_clip", *given, **clips, dual_clip=3.0)
    same(coefficient("ce_gppo", *given, **clips, beta_low=0.0, beta_high=0.0, dual_clip=3.0), dual)
    same(coefficient("cispo", *given, weight_low=0.0, weight_high=inf), rho)
    same(coefficient("cispo", *given, weight_low=1.0, weight_high=1.0), ones)
    # sech^2(x) = 1 - x^2 + ..., x below 1e-6 * 25.
    same(coefficient("sapo", *given, tau_positive=1e-6, tau_negative=1e-6), rho, rtol=1e-9)
    same(coefficient("dppo_tv", *given, mask_low=1.0, mask_high=inf, ratio_cap=inf), rho)
    same(coefficient("dppo_kl", *given, mask_low=inf, mask_high=inf, ratio_cap=inf), rho)
    still = {"power_positive": 0.0, "decay_positive": 0.0, "power_negative": 0.0, "decay_negative": 0.0}
    same(coefficient("vespo", *given, **still), ones)
    narrow = {"uncertain_clip_low": 0.2, "uncertain_clip_high": 0.2, "dual_clip": 3.0}
    same(coefficient("archer", *given, **narrow), coefficient("dual_clip", *given))
    start = {"clip_low": 1 - 0.6, "clip_high": 1.2 - 1, "dual_clip": 3.0}
    same(coefficient("bapo", *given, balance=0.0), coefficient("dual_clip", *given, **start))
    free = coefficient("gspo", *given, clip_low=inf, clip_high=inf)
    same(coefficient("gmpo", *given, log_clip_low=inf, log_clip_high=inf), free)


def test_gspo_token_is_gspo_where_advantages_are_constant(random_batch: Any) -> None:
    given = inputs(random_batch, 7, (2,), per_token=False)
    assert torch.equal(coefficient("gspo", *given), coefficient("gspo_token", *given))
    per_token = inputs(random_batch, 7, (2,), per_token=True)
    assert not torch.equal(coefficient("gspo", *per_token), coefficient("gspo_token", *per_token))


def test_a_gspo_response_has_one_fate(random_batch: Any) -> None:
    log_ratio, advantage, batch = inputs(random_batch, 8, (2,), per_token=True)
    c = coefficient("gspo", log_ratio, advantage, batch)
    assert torch.equal(c, c[..., :1].expand_as(c))
    assert bool((c == 0).any()) and bool((c > 0).any())


def test_luspo_is_gspo_times_the_length(random_batch: Any) -> None:
    draw = random_batch(9, lead=(2,), equal_lengths=True)
    gspo, luspo = (get(name).loss(draw.log_prob, draw.batch).value for name in ("gspo", "luspo"))
    torch.testing.assert_close(luspo, 5 * gspo, rtol=1e-13, atol=1e-15)


def test_deltas_are_dual_clips(random_batch: Any) -> None:
    """TRL clamps the ratio at delta before the minimum; verl caps the loss of negative tokens: the same gradient."""
    draw = random_batch(10, drift=1.0)
    a = get("dual_clip").advantages(draw.batch)
    rho = (draw.log_prob - draw.batch.log_prob_old).exp()
    trl = -torch.minimum(rho.clamp(max=3.0) * a, rho.clamp(0.8, 1.2) * a)
    [expected] = torch.autograd.grad(seq_mean_token_mean(trl, draw.batch.mask, draw.batch.mask), draw.log_prob)
    value = get("dual_clip").loss(draw.log_prob, draw.batch).value
    [got] = torch.autograd.grad(value, draw.log_prob)
    assert bool(((rho > 3) & (a < 0) & draw.batch.mask).any())
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-15)


def test_kept_gradients_are_bounded_by_the_clip(random_batch: Any) -> None:
    log_ratio, advantage, batch = inputs(random_batch, 11, (2,), per_token=True)
    c, rho = coefficient("gppo", log_ratio, advantage, batch), log_ratio.exp()
    clipped = coefficient("grpo", log_ratio, advantage, batch, clip_low=0.2, clip_high=0.28) == 0
    dual = (advantage < 0) & (rho > 3)
    assert bool((c[clipped & ~dual] > 0).all()) and bool((c[clipped] <= 1.28).all())
    assert bool((c[dual] == 0).all())


@given(
    tokens=st.lists(st.tuples(st.integers(-8, 8), st.integers(-3, 3)), min_size=1, max_size=8),
    targets=st.lists(st.floats(0.0, 4.0), min_size=2, max_size=5),
    first=st.sampled_from(["low", "high"]),
)
def test_balanced_bounds_rise_with_the_target(tokens: list[tuple[int, int]], targets: list[float], first: str) -> None:
    log_ratio = torch.tensor([d / 4 for d, _ in tokens], dtype=torch.float64).view(1, 1, -1)
    advantage = torch.tensor([float(a) for _, a in tokens], dtype=torch.float64).view(1, 1, -1)
    zeros = torch.zeros_like(log_ratio)
    batch = Batch(zeros, torch.ones_like(zeros, dtype=torch.bool), torch.zeros(1, 1, dtype=torch.float64))
    found = [
        bounds.balanced_bounds(log_ratio, advantage, batch, **SEARCH, balance=target, first=first)
        for target in (0.0, *sorted(targets))
    ]
    assert (float(found[0][0]), float(found[0][1])) == (0.6, 1.2)
    for (low, high), (next_low, next_high) in pairwise(found):
        assert bool((next_low >= low).all()) and bool((next_high >= high).all())
        # The bound that moves second stays at its start until the other is at its end.
        leader_done = next_low == 0.8 if first == "low" else next_high == 2.0
        follower_at_start = next_high == 1.2 if first == "low" else next_low == 0.6
        assert bool((leader_done | follower_at_start).all())


def test_an_unknown_order_of_bounds_is_an_error(random_batch: Any) -> None:
    with pytest.raises(ToybedError, match="first"):
        get("bapo", first="loww").loss(random_batch(0).log_prob, random_batch(0).batch)


def test_slope_of_the_product_gate_at_one() -> None:
    """phi'(1) = k - lambda; a central difference of step h is off by h^2 phi''' / 6 + 1e-16 / h: 1e-8 is ample."""
    h = 1e-5
    one = torch.zeros(1, 1, 1, dtype=torch.float64)
    batch = Batch(one, one == 0, torch.zeros(1, 1, dtype=torch.float64))
    for a, slope in ((1.0, 2.0 - 3.0), (-1.0, 3.0 - 2.0)):
        up, down = (coefficient("vespo", one + math.log(w), one + a, batch) for w in (1 + h, 1 - h))
        assert float((up - down) / (2 * h)) == pytest.approx(slope, abs=1e-8)


def test_quadratic_log_ratio_is_stationary_at_a_over_beta() -> None:
    old = torch.tensor([[[-1.0]]], dtype=torch.float64)
    batch = Batch(old, old < 0, torch.zeros(1, 1, dtype=torch.float64))
    objective = Objective(
        advantage=lambda _: torch.tensor([[[0.6]]], dtype=torch.float64),
        surrogate=surrogates.score_function,
        aggregate=seq_mean_token_sum,
        regularizers=(partial(quadratic_log_ratio, log_ratio_coefficient=2.0),),
    )
    log_prob = (old + 0.6 / 2.0).requires_grad_()
    [gradient] = torch.autograd.grad(objective.loss(log_prob, batch).value, log_prob)
    assert float(gradient) == pytest.approx(0.0, abs=1e-15)


# By hand --------------------------------------------------------------------------------------------------------------


def token(ratio: float, a: float, old: float = -1.0) -> tuple[Tensor, Tensor, Batch]:
    one = torch.ones(1, 1, 1, dtype=torch.float64)
    return one * math.log(ratio), one * a, Batch(one * old, one > 0, torch.zeros(1, 1, dtype=torch.float64))


@pytest.mark.parametrize(
    ("name", "ratio", "a", "expected"),
    [
        ("dual_clip", 3.5, -1.0, 0.0),
        ("dual_clip", 2.5, -1.0, 2.5),
        ("ce_gppo", 0.5, -1.0, 0.6),  # 0.75 * (1 - 0.2)
        ("ce_gppo", 2.0, 1.0, 1.2),  # 1 * (1 + 0.2)
        ("ce_gppo", 11.0, -1.0, 0.0),
        ("cispo", 7.0, 1.0, 5.0),
        ("cispo", 7.0, -1.0, 5.0),  # the cap acts for both signs
        ("cispo", 0.01, 1.0, 0.01),  # and there is no lower bound
        ("cispo_verl", 0.5, 1.0, 0.8),
        ("cispo_trl", 1.0, 1.0, 0.2),
        ("sapo", 3.0, 1.0, 3.0 * 0.41997434161402614),  # sech^2(1)
        ("gmpo", 1.4, 1.0, 1.4),  # log 1.4 = 0.336 is inside 0.4: the bound is of the logarithm
        ("gmpo", 1.5, 1.0, 0.0),  # log 1.5 = 0.405
        ("gmpo", 1.5, -1.0, 1.5),  # one-sided
        ("gspo", 1.15, 1.0, 0.0),
        ("vespo", 2.0, 1.0, 4 * math.exp(-3)),  # 2^2 exp(3 - 6)
        ("vespo", 2.0, -1.0, 8 * math.exp(-2)),  # 2^3 exp(2 - 4)
    ],
)
def test_by_hand(name: str, ratio: float, a: float, expected: float) -> None:
    assert float(coefficient(name, *token(ratio, a))) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize(
    ("old", "new", "a", "tv", "kl"),
    [
        # A rare token rises hundredfold: its probability hardly moves; the divergence is .0001 log .01 + ... = 0.0095.
        (1e-4, 1e-2, 1.0, 20.0, 20.0),
        # A common one rises by 0.3: 0.5 log(0.5 / 0.8) + 0.5 log(0.5 / 0.2) = 0.223.
        (0.5, 0.8, 1.0, 0.0, 0.0),
        # The same change against its advantage is welcome.
        (0.5, 0.8, -1.0, 1.6, 1.6),
        (0.5, 0.2, -1.0, 0.0, 0.0),
        # A rise by 0.15 is inside 0.2; 0.5 log(0.5 / 0.65) + 0.5 log(0.5 / 0.35) = 0.0472 is inside 0.05.
        (0.5, 0.65, 1.0, 1.3, 1.3),
        # A = 0 counts as negative.
        (0.5, 0.8, 0.0, 1.6, 1.6),
    ],
)
def test_divergence_masks_by_hand(old: float, new: float, a: float, tv: float, kl: float) -> None:
    given = token(new / old, a, math.log(old))
    assert float(coefficient("dppo_tv", *given)) == pytest.approx(tv, rel=1e-13)
    assert float(coefficient("dppo_kl", *given)) == pytest.approx(kl, rel=1e-13)


def test_balanced_clip_by_hand() -> None:
    """Two right tokens of ratio 1.9 and three wrong ones of ratio 0.5: 2 * 1.2 = 2.4 against 3 * 0.6 = 1.8.

    A target of 1.2 asks for 3 * 0.6 * 1.2 = 2.16, which is met; of 1.4 for 2.52: low to 0.8 makes it 3.36, so it is
    high that must rise, to 1.7 (3.4), the tenth step.
    """
    ratio = torch.tensor([1.9, 1.9, 0.5, 0.5, 0.5], dtype=torch.float64).view(1, 1, 5)
    advantage = torch.tensor([1.0, 1, -1, -1, -1], dtype=torch.float64).view(1, 1, 5)
    batch = Batch(torch.zeros_like(ratio), ratio > 0, torch.zeros(1, 1, dtype=torch.float64))
    options = {k: v for k, v in row("bapo").surrogate.parameters.items() if k not in ("dual_clip", "balance")}
    for target, expected in ((1.2, (0.6, 1.2)), (1.4, (0.8, 1.7)), (9.0, (0.8, 2.0))):
        low, high = bounds.balanced_bounds(ratio.log(), advantage, batch, **options, balance=target)
        assert (float(low), float(high)) == pytest.approx(expected, rel=1e-14)
