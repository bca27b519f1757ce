"""What the question ``entropy_mechanism`` looks at: exact walks in a table, and measures of a run."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from toybed.study import Records

SMALL_STEP = 0.1  # of the exact walks; advantages are below 1, so a logit moves by less than this
WALK = 300  # steps of an exact walk
MEMORY = 0.9  # Adam's first beta: how much of the average of gradients stays at each step

Curve = NDArray[np.float64]


class Walk(NamedTuple):
    """Exact gradient steps: the change of entropy at each, seen and as the two forms of the covariance predict it.

    ``vanilla`` is ``-eta Cov(log p, p A)``, ``natural`` is ``-eta Cov(log p, A)``; all ``[steps]``.
    """

    seen: Curve
    vanilla: Curve
    natural: Curve


@cache
def exact_walk(rank: int, natural: bool) -> Walk:
    """Walk from the Zipf base of a bandit whose first right answer has this rank, by either gradient."""
    from toybed.envs.answer_bandit import AnswerBandit

    env = AnswerBandit(prompt_count=1, rank=rank)
    logits, reward = env.demonstrator()[0].double().numpy(), env.rewards()[0].double().numpy()
    entropies, vanilla, plain = [], [], []
    for _ in range(WALK + 1):
        logits = logits - np.logaddexp.reduce(logits)
        p = np.exp(logits)
        advantage = reward - p @ reward
        entropies.append(-p @ logits)
        vanilla.append(-SMALL_STEP * _covariance(p, logits, p * advantage))
        plain.append(-SMALL_STEP * _covariance(p, logits, advantage))
        logits = logits + SMALL_STEP * (advantage if natural else p * advantage)
    return Walk(np.diff(entropies), np.array(vanilla[:-1]), np.array(plain[:-1]))


def _covariance(p: Curve, x: Curve, y: Curve) -> float:
    return float(p @ (x * y) - (p @ x) * (p @ y))


def correlation(x: Curve, y: Curve) -> float:
    """Pearson's, NaN where one of the two does not move."""
    x, y = x - x.mean(), y - y.mean()
    size = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / size if size > 0 else float("nan")


def remembered(values: Curve, memory: float) -> Curve:
    """The average that an optimiser has of what it saw: ``m_t = memory m_{t-1} + (1 - memory) x_t``, unbiased."""
    average, result = 0.0, np.empty_like(values)
    for t, value in enumerate(values):
        average = memory * average + (1 - memory) * value
        result[t] = average / (1 - memory ** (t + 1))
    return result


def without_trend(values: Curve) -> Curve:
    """What a cubic in the update's number leaves."""
    time = np.linspace(-1, 1, len(values))
    return values - np.polynomial.Polynomial.fit(time, values, 3)(time)


def correlations(records: Records, *, steps: int | None = None, trend: bool = True) -> Curve:
    """Correlation over updates of minus the covariance with the entropy change, ``[n]``; NaN for a run that diverged.

    Args:
        records: of one arm.
        steps: optimiser steps on a batch: average the covariance as Adam averages gradients; None leaves it as it is.
        trend: False looks at what :func:`without_trend` leaves of both.
    """

    def measure(cov: Curve, change: Curve) -> float:
        driver = -cov if steps is None else -remembered(cov, MEMORY**steps)
        return correlation(driver, change) if trend else correlation(without_trend(driver), without_trend(change))

    return records.per_run(measure, records["sampled_covariance"], changes(records))


def positive_share(records: Records) -> Curve:
    """Share of the updates whose batch has a positive covariance, ``[n]``; NaN for a run that diverged."""
    return records.per_run(lambda cov: float((cov > 0).mean()), records["sampled_covariance"])


def changes(records: Records) -> Curve:
    """The change of entropy at each update, ``[n, updates]``."""
    return np.diff(records["entropy_train"], axis=1)
