"""The README's table of questions and their verdicts: ``python -m toybed.verdict_table --store STORE``, in a checkout.

The record ``benchmarks/verdicts.json`` keeps the answer of standard size to each question, with a fingerprint of the
question as it stood; the table is made from the record alone. A question to which the store has no answer keeps the row
that it has, as long as nobody has changed the question since. The fingerprint knows nothing of the code that trains and
judges: a row says which code made it, and may be older than the present one.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from toybed import study
from toybed.answers import changed_parts
from toybed.commands.listing import interval_text
from toybed.commands.verbs import STORE
from toybed.errors import ToybedError
from toybed.store import Store
from toybed.study import Study

SIZE = "standard"
MARKS = ("<!-- verdicts -->\n", "<!-- /verdicts -->\n")
"""What stands between these lines of the README is made here."""

HEADER = (
    "| question | asks | verdict | the part that decides: its estimate [95 % interval] | n |",
    "|---|---|---|---|---|",
)

Row = Mapping[str, Any]


@dataclass(frozen=True)
class VerdictTable:
    """Write the answers of standard size into the record, and the README's table from the record."""

    store: Path = STORE
    """The file that `toybed run` wrote."""
    record: Path = Path("benchmarks/verdicts.json")
    """The record."""
    readme: Path = Path("README.md")
    """The text that has the table."""

    def __call__(self) -> None:
        """Write both, or neither.

        Raises:
            ToybedError: a file is missing; or a question has neither an answer in the store nor a row that holds.
        """
        for path, hint in ((self.store, "`toybed run` makes one"), (self.readme, "run this in a checkout")):
            if not path.exists():
                raise ToybedError(f"{path} does not exist; {hint}, or name another")
        before = read(self.record) if self.record.exists() else {}
        rows = updated(before, self.store, study.studies().values())
        text = with_table(self.readme.read_text(encoding="utf-8"), rows)
        self.record.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        self.readme.write_text(text, encoding="utf-8")


def read(record: Path) -> dict[str, Row]:
    """The rows of a record, by question."""
    rows: dict[str, Row] = json.loads(record.read_text(encoding="utf-8"))
    return rows


# -- from a store to rows ----------------------------------------------------------------------------------------------
def updated(before: Mapping[str, Row], path: Path, questions: Iterable[Study]) -> dict[str, Row]:
    """The rows of all questions: of the answers in a store, else those of the record.

    Raises:
        ToybedError: a question has neither; the message names all of these.
    """
    with Store(path) as store:
        answers = store.verdicts()
    rows: dict[str, Row] = {}
    missing = []
    for question in questions:
        found = next((answer for answer in answers if answers_it(answer, question)), None)
        if found is not None:
            rows[question.name] = row(question, found)
        elif before.get(question.name, {}).get("fingerprint") == question.fingerprint(SIZE):
            rows[question.name] = before[question.name]
        else:
            missing.append(question.name)
    if missing:
        raise ToybedError(
            f"store {path} has no answer of standard size to these questions as they stand now: {', '.join(missing)}; "
            "`toybed run NAME` makes one"
        )
    return rows


def answers_it(answer: Row, question: Study) -> bool:
    """Whether an answer is one of standard size to the question as it stands and is judged now."""
    told = tuple(answer[name] for name in ("study", "size", "seeds", "device"))
    return told == (question.name, SIZE, question.seeds[SIZE], "cpu") and changed_parts(answer, question) == []


def row(question: Study, answer: Row) -> dict[str, Any]:
    """What the record keeps of an answer; ``shown`` is the part whose numbers stand for the whole, with its rule."""
    numbers = ("estimate", "low", "high", "n")
    shown = next((part for part in answer["parts"] if all(part[name] == answer[name] for name in numbers)), answer)
    return {
        "question": question.question,
        "claim": question.claim,
        "outcome": answer["outcome"],
        "shown": {"claim": shown["claim"], "rule": shown["rule"]},
        **{name: answer[name] for name in (*numbers, "sentence", "size", "seeds", "worlds", "seconds")},
        "code": answer["manifest"]["code"],
        "fingerprint": question.fingerprint(SIZE),
    }


# -- from rows to the README -------------------------------------------------------------------------------------------
def table(rows: Mapping[str, Row]) -> str:
    """The rows as a table in Markdown, after a line that counts the verdicts."""
    counts = Counter(row["outcome"] for row in rows.values())
    told = ", ".join(f"{counts[outcome]} {outcome}" for outcome in ("supported", "refuted", "undecided"))
    lines = [f"Of {len(rows)} claims, at standard size: {told}.", "", *HEADER]
    for name, one in rows.items():
        over = " worlds" if one["worlds"] > 1 else ""
        effect = f"{one['shown']['claim'].removesuffix('.')}: {interval_text(one)}"
        cells = (f"`toybed run {name}`", one["question"], f"**{one['outcome']}**", effect, f"{one['n']}{over}")
        lines.append("| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def with_table(text: str, rows: Mapping[str, Row]) -> str:
    """A text with the table between its marks.

    Raises:
        ToybedError: the marks are not there, once each and in order.
    """
    begin, end = MARKS
    before, found, rest = text.partition(begin)
    old, closed, after = rest.partition(end)
    if not (found and closed) or any(mark in old + after for mark in MARKS):
        raise ToybedError(f"the README has no lines {begin.strip()} and {end.strip()}, once each and in this order")
    return before + begin + table(rows) + end + after


def main() -> int:
    """0, or 2 where something is missing."""
    config = tyro.cli(VerdictTable)
    try:
        config()
    except ToybedError as error:
        print(f"toybed: {error}", file=sys.stderr)
        return 2
    print(f"{config.record} and {config.readme} are as {config.store} has it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
