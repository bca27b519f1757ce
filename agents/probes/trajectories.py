"""How many different responses a policy gives, right ones and wrong ones."""

from __future__ import annotations

import torch
from torch import Tensor

from toybed.envs.core import MAX_ENUMERATED, TokenEnv, sample_of
from toybed.measures.diversity import distinct_exact

PROMPTS = 256  # of each split, a fixed sample
SAMPLES = 256
KINDS = ("right", "wrong")


def trajectories(env: TokenEnv, table: Tensor, start: Tensor) -> dict[str, Tensor]:
    """Distinct right and distinct wrong responses among 256 samples, expected, exactly.

    Returns:
        For both splits ``distinct_right@256`` and ``distinct_wrong@256``: mean over a fixed sample of 256 prompts of
        the expected number of different responses with full reward and without it.
    """
    measures: dict[str, Tensor] = {}
    for split in ("train", "test"):
        parts = []
        prompts = sample_of(env.prompts(split), PROMPTS)
        for chunk in prompts.split(max(MAX_ENUMERATED // (env.vocabulary**env.horizon * len(table)), 1)):
            log_prob, reward = env.enumerate_responses(table, chunk)
            right = reward == 1
            parts.append(torch.stack([distinct_exact(log_prob, kind, SAMPLES) for kind in (right, ~right)]))
        means = torch.cat(parts, -1).double().mean(-1)
        measures |= {f"distinct_{kind}@{SAMPLES}_{split}": mean for kind, mean in zip(KINDS, means, strict=True)}
    return measures
