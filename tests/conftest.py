"""One torch thread, the hypothesis profile that every test uses, and random batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import settings
from torch import Tensor

from toybed.objectives.batch import Batch

torch.set_num_threads(1)

settings.register_profile("toybed", deadline=None, derandomize=False, max_examples=50, print_blob=True)
settings.load_profile("toybed")


class Draw(NamedTuple):
    """A batch with everything that an objective may read; ``log_prob`` and ``entropy`` are leaves."""

    batch: Batch
    log_prob: Tensor
    entropy: Tensor


def draw_batch(
    seed: int,
    shape: tuple[int, int, int] = (3, 4, 5),
    lead: tuple[int, ...] = (),
    *,
    drift: float = 0.5,
    rewards: tuple[float, ...] | None = None,
    equal_lengths: bool = False,
    dtype: torch.dtype = torch.float64,
) -> Draw:
    """Random responses ``[*lead, B, G, T]`` of unequal lengths.

    Args:
        seed: of the numbers.
        shape: B, G, T.
        lead: leading axes.
        drift: standard deviation of ``log pi - log pi_old``; 0 is on-policy.
        rewards: the values that a reward may have; None draws them from a normal law.
        equal_lengths: all responses have T tokens.
        dtype: of the tensors.
    """
    random = np.random.default_rng(seed)
    size = (*lead, *shape)
    lengths = np.full(size[:-1], size[-1]) if equal_lengths else random.integers(1, size[-1] + 1, size[:-1])
    mask = np.arange(size[-1]) < lengths[..., None]
    old = -random.exponential(1.5, size)
    reward = random.normal(size=size[:-1]) if rewards is None else random.choice(rewards, size[:-1])

    def tensor(value: np.ndarray) -> Tensor:
        return torch.tensor(value, dtype=dtype)

    batch = Batch(
        log_prob_old=tensor(old),
        mask=torch.tensor(mask),
        reward=tensor(reward),
        log_prob_ref=tensor(old + 0.4 * random.normal(size=size)),
        entropy_old=tensor(random.uniform(0, 2, size)),
        planning=torch.tensor(random.random(size) < 0.3) & torch.tensor(mask),
        source=torch.zeros(size[:-1], dtype=torch.int64),
    )
    # Through the rounded tensor, so that a drift of 0 is a ratio of exactly 1 in every dtype.
    log_prob = batch.log_prob_old + tensor(drift * random.normal(size=size))
    entropy = tensor(random.uniform(0, 2, size))
    return Draw(batch, log_prob.requires_grad_(), entropy.requires_grad_())


@pytest.fixture(scope="session")
def random_batch() -> Callable[..., Draw]:
    """:func:`draw_batch`."""
    return draw_batch
