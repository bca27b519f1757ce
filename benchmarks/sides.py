"""On which side of a threshold a difference is claimed to lie: what the contrasts of several questions share."""

from __future__ import annotations

from typing import Literal

from toybed.stats import Interval
from toybed.study import Outcome, above, below, within

Side = Literal["above", "below", "within"]
"""Of a threshold; "within" it is on both sides of 0."""


def outcome(interval: Interval, side: Side, threshold: float) -> Outcome:
    """What an interval makes of the claim that it lies on that side."""
    if side == "within":
        return within(interval, -threshold, threshold)
    return (above if side == "above" else below)(interval, threshold)


def rule(side: Side, threshold: float, band: str | None = None) -> str:
    """How the outcome follows, in words.

    Args:
        side, threshold: of the claim.
        band: how "within" is written; None is "±threshold".
    """
    return {
        "above": f"supported above {threshold:g}, refuted below",
        "below": f"supported below {threshold:g}, refuted above",
        "within": f"supported within {band or f'±{threshold:g}'}, refuted outside",
    }[side]
