"""Refining responses: what a critique makes of them, and how a given response is read as if it had been sampled."""

from __future__ import annotations

import torch
from torch import Tensor

from toybed.agents.config import Critique
from toybed.agents.policies import Policy, normalise
from toybed.agents.rollout import Rollout, response_choices, sample_tokens
from toybed.envs import plan_exec_critiques as critiques
from toybed.envs.core import TokenEnv
from toybed.envs.plan_exec import PlanExec
from toybed.envs.plan_exec_critiques import UNTOLD
from toybed.envs.views import by_run


def refine(
    env: TokenEnv, policy: Policy, critique: Critique, prompt: Tensor, tokens: Tensor, uniform: Tensor
) -> tuple[Tensor, Tensor]:
    """Refine responses, each as long as its critique calls it wrong, at most ``critique.rounds`` times.

    Args:
        env: the world, or the runs' worlds.
        policy: the S policies, which refine.
        critique: what is said, and what becomes of it.
        prompt: ``[S, B]``.
        tokens: the responses, ``[S, B, n, T]``.
        uniform: numbers in [0, 1), ``[S, rounds + 1, T + 5, B, n]``: for the T tokens of an attempt, whether a fix is
            taken, and the critique of what came of it. Of the last round only the critique's are used: of the responses
            as they were.

    Returns:
        The responses in the end, ``[S, B, n, T]``, and how many attempts each took, ``[S, B, n]``.
    """
    length = env.horizon
    each = prompt[..., None].expand(tokens.shape[:-1])

    def say(world: PlanExec, *given: Tensor) -> critiques.Critique:
        question, response, draws = given
        return critiques.critique(world, question, response, critique.degree, noise=critique.noise, uniform=draws)

    def criticised(response: Tensor, turn: int) -> critiques.Critique:
        draws = uniform[:, turn, length + 1 :].movedim(1, -1)
        said: critiques.Critique = by_run(env, say, each, response, draws)
        return said

    said = criticised(tokens, critique.rounds)
    attempts = torch.zeros_like(each)
    for turn in range(critique.rounds):
        going_on = ~called_right(said)
        if not bool(going_on.any()):
            break
        place = torch.where(said.place == UNTOLD, 0, said.place)
        takes = (uniform[:, turn, length] < critique.comply) & (said.fix != UNTOLD)
        fix = torch.where(takes, said.fix, UNTOLD)
        attempt = try_again(env, policy, each, tokens, place, fix, said.place != UNTOLD, uniform[:, turn, :length])
        answer = criticised(attempt, turn)
        better = going_on & ((answer.share >= said.share) if critique.degree == "number" else True)
        tokens = torch.where(better[..., None], attempt, tokens)
        said = critiques.Critique(*(torch.where(better, a, b) for a, b in zip(answer, said, strict=True)))
        attempts = attempts + going_on
    return tokens, attempts


def called_right(said: critiques.Critique) -> Tensor:
    """Whether a critique says of the whole response that it is right, bool ``[...]``."""
    return (said.right == 1) | (said.share == 1)


def try_again(
    env: TokenEnv,
    policy: Policy,
    prompt: Tensor,
    tokens: Tensor,
    place: Tensor,
    fix: Tensor,
    other: Tensor,
    uniform: Tensor,
) -> Tensor:
    """Responses that keep what is before a place and go on from there, sampled from the policy: ``[S, B, n, T]``.

    Args:
        env: the world.
        policy: the S policies.
        prompt: ``[S, B, n]``.
        tokens: the responses that are kept in part, ``[S, B, n, T]``.
        place: how many of their tokens are kept, ``[S, B, n]``.
        fix: the token that comes next, ``[S, B, n]``; -1: it is sampled, too.
        other: then it is another one than it was, bool ``[S, B, n]``.
        uniform: numbers in [0, 1), ``[S, T, B, n]``.
    """
    state, chosen = env.reset(prompt), []
    vocabulary = torch.arange(env.vocabulary, device=tokens.device)
    for time, before in enumerate(tokens.unbind(-1)):
        legal, here = env.legal(state), place == time
        assert legal is not None
        allowed = legal & ~((here & other)[..., None] & (vocabulary == before[..., None]))
        with torch.no_grad():
            log_probs = policy.log_probs(env.observe(state), legal)
        token = sample_tokens(normalise(log_probs, allowed), uniform[:, time])
        token = torch.where(here & (fix != UNTOLD), fix, token)
        chosen.append(torch.where(time < place, before, token))
        state = env.step(state, chosen[-1])
    return torch.stack(chosen, -1)


@torch.no_grad()
def read(env: TokenEnv, policy: Policy, prompt: Tensor, tokens: Tensor) -> Rollout:
    """Given responses ``tokens [S, B, n, T]`` to ``prompt [S, B]`` as a rollout: as if the policy had sampled them."""
    state = env.reset(prompt[..., None].expand(tokens.shape[:-1]))
    observations, legals = [], []
    for token in tokens.unbind(-1):
        observations.append(env.observe(state))
        legals.append(env.legal(state))
        state = env.step(state, token)
    observation = torch.stack(observations, -2)
    legal = torch.stack([x for x in legals if x is not None], -2)
    choices = response_choices(env, policy, observation, legal)
    return Rollout(
        prompt=prompt,
        observation=observation,
        legal=legal,
        token=tokens,
        log_prob=choices.log_prob(tokens),
        entropy=choices.entropy,
        reward=env.reward(state),
        vector=env.reward_vector(state),
    )


def solutions(env: PlanExec, prompt: Tensor, uniform: Tensor) -> Tensor:
    """A right response to each prompt ``[...]``, all of its solutions alike: tokens ``[..., T]``.

    Random tokens are put right one after the other: a plan that is valid by chance stays, any other is replaced by one
    of the valid ones, all alike; so it is uniform among these, and plans are independent.

    Args:
        env: the world.
        prompt: ``[...]``.
        uniform: numbers in [0, 1), ``[..., T (1 + DRAWS)]``: for the random tokens, then for each fix.
    """
    length = env.horizon
    draws = uniform[..., length:].unflatten(-1, (length, critiques.DRAWS))
    plans = (uniform[..., :length] * env.skills).long().clamp(max=env.skills - 1)
    planning = torch.arange(length, device=prompt.device) % 2 == 0
    tokens = torch.where(planning, plans, env.skills)
    for turn in range(length):
        tokens = critiques.followed(tokens, critiques.critique(env, prompt, tokens, uniform=draws[..., turn, :]))
    return tokens
