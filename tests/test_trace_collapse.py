"""The judge of ``trace_collapse`` on traces whose fate is known by construction."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from judging import diverge

from toybed.agents.config import Supervised
from toybed.agents.probes.traces import the_story
from toybed.agents.training import train_bases, train_runs
from toybed.benchmarks import trace_collapse
from toybed.benchmarks.trace_collapse_figure import most_frequent, story_world
from toybed.benchmarks.trace_collapse_measures import Difference, Value, name_of
from toybed.benchmarks.trace_collapse_parts import BESIDE, DECIDING, LARGEST, SMALLEST
from toybed.benchmarks.trace_collapse_sweep import LARGE, SMALL, WORLD, arm, arms
from toybed.envs import make
from toybed.plotting import svg
from toybed.study import Records, Verdict

SEEDS = 5
ARMS = tuple(arms("standard"))
SPREAD = 0.004 * (np.arange(SEEDS) - 2)  # of the seeds, around the mean
EVENTS = 8


def record(
    *,
    valid: tuple[float, float] = (0.4, 0.4),
    answer: tuple[float, float] = (0.6, 0.7),
    written: float = 0.6,
    silent: float | None = None,
    told: float = 0.9,
) -> Records:
    """Validity and accuracy of the base and after RL; what is written, and the answers to given traces, after RL."""
    curves = {
        "reward_train": answer,
        "trace_validity": valid,
        "trace_written": (0.6, written),
        "trace_right": (0.7, 0.7),
        "trace_validity_given_correct": valid,
        "accuracy_trained": answer,
        "separable_trained": (0.2, 0.3),
        "agreement_first_departure_directed": (0.2, 0.3),
        "accuracy_silent": (0.4, answer[1] if silent is None else silent),
        "accuracy_told": (0.8, told),
    }
    # The base differs between seeds, and so does the end, by twice as much.
    values = {name: np.array([[a, b]]) + SPREAD[:, None] * [1, 2] for name, (a, b) in curves.items()}
    values |= {f"story_token_{t}": np.full((SEEDS, 2), float(t % 5)) for t in range(EVENTS + 1)}
    return Records({name: np.array([0, 100]) for name in values}, values)


def house(**other: Records) -> dict[str, Records]:
    """As published: with memory the small policy loses its trace and the large one keeps it; without, both keep it."""
    found = {name: record() for name in ARMS}
    found[SMALLEST] = record(valid=(0.4, 0.1))
    for memory in ("full", "none"):
        for width in (SMALL, LARGE):
            own = found[arm(memory, width)]
            level = float(own["trace_validity"][:, -1].mean())
            found[arm(memory, width, "cost")] = record(valid=(0.4, level - 0.1), written=0.1)
            found[arm(memory, width, "paid")] = record(valid=(0.4, 0.9), answer=(0.6, 0.8))
    found[arm("full", LARGE, "never")] = record(written=0.999)
    found[arm("full", LARGE, "never_cost")] = record(written=0.999)
    return found | other


def judged(records: Mapping[str, Records]) -> tuple[Verdict, dict[str, Verdict]]:
    verdict, parts = trace_collapse.judge(records)
    names = [*DECIDING, *(name for name, contrast in BESIDE.items() if contrast.made(records))]
    return verdict, dict(zip(names, parts, strict=True))


def test_what_was_published_is_supported() -> None:
    verdict, parts = judged(house())
    assert verdict.outcome == "supported"
    assert all(parts[name].outcome == "supported" for name in DECIDING)
    assert verdict.estimate == parts["direction"].estimate == pytest.approx(0.4 - 0.1)
    assert parts["small loses"].estimate == pytest.approx(-0.3)
    assert parts["direction of change"].estimate == pytest.approx(0.3)
    assert f"{name_of(SMALLEST)}: validity 0.40 to 0.10" in verdict.sentence


def test_the_opposite_direction_is_a_clean_refutation() -> None:
    verdict, parts = judged(house(**{SMALLEST: record(), LARGEST: record(valid=(0.4, 0.1))}))
    assert verdict.outcome == "refuted"
    assert parts["small loses"].outcome == parts["large keeps"].outcome == parts["direction"].outcome == "refuted"
    assert parts["small holds"].outcome == "supported"
    assert verdict.estimate == pytest.approx(-0.3)
    assert parts[f"{LARGE} needs"].outcome == "supported"
    assert parts[f"{SMALL} needs"].outcome == "refuted"


def test_an_accuracy_that_falls_with_the_trace_refutes() -> None:
    verdict, parts = judged(house(**{SMALLEST: record(valid=(0.4, 0.1), answer=(0.6, 0.5))}))
    assert verdict.outcome == parts["small holds"].outcome == "refuted"
    assert [name for name in DECIDING if parts[name].outcome == "refuted"] == ["small holds"]


@pytest.mark.parametrize(("end", "outcome"), [(0.38, "refuted"), (0.35, "undecided"), (0.3, "supported")])
def test_a_trace_is_lost_beyond_the_margin_only(end: float, outcome: str) -> None:
    _, parts = judged(house(**{SMALLEST: record(valid=(0.4, end))}))
    assert parts["small loses"].outcome == outcome


def test_a_trace_that_need_not_be_there_is_told_from_one_that_must() -> None:
    needed = arm("none", SMALL)
    _, parts = judged(house(**{needed: record(silent=0.3, told=0.72)}))
    assert parts[f"{needed} owes"].outcome == "supported"
    assert parts[f"{needed} owes"].estimate == pytest.approx(0.4)
    assert parts[f"{needed} reads"].outcome == "refuted"
    assert parts[f"{SMALLEST} owes"].outcome == "refuted"
    assert parts[f"{SMALLEST} reads"].outcome == "supported"


def test_payments_are_compared_with_rl_on_answers() -> None:
    _, parts = judged(house())
    for memory in ("full", "none"):
        for width in (SMALL, LARGE):
            cost, paid = arm(memory, width, "cost"), arm(memory, width, "paid")
            assert parts[f"{cost} empties"].outcome == "supported"
            assert parts[f"{cost} empties"].estimate == pytest.approx(-0.1)
            assert parts[f"{paid} keeps"].outcome == parts[f"{paid} answers"].outcome == "supported"


def test_controls_never_decide() -> None:
    controls = ("sft", "slow", "never", "never_cost")
    hurt = {arm("full", LARGE, what): record(valid=(0.4, 0.0), written=0.0, answer=(0.6, 0.3)) for what in controls}
    verdict, parts = judged(house(**hurt))
    assert verdict.outcome == "supported"
    assert all(parts[name].outcome == "refuted" for name in ("sft", "sft answers", "slow", "never", "never, cost"))


@pytest.mark.parametrize("name", ARMS)
def test_a_diverged_run_is_told_and_left_out(name: str) -> None:
    records = house()
    verdict, parts = judged({**records, name: diverge(records[name], [2])})
    assert "1 run diverged" in verdict.sentence
    assert verdict.outcome == "supported"
    for part, contrast in {**DECIDING, **BESIDE}.items():
        if part in parts:
            assert parts[part].n == SEEDS - (name in {value.arm for value in contrast.values})
    assert all("nan" not in part.sentence for part in (verdict, *parts.values()))


@pytest.mark.parametrize("runs", [[0, 1, 2], list(range(SEEDS))])
def test_too_few_runs_are_undecided(runs: list[int]) -> None:
    records = house()
    verdict, parts = judged({**records, SMALLEST: diverge(records[SMALLEST], runs)})
    assert verdict.outcome == parts["small loses"].outcome == parts["direction"].outcome == "undecided"
    assert all("nan" not in part.sentence for part in (verdict, *parts.values()))


def test_a_contrast_says_what_it_compares() -> None:
    contrast = Difference("It does.", Value(LARGEST, "trace_validity", "change"), Value(SMALLEST, "trace_validity"))
    verdict = contrast.judge(house())
    assert verdict.estimate == pytest.approx(0.0 - 0.1)
    assert "trace_validity after RL less that of the base (64 units with memory)" in verdict.rule
    assert "less trace_validity after RL (8 units with memory)" in verdict.rule


@pytest.mark.parametrize("name", [SMALLEST, arm("none", LARGE), arm("full", LARGE, "cost")])
def test_the_figure_can_be_drawn_whatever_is_missing(name: str) -> None:
    records = house()
    for runs in ([1], [*range(SEEDS)]):
        assert svg(trace_collapse.figure({**records, name: diverge(records[name], runs)})).startswith("<svg")


def test_the_figure_can_be_drawn_of_the_quick_arms() -> None:
    records = house()
    assert svg(trace_collapse.figure({name: records[name] for name in arms("quick")})).startswith("<svg")


def test_the_figure_tells_the_story_that_the_policies_were_told() -> None:
    shown, trained = story_world(), make("belief_track", **WORLD)
    a, b = the_story(shown), the_story(trained)
    for part in ("query", "initial", "events", "belief"):
        assert torch.equal(getattr(shown.stories, part)[a], getattr(trained.stories, part)[b])


def test_the_most_frequent_token_is_shown() -> None:
    records = record()
    records.curves["story_token_0"][:, 1] = [5, 2, 2, 5, 2]
    assert most_frequent(records, "story_token_0", -1) == 2
    assert most_frequent(diverge(records, [1, 2, 4]), "story_token_0", -1) == 5
    assert most_frequent(diverge(records, [*range(SEEDS)]), "story_token_0", -1) is None


def test_the_arms_differ_in_what_the_question_asks_and_nothing_else() -> None:
    for size in ("quick", "standard", "full"):
        found = arms(size)
        for name, setting in found.items():
            memory, width, *what = name.split("_")
            own = found[arm(memory, int(width))]
            fields = (field.name for field in dataclasses.fields(setting))
            differs = {f for f in fields if getattr(setting, f) != getattr(own, f)}
            expected: dict[str, set[str]] = {"cost": {"objective"}, "paid": {"objective"}, "sft": {"learner"}}
            expected |= {"slow": {"learning"}, "never": {"supervised"}, "never_cost": {"supervised", "objective"}}
            assert differs == (expected["_".join(what)] if what else set()), name
            assert setting.world.options["memory"] == memory
            assert setting.policy.options["width"] == int(width)
            assert setting.learning.epochs * setting.learning.minibatches > 1
            # What differs between sizes is the width alone, what between memories the network and its base.
            other = dataclasses.replace(own, policy=found[arm(memory, SMALL)].policy)
            assert other == found[arm(memory, SMALL)]
        assert trace_collapse.STUDY.seeds[size] >= 3
        assert {value.arm for contrast in DECIDING.values() for value in contrast.values} <= set(found)


def test_answers_alone_are_paid_but_for_the_arms_that_say_so() -> None:
    for name, setting in arms("full").items():
        right, valid, brief = setting.objective.options["reward_weights"]
        assert right == 1
        assert (valid > 0) == name.endswith("paid")
        assert (brief > 0) == name.endswith("cost")


@pytest.mark.parametrize("name", [SMALLEST, arm("none", SMALL, "paid"), arm("full", LARGE, "sft")])
def test_a_run_records_every_measure_that_it_reads(name: str) -> None:
    setting = arms("standard")[name]
    tiny = dataclasses.replace(
        setting.with_learning(updates=1, measure_every=1, prompts=4, group=2),
        world=dataclasses.replace(setting.world, options={**setting.world.options, "train_stories": 64}),
        supervised=Supervised(steps=1, demonstrations=8),
    )
    results = train_runs(tiny, [0, 1, 2], train_bases(tiny, [0, 1, 2]))
    curves = {name: np.stack([result.curves[name].values for result in results]) for name in results[0].curves}
    records = Records({name: curve.steps for name, curve in results[0].curves.items()}, curves)
    verdict, parts = trace_collapse.judge(dict.fromkeys(ARMS, records))
    assert all("nan" not in part.sentence for part in (verdict, *parts))
    assert all(np.isfinite(records.at(f"story_token_{t}", place)).all() for t in range(EVENTS + 1) for place in (0, -1))
