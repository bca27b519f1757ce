"""A few values, derived by hand in the comments."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from toybed.objectives import advantages, aggregation, get, regularizers, surrogates, weights
from toybed.objectives.batch import Batch


def tensor(*values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def batch_of(reward: Tensor, ratio: float = 1.0, tokens: int = 1, ref: float | None = None) -> tuple[Tensor, Batch]:
    """The log-probability log 1/2 everywhere now, and a policy before with the given ratio to it."""
    log_prob = torch.full((*reward.shape, tokens), math.log(0.5), dtype=torch.float64)
    batch = Batch(
        log_prob_old=log_prob - math.log(ratio),
        mask=torch.ones(log_prob.shape, dtype=torch.bool),
        reward=reward,
        log_prob_ref=None if ref is None else torch.full_like(log_prob, ref),
    )
    return log_prob.requires_grad_(), batch


def test_four_ways_to_average() -> None:
    """The puzzle of verl issue 593: one short response of loss 10, one of five tokens of loss 2 each.

    Over tokens: (10 + 5 * 2) / 6 = 3.33. Over responses: (10 + 2) / 2 = 6. Sums of responses: (10 + 10) / 2 = 10,
    and by the padded length of 5: 10 / 5 = 2; by a budget of 4: 2.5.
    """
    loss = tensor([[10.0, 0, 0, 0, 0], [2, 2, 2, 2, 2]])
    mask = tensor([[1.0, 0, 0, 0, 0], [1, 1, 1, 1, 1]]).bool()
    assert float(aggregation.token_mean(loss, mask, mask)) == pytest.approx(10 / 3, rel=1e-15)
    assert float(aggregation.seq_mean_token_mean(loss, mask, mask)) == 6
    assert float(aggregation.seq_mean_token_sum(loss, mask, mask)) == 10
    assert float(aggregation.seq_mean_token_sum_norm(loss, mask, mask, budget=None)) == 2
    assert float(aggregation.seq_mean_token_sum_norm(loss, mask, mask, budget=4)) == 2.5


def test_denominator_may_count_fewer_tokens() -> None:
    """80/20's averages: of the tokens 3, 5 only the first is counted, and the weight made the second 0: 3 / 1."""
    loss, mask, counted = tensor([[3.0, 0.0]]), torch.ones(1, 1, 2).bool(), tensor([[1.0, 0.0]]).bool()
    assert float(aggregation.token_mean(loss, mask, counted)) == 3
    assert float(aggregation.seq_mean_token_mean(loss, mask, counted)) == 3
    assert float(aggregation.token_mean(loss, mask, mask)) == 1.5


def test_nothing_counted_is_zero() -> None:
    none = torch.zeros(1, 2, 3, dtype=torch.bool)
    assert float(aggregation.token_mean(torch.full((1, 2, 3), math.nan), none, none)) == 0
    assert float(aggregation.seq_mean_token_mean(torch.full((1, 2, 3), math.nan), none, none)) == 0


def test_grpo_of_two_answers() -> None:
    """Rewards 1, 0: mean 1/2, deviations +-1/2. Bessel: std = sqrt(2 * 1/4 / 1) = 0.70711, so A = +-0.70711; the
    floor of 1e-6 takes 1e-6/0.7071 of it, to 0.7071058. Population: std = 1/2, A = +-1.
    """
    _, batch = batch_of(tensor([1.0, 0.0]))
    bessel = advantages.group_standardized(batch, ddof=1, floor=1e-6).flatten().tolist()
    assert bessel == pytest.approx([0.7071058, -0.7071058], abs=1e-7)
    population = advantages.group_standardized(batch, ddof=0, floor=0.0).flatten().tolist()
    assert population == [1.0, -1.0]


def test_one_right_answer_of_four() -> None:
    """Rewards 1, 0, 0, 0. Centred: 3/4, -1/4. RLOO: 1 - 0 = 1 and 0 - 1/3. Bessel's variance:
    (9/16 + 3/16) / 3 = 1/4, so GRPO is twice the centred one: 3/2, -1/2.
    """
    _, batch = batch_of(tensor([1.0, 0, 0, 0]))
    assert advantages.outcome(batch, baseline=0.25).flatten().tolist() == [0.75, -0.25, -0.25, -0.25]
    assert advantages.group_centered(batch).flatten().tolist() == [0.75, -0.25, -0.25, -0.25]
    assert advantages.leave_one_out(batch).flatten().tolist() == pytest.approx([1, -1 / 3, -1 / 3, -1 / 3])
    standard = advantages.group_standardized(batch, ddof=1, floor=0.0)
    assert standard.flatten().tolist() == [1.5, -0.5, -0.5, -0.5]


