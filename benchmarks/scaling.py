"""What do many runs cost? ``python -m toybed.benchmarks.scaling`` prints the tables of ``scaling.md``.

Times are CPU times of one process with one torch thread, so that a busy machine shows in them little; each is the
median of a few updates, and the larger part of what ratios under 1.15 say is noise.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

from toybed.agents.config import Learning, Setting
from toybed.agents.policies import make_policy
from toybed.agents.policy_gradient import PolicyGradient
from toybed.agents.results import Curve, RunResult
from toybed.agents.training import train_bases, train_runs
from toybed.benchmarks.speed import POLICIES, WORKS, WORLD
from toybed.envs import make
from toybed.objectives import catalogue
from toybed.store import Store
from toybed.study import Run

STACKS = (1, 4, 16, 64)
LENGTHS, VOCABULARIES, WIDTHS = (4, 8, 16), (8, 16, 32), (32, 64, 128)
AT = 4  # runs in a stack where something else is varied


@dataclass(frozen=True)
class Scaling:
    """Measure the cost of runs, and of keeping them."""

    updates: int = 5
    """Updates of which the median is taken."""
    runs: int = 2000
    """Runs that are written into a store."""


def milliseconds(
    policy: str, work: str, stack: int, updates: int, world: Mapping[str, int] = WORLD, **options: int
) -> float:
    """Of a seed-update."""
    view = "tokens" if policy in ("gru", "transformer") else "state"
    env = make("chain_reach", **{**WORLD, **world}, view=view)
    stacked = make_policy(policy, env, range(stack), **{**POLICIES[policy], **options})
    learner = PolicyGradient(env, stacked, catalogue.get("grpo"), WORKS[work], list(range(stack)))
    learner.update()
    return 1e3 * statistics.median(_seconds(learner.update) for _ in range(updates)) / stack


def _seconds(work: Callable[[], Any]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def slope(sizes: Sequence[float], times: Sequence[float]) -> float:
    """By what power of its size a time grows: least squares of logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(times), 1)[0])


def by_stack(updates: int) -> str:
    """Cost of a seed-update over S, and a line through the cost of an update of S runs."""
    lines = ["| policy | work | " + " | ".join(f"S = {s}" for s in STACKS) + " | an update of S runs |"]
    lines += ["|---|---|" + "---|" * (len(STACKS) + 1)]
    for policy in POLICIES:
        for work in WORKS:
            times = [milliseconds(policy, work, s, updates) for s in STACKS]
            each, start = np.polyfit(STACKS, np.array(times) * STACKS, 1, w=1 / (np.array(times) * STACKS))
            cells = " | ".join(f"{ms:.2f}" for ms in times)
            lines.append(f"| {policy} | {work} | {cells} | {start:.1f} + {each:.2f} S ms |")
    return "\n".join(lines)


def by_size(updates: int) -> str:
    """Cost over length, vocabulary and width, in stacks of 4 of work B."""
    lines = [f"| policy | T = {LENGTHS} | V = {VOCABULARIES} | width = {WIDTHS} |", "|---|---|---|---|"]
    for policy in POLICIES:
        columns: list[tuple[tuple[int, ...], list[float]]] = [
            (LENGTHS, [milliseconds(policy, "B", AT, updates, {"length": n}) for n in LENGTHS]),
            (VOCABULARIES, [milliseconds(policy, "B", AT, updates, {"operations": n}) for n in VOCABULARIES]),
        ]
        if policy != "tabular":
            columns.append((WIDTHS, [milliseconds(policy, "B", AT, updates, width=n) for n in WIDTHS]))
        cells = [f"{', '.join(f'{t:.2f}' for t in times)} (power {slope(n, times):.2f})" for n, times in columns]
        lines.append(f"| {policy} | " + " | ".join([*cells, "-"][:3]) + " |")
    return "\n".join(lines)


def keeping(runs: int) -> dict[str, float]:
    """What the store does with runs like those of ``entropy_law``: seconds, bytes and rates."""
    setting = Setting().with_learning(updates=2)
    [result] = train_runs(setting, [0], train_bases(setting, [0]))
    points = Learning().updates // Learning().measure_every + 1
    steps = np.arange(points)
    curves = {name: Curve(steps, np.random.default_rng(0).normal(size=points)) for name in result.curves}
    kept = RunResult(curves, None, None)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store.sqlite"
        with Store(path) as store:
            made = [Run(setting, seed) for seed in range(runs)]
            writing = time.perf_counter()
            for run in made:
                store.add_run(run.id, run.setting.config(), run.seed, kept, {})
            writing = time.perf_counter() - writing
            asking = time.perf_counter()
            finished = store.finished()
            asking = time.perf_counter() - asking
            reading = time.perf_counter()
            for run in made[:200]:
                store.run(run.id)
            reading = time.perf_counter() - reading
        size = path.stat().st_size
    assert len(finished) == runs
    return {
        "bytes a run": size / runs,
        "runs written a second": runs / writing,
        "runs read a second": 200 / reading,
        "microseconds to learn of a finished run": 1e6 * asking / runs,
    }


def standard_run(updates: int) -> float:
    """CPU seconds of one run of the default setting, 150 updates and its measurements, in a stack of 8."""
    short = Setting().with_learning(updates=updates)
    seeds = list(range(8))
    bases = train_bases(short, seeds)
    train_runs(replace(short), seeds, bases)
    seconds = _seconds(lambda: train_runs(short, seeds, bases))
    return seconds / 8 / updates * Setting().learning.updates


def main() -> None:
    """Measure and print."""
    config = tyro.cli(Scaling)
    torch.set_num_threads(1)
    print(f"{os.cpu_count()} cores; CPU milliseconds a seed-update\n")
    print(by_stack(config.updates) + "\n")
    print(by_size(config.updates) + "\n")
    print(f"a run of the default setting: {standard_run(30):.2f} CPU seconds")
    for name, value in keeping(config.runs).items():
        print(f"{name}: {value:,.1f}")


if __name__ == "__main__":
    main()
