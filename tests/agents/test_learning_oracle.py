"""Learning against what is known without sampling: exact gradients, the demonstrator, plain-loop twins."""

from __future__ import annotations

import doctest
import itertools
import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import toybed
from toybed.agents import meter
from toybed.agents.config import Learning, Setting, Spec, Supervised
from toybed.agents.optimization import CAUSES, POLICY_LOST
from toybed.agents.policies import flat_parameters, load_flat, make_policy
from toybed.agents.policy_gradient import PolicyGradient
from toybed.agents.rollout import Rollout, draw_prompts, response_log_probs, rollout
from toybed.agents.sampler import MAX_RESAMPLES, fill
from toybed.agents.supervised import fine_tune
from toybed.agents.training import train, train_bases, train_runs
from toybed.envs import make
from toybed.envs.chain_reach import ChainReach
from toybed.errors import ToybedError
from toybed.objectives import catalogue
from toybed.objectives.batch import Batch
from toybed.streams import Streams

CHAIN = ChainReach(modulus=5, operations=3, length=2)


# -- (a) the expected gradient -----------------------------------------------------------------------------------------
GRADIENT_WORLDS = {
    "bandit": make("answer_bandit", prompt_count=2, answers=4, correct=1, rank=2, trap=0.5),
    "chain": ChainReach(modulus=3, operations=3, length=2),
}


def exact_gradient(env, logits):
    """Of the mean expected reward over train prompts, by autograd through the exact evaluation (float64)."""
    leaf = logits.double().requires_grad_()
    reward = env.evaluate(leaf.log_softmax(-1)).reward[torch.isin(env.prompts(), env.prompts("train"))]
    return torch.autograd.grad(reward.mean(), leaf)[0]


def sampled_gradients(env, logits, objective, runs, prompts=4, group=3):
    """The objective's gradient in each of many independent runs with the same table, ``[runs, C, V]``."""
    policy = make_policy("tabular", env, range(runs))
    policy.set_table(logits)
    streams = Streams("rollout", range(runs))
    sample = rollout(env, policy, draw_prompts(env.prompts("train"), prompts, streams), group, streams)
    batch = Batch(sample.log_prob, torch.ones_like(sample.log_prob, dtype=torch.bool), sample.reward)
    log_probs = response_log_probs(env, policy, sample.observation, None)
    loss = catalogue.get(objective).loss(log_probs.gather(-1, sample.token[..., None]).squeeze(-1), batch)
    return torch.autograd.grad(loss.value.sum(), policy.logits)[0].double()


@pytest.mark.parametrize("objective", ["reinforce", "rloo"])
@pytest.mark.parametrize("world", GRADIENT_WORLDS)
def test_the_expected_gradient_is_that_of_the_expected_reward(world, objective):
    """|z| < 4.5 for every parameter: 8 or 54 of them, twice: a right program fails with 9e-4.

    (Z is normal to good accuracy: 4000 runs of 12 responses each.)
    """
    env = GRADIENT_WORLDS[world]
    random = np.random.default_rng(0)
    logits = torch.from_numpy(random.normal(size=(len(env.contexts()), env.vocabulary))).float()
    runs = 4000
    gradients = -sampled_gradients(env, logits, objective, runs)  # a loss is minimised
    exact = exact_gradient(env, logits)
    mean, error = gradients.mean(0), gradients.std(0) / math.sqrt(runs)
    # contexts that no train prompt reaches have no gradient at all; float32 sums explain 1e-7
    assert ((mean - exact).abs() <= 4.5 * error + 1e-7).all()
    # and the comparison has power: the largest entry is known to a tenth of itself at worst
    largest = exact.abs().argmax()
    assert exact.flatten()[largest].abs() > 10 * error.flatten()[largest]


def test_the_group_mean_as_baseline_shrinks_the_gradient_by_its_known_factor():
    """``dr_grpo`` is (G - 1)/G times ``rloo`` on every batch: the bias that the previous test would see."""
    env = GRADIENT_WORLDS["bandit"]
    logits = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 4))).float()
    centred, left_out = (sampled_gradients(env, logits, name, 50, group=3) for name in ("dr_grpo", "rloo"))
    # float32 gradients of size 1
    assert torch.allclose(centred, left_out * 2 / 3, rtol=0, atol=1e-6)
    assert left_out.abs().max() > 1e-2


