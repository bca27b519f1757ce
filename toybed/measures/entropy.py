"""Entropy of distributions over tokens, in nats."""

from __future__ import annotations

from torch import Tensor

from toybed.measures.moments import masked_mean


def token_entropy(log_probs: Tensor, probs: Tensor | None = None) -> Tensor:
    """Entropy of each distribution: ``[..., V] -> [...]``, from log-probabilities.

    ``H = -sum_v p_v log p_v``. An illegal token's log-probability may be any large negative number. ``probs`` are the
    probabilities, where they are known already.
    """
    return -((log_probs.exp() if probs is None else probs) * log_probs).sum(-1)


def sampled_entropy(log_prob: Tensor, mask: Tensor) -> Tensor:
    """The stand-in that needs no vocabulary: mean of ``-log pi`` over sampled tokens, ``[..., B, G, T] -> [...]``.

    Unbiased for the mean entropy of the visited positions, and noisier than :func:`token_entropy` averaged over them
    (Skywork-OR1's controller uses it). ``mask`` marks the response's tokens.
    """
    return -masked_mean(log_prob, mask)[..., 0, 0, 0]
