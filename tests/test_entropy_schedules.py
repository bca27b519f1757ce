"""The judge of ``entropy_schedules`` on runs whose place is known, its measures against plain loops, and its arms."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import pytest
from judging import diverge

from toybed.agents.config import Supervised
from toybed.agents.training import train_bases, train_runs
from toybed.benchmarks import entropy_schedules as question
from toybed.benchmarks import entropy_schedules_measures as measures
from toybed.benchmarks import entropy_schedules_sweep as sweep
from toybed.plotting import svg
from toybed.seeding import named_generator
from toybed.stats import mean_interval
from toybed.study import SIZES, Records, Verdict

SEEDS = 5
OFFSET = np.arange(SEEDS) - 2.0
WORLDS = tuple(sweep.PLACES)


def arm(angle: float, reach: float = 1.0, *, covers: bool = True, tilt: float = 0.0) -> Records:
    """Pass@1, pass@64 and coverage on an arc about (0.3, 0.5, 0.2), at that share of its radius; seeds in a row.

    Seeds differ by what all arms share, and by ``tilt`` of their own.
    """
    ends = [0.3 + 0.3 * reach * np.cos(angle), 0.5 + 0.3 * reach * np.sin(angle), 0.2 + 0.2 * reach * np.sin(angle)]
    known = sweep.MEASURES if covers else sweep.MEASURES[:2]
    noise = 0.01 * OFFSET + tilt * OFFSET**2 * np.sign(OFFSET)
    curves = {name: np.stack([np.full(SEEDS, 0.1), end + noise], 1) for name, end in zip(known, ends, strict=False)}
    curves["reward_train"] = curves["reward_test"]
    return Records(dict.fromkeys(curves, np.array([0, 120])), curves)


def house(reach: float = 0.9, **other: Records) -> dict[str, Records]:
    """Fixed arms on an arc, every challenger at that share of its radius; ``world__arm`` replaces one."""
    found: dict[str, Records] = {}
    for world in WORLDS:
        covers = world != "plans"
        fixed = sweep.fixed_arms(world)
        angles = [*np.linspace(0, np.pi / 2, 6), *np.linspace(0.3, 1.2, 3)]
        found |= {name: arm(a, covers=covers) for name, a in zip(fixed, angles, strict=True)}
        found |= {f"{world}/{name}": arm(0.7, reach, covers=covers) for name in sweep.CHALLENGERS}
        found |= {f"school_{world}/reference": arm(0.7, 0.9), f"school_{world}/meta": arm(0.7, 0.95)}
    assert not {name.replace("__", "/") for name in other} - set(found)
    return found | {name.replace("__", "/"): records for name, records in other.items()}


def everywhere(name: str, angle: float, reach: float, tilt: float = 0.0) -> dict[str, Records]:
    return {f"{world}__{name}": arm(angle, reach, covers=world != "plans", tilt=tilt) for world in WORLDS}


def judged(records: Mapping[str, Records]) -> tuple[Verdict, list[Verdict]]:
    verdict, parts = question.judge(records)
    assert len({part.claim for part in parts}) == len(parts)
    assert all("nan" not in part.sentence for part in (verdict, *parts))
    return verdict, parts


def named(parts: list[Verdict], *words: str) -> Verdict:
    (found,) = [part for part in parts if all(word in part.claim for word in words)]
    return found


# -- the claim ------------------------------------------------------------------------------------------------------
def test_schedules_inside_refute_it() -> None:
    verdict, parts = judged(house(0.9))
    assert verdict.outcome == "refuted"
    assert [part.outcome for part in parts[:3]] == ["refuted"] * 3
    assert all(named(parts, "all worlds", name).outcome == "refuted" for name in sweep.CHALLENGERS.values())


def test_one_that_lies_outside_everywhere_supports_it() -> None:
    verdict, parts = judged(house(**everywhere("oscillation", 0.7, 1.3)))
    assert verdict.outcome == "supported"
    assert verdict.low > 0
    assert verdict.n == SEEDS
    assert "oscillating bonus (5 of 5)" in verdict.sentence
    assert named(parts, "all worlds", "oscillating").outcome == "supported"
    assert named(parts, "all worlds", "annealed bonus").outcome == "refuted"


def test_outside_in_two_worlds_is_not_enough() -> None:
    other = everywhere("oscillation", 0.7, 1.3)
    del other["plans__oscillation"]
    verdict, parts = judged(house(**other))
    assert verdict.outcome == "refuted"
    assert parts[2].outcome == "refuted"
    assert named(parts, "all worlds", "oscillating").outcome == "refuted"


def test_a_schedule_for_each_world_is_not_one_schedule() -> None:
    names = ("anneal", "rise", "step")
    other = {
        f"{world}__{name}": arm(0.7, 1.3, covers=world != "plans") for world, name in zip(WORLDS, names, strict=True)
    }
    verdict, parts = judged(house(**other))
    assert verdict.outcome == "undecided"
    # In each world one of them is outside, so that no world refutes.
    assert "refuted" not in [part.outcome for part in parts[:3]]


def test_another_point_of_the_same_trade_is_no_win() -> None:
    """On the frontier, whatever end of it: every fixed arm's own point, and the middle between two."""
    for angle in (0.0, np.pi / 10, np.pi / 2):
        verdict, parts = judged(house(**everywhere("oscillation", angle, 1.0)))
        assert verdict.outcome == "refuted"
        assert named(parts, "all worlds", "oscillating").estimate == pytest.approx(0, abs=1e-9)
    # Halfway on the arc between two of them it is outside their chord by less than a twentieth.
    _, parts = judged(house(**everywhere("oscillation", np.pi / 20, 1.0)))
    assert 0 < named(parts, "all worlds", "oscillating").estimate < question.WORTH


