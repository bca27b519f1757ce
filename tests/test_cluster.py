"""Ray: the same bytes as one process makes, also where a machine is lost in the middle.

On a real cluster of this machine: a head and two nodes, each with processes of its own.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from toybed import cli
from toybed.cluster import RayCluster
from toybed.errors import ToybedError
from toybed.executors import MAX_DEATHS, WORKER_ENVIRONMENT

TESTS = Path(__file__).parent
HANG = 240.0  # seconds after which a test gives up; nothing is timed
needs_ray = [
    pytest.mark.cluster,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed (the extra cluster)"),
]


def test_without_ray_it_is_said_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    store = ["--store", str(tmp_path / "s.sqlite")]
    assert cli.main(["run", "same_at_ratio_one", "--quick", "--cluster", "auto", *store]) == 2
    assert capsys.readouterr().err.endswith("toybed: --cluster needs Ray: pip install 'toybed[cluster]'\n")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--workers", "2"], "--cluster and --workers: choose one"),
        (["--device", "cuda"], "device is 'cuda'"),
    ],
)
def test_what_a_cluster_does_not_do_is_named(
    options: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    given = ["run", "same_at_ratio_one", "--cluster", "auto", *options, "--store", str(tmp_path / "s.sqlite")]
    assert cli.main(given) == 2
    assert message in capsys.readouterr().err


def test_an_address_without_a_cluster_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("toybed.cluster._import_ray", lambda: None)
    with socket.socket() as taken:  # a port that nobody listens at
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ToybedError, match=rf"^cluster '{address}' cannot be joined \(.*\); `ray start --head`"):
            RayCluster(print, address).__enter__()


# -- on a real cluster -------------------------------------------------------------------------------------------------
def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(TESTS), "RAY_USAGE_STATS_ENABLED": "0"}


def until(condition: Callable[[], bool], process: subprocess.Popen[Any]) -> None:
    end = time.monotonic() + HANG
    while not condition():
        assert process.poll() is None, "it ended"
        assert time.monotonic() < end, "it hangs"
        time.sleep(0.02)


@contextmanager
def helper(what: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """``cluster_work.py``, whose words go to a file."""
    with (
        (folder / "said").open("wb") as said,
        subprocess.Popen(
            [sys.executable, str(TESTS / "cluster_work.py"), what, str(folder)],
            stdin=subprocess.PIPE,
            stdout=said,
            stderr=said,
            env=environment(),
        ) as process,
    ):
        yield process


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the executor did with the functions of ``executor_work.py``."""
    folder = tmp_path_factory.mktemp("executor")
    with helper("executor", folder) as process:
        process.wait(HANG)
    assert process.returncode == 0, (folder / "said").read_text(encoding="utf-8")[-3000:]
    result: dict[str, Any] = json.loads((folder / "found.json").read_text(encoding="utf-8"))
    return result


class TestExecutor:
    pytestmark = needs_ray

    def test_it_gives_each_tasks_result_and_its_reports_in_their_order(self, found: dict[str, Any]) -> None:
        assert found["workers"] == 2
        assert found["square"] == [[n, n * n] for n in range(6)]
        for n in range(6):
            assert [said[1:] for said in found["heard"] if said[0] == n] == [[1, n, 0.5], [2, n, 0.25]]

    def test_workers_have_one_thread(self, found: dict[str, Any]) -> None:
        assert [value for _, value in found["environment"]] == list(WORKER_ENVIRONMENT.values())

    def test_a_worker_that_dies_is_replaced_and_its_task_done_again(self, found: dict[str, Any]) -> None:
        assert found["dies once"] == [[n, n] for n in range(4)]

    def test_a_lost_nodes_task_is_done_again_elsewhere(self, found: dict[str, Any]) -> None:
        assert found["a node lost"] == [[n, n] for n in range(8)]

    def test_a_task_that_always_kills_its_worker_is_named(self, found: dict[str, Any]) -> None:
        assert found["dies"].startswith(f"ToybedError: stack 0 lost its worker {MAX_DEATHS} times")

    def test_failures_surface(self, found: dict[str, Any]) -> None:
        assert found["fails"] == "ToybedError: group is 0; allowed: at least 1"
        assert found["fails otherwise"].startswith("RuntimeError: ")
        for part in ("ZeroDivisionError", "4711", "executor_work.py"):
            assert part in found["fails otherwise"]


def contents(store: Path) -> list[list[Any]]:
    """All but how and when the runs were made, byte for byte."""
    with closing(sqlite3.connect(store)) as db:
        return [
            db.execute(query).fetchall()
            for query in (
                "SELECT id, config, seed, parameters FROM bases ORDER BY id",
                "SELECT id, config, seed, diverged_at FROM runs ORDER BY id",
                'SELECT run, name, steps, "values" FROM curves ORDER BY run, name',
            )
        ]


def finished(store: Path) -> int:
    try:
        with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as db:
            return int(db.execute("SELECT count(*) FROM runs").fetchone()[0])
    except sqlite3.OperationalError:  # not there yet, or its tables are being made
        return 0


class TestSweep:
    pytestmark = needs_ray

    def test_a_sweep_that_loses_a_machine_and_is_stopped_ends_with_the_same_bytes(self, tmp_path: Path) -> None:
        """Stopped by SIGTERM after the first runs; continued, a node killed in the middle; all as in one process."""
        here, there = tmp_path / "here.sqlite", tmp_path / "there.sqlite"
        sweep = [sys.executable, str(TESTS / "tiny_study.py"), "run", "tiny", "--seeds", "20", "--store"]
        subprocess.run([*sweep, str(here), "--workers", "1"], check=True, capture_output=True, timeout=HANG)

        def start() -> subprocess.Popen[bytes]:
            address = (tmp_path / "address").read_text(encoding="utf-8")
            with (tmp_path / "sweep").open("ab") as said:
                return subprocess.Popen(
                    [*sweep, str(there), "--cluster", address], stdout=said, stderr=said, env=environment()
                )

        with helper("nodes", tmp_path) as nodes:
            until((tmp_path / "address").exists, nodes)
            with start() as stopped:
                until(lambda: finished(there) > 0, stopped)
                stopped.send_signal(signal.SIGTERM)
                assert stopped.wait(HANG) == 130
            kept = finished(there)
            assert 0 < kept < len(contents(here)[1])
            with start() as going:
                until(lambda: finished(there) > kept, going)
                assert nodes.stdin is not None
                nodes.stdin.write(b"kill\n")
                nodes.stdin.flush()
                until((tmp_path / "killed").exists, nodes)
                in_time = going.poll() is None
                assert going.wait(HANG) == 0, (tmp_path / "sweep").read_text(encoding="utf-8")[-3000:]
            nodes.stdin.close()
        assert in_time, "the node was killed after the end"
        assert contents(there) == contents(here)
