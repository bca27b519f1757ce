"""ToolSearch against something slower and more obvious: its rules case by case, brute force, Monte Carlo."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from toybed.envs import make
from toybed.envs import tool_search_truth as truth
from toybed.envs.core import ILLEGAL
from toybed.envs.tool_search_optima import bayes_optimum
from toybed.errors import ToybedError
from toybed.measures.diversity import pass_at_k_exact

# Monte Carlo comparisons ask |z| < 4.5: under the normal law a right program fails one of them with 6.8e-6.
Z = 4.5
SMALL = {"clusters": 2, "tools": 4, "hops": 2, "questions": 60}


def random_table(env, seed=0, scale=1.5):
    shape = (len(env.contexts()), env.vocabulary)
    logits = torch.from_numpy(np.random.default_rng(seed).normal(scale=scale, size=shape))
    legal = env.legal_at(env.contexts())
    return (logits if legal is None else logits.masked_fill(~legal, ILLEGAL)).log_softmax(-1)


def play(env, question, tokens):
    """The states along a response, the first included."""
    states = [env.reset(torch.tensor(question))]
    for token in tokens:
        states.append(env.step(states[-1], torch.tensor(token)))
    return states


def plain_result(env, question, tokens):
    """The reward vectors of a response's answers, by the rules as one would tell them; None where it is spoiled."""
    works, known = env.bank.works[question].tolist(), env.bank.known[question].tolist()
    budget, vectors = env.calls_per_answer, []
    for start in range(0, len(tokens), budget):
        hop, over, failed, hits, right = 0, False, set(), [False] * env.hops, False
        for token in tokens[start : start + budget]:
            if over:
                if (env.retry or env.guess) and token != 0:
                    return None
            elif token == env.tools:
                right, over = all(hits[:hop]) and known[hop], True
            elif len(failed) == env.tools:
                if env.guess or token != 0:
                    return None
            elif token in failed:
                return None
            else:
                hits[hop] = works[hop][token]
                if env.retry and not hits[hop]:
                    failed.add(token)
                else:
                    hop, failed = hop + 1, set()
                if hop == env.hops:
                    over, right = True, all(hits)
        found = [float(x) for x in (*hits, right)]
        vectors.append([(1 - env.common) * x + env.common * sum(found) / len(found) for x in found])
    return vectors


@pytest.mark.parametrize(
    "knobs",
    [
        {**SMALL, "hops": 3},
        {**SMALL, "guess": True},
        {**SMALL, "guess": True, "set_size": 2, "by_heart": 0.6},
        {**SMALL, "common": -2.5},
        {**SMALL, "set_size": 2, "common": 0.75},
        {**SMALL, "retry": True, "calls": 4, "common": -0.5},
        {**SMALL, "retry": True, "calls": 4},
        {**SMALL, "retry": True, "calls": 3, "guess": True},
        {"clusters": 1, "tools": 3, "hops": 1, "questions": 60, "retry": True, "calls": 4, "dominant": 0.2},
    ],
)
def test_rewards_are_those_of_the_rules(knobs):
    env = make("tool_search", **knobs)
    random = np.random.default_rng(0)
    spoiled = paid = 0
    for _ in range(300):
        question = int(random.integers(env.n_prompts))
        tokens = random.integers(env.vocabulary, size=env.horizon).tolist()
        if random.random() < 0.7:  # mostly legal ones, or few searches with retries would come to an end
            state = env.reset(torch.tensor(question))
            for t in range(env.horizon):
                legal = env.legal(state)
                if legal is not None and not bool(legal[tokens[t]]):
                    tokens[t] = int(random.choice(legal.nonzero().flatten().numpy()))
                state = env.step(state, torch.tensor(tokens[t]))
        end = play(env, question, tokens)[-1]
        expected = plain_result(env, question, tokens)
        vector = env.reward_vector(end)
        spoiled += expected is None
        if expected is None:
            assert not vector.any() and float(env.reward(end)) == 0
            continue
        # float32 sums of at most 4 numbers below 4
        np.testing.assert_allclose(vector.view(env.set_size, -1).numpy(), expected, rtol=0, atol=4e-6)
        assert float(env.reward(end)) == float(env.as_found.reward_vector(end).view(env.set_size, -1)[:, -1].max())
        paid += float(env.reward(end))
    assert paid > 0
    assert (spoiled > 0) == (env.retry or env.guess)


