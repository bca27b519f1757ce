"""CSV: a table with a column of steps, a W&B history, or a W&B panel (``<run> - <metric>``, one metric of many runs).

Logs have no line ends within a cell, so each line is read on its own: a stray quotation mark costs one line, not the
rest of the file.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from toybed.errors import ToybedError
from toybed.llm.lines import Head, Line, lines
from toybed.llm.rows import Dropped, Item, Items, Other, Remark, Row, Wanted, number
from toybed.llm.steps import STEPS, entry

DELIMITERS = ",\t;"
EXTREMES = ("__MIN", "__MAX")
BETWEEN = " - "


def read(path: Path, wanted: Wanted, step: str | None = None) -> Items:
    """Every line below the header.

    Raises:
        ToybedError: the header has no column of steps.
    """
    rows = lines(path)
    first = next(rows, None)
    header, delimiter = _header(first.text) if first else ([], ",")
    if not header:
        raise ToybedError(f"{path}:1: no header with the names of columns")
    yield Other()  # the header
    panel = _panel(header, wanted)
    key = step or next((k for k in STEPS if k in header), header[0] if panel else None)
    if key not in header:
        raise ToybedError(f"{path}:1: no column of steps among {', '.join(header)[:200]}; --column step=NAME names one")
    for line in rows:
        cells = _cells(line, delimiter)
        if cells == header:
            yield Other()
        elif isinstance(cells, str):
            yield Dropped(line.number, cells)
        elif len(cells) != len(header):
            yield Dropped(line.number, f"{len(cells)} cells where the header has {len(header)}")
        elif panel:
            yield from _runs(line.number, cells, header.index(key), panel)
        else:
            yield entry(line.number, dict(zip(header, cells, strict=True)), wanted, step)
        if not line.ended and not isinstance(cells, str) and len(cells) == len(header) and cells[-1]:
            yield Remark(f"line {line.number} is the last and has no line end: its last value may be cut off")


def _panel(header: Sequence[str], wanted: Wanted) -> dict[int, tuple[str, str]]:
    """Column to run and metric, where the header is that of a W&B panel."""
    names = {i: cell.rpartition(BETWEEN) for i, cell in enumerate(header) if BETWEEN in cell}
    if len(names) < len(header) - 1:
        return {}
    split = {i: (run, metric) for i, (run, _, metric) in names.items() if not metric.endswith(EXTREMES)}
    return {i: (run, metric) for i, (run, metric) in split.items() if wanted(metric)}


def _runs(line: int, cells: Sequence[str], step: int, panel: Mapping[int, tuple[str, str]]) -> Iterator[Item]:
    """One row for each run that has a value in the line."""
    values: dict[str, dict[str, str]] = {}
    for i, (run, metric) in panel.items():
        if cells[i].strip():
            values.setdefault(run, {})[metric] = cells[i]
    rows = [entry(line, {"step": cells[step], **of}, lambda key: key != "step") for of in values.values()]
    if not rows:
        yield Other()
    for i, (run, row) in enumerate(zip(values, rows, strict=True)):
        if isinstance(row, Row):
            yield row._replace(run=run, first=i == 0)
        elif i == 0:
            yield row


def _header(text: str) -> tuple[list[str], str]:
    """The names in the first line and what stands between them."""
    delimiter = max(DELIMITERS, key=text.count)
    try:
        cells = [cell.strip() for cell in next(csv.reader([text], delimiter=delimiter))]
    except (csv.Error, StopIteration):
        return [], delimiter
    return (cells if len(cells) > 1 else []), delimiter


def _cells(line: Line, delimiter: str) -> list[str] | str:
    if line.cut:
        return "the line is too long"
    try:
        # Strict: an open quotation mark is an error, where the lenient reader would take the rest as one cell.
        return [cell.strip() for cell in next(csv.reader([line.text], delimiter=delimiter, strict=True))]
    except (csv.Error, StopIteration) as error:
        return f"no line of CSV ({error})"


def looks_like(start: Head) -> float:
    """How much a file looks like CSV: names in its first line, and as many cells in most that follow."""
    if not start.lines or start.text.lstrip()[:1] in "{[":
        return 0.0
    header, delimiter = _header(start.lines[0])
    if not header or any(_is_number(cell) for cell in header):
        return 0.0
    found = [_cells(Line(0, text), delimiter) for text in start.lines[1:50]]
    same = [cells for cells in found if not isinstance(cells, str) and len(cells) == len(header)]
    if not same or 2 * len(same) < len(found):
        return 0.0
    return 0.7 if any(_is_number(cell) for cells in same for cell in cells) else 0.0


def _is_number(text: str) -> bool:
    try:
        return number(text) == number(text)
    except ValueError:
        return False
