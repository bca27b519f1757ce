"""MIDialogue: a therapist, or a master over four of them, talks with users who differ in what they are ready for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from toybed.envs import mi_dialogue_ladder as ladder
from toybed.envs import mi_dialogue_optima as best_of
from toybed.envs import mi_dialogue_truth as truth
from toybed.envs import mi_dialogue_users as people
from toybed.envs.core import ILLEGAL, Each, Evaluation, TokenEnv, check_split
from toybed.errors import ToybedError

LEVELS = ("act", "option", "both")
SOURCES = ("code", "text")
MAX_TYPES = 64


class Dialogue(NamedTuple):
    """A dialogue, each part ``[...]`` but the last two.

    ``user`` (its type), ``time`` (tokens so far) and ``turn`` (turns so far); ``option`` that is held, ``heard`` (the
    user's last act) and ``said`` (the therapist's), each from 1 on, 0 for none; ``counters``, a number below 175;
    ``spoiled``: an illegal token was used, bool; ``points [..., 5]``, paid so far in hundredths; ``noise [..., N]``.
    """

    user: Tensor
    time: Tensor
    turn: Tensor
    option: Tensor
    heard: Tensor
    said: Tensor
    counters: Tensor
    spoiled: Tensor
    points: Tensor
    noise: Tensor


@dataclass(frozen=True)
class MIDialogue(TokenEnv):
    """Talk with a user in the style of motivational interviewing.

    The user simulator is invented. Its probabilities were estimated from nothing, it is not clinical, and no result
    in it says anything about patients or therapy. It stands for one thing: users who need different strategies.

    Description:
        In each of T turns the therapist does one of 13 acts and the user answers with one of 9. Three counters follow
        the user's acts, whenever they come: rapport (feelings, to 6), context (information and medical questions, to
        4), perspective (change talk and new understanding, to 4). A user is in one of four phases (engage, focus,
        evoke, plan): the first whose counter is below the user's own, hidden threshold. What it answers depends on
        type, half of the dialogue, phase and act, and not on the last acts. An act that belongs only to later phases
        is premature: ``.12 resist`` is added to the weight of sustain talk, and a resistant user has a quarter of its
        change talk, understanding and information. An open user has 1.6 times the change talk and 1.3 times the
        understanding. A receptive user is resistant in the first half of the dialogue and open in the second. A prompt
        is a user's type. After the three named ones come ``n_types`` mixtures of them, drawn from ``table_seed``: such
        a user answers every turn as one of the three, each as often as its share says. The noise of an episode is a
        uniform number for each answer, and one for each act that a fixed sub-policy draws; without noise all are 1/2,
        so that everybody does the median of what may be done (in the order of ``token_names``).
    Action space:
        ``level="act"``: ``Discrete(13)``, the act. ``level="option"``: ``Discrete(4)``, one of engage, focus, evoke,
        plan, whose fixed sub-policy ``subs`` then draws the acts of ``hold`` turns. ``level="both"``: ``Discrete(17)``,
        T / hold times an option (tokens 0 to 3) and then ``hold`` acts (tokens 4 to 16); all else is illegal and spoils
        the response: no reward. Option tokens are of kind "planning", act tokens of kind "execution".
    Observation:
        ``level="act"``: ``MultiDiscrete([10, 14])``, the user's last act and the therapist's (0 before the first);
        with ``see_counters`` in their place ``[7, 5, 5, T]``, rapport, context, perspective and turns so far, which are
        all that a user's answer depends on besides its type. ``level="option"``: ``[7, 5, 5, T / hold]``, with options
        so far. ``level="both"``: ``[5, 7, 5, 5, T / hold, 10, 14]``, the option that is held (0: one is to be chosen),
        then what is seen at the other two levels: an option is chosen from the counters and the number of options so
        far, an act from the option and the last acts alone, and what is not seen is 0. So a table is a master with its
        sub-policies. With ``see_type`` there is one entry more, the user's type (at ``level="both"`` for the master
        only): the first, or the second behind the option held. After the last turn the turn before is seen still.
    Reward:
        A sum over answers, paid as they come; the vector is (engage, focus, evoke, plan, harm), and the number its sum.
        ``reward_source="code"``, as in the paper's public code, by .01: .5 for each of the first 3 feelings; from
        rapport 3 on 1 for information and for a medical question while context is below 4; from context 3 on, too, 1.5
        for change talk and for understanding while perspective is below 4; once all three counters are at 3, 2.5 for
        change talk and 2.45 for a medical question instead; -.1 for sustain talk. Its -1 for a text that cannot be
        parsed has nothing to stand for here. ``reward_source="text"``, as the paper's text is summarised: .5, 1, 1.5
        and 2 for the four phases, .05 for change talk and -.05 for sustain talk. Which answers earn a phase's bonus,
        and when, the summary does not say: that is filled in from the code, and the .05 counts to "evoke".
        ``gated=False`` pays context and perspective whatever the counters before them are; "plan" still asks for all.
        In both, counters count at all times: what comes before its time is counted and not paid.
    Termination:
        After T turns: ``T`` tokens, ``T / hold`` or ``T / hold + T``.
    Knobs:
        ``level``; ``reward_source`` and ``gated``; ``turns`` T and ``hold``, which divides it; ``resist``; ``need``,
        the thresholds of rapport, context and perspective of the three named users (the reward's are 3 for all, so that
        one state of the counters asks for different options by type); ``n_types``, and ``held_out``: how many of these,
        the last ones, are the test split (with 0 both splits are all types); ``only``: the number of the one type that
        is the train split; ``see_type``, ``see_counters``; ``subs``:
        four rows of 13 chances, by default uniform over the acts of the option's phase; ``table_seed``.
    Optimum and random baseline:
        By dynamic programming over counters and turns (``optima()``, type by type), of a therapist who knows the type
        and sees counters and turn; a policy that does not may not reach it (``best_for_all()`` is what ascent finds for
        one that sees all but the type). For receptive, resistant and open users by default 19.83, 14.67, 20.04 at the
        act level, which bounds ``level="both"`` as well, and 7.92, 5.71, 7.98 at the option level. Over these three, at
        the option level: the optimum is 7.20, one policy for all 6.97, the ladder 6.95, and constant engage, focus,
        evoke, plan 4.15, 2.56, 3.43, .75; random choices earn 3.21, 3.28 and 3.21 at the three levels. A prototype
        whose answer chances are not known in full had 21.65, 14.06, 22.42; 9.09, 5.34, 9.36; 7.93; 6.86 for its ladder;
        2.58, .02, 1.45, .09; and 1.94. These chances were not fitted to it.
        At counters (0, 0, 0), (3, 0, 0), (3, 3, 0), (3, 3, 3) receptive and open users are best met with engage, focus,
        evoke, plan, as there; resistant ones with engage each time, where the prototype had plan at the last.
    What it stands for in LLM training:
        An agent that is trained on many kinds of users at once, where one strategy for all is the easy thing to learn:
        hierarchical policies whose master may collapse onto one option, and meta-learning that may keep it from that.
        Returns are no successes: pass@k and coverage are not measured here.
    """

    level: str = "option"
    reward_source: str = "code"
    gated: bool = True
    turns: int = 20
    hold: int = 4
    resist: float = 6.0
    need: tuple[tuple[int, ...], ...] = ((3, 3, 3), (5, 3, 3), (1, 1, 1))
    n_types: int = 6
    held_out: int = 3
    only: int | None = None
    see_type: bool = False
    see_counters: bool = False
    subs: tuple[tuple[float, ...], ...] | None = None
    table_seed: int = 0

    def __post_init__(self) -> None:
        # From JSON come lists; a world is hashable.
        for name in ("need", "subs"):
            rows = getattr(self, name)
            object.__setattr__(self, name, None if rows is None else tuple(tuple(row) for row in rows))
        for name, allowed in (("level", LEVELS), ("reward_source", SOURCES)):
            if getattr(self, name) not in allowed:
                raise ToybedError(f"mi_dialogue: {name} is {getattr(self, name)!r}; allowed: {', '.join(allowed)}")
        most = MAX_TYPES - len(people.TYPES)
        for name, low, high in (("turns", 1, 60), ("hold", 1, 60), ("n_types", 0, most), ("held_out", 0, self.n_types)):
            if not low <= getattr(self, name) <= high:
                raise ToybedError(f"mi_dialogue: {name} is {getattr(self, name)}; allowed: {low} to {high}")
        if self.only is not None and not 0 <= self.only < self.n_prompts:
            raise ToybedError(f"mi_dialogue: only is {self.only}; allowed: 0 to {self.n_prompts - 1}, or None")
        if self.level != "act" and self.turns % self.hold:
            raise ToybedError(f"mi_dialogue: hold is {self.hold}; allowed: divisors of {self.turns}, the turns")
        if not 0 <= self.resist <= 100:
            raise ToybedError(f"mi_dialogue: resist is {self.resist}; allowed: 0 to 100")
        self._check_tables()

    def _check_tables(self) -> None:
        highest = [size - 1 for size in people.SIZES]
        if [len(row) for row in self.need] != [3] * len(people.TYPES) or any(
            not 0 <= least <= high for row in self.need for least, high in zip(row, highest, strict=True)
        ):
            raise ToybedError(
                f"mi_dialogue: need is {self.need}; allowed: three rows (receptive, resistant, open) of three "
                f"thresholds, from 0 to at most {highest}"
            )
        if self.subs is None:
            return
        if self.level == "act":
            raise ToybedError('mi_dialogue: subs are of level="option" and "both"; allowed at level="act": None')
        fits = [len(row) for row in self.subs] == [len(people.ACTS)] * len(people.PHASES)
        if not fits or any(min(row) < 0 or abs(sum(row) - 1) > 1e-4 for row in self.subs):
            raise ToybedError(
                "mi_dialogue: subs must be 4 rows (engage, focus, evoke, plan) of 13 chances that add to 1"
            )

    # -- what it is ------------------------------------------------------------------------------------------------
    @property
    def blocks(self) -> int:
        """How many options a dialogue has."""
        return self.turns // self.hold

    @property
    def horizon(self) -> int:
        return {"act": self.turns, "option": self.blocks, "both": self.blocks + self.turns}[self.level]

    @property
    def token_names(self) -> tuple[str, ...]:
        """What each token means, for people."""
        return {"act": people.ACTS, "option": people.PHASES, "both": people.PHASES + people.ACTS}[self.level]

    @property
    def vocabulary(self) -> int:
        return len(self.token_names)

    @property
    def observation_sizes(self) -> tuple[int, ...]:
        types = (self.n_prompts,) if self.see_type else ()
        last = (len(people.ANSWERS) + 1, len(people.ACTS) + 1)
        if self.level == "act":
            return (*types, *people.SIZES, self.turns) if self.see_counters else (*types, *last)
        if self.level == "option":
            return (*types, *people.SIZES, self.blocks)
        return (len(people.PHASES) + 1, *types, *people.SIZES, self.blocks, *last)

    @property
    def n_prompts(self) -> int:
        return len(people.TYPES) + self.n_types

    @property
    def kinds(self) -> tuple[str, ...]:
        block = {"act": (), "option": ("planning",), "both": ("planning", *("execution",) * self.hold)}[self.level]
        return block * self.blocks if block else ("execution",) * self.turns

    def plans_at(self, observation: Tensor) -> Tensor:
        if self.level == "both":
            return observation[..., 0] == 0
        return torch.full(observation.shape[:-1], self.level == "option", device=observation.device)

    @property
    def noise(self) -> int:
        return self.turns * (2 if self.level == "option" else 1)

    @property
    def binary_reward(self) -> bool:
        return False

    @property
    def tokens_decide(self) -> bool:
        return False

    @property
    def reward_names(self) -> tuple[str, ...]:
        return (*people.PHASES, "harm")

    # -- how it moves ----------------------------------------------------------------------------------------------
    def reset(self, prompt: Tensor, noise: Tensor | None = None) -> Dialogue:
        zero = torch.zeros_like(prompt)
        points = torch.zeros(*prompt.shape, len(self.reward_names), dtype=torch.int64, device=prompt.device)
        if noise is None:
            noise = torch.full((*prompt.shape, self.noise), 0.5, device=prompt.device)
        return Dialogue(prompt, zero, zero, zero, zero, zero, zero, zero.bool(), points, noise)

    def observe(self, state: Dialogue) -> Tensor:
        types = [state.user] if self.see_type else []
        counters = list(self.counters[state.counters].unbind(-1))
        last = [state.heard, state.said]
        if self.level == "act":
            turn = state.turn.clamp(max=self.turns - 1)
            return torch.stack([*types, *([*counters, turn] if self.see_counters else last)], -1)
        seen = [*types, *counters, (state.turn // self.hold).clamp(max=self.blocks - 1)]
        if self.level == "option":
            return torch.stack(seen, -1)
        choosing = state.option == 0
        return torch.stack(
            [state.option, *(part * choosing for part in seen), *(part * ~choosing for part in last)], -1
        )

    def legal(self, state: Dialogue) -> Tensor | None:
        return self._legal(state.option) if self.level == "both" else None

    def legal_at(self, observation: Tensor) -> Tensor | None:
        return self._legal(observation[..., 0]) if self.level == "both" else None

    def _legal(self, option: Tensor) -> Tensor:
        options = torch.arange(self.vocabulary, device=option.device) < len(people.PHASES)
        return (option[..., None] == 0) == options

    def step(self, state: Dialogue, token: Tensor) -> Dialogue:
        if self.level == "act":
            after = self.respond(state, token)
        elif self.level == "option":
            after = state
            for _ in range(self.hold):
                after = self.respond(after, self._drawn(self._subs_below[token], after, self.turns))
        else:
            after = self._choose_or_act(state, token)
        return after._replace(time=state.time + 1)

    def respond(self, state: Dialogue, act: Tensor) -> Dialogue:
        """One turn: the therapist's ``act [...]``, and what the user's noise makes of it."""
        half = (2 * state.turn >= self.turns).long()
        below = self._answers_below[state.user, half, self.tables.situation[state.counters], act]
        return self.exchange(state, act, self._drawn(below, state, 0))

    def exchange(self, state: Dialogue, act: Tensor, answer: Tensor) -> Dialogue:
        """One turn in which both acts are given: the therapist's ``act`` and the user's ``answer``, ``[...]``."""
        return state._replace(
            turn=state.turn + 1,
            heard=answer + 1,
            said=act + 1,
            counters=self.tables.following[state.counters, answer],
            points=state.points + self.tables.points[state.counters, answer],
        )

    def _choose_or_act(self, state: Dialogue, token: Tensor) -> Dialogue:
        """The hierarchical step: an option where none is held, else an act; the last act of a block ends it."""
        options, choosing = len(people.PHASES), state.option == 0
        spoiled = state.spoiled | (choosing != (token < options))
        chosen = state._replace(option=token.clamp(max=options - 1) + 1, spoiled=spoiled)
        acted = self.respond(state, (token - options).clamp(min=0))._replace(spoiled=spoiled)
        acted = acted._replace(option=torch.where(acted.turn % self.hold == 0, 0, state.option))
        return Dialogue(*(_where(choosing, a, b) for a, b in zip(chosen, acted, strict=True)))

    def _drawn(self, below: Tensor, state: Dialogue, first: int) -> Tensor:
        """What this turn's number, the one after ``first``, falls on, given the sums of chances ``[..., n]``."""
        place = (first + state.turn.clamp(max=self.turns - 1))[..., None]
        return (state.noise.gather(-1, place) >= below).sum(-1).clamp(max=below.shape[-1] - 1)

    def reward_vector(self, state: Dialogue) -> Tensor:
        return (state.points * ~state.spoiled[..., None]).float() / 100

    def reward(self, state: Dialogue) -> Tensor:
        return (state.points.sum(-1) * ~state.spoiled).float() / 100

    def describe(self, state: Dialogue) -> str:
        rapport, context, perspective = self.counters[int(state.counters)].tolist()
        who = f"user of type {self.type_name(int(state.user))}, " if self.see_type else ""
        held = f", option {people.PHASES[int(state.option) - 1]}" if int(state.option) else ""
        said = f"therapist: {people.ACTS[int(state.said) - 1]}, user: {people.ANSWERS[int(state.heard) - 1]}"
        last = said if int(state.said) else "nothing said yet"
        return (
            f"{who}turn {int(state.turn)} of {self.turns}{held}; {last}; rapport {rapport}, context {context}, "
            f"perspective {perspective}; reward so far {float(self.reward(state)):g}"
        )

    def type_name(self, user: int) -> str:
        """The name of a type; for a mixture its shares."""
        if user < len(people.TYPES):
            return people.TYPES[user]
        shares = zip(self.mixture[user].tolist(), people.TYPES, strict=True)
        return "mixed (" + ", ".join(f"{share:.2f} {name}" for share, name in shares) + ")"

    # -- its tables ------------------------------------------------------------------------------------------------
    @cached_property
    def mixture(self) -> Tensor:
        """How much of each named user there is in each type, ``[K, 3]``."""
        return people.mixtures(self.n_types, self.table_seed).to(self.device)

    @cached_property
    def counters(self) -> Tensor:
        """Rapport, context and perspective of each number, ``[175, 3]``."""
        return people.counters().to(self.device)

    @cached_property
    def tables(self) -> people.Tables:
        """What users answer, and what becomes of it."""
        answers, situation = people.users(self.mixture.cpu(), self.need, self.resist)
        rest = (people.following(), people.points(self.reward_source, self.gated))
        return people.Tables(*(part.to(self.device) for part in (answers, situation, *rest)))

    @cached_property
    def sub_policies(self) -> Tensor:
        """The chances of each option's acts, float64 ``[4, 13]``: ``subs``, or uniform over the phase's acts."""
        rows = people.repertoire().double() if self.subs is None else torch.tensor(self.subs, dtype=torch.float64)
        return (rows / rows.sum(1, keepdim=True)).to(self.device)

    @cached_property
    def effects(self) -> truth.Effects:
        """What a turn does for each choice of this level: options at ``level="option"``, else acts."""
        return truth.effects(self, self.level)

    @cached_property
    def _answers_below(self) -> Tensor:
        return self.tables.answers.cumsum(-1)

    @cached_property
    def _subs_below(self) -> Tensor:
        return self.sub_policies.cumsum(-1)

    def prompts(self, split: str = "all") -> Tensor:
        check_split(split)
        if split == "train" and self.only is not None:
            return torch.tensor([self.only], device=self.device)
        cut = self.n_prompts - self.held_out
        first, last = {"train": (0, cut), "test": (cut if self.held_out else 0, None), "all": (0, None)}[split]
        return torch.arange(self.n_prompts, device=self.device)[first:last]

    def contexts(self) -> Tensor:
        if self.level != "both":
            return super().contexts()
        sizes = self.observation_sizes
        choosing, acting = sizes[1:-2], (sizes[0] - 1, *sizes[-2:])
        first, later = (
            torch.cartesian_prod(*(torch.arange(size, device=self.device) for size in part))
            for part in (choosing, acting)
        )
        hidden = torch.zeros(len(later), len(choosing), dtype=torch.int64, device=self.device)
        option, last = later[:, :1] + 1, later[:, 1:]
        return torch.cat([pad(first, (1, 2)), torch.cat([option, hidden, last], 1)])

    def context_index(self, observation: Tensor) -> Tensor:
        if self.level != "both":
            return super().context_index(observation)
        sizes = self.observation_sizes
        option, *seen = observation.unbind(-1)
        first = torch.zeros_like(option)
        for value, size in zip(seen[:-2], sizes[1:-2], strict=True):
            first = first * size + value
        later = (((option - 1) * sizes[-2] + seen[-2]) * sizes[-1]) + seen[-1]
        return torch.where(option == 0, first, prod(sizes[1:-2]) + later)

    @cached_property
    def masters(self) -> Tensor:
        """Which contexts are those of a choice among options, bool ``[C]``."""
        return self.plans_at(self.contexts())

    # -- its truth -------------------------------------------------------------------------------------------------
    def solutions(self, prompt: Tensor) -> Tensor:
        """A return has no ceiling that a response reaches: nothing is a solution here.

        Raises:
            ToybedError: always.
        """
        raise ToybedError(
            "mi_dialogue has no solutions to count: users answer by chance; compare returns with optima()"
        )

    def optima(self, level: str | None = None) -> Tensor:
        """The best attainable return of each type at a level, by default this one, ``[K]``, float64: see the class.

        Of ``level="both"`` it is that of the act level: a bound.
        """
        if level not in (None, *LEVELS):
            raise ToybedError(f"mi_dialogue: level is {level!r}; allowed: {', '.join(LEVELS)}")
        return best_of.best(self, level or self.level).worth

    def optimum(self, split: str = "all") -> float:
        """The mean of :meth:`optima` over a split's types."""
        return float(self.optima()[self.prompts(split)].mean())

    def optimal_policy(self) -> Tensor:
        """The table ``[C, V]``, float64, that reaches :meth:`optima` on every type.

        Raises:
            ToybedError: policies do not see what it has to know here.
        """
        if self.level == "both" or not self.see_type or not (self.see_counters or self.level == "option"):
            raise ToybedError(
                "mi_dialogue: the optimal policy knows the type and sees counters and turn: set see_type=True and "
                'level="option", or level="act" and see_counters=True'
            )
        chosen = best_of.best(self, self.level).choice.transpose(1, 2).flatten()  # [K, 175, n] as contexts run
        table = torch.full((len(chosen), self.vocabulary), ILLEGAL, dtype=torch.float64, device=self.device)
        return table.scatter(1, chosen[:, None], 0.0)

    @cached_property
    def _random_baseline(self) -> float:
        return float(self.evaluate(self.uniform()).reward.mean())

    def random_baseline(self) -> float:
        return self._random_baseline

    def demonstrator(self, noise: float = 0.0, master_noise: float | None = None) -> Tensor:
        """A therapist who climbs the ladder engage, focus, evoke, plan, one phase after the other.

        Its options, and its acts where it sees the counters, are those of the first phase whose counter is below 3.
        Where it sees only the last acts, it takes the user's last one for a sign: after a feeling it asks on (focus),
        after information it invites change (evoke), after change talk or understanding it plans, and else it engages.
        Acts are drawn from ``sub_policies``.

        Args:
            noise: how often an act, or at ``level="option"`` an option, is drawn uniformly instead.
            master_noise: the same for the options of ``level="both"``; None is ``noise``. With 1 the sub-policies are
                specialists and the master is uniform.

        Raises:
            ToybedError: a share is not between 0 and 1.
        """
        master_noise = noise if master_noise is None else master_noise
        for name, value in (("noise", noise), ("master_noise", master_noise)):
            if not 0 <= value <= 1:
                raise ToybedError(f"mi_dialogue: {name} is {value}; allowed: 0 to 1")
        return ladder.mixed(self, noise, master_noise).float()

    def evaluate(self, log_probs: Tensor) -> Evaluation:
        """Exact reward and sequence entropy on all types, by dynamic programming forwards in time.

        The entropy is that of the tokens that the policy chooses: a fixed sub-policy's acts are the world's noise.
        """
        done = truth.walk(self, log_probs)
        return Evaluation(done.paid.sum(-1), done.entropy)

    def measures(self, log_probs: Tensor) -> dict[str, Tensor]:
        """Returns by type and component, and what a master does, all exact.

        ``reward_receptive``, ``reward_resistant``, ``reward_open``; ``paid_engage`` and so on: the mean reward vector
        on train types. Where there are options, over all choices of an option on train types: ``dominant_share`` (of
        the most frequent option, as sampled), ``dominant_share_argmax`` (when the master takes its most probable option
        everywhere; in a uniform policy that is one by accident), ``option_entropy``, ``information_type`` (of type and
        option), ``information_state`` (of what the master sees and option), nats; and ``evoke_in_focus`` and so on: the
        share of all choices that are this option in that phase of the ladder.
        """
        return truth.measures(self, log_probs)

    def evaluate_each(self, log_probs: Tensor) -> Each:
        """Exact; options by phase of the ladder, None at ``level="act"``."""
        done = truth.walk_each(self, log_probs)
        if self.level == "act" or done.choices is None:
            return Each(done.paid.sum(-1), None)
        return Each(done.paid.sum(-1), truth.by_phase(self, done.choices))

    def best_for_all(self, split: str = "all") -> best_of.Best:
        """The best policy that ascent finds among those that see counters and turn but not the type: a lower bound.

        At ``level="both"`` it chooses acts, as at the act level.
        """
        return best_of.best_for_all(self, self.level, split)

    def best_master(self, log_probs: Tensor) -> Tensor:
        """What a master can make of a table's sub-policies at most, type by type: ``[..., C, V]`` to ``[..., K]``.

        Raises:
            ToybedError: sub-policies are tokens of ``level="both"`` only.
        """
        if self.level != "both":
            raise ToybedError(f'mi_dialogue: best_master is of level="both", and the level is {self.level!r}')
        return best_of.best_master(self, log_probs)


def _where(chosen: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """``torch.where`` with a condition ``[...]`` for values ``[..., N]`` or ``[...]``."""
    return torch.where(chosen.reshape(chosen.shape + (1,) * (a.ndim - chosen.ndim)), a, b)
