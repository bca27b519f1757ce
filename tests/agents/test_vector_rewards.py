"""Reward vectors on their way from the world to the objective."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import gymnasium
import numpy as np
import pytest
import torch

from toybed.agents.config import Learning, Spec, Supervised
from toybed.agents.policies import make_policy
from toybed.agents.policy_gradient import PolicyGradient
from toybed.agents.training import train
from toybed.envs import make
from toybed.errors import ToybedError
from toybed.exact import gradient_moments, groups
from toybed.objectives import get, names
from toybed.objectives.advantages import group_standardized
from toybed.objectives.batch import takes_vectors
from toybed.streams import Streams

KNOBS = {"clusters": 2, "tools": 4, "hops": 2, "questions": 60}
ROWS = {
    **{"gdpo": 1, "vpo_parallel": 1, "vpo": 2, "multi_rlvr": 2, "pkpo_vector": 2},
    **{"grpo_components": 2, "grpo_shuffled": 1},
}
"""Rows that are made for vectors, and how many answers each is tried with."""
LEARNING = Learning(updates=3, prompts=8, group=4, epochs=2, minibatches=2)


def learner(env, objective, seeds=(0, 1), policy="tabular", config=LEARNING):
    seeds = list(seeds)
    chosen = get(objective) if isinstance(objective, str) else objective
    return PolicyGradient(env, make_policy(policy, env, seeds), chosen, config, seeds)


def test_the_rows_that_take_vectors_are_these():
    assert {name for name in names() if get(name).takes_vectors} == set(ROWS)
    assert get("gdpo").takes_vectors == get("vpo_parallel").takes_vectors == "vector"
    assert get("vpo").takes_vectors == get("multi_rlvr", over_answers="sum").takes_vectors == "set"
    assert get("pkpo_vector").takes_vectors == "set", "what shapes the reward sees it first"


@pytest.mark.parametrize(("name", "answers"), ROWS.items())
def test_the_batch_holds_the_components_and_the_measures_the_number(name, answers):
    env = make("tool_search", **KNOBS, set_size=answers)
    learning = learner(env, name)
    sample = learning._sample()[0]
    batch = learning._batch(sample)
    state = env.reset(sample.prompt[..., None].expand(-1, -1, 4))
    for t in range(env.horizon):
        state = env.step(state, sample.token[..., t])
    assert torch.equal(batch.reward, env.reward_vector(state))
    assert batch.reward.shape == ((2, 8, 4, 3) if answers == 1 else (2, 8, 4, answers, 3))
    assert torch.equal(sample.reward, env.reward(state))
    assert 0 <= float(learning.update()["reward"].max()) <= 1


def test_an_objective_for_numbers_is_given_the_number():
    env = make("tool_search", **KNOBS, set_size=2)
    learning = learner(env, "grpo")
    assert learning._batch(learning._sample()[0]).reward.shape == (2, 8, 4)


def test_a_kind_of_vector_that_there_is_not_is_refused_where_it_is_written():
    with pytest.raises(ToybedError, match="unknown kind of reward 'sets': did you mean 'set'"):
        takes_vectors("sets")


@pytest.mark.parametrize("name", ROWS)
def test_a_world_without_components_is_refused_in_one_line(name):
    with pytest.raises(
        ToybedError, match=rf"^{name} needs a reward vector, and ChainReach gives one number; allowed:.*"
    ):
        learner(make("chain_reach", modulus=7, operations=3, length=3), name)
    with pytest.raises(ToybedError, match="AnswerBandit has no reward vector"):
        env = make("answer_bandit")
        env.reward_vector(env.reset(torch.tensor(0)))


@pytest.mark.parametrize("name", ["gdpo", "vpo_parallel"])
def test_sets_are_refused_where_one_vector_is_needed(name):
    with pytest.raises(
        ToybedError, match=rf"^{name} needs one reward vector a response, and set_size is 2; allowed: 1"
    ):
        learner(make("tool_search", **KNOBS, set_size=2), name)


def test_multi_rlvr_under_the_worlds_own_weights_is_grpo_on_the_number():
    """With weights (0, ..., 0, 1) and the best answer counted, vector and number are one and the same run."""
    env = make("tool_search", **KNOBS, set_size=2)
    vector = get("multi_rlvr", reward_weights=(0.0, 0.0, 1.0))
    number = replace(vector, advantage=partial(group_standardized, ddof=0, floor=1e-6))
    assert not number.takes_vectors
    ends = []
    for objective in (vector, number):
        learning = learner(env, objective)
        for _ in range(3):
            learning.update()
        ends.append(learning.policy.logits.detach().clone())
    assert not torch.equal(ends[0], torch.zeros_like(ends[0]))
    # the same float32 numbers but for the order of a sum over three components, of which two are 0
    assert torch.allclose(*ends, rtol=0, atol=1e-5)


def test_vpo_is_multi_rlvr_where_all_components_are_one_and_the_same():
    """On the same responses; what each does with them differs by rounding alone.

    A set's value is a mean of 100 sums of 3 products, off by less than 110 units of float32 (6e-8), so by 7e-6. The
    least standard deviation of 4 values that are multiples of 1/3 is 1/3 sqrt(3)/4 = .144, an advantage at most
    sqrt(3): it is off by less than (2 + sqrt(3)) 7e-6 / .144 = 1.8e-4.
    """
    env = make("tool_search", **KNOBS, set_size=2, common=1.0)
    learning = learner(env, "vpo")
    batch = learning._batch(learning._sample()[0])
    assert torch.equal(batch.reward, batch.reward[..., :1].expand_as(batch.reward))
    vpo = get("vpo").advantages(batch, generator=Streams("objective", [0, 1]))
    fixed = get("multi_rlvr").advantages(batch)
    assert torch.allclose(vpo, fixed, rtol=0, atol=1.8e-4)
    assert torch.equal(vpo == 0, fixed == 0) and (fixed != 0).any()
    apart = learner(make("tool_search", **KNOBS, set_size=2), "vpo")
    batch = apart._batch(apart._sample()[0])
    vpo = get("vpo").advantages(batch, generator=Streams("objective", [0, 1]))
    assert not torch.allclose(vpo, get("multi_rlvr").advantages(batch), rtol=0, atol=0.01)


@pytest.mark.parametrize("objective", ["grpo", "multi_rlvr", "pkpo_vector"])
def test_who_sees_the_mean_alone_is_the_same_run_whatever_components_share(objective):
    """The same batches: means are equal but for rounding (float32, 4 numbers below 5 in size)."""
    worlds = [make("tool_search", **KNOBS, set_size=2, common=common) for common in (0.0, -4.0, 0.9)]
    batches = [(learning := learner(env, objective))._batch(learning._sample()[0]) for env in worlds]
    for batch in batches[1:]:
        assert torch.equal(batch.log_prob_old, batches[0].log_prob_old)
        means = [b.reward.mean(-1) if b.reward.ndim > 3 else b.reward for b in (batch, batches[0])]
        assert torch.allclose(*means, rtol=0, atol=2e-6)


@pytest.mark.parametrize(("name", "answers"), ROWS.items())
@pytest.mark.parametrize("knobs", [{}, {"guess": True}])
def test_a_run_in_a_stack_is_the_run_alone_bit_for_bit(name, answers, knobs):
    env = make("tool_search", **KNOBS, **knobs, set_size=answers)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        together, alone = learner(env, name, (3, 4), "mlp"), learner(env, name, (4,), "mlp")
        for _ in range(2):
            together.update(), alone.update()
    finally:
        torch.set_num_threads(threads)
    for a, b in zip(together.policy.parameters(), alone.policy.parameters(), strict=True):
        assert torch.equal(a[1], b[0])


def test_dynamic_sampling_moves_vectors_with_their_groups():
    env = make("tool_search", **KNOBS)
    objective = replace(get("gdpo"), keep_group=get("dapo").keep_group)
    sample, *_ = learner(env, objective)._sample()
    state = env.reset(sample.prompt[..., None].expand(-1, -1, 4))
    for t in range(env.horizon):
        state = env.step(state, sample.token[..., t])
    assert torch.equal(sample.vector, env.reward_vector(state))


def test_the_worlds_own_measures_are_curves():
    world, base = Spec("tool_search", KNOBS), Supervised(steps=2, demonstrator={"habit": 0.4})
    (result,) = train("vpo_parallel", seeds=1, world=world, policy="tabular", supervised=base, updates=2)
    curves = result.curves
    for name in ("plan_entropy", "effective_tools", "reward_fresh_train", "reward_fresh_test", "pass@64_train"):
        assert len(curves[name].values) == len(curves["reward_train"].values) and np.isfinite(curves[name].values).all()
    assert ((curves["sampled_reward"].values >= 0) & (curves["sampled_reward"].values <= 1)).all()


def test_an_option_that_the_demonstrator_has_not_is_named():
    with pytest.raises(ToybedError, match="unknown option of ToolSearch's demonstrator 'noise'"):
        train(
            "grpo",
            seeds=1,
            world="tool_search",
            policy="tabular",
            supervised=Supervised(demonstrator={"noise": 0.35}),
            updates=1,
        )


@pytest.mark.parametrize("policy", ["tabular", "mlp"])
def test_a_policy_gives_no_mass_to_what_is_illegal_and_learns_with_retries(policy):
    env = make("tool_search", **KNOBS, retry=True, guess=True, calls=3)
    learning = learner(env, "grpo", policy=policy)
    before = env.evaluate(learning.policy.table(env)).reward.mean()
    for _ in range(20):
        learning.update()
    assert not learning.diverged.any()
    table = learning.policy.table(env)
    assert (table.exp()[:, ~env.legal_at(env.contexts())] == 0).all()
    sample = learning._sample()[0]
    assert sample.legal.gather(-1, sample.token[..., None]).all()
    if policy == "mlp":
        # The exact reward of 2 runs after 20 updates of 32 responses: from about .45 it rises by .1 to .3.
        assert (env.evaluate(table).reward.mean(1) > before).all()


# -- exact gradients ---------------------------------------------------------------------------------------------------
def test_exact_groups_hold_the_components_where_the_objective_wants_them():
    env = make("tool_search", clusters=1, tools=3, hops=1, questions=6)
    assert groups(env, 2).reward.shape[1:] == (2,)
    assert groups(env, 2, vectors=True).reward.shape[1:] == (2, 2)
    logits = torch.zeros(len(env.contexts()), 3, dtype=torch.float64)
    # One hop: both components are the answer. Each standardised and added, then whitened: the answer's own.
    vector = gradient_moments(get("multi_rlvr"), env, logits, group=2).mean
    number = gradient_moments(
        replace(get("multi_rlvr"), advantage=partial(group_standardized, ddof=0, floor=1e-6)), env, logits, group=2
    ).mean
    assert torch.allclose(vector, number, rtol=1e-5, atol=1e-9)
    assert vector.abs().max() > 0.01


def test_exact_groups_are_refused_where_tokens_may_be_illegal():
    with pytest.raises(ToybedError, match="ToolSearch: groups are enumerated only where all tokens are always legal"):
        groups(make("tool_search", **KNOBS, guess=True), 2)


# -- gymnasium ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("answers", [1, 2])
def test_gymnasium_has_the_vector_in_its_info(answers):
    knobs = {**KNOBS, "set_size": answers}
    single = gymnasium.make("toybed.envs:toybed/ToolSearch-v0", **knobs)
    vector = gymnasium.make_vec("toybed.envs:toybed/ToolSearch-v0", num_envs=5, **knobs)
    shape = (3,) if answers == 1 else (answers, 3)
    _, info = single.reset(seed=1)
    assert "reward_vector" not in info
    total, number = np.zeros(shape), 0.0
    for token in np.random.default_rng(0).integers(4, size=single.unwrapped.token_env.horizon):
        _, reward, _, _, info = single.step(token)
        assert info["reward_vector"].shape == shape
        total, number = total + info["reward_vector"], number + reward
    core, state = single.unwrapped.token_env, single.unwrapped._episodes.state
    np.testing.assert_array_equal(total, core.reward_vector(state)[0].numpy())
    assert number == float(core.reward(state)[0])
    _, info = vector.reset(seed=1)
    assert "reward_vector" not in info
    for step in range(core.horizon + 1):
        *_, info = vector.step(np.zeros(5, dtype=np.int64))
        assert info["reward_vector"].shape == (5, *shape)
        if step == core.horizon:  # the step that only resets
            assert not info["reward_vector"].any()
