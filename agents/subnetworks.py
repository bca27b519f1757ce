"""Which entries of a policy's parameters are trained, where an earlier run says which."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from toybed.agents.policies import Policy
from toybed.measures.update_anatomy import changed_in_bf16, layers, layers_and_exponents
from toybed.streams import Streams


def trained_entries(which: str, policy: Policy, start: Tensor, end: Tensor, seeds: Sequence[int]) -> Tensor:
    """The entries that are trained, bool ``[S, D]``.

    Args:
        which: one of :data:`~toybed.agents.config.TRAINED` but "all", see :class:`~toybed.agents.config.Start`.
        policy: whose tensors they are.
        start, end: parameters of the earlier run, ``[S, D]``.
        seeds: the runs' root seeds; a shuffle has a stream of its own.
    """
    changed = changed_in_bf16(start, end)
    if which == "changed":
        return changed
    if which == "unchanged":
        return ~changed
    sizes = [p[0].numel() for p in policy.parameters()]
    groups = layers_and_exponents(start, sizes) if which == "matched" else layers(sizes).to(start.device)
    uniform = Streams("subnetwork", seeds, start.device).uniform(changed.shape[1:])
    runs = zip(changed, groups.expand(changed.shape), uniform, strict=True)
    return torch.stack([_shuffled(*run) for run in runs])


def _shuffled(mask: Tensor, group: Tensor, uniform: Tensor) -> Tensor:
    """The mask ``[D]`` with its entries in random places, each within its group."""
    here = group.argsort(stable=True)
    random = uniform.argsort(stable=True)
    there = random[group[random].argsort(stable=True)]
    return torch.empty_like(mask).scatter(0, there, mask[here])
