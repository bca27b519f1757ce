"""What policies are worth in a world whose contexts cannot be listed: from samples, exact in the last token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from toybed.agents.policies import LogProbs
from toybed.agents.rollout import sample_tokens
from toybed.envs.core import TokenEnv
from toybed.measures.entropy import token_entropy
from toybed.streams import Streams

RESPONSES = 4
"""Sampled responses to a prompt; one where its only token is summed over, so that nothing is sampled at all."""

ROWS = 2**9
"""Responses of each run that are read at once: not of all runs, so that a run draws in a stack what it draws alone.
Much more no longer fit the cache."""


class Chooses(Protocol):
    """What tokens are sampled from: S policies, or what is made of them."""

    @property
    def runs(self) -> int:
        """S."""

    def follow(self) -> LogProbs:
        """As :meth:`~toybed.agents.policies.Policy.follow`."""


class SampledWorth(NamedTuple):
    """Estimates without bias; exact where a response is one token.

    Attributes:
        reward: expected reward, ``[S, P]``.
        entropy: of the response, nats *per sequence*, ``[S, P]``.
        state: before the last token of the sampled responses, axes ``[S, P, G]``.
        answer: probabilities of the last token, ``[S, P, G, V]``.
    """

    reward: Tensor
    entropy: Tensor
    state: Any
    answer: Tensor


@torch.no_grad()
def sampled_worth(env: TokenEnv, policy: Chooses, prompt: Tensor, seeds: Sequence[int]) -> SampledWorth:
    """Sample all tokens of a few responses but their last one, which is summed over.

    A policy is measured with the same random numbers every time, so that what differs between two measurements is the
    policy.

    Args:
        env: the world.
        policy: the S policies.
        prompt: ``[P]``.
        seeds: the S runs' root seeds; the numbers are of a stream of their own.
    """
    group = 1 if env.horizon == 1 and not env.noise else RESPONSES
    streams = Streams("measure", seeds, env.device)
    parts = prompt.split(ROWS // group)
    pieces = [_piece(env, policy, part, group, streams) for part in parts]
    states = [piece.state for piece in pieces]
    state = type(states[0])(*(torch.cat(fields, 1) for fields in zip(*states, strict=True)))
    joined = {
        name: torch.cat([getattr(piece, name) for piece in pieces], 1) for name in ("reward", "entropy", "answer")
    }
    return SampledWorth(state=state, **joined)


def _piece(env: TokenEnv, policy: Chooses, prompt: Tensor, group: int, streams: Streams) -> SampledWorth:
    uniform = streams.uniform((env.horizon - 1 + env.noise, len(prompt), group))
    noise = uniform[:, env.horizon - 1 :].movedim(1, -1) if env.noise else None
    state = env.reset(prompt[None, :, None].expand(policy.runs, -1, group), noise)
    log_probs_of = policy.follow()
    entropy = torch.zeros(policy.runs, len(prompt), group, device=env.device)
    for t in range(env.horizon - 1):
        log_probs = log_probs_of(env.observe(state), env.legal(state))
        entropy = entropy + token_entropy(log_probs)
        state = env.step(state, sample_tokens(log_probs, uniform[:, t]))
    log_probs = log_probs_of(env.observe(state), env.legal(state))
    entropy, answer = entropy + token_entropy(log_probs), log_probs.exp()
    reward = (answer * _paid(env, state)).sum(-1)
    return SampledWorth(reward.mean(2), entropy.mean(2), state, answer)


def _paid(env: TokenEnv, state: Any) -> Tensor:
    """The reward after each possible last token, ``[S, P, G, V]``."""

    def branched(part: Tensor) -> Tensor:
        return part.unsqueeze(3).expand(*part.shape[:3], env.vocabulary, *part.shape[3:])

    branches = type(state)(*map(branched, state))
    token = torch.arange(env.vocabulary, device=env.device)
    return env.reward(env.step(branches, token.expand(branches[0].shape[:4])))
