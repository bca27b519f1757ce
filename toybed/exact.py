"""Exact answers in small worlds, by enumeration: the expected gradient of an objective, and what it does to entropy.

A table policy is a tensor of logits ``[C, V]`` over the world's contexts. All groups of G responses to each prompt are
enumerated with their probabilities, so that nothing here has sampling noise: what an objective *is* can be told from
what one batch happened to show.
"""

from __future__ import annotations

from itertools import combinations_with_replacement
from math import comb, lgamma
from typing import NamedTuple

import torch
from torch import Tensor

from toybed.agents.choices import choose
from toybed.envs.core import TokenEnv, check_listable
from toybed.errors import ToybedError
from toybed.measures.entropy import token_entropy
from toybed.objectives.batch import Batch
from toybed.objectives.objective import Objective

MAX_GROUPS = 200_000


class Groups(NamedTuple):
    """Every group of G responses to every prompt, order aside.

    Attributes:
        prompt: ``[M]``, the prompt of each group.
        context: ``[M, G, T]``, the context of each token, as a row of the policy's table.
        token: ``[M, G, T]``.
        reward: ``[M, G]``, noise-free; or its components, as a batch has them.
        log_count: ``[M]``, log of the number of orders of the group.
    """

    prompt: Tensor
    context: Tensor
    token: Tensor
    reward: Tensor
    log_count: Tensor

    def log_probability(self, log_probs: Tensor) -> Tensor:
        """Log-probability of each group given its prompt, ``[M]``, under a table ``[C, V]``."""
        return choose(log_probs[self.context], self.token).sum((1, 2)) + self.log_count


