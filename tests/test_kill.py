"""A sweep that is killed, or asked to stop, loses nothing that was finished and continues to the same bytes."""

from __future__ import annotations

import importlib.util
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from toybed import answering
from toybed.progress import Bar
from toybed.store import Store

SCRIPT = Path(__file__).with_name("tiny_study.py")
HANG = 120.0  # seconds after which a test gives up; nothing is timed


def command(store: Path, workers: int) -> list[str]:
    return [sys.executable, str(SCRIPT), "run", "tiny", "--store", str(store), "--workers", str(workers)]


def finish_here(store: Path) -> None:
    """What the same command does, in this process: it has the heavy imports already."""
    spec = importlib.util.spec_from_file_location("tiny_study", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with Store(store) as opened, Bar(quiet=True) as bar:
        answering.answer(module.STUDY, opened, progress=bar)


def runs(store: Path) -> list[tuple[Any, ...]]:
    """Names of the finished runs; read as another program would, while the sweep writes."""
    if not store.exists():
        return []
    try:
        with closing(sqlite3.connect(store)) as db:
            return db.execute("SELECT id, manifest FROM runs ORDER BY id").fetchall()
    except sqlite3.OperationalError:  # its tables are just being made
        return []


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


def stop_midway(store: Path, number: signal.Signals, *, workers: int, everyone: bool) -> tuple[int, str]:
    """Start the sweep, signal it once a run is in the store; its exit code and what it said on standard error."""
    with subprocess.Popen(
        command(store, workers),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A suite that was itself started in the background of a shell hands down an ignored Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as sweep:
        end = time.monotonic() + HANG
        while not runs(store) and sweep.poll() is None and time.monotonic() < end:
            time.sleep(0.005)
        if everyone:
            os.killpg(sweep.pid, number)
        else:
            sweep.send_signal(number)
        _, said = sweep.communicate(timeout=HANG)
    return sweep.returncode, said


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[list[Any]]:
    """What an uninterrupted sweep keeps."""
    store = tmp_path_factory.mktemp("whole") / "s.sqlite"
    finish_here(store)
    return contents(store)


@pytest.mark.parametrize(
    ("number", "workers", "everyone"),
    [(signal.SIGKILL, 2, False), (signal.SIGINT, 2, True), (signal.SIGTERM, 1, False)],
    ids=["kill -9", "Ctrl-C", "kill"],
)
def test_a_stopped_sweep_continues_where_it_was(
    tmp_path: Path, whole: list[list[Any]], number: signal.Signals, workers: int, everyone: bool
) -> None:
    store = tmp_path / "s.sqlite"
    code, said = stop_midway(store, number, workers=workers, everyone=everyone)
    kept = runs(store)
    assert 0 < len(kept) < len(whole[1]), "the signal came before the first run or after the last"
    if number == signal.SIGKILL:
        assert code == -signal.SIGKILL
        # The very same command, in a process of its own; the others need not prove it again.
        done = subprocess.run(command(store, 1), capture_output=True, text=True, timeout=HANG)
        assert done.returncode == 0, done.stderr
        assert f"{len(kept)} of {len(whole[1])} runs are in the store already" in done.stderr
    else:
        assert code == 130
        # On a slow machine progress lines stand before it; nothing but the message may follow them.
        assert said.splitlines()[-1] == (
            "toybed: stopped; what is finished is kept, and the same command continues from there"
        )
        assert "Traceback" not in said
        finish_here(store)
    # What was there was not made again: when and how it was made is as it was.
    assert set(kept) <= set(runs(store))
    assert contents(store) == whole
