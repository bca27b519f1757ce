"""What ``vector_rewards`` measures: values at the end of a run, and the contrasts of two arms that are judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from toybed.benchmarks import sides
from toybed.benchmarks.vector_rewards_sweep import arm_at
from toybed.stats import mean_interval, mean_of_found
from toybed.study import Records, Verdict, number

Array = NDArray[np.float64]

COUNTS = (1, 3, 6, 12, 24, 48, 96)  # answers
BUDGETS = (8, 32, 128)  # of a search, in answers
STARTS = {"base": "grpo", "base_set": "multi_rlvr"}  # which arm begins with which base
SAME_RUNS = {"parallel_mean": "vpo_parallel_1"}  # of equal components a preference has nothing to choose
NAMES = {
    "base": "base",
    "base_set": "base (sets)",
    "grpo": "GRPO",
    "grpo_mean": "GRPO on the mean",
    "pkpo": "PKPO",
    "pkpo_vector": "PKPO on the mean",
    "pkpo_vector_3": "PKPO on the mean (k = 3)",
    "pkpo_vector_24": "PKPO on the mean (k = 24)",
    "gdpo": "GDPO",
    "vpo_parallel": "VPO in parallel",
    "parallel_mean": "the same credit on the mean",
    "grpo_set": "GRPO on sets",
    "multi_rlvr": "Multi-RLVR",
    "multi_rlvr_sum": "Multi-RLVR (sum)",
    "vpo": "VPO",
}


def last(records: Mapping[str, Records], arm: str, measure: str, common: float = 0.0, *, start: bool = False) -> Array:
    """A measure at the end of each run, ``[n]``; NaN for one that diverged.

    Args:
        records: of all arms.
        arm: its name as in :data:`NAMES`, with ``_fast`` for the faster rate: it is taken as trained for ``common``. A
            base is where an arm began.
        measure: "best@48", "right@48", "spread" or "correlation", on held-out questions; or one of the searches'.
        common: for which the best answers are valued.
        start: where the arm began, instead.
    """
    found = records[_recorded(arm, common)]
    if measure.startswith(("best@", "correlation")):
        measure = f"{measure}_common_{common:g}_test"
    elif measure.startswith(("right@", "spread")):
        measure = f"{measure}_test"
    return found.at(measure, 0 if arm in STARTS or start else -1)


def _recorded(arm: str, common: float) -> str:
    """Whose records hold an arm in the world of that ``common``."""
    name = arm.removesuffix("_fast")
    return (STARTS | SAME_RUNS).get(arm) or arm_at(name, common) + arm.removeprefix(name)


@dataclass(frozen=True)
class ArmPair:
    """Two arms compared, run by run, on one measure.

    Attributes:
        claim: the sentence that can be false.
        first, second: what is judged is the first less the second.
        measure: as :func:`last` has it.
        test: whether the difference is claimed to lie above or below the threshold, or within it on both sides of 0.
        threshold: of the difference.
        common: of the world.
        since: where given, the difference is less that on this measure.
        told: further measures that the sentence gives.
        starts: whether it also gives the measure where the two began.
    """

    claim: str
    first: str
    second: str
    measure: str
    test: sides.Side = "above"
    threshold: float = 0.0
    common: float = 0.0
    since: str | None = None
    told: tuple[str, ...] = ()
    starts: bool = False

    def made(self, records: Mapping[str, Records]) -> bool:
        """Whether both arms were run: at the quick size not all are."""
        return all(_recorded(arm, self.common) in records for arm in (self.first, self.second))

    def difference(self, records: Mapping[str, Records], measure: str) -> Array:
        """First less second on a measure, ``[n]``."""
        first, second = (last(records, arm, measure, self.common) for arm in (self.first, self.second))
        return first - second

    def judge(self, records: Mapping[str, Records]) -> Verdict:
        """The part of the answer."""
        values = self.difference(records, self.measure)
        if self.since is not None:
            values = values - self.difference(records, self.since)
        interval = mean_interval(values)
        return Verdict(
            self.claim,
            sides.outcome(interval, self.test, self.threshold),
            *interval,
            rule=self._rule(),
            sentence=self._told(records),
        )

    def _rule(self) -> str:
        how = sides.rule(self.test, self.threshold)
        what = f"{self.measure} of {name_of(self.first)} less that of {name_of(self.second)}"
        less = f", less the same of {self.since}" if self.since else ""
        where = f", components at common = {self.common:g}" if self.common else ""
        return f"{what}{less}, held-out questions{where}, paired: {how}."

    def _told(self, records: Mapping[str, Records]) -> str:
        measures = dict.fromkeys((self.measure, *((self.since,) if self.since else ()), *self.told))
        pairs = [f"{measure} {self._pair(records, measure)}" for measure in measures]
        began = f"; they began with {self._pair(records, self.measure, start=True)}" if self.starts else ""
        return f"{name_of(self.first)} and {name_of(self.second)} have {', '.join(pairs)}{began}."

    def _pair(self, records: Mapping[str, Records], measure: str, *, start: bool = False) -> str:
        """The means of the two arms."""
        values = (last(records, arm, measure, self.common, start=start) for arm in (self.first, self.second))
        return " and ".join(number(mean_of_found(value), ".3f") for value in values)


def name_of(arm: str) -> str:
    """The arm's name in print."""
    return NAMES[arm.removesuffix("_fast")] + (" at the faster rate" if arm.endswith("_fast") else "")
