"""Laws of the objectives: what must hold for every batch, whatever the numbers.

Where no tolerance is given the law is exact. ``close`` allows 1e-12 relative and absolute: sums of at most 200 terms
of size 1 taken in another order differ by less than 200 * 2.2e-16 = 5e-14 of the largest term.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from toybed.objectives import advantages, aggregation, get, row, surrogates, weights
from toybed.objectives.batch import Batch
from toybed.objectives.objective import Loss, Objective
from toybed.streams import Streams

ROWS = ("reinforce", "rloo", "ppo", "grpo", "dr_grpo", "dapo", "gppo", "clip_cov", "kl_cov")
GROUPED = ("rloo", "grpo", "dr_grpo", "dapo", "gppo", "clip_cov", "kl_cov")
FIXED = tuple(name for name in ROWS if name != "clip_cov")  # no random draws
each_row = pytest.mark.parametrize("name", ROWS)
few = settings(max_examples=8)

seeds = st.integers(0, 2**32 - 1)
shapes = st.tuples(st.integers(1, 4), st.integers(2, 5), st.integers(1, 6))
# Quarters: sums and means of a few are exact or off by one rounding, and equal rewards are equal.
reward_values = st.integers(-40, 40).map(lambda k: k / 4)


@st.composite
def reward_batches(draw: Any, same_in_group: bool = False) -> Tensor:
    b, g = draw(st.integers(1, 3)), draw(st.integers(2, 6))
    if same_in_group:
        rows = [[value] * g for value in draw(st.lists(reward_values, min_size=b, max_size=b))]
    else:
        rows = draw(st.lists(st.lists(reward_values, min_size=g, max_size=g), min_size=b, max_size=b))
    return torch.tensor(rows, dtype=torch.float64)


def batch_of(reward: Tensor, tokens: int = 2) -> Batch:
    old = torch.full((*reward.shape, tokens), -1.0, dtype=reward.dtype)
    return Batch(log_prob_old=old, mask=torch.ones(old.shape, dtype=torch.bool), reward=reward)


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def run(objective: Objective, draw: Any, generator: Any = None, **options: Any) -> tuple[Loss, Tensor]:
    """The loss, and its gradient with respect to ``log_prob``."""
    generator = torch.Generator().manual_seed(11) if generator is None else generator
    loss = objective.loss(draw.log_prob, draw.batch, entropy=draw.entropy, generator=generator, **options)
    (gradient,) = torch.autograd.grad(loss.value.sum(), draw.log_prob)
    return loss, gradient


def moved(draw: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """The draw with ``function`` applied to every tensor."""
    fields = {
        name: function(value)
        for name in ("log_prob_old", "mask", "reward", "log_prob_ref", "entropy_old", "planning", "source")
        if (value := getattr(draw.batch, name)) is not None
    }
    return draw._replace(
        batch=Batch(**fields),
        log_prob=function(draw.log_prob.detach()).requires_grad_(),
        entropy=function(draw.entropy.detach()).requires_grad_(),
    )


# Advantages ---------------------------------------------------------------------------------------------------------

GROUP_ADVANTAGES: dict[str, Callable[[Batch], Tensor]] = {
    "group_centered": advantages.group_centered,
    "leave_one_out": advantages.leave_one_out,
    "bessel": lambda batch: advantages.group_standardized(batch, ddof=1, floor=0.0),
    "population": lambda batch: advantages.group_standardized(batch, ddof=0, floor=0.0),
    "floored": lambda batch: advantages.group_standardized(batch, ddof=1, floor=1e-6),
}
each_group_advantage = pytest.mark.parametrize("kind", GROUP_ADVANTAGES)
# Rewards are quarters up to 10 and a group that is not constant has a std above 0.25/sqrt(6) = 0.1, so an error of
# 6 * 10 * 2.2e-16 in the centred reward is below 2e-13 in any advantage, and below 1e-11 in a sum of six.
ADVANTAGE_ERROR = {"rtol": 1e-11, "atol": 1e-11}


@each_group_advantage
@given(reward=reward_batches())
def test_group_advantages_sum_to_zero(kind: str, reward: Tensor) -> None:
    total = GROUP_ADVANTAGES[kind](batch_of(reward)).sum(-2)
    torch.testing.assert_close(total, torch.zeros_like(total), **ADVANTAGE_ERROR)


@each_group_advantage
@given(reward=reward_batches(), shift=st.lists(st.integers(-20, 20), min_size=3, max_size=3))
def test_group_advantages_ignore_what_a_prompt_pays_to_all(kind: str, reward: Tensor, shift: list[int]) -> None:
    """The shift may differ from prompt to prompt."""
    each = torch.tensor(shift[: len(reward)], dtype=reward.dtype)[:, None]
    function = GROUP_ADVANTAGES[kind]
    torch.testing.assert_close(function(batch_of(reward + each)), function(batch_of(reward)), **ADVANTAGE_ERROR)


@each_group_advantage
@given(reward=reward_batches(), scale=st.sampled_from([0.5, 2.0, 3.0, 10.0]))
def test_scale_of_the_reward(kind: str, reward: Tensor, scale: float) -> None:
    """Standardised advantages ignore it; the floor breaks that by ``floor / std``, below 1e-6/0.05; others scale."""
    function = GROUP_ADVANTAGES[kind]
    got, base = function(batch_of(scale * reward)), function(batch_of(reward))
    if kind == "floored":
        torch.testing.assert_close(got, base, rtol=2e-5, atol=0)
    else:
        factor = 1.0 if kind in ("bessel", "population") else scale
        torch.testing.assert_close(got, factor * base, rtol=1e-11, atol=1e-10)


@given(reward=reward_batches(), shift=st.integers(-20, 20), scale=st.sampled_from([0.5, 2.0, 3.0]))
def test_whitening_ignores_shift_and_scale_of_the_whole_batch(reward: Tensor, shift: int, scale: float) -> None:
    got = advantages.batch_whitened(batch_of(scale * reward + shift), floor=0.0)
    # 18 rewards with a variance above 0.25^2/36: as above, with five times the terms.
    torch.testing.assert_close(got, advantages.batch_whitened(batch_of(reward), floor=0.0), rtol=1e-10, atol=1e-10)


def test_whitening_does_not_ignore_a_shift_of_one_prompt() -> None:
    """Counterexample: an easy prompt gets positive advantages throughout, and its sum is not zero."""
    reward = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    easier = reward + torch.tensor([[4.0], [0.0]], dtype=torch.float64)
    base = advantages.batch_whitened(batch_of(reward), floor=0.0)
    got = advantages.batch_whitened(batch_of(easier), floor=0.0)
    assert (got[0] > 0).all() and (got[1] < 0).all()
    assert not torch.allclose(got, base)


@given(seed=seeds, shape=shapes)
def test_whitened_tokens_have_mean_zero_and_variance_one(random_batch: Any, seed: int, shape: Any) -> None:
    batch = random_batch(seed, shape).batch
    values = advantages.batch_whitened(batch, floor=0.0)[batch.mask]
    assume(batch.reward.unsqueeze(-1).expand_as(batch.mask)[batch.mask].unique().numel() > 1)
    assert abs(float(values.mean())) < 1e-10
    assert math.isclose(float(values.var(correction=1)), 1.0, rel_tol=1e-10)


@given(reward=reward_batches(), baseline=reward_values)
def test_outcome_is_shifted_by_its_baseline_and_by_the_reward(reward: Tensor, baseline: float) -> None:
    """REINFORCE does notice a shift: that is why baselines exist."""
    shifted = advantages.outcome(batch_of(reward + baseline), baseline=baseline)
    assert torch.equal(shifted, advantages.outcome(batch_of(reward)))
    assert torch.equal(advantages.outcome(batch_of(reward)), reward.unsqueeze(-1))
    assert torch.equal(advantages.outcome(batch_of(2 * reward)), 2 * advantages.outcome(batch_of(reward)))


@given(reward=reward_batches())
def test_leave_one_out_is_the_centred_reward_times_g_over_g_minus_1(reward: Tensor) -> None:
    g = reward.shape[-1]
    close(advantages.leave_one_out(batch_of(reward)), advantages.group_centered(batch_of(reward)) * g / (g - 1))


@few
@given(seed=seeds, shape=shapes)
def test_rloo_is_g_over_g_minus_1_times_dr_grpo(random_batch: Any, seed: int, shape: Any) -> None:
    """In the gradient too, on-policy; Dr. GRPO's constant L is 1 here, so that both aggregate by sums."""
    draw = random_batch(seed, shape, drift=0.0)
    _, rloo = run(get("rloo"), draw)
    _, dr_grpo = run(get("dr_grpo", budget=1), draw)
    close(rloo, dr_grpo * shape[1] / (shape[1] - 1))


