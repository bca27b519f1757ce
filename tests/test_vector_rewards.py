"""The judge of ``vector_rewards`` on values whose answer is known by construction, and its sweep."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import pytest
from judging import diverge

from toybed.agents.config import Spec, Supervised
from toybed.agents.probes import answer_search, best_answers
from toybed.agents.training import train_bases, train_runs
from toybed.benchmarks import vector_rewards
from toybed.benchmarks.vector_rewards_contrasts import BESIDE, DECIDING
from toybed.benchmarks.vector_rewards_measures import BUDGETS, COUNTS, last
from toybed.benchmarks.vector_rewards_sweep import ANSWERS, COMMONS, OBJECTIVES, SET, SETS, SWEPT, arm_at
from toybed.plotting import svg
from toybed.study import Records, Verdict

SEEDS = 5
STANDARD = vector_rewards.arms("standard")
SPREAD = 0.001 * (np.arange(SEEDS) - 2)  # of the seeds, around the mean
BEST = {"grpo": (0.6, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6), "vpo": (0.5, 0.7, 0.75, 0.8, 0.85, 0.9, 0.9)}


def arm(best: tuple[float, ...], *, apart: float = 1.5, conflict: float = 0.0) -> Records:
    """Best of n answers by n, the distance of two, and what is added to the best where components conflict."""
    ends = {"reward_train": 0.5, "spread_test": apart}
    for n, value in zip(COUNTS, best, strict=True):
        ends[f"right@{n}_test"] = value - 0.1
        ends |= {f"best@{n}_common_{c:g}_test": value + conflict * (c <= -2) for c in COMMONS["standard"]}
    for n in BUDGETS:
        for search in ("best_of", "evolution"):
            ends |= {f"{search}_{what}@{n}": best[-1] for what in ("solved", "value")}
    ends |= {f"correlation_common_{c:g}_test": c / 5 for c in COMMONS["standard"]}
    # Paired arms share what the seeds do, and have something of their own.
    own = 0.2 * SPREAD[::-1] * len(best) * apart
    curves = {name: np.stack([value + SPREAD, value + SPREAD + own], 1) for name, value in ends.items()}
    return Records({name: np.array([0, 100]) for name in curves}, curves)


def house(**other: Records) -> dict[str, Records]:
    """Sets are ahead, and VPO is ahead of other sets where components conflict and nowhere else."""
    records = {}
    for name in STANDARD:
        plain = name.removesuffix("_fast").split("_-")[0].split("_0.")[0].removesuffix("_1")
        sets = plain in (*SETS, "vpo_parallel")
        records[name] = arm(
            BEST["vpo" if sets else "grpo"],
            apart=1.5 if sets else 0.1,
            conflict=0.05 if plain == "vpo" else 0.0,
        )
    return records | other


def changed(records: Records, measure: str, by: float) -> Records:
    """The end of one measure moved."""
    curves = {name: values.copy() for name, values in records.curves.items()}
    curves[measure][:, -1] += by
    return dataclasses.replace(records, curves=curves)


def judged(records: Mapping[str, Records]) -> tuple[Verdict, dict[str, Verdict]]:
    verdict, parts = vector_rewards.judge(records)
    return verdict, dict(zip((*DECIDING, *BESIDE), parts, strict=True))


def test_what_the_claim_says_is_supported_where_it_is_so() -> None:
    verdict, parts = judged(house())
    assert verdict.outcome == "supported" and verdict.n == SEEDS
    assert verdict.estimate == parts["many"].estimate
    expected = {"one": -0.1, "many": 0.3, "grows": 0.15, "spread": 1.4, "conflict": 0.05, "nearly": 0.0}
    # SPREAD is symmetrical: what an arm's seeds have of their own has the mean 0.
    for name, value in expected.items():
        assert parts[name].outcome == "supported", name
        assert parts[name].estimate == pytest.approx(value, abs=1e-12)
    assert "certainly ahead from 3 on" in verdict.sentence
    assert "-0.100 at 1, +0.100 at 3" in verdict.sentence


@pytest.mark.parametrize(
    ("part", "name", "measure", "by"),
    [
        ("one", "vpo", "best@1_common_0_test", 0.2),
        ("many", "grpo", "best@48_common_0_test", 0.5),
        ("grows", "vpo", "best@6_common_0_test", 0.2),
        ("spread", "grpo", "spread_test", 1.35),
        ("conflict", "multi_rlvr", "best@48_common_-2_test", 0.1),
        ("nearly", "vpo_0.9", "best@48_common_0.9_test", 0.05),
    ],
)
def test_each_deciding_part_refutes_by_itself(part: str, name: str, measure: str, by: float) -> None:
    records = house()
    verdict, parts = judged({**records, name: changed(records[name], measure, by)})
    assert verdict.outcome == parts[part].outcome == "refuted"
    others = {p for p in DECIDING if parts[p].outcome != "supported"} - {part}
    assert others <= {"many": {"grows"}}.get(part, set())
    assert (verdict.estimate, verdict.low, verdict.high) == (
        pytest.approx(parts[part].estimate),
        pytest.approx(parts[part].low),
        pytest.approx(parts[part].high),
    )


def test_a_part_in_doubt_leaves_the_whole_undecided() -> None:
    records = house()
    doubt = records["multi_rlvr"].curves["best@48_common_-2_test"].copy()
    doubt[:, -1] += 0.05 + np.array([-0.04, -0.02, 0.0, 0.02, 0.04])
    curves = {**records["multi_rlvr"].curves, "best@48_common_-2_test": doubt}
    verdict, parts = judged({**records, "multi_rlvr": dataclasses.replace(records["multi_rlvr"], curves=curves)})
    assert verdict.outcome == parts["conflict"].outcome == "undecided"


def test_what_stands_beside_the_claim_never_decides() -> None:
    decide = {c.first for c in DECIDING.values()} | {c.second for c in DECIDING.values()}
    records = house()
    for name in set(OBJECTIVES) - decide - set(SWEPT):
        verdict, _ = judged({**records, name: arm((0.9,) * 7)})
        assert verdict.outcome == "supported", name


def test_who_does_not_see_what_components_share_is_valued_under_each_of_it() -> None:
    records = house()
    for common in COMMONS["standard"]:
        assert arm_at("grpo", common) == "grpo" and arm_at("vpo", common) in STANDARD
        np.testing.assert_array_equal(
            last(records, "multi_rlvr", "best@48", common),
            records["multi_rlvr"][f"best@48_common_{common:g}_test"][:, -1],
        )
        np.testing.assert_array_equal(
            last(records, "vpo", "best@3", common),
            records[arm_at("vpo", common)][f"best@3_common_{common:g}_test"][:, -1],
        )
    np.testing.assert_array_equal(
        last(records, "parallel_mean", "best@3", -2.0), records["vpo_parallel_1"]["best@3_common_-2_test"][:, -1]
    )
    np.testing.assert_array_equal(last(records, "base", "spread"), records["grpo"]["spread_test"][:, 0])


def test_what_an_arm_had_and_lost_stands_beside_what_it_has() -> None:
    records = house()
    spread = {"grpo": (1.2, 0.2), "multi_rlvr": (1.4, 0.9), "vpo": (1.3, 1.1)}
    for name, ends in spread.items():
        curves = {**records[name].curves, "spread_test": np.array(ends) + np.zeros((SEEDS, 1))}
        records[name] = dataclasses.replace(records[name], curves=curves)
    sentence = judged(records)[1]["spread"].sentence
    assert "VPO and GRPO have spread 1.100 and 0.200; they began with 1.300 and 1.200." in sentence
    np.testing.assert_array_equal(
        last(records, "base_set", "spread"), last(records, "multi_rlvr", "spread", start=True)
    )


def test_the_lead_is_split_in_both_orders() -> None:
    records = house()
    ends = {"grpo": 0.3, "grpo_mean": 0.4, "grpo_set": 0.55, "multi_rlvr": 0.6, "vpo": 0.61}
    for name, value in ends.items():
        records[name] = changed(records[name], "best@48_common_0_test", 0.0)
        records[name].curves["best@48_common_0_test"][:, -1] = value
    sentence = judged(records)[0].sentence
    assert (
        "in this order, +0.100 come with the components, +0.200 with the set and +0.010 with the preferences"
        in sentence
    )
    assert "in the other order the set by itself brings +0.250, and then the components +0.050." in sentence


@pytest.mark.parametrize("name", ["grpo", "vpo", "vpo_-2", "vpo_parallel_1", "vpo_fast"])
def test_a_diverged_run_is_told_and_left_out(name: str) -> None:
    records = house()
    verdict, parts = judged({**records, name: diverge(records[name], [2])})
    assert "1 run diverged" in verdict.sentence and verdict.outcome == "supported"
    assert parts["many"].n == SEEDS - (name in ("grpo", "vpo"))
    assert parts["conflict"].n == SEEDS - (name == "vpo_-2")
    assert all("nan" not in part.sentence for part in (verdict, *parts.values()))


@pytest.mark.parametrize("runs", [[0, 1, 2], list(range(SEEDS))])
def test_too_few_runs_are_undecided(runs: list[int]) -> None:
    records = house()
    verdict, parts = judged({**records, "vpo": diverge(records["vpo"], runs)})
    assert verdict.outcome == parts["many"].outcome == "undecided"
    assert all("nan" not in part.sentence for part in (verdict, *parts.values()))


def test_lost_runs_can_be_drawn() -> None:
    records = house()
    records |= {"vpo": diverge(records["vpo"], [1]), "vpo_-2": diverge(records["vpo_-2"], list(range(SEEDS)))}
    assert svg(vector_rewards.figure(records)).startswith("<svg")
    records["grpo"] = diverge(records["grpo"], list(range(SEEDS)))
    assert svg(vector_rewards.figure(records)).startswith("<svg")


def test_the_quick_size_judges_and_draws_what_it_has() -> None:
    records = {name: house()[name] for name in vector_rewards.arms("quick")}
    verdict, parts = vector_rewards.judge(records)
    assert verdict.outcome == "supported"
    assert len(DECIDING) < len(parts) < len(DECIDING) + len(BESIDE)
    assert svg(vector_rewards.figure(records)).startswith("<svg")


# -- the sweep ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("size", ["quick", "standard", "full"])
def test_the_arms_differ_in_what_the_question_asks_and_nothing_else(size: str) -> None:
    arms = vector_rewards.arms(size)
    grpo = arms["grpo"]
    for name, setting in arms.items():
        answers = setting.world.options.get("set_size", 1)
        assert answers * setting.learning.group == grpo.learning.group, "equal answers to a prompt"
        same = dataclasses.replace(setting, objective=grpo.objective, world=grpo.world)
        same = same.with_learning(group=grpo.learning.group)
        if name.endswith("_fast"):
            assert same.learning.learning_rate == pytest.approx(3 * grpo.learning.learning_rate)
            same = same.with_learning(learning_rate=grpo.learning.learning_rate)
        assert same == grpo, name
        assert set(setting.world.options) <= {"set_size", "common"}
    assert {name: arms[name].objective.options for name in arms if name.startswith("pkpo_vector")} == {
        "pkpo_vector": {},
        "pkpo_vector_3": {"k": SET},
        "pkpo_vector_24": {"k": ANSWERS},
    }
    assert grpo.learning.epochs * grpo.learning.minibatches > 1
    assert vector_rewards.STUDY.seeds[size] >= 3
    for common in COMMONS.get(size, COMMONS["standard"]):
        assert {arm_at(name, common) for name in SWEPT} <= set(arms)
        assert arms[arm_at("vpo", common)].world.options.get("common", 0.0) == common


def test_what_is_read_is_what_the_probes_measure() -> None:
    assert COUNTS == best_answers.ANSWERS and BUDGETS == answer_search.BUDGETS
    assert set(COMMONS["standard"]) == set(best_answers.COMMONS)


@pytest.mark.parametrize("sets", [False, True])
def test_a_run_records_every_measure_that_it_reads(sets: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(best_answers, "PROMPTS", {"train": 8, "test": 8})
    tiny = dataclasses.replace(
        STANDARD["vpo" if sets else "grpo"].with_learning(updates=2, prompts=4, measure_every=1),
        world=Spec("tool_search", {"questions": 40, **({"set_size": 3} if sets else {})}),
        supervised=Supervised(steps=2, demonstrations=8, demonstrator={"habit": 0.3}),
    )
    results = train_runs(tiny, [0, 1, 2], train_bases(tiny, [0, 1, 2]))
    curves = {name: np.stack([result.curves[name].values for result in results]) for name in results[0].curves}
    records = dict.fromkeys(STANDARD, Records({n: c.steps for n, c in results[0].curves.items()}, curves))
    verdict, parts = vector_rewards.judge(records)
    assert all("not known" not in part.sentence for part in (verdict, *parts))
    assert parts[1].estimate == 0  # of one and the same arm
