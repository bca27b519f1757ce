"""The exact expected gradient of the classics, by summing over every possible group of responses.

A prompt with K answers and softmax logits z, or a policy over responses of one and two tokens. The expected gradient
of a loss is ``sum over groups of P(group) grad loss(group)``; the leading axis of the batch is the group, so one call
evaluates all. Tolerance: at most 27 groups of terms of size 1 in float64 round by less than 1e-14; 1e-12 is asked.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from toybed.measures.divergence import kl_divergence
from toybed.measures.entropy import token_entropy
from toybed.objectives import get
from toybed.objectives.batch import Batch

K = 3
logits = st.lists(st.floats(-2, 2), min_size=K, max_size=K).map(lambda z: torch.tensor(z, dtype=torch.float64))
rewards = st.lists(st.sampled_from([0.0, 1.0, 0.3, -0.5]), min_size=K, max_size=K).map(
    lambda r: torch.tensor(r, dtype=torch.float64)
)
groups = pytest.mark.parametrize("g", [2, 3])
some = settings(max_examples=15)


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def expected_gradient(
    name: str, z: Tensor, reward: Tensor, g: int, old: Tensor | None = None, ref: Tensor | None = None, **options: Any
) -> Tensor:
    """``E_{group ~ old} grad_z loss(group)``, of one prompt with answers of one token."""
    z = z.clone().requires_grad_()
    log_pi = z.log_softmax(-1)
    log_old = log_pi.detach() if old is None else old.log_softmax(-1)
    group = torch.tensor(list(itertools.product(range(K), repeat=g)))  # [K^g, g]
    shape = (len(group), 1, g, 1)
    batch = Batch(
        log_prob_old=log_old[group].view(shape),
        mask=torch.ones(shape, dtype=torch.bool),
        reward=reward[group].view(shape[:-1]),
        log_prob_ref=None if ref is None else ref.log_softmax(-1)[group].view(shape),
    )
    chance = log_old[group].sum(-1).exp()
    entropy = token_entropy(log_pi).expand(shape)
    loss = get(name, **options).loss(log_pi[group].view(shape), batch, entropy=entropy)
    (gradient,) = torch.autograd.grad((chance * loss.value).sum(), z)
    return gradient


def gradient_of(function: Any, z: Tensor) -> Tensor:
    z = z.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(function(z), z)
    return gradient


def policy_gradient(z: Tensor, reward: Tensor) -> Tensor:
    """Of the expected reward ``J = sum_a pi_a R_a``: ``pi_a (R_a - J)``."""
    pi = z.softmax(-1)
    return pi * (reward - (pi * reward).sum())


@groups
@some
@given(z=logits, reward=rewards)
def test_reinforce_is_the_policy_gradient(g: int, z: Tensor, reward: Tensor) -> None:
    close(-expected_gradient("reinforce", z, reward, g), policy_gradient(z, reward))


@some
@given(z=logits, reward=rewards, baseline=st.floats(-2, 2))
def test_a_constant_baseline_does_not_change_the_expectation(z: Tensor, reward: Tensor, baseline: float) -> None:
    close(-expected_gradient("reinforce", z, reward, 2, baseline=baseline), policy_gradient(z, reward))


@groups
@some
@given(z=logits, reward=rewards)
def test_rloo_is_the_policy_gradient(g: int, z: Tensor, reward: Tensor) -> None:
    close(-expected_gradient("rloo", z, reward, g), policy_gradient(z, reward))


@groups
@some
@given(z=logits, reward=rewards)
def test_dr_grpo_is_the_policy_gradient_times_g_minus_1_over_g(g: int, z: Tensor, reward: Tensor) -> None:
    """A response is part of its own baseline. L = T = 1 here."""
    close(-expected_gradient("dr_grpo", z, reward, g), policy_gradient(z, reward) * (g - 1) / g)


@pytest.mark.parametrize(("g", "weight"), [(2, 1 / math.sqrt(2)), (3, 2 / math.sqrt(3))])
@some
@given(z=logits, right=st.integers(0, K - 1))
def test_grpo_weighs_prompts_of_all_difficulties_alike_in_a_small_group(
    g: int, weight: float, z: Tensor, right: int
) -> None:
    """For 0/1 reward GRPO is the policy gradient times a weight that for G = 2 and 3 does not depend on p at all.

    With c right ones std = sqrt(c (G-c) / (G (G-1))), and E[grad log pi | right] = grad p / p, | wrong] =
    -grad p / (1-p). So the weight on grad p is sqrt(G (G-1)) / G^2 * sum_c P(c) sqrt(c (G-c)) / (p (1-p)).
    G = 2: P(1) = 2 p (1-p), sqrt(2)/4 * 2 * 1 = 1/sqrt(2). G = 3: P(1) + P(2) = 3 p (1-p), sqrt(6)/9 * 3 * sqrt(2)
    = 2/sqrt(3).
    """
    reward = torch.zeros(K, dtype=torch.float64)
    reward[right] = 1.0
    got = -expected_gradient("grpo", z, reward, g, floor=0.0)
    close(got, policy_gradient(z, reward) * weight)


@groups
@some
@given(z=logits, old=logits, reward=rewards)
def test_importance_weights_remove_the_bias_of_stale_data(g: int, z: Tensor, old: Tensor, reward: Tensor) -> None:
    """Samples of an older policy, infinite clips: Dr. GRPO's first part is unbiased, its baseline is correlated.

    E[rho A grad log pi] with A = R_i (1 - 1/G) - sum_{j != i} R_j / G and j independent of i under the old policy:
    (G-1)/G (grad J - J_old E_old[rho grad log pi]) and the last expectation is grad 1 = 0.
    """
    infinite = {"clip_low": math.inf, "clip_high": math.inf}
    close(-expected_gradient("dr_grpo", z, reward, g, old, **infinite), policy_gradient(z, reward) * (g - 1) / g)


def test_reinforce_on_stale_data_is_biased() -> None:
    """Counterexample: uniform old policy, pi = (1/2, 1/4, 1/4), R = (1, 0, 0).

    E_old[R grad log pi] = 1/3 (1 - 1/2, -1/4, -1/4) is 2/3 of grad J = 1/2 (1/2, -1/4, -1/4).
    """
    z = torch.tensor([0.5, 0.25, 0.25], dtype=torch.float64).log()
    reward = torch.tensor([1.0, 0, 0], dtype=torch.float64)
    got = -expected_gradient("reinforce", z, reward, 2, torch.zeros(3, dtype=torch.float64))
    close(got, policy_gradient(z, reward) * 2 / 3)


# Regularisers -------------------------------------------------------------------------------------------------------


def kl_gradient(estimator: str, z: Tensor, ref: Tensor) -> Tensor:
    """The expected gradient of the penalty alone: the reward is zero."""
    zero = torch.zeros(K, dtype=torch.float64)
    return expected_gradient("reinforce", z, zero, 2, ref=ref, kl_coefficient=0.5, kl_estimator=estimator) / 0.5


@some
@given(z=logits, ref=logits)
def test_k1_as_a_loss_does_nothing(z: Tensor, ref: Tensor) -> None:
    close(kl_gradient("k1", z, ref), torch.zeros(K, dtype=torch.float64))


@some
@given(z=logits, ref=logits)
def test_k2_as_a_loss_is_the_reverse_divergence(z: Tensor, ref: Tensor) -> None:
    exact = gradient_of(lambda z: kl_divergence(z.log_softmax(-1), ref.log_softmax(-1)), z)
    close(kl_gradient("k2", z, ref), exact)


@some
@given(z=logits, ref=logits)
def test_k3_as_a_loss_is_the_forward_divergence(z: Tensor, ref: Tensor) -> None:
    """The gradient of KL(ref || pi) is pi - ref."""
    exact = gradient_of(lambda z: kl_divergence(ref.log_softmax(-1), z.log_softmax(-1)), z)
    close(exact, z.softmax(-1) - ref.softmax(-1))
    close(kl_gradient("k3", z, ref), exact)


@some
@given(z=logits)
def test_entropy_bonus_has_the_gradient_of_the_entropy(z: Tensor) -> None:
    """``dH/dz_a = -p_a (log p_a + H)``."""
    zero = torch.zeros(K, dtype=torch.float64)
    got = -expected_gradient("reinforce", z, zero, 2, entropy_coefficient=0.5) / 0.5
    p = z.softmax(-1)
    close(got, -p * (p.log() + token_entropy(p.log())))


def test_entropy_bonus_rests_at_uniform() -> None:
    zero = torch.zeros(K, dtype=torch.float64)
    close(expected_gradient("reinforce", zero, zero, 2, entropy_coefficient=0.5), zero)


# Responses of unequal length ----------------------------------------------------------------------------------------

RESPONSES = [(0,), (1, 0), (1, 1)]  # token 0 ends the response, and so do two tokens


@pytest.mark.parametrize(("name", "factor"), [("reinforce", 1.0), ("rloo", 1.0), ("dr_grpo", 0.5)])
@some
@given(z=st.lists(st.floats(-2, 2), min_size=4, max_size=4), reward=rewards)
def test_sums_over_tokens_are_unbiased_for_unequal_lengths(
    name: str, factor: float, z: list[float], reward: Tensor
) -> None:
    """``J = sum_y pi(y) R(y)`` is differentiated by torch. A mean over a response's own tokens would be biased."""
    logits = torch.tensor(z, dtype=torch.float64).view(2, 2).requires_grad_()
    log_pi = logits.log_softmax(-1)  # one state for each position
    padding = torch.zeros((), dtype=torch.float64)
    table = torch.stack([torch.stack([*(log_pi[t, a] for t, a in enumerate(y)), padding][:2]) for y in RESPONSES])
    mask = torch.tensor([[True, len(y) == 2] for y in RESPONSES])
    log_response = table.sum(-1)
    (exact,) = torch.autograd.grad((log_response.exp() * reward).sum(), logits, retain_graph=True)
    group = torch.tensor(list(itertools.product(range(3), repeat=2)))
    batch = Batch(table.detach()[group].unsqueeze(1), mask[group].unsqueeze(1), reward[group].unsqueeze(1))
    options = {"budget": 1} if name == "dr_grpo" else {}
    loss = get(name, **options).loss(table[group].unsqueeze(1), batch)
    chance = log_response.detach()[group].sum(-1).exp()
    (got,) = torch.autograd.grad(-(chance * loss.value).sum(), logits)
    close(got, factor * exact)
