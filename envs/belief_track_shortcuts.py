"""Rules that answer a belief question without tracking the belief: what a policy may learn in its place."""

from __future__ import annotations

import numpy as np

from toybed.envs.belief_track_events import LEAVE, MOVE, Bools, Ints, Story, beliefs_of, members_of

SHORTCUTS = ("reality", "initial", "first_agent", "last_agent", "common_ground", "previous", "first_departure")
"""Where the object is; where it was at first; what the question's first or last agent believes; the last place that
everyone saw; where it was before its last move; and where it was when the first of those asked about left, which
follows them but for who comes back: of directed questions with 8 events it answers .99, .95, .94 and .89, by order."""


def shortcut_answers(story: Story, chain: Ints) -> dict[str, Ints]:
    """What each rule answers to each story's question, ``[N]`` by name.

    Args:
        story: N stories.
        chain: names of the question's agents, ``[N, 4]``, then A for nobody; all nobody asks for the truth.
    """
    agents = story.present.shape[-1]
    order = (chain < agents).sum(1)
    first, last = chain[:, :1], np.take_along_axis(chain, np.maximum(order - 1, 0)[:, None], 1)
    everyone = np.ones((len(chain), agents), dtype=bool)
    return {
        "reality": story.object[:, -1],
        "initial": story.initial,
        "first_agent": beliefs_of(story, members_of(first, agents))[:, -1],
        "last_agent": beliefs_of(story, members_of(last, agents))[:, -1],
        "common_ground": beliefs_of(story, everyone)[:, -1],
        "previous": _before_the_last_move(story),
        "first_departure": _when_the_first_left(story, members_of(chain, agents)),
    }


def _when_the_first_left(story: Story, members: Bools) -> Ints:
    """The place when the first of the members ``[N, A]`` left; where none did, the last place."""
    acts = np.take_along_axis(np.pad(members, ((0, 0), (0, 1))), story.actor, 1)
    leaves = (story.kind == LEAVE) & acts
    first = np.where(leaves.any(1), leaves.argmax(1), leaves.shape[1] - 1)
    return np.asarray(story.object[np.arange(len(first)), first])


def _before_the_last_move(story: Story) -> Ints:
    """The place before the last move; where nothing moved, the first place."""
    before, place = story.initial, story.initial
    for t in range(story.kind.shape[1]):
        before = np.where(story.kind[:, t] == MOVE, place, before)
        place = story.object[:, t]
    return before
