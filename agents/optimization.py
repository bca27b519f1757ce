"""Optimisers for all stacked runs at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from toybed.agents.config import Learning
from toybed.agents.policies import Policy
from toybed.measures.update_anatomy import to_bf16

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8
SMALLEST = 1e-33
"""Added to second moments: after the root it is nothing beside EPSILON, and most of a table's second moments are 0, of
which a root takes five times as long as of other numbers."""

CAUSES = (
    "",
    "its loss was not finite",
    "a gradient was not finite",
    "its policy was not finite",
    "its critic's loss or gradient was not finite",
)
"""Why a run diverged, by number: what ``StackedOptimizer.cause`` says of a policy's steps, then what others see."""
POLICY_LOST, CRITIC_LOST = 3, 4


class StackedOptimizer(ABC):
    """A gradient method with a learning rate, a norm clip and a fate for each run.

    It is elementwise, so on parameters ``[S, ...]`` it is S independent optimisers; the clip and the learning rate
    are taken run by run, which ``torch.optim`` has no room for. (Its first step also imports the compiler: a second in
    every worker.) The gradients of all parameters are laid side by side, ``[S, D]``: a toy's step costs as much as it
    has operations, whatever their size.

    Of a policy with :attr:`~toybed.agents.policies.Policy.trained` entries the others have a gradient of 0, also in the
    norm, and no decay: they stay bit for bit.

    A run whose loss or gradient is not finite is *diverged*: its parameters stay as they were before that step, and
    the other runs never notice.

    Args:
        policy: the S policies.
        learning_rate: a number, or one for each run ``[S]``.
        max_grad_norm: bound of each run's gradient norm.
        extra: tensors ``[S, ...]`` that are trained with the policy; they neither decay nor are they rounded.
        weight_decay: decoupled (arXiv 1711.05101): a step also takes ``learning_rate * weight_decay`` of each weight.
        weights: "bf16" rounds the policy's parameters after each step.

    Attributes:
        diverged: bool ``[S]``.
        cause: of each run's divergence, the index in :data:`CAUSES`, ``[S]``.
    """

    def __init__(
        self,
        policy: Policy,
        learning_rate: float | Tensor,
        max_grad_norm: float,
        extra: Sequence[Tensor] = (),
        *,
        weight_decay: float = 0.0,
        weights: str = "fp32",
    ) -> None:
        own = list(policy.parameters())
        self._parameters = [*own, *extra]
        self._sizes = [p[0].numel() for p in self._parameters]
        self._own = sum(self._sizes[: len(own)])
        self._rounded = own if weights == "bf16" else []
        self._decay, self._trained = weight_decay, policy.trained
        like = self._parameters[0]
        self._rate = torch.as_tensor(learning_rate, device=like.device).expand(policy.runs)
        self._max_norm = max_grad_norm
        self._steps = 0
        self.diverged = torch.zeros(policy.runs, dtype=torch.bool, device=like.device)
        self.cause = torch.zeros(policy.runs, dtype=torch.int64, device=like.device)
        self._any_diverged = False

    def step(self, loss: Tensor) -> Tensor:
        """Take one step on ``loss [S]`` and return each run's gradient norm before clipping, ``[S]``."""
        # A sum: each run's parameters get the gradient of that run's loss alone.
        gradients = torch.autograd.grad(loss.sum(), self._parameters)
        with torch.no_grad():
            gradient = _side_by_side(gradients)
            if self._trained is not None:
                gradient[:, : self._own].masked_fill_(~self._trained, 0.0)
            # Reductions along the last axis only: along the first they round differently with the number of runs.
            norm = gradient.norm(dim=1)
            self._steps += 1
            scale = (self._max_norm / (norm + 1e-6)).clamp(max=1.0)
            rate = self._rate
            if self._any_diverged or not bool(torch.isfinite(norm + loss).all()):
                self._mark(loss.detach(), norm)
                # 0 times infinity is not 0: what is not finite is replaced, and the run moves no more.
                gradient = gradient.nan_to_num(0.0, 0.0, 0.0)
                scale, rate = (torch.where(self.diverged, 0.0, x) for x in (scale, rate))
            self._take(self._move(gradient.mul_(scale[:, None]), rate), rate)
        return norm

    @abstractmethod
    def _move(self, gradient: Tensor, rate: Tensor) -> Tensor:
        """What a step takes off the parameters, ``[S, D]``, for a gradient ``[S, D]`` and rates ``[S]``."""

    def _take(self, move: Tensor, rate: Tensor) -> None:
        if self._decay:
            weight = _side_by_side(self._parameters)[:, : self._own]
            if self._trained is not None:
                weight = weight.masked_fill(~self._trained, 0.0)
            move[:, : self._own].addcmul_(weight, rate[:, None], value=self._decay)
        for p, part in zip(self._parameters, move.split(self._sizes, 1), strict=True):
            p.sub_(part.view_as(p))
        for p in self._rounded:
            p.copy_(to_bf16(p))

    def _mark(self, loss: Tensor, norm: Tensor) -> None:
        finite = torch.isfinite(loss)
        fresh = ~(finite & torch.isfinite(norm) | self.diverged)
        self.cause = torch.where(fresh, torch.where(finite, 2, 1), self.cause)
        self.diverged = self.diverged | fresh
        self._any_diverged = bool(self.diverged.any())


class StackedAdam(StackedOptimizer):
    """Adam (arXiv 1412.6980); with a weight decay it is AdamW."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        like = self._parameters[0]
        self._first, self._second, self._moved = (like.new_zeros(len(like), sum(self._sizes)) for _ in range(3))

    def _move(self, gradient: Tensor, rate: Tensor) -> Tensor:
        correction = (1 - BETA_2**self._steps) ** 0.5
        rate = rate * correction / (1 - BETA_1**self._steps)
        self._first.lerp_(gradient, 1 - BETA_1)
        self._second.mul_(BETA_2).addcmul_(gradient, gradient, value=1 - BETA_2)
        move = torch.add(self._second, SMALLEST, out=self._moved).sqrt_().add_(EPSILON * correction)
        return torch.div(self._first, move, out=move).mul_(rate[:, None])


class StackedSGD(StackedOptimizer):
    """Plain gradient descent: a step is the rate times the clipped gradient."""

    def _move(self, gradient: Tensor, rate: Tensor) -> Tensor:
        return gradient * rate[:, None]


def _side_by_side(tensors: Sequence[Tensor]) -> Tensor:
    """``[S, D]`` from tensors ``[S, ...]``; of a single one there is nothing to copy."""
    flat = [tensor.flatten(1) for tensor in tensors]
    return flat[0].contiguous() if len(flat) == 1 else torch.cat(flat, 1)


def make_optimizer(
    policy: Policy, config: Learning, learning_rate: float | Tensor, extra: Sequence[Tensor] = ()
) -> StackedOptimizer:
    """The optimiser that the config names, with its decay, clip and number format.

    Args:
        policy: the S policies.
        config: of the learner.
        learning_rate: a number, or one for each run ``[S]``.
        extra: tensors ``[S, ...]`` that are trained with the policy.
    """
    kind = StackedSGD if config.optimizer == "sgd" else StackedAdam
    return kind(
        policy,
        learning_rate,
        config.max_grad_norm,
        extra,
        weight_decay=config.weight_decay,
        weights=config.weights,
    )