# -- (b) supervised fine-tuning ----------------------------------------------------------------------------------------
def test_fine_tuning_arrives_at_the_demonstrator():
    """Excess cross-entropy over the demonstrator's entropy, exactly, on train prompts.

    Near the optimum a logit of curvature h (context frequency times p (1 - p)) sees gradient noise of variance
    h / n, n = demonstrations * T positions a step. Adam divides by its root, so the logit does a random walk of
    steps ``rate`` pulled back by ``rate h / sqrt(h / n)``: stationary variance ``rate / (2 sqrt(h n))``, excess loss
    ``h/2`` times that, ``rate sqrt(h) / (4 sqrt(n))``. Summed over C V logits with ``sum h <= 1`` (Cauchy-Schwarz):
    at most ``rate sqrt(C V) / (4 sqrt(n))`` nats a token. Rare contexts converge from above, hence a factor of 4.
    (150 other runs stayed below 0.8 times the bound.)
    """
    seeds, noise, rate, count = [0, 1, 2], 0.35, 0.02, 512
    policy = make_policy("tabular", CHAIN, seeds)
    config = Supervised(steps=350, demonstrations=count, learning_rate=rate, demonstrator={"noise": noise})
    losses = fine_tune(CHAIN, policy, config, Streams("demonstrations", seeds))
    table = CHAIN.demonstrator(noise=noise).double()
    prompts = CHAIN.prompts("train")
    demo, reward = CHAIN.enumerate_responses(table, prompts)
    learned, _ = CHAIN.enumerate_responses(policy.table(CHAIN).double(), prompts)
    divergence = (demo.exp() * (demo - learned)).sum(-1)  # [S, P], nats per response
    excess = divergence.mean(-1) / CHAIN.horizon
    bound = rate * math.sqrt(2 * 25 * 3) / (4 * math.sqrt(count * CHAIN.horizon))
    assert (divergence > -1e-6).all()  # float32 tables
    assert (excess < 4 * bound).all()
    assert losses.shape == (350, 3)
    # The first loss is that of the uniform policy, up to float32.
    assert torch.allclose(losses[0], torch.tensor(math.log(3)), rtol=0, atol=1e-5)
    # The last losses are samples of the cross-entropy; 50 batches of 1024 tokens with a spread below 2 nats:
    # standard error below 2 / sqrt(51200) = 0.009
    entropy = -(demo.exp() * demo).sum(-1).mean() / CHAIN.horizon
    assert ((losses[-50:].mean(0) - entropy).abs() < 4 * bound + 4.5 * 0.009).all()
    # Pinsker: rewards in [0, 1] differ by at most sqrt(KL / 2), prompt by prompt.
    worth, target = (learned.exp() * reward).sum(-1), (demo.exp() * reward).sum(-1)
    assert ((worth - target).abs() <= (divergence.clamp(min=0) / 2).sqrt() + 1e-6).all()
    # On the mean over prompts: signs differ, so this is generous; where it started is ten times further off.
    assert (worth.mean(-1) - target.mean()).abs().max() < 0.03
    assert target.mean() - CHAIN.random_baseline() > 0.3


def test_fine_tuning_on_right_ones_arrives_at_the_demonstrator_given_success():
    """The target keeps the demonstrator's ratios among right answers and gives wrong ones nothing.

    The ratios by the bound of the test above, ``rate sqrt(C V) / (4 sqrt(n))`` with C V = 4 * 2 right logits and the n
    right demonstrations of a step: half of those expected is fewer than any step has but with a chance of exp(-n / 4).
    A wrong answer's gradient is its probability p, which only falls, so Adam divides it by at most the first: its logit
    sinks by at least ``rate p / p_0`` a step against the others, and ``p <= p_0 / (1 + rate * steps)``: a sixteenth.
    """
    env = make("answer_bandit", prompt_count=4, answers=6, correct=2, rank=2)
    seeds, rate, count = [0, 1, 2], 0.05, 512
    policy = make_policy("tabular", env, seeds)
    config = Supervised(steps=300, demonstrations=count, learning_rate=rate, right_only=True)
    losses = fine_tune(env, policy, config, Streams("demonstrations", seeds))
    demo, right = env.demonstrator().double(), env.rewards() == 1
    target = demo.masked_fill(~right, -math.inf).log_softmax(-1)
    learned = policy.table(env).double()
    divergence = torch.where(right, target.exp() * (target - learned), 0.0).sum(-1).mean(-1)
    success = float((demo.exp() * right).sum(-1).mean())
    bound = rate * math.sqrt(4 * 2) / (4 * math.sqrt(count * success / 2))
    wrong = 4 / 6 / (1 + rate * config.steps)
    assert (divergence < 4 * bound - math.log(1 - wrong)).all()
    assert ((learned.exp() * ~right).sum(-1) < wrong).all()
    # What all demonstrations teach is far from there: the test can tell.
    assert float(torch.where(right, target.exp() * (target - demo), 0.0).sum(-1).mean()) > 0.5
    assert losses.shape == (300, 3)


