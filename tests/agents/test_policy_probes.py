"""Probes of policies: they see the policies themselves, trained and as they started."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from toybed.agents import probes
from toybed.agents.config import Setting, Spec, Start
from toybed.agents.meter import Meter
from toybed.agents.policies import Policy, flat_parameters, make_policy
from toybed.agents.training import train_bases, train_runs
from toybed.envs import make
from toybed.envs.core import TokenEnv
from toybed.errors import ToybedError

TINY = Setting(
    world=Spec("chain_reach", {"modulus": 5, "length": 2}), policy=Spec("mlp", {"width": 4}), supervised=None
).with_learning(updates=3, prompts=4, group=2, minibatches=2)


def moved(env: TokenEnv, policy: Policy, start: Policy) -> dict[str, Tensor]:
    """How far the parameters are from where they started, and how long they were there."""
    return {
        "moved": (flat_parameters(policy) - flat_parameters(start)).norm(dim=1),
        "norm_start": flat_parameters(start).norm(dim=1),
    }


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(probes.POLICY_PROBES, "moved", f"{__name__}:moved")
    real = probes.import_module
    monkeypatch.setattr(probes, "import_module", lambda name: _Here if name == __name__ else real(name))


class _Here:
    """This module, which pytest does not import by its name."""

    moved = staticmethod(moved)


def test_a_probe_of_policies_compares_the_end_with_the_start_of_each_run() -> None:
    setting = replace(TINY, probes=("moved", "first_steps"), start=Start(temperature=2.0))
    bases = train_bases(setting, [0, 1])
    start = make_policy("mlp", make("chain_reach", **setting.world.options), [0, 1], width=4)
    start.flatten_logits(2.0)
    for result, base, end in zip(
        results := train_runs(setting, [0, 1], bases), bases, flat_parameters(start), strict=True
    ):
        assert result.curves["moved"].steps.tolist() == [0, 3]
        assert result.parameters is not None
        assert result.curves["moved"].values[0] == 0
        assert result.curves["moved"].values[1] == pytest.approx(float((torch.tensor(result.parameters) - end).norm()))
        # The start is the one of this run: the base with its temperature.
        assert (
            result.curves["norm_start"].values[1]
            == pytest.approx(float(end.norm()))
            != float(torch.tensor(base).norm())
        )
        assert "abandoned_train" in result.curves
    assert results[0].curves["moved"].values[1] != results[1].curves["moved"].values[1]


def test_an_unknown_probe_is_told_with_the_nearest_of_both_kinds() -> None:
    for get in (probes.get_probe, probes.get_policy_probe):
        with pytest.raises(ToybedError, match="did you mean 'moved'"):
            get("moves")


def test_a_probe_of_policies_needs_a_start() -> None:
    env = make("chain_reach", modulus=5, length=2)
    with pytest.raises(ToybedError, match="pass start="):
        Meter(env, make_policy("mlp", env, [0], width=4), ["moved"])
