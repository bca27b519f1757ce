"""Sampling responses from a policy in a world: all runs, prompts and responses at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from toybed.agents.choices import Choices, draw
from toybed.agents.config import Learning
from toybed.agents.policies import LogProbs, Policy, chooses_from, states
from toybed.envs.core import TokenEnv
from toybed.errors import ToybedError
from toybed.streams import Streams


class Reads(Protocol):
    """What reads whole responses: a policy, or one with parameters of another."""

    def choices(self, observation: Tensor, legal: Tensor | None = None, *, shared_start: bool = False) -> Choices:
        """As :meth:`~toybed.agents.policies.Policy.choices`."""


class Rollout(NamedTuple):
    """Sampled responses.

    ===============  =================  ================================================
    field            shape              meaning
    ===============  =================  ================================================
    ``prompt``       [S, B]             prompt numbers
    ``observation``  [S, B, G, T, F]    what the policy saw before each token
    ``legal``        [S, B, G, T, V]    which tokens were allowed; None where all were
    ``token``        [S, B, G, T]       what it chose
    ``log_prob``     [S, B, G, T]       log-probability of the choice
    ``entropy``      [S, B, G, T]       full-vocabulary entropy at the position, nats
    ``reward``       [S, B, G]          reward of the response
    ``vector``       [S, B, G, (M,) D]  its components; None where the world has none
    ``tempered``     [S, B]             groups that were sampled at a temperature of their own; None without any
    ``source``       [S, B, G]          where each comes from, as in a batch, -1: it is left out; None: all sampled
    ``paid``         [S, B, G, T]       reward of each token; None where it was not asked for
    ===============  =================  ================================================
    """

    prompt: Tensor
    observation: Tensor
    legal: Tensor | None
    token: Tensor
    log_prob: Tensor
    entropy: Tensor
    reward: Tensor
    vector: Tensor | None = None
    tempered: Tensor | None = None
    source: Tensor | None = None
    paid: Tensor | None = None


def sample_tokens(log_probs: Tensor, uniform: Tensor) -> Tensor:
    """Tokens ``[...]`` from log-probabilities ``[..., V]``, which need not be normalised, and numbers in [0, 1)."""
    return draw(log_probs.exp().cumsum(-1), uniform)


def temper(log_probs: Tensor, temperature: Tensor) -> Tensor:
    """``log_probs / temperature``, not normalised; at a temperature of 1 they are as they were, bit for bit.

    Args:
        log_probs: ``[..., V]``.
        temperature: broadcasts against ``[..., 1]``.
    """
    # The likeliest token keeps its log-probability: at a low temperature all would be too small to be numbers.
    top = log_probs.amax(-1, keepdim=True)
    return log_probs / temperature - (top / temperature - top)


def draw_prompts(pool: Tensor, count: int, streams: Streams, runs: Sequence[bool] | None = None) -> Tensor:
    """``count`` prompts for each run, uniformly with replacement from ``pool [P]`` or ``[S, P]``: ``[S, count]``."""
    uniform, size = streams.uniform((count,), runs), pool.shape[-1]
    return pool.expand(len(streams), -1).gather(1, (uniform * size).long().clamp(max=size - 1))


def training_prompts(env: TokenEnv, config: Learning, seeds: Sequence[int]) -> Tensor:
    """The train prompts that each run draws from, ``[S, P]``: all, or the part that the config names.

    Which prompts are in a part is drawn by the run's seed, and by nothing else: parts of one seed fit together.

    Raises:
        ToybedError: the part holds no prompt.
    """
    pool = env.prompts("train").expand(len(seeds), -1)
    if config.train_on == (0, 1):
        return pool
    count = pool.shape[1]
    first, last = (round(share * count) for share in config.train_on)
    if first == last:
        raise ToybedError(f"Learning: train_on is {config.train_on}; no prompt of {count} lies in that range")
    order = Streams("parts of the prompts", seeds, env.device).uniform((count,)).argsort(dim=1, stable=True)
    return pool.gather(1, order[:, first:last].sort(1).values)


def later_draws(config: Learning, stage: int) -> str:
    """What the names of a run's streams end in, so that it draws others than earlier runs and than its replicates."""
    return (f"/{stage}" if stage else "") + (f"+{config.replicate}" if config.replicate else "")


