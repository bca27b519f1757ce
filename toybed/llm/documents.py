"""JSON: a document (``trainer_state.json``, a bare history, a dump of TensorBoard or W&B) or one object a line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from toybed.errors import ToybedError
from toybed.llm.lines import Head, lines
from toybed.llm.rows import Dropped, Item, Items, Other, Row, Wanted, flat, whole
from toybed.llm.steps import STEPS, entry, step_key

LARGEST = 1 << 28
"""Bytes of a document: it is parsed whole. One object a line has no limit."""


def read_lines(path: Path, wanted: Wanted, step: str | None = None) -> Items:
    """One JSON object a line."""
    for line in lines(path):
        if line.cut:
            yield Dropped(line.number, "the line is too long")
            continue
        try:
            found = json.loads(line.text)
        except (ValueError, RecursionError) as error:
            yield Dropped(line.number, "cut off: no whole JSON object" if not line.ended else _reason(error))
            continue
        yield entry(line.number, found, wanted, step)


def read(path: Path, wanted: Wanted, step: str | None = None) -> Items:
    """A whole document.

    Raises:
        ToybedError: it is no JSON, too large, or of no known shape.
    """
    document = _load(path)
    if isinstance(document, dict) and isinstance(document.get("log_history"), list):
        document = document["log_history"]
    if isinstance(document, list):
        yield from (entry(i, found, wanted, step) for i, found in enumerate(document, 1))
    elif isinstance(document, dict) and document and all(isinstance(of, dict | list) for of in document.values()):
        yield from _by_key(document, wanted, step)
    else:
        shape = "an object without log_history" if isinstance(document, dict) else f"a {type(document).__name__}"
        raise ToybedError(f"{path}: the JSON is {shape}, no list of entries and no table of metrics by step")


def _by_key(document: Mapping[str, Any], wanted: Wanted, step: str | None) -> Items:
    """``{metric: {place: value}}``, where places are steps unless a metric holds them: pandas writes rows so."""
    name = step or next((key for key in STEPS if key in document), None)
    steps = None if name is None else dict(_points(document.get(name, {})))
    for line, (key, points) in enumerate(document.items(), 1):
        if key == name or not wanted(key):
            yield Other(len(points))
            continue
        for place, value in _points(points):
            yield _point(line, key, place, value, steps)


def _points(points: Mapping[str, Any] | Sequence[Any]) -> Iterator[tuple[str, Any]]:
    return iter(points.items()) if isinstance(points, Mapping) else ((str(i), x) for i, x in enumerate(points))


def _point(line: int, key: str, place: str, value: Any, steps: Mapping[str, Any] | None) -> Item:
    try:
        return Row(line, whole(place if steps is None else steps.get(place)), {key: value})
    except ValueError as error:
        return Dropped(line, f"{key}: {error}")


def _load(path: Path) -> Any:
    try:
        if path.stat().st_size > LARGEST:
            raise ToybedError(f"{path} is a JSON document of more than {LARGEST >> 20} MiB; write one object a line")
        text = path.read_text(encoding="utf-8-sig", errors="replace")
    except OSError as error:
        raise ToybedError(f"{path} cannot be read ({error.strerror})") from error
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        line = f":{error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise ToybedError(f"{path}{line}: {_reason(error)}; is the file cut off?") from error


def _reason(error: Exception) -> str:
    return f"no valid JSON ({error.msg})" if isinstance(error, json.JSONDecodeError) else "no valid JSON"


def looks_like_lines(start: Head) -> float:
    """How much a file looks like one JSON object a line: the share of its first lines that are."""
    found = [_parsed(line) for line in start.lines[:50]]
    objects = [x for x in found if isinstance(x, dict)]
    share = len(objects) / max(len(found), 1)
    if len(found) == 1 and not (objects and step_key(dict(flat(objects[0]))) and "log_history" not in objects[0]):
        return 0.0
    return 0.9 * share if share >= 0.5 else 0.0


def looks_like_document(start: Head) -> float:
    """How much a file looks like one JSON document."""
    return 0.4 if re.match(r"\s*[\[{]\s*[\"\[{\]}]", start.text) else 0.0


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
