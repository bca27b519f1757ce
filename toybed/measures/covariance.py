"""Covariance of log-probability and advantage: what drives the entropy of a softmax policy.

For a tabular softmax and a natural-gradient step of size eta, ``dH = -eta Cov_{a~pi}(log pi_a, A_a)`` to first order
(arXiv 2505.22617, theorem 2); for the vanilla gradient the second factor is ``pi_a A_a`` (theorem 1).
"""

from __future__ import annotations

import torch
from torch import Tensor

from toybed.measures.moments import masked_mean


def token_covariance(log_prob: Tensor, advantage: Tensor, mask: Tensor) -> Tensor:
    """Each token's share of the covariance: ``(log pi_t - mean log pi)(A_t - mean A)``.

    Args:
        log_prob: ``[..., B, G, T]``.
        advantage: ``[..., B, G, T]`` or ``[..., B, G, 1]``.
        mask: ``[..., B, G, T]``; the means are over the tokens of each run's batch.

    Returns:
        ``[..., B, G, T]``, zero outside the mask; its mean over tokens is the covariance.
    """
    advantage = advantage.expand_as(log_prob)
    centered = (log_prob - masked_mean(log_prob, mask)) * (advantage - masked_mean(advantage, mask))
    return torch.where(mask, centered, 0.0)


def covariance(log_prob: Tensor, advantage: Tensor, mask: Tensor) -> Tensor:
    """Covariance of log-probability and advantage over the tokens of each run's batch, ``[...]``."""
    return masked_mean(token_covariance(log_prob, advantage, mask), mask)[..., 0, 0, 0]
