"""Laws between entropy and reward, fitted to the curve of one run.

The law of arXiv 2505.22617 is ``R = -a exp(H) + b``. In the narrow range of H of real runs a straight line fits about
as well, so every fit here comes with its rivals: ``linear`` (``R = -a H + b``) and ``constant`` (``R = b``: no further
change), in sample and extrapolated from an early window, which is where they part.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from toybed.errors import ToybedError, unknown

Array = NDArray[np.float64]

FEATURES: dict[str, Callable[[Array], Array]] = {"exp": np.exp, "linear": lambda entropy: entropy}
LAWS = (*FEATURES, "constant")


@dataclass(frozen=True)
class Law:
    """A fitted law ``R = -a f(H) + b``.

    Attributes:
        form: "exp" (f = exp), "linear" (f = identity) or "constant" (a = 0).
        a: reward paid for each unit of f(H).
        b: the intercept; with "exp" the ceiling at H = 0 is ``b - a``.
        r2: share of the reward's variance explained in the fitted window (NaN where the reward is constant).
        rmse: root mean squared error in the fitted window.
    """

    form: str
    a: float
    b: float
    r2: float
    rmse: float

    def predict(self, entropy: ArrayLike) -> Array:
        """Reward at the given entropies (nats per token)."""
        h = np.asarray(entropy, dtype=float)
        if self.form == "constant":
            return np.full_like(h, self.b)
        result: Array = self.b - self.a * FEATURES[self.form](h)
        return result


def fit(entropy: ArrayLike, reward: ArrayLike, form: str = "exp") -> Law:
    """Least squares fit of one run's curve.

    The constant law predicts no further change: its b is the *last* reward of the window, not the mean.

    Args:
        entropy: nats per token, ``[points]``.
        reward: ``[points]``.
        form: one of :data:`LAWS`.

    Raises:
        ToybedError: the form is unknown, the curves do not match, have fewer than 3 points or a value that is not
            finite.
    """
    h, r = _curves(entropy, reward)
    if form not in LAWS:
        raise unknown("law", form, LAWS)
    if form == "constant":
        a, b = 0.0, float(r[-1])
    else:
        x = FEATURES[form](h)
        spread = float(((x - x.mean()) ** 2).sum())
        a = -float(((x - x.mean()) * (r - r.mean())).sum()) / spread if spread > 0 else 0.0
        b = float(r.mean() + a * x.mean())
    law = Law(form, a, b, np.nan, np.nan)
    error = float(((law.predict(h) - r) ** 2).sum())
    total = float(((r - r.mean()) ** 2).sum())
    return Law(form, a, b, 1 - error / total if total > 0 else np.nan, float(np.sqrt(error / len(r))))


def extrapolation_error(entropy: ArrayLike, reward: ArrayLike, early: int, form: str = "exp") -> float:
    """Fit the first ``early`` points and return the root mean squared error on all later ones.

    Raises:
        ToybedError: as :func:`fit`; or nothing is left to predict.
    """
    h, r = _curves(entropy, reward)
    if not 3 <= early < len(h):
        raise ToybedError(f"early is {early}; allowed: 3 to {len(h) - 1}, of {len(h)} points")
    law = fit(h[:early], r[:early], form)
    return float(np.sqrt(np.mean((law.predict(h[early:]) - r[early:]) ** 2)))


def value_at(target: float, reward: ArrayLike, value: ArrayLike) -> float:
    """``value`` at the first moment that ``reward`` reaches ``target``, linearly between points; NaN if it never does.

    For comparisons at matched reward: two runs that learn at different speeds are otherwise compared at different
    stages of learning.
    """
    r, v = np.asarray(reward, dtype=float), np.asarray(value, dtype=float)
    reached = np.flatnonzero(r >= target)
    if not len(reached):
        return float("nan")
    i = int(reached[0])
    if i == 0:
        return float(v[0])
    share = (target - r[i - 1]) / (r[i] - r[i - 1])
    return float(v[i - 1] + share * (v[i] - v[i - 1]))


def _curves(entropy: ArrayLike, reward: ArrayLike) -> tuple[Array, Array]:
    h, r = np.asarray(entropy, dtype=float), np.asarray(reward, dtype=float)
    if h.shape != r.shape or h.ndim != 1:
        raise ToybedError(f"entropy {h.shape} and reward {r.shape} must be curves of the same length")
    if len(h) < 3:
        raise ToybedError(f"a law needs at least 3 points, got {len(h)}")
    if not (np.isfinite(h).all() and np.isfinite(r).all()):
        raise ToybedError("a curve has a value that is not finite; leave diverged runs out and say so")
    return h, r