@given(reward=reward_batches())
def test_standardised_times_std_is_centred(reward: Tensor) -> None:
    got = advantages.group_standardized(batch_of(reward), ddof=1, floor=0.0) * reward.std(-1)[:, None, None]
    torch.testing.assert_close(got, advantages.group_centered(batch_of(reward)), **ADVANTAGE_ERROR)


def test_a_group_of_one_has_no_advantage() -> None:
    batch = batch_of(torch.tensor([[0.7], [1.3]]))
    for kind, function in GROUP_ADVANTAGES.items():
        assert torch.equal(function(batch), torch.zeros(2, 1, 1)), kind


# Nothing to learn ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*GROUPED, "ppo"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@few
@given(seed=seeds, shape=shapes, rewards=st.lists(st.floats(-1e3, 1e3), min_size=4, max_size=4))
def test_equal_rewards_give_exactly_no_gradient(
    random_batch: Any, name: str, dtype: torch.dtype, seed: int, shape: Any, rewards: list[float]
) -> None:
    """Exactly: the mean of equal numbers differs from them by rounding, and divided by a floor that is a signal."""
    draw = random_batch(seed, shape, dtype=dtype)
    levels = torch.tensor(rewards[: shape[0]] if name != "ppo" else rewards[:1] * shape[0], dtype=dtype)
    draw = draw._replace(batch=replace(draw.batch, reward=levels[:, None].expand(shape[:2]).contiguous()))
    # KL-Cov always pulls at least one token: its penalty is no part of the policy's term.
    loss, gradient = run(get(name, **({"penalty": 0.0} if name == "kl_cov" else {})), draw)
    assert (loss.advantage == 0).all()
    assert (gradient == 0).all()
    assert loss.value == 0 and not loss.touched.any()


