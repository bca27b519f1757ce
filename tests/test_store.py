"""The store: what is finished is kept whole, and a file that is not ours is left as it is."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import struct
import subprocess
import sys
import tempfile
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from toybed import loading
from toybed.agents.results import Curve, RunResult
from toybed.errors import ToybedError
from toybed.store import FORMAT, Store


def curve(*values: float) -> Curve:
    return Curve(np.arange(len(values)) * 5, np.array(values))


def add(store: Store, run_id: str, **curves: Curve) -> None:
    result = RunResult(curves or {"reward": curve(0.1, 0.2)}, None)
    store.add_run(run_id, {"objective": "grpo"}, 0, result, {"torch": "2"})


def count(path: Path, table: str) -> int:
    with closing(sqlite3.connect(path)) as db:
        return int(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """A store of some pages, closed."""
    path = tmp_path / "store.sqlite"
    with Store(path) as store:
        for index in range(20):
            add(store, f"run{index}", reward=curve(*np.linspace(0, 1, 200)), entropy=curve(*np.linspace(1, 0, 200)))
    return path


def refused(path: Path) -> str:
    """The message with which a path is refused: one line that names it."""
    with pytest.raises(ToybedError) as caught:
        Store(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


# -- what goes in comes out --------------------------------------------------------------------------------------------
def test_curves_come_back_bit_for_bit(tmp_path: Path) -> None:
    # Not-a-numbers of two payloads, both infinities, both zeros, the least and a typical number.
    [odd] = struct.unpack("<d", struct.pack("<Q", 0x7FF8000000001234))
    values = np.array([np.nan, odd, np.inf, -np.inf, 0.0, -0.0, 5e-324, 0.1])
    given = {
        "reward": Curve(np.array([0, 1, 2, 5, 7, 8, 9, 2**40]), values),
        "empty": Curve(np.array([], int), values[:0]),
    }
    with Store(tmp_path / "s.sqlite") as store:
        store.add_run("id", {}, 3, RunResult(given, 7, "its loss was not finite"), {})
    with Store(tmp_path / "s.sqlite") as store:
        result = store.run("id")
    found = result.curves
    assert (result.diverged_at, result.cause) == (7, "its loss was not finite")
    assert set(found) == set(given)
    for name, kept in given.items():
        steps, read = found[name].steps, found[name].values
        assert steps.tobytes() == kept.steps.astype("<i8").tobytes()
        assert read.tobytes() == kept.values.astype("<f8").tobytes()


def test_a_run_that_did_not_diverge_has_none(tmp_path: Path) -> None:
    with Store(tmp_path / "s.sqlite") as store:
        add(store, "id")
        assert (store.run("id").diverged_at, store.run("id").cause) == (None, None)


def test_base_policies_come_back_bit_for_bit(tmp_path: Path) -> None:
    parameters = np.array([0.1, -0.0, np.nan, 3e38], dtype=np.float32)
    with Store(tmp_path / "s.sqlite") as store:
        assert store.base("b") is None
        store.add_base("b", {"world": "x"}, 0, parameters)
        store.add_base("b", {"world": "x"}, 0, parameters + 1)  # made twice: the first stays
        found = store.base("b")
    assert found is not None
    assert found.dtype == np.float32
    assert found.tobytes() == parameters.tobytes()


def test_manifests_come_back_and_a_missing_run_has_an_empty_one(tmp_path: Path) -> None:
    with Store(tmp_path / "s.sqlite") as store:
        add(store, "id")
        assert store.manifest("id") == {"torch": "2"}
        assert store.manifest("none") == {}


def test_a_missing_run_is_named(tmp_path: Path) -> None:
    with Store(tmp_path / "s.sqlite") as store, pytest.raises(ToybedError, match="no run deadbeef"):
        store.run("deadbeef")


def test_a_newer_verdict_takes_the_place_of_an_older(tmp_path: Path) -> None:
    with Store(tmp_path / "s.sqlite") as store:
        assert store.verdicts() == []
        store.set_verdict("law", "quick", {"outcome": "refuted"})
        store.set_verdict("law", "full", {"outcome": "supported"})
        store.set_verdict("law", "quick", {"outcome": "undecided"})
        store.set_verdict("a first", "quick", {"outcome": "supported"})
        outcomes = [verdict["outcome"] for verdict in store.verdicts()]
        assert outcomes == ["supported", "supported", "undecided"]  # by question, then by size
        # Other seeds are another answer: asking until one suits loses nobody's first answer.
        store.set_verdict("law", "full", {"outcome": "refuted", "seeds": 1})
        assert len(store.verdicts()) == 4


def test_missing_folders_are_made(tmp_path: Path) -> None:
    with Store(tmp_path / "a" / "b" / "s.sqlite") as store:
        assert store.finished() == set()
    assert (tmp_path / "a" / "b" / "s.sqlite").exists()


def test_the_format_is_written_into_the_file(filled: Path) -> None:
    with closing(sqlite3.connect(filled)) as db:
        assert db.execute("PRAGMA user_version").fetchone()[0] == FORMAT


# -- all or nothing ----------------------------------------------------------------------------------------------------
class Broken:
    """A curve that cannot be written: an error in the middle of a run's transaction."""

    @property
    def steps(self) -> Any:
        raise KeyboardInterrupt


