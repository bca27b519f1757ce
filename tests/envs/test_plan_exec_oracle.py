"""PlanExec against something slower and more obvious: its rules in plain words, brute force, the laws that it obeys."""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import pad

from toybed import train
from toybed.agents.config import Spec, Supervised
from toybed.envs import make
from toybed.envs import plan_exec_tokens as tokens_view
from toybed.envs.core import ILLEGAL
from toybed.errors import ToybedError

SMALL = make("plan_exec", types=5, stages=2, skills=4, values=5, nvalid=2, hard_frac=0.4, table_seed=2)
# An odd number of stages: the halves that a strategy is put together from differ in length.
ODD = make("plan_exec", types=3, stages=3, skills=3, values=3, nvalid=1, hard_frac=0.4, default_valid=0.5)
ONE = make("plan_exec", types=3, stages=1, skills=5, values=4, nvalid=3, hard_frac=0.0, train_share=0.5)
WORLDS = (SMALL, ODD, ONE)
every_world = pytest.mark.parametrize("env", WORLDS, ids=["small", "odd", "one stage"])
# Monte Carlo comparisons ask |z| < 4.5: under the normal law a right program fails one of them with 6.8e-6.
Z = 4.5


def random_tables(env, *shape, seed=0, scale=1.5):
    """Random policies, float64 ``[*shape, C, V]``; illegal tokens have no mass."""
    logits = np.random.default_rng(seed).normal(scale=scale, size=(*shape, len(env.contexts()), env.vocabulary))
    return torch.from_numpy(logits).masked_fill(~env.legal_at(env.contexts()), ILLEGAL).log_softmax(-1)


def plain_result(env, prompt, tokens):
    """Valid plans, right executions and success of a response, by the rules as one would tell them; None: spoiled."""
    skill, valid = env.tables.skill.tolist(), env.tables.valid.tolist()
    kind, value = divmod(prompt, env.values)
    good, right = 0, 0
    for stage in range(env.stages):
        plan, written = tokens[2 * stage], tokens[2 * stage + 1] - env.skills
        if plan >= env.skills or written < 0:
            return None
        good += valid[kind][stage][plan]
        right += skill[plan][value] == written
        value = written
    return good, right, float(good == right == env.stages)


@every_world
@pytest.mark.parametrize("view", ["state", "tokens"])
def test_rewards_are_those_of_the_rules(env, view):
    env = replace(env, view=view)
    random = np.random.default_rng(0)
    prompts = random.integers(env.n_prompts, size=2000)
    tokens = random.integers(env.vocabulary, size=(2000, env.horizon))
    tokens[:, ::2] %= env.skills
    tokens[:, 1::2] = tokens[:, 1::2] % env.values + env.skills
    tokens[:200] = random.integers(env.vocabulary, size=(200, env.horizon))  # of these most are spoiled
    state = env.reset(torch.from_numpy(prompts))
    for t in range(env.horizon):
        assert not env.reward(state).any()
        state = env.step(state, torch.from_numpy(tokens[:, t]))
    told = [plain_result(env, *pair) for pair in zip(prompts.tolist(), tokens.tolist(), strict=True)]
    expected = np.array([(0, 0, 0) if each is None else each for each in told])
    assert 100 < sum(each is None for each in told) < 200 and expected[:, 2].sum() > 0
    np.testing.assert_array_equal(env.reward(state).numpy(), expected[:, 2])
    vector = expected[:, [2, 0, 1]] / [1, env.stages, env.stages]
    np.testing.assert_allclose(env.reward_vector(state).numpy(), vector, rtol=1e-6)  # float32


def legal_responses(env):
    step = itertools.product(range(env.skills), range(env.skills, env.vocabulary))
    return [sum(pairs, ()) for pairs in itertools.product(list(step), repeat=env.stages)]


@every_world
def test_solutions_are_counted(env):
    counts = [
        sum(plain_result(env, prompt, response)[2] for response in legal_responses(env))
        for prompt in range(env.n_prompts)
    ]
    assert env.solutions(env.prompts()).tolist() == counts
    assert min(counts) >= 1, "the optimum is 1"


