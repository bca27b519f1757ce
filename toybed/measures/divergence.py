"""Distance between distributions in nats: by summing over the vocabulary, and from sampled tokens."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def kl_divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """``KL(p || q) = sum_v p_v (log p_v - log q_v)``: ``[..., V] -> [...]``."""
    return (log_p.exp() * (log_p - log_q)).sum(-1)


SAMPLED_KL: dict[str, Callable[[Tensor], Tensor]] = {
    "k1": lambda d: d,
    "k2": lambda d: d.square() / 2,
    # expm1 keeps the digits of a small d, where exp(-d) - 1 loses them.
    "k3": lambda d: torch.expm1(-d) + d,
}
"""The stand-ins that need no vocabulary: Schulman's estimates of KL(p || q) from ``d = log p - log q`` of tokens of p.

k1 is unbiased and may be negative; k2 is biased; ``k3 = exp(-d) - 1 + d`` is unbiased and never negative. As a loss
they have other gradients than as a value (``regularizers.kl_reference``).
"""
