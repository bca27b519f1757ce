"""One optimiser for all stacked runs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from toybed.agents.policies import Policy

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8

CAUSES = (
    "",
    "its loss was not finite",
    "a gradient was not finite",
    "its policy was not finite",
    "its critic's loss or gradient was not finite",
)
"""Why a run diverged, by number: what ``StackedAdam.cause`` says of the policy's steps, then what only others see."""
POLICY_LOST, CRITIC_LOST = 3, 4


class StackedAdam:
    """Adam (arXiv 1412.6980) with a learning rate, a norm clip and a fate for each run.

    Adam is elementwise, so on parameters ``[S, ...]`` it is S independent optimisers; the clip and the learning rate
    are taken run by run, which ``torch.optim`` has no room for. (Its first step also imports the compiler: a second in
    every worker.) The gradients of all parameters are laid side by side, ``[S, D]``: a toy's step costs as much as it
    has operations, whatever their size.

    A run whose loss or gradient is not finite is *diverged*: its parameters stay as they were before that step, and
    the other runs never notice.

    Args:
        policy: the S policies.
        learning_rate: a number, or one for each run ``[S]``.
        max_grad_norm: bound of each run's gradient norm.
        extra: tensors ``[S, ...]`` that are trained with the policy.

    Attributes:
        diverged: bool ``[S]``.
        cause: of each run's divergence, the index in :data:`CAUSES`, ``[S]``.
    """

    def __init__(
        self, policy: Policy, learning_rate: float | Tensor, max_grad_norm: float, extra: Sequence[Tensor] = ()
    ) -> None:
        self._parameters = [*policy.parameters(), *extra]
        self._sizes = [p[0].numel() for p in self._parameters]
        like = self._parameters[0]
        self._first, self._second = (like.new_zeros(policy.runs, sum(self._sizes)) for _ in range(2))
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
            gradient = torch.cat([g.flatten(1) for g in gradients], 1)
            # Reductions along the last axis only: along the first they round differently with the number of runs.
            norm = gradient.norm(dim=1)
            self._steps += 1
            scale = (self._max_norm / (norm + 1e-6)).clamp(max=1.0)
            rate = self._rate / (1 - BETA_1**self._steps)
            if self._any_diverged or not bool(torch.isfinite(norm + loss).all()):
                self._mark(loss.detach(), norm)
                # 0 times infinity is not 0: what is not finite is replaced, and the run moves no more.
                gradient = gradient.nan_to_num(0.0, 0.0, 0.0)
                scale, rate = (torch.where(self.diverged, 0.0, x) for x in (scale, rate))
            self._move(gradient.mul_(scale[:, None]), rate)
        return norm

    def _mark(self, loss: Tensor, norm: Tensor) -> None:
        finite = torch.isfinite(loss)
        fresh = ~(finite & torch.isfinite(norm) | self.diverged)
        self.cause = torch.where(fresh, torch.where(finite, 2, 1), self.cause)
        self.diverged = self.diverged | fresh
        self._any_diverged = bool(self.diverged.any())

    def _move(self, gradient: Tensor, rate: Tensor) -> None:
        """Adam's step for a gradient ``[S, D]`` and bias-corrected rates ``[S]``."""
        correction = (1 - BETA_2**self._steps) ** 0.5
        self._first.lerp_(gradient, 1 - BETA_1)
        self._second.mul_(BETA_2).addcmul_(gradient, gradient, value=1 - BETA_2)
        move = self._second.sqrt().div_(correction).add_(EPSILON)
        torch.div(self._first, move, out=move).mul_(rate[:, None])
        for p, part in zip(self._parameters, move.split(self._sizes, 1), strict=True):
            p.sub_(part.view_as(p))
