"""Stored answers: which question each one answers, and whether that is asked and judged now as it was then.

An answer keeps where its question is found and a hash of each part of what was asked and of what judged it
(:func:`about`). An answer of an older toybed has none of that, and then nobody knows.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from toybed import study
from toybed.errors import ToybedError
from toybed.own import is_own
from toybed.reached import code_reached
from toybed.study import Study

CHANGED = {
    "claim": "answers another claim",
    "rule": "judged by another rule",
    "arms": "of other arms",
    "judge": "judged by other code",
    "code": "of runs by other code",
}
"""What is said of an answer where a part of its question is another one now."""
UNKNOWN = "may be of an older rule"


def about(question: Study, size: str) -> dict[str, Any]:
    """What an answer keeps of its question: ``address``, see :func:`address`, and ``asked``, a hash of each part."""
    return {"address": address(question), "asked": _asked(question, size)}


def _asked(question: Study, size: str) -> dict[str, str]:
    return {**question.asked(size), "judge": code_reached(question.judge), "code": study.code_version()}


def address(question: Study) -> str | None:
    """What ``toybed run`` takes to ask it: its name, of one's own ``module:name``; None where it has neither."""
    place = study.place_of(question)
    module = question.judge.__module__
    if place is None and module != "__main__" and module in sys.modules:
        named = (name for name, thing in vars(sys.modules[module]).items() if thing is question)
        place = next((f"{module}:{name}" for name in named), None)
    return place


def question_of(answer: Mapping[str, Any]) -> Study:
    """The question of an answer; one's own is imported from where it was.

    Raises:
        ToybedError: it is not found; the message says why.
    """
    name, place = answer["study"], answer.get("address")
    if name in study.studies():
        return study.studies()[name]
    if place is None or not is_own(place):
        raise ToybedError("this version of toybed does not know the question")
    if not _mentions_toybed(place.split(":")[0]):
        raise ToybedError(f"its question is not found: there is no module for {place} in this folder or environment")
    try:
        found = study.get(place)
    except SystemExit as error:
        raise ToybedError(f"its question is not found: {place} ends the program when it is imported") from error
    except ToybedError as error:
        raise ToybedError(f"its question is not found: {error}") from error
    if found.name != name:
        raise ToybedError(f"its question is not found: {place} is now the question {found.name!r}")
    return found


def _mentions_toybed(module: str) -> bool:
    """Whether a module's file speaks of toybed, found without running it.

    A store may come from somebody else. It can name what is imported, but nothing that cannot be a question.
    """
    if module in sys.modules:
        return True
    places: list[str] | None = [str(Path.cwd()), *sys.path]
    spec = None
    for end in range(1, module.count(".") + 2):
        spec = PathFinder.find_spec(".".join(module.split(".")[:end]), places)
        if spec is None or (end <= module.count(".") and spec.submodule_search_locations is None):
            return False
        places = list(spec.submodule_search_locations or ())
    if spec is None or spec.origin is None:
        return False
    return b"toybed" in Path(spec.origin).read_bytes()


def command(answer: Mapping[str, Any], question: Study) -> str:
    """What asks it again."""
    size = "" if answer["size"] == "standard" else f" --{answer['size']}"
    device = "" if answer["device"] == "cpu" else f" --device {answer['device']}"
    seeds = "" if answer["seeds"] == question.seeds.get(answer["size"]) else f" --seeds {answer['seeds']}"
    return f"toybed run {answer.get('address') or answer['study']}{size}{seeds}{device}"


def changed(answer: Mapping[str, Any]) -> str:
    """How a question is not what it was when it was answered, and what to do; empty where nothing changed.

    Empty too where the question is not found: there is nothing to compare with.
    """
    words, again = changes(answer)
    return f"{words}; run again: {again}" if again else words


def changes(answer: Mapping[str, Any]) -> tuple[str, str]:
    """The same in two: the words, and the command that asks again."""
    try:
        question = question_of(answer)
    except ToybedError:
        return "", ""
    try:
        parts = changed_parts(answer, question)
    except ToybedError as error:
        return str(error), ""
    if parts is None:
        return UNKNOWN, command(answer, question)
    return (", ".join(CHANGED[part] for part in parts), command(answer, question)) if parts else ("", "")


def changed_parts(answer: Mapping[str, Any], question: Study) -> list[str] | None:
    """The parts of a question, of :data:`CHANGED`, that are not what they were when it was answered; None: not known.

    Raises:
        ToybedError: a question of one's own fails.
    """
    if (then := answer.get("asked")) is None:
        return None
    with explained(question):
        now = _asked(question, answer["size"])
    parts = [part for part in CHANGED if then.get(part) != now[part]]
    if {"claim", "rule"} & set(parts):
        parts = [part for part in parts if part != "judge"]  # their words stand in that code
    return parts


@contextmanager
def explained(question: Study) -> Iterator[None]:
    """Turn whatever a user's question does into one line; what one of toybed's own does is a fault, and is left."""
    try:
        yield
    except ToybedError:
        raise
    except Exception as error:
        if question.name in study.studies():
            raise
        raise ToybedError(f"its question fails with {type(error).__name__}: {error}") from error
