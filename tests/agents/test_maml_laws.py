"""The laws of meta-learning: its gradient against finite differences and enumeration, and what it may not touch."""

from __future__ import annotations

import importlib.util
import itertools
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from toybed.agents.config import Adaptation, Learning, Meta, Spec
from toybed.agents.learners import SAMPLING
from toybed.agents.maml import GIVEN, Adapter, MetaGradient, TaskStreams
from toybed.agents.policies import flat_parameters, make_policy
from toybed.agents.rollout import Rollout
from toybed.envs import make
from toybed.errors import ToybedError
from toybed.objectives import get, names
from toybed.objectives.batch import Batch
from toybed.streams import Streams

_spec = importlib.util.spec_from_file_location("hidden_bandit", Path(__file__).with_name("hidden_bandit.py"))
assert _spec is not None and _spec.loader is not None
hidden_bandit = importlib.util.module_from_spec(_spec)
sys.modules["hidden_bandit"] = hidden_bandit
_spec.loader.exec_module(hidden_bandit)


def steps_in(name):
    """Whether an adaptation takes this objective: it draws nothing, keeps no state and needs what there is."""
    objective = get(name)
    stateful = objective.controller is not None or objective.keep_group is not None
    return not stateful and not objective.needs - (GIVEN - {"generator"}) and not objective.takes_vectors


# Two tokens of two words: four responses, paid otherwise in each of three tasks.
PAIRS = hidden_bandit.HiddenBandit(
    paid=((1.0, 0.2, 0.0, 0.5), (0.0, 0.9, 1.0, 0.1), (0.3, 0.0, 0.6, 1.0)), words=2, length=2, train=3
)
TABLE = Spec("tabular")
LEARNING = Learning(prompts=3, group=4, epochs=1, minibatches=1, learning_rate=0.05)
ADAPTATION = Adaptation(Spec("rloo"), steps=1, group=4, rate=0.7)


def learner(env=PAIRS, *, policy=TABLE, seeds=(0, 1), learning=LEARNING, objective="rloo", **meta):
    built = make_policy(policy.name, env, list(seeds), **policy.options)
    config = Meta(**{"adaptation": ADAPTATION, **meta})
    return MetaGradient(env, built, policy, get(objective), learning, config, list(seeds))


def samples(trained, steps):
    """Inner responses of ``steps`` steps and the outer ones, on all tasks in their order."""
    adapter, runs = trained._adapter, trained.policy.runs
    task = torch.arange(trained.learning.prompts).expand(runs, -1)
    adapted, inner = adapter.spread(trained.policy), []
    for _ in range(steps):
        inner.append(adapter.sample(adapted, task, trained.meta.adaptation.group, trained._sampling))
        adapted = adapter.step(adapted, inner[-1], sampling=None, draws=trained._drawing)
    return inner, adapter.sample(adapted, task, trained.learning.group, trained._sampling)


def gradient(trained, inner, outer):
    parts = torch.autograd.grad(trained.loss(inner, outer).sum(), list(trained.policy.parameters()))
    return torch.cat([part.flatten(1) for part in parts], 1)


def as_double(policy):
    policy.double()
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.copy_(torch.from_numpy(np.random.default_rng(3).normal(size=parameter.shape)))


