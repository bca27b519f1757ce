"""How much memory there is, and how many runs may stand in a stack before a worker's share is full.

A worker's peak is a line in the number S of its stack's runs: parameters, rollouts, activations and tables carry the
run axis, and nothing else grows. ``python -m toybed.benchmarks.memory`` measures the line for every policy and world of
the questions; the constants here are above what it found.
"""

from __future__ import annotations

import math
import os
from pathlib import Path, PurePosixPath

from toybed.agents.config import Setting

WORKER_BYTES = 400e6
"""Of a process with torch and no runs; up to 382 MB were measured."""

RUN_BYTES, RESPONSE_BYTES = 30e6, 25e3
"""Of a run, for parameters and exact measures, and of each response of its update; from a tenth to two thirds of their
sum was measured."""

SHARE = 0.8
"""Of the memory that is available when a sweep begins; the rest is for the caller and for others."""


def available_memory() -> float:
    """Bytes that this process and its workers may use, in a container what that leaves; infinity where not known."""
    return SHARE * min(_machine(), _container())


def run_bytes(setting: Setting) -> float:
    """The bytes that one more run adds to a stack, at most."""
    return RUN_BYTES + RESPONSE_BYTES * setting.learning.prompts * setting.learning.group


def most_runs(setting: Setting, memory: float) -> int:
    """How many runs of a stack fit a worker's memory; 1 at least, for somebody has to try."""
    return max(1, int(min((memory - WORKER_BYTES) / run_bytes(setting), 1e9)))


def _machine() -> float:
    for line in _read("/proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            return 1024 * float(line.split()[1])
    try:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, OSError, ValueError):  # Windows
        return math.inf


def _container(root: str = "/sys/fs/cgroup", own: str = "/proc/self/cgroup") -> float:
    """What control groups leave: the least of each one's limit less what is in use and cannot be given back.

    Those of this process and all around it, as a container or a job of SLURM or systemd sets them; of version 2
    (``memory.max``) or 1 (``memory/.../memory.limit_in_bytes``).
    """
    left = math.inf
    for line in _read(own).splitlines() or ["0::/"]:
        _, controllers, path = line.split(":", 2)
        first = {"": ("", "memory.max", "anon"), "memory": ("memory", "memory.limit_in_bytes", "rss")}.get(controllers)
        if first is None:
            continue
        folder, limit_file, in_use = first
        here = PurePosixPath(path.lstrip("/"))
        for group in (here, *here.parents):
            place = f"{root}/{folder}/{group}"
            limit = _read(f"{place}/{limit_file}").strip()
            if limit.isdigit():
                statistics = dict(each.split() for each in _read(f"{place}/memory.stat").splitlines())
                used = statistics.get(f"total_{in_use}", statistics.get(in_use, 0))
                left = min(left, max(0.0, float(limit) - float(used)))
    return left


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError:
        return ""
