"""What samples tell of a policy in PlanExec where it is no table: estimates of what is exact in the state view."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from toybed.envs.plan_exec_truth import by_difficulty, entropy_of

if TYPE_CHECKING:
    from toybed.envs.plan_exec import PlanExec, PlanHistory


def measures(env: PlanExec, prompt: Tensor, state: PlanHistory, answer: Tensor) -> dict[str, Tensor]:
    """Estimates from responses whose last token, an execution, is summed over: ``[S]`` by name.

    ``success_hard``, ``success_ordinary``, ``exec_accuracy``, ``plan_validity`` and ``default_share`` are without bias.
    ``entropy_plan_marginal`` is that of the plans' observed frequencies: too low by about (K - 1) / 2N nats, with N
    responses. ``entropy_exec_last`` is given what is seen, at the last stage alone. The other entropies of
    :func:`~toybed.envs.plan_exec_truth.measures` need what was thinkable at earlier tokens, which is not known here.

    Args:
        env: the world, in the tokens view.
        prompt: all test prompts, ``[P]``.
        state: before the last token of the responses, axes ``[S, P, G]``.
        answer: probabilities of that token, ``[S, P, G, V]``.
    """
    solution = env.skills + env.tables.skill[state.plan - 1, state.value]
    last = answer.gather(-1, solution[..., None]).squeeze(-1)
    plans = one_hot(state.seen[..., 2::2], env.vocabulary)[..., : env.skills].to(answer.dtype)  # [S, P, G, D, K]
    perfect = (state.valid == env.stages) & (state.right == env.stages - 1)
    by_type = (perfect * last).mean(2).unflatten(1, (env.types, -1)).mean(-1)
    return {
        "entropy_plan_marginal": entropy_of(plans.mean((1, 2))).mean(-1),
        "entropy_exec_last": entropy_of(answer).mean((1, 2)),
        "exec_accuracy": ((state.right + last) / env.stages).mean((1, 2)),
        "plan_validity": (state.valid / env.stages).mean((1, 2)),
        "default_share": plans[..., 0].mean((1, 2, 3)),
        **by_difficulty(env, by_type),
    }
