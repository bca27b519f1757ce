"""A log beside the toys: the law's fits, the signature, what cannot be said, and the nearest toy runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from toybed.llm.nearest import Toy, nearest
from toybed.llm.signature import (
    FEWEST,
    FEWEST_TO_PREDICT,
    TRANSIENT,
    Curve,
    Fits,
    Signature,
    curve,
    fits,
    limits,
    prediction_errors,
    signature,
)
from toybed.llm.table import Table


@dataclass(frozen=True, eq=False)
class Overlay:
    """What is known about one log.

    Attributes:
        name: of the log, short.
        table: what was read.
        curve: its points with entropy and reward.
        limits: statements that it cannot support, with the reason.
        whole, late: the laws over the whole run, and without its first tenth; None where no law may be fitted.
        errors: of each law's prediction from the early window, over the spread of reward; empty where there are too few
            points.
        signature: None where no law may be fitted.
        near: the nearest toys, with their distance.
    """

    name: str
    table: Table
    curve: Curve
    limits: tuple[str, ...]
    whole: Fits | None = None
    late: Fits | None = None
    errors: Mapping[str, float] | None = None
    signature: Signature | None = None
    near: Sequence[tuple[float, Toy]] = ()

    def as_dict(self) -> dict[str, Any]:
        """For JSON, which has no NaN."""
        table = self.table
        return {
            "name": self.name,
            "files": list(table.files),
            "run": table.run,
            "framework": table.framework,
            "formats": list(table.containers),
            "columns": {name: asdict(source) for name, source in table.sources.items()},
            "steps": [int(table.step[0]), int(table.step[-1])] if len(table) else [],
            "points": len(self.curve),
            "entries": {"read": table.rows, "dropped": table.dropped, "other": table.other},
            "notes": list(table.notes),
            "cannot support": list(self.limits),
            "laws": {name: _laws(of) for name, of in (("whole", self.whole), ("without the first tenth", self.late))},
            "prediction errors": None if self.errors is None else {k: _known(v) for k, v in self.errors.items()},
            "signature": None if self.signature is None else self.signature.as_dict(),
            "nearest": [
                {
                    "toy": toy.label,
                    "distance": far,
                    "runs": len(toy.curves),
                    "scatter": _known(toy.scatter),
                    "signature": toy.signature.as_dict(),
                }
                for far, toy in self.near
            ],
        }


def _known(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _laws(of: Fits | None) -> dict[str, dict[str, float | None]] | None:
    if of is None:
        return None
    numbers = ("a", "b", "r2", "rmse")
    return {form: {name: _known(getattr(law, name)) for name in numbers} for form, law in of.laws.items()}


def overlay(table: Table, toys: list[Toy]) -> Overlay:
    """Everything about one log."""
    found = curve(table.step, table.entropy, table.reward)
    can, told = limits(table, found)
    name = table.run or Path(table.files[0]).name
    if not can:
        return Overlay(name, table, found, told)
    late = found.without(TRANSIENT)
    shown = signature(found)
    return Overlay(
        name,
        table,
        found,
        told,
        whole=fits(found),
        late=fits(late) if len(late) >= FEWEST else None,
        errors=prediction_errors(found) if len(found) >= FEWEST_TO_PREDICT else None,
        signature=shown,
        near=nearest(shown, toys),
    )
