"""Lesson 12: PPO's loss, written right."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from toybed.course.exercise import exercise

Loss = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def gradient(function: Callable[..., Any], given: Mapping[str, Any]) -> Any:
    """Derivative of the loss with respect to log_prob; what is no single number is given back as it is."""
    log_prob, *rest = given.values()
    leaf = log_prob.clone().requires_grad_()
    value = function(leaf, *(x.clone() for x in rest))
    if not isinstance(value, Tensor) or value.ndim:
        return value
    if not value.requires_grad:
        return torch.zeros_like(leaf)
    (found,) = torch.autograd.grad(value, leaf, allow_unused=True)
    return torch.zeros_like(leaf) if found is None else found


def _batch(lengths: list[int], ratios: list[float], advantages: list[float], garbage: float) -> dict[str, Tensor]:
    """Responses ``[1, G, T]`` with these ratios, token by token over all of them, and one advantage each."""
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None])[None]
    log_ratio = torch.zeros(mask.shape, dtype=torch.float64).masked_scatter(mask, torch.tensor(ratios).double().log())
    old = torch.full(mask.shape, -1.0, dtype=torch.float64)
    a = torch.tensor(advantages, dtype=torch.float64)[None, :, None].expand(mask.shape).clone()
    return {
        "log_prob": torch.where(mask, old + log_ratio, garbage),
        "log_prob_old": old,
        "advantage": a,
        "mask": mask,
    }


def _loss(
    pick: Callable[[Tensor, Tensor], Tensor] = torch.minimum, average: Callable[[Tensor, Tensor], Tensor] | None = None
) -> Loss:
    """PPO with one thing replaced."""

    def loss(log_prob: Tensor, log_prob_old: Tensor, a: Tensor, mask: Tensor) -> Tensor:
        ratio = torch.where(mask, log_prob - log_prob_old, 0.0).exp()
        value = torch.where(mask, pick(ratio * a, ratio.clamp(0.8, 1.2) * a), 0.0)
        return -value.sum() / mask.sum() if average is None else -average(value, mask)

    return loss


def _no_mask(log_prob: Tensor, log_prob_old: Tensor, a: Tensor, mask: Tensor) -> Tensor:
    ratio = (log_prob - log_prob_old).exp()
    return -torch.minimum(ratio * a, ratio.clamp(0.8, 1.2) * a).mean()


def _inverted(log_prob: Tensor, log_prob_old: Tensor, a: Tensor, mask: Tensor) -> Tensor:
    return _loss()(log_prob_old, torch.where(mask, log_prob, 0.0), a, mask)


_RIGHT = _loss()
_RATIOS = [1.0, 1.0, 1.0, 0.7, 1.1, 1.4, 0.9, 0.6]

_EQUAL = _batch([2, 2], [1.0, 1.1, 0.9, 1.0], [1.0, -1.0], 0.0)


@exercise(
    inputs=[
        _EQUAL,
        _batch([3, 5], _RATIOS, [1.0, -1.0], 0.0),
        _batch([5, 3], _RATIOS, [0.5, 2.0], -3.0),
        _batch([1, 2], [1.0, 1.3, 0.5], [1.0, -0.5], torch.inf),
    ],
    hint="Ratio from `torch.where(mask, log_prob - log_prob_old, 0.0)`, so that garbage is gone before exp; the "
    "minimum of ratio A and clipped ratio A; minus its sum over the tokens, over mask.sum(). Compared is the gradient.",
    mistakes={
        "`maximum` where PPO has the minimum: it keeps the gradient of exactly those tokens which the clip should "
        "stop, and stops those that moved the wrong way.": _loss(torch.maximum),
        "The clipped value alone: a token whose ratio moved the *wrong* way gets no gradient either. PPO takes the "
        "minimum of both.": _loss(lambda plain, clipped: clipped),
        "Nothing is clipped: that is the importance-weighted policy gradient.": _loss(lambda plain, clipped: plain),
        "The denominator counts padding: longer padding, smaller gradient. Divide by mask.sum().": (
            _loss(average=lambda value, mask: value.mean())
        ),
        "It is a sum: the gradient grows with the batch. Divide by mask.sum().": (
            _loss(average=lambda value, mask: value.sum())
        ),
        "Each response has its own mean (seq-mean-token-mean): asked for is the mean over all tokens.": (
            _loss(average=lambda value, mask: (value.sum(-1) / mask.sum(-1)).mean())
        ),
        "The sign is turned round: this loss makes good tokens rarer.": (
            lambda new, old, a, mask: -_RIGHT(new, old, a, mask)
        ),
        "The ratio stands upside down: exp(log_prob - log_prob_old) is new over old.": _inverted,
        "There is no mask: padding is trained on, and counted.": _no_mask,
        "The loss has no gradient: log_prob is detached, or log_prob_old stands in its place.": (
            lambda new, old, a, mask: _RIGHT(new.detach(), old, a, mask)
        ),
    },
    look=gradient,
)
def ppo_loss(log_prob: Tensor, log_prob_old: Tensor, advantage: Tensor, mask: Tensor) -> Tensor:
    """PPO's loss."""
    ratio = torch.where(mask, log_prob - log_prob_old, 0.0).exp()
    value = torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)
    return -torch.where(mask, value, 0.0).sum() / mask.sum()
