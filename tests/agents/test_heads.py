"""Policies of several heads: what is said of the mixture is what its samples give, and a stack changes nothing."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

import toybed
from toybed.agents.config import SHARED_BY, Heads, Learning, Setting, Spec, Supervised
from toybed.agents.heads import Headed, with_heads
from toybed.agents.meter import PASS_AT
from toybed.agents.policies import make_policy
from toybed.agents.probes.heads import heads as probe
from toybed.agents.probes.start_mixtures import SHARES, K, start_mixtures
from toybed.agents.rollout import rollout
from toybed.agents.training import train_bases, train_runs
from toybed.envs import make
from toybed.errors import ToybedError
from toybed.streams import Streams
from toybed.testing import check_token_env

CHAIN = {"modulus": 5, "operations": 3, "length": 2}
TOOLS = {"clusters": 2, "tools": 4, "hops": 2, "questions": 12, "shift": "index"}
WORLDS = {
    "chain": make("chain_reach", **CHAIN),
    "chain of tokens": make("chain_reach", **CHAIN, view="tokens"),
    "noisy bandit": make("answer_bandit", prompt_count=5, true_positive=0.7, false_positive=0.2),
    "tools": make("tool_search", **TOOLS),
    "tools, guesses": make("tool_search", **TOOLS, guess=True),
    "tools, retries": make("tool_search", **TOOLS, retry=True, calls=3),
    "tools, sets": make("tool_search", **TOOLS, set_size=2),
}
every_world = pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
every_kind = pytest.mark.parametrize("by", SHARED_BY)


def random_table(env, runs=1, seed=0):
    """Policies of random logits, float64 ``[S, C, V]``."""
    random = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(runs, len(env.contexts()), env.vocabulary, generator=random, dtype=torch.float64)
    return (logits + env.uniform()).log_softmax(-1)


def responses(env):
    return list(itertools.product(range(env.vocabulary), repeat=env.horizon))


def walk(own, table, prompt):
    """Chance and reward of every response of one head, token by token."""
    found = []
    for tokens in responses(own):
        state, chance = own.reset(torch.tensor(prompt)), 1.0
        for token in tokens:
            chance *= math.exp(float(table[int(own.context_index(own.observe(state))), token]))
            state = own.step(state, torch.tensor(token))
        found.append((chance, float(own.reward(state))))
    return found


def shares_of(kind, count, question):
    if kind == "prompt":
        return [float(question % count == head) for head in range(count)]
    return [1 / count] * count


# -- the world ---------------------------------------------------------------------------------------------------------
@every_world
@every_kind
def test_a_headed_world_keeps_the_contract_of_a_world(world, by):
    check_token_env(Headed(world, Heads(3, by)))


def test_one_head_is_the_world_itself():
    assert with_heads(WORLDS["chain"], Heads()) is WORLDS["chain"]
    assert isinstance(with_heads(WORLDS["chain"], Heads(2)), Headed)


@pytest.mark.parametrize("world", ["chain", "tools"])
@every_kind
def test_the_mixture_is_the_plain_sum_over_heads(world, by):
    own, count = WORLDS[world], 3
    env = Headed(own, Heads(count, by))
    (table,) = random_table(env)
    parts = table.split(len(own.contexts()))
    exact, prompts = env.evaluate(table), env.prompts()
    log_prob, rewards = env.enumerate_responses(table, prompts)
    for place, prompt in enumerate(prompts.tolist()):
        question = prompt % own.n_prompts
        share = shares_of(by, count, question)
        each = [walk(own, part, question) for part in parts]
        for i in range(len(responses(own))):
            mixed = sum(s * head[i][0] for s, head in zip(share, each, strict=True))
            assert float(log_prob[place, i].exp()) == pytest.approx(mixed, abs=1e-12)
            assert float(rewards[place, i]) == each[0][i][1]
        success = sum(s * sum(p * r for p, r in head) for s, head in zip(share, each, strict=True))
        entropy = sum(s * -sum(p * math.log(p) for p, _ in head) for s, head in zip(share, each, strict=True))
        assert float(exact.reward[place]) == pytest.approx(success, abs=1e-12)
        assert float(exact.entropy[place]) == pytest.approx(entropy, abs=1e-12)


# The bandit's exact success counts its noise, which enumeration leaves out.
@pytest.mark.parametrize("world", [name for name in WORLDS if name != "noisy bandit"])
@every_kind
def test_exact_success_is_that_of_enumeration(world, by):
    world = WORLDS[world]
    env = Headed(world, Heads(2, by))
    table = random_table(env, runs=2)
    log_prob, reward = env.enumerate_responses(table, env.prompts())
    torch.testing.assert_close(env.evaluate(table).reward, (log_prob.exp() * reward).sum(-1), rtol=0, atol=1e-6)


@every_kind
def test_who_acts_is_who_should(by):
    own = WORLDS["tools"]
    env = Headed(own, Heads(4, by))
    prompt = env.prompts()
    noise = torch.linspace(0, 1, len(prompt))[:, None] if env.noise else None  # 1 itself is no uniform number
    seen = env.observe(env.reset(prompt, noise))
    head = {"response": lambda: (noise[:, 0] * 4).long().clamp(max=3), "group": lambda: prompt // own.n_prompts}
    head["prompt"] = lambda: prompt % 4
    assert torch.equal(seen[:, 0], head[by]())
    assert torch.equal(seen[:, 1:], own.observe(own.reset(prompt % own.n_prompts)))
    assert len(env.prompts("train")) == len(own.prompts("train")) * (4 if by == "group" else 1)


def test_a_head_that_is_drawn_needs_its_noise():
    with pytest.raises(ToybedError, match="2 heads, drawn for each response, need their noise at reset"):
        Headed(WORLDS["chain"], Heads(2)).reset(torch.tensor(0))


@every_kind
def test_samples_are_those_of_the_exact_mixture(by):
    """Every prompt's successes are binomial: 400 draws for each of 25 prompts (75 with a head in its number).

    Each two-sided binomial test fails a right program with a chance of 1e-6 / 75 at most, so all with one of 1e-6.
    With "group" a prompt's samples are one head's, and the mean over its copies is the mixture's.
    """
    own, count, draws = WORLDS["chain"], 3, 400
    env = Headed(own, Heads(count, by))
    table = random_table(env)
    prompts = env.prompts()
    sample = rollout(env, lambda seen, _: table[0][env.context_index(seen)], prompts[None], draws, Streams("a", [5]))
    right = sample.reward[0].sum(-1).long().tolist()
    expected = env.evaluate(table[0]).reward.tolist()
    if by == "group":
        parts = env.tables(table[0])
        heads = torch.stack([own.evaluate(part).reward for part in parts])
        assert torch.equal(sample.observation[0, :, 0, 0, 0], torch.arange(count).repeat_interleave(own.n_prompts))
        torch.testing.assert_close(heads.mean(0).repeat(count), torch.tensor(expected, dtype=torch.float64))
        expected = heads.flatten().tolist()
    for hits, chance in zip(right, expected, strict=True):
        assert stats.binomtest(hits, draws, min(chance, 1.0)).pvalue > 1e-6 / 75


def test_the_head_is_drawn_uniformly_and_for_each_response():
    env = Headed(WORLDS["chain"], Heads(4))
    sample = rollout(env, lambda seen, _: random_table(env)[0][env.context_index(seen)],
                     torch.zeros(1, 1, dtype=torch.int64), 8000, Streams("a", [1]))  # fmt: skip
    head = sample.observation[0, 0, :, :, 0]
    assert (head == head[:, :1]).all()  # it stays for the whole response
    # fails a right program with a chance of 1e-6
    assert stats.chisquare(head[:, 0].bincount(minlength=4).numpy()).pvalue > 1e-6


# -- training ----------------------------------------------------------------------------------------------------------
LITTLE = Learning(updates=3, prompts=8, group=4, minibatches=2, learning_rate=0.05, measure_every=1)


def setting(policy="tabular", world=None, heads=None, **options):
    return Setting(
        world=world or Spec("tool_search", TOOLS),
        policy=Spec(policy, options),
        heads=heads or Heads(3),
        supervised=Supervised(steps=3, demonstrations=16, learning_rate=0.05),
        learning=LITTLE,
        probes=("heads", "start_mixtures"),
    )


def curves_of(setting, seeds):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return train_runs(setting, seeds, train_bases(setting, seeds))
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize(
    ("policy", "world", "options"),
    [
        ("tabular", Spec("tool_search", TOOLS), {}),
        ("mlp", Spec("tool_search", {**TOOLS, "retry": True, "calls": 3}), {"width": 16}),
        ("mlp", Spec("chain_reach", CHAIN), {"width": 16}),
        ("mlp_per_head", Spec("chain_reach", CHAIN), {"width": 16}),
        ("gru", Spec("chain_reach", {**CHAIN, "view": "tokens"}), {"width": 16}),
    ],
)
@every_kind
def test_a_run_in_a_stack_is_the_run_alone_bit_for_bit(policy, world, options, by):
    one = setting(policy, world, Heads(3, by), **options)
    together, (alone,) = curves_of(one, (1, 2, 3)), curves_of(one, (2,))
    np.testing.assert_array_equal(together[1].parameters, alone.parameters)
    assert set(together[1].curves) == set(alone.curves)
    for name, curve in alone.curves.items():
        np.testing.assert_array_equal(together[1].curves[name].values, curve.values, err_msg=name)
    assert not np.array_equal(together[0].parameters, together[1].parameters)


def test_one_head_is_the_run_without_heads():
    plain, (one,) = curves_of(replace(setting(), heads=Heads()), (4,)), toybed.train(
        seeds=[4], world=Spec("tool_search", TOOLS), policy="tabular", heads=1, supervised=setting().supervised,
        updates=3, prompts=8, group=4, minibatches=2, learning_rate=0.05, measure_every=1,
    )  # fmt: skip
    np.testing.assert_array_equal(plain[0].parameters, one.parameters)


def test_heads_of_a_table_learn_each_from_its_own_responses():
    """Where a prompt's number says which head acts, all prompts of one head leave the others as they were."""
    env = Headed(WORLDS["tools"], Heads(2, "group"))
    assert torch.equal(env.prompts("train")[: len(env.env.prompts("train"))], env.env.prompts("train"))
    one = setting(heads=Heads(2, "group"))
    base = train_bases(one, [0])
    (result,) = train_runs(one.with_learning(updates=1, prompts=1, minibatches=1), [0], base)
    moved = (result.parameters != base[0]).reshape(2, -1).any(1)
    assert moved.sum() == 1


