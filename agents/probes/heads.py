"""Do the heads of a policy differ, and how much is each worth?"""

from __future__ import annotations

import torch
from torch import Tensor

from toybed.agents.config import Heads
from toybed.agents.heads import Headed
from toybed.envs.core import MAX_ENUMERATED, TokenEnv, sample_of
from toybed.measures.entropy import token_entropy

PROMPTS = 128  # of each split, a fixed sample


def heads(env: TokenEnv, table: Tensor, start: Tensor) -> dict[str, Tensor]:
    """Entropy of each head and of their mixture, and what a response tells about its head.

    ``I(head; response | prompt) = H(mixture) - sum_h share_h H(head h)``, between 0 (all heads alike) and log N (no
    response comes from two heads); of a prompt that only one head answers it is 0. By enumeration, on a fixed sample
    of 128 prompts; success is exact on all prompts.

    Returns:
        For both splits: ``head_entropy`` and ``mixture_entropy`` (nats per token, i.e. of the response by its tokens),
        ``head_information`` (nats per response), ``success_best_head`` and ``success_worst_head`` (of one head on the
        prompts that it answers).
    """
    view = env if isinstance(env, Headed) else Headed(env, Heads(), device=env.device)
    tables = view.tables(table)
    success = view.env.evaluate(tables).reward
    measures = {}
    for split in ("train", "test"):
        own, mixed = _entropies(view, tables, sample_of(view.env.prompts(split), PROMPTS))
        measures[f"head_entropy_{split}"] = own / env.horizon
        measures[f"mixture_entropy_{split}"] = mixed / env.horizon
        measures[f"head_information_{split}"] = mixed - own
        chosen = torch.isin(view.env.prompts(), view.env.prompts(split))
        share = view.shares(view.env.prompts()) * chosen
        of_heads = (success * share).sum(-1) / share.sum(-1)
        measures[f"success_best_head_{split}"] = of_heads.amax(-1)
        measures[f"success_worst_head_{split}"] = of_heads.amin(-1)
    return measures


def _entropies(view: Headed, tables: Tensor, prompts: Tensor) -> tuple[Tensor, Tensor]:
    """Entropy of a response, nats, given the head and of the mixture, means over prompts: ``[S]`` twice."""
    most = max(MAX_ENUMERATED // (view.heads.count * view.vocabulary**view.horizon), 1)
    runs = []
    for run in tables:
        parts = [_of_run(view, run, part) for part in prompts.split(most)]
        runs.append(torch.cat(parts, 1).mean(1))
    own, mixed = torch.stack(runs, 1)
    return own, mixed


def _of_run(view: Headed, tables: Tensor, prompts: Tensor) -> Tensor:
    """The same of one run ``[N, C, V]``, prompt by prompt: ``[2, P]``."""
    log_prob, _ = view.env.enumerate_responses(tables.double(), prompts)
    share = view.shares(prompts)
    own = (share * token_entropy(log_prob)).sum(0)
    mixed = token_entropy(torch.logsumexp(log_prob + share.log()[..., None], 0))
    return torch.stack([own, mixed])