def groups(env: TokenEnv, group: int, split: str = "train", *, vectors: bool = False) -> Groups:
    """Enumerate all groups of ``group`` responses to each prompt of a split, with reward vectors if asked for.

    Raises:
        ToybedError: there are more than 200,000, some tokens are illegal, or rewards depend on noise.
    """
    check_listable(env)
    if env.legal_at(env.contexts()) is not None:
        raise ToybedError(f"{env.title}: groups are enumerated only where all tokens are always legal")
    prompts = env.prompts(split)
    responses = env.vocabulary**env.horizon
    count = len(prompts) * comb(responses + group - 1, group)
    if count > MAX_GROUPS:
        raise ToybedError(f"{count} groups of {group} responses are too many to enumerate (at most {MAX_GROUPS})")
    numbers = torch.arange(responses, device=env.device)
    digits = env.vocabulary ** torch.arange(env.horizon - 1, -1, -1, device=env.device)
    token = (numbers[:, None] // digits % env.vocabulary).expand(len(prompts), -1, -1)  # [P, N, T]
    state, contexts = env.reset(prompts[:, None].expand(-1, responses)), []
    for t in range(env.horizon):
        contexts.append(env.context_index(env.observe(state)))
        state = env.step(state, token[..., t])
    members = torch.tensor(list(combinations_with_replacement(range(responses), group)), device=env.device)  # [M', G]
    sizes = (members[:, :, None] == numbers).sum(1).double()
    log_count = lgamma(group + 1) - torch.lgamma(sizes + 1).sum(1)

    def each(value: Tensor) -> Tensor:
        return value[:, members].flatten(0, 1)

    return Groups(
        prompt=prompts.repeat_interleave(len(members)),
        context=each(torch.stack(contexts, -1)),
        token=each(token),
        reward=each(env.reward_vector(state) if vectors else env.reward(state)),
        log_count=log_count.repeat(len(prompts)),
    )


class Moments(NamedTuple):
    """Mean and variance, over what may be sampled; of a gradient both are ``[C, V]``."""

    mean: Tensor
    variance: Tensor


def gradient_moments(
    objective: Objective,
    env: TokenEnv,
    logits: Tensor,
    *,
    group: int,
    logits_old: Tensor | None = None,
    logits_ref: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Moments:
    """Exact moments of the gradient of an objective's loss on one group of a prompt drawn uniformly.

    The mean is the expected gradient, whatever the batch, of every objective that treats prompts apart. One that
    couples them (a whitening, a selection over the batch) sees a batch of one prompt here; for its limit of a large
    batch use :func:`large_batch_gradient`.

    Args:
        objective: what is differentiated.
        env: the world; its train prompts.
        logits: the current policy, float64, ``[C, V]``.
        group: responses in a group, G.
        logits_old: the policy that sampled; the current one by default (ratio 1).
        logits_ref: the reference policy, where the objective reads it; the sampling one by default.
        generator: randomness, where the objective draws; then the moments hold for these draws.
    """
    weight, gradient = _group_gradients(objective, env, logits, group, logits_old, logits_ref, generator)
    return _moments(weight[:, None, None], gradient)


class FlowMoments(NamedTuple):
    """The entropy flow of a sampled step against that of the true policy gradient, nats per unit of learning rate.

    Attributes:
        exact: of the true policy gradient, times the ``scale`` asked for.
        mean: expected flow of a sampled step.
        variance: over what may be sampled.
    """

    exact: Tensor
    mean: Tensor
    variance: Tensor

    @property
    def bias(self) -> Tensor:
        """What a sampled step costs in entropy on average, over what the true gradient would cost."""
        return self.mean - self.exact


def entropy_flow_moments(
    objective: Objective,
    env: TokenEnv,
    logits: Tensor,
    *,
    group: int,
    prompts: int = 1,
    scale: float = 1.0,
    logits_old: Tensor | None = None,
    logits_ref: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> FlowMoments:
    """Exact entropy flow, and exact bias and variance of the flow that a sampled batch causes.

    For objectives that treat prompts apart, as in :func:`gradient_moments`; other arguments are as there.

    Args:
        prompts: prompts of a batch, drawn independently: the variance is that of one group divided by it.
        scale: what the objective's loss multiplies the policy gradient by; a mean over T tokens has 1/T.
    """
    weight, gradient = _group_gradients(objective, env, logits, group, logits_old, logits_ref, generator)
    flow = _moments(weight, entropy_flow(env, logits, gradient))
    exact = scale * entropy_flow(env, logits, -reward_gradient(env, logits))
    return FlowMoments(exact, flow.mean, flow.variance / prompts)


def _group_gradients(
    objective: Objective,
    env: TokenEnv,
    logits: Tensor,
    group: int,
    logits_old: Tensor | None,
    logits_ref: Tensor | None,
    generator: torch.Generator | None,
) -> tuple[Tensor, Tensor]:
    """Probability ``[M]`` of every group, and the gradient ``[M, C, V]`` of the loss on it alone."""
    every = groups(env, group, vectors=bool(objective.takes_vectors and env.reward_names))
    old = logits if logits_old is None else logits_old
    leaf = logits.detach().expand(len(every.prompt), -1, -1).clone().requires_grad_()
    value = _loss(objective, leaf, old, logits_ref, every, generator)
    return _weights(every, old), torch.autograd.grad(value.sum(), leaf)[0]


def _moments(weight: Tensor, value: Tensor) -> Moments:
    mean = (weight * value).sum(0)
    return Moments(mean, (weight * (value - mean).square()).sum(0))


def large_batch_gradient(
    objective: Objective,
    env: TokenEnv,
    logits: Tensor,
    *,
    group: int,
    logits_old: Tensor | None = None,
    logits_ref: Tensor | None = None,
    generator: torch.Generator | None = None,
    prompts: int = 20_000,
) -> Tensor:
    """Gradient ``[C, V]`` on one batch that holds every group in proportion to its probability.

    The limit of an infinite batch, for objectives that couple prompts too. Proportions are rounded to ``1 / prompts``.
    Arguments as in :func:`gradient_moments`.
    """
    every = groups(env, group, vectors=bool(objective.takes_vectors and env.reward_names))
    old = logits if logits_old is None else logits_old
    # Rounding the cumulative sums: every proportion is within one prompt of the exact one, and they add up.
    steps = (_weights(every, old).cumsum(0) * prompts).round().long()
    times = torch.diff(steps, prepend=steps.new_zeros(1))
    batch = Groups(*(part.repeat_interleave(times, 0) for part in every))
    leaf = logits.detach().clone().requires_grad_()
    value = _loss(objective, leaf, old, logits_ref, batch, generator)
    gradient: Tensor = torch.autograd.grad(value, leaf)[0]
    return gradient


def _loss(
    objective: Objective,
    leaf: Tensor,
    old: Tensor,
    ref: Tensor | None,
    every: Groups,
    generator: torch.Generator | None,
) -> Tensor:
    """The loss on all groups: each a run where the leaf is ``[M, C, V]``, one batch where it is ``[C, V]``."""
    apart = leaf.ndim == 3
    log_probs = torch.log_softmax(leaf, -1)
    row = torch.arange(len(every.prompt), device=leaf.device)[:, None, None]
    full = log_probs[row, every.context] if apart else log_probs[every.context]  # [M, G, T, V]

    def batched(value: Tensor) -> Tensor:
        return value.unsqueeze(1) if apart else value

    def fixed(table: Tensor) -> Tensor:
        return batched(choose(torch.log_softmax(table.detach(), -1)[every.context], every.token))

    batch = Batch(
        log_prob_old=fixed(old),
        mask=batched(torch.ones_like(every.token, dtype=torch.bool)),
        reward=batched(every.reward.to(leaf.dtype)),
        log_prob_ref=fixed(old if ref is None else ref),
        entropy_old=batched(token_entropy(torch.log_softmax(old.detach(), -1)[every.context])),
    )
    return objective.loss(
        batched(choose(full, every.token)),
        batch,
        entropy=batched(token_entropy(full)),
        log_probs=batched(full),
        generator=generator,
    ).value


def _weights(every: Groups, old: Tensor) -> Tensor:
    """Probability of each group when prompts are drawn uniformly, ``[M]``."""
    log_p = every.log_probability(torch.log_softmax(old.detach(), -1))
    return (log_p.exp() / len(every.prompt.unique())).to(old.dtype)


def reward_gradient(env: TokenEnv, logits: Tensor) -> Tensor:
    """The true policy gradient: of the mean expected reward on train prompts, ``[C, V]``."""
    return _gradient_of(env, logits, "reward")


def entropy_gradient(env: TokenEnv, logits: Tensor) -> Tensor:
    """Gradient of the mean token entropy (nats) over the policy's own rollouts on train prompts, ``[C, V]``."""
    return _gradient_of(env, logits, "entropy")


def _gradient_of(env: TokenEnv, logits: Tensor, what: str) -> Tensor:
    leaf = logits.detach().clone().requires_grad_()
    exact = env.evaluate(torch.log_softmax(leaf, -1))
    value = exact.reward if what == "reward" else exact.entropy / env.horizon
    train = torch.isin(env.prompts(), env.prompts("train"))
    gradient: Tensor = torch.autograd.grad(value[train].mean(), leaf)[0]
    return gradient


def entropy_flow(env: TokenEnv, logits: Tensor, gradient: Tensor) -> Tensor:
    """Change of the mean token entropy for each unit of learning rate, for a plain gradient step on a loss.

    ``dH/d eta = -<grad H, grad loss>``, exact to first order. ``gradient`` may have leading axes: ``[..., C, V]``
    gives ``[...]``.
    """
    return -(entropy_gradient(env, logits) * gradient).sum((-2, -1))
