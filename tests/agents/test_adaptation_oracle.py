"""What is measured of adapted policies, against plain sums over each of them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from toybed.agents.adaptation import REPEATS, AdaptationMeter, _favourites, _information
from toybed.agents.config import Adaptation, Spec
from toybed.agents.maml import Adapter, TaskStreams
from toybed.agents.policies import make_policy
from toybed.agents.probes import get_probe
from toybed.envs import make
from toybed.errors import ToybedError

ENV = make("mi_dialogue", level="both", turns=4, hold=2, n_types=2, held_out=1)
POLICY = Spec("hierarchical", {"width": 8, "embedding": 4})
CONFIG = Adaptation(Spec("grpo"), steps=2, group=6, rate=20.0, tokens="planning")
SEEDS = [3, 4]


def adapted_tables(policy, config=CONFIG):
    """The tables of the policies that the meter sees, for each step ``[S, R, P, C, V]``."""
    task = ENV.prompts().repeat(REPEATS)
    adapter = Adapter(ENV, POLICY, SEEDS, len(task), config)
    streams = [TaskStreams(f"adaptation/{what}", SEEDS, len(task)) for what in ("rollout", "objective")]
    stages = adapter.adapt(adapter.spread(policy), task.expand(len(SEEDS), -1), *streams)
    return [stage.table(ENV).unflatten(0, (len(SEEDS), REPEATS, ENV.n_prompts)) for stage in stages]


def entropy(shares):
    return -sum(p * math.log(p) for p in np.ravel(shares) if p > 0)


def information(by_task):
    return entropy(np.mean(by_task, 0)) - np.mean([entropy(each) for each in by_task])


def test_measures_are_plain_means_over_adapted_policies():
    policy = make_policy(POLICY.name, ENV, SEEDS, **POLICY.options)
    measured = AdaptationMeter(ENV, POLICY, SEEDS, CONFIG).measure(policy)
    tables = adapted_tables(policy)
    every = range(ENV.n_prompts)
    for split in ("train", "test"):
        chosen = ENV.prompts(split).tolist()
        for step, each in enumerate(tables):
            for s in range(len(SEEDS)):
                worth = [float(ENV.evaluate(each[s, r, p]).reward[p]) for r in range(REPEATS) for p in chosen]
                # float32 sums in another order
                got = float(measured[f"adapted@{6 * step}_{split}"][s])
                assert got == pytest.approx(np.mean(worth), rel=1e-4, abs=1e-5)
        for s in range(len(SEEDS)):
            options = np.zeros((REPEATS, ENV.n_prompts, 4))
            sure = np.zeros_like(options)
            for r in range(REPEATS):
                for p in every:
                    for found, table in ((options, tables[-1]), (sure, _favourites(ENV, tables[-1]))):
                        one = table[s, r, p].expand(ENV.n_prompts, -1, -1)
                        found[r, p] = ENV.evaluate_each(one).options[p].sum(0)
            own, best = options[:, chosen], sure[:, chosen]
            count = len(chosen)
            mixed = [np.mean([own[r, (p - r) % count] for r in range(REPEATS)], 0) for p in range(count)]
            expected = {
                f"adapted_dominant_share_{split}": own.mean((0, 1)).max(),
                f"adapted_dominant_share_argmax_{split}": best.mean((0, 1)).max(),
                f"adapted_information_type_{split}": information(own.mean(0)),
                f"adapted_information_chance_{split}": information(mixed),
            }
            for name, value in expected.items():
                assert float(measured[name][s]) == pytest.approx(value, abs=2e-5), name
    by_name = np.array(
        [[[float(measured[f"adapted_option_{p}_{w}_{o}"][0]) for o in range(4)] for w in range(4)] for p in every]
    )
    np.testing.assert_allclose(by_name.sum((1, 2)), 1, rtol=1e-5)
    np.testing.assert_allclose(by_name[0].sum(0), options_of(tables[-1][0, :, 0], 0), rtol=1e-4, atol=1e-6)


def options_of(tables, p):
    each = [ENV.evaluate_each(table.expand(ENV.n_prompts, -1, -1)).options[p].sum(0) for table in tables]
    return torch.stack(each).mean(0).numpy()


def test_without_adaptation_all_tasks_have_one_policy():
    """Nothing is told of the task but what the users bring about, and luck has no part in it."""
    policy = make_policy(POLICY.name, ENV, SEEDS, **POLICY.options)
    measured = AdaptationMeter(ENV, POLICY, SEEDS, replace(CONFIG, steps=0)).measure(policy)
    own = ENV.measures(policy.table(ENV))
    for name in ("dominant_share", "dominant_share_argmax", "information_type"):
        torch.testing.assert_close(measured[f"adapted_{name}_train"], own[name], rtol=1e-4, atol=1e-5)
    assert (measured["adapted_information_chance_train"].abs() < 1e-5).all()


def test_information_of_tasks_that_each_have_an_option_is_all_there_is():
    one_each = torch.eye(3)[None]
    torch.testing.assert_close(_information(one_each), torch.tensor([math.log(3)]))
    torch.testing.assert_close(_information(torch.full((1, 3, 4), 0.25)), torch.zeros(1))


def test_a_master_that_knows_the_type_is_the_bound_that_the_world_says():
    table = make_policy(POLICY.name, ENV, SEEDS, **POLICY.options).table(ENV)
    found = get_probe("masters")(ENV, table, table)
    for split in ("train", "test"):
        torch.testing.assert_close(found[f"best_master_{split}"], ENV.best_master(table)[:, ENV.prompts(split)].mean(1))
    # A master that has nothing to gain is the bound: the two differ by the rounding of some 1e4 terms of at most 1.
    exact = table.double().log_softmax(-1)
    best = get_probe("masters")(ENV, exact, exact)["best_master_train"]
    assert (best >= ENV.evaluate(exact).reward[:, ENV.prompts("train")].mean(1) - 1e4 * 2**-52).all()
    with pytest.raises(ToybedError, match="masters is a probe of mi_dialogue; AnswerBandit has no"):
        get_probe("masters")(make("answer_bandit"), table, table)