def test_without_a_right_demonstration_nothing_is_learned():
    """A style that never succeeds: no step has a right response, and no loss is divided by their number."""
    env = make(
        "tool_search", clusters=2, tools=4, hops=2, questions=40, dominant=0.0, weak=0.0, specialist=0.0, other=0.0
    )
    policy = make_policy("tabular", env, [0, 1])
    losses = fine_tune(env, policy, Supervised(steps=3, right_only=True), Streams("demonstrations", [0, 1]))
    assert (losses == 0).all()
    assert (flat_parameters(policy) == 0).all()


def test_stages_of_fine_tuning_follow_each_other():
    """Two stages are two calls on the same streams, bit for bit; the losses are those of the last."""
    first = Supervised(steps=3, demonstrations=16, learning_rate=0.1, demonstrator={"noise": 0.9})
    second = Supervised(steps=5, demonstrations=8, learning_rate=0.05, right_only=True)
    whole, parts = (make_policy("tabular", CHAIN, [3, 4]) for _ in range(2))
    losses = fine_tune(CHAIN, whole, replace(second, before=first), Streams("demonstrations", [3, 4]))
    streams = Streams("demonstrations", [3, 4])
    fine_tune(CHAIN, parts, first, streams)
    assert torch.equal(losses, fine_tune(CHAIN, parts, second, streams))
    assert torch.equal(flat_parameters(whole), flat_parameters(parts))
    wrong = replace(second, before=replace(first, demonstrator={"noize": 0.9}))
    with pytest.raises(ToybedError, match="unknown option of ChainReach's demonstrator 'noize': did you mean 'noise'"):
        fine_tune(CHAIN, whole, wrong, streams)


def test_no_fine_tuning_changes_nothing():
    policy = make_policy("mlp", CHAIN, [3, 4], width=8)
    before = flat_parameters(policy)
    losses = fine_tune(CHAIN, policy, Supervised(steps=0), Streams("demonstrations", [3, 4]))
    assert losses.shape == (0, 2)
    assert torch.equal(flat_parameters(policy), before)


# -- (c) reinforcement -------------------------------------------------------------------------------------------------
def test_grpo_climbs_to_the_optimum_of_the_bandit():
    """From the uniform policy (exact reward 1/3) to above 0.95.

    The gradient is along the exact one in expectation and Adam's step is about ``rate`` a logit: 150 updates of 0.05
    move each of 6 logits by up to 7.5, and a margin of 4 between right and wrong ones is reward
    2 e^4 / (2 e^4 + 4) = 0.965. All 64 runs must arrive. (Of 3000 other runs the worst ended at 0.995.)
    """
    env = make("answer_bandit", prompt_count=4, answers=6, correct=2, rank=2)
    seeds = list(range(64))
    policy = make_policy("tabular", env, seeds)
    config = Learning(prompts=16, group=8, minibatches=2, learning_rate=0.05)
    learner = PolicyGradient(env, policy, catalogue.get("grpo"), config, seeds)
    start = env.evaluate(policy.table(env)).reward.mean(1)
    assert torch.allclose(start, torch.tensor(1 / 3), rtol=0, atol=1e-6)
    measures = [learner.update() for _ in range(150)]
    reward = env.evaluate(policy.table(env)).reward.mean(1)
    assert float(reward.min()) > 0.95
    assert not learner.diverged.any()
    assert measures[-1]["zero_groups"].mean() > measures[0]["zero_groups"].mean()


