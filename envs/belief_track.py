"""BeliefTrack: where does A think that B thinks the object is? Nested beliefs, and the rules that imitate them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from toybed.envs import belief_track_measures as measured
from toybed.envs.belief_track_events import (
    ENTER,
    KINDS,
    MAX_ORDER,
    MOVE,
    PEEK,
    Bools,
    Ints,
    Story,
    beliefs_of,
    members_of,
    replayed,
)
from toybed.envs.belief_track_shortcuts import SHORTCUTS, shortcut_answers
from toybed.envs.belief_track_stories import Bank, Shape, directed, join, natural, train_bank
from toybed.envs.core import Reading, TokenEnv, check_split
from toybed.errors import ToybedError, unknown
from toybed.seeding import named_generator

VIEWS = ("story", "stream", "trace")
QUERY = 1 + MAX_ORDER
"""Entries of an observation that hold the question: its order and its agents' names."""


class BeliefState(NamedTuple):
    """A response on its way: ``story`` (its number), ``time`` (tokens so far), each ``[...]``, ``written [..., T]``.

    ``written`` are the tokens after each event, C + 1 where there is none; ``answer [...]`` is C + 1 before it.
    """

    story: Tensor
    time: Tensor
    written: Tensor
    answer: Tensor


class Stories(NamedTuple):
    """The bank as tensors, stories first: what is seen of them, the right answers, and to which class they belong.

    ``query [N, 5]``, ``initial [N]``, ``events [N, T, 4]`` (kind, actor, place, hearer), ``present [N, T, A]`` (0 or
    1), ``belief [N, T]``, ``shortcut [N, R]``; ``false``, ``separable``, ``directed`` bool ``[N]``.
    """

    query: Tensor
    initial: Tensor
    events: Tensor
    present: Tensor
    belief: Tensor
    shortcut: Tensor
    false: Tensor
    separable: Tensor
    directed: Tensor

    @property
    def order(self) -> Tensor:
        """Of each story's question, ``[N]``."""
        return self.query[:, 0]