# -- its gradient ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("policy", [TABLE, Spec("mlp", {"width": 8, "embedding": 4})])
@pytest.mark.parametrize("change", [{"steps": 0}, {"rate": 0.0}])
@pytest.mark.parametrize("method", ["maml", "fomaml"])
def test_without_a_step_it_is_joint_training(policy, change, method):
    """The gradient of the objective on one batch of all tasks, up to the order of float32 sums."""
    trained = learner(policy=policy, method=method, adaptation=replace(ADAPTATION, **change))
    inner, outer = samples(trained, trained.meta.adaptation.steps)
    got = gradient(trained, inner, outer)

    def joint(part):
        return part.squeeze(1).view(2, 3, *part.shape[2:])

    sample = Rollout(outer.prompt.view(2, 3), *(None if part is None else joint(part) for part in outer[1:]))
    log_prob = trained.policy.log_probs(sample.observation).gather(-1, sample.token[..., None]).squeeze(-1)
    batch = Batch(sample.log_prob, torch.ones_like(sample.log_prob, dtype=torch.bool), sample.reward)
    loss = get("rloo").loss(log_prob, batch).value
    parts = torch.autograd.grad(loss.sum(), list(trained.policy.parameters()))
    expected = torch.cat([part.flatten(1) for part in parts], 1)
    assert got.abs().max() > 1e-3
    # sums of at most 3 * 4 * 2 float32 numbers of size 1 and of their products through an MLP
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-6)


def twin_step(logits, sample, run, sampling, rate, start):
    """One inner step of one run and task by hand: ``[2, 2]`` logits, RLOO; ``start`` is where the sampling was."""
    tokens, reward = sample.token[run, 0].numpy(), sample.reward[run, 0].double().numpy()
    group = len(reward)
    log_p, then = (z - np.log(np.exp(z).sum(-1, keepdims=True)) for z in (logits, start))
    step = np.zeros_like(logits)
    for i in range(group):
        advantage = reward[i] - (reward.sum() - reward[i]) / (group - 1)
        change = [log_p[t, tokens[i, t]] - then[t, tokens[i, t]] for t in range(2)]
        for t in range(2):
            factor = {"plain": 1.0, "surrogate": np.exp(change[t]), "score": np.exp(sum(change))}[sampling]
            score = -np.exp(log_p[t])
            score[tokens[i, t]] += 1
            step[t] += advantage * factor * score / group
    return logits + rate * step


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("sampling", SAMPLING)
def test_the_meta_gradient_is_that_of_finite_differences(sampling, steps):
    """Central differences in float64 of a plain-loop twin: an error of h^2 = 1e-10 times third derivatives below 10."""
    trained = learner(sampling=sampling, adaptation=replace(ADAPTATION, steps=steps))
    as_double(trained.policy), as_double(trained._adapter._shell)
    inner, outer = samples(trained, steps)
    got = gradient(trained, inner, outer).double().numpy()
    start = trained.policy.logits.detach().numpy()
    rate, tasks = ADAPTATION.rate, LEARNING.prompts

    def path(run, k):
        places = [start[run]]
        for sample in inner:
            places.append(twin_step(places[-1], sample, run * tasks + k, "plain", rate, places[-1]))
        return places

    def value(logits, run):
        total = 0.0
        for k in range(tasks):
            here, places = logits, path(run, k)
            for sample, place in zip(inner, places, strict=False):
                here = twin_step(here, sample, run * tasks + k, sampling, rate, place)
            log_p = here - np.log(np.exp(here).sum(-1, keepdims=True))
            tokens, reward = outer.token[run * tasks + k, 0].numpy(), outer.reward[run * tasks + k, 0].double().numpy()
            for i in range(len(reward)):
                advantage = reward[i] - (reward.sum() - reward[i]) / (len(reward) - 1)
                total -= advantage * sum(log_p[t, tokens[i, t]] for t in range(2)) / len(reward)
        return total / tasks

    h = 1e-5
    for run in range(2):
        for index in np.ndindex(2, 2):
            nudge = np.zeros((2, 2))
            nudge[index] = h
            slope = (value(start[run] + nudge, run) - value(start[run] - nudge, run)) / (2 * h)
            assert got[run].reshape(2, 2)[index] == pytest.approx(slope, abs=1e-6)