def test_the_measures_of_an_update_are_those_of_its_sample(monkeypatch):
    seeds = [0, 1, 2]
    policy = make_policy("tabular", CHAIN, seeds)
    learner = PolicyGradient(CHAIN, policy, catalogue.get("grpo"), Learning(prompts=8, group=4), seeds)
    seen = []
    original = learner._sampler._rollout
    monkeypatch.setattr(learner._sampler, "_rollout", lambda *given: seen.append(original(*given)) or seen[-1])
    measures = learner.update()
    (sample,) = seen
    for run in range(3):
        reward = sample.reward[run].double().numpy()
        assert float(measures["reward"][run]) == pytest.approx(reward.mean(), abs=1e-6)
        zero = np.mean([group.min() == group.max() for group in reward])
        assert float(measures["zero_groups"][run]) == pytest.approx(zero, abs=1e-6)
        assert float(measures["entropy"][run]) == pytest.approx(math.log(3), abs=1e-5)  # a uniform table
        assert float(measures["surprisal"][run]) == pytest.approx(math.log(3), abs=1e-5)
        assert float(measures["covariance"][run]) == pytest.approx(0, abs=1e-6)  # log pi is constant
        # one step a prompt: at ratio 1 every token of a group with spread has a gradient
        assert float(measures["touched"][run]) == pytest.approx(1 - zero, abs=1e-6)
        assert float(measures["responses"][run]) == 4


# -- (d) dynamic sampling ----------------------------------------------------------------------------------------------
def fake_rollout(runs, prompts, first, legal):
    """A batch in which every number of a group names the group: ``first + run * prompts + place``."""
    name = first + torch.arange(runs * prompts).view(runs, prompts)
    g, t, f, v = 2, 3, 2, 4

    def spread(*axes):
        return name.view(runs, prompts, *(1,) * len(axes)).expand(runs, prompts, *axes).clone()

    return Rollout(
        prompt=name.clone(),
        observation=spread(g, t, f),
        legal=spread(g, t, v) % 2 == 0 if legal else None,
        token=spread(g, t),
        log_prob=spread(g, t).float(),
        entropy=spread(g, t).double(),
        reward=spread(g).float(),
    )


def fill_twin(kept, useful, old_names, fresh_names):
    """What :func:`fill` must do, run by run and place by place: names of the groups, and the places that are kept."""
    names, now = old_names.tolist(), kept.tolist()
    for run in range(len(names)):
        donors = [i for i, good in enumerate(useful[run].tolist()) if good]
        for place in range(len(names[run])):
            if not now[run][place] and donors:
                names[run][place] = int(fresh_names[run, donors.pop(0)])
                now[run][place] = True
    return torch.tensor(names), torch.tensor(now)


@given(data=st.data(), legal=st.booleans())
def test_fill_is_the_plain_loop(data, legal):
    runs, prompts = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 7))
    flags = st.lists(st.lists(st.booleans(), min_size=prompts, max_size=prompts), min_size=runs, max_size=runs)
    kept, useful = torch.tensor(data.draw(flags)), torch.tensor(data.draw(flags))
    old, fresh = fake_rollout(runs, prompts, 0, legal), fake_rollout(runs, prompts, 1001, legal)
    filled, now = fill(old, kept, fresh, useful)
    names, expected = fill_twin(kept, useful, old.prompt, fresh.prompt)
    assert torch.equal(now, expected)
    assert torch.equal(filled.prompt, names)
    for part in ("observation", "token", "log_prob", "entropy", "reward"):
        value = getattr(filled, part)
        assert value.dtype == getattr(old, part).dtype
        assert torch.equal(value.long(), names.view(runs, prompts, *(1,) * (value.ndim - 2)).expand_as(value))
    if legal:
        assert torch.equal(filled.legal, (names % 2 == 0)[..., None, None, None].expand_as(filled.legal))
    else:
        assert filled.legal is None


def watched_sample(env, config, seeds, table=None):
    """One batch with dapo, and all the rollouts that it took."""
    policy = make_policy("tabular", env, seeds)
    if table is not None:
        policy.set_table(table)
    learner = PolicyGradient(env, policy, catalogue.get("dapo"), config, seeds)
    taken, original = [], learner._sampler._rollout

    def watch(runs, *given):
        taken.append((runs, original(runs, *given)))
        return taken[-1][1]

    learner._sampler._rollout = watch
    return learner, learner._sample(), taken


