"""Token selection by entropy and probability, and the pulls toward a reference or a proxy, against slow twins.

Tolerance: sums of at most 60 terms below 50, each of at most ten rounded operations: 1e-12 relative to the largest.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from toybed.errors import ToybedError
from toybed.objectives import Batch, Loss, bounds, get, regularizers, row, weights
from toybed.objectives.aggregation import token_mean

Array = np.ndarray
LEADS = [(), (2,)]
SEEDS = [0, 1, 2]
WORDS = 6


class Policy(NamedTuple):
    """A batch with its policy: ``logits [..., B, G, T, V]`` is a leaf."""

    batch: Batch
    logits: Tensor
    token: Tensor

    @property
    def log_probs(self) -> Tensor:
        return torch.log_softmax(self.logits, -1)

    @property
    def log_prob(self) -> Tensor:
        return self.log_probs.gather(-1, self.token[..., None]).squeeze(-1)

    @property
    def entropy(self) -> Tensor:
        return -(self.log_probs.exp() * self.log_probs).sum(-1)


def draw_policy(random_batch: Any, seed: int, lead: tuple[int, ...] = (), drift: float = 0.4) -> Policy:
    batch = random_batch(seed, lead=lead).batch
    random = torch.Generator().manual_seed(seed)
    size = (*batch.mask.shape, WORDS)
    logits = 2 * torch.randn(size, generator=random, dtype=torch.float64)
    token = torch.randint(WORDS, size[:-1], generator=random)
    old = torch.log_softmax(logits + drift * torch.randn(size, generator=random, dtype=torch.float64), -1)
    old_token = old.gather(-1, token[..., None]).squeeze(-1)
    return Policy(replace(batch, log_prob_old=old_token), logits.requires_grad_(), token)


def loss_of(name: str, policy: Policy, **overrides: Any) -> Loss:
    return get(name, **overrides).loss(
        policy.log_prob, policy.batch, entropy=policy.entropy, log_probs=policy.log_probs
    )


def gradient_of(name: str, policy: Policy, **overrides: Any) -> Tensor:
    return torch.autograd.grad(loss_of(name, policy, **overrides).value.sum(), policy.logits)[0]


def assert_close(got: Tensor, expected: Array) -> None:
    np.testing.assert_allclose(got.detach().numpy(), expected, rtol=1e-12, atol=1e-12)


def each_run(twin: Callable[..., Array], *tensors: Tensor) -> Array:
    """The twin of one run applied to every run of a stack. The first tensor is ``[..., B, G, T]``."""
    arrays = [tensor.detach().numpy() for tensor in tensors]
    if arrays[0].ndim == 3:
        return twin(*arrays)
    return np.stack([twin(*(array[s] for array in arrays)) for s in range(len(arrays[0]))])


def tokens_of(mask: Array) -> list[tuple[int, ...]]:
    return [place for place in np.ndindex(*mask.shape) if mask[place]]


# 80/20 ---------------------------------------------------------------------------------------------------------------


def kept_twin(mask: Array, entropy: Array, share: float) -> Array:
    places = sorted(tokens_of(mask), key=lambda place: -entropy[place])
    kept = np.zeros(mask.shape, bool)
    for place in places[: math.ceil(round(share * len(places), 9))]:
        kept[place] = True
    return kept


@pytest.mark.parametrize("share", [0.01, 0.2, 0.5, 1.0])
@pytest.mark.parametrize("lead", LEADS)
@pytest.mark.parametrize("seed", SEEDS)
def test_keep_uncertain(random_batch: Any, seed: int, lead: Any, share: float) -> None:
    draw = random_batch(seed, lead=lead)
    expected = each_run(partial(kept_twin, share=share), draw.batch.mask, draw.entropy)
    for count_dropped in (False, True):
        weight, counted = weights.keep_uncertain(
            draw.batch, entropy=draw.entropy, uncertain_share=share, count_dropped=count_dropped
        )
        assert_close(weight, expected)
        assert torch.equal(counted, draw.batch.mask if count_dropped else torch.tensor(expected))
        assert not weight.requires_grad


@given(tokens=st.integers(1, 400), hundredths=st.integers(1, 100))
def test_share_of_tokens_is_the_exact_ceiling(tokens: int, hundredths: int) -> None:
    """``ceil(share N)`` with the share a decimal: 0.2 of 35 is 7 and not 8, as a number and as a tensor of float32."""
    mask = torch.ones(1, 1, tokens, dtype=torch.bool)
    for share in (hundredths / 100, torch.tensor(hundredths / 100).view(1, 1, 1)):
        assert int(weights.share_of_tokens(mask, share)) == -(-hundredths * tokens // 100)


@pytest.mark.parametrize("lead", LEADS)
def test_forking_tokens(random_batch: Any, lead: Any) -> None:
    policy = draw_policy(random_batch, 3, lead)
    unselected = torch.tensor(each_run(partial(kept_twin, share=0.2), policy.batch.mask, policy.entropy) == 0)
    loss = loss_of("forking_tokens", policy)
    [gradient] = torch.autograd.grad(loss.value.sum(), policy.logits)
    assert bool((gradient[unselected] == 0).all()) and bool((gradient[~unselected] != 0).any())
    # Every token: DAPO, bit for bit.
    assert torch.equal(gradient_of("forking_tokens", policy, uncertain_share=1.0), gradient_of("dapo", policy))
    # TRL divides by all tokens.
    kept, every = (~unselected).sum((-3, -2, -1)), policy.batch.mask.sum((-3, -2, -1))
    trl = loss_of("forking_tokens_trl", policy).value
    torch.testing.assert_close(trl, loss.value * kept / every, rtol=1e-13, atol=1e-16)
    # Only the order of entropies matters.
    squashed = get("forking_tokens").loss(policy.log_prob, policy.batch, entropy=policy.entropy.detach().tanh() - 3)
    assert torch.equal(squashed.value, loss.value)


def test_entropy_is_asked_for(random_batch: Any) -> None:
    draw = random_batch(0)
    for name, what in (("forking_tokens", "entropy"), ("lp_reg", "log_probs")):
        with pytest.raises(ToybedError, match=f"needs {what}"):
            get(name).loss(draw.log_prob, draw.batch)


# KL to the reference -------------------------------------------------------------------------------------------------


def estimate(d: float, log_ratio: float, estimator: str) -> tuple[float, float]:
    """Value, and derivative with respect to log pi."""
    k3, slope = math.exp(-d) - 1 + d, 1 - math.exp(-d)
    rho = math.exp(log_ratio)
    return {
        "k1": (d, 1.0),
        "k2": (d * d / 2, d),
        "k3": (k3, slope),
        "k3+": (k3, d),
        "k3_ratio": (rho * k3, rho * (k3 + slope)),
    }[estimator]


@pytest.mark.parametrize("estimator", regularizers.KL_ESTIMATORS)
@pytest.mark.parametrize("lead", LEADS)
def test_kl_estimators(random_batch: Any, lead: Any, estimator: str) -> None:
    draw = random_batch(4, lead=lead)
    batch = draw.batch
    got = regularizers.kl_reference(draw.log_prob, batch, kl_coefficient=0.3, kl_estimator=estimator)
    [gradient] = torch.autograd.grad(got.sum(), draw.log_prob)

    def twin(mask: Array, log_prob: Array, ref: Array, old: Array) -> Array:
        out = np.zeros((*mask.shape, 2))
        for i in tokens_of(mask):
            out[i] = estimate(log_prob[i] - ref[i], log_prob[i] - old[i], estimator)
        return 0.3 * out

    expected = each_run(twin, batch.mask, draw.log_prob, batch.require("log_prob_ref", "test"), batch.log_prob_old)
    assert_close(got, expected[..., 0])
    assert_close(gradient, expected[..., 1])


def test_kl_estimators_in_expectation() -> None:
    """Exactly, by summing over a vocabulary: which divergence the loss of each estimator descends, on-policy."""
    random = torch.Generator().manual_seed(0)
    logits, ref_logits = torch.randn(2, WORDS, generator=random, dtype=torch.float64)
    logits = logits.requires_grad_()
    ref = torch.log_softmax(ref_logits, 0)

    def gradient(function: Callable[[Tensor], Tensor]) -> Tensor:
        return torch.autograd.grad(function(torch.log_softmax(logits, 0)), logits)[0]

    reverse = gradient(lambda lp: (lp.exp() * (lp - ref)).sum())
    forward = gradient(lambda lp: (ref.exp() * (ref - lp)).sum())
    expected = {"k1": 0 * reverse, "k2": reverse, "k3": forward, "k3+": reverse, "k3_ratio": reverse}
    for estimator, target in expected.items():

        def loss(lp: Tensor, estimator: str = estimator) -> Tensor:
            old = lp.detach().view(1, 1, -1)
            batch = Batch(old, old < 1, torch.zeros(1, 1, dtype=torch.float64), log_prob_ref=ref.view(1, 1, -1))
            per_token = regularizers.kl_reference(lp.view(1, 1, -1), batch, kl_coefficient=1.0, kl_estimator=estimator)
            return (old.exp() * per_token).sum()

        torch.testing.assert_close(gradient(loss), target, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("estimator", regularizers.KL_ESTIMATORS)
@pytest.mark.parametrize("jump", [50.0, -50.0])
@pytest.mark.parametrize("reference", [50.0, -50.0])
def test_extreme_divergences_are_finite(random_batch: Any, estimator: str, jump: float, reference: float) -> None:
    batch = random_batch(5, dtype=torch.float32).batch
    log_prob = (batch.log_prob_old + jump).requires_grad_()
    batch = replace(batch, log_prob_ref=log_prob.detach() + reference)
    value = get("grpo_kl", kl_estimator=estimator).loss(log_prob, batch).value
    [gradient] = torch.autograd.grad(value, log_prob)
    assert bool(torch.isfinite(value)) and bool(torch.isfinite(gradient).all())


def test_an_unknown_estimator_is_an_error(random_batch: Any) -> None:
    with pytest.raises(ToybedError, match="k3"):
        get("grpo_kl", kl_estimator="k33").loss(random_batch(0).log_prob, random_batch(0).batch)


def test_grpo_kl_is_grpo_with_coefficient_zero(random_batch: Any) -> None:
    draw = random_batch(6, lead=(2,))
    off = get("grpo_kl", kl_coefficient=0.0).loss(draw.log_prob, draw.batch).value
    assert torch.equal(off, get("grpo").loss(draw.log_prob, draw.batch).value)


# Archer --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("split", [0.0, 0.3, 0.8, 1.0])
@pytest.mark.parametrize("tokens", [1, 2, 6, 11])
def test_certain_tokens_are_split_by_the_very_quantile_of_torch(tokens: int, split: float, dtype: torch.dtype) -> None:
    """With ties, and where the quantile is a token's own entropy, rounding would move tokens across the border."""
    random = torch.Generator().manual_seed(tokens)
    entropy = torch.randint(5, (2, 6, 7, tokens), generator=random).to(dtype) / 10
    mask = torch.rand(entropy.shape, generator=random) < 0.7
    quantile = torch.where(mask, entropy, torch.nan).nanquantile(split, dim=-1, keepdim=True)
    batch = Batch(-entropy, mask, torch.zeros(entropy.shape[:-1]), entropy_old=entropy)
    assert torch.equal(bounds.certain_tokens(batch, split), mask & (entropy <= quantile))


