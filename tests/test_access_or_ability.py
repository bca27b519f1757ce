"""The judge of ``access_or_ability`` on completions whose answer is known by construction."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import pytest
from judging import diverge

from toybed.agents.config import Spec, Supervised
from toybed.agents.training import train_bases, train_runs
from toybed.benchmarks import access_or_ability
from toybed.benchmarks.access_or_ability import CONDITIONS, CONTROLS
from toybed.plotting import svg
from toybed.study import Records, Verdict

SEEDS = 5
ARMS = ("grpo", "short", "fast", "hard", "history", "history_fast", "history_far", *CONTROLS)
PARTS = (*CONDITIONS, "taught less", "taught less, history", "unlearnt", *CONTROLS)
SPREAD = 0.004 * (np.arange(SEEDS) - 2)  # of the seeds, around the mean


def arm(*, now: float = 0.6, base: float = 0.4, chance: float = 0.1, kept: float = 0.9, share: float = 0.3) -> Records:
    """Completion of abandoned steps by policy, base and random tokens, of kept ones by the policy; share abandoned."""
    ends = {"reward_train": 0.8, "reward_test": 0.7}
    for split in ("train", "test"):
        ends |= {
            f"abandoned_{split}": share,
            f"completion_abandoned_{split}": now,
            f"completion_abandoned_start_{split}": base,
            f"completion_abandoned_random_{split}": chance,
            f"completion_kept_{split}": kept,
            f"completion_kept_start_{split}": 0.5,
            f"completion_kept_random_{split}": 0.1,
        }
    # A policy's completion differs between seeds, a base's and the random one's less.
    curves = {
        name: np.stack([np.full(SEEDS, np.nan), value + SPREAD * (1 if "start" not in name else 0.5)], 1)
        for name, value in ends.items()
    }
    for name in ("reward_train", "reward_test"):
        curves[name][:, 0] = 0.3
    return Records({name: np.array([0, 100]) for name in curves}, curves)


def house(**other: Records) -> dict[str, Records]:
    """Every arm keeps the ability; the controls abandon nothing."""
    return {name: arm(share=0.0 if name in CONTROLS else 0.3) for name in ARMS} | other


def nothing_abandoned(records: Records) -> Records:
    """As the probe says it: shares of 0, and no completion of what there is not."""
    curves = {name: values.copy() for name, values in records.curves.items()}
    for name, values in curves.items():
        if "completion_abandoned" in name:
            values[:] = np.nan
        if name.startswith("abandoned"):
            values[:, 1] = 0
    return dataclasses.replace(records, curves=curves)


def judged(records: Mapping[str, Records]) -> tuple[Verdict, dict[object, Verdict]]:
    verdict, parts = access_or_ability.judge(records)
    return verdict, dict(zip(PARTS, parts, strict=True))


def test_completion_above_the_bases_supports_that_only_access_is_lost() -> None:
    verdict, parts = judged(house())
    assert verdict.outcome == "supported"
    assert verdict.n == SEEDS
    assert verdict.estimate == pytest.approx(0.2)
    for condition in CONDITIONS:
        assert parts[condition].outcome == "supported"
        assert parts[condition].low < 0.2 < parts[condition].high
    assert parts["taught less"].outcome == "supported"
    assert parts["taught less"].estimate == pytest.approx(0.4 - 0.2)
    for control in CONTROLS:
        assert parts[control].outcome == "supported"
        assert parts[control].estimate == pytest.approx(0.3)


@pytest.mark.parametrize(("name", "split"), CONDITIONS)
def test_completion_below_the_bases_in_one_condition_is_a_clean_refutation(name: str, split: str) -> None:
    records = house()
    hurt = arm(now=0.25).curves
    for who in ("", "_start", "_random"):
        key = f"completion_abandoned{who}_{split}"
        records[name] = dataclasses.replace(records[name], curves={**records[name].curves, key: hurt[key]})
    verdict, parts = judged(records)
    assert verdict.outcome == "refuted"
    assert [c for c in CONDITIONS if parts[c].outcome == "refuted"] == [(name, split)]
    assert verdict.estimate == parts[name, split].estimate == pytest.approx(-0.15)
    assert CONDITIONS[name, split] in verdict.sentence


def test_a_small_loss_within_the_margin_is_no_lost_ability() -> None:
    verdict, _ = judged(house(grpo=arm(now=0.37)))
    assert verdict.outcome == "supported"
    verdict, _ = judged(house(grpo=arm(now=0.35)))  # right at the margin
    assert verdict.outcome == "undecided"


def test_completion_like_chance_refutes_even_where_the_base_was_no_better() -> None:
    verdict, parts = judged(house(hard=arm(now=0.11, base=0.11, chance=0.1)))
    assert parts["hard", "test"].outcome == "refuted"
    assert verdict.outcome == "refuted"


def test_a_control_never_decides() -> None:
    verdict, parts = judged(house(nsr=arm(now=0.0, share=0.9)))
    assert parts["nsr"].outcome == "refuted"  # it abandons more
    assert verdict.outcome == "supported"


def test_kept_steps_that_gain_no_more_refute_that_abandoned_ones_are_taught_less() -> None:
    verdict, parts = judged(house(history=arm(kept=0.7)))
    assert parts["taught less, history"].outcome == "refuted"
    assert parts["taught less"].outcome == "supported"
    assert verdict.outcome == "supported"


def test_what_is_unlearnt_with_time_is_told_beside_the_claim() -> None:
    verdict, parts = judged(house(history_far=arm(now=0.45)))
    assert parts["unlearnt"].outcome == "supported"
    assert parts["unlearnt"].estimate == pytest.approx(-0.15)
    assert verdict.outcome == "supported"  # still no worse than the base
    _, parts = judged(house(history_fast=arm(now=0.45)))
    assert parts["unlearnt"].outcome == "refuted"


@pytest.mark.parametrize("name", ARMS)
def test_a_diverged_run_is_told_and_left_out(name: str) -> None:
    records = house()
    verdict, parts = judged({**records, name: diverge(records[name], [2])})
    assert "1 run diverged" in verdict.sentence
    assert verdict.outcome == "supported"
    for condition in CONDITIONS:
        assert parts[condition].n == SEEDS - (condition[0] == name)
    assert all("nan" not in part.sentence for part in (verdict, *parts.values()))


@pytest.mark.parametrize("runs", [[0, 1, 2], list(range(SEEDS))])
def test_too_few_runs_are_undecided(runs: list[int]) -> None:
    records = house()
    verdict, parts = judged({**records, "grpo": diverge(records["grpo"], runs)})
    assert verdict.outcome == parts["grpo", "train"].outcome == parts["grpo", "test"].outcome == "undecided"
    assert all("nan" not in part.sentence for part in (verdict, *parts.values()))


def test_a_handful_of_abandoned_steps_decides_nothing() -> None:
    for now in (0.6, 0.1):
        verdict, parts = judged(house(short=arm(now=now, share=0.005)))
        assert verdict.outcome == parts["short", "test"].outcome == "undecided"


def test_where_nothing_is_abandoned_there_is_nothing_to_decide() -> None:
    records = house()
    verdict, parts = judged({**records, "short": nothing_abandoned(records["short"])})
    assert verdict.outcome == parts["short", "test"].outcome == "undecided"
    assert parts["short", "test"].n == 0
    assert "0.0%" in parts["short", "test"].sentence
    assert all("nan" not in part.sentence for part in (verdict, *parts.values()))


@pytest.mark.parametrize("name", ["grpo", "history", "raft"])
def test_the_figure_can_be_drawn_whatever_is_missing(name: str) -> None:
    records = house()
    for hurt in (
        diverge(records[name], [1]),
        diverge(records[name], [*range(SEEDS)]),
        nothing_abandoned(records[name]),
    ):
        assert svg(access_or_ability.figure({**records, name: hurt})).startswith("<svg")


def test_the_arms_differ_in_what_the_question_asks_and_nothing_else() -> None:
    for size in ("quick", "standard", "full"):
        arms = access_or_ability.arms(size)
        assert set(arms) == set(ARMS)
        grpo = arms["grpo"]
        expected = {"grpo": set(), "short": {"learning"}, "fast": {"learning"}, "hard": {"world"}}
        expected |= {"history": {"world", "supervised"}}
        expected |= {arm: {"world", "supervised", "learning"} for arm in ("history_fast", "history_far")}
        expected |= {control: {"objective"} for control in CONTROLS}
        for name, setting in arms.items():
            fields = (field.name for field in dataclasses.fields(setting))
            assert {f for f in fields if getattr(setting, f) != getattr(grpo, f)} == expected[name], name
            assert setting.probes == ("first_steps",)
        assert arms["short"].learning.updates < grpo.learning.updates
        assert grpo.learning.epochs * grpo.learning.minibatches > 1
        assert access_or_ability.STUDY.seeds[size] >= 3


def test_a_run_records_every_measure_that_it_reads() -> None:
    tiny = dataclasses.replace(
        access_or_ability.arms("quick")["grpo"].with_learning(updates=2, measure_every=1),
        world=Spec("chain_reach", {"modulus": 7, "length": 2}),
        supervised=Supervised(steps=2, demonstrations=8),
    )
    results = train_runs(tiny, [0, 1, 2], train_bases(tiny, [0, 1, 2]))
    curves = {name: np.stack([result.curves[name].values for result in results]) for name in results[0].curves}
    records = Records({name: curve.steps for name, curve in results[0].curves.items()}, curves)
    verdict, parts = access_or_ability.judge(dict.fromkeys(ARMS, records))
    assert all("nan" not in part.sentence for part in (verdict, *parts))
