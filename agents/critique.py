"""Learning from critiques: policy gradient on groups in which some responses were refined after one.

A critique is given beside a response and seen by the one who refines alone. No observation holds it, so a policy
cannot come to depend on it, and what is measured of a policy does not know that there are critiques.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from toybed.agents.config import Critique, Learning
from toybed.agents.policies import Policy
from toybed.agents.policy_gradient import PolicyGradient
from toybed.agents.refinement import read, refine, solutions
from toybed.agents.rollout import Rollout, later_draws
from toybed.agents.sampler import Sampler
from toybed.envs import plan_exec_critiques as critiques
from toybed.envs.core import TokenEnv
from toybed.envs.plan_exec import PlanExec
from toybed.envs.views import Worlds, by_run
from toybed.errors import ToybedError
from toybed.objectives.guidance import DEMONSTRATION, REFINED
from toybed.objectives.objective import Objective
from toybed.streams import Streams

LEFT_OUT = -1
"""In the place of a response's source: it is not learned from."""
OF_PROMPTS = ("prompt", "tempered")
"""Fields of a rollout that are of groups, not of their responses."""


class CritiqueGradient(PolicyGradient):
    """Trains S policies on what they sample and on refinements of it; see :class:`~toybed.agents.config.Critique`.

    Args:
        env: the world, one that critiques responses.
        critique: what is said, and what becomes of it.
        others: as of :class:`~toybed.agents.policy_gradient.PolicyGradient`; ``config.group`` counts refined ones, too.

    Raises:
        ToybedError: the world has no critiques; a group has fewer sampled responses than refined ones; or the
            objective reads reward vectors.
    """

    given = frozenset({"source"})

    def __init__(
        self,
        env: TokenEnv,
        policy: Policy,
        objective: Objective,
        config: Learning,
        seeds: list[int],
        reference: Policy | None,
        critique: Critique,
        *,
        learning_rate: Tensor | None = None,
        stage: int = 0,
    ) -> None:
        if not isinstance(env.env if isinstance(env, Worlds) else env, PlanExec):
            raise ToybedError(f"Critique: {env.title} has no critiques; allowed: plan_exec")
        if 2 * critique.refined > config.group:
            raise ToybedError(
                f"Critique: refined is {critique.refined} of a group of {config.group}; allowed: at most half of it"
            )
        if objective.takes_vectors:
            raise ToybedError(
                f"{objective.name} reads reward vectors; allowed with refined responses: objectives of one number"
            )
        super().__init__(env, policy, objective, config, seeds, reference, learning_rate=learning_rate, stage=stage)
        self._sampler: RefiningSampler = RefiningSampler(
            env, policy, config, seeds, later_draws(config, stage), critique
        )

    def update(self, *, measure: bool = True) -> dict[str, Tensor]:
        """One rollout batch and its optimiser steps.

        Returns:
            As :meth:`PolicyGradient.update`, of the responses that the policy sampled by itself; but ``zero_groups``,
            ``touched``, ``clipped`` and ``covariance`` are of all that it learns from. ``responses`` sampled for a
            prompt, the attempts at refinements among them (solutions that were given are not); ``refined_right``, the
            share of refinements that are right in the end; and ``mended``, the same of those whose response was wrong
            (NaN where none was).
        """
        measured = super().update(measure=measure)
        if measure:
            own = self.config.group - self._sampler.critique.refined
            noted = self._sampler.noted
            measured["responses"] = measured["responses"] * (own / self.config.group) + noted["attempts"]
            measured |= {name: noted[name] for name in ("refined_right", "mended")}
        return measured

    def _own(self, sample: Rollout) -> Rollout:
        own = self.config.group - self._sampler.critique.refined
        parts = sample._asdict()
        return Rollout(**{k: v if v is None or k in OF_PROMPTS else v[:, :, :own] for k, v in parts.items()})


