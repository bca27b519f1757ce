"""What the questions in BeliefTrack share: the world, and when an answer counts as tracking."""

from __future__ import annotations

from typing import Any

import numpy as np

from toybed.agents.config import Spec
from toybed.stats import Array
from toybed.study import Records

TRACKS = 0.9
"""Accuracy on directed questions of the trained orders above which a policy may track: it reads the names. The rule
``first_departure`` does, too; natural questions tell it from tracking."""

SHORTCUT = 0.5
"""The same, below which it follows a rule: directed questions come in pairs about one story with different answers, so
that what does not read the names is right in half of them at most."""

SEPARABLE = "separable_trained"
ACCURACY = "accuracy_trained"


def world(**knobs: Any) -> Spec:
    """BeliefTrack with its defaults (8 events, 4 agents, orders 1 and 2 trained, half of the beliefs false)."""
    return Spec("belief_track", knobs)


def gain(after: Records, before: Records, measure: str) -> Array:
    """What a run has more of than another of the same seed, at their ends, ``[n]``; NaN where one of them diverged."""
    return np.asarray(after.at(measure, -1) - before.at(measure, -1))