@pytest.mark.parametrize(("sampling", "unbiased"), [("score", True), ("plain", False), ("surrogate", False)])
def test_the_derivative_of_the_expected_step(sampling, unbiased):
    """Over all 4^2 groups of two responses: the mean derivative of a step against the derivative of the mean step.

    float64; central differences with h = 1e-5, so that 1e-8 is generous. "plain" and "surrogate" miss it by far.
    """
    env = PAIRS
    adapter = Adapter(env, TABLE, [0], 1, replace(ADAPTATION, group=2))
    adapter._shell.double()
    policy = make_policy("tabular", env, [0]).double()
    with torch.no_grad():
        policy.logits.copy_(torch.tensor([[[0.4, -0.3], [-0.6, 0.1]]]))
    responses = list(itertools.product(range(2), repeat=2))
    groups = list(itertools.product(range(4), repeat=2))

    def sample(group, logits):
        tokens = torch.tensor([[[responses[i] for i in group]]])
        observation = torch.arange(2)[:, None].expand(1, 1, 2, 2, 1)
        log_p = logits.log_softmax(-1)
        log_prob = log_p[torch.arange(2), tokens]
        reward = torch.tensor([[[env.paid[0][i] for i in group]]], dtype=torch.float64)
        return Rollout(
            torch.zeros(1, 1).long(), observation, None, tokens, log_prob, torch.zeros_like(log_prob), reward
        )

    def chance(group, logits):
        return float(sample(group, logits).log_prob.sum().exp())

    def mean_step(logits):
        total = torch.zeros(4, dtype=torch.float64)
        for group in groups:
            tokens, paid = [responses[i] for i in group], [env.paid[0][i] for i in group]
            step = torch.zeros(2, 2, dtype=torch.float64)
            for i in range(2):
                for t in range(2):
                    score = -logits[t].softmax(-1)
                    score[tokens[i][t]] += 1
                    step[t] += (paid[i] - paid[1 - i]) * score / 2
            total += chance(group, logits) * step.flatten()
        return total

    logits = policy.logits.detach()[0].clone()
    h, exact = 1e-5, torch.zeros(4, 4, dtype=torch.float64)
    for j in range(4):
        nudge = torch.zeros(4, dtype=torch.float64)
        nudge[j] = h
        exact[:, j] = (mean_step(logits + nudge.view(2, 2)) - mean_step(logits - nudge.view(2, 2))) / (2 * h)
    found = torch.zeros(4, 4, dtype=torch.float64)
    for group in groups:
        start = adapter.spread(policy)
        moved = adapter.step(start, sample(group, logits), sampling=sampling, draws=Streams("none", [0]))
        change = (moved.values[0] - start.values[0]).flatten() / adapter.config.rate
        rows = [torch.autograd.grad(change[i], policy.logits, retain_graph=True)[0].flatten() for i in range(4)]
        found += chance(group, logits) * torch.stack(rows)
    error = float((found - exact).abs().max())
    assert error < 1e-8 if unbiased else error > 1e-2


def test_the_ways_to_treat_the_sampling_take_the_same_step():
    trained = learner()
    inner, _ = samples(trained, 1)
    ends = []
    for sampling in (None, *SAMPLING):
        moved = trained._adapter.step(
            trained._adapter.spread(trained.policy), inner[0], sampling=sampling, draws=trained._drawing
        )
        ends.append(torch.cat([value.detach().flatten() for value in moved.values]))
    for end in ends[1:]:
        # a product with exactly 0 is added
        torch.testing.assert_close(end, ends[0], rtol=0, atol=0)


@pytest.mark.parametrize("objective", [name for name in names() if steps_in(name)])
def test_any_objective_of_the_catalogue_that_can_be_stepped_again_is_an_inner_one(objective):
    """At the first outer step theta_k is where the outer responses were sampled: the same step, bit for bit."""
    trained = learner(adaptation=replace(ADAPTATION, objective=Spec(objective), rate=0.1))
    inner, outer = samples(trained, 1)
    adapted = trained._adapter.step(
        trained._adapter.spread(trained.policy), inner[0], sampling="surrogate", draws=trained._drawing
    )
    again = adapted.log_probs(outer.observation).gather(-1, outer.token[..., None]).squeeze(-1)
    assert torch.equal(again.detach(), outer.log_prob)
    assert torch.isfinite(gradient(trained, inner, outer)).all()


