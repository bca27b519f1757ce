"""The claims that are tested: what was published for and against each, what is wrong with how they are cited, and which
questions answer them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from toybed.errors import ToybedError
from toybed.llm import records
from toybed.llm.published import HOW, Seen, check_origin

FILE = "claims.toml"

STANCES = {"supports": "for", "opposes": "against", "limits": "limits"}
"""What a publication does to a claim, and the word for it in print."""


@dataclass(frozen=True)
class Claim:
    """A claim as it is commonly put.

    Attributes:
        number: from 1.
        title, statement: in a few words, and in a sentence.
        questions: that answer it.
        corrections: of wrong or loose citations of it.
        not_grounded: what is said of it and no publication could be found to confirm.
    """

    number: int
    title: str
    statement: str
    questions: tuple[str, ...]
    corrections: tuple[str, ...]
    not_grounded: tuple[str, ...]


@dataclass(frozen=True)
class Publication:
    """A work and what it does to the claims.

    Attributes:
        source: ``arXiv:NUMBER``, or where else it stands.
        work: its name or subject.
        how: it was seen, one of :data:`~toybed.llm.published.HOW`.
        result: in words.
        supports, opposes, limits: numbers of claims; to limit is also to refine, or to replace by something newer.
    """

    source: str
    work: str
    how: str
    result: str
    supports: tuple[int, ...]
    opposes: tuple[int, ...]
    limits: tuple[int, ...]

    @property
    def seen(self) -> Seen:
        """In the paper, the abstract, at second hand, or not."""
        return HOW[self.how]

    @property
    def grounded(self) -> bool:
        """Whether anything was seen that confirms what it is cited for."""
        return self.seen != "none"

    def bears_on(self) -> dict[str, tuple[int, ...]]:
        """Numbers of claims by stance."""
        return {stance: getattr(self, stance) for stance in STANCES}


@dataclass(frozen=True)
class Beside:
    """A question that answers no claim, and why it is asked."""

    question: str
    why: str


@dataclass(frozen=True)
class Claims:
    """The whole table."""

    claims: tuple[Claim, ...]
    publications: tuple[Publication, ...]
    beside: tuple[Beside, ...]

    def named(self, number: str) -> Claim:
        """The claim of a number, as it was typed.

        Raises:
            ToybedError: there is none.
        """
        for claim in self.claims:
            if number == str(claim.number):
                return claim
        raise ToybedError(f"unknown claim {number!r}: allowed: 1 to {len(self.claims)}; toybed evidence shows all")

    def about(self, claim: Claim) -> dict[str, list[Publication]]:
        """The publications on a claim, by stance."""
        return {
            stance: [work for work in self.publications if claim.number in work.bears_on()[stance]]
            for stance in STANCES
        }

    def questions(self) -> set[str]:
        """All questions that are named."""
        answers = {name for claim in self.claims for name in claim.questions}
        return answers | {entry.question for entry in self.beside}


@cache
def claims() -> Claims:
    """The table that comes with the package."""
    return read(records.text(FILE), FILE)


def read(content: str, where: str) -> Claims:
    """The claims of a table in TOML.

    Raises:
        ToybedError: a row is not what it should be, or two do not go together; the message names it.
    """
    rows = records.parse(content, where, ["claim", "publication", "beside"])
    table = Claims(
        tuple(_each(rows, Claim, "claim", where)),
        tuple(_each(rows, Publication, "publication", where)),
        tuple(_each(rows, Beside, "beside", where)),
    )
    numbers = [claim.number for claim in table.claims]
    if numbers != list(range(1, len(numbers) + 1)):
        raise ToybedError(f"{where}: claims have the numbers {numbers}; allowed: 1, 2, ... in this order")
    for number, work in enumerate(table.publications, 1):
        _check_work(work, numbers, f"{where}, publication {number}")
    _check_once([work.source for work in table.publications], "publication", where)
    _check_once([entry.question for entry in table.beside], "question beside the claims", where)
    for claim in table.claims:
        _check_once(claim.questions, f"question of claim {claim.number}", where)
        for entry in table.beside:
            if entry.question in claim.questions:
                raise ToybedError(
                    f"{where}: {entry.question} answers claim {claim.number} and is not beside the claims"
                )
    return table


def _each(rows: Mapping[str, list[dict[str, Any]]], of: type[records.T], kind: str, where: str) -> Iterable[records.T]:
    for number, row in enumerate(rows[kind], 1):
        yield records.record(row, of, f"{where}, {kind} {number}")


def _check_work(work: Publication, numbers: list[int], where: str) -> None:
    check_origin(work.source, work.how, where)
    touched = [number for many in work.bears_on().values() for number in many]
    if not touched:
        raise ToybedError(f"{where}: it bears on no claim")
    for number in touched:
        if number not in numbers:
            raise ToybedError(f"{where}: unknown claim {number}: allowed: 1 to {len(numbers)}")
    _check_once([str(number) for number in touched], "claim", where)


def _check_once(names: Iterable[str], kind: str, where: str) -> None:
    for name, times in Counter(names).items():
        if times > 1:
            raise ToybedError(f"{where}: {kind} {name} stands there {times} times")
