"""``toybed.exact`` against algebra, finite differences, closed forms of the bandit, and plain sampling."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from toybed.agents.choices import choose
from toybed.envs.answer_bandit import AnswerBandit
from toybed.envs.chain_reach import ChainReach
from toybed.envs.core import TokenEnv
from toybed.errors import ToybedError
from toybed.exact import (
    entropy_flow,
    entropy_flow_moments,
    entropy_gradient,
    gradient_moments,
    groups,
    large_batch_gradient,
    reward_gradient,
)
from toybed.measures.entropy import token_entropy
from toybed.objectives import get
from toybed.objectives.batch import Batch

BANDIT = AnswerBandit(prompt_count=3, answers=4, correct=1, rank=2)
CHAIN = ChainReach(modulus=3, operations=2, length=2)
WORLDS = [pytest.param(BANDIT, id="bandit"), pytest.param(CHAIN, id="chain")]


def random_logits(env: TokenEnv, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(len(env.contexts()), env.vocabulary, generator=generator, dtype=torch.float64)


def close(a: Tensor, b: Tensor) -> None:
    """Float64 sums of fewer than 1,000 terms of size 1 at most round by less than 1e-12."""
    torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-12)


def mean_entropy(env: TokenEnv, logits: Tensor) -> Tensor:
    """Mean token entropy over the policy's own rollouts on train prompts, from the world's own evaluation."""
    train = torch.isin(env.prompts(), env.prompts("train"))
    return env.evaluate(logits.log_softmax(-1)).entropy[train].mean() / env.horizon


# The lemma ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_the_covariance_formula_of_the_entropy_is_exact_for_a_table(seed: int) -> None:
    """``dH = -eta sum_a p_a^2 A_a (log p_a + H)`` for the vanilla gradient (OBJECTIVES 3; arXiv 2505.22617, thm 1).

    Both reward and entropy are means over P prompts, so a row of either gradient has the factor 1/P, and the flow is
    the sum over prompts of the formula over P^2.
    """
    logits = random_logits(BANDIT, seed)
    p = logits.softmax(-1)
    reward = BANDIT.rewards().double()
    advantage = reward - (p * reward).sum(-1, keepdim=True)
    surprise = p.log() + token_entropy(p.log())[:, None]
    formula = -(p.square() * advantage * surprise).sum() / BANDIT.prompt_count**2
    close(entropy_flow(BANDIT, logits, -reward_gradient(BANDIT, logits)), formula)


@pytest.mark.parametrize("seed", range(3))
def test_the_natural_gradient_has_the_plain_covariance(seed: int) -> None:
    """``dz = eta A`` changes entropy by ``-eta Cov(log p, A)``, whatever is added to A (theorem 2)."""
    logits = random_logits(BANDIT, seed)
    p = logits.softmax(-1)
    reward = BANDIT.rewards().double()
    mean_log, mean_reward = (p * p.log()).sum(-1, keepdim=True), (p * reward).sum(-1, keepdim=True)
    covariance = (p * (p.log() - mean_log) * (reward - mean_reward)).sum(-1)
    for shift in (0.0, 5.0):
        advantage = reward - mean_reward + shift
        close(entropy_flow(BANDIT, logits, -advantage), -covariance.mean())


def test_the_bandit_has_closed_forms_of_both_gradients() -> None:
    """Rows of ``p_a (R_a - J) / P`` and ``-p_a (log p_a + H) / P``."""
    logits = random_logits(BANDIT)
    p, n = logits.softmax(-1), BANDIT.prompt_count
    reward = BANDIT.rewards().double()
    close(reward_gradient(BANDIT, logits), p * (reward - (p * reward).sum(-1, keepdim=True)) / n)
    close(entropy_gradient(BANDIT, logits), -p * (p.log() + token_entropy(p.log())[:, None]) / n)


@pytest.mark.parametrize("env", WORLDS)
def test_the_flow_is_the_entropy_change_to_second_order(env: TokenEnv) -> None:
    """H(z - eta g) - H(z) - eta flow = c eta^2 + O(eta^3): half the step leaves a quarter of the remainder.

    The direction has length 1. The ratio of the remainders is 4 (1 + O(eta)) with a constant of order 1, so at
    eta = 1e-3 it is 4 within 4 * 0.01; the remainder itself, about 1e-7, has 9 digits above float64's rounding.
    """
    logits = random_logits(env)
    gradient = -reward_gradient(env, logits)
    gradient = gradient / gradient.norm()
    flow, start = entropy_flow(env, logits, gradient), mean_entropy(env, logits)

    def remainder(eta: float) -> float:
        return float(mean_entropy(env, logits - eta * gradient) - start - eta * flow)

    assert remainder(1e-3) / remainder(5e-4) == pytest.approx(4, abs=0.04)


def test_the_flow_takes_leading_axes() -> None:
    logits = random_logits(CHAIN)
    gradients = torch.stack([random_logits(CHAIN, 1), random_logits(CHAIN, 2)]).view(1, 2, *logits.shape)
    flows = entropy_flow(CHAIN, logits, gradients)
    assert flows.shape == (1, 2)
    close(flows[0, 1], entropy_flow(CHAIN, logits, gradients[0, 1]))


# Groups -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("env", WORLDS)
@pytest.mark.parametrize("size", [1, 2, 3])
def test_the_groups_of_a_prompt_are_all_there(env: TokenEnv, size: int) -> None:
    """Their probabilities sum to 1, and there are ``C(N + G - 1, G)`` of them for N responses."""
    every = groups(env, size)
    probability = every.log_probability(random_logits(env).log_softmax(-1)).exp()
    responses = env.vocabulary**env.horizon
    for prompt in env.prompts("train"):
        mine = every.prompt == prompt
        assert int(mine.sum()) == math.comb(responses + size - 1, size)
        close(probability[mine].sum(), torch.tensor(1.0, dtype=torch.float64))


def test_the_groups_have_the_reward_of_their_tokens() -> None:
    every = groups(BANDIT, 2)
    close(every.reward, BANDIT.rewards()[every.prompt[:, None], every.token[..., 0]])
    # One expected reward in two ways: over all groups, and over all responses.
    log_probs = random_logits(BANDIT).log_softmax(-1)
    weight = every.log_probability(log_probs).exp() / BANDIT.prompt_count
    close((weight * every.reward.double().mean(1)).sum(), BANDIT.evaluate(log_probs).reward.mean())


def test_too_many_groups_are_refused_with_their_number() -> None:
    env = AnswerBandit()  # 64 prompts, 16 answers: C(23, 8) = 490,314 groups of 8 each
    message = f"{64 * 490_314} groups of 8 responses are too many to enumerate"
    logits = torch.zeros(64, 16, dtype=torch.float64)
    for call in (gradient_moments, large_batch_gradient):
        with pytest.raises(ToybedError, match=message):
            call(get("rloo"), env, logits, group=8)


# Expected gradients -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("env", WORLDS)
@pytest.mark.parametrize("size", [2, 3])
def test_rloo_is_unbiased_and_dr_grpo_is_its_share(env: TokenEnv, size: int) -> None:
    """Dr. GRPO's own response is part of its baseline: (G-1)/G; and it divides by T, its budget by default."""
    logits = random_logits(env)
    exact = -reward_gradient(env, logits)
    close(gradient_moments(get("rloo"), env, logits, group=size).mean, exact)
    share = (size - 1) / size / env.horizon
    close(gradient_moments(get("dr_grpo"), env, logits, group=size).mean, share * exact)


