"""What becomes of RL's gain if one kind of token is left to the start? From samples, where contexts are no list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from toybed.agents.policies import LogProbs, Policy
from toybed.agents.sampled_worth import sampled_worth
from toybed.envs.core import TokenEnv
from toybed.envs.plan_exec import PlanExec
from toybed.errors import ToybedError


@dataclass(frozen=True)
class Hybrid:
    """S policies that plan as one policy does, and execute as another."""

    env: PlanExec
    plans: Policy
    executions: Policy

    @property
    def runs(self) -> int:
        """S."""
        return self.plans.runs

    def follow(self) -> LogProbs:
        """As :meth:`~toybed.agents.policies.Policy.follow`."""
        plans, executions = self.plans.follow(), self.executions.follow()

        def log_probs(observation: Tensor, legal: Tensor | None = None) -> Tensor:
            planning = self.env.plans_at(observation)[..., None]
            return torch.where(planning, plans(observation, legal), executions(observation, legal))

        return log_probs


def sampled_hybrids(env: TokenEnv, policy: Policy, start: Policy, *, seeds: Sequence[int]) -> dict[str, Tensor]:
    """Success of hybrids of trained policy and start, estimated from samples.

    In the tokens view an execution sees the problem and all that was written before. So it may depend on whose plans it
    carries out, and nothing follows from the world for what a hybrid is worth.

    Returns:
        On test prompts, each ``[S]``: ``hybrid_planning``, plans of the trained policy carried out by the start, and
        ``hybrid_execution``, the reverse; and each with the share of right executions (``_accuracy``). Four responses
        to a prompt, their last token summed over; with the random numbers by which a policy itself is measured there.

    Raises:
        ToybedError: the world is not PlanExec in the tokens view.
    """
    if not isinstance(env, PlanExec) or env.tabulated:
        raise ToybedError('sampled_hybrids is a probe of plan_exec with view="tokens"; hybrids is the exact one')
    prompt, measures = env.prompts("test"), {}
    for name, pair in (("planning", (policy, start)), ("execution", (start, policy))):
        worth = sampled_worth(env, Hybrid(env, *pair), prompt, seeds)
        measures[f"hybrid_{name}"] = worth.reward.double().mean(1)
        known = env.measure_answers(prompt, worth.state, worth.answer)
        measures[f"hybrid_{name}_accuracy"] = known["exec_accuracy"]
    return measures
