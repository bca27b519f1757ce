"""Published findings that the toys should predict, and published orders of objectives, as data of the package."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cache
from typing import Literal

from toybed.errors import ToybedError, unknown
from toybed.llm import records
from toybed.llm.published import check_origin

FILE = "findings.toml"
SEEN = ("paper", "abstract", "secondary", "own fit of public logs")
QUANTITIES = ("accuracy", "entropy")

Quantity = Literal["accuracy", "entropy"]


@dataclass(frozen=True)
class Finding:
    """A published sentence that a toy run can agree or disagree with.

    Attributes:
        id: a short name.
        claim: the number of the claim on which it bears.
        statement, contrast: the sentence, and what is measured of it.
        published: the value of the contrast there, in words.
        expect: the sign that the finding gives to the contrast.
        source: where it stands.
        seen: how that was seen, one of :data:`SEEN`.
        world: in which the toy answers it.
        explanation: of what the toy gave, written after the run; no result. Empty where there is none.
    """

    id: str
    claim: int
    statement: str
    contrast: str
    published: str
    expect: str
    source: str
    seen: str
    world: str
    explanation: str


@dataclass(frozen=True)
class Order:
    """Objectives as a publication ranks them.

    Attributes:
        quantity: "accuracy" (more is better) or "entropy" (at the end).
        of: measured on what.
        objectives, values: in the same order.
        source, place, how: as in :class:`~toybed.llm.published.Published`.
    """

    quantity: str
    of: str
    objectives: tuple[str, ...]
    values: tuple[float, ...]
    source: str
    place: str
    how: str


@dataclass(frozen=True)
class Findings:
    """The whole table."""

    findings: tuple[Finding, ...]
    orders: tuple[Order, ...]


@cache
def findings() -> Findings:
    """The table that comes with the package."""
    return read(records.text(FILE), FILE)


def read(content: str, where: str) -> Findings:
    """The findings and orders of a table in TOML.

    Raises:
        ToybedError: a row is not what it should be; the message names it.
    """
    rows = records.parse(content, where, ["finding", "order"])
    table = Findings(
        tuple(
            records.record(row, Finding, f"{where}, finding {number}", may_be_empty=("explanation",))
            for number, row in enumerate(rows["finding"], 1)
        ),
        tuple(records.record(row, Order, f"{where}, order {number}") for number, row in enumerate(rows["order"], 1)),
    )
    for finding in table.findings:
        if finding.seen not in SEEN:
            raise ToybedError(f"{where}, {finding.id}: {unknown('way of seeing', finding.seen, SEEN)}")
    for name, times in Counter(finding.id for finding in table.findings).items():
        if times > 1:
            raise ToybedError(f"{where}: finding {name} stands there {times} times")
    for number, order in enumerate(table.orders, 1):
        _check_order(order, f"{where}, order {number}")
    return table


def _check_order(order: Order, where: str) -> None:
    check_origin(order.source, order.how, where)
    if order.quantity not in QUANTITIES:
        raise ToybedError(f"{where}: {unknown('quantity', order.quantity, QUANTITIES)}")
    if len(order.objectives) != len(order.values) or len(order.values) < 2:
        raise ToybedError(f"{where}: {len(order.objectives)} objectives and {len(order.values)} values")