def test_seeds_that_disagree_are_undecided() -> None:
    verdict, parts = judged(house(**everywhere("oscillation", 0.7, 1.1, tilt=0.05)))
    assert verdict.outcome == "undecided"
    assert named(parts, "all worlds", "oscillating").outcome == "undecided"


@pytest.mark.parametrize("name", ["chains__bonus_0.03", "search__step", "plans__target_0.5", "school_plans__meta"])
def test_a_diverged_run_is_told_and_left_out(name: str) -> None:
    records = house()
    place = name.replace("__", "/")
    verdict, _ = judged(records | {place: diverge(records[place], [2])})
    assert "1 run diverged" in verdict.sentence
    assert verdict.outcome == "refuted"


def test_arms_without_a_run_decide_nothing() -> None:
    lost = {f"{world}/{name}": diverge(arm(0.7), [*range(SEEDS)]) for world in WORLDS for name in sweep.CHALLENGERS}
    verdict, _ = judged(house() | lost)
    assert verdict.outcome == "undecided"
    assert verdict.n == 0


@pytest.mark.parametrize("reach", [0.8, 1.4])
def test_too_few_runs_decide_nothing(reach: float) -> None:
    def first(records: Records) -> Records:
        return dataclasses.replace(records, curves={name: values[:2] for name, values in records.curves.items()})

    verdict, parts = judged({name: first(records) for name, records in house(reach).items()})
    assert {part.outcome for part in (verdict, *parts)} == {"undecided"}


def test_nothing_beside_the_claim_decides() -> None:
    bad = {f"school_{world}__meta": arm(0.7, 0.2) for world in WORLDS} | everywhere("step", 0.7, 0.1)
    assert judged(house(**everywhere("oscillation", 0.7, 1.3), **bad))[0].outcome == "supported"


