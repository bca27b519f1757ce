"""A sweep becomes stacks of runs, goes through an executor, and ends in the store; then it is judged."""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

import toybed
from toybed import answers
from toybed.agents.config import Setting
from toybed.errors import ToybedError, unknown
from toybed.executors import Executor, Here, Processes, Report
from toybed.memory import most_runs
from toybed.searching import Make
from toybed.store import Store
from toybed.study import FIRST_TUNING_SEED, SIZES, Parameters, Records, Run, Study, code_version

STACK_TOKENS = 16_384
"""Sampled tokens that one program handles at once: throughput is flat from some 8,000, and falls past 64,000."""


ALONE = 4
"""So many runs in one world do not share their program with those of other worlds, which would take turns: a stack of
four has most of what stacking gains, and a world moves all of them at once."""


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


@dataclass(frozen=True)
class Stack:
    """Runs that train in one program, see :func:`~toybed.agents.populations.shape_of`.

    Attributes:
        runs: these runs.
        starts: the parameters that they start from, ``[S, D]``; None where it is the base policies that are made.
        keep: whether the parameters with which they end are wanted.
        found: where the runs ended that say which entries these train, ``[S, D]``; None where all are.
        ids: the runs' names where the sweep began, under which they will be kept; empty: they are not compared.
    """

    runs: tuple[Run, ...]
    starts: NDArray[np.float32] | None
    keep: bool = False
    found: NDArray[np.float32] | None = None
    ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Stacks(Sequence[Stack]):
    """Stacks that are built when they are handed out, so that a long sweep's are not in memory all at once."""

    parts: Sequence[Sequence[Run]]
    build: Callable[[Sequence[Run]], Stack]

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, index: Any) -> Any:
        return self.build(self.parts[index])


def compute(stack: Stack, report: Report) -> Any:
    """What a worker does with a stack.

    Returns:
        A matrix of base parameters; or a list of run results, and where and how fast they were made.

    Raises:
        ToybedError: the code here is another than where the sweep began: runs would be kept under a wrong name.
    """
    if stack.ids and stack.ids != tuple(run.id for run in stack.runs):
        raise ToybedError(
            "the code, of toybed or of a module of yours, was changed while the sweep ran; start it again: what is "
            "finished is kept"
        )
    import torch

    from toybed.agents.populations import population, worlds_of
    from toybed.agents.training import train_bases, train_runs

    torch.set_num_threads(1)
    started = time.perf_counter()
    setting, device = stack.runs[0].setting, stack.runs[0].device
    seeds = [run.seed for run in stack.runs]
    worlds = worlds_of([run.setting for run in stack.runs])
    if stack.starts is None:
        return train_bases(setting, seeds, device, worlds=worlds)
    rates = [run.setting.learning.learning_rate for run in stack.runs]
    results = train_runs(
        setting,
        seeds,
        stack.starts,
        device=device,
        objective=population([run.setting for run in stack.runs], device),
        learning_rates=rates,
        found=stack.found,
        worlds=worlds,
        report=report,
    )
    if not stack.keep:
        results = [replace(result, parameters=None) for result in results]
    seconds = (time.perf_counter() - started) / len(results)
    made = {"seconds": seconds, "stack": len(results), "platform": platform.platform(), "cores": os.cpu_count()}
    return results, made


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
    parts = _parts(runs, executor.workers, executor.memory)
    facts = manifest()

    def seen(index: int, update: int, reward: float, entropy: float) -> None:
        progress.advance(len(parts[index]), reward, entropy)
        if watch is not None:
            watch(parts[index], update, reward, entropy)

    for index, (results, there) in executor.run(_Stacks(parts, lambda part: _stack(part, wanted, store)), seen):
        made = {**facts, **there}
        for run, result in zip(parts[index], results, strict=True):
            if run.id in wanted:
                # Nobody goes on from the middle of a run that diverged.
                end = result.parameters if result.diverged_at is None else np.full_like(result.parameters, np.nan)
                store.add_base(run.end_id, run.setting.config(), run.seed, end)
            store.add_run(run.id, run.setting.config(), run.seed, result, made)
        progress.finish(len(results))


def _stack(part: Sequence[Run], wanted: set[str], store: Store) -> Stack:
    starts = np.stack([_start(store, run) for run in part])
    found = None
    if part[0].setting.start.trains != "all":
        found = np.stack([_end(store, run.before) for run in part if run.before is not None])
        starts = np.where(np.isfinite(found).all(1, keepdims=True), starts, np.nan)
    return Stack(tuple(part), starts, any(run.id in wanted for run in part), found, tuple(run.id for run in part))


