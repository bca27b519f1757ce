"""What objectives read besides the policy: a frozen reference, a critic, learned log-partitions, kinds of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from toybed.agents.config import Learning
from toybed.agents.optimization import StackedAdam
from toybed.agents.policies import MLPPolicy, Policy
from toybed.agents.rollout import Rollout, response_choices
from toybed.envs.core import TokenEnv
from toybed.errors import ToybedError
from toybed.objectives.batch import HOW_TO_GET, Batch, needs_of
from toybed.objectives.objective import Objective
from toybed.objectives.returns import gae_returns, value_loss
from toybed.streams import Streams

VALUE_CLIP = 0.5  # verl's
CRITIC_OUTPUTS = 4  # of which the first is the value: a single column is multiplied by a kernel that rounds with S


MADE = frozenset(
    {"log_prob_ref", "entropy_old", "planning", "value", "log_z", "tempered", "entropy", "log_probs", "generator"}
)
"""Optional inputs of an objective that the learner can give."""


class Companions:
    """Makes those optional fields of a batch that an objective asks for.

    Args:
        env: the world.
        objective: what is optimised; only what it needs is made.
        config: of the learner.
        seeds: the runs' root seeds; a critic has a stream of its own.
        reference: the frozen policies that a KL is taken to.
        learning_rate: the policies', a number or ``[S]``; the critic learns at the same.
        given: further fields that a batch has already.

    Raises:
        ToybedError: a reference is needed and not given, or a reward vector in a world that has none; a reward that is
            shaped at random has a critic.

    Attributes:
        log_z: the learned log-partition of every prompt, ``[S, n_prompts]``, or None; trained with the policy.
    """

    def __init__(
        self,
        env: TokenEnv,
        objective: Objective,
        config: Learning,
        seeds: Sequence[int],
        reference: Policy | None,
        *,
        learning_rate: Tensor | None = None,
        given: frozenset[str] = frozenset(),
    ) -> None:
        needs = objective.needs
        for name in sorted(needs - MADE - given):
            raise ToybedError(
                f"{objective.name} needs batch.{name}, which the learner does not make: {HOW_TO_GET[name]}"
            )
        if "log_prob_ref" in needs and reference is None:
            raise ToybedError(f"{objective.name} needs a reference policy: pass reference=...")
        if "tempered" in needs and objective.sampling is None:
            raise ToybedError(f"{objective.name} needs groups at a temperature: give it the stage sampling")
        if "planning" in needs and "planning" not in env.kinds:
            raise ToybedError(
                f"{objective.name} needs planning tokens, and {env.title} names none: without them it would "
                "silently be another objective"
            )
        if "value" in needs and "generator" in needs_of(objective.shape_reward):
            raise ToybedError(
                f"{objective.name} shapes its reward at random, and has a critic, whose returns would be of "
                "other draws than the advantage; allowed: one of the two"
            )
        if objective.takes_vectors and not env.reward_names:
            raise ToybedError(
                f"{objective.name} needs a reward vector, and {env.title} gives one number; allowed: worlds "
                "with components, e.g. tool_search"
            )
        if objective.takes_vectors == "vector" and env.set_size > 1:
            raise ToybedError(
                f"{objective.name} needs one reward vector a response, and set_size is {env.set_size}; allowed: 1"
            )
        self._vectors = bool(objective.takes_vectors)
        self._env, self._needs, self._reference = env, needs, reference
        self.log_z: Tensor | None = None
        if "log_z" in needs:
            self.log_z = torch.zeros(len(seeds), env.n_prompts, device=env.device, requires_grad=True)
        self._critic: MLPPolicy | None = None
        self._no_run = torch.zeros(len(seeds), dtype=torch.bool, device=env.device)
        if "value" in needs:
            self._critic = MLPPolicy(env, Streams("critic", seeds, env.device), outputs=CRITIC_OUTPUTS)
            rate = config.learning_rate if learning_rate is None else learning_rate
            self._critic_optimizer = StackedAdam(self._critic, rate, config.max_grad_norm)

    @property
    def diverged(self) -> Tensor:
        """Runs whose critic met a loss or gradient that is not finite, bool ``[S]``."""
        return self._no_run if self._critic is None else self._critic_optimizer.diverged

    @property
    def parameters(self) -> tuple[Tensor, ...]:
        """What is trained together with the policy, each ``[S, ...]``."""
        return () if self.log_z is None else (self.log_z,)

    def reward(self, sample: Rollout) -> Tensor:
        """The reward that the objective is made for: a number ``[S, B, G]``, or the components."""
        return sample.vector if self._vectors and sample.vector is not None else sample.reward

    @torch.no_grad()
    def complete(self, batch: Batch, sample: Rollout) -> Batch:
        """The batch with the fields that the objective needs; they hold still while its steps are taken."""
        if "log_prob_ref" in self._needs and self._reference is not None:
            choices = response_choices(self._env, self._reference, sample.observation, sample.legal)
            batch = replace(batch, log_prob_ref=choices.log_prob(sample.token))
        if "planning" in self._needs:
            planning = torch.tensor([kind == "planning" for kind in self._env.kinds], device=self._env.device)
            batch = replace(batch, planning=planning.expand_as(batch.mask))
        if "tempered" in self._needs:
            batch = replace(batch, tempered=sample.tempered)
        if self._critic is not None:
            batch = replace(batch, value=self._values(sample.observation))
        if self.log_z is not None:
            batch = replace(batch, log_z=self.log_z.gather(1, sample.prompt))
        return batch

    def live(self, batch: Batch, prompt: Tensor) -> Batch:
        """The mini-batch with a log-partition that carries a gradient; ``prompt [S, b]``."""
        return batch if self.log_z is None else replace(batch, log_z=self.log_z.gather(1, prompt))

    def step(self, objective: Objective, batch: Batch, observation: Tensor) -> None:
        """One step of the critic on a mini-batch; ``observation [S, b, G, T, F]``, the objective as it is now."""
        if self._critic is None:
            return
        value = self._values(observation)
        discounts = {name: objective.parameters.get(name, 1.0) for name in ("gamma", "lam")}
        returns = gae_returns(objective.shaped(batch), **discounts)
        old = batch.require("value", "the critic")
        self._critic_optimizer.step(value_loss(value, old, returns, batch.mask, clip=VALUE_CLIP))

    def _values(self, observation: Tensor) -> Tensor:
        assert self._critic is not None
        return self._critic(observation.flatten(1, -2))[..., 0].view(observation.shape[:-1])