@pytest.mark.parametrize("name", GROUPED)
@few
@given(seed=seeds, shape=shapes)
def test_one_equal_group_leaves_the_others_alone(random_batch: Any, name: str, seed: int, shape: Any) -> None:
    draw = random_batch(seed, shape)
    draw.batch.reward[0] = 0.1
    loss, gradient = run(get(name, **({"penalty": 0.0} if name == "kl_cov" else {})), draw)
    assert (gradient[0] == 0).all() and not loss.touched[0].any()
    assert torch.isfinite(gradient).all() and torch.isfinite(loss.value)


# Padding ------------------------------------------------------------------------------------------------------------


def padded(draw: Any, extra: int, garbage: list[float]) -> Any:
    """``extra`` more positions outside the mask, and garbage at every position outside the mask."""
    mask = torch.nn.functional.pad(draw.batch.mask, (0, extra))
    junk = torch.tensor(garbage, dtype=torch.float64)

    def fill(value: Tensor) -> Tensor:
        wide = torch.nn.functional.pad(value.detach(), (0, extra))
        where = torch.arange(wide.numel()).view(wide.shape) % len(junk)
        return torch.where(mask, wide, junk[where])

    batch = replace(
        draw.batch,
        mask=mask,
        log_prob_old=fill(draw.batch.log_prob_old),
        log_prob_ref=fill(draw.batch.log_prob_ref),
        entropy_old=fill(draw.batch.entropy_old),
        planning=torch.nn.functional.pad(draw.batch.planning, (0, extra)),
    )
    return draw._replace(
        batch=batch, log_prob=fill(draw.log_prob).requires_grad_(), entropy=fill(draw.entropy).requires_grad_()
    )


GARBAGE = st.lists(
    st.sampled_from([math.nan, math.inf, -math.inf, 0.0, 1e308, -1e9]) | st.floats(-50, 50), min_size=1, max_size=7
)


