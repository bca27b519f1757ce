"""The judge of ``sparse_updates`` on updates whose answer is known by construction."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import pytest
from judging import diverge

from toybed.agents.config import Setting, Spec, Supervised
from toybed.agents.training import tensor_sizes, train_bases, train_runs
from toybed.benchmarks import sparse_updates
from toybed.benchmarks import sparse_updates_measures as measures
from toybed.benchmarks.sparse_updates_sweep import (
    FAST,
    KEPT,
    ON_THE_CURVE,
    OTHER,
    PURE_RATE,
    PURE_RATES,
    RL,
    SLOW,
    SUBNETWORKS,
    arms,
)
from toybed.plotting import svg
from toybed.study import Parameters, Records, Verdict

SEEDS = 5
ARMS = tuple(arms("quick"))
POINTS = np.arange(3) * 10
SPREAD = 0.002 * (np.arange(SEEDS) - 2)  # of the seeds, around the mean
SIZES = (60, 140)

DECIDING = ("fp32", "bf16", "fast", "ulp", "format", "curve", "length")
BESIDE = (
    *("sparser", "sparser, pure", "at gain", "at gain, pure", "habit", "raft", "tolerance", "sgd", "adamw"),
    *("wider", "longer", "pure learns", "reach"),
    *(f"{arm} {what}" for arm in ("grpo", "pure") for what in ("rank", "shuffled", "far", "lower")),
    *("again", "half", "ppo", "all", "sft", "again, exponent"),
    *(f"pure {what}" for what in ("again", "half", "all", "sft", "again, exponent")),
    *(f"{arm} {what}" for arm in ("part", "pure part") for what in ("recovers", "shuffled ", "matched")),
)


def curve_of(size: float) -> float:
    """The changed share of an update of that size: the law of this house."""
    return float(1 / (1 + (1.3e-3 / size) ** 0.9))


def record(size: float, *, share: float | None = None, gained: float = 0.05, **ends: float) -> Records:
    """An update of a size that has grown evenly in its logarithm, with what is measured of it."""
    sizes = size * np.array([np.nan, 0.3, 1.0])
    shares = np.array([0.0, *(curve_of(s) for s in sizes[1:])])
    if share is not None:
        shares = shares * share / shares[-1]
    last = {
        "changed_fp32": 0.996,
        "changed_tolerance": 0.9,
        "changed_relative": 0.6,
        "changed_bf16_tolerance": shares[-1],
        "changed_bf16_at_0.001": 0.45,
        "median_ulp": 0.25,
        **{name: value for kind in ("rank", "top_energy") for name, value in _pair(kind, 0.99, 0.99).items()},
        **_pair("effective_rank", 0.4, 0.8),
        **ends,
    }
    curves = {name: value * np.array([0.0, 0.7, 1.0]) + SPREAD[:, None] / 5 for name, value in last.items()}
    curves["changed_bf16"] = shares + SPREAD[:, None] / 5
    curves["past_half_ulp"] = curves["changed_bf16"] + np.array([0.0, 0.001, 0.001])
    curves["update_size"] = np.tile(np.where(np.isnan(sizes), 0.0, sizes), (SEEDS, 1))
    curves["reward_train"] = 0.2 + gained * (1 + SPREAD[:, None]) * np.array([0.0, 0.5, 1.0])
    return Records({name: POINTS for name in curves}, curves, parameters=weights())


def _pair(name: str, own: float, shuffled: float) -> dict[str, float]:
    return {f"{name}_bf16": own, f"shuffled_{name}_bf16": shuffled}


def weights(seed: int = 0) -> Parameters:
    """Two tensors of weights, of which a third of each run's, the same in every arm of a seed, changed."""
    random = np.random.default_rng(7)
    start = (1 + 0.9 * random.random((SEEDS, sum(SIZES)))).astype(np.float32)
    moved = np.random.default_rng(seed).random(start.shape) < 1 / 3
    return Parameters(start, np.where(moved, start + 0.1, start).astype(np.float32), SIZES)


