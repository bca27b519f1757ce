"""Learning from critiques: policy gradient on groups in which some responses were refined after one.

A critique is given beside a response and seen only here, by the one who refines. No observation holds it, so a policy
cannot come to depend on it, and what is measured of a policy does not know that there are critiques.
"""

from __future__ import annotations

import torch
from torch import Tensor

from toybed.agents.config import Critique, Learning
from toybed.agents.policies import Policy, choose, normalise
from toybed.agents.policy_gradient import PolicyGradient
from toybed.agents.rollout import Rollout, later_draws, response_log_probs, rollout, sample_tokens
from toybed.envs import plan_exec_critiques as critiques
from toybed.envs.core import TokenEnv
from toybed.envs.plan_exec import PlanExec
from toybed.envs.plan_exec_critiques import UNTOLD
from toybed.errors import ToybedError
from toybed.measures.entropy import token_entropy
from toybed.objectives.guidance import DEMONSTRATION, REFINED
from toybed.objectives.objective import Objective
from toybed.streams import Streams

LEFT_OUT = -1
"""In the place of a response's source: it is not learned from."""


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
        if not isinstance(env, PlanExec):
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
        self.critique = critique
        self._world = env
        later = later_draws(config, stage)
        self._refining = Streams(f"refinement{later}", seeds, env.device)
        given = Streams(f"solutions{later}", seeds, env.device)
        self._solutions = self._draw_solutions(given) if critique.degree == "solution" else None
        self._noted: dict[str, list[Tensor]] = {}

    def update(self, *, measure: bool = True) -> dict[str, Tensor]:
        """One rollout batch and its optimiser steps.

        Returns:
            As :meth:`PolicyGradient.update`, of the responses that the policy sampled by itself; but ``zero_groups``,
            ``touched``, ``clipped`` and ``covariance`` are of all that it learns from. ``responses`` sampled for a
            prompt, the attempts at refinements among them (solutions that were given are not); ``refined_right``, the
            share of refinements that are right in the end; and ``mended``, the same of those whose response was wrong
            (NaN where none was).
        """
        self._noted = {"attempts": [], "refined_right": [], "mended": []}
        measured = super().update(measure=measure)
        if measure:
            own = self.config.group - self.critique.refined
            noted = {name: torch.stack(values, 1) for name, values in self._noted.items()}
            measured["responses"] = measured["responses"] * (own / self.config.group) + noted["attempts"].sum(1)
            # Of the first batch: with dynamic sampling further ones hold what this run did not want.
            measured |= {name: noted[name][:, 0] for name in ("refined_right", "mended")}
        return measured

    def _own(self, sample: Rollout) -> Rollout:
        return _rows(sample, slice(0, self.config.group - self.critique.refined))

    def _rollout(self, runs: list[bool] | None) -> Rollout:
        count = self.critique.refined
        prompt = self._draw_prompts(runs)
        own = rollout(self.env, self.policy, prompt, self.config.group - count, self._sampling, runs)
        worst = own.reward.argsort(dim=-1, stable=True)[..., :count]
        wrong = own.reward.gather(-1, worst) < 1
        tokens, attempts = self._refined(prompt, own.token.gather(2, _like(worst, own.token)), runs)
        refined = read(self._world, self.policy, prompt, tokens)
        self._note(refined.reward == 1, wrong, attempts, runs)
        return self._joined(own, refined)

    def _refined(self, prompt: Tensor, tokens: Tensor, runs: list[bool] | None) -> tuple[Tensor, Tensor]:
        """What becomes of responses ``[S, B, n, T]``, and the attempts that it took, ``[S, B, n]``."""
        if self._solutions is not None:
            tokens = self._solutions.gather(1, _like(prompt, self._solutions))
            tokens = tokens[:, :, None].expand(-1, -1, self.critique.refined, -1)
            return tokens, torch.zeros_like(tokens[..., 0])
        rounds, per_round = self.critique.rounds, self.env.horizon + 1 + critiques.DRAWS
        uniform = self._refining.uniform((rounds + 1, per_round, *tokens.shape[1:3]), runs)
        return refine(self._world, self.policy, self.critique, prompt, tokens, uniform)

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
        parts = (
            None if a is None or b is None else torch.cat([a, b], 2)
            for a, b in zip(own, refined._replace(prompt=None, reward=reward), strict=True)  # type: ignore[arg-type]
        )
        joined = Rollout(*parts)  # type: ignore[arg-type]
        return joined._replace(prompt=own.prompt, source=torch.cat([torch.zeros_like(own.reward).long(), sources], 2))

    def _note(self, right: Tensor, wrong: Tensor, attempts: Tensor, runs: list[bool] | None) -> None:
        drew = torch.ones(len(right), device=right.device) if runs is None else torch.tensor(runs).to(right.device)
        self._noted["attempts"].append(attempts.sum(-1).double().mean(1) * drew)
        self._noted["refined_right"].append(right.double().mean((1, 2)))
        self._noted["mended"].append((right & wrong).sum((1, 2)) / wrong.sum((1, 2)))

    def _draw_solutions(self, streams: Streams) -> Tensor:
        """A right response to each prompt, ``[S, n_prompts, T]``."""
        prompt = self._world.prompts().expand(len(streams), -1)
        per_prompt = self.env.horizon * (1 + critiques.DRAWS)
        return solutions(self._world, prompt, streams.uniform((prompt.shape[1], per_prompt)))


def refine(
    env: PlanExec, policy: Policy, critique: Critique, prompt: Tensor, tokens: Tensor, uniform: Tensor
) -> tuple[Tensor, Tensor]:
    """Refine responses, each as long as its critique calls it wrong, at most ``critique.rounds`` times.

    Args:
        env: the world.
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

    def criticised(response: Tensor, turn: int) -> critiques.Critique:
        draws = uniform[:, turn, length + 1 :].movedim(1, -1)
        return critiques.critique(env, each, response, critique.degree, noise=critique.noise, uniform=draws)

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
    env: PlanExec,
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
def read(env: PlanExec, policy: Policy, prompt: Tensor, tokens: Tensor) -> Rollout:
    """Given responses ``tokens [S, B, n, T]`` to ``prompt [S, B]`` as a rollout: as if the policy had sampled them."""
    state = env.reset(prompt[..., None].expand(tokens.shape[:-1]))
    observations, legals = [], []
    for token in tokens.unbind(-1):
        observations.append(env.observe(state))
        legals.append(env.legal(state))
        state = env.step(state, token)
    observation = torch.stack(observations, -2)
    legal = torch.stack([x for x in legals if x is not None], -2)
    log_probs = response_log_probs(env, policy, observation, legal)
    return Rollout(
        prompt=prompt,
        observation=observation,
        legal=legal,
        token=tokens,
        log_prob=choose(log_probs, tokens),
        entropy=token_entropy(log_probs),
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


def _rows(sample: Rollout, rows: slice) -> Rollout:
    """Some responses of each group."""
    parts = (part if part is None else part[:, :, rows] for part in sample._replace(prompt=None))  # type: ignore[arg-type]
    return Rollout(*parts)._replace(prompt=sample.prompt)  # type: ignore[arg-type]


def _like(index: Tensor, value: Tensor) -> Tensor:
    """An index ``[..., N]`` with the last axis of ``value [..., M, T]``, for a gather of rows."""
    return index[..., None].expand(*index.shape, value.shape[-1])
