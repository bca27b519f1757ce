"""How good is the best of n answers, in the eyes of many, and how far apart are two of them?

Counted in answers and not in responses, so that policies that give one answer a response and those that give a set of
them compare at equal cost. The answers of a response are independent given the question; so everything here is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np
import torch
from torch import Tensor

from toybed.agents.heads import check_no_heads
from toybed.envs.core import TokenEnv, sample_of
from toybed.envs.tool_search import ToolSearch
from toybed.envs.tool_search_truth import mixed, outcome_rewards
from toybed.errors import ToybedError
from toybed.seeding import named_generator

ANSWERS = (1, 3, 6, 12, 24, 48, 96)
COMMONS = (-4.0, -2.0, -1.0, 0.0, 0.5, 0.9, 1.0)  # of the world's knob ``common``: the best answers under each
DRAWS = 8  # of preferences, each of which stands there once for every component
PROMPTS = {"train": 512, "test": 2048}  # at most, a fixed sample


def best_answers(env: TokenEnv, table: Tensor, start: Tensor) -> dict[str, Tensor]:
    """The best of n answers, and how much answers differ.

    A policy sees nothing of ``common``: so the best answers are valued as they would be in the world of every one of
    :data:`COMMONS`, and in its own.

    Returns:
        For both splits, means over up to 512 train questions and 2,048 test questions: ``best@n_common_c``, the
        expected best ``w . r'`` of n answers, mean over :func:`preferences` (for c = 1 the mean of the components, for
        c = 0 they are as found); ``right@n``, the chance that one of n answers is right (pass@n); ``spread``, the mean
        L1 distance of the components as found between two answers: of one set, or of two responses where a response is
        one answer; ``correlation_common_c``, the mean correlation of two different components of an answer to one
        question, pooled over questions; NaN where a component does not vary.

    Raises:
        ToybedError: the world is not ToolSearch, the one whose reward vectors are known exactly, or the policy has
            heads.
    """
    env = search_world(env, "best_answers")
    found = outcome_rewards(env.as_found)
    everyone = preferences(env.hops + 1).to(found)
    right = torch.eye(env.hops + 1, dtype=found.dtype, device=found.device)[
        -1:
    ]  # preferences that see the last component alone
    measures = {}
    for split in ("train", "test"):
        chance = env.outcomes(table.double(), sample_of(env.prompts(split), PROMPTS[split]))  # [S, M, P, 2^D]
        for n, value in zip(ANSWERS, expected_best(chance, found, right, ANSWERS), strict=True):
            measures[f"right@{n}_{split}"] = value
        for common in dict.fromkeys((*COMMONS, env.common)):
            rewards = mixed(found, common)
            # Of equal components all preferences think alike.
            audience = everyone if common != 1 else everyone.mean(0, keepdim=True)
            best = expected_best(chance, rewards, audience, ANSWERS)
            measures |= {f"best@{n}_common_{common:g}_{split}": v for n, v in zip(ANSWERS, best, strict=True)}
            measures[f"correlation_common_{common:g}_{split}"] = _correlation(chance, rewards)
        measures[f"spread_{split}"] = _spread(chance, found)
    return measures


def search_world(env: TokenEnv, by: str) -> ToolSearch:
    """The world as what it has to be, or an error."""
    check_no_heads(env, f"the probe {by}")
    if not isinstance(env, ToolSearch):
        raise ToybedError(f"the probe {by} reads exact reward vectors, and {env.title} has none; allowed: tool_search")
    return env


def preferences(components: int) -> Tensor:
    """Weights ``[8 D, D]`` from the uniform law on the simplex, the same every time.

    Each draw stands there with its components turned round to every place, so that their mean is 1/D exactly.
    """
    drawn = named_generator(0, "preferences").dirichlet(np.ones(components), size=DRAWS)
    return torch.from_numpy(np.concatenate([np.roll(drawn, turn, axis=1) for turn in range(components)]))


def expected_best(chance: Tensor, rewards: Tensor, audience: Tensor, counts: Sequence[int]) -> list[Tensor]:
    """Expected best ``w . r`` of n answers, mean over preferences and questions: ``[S]`` for each n of ``counts``.

    ``E max = v_K - sum_i (v_(i+1) - v_i) P(all <= v_i)`` over the values in ascending order. Of responses with M
    answers, n of these are n // M whole ones and the first n % M answers of another.

    Args:
        chance: of each outcome of an answer, ``[S, M, P, K]``.
        rewards: of the outcomes, ``[K, D]``.
        audience: the preferences, ``[N, D]``.
        counts: numbers of answers.
    """
    possible = (chance > 0).flatten(0, 2).any(0)  # many an outcome cannot be: a right answer without all hops
    chance, rewards = chance[..., possible], rewards[possible]
    total = chance.new_zeros(len(counts), len(chance))
    for weights in audience:
        value, order = (rewards @ weights).sort()
        below = chance[..., order[:-1]].cumsum(-1).clamp(max=1).unbind(1)  # M times [S, P, K - 1]
        whole = reduce(torch.mul, below)
        for row, n in enumerate(counts):
            every = reduce(torch.mul, below[: n % len(below)], _power(whole, n // len(below)))
            total[row] += value[-1] - every.mean(1) @ value.diff()
    return list(total / len(audience))


def _power(base: Tensor, n: int) -> Tensor:
    """``base ** n`` by squaring: some multiplications are far cheaper than one power."""
    result = torch.ones_like(base)
    while n:
        if n & 1:
            result = result * base
        n >>= 1
        base = base * base if n else base
    return result


def _spread(chance: Tensor, found: Tensor) -> Tensor:
    """Mean L1 distance of two answers' components, 0 or 1 each: ``[S, M, P, K]`` to ``[S]``."""
    share = chance @ found  # [S, M, P, D], of each component
    answers = range(share.shape[1])
    pairs = [(a, b) for a in answers for b in answers if a < b] or [(0, 0)]
    apart = [share[:, a] * (1 - share[:, b]) + share[:, b] * (1 - share[:, a]) for a, b in pairs]
    return torch.stack(apart).sum(-1).mean((0, 2))


def _correlation(chance: Tensor, rewards: Tensor) -> Tensor:
    """Mean correlation of two components within a question, covariances pooled over answers and questions: ``[S]``."""
    mean = chance @ rewards
    second = torch.einsum("smpk,kd,ke->smpde", chance, rewards, rewards)
    covariance = (second - mean[..., :, None] * mean[..., None, :]).mean((1, 2))
    deviation = covariance.diagonal(dim1=-2, dim2=-1).clamp(min=0).sqrt()
    correlation = covariance / (deviation[..., :, None] * deviation[..., None, :])
    size = correlation.shape[-1]
    return (correlation.sum((-2, -1)) - size) / (size * (size - 1))
