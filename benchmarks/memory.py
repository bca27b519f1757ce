"""How much memory does a stack of S runs take? ``python -m toybed.benchmarks.memory`` measures it.

For each policy in each world that a question trains it in, one arm of that question (without its base's supervised
fine-tuning) takes one update in a process of its own, with S = 1, 2, 4, ... up to the stack that the runner would make.
The peak of the process is a line in S; printed are its constant, its slope (bytes of a run), the largest distance from
the line, and what :func:`toybed.memory.run_bytes` takes a run to be. Not on Windows.
"""

from __future__ import annotations

import json
import os
import resource
from dataclasses import asdict, dataclass, replace

import numpy as np
import tyro

from toybed import study
from toybed.agents.config import Setting, Start
from toybed.memory import run_bytes
from toybed.stacking import largest_stack


@dataclass(frozen=True)
class Memory:
    """Measure the peak memory of stacks."""

    most: int = 8
    """Runs of the largest stack, where the runner would not make smaller ones."""
    json: bool = False
    """Print one JSON object."""


@dataclass(frozen=True)
class Line:
    """A peak as a line in S, in MB: ``constant + slope * S``, off by ``error``; and what is assumed of a run."""

    constant: float
    slope: float
    error: float
    responses: int
    assumed: float


def settings() -> dict[str, Setting]:
    """One arm for each policy in each world, with as many responses an update as any."""
    found: dict[str, Setting] = {}
    for each in study.studies().values():
        for arm in each.arms("standard").values():
            name = f"{arm.policy.name} in {arm.world.name}"
            if name not in found or _responses(arm) > _responses(found[name]):
                found[name] = arm
    return {
        name: replace(arm, supervised=None, start=Start(), learner=None).with_learning(updates=1)
        for name, arm in sorted(found.items())
    }


def _responses(setting: Setting) -> int:
    return setting.learning.prompts * setting.learning.group


def peak(setting: Setting, runs: int) -> float:
    """The peak of a process that trains a stack, in MB."""
    out, into = os.pipe()
    if (pid := os.fork()) == 0:
        from toybed.agents.training import train_bases, train_runs

        try:
            train_runs(setting, range(runs), train_bases(setting, range(runs)))
            os.write(into, str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss).encode())
        finally:
            os._exit(0)
    os.close(into)
    with os.fdopen(out) as said:
        kilobytes = said.read()
    os.waitpid(pid, 0)
    return int(kilobytes) * 1024 / 1e6


def line(setting: Setting, most: int) -> Line:
    """The peaks of stacks of 1, 2, 4, ... runs as a line."""
    limit = max(2, min(most, largest_stack(setting)))
    sizes = [2**k for k in range(limit.bit_length())]
    peaks = [peak(setting, runs) for runs in sizes]
    slope, constant = np.polyfit(sizes, peaks, 1)
    error = np.abs(np.polyval([slope, constant], sizes) - peaks).max()
    assumed = run_bytes(setting) / 1e6
    return Line(float(constant), float(slope), float(error), _responses(setting), assumed)


def main() -> None:
    """Measure and print."""
    config = tyro.cli(Memory)
    import torch

    torch.set_num_threads(1)
    if not config.json:
        print(f"{'MB':36}{'constant':>10}{'a run':>8}{'error':>8}{'assumed':>9}{'responses':>11}")
    found = {}
    for name, setting in settings().items():
        found[name] = one = line(setting, config.most)
        if not config.json:
            numbers = f"{one.constant:10.0f}{one.slope:8.1f}{one.error:8.1f}{one.assumed:9.1f}{one.responses:11}"
            print(f"{name:36}{numbers}", flush=True)
    if config.json:
        print(json.dumps({name: asdict(one) for name, one in found.items()}))


if __name__ == "__main__":
    main()