class RefiningSampler(Sampler):
    """Samples batches in which the last responses of each group are refinements.

    Args:
        env: the world.
        policy: the S policies.
        config: sizes of a batch; ``group`` counts refined responses, too.
        seeds: the runs' root seeds.
        later: what tells the streams of a run apart from those of the runs that it continues.
        critique: what is said, and what becomes of it.

    Attributes:
        noted: of the last batch, each ``[S]``: ``attempts`` at refinements for a prompt, over all its rollouts; of its
            first one ``refined_right`` and ``mended``, see :meth:`CritiqueGradient.update`.
    """

    def __init__(
        self, env: TokenEnv, policy: Policy, config: Learning, seeds: Sequence[int], later: str, critique: Critique
    ) -> None:
        super().__init__(env, policy, replace(config, group=config.group - critique.refined), seeds, later)
        self.critique = critique
        self.noted: dict[str, Tensor] = {}
        self._world = env
        self._refining = Streams(f"refinement{later}", seeds, env.device)
        given = Streams(f"solutions{later}", seeds, env.device)
        self._solutions = self._draw_solutions(given) if critique.degree == "solution" else None

    def sample(self, objective: Objective, progress: float) -> tuple[Rollout, Tensor, Tensor]:
        """As :meth:`Sampler.sample`, whose groups get their refinements before it is asked which are kept."""
        self.noted = {}
        return super().sample(objective, progress)

    def _rollout(self, runs: list[bool] | None, objective: Objective, progress: float) -> Rollout:
        own = super()._rollout(runs, objective, progress)
        worst = own.reward.argsort(dim=-1, stable=True)[..., : self.critique.refined]
        wrong = own.reward.gather(-1, worst) < 1
        tokens, attempts = self._refined(own.prompt, own.token.gather(2, _like(worst, own.token)), runs)
        refined = read(self._world, self._policy, own.prompt, tokens)
        self._note(refined.reward == 1, wrong, attempts, runs)
        return self._joined(own, refined)

    def _refined(self, prompt: Tensor, tokens: Tensor, runs: list[bool] | None) -> tuple[Tensor, Tensor]:
        """What becomes of responses ``[S, B, n, T]``, and the attempts that it took, ``[S, B, n]``."""
        if self._solutions is not None:
            tokens = self._solutions.gather(1, _like(prompt, self._solutions))
            tokens = tokens[:, :, None].expand(-1, -1, self.critique.refined, -1)
            return tokens, torch.zeros_like(tokens[..., 0])
        rounds, per_round = self.critique.rounds, self._world.horizon + 1 + critiques.DRAWS
        uniform = self._refining.uniform((rounds + 1, per_round, *tokens.shape[1:3]), runs)
        return refine(self._world, self._policy, self.critique, prompt, tokens, uniform)

    def _joined(self, own: Rollout, refined: Rollout) -> Rollout:
        """Groups of both, refined ones last, with their source; those that are not kept are neutral."""
        source = REFINED if self.critique.taken_for == "refined" else DEMONSTRATION
        sources = torch.full_like(refined.reward, source, dtype=torch.int64)
        reward = refined.reward
        if self.critique.keep == "right":
            right = reward == 1
            sources = torch.where(right, sources, LEFT_OUT)
            # The mean of all that are kept: so it has no advantage, and the others' baseline is as without it.
            kept = own.reward.sum(-1, keepdim=True) + (reward * right).sum(-1, keepdim=True)
            mean = kept / (own.reward.shape[-1] + right.sum(-1, keepdim=True))
            reward = torch.where(right, reward, mean)
        first = own._replace(source=torch.zeros_like(own.reward).long())._asdict()
        last = refined._replace(source=sources, reward=reward)._asdict()
        parts = {k: v if v is None or k in OF_PROMPTS else torch.cat([v, last[k]], 2) for k, v in first.items()}
        return Rollout(**parts)

    def _note(self, right: Tensor, wrong: Tensor, attempts: Tensor, runs: list[bool] | None) -> None:
        drew = torch.ones(len(right), device=right.device) if runs is None else torch.tensor(runs).to(right.device)
        spent = attempts.sum(-1).double().mean(1) * drew
        self.noted["attempts"] = self.noted.get("attempts", 0.0) + spent
        # Of the first rollout: with dynamic sampling further ones hold what some runs did not want.
        self.noted.setdefault("refined_right", right.double().mean((1, 2)))
        self.noted.setdefault("mended", (right & wrong).sum((1, 2)) / wrong.sum((1, 2)))

    def _draw_solutions(self, streams: Streams) -> Tensor:
        """A right response to each prompt, ``[S, n_prompts, T]``."""
        prompt = self._world.prompts().expand(len(streams), -1)
        per_prompt = self._world.horizon * (1 + critiques.DRAWS)
        uniform = streams.uniform((prompt.shape[1], per_prompt))
        drawn: Tensor = by_run(self._world, solutions, prompt, uniform)
        return drawn


def _like(index: Tensor, value: Tensor) -> Tensor:
    """An index ``[..., N]`` with the last axis of ``value [..., M, T]``, for a gather of rows."""
    return index[..., None].expand(*index.shape, value.shape[-1])
