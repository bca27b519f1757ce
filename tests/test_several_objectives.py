"""The rule of `several_objectives` on records whose answer is known."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import pytest
from judging import diverge

from toybed.agents.config import Setting, Spec, Supervised
from toybed.agents.training import train_bases, train_runs
from toybed.benchmarks import several_objectives
from toybed.benchmarks import several_objectives_contrasts as contrasts
from toybed.benchmarks import several_objectives_sweep as sweep
from toybed.benchmarks.several_objectives_measures import WorldPair, value
from toybed.envs import make
from toybed.objectives import get
from toybed.plotting import svg
from toybed.study import Records, Verdict

SEEDS = 5
STEPS = np.arange(0, 201, 10)
ENDS = np.array([0, 200])


def arm(kept: float, end: float = 0.5) -> Records:
    """Success goes straight from 0.1 to ``end``; entropy from 2 to ``2 kept``; seeds differ a little."""
    seeds = 1 + 0.01 * np.arange(SEEDS)[:, None]
    progress = STEPS[None] / 200
    success = 0.1 * seeds + (end - 0.1) * seeds * progress
    entropy = 2 * seeds * (1 + (kept - 1) * progress)
    curves = {"reward_train": success, "reward_test": success, "entropy_test": entropy, "pass@64_test": entropy / 4}
    steps = dict.fromkeys(curves, STEPS)
    for name, bits in (("outcome", 0.5), ("process", 1.5), ("shuffled", 1.6), ("told", 0.4)):
        curves[f"bits_{name}_train"] = bits * seeds * np.ones(2)
    curves["coverage@256_test"] = seeds * np.array([0.4, kept])
    curves["steps_right_test"] = seeds * np.array([0.4, end])
    return Records(steps | {name: ENDS for name in curves if name not in steps}, curves)


def house(process: float = 0.7, shuffled: float = 0.4, more: float = 0.4) -> dict[str, Records]:
    """Whoever is paid for the process too keeps that share of its entropy; the outcome keeps 0.4."""
    records = {name: arm(0.4) for name in sweep.arms("standard")}
    for world in sweep.STEPWISE:
        for credit, kept in (("process", process), ("shuffled", shuffled), ("more", more)):
            records |= {f"{world}/{credit}{rate}": arm(kept) for rate in ("", "_slow") if credit != "more" or not rate}
    return records


def judged(records: Mapping[str, Records]) -> tuple[Verdict, list[Verdict]]:
    verdict, parts = several_objectives.judge(records)
    claims = [part.claim for part in parts]
    assert len(set(claims)) == len(claims)
    return verdict, parts


def test_a_process_reward_that_keeps_more_than_all_controls_supports_the_claim() -> None:
    verdict, parts = judged(house())
    assert verdict.outcome == "supported"
    assert [part.outcome for part in parts[:6]] == ["supported"] * 6
    # Half of the gain is half of the way: entropies there are 2 * 0.85 and 2 * 0.7, seeds 1.02 in the mean.
    assert verdict.estimate == pytest.approx(0.3 * 1.02)
    assert "PlanExec: +0.306, +0.306, +0.306; ToolSearch: +0.306" in verdict.sentence
    assert [part.outcome for part in parts[6:10]] == ["supported"] * 4, "the controls have the bits that they should"


@pytest.mark.parametrize(("control", "place"), [("shuffled", 1), ("more", 2)])
def test_a_control_that_keeps_as_much_or_more_refutes_the_claim(control: str, place: int) -> None:
    verdict, parts = judged(house(**{control: 0.9}))
    assert verdict.outcome == "refuted"
    assert [part.outcome for part in parts[:3]] == ["refuted" if i == place else "supported" for i in range(3)]
    assert verdict.estimate < 0, "what decided is what is shown"


def test_no_difference_leaves_it_undecided() -> None:
    records = house(process=0.4)
    signs = np.array([1, -1, 1, -1, 0])[:, None] * 0.02
    noisy = records["plan/process"]
    records["plan/process"] = dataclasses.replace(
        noisy, curves={**noisy.curves, "entropy_test": noisy["entropy_test"] + signs}
    )
    assert judged(records)[1][0].outcome == "undecided"


def test_equal_success_is_the_first_moment_at_half_of_the_reference_gain() -> None:
    """Against a plain loop; a faster run is read earlier, and one that never gets there has no value."""
    records = {"plan/outcome": arm(0.4), "plan/process": arm(0.6, end=0.9), "plan/shuffled": arm(0.9, end=0.2)}
    got = value(records, "plan", "process", "entropy_test", "outcome")
    own, reference = records["plan/process"], records["plan/outcome"]
    for run in range(SEEDS):
        first, *_, last = reference["reward_test"][run]
        level = (first + last) / 2
        i = next(i for i, r in enumerate(own["reward_test"][run]) if r >= level)
        (r0, r1), (h0, h1) = (own[m][run][i - 1 : i + 1] for m in ("reward_test", "entropy_test"))
        assert got[run] == pytest.approx(h0 + (level - r0) / (r1 - r0) * (h1 - h0))
    assert np.isnan(value(records, "plan", "shuffled", "entropy_test", "outcome")).all()
    records["plan/outcome"] = arm(0.4, end=0.05)  # nothing was gained: there is no half of it
    assert np.isnan(value(records, "plan", "process", "entropy_test", "outcome")).all()


def test_a_run_that_diverged_is_told_and_left_out() -> None:
    records = house()
    for name in ("plan/outcome", "search/process", "chain/both_0.6"):
        records[name] = diverge(records[name], 2, at=10, wild=True)
    verdict, parts = judged(records)
    assert "3 runs diverged" in verdict.sentence
    assert verdict.outcome == "supported"
    assert parts[0].n == SEEDS - 1
    assert all("nan" not in part.sentence for part in (verdict, *parts))


def test_an_arm_that_diverged_altogether_decides_nothing() -> None:
    records = house()
    records["plan/process"] = diverge(records["plan/process"], range(SEEDS), at=10, wild=True)
    verdict, parts = judged(records)
    assert verdict.outcome == "undecided"
    assert all("nan" not in part.sentence for part in (verdict, *parts))
    assert svg(several_objectives.figure(records)).startswith("<svg")


def test_two_seeds_decide_nothing() -> None:
    records = {
        name: dataclasses.replace(found, curves={m: v[:2] for m, v in found.curves.items()})
        for name, found in house().items()
    }
    verdict, parts = judged(records)
    assert {part.outcome for part in (verdict, *parts)} == {"undecided"}


def test_the_quick_size_is_judged_and_drawn() -> None:
    records = {name: found for name, found in house().items() if name in sweep.arms("quick")}
    assert judged(records)[0].outcome == "supported"
    assert svg(several_objectives.figure(records)).startswith("<svg")
    assert svg(several_objectives.figure(house())).startswith("<svg")


@pytest.mark.parametrize("test", ["above", "below", "within"])
def test_a_contrast_says_its_rule(test: str) -> None:
    contrast = WorldPair("it is so.", "plan", "process", "outcome", "reward_test", None, test, 0.02)  # type: ignore[arg-type]
    part = contrast.judge(house())
    assert part.outcome == {"above": "refuted", "below": "supported", "within": "supported"}[test]
    assert "at the end" in part.rule and "0.02" in part.rule


# The arms -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", ["quick", "standard", "full"])
def test_arms_of_a_world_differ_in_what_is_paid_for_alone(size: str) -> None:
    arms = sweep.arms(size)
    for name, setting in arms.items():
        world, credit = name.split("/")
        first = arms[f"{world}/outcome"]
        same = dataclasses.replace(setting, objective=first.objective)
        if credit == "more":
            assert same.learning.group == sweep.STEPWISE[world].more > sweep.GROUP
            same = same.with_learning(group=sweep.GROUP)
        if credit.endswith("_slow"):
            assert setting.objective == arms[f"{world}/{credit.removesuffix('_slow')}"].objective
            same = same.with_learning(learning_rate=first.learning.learning_rate)
        assert same == first, name


@pytest.mark.parametrize("world", sweep.STEPWISE)
def test_outcome_and_steps_weigh_alike_and_the_outcome_is_what_is_kept(world: str) -> None:
    paid = sweep.STEPWISE[world]
    names = make(paid.setting.world.name).reward_names
    assert names[paid.kept] in ("success", "answer")
    assert paid.weights[paid.kept] == 1.0
    assert sum(paid.weights) == pytest.approx(2.0)
    arms = sweep.arms("standard")
    assert arms[f"{world}/dense"].objective.options["reward_weights"][paid.kept] == 0.0
    assert arms[f"{world}/shuffled"].objective.options == {"reward_weights": paid.weights, "kept": paid.kept}


def test_verifiers_of_one_column_have_that_youden_j() -> None:
    arms = sweep.arms("standard")
    for j, kinds in sweep.CHANNELS.items():
        for kind in kinds:
            options = arms[f"chain/{kind}_{j}"].objective.options
            assert options["true_positive"] - options["false_positive"] == pytest.approx(float(j))


def test_every_contrast_names_arms_that_are_run() -> None:
    arms = sweep.arms("standard")
    for contrast in (*contrasts.DECIDING, *contrasts.BESIDE):
        for credit in (contrast.own, contrast.rival, contrast.reference or contrast.own):
            assert f"{contrast.world}/{credit}" in arms
            assert credit in sweep.NAMES


def test_every_objective_of_the_sweep_can_be_built() -> None:
    for setting in sweep.arms("standard").values():
        get(setting.objective.name, **setting.objective.options)


def test_a_run_has_every_measure_that_is_read() -> None:
    """Tiny runs of two seeds in small worlds, judged."""
    records = {}
    for name, setting in sweep.arms("standard").items():
        small = setting.with_learning(updates=2, measure_every=1, prompts=4, group=4)
        tiny = dataclasses.replace(small, world=_small(setting), supervised=Supervised(steps=1, demonstrations=8))
        results = train_runs(tiny, [0, 1], train_bases(tiny, [0, 1]))
        names = results[0].curves
        records[name] = Records(
            {m: np.asarray(names[m].steps) for m in names},
            {m: np.array([r.curves[m].values for r in results]) for m in names},
        )
    verdict, parts = judged(records)
    assert {part.outcome for part in (verdict, *parts)} <= {"undecided"}


def _small(setting: Setting) -> Spec:
    knobs = {
        "plan_exec": {"types": 4, "values": 5, "skills": 3, "nvalid": 1},
        "tool_search": {"questions": 64},
        "chain_reach": {"modulus": 13, "length": 3},
    }
    return Spec(setting.world.name, knobs[setting.world.name])
