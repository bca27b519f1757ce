"""Which known objective is it?"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from toybed.testing.cases import ADVANTAGE, Case, random_case, subject_of

CREDIT = {"advantage", "shape_reward", "sampling", "keep_group", "controller"}
"""Stages that a plain function has no part in: rows that differ in these alone are not compared with one."""

READABLE = {"": ("",), "vector": ("vector", "set"), "set": ("set",)}
"""Of what :attr:`~toybed.testing.cases.Subject.vectors` says: rows that are made for such rewards, or can read them."""


@dataclass(frozen=True)
class Likeness:
    """How near a subject is to a row of the catalogue.

    Attributes:
        name: the row.
        distance: norm of the difference of gradients over the row's own, after the best common scale; 0 is equal.
        scale: that scale: the subject's gradient is ``scale`` times the row's.
        difference: the token on which they differ most, in words.
    """

    name: str
    distance: float
    scale: float
    difference: str


def likenesses(thing: Any, count: int = 12) -> list[Likeness]:
    """Every row of the catalogue that can be compared, the nearest first.

    Gradients are compared on ``count`` stale batches, the same every time. A plain function is given the advantage of
    :data:`ADVANTAGE`, and so are the rows it is compared with. An objective for vector rewards is compared with those
    rows that can read them, one for numbers with those that are made for numbers.
    """
    from toybed.objectives import catalogue

    subject = subject_of(thing)
    batches = [random_case(seed, subject.vectors) for seed in range(count)]
    mine = [subject.gradient(case) for case in batches]
    result = []
    for name in catalogue.names():
        known = catalogue.get(name)
        if subject.objective is not None and known.takes_vectors not in READABLE[subject.vectors]:
            continue
        if subject.objective is None and set(catalogue.row(name).changed()) <= CREDIT:
            continue  # with another's advantage it would only be its parent again
        rival = subject_of(replace(known, advantage=ADVANTAGE) if subject.objective is None else known)
        theirs = [rival.gradient(case) for case in batches]
        if any(bool((gradient != 0).any()) for gradient in theirs):
            result.append(_likeness(name, mine, theirs, batches))
    return sorted(result, key=lambda likeness: likeness.distance)


def _likeness(name: str, mine: list[Tensor], theirs: list[Tensor], batches: list[Case]) -> Likeness:
    a, b = (torch.cat([g.flatten() for g in each]) for each in (mine, theirs))
    scale = float((a @ b) / (b @ b).clamp(min=1e-300))
    gap = [(g - scale * h).abs() for g, h in zip(mine, theirs, strict=True)]
    distance = float(torch.cat([g.flatten() for g in gap]).norm() / (abs(scale) * b.norm()).clamp(min=1e-300))
    worst = max(range(len(gap)), key=lambda i: float(gap[i].max()))
    case, place = batches[worst], int(gap[worst].argmax())
    ratio = float((case.log_prob - case.batch.log_prob_old).exp().flatten()[place])
    advantage = ""
    if case.batch.reward.ndim == 2:  # of a vector there is no plain one
        advantage = f" and advantage {float(ADVANTAGE(case.batch).expand_as(case.log_prob).flatten()[place]):+.2f}"
    own, known = (float(each[worst].flatten()[place]) for each in (mine, theirs))
    words = f"a token with ratio {ratio:.2f}{advantage}: gradient {own:+.4f}, {name} has {scale * known:+.4f}"
    return Likeness(name, distance, scale, words)
