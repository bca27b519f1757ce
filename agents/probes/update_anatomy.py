"""What training did to the weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from toybed.agents.policies import Policy, flat_parameters
from toybed.envs.core import TokenEnv
from toybed.measures.update_anatomy import (
    bf16_ulp,
    changed,
    changed_beyond,
    changed_in_bf16,
    changed_relatively,
    moved_past_half_ulp,
    rescaled,
    shuffled_support,
    spectrum,
    to_bf16,
)
from toybed.streams import Streams

SIZES = (1e-4, 1e-3, 1e-2)
"""Lengths, as shares of the weights' norm, to which updates are brought, so that equal lengths are compared."""
DIFFERENCES = {"fp32": lambda start, end: end - start, "bf16": lambda start, end: to_bf16(end) - to_bf16(start)}


def update_anatomy(env: TokenEnv, policy: Policy, start: Policy, *, seeds: Sequence[int]) -> dict[str, Tensor]:
    """How many weights changed in which number format, and of what rank the change is; each ``[S]``.

    Returns:
        Shares of all weights: ``changed_fp32``; ``changed_tolerance`` (by more than 1e-5); ``changed_relative`` (by
        more than 1e-3 of themselves); ``changed_bf16``, when start and end are rounded to bf16;
        ``changed_bf16_tolerance``, then by more than 1e-5, as arXiv 2505.11711 has it; ``past_half_ulp``, by more than
        half the spacing of bf16; ``changed_bf16_at_<size>``, when the update is brought to that length first
        (NaN where nothing moved).
        ``update_size``, the update's norm over that of the start; ``median_ulp``, the median of ``|delta|`` in spacings
        of bf16. And the rank of the update, mean over matrices (tensors of two axes), of the difference in float32,
        ``..._fp32``, and of the rounded weights, ``..._bf16``: ``rank``, ``effective_rank`` and ``top_energy``, as
        :func:`~toybed.measures.update_anatomy.spectrum` has them, and each ``shuffled_...``, of the same entries in
        shuffled places, which are drawn by each run's seed. Ranks are NaN where a matrix did not change.
    """
    before, after = flat_parameters(start), flat_parameters(policy)
    delta = after - before
    masks = {
        "changed_fp32": changed(before, after),
        "changed_tolerance": changed_beyond(before, after),
        "changed_relative": changed_relatively(before, after),
        "changed_bf16": changed_in_bf16(before, after),
        "changed_bf16_tolerance": changed_beyond(to_bf16(before), to_bf16(after)),
        "past_half_ulp": moved_past_half_ulp(before, after),
    }
    for size in SIZES:
        masks[f"changed_bf16_at_{size:g}"] = changed_in_bf16(before, rescaled(before, after, size))
    measures = {name: mask.double().mean(1) for name, mask in masks.items()}
    still = ~masks["changed_fp32"].any(1)
    for size in SIZES:
        measures[f"changed_bf16_at_{size:g}"].masked_fill_(still, torch.nan)
    measures["update_size"] = delta.double().norm(dim=1) / before.double().norm(dim=1)
    measures["median_ulp"] = (delta.abs() / bf16_ulp(before)).median(1).values
    return measures | _ranks(policy, start, seeds)


def _ranks(policy: Policy, start: Policy, seeds: Sequence[int]) -> dict[str, Tensor]:
    """Ranks, mean over matrices."""
    found: dict[str, list[Tensor]] = {}
    pairs = zip(start.named_parameters(), policy.parameters(), strict=True)
    for (name, before), after in pairs:
        if before.ndim != 3 or min(before.shape[1:]) < 2:
            continue
        random = Streams(f"shuffled support of {name}", seeds, before.device)
        order = random.uniform((before[0].numel(),)).argsort(dim=1, stable=True)
        for kind, difference in DIFFERENCES.items():
            delta = difference(before.detach(), after.detach())
            for label, matrix in (("", delta), ("shuffled_", shuffled_support(delta, order))):
                for measure, value in spectrum(matrix).items():
                    found.setdefault(f"{label}{measure}_{kind}", []).append(value)
    return {name: torch.stack(values, 1).mean(1) for name, values in found.items()}
