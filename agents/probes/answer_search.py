"""What does a policy find in a search at test time, with a budget of answers?

Two searches on the hardest questions: independent answers, and a small evolutionary search that changes the best answer
so far. Both are exact: outcomes are frozen, so that what an answer is worth is a matter of which hops it finds, and the
search a walk on the 2^H sets of these.
"""

from __future__ import annotations

import torch
from torch import Tensor

from toybed.agents.probes.best_answers import expected_best, search_world
from toybed.envs.core import TokenEnv
from toybed.envs.tool_search import HIT, MISS, NO_RESULT, ToolSearch
from toybed.errors import ToybedError

BUDGETS = (8, 32, 128)  # answers
FRESH = 3  # answers with which evolution begins
HARDEST = 4  # one of so many solvable held-out questions


def answer_search(env: TokenEnv, table: Tensor, start: Tensor) -> dict[str, Tensor]:
    """Share of hard questions solved, and what the best answer is worth, after a budget of n answers.

    Hard: the quarter of the held-out questions with a solution that has the fewest right plans, whatever the policy.
    ``best_of``: n independent answers. ``evolution``: after 3 of these the parent is the one with the largest mean of
    the components, the first of equals; each further answer is a child of it, with the tool of one hop drawn anew:
    hop and, in a set, the answer whose policy draws are chosen uniformly. It takes the parent's place unless it is
    worse. The calls after the changed one stay as they are.

    Returns:
        ``best_of_solved@n``, ``best_of_value@n`` (mean of the components of the best answer), ``evolution_solved@n``
        and ``evolution_value@n``.

    Raises:
        ToybedError: the world is not ToolSearch, its answers are not plans of one call for each hop, or the policy has
            heads.
    """
    env = search_world(env, "answer_search")
    if env.retry or env.guess:
        raise ToybedError("the probe answer_search changes plans; allowed: retry=False and guess=False")
    hits = hit_chances(env, table.double(), hard_questions(env))
    bits = torch.arange(env.hops, device=table.device)
    patterns = (torch.arange(2**env.hops, device=table.device)[:, None] >> bits) & 1
    worth = (patterns.sum(1) + patterns.all(1)).double() / (env.hops + 1)
    fresh = _pattern_chances(hits, patterns)
    one = torch.ones(1, 1, dtype=torch.float64, device=table.device)
    measures: dict[str, Tensor] = {}
    for what, value in (("solved", patterns.all(1).double()), ("value", worth)):
        best = expected_best(fresh, value[:, None], one, BUDGETS)
        measures |= {f"best_of_{what}@{n}": found for n, found in zip(BUDGETS, best, strict=True)}
    for n, chance in evolution(hits, fresh, patterns).items():
        measures[f"evolution_solved@{n}"] = chance[..., -1].mean(-1)
        measures[f"evolution_value@{n}"] = (chance @ worth).mean(-1)
    return measures


def hard_questions(env: ToolSearch) -> Tensor:
    """The quarter of the held-out questions with a solution that has the fewest right plans, ``[Q]``."""
    prompts = env.prompts("test")
    plans = env.one_answer.solutions(prompts)
    prompts, plans = prompts[plans > 0], plans[plans > 0]
    return prompts[plans.argsort(stable=True)[: max(len(prompts) // HARDEST, 1)]]


def hit_chances(env: ToolSearch, table: Tensor, questions: Tensor) -> Tensor:
    """Chance that an answer's call finds a hop, after a hop that was missed or found: ``[S, M, Q, H, 2]``."""
    bank = env.bank
    cue, works = bank.cue[questions], bank.works[questions].to(table.dtype)
    found = []
    for answer in range(env.set_size):
        by_hop = []
        for hop in range(env.hops):
            lasts = (MISS, HIT) if hop else (NO_RESULT, NO_RESULT)
            by_last = []
            for last in lasts:
                seen = [cue, *(torch.full_like(cue, part) for part in (hop, last))]
                seen += [torch.full_like(cue, answer)] if env.set_size > 1 else []
                row = env.context_index(torch.stack(seen, -1))
                by_last.append((table[:, row].exp() * works[:, hop]).sum(-1))
            by_hop.append(torch.stack(by_last, -1))
        found.append(torch.stack(by_hop, -2))
    return torch.stack(found, 1)


def _pattern_chances(hits: Tensor, patterns: Tensor) -> Tensor:
    """Chance that a fresh answer finds just these hops: ``[S, M, Q, H, 2]`` and ``[N, H]`` to ``[S, M, Q, N]``."""
    before = torch.cat([torch.zeros_like(patterns[:, :1]), patterns[:, :-1]], 1)
    hops = torch.arange(patterns.shape[1], device=patterns.device)
    hit = hits[..., hops, before]  # [S, M, Q, N, H]
    return torch.where(patterns.bool(), hit, 1 - hit).prod(-1)


def evolution(hits: Tensor, fresh: Tensor, patterns: Tensor) -> dict[int, Tensor]:
    """Which hops the best answer finds, ``[S, Q, N]``, after each of the budgets.

    Args:
        hits: chance that a call finds its hop, ``[S, M, Q, H, 2]``; a redrawn call sees what the one before it found.
        fresh: of each set of hops in a fresh answer, ``[S, M, Q, N]``.
        patterns: the sets of hops, ``[N, H]``, in the order of their bits.
    """
    count = patterns.sum(1)  # the mean of the components rises with it
    no_better = (count[:, None] <= count).double()  # [N, N]: row i is no better than column j
    worse = (count[:, None] < count).double()
    redrawn = hits.mean(1)  # [S, Q, H, 2]
    now = fresh[:, 0]
    after = {}
    for made in range(1, max(BUDGETS) + 1):
        if 1 < made <= FRESH:
            new = fresh[:, (made - 1) % fresh.shape[1]]
            now = now * (new @ no_better) + new * (now @ worse)
        elif made > FRESH:
            now = _mutated(now, redrawn)
        if made in BUDGETS:
            after[made] = now
    return after


def _mutated(now: Tensor, redrawn: Tensor) -> Tensor:
    """One child: a missed hop is found if it is chosen and the call drawn anew hits, ``[S, Q, N]``."""
    hops = redrawn.shape[-2]
    result = now
    for hop in range(hops):
        # Axes of 2 for this hop and, where there is one, the hop before it, which the redrawn call sees.
        parted = now.unflatten(-1, (2 ** (hops - hop - 1), 2, 2**hop))
        before = (torch.arange(2**hop, device=now.device) >> max(hop - 1, 0)) & 1
        moved = parted[..., 0, :] * redrawn[..., hop, before][..., None, :] / hops
        result = result + torch.stack([-moved, moved], -2).flatten(-3)
    return result