@each_row
@pytest.mark.parametrize("regularized", [False, True])
@few
@given(seed=seeds, shape=shapes, extra=st.integers(0, 4), garbage=GARBAGE)
def test_padding_changes_nothing(
    random_batch: Any, name: str, regularized: bool, seed: int, shape: Any, extra: int, garbage: list[float]
) -> None:
    options: dict[str, Any] = {"entropy_coefficient": 0.1, "kl_coefficient": 0.2} if regularized else {}
    if name == "dr_grpo":
        options["budget"] = 7  # without it: the next test
    if name == "clip_cov":
        options["share"] = 1.0  # every candidate is dropped, whichever numbers are drawn for them
    objective = get(name, **options)
    draw = random_batch(seed, shape)
    other = padded(draw, extra, garbage)
    loss, gradient = run(objective, draw)
    loss_padded, gradient_padded = run(objective, other)
    close(loss_padded.value, loss.value)
    close(loss_padded.forward_value, loss.forward_value)
    mask = draw.batch.mask
    close(gradient_padded[..., : shape[2]][mask], gradient[mask])
    assert (gradient_padded[~other.batch.mask] == 0).all()
    assert not loss_padded.touched[~other.batch.mask].any()


def test_dr_grpo_without_a_budget_depends_on_padding(random_batch: Any) -> None:
    """Counterexample: L is then the padded length, so twice the padding is half the gradient."""
    draw = random_batch(0, (2, 4, 5))
    wide = padded(draw, 5, [0.0])
    (_, short), (_, long) = run(get("dr_grpo"), draw), run(get("dr_grpo"), wide)
    assert (short != 0).any()
    close(long[..., :5], short / 2)
    (_, short), (_, long) = run(get("dr_grpo", budget=5), draw), run(get("dr_grpo", budget=5), wide)
    close(long[..., :5], short)


# Order --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FIXED)
@few
@given(seed=seeds, shape=shapes)
def test_order_of_prompts_and_of_responses_is_meaningless(random_batch: Any, name: str, seed: int, shape: Any) -> None:
    draw = random_batch(seed, shape)
    # Two tokens have the same covariance: the earlier is selected, and which that is depends on the order.
    assume(name != "kl_cov" or draw.batch.mask.sum() > 2)
    torch_random = torch.Generator().manual_seed(seed)
    prompts = torch.randperm(shape[0], generator=torch_random)
    responses = torch.randperm(shape[1], generator=torch_random)
    shuffled = moved(draw, lambda value: value[prompts][:, responses])
    (loss, gradient), (other, other_gradient) = run(get(name), draw), run(get(name), shuffled)
    close(other.value, loss.value)
    close(other_gradient, gradient[prompts][:, responses])


# Ratio 1 ------------------------------------------------------------------------------------------------------------


@each_row
@few
@given(seed=seeds, shape=shapes)
def test_at_ratio_one_every_surrogate_is_reinforce(random_batch: Any, name: str, seed: int, shape: Any) -> None:
    """With the same advantage, aggregation and token weights, to the last bit."""
    draw = random_batch(seed, shape, drift=0.0)
    objective = get(name)
    assert name in ("reinforce", "rloo") or objective.surrogate is not surrogates.score_function
    loss, gradient = run(objective, draw)
    same, expected = run(replace(objective, surrogate=surrogates.score_function), draw)
    assert torch.equal(gradient, expected)
    assert torch.equal(loss.value, same.value)
    assert torch.equal(loss.coefficient, torch.ones_like(loss.coefficient))


@few
@given(seed=seeds, shape=shapes)
def test_at_ratio_one_kl_cov_is_inert(random_batch: Any, seed: int, shape: Any) -> None:
    draw = random_batch(seed, shape, drift=0.0)
    (loss, gradient), (free, free_gradient) = run(get("kl_cov"), draw), run(get("kl_cov", penalty=0.0), draw)
    assert torch.equal(gradient, free_gradient) and torch.equal(loss.value, free.value)


def test_off_policy_kl_cov_is_not_inert(random_batch: Any) -> None:
    draw = random_batch(0, (2, 4, 5), drift=0.3)
    difference = run(get("kl_cov"), draw)[1] - run(get("kl_cov", penalty=0.0), draw)[1]
    tokens = draw.batch.mask.sum()
    assert (difference != 0).sum() == math.ceil(0.02 * int(tokens)) == 1
    torch.testing.assert_close(difference.abs().max(), 1.0 / tokens.double(), rtol=1e-9, atol=0)


