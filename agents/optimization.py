"""One optimiser for all stacked runs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from toybed.agents.policies import Policy

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8


class StackedAdam:
    """Adam (arXiv 1412.6980) with a learning rate, a norm clip and a fate for each run.

    Adam is elementwise, so on parameters ``[S, ...]`` it is S independent optimisers; the clip and the learning rate
    are taken run by run, which ``torch.optim`` has no room for. (Its first step also imports the compiler: a second in
    every worker.)

    A run whose loss or gradient is not finite is *diverged*: its parameters stay as they were before that step, and
    the other runs never notice.

    Args:
        policy: the S policies.
        learning_rate: a number, or one for each run ``[S]``.
        max_grad_norm: bound of each run's gradient norm.
        extra: tensors ``[S, ...]`` that are trained with the policy.

    Attributes:
        diverged: bool ``[S]``.
    """

    def __init__(
        self, policy: Policy, learning_rate: float | Tensor, max_grad_norm: float, extra: Sequence[Tensor] = ()
    ) -> None:
        self._parameters = [*policy.parameters(), *extra]
        self._first = [torch.zeros_like(p) for p in self._parameters]
        self._second = [torch.zeros_like(p) for p in self._parameters]
        device = self._parameters[0].device
        self._rate = torch.as_tensor(learning_rate, device=device).expand(policy.runs)
        self._max_norm = max_grad_norm
        self._steps = 0
        self.diverged = torch.zeros(policy.runs, dtype=torch.bool, device=device)

    def step(self, loss: Tensor) -> Tensor:
        """Take one step on ``loss [S]`` and return each run's gradient norm before clipping, ``[S]``."""
        # A sum: each run's parameters get the gradient of that run's loss alone.
        gradients = torch.autograd.grad(loss.sum(), self._parameters)
        # Reductions along the last axis only: along the first they round differently with the number of runs.
        norm = torch.stack([g.flatten(1).norm(dim=1) for g in gradients], 1).norm(dim=1)
        self.diverged |= ~(torch.isfinite(norm) & torch.isfinite(loss.detach()))
        self._apply(gradients, (self._max_norm / (norm + 1e-6)).clamp(max=1.0))
        return norm

    @torch.no_grad()
    def _apply(self, gradients: tuple[Tensor, ...], scale: Tensor) -> None:
        self._steps += 1
        if bool(self.diverged.any()):
            # 0 times infinity is not 0: what is not finite is replaced, and the run moves no more.
            scale = torch.where(self.diverged, 0.0, scale)
            gradients = tuple(g.nan_to_num(0.0, 0.0, 0.0) for g in gradients)
        rate = torch.where(self.diverged, 0.0, self._rate / (1 - BETA_1**self._steps))
        correction = (1 - BETA_2**self._steps) ** 0.5
        for p, g, first, second in zip(self._parameters, gradients, self._first, self._second, strict=True):
            axes = (-1, *(1,) * (p.ndim - 1))
            g = g * scale.view(axes)
            first.lerp_(g, 1 - BETA_1)
            second.mul_(BETA_2).addcmul_(g, g, value=1 - BETA_2)
            p.sub_(rate.view(axes) * first / second.sqrt().div_(correction).add_(EPSILON))
