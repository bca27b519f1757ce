"""Every row of the catalogue names what is wrong with its input, and what is allowed, before it computes anything."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from toybed.errors import ToybedError
from toybed.objectives import get, names, row
from toybed.objectives.batch import Batch
from toybed.objectives.objective import Loss
from toybed.testing.cases import random_case

each_row = pytest.mark.parametrize("name", names())
VECTOR = {
    **{"gdpo": (2,), "multi_rlvr": (3, 2), "pkpo_vector": (3, 2), "vpo": (3, 2), "vpo_parallel": (2,)},
    **{"grpo_components": (3, 2), "grpo_shuffled": (2,)},
}
"""Rows whose reward has components, or several answers with components."""
ALONE = {
    *("reinforce", "ppo", "ppo_gae", "reinforce_pp", "reinforce_pp_kl", "raft", "sft"),
    *("psr", "nsr", "w_reinforce", "pkpo", "pkpo_vector"),
}
"""Rows that do not compare the responses of a group, so that a group of one is like any other."""


def batch_for(name: str) -> Batch:
    """A batch with everything that a stage may read, and rewards of the shape that the row wants."""
    batch = random_case(0).batch
    random = torch.Generator().manual_seed(1)
    reward = torch.rand((*batch.reward.shape, *VECTOR.get(name, ())), generator=random, dtype=torch.float64)
    return replace(batch, reward=reward) if name in VECTOR else batch


def loss_of(name: str, batch: Batch, **overrides: Any) -> Loss:
    case = random_case(0)
    groups = batch.log_prob_old.shape[-2]
    log_prob, entropy = (x[..., :groups, :] for x in (case.log_prob, case.entropy))
    vocabulary = torch.stack([log_prob, torch.log1p(-log_prob.exp())], -1)
    leaf = log_prob.clone().requires_grad_()
    generator = torch.Generator().manual_seed(2)
    return get(name, **overrides).loss(leaf, batch, entropy=entropy, log_probs=vocabulary, generator=generator)


def spoiled(value: Tensor, place: tuple[int, ...], by: float) -> Tensor:
    value = value.clone()
    value[place] = by
    return value


def test_the_lists_name_rows() -> None:
    assert set(VECTOR) | ALONE <= set(names())


@each_row
def test_the_good_batch_is_accepted(name: str) -> None:
    assert torch.isfinite(loss_of(name, batch_for(name)).value)


@each_row
@pytest.mark.parametrize("by", [float("nan"), float("inf")])
def test_a_reward_that_is_not_finite(name: str, by: float) -> None:
    batch = batch_for(name)
    bad = replace(batch, reward=spoiled(batch.reward, (1, 2), by))
    with pytest.raises(ToybedError, match=rf"^{name}: batch.reward is {by} at \[1, 2.*; allowed: finite"):
        loss_of(name, bad)


@each_row
def test_a_response_without_a_token(name: str) -> None:
    batch = batch_for(name)
    bad = replace(batch, mask=spoiled(batch.mask, (3, 1), False))
    with pytest.raises(ToybedError, match=rf"^{name}: batch.mask has no token in response \[3, 1\].*at least one"):
        loss_of(name, bad)


@each_row
def test_a_sampling_log_probability_that_is_not_finite(name: str) -> None:
    batch = batch_for(name)
    bad = replace(batch, log_prob_old=spoiled(batch.log_prob_old, (0, 1, 0), float("-inf")))
    with pytest.raises(ToybedError, match=rf"^{name}: batch.log_prob_old is -inf at \[0, 1, 0\]; allowed: finite"):
        loss_of(name, bad)


@each_row
def test_padding_may_hold_anything(name: str) -> None:
    batch = batch_for(name)
    padding = ~batch.mask
    assert padding.any()
    filled = replace(batch, log_prob_old=torch.where(padding, float("nan"), batch.log_prob_old))
    torch.testing.assert_close(loss_of(name, filled).value, loss_of(name, batch).value)


@each_row
def test_a_group_of_one(name: str) -> None:
    batch = batch_for(name)
    groups = {
        f: getattr(batch, f) for f in ("log_prob_old", "log_prob_ref", "entropy_old", "planning", "value", "mask")
    }
    alone = replace(
        batch, **{f: x[:, :1] for f, x in groups.items()}, reward=batch.reward[:, :1], source=batch.source[:, :1]
    )
    if name in ALONE:
        overrides = {"k": 1} if "k" in row(name).parameters() else {}
        assert torch.isfinite(loss_of(name, alone, **overrides).value)
        return
    with pytest.raises(ToybedError, match=rf"^{name}: batch.reward has groups of 1 response; allowed: at least 2"):
        loss_of(name, alone)


@each_row
def test_a_wrong_shape(name: str) -> None:
    batch = batch_for(name)
    leaf = torch.zeros(2, 2, 2, dtype=torch.float64, requires_grad=True)
    with pytest.raises(ToybedError, match=rf"^{name}: log_prob has shape \[2, 2, 2\]; expected \[4, 4, 6\]"):
        get(name).loss(leaf, batch)


@each_row
def test_a_missing_field(name: str) -> None:
    batch = batch_for(name)
    bare = Batch(log_prob_old=batch.log_prob_old, mask=batch.mask, reward=batch.reward)
    objective = get(name)
    leaf = random_case(0).log_prob.requires_grad_()
    if not objective.needs:
        assert torch.isfinite(objective.loss(leaf, bare).value)
        return
    first = sorted(objective.needs)[0]
    with pytest.raises(ToybedError, match=rf"^{name} needs (batch\.)?{first}: "):
        objective.loss(leaf, bare)


@each_row
def test_a_size_below_zero(name: str) -> None:
    """Every bound, share, floor, coefficient and penalty of a row refuses a negative number."""
    sizes = ("clip", "share", "floor", "coefficient", "penalty")
    for parameter, value in row(name).parameters().items():
        if isinstance(value, float) and any(size in parameter for size in sizes):
            with pytest.raises(ToybedError, match=rf"^{name}: {parameter} is -0.1; allowed: at least 0"):
                get(name, **{parameter: -0.1})


def test_a_learner_does_not_stop_for_one_runs_nan() -> None:
    batch = batch_for("grpo")
    bad = replace(batch, reward=spoiled(batch.reward, (0, 0), float("nan")))
    assert not torch.isfinite(get("grpo").advantages(bad, check=False)).all()
