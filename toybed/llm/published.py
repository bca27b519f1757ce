"""Figures that were published about the claims: what was measured, by whom, where it stands and how it was seen."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Literal

from toybed.errors import ToybedError, unknown
from toybed.llm import records

FILE = "published.toml"

Seen = Literal["paper", "abstract", "secondary", "none"]

HOW: dict[str, Seen] = {
    "full text": "paper",
    "authors' figure, read off": "paper",
    "authors' code": "paper",
    "authors' README": "paper",
    "authors' project page": "paper",
    "abstract": "abstract",
    "third-party note": "secondary",
    "blog": "secondary",
    "own calculation": "secondary",
    "title only": "none",
}
"""How something can be seen, and what that is: the authors' own text or material, their abstract, someone else's
account (or a calculation from published numbers), or nothing that would confirm it."""


@dataclass(frozen=True)
class Published:
    """One row of the table.

    Attributes:
        claim: which one it bears on.
        quantity: what was measured.
        value: a number; or several, or words, as published.
        unit, model, task, place: empty where the source gives none.
        source: ``arXiv:NUMBER``, or where else it stands.
        how: it was seen, one of :data:`HOW`.
    """

    claim: int
    quantity: str
    value: float | int | str
    unit: str
    model: str
    task: str
    source: str
    place: str
    how: str

    @property
    def seen(self) -> Seen:
        """In the paper, the abstract, or at second hand."""
        return HOW[self.how]


@cache
def published() -> tuple[Published, ...]:
    """All figures, by claim."""
    return read(records.text(FILE), FILE)


def value_of(quantity: str, source: str) -> float:
    """The number that a source gives for a quantity, the first where it gives several.

    Raises:
        ToybedError: there is none.
    """
    for figure in published():
        if (figure.quantity, figure.source) == (quantity, source) and not isinstance(figure.value, str):
            return float(figure.value)
    raise ToybedError(f"{FILE}: {source} gives no number for {quantity!r}")


def read(content: str, where: str) -> tuple[Published, ...]:
    """The figures of a table in TOML.

    Raises:
        ToybedError: a row is not what it should be; the message names it.
    """
    found = []
    for number, row in enumerate(records.parse(content, where, ["figure"])["figure"], 1):
        place = f"{where}, figure {number}"
        figure = records.record(row, Published, place, may_be_empty=("unit", "model", "task", "place"))
        check_origin(figure.source, figure.how, place)
        found.append(figure)
    return tuple(found)


def check_origin(source: str, how: str, where: str) -> None:
    """Raise a ToybedError where a source is no arXiv number though it says so, or the way it was seen is not known."""
    if re.match("arxiv|[0-9]", source, re.IGNORECASE) and not re.fullmatch(r"arXiv:\d{4}\.\d{5}", source):
        raise ToybedError(f"{where}: source is {source!r}; allowed: arXiv:NNNN.NNNNN, or a place that is not on arXiv")
    if how not in HOW:
        raise ToybedError(f"{where}: {unknown('way of seeing', how, HOW)}")