def archer_penalty_twin(mask: Array, log_prob: Array, ref: Array, entropy: Array) -> Array:
    certain = np.zeros(mask.shape, bool)
    for b, i in np.ndindex(*mask.shape[:2]):
        certain[b, i] = mask[b, i] & (entropy[b, i] <= np.quantile(entropy[b, i][mask[b, i]], 0.8))
    places = tokens_of(mask)
    inside = [place for place in places if certain[place]]
    out = np.zeros(mask.shape)
    for place in places:
        d = log_prob[place] - ref[place]
        coefficient, count = (0.3, len(inside)) if certain[place] else (0.2, len(places) - len(inside))
        out[place] = coefficient * (math.exp(-d) - 1 + d) * len(places) / count
    return out


@pytest.mark.parametrize("lead", LEADS)
@pytest.mark.parametrize("seed", SEEDS)
def test_archer_penalty(random_batch: Any, seed: int, lead: Any) -> None:
    draw, options = random_batch(seed, lead=lead), {"kl_estimator": "k3", "kl_split": 0.8}
    batch = draw.batch
    got = regularizers.kl_reference_certain(
        draw.log_prob, batch, kl_coefficient=0.3, kl_coefficient_uncertain=0.2, **options
    )
    parts = (batch.mask, draw.log_prob, batch.require("log_prob_ref", ""), batch.require("entropy_old", ""))
    assert_close(got, each_run(archer_penalty_twin, *parts))


