"""What ``belief_shortcuts`` measures over sizes: the rise from shortcut to tracking, and which rule answers follow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from toybed.benchmarks.belief_sweep import SEPARABLE
from toybed.envs.belief_track_shortcuts import SHORTCUTS
from toybed.stats import Array, Interval, mean_interval, mean_of_found
from toybed.study import Records, Verdict, above, all_of, below, number

REGIMES = {"sft": "SFT", "rl": "RL from scratch", "sft_rl": "SFT then RL"}

LEAST_RISE = 0.2
"""Rise of separable accuracy from the smallest to the largest size, below which there is no step to look for."""


def sizes_of(records: Mapping[str, Records]) -> dict[str, list[str]]:
    """The sizes of each network, smallest first, as the arms stand: ``{"gru": ["gru_4", ...], ...}``."""
    found: dict[str, list[str]] = {}
    for size in dict.fromkeys(arm.split("/")[0] for arm in records):
        found.setdefault(size.split("_")[0], []).append(size)
    return found


def all_sizes(records: Mapping[str, Records]) -> list[str]:
    """The sizes of all networks."""
    return [size for sizes in sizes_of(records).values() for size in sizes]


def over_sizes(records: Mapping[str, Records], sizes: Sequence[str], regime: str, measure: str = SEPARABLE) -> Array:
    """A measure at the end of each run, ``[sizes, n]``."""
    return np.stack([records[f"{size}/{regime}"].at(measure, -1) for size in sizes])


def step_share(found: Array) -> Array:
    """The share of the rise that the largest step between adjacent sizes carries, of each seed, ``[n]``.

    Which step is the largest is told from the *other* seeds: the largest of a seed's own steps would be large by noise
    alone. NaN where a size is missing, where there is no other seed, or where the mean rise is no more than
    :data:`LEAST_RISE`.

    Args:
        found: the measure by size and seed, ``[sizes, n]``, smallest first.
    """
    steps = np.diff(found, axis=0)
    whole = np.asarray(np.isfinite(found).all(0))
    rise = mean_of_found(np.where(whole, found[-1] - found[0], np.nan))
    shares: Array = np.full(found.shape[1], np.nan)
    if not rise > LEAST_RISE or whole.sum() < 2:
        return shares
    for seed in np.flatnonzero(whole):
        others = whole & (np.arange(len(whole)) != seed)
        # Over the mean rise: a seed's own may be near 0.
        shares[seed] = steps[steps[:, others].mean(1).argmax(), seed] / rise
    return shares


def largest_step(found: Array, sizes: Sequence[str]) -> tuple[str, str]:
    """Between which sizes the mean rises most."""
    means = [mean_of_found(row) for row in found]
    place = int(np.nan_to_num(np.diff(means), nan=-np.inf).argmax())
    return sizes[place], sizes[place + 1]


def rule_of(records: Records, suffix: str = "") -> tuple[str, float]:
    """The rule that answers agree with most often, and how often, mean over seeds.

    Args:
        records: an arm.
        suffix: "_directed" for the directed questions alone.
    """
    agreement = {rule: mean_of_found(records.at(f"agreement_{rule}{suffix}", -1)) for rule in SHORTCUTS}
    best = max(agreement, key=lambda rule: np.nan_to_num(agreement[rule], nan=-1.0))
    return best, agreement[best]


def listed(records: Mapping[str, Records], regime: str, measure: str = SEPARABLE) -> str:
    """A measure at the end of every size, in words."""
    means = {size: mean_of_found(records[f"{size}/{regime}"].at(measure, -1)) for size in all_sizes(records)}
    return ", ".join(f"{size} {number(value)}" for size, value in means.items())


def every(
    found: Mapping[str, Array], claim: str, threshold: float, *, over: bool, what: str, more: str = ""
) -> Verdict:
    """All on one side of a threshold; shown is the one that comes nearest to the other side.

    Args:
        found: one number for each run, by name.
        claim: that all of them lie there.
        threshold: where the sides part.
        over: whether the claim is of the side above.
        what: is measured, in words.
        more: what else there is to say.
    """
    intervals = {name: mean_interval(values) for name, values in found.items()}
    side = above if over else below
    return Verdict(
        claim,
        all_of([side(interval, threshold) for interval in intervals.values()]),
        *nearest(intervals, over=over),
        rule=f"{what}: supported if every one lies {'above' if over else 'below'} {threshold:g}, refuted if one lies "
        "on the other side; shown is the one nearest to that.",
        sentence=", ".join(f"{name} {number(i.estimate, '.3f')}" for name, i in intervals.items()) + "." + more,
    )


def nearest(intervals: Mapping[str, Interval], *, over: bool) -> Interval:
    """The interval with the lowest estimate, or with the highest where the claim is of the side below."""
    sign = 1 if over else -1
    return min(intervals.values(), key=lambda i: np.nan_to_num(sign * i.estimate, nan=np.inf))