@few
@given(seed=seeds)
def test_at_ratio_one_clip_cov_is_not_inert(random_batch: Any, seed: int) -> None:
    """With spread in the rewards of a group some token has a covariance above the 0.96-quantile, and one is dropped."""
    draw = random_batch(seed, (2, 4, 5), drift=0.0)
    loss, gradient = run(get("clip_cov"), draw)
    free, free_gradient = run(replace(get("clip_cov"), weight=weights.every_token), draw)
    dropped = draw.batch.mask & (loss.weight == 0)
    tokens = int(draw.batch.mask.sum())
    assert dropped.sum() == max(math.floor(0.02 * tokens), 1) == 1
    assert (gradient[dropped] == 0).all() and (free_gradient[dropped] != 0).all()
    assert torch.equal(gradient[~dropped], free_gradient[~dropped])
    assert free.touched[dropped].all() and not loss.touched[dropped].any()


# Limits -------------------------------------------------------------------------------------------------------------


def weighted(name: str, **options: Any) -> Objective:
    return replace(get(name, **options), surrogate=surrogates.importance_weighted)


def same_loss(first: Objective, second: Objective, draw: Any) -> None:
    """Bit for bit, in value and gradient."""
    (one, one_gradient), (two, two_gradient) = run(first, draw), run(second, draw)
    assert torch.equal(one.value, two.value)
    assert torch.equal(one_gradient, two_gradient)


@pytest.mark.parametrize("name", ["ppo", "grpo", "dr_grpo", "dapo", "gppo", "clip_cov"])
@few
@given(seed=seeds, shape=shapes)
def test_infinite_clips_are_importance_weighting(random_batch: Any, name: str, seed: int, shape: Any) -> None:
    draw = random_batch(seed, shape, drift=1.0)
    infinite = get(name, clip_low=math.inf, clip_high=math.inf, dual_clip=math.inf)
    same_loss(infinite, weighted(name), draw)
    forward, expected = (run(objective, draw)[0].forward_value for objective in (infinite, weighted(name)))
    close(forward, expected)


@few
@given(seed=seeds, shape=shapes)
def test_gppo_is_ppo_inside_the_clip_and_in_value_everywhere(random_batch: Any, seed: int, shape: Any) -> None:
    gppo = get("gppo")
    ppo = replace(gppo, surrogate=get("dapo", clip_high=0.28, dual_clip=3.0).surrogate)
    # A normal number above 8 standard deviations has a chance of 1e-15: log ratios stay within log(1 +- 0.18).
    same_loss(gppo, ppo, random_batch(seed, shape, drift=0.02))
    far = random_batch(seed, shape, drift=1.0)
    (kept, kept_gradient), (cut, cut_gradient) = run(gppo, far), run(ppo, far)
    assert torch.equal(kept.forward_value, cut.forward_value)
    inside = cut.coefficient > 0
    assert torch.equal(kept_gradient[inside], cut_gradient[inside])
    ratio = (far.log_prob - far.batch.log_prob_old).exp()
    advantage = kept.advantage.expand_as(ratio)
    dual = far.batch.mask & (advantage < 0) & (ratio > 3.0)
    assert (kept.coefficient[dual] == 0).all()
    outside = ~inside & ~dual & far.batch.mask
    close(kept.coefficient[outside], 0.8 + 0.48 * (advantage[outside] >= 0).double())


@few
@given(seed=seeds, shape=shapes)
def test_kl_cov_without_penalty_is_importance_weighting(random_batch: Any, seed: int, shape: Any) -> None:
    plain = replace(weighted("kl_cov"), regularizers=())
    same_loss(get("kl_cov", penalty=0.0), plain, random_batch(seed, shape))


@few
@given(seed=seeds, shape=shapes)
def test_clip_cov_without_candidates_is_its_surrogate(random_batch: Any, seed: int, shape: Any) -> None:
    none = get("clip_cov", cov_scale="absolute", cov_low=math.inf, cov_high=math.inf)
    same_loss(none, replace(none, weight=weights.every_token), random_batch(seed, shape))


@few
@given(seed=seeds, shape=shapes)
def test_dapo_with_equal_clips_is_grpo_with_a_token_mean(random_batch: Any, seed: int, shape: Any) -> None:
    dapo = get("dapo", clip_high=0.2, dual_clip=None)
    same_loss(dapo, replace(get("grpo"), aggregate=aggregation.token_mean), random_batch(seed, shape))


