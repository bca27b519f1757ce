"""Lesson 6: a divergence and its estimate k3."""

from __future__ import annotations

import torch
from torch import Tensor

from toybed.course.exercise import exercise


def _t(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _kl(p: Tensor, q: Tensor) -> Tensor:
    return (p * (p.log() - q.log())).sum()


@exercise(
    inputs=[
        {"p": _t(0.5, 0.5), "q": _t(0.9, 0.1)},
        {"p": _t(0.7, 0.2, 0.1), "q": _t(0.2, 0.3, 0.5)},
        {"p": _t(0.25, 0.75), "q": _t(0.25, 0.75)},
    ],
    hint="sum_a p_a (log p_a - log q_a): it is 0 where p and q are equal and positive elsewhere.",
    mistakes={
        "That is KL(q || p), the other direction. The weights are those of the first: p.": lambda p, q: _kl(q, p),
        "The sign is turned round: a divergence is never negative.": lambda p, q: -_kl(p, q),
        "That is the cross-entropy -sum p log q: subtract the entropy of p.": lambda p, q: -(p * q.log()).sum(),
        "Every token is counted once; weigh by p.": lambda p, q: (p.log() - q.log()).sum(),
        "That is the mean over tokens. The weights p add up to 1 already: take the sum.": lambda p, q: (
            _kl(p, q) / len(p)
        ),
        "That is in bits: use the natural logarithm.": lambda p, q: _kl(p, q) / _t(2.0).log()[0],
        "That is the sum of both directions, a symmetric divergence.": lambda p, q: _kl(p, q) + _kl(q, p),
    },
)
def kl(p: Tensor, q: Tensor) -> Tensor:
    """Of p from q."""
    return (p * (p.log() - q.log())).sum()


@exercise(
    inputs=[
        {"log_prob": _t(-1.0, -0.5, -2.0), "log_prob_ref": _t(-1.0, -1.0, -1.0)},
        {"log_prob": _t(-0.1, -3.0), "log_prob_ref": _t(-2.0, -0.5)},
    ],
    hint="d = log_prob - log_prob_ref, and exp(-d) - 1 + d: 0 where both agree, positive elsewhere.",
    mistakes={
        "d stands the other way round: d = log p - log q, of the policy that sampled less the reference. Yours is k3 "
        "of the wrong ratio: on average it is not KL(p || q).": lambda x, ref: torch.expm1(x - ref) - (x - ref),
        "Only the sign in the exponent is wrong: exp(-d).": lambda x, ref: torch.expm1(x - ref) + (x - ref),
        "The -1 is missing: where both agree the estimate has to be 0.": lambda x, ref: (ref - x).exp() + (x - ref),
        "That is k1, the plain difference.": lambda x, ref: x - ref,
        "That is k2, half the square.": lambda x, ref: (x - ref) ** 2 / 2,
        "The `+ d` is missing: exp(-d) - 1 has mean 0, whatever the divergence.": lambda x, ref: torch.expm1(ref - x),
        "That is the mean; asked for is the estimate of each token.": (
            lambda x, ref: (torch.expm1(ref - x) + (x - ref)).mean()
        ),
    },
)
def k3(log_prob: Tensor, log_prob_ref: Tensor) -> Tensor:
    """Unbiased, and never negative."""
    d = log_prob - log_prob_ref
    return torch.exp(-d) - 1 + d