def test_whitening_counts_tokens() -> None:
    """A response of 3 tokens with reward 1, one of 1 token with reward 0: the mean over tokens is 3/4, Bessel's
    variance (3/16 + 9/16) / 3 = 1/4, so A = (1/4) / (1/2) = 1/2 and (-3/4) / (1/2) = -3/2.
    """
    mask = tensor([[1.0, 1, 1], [1, 0, 0]]).bool()
    batch = Batch(log_prob_old=torch.zeros(1, 2, 3).double(), mask=mask, reward=tensor([1.0, 0.0]))
    white = advantages.batch_whitened(batch, floor=0.0)
    # 1e-12: the few operations above in float64; tokens / (tokens - 1) = 4/3 is no binary fraction.
    torch.testing.assert_close(white[mask], tensor(0.5, 0.5, 0.5, -1.5), rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("reward", "ratio", "coefficient"),
    [
        (1.0, 1.19, 1.19),  # inside
        (1.0, 1.21, 0.0),  # raised enough
        (1.0, 0.5, 0.5),  # a good answer that fell is never clipped
        (-1.0, 0.81, 0.81),
        (-1.0, 0.79, 0.0),  # lowered enough
        (-1.0, 5.0, 5.0),  # a bad answer that rose is never clipped (no dual clip)
        (0.0, 1.1, 1.1),  # no advantage: coefficient of the positive side, gradient 0
    ],
)
def test_ppo_clip_just_inside_and_just_outside(reward: float, ratio: float, coefficient: float) -> None:
    """The gradient of -A rho by log pi is -A rho inside the clip [0.8, 1.2], and 0 outside on the side of A."""
    log_prob, batch = batch_of(tensor([reward]), ratio)
    objective = get("ppo")
    loss = objective.loss(log_prob, batch, advantage=tensor([[reward]]))
    loss.value.backward()
    assert float(loss.coefficient) == pytest.approx(coefficient, rel=1e-14)
    assert log_prob.grad is not None
    assert float(log_prob.grad) == pytest.approx(-reward * coefficient, rel=1e-14)


@pytest.mark.parametrize(
    ("sign", "ratio", "ppo", "gppo", "value"),
    [
        (1.0, 1.27, 1.27, 1.27, 1.27),
        (1.0, 1.29, 0.0, 1.28, 1.28),  # GPPO keeps a gradient of the bound's size; both have the value 1.28
        (-1.0, 0.79, 0.0, 0.8, -0.8),
        (-1.0, 2.99, 2.99, 2.99, -2.99),
        (-1.0, 3.01, 0.0, 0.0, -3.0),  # dual clip: no gradient, in GPPO neither
        (1.0, 3.01, 0.0, 1.28, 1.28),
    ],
)
def test_dual_clip_and_gppo(sign: float, ratio: float, ppo: float, gppo: float, value: float) -> None:
    log_ratio, advantage = tensor([[math.log(ratio)]]), tensor([[sign]])
    _, batch = batch_of(tensor([sign]), ratio)
    options = {"clip_low": 0.2, "clip_high": 0.28, "dual_clip": 3.0}
    for stage, expected in ((surrogates.ppo_clip, ppo), (surrogates.gradient_preserving_clip, gppo)):
        assert float(stage(log_ratio, advantage, batch, **options)) == pytest.approx(expected, rel=1e-14)
        assert float(stage.value(log_ratio, advantage, batch, **options)) == pytest.approx(value, rel=1e-14)


@pytest.mark.parametrize(
    ("estimator", "value", "slope"),
    [
        ("k1", math.log(2), 1.0),  # d
        ("k2", 0.240227, math.log(2)),  # d^2/2 = 0.480453 / 2, slope d
        ("k3", 0.193147, 0.5),  # exp(-d) - 1 + d = 1/2 - 1 + 0.693147, slope 1 - exp(-d) = 1/2
    ],
)
def test_kl_estimators_where_the_policy_doubled(estimator: str, value: float, slope: float) -> None:
    """pi = 1/2, ref = 1/4: d = log 2."""
    log_prob, batch = batch_of(tensor([0.0]), ref=math.log(0.25))
    loss = regularizers.kl_reference(log_prob, batch, kl_coefficient=1.0, kl_estimator=estimator)
    loss.sum().backward()
    assert float(loss.detach()) == pytest.approx(value, abs=1e-6)
    assert log_prob.grad is not None
    assert float(log_prob.grad) == pytest.approx(slope, rel=1e-14)


def test_equal_tokens_go_to_the_earlier() -> None:
    """Values 1 3 3 / 3 2 0: of the three 3s two are taken, those that come first in reading order."""
    value = tensor([[1.0, 3, 3], [3, 2, 0]])
    top = weights.top_tokens(value, torch.tensor([[[2]]]))
    assert top.tolist() == [[[False, True, True], [False, False, False]]]
    top = weights.top_tokens(value, torch.tensor([[[4]]]))
    assert top.tolist() == [[[False, True, True], [True, True, False]]]
    assert not weights.top_tokens(value, torch.tensor([[[0]]])).any()
    assert weights.top_tokens(value, torch.tensor([[[99]]])).all()