@dataclass(frozen=True)
class BeliefTrack(TokenEnv):
    """Follow who saw what, and answer what somebody believes that somebody believes.

    Description:
        An object is in one of C containers, and all A agents are in the room. Then T events happen: somebody moves the
        object, leaves, enters (and sees where it is), peeks from outside, tells another privately where it is (true or
        not), or does nothing of the kind. A question of order k names k agents, nobody twice in a row: where does a1
        think that a2 thinks ... that the object is? Order 0 asks where it is. A chain of agents takes over what an
        event shows if all of them witness it: who is present at a move or an entry, who peeks, both at a tell (but no
        claim changes what its speaker believes alone). Every question leaves somebody out.
        A prompt is a story with a question, from a bank that is drawn once. Train questions are of the ``orders``; an
        exact share ``false_belief`` of them (none of order 0) asks for a belief that is not the truth, and an exact
        share ``separable``, if it is given, for one that is neither the truth, nor where the object was at first, nor
        the last place that all have seen: directed questions, which no such rule answers. Test questions are of orders
        0 to 4, ``test_stories`` natural ones each, and as many directed ones of orders 1 to 4. Directed ones come in
        pairs, two about one story with different answers: what is answered without looking at who is asked about is
        right in half at most.
    Action space:
        ``Discrete(C)``, the answer; with a view of tokens ``Discrete(C + 1)``, where token C skips. An answer may not
        skip, and with ``view="stream"`` nothing else may be done before it. Tokens after events are of kind "trace".
    Observation:
        ``view="story"``: order, four names (A: nobody), first container, then for each event kind, actor, place and
        hearer (A and C where that does not apply). "stream" and "trace" show one event more at each token and then the
        tokens chosen so far; events to come are of kind 6, tokens to come C + 1. With ``memory="none"`` only the
        question, the present event (kind 6 before the answer), who is there (0 or 1 for each agent) and the previous
        token, which is the first container at first: what has not been written is gone.
    Reward:
        ``1[answer right] - length_cost * (share of the events after which a container was written)``, at the end. The
        vector is (right, share of the events after which the belief asked for was written, minus the share with any).
    Termination:
        After the answer: ``view="story"`` after 1 token, the others after ``T + 1``.
    Knobs:
        ``agents`` A, ``containers`` C, ``events`` T, ``mix`` (how likely each kind of event is, in the order above;
        what cannot happen does not), ``orders``, ``false_belief``, ``separable`` (the shortcut's pressure),
        ``train_stories``, ``test_stories``, ``table_seed`` (of the bank), ``view``, ``memory`` and ``length_cost``.
    Optimum and random baseline:
        1 (with a cost, the bound of one who answers without writing; with ``memory="none"`` it may be out of reach),
        and ``1 / C`` minus what random writing costs.
    What it stands for in LLM training:
        Theory-of-mind benchmarks (Sally-Anne, ToMi, Hi-ToM) and RL on their answers: does a policy track beliefs, or
        has it found a rule that pays as well; and what becomes of its written reasoning when only answers are paid?
    """

    agents: int = 4
    containers: int = 5
    events: int = 8
    mix: tuple[float, ...] = (0.35, 0.25, 0.2, 0.0, 0.0, 0.2)
    orders: tuple[int, ...] = (1, 2)
    false_belief: float = 0.5
    separable: float | None = None
    train_stories: int = 16384
    test_stories: int = 256
    table_seed: int = 0
    view: str = "story"
    memory: str = "full"
    length_cost: float = 0.0

    def __post_init__(self) -> None:
        # A store gives lists back where tuples were.
        object.__setattr__(self, "mix", tuple(self.mix))
        object.__setattr__(self, "orders", tuple(self.orders))
        for name, low, high in (
            ("agents", 4, 8),
            ("containers", 4, 16),
            ("events", 6, 32),
            ("train_stories", 16, 2**20),
            ("test_stories", 8, 2**16),
        ):
            if not low <= getattr(self, name) <= high:
                raise ToybedError(f"belief_track: {name} is {getattr(self, name)}; allowed: {low} to {high}")
        if self.test_stories % 2:
            raise ToybedError(f"belief_track: test_stories is {self.test_stories}; allowed: even, they come in pairs")
        if len(self.mix) != len(KINDS) or min(self.mix) < 0 or not abs(sum(self.mix) - 1) < 1e-9:
            raise ToybedError(f"belief_track: mix is {self.mix}; allowed: {len(KINDS)} chances that sum to 1")
        if not self.orders or len(set(self.orders)) < len(self.orders) or not set(self.orders) <= set(range(5)):
            raise ToybedError(f"belief_track: orders is {self.orders}; allowed: some of 0 to {MAX_ORDER}, each once")
        if not 0 <= self.false_belief <= 1:
            raise ToybedError(f"belief_track: false_belief is {self.false_belief}; allowed: 0 to 1")
        if self.separable is not None and not 0 <= self.separable <= self.false_belief:
            raise ToybedError(
                f"belief_track: separable is {self.separable}; allowed: None, or 0 to the share of false beliefs, "
                f"{self.false_belief}"
            )
        for name, allowed in (("view", VIEWS), ("memory", ("full", "none"))):
            if getattr(self, name) not in allowed:
                raise unknown(f"{name} of belief_track", getattr(self, name), allowed)
        if self.memory == "none" and self.view != "trace":
            raise ToybedError('belief_track: memory="none" without a trace knows nothing; allowed with view="trace"')
        if not 0 <= self.length_cost <= 1:
            raise ToybedError(f"belief_track: length_cost is {self.length_cost}; allowed: 0 to 1")

    # -- what it is ------------------------------------------------------------------------------------------------
    @property
    def horizon(self) -> int:
        return 1 if self.view == "story" else self.events + 1

    @property
    def vocabulary(self) -> int:
        return self.containers + (self.view != "story")

    @property
    def tabulated(self) -> bool:
        return False

    @property
    def binary_reward(self) -> bool:
        return self.length_cost == 0

    @property
    def observation_sizes(self) -> tuple[int, ...]:
        names = self.agents + 1
        query = (MAX_ORDER + 1, *(names,) * MAX_ORDER)
        event = (len(KINDS) + (self.view != "story"), names, self.containers + 1, names)
        if self.memory == "none":
            return (*query, *event, *(2,) * self.agents, self.vocabulary)
        tokens = () if self.view == "story" else (self.vocabulary + 1,) * self.events
        return (*query, self.containers, *event * self.events, *tokens)

    @property
    def reading(self) -> Reading | None:
        if self.memory == "none":
            return None
        first, later = QUERY + 1, QUERY + 1 + 4 * self.events
        frames = [tuple(range(first)), *(tuple(range(e, e + 4)) for e in range(first, later, 4))]
        sizes = [*self.observation_sizes]
        if self.view != "story":
            # A token is read with the event after it, the last one alone.
            frames = [*frames[:2], *((*frame, later + t) for t, frame in enumerate(frames[2:]))]
            frames.append((later + self.events - 1,))
            sizes[first:later:4] = [len(KINDS)] * self.events
            sizes[later:] = [self.vocabulary] * self.events
        return Reading(tuple(frames), tuple(sizes))

    def position(self, observation: Tensor) -> Tensor:
        if self.view == "story":
            return torch.zeros_like(observation[..., 0])
        return (observation[..., -self.events :] < self.vocabulary).sum(-1)

    @property
    def n_prompts(self) -> int:
        return self.train_stories + self.test_stories * (2 * MAX_ORDER + 1)

    @property
    def kinds(self) -> tuple[str, ...]:
        return (*("trace",) * (self.horizon - 1), "answer")

    @property
    def reward_names(self) -> tuple[str, ...]:
        return ("right", "trace_validity", "brevity")

    # -- how it moves ----------------------------------------------------------------------------------------------
    def reset(self, prompt: Tensor, noise: Tensor | None = None) -> BeliefState:
        none = torch.full_like(prompt, self.containers + 1)
        return BeliefState(prompt, torch.zeros_like(prompt), none[..., None].repeat_interleave(self.events, -1), none)

    def observe(self, state: BeliefState) -> Tensor:
        stories, time = self.stories, state.time
        query, events = stories.query[state.story], stories.events[state.story]
        if self.memory == "none":
            return self._observe_moment(state, query, events)
        if self.view == "story":
            return torch.cat([query, stories.initial[state.story][..., None], events.flatten(-2)], -1)
        shown = torch.arange(self.events, device=self.device) <= time[..., None]
        events = torch.where(shown[..., None], events, events.new_tensor(self._to_come))
        initial = stories.initial[state.story][..., None]
        return torch.cat([query, initial, events.flatten(-2), state.written], -1)

    @property
    def _to_come(self) -> tuple[int, int, int, int]:
        return (len(KINDS), self.agents, self.containers, self.agents)

    def _observe_moment(self, state: BeliefState, query: Tensor, events: Tensor) -> Tensor:
        def at(values: Tensor, time: Tensor) -> Tensor:
            """The row of ``values [..., T, n]`` at each time: ``[..., n]``."""
            rows = values.reshape(-1, *values.shape[-2:])
            return rows[torch.arange(len(rows), device=self.device), time.flatten()].view(*time.shape, -1)

        now = state.time.clamp(max=self.events - 1)
        over = (state.time >= self.events)[..., None]
        event = torch.where(over, events.new_tensor(self._to_come), at(events, now))
        present = at(self.stories.present[state.story], now)
        before = at(state.written[..., None], (state.time - 1).clamp(0, self.events - 1))
        carried = torch.where(state.time[..., None] == 0, self.stories.initial[state.story][..., None], before)
        return torch.cat([query, event, present, carried], -1)

    def legal(self, state: BeliefState) -> Tensor | None:
        return self._legal_tokens(state.time)

    def legal_at(self, observation: Tensor) -> Tensor | None:
        if self.memory == "none":
            return self._legal_tokens(torch.where(observation[..., QUERY] == len(KINDS), self.events, 0))
        return self._legal_tokens(self.position(observation))

    def _legal_tokens(self, time: Tensor) -> Tensor | None:
        if self.view == "story":
            return None
        container = torch.arange(self.vocabulary, device=self.device) < self.containers
        answering = (time >= self.events)[..., None]
        return torch.where(answering, container, ~container if self.view == "stream" else torch.ones_like(container))

    def step(self, state: BeliefState, token: Tensor) -> BeliefState:
        if self.view == "story":
            return state._replace(time=state.time + 1, answer=token)
        here = torch.arange(self.events, device=self.device) == state.time[..., None]
        written = torch.where(here, token[..., None], state.written)
        answer = torch.where(state.time == self.events, token, state.answer)
        return BeliefState(state.story, state.time + 1, written, answer)

    def reward(self, state: BeliefState) -> Tensor:
        over = (state.time == self.horizon).float()
        right, _, brevity = self.reward_vector(state).unbind(-1)
        return (right + self.length_cost * brevity) * over

    def reward_vector(self, state: BeliefState) -> Tensor:
        belief = self.stories.belief[state.story]
        wrote = state.written < self.containers
        spoiled = (wrote.any(-1)) & (self.view == "stream")
        right = (state.answer == belief[..., -1]) & ~spoiled
        valid = (wrote & (state.written == belief)).float().mean(-1)
        return torch.stack([right.float(), valid, -wrote.float().mean(-1)], -1)

    # -- its stories -----------------------------------------------------------------------------------------------
    @cached_property
    def bank(self) -> Bank:
        """All stories: the train ones, then by order the natural and the directed test ones."""
        return _bank(
            Shape(self.agents, self.containers, self.events, self.mix),
            self.orders,
            self.train_stories,
            self.test_stories,
            self.false_belief,
            self.separable,
            self.table_seed,
        )

    @cached_property
    def stories(self) -> Stories:
        """The bank as tensors."""
        bank, story = self.bank, self.bank.story
        order = (bank.chain < self.agents).sum(1)[:, None]
        parts = (
            np.concatenate([order, bank.chain], 1),
            story.initial,
            np.stack([story.kind, story.actor, story.place, story.hearer], -1),
            story.present.astype(np.int64),
            bank.belief,
            bank.shortcut.T,
            bank.false,
            bank.separable,
            bank.directed,
        )
        return Stories(*(torch.from_numpy(np.ascontiguousarray(part)).to(self.device) for part in parts))

    def prompts(self, split: str = "all") -> Tensor:
        check_split(split)
        first = self.train_stories if split == "test" else 0
        return torch.arange(first, self.train_stories if split == "train" else self.n_prompts, device=self.device)

    def contexts(self) -> Tensor:
        raise ToybedError("belief_track: stories are not listed as contexts; allowed: policies that are no tables")

    # -- its truth -------------------------------------------------------------------------------------------------
    def solutions(self, prompt: Tensor) -> Tensor:
        free = self.view == "trace" and self.length_cost == 0
        return torch.full_like(prompt, self.vocabulary**self.events if free else 1)

    def optimum(self) -> float:
        return 1.0

    def random_baseline(self) -> float:
        writes = self.containers / self.vocabulary if self.view == "trace" else 0.0
        return 1 / self.containers - self.length_cost * writes

    def shortcut(self, name: str) -> Callable[[Tensor], Tensor]:
        """A named rule as a policy of the story view: ``observation [..., F]`` to log-probabilities ``[..., V]``.

        Raises:
            ToybedError: there is no such rule, or the view is another one.
        """
        if name not in SHORTCUTS:
            raise unknown("shortcut", name, SHORTCUTS)
        if self.view != "story":
            raise ToybedError('belief_track: a shortcut reads a whole story; allowed with view="story"')

        def rule(observation: Tensor) -> Tensor:
            story, chain = self._told(observation)
            answers = shortcut_answers(story, chain)[name]
            return self._sure(torch.from_numpy(answers).to(self.device), observation, 0.0, 0.0)

        return rule

    def demonstrate(self, skip: float = 0.0, noise: float = 0.0) -> Callable[[Tensor], Tensor]:
        """One who follows the belief asked for: writes it after each event, and answers with it.

        It reads what a policy reads, and no more. With ``memory="none"`` it knows what it wrote before and what it sees
        now: having skipped, it does not know the belief until an event shows it, skips meanwhile, and guesses.

        Args:
            skip: the chance that it skips where it would write.
            noise: the chance of a uniform legal token in the place of any.

        Raises:
            ToybedError: an option is not from 0 to 1.
        """
        for name, value in (("skip", skip), ("noise", noise)):
            if not 0 <= value <= 1:
                raise ToybedError(f"belief_track: {name} is {value}; allowed: 0 to 1")

        def follower(observation: Tensor) -> Tensor:
            story, chain = self._told(observation)
            belief = beliefs_of(story, members_of(chain, self.agents))[:, -1]
            return self._sure(torch.from_numpy(belief).to(self.device), observation, skip, noise)

        return follower

    def _told(self, observation: Tensor) -> tuple[Story, Ints]:
        """The part of the story that is seen, and the question's names ``[N, 4]``."""
        rows = observation.flatten(0, -2).cpu().numpy()
        chain = rows[:, 1:QUERY]
        if self.memory == "none":
            event = rows[:, QUERY : QUERY + 4]
            present: Bools = rows[:, None, QUERY + 4 : -1] > 0
            thing = np.where(np.isin(event[:, :1], (MOVE, ENTER, PEEK)), event[:, 2:3], rows[:, -1:])
            kind, actor, place, hearer = (event[:, None, i] for i in range(4))
            return Story(rows[:, -1], kind, actor, place, hearer, present, thing), chain
        events = rows[:, QUERY + 1 : QUERY + 1 + 4 * self.events].reshape(len(rows), self.events, 4)
        kind, actor, place, hearer = (events[..., i] for i in range(4))
        return replayed(rows[:, QUERY], kind, actor, place, hearer, self.agents), chain

    def _sure(self, token: Tensor, observation: Tensor, skip: float, noise: float) -> Tensor:
        """That token ``[N]`` at each observation, but for skips and noise; C is not knowing: a skip, or a guess."""
        legal = self.legal_at(observation)
        words = torch.arange(self.vocabulary, device=self.device)
        token = token.view(observation.shape[:-1])[..., None]
        chance = (words == token).double()
        if legal is not None:
            may_skip = legal[..., -1:]
            skipped = (words == self.containers).double()
            chance = torch.where(may_skip, (1 - skip) * chance + skip * skipped, chance) * legal
        allowed = torch.ones_like(chance) if legal is None else legal.double()
        uniform = allowed / allowed.sum(-1, keepdim=True)
        chance = torch.where(chance.sum(-1, keepdim=True) > 0, chance, uniform)
        chance = (1 - noise) * chance / chance.sum(-1, keepdim=True) + noise * uniform
        return chance.clamp(min=1e-38).log().float()

    def measure_answers(self, prompt: Tensor, state: BeliefState, answer: Tensor) -> dict[str, Tensor]:
        """By order and class of question; see :mod:`~toybed.envs.belief_track_measures`."""
        return measured.measures(self, prompt, state, answer)

    def describe(self, state: BeliefState) -> str:
        """The story as it is known so far, the question, and what was written."""
        return measured.told(self, state)


@lru_cache(maxsize=8)
def _bank(
    shape: Shape,
    orders: tuple[int, ...],
    train: int,
    test: int,
    false: float,
    separable: float | None,
    seed: int,
) -> Bank:
    parts = [train_bank(shape, orders, train, false, separable, seed)]
    for order in range(MAX_ORDER + 1):
        random = named_generator(seed, f"belief_track/test/{order}")
        parts.append(natural(shape, order, test, random))
        if order:
            parts.append(directed(shape, order, test, random))
    return join(parts)
