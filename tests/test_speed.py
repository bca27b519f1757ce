"""What is timed is what is said: the gates of the speed benchmark, and its printed tables."""

from __future__ import annotations

import json

import pytest
import torch

from toybed.agents.policies import make_policy
from toybed.benchmarks import speed
from toybed.benchmarks.speed_peers import PEERS, installed
from toybed.errors import ToybedError


@pytest.mark.parametrize("policy", speed.POLICIES)
def test_the_gates_are_passed(policy):
    speed.check(policy, "B")


@pytest.mark.parametrize("policy", speed.POLICIES)
def test_a_plain_loop_with_another_network_does_not_pass(policy, monkeypatch):
    other = make_policy(policy, speed.world(policy), [6], **speed.POLICIES[policy])
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(torch.rand_like(parameter))
    plain = speed.plain_policy
    monkeypatch.setattr(speed, "plain_policy", lambda env, _: plain(env, other))
    with pytest.raises(ToybedError, match=f"the plain {policy} is another network"):
        speed.check(policy, "B")


def test_a_plain_loop_learns():
    """From uniform tables in a world of one prompt's kind: after 60 updates it is right more often than at the start.

    Means of 60 x 32 and 32 responses: the end is above 3 standard errors of the start's chance of 1/13.
    """
    env = speed.world("tabular")
    base = make_policy("tabular", env, [0])
    config = speed.replace(speed.WORKS["B"], prompts=64, learning_rate=0.1)
    update = speed.plain_loop(env, base, config, seed=0)
    rewards = [update() for _ in range(60)]
    chance, last = 1 / 13, sum(rewards[-10:]) / 10
    assert last > chance + 3 * (chance * (1 - chance) / (10 * 64 * 8)) ** 0.5


def test_the_floor_counts_products_and_passes_over_the_parameters():
    limits = {"gflops": 1.0, "gbytes": 1e9}
    one = speed.floor("mlp", "B", limits)
    assert speed.floor("mlp", "A", limits) > 4 * one  # eight times as many rows, the same vectors
    table = speed.floor("tabular", "B", {"gflops": 1e9, "gbytes": 1.0})
    parameters = 13 * 13 * 8 * 16  # value, goal, operations done; operation
    assert table == pytest.approx(1e3 * parameters * 4 * speed.ADAM_ACCESSES * 2 / 1e9)


def test_the_tables_are_printed(monkeypatch, capsys):
    options = ["--policies", "tabular", "--works", "B", "--stacks", "1", "2", "--seconds", "0.001", "--rounds", "1"]
    monkeypatch.setattr("sys.argv", ["speed", *options])
    speed.main()
    told = capsys.readouterr().out
    assert "Work B, 256 tokens an update" in told
    assert told.splitlines()[-1].startswith("tabular")
    monkeypatch.setattr("sys.argv", ["speed", *options, "--json"])
    speed.main()
    row = json.loads(capsys.readouterr().out)["works"]["B"]["tabular"]
    assert set(row) == {"plain", "S=1", "S=2", "floor"}
    assert all(ms > 0 for ms in row.values())


def test_a_peer_that_is_not_installed_says_so():
    peer = installed("no_such_module_of_anybody")(lambda *_: {"mlp": 1.0})
    assert peer(None, None, 1.0) == "not installed: no_such_module_of_anybody"
    assert len(PEERS) == 3
