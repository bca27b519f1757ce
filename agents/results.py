"""What a training run leaves behind; read without torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toybed.errors import ToybedError, unknown


@dataclass(frozen=True)
class Curve:
    """A measure along one run: ``steps`` (updates done) and ``values``, both ``[points]``."""

    steps: NDArray[np.int64]
    values: NDArray[np.float64]


@dataclass(frozen=True)
class RunResult:
    """One run.

    Attributes:
        curves: measure name to curve; values after a divergence are NaN.
        diverged_at: the update in which a loss, a gradient or the policy was not finite, or None.
        cause: which of these it was, in words; or None.
        parameters: of the policy at the end, ``[D]``, as :func:`~toybed.agents.policies.load_flat` takes them; None
            where it was not kept.
    """

    curves: dict[str, Curve]
    diverged_at: int | None
    cause: str | None = None
    parameters: NDArray[np.float32] | None = None


class Results(list[RunResult]):
    """Runs, as a list, and their curves as arrays or as a data frame.

    Args:
        runs: the runs.
        about: what is said of each run in a data frame, by column: its seed, its objective, its world.
    """

    def __init__(self, runs: Iterable[RunResult], about: Sequence[Mapping[str, Any]] | None = None) -> None:
        super().__init__(runs)
        self.about = [{"run": number} for number in range(len(self))] if about is None else [dict(a) for a in about]

    @property
    def names(self) -> tuple[str, ...]:
        """The measures that any of the runs has."""
        return tuple(sorted({name for run in self for name in run.curves}))

    def array(self, name: str) -> NDArray[np.float64]:
        """A measure of all runs, ``[n, points]``; NaN from where a run diverged.

        Raises:
            ToybedError: a run lacks the measure, or the runs were measured at different updates.
        """
        self.steps(name)
        return np.stack([run.curves[name].values for run in self])

    def steps(self, name: str) -> NDArray[np.int64]:
        """The updates at which a measure was taken, ``[points]``.

        Raises:
            ToybedError: as :meth:`array`.
        """
        if not self:
            raise ToybedError(f"there is no run to take {name!r} from")
        if any(name not in run.curves for run in self):
            raise unknown("measure", name, set.intersection(*(set(run.curves) for run in self)))
        first = self[0].curves[name].steps
        if any(not np.array_equal(first, run.curves[name].steps) for run in self):
            raise ToybedError(f"{name} was measured at different updates; choose runs of one setting, or use frame()")
        return first

    def frame(self) -> Any:
        """A pandas data frame: a row for each run and update, a column for each measure; NaN where not measured.

        Raises:
            ToybedError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise ToybedError("a data frame needs pandas: pip install pandas") from error
        parts = []
        for run, about in zip(self, self.about, strict=True):
            measures = {name: pandas.Series(c.values, index=c.steps) for name, c in sorted(run.curves.items())}
            table = pandas.DataFrame(measures).rename_axis("update").reset_index()
            for place, (column, value) in enumerate(about.items()):
                table.insert(place, column, [value] * len(table))
            parts.append(table)
        return pandas.concat(parts, ignore_index=True) if parts else pandas.DataFrame()