def plain_truth(env, table):
    """Reward and entropy by prompt, and the measures, from every legal response to every prompt, one at a time."""
    chance = table.exp().numpy()
    valid, skill = env.tables.valid.numpy(), env.tables.skill.numpy()
    reward, entropy = np.zeros(env.n_prompts), np.zeros(env.n_prompts)
    totals, plans, writes, strategies = Counter(), defaultdict(Counter), defaultdict(Counter), Counter()
    by_prompt_strategy = 0.0
    test = env.prompts("test").tolist()
    for prompt in range(env.n_prompts):
        of_prompt = Counter()
        for response in legal_responses(env):
            probability, seen, rows = 1.0, prompt % env.values, []
            for stage in range(env.stages):
                plan, token = response[2 * stage : 2 * stage + 2]
                first = (prompt // env.values) * env.stages + stage
                second = env.types * env.stages + plan * env.values + seen
                probability *= chance[first, plan] * chance[second, token]
                rows.append((stage, first, second, plan, token, skill[plan, seen] + env.skills == token))
                seen = token - env.skills
            reward[prompt] += probability * plain_result(env, prompt, response)[2]
            entropy[prompt] -= probability * math.log(probability)
            if prompt not in test:
                continue
            of_prompt[response[::2]] += probability
            share = probability / len(test) / env.stages
            for stage, first, second, plan, token, right in rows:
                plans[stage][plan] += probability / len(test)
                writes[stage][token] += probability / len(test)
                totals["entropy_plan_conditional"] += share * plain_entropy(chance[first])
                totals["entropy_exec"] += share * plain_entropy(chance[second])
                totals["exec_accuracy"] += share * right
                totals["plan_validity"] += share * valid[prompt // env.values, stage, plan]
                totals["default_share"] += share * (plan == 0)
        by_prompt_strategy += plain_entropy(list(of_prompt.values())) / len(test)
        strategies.update({plan: p / len(test) for plan, p in of_prompt.items()})
    totals["entropy_plan_marginal"] = np.mean([plain_entropy(list(each.values())) for each in plans.values()])
    totals["entropy_exec_marginal"] = np.mean([plain_entropy(list(each.values())) for each in writes.values()])
    totals["entropy_strategy"] = by_prompt_strategy
    totals["entropy_strategy_marginal"] = plain_entropy(list(strategies.values()))
    ordinary = [prompt for prompt in test if prompt // env.values < env.types - env.hard_types]
    totals["success_ordinary"] = reward[ordinary].mean()
    if env.hard_types:
        totals["success_hard"] = reward[sorted(set(test) - set(ordinary))].mean()
    return reward, entropy, totals


def plain_entropy(chances):
    return -sum(p * math.log(p) for p in chances if p > 0)


@every_world
def test_what_a_policy_is_worth_and_its_measures_are_those_of_all_its_responses(env):
    tables = random_tables(env, 2, 3)
    exact, measures = env.evaluate(tables), env.measures(tables)
    for place in ((0, 0), (1, 2)):
        reward, entropy, expected = plain_truth(env, tables[place])
        # float64 sums of at most 3000 terms: far below 1e-12
        np.testing.assert_allclose(exact.reward[place].numpy(), reward, rtol=0, atol=1e-12)
        np.testing.assert_allclose(exact.entropy[place].numpy(), entropy, rtol=0, atol=1e-11)
        assert set(measures) == set(expected)
        for name, value in measures.items():
            assert float(value[place]) == pytest.approx(expected[name], abs=1e-11), name
    assert "success_hard" not in measures or env.hard_types


def test_the_general_enumeration_agrees():
    tables = random_tables(SMALL, 2, seed=1)
    log_prob, reward = SMALL.enumerate_responses(tables, SMALL.prompts())  # all 9^4, illegal ones included
    exact = SMALL.evaluate(tables)
    assert torch.allclose((log_prob.exp() * reward).sum(-1), exact.reward, rtol=0, atol=1e-12)


def test_strategies_that_are_too_many_are_left_out():
    env = make("plan_exec", stages=7, types=4, values=3)  # 6^7 = 279936
    measures = env.measures(env.uniform())
    assert "entropy_strategy_marginal" not in measures
    assert float(measures["entropy_strategy"]) == pytest.approx(7 * math.log(6), rel=1e-12)


# -- laws --------------------------------------------------------------------------------------------------------------
def with_execution(env, plans, chance):
    """The plans of a table, executed right with the chance ``[K, M]`` of each skill and value."""
    cut = env.types * env.stages
    table = env.demonstrator().double().exp()
    table[:cut] = plans[:cut].exp()
    rows = ((1 - chance) / (env.values - 1))[..., None].expand(-1, -1, env.values)
    right = rows.scatter(-1, env.tables.skill[..., None], chance[..., None])
    table[cut:, env.skills :] = right.flatten(0, 1)
    return torch.where(table > 0, table.clamp(min=1e-300).log(), ILLEGAL)


def valid_chances(env, table):
    """How often each type has only valid plans, ``[Z]``."""
    plan = table[: env.types * env.stages, : env.skills].exp().view(env.types, env.stages, env.skills)
    return (plan * env.tables.valid).sum(-1).prod(-1)


@pytest.mark.parametrize("q", [0.25, 0.75, 1.0])
def test_success_is_execution_to_the_power_of_stages_times_valid_plans(q):
    env = make("plan_exec", types=9, table_seed=1)
    plans = random_tables(env)
    table = with_execution(env, plans, torch.full((env.skills, env.values), q, dtype=torch.float64))
    expected = q**env.stages * valid_chances(env, table)
    # 13 values and 6 skills, three times over: rounding far below 1e-12
    assert torch.allclose(env.evaluate(table).reward.view(env.types, -1), expected[:, None], rtol=1e-12, atol=0)


def test_where_execution_depends_on_the_value_the_law_does_not_hold():
    env = make("plan_exec", types=9, table_seed=1)
    chance = torch.full((env.skills, env.values), 0.5, dtype=torch.float64)
    chance[:, :6] = 0.9
    reward = env.evaluate(with_execution(env, random_tables(env), chance)).reward.view(env.types, -1)
    assert (reward.amax(1) > 1.2 * reward.amin(1)).all()


@pytest.mark.parametrize(("types", "hard_frac"), [(24, 0.25), (8, 0.5), (6, 0.0)])
def test_the_plateau_without_the_rare_skill_is_the_share_of_ordinary_types(types, hard_frac):
    env = make("plan_exec", types=types, hard_frac=hard_frac)
    cut = env.types * env.stages
    perfect = torch.full((len(env.contexts()), env.vocabulary), ILLEGAL, dtype=torch.float64)
    likes = env.tables.valid.clone()
    likes[..., -1] = False
    first = torch.where(likes.any(-1), likes.long().argmax(-1), 0).flatten()  # hard types: the default, in vain
    perfect[torch.arange(cut), first] = 0.0
    perfect[torch.arange(cut, len(perfect)), env.skills + env.tables.skill.flatten()] = 0.0
    reward = env.evaluate(perfect).reward
    assert float(reward.mean()) == pytest.approx(1 - hard_frac, rel=1e-14)
    assert set(reward.tolist()) <= {0.0, 1.0}
    perfect[torch.arange(cut), env.tables.valid.long().argmax(-1).flatten()] = 0.0
    best = env.evaluate(perfect.log_softmax(-1)).reward.mean()
    if hard_frac == 0:
        assert float(best) == pytest.approx(env.optimum(), rel=1e-12)


@pytest.mark.parametrize("q", [0.75, 0.95])
def test_plans_carried_out_by_a_base_recover_its_execution_to_the_power_of_stages(q):
    env = make("plan_exec")
    base = env.demonstrator(execution=q).double()
    perfect = torch.ones(env.skills, env.values, dtype=torch.float64)
    likes = torch.where(env.tables.valid, 0.0, -3.0).flatten(0, 1).double().log_softmax(-1)
    better = with_execution(env, pad(likes, (0, env.values), value=ILLEGAL), perfect)
    hybrid = torch.where(env.plans_at(env.contexts())[:, None], better, base)
    success = [float(env.evaluate(table).reward.mean()) for table in (base, better, hybrid)]
    # The demonstrator is a float32 table: 2^-24 |log p| a token, |log .75| < 1, 3 tokens.
    assert success[2] == pytest.approx(q**env.stages * success[1], rel=1e-6)
    gap = (success[2] - success[0]) / (success[1] - success[0])
    assert gap < q**env.stages, "what the base can do already is not recovered by plans"


# -- tables ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("default_valid", [0.0, 0.45, 1.0])
def test_the_dials_of_what_is_valid_are_exact(default_valid):
    env = make("plan_exec", default_valid=default_valid, nvalid=3, table_seed=5)
    valid = env.tables.valid
    ordinary, hard = valid[:18], valid[18:]
    assert (ordinary.sum(-1) == 3).all() and not ordinary[..., -1].any()
    assert int(ordinary[..., 0].sum()) == round(default_valid * 18 * 3)
    assert hard[..., -1].all() and (hard.sum(-1) == 1).all()
    for row in env.tables.skill.tolist():
        assert sorted(row) == list(range(env.values))


@every_world
def test_both_splits_have_all_types_and_each_type_holds_out_start_values(env):
    train, test = (set(env.prompts(split).tolist()) for split in ("train", "test"))
    for kind in range(env.types):
        own = set(range(kind * env.values, (kind + 1) * env.values))
        assert own & train and own & test and not own & train & test


def test_a_start_value_that_is_held_out_is_met_by_other_types():
    env = make("plan_exec")
    held_out = torch.bincount(env.prompts("test") % env.values, minlength=env.values)
    # 4 values of each of 24 types: 96 places, windows that go round 13 values seven times and a bit.
    assert held_out.sum() == 96 and set(held_out.tolist()) == {7, 8}


def test_the_demonstrator_is_what_its_options_say():
    env = make("plan_exec")
    measures = {name: float(value) for name, value in env.measures(env.demonstrator().double()).items()}
    others = (1 - 0.75 - 0.004) / 4
    plan_entropy = plain_entropy([0.75, 0.004, *[others] * 4])
    # float32 tables: relative errors of 1e-7 a token
    assert measures["entropy_plan_conditional"] == pytest.approx(plan_entropy, rel=1e-6)
    assert measures["entropy_plan_marginal"] == pytest.approx(plan_entropy, rel=1e-6), "plans do not depend on the type"
    assert measures["entropy_exec"] == pytest.approx(plain_entropy([0.75, *[0.25 / 12] * 12]), rel=1e-6)
    assert measures["exec_accuracy"] == pytest.approx(0.75, rel=1e-6)
    assert measures["default_share"] == pytest.approx(0.75, rel=1e-6)
    assert measures["success_hard"] == pytest.approx((0.75 * 0.004) ** 3, rel=1e-5)


def test_numbers_of_the_default_world():
    """A change of any of them is a new version."""
    env = make("plan_exec", table_seed=0)
    assert env.solutions(env.prompts()).view(24, 13)[:, 0].tolist() == [2**3] * 18 + [1] * 6
    # 18 of 24 types have 2 valid skills of 6 at each of 3 stages, the others 1; one of 13 values is right.
    random = (0.75 * (2 / 6) ** 3 + 0.25 * (1 / 6) ** 3) / 13**3
    assert env.random_baseline() == pytest.approx(random, rel=1e-12)
    assert (len(env.prompts("train")), len(env.prompts("test"))) == (24 * 9, 24 * 4)
    # What the demonstrator solves depends on which stages of a type allow the default: its three or none of them.
    chance = torch.where(env.tables.valid[:18, :, 0], 0.75 + 0.246 / 4, 2 * 0.246 / 4).double().prod(-1).sum() / 24
    expected = 0.75**3 * (float(chance) + 0.25 * 0.004**3)
    assert float(env.evaluate(env.demonstrator().double()).reward.mean()) == pytest.approx(expected, rel=1e-5)
    assert expected == pytest.approx(0.0210, abs=5e-5)


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_skill_that_is_missing_is_neither_planned_nor_known(missing):
    env = make("plan_exec")
    table, cut = env.demonstrator(missing=missing).double().exp(), env.types * env.stages
    planned = table[:cut, : env.skills]
    assert torch.allclose(table.sum(-1), torch.ones(len(table), dtype=torch.float64), atol=1e-6)
    right = table[cut:, env.skills :].view(env.skills, env.values, -1).gather(-1, env.tables.skill[..., None])
    for skill in range(env.skills):
        lacks = skill >= env.skills - missing
        assert bool((planned[:, skill] == 0).all()) == lacks
        assert torch.allclose(right[skill], torch.tensor(1 / 13 if lacks else 0.75).double(), atol=1e-6)
    success = float(env.measures(env.demonstrator(missing=missing))["success_hard"])
    assert (success == 0) == (missing > 0)


@pytest.mark.parametrize("missing", [1, 3])
def test_a_skill_that_is_missing_is_planned_where_it_is_tried_and_still_not_known(missing):
    env = make("plan_exec")
    never, tried = (env.demonstrator(default=0.4, missing=missing, tries=tries).double().exp() for tries in (0, 0.3))
    cut = env.types * env.stages
    assert torch.equal(never[cut:], tried[cut:])  # it is carried out as badly as ever
    # 0.4 for the default, 0.3 for those that it lacks, and the rest for the others.
    others = env.skills - 1 - missing
    plan = torch.tensor([0.4, *[0.3 / others] * others, *[0.3 / missing] * missing], dtype=torch.float64)
    assert torch.allclose(tried[:cut, : env.skills], plan.expand(cut, -1), atol=1e-6)
    success = float(env.measures(env.demonstrator(default=0.4, missing=missing, tries=0.3))["success_hard"])
    assert success == pytest.approx((0.3 / missing / 13) ** 3, rel=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"execution": 1.1}, "execution is 1.1; allowed: 0 to 1"),
        ({"default": 0.999, "rare": 0.01}, "at most 1 together"),
        ({"missing": 5}, "missing is 5; allowed: 0 to 4"),
        ({"missing": 1, "tries": 0.3}, "default is 0.75 and tries 0.3; allowed: at most 1 together"),
        ({"tries": 0.1}, "tries is 0.1, of the skills that it lacks, and missing is 0"),
        ({"missing": 1, "tries": -0.1}, "tries is -0.1; allowed: 0 to 1"),
    ],
)
def test_a_wrong_option_of_the_demonstrator_is_refused(options, message):
    with pytest.raises(ToybedError, match=message):
        make("plan_exec").demonstrator(**options)


