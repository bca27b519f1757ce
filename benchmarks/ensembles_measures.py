"""What ``ensembles`` measures: where a policy ends, what it lost of its entropy, and what its rivals offer."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from toybed.benchmarks import mixtures
from toybed.benchmarks.ensembles_sweep import World
from toybed.stats import Interval, mean_interval, mean_of_found
from toybed.study import Outcome, Records, number

Array = NDArray[np.float64]
MANY = "pass@64"
COST = 0.02  # of pass@1: less is not meant


def mean_at(records: Mapping[str, Records], arm: str, measure: str, world: World) -> float:
    """The mean over runs of a measure at the end, on the prompts on which the world is judged."""
    return mean_of_found(records[arm].at(f"{measure}_{world.split}", -1))


def gained(records: Mapping[str, Records], arm: str, other: str, measure: str) -> Interval:
    """What an arm ends with above another, paired."""
    return mean_interval(records[arm].at(measure, -1) - records[other].at(measure, -1))


def entropy_lost(records: Mapping[str, Records], arm: str, split: str) -> Array:
    """Entropy (nats per token, given the head) at the start less that at the end, ``[n]``."""
    return records[arm].at(f"entropy_{split}", 0) - records[arm].at(f"entropy_{split}", -1)


def points(records: Mapping[str, Records], world: World) -> Array:
    """Pass@1 and pass@64 of what single policies offer: themselves, and each with its start mixed in, ``[m, 2, n]``."""
    from toybed.agents.probes.start_mixtures import SHARES  # with torch, which listing the questions does without

    shares = ("", *(f"_start_{share:g}" for share in SHARES))
    found = []
    for own in (records[arm] for arm in world.rivals if arm in records):
        found.append([own.at(f"{m}_{world.split}", 0) for m in ("reward", MANY)])
        found += [[own.at(f"{m}{share}_{world.split}", -1) for m in ("reward", MANY)] for share in shares]
    return np.array(found)


def excess(records: Mapping[str, Records], world: World, arm: str) -> tuple[Array, Outcome]:
    """Pass@64 of an arm above the most that its rivals and the chords between two have at its pass@1, ``[n]``.

    Or at the highest pass@1 of theirs, where the arm has more. With the outcome of "more than the rivals' mixtures".
    """
    reward, many = (records[arm].at(f"{m}_{world.split}", -1) for m in ("reward", MANY))
    rivals = points(records, world)
    beyond = many - mixtures.frontier(rivals, reward)
    return beyond, mixtures.more_than_mixtures(beyond, rivals, reward)


def place(records: Mapping[str, Records], arm: str, world: World, reward: str = "reward") -> str:
    """Pass@1 and pass@64 of an arm, for a sentence."""
    return " and ".join(number(mean_at(records, arm, m, world), ".3f") for m in (reward, MANY))


def with_ends(interval: Interval) -> str:
    """An interval in words."""
    if not interval.n:
        return "not known"
    return f"{interval.estimate:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]"
