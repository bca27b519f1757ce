"""The rule of `law_constants` on records whose answer is known."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import pytest
from judging import diverge
from numpy.typing import NDArray

from toybed.benchmarks import law_constants
from toybed.benchmarks import law_constants_sweep as sweep
from toybed.benchmarks import law_measures as measures
from toybed.plotting import svg
from toybed.study import Records, Verdict

Array = NDArray[np.float64]
SEEDS = 5
STEPS = np.arange(0, 151, 5)
CLAIM = ("same a", "same levels", "one curve", "base", "data", "null")
BESIDE = ("linear", "chord", "rate", "seeds", "control")


def entropies(seeds: int = SEEDS, last: float = 0.1) -> Array:
    """Falling curves ``[n, points]``, a little different for each seed."""
    start = 1.5 + 0.02 * np.arange(seeds)[:, None]
    return last + (start - last) * np.exp(-STEPS / 40)


def law(a: float, h: Array, level: float = 1.1) -> Array:
    """R = level - a exp(H), a little different for each seed."""
    return level - a * (1 + 0.01 * np.arange(len(h))[:, None]) * np.exp(h)


def arm(h: Array, reward: Array) -> Records:
    curves = {"entropy_train": h, "reward_test": reward, "reward_train": reward}
    return Records({name: STEPS for name in curves}, curves)


def follows(a: float, level: float = 1.1) -> Records:
    h = entropies()
    return arm(h, law(a, h, level))


def no_law() -> Records:
    h = entropies()
    return arm(h, np.broadcast_to(0.3 + 0.2 * np.cos(STEPS / 12), h.shape).copy())


def house(**other: Records) -> dict[str, Records]:
    """Records of every arm as the claim has them: bases and data have laws of their own, and no base has none."""
    records = {name: follows(0.2) for name in ("grpo", *sweep.ARMS)}
    for group in ("base", "data"):
        for i, name in enumerate(sweep.GROUPS[group]):
            records[name] = follows(0.1 if i % 2 else 0.35, level=1.0)
    return {**records, "random_init": no_law(), **other}


def judged(records: Mapping[str, Records]) -> tuple[Verdict, dict[str, Verdict]]:
    verdict, parts = law_constants.judge(records)
    rows = [arm for group, arms in sweep.GROUPS.items() for arm in arms if group != "control"]
    names = (*CLAIM, *BESIDE, *(name for name in rows if name in records))
    return verdict, dict(zip(names, parts, strict=True))


def lost(records: Records) -> Records:
    for run in range(SEEDS):
        records = diverge(records, run, at=3 + run, wild=True)
    return records


def test_constants_of_base_and_data_support_the_claim() -> None:
    verdict, parts = judged(house())
    assert verdict.outcome == "supported"
    for name in (*CLAIM, "linear", "rate", "seeds", "control"):
        assert parts[name].outcome == "supported", name
        assert parts[name].n == SEEDS
    assert parts["same a"].estimate == pytest.approx(1.0)
    assert parts["rloo"].outcome == "supported"
    assert parts["sharp"].outcome == "supported"
    assert parts["sharp"].estimate == pytest.approx(0.35 / 0.2)
    # Ratios of 1.75 and 0.5, three of each; the algorithms are at 0.
    assert parts["base"].estimate == pytest.approx((0.75 + 0.5) / 2)


def test_an_algorithm_with_another_a_refutes_it() -> None:
    verdict, parts = judged(house(maxrl=follows(0.3)))
    assert parts["same a"].outcome == "refuted"
    assert parts["same a"].estimate == pytest.approx(1.5)
    assert parts["maxrl"].outcome == "refuted"
    assert parts["rloo"].outcome == "supported"
    assert verdict.outcome == "refuted"


def test_a_curve_that_is_higher_everywhere_shares_a_and_nothing_else() -> None:
    verdict, parts = judged(house(dr_grpo=follows(0.2, level=1.2)))
    assert parts["same a"].outcome == "supported"
    assert parts["same levels"].outcome == "refuted"
    assert parts["same levels"].estimate == pytest.approx(0.1)
    assert parts["one curve"].outcome == "refuted"
    assert parts["one curve"].estimate == pytest.approx(0.1)
    assert verdict.outcome == "refuted"


@pytest.mark.parametrize("group", ["base", "data"])
def test_one_a_for_all_refutes_that_it_belongs_to_them(group: str) -> None:
    shared = {name: follows(0.2) for name in sweep.GROUPS[group]}
    verdict, parts = judged(house(**shared))
    assert parts[group].outcome == "refuted"
    assert parts[group].estimate == pytest.approx(0.0)
    assert all(parts[name].outcome == "refuted" for name in shared)
    assert verdict.outcome == "refuted"


def test_bases_must_move_a_further_than_algorithms_do() -> None:
    """Algorithms as far apart as the bases: a is nobody's."""
    spread = {name: follows(0.1 if i % 2 else 0.35) for i, name in enumerate(sweep.GROUPS["algorithm"])}
    _, parts = judged(house(**spread))
    assert parts["base"].outcome == "refuted"