# -- beside it ------------------------------------------------------------------------------------------------------
def test_what_learning_was_worth_is_shown() -> None:
    _, parts = judged(house())
    part = named(parts, "Where it was learned", "retries")
    assert part.outcome == "supported"
    # 0.05 of the radii 0.3, 0.3 and 0.2, in directions 0.7, the mean of three.
    expected = 0.05 * (0.3 * np.cos(0.7) + 0.5 * np.sin(0.7)) / 3
    assert part.estimate == pytest.approx(expected)


def test_the_published_claim_is_against_the_best_fixed_target() -> None:
    _, parts = judged(house(chains__entrocraft=arm(0.7, 1.3)))
    # Of the fixed targets, at 0.3, 0.75 and 1.2, the one whose smaller measure is largest is at 0.3:
    # (0.59, 0.59), against (0.52, 0.70) and (0.41, 0.78).
    part = named(parts, "falling target", "Entrocraft")
    assert part.outcome == "supported"
    assert part.estimate == pytest.approx(0.3 * (1.3 * np.sin(0.7) - np.sin(0.3)))
    assert named(parts, "falling target", "annealed target").outcome == "refuted"


def test_a_quick_answer_has_fewer_arms_and_the_same_claim() -> None:
    kept = set(sweep.arms("quick")) | set(sweep.final("quick", sweep.SEARCH.begin("quick")))
    records = {name: each for name, each in house().items() if name in kept}
    assert judged(records)[0].outcome == "refuted"
    assert svg(question.figure(records)).startswith("<svg")


def test_the_figure_can_be_drawn_whatever_is_missing() -> None:
    every = list(range(SEEDS))
    records = house() | {f"chains/{name}": diverge(arm(0.7), every) for name in ("bonus_0", "meta", "target_0.25")}
    records |= {name: diverge(arm(0.7), every) for name in sweep.fixed_arms("plans")}
    assert svg(question.figure(records)).startswith("<svg")


