"""``toybed watch``: the curves of a sweep while it runs, from a second terminal."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.live import Live as Screen

from toybed import live
from toybed.errors import ToybedError
from toybed.loading import curve, describe, read_only

MEASURES = {"reward": "sampled_reward", "entropy": "sampled_entropy"}
"""What is watched: of the batch, because that is what a run knows of itself at every update."""
NEWEST = 600
"""Runs of a store that are looked at when watching begins: the newest."""
KEY = ("objective", "world", "policy", "learner", "learning_rate")
"""Runs that agree in these are drawn as one line."""


@dataclass
class Line:
    """The runs of one setting.

    Attributes:
        about: what they have in common, by :data:`KEY`.
        finished: how many are in the store.
        running: how many are being trained.
        last: when something was heard of it: a number that grows.
        values: measure to update to the values that were seen there.
    """

    about: dict[str, Any]
    finished: int = 0
    running: int = 0
    last: int = 0
    values: dict[str, dict[int, list[float]]] = field(default_factory=lambda: {name: {} for name in MEASURES})

    def add(self, name: str, steps: Iterable[int], values: Iterable[float]) -> None:
        """Points of one run or one stack; what is not finite is left out."""
        for step, value in zip(steps, values, strict=True):
            if np.isfinite(value):
                self.values[name].setdefault(int(step), []).append(float(value))

    def curve(self, name: str) -> tuple[list[int], list[float]]:
        """Updates and the mean of what was seen there."""
        seen = sorted(self.values[name].items())
        return [step for step, _ in seen], [sum(values) / len(values) for _, values in seen]


@dataclass
class Frame:
    """What there is to see at one moment.

    Attributes:
        store: the file.
        title: what is being done now, by one command or several; None where nothing is.
        finished: runs in the store.
        progress: share of the updates done of the stacks that are being trained now; None without any.
        lines: those last heard of first.
    """

    store: Path
    title: str | None
    finished: int
    progress: float | None
    lines: list[Line]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "store": str(self.store),
            "running": self.title,
            "finished": self.finished,
            "progress": self.progress,
            "lines": [
                {
                    **line.about,
                    "finished": line.finished,
                    "running": line.running,
                    **{name: dict(zip(("updates", "values"), line.curve(name), strict=True)) for name in MEASURES},
                }
                for line in self.lines
            ],
        }


class Watcher:
    """Looks at a store again and again, and reads of it only what is new.

    Args:
        store: the file; it may not exist yet.
    """

    def __init__(self, store: Path) -> None:
        self._store = store
        self._lines: dict[tuple[Any, ...], Line] = {}
        self._row = self._finished = self._heard = 0

    def look(self) -> Frame:
        """What there is now."""
        if self._store.is_file():
            self._read()
        seen = live.read(self._store)
        stacks = [stack for each in seen for stack in each.stacks]
        lines = {key: _copy(line) for key, line in self._lines.items()}
        for stack in stacks:
            line = self._line(lines, stack.about)
            line.running += stack.runs
            line.last = self._heard + 1
            for place, name in enumerate(MEASURES, 1):
                line.add(name, (p[0] for p in stack.points), (p[place] for p in stack.points))
        done = sum(stack.runs * stack.points[-1][0] for stack in stacks if stack.points)
        todo = sum(stack.runs * stack.updates for stack in stacks)
        return Frame(
            store=self._store,
            title="; ".join(each.title for each in seen) or None,
            finished=self._finished,
            progress=done / todo if todo else None,
            lines=sorted(lines.values(), key=lambda line: -line.last),
        )

    def _read(self) -> None:
        """Add the runs that have come since; at first, of those that were there, the newest."""
        with read_only(self._store) as db:
            self._finished, newest = db.execute("SELECT count(*), coalesce(max(rowid), 0) FROM runs").fetchone()
            if newest < self._row:  # another file in its place
                self._lines, self._row = {}, 0
            since = max(self._row, newest - NEWEST) if self._row == 0 else self._row
            rows = db.execute("SELECT rowid, id, config, seed FROM runs WHERE rowid > ? ORDER BY rowid", (since,))
            for row, run, config, seed in rows.fetchall():
                self._row = self._heard = row
                line = self._line(self._lines, describe(run, json.loads(config), seed, {}))
                line.finished += 1
                line.last = row
                for name, measure in MEASURES.items():
                    query = 'SELECT steps, "values" FROM curves WHERE run = ? AND name = ?'
                    for steps, values in db.execute(query, (run, measure)):
                        line.add(name, (found := curve(steps, values)).steps, found.values)

    def _line(self, lines: dict[tuple[Any, ...], Line], about: dict[str, Any]) -> Line:
        # Where each seed has a world of its own, these are still the runs of one setting.
        own = {name: about[name] for name in KEY} | {"world": re.sub(r" table_seed=\d+", "", about["world"])}
        return lines.setdefault(tuple(str(value) for value in own.values()), Line(own))


def _copy(line: Line) -> Line:
    values = {name: {step: list(seen) for step, seen in steps.items()} for name, steps in line.values.items()}
    return Line(line.about, line.finished, line.running, line.last, values)


def labels(lines: Sequence[Line]) -> list[str]:
    """What tells lines apart: the objective, and whatever else they do not all have in common."""
    varied = [name for name in KEY if name != "objective" and len({str(line.about[name]) for line in lines}) > 1]
    return [
        ", ".join([line.about["objective"], *(_short(name, line.about[name]) for name in varied)]) for line in lines
    ]


def _short(name: str, value: Any) -> str:
    if name == "learning_rate":
        return f"rate {value:g}"
    return "policy gradient" if value is None else str(value)


def watch(store: Path, *, every: float, once: bool, as_json: bool) -> None:
    """Show the frames until Ctrl-C; or one of them.

    Raises:
        ToybedError: the time between two looks is too short; there is no store yet, and one look was asked for.
    """
    from toybed.commands.watching_frame import render

    if not every >= 0.1:
        raise ToybedError(f"every is {every:g}; allowed: at least 0.1 seconds")
    watcher = Watcher(store)
    if once or as_json:
        if not store.is_file() and not live.read(store):
            raise ToybedError(f"store {store} does not exist yet; toybed run makes one, --store names another")
        frame = watcher.look()
        print(json.dumps(frame.as_dict())) if as_json else Console().print(render(frame, Console().size))
        return
    console = Console()
    try:
        with Screen(console=console, screen=True, auto_refresh=False) as screen:
            while True:
                screen.update(render(watcher.look(), console.size), refresh=True)
                time.sleep(every)
    except KeyboardInterrupt:
        return
