"""The judge of ``belief_shortcuts`` on policies whose answer is known by construction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from judging import diverge

from toybed.agents.config import Imitation, Setting
from toybed.agents.training import train_bases, train_runs
from toybed.benchmarks import belief_shortcuts
from toybed.benchmarks.belief_shortcuts_measures import largest_step, rule_of, step_share
from toybed.benchmarks.belief_shortcuts_sweep import arms
from toybed.envs.belief_track_shortcuts import SHORTCUTS
from toybed.plotting import svg
from toybed.study import SIZES, Records, Verdict

SEEDS = 5
SPREAD = 0.004 * (np.arange(SEEDS) - 2)  # of the seeds, around the mean: every interval is within 0.008 of it
SIZE_NAMES = tuple(dict.fromkeys(arm.split("/")[0] for arm in arms("standard")))
GRUS = tuple(size for size in SIZE_NAMES if size.startswith("gru"))
TRANSFORMERS = tuple(size for size in SIZE_NAMES if size not in GRUS)
DECIDING = ("small", "large", "scratch", "after", "threshold")
BESIDE = (
    *("smallest", "more", "everywhere", "matches sft_rl", "matches rl", "held out", "rule", "false"),
    *("probe answer", "probe untrained"),
)


def record(separable: float, **ends: float) -> Records:
    """A run that begins at chance and ends there, with the other measures as a tracker or a follower has them."""
    tracks = separable > 0.5
    last = {
        "accuracy_trained": 0.95 if tracks else 0.8,
        "accuracy_held_out": 0.8,
        "separable_held_out": 0.7 if tracks else 0.1,
        "false_trained": 0.95 if tracks else 0.85,
        "probe_directed": max(separable, 0.4),
        "probe_separable": separable,
        "reward_train": 0.9,
        "entropy_train": 0.1,
        **{f"agreement_{rule}": 0.3 for rule in SHORTCUTS},
        "agreement_first_departure_directed": separable,
        "agreement_common_ground": 0.5 if tracks else 0.97,
        **ends,
        "separable_trained": separable,
    }
    curves = {name: np.stack([np.full(SEEDS, 0.25), value + SPREAD], 1) for name, value in last.items()}
    return Records({name: np.array([0, 10]) for name in curves}, curves)


def house(**changed: Records) -> dict[str, Records]:
    """What the claim says: SFT tracks from the fourth size on, RL from scratch never, and RL after SFT helps there."""
    found: dict[str, Records] = {}
    for sizes in (GRUS, TRANSFORMERS):
        for place, size in enumerate(sizes):
            large = place >= 3
            found[f"{size}/short"] = record(0.6 if large else 0.1, accuracy_trained=0.75)
            found[f"{size}/sft"] = record(0.95 if large else 0.1)
            found[f"{size}/rl"] = record(0.05)
            found[f"{size}/sft_rl"] = record(0.98 if large else 0.12)
    return {**found, **changed}


def judged(records: Mapping[str, Records]) -> tuple[Verdict, dict[str, Verdict]]:
    verdict, parts = belief_shortcuts.judge(records)
    assert all("nan" not in part.sentence for part in (verdict, *parts))
    return verdict, dict(zip((*DECIDING, *BESIDE), parts, strict=True))


def test_a_threshold_that_rl_alone_does_not_cross() -> None:
    verdict, parts = judged(house())
    assert verdict.outcome == "supported"
    assert verdict.n == SEEDS
    assert {name: parts[name].outcome for name in DECIDING} == dict.fromkeys(DECIDING, "supported")
    assert parts["threshold"].estimate == pytest.approx(1, abs=0.02)
    assert f"{GRUS[2]} to {GRUS[3]}" in parts["threshold"].sentence
    assert {name: parts[name].outcome for name in BESIDE} == dict.fromkeys(BESIDE, "supported")
    assert "common_ground (0.97)" in parts["rule"].sentence


@pytest.mark.parametrize(
    ("part", "other"),
    [
        ("small", {f"{GRUS[0]}/sft": record(0.7)}),
        ("large", {f"{TRANSFORMERS[-1]}/sft": record(0.8)}),
        ("large", {f"{TRANSFORMERS[-1]}/sft": record(0.99, accuracy_trained=0.91)}),
        ("scratch", {f"{GRUS[2]}/rl": record(0.6)}),
        ("after", {f"{GRUS[-1]}/sft_rl": record(0.5)}),
        ("threshold", {f"{size}/sft": record(0.1 + 0.17 * place) for place, size in enumerate(GRUS)}),
    ],
)
def test_each_deciding_part_refutes_the_claim(part: str, other: dict[str, Records]) -> None:
    verdict, parts = judged(house(**other))
    assert verdict.outcome == parts[part].outcome == "refuted"


@pytest.mark.parametrize(
    ("part", "other"),
    [
        ("smallest", {f"{GRUS[0]}/sft_rl": record(0.02)}),
        ("more", {f"{GRUS[-1]}/sft_rl": record(0.9)}),
        ("everywhere", {f"{GRUS[1]}/sft_rl": record(0.1, accuracy_trained=0.7)}),
        ("matches rl", {f"{GRUS[1]}/rl": record(0.1, accuracy_trained=0.9)}),
        ("matches sft_rl", {f"{GRUS[1]}/sft_rl": record(0.1, accuracy_trained=0.9)}),
        ("held out", {f"{GRUS[-1]}/sft": record(0.95, separable_held_out=0.3)}),
        ("rule", {f"{GRUS[-1]}/rl": record(0.05, agreement_common_ground=0.6)}),
        ("false", {f"{GRUS[-1]}/rl": record(0.05, false_trained=0.1)}),
        ("probe answer", {f"{GRUS[-1]}/rl": record(0.05, probe_directed=0.03)}),
        ("probe untrained", {f"{GRUS[-1]}/rl": record(0.05, probe_directed=0.2)}),
    ],
)
def test_what_stands_beside_does_not_decide(part: str, other: dict[str, Records]) -> None:
    verdict, parts = judged(house(**other))
    assert parts[part].outcome == "refuted"
    assert verdict.outcome == "supported" or part == "smallest"


def test_where_nothing_rises_there_is_no_threshold_to_find() -> None:
    verdict, parts = judged(house(**{f"{size}/sft": record(0.95) for size in GRUS}))
    assert parts["threshold"].outcome == "undecided"
    assert parts["small"].outcome == verdict.outcome == "refuted"


@pytest.mark.parametrize("arm", [f"{GRUS[0]}/sft", f"{GRUS[-1]}/short", f"{TRANSFORMERS[-1]}/rl"])
def test_a_diverged_run_is_told_and_left_out(arm: str) -> None:
    records = house()
    verdict, _ = judged({**records, arm: diverge(records[arm], [2])})
    assert "1 run diverged" in verdict.sentence
    assert verdict.outcome == "supported"


@pytest.mark.parametrize("runs", [[0, 1, 2], [*range(SEEDS)]])
def test_too_few_runs_are_undecided(runs: list[int]) -> None:
    records = house()
    verdict, parts = judged({**records, f"{GRUS[-1]}/sft": diverge(records[f"{GRUS[-1]}/sft"], runs)})
    assert verdict.outcome == parts["large"].outcome == parts["threshold"].outcome == "undecided"


@pytest.mark.parametrize("regime", ["short", "sft", "rl", "sft_rl"])
def test_the_figure_can_be_drawn_whatever_is_missing(regime: str) -> None:
    records, arm = house(), f"{GRUS[1]}/{regime}"
    hurt = {**records, arm: diverge(records[arm], [*range(SEEDS)])}
    assert svg(belief_shortcuts.figure(hurt)).startswith("<svg")


# -- what is measured --------------------------------------------------------------------------------------------------
def test_the_step_is_chosen_by_the_other_seeds() -> None:
    """Pure noise around a straight rise: three of the seeds' own largest steps lie elsewhere than the others say."""
    found = np.array([[0.0, 0.0, 0.0], [0.4, 0.1, 0.1], [0.5, 0.5, 0.1], [0.6, 0.6, 0.6]])
    # The others' mean steps are (.1, .2, .3) for seed 0, (.25, .05, .3) for seed 1 and (.25, .25, .1) for seed 2: so
    # its last, .1, its last, .1, and its first, .1; over the mean rise, .6.
    np.testing.assert_allclose(step_share(found), [0.1 / 0.6] * 3)
    assert largest_step(found, "abcd") == ("c", "d")


