"""The process in which a student's file is graded: ``python -m toybed.course.sheet``, with a request on its input.

Of the file only what the exercises need is run: their functions, and the imports, functions and assignments that these
use. So a lesson's experiments are not repeated, and an error in one of them is no obstacle.
"""

from __future__ import annotations

import ast
import json
import linecache
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from toybed.course.catalogue import exercises
from toybed.course.grade import Grade


def main() -> None:
    """Read ``{"parts": {label: source}, "names": [...]}``; write a line of JSON for each exercise once it is graded."""
    import torch

    torch.set_num_threads(1)
    request, out = json.load(sys.stdin), sys.stdout
    sys.stdout = sys.stderr  # what the student prints is not the answer
    for grade in grades(request["parts"], request["names"]):
        print(json.dumps(asdict(grade)), file=out, flush=True)


def grades(parts: Mapping[str, str], names: Sequence[str]) -> Iterator[Grade]:
    """Grade the exercises of these names in the parts of a file (its cells, or one part), source by label."""
    scope: dict[str, Any] = {"__name__": "lesson"}
    problem = _run(parts, names, scope)
    known = exercises()
    for name in names:
        if callable(scope.get(name)):
            yield known[name].exercise(name).grade(scope[name])
        else:
            reason = problem or f"there is no function `{name}`: keep its name and its `def` at the left margin"
            yield Grade(name, False, f"{name} is missing.\n  {reason}")


def _run(parts: Mapping[str, str], names: Sequence[str], scope: dict[str, Any]) -> str | None:
    """Run what the functions need; what stopped it, or None."""
    trees = {label: ast.parse(source, label) for label, source in parts.items()}
    wanted = needed([node for tree in trees.values() for node in tree.body], set(names))
    for label, tree in trees.items():
        # A traceback shows lines of the file; of a notebook it could not find them.
        linecache.cache[label] = (len(parts[label]), None, parts[label].splitlines(keepends=True), label)
        for node in (node for node in tree.body if node in wanted):
            try:
                exec(compile(ast.Module([node], []), label, "exec"), scope)
            except Exception as error:
                return f"{label}, line {node.lineno} raises {type(error).__name__}: {error}"
    return None


def needed(statements: Sequence[ast.stmt], names: set[str]) -> set[ast.stmt]:
    """The statements that bind the names, or what those read, and so on."""
    found: set[ast.stmt] = set()
    while True:
        new = {s for s in statements if s not in found and bound(s) & (names | {"*"})}
        if not new:
            return found
        found |= new
        names = names | {n.id for s in new for n in ast.walk(s) if isinstance(n, ast.Name)}


def bound(statement: ast.stmt) -> set[str]:
    """The names that a statement at the top of a file binds or changes."""
    match statement:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return {statement.name}
        case ast.Import() | ast.ImportFrom():
            return {(alias.asname or alias.name).split(".")[0] for alias in statement.names}
        case ast.Assign() | ast.AugAssign() | ast.AnnAssign():
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            return {node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)}
    return set()


if __name__ == "__main__":
    main()