def test_what_is_seen_in_a_search_with_retries():
    env = make("tool_search", retry=True, calls=5)
    works = env.bank.works
    # Tool 5 fails at the first hop, tool 0 finds it.
    question = int(((~works[:, 0, 5]) & works[:, 0, 0]).nonzero()[0])
    cue = int(env.bank.cue[question])
    seen = [env.observe(state).tolist() for state in play(env, question, [5, 0])]
    assert seen == [
        [cue, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        [cue, 0, 1, 0, 0, 0, 0, 0, 1, 1],
        [cue, 1, 2, 0, 0, 0, 0, 0, 0, 2],
    ]
    start, missed, found = play(env, question, [5, 0])
    assert env.legal(start).tolist() == [True] * 6 == env.legal(found).tolist()
    assert env.legal(missed).tolist() == [True] * 5 + [False]
    text = env.describe(missed)
    assert "hop 1 of 3, last call missed, tools 5 failed here, 4 tokens left" in text


def test_a_search_that_is_over_takes_token_0_only():
    env = make("tool_search", retry=True, guess=True, calls=4)
    state = play(env, 0, [env.tools])[-1]
    assert int(state.hop) == env.hops and env.legal(state).tolist() == [True] + [False] * env.tools
    assert "search over" in env.describe(state)


def test_answers_of_a_set_start_from_nothing():
    env = make("tool_search", set_size=2)
    states = play(env, 7, [0, 0, 0, 1])
    cue = int(env.bank.cue[7])
    assert env.observe(states[3]).tolist() == [cue, 0, 0, 1]
    assert env.observe(states[4]).tolist()[1] == 1 and env.observe(states[4]).tolist()[3] == 1
    assert "answer 2 of 2" in env.describe(states[3])


# -- the bank ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("shift", ["none", "index", "cue"])
def test_the_bank_has_the_frequencies_that_its_knobs_say(shift):
    """24 tools and clusters, 4 cues and 2 others, on 2 splits, 3 shifts: a right program fails with 1e-3."""
    env = make("tool_search", questions=20_000, shift=shift)
    bank = env.bank
    for split in ("train", "test"):
        moved = shift if split == "test" else "none"
        mine = env.prompts(split)
        cluster, cue, works = bank.cluster[mine], bank.cue[mine], bank.works[mine].double()
        for c in range(4):
            chance = [0.15 if moved == "index" else 0.75, *(0.9 if k == c else 0.25 for k in range(4)), 0.15]
            of_cluster = works[cluster == c].mean(1)  # over hops, which are alike
            count = 3 * len(of_cluster)
            for k, p in enumerate(chance):
                assert abs(float(of_cluster[:, k].mean()) - p) < Z * math.sqrt(p * (1 - p) / count)
            assert abs(float((cluster == c).double().mean()) - 0.25) < Z * math.sqrt(0.1875 / len(mine))
        p = 0.25 if moved == "cue" else 0.625
        assert abs(float((cluster == cue).double().mean()) - p) < Z * math.sqrt(p * (1 - p) / len(mine))
        by_heart = bank.known[mine, -2].double().mean()  # the last hop alone
        assert abs(float(by_heart) - 0.3) < Z * math.sqrt(0.21 / len(mine))


def test_known_by_heart_is_cumulative():
    known = make("tool_search").bank.known
    assert known[:, -1].all()
    assert (known[:, 1:] | ~known[:, :-1]).all(), "all from hop h on are known, so all from h + 1 on are"


def test_a_shift_changes_only_what_it_must():
    plain, index, cue = (make("tool_search", shift=shift).bank for shift in ("none", "index", "cue"))
    cut = 2048
    for moved in (index, cue):
        assert torch.equal(moved.cluster, plain.cluster) and torch.equal(moved.known, plain.known)
        assert torch.equal(moved.works[:cut], plain.works[:cut]) and torch.equal(moved.cue[:cut], plain.cue[:cut])
    assert torch.equal(index.works[..., 1:], plain.works[..., 1:]) and torch.equal(index.cue, plain.cue)
    assert (plain.works[..., 0] | ~index.works[..., 0]).all(), "what the stale index still finds it found before"
    assert torch.equal(cue.works, plain.works) and not torch.equal(cue.cue, plain.cue)


@pytest.mark.parametrize(
    ("knob", "values"),
    [
        ("dominant", (0.4, 0.6, 0.75, 0.9)),
        ("specialist", (0.3, 0.6, 0.9)),
        ("other", (0.1, 0.25, 0.5)),
        ("weak", (0.0, 0.15, 0.4)),
    ],
)
@pytest.mark.parametrize("retry", [False, True])
def test_better_tools_make_more_questions_solvable_and_random_search_better(knob, values, retry):
    """Common random numbers: question by question, not only on average."""
    worlds = [make("tool_search", questions=300, retry=retry, **{knob: value}) for value in values]
    solved = torch.stack([env.solutions(env.prompts()) for env in worlds])
    if retry:  # a detour over a tool that now works is no longer a solution of its own
        solved = (solved > 0).long()
    assert (solved.diff(dim=0) >= 0).all() and (solved.diff(dim=0) > 0).any()
    baselines = [env.random_baseline() for env in worlds]
    assert baselines == sorted(baselines)


def test_knobs_that_make_it_harder_or_easier_move_the_optimum_of_fresh_questions():
    def rises(name, *values, **fixed):
        optima = [bayes_optimum(make("tool_search", **fixed, **{name: value})) for value in values]
        assert (np.diff(optima) > -1e-12).all() and optima[0] < optima[-1]

    rises("rho", 0.0, 0.3, 0.6, 1.0)
    rises("calls", 3, 4, 5, retry=True)
    rises("dominant", 0.7, 0.8)
    rises("by_heart", 0.3, 0.95, guess=True)
    rises("hops", 4, 3, 2, 1)


# -- expectations ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "knobs",
    [
        {**SMALL, "questions": 20},
        {**SMALL, "questions": 20, "guess": True},
        {**SMALL, "questions": 20, "retry": True, "calls": 3},
        {"clusters": 1, "tools": 3, "hops": 2, "questions": 12, "guess": True, "set_size": 2},
        {"clusters": 1, "tools": 3, "hops": 2, "questions": 12, "set_size": 2, "common": -1.5},
        {**SMALL, "questions": 20, "common": 0.25},
    ],
)
def test_outcomes_and_best_of_k_are_sums_over_responses(knobs):
    env = make("tool_search", **knobs)
    table = random_table(env)
    d = env.hops + 1
    weights = [0.7, 0.2, 1.0][:d]
    outcomes, best = env.outcomes(table), {k: truth.best_of_k(env, table, weights, k) for k in (1, 2)}
    assert outcomes.shape == (env.set_size, env.n_prompts, 2**d)
    for question in range(0, env.n_prompts, 5):
        expected = np.zeros((env.set_size, 2**d))
        worths, chances = [], []
        for tokens in itertools.product(range(env.vocabulary), repeat=env.horizon):
            states = play(env, question, tokens)
            rows = [int(env.context_index(env.observe(state))) for state in states[:-1]]
            chance = math.exp(sum(float(table[row, token]) for row, token in zip(rows, tokens, strict=True)))
            if chance == 0:
                continue
            vector = env.reward_vector(states[-1]).view(env.set_size, d)
            for m, row in enumerate(env.as_found.reward_vector(states[-1]).view(env.set_size, d).long().tolist()):
                expected[m, sum(bit << i for i, bit in enumerate(row))] += chance
            worths.append(float((vector.double() @ torch.tensor(weights, dtype=torch.float64)).max()))
            chances.append(chance)
        np.testing.assert_allclose(outcomes[:, question], expected, rtol=0, atol=1e-12)
        assert torch.equal(env.outcomes(table, torch.tensor([question])), outcomes[:, question : question + 1])
        worths, chances = np.array(worths), np.array(chances)
        # Rewards are float32: mixed ones, below 4 in size, are off by up to 1e-6; those as found are whole numbers.
        off = 1e-12 if env.common == 0 else 4e-6
        assert float(best[1][question]) == pytest.approx(chances @ worths, abs=off)
        pairs = np.maximum.outer(worths, worths)
        assert float(best[2][question]) == pytest.approx(chances @ pairs @ chances, abs=off)