@pytest.mark.parametrize("group", [2, 4])
@pytest.mark.parametrize("world", ["easy", "hard", "hopeless"])
def test_dynamic_sampling_is_the_plain_loop(world, group):
    seeds = list(range(12))
    env, table = CHAIN, None
    if world == "easy":  # at 4 responses 7 of 8 groups are mixed: 0.45 of the runs need nothing, at 7 0.91
        env = make("answer_bandit", prompt_count=3, answers=4, correct=2, rank=2)
        group = {2: 4, 4: 7}[group]
    if world == "hopeless":  # nearly every answer is right: even ten more batches may not fill the batch
        env = make("answer_bandit", prompt_count=3, answers=4, correct=2, rank=2)
        table = env.tilted(torch.zeros(3, 4), 6.0)
    config = Learning(prompts=6, group=group, minibatches=1)
    learner, (sample, zero_groups, rounds), taken = watched_sample(env, config, seeds, table)
    first = taken[0][1]
    assert taken[0][0] is None and len(taken) <= MAX_RESAMPLES + 1
    expected_streams = Streams("rollout", seeds)
    for run in range(len(seeds)):
        mixed = [len(set(r)) > 1 for r in first.reward[run].tolist()]
        assert float(zero_groups[run]) == pytest.approx(1 - np.mean(mixed), abs=1e-6)
        groups, count = [(0, place) for place in range(6)], 1
        for number, (drawing, fresh) in enumerate(taken[1:], start=1):
            assert drawing[run] == (not all(mixed)), "a run draws while it needs more, and only then"
            if all(mixed):
                continue
            count += 1
            donors = [place for place, r in enumerate(fresh.reward[run].tolist()) if len(set(r)) > 1]
            for place in range(6):
                if not mixed[place] and donors:
                    groups[place], mixed[place] = (number, donors.pop(0)), True
        assert all(mixed) or count == MAX_RESAMPLES + 1, "it gives up only after ten more"
        assert float(rounds[run]) == count
        for place, (number, donor) in enumerate(groups):
            for mine, theirs in zip(sample, taken[number][1], strict=True):
                assert mine is theirs is None or torch.equal(mine[run, place], theirs[run, donor])
        spread = sample.reward[run].amax(-1) > sample.reward[run].amin(-1)
        assert spread.tolist() == mixed
        for _ in range(count):  # what a run of its own would have drawn
            expected_streams.uniform((6,), [r == run for r in range(len(seeds))])
            expected_streams.uniform((env.horizon + env.noise, 6, group), [r == run for r in range(len(seeds))])
    assert torch.equal(learner._sampler._streams.uniform((3,)), expected_streams.uniform((3,)))
    counts = set(rounds.tolist())
    if world == "easy":
        assert 1.0 in counts
        assert group == 7 or len(counts) > 1
    elif world == "hopeless":
        assert MAX_RESAMPLES + 1.0 in counts
    else:
        assert counts != {1.0}


def test_the_learner_samples_train_prompts_only():
    # 4 of the 25 prompts are train: 64 prompts from all of them would miss the others with (4/25)^64
    env = ChainReach(modulus=5, operations=3, length=2, train_share=0.15)
    _, _, taken = watched_sample(env, Learning(prompts=64), [0, 1])
    assert torch.isin(taken[0][1].prompt, env.prompts("train")).all()


def test_without_dynamic_sampling_one_batch_is_drawn():
    policy = make_policy("tabular", CHAIN, [0, 1])
    learner = PolicyGradient(CHAIN, policy, catalogue.get("grpo"), Learning(prompts=6, minibatches=1), [0, 1])
    _, _, rounds = learner._sample()
    assert rounds.tolist() == [1, 1]


def test_dapo_reports_the_responses_that_it_sampled():
    policy = make_policy("tabular", CHAIN, [0, 1, 2])
    config = Learning(prompts=6, group=4, minibatches=1)
    learner = PolicyGradient(CHAIN, policy, catalogue.get("dapo"), config, [0, 1, 2])
    _, (_, _, rounds), _ = watched_sample(CHAIN, config, [0, 1, 2])
    assert torch.equal(learner.update()["responses"], rounds * 4)
    assert (rounds > 1).any()


