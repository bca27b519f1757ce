"""Lesson 5: the covariance of log-probability and advantage."""

from __future__ import annotations

import torch
from torch import Tensor

from toybed.course.exercise import exercise


def _t(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _cov(p: Tensor, f: Tensor, g: Tensor) -> Tensor:
    return (p * (f - (p * f).sum()) * (g - (p * g).sum())).sum()


@exercise(
    inputs=[
        {"p": _t(0.5, 0.3, 0.2), "advantage": _t(0.5, -0.5, -0.5), "rate": 0.1},
        {"p": _t(0.1, 0.6, 0.3), "advantage": _t(2.0, 0.5, 1.0), "rate": 0.01},
        {"p": _t(0.7, 0.1, 0.1, 0.1), "advantage": _t(-1.0, 1.0, 0.0, 3.0), "rate": 1.0},
    ],
    hint="E f is (p * f).sum(). Centre log p and A by their own E, multiply, take E again; then -rate times that.",
    mistakes={
        "The sign is turned round: what is likely and good *costs* entropy.": (
            lambda p, a, rate: rate * _cov(p, p.log(), a)
        ),
        "The covariance counts every answer once. Its expectations are over a ~ p: weigh by p.": (
            lambda p, a, rate: -rate * ((p.log() - p.log().mean()) * (a - a.mean())).mean()
        ),
        "That is the law of the plain gradient, whose second factor is p A. The natural gradient moves logits by A.": (
            lambda p, a, rate: -rate * _cov(p, p.log(), p * a)
        ),
        "Nothing is centred: E[log p A] is a covariance only where A has mean 0 under p, and here it has not.": (
            lambda p, a, rate: -rate * (p * p.log() * a).sum()
        ),
        "The rate is missing.": lambda p, a, rate: -_cov(p, p.log(), a),
        "That takes p in the place of its logarithm.": lambda p, a, rate: -rate * _cov(p, p, a),
        "That centres by plain means. Centre by the means under p: E f is (p * f).sum().": (
            lambda p, a, rate: -rate * (p * (p.log() - p.log().mean()) * (a - a.mean())).sum()
        ),
    },
)
def entropy_change(p: Tensor, advantage: Tensor, rate: float) -> Tensor:
    """The law of the natural gradient."""
    log_p = p.log()
    centred = (log_p - (p * log_p).sum()) * (advantage - (p * advantage).sum())
    return -rate * (p * centred).sum()


@exercise(
    inputs=[
        {"log_prob": _t(-0.1, -0.2, -3.0, -1.0), "advantage": _t(1.0, -1.0, 0.5, -0.5)},
        {"log_prob": _t(-2.0, -0.5, -0.1), "advantage": _t(1.0, 1.0, -0.5)},
    ],
    hint="Subtract from log_prob its mean, from advantage its mean, and multiply token by token.",
    mistakes={
        "Nothing is centred: a token with log p = -0.1 and A = 1 would then have a *negative* share.": (
            lambda log_p, a: log_p * a
        ),
        "The log-probabilities are not centred. Only what is likelier than the others counts as likely.": (
            lambda log_p, a: log_p * (a - a.mean())
        ),
        "The advantages are not centred.": lambda log_p, a: (log_p - log_p.mean()) * a,
        "It is divided by the number of tokens: then the sum is the covariance, where the mean should be.": (
            lambda log_p, a: (log_p - log_p.mean()) * (a - a.mean()) / len(a)
        ),
        "That is one number, the covariance; asked for is each token's share, before the mean is taken.": (
            lambda log_p, a: ((log_p - log_p.mean()) * (a - a.mean())).mean()
        ),
        "That takes probabilities in the place of their logarithms.": (
            lambda log_p, a: (log_p.exp() - log_p.exp().mean()) * (a - a.mean())
        ),
        "That is its absolute value: a token of negative share *raises* entropy, so the sign is needed.": (
            lambda log_p, a: ((log_p - log_p.mean()) * (a - a.mean())).abs()
        ),
    },
)
def token_shares(log_prob: Tensor, advantage: Tensor) -> Tensor:
    """Each token's share."""
    return (log_prob - log_prob.mean()) * (advantage - advantage.mean())