def test_archer_limits(random_batch: Any) -> None:
    draw = random_batch(7, lead=(2,), drift=0.8)
    narrow = {"uncertain_clip_low": 0.2, "uncertain_clip_high": 0.2, "dual_clip": 3.0}
    # Every token certain: one average. No KL: dual-clip GRPO with token_mean.
    archer = get("archer", **narrow, kl_split=1.0).loss(draw.log_prob, draw.batch)
    plain = get("dual_clip").loss(draw.log_prob, draw.batch)
    assert torch.equal(archer.coefficient, plain.coefficient)
    kl = regularizers.kl_reference(draw.log_prob, draw.batch, kl_coefficient=0.001, kl_estimator="k3")
    per_token = -plain.coefficient * plain.advantage * draw.log_prob
    expected = token_mean(per_token + kl, draw.batch.mask, draw.batch.mask)
    torch.testing.assert_close(archer.value, expected, rtol=1e-12, atol=1e-15)


def test_archer_widens_the_clip_at_forks_alone() -> None:
    """Four tokens of ratio 1.4; the 80 % quantile of the entropies 0, 1, 2, 3 is 2.4: only the last is a fork."""
    old = torch.full((1, 1, 4), -1.0, dtype=torch.float64)
    entropy = torch.arange(4.0, dtype=torch.float64).view(1, 1, 4)
    batch = Batch(old, old < 0, torch.zeros(1, 1, dtype=torch.float64), entropy_old=entropy)
    c = get("archer").surrogate(torch.full_like(old, math.log(1.4)), torch.ones_like(old), batch)
    assert c.flatten().tolist() == pytest.approx([0, 0, 0, 1.4], rel=1e-15)