@pytest.mark.parametrize("common", [-4.0, -0.5, 0.5, 1.0])
def test_what_components_share_moves_the_vector_and_nothing_else(common):
    plain, moved = (make("tool_search", **SMALL, set_size=2, common=c) for c in (0.0, common))
    assert torch.equal(plain.bank.works, moved.bank.works) and plain.optimum() == moved.optimum()
    table = random_table(plain)
    assert torch.equal(plain.outcomes(table), moved.outcomes(table))
    random = np.random.default_rng(2)
    for _ in range(50):
        state = play(plain, int(random.integers(60)), random.integers(4, size=4).tolist())[-1]
        found, vector = plain.reward_vector(state), moved.reward_vector(state)
        assert torch.equal(plain.reward(state), moved.reward(state))
        assert torch.allclose(found.mean(-1), vector.mean(-1), rtol=0, atol=1e-6)
        # What stands between two components is (1 - common) of what did.
        gap, less = (v[..., 0] - v[..., 1] for v in (found, vector))
        assert torch.allclose(less, (1 - common) * gap, rtol=0, atol=1e-6)


@pytest.mark.parametrize("common", [-4.0, -1.0, 0.25, 0.9])
def test_the_correlation_of_independent_components_is_the_one_that_is_documented(common):
    """All 16 outcomes alike: independent components of equal variance."""
    rewards = make("tool_search", common=common).outcome_rewards()
    share = 2 * common - common**2
    expected = share / (4 * (1 - common) ** 2 + share)
    correlation = torch.corrcoef(rewards.T)
    assert correlation[~torch.eye(4, dtype=torch.bool)].tolist() == pytest.approx([expected] * 12, abs=1e-12)
    assert expected > -1 / 3