def test_no_share_without_a_rise_or_with_a_missing_size() -> None:
    assert np.isnan(step_share(np.array([[0.5, 0.5], [0.6, 0.6]]))).all()
    assert np.isnan(step_share(np.array([[0.0], [1.0]]))).all()
    found = step_share(np.array([[0.0, np.nan, 0.0], [0.9, 0.9, 0.9]]))
    np.testing.assert_allclose(found, [1, np.nan, 1])


def test_the_rule_is_the_one_agreed_with_most() -> None:
    assert rule_of(record(0.1))[0] == "common_ground"
    assert rule_of(record(0.1, agreement_reality=0.99)) == ("reality", pytest.approx(0.99))


# -- what is run -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("size", SIZES)
def test_the_regimes_of_a_size_differ_in_how_they_learn_alone(size: str) -> None:
    each = arms(size)
    for name in dict.fromkeys(arm.split("/")[0] for arm in each):
        short, sft, rl, after = (each[f"{name}/{regime}"] for regime in ("short", "sft", "rl", "sft_rl"))
        assert isinstance(short.learner, Imitation)
        assert short.start.after is None is rl.start.after
        assert sft.start.after == after.start.after == short
        assert replace(sft, learner=None).with_learning(group=after.learning.group) == after
        assert rl.learning.updates == short.learning.updates + after.learning.updates
        ends = {"updates": after.learning.updates, "measure_every": after.learning.updates}
        assert rl.with_learning(**ends) == replace(after, start=rl.start)
        assert {s.supervised for s in (short, sft, rl, after)} == {None}
        assert all(s.probes == ("belief_probe",) and s.world == short.world for s in (sft, rl, after))
    assert belief_shortcuts.STUDY.seeds[size] >= 3


