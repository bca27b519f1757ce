"""What ``search_squeeze`` measures: where runs begin and end, and what the best table policies and mixtures reach."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toybed.benchmarks import mixtures
from toybed.study import Records

Array = NDArray[np.float64]

ONE, MANY = "reward", "pass@64"
RIGHT, WRONG = "distinct_right@256", "distinct_wrong@256"
PLANS = "plan_entropy"
WEIGHTS = (0.0, 0.5, 0.7, 0.8, 0.9, 0.95)  # of pass@1 against pass@64


def ends(records: Records, measure: str) -> tuple[Array, Array]:
    """A measure at the start and at the end of each run, ``[n]`` twice; NaN at both for a run that diverged."""
    return records.at(measure, 0), records.at(measure, -1)


def change(records: Records, measure: str) -> Array:
    """End less start of each run, ``[n]``."""
    start, end = ends(records, measure)
    return end - start


def share_lost(records: Records, measure: str) -> Array:
    """The share of a measure's start that is lost, ``[n]``."""
    start, end = ends(records, measure)
    return 1 - end / start


def beyond_base(grpo: Records, own: Records) -> Array:
    """Pass@64 above what GRPO with some responses of its base has at the same pass@1, in distribution, ``[n]``.

    Exact at six shares and at both ends; in between by chords, which are a little below.
    """
    from toybed.agents.probes.start_mixtures import SHARES  # with torch, which listing the questions does without

    points = [[grpo.at(f"{m}_train", place) for m in (ONE, MANY)] for place in (0, -1)]
    points += [[grpo.at(f"{m}_start_{share:g}_train", -1) for m in (ONE, MANY)] for share in SHARES]
    return own.at(f"{MANY}_train", -1) - mixtures.frontier(np.array(points), own.at(f"{ONE}_train", -1))


def at_equal_reward(a: Records, b: Records) -> tuple[Array, Array, Array]:
    """Pass@1 that both reach, and the pass@64 of both when they first do, in distribution, ``[n]`` each."""
    reward = [np.where(r.sound[:, None], r[f"{ONE}_train"], np.nan) for r in (a, b)]
    level = np.minimum(*(values.max(1) for values in reward))
    many = [_when_first(x, r[f"{MANY}_train"], level) for x, r in zip(reward, (a, b), strict=True)]
    return level, many[0], many[1]


def _when_first(reward: Array, many: Array, level: Array) -> Array:
    """``many [n, points]`` where ``reward`` first reaches a level ``[n]``, between points on a straight line."""
    found = np.full(len(level), np.nan)
    for run, at in enumerate(level):
        reached = np.flatnonzero(reward[run] >= at)
        if len(reached) and (i := reached[0]):
            step = (at - reward[run, i - 1]) / (reward[run, i] - reward[run, i - 1])
            found[run] = many[run, i - 1] + step * (many[run, i] - many[run, i - 1])
        elif len(reached):
            found[run] = many[run, 0]
    return found


@cache
def front(**knobs: Any) -> Array:
    """Pass@1 and pass@64 of the table policies that make most of ``(1 - w) pass@64 + w pass@1``, ``[points, 2]``.

    On the train questions; by ascent, so what is found may be a little below the best; for w = 1 exact.
    """
    from toybed.envs import make
    from toybed.measures.diversity import pass_at_k_exact

    world: Any = make("tool_search", **knobs)
    best = [world.best_at_k(64, "train", weight) for weight in WEIGHTS] + [world.best_at_k(1, "train")]
    success = [world.evaluate(policy.table).reward[world.prompts("train")] for policy in best]
    return np.array([[float(p.mean()), float(pass_at_k_exact(p, 64).mean())] for p in success])


@cache
def optimum(**knobs: Any) -> tuple[float, float]:
    """Pass@1 and pass@64 of the best table policy for pass@1 on the train questions, exactly."""
    from toybed.envs import make
    from toybed.measures.diversity import pass_at_k_exact

    world: Any = make("tool_search", **knobs)
    success = world.evaluate(world.best_at_k(1, "train").table).reward[world.prompts("train")]
    return float(success.mean()), float(pass_at_k_exact(success, 64).mean())


@cache
def bayes(**knobs: Any) -> float:
    """With ``retry``: the optimum of an agent that remembers all results, on fresh questions."""
    from toybed.envs import make

    world: Any = make("tool_search", **knobs)
    return float(world.optimum("train"))
