"""What ``dialogue_collapse`` measures: where each run ends, what masters tell apart, and what there is to reach."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toybed.benchmarks.dialogue_collapse_sweep import EPISODES, STEPS, WORLD
from toybed.stats import Interval, mean_interval, mean_of_found
from toybed.study import Records, number

Array = NDArray[np.float64]

BUDGET = STEPS * EPISODES
SHARE, ARGMAX = "dominant_share", "dominant_share_argmax"
TEST, TRAIN = f"adapted@{BUDGET}_test", f"adapted@{BUDGET}_train"


def information(records: Mapping[str, Records], name: str) -> Array:
    """Of type and option in adapted policies, less what luck makes of it, nats, ``[n]``."""
    found, luck = (records[name].at(f"adapted_information_{what}_train", -1) for what in ("type", "chance"))
    return found - luck


def gain(records: Mapping[str, Records], name: str, other: str, measure: str = TEST) -> Interval:
    """What an arm has of a measure above another, paired."""
    return mean_interval(records[name].at(measure, -1) - records[other].at(measure, -1))


def mean_at(records: Mapping[str, Records], name: str, measure: str, form: str = ".2f") -> str:
    """The mean of a measure over an arm's runs, in words."""
    return number(mean_of_found(records[name].at(measure, -1)), form)


def room_of(records: Mapping[str, Records], name: str) -> Array:
    """Headroom less a tenth of the return, ``[n]``."""
    return records[name].at("best_master_test", -1) - 1.1 * records[name].at("adapted@0_test", -1)


@cache
def limits() -> tuple[float, float]:
    """The optimum on held-out types, and what the best policy that ascent finds for all types at once has there.

    Both of a therapist who picks every act from counters and turn.
    """
    from toybed.envs import make

    world: Any = make("mi_dialogue", **WORLD)
    held_out = world.prompts("test")
    return float(world.optima("act")[held_out].mean()), float(world.best_for_all("train").worth[held_out].mean())
