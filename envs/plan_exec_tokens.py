"""PlanExec where a policy sees tokens and is no table: what it would see as states, and what samples tell of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from toybed.envs.plan_exec_truth import by_difficulty, entropy_of

if TYPE_CHECKING:
    from toybed.envs.plan_exec import PlanExec, PlanHistory


def condensed(env: PlanExec, observation: Tensor) -> Tensor:
    """What the state view would show, ``[..., 4]``, where the tokens view shows ``observation [..., F]``."""
    time = env.position(observation)
    # Entry 1 is the start value, and entry t + 1 the token before token t.
    before, last = (observation.gather(-1, entry[..., None]).squeeze(-1) for entry in (time.clamp(min=1), time + 1))
    # At an execution ``last`` is its plan, and before that one came the last execution; or the start, at the first.
    choosing = time % 2 == 0
    value = torch.where(time == 1, before, before - env.skills).clamp(0, env.values - 1)
    plan = (last + 1).clamp(max=env.skills)
    seen = [observation[..., 0] * choosing, time // 2 * choosing, plan * ~choosing, value * ~choosing]
    return torch.stack(seen, -1)


def measures(env: PlanExec, state: PlanHistory, answer: Tensor) -> dict[str, Tensor]:
    """Estimates from responses whose last token, an execution, is summed over: ``[S]`` by name.

    ``success_hard``, ``success_ordinary``, ``exec_accuracy``, ``plan_validity`` and ``default_share`` are without bias.
    ``entropy_plan_marginal`` is that of the plans' observed frequencies: too low by about (K - 1) / 2N nats, with N
    responses. ``entropy_exec_last`` is given what is seen, at the last stage alone. The other entropies of
    :func:`~toybed.envs.plan_exec_truth.measures` need what was thinkable at earlier tokens, which is not known here.

    Args:
        env: the world, in the tokens view.
        state: before the last token of the responses to all P test prompts, axes ``[S, P, G]``.
        answer: probabilities of that token, ``[S, P, G, V]``.
    """
    solution = env.skills + env.tables.skill[state.plan - 1, state.value]
    last = answer.gather(-1, solution[..., None]).squeeze(-1)
    plans = one_hot(state.seen[..., 2::2], env.vocabulary)[..., : env.skills].to(answer.dtype)  # [S, P, G, D, K]
    valid, right = state.valid.to(answer.dtype), state.right.to(answer.dtype)
    perfect = (state.valid == env.stages) & (state.right == env.stages - 1)
    by_type = (perfect * last).mean(2).unflatten(1, (env.types, -1)).mean(-1)
    return {
        "entropy_plan_marginal": entropy_of(plans.mean((1, 2))).mean(-1),
        "entropy_exec_last": entropy_of(answer).mean((1, 2)),
        "exec_accuracy": ((right + last) / env.stages).mean((1, 2)),
        "plan_validity": (valid / env.stages).mean((1, 2)),
        "default_share": plans[..., 0].mean((1, 2, 3)),
        **by_difficulty(env, by_type),
    }
