"""The probes that count in answers, against enumeration by plain loops and against closed forms.

Tolerance: float64 tables. Sums of some hundreds of products of probabilities and of values below 5 in size round by
less than 1e-12, a power of up to 128 of such a sum by a hundred times that.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from toybed.agents.probes import DRAWING, PROBES, get_probe
from toybed.agents.probes import answer_search as search
from toybed.agents.probes import best_answers as best
from toybed.envs import make
from toybed.envs import tool_search_truth as truth
from toybed.envs.core import ILLEGAL
from toybed.errors import ToybedError

CLOSE = {"rtol": 0, "atol": 1e-10}
SMALL = {"clusters": 2, "tools": 4, "hops": 2, "questions": 24}


def random_tables(env, runs=2, seed=0):
    contexts = env.contexts()
    shape = (runs, len(contexts), env.vocabulary)
    logits, legal = torch.from_numpy(np.random.default_rng(seed).normal(scale=1.5, size=shape)), env.legal_at(contexts)
    return (logits if legal is None else logits.masked_fill(~legal, ILLEGAL)).log_softmax(-1)


def found_by(env, question, plan):
    """Which hops a plan finds, and whether it is right."""
    hits = [bool(env.bank.works[question, hop, tool]) for hop, tool in enumerate(plan)]
    return (*hits, all(hits))


def plan_chances(env, table, question, answer):
    """Chance of every plan as the given answer of a response, by walking through the world."""
    chances = {}
    for plan in itertools.product(range(env.tools), repeat=env.hops):
        state, chance = env.reset(torch.tensor(question)), 1.0
        for token in (0,) * (answer * env.hops):
            state = env.step(state, torch.tensor(token))
        for token in plan:
            chance *= math.exp(float(table[env.context_index(env.observe(state)), token]))
            state = env.step(state, torch.tensor(token))
        chances[plan] = chance
    return chances


# -- the best of n answers ---------------------------------------------------------------------------------------------
def test_preferences_are_on_the_simplex_and_favour_no_component():
    weights = best.preferences(4)
    assert weights.shape == (4 * best.DRAWS, 4) and (weights > 0).all()
    assert torch.allclose(weights.sum(1), torch.ones(1).double(), **CLOSE)
    assert torch.allclose(weights.mean(0), torch.full((4,), 0.25).double(), **CLOSE)
    assert torch.equal(weights, best.preferences(4))


@pytest.mark.parametrize("knobs", [{}, {"set_size": 2}, {"set_size": 3, "common": -0.3}, {"guess": True}])
def test_the_best_of_n_answers_is_that_of_plain_sums(knobs):
    env = make("tool_search", **SMALL, **knobs)
    table = random_tables(env)
    seen = get_probe("best_answers")(env, table, table)
    chance = truth.outcomes(env.as_found, table).numpy()  # [S, M, P, 2^D], held against enumeration in tests/envs
    bits = np.array([[k >> d & 1 for d in range(3)] for k in range(8)], dtype=float)
    for split, common, n in itertools.product(("train", "test"), (-4.0, env.common, 1.0), (1, 3)):
        rewards = (1 - common) * bits + common * bits.mean(1, keepdims=True)
        for run in range(2):
            values = []
            for weights, question in itertools.product(best.preferences(3).numpy()[::5], env.prompts(split).tolist()):
                levels = np.unique(value := rewards @ weights)
                below = [
                    math.prod(chance[run, i % env.set_size, question][value <= level].sum() for i in range(n))
                    for level in levels
                ]
                values.append(levels @ np.diff(below, prepend=0.0))
            if common == 1:
                assert float(seen[f"best@{n}_common_1_{split}"][run]) == pytest.approx(np.mean(values), abs=1e-10)
                continue
            subset = best.expected_best(
                torch.from_numpy(chance)[:, :, env.prompts(split)],
                torch.from_numpy(rewards),
                best.preferences(3)[::5],
                [n],
            )
            assert float(subset[0][run]) == pytest.approx(np.mean(values), abs=1e-10)


@pytest.mark.parametrize("answers", [1, 2])
def test_whole_responses_are_best_of_k_of_the_world(answers):
    """Another program: the best of k responses under one preference, of the world with that ``common``."""
    env = make("tool_search", **SMALL, set_size=answers)
    table = random_tables(env)
    seen = get_probe("best_answers")(env, table, table)
    test = env.prompts("test")
    for common in (-2.0, 0.0, 0.9):
        world = make("tool_search", **SMALL, set_size=answers, common=common)
        every = [truth.best_of_k(world, table, w, 6 // answers)[:, test] for w in best.preferences(3).tolist()]
        expected = torch.stack(every).mean((0, 2))
        assert torch.allclose(seen[f"best@6_common_{common:g}_test"], expected, **CLOSE)
    reward = truth.best_of_k(env, table, [0, 0, 1], 6 // answers)[:, test].mean(1)
    assert torch.allclose(seen["right@6_test"], reward, **CLOSE)


def test_one_answer_is_worth_the_same_whatever_the_components_share():
    env = make("tool_search", **SMALL)
    table = random_tables(env)
    seen = get_probe("best_answers")(env, table, table)
    for common in best.COMMONS:
        assert torch.allclose(seen[f"best@1_common_{common:g}_test"], seen["best@1_common_0_test"], **CLOSE)
    for fewer, more in itertools.pairwise(best.ANSWERS):
        assert (seen[f"best@{more}_common_0_test"] >= seen[f"best@{fewer}_common_0_test"]).all()


@pytest.mark.parametrize("answers", [1, 3])
def test_spread_and_correlation_are_those_of_enumerated_answers(answers):
    env = make("tool_search", **SMALL, set_size=answers, common=-0.5)
    table = random_tables(env, runs=1)
    seen = get_probe("best_answers")(env, table, table)
    pairs = [(0, 0)] if answers == 1 else [(0, 1), (0, 2), (1, 2)]
    spread, covariance = [], []
    for question in env.prompts("test").tolist():
        laws = [
            [(np.array(found_by(env, question, plan), float), chance) for plan, chance in law.items()]
            for law in (plan_chances(env, table[0], question, answer) for answer in range(answers))
        ]
        for a, b in pairs:
            spread.append(sum(p * q * abs(x - y).sum() for x, p in laws[a] for y, q in laws[b]))
        for law in laws:
            rewards = np.array([1.5 * x - 0.5 * x.mean() for x, _ in law])
            covariance.append(np.cov(rewards.T, aweights=[p for _, p in law], ddof=0))
    assert float(seen["spread_test"]) == pytest.approx(np.mean(spread), abs=1e-10)
    pooled = np.mean(covariance, 0)
    correlation = pooled / np.sqrt(np.outer(pooled.diagonal(), pooled.diagonal()))
    expected = correlation[~np.eye(3, dtype=bool)].mean()
    assert float(seen["correlation_common_-0.5_test"]) == pytest.approx(expected, abs=1e-10)
    assert float(seen["correlation_common_1_test"]) == pytest.approx(1, abs=1e-10)


def test_a_policy_of_one_plan_has_no_spread_and_no_correlation():
    env = make("tool_search", **SMALL)
    table = torch.full((1, len(env.contexts()), env.tools), -1e9, dtype=torch.float64)
    table[..., 0] = 0.0
    seen = get_probe("best_answers")(env, table, table)
    assert float(seen["spread_test"]) == 0
    assert torch.isnan(seen["correlation_common_0_test"]).all()
    assert torch.allclose(seen["best@96_common_0_test"], seen["best@1_common_0_test"], **CLOSE)


# -- searches ----------------------------------------------------------------------------------------------------------
def plain_evolution(env, table, question, budget):
    """Chance of every plan to be the best so far: over plans and not over what they find, token by token."""

    def worth(plan):
        return sum(found_by(env, question, plan))

    fresh = [plan_chances(env, table, question, answer) for answer in range(env.set_size)]
    now = fresh[0]
    for made in range(1, budget):
        after = dict.fromkeys(now, 0.0)
        for plan, chance in now.items():
            if made < search.FRESH:
                for other, likely in fresh[made % env.set_size].items():
                    after[other if worth(other) > worth(plan) else plan] += chance * likely
                continue
            for hop, answer in itertools.product(range(env.hops), range(env.set_size)):
                state = env.reset(torch.tensor(question))
                for token in (*(0,) * (answer * env.hops), *plan[:hop]):
                    state = env.step(state, torch.tensor(token))
                law = table[env.context_index(env.observe(state))].exp().tolist()
                for tool, likely in enumerate(law):
                    child = (*plan[:hop], tool, *plan[hop + 1 :])
                    kept = plan if worth(child) < worth(plan) else child
                    after[kept] += chance * likely / env.hops / env.set_size
        now = after
    return now


@pytest.mark.parametrize("knobs", [{}, {"set_size": 2}, {"hops": 3, "tools": 3, "clusters": 1}])
def test_evolution_is_that_of_plans_one_by_one(knobs, monkeypatch):
    monkeypatch.setattr(search, "BUDGETS", (1, 3, 4, 6))
    env = make("tool_search", **{**SMALL, **knobs, "questions": 40})
    table = random_tables(env, runs=1)
    seen = get_probe("answer_search")(env, table, table)
    hard = search.hard_questions(env).tolist()
    for budget in (1, 3, 4, 6):
        laws = {question: plain_evolution(env, table[0], question, budget) for question in hard}
        worth, right = (
            np.mean([sum(p * value(found_by(env, q, plan)) for plan, p in law.items()) for q, law in laws.items()])
            for value in (np.mean, lambda found: found[-1])
        )
        assert float(seen[f"evolution_value@{budget}"]) == pytest.approx(worth, abs=1e-10)
        assert float(seen[f"evolution_solved@{budget}"]) == pytest.approx(right, abs=1e-10)


def test_of_one_hop_both_searches_are_independent_answers(monkeypatch):
    """A redrawn call is then a fresh answer: 1 - (1 - p)^n for each question."""
    env = make("tool_search", clusters=2, tools=4, hops=1, questions=60)
    table = random_tables(env)
    seen = get_probe("answer_search")(env, table, table)
    success = env.evaluate(table).reward[:, search.hard_questions(env)]
    for n in search.BUDGETS:
        expected = (1 - (1 - success) ** n).mean(1)
        for name in ("best_of_solved", "best_of_value", "evolution_solved", "evolution_value"):
            assert torch.allclose(seen[f"{name}@{n}"], expected, **CLOSE)


@pytest.mark.parametrize("answers", [1, 3])
def test_the_best_of_independent_answers_is_pass_at_k(answers):
    env = make("tool_search", **SMALL, set_size=answers)
    table = random_tables(env)
    seen = get_probe("answer_search")(env, table, table)
    right = env.outcomes(table, search.hard_questions(env))[..., 4:].sum(-1)  # bit 2 is the answer; [S, M, Q]
    for n in search.BUDGETS:
        missed = math.prod((1 - right[:, answer]) ** len(range(answer, n, answers)) for answer in range(answers))
        assert torch.allclose(seen[f"best_of_solved@{n}"], (1 - missed).mean(1), **CLOSE)


def test_hard_questions_can_be_solved_and_none_that_is_easier_is_among_them():
    env = make("tool_search", questions=400, set_size=2)
    hard = search.hard_questions(env)
    plans = env.one_answer.solutions(env.prompts("test"))
    assert len(hard) == int((plans > 0).sum()) // 4
    mine = env.one_answer.solutions(hard)
    assert (mine > 0).all() and int(mine.max()) <= int(plans[plans > 0].sort().values[len(hard) - 1])


def test_the_search_does_not_see_what_components_share():
    tables = None
    for common in (0.0, -2.0):
        env = make("tool_search", **SMALL, common=common)
        table = random_tables(env)
        seen = get_probe("answer_search")(env, table, table)
        tables = tables or seen
        assert all(torch.equal(seen[name], tables[name]) for name in tables)


# -- devices -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("probe", PROBES)
@pytest.mark.parametrize("answers", [1, 2])
def test_a_probe_works_where_its_world_is(probe, answers):
    """With the default moved to "meta", a tensor made without a word about its device meets the world's and fails."""
    env = make("tool_search", **SMALL, set_size=answers, device="cpu")
    if probe == "masters":
        env = make("mi_dialogue", level="both", turns=4, hold=2, n_types=answers, held_out=1, device="cpu")
    if probe in ("hybrids", "reward_bits"):
        env = make("plan_exec", types=4, stages=answers, skills=3, values=5, nvalid=1, device="cpu")
    table = random_tables(env)
    given = {"seeds": range(len(table))} if probe in DRAWING else {}
    # The world makes its questions, on the CPU, when first asked for them.
    here = get_probe(probe)(env, table, table, **given)
    with torch.device("meta"):
        there = get_probe(probe)(env, table, table, **given)
    assert all(torch.equal(here[name].nan_to_num(), there[name].nan_to_num()) for name in here)


def test_truths_are_computed_where_their_world_is():
    env = make("tool_search", **SMALL, set_size=2, device="cpu")
    table = random_tables(env)
    here = truth.best_of_k(env, table, [0.2, 0.3, 0.5], 4)
    with torch.device("meta"):
        assert torch.equal(truth.best_of_k(env, table, [0.2, 0.3, 0.5], 4), here)


# -- errors ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("probe", ["best_answers", "answer_search"])
def test_another_world_is_refused_in_one_line(probe):
    env = make("chain_reach", modulus=5, operations=3, length=2)
    table = env.uniform()[None]
    with pytest.raises(ToybedError, match=rf"the probe {probe} reads exact reward vectors, and ChainReach has none"):
        get_probe(probe)(env, table, table)


@pytest.mark.parametrize("knobs", [{"retry": True}, {"guess": True}])
def test_answers_that_are_no_plans_are_not_searched(knobs):
    env = make("tool_search", questions=20, **knobs)
    table = env.uniform()[None]
    with pytest.raises(ToybedError, match="answer_search changes plans; allowed: retry=False and guess=False"):
        get_probe("answer_search")(env, table, table)
