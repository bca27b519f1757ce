"""Lesson 1: entropy, and its flow under the exact policy gradient."""

from __future__ import annotations

import torch
from torch import Tensor

from toybed.course.exercise import exercise


def _t(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _entropy(p: Tensor) -> Tensor:
    return -torch.xlogy(p, p).sum()


@exercise(
    inputs=[{"p": _t(0.5, 0.5)}, {"p": _t(0.7, 0.2, 0.1)}, {"p": _t(0.25, 0.25, 0.25, 0.25)}, {"p": _t(1, 0, 0)}],
    hint="H = -sum_a p_a log p_a. `torch.xlogy(p, p)` is p log p, and 0 where p is 0.",
    mistakes={
        "That is the entropy in bits. Nats use the natural logarithm: `torch.log`, not `torch.log2`.": (
            lambda p: -(torch.xlogy(p, p) / torch.log(_t(2.0)[0])).sum()
        ),
        "0 log 0 has to be 0, and the logarithm of 0 is not finite. `torch.xlogy(p, p)` takes care of that.": (
            lambda p: -(p * p.log()).sum()
        ),
        "The sign is turned round: the logarithm of a probability is negative, so entropy needs a minus.": (
            lambda p: torch.xlogy(p, p).sum()
        ),
        "That is exp(H), the effective number of answers; H itself was asked for.": lambda p: _entropy(p).exp(),
        "That is the mean over answers. Entropy is the *expected* surprise: a sum with weights p, which add up to 1.": (
            lambda p: -torch.xlogy(p, p).mean()
        ),
        "That is the mean of -log p over answers, each counted once. They have to be weighted by p.": (
            lambda p: -p.log().mean()
        ),
    },
)
def entropy(p: Tensor) -> Tensor:
    """Entropy in nats."""
    return -torch.xlogy(p, p).sum()


def _advantage(p: Tensor, reward: Tensor) -> Tensor:
    return reward - (p * reward).sum()


@exercise(
    inputs=[
        {"p": _t(0.5, 0.3, 0.2), "reward": _t(1, 0, 0)},
        {"p": _t(0.1, 0.6, 0.3), "reward": _t(1, 0, 0)},
        {"p": _t(0.25, 0.25, 0.4, 0.1), "reward": _t(0.5, 2, 1, 3)},
    ],
    hint="First J = sum p R, then A = R - J, then H; each logit moves by p_a A_a, and dH/dz_a = -p_a (log p_a + H).",
    mistakes={
        "The sign is turned round: dH/dz_a = -p_a (log p_a + H), with a minus.": (
            lambda p, r: (p**2 * _advantage(p, r) * (p.log() + _entropy(p))).sum()
        ),
        "p occurs to the first power: that is the *natural* policy gradient, whose logits move by A_a. The plain one "
        "moves them by p_a A_a, so that p is squared.": (
            lambda p, r: -(p * _advantage(p, r) * (p.log() + _entropy(p))).sum()
        ),
        "The reward stands where the advantage should: subtract the expected reward first. (The natural gradient would "
        "not mind; this one does.)": lambda p, r: -(p**2 * r * (p.log() + _entropy(p))).sum(),
        "The `+ H` is missing: a shift of all logits together must not change entropy, and H takes care of that.": (
            lambda p, r: -(p**2 * _advantage(p, r) * p.log()).sum()
        ),
        "The advantage is taken from the plain mean of rewards. The baseline is what the policy expects: sum p R.": (
            lambda p, r: -(p**2 * (r - r.mean()) * (p.log() + _entropy(p))).sum()
        ),
    },
)
def entropy_flow(p: Tensor, reward: Tensor) -> Tensor:
    """Change of entropy for each unit of learning rate."""
    advantage = reward - (p * reward).sum()
    h = -torch.xlogy(p, p).sum()
    return -(p**2 * advantage * (p.log() + h)).sum()
