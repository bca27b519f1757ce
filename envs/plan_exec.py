"""PlanExec: which skill to deploy (a planning token), and carrying it out (an execution token)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import NamedTuple

import torch
from torch import Tensor

from toybed.envs import plan_exec_tokens as tokens
from toybed.envs import plan_exec_truth as truth
from toybed.envs.core import Evaluation, Reading, TokenEnv, check_split
from toybed.errors import ToybedError


class PlanState(NamedTuple):
    """A response on its way, each part ``[...]`` int64 but the last.

    ``kind`` (the problem's type), ``time`` (tokens so far), ``plan`` (the skill to be carried out, from 1 on; 0: one is
    to be chosen), ``value``, ``valid`` and ``right`` (valid plans and right executions so far), and ``spoiled``: an
    illegal token was used, bool.
    """

    kind: Tensor
    time: Tensor
    plan: Tensor
    value: Tensor
    valid: Tensor
    right: Tensor
    spoiled: Tensor


class PlanHistory(NamedTuple):
    """The state of the tokens view: that of the state view, and ``seen [..., 2 D + 1]``, the observation."""

    kind: Tensor
    time: Tensor
    plan: Tensor
    value: Tensor
    valid: Tensor
    right: Tensor
    spoiled: Tensor
    seen: Tensor


class Tables(NamedTuple):
    """Drawn once: ``skill [K, M]``, what each skill makes of each value; ``valid [Z, D, K]`` bool; ``starts [Z, M]``.

    The start values of each type are in the order in which the split takes them.
    """

    skill: Tensor
    valid: Tensor
    starts: Tensor


@dataclass(frozen=True)
class PlanExec(TokenEnv):
    """Choose the right skill for each stage of a problem, and carry it out.

    Description:
        A problem has one of Z types z, which is visible, and a value x below M. It has D stages of two tokens each: a
        plan p, one of K skills, then its execution e, the value that the skill makes of x. The skills are bijections
        ``f_p``. An execution is right if ``e = f_p(x)``; what was written becomes the next x, right or not. A plan is
        valid if it is one of the skills ``Valid[z, d]`` of its type and stage. Skill 0 is the default: it is valid at
        ``default_valid`` of the type-stages of ordinary types, which have ``nvalid`` valid skills each, never the last.
        The last skill, K - 1, is the rare one: it alone is valid at every stage of hard types, which are ``hard_frac``
        of all, and it is valid nowhere else: no ordinary type rewards it. A prompt is a type and a start value,
        ``z M + x``. Of each type's start values ``train_share`` are in the train split. Both splits have all types, and
        a value that one type holds out is another's to learn from: else a policy that reads it as a token of its own
        would have no way to know it.
    Action space:
        ``Discrete(K + M)``: tokens 0 to K - 1 are plans, K + e writes the value e. Plans and executions alternate; all
        else is illegal and spoils the response: no reward. Plans are of kind "planning", the others "execution".
    Observation:
        ``MultiDiscrete([Z, D, K + 1, M])``: type, stage, the plan that is to be carried out (from 1 on; 0: one is to be
        chosen), value. A plan is chosen from type and stage alone and carried out from plan and value alone, which is
        all that it depends on; what is not seen is 0. So a table has Z D rows for planning, shared across values, and
        K M for execution, shared across types and stages. With ``view="tokens"`` instead
        ``MultiDiscrete([Z, M, V + 1, ..., V + 1])``: type, start value, the tokens chosen so far, and V for those to
        come, 2 D - 1 of them (no choice follows the last). Then a policy is no table.
    Reward:
        ``1[all plans are valid and all executions right]``, at the end. The vector is (success, share of valid plans,
        share of right executions), the shares as they grow; the number is its first component.
    Termination:
        After ``2 D`` tokens, always.
    Knobs:
        ``types`` Z, ``stages`` D (with more, errors compound), ``skills`` K, ``values`` M, ``nvalid`` (to K - 2),
        ``default_valid``, ``hard_frac``, ``train_share``, ``table_seed``, and ``view``: "state" or "tokens", what the
        policy sees; nothing else depends on it. How well the base executes, what it likes to plan, how rarely it thinks
        of the last skill and which skills it lacks altogether is no matter of the world: these are options of the
        demonstrator, so that all such bases meet the same problems.
    Optimum and random baseline:
        1, since every prompt has ``prod_d |Valid[z, d]|`` solutions; and ``M^-D`` times the mean over types of
        ``prod_d |Valid[z, d]| / K``, 1.3e-5 by default. A policy that executes with a chance q, whatever the value,
        succeeds with ``q^D prod_d pi(Valid | z, d)``; one that never plans the rare skill has at most the plateau,
        one less the share of hard types. Where the plans of one policy, which executes with q, are carried out by
        another, which does with q', success is ``(q' / q)^D`` times that of the first.
    What it stands for in LLM training:
        Reasoning in which choosing a strategy and carrying it out are different tokens. Does RL teach new skills, or
        when to use those that the base has; what do critiques say that an outcome does not; and whose entropy falls
        when? Hard types are prompts that the base all but never solves: a group of responses to them has no signal.
    """

    types: int = 24
    stages: int = 3
    skills: int = 6
    values: int = 13
    nvalid: int = 2
    default_valid: float = 0.45
    hard_frac: float = 0.25
    train_share: float = 0.7
    table_seed: int = 0
    view: str = "state"

    def __post_init__(self) -> None:
        for name, low, high in (
            ("types", 1, 1024),
            ("stages", 1, 8),
            ("skills", 3, 16),
            ("values", 2, 64),
            ("nvalid", 1, self.skills - 2),
        ):
            if not low <= getattr(self, name) <= high:
                raise ToybedError(f"plan_exec: {name} is {getattr(self, name)}; allowed: {low} to {high}")
        for name in ("default_valid", "hard_frac"):
            if not 0 <= getattr(self, name) <= 1:
                raise ToybedError(f"plan_exec: {name} is {getattr(self, name)}; allowed: 0 to 1")
        if not 1 <= round(self.train_share * self.values) < self.values:
            raise ToybedError(
                f"plan_exec: train_share is {self.train_share}; allowed: above 0 and below 1, with one of the "
                f"{self.values} start values at least on each side"
            )
        if self.view not in ("state", "tokens"):
            raise ToybedError(f"plan_exec: view is {self.view!r}; allowed: 'state' or 'tokens'")

    # -- what it is ------------------------------------------------------------------------------------------------
    @property
    def horizon(self) -> int:
        return 2 * self.stages

    @property
    def vocabulary(self) -> int:
        return self.skills + self.values

    @property
    def tabulated(self) -> bool:
        return self.view == "state"

    @property
    def observation_sizes(self) -> tuple[int, ...]:
        if self.tabulated:
            return (self.types, self.stages, self.skills + 1, self.values)
        return (self.types, self.values, *(self.vocabulary + 1,) * (self.horizon - 1))

    @property
    def reading(self) -> Reading | None:
        if self.tabulated:
            return None
        frames = tuple((entry,) for entry in range(len(self.observation_sizes)))
        return Reading(frames, (self.types, self.values, *(self.vocabulary,) * (self.horizon - 1)))

    def position(self, observation: Tensor) -> Tensor:
        if self.tabulated:
            return super().position(observation)
        return (observation[..., 2:] < self.vocabulary).sum(-1)

    @property
    def n_prompts(self) -> int:
        return self.types * self.values

    @property
    def kinds(self) -> tuple[str, ...]:
        return ("planning", "execution") * self.stages

    def plans_at(self, observation: Tensor) -> Tensor:
        return observation[..., 2] == 0 if self.tabulated else self.position(observation) % 2 == 0

    @property
    def reward_names(self) -> tuple[str, ...]:
        return ("success", "valid_plans", "right_executions")

    # -- how it moves ----------------------------------------------------------------------------------------------
    def reset(self, prompt: Tensor, noise: Tensor | None = None) -> PlanState | PlanHistory:
        kind, value, zero = prompt // self.values, prompt % self.values, torch.zeros_like(prompt)
        state = PlanState(kind, zero, zero, value, zero, zero, zero.bool())
        if self.tabulated:
            return state
        to_come = torch.full_like(prompt, self.vocabulary)
        return PlanHistory(*state, torch.stack([kind, value, *(to_come,) * (self.horizon - 1)], -1))

    def observe(self, state: PlanState | PlanHistory) -> Tensor:
        if isinstance(state, PlanHistory):
            return state.seen
        stage = (state.time // 2).clamp(max=self.stages - 1)
        choosing = state.plan == 0
        return torch.stack([state.kind * choosing, stage * choosing, state.plan, state.value * ~choosing], -1)

    def legal(self, state: PlanState | PlanHistory) -> Tensor | None:
        return self.legal_tokens(state.plan == 0)

    def legal_at(self, observation: Tensor) -> Tensor | None:
        return self.legal_tokens(self.plans_at(observation))

    def legal_tokens(self, choosing: Tensor) -> Tensor:
        """Plans where one is ``choosing [...]`` (bool), else values: bool ``[..., V]``."""
        plans = torch.arange(self.vocabulary, device=choosing.device) < self.skills
        return choosing[..., None] == plans

    def step(self, state: PlanState | PlanHistory, token: Tensor) -> PlanState | PlanHistory:
        tables, choosing = self.tables, state.plan == 0
        chosen = token.clamp(max=self.skills - 1)
        written = (token - self.skills).clamp(min=0)
        stage = (state.time // 2).clamp(max=self.stages - 1)
        right = tables.skill[(state.plan - 1).clamp(min=0), state.value] == written
        after = PlanState(
            kind=state.kind,
            time=state.time + 1,
            plan=torch.where(choosing, chosen + 1, 0),
            value=torch.where(choosing, state.value, written),
            valid=state.valid + (choosing & tables.valid[state.kind, stage, chosen]),
            right=state.right + (~choosing & right),
            spoiled=state.spoiled | (choosing != (token < self.skills)),
        )
        if isinstance(state, PlanState):
            return after
        here = torch.arange(self.horizon + 1, device=self.device) == state.time[..., None] + 2
        return PlanHistory(*after, torch.where(here, token[..., None], state.seen))

    def reward(self, state: PlanState | PlanHistory) -> Tensor:
        perfect = (state.valid == self.stages) & (state.right == self.stages)
        return (perfect & ~state.spoiled & (state.time == self.horizon)).float()

    def reward_vector(self, state: PlanState | PlanHistory) -> Tensor:
        shares = torch.stack([state.valid, state.right], -1) * ~state.spoiled[..., None] / self.stages
        return torch.cat([self.reward(state)[..., None], shares], -1)

    def describe(self, state: PlanState | PlanHistory) -> str:
        kind, time, plan, value, valid, right = (int(part) for part in state[:6])
        hard = "hard " if kind >= self.types - self.hard_types else ""
        place = "over" if time == self.horizon else f"stage {time // 2 + 1} of {self.stages}"
        doing = f"skill {plan - 1} to be carried out" if plan else "nothing planned" if time else "not begun"
        paid = f"{valid} valid plans, {right} right executions, reward {float(self.reward(state)):g}"
        return f"problem of {hard}type {kind}, {place}, at {value}, {doing}; {paid}"

    # -- its tables ------------------------------------------------------------------------------------------------
    @property
    def hard_types(self) -> int:
        """How many types are hard: the last ones."""
        return round(self.hard_frac * self.types)

    @cached_property
    def tables(self) -> Tables:
        """Skills, valid plans and the order of the start values."""
        generator = torch.Generator().manual_seed(self.table_seed)
        skill = torch.stack([torch.randperm(self.values, generator=generator) for _ in range(self.skills)])
        ordinary = (self.types - self.hard_types) * self.stages
        # Exactly that share of the type-stages: the dial is exact in a small world, too.
        places = torch.randperm(ordinary, generator=generator)
        default = places < round(self.default_valid * ordinary)
        order = torch.rand(ordinary, self.skills, generator=generator)
        order[:, 0] = torch.where(default, -1.0, 2.0)
        order[:, -1] = 3.0
        valid = torch.zeros(self.types * self.stages, self.skills, dtype=torch.bool)
        valid[:ordinary].scatter_(1, order.argsort(1)[:, : self.nvalid], True)
        valid[ordinary:, -1] = True
        # Type after type holds out the next few values: each is held out by about as many types.
        first = torch.arange(self.types)[:, None] * (self.values - round(self.train_share * self.values))
        starts = torch.randperm(self.values, generator=generator)[(first + torch.arange(self.values)) % self.values]
        parts = (skill, valid.view(self.types, self.stages, self.skills), starts)
        return Tables(*(part.to(self.device) for part in parts))

    def start_values(self, split: str = "all") -> Tensor:
        """The start values of a split for each type, in their order: ``[Z, n]``."""
        check_split(split)
        starts, cut = self.tables.starts, round(self.train_share * self.values)
        return {"train": starts[:, :cut], "test": starts[:, cut:], "all": starts}[split].sort().values

    def prompts(self, split: str = "all") -> Tensor:
        types = torch.arange(self.types, device=self.device)
        return (types[:, None] * self.values + self.start_values(split)).flatten()

    @cached_property
    def as_states(self) -> PlanExec:
        """The same world in the state view."""
        return self if self.tabulated else replace(self, view="state")

    def contexts(self) -> Tensor:
        if not self.tabulated:
            raise self._no_table()
        planning = torch.cartesian_prod(*(torch.arange(n, device=self.device) for n in (self.types, self.stages)))
        plans = torch.arange(1, self.skills + 1, device=self.device)
        execution = torch.cartesian_prod(plans, torch.arange(self.values, device=self.device))
        nothing = torch.zeros_like
        return torch.cat([torch.cat([planning, nothing(planning)], 1), torch.cat([nothing(execution), execution], 1)])

    def context_index(self, observation: Tensor) -> Tensor:
        if not self.tabulated:
            raise self._no_table()
        kind, stage, plan, value = observation.unbind(-1)
        carrying_out = self.types * self.stages + (plan - 1) * self.values + value
        return torch.where(plan == 0, kind * self.stages + stage, carrying_out)

    def _no_table(self) -> ToybedError:
        return ToybedError('plan_exec: histories of view="tokens" are not listed; allowed with view="state"')

    # -- its truth -------------------------------------------------------------------------------------------------
    def solutions(self, prompt: Tensor) -> Tensor:
        return self.tables.valid.sum(-1).prod(-1)[prompt // self.values]

    def optimum(self) -> float:
        return 1.0

    def random_baseline(self) -> float:
        luck = self.tables.valid.double().mean(-1).prod(-1).mean()
        return float(luck) / self.values**self.stages

    def demonstrator(
        self,
        execution: float = 0.75,
        default: float = 0.75,
        rare: float = 0.004,
        missing: int = 0,
        tries: float = 0.0,
    ) -> Tensor:
        """A solver of habit: the same plans whatever the problem, and executions that are right for a part.

        It plans the default with a chance ``default``, the rare skill with ``rare``, and the others alike. It executes
        right with a chance ``execution``, and else writes one of the other values, all alike. The last ``missing``
        skills it lacks altogether: it executes them at random, as one who has never seen them, and never plans them
        (so ``rare`` says nothing then), unless it ``tries``: with that chance it plans one of them.

        Raises:
            ToybedError: an option is out of range.
        """
        return truth.demonstrator(self.as_states, execution, default, rare, missing, tries)

    def demonstrate(
        self,
        execution: float = 0.75,
        default: float = 0.75,
        rare: float = 0.004,
        missing: int = 0,
        tries: float = 0.0,
    ) -> Callable[[Tensor], Tensor]:
        table, states = self.demonstrator(execution, default, rare, missing, tries), self.as_states
        seen = (lambda observation: observation) if self.tabulated else partial(tokens.condensed, self)
        return lambda observation: table[states.context_index(seen(observation))]

    def evaluate(self, log_probs: Tensor) -> Evaluation:
        """Exact reward and sequence entropy on all prompts, backwards over stages and values."""
        return truth.evaluate(self, log_probs)

    def measures(self, log_probs: Tensor) -> dict[str, Tensor]:
        """What the policy's own responses to test prompts visit, exactly; see :func:`plan_exec_truth.measures`."""
        return truth.measures(self, log_probs)

    def measure_answers(self, prompt: Tensor, state: PlanHistory, answer: Tensor) -> dict[str, Tensor]:
        """Of the same those that samples can tell in the tokens view; see :func:`plan_exec_tokens.measures`."""
        return tokens.measures(self, state, answer)
