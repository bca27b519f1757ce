"""Do a few tokens carry the covariance of log-probability and advantage?"""

from __future__ import annotations

import torch
from torch import Tensor

from toybed.agents.heads import check_no_heads
from toybed.envs.core import TokenEnv, check_listable, sample_of

PROMPTS = 128  # train prompts, a fixed sample
SHARE = 0.02  # of the tokens, as published


def covariance_tail(env: TokenEnv, table: Tensor, start: Tensor) -> dict[str, Tensor]:
    """Do a few tokens carry the covariance of log-probability and advantage?

    Over the tokens of the policy's own responses to train prompts, exactly: each one's share of the covariance, ``(log
    pi - mean log pi)(A - mean A)``, with GRPO's advantage in the limit of a large group (the reward, standardised for
    each prompt; 0 where all responses are right, or none).

    Returns:
        ``covariance_all``, the mean of these over all tokens, and ``covariance_top``, over the 2 % with the largest.

    Raises:
        ToybedError: the policy has heads, or noise decides what becomes of tokens.
    """
    check_no_heads(env, "the probe covariance_tail")
    check_listable(env)
    prompts = sample_of(env.prompts("train"), PROMPTS)
    whole, top = zip(*(_of_run(env, run.double(), prompts) for run in table), strict=True)
    return {"covariance_all": torch.stack(whole), "covariance_top": torch.stack(top)}


def _of_run(env: TokenEnv, table: Tensor, prompts: Tensor) -> tuple[Tensor, Tensor]:
    """Mean over all tokens, and over the largest ones, of one policy ``[C, V]``."""
    log_prob, reward = _tokens(env, table, prompts)
    weight = log_prob.sum(-1).exp()  # [P, N]
    success = (weight * reward).sum(1, keepdim=True)
    spread = (success * (1 - success)).clamp(min=0).sqrt()
    advantage = torch.where(spread > 0, (reward - success) / spread, 0.0)
    weight = (weight / weight.sum()).unsqueeze(-1).expand_as(log_prob) / env.horizon
    x, a = log_prob - (weight * log_prob).sum(), advantage.unsqueeze(-1)
    product = x * (a - (weight * a).sum())
    return (weight * product).sum(), mean_of_largest(product.flatten(), weight.flatten(), SHARE)


def _tokens(env: TokenEnv, table: Tensor, prompts: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probability of each token of every response ``[P, N, T]``, and rewards ``[P, N]``, N = V^T."""
    tokens = torch.arange(env.vocabulary, device=env.device)
    state = env.reset(prompts[:, None])
    found = torch.zeros(len(prompts), 1, 0, dtype=table.dtype, device=env.device)
    for _ in range(env.horizon):
        context = env.context_index(env.observe(state))
        own = table[context].flatten(1).unsqueeze(-1)
        found = torch.cat([found.repeat_interleave(env.vocabulary, 1), own], -1)
        branches = (part.repeat_interleave(env.vocabulary, 1) for part in state)
        state = env.step(type(state)(*branches), tokens.repeat(context.shape[1]).expand(len(prompts), -1))
    return found, (env.reward(state) == 1).to(table.dtype)


def mean_of_largest(value: Tensor, weight: Tensor, share: float) -> Tensor:
    """The mean of the values that are largest and together have this share of the weight.

    Args:
        value: ``[K]``.
        weight: ``[K]``, with a sum of 1; of the value that straddles the edge only the part inside counts.
        share: above 0, at most 1.
    """
    order = value.argsort(descending=True)
    edges = weight[order].cumsum(0).clamp(max=share)
    inside = edges.diff(prepend=edges.new_zeros(1))
    return (inside * value[order]).sum() / inside.sum()
