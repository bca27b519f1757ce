"""``toybed course`` and ``toybed check`` for lessons: what is printed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from toybed.course.catalogue import lessons
from toybed.course.grading import Sheet, files_of, grade_file
from toybed.course.writing import write


def print_lessons(*, as_json: bool) -> None:
    """Print the table of lessons."""
    every = lessons().values()
    if as_json:
        rows = [{"name": x.name, "file": f"{x.stem}.py", "title": x.title, "exercises": list(x.holes)} for x in every]
        print(json.dumps(rows))
        return
    table = Table(box=None, pad_edge=False)
    for column in ("lesson", "what it is about", "exercises"):
        table.add_column(column, overflow="fold", no_wrap=column == "lesson")
    for x in every:
        table.add_row(f"[bold]{x.stem}[/bold]", Text(x.title), ", ".join(x.holes))
    console = Console(highlight=False)
    console.print(table)
    console.print(
        "\n[dim]toybed course --to DIR writes them (--notebooks: for Jupyter); toybed check grades them[/dim]"
    )


def print_written(folder: Path, *, notebooks: bool, solved: bool, as_json: bool) -> None:
    """Write the lessons into a folder and print which files that were."""
    done = [write(lesson, folder, notebooks=notebooks, solved=solved) for lesson in lessons().values()]
    new, kept = ([str(path) for path, fresh in done if fresh is wanted] for wanted in (True, False))
    if as_json:
        print(json.dumps({"written": new, "kept": kept}))
        return
    print(f"{len(new)} lessons written to {folder}")
    if kept:
        print(f"kept as they were: {', '.join(Path(path).name for path in kept)}")
    if new and not solved:
        print(f"fill in the holes (...), then: cd {folder} && toybed check")


def print_grades(target: str | None, *, as_json: bool) -> int:
    """Grade what is meant and print the messages; 1 if something is not right, else 0."""
    sheets = [grade_file(file) for file in files_of(target, Path())]
    if as_json:
        print(
            json.dumps([{"file": str(sheet.file), "exercises": [asdict(g) for g in sheet.grades]} for sheet in sheets])
        )
    else:
        _print_sheets(sheets)
    return int(not all(grade.right for sheet in sheets for grade in sheet.grades))


def _print_sheets(sheets: Sequence[Sheet]) -> None:
    console = Console(highlight=False)
    for sheet in sheets:
        console.print(Text(str(sheet.file), style="bold"))
        for grade in sheet.grades:
            mark = Text("right    ", style="green") if grade.right else Text("not yet  ", style="red")
            console.print(mark + Text(grade.message.replace("\n", "\n         ")), soft_wrap=True)
        console.print()
    every = [grade.right for sheet in sheets for grade in sheet.grades]
    console.print(f"{sum(every)} of {len(every)} exercises are right")


def means_a_lesson(target: str | None) -> bool:
    """Whether ``toybed check`` is asked for lessons; an objective is written ``module:name``."""
    return target is None or ":" not in target or Path(target).exists()
