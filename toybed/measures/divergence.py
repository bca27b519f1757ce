"""Distance between distributions, by summing over the vocabulary (nats)."""

from __future__ import annotations

from torch import Tensor


def kl_divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """``KL(p || q) = sum_v p_v (log p_v - log q_v)``: ``[..., V] -> [...]``."""
    return (log_p.exp() * (log_p - log_q)).sum(-1)
