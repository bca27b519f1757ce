"""What a user brings along, by the name ``module:name``: an objective, policy, world, probe or question.

Wherever toybed takes the name of one of its own, it takes such a name, too. The folder one is in can be imported from.
"""

from __future__ import annotations

import ast
import hashlib
import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from toybed.errors import ToybedError

_FORM = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def is_own(name: str) -> bool:
    """Whether a name has the form ``module:name``."""
    return _FORM.fullmatch(name) is not None


def load(target: str, kind: str = "objective") -> Any:
    """The object at ``module:name``, with the current folder importable.

    Args:
        target: where it is.
        kind: what it should be, for the message.

    Raises:
        ToybedError: the text has another form, or there is no such module or name.
    """
    if not is_own(target):
        article = "an" if kind[0] in "aeiou" else "a"
        raise ToybedError(f"{target!r} does not name {article} {kind}; write module:name, e.g. my_losses:my_loss")
    module, name = target.split(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        found = import_module(module)
    except ModuleNotFoundError as error:
        raise ToybedError(f"no module {error.name!r} in this folder or environment") from error
    except Exception as error:  # whatever a user's module does when it is imported
        raise ToybedError(f"module {module!r} cannot be imported: {type(error).__name__}: {error}") from error
    if not hasattr(found, name):
        raise ToybedError(f"module {module!r} has no {name!r}")
    return getattr(found, name)


def name_of(thing: Any) -> str:
    """The name ``module:name`` under which a class or function can be imported again.

    Raises:
        ToybedError: it has none, as what is made inside a function.
    """
    module, name = getattr(thing, "__module__", None), getattr(thing, "__qualname__", "")
    if getattr(sys.modules.get(module or ""), name, None) is not thing:
        raise ToybedError(f"{thing!r} cannot be imported by a name; allowed: classes and functions of a module")
    return f"{module}:{name}"


def targets_in(config: Any) -> Iterator[str]:
    """Every ``module:name`` in what JSON would hold."""
    if isinstance(config, str):
        if is_own(config):
            yield config
    elif isinstance(config, Mapping):
        for value in config.values():
            yield from targets_in(value)
    elif isinstance(config, list | tuple):
        for value in config:
            yield from targets_in(value)


def code_of(target: str) -> str:
    """A hash of the module behind ``module:name`` and of what it imports from its own folder, comments left out.

    With it a run is named, so that a changed module makes new runs. Libraries are not looked into.

    Raises:
        ToybedError: the module has no file, as what is typed at a prompt.
    """
    load(target)
    module = target.split(":")[0]
    file = getattr(sys.modules[module], "__file__", None)
    if file is None:
        raise ToybedError(
            f"{target!r} has no file, and a run that is kept is named by its code; allowed: a module in a file"
        )
    return _code(Path(file), module)


@cache
def _code(file: Path, module: str) -> str:
    """Of a file as it was when it was asked for first: what was imported does not change with the file."""
    digest = hashlib.sha256()
    for path in sorted(_reached(file, module)):
        digest.update(ast.dump(ast.parse(path.read_text(encoding="utf-8"))).encode())
    return digest.hexdigest()[:16]


def _reached(file: Path, module: str) -> set[Path]:
    """The file of a module and those that it imports from the folder in which its outermost package lies."""
    root = file.parents[module.count(".") + (file.name == "__init__.py")]
    found, todo = set[Path](), [file]
    while todo:
        path = todo.pop()
        if path in found or not path.is_relative_to(root) or "site-packages" in path.relative_to(root).parts:
            continue
        found.add(path)
        for name in _imports(path, root):
            places = (root / f"{name.replace('.', '/')}.py", root / name.replace(".", "/") / "__init__.py")
            todo += [place for place in places if place.is_file()]
    return found


def _imports(file: Path, root: Path) -> Iterator[str]:
    """Full names of what a file may import, relative ones resolved."""
    package = file.parent.relative_to(root).parts
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            name = ".".join([*start, *([node.module] if node.module else [])])
            yield name
            yield from (f"{name}.{alias.name}" if name else alias.name for alias in node.names)
