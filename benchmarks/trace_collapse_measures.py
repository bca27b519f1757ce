"""What ``trace_collapse`` reads of its records, and how a comparison becomes a part of the answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from toybed.benchmarks import sides
from toybed.stats import mean_interval, mean_of_found
from toybed.study import Records, Verdict, number

Array = NDArray[np.float64]

WRITTEN, VALID, RIGHT = "trace_written", "trace_validity", "trace_right"
GIVEN_CORRECT = "trace_validity_given_correct"
ANSWER, SEPARABLE = "accuracy_trained", "separable_trained"
LIKE_A_RULE = "agreement_first_departure_directed"  # on the questions of SEPARABLE, most of which this rule answers
SILENT, TOLD = "accuracy_silent", "accuracy_told"
MEMORY = {"full": "with memory", "none": "without memory"}
PAYMENTS = {
    "": "",
    "cost": ", writing costs",
    "paid": ", the trace is paid, too",
    "sft": ", SFT goes on",
    "slow": ", slower RL",
    "never": ", base without skips",
    "never_cost": ", base without skips, writing costs",
}


def name_of(arm: str) -> str:
    """An arm's name in print."""
    memory, width, *what = arm.split("_")
    return f"{width} units {MEMORY[memory]}{PAYMENTS['_'.join(what)]}"


@dataclass(frozen=True)
class Value:
    """A number of each run.

    Attributes:
        arm: whose.
        measure: its name in the records.
        of: at the "end" of training, at the "start" (of the base), or the "change" from there.
    """

    arm: str
    measure: str
    of: Literal["end", "start", "change"] = "end"

    def read(self, records: Mapping[str, Records]) -> Array:
        """It, of each run, ``[n]``; NaN for one that diverged."""
        own = records[self.arm]
        end, start = own.at(self.measure, -1), own.at(self.measure, 0)
        return {"end": end, "start": start, "change": end - start}[self.of]

    def __str__(self) -> str:
        which = {"end": "after RL", "start": "of the base", "change": "after RL less that of the base"}[self.of]
        return f"{self.measure} {which} ({name_of(self.arm)})"


@dataclass(frozen=True)
class Difference:
    """A value, or what it has more than another one, held against a threshold.

    Attributes:
        claim: the sentence that can be false.
        first: what is judged.
        second: what is taken off it, run by run, or None.
        test: on which side of the threshold it is claimed to lie, or within it on both sides of 0.
        threshold: of the difference.
        told: further measures that the sentence gives, of the base and after RL.
    """

    claim: str
    first: Value
    second: Value | None = None
    test: sides.Side = "above"
    threshold: float = 0.0
    told: tuple[str, ...] = ()

    @property
    def values(self) -> tuple[Value, ...]:
        """What it compares."""
        return (self.first,) if self.second is None else (self.first, self.second)

    def made(self, records: Mapping[str, Records]) -> bool:
        """Whether its arms were run: at the quick size not all are."""
        return all(value.arm in records for value in self.values)

    def judge(self, records: Mapping[str, Records]) -> Verdict:
        """The part of the answer."""
        interval = mean_interval(self.difference(records))
        return Verdict(
            self.claim,
            sides.outcome(interval, self.test, self.threshold),
            *interval,
            rule=self._rule(),
            sentence=self._told(records),
        )

    def difference(self, records: Mapping[str, Records]) -> Array:
        """First less second, ``[n]``."""
        first = self.first.read(records)
        return first if self.second is None else first - self.second.read(records)

    def _rule(self) -> str:
        how = sides.rule(self.test, self.threshold, f"{self.threshold:g} of 0")
        less = "" if self.second is None else f", less {self.second}"
        return f"{self.first}{less}, paired: {how}."

    def _told(self, records: Mapping[str, Records]) -> str:
        return (
            "; ".join(
                f"{name_of(arm)}: {', '.join(f'{m} {pair(records[arm], m)}' for m in self._measures(arm))}"
                for arm in dict.fromkeys(value.arm for value in self.values)
            )
            + " (of the base, and after RL)."
        )

    def _measures(self, arm: str) -> list[str]:
        own = [value.measure for value in self.values if value.arm == arm]
        return [*dict.fromkeys((*own, *self.told))]


def pair(records: Records, measure: str) -> str:
    """A measure's means over runs at the start and at the end."""
    return " to ".join(number(mean_of_found(records.at(measure, place))) for place in (0, -1))
