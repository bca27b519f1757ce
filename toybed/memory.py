"""How much memory there is, and how many runs may stand in a stack before a worker's share is full.

A worker's peak is a line in the number S of its stack's runs, ``WORKER_BYTES + S * bytes of a run``: parameters,
rollouts, activations and tables carry the run axis and nothing else grows. ``python -m toybed.benchmarks.memory``
measures both numbers for every policy and world; the constants here are above all that it finds.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

WORKER_BYTES = 400e6
"""Of a process with torch and one run; at most 310 MB was measured."""

RESPONSE_BYTES = 120e3
"""Of one response of an update, the exact measures of its run included; at most FIXME kB was measured."""

SHARE = 0.8
"""Of the memory that is available when a sweep begins; the rest is for the caller and for others."""


def available_memory() -> float:
    """Bytes that this process and its workers may use: what is available, in the container too; infinity if unknown."""
    return SHARE * min(_machine(), _container())


def most_runs(responses: int, memory: float) -> int:
    """How many runs, of so many responses an update each, fit a worker's memory; 1 at least."""
    return max(1, int(min((memory - WORKER_BYTES) / (RESPONSE_BYTES * responses), 1e9)))


def _machine() -> float:
    for line in _read("/proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            return 1024 * float(line.split()[1])
    try:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, OSError, ValueError):  # Windows
        return math.inf


def _container() -> float:
    """What a control group leaves: its limit less what is in use and cannot be given back."""
    limit = _read("/sys/fs/cgroup/memory.max").strip()
    if not limit.isdigit():
        return math.inf
    statistics = dict(line.split() for line in _read("/sys/fs/cgroup/memory.stat").splitlines())
    return max(0.0, float(limit) - float(statistics.get("anon", 0)))


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError:
        return ""
