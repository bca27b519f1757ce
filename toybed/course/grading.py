"""Grading files: each in a process of its own, with a time limit, so that nothing a student writes can do harm here."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from toybed.course.catalogue import Lesson, exercises, lesson, lessons
from toybed.course.grade import Grade
from toybed.course.writing import code_of
from toybed.errors import ToybedError

LIMIT = 60.0
"""Seconds for a file. Grading takes two, nearly all of them to import torch."""
ENDINGS = (".py", ".ipynb")


@dataclass(frozen=True)
class Sheet:
    """A graded file.

    Attributes:
        file: which one.
        grades: of its exercises.
    """

    file: Path
    grades: tuple[Grade, ...]


def files_of(target: str | None, folder: Path) -> list[Path]:
    """The files that are meant: a file, those of a lesson by its name, or all lessons in the folder.

    Raises:
        ToybedError: there is none.
    """
    if target is not None and Path(target).suffix in ENDINGS:
        if not Path(target).is_file():
            raise ToybedError(f"no file {target}; toybed course --to DIR writes the lessons")
        return [Path(target)]
    wanted = list(lessons().values()) if target is None else [lesson(target)]
    files = [folder / f"{each.stem}{ending}" for each in wanted for ending in ENDINGS]
    found = [file for file in files if file.is_file()]
    if not found:
        what = "no lesson" if target is None else f"no {wanted[0].stem}.py or .ipynb"
        raise ToybedError(f"{what} in this folder; toybed course --to DIR writes the lessons")
    return found


def grade_file(file: Path, limit: float = LIMIT) -> Sheet:
    """Grade the exercises of a lesson, or those that a file of another name holds.

    Raises:
        ToybedError: the file cannot be read, or holds no exercise.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ToybedError(f"cannot read {file}: {error}") from error
    parts = {file.name: text}
    if file.suffix == ".ipynb":
        parts = {f"{file.name}, code cell {i}": code for i, code in enumerate(code_of(text, str(file)), 1)}
    own, broken = _lesson_of(file), _unreadable(parts)
    if own is not None:
        names = list(own.holes)
    elif broken is None:
        trees = (ast.parse(code) for code in parts.values())
        defined = {node.name for tree in trees for node in tree.body if isinstance(node, ast.FunctionDef)}
        names = [name for name in exercises() if name in defined]
    else:
        raise ToybedError(broken)
    if broken is not None:
        return Sheet(file, tuple(Grade(name, False, f"{name} cannot be read.\n  {broken}") for name in names))
    if not names:
        raise ToybedError(f"{file} holds no exercise of the course; toybed course shows them")
    return Sheet(file, tuple(_grade_apart(parts, names, limit)))


def _lesson_of(file: Path) -> Lesson | None:
    return next((each for each in lessons().values() if each.stem == file.stem), None)


def _unreadable(parts: dict[str, str]) -> str | None:
    """Why a part is not Python, with the line; None if all are."""
    for label, code in parts.items():
        try:
            ast.parse(code)
        except (SyntaxError, ValueError) as error:
            line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
            shown = f": {error.text.strip()}" if isinstance(error, SyntaxError) and error.text else ""
            reason = error.msg if isinstance(error, SyntaxError) else error
            return f"{label}{line} is not Python ({reason}){shown}"
    return None


def _grade_apart(parts: dict[str, str], names: Sequence[str], limit: float) -> list[Grade]:
    request = json.dumps({"parts": parts, "names": names})
    try:
        done = subprocess.run(
            [sys.executable, "-m", "toybed.course.sheet"],
            input=request,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=limit,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"},
        )
        out, reason = done.stdout, f"its process ended with code {done.returncode}: {done.stderr.strip()[-300:]}"
    except subprocess.TimeoutExpired as error:
        out = error.stdout.decode() if isinstance(error.stdout, bytes) else error.stdout or ""
        reason = f"it has not ended after {limit:g} seconds: is there a loop without an end?"
    found = [Grade(**json.loads(line)) for line in out.splitlines() if line.endswith("}")]
    missing = names[len(found) :]
    rest = [Grade(name, False, f"{name} was not reached, because of {missing[0]}.") for name in missing[1:]]
    return [*found, *(Grade(name, False, f"{name} gave no answer.\n  {reason}") for name in missing[:1]), *rest]
