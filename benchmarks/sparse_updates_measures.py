"""What ``sparse_updates`` measures: shares at the end, against the update's size, at equal gain, and overlaps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from toybed.benchmarks.sparse_updates_sweep import ON_THE_CURVE
from toybed.stats import Interval, mean_interval, mean_of_found
from toybed.study import Parameters, Records, number

Array = NDArray[np.float64]

BF16, SIZE, REWARD = "changed_bf16", "update_size", "reward_train"


def gain(records: Records) -> Array:
    """What a run won of reward on train prompts, exactly, ``[n]``."""
    return records.at(REWARD, -1) - records.at(REWARD, 0)


def share(records: Records, measure: str) -> str:
    """The mean of a share at the end, in words."""
    return number(mean_of_found(records.at(measure, -1)), ".1%")


def part_of(part: Array, whole: Array, at: float) -> Interval:
    """Interval of a share of two means: that of ``part - at * whole``, over the mean of ``whole``, moved to ``at``.

    It holds ``at`` exactly where that difference's holds 0, so no run's small gain is divided by. NaN where the whole
    is not certainly above 0.
    """
    all_of_it = mean_interval(whole)
    if not all_of_it.low > 0:
        return Interval(np.nan, np.nan, np.nan, 0)
    return mean_interval(at + (part - at * whole) / all_of_it.estimate)


def off_by(records: Iterable[Records]) -> Array:
    """The largest distance of the changed share in bf16 from that of ``|delta| > ulp / 2``, over arms and times.

    ``[n]``; NaN only where a run diverged in every arm.
    """
    worst = [
        each.per_run(lambda a, b: float(np.abs(a - b).max()), each[BF16], each["past_half_ulp"]) for each in records
    ]
    return np.asarray(np.fmax.reduce(worst))


def within_reach(records: Records, rate: float) -> Array:
    """The share of weights of which half a spacing of bf16 is no more than the learning rate, at the start, ``[n]``.

    Adam's first step is the rate, later ones are seldom longer: others cannot leave their place when each step is
    rounded.
    """
    import torch

    from toybed.measures.update_anatomy import bf16_ulp, to_bf16

    start = to_bf16(torch.from_numpy(_parameters(records).start.copy()))
    share = (bf16_ulp(start) / 2 <= rate).double().mean(1).numpy()
    return np.where(records.sound, share, np.nan)


def off_the_curve(records: Mapping[str, Records], arm: str) -> Array:
    """Changed share of an arm less that of GRPO at the same size of update, at the end of each run, ``[n]``.

    GRPO's curve is of the same seed: its points at all times and rates, between which the share is linear in the
    logarithm of the size. NaN where the size lies outside, or where one of GRPO's runs diverged: the curve would have
    a gap.
    """
    size, share = (np.concatenate([records[a][name][:, 1:] for a in ON_THE_CURVE], 1) for name in (SIZE, BF16))
    own_size, own_share = (records[arm].at(name, -1) for name in (SIZE, BF16))
    whole = np.all([records[each].sound for each in ON_THE_CURVE], 0)
    return np.array(
        [
            y - _on_curve(x, *points) if complete else np.nan
            for x, y, complete, *points in zip(own_size, own_share, whole, size, share, strict=True)
        ]
    )


def _on_curve(size: float, sizes: Array, shares: Array) -> float:
    found = np.isfinite(sizes) & (sizes > 0)
    if not found.any() or not size > 0:
        return np.nan
    order = np.argsort(sizes[found])
    x, y = np.log(sizes[found][order]), shares[found][order]
    return float(np.interp(np.log(size), x, y, left=np.nan, right=np.nan))


def changed_at_gain(records: Records, wanted: Array) -> Array:
    """The changed share in bf16 when a run first has that gain in reward, ``[n]``, linear between measurements.

    NaN where it never has.
    """
    won = records[REWARD] - records[REWARD][:, :1]
    return np.array([_when(w, y, g) for w, y, g in zip(won, records[BF16], wanted, strict=True)])


def _when(won: Array, share: Array, wanted: float) -> float:
    if not (np.isfinite(won).all() and 0 <= wanted <= won.max()):
        return np.nan
    after = int(np.argmax(won >= wanted))
    if after == 0:
        return float(share[0])
    part = (wanted - won[after - 1]) / (won[after] - won[after - 1])
    return float(share[after - 1] + part * (share[after] - share[after - 1]))


def overlaps(first: Records, second: Records, *, by_exponent: bool = False) -> dict[str, Array]:
    """One-sided overlap of what two arms changed in bf16, and of what chance makes, each ``[n]``; runs paired by seed.

    Args:
        first: the arm whose changed weights are looked for among the other's.
        second: the other.
        by_exponent: chance also knows the spacing of bf16 at each weight, and not its tensor alone.

    Returns:
        ``one_sided``, ``chance``, their ``ratio``, ``jaccard`` and ``jaccard_chance``, and ``density``, the larger one.
        NaN where a run diverged.
    """
    import torch

    from toybed.measures.update_anatomy import changed_in_bf16, layers, layers_and_exponents, overlap

    a, b = _parameters(first), _parameters(second)
    sound = first.sound & second.sound
    start = torch.from_numpy(a.start.copy())
    one, two = (changed_in_bf16(start, torch.from_numpy(each.end.copy())) for each in (a, b))
    groups = layers_and_exponents(start, a.sizes) if by_exponent else layers(a.sizes)
    found = {name: value.numpy() for name, value in overlap(one, two, groups).items()}
    found["ratio"] = found["one_sided"] / found["chance"]
    found["density"] = np.maximum(one.double().mean(1).numpy(), two.double().mean(1).numpy())
    return {name: np.where(sound, value, np.nan) for name, value in found.items()}


def alike(first: Records, second: Records) -> Array:
    """The share of weights that end as the same bf16 number in two arms, ``[n]``."""
    import torch

    from toybed.measures.update_anatomy import to_bf16

    one, two = (to_bf16(torch.from_numpy(_parameters(each).end.copy())) for each in (first, second))
    same = (one == two).double().mean(1).numpy()
    return np.where(first.sound & second.sound, same, np.nan)


def _parameters(records: Records) -> Parameters:
    assert records.parameters is not None, "the study keeps the parameters of the arms whose weights it compares"
    return records.parameters
