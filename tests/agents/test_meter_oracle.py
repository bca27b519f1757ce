"""What is measured along a run, against slow twins that sample or sum by hand."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from toybed import train
from toybed.agents.config import Learning, Spec
from toybed.agents.meter import Meter
from toybed.agents.policies import make_policy
from toybed.agents.policy_gradient import PolicyGradient
from toybed.agents.probes.first_steps import FELL_TO, WAS_USED, first_steps
from toybed.agents.probes.trajectories import trajectories
from toybed.envs import make
from toybed.envs.core import sample_of
from toybed.errors import ToybedError
from toybed.objectives import get

KNOBS = {"modulus": 7, "operations": 3, "length": 3}


def random_tables(env, runs, seed):
    random = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(runs, len(env.contexts()), env.vocabulary, generator=random)
    return logits.log_softmax(-1)


def test_first_steps_against_a_walk_over_all_responses():
    env = make("chain_reach", **KNOBS)
    table, start = random_tables(env, 2, 0), random_tables(env, 2, 1)
    measured = first_steps(env, table, start)

    def completion(policy, prompt, token):
        """Success after the first token, by walking every continuation."""
        total = 0.0
        for rest in itertools.product(range(env.vocabulary), repeat=env.horizon - 1):
            state, chance = env.step(env.reset(torch.tensor(prompt)), torch.tensor(token)), 1.0
            for step in rest:
                row = int(env.context_index(env.observe(state)))
                chance *= math.exp(float(policy[row, step]))
                state = env.step(state, torch.tensor(step))
            total += chance * float(env.reward(state))
        return total

    uniform = torch.full_like(start[0], -math.log(env.vocabulary))
    for run, split in itertools.product(range(2), ("train", "test")):
        groups = {"abandoned": [], "kept": []}
        used = 0
        for prompt in env.prompts(split).tolist():
            row = int(env.context_index(env.observe(env.reset(torch.tensor(prompt)))))
            for token in range(env.vocabulary):
                before, now = (float(p[run, row, token].exp()) for p in (start, table))
                chance = completion(uniform, prompt, token)
                if before < WAS_USED / env.vocabulary or chance == 0:
                    continue
                used += 1
                own = completion(table[run], prompt, token)
                values = (own, completion(start[run], prompt, token), chance, now * own)
                groups["abandoned" if now < FELL_TO * before else "kept"].append(values)
        assert float(measured[f"abandoned_{split}"][run]) == pytest.approx(len(groups["abandoned"]) / used)
        for name, values in groups.items():
            for who, column in (("", 0), ("_start", 1), ("_random", 2), ("_alone", 3)):
                expected = np.mean([value[column] for value in values])
                # float32 products of at most four factors, at most 147 of them in a mean
                assert float(measured[f"completion_{name}{who}_{split}"][run]) == pytest.approx(expected, rel=1e-5)


def test_nothing_is_abandoned_at_the_start():
    env = make("chain_reach", **KNOBS)
    table = random_tables(env, 2, 0)
    measured = first_steps(env, table, table)
    assert (measured["abandoned_test"] == 0).all()
    assert measured["completion_abandoned_test"].isnan().all()
    torch.testing.assert_close(measured["completion_kept_test"], measured["completion_kept_start_test"])


def test_a_step_that_is_all_but_given_up_still_has_a_completion():
    """Its probability is 0 in float32; what comes after it is not."""
    env = make("chain_reach", **KNOBS)
    start = torch.zeros(1, len(env.contexts()), env.vocabulary).log_softmax(-1)
    logits = torch.zeros_like(start)
    logits[..., 0] = -300.0
    measured = first_steps(env, logits.log_softmax(-1), start)
    assert float(measured["abandoned_train"]) == pytest.approx(1 / 3, abs=0.1)
    assert torch.isfinite(measured["completion_abandoned_train"]).all()


def test_trajectories_against_a_sum_over_all_responses():
    """Distinct responses one by one, each with the chance that 256 samples hold it."""
    env = make("tool_search", clusters=2, tools=4, hops=2, questions=24)
    table = random_tables(env, 2, 0)
    measured = trajectories(env, table, table)
    for run, split in itertools.product(range(2), ("train", "test")):
        kinds = {"right": [], "wrong": []}
        for prompt in env.prompts(split).tolist():
            found = {"right": 0.0, "wrong": 0.0}
            for tokens in itertools.product(range(env.vocabulary), repeat=env.horizon):
                state, chance = env.reset(torch.tensor(prompt)), 1.0
                for token in tokens:
                    chance *= math.exp(float(table[run, int(env.context_index(env.observe(state))), token]))
                    state = env.step(state, torch.tensor(token))
                found["right" if float(env.reward(state)) == 1 else "wrong"] += 1 - (1 - chance) ** 256
            for kind, value in found.items():
                kinds[kind].append(value)
        # float32 products of two factors; 1 - (1 - p)^256 multiplies their relative error by at most 1
        for kind, values in kinds.items():
            assert float(measured[f"distinct_{kind}@256_{split}"][run]) == pytest.approx(np.mean(values), rel=1e-5)


def test_an_unknown_probe_is_named():
    env = make("chain_reach", **KNOBS)
    with pytest.raises(ToybedError, match="unknown probe 'first_step': did you mean 'first_steps'"):
        Meter(env, make_policy("tabular", env, [0]), ["first_step"])


def test_the_sampled_kl_is_the_mean_over_the_batch_of_the_policy_that_sampled_it(monkeypatch):
    env, seeds = make("chain_reach", **KNOBS), [1, 2]
    policy, reference = (make_policy("mlp", env, seeds, width=16) for _ in range(2))
    learning = Learning(prompts=4, group=4, learning_rate=0.01)
    learner = PolicyGradient(env, policy, get("grpo"), learning, seeds, reference)
    first = learner.update()
    assert (first["kl"] == 0).all()  # they are still the same
    assert "kl" not in learner.update(measure=False)
    before, start = policy.table(env), reference.table(env)
    seen, take = [], learner._sample
    monkeypatch.setattr(learner, "_sample", lambda: seen.append(take()) or seen[-1])
    second = learner.update()
    rows = env.context_index(seen[0][0].observation)
    for run in range(2):
        divergence = (before[run].exp() * (before[run] - start[run])).sum(-1)
        assert float(second["kl"][run]) == pytest.approx(float(divergence[rows[run]].mean()), rel=1e-4)


def test_the_clip_fraction_is_zero_on_fresh_data_and_not_on_stale():
    small = {"world": Spec("chain_reach", KNOBS), "policy": Spec("mlp", {"width": 16}), "supervised": None}
    sizes = {"updates": 4, "prompts": 16, "group": 8, "measure_every": 1}
    (fresh,) = train("grpo", seeds=1, minibatches=1, learning_rate=0.03, **small, **sizes)
    (stale,) = train("grpo", seeds=1, minibatches=1, epochs=8, learning_rate=0.03, **small, **sizes)
    assert (fresh.curves["sampled_clipped"].values == 0).all()
    assert (stale.curves["sampled_clipped"].values > 0).any()


def test_a_sample_of_prompts_is_the_same_every_time_and_a_part():
    prompts = torch.arange(100) * 3
    assert torch.equal(sample_of(prompts, 100), prompts)
    chosen = sample_of(prompts, 30)
    assert torch.equal(chosen, sample_of(prompts, 30))
    assert len(chosen.unique()) == 30
    assert bool(torch.isin(chosen, prompts).all())
    assert torch.equal(chosen, chosen.sort().values)