@few
@given(seed=seeds, shape=shapes)
def test_clip_high_says_nothing_about_bad_responses(random_batch: Any, seed: int, shape: Any) -> None:
    draw = random_batch(seed, shape, drift=1.0)
    (low, low_gradient), (_, high_gradient) = run(get("dapo", clip_high=0.1), draw), run(get("dapo", clip_high=9), draw)
    bad = (low.advantage < 0).expand_as(low_gradient)
    assert torch.equal(low_gradient[bad], high_gradient[bad])


@each_row
@pytest.mark.parametrize("coefficient", ["entropy_coefficient", "planning_entropy_coefficient", "kl_coefficient"])
@few
@given(seed=seeds, shape=shapes)
def test_a_coefficient_of_zero_is_a_term_that_is_absent(
    random_batch: Any, name: str, coefficient: str, seed: int, shape: Any
) -> None:
    draw = random_batch(seed, shape)
    same_loss(get(name, **{coefficient: 0.0}), get(name), draw)
    loss, _ = run(get(name, entropy_coefficient=0.0), draw)
    (on_entropy,) = torch.autograd.grad(loss.value, draw.entropy)
    assert (on_entropy == 0).all()


@few
@given(seed=seeds, shape=shapes)
def test_bonus_does_not_depend_on_the_aggregation(random_batch: Any, seed: int, shape: Any) -> None:
    """TRL issue 6140: a bonus that inherits the policy's normaliser shrinks with the length."""
    draw = random_batch(seed, shape)
    expected = torch.where(draw.batch.mask, -0.3 / draw.batch.mask.sum().double(), 0.0)
    for name in ROWS:
        objective = get(name, entropy_coefficient=0.3)
        loss = objective.loss(draw.log_prob, draw.batch, entropy=draw.entropy, generator=torch.Generator())
        close(torch.autograd.grad(loss.value, draw.entropy)[0], expected)


# Stacked runs -------------------------------------------------------------------------------------------------------

S = 3
TENSOR_VALUES: dict[str, tuple[float, float, float]] = {
    "baseline": (0.0, 0.25, -1.0),
    "floor": (1e-6, 1e-2, 0.5),
    "clip_low": (0.1, 0.25, 0.9),
    "clip_high": (0.1, 0.28, 2.0),
    "dual_clip": (1.25, 3.0, 10.0),
    "share": (0.03, 0.11, 0.47),
    "cov_low": (0.9, 0.5, 0.1),
    "cov_high": (1.0, 0.75, 0.93),
    "penalty": (0.1, 1.0, 3.0),
    "entropy_coefficient": (0.0, 0.1, 0.3),
    "planning_entropy_coefficient": (0.0, 0.2, 0.1),
    "kl_coefficient": (0.0, 0.2, 0.3),
}


OPTIONAL = {"entropy_coefficient": 0.0, "planning_entropy_coefficient": 0.0, "kl_coefficient": 0.0}


def stackable(name: str) -> set[str]:
    """The row's parameters that may be tensors, the optional ones included."""
    every = row(name).override(**OPTIONAL)
    return {p for stages in every.stages().values() for s in stages for p in s.parameters if s.stackable(p)}


@each_row
def test_every_stackable_parameter_is_tried(name: str) -> None:
    assert stackable(name) <= set(TENSOR_VALUES)
    assert set(OPTIONAL) <= stackable(name)


@each_row
@pytest.mark.parametrize("tensors", [False, True])
@few
@given(seed=seeds, shape=shapes)
def test_a_run_in_a_stack_equals_the_run_alone(
    random_batch: Any, name: str, tensors: bool, seed: int, shape: Any
) -> None:
    stack = random_batch(seed, shape, (S,))
    values = {k: TENSOR_VALUES[k] for k in stackable(name)} if tensors else {}
    base = get(name, **OPTIONAL)
    together = base.with_parameters(
        **{k: torch.tensor(v, dtype=torch.float64).view(S, 1, 1, 1) for k, v in values.items()}
    )
    loss, gradient = run(together, stack, Streams("tokens", [4, 5, 6]))
    assert loss.value.shape == (S,)
    for s in range(S):
        alone = moved(stack, lambda value, s=s: value[s : s + 1])
        own = base.with_parameters(**{k: v[s] for k, v in values.items()})
        single, single_gradient = run(own, alone, Streams("tokens", [4 + s]))
        close(single.value, loss.value[s : s + 1])
        close(single.forward_value, loss.forward_value[s : s + 1])
        close(single_gradient, gradient[s : s + 1])
        assert torch.equal(single.touched[0], loss.touched[s])
        assert torch.equal(single.weight[0], loss.weight[s])
        if name != "clip_cov":  # without the run axis as well
            bare, bare_gradient = run(own, moved(stack, lambda value, s=s: value[s]))
            close(bare.value, loss.value[s])
            close(bare_gradient, gradient[s])


