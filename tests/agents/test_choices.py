"""Contexts that are evaluated once, for all positions that share them, against each position by itself."""

from __future__ import annotations

import pytest
import torch

from toybed.agents.policies import Policy, flat_parameters, load_flat, make_policy
from toybed.agents.rollout import rollout
from toybed.envs import make
from toybed.envs.core import TokenEnv
from toybed.streams import Streams

SEEDS = (3, 8)
PROMPTS, GROUP = 16, 8
WORLDS = {
    "chain_reach": {"modulus": 5, "operations": 4, "length": 3},  # 75 contexts
    "plan_exec": {"types": 4, "stages": 1, "skills": 3, "values": 5, "nvalid": 1},  # illegal tokens
}
POLICIES = {"tabular": {}, "mlp": {"width": 8, "embedding": 4}}
CASES = pytest.mark.parametrize(("world", "name"), [(world, name) for world in WORLDS for name in POLICIES])


def policies(env: TokenEnv, name: str) -> tuple[Policy, Policy]:
    """The same random policies twice; the second does not know the world, so that it cannot tabulate it."""
    some, other = (make_policy(name, env, SEEDS, **POLICIES[name]) for _ in range(2))
    flat = flat_parameters(some)
    flat = flat + torch.randn(flat.shape, generator=torch.Generator().manual_seed(1))
    for policy in (some, other):
        load_flat(policy, flat)
    other.world = None
    return some, other


def sampled(env: TokenEnv, policy: Policy):
    prompt = env.prompts()[:4].repeat(PROMPTS // 4).expand(len(SEEDS), -1)
    return rollout(env, policy, prompt, GROUP, Streams("sampled", SEEDS))


@CASES
def test_responses_are_the_same_whether_contexts_are_tabulated_or_not(world: str, name: str) -> None:
    env = make(world, **WORLDS[world])
    tabulated, plain = policies(env, name)
    assert len(env.contexts()) <= PROMPTS * (1 + GROUP * (env.horizon - 1))
    one, other = sampled(env, tabulated), sampled(env, plain)
    assert torch.equal(one.token, other.token)
    assert torch.equal(one.observation, other.observation)
    for a, b in ((one.log_prob, other.log_prob), (one.entropy, other.entropy)):
        assert torch.allclose(a, b, rtol=0, atol=1e-5)  # float32 sums of 8 terms in products of other shapes


@CASES
def test_gradients_are_the_same_whether_contexts_are_tabulated_or_not(world: str, name: str) -> None:
    env = make(world, **WORLDS[world])
    tabulated, plain = (policy.double() for policy in policies(env, name))
    sample = sampled(env, tabulated)
    weight = torch.randn(3, *sample.token.shape, generator=torch.Generator().manual_seed(2)).double()
    found = []
    for policy in (tabulated, plain):
        for shared_start in (True, False):
            choices = policy.choices(sample.observation, sample.legal, shared_start=shared_start)
            read = (choices.log_prob(sample.token), choices.entropy, choices.log_probs.exp().square().sum(-1))
            loss = sum((w * value).sum() for w, value in zip(weight, read, strict=True))
            found.append([*read, *torch.autograd.grad(loss, list(policy.parameters()))])
    first, *others = found
    for other in others:
        for a, b in zip(first, other, strict=True):
            assert torch.allclose(a, b, rtol=1e-10, atol=1e-10)


def test_contexts_are_tabulated_only_where_there_are_fewer_than_states() -> None:
    env = make("chain_reach", **WORLDS["chain_reach"])
    policy = make_policy("mlp", env, SEEDS, **POLICIES["mlp"])
    assert len(env.contexts()) == 75
    assert policy._tabulated(74) is None
    assert policy._tabulated(75) is not None


def test_histories_are_not_tabulated() -> None:
    env = make("chain_reach", view="tokens", **WORLDS["chain_reach"])
    assert make_policy("mlp", env, SEEDS, **POLICIES["mlp"])._tabulated(10**9) is None
