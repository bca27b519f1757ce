"""What ``two_phases`` measures: when an entropy is gone, what rises after that, and differences that are paired."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf, isfinite, nan

import numpy as np
from numpy.typing import NDArray

from toybed.benchmarks.two_phases_sweep import LEVELS
from toybed.stats import best_on_others, mean_of_found
from toybed.study import Records, number

Array = NDArray[np.float64]

EXECUTION, PLANNING, PLANNING_ALL = "entropy_exec", "entropy_plan_conditional", "entropy_plan_marginal"
STRATEGY, STRATEGY_ALL = "entropy_strategy", "entropy_strategy_marginal"
TOKEN, ACCURACY = "entropy_test", "reward_test"
HALF, LATER = 0.5, 0.75  # of the execution entropy is gone: where phases are compared, and where the later one begins


def crossing(steps: NDArray[np.int64], values: Array, level: float) -> float:
    """The first update at which a curve is at or below a level, on straight lines between points; inf if it never is.

    Args:
        steps: updates of the points, ``[points]``.
        values: the curve there, ``[points]``.
        level: a number.
    """
    below = np.flatnonzero(values <= level)
    if not len(below):
        return inf
    after = int(below[0])
    if after == 0:
        return float(steps[0])
    before = after - 1
    part = (values[before] - level) / (values[before] - values[after])
    return float(steps[before] + part * (steps[after] - steps[before]))


def lag(steps: NDArray[np.int64], first: float, second: float) -> float:
    """How many updates the second comes after the first; what never comes counts as the last update.

    So where one never comes the lag is a bound on the near side of the truth. Where neither does it is NaN.
    """
    if not isfinite(first) and not isfinite(second):
        return nan
    end = float(steps[-1])
    return min(second, end) - min(first, end)


def half_gone(records: Records, measure: str) -> Array:
    """The update at which half of an entropy's first value is gone, ``[n]``; inf where it never is."""
    steps = records.steps[measure]
    return records.per_run(lambda curve: crossing(steps, curve, (1 - HALF) * curve[0]), records[measure])


def entropy_lag(records: Records) -> Array:
    """Updates from half of the execution entropy gone to half of the planning entropy gone, ``[n]``."""
    steps = records.steps[PLANNING]
    both = zip(half_gone(records, EXECUTION), half_gone(records, PLANNING), strict=True)
    return np.where(records.sound, [lag(steps, first, second) for first, second in both], nan)


def half_gained(records: Records, measure: str) -> Array:
    """The update at which half of what a measure gains in the run is gained, ``[n]``; inf where it gains nothing."""
    steps = records.steps[measure]

    def found(curve: Array) -> float:
        middle = (curve[0] + curve[-1]) / 2
        return crossing(steps, -curve, -middle) if curve[-1] > curve[0] else inf

    return records.per_run(found, records[measure])


def skill_lag(records: Records) -> Array:
    """Updates from half of the gain in right executions to half of the gain in valid plans, ``[n]``."""
    steps = records.steps["plan_validity"]
    both = zip(half_gained(records, "exec_accuracy"), half_gained(records, "plan_validity"), strict=True)
    return np.where(records.sound, [lag(steps, first, second) for first, second in both], nan)


def rise(records: Records, measure: str) -> Array:
    """A measure at the end less its minimum on the way, ``[n]``."""
    return records.per_run(lambda curve: float(curve[-1] - curve.min()), records[measure])


def largest_rise(records: Records, measure: str) -> Array:
    """The most by which a measure is ever above an earlier value of its own, ``[n]``."""
    return records.per_run(lambda curve: float((curve - np.minimum.accumulate(curve)).max()), records[measure])


def later_change(records: Records, measure: str, since: float = LATER) -> Array:
    """A measure's change from when that share of the execution entropy is gone to the end, ``[n]``.

    NaN where that never happens, or at the last point only.
    """

    def found(execution: Array, curve: Array) -> float:
        gone = np.flatnonzero(execution <= (1 - since) * execution[0])
        return float(curve[-1] - curve[gone[0]]) if len(gone) and gone[0] < len(curve) - 1 else nan

    return records.per_run(found, records[EXECUTION], records[measure])


def later_routing(records: Records) -> Array:
    """Change in the later phase of what a strategy tells of its problem, mutual information in nats, ``[n]``."""
    return later_change(records, STRATEGY_ALL) - later_change(records, STRATEGY)


def levels(records: Mapping[str, Records], *arms: str) -> list[str]:
    """The levels of execution at which all these arms were run."""
    return [level for level in LEVELS if all(f"{arm}_{level}" in records for arm in arms)]


def gain(records: Mapping[str, Records], arm: str, rival: str, measure: str) -> Array:
    """What an arm ends with above a rival of the same seed, mean over the bases at which both were run, ``[n]``."""
    found = [
        records[f"{arm}_{level}"].at(measure, -1) - records[f"{rival}_{level}"].at(measure, -1)
        for level in levels(records, arm, rival)
    ]
    return np.mean(found, 0)


def best_dose(records: Mapping[str, Records], arms: Sequence[str]) -> tuple[list[str], Array]:
    """For each run the arm that is most accurate on the other runs, mean over bases, and its accuracy ``[n]``."""
    shared = levels(records, *arms)
    ends = np.stack([[records[f"{arm}_{level}"].at(ACCURACY, -1) for level in shared] for arm in arms]).mean(1)
    best = best_on_others(ends[:, None])
    return [arms[i] for i in best], ends[best, np.arange(len(best))]


def base_of(level: str) -> str:
    """A base in words."""
    return f"base executing {LEVELS[level]:g}"


def mean_of(values: Array, form: str = ".2f") -> str:
    """The mean over the runs that have a value, in words."""
    return number(mean_of_found(values), form)
