"""The judge of ``reversibility`` on end points whose answer is known by construction."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import pytest
from judging import diverge
from numpy.typing import NDArray

from toybed.agents.config import Start
from toybed.benchmarks import reversibility
from toybed.benchmarks.mixtures import best_mixture
from toybed.benchmarks.reversibility_measures import COVERAGE, MANY, ONE, share
from toybed.benchmarks.reversibility_sweep import DOSES, FREE, OBJECTIVES, REMEDIES, SECOND, TRAINED, TWINS, arms
from toybed.plotting import svg
from toybed.study import Records, Verdict

Array = NDArray[np.float64]
SEEDS = 6
BASE = {ONE: 0.07, MANY: 1.0, COVERAGE: 0.20}
COLLAPSED = {ONE: 0.12, MANY: 0.9, COVERAGE: 0.05}
POOR = (0.1, 0.1, 1.0)
SIZES = ("quick", "standard", "full")


def arm(coverage: float, many: float, kept: float, noise: float = 0.02, seeds: int = SEEDS) -> Records:
    """Runs that begin at the base and end with these shares of the loss brought back and of the win kept.

    The seeds differ by ``noise`` of the whole, evenly about the mean.
    """
    spread = noise * np.linspace(-1, 1, seeds)
    shares = {COVERAGE: coverage, MANY: many, ONE: 1 - kept}
    curves = {}
    for measure, back in shares.items():
        end = COLLAPSED[measure] + (back + spread) * (BASE[measure] - COLLAPSED[measure])
        curves[measure] = np.stack([np.full(seeds, BASE[measure]), end], 1)
    curves["reward_train"], curves["entropy_test"] = curves[ONE] + 0.01, 5 * curves[COVERAGE]
    return Records({name: np.array([0, 120]) for name in curves}, curves)


def house(size: str = "standard", **other: Records) -> dict[str, Records]:
    """No remedy works, GRPO going on makes it worse, and remedies from the base end where those after the collapse do.

    Only the collapsed runs differ from seed to seed by nothing at all: what they cost is then known to the digit.
    """
    records = {name: arm(*POOR) for name in arms(size)}
    for name in records:
        if name.endswith("collapsed"):
            records[name] = arm(0.0, 0.0, 1.0, noise=0.0)
        elif "base_" in name and not name.endswith("_from_base"):
            records[name] = arm(0.9, 0.9, 0.5)
    for name in ("goes_on", f"{SECOND}goes_on"):
        if name in records:
            records[name] = arm(-0.1, -0.5, 1.2)
    for name in TWINS:
        if f"{name}_from_base" in records:
            records[f"{name}_from_base"] = records[name]
    return records | other


def judged(records: Mapping[str, Records]) -> tuple[Verdict, dict[str, Verdict]]:
    """The verdict, and its parts by the beginning of their claim."""
    verdict, parts = reversibility.judge(records)
    found = {part.claim: part for part in parts}
    assert len(found) == len(parts)
    return verdict, found


def part(parts: Mapping[str, Verdict], *words: str) -> Verdict:
    (found,) = (p for claim, p in parts.items() if all(word in claim for word in words))
    return found


def best(records: Mapping[str, Records], which: str = "first") -> list[Verdict]:
    return [p for claim, p in judged(records)[1].items() if claim.startswith(f"The best remedy after the {which}")]


# Two remedies that work, one after each collapse.
GOOD = {"keep_0.45": arm(0.9, 0.8, 0.7), f"{SECOND}temperature_1.5": arm(0.9, 0.8, 0.7)}


def test_a_remedy_that_brings_back_more_than_half_supports_the_claim() -> None:
    verdict, parts = judged(house(**GOOD))
    assert verdict.outcome == "supported"
    assert verdict.n == SEEDS
    assert verdict.estimate == pytest.approx(0.7)  # the smallest of the three shares
    assert [p.estimate for p in best(house(**GOOD))] == pytest.approx([0.9, 0.8, 0.7])
    assert f"keep_0.45) in {SEEDS} of {SEEDS}" in verdict.sentence
    assert part(parts, "Interpolation", "first").outcome == "supported"
    assert part(parts, "Temperature", "second").outcome == "supported"
    for name in (("Temperature", "first"), ("Pass@k training", "first"), ("Interpolation", "second")):
        assert part(parts, *name).outcome == "refuted", name


def test_no_remedy_refutes_the_claim() -> None:
    verdict, parts = judged(house())
    assert verdict.outcome == "refuted"
    assert verdict.high < 0.5
    for which in ("first", "second"):
        assert part(parts, "Nothing returns", which).outcome == "supported"
        assert part(parts, f"The {which} collapse: GRPO").outcome == "supported"


@pytest.mark.parametrize("lacks", [(0.3, 0.8, 0.7), (0.9, 0.3, 0.7), (0.9, 0.8, 0.3)])
def test_each_of_the_three_shares_can_refute_the_claim(lacks: tuple[float, float, float]) -> None:
    records = house(**{**GOOD, "keep_0.45": arm(*lacks)})
    assert sorted(p.outcome for p in best(records)) == ["refuted", "supported", "supported"]
    assert judged(records)[0].outcome == "refuted"


def test_a_share_of_just_half_is_undecided() -> None:
    verdict, _ = judged(house(**{**GOOD, "keep_0.45": arm(0.5, 0.9, 0.9, noise=0.1)}))
    assert verdict.outcome == "undecided"


def test_a_remedy_has_to_work_after_both_collapses() -> None:
    records = house(**{"keep_0.45": GOOD["keep_0.45"]})
    assert judged(records)[0].outcome == "refuted"
    assert [p.outcome for p in best(records)] == ["supported"] * 3
    assert "refuted" in [p.outcome for p in best(records, "second")]


def test_a_quick_sweep_has_one_collapse_and_no_twins() -> None:
    verdict, parts = judged(house("quick", **{"keep_0.45": GOOD["keep_0.45"]}))
    assert verdict.outcome == "supported"
    assert not any("second" in claim or "trace" in claim for claim in parts)


def test_remedies_of_different_virtues_are_not_added_up() -> None:
    """One brings back everything and keeps nothing, another the other way: the chosen one is one of them."""
    verdict, _ = judged(house("quick", **{"temperature_3": arm(1.0, 1.0, 0.2), "maxrl": arm(0.1, 0.2, 1.5)}))
    assert verdict.outcome == "refuted"
    assert verdict.estimate == pytest.approx(0.2)


def test_a_dose_is_chosen_without_the_run_that_it_is_judged_on() -> None:
    """Each of six doses is wonderful in one seed and useless in the others; with hindsight all would be well."""
    doses = FREE["temperature"][1]
    assert len(doses) == SEEDS
    lucky = {}
    for seed, name in enumerate(doses):
        records = arm(0.0, 0.0, 0.0)
        curves = {measure: values.copy() for measure, values in records.curves.items()}
        for measure, values in arm(1.0, 1.0, 1.0).curves.items():
            curves[measure][seed] = values[seed]
        lucky[name] = dataclasses.replace(records, curves=curves)
    _, parts = judged(house("quick", **lucky))
    assert part(parts, "Temperature after").estimate == pytest.approx(0.0, abs=0.03)


def test_best_mixture_by_hand() -> None:
    reward, coverage = np.array([0.0, 1.0, 0.5]), np.array([1.0, 0.0, 0.2])
    # The third point lies under the chord of the first two, 1 - x.
    assert best_mixture(0.5, reward, coverage) == pytest.approx(0.5)
    assert best_mixture(0.25, reward, coverage) == pytest.approx(0.75)
    assert best_mixture(-1.0, reward, coverage) == 1.0  # who needs less takes the best
    assert best_mixture(2.0, reward, coverage) == 0.0  # beyond all of them: the last one
    assert best_mixture(0.5, np.array([0.0, np.nan, 1.0]), np.array([1.0, 5.0, 0.0])) == pytest.approx(0.5)
    assert np.isnan(best_mixture(np.nan, reward, coverage))
    assert np.isnan(best_mixture(0.5, np.full(3, np.nan), coverage))


def test_a_share_is_a_ratio_of_means_and_not_a_mean_of_ratios() -> None:
    """Of losses of 0.1 and 0.3, 0.1 came back: a half, where the mean of the ratios is two thirds."""
    loss = np.array([0.1, 0.3, 0.1, 0.3])
    collapsed = arm(0.0, 0.0, 1.0, noise=0.0, seeds=4)
    curves = collapsed.curves | {COVERAGE: np.stack([np.full(4, 0.5), 0.5 - loss], 1)}
    records = {"collapsed": dataclasses.replace(collapsed, curves=curves)}
    for at in (0.0, 0.5):
        assert share(records, COVERAGE, np.full(4, 0.1), at).mean() == pytest.approx(0.5)


def test_where_nothing_was_lost_for_certain_all_is_undecided() -> None:
    """Pass@256 that did not fall: no share of it exists, and the others decide nothing alone."""
    records = house("quick")
    curves = records["collapsed"].curves | {MANY: np.ones((SEEDS, 2))}
    records["collapsed"] = dataclasses.replace(records["collapsed"], curves=curves)
    verdict, parts = judged(records)
    assert verdict.outcome == "undecided"
    assert verdict.n == 0
    assert "not certain" in verdict.sentence
    assert part(parts, "The first collapse: GRPO").outcome == "undecided"
    assert all("nan" not in p.sentence for p in (verdict, *parts.values()))
    assert svg(reversibility.figure(records)).startswith("<svg")


def test_two_runs_decide_nothing() -> None:
    records = house(**GOOD)
    few = {
        name: dataclasses.replace(r, curves={m: values[:2] for m, values in r.curves.items()})
        for name, r in records.items()
    }
    verdict, parts = judged(few)
    assert {p.outcome for p in (verdict, *parts.values())} == {"undecided"}


def test_a_trained_remedy_is_held_against_the_free_ones_at_its_own_pass_at_1() -> None:
    """The line from base to collapsed is free: a share of 0.5 back with 0.5 kept lies on it, 0.6 and 0.6 above."""
    on, over = arm(0.5, 0.5, 0.5, noise=0.0), arm(0.6, 0.6, 0.6, noise=0.0)
    everything = {name: arm(-0.5, -0.5, 0.5) for name in house("quick")}
    kept = {"collapsed": arm(0.0, 0.0, 1.0, noise=0.0)}
    _, parts = judged(everything | kept | {"passk": on})
    assert part(parts, "some trained").estimate == pytest.approx(0.0, abs=1e-9)
    # Above the chord is not above the mixture, which has more than the chord.
    _, parts = judged(everything | kept | {"passk": over})
    assert part(parts, "some trained").outcome == "undecided"
    assert part(parts, "some trained").estimate == pytest.approx(0.2)
    # With more pass@1 than any of them it meets no chord.
    _, parts = judged(everything | kept | {"passk": arm(0.6, 0.6, 1.1, noise=0.0)})
    assert part(parts, "some trained").outcome == "supported"
    # The base at a low temperature is no free remedy of the collapsed policy, but may make all of it vain.
    _, parts = judged(everything | kept | {"passk": over, "base_0.4": arm(1.0, 1.0, 0.6, noise=0.0)})
    assert part(parts, "some trained").outcome == "undecided"
    assert part(parts, "is worth it").outcome == "refuted"
    assert part(parts, "is worth it").estimate == pytest.approx(-0.4)


@pytest.mark.parametrize(("kept", "outcome"), [(0.9, "supported"), (1.5, "refuted")])
def test_what_was_won_is_held_against_the_sharpened_base(kept: float, outcome: str) -> None:
    _, parts = judged(house(**{"base_0.2": arm(0.5, 0.5, kept)}))
    assert part(parts, "sharpening", "first").outcome == outcome
    assert part(parts, "sharpening", "second").outcome == "supported"  # the sharpened bases of the house keep a half


@pytest.mark.parametrize(
    ("shift", "outcome"),
    [((0.0, 0.0), "supported"), ((0.1, -0.1), "supported"), ((0.4, 0.0), "refuted"), ((0.0, -0.4), "refuted")],
)
def test_a_trace_of_the_collapse(shift: tuple[float, float], outcome: str) -> None:
    coverage, kept = shift
    _, parts = judged(house(passk_from_base=arm(POOR[0] + coverage, POOR[1], POOR[2] + kept)))
    found = part(parts, "no trace", "pass@k")
    assert found.outcome == outcome
    assert found.estimate == pytest.approx(-coverage)
    assert part(parts, "no trace", "MaxRL").outcome == "supported"


@pytest.mark.parametrize("name", ["keep_0.45", "passk", "maxrl_from_base", "goes_on", "base_0.2"])
def test_a_diverged_run_is_told_and_never_averaged(name: str) -> None:
    records = house(**GOOD)
    records[name] = diverge(records[name], 2, at=-1, wild=True)
    verdict, parts = judged(records)
    assert verdict.outcome == "supported"
    assert "1 run diverged" in verdict.sentence
    for found in (verdict, *parts.values()):
        assert "nan" not in found.sentence, found.sentence
        assert np.isfinite(found.estimate), found.claim
        assert abs(found.estimate) < 10


def test_a_diverged_collapse_leaves_its_seed_out() -> None:
    records = house(**GOOD)
    records["collapsed"] = diverge(records["collapsed"], 2, at=-1, wild=True)
    verdict, _ = judged(records)
    assert verdict.outcome == "supported"
    assert verdict.n == SEEDS - 1
    assert verdict.estimate == pytest.approx(0.7, abs=0.01)


@pytest.mark.parametrize("name", [*arms("standard")])
def test_an_arm_that_diverged_altogether_breaks_nothing(name: str) -> None:
    records = house(**GOOD)
    for run in range(SEEDS):
        records[name] = diverge(records[name], run, at=-1, wild=True)
    verdict, parts = judged(records)
    assert f"{SEEDS} runs diverged" in verdict.sentence
    assert all("nan" not in p.sentence for p in (verdict, *parts.values()))
    lost = name in GOOD
    assert verdict.outcome == ("undecided" if name.endswith("collapsed") else "refuted" if lost else "supported")


@pytest.mark.parametrize("names", [("keep_0.45", "passk", "nsr_from_base", "base_0.1"), ("collapsed",)])
def test_the_figure_can_be_drawn_when_runs_diverged(names: tuple[str, ...]) -> None:
    records = house(**GOOD)
    records["goes_on"] = diverge(records["goes_on"], 1, at=-1, wild=True)
    for name in names:
        for run in range(SEEDS):
            records[name] = diverge(records[name], run, at=-1, wild=True)
    assert svg(reversibility.figure(records)).startswith("<svg")


@pytest.mark.parametrize("size", SIZES)
def test_the_arms_change_what_the_question_asks_and_nothing_else(size: str) -> None:
    found = arms(size)
    collapsed = found["collapsed"]
    assert all(name in found for _, doses in REMEDIES.values() for name in doses)
    for key in FREE:
        for name in FREE[key][1]:
            assert found[name].learning.updates == 0
            assert found[name].start.after == collapsed
    for name in ("goes_on", *OBJECTIVES):
        assert found[name].learning == collapsed.learning  # as many rollouts as the control
        assert found[name].start == Start(after=collapsed)
    for name in ("passk", "maxrl", "nsr"):
        rate = found[f"{name}_slow"].learning.learning_rate
        assert rate < collapsed.learning.learning_rate
        assert found[f"{name}_slow"].with_learning(learning_rate=collapsed.learning.learning_rate) == found[name]
    for updates, name in zip(DOSES, TRAINED["opposite"][1], strict=True):
        assert found[name].learning.updates == updates
    back = found["relearn"].start.after
    assert back is not None
    assert back.start.after == collapsed
    assert back.learning.updates + found["relearn"].learning.updates == collapsed.learning.updates


@pytest.mark.parametrize("size", ["standard", "full"])
def test_a_twin_is_its_remedy_from_the_base_for_all_updates(size: str) -> None:
    found = arms(size)
    for name in TWINS:
        twin = found[f"{name}_from_base"]
        assert twin.start == Start()
        assert twin.learning.updates == found["collapsed"].learning.updates + found[name].learning.updates
        assert dataclasses.replace(twin, start=found[name].start, learning=found[name].learning) == found[name]


@pytest.mark.parametrize("size", ["standard", "full"])
def test_the_second_collapse_has_its_own_world_and_the_same_free_remedies(size: str) -> None:
    found = arms(size)
    second = {name.removeprefix(SECOND): s for name, s in found.items() if name.startswith(SECOND)}
    assert second["collapsed"].base_config() != found["collapsed"].base_config()
    assert all(s.base_config() == second["collapsed"].base_config() for s in second.values())
    assert all(name in second for _, doses in FREE.values() for name in doses)
    for name, setting in second.items():
        assert (setting.start.temperature, setting.start.keep) == (
            found[name].start.temperature,
            found[name].start.keep,
        )