def test_pass_at_k_of_the_scalar_is_best_of_k_of_the_answer():
    env = make("tool_search", questions=300)
    table, reward = random_table(env), env.evaluate(random_table(env)).reward
    for k in (1, 8, 64):
        assert torch.allclose(truth.best_of_k(env, table, [0, 0, 0, 1], k), pass_at_k_exact(reward, k), atol=1e-12)


@pytest.mark.parametrize("policy", ["uniform", "optimum", "random"])
def test_pass_at_k_on_the_bank_is_what_sampling_shows(policy):
    """Groups of 4 responses that share their question's frozen outcomes."""
    env = make("tool_search", questions=500)
    table = {"uniform": env.uniform(), "optimum": env.best_at_k(1, "all").table, "random": random_table(env)}[policy]
    random, repeats, k = np.random.default_rng(1), 60, 4
    state = env.reset(env.prompts().repeat(repeats * k))
    for _ in range(env.horizon):
        log_probs = table[env.context_index(env.observe(state))].numpy()
        state = env.step(state, torch.from_numpy((log_probs + random.gumbel(size=log_probs.shape)).argmax(-1)))
    best = env.reward(state).view(repeats, k, 500).amax(1).double()
    exact = pass_at_k_exact(env.evaluate(table).reward, k)
    deviation = float((best.var(0) / repeats).sum().sqrt()) / 500
    assert abs(float((best.mean(0) - exact).mean())) < Z * deviation + 1e-9


def test_a_fresh_question_is_the_mean_over_many_banks():
    for knobs in ({}, {"retry": True, "calls": 4}, {"guess": True, "shift": "index"}):
        env = make("tool_search", questions=12_000, **knobs)
        table = random_table(env, scale=1.0)
        reward, measures = env.evaluate(table).reward, env.measures(table)
        for split in ("train", "test"):
            mine = reward[env.prompts(split)]
            error = float(mine.mean() - measures[f"reward_fresh_{split}"])
            assert abs(error) < Z * float(mine.std()) / math.sqrt(len(mine))


def test_the_plan_is_what_happens_when_all_tools_work():
    ideal = dict.fromkeys(("dominant", "specialist", "other", "weak"), 1.0)
    for knobs in ({}, {"guess": True}, {"retry": True, "calls": 4}, {"set_size": 2}):
        env = make("tool_search", questions=200, **knobs)
        twin = make("tool_search", questions=200, **knobs, **ideal)
        table = random_table(env)
        cue = env.bank.cue[env.prompts("train")]
        by_cue = {int(twin.bank.cue[q]): float(twin.evaluate(table).entropy[q]) for q in range(200)}
        expected = sum(by_cue[c] for c in cue.tolist()) / len(cue) / env.set_size
        assert float(env.measures(table)["plan_entropy"]) == pytest.approx(expected, rel=1e-10)


