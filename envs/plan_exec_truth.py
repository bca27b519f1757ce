"""What is exactly true in PlanExec: by dynamic programming over stages and values.

Functions of a world in the state view and of table policies ``[..., C, V]`` over its contexts. Given the type, plans
are drawn independently, stage by stage, whatever was written before: a policy is ``plan [..., Z, D, K]`` and
``execution [..., K, M, M]``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from toybed.envs.core import ILLEGAL, Evaluation
from toybed.errors import ToybedError
from toybed.measures.entropy import token_entropy

if TYPE_CHECKING:
    from toybed.envs.plan_exec import PlanExec

MAX_STRATEGIES = 2**16
"""Plans of a whole response (K^D) that are listed for their marginal entropy."""


class Parts(NamedTuple):
    """A policy in parts.

    ``plan [..., Z, D, K]`` and ``execution [..., K, M, M]`` (skill, value, written value), and the entropies of these,
    ``plan_entropy [..., Z, D]`` and ``execution_entropy [..., K, M]``.
    """

    plan: Tensor
    execution: Tensor
    plan_entropy: Tensor
    execution_entropy: Tensor


def parts(env: PlanExec, log_probs: Tensor) -> Parts:
    """The two halves of a table."""
    cut = env.types * env.stages
    plan = log_probs[..., :cut, : env.skills].unflatten(-2, (env.types, env.stages))
    execution = log_probs[..., cut:, env.skills :].unflatten(-2, (env.skills, env.values))
    return Parts(plan.exp(), execution.exp(), token_entropy(plan), token_entropy(execution))


def right_chance(env: PlanExec, execution: Tensor) -> Tensor:
    """How often each skill is carried out right at each value: ``[..., K, M, M]`` to ``[..., K, M]``."""
    index = env.tables.skill[..., None].expand(*execution.shape[:-1], 1)
    return execution.gather(-1, index).squeeze(-1)


def evaluate(env: PlanExec, log_probs: Tensor) -> Evaluation:
    """Exact reward and sequence entropy on all prompts.

    ``W_d(z, x) = sum_{p in Valid[z, d]} pi(p | z, d) pi(f_p(x) | p, x) W_{d+1}(z, f_p(x))`` with ``W_D = 1``, and
    ``H_d(z, x) = H(pi(. | z, d)) + sum_p pi(p | z, d) [H(pi(. | p, x)) + sum_e pi(e | p, x) H_{d+1}(z, e)]``.
    """
    policy, tables = parts(env, log_probs), env.tables
    right = right_chance(env, policy.execution)
    worth = torch.ones_like(policy.plan[..., 0, :1]).expand(*policy.plan.shape[:-2], env.values)  # [..., Z, M]
    entropy = torch.zeros_like(worth)
    for stage in reversed(range(env.stages)):
        plan = policy.plan[..., stage, :]
        ahead = worth[..., tables.skill] * right.unsqueeze(-3)  # [..., Z, K, M]
        worth = ((plan * tables.valid[:, stage])[..., None] * ahead).sum(-2)
        later = (policy.execution.unsqueeze(-4) * entropy[..., None, None, :]).sum(-1)
        on_the_way = policy.execution_entropy.unsqueeze(-3) + later
        entropy = policy.plan_entropy[..., stage, None] + (plan[..., None] * on_the_way).sum(-2)
    return Evaluation(worth.flatten(-2), entropy.flatten(-2))


def right_steps(env: PlanExec, log_probs: Tensor) -> Tensor:
    """How many of a response's 2 D tokens are right, valid plans and right executions: ``[..., P, 2 D + 1]``.

    The chance of each number, of all prompts in the order of their numbers. Forwards, over number and value together:
    ``O_{d+1}(k, e) = sum_{c, x} O_d(k - c, x) N_c(x, e)``, where ``N_c`` sums over plans those that make c right tokens
    of the two.
    """
    policy, tables = parts(env, log_probs), env.tables
    hit = torch.zeros_like(policy.execution).scatter(
        -1,
        tables.skill[..., None].expand(*policy.execution.shape[:-1], 1),
        right_chance(env, policy.execution)[..., None],
    )
    done = torch.stack([policy.execution - hit, hit], -4).unsqueeze(-5)  # [..., 1, 2, K, M, M]
    start = torch.eye(env.values, dtype=hit.dtype, device=hit.device)[:, None]  # [M, 1, M]: start, number, value
    found = pad(start, (0, 0, 0, env.horizon)).expand(*policy.plan.shape[:-2], env.values, env.horizon + 1, env.values)
    for stage in range(env.stages):
        plan, valid = policy.plan[..., stage, :], tables.valid[:, stage]
        chosen = torch.stack([plan * ~valid, plan * valid], -2)  # [..., Z, 2, K]
        # [..., Z, valid, right, M, M]
        step = torch.einsum("...zvk,...zrkxe->...zvrxe", chosen, done.expand(*plan.shape[:-1], *done.shape[-4:]))
        by_count = (step[..., 0, 0, :, :], step[..., 0, 1, :, :] + step[..., 1, 0, :, :], step[..., 1, 1, :, :])
        moved = (found @ n.unsqueeze(-3) for n in by_count)
        none, one, both = (pad(m, (0, 0, c, 0))[..., : env.horizon + 1, :] for c, m in enumerate(moved))
        found = none + one + both
    return found.sum(-1).flatten(-3, -2)


def visits(env: PlanExec, policy: Parts, split: str = "test") -> Tensor:
    """How often each skill is carried out at each value, by stage: ``[..., D, K, M]``, each stage adds up to 1.

    The mean over a split's prompts, of the policy's own responses; forwards:
    ``rho_{d+1}(z, e) = sum_{p, x} rho_d(z, x) pi(p | z, d) pi(e | p, x)``.
    """
    starts = env.start_values(split)
    value = torch.zeros(env.types, env.values, dtype=policy.plan.dtype, device=policy.plan.device)
    value = value.scatter(-1, starts, 1 / starts.shape[-1]).expand(*policy.plan.shape[:-2], env.values)  # [..., Z, M]
    stages = []
    for stage in range(env.stages):
        both = policy.plan[..., stage, :, None] * value[..., None, :]  # [..., Z, K, M]
        stages.append(both.mean(-3))
        value = _written(both, policy.execution.unsqueeze(-4))
    return torch.stack(stages, -3)


def measures(env: PlanExec, log_probs: Tensor) -> dict[str, Tensor]:
    """What a policy's own responses to test prompts are like, exactly: ``[...]`` by name. Entropies in nats.

    - ``entropy_plan_conditional``: of a plan given type and stage; ``entropy_plan_marginal``: of a plan given the stage
      alone, over types. ``entropy_exec`` and ``entropy_exec_marginal``: of an execution given what is seen, and given
      the stage alone. All four are means over stages.
    - ``entropy_strategy``: of all plans of a response together, given the prompt; since plans are drawn independently
      it is D times the first. ``entropy_strategy_marginal``: the same over prompts, at most ``D log K``; left out where
      the plans of a response are more than 65536.
    - ``success_hard`` and ``success_ordinary``: reward on the types of either kind, where there are any.
    - ``exec_accuracy``: share of right executions, given the plan and value at hand; ``plan_validity``: share of valid
      plans; ``default_share``: share of the default among plans.
    """
    policy = parts(env, log_probs)
    visited, stagewise = visits(env, policy), policy.plan.mean(-3)  # [..., D, K, M] and [..., D, K]
    right = right_chance(env, policy.execution)
    written = _written(visited, policy.execution.unsqueeze(-4))
    result = {
        "entropy_plan_conditional": policy.plan_entropy.mean((-2, -1)),
        "entropy_plan_marginal": entropy_of(stagewise).mean(-1),
        "entropy_exec": (visited * policy.execution_entropy.unsqueeze(-3)).sum((-2, -1)).mean(-1),
        "entropy_exec_marginal": entropy_of(written).mean(-1),
        "entropy_strategy": policy.plan_entropy.sum(-1).mean(-1),
        "exec_accuracy": (visited * right.unsqueeze(-3)).sum((-2, -1)).mean(-1),
        "plan_validity": (policy.plan * env.tables.valid).sum(-1).mean((-2, -1)),
        "default_share": policy.plan[..., 0].mean((-2, -1)),
    }
    if env.skills**env.stages <= MAX_STRATEGIES:
        result["entropy_strategy_marginal"] = entropy_of(strategies(policy.plan))
    success = evaluate(env, log_probs).reward[..., env.prompts("test")].unflatten(-1, (env.types, -1)).mean(-1)
    return result | by_difficulty(env, success)


def _written(visited: Tensor, execution: Tensor) -> Tensor:
    """How often each value is written: skills carried out at values ``[..., K, M]``, executions ``[..., K, M, M]``."""
    return (visited[..., None] * execution).sum((-3, -2))


def strategies(plan: Tensor) -> Tensor:
    """How often each sequence of plans is used, over all types alike: ``[..., Z, D, K]`` to ``[..., K^D]``.

    Half a sequence at a time: for all types together that is a matrix product.
    """
    types, stages = plan.shape[-3:-1]
    half = stages // 2
    first, second = (_sequences(plan[..., part, :]) for part in (slice(0, half), slice(half, None)))
    return (first.mT @ second).flatten(-2) / types


def _sequences(plan: Tensor) -> Tensor:
    """How often each type has each sequence of plans: ``[..., Z, d, K]`` to ``[..., Z, K^d]``."""
    result = torch.ones_like(plan[..., :1, 0] if plan.shape[-2] else plan.sum((-2, -1))[..., None])
    for stage in range(plan.shape[-2]):
        result = (result[..., None] * plan[..., stage, None, :]).flatten(-2)
    return result


def by_difficulty(env: PlanExec, success: Tensor) -> dict[str, Tensor]:
    """The mean of what is known by type, ``[..., Z]``, over hard types and over the others; where there are any."""
    cut = env.types - env.hard_types
    halves = {"success_hard": success[..., cut:], "success_ordinary": success[..., :cut]}
    return {name: half.mean(-1) for name, half in halves.items() if half.shape[-1]}


def entropy_of(chance: Tensor) -> Tensor:
    """Entropy in nats of distributions ``[..., N]``, some of whose chances may be 0."""
    return -torch.xlogy(chance, chance).sum(-1)


def demonstrator(env: PlanExec, execution: float, default: float, rare: float, missing: int, tries: float) -> Tensor:
    """The table of :meth:`~toybed.envs.plan_exec.PlanExec.demonstrator`, ``[C, V]``."""
    for name, value in (("execution", execution), ("default", default), ("rare", rare), ("tries", tries)):
        if not 0 <= value <= 1:
            raise ToybedError(f"plan_exec: {name} is {value}; allowed: 0 to 1")
    if not 0 <= missing <= env.skills - 2:
        raise ToybedError(f"plan_exec: missing is {missing}; allowed: 0 to {env.skills - 2}")
    if tries and not missing:
        raise ToybedError(f"plan_exec: tries is {tries}, of the skills that it lacks, and missing is 0")
    last, seldom = max(missing, 1), tries if missing else rare
    if default + seldom > 1:
        name = "tries" if missing else "rare"
        raise ToybedError(f"plan_exec: default is {default} and {name} {seldom}; allowed: at most 1 together")
    plan = torch.zeros(env.skills, dtype=torch.float64, device=env.device)
    plan[0], plan[-last:] = default, seldom / last
    plan[1:-last] = (1 - default - seldom) / (env.skills - 1 - last)
    wrong = torch.full((env.skills, env.values, env.values), (1 - execution) / (env.values - 1), dtype=torch.float64)
    carried_out = wrong.to(env.device).scatter(-1, env.tables.skill[..., None], execution)
    if missing:
        carried_out[-missing:] = 1 / env.values
    chance = torch.zeros(env.types * env.stages + env.skills * env.values, env.vocabulary, dtype=torch.float64)
    chance = chance.to(env.device)
    chance[: env.types * env.stages, : env.skills] = plan
    chance[env.types * env.stages :, env.skills :] = carried_out.flatten(0, 1)
    return torch.where(chance > 0, chance.clamp(min=1e-38).log(), ILLEGAL).float()
