"""The best that can be done in ToolSearch: by branch and bound, by ascent, and by recursion over what is remembered."""

from __future__ import annotations

import itertools
import math
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from toybed.envs.core import ILLEGAL
from toybed.envs.tool_search_truth import any_right, evaluate, expect, right_answer
from toybed.errors import ToybedError
from toybed.measures.diversity import pass_at_k_exact

if TYPE_CHECKING:
    from toybed.envs.tool_search import ToolSearch

MAX_STEPS = 300  # of the ascent to the optimum of pass@k
MAX_MIXING = 10_000  # steps to the best mixture; some hundreds are usual
MIXED = 1e-6  # of pass@k: how near the bound is near enough


class BestAtK(NamedTuple):
    """What was made large, of a policy on the questions asked for, and the policy as a table ``[C, V]``, float64."""

    worth: float
    table: Tensor


def best_at_k(env: ToolSearch, k: int, split: str, one: float = 0.0) -> BestAtK:
    """The best policy for pass@k that sees what the observation shows; or for ``(1 - one) pass@k + one pass@1``.

    For k = 1 without ``retry`` exact: the success of each answer is linear in the choice at each hop, so some plan of
    fixed tokens for each cue is optimal. Else by L-BFGS on the exact value from two starts: a local optimum.
    """
    prompts = env.prompts(split)
    starts = [env.uniform()]
    if not env.retry:
        vertex = _table_of_plans(env, {c: _best_plans(env, c, prompts)[1] for c in range(env.clusters)})
        if k == 1:
            return BestAtK(float(evaluate(env, vertex).reward[prompts].mean()), vertex)
        starts.append(torch.logaddexp(vertex, starts[0]))
    else:
        contexts = env.contexts()
        favourite = torch.arange(env.vocabulary, device=env.device) == contexts[:, :1] + 1
        starts.append(starts[0] + 2.0 * favourite)
    return max((_ascend(env, k, prompts, start, one) for start in starts), key=lambda best: best.worth)


def _ascend(env: ToolSearch, k: int, prompts: Tensor, start: Tensor, one: float) -> BestAtK:
    logits = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [logits], max_iter=MAX_STEPS, tolerance_grad=1e-9, tolerance_change=1e-12, line_search_fn="strong_wolfe"
    )
    right = right_answer(env, env.bank.known)[None, prompts]
    works, cue = env.bank.works[prompts], env.bank.cue[prompts]

    def worth() -> Tensor:
        success = any_right(expect(env, logits.log_softmax(-1), works, cue, right)[0])
        # Not quite 1: there the logarithm in pass@k has no gradient.
        many = pass_at_k_exact(success.clamp(max=1 - 1e-12), k).mean()
        return (1 - one) * many + one * success.mean() if one else many

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = -worth()
        loss.backward()
        return loss

    optimizer.step(closure)
    with torch.no_grad():
        return BestAtK(float(worth()), logits.detach().log_softmax(-1))


class BestMixture(NamedTuple):
    """Pass@k of the best distribution over plans, a ``bound`` that no other exceeds, and its ``share [C, N]``."""

    worth: float
    bound: float
    plans: tuple[tuple[int, ...], ...]
    share: Tensor


def best_mixture_at_k(env: ToolSearch, k: int, split: str) -> BestMixture:
    """The optimum of pass@k over all ways to sample k answers alike: any distribution over plans for each cue.

    A table policy cannot reach it, because it forgets which tool it called before: its plans have independent hops.
    Heads, or a latent choice, can. ``sum_q 1 - (1 - (A x)_q)^k`` is concave in the shares x, so that
    ``f(x) + max_i g_i - g . x`` bounds all others; x is found by multiplicative steps along the gradient g.

    Raises:
        ToybedError: with ``retry`` or several answers plans are not all that there is to an answer.
    """
    if env.retry or env.set_size > 1:
        raise ToybedError("tool_search: best_mixture_at_k needs retry=False and set_size=1")
    if k < 1:
        raise ToybedError(f"tool_search: k is {k}; allowed: at least 1")
    prompts = env.prompts(split)
    parts = [_plans(env, prompts[env.bank.cue[prompts] == cue]) for cue in range(env.clusters)]
    found = [_mix(right.double(), k) for _, right in parts]
    worth, bound = (sum(each) / len(prompts) for each in (([w for w, _, _ in found]), [b for _, b, _ in found]))
    return BestMixture(worth, bound, tuple(parts[0][0]), torch.stack([share for *_, share in found]))


def _mix(right: Tensor, k: int) -> tuple[float, float, Tensor]:
    """The shares ``[N]`` that make most of ``right [Q, N]`` in k draws: sum over rows, bound, shares."""
    trial = right.new_full(right.shape[1:], 1 / right.shape[1])
    best, slope, worth, bound, power = trial, trial, -1.0, math.inf, 1.0
    for _ in range(MAX_MIXING):
        miss = (1 - right @ trial).clamp(min=0)
        value = float((1 - miss**k).sum())
        if value < worth:
            power /= 2
        else:
            gradient = right.T @ (k * miss ** (k - 1))
            along = float(gradient @ trial)
            worth, best, slope, power = value, trial, gradient / max(along, 1e-300), min(1.05 * power, 2.0)
            bound = min(bound, value + float(gradient.max()) - along)
        if bound - worth <= MIXED * len(right):
            break
        trial = best * slope**power
        trial = trial / trial.sum()
    return worth, bound, best


