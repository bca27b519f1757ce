"""What becomes of RL's gain if planning, or else execution, is left to the policy that the run began with?"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from toybed.envs import plan_exec_truth as truth
from toybed.envs.core import TokenEnv
from toybed.envs.plan_exec import PlanExec
from toybed.errors import ToybedError
from toybed.measures.divergence import kl_divergence
from toybed.streams import Streams

SHARES = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7)  # of all tokens
SHUFFLES = 8  # orders without a reason, as a control
MOST = 0.8  # of what RL gained


def hybrids(env: TokenEnv, table: Tensor, start: Tensor, *, seeds: Sequence[int]) -> dict[str, Tensor]:
    """Success of policies that are the start in some contexts and the trained policy in the others, exactly.

    ``hybrid_planning``: plans of the trained policy, carried out by the start. ``hybrid_execution``: the reverse.
    ``touched@s``: contexts are handed to the trained policy in the order of KL(trained || start), the largest first, as
    long as no more than a share s of all tokens of the hybrid's own responses falls into them.

    Returns:
        On test prompts: ``hybrid_planning`` and ``hybrid_execution``, also on hard and on ordinary types alone
        (``_hard``, ``_ordinary``) and with the share of right executions (``_accuracy``); ``touched@s``, and
        ``touched_shuffled@s``, the mean over 8 orders that each run draws by its own seed; ``touched_for_most``, the
        share of tokens at which the order by KL has 0.8 of the trained policy's gain; NaN where there is none to speak
        of (1e-3).

    Raises:
        ToybedError: the world is not PlanExec in the state view, or the policy has heads.
    """
    env = plan_world(env, "hybrids")
    now, before = table.double(), start.double()
    plans = env.plans_at(env.contexts())[:, None]
    measures = {}
    for name, policy in (
        ("planning", torch.where(plans, now, before)),
        ("execution", torch.where(plans, before, now)),
    ):
        known = env.measures(policy)
        measures[f"hybrid_{name}"] = held_out_success(env, policy)
        measures[f"hybrid_{name}_accuracy"] = known["exec_accuracy"]
        for kind in ("hard", "ordinary"):
            if f"success_{kind}" in known:
                measures[f"hybrid_{name}_{kind}"] = known[f"success_{kind}"]
    order = kl_divergence(now, before).argsort(descending=True, stable=True)
    reward, share = prefixes(env, before, now, order)
    measures |= {f"touched@{s:g}": reached(reward, share, s) for s in SHARES}
    measures["touched_for_most"] = needed(reward, share)
    orders = (
        Streams("orders of contexts", seeds, env.device).uniform((SHUFFLES, len(plans))).argsort(dim=-1, stable=True)
    )
    curves = [prefixes(env, before, now, each) for each in orders.unbind(1)]
    for s in SHARES:
        measures[f"touched_shuffled@{s:g}"] = torch.stack([reached(*curve, s) for curve in curves]).mean(0)
    return measures


def plan_world(env: TokenEnv, probe: str) -> PlanExec:
    """The world, if it is one in which plans and executions are told apart and policies are tables.

    Raises:
        ToybedError: it is not.
    """
    if not isinstance(env, PlanExec) or not env.tabulated:
        raise ToybedError(f'{probe} is a probe of plan_exec with view="state" and without heads, not of {env.title}')
    return env


def held_out_success(env: PlanExec, policy: Tensor) -> Tensor:
    """Mean success of tables ``[..., C, V]`` on test prompts, ``[...]``."""
    return env.evaluate(policy).reward[..., env.prompts("test")].mean(-1)


def token_shares(env: PlanExec, policy: Tensor) -> Tensor:
    """The share of all tokens of a policy's responses to test prompts that is chosen in each context: ``[..., C]``."""
    executions = truth.visits(env, truth.parts(env, policy)).sum(-3).flatten(-2) / env.horizon
    plans = executions.new_full((*executions.shape[:-1], env.types * env.stages), 1 / (env.types * env.horizon))
    return torch.cat([plans, executions], -1)


def prefixes(env: PlanExec, before: Tensor, after: Tensor, order: Tensor) -> tuple[Tensor, Tensor]:
    """Hybrids that take ``after`` in the first n contexts of an order and ``before`` in the others, for every n.

    Args:
        env: the world, with C contexts.
        before: tables ``[S, C, V]``.
        after: tables of the same shape.
        order: the first N contexts in order, ``[S, N]``.

    Returns:
        Success on test prompts and the share of tokens that are touched, of the hybrid's own, both ``[S, N + 1]``.
    """
    count = order.shape[-1]
    rank = torch.full(before.shape[:-1], count, device=before.device)
    rank = rank.scatter(-1, order, torch.arange(count, device=before.device).expand_as(order))
    taken = rank[:, None] < torch.arange(count + 1, device=before.device)[:, None]  # [S, N + 1, C]
    hybrid = torch.where(taken[..., None], after[:, None], before[:, None])
    return held_out_success(env, hybrid), (token_shares(env, hybrid) * taken).sum(-1)


def reached(reward: Tensor, share: Tensor, most: float) -> Tensor:
    """Success of the last hybrid before more than a share ``most`` is touched, of curves ``[S, N + 1]``: ``[S]``."""
    # Handing over one more context can lessen the share: what is visited changes, too. With rounding, 1e-9.
    last = (share.cummax(-1).values <= most + 1e-9).sum(-1) - 1
    return reward.gather(-1, last[:, None]).squeeze(-1)


def needed(reward: Tensor, share: Tensor) -> Tensor:
    """The share of tokens with which curves ``[S, N + 1]`` first have most of their gain, ``[S]``; NaN without one."""
    gain = reward[:, -1:] - reward[:, :1]
    first = (reward - reward[:, :1] >= MOST * gain).long().argmax(-1, keepdim=True)
    found = share.cummax(-1).values.gather(-1, first).squeeze(-1)
    return torch.where(gain.squeeze(-1) > 1e-3, found, torch.nan)