# -- (e) curves --------------------------------------------------------------------------------------------------------
SMALL = Setting(
    world=Spec("chain_reach", {"modulus": 5, "operations": 3, "length": 2}),
    policy=Spec("tabular"),
    supervised=Supervised(steps=3, demonstrations=16, learning_rate=0.1),
    learning=Learning(updates=7, prompts=4, group=4, minibatches=2, learning_rate=0.05, measure_every=3),
)


def final_table(setting, seeds, bases):
    """The trained policies, by the learner that :func:`train_runs` promises."""
    env = make(setting.world.name, **setting.world.options)
    policy = make_policy(setting.policy.name, env, seeds)
    load_flat(policy, torch.from_numpy(bases))
    learner = PolicyGradient(env, policy, catalogue.get(setting.objective.name), setting.learning, list(seeds))
    for _ in range(setting.learning.updates):
        learner.update()
    return policy.table(env)


@pytest.fixture(scope="module")
def trained():
    seeds = [4, 9]
    bases = train_bases(SMALL, seeds)
    policy = make_policy("tabular", CHAIN, seeds)
    load_flat(policy, torch.from_numpy(bases))
    tables = {0: policy.table(CHAIN), 7: final_table(SMALL, seeds, bases)}
    return seeds, bases, tables, train_runs(SMALL, seeds, bases)


def test_curves_are_measured_at_the_start_every_so_often_and_at_the_end(trained):
    _, _, _, results = trained
    assert len(results) == 2
    for result in results:
        assert result.diverged_at is None
        for name, curve in result.curves.items():
            expected = [3, 6, 7] if name.startswith("sampled_") else [0, 7] if "coverage" in name else [0, 3, 6, 7]
            assert curve.steps.tolist() == expected, name
            assert curve.values.shape == curve.steps.shape and np.isfinite(curve.values).all(), name
        kinds = ("reward", "entropy", "lost", *(f"pass@{k}" for k in meter.PASS_AT))
        assert {f"{kind}_{split}" for kind in kinds for split in ("train", "test")} <= set(result.curves)


@pytest.mark.parametrize(
    ("updates", "every", "steps"), [(0, 5, [0]), (1, 5, [0, 1]), (5, 5, [0, 5]), (6, 2, [0, 2, 4, 6])]
)
def test_start_and_end_are_always_measured(updates, every, steps):
    setting = SMALL.with_learning(updates=updates, measure_every=every)
    (result,) = train_runs(setting, [1], train_bases(setting, [1]))
    assert result.curves["reward_test"].steps.tolist() == steps
    assert result.curves["coverage@16_test"].steps.tolist() == sorted({0, updates})
    assert ("sampled_reward" in result.curves) == (updates > 0)


def test_measures_are_the_formulas_on_the_exact_success(trained):
    _, _, tables, results = trained
    for (step, table), run in itertools.product(tables.items(), range(2)):
        exact = CHAIN.evaluate(table[run].double())
        curves = results[run].curves
        for split in ("train", "test"):
            p = exact.reward[CHAIN.prompts(split)].numpy()
            # The program evaluates in float32: p is off by some 1e-7, pass@k by at most k (1 - p)^(k-1) times that,
            # below 1e-7 / p: the smallest p here is about 1e-2.
            at = {name: curves[f"{name}_{split}"] for name in ("reward", "entropy", "lost")}
            value = {name: float(curve.values[curve.steps == step][0]) for name, curve in at.items()}
            assert value["reward"] == pytest.approx(p.mean(), abs=1e-6)
            assert value["entropy"] == pytest.approx(float(exact.entropy[CHAIN.prompts(split)].mean()) / 2, abs=1e-5)
            assert value["lost"] == pytest.approx((p < 1e-3).mean(), abs=1e-12)
            for k in meter.PASS_AT:
                curve = curves[f"pass@{k}_{split}"]
                assert curve.values[curve.steps == step][0] == pytest.approx((1 - (1 - p) ** k).mean(), abs=1e-4)


