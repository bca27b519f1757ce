"""Means over the tokens of each run's batch."""

from __future__ import annotations

import torch
from torch import Tensor


def masked_mean(value: Tensor, mask: Tensor) -> Tensor:
    """Mean over the tokens of each run: ``[..., B, G, T] -> [..., 1, 1, 1]``; 0 where no token is masked in."""
    axes = (-3, -2, -1)
    return torch.where(mask, value, 0.0).sum(axes, keepdim=True) / mask.sum(axes, keepdim=True).clamp(min=1)
