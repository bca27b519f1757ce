"""Which entries of a policy's parameters are trained, where an earlier run says which."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from toybed.agents.policies import Policy
from toybed.measures.update_anatomy import changed_in_bf16
from toybed.streams import Streams


def trained_entries(which: str, policy: Policy, start: Tensor, end: Tensor, seeds: Sequence[int]) -> Tensor:
    """The entries that are trained, bool ``[S, D]``.

    Args:
        which: "changed", "unchanged" or "shuffled", of :class:`~toybed.agents.config.Start`.
        policy: whose tensors are shuffled each in itself.
        start, end: parameters of the earlier run, ``[S, D]``.
        seeds: the runs' root seeds; the shuffle has a stream of its own.
    """
    changed = changed_in_bf16(start, end)
    if which == "changed":
        return changed
    if which == "unchanged":
        return ~changed
    uniform = Streams("subnetwork", seeds, start.device).uniform(changed.shape[1:])
    sizes = [p[0].numel() for p in policy.parameters()]
    parts = zip(changed.split(sizes, 1), uniform.split(sizes, 1), strict=True)
    return torch.cat([part.gather(1, draw.argsort(1)) for part, draw in parts], 1)
