"""Views of worlds: a world as somebody else sees it, and the worlds of several runs as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any, Self

import torch
from torch import Tensor

from toybed.envs.core import Reading, TokenEnv
from toybed.errors import ToybedError


@dataclass(frozen=True)
class View(TokenEnv):
    """A world whose facts are those of another one; a sub-class says how it moves and what is true in it.

    Args:
        env: the other world.
    """

    env: TokenEnv

    @property
    def title(self) -> str:
        """As the world's: nobody names the view in a setting."""
        return self.env.title

    @property
    def horizon(self) -> int:
        """As the world's."""
        return self.env.horizon

    @property
    def vocabulary(self) -> int:
        """As the world's."""
        return self.env.vocabulary

    @property
    def observation_sizes(self) -> tuple[int, ...]:
        """As the world's."""
        return self.env.observation_sizes

    @property
    def reading(self) -> Reading | None:
        """As the world's."""
        return self.env.reading

    def position(self, observation: Tensor) -> Tensor:
        """As the world's."""
        return self.env.position(observation)

    @property
    def tabulated(self) -> bool:
        """As the world's."""
        return self.env.tabulated

    @property
    def n_prompts(self) -> int:
        """As the world's."""
        return self.env.n_prompts

    @property
    def kinds(self) -> tuple[str, ...]:
        """As the world's."""
        return self.env.kinds

    def plans_at(self, observation: Tensor) -> Tensor:
        """As the world's."""
        return self.env.plans_at(observation)

    @property
    def noise(self) -> int:
        """As the world's."""
        return self.env.noise

    @property
    def tokens_decide(self) -> bool:
        """As the world's."""
        return self.env.tokens_decide

    @property
    def binary_reward(self) -> bool:
        """As the world's."""
        return self.env.binary_reward

    @property
    def reward_names(self) -> tuple[str, ...]:
        """As the world's."""
        return self.env.reward_names

    @property
    def set_size(self) -> int:
        """As the world's."""
        return self.env.set_size

    def contexts(self) -> Tensor:
        """As the world's."""
        return self.env.contexts()

    def context_index(self, observation: Tensor) -> Tensor:
        """As the world's."""
        return self.env.context_index(observation)

    def on(self, device: str) -> Self:
        """The same view of the world on another device."""
        return replace(self, env=self.env.on(device), device=device)


