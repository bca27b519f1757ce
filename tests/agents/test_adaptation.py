"""What adapted policies are worth, against a loop over tasks; and meta-learning as any other run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from toybed import train
from toybed.agents.adaptation import REPEATS, AdaptationMeter
from toybed.agents.config import Adaptation, Meta, Setting, Soft, Spec, Start, Supervised
from toybed.agents.maml import Adapter, TaskStreams
from toybed.agents.policies import flat_parameters, make_policy
from toybed.agents.training import train_bases, train_runs
from toybed.envs import make
from toybed.errors import ToybedError

KNOBS = {"turns": 4, "hold": 2, "n_types": 2, "held_out": 1}
ADAPTATION = Adaptation(steps=2, group=3, rate=2.0)
SMALL = Setting(
    objective=Spec("ppo"),
    world=Spec("mi_dialogue", KNOBS),
    policy=Spec("tabular"),
    supervised=Supervised(steps=2, demonstrations=8),
    learner=Meta(adaptation=ADAPTATION),
    adaptation=ADAPTATION,
).with_learning(updates=2, prompts=3, group=4, epochs=2, minibatches=1, measure_every=1, learning_rate=0.1)


def tables(env, *lead, seed=0):
    logits = torch.from_numpy(np.random.default_rng(seed).normal(size=(*lead, len(env.contexts()), env.vocabulary)))
    legal = env.legal_at(env.contexts())
    return (logits if legal is None else logits.masked_fill(~legal, -1e9)).log_softmax(-1)


@pytest.mark.parametrize(
    "world",
    [
        make("mi_dialogue", **KNOBS),
        make("mi_dialogue", **KNOBS, see_type=True),
        make("mi_dialogue", **KNOBS, level="both"),
        make("mi_dialogue", **KNOBS, level="both", see_type=True),
        make("mi_dialogue", **KNOBS, level="act"),
        make("mi_dialogue", **KNOBS, level="act", see_type=True, see_counters=True),
        make("answer_bandit", prompt_count=4, answers=3, correct=1, rank=2),
    ],
)
def test_a_policy_for_each_prompt_is_worth_what_it_is_worth_alone(world):
    prompts = world.n_prompts
    log_probs = tables(world, 2, prompts)
    each = world.evaluate_each(log_probs)
    for run, prompt in np.ndindex(2, prompts):
        alone = world.evaluate(log_probs[run, prompt]).reward[prompt]
        # float64 sums of the same numbers in another order
        torch.testing.assert_close(each.reward[run, prompt], alone, rtol=1e-12, atol=1e-12)
    assert each.reward.shape == (2, prompts)
    if each.options is not None:
        shares = each.options.sum(-2)  # over phases of the ladder
        assert shares.shape == (2, prompts, 4)
        torch.testing.assert_close(shares.sum(-1), torch.ones(2, prompts).double(), rtol=1e-12, atol=0)
        one = replace(world, held_out=0)
        for prompt in range(prompts):
            same = log_probs[:, prompt : prompt + 1].expand(-1, prompts, -1, -1)
            overall = world.evaluate_each(same).options.sum(-2).mean(1)
            dominant = one.measures(log_probs[:, prompt])["dominant_share"]
            torch.testing.assert_close(overall.amax(-1), dominant, rtol=1e-12, atol=0)


def test_adaptation_against_a_loop_over_tasks():
    env, seeds = make("mi_dialogue", **KNOBS), [3, 4]
    policy = make_policy("tabular", env, seeds)
    before = flat_parameters(policy)
    measured = AdaptationMeter(env, Spec("tabular"), seeds, ADAPTATION).measure(policy)
    assert torch.equal(flat_parameters(policy), before)
    # The same draws: all tasks of a run are drawn at once, repeat by repeat.
    task = env.prompts().repeat(REPEATS)
    adapter = Adapter(env, Spec("tabular"), seeds, len(task), ADAPTATION)
    streams = [TaskStreams(f"adaptation/{what}", seeds, len(task)) for what in ("rollout", "objective")]
    stages = adapter.adapt(adapter.spread(policy), task.expand(2, -1), *streams)
    for n, stage in zip((0, 3, 6), stages, strict=True):
        table = stage.table(env).view(2, len(task), *policy.table(env).shape[1:])
        for split in ("train", "test"):
            chosen = [i for i, prompt in enumerate(task.tolist()) if prompt in env.prompts(split).tolist()]
            for run in range(2):
                worth = [float(env.evaluate(table[run, i]).reward[task[i]]) for i in chosen]
                # means of float32 numbers of size 1
                assert float(measured[f"adapted@{n}_{split}"][run]) == pytest.approx(np.mean(worth), rel=1e-5)
    for prompt in range(env.n_prompts):
        own = [float(env.evaluate(table[1, i]).reward[prompt]) for i in range(len(task)) if int(task[i]) == prompt]
        assert float(measured[f"adapted_prompt_{prompt}"][1]) == pytest.approx(np.mean(own), rel=1e-5)
    for split in ("train", "test"):
        information = measured[f"adapted_information_type_{split}"]
        assert (information >= -1e-6).all() and (information <= np.log(4)).all()
    # One held-out type: nothing to tell it from.
    torch.testing.assert_close(measured["adapted_information_type_test"], torch.zeros(2), rtol=0, atol=1e-6)
    assert (measured["adapted_information_type_train"] > 1e-4).all()


def test_policies_before_adaptation_are_those_that_the_world_evaluates():
    env, seeds = make("mi_dialogue", **KNOBS), [3]
    policy = make_policy("tabular", env, seeds)
    measured = AdaptationMeter(env, Spec("tabular"), seeds, replace(ADAPTATION, steps=0)).measure(policy)
    reward = env.evaluate(policy.table(env)).reward
    torch.testing.assert_close(measured["adapted@0_test"], reward[:, env.prompts("test")].mean(1))
    assert not any(name.startswith("adapted@3") for name in measured)


@pytest.mark.parametrize("method", ["maml", "fomaml", "reptile"])
def test_meta_learning_is_a_run_as_any_other(method):
    """Curves by name, and a run in a stack that is the run alone bit for bit, from its base to its end."""
    setting = replace(SMALL, learner=replace(SMALL.learner, method=method))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        together, (alone,) = (train_runs(setting, seeds, train_bases(setting, seeds)) for seeds in ([1, 2, 5], [2]))
    finally:
        torch.set_num_threads(threads)
    assert np.array_equal(together[1].parameters, alone.parameters)
    assert set(together[1].curves) == set(alone.curves)
    for name, curve in alone.curves.items():
        assert np.array_equal(curve.values, together[1].curves[name].values, equal_nan=True), name
    assert {"adapted@0_train", "adapted@3_test", "adapted@6_test", "sampled_adapted_reward"} <= set(alone.curves)
    assert alone.curves["adapted@6_test"].steps.tolist() == [0, 2]
    assert not np.array_equal(together[0].parameters, together[1].parameters)


def test_adaptation_is_measured_with_the_same_draws_for_every_learner_of_a_seed():
    joint = replace(SMALL, learner=None, objective=Spec("rloo"))
    seeds = [1, 2]
    starts = [
        [result.curves["adapted@6_test"].values[0] for result in train_runs(s, seeds, train_bases(s, seeds))]
        for s in (joint, SMALL)
    ]
    assert starts[0] == starts[1]
    assert starts[0][0] != starts[0][1]


def test_a_run_that_goes_on_draws_anew_and_meets_learning_rates_of_its_own():
    later = replace(SMALL, start=Start(after=SMALL))
    seeds = [1, 2]
    bases = train_bases(SMALL, seeds)
    first, second = train_runs(SMALL, seeds, bases), train_runs(later, seeds, bases)
    assert not np.array_equal(first[0].parameters, second[0].parameters)
    rated = train_runs(SMALL, seeds, bases, learning_rates=[0.1, 0.0])
    assert np.array_equal(rated[0].parameters, first[0].parameters)
    assert np.array_equal(rated[1].parameters, bases[1])


def test_the_short_way_takes_a_learner():
    (result,) = train(
        "rloo", seeds=1, world=SMALL.world, policy="tabular", supervised=None, learner=Meta(), adaptation=Adaptation(),
        updates=1, prompts=2, group=2, minibatches=1,
    )  # fmt: skip
    assert np.isfinite(result.curves["adapted@16_train"].values).all()


def test_a_schedule_is_refused_where_it_would_not_be_followed():
    both = replace(SMALL, world=Spec("mi_dialogue", {**KNOBS, "level": "both"}))
    setting = both.with_learning(schedule=(("planning", 1), ("execution", 1)))
    with pytest.raises(ToybedError, match="meta-learning follows no schedule"):
        train_runs(setting, [0], train_bases(setting, [0]))


def test_soft_actor_critic_is_a_run_as_any_other():
    setting = replace(SMALL, learner=Soft(replay=200, batch=16, steps=2))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        together, (alone,) = (train_runs(setting, seeds, train_bases(setting, seeds)) for seeds in ([1, 2, 5], [2]))
    finally:
        torch.set_num_threads(threads)
    assert np.array_equal(together[1].parameters, alone.parameters)
    assert {"sampled_critic_loss", "sampled_temperature", "adapted@6_test"} <= set(alone.curves)


def test_a_schedule_of_soft_actor_critic_trains_one_kind_after_the_other():
    both = replace(SMALL, world=Spec("mi_dialogue", {**KNOBS, "level": "both"}), supervised=None, adaptation=None)
    both = replace(both, learner=Soft(replay=200, batch=64, steps=2))
    env, bases = make("mi_dialogue", **KNOBS, level="both"), train_bases(both, [0])
    ends = {}
    for schedule in ((("planning", 1),), (("execution", 1),)):
        (result,) = train_runs(both.with_learning(schedule=schedule), [0], bases)
        moved = (result.parameters != bases[0]).reshape(len(env.contexts()), -1).any(1)
        ends[schedule[0][0]] = moved
    masters = env.masters.numpy()
    assert ends["planning"].any() and not ends["planning"][~masters].any()
    assert ends["execution"].any() and not ends["execution"][masters].any()