def test_networks_of_their_own_are_as_many_policies():
    own, seeds = WORLDS["chain"], [3, 4]
    env = Headed(own, Heads(2))
    policy = make_policy("mlp_per_head", env, seeds, width=8)
    alone = make_policy("mlp_per_head", own, seeds, width=8)
    tables = env.tables(policy.table(env))
    for head, network in enumerate(policy.networks):
        torch.testing.assert_close(tables[:, head], network.table(own))
    torch.testing.assert_close(tables[:, 0], alone.table(own))  # the first is drawn first
    assert not torch.allclose(tables[:, 0], tables[:, 1])
    policy.flatten_logits(1e6)
    torch.testing.assert_close(policy.table(env).exp(), torch.full_like(policy.table(env), 1 / 3))


def test_train_takes_heads():
    (result,) = toybed.train(seeds=1, policy="tabular", world=Spec("tool_search", TOOLS), heads=2,
                             supervised=None, updates=1, minibatches=1, prompts=2)  # fmt: skip
    assert len(result.parameters) == 2 * len(WORLDS["tools"].contexts()) * 4


@pytest.mark.parametrize(
    ("make_it", "message"),
    [
        (lambda: Heads(0), "count is 0; allowed: at least 1"),
        (lambda: Heads(2.0), "Heads: count is 2.0; allowed: a whole number of at least 1"),
        (lambda: toybed.train(heads=2.0), "Heads: count is 2.0; allowed: a whole number of at least 1"),
        (lambda: toybed.train(heads="two"), "Heads: count is 'two'; allowed: a whole number of at least 1"),
        (lambda: curves_of(setting("gru"), (0,)), "history, which ToolSearch does not show"),
        (
            lambda: Headed(WORLDS["chain"], Heads(2, "group")).reward_vector(
                Headed(WORLDS["chain"], Heads(2, "group")).reset(torch.tensor(0))
            ),
            "ChainReach has no reward vector: its reward is one number",
        ),
        (lambda: Heads(2, "responses"), "unknown kind of heads 'responses': did you mean 'response'"),
        (lambda: toybed.train(head=2), "unknown argument of train 'head': did you mean 'heads'"),
        (
            lambda: train_bases(replace(setting(), supervised=Supervised(demonstrator={"habits": 1})), [0]),
            "unknown option of ToolSearch's demonstrator 'habits': did you mean 'habit'",
        ),
    ],
)
def test_what_is_wrong_is_named(make_it, message):
    with pytest.raises(ToybedError, match=message):
        make_it()


