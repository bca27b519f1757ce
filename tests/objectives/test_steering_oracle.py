"""Stages that controllers steer, against plain loops, and what is exactly known of them.

Tolerances as in ``test_stages_oracle``: sums of at most 60 terms of size 1, 1e-12.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from toybed.envs import make
from toybed.errors import ToybedError
from toybed.exact import gradient_moments
from toybed.objectives import advantages, get, steering
from toybed.objectives.batch import Batch
from toybed.objectives.sampling import tempered
from toybed.objectives.surrogates import ppo_clip

SHAPES = [(3, 4, 5), (1, 2, 1), (2, 3, 3)]
cases = pytest.mark.parametrize(("seed", "shape"), [(seed, shape) for seed in (0, 1) for shape in SHAPES])


def with_advantage(random_batch: Any, seed: int, shape: Any) -> tuple[Any, torch.Tensor]:
    draw = random_batch(seed, shape)
    return draw, advantages.group_centered(draw.batch)


@cases
@pytest.mark.parametrize("alpha", [-0.7, 0.4])
@pytest.mark.parametrize("above", [0.0, 0.3])
def test_polarity_twin(random_batch: Any, seed: int, shape: Any, alpha: float, above: float) -> None:
    draw, advantage = with_advantage(random_batch, seed, shape)
    got = steering.polarity(draw.log_prob, draw.batch, advantage=advantage, alpha=alpha, probability_above=above)
    mask, now, old = (x.detach().numpy() for x in (draw.batch.mask, draw.log_prob, draw.batch.log_prob_old))
    likely = mask & (np.exp(now) > above)
    expected = np.zeros(mask.shape)
    for b, g, t in np.argwhere(likely):
        size = abs(float(advantage[b, g, 0]))
        expected[b, g, t] = -alpha * mask.sum() / likely.sum() * math.exp(now[b, g, t] - old[b, g, t]) * size
    np.testing.assert_allclose(got.detach().numpy(), expected, rtol=1e-12, atol=1e-12)


@cases
def test_polarity_weighs_the_signs(random_batch: Any, seed: int, shape: Any) -> None:
    """On-policy, over all tokens: the gradient with 1 + alpha on what rises and 1 - alpha on what falls, exactly."""
    draw = random_batch(seed, shape, drift=0.0)
    steered = get("entropic", probability_above=0.0).with_parameters(alpha=-0.6)
    plain = get("entropic").with_parameters(alpha=0.0)
    advantage = plain.advantages(draw.batch)
    weighed = advantage * (1 - 0.6 * advantage.sign())
    (got,) = torch.autograd.grad(steered.loss(draw.log_prob, draw.batch).value, draw.log_prob)
    (expected,) = torch.autograd.grad(plain.loss(draw.log_prob, draw.batch, advantage=weighed).value, draw.log_prob)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("alpha", [-1.0, -0.3, 0.8])
@pytest.mark.parametrize("group", [2, 3])
def test_over_all_tokens_polarity_only_changes_the_length_of_a_step(alpha: float, group: int) -> None:
    """Exact, by enumeration: ``(1 + alpha (1 - 2p))`` times GRPO's expected gradient, for every group size.

    Of k right ones in G, ``sum |A| grad`` is ``c (grad p / p - grad p / (1 - p))`` and ``sum A grad`` is
    ``c (grad p / p + grad p / (1 - p))`` in expectation, with the same c; their quotient is 1 - 2p.
    """
    env = make("answer_bandit", prompt_count=1, answers=4, correct=2, rank=2)
    logits = torch.tensor([[0.3, -0.5, 1.1, 0.2]], dtype=torch.float64)
    chance = float((logits.softmax(-1) * env.rewards()).sum())
    objective = get("entropic", probability_above=0.0)
    steered, plain = (
        gradient_moments(objective.with_parameters(alpha=a), env, logits, group=group).mean for a in (alpha, 0.0)
    )
    torch.testing.assert_close(steered, (1 + alpha * (1 - 2 * chance)) * plain, rtol=1e-10, atol=1e-12)
    # Among likely tokens alone it does change the direction.
    likely = get("entropic", probability_above=0.3).with_parameters(alpha=alpha)
    moved = gradient_moments(likely, env, logits, group=group).mean
    cosine = torch.nn.functional.cosine_similarity(moved.flatten(), plain.flatten(), 0)
    assert abs(float(cosine)) < 0.999


@cases
@pytest.mark.parametrize("drift", [-1.0, 0.0, 1.0])
@pytest.mark.parametrize("by", ["advantage", "covariance"])
def test_rejection_twin(random_batch: Any, seed: int, shape: Any, drift: float, by: str) -> None:
    draw, advantage = with_advantage(random_batch, seed, shape)
    got = steering.rejection(draw.batch, advantage=advantage, drift=drift, rejected_by=by)
    mask, old = draw.batch.mask.numpy(), draw.batch.log_prob_old.numpy()
    spread = np.broadcast_to(advantage.numpy(), mask.shape)
    mean_old, mean_a = old[mask].mean(), spread[mask].mean()
    kept = np.zeros(mask.shape, dtype=bool)
    for b in range(shape[0]):
        for g in range(shape[1]):
            if by == "advantage":
                signal = float(advantage[b, g, 0])
            else:
                tokens = [t for t in range(shape[2]) if mask[b, g, t]]
                signal = sum((old[b, g, t] - mean_old) * (spread[b, g, t] - mean_a) for t in tokens)
            kept[b, g] = mask[b, g] & (drift * signal >= 0)
    assert np.array_equal(got.counted.numpy(), kept)
    assert np.array_equal(got.weight.numpy(), kept.astype(float))


def test_rejection_leaves_one_sign() -> None:
    old = torch.full((1, 4, 1), -1.0, dtype=torch.float64)
    batch = Batch(old, torch.ones(1, 4, 1, dtype=torch.bool), torch.tensor([[1.0, 0.0, 1.0, 0.0]]).double())
    objective = get("entrocraft")
    for drift, signs in ((-1.0, {-1.0}), (1.0, {1.0}), (0.0, {-1.0, 1.0})):
        loss = objective.with_parameters(drift=drift).loss(old.clone().requires_grad_(), batch)
        assert set(loss.advantage[loss.weight > 0].sign().tolist()) == signs
    with pytest.raises(ToybedError, match="rejected_by"):
        steering.rejection(batch, advantage=batch.reward[..., None], drift=1.0, rejected_by="sign")


@pytest.mark.parametrize("by", ["advantage", "reward"])
def test_imitation(random_batch: Any, by: str) -> None:
    """Tempered groups: 1 where right; elsewhere GRPO's advantage. The others of a tempered group are not counted."""
    draw = random_batch(3, (4, 4, 3), rewards=(0.0, 1.0))
    reward = draw.batch.reward.clone()
    reward[2] = 1.0  # a group without spread
    batch = replace(draw.batch, reward=reward, tempered=torch.tensor([True, False, True, False]))
    above = 0.05 if by == "advantage" else 0.0
    got = steering.tempered_imitation(batch, ddof=1, floor=1e-6, imitated_by=by, imitated_above=above)
    plain = advantages.group_standardized(batch, ddof=1, floor=1e-6)
    assert torch.equal(got[1::2], plain[1::2])
    assert got[0, :, 0].tolist() == (plain[0, :, 0] > 0).double().tolist()
    assert got[2, :, 0].tolist() == ([1.0] * 4 if by == "reward" else [0.0] * 4)
    weight = steering.without_tempered_failures(batch, advantage=got)
    assert torch.equal(weight.counted[1::2], batch.mask[1::2])
    assert torch.equal(weight.counted[::2], batch.mask[::2] & (got[::2] != 0))
    with pytest.raises(ToybedError, match="imitated_by"):
        steering.tempered_imitation(batch, ddof=1, floor=1e-6, imitated_by="right", imitated_above=0.0)
    with pytest.raises(ToybedError, match=r"aepo needs batch.tempered: a mask"):
        get("aepo").loss(draw.log_prob, draw.batch)


