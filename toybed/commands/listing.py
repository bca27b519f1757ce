"""What the command line prints: lists, entries, answers."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from toybed.errors import unknown
from toybed.own import is_own

if TYPE_CHECKING:
    from toybed.objectives.objective import Objective
    from toybed.study import Study

SHORT = {
    "advantage": "adv",
    "surrogate": "sur",
    "weight": "wt",
    "regularizers": "reg",
    "aggregate": "agg",
    "shape_reward": "rew",
    "sampling": "tmp",
    "keep_group": "smp",
    "controller": "ctl",
}
"""The stages as the table of objectives abbreviates them."""

NOT_LEARNED = " (the learner does not make it: call the objective's loss with a batch of your own)"

COLOURS = {"supported": "green", "refuted": "red", "undecided": "yellow"}


def print_list(what: str, *, as_json: bool) -> None:
    """Print the questions, objectives and worlds, or one of these."""
    tables = {name: make() for name, make in _TABLES.items() if what in ("all", name)}
    if as_json:
        print(json.dumps(tables))
        return
    console = Console()
    for name, rows in tables.items():
        table = Table(title=name.capitalize(), title_justify="left", title_style="bold", box=None, pad_edge=False)
        for column in rows[0]:
            table.add_column(
                column, overflow="fold", no_wrap=column == "name", style="bold" if column == "name" else ""
            )
        for row in rows:
            table.add_row(*(escape(str(cell)) for cell in row.values()))
        console.print(table)
        if name == "objectives":
            meaning = ", ".join(f"{short} {part}" for part, short in SHORT.items())
            console.print(f"[dim]changes: the parent and the stages that differ ({meaning})[/dim]")
            console.print("[dim]verified: C read in code, P in the paper, D derived and checked, S third-party[/dim]")
        console.print()
    console.print("[dim]toybed show NAME tells more about any of them; toybed run QUESTION answers one[/dim]")


def _questions() -> list[dict[str, Any]]:
    from toybed import study

    return [
        {"name": s.name, "question": s.question, "worlds": "one a seed" if s.worlds else "one", "source": s.source}
        for s in study.studies().values()
    ]


def _objectives() -> list[dict[str, Any]]:
    from toybed import objectives

    rows = [objectives.row(name) for name in objectives.names()]
    return [
        {
            "name": row.name,
            "year": row.year,
            "changes": f"{row.parent}: {' '.join(SHORT[part] for part in row.changed())}" if row.parent else "(all)",
            "entropy": row.entropy,
            "source": _first_source(row.source),
            "verified": row.verified.split(";")[0],
        }
        for row in rows
    ]


def _first_source(source: str) -> str:
    """The arXiv number where there is one, else the first words."""
    number = re.search(r"\d{4}\.\d{5}", source)
    return number.group() if number else re.split(r"[;,(]", source)[0].strip()


def _worlds() -> list[dict[str, Any]]:
    from toybed.envs import WORLDS

    return [{"name": w.name, "gymnasium id": w.gym_id, "summary": w.summary} for w in WORLDS.values()]


_TABLES = {"questions": _questions, "objectives": _objectives, "worlds": _worlds}


def print_entry(name: str, *, as_json: bool) -> None:
    """Print all that is known about a question, an objective or a world; ``module:name`` is one of one's own.

    Raises:
        ToybedError: nothing has that name.
    """
    from toybed import objectives, study
    from toybed.envs import WORLDS

    if is_own(name):
        from toybed.commands import listing_own

        entry = listing_own.entry(name, _question_entry, _reads)
    elif name in objectives.names():
        entry = _objective_entry(name)
    elif name in study.studies():
        entry = _question_entry(name)
    elif name in WORLDS:
        entry = {"name": name, "gymnasium id": WORLDS[name].gym_id, "text": _text(WORLDS[name].env_class)}
    else:
        every = [*objectives.names(), *study.studies(), *WORLDS]
        raise unknown("question, objective or world", name, every, "toybed list shows all")
    if as_json:
        print(json.dumps(entry))
        return
    console = Console(highlight=False)
    for heading, content in entry.items():
        if heading == "stages":
            for part, text in content.items():
                console.print(f"\n[bold]{part}[/bold]")
                console.print(Text(text), soft_wrap=True)
        elif isinstance(content, str) and "\n" in content:
            console.print(f"\n[bold]{heading}[/bold]" if heading != "text" else "")
            console.print(Text(content), soft_wrap=True)
        elif isinstance(content, Sequence) and not isinstance(content, str):
            console.print(f"[bold]{heading}[/bold]{'' if content else ' nothing'}")
            for item in content:
                console.print(Text(f"  {item}"), soft_wrap=True)
        else:
            console.print(f"[bold]{heading}[/bold]: {escape(str(content))}", soft_wrap=True)


def _objective_entry(name: str) -> dict[str, Any]:
    from toybed import objectives

    row = objectives.row(name)
    stages = row.stages()
    entry: dict[str, Any] = {
        "name": f"{row.name}: {row.title} ({row.year})",
        "summary": row.summary,
        "entropy": row.entropy,
        "source": row.source,
        "verified": f"{row.verified} (C: read in code, P: in the paper, D: derived and checked, S: third-party)",
        "stages, * marks what differs from its parent": [
            f"{'*' if part in row.changed() else ' '} {part}: {' + '.join(map(str, used)) or 'none'}"
            for part, used in stages.items()
        ],
    }
    if row.parent:
        theirs = objectives.row(row.parent).stages()
        entry[f"differs from {row.parent}"] = [
            f"{part}: {' + '.join(map(str, theirs[part])) or 'none'} -> {' + '.join(map(str, stages[part])) or 'none'}"
            for part in row.changed()
        ]
    if row.published:
        entry["published values"] = ", ".join(f"{k}={v}" for k, v in row.published.items())
    entry["reads besides log-probabilities, mask and reward"] = _reads(row.build())
    entry["traps"] = list(row.traps)
    entry["limits"] = list(row.limits)
    entry["stages"] = {f"{part}: {used}": _text(used.source) for part, many in stages.items() for used in many}
    return {heading: content for heading, content in entry.items() if content}


def _reads(objective: Objective) -> list[str]:
    """What an objective needs besides the usual, and how to get it."""
    from toybed.agents.companions import MADE as LEARNED
    from toybed.objectives.batch import HOW_TO_GET

    return [f"{need}: {HOW_TO_GET[need]}{'' if need in LEARNED else NOT_LEARNED}" for need in sorted(objective.needs)]


def _question_entry(name: str) -> dict[str, Any]:
    from toybed import study

    question = study.get(name)
    return {
        "name": name,
        "question": question.question,
        "claim": question.claim,
        "source": question.source,
        "rule": question.rule,
        "changed after a result was seen": list(question.amendments),
        "sizes": [f"{size}: {_size_text(question, size)}" for size in study.SIZES],
        "text": _text(inspect.getmodule(question.judge)),
    }


def _size_text(question: Study, size: str) -> str:
    """How many seeds and arms, and how many of these get their setting from a choice."""
    seeds = f"{question.seeds[size]} seeds{', each in a world of its own,' if question.worlds else ''}"
    if question.search is not None:
        search = question.search
        arms = len(question.arms(size)) + len(search.final(size, search.begin(size)))
        learned = f"some of them learned before, in {search.generations[size]} generations on other seeds"
        return f"{seeds} in each of {arms} arms; {learned}"
    if question.tuning is None:
        return f"{seeds} in each of {len(question.arms(size))} arms"
    options = question.tuning.candidates(size)
    most = max((len(candidates) for candidates in options.values()), default=0)
    arms, others = len(question.arms(size)) + len(options), question.tuning.seeds[size]
    chosen = f"in {len(options)} of them the best of up to {most} settings, chosen on other seeds ({others})"
    return f"{seeds} in each of {arms} arms; {chosen}"


def print_answer(result: Mapping[str, Any]) -> None:
    """Print a verdict with its parts."""
    console = Console(highlight=False)
    console.print(f"\n[bold]{escape(result['question'])}[/bold]  {_coloured(result['outcome'])}")
    console.print(Text(result["sentence"]))
    table = Table(box=None, pad_edge=False, padding=(0, 1), show_edge=False)
    table.add_column("outcome", no_wrap=True)
    table.add_column("estimate [95 % interval]", no_wrap=True)
    table.add_column("n", justify="right")
    table.add_column("claim and finding", overflow="fold")
    for part in result["parts"]:
        words = Text(part["claim"]).append(f"\n{part['sentence']}", style="dim")
        table.add_row(_coloured(part["outcome"]), interval_text(part), str(part["n"]), words)
    console.print()
    console.print(table)
    again = result["address"] or result["study"]
    console.print(
        f"\n[dim]{result['seeds']} seeds{worlds_text(result)}, size {result['size']}, {result['seconds']:.0f} s; "
        f"kept in {escape(result['store'])}. How each part is judged: toybed show {again}[/dim]"
    )


def worlds_text(result: Mapping[str, Any]) -> str:
    """Said of the seeds of an answer: in how many worlds they were."""
    return ", each in a world of its own" if result.get("worlds", 1) > 1 else ""


def interval_text(part: Mapping[str, Any]) -> str:
    """``0.987 [0.981, 0.992]``, or a dash for what is not known: all of it, or the interval of very few."""
    if part["estimate"] is None:
        return "-"
    low, high = ("-" if part[end] is None else f"{part[end]:.3f}" for end in ("low", "high"))
    return f"{part['estimate']:.3f} [{low}, {high}]"


def _coloured(outcome: str) -> str:
    return f"[bold {COLOURS[outcome]}]{outcome}[/]"


def _text(thing: Any) -> str:
    return inspect.getdoc(thing) or ""
