"""What training did to the weights: how many changed, in which number format, of what rank, and which ones.

Parameters are tensors with leading axes of runs; ``start`` and ``end`` are the weights before and after, float32.

Sources: sparsity with a tolerance, rank and overlap of updates, arXiv 2505.11711; the relative, bf16-aware probe, arXiv
2511.08567; effective rank, Roy and Vetterli 2007.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

TOLERANCE = 1e-5
"""Changes up to this count as none in the released tool of arXiv 2505.11711 (``check_sparsity.py``)."""
RELATIVE = 1e-3
"""Relative changes up to this count as none in the probe of arXiv 2511.08567 (definition 2.1)."""
TOP = 0.1
"""The share of the singular values whose energy is told."""

_EXPONENT_LEAST = -133  # of bf16's smallest subnormal number, a power of two


def to_bf16(weight: Tensor) -> Tensor:
    """The nearest bf16 number, ties to even, kept as float32."""
    return weight.bfloat16().float()


def bf16_ulp(weight: Tensor) -> Tensor:
    """The spacing of bf16 numbers at ``|weight|``: ``2^(floor(log2 |w|) - 7)``, for its 8 significant bits."""
    exponent = torch.frexp(weight).exponent - 8  # frexp's mantissa lies in [1/2, 1)
    exponent = torch.where(weight == 0, _EXPONENT_LEAST, exponent.clamp(min=_EXPONENT_LEAST))
    return torch.ldexp(torch.ones_like(weight), exponent)


# -- how many ---------------------------------------------------------------------------------------------------------
def changed(start: Tensor, end: Tensor) -> Tensor:
    """Which weights are another float32 number than before, bool."""
    return start != end


def changed_beyond(start: Tensor, end: Tensor, tolerance: float = TOLERANCE) -> Tensor:
    """Which weights moved by more than an absolute tolerance, bool."""
    return (end - start).abs() > tolerance


def changed_relatively(start: Tensor, end: Tensor, tolerance: float = RELATIVE) -> Tensor:
    """Which weights moved by more than ``tolerance * max(|start|, |end|)``, bool."""
    return (end - start).abs() > tolerance * torch.maximum(start.abs(), end.abs())


def changed_in_bf16(start: Tensor, end: Tensor) -> Tensor:
    """Which weights are another number when both are rounded to bf16, bool."""
    return to_bf16(start) != to_bf16(end)


def moved_past_half_ulp(start: Tensor, end: Tensor) -> Tensor:
    """Which weights moved by more than half the spacing of bf16 at their start, bool: those that should round away.

    For a start on the grid of bf16 that is :func:`changed_in_bf16`, but for two cases. A power of two has numbers half
    as far below it as above it: towards 0 it changes from a quarter of its spacing on. And half a spacing exactly is a
    tie, which goes to the even one.
    """
    return (end - start).abs() > bf16_ulp(start) / 2


def rescaled(start: Tensor, end: Tensor, size: float) -> Tensor:
    """The end of an update in the same direction, of another length: ``[..., D]``.

    ``start + c (end - start)`` with ``c`` such that the update's norm is ``size`` times that of the start. NaN where
    nothing moved.
    """
    delta = end - start
    factor = size * start.norm(dim=-1, keepdim=True) / delta.norm(dim=-1, keepdim=True)
    return start + factor * delta


# -- of what rank -----------------------------------------------------------------------------------------------------
def spectrum(delta: Tensor) -> dict[str, Tensor]:
    """Rank of updates of a matrix, ``[..., a, b]``, as shares of the full one, ``m = min(a, b)``; each ``[...]``.

    ``rank``: singular values above ``max(a, b) eps sigma_1`` (``matrix_rank``'s rule, eps that of float32), over m.
    ``effective_rank``: ``exp(H(sigma / sum sigma)) / m``, 1 where all are alike. ``top_energy``: share of ``sum
    sigma^2`` in the largest tenth of them (at least one). NaN where nothing changed.
    """
    sigma = torch.linalg.svdvals(delta.double())
    most = sigma.shape[-1]
    largest = sigma[..., :1]
    moved = largest[..., 0] > 0
    threshold = max(delta.shape[-2:]) * torch.finfo(torch.float32).eps * largest
    share = sigma / sigma.sum(-1, keepdim=True)
    energy = sigma.square()
    top = energy[..., : max(round(TOP * most), 1)].sum(-1) / energy.sum(-1)
    found = {
        "rank": (sigma > threshold).double().mean(-1),
        "effective_rank": torch.exp(-torch.xlogy(share, share).sum(-1)) / most,
        "top_energy": top,
    }
    return {name: torch.where(moved, value, torch.nan) for name, value in found.items()}


def shuffled_support(delta: Tensor, order: Tensor) -> Tensor:
    """The same entries in other places: a control for what the support's and the entries' order add.

    Args:
        delta: ``[..., a, b]``.
        order: a permutation of ``a b`` places, or one for each matrix, ``[..., a b]``.
    """
    entries = delta.flatten(-2)
    return entries.gather(-1, order.expand_as(entries)).view_as(delta)


# -- which ones -------------------------------------------------------------------------------------------------------
def layers(sizes: Sequence[int]) -> Tensor:
    """The number of the tensor that each weight belongs to, ``[D]``, for tensors of those sizes."""
    return torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(list(sizes)))


def layers_and_exponents(start: Tensor, sizes: Sequence[int]) -> Tensor:
    """A number for each pair of tensor and spacing of bf16 at the weight, ``[..., D]``.

    Weights of one number need to move equally far in order to change: what two updates still have in common within
    such a group is not that small weights round away easily.
    """
    exponent = torch.frexp(bf16_ulp(start)).exponent
    return layers(sizes).to(start.device) * 1024 + exponent - _EXPONENT_LEAST


def overlap(first: Tensor, second: Tensor, groups: Tensor) -> dict[str, Tensor]:
    """How much of the first changed weights are among the second, and what chance would make of it.

    Chance puts as many into each group of weights as the second has there, anywhere within it. With one group for each
    tensor that is stricter than the density of the whole, which arXiv 2505.11711 compares with: tensors differ in
    density, and two updates that merely agree in that would overlap more.

    Args:
        first, second: which weights changed, bool ``[n, D]``.
        groups: the group's number of each weight, ``[n, D]`` or ``[D]``.

    Returns:
        Each ``[n]``: ``one_sided`` ``|1 and 2| / |1|`` and its ``chance``; ``jaccard`` ``|1 and 2| / |1 or 2|`` and
        ``jaccard_chance``, that of the expected intersection. NaN where the first changed nothing.
    """
    a, b = first.double(), second.double()
    both, in_a, in_b = (a * b).sum(-1), a.sum(-1), b.sum(-1)
    expected = torch.stack([_expected(*run) for run in zip(a, b, groups.expand(first.shape), strict=True)])
    return {
        "one_sided": both / in_a,
        "chance": expected / in_a,
        "jaccard": both / (in_a + in_b - both),
        "jaccard_chance": expected / (in_a + in_b - expected),
    }


def _expected(a: Tensor, b: Tensor, group: Tensor) -> Tensor:
    """The expected size of the intersection, where b's places are drawn within each group; one run, ``[D]`` each."""
    _, index = group.unique(return_inverse=True)
    size, in_a, in_b = (torch.bincount(index, weights) for weights in (torch.ones_like(a), a, b))
    return (in_a * in_b / size).sum()