@each_row
def test_get_takes_tensors(name: str) -> None:
    """One value for each run of a stack, as a number is taken."""
    tensor = torch.tensor([0.1, 0.2]).view(2, 1, 1, 1)
    for parameter in sorted(stackable(name)):
        built = get(name, **{parameter: tensor})
        stages = (built.advantage, built.surrogate, built.weight, *built.regularizers)
        bound = [stage.keywords for stage in stages if isinstance(stage, partial)]
        assert sum(keywords.get(parameter) is tensor for keywords in bound) == 1


@pytest.mark.parametrize(("share", "tokens"), [(0.29, 100), (0.3, 50), (0.07, 100), (0.96, 25)])
def test_a_share_means_the_same_as_a_number_and_as_a_tensor(share: float, tokens: int) -> None:
    """The number of tokens must not depend on the dtype in which ``share * N`` is rounded."""
    log_prob = torch.arange(tokens, dtype=torch.float64).view(1, 1, tokens, 1) / -tokens
    batch = Batch(torch.zeros_like(log_prob), torch.ones(log_prob.shape, dtype=torch.bool), torch.zeros(1, 1, tokens))
    advantage = log_prob
    counts = []
    for value in (share, torch.full((1, 1, 1), share, dtype=torch.float64)):
        dropped = weights.drop_covariant(
            batch,
            advantage=advantage,
            log_prob=log_prob,
            coefficient=torch.ones_like(log_prob),
            generator=torch.Generator().manual_seed(0),
            share=value,
            cov_low=-1.0,
            cov_high=math.inf,
            cov_scale="absolute",
        )
        counts.append(int((dropped.weight == 0).sum()))
    assert counts[0] == counts[1]


# Aggregation --------------------------------------------------------------------------------------------------------


@given(seed=seeds, shape=shapes, budget=st.integers(1, 50))
def test_aggregators_agree_at_equal_length_up_to_a_constant(
    random_batch: Any, seed: int, shape: Any, budget: int
) -> None:
    draw = random_batch(seed, shape, (2,), equal_lengths=True)
    value, mask, tokens = draw.log_prob.detach(), draw.batch.mask, shape[2]
    mean = aggregation.token_mean(value, mask, mask)
    close(aggregation.seq_mean_token_mean(value, mask, mask), mean)
    close(aggregation.seq_mean_token_sum(value, mask, mask), mean * tokens)
    close(aggregation.seq_mean_token_sum_norm(value, mask, mask, budget=None), mean)
    close(aggregation.seq_mean_token_sum_norm(value, mask, mask, budget=budget), mean * tokens / budget)


def test_aggregators_disagree_at_unequal_length() -> None:
    """Counterexample: one response of one token with loss 1, one of two tokens with loss 0."""
    value = torch.tensor([[[1.0, 0.0], [0.0, 0.0]]])
    mask = torch.tensor([[[True, False], [True, True]]])
    results = [
        aggregation.token_mean(value, mask, mask),
        aggregation.seq_mean_token_mean(value, mask, mask),
        aggregation.seq_mean_token_sum_norm(value, mask, mask, budget=None),
    ]
    assert [round(float(result), 6) for result in results] == [0.333333, 0.5, 0.25]


MEANS_OF_RESPONSES = ("reinforce", "rloo", "grpo", "dr_grpo")