# -- the tokens view ---------------------------------------------------------------------------------------------------
@every_world
def test_the_tokens_view_hides_nothing_that_the_state_view_shows(env):
    there = replace(env, view="tokens")
    random = torch.Generator().manual_seed(0)
    prompts = env.prompts().repeat(20)
    here, seen = env.reset(prompts), there.reset(prompts)
    shown, known = there.demonstrate(rare=0.1), env.demonstrate(rare=0.1)
    for _ in range(env.horizon):
        observation = there.observe(seen)
        assert torch.equal(tokens_view.condensed(there, observation), env.observe(here))
        assert torch.equal(there.plans_at(observation), env.plans_at(env.observe(here)))
        assert torch.equal(there.legal_at(observation), env.legal(here))
        assert torch.equal(shown(observation), known(env.observe(here)))
        token = torch.multinomial(env.legal(here).float(), 1, generator=random).squeeze(-1)
        here, seen = env.step(here, token), there.step(seen, token)
    assert torch.equal(env.reward_vector(here), there.reward_vector(seen))


def sampled_answers(env, table, group):
    """State before the last token of ``group`` responses to each test prompt, and that token's chances."""
    there, random = replace(env, view="tokens"), torch.Generator().manual_seed(0)
    state = there.reset(env.prompts("test")[None, :, None].expand(1, -1, group))
    for t in range(env.horizon):
        chance = table[env.context_index(tokens_view.condensed(there, there.observe(state)))].exp()
        if t == env.horizon - 1:
            return there, state, chance
        token = torch.multinomial(chance.flatten(0, -2), 1, generator=random).view(chance.shape[:-1])
        state = there.step(state, token)


