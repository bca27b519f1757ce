"""The judge of ``critique_feedback`` on runs whose ends are known by construction."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import pytest
from judging import diverge

from toybed.agents.config import Critique, Setting, Spec, Supervised
from toybed.agents.training import train_bases, train_runs
from toybed.benchmarks import critique_feedback
from toybed.benchmarks import critique_feedback_beside as beside
from toybed.benchmarks.critique_feedback_measures import ALL, ENTROPY, HARD_TYPES, PASS_AT, difference, on_the_way
from toybed.benchmarks.critique_feedback_sweep import FAR, FASTER, QUICK, RESPONSES, arms
from toybed.plotting import svg
from toybed.study import Records, Verdict

SEEDS = 5
SPREAD = 0.002 * (np.arange(SEEDS) - 2)  # of the seeds, around the mean
STEPS = np.array([0, 10, 20])
ARMS = tuple(arms("full"))
SOLVE = ("full", "solution", "unshaped", "all", "imitated", "solution_unshaped", "solution_imitated", "noise_0.1")


def arm(end: float = 0.5, hard: float = 0.001, *, entropy: float = 0.2, times: int = 1) -> Records:
    """From 0.02 over halfway to the end; the end differs between seeds; measured ``times`` as often, as long."""
    points = 1 + 2 * times
    steps = np.arange(points) * 10
    ways = {name: (0.02, end) for name in PASS_AT} | {HARD_TYPES: (0.0, hard), ENTROPY: (1.0, entropy)}
    ways |= {"reward_train": (0.02, end), "entropy_plan_conditional": (0.9, entropy)}
    rise = np.minimum(np.arange(points) / 2, 1.0)
    curves = {
        name: np.repeat((start + (to - start) * rise)[None], SEEDS, 0) + SPREAD[:, None] * (to / 1.0) * rise
        for name, (start, to) in ways.items()
    }
    curves["sampled_mended"] = np.full((SEEDS, 2), 0.9)
    return Records({name: steps[-v.shape[1] :] for name, v in curves.items()}, curves)


def house(**other: Records) -> dict[str, Records]:
    """Everything as claimed: what is refined after a full critique is solved, all else stays at half."""
    records = {name: arm() for name in ARMS} | {name: arm(0.98, 0.99, entropy=0.3) for name in SOLVE}
    records |= {"far": arm(times=FAR), "table_far": arm(0.75, times=FAR), "table_full": arm(0.99, 0.99)}
    records |= {"none": arm(0.4), "indicative": arm(0.45), "located": arm(0.6), "table_none": arm(0.4)}
    return records | {"table_indicative": arm(0.45), "table_located": arm(0.6)} | other


def judged(records: Mapping[str, Records]) -> tuple[Verdict, dict[str, Verdict]]:
    verdict, parts = critique_feedback.judge(records)
    assert len({part.claim for part in parts}) == len(parts)
    return verdict, {part.claim: part for part in parts}


def part_of(parts: Mapping[str, Verdict], words: str) -> Verdict:
    """The part whose claim begins with these words, or the only one that holds them."""
    begins = [part for claim, part in parts.items() if claim.startswith(words)]
    (found,) = begins or [part for claim, part in parts.items() if words in claim]
    return found


DECIDING = {
    "far": "GRPO for 4 times the updates climbs",
    "climbs": "At no more responses",
    "hard": "On hard types the full",
    "indicative": "With a critique that only says right or wrong it",
}


def test_a_climb_where_outcomes_stay_supports_the_claim() -> None:
    verdict, parts = judged(house())
    assert verdict.outcome == "supported"
    assert verdict.n == SEEDS
    assert verdict.estimate == pytest.approx(0.48)
    assert [part_of(parts, words).outcome for words in DECIDING.values()] == ["supported"] * 4
    assert part_of(parts, DECIDING["hard"]).estimate == pytest.approx(0.989)
    assert part_of(parts, "In tables GRPO ends at the plateau").outcome == "supported"
    assert part_of(parts, "In tables the full critique").outcome == "supported"
    assert part_of(parts, "Network: a critique that is indicative").estimate == pytest.approx(0.05)
    assert part_of(parts, "Tables: a critique that is located").estimate == pytest.approx(0.15)
    assert part_of(parts, "Tables: a critique that is full").estimate == pytest.approx(0.39)
    assert part_of(parts, "entropy is above").estimate == pytest.approx(0.075)  # halfway 0.05, at the end 0.1
    assert part_of(parts, "pass@k").outcome == "supported"
    assert part_of(parts, "wrong with a chance of 0.1").outcome == "supported"
    assert "90%" in part_of(parts, DECIDING["climbs"]).sentence


@pytest.mark.parametrize(
    ("part", "name", "changed"),
    [
        ("far", "far", arm(0.7, times=FAR)),
        ("climbs", "grpo", arm(0.95)),
        ("hard", "full", arm(0.98, 0.05)),
        ("indicative", "indicative", arm(0.7)),
    ],
)
def test_each_deciding_part_alone_refutes(part: str, name: str, changed: Records) -> None:
    verdict, parts = judged(house(**{name: changed}))
    assert verdict.outcome == "refuted"
    assert [key for key, words in DECIDING.items() if part_of(parts, words).outcome == "refuted"] == [part]
    assert verdict.estimate == part_of(parts, DECIDING[part]).estimate


def test_what_is_told_beside_never_decides() -> None:
    full = arm(0.98, 0.99, entropy=0.1)
    solved = {"far": arm(0.5, 0.1, times=FAR), "indicative": arm(0.45, 0.1)}  # hard types, against all construction
    verdict, parts = judged(
        house(full=full, table_far=arm(0.6, times=FAR), solution=arm(0.995), all=arm(0.999), **solved)
    )
    assert verdict.outcome == "supported"
    for words in ("GRPO for 4 times the updates never", "wrong, hard types are never solved"):
        assert part_of(parts, words).outcome == "refuted"
    for words in ("ends at the plateau", "entropy is above", "Leaving wrong refinements", "solutions, both shaped"):
        assert part_of(parts, words).outcome == "refuted"


def test_what_is_alike_is_undecided() -> None:
    _, parts = judged(house(unshaped=arm(0.98, 0.99)))
    assert part_of(parts, "Shaping helps").outcome == "undecided"
    assert part_of(parts, "Shaping helps").estimate == pytest.approx(0.0, abs=1e-12)


def test_grpo_at_its_best_rate_is_the_rival() -> None:
    _, parts = judged(house(slow=arm(0.7)))
    assert part_of(parts, "best of three").estimate == pytest.approx(0.28)
    _, parts = judged(house(fast=arm(0.99)))
    assert part_of(parts, "best of three").outcome == "refuted"


def test_pass_at_k_is_above_at_every_k_or_not() -> None:
    grpo = arm()
    grpo = dataclasses.replace(grpo, curves={**grpo.curves, "pass@64_test": arm(0.999).curves[ALL]})
    _, parts = judged(house(grpo=grpo))
    assert part_of(parts, "pass@k").outcome == "refuted"
    assert part_of(parts, "pass@k").estimate == pytest.approx(-0.019)


def test_on_the_way_only_updates_that_both_have_are_compared() -> None:
    records = {"short": arm(0.9), "long": arm(0.5, times=FAR)}
    # halfway (0.9 - 0.5) / 2, then 0.4, and no more
    np.testing.assert_allclose(on_the_way(records, "short", "long", ALL), 0.3 + 0.75 * 0.4 * SPREAD)
    np.testing.assert_allclose(difference(records, "short", "long"), 0.4 + 0.4 * SPREAD)
    hurt = {**records, "long": diverge(records["long"], [2], at=-1)}
    assert list(np.isnan(on_the_way(hurt, "short", "long", ALL))) == [False, False, True, False, False]


@pytest.mark.parametrize("name", ARMS)
def test_a_diverged_run_is_told_and_left_out(name: str) -> None:
    records = house()
    verdict, parts = judged({**records, name: diverge(records[name], [2], at=-1)})
    assert "1 run diverged" in verdict.sentence
    assert verdict.outcome == "supported"
    assert part_of(parts, DECIDING["climbs"]).n == SEEDS - (name in ("full", "grpo"))
    assert all("nan" not in part.sentence for part in (verdict, *parts.values()))


@pytest.mark.parametrize("runs", [[0, 1, 2], list(range(SEEDS))])
def test_too_few_runs_are_undecided(runs: list[int]) -> None:
    records = house()
    verdict, parts = judged({**records, "full": diverge(records["full"], runs, at=-1)})
    assert verdict.outcome == part_of(parts, DECIDING["climbs"]).outcome == "undecided"
    assert all("nan" not in part.sentence for part in (verdict, *parts.values()))


def test_the_quick_size_tells_what_it_has() -> None:
    records = {name: records for name, records in house().items() if name in QUICK}
    verdict, parts = judged(records)
    assert verdict.outcome == "supported"
    assert len(parts) < len(judged(house())[1])
    assert svg(critique_feedback.figure(records)).startswith("<svg")


@pytest.mark.parametrize("name", ["grpo", "full", "solution", "table_full"])
@pytest.mark.parametrize("runs", [[1], list(range(SEEDS))])
def test_the_figure_can_be_drawn_whatever_is_missing(name: str, runs: list[int]) -> None:
    records = house()
    assert svg(critique_feedback.figure({**records, name: diverge(records[name], runs, at=-1)})).startswith("<svg")


# -- the sweep --------------------------------------------------------------------------------------------------------
def differing(own: object, other: object) -> set[str]:
    names = (field.name for field in dataclasses.fields(own))  # type: ignore[arg-type]
    return {name for name in names if getattr(own, name) != getattr(other, name)}


def critique_of(setting: Setting) -> Critique:
    assert isinstance(setting.learner, Critique)
    return setting.learner


def test_arms_differ_in_what_the_question_asks_and_nothing_else() -> None:
    assert set(arms("quick")) == set(QUICK)
    assert set(QUICK) < set(arms("standard")) < set(ARMS)
    assert critique_feedback.STUDY.worlds
    for size in ("standard", "full"):
        sweep = arms(size)
        for name, setting in sweep.items():
            grpo = sweep["table_far" if name.startswith("table_") else "grpo"]
            if setting.learner is None:
                assert differing(setting, grpo) <= {"learning", "objective"}
            else:
                assert differing(setting, grpo) == {"learner", "objective", "learning"}
                lengths = {"updates"} if name.startswith("table_") else set()
                assert differing(setting.learning, grpo.learning) == {"group"} | lengths
        assert differing(sweep["table_far"], sweep["grpo"]) == {"policy", "supervised", "learning"}
        assert sweep["grpo"].learning.epochs * sweep["grpo"].learning.minibatches > 1
    assert min(critique_feedback.STUDY.seeds.values()) >= 3


def test_critiques_differ_in_one_thing_each() -> None:
    sweep = arms("full")
    full = critique_of(sweep["full"])
    expected = {
        **{degree: {"degree"} for degree in ("none", "indicative", "located", "solution", "solution_unshaped")},
        **{name: {"noise"} for name in ("noise_0.1", "noise_0.25", "noise_0.5", "noise_0.25_unshaped")},
        **{"noise_0.5_unshaped": {"noise"}, "noise_0.25_longer": {"noise", "rounds"}},
        **{"noise_0.5_all": {"noise", "keep"}, "all": {"keep"}, "unshaped": set(), "imitated": {"taken_for"}},
        "solution_imitated": {"degree", "taken_for"},
    }
    for name, fields in expected.items():
        assert differing(critique_of(sweep[name]), full) == fields, name
        shaped = sweep[name].objective == Spec("critique_grpo")
        assert shaped == (not name.endswith(("unshaped", "imitated"))), name


def test_grpo_has_as_many_responses_as_any_critique_but_the_longer_one() -> None:
    for name, setting in arms("full").items():
        learning = setting.learning
        if setting.learner is None:
            assert learning.group == RESPONSES
        elif name != "noise_0.25_longer":
            critique = critique_of(setting)
            assert learning.group - critique.refined + critique.refined * critique.rounds == RESPONSES


def test_controls_are_as_long_and_as_fast_as_they_say() -> None:
    sweep = arms("full")
    grpo = sweep["grpo"].learning
    assert sweep["far"].learning == dataclasses.replace(grpo, updates=FAR * grpo.updates)
    assert sweep["fast"].learning.learning_rate == FASTER * grpo.learning_rate
    assert sweep["slow"].learning.learning_rate == grpo.learning_rate / FASTER
    # what is compared on the way was measured at the same updates
    for arms_compared in beside.COMPARED:
        own, rival = (sweep[name].learning for name in arms_compared[:2])
        assert own.measure_every == rival.measure_every


def test_a_run_records_every_measure_that_is_read() -> None:
    records = {}
    for name, setting in arms("quick").items():
        if name not in ("grpo", "full"):
            continue
        tiny = dataclasses.replace(
            setting.with_learning(updates=2, measure_every=1, prompts=4),
            world=Spec("plan_exec", {"types": 4, "stages": 2, "skills": 4, "values": 4}),
            policy=Spec("mlp", {"width": 8}),
            supervised=Supervised(steps=2, demonstrations=8),
        )
        results = train_runs(tiny, [0, 1, 2], train_bases(tiny, [0, 1, 2]))
        curves = {key: np.stack([result.curves[key].values for result in results]) for key in results[0].curves}
        records[name] = Records({key: curve.steps for key, curve in results[0].curves.items()}, curves)
    every = {name: records["grpo" if arms("full")[name].learner is None else "full"] for name in ARMS}
    verdict, parts = critique_feedback.judge(every)
    assert all("nan" not in part.sentence for part in (verdict, *parts))
    assert svg(critique_feedback.figure(every)).startswith("<svg")
