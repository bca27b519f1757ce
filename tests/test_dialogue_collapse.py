"""The judge of ``dialogue_collapse`` on masters whose collapse is known by construction."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping

import numpy as np
import pytest
from judging import diverge

from toybed.agents.config import Adaptation, Meta, Setting
from toybed.agents.training import train_bases, train_runs
from toybed.benchmarks import dialogue_collapse as question
from toybed.benchmarks import dialogue_collapse_figure as picture
from toybed.benchmarks import dialogue_collapse_sweep as sweep
from toybed.benchmarks.dialogue_collapse_measures import ARGMAX, BUDGET, SHARE, TEST, TRAIN
from toybed.plotting import svg
from toybed.study import Records, Verdict, all_of

SEEDS = 5
SPREAD = 0.004 * (np.arange(SEEDS) - 2)  # of the seeds, around the mean
DECIDING = ("one option", "whatever the type", "variable", "differs", "earns more")
STUDY = question.STUDY
NAMES = sweep.names("standard")


def arm(share: float, earned: float, *, tells: float = 0.0, shift: int = 0, **other: float) -> Records:
    """A master with this dominant share, before and after adaptation, and this return with held-out types.

    ``tells``: information of type and option after adaptation, above luck's 0.01. Seeds differ by up to 0.008 in each
    measure, ``shift`` places further: arms with another shift have paired differences that vary.
    """
    values = {
        SHARE: share,
        ARGMAX: share,
        "option_entropy": 1.0,
        "information_type": 0.0,
        "information_state": 0.1,
        "reward_train": earned,
        "best_master_test": earned + 0.3,
        f"adapted_{SHARE}_train": share,
        f"adapted_{ARGMAX}_train": share,
        "adapted_information_type_train": 0.01 + tells,
        "adapted_information_chance_train": 0.01,
        "adapted@0_test": earned,
        TRAIN: earned + 0.2,
        **{f"adapted@{n}_test": earned for n in (4, 8, 12, 16, 20, BUDGET)},
        **{f"adapted_prompt_{k}": earned + 0.2 for k in range(3)},
        **{f"adapted_option_{p}_{w}_{o}": 1 / 16 for p in range(3) for w in range(4) for o in range(4)},
        **other,
    }
    curves = {name: (value + np.roll(SPREAD, shift))[:, None] for name, value in values.items()}
    return Records(dict.fromkeys(curves, np.array([0])), curves)


def house(**other: Records) -> dict[str, Records]:
    """Everything as claimed, in every condition; names of arms have a double underscore for the stroke."""
    records = {name: arm(0.95, 4.0) for name in NAMES}
    for name in NAMES:
        if name.startswith("maml"):
            records[name] = arm(0.5, 5.0, tells=0.2, shift=1)
    return records | {name.replace("__", "/"): found for name, found in other.items()}


def judged(records: Mapping[str, Records]) -> tuple[Verdict, list[Verdict], dict[str, Verdict]]:
    verdict, parts = question.judge(records)
    assert verdict.outcome == all_of([part.outcome for part in parts[: len(DECIDING)]])
    assert all(not re.search(r"\bnan\b", part.sentence) for part in (verdict, *parts))
    return verdict, parts, dict(zip(DECIDING, parts, strict=False))


def part_on(parts: list[Verdict], claim: str) -> Verdict:
    [found] = [part for part in parts if part.claim.startswith(claim)]
    return found


def test_a_collapse_that_maml_prevents_supports_the_claim() -> None:
    verdict, parts, deciding = judged(house())
    assert [part.outcome for part in deciding.values()] == ["supported"] * 5
    assert verdict.outcome == "supported"
    assert verdict.n == SEEDS
    assert deciding["one option"].estimate == pytest.approx(0.95)
    assert deciding["variable"].estimate == pytest.approx(0.45)
    assert deciding["differs"].estimate == pytest.approx(0.2)
    assert deciding["earns more"].estimate == pytest.approx(1.0)
    assert part_on(parts, "MAML earns more than entropy bonus").outcome == "supported"
    conditions = [part for part in parts if part.claim.startswith("Users who differ less")]
    assert [part.outcome for part in conditions] == ["supported"] * 2


@pytest.mark.parametrize(
    ("part", "name", "change"),
    [
        ("one option", "joint", {SHARE: 0.5}),
        ("one option", "joint", {ARGMAX: 0.5}),
        ("whatever the type", "joint", {"information_type": 0.3}),
        ("variable", "maml", {f"adapted_{SHARE}_train": 0.9}),
        ("differs", "maml", {"adapted_information_chance_train": 0.5}),
        ("earns more", "maml", {TEST: 3.5}),
    ],
)
def test_one_part_that_came_out_otherwise_refutes_the_whole(part, name, change) -> None:
    shape = {"joint": (0.95, 4.0, 0.0, 0), "maml": (0.5, 5.0, 0.2, 1)}[name]
    changed = arm(*shape[:2], tells=shape[2], shift=shape[3], **change)
    verdict, _, deciding = judged(house(**{f"{name}__main": changed}))
    assert [each for each in DECIDING if deciding[each].outcome == "refuted"] == [part]
    assert verdict.outcome == "refuted"
    assert verdict.estimate == deciding[part].estimate


@pytest.mark.parametrize(
    ("part", "name", "change"),
    [
        ("one option", "joint", {SHARE: 0.8}),
        ("variable", "maml", {f"adapted_{SHARE}_train": 0.75}),
        ("earns more", "maml", {TEST: 4.0}),
    ],
)
def test_a_difference_at_its_threshold_decides_nothing(part, name, change) -> None:
    shape = {"joint": (0.95, 4.0, 0.0, 0), "maml": (0.5, 5.0, 0.2, 1)}[name]
    changed = arm(*shape[:2], tells=shape[2], shift=shape[3], **change)
    verdict, _, deciding = judged(house(**{f"{name}__main": changed}))
    assert deciding[part].outcome == verdict.outcome == "undecided"


def test_what_luck_makes_of_adaptation_is_no_information() -> None:
    noisy = {"adapted_information_type_train": 0.6, "adapted_information_chance_train": 0.6}
    _, _, deciding = judged(house(maml__main=arm(0.5, 5.0, shift=1, **noisy)))
    assert deciding["differs"].outcome == "undecided"
    assert deciding["differs"].estimate == pytest.approx(0.0, abs=1e-12)


def test_what_is_beside_the_claim_never_decides_it() -> None:
    others = {name.replace("/", "__"): arm(0.3, 9.0, shift=2) for name in NAMES if not name.endswith("/main")}
    verdict, parts, _ = judged(house(**others, bonus__main=arm(0.3, 9.0, shift=2)))
    assert verdict.outcome == "supported"
    assert part_on(parts, "MAML earns more than entropy bonus").outcome == "refuted"
    assert part_on(parts, "A master that sees the type").outcome == "supported"
    assert part_on(parts, "Policies of their own").outcome == "supported"
    assert {part.outcome for part in parts if "whatever the type." in part.claim} == {"refuted"}


def test_headroom_and_adaptation_are_told_as_they_are() -> None:
    rich = arm(0.95, 4.0, best_master_test=6.0, **{"adapted@0_test": 3.0})
    _, parts, _ = judged(house(joint__main=rich))
    room = part_on(parts, "Joint training: no master")
    assert (room.outcome, room.estimate) == ("undecided", pytest.approx(3.0))  # a bound refutes nothing
    gained = part_on(parts, f"Joint training: {BUDGET} episodes")
    assert (gained.outcome, gained.estimate) == ("supported", pytest.approx(1.0))
    _, parts, _ = judged(house())
    assert part_on(parts, "Joint training: no master").outcome == "supported"  # 0.3 of 4.0
    assert part_on(parts, f"Joint training: {BUDGET} episodes").outcome == "undecided"


@pytest.mark.parametrize("name", NAMES)
def test_a_diverged_run_is_told_and_left_out(name: str) -> None:
    records = house()
    verdict, _, deciding = judged({**records, name: diverge(records[name], [2], at=0)})
    assert "1 run diverged" in verdict.sentence
    assert verdict.outcome == "supported"
    assert deciding["variable"].n == SEEDS - (name in ("joint/main", "maml/main"))


@pytest.mark.parametrize("runs", [[0, 1, 2], list(range(SEEDS))])
def test_too_few_runs_are_undecided(runs: list[int]) -> None:
    records = house()
    verdict, _, deciding = judged({**records, "joint/main": diverge(records["joint/main"], runs, at=0)})
    assert verdict.outcome == deciding["one option"].outcome == "undecided"


@pytest.mark.parametrize("name", [*picture.ROWS, None])
def test_the_figure_can_be_drawn_whatever_is_missing(name: str | None) -> None:
    records = house()
    if name is None:
        records = {arm: found for arm, found in records.items() if arm in sweep.names("quick")}
    else:
        for runs in ([1], [*range(SEEDS)]):
            assert svg(STUDY.figure({**records, name: diverge(records[name], runs, at=0)})).startswith("<svg")
    assert svg(STUDY.figure(records)).startswith("<svg")


def test_the_picture_shows_shares_of_options_in_each_phase() -> None:
    """Ranked by use in each run: seeds that take one option each, but not the same, do not look like a mixture."""
    curves = {f"adapted_option_{p}_{w}_{o}": np.zeros((SEEDS, 1)) for p in range(3) for w in range(4) for o in range(4)}
    for run, (first, second) in enumerate(((0, 1), (3, 2), (1, 0), (2, 3), (0, 3))):
        for p in range(3):
            for w in range(4):
                curves[f"adapted_option_{p}_{w}_{first}"][run] = 0.2
                curves[f"adapted_option_{p}_{w}_{second}"][run] = 0.05 * (p == 1)
    curves["reward_train"] = np.ones((SEEDS, 1))
    found = picture.shares(Records({}, curves))
    np.testing.assert_allclose(found[..., 0], 0.2)
    np.testing.assert_allclose(found[..., 1], np.array([0, 0.05, 0])[:, None] * np.ones(4))
    np.testing.assert_allclose(found[..., 2:], 0)
    np.testing.assert_allclose(picture.optimum().sum((1, 2)), 1)


# -- the sweep --------------------------------------------------------------------------------------------------------
def settings(size: str) -> dict[str, Setting]:
    """Each arm's setting from the last of its candidates."""
    return {name: sweep.final(size, name, [*tried.values()][-1]) for name, tried in sweep.candidates(size).items()}


