"""Lesson 4: PPO's coefficient, and GSPO's ratio."""

from __future__ import annotations

import torch
from torch import Tensor

from toybed.course.exercise import exercise

_RATIO = torch.tensor([0.5, 0.9, 1.0, 1.1, 1.24, 2.0], dtype=torch.float64)
_ONE = torch.ones_like(_RATIO)


def _ppo(ratio: Tensor, a: Tensor, low: float, high: float) -> Tensor:
    return torch.where(torch.where(a >= 0, ratio <= 1 + high, ratio >= 1 - low), ratio, 0.0)


@exercise(
    inputs=[
        {"ratio": _RATIO, "advantage": _ONE, "low": 0.2, "high": 0.2},
        {"ratio": _RATIO, "advantage": -_ONE, "low": 0.2, "high": 0.2},
        {"ratio": _RATIO, "advantage": _ONE * torch.tensor([2, -1, 0.5, -3, 1, -0.5]), "low": 0.2, "high": 0.28},
    ],
    hint="With A > 0 the minimum is the clipped one where rho > 1 + high; with A < 0 where rho < 1 - low. There c is "
    "0, elsewhere it is rho. `torch.where` chooses elementwise.",
    mistakes={
        "Both bounds act on every token. A token with A > 0 whose ratio fell below 1 - low moved the *wrong* way: the "
        "minimum there is rho A, and it keeps its gradient. So the sign of A decides which bound counts.": (
            lambda r, a, low, high: torch.where((r <= 1 + high) & (r >= 1 - low), r, 0.0)
        ),
        "The bounds are exchanged: with A > 0 it is the upper one that stops the gradient, with A < 0 the lower one. "
        "You silence tokens that moved the wrong way.": (
            lambda r, a, low, high: torch.where(torch.where(a < 0, r <= 1 + high, r >= 1 - low), r, 0.0)
        ),
        "The ratio is clipped, and the clipped ratio still carries a gradient: that is CISPO. In PPO a clipped token "
        "has none.": lambda r, a, low, high: r.clamp(1 - low, 1 + high),
        "Nothing is clipped: that is the importance-weighted policy gradient.": lambda r, a, low, high: r,
        "Where nothing is clipped c is the ratio, not 1: the gradient of rho is rho grad log pi.": (
            lambda r, a, low, high: (_ppo(r, a, low, high) > 0).double()
        ),
        "The advantage is multiplied in. The gradient is -c A grad log pi: c is what stands beside A.": (
            lambda r, a, low, high: _ppo(r, a, low, high) * a
        ),
        "The bounds are taken as they are. They are distances from 1: the clip is from 1 - low to 1 + high.": (
            lambda r, a, low, high: torch.where(torch.where(a >= 0, r <= high, r >= low), r, 0.0)
        ),
    },
)
def clipped_coefficient(ratio: Tensor, advantage: Tensor, low: float, high: float) -> Tensor:
    """PPO's coefficient."""
    inside = torch.where(advantage >= 0, ratio <= 1 + high, ratio >= 1 - low)
    return torch.where(inside, ratio, 0.0)


def _input(rows: list[list[float]], width: int, garbage: float) -> dict[str, Tensor]:
    lengths = torch.tensor([len(row) for row in rows])
    filled = [[*row, *[garbage] * (width - len(row))] for row in rows]
    return {"log_ratio": torch.tensor(filled, dtype=torch.float64), "mask": torch.arange(width) < lengths[:, None]}


def _sum(log_ratio: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask, log_ratio, 0.0).sum(-1)


@exercise(
    inputs=[
        _input([[0.2, -0.4], [0.1, 0.3]], 2, 0.0),
        _input([[0.5], [0.1, -0.2, 0.4]], 3, 0.0),
        _input([[0.5, 0.1], [-0.3]], 4, 7.0),
    ],
    hint="The sum of the log-ratios of a response's tokens over their number, `mask.sum(-1)`, and then exp.",
    mistakes={
        "That is the ratio of the whole response's probabilities, exp of the *sum*. Its spread grows with the length; "
        "GSPO takes the mean, which is why its clip is hundreds of times narrower than PPO's.": (
            lambda x, mask: _sum(x, mask).exp()
        ),
        "That is the mean of the ratios. GSPO's is the geometric mean: exp of the mean of the logarithms.": (
            lambda x, mask: torch.where(mask, x.exp(), 0.0).sum(-1) / mask.sum(-1)
        ),
        "The padding is counted as tokens: divide by mask.sum(-1), not by T.": lambda x, mask: (
            _sum(x, mask) / x.shape[-1]
        ).exp(),
        "What stands in the padding is read: select with the mask before adding up.": lambda x, mask: x.mean(-1).exp(),
        "That is the logarithm of it: take exp of the mean.": lambda x, mask: _sum(x, mask) / mask.sum(-1),
        "All responses have one ratio: take the mean over the tokens of each response, the last axis.": (
            lambda x, mask: (_sum(x, mask).sum() / mask.sum()).exp().expand(len(x))
        ),
    },
)
def sequence_ratio(log_ratio: Tensor, mask: Tensor) -> Tensor:
    """GSPO's ratio."""
    mean = torch.where(mask, log_ratio, 0.0).sum(-1) / mask.sum(-1)
    return mean.exp()
