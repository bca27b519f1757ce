"""Curricula: which train prompts are drawn when."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from toybed.agents.config import Learning
from toybed.agents.rollout import Rollout, draw_prompts, training_prompts
from toybed.envs.core import TokenEnv
from toybed.streams import Streams


class PromptDraw:
    """Draws the train prompts of S runs, by a curriculum where there is one.

    A draw takes as many random numbers with a curriculum as without; without one, or with a mixed one, they are the
    same prompts too.

    Args:
        env: the world.
        config: which train prompts there are, and what is drawn when.
        seeds: the runs' root seeds.

    Attributes:
        state: what an adaptive curriculum remembers of each run and train prompt, each ``[S, P]``: ``rate``, its mean
            reward lately, and ``seen``, whether it has been drawn. It can be pickled, and training resumed from it.
    """

    def __init__(self, env: TokenEnv, config: Learning, seeds: Sequence[int]) -> None:
        self._pool = pool = training_prompts(env, config, seeds)
        self._curriculum = curriculum = config.curriculum
        self._difficulty = None if curriculum is None else env.difficulty(pool).double()
        self.state: dict[str, Tensor] = {}
        if curriculum is not None:
            place = torch.zeros(len(pool), env.n_prompts, dtype=torch.int64, device=env.device)
            self._place = place.scatter(1, pool, torch.arange(pool.shape[1], device=env.device).expand_as(pool))
        if curriculum is not None and curriculum.order == "adaptive":
            self.state = {
                "rate": torch.zeros(pool.shape, dtype=torch.float64, device=env.device),
                "seen": torch.zeros(pool.shape, dtype=torch.bool, device=env.device),
            }

    def draw(self, count: int, streams: Streams, runs: Sequence[bool] | None, progress: float) -> Tensor:
        """``count`` prompts for each run, with replacement, ``[S, count]``.

        Args:
            count: how many.
            streams: the runs' randomness.
            runs: which runs draw.
            progress: of the run, in [0, 1].
        """
        weights = self.weights(progress)
        if weights is None:
            return draw_prompts(self._pool, count, streams, runs)
        cumulative = weights.cumsum(-1)
        uniform = streams.uniform((count,), runs).double() * cumulative[:, -1:]
        # The first prompt whose cumulative weight is above the number: one without weight is never drawn.
        index = torch.searchsorted(cumulative, uniform, right=True)
        return self._pool.gather(1, index.clamp(max=self._pool.shape[1] - 1))

    def weights(self, progress: float) -> Tensor | None:
        """How often each run draws each of its train prompts, float64 ``[S, P]``; None: all alike."""
        curriculum, difficulty = self._curriculum, self._difficulty
        if curriculum is None or difficulty is None or curriculum.order == "mixed":
            return None
        if curriculum.order == "adaptive":
            rate, (low, high) = self.state["rate"], curriculum.band
            inside = ~self.state["seen"] | (rate >= low) & (rate <= high)
            return torch.where(inside, 1.0, curriculum.outside).double()
        if curriculum.order == "hard_first":
            difficulty = -difficulty
        count = max(round(curriculum.share(progress) * difficulty.shape[1]), 1)
        # Prompts as hard as the last one are in as well: there is nothing to choose between them by.
        return (difficulty <= difficulty.sort(1).values[:, count - 1 : count]).double()

    def learn(self, sample: Rollout, runs: Sequence[bool] | None) -> None:
        """Let an adaptive curriculum see how the drawn prompts went.

        A prompt's rate becomes the mean reward of its groups when it is first seen, and moves towards it by
        ``1 - memory`` after that.
        """
        if not self.state or self._curriculum is None:
            return
        rate, seen = self.state["rate"], self.state["seen"]
        place = self._place.gather(1, sample.prompt)
        drew = torch.ones_like(place, dtype=rate.dtype)
        if runs is not None:
            drew = drew * torch.tensor(runs, device=drew.device)[:, None]
        # Sums in float64, of multiples of 1/G where rewards are 0 or 1: their order does not matter then.
        total, count = (
            torch.zeros_like(rate).scatter_add(1, place, x * drew) for x in (sample.reward.double().mean(-1), drew)
        )
        here = total / count.clamp(min=1)
        moved = torch.where(seen, rate.lerp(here, 1 - self._curriculum.memory), here)
        self.state = {"rate": torch.where(count > 0, moved, rate), "seen": seen | (count > 0)}

    def difficulty(self, prompt: Tensor) -> Tensor | None:
        """Mean difficulty of the prompts of a batch ``[S, B]``, of each run ``[S]``; None without a curriculum."""
        return None if self._difficulty is None else self._difficulty.gather(1, self._place.gather(1, prompt)).mean(1)
