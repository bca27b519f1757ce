"""Lesson 10: following a belief, and which questions tell it from shortcuts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from toybed.course.exercise import exercise

Event = tuple[str, str, int | None]

_SALLY: list[Event] = [("leave", "sally", None), ("move", "anne", 2)]
_BACK: list[Event] = [*_SALLY, ("enter", "sally", None), ("leave", "anne", None), ("move", "sally", 3)]
_BOTH: list[Event] = [
    ("move", "tom", 1),
    ("leave", "anne", None),
    ("move", "tom", 2),
    ("leave", "sally", None),
    ("move", "tom", 3),
    ("enter", "anne", None),
    ("move", "tom", 4),
]


def _belief(start: int, events: Sequence[Event], sees: Callable[[set[str]], bool], entries: bool = True) -> int:
    """The place at the last event that was seen, where ``sees`` says so of who is away."""
    place = believed = start
    away: set[str] = set()
    for kind, who, where in events:
        if kind == "leave":
            away.add(who)
        elif kind == "enter":
            away.discard(who)
        elif where is not None:
            place = where
        if kind in (("move", "enter") if entries else ("move",)) and sees(away):
            believed = place
    return believed


def _forgets_returns(start: int, events: Sequence[Event], chain: Sequence[str]) -> int:
    stays = [event for event in events if event[0] != "enter"]
    return _belief(start, stays, lambda away: not away & set(chain))


@exercise(
    inputs=[
        {"start": 0, "events": [("move", "anne", 1)], "chain": ["sally"]},
        {"start": 0, "events": _SALLY, "chain": ["sally"]},
        {"start": 0, "events": _BACK, "chain": ["sally"]},
        {"start": 0, "events": _BACK, "chain": ["anne", "sally"]},
        {"start": 0, "events": _BOTH, "chain": ["anne", "sally"]},
        {"start": 0, "events": _BOTH, "chain": ["sally", "anne"]},
        {"start": 0, "events": _BACK[:3], "chain": ["sally"]},
    ],
    hint="Keep three things along the events: where the object is, who is away, and the belief. At a move or an entry "
    "the belief becomes where the object is, if nobody of the chain is away.",
    mistakes={
        "That is where the object *is*. Who is out of the room does not know.": (
            lambda start, events, chain: _belief(start, events, lambda away: True)
        ),
        "That is where it was at first, whatever has been seen since.": lambda start, events, chain: start,
        "It is enough for you that *somebody* of the chain is there. What anne thinks that sally thinks changes only "
        "where both see it.": lambda start, events, chain: _belief(start, events, lambda away: not set(chain) <= away),
        "That is what the first of the chain believes. The others have to see it, too.": (
            lambda start, events, chain: _belief(start, events, lambda away: chain[0] not in away)
        ),
        "That is what the last of the chain believes. Does the one who is asked about know that it was seen?": (
            lambda start, events, chain: _belief(start, events, lambda away: chain[-1] not in away)
        ),
        "Who leaves stays away for good: you forget that somebody may come back. That is the shortcut "
        "`first_departure`, which is right surprisingly often.": _forgets_returns,
        "Who comes back sees nothing, in your version: an entry shows all in the room where the object is.": (
            lambda start, events, chain: _belief(start, events, lambda away: not away & set(chain), entries=False)
        ),
    },
)
def belief(start: int, events: Sequence[Event], chain: Sequence[str]) -> int:
    """The place at the last event that all of the chain witnessed."""
    place = believed = start
    away = set()
    for kind, who, where in events:
        if kind == "leave":
            away.add(who)
        elif kind == "enter":
            away.discard(who)
        elif where is not None:
            place = where
        if kind != "leave" and not away & set(chain):
            believed = place
    return believed


_ANSWER = torch.tensor([0, 1, 2, 3])
_RULES = torch.tensor([[0, 1, 2], [0, 2, 3], [2, 2, 2], [0, 1, 3]])


@exercise(
    inputs=[{"answer": _ANSWER, "shortcuts": _RULES}, {"answer": _ANSWER[:2], "shortcuts": _RULES[2:, :1]}],
    hint="Compare `answer[:, None]` with `shortcuts`: `!=` for each rule, and then all of them along the last axis.",
    mistakes={
        "It is enough for you that *some* rule is wrong. One rule that gives the right answer is a way to be right "
        "without tracking: all have to be wrong.": lambda answer, rules: (answer[:, None] != rules).any(-1),
        "That is turned round: it is true where some rule is right.": lambda answer, rules: (
            answer[:, None] == rules
        ).any(-1),
        "That is where *all* rules are right, the questions that tell least.": (
            lambda answer, rules: (answer[:, None] == rules).all(-1)
        ),
        "That says it of every rule; a question separates if it does so for all rules, along the last axis.": (
            lambda answer, rules: answer[:, None] != rules
        ),
        "Only the first rule is looked at.": lambda answer, rules: answer != rules[:, 0],
    },
)
def separates(answer: Tensor, shortcuts: Tensor) -> Tensor:
    """Where no rule gives the right answer."""
    return (answer[:, None] != shortcuts).all(-1)
