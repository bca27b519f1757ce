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
from toybed.envs.belief_track_shortcuts import SHORTCUTS, shortcut_answers
from toybed.errors import ToybedError
from toybed.seeding import named_generator

POOL = 4096
"""Stories that are drawn at a time, to be chosen from."""

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
    """Separable questions only, from stories that are natural but for four forced events.

    One who is not asked about leaves; the object is moved; one who is asked about leaves; the object is moved again.
    These stand at random places, the other events are drawn as ever, and what has not become separable is thrown away.
    Left alone, "where it was when somebody left for the second time" would be right in 4 of 5. So the stories are
    chosen: three such cues (:func:`_cues`) are right or wrong in all 8 combinations alike, as far as there are such
    stories.
    """
    kinds = 1 << CUES
    quota = [wanted * (kind + 1) // kinds - wanted * kind // kinds for kind in range(kinds)]
    found, spare = [natural(shape, order, 0, random)], [natural(shape, order, 0, random)]
    fruitless = 0
    while any(quota) and (fruitless < PATIENCE or sum(len(bank.false) for bank in spare) < sum(quota)):
        if fruitless == 2 * PATIENCE:
            raise ToybedError(
                f"belief_track: {shape.agents} agents and {shape.events} events of this mix leave too few separable "
                f"questions of order {order}"
            )
        missing = sum(quota)
        chain = _chains(shape.agents, order, POOL, random)
        bank = _asked(shape, _forced(shape, chain, random), chain, True)
        bank = bank.take(bank.separable)
        code = _cues(bank)
        for kind in range(kinds):
            rows = np.flatnonzero(code == kind)
            found.append(bank.take(rows[: quota[kind]]))
            spare.append(bank.take(rows[quota[kind] :]))
            quota[kind] -= len(found[-1].false)
        fruitless = fruitless + 1 if sum(quota) == missing else 0
    return join([*found, join(spare).take(np.arange(sum(quota)))])


CUES = 3


def _cues(bank: Bank) -> Ints:
    """Which cues give the right answer, as a number of 3 bits: where the object was before its last move, when somebody
    left for the last time, and for the second time."""
    story, right = bank.story, bank.belief[:, -1]
    leaves = story.kind == LEAVE
    second = np.where(leaves.cumsum(1) == 2, leaves, False).argmax(1)
    last = story.kind.shape[1] - 1 - leaves[:, ::-1].argmax(1)
    rows = np.arange(len(right))
    before = bank.shortcut[SHORTCUTS.index("previous")]
    answers = (before, story.object[rows, last], story.object[rows, second])
    return np.asarray(sum((answer == right).astype(np.int64) << bit for bit, answer in enumerate(answers)))


def _forced(shape: Shape, chain: Ints, random: np.random.Generator) -> Story:
    size = (len(chain), shape.events)
    kinds = random.choice(len(KINDS), size=size, p=shape.mix)
    actors, rows = np.full_like(kinds, -1), np.arange(len(chain))
    members = members_of(chain, shape.agents)
    lots = random.random((len(chain), shape.agents))
    outsider, insider = (np.where(who, lots, -1.0).argmax(1) for who in (~members, members))
    places = np.sort(random.random(size).argsort(1)[:, :4], 1)
    for place, kind, who in zip(places.T, (LEAVE, MOVE, LEAVE, MOVE), (outsider, None, insider, None), strict=True):
        kinds[rows, place] = kind
        actors[rows, place] = -1 if who is None else who
    return enact(kinds, actors, shape.agents, shape.containers, random)


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