CLIPS = {"low_base": 0.3, "low_slope": -0.13, "high_base": 0.5, "high_slope": -0.25, "dual_clip": None}


@cases
@pytest.mark.parametrize(("boost", "suppress"), [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (0.3, 0.6)])
def test_probability_clip_twin(random_batch: Any, seed: int, shape: Any, boost: float, suppress: float) -> None:
    draw, advantage = with_advantage(random_batch, seed, shape)
    log_ratio = torch.where(draw.batch.mask, draw.log_prob.detach() - draw.batch.log_prob_old, 0.0)
    own = {"clip_low": 0.2, "clip_high": 0.2, **CLIPS}
    got = steering.probability_clip(log_ratio, advantage, draw.batch, boost=boost, suppress=suppress, **own)
    if boost == suppress == 0:
        expected = ppo_clip(log_ratio, advantage, draw.batch, clip_low=0.2, clip_high=0.2, dual_clip=None)
        assert torch.equal(got, expected)
    for b, g, t in np.argwhere(draw.batch.mask.numpy()):
        ratio = math.exp(log_ratio[b, g, t])
        p = min(math.exp(draw.log_prob[b, g, t].detach()), 1.0)
        high = 1 + (1 - boost) * 0.2 + boost * (0.5 - 0.25 * p)
        low = 1 - (1 - suppress) * 0.2 - suppress * (0.3 - 0.13 * p)
        inside = ratio <= high if float(advantage[b, g, 0]) >= 0 else ratio >= low
        assert float(got[b, g, t]) == pytest.approx(ratio if inside else 0.0, rel=1e-12)


