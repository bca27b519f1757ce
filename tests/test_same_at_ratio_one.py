"""The judge of ``same_at_ratio_one`` on curves whose answer is known by construction; and what the sweep rests on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from judging import diverge
from numpy.typing import NDArray

from toybed.benchmarks import same_at_ratio_one as same
from toybed.objectives import get
from toybed.objectives.batch import Batch
from toybed.plotting import svg
from toybed.study import Records, Verdict

Array = NDArray[np.float64]
SEEDS = 4
STEPS = np.arange(0, 13, 2)
ALIKE = (*same.SAME, *same.SCALED)


def arm(gap: float | Array) -> Records:
    """Entropy that falls from 1.5 nats, with a gap to GRPO's that grows evenly to ``gap`` nats at the end."""
    base = 1.5 - 0.005 * STEPS + 0.02 * np.arange(SEEDS)[:, None]
    entropy = base + np.broadcast_to(np.asarray(gap, float).reshape(-1, 1), (SEEDS, 1)) * STEPS / STEPS[-1]
    curves = {"entropy_train": entropy, "reward_train": np.full_like(entropy, 0.5)}
    return Records({name: STEPS for name in curves}, curves)


def house(**other: Records) -> dict[str, Records]:
    """As theory has it: rounding apart on fresh data, and 0.02 nats on stale data."""
    records = {"grpo": arm(0.0), "grpo_stale": arm(0.0)}
    records |= {name: arm(1e-6) for name in ALIKE} | {name: arm(-0.02) for name in same.OTHER}
    return records | {f"{name}_stale": arm(0.02) for name in same.ARMS} | other


def judged(records: Mapping[str, Records]) -> tuple[Verdict, dict[str, Verdict]]:
    verdict, parts = same.judge(records)
    return verdict, dict(zip((*same.ARMS, "stale"), parts, strict=True))


def test_curves_as_theory_has_them_support_the_claim() -> None:
    verdict, parts = judged(house())
    assert verdict.outcome == "supported"
    assert {part.outcome for part in parts.values()} == {"supported"}
    assert {part.n for part in parts.values()} == {SEEDS}
    assert parts["gppo"].estimate == pytest.approx(1e-6)
    assert parts["rloo"].estimate == pytest.approx(0.02)  # the size of the difference, whatever its sign
    assert parts["stale"].estimate == 1.0
    # The headline's number is the largest difference among those that should have none.
    assert verdict.estimate == pytest.approx(1e-6)
    assert f"{len(ALIKE)} of {len(ALIKE)}" in verdict.sentence
    assert "not so" not in verdict.sentence


def test_an_objective_that_leaves_grpo_refutes_the_claim_and_is_named() -> None:
    verdict, parts = judged(house(kl_cov=arm(0.02)))
    assert parts["kl_cov"].outcome == "refuted"
    assert verdict.outcome == "refuted"
    assert verdict.estimate == pytest.approx(0.02)
    assert "KL-Cov" in verdict.sentence
    assert f"{len(ALIKE) - 1} of {len(ALIKE)}" in verdict.sentence


def test_a_contrast_that_is_grpo_after_all_refutes_the_claim_and_is_named() -> None:
    verdict, parts = judged(house(clip_cov=arm(0.0)))
    assert parts["clip_cov"].outcome == "refuted"
    assert verdict.outcome == "refuted"
    assert "Clip-Cov" in verdict.sentence


@pytest.mark.parametrize("name", ["gppo", "cispo_trl", "clip_cov"])
def test_an_interval_that_holds_the_bound_is_undecided(name: str) -> None:
    """Two seeds at 0 and two at twice the bound and more: the mean of a bootstrap draw falls on both sides."""
    verdict, parts = judged(house(**{name: arm(np.array([0.0, 0.0, 3e-3, 3e-3]))}))
    assert parts[name].outcome == "undecided"
    assert verdict.outcome == "undecided"


def test_the_largest_difference_counts_and_not_the_last() -> None:
    records = arm(0.0)
    entropy = records["entropy_train"].copy()
    entropy[:, 3] -= 0.01
    bumped = dataclasses.replace(records, curves={**records.curves, "entropy_train": entropy})
    _, parts = judged(house(sapo=bumped))
    assert parts["sapo"].estimate == pytest.approx(0.01)
    assert parts["sapo"].outcome == "refuted"


def test_an_arm_is_compared_with_grpo_of_its_own_seed_and_steps() -> None:
    """The seeds start 0.02 nats apart, twenty times the bound; the two GRPOs differ here by 1 nat at the end."""
    records = house(grpo_stale=arm(1.0), **{f"{name}_stale": arm(1.02) for name in same.ARMS})
    verdict, parts = judged(records)
    assert verdict.outcome == "supported"
    assert parts["stale"].outcome == "supported"
    assert same.differences(records, "gppo_stale") == pytest.approx(np.full(SEEDS, 0.02))


