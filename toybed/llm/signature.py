"""What a run did, in numbers without units, so that a language model and a toy can be laid side by side.

Entropies of the two differ in size and in what is averaged, and so do rewards: shares are compared, never levels. The
same code measures both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from toybed import laws
from toybed.llm.frameworks import SEQUENCE, SURPRISAL, UNKNOWN
from toybed.llm.table import Table
from toybed.llm.tabulate import NAMED

Array = NDArray[np.float64]

TRANSIENT = 0.1  # of the points: what "without the transient" leaves out
EARLY = 0.36  # of the points: the window from which the rest is predicted
WINDOW = 0.05  # of the points: what a start, an end and a smoothed point are a mean of
FEWEST, FEWEST_TO_PREDICT = 10, 20  # points for a fit, and for a prediction

STRAIGHT = 0.98
"""R² of exp(H) on H over a run's points above which an exponential is not told from a line: for entropies spread evenly
over a range of d nats the rest is about d²/60, so this is a range of 1.1 nats. In real logs of 0.03 to 0.7 nats the
two fit alike."""

LARGEST, LARGEST_REWARD = 300.0, 1e100
"""Above these, squares of exp(H), or of rewards, come near the end of the floating-point numbers."""

EXPLODED = 3.0
"""Median entropy of the second half over that of the first point, and at least one nat above it: an explosion."""


HASTY = 2.0
"""First entropy over the mean of the first window above which the fall is over before shares begin to count."""


@dataclass(frozen=True)
class Curve:
    """Entropy and reward of one run at the steps that have both, finite, ``[n]`` each."""

    step: Array
    entropy: Array
    reward: Array

    def __len__(self) -> int:
        return len(self.step)

    @property
    def time(self) -> Array:
        """Share of the run, from 0 to 1."""
        length = self.step[-1] - self.step[0]
        return (self.step - self.step[0]) / length if length else np.zeros(len(self.step))

    @property
    def window(self) -> int:
        """Points of a mean."""
        return max(1, round(WINDOW * len(self)))

    def without(self, share: float) -> Curve:
        """The curve without its first points."""
        first = int(np.ceil(share * len(self)))
        return Curve(self.step[first:], self.entropy[first:], self.reward[first:])


def curve(step: NDArray[np.int64], entropy: Array, reward: Array) -> Curve:
    """The points that have both."""
    both = np.isfinite(entropy) & np.isfinite(reward)
    return Curve(step[both].astype(float), entropy[both], reward[both])


@dataclass(frozen=True)
class Signature:
    """A run in shares; NaN where it has none.

    Attributes:
        spent: entropy lost by the end over that at the start.
        gained: reward won over what was to win, where rewards lie between 0 and 1.
        half_spent, half_gained: share of the run after which half of the loss, or gain, is there.
        spent_at_half_gain: share of the lost entropy that is gone when half of the gain is there; above a half, the
            entropy goes first.
        left_at_half_gain: entropy over that at the start, there: what a run pays at matched gain.
        r2: of the exponential law over the whole run, 0 where a constant is better.
    """

    spent: float
    gained: float
    half_spent: float
    half_gained: float
    spent_at_half_gain: float
    left_at_half_gain: float
    r2: float

    def as_dict(self) -> dict[str, float | None]:
        """For JSON, which has no NaN."""
        return {name: value if np.isfinite(value) else None for name, value in asdict(self).items()}


def smoothed(values: Array, window: int) -> Array:
    """Means over a window around each point, narrower at the ends, ``[n]``."""
    ones = np.ones(window)
    total: Array = np.convolve(values, ones)[(window - 1) // 2 :][: len(values)]
    count: Array = np.convolve(np.ones(len(values)), ones)[(window - 1) // 2 :][: len(values)]
    return total / count


def moved(values: Array, window: int) -> bool:
    """Whether start and end differ by more than noise: three standard errors of the difference of their means.

    The noise is that of neighbouring points, so a trend does not count as noise.
    """
    difference = values[-window:].mean() - values[:window].mean()
    noise = np.std(np.diff(values)) / np.sqrt(2)
    return bool(abs(difference) > 3 * noise * np.sqrt(2 / window))


def directions(of: Curve) -> tuple[bool, bool]:
    """Whether entropy falls, and whether reward rises, by more than noise."""
    fall, rise = (x[-of.window :].mean() - x[: of.window].mean() for x in (of.entropy, of.reward))
    return bool(fall < 0 and moved(of.entropy, of.window)), bool(rise > 0 and moved(of.reward, of.window))


def shares(of: Curve) -> tuple[Array, Array]:
    """Share of the entropy's loss and of the reward's gain at each point, smoothed, ``[n]`` each."""
    found = []
    for values in (of.entropy, of.reward):
        smooth = smoothed(values, of.window)
        start, end = values[: of.window].mean(), values[-of.window :].mean()
        found.append((smooth - start) / (end - start) if end != start else np.full(len(of), np.nan))
    return found[0], found[1]


def signature(of: Curve) -> Signature:
    """The signature of a curve of at least 3 points."""
    window = of.window
    (h0, h1), (r0, r1) = ((x[:window].mean(), x[-window:].mean()) for x in (of.entropy, of.reward))
    falls, rises = directions(of)
    nan = float("nan")
    spent, gained = shares(of)
    level = smoothed(of.entropy, window)
    fit = laws.fit(of.entropy, of.reward)
    return Signature(
        spent=float(1 - h1 / h0) if h0 > 0 else nan,
        gained=float((r1 - r0) / (1 - r0)) if of.reward.min() >= 0 and of.reward.max() <= 1 and r0 < 1 else nan,
        half_spent=laws.value_at(0.5, spent, of.time) if falls else nan,
        half_gained=laws.value_at(0.5, gained, of.time) if rises else nan,
        spent_at_half_gain=laws.value_at(0.5, gained, spent) if falls and rises else nan,
        left_at_half_gain=laws.value_at(0.5, gained, level) / float(h0) if rises and h0 > 0 else nan,
        r2=max(fit.r2, 0.0) if np.isfinite(fit.r2) else nan,
    )


@dataclass(frozen=True)
class Fits:
    """The law and its rivals, fitted to a window: form to :class:`~toybed.laws.Law`."""

    points: int
    laws: Mapping[str, laws.Law]


def fits(of: Curve) -> Fits:
    """Every law on a curve."""
    return Fits(len(of), {form: laws.fit(of.entropy, of.reward, form) for form in laws.LAWS})


def prediction_errors(of: Curve) -> dict[str, float]:
    """Error of each law's prediction of the rest from the early window, over the spread of reward in the whole run.

    The rival "constant" says that reward stays at the mean of the window's last points: its very last point alone is
    mostly noise in a log of small batches, and so no rival.
    """
    early = int(EARLY * len(of))
    scale = float(np.ptp(smoothed(of.reward, of.window)))
    errors = {form: laws.extrapolation_error(of.entropy, of.reward, early, form) for form in laws.FEATURES}
    last = of.reward[max(0, early - of.window) : early].mean()
    errors["constant"] = float(np.sqrt(np.mean((of.reward[early:] - last) ** 2)))
    return {form: error / scale if scale > 0 else float("nan") for form, error in errors.items()}


def straightness(of: Curve) -> float:
    """R² of a line through exp(H) against H, over the run's points."""
    return laws.fit(of.entropy, np.exp(of.entropy), "linear").r2