def test_a_run_is_kept_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with Store(path) as store:
        broken: Any = {"reward": curve(0.1), "entropy": Broken()}
        with pytest.raises(KeyboardInterrupt):
            store.add_run("half", {}, 0, RunResult(broken, None), {})
        assert store.finished() == set()
        add(store, "whole")  # and the store can still be used
        assert store.finished() == {"whole"}
    assert (count(path, "runs"), count(path, "curves")) == (1, 1)


def test_adding_a_run_again_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with Store(path) as store:
        add(store, "id", reward=curve(0.1, 0.2))
        add(store, "id", reward=curve(0.8, 0.9))
        assert store.run("id").curves["reward"].values.tolist() == [0.1, 0.2]
    assert (count(path, "runs"), count(path, "curves")) == (1, 1)


def test_a_full_disk_is_named_and_loses_nothing(tmp_path: Path) -> None:
    with Store(tmp_path / "s.sqlite") as store:
        add(store, "before")
        pages = store._db.execute("PRAGMA page_count").fetchone()[0]
        store._db.execute(f"PRAGMA max_page_count = {pages + 4}")
        with pytest.raises(ToybedError, match=r"s\.sqlite.*full"):
            add(store, "too long", reward=curve(*np.zeros(100_000)))
        assert store.finished() == {"before"}
        store._db.execute(f"PRAGMA max_page_count = {pages + 4000}")
        add(store, "after")
        assert store.finished() == {"before", "after"}


# -- several at once ---------------------------------------------------------------------------------------------------
WRITER = """
import sys
import numpy as np
from toybed.agents.results import Curve, RunResult
from toybed.store import Store

path, name = sys.argv[1:]
result = RunResult({"reward": Curve(np.array([0, 5]), np.array([0.1, 0.2]))}, None)
with Store(path) as store:
    print("ready", flush=True)
    sys.stdin.readline()
    for index in range(40):
        for run in (f"{name}{index}", f"shared{index}"):
            store.add_run(run, {}, 0, result, {})
"""


def test_two_processes_write_at_once(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    Store(path).__exit__()
    with contextlib.ExitStack() as stack:
        writers = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", WRITER, str(path), name], stdin=subprocess.PIPE, stdout=subprocess.PIPE
                )
            )
            for name in "ab"
        ]
        for writer in writers:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"ready\n"
        for writer in writers:
            assert writer.stdin is not None
            writer.stdin.write(b"go\n")
            writer.stdin.flush()
        assert [writer.wait(120) for writer in writers] == [0, 0]
    expected = {f"{name}{index}" for name in ("a", "b", "shared") for index in range(40)}
    with Store(path) as store:
        assert store.finished() == expected
        assert all(store.run(run).curves["reward"].values.tolist() == [0.1, 0.2] for run in expected)


