"""The judge of ``two_phases`` on curves whose phases are known, and its measures against plain loops."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from judging import diverge

from toybed.agents.config import Supervised
from toybed.agents.training import train_bases, train_runs
from toybed.benchmarks import two_phases
from toybed.benchmarks import two_phases_measures as measures
from toybed.benchmarks.two_phases_sweep import ALPHAS, BONUSES, LEVELS, RIVALS, arms
from toybed.plotting import svg
from toybed.study import Records, Verdict

SEEDS = 5
STEPS = np.arange(0, 101, 4)
OFFSET = np.arange(SEEDS) - 2.0  # of the seeds, around the mean
ARMS = tuple(arms("full"))
DECIDING = [(level, part) for level in LEVELS for part in ("skills", "order", "rise", "diverge")]


def curve(*knots: tuple[float, float], spread: float = 0.0) -> np.ndarray:
    """Straight lines through (update, value), the last value a little different in each seed: ``[n, points]``."""
    times = [time for time, _ in knots]
    return np.stack([np.interp(STEPS, times, [*(v for _, v in knots[:-1]), knots[-1][1] + spread * o]) for o in OFFSET])


def arm(
    *,
    execution: float = 20,
    planning: float = 60,
    low: float = 0.6,
    end: float = 1.0,
    strategy: float = 2.6,
    tokens: float = 0.1,
    bump: float = 0.0,
    success: float = 0.5,
    valid: float = 60,
    noise: float = 0.004,
) -> Records:
    """Half of either entropy is gone at ``execution`` and ``planning``; the later phase begins at update 32.

    That is 1.5 times ``execution``, at the next measurement. ``low`` and ``end``: planning entropy over problems at its
    minimum and at the end; ``strategy`` the same of strategies, from 2 in the middle; ``tokens``: token entropy at the
    end, from 0.4 in the middle; ``bump``: a rise of the planning entropy given the problem; ``valid``: when half of the
    gain in valid plans is gained.
    """
    given = np.stack([np.interp(STEPS, [0, 2 * (planning + 100 * noise * o)], [1, 0]) for o in OFFSET])
    given[:, -1] += bump
    curves = {
        "entropy_exec": curve((0, 1), (2 * execution, 0)),
        "entropy_plan_conditional": given,
        "entropy_plan_marginal": curve((0, 0.9), (32, low), (100, end), spread=noise),
        "entropy_strategy": 3 * given,
        "entropy_strategy_marginal": curve((0, 2.5), (32, 2.0), (100, strategy), spread=noise),
        "entropy_test": curve((0, 1), (32, 0.4), (100, tokens), spread=noise),
        "exec_accuracy": curve((0, 0.75), (2 * execution, 1)),
        "plan_validity": curve((0, 0.3), (min(2 * valid, 100), 0.6), spread=noise),
        "reward_test": curve((0, 0.02), (100, success), spread=noise),
        "reward_train": curve((0, 0.02), (100, success), spread=noise),
    }
    return Records(dict.fromkeys(curves, STEPS), curves)


def house(**other: Records) -> dict[str, Records]:
    """Every arm has its two phases; HICRA succeeds more than all others, by 0.1 of success and 0.3 nats."""
    raised = arm(success=0.6, strategy=2.9)
    tables = {name: arm() for name in ARMS if name.startswith("tables_hicra")}
    tables |= {name: raised for name in ARMS if name.startswith("sgd_hicra")}
    return {name: raised if name.startswith("hicra") else arm() for name in ARMS} | tables | other


def judged(records: Mapping[str, Records]) -> tuple[Verdict, list[Verdict]]:
    verdict, parts = two_phases.judge(records)
    assert len({part.claim for part in parts}) == len(parts)
    assert all("nan" not in part.sentence for part in (verdict, *parts))
    return verdict, parts


def named(parts: list[Verdict], *words: str) -> Verdict:
    """The one part whose claim has all these words."""
    (found,) = [part for part in parts if all(word in part.claim for word in words)]
    return found


# -- the claim ------------------------------------------------------------------------------------------------------
def test_two_phases_support_the_claim() -> None:
    verdict, parts = judged(house())
    assert verdict.outcome == "supported"
    assert verdict.n == SEEDS
    assert verdict.estimate == pytest.approx(30)  # updates: valid plans rise to the end at 100, right executions to 40
    deciding = parts[: len(DECIDING)]
    assert [part.outcome for part in deciding] == ["supported"] * len(DECIDING)
    expected = [pytest.approx(30), pytest.approx(40), pytest.approx(0.4), pytest.approx(0.6)]
    assert [part.estimate for part in deciding[:4]] == expected


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    ("place", "name", "hurt"),
    [
        (0, "grpo", {"valid": 8}),
        (1, "single", {"planning": 10}),
        (2, "grpo", {"end": 0.65}),
        (3, "grpo", {"strategy": 1.9}),
        (3, "grpo", {"tokens": 0.5}),
    ],
)
def test_each_of_the_eight_refutes_alone(level: str, place: int, name: str, hurt: dict[str, Any]) -> None:
    verdict, parts = judged(house(**{f"{name}_{level}": arm(**hurt)}))
    assert verdict.outcome == "refuted"
    refuted = [DECIDING[i] for i, part in enumerate(parts[: len(DECIDING)]) if part.outcome == "refuted"]
    assert refuted == [DECIDING[4 * list(LEVELS).index(level) + place]]


def test_the_order_of_entropies_with_two_valid_plans_does_not_decide() -> None:
    verdict, parts = judged(house(grpo_75=arm(planning=10)))
    (order,) = [p for p in parts if p.claim.startswith("Half of the execution entropy") and p.outcome == "refuted"]
    assert order.claim.endswith("planning entropy, base executing 0.75.")
    assert verdict.outcome == "supported"


def test_the_answer_shows_the_part_that_refutes() -> None:
    verdict, parts = judged(house(grpo_95=arm(end=0.65)))
    assert verdict.estimate == parts[6].estimate == pytest.approx(0.05)


def test_seeds_that_disagree_are_undecided() -> None:
    # Half gone at 24 - 40, ..., 24 + 40: a mean of 4 updates with a standard deviation of over 20.
    verdict, parts = judged(house(single_75=arm(planning=24, noise=0.1)))
    assert parts[1].outcome == verdict.outcome == "undecided"


def test_planning_that_is_never_half_gone_counts_as_the_last_update() -> None:
    verdict, parts = judged(house(single_75=arm(planning=300)))
    assert verdict.outcome == "supported"
    assert parts[1].estimate == pytest.approx(100 - 20)
    assert "never in 5 of 5" in parts[1].sentence


def test_where_no_entropy_is_half_gone_there_is_no_order_and_no_later_phase() -> None:
    still = arm(planning=300, execution=300)
    verdict, parts = judged(house(grpo_75=still, single_75=still))
    assert verdict.outcome == parts[1].outcome == parts[3].outcome == "undecided"
    assert parts[1].n == parts[3].n == 0


@pytest.mark.parametrize("name", ["grpo_75", "sharp_95", "tables_75", "hicra_0.2_75", "plain_95", "few_75"])
def test_a_diverged_run_is_told_and_left_out(name: str) -> None:
    records = house()
    verdict, parts = judged({**records, name: diverge(records[name], [2])})
    assert "1 run diverged" in verdict.sentence
    assert verdict.outcome == "supported"
    assert parts[0].n == SEEDS - (name == "grpo_75")


@pytest.mark.parametrize("runs", [[0, 1, 2], list(range(SEEDS))])
def test_too_few_runs_are_undecided(runs: list[int]) -> None:
    verdict, parts = judged({**house(), "grpo_75": diverge(arm(), runs)})
    assert verdict.outcome == "undecided"
    assert [part.outcome for part in parts[:4]] == ["undecided", "supported", "undecided", "undecided"]


def test_nothing_beside_the_claim_decides() -> None:
    bad = arm(planning=10, end=0.65, strategy=1.9, success=0.1)
    records = {name: each if name.startswith(("grpo", "single")) else bad for name, each in house().items()}
    assert judged(records)[0].outcome == "supported"


# -- beside it ------------------------------------------------------------------------------------------------------
def test_a_rise_that_is_routing_is_told_from_one_that_is_not() -> None:
    _, parts = judged(house())
    # At update 32 given the problem 3 (1 - 32/120) = 2.2, at the end 3 (1 - 100/120) = 0.5: a fall of 204/120, in seeds
    # 204/(120 + x) with x to 1.6: their mean is above that by 1.7 (x/120)^2 < 3.1e-4.
    assert named(parts, "tells of its problem", "0.75").estimate == pytest.approx(0.6 + 1.7, abs=3.1e-4)
    assert named(parts, "tells of its problem", "0.75").outcome == "supported"
    _, parts = judged(house(grpo_75=arm(bump=0.8)))  # given the problem it rises as well, by 3 * 0.8 - 1.7
    assert named(parts, "tells of its problem", "0.75").outcome == "refuted"


def test_planning_entropy_that_rises_again_does_not_only_fall() -> None:
    _, parts = judged(house(grpo_95=arm(bump=0.2)))
    assert named(parts, "only falls", "0.75").outcome == "supported"
    assert named(parts, "only falls", "0.95").outcome == "refuted"
    # The last point is 4 updates on, of 120 until nothing is left.
    assert named(parts, "only falls", "0.95").estimate == pytest.approx(0.2 - 4 / 120, abs=1e-3)


def test_skills_have_an_order_of_their_own() -> None:
    _, parts = judged(house(grpo_75=arm(valid=8)))
    assert named(parts, "valid plans, base executing 0.75").outcome == "refuted"
    assert named(parts, "valid plans, base executing 0.75").estimate == pytest.approx(8 - 20, abs=0.5)
    for other in ("valid plans, base executing 0.95", "valid plans, with one valid plan a stage, base executing 0.75"):
        assert named(parts, other).outcome == "supported"


def test_the_order_may_be_the_bases() -> None:
    verdict, parts = judged(house(sharp_75=arm(planning=10)))
    (order,) = [p for p in parts if "execution entropy is gone before" in p.claim and p.outcome == "refuted"]
    assert ", from a base that plans sharply, base executing 0.75" in order.claim
    assert named(parts, "shortens", "phases: base executing 0.75").estimate == pytest.approx(50)
    assert named(parts, "shortens", "phases: base executing 0.75").outcome == "supported"
    assert verdict.outcome == "supported"


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("rival", RIVALS)
def test_hicra_is_paired_with_each_rival_over_both_bases(alpha: float, rival: str) -> None:
    def parts_of(**other: Records) -> tuple[Verdict, Verdict]:
        _, parts = judged(house(**other))
        shared = [part for part in parts if part.claim.startswith(f"HICRA with alpha {alpha:g} ")]
        than = f" than with {RIVALS[rival]}."
        return named(shared, than, "succeeds"), named(shared, than, "strategy entropy")

    accuracy, strategies = parts_of()
    assert accuracy.outcome == strategies.outcome == "supported"
    assert (accuracy.estimate, strategies.estimate) == (pytest.approx(0.1), pytest.approx(0.3))
    name = "plain" if rival == "plain" else f"{rival}_{alpha:g}"
    # 0.1 above at one base and 0.3 below at the other.
    accuracy, strategies = parts_of(**{f"{name}_75": arm(success=0.9, strategy=3.5)})
    assert accuracy.outcome == strategies.outcome == "refuted"
    assert (accuracy.estimate, strategies.estimate) == (pytest.approx(-0.1), pytest.approx((0.3 - 0.6) / 2))


def test_entropy_bonuses_compete_at_their_best_dose() -> None:
    best = {f"planning_0.01_{level}": arm(success=0.7) for level in LEVELS}
    _, parts = judged(house(**best))
    part = named(parts, "HICRA succeeds more than an entropy bonus")
    assert part.outcome == "refuted"
    assert part.estimate == pytest.approx(-0.1)
    assert f"planning_0.01 in {SEEDS}" in part.sentence


@pytest.mark.parametrize(
    ("success", "outcome"), [(0.5, "supported"), (0.51, "supported"), (0.6, "refuted"), (0.52, "undecided")]
)
def test_in_tables_the_mask_should_make_no_difference(success: float, outcome: str) -> None:
    hurt = arm(success=success)
    # Seeds differ by 0.002 around the difference, so that 0.02 is no edge of rounding.
    hurt.curves["reward_test"][:, -1] += 0.002 * OFFSET
    _, parts = judged(house(**{"tables_hicra_0.5_75": hurt}))
    for rival in ("placebo", "reweighted"):
        assert named(parts, "In tables HICRA", RIVALS[rival]).outcome == outcome


def test_by_sgd_the_mask_should_make_one() -> None:
    _, parts = judged(house())
    part = named(parts, "by SGD", RIVALS["placebo"])
    assert part.outcome == "supported"
    assert part.estimate == pytest.approx(0.1)
    _, parts = judged(house(**{"sgd_placebo_0.5_75": arm(success=0.7)}))
    assert named(parts, "by SGD", RIVALS["placebo"]).outcome == "refuted"
    assert named(parts, "by SGD", RIVALS["reweighted"]).outcome == "supported"


def test_a_quick_answer_has_fewer_arms_and_the_same_claim() -> None:
    records = {name: each for name, each in house().items() if name in arms("quick")}
    verdict, parts = judged(records)
    assert verdict.outcome == "supported"
    assert len(parts) < len(judged(house())[1])
    assert svg(two_phases.figure(records)).startswith("<svg")


def test_the_figure_can_be_drawn_whatever_is_missing() -> None:
    still = arm(planning=300, execution=300)
    records = house(grpo_75=still, single_75=still, grpo_95=diverge(arm(), [1]))
    records |= {"hicra_0.2_95": diverge(arm(), [*range(SEEDS)]), "tables_75": diverge(arm(), [*range(SEEDS)])}
    assert svg(two_phases.figure(records)).startswith("<svg")


# -- measures against plain loops -----------------------------------------------------------------------------------
def crossing_twin(steps: list[float], values: list[float], level: float) -> float:
    """Walk along each piece of the curve."""
    if values[0] <= level:
        return steps[0]
    for i in range(1, len(steps)):
        if values[i] <= level:
            slope = (values[i] - values[i - 1]) / (steps[i] - steps[i - 1])
            return steps[i - 1] + (level - values[i - 1]) / slope
    return math.inf


@pytest.mark.parametrize("seed", range(20))
def test_crossings_and_rises_against_plain_loops(seed: int) -> None:
    random = np.random.default_rng(seed)
    steps = np.cumsum(random.integers(1, 6, 30))
    values = 1 + 0.2 * random.normal(size=30).cumsum()
    for level in (values[0] + 0.1, 0.8, 0.5, values.min(), values.min() - 0.1):
        twin = crossing_twin(steps.tolist(), values.tolist(), level)
        # At most five rounded operations on numbers below 200: 5 * 200 * 2.2e-16, and ten times that.
        assert measures.crossing(steps, values, level) == pytest.approx(twin, abs=2e-12)
    curves = {name: values[None] for name in ("x", "reward_train", "entropy_exec")}
    records = Records(dict.fromkeys(curves, steps), curves)
    pairs = [values[j] - values[i] for i in range(30) for j in range(i, 30)]
    assert measures.largest_rise(records, "x")[0] == max(pairs)
    assert measures.rise(records, "x")[0] == values[-1] - min(values)
    gone = [i for i in range(30) if values[i] <= 0.25 * values[0]]
    change = values[-1] - values[gone[0]] if gone and gone[0] < 29 else math.nan
    np.testing.assert_equal(measures.later_change(records, "x"), [change])
    half = [i for i in range(30) if values[i] <= 0.5 * values[0]]
    change = values[-1] - values[half[0]] if half and half[0] < 29 else math.nan
    np.testing.assert_equal(measures.later_change(records, "x", measures.HALF), [change])


def test_lags_are_bounds_where_one_never_comes() -> None:
    steps = np.array([0, 50, 100])
    assert measures.lag(steps, 20.0, 60.0) == 40
    assert measures.lag(steps, 20.0, math.inf) == 80
    assert measures.lag(steps, math.inf, 60.0) == -40
    assert math.isnan(measures.lag(steps, math.inf, math.inf))


# -- the sweep ------------------------------------------------------------------------------------------------------
def test_the_arms_differ_in_what_the_question_asks_and_nothing_else() -> None:
    for size in ("quick", "standard", "full"):
        found = arms(size)
        bases = LEVELS if size != "quick" else ("75",)
        assert {f"{name}_{level}" for name in ("grpo", "single") for level in bases} <= set(found)
        for name, setting in found.items():
            level = name.rsplit("_", 1)[1]
            expected = {"objective"} if "hicra" in name or name.startswith((*RIVALS, *BONUSES)) else set()
            expected |= {"supervised"} if "sharp" in name else set()
            expected |= {"policy", "supervised", "learning"} if name.startswith(("tables", "sgd")) else set()
            expected |= {"objective"} if "placebo" in name or "reweighted" in name else set()
            expected |= {"world"} if name.startswith(("few", "single")) else set()
            expected |= {"learning"} if name.startswith(("slow", "fast")) else set()
            grpo = found[f"grpo_{level}"]
            fields = (field.name for field in dataclasses.fields(setting))
            assert {f for f in fields if getattr(setting, f) != getattr(grpo, f)} == expected, name
            assert setting.learning.updates == grpo.learning.updates
            assert setting.learning.minibatches == grpo.learning.minibatches > 1
            assert setting.supervised is not None
            assert setting.supervised.demonstrator["execution"] == LEVELS[level]
        assert two_phases.STUDY.seeds[size] >= 3
    assert set(arms("quick")) < set(arms("standard")) < set(arms("full"))
    assert two_phases.STUDY.worlds
    assert arms("full")["single_75"].world.options == {"nvalid": 1}


@pytest.mark.parametrize("level", LEVELS)
def test_rivals_have_hicras_strength_and_its_advantage(level: str) -> None:
    found = arms("full")
    assert found[f"plain_{level}"].objective.options == {"alpha": 0.0}
    for alpha in ALPHAS:
        for name in ("hicra", "placebo", "reweighted"):
            assert found[f"{name}_{alpha:g}_{level}"].objective.options == {"alpha": alpha}
    for name, options in BONUSES.items():
        assert found[f"{name}_{level}"].objective.options == {"alpha": 0.0, **options}


def test_a_run_records_every_measure_that_it_reads() -> None:
    tiny = arms("quick")["hicra_0.5_75"].with_learning(updates=3, measure_every=1, prompts=4, group=2, minibatches=2)
    tiny = dataclasses.replace(
        tiny,
        world=dataclasses.replace(tiny.world, options={"types": 4, "stages": 2, "skills": 4, "values": 5}),
        supervised=Supervised(steps=2, demonstrations=8),
    )
    results = train_runs(tiny, [0, 1, 2], train_bases(tiny, [0, 1, 2]))
    curves = {name: np.stack([result.curves[name].values for result in results]) for name in results[0].curves}
    records = Records({name: each.steps for name, each in results[0].curves.items()}, curves)
    judged(dict.fromkeys(ARMS, records))
