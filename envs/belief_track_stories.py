"""Banks of stories with their questions: natural ones, ones of chosen shares, and directed ones that tell rules apart.

A question is *false-belief* where the right answer is not where the object is, and *separable* where it is moreover
neither where the object was at first nor what everyone saw last.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import NamedTuple

import numpy as np

from toybed.envs.belief_track_events import (
    KINDS,
    LEAVE,
    MAX_ORDER,
    MOVE,
    Bools,
    Ints,
    Story,
    beliefs_of,
    enact,
    members_of,
)
from toybed.envs.belief_track_shortcuts import shortcut_answers
from toybed.errors import ToybedError
from toybed.seeding import named_generator

POOL = 4096
"""Stories that are drawn at a time, to be chosen from."""

QUESTIONS = 8
"""Questions that are tried about each story, to find two that are separable."""

PATIENCE = 20
"""Pools in a row without a story of a kind that is wanted, after which there is none."""


class Bank(NamedTuple):
    """N stories with one question each.

    ``chain [N, 4]`` names the question's agents, A for nobody; ``belief [N, T]`` is the right answer after each event;
    ``shortcut [R, N]`` what each rule answers; ``false``, ``separable`` and ``directed`` are bool ``[N]``.
    """

    story: Story
    chain: Ints
    belief: Ints
    shortcut: Ints
    false: Bools
    separable: Bools
    directed: Bools

    def take(self, rows: Ints | Bools) -> Bank:
        """Some of them."""
        shortcut = self.shortcut[:, rows]
        story, chain, belief, _, *flags = self
        return Bank(story.take(rows), chain[rows], belief[rows], shortcut, *(flag[rows] for flag in flags))


class Shape(NamedTuple):
    """How stories are made: agents, containers, events in each, and how likely each kind of event is."""

    agents: int
    containers: int
    events: int
    mix: tuple[float, ...]


def join(banks: Sequence[Bank]) -> Bank:
    """One bank of several, in their order."""
    story = Story(*(np.concatenate(parts) for parts in zip(*(bank.story for bank in banks), strict=True)))
    shortcut = np.concatenate([bank.shortcut for bank in banks], 1)
    rest = {
        name: np.concatenate([getattr(bank, name) for bank in banks])
        for name in ("chain", "belief", "false", "separable", "directed")
    }
    return Bank(story=story, shortcut=shortcut, **rest)


def train_bank(
    shape: Shape, orders: Sequence[int], total: int, false: float, separable: float | None, seed: int
) -> Bank:
    """Stories with questions of the given orders, as many of each, in which the classes have exactly these shares.

    Of the questions of each order ``false`` are false-belief ones and ``separable`` separable ones (None: as it comes
    out among the natural false-belief ones). They are chosen from natural stories; separable ones, where a share is
    given, are directed stories: in natural ones they are rare. Order 0 has no false beliefs.
    """
    random = named_generator(seed, "belief_track/train")
    parts = []
    for place, order in enumerate(orders):
        share = total * (place + 1) // len(orders) - total * place // len(orders)
        wrong = 0 if order == 0 else round(false * share)
        apart = 0 if order == 0 or separable is None else round(separable * share)
        wanted = (share - wrong, wrong - apart, apart)
        parts.append(_chosen(shape, order, wanted, free=separable is None, random=random))
    bank = join(parts)
    return bank.take(random.permutation(len(bank.false)))


def _chosen(shape: Shape, order: int, wanted: tuple[int, int, int], free: bool, random: np.random.Generator) -> Bank:
    """That many congruent questions, false-belief ones (not separable ones, unless ``free``), and directed ones."""
    congruent, wrong, apart = wanted
    found: list[Bank] = []
    have = [0, 0]
    for pools in count():
        if have[0] >= congruent and have[1] >= wrong:
            break
        if pools == PATIENCE and any(need and not got for need, got in zip((congruent, wrong), have, strict=True)):
            raise ToybedError(
                f"belief_track: events of this mix leave no false belief of order {order}, or nothing else"
            )
        pool = natural(shape, order, POOL, random)
        classes = (~pool.false, pool.false if free else pool.false & ~pool.separable)
        for index, (rows, need) in enumerate(zip(classes, (congruent, wrong), strict=True)):
            taken = np.flatnonzero(rows)[: need - have[index]]
            found.append(pool.take(taken))
            have[index] += len(taken)
    return join([*found, directed(shape, order, apart, random)])


def natural(shape: Shape, order: int, wanted: int, random: np.random.Generator) -> Bank:
    """Stories whose events are drawn one by one, with a question of that order about anyone."""
    kinds = random.choice(len(KINDS), size=(wanted, shape.events), p=shape.mix)
    actors = np.full_like(kinds, -1)
    story = enact(kinds, actors, shape.agents, shape.containers, random)
    return _asked(shape, story, _chains(shape.agents, order, wanted, random), False)


def directed(shape: Shape, order: int, wanted: int, random: np.random.Generator) -> Bank:
    """Separable questions in pairs: two about one story, whose right answers differ.

    So any answer that does not depend on who is asked about is right in half of them at most: where the object was
    when somebody left for the second time, before its last move, for longest. (Of separable questions one by one such a
    cue answers 4 in 5.) To find such stories soon, half of them have six forced events at random places: three agents
    leave, and the object is moved after each; all others are drawn as ever.
    """
    found, have, fruitless = [natural(shape, order, 0, random)], 0, 0
    while have < wanted:
        pair = _pairs(shape, order, random)
        rows = np.arange(min(len(pair.false), wanted - have))
        found.append(pair.take(rows))
        have += len(rows)
        fruitless = 0 if len(rows) else fruitless + 1
        if fruitless == PATIENCE:
            raise ToybedError(
                f"belief_track: {shape.agents} agents and {shape.events} events of this mix leave no two separable "
                f"questions of order {order} about one story"
            )
    return join(found)


def _busy(shape: Shape, random: np.random.Generator) -> Story:
    """A pool of stories, in half of which three agents leave in turn with a move after each, where there is room."""
    kinds = random.choice(len(KINDS), size=(POOL, shape.events), p=shape.mix)
    actors = np.full_like(kinds, -1)
    forced = np.flatnonzero(random.random(POOL) < 0.5)
    leavers = random.random((len(forced), shape.agents)).argsort(1)
    places = np.sort(random.random((len(forced), shape.events)).argsort(1)[:, :6], 1)
    for turn in range(3):
        kinds[forced, places[:, 2 * turn]] = LEAVE
        actors[forced, places[:, 2 * turn]] = leavers[:, turn]
        kinds[forced, places[:, 2 * turn + 1]] = MOVE
        actors[forced, places[:, 2 * turn + 1]] = -1
    return enact(kinds, actors, shape.agents, shape.containers, random)


def _pairs(shape: Shape, order: int, random: np.random.Generator) -> Bank:
    """Those of a pool of stories about which two separable questions were found, each story twice in a row."""
    story = _busy(shape, random)
    asked = [_asked(shape, story, _chains(shape.agents, order, POOL, random), True) for _ in range(QUESTIONS)]
    apart = np.stack([bank.separable for bank in asked])  # [questions, N]
    answer = np.stack([bank.belief[:, -1] for bank in asked])
    first, rows = apart.argmax(0), np.arange(POOL)
    other = apart & (answer != answer[first, rows])
    second, useful = other.argmax(0), np.flatnonzero(other.any(0))
    both = np.stack([first[useful], second[useful]], 1).flatten()
    places = both * POOL + useful.repeat(2)
    return join(asked).take(places)


def _chains(agents: int, order: int, rows: int, random: np.random.Generator) -> Ints:
    """Names of an order, nobody named twice in a row, and somebody left out who is not asked about: ``[rows, 4]``."""
    chain = np.full((rows, MAX_ORDER), agents)
    cast = random.random((rows, agents)).argsort(1)[:, : agents - 1]  # all but one
    last = np.full(rows, -1)
    for place in range(order):
        step = random.integers(1, max(agents - 1, 2), size=rows)
        first = random.integers(agents - 1, size=rows)
        index = first if place == 0 else (last + step) % (agents - 1)
        chain[:, place] = np.take_along_axis(cast, index[:, None], 1)[:, 0]
        last = index
    return chain


def _asked(shape: Shape, story: Story, chain: Ints, is_directed: bool) -> Bank:
    belief = beliefs_of(story, members_of(chain, shape.agents))
    rules = shortcut_answers(story, chain)
    answer = belief[:, -1]
    false = answer != rules["reality"]
    separable = false & (answer != rules["initial"]) & (answer != rules["common_ground"])
    flags = np.full(len(answer), is_directed)
    return Bank(story, chain, belief, np.stack(list(rules.values())), false, separable, flags)
