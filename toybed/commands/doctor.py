"""``toybed doctor``: what may be wrong with this machine or the store, and what to do about each."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.markup import escape
from rich.text import Text

import toybed
from toybed import live
from toybed.commands.verbs import cores
from toybed.errors import ToybedError
from toybed.loading import read_only
from toybed.store import FORMAT

State = Literal["fine", "advice", "broken"]
COLOURS = {"fine": "green", "advice": "yellow", "broken": "red"}
LITTLE_DISK, NO_DISK = 1e9, 5e7  # bytes: below the one it is advice, below the other nothing can be kept


@dataclass(frozen=True)
class Checked:
    """One thing that was looked at.

    Attributes:
        what: it was.
        state: "broken" where toybed does not work like this.
        said: what was found.
        fix: what to do; empty where it is fine.
    """

    what: str
    state: State
    said: str
    fix: str = ""


def print_checkup(store: Path, *, as_json: bool) -> int:
    """Print what was found; 1 if something is broken, else 0."""
    found = checkup(store)
    broken = any(finding.state == "broken" for finding in found)
    if as_json:
        print(json.dumps({"healthy": not broken, "findings": [asdict(finding) for finding in found]}))
        return int(broken)
    console = Console(highlight=False)
    for finding in found:
        colour = COLOURS[finding.state]
        console.print(
            f"[{colour}]{finding.state:6}[/]  [bold]{finding.what:9}[/bold]  {escape(finding.said)}", soft_wrap=True
        )
        if finding.fix:
            console.print(Text(f"{'':19}do: {finding.fix}"), soft_wrap=True)
    counts = {state: sum(finding.state == state for finding in found) for state in COLOURS}
    console.print(f"\n{counts['broken']} broken, {counts['advice']} to think about, {counts['fine']} fine")
    return int(broken)


def checkup(store: Path) -> list[Checked]:
    """Everything that is looked at."""
    return [*_python(), *_packages(), *_torch(), _disk(store), *_store(store)]


def _python() -> Iterator[Checked]:
    yield Checked("toybed", "fine", f"{toybed.__version__}, Python {platform.python_version()}, {platform.platform()}")


def _packages() -> Iterator[Checked]:
    """Installed versions against the lower bounds, and against those that are tested where this is a checkout."""
    found, missing = {}, []
    for name, least in _required().items():
        try:
            found[name] = version(name).split("+")[0]  # a build for cpu or cuda is the same version
        except PackageNotFoundError:
            missing.append(f"{name} is missing")
            continue
        if _number(found[name]) < _number(least):
            missing.append(f"{name} is {found[name]}, needed {least} or newer")
    if missing:
        yield Checked("packages", "broken", "; ".join(missing), "pip install --upgrade toybed, or make .venv/ready")
        return
    tested = _tested()
    other = [
        f"{name} {found[name]} (tested {tested[name]})"
        for name in found
        if tested.get(name, found[name]) != found[name]
    ]
    if other:
        fix = "for runs that are bitwise those of others: pip install -c constraints.txt -e ."
        yield Checked("packages", "advice", "newer or older than tested: " + ", ".join(other), fix)
        return
    yield Checked("packages", "fine", ", ".join(f"{name} {each}" for name, each in found.items()))


def _required() -> dict[str, str]:
    """Name to lower bound of what toybed needs, extras left out."""
    with suppress(PackageNotFoundError):
        texts = [text for text in requires("toybed") or () if "extra ==" not in text]
        return {name: least for text in texts for name, least in re.findall(r"^([\w.-]+)\s*>=\s*([\d.]+)", text)}
    return {}


def _tested() -> dict[str, str]:
    """Name to version of ``constraints.txt``; a wheel has none."""
    with suppress(OSError):
        text = (Path(toybed.__file__).parents[1] / "constraints.txt").read_text(encoding="utf-8")
        return dict(re.findall(r"^([\w.-]+)==(\S+)", text, re.MULTILINE))
    return {}


def _number(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


def _torch() -> Iterator[Checked]:
    """Whether it computes, on how many threads, and on what."""
    try:
        import torch

        if int(torch.ones(2, 2).matmul(torch.ones(2, 2)).sum()) != 8:
            raise RuntimeError("2 times 2 ones do not make 8")
    except Exception as error:  # a broken installation fails in many ways
        fix = "pip install --force-reinstall torch"
        yield Checked("torch", "broken", f"cannot compute: {type(error).__name__}: {str(error).splitlines()[0]}", fix)
        return
    threads = os.environ.get("OMP_NUM_THREADS", "1")
    said = f"{threads} a process, {cores()} for processes (--workers)"
    if threads == "1":
        yield Checked("threads", "fine", said)
    else:
        fix = "export OMP_NUM_THREADS=1: toybed uses cores by processes, and more threads in each slow all of them down"
        yield Checked("threads", "advice", said, fix)
    usable = (
        f"cpu, cuda ({torch.cuda.get_device_name()})"
        if torch.cuda.is_available()
        else "cpu; torch finds no CUDA device"
    )
    yield Checked("device", "fine", usable)


def _disk(store: Path) -> Checked:
    """Whether there is room beside the store."""
    folder = next((f for f in store.absolute().parents if f.is_dir()), Path.cwd())
    free = shutil.disk_usage(folder).free
    said = f"{free / 1e9:.1f} GB free in {folder}"
    if not os.access(folder, os.W_OK):
        return Checked("disk", "broken", f"{folder} cannot be written", "choose another file with --store")
    if free < LITTLE_DISK:
        return Checked(
            "disk", "broken" if free < NO_DISK else "advice", said, "make room, or choose another file with --store"
        )
    return Checked("disk", "fine", said)


def _store(store: Path) -> Iterator[Checked]:
    """The store's health: whole, readable by this version, made by this version, finished."""
    if not store.exists():
        yield Checked("store", "fine", f"{store} does not exist yet; toybed run makes it")
        return
    aside = f"mv {store} {store}.old, and the same commands make a new one; or choose another file with --store"
    try:
        with read_only(store) as db:
            if (form := db.execute("PRAGMA user_version").fetchone()[0]) > FORMAT:
                said = f"{store} has format {form}, written by a newer toybed; this one reads up to {FORMAT}"
                yield Checked(
                    "store", "broken", said, "pip install --upgrade toybed, or choose another file with --store"
                )
                return
            problems = [row[0] for row in db.execute("PRAGMA integrity_check(3)")]
            if problems != ["ok"]:
                said = f"{store} is damaged: {'; '.join(problem.splitlines()[0] for problem in problems)}"
                yield Checked("store", "broken", said, f"sqlite3 {store} .recover saves what it can; else {aside}")
                return
            yield from _contents(store, db)
    except ToybedError as error:
        yield Checked("store", "broken", str(error).split(";")[0], aside)
        return
    if not os.access(store, os.W_OK):
        yield Checked("store", "broken", f"{store} cannot be written", f"chmod u+w {store}")


