"""Reads logs: each file or folder by its content, runs in several files joined by step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path

from toybed.errors import ToybedError, unknown
from toybed.llm import events, formats, mlflow
from toybed.llm.frameworks import Keys, recognise
from toybed.llm.gathering import Gathered, gather, joined
from toybed.llm.table import COLUMNS, Table
from toybed.llm.tabulate import table

NEEDED = ("entropy", "reward")
"""A file that lacks one of them is a part of a run; another file may bring it."""


def read(paths: Iterable[str | Path], columns: Mapping[str, str] | None = None) -> tuple[Table, ...]:
    """The table of every run in some logs.

    A file with an entropy and a reward is a run of its own. Files that lack one are joined by step (and by the run's
    name, where they have names) with an earlier one that lacks the other, as W&B's panels and prime-rl's two programs
    write them.

    Args:
        paths: files, event directories, or folders of MLflow.
        columns: keys that the user names, by column; ``step`` too.

    Raises:
        ToybedError: a file cannot be read, has no known format, or nothing that a table holds.
    """
    named = dict(columns or {})
    for column in named:
        if column not in ("step", *COLUMNS):
            raise unknown("column", column, ("step", *COLUMNS))
    runs: list[Gathered] = []
    for path in map(Path, paths):
        for found in _gathered(path, named):
            partner = next((run for run in runs if _complement(run, found, named)), None)
            if partner is None:
                runs.append(found)
            else:
                partner.join(found)
    if not runs:
        raise ToybedError("no log was given")
    return tuple(table(run, named) for run in runs)


def _gathered(path: Path, named: Mapping[str, str]) -> list[Gathered]:
    if not path.exists():
        raise ToybedError(f"{path} does not exist")
    found = _folder(path, named) if path.is_dir() else _file(path, named)
    for run in found:
        if not run.series:
            raise ToybedError(_nothing(path, run, named))
    return found


def _file(path: Path, named: Mapping[str, str]) -> list[Gathered]:
    form = formats.recognise(path)
    keys = Keys(key for column, key in named.items() if column != "step")
    return gather(form.read(path, keys, named.get("step")), path, form.name, keys.seen)


def _folder(path: Path, named: Mapping[str, str]) -> list[Gathered]:
    """The runs in a folder: event files by folder, or MLflow's metrics."""
    found = []
    for name, files in events.runs(path).items():
        keys = Keys(named.values())
        items = chain.from_iterable(events.read(file, keys) for file in files)
        found.append((name, gather(items, path / name, "TensorBoard event directory", keys.seen)))
    for name, folder in [] if found else mlflow.runs(path).items():
        keys = Keys(named.values())
        found.append((name, gather(mlflow.read(folder, keys), folder, "MLflow file store", keys.seen)))
    if not found:
        raise ToybedError(
            f"{path} is a folder without TensorBoard event files or MLflow metrics; name the log file itself"
        )
    runs = [(name, joined(parts)) for name, parts in found]
    for name, run in runs:
        run.run = name
    kept = [run for _, run in runs if run.series]
    return kept or [runs[0][1]]


def _has(run: Gathered, named: Mapping[str, str]) -> set[str]:
    """Which of the needed columns a part has."""
    framework = recognise(run.keys)
    return {
        column
        for column in NEEDED
        if named.get(column) in run.series
        or any(framework.matching(key.pattern, run.series) for key in framework.columns.get(column, ()))
    }


def _complement(one: Gathered, two: Gathered, named: Mapping[str, str]) -> bool:
    """Whether two parts are one run: each lacks what the other has, or one has neither; and names agree."""
    has, brings = _has(one, named), _has(two, named)
    same = one.run == two.run or not (one.run and two.run)
    return same and len(has) < 2 and len(brings) < 2 and not has & brings


def _nothing(path: Path, run: Gathered, named: Mapping[str, str]) -> str:
    """Why a file gave nothing."""
    faults = [*run.dropped.found.values(), *run.faults.found.values()]
    if faults:
        count, reason, place = max(faults, key=lambda fault: fault[0])
        return f"{place}: {reason}; {count} such, and nothing that could be used"
    keys = list(run.keys)
    some = f"its keys: {', '.join(keys[:8])}{', ...' if len(keys) > 8 else ''}" if keys else "it names none"
    wrong = "; not found: " + ", ".join(f"{c}={k}" for c, k in named.items() if k not in run.keys) if named else ""
    return f"{path}: no measure that is known; {some}{wrong}; --column entropy=NAME names one"
