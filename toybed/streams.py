"""Random streams of stacked runs, as tensors.

Each run draws from streams of its own, so it draws the same numbers alone as it does in a stack. Draws are made on the
CPU for every device.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from toybed.seeding import named_generator


class Streams:
    """One stream of uniform numbers for each of S stacked runs.

    Args:
        name: what the numbers are for, e.g. ``"rollout"``.
        seeds: the S runs' root seeds.
        device: where the drawn tensors go.
    """

    def __init__(self, name: str, seeds: Sequence[int], device: torch.device | str = "cpu") -> None:
        self._generators = [named_generator(seed, name) for seed in seeds]
        self._device = device

    def __len__(self) -> int:
        return len(self._generators)

    def uniform(self, shape: Sequence[int], runs: Sequence[bool] | None = None) -> Tensor:
        """Uniform numbers in [0, 1), float32 ``[S, *shape]``.

        Args:
            shape: the shape of one run's draw.
            runs: which runs draw; the others get zeros, and their streams do not move.
        """
        out = np.zeros((len(self._generators), *shape), dtype=np.float32)
        for index, generator in enumerate(self._generators):
            if runs is None or runs[index]:
                out[index] = generator.random(tuple(shape), dtype=np.float32)
        return torch.from_numpy(out).to(self._device)


def draw_uniform(generator: torch.Generator | Streams, like: Tensor) -> Tensor:
    """Uniform numbers of the shape and device of ``like``, from a torch generator or from per-run streams.

    With :class:`Streams` the first axis of ``like`` is the run axis S.
    """
    if isinstance(generator, Streams):
        return generator.uniform(like.shape[1:]).to(like.device)
    return torch.rand(like.shape, generator=generator, device=generator.device).to(like.device)
