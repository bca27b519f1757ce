"""The learner: roll out, take the objective's loss, step; S runs in one program."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle

import torch
from torch import Tensor

from toybed.agents.companions import Companions
from toybed.agents.config import Learning
from toybed.agents.optimization import CRITIC_LOST, StackedOptimizer, make_optimizer
from toybed.agents.policies import Policy
from toybed.agents.rollout import Rollout, later_draws, response_choices, response_log_probs
from toybed.agents.sampler import Sampler
from toybed.envs.core import TokenEnv
from toybed.errors import ToybedError
from toybed.measures.covariance import covariance
from toybed.measures.divergence import kl_divergence
from toybed.objectives.batch import Batch
from toybed.objectives.objective import Objective
from toybed.streams import Streams


class PolicyGradient:
    """Trains S policies in one world under one objective.

    Args:
        env: the world.
        policy: the S policies, trained in place.
        objective: what is optimised; its hyper-parameters may be tensors ``[S, 1, 1, 1]``.
        config: sizes and rates.
        seeds: the runs' root seeds; sampling and the objective's draws have streams of their own.
        reference: the frozen policies that a KL is taken to, where the objective needs one or one is to be measured.
        learning_rate: one for each run, ``[S]``, in the place of the config's.
        stage: how many runs came before this one, which it continues: its random numbers are others than theirs.
    """

    given: frozenset[str] = frozenset()
    """Optional fields of a batch that come with its rollout."""

    def __init__(
        self,
        env: TokenEnv,
        policy: Policy,
        objective: Objective,
        config: Learning,
        seeds: list[int],
        reference: Policy | None = None,
        *,
        learning_rate: Tensor | None = None,
        stage: int = 0,
    ) -> None:
        self.env, self.policy, self.objective, self.config = env, policy, objective, config
        self._reference = reference
        rate = torch.as_tensor(config.learning_rate, device=env.device) if learning_rate is None else learning_rate
        self._companions = Companions(env, objective, config, seeds, reference, learning_rate=rate, given=self.given)
        # One for each kind of the schedule: moments of one kind's steps would go on moving what they no longer train.
        kinds: list[str | None] = [kind for kind, _ in config.schedule] or [None]
        self._optimizers = {kind: make_optimizer(policy, config, rate, self._companions.parameters) for kind in kinds}
        later = later_draws(config, stage)
        self._sampler = Sampler(env, policy, config, seeds, later)
        self._drawing = Streams(f"objective{later}", seeds, env.device)
        self._updates = 0
        self._kinds = scheduled_kinds(env, config)
        controller = objective.controller
        # Tensors [S] by name.
        self.controller_state = None if controller is None else controller.begin(policy.runs, env.device)

    @property
    def diverged(self) -> Tensor:
        """Runs that met a loss or gradient that is not finite, bool ``[S]``."""
        return torch.stack([each.diverged for each in self._optimizers.values()]).any(0) | self._companions.diverged

    @property
    def cause(self) -> Tensor:
        """Why, as an index into :data:`~toybed.agents.optimization.CAUSES`, ``[S]``."""
        cause = torch.stack([each.cause for each in self._optimizers.values()]).amax(0)
        return torch.where(self._companions.diverged & (cause == 0), CRITIC_LOST, cause)

    @property
    def progress(self) -> float:
        """Of the coming update, for schedules and curricula: 0 for the first, 1 for the last (and any after it)."""
        return min(self._updates / max(self.config.updates - 1, 1), 1.0)

    def update(self, *, measure: bool = True) -> dict[str, Tensor]:
        """One rollout batch and its optimiser steps.

        Args:
            measure: whether all measures are taken, or only the first three and ``grad_norm``. They cost about a tenth
                of an update, and ``kl`` a pass of both policies over the batch.

        Returns:
            Measures of the batch, each ``[S]``, as logs of language models have them: ``reward`` and ``entropy`` of
            the samples, ``surprisal`` (mean ``-log pi``, entropy's noisy stand-in), ``covariance`` of log-probability
            and advantage, ``zero_groups`` (share of groups without spread, as first sampled), ``touched`` (share of
            tokens with a gradient), ``clipped`` (share of tokens with an advantage to which the surrogate gives no
            gradient: the clip fraction) and ``grad_norm``, means over steps, ``responses`` sampled for a prompt,
            ``kl`` to the reference (full-vocabulary, mean over the batch's tokens, of the policy that sampled them),
            ``controlled_x`` for each parameter x that a controller set for these steps (a sampling temperature: for
            the next rollout), ``scheduled_x`` for each that follows a schedule, and with a curriculum the mean
            ``difficulty`` of the prompts.
        """
        kind, progress = next(self._kinds), self.progress
        self.objective = self.objective.at(progress)
        sample, zero_groups, rounds = self._sample()
        self._updates += 1
        own = self._own(sample)
        measured = {
            "reward": own.reward.mean((1, 2)),
            "entropy": own.entropy.mean((1, 2, 3)),
            "surprisal": -own.log_prob.mean((1, 2, 3)),
        }
        if measure and self._reference is not None:
            measured["kl"] = self._kl(own, self._reference)
        controlled = self._control(measured)
        batch = self._batch(sample, kind)
        advantage = self.objective.advantages(batch, generator=self._drawing, check=False)
        advantage = advantage.expand_as(sample.log_prob)
        size = self.config.prompts // self.config.minibatches
        steps = [
            self._step(self._optimizers[kind], sample, batch, advantage, slice(start, start + size), measure)
            for _ in range(self.config.epochs)
            for start in range(0, self.config.prompts, size)
        ]
        measured |= {name: torch.stack([step[name] for step in steps], 1).mean(1) for name in steps[0]}
        if measure:
            measured["covariance"] = covariance(sample.log_prob, advantage, batch.mask)
            measured["zero_groups"] = zero_groups
            measured["responses"] = rounds * float(self.config.group)
            measured |= {f"controlled_{name}": value.flatten() for name, value in controlled.items()}
            measured |= self._scheduled(progress)
            if (difficulty := self._sampler.prompts.difficulty(sample.prompt)) is not None:
                measured["difficulty"] = difficulty
        return measured

    def _sample(self) -> tuple[Rollout, Tensor, Tensor]:
        """The coming update's batch, see :meth:`~toybed.agents.sampler.Sampler.sample`."""
        return self._sampler.sample(self.objective, self.progress)

    def _step(
        self, optimizer: StackedOptimizer, sample: Rollout, batch: Batch, advantage: Tensor, part: slice, measure: bool
    ) -> dict[str, Tensor]:
        """One optimiser step on the prompts of ``part``, and what it did, each ``[S]``."""
        legal = None if sample.legal is None else sample.legal[:, part]
        choices = response_choices(self.env, self.policy, sample.observation[:, part], legal)
        needs = self.objective.needs
        minibatch = batch.prompts(part.start, part.stop)
        loss = self.objective.loss(
            choices.log_prob(sample.token[:, part]),
            self._companions.live(minibatch, sample.prompt[:, part]),
            entropy=choices.entropy if "entropy" in needs else None,
            log_probs=choices.log_probs if "log_probs" in needs else None,
            generator=self._drawing,
            advantage=advantage[:, part],
        )
        norm = optimizer.step(loss.value)
        self._companions.step(self.objective, minibatch, sample.observation[:, part])
        if not measure:
            return {"grad_norm": norm}
        shares = {"touched": loss.touched, "clipped": loss.clipped}
        return {"grad_norm": norm, **{name: value.float().mean((1, 2, 3)) for name, value in shares.items()}}

    @torch.no_grad()
    def _kl(self, sample: Rollout, reference: Policy) -> Tensor:
        now, then = (
            response_log_probs(self.env, policy, sample.observation, sample.legal)
            for policy in (self.policy, reference)
        )
        return kl_divergence(now, then).mean((1, 2, 3))

    def _control(self, measured: dict[str, Tensor]) -> dict[str, Tensor]:
        """Let the controller, if there is one, set hyper-parameters ``[S, 1, 1, 1]`` for the coming steps."""
        if self.objective.controller is None or self.controller_state is None:
            return {}
        self.controller_state, values = self.objective.controller.update(self.controller_state, measured)
        self.objective = self.objective.with_parameters(**values)
        return values

    def _own(self, sample: Rollout) -> Rollout:
        """The part of a rollout that the policy sampled by itself, of which measures are taken; here all of it."""
        return sample

    def _scheduled(self, progress: float) -> dict[str, Tensor]:
        """The values of the schedules at a progress, each ``[S]``."""
        return {
            f"scheduled_{name}": torch.as_tensor(schedule(progress), device=self.env.device)
            .flatten()
            .expand(self.policy.runs)
            for name, schedule in self.objective.schedules.items()
        }

    def _batch(self, sample: Rollout, kind: str | None = None) -> Batch:
        trained = torch.tensor([kind is None or kind == each for each in self.env.kinds], device=self.env.device)
        mask = trained.expand_as(sample.log_prob)
        batch = Batch(
            log_prob_old=sample.log_prob,
            mask=mask if sample.source is None else mask & (sample.source >= 0).unsqueeze(-1),
            reward=self._companions.reward(sample),
            entropy_old=sample.entropy,
            source=sample.source,
        )
        return self._companions.complete(batch, sample)


def scheduled_kinds(env: TokenEnv, config: Learning) -> Iterator[str | None]:
    """For each update the kind of tokens that is trained in it; None for all.

    Raises:
        ToybedError: the world has no tokens of a kind of the schedule.
    """
    for kind, _ in config.schedule:
        if kind not in env.kinds:
            allowed = ", ".join(sorted(set(env.kinds)))
            raise ToybedError(f"Learning: schedule names {kind!r}; allowed in {env.title}: {allowed}")
    kinds: list[str | None] = [kind for kind, count in config.schedule for _ in range(count)] or [None]
    return cycle(kinds)