def test_a_new_store_can_be_opened_by_several_at_once(tmp_path: Path) -> None:
    """Which one makes the tables must not matter. Tried many times, since each try is a race."""
    failed: list[BaseException] = []

    def open_and_write(path: Path, name: str) -> None:
        start.wait()
        try:
            with Store(path) as store:
                add(store, name)
        except BaseException as error:
            failed.append(error)

    for attempt in range(15):
        path = tmp_path / f"{attempt}.sqlite"
        start = threading.Barrier(4)
        threads = [threading.Thread(target=open_and_write, args=(path, name)) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == []
        assert count(path, "runs") == 4


# -- taking from another store -----------------------------------------------------------------------------------------
def test_a_store_takes_what_it_lacks_and_keeps_what_it_has(tmp_path: Path) -> None:
    one, two = tmp_path / "one.sqlite", tmp_path / "two.sqlite"
    with Store(one) as store:
        add(store, "both", reward=curve(0.1))
        add(store, "mine", reward=curve(0.2))
        store.set_verdict("law", "quick", {"outcome": "supported"})
    with Store(two) as store:
        add(store, "both", reward=curve(0.9))
        add(store, "theirs", reward=curve(0.3), entropy=curve(0.4))
        store.add_base("base", {}, 0, np.array([1.5], np.float32))
        store.set_verdict("law", "quick", {"outcome": "refuted"})
        store.set_verdict("law", "full", {"outcome": "undecided", "seeds": 20})
    with closing(sqlite3.connect(two)) as db:  # as the first format left it, with the columns in another order
        db.execute("ALTER TABLE runs DROP COLUMN cause")
        db.execute("PRAGMA user_version = 1")
        db.commit()
    before = two.read_bytes()
    with Store(one) as store:
        assert store.take(two) == 1
        assert store.take(two) == 0  # the second time there is nothing left
        assert store.finished() == {"both", "mine", "theirs"}
        values = {name: store.run(name).curves["reward"].values.tolist() for name in store.finished()}
        assert values == {"both": [0.1], "mine": [0.2], "theirs": [0.3]}
        assert store.run("theirs").curves["entropy"].values.tolist() == [0.4]
        base = store.base("base")
        assert base is not None and base.tolist() == [1.5]
        assert [verdict["outcome"] for verdict in store.verdicts()] == ["undecided", "supported"]
        assert store.manifest("theirs") == {"torch": "2"}
    assert two.read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"one.sqlite", "two.sqlite"}
    with Store(one) as store:  # and others are to be had by then
        other = tmp_path / "three.sqlite"
        Store(other).__exit__()
        assert store.take(other) == 0


def test_nothing_is_taken_from_a_store_that_is_damaged(tmp_path: Path, filled: Path) -> None:
    filled.write_bytes(filled.read_bytes()[:9000])
    with Store(tmp_path / "one.sqlite") as store:
        with pytest.raises(ToybedError, match=r"store\.sqlite cannot be read \(.*malformed"):
            store.take(filled)
        assert store.finished() == set()


def test_nothing_is_taken_from_a_store_of_a_newer_toybed(tmp_path: Path, filled: Path) -> None:
    with closing(sqlite3.connect(filled)) as db:
        db.execute("PRAGMA user_version = 99")
    with Store(tmp_path / "one.sqlite") as store, pytest.raises(ToybedError, match=r"store\.sqlite has format 99"):
        store.take(filled)


def test_what_another_program_has_just_written_is_taken_too(tmp_path: Path, filled: Path) -> None:
    with Store(filled) as theirs, Store(tmp_path / "one.sqlite") as store:
        add(theirs, "late")
        assert store.take(filled) == 21
        assert "late" in store.finished()


def test_a_store_that_is_written_to_while_it_is_read_is_not_taken(tmp_path: Path, filled: Path) -> None:
    written = pytest.raises(ToybedError, match="was written to while it was read")
    with written, loading.untouched(filled), Store(filled) as theirs:
        add(theirs, "late")


READ_ONLY = """
import os, sys
from pathlib import Path
from toybed.commands import merging
if os.geteuid() == 0:  # to root everything is open
    os.setgroups([])
    os.setuid(65534)
folder = Path(sys.argv[1])
try:
    (folder / "their" / "new").touch()
except OSError:
    merging.print_merge(folder / "own" / "one.sqlite", [folder / "their" / "store.sqlite"], as_json=False)
"""


@pytest.mark.skipif(os.name != "posix", reason="folders that cannot be written are made by permissions")
def test_a_store_is_taken_from_a_place_that_cannot_be_written(filled: Path) -> None:
    before = filled.read_bytes()
    with tempfile.TemporaryDirectory() as name:  # open to everybody, as pytest's own folder is not
        folder = Path(name)
        for each, mode in (("", 0o755), ("their", 0o755), ("own", 0o777)):
            (folder / each).mkdir(exist_ok=True)
            (folder / each).chmod(mode)
        shutil.copy(filled, folder / "their" / "store.sqlite")
        (folder / "their").chmod(0o555)
        (folder / "their" / "store.sqlite").chmod(0o444)
        found = subprocess.run([sys.executable, "-c", READ_ONLY, name], capture_output=True, text=True)
        (folder / "their").chmod(0o755)
        assert "20 runs taken" in found.stdout, found.stderr
        assert [path.name for path in (folder / "their").iterdir()] == ["store.sqlite"]
        assert (folder / "their" / "store.sqlite").read_bytes() == before