@pytest.mark.parametrize("name", ["first_steps", "best_answers", "answer_search"])
@every_kind
def test_a_probe_of_one_policy_says_that_it_takes_no_heads(name, by):
    with pytest.raises(ToybedError, match=f"the probe {name} takes policies without heads, and these have 2"):
        curves_of(replace(setting(heads=Heads(2, by)), probes=(name,)), (0,))


def test_pass_at_k_is_that_of_samples_of_the_mixture():
    one = setting()
    (result,) = curves_of(one, (7,))
    env = Headed(make("tool_search", **TOOLS), one.heads)
    table = torch.from_numpy(result.parameters).view(len(env.contexts()), -1).log_softmax(-1)
    success = np.mean([env.env.evaluate(part).reward[:6].numpy() for part in env.tables(table)], 0, dtype=float)
    for k in PASS_AT:
        # float32 success near 1 at worst: k times 1e-7 of rounding
        assert result.curves[f"pass@{k}_train"].values[-1] == pytest.approx(np.mean(1 - (1 - success) ** k), abs=1e-4)


# -- what the heads share ----------------------------------------------------------------------------------------------
def entropy_of(chances):
    return -sum(p * math.log(p) for p in chances if p > 0)


@pytest.mark.parametrize("world", ["chain", "tools"])
@every_kind
def test_the_probe_is_the_plain_loop(world, by):
    own, count = WORLDS[world], 3
    env = Headed(own, Heads(count, by))
    table = random_table(env, runs=2)
    measured = probe(env, table, table)
    for run, split in itertools.product(range(2), ("train", "test")):
        parts = table[run].split(len(own.contexts()))
        means, mixtures, successes = [], [], [[] for _ in range(count)]
        for question in own.prompts(split).tolist():
            share = shares_of(by, count, question)
            each = [walk(own, part, question) for part in parts]
            means.append(sum(s * entropy_of([p for p, _ in head]) for s, head in zip(share, each, strict=True)))
            mixed = [sum(s * head[i][0] for s, head in zip(share, each, strict=True)) for i in range(len(each[0]))]
            mixtures.append(entropy_of(mixed))
            for head in range(count):
                if share[head]:
                    successes[head].append(sum(p * r for p, r in each[head]))
        worth = [np.mean(values) for values in successes]
        expected = {
            "head_entropy": np.mean(means) / own.horizon,
            "mixture_entropy": np.mean(mixtures) / own.horizon,
            "head_information": np.mean(mixtures) - np.mean(means),
            "success_best_head": max(worth),
            "success_worst_head": min(worth),
        }
        for name, value in expected.items():
            assert float(measured[f"{name}_{split}"][run]) == pytest.approx(value, abs=1e-10), name


