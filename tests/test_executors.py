"""Executors: the same results wherever a task is done, and nothing lost when a worker dies."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from toybed import executors
from toybed.errors import ToybedError
from toybed.executors import MAX_DEATHS, WORKER_ENVIRONMENT, Here, Processes

HANG = 60.0  # seconds after which a test gives up; nothing is timed


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The functions that workers do, importable by name in a spawned process too."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    return importlib.import_module("executor_work")


def silent(*_: Any) -> None:
    pass


def alive(pid: int) -> bool:
    """Whether the process runs (one that ended and was not waited for does not)."""
    if not Path("/proc/self/stat").exists():  # not Linux
        told = subprocess.run(["ps", "-o", "state=", "-p", str(pid)], capture_output=True, text=True).stdout.strip()
        return bool(told) and told[0] != "Z"
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def until(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + HANG
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def test_here_and_processes_give_the_same_results_and_messages(work: ModuleType) -> None:
    tasks = list(range(5))
    seen: dict[str, list[tuple[int, ...]]] = {"here": [], "processes": []}
    here = dict(Here(work.square).run(tasks, lambda *said: seen["here"].append(said)))
    with Processes(work.square, 2) as pool:
        processes = dict(pool.run(tasks, lambda *said: seen["processes"].append(said)))
    assert here == processes == {task: task * task for task in tasks}
    assert sorted(seen["here"]) == sorted(seen["processes"])
    # Two for each task, of the right task, in their order.
    for index in tasks:
        mine = [said[1:] for said in seen["processes"] if said[0] == index]
        assert mine == [(1, float(index), 0.5), (2, float(index), 0.25)]


def test_no_tasks_no_workers(work: ModuleType) -> None:
    with Processes(work.square, 2) as pool:
        assert list(pool.run([], silent)) == []
        assert pool._pool == {}


def test_more_workers_than_tasks_are_not_started(work: ModuleType) -> None:
    with Processes(work.where, 8) as pool:
        assert len(list(pool.run([0.0, 0.0], silent))) == 2
        assert len(pool._pool) <= 2


def test_workers_are_kept_between_runs_and_gone_after_the_end(work: ModuleType) -> None:
    with Processes(work.where, 2) as pool:
        first = {pid for _, pid in pool.run([0.2, 0.2], silent)}
        second = {pid for _, pid in pool.run([0.2, 0.2], silent)}
        assert first == second
        assert os.getpid() not in first
        assert all(alive(pid) for pid in first)
    assert until(lambda: not any(alive(pid) for pid in first))


def test_workers_are_gone_after_an_exception(work: ModuleType) -> None:
    pids: list[int] = []
    with pytest.raises(KeyboardInterrupt), Processes(work.never_ends, 2) as pool:

        def interrupt(*_: Any) -> None:
            pids.extend(process.pid for process in pool._pool.values())
            raise KeyboardInterrupt

        list(pool.run([0, 1], interrupt))
    assert len(pids) == 2
    assert until(lambda: not any(alive(pid) for pid in pids))


def test_a_worker_has_one_thread_and_leaves_our_environment_alone(
    work: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MALLOC_TOP_PAD_", raising=False)
    names = list(WORKER_ENVIRONMENT)
    with Processes(work.environment, 1) as pool:
        found = [value for _, value in sorted(pool.run(names, silent))]
    assert found == [WORKER_ENVIRONMENT[name] for name in names]
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "MALLOC_TOP_PAD_" not in os.environ


def test_a_worker_that_dies_is_replaced_and_its_task_done_again(work: ModuleType, tmp_path: Path) -> None:
    marker = tmp_path / "died"
    with Processes(work.dies_once, 2) as pool:
        results = dict(pool.run([(str(marker), number) for number in range(4)], silent))
    assert results == {0: 0, 1: 1, 2: 2, 3: 3}
    assert marker.exists()


def test_a_worker_that_dies_between_two_runs_is_replaced(work: ModuleType) -> None:
    with Processes(work.where, 1) as pool:
        [(_, first)] = pool.run([0.0], silent)
        os.kill(first, signal.SIGKILL)
        assert until(lambda: not alive(first))
        [(_, second)] = pool.run([0.0], silent)
    assert second != first


def test_a_task_that_always_kills_its_worker_is_named(work: ModuleType) -> None:
    with (
        pytest.raises(ToybedError, match=rf"stack 0 .* {MAX_DEATHS} times .*exit code 23.*--workers 1"),
        Processes(work.dies, 1) as pool,
    ):
        list(pool.run([0], silent))


def test_a_wrong_input_surfaces_as_it_was_raised(work: ModuleType) -> None:
    for run in (Here(work.fails).run, None):
        with Processes(work.fails, 1) as pool, pytest.raises(ToybedError) as caught:
            list((run or pool.run)(["fine", "toybed"], silent))
        assert str(caught.value) == "group is 0; allowed: at least 1"


def test_any_other_failure_surfaces_with_the_workers_traceback(work: ModuleType) -> None:
    with Processes(work.fails, 1) as pool, pytest.raises(RuntimeError) as caught:
        list(pool.run(["other"], silent))
    assert "ZeroDivisionError" in str(caught.value)
    assert "4711" in str(caught.value)
    assert "executor_work.py" in str(caught.value)


def test_results_of_a_run_that_failed_do_not_turn_up_in_the_next(work: ModuleType) -> None:
    """The slow task of the first run is still being done when the second run begins."""
    with Processes(work.fails, 2) as pool:
        with pytest.raises(ToybedError):
            list(pool.run(["slow old", "toybed"], silent))
        assert dict(pool.run(["slow new", "slow newer"], silent)) == {0: "slow new", 1: "slow newer"}


def test_workers_end_by_themselves_when_the_caller_is_killed(tmp_path: Path) -> None:
    script = Path(__file__).with_name("executor_work.py")
    with (
        (tmp_path / "stderr").open("w") as errors,
        subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, stderr=errors, text=True) as caller,
    ):
        assert caller.stdout is not None
        pids = [int(word) for word in caller.stdout.readline().split()]
        assert len(pids) == 2
        assert all(alive(pid) for pid in pids)
        caller.send_signal(signal.SIGKILL)
        caller.wait(HANG)
        assert until(lambda: not any(alive(pid) for pid in pids))
    assert "Traceback" not in (tmp_path / "stderr").read_text(encoding="utf-8")


def test_a_ctrl_c_while_workers_start_is_late_and_not_lost():
    """Workers are started deaf to Ctrl-C; ignoring it for that long would lose one that comes just then."""
    # A suite started in the background of a shell inherits an ignored Ctrl-C.
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)
    heard = False
    try:
        with pytest.raises(KeyboardInterrupt), executors._worker_surroundings():
            signal.raise_signal(signal.SIGINT)
            heard = True
    finally:
        signal.signal(signal.SIGINT, inherited)
    assert heard
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, set())