def test_reward_that_no_longer_moves_is_predicted_better_by_no_change() -> None:
    early = int(np.count_nonzero(measures.EARLY * STEPS[-1] >= STEPS))
    records = house()
    for name, found in records.items():
        curves = {measure: values.copy() for measure, values in found.curves.items()}
        curves["reward_test"][:, early:] = curves["reward_test"][:, early - 1 : early]
        records[name] = dataclasses.replace(found, curves=curves)
    verdict, parts = judged(records)
    assert parts["null"].outcome == "refuted"
    assert verdict.outcome == "refuted"


def test_learning_rates_seeds_and_steering_do_not_decide() -> None:
    h = entropies()
    wild = arm(h, 1.1 - 0.2 * (1 + 0.5 * np.arange(SEEDS)[:, None]) * np.exp(h))
    verdict, parts = judged(house(slow=follows(0.4), trl=follows(0.2, level=1.3)))
    assert parts["rate"].outcome == "refuted"
    assert parts["trl"].outcome == "supported"  # it leaves the curve
    assert parts["trl"].estimate == pytest.approx(0.2)
    assert parts["skywork"].outcome == "refuted"  # it is on it
    assert verdict.outcome == "supported"
    _, parts = judged(house(grpo=wild))
    assert parts["seeds"].outcome == "refuted"


def test_the_departure_of_steered_runs_is_from_their_own_seed() -> None:
    """Seeds with curves of their own, and an arm that follows the curve of its seed."""
    h = entropies()
    level = 1.0 + 0.1 * np.arange(SEEDS)[:, None]
    own = arm(h, level - 0.2 * np.exp(h))
    _, parts = judged(house(grpo=own, clip_higher=arm(h + 0.2, level - 0.2 * np.exp(h + 0.2))))
    assert parts["clip_higher"].estimate == pytest.approx(0.0, abs=1e-9)


def test_the_law_over_common_entropies_is_compared_where_both_runs_were() -> None:
    """A straight line in H is a steeper one in exp(H) where H is low; over common entropies it is the same."""
    low, high = entropies(), entropies(last=0.8)
    records = {"grpo": arm(low, 1 - 0.5 * low), "slow": arm(high, 1 - 0.5 * high)}
    assert (measures.ratio(records, "slow") < 0.8).all()
    assert measures.ratio_in_common(records, "slow") == pytest.approx(1.0, abs=0.01)
    apart = {"grpo": records["grpo"], "slow": arm(low + 2, 1 - 0.5 * low)}
    assert np.isnan(measures.ratio_in_common(apart, "slow")).all()


def test_variation_has_the_interval_of_a_normal_sample() -> None:
    values = np.array([9.0, 10.0, 11.0])  # standard deviation 1, mean 10
    interval = measures.variation(values)
    # The variance of 3 has 2 degrees of freedom, of which 95 % of chi-square lies in 2 (-ln 0.975), 2 (-ln 0.025).
    assert interval.estimate == pytest.approx(0.1)
    assert interval.low == pytest.approx(0.1 / np.sqrt(-np.log(0.025)))
    assert interval.high == pytest.approx(0.1 / np.sqrt(-np.log(0.975)))
    assert np.isnan(measures.variation(values[:2]).estimate)


