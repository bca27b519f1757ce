"""Lesson 9: one step of adaptation, and the objective of MAML."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from toybed.course.exercise import exercise


def _t(*values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def value_and_gradient(function: Callable[..., Any], given: Mapping[str, Any]) -> Any:
    """What the function returns and its derivative with respect to the logits, in one vector (or what is no tensor)."""
    logits, *rest = given.values()
    leaf = logits.clone().requires_grad_()
    answer = function(leaf, *rest)
    if not isinstance(answer, Tensor):
        return answer
    slope = torch.zeros_like(leaf)
    if answer.requires_grad:
        (found,) = torch.autograd.grad(answer.sum(), leaf, allow_unused=True)
        slope = slope if found is None else found
    return torch.cat([answer.detach().flatten(), slope])


def _adapt(logits: Tensor, reward: Tensor, rate: float) -> Tensor:
    p = logits.softmax(-1)
    return logits + rate * p * (reward - (p * reward).sum())


@exercise(
    inputs=[
        {"logits": _t(0.0, 0.0, 0.0), "reward": _t(1.0, 0.0, 0.0), "rate": 1.0},
        {"logits": _t(1.0, 0.0, -1.0), "reward": _t(0.0, 0.5, 1.0), "rate": 5.0},
    ],
    hint="p = logits.softmax(-1); the step is rate * p * (reward - (p * reward).sum()).",
    mistakes={
        "The step goes downhill: reward is to rise, so it is added.": (lambda z, r, rate: 2 * z - _adapt(z, r, rate)),
        "p is missing: that is the natural gradient. The plain one moves an option in proportion to its probability.": (
            lambda z, r, rate: z + rate * (r - (z.softmax(-1) * r).sum())
        ),
        "The expected reward is not subtracted from the reward.": lambda z, r, rate: z + rate * z.softmax(-1) * r,
        "That is the step alone; add it to the logits.": lambda z, r, rate: _adapt(z, r, rate) - z,
    },
)
def adapt(logits: Tensor, reward: Tensor, rate: float) -> Tensor:
    """One step uphill."""
    p = logits.softmax(-1)
    return logits + rate * p * (reward - (p * reward).sum())


_USERS = _t([1.0, 0.0, 0.4], [0.0, 1.0, 0.4])


def _mean(logits: Tensor, rewards: Tensor, adapted: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    return torch.stack([(adapted(logits, r).softmax(-1) * r).sum() for r in rewards]).mean()


def _swapped(logits: Tensor, rewards: Tensor, rate: float) -> Tensor:
    mean = rewards.mean(0)
    return torch.stack([(_adapt(logits, mean, rate).softmax(-1) * r).sum() for r in rewards]).mean()


def _first_order(logits: Tensor, rewards: Tensor, rate: float) -> Tensor:
    return _mean(logits, rewards, lambda z, r: z + (_adapt(z, r, rate) - z).detach())


@exercise(
    inputs=[
        {"logits": _t(0.0, 0.5, 0.0), "rewards": _USERS, "rate": 2.0},
        {"logits": _t(1.0, 0.0, -1.0), "rewards": _USERS, "rate": 5.0},
        {"logits": _t(0.2, 0.1, 0.0), "rewards": _USERS[:1], "rate": 1.0},
    ],
    hint="For each user adapt the logits to that user's reward, take softmax, and weigh that user's reward with it; "
    "then the mean over users. Compared are the number and its gradient (one number, then V).",
    mistakes={
        "Nothing is adapted: that is joint training.": lambda z, rs, rate: _mean(z, rs, lambda x, r: x),
        "The value is right, its gradient is that of first-order MAML: somewhere between logits and adapted logits the "
        "graph is cut (`detach`, `item`, `no_grad`, a new tensor).": _first_order,
        "The value is right, but it has no gradient: the graph is cut.": (
            lambda z, rs, rate: _mean(z.detach(), rs, lambda x, r: _adapt(x, r, rate))
        ),
        "The users share one adaptation, to their mean reward. Each adapts to its own.": _swapped,
        "It is the sum over users; asked for is the mean.": (
            lambda z, rs, rate: _mean(z, rs, lambda x, r: _adapt(x, r, rate)) * len(rs)
        ),
        "The adapted policies are valued by the mean reward of all users. Each is valued by its own user.": (
            lambda z, rs, rate: torch.stack([(_adapt(z, r, rate).softmax(-1) * rs.mean(0)).sum() for r in rs]).mean()
        ),
    },
    look=value_and_gradient,
)
def meta_objective(logits: Tensor, rewards: Tensor, rate: float) -> Tensor:
    """What adapted policies earn."""
    worth = []
    for reward in rewards:
        p = logits.softmax(-1)
        adapted = logits + rate * p * (reward - (p * reward).sum())
        worth.append((adapted.softmax(-1) * reward).sum())
    return torch.stack(worth).mean()
