"""Learners on another device: every tensor that they make is said where to be, and a GPU learns what a CPU does."""

from __future__ import annotations

import pytest
import torch

from toybed.agents.config import Learning, Setting, Spec
from toybed.agents.policies import make_policy
from toybed.agents.policy_gradient import PolicyGradient
from toybed.agents.training import train_bases, train_runs
from toybed.envs import make
from toybed.objectives import catalogue

POLICIES = {"tabular": {}, "mlp": {"width": 8}, "gru": {"width": 8}, "transformer": {"width": 8, "heads": 1}}
SEEDS = [0, 1]
LEARNING = Learning(updates=2, prompts=4, group=4, minibatches=2)
WORLDS = {
    "numbers": ("chain_reach", {"modulus": 5, "operations": 4, "length": 2}),
    "kinds": ("plan_exec", {"types": 4, "stages": 1, "skills": 3, "values": 5, "nvalid": 1}),
    "sets": ("tool_search", {"questions": 40, "set_size": 2}),
}


def world(objective: str, policy: str = "mlp"):
    """One that the objective can be trained in."""
    made = catalogue.get(objective)
    kind = "sets" if made.takes_vectors else "kinds" if "planning" in made.needs else "numbers"
    name, knobs = WORLDS[kind]
    if made.takes_vectors == "vector":
        knobs = {**knobs, "set_size": 1}
    return name, {**knobs, **({"view": "tokens"} if policy in ("gru", "transformer") else {})}


def makes_no_tensor_elsewhere(policy: str, objective: str) -> None:
    """With the default moved to "meta", a tensor made without a word about its device meets the others and fails."""
    name, knobs = world(objective, policy)
    env = make(name, **knobs, device="cpu")
    # The world makes its tables on the CPU, when first asked for them.
    env.observe(env.reset(env.prompts()[:1]))
    env.contexts()
    policies = [make_policy(policy, env, SEEDS, **POLICIES[policy]) for _ in range(2)]
    with torch.device("meta"):
        learner = PolicyGradient(env, policies[0], catalogue.get(objective), LEARNING, SEEDS, policies[1])
        for _ in range(2):
            measured = learner.update()
    assert all(value.device.type == "cpu" for value in measured.values())


@pytest.mark.parametrize("policy", POLICIES)
def test_a_policy_says_where_its_tensors_are(policy):
    makes_no_tensor_elsewhere(policy, "grpo")


@pytest.mark.parametrize("objective", [n for n in catalogue.names() if "source" not in catalogue.get(n).needs])
def test_an_objective_says_where_its_tensors_are(objective):
    makes_no_tensor_elsewhere("mlp", objective)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device here")
@pytest.mark.parametrize("policy", POLICIES)
def test_a_gpu_learns_what_a_cpu_does(policy):
    """From the same base with the same random numbers.

    One update moves a parameter by the learning rate at most, so that rounding, which may turn a token of some
    response, shows as a difference of less than that; and rewards are means of 16 responses.
    """
    name, knobs = world("grpo", policy)
    setting = Setting(
        world=Spec(name, knobs), policy=Spec(policy, POLICIES[policy]), supervised=None, learning=LEARNING
    ).with_learning(updates=1)
    bases = train_bases(setting, SEEDS)
    cpu, gpu = (train_runs(setting, SEEDS, bases, device=device) for device in ("cpu", "cuda"))
    for a, b in zip(cpu, gpu, strict=True):
        assert abs(a.curves["reward_train"].values[0] - b.curves["reward_train"].values[0]) < 1e-5
        assert abs(a.parameters - b.parameters).max() <= 2 * 2 * setting.learning.learning_rate