def test_stale_groups_are_weighed_by_the_policy_that_sampled() -> None:
    """Importance weights without a clip undo staleness: Dr. GRPO's mean is the current policy's (G-1)/G gradient."""
    logits, old = random_logits(BANDIT), random_logits(BANDIT, 1)
    objective = get("dr_grpo", clip_low=math.inf, clip_high=math.inf)
    close(
        gradient_moments(objective, BANDIT, logits, group=2, logits_old=old).mean, -reward_gradient(BANDIT, logits) / 2
    )


@pytest.mark.parametrize("name", ["rloo", "grpo", "maxrl"])
@pytest.mark.parametrize("prompts", [2_000, 200_000])
def test_a_large_batch_of_an_uncoupled_objective_has_the_expected_gradient(name: str, prompts: int) -> None:
    """The share of each of M groups is off by at most 1/N (N prompts in the batch).

    A group's gradient is a mean over its responses of A_i (1[a] - p_a), at most the largest |A_i|: for 2 responses of
    reward 0 and 1 that is 1 (RLOO, MaxRL) or 1/sqrt(2) (GRPO). So an entry is off by at most M/N.
    """
    logits = random_logits(BANDIT)
    mean = gradient_moments(get(name), BANDIT, logits, group=2).mean
    batch = large_batch_gradient(get(name), BANDIT, logits, group=2, prompts=prompts)
    bound = len(groups(BANDIT, 2).prompt) / prompts
    assert float((batch - mean).abs().max()) <= bound
    if prompts == 200_000:
        assert float(mean.abs().max()) > 100 * bound  # the bound says something


def test_a_large_batch_of_a_coupled_objective_has_the_limit_of_its_whitening() -> None:
    """PPO whitens over the batch: in the limit A = (R - mu) / sigma, and the gradient is the true one over sigma.

    A share is off by 1/N for each of M groups, so mu and sigma^2 are off by M/N at most, sigma by M/(2 N sigma), and
    an entry, a mean of |R - mu| / sigma <= 1 / sigma, by at most (M/N) (1/sigma + 1/sigma + 1/(2 sigma^3)). (Bessel's
    1/N is far below.) The mean of every group is the mean over the batch, for a batch of one prompt it is not.
    """
    logits, prompts = random_logits(BANDIT), 200_000
    mu = float(BANDIT.evaluate(logits.log_softmax(-1)).reward.mean())
    sigma = math.sqrt(mu * (1 - mu))
    exact = -reward_gradient(BANDIT, logits) / sigma
    got = large_batch_gradient(get("ppo"), BANDIT, logits, group=2, prompts=prompts)
    bound = len(groups(BANDIT, 2).prompt) / prompts * (2 / sigma + 0.5 / sigma**3)
    assert float((got - exact).abs().max()) <= bound
    assert float(exact.abs().max()) > 50 * bound
    alone = gradient_moments(get("ppo"), BANDIT, logits, group=2).mean
    assert float((alone - exact).abs().max()) > 10 * bound