def trained(setting: Setting) -> Setting:
    assert setting.start.after is not None
    return setting.start.after


def fields_that_differ(one: object, other: object) -> set[str]:
    return {f.name for f in dataclasses.fields(one) if getattr(one, f.name) != getattr(other, f.name)}  # type: ignore[arg-type]


@pytest.mark.parametrize("size", ["standard", "full"])
def test_methods_differ_in_how_they_learn_and_nothing_else(size: str) -> None:
    arms = settings(size)
    joint = trained(arms["joint/main"])
    expected = {
        "bonus": {"objective"},
        "maml": {"learner", "learning"},
        "fomaml": {"learner", "learning"},
        "reptile": {"learner", "learning"},
        "soft": {"learner", "learning"},
    }
    for method, fields in expected.items():
        mine = trained(arms[sweep.arm(method)])
        assert fields_that_differ(mine, joint) == fields
        assert fields_that_differ(mine.learning, joint.learning) <= (
            {"learning_rate"} if method == "soft" else {"group"}
        )
    assert fields_that_differ(trained(arms["maml/main"]).learner, trained(arms["fomaml/main"]).learner) == {"method"}


def test_every_arm_is_measured_after_its_training() -> None:
    for size in ("quick", "standard", "full"):
        arms = settings(size)
        assert STUDY.seeds[size] >= 3
        assert STUDY.arms(size) == {}
        assert set(arms) == set(sweep.names(size)) <= set(NAMES)
        for setting in arms.values():
            assert setting.learning.updates == 0 and setting.adaptation is not None
            assert trained(setting).learning.updates >= sweep.UPDATES[size]


