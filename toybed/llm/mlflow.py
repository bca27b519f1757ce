"""MLflow's file store: a folder of metrics for each run, one file each, whose path below ``metrics`` is the key.

Lines are ``time value step``, with two more fields where a data set is named, and no step (0) in the oldest.
"""

from __future__ import annotations

import re
from pathlib import Path

from toybed.llm.lines import lines
from toybed.llm.rows import Dropped, Item, Items, Other, Row, Wanted, whole

_LINE = re.compile(r"^\d{9,} \S+( -?\d+)?( \S+ \S+)?$")


def read(folder: Path, wanted: Wanted) -> Items:
    """Every line of every metric of a run's folder ``metrics``."""
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        key = path.relative_to(folder).as_posix()
        if wanted(key):
            yield from (_line(line.number, key, line.text, line.ended) for line in lines(path))
        else:
            yield Other(sum(1 for _ in lines(path)))


def _line(place: int, key: str, text: str, ended: bool) -> Item:
    cells = text.split()
    if len(cells) not in (2, 3, 5):
        return Dropped(place, f"{key}: {len(cells)} fields where MLflow writes 3")
    if not ended and len(cells) == 2:
        return Dropped(place, f"{key}: the line is cut off")
    try:
        return Row(place, whole(cells[2]) if len(cells) > 2 else 0, {key: cells[1]})
    except ValueError as error:
        return Dropped(place, f"{key}: {error}")


def runs(folder: Path) -> dict[str, Path]:
    """The folder of metrics of every run in a store, an experiment or a run, by the run's path from here."""
    if folder.name == "metrics" and _has_metrics(folder):
        return {"": folder}
    found = {}
    for path in sorted(p for p in folder.rglob("metrics") if p.is_dir()):
        if _has_metrics(path):
            name = path.parent.relative_to(folder).as_posix()
            found["" if name == "." else name] = path
    return found


def _has_metrics(folder: Path) -> bool:
    """Whether some file below has a first line as MLflow writes it."""
    for path in folder.rglob("*"):
        if path.is_file() and (first := next(lines(path), None)) and _LINE.match(first.text):
            return True
    return False
