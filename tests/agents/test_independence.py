"""Every objective with every policy: a run in a stack is the run alone, bit for bit.

Here is every pair that the learner can make, at sizes at which a pair takes some hundredths of a second. That the
sizes of published runs round no other way, and that places in the stack do not matter, stands in ``test_policies.py``;
other learners (critics, meta-learning, critiques, imitation) stand with their own tests; stores filled by one process,
by several, after restarts and by a cluster are compared in ``test_runner.py``, ``test_kill.py`` and
``test_cluster.py``.

The sizes matter in one way. Where the rows of a network's output times its columns are no multiple of 4, a run's
output in a stack begins between two units of 16 bytes, alone it does not, and the kernels of some processors round
these two differently (measured: last layers of 5, 7, 9 and 11 columns on an odd number of pairs of rows). Minibatches
of 4 prompts, as here, or any multiple give no such rows.
"""

from __future__ import annotations

from functools import cache

import pytest
import torch

from toybed.agents.config import Critique, Heads, Learning
from toybed.agents.critique import CritiqueGradient
from toybed.agents.heads import with_heads
from toybed.agents.policies import POLICIES, Policy, flat_parameters, load_flat, make_policy
from toybed.agents.policy_gradient import PolicyGradient
from toybed.envs import make
from toybed.envs.core import TokenEnv
from toybed.objectives import get, names
from toybed.objectives.objective import Objective

SEEDS = (11, 5, 8)
RUN = 1  # which of them is also trained alone
LEARNING = Learning(updates=2, prompts=8, group=8, epochs=1, minibatches=2, learning_rate=0.05)
WIDTHS: dict[str, dict[str, int]] = {"tabular": {}, "transformer": {"width": 8, "heads": 2}}
SMALL = {"width": 8, "embedding": 4}


def impossible(name: str, policy: str) -> bool:
    """Whether no world has both what the objective and what the policy asks for."""
    objective = get(name)
    if objective.takes_vectors == "set":  # sets of answers: tool_search, which has neither options nor histories
        return policy in ("hierarchical", "gru", "transformer")
    # Demonstrations among a batch's responses are made by no learner; critiques are for policies without heads.
    return name == "sft" or ("source" in objective.needs and policy == "mlp_per_head")


PAIRS = [(name, policy) for name in names() for policy in POLICIES if not impossible(name, policy)]


@cache
def world(policy: str, sets: bool) -> TokenEnv:
    """A small world that the policy can read, with planning tokens and a reward vector."""
    if sets:
        env = make("tool_search", clusters=2, tools=4, hops=2, questions=40, set_size=2)
    else:
        view = "tokens" if policy in ("gru", "transformer") else "state"
        env = make("plan_exec", types=4, stages=1, skills=4, values=5, nvalid=2, hard_frac=0.5, view=view)
    return with_heads(env, Heads(2 if policy == "mlp_per_head" else 1))


def learner(env: TokenEnv, name: str, objective: Objective, seeds: tuple[int, ...]) -> PolicyGradient:
    """One from a random policy that is not its reference, so that a KL is not 0."""
    policy, reference = (make_policy(name, env, seeds, **WIDTHS.get(name, SMALL)) for _ in range(2))
    load_flat(policy, flat_parameters(policy) + noise(policy, seeds))
    if "source" in objective.needs:
        critique = Critique(refined=2, rounds=2)
        return CritiqueGradient(env, policy, objective, LEARNING, list(seeds), reference, critique)
    return PolicyGradient(env, policy, objective, LEARNING, list(seeds), reference)


def noise(policy: Policy, seeds: tuple[int, ...]) -> torch.Tensor:
    """Normal numbers ``[S, D]`` of which each run has its own, whoever stands beside it."""
    size = flat_parameters(policy).shape[1]
    return torch.stack([0.5 * torch.randn(size, generator=torch.Generator().manual_seed(seed)) for seed in seeds])


@pytest.mark.parametrize(("name", "policy"), PAIRS)
def test_a_run_in_a_stack_is_the_run_alone_bit_for_bit(name: str, policy: str) -> None:
    objective = get(name)
    env = world(policy, objective.takes_vectors == "set")
    together, alone = (learner(env, policy, objective, seeds) for seeds in (SEEDS, SEEDS[RUN : RUN + 1]))
    before = flat_parameters(together.policy)
    for _ in range(LEARNING.updates):
        many, one = together.update(), alone.update()
        assert many.keys() == one.keys()
        for measure, value in many.items():
            # A mean over some of a group's responses is a sum over pieces of memory, in an order that may depend on S.
            rounding = 1e-6 if "source" in objective.needs else 0.0
            torch.testing.assert_close(one[measure][0], value[RUN], rtol=rounding, atol=0, equal_nan=True, msg=measure)
    after = flat_parameters(together.policy)
    assert torch.equal(after[RUN], flat_parameters(alone.policy)[0])
    assert not together.diverged.any()
    assert (after != before).any(), "nothing moved: the comparison is of things that stand still"


def test_every_objective_and_every_policy_is_tried() -> None:
    assert {name for name, _ in PAIRS} == set(names()) - {"sft"}
    assert {policy for _, policy in PAIRS} == set(POLICIES)
    assert len(PAIRS) >= 0.95 * len(names()) * len(POLICIES)
