"""What objectives read besides the policy, as the learner provides it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from toybed import objectives, train
from toybed.agents.companions import Companions
from toybed.agents.config import Learning, Spec
from toybed.agents.policies import make_policy
from toybed.agents.policy_gradient import PolicyGradient
from toybed.agents.rollout import rollout
from toybed.envs import make
from toybed.envs.chain_reach import ChainReach
from toybed.errors import ToybedError
from toybed.objectives.batch import Batch
from toybed.streams import Streams

KNOBS = {"modulus": 7, "operations": 4, "length": 2}
SMALL = {
    "world": Spec("chain_reach", KNOBS),
    "policy": Spec("mlp", {"width": 16, "embedding": 8}),
    "supervised": None,
    "updates": 3,
    "prompts": 8,
    "group": 4,
    "measure_every": 1,
}


class HalfPlanned(ChainReach):
    """The first of the two tokens is a plan."""

    @property
    def kinds(self):
        return ("planning", "execution")


def sampled(env, policy, seeds):
    sample = rollout(env, policy, env.prompts("train")[:8].expand(len(seeds), -1), 4, Streams("rollout", seeds))
    batch = Batch(sample.log_prob, torch.ones_like(sample.log_prob, dtype=torch.bool), sample.reward)
    return sample, batch


@pytest.mark.parametrize("name", ["ppo_gae", "flowrl", "grpo_kl"])
def test_a_run_with_companions_is_the_same_alone(name):
    """Critics and partitions carry the run axis as the policy does, so stacking changes no bit."""
    stack, alone = train(name, seeds=[3, 4, 5], **SMALL), train(name, seeds=[4], **SMALL)
    for measure, curve in alone[0].curves.items():
        np.testing.assert_array_equal(stack[1].curves[measure].values, curve.values)


def test_the_critic_learns_what_it_is_shown():
    """With lambda = gamma = 1 the targets are the rewards, whatever the critic says: repeated steps fit them.

    Rewards of one (prompt, first token) may differ between responses, so the error falls to their spread within
    contexts, not to 0; it must come closer to that floor than it began, by more than half of the way.
    """
    env, seeds = make("chain_reach", **KNOBS), [1, 2]
    policy = make_policy("mlp", env, seeds, width=16)
    objective = objectives.get("ppo_gae")
    companions = Companions(env, objective, Learning(learning_rate=1e-2), seeds, None)
    sample, batch = sampled(env, policy, seeds)
    batch = companions.complete(batch, sample)
    target = batch.reward[..., None].expand_as(batch.log_prob_old)

    def error(value):
        return (value - target).square().mean((1, 2, 3))

    index = env.context_index(sample.observation) + 1000 * torch.arange(len(seeds))[:, None, None, None]
    floor = torch.zeros(len(seeds))
    for run in range(len(seeds)):
        for context in index[run].unique():
            chosen = target[run][index[run] == context]
            floor[run] += (chosen - chosen.mean()).square().sum() / target[run].numel()
    before = error(batch.require("value", "test"))
    for _ in range(200):
        companions.step(objective, batch, sample.observation)
        batch = companions.complete(batch, sample)  # or the clip of the value's move would hold it back
    after = error(batch.require("value", "test"))
    assert bool((after >= floor - 1e-6).all())
    assert bool((after - floor < (before - floor) / 2).all())


def test_the_critic_learns_the_reward_that_the_advantage_is_taken_of():
    """A penalty that makes every reward -2: the critic's values go there, though the verified rewards are 0 and 1."""
    env, seeds = make("chain_reach", **KNOBS), [1, 2]
    policy = make_policy("mlp", env, seeds, width=16)
    objective = replace(objectives.get("ppo_gae"), shape_reward=lambda batch: torch.full_like(batch.reward, -2.0))
    companions = Companions(env, objective, Learning(learning_rate=1e-2), seeds, None)
    sample, batch = sampled(env, policy, seeds)
    for _ in range(200):
        batch = companions.complete(batch, sample)
        companions.step(objective, batch, sample.observation)
    assert float((batch.require("value", "test") + 2).abs().max()) < 0.5  # it began near 0, and is fitted to -2


def test_planning_tokens_are_those_of_the_world():
    env, seeds = HalfPlanned(**KNOBS), [1]
    policy = make_policy("tabular", env, seeds)
    sample, batch = sampled(env, policy, seeds)
    companions = Companions(env, objectives.get("hicra"), Learning(), seeds, None)
    planning = companions.complete(batch, sample).require("planning", "test")
    assert planning.shape == sample.log_prob.shape
    assert bool(planning[..., 0].all())
    assert not bool(planning[..., 1].any())


def test_a_random_mask_in_place_of_the_plan_is_each_runs_own():
    def rewards(seeds):
        env = HalfPlanned(**KNOBS)
        policy = make_policy("mlp", env, seeds, width=16)
        learner = PolicyGradient(env, policy, objectives.get("hicra_random"), Learning(prompts=8, group=4), seeds)
        for _ in range(3):
            learner.update()
        return policy.table(env)

    assert torch.equal(rewards([3, 4, 5])[1], rewards([4])[0])


@pytest.mark.parametrize("name", ["hicra", "hicra_random"])
def test_without_planning_tokens_hicra_is_refused(name):
    """With an empty mask it would silently be Dr. GRPO's advantage under another name."""
    with pytest.raises(ToybedError, match=f"{name} needs planning tokens, and ChainReach names none"):
        train(name, seeds=1, **SMALL)


def test_only_the_partitions_of_sampled_prompts_are_trained():
    env, seeds = make("chain_reach", **KNOBS), [1, 2]
    policy, reference = (make_policy("mlp", env, seeds, width=16) for _ in range(2))
    learner = PolicyGradient(env, policy, objectives.get("flowrl"), Learning(prompts=4, group=4), seeds, reference)
    learner.update()
    log_z = learner._companions.log_z
    assert log_z is not None
    # Adam moves whatever had a gradient and nothing else; one update shows at most 4 of the prompts of a run.
    moved = (log_z != 0).sum(1)
    assert bool((moved > 0).all())
    assert bool((moved <= 4).all())
    assert not bool((log_z[:, env.prompts("test")] != 0).any())


def test_what_cannot_be_provided_is_named():
    env = make("chain_reach", **KNOBS)
    with pytest.raises(ToybedError, match="grpo_kl needs a reference policy"):
        Companions(env, objectives.get("grpo_kl"), Learning(), [0], None)
    with pytest.raises(ToybedError, match=r"sft needs batch\.source, which the learner does not make"):
        train("sft", seeds=1, **SMALL)