def test_the_quick_arms_are_judged_as_far_as_they_go() -> None:
    verdict, parts, _ = judged({name: found for name, found in house().items() if name in sweep.QUICK})
    assert verdict.outcome == "supported"
    claims = [part.claim for part in parts]
    assert len(set(claims)) == len(claims)
    assert not any("Reptile" in claim or "Policies of their own" in claim for claim in claims)


def test_every_method_has_as_many_episodes() -> None:
    """Reptile's single response for the record comes on top."""
    for name, setting in settings("standard").items():
        own = trained(setting)
        inner = 0
        if isinstance(own.learner, Meta):
            inner = own.learner.adaptation.steps * own.learner.adaptation.group
        extra = own.learning.prompts if name.startswith("reptile") else 0
        assert own.learning.prompts * (own.learning.group + inner) == 120 + extra, name


def test_conditions_change_what_they_say() -> None:
    arms = settings("standard")
    expected = {
        "fixed": {"world"},
        "pretrained": {"supervised"},
        "long": {"learning"},
        "slow_master": {"learning", "policy"},
        "alternating": {"learning"},
        "weak_need": {"world"},
        "one_turn": {"world"},
        "inner_low": {"learner"},
        "inner_high": {"learner"},
        "fine": set(),
    }
    assert set(expected) | {"main"} == set(sweep.CONDITIONS)
    for condition, fields in expected.items():
        for method in sweep.CONDITIONS[condition][1]:
            mine, main = arms[sweep.arm(method, condition)], arms[sweep.arm(method)]
            assert fields_that_differ(trained(mine), trained(main)) == fields, (method, condition)
            if condition not in ("fine", "inner_low", "inner_high"):
                assert mine.adaptation == main.adaptation
    low, high = (arms[f"maml/inner_{which}"] for which in ("low", "high"))
    for each in (low, high):
        assert each.adaptation is not None and trained(each).learner is not None
        assert each.adaptation.rate == trained(each).learner.adaptation.rate  # type: ignore[union-attr]
    slow, main = trained(arms["joint/slow_master"]), trained(arms["joint/main"])
    speeds = [s.learning.learning_rate * s.policy.options["gain"] for s in (slow, main)]
    assert speeds[0] == pytest.approx(speeds[1])  # of the sub-policies
    assert fields_that_differ(slow.learning, main.learning) == {"learning_rate"}
    visible, joint = trained(arms["visible"]), trained(arms["joint/main"])
    assert fields_that_differ(visible, joint) == {"world"}
    assert visible.world.options == {**joint.world.options, "see_type": True}
    for k, name in enumerate(sweep.NAMED):
        assert trained(arms[f"only_{name}"]).world.options == {**joint.world.options, "only": k}


