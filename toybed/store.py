"""One SQLite file that holds everything finished: base policies, runs with their curves, verdicts.

A run is named by the hash of what determines it, and committed in one transaction. So nothing finished is lost or
done twice: a killed sweep continues where it was.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toybed.agents.results import Curve, RunResult
from toybed.errors import ToybedError
from toybed.loading import untouched

FORMAT = 2
"""Raised when the tables change; a store of a higher format was written by a newer toybed."""

TABLES = ("bases", "runs", "curves", "verdicts")

BUSY_SECONDS = 30  # how long another program's transaction is waited for

_SCHEMA = """
CREATE TABLE bases (id TEXT PRIMARY KEY, config TEXT NOT NULL, seed INTEGER NOT NULL, parameters BLOB NOT NULL);
CREATE TABLE runs (
  id TEXT PRIMARY KEY, config TEXT NOT NULL, seed INTEGER NOT NULL, diverged_at INTEGER, cause TEXT,
  manifest TEXT NOT NULL
);
CREATE TABLE curves (
  run TEXT NOT NULL REFERENCES runs (id), name TEXT NOT NULL, steps BLOB NOT NULL, "values" BLOB NOT NULL,
  PRIMARY KEY (run, name)
);
CREATE TABLE verdicts (
  study TEXT NOT NULL, size TEXT NOT NULL, seeds INTEGER NOT NULL, device TEXT NOT NULL, verdict TEXT NOT NULL,
  PRIMARY KEY (study, size, seeds, device)
);
"""


class Store:
    """The file; use it as a context manager.

    ``steps`` are little-endian int64 and ``values`` little-endian float64, as NumPy's ``tobytes`` writes them.

    Args:
        path: the SQLite file; created with its folder if missing.

    Raises:
        ToybedError: the file cannot be written, is not a store, is damaged, or was written by a newer toybed.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        with self._explained():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(self.path, isolation_level=None)
        try:
            with self._explained():
                self._open()
        except BaseException:
            self._db.close()
            raise

    def _open(self) -> None:
        self._db.execute(f"PRAGMA busy_timeout = {1000 * BUSY_SECONDS}")
        self._check_format(self._db, self.path)
        # Before anything is written: a damaged file is left as it was found.
        problem = self._db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if problem != "ok":
            raise sqlite3.DatabaseError(problem)
        self._write_ahead()
        # Writing the format again fails here, before anything is computed, if the file or its folder is read-only.
        with self._transaction() as db:
            if not self._check_format(self._db, self.path):
                for statement in _SCHEMA.split(";"):
                    db.execute(statement)
            elif db.execute("PRAGMA user_version").fetchone()[0] == 1:
                db.execute("ALTER TABLE runs ADD COLUMN cause TEXT")
            db.execute(f"PRAGMA user_version = {FORMAT}")

    def _write_ahead(self) -> None:
        """Switch to a write-ahead log; this wants the file for itself, and SQLite does not wait for that by itself."""
        last = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                self._db.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > last:
                    raise
                time.sleep(0.01)

    @staticmethod
    def _check_format(db: sqlite3.Connection, path: Path) -> bool:
        """Whether the file is a store already; an empty file is not one yet, and anything else is an error."""
        # Tables first: whoever makes them in the meantime writes the format in the same transaction.
        tables = {row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        found = db.execute("PRAGMA user_version").fetchone()[0]
        if found > FORMAT:
            raise ToybedError(
                f"store {path} has format {found}, written by a newer toybed; this one reads up to {FORMAT}: "
                "upgrade, or choose another file with --store"
            )
        if tables and not (found and tables >= set(TABLES)):
            raise ToybedError(f"{path} is an SQLite file but not a toybed store; choose another with --store")
        return bool(tables)

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    # -- base policies ---------------------------------------------------------------------------------------------
    def base(self, base_id: str) -> NDArray[np.float32] | None:
        """The parameters ``[D]`` of a base policy, or None."""
        with self._explained():
            row = self._db.execute("SELECT parameters FROM bases WHERE id = ?", (base_id,)).fetchone()
        return None if row is None else np.frombuffer(row[0], dtype="<f4")

    def add_base(self, base_id: str, config: Mapping[str, Any], seed: int, parameters: NDArray[np.float32]) -> None:
        """Keep a base policy."""
        blob = np.ascontiguousarray(parameters, dtype="<f4").tobytes()
        with self._transaction() as db:
            db.execute("INSERT OR IGNORE INTO bases VALUES (?, ?, ?, ?)", (base_id, _json(config), seed, blob))

    # -- runs ------------------------------------------------------------------------------------------------------
    def finished(self) -> set[str]:
        """The ids of all runs."""
        with self._explained():
            return {row[0] for row in self._db.execute("SELECT id FROM runs")}

    def add_run(
        self,
        run_id: str,
        config: Mapping[str, Any],
        seed: int,
        result: RunResult,
        manifest: Mapping[str, Any],
    ) -> None:
        """Keep a run and its curves, in one transaction."""
        with self._transaction() as db:
            db.execute(
                "INSERT OR IGNORE INTO runs (id, config, seed, diverged_at, cause, manifest) VALUES (?, ?, ?, ?, ?, ?)",
                (run_id, _json(config), seed, result.diverged_at, result.cause, _json(manifest)),
            )
            db.executemany(
                "INSERT OR IGNORE INTO curves VALUES (?, ?, ?, ?)",
                [
                    (run_id, name, c.steps.astype("<i8").tobytes(), c.values.astype("<f8").tobytes())
                    for name, c in result.curves.items()
                ],
            )

    def run(self, run_id: str) -> RunResult:
        """A run.

        Raises:
            ToybedError: there is no such run.
        """
        with self._explained():
            found = self._db.execute("SELECT diverged_at, cause FROM runs WHERE id = ?", (run_id,)).fetchone()
            rows = self._db.execute('SELECT name, steps, "values" FROM curves WHERE run = ?', (run_id,)).fetchall()
        if found is None:
            raise ToybedError(f"store {self.path} has no run {run_id}")
        curves = {name: Curve(np.frombuffer(s, dtype="<i8"), np.frombuffer(v, dtype="<f8")) for name, s, v in rows}
        return RunResult(curves, *found)

    def curves(self, names: Sequence[str]) -> Iterator[tuple[str, dict[str, Curve]]]:
        """Every run's setting, as JSON with sorted keys, and those of the named curves that it has."""
        marks = ", ".join("?" * len(names))
        with self._explained():
            configs = self._db.execute("SELECT id, config FROM runs ORDER BY rowid").fetchall()
        for run, config in configs:
            with self._explained():
                query = f'SELECT name, steps, "values" FROM curves WHERE run = ? AND name IN ({marks})'
                rows = self._db.execute(query, (run, *names)).fetchall()
            yield config, {n: Curve(np.frombuffer(s, dtype="<i8"), np.frombuffer(v, dtype="<f8")) for n, s, v in rows}

    def manifest(self, run_id: str) -> dict[str, Any]:
        """What is known about how a run was made: versions, machine, commit, seconds."""
        with self._explained():
            row = self._db.execute("SELECT manifest FROM runs WHERE id = ?", (run_id,)).fetchone()
        manifest: dict[str, Any] = json.loads(row[0]) if row else {}
        return manifest

    # -- verdicts --------------------------------------------------------------------------------------------------
    def set_verdict(self, study: str, size: str, verdict: Mapping[str, Any]) -> None:
        """Keep the verdict of a question at a size; the same asked again takes its place.

        Other ``seeds`` or another ``device`` in the verdict are another answer, kept beside it: nobody's first answer
        is lost by asking until one suits.
        """
        with self._transaction() as db:
            values = (study, size, verdict.get("seeds", 0), verdict.get("device", "cpu"), _json(verdict))
            db.execute("INSERT OR REPLACE INTO verdicts VALUES (?, ?, ?, ?, ?)", values)

    def verdicts(self) -> list[dict[str, Any]]:
        """All verdicts, by question, those with most seeds first."""
        with self._explained():
            rows = self._db.execute("SELECT verdict FROM verdicts ORDER BY study, seeds DESC, size, device").fetchall()
        return [json.loads(row[0]) for row in rows]

    # -- other stores ----------------------------------------------------------------------------------------------
    def take(self, source: str | Path) -> int:
        """Keep what another store has and this one lacks, in one transaction; what both have stays as it is here.

        The source is only read, also where it has an older format or lies where nothing can be written.

        Returns:
            How many runs were taken.

        Raises:
            ToybedError: the source cannot be read, or was written by a newer toybed.
        """
        with untouched(source) as theirs:
            self._check_format(theirs, Path(source))
            if (problem := theirs.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
                raise sqlite3.DatabaseError(problem)
            with self._transaction() as db:
                return {table: _copy(table, theirs, db) for table in TABLES}["runs"]

    # -- within ----------------------------------------------------------------------------------------------------
    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._explained():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # a full disk makes SQLite roll back by itself
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn SQLite's and the system's errors into one line that says what to do."""
        try:
            yield
        except sqlite3.OperationalError as error:
            reason = str(error)
            if "readonly" in reason or "unable to open" in reason:
                raise ToybedError(
                    f"store {self.path} cannot be written ({reason}); choose another with --store"
                ) from error
            if "locked" in reason:
                raise ToybedError(
                    f"store {self.path} is in use by another program; try again, or use --store"
                ) from error
            raise ToybedError(f"store {self.path}: {reason}") from error
        except sqlite3.DatabaseError as error:
            raise ToybedError(
                f"store {self.path} is damaged or not an SQLite file ({str(error).splitlines()[0]}); "
                "it was left as it is: move it away, or choose another with --store"
            ) from error
        except OSError as error:
            raise ToybedError(
                f"store {self.path} cannot be written ({error.strerror}); choose another with --store"
            ) from error


def _copy(table: str, source: sqlite3.Connection, db: sqlite3.Connection) -> int:
    """Copy the rows that a table lacks, and say how many; a column that an older format lacks stays empty."""
    # By name: in a store that was brought up to date they stand in another order.
    names = [f'"{row[1]}"' for row in source.execute(f"PRAGMA table_info({table})")]
    columns, marks = ", ".join(names), ", ".join("?" * len(names))
    rows = source.execute(f"SELECT {columns} FROM {table}")
    return db.executemany(f"INSERT OR IGNORE INTO {table} ({columns}) VALUES ({marks})", rows).rowcount


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, sort_keys=True)
