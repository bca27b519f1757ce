"""Kills, full disks, two drivers and torn files: the bounded form of ``benchmarks/faults.py``, and that it can fail."""

from __future__ import annotations

import json
import math
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from toybed import runner, stacking
from toybed.benchmarks import faults_sweep
from toybed.benchmarks.faults import CASES
from toybed.benchmarks.faults_sweep import Telling, faults_of, tiny_runs
from toybed.errors import ToybedError
from toybed.executors import Here
from toybed.memory import WORKER_BYTES, _container
from toybed.store import Store

RUNS = 40
GIGABYTE = 1e9
unix_only = pytest.mark.skipif(sys.platform == "win32", reason="processes are copied")


def faults(*options: str) -> Any:
    """In a process of its own, which it copies: this one has threads."""
    command = [sys.executable, "-m", "toybed.benchmarks.faults", "--json", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


@unix_only
def test_nothing_that_was_finished_is_lost() -> None:
    found = faults("--kills", "12", "--torn", "5", "--runs", str(RUNS))
    assert found.keys() == CASES.keys()
    assert {name: case["wrong"] for name, case in found.items()} == {name: [] for name in CASES}
    # Each kind has happened.
    assert found["killed"]["times"] == 12
    assert found["killed"]["counts"]["killed after some commits"] > 0
    assert found["disk full"]["counts"]["said in one line"] > 0
    assert found["read-only"]["counts"] == {"said in one line": 2}
    assert found["cut off"]["counts"] == {"found, and left as it is": 5}


@unix_only
def test_the_driver_of_a_long_sweep_stays_small() -> None:
    """1,000 runs, all loaded at the end, within a tenth of what 10,000 may take beside the 300 MB of a process."""
    *_, largest = faults("--memory", "--longest", "1000")
    assert largest["runs"] == 1000
    assert largest["MB"] * 2**20 < 0.3 * GIGABYTE + 0.1 * (2 - 0.3) * GIGABYTE


# -- that it can fail --------------------------------------------------------------------------------------------------
@pytest.fixture
def filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    monkeypatch.setattr(runner, "compute", faults_sweep.fake_compute)
    path = tmp_path / "s.sqlite"
    with Store(path) as store:
        runs = tiny_runs(RUNS)
        runner.run_sweep(runs, store, progress=Telling(), keep={run.end_id for run in runs})
    assert capsys.readouterr().out.split() == ["ready", *(str(n) for n in range(2, RUNS + 1, 2))]
    assert faults_of(path, RUNS, RUNS) == []
    return path


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        ("DELETE FROM runs WHERE rowid = 3", "1 finished runs are gone"),
        ("DELETE FROM curves WHERE rowid = 3", "is not as it was made"),
        ('UPDATE curves SET "values" = steps WHERE rowid = 3', "is not as it was made"),
        ("UPDATE bases SET parameters = zeroblob(12000)", "is not as it was made"),
        ("DELETE FROM bases", "is not as it was made"),
        ("UPDATE runs SET id = 'abc' WHERE rowid = 3", "run abc is none of the sweep's"),
    ],
)
def test_what_is_lost_or_changed_is_found(filled: Path, damage: str, sentence: str) -> None:
    with closing(sqlite3.connect(filled)) as db:
        db.execute(damage)
        db.commit()
    assert any(sentence in wrong for wrong in faults_of(filled, RUNS, RUNS))


def test_a_store_that_is_gone_is_found(filled: Path, tmp_path: Path) -> None:
    filled.unlink()
    assert faults_of(filled, RUNS, 2) == ["2 finished runs are gone with the file"]
    assert faults_of(filled, RUNS) == []
    filled.write_bytes(b"")
    assert faults_of(filled, RUNS, 2) == ["2 finished runs are gone"]


# -- stacks and memory -------------------------------------------------------------------------------------------------
def test_stacks_are_built_when_they_are_handed_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alive, most = 0, 0

    class Counted(stacking.Stack):
        def __init__(self, *given: Any, **named: Any) -> None:
            nonlocal alive, most
            super().__init__(*given, **named)
            alive += 1
            most = max(most, alive)

        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    monkeypatch.setattr(runner, "compute", faults_sweep.fake_compute)
    for module in (runner, stacking):
        monkeypatch.setattr(module, "Stack", Counted)
    with Store(tmp_path / "s.sqlite") as store:
        runner.run_sweep(tiny_runs(20), store, progress=Telling())
        assert len(store.finished()) == 20
    assert 1 <= most <= 2  # the one at work, and its successor while it is put in its place


@pytest.mark.parametrize(("memory", "sizes"), [(1e12, [2] * 10), (0.0, [1] * 20), (WORKER_BYTES + 8e7, [1] * 20)])
def test_stacks_are_cut_to_a_workers_memory(memory: float, sizes: Sequence[int], tmp_path: Path) -> None:
    """A tiny run has 1,024 responses an update: two are a stack, unless memory is short of 2 (30 + 1024 * .025) MB."""
    stacks: list[int] = []

    class Small(Here):
        def run(self, tasks: Sequence[Any], watch: Any) -> Any:
            stacks.extend(len(task.runs) for task in tasks if task.starts is not None)
            return super().run(tasks, watch)

    executor = Small(faults_sweep.fake_compute)
    executor.memory = memory
    with Store(tmp_path / "s.sqlite") as store:
        runner._make_bases(tiny_runs(20), store, executor)
        runner._train(tiny_runs(20), set(), store, executor, Telling())
    assert stacks == sizes


def test_a_sweep_whose_code_changes_meanwhile_is_stopped() -> None:
    """A worker that imports other code than the driver would make runs that bear a wrong name."""
    run = tiny_runs(1)[0]
    same = stacking.Stack((run,), None, ids=(run.id,))
    assert stacking.compute(same, lambda *_: None).shape[0] == 1
    with pytest.raises(ToybedError, match="changed while the sweep ran; start it again"):
        stacking.compute(stacking.Stack((run,), None, ids=("of other code",)), lambda *_: None)


# -- control groups ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("own", "files", "left"),
    [
        ("0::/job/step\n", {"job/memory.max": "900", "job/memory.stat": "anon 100\nfile 5"}, 800.0),
        ("0::/job/step\n", {"job/memory.max": "900", "job/step/memory.max": "300", "job/memory.stat": "anon 0"}, 300.0),
        ("0::/job\n", {"job/memory.max": "max"}, math.inf),
        ("", {"memory.max": "50", "memory.stat": "anon 60"}, 0.0),
        (
            "5:cpu:/job\n4:memory:/job\n",
            {"memory/job/memory.limit_in_bytes": "700", "memory/job/memory.stat": "rss 1\ntotal_rss 200"},
            500.0,
        ),
    ],
    ids=["of the job", "the least counts", "no limit", "of the container", "version 1"],
)
def test_the_limits_of_control_groups_are_found(own: str, files: dict[str, str], left: float, tmp_path: Path) -> None:
    for name, text in files.items():
        place = tmp_path / "cgroup" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    (tmp_path / "own").write_text(own)
    assert _container(str(tmp_path / "cgroup"), str(tmp_path / "own")) == left