def _make_bases(missing: Sequence[Run], store: Store, executor: Executor) -> None:
    """Make the base policies that the missing runs start from, once each."""
    wanted = {run.base_id: run for run in missing if store.base(run.base_id) is None}
    runs = [replace(run, setting=_base_setting(run.setting)) for run in wanted.values()]
    parts = _parts(runs, executor.workers, executor.memory)
    stacks = _Stacks(parts, lambda part: Stack(tuple(part), None, ids=tuple(run.id for run in part)))
    for index, parameters in executor.run(stacks, lambda *_: None):
        for run, row in zip(parts[index], parameters, strict=True):
            store.add_base(run.base_id, run.setting.base_config(), run.seed, row)


def _base_setting(setting: Setting) -> Setting:
    """The setting with everything that does not determine its base at a default, so that arms share stacks."""
    return Setting(world=setting.world, policy=setting.policy, heads=setting.heads, supervised=setting.supervised)


def _parts(runs: Sequence[Run], workers: int, memory: float = math.inf) -> list[list[Run]]:
    """Group runs that may share a stack, evenly, and small enough for the cache, for all workers and their memory."""
    groups = _programs(runs)
    parts: list[list[Run]] = []
    for group in groups:
        count = math.ceil(len(group) / largest_stack(group[0].setting, memory))
        parts += [group[i::count] for i in range(count)]
    # No worker should wait while another does the odd stack out: split the last ones.
    while len(parts) % workers and len(parts[-1]) > 1:
        last = parts.pop()
        parts = [last[::2], last[1::2], *parts]
    return parts


def _programs(runs: Sequence[Run]) -> list[list[Run]]:
    """Runs that may share a program; those in different worlds do where few are in each."""
    from toybed.agents.populations import shape_of

    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(json.dumps([shape_of(run.setting), run.device], sort_keys=True), []).append(run)
    found: list[list[Run]] = []
    for group in groups.values():
        worlds: dict[str, list[Run]] = {}
        for run in group:
            worlds.setdefault(json.dumps(run.setting.world.options, sort_keys=True), []).append(run)
        found += [group] if len(group) < ALONE * len(worlds) else worlds.values()
    return found


