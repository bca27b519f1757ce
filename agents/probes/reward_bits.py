"""How many bits a reward carries about a response: paid for its outcome, for its steps too, or for another's steps."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import pad

from toybed.agents.heads import check_no_heads
from toybed.envs.core import TokenEnv, sample_of
from toybed.envs.plan_exec import PlanExec
from toybed.envs.plan_exec_truth import right_steps
from toybed.envs.tool_search import ToolSearch
from toybed.errors import ToybedError

PROMPTS = 256  # of each split, a fixed sample


def reward_bits(env: TokenEnv, table: Tensor, start: Tensor) -> dict[str, Tensor]:
    """Bits of a response's reward, given the prompt and the policy, exactly.

    The outcome R is 1 where all n steps are right; the process reward P is the share of right steps. A deterministic
    reward says as much of the response as it has entropy. In ``R + P'``, with the P' of an independent response, only
    ``H(R + P') - H(P')`` of the entropy is about the response, at most that of R.

    Returns:
        For train prompts, means over a fixed sample of 256: ``bits_outcome_train`` of R, ``bits_process_train`` of
        R + P, ``bits_shuffled_train`` of R + P', ``bits_told_train``, what R + P' says of the response. For test
        prompts ``steps_right_test``, the mean of P.

    Raises:
        ToybedError: the world has no steps that are right or wrong, or the policy has heads.
    """
    check_no_heads(env, "the probe reward_bits")
    chance = right_step_chances(env, table.double(), sample_of(env.prompts("train"), PROMPTS))
    others = shuffled(chance)
    bits = {
        "outcome": entropy_bits(torch.stack([1 - chance[..., -1], chance[..., -1]], -1)),
        "process": entropy_bits(chance),
        "shuffled": entropy_bits(others),
        "told": entropy_bits(others) - entropy_bits(chance),
    }
    held_out = right_step_chances(env, table.double(), sample_of(env.prompts("test"), PROMPTS))
    share = torch.linspace(0, 1, held_out.shape[-1], dtype=held_out.dtype, device=held_out.device)
    return {f"bits_{name}_train": value.mean(-1) for name, value in bits.items()} | {
        "steps_right_test": (held_out @ share).mean(-1)
    }


def right_step_chances(env: TokenEnv, table: Tensor, prompt: Tensor) -> Tensor:
    """The chance of each number of right steps from 0 to n, ``[S, P, n + 1]``; all n right is the outcome's 1."""
    if isinstance(env, PlanExec) and env.tabulated:
        return right_steps(env, table)[..., prompt, :]
    if isinstance(env, ToolSearch) and env.set_size == 1 and not env.guess:
        outcome = env.outcomes(table, prompt)[:, 0]  # [S, P, 2^D], a bit for each component
        hops = torch.arange(env.hops, device=outcome.device)
        found = ((torch.arange(outcome.shape[-1], device=outcome.device)[:, None] >> hops) & 1).sum(-1)
        return torch.zeros(*outcome.shape[:-1], env.hops + 1, dtype=outcome.dtype, device=outcome.device).index_add(
            -1, found, outcome
        )
    raise ToybedError(
        f"the probe reward_bits counts right steps, and {env.title} has none that it knows; allowed: plan_exec in the "
        "state view, tool_search with one answer and without guess"
    )


def shuffled(chance: Tensor) -> Tensor:
    """The law of R + P' on its grid of 1/n, from that of the number of right steps ``[..., n + 1]``: ``[..., 2n + 1]``.

    P' is the share of right steps of another response to the prompt.
    """
    right, steps = chance[..., -1:], chance.shape[-1] - 1
    return pad((1 - right) * chance, (0, steps)) + pad(right * chance, (steps, 0))


def entropy_bits(chance: Tensor) -> Tensor:
    """Entropy of distributions ``[..., N]`` in bits; a chance that rounding left below 0 counts as 0."""
    chance = chance.clamp(min=0)
    return -torch.xlogy(chance, chance).sum(-1) / math.log(2)
