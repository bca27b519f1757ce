"""What ``held_entropy`` reads of a run: how far entropy is from its target, whether it is held, what it is worth."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from toybed.benchmarks.held_entropy_sweep import NONE
from toybed.stats import Array
from toybed.study import Records

HELD = 0.1  # of the first entropy: mean absolute distance from the target below which a controller holds
SHORT = 0.05  # of the first entropy: mean shortfall up to which a run counts as held at or above its start


def course(found: Records, split: str = "train") -> Array:
    """Entropy over the second half of each run, as a share of its first, ``[n, points]``; NaN for one that diverged."""
    entropy, steps = found[f"entropy_{split}"], found.steps[f"entropy_{split}"]
    later = entropy[:, steps >= steps[-1] / 2] / entropy[:, :1]
    return np.where(found.sound[:, None], later, np.nan)


def distance(found: Records, target: float = 1.0, split: str = "train") -> Array:
    """Mean absolute distance of :func:`course` from the target, ``[n]``."""
    return np.asarray(np.abs(course(found, split) - target).mean(1))


def held(found: Records) -> Array:
    """Which runs keep their entropy at or above its start, bool ``[n]``: mean shortfall at most :data:`SHORT`."""
    return np.asarray(np.maximum(1 - course(found), 0.0).mean(1) <= SHORT)


def gain(found: Records, measure: str = "reward_test") -> Array:
    """The measure at the end less that at the start, ``[n]``; NaN for a run that diverged."""
    return found.at(measure, -1) - found.at(measure, 0)


def gain_held(found: Records, measure: str = "reward_test") -> Array:
    """The gain of the runs that keep their entropy, ``[n]``; NaN for the others."""
    return np.where(held(found), gain(found, measure), np.nan)


def shares(own: Records, none: Records) -> Array:
    """Gain in held-out reward as a share of the gain of the same seed without control, ``[n]``.

    NaN where that one gained nothing.
    """
    whole = gain(none)
    return np.asarray(gain(own) / np.where(whole > 0, whole, np.nan))


def beyond(records: Mapping[str, Records], name: str, measure: str, rival: str = NONE) -> Array:
    """The measure at the end less that of another arm with the same seeds, ``[n]``."""
    return records[name].at(measure, -1) - records[rival].at(measure, -1)