def house(**other: Records) -> dict[str, Records]:
    """All is the number format; small weights explain nothing, and the subnetwork is what matters."""
    sizes = {"slower": 7e-5, "between": 6e-3, "grpo_fast": 5e-2, "faster": 0.14, "sft": 1.3e-3, "sft_habit": 4e-4}
    sizes |= {f"{name}_fast": 5e-2 for name in (*RL, "sft")} | {f"{name}_between": 6e-3 for name in (*RL, "sft")}
    # As long as GRPO's and a little more or less: on its curve, inside of its ends.
    found = {name: record(sizes.get(name, 7e-4)) for name in ARMS}
    found["sft"] = record(1.3e-3, gained=0.06)
    found["narrow"], found["wide"] = record(7e-4, share=0.2), record(7e-4, share=0.5)
    found["master"] = record(2e-2, gained=0.3)
    for name in ARMS:
        if name.startswith("pure"):
            found[name] = record(2e-2, share=0.2)
    # Of these weights half a spacing is 2^-8, out of reach of every rate.
    found["pure_slow"] = record(2e-5, share=0.01, gained=0.001)
    for prefix in ("", "pure_"):
        for part, gained in (("changed", 0.0499), ("shuffled", 0.02), ("matched", 0.03), ("unchanged", 0.001)):
            found[prefix + part] = record(7e-4, share=0.2, gained=gained)
    return found | other


def judged(records: Mapping[str, Records]) -> tuple[Verdict, dict[str, Verdict]]:
    verdict, parts = sparse_updates.judge(records)
    assert all("nan" not in part.sentence for part in (verdict, *parts))
    return verdict, dict(zip((*DECIDING, *BESIDE), parts, strict=True))


def test_where_all_is_the_number_format_the_claim_is_supported() -> None:
    verdict, parts = judged(house())
    assert verdict.outcome == "supported"
    assert verdict.n == SEEDS
    assert verdict.estimate == parts["length"].estimate == pytest.approx(0, abs=1e-9)
    assert {name: parts[name].outcome for name in DECIDING} == dict.fromkeys(DECIDING, "supported")
    for name in (
        *BESIDE[:2],
        "at gain",
        "raft",
        "habit",
        "tolerance",
        "sgd",
        "adamw",
        "wider",
        "longer",
        "pure learns",
    ):
        assert parts[name].outcome == ("undecided" if name == "sparser, pure" else "supported"), name
    assert parts["ulp"].estimate == pytest.approx(0.001)
    for name in ("rank", "shuffled", "far", "lower"):
        assert parts[f"grpo {name}"].outcome == "supported"
    for name in ("recovers", "shuffled ", "matched"):
        assert parts[f"part {name}"].outcome == parts[f"pure part {name}"].outcome == "supported"


@pytest.mark.parametrize(
    ("part", "other"),
    [
        ("fp32", {"gspo": record(7e-4, changed_fp32=0.5)}),
        ("bf16", {"gspo": record(7e-4, share=0.7)}),
        ("fast", {"dapo_fast": record(7e-4)}),
        ("format", {"master": record(2e-2, share=0.2)}),
        ("length", {"sft": record(1.3e-3, **{"changed_bf16_at_0.001": 0.8})}),
        ("curve", {"rloo": record(7e-4, share=0.15)}),
    ],
)
def test_each_deciding_part_refutes_the_claim(part: str, other: dict[str, Records]) -> None:
    verdict, parts = judged(house(**other))
    assert verdict.outcome == parts[part].outcome == "refuted"
    assert (verdict.estimate, verdict.low) == (parts[part].estimate, parts[part].low) or part != "curve"


def test_a_changed_share_that_rounding_does_not_explain_refutes() -> None:
    records = house()
    curves = {**records["wide"].curves, "past_half_ulp": records["wide"].curves["changed_bf16"] - 0.1}
    verdict, parts = judged({**records, "wide": dataclasses.replace(records["wide"], curves=curves)})
    assert verdict.outcome == parts["ulp"].outcome == "refuted"
    assert parts["ulp"].estimate == pytest.approx(0.1)


def test_what_goes_farther_than_the_curve_is_not_held_against_it() -> None:
    verdict, parts = judged(house(rloo=record(0.5, share=0.45)))
    assert parts["curve"].outcome == verdict.outcome == "undecided"


def test_sft_that_is_sparser_refutes_that_rl_is() -> None:
    _, parts = judged(house(sft=record(4e-4, gained=0.06), pure_sft=record(2e-2, share=0.1)))
    assert {parts[name].outcome for name in ("sparser", "sparser, pure", "at gain, pure")} == {"refuted"}


def test_what_changes_in_pure_bf16_is_held_against_what_a_step_can_reach() -> None:
    _, parts = judged(house())
    assert parts["reach"].outcome == "refuted"
    still = {name: record(2e-5, share=0.02) for name in (*PURE_RATES, "pure")}
    _, parts = judged(house(**still))
    assert parts["reach"].outcome == "supported"
    assert parts["reach"].estimate == pytest.approx(0.02)


def test_a_dense_update_decides_nothing_about_overlap() -> None:
    records = house()
    dense = dataclasses.replace(
        records["again"], parameters=dataclasses.replace(weights(), end=(weights().start + 0.1).astype(np.float32))
    )
    _, parts = judged({**records, "again": dense})
    assert parts["again"].outcome == parts["again, exponent"].outcome == "undecided"


