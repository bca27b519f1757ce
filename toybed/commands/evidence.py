"""What ``toybed evidence`` and ``toybed show claim N`` print: publications for and against each claim, the figures that
were published, and what the toy says."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from toybed.answers import changed
from toybed.commands.listing import COLOURS, interval_text
from toybed.errors import ToybedError
from toybed.llm.claims import STANCES, Claim, Claims, Publication, claims
from toybed.llm.published import HOW, Published, published
from toybed.store import Store

Answers = Mapping[str, Sequence[Mapping[str, Any]]]
"""Answers in a store by question, those with most seeds first."""

KEPT = ("outcome", "estimate", "low", "high", "n", "size", "seeds", "device", "claim", "sentence", "changed")
"""What is told of an answer."""


# -- the figures of one claim ------------------------------------------------------------------------------------------
def print_claim(number: str | None, *, as_json: bool) -> None:
    """Print what was published about a claim.

    Raises:
        ToybedError: there is no such claim.
    """
    if number is None:
        raise ToybedError(f"which claim? give a number, 1 to {len(claims().claims)}; toybed evidence shows all")
    claim = claims().named(number)
    figures = [figure for figure in published() if figure.claim == claim.number]
    if as_json:
        rows = [{**asdict(figure), "seen": figure.seen} for figure in figures]
        print(json.dumps({"name": f"claim {number}", **asdict(claim), "figures": rows}))
        return
    console = Console(highlight=False)
    _print_heading(console, claim)
    works = {work.source: work.work for work in claims().publications}
    for source in dict.fromkeys(figure.source for figure in figures):
        console.print(_figures(f"{source}: {works[source]}", [f for f in figures if f.source == source]))
    console.print("[dim]seen: in the paper or its authors' material, in its abstract, or at second hand[/dim]")
    console.print(f"[dim]toybed evidence {number} shows what is for and against it, and what the toy says[/dim]")


def _print_heading(console: Console, claim: Claim) -> None:
    console.print(f"\n[bold]Claim {claim.number}. {escape(claim.title)}[/bold]")
    console.print(Text(claim.statement))


def _figures(title: str, figures: Sequence[Published]) -> Table:
    table = Table(title=escape(title), title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column, ratio in {"quantity (of which model and task)": 5, "value": 4, "place (how seen)": 3}.items():
        table.add_column(column, overflow="fold", ratio=ratio)
    for figure in figures:
        of = ", ".join(filter(None, (figure.model, figure.task)))
        table.add_row(
            _over(figure.quantity, of),
            Text(f"{figure.value} {figure.unit}".rstrip(), style="bold"),
            _over(figure.place, how_seen(figure.how)),
        )
    return table


def _over(first: str, second: str) -> Text:
    """Two lines, or one where the other is empty."""
    return Text("\n").join(Text(words, style) for words, style in ((first, ""), (second, "dim")) if words)


def how_seen(how: str) -> str:
    """``paper (full text)``, ``abstract``, ``not grounded (title only)``."""
    seen = "not grounded" if HOW[how] == "none" else HOW[how]
    return seen if how == seen else f"{seen} ({how})"


# -- the evidence on all of them ---------------------------------------------------------------------------------------
def print_evidence(number: str | None, *, store: Path, required: bool, as_json: bool) -> None:
    """Print the evidence on a claim, or on all.

    Args:
        number: of the claim; None for all.
        store: the file that ``toybed run`` wrote.
        required: whether it is an error that it does not exist.
        as_json: print JSON.

    Raises:
        ToybedError: there is no such claim; or the store cannot be read.
    """
    table = claims()
    chosen = table.claims if number is None else (table.named(number),)
    found = answers(store, required=required)
    beside = [] if number is not None else table.beside
    if as_json:
        entries = [_entry(table, claim, found) for claim in chosen]
        others = [{**asdict(entry), "answers": _kept(found, entry.question)} for entry in beside]
        print(json.dumps({"claims": entries, "beside": others, "store": str(store)}))
        return
    console = Console(highlight=False)
    for claim in chosen:
        _print_heading(console, claim)
        console.print(_grid(_lines(table, claim, found)))
    if beside:
        console.print("\n[bold]Beside the claims[/bold]")
        for entry in beside:
            console.print(Text(f"{entry.question}: {entry.why}"))
            console.print(_grid(("toy", said) for said in toy(entry.question, found)))
    console.print(
        "\n[dim]limits: narrows, refines or replaces. not grounded: nothing was found that confirms it. toy: the "
        "outcome is that of the sentence beneath it, which may say the opposite of the claim; the estimate is that of "
        "the part which decides. toybed show QUESTION has the rule, toybed show claim N the published figures.[/dim]"
    )


def answers(path: Path, *, required: bool) -> Answers:
    """The answers in a store, each with how its question has changed since; none where there is no such file.

    Raises:
        ToybedError: the file does not exist and is required; or it is no store.
    """
    if not path.exists():
        if required:
            raise ToybedError(f"store {path} does not exist; `toybed run` makes one")
        return {}
    found: dict[str, list[Mapping[str, Any]]] = {}
    with Store(path) as store:
        for verdict in store.verdicts():
            found.setdefault(verdict["study"], []).append({**verdict, "changed": changed(verdict)})
    return found


def _entry(table: Claims, claim: Claim, found: Answers) -> dict[str, Any]:
    about = table.about(claim)
    return {
        "number": claim.number,
        "title": claim.title,
        "statement": claim.statement,
        **{word: [_work(work) for work in about[stance]] for stance, word in STANCES.items()},
        "corrections": claim.corrections,
        "not_grounded": claim.not_grounded,
        "toy": [{"question": name, "answers": _kept(found, name)} for name in claim.questions],
    }


def _work(work: Publication) -> dict[str, Any]:
    return {name: getattr(work, name) for name in ("source", "work", "how", "seen", "grounded", "result")}


def _kept(found: Answers, question: str) -> list[dict[str, Any]]:
    return [{name: answer[name] for name in KEPT} for answer in found.get(question, ())]


def _lines(table: Claims, claim: Claim, found: Answers) -> Iterator[tuple[str, Text]]:
    """Label and text of all that is told about a claim."""
    for stance, works in table.about(claim).items():
        for work in works:
            seen = (f"  [{how_seen(work.how)}]", "cyan" if work.grounded else "yellow")
            yield STANCES[stance], Text.assemble((work.source, "bold"), f" {work.work}", seen, f"\n{work.result}")
    for correction in claim.corrections:
        yield "corrected", Text(correction)
    for gap in claim.not_grounded:
        yield "not grounded", Text(gap, style="yellow")
    for question in claim.questions:
        for said in toy(question, found):
            yield "toy", said
    if not claim.questions:
        yield "toy", Text("no question answers it yet")


def toy(question: str, found: Answers) -> Iterator[Text]:
    """What the toy says about a question: each answer that the store has."""
    if question not in found:
        yield Text.assemble((question, "bold"), f"  not run yet: toybed run {question}")
    for answer in found.get(question, ()):
        outcome = (answer["outcome"], f"bold {COLOURS[answer['outcome']]}")
        device = "" if answer["device"] == "cpu" else f", {answer['device']}"
        runs = f"  n = {answer['n']}, size {answer['size']}, {answer['seeds']} seeds{device}"
        claim = (f"\n{answer['claim']}", "dim")
        mark = (f"\n{answer['changed']}" if answer["changed"] else "", "yellow")
        yield Text.assemble((question, "bold"), "  ", outcome, f"  {interval_text(answer)}", (runs, "dim"), claim, mark)


def _grid(lines: Iterable[tuple[str, Text]]) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    last = ""
    for label, text in lines:
        grid.add_row("" if label == last else label, text)
        last = label
    return grid
