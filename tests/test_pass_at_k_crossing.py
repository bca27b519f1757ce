"""The judge of ``pass_at_k_crossing`` on curves whose answer is known by construction."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import pytest
from judging import diverge
from numpy.typing import NDArray

from toybed.agents.config import Spec, Supervised
from toybed.agents.training import train_bases, train_runs
from toybed.benchmarks import pass_at_k_crossing
from toybed.benchmarks.pass_at_k_crossing import RATES, REMEDIES, SHARES
from toybed.benchmarks.pass_at_k_crossing_measures import KS, crossings, loss, matched
from toybed.plotting import svg
from toybed.study import Records, Verdict

Array = NDArray[np.float64]
SEEDS = 5
STEPS = np.arange(0, 241, 40)
ARMS = (*RATES, "slow_long", *REMEDIES, *(arm for arm in SHARES if arm != "grpo"), "m31", "m61")
PARTS = (*RATES, "later", "tens", "train", "gap", "size", "length", "rate", *REMEDIES)
BASE = np.array([0.05, 0.2, 0.5, 0.9, 1.0])  # pass@k of the base at each of KS


def arm(
    losses: tuple[float, ...] = (-0.1, -0.1, -0.1, 0.1, 0.2), train_loss: float = 0.0, rise: float = 4.0
) -> Records:
    """Curves that go from the base's pass@k to the base's less ``losses``, in a straight line over the updates.

    Args:
        losses: on held-out prompts, at each of KS.
        train_loss: at k = 256, on train prompts; its pass@1 rises from 0.1 to ``rise`` times that.
        rise: of train success.
    """
    way = STEPS / STEPS[-1] * (1 + 0.02 * (np.arange(SEEDS)[:, None] - 2))
    curves: dict[str, Array] = {}
    for k, base, lost, lost_train in zip(KS, BASE, losses, (0, 0, 0, 0, train_loss), strict=True):
        for split, end in (("test", lost), ("train", lost_train)):
            curves[f"reward_{split}" if k == 1 else f"pass@{k}_{split}"] = base - end * way
    curves["reward_train"] = 0.1 * (1 + (rise - 1) * STEPS / STEPS[-1]) * np.ones((SEEDS, 1))
    curves["lost_test"] = 0.05 * way
    return Records({name: STEPS for name in curves}, curves)


HELD = (-0.1, -0.1, -0.1, -0.05, 0.0)  # better at every k, and nothing lost


def house(**other: Records) -> dict[str, Records]:
    """Every arm narrows but the remedies, those with many prompts and the small worlds, which lose nothing."""
    records = {name: arm() if name in (*RATES, "slow_long", "share_15") else arm(HELD) for name in ARMS}
    return records | {"slow": arm((-0.1, -0.1, -0.1, 0.1, 0.1))} | other


def judged(records: Mapping[str, Records]) -> tuple[Verdict, dict[str, Verdict]]:
    verdict, parts = pass_at_k_crossing.judge(records)
    return verdict, dict(zip(PARTS, parts, strict=True))


def test_a_base_that_overtakes_at_every_rate_supports_the_claim() -> None:
    verdict, parts = judged(house())
    assert verdict.outcome == "supported"
    assert {name: part.outcome for name, part in parts.items()} == dict.fromkeys(PARTS, "supported")
    assert verdict.estimate == parts["grpo"].estimate == pytest.approx(0.2)
    assert verdict.n == SEEDS
    assert parts["train"].estimate == pytest.approx(0.2)
    assert parts["gap"].estimate == parts["size"].estimate == pytest.approx(0.2)
    assert parts["length"].estimate == pytest.approx(0.2 * 2 / 3)  # after a third of the updates a third is lost
    assert parts["rate"].estimate == pytest.approx(0.1)
    assert parts["kl_cov"].estimate == pytest.approx(0.2)


def test_the_crossing_lies_between_recorded_k_linearly_in_its_logarithm() -> None:
    records = arm((-0.1, -0.1, 0.1, 0.2, 0.2))
    # From -0.1 at k = 4 to +0.1 at k = 16: zero half way in log k.
    assert crossings(records) == pytest.approx(np.full(SEEDS, 8.0))
    assert crossings(arm((-0.1, 0.3, 0.3, 0.3, 0.3))) == pytest.approx(np.full(SEEDS, 2**0.5))


@pytest.mark.parametrize("losses", [HELD, (0.1, 0.1, 0.1, 0.1, 0.1), (0.0, 0.1, 0.1, 0.1, 0.1)])
def test_without_a_lead_to_lose_or_without_its_loss_there_is_no_crossing(losses: tuple[float, ...]) -> None:
    assert np.isnan(crossings(arm(losses))).all()


@pytest.mark.parametrize(("losses", "outcome"), [((-0.1, 0.1, 0.1, 0.1, 0.1), "refuted"), (HELD, "undecided")])
def test_a_crossing_elsewhere_than_published(losses: tuple[float, ...], outcome: str) -> None:
    _, parts = judged(house(grpo=arm(losses)))
    assert parts["tens"].outcome == outcome


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("losses", [HELD, (0.02, 0.1, 0.1, 0.2, 0.2), (-0.1, -0.1, -0.1, 0.0, 0.005)])
def test_one_rate_that_loses_nothing_or_wins_nothing_refutes(rate: str, losses: tuple[float, ...]) -> None:
    verdict, parts = judged(house(**{rate: arm(losses)}))
    assert parts[rate].outcome == "refuted"
    assert verdict.outcome == "refuted"
    assert [parts[other].outcome for other in RATES if other != rate] == ["supported"] * 2


@pytest.mark.parametrize("losses", [HELD, (-0.1, -0.1, 0.1, 0.2, 0.2)])
def test_too_little_training_decides_nothing(losses: tuple[float, ...]) -> None:
    verdict, parts = judged(house(slow=arm(losses, rise=1.3)))
    assert verdict.outcome == parts["slow"].outcome == "undecided"


def test_what_the_crossing_depends_on_can_be_refuted_and_does_not_decide() -> None:
    same = arm(train_loss=0.2)
    verdict, parts = judged(house(grpo=same, share_70=arm(), m31=arm(), slow=arm(), maxrl=arm()))
    for part in ("train", "gap", "size", "rate", "maxrl"):
        assert parts[part].outcome == "refuted", part
        assert parts[part].estimate == pytest.approx(0.0)
    assert verdict.outcome == "supported"


def test_where_nothing_is_lost_a_comparison_of_losses_decides_nothing() -> None:
    records = house(**{name: arm(HELD) for name in ARMS})
    verdict, parts = judged(records)
    assert verdict.outcome == "refuted"
    for part in ("train", "gap", "size", "length", "rate", *REMEDIES):
        assert parts[part].outcome == "undecided", part
        assert parts[part].n == SEEDS


def test_a_slow_rate_that_narrows_later_is_told_and_changes_nothing() -> None:
    verdict, parts = judged(house(slow=arm(HELD)))
    assert verdict.outcome == "refuted"
    assert parts["later"].outcome == "supported"
    verdict, parts = judged(house(slow_long=arm(HELD)))
    assert verdict.outcome == "supported"
    assert parts["later"].outcome == "refuted"


def test_arms_are_compared_where_both_have_the_same_train_success() -> None:
    """GRPO goes twice as far along one path: at the end it has lost more, at the same success as much."""
    half = arm((-0.05, -0.05, -0.05, 0.05, 0.1), rise=2.5)
    one, other = arm(), half
    of_one, of_other = matched(one, other)
    assert of_one == pytest.approx(of_other)
    assert of_one == pytest.approx(np.full(SEEDS, 0.1), rel=0.05)
    assert loss(one)[:, -1] == pytest.approx(2 * loss(other)[:, -1])
    _, parts = judged(house(kl_cov=half))
    assert parts["kl_cov"].outcome == "refuted"


@pytest.mark.parametrize("name", ARMS)
def test_a_diverged_run_is_told_and_left_out(name: str) -> None:
    records = house()
    verdict, parts = judged({**records, name: diverge(records[name], [2], at=3)})
    assert "1 run diverged" in verdict.sentence
    assert verdict.outcome == "supported"
    assert all(part.n in (SEEDS, SEEDS - 1) for part in parts.values())
    assert all("nan" not in part.sentence for part in (verdict, *parts.values()))
    if name in RATES:
        assert parts[name].n == SEEDS - 1


@pytest.mark.parametrize("runs", [[0, 1, 2], list(range(SEEDS))])
@pytest.mark.parametrize("name", ["grpo", "slow"])
def test_too_few_runs_are_undecided(name: str, runs: list[int]) -> None:
    records = house()
    verdict, parts = judged({**records, name: diverge(records[name], runs, at=3)})
    assert verdict.outcome == parts[name].outcome == parts["rate" if name == "slow" else "tens"].outcome == "undecided"
    assert all("nan" not in part.sentence for part in (verdict, *parts.values()))


@pytest.mark.parametrize("name", ["grpo", "slow", "share_15", "maxrl"])
def test_the_figure_can_be_drawn_when_runs_diverged(name: str) -> None:
    records = house()
    for runs in ([1], [*range(SEEDS)]):
        assert svg(pass_at_k_crossing.figure({**records, name: diverge(records[name], runs, at=3)})).startswith("<svg")


def test_the_figure_can_be_drawn_without_a_crossing() -> None:
    assert svg(pass_at_k_crossing.figure(house(grpo=arm(HELD)))).startswith("<svg")


def test_the_arms_differ_in_what_the_question_asks_and_nothing_else() -> None:
    for size in ("quick", "standard", "full"):
        arms = pass_at_k_crossing.arms(size)
        assert set(arms) == set(ARMS)
        grpo = arms["grpo"]
        for name, setting in arms.items():
            fields = (field.name for field in dataclasses.fields(setting))
            changed = {f for f in fields if getattr(setting, f) != getattr(grpo, f)}
            if name == "slow_long":
                assert setting == arms["slow"].with_learning(
                    updates=3 * grpo.learning.updates, measure_every=setting.learning.measure_every
                )
                continue
            if name in RATES:
                assert changed <= {"learning"}
            elif name in REMEDIES:
                assert changed == {"objective"}
            else:
                assert {"learning"} <= changed <= {"learning", "world"}, name
            # Of other worlds only the ends are judged, so less is measured; they learn alike.
            assert setting.learning == dataclasses.replace(
                grpo.learning,
                learning_rate=setting.learning.learning_rate,
                measure_every=setting.learning.measure_every,
            )
        for name, share in SHARES.items():
            assert arms[name].world.options["train_share"] == share
        assert grpo.learning.epochs * grpo.learning.minibatches > 1
        assert pass_at_k_crossing.STUDY.seeds[size] >= 3
    assert pass_at_k_crossing.arms("standard")["grpo"].world.options == {"modulus": 97, "train_share": 0.3}


def test_a_run_records_every_measure_that_it_reads() -> None:
    tiny = dataclasses.replace(
        pass_at_k_crossing.arms("quick")["grpo"].with_learning(updates=2, measure_every=1),
        world=Spec("chain_reach", {"modulus": 7, "length": 2}),
        supervised=Supervised(steps=2, demonstrations=8),
    )
    results = train_runs(tiny, [0, 1, 2], train_bases(tiny, [0, 1, 2]))
    curves = {name: np.stack([result.curves[name].values for result in results]) for name in results[0].curves}
    records = Records({name: curve.steps for name, curve in results[0].curves.items()}, curves)
    verdict, parts = pass_at_k_crossing.judge(dict.fromkeys(ARMS, records))
    assert all("nan" not in part.sentence for part in (verdict, *parts))
