"""Where stacks of runs are computed: in this process, or in processes of this machine (or :mod:`~toybed.cluster`).

An executor does independent, picklable tasks with one function and yields ``(task index, result)`` as they finish.
Only its caller writes to the store.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any, Protocol, Self

from toybed.errors import ToybedError
from toybed.memory import available_memory

Report = Callable[[int, float, float], None]
"""What a task calls while it runs: ``(update, reward, entropy)``."""

Work = Callable[[Any, Report], Any]
Watch = Callable[[int, int, float, float], None]
"""What the caller hears of it: ``(task index, update, reward, entropy)``."""

MAX_DEATHS = 3  # of workers on one task; then it is the task that kills them

# Fresh large tensors otherwise cost a page fault for every 4 kB (measured: a tenth of an update). glibc reads these at
# a process's start; elsewhere they are ignored.
WORKER_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "8000000000",
    "MALLOC_TOP_PAD_": "67108864",
}


class Executor(Protocol):
    """What the runner asks of an executor."""

    @property
    def workers(self) -> int:
        """How many tasks it does at once."""

    @property
    def memory(self) -> float:
        """The bytes that each worker may use."""

    def run(self, tasks: Sequence[Any], watch: Watch) -> Iterator[tuple[int, Any]]:
        """Do the tasks; yield each one's index and result as it finishes, in any order."""


class Here:
    """One task after another in this process."""

    workers = 1

    def __init__(self, work: Work) -> None:
        self._work = work
        self.memory = available_memory()

    def run(self, tasks: Sequence[Any], watch: Watch) -> Iterator[tuple[int, Any]]:
        """Do the tasks in their order."""
        for index, task in enumerate(tasks):
            yield index, self._work(task, lambda *seen, index=index: watch(index, *seen))


class Processes:
    """Tasks over spawned processes of this machine; ``work`` must be importable by name.

    A worker that dies is replaced and its task done again. When the caller stops (an exception, Ctrl-C, or its own
    death by a signal that cannot be caught) the workers stop too: each holds one end of a pipe whose other end only
    the caller has. Use it as a context manager; workers are kept from one :meth:`run` to the next.

    Args:
        work: what is done with a task.
        workers: how many processes at most.
    """

    def __init__(self, work: Work, workers: int) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._work, self.workers = work, workers
        self.memory = available_memory() / workers
        self._pool: dict[Connection, BaseProcess] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._pool.values():
            process.terminate()
        for pipe, process in self._pool.items():
            process.join()
            pipe.close()
        self._pool.clear()

    def run(self, tasks: Sequence[Any], watch: Watch) -> Iterator[tuple[int, Any]]:
        """Do the tasks.

        Raises:
            ToybedError: a task failed with one, or ended its worker three times.
            RuntimeError: a task failed otherwise; with its traceback.
        """
        waiting, busy, deaths = deque(range(len(tasks))), dict[Connection, int](), Counter[int]()
        try:
            while waiting or busy:
                self._hire(min(self.workers, len(waiting) + len(busy)))
                for pipe in [pipe for pipe in self._pool if pipe not in busy]:
                    if waiting and self._give(pipe, tasks[waiting[0]]):
                        busy[pipe] = waiting.popleft()
                # With nobody at work (the idle have died) there is nothing to wait for but new workers.
                ready = wait(list(busy)) if busy else []
                for pipe in [pipe for pipe in busy if pipe in ready]:
                    try:
                        kind, *content = pipe.recv()
                    except (EOFError, OSError):
                        index = busy.pop(pipe)
                        waiting.appendleft(index)
                        deaths[index] += 1
                        code = self._bury(pipe)
                        if deaths[index] >= MAX_DEATHS:
                            raise ToybedError(
                                f"stack {index} ended its worker process {MAX_DEATHS} times (exit code {code}); "
                                "memory may be short: try --workers 1"
                            ) from None
                        continue
                    if kind == "seen":
                        watch(busy[pipe], *content)
                    elif kind == "failed":
                        del busy[pipe]
                        raise content[0] or RuntimeError(content[1])
                    else:
                        yield busy.pop(pipe), content[0]
        finally:
            # Who still works on a task of this run would answer the next run with it.
            for pipe in busy:
                self._pool[pipe].terminate()
                self._bury(pipe)

    def _hire(self, count: int) -> None:
        """Start workers until there are ``count``."""
        if len(self._pool) >= count:
            return
        with _worker_surroundings():
            while len(self._pool) < count:
                here, there = self._context.Pipe()
                process = self._context.Process(target=_serve, args=(there, self._work), daemon=True)
                process.start()
                there.close()  # so that this end sees the worker's death
                self._pool[here] = process

    def _give(self, pipe: Connection, task: Any) -> bool:
        """Send a task; False where the worker has died while idle."""
        try:
            pipe.send(task)
        except ConnectionError:
            self._bury(pipe)
            return False
        return True

    def _bury(self, pipe: Connection) -> int | None:
        """Forget a worker that is dead or dying; its exit code."""
        process = self._pool.pop(pipe)
        process.join()
        pipe.close()
        return process.exitcode


@contextmanager
def _worker_surroundings() -> Iterator[None]:
    """What a process started within inherits: the environment, and deafness to Ctrl-C.

    Ctrl-C reaches the whole process group; the caller alone decides what it means. Blocked, not ignored: one that comes
    meanwhile is delivered to the caller afterwards, and not lost.
    """
    before = {name: os.environ.get(name) for name in WORKER_ENVIRONMENT}
    can_block = hasattr(signal, "pthread_sigmask")  # not on Windows
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if can_block else set()
    os.environ.update(WORKER_ENVIRONMENT)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        if can_block:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _serve(pipe: Connection, work: Work) -> None:
    """A worker's life: take a task, report on it, send the result; end when the pipe does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    while True:
        try:
            task = pipe.recv()
            try:
                message: tuple[str, Any, str] = ("done", work(task, lambda *seen: pipe.send(("seen", *seen))), "")
            except ToybedError as error:
                message = ("failed", error, "")
            except ConnectionError:
                raise
            except Exception:
                message = ("failed", None, traceback.format_exc())
            pipe.send(message)
        except (EOFError, ConnectionError):
            return
