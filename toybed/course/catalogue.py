"""The lessons: what there is, what is to be filled in, and what it looks like filled in. Read without torch."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import import_module, resources
from typing import TYPE_CHECKING

from toybed.errors import unknown

if TYPE_CHECKING:
    from toybed.course.exercise import Exercise

CELL = "# %%"
"""The line that begins a cell; ``# %% [markdown]`` one of text."""


@dataclass(frozen=True)
class Lesson:
    """One lesson.

    Attributes:
        stem: its file's name without the ending: a number of two digits and the name.
        source: the percent script, with holes.
    """

    stem: str
    source: str

    @property
    def name(self) -> str:
        """What it is called on the command line."""
        return self.stem[3:]

    @property
    def title(self) -> str:
        """The heading, which is its first line of text."""
        return next(line.lstrip("# ") for line in self.source.splitlines() if line.startswith("# # "))

    @cached_property
    def holes(self) -> dict[str, ast.FunctionDef]:
        """The functions that are to be filled in, by name: those whose body is ``...``."""
        functions = (node for node in ast.parse(self.source).body if isinstance(node, ast.FunctionDef))
        return {f.name: f for f in functions if isinstance(f.body[-1], ast.Expr) and _is_dots(f.body[-1].value)}

    @property
    def module(self) -> str:
        """The module with its solutions."""
        return f"toybed.course.solutions.{self.name}"

    def exercise(self, name: str) -> Exercise:
        """One of its exercises."""
        found: Exercise = getattr(import_module(self.module), name)
        return found

    def solved(self) -> str:
        """The percent script with all holes filled in."""
        lines, answers = self.source.splitlines(), _read("solutions", f"{self.name}.py")
        functions = {node.name: node for node in ast.parse(answers).body if isinstance(node, ast.FunctionDef)}
        for hole in reversed(self.holes.values()):
            body = functions[hole.name].body[1:]  # without the docstring
            dots = hole.body[-1].lineno - 1
            lines[dots : dots + 1] = answers.splitlines()[body[0].lineno - 1 : body[-1].end_lineno]
        return "\n".join(lines) + "\n"


def _is_dots(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is ...


def _read(folder: str, file: str) -> str:
    return (resources.files("toybed.course") / folder / file).read_text(encoding="utf-8")


@cache
def lessons() -> dict[str, Lesson]:
    """All lessons by name, in their order."""
    files = sorted(file.name for file in (resources.files("toybed.course") / "lessons").iterdir())
    every = (Lesson(file.removesuffix(".py"), _read("lessons", file)) for file in files if file.endswith(".py"))
    return {lesson.name: lesson for lesson in every}


def lesson(name: str) -> Lesson:
    """The lesson of that name, with or without its number.

    Raises:
        ToybedError: there is none; the message has the nearest one.
    """
    for each in lessons().values():
        if name in (each.name, each.stem):
            return each
    raise unknown("lesson", name, lessons(), "toybed course shows all; for an objective of your own write module:name")


def exercises() -> dict[str, Lesson]:
    """The lesson of each exercise, by the function's name."""
    return {name: each for each in lessons().values() for name in each.holes}
