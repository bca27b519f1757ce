"""The contract of a world, as a check that anyone can run on their own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from toybed.envs.core import TokenEnv
from toybed.testing.cases import LawBroken


def check_token_env(env: TokenEnv, *, episodes: int = 64, seed: int = 0) -> None:
    """Raise unless a world keeps the contract of :class:`~toybed.envs.core.TokenEnv`.

    Args:
        env: the world; small enough to enumerate if its exact values are to be checked. Of one that is not tabulated
            they are not: nothing is listed there.
        episodes: random episodes that are walked.
        seed: of these episodes.

    Raises:
        LawBroken: what does not hold, in one line.
    """
    random = torch.Generator().manual_seed(seed)
    if env.tabulated:
        contexts = env.contexts()
        _require(
            torch.equal(env.context_index(contexts), torch.arange(len(contexts))),
            "context_index(contexts()) is not 0, 1, 2, ...: a table policy would read the wrong rows",
        )
    train, test, every = (env.prompts(split) for split in ("train", "test", "all"))
    _require(bool(torch.isin(torch.cat([train, test]), every).all()), "a split has prompts that 'all' has not")
    _require(
        len(env.kinds) == env.horizon, f"kinds has {len(env.kinds)} entries; expected one for each of the T tokens"
    )
    prompt = every[torch.randint(len(every), (episodes,), generator=random)]
    noise = torch.rand(episodes, env.noise, generator=random) if env.noise else None
    scores = torch.rand(env.horizon, episodes, env.vocabulary, generator=random)
    state, again = env.reset(prompt, noise), env.reset(prompt, noise)
    single = env.reset(prompt[0], None if noise is None else noise[0])
    _require(bool((env.reward(state) == 0).all()), "reward is not 0 before the first token")
    _check_vector(env, state, bool(env.reward_names))
    sizes = torch.tensor(env.observation_sizes)
    for score in scores:
        observation = env.observe(state)
        token = _legal_token(env, state, observation, score)
        _require(observation.dtype == torch.int64, f"observe gives {observation.dtype}; expected int64")
        _require(
            bool(((observation >= 0) & (observation < sizes)).all()), "an observation is outside observation_sizes"
        )
        _require(
            torch.equal(observation, env.observe(again)), "the same prompt, noise and tokens give other observations"
        )
        _require(
            torch.equal(observation[0], env.observe(single)), "an episode alone differs from the same one in a batch"
        )
        state, again, single = env.step(state, token), env.step(again, token), env.step(single, token[0])
    _require(torch.equal(env.reward(state), env.reward(again)), "the same prompt, noise and tokens give other rewards")
    _require(
        torch.isclose(env.reward(state)[0], env.reward(single)), "an episode alone has another reward than in a batch"
    )
    _check_vector(env, state, False)
    _check_illegal(env, env.reset(prompt, noise), scores)
    if env.tabulated:
        exact = float(env.evaluate(env.uniform().float()).reward.double().mean())
        _require(
            abs(exact - env.random_baseline()) < 1e-4,
            f"random_baseline() is {env.random_baseline():.5f}, but the uniform policy is worth {exact:.5f}",
        )
    _require(env.random_baseline() <= env.optimum() + 1e-9, "optimum() is below random_baseline()")


def _legal_token(env: TokenEnv, state: Any, observation: Tensor, score: Tensor) -> Tensor:
    """The legal token of the highest score ``[episodes, V]``, once what is said about legality agrees."""
    legal, seen = env.legal(state), env.legal_at(observation)
    _require((legal is None) == (seen is None), "legal and legal_at differ: one of them is None")
    if legal is None or seen is None:
        return score.argmax(-1)
    _require(torch.equal(legal, seen), "legal and legal_at differ: a policy's table and its samples would, too")
    _require(bool(legal.any(-1).all()), "no token is legal in some state")
    return score.masked_fill(~legal, -1.0).argmax(-1)


def _check_illegal(env: TokenEnv, state: Any, scores: Tensor) -> None:
    """A response with an illegal token has no reward; here the first one that there is, then legal ones."""
    spoiled = torch.zeros(scores.shape[1], dtype=torch.bool)
    for score in scores:
        legal = env.legal(state)
        if legal is None:
            return
        now = ~spoiled & ~legal.all(-1)
        token = score.masked_fill(torch.where(now[:, None], legal, ~legal), -1.0).argmax(-1)
        spoiled, state = spoiled | now, env.step(state, token)
    _require(bool((env.reward(state)[spoiled] == 0).all()), "a response with an illegal token has a reward")


def _check_vector(env: TokenEnv, state: Any, at_start: bool) -> None:
    """The reward vector has the shape that its names promise, and is 0 at the start."""
    if not env.reward_names:
        return
    vector = env.reward_vector(state)
    shape = (*env.reward(state).shape, *((env.set_size,) if env.set_size > 1 else ()), len(env.reward_names))
    _require(tuple(vector.shape) == shape, f"reward_vector has shape {list(vector.shape)}; expected {list(shape)}")
    _require(not at_start or bool((vector == 0).all()), "the reward vector is not 0 before the first token")


def _require(holds: bool | Tensor, message: str) -> None:
    if not bool(holds):
        raise LawBroken(message)