def _contents(store: Path, db: sqlite3.Connection) -> Iterator[Checked]:
    from toybed.answers import changes
    from toybed.study import code_version

    codes = [json.loads(row[0]).get("code") for row in db.execute("SELECT manifest FROM runs")]
    answered = [json.loads(row[0]) for row in db.execute("SELECT verdict FROM verdicts ORDER BY study, seeds DESC")]
    size = store.stat().st_size / 1e6
    yield Checked("store", "fine", f"{store}: whole, {len(codes)} runs, {len(answered)} answers, {size:.0f} MB")
    if stale := sum(code != code_version() for code in codes):
        said = f"{stale} of {len(codes)} runs were made by another version of the code or of torch and numpy"
        yield Checked(
            "versions", "advice", said, "toybed run QUESTION makes them anew; the old ones stay and harm nobody"
        )
    if marked := [(answer["study"], *found) for answer in answered if any(found := changes(answer))]:
        said = "; ".join(f"{name}: {words}" for name, words, _ in marked)
        yield Checked("answers", "advice", said, "; ".join(again for *_, again in marked if again))
    if running := live.read(store):
        said = ", ".join(f"{seen.title} (process {seen.process})" for seen in running)
        yield Checked("running", "fine", f"{said}; toybed watch shows it")
    elif begun := list(_unfinished(db)):
        fix = "; ".join(command for _, command in begun) + " continues"
        yield Checked("sweeps", "advice", "; ".join(said for said, _ in begun), fix)


def _unfinished(db: sqlite3.Connection) -> Iterator[tuple[str, str]]:
    """Questions of which the store has runs of the first seed but no answer: what there is, and what goes on with it.

    A run that two questions share counts for both, and then for none of them: at least half of the arms have to be
    there.
    """
    from toybed.study import SIZES, studies

    runs = {row[0] for row in db.execute("SELECT id FROM runs")}
    answered = {tuple(row) for row in db.execute("SELECT study, size FROM verdicts")}
    for name, study in studies().items():
        for size in SIZES:
            if (name, size) in answered or not runs:
                continue
            first = [arm[0].id for arm in study.runs(size, 1, "cpu").values()]
            if first and 2 * len(runs & set(first)) >= len(first):
                every = {run.id for arm in study.runs(size, study.seeds[size], "cpu").values() for run in arm}
                option = "" if size == "standard" else f" --{size}"
                said = f"{name}{option} has {len(every & runs)} of {len(every)} runs and no answer"
                yield said, f"toybed run {name}{option}"
