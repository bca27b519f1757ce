"""What ``deploy_or_create`` measures: the share of RL's gain that the base recovers in one way or another."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from toybed.benchmarks.deploy_or_create_sweep import STAGES
from toybed.study import Records

Array = NDArray[np.float64]

LEAST = 0.02  # success: where RL gained less, there is nothing to recover
CREATED = 0.1  # success on hard types: the same, for these


def recovered(records: Records, measure: str) -> Array:
    """The share of RL's gain on held-out prompts that is had by a measure of success, ``[n]``; NaN without a gain."""
    return _share(records, "reward_test", measure, LEAST)


def recovered_hard(records: Records) -> Array:
    """The same of RL's plans, carried out by the base, on hard types alone, ``[n]``; NaN where RL never solves them."""
    return _share(records, "success_hard", "hybrid_planning_hard", CREATED)


def _share(records: Records, of: str, measure: str, least: float) -> Array:
    base, end = (records.at(of, place) for place in (0, -1))
    gain = end - base
    return np.where(gain >= least, (records.at(measure, -1) - base) / np.where(gain >= least, gain, 1), np.nan)


def law(records: Records) -> Array:
    """``q^D``, with q the share of right executions in the base's own responses, ``[n]``."""
    return records.at("exec_accuracy", 0) ** STAGES


def whole_law(records: Records) -> Array:
    """``((q / q')^D A - B) / (A - B)``, ``[n]``: A and B are success of RL and of the base, q' is q of RL.

    Exact where neither execution depends on the plan or the value; ``q^D`` is its limit for a base with a success of 0
    and RL that executes without error.
    """
    base, end = (records.at("reward_test", place) for place in (0, -1))
    ratio = records.at("exec_accuracy", 0) / records.at("exec_accuracy", -1)
    gain = end - base
    return np.where(gain >= LEAST, (ratio**STAGES * end - base) / np.where(gain >= LEAST, gain, 1), np.nan)


def created(records: Records) -> Array:
    """What RL gained in success on hard types, ``[n]``."""
    return records.at("success_hard", -1) - records.at("success_hard", 0)
