"""Numbers of the default ChainReach that every published figure rests on. A change of any of them is a new version."""

from __future__ import annotations

import math

import pytest
import torch

from toybed.envs import make


@pytest.fixture(scope="module")
def env():
    return make("chain_reach", table_seed=0)


def test_solutions_of_a_prompt(env):
    # V^L = 8^4 = 4096 chains end somewhere: 4096 / 31 = 132.13 for a goal on average, whatever the table.
    # Least and most depend on the table: counted by brute force over 31^2 * 4096 chains.
    solutions = env.solutions(env.prompts())
    assert solutions.min() == 99
    assert solutions.max() == 171
    assert float(solutions.double().mean()) == pytest.approx(4096 / 31, rel=1e-14)


def test_random_tokens_succeed_once_in_the_modulus(env):
    # Operations are bijections: a chain of uniform ones, averaged over goals, hits with 1/31 exactly.
    uniform = torch.full((len(env.contexts()), 8), -math.log(8), dtype=torch.float64)
    assert env.random_baseline() == 1 / 31
    assert float(env.evaluate(uniform).reward.mean()) == pytest.approx(1 / 31, rel=1e-12)


def test_entropy_of_uniform_over_solutions(env):
    # Mean of log N over prompts, by 4 tokens; log(132.13) / 4 = 1.2209 bounds it from above (Jensen), and
    # N between 99 and 171 bounds the gap. Published to four decimals: half a unit of the last is the tolerance.
    exact = env.evaluate(env.demonstrator(style=None).double())
    assert float(exact.entropy.mean()) / 4 == pytest.approx(1.2200, abs=5e-5)
    assert float(exact.reward.min()) == pytest.approx(1, abs=3e-6)  # float32 table, see test_worlds_contract.py


def test_split_sizes(env):
    # round(0.7 * 961) = 673
    assert len(env.prompts("train")) == 673
    assert len(env.prompts("test")) == 288