@pytest.mark.parametrize("name", ["grpo", "rloo", "slow", "flat", "few_prompts", "trl", "random_init"])
def test_a_diverged_run_is_told_and_never_averaged(name: str) -> None:
    records = house()
    expected, wanted = judged(records)
    verdict, parts = judged({**records, name: diverge(records[name], 2, at=20, wild=True)})
    assert "1 run diverged" in verdict.sentence
    assert verdict.outcome == expected.outcome
    for part_name, part in parts.items():
        assert part.outcome == wanted[part_name].outcome, part_name
        assert part.n in (SEEDS, SEEDS - 1)
        assert abs(part.estimate) < 10
        assert "nan" not in part.sentence


@pytest.mark.parametrize("name", ["grpo", "rloo", "flat", "trl", "random_init"])
def test_an_arm_that_diverged_altogether_decides_nothing(name: str) -> None:
    records = house()
    verdict, parts = judged({**records, name: lost(records[name])})
    assert f"{SEEDS} runs diverged" in verdict.sentence
    assert all("nan" not in part.sentence for part in (verdict, *parts.values()))
    reads = {"grpo": ["same a", "one curve", "base", "rate", "trl"], "random_init": ["control"]}
    assert {parts[part].outcome for part in reads.get(name, [name])} == {"undecided"}
    assert verdict.outcome in (("undecided",) if name in ("grpo", "rloo") else ("supported",))


def test_two_seeds_decide_nothing() -> None:
    records = {
        name: dataclasses.replace(found, curves={m: v[:2] for m, v in found.curves.items()})
        for name, found in house().items()
    }
    verdict, parts = judged(records)
    assert {part.outcome for part in (verdict, *parts.values())} == {"undecided"}


def test_the_figure_can_be_drawn_when_runs_diverged() -> None:
    records = house()
    assert svg(law_constants.figure(records)).startswith("<svg")
    for name in ("grpo", "flat", "trl"):
        records[name] = lost(records[name])
    assert svg(law_constants.figure(records)).startswith("<svg")


@pytest.mark.parametrize("size", ["quick", "standard", "full"])
def test_each_arm_differs_from_grpo_in_what_its_group_says(size: str) -> None:
    arms = sweep.arms(size)
    grpo = arms.pop("grpo")
    assert set(arms) <= set(sweep.ARMS)
    assert size == "quick" or set(arms) == set(sweep.ARMS)
    fields = {
        "algorithm": {"objective"},
        "learning rate": {"learning"},
        "base": {"supervised", "start"},
        "data": {"world"},
        "steering": {"objective"},
        "control": {"supervised", "learning"},
    }
    for group, allowed in fields.items():
        present = [name for name in sweep.GROUPS[group] if name in arms]
        assert present, group  # the quick size has one of each
        for name in present:
            changed = {
                field.name
                for field in dataclasses.fields(grpo)
                if getattr(arms[name], field.name) != getattr(grpo, field.name)
            }
            assert changed <= allowed, name
            assert len(changed) == 1 or group == "control", name
            # Batches, steps and measurements are everyone's; only rates, and the control's updates, differ.
            same = dataclasses.replace(arms[name].learning, learning_rate=1.0, updates=1)
            assert same == dataclasses.replace(grpo.learning, learning_rate=1.0, updates=1)
            assert arms[name].learning.updates == grpo.learning.updates or group == "control", name
    # Otherwise most algorithms would be one and the same; and the early window has to hold three points.
    assert grpo.learning.epochs * grpo.learning.minibatches > 1
    assert measures.EARLY * grpo.learning.updates / grpo.learning.measure_every >= 2
    study = law_constants.STUDY
    assert {name: [run.seed for run in runs] for name, runs in study.runs(size, 3, "cpu").items()} == {
        name: [0, 1, 2] for name in ("grpo", *arms)
    }


def test_the_quick_size_is_judged_and_drawn() -> None:
    records = {name: found for name, found in house().items() if name in sweep.arms("quick")}
    verdict, _ = judged(records)
    assert verdict.outcome == "supported"
    assert svg(law_constants.figure(records)).startswith("<svg")