def test_candidates_differ_in_rates_alone_and_are_shared_by_the_arms_of_a_method() -> None:
    tried = sweep.candidates("standard")
    assert tried["joint/main"] == tried["joint/long"] == tried["visible"] == tried["only_open"]
    assert [*tried["maml/main"]] == [*tried["maml/fixed"]]
    for label, setting in tried["maml/fixed"].items():  # they choose where they are judged
        assert trained(setting).world.options["level"] == "option"
        assert fields_that_differ(trained(setting), trained(tried["maml/main"][label])) == {"world"}
    for method in sweep.METHODS:
        found = tried[sweep.arm(method)]
        assert len(found) == len({str(setting.config()) for setting in found.values()}) >= 4
        for setting in found.values():
            assert isinstance(setting.adaptation, Adaptation)
            assert setting.adaptation.rate in sweep.INNER_RATES
            own = trained(setting)
            assert own.learning.learning_rate in (sweep.SOFT_RATES if method == "soft" else sweep.RATES)
            assert isinstance(own.learner, Meta) == (method in sweep.META)


def test_a_run_records_every_measure_that_it_reads() -> None:
    setting = settings("quick")["maml/main"]
    own = trained(setting).with_learning(updates=1, group=2, measure_every=1)
    assert own.learner is not None
    own = dataclasses.replace(
        own,
        world=dataclasses.replace(own.world, options={**own.world.options, "turns": 4, "hold": 2}),
        learner=dataclasses.replace(own.learner, adaptation=dataclasses.replace(own.learner.adaptation, group=2)),
    )
    end = train_runs(own, [0, 1, 2], train_bases(own, [0, 1, 2]))
    ends = np.stack([result.parameters for result in end])
    records = {}
    for name, (group, steps) in {"main": (sweep.EPISODES, sweep.STEPS), "fine": sweep.FINE}.items():
        how = dataclasses.replace(setting.adaptation, group=group, steps=steps)
        after = dataclasses.replace(
            setting, world=own.world, start=dataclasses.replace(setting.start, after=own), adaptation=how
        )
        results = train_runs(after, [0, 1, 2], ends)
        curves = {m: np.stack([result.curves[m].values for result in results]) for m in results[0].curves}
        records[name] = Records({m: curve.steps for m, curve in results[0].curves.items()}, curves, setting=after)
    found = {name: records["fine" if name.endswith("fine") else "main"] for name in NAMES}
    verdict, parts = question.judge(found)
    assert all(
        not re.search(r"\bnan\b", part.sentence) and "not known" not in part.sentence for part in (verdict, *parts)
    )
    assert svg(STUDY.figure(found)).startswith("<svg")
