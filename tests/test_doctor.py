"""``toybed doctor``: each complaint, its fix, and the exit code."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections import namedtuple
from contextlib import closing
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest

from toybed import live, study
from toybed.agents.results import Curve, RunResult
from toybed.cli import main
from toybed.commands import doctor
from toybed.commands.doctor import Checked, checkup
from toybed.store import Store

QUESTION = "entropy_law"


def found(store: Path, what: str) -> Checked:
    [finding] = [finding for finding in checkup(store) if finding.what == what]
    return finding


def fill(path: Path, code: str | None = None, share: float = 1.0) -> None:
    """A store with a share of the runs of a question, and no answer."""
    runs = [run for arm in study.get(QUESTION).runs("quick", 3, "cpu").values() for run in arm]
    with Store(path) as store:
        for run in runs[: round(share * len(runs))]:
            result = RunResult({"reward_test": Curve(np.array([0]), np.array([0.0]))}, None)
            store.add_run(run.id, run.setting.config(), run.seed, result, {"code": code or study.code_version()})


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def test_a_sound_machine_without_a_store_is_well(capsys) -> None:
    assert main(["doctor", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["healthy"]
    assert {f["what"] for f in told["findings"]} == {"toybed", "packages", "threads", "device", "disk", "store"}
    assert all(bool(f["fix"]) == (f["state"] != "fine") for f in told["findings"])
    assert list(Path().iterdir()) == []  # nothing is made by looking


def test_what_is_broken_is_said_with_its_fix_and_ends_with_1(capsys) -> None:
    Path("toybed.sqlite").write_bytes(b"no database" * 1000)
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "broken  store" in out
    assert "do: mv toybed.sqlite toybed.sqlite.old" in out
    assert "1 broken" in out


def test_a_damaged_page_is_found() -> None:
    store = Path("s.sqlite")
    fill(store)
    with closing(sqlite3.connect(store)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        [size] = db.execute("PRAGMA page_size").fetchone()
        [root] = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'runs'").fetchone()
    whole = store.read_bytes()
    store.write_bytes(whole[: size * (root - 1)] + b"\xff" * size + whole[size * root :])
    assert found(store, "store").state == "broken"


def test_other_files_and_newer_stores_are_told_apart() -> None:
    for name, statement in (("other.sqlite", "CREATE TABLE x (y)"), ("newer.sqlite", "PRAGMA user_version = 99")):
        if name == "newer.sqlite":
            fill(Path(name), share=0.1)
        with closing(sqlite3.connect(name)) as db:
            db.execute(statement)
            db.commit()
    assert "is not a toybed store" in found(Path("other.sqlite"), "store").said
    newer = found(Path("newer.sqlite"), "store")
    assert newer.state == "broken"
    assert "upgrade" in newer.fix


def test_unfinished_questions_are_named_with_what_goes_on() -> None:
    store = Path("s.sqlite")
    fill(store, share=0.7)
    every = 3 * len(study.get(QUESTION).arms("quick"))
    sweeps = found(store, "sweeps")
    assert sweeps.state == "advice"
    assert f"{QUESTION} --quick has {round(0.7 * every)} of {every} runs and no answer" in sweeps.said
    assert f"toybed run {QUESTION} --quick" in sweeps.fix
    with Store(store) as kept:
        kept.set_verdict(QUESTION, "quick", {"study": QUESTION, "size": "quick", "seeds": 3, "device": "cpu"})
    assert "sweeps" not in {finding.what for finding in checkup(store)}


def test_what_runs_now_is_no_complaint(monkeypatch) -> None:
    store = Path("s.sqlite")
    fill(store, share=0.7)
    monkeypatch.setattr(live, "EVERY", 0.0)
    [run, *_] = study.get(QUESTION).runs("quick", 1, "cpu")["grpo"]
    with live.Live(store, "run entropy_law") as seen:
        seen((run,), 1, 0.0, 0.0)
        assert "run entropy_law" in found(store, "running").said
        assert "sweeps" not in {finding.what for finding in checkup(store)}


def test_runs_of_other_code_are_counted() -> None:
    store = Path("s.sqlite")
    fill(store, code="another")
    every = 3 * len(study.get(QUESTION).arms("quick"))
    assert found(store, "versions").said.startswith(f"{every} of {every} runs")


def test_missing_and_old_packages_break(monkeypatch) -> None:
    def version(name: str) -> str:
        if name == "rich":
            raise PackageNotFoundError
        return {"torch": "2.3.1+cpu"}.get(name, "99.0")

    monkeypatch.setattr(doctor, "version", version)
    packages = found(Path("s.sqlite"), "packages")
    assert packages.state == "broken"
    assert "rich is missing" in packages.said
    assert "torch is 2.3.1, needed 2.4 or newer" in packages.said


def test_packages_that_were_not_tested_are_advice(monkeypatch) -> None:
    monkeypatch.setattr(doctor, "version", lambda name: "99.0")
    packages = found(Path("s.sqlite"), "packages")
    assert packages.state == "advice"
    assert "torch 99.0 (tested" in packages.said


def test_more_threads_are_advice(monkeypatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    threads = found(Path("s.sqlite"), "threads")
    assert threads.state == "advice"
    assert "export OMP_NUM_THREADS=1" in threads.fix


@pytest.mark.parametrize(("free", "state"), [(2e9, "fine"), (5e8, "advice"), (1e6, "broken")])
def test_a_full_disk(monkeypatch, free: float, state: str) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(1e10, 1e10 - free, free))
    assert found(Path("s.sqlite"), "disk").state == state


def test_a_torch_that_does_not_compute_is_broken(monkeypatch) -> None:
    import torch

    def broken(*_: object) -> None:
        raise RuntimeError("illegal instruction")

    monkeypatch.setattr(torch, "ones", broken)
    assert "RuntimeError: illegal instruction" in found(Path("s.sqlite"), "torch").said
