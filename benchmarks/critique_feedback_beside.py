"""What ``critique_feedback`` tells beside its claim: tables, degrees, learning rates, noise, and the method's parts."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from toybed.benchmarks.critique_feedback_measures import (
    ALL,
    ENTROPY,
    HARD_TYPES,
    PASS_AT,
    difference,
    on_the_way,
    told,
)
from toybed.benchmarks.critique_feedback_sweep import FAR, HARD, NOISE
from toybed.stats import mean_interval, mean_of_found
from toybed.study import Records, Verdict, above, all_of, below, number, within

NEAR = 0.02  # of the plateau
NEVER, SOLVED = 0.01, 0.95
ORDER = ("none", "indicative", "located", "full")

COMPARED = (
    ("full", "far", f"The full critique is above GRPO for {FAR} times the updates, so {FAR} times the responses."),
    ("full", "sampled", "It is neither clip nor standard deviation: the full critique is above GRPO without them."),
    ("full", "unshaped", "Shaping helps: it is above ratios on refined responses."),
    ("full", "all", "Leaving wrong refinements out helps."),
    ("full", "imitated", "Refinements among sampled responses are above refinements imitated alone."),
    ("full", "solution", "It is the critique: refinements are above as many right solutions, both shaped."),
    ("unshaped", "solution_unshaped", "It is the critique: refinements are above right solutions, both with ratios."),
    ("imitated", "solution_imitated", "It is the critique: refinements are above right solutions, both imitated."),
    ("noise_0.25_unshaped", "noise_0.25", "At noise 0.25, where few hard types are mended, ratios are above shaping."),
    ("noise_0.25_longer", "noise_0.25", "At noise 0.25 twice the attempts help."),
    ("noise_0.5_unshaped", "grpo", "With ratios, a full critique that is wrong with a chance of 0.5 still helps."),
    ("noise_0.5", "noise_0.5_all", "The verifier shields from noise: at noise 0.5 wrong refinements do harm."),
)
"""Arm, rival and the claim that the arm is better."""


def beside(records: Mapping[str, Records]) -> list[Verdict]:
    """All parts for which there are arms."""
    return [
        _plateau(records["table_far"]),
        never(records["table_far"], f"In tables GRPO for {FAR} times the updates never solves hard types."),
        _solved_in_tables(records["table_full"]),
        *(
            _order(records, where, less, more)
            for where in ("", "table_")
            for less, more in pairwise(ORDER)
            if {where + less, where + more} <= set(records)
        ),
        *([_best_rate(records)] if "fast" in records else []),
        *(
            [never(records["bonus"], "Nor does GRPO with an entropy bonus ever solve hard types.")]
            if "bonus" in records
            else []
        ),
        *(
            _noisy(records, where, noise)
            for where in ("", "table_")
            for noise in NOISE
            if f"{where}noise_{noise:g}" in records
        ),
        *(_better(records, *row) for row in COMPARED if {row[0], row[1]} <= set(records)),
        _entropy(records),
        _pass_at_k(records),
    ]


def _plateau(own: Records) -> Verdict:
    interval = mean_interval(own.at(ALL, -1))
    return Verdict(
        f"In tables GRPO ends at the plateau, for {FAR} times the updates.",
        within(interval, 1 - HARD - NEAR, 1 - HARD + NEAR),
        *interval,
        rule=f"success at the end within {NEAR:g} of {1 - HARD:g}: supported inside, refuted outside.",
        sentence=f"Success, all types and hard ones: {told(own)}.",
    )


def never(own: Records, claim: str) -> Verdict:
    """Hard types are as good as never solved at the end."""
    interval = mean_interval(own.at(HARD_TYPES, -1))
    return Verdict(
        claim,
        below(interval, NEVER),
        *interval,
        rule=f"success on hard types at the end: supported below {NEVER:g}, refuted above.",
        sentence=f"Success, all types and hard ones: {told(own)}; at the start {told(own, 0)}.",
    )


def _solved_in_tables(own: Records) -> Verdict:
    interval = mean_interval(own.at(ALL, -1))
    return Verdict(
        "In tables the full critique solves all types.",
        above(interval, SOLVED),
        *interval,
        rule=f"success at the end: supported above {SOLVED:g}, refuted below.",
        sentence=f"Success, all types and hard ones: {told(own)}.",
    )


def _order(records: Mapping[str, Records], where: str, less: str, more: str) -> Verdict:
    interval = mean_interval(difference(records, where + more, where + less))
    return Verdict(
        f"{'Tables' if where else 'Network'}: a critique that is {more} is above one that is {less}.",
        above(interval, 0.0),
        *interval,
        rule="difference of success at the end, paired: supported above 0, refuted below.",
        sentence=f"Success, all types and hard ones: {told(records[where + more])} against "
        f"{told(records[where + less])}.",
    )


def _best_rate(records: Mapping[str, Records]) -> Verdict:
    rates = ("slow", "grpo", "fast")
    best = max(rates, key=lambda arm: mean_of_found(records[arm].at(ALL, -1)))
    interval = mean_interval(difference(records, "full", best))
    return Verdict(
        "The full critique is above GRPO at its best of three learning rates.",
        above(interval, 0.0),
        *interval,
        rule="difference of success at the end to the rate with the best mean, paired: supported above 0, refuted "
        "below. The choice of the best favours GRPO.",
        sentence=f"GRPO at a third, once and three times the rate: "
        f"{', '.join(number(mean_of_found(records[arm].at(ALL, -1)), '.3f') for arm in rates)}; the full critique "
        f"{number(mean_of_found(records['full'].at(ALL, -1)), '.3f')}.",
    )


def _noisy(records: Mapping[str, Records], where: str, noise: float) -> Verdict:
    own = records[f"{where}noise_{noise:g}"]
    interval = mean_interval(difference(records, f"{where}noise_{noise:g}", f"{where}grpo"))
    return Verdict(
        f"{'Tables' if where else 'Network'}: a full critique that is wrong with a chance of {noise:g} still helps.",
        above(interval, 0.0),
        *interval,
        rule="difference of success at the end to GRPO, paired: supported above 0, refuted below.",
        sentence=f"Success, all types and hard ones: {told(own)}; without noise {told(records[where + 'full'])}.",
    )


def _better(records: Mapping[str, Records], own: str, rival: str, claim: str) -> Verdict:
    interval = mean_interval(difference(records, own, rival))
    return Verdict(
        claim,
        above(interval, 0.0),
        *interval,
        rule="difference of success at the end, paired: supported above 0, refuted below.",
        sentence=f"Success, all types and hard ones: {told(records[own])} against {told(records[rival])}; "
        f"on all, mean along training, {number(mean_of_found(on_the_way(records, own, rival, ALL)), '+.3f')}.",
    )


def _entropy(records: Mapping[str, Records]) -> Verdict:
    interval = mean_interval(on_the_way(records, "full", "grpo", ENTROPY))
    ends = (number(mean_of_found(records[arm].at(ENTROPY, -1)), ".3f") for arm in ("full", "grpo"))
    return Verdict(
        "With the full critique entropy is above GRPO's on the way.",
        above(interval, 0.0),
        *interval,
        rule="mean along training of the difference of entropy (nats per token), paired: supported above 0, refuted "
        "below.",
        sentence=f"At the end {' against '.join(ends)}.",
    )


def _pass_at_k(records: Mapping[str, Records]) -> Verdict:
    intervals = {name: mean_interval(difference(records, "full", "grpo", name)) for name in PASS_AT}
    least = min(intervals, key=lambda name: intervals[name].low)
    return Verdict(
        "With the full critique pass@k is above GRPO's at every k.",
        all_of([above(interval, 0.0) for interval in intervals.values()]),
        *intervals[least],
        rule="differences at the end for k = 1, 4, 16, 64 and 256, paired: supported if all are above 0, refuted if "
        "one is below; shown is the one with the lowest bound.",
        sentence=", ".join(
            f"{'pass@1' if name == ALL else name.removesuffix('_test')} {number(interval.estimate, '+.3f')}"
            for name, interval in intervals.items()
        )
        + ".",
    )