def test_overlap_beyond_chance_and_by_chance() -> None:
    """Another seed's mask overlaps by chance: the ratio's spread is some 1 / sqrt(22) over each of 5 runs."""
    _, parts = judged(house())
    assert parts["again"].outcome == "supported"
    assert parts["again"].estimate == pytest.approx(3, abs=0.4)  # all against a third
    other = dataclasses.replace(house()["again"], parameters=weights(seed=1))
    _, parts = judged(house(again=other))
    # Expected 1, and its mean over 5 runs has a deviation of sqrt(2 / 3) / sqrt(22 * 5) = 0.08: 1.4 is five of them.
    assert parts["again"].estimate == pytest.approx(1, abs=0.4)
    assert parts["again"].outcome != "supported"


def test_a_subnetwork_that_is_not_enough_or_no_better_than_another() -> None:
    _, parts = judged(house(changed=record(7e-4, gained=0.03), pure_matched=record(7e-4, gained=0.06)))
    assert parts["part recovers"].outcome == "refuted"
    assert parts["part recovers"].estimate == pytest.approx(0.6, abs=1e-3)
    assert parts["part shuffled "].outcome == "supported"
    assert parts["pure part matched"].outcome == "refuted"
    assert parts["pure part recovers"].outcome == "supported"


def test_where_the_full_run_gains_nothing_there_is_nothing_to_recover() -> None:
    _, parts = judged(house(grpo=record(7e-4, gained=0.0)))
    assert parts["part recovers"].outcome == parts["pure learns"].outcome == "undecided"
    assert parts["part recovers"].n == 0


@pytest.mark.parametrize("name", ["grpo", "sft", "rloo_fast", "pure", "again", "wide", "changed"])
def test_a_diverged_run_is_told_and_left_out(name: str) -> None:
    records = house()
    verdict, _ = judged({**records, name: diverge(records[name], [2])})
    assert "1 run diverged" in verdict.sentence
    assert verdict.outcome == "supported"


@pytest.mark.parametrize("runs", [[0, 1, 2], [*range(SEEDS)]])
def test_too_few_runs_are_undecided(runs: list[int]) -> None:
    records = house()
    verdict, parts = judged({**records, "grpo": diverge(records["grpo"], runs)})
    assert verdict.outcome == parts["bf16"].outcome == parts["length"].outcome == "undecided"


@pytest.mark.parametrize("name", ["grpo", "pure", "sft", "again", "pure_matched"])
def test_the_figure_can_be_drawn_whatever_is_missing(name: str) -> None:
    records = house()
    for hurt in (diverge(records[name], [1]), diverge(records[name], [*range(SEEDS)])):
        assert svg(sparse_updates.figure({**records, name: hurt})).startswith("<svg")


# -- what is measured --------------------------------------------------------------------------------------------------
def test_the_share_at_a_gain_is_that_between_two_measurements() -> None:
    own = record(7e-4)
    won = own["reward_train"] - 0.2
    found = measures.changed_at_gain(own, np.array([0.0, won[1, 1], won[2, 1] / 2, won[3, 2], won[4, 2] * 1.1]))
    shares = own["changed_bf16"]
    expected = [shares[0, 0], shares[1, 1], (shares[2, 0] + shares[2, 1]) / 2, shares[3, 2], np.nan]
    np.testing.assert_allclose(found, expected, atol=1e-9)
    assert np.isnan(measures.changed_at_gain(diverge(own, [0]), won[:, 1])[0])


def test_the_curve_is_grpos_and_between_its_points_linear_in_the_logarithm() -> None:
    records = house()
    size = np.exp((np.log(6e-3 * 0.3) + np.log(6e-3)) / 2)
    middle = (curve_of(6e-3 * 0.3) + curve_of(6e-3)) / 2
    records["rloo"] = record(size, share=middle + 0.03)
    np.testing.assert_allclose(measures.off_the_curve(records, "rloo"), 0.03, atol=2e-3)
    records["rloo"] = record(1.0)
    assert np.isnan(measures.off_the_curve(records, "rloo")).all()


def test_what_is_within_a_steps_reach() -> None:
    """Weights between 1 and 2 are 2^-7 apart."""
    own = record(7e-4)
    assert measures.within_reach(own, 2.0**-8).tolist() == [1] * SEEDS
    assert measures.within_reach(own, 2.0**-8.01).tolist() == [0] * SEEDS