def test_coverage_is_the_brute_force(trained):
    _, _, tables, results = trained
    for (step, table), run, k in itertools.product(tables.items(), range(2), meter.COVERAGE_AT):
        shares = []
        for prompt in CHAIN.prompts("test").tolist():
            found = []
            for tokens in itertools.product(range(3), repeat=2):
                state, log_prob = CHAIN.reset(torch.tensor(prompt)), 0.0
                for token in tokens:
                    log_prob += float(table[run, CHAIN.context_index(CHAIN.observe(state)), token])
                    state = CHAIN.step(state, torch.tensor(token))
                if float(CHAIN.reward(state)) == 1:
                    found.append(1 - (1 - math.exp(log_prob)) ** k)
            if found:
                shares.append(np.mean(found))
        curve = results[run].curves[f"coverage@{k}_test"]
        # p off by 3e-7 p (float32), k p (1 - p)^(k - 1) < 1
        assert curve.values[curve.steps == step][0] == pytest.approx(np.mean(shares), abs=1e-5)


def test_a_stack_of_runs_gives_the_curves_of_each_alone(trained):
    seeds, bases, _, results = trained
    for run in range(2):
        (single,) = train_runs(SMALL, seeds[run : run + 1], bases[run : run + 1])
        for name, curve in single.curves.items():
            np.testing.assert_array_equal(curve.values, results[run].curves[name].values, err_msg=name)
    np.testing.assert_array_equal(train_bases(SMALL, seeds[1:]), bases[1:])


def poisoned(run, update, steps_an_update):
    """GRPO whose surrogate turns NaN for one run from the given update on."""
    grpo, calls = catalogue.get("grpo"), itertools.count()

    def surrogate(log_ratio, advantage, batch):
        coefficient = grpo.surrogate(log_ratio, advantage, batch)
        if next(calls) < (update - 1) * steps_an_update:
            return coefficient
        factor = torch.ones(len(coefficient), 1, 1, 1)
        factor[run] = math.nan
        return coefficient * factor

    return replace(grpo, surrogate=surrogate, name="poisoned")


def test_a_gradient_that_is_not_finite_is_told_from_such_a_loss(trained):
    """The slope of a square root at 0 is infinite, and the loss there is finite."""
    seeds, bases, _, _ = trained
    grpo = catalogue.get("grpo")

    def steep(log_prob, batch, **_):
        return (log_prob - log_prob.detach()).abs().sqrt()

    broken, _ = train_runs(SMALL, seeds, bases, objective=replace(grpo, regularizers=(steep,), name="steep"))
    assert (broken.diverged_at, broken.cause) == (1, CAUSES[2])


@pytest.mark.parametrize("update", [1, 4, 7])
def test_a_diverged_run_is_nan_from_its_update_on_and_its_neighbour_is_untouched(trained, update):
    seeds, bases, _, results = trained
    spoiled = train_runs(SMALL, seeds, bases, objective=poisoned(0, update, 2))
    assert [(result.diverged_at, result.cause) for result in spoiled] == [(update, CAUSES[1]), (None, None)]
    for name, curve in spoiled[0].curves.items():
        clean = results[0].curves[name]
        np.testing.assert_array_equal(curve.steps, clean.steps)
        np.testing.assert_array_equal(np.isnan(curve.values), curve.steps >= update, err_msg=name)
        before = curve.steps < update
        np.testing.assert_array_equal(curve.values[before], clean.values[before], err_msg=name)
        np.testing.assert_array_equal(spoiled[1].curves[name].values, results[1].curves[name].values, err_msg=name)


def test_a_base_that_is_not_finite_diverges_at_once():
    bases = train_bases(SMALL, [0, 1])
    bases[1] = math.inf
    healthy, broken = train_runs(SMALL, [0, 1], bases)
    assert healthy.diverged_at is None and (broken.diverged_at, broken.cause) == (0, CAUSES[POLICY_LOST])
    assert np.isnan(broken.curves["reward_test"].values).all()
    assert np.isfinite(healthy.curves["reward_test"].values).all()


def test_the_report_hears_of_every_update(trained):
    seeds, bases, _, results = trained
    heard = []
    train_runs(SMALL, seeds, bases, report=lambda *what: heard.append(what))
    assert [update for update, _, _ in heard] == list(range(1, 8))
    for update, reward, entropy in heard:
        if update in (3, 6, 7):
            for value, name in ((reward, "sampled_reward"), (entropy, "sampled_entropy")):
                values = [r.curves[name].values[r.curves[name].steps == update][0] for r in results]
                assert value == pytest.approx(np.mean(values), abs=1e-6)