# -- measures -------------------------------------------------------------------------------------------------------
def drawn(seed: int, challengers: int = 1, runs: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Fixed arms at corners of a frontier and challengers on its first corner, with noise; ``[.., M, n]`` each."""
    random = named_generator(seed, "tests of entropy_schedules")
    corners = np.array([[0.6, 0.5, 0.2], [0.5, 0.7, 0.3], [0.3, 0.8, 0.4], [0.4, 0.6, 0.25]])
    means = np.concatenate([corners, np.tile(corners[1], (challengers, 1))])
    values = means[..., None] + random.normal(0, 0.03, (*means.shape, runs))
    return values[:4], values[4:]


def test_gains_twin() -> None:
    fixed, (challenger,) = drawn(0)
    gained = measures.gains(challenger, fixed)
    weights = [(a / 8, b / 8, c / 8) for a in range(9) for b in range(9) for c in range(9) if a + b + c == 8]
    span = [max(arm[m].mean() for arm in fixed) - min(arm[m].mean() for arm in fixed) for m in range(3)]
    for w, weight in enumerate(weights):
        for a in range(4):
            for i in range(6):
                twin = sum(weight[m] * (challenger[m, i] - fixed[a, m, i]) / span[m] for m in range(3))
                assert gained[w, a, i] == pytest.approx(twin, abs=1e-12)
    assert len(gained) == len(weights) == 45


def test_choices_are_made_on_the_other_runs_twin() -> None:
    fixed, (challenger,) = drawn(1)
    gained = measures.gains(challenger, fixed)
    gained[3, 1, 2] = np.nan
    favoured, margins = measures.favoured(gained), measures.margins(gained)
    for i in range(6):
        others = [j for j in range(6) if j != i]
        distance = [min(np.nanmean(gained[w, a, others]) for a in range(4)) for w in range(45)]
        assert margins[i] == pytest.approx(max(distance))
        np.testing.assert_array_equal(favoured[:, i], gained[int(np.argmax(distance)), :, i])
    highest = []
    for w in range(45):
        row = []
        for i in range(6):
            others = [j for j in range(6) if j != i]
            row.append(gained[w, int(np.argmin([np.nanmean(gained[w, a, others]) for a in range(4)])), i])
        highest.append(mean_interval(row).high)
    assert measures.most(gained).high == pytest.approx(max(highest))


def test_a_run_has_no_say_in_where_it_is_looked_at() -> None:
    fixed, (challenger,) = drawn(2)
    gained = measures.gains(challenger, fixed)
    moved = gained.copy()
    moved[:, :, 4] += np.linspace(-5, 5, 45)[:, None]
    where = [int(np.flatnonzero((gained[:, :, 4] == measures.favoured(gained)[:, 4]).all(1))[0])]
    where += [int(np.flatnonzero((moved[:, :, 4] == measures.favoured(moved)[:, 4]).all(1))[0])]
    assert where[0] == where[1]


@pytest.mark.parametrize("challengers", [1, 8])
def test_what_lies_on_the_frontier_seldom_comes_out_as_outside(challengers: int) -> None:
    """On a corner the gain over that arm is 0 on average: at most 2.5 % of one-sided t tests are above by chance.

    Of 400 that is 10; more than 25 have a chance of 1e-5 (binomial). Choosing among many that are equally good, on the
    other runs, must not change it.
    """
    outside = 0
    for seed in range(400):
        fixed, several = drawn(seed, challengers)
        gained = [measures.gains(challenger, fixed) for challenger in several]
        choice = np.argmax([measures.margins(each) for each in gained], 0)
        over = np.stack([measures.favoured(each) for each in gained])[choice, :, np.arange(6)].T
        outside += measures.least(over)[1].low > 0
    assert outside <= 25


# -- the sweep ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("size", SIZES)
def test_arms_of_a_world_differ_in_what_acts_on_entropy_alone(size: str) -> None:
    every = sweep.arms(size) | dict(sweep.final(size, sweep.SEARCH.begin(size)))
    for world in WORLDS:
        own = [setting for name, setting in every.items() if name.startswith(f"{world}/")]
        same = {
            str(dataclasses.replace(each, objective=own[0].objective).with_learning(curriculum=None)) for each in own
        }
        assert len(same) == 1
    assert len({setting.learning.prompts * setting.learning.group for setting in every.values()}) == 1


def test_schedules_have_the_reference_on_average() -> None:
    from toybed.objectives.schedules import read

    for _, shape in sweep.COEFFICIENT_SCHEDULES.values():
        schedule = read(sweep.multiplied(shape, 0.03))
        # 120 updates: an end or a step in the middle weighs one in 120.
        assert np.mean([schedule(i / 119) for i in range(120)]) == pytest.approx(0.03, rel=1 / 100)


def test_no_world_is_learned_in_and_judged_in() -> None:
    def worlds(places: Mapping[str, sweep.Place]) -> set[str]:
        return {str(place.setting.world) for place in places.values()}

    assert not worlds(sweep.PLACES) & worlds(sweep.SCHOOLS)
    asked = sweep.ask("standard", 0, sweep.META.begin())
    assert {str(each.world) for options in asked.values() for each in options.values()} == worlds(sweep.SCHOOLS)


def test_the_search_begins_with_the_reference() -> None:
    settings = sweep.final("standard", sweep.SEARCH.begin("standard"))
    for name, place in sweep.PLACES.items():
        assert settings[f"{name}/meta"].objective.blocks["entropy_coefficient"] == [place.reference] * sweep.BLOCKS


def test_a_real_run_records_what_is_read() -> None:
    for name, setting in sweep.arms("quick").items():
        if name.endswith("/anneal"):
            supervised = Supervised(steps=2, demonstrations=8, demonstrator=setting.supervised.demonstrator)
            tiny = dataclasses.replace(setting, supervised=supervised).with_learning(updates=1, prompts=4)
            (result,) = train_runs(tiny, [0], train_bases(tiny, [0]))
            known = [measure for measure in sweep.MEASURES if measure in result.curves]
            assert known == list(sweep.MEASURES[: 2 if "plans" in name else 3])