def test_a_share_of_two_means_holds_the_threshold_where_the_difference_holds_zero() -> None:
    whole, part = np.array([1.0, 2.0, 3.0, 2.5]), np.array([0.8, 1.9, 2.6, 2.4])
    interval = measures.part_of(part, whole, 0.9)
    assert interval.estimate == pytest.approx(part.mean() / whole.mean())
    assert np.isnan(measures.part_of(part, np.array([1.0, -1.0, 0.5, -0.4]), 0.9).estimate)


# -- the sweep ---------------------------------------------------------------------------------------------------------
def differs(one: Setting, two: Setting) -> set[str]:
    """Fields in which two settings differ, those of learning and start by their own names."""
    found = set()
    for field in dataclasses.fields(Setting):
        a, b = getattr(one, field.name), getattr(two, field.name)
        if field.name in ("learning", "start"):
            found |= {f.name for f in dataclasses.fields(a) if getattr(a, f.name) != getattr(b, f.name)}
        elif a != b:
            found.add(field.name)
    return found


def test_the_arms_differ_in_what_the_question_asks_and_nothing_else() -> None:
    for size in ("quick", "standard", "full"):
        each = arms(size)
        assert tuple(each) == ARMS
        grpo, pure = each["grpo"], each["pure"]
        assert differs(pure, grpo) == {"learning_rate", "updates", "measure_every", "weights"}
        expected = {name: {"objective"} for name in RL if name != "grpo"} | {"raft": {"objective"}}
        expected |= {"sft": {"learner"}, "sft_habit": {"learner"}}
        expected |= {f"{name}_fast": expected.get(name, set()) | {"learning_rate"} for name in (*RL, "sft")}
        between = {f"{name}_between": expected[name] | {"learning_rate"} for name in (*RL, "sft") if name != "grpo"}
        expected |= between | {name: {"learning_rate"} for name in ON_THE_CURVE if name != "grpo"}
        assert {each[name].learning.learning_rate for name in between} == {each["between"].learning.learning_rate}
        expected |= {name: {"learning_rate", "weights"} for name in PURE_RATES} | {"pure_slow": {"weights"}}
        expected |= {"sgd": {"optimizer", "learning_rate"}, "adamw": {"optimizer", "weight_decay"}}
        expected |= {"narrow": {"policy"}, "wide": {"policy"}}
        again = {
            "again": {"replicate"},
            "half": {"train_on"},
            "other_half": {"train_on"},
            "all_other": {"objective", "train_on", "replicate"},
            **{part: {"after", "trains"} for part in SUBNETWORKS},
        }
        for name, fields in (expected | again).items():
            assert differs(each[name], grpo) == fields, name
        for name, fields in {"sft": {"learner"}, **again}.items():
            assert differs(each[f"pure_{name}"], pure) == fields, name
        assert differs(each["master"], pure) == {"weights"}
        for prefix, full in (("", grpo), ("pure_", pure)):
            assert all(each[prefix + part].start.after == full for part in SUBNETWORKS)
        assert each["all_other"].objective == each["pure_all_other"].objective == Spec(OTHER)
        assert {grpo.learning.learning_rate, pure.learning.learning_rate} == {SLOW, PURE_RATE}
        assert each["sft_fast"].learning.learning_rate == FAST
        assert all(s.start.weights == "bf16" and s.probes == ("update_anatomy",) for s in each.values())
        assert set(KEPT) <= set(each)
        assert sparse_updates.STUDY.seeds[size] >= 3


def test_a_run_records_every_measure_that_it_reads() -> None:
    tiny = dataclasses.replace(
        arms("quick")["grpo"].with_learning(updates=2, measure_every=1, learning_rate=1e-3),
        world=Spec("chain_reach", {"modulus": 7, "length": 2}),
        policy=Spec("mlp", {"width": 8, "embedding": 4}),
        supervised=Supervised(steps=2, demonstrations=8),
    )
    bases = train_bases(tiny, [0, 1, 2])
    results = train_runs(tiny, [0, 1, 2], bases)
    curves = {name: np.stack([result.curves[name].values for result in results]) for name in results[0].curves}
    steps = {name: curve.steps for name, curve in results[0].curves.items()}
    ends = np.stack([result.parameters for result in results if result.parameters is not None])
    records = Records(steps, curves, setting=tiny, parameters=Parameters(bases, ends, tensor_sizes(tiny)))
    verdict, parts = sparse_updates.judge(dict.fromkeys(ARMS, records))
    assert all("nan" not in part.sentence for part in (verdict, *parts))
    assert {part.n for part in parts} <= {0, 3}
    assert svg(sparse_updates.figure(dict.fromkeys(ARMS, records))).startswith("<svg")