@pytest.mark.parametrize("name", MEANS_OF_RESPONSES)
@few
@given(seed=seeds, shape=shapes)
def test_mean_of_mini_batches_is_the_batch(random_batch: Any, name: str, seed: int, shape: Any) -> None:
    """For aggregations that are means over responses, with equal parts and the advantages of the whole batch."""
    objective = get(name)
    draw = random_batch(seed, (2 * shape[0], *shape[1:]))
    loss, gradient = run(objective, draw)
    advantage = objective.advantages(draw.batch)
    parts, half = [], shape[0]
    for start in (0, half):
        part = slice(start, start + half)
        parts.append(
            objective.loss(
                draw.log_prob[part], draw.batch.prompts(start, start + half), advantage=advantage[part]
            ).value
        )
    mean = (parts[0] + parts[1]) / 2
    close(mean, loss.value)
    close(torch.autograd.grad(mean, draw.log_prob)[0], gradient)


def test_mean_of_mini_batches_is_not_the_token_mean() -> None:
    """Counterexample: mini-batches of 1 and of 2 tokens weigh their tokens differently."""
    value = torch.tensor([[[1.0, 0.0]], [[0.0, 0.0]]])
    mask = torch.tensor([[[True, False]], [[True, True]]])
    parts = [aggregation.token_mean(value[b : b + 1], mask[b : b + 1], mask[b : b + 1]) for b in range(2)]
    assert float(sum(parts) / 2) == 0.5
    assert math.isclose(float(aggregation.token_mean(value, mask, mask)), 1 / 3, rel_tol=1e-6)


# The record ---------------------------------------------------------------------------------------------------------


@each_row
@few
@given(seed=seeds, shape=shapes)
def test_touched_are_the_tokens_with_a_policy_gradient(random_batch: Any, name: str, seed: int, shape: Any) -> None:
    draw = random_batch(seed, shape, (2,), drift=1.0, rewards=(0.0, 1.0))
    objective = replace(get(name), regularizers=())
    loss, gradient = run(objective, draw)
    assert torch.equal(loss.touched, gradient != 0)


@each_row
@few
@given(seed=seeds, shape=shapes)
def test_the_coefficient_never_pushes_against_the_advantage(
    random_batch: Any, name: str, seed: int, shape: Any
) -> None:
    draw = random_batch(seed, shape, drift=1.0)
    loss, gradient = run(replace(get(name), regularizers=()), draw)
    assert (loss.coefficient >= 0).all() and (loss.weight >= 0).all()
    assert (gradient * loss.advantage <= 0).all()
    assert not loss.coefficient.requires_grad and not loss.advantage.requires_grad


@pytest.mark.parametrize("name", ["reinforce", "rloo"])
@few
@given(seed=seeds, shape=shapes)
def test_reinforce_is_linear_in_the_reward(random_batch: Any, name: str, seed: int, shape: Any) -> None:
    """Only without a clip and without a std."""
    draw = random_batch(seed, shape)
    other = random_batch(seed + 1, shape).batch.reward

    def gradient(reward: Tensor) -> Tensor:
        return run(get(name), draw._replace(batch=replace(draw.batch, reward=reward)))[1]

    mixed = gradient(2 * draw.batch.reward - 3 * other)
    torch.testing.assert_close(mixed, 2 * gradient(draw.batch.reward) - 3 * gradient(other), rtol=1e-12, atol=1e-11)


@few
@given(seed=seeds, shape=shapes)
def test_clipped_objectives_are_not_linear_but_scale_with_a_positive_reward(
    random_batch: Any, seed: int, shape: Any
) -> None:
    """Dr. GRPO: the clip looks at the sign of the advantage only."""
    draw = random_batch(seed, shape, drift=1.0)

    def gradient(factor: float) -> Tensor:
        return run(get("dr_grpo"), draw._replace(batch=replace(draw.batch, reward=factor * draw.batch.reward)))[1]

    close(gradient(3.0), 3 * gradient(1.0))
    clipped = (gradient(1.0) == 0) != (gradient(-1.0) == 0)
    ratio = (draw.log_prob - draw.batch.log_prob_old).exp()
    outside = draw.batch.mask & ((ratio > 1.2) | (ratio < 0.8))
    assert torch.equal(clipped, outside)


@each_row
@few
@given(seed=seeds, shape=shapes)
def test_the_loss_does_not_change_what_it_is_given(random_batch: Any, name: str, seed: int, shape: Any) -> None:
    draw = random_batch(seed, shape)
    before = {k: v.clone() for k, v in vars(draw.batch).items() if v is not None}
    run(get(name, entropy_coefficient=0.1, kl_coefficient=0.1), draw)
    for field, value in before.items():
        assert torch.equal(getattr(draw.batch, field), value), field