def largest_stack(setting: Setting, memory: float = math.inf) -> int:
    """How many runs of a setting suit the cache and fit a worker's memory (bytes)."""
    from toybed.envs import make

    learning, world = setting.learning, setting.world
    tokens = learning.prompts * learning.group * make(world.name, **world.options).horizon
    return max(1, min(STACK_TOKENS // tokens, most_runs(setting, memory)))


def _start(store: Store, run: Run) -> NDArray[np.float32]:
    """The parameters ``[D]`` with which a run starts (before its temperature)."""
    if run.before is None:
        base = store.base(run.base_id)
        assert base is not None, "bases are made before the runs that need them"
        return base
    if run.setting.start.trains != "all":
        return _start(store, run.before)
    end, keep = _end(store, run.before), run.setting.start.keep
    if keep == 1:
        return end
    own = _start(store, run.before)
    return (own + keep * (end - own)).astype(np.float32)


def _end(store: Store, run: Run) -> NDArray[np.float32]:
    """The parameters ``[D]`` with which a run ended."""
    end = store.base(run.end_id)
    assert end is not None, "runs are made before those that continue them"
    return end


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


def check_asked(
    study: Study, *, size: str, seeds: int | None, device: str, workers: int, cluster: str | None = None
) -> int:
    """The number of seeds in each arm; better asked before a store is opened, and made, for it.

    Raises:
        ToybedError: a wrong argument.
    """
    if size not in SIZES:
        raise unknown("size", size, SIZES)
    count = study.seeds[size] if seeds is None else seeds
    if not 1 <= count <= FIRST_TUNING_SEED:
        raise ToybedError(f"seeds is {count}; allowed: at least 1, at most {FIRST_TUNING_SEED}")
    check_device(device, cluster)
    check_workers(workers)
    return count


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


def tuned(
    study: Study, size: str, device: str, store: Store, *, partly: bool = False
) -> dict[str, tuple[str, Setting]]:
    """Arm to label and setting of the candidate that won, from runs that are in the store.

    Args:
        study, size, device, store: what was run, and where it is.
        partly: leave out an arm of which a run is missing.

    Raises:
        ToybedError: a run is missing.
    """
    if study.tuning is None:
        return {}
    chosen = {}
    candidates = study.tuning.candidates(size)
    for arm, options in study.trials(size, device).items():
        with _without(partly):
            label = study.tuning.best({label: records(runs, store) for label, runs in options.items()})
            chosen[arm] = (label, study.tuning.final(size, arm, candidates[arm][label]))
    return chosen


def _without(partly: bool) -> AbstractContextManager[None]:
    """What is missing is left out, or an error."""
    return suppress(ToybedError) if partly else nullcontext()


def learned(study: Study, size: str, device: str, store: Store, make: Make | None = None) -> dict[str, Setting]:
    """The settings of the arms that a search learns; arguments as of :meth:`~toybed.searching.Search.learn`."""
    if study.search is None:
        return {}
    return study.search.learn(size, device, lambda runs: records(runs, store), make)


def load_records(
    study: Study, size: str, seeds: int, device: str, store: Store, *, partly: bool = False
) -> dict[str, Records]:
    """The records of all arms, for judging; ``partly``, of those arms whose runs are all there.

    Raises:
        ToybedError: a run is missing.
    """
    settings = {arm: setting for arm, (_, setting) in tuned(study, size, device, store, partly=partly).items()}
    with _without(partly):
        settings |= learned(study, size, device, store)
    found = {}
    for arm, runs in study.runs(size, seeds, device, settings).items():
        with _without(partly):
            found[arm] = records(runs, store, parameters=arm in study.keeps)
    return found


def records(runs: Sequence[Run], store: Store, *, parameters: bool = False) -> Records:
    """The curves of runs of one setting, and where asked for their parameters.

    Raises:
        ToybedError: a run is missing.
    """
    loaded = [store.run(run.id) for run in runs]
    first = loaded[0].curves
    return Records(
        steps={name: curve.steps for name, curve in first.items()},
        curves={name: np.stack([result.curves[name].values for result in loaded]) for name in first},
        causes=tuple(result.cause for result in loaded if result.cause is not None),
        setting=runs[0].setting,
        parameters=_parameters(runs, store) if parameters else None,
    )


def _parameters(runs: Sequence[Run], store: Store) -> Parameters:
    from toybed.agents.training import tensor_sizes

    ends = [store.base(run.end_id) for run in runs]
    if any(end is None for end in ends):
        raise ToybedError(f"store {store.path} lacks the parameters of a run; run the question again")
    starts = [_start(store, run) for run in runs]
    return Parameters(np.stack(starts), np.stack([e for e in ends if e is not None]), tensor_sizes(runs[0].setting))


def make_runs(
    study: Study,
    store: Store,
    *,
    size: str,
    seeds: int,
    device: str,
    workers: int,
    cluster: str | None = None,
    progress: Progress,
    phase: str = "",
    watch: Watch | None = None,
) -> dict[str, tuple[str, Setting]]:
    """Make the runs of a question that the store lacks, those first by which settings are chosen and learned.

    Returns:
        As :func:`tuned`.

    Raises:
        ToybedError: there is no worker; or the runs could not be made.
    """
    check_workers(workers)

    def sweep(runs: Iterable[Run], phase: str, keep: Collection[str] = ()) -> None:
        run_sweep(
            list(runs),
            store,
            workers=workers,
            cluster=cluster,
            progress=progress,
            phase=phase,
            keep=keep,
            watch=watch,
        )

    if study.tuning is not None:
        options = (each for arm in study.trials(size, device).values() for each in arm.values())
        sweep(chain.from_iterable(options), f"{phase} tuning".lstrip())
    chosen = tuned(study, size, device, store)
    settings = {arm: setting for arm, (_, setting) in chosen.items()}
    settings |= learned(
        study, size, device, store, lambda runs, number: sweep(runs, f"{phase} generation {number + 1}".lstrip())
    )
    arms = study.runs(size, seeds, device, settings)
    keep = {run.end_id for arm in study.keeps for run in arms.get(arm, [])}
    sweep(chain.from_iterable(arms.values()), phase, keep)
    return chosen


def answer(
    study: Study,
    store: Store,
    *,
    size: str = "standard",
    seeds: int | None = None,
    device: str = "cpu",
    workers: int = 1,
    cluster: str | None = None,
    progress: Progress,
    watch: Watch | None = None,
) -> dict[str, Any]:
    """Run a question and judge it; the answer is kept in the store and returned as the command line prints it.

    Raises:
        ToybedError: a wrong argument; or the runs could not be made.
    """
    count = check_asked(study, size=size, seeds=seeds, device=device, workers=workers, cluster=cluster)
    started = time.perf_counter()
    chosen = make_runs(
        study,
        store,
        size=size,
        seeds=count,
        device=device,
        workers=workers,
        cluster=cluster,
        progress=progress,
        watch=watch,
    )
    verdict, parts = study.judge(load_records(study, size, count, device, store))
    result = {
        "study": study.name,
        **answers.about(study, size),
        "question": study.question,
        **verdict.as_dict(),
        "parts": [part.as_dict() for part in parts],
        "size": size,
        "seeds": count,
        "worlds": count if study.worlds else 1,
        "device": device,
        "tuned": {arm: label for arm, (label, _) in chosen.items()},
        "seconds": round(time.perf_counter() - started, 2),
        "store": str(store.path),
        "manifest": manifest(),
    }
    store.set_verdict(study.name, size, result)
    return result
