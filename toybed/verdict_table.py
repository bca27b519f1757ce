"""The README's table of questions and their verdicts: ``python -m toybed.verdict_table --store STORE``, in a checkout.

The record ``benchmarks/verdicts.json`` keeps the answer of standard size to each question, with a fingerprint of the
question as it stood; the table is made from the record alone. A question to which the store has no answer keeps the row
that it has, as long as nobody has changed the question since. The fingerprint knows nothing of the code that trains.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from toybed import study
from toybed.agents.config import Setting
from toybed.errors import ToybedError
from toybed.listing import interval_text
from toybed.store import Store
from toybed.study import Study
from toybed.verbs import STORE

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
        answers, kept = store.verdicts(), {config for config, _ in store.curves(())}
    rows: dict[str, Row] = {}
    missing = []
    for question in questions:
        now = fingerprint(question)
        found = next((answer for answer in answers if answers_it(answer, question, kept)), None)
        if found is not None:
            rows[question.name] = row(question, found)
        elif before.get(question.name, {}).get("fingerprint") == now:
            rows[question.name] = before[question.name]
        else:
            missing.append(question.name)
    if missing:
        raise ToybedError(
            f"store {path} has no answer of standard size to these questions as they stand now: {', '.join(missing)}; "
            "`toybed run NAME` makes one"
        )
    return rows


def answers_it(answer: Row, question: Study, kept: Set[str]) -> bool:
    """Whether an answer is one of standard size to the question as it stands now.

    Args:
        answer: as a store has it.
        question: its claim, rule and seeds have to be those of the answer.
        kept: settings of the runs in that store, as JSON; all that the question surely runs have to be among them.
    """
    asked = (question.name, SIZE, question.seeds[SIZE], "cpu", question.claim)
    told = tuple(answer[name] for name in ("study", "size", "seeds", "device", "claim"))
    if asked != told or not answer["rule"].startswith(question.rule):  # an answer may add what it shows
        return False
    return all(json.dumps(setting.config(), sort_keys=True) in kept for _, setting in surely_run(question))


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
        "fingerprint": fingerprint(question),
    }


# -- what an answer depends on -----------------------------------------------------------------------------------------
def fingerprint(question: Study) -> str:
    """A hash of the question: its words, its seeds, and the settings of all that it runs or may choose."""
    tuning, search = question.tuning, question.search
    words = [question.question, question.claim, question.rule, question.amendments]
    counts = [
        question.seeds[SIZE],
        question.worlds,
        None if tuning is None else tuning.seeds[SIZE],
        None if search is None else [search.generations[SIZE], search.bases[SIZE]],
    ]
    settings = [(name, setting.config()) for name, setting in (*surely_run(question), *may_run(question))]
    exact = json.dumps([words, counts, settings], sort_keys=True)
    # The last digits of a computed setting may be another machine's.
    rounded = json.dumps(json.loads(exact, parse_float=lambda digits: f"{float(digits):.9g}"))
    return hashlib.sha256(rounded.encode()).hexdigest()[:16]


def surely_run(question: Study) -> Iterator[tuple[str, Setting]]:
    """Arms, candidates, and the first generation of a search, each by name, in the world of its first seed."""
    for arm, runs in question.runs(SIZE, 1, "cpu").items():
        yield arm, runs[0].setting
    trials = question.trials(SIZE, "cpu")
    if question.search is not None:
        trials = question.search.runs(SIZE, 0, question.search.begin(SIZE), "cpu")
    for place, options in trials.items():
        for label, runs in options.items():
            yield f"{place}: {label}", runs[0].setting


def may_run(question: Study) -> Iterator[tuple[str, Setting]]:
    """What each candidate would be in the sweep; of a search, the arms that it would make of its first state."""
    if question.tuning is not None:
        for arm, options in question.tuning.candidates(SIZE).items():
            for label, setting in options.items():
                yield f"{arm}: {label}", question.tuning.final(SIZE, arm, setting)
    if question.search is not None:
        yield from question.search.final(SIZE, question.search.begin(SIZE)).items()


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
