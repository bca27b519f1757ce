"""Learning in MIDialogue: a world of returns, of noise, and of a master with its sub-policies in one policy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from toybed.agents.config import Learning, Spec, Supervised
from toybed.agents.policies import make_policy
from toybed.agents.policy_gradient import PolicyGradient
from toybed.agents.training import train
from toybed.envs import make
from toybed.objectives import get, names

NAMED = {"n_types": 0, "held_out": 0}
BOTH = {**NAMED, "level": "both", "turns": 8}
TINY = {"level": "both", "turns": 4, "hold": 2, "n_types": 2, "held_out": 1}


def learned(objective, knobs, seeds, **changes):
    results = train(objective, seeds=seeds, world=Spec("mi_dialogue", knobs), supervised=None, **changes)
    return np.array([result.curves["reward_train"].values for result in results])


def test_a_master_over_fixed_specialists_learns_more_than_one_option():
    """From 3.28 to more than the best constant option, 4.15, and not above the optimum, 7.20, in each of 4 runs.

    20 other seeds ended at 5.72 with a deviation of .11: a right program fails with less than 1e-20.
    """
    env = make("mi_dialogue", **NAMED)
    reward = learned("grpo", NAMED, 4, policy="tabular", updates=40, learning_rate=0.1, measure_every=40)
    constant = torch.full((4, len(env.contexts()), 4), -1e9)
    for option in range(4):
        constant[option, :, option] = 0.0
    assert np.allclose(reward[:, 0], env.random_baseline(), atol=1e-4)
    assert (reward[:, -1] > float(env.evaluate(constant).reward.mean(1).max())).all()
    assert (reward[:, -1] < env.optimum()).all()


def test_sub_policies_that_are_learned_with_the_master_beat_fixed_ones():
    """In each of 4 runs more than the best master over fixed specialists, 1.50, and not above the bound, 3.39.

    20 other seeds ended at 1.99 with a deviation of .08: a right program fails with 4e-9.
    """
    reward = learned("grpo", BOTH, 4, policy="tabular", updates=60, learning_rate=0.1, measure_every=60)
    fixed = make("mi_dialogue", **{**BOTH, "level": "option"}).optimum()
    assert (reward[:, -1] > fixed).all()
    assert (reward[:, -1] < make("mi_dialogue", **BOTH).optimum()).all()


def test_a_run_of_returns_has_no_pass_at_k_and_has_what_its_world_measures():
    world = Spec("mi_dialogue", TINY)
    base = Supervised(steps=2, demonstrations=16, demonstrator={"noise": 0.3, "master_noise": 0.6})
    curves = train("grpo", seeds=1, world=world, policy="tabular", supervised=base, updates=1)[0].curves
    assert not [name for name in curves if name.startswith(("pass@", "lost_", "coverage@"))]
    assert {"reward_train", "reward_test", "entropy_test", "reward_resistant", "paid_harm"} <= set(curves)
    assert {"dominant_share", "dominant_share_argmax", "information_type", "plan_in_evoke"} <= set(curves)
    assert all(np.isfinite(curve.values).all() for curve in curves.values())


@pytest.mark.parametrize(("trap", "measured"), [(0.0, True), (0.5, False)])
def test_pass_at_k_needs_rewards_of_0_or_1(trap, measured):
    world = Spec("answer_bandit", {"prompt_count": 4, "trap": trap})
    curves = train("grpo", seeds=1, world=world, policy="tabular", supervised=None, updates=1, prompts=4)[0].curves
    assert ("pass@4_test" in curves) == ("coverage@16_test" in curves) == ("lost_train" in curves) == measured


@pytest.mark.parametrize("policy", ["tabular", "mlp"])
@pytest.mark.parametrize("knobs", [TINY, {**TINY, "level": "option"}, {**TINY, "level": "act"}], ids=str)
def test_a_run_in_a_stack_is_the_run_alone(knobs, policy):
    changes = {"policy": policy, "updates": 3, "prompts": 4, "group": 4, "measure_every": 1}
    together, alone = (learned("grpo", knobs, seeds, **changes) for seeds in ([5, 6, 7], [6]))
    assert np.isfinite(together).all()
    assert np.array_equal(together[1], alone[0])


@pytest.mark.parametrize("name", names())
def test_every_objective_runs_on_a_master_with_its_sub_policies(name):
    env = make("mi_dialogue", **TINY)
    policy, reference = (make_policy("tabular", env, [0, 1]) for _ in range(2))
    config = Learning(prompts=4, group=4, epochs=2, minibatches=2)
    try:
        learner = PolicyGradient(env, policy, get(name), config, [0, 1], reference)
    except ValueError as error:
        assert "does not make" in str(error) or "one answer" in str(error), error
        return
    for _ in range(2):
        measured = learner.update()
    assert not learner.diverged.any()
    assert torch.isfinite(measured["reward"]).all()
    legal = env.legal_at(env.contexts())
    assert bool((policy.table(env).exp().masked_select(~legal) == 0).all())


def test_planning_tokens_are_the_masters():
    env = make("mi_dialogue", **TINY)
    learner = PolicyGradient(env, make_policy("tabular", env, [0]), get("hicra"), Learning(prompts=4, group=3), [0])
    sample = learner._sample()[0]
    planning = learner._batch(sample).planning
    assert torch.equal(planning, sample.observation[..., 0] == 0)
    assert torch.equal(planning, sample.token < 4)