@pytest.mark.parametrize("env", [SMALL, ODD], ids=["small", "odd"])
def test_estimates_from_samples_agree_with_what_is_exact(env):
    table, group = random_tables(env, seed=3, scale=1.0), 2000
    there, state, answer = sampled_answers(env, table, group)
    estimate = there.measure_answers(env.prompts("test"), state, answer)
    exact = env.measures(table)
    assert set(estimate) - {"entropy_exec_last"} <= set(exact)
    count = len(env.prompts("test")) * group
    for name in ("success_hard", "success_ordinary", "exec_accuracy", "plan_validity", "default_share"):
        # A mean of independent numbers between 0 and 1 has a variance of at most m (1 - m) / N; of hard types, 2/5 or
        # 1/3 of the prompts, N is a third of all at least.
        mean = float(exact[name])
        assert abs(float(estimate[name]) - mean) < Z * math.sqrt(mean * (1 - mean) / (count / 3)), name
    # Plug-in entropy of K = 4 or 3 chances: its bias is (K - 1) / 2N, its variance Var(log p) / N, and Var(log p) is
    # at most log(K - 1)^2 / 4 + 1 < 1.4; a mean over stages has no larger one.
    error = Z * math.sqrt(1.4 / count) + 3 / (2 * count)
    assert float(estimate["entropy_plan_marginal"]) == pytest.approx(float(exact["entropy_plan_marginal"]), abs=error)


