"""Sampling: no token without mass, the right frequencies, and a record that agrees with policy and world."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from toybed.agents.choices import choose
from toybed.agents.policies import ILLEGAL, make_policy
from toybed.agents.rollout import draw_prompts, response_log_probs, rollout, sample_tokens
from toybed.agents.supervised import demonstrations
from toybed.envs import make
from toybed.envs.chain_reach import ChainReach
from toybed.measures.entropy import token_entropy
from toybed.streams import Streams

ALMOST_ONE = float(np.nextafter(np.float32(1), np.float32(0)))
CHANCE = 1e-6  # with which each chi-square comparison fails a right program

WORLDS = {
    "chain": ChainReach(modulus=7, operations=3, length=3),
    "bandit": make("answer_bandit", prompt_count=5),
    "chain of tokens": ChainReach(modulus=7, operations=3, length=3, view="tokens"),
    "one token": ChainReach(modulus=7, operations=3, length=1, view="tokens"),
    "noisy bandit": make("answer_bandit", prompt_count=5, true_positive=0.7, false_positive=0.2),
}
every_world = pytest.mark.parametrize("env", WORLDS.values(), ids=WORLDS)
OPTIONS = {"tabular": {}, "mlp": {"width": 32}, "gru": {"width": 32}, "transformer": {"width": 32}}
every_policy_in_every_world = pytest.mark.parametrize(
    ("env", "name"),
    [
        pytest.param(env, name, id=f"{name} in {world}")
        for world, env in WORLDS.items()
        for name in OPTIONS
        if env.reading is not None or name in ("tabular", "mlp")
    ],
)


def some_policy(name, env, runs=2):
    policy = make_policy(name, env, range(runs), **OPTIONS[name])
    if name == "tabular":
        policy.set_table(torch.from_numpy(np.random.default_rng(3).normal(size=policy.logits.shape)).float())
    return policy


# -- one token ---------------------------------------------------------------------------------------------------------
@given(
    logits=st.lists(st.floats(-30, 30, width=32), min_size=2, max_size=40),
    legal=st.data(),
    uniform=st.one_of(st.sampled_from([0.0, ALMOST_ONE]), st.floats(0, ALMOST_ONE, width=32)),
)
def test_a_token_without_mass_is_never_sampled(logits, legal, uniform):
    mask = legal.draw(st.lists(st.booleans(), min_size=len(logits), max_size=len(logits)).filter(any))
    masked = torch.tensor(logits).masked_fill(~torch.tensor(mask), ILLEGAL)
    log_probs = torch.log_softmax(masked, -1)
    token = int(sample_tokens(log_probs, torch.tensor(uniform)))
    assert 0 <= token < len(logits)
    assert float(log_probs[token].exp()) > 0


@pytest.mark.parametrize("uniform", [0.0, 1e-45, 0.5, ALMOST_ONE])
@pytest.mark.parametrize("only", [0, 3, 7])
def test_the_only_token_with_mass_is_always_sampled(uniform, only):
    log_probs = torch.full((8,), -torch.inf)
    log_probs[only] = 0.0
    assert int(sample_tokens(log_probs, torch.tensor(uniform))) == only


def test_the_ends_of_the_unit_interval_are_the_first_and_last_token_with_mass():
    # V = 1000 equal float32 masses sum to 1 only up to rounding; neither end may fall off the vocabulary.
    for size in (3, 7, 1000, 4096):
        log_probs = torch.full((size + 4,), -torch.inf)
        log_probs[2:-2] = -math.log(size)
        assert int(sample_tokens(log_probs, torch.tensor(0.0))) == 2
        assert int(sample_tokens(log_probs, torch.tensor(ALMOST_ONE))) == size + 1


def test_sampling_inverts_the_cumulative_distribution():
    log_probs = torch.tensor([0.25, 0.0, 0.5, 0.25]).log()  # exact in float32
    uniform = torch.tensor([0.0, 0.2499, 0.25, 0.7499, 0.75, ALMOST_ONE])
    assert sample_tokens(log_probs.expand(6, 4), uniform).tolist() == [0, 0, 2, 2, 3, 3]


def test_token_frequencies_match_the_probabilities():
    probability = np.array([0.5, 0.3, 0.1, 0.05, 0.04, 0.01])
    draws = 200_000
    uniform = torch.from_numpy(np.random.default_rng(0).random(draws, dtype=np.float32))
    token = sample_tokens(torch.from_numpy(probability).float().log().expand(draws, 6), uniform)
    counts = np.bincount(token.numpy(), minlength=6)
    statistic = ((counts - draws * probability) ** 2 / (draws * probability)).sum()
    assert statistic < stats.chi2.isf(CHANCE, df=5)


# -- prompts -----------------------------------------------------------------------------------------------------------
def test_prompts_are_drawn_uniformly_from_the_pool():
    pool = torch.tensor([3, 8, 9, 20, 41])
    prompt = draw_prompts(pool, 20_000, Streams("rollout", [0, 1]))
    assert prompt.shape == (2, 20_000)
    for run in range(2):
        values, counts = prompt[run].unique(return_counts=True)
        assert torch.equal(values, pool)
        statistic = ((counts - 4000.0) ** 2 / 4000).sum()
        assert float(statistic) < stats.chi2.isf(CHANCE, df=4)
    assert not torch.equal(prompt[0], prompt[1])


@pytest.mark.parametrize(("uniform", "place"), [(0.0, 0), (ALMOST_ONE, -1)])
@pytest.mark.parametrize("size", [1, 3, 5, 64, 961, 2**24 + 1])
def test_the_smallest_and_largest_draw_are_the_ends_of_the_pool(uniform, place, size):
    class Fixed(Streams):
        def uniform(self, shape, runs=None):
            return torch.full((len(self), *shape), uniform)

    pool = torch.arange(size, dtype=torch.int32)
    # beyond 2^24 prompts float32 has no number for each of them: one off is right there
    assert abs(int(draw_prompts(pool, 1, Fixed("x", [0]))) - int(pool[place])) <= (size > 2**24)


# -- responses ---------------------------------------------------------------------------------------------------------
@every_policy_in_every_world
def test_what_is_recorded_is_what_the_policy_says_of_it(env, name):
    policy = some_policy(name, env)
    streams = Streams("rollout", [4, 5])
    sample = rollout(env, policy, draw_prompts(env.prompts(), 6, streams), 5, streams)
    shape = (2, 6, 5, env.horizon)
    assert sample.token.shape == sample.log_prob.shape == sample.entropy.shape == shape
    assert sample.observation.shape == (*shape, len(env.observation_sizes))
    assert sample.reward.shape == shape[:3] and sample.legal is None
    log_probs = policy.log_probs(sample.observation)
    # The same float32 network, evaluated in batches of another shape: some roundings of log-probabilities below 20.
    assert torch.allclose(sample.log_prob, choose(log_probs, sample.token), rtol=0, atol=1e-5)
    assert torch.allclose(sample.entropy, token_entropy(log_probs), rtol=0, atol=1e-5)
    shared = response_log_probs(env, policy, sample.observation, None)
    assert shared.requires_grad and not sample.log_prob.requires_grad
    assert torch.allclose(shared, log_probs, rtol=0, atol=1e-5)


@every_policy_in_every_world
def test_sharing_the_first_state_keeps_the_gradient(env, name):
    policy = some_policy(name, env)
    streams = Streams("rollout", [4, 5])
    sample = rollout(env, policy, draw_prompts(env.prompts(), 6, streams), 5, streams)
    weight = torch.from_numpy(np.random.default_rng(0).normal(size=sample.token.shape)).float()
    gradients = []
    for log_probs in (
        response_log_probs(env, policy, sample.observation, None),
        policy.log_probs(sample.observation),
    ):
        loss = (choose(log_probs, sample.token) * weight).sum()
        gradients.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(policy.parameters()))]))
    # float32 sums of 2 * 6 * 5 * 3 terms of size 1 in another order
    assert torch.allclose(*gradients, rtol=1e-4, atol=1e-4)
    assert gradients[0].abs().max() > 1e-2


@every_policy_in_every_world
def test_the_world_replayed_gives_the_recorded_observations_and_rewards(env, name):
    policy = some_policy(name, env)
    streams, again = Streams("rollout", [4, 5]), Streams("rollout", [4, 5])
    prompt = draw_prompts(env.prompts("train"), 8, streams)
    sample = rollout(env, policy, prompt, 5, streams)
    assert torch.equal(sample.prompt, prompt)
    assert torch.isin(prompt, env.prompts("train")).all()
    draw_prompts(env.prompts("train"), 8, again)
    noise = again.uniform((env.horizon + env.noise, 8, 5))[:, env.horizon :].movedim(1, -1) if env.noise else None
    state = env.reset(prompt[..., None].expand(2, 8, 5), noise)
    for t in range(env.horizon):
        assert torch.equal(sample.observation[..., t, :], env.observe(state))
        state = env.step(state, sample.token[..., t])
    assert torch.equal(sample.reward, env.reward(state))


@every_world
def test_response_frequencies_match_the_policy(env):
    """All V^T responses of one prompt, pooled where fewer than 10 are expected; 27 or 16 kinds at most."""
    policy = some_policy("tabular", env, runs=1)
    draws = 20_000
    sample = rollout(env, policy, torch.full((1, 1), 3), draws, Streams("rollout", [6]))
    place = env.vocabulary ** torch.arange(env.horizon - 1, -1, -1)
    counts = (sample.token[0, 0] * place).sum(-1).bincount(minlength=env.vocabulary**env.horizon).numpy()
    log_prob, reward = env.enumerate_responses(policy.table(env)[0].double(), torch.tensor([3]))
    expected = draws * log_prob[0].exp().numpy()
    often = expected >= 10
    counts, expected = (np.append(x[often], x[~often].sum()) for x in (counts, expected))
    keep = expected > 1e-3
    statistic = ((counts - expected)[keep] ** 2 / expected[keep]).sum()
    assert statistic < stats.chi2.isf(CHANCE, df=int(keep.sum()) - 1)
    if not env.noise:
        assert torch.equal(sample.reward[0, 0], reward[0, (sample.token[0, 0] * place).sum(-1)])


@every_world
def test_runs_that_do_not_draw_keep_their_streams(env):
    policy = some_policy("tabular", env, runs=3)
    streams, twin = Streams("rollout", [1, 2, 3]), Streams("rollout", [1, 2, 3])
    drawing = [True, False, True]
    prompt = draw_prompts(env.prompts(), 4, streams, drawing)
    partial = rollout(env, policy, prompt, 3, streams, drawing)
    full = rollout(env, policy, draw_prompts(env.prompts(), 4, twin), 3, twin)
    for run in (0, 2):
        for a, b in zip(partial, full, strict=True):
            assert a is b is None or torch.equal(a[run], b[run])
    # run 1 has drawn nothing: its next numbers are its first
    first = Streams("rollout", [2]).uniform((5,))[0]
    after, twin_after = streams.uniform((5,)), twin.uniform((5,))
    assert torch.equal(after[1], first)
    assert torch.equal(after[[0, 2]], twin_after[[0, 2]])


def test_demonstrations_are_the_tables_responses_to_train_prompts():
    env = WORLDS["chain"]
    table = env.demonstrator(style=None)
    demo = demonstrations(env, env.demonstrate(style=None), 500, Streams("demonstrations", [0, 1]))
    assert demo.token.shape == (2, 500, 1, 3)
    assert torch.isin(demo.prompt, env.prompts("train")).all()
    solvable = env.solutions(demo.prompt) > 0
    # Without noise no wrong token has mass above 1e-38: every response to a solvable prompt is right.
    assert torch.equal(demo.reward[..., 0] == 1, solvable)
    assert torch.equal(demo.log_prob, choose(table[env.context_index(demo.observation)], demo.token))