def test_measures_have_free_leading_axes():
    env = make("tool_search", questions=50, guess=True)
    tables = torch.stack([random_table(env, seed) for seed in range(6)]).view(2, 3, -1, env.vocabulary)
    for name, value in env.measures(tables).items():
        assert value.shape == (2, 3)
        for i, j in itertools.product(range(2), range(3)):
            assert float(value[i, j]) == pytest.approx(float(env.measures(tables[i, j])[name]), rel=1e-12)
    assert env.outcomes(tables).shape == (2, 3, 1, 50, 16)


def test_questions_are_taken_in_parts_without_a_seam(monkeypatch):
    env = make("tool_search", questions=37, retry=True)
    table = random_table(env)
    whole = env.evaluate(table)
    monkeypatch.setattr(truth, "MAX_ENTRIES", 3000)
    parts = env.evaluate(table)
    assert torch.equal(parts.reward, whole.reward) and torch.equal(parts.entropy, whole.entropy)


# -- optima ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "knobs",
    [
        SMALL,
        {**SMALL, "guess": True, "by_heart": 0.8},
        {**SMALL, "set_size": 2},
        {"clusters": 1, "tools": 3, "hops": 2, "questions": 40, "set_size": 3},
    ],
)
def test_the_optimum_is_that_of_brute_force_and_is_attained(knobs):
    env = make("tool_search", **knobs)
    lengths = range(env.hops) if env.guess else ()
    plans = [(*p, env.tools) for n in lengths for p in itertools.product(range(env.tools), repeat=n)]
    plans += itertools.product(range(env.tools), repeat=env.hops)
    right = {}
    for question, plan in itertools.product(range(env.n_prompts), plans):
        filled = (*plan, *(0,) * (env.hops - len(plan)))
        right[question, plan] = plain_result(env, question, filled)[0][-1]
    most = 0
    for cue in range(env.clusters):
        mine = (env.bank.cue == cue).nonzero().flatten().tolist()
        sets = itertools.combinations_with_replacement(plans, env.set_size)
        most += max(sum(max(right[q, plan] for plan in chosen) for q in mine) for chosen in sets)
    assert env.optimum() == pytest.approx(most / env.n_prompts, rel=1e-14)
    best = env.best_at_k(1, "all")
    assert best.worth == pytest.approx(env.optimum(), rel=1e-14)
    assert float(env.evaluate(best.table).reward.mean()) == pytest.approx(best.worth, rel=1e-14)


def test_no_table_policy_beats_the_optimum():
    env = make("tool_search", questions=400)
    for seed in range(20):
        assert float(env.evaluate(random_table(env, seed, scale=4.0)).reward.mean()) <= env.optimum()


def plain_bayes(env, split="train"):
    """Expectimax over everything that can happen: worlds are (cluster, outcomes) with their probabilities."""
    chance, rho = (x.numpy() if isinstance(x, torch.Tensor) else x for x in env.chances(split))
    worlds = []
    for c in range(env.clusters):
        prior = rho * (c == 0) + (1 - rho) / env.clusters
        for bits in itertools.product((0, 1), repeat=env.hops * env.tools):
            works = np.array(bits).reshape(env.hops, env.tools)
            worlds.append((works, prior * np.prod(np.where(works, chance[c], 1 - chance[c]))))

    def value(possible, hop, failed, left):
        """Probability mass of success under the best continuation, in the worlds that are still possible."""
        if hop == env.hops:
            return sum(p for _, p in possible)
        best = sum(p for _, p in possible) * env.by_heart ** (env.hops - hop) if env.guess and left else 0.0
        for tool in set(range(env.tools)) - failed if left else ():
            hit = [w for w in possible if w[0][hop, tool]]
            miss = [w for w in possible if not w[0][hop, tool]]
            worth = value(hit, hop + 1, set(), left - 1) if hit else 0.0
            if env.retry and miss:
                worth += value(miss, hop, failed | {tool}, left - 1)
            best = max(best, worth)
        return best

    return value(worlds, 0, set(), env.calls_per_answer)


@pytest.mark.parametrize(
    "knobs",
    [
        {"clusters": 2, "tools": 4, "hops": 2, "retry": True, "calls": 3},
        {"clusters": 2, "tools": 4, "hops": 2, "retry": True, "calls": 4, "rho": 0.0, "dominant": 0.5},
        {"clusters": 2, "tools": 4, "hops": 2, "retry": True, "calls": 3, "guess": True, "by_heart": 0.6},
        {"clusters": 2, "tools": 4, "hops": 2, "guess": True, "by_heart": 0.8},
        {"clusters": 1, "tools": 3, "hops": 2, "retry": True, "calls": 5},
    ],
)
def test_the_bayes_adaptive_optimum_is_that_of_expectimax_over_all_worlds(knobs):
    env = make("tool_search", **knobs)
    assert bayes_optimum(env) == pytest.approx(plain_bayes(env), rel=1e-12)


