"""Runs become stacks, each of which trains in one program; and what a worker does with one."""

from __future__ import annotations

import json
import math
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toybed.agents.config import Setting
from toybed.errors import ToybedError
from toybed.executors import Report
from toybed.memory import most_runs
from toybed.store import Store
from toybed.study import Run

STACK_TOKENS = 16_384
"""Sampled tokens that one program handles at once: throughput is flat from some 8,000, and falls past 64,000."""


ALONE = 4
"""So many runs in one world do not share their program with those of other worlds, which would take turns: a stack of
four has most of what stacking gains, and a world moves all of them at once."""


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
class Stacks(Sequence[Stack]):
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


def split(runs: Sequence[Run], workers: int, memory: float = math.inf) -> list[list[Run]]:
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


def stack_of(part: Sequence[Run], wanted: set[str], store: Store) -> Stack:
    """Runs whose starts are in the store, as a stack; the ends of those whose ids are ``wanted`` are kept."""
    starts = np.stack([start_of(store, run) for run in part])
    found = None
    if part[0].setting.start.trains != "all":
        found = np.stack([end_of(store, run.before) for run in part if run.before is not None])
        starts = np.where(np.isfinite(found).all(1, keepdims=True), starts, np.nan)
    return Stack(tuple(part), starts, any(run.id in wanted for run in part), found, tuple(run.id for run in part))


def start_of(store: Store, run: Run) -> NDArray[np.float32]:
    """The parameters ``[D]`` with which a run starts (before its temperature)."""
    if run.before is None:
        base = store.base(run.base_id)
        assert base is not None, "bases are made before the runs that need them"
        return base
    if run.setting.start.trains != "all":
        return start_of(store, run.before)
    end, keep = end_of(store, run.before), run.setting.start.keep
    if keep == 1:
        return end
    own = start_of(store, run.before)
    return (own + keep * (end - own)).astype(np.float32)


def end_of(store: Store, run: Run) -> NDArray[np.float32]:
    """The parameters ``[D]`` with which a run ended."""
    end = store.base(run.end_id)
    assert end is not None, "runs are made before those that continue them"
    return end