def test_every_network_has_six_sizes_but_in_the_quick_run() -> None:
    assert len(GRUS) >= 6 <= len(TRANSFORMERS)
    assert {*arms("quick")} <= {*arms("standard")} <= {*arms("full")}


def tiny(setting: Setting) -> Setting:
    small = replace(setting.world, options={**setting.world.options, "train_stories": 64, "test_stories": 16})
    after = setting.start.after
    start = setting.start if after is None else replace(setting.start, after=tiny(after))
    setting = replace(setting, world=small, start=start)
    return setting.with_learning(updates=2, prompts=8, minibatches=1, measure_every=1)


def test_a_run_records_every_measure_that_is_read() -> None:
    setting, seeds = tiny(arms("quick")[f"{GRUS[0]}/rl"]), [0, 1, 2]
    results = train_runs(setting, seeds, train_bases(setting, seeds))
    curves = {name: np.stack([result.curves[name].values for result in results]) for name in results[0].curves}
    records = Records({name: curve.steps for name, curve in results[0].curves.items()}, curves, setting=setting)
    verdict, parts = belief_shortcuts.judge(dict.fromkeys(arms("quick"), records))
    assert all("nan" not in part.sentence for part in (verdict, *parts))
    assert {part.n for part in parts} <= {0, 3}
    assert svg(belief_shortcuts.figure(dict.fromkeys(arms("quick"), records))).startswith("<svg")