@given(st.floats(1e-3, 0.99), st.floats(0.3, 3.0))
def test_the_papers_two_forms_of_the_bound_are_one(p_old: float, ratio: float) -> None:
    """``rho <= 1 + base + slope p`` is ``p <= (1 + base) p_old / (1 - slope p_old)``, apart from the border itself."""
    p = ratio * p_old
    first, second = 1 + 0.5 - 0.25 * p - ratio, 1.5 * p_old / (1 + 0.25 * p_old) - p
    assert (first > 0) == (second > 0) or max(abs(first), abs(second)) < 1e-12


# Which groups are tempered --------------------------------------------------------------------------------------------


@given(st.integers(1, 64), st.integers(0, 64))
def test_a_share_of_the_groups_is_tempered_and_spread_evenly(prompts: int, sixtyfourths: int) -> None:
    share = sixtyfourths / 64
    temperature, own = tempered(prompts, sampling_temperature=1.3, tempered_share=share)
    assert int(own.sum()) == math.floor(prompts * share + 1e-9)
    assert torch.equal(temperature, torch.where(own, 1.3, 1.0))
    for part in (2, 4):  # halves and quarters of a batch, as mini-batches are, have as many each, give or take one
        if prompts % part == 0:
            counts = own.view(part, -1).sum(1)
            assert int(counts.max() - counts.min()) <= 1


def test_each_run_has_a_temperature_of_its_own() -> None:
    heat = torch.tensor([0.5, 2.0]).view(2, 1, 1, 1)
    temperature, own = tempered(4, sampling_temperature=heat, tempered_share=0.5)
    assert own.tolist() == [False, True, False, True]
    assert temperature.tolist() == [[1.0, 0.5, 1.0, 0.5], [1.0, 2.0, 1.0, 2.0]]
    for wrong in ({"sampling_temperature": 0.0}, {"tempered_share": 1.5}):
        with pytest.raises(ToybedError, match="allowed"):
            tempered(4, **{"sampling_temperature": 1.0, "tempered_share": 1.0, **wrong})