@dataclass(frozen=True)
class Worlds(View):
    """The worlds of S stacked runs, which differ in what was drawn in them and in nothing that a policy is built on.

    The first axis of all states, prompts and observations is that of the runs; each world moves its own run's part. So
    policies, objectives and optimisers are stacked, and the worlds, whose tensors are small, take turns. What is true
    of a policy is asked of each world for itself.

    Args:
        env: the first of them, for what all have in common.
        each: all S.
    """

    each: tuple[TokenEnv, ...]

    @staticmethod
    def of(each: Sequence[TokenEnv]) -> Worlds:
        """The worlds of runs.

        Raises:
            ToybedError: a policy that is built for one could not act in another.
        """
        shapes = {_shape(env) for env in each}
        if len(shapes) > 1:
            raise ToybedError(f"{each[0].title}: worlds of one stack differ in more than what was drawn: {shapes}")
        return Worlds(each[0], tuple(each), device=each[0].device)

    def reset(self, prompt: Tensor, noise: Tensor | None = None) -> Any:
        """The first states for ``prompt [S, ...]``."""
        return by_run(self, lambda env, *its: env.reset(*its), prompt, noise)

    def observe(self, state: Any) -> Tensor:
        """What each run's policy sees, ``[S, ..., F]``."""
        seen: Tensor = by_run(self, lambda env, its: env.observe(its), state)
        return seen

    def step(self, state: Any, token: Tensor) -> Any:
        """The states after ``token [S, ...]``."""
        return by_run(self, lambda env, *its: env.step(*its), state, token)

    def reward(self, state: Any) -> Tensor:
        """The rewards collected so far, ``[S, ...]``."""
        reward: Tensor = by_run(self, lambda env, its: env.reward(its), state)
        return reward

    def reward_vector(self, state: Any) -> Tensor:
        """Their components, ``[S, ..., D]``."""
        vector: Tensor = by_run(self, lambda env, its: env.reward_vector(its), state)
        return vector

    def legal(self, state: Any) -> Tensor | None:
        """Which tokens may come next, ``[S, ..., V]``."""
        legal: Tensor | None = by_run(self, lambda env, its: env.legal(its), state)
        return legal

    def legal_at(self, observation: Tensor) -> Tensor | None:
        """The same from what is seen, ``[S, ..., F]``."""
        legal: Tensor | None = by_run(self, lambda env, its: env.legal_at(its), observation)
        return legal

    def prompts(self, split: str = "all") -> Tensor:
        """Each world's own, ``[S, P]``."""
        return torch.stack([env.prompts(split) for env in self.each])

    def solutions(self, prompt: Tensor) -> Tensor:
        """Of ``prompt [S, ...]``, each in its run's world."""
        count: Tensor = by_run(self, lambda env, its: env.solutions(its), prompt)
        return count

    def difficulty(self, prompt: Tensor) -> Tensor:
        """Of ``prompt [S, ...]``, each in its run's world."""
        difficulty: Tensor = by_run(self, lambda env, its: env.difficulty(its), prompt)
        return difficulty

    def optimum(self) -> float:
        """There is one for each world."""
        raise ToybedError(f"{self.title}: each world of a stack has an optimum of its own; ask it")

    def random_baseline(self) -> float:
        """There is one for each world."""
        raise ToybedError(f"{self.title}: each world of a stack has a baseline of its own; ask it")

    @property
    def demonstrator(self) -> Callable[..., Tensor]:  # has the options of the world's own
        """There is one for each world."""

        @wraps(self.env.demonstrator)
        def none(*_: Any, **__: Any) -> Tensor:
            raise ToybedError(f"{self.title}: each world of a stack has a demonstrator of its own; ask it")

        return none

    @property
    def demonstrate(self) -> Callable[..., Callable[[Tensor], Tensor]]:  # has the options of the world's own
        """Each run's observations ``[S, ..., F]`` are answered by its own world's demonstrator."""

        @wraps(self.env.demonstrate)
        def all_of_them(*args: Any, **style: Any) -> Callable[[Tensor], Tensor]:
            own = [env.demonstrate(*args, **style) for env in self.each]
            return lambda seen: torch.cat([show(seen[run : run + 1]) for run, show in enumerate(own)])

        return all_of_them

    def on(self, device: str) -> Self:
        """The same worlds on another device."""
        each = tuple(env.on(device) for env in self.each)
        return replace(self, env=each[0], each=each, device=device)


def by_run(env: TokenEnv, function: Callable[..., Any], *values: Any) -> Any:
    """What a function ``(world, *values)`` gives, of :class:`Worlds` run by run, and then together.

    Args:
        env: a world, or the worlds of S runs.
        function: of a world; gives a tensor, or a named tuple of tensors, or None.
        values: the same, with the runs as their first axis.
    """
    if not isinstance(env, Worlds):
        return function(env, *values)
    parts = [function(own, *(_part(value, run) for value in values)) for run, own in enumerate(env.each)]
    first = parts[0]
    if first is None:
        return None
    if isinstance(first, Tensor):
        return torch.cat(parts)
    return type(first)(*(torch.cat(of_each) for of_each in zip(*parts, strict=True)))


def _part(value: Any, run: int) -> Any:
    if value is None:
        return None
    if isinstance(value, Tensor):
        return value[run : run + 1]
    return type(value)(*(part[run : run + 1] for part in value))


def _shape(env: TokenEnv) -> tuple[Any, ...]:
    """What policies and learners are built on."""
    splits = tuple(len(env.prompts(split)) for split in ("train", "test"))
    return (type(env), env.horizon, env.vocabulary, env.observation_sizes, env.n_prompts, env.kinds, env.noise, splits)
