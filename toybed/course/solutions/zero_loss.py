"""Lesson 2: GRPO's advantage, and what a log prints as loss."""

from __future__ import annotations

import torch
from torch import Tensor

from toybed.course.exercise import exercise

_REWARD = torch.tensor([[1, 0, 0, 0], [1, 1, 0, 1], [1, 1, 1, 1]], dtype=torch.float64)


def _centred(reward: Tensor) -> Tensor:
    return reward - reward.mean(-1, keepdim=True)


@exercise(
    inputs=[
        {"reward": _REWARD[:1], "floor": 1e-6},
        {"reward": _REWARD, "floor": 1e-6},
        {"reward": torch.tensor([[0.2, 0.9, 0.4], [3.0, 1.0, 1.0]], dtype=torch.float64), "floor": 0.1},
    ],
    hint="`reward.mean(-1, keepdim=True)` is the mean of each group, `reward.std(-1, keepdim=True)` its deviation.",
    mistakes={
        "The standard deviation divides by G; asked for is that of a sample, which divides by G - 1. (With G = 2 and "
        "rewards 0 and 1 that is the difference between advantages of 1 and of 0.707.)": (
            lambda r, floor: _centred(r) / (r.std(-1, keepdim=True, correction=0) + floor)
        ),
        "The deviation is missing. That is Dr. GRPO, which leaves it out on purpose: prompts with a large spread then "
        "weigh more.": lambda r, floor: _centred(r),
        "It is divided by the variance, not by its square root.": (
            lambda r, floor: _centred(r) / (r.var(-1, keepdim=True) + floor)
        ),
        "Mean and deviation are those of the whole batch. A response is compared with its own group only: the last "
        "axis, with `keepdim=True`.": lambda r, floor: (r - r.mean()) / (r.std() + floor),
        "The mean is not subtracted: then a wrong answer is never pushed down.": (
            lambda r, floor: r / (r.std(-1, keepdim=True) + floor)
        ),
        "The floor is added under the root. It is added to the deviation.": (
            lambda r, floor: _centred(r) / (r.var(-1, keepdim=True) + floor).sqrt()
        ),
    },
)
def group_advantage(reward: Tensor, floor: float) -> Tensor:
    """GRPO's advantages."""
    centred = reward - reward.mean(-1, keepdim=True)
    return centred / (reward.std(-1, keepdim=True) + floor)


_OLD = torch.tensor([-1.0, -0.5, -2.0, -0.1], dtype=torch.float64)
_NEW = torch.tensor([-0.7, -0.6, -2.5, -0.1], dtype=torch.float64)
_A = torch.tensor([1.5, -0.5, -0.5, 0.7], dtype=torch.float64)


@exercise(
    inputs=[
        {"log_prob": _OLD, "log_prob_old": _OLD, "advantage": _A},
        {"log_prob": _NEW, "log_prob_old": _OLD, "advantage": _A},
        {"log_prob": _NEW[:2], "log_prob_old": _OLD[:2], "advantage": _A[:2]},
    ],
    hint="rho = exp(log_prob - log_prob_old); the loss is -(rho * A).mean(): it is minimised, so it has a minus.",
    mistakes={
        "The sign is turned round: a loss is minimised, so it is *minus* the mean of rho A.": (
            lambda new, old, a: ((new - old).exp() * a).mean()
        ),
        "The ratio stands upside down: it is pi / pi_old, exp(log_prob - log_prob_old).": (
            lambda new, old, a: -((old - new).exp() * a).mean()
        ),
        "That is the *logarithm* of the ratio: take exp of the difference.": lambda new, old, a: (
            -((new - old) * a).mean()
        ),
        "That is REINFORCE's loss, log pi times A: on fresh samples it has the same gradient, and another value.": (
            lambda new, old, a: -(new * a).mean()
        ),
        "The ratio of log-probabilities is not the logarithm of the ratio: subtract, then take exp.": (
            lambda new, old, a: -(new / old * a).mean()
        ),
        "It is a sum; asked for is the mean.": lambda new, old, a: -((new - old).exp() * a).sum(),
    },
)
def printed_loss(log_prob: Tensor, log_prob_old: Tensor, advantage: Tensor) -> Tensor:
    """PPO's printed loss, without a clip."""
    ratio = (log_prob - log_prob_old).exp()
    return -(ratio * advantage).mean()