def sampled_gradients(name: str, env: TokenEnv, logits: Tensor, size: int, count: int) -> Tensor:
    """Gradients of the loss on ``count`` groups, each sampled token by token for a prompt drawn uniformly."""
    generator = torch.Generator().manual_seed(7)
    pool = env.prompts("train")
    prompt = pool[torch.randint(len(pool), (count, 1), generator=generator)].expand(-1, size)
    leaf = logits.expand(count, -1, -1).clone().requires_grad_()
    log_probs, row = leaf.log_softmax(-1), torch.arange(count)[:, None]
    state, chosen = env.reset(prompt), []
    for _ in range(env.horizon):
        at = log_probs[row, env.context_index(env.observe(state))]
        token = torch.multinomial(at.detach().exp().flatten(0, 1), 1, generator=generator).view(count, size)
        chosen.append(choose(at, token))
        state = env.step(state, token)
    log_prob = torch.stack(chosen, -1).unsqueeze(1)  # [N, 1, G, T]
    reward = env.reward(state).to(logits.dtype).unsqueeze(1)
    batch = Batch(log_prob.detach(), torch.ones_like(log_prob, dtype=torch.bool), reward)
    (gradient,) = torch.autograd.grad(get(name).loss(log_prob, batch).value.sum(), leaf)
    return gradient


@pytest.mark.parametrize("env", WORLDS)
@pytest.mark.parametrize("name", ["rloo", "grpo"])
def test_mean_and_variance_are_those_of_sampled_groups(env: TokenEnv, name: str) -> None:
    """20,000 sampled groups. Standard errors are the sample's own: of a mean sd/sqrt(n), of a variance
    sqrt((m4 - var^2)/n). 5.5 of them are asked of at most 24 entries each: by the normal law a failure has
    probability 4e-8 an entry, below 1e-5 in all four cases; the seed is fixed besides.
    """
    logits, size, count = random_logits(env), 2, 20_000
    exact = gradient_moments(get(name), env, logits, group=size)
    sample = sampled_gradients(name, env, logits, size, count)
    centered = sample - sample.mean(0)
    variance = centered.square().mean(0)
    error = (variance / count).sqrt()
    assert ((sample.mean(0) - exact.mean).abs() <= 5.5 * error + 1e-12).all()
    fourth = centered.pow(4).mean(0)
    # The mean is estimated too, which takes var/n off the variance: far below the error.
    error = ((fourth - variance.square()).clamp(min=0) / count).sqrt()
    assert ((variance - exact.variance).abs() <= 5.5 * error + variance / count + 1e-12).all()
    assert float((exact.variance / error.clamp(min=1e-12)).max()) > 20  # the sample tells the largest variance to 5 %


# The sampled flow -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("env", WORLDS)
def test_the_sampled_flow_of_rloo_is_unbiased_and_dr_grpo_has_its_share(env: TokenEnv) -> None:
    logits, size = random_logits(env), 3
    rloo = entropy_flow_moments(get("rloo"), env, logits, group=size)
    close(rloo.bias, torch.zeros((), dtype=torch.float64))
    assert float(rloo.variance) > 0
    share = 1 / env.horizon
    dr_grpo = entropy_flow_moments(get("dr_grpo"), env, logits, group=size, scale=share)
    close(dr_grpo.bias, -share * rloo.exact / size)  # ((G-1)/G - 1) of the flow
    close(dr_grpo.variance, rloo.variance * (share * (size - 1) / size) ** 2)


def test_the_variance_of_the_sampled_flow_falls_with_the_prompts() -> None:
    one, many = (entropy_flow_moments(get("grpo"), CHAIN, random_logits(CHAIN), group=2, prompts=n) for n in (1, 5))
    close(many.variance, one.variance / 5)
    close(many.mean, one.mean)


def test_the_sampled_flow_has_the_moments_of_sampled_groups() -> None:
    """20,000 sampled groups, two numbers; 5.5 standard errors of each, as for the gradients above."""
    logits, count = random_logits(CHAIN), 20_000
    exact = entropy_flow_moments(get("grpo"), CHAIN, logits, group=2)
    sample = entropy_flow(CHAIN, logits, sampled_gradients("grpo", CHAIN, logits, 2, count))
    variance, fourth = sample.var(), (sample - sample.mean()).pow(4).mean()
    assert abs(float(sample.mean() - exact.mean)) <= 5.5 * float((variance / count).sqrt())
    error = float(((fourth - variance.square()) / count).sqrt())
    assert abs(float(variance - exact.variance)) <= 5.5 * error + float(variance) / count
    assert float(variance) > 20 * error
