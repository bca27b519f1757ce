"""Can the policy that a run began with be steered, by directions added to its hidden units, to do what RL learned?

A direction for each skill: how far RL moved the units where it came to plan that skill, on average (a mean difference).
It is added to the start's units where the trained policy would plan that skill: that policy says when, and the start
does everything else itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from toybed.agents.policies import MLPPolicy, Policy, normalise
from toybed.agents.probes.hybrids import SHARES, held_out_success, plan_world, prefixes, reached
from toybed.envs.core import TokenEnv
from toybed.envs.plan_exec import PlanExec
from toybed.errors import ToybedError
from toybed.measures.divergence import kl_divergence
from toybed.seeding import named_generator

LAYERS = ("first", "second")
# 16 times as strong, the share that is recovered in deploy_or_create rises by less than 0.02, in any way of steering.
STRENGTHS = tuple(2.0**power for power in range(-1, 7))  # times the direction
DRAWS = 8  # of random directions, and of shuffles


class Moved(NamedTuple):
    """What RL did to a layer's units at planning contexts, ``[S, Z, D]`` each with more axes.

    ``by [.., W]``: how far the units were moved; ``plan [..]``: the likeliest plan of the trained policy.
    """

    by: Tensor
    plan: Tensor


class Steered(NamedTuple):
    """The best strength of a steering, chosen on train prompts, for each run.

    ``strength [S]``, success on train and on test prompts, ``learned [S]`` and ``success [S]``, and the tables
    ``[S, C, V]``. Of several draws the mean success, and the tables of the first draw.
    """

    strength: Tensor
    learned: Tensor
    success: Tensor
    table: Tensor


@torch.no_grad()
def steering(env: TokenEnv, policy: Policy, start: Policy, *, seeds: Sequence[int]) -> dict[str, Tensor]:
    """Success of the start, steered at planning tokens by its hidden units; exact.

    - ``targeted``: at each planning token the direction of the skill that the trained policy would plan there,
      ``v[z, p]``: the mean of ``h_trained - h_start`` over the planning contexts of *other types* than z at which it
      plans p; nothing where there is none. So no direction has seen the problem that it is used on.
    - ``gradient``: in the place of these what the start knows by itself, ``d log start(p) / d h``, the mean over
      planning contexts, with the mean norm of the former. The trained policy only says which skill, and where.
    - ``random``: random directions of the same norms in their place, one for each skill.
    - ``shuffled``: the targeted ones, where planning tokens have changed places: the trained policy does not say when.
      Both are means over 8 draws, which each run makes by its own seed.
    - ``untargeted``: the mean difference over all planning contexts of other types, at every planning token.
    - ``held``: targeted, and each direction stays on while its skill is carried out: always on.

    Each takes the strength that is best for itself on train prompts, of eight from 1/2 to 64 times the direction, and
    the better of the two hidden layers in the same way. Added to the second one's units, a direction is no more than
    a vector that is added to the logits.

    Returns:
        On test prompts: ``steered_<how>``; the same in each layer, ``steered_<how>_first`` and ``_second``, the
        ``strength_first`` and ``_second`` of the targeted one, and ``steered@s``: it is used at the planning tokens
        with the largest KL(trained || start) only, at no more than a share s of all tokens.

    Raises:
        ToybedError: the world is not PlanExec in the state view, or the policy is no MLP.
    """
    env = plan_world(env, "steering")
    if not isinstance(policy, MLPPolicy) or not isinstance(start, MLPPolicy):
        raise ToybedError(f"steering is a probe of policies mlp; {type(policy).__name__} has no hidden layers to steer")
    measures: dict[str, Tensor] = {}
    found = []
    for layer, name in enumerate(LAYERS):
        ways = _ways(env, how_moved(env, policy, start, layer), skill_gradients(env, start, layer), seeds)
        found.append({how: best(env, start, layer, *added) for how, added in ways.items()})
        measures |= {f"steered_{how}_{name}": each.success for how, each in found[layer].items()}
        measures[f"strength_{name}"] = found[layer]["targeted"].strength
    first, second = found
    measures |= {
        f"steered_{how}": torch.where(second[how].learned > each.learned, second[how].success, each.success)
        for how, each in first.items()
    }
    later = second["targeted"].learned > first["targeted"].learned
    table = torch.where(later[:, None, None], second["targeted"].table, first["targeted"].table)
    before, plans = start.table(env).double(), env.types * env.stages
    far = kl_divergence(policy.table(env).double()[:, :plans], before[:, :plans])
    curve = prefixes(env, before, table, far.argsort(descending=True, stable=True))
    return measures | {f"steered@{s:g}": reached(*curve, s) for s in SHARES}


def how_moved(env: PlanExec, policy: MLPPolicy, start: MLPPolicy, layer: int) -> Moved:
    """What RL did to the units of a layer."""
    grid = (env.types, env.stages)
    contexts = env.contexts()[: env.types * env.stages].expand(policy.runs, -1, -1)
    units, now = (each.units(contexts, layer).unflatten(1, grid) for each in (start, policy))
    plan = policy.log_probs(contexts, env.legal_at(contexts)).argmax(-1).unflatten(1, grid)
    return Moved(now - units, plan)


def directions(moved: Moved, skills: int) -> Tensor:
    """For each type and skill the mean of how the units were moved, over the contexts of other types: ``[S, Z, K, W]``.

    0 where no other type plans the skill.
    """
    planned = functional.one_hot(moved.plan, skills).to(moved.by.dtype)  # [S, Z, D, K]
    total, number = torch.einsum("szdk,szdw->szkw", planned, moved.by), planned.sum(2)
    others, count = (x.sum(1, keepdim=True) - x for x in (total, number))
    return others / count.clamp(min=1)[..., None]


def skill_gradients(env: PlanExec, start: MLPPolicy, layer: int) -> Tensor:
    """The direction in which the start comes to plan each skill: ``[S, K, W]``, of length 1.

    The gradient of its log-probability in the units of a layer, the mean over all planning contexts.
    """
    contexts = env.contexts()[: env.types * env.stages].expand(start.runs, -1, -1)
    units = start.units(contexts, layer)
    with torch.enable_grad():
        added = torch.zeros_like(units[:, :1], requires_grad=True)
        log_probs = normalise(start.onward(units + added, layer), env.legal_at(contexts)).mean(1)  # [S, V]
        slopes = [
            torch.autograd.grad(log_probs[:, skill].sum(), added, retain_graph=True)[0] for skill in range(env.skills)
        ]
    return functional.normalize(torch.cat(slopes, 1), dim=-1)


def _ways(env: PlanExec, moved: Moved, slopes: Tensor, seeds: Sequence[int]) -> dict[str, tuple[Tensor, Tensor | None]]:
    """What each way adds: at planning contexts ``[S, R, Z, D, W]``, R draws, and at executions ``[S, 1, K, W]``."""
    vectors = directions(moved, env.skills)
    norm = vectors.norm(dim=-1, keepdim=True)[:, None]
    plan, own = moved.plan[:, None], vectors[:, None]
    noise, mixed = _drawn(seeds, env.types * env.stages, tuple(vectors.shape[2:]))
    places = plan.flatten(2).expand(-1, DRAWS, -1).gather(2, mixed.to(plan.device)).unflatten(2, plan.shape[2:])
    noise = noise.to(vectors)[:, :, None]
    alike = torch.zeros_like(moved.plan)
    targeted = _routed(own, plan)
    strong = targeted.norm(dim=-1, keepdim=True).mean((2, 3), keepdim=True)
    return {
        "targeted": (targeted, None),
        "gradient": (strong * _routed(slopes[:, None, None].expand_as(own), plan), None),
        "random": (_routed(noise / noise.norm(dim=-1, keepdim=True) * norm, plan.expand(-1, DRAWS, -1, -1)), None),
        "shuffled": (_routed(own.expand(-1, DRAWS, -1, -1, -1), places), None),
        "untargeted": (_routed(directions(moved._replace(plan=alike), 1)[:, None], alike[:, None]), None),
        "held": (targeted, own.mean(2)),
    }


def _drawn(seeds: Sequence[int], places: int, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """For each run normal numbers ``[S, DRAWS, *shape]`` and orders of so many places ``[S, DRAWS, places]``."""
    generators = [named_generator(seed, "steering") for seed in seeds]
    noise = np.stack([random.standard_normal((DRAWS, *shape)) for random in generators])
    orders = np.stack([[random.permutation(places) for _ in range(DRAWS)] for random in generators])
    return torch.from_numpy(noise), torch.from_numpy(orders)


def _routed(vectors: Tensor, plan: Tensor) -> Tensor:
    """Of ``vectors [S, R, Z, K, W]`` those of ``plan [S, R, Z, D]``: ``[S, R, Z, D, W]``."""
    return vectors.gather(-2, plan[..., None].expand(*plan.shape, vectors.shape[-1]))


def best(env: PlanExec, start: MLPPolicy, layer: int, plans: Tensor, executions: Tensor | None) -> Steered:
    """Steer at each strength, and take the one that is best on train prompts.

    Args:
        env: the world.
        start: what is steered.
        layer: where.
        plans: what is added at planning contexts, ``[S, R, Z, D, W]`` for R draws.
        executions: what is added at executions, ``[S, 1, K, W]``, or None.
    """
    added = plans.flatten(2, 3)
    carried = torch.zeros(*added.shape[:2], env.skills, added.shape[-1]).to(added)
    carried = carried if executions is None else carried + executions
    added = torch.cat([added, carried.repeat_interleave(env.values, 2)], 2)  # [S, R, C, W]
    tables = torch.stack([_table(env, start, layer, strength * added) for strength in STRENGTHS], 1)  # [S, A, R, C, V]
    learned = env.evaluate(tables).reward[..., env.prompts("train")].mean((-2, -1))
    chosen = learned.argmax(-1)
    own = tables[torch.arange(len(tables)), chosen]  # [S, R, C, V]
    strength = torch.tensor(STRENGTHS, dtype=torch.float64, device=env.device)[chosen]
    return Steered(strength, learned.amax(-1), held_out_success(env, own).mean(-1), own[:, 0])


def _table(env: PlanExec, start: MLPPolicy, layer: int, added: Tensor) -> Tensor:
    """The start as a table with ``added [S, R, C, W]`` to the units of a layer: ``[S, R, C, V]``, float64."""
    contexts = env.contexts()
    units = start.units(contexts.expand(start.runs, -1, -1), layer)[:, None] + added
    logits = start.onward(units.flatten(1, 2), layer).view(*units.shape[:-1], -1)
    return normalise(logits.double(), env.legal_at(contexts))
