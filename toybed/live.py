"""What a running sweep says while it runs: a small file beside its store, for those who watch.

The store holds what is finished, and a stack of runs is finished at once. So the curves of the stacks that are being
trained stand in ``STORE-live-PROCESS``, written anew at most twice a second and removed at the end: several commands
may work for one store.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from toybed.loading import describe

if TYPE_CHECKING:
    from toybed.study import Run

EVERY = 0.5  # seconds between two writings
POINTS = 120
"""A curve that has more is thinned, the last point kept."""


@dataclass
class StackSeen:
    """A stack that is being trained.

    Attributes:
        about: what its runs have in common, as :func:`~toybed.loading.describe` has it.
        runs: how many there are.
        updates: each will do.
        points: update, mean reward and mean entropy of the batch, in their order.
    """

    about: dict[str, Any]
    runs: int
    updates: int
    points: list[tuple[int, float, float]] = field(default_factory=list)

    @property
    def done(self) -> bool:
        """Whether it has done all its updates: it will be in the store in a moment."""
        return bool(self.points) and self.points[-1][0] >= self.updates


@dataclass
class Seen:
    """What a file holds: who runs, what, and the stacks that are being trained."""

    process: int
    title: str
    stacks: list[StackSeen]


class Live:
    """Keeps the file; call it with every update of a stack. Use it as a context manager.

    Whoever watches must not disturb: where the file cannot be written, nothing is said and the sweep goes on.

    Args:
        store: the store of the sweep.
        title: what is being done.
    """

    def __init__(self, store: Path, title: str) -> None:
        self._store, self._title, self._process = store, title, os.getpid()
        self._path = live_file(store, self._process)
        self._stacks: dict[int, StackSeen] = {}
        self._written = float("-inf")

    def __enter__(self) -> Live:
        for file, seen in _found(self._store):  # what those left that were killed
            if not _lives(seen.process):
                with suppress(OSError):
                    file.unlink(missing_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    def __call__(self, runs: Sequence[Run], update: int, reward: float, entropy: float) -> None:
        """A stack of runs has done an update, with this mean reward and entropy."""
        seen = self._stacks.get(id(runs))
        if seen is None or (seen.points and seen.points[-1][0] >= update):  # a new one, or done again by a new worker
            setting = runs[0].setting
            # Those that are done are in the store by now.
            self._stacks = {key: stack for key, stack in self._stacks.items() if not stack.done}
            seen = StackSeen(describe("", setting.config(), runs[0].seed, {}), len(runs), setting.learning.updates)
            self._stacks[id(runs)] = seen
        seen.points.append((update, reward, entropy))
        if time.monotonic() - self._written > EVERY:
            self._written = time.monotonic()
            self._write()

    def _write(self) -> None:
        thinned = [replace(stack, points=_thinned(stack.points)) for stack in self._stacks.values()]
        text = json.dumps(asdict(Seen(self._process, self._title, thinned)))
        partial = self._path.with_name(f"{self._path.name}.part")
        with suppress(OSError):
            partial.write_text(text, encoding="utf-8")
            os.replace(partial, self._path)


def live_file(store: Path, process: int) -> Path:
    """Where the file of a process that works for a store is."""
    return store.with_name(f"{store.name}-live-{process}")


def read(store: Path) -> list[Seen]:
    """What is being done now, by each process that works for the store; those that have died do nothing."""
    return [seen for _, seen in _found(store) if _lives(seen.process)]


def _found(store: Path) -> list[tuple[Path, Seen]]:
    form = re.compile(re.escape(store.name) + r"-live-\d+")
    files: list[Path] = []
    with suppress(OSError):
        files = sorted(file for file in store.parent.iterdir() if form.fullmatch(file.name))
    return [(file, seen) for file in files if (seen := _read(file)) is not None]


def _read(file: Path) -> Seen | None:
    """What a file holds; None where it is half-written, or was removed in the meantime."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        stacks = [StackSeen(**{**s, "points": [tuple(p) for p in s["points"]]}) for s in found["stacks"]]
        return Seen(found["process"], found["title"], stacks)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True


def _thinned(points: list[tuple[int, float, float]]) -> list[tuple[int, float, float]]:
    step = max(len(points) // POINTS, 1)
    return points[::-step][::-1]