def test_bases_of_equal_settings_are_equal_and_the_objective_does_not_enter():
    other = replace(SMALL, objective=Spec("dapo"))
    np.testing.assert_array_equal(train_bases(SMALL, [3]), train_bases(other, [3]))
    assert SMALL.base_config() == other.base_config()
    assert SMALL.config() != other.config()
    assert not np.array_equal(train_bases(SMALL, [3]), train_bases(SMALL, [4]))


# -- (f) the short way -------------------------------------------------------------------------------------------------
def test_the_docstring_example_of_train_works():
    finder = doctest.DocTestFinder(recurse=False)
    (example,) = finder.find(train, "train", globs={"train": toybed.train})
    assert len(example.examples) == 2
    outcome = doctest.DocTestRunner().run(example)
    assert (outcome.failed, outcome.attempted) == (0, 2)


def test_train_takes_fields_of_setting_and_of_learning():
    own = {name: getattr(SMALL, name) for name in ("world", "policy", "supervised")}
    results = train("grpo", seeds=[4, 9], **own, **vars(SMALL.learning))
    expected = train_runs(SMALL, [4, 9], train_bases(SMALL, [4, 9]))
    for one, two in zip(results, expected, strict=True):
        for name, curve in one.curves.items():
            np.testing.assert_array_equal(curve.values, two.curves[name].values)
    mine = train(replace(catalogue.get("grpo"), name="mine"), seeds=[4, 9], **own, **vars(SMALL.learning))
    np.testing.assert_array_equal(mine[0].curves["reward_test"].values, results[0].curves["reward_test"].values)


@pytest.mark.parametrize("seeds", [0, [], -2])
def test_train_needs_a_seed(seeds):
    with pytest.raises(ToybedError, match=re.escape(f"seeds is {seeds}; allowed: at least 1")):
        train("grpo", seeds=seeds)


def test_a_last_step_that_ruins_a_run_marks_it():
    """No later loss sees the parameters of the last step; the measurement does."""
    options = {"policy": "tabular", "supervised": None, "prompts": 4, "group": 4, "minibatches": 1}
    (result,) = train("grpo", seeds=1, updates=1, learning_rate=1e39, max_grad_norm=1e39, **options)
    assert (result.diverged_at, result.cause) == (1, CAUSES[3])
    assert np.isnan(result.curves["reward_train"].values[-1])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"updats": 3}, "unknown argument of train 'updats': did you mean 'updates'"),
        ({"world": "chain_rech"}, "unknown world 'chain_rech': did you mean 'chain_reach'"),
        ({"policy": "ml"}, "unknown policy 'ml': did you mean 'mlp'"),
        ({"learning_rate": -1.0}, "learning_rate is -1.0"),
    ],
)
def test_train_names_what_is_wrong(wrong, message):
    with pytest.raises(ToybedError, match=re.escape(message)):
        train("grpo", seeds=1, **{"supervised": None, "updates": 1, **wrong})


def test_train_names_the_nearest_objective():
    with pytest.raises(ToybedError, match="unknown objective 'grop': did you mean 'grpo'"):
        train("grop", seeds=1, updates=1)


@pytest.mark.parametrize(
    ("record", "field", "value", "least"),
    [
        (Learning, "updates", -1, 0),
        (Learning, "prompts", 0, 1),
        (Learning, "group", 0, 1),
        (Learning, "epochs", 0, 1),
        (Learning, "minibatches", 0, 1),
        (Learning, "measure_every", 0, 1),
        (Supervised, "steps", -1, 0),
        (Supervised, "demonstrations", 0, 1),
    ],
)
def test_a_size_below_its_least_is_refused(record, field, value, least):
    message = f"{record.__name__}: {field} is {value}; allowed: at least {least}"
    with pytest.raises(ToybedError, match=message):
        record(**{field: value})
    with pytest.raises(ToybedError, match=message):
        replace(record(), **{field: value})


def test_minibatches_must_divide_the_prompts():
    with pytest.raises(ToybedError, match="Learning: 32 prompts do not divide into 5 minibatches"):
        Learning(minibatches=5)
    assert Learning(prompts=30, minibatches=5).minibatches == 5