@pytest.mark.parametrize(("leave", "outcome"), [(17, "supported"), (9, "supported"), (8, "refuted"), (0, "refuted")])
def test_most_of_them_leave_grpo_on_stale_data(leave: int, outcome: str) -> None:
    assert len(same.SAME) == 17
    stay = {f"{name}_stale": arm(0.0) for name in list(same.SAME)[leave:]}
    verdict, parts = judged(house(**stay))
    assert parts["stale"].outcome == outcome
    assert parts["stale"].estimate == pytest.approx(leave / 17)
    assert verdict.outcome == "supported"  # it does not decide the claim
    assert ("none" in parts["stale"].sentence) == (leave == 17)


@pytest.mark.parametrize("name", ["grpo", "gppo", "clip_cov", "grpo_stale", "gppo_stale"])
def test_a_diverged_run_is_told_and_never_averaged(name: str) -> None:
    records = house()
    verdict, parts = judged({**records, name: diverge(records[name], 1, at=3, wild=True)})
    assert verdict.outcome == "supported"
    assert "1 run diverged" in verdict.sentence
    reads = {"grpo": list(same.ARMS), "grpo_stale": ["stale"], "gppo_stale": ["stale"]}.get(name, [name])
    for part_name, part in parts.items():
        assert part.n == SEEDS - (part_name in reads), part_name
        assert np.isfinite(part.estimate)
        assert "nan" not in part.sentence


@pytest.mark.parametrize("name", ["grpo", "gppo", "gppo_stale"])
def test_an_arm_that_diverged_altogether_leaves_its_parts_undecided(name: str) -> None:
    records = house()
    for run in range(SEEDS):
        records[name] = diverge(records[name], run, at=2, wild=True)
    verdict, parts = judged(records)
    for part_name in {"grpo": same.ARMS, "gppo": ["gppo"], "gppo_stale": ["stale"]}[name]:
        assert parts[part_name].outcome == "undecided"
    assert verdict.outcome == ("supported" if name == "gppo_stale" else "undecided")
    assert all("nan" not in part.sentence for part in (verdict, *parts.values()))
    assert svg(same.figure(records)).startswith("<svg")


def test_the_figure_can_be_drawn_when_nothing_differs() -> None:
    """A difference of exactly 0 has no place on a logarithmic axis: it is drawn at its edge."""
    records = {name: arm(0.0) for name in house()}
    assert svg(same.figure(records)).startswith("<svg")


def test_the_arms_differ_in_objective_and_steps_and_nothing_else() -> None:
    for size in ("quick", "standard", "full"):
        arms = same.arms(size)
        assert len(arms) == 2 * (len(same.ARMS) + 1)
        grpo = arms["grpo"]
        assert grpo.learning.epochs * grpo.learning.minibatches == 1
        for name, (_, objective) in same.ARMS.items():
            assert arms[name] == dataclasses.replace(grpo, objective=objective)
            assert arms[f"{name}_stale"] == arms[name].with_learning(epochs=same.STALE_STEPS)


@pytest.mark.parametrize("name", [*same.ARMS])
def test_the_gradient_at_ratio_one_is_what_the_claim_rests_on(name: str, random_batch) -> None:
    """On one random batch, float64: GRPO's gradient, a multiple of it, or another direction.

    Only the policy's own term is looked at, so the entropy bonus, which is an extra term, is GRPO here; 80/20 keeps
    other tokens of the same batch. Equal lengths; rewards 0 and 1. Sums of 96 terms round by less than 1e-13.
    """
    draw = random_batch(0, (4, 6, 4), drift=0.0, rewards=(0.0, 1.0), equal_lengths=True)
    spec = same.ARMS[name][1]

    def gradient(objective_name: str, **options) -> torch.Tensor:
        leaf = draw.batch.log_prob_old.clone().requires_grad_()
        loss = get(objective_name, **options).loss(
            leaf,
            Batch(draw.batch.log_prob_old, draw.batch.mask, draw.batch.reward),
            entropy=draw.entropy.detach(),
            generator=torch.Generator().manual_seed(0),
        )
        return torch.autograd.grad(loss.value, leaf)[0].flatten()

    grpo, got = gradient("grpo"), gradient(spec.name, **spec.options)
    scale = float(got @ grpo / (grpo @ grpo))
    off = float((got - scale * grpo).norm() / got.norm())
    if name in same.SAME:
        assert scale == pytest.approx(1.0, rel=1e-9)
    if name in same.SCALED:
        assert scale == pytest.approx({"luspo": 4.0, "cispo_trl": 0.2}[name], rel=1e-9)
    if name in ALIKE or name == "entropy_bonus":
        assert off < 1e-9
    else:
        assert off > 1e-3