def optimum(env: ToolSearch, split: str) -> float:
    """The best attainable mean reward over a split's prompts."""
    prompts = env.prompts(split)
    if env.retry:
        kinds = [kind for kind in ("train", "test") if bool(torch.isin(env.prompts(kind), prompts).any())]
        return sum(bayes_optimum(env, kind) * len(env.prompts(kind)) for kind in kinds) / len(prompts)
    return sum(_best_plans(env, cue, prompts)[0] for cue in range(env.clusters)) / len(prompts)


def _best_plans(env: ToolSearch, cue: int, prompts: Tensor) -> tuple[int, list[tuple[int, ...]]]:
    """The M plans that answer most of a cue's questions, without ``retry``; a plan is a tuple of tokens."""
    plans, right = _plans(env, prompts[env.bank.cue[prompts] == cue])
    value, chosen = _cover(right, env.set_size, -1)
    return value, [plans[i] for i in chosen]


def _plans(env: ToolSearch, prompts: Tensor) -> tuple[list[tuple[int, ...]], Tensor]:
    """All N plans for one answer, and which of them answer which question, bool ``[Q, N]``."""
    works, known = env.bank.works[prompts], env.bank.known[prompts]
    plans: list[tuple[int, ...]] = []
    columns, prefix = [], torch.ones(len(prompts), 1, dtype=torch.bool, device=env.device)
    for hop in range(env.hops):
        if env.guess:
            plans += [(*plan, env.tools) for plan in itertools.product(range(env.tools), repeat=hop)]
            columns.append(prefix & known[:, hop, None])
        prefix = (prefix[:, :, None] & works[:, hop, None]).flatten(1)
    return [*plans, *itertools.product(range(env.tools), repeat=env.hops)], torch.cat([*columns, prefix], 1)


def _cover(right: Tensor, answers: int, floor: int) -> tuple[int, list[int]]:
    """The columns of ``right [Q, N]`` that cover most rows, and how many: by branch and bound, above ``floor``."""
    counts, order = right.sum(0).sort(descending=True, stable=True)
    chosen: list[int] = []
    for place, (count, column) in enumerate(zip(counts.tolist(), order.tolist(), strict=True)):
        if answers * count <= floor:  # no later column covers more, alone or together
            break
        if answers == 1:
            return count, [column]
        rest = right[~right[:, column]][:, order[place:]]
        value, others = _cover(rest, answers - 1, floor - count)
        if others:
            floor, chosen = count + value, [column, *order[place:][others].tolist()]
    return floor, chosen


def _table_of_plans(env: ToolSearch, plans: dict[int, list[tuple[int, ...]]]) -> Tensor:
    """The policy that follows the m-th plan of each cue in its m-th answer, whatever the results."""
    contexts = env.contexts()
    cue, hop = contexts[:, 0].tolist(), contexts[:, 1].tolist()
    answer = contexts[:, -1].tolist() if env.set_size > 1 else [0] * len(cue)
    token = [
        (*plans[c][min(m, len(plans[c]) - 1)], *(0,) * env.hops)[h] for c, h, m in zip(cue, hop, answer, strict=True)
    ]
    table = torch.full((len(contexts), env.vocabulary), ILLEGAL, dtype=torch.float64, device=env.device)
    # Over is over, also after a guess, where only token 0 is legal.
    token = [0 if h == env.hops else v for v, h in zip(token, hop, strict=True)]
    return table.scatter(1, torch.tensor(token, device=env.device)[:, None], 0.0)


def bayes_optimum(env: ToolSearch, split: str = "train") -> float:
    """Success of an agent that remembers every result, on a fresh question of a split's kind, exactly.

    By recursion with memory over (hop, tools tried there, calls left, hits and misses of each tool): the counts are
    all that the posterior over the cluster depends on. Without ``retry`` the budget is H.
    """
    chance, rho = env.chances(split)
    rates = chance.tolist()
    prior = [rho * (c == 0) + (1 - rho) / env.clusters for c in range(env.clusters)]  # by symmetry, for cue 0

    def posterior(hits: tuple[int, ...], misses: tuple[int, ...]) -> list[float]:
        weights = list(prior)
        for c, row in enumerate(rates):
            for p, hit, miss in zip(row, hits, misses, strict=True):
                weights[c] *= p**hit * (1 - p) ** miss
        total = sum(weights)
        return [w / total for w in weights]

    def more(counts: tuple[int, ...], tool: int) -> tuple[int, ...]:
        return (*counts[:tool], counts[tool] + 1, *counts[tool + 1 :])

    @cache
    def value(hop: int, tried: int, left: int, hits: tuple[int, ...], misses: tuple[int, ...]) -> float:
        if hop == env.hops:
            return 1.0
        best = env.by_heart ** (env.hops - hop) if env.guess and left else 0.0
        if left < env.hops - hop:
            return best
        weights = posterior(hits, misses)
        for tool in range(env.tools):
            if tried >> tool & 1:
                continue
            works = sum(w * row[tool] for w, row in zip(weights, rates, strict=True))
            worth = works * value(hop + 1, 0, left - 1, more(hits, tool), misses) if works else 0.0
            if works < 1 and env.retry:
                worth += (1 - works) * value(hop, tried | 1 << tool, left - 1, hits, more(misses, tool))
            best = max(best, worth)
        return best

    nothing = (0,) * env.tools
    return value(0, 0, env.calls_per_answer, nothing, nothing)
