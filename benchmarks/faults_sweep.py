"""A sweep of tiny runs that can be killed hundreds of times in minutes, and what must be true of its store.

It goes through the real runner into a real store; in the place of training stand numbers that follow from each run's
name, so that whatever is found in a store can be checked to the byte.
"""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import sys
import traceback
from contextlib import closing
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from toybed import runner, stacking
from toybed.agents.config import Learning, Setting, Spec
from toybed.agents.results import Curve, RunResult
from toybed.errors import ToybedError
from toybed.executors import Report
from toybed.store import Store
from toybed.study import Run

POINTS, MEASURES = 30, 20  # of a run's curves: as many numbers as a standard run leaves
PARAMETERS = 3000  # of the policy with which each ends: some pages of the file


def tiny_runs(count: int) -> list[Run]:
    """So many runs, two in a stack."""
    first = Setting(policy=Spec("tabular"), learning=Learning(updates=1, prompts=32, group=32, minibatches=1))
    settings = [first.with_learning(max_grad_norm=1.0 + i) for i in range(-(-count // 2))]
    return [Run(setting, seed) for setting in settings for seed in (0, 1)][:count]


def fake_compute(stack: stacking.Stack, report: Report) -> Any:
    """In the place of :func:`toybed.stacking.compute`."""
    if stack.starts is None:
        return np.stack([_parameters(run.base_id) for run in stack.runs])
    report(1, 0.5, 1.0)
    results = [RunResult(_curves(run.id), None, None, _parameters(run.end_id)) for run in stack.runs]
    return results, {"seconds": 0.0, "stack": len(results)}


def _numbers(name: str, count: int) -> NDArray[np.float64]:
    return np.random.default_rng(int(name, 16)).normal(size=count)


def _parameters(name: str) -> NDArray[np.float32]:
    return _numbers(name, PARAMETERS).astype(np.float32)


def _curves(name: str) -> dict[str, Curve]:
    values = _numbers(name, MEASURES * POINTS).reshape(MEASURES, POINTS)
    return {f"measure_{i}": Curve(np.arange(POINTS), row) for i, row in enumerate(values)}


class Telling:
    """A progress that says on standard output where the sweep is."""

    def __init__(self) -> None:
        self._finished = 0

    def begin(self, runs: int, finished: int, updates: int, phase: str) -> None:
        """Work begins."""
        self._finished = finished
        print("ready", flush=True)

    def advance(self, updates: int, reward: float, entropy: float) -> None:
        """Not told."""

    def finish(self, runs: int) -> None:
        """So many runs are in the store: from here on nothing may lose them."""
        self._finished += runs
        print(self._finished, flush=True)


def sweep(store: Path, count: int, limit: int = 0, load: bool = False) -> None:
    """Fill a store with the tiny runs: what a child does.

    Args:
        store: the file.
        count: runs.
        limit: bytes beyond which no file may grow, as on a full disk; 0 is none.
        load: also load all results, as for judging, and say the process's peak memory in kB.
    """
    runner.compute = fake_compute
    if limit:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # then the write fails, and not the process
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    print("opening", flush=True)
    with Store(store) as opened:
        runs = tiny_runs(count)
        runner.run_sweep(runs, opened, progress=Telling(), keep={run.end_id for run in runs})
        if load:
            results = [opened.run(run.id) for run in runs]
            print(len(results), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, flush=True)


class Child:
    """:func:`sweep` in a process of its own: a copy of this one, so that it is at work at once. Not on Windows.

    Use it as a context manager; it is killed at the end if it still runs.
    """

    def __init__(self, store: Path, count: int, limit: int = 0, load: bool = False) -> None:
        out, into = os.pipe()
        self._pid = os.fork()
        if not self._pid:
            os.close(out)
            sys.stdout = sys.stderr = os.fdopen(into, "w")
            code = 1
            try:
                sweep(store, count, limit, load)
                code = 0
            except ToybedError as error:
                print(f"toybed: {error}")
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                os._exit(code)
        os.close(into)
        self._out = os.fdopen(out)
        self.code: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self.rest()
        self._out.close()

    def line(self) -> str:
        """What it says next."""
        return self._out.readline()

    def kill(self) -> None:
        """Signal 9."""
        if self.code is None:
            os.kill(self._pid, signal.SIGKILL)

    def rest(self) -> list[str]:
        """All that it still says until its end; then :attr:`code` is its exit code."""
        said = self._out.read().splitlines()
        if self.code is None:
            self.code = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        return said


def faults_of(store: Path, count: int, at_least: int = 0) -> list[str]:
    """What is wrong with a store that was filled with the tiny runs, or a part of them; one sentence each.

    Args:
        store: the file; it need not exist.
        count: runs of the sweep.
        at_least: how many the sweep said to have finished.
    """
    if not store.exists():
        return [f"{at_least} finished runs are gone with the file"] if at_least else []
    with closing(sqlite3.connect(store)) as db:
        [(checked, *_), *_] = db.execute("PRAGMA integrity_check").fetchall()
        if checked != "ok":
            return [f"integrity_check: {checked.splitlines()[0]}"]
        if not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            return [f"{at_least} finished runs are gone"] if at_least else []
        names = {row[0] for row in db.execute("SELECT id FROM runs")}
    wrong = [] if len(names) >= at_least else [f"{at_least - len(names)} finished runs are gone"]
    runs = {run.id: run for run in tiny_runs(count)}
    wrong += [f"run {name} is none of the sweep's" for name in names - set(runs)]
    with Store(store) as opened:
        wrong += [f"run {name} is not as it was made" for name in names & set(runs) if not _whole(opened, runs[name])]
    return wrong


def _whole(store: Store, run: Run) -> bool:
    found, expected, end = store.run(run.id).curves, _curves(run.id), store.base(run.end_id)
    return (
        found.keys() == expected.keys()
        and all(np.array_equal(found[name].values, curve.values) for name, curve in expected.items())
        and all(np.array_equal(found[name].steps, curve.steps) for name, curve in expected.items())
        and end is not None
        and np.array_equal(end, _parameters(run.end_id))
    )


def finished(store: Path) -> int:
    """How many runs are in a store."""
    with Store(store) as opened:
        return len(opened.finished())
