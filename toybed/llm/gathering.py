"""Gathers what readers yield into series by key, compactly, and counts every unit."""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toybed.llm.rows import Dropped, Items, Other, Remark, Row, number

MOST_REASONS = 20
_DETAIL = re.compile(r"'[^']*'|\"[^\"]*\"|-?\d+")


@dataclass
class Series:
    """Values of one key in the order of the log; a value that the log calls nan is kept as one, a blank is not."""

    steps: array[int] = field(default_factory=lambda: array("q"))
    values: array[float] = field(default_factory=lambda: array("d"))

    def add(self, step: int, value: float) -> None:
        """One value."""
        self.steps.append(step)
        self.values.append(value)

    def extend(self, other: Series) -> None:
        """The values of another file, after these."""
        self.steps.extend(other.steps)
        self.values.extend(other.values)

    @property
    def arrays(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Steps and values, ``[n]`` each, in the order of the log."""
        return np.array(self.steps, dtype=np.int64), np.array(self.values, dtype=np.float64)


@dataclass
class Reasons:
    """How many units had which fault, and where the first of each was."""

    found: dict[str, tuple[int, str, str]] = field(default_factory=dict)

    def add(self, reason: str, place: str, count: int = 1) -> None:
        """Count a fault; reasons that differ in numbers and quotations are one."""
        kind = _DETAIL.sub("", reason)
        if kind not in self.found and len(self.found) >= MOST_REASONS:
            kind, reason = "", "other faults"
        before, first, where = self.found.get(kind, (0, reason, place))
        self.found[kind] = (before + count, first, where)

    def update(self, other: Reasons) -> None:
        """Add those of another file."""
        for count, reason, place in other.found.values():
            self.add(reason, place, count)

    @property
    def total(self) -> int:
        """Of all reasons."""
        return sum(count for count, _, _ in self.found.values())


@dataclass
class Gathered:
    """One run as its files have it, before anything is chosen.

    Attributes:
        run: its name, "" where a file has one run.
        series: wanted keys with their values.
        keys: all keys that were seen.
        clocks: what the steps of a key count, and how many of its values do.
        files, containers: what was read and how it is written.
        rows, other: units.
        dropped: units that could not be used.
        faults: values of wanted keys that are no numbers.
        remarks: of the readers.
    """

    run: str
    series: dict[str, Series] = field(default_factory=dict)
    keys: dict[str, bool] = field(default_factory=dict)
    clocks: dict[str, str] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    containers: tuple[str, ...] = ()
    rows: int = 0
    other: int = 0
    dropped: Reasons = field(default_factory=Reasons)
    faults: Reasons = field(default_factory=Reasons)
    remarks: list[str] = field(default_factory=list)

    def add(self, row: Row, path: Path) -> None:
        """The values of one row."""
        for key, raw in row.values.items():
            try:
                value = number(raw)
            except ValueError:
                self.faults.add(f"{key} is {str(raw)[:30]!r}, no number", f"{path}:{row.line}")
                continue
            if not math.isnan(value) or _says_nan(raw):
                self.series.setdefault(key, Series()).add(row.step, value)
                self.clocks.setdefault(key, row.clock)
                if self.clocks[key] != row.clock:
                    self.clocks[key] = "mixed"

    def join(self, other: Gathered) -> None:
        """Take in another file of the same run."""
        for key, series in other.series.items():
            self.series.setdefault(key, Series()).extend(series)
        self.keys |= other.keys
        self.clocks |= other.clocks
        self.files += other.files
        self.containers += other.containers
        self.rows += other.rows
        self.other += other.other
        self.dropped.update(other.dropped)
        self.faults.update(other.faults)
        self.remarks += other.remarks


def _says_nan(raw: Any) -> bool:
    return isinstance(raw, float) or (isinstance(raw, str) and "nan" in raw.lower())


def gather(items: Items, path: Path, container: str, keys: dict[str, bool]) -> list[Gathered]:
    """The runs of one file (or folder), in the order in which they appear; at least one, maybe without any series.

    The counts of a file of several runs stand in each of them.
    """
    counts = Gathered("", files=(str(path),), containers=(container,))
    runs: dict[str, Gathered] = {}
    for item in items:
        match item:
            case Row():
                counts.rows += item.first
                if item.run not in runs:
                    runs[item.run] = Gathered(item.run)
                runs[item.run].add(item, path)
            case Dropped():
                counts.dropped.add(item.reason, f"{path}:{item.line}", item.units)
            case Other():
                counts.other += item.units
            case Remark():
                counts.remarks.append(item.text)
    counts.keys = dict(keys)
    for run in runs.values():
        run.join(counts)
    return list(runs.values()) or [counts]


def joined(parts: Iterable[Gathered]) -> Gathered:
    """Several files of one run as one."""
    first, *rest = parts
    for part in rest:
        first.join(part)
    return first
