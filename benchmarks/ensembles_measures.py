"""What ``ensembles`` measures: where a policy ends, what it lost of its entropy, and what its rivals offer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from toybed.benchmarks import mixtures
from toybed.benchmarks.ensembles_sweep import World
from toybed.stats import Interval, mean_interval, mean_of_found
from toybed.study import Records

Array = NDArray[np.float64]
MANY = "pass@64"


def at(records: Mapping[str, Records], arm: str, measure: str, place: int = -1) -> Array:
    """A measure at the end (or start, 0) of each run of an arm, ``[n]``; NaN for one that diverged."""
    found = records[arm]
    return np.where(found.sound, found[measure][:, place], np.nan)


def mean_at(records: Mapping[str, Records], arm: str, measure: str, world: World) -> float:
    """The mean over runs of a measure at the end, on the prompts on which the world is judged."""
    return mean_of_found(at(records, arm, f"{measure}_{world.split}"))


def gained(records: Mapping[str, Records], arm: str, other: str, measure: str) -> Interval:
    """What an arm ends with above another, paired."""
    return mean_interval(at(records, arm, measure) - at(records, other, measure))


def entropy_lost(records: Mapping[str, Records], arm: str, split: str) -> Array:
    """Entropy (nats per token, given the head) at the start less that at the end, ``[n]``."""
    return at(records, arm, f"entropy_{split}", 0) - at(records, arm, f"entropy_{split}")


def points(records: Mapping[str, Records], rivals: Sequence[str], split: str) -> Array:
    """Pass@1 and pass@64 of what single policies offer: themselves, and each with its start mixed in, ``[m, 2, n]``."""
    found = []
    for arm in rivals:
        if arm in records:
            found.append([at(records, arm, f"{m}_{split}", 0) for m in ("reward", MANY)])
            for one in (name for name in records[arm].curves if name.startswith("reward_") and name.endswith(split)):
                many = one.replace("reward", MANY, 1)
                if many in records[arm].curves:  # not of fresh questions
                    found.append([at(records, arm, name) for name in (one, many)])
    return np.array(found)


def excess(records: Mapping[str, Records], world: World, arm: str) -> Array:
    """Pass@64 of an arm above the most that its rivals and their mixtures have at its pass@1, ``[n]``.

    Or at the highest pass@1 of theirs, where the arm has more.
    """
    reward, many = (at(records, arm, f"{m}_{world.split}") for m in ("reward", MANY))
    return many - mixtures.frontier(points(records, world.rivals, world.split), reward)