def test_estimates_are_what_a_loop_over_the_samples_finds():
    env = SMALL
    there, state, answer = sampled_answers(env, random_tables(env, seed=4), 3)
    estimate = {name: float(v) for name, v in there.measure_answers(env.prompts("test"), state, answer).items()}
    found, plans = defaultdict(list), defaultdict(Counter)
    for p, prompt in enumerate(env.prompts("test").tolist()):
        for g in range(3):
            seen, chance = state.seen[0, p, g].tolist(), answer[0, p, g].tolist()
            results = [plain_result(env, prompt, [*seen[2:], last]) for last in range(env.skills, env.vocabulary)]
            weighted = list(zip(chance[env.skills :], results, strict=True))
            hard = prompt // env.values >= env.types - env.hard_types
            found["success_hard" if hard else "success_ordinary"].append(sum(c * r[2] for c, r in weighted))
            found["exec_accuracy"].append(sum(c * r[1] for c, r in weighted) / env.stages)
            found["plan_validity"].append(results[0][0] / env.stages)
            found["default_share"].append(sum(token == 0 for token in seen[2::2]) / env.stages)
            found["entropy_exec_last"].append(plain_entropy(chance))
            for stage, token in enumerate(seen[2::2]):
                plans[stage][token] += 1
    expected = {name: np.mean(values) for name, values in found.items()}
    total = len(env.prompts("test")) * 3
    expected["entropy_plan_marginal"] = np.mean(
        [plain_entropy([n / total for n in c.values()]) for c in plans.values()]
    )
    assert estimate == pytest.approx(expected, abs=1e-12)