def test_with_retries_the_optimum_is_that_of_each_split_by_itself():
    env = make("tool_search", retry=True, calls=4, shift="index", train_share=0.25)
    train, test = bayes_optimum(env, "train"), bayes_optimum(env, "test")
    assert test < train
    assert env.optimum("train") == pytest.approx(train, rel=1e-14)
    assert env.optimum() == pytest.approx(0.25 * train + 0.75 * test, rel=1e-14)


@pytest.mark.parametrize("k", [1, 2, 8])
def test_the_best_mixture_is_no_worse_than_any_table_and_no_better_than_its_bound(k):
    env = make("tool_search", questions=200, guess=True)
    mixture, product = env.best_mixture_at_k(k), env.best_at_k(k)
    assert product.worth <= mixture.bound + 1e-12
    assert mixture.worth <= mixture.bound <= mixture.worth + 2e-6
    # The value of the shares, plan by plan, by the rules.
    right = torch.zeros(100, len(mixture.plans), dtype=torch.float64)
    for question, (n, plan) in itertools.product(range(100), enumerate(mixture.plans)):
        right[question, n] = plain_result(env, question, (*plan, *(0,) * (3 - len(plan))))[0][-1]
    success = (right * mixture.share[env.bank.cue[:100]]).sum(-1)
    assert float(pass_at_k_exact(success, k).mean()) == pytest.approx(mixture.worth, abs=1e-9)
    random = np.random.default_rng(0)
    for _ in range(20):
        share = torch.from_numpy(random.dirichlet(np.full(len(mixture.plans), 0.05), size=env.clusters))
        other = pass_at_k_exact((right * share[env.bank.cue[:100]]).sum(-1), k).mean()
        assert float(other) <= mixture.bound


@pytest.mark.parametrize("knobs", [{}, {"set_size": 2}, {"retry": True, "calls": 3, "hops": 2}])
def test_the_ascent_to_pass_at_k_ends_where_no_small_step_leads_up(knobs):
    env = make("tool_search", questions=80, **knobs)
    best = env.best_at_k(8)
    train = env.prompts("train")

    def worth(table):
        return float(pass_at_k_exact(env.evaluate(table).reward[train], 8).mean())

    assert worth(best.table) == pytest.approx(best.worth, abs=1e-9)
    random = np.random.default_rng(0)
    for scale in (0.01, 0.1, 1.0):
        for _ in range(10):
            other = best.table + torch.from_numpy(random.normal(scale=scale, size=best.table.shape))
            legal = env.legal_at(env.contexts())
            other = other if legal is None else other.masked_fill(~legal, ILLEGAL)
            assert worth(other.log_softmax(-1)) <= best.worth + 1e-7
    assert best.worth > max(worth(env.uniform()), worth(env.demonstrator().double()))


@pytest.mark.parametrize("knobs", [{"retry": True}, {"set_size": 2}])
def test_mixtures_of_plans_are_for_one_answer_without_retries(knobs):
    with pytest.raises(ToybedError, match="best_mixture_at_k needs retry=False and set_size=1"):
        make("tool_search", **knobs).best_mixture_at_k(4)


# -- demonstrations ----------------------------------------------------------------------------------------------------
def test_the_demonstrator_calls_by_habit_among_what_is_legal():
    env = make("tool_search", retry=True, guess=True, calls=4)
    table = env.demonstrator(habit=0.5, guesses=0.1).exp()
    start = env.context_index(env.observe(env.reset(torch.tensor(0))))
    assert table[start].tolist() == pytest.approx([0.45, *[0.09] * 5, 0.1], rel=1e-5)
    legal = env.legal_at(env.contexts())
    assert (table[~legal] == 0).all()
    assert torch.allclose(table.sum(-1), torch.ones(()), rtol=0, atol=1e-6)
    over = env.contexts()[:, 1] == env.hops
    assert (table[over, 0] == 1).all()
    with pytest.raises(ToybedError, match=r"tool_search: habit is 1\.5; allowed: 0 to 1"):
        env.demonstrator(habit=1.5)
