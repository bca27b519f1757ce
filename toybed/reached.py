"""The code that a function reaches, as a hash: what judges an answer is compared by it.

Read from the files and not run: definitions at the top of a module, those that they name, and so on, into the modules
of the same folder and into toybed's own, but for those that already give a run its name.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import toybed
from toybed.study import DETERMINING, digest, without_docstrings

ROOT = Path(toybed.__file__).parent
LEFT_OUT = {"errors", *(part.removesuffix(".py") for part in DETERMINING)}
"""Parts of toybed that are not looked into: what is said of a wrong input, and what a run's name tells already."""


@dataclass(frozen=True)
class _Module:
    """A file: what its names are bound to at the top, and what it imports, as file and name there (None: all of it)."""

    bound: dict[str, list[ast.stmt]]
    imported: dict[str, tuple[Path, str | None]]


def code_reached(function: Callable[..., Any]) -> str:
    """A hash of a function and of what it reaches, comments, docstrings and layout left out.

    Of a partial function its arguments are in it, too. Of a function that is no definition at the top of its module, as
    a lambda, it is that of the whole module; empty where there is no file, as of what is typed at a prompt, or no
    code of Python's.
    """
    if isinstance(function, partial):
        return digest([code_reached(function.func), repr(function.args), repr(sorted(function.keywords.items()))])
    if not hasattr(function, "__code__"):  # an object that can be called
        function = type(function).__call__
    code = getattr(function, "__code__", None)
    file = Path("" if code is None else code.co_filename).resolve()
    if not file.is_file():
        return ""
    bound = _module(file).bound
    name = function.__name__
    found: dict[tuple[Path, str], str] = {}
    for each in [name] if name in bound else bound:
        _follow(file, each, found)
    return digest(sorted(filter(None, found.values())))  # without their places: a function that was moved is the same


def _follow(file: Path, name: str, found: dict[tuple[Path, str], str]) -> None:
    """Add what a name of a module is bound to, and what that names."""
    module = _module(file)
    if (file, name) in found:
        return
    statements = module.bound.get(name, [])
    found[file, name] = "\n".join(map(ast.dump, statements))
    other, there = module.imported.get(name, (file, None))
    if there is not None:
        _follow(other, there, found)
    for node in (node for statement in statements for node in ast.walk(statement)):
        if isinstance(node, ast.Name):
            _follow(file, node.id, found)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            other, there = module.imported.get(node.value.id, (file, ""))
            if there is None:
                _follow(other, node.attr, found)


@cache
def _module(file: Path) -> _Module:
    """Of a file as it was when it was asked for first: what was imported does not change with the file."""
    tree = without_docstrings(file.read_text(encoding="utf-8"))
    bound: dict[str, list[ast.stmt]] = {}
    imported: dict[str, tuple[Path, str | None]] = {}
    for node in tree.body:
        for name in _names(node):
            bound.setdefault(name, []).append(node)
    for each in ast.walk(tree):
        imported.update(_imports(each, file))
    return _Module(bound, imported)


def _names(node: ast.stmt) -> list[str]:
    match node:
        case ast.FunctionDef() | ast.ClassDef():
            return [node.name]
        case ast.Assign() | ast.AnnAssign() | ast.AugAssign():
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            return [each.id for target in targets for each in ast.walk(target) if isinstance(each, ast.Name)]
    return []


def _imports(node: ast.AST, file: Path) -> Iterator[tuple[str, tuple[Path, str | None]]]:
    """The names that an import binds, those of files that are looked into."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            if (alias.asname or "." not in alias.name) and (place := _file(alias.name, file)) is not None:
                yield alias.asname or alias.name, (place, None)
    elif isinstance(node, ast.ImportFrom):
        start = node.module or ""
        for alias in node.names:
            name = alias.asname or alias.name
            if (place := _file(f"{start}.{alias.name}".lstrip("."), file)) is not None:
                yield name, (place, None)
            elif start and (place := _file(start, file)) is not None:
                yield name, (place, alias.name)


def _file(module: str, file: Path) -> Path | None:
    """Where a module is, if it is toybed's or lies in the folder of the file that imports it."""
    first, *rest = module.split(".")
    if first == "toybed":
        if not rest or rest[0] in LEFT_OUT:
            return None
        place = ROOT.joinpath(*rest).with_suffix(".py")
    else:
        place = file.with_name(f"{module.split('.')[-1]}.py")
    return place.resolve() if place.is_file() else None
