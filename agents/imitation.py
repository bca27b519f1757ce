"""Supervised fine-tuning as a learner: it goes on from a base update by update, beside RL from the same base."""

from __future__ import annotations

import torch
from torch import Tensor

from toybed.agents.config import Imitation, Learning
from toybed.agents.optimization import make_optimizer
from toybed.agents.policies import Policy
from toybed.agents.rollout import (
    Rollout,
    draw_prompts,
    later_draws,
    response_choices,
    rollout,
    training_prompts,
)
from toybed.agents.supervised import get_demonstrator, mean_of_right
from toybed.envs.core import TokenEnv
from toybed.errors import ToybedError
from toybed.streams import Streams


class Imitator:
    """Trains S policies on responses of the world's demonstrator, by maximum likelihood.

    Args:
        env: the world.
        policy: the S policies, trained in place.
        learning: sizes and rates; ``prompts`` and ``group`` are those of an update's demonstrations.
        imitation: whom and what to imitate.
        seeds: the runs' root seeds.
        learning_rate: one for each run, ``[S]``, in the place of the config's.
        stage: how many runs came before this one, which it continues: its random numbers are others than theirs.

    Raises:
        ToybedError: the world's demonstrator has no such option; or the learning has a schedule.
    """

    def __init__(
        self,
        env: TokenEnv,
        policy: Policy,
        learning: Learning,
        imitation: Imitation,
        seeds: list[int],
        *,
        learning_rate: Tensor | None = None,
        stage: int = 0,
    ) -> None:
        if learning.schedule:
            raise ToybedError("Learning: imitation follows no schedule; allowed: ()")
        self.env, self.policy, self.learning, self.imitation = env, policy, learning, imitation
        self._demonstrator = get_demonstrator(env, imitation.demonstrator)
        rate = learning.learning_rate if learning_rate is None else learning_rate
        self._optimizer = make_optimizer(policy, learning, rate)
        self._streams = Streams(f"imitation{later_draws(learning, stage)}", seeds, env.device)
        self._pool = training_prompts(env, learning, seeds)

    @property
    def diverged(self) -> Tensor:
        """Runs that met a loss or gradient that is not finite, bool ``[S]``."""
        return self._optimizer.diverged

    @property
    def cause(self) -> Tensor:
        """Why, as an index into :data:`~toybed.agents.optimization.CAUSES`, ``[S]``."""
        return self._optimizer.cause

    def update(self, *, measure: bool = True) -> dict[str, Tensor]:
        """One batch of demonstrations and its optimiser steps.

        Args:
            measure: not read: all measures are free here.

        Returns:
            Measures of the batch, each ``[S]``, means over the steps: ``reward`` of the demonstrations; of the policy
            before each step, on them, ``entropy`` and ``surprisal`` (mean ``-log pi``: the loss, where it learns from
            all of them); and ``grad_norm``.
        """
        demo = self._demonstrations()
        size = self.learning.prompts // self.learning.minibatches
        steps = [
            self._step(demo, slice(start, start + size))
            for _ in range(self.learning.epochs)
            for start in range(0, self.learning.prompts, size)
        ]
        means = {name: torch.stack([step[name] for step in steps], 1).mean(1) for name in steps[0]}
        return {"reward": demo.reward.mean((1, 2)), **means}

    def _demonstrations(self) -> Rollout:
        prompt = draw_prompts(self._pool, self.learning.prompts, self._streams)
        return rollout(
            self.env,
            lambda observation, legal: self._demonstrator(observation),
            prompt,
            self.learning.group,
            self._streams,
        )

    def _step(self, demo: Rollout, part: slice) -> dict[str, Tensor]:
        """One step on the prompts of ``part``, and what it saw, each ``[S]``."""
        legal = None if demo.legal is None else demo.legal[:, part]
        choices = response_choices(self.env, self.policy, demo.observation[:, part], legal)
        log_prob = choices.log_prob(demo.token[:, part])
        surprisal = -log_prob.mean((1, 2, 3))
        loss = -mean_of_right(log_prob, demo.reward[:, part]) if self.imitation.right_only else surprisal
        norm = self._optimizer.step(loss)
        entropy = choices.entropy.detach().mean((1, 2, 3))
        return {"entropy": entropy, "surprisal": surprisal.detach(), "grad_norm": norm}