# -- files that cannot be used -----------------------------------------------------------------------------------------
def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    assert "cannot be written" in refused(tmp_path / "notes.txt" / "s.sqlite")
    assert "--store" in refused(tmp_path / "notes.txt" / "deeper" / "s.sqlite")
    assert (tmp_path / "notes.txt").read_text(encoding="utf-8") == "mine"


def test_a_folder_in_the_place_of_the_file_is_refused(tmp_path: Path) -> None:
    assert "cannot be written" in refused(tmp_path)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="a folder in which nobody can make a file: only on Linux")
def test_a_folder_that_nobody_can_write_is_refused() -> None:
    assert "cannot be written" in refused(Path("/proc/s.sqlite"))


def test_a_store_of_the_first_format_is_brought_up_to_date(filled: Path) -> None:
    """It lacks the cause of a divergence and nothing else."""
    with closing(sqlite3.connect(filled)) as db:
        db.execute("ALTER TABLE runs DROP COLUMN cause")
        db.execute("PRAGMA user_version = 1")
        [(run,)] = db.execute("SELECT id FROM runs LIMIT 1").fetchall()
        db.commit()
    with Store(filled) as store:
        assert store.run(run).cause is None
        add(store, "later")
    with closing(sqlite3.connect(filled)) as db:
        assert db.execute("PRAGMA user_version").fetchone()[0] == FORMAT


def test_a_store_of_a_newer_toybed_is_left_alone(filled: Path) -> None:
    with closing(sqlite3.connect(filled)) as db:
        db.execute("PRAGMA user_version = 99")
    before = filled.read_bytes()
    message = refused(filled)
    assert "format 99" in message
    assert "upgrade" in message
    assert filled.read_bytes() == before
    assert sorted(filled.parent.iterdir()) == [filled]


@pytest.mark.parametrize("start", [b"", b"SQLite format 3\0"], ids=["random", "with the magic word"])
def test_a_file_of_other_bytes_is_left_alone(tmp_path: Path, start: bytes) -> None:
    path = tmp_path / "s.sqlite"
    before = start + np.random.default_rng(0).bytes(8192)
    path.write_bytes(before)
    assert "damaged or not an SQLite file" in refused(path)
    assert path.read_bytes() == before


def test_a_text_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.md"
    path.write_text("# my notes\n" * 100, encoding="utf-8")
    assert "damaged or not an SQLite file" in refused(path)
    assert path.read_text(encoding="utf-8") == "# my notes\n" * 100


@pytest.mark.parametrize("share", [0.01, 0.3, 0.9])
def test_a_truncated_store_is_found_and_left_alone(filled: Path, share: float) -> None:
    whole = filled.read_bytes()
    filled.write_bytes(whole[: int(len(whole) * share)])
    assert "damaged" in refused(filled)
    assert filled.read_bytes() == whole[: int(len(whole) * share)]


def test_a_store_with_a_damaged_page_is_found_and_left_alone(filled: Path) -> None:
    damaged = bytearray(filled.read_bytes())
    with closing(sqlite3.connect(filled)) as db:
        page = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'curves'").fetchone()[0]
        size = db.execute("PRAGMA page_size").fetchone()[0]
    damaged[(page - 1) * size : page * size] = b"\xff" * size
    filled.write_bytes(damaged)
    assert "damaged" in refused(filled)
    assert filled.read_bytes() == damaged


@pytest.mark.parametrize("number", [0, FORMAT], ids=["unnumbered", "numbered like ours"])
def test_the_database_of_another_program_is_left_alone(tmp_path: Path, number: int) -> None:
    path = tmp_path / "photos.sqlite"
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE photos (name TEXT)")
        db.execute(f"PRAGMA user_version = {number}")
        db.commit()
    before = path.read_bytes()
    assert "not a toybed store" in refused(path)
    assert path.read_bytes() == before
    assert sorted(tmp_path.iterdir()) == [path]


def test_a_store_that_others_keep_locked_is_named(filled: Path) -> None:
    with Store(filled) as store, closing(sqlite3.connect(filled, isolation_level=None)) as other:
        store._db.execute("PRAGMA busy_timeout = 1")
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(ToybedError, match=r"store\.sqlite is in use by another program"):
            add(store, "late")
        other.execute("ROLLBACK")
        add(store, "late")
        assert "late" in store.finished()
