"""What a store holds, read without writing to it: for notebooks, for ``toybed watch`` and ``toybed doctor``."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from toybed.agents.results import Curve, Results, RunResult
from toybed.errors import ToybedError, unknown

TABLES = {"bases", "runs", "curves", "verdicts"}


class Loaded(Results):
    """The runs of a store, as :class:`~toybed.agents.results.Results`.

    Attributes:
        about: of each run its id, objective, world, policy, learner, learning rate, seed, and the version of the code
            that made it.
        configs: of each run its whole setting, as JSON holds it.
        verdicts: the answers, as ``toybed run --json`` prints them.
    """

    def __init__(
        self,
        runs: list[RunResult],
        about: list[dict[str, Any]],
        configs: list[dict[str, Any]],
        verdicts: list[dict[str, Any]],
    ) -> None:
        super().__init__(runs, about)
        self.configs, self.verdicts = configs, verdicts

    def select(self, **wanted: Any) -> Loaded:
        """The runs of which these columns of ``about`` have these values: ``select(objective="grpo", seed=0)``.

        Raises:
            ToybedError: there is no such column.
        """
        for column in wanted:
            if column not in COLUMNS:
                raise unknown("column", column, COLUMNS)
        kept = [i for i, about in enumerate(self.about) if all(about[c] == value for c, value in wanted.items())]
        about, configs = ([part[i] for i in kept] for part in (self.about, self.configs))
        return Loaded([self[i] for i in kept], about, configs, self.verdicts)


COLUMNS = ("run", "objective", "world", "policy", "learner", "learning_rate", "seed", "code")


def load(store: str | Path = "toybed.sqlite") -> Loaded:
    """All runs in a store, with their curves, and its verdicts. Nothing is written; another program may be writing.

    >>> import tempfile, toybed
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = f"{folder}/s.sqlite"
    ...     _ = toybed.compare("grpo", "rloo", on="answer_bandit", seeds=3, updates=4, store=file)
    ...     load(file).select(objective="rloo").array("reward_test").shape
    (3, 5)

    Raises:
        ToybedError: there is no such file, or it is not a store.
    """
    with read_only(store) as db:
        rows = db.execute("SELECT id, config, seed, manifest, diverged_at, cause FROM runs ORDER BY rowid").fetchall()
        curves: dict[str, dict[str, Curve]] = {row[0]: {} for row in rows}
        for run, name, steps, values in db.execute('SELECT run, name, steps, "values" FROM curves'):
            if run in curves:  # one that was added between the two questions is left for the next time
                curves[run][name] = curve(steps, values)
        verdicts = [json.loads(row[0]) for row in db.execute("SELECT verdict FROM verdicts ORDER BY study, seeds DESC")]
    configs = [json.loads(row[1]) for row in rows]
    about = [describe(row[0], config, row[2], json.loads(row[3])) for row, config in zip(rows, configs, strict=True)]
    runs = [RunResult(curves[row[0]], row[4], row[5]) for row in rows]
    return Loaded(runs, about, configs, verdicts)


def describe(run: str, config: dict[str, Any], seed: int, manifest: dict[str, Any]) -> dict[str, Any]:
    """What a data frame says of a run, by :data:`COLUMNS`."""
    learner = config.get("learner")
    values = (
        run,
        spec_text(config["objective"]),
        spec_text(config["world"]),
        spec_text(config["policy"]),
        None if learner is None else spec_text({"name": "learner", "options": learner}),
        config["learning"]["learning_rate"],
        seed,
        manifest.get("code"),
    )
    return dict(zip(COLUMNS, values, strict=True))


def spec_text(spec: dict[str, Any]) -> str:
    """``grpo``, or ``grpo clip_high=0.28``."""
    return " ".join([spec["name"], *(f"{name}={value}" for name, value in sorted(spec["options"].items()))])


def curve(steps: bytes, values: bytes) -> Curve:
    """A curve from the blobs of a store."""
    return Curve(np.frombuffer(steps, dtype="<i8"), np.frombuffer(values, dtype="<f8"))


@contextmanager
def read_only(store: str | Path, *, alone: bool = False) -> Iterator[sqlite3.Connection]:
    """A connection that cannot write, to a store that another program may be writing to.

    Args:
        store: the file.
        alone: nobody writes to it, and no log of what was written lies beside it; then no file is made beside it.

    Raises:
        ToybedError: there is no such file, or it is not a store, or damaged.
    """
    path = Path(store)
    if not path.is_file():
        raise ToybedError(f"store {path} does not exist; toybed run makes one, --store names another")
    how = "mode=ro&immutable=1" if alone else "mode=ro"
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?{how}", uri=True, timeout=30)) as db:
            tables = {row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if not tables >= TABLES:
                raise ToybedError(f"{path} is not a toybed store; choose another with --store")
            yield db
    except sqlite3.DatabaseError as error:
        raise ToybedError(
            f"store {path} cannot be read ({str(error).splitlines()[0]}); toybed doctor looks closer"
        ) from error


@contextmanager
def untouched(store: str | Path) -> Iterator[sqlite3.Connection]:
    """The same at one moment, and nothing is written beside the store either: it may lie where nothing can be written.

    Raises:
        ToybedError: as :func:`read_only`; or it was written to in the meantime.
    """
    path = Path(store)
    before = _state(path)
    used = bool(before and before[-1])
    with read_only(store, alone=not used) as db:
        db.execute("BEGIN")
        yield db
    if not used and _state(path) != before:
        raise ToybedError(f"store {path} was written to while it was read; try again")


def _state(path: Path) -> tuple[int, ...]:
    """When the file was written last, its size, and that of the log beside it that a program which writes keeps."""
    if not path.is_file():
        return ()
    log = path.with_name(path.name + "-wal")
    return path.stat().st_mtime_ns, path.stat().st_size, log.stat().st_size if log.is_file() else 0
