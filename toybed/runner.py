"""A sweep becomes stacks of runs, goes through an executor, and ends in the store; then it is judged."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from importlib.metadata import version
from math import ceil
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

import toybed
from toybed.agents.config import Setting
from toybed.errors import ToybedError, unknown
from toybed.executors import Executor, Here, Processes, Report
from toybed.store import Store
from toybed.study import SIZES, Records, Run, Study, code_version

STACK_RESPONSES = 2048
"""Responses that one program handles at once: throughput is flat from some 8,000 tokens, and falls past 64,000."""


class Progress(Protocol):
    """What the runner tells its caller while it works."""

    def begin(self, runs: int, finished: int, updates: int) -> None:
        """``runs`` in all, ``finished`` already in the store; ``updates`` run-updates still to do."""

    def advance(self, updates: int, reward: float, entropy: float) -> None:
        """``updates`` more run-updates were done, with this mean reward and entropy."""

    def finish(self, runs: int) -> None:
        """``runs`` more are in the store."""


@dataclass(frozen=True)
class Stack:
    """Runs of one setting that train in one program; without ``bases`` it is the base policies that are made."""

    setting: Setting
    seeds: tuple[int, ...]
    device: str
    bases: NDArray[np.float32] | None

    def runs(self) -> list[Run]:
        """The runs in it."""
        return [Run(self.setting, seed, self.device) for seed in self.seeds]


def compute(stack: Stack, report: Report) -> Any:
    """What a worker does with a stack: a matrix of base parameters, or a list of run results with the seconds taken."""
    import torch

    from toybed.agents.training import train_bases, train_runs

    torch.set_num_threads(1)
    started = time.perf_counter()
    if stack.bases is None:
        return train_bases(stack.setting, stack.seeds, stack.device)
    results = train_runs(stack.setting, stack.seeds, stack.bases, device=stack.device, report=report)
    return results, time.perf_counter() - started


def run_sweep(runs: Sequence[Run], store: Store, *, workers: int, progress: Progress) -> None:
    """Compute the runs that the store does not have, bases first.

    Raises:
        ToybedError: a device is missing, or a worker failed.
    """
    for device in {run.device for run in runs}:
        check_device(device)
    finished = store.finished()
    missing = [run for run in runs if run.id not in finished]
    progress.begin(len(runs), len(runs) - len(missing), sum(run.setting.learning.updates for run in missing))
    if not missing:
        return
    with Processes(compute, workers) if workers > 1 else nullcontext(Here(compute)) as executor:
        _make_bases(missing, store, executor, workers)
        stacks = _stacks(missing, workers, store)
        facts = manifest()
        for index, (results, seconds) in executor.run(
            stacks, lambda index, _, r, h: progress.advance(len(stacks[index].seeds), r, h)
        ):
            made = {**facts, "seconds": seconds / len(results), "stack": len(results)}
            for run, result in zip(stacks[index].runs(), results, strict=True):
                store.add_run(run.id, run.setting.config(), run.seed, result.curves, result.diverged_at, made)
            progress.finish(len(results))


def _make_bases(missing: Sequence[Run], store: Store, executor: Executor, workers: int) -> None:
    """Make the base policies that the missing runs start from, once each."""
    wanted = {run.base_id: run for run in missing if store.base(run.base_id) is None}
    runs = [replace(run, setting=_base_setting(run.setting)) for run in wanted.values()]
    stacks = _stacks(runs, workers, None)
    for index, parameters in executor.run(stacks, lambda *_: None):
        for run, row in zip(stacks[index].runs(), parameters, strict=True):
            store.add_base(run.base_id, run.setting.base_config(), run.seed, row)


def _base_setting(setting: Setting) -> Setting:
    """The setting with everything that does not determine its base at a default, so that arms share stacks."""
    return Setting(world=setting.world, policy=setting.policy, supervised=setting.supervised)


def _stacks(runs: Sequence[Run], workers: int, store: Store | None) -> list[Stack]:
    """Group runs that differ only in their seed, evenly, and small enough for the cache and for all workers."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(json.dumps([run.setting.config(), run.device], sort_keys=True), []).append(run)
    parts: list[list[Run]] = []
    for group in groups.values():
        learning = group[0].setting.learning
        most = max(1, STACK_RESPONSES // (learning.prompts * learning.group))
        count = ceil(len(group) / most)
        parts += [group[i::count] for i in range(count)]
    # No worker should wait while another does the odd stack out: split the last ones.
    while len(parts) % workers and len(parts[-1]) > 1:
        last = parts.pop()
        parts = [last[::2], last[1::2], *parts]
    return [_stack(members, store) for members in parts]


def _stack(runs: Sequence[Run], store: Store | None) -> Stack:
    bases = None if store is None else np.stack([_stored(store, run) for run in runs])
    return Stack(runs[0].setting, tuple(run.seed for run in runs), runs[0].device, bases)


def _stored(store: Store, run: Run) -> NDArray[np.float32]:
    base = store.base(run.base_id)
    assert base is not None, "bases are made before the runs that need them"
    return base


def check_device(device: str) -> None:
    """Raise a ToybedError unless the device can be used."""
    if device not in ("cpu", "cuda"):
        raise ToybedError(f"device is {device!r}; allowed: cpu, cuda")
    if device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise ToybedError("device is 'cuda', but torch finds no CUDA device here; allowed on this machine: cpu")


def manifest() -> dict[str, Any]:
    """What a later reader needs to know about how runs were made."""
    return {
        "toybed": toybed.__version__,
        "code": code_version(),
        "commit": _commit(),
        "python": platform.python_version(),
        "numpy": version("numpy"),
        "torch": version("torch"),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "torch_threads": 1,
    }


def _commit() -> str | None:
    command = ["git", "-C", str(Path(toybed.__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None  # installed from a wheel, or without git


def load_records(study: Study, size: str, seeds: int, device: str, store: Store) -> dict[str, Records]:
    """The records of all arms, for judging.

    Raises:
        ToybedError: a run is missing.
    """
    records = {}
    for arm, runs in study.runs(size, seeds, device).items():
        loaded = [store.run(run.id) for run in runs]
        names = loaded[0][0]
        records[arm] = Records(
            steps={name: loaded[0][0][name][0] for name in names},
            curves={name: np.stack([curves[name][1] for curves, _ in loaded]) for name in names},
            diverged=sum(diverged is not None for _, diverged in loaded),
        )
    return records


def answer(
    study: Study,
    store: Store,
    *,
    size: str = "standard",
    seeds: int | None = None,
    device: str = "cpu",
    workers: int = 1,
    progress: Progress,
) -> dict[str, Any]:
    """Run a question and judge it; the answer is kept in the store and returned as the command line prints it.

    Raises:
        ToybedError: a wrong argument; or the runs could not be made.
    """
    if size not in SIZES:
        raise unknown("size", size, SIZES)
    count = study.seeds[size] if seeds is None else seeds
    if count < 1:
        raise ToybedError(f"seeds is {count}; allowed: at least 1")
    if workers < 1:
        raise ToybedError(f"workers is {workers}; allowed: at least 1")
    started = time.perf_counter()
    sweep = study.runs(size, count, device)
    run_sweep([run for arm in sweep.values() for run in arm], store, workers=workers, progress=progress)
    verdict, parts = study.judge(load_records(study, size, count, device, store))
    result = {
        "study": study.name,
        "question": study.question,
        **verdict.as_dict(),
        "parts": [part.as_dict() for part in parts],
        "size": size,
        "seeds": count,
        "device": device,
        "seconds": round(time.perf_counter() - started, 2),
        "store": str(store.path),
        "manifest": manifest(),
    }
    store.set_verdict(study.name, size, result)
    return result
