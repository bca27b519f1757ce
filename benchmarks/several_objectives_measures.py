"""What ``several_objectives`` compares: two arms of one world, run by run, at the same success or at the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from toybed import laws
from toybed.benchmarks import sides
from toybed.benchmarks.several_objectives_sweep import NAMES, TITLES
from toybed.stats import Array, mean_interval, mean_of_found
from toybed.study import Records, Verdict, number

MATCHED = 0.5  # of the reference's gain in held-out success: where policies are compared at the same success
ENTROPY, SUCCESS, MANY, COVERAGE = "entropy_test", "reward_test", "pass@64_test", "coverage@256_test"
WORDS = {
    ENTROPY: "entropy (nats per token)",
    SUCCESS: "success",
    MANY: "pass@64",
    "steps_right_test": "right steps",
    COVERAGE: "coverage@256",
}


def value(records: Mapping[str, Records], world: str, credit: str, measure: str, reference: str | None) -> Array:
    """A measure of an arm's runs, ``[n]``; NaN for one that diverged or never gets there.

    Args:
        records: of all arms.
        world, credit: the arm.
        measure: on held-out prompts.
        reference: the arm of the same world of whose gain in success each run has half when it is measured, at the
            first moment; None measures the end.
    """
    found = records[f"{world}/{credit}"]
    if reference is None:
        return found.at(measure, -1)
    first, last = (records[f"{world}/{reference}"].at(SUCCESS, place) for place in (0, -1))
    level = np.where(last > first, first + MATCHED * (last - first), np.nan)
    rows = zip(found.sound & np.isfinite(level), level, found[SUCCESS], found[measure], strict=True)
    return np.array([laws.value_at(target, r, v) if sound else np.nan for sound, target, r, v in rows])


@dataclass(frozen=True)
class WorldPair:
    """Two arms of a world compared on one measure.

    Attributes:
        claim: the sentence that can be false; the world is put before it.
        world: of both arms.
        own, rival: what is judged is the first less the second, paired.
        measure: on held-out prompts.
        reference: whose half gain in success says when the measure is taken; None is the end.
        test: whether the difference is claimed above or below the threshold, or within it on both sides of 0.
        threshold: of the difference.
    """

    claim: str
    world: str
    own: str
    rival: str
    measure: str = ENTROPY
    reference: str | None = "outcome"
    test: sides.Side = "above"
    threshold: float = 0.0

    def made(self, records: Mapping[str, Records]) -> bool:
        """Whether the arms were run: at the quick size not all are."""
        return all(f"{self.world}/{c}" in records for c in (self.own, self.rival, self.reference or self.own))

    def values(self, records: Mapping[str, Records], credit: str, measure: str | None = None) -> Array:
        """The measure (or another one, at the same moment) of one of the arms, ``[n]``."""
        return value(records, self.world, credit, measure or self.measure, self.reference)

    def judge(self, records: Mapping[str, Records]) -> Verdict:
        """The part of the answer."""
        interval = mean_interval(self.values(records, self.own) - self.values(records, self.rival))
        return Verdict(
            f"{TITLES[self.world]}: {self.claim}",
            sides.outcome(interval, self.test, self.threshold),
            *interval,
            rule=self._rule(),
            sentence=self._told(records),
        )

    def _rule(self) -> str:
        how = sides.rule(self.test, self.threshold)
        when = (
            f"where each has {MATCHED:g} of the gain in success of '{NAMES[self.reference]}'" if self.reference else ""
        )
        return (
            f"held-out {WORDS[self.measure]} of '{NAMES[self.own]}' less that of '{NAMES[self.rival]}' "
            f"{when or 'at the end'}, paired: {how}."
        )

    def _told(self, records: Mapping[str, Records]) -> str:
        def pair(measure: str, reference: str | None) -> str:
            values = (value(records, self.world, c, measure, reference) for c in (self.own, self.rival))
            return " against ".join(number(mean_of_found(v), ".3f") for v in values)

        moment = f"At that success {WORDS[self.measure]} is {pair(self.measure, self.reference)}"
        many = f", pass@64 {pair(MANY, self.reference)}" if self.measure != MANY else ""
        own = (
            "" if self.measure in (SUCCESS, MANY, ENTROPY) else f"{WORDS[self.measure]} is {pair(self.measure, None)}, "
        )
        there = moment + many + "; at the end " if self.reference else f"At the end {own}"
        return f"{there}success is {pair(SUCCESS, None)}, pass@64 {pair(MANY, None)}, entropy {pair(ENTROPY, None)}."


def bits(records: Mapping[str, Records], world: str, signal: str) -> Array:
    """Bits of a response's reward under the base, ``[n]``: "outcome", "process", "shuffled" or "told"."""
    return records[f"{world}/outcome"].at(f"bits_{signal}_train", 0)