def test_reptile_moves_towards_where_the_steps_led():
    trained = learner(method="reptile", adaptation=replace(ADAPTATION, steps=3))
    inner, outer = samples(trained, 3)
    adapted = trained._adapter.spread(trained.policy)
    for sample in inner:
        adapted = trained._adapter.step(adapted, sample, sampling=None, draws=trained._drawing)
    ends = adapted.values[0].detach().view(2, 3, *PAIRS.contexts().shape[:1], 2)
    expected = (trained.policy.logits.detach() - ends.mean(1)).flatten(1)
    torch.testing.assert_close(gradient(trained, inner, outer), expected, rtol=1e-5, atol=1e-7)


def test_tokens_that_are_not_learned_from_have_no_step():
    trained = learner(adaptation=replace(ADAPTATION, tokens="planning"))
    inner, _ = samples(trained, 1)
    start = trained._adapter.spread(trained.policy)
    moved = trained._adapter.step(start, inner[0], sampling="score", draws=trained._drawing)
    change = (moved.values[0] - start.values[0]).detach().abs()
    assert (change[:, 1] == 0).all()  # the second position is execution
    assert (change[:, 0] > 0).any()


@pytest.mark.parametrize("method", ["maml", "fomaml", "reptile"])
def test_the_order_of_the_tasks_does_not_matter(method):
    trained = learner(method=method)
    inner, outer = samples(trained, 1)
    order = torch.tensor([2, 0, 1, 5, 3, 4])

    def shuffled(sample):
        return Rollout(*(None if part is None else part[order] for part in sample))

    got = gradient(trained, inner, outer)
    again = gradient(trained, [shuffled(sample) for sample in inner], shuffled(outer))
    # sums of three float32 numbers in another order
    torch.testing.assert_close(again, got, rtol=1e-5, atol=1e-7)


# -- what it may not touch --------------------------------------------------------------------------------------------
def test_adaptation_never_changes_the_base():
    env = PAIRS
    for spec in (TABLE, Spec("mlp", {"width": 8, "embedding": 4})):
        policy = make_policy(spec.name, env, [0, 1], **spec.options)
        before = flat_parameters(policy)
        adapter = Adapter(env, spec, [0, 1], 3, replace(ADAPTATION, steps=3))
        task = torch.arange(3).expand(2, -1)
        streams = [TaskStreams(name, [0, 1], 3) for name in ("a", "b")]
        stages = adapter.adapt(adapter.spread(policy), task, *streams)
        assert len(stages) == 4
        assert torch.equal(flat_parameters(policy), before)
        tables = torch.stack([stage.table(env) for stage in stages])
        assert torch.equal(tables[0], policy.table(env).repeat_interleave(3, 0))
        assert all(not torch.equal(a, b) for a, b in itertools.pairwise(tables))
        # Tasks are adapted to each by itself.
        assert not torch.equal(tables[-1, 0], tables[-1, 1])


@pytest.mark.parametrize("policy", [TABLE, Spec("mlp", {"width": 8, "embedding": 4})])
@pytest.mark.parametrize("meta", [{"sampling": "score"}, {"method": "fomaml"}, {"method": "reptile"}])
def test_a_run_in_a_stack_is_the_run_alone_bit_for_bit(policy, meta):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        together, alone = (learner(policy=policy, seeds=seeds, **meta) for seeds in ((3, 4, 5), (4,)))
        for _ in range(3):
            together.update(), alone.update()
    finally:
        torch.set_num_threads(threads)
    for a, b in zip(together.policy.parameters(), alone.policy.parameters(), strict=True):
        assert torch.equal(a[1], b[0])


