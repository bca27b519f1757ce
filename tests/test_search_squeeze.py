"""The judge of ``search_squeeze`` on squeezes whose size is known by construction."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import pytest

from toybed.agents.config import Spec
from toybed.agents.training import train_bases, train_runs
from toybed.benchmarks import search_squeeze
from toybed.benchmarks.search_squeeze import best_at_k
from toybed.benchmarks.search_squeeze_sweep import AFTER_NARROW, INTERVENTIONS, NARROW, QUICK, VARIED
from toybed.plotting import svg
from toybed.study import Records, Verdict

SEEDS = 5
SPREAD = 0.004 * (np.arange(SEEDS) - 2)  # of the seeds, around the mean
DECIDING = ("squeezes", "pays", "narrows", "fewer wrong", "more right")
BESIDE = (
    "optimal",
    "optimal, tied",
    "squeezes, slow",
    "narrows, slow",
    "squeezes, tied",
    "squeezes, retry",
    "fewer right",
    "more wrong",
    "lead train",
    "lead test",
    "lead of right ones, train",
    "lead of right ones, test",
)
CONTROLS = ("slow", "tied", "retry")
ARMS = ("grpo", "narrow_grpo", *AFTER_NARROW, "sft_right_grpo", *INTERVENTIONS, *CONTROLS)

VARIED_BASE = {"reward": 0.1, "pass@64": 0.9, "distinct_right@256": 12.0, "distinct_wrong@256": 120.0, "plans": 5.0}
NARROW_BASE = {"reward": 0.35, "pass@64": 0.6, "distinct_right@256": 4.0, "distinct_wrong@256": 20.0, "plans": 1.5}
SQUEEZED = {"reward": 0.46, "pass@64": 0.47, "distinct_right@256": 0.5, "distinct_wrong@256": 3.0, "plans": 0.05}


def arm(start: Mapping[str, float], end: Mapping[str, float]) -> Records:
    """Two points of every measure, alike on both splits; the end differs between seeds, the start half as much."""
    curves = {}
    for name in start:
        values = np.stack([start[name] + SPREAD / 2, end[name] + SPREAD], 1)
        names = ("plan_entropy", "effective_tools") if name == "plans" else (f"{name}_train", f"{name}_test")
        curves |= dict.fromkeys(names, values)
    return Records({name: np.array([0, 100]) for name in curves}, curves)


def house(**other: Records) -> dict[str, Records]:
    """Everything as claimed; interventions end where GRPO does, and fine-tuned bases like the varied one."""
    squeezed, narrow = arm(VARIED_BASE, SQUEEZED), arm(NARROW_BASE, SQUEEZED)
    records = dict.fromkeys(ARMS, squeezed) | {"narrow_grpo": narrow}
    return records | {name: arm(VARIED_BASE, VARIED_BASE) for name in AFTER_NARROW} | other


def judged(records: Mapping[str, Records]) -> tuple[Verdict, dict[str, Verdict]]:
    verdict, parts = search_squeeze.judge(records)
    names = (*DECIDING, *BESIDE, *(name for name in INTERVENTIONS if name in records))
    return verdict, dict(zip(names, parts, strict=True))


def diverge(records: Records, runs: list[int]) -> Records:
    curves = {name: values.copy() for name, values in records.curves.items()}
    for values in curves.values():
        values[runs, 1:] = np.nan
    return dataclasses.replace(records, curves=curves, causes=("its loss was not finite",) * len(runs))


def test_a_squeeze_and_an_expansion_support_the_claim() -> None:
    verdict, parts = judged(house())
    assert verdict.outcome == "supported"
    assert verdict.n == SEEDS
    # 1 - (0.05 + s) / (5 + s / 2) with spreads s of mean 0: the curvature moves the mean by less than 1e-6
    assert verdict.estimate == pytest.approx(0.99, abs=1e-5)
    assert [parts[name].outcome for name in DECIDING] == ["supported"] * 5
    assert parts["pays"].estimate == pytest.approx(0.36)
    assert parts["narrows"].estimate == pytest.approx(0.43)
    assert parts["fewer wrong"].estimate == pytest.approx(-17.0)  # the smaller change, of the narrow base
    assert parts["more right"].estimate == pytest.approx(8.0)
    assert parts["optimal"].outcome == "supported"
    assert parts["lead train"].outcome == parts["lead test"].outcome == "refuted"
    assert parts["lead train"].estimate == pytest.approx(0.0, abs=1e-9)
    assert parts["kl_cov"].outcome == "refuted"


@pytest.mark.parametrize(
    ("part", "name", "start", "change"),
    [
        ("squeezes", "grpo", VARIED_BASE, {"plans": 1.0}),
        ("pays", "grpo", VARIED_BASE, {"reward": 0.05}),
        ("narrows", "grpo", VARIED_BASE, {"pass@64": 0.85}),
        ("fewer wrong", "grpo", VARIED_BASE, {"distinct_wrong@256": 130.0}),
        ("fewer wrong", "narrow_grpo", NARROW_BASE, {"distinct_wrong@256": 21.0}),
        ("more right", "sft_right", VARIED_BASE, {"distinct_right@256": 3.0}),
    ],
)
def test_one_part_that_came_out_otherwise_refutes_the_whole(part, name, start, change) -> None:
    verdict, parts = judged(house(**{name: arm(start, {**SQUEEZED, **change})}))
    assert [each for each in DECIDING if parts[each].outcome == "refuted"] == [part]
    assert verdict.outcome == "refuted"
    assert verdict.estimate == parts[part].estimate


@pytest.mark.parametrize(("change", "part"), [({"plans": 0.5}, "squeezes"), ({"pass@64": 0.7}, "narrows")])
def test_a_change_at_its_threshold_decides_nothing(change, part) -> None:
    verdict, parts = judged(house(grpo=arm(VARIED_BASE, {**SQUEEZED, **change})))
    assert parts[part].outcome == verdict.outcome == "undecided"


def test_what_is_beside_the_claim_never_decides_it() -> None:
    nothing = arm(VARIED_BASE, VARIED_BASE)
    others = dict.fromkeys((*CONTROLS, *INTERVENTIONS, "sft_right_grpo", "sft_all"), nothing)
    verdict, parts = judged(house(**others))
    assert verdict.outcome == "supported"
    assert parts["squeezes, slow"].outcome == parts["narrows, slow"].outcome == "refuted"
    assert parts["squeezes, tied"].outcome == parts["squeezes, retry"].outcome == "refuted"
    assert parts["optimal, tied"].outcome == "refuted"
    assert parts["lead of right ones, train"].outcome == "supported"  # all of the lead is kept, and more


def test_the_lead_kept_is_a_share_of_the_lead_before() -> None:
    kept = {**SQUEEZED, "pass@64": 0.47 + 0.8 * 0.3}
    _, parts = judged(house(grpo=arm(VARIED_BASE, kept)))
    assert parts["lead train"].outcome == "supported"
    assert parts["lead train"].estimate == pytest.approx(0.8)
    # Without a lead before there is no share of it.
    level = arm({**VARIED_BASE, "pass@64": 0.6}, SQUEEZED)
    _, parts = judged(house(grpo=level))
    assert parts["lead train"].outcome == "undecided"
    assert parts["lead train"].n == 0


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        ({"pass@64": 0.7}, "supported"),
        ({"pass@64": 0.7, "reward": 0.4}, "refuted"),
        ({"pass@64": 0.5}, "refuted"),
        ({"pass@64": 0.57}, "undecided"),
        ({"pass@64": 0.7, "reward": 0.44}, "undecided"),
    ],
)
def test_free_breadth_is_more_pass_at_64_for_no_pass_at_1(change, outcome) -> None:
    # Another order of the seeds, so that paired differences vary.
    shuffled = arm(VARIED_BASE, {**SQUEEZED, **change})
    curves = {name: np.stack([v[:, 0], v[[1, 2, 3, 4, 0], 1]], 1) for name, v in shuffled.curves.items()}
    _, parts = judged(house(passk=dataclasses.replace(shuffled, curves=curves)))
    assert parts["passk"].outcome == outcome
    assert parts["passk"].estimate == pytest.approx({**SQUEEZED, **change}["pass@64"] - 0.47)


@pytest.mark.parametrize("name", ARMS)
def test_a_diverged_run_is_told_and_left_out(name: str) -> None:
    records = house()
    verdict, parts = judged({**records, name: diverge(records[name], [2])})
    assert "1 run diverged" in verdict.sentence
    assert verdict.outcome == "supported"
    assert parts["squeezes"].n == SEEDS - (name == "grpo")
    assert all("nan" not in part.sentence for part in (verdict, *parts.values()))


@pytest.mark.parametrize("runs", [[0, 1, 2], list(range(SEEDS))])
def test_too_few_runs_are_undecided(runs: list[int]) -> None:
    records = house()
    verdict, parts = judged({**records, "grpo": diverge(records["grpo"], runs)})
    assert verdict.outcome == parts["squeezes"].outcome == "undecided"
    assert all("nan" not in part.sentence for part in (verdict, *parts.values()))


@pytest.mark.parametrize("name", ["grpo", "narrow_grpo", "sft_right", "passk"])
def test_the_figure_can_be_drawn_whatever_is_missing(name: str) -> None:
    records = house()
    for runs in ([1], [*range(SEEDS)]):
        assert svg(search_squeeze.figure({**records, name: diverge(records[name], runs)})).startswith("<svg")
    fewer = {arm: found for arm, found in records.items() if arm not in INTERVENTIONS or arm in QUICK}
    assert svg(search_squeeze.figure(fewer)).startswith("<svg")


def test_the_arms_differ_in_what_the_question_asks_and_nothing_else() -> None:
    expected = {"grpo": set(), "narrow_grpo": {"supervised"}, "sft_right_grpo": {"supervised"}}
    expected |= {arm: {"supervised", "learning"} for arm in AFTER_NARROW} | {
        arm: {"objective"} for arm in INTERVENTIONS
    }
    expected |= {"slow": {"learning"}, "tied": {"world"}, "retry": {"world", "probes"}}
    for size in ("quick", "standard", "full"):
        arms = search_squeeze.STUDY.arms(size)
        assert set(arms) == set(ARMS) - (set() if size != "quick" else set(INTERVENTIONS) - set(QUICK))
        grpo = arms["grpo"]
        for name, setting in arms.items():
            fields = (field.name for field in dataclasses.fields(setting))
            assert {f for f in fields if getattr(setting, f) != getattr(grpo, f)} == expected[name], name
        assert arms["slow"].learning == dataclasses.replace(
            grpo.learning, learning_rate=arms["slow"].learning.learning_rate
        )
        assert grpo.learning.epochs * grpo.learning.minibatches > 1
        assert search_squeeze.STUDY.seeds[size] >= 3
    assert AFTER_NARROW["sft_right"].stages[0] == AFTER_NARROW["sft_all"].stages[0] == NARROW
    assert dataclasses.replace(AFTER_NARROW["sft_all"], before=None) == VARIED
    assert dataclasses.replace(AFTER_NARROW["sft_right"], before=None, right_only=False) == VARIED


def test_the_best_policies_are_worth_what_the_world_says() -> None:
    one, many = best_at_k(1, questions=64)
    assert one == many  # one plan for each cue answers a question always or never
    later, most = best_at_k(64, questions=64)
    assert later < one and most > many


def test_a_run_records_every_measure_that_it_reads() -> None:
    grpo = search_squeeze.arms("quick")["grpo"]
    tiny = dataclasses.replace(
        grpo.with_learning(updates=2, prompts=8, measure_every=1),
        world=Spec("tool_search", {"questions": 40, "shift": "index"}),
        supervised=dataclasses.replace(AFTER_NARROW["sft_right"], steps=2, before=dataclasses.replace(NARROW, steps=2)),
    )
    results = train_runs(tiny, [0, 1, 2], train_bases(tiny, [0, 1, 2]))
    curves = {name: np.stack([result.curves[name].values for result in results]) for name in results[0].curves}
    records = Records({name: curve.steps for name, curve in results[0].curves.items()}, curves)
    verdict, parts = search_squeeze.judge(dict.fromkeys(ARMS, records))
    assert all("nan" not in part.sentence for part in (verdict, *parts))
