"""Optimisers, number formats and trained entries: against torch.optim, by their laws, and run by run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from toybed.agents.config import Imitation, Learning, Setting, Soft, Spec, Start, Supervised
from toybed.agents.imitation import Imitator
from toybed.agents.optimization import make_optimizer
from toybed.agents.policies import Policy, flat_parameters, make_policy
from toybed.agents.policy_gradient import PolicyGradient
from toybed.agents.rollout import training_prompts
from toybed.agents.subnetworks import trained_entries
from toybed.agents.training import tensor_sizes, train_bases, train_runs
from toybed.envs import make
from toybed.errors import ToybedError
from toybed.measures.update_anatomy import bf16_ulp, layers_and_exponents, to_bf16
from toybed.objectives import catalogue

STEPS = 25


class Weights(Policy):
    """Bare parameters ``[S, 3, 4]`` and ``[S, 5]``."""

    def __init__(self, runs: int) -> None:
        super().__init__()
        self.runs = runs
        random = np.random.default_rng(1)
        self.a = nn.Parameter(torch.from_numpy(random.normal(size=(4, 3, 4))[:runs].astype(np.float32)))
        self.b = nn.Parameter(torch.from_numpy(random.normal(size=(4, 5))[:runs].astype(np.float32)))

    def forward(self, observation: Tensor) -> Tensor:
        raise NotImplementedError

    def output(self) -> tuple[nn.Parameter, ...]:
        return ()


def slopes(step: int) -> tuple[Tensor, Tensor]:
    """Gradients of both parameters, of which some are longer than 1 and some are not."""
    random = np.random.default_rng(100 + step)
    scale = random.uniform(0.05, 0.6, (4, 1, 1))
    a, b = random.normal(size=(4, 3, 4)) * scale, random.normal(size=(4, 5)) * scale[:, 0]
    return torch.tensor(a, dtype=torch.float32), torch.tensor(b, dtype=torch.float32)


def loss(policy: Weights, step: int) -> Tensor:
    """Linear, so that its gradient is ``slopes(step)`` wherever the parameters are."""
    a, b = (slope[: policy.runs] for slope in slopes(step))
    return (policy.a * a).sum((1, 2)) + (policy.b * b).sum(1)


def trained(policy: Weights, **options: Any) -> Tensor:
    optimizer = make_optimizer(policy, Learning(**options), options["learning_rate"])
    for step in range(STEPS):
        optimizer.step(loss(policy, step))
    return flat_parameters(policy)


@pytest.mark.parametrize(
    ("options", "theirs"),
    [
        ({"optimizer": "sgd", "learning_rate": 0.05}, lambda p: torch.optim.SGD(p, lr=0.05)),
        (
            {"optimizer": "sgd", "learning_rate": 0.05, "weight_decay": 0.3},
            # Plain SGD has no moments, so that a decay in the gradient is one off the weights.
            lambda p: torch.optim.SGD(p, lr=0.05, weight_decay=0.3),
        ),
        (
            {"optimizer": "adamw", "learning_rate": 0.01, "weight_decay": 0.3},
            lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.3, foreach=False),
        ),
    ],
)
def test_an_optimiser_is_torchs_for_each_run(options: dict[str, Any], theirs: Any) -> None:
    """With the norm clipped first, in float32.

    Tolerance: as for Adam in test_policies.py, 1e-5 over 25 steps of 0.01; SGD's step is at most the rate 0.05 (a norm
    of 1) and rounds 25 times by less than 2^-23 times weights below 4: 2e-5 is generous for both.
    """
    policy = Weights(4)
    singles = [[nn.Parameter(p.detach()[run].clone()) for p in policy.parameters()] for run in range(4)]
    found = trained(policy, **options)
    for run, parameters in enumerate(singles):
        optimizer = theirs(parameters)
        for step in range(STEPS):
            for p, slope in zip(parameters, slopes(step), strict=True):
                p.grad = slope[run].clone()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
        expected = torch.cat([p.detach().flatten() for p in parameters])
        assert torch.allclose(found[run], expected, rtol=0, atol=2e-5)
    assert not torch.allclose(found, flat_parameters(Weights(4)), rtol=0, atol=1e-2)


def test_adamw_without_a_decay_is_adam() -> None:
    ends = [trained(Weights(4), optimizer=name, learning_rate=0.01) for name in ("adam", "adamw")]
    assert torch.equal(*ends)


def test_pure_bf16_is_on_its_grid_after_each_step_and_loses_what_is_below_half_a_spacing() -> None:
    policy = Weights(4)
    with torch.no_grad():
        for p in policy.parameters():
            p.copy_(to_bf16(p))
    start = flat_parameters(policy)
    optimizer = make_optimizer(policy, Learning(weights="bf16"), 1e-3)
    for step in range(STEPS):
        before = flat_parameters(policy)
        optimizer.step(loss(policy, step))
        after = flat_parameters(policy)
        assert torch.equal(after, to_bf16(after))
        if step == 0:  # Adam's first step is the rate everywhere
            clear = (bf16_ulp(before) / 2 - 1e-3).abs() > 1e-5
            power = torch.frexp(before).mantissa.abs() == 0.5
            stays = bf16_ulp(before) / 2 > 1e-3
            assert torch.equal((after == before)[clear & ~power], stays[clear & ~power])
            assert 0 < stays.double().mean() < 1
    assert not torch.equal(start, flat_parameters(policy))


def test_extra_parameters_neither_decay_nor_are_rounded() -> None:
    policy, extra = Weights(2), torch.full((2, 3), 1 / 3, requires_grad=True)
    learning = Learning(optimizer="sgd", weight_decay=1.0, weights="bf16")
    make_optimizer(policy, learning, 0.1, [extra]).step(loss(policy, 0) + 0 * extra.sum(1))
    assert torch.equal(extra.detach(), torch.full((2, 3), 1 / 3))


@pytest.mark.parametrize("options", [{}, {"optimizer": "sgd", "weight_decay": 0.5}])
def test_entries_that_are_not_trained_stay_and_count_for_nothing(options: dict[str, Any]) -> None:
    """Also in the norm that is clipped: it is as if only the others were parameters."""
    options = {"learning_rate": 0.05, "max_grad_norm": 0.5, **options}
    policy = Weights(4)
    start = flat_parameters(policy)
    policy.trained = torch.tensor(np.random.default_rng(2).random((4, 17)) < 0.4)
    found = trained(policy, **options)
    assert torch.equal(found[~policy.trained], start[~policy.trained])

    class Few(Weights):
        """The trained entries of one run as the only parameter."""

        def __init__(self, values: Tensor) -> None:
            super().__init__(1)
            del self.a, self.b
            self.few = nn.Parameter(values[None])

    for run in range(4):
        few = Few(start[run][policy.trained[run]])
        optimizer = make_optimizer(few, Learning(**options), options["learning_rate"])
        for step in range(STEPS):
            slope = torch.cat([s[run].flatten() for s in slopes(step)])[policy.trained[run]]
            optimizer.step((few.few * slope).sum(1))
        # A norm of fewer numbers is summed in another order: some roundings of 2^-24 in each of 25 steps of 0.05 at
        # most, which Adam makes up to 30 times larger (test_policies.py).
        assert torch.allclose(found[run][policy.trained[run]], few.few[0].detach(), rtol=0, atol=1e-5)


def test_a_run_that_diverged_does_not_decay() -> None:
    policy = Weights(2)
    start = flat_parameters(policy)
    optimizer = make_optimizer(policy, Learning(optimizer="sgd", weight_decay=1.0), 0.1)
    for step in range(3):
        optimizer.step(loss(policy, step) * torch.tensor([1.0, np.nan]))
    assert optimizer.diverged.tolist() == [False, True]
    assert torch.equal(flat_parameters(policy)[1], start[1])
    assert not torch.equal(flat_parameters(policy)[0], start[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": "adagrad"}, "unknown optimizer of Learning 'adagrad'"),
        ({"weights": "fp16"}, "unknown number format of weights 'fp16'.*'bf16'"),
        ({"weight_decay": 0.1}, "optimizer='adamw'"),
        ({"weight_decay": -0.1}, "at least 0"),
        ({"train_on": (0.5, 0.5)}, "a range from 0 to 1"),
        ({"train_on": (0.0, 1.5)}, "a range from 0 to 1"),
        ({"replicate": -1}, "at least 0"),
    ],
)
def test_learning_that_makes_no_sense_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ToybedError, match=message):
        Learning(**options)


# -- runs --------------------------------------------------------------------------------------------------------------
TINY = Setting(
    world=Spec("chain_reach", {"modulus": 7, "length": 2}),
    policy=Spec("mlp", {"width": 8, "embedding": 4}),
    supervised=Supervised(steps=5, demonstrations=16),
    probes=("update_anatomy",),
    probes_on_the_way=True,
).with_learning(updates=4, prompts=8, group=4, minibatches=2, measure_every=2, learning_rate=1e-3)
SEEDS = [0, 3, 11]
KINDS = {
    "adamw": TINY.with_learning(optimizer="adamw", weight_decay=0.1),
    "sgd": TINY.with_learning(optimizer="sgd"),
    "pure": TINY.with_learning(weights="bf16"),
    "half": TINY.with_learning(train_on=(0.5, 1.0)),
    "replicate": TINY.with_learning(replicate=2),
    "imitation": replace(TINY, learner=Imitation({"noise": 0.2})),
    "imitation of right ones": replace(TINY, learner=Imitation(right_only=True)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_in_a_stack_is_the_run_alone(kind: str) -> None:
    setting = KINDS[kind]
    bases = train_bases(setting, SEEDS)
    together = train_runs(setting, SEEDS, bases)
    for place, seed in enumerate(SEEDS):
        [alone] = train_runs(setting, [seed], bases[place : place + 1])
        assert np.array_equal(alone.parameters, together[place].parameters)
        assert set(alone.curves) == set(together[place].curves)
        for name, curve in alone.curves.items():
            assert np.array_equal(curve.values, together[place].curves[name].values, equal_nan=True), name


def test_all_kinds_of_runs_differ() -> None:
    ends = {name: train_runs(s, [0], train_bases(s, [0]))[0].parameters for name, s in {"": TINY, **KINDS}.items()}
    assert len({end.tobytes() for end in ends.values() if end is not None}) == len(ends)


def test_pure_bf16_and_a_rounded_start_begin_from_the_same_policy() -> None:
    bases = train_bases(TINY, SEEDS)
    assert not np.array_equal(bases, to_bf16(torch.from_numpy(bases)).numpy())
    still = {"learning_rate": 1e-30}
    pure = train_runs(TINY.with_learning(weights="bf16", **still), SEEDS, bases)
    master = train_runs(replace(TINY, start=Start(weights="bf16")).with_learning(**still), SEEDS, bases)
    for one, two in zip(pure, master, strict=True):
        assert np.array_equal(one.parameters, two.parameters)
        assert one.curves["changed_fp32"].values.tolist() == two.curves["changed_fp32"].values.tolist() == [0, 0, 0]


def test_the_probe_is_measured_on_the_way_and_sees_what_became_of_the_weights() -> None:
    bases = train_bases(TINY, SEEDS)
    for result, base in zip(train_runs(TINY, SEEDS, bases), bases, strict=True):
        end = result.parameters
        assert end is not None
        assert result.curves["changed_bf16"].steps.tolist() == [0, 2, 4]
        assert result.curves["changed_fp32"].values[-1] == np.mean(end != base)
        pair = [to_bf16(torch.tensor(x)).numpy() for x in (base, end)]
        assert result.curves["changed_bf16"].values[-1] == np.mean(pair[0] != pair[1])
        size = np.linalg.norm(end.astype(float) - base) / np.linalg.norm(base.astype(float))
        assert result.curves["update_size"].values[-1] == pytest.approx(size, rel=1e-5)
        assert np.isnan(result.curves["rank_fp32"].values[0])
        assert 0 < result.curves["rank_fp32"].values[-1] <= 1
    plain = train_runs(replace(TINY, probes_on_the_way=False), SEEDS, bases)
    assert plain[0].curves["changed_bf16"].steps.tolist() == [0, 4]


def test_halves_of_the_prompts_part_them() -> None:
    env = make("chain_reach", modulus=7, length=2)
    halves = [training_prompts(env, Learning(train_on=part), [0, 1, 0]).tolist() for part in ((0, 0.5), (0.5, 1))]
    for first, second in zip(*halves, strict=True):
        assert sorted(first + second) == env.prompts("train").tolist()
        assert abs(len(first) - len(second)) <= 1
        assert max(first) > min(second)  # not the one half of the starts and the other
    for half in halves:
        assert half[0] == half[2] != half[1]  # drawn by the seed
    with pytest.raises(ToybedError, match="no prompt"):
        training_prompts(env, Learning(train_on=(0.0, 0.001)), [0])


@pytest.mark.parametrize("kind", ["gradient", "imitation"])
def test_a_learner_draws_only_prompts_of_its_part(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    env = make("chain_reach", modulus=7, length=2)
    learning = Learning(prompts=64, group=2, minibatches=1, train_on=(0.0, 0.3), optimizer="sgd")
    policy, seen = make_policy("tabular", env, [0]), []
    if kind == "gradient":
        learner: Any = PolicyGradient(env, policy, catalogue.get("rloo"), learning, [0])
        seen = learner._sample()[0].prompt.flatten().tolist()
    else:
        learner = Imitator(env, policy, learning, Imitation(), [0])
        seen = learner._demonstrations().prompt.flatten().tolist()
    assert set(seen) <= set(training_prompts(env, learning, [0])[0].tolist())
    assert len(set(seen)) > 1


def test_imitation_takes_the_step_of_maximum_likelihood() -> None:
    """One step of plain descent on a table: each logit moves by rate * mean(1[chosen] - pi) over the tokens."""
    env = make("chain_reach", modulus=5, length=2)
    learning = Learning(
        updates=1, prompts=6, group=3, minibatches=1, learning_rate=0.5, optimizer="sgd", max_grad_norm=100
    )
    policy = make_policy("tabular", env, [7])
    learner = Imitator(env, policy, learning, Imitation({"noise": 0.5}), [7])
    demo = learner._demonstrations()
    for right_only in (False, True):
        policy = make_policy("tabular", env, [7])
        learner = Imitator(env, policy, learning, Imitation({"noise": 0.5}, right_only=right_only), [7])
        measured = learner.update()
        expected = np.zeros((len(env.contexts()), env.vocabulary))
        rows = []
        for b, g in np.ndindex(6, 3):
            if right_only and demo.reward[0, b, g] < 1:
                continue
            for t in range(2):
                context = int(env.context_index(demo.observation[0, b, g, t]))
                rows.append((context, int(demo.token[0, b, g, t])))
        for context, token in rows:
            expected[context] -= 0.5 / len(rows) / env.vocabulary
            expected[context, token] += 0.5 / len(rows)
        np.testing.assert_allclose(flat_parameters(policy).view(expected.shape), expected, atol=1e-7)
        assert float(measured["reward"]) == pytest.approx(float(demo.reward.mean()))
        assert float(measured["surprisal"]) == pytest.approx(np.log(env.vocabulary), rel=1e-6)
        assert 0 < len(rows) < 36 or not right_only


def test_imitation_comes_to_what_it_imitates() -> None:
    """Against the demonstrator's own exact worth: 300 steps of Adam on a table of 50 states.

    Each first state is seen about 300 * 64 / 18 = 1000 times, so that a token's share is known to sqrt(1 / 4000) =
    0.016 at worst, and reward and entropy are means over 18 prompts; a logit's walk of 0.03 a step is of the same
    order. The start, which is uniform, is several times as far off as is allowed.
    """
    setting = Setting(
        world=Spec("chain_reach", {"modulus": 5, "length": 2}),
        policy=Spec("tabular"),
        supervised=None,
        learner=Imitation({"noise": 0.35}),
    ).with_learning(updates=300, prompts=16, group=4, minibatches=1, learning_rate=0.03, measure_every=300)
    env = make("chain_reach", modulus=5, length=2)
    exact = env.evaluate(env.demonstrator(noise=0.35))
    result = train_runs(setting, [0], train_bases(setting, [0]))[0]
    chosen = torch.isin(env.prompts(), env.prompts("train"))
    reward = result.curves["reward_train"].values
    assert reward[-1] == pytest.approx(float(exact.reward[chosen].mean()), abs=0.05)
    assert abs(reward[0] - float(exact.reward[chosen].mean())) > 0.2
    entropy = float(exact.entropy[chosen].mean()) / 2
    assert result.curves["entropy_train"].values[-1] == pytest.approx(entropy, abs=0.1)


def test_imitation_says_what_it_does_not_do() -> None:
    env = make("chain_reach", modulus=5, length=2)
    policy = make_policy("tabular", env, [0])
    with pytest.raises(ToybedError, match=r"option of .*demonstrator 'nose'.*'noise'"):
        Imitator(env, policy, Learning(), Imitation({"nose": 0.1}), [0])
    with pytest.raises(ToybedError, match="follows no schedule"):
        Imitator(env, policy, Learning(schedule=(("planning", 1),)), Imitation(), [0])


# -- subnetworks -------------------------------------------------------------------------------------------------------
def test_the_entries_of_a_subnetwork() -> None:
    policy = make_policy("mlp", make("chain_reach", modulus=7, length=2), SEEDS, width=8, embedding=4)
    sizes = tensor_sizes(TINY)
    start = to_bf16(flat_parameters(policy))
    random = np.random.default_rng(0)
    moves = torch.tensor(random.random(start.shape) < 0.3) & (start.abs() < 0.3)
    end = torch.where(moves, start + 1.5 * bf16_ulp(start), start + 0.1 * bf16_ulp(start))
    found = {
        which: trained_entries(which, policy, start, end, SEEDS)
        for which in ("changed", "unchanged", "shuffled", "matched")
    }
    assert torch.equal(found["changed"], moves)
    assert torch.equal(found["unchanged"], ~moves)
    groups = layers_and_exponents(start, sizes)
    for which in ("shuffled", "matched"):
        assert not torch.equal(found[which], moves)
        for one, two in zip(found[which].split(sizes, 1), moves.split(sizes, 1), strict=True):
            assert torch.equal(one.sum(1), two.sum(1))
        for run, seed in enumerate(SEEDS):
            single = make_policy("mlp", make("chain_reach", modulus=7, length=2), [seed], width=8, embedding=4)
            part = slice(run, run + 1)
            assert torch.equal(trained_entries(which, single, start[part], end[part], [seed])[0], found[which][run])
    same = [
        torch.equal(torch.bincount(g[a], minlength=10000), torch.bincount(g[b], minlength=10000))
        for g, a, b in zip(groups, found["matched"], moves, strict=True)
    ]
    assert all(same)


@pytest.mark.parametrize(
    ("make_start", "message"),
    [
        (lambda: Start(trains="some"), "unknown part that is trained 'some'"),
        (lambda: Start(trains="changed"), "say after which setting"),
        (lambda: Start(after=TINY, trains="changed", keep=0.5), "allowed together: keep=1"),
        (
            lambda: Start(after=replace(TINY, start=Start(temperature=2.0)), trains="changed"),
            "started at another temperature",
        ),
        (lambda: Start(weights="fp16"), "unknown number format of a start 'fp16'"),
    ],
)
def test_a_start_that_makes_no_sense_is_named(make_start: Any, message: str) -> None:
    with pytest.raises(ToybedError, match=message):
        make_start()


def test_the_policy_of_an_actor_critic_has_the_optimiser_and_the_format_that_are_asked_for() -> None:
    setting = replace(TINY, learner=Soft(steps=1)).with_learning(weights="bf16", learning_rate=0.01)
    [result] = train_runs(setting, [0], train_bases(setting, [0]))
    assert np.array_equal(result.parameters, to_bf16(torch.tensor(result.parameters)).numpy())
    assert result.curves["changed_fp32"].values[-1] > 0