@pytest.mark.parametrize(("share", "tokens", "count"), [(0.02, 150, 3), (0.3, 50, 15), (0.002, 1500, 3), (0.02, 10, 1)])
def test_kl_cov_selects_the_share_rounded_up(share: float, tokens: int, count: int) -> None:
    """0.02 * 150 = 3, 0.3 * 50 = 15 and 0.002 * 1500 = 3 are whole numbers; 0.02 * 10 = 0.2 is rounded up to 1.

    The k-th token has log-probability -k and advantage -k: its covariance is the squared distance from the middle, and
    log rho is 1.
    """
    rank = torch.arange(tokens, dtype=torch.float64).view(1, 1, tokens)
    batch = Batch(-rank - 1, torch.ones(1, 1, tokens).bool(), torch.zeros(1, 1).double())
    loss = regularizers.covariance_penalty(-rank, batch, advantage=-rank, share=share, penalty=2.0)
    assert int((loss != 0).sum()) == count
    assert float(loss.sum()) == pytest.approx(2.0 * count)  # penalty * |log rho| = 2 each


def test_clip_cov_by_hand() -> None:
    """Five tokens with log pi = 0, -1, -2, -3, -4 and A = 2, 1, 0, -1, -2: means -2 and 0, Cov = 4, 1, 0, 1, 4.

    Absolute bounds (0.5, 2): the second and fourth. A share of 0.2 drops max(floor(1), 1) = 1 of them; 0.4 drops both.
    As quantiles of the sorted 0 1 1 4 4 (lower value at floor(4 q)): 0.5 is 1 and 1.0 is 4, so Cov in (1, 4] are the
    first and last.
    """
    log_prob = tensor([[0.0, -1, -2, -3, -4]])
    advantage = tensor([[2.0, 1, 0, -1, -2]])
    batch = Batch(log_prob, torch.ones(1, 1, 5).bool(), tensor([0.0]))

    def dropped(coefficient: Tensor | None = None, **options: Any) -> list[int]:
        weight, counted = weights.drop_covariant(
            batch,
            advantage=advantage,
            log_prob=log_prob,
            coefficient=torch.ones_like(log_prob) if coefficient is None else coefficient,
            generator=torch.Generator().manual_seed(0),
            **options,
        )
        assert counted.all()
        return (weight == 0).flatten().nonzero().flatten().tolist()

    absolute = {"cov_low": 0.5, "cov_high": 2.0, "cov_scale": "absolute"}
    assert dropped(share=0.4, **absolute) == [1, 3]
    one = dropped(share=0.2, **absolute)
    assert len(one) == 1 and set(one) <= {1, 3}
    assert dropped(share=0.0, **absolute) == one, "at least one token is dropped"
    clipped = tensor([[1.0, 0, 1, 1, 1]])
    assert dropped(clipped, share=1.0, **absolute) == [3], "what the surrogate clipped is no candidate"
    assert dropped(share=1.0, cov_low=0.5, cov_high=1.0, cov_scale="quantile") == [0, 4]
    assert dropped(share=1.0, cov_low=4.0, cov_high=9.0, cov_scale="absolute") == [], "the bounds are open"


def test_a_whole_grpo_step() -> None:
    """Two responses, of 1 and 2 tokens, rewards 1 and 0, ratio 1. A = +-0.7071058, each token of response i weighs
    1/2 * 1/|y_i|: gradients -0.3535529, and 0.1767765 twice. The value is sum -A log pi * weight, with log pi = log 1/2
    everywhere: 0.6931472 * (0.7071058/2 - 0.7071058/2) = 0 while the gradient is not.
    """
    log_prob, batch = batch_of(tensor([1.0, 0.0]), tokens=2)
    batch.mask[0, 0, 1] = False
    loss = get("grpo").loss(log_prob, batch)
    loss.value.backward()
    assert float(loss.value.detach()) == pytest.approx(0.0, abs=1e-15)
    assert log_prob.grad is not None
    expected = tensor([[-0.3535529, 0.0], [0.1767765, 0.1767765]])
    torch.testing.assert_close(log_prob.grad, expected, rtol=0, atol=1e-7)
    assert loss.touched.tolist() == [[[True, False], [True, True]]]


def test_a_step_of_plain_reinforce_moves_only_paid_responses() -> None:
    """Rewards 1, 0, sums over tokens, mean over two responses: gradient -1/2 on the first only."""
    log_prob, batch = batch_of(tensor([1.0, 0.0]))
    get("reinforce").loss(log_prob, batch).value.backward()
    assert log_prob.grad is not None and log_prob.grad.flatten().tolist() == [-0.5, 0.0]