@every_kind
def test_heads_that_are_alike_share_everything_and_those_that_never_meet_nothing(by):
    own, count = WORLDS["chain"], 3
    env = Headed(own, Heads(count, by))
    alike = random_table(own).repeat(1, count, 1)
    assert float(probe(env, alike, alike)["head_information_test"].abs()) < 1e-12
    rows = torch.arange(count).repeat_interleave(len(own.contexts()))
    apart = torch.full((1, len(rows), 3), -1e9, dtype=torch.float64)
    apart[0, torch.arange(len(rows)), rows] = 0.0
    known = float(probe(env, apart, apart)["head_information_test"])
    assert known == pytest.approx(0.0 if by == "prompt" else math.log(count), abs=1e-12)
    assert float(probe(env, apart, apart)["head_entropy_test"].abs()) < 1e-12


def test_a_policy_without_heads_tells_nothing_of_them():
    env = WORLDS["tools"]
    table = random_table(env, runs=2)
    measured = probe(env, table, table)
    assert (measured["head_information_train"].abs() < 1e-12).all()
    torch.testing.assert_close(measured["head_entropy_train"], measured["mixture_entropy_train"])
    torch.testing.assert_close(measured["success_best_head_test"], env.evaluate(table).reward[:, 6:].mean(1))


def test_start_mixtures_are_the_plain_formula():
    env = Headed(WORLDS["tools"], Heads(2))
    table, start = random_table(env, 2, 0), random_table(env, 2, 1)
    measured = start_mixtures(env, table, start)
    for split, share, run in itertools.product(("train", "test"), SHARES, range(2)):
        success = [
            share * float(before) + (1 - share) * float(now)
            for before, now in zip(env.evaluate(start[run]).reward, env.evaluate(table[run]).reward, strict=True)
        ]
        chosen = [success[prompt] for prompt in env.prompts(split).tolist()]
        assert float(measured[f"reward_start_{share:g}_{split}"][run]) == pytest.approx(np.mean(chosen), abs=1e-12)
        many = np.mean([1 - (1 - p) ** K for p in chosen])
        assert float(measured[f"pass@{K}_start_{share:g}_{split}"][run]) == pytest.approx(many, abs=1e-12)
