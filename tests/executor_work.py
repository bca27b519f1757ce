"""Functions that workers of the executor tests do. A worker imports them by name, so they stand in a file of their own.

Run as a script it starts two workers on tasks that never end, prints their process ids and waits to be killed.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from toybed.errors import ToybedError
from toybed.executors import Processes, Report


def square(task: int, report: Report) -> int:
    """Report twice, then answer."""
    report(1, float(task), 0.5)
    report(2, float(task), 0.25)
    return task * task


def where(task: float, report: Report) -> int:
    """The process that did it; it takes long enough for every worker to get a task."""
    time.sleep(task)
    return os.getpid()


def environment(task: str, report: Report) -> str | None:
    """A variable of the worker's environment."""
    return os.environ.get(task)


def dies_once(task: tuple[str, int], report: Report) -> int:
    """End the process without a word the first time, told by a file."""
    marker, number = task
    if number == 1:
        try:
            Path(marker).touch(exist_ok=False)
        except FileExistsError:
            return number
        report(1, 0.0, 0.0)
        os._exit(17)
    return number


def dies(task: int, report: Report) -> int:
    """End the process without a word, always."""
    os._exit(23)


def fails(task: str, report: Report) -> str:
    """Fail in the way that the task names, and do other tasks."""
    if task == "toybed":
        raise ToybedError("group is 0; allowed: at least 1")
    if task == "other":
        raise ZeroDivisionError("a number that is easy to find: 4711")
    if task.startswith("slow "):
        time.sleep(0.5)
    return task


def never_ends(task: int, report: Report) -> None:
    """Report for ever, as training does."""
    while True:
        time.sleep(0.02)
        report(0, 0.0, 0.0)


def main() -> None:
    """Start the workers, tell their ids, wait."""
    heard: set[int] = set()
    told = threading.Event()

    def watch(index: int, *seen: Any) -> None:
        heard.add(index)
        if len(heard) == 2 and not told.is_set():
            told.set()
            print(*(process.pid for process in pool._pool.values()), flush=True)

    with Processes(never_ends, 2) as pool:
        for _ in pool.run([0, 1], watch):
            pass


if __name__ == "__main__":
    sys.exit(main())
