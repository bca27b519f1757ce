"""What is had by answering some responses with the policy that the run started from."""

from __future__ import annotations

import torch
from torch import Tensor

from toybed.envs.core import TokenEnv
from toybed.measures.diversity import pass_at_k_exact

SHARES = (0.02, 0.05, 0.1, 0.2, 0.4, 0.7)  # of the responses that the start gives
K = 64


def start_mixtures(env: TokenEnv, table: Tensor, start: Tensor) -> dict[str, Tensor]:
    """Pass@1 and pass@64 where each response is the start's with a small chance, and else the policy's; exact.

    ``p = share p_start + (1 - share) p_policy`` for each prompt. Whoever keeps the base policy has these for free.

    Returns:
        For both splits and each share: ``reward_start_<share>`` and ``pass@64_start_<share>``.
    """
    now, before = (env.evaluate(policy).reward.double() for policy in (table, start))
    measures = {}
    for split in ("train", "test"):
        chosen = torch.isin(env.prompts(), env.prompts(split))
        for share in SHARES:
            success = (share * before + (1 - share) * now)[:, chosen]
            measures[f"reward_start_{share:g}_{split}"] = success.mean(1)
            measures[f"pass@{K}_start_{share:g}_{split}"] = pass_at_k_exact(success, K).mean(1)
    return measures
