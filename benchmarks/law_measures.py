"""What the questions about the entropy law measure of runs: fits, their errors, and distances from GRPO's curve."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from toybed import laws
from toybed.stats import Interval, mean_of_found
from toybed.study import MIN_RUNS, Records

EARLY = 0.15  # of the updates: the window from which the law must predict the rest

Curve = NDArray[np.float64]
Values = NDArray[np.float64]  # one for each run, [n]; NaN where it diverged
PerRun = Callable[[Curve, Curve, int], float]
"""A measure of one run, from its entropy and reward at each measured update and the number of early points."""

CONSTANTS: dict[str, PerRun] = {
    "a": lambda h, r, _: laws.fit(h, r).a,
    "b": lambda h, r, _: laws.fit(h, r).b,
    "ceiling": lambda h, r, _: laws.fit(h, r).b - laws.fit(h, r).a,
}


def r2(form: str) -> PerRun:
    """R² of the fit over the whole run."""
    return lambda h, r, _: laws.fit(h, r, form).r2


def error(form: str) -> PerRun:
    """Error of the prediction from the early window."""
    return lambda h, r, early: laws.extrapolation_error(h, r, early, form)


def chord_error(h: Curve, r: Curve, early: int) -> float:
    """Error on the same later points of the law through the base's point and certain success at no entropy."""
    a = (1 - r[0]) / (np.exp(h[0]) - 1)
    return float(np.sqrt(np.mean((1 + a - a * np.exp(h[early:]) - r[early:]) ** 2)))


def per_run(records: Records, measure: PerRun, reward: str = "reward_test") -> Values:
    """The measure of each run, of its entropy on train prompts and the named reward."""
    steps = records.steps[reward]
    early = int((steps <= EARLY * steps[-1]).sum())
    return records.per_run(lambda h, r: measure(h, r, early), records["entropy_train"], records[reward])


def ratio(records: Mapping[str, Records], arm: str) -> Values:
    """a over that of GRPO's run of the same seed."""
    return per_run(records[arm], CONSTANTS["a"]) / per_run(records["grpo"], CONSTANTS["a"])


def departure(records: Mapping[str, Records], arm: str) -> Values:
    """Root mean square distance of the run's rewards from the law of GRPO's run of the same seed."""

    def rms(h: Curve, r: Curve, h0: Curve, r0: Curve) -> float:
        return float(np.sqrt(np.mean((r - laws.fit(h0, r0).predict(h)) ** 2)))

    return _paired(records, arm, rms)


def surplus(records: Mapping[str, Records], arm: str, at: int = -1) -> Values:
    """Reward at the end (``at=0``: at the start), less what the law of GRPO's run says at that entropy."""
    return _paired(records, arm, lambda h, r, h0, r0: float(r[at] - laws.fit(h0, r0).predict(h[at])))


def ratio_in_common(records: Mapping[str, Records], arm: str) -> Values:
    """:func:`ratio`, both fitted over the entropies that both runs passed; NaN where there are none."""

    def fitted(h: Curve, r: Curve, h0: Curve, r0: Curve) -> float:
        low, high = max(h.min(), h0.min()), min(h.max(), h0.max())
        return a_between(h, r, low, high) / a_between(h0, r0, low, high)

    return _paired(records, arm, fitted)


def a_between(h: Curve, r: Curve, low: float, high: float) -> float:
    """a of the law fitted to the rewards at 20 even entropies from low to high, interpolated; NaN if low >= high.

    A curve that is not quite the law's gives an a that depends on the entropies over which it is fitted.
    """
    if not low < high:
        return float("nan")
    grid, order = np.linspace(low, high, 20), np.argsort(h)
    return laws.fit(grid, np.interp(grid, h[order], r[order])).a


def _paired(records: Mapping[str, Records], arm: str, measure: Callable[[Curve, Curve, Curve, Curve], float]) -> Values:
    """A measure of a run's H and R and those of GRPO's run of its seed; NaN where one of them diverged."""
    one, grpo = records[arm], records["grpo"]
    curves = [r[name] for r in (one, grpo) for name in ("entropy_train", "reward_test")]
    sound = one.sound & grpo.sound
    return np.array([measure(*rows) if ok else np.nan for ok, *rows in zip(sound, *curves, strict=True)])


def over_arms(values: Iterable[Values]) -> Values:
    """The mean over arms for each seed, over those that did not diverge."""
    return np.array([mean_of_found(column) for column in np.stack(list(values)).T])


def variation(values: Values) -> Interval:
    """Standard deviation over mean, with the 95 % interval that a normal sample's variance has."""
    from scipy.special import chdtri  # slow to import, and the command line imports this module to list questions

    found = values[np.isfinite(values)]
    n = len(found)
    if n < MIN_RUNS:
        return Interval(np.nan, np.nan, np.nan, n)
    share = float(found.std(ddof=1) / abs(found.mean()))
    # chdtri(n - 1, p) is exceeded with probability p.
    low, high = (share * float((n - 1) / chdtri(n - 1, p)) ** 0.5 for p in (0.025, 0.975))
    return Interval(share, low, high, n)
