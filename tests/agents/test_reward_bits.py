"""Bits of a reward, exactly, against enumeration response by response."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from toybed.agents.probes.reward_bits import entropy_bits, reward_bits, right_step_chances, shuffled
from toybed.envs import make
from toybed.envs.core import TokenEnv
from toybed.errors import ToybedError

CLOSE = {"rtol": 1e-12, "atol": 1e-12}  # float64 sums of at most some thousand chances: rounding is below 1e-13


def random_table(env: TokenEnv, seed: int, runs: int = 2) -> torch.Tensor:
    contexts = env.contexts()
    logits = torch.randn(runs, len(contexts), env.vocabulary, generator=torch.Generator().manual_seed(seed)).double()
    legal = env.legal_at(contexts)
    return (logits if legal is None else logits.masked_fill(~legal, -1e9)).log_softmax(-1)


def counted(env: TokenEnv, table: torch.Tensor, prompt: int, steps: int) -> np.ndarray:
    """Chance of each number of right steps: response by response, token by token."""
    chance = np.zeros((len(table), steps + 1))
    for tokens in itertools.product(range(env.vocabulary), repeat=env.horizon):
        state, log_prob = env.reset(torch.tensor(prompt)), np.zeros(len(table))
        for token in tokens:
            log_prob = log_prob + table[:, env.context_index(env.observe(state)), token].numpy()
            state = env.step(state, torch.tensor(token))
        shares = env.reward_vector(state)
        right = sum(shares[1:]) * steps / 2 if "valid_plans" in env.reward_names else sum(shares[:-1])
        chance[:, round(float(right))] += np.exp(log_prob)
    return chance


@pytest.mark.parametrize("seed", [0, 1])
def test_right_steps_of_plan_exec(seed: int) -> None:
    env = make("plan_exec", types=3, stages=2, skills=3, values=3, nvalid=1, hard_frac=0.34, table_seed=seed)
    table = random_table(env, seed)
    prompts = torch.tensor([0, 4, 8])
    got = right_step_chances(env, table, prompts)
    for place, prompt in enumerate(prompts.tolist()):
        np.testing.assert_allclose(got[:, place], counted(env, table, prompt, 4), **CLOSE)
    np.testing.assert_allclose(got[..., -1], env.evaluate(table).reward[:, prompts], **CLOSE)


@pytest.mark.parametrize("retry", [False, True])
def test_hops_found_in_tool_search(retry: bool) -> None:
    calls = {"retry": True, "calls": 3} if retry else {}
    env = make("tool_search", questions=8, hops=2, clusters=2, tools=4, **calls)
    table = random_table(env, 3)
    got = right_step_chances(env, table, torch.arange(4))
    for prompt in range(4):
        np.testing.assert_allclose(got[:, prompt], counted(env, table, prompt, 2), **CLOSE)


def test_the_shuffled_law_is_that_of_two_independent_responses() -> None:
    chance = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.7, 0.1, 0.1, 0.1]], dtype=torch.float64)
    for law, own in zip(shuffled(chance).tolist(), chance.tolist(), strict=True):
        expected = np.zeros(7)
        for (i, p), (j, q) in itertools.product(enumerate(own), enumerate(own)):
            expected[3 * (i == 3) + j] += p * q
        np.testing.assert_allclose(law, expected, **CLOSE)


def test_entropy_is_in_bits() -> None:
    assert float(entropy_bits(torch.full((8,), 0.125))) == pytest.approx(3.0)
    assert float(entropy_bits(torch.tensor([1.0, 0.0]))) == 0.0
    assert float(entropy_bits(torch.tensor([0.25, 0.75]))) == pytest.approx(0.5 + 0.75 * math.log2(4 / 3))


@pytest.mark.parametrize("name", ["plan_exec", "tool_search"])
def test_a_shuffled_reward_says_no_more_than_the_outcome(name: str) -> None:
    """What R + P' says of the response is at most what R says, and R + P says at least as much as R."""
    env = make(name)
    table = random_table(env, 1, 1)
    bits = {key: float(v) for key, v in reward_bits(env, table, table).items()}
    assert 0 <= bits["bits_told_train"] <= bits["bits_outcome_train"] + 1e-9 <= bits["bits_process_train"] + 2e-9
    assert 0 < bits["steps_right_test"] < 1


def test_a_world_without_steps_is_refused() -> None:
    env = make("chain_reach", modulus=13)
    with pytest.raises(ToybedError, match=r"counts right steps, and ChainReach has none"):
        reward_bits(env, env.uniform(), env.uniform())
