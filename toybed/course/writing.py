"""Lessons as files: percent scripts as they are, or notebooks (nbformat 4.5, which is plain JSON)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from toybed.course.catalogue import CELL, Lesson
from toybed.errors import ToybedError


def cells(source: str) -> list[tuple[str, str]]:
    """The cells of a percent script: "markdown" or "code", and the text without comment signs."""
    found: list[tuple[str, list[str]]] = []
    for line in source.splitlines():
        if line.startswith(CELL):
            found.append(("markdown" if "[markdown]" in line else "code", []))
        elif found:
            kind, lines = found[-1]
            lines.append(line.removeprefix("#").removeprefix(" ") if kind == "markdown" else line)
    return [(kind, text) for kind, lines in found if (text := "\n".join(lines).strip("\n"))]


def notebook(source: str) -> dict[str, Any]:
    """The percent script as a notebook without outputs."""
    return {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {
            "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
            "language_info": {"name": "python"},
        },
        "cells": [
            {
                "cell_type": kind,
                "id": f"cell-{i}",
                "metadata": {},
                "source": text.splitlines(keepends=True),
                **({"outputs": [], "execution_count": None} if kind == "code" else {}),
            }
            for i, (kind, text) in enumerate(cells(source))
        ],
    }


def code_of(text: str, file: str) -> list[str]:
    """The code of each cell of a notebook, in order, without lines that only IPython understands.

    Raises:
        ToybedError: the text is not a notebook.
    """
    try:
        code = [cell["source"] for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    except (ValueError, KeyError, TypeError) as error:
        raise ToybedError(f"{file} is not a notebook (nbformat 4): {type(error).__name__}: {error}") from error
    whole = ["".join(source) for source in code]
    return ["\n".join("" if line[:1] in ("%", "!") else line for line in cell.splitlines()) for cell in whole]


def write(lesson: Lesson, folder: Path, *, notebooks: bool = False, solved: bool = False) -> tuple[Path, bool]:
    """Write a lesson into a folder, which is made if need be. A file that is there already is kept.

    Returns:
        The file, and whether it was written.

    Raises:
        ToybedError: the folder or file cannot be written.
    """
    source = lesson.solved() if solved else lesson.source
    path = folder / (f"{lesson.stem}.ipynb" if notebooks else f"{lesson.stem}.py")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(json.dumps(notebook(source), indent=1, ensure_ascii=False) + "\n" if notebooks else source)
    except FileExistsError as error:
        if path.is_file():
            return path, False
        raise ToybedError(f"cannot write into {folder}: it is not a folder") from error
    except OSError as error:
        raise ToybedError(f"cannot write {path}: {error.strerror}") from error
    return path, True
