"""Every world's truth against something slower and more obvious: plain loops, brute force, Monte Carlo."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from toybed.envs import make
from toybed.envs.chain_reach import ChainReach
from toybed.envs.core import ILLEGAL, TokenEnv
from toybed.errors import ToybedError
from toybed.measures.divergence import kl_divergence

# Monte Carlo comparisons ask |z| < 4.5: under the normal law a right program fails one of them with 6.8e-6.
Z = 4.5

SMALL = ChainReach(modulus=7, operations=3, length=3)
TOKENS = replace(SMALL, view="tokens")
WORLDS = {
    "small chain": SMALL,
    "small chain of tokens": TOKENS,
    "one token, odd sizes": ChainReach(modulus=5, operations=4, length=1, table_seed=2, view="tokens"),
    "short chain, odd sizes": ChainReach(modulus=5, operations=4, length=2, train_share=0.4, table_seed=9),
    "default chain": ChainReach(),
    "default bandit": make("answer_bandit"),
    "search": make("tool_search", clusters=2, tools=4, hops=2, questions=36, table_seed=2),
    "guesses, sets": make("tool_search", clusters=1, tools=3, hops=2, questions=4, guess=True, set_size=2),
    # Tools that work seldom: all of them fail at some hop, and a turn must pass.
    "retries": make(
        "tool_search", clusters=1, tools=3, hops=2, questions=8, retry=True, calls=4, dominant=0.3, specialist=0.4
    ),
    "retries, guesses": make("tool_search", clusters=1, tools=3, hops=1, questions=6, retry=True, calls=4, guess=True),
    "default search": make("tool_search"),
    "bandit with a trap": make("answer_bandit", prompt_count=6, answers=5, correct=2, rank=3, trap=0.5, table_seed=4),
}
every_world = pytest.mark.parametrize("env", WORLDS.values(), ids=WORLDS)
small_world = pytest.mark.parametrize(
    "env", [env for env in WORLDS.values() if env.n_prompts <= 49 and len(env.contexts()) < 1000], ids=repr
)


def policies(env):
    """Uniform, the demonstrator, and a random table with probabilities from 1e-3 to nearly 1: float64 ``[3, C, V]``.

    Illegal tokens have none.
    """
    shape = (len(env.contexts()), env.vocabulary)
    random = torch.from_numpy(np.random.default_rng(11).normal(scale=2.0, size=shape))
    logits = torch.stack([torch.zeros(shape), env.demonstrator().double(), random])
    legal = env.legal_at(env.contexts())
    return (logits if legal is None else logits.masked_fill(~legal, ILLEGAL)).log_softmax(-1)


def plain_responses(env, table, prompt):
    """Every response in lexicographic order, one at a time: ``(log_prob, reward)`` lists."""
    log_probs, rewards = [], []
    for tokens in itertools.product(range(env.vocabulary), repeat=env.horizon):
        state, total = env.reset(torch.tensor(prompt)), 0.0
        for token in tokens:
            total += float(table[int(env.context_index(env.observe(state))), token])
            state = env.step(state, torch.tensor(token))
        log_probs.append(total)
        rewards.append(float(env.reward(state)))
    return log_probs, rewards


@small_world
def test_enumeration_is_the_plain_loop_over_all_responses(env):
    tables = policies(env)
    log_prob, reward = env.enumerate_responses(tables, env.prompts())
    assert log_prob.shape == (3, env.n_prompts, env.vocabulary**env.horizon)
    assert reward.shape == log_prob.shape[1:]
    # sums of at most 3 float64 numbers of size 10
    assert torch.allclose(log_prob.exp().sum(-1), torch.ones(()).double(), rtol=0, atol=1e-12)
    for prompt in range(0, env.n_prompts, 3):
        for which, table in enumerate(tables):
            expected, paid = plain_responses(env, table, prompt)
            np.testing.assert_allclose(log_prob[which, prompt], expected, rtol=0, atol=1e-12)
            np.testing.assert_array_equal(reward[prompt], paid)


def test_enumeration_follows_the_given_prompts():
    table = policies(SMALL)[2]
    everything = SMALL.enumerate_responses(table, SMALL.prompts())
    chosen = torch.tensor([40, 3, 3, 17])
    log_prob, reward = SMALL.enumerate_responses(table, chosen)
    assert torch.equal(log_prob, everything[0][chosen]) and torch.equal(reward, everything[1][chosen])


def test_too_many_responses_are_refused():
    env = make("chain_reach", length=8)
    with pytest.raises(ToybedError, match="ChainReach: 16777216 responses are too many to enumerate"):
        env.enumerate_responses(policies(env)[0], env.prompts())


@every_world
def test_evaluation_is_enumeration(env):
    tables = policies(env)
    exact = env.evaluate(tables)
    by_hand = TokenEnv.evaluate(env, tables)
    assert exact.reward.shape == exact.entropy.shape == (3, env.n_prompts)
    # float64, sums of at most 4096 terms: rounding below 1e-12, a wrong step is of order 1e-2
    assert torch.allclose(exact.reward, by_hand.reward, rtol=0, atol=1e-11)
    assert torch.allclose(exact.entropy, by_hand.entropy, rtol=0, atol=1e-10)
    assert torch.allclose(env.evaluate(tables[2]).reward, exact.reward[2], rtol=0, atol=1e-14)


@small_world
def test_evaluation_is_the_plain_sum_over_responses(env):
    for table in policies(env):
        exact = env.evaluate(table)
        for prompt in range(0, env.n_prompts, 4):
            log_probs, rewards = (np.array(x) for x in plain_responses(env, table, prompt))
            assert float(exact.reward[prompt]) == pytest.approx(np.exp(log_probs) @ rewards, abs=1e-12)
            assert float(exact.entropy[prompt]) == pytest.approx(-np.exp(log_probs) @ log_probs, abs=1e-11)


@every_world
def test_evaluation_is_what_sampling_shows(env):
    """Monte Carlo, by a sampler of its own: 12 worlds, 3 policies, 2 measures: a right program fails with 5e-4."""
    random = np.random.default_rng(0)
    repeats = max(40_000 // env.n_prompts, 40)
    prompts = env.prompts().repeat(repeats)
    for table in policies(env):
        state, surprise = env.reset(prompts), np.zeros(len(prompts))
        for _ in range(env.horizon):
            log_probs = table[env.context_index(env.observe(state))].numpy()
            # Gumbel's trick, not the inverse CDF of the program under test
            token = (log_probs + random.gumbel(size=log_probs.shape)).argmax(-1)
            surprise -= log_probs[np.arange(len(token)), token]
            state = env.step(state, torch.from_numpy(token))
        exact = env.evaluate(table)
        pairs = ((env.reward(state).double().numpy(), exact.reward), (surprise, exact.entropy))
        for sampled, expected in pairs:
            error = (sampled.reshape(repeats, -1) - expected.numpy()).mean()
            # each prompt was sampled equally often, so only the spread within a prompt counts
            spread = sampled.reshape(repeats, -1).std(0, ddof=1)
            deviation = math.sqrt((spread**2).sum() / repeats) / env.n_prompts
            assert abs(error) < Z * deviation + 1e-9  # uniform: every surprise is the same number


@pytest.mark.parametrize("env", [SMALL, TOKENS], ids=repr)
@pytest.mark.parametrize("shape", [(), (2,), (2, 3)])
def test_evaluation_has_free_leading_axes(shape, env):
    random = np.random.default_rng(3).normal(size=(*shape, len(env.contexts()), 3))
    table = torch.from_numpy(random).log_softmax(-1)
    exact = env.evaluate(table)
    assert exact.reward.shape == (*shape, 49)
    for index in np.ndindex(shape):
        alone = env.evaluate(table[index])
        assert torch.allclose(exact.reward[index], alone.reward, rtol=0, atol=1e-14)
        assert torch.allclose(exact.entropy[index], alone.entropy, rtol=0, atol=1e-13)


# -- ChainReach --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("env", [SMALL, WORLDS["short chain, odd sizes"]], ids=repr)
def test_operations_are_distinct_affine_bijections(env):
    m = env.modulus
    columns = []
    for token in range(env.operations):
        state = env.reset(torch.arange(m) * m)
        column = env.step(state, torch.full((m,), token)).value.tolist()
        slope = (column[1] - column[0]) % m
        assert slope != 0
        assert column == [(slope * x + column[0]) % m for x in range(m)]
        assert sorted(column) == list(range(m))
        columns.append(tuple(column))
    assert len(set(columns)) == env.operations


def test_reward_is_paid_only_at_the_end():
    # Start at the goal: any chain that passes the goal early is not paid for it.
    env = SMALL
    for tokens in itertools.product(range(3), repeat=3):
        state = env.reset(torch.tensor(2 * 7 + 2))
        for t, token in enumerate(tokens):
            assert float(env.reward(state)) == 0
            state = env.step(state, torch.tensor(token))
            assert int(state.time) == t + 1
        assert float(env.reward(state)) == float(int(state.value) == 2)


@pytest.mark.parametrize("env", [SMALL, WORLDS["short chain, odd sizes"], ChainReach()], ids=repr)
def test_solutions_counted_by_dynamic_programming_are_those_of_brute_force(env):
    _, reward = env.enumerate_responses(policies(env)[0], env.prompts())
    assert torch.equal(env.solutions(env.prompts()), (reward == 1).sum(-1))
    for prompt in range(0, env.n_prompts, env.n_prompts // 3):
        if env.modulus <= 7:
            assert int(env.solutions(torch.tensor(prompt))) == sum(plain_responses(env, policies(env)[0], prompt)[1])


@pytest.mark.parametrize("env", [SMALL, ChainReach(modulus=13, operations=5, length=6), ChainReach()], ids=repr)
def test_every_chain_ends_in_exactly_one_goal(env):
    counts = env.counts()
    for steps in range(env.length + 1):
        assert (counts[steps].sum(-1) == env.operations**steps).all()
        assert (counts[steps].sum(-2) == env.operations**steps).all()  # bijections: and begins in exactly one start
    solutions = env.solutions(env.prompts()).view(env.modulus, env.modulus)
    assert (solutions.sum(-1) == env.operations**env.length).all()


def test_weighted_counts_are_sums_of_products():
    weights = (2.0, 0.5, 3.0)
    expected = np.zeros((7, 7))
    for start, tokens in itertools.product(range(7), itertools.product(range(3), repeat=3)):
        state = SMALL.reset(torch.tensor(start * 7))
        for token in tokens:
            state = SMALL.step(state, torch.tensor(token))
        expected[start, int(state.value)] += np.prod([weights[token] for token in tokens])
    np.testing.assert_allclose(SMALL.counts(weights)[-1], expected, rtol=1e-13)


@pytest.mark.parametrize("env", [SMALL, ChainReach(modulus=13, operations=5, length=5), ChainReach()], ids=repr)
def test_uniform_over_solutions_has_entropy_log_n_and_reward_one(env):
    exact = env.evaluate(env.demonstrator(style=None).double())
    solutions = env.solutions(env.prompts())
    solvable = solutions > 0
    assert solvable.any()
    # A float32 table: each log-probability is off by 2^-24 of itself, at most log(V^L) < 9 over a sequence: 1e-6;
    # the entropy, a sum of p log p, by at most log(V^L) times that: 1e-5.
    assert torch.allclose(exact.reward[solvable], torch.ones(()).double(), rtol=0, atol=3e-6)
    assert torch.allclose(exact.entropy[solvable], solutions[solvable].double().log(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("style", ["default", None, (1.0, 5.0, 0.2)])
@pytest.mark.parametrize("noise", [0.0, 0.35, 1.0])
def test_the_demonstrator_samples_right_chains_by_the_product_of_their_weights(style, noise):
    options = {"noise": noise} if style == "default" else {"style": style, "noise": noise}
    table = SMALL.demonstrator(**options).double()
    # float32 log-probabilities: each probability is right to 2^-24 |log p| <= 88 * 6e-8 of itself
    assert torch.allclose(table.exp().sum(-1), torch.ones(()).double(), rtol=0, atol=6e-6)
    if noise == 1.0:
        assert torch.allclose(table, torch.tensor(-math.log(3)).double(), rtol=0, atol=1e-6)
    if noise == 0.35:  # every token keeps its share of the noise
        assert float(table.exp().min()) > 0.35 / 3 - 1e-6
    if noise == 0.0 and style != "default":
        weight = np.array(style or (1.0, 1.0, 1.0))
        chains = list(itertools.product(range(3), repeat=3))
        product = torch.tensor([np.prod(weight[list(chain)]) for chain in chains], dtype=torch.float64)
        log_prob, reward = SMALL.enumerate_responses(table, SMALL.prompts())
        expected = product * reward
        solvable = expected.sum(-1) > 0
        expected = (expected / expected.sum(-1, keepdim=True))[solvable]
        assert torch.allclose(log_prob.exp()[solvable], expected, rtol=0, atol=1e-5)


def test_a_noisy_demonstrator_is_the_mixture_token_by_token():
    clean, noisy = (SMALL.demonstrator(noise=noise).double().exp() for noise in (0.0, 0.35))
    assert torch.allclose(noisy, 0.65 * clean + 0.35 / 3, rtol=0, atol=1e-6)  # float32 tables


@pytest.mark.parametrize("style", [(1.0, 2.0), (1.0, 2.0, 0.0), (1.0, 2.0, -3.0)])
def test_a_wrong_style_is_refused(style):
    with pytest.raises(ToybedError, match=r"chain_reach: style is .*; allowed: 3 positive weights, or None"):
        SMALL.demonstrator(style=style)


@pytest.mark.parametrize("knob", ["modulus", "length"])
def test_harder_knobs_lower_or_keep_random_success(knob):
    values = {"modulus": (13, 31, 61, 97), "length": (3, 4, 5)}[knob]
    baselines = [make("chain_reach", **{knob: value}).random_baseline() for value in values]
    assert baselines == sorted(baselines, reverse=True)


# -- ChainReach, the tokens view ---------------------------------------------------------------------------------------
def plain_histories(env):
    """What a policy can see, with the context of the state view that stands behind it: ``{observation: row}``."""
    seen, twin = {}, replace(env, view="state")
    for prompt, time in itertools.product(range(env.n_prompts), range(env.length)):
        for tokens in itertools.product(range(env.operations), repeat=time):
            state, behind = env.reset(torch.tensor(prompt)), twin.reset(torch.tensor(prompt))
            for token in tokens:
                state, behind = (world.step(x, torch.tensor(token)) for world, x in ((env, state), (twin, behind)))
            seen[tuple(env.observe(state).tolist())] = int(twin.context_index(twin.observe(behind)))
    return seen


@pytest.mark.parametrize("env", [TOKENS, WORLDS["one token, odd sizes"]], ids=repr)
def test_contexts_of_the_tokens_view_are_the_histories_that_can_occur(env):
    seen = plain_histories(env)
    rows = [tuple(row) for row in env.contexts().tolist()]
    assert len(rows) == len(set(rows)) == env.n_prompts * sum(env.operations**t for t in range(env.length))
    assert set(rows) == set(seen)


def test_a_history_shows_goal_start_tokens_and_blanks():
    state = TOKENS.reset(torch.tensor(2 * 7 + 5))  # from 2 to 5
    assert TOKENS.observe(state).tolist() == [5, 2, 3, 3]
    state = TOKENS.step(state, torch.tensor(1))
    assert TOKENS.observe(state).tolist() == [5, 2, 1, 3]
    state = TOKENS.step(TOKENS.step(state, torch.tensor(0)), torch.tensor(2))
    assert TOKENS.observe(state).tolist() == [5, 2, 1, 0], "no choice follows the last token: it has no entry"
    assert TOKENS.observation_sizes == (7, 7, 4, 4)


def test_a_policy_that_looks_at_the_state_behind_a_history_is_worth_the_same_in_both_views():
    seen = plain_histories(TOKENS)
    behind = torch.tensor([seen[tuple(row)] for row in TOKENS.contexts().tolist()])
    tables = policies(SMALL)
    state, tokens = SMALL.evaluate(tables), TOKENS.evaluate(tables[:, behind])
    # float64, sums of 27 terms
    assert torch.allclose(tokens.reward, state.reward, rtol=0, atol=1e-13)
    assert torch.allclose(tokens.entropy, state.entropy, rtol=0, atol=1e-12)
    for options in ({}, {"style": None, "noise": 0.35}):
        assert torch.equal(TOKENS.demonstrator(**options), SMALL.demonstrator(**options)[behind])


@pytest.mark.parametrize("method", ["prompts", "solutions", "optimum", "random_baseline"])
def test_the_view_changes_nothing_else(method):
    arguments = (SMALL.prompts(),) if method == "solutions" else ()
    one, two = (getattr(env, method)(*arguments) for env in (SMALL, TOKENS))
    assert torch.equal(torch.as_tensor(one), torch.as_tensor(two))


def test_too_many_histories_are_refused():
    env = make("chain_reach", length=5, view="tokens")
    for ask in (env.contexts, env.demonstrator, lambda: env.evaluate(torch.zeros(1, 8))):
        # 31^2 (1 + 8 + 8^2 + 8^3 + 8^4)
        with pytest.raises(ToybedError, match='chain_reach: 4498441 histories of view="tokens" are too many to list'):
            ask()


# -- AnswerBandit ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("knobs", [{}, {"correct": 1, "rank": 16}, {"rank": 1}, {"rank": 6, "trap": 0.5}])
def test_the_bandits_answers_are_paid_by_their_rank_in_the_base(knobs):
    env = make("answer_bandit", **knobs)
    order = env.demonstrator().argsort(-1, descending=True)
    by_rank = env.rewards().gather(1, order)
    expected = torch.zeros(16)
    expected[0] = env.trap
    expected[env.rank - 1 : env.rank - 1 + env.correct] = 1
    assert torch.equal(by_rank, expected.expand(64, -1))
    assert (env.solutions(env.prompts()) == env.correct).all()
    ranks = np.arange(1, 17)
    base = np.sort((1 / ranks) / (1 / ranks).sum())[::-1]
    # float32 softmax of 16 values
    np.testing.assert_allclose(env.demonstrator().exp().gather(1, order), np.tile(base, (64, 1)), rtol=2e-6)


@pytest.mark.parametrize(("true_positive", "false_positive"), [(0.8, 0.1), (0.5, 0.5), (1.0, 0.3), (0.7, 0.0), (0, 1)])
@pytest.mark.parametrize("trap", [0.0, 0.5])
def test_the_noisy_verifier_pays_as_often_as_it_says(true_positive, false_positive, trap):
    """Right answers with ``true_positive``, *any other* with ``false_positive``.

    30 binomial comparisons at |z| < 4.5: a right program fails with 2e-4.
    """
    env = make("answer_bandit", true_positive=true_positive, false_positive=false_positive, trap=trap)
    assert env.noise == 1
    truth = env.rewards()[0]
    draws = 40_000
    noise = torch.from_numpy(np.random.default_rng(0).random((draws, 1), dtype=np.float32))
    kinds = {1.0: true_positive, 0.0: false_positive} | ({trap: false_positive} if trap else {})
    for paid, chance in kinds.items():
        answer = int((truth == paid).nonzero()[0])
        state = env.step(env.reset(torch.zeros(draws, dtype=torch.int64), noise), torch.full((draws,), answer))
        reward = env.reward(state)
        assert bool(((reward == 0) | (reward == 1)).all())
        error = abs(float(reward.double().mean()) - chance)
        assert error <= Z * math.sqrt(chance * (1 - chance) / draws), f"answer of reward {paid}"


def test_a_noisy_verifier_shows_its_truth_to_exact_measures():
    noisy, clean = make("answer_bandit", true_positive=0.6, false_positive=0.3), make("answer_bandit")
    table = clean.demonstrator()
    assert torch.equal(noisy.evaluate(table).reward, clean.evaluate(table).reward)
    assert clean.noise == 0


@pytest.mark.parametrize("trap", [0.0, 0.5])
def test_mirror_descent_composes(trap):
    env = make("answer_bandit", trap=trap)
    start = env.demonstrator().double()
    step, eta = start, 0.13
    for t in range(1, 21):
        step = env.tilted(step, eta)
        # float64; 20 renormalisations of 16 numbers of size 10
        assert torch.allclose(step, env.tilted(start, eta * t), rtol=0, atol=1e-12)
    assert torch.allclose(step.exp().sum(-1), torch.ones(()).double(), rtol=0, atol=1e-14)


@pytest.mark.parametrize("beta", [0.05, 0.3, 2.0])
def test_the_tilt_is_the_optimum_of_reward_less_kl(beta):
    """``J(p) = E_p r - beta KL(p || ref)`` falls short of its maximum by exactly ``beta KL(p || p*)``."""
    env = make("answer_bandit", trap=0.5)
    reference, reward = env.demonstrator().double().log_softmax(-1), env.rewards().double()

    def worth(log_p):
        return (log_p.exp() * reward).sum(-1) - beta * kl_divergence(log_p, reference)

    best = env.tilted(reference, 1 / beta)
    closed_form = beta * torch.logsumexp(reference + reward / beta, -1)
    assert torch.allclose(worth(best), closed_form, rtol=0, atol=1e-13)
    random = np.random.default_rng(5)
    for scale in (1e-3, 0.1, 1.0, 5.0):
        for _ in range(20):
            other = (best + torch.from_numpy(random.normal(scale=scale, size=best.shape))).log_softmax(-1)
            short = worth(best) - worth(other)
            assert (short > 0).all()
            # numbers of size 50 beta / beta cancel: 1e-12
            assert torch.allclose(short, beta * kl_divergence(other, best), rtol=0, atol=1e-12)


def test_the_tilt_keeps_the_ratios_among_equally_paid_answers():
    env = make("answer_bandit", trap=0.5)
    base = env.demonstrator().double()
    change = env.tilted(base, 3.0) - base
    for prompt in range(env.n_prompts):
        shift = {}
        for paid in (0.0, 0.5, 1.0):
            values = change[prompt, env.rewards()[prompt] == paid]
            assert float(values.max() - values.min()) < 1e-13
            shift[paid] = float(values[0])
        assert shift[1.0] - shift[0.0] == pytest.approx(3.0, abs=1e-12)
        assert shift[0.5] - shift[0.0] == pytest.approx(1.5, abs=1e-12)
