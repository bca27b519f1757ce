"""Can a policy still finish what it no longer begins?"""

from __future__ import annotations

import torch
from torch import Tensor

from toybed.agents.heads import check_no_heads
from toybed.envs.core import TokenEnv, sample_of

PROMPTS = 256  # of each split, a fixed sample
WAS_USED = (
    0.5  # times the uniform probability: a first token that the start gave at least this was an option of its own
)
FELL_TO = 0.1  # of what the start gave it: then it is abandoned


def first_steps(env: TokenEnv, table: Tensor, start: Tensor) -> dict[str, Tensor]:
    """Can the policy still finish what it no longer begins?

    The first token is given, and the rest is the policy's: its chance of a right response, exactly. A first token is
    *abandoned* if the start gave it at least half of the uniform probability, the policy now gives it less than a tenth
    of what the start did, and some right response begins with it. Of those that the start used, the others are *kept*.

    Returns:
        For both splits: ``abandoned`` (share of the used first tokens), and for ``abandoned`` and ``kept`` ones the
        mean chance of completion by the policy, ``completion_abandoned``, by its start,
        ``completion_abandoned_start``, and by uniformly random tokens, ``completion_abandoned_random``; and without
        the first token given, that the policy begins with it and completes it, ``completion_abandoned_alone``.

    Raises:
        ToybedError: the policy has heads: the first token of a mixture tells which of them goes on.
    """
    check_no_heads(env, "the probe first_steps")
    measures = {}
    for split in ("train", "test"):
        prompts = sample_of(env.prompts(split), PROMPTS)
        now, first = _completion(env, table, prompts)
        before, first_before = _completion(env, start, prompts)
        by_chance, _ = _completion(env, torch.zeros_like(start[:1]).log_softmax(-1), prompts)
        used = (first_before >= WAS_USED / env.vocabulary) & (by_chance > 0)
        abandoned = used & (first < FELL_TO * first_before)
        measures[f"abandoned_{split}"] = _share(abandoned, used)
        for name, chosen in (("abandoned", abandoned), ("kept", used & ~abandoned)):
            by = {"": now, "_start": before, "_random": by_chance.expand_as(now), "_alone": first * now}
            for who, value in by.items():
                measures[f"completion_{name}{who}_{split}"] = _share(value * chosen, chosen)
    return measures


def _completion(env: TokenEnv, table: Tensor, prompts: Tensor) -> tuple[Tensor, Tensor]:
    """Chance of a right response once the first token is given, and of that token: both ``[S, P, V]``."""
    first = table[:, env.context_index(env.observe(env.reset(prompts)))]
    right = []
    # One run at a time: all responses to all prompts of a stack would not fit into the cache, or into memory.
    for run, given in zip(table, first, strict=True):
        log_prob, reward = env.enumerate_responses(run, prompts)
        # Divided as logarithms: what is all but given up has a probability of 0 in float32.
        rest = (log_prob.unflatten(-1, (env.vocabulary, -1)) - given[..., None]).exp()
        right.append((rest * (reward == 1).unflatten(-1, (env.vocabulary, -1))).sum(-1))
    return torch.stack(right), first.exp()


def _share(part: Tensor, whole: Tensor) -> Tensor:
    """Sums over prompts and tokens, divided: ``[S, P, V]`` twice to ``[S]``; NaN where the whole is empty."""
    return part.double().flatten(1).sum(1) / whole.double().flatten(1).sum(1)
