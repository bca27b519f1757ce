"""Supervised fine-tuning on demonstrations: how the base policy comes about."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from toybed.agents.config import Supervised
from toybed.agents.optimization import StackedAdam
from toybed.agents.policies import Policy
from toybed.agents.rollout import Rollout, draw_prompts, rollout
from toybed.envs.core import TokenEnv
from toybed.errors import unknown
from toybed.streams import Streams


def demonstrations(env: TokenEnv, policy: Callable[[Tensor], Tensor], count: int, streams: Streams) -> Rollout:
    """``count`` responses of a demonstrator to train prompts: a rollout with B = ``count`` and G = 1."""
    prompt = draw_prompts(env.prompts("train"), count, streams)
    return rollout(env, lambda observation, legal: policy(observation), prompt, 1, streams)


def fine_tune(env: TokenEnv, policy: Policy, config: Supervised, streams: Streams) -> Tensor:
    """Fit the policies, in place, to demonstrations by maximum likelihood, stage by stage.

    The minimiser is the demonstrations' own conditional distribution, habits and mistakes included: a base policy
    with an entropy, and not the best one. With ``right_only`` it is that of the right ones among them.

    A run that diverges ends with parameters that are not numbers.

    Returns:
        The loss of each run at each step of the last stage, nats per token, ``[steps, S]``.

    Raises:
        ToybedError: the world's demonstrator has no such option.
    """
    for stage in config.stages:
        _check_demonstrator(env, stage.demonstrator)
    return [_fit(env, policy, stage, streams) for stage in config.stages][-1]


def get_demonstrator(env: TokenEnv, style: Mapping[str, Any]) -> Callable[[Tensor], Tensor]:
    """The world's demonstrator of that style: from an observation ``[..., F]`` to log-probabilities ``[..., V]``.

    Raises:
        ToybedError: it has no such option.
    """
    _check_demonstrator(env, style)
    return env.demonstrate(**style)


def _check_demonstrator(env: TokenEnv, style: Mapping[str, Any]) -> None:
    options = inspect.signature(env.demonstrator if env.tabulated else env.demonstrate).parameters
    for name in style:
        if name not in options:
            raise unknown(f"option of {env.title}'s demonstrator", name, options)


def _fit(env: TokenEnv, policy: Policy, config: Supervised, streams: Streams) -> Tensor:
    """One stage: the loss of each run at each step, ``[steps, S]``."""
    demonstrator = env.demonstrate(**config.demonstrator)
    optimizer = StackedAdam(policy, config.learning_rate, max_grad_norm=1.0)
    losses = []
    for _ in range(config.steps):
        demo = demonstrations(env, demonstrator, config.demonstrations, streams)
        log_prob = policy.choices(demo.observation, demo.legal).log_prob(demo.token)
        loss = -(mean_of_right(log_prob, demo.reward) if config.right_only else log_prob.mean((1, 2, 3)))
        optimizer.step(loss)
        losses.append(loss.detach())
    if bool(optimizer.diverged.any()):
        # Not the policy of some step on the way: whoever starts from it has to know.
        with torch.no_grad():
            for parameter in policy.parameters():
                parameter[optimizer.diverged] = torch.nan
    return torch.stack(losses) if losses else torch.zeros(0, policy.runs)


def mean_of_right(log_prob: Tensor, reward: Tensor) -> Tensor:
    """Mean of ``log_prob [S, B, G, T]`` over the tokens of responses with ``reward [S, B, G]`` 1, 0 without one."""
    right = (reward == 1).to(log_prob.dtype)
    return (log_prob.mean(-1) * right).sum((1, 2)) / right.sum((1, 2)).clamp(min=1)
