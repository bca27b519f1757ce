"""The belief probe against NumPy, and on states that hold the belief or nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from toybed.agents.policies import flat_parameters, make_policy
from toybed.agents.probes.belief_probe import RIDGE, belief_probe, ridge
from toybed.envs import make
from toybed.envs.belief_track import BeliefTrack
from toybed.envs.core import TokenEnv
from toybed.errors import ToybedError


@pytest.fixture(scope="module")
def world() -> TokenEnv:
    return make("belief_track", containers=4, train_stories=256, test_stories=64)


def test_the_fit_is_the_minimum_of_its_loss() -> None:
    """Ridge regression by a slow twin: the constant's row has no penalty, and the normal equations hold."""
    random = np.random.default_rng(0)
    states = np.concatenate([random.normal(size=(60, 5)), np.ones((60, 1))], 1)
    label = random.integers(4, size=60)
    found = ridge(torch.from_numpy(states), torch.from_numpy(label), 4).numpy()
    target = np.eye(4)[label]
    penalty = RIDGE * 60 * (states[:, :-1] ** 2).mean()
    gram = sum(np.outer(row, row) for row in states) + penalty * np.diag([1, 1, 1, 1, 1, 0])
    expected = np.linalg.inv(gram) @ sum(np.outer(row, hit) for row, hit in zip(states, target, strict=True))
    # Both solve one system in float64 whose condition is below 1e4.
    np.testing.assert_allclose(found, expected, atol=1e-11)


def test_a_dead_network_has_a_probe_that_knows_the_commonest_belief() -> None:
    states = torch.zeros(50, 4, dtype=torch.float64)
    states[:, -1] = 1
    label = torch.tensor([2] * 30 + [0] * 20)
    assert bool(((states @ ridge(states, label, 4)).argmax(1) == 2).all())


class Told:
    """Stands in for a network: its state after each event is the belief asked for, or nothing."""

    def __init__(self, env: BeliefTrack, known: bool) -> None:
        self.env, self.known = env, known

    def __call__(self, observation: torch.Tensor, frames: int | None = None) -> torch.Tensor:
        rows = observation[0]
        story, chain = self.env._told(rows)
        from toybed.envs.belief_track_events import beliefs_of, members_of

        belief = torch.from_numpy(beliefs_of(story, members_of(chain, self.env.agents)))
        hot = torch.nn.functional.one_hot(belief, self.env.containers).float() * self.known
        return torch.cat([torch.zeros_like(hot[:, :1]), hot], 1)[None]


@pytest.mark.parametrize("known", [True, False])
def test_it_reads_what_the_state_holds(world: BeliefTrack, known: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = make_policy("gru", world, [0], width=4)
    monkeypatch.setattr(policy, "hidden", Told(world, known))
    found = {name: float(value) for name, value in belief_probe(world, policy, policy).items()}
    assert set(found) == {"probe_natural", "probe_separable", "probe_directed"} | {
        f"probe_event{t}" for t in range(1, world.events + 1)
    }
    assert found["probe_separable"] == found["probe_event8"]
    if known:
        assert set(found.values()) == {1.0}
    else:  # one container, whatever is asked: of 128 directed answers 5 standard deviations above a quarter (3e-7)
        assert max(found["probe_separable"], found["probe_directed"]) < 0.25 + 5 * (0.25 * 0.75 / 128) ** 0.5


@pytest.mark.parametrize("name", ["gru", "transformer"])
def test_a_run_in_a_stack_is_the_run_alone(world: TokenEnv, name: str) -> None:
    stack, alone = (make_policy(name, world, seeds, width=8) for seeds in ([3, 4], [4]))
    assert torch.equal(flat_parameters(stack)[1:], flat_parameters(alone))
    both, one = belief_probe(world, stack, stack), belief_probe(world, alone, alone)
    assert {key: value[1].item() for key, value in both.items()} == {key: value.item() for key, value in one.items()}


def test_it_leaves_the_policy_as_it_was(world: TokenEnv) -> None:
    policy = make_policy("gru", world, [0], width=8)
    before = flat_parameters(policy)
    belief_probe(world, policy, policy)
    assert torch.equal(before, flat_parameters(policy))


def test_it_refuses_what_it_cannot_read(world: TokenEnv) -> None:
    with pytest.raises(ToybedError, match="gru, transformer"):
        belief_probe(world, make_policy("mlp", world, [0], width=8), make_policy("mlp", world, [0], width=8))
    tokens = make("belief_track", view="trace", train_stories=64, test_stories=16)
    policy = make_policy("gru", tokens, [0], width=8)
    with pytest.raises(ToybedError, match="whole stories"):
        belief_probe(tokens, policy, policy)
