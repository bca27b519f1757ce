"""What a training run leaves behind; read without torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


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