# -- that it learns ---------------------------------------------------------------------------------------------------
def test_it_learns_what_joint_training_cannot():
    """Two tasks that pay opposite answers, and a third answer that pays 0.4 in both.

    No policy that does not know its task is worth more than 0.5. From an even start one step of rate 8 on 16 responses
    moves the two logits by 8 * 0.25 * 0.5 * 2 = 2 apart on average, a reward of about 0.75 already; meta-learning may
    not make that worse. Required of the mean over 16 runs and both tasks is 0.6, and of the policy before adaptation
    that it is worth at most 0.5, exactly.
    """
    env, seeds = hidden_bandit.HiddenBandit(), list(range(16))
    adaptation = Adaptation(Spec("rloo"), steps=1, group=16, rate=8.0)
    learning = Learning(prompts=2, group=16, epochs=2, minibatches=1, learning_rate=0.05)
    trained = learner(env, seeds=seeds, learning=learning, objective="ppo", adaptation=adaptation)
    for _ in range(40):
        measured = trained.update()
    adapter = Adapter(env, TABLE, seeds, 2, adaptation)
    task = torch.arange(2).expand(16, -1)
    streams = [TaskStreams(name, seeds, 2) for name in ("c", "d")]
    before, after = adapter.adapt(adapter.spread(trained.policy), task, *streams)
    worth = [
        env.evaluate(stage.table(env)).reward[torch.arange(32), task.flatten()].view(16, 2) for stage in (before, after)
    ]
    assert (worth[0].mean(1) <= 0.5 + 1e-6).all()
    assert float(worth[1].mean()) > 0.6
    assert set(measured) == {"reward", "entropy", "adapted_reward", "adapted_entropy", "grad_norm"}
    assert all(value.shape == (16,) for value in measured.values())


def test_it_adapts_in_a_world_with_illegal_tokens_and_an_entropy_bonus():
    env = make("tool_search", clusters=2, tools=4, hops=2, questions=20, retry=True, calls=3)
    adaptation = replace(ADAPTATION, objective=Spec("grpo", {"entropy_coefficient": 0.01}))
    trained = learner(env, adaptation=adaptation, objective="grpo")
    before = flat_parameters(trained.policy)
    measured = trained.update()
    assert torch.isfinite(measured["grad_norm"]).all()
    assert not torch.equal(flat_parameters(trained.policy), before)
    assert not trained.diverged.any()


# -- bad input --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"adaptation": replace(ADAPTATION, objective=Spec("ppo_gae"))}, "ppo_gae needs value, which there is not"),
        ({"objective": "reinforce_pp_kl"}, "reinforce_pp_kl needs log_prob_ref, which there is not"),
        ({"objective": "dapo"}, "dapo has the stage keep_group, which meta-learning does not follow"),
        ({"objective": "adapo"}, "adapo has the stage controller, which meta-learning does not follow"),
        ({"adaptation": replace(ADAPTATION, objective=Spec("dapo"))}, "dapo has the stage keep_group"),
        ({"adaptation": replace(ADAPTATION, objective=Spec("clip_cov"))}, "clip_cov draws at random; allowed in an"),
        (
            {"adaptation": replace(ADAPTATION, tokens="plan")},
            "tokens is 'plan'; allowed in HiddenBandit: all, execution",
        ),
        ({"learning": replace(LEARNING, prompts=4, minibatches=1)}, "4 tasks in an update; allowed: at most 3"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(change, message):
    with pytest.raises(ToybedError, match=message):
        learner(**change)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Meta(method="mamal"), "unknown method of Meta 'mamal': did you mean 'maml'"),
        (lambda: Meta(sampling="scores"), "unknown sampling of Meta 'scores': did you mean 'score'"),
        (lambda: Adaptation(rate=-1.0), "Adaptation: rate is -1.0; allowed: at least 0"),
        (lambda: Adaptation(group=0), "Adaptation: group is 0; allowed: at least 1"),
    ],
)
def test_bad_values_are_named(build, message):
    with pytest.raises(ToybedError, match=message):
        build()
