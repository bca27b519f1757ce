"""The contract of a world, as a check that anyone can run on their own."""

from __future__ import annotations

import torch
from torch import Tensor

from toybed.envs.core import TokenEnv
from toybed.testing.cases import LawBroken


def check_token_env(env: TokenEnv, *, episodes: int = 64, seed: int = 0) -> None:
    """Raise unless a world keeps the contract of :class:`~toybed.envs.core.TokenEnv`.

    Args:
        env: the world; small enough to enumerate if its exact values are to be checked.
        episodes: random episodes that are walked.
        seed: of these episodes.

    Raises:
        LawBroken: what does not hold, in one line.
    """
    random = torch.Generator().manual_seed(seed)
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
    tokens = torch.randint(env.vocabulary, (env.horizon, episodes), generator=random)
    state, again = env.reset(prompt, noise), env.reset(prompt, noise)
    single = env.reset(prompt[0], None if noise is None else noise[0])
    _require(bool((env.reward(state) == 0).all()), "reward is not 0 before the first token")
    sizes = torch.tensor(env.observation_sizes)
    for token in tokens:
        observation = env.observe(state)
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
    uniform = torch.full((len(contexts), env.vocabulary), -float(torch.tensor(float(env.vocabulary)).log()))
    exact = float(env.evaluate(uniform).reward.double().mean())
    _require(
        abs(exact - env.random_baseline()) < 1e-4,
        f"random_baseline() is {env.random_baseline():.5f}, but the uniform policy is worth {exact:.5f}",
    )
    _require(env.random_baseline() <= env.optimum() + 1e-9, "optimum() is below random_baseline()")


def _require(holds: bool | Tensor, message: str) -> None:
    if not bool(holds):
        raise LawBroken(message)
