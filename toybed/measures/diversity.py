"""How many different right answers a policy finds: pass@k, distinct solutions, coverage."""

from __future__ import annotations

import torch
from torch import Tensor

from toybed.errors import ToybedError


def pass_at_k_exact(success: Tensor, k: int) -> Tensor:
    """Chance that at least one of k samples is right: ``1 - (1 - p)^k``, elementwise.

    Args:
        success: exact success probability p of each prompt, any shape.
        k: number of samples, at least 1.
    """
    if k < 1:
        raise ToybedError(f"k is {k}; allowed: at least 1")
    # log1p keeps small p exact: 1 - (1 - 1e-9)^k is pure rounding in float32.
    return -torch.expm1(k * torch.log1p(-success.clamp(max=1.0)))


def pass_at_k(correct: Tensor, samples: int, k: int) -> Tensor:
    """The unbiased estimate of pass@k from ``samples`` draws of which ``correct`` were right.

    ``1 - C(n - c, k) / C(n, k)``, in its product form (arXiv 2107.03374).

    Args:
        correct: number right c, any shape.
        samples: number of draws n.
        k: number of samples in pass@k.

    Raises:
        ToybedError: k is not in 1..n; an estimate from fewer than k draws does not exist.
    """
    return 1 - _none_of(correct.double(), samples, k)


def distinct_at_k(counts: Tensor, k: int) -> Tensor:
    """Expected number of distinct solutions among k draws, unbiased from the counts of n draws.

    ``sum_s [1 - C(n - n_s, k) / C(n, k)]`` (rarefaction). The number seen among n draws is biased by n.

    Args:
        counts: how often each solution was drawn, ``[..., number of solutions + 1]``; the last column holds the draws
            that hit no solution: it counts towards n and not towards the sum.
        k: number of draws asked about.

    Raises:
        ToybedError: k is not in 1..n, or the rows have different n.
    """
    samples = counts.sum(-1)
    total = int(samples.flatten()[0])
    if not bool((samples == total).all()):
        raise ToybedError("distinct_at_k: counts must come from the same number of draws in every row")
    return (1 - _none_of(counts[..., :-1].double(), total, k)).sum(-1)


def distinct_exact(log_probs: Tensor, chosen: Tensor, k: int) -> Tensor:
    """Expected number of distinct responses of one kind among k samples, exactly.

    ``sum_{y chosen} [1 - (1 - pi(y))^k]``

    Args:
        log_probs: log-probability of every response, ``[..., P, N]``.
        chosen: which responses count (the right ones, the wrong ones), bool ``[P, N]``.
        k: number of samples.

    Returns:
        ``[..., P]``.
    """
    prompt, response = chosen.nonzero(as_tuple=True)
    found = pass_at_k_exact(log_probs[..., prompt, response].exp(), k)
    total = torch.zeros(log_probs.shape[:-1], dtype=found.dtype, device=found.device)
    return total.index_add(-1, prompt, found)


def coverage(log_probs: Tensor, solution: Tensor, k: int) -> Tensor:
    """Expected share of the distinct solutions found in k samples, exactly.

    ``1/N sum_{y right} [1 - (1 - pi(y))^k]``

    Args:
        log_probs: log-probability of every response, ``[..., P, N]``.
        solution: which responses are right, bool ``[P, N]``; at least one in every row.
        k: number of samples.

    Returns:
        ``[..., P]``.
    """
    return distinct_exact(log_probs, solution, k) / solution.sum(-1)


def _none_of(hits: Tensor, samples: int, k: int) -> Tensor:
    """``C(n - c, k) / C(n, k)``: the chance that k of the n draws, taken without replacement, miss all c hits."""
    if not 1 <= k <= samples:
        raise ToybedError(f"k is {k}; allowed: 1 to the number of draws, {samples}")
    # prod_{i=0}^{k-1} (n - c - i) / (n - i): each factor is clamped at 0, where fewer than k misses exist.
    steps = torch.arange(k, dtype=torch.float64, device=hits.device)
    return ((samples - hits.unsqueeze(-1) - steps) / (samples - steps)).clamp(min=0).prod(-1)