@torch.no_grad()
def rollout(
    env: TokenEnv,
    policy: Policy | LogProbs,
    prompt: Tensor,
    group: int,
    streams: Streams,
    runs: Sequence[bool] | None = None,
    *,
    stepwise: bool = False,
    temperature: Tensor | None = None,
) -> Rollout:
    """Sample ``group`` responses to each prompt.

    Args:
        env: the world.
        policy: a policy, or any function from observations to log-probabilities.
        prompt: ``[S, B]``.
        group: responses for each prompt, G.
        streams: the runs' randomness; the world's noise and all T tokens of a response are drawn in one call.
        runs: which runs draw (the others' responses are meaningless and their streams do not move).
        stepwise: whether the reward of each token is kept, too.
        temperature: at which each group is sampled, ``[S, B]``; by default 1. What is recorded is of temperature 1.
    """
    count = prompt.shape[1]
    rows = states(count, group, env.horizon, shared_start=not env.noise)
    chooses = policy.choosing(rows) if isinstance(policy, Policy) else chooses_from(policy)
    uniform = streams.uniform((env.horizon + env.noise, count, group), runs)
    noise = uniform[:, env.horizon :].movedim(1, -1) if env.noise else None
    # Without noise the responses of a group share their first state: an axis of 1 until the first token parts them.
    state = env.reset(prompt[..., None] if noise is None else prompt[..., None].expand(-1, -1, group), noise)
    observations, legals, tokens, chosen, entropies = [], [], [], [], []
    collected = []
    for t in range(env.horizon):
        observation, legal = env.observe(state), env.legal(state)
        choices = chooses(observation, legal)
        if temperature is None:
            token = choices.sample(uniform[:, t])
        else:
            token = sample_tokens(temper(choices.log_probs, temperature[..., None, None]), uniform[:, t])
        if t == 0 and noise is None:
            observation = observation.expand(-1, -1, group, -1)
            legal = None if legal is None else legal.expand(-1, -1, group, -1)
            state = type(state)(*(part.expand(*part.shape[:2], group, *part.shape[3:]) for part in state))
        if stepwise:
            collected.append(env.reward(state))
        state = env.step(state, token)
        observations.append(observation)
        legals.append(legal)
        tokens.append(token)
        chosen.append(choices.log_prob(token))
        entropies.append(choices.entropy.expand_as(token))
    reward = env.reward(state)
    return Rollout(
        prompt=prompt,
        observation=torch.stack(observations, -2),
        legal=None if legals[0] is None else torch.stack([x for x in legals if x is not None], -2),
        token=torch.stack(tokens, -1),
        log_prob=torch.stack(chosen, -1),
        entropy=torch.stack(entropies, -1),
        reward=reward,
        vector=env.reward_vector(state) if env.reward_names else None,
        paid=torch.stack([*collected, reward], -1).diff(dim=-1) if stepwise else None,
    )


def response_choices(env: TokenEnv, policy: Reads, observation: Tensor, legal: Tensor | None) -> Choices:
    """The choices at every position ``[S, B, G, T]`` of sampled responses, with gradient.

    Where a world has no noise, the responses of a group begin in one state, which a policy need not evaluate G times.

    Args:
        env: the world.
        policy: the S policies.
        observation: ``[S, B, G, T, F]``.
        legal: ``[S, B, G, T, V]`` or None.
    """
    return policy.choices(observation, legal, shared_start=not env.noise)


def response_log_probs(env: TokenEnv, policy: Reads, observation: Tensor, legal: Tensor | None) -> Tensor:
    """Log-probabilities of all tokens there, ``[S, B, G, T, V]``: as :func:`response_choices`."""
    return response_choices(env, policy, observation, legal).log_probs