# Lp-Reg --------------------------------------------------------------------------------------------------------------


def lp_reg_twin(mask: Array, log_probs: Array, token: Array, advantage: Array) -> Array:
    advantage = np.broadcast_to(advantage, mask.shape)
    places = tokens_of(mask)
    sampled = {place: math.exp(log_probs[(*place, token[place])]) for place in places}
    unlikely = sorted(places, key=lambda place: sampled[place])[: math.ceil(round(0.8 * len(places), 9))]
    out = np.zeros(mask.shape)
    for place in unlikely:
        p = np.exp(log_probs[place])
        kept = [v for v in range(len(p)) if p[v] >= 0.1 * max(p)]
        if token[place] in kept and advantage[place] < 0:
            total = sum(p[v] for v in kept)
            out[place] = 0.7 * sum(p[v] / total * math.log(p[v] / total / p[v]) for v in kept)
    return out


@pytest.mark.parametrize("lead", LEADS)
@pytest.mark.parametrize("seed", SEEDS)
def test_proxy_divergence(random_batch: Any, seed: int, lead: Any) -> None:
    policy = draw_policy(random_batch, seed, lead)
    advantage = get("grpo").advantages(policy.batch)
    got = regularizers.proxy_divergence(
        policy.log_prob,
        policy.batch,
        advantage=advantage,
        log_probs=policy.log_probs,
        low_share=0.8,
        noise_floor=0.1,
        proxy_coefficient=0.7,
    )
    parts = (policy.batch.mask, policy.log_probs, policy.token, advantage)
    expected = each_run(lp_reg_twin, *parts)
    assert (expected > 0).any()
    assert_close(got, expected)


