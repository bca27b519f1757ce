"""A sweep of runs becomes stacks, goes through an executor, and ends in the store."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import numpy as np

import toybed
from toybed.agents.config import Setting
from toybed.errors import ToybedError
from toybed.executors import Executor, Here, Processes
from toybed.stacking import Stack, Stacks, compute, split, stack_of
from toybed.store import Store
from toybed.study import Run, code_version


class Progress(Protocol):
    """What the runner tells its caller while it works."""

    def begin(self, runs: int, finished: int, updates: int, phase: str) -> None:
        """``runs`` in all, ``finished`` already in the store; ``updates`` run-updates still to do in this phase."""

    def advance(self, updates: int, reward: float, entropy: float) -> None:
        """``updates`` more run-updates were done, with this mean reward and entropy."""

    def finish(self, runs: int) -> None:
        """``runs`` more are in the store."""


Watch = Callable[[Sequence[Run], int, float, float], None]
"""What else may hear of it: ``(runs of a stack, update, mean reward, mean entropy)``."""


def run_sweep(
    runs: Sequence[Run],
    store: Store,
    *,
    workers: int = 1,
    progress: Progress,
    cluster: str | None = None,
    phase: str = "",
    keep: Collection[str] = (),
    watch: Watch | None = None,
) -> None:
    """Compute the runs that the store does not have: bases first, and runs that others continue before these.

    Args:
        runs: what is wanted.
        store: what there is, and where results go.
        workers: processes; 1 is this one. Of a cluster all cores are used.
        progress: hears of it.
        cluster: the address of a Ray cluster (:class:`~toybed.cluster.RayCluster`) that does the work.
        phase: what this sweep is for, where it is not the whole.
        keep: ids of the ends (:attr:`~toybed.study.Run.end_id`) that are kept, too.
        watch: hears of every update of every stack.

    Raises:
        ToybedError: a device or the cluster is missing, or a worker failed.
    """
    for device in {run.device for run in runs}:
        check_device(device, cluster)
    finished = store.finished()
    missing = list({run.id: run for run in runs if run.id not in finished or _lacks(store, run, keep)}.values())
    waves = _waves(missing, store)
    todo = [run for wave in waves for run in wave]
    finished_runs = len({run.id for run in runs}) - len(missing)
    progress.begin(finished_runs + len(todo), finished_runs, sum(run.setting.learning.updates for run in todo), phase)
    if not missing:
        return
    with _executor(workers, cluster) as executor:
        _make_bases(todo, store, executor)
        wanted = {run.before.id for run in todo if run.before} | {run.id for run in todo if run.end_id in keep}
        for wave in waves:
            _train(wave, wanted, store, executor, progress, watch)


def _executor(workers: int, cluster: str | None) -> AbstractContextManager[Executor]:
    if cluster is not None:
        from toybed.cluster import RayCluster

        return RayCluster(compute, cluster)
    return Processes(compute, workers) if workers > 1 else nullcontext(Here(compute))


def _lacks(store: Store, run: Run, keep: Collection[str]) -> bool:
    return run.end_id in keep and store.base(run.end_id) is None


def _waves(missing: Sequence[Run], store: Store) -> list[list[Run]]:
    """The missing runs, and those that they continue and whose end the store lacks, each wave after what it needs."""
    waves, wave = [], list(missing)
    while wave:
        waves.append(wave)
        before = {run.before.id: run.before for run in wave if run.before and store.base(run.before.end_id) is None}
        wave = list(before.values())
    done: set[str] = set()
    for earlier in (ordered := waves[::-1]):
        earlier[:] = [run for run in earlier if run.id not in done]
        done |= {run.id for run in earlier}
    return ordered


def _train(
    runs: Sequence[Run],
    wanted: set[str],
    store: Store,
    executor: Executor,
    progress: Progress,
    watch: Watch | None = None,
) -> None:
    """Train runs whose starts are all in the store; keep the ends of those that are wanted."""
    parts = split(runs, executor.workers, executor.memory)
    facts = manifest()

    def seen(index: int, update: int, reward: float, entropy: float) -> None:
        progress.advance(len(parts[index]), reward, entropy)
        if watch is not None:
            watch(parts[index], update, reward, entropy)

    for index, (results, there) in executor.run(Stacks(parts, lambda part: stack_of(part, wanted, store)), seen):
        made = {**facts, **there}
        for run, result in zip(parts[index], results, strict=True):
            if run.id in wanted:
                # Nobody goes on from the middle of a run that diverged.
                end = result.parameters if result.diverged_at is None else np.full_like(result.parameters, np.nan)
                store.add_base(run.end_id, run.setting.config(), run.seed, end)
            store.add_run(run.id, run.setting.config(), run.seed, result, made)
        progress.finish(len(results))


def _make_bases(missing: Sequence[Run], store: Store, executor: Executor) -> None:
    """Make the base policies that the missing runs start from, once each."""
    wanted = {run.base_id: run for run in missing if store.base(run.base_id) is None}
    runs = [replace(run, setting=_base_setting(run.setting)) for run in wanted.values()]
    parts = split(runs, executor.workers, executor.memory)
    stacks = Stacks(parts, lambda part: Stack(tuple(part), None, ids=tuple(run.id for run in part)))
    for index, parameters in executor.run(stacks, lambda *_: None):
        for run, row in zip(parts[index], parameters, strict=True):
            store.add_base(run.base_id, run.setting.base_config(), run.seed, row)


def _base_setting(setting: Setting) -> Setting:
    """The setting with everything that does not determine its base at a default, so that arms share stacks."""
    return Setting(world=setting.world, policy=setting.policy, heads=setting.heads, supervised=setting.supervised)


def check_device(device: str, cluster: str | None = None) -> None:
    """Raise a ToybedError unless the device can be used, on a cluster where there is one."""
    if device not in ("cpu", "cuda"):
        raise ToybedError(f"device is {device!r}; allowed: cpu, cuda")
    if device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise ToybedError("device is 'cuda', but torch finds no CUDA device here; allowed on this machine: cpu")
    if cluster is not None and device != "cpu":
        raise ToybedError(f"device is {device!r} with a cluster; allowed there: cpu")


def check_workers(workers: int) -> None:
    """Raise a ToybedError unless there is a worker."""
    if workers < 1:
        raise ToybedError(f"workers is {workers}; allowed: at least 1")


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
