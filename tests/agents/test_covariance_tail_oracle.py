"""The probe of the covariance's tail against a walk over all responses, token by token, in float64."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from toybed.agents.probes.covariance_tail import SHARE, covariance_tail, mean_of_largest
from toybed.envs import make


def tokens_of(env, table):
    """Weight, log-probability and advantage of every token of every response to every train prompt."""
    found = []
    for prompt in env.prompts("train").tolist():
        rows = []
        for response in itertools.product(range(env.vocabulary), repeat=env.horizon):
            state, log_probs = env.reset(torch.tensor(prompt)), []
            for token in response:
                log_probs.append(float(table[int(env.context_index(env.observe(state))), token]))
                state = env.step(state, torch.tensor(token))
            rows.append((math.exp(sum(log_probs)), log_probs, float(env.reward(state))))
        success = sum(weight * reward for weight, _, reward in rows)
        spread = math.sqrt(success * (1 - success))
        for weight, log_probs, reward in rows:
            found += [(weight, log_prob, (reward - success) / spread if spread else 0.0) for log_prob in log_probs]
    return np.array(found)


def largest(values, weights, share):
    """Value by value from the largest on, until the share is full."""
    total = inside = 0.0
    for value, weight in sorted(zip(values, weights, strict=True), reverse=True):
        part = min(weight, share - inside)
        total, inside = total + part * value, inside + part
    return total / inside


def test_the_probe_against_all_tokens_one_by_one():
    env = make("chain_reach", modulus=7, operations=3, length=2)
    random = torch.Generator().manual_seed(0)
    table = (2 * torch.randn(2, len(env.contexts()), 3, generator=random, dtype=torch.float64)).log_softmax(-1)
    measured = covariance_tail(env, table, table)
    for run in range(2):
        weight, log_prob, advantage = tokens_of(env, table[run]).T
        weight = weight / weight.sum()
        product = (log_prob - weight @ log_prob) * (advantage - weight @ advantage)
        # float64 sums of at most 49 * 18 terms of order 1
        assert float(measured["covariance_all"][run]) == pytest.approx(weight @ product, rel=1e-9, abs=1e-12)
        assert float(measured["covariance_top"][run]) == pytest.approx(largest(product, weight, SHARE), rel=1e-9)


@given(st.lists(st.tuples(st.floats(-9, 9), st.floats(0.01, 1)), min_size=1, max_size=12), st.floats(0.01, 1))
def test_the_mean_of_the_largest(pairs, share):
    values, weights = np.array(pairs).T
    weights = weights / weights.sum()
    found = float(mean_of_largest(torch.from_numpy(values), torch.from_numpy(weights), share))
    # A dozen sums in float64 of values up to 9.
    assert found == pytest.approx(largest(values, weights, share), abs=1e-10)


def test_of_one_value_all_of_it_is_the_largest():
    assert float(mean_of_largest(torch.tensor([2.0, 4.0]), torch.tensor([0.5, 0.5]), 1.0)) == pytest.approx(3.0)
    assert float(mean_of_largest(torch.tensor([2.0, 4.0]), torch.tensor([0.5, 0.5]), 0.75)) == pytest.approx(10 / 3)
