"""What happens in a story, who witnesses it, and what each chain of agents believes after it; all stories at once.

A *chain* ``(a1, ..., ak)`` stands for what a1 believes that a2 believes ... that ak believes; the empty chain is the
truth. Everything here is NumPy with the stories as the leading axis N, T events and A agents.
"""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

KINDS = ("move", "leave", "enter", "peek", "tell", "noop")
MOVE, LEAVE, ENTER, PEEK, TELL, NOOP = range(len(KINDS))
MAX_ORDER = 4


class Story(NamedTuple):
    """N stories. What does not apply to an event is A (nobody) or C (no container).

    ===========  ============  =====================================================================================
    field        shape         meaning
    ===========  ============  =====================================================================================
    ``initial``  [N]           the container in which the object is when all agents are there
    ``kind``     [N, T]        index in :data:`KINDS`
    ``actor``    [N, T]        who acts
    ``place``    [N, T]        what the event shows: where the object goes, is seen, or is said to be
    ``hearer``   [N, T]        who is told
    ``present``  [N, T, A]     who is in the room while it happens: who enters is, who leaves no longer is
    ``object``   [N, T]        where the object is afterwards
    ===========  ============  =====================================================================================
    """

    initial: Ints
    kind: Ints
    actor: Ints
    place: Ints
    hearer: Ints
    present: Bools
    object: Ints

    def take(self, rows: Ints | Bools) -> Story:
        """Some of the stories."""
        return Story(
            initial=self.initial[rows],
            kind=self.kind[rows],
            actor=self.actor[rows],
            place=self.place[rows],
            hearer=self.hearer[rows],
            present=self.present[rows],
            object=self.object[rows],
        )


def enact(kinds: Ints, actors: Ints, agents: int, containers: int, random: np.random.Generator) -> Story:
    """Play out wanted events: what cannot happen becomes a noop, and what is left open is drawn.

    Args:
        kinds: ``[N, T]``.
        actors: who acts, ``[N, T]``; -1 where anyone does who can. One who cannot does nothing.
        agents, containers: how many there are.
        random: draws the object's places, the actors and hearers.
    """
    count, length = kinds.shape
    here = np.ones((count, agents), dtype=bool)
    initial: Ints = np.asarray(random.integers(containers, size=count))
    thing = initial.copy()
    rows = np.arange(count)
    columns: list[tuple[Ints, ...]] = []
    presence: list[Bools] = []
    for t in range(length):
        kind = kinds[:, t]
        inside = np.isin(kind, (MOVE, LEAVE))
        able = np.where(inside[:, None], here, ~here) | (kind == TELL)[:, None]
        wanted = actors[:, t]
        able &= (wanted < 0)[:, None] | (wanted[:, None] == np.arange(agents))
        lots = np.where(able, random.random((count, agents)), -1.0)
        kind = np.where(able.any(1), kind, NOOP)
        actor = np.where(kind == NOOP, agents, lots.argmax(1))
        # The next container, or agent, but one's own: drawn among the others.
        elsewhere = (thing + random.integers(1, containers, size=count)) % containers
        claim = random.integers(containers, size=count)
        hearer = np.where(kind == TELL, (actor + random.integers(1, agents, size=count)) % agents, agents)
        thing = np.where(kind == MOVE, elsewhere, thing)
        for what, value in ((LEAVE, False), (ENTER, True)):
            chosen = kind == what
            here[rows[chosen], actor[chosen]] = value
        shows = np.isin(kind, (MOVE, ENTER, PEEK))
        place = np.where(shows, thing, np.where(kind == TELL, claim, containers))
        columns.append((kind, actor, place, hearer, thing))
        presence.append(here.copy())
    kind, actor, place, hearer, thing_after = (np.stack(column, 1) for column in zip(*columns, strict=True))
    return Story(initial, kind, actor, place, hearer, np.stack(presence, 1), thing_after)


def witnesses(story: Story) -> Bools:
    """Who takes part in what an event shows, ``[N, T, A]``: all present at a move or an entry; who peeks; both at a
    tell."""
    agents = np.arange(story.present.shape[-1])
    alone = story.actor[..., None] == agents
    seen = np.isin(story.kind, (MOVE, ENTER))[..., None] & story.present
    peeks = (story.kind == PEEK)[..., None] & alone
    tells = (story.kind == TELL)[..., None] & (alone | (story.hearer[..., None] == agents))
    return np.asarray(seen | peeks | tells)


def beliefs_of(story: Story, members: Bools) -> Ints:
    """What one chain a story believes after each event, ``[N, T]``.

    A chain takes over what an event shows if all its members witness it. What one is told changes nothing that one
    believes oneself, and nothing that one believes of oneself: at a tell a chain of the speaker alone stays as it is.

    Args:
        story: N stories.
        members: who is in each story's chain, ``[N, A]``; nobody: the truth.
    """
    witness, agents = witnesses(story), np.arange(story.present.shape[-1])
    belief, after = story.initial, []
    truth = ~members.any(1)
    for t in range(story.kind.shape[1]):
        takes = (witness[:, t] | ~members).all(1)
        speaker_alone = (members == (story.actor[:, t, None] == agents)).all(1)
        takes &= ~((story.kind[:, t] == TELL) & speaker_alone)
        belief = np.where(takes & ~truth, story.place[:, t], belief)
        after.append(np.where(truth, story.object[:, t], belief))
    return np.stack(after, 1)


def all_beliefs(story: Story, order: int) -> Ints:
    """What every chain of that order believes after each event, ``[N, T, A, ..., A]``; order 0 is the truth."""
    agents = story.present.shape[-1]
    count, length = story.kind.shape
    if order == 0:
        return story.object
    found = []
    for chain in product(range(agents), repeat=order):
        members = np.isin(np.arange(agents), chain)
        found.append(beliefs_of(story, np.broadcast_to(members, (count, agents))))
    return np.stack(found, -1).reshape(count, length, *(agents,) * order)


def members_of(chain: Ints, agents: int) -> Bools:
    """Who is in each chain: names ``[N, k]``, those that are A left out, to ``[N, A]``."""
    return np.asarray((chain[..., None] == np.arange(agents)).any(-2))


def replayed(initial: Ints, kind: Ints, actor: Ints, place: Ints, hearer: Ints, agents: int) -> Story:
    """A story from what is told of it: who is present and where the object is follow. Other kinds change nothing."""
    here = np.ones((len(initial), agents), dtype=bool)
    present, thing, after = [], initial, []
    for t in range(kind.shape[1]):
        acts = actor[:, t, None] == np.arange(agents)
        here = (here & ~(acts & (kind[:, t] == LEAVE)[:, None])) | (acts & (kind[:, t] == ENTER)[:, None])
        thing = np.where(np.isin(kind[:, t], (MOVE, ENTER, PEEK)), place[:, t], thing)
        present.append(here)
        after.append(thing)
    return Story(initial, kind, actor, place, hearer, np.stack(present, 1), np.stack(after, 1))