def test_proxy_divergence_pulls_toward_all_that_is_kept(random_batch: Any) -> None:
    """Its value is ``-log Z`` and its gradient ``-grad log Z``, Z the mass of a fixed set of kept tokens."""
    policy = draw_policy(random_batch, 1)
    advantage = -torch.ones_like(policy.log_prob)
    options = {"low_share": 1.0, "noise_floor": 0.1, "proxy_coefficient": 1.0}
    got = regularizers.proxy_divergence(
        policy.log_prob, policy.batch, advantage=advantage, log_probs=policy.log_probs, **options
    )
    p = policy.log_probs.exp()
    kept = (p >= 0.1 * p.amax(-1, keepdim=True)).detach()
    log_z = torch.where(kept, p, 0.0).sum(-1).log()
    chosen = policy.batch.mask & kept.gather(-1, policy.token[..., None]).squeeze(-1)
    torch.testing.assert_close(got, torch.where(chosen, -log_z, 0.0), rtol=1e-12, atol=1e-15)
    [gradient] = torch.autograd.grad(got.sum(), policy.logits, retain_graph=True)
    [expected] = torch.autograd.grad(-log_z[chosen].sum(), policy.logits)
    torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=1e-15)


def test_proxy_divergence_with_words_that_are_not_allowed(random_batch: Any) -> None:
    """A world's illegal tokens have a log-probability of -1e9, and none is kept."""
    policy = draw_policy(random_batch, 2)
    banned = torch.zeros(WORDS, dtype=torch.bool)
    banned[0] = True
    token = policy.token.clamp(min=1)
    for dtype in (torch.float32, torch.float64):
        logits = torch.where(banned, -1e9, policy.logits.detach()).to(dtype).requires_grad_()
        each = policy._replace(logits=logits, token=token)
        for floor in (0.02, 0.0):
            value = loss_of("lp_reg", each, low_share=1.0, noise_floor=floor).value
            [gradient] = torch.autograd.grad(value, logits)
            assert bool(torch.isfinite(value)) and bool(torch.isfinite(gradient).all())


@pytest.mark.parametrize("off", [{"noise_floor": 0.0}, {"proxy_coefficient": 0.0}])
def test_lp_reg_limits(random_batch: Any, off: dict[str, float]) -> None:
    policy = draw_policy(random_batch, 3, (2,), drift=1.5)
    base = get("grpo", clip_low=1.0, clip_high=9.0).loss(policy.log_prob, policy.batch)
    got = loss_of("lp_reg", policy, low_share=1.0, **off)
    assert torch.equal(got.coefficient, base.coefficient)
    expected = token_mean(-base.coefficient * base.advantage * policy.log_prob, policy.batch.mask, policy.batch.mask)
    torch.testing.assert_close(got.value, expected, rtol=0, atol=1e-14)


def test_lp_reg_clips_from_above_alone() -> None:
    one = torch.ones(1, 1, 1, dtype=torch.float64)
    batch = Batch(-one, one > 0, torch.zeros(1, 1, dtype=torch.float64))
    c = get("lp_reg").surrogate
    for ratio, a, expected in ((9.9, 1.0, 9.9), (10.1, 1.0, 0.0), (0.01, -1.0, 0.01), (20.0, -1.0, 20.0)):
        assert float(c(one * math.log(ratio), one * a, batch)) == pytest.approx(expected, rel=1e-14)


# Stacks --------------------------------------------------------------------------------------------------------------


def alone(policy: Policy, s: int) -> Policy:
    fields = ("log_prob_old", "mask", "reward", "log_prob_ref", "entropy_old")
    batch = Batch(**{name: getattr(policy.batch, name)[s : s + 1] for name in fields})
    return Policy(batch, policy.logits.detach()[s : s + 1].requires_grad_(), policy.token[s : s + 1])


@pytest.mark.parametrize("name", ["forking_tokens", "forking_tokens_trl", "archer", "lp_reg", "grpo_kl"])
def test_hyper_parameters_of_each_run(random_batch: Any, name: str) -> None:
    policy, entry = draw_policy(random_batch, 8, (2,)), row(name)
    for stage in (entry.surrogate, entry.weight, *entry.regularizers):
        for parameter, value in stage.parameters.items():
            if value is None or isinstance(value, (str, bool)) or not stage.stackable(parameter):
                continue
            values = [value, value * 0.7 + 0.01]
            stacked = torch.tensor(values, dtype=torch.float64).view(2, 1, 1, 1)
            together = gradient_of(name, policy, **{parameter: stacked})
            for s in range(2):
                single = gradient_of(name, alone(policy, s), **{parameter: values[s]})
                torch.testing.assert_close(together[s : s + 1], single, rtol=1e-12, atol=1e-14)