def test_a_history_is_no_table():
    env = replace(SMALL, view="tokens")
    for call in (env.contexts, env.uniform, lambda: env.context_index(env.observe(env.reset(env.prompts())))):
        with pytest.raises(ToybedError, match=r'view="tokens" are not listed; allowed with view="state"'):
            call()


# -- learning ----------------------------------------------------------------------------------------------------------
KNOBS = {"types": 4, "stages": 2, "skills": 3, "values": 5, "nvalid": 1}
FEW = {"seeds": 1, "updates": 2, "prompts": 4, "group": 4, "minibatches": 1, "measure_every": 1}


def test_a_run_records_the_measures_and_planning_objectives_learn_here():
    supervised = Supervised(steps=2, demonstrations=16, demonstrator={"rare": 0.1, "execution": 0.9})
    (run,) = train("hicra", world=Spec("plan_exec", KNOBS), policy="tabular", supervised=supervised, **FEW)
    env = make("plan_exec", **KNOBS)
    for name in env.measures(env.uniform()):
        assert np.isfinite(run.curves[name].values).all() and len(run.curves[name].values) == 3


def test_a_network_that_reads_tokens_records_its_estimates():
    supervised = Supervised(steps=2, demonstrations=16, demonstrator={"rare": 0.1})
    world = Spec("plan_exec", {**KNOBS, "view": "tokens"})
    policy = Spec("gru", {"width": 8, "embedding": 4})
    (run,) = train("grpo", world=world, policy=policy, supervised=supervised, **FEW)
    names = {"success_hard", "success_ordinary", "exec_accuracy", "plan_validity", "default_share"}
    for name in (*names, "entropy_plan_marginal", "entropy_exec_last", "reward_test", "entropy_test"):
        assert np.isfinite(run.curves[name].values).all() and len(run.curves[name].values) == 3
