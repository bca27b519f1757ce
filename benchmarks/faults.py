"""Is anything lost when a sweep or its disk comes to grief? ``python -m toybed.benchmarks.faults`` tries it.

A sweep of many tiny runs goes through the real runner into a real store, in a process of its own, and then

``killed``
    that process is killed (signal 9) at a random moment, ``--kills`` times, and started again each time;
``two drivers``
    two of them fill one store at once, and one is killed;
``disk full``
    files may not grow beyond a size that the sweep needs, which is raised step by step;
``read-only``
    the store's folder may not be written, with a store in it and without;
``cut off``, ``overwritten``
    a store is cut off or a page of it overwritten at a random place, ``--torn`` times each;
``torn log``
    the write-ahead log that a killed sweep has left is cut off or overwritten at a random place, as often.

After each, SQLite's own ``integrity_check`` holds, every run that the sweep said to have finished is there, to the byte
as it was made, and the sweep continues to its end. Where the file itself is damaged, that is found when it is opened,
said in one line, and nothing is written to it. (A log that is torn has lost its last transactions: they are done
again.) Exits with 1 where any of that fails. ``--memory`` instead takes the driver's peak memory over a long sweep.
"""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import tyro

from toybed.benchmarks.faults_sweep import Child, faults_of, finished
from toybed.errors import ToybedError, unknown
from toybed.store import Store

# When a sweep is killed: a tenth of the times within so many seconds after it began to open the store, else after the
# commits of up to so many stacks and a random time, of about that of a commit.
OPENING, COMMITS, COMMIT = 0.1, 10, 0.01
PAGE = 4096
NOBODY = 65534


@dataclass(frozen=True)
class Faults:
    """Kill sweeps, fill disks and tear stores; nothing that was finished may be lost."""

    kills: int = 200
    """How often the sweep is killed."""
    torn: int = 50
    """How many damaged stores are opened, of each kind."""
    runs: int = 400
    """Runs of the sweep."""
    memory: bool = False
    """Instead: the driver's peak memory over long sweeps, whose runs are all loaded at the end."""
    longest: int = 10_000
    """Runs of the longest of these; the others have a tenth and a hundredth."""
    only: str | None = None
    """One kind of fault, by its name."""
    seed: int = 0
    """Of the moments and places."""
    json: bool = False
    """Print one JSON object."""


@dataclass
class Case:
    """What one kind of fault did.

    Attributes:
        times: how often it was tried.
        counts: what came of it, by name.
        wrong: what must not be, one sentence each.
        seconds: taken.
    """

    times: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def count(self, name: str, by: int = 1) -> None:
        """One more of these."""
        self.counts[name] = self.counts.get(name, 0) + by


def killed(config: Faults, folder: Path, luck: random.Random) -> Case:
    """Kill the sweep again and again; a new store when one is full."""
    case, kept, number = Case(config.kills), 0, 0
    store = folder / "0.sqlite"
    for _ in range(config.kills):
        with Child(store, config.runs) as process:
            process.line()  # "opening"
            if luck.random() < 0.1:
                time.sleep(luck.uniform(0, OPENING))
            else:
                for _ in range(luck.randint(1, COMMITS)):  # "ready", then a line for each stack that is in the store
                    process.line()
                time.sleep(luck.expovariate(1 / COMMIT))
            process.kill()
            said = _told(process.rest())
        case.wrong += faults_of(store, config.runs, max([kept, *said]))
        now = finished(store) if store.exists() else 0
        case.count("runs kept", now - kept)
        case.count("killed after some commits" if now > kept else "killed before the first commit")
        kept = now
        if kept == config.runs:
            case.count("sweeps ended")
            number, kept = number + 1, 0
            store = folder / f"{number}.sqlite"
    case.wrong += _continues(store, config.runs)
    return case


def _continues(store: Path, runs: int) -> list[str]:
    """What is wrong with the end of a sweep that is started again."""
    with Child(store, runs) as process:
        said = process.rest()
    if process.code:
        return [f"the sweep does not continue: {said[-1]}"]
    return faults_of(store, runs, runs)