def exploded(entropy: Array) -> bool:
    """Whether entropy ran away: infinite, or far above its start in most of the second half."""
    if np.isinf(entropy).any():
        return True
    found = entropy[np.isfinite(entropy)]
    if len(found) < 4:
        return False
    late = float(np.median(found[len(found) // 2 :]))
    return bool(late > EXPLODED * found[0] and late > found[0] + 1)


def limits(table: Table, of: Curve) -> tuple[bool, tuple[str, ...]]:
    """Whether a law may be fitted to a log, and which statements it cannot support, each with the reason."""
    if "entropy" not in table.sources or "reward" not in table.sources:
        return False, tuple(note for note in table.notes if note.startswith(("no entropy", "no reward")))
    meaning = table.sources["entropy"].meaning
    told = [text for mark, text in _ENTROPIES.items() if meaning.startswith(mark)]
    if exploded(table.entropy):
        top = np.nanmax(table.entropy)
        return False, (f"entropy explodes, to {top:.1f} from {_first(table.entropy):.2f}: no law is fitted", *told)
    if len(of) < FEWEST:
        return False, (f"{len(of)} points with entropy and reward: too few for a fit, which takes {FEWEST}", *told)
    for what, values, largest in (("entropy", of.entropy, LARGEST), ("reward", of.reward, LARGEST_REWARD)):
        if np.abs(values).max() > largest:
            return False, (f"{what} has values above {largest:g}: no law can be fitted to that", *told)
    if np.ptp(of.entropy) == 0 or np.ptp(of.reward) == 0:
        what = "entropy" if np.ptp(of.entropy) == 0 else "reward"
        return False, (f"{what} is the same at all points: no law is fitted", *told)
    return True, (*_limits_of_a_fit(of), *told)


def _limits_of_a_fit(of: Curve) -> list[str]:
    told = []
    falls, rises = directions(of)
    if not falls:
        told.append("entropy does not fall from start to end by more than its noise: nothing is paid with it")
    if not rises:
        told.append("reward does not rise from start to end by more than its noise: nothing is bought")
    start = of.entropy[: of.window].mean()
    if of.entropy[0] > HASTY * start:
        told.append(
            f"entropy falls from {of.entropy[0]:.2f} to a mean of {start:.2f} within the first {of.window} points, "
            "before the start from which shares count"
        )
    if straightness(of) > STRAIGHT:
        told.append(
            f"H spans {np.ptp(of.entropy):.2f} nats, where exp(H) is nearly a line in H (R² {straightness(of):.3f}): "
            "the exponential form cannot be told from a straight one"
        )
    if len(of) < FEWEST_TO_PREDICT:
        told.append(f"{len(of)} points are too few to predict later ones from early ones ({FEWEST_TO_PREDICT})")
    elif (errors := prediction_errors(of))["constant"] <= errors["exp"]:
        told.append(
            f"the law of the first {EARLY:.0%} of the points predicts the rest no better than no change (errors "
            f"{errors['exp']:.2f} and {errors['constant']:.2f} of the reward's spread)"
        )
    whole, late = (laws.fit(x.entropy, x.reward).r2 for x in (of, of.without(TRANSIENT)))
    if late < whole - 0.2:
        told.append(f"much of the fit is the run's first tenth: R² falls from {whole:.2f} to {late:.2f} without it")
    return told


_ENTROPIES = {
    SURPRISAL: "its entropy is an estimate from sampled tokens: do not compare its level with other programs'",
    SEQUENCE: "its entropy is summed over responses, so it also follows their length",
    UNKNOWN: "which entropy it logs is not known: do not compare its level with other programs'",
    NAMED: "which entropy it logs is not known: do not compare its level with other programs'",
}


def _first(values: Array) -> float:
    return float(values[np.isfinite(values)][0])
