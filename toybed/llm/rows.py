"""What every reader yields, unit by unit: a row, a unit that it had to drop, or units that are no rows.

So nothing is lost silently: rows + dropped + other is the number of units in the file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

BLANK = frozenset({"", "null", "none", "nan", "na", "n/a", "-nan"})
_WRAPPED = re.compile(r"^(?:np|numpy|torch)?\.?(?:float\d*|int\d*|tensor|array)\((.*?)(?:, (?:dtype|device)=.*)?\)$")
_LAST_STEP = 2**53  # whole numbers up to here are exact, also where a program wrote them as floats


class Row(NamedTuple):
    """An entry of metrics.

    Attributes:
        line: where it stands (line, record or entry), counted from 1.
        step: the program's count.
        values: raw values by key, only those that are wanted.
        clock: what the step counts, where a program counts several things.
        run: the run's name, in a file of several.
        first: False for the further rows of one unit: an entry with values of several runs.
    """

    line: int
    step: int
    values: Mapping[str, Any]
    clock: str = ""
    run: str = ""
    first: bool = True


class Dropped(NamedTuple):
    """Units of metrics that cannot be used, and why."""

    line: int
    reason: str
    units: int = 1


class Other(NamedTuple):
    """Units that are no entries of metrics, or hold only measures that nobody wants."""

    units: int = 1


class Remark(NamedTuple):
    """Something to tell the user; no unit."""

    text: str


Item = Row | Dropped | Other | Remark
Items = Iterator[Item]
Wanted = Callable[[str], bool]
"""Whether a key may become a column."""


def number(value: Any) -> float:
    """A number as logs write it: 0.3, "0.3", ``np.float64(0.3)``; NaN for a blank, ``null``, ``None`` or ``nan``.

    Raises:
        ValueError: it is none of these.
    """
    if isinstance(value, float):
        return value
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f"{type(value).__name__} is no number")
    if isinstance(value, int):
        return _finite(value)
    text = value.strip().strip("'\"").strip()
    wrapped = _WRAPPED.match(text)
    text = wrapped.group(1) if wrapped else text
    if text.lower() in BLANK:
        return math.nan
    if "_" in text:  # Python would read 1_000, no log means it
        raise ValueError("no number")
    return float(text)


def _finite(value: int) -> float:
    try:
        return float(value)
    except OverflowError as error:
        raise ValueError("too large for a number") from error


def whole(value: Any) -> int:
    """A step: a whole number from 0 on, also where it is written ``12.0``, ``"12"`` or, as ms-swift does, ``"12/560"``.

    Raises:
        ValueError: it is none.
    """
    if isinstance(value, str) and "/" in value:
        value = value.split("/")[0]
    try:
        found = number(value)
    except ValueError:
        found = math.nan
    if not (0 <= found <= _LAST_STEP and found == int(found)):
        raise ValueError(f"the step {str(value)[:40]!r} is no whole number from 0 on")
    return int(found)


def flat(entry: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Keys and values with nested objects written as paths: ``{"a": {"b": 1}}`` is ``a/b``; ``data/`` is left out.

    verl's file logger keeps its metrics under ``data``.
    """
    for key, value in entry.items():
        if isinstance(value, dict):
            yield from flat(value, prefix if key == "data" else f"{prefix}{key}/")
        else:
            yield prefix + key, value