def _told(said: list[str]) -> list[int]:
    """The numbers of finished runs among what a sweep said."""
    return [int(line) for line in said if line.isdigit()]


def two_drivers(config: Faults, folder: Path, luck: random.Random) -> Case:
    """Two sweeps at once; one is killed."""
    case = Case(max(1, config.kills // 20))
    for number in range(case.times):
        store = folder / f"{number}.sqlite"
        with Child(store, config.runs) as one, Child(store, config.runs) as two:
            time.sleep(luck.uniform(0, 1))
            one.kill()
            said = two.rest()
            if two.code:
                case.wrong.append(f"the other sweep failed: {said[-1]}")
        case.wrong += faults_of(store, config.runs, config.runs)
        case.count("runs kept", config.runs)
    return case


def disk_full(config: Faults, folder: Path, luck: random.Random) -> Case:
    """Let files grow to a limit only, and raise it."""
    case, limit, store = Case(), 100_000, folder / "s.sqlite"
    while True:
        case.times += 1
        with Child(store, config.runs, limit) as process:
            said = process.rest()
        case.wrong += faults_of(store, config.runs, max(_told(said), default=0))
        if process.code == 0:
            break
        if said[-1].startswith(f"toybed: store {store}"):
            case.count("said in one line")
        else:
            case.wrong.append(f"not one line that names the store: {said[-1]}")
        limit = int(limit * luck.uniform(1.2, 1.8))
    case.wrong += faults_of(store, config.runs, config.runs)
    case.count("runs kept", config.runs)
    return case


def read_only(config: Faults, folder: Path, luck: random.Random) -> Case:
    """A place that may not be written, with a store and without; as another user where this one may write anywhere."""
    case, store = Case(2), folder / "s.sqlite"
    case.wrong += _continues(store, config.runs)
    before = store.read_bytes()
    store.chmod(0o444)
    folder.chmod(0o555)
    for path in (store, folder / "new.sqlite"):
        said = _as_nobody(partial(_opened, path))
        if "cannot be written" in said:
            case.count("said in one line")
        else:
            case.wrong.append(f"{path.name}: {said}")
    folder.chmod(0o755)
    if store.read_bytes() != before or sorted(p.name for p in folder.iterdir()) != ["s.sqlite"]:
        case.wrong.append("something was written")
    store.chmod(0o644)
    case.wrong += _continues(store, config.runs)
    return case


def _opened(path: Path) -> str:
    """The message with which a store is refused, or "opened"."""
    try:
        Store(path).__exit__()
    except ToybedError as error:
        return str(error)
    return "opened"


def _as_nobody(call: Callable[[], str]) -> str:
    """What a call gives in a process without rights."""
    out, into = os.pipe()
    if (pid := os.fork()) == 0:
        if os.getuid() == 0:
            os.setuid(NOBODY)
        os.write(into, call().encode())
        os._exit(0)
    os.close(into)
    os.waitpid(pid, 0)
    with os.fdopen(out) as told:
        return told.read()


def cut_off(config: Faults, folder: Path, luck: random.Random) -> Case:
    """Stores of which the end is missing."""
    return _damaged(config, folder, lambda whole: whole[: luck.randrange(1, len(whole))])


def overwritten(config: Faults, folder: Path, luck: random.Random) -> Case:
    """Stores of which one page is other bytes."""

    def spoil(whole: bytes) -> bytes:
        start = luck.randrange(len(whole) // PAGE) * PAGE
        return whole[:start] + luck.randbytes(PAGE) + whole[start + PAGE :]

    return _damaged(config, folder, spoil)


def _damaged(config: Faults, folder: Path, spoil: Callable[[bytes], bytes]) -> Case:
    """Damage a whole store in many ways; each is found and the file left as it is, or nothing of a run is lost."""
    case, store = Case(config.torn), folder / "s.sqlite"
    case.wrong += _continues(store, config.runs)
    whole = store.read_bytes()
    for number in range(config.torn):
        torn = folder / f"{number}.sqlite"
        torn.write_bytes(spoiled := spoil(whole))
        said = _opened(torn)
        if "damaged" in said:
            case.count("found, and left as it is")
            if torn.read_bytes() != spoiled:
                case.wrong.append("a damaged file was written")
        else:
            case.count("not found when opened")
            case.wrong += faults_of(torn, config.runs, config.runs) or ([] if said == "opened" else [said])
        torn.unlink()
    return case


def torn_log(config: Faults, folder: Path, luck: random.Random) -> Case:
    """What a killed sweep leaves, with its write-ahead log damaged."""
    case, store, number = Case(config.torn), folder / "s.sqlite", 0
    log = store.with_name("s.sqlite-wal")
    while number < config.torn:
        with Child(store, config.runs) as process:
            while not log.exists() or log.stat().st_size < 20 * PAGE:
                process.line()
        files = store.read_bytes(), log.read_bytes()
        for _ in range(min(10, config.torn - number)):
            number += 1
            store.write_bytes(files[0])
            start = luck.randrange(len(files[1]))
            end = luck.randbytes(PAGE) + files[1][start + PAGE :] if luck.random() < 0.5 else b""
            log.write_bytes(files[1][:start] + end)
            store.with_name("s.sqlite-shm").unlink(missing_ok=True)
            case.wrong += faults_of(store, config.runs)
            case.count("runs kept", finished(store))
        case.wrong += _continues(store, config.runs)
        case.count("sweeps ended")
        store.unlink()
    return case


CASES: dict[str, Callable[[Faults, Path, random.Random], Case]] = {
    "killed": killed,
    "two drivers": two_drivers,
    "disk full": disk_full,
    "read-only": read_only,
    "cut off": cut_off,
    "overwritten": overwritten,
    "torn log": torn_log,
}


def measure(config: Faults) -> dict[str, Case]:
    """Try all kinds."""
    found = {}
    for name, case in CASES.items():
        if config.only not in (None, name):
            continue
        with tempfile.TemporaryDirectory() as folder:
            Path(folder).chmod(0o755)
            started = time.perf_counter()
            found[name] = case(config, Path(folder), random.Random(f"{config.seed} {name}"))
            found[name].seconds = time.perf_counter() - started
    return found


def driver_memory(runs: int) -> dict[str, float]:
    """The driver's peak in MB over a sweep of so many runs, and the seconds that it took."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        with Child(Path(folder, "s.sqlite"), runs, load=True) as process:
            count, peak = process.rest()[-1].split()
        assert int(count) == runs
        return {"runs": runs, "MB": int(peak) / 1024, "seconds": time.perf_counter() - started}


def main() -> int:
    """Try and print; 1 where something was lost."""
    config = tyro.cli(Faults)
    if config.only not in (None, *CASES):
        sys.exit(str(unknown("kind of fault", config.only or "", CASES)))
    if config.memory:
        sizes = [driver_memory(runs) for runs in (config.longest // 100, config.longest // 10, config.longest)]
        if config.json:
            print(json.dumps(sizes))
            return 0
        for size in sizes:
            print(f"{size['runs']:6.0f} runs: at most {size['MB']:5.0f} MB in the driver, {size['seconds']:.0f} s")
        return 0
    found = measure(config)
    if config.json:
        print(json.dumps({name: asdict(case) for name, case in found.items()}))
    else:
        print(f"{'':14}{'times':>6}{'wrong':>7}{'seconds':>9}  what came of it")
        for name, case in found.items():
            what = ", ".join(f"{key}: {count}" for key, count in case.counts.items())
            print(f"{name:14}{case.times:6}{len(case.wrong):7}{case.seconds:9.1f}  {what}")
            for sentence in case.wrong[:5]:
                print(f"{'':14}{sentence}")
    return 1 if any(case.wrong for case in found.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
