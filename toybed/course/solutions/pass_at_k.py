"""Lesson 8: pass@k from samples, and coverage from probabilities."""

from __future__ import annotations

from math import comb

import torch
from torch import Tensor

from toybed.course.exercise import exercise


@exercise(
    inputs=[
        {"n": 4, "c": 1, "k": 2},
        {"n": 10, "c": 3, "k": 1},
        {"n": 8, "c": 6, "k": 4},
        {"n": 16, "c": 0, "k": 8},
    ],
    hint="1 - comb(n - c, k) / comb(n, k). Where fewer than k are wrong, comb is 0 and pass@k is 1.",
    mistakes={
        "That is the obvious estimate, 1 - (1 - c/n)^k. It draws the k with putting back, so that one wrong sample may "
        "be drawn twice: too low on average.": lambda n, c, k: 1 - (1 - c / n) ** k,
        "That is the chance that all k are wrong; pass@k is 1 minus it.": lambda n, c, k: comb(n - c, k) / comb(n, k),
        "That is the chance that all k are *right*. One is enough.": lambda n, c, k: comb(c, k) / comb(n, k),
        "That is pass@1, the share of right ones.": lambda n, c, k: c / n,
        "That adds up the chances of k samples. They overlap, when more than one is right.": lambda n, c, k: k * c / n,
        "That only looks whether one of the n is right: it is pass@n, at every k.": lambda n, c, k: float(c > 0),
        "That is 1 minus the chance that all k are right. All *wrong* is what has to be taken off: C(n - c, k).": (
            lambda n, c, k: 1 - comb(c, k) / comb(n, k)
        ),
    },
)
def estimated_pass_at_k(n: int, c: int, k: int) -> float:
    """Unbiased."""
    return 1 - comb(n - c, k) / comb(n, k)


def _t(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


@exercise(
    inputs=[
        {"solution_probs": _t(0.5, 0.1), "k": 1},
        {"solution_probs": _t(0.3, 0.3, 0.01), "k": 4},
        {"solution_probs": _t(0.9, 0.001, 0.001, 0.0), "k": 16},
    ],
    hint="A solution of probability p is among k samples with chance 1 - (1 - p)^k. Take the mean over solutions.",
    mistakes={
        "That is pass@k: the chance that *some* solution is found. Coverage asks of each solution whether it is.": (
            lambda p, k: 1 - (1 - p.sum()) ** k
        ),
        "That is the expected *number* of solutions found; divide by how many there are.": (
            lambda p, k: (1 - (1 - p) ** k).sum()
        ),
        "That is the chance of each solution; take the mean over them.": lambda p, k: 1 - (1 - p) ** k,
        "That is the share of solutions that are *not* found.": lambda p, k: ((1 - p) ** k).mean(),
        "That adds up chances over the samples, k p: a solution found twice would count twice.": (
            lambda p, k: (k * p).clamp(max=1).mean()
        ),
        "The solutions are weighted by their probability. Coverage counts each once: rare ones are what it is about.": (
            lambda p, k: (p * (1 - (1 - p) ** k)).sum() / p.sum()
        ),
        "p^k is the chance that all k samples are this solution; that none is, is (1 - p)^k.": (
            lambda p, k: (1 - p**k).mean()
        ),
    },
)
def coverage(solution_probs: Tensor, k: int) -> Tensor:
    """Exact."""
    return (1 - (1 - solution_probs) ** k).mean()
