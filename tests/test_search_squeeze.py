"""The judge of ``search_squeeze`` on squeezes whose size is known by construction."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import pytest
from judging import diverge

from toybed.agents.config import Spec
from toybed.agents.probes.start_mixtures import SHARES
from toybed.agents.training import train_bases, train_runs
from toybed.benchmarks import search_squeeze, search_squeeze_figure
from toybed.benchmarks.search_squeeze_measures import WEIGHTS, at_equal_reward, beyond_base, front, optimum
from toybed.benchmarks.search_squeeze_sweep import FINE_TUNED, INTERVENTIONS, NARROW, QUICK, VARIED
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
    "optimal, retry",
    "fewer right",
    "more wrong",
    "narrow, narrow base",
    "narrow, varied base",
    "on the way",
    "lead train",
    "lead test",
    "lead of right ones, train",
    "lead of right ones, test",
)
CONTROLS = ("slow", "tied", "retry")
EARLY = ("early", "narrow_early")
ARMS = ("grpo", "narrow_grpo", *EARLY, *FINE_TUNED, "sft_right_grpo", *INTERVENTIONS, *CONTROLS)

VARIED_BASE = {"reward": 0.1, "pass@64": 0.9, "distinct_right@256": 12.0, "distinct_wrong@256": 120.0, "plans": 5.0}
NARROW_BASE = {"reward": 0.35, "pass@64": 0.6, "distinct_right@256": 4.0, "distinct_wrong@256": 20.0, "plans": 1.5}
SQUEEZED = {"reward": 0.46, "pass@64": 0.47, "distinct_right@256": 0.5, "distinct_wrong@256": 3.0, "plans": 0.05}


def arm(start: Mapping[str, float], end: Mapping[str, float]) -> Records:
    """Two points of every measure, alike on both splits; the end differs between seeds, the start half as much."""
    curves = {}
    for name in start:
        values = np.stack([start[name] + SPREAD / 2, end[name] + SPREAD], 1)
        names = [f"{name}_train", f"{name}_test"]
        if name == "plans":
            names = ["plan_entropy", "effective_tools", "entropy_train"]
        if name == "reward":
            names.append("reward_fresh_train")
        curves |= dict.fromkeys(names, values)
        # What the probe records at the end of GRPO, by the chord: pass@64 of a mixture is at least that.
        for share in SHARES if name in ("reward", "pass@64") else ():
            curves[f"{name}_start_{share:g}_train"] = share * values[:, :1] + (1 - share) * values
    return Records({name: np.array([0, 100]) for name in curves}, curves)


def house(**other: Records) -> dict[str, Records]:
    """Everything as claimed; interventions end where GRPO does, and fine-tuned bases like the varied one."""
    squeezed, narrow = arm(VARIED_BASE, SQUEEZED), arm(NARROW_BASE, SQUEEZED)
    records = dict.fromkeys(ARMS, squeezed) | dict.fromkeys(("narrow_grpo", "narrow_early"), narrow)
    return records | {name: arm(VARIED_BASE, VARIED_BASE) for name in FINE_TUNED} | other


def judged(records: Mapping[str, Records]) -> tuple[Verdict, dict[str, Verdict]]:
    verdict, parts = search_squeeze.judge(records)
    names = (*DECIDING, *BESIDE, *(name for name in INTERVENTIONS if name in records))
    return verdict, dict(zip(names, parts, strict=True))


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
def test_the_figure_can_be_drawn_whatever_is_missing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_squeeze_figure, "front", lambda **_: np.array([[0.15, 0.95], [0.47, 0.47]]))
    records = house()
    for runs in ([1], [*range(SEEDS)]):
        assert svg(search_squeeze.figure({**records, name: diverge(records[name], runs)})).startswith("<svg")
    fewer = {arm: found for arm, found in records.items() if arm not in INTERVENTIONS or arm in QUICK}
    assert svg(search_squeeze.figure(fewer)).startswith("<svg")


def test_the_arms_differ_in_what_the_question_asks_and_nothing_else() -> None:
    probes = {"probes"}  # GRPO has one more: what is had by mixing in its base
    expected = {"grpo": set(), "narrow_grpo": {"supervised"}, "sft_right_grpo": {"supervised"}}
    expected |= {"early": {"learning"}, "narrow_early": {"learning", "supervised"}}
    expected |= {arm: {"supervised", "learning"} for arm in FINE_TUNED} | {arm: {"objective"} for arm in INTERVENTIONS}
    expected |= {"slow": {"learning"}, "tied": {"world"}, "retry": {"world"}}
    for size in ("quick", "standard", "full"):
        arms = search_squeeze.STUDY.arms(size)
        assert set(arms) == set(ARMS) - (set() if size != "quick" else set(INTERVENTIONS) - set(QUICK))
        grpo = arms["grpo"]
        for name, setting in arms.items():
            fields = (field.name for field in dataclasses.fields(setting))
            differ = {f for f in fields if getattr(setting, f) != getattr(grpo, f)}
            assert differ == expected[name] | (probes if name != "grpo" else set()), name
        assert arms["slow"].learning == dataclasses.replace(
            grpo.learning, learning_rate=arms["slow"].learning.learning_rate
        )
        assert grpo.learning.epochs * grpo.learning.minibatches > 1
        assert search_squeeze.STUDY.seeds[size] >= 3
    for arm in ("sft_narrow", "sft_narrow_varied"):
        assert dataclasses.replace(FINE_TUNED[arm], before=None, right_only=False) == NARROW
    assert (FINE_TUNED["sft_narrow"].before, FINE_TUNED["sft_narrow_varied"].before) == (NARROW, VARIED)
    assert FINE_TUNED["sft_right"].stages[0] == FINE_TUNED["sft_all"].stages[0] == NARROW
    assert dataclasses.replace(FINE_TUNED["sft_all"], before=None) == VARIED
    assert dataclasses.replace(FINE_TUNED["sft_right"], before=None, right_only=False) == VARIED


def test_the_best_policies_are_worth_what_the_world_says() -> None:
    one, many = optimum(questions=64)
    assert one == many  # one plan for each cue answers a question always or never
    places = front(questions=64)
    assert tuple(places[-1]) == (one, many)
    assert (places[:, 0] <= one).all() and (places[:, 1] <= places[0, 1] + 1e-6).all()
    # Each is best for its own weighing, up to what an ascent may miss.
    for weight, place in zip(WEIGHTS, places[:-1], strict=True):
        worth = (1 - weight) * places[:, 1] + weight * places[:, 0]
        assert (1 - weight) * place[1] + weight * place[0] >= worth.max() - 1e-3


def test_a_rival_of_free_breadth_is_grpo_with_some_responses_of_its_base() -> None:
    """Halfway between a base at (0.1, 0.9) and GRPO at (0.46, 0.47) by the chord is (0.28, 0.685)."""
    half = arm(VARIED_BASE, {**SQUEEZED, "reward": 0.28, "pass@64": 0.7})
    assert beyond_base(house()["grpo"], half).mean() == pytest.approx(0.015, abs=2e-3)  # seeds move along the chord
    _, parts = judged(house(passk=arm(VARIED_BASE, {**SQUEEZED, "pass@64": 0.6, "reward": 0.455})))
    assert parts["passk"].outcome == "supported"
    # As much breadth at the price of the mixture is not free, even where pass@1 is close enough.
    _, parts = judged(house(passk=arm(VARIED_BASE, {**SQUEEZED, "pass@64": 0.47, "reward": 0.3})))
    assert parts["passk"].outcome == "refuted"


def test_equal_reward_is_the_first_time_that_both_have_it() -> None:
    def curve(reward: list[float], many: list[float]) -> Records:
        curves = {"reward_train": np.array([reward] * 2), "pass@64_train": np.array([many] * 2)}
        return Records({name: np.arange(len(reward)) for name in curves}, curves)

    a, b = curve([0.1, 0.3, 0.5], [0.9, 0.7, 0.5]), curve([0.4, 0.45, 0.42], [0.8, 0.6, 0.5])
    level, of_a, of_b = at_equal_reward(a, b)
    assert level == pytest.approx([0.45] * 2)
    assert of_a == pytest.approx([0.55] * 2)  # three quarters of the way from 0.3 to 0.5
    assert of_b == pytest.approx([0.6] * 2)
    assert at_equal_reward(curve([0.5, 0.6], [0.9, 0.8]), b)[1] == pytest.approx([0.9] * 2)  # it began above


def test_what_sft_does_is_the_width_of_what_it_is_shown() -> None:
    narrow = arm(VARIED_BASE, {**NARROW_BASE, "distinct_right@256": 3.0})
    verdict, parts = judged(house(sft_narrow=narrow, sft_narrow_varied=narrow))
    assert verdict.outcome == "supported"
    assert parts["narrow, narrow base"].outcome == parts["narrow, varied base"].outcome == "refuted"
    assert parts["narrow, narrow base"].estimate == pytest.approx(-1.0)
    assert parts["narrow, varied base"].estimate == pytest.approx(-9.0)


def test_a_run_records_every_measure_that_it_reads() -> None:
    grpo = search_squeeze.arms("quick")["grpo"]
    tiny = dataclasses.replace(
        grpo.with_learning(updates=2, prompts=8, measure_every=1),
        world=Spec("tool_search", {"questions": 40, "shift": "index"}),
        supervised=dataclasses.replace(FINE_TUNED["sft_right"], steps=2, before=dataclasses.replace(NARROW, steps=2)),
    )
    results = train_runs(tiny, [0, 1, 2], train_bases(tiny, [0, 1, 2]))
    curves = {name: np.stack([result.curves[name].values for result in results]) for name in results[0].curves}
    records = Records({name: curve.steps for name, curve in results[0].curves.items()}, curves)
    verdict, parts = search_squeeze.judge(dict.fromkeys(ARMS, records))
    assert all("nan" not in part.sentence for part in (verdict, *parts))
