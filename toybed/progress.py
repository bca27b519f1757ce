"""The live progress of a sweep on standard error: runs done, entropy and reward so far, time left."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

PLAIN_EVERY = 10.0  # seconds between lines where standard error is a file or a pipe


class Bar:
    """A :class:`toybed.runner.Progress` for people; a line now and then where there is no terminal.

    Args:
        quiet: show nothing.
    """

    def __init__(self, quiet: bool = False) -> None:
        self._console = Console(stderr=True, quiet=quiet)
        self._live = self._console.is_terminal and not quiet
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("updates ·"),
            TimeElapsedColumn(),
            TextColumn("· left"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
        )
        self._task: TaskID | None = None
        self._phase = ""
        self._runs = self._done = self._updates = self._total = 0
        self._reward = self._entropy = float("nan")
        self._started = self._printed = time.monotonic()

    def __enter__(self) -> Bar:
        if self._live:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._bar.stop()

    def begin(self, runs: int, finished: int, updates: int, phase: str = "") -> None:
        """``runs`` in all, ``finished`` already in the store; ``updates`` run-updates still to do."""
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._phase = f"{phase} · " if phase else ""
        self._runs, self._done, self._updates, self._total = runs, finished, 0, updates
        self._started = self._printed = time.monotonic()
        if finished:
            self._console.print(f"{self._phase}{finished} of {runs} runs are in the store already")
        self._task = self._bar.add_task(self._describe(), total=updates)

    def advance(self, updates: int, reward: float, entropy: float) -> None:
        """``updates`` more run-updates were done, with this mean reward and entropy."""
        self._updates += updates
        self._reward, self._entropy = reward, entropy
        self._show(updates)

    def finish(self, runs: int) -> None:
        """``runs`` more are in the store."""
        self._done += runs
        self._show(0)

    def _describe(self) -> str:
        what = f"{self._phase}{self._done}/{self._runs} runs"
        if self._updates == 0 and self._total:
            return f"{what} · making base policies"
        return f"{what} · reward {self._reward:.2f} · entropy {self._entropy:.2f}"

    def _show(self, updates: int) -> None:
        if self._live and self._task is not None:
            self._bar.update(self._task, advance=updates, description=self._describe())
        elif time.monotonic() - self._printed > PLAIN_EVERY:
            self._printed = time.monotonic()
            passed = self._printed - self._started
            left = passed * (self._total - self._updates) / max(self._updates, 1)
            self._console.print(f"{self._describe()} · {passed:.0f} s, about {left:.0f} s left", highlight=False)
