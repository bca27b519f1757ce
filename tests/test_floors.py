"""The house has floors: a module may import its own floor and those below, never one above.

Every import counts: those inside functions, those for the type checker only, and ``import_module("...")`` with the name
written out. What the type checker alone sees binds two files together as much as any other import.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import toybed
from toybed import study

FLOORS = (
    ("errors", "own", "seeding", "streams"),
    ("objectives", "measures", "laws", "stats"),
    ("envs",),
    ("agents",),
    (
        *("exact", "study", "searching", "store", "executors", "memory", "cluster", "stacking", "runner", "answering"),
        *("answers", "reached", "loading", "live", "plotting", "llm", "findings"),
    ),
    ("benchmarks",),
    (
        *("asking", "chat", "cli", "commands", "comparing", "course", "examples", "mutants", "progress", "reference"),
        *("report", "testing", "verdict_table"),
    ),
)
FLOOR = {name: floor for floor, names in enumerate(FLOORS) for name in names}

REGISTRATION = ("toybed.study", "toybed.benchmarks")
"""The one import upwards: questions register themselves by being imported in one place."""

WRONG_NAMES = ("envs", "agents", "benchmarks")
"""These folders are packages of toybed; imported under their own name they would be second copies."""


def sources(root: Path) -> dict[str, str]:
    """Every module of the package, by its full name; the three links are followed."""
    found = {}
    for folder, folders, files in os.walk(root, followlinks=True):
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        for file in files:
            if file.endswith(".py"):
                path = Path(folder, file).relative_to(root.parent).with_suffix("")
                parts = path.parts[:-1] if path.name == "__init__" else path.parts
                found[".".join(parts)] = Path(folder, file).read_text(encoding="utf-8")
    return found


def imports(module: str, source: str, known: Mapping[str, str]) -> Iterator[str]:
    """Full names of what a module imports."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import():
                yield from (alias.name for alias in node.names)
            case ast.ImportFrom():
                start = node.module or ""
                if node.level:
                    package = module.split(".") if any(m.startswith(f"{module}.") for m in known) else None
                    parts = package or module.split(".")[:-1]
                    start = ".".join([*parts[: len(parts) - node.level + 1], *([start] if start else [])])
                for alias in node.names:
                    full = f"{start}.{alias.name}"
                    yield full if full in known else start
            case ast.Call(func=ast.Name("import_module") | ast.Attribute(attr="import_module"), args=[first, *_]):
                if isinstance(first, ast.Constant) and isinstance(first.value, str):
                    yield first.value


def floor(module: str) -> int | None:
    """The floor of a module of toybed; the package itself is the ground. None where it stands nowhere."""
    parts = module.split(".")
    return 0 if parts == ["toybed"] else FLOOR.get(parts[1])


def violations(modules: Mapping[str, str]) -> list[str]:
    """What breaks the rule, one sentence each."""
    found = []
    for module, source in modules.items():
        own = floor(module)
        if own is None:
            found.append(f"{module} stands on no floor: give it one in DESIGN and in FLOORS")
            continue
        for name in imports(module, source, modules):
            head, *_ = name.split(".")
            if head in WRONG_NAMES:
                found.append(f"{module} imports {name}: say toybed.{name}")
            if head != "toybed" or (module, name) == REGISTRATION:
                continue
            other = floor(name)
            if other is None:
                found.append(f"{module} imports {name}, which stands on no floor")
            elif other > own:
                found.append(f"{module} (floor {own}) imports {name} (floor {other})")
    return found


MODULES = sources(Path(toybed.__file__).parent)


def test_no_module_imports_a_floor_above_its_own() -> None:
    assert violations(MODULES) == []


def test_the_checker_sees_the_whole_house() -> None:
    # One module of each folder, the linked ones included, and an import between two of them.
    for name in ("toybed.cli", "toybed.envs.core", "toybed.agents.training", "toybed.benchmarks.entropy_law"):
        assert name in MODULES
    assert "toybed.envs.core" in set(imports("toybed.agents.rollout", MODULES["toybed.agents.rollout"], MODULES))
    # The registration is still one import, in one place: otherwise the exception above has no reason.
    assert REGISTRATION[1] in set(imports(REGISTRATION[0], MODULES[REGISTRATION[0]], MODULES))


@pytest.mark.parametrize(
    "source",
    [
        "import toybed.cli",
        "import numpy, toybed.cli",
        "from toybed import cli",
        "from toybed.cli import main",
        "from toybed.cli import main as start",
        "from . import cli",
        "from .cli import main",
        "def late():\n    from toybed.cli import main",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from toybed.cli import Run",
        "from importlib import import_module\nimport_module('toybed.cli')",
        "import importlib\nimportlib.import_module('toybed.cli')",
        "try:\n    import toybed.cli\nexcept ImportError:\n    pass",
    ],
)
def test_the_checker_finds_an_import_of_a_higher_floor(source: str) -> None:
    house = {"toybed": "", "toybed.cli": "", "toybed.laws": source}
    assert violations(house) == ["toybed.laws (floor 1) imports toybed.cli (floor 6)"]


def test_the_checker_resolves_relative_imports_of_a_package() -> None:
    house = {
        "toybed": "",
        "toybed.measures": "from .. import cli",
        "toybed.measures.entropy": "from ..cli import x",
        "toybed.cli": "",
    }
    assert len(violations(house)) == 2
    house = {"toybed": "", "toybed.measures": "from . import entropy", "toybed.measures.entropy": ""}
    assert violations(house) == []


def test_the_checker_allows_the_own_floor_and_those_below() -> None:
    house = {"toybed": "", "toybed.errors": "", "toybed.laws": "from toybed.errors import ToybedError\nimport numpy"}
    house["toybed.stats"] = "from toybed.laws import fit"
    assert violations(house) == []


def test_the_checker_names_a_module_without_a_floor_and_who_imports_it() -> None:
    house = {"toybed": "", "toybed.attic": "", "toybed.cli": "from toybed.attic import box"}
    assert violations(house) == [
        "toybed.attic stands on no floor: give it one in DESIGN and in FLOORS",
        "toybed.cli imports toybed.attic, which stands on no floor",
    ]


@pytest.mark.parametrize("name", WRONG_NAMES)
def test_the_checker_finds_a_folder_under_its_wrong_name(name: str) -> None:
    house = {"toybed": "", "toybed.cli": f"from {name}.core import x"}
    assert violations(house) == [f"toybed.cli imports {name}.core: say toybed.{name}.core"]


def test_all_code_below_a_training_run_is_in_its_name() -> None:
    """A run is named by the hash of the code that determines it; what training imports must be in that hash."""
    reached: set[str] = set()
    todo = ["toybed.agents.training", *(m for m in MODULES if m.startswith("toybed.envs."))]
    while todo:
        module = todo.pop()
        if module in MODULES and module not in reached:
            reached.add(module)
            todo += imports(module, MODULES[module], MODULES)
    hashed = {part.removesuffix(".py") for part in study.DETERMINING}
    # An error's words do not change a number, nor does the package's docstring.
    outside = {m for m in reached if m not in ("toybed", "toybed.errors") and m.split(".")[1] not in hashed}
    assert outside == set()
    assert "toybed.objectives.catalogue" in reached
