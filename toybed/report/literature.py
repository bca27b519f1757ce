"""What was published about the claims that questions answer, for the report."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from toybed.llm.claims import STANCES, Claim, Publication, claims
from toybed.llm.published import HOW, published
from toybed.report.sections import Section, Table


@dataclass(frozen=True)
class Said:
    """A claim and the publications on it, each with the word for what it does to the claim ("for", ...)."""

    claim: Claim
    works: tuple[tuple[str, Publication], ...]


def about(question: str) -> list[Said]:
    """The claims that a question answers, with what was published on each."""
    table = claims()
    return [_said(claim) for claim in table.claims if question in claim.questions]


def _said(claim: Claim) -> Said:
    by_stance = claims().about(claim)
    return Said(claim, tuple((STANCES[stance], work) for stance, works in by_stance.items() for work in works))


def how_seen(how: str) -> str:
    """``paper (full text)``, ``abstract``, ``not grounded (title only)``."""
    seen = "not grounded" if HOW[how] == "none" else HOW[how]
    return seen if how == seen else f"{seen} ({how})"


def section(questions: Iterable[str]) -> Section | None:
    """The figures that were published about the claims which the questions answer, a table for each claim."""
    asked = set(questions)
    tables = tuple(_table(claim) for claim in claims().claims if asked & {*claim.questions})
    if not tables:
        return None
    text = (
        "Figures from publications about language models, beside which the toys' answers may be laid. They were not "
        "measured here. Levels do not carry over from one to the other; directions and forms may."
    )
    return Section("published", "What was published", text, tables)


def _table(claim: Claim) -> Table:
    rows = tuple(
        (
            figure.quantity,
            f"{figure.value} {figure.unit}".rstrip(),
            ", ".join(filter(None, (figure.model, figure.task))),
            ", ".join(filter(None, (figure.source, figure.place))),
            how_seen(figure.how),
        )
        for figure in published()
        if figure.claim == claim.number
    )
    columns = ("quantity", "value", "of which model and task", "source and place", "how it was seen")
    return Table(f"Claim {claim.number}: {claim.title} ({len(rows)} figures)", columns, rows, folded=True)
