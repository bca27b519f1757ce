"""The judge of ``deploy_or_create`` on recovered shares whose answer is known by construction."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import pytest
from judging import diverge

from toybed.agents.config import Setting, Spec, Supervised
from toybed.agents.training import train_bases, train_runs
from toybed.benchmarks import deploy_or_create
from toybed.benchmarks.deploy_or_create_measures import created, law, recovered, recovered_hard, whole_law
from toybed.benchmarks.deploy_or_create_sweep import EXECUTIONS, LACKS, QUICK, dial
from toybed.plotting import svg
from toybed.study import Records, Verdict

SEEDS = 5
SPREAD = 0.002 * (np.arange(SEEDS) - 2)  # of the seeds, around the mean
BASE, END = 0.05, 0.55  # success: a gain of 1/2
SHARES = (0.05, 0.15, 0.5)
STEERED = {"targeted": 0.8, "gradient": 0.8, "held": 0.1, "random": 0.0, "shuffled": 0.0, "untargeted": 0.1}
DECISIVE = ("read plans", "read executions", "executions 0.97", "executions 0.75", "steered", "controls")
CONSTRUCTED = (
    *("plans", "plans, badly", *(f"law {q:g}" for q in EXECUTIONS)),
    *("law 0.75, transformer", "law 0.97, transformer", "lacked"),
)
BESIDE = (
    "better layer",
    "better layer, controls",
    "gradient",
    "always on",
    "few",
    "few, sharp",
    "tables",
    "tables, badly",
    "known",
    "untried",
)
CREATE = ("creates", "creates, three", "creates, known MLP", "creates, MLP")


def arm(
    *,
    plans: float = 0.9,
    executions: float = 0.02,
    accuracy: float = 0.97,
    few: float = 0.5,
    hard: tuple[float, float, float] = (0.0, 0.0, 0.0),
    **steered: float,
) -> Records:
    """Recovered shares of hybrids, of a few tokens and of ways of steering; success on hard types: base, hybrid, RL."""
    gain = END - BASE
    ends = {
        "hybrid_planning": BASE + plans * gain,
        "hybrid_execution": BASE + executions * gain,
        "hybrid_planning_accuracy": accuracy,
        "touched_for_most": 0.4,
        "hybrid_planning_hard": hard[1],
    }
    for share in SHARES:
        ends |= {f"touched@{share:g}": BASE + few * gain, f"touched_shuffled@{share:g}": BASE + 0.1 * gain}
        ends[f"steered@{share:g}"] = BASE + few * gain
    for how, value in (STEERED | steered).items():
        ends |= dict.fromkeys((f"steered_{how}", f"steered_{how}_first", f"steered_{how}_second"), BASE + value * gain)
    # Of controls seeds differ twice as much, so that differences vary, too.
    spread = {name: SPREAD * (2 if "random" in name else 1) for name in ends}
    curves = {name: np.stack([np.full(SEEDS, 0.5), value + spread[name]], 1) for name, value in ends.items()}
    still = {"reward_train": (BASE, END), "reward_test": (BASE, END), "exec_accuracy": (accuracy, 1.0)}
    still["success_hard"] = (hard[0], hard[2])
    curves |= {name: np.tile(np.array(value), (SEEDS, 1)) for name, value in still.items()}
    return Records({name: np.array([0, 100]) for name in curves}, curves)


def house(**other: Records) -> dict[str, Records]:
    """Every arm as the claim has it; a name with _ for the dot of its number changes one."""
    records = {dial(policy, q): arm(plans=q**3, accuracy=q) for policy in ("mlp", "table") for q in EXECUTIONS}
    records |= {dial("transformer", q): arm(plans=q**3, accuracy=q) for q in (0.75, 0.97)}
    records |= {"sharp": arm(few=0.9), "untried": arm()}
    records |= {name: arm(hard=(0.0, 0.02, 0.99)) for name in LACKS}
    records["table_known"] = arm(hard=(0.08, 0.93, 0.99))
    return records | {name.replace("_0_", "_0."): own for name, own in other.items()}


def no_gain(records: Records) -> Records:
    curves = {name: values.copy() for name, values in records.curves.items()}
    for name in ("reward_test", "success_hard"):
        curves[name][:, 1] = curves[name][:, 0]
    return dataclasses.replace(records, curves=curves)


def judged(records: Mapping[str, Records]) -> tuple[Verdict, dict[str, Verdict]]:
    verdict, parts = deploy_or_create.judge(records)
    return verdict, dict(zip((*DECISIVE, *CONSTRUCTED, *BESIDE, *CREATE), parts, strict=True))


def test_the_claim_is_supported_where_everything_is_as_it_says() -> None:
    verdict, parts = judged(house())
    assert verdict.outcome == "supported"
    assert verdict.n == SEEDS
    assert verdict.estimate == parts["read plans"].estimate == pytest.approx(0.97**3)
    assert all(parts[name].outcome == "supported" for name in (*DECISIVE, *CONSTRUCTED))
    assert parts["steered"].estimate == pytest.approx(0.8)
    assert parts["controls"].estimate == pytest.approx(0.8 - 0.1)
    assert parts["lacked"].estimate == pytest.approx(0.02 / 0.99)
    assert parts["few"].outcome == "refuted"
    assert parts["few, sharp"].outcome == "supported"


@pytest.mark.parametrize(
    ("name", "changed", "part", "estimate"),
    [
        ("transformer_0_97", arm(plans=0.4), "read plans", 0.4),
        ("transformer_0_97", arm(executions=0.3), "read executions", 0.3),
        ("mlp_0_97", arm(executions=0.3), "executions 0.97", 0.3),
        ("mlp_0_75", arm(plans=0.42, executions=0.3, accuracy=0.75), "executions 0.75", 0.3),
        ("mlp_0_97", arm(targeted=0.3), "steered", 0.3),
        ("mlp_0_97", arm(random=0.75), "controls", 0.05),
        ("mlp_0_97", arm(shuffled=0.75), "controls", 0.05),
        ("mlp_0_97", arm(untargeted=0.75), "controls", 0.05),
    ],
)
def test_one_part_that_is_otherwise_refutes_the_whole(name, changed, part, estimate) -> None:
    verdict, parts = judged(house(**{name: changed}))
    assert parts[part].outcome == "refuted"
    assert parts[part].estimate == pytest.approx(estimate)
    assert verdict.outcome == "refuted"


@pytest.mark.parametrize(
    ("name", "changed", "part"),
    [
        ("transformer_0_97", arm(plans=0.5), "read plans"),
        ("mlp_0_97", arm(executions=0.1), "executions 0.97"),
        ("mlp_0_97", arm(targeted=0.5), "steered"),
        ("mlp_0_97", arm(random=0.7), "controls"),
    ],
)
def test_right_at_a_threshold_nothing_is_decided(name, changed, part) -> None:
    verdict, parts = judged(house(**{name: changed}))
    assert parts[part].outcome == "undecided"
    assert verdict.outcome == "undecided"


@pytest.mark.parametrize(
    ("name", "changed", "part", "outcome"),
    [
        ("mlp_0_97", arm(plans=0.8), "plans", "refuted"),
        ("mlp_0_97", arm(plans=0.85, accuracy=0.95), "plans", "undecided"),
        ("mlp_0_75", arm(plans=0.9, accuracy=0.75), "plans, badly", "refuted"),
        ("mlp_0_9", arm(plans=0.6, accuracy=0.9), "law 0.9", "refuted"),
        ("mlp_0_9", arm(plans=0.9, accuracy=0.9), "law 0.9", "refuted"),
        ("mlp_0_9", arm(plans=0.9**3 + 0.05, accuracy=0.9), "law 0.9", "undecided"),
        ("transformer_0_75", arm(plans=0.9, accuracy=0.75), "law 0.75, transformer", "refuted"),
        ("table_lacks1", arm(hard=(0.0, 0.9, 0.99)), "lacked", "refuted"),
        ("mlp_0_97", arm(held=0.9), "always on", "refuted"),
        ("mlp_0_97", arm(gradient=0.1), "gradient", "refuted"),
        ("mlp_0_97", arm(few=0.95), "few", "supported"),
        ("sharp", arm(few=0.5), "few, sharp", "refuted"),
        ("table_0_97", arm(plans=0.7), "tables", "refuted"),
        ("table_0_75", arm(plans=0.8), "tables, badly", "refuted"),
        ("table_known", arm(hard=(0.0, 0.4, 0.99)), "known", "refuted"),
        ("untried", arm(plans=0.5), "untried", "refuted"),
        ("mlp_lacks1", arm(hard=(0.0, 0.0, 0.0)), "creates, MLP", "refuted"),
        ("table_lacks1", arm(hard=(0.0, 0.1, 0.4)), "creates", "refuted"),
    ],
)
def test_what_stands_beside_the_claim_decides_nothing(name, changed, part, outcome) -> None:
    verdict, parts = judged(house(**{name: changed}))
    assert parts[part].outcome == outcome
    assert verdict.outcome == "supported"


def test_runs_without_a_gain_recover_no_share_of_it() -> None:
    records = house()
    verdict, parts = judged({**records, "mlp_0.97": no_gain(records["mlp_0.97"])})
    assert parts["plans"].n == parts["steered"].n == 0
    assert verdict.outcome == "undecided"
    verdict, parts = judged({**records, "table_lacks1": arm(hard=(0.0, 0.0, 0.05))})  # hard types are never solved
    assert parts["lacked"].n == 0
    assert parts["lacked"].outcome == "undecided"
    assert parts["creates"].outcome == "refuted"
    assert all("nan" not in part.sentence for part in (verdict, *parts.values()))


@pytest.mark.parametrize("name", house())
def test_a_diverged_run_is_told_and_left_out(name: str) -> None:
    records = house()
    verdict, parts = judged({**records, name: diverge(records[name], [2])})
    assert "1 run diverged" in verdict.sentence
    assert verdict.outcome == "supported"
    assert sum(part.n == SEEDS - 1 for part in parts.values()) >= (name not in ("table_0.9", "table_0.95"))
    assert all("nan" not in part.sentence for part in (verdict, *parts.values()))


@pytest.mark.parametrize("name", ["mlp_0.97", "mlp_0.75", "transformer_0.97"])
@pytest.mark.parametrize("runs", [[0, 1, 2], list(range(SEEDS))])
def test_too_few_runs_are_undecided(name: str, runs: list[int]) -> None:
    records = house()
    verdict, parts = judged({**records, name: diverge(records[name], runs)})
    assert verdict.outcome == "undecided"
    assert all("nan" not in part.sentence for part in (verdict, *parts.values()))


def test_the_quick_size_is_judged_and_drawn_without_the_arms_that_it_lacks() -> None:
    records = {name: own for name, own in house().items() if name in QUICK}
    assert set(records) == set(QUICK) == set(deploy_or_create.arms("quick"))
    verdict, parts = deploy_or_create.judge(records)
    assert verdict.outcome == "supported"
    assert len(parts) < len(DECISIVE + CONSTRUCTED + BESIDE + CREATE)
    assert svg(deploy_or_create.figure(records)).startswith("<svg")


@pytest.mark.parametrize("name", ["mlp_0.97", "sharp", "table_lacks1", "mlp_lacks1"])
def test_the_figure_can_be_drawn_whatever_is_missing(name: str) -> None:
    records = house()
    for hurt in (diverge(records[name], [1]), diverge(records[name], [*range(SEEDS)]), no_gain(records[name])):
        assert svg(deploy_or_create.figure({**records, name: hurt})).startswith("<svg")


def test_the_measures_are_what_they_say() -> None:
    own = arm(plans=0.7, accuracy=0.9, hard=(0.1, 0.2, 0.6))
    assert recovered(own, "hybrid_planning").mean() == pytest.approx(0.7)
    assert recovered_hard(own).mean() == pytest.approx((0.2 - 0.1) / (0.6 - 0.1))
    assert created(own) == pytest.approx(np.full(SEEDS, 0.5))
    assert law(own) == pytest.approx(np.full(SEEDS, 0.729))
    assert whole_law(own) == pytest.approx(np.full(SEEDS, (0.729 * END - BASE) / (END - BASE)))


def _differ(own: Setting, other: Setting, field: str) -> bool:
    return bool(getattr(own, field) != getattr(other, field))


def test_the_arms_differ_in_what_the_question_asks_and_nothing_else() -> None:
    for size in ("quick", "standard", "full"):
        arms = deploy_or_create.arms(size)
        main = arms["mlp_0.97"]
        for name, setting in arms.items():
            if setting.policy.name == "transformer":
                expected = {"world", "policy", "supervised", "learning", "probes"}
                assert setting.probes == ("sampled_hybrids",)
                assert setting.world.options == {"view": "tokens"}
                assert {f.name for f in dataclasses.fields(setting) if _differ(setting, main, f.name)} == expected
                continue
            tables = setting.policy.name == "tabular"
            expected = {"policy", "supervised", "learning", "probes"} if tables else set()
            if not name.startswith(("mlp_0", "table_0")):
                expected |= {"supervised"} | ({"world"} if name != "untried" else set())
            if name.startswith("mlp_0") and name != "mlp_0.97":
                expected |= {"supervised"}
            fields = (field.name for field in dataclasses.fields(setting))
            assert {f for f in fields if getattr(setting, f) != getattr(main, f)} == expected, name
            # Tables learn at another rate, by gradient and from demonstrations, and have no units to steer.
            assert setting.probes == (("hybrids",) if tables else ("hybrids", "steering"))
            assert setting.with_learning(learning_rate=1.0).learning == main.with_learning(learning_rate=1.0).learning
        assert deploy_or_create.STUDY.seeds[size] >= 3
    assert set(QUICK) < set(deploy_or_create.arms("standard")) < set(arms)
    assert deploy_or_create.STUDY.worlds
    known, lacks = (arms[f"table_{name}"].supervised for name in ("known", "lacks1"))
    assert known is not None
    assert lacks is not None
    assert {**known.demonstrator, "missing": 1, "tries": known.demonstrator["rare"]} == {
        **lacks.demonstrator,
        "rare": known.demonstrator["rare"],
    }


def test_a_run_records_every_measure_that_is_read() -> None:
    tiny = deploy_or_create.arms("quick")["mlp_0.97"].with_learning(updates=2, prompts=4, group=2, measure_every=1)
    tiny = dataclasses.replace(
        tiny,
        world=Spec("plan_exec", {"types": 4, "stages": 2, "values": 6}),
        policy=Spec("mlp", {"width": 8}),
        supervised=Supervised(steps=2, demonstrations=8),
    )
    results = train_runs(tiny, [0, 1, 2], train_bases(tiny, [0, 1, 2]))
    curves = {name: np.stack([result.curves[name].values for result in results]) for name in results[0].curves}
    records = Records({name: curve.steps for name, curve in results[0].curves.items()}, curves)
    every = dict.fromkeys(deploy_or_create.arms("full"), records) | _read()
    verdict, parts = deploy_or_create.judge(every)
    assert all("nan" not in part.sentence for part in (verdict, *parts))
    assert svg(deploy_or_create.figure(every)).startswith("<svg")


def _read() -> dict[str, Records]:
    """The same of transformers, in a tiny world."""
    found = {}
    for q in (0.75, 0.97):
        setting = deploy_or_create.arms("standard")[dial("transformer", q)]
        setting = setting.with_learning(updates=2, prompts=4, group=2, measure_every=1)
        world = Spec("plan_exec", {**setting.world.options, "types": 4, "stages": 2, "values": 6})
        setting = dataclasses.replace(setting, world=world, supervised=Supervised(steps=2, demonstrations=8))
        results = train_runs(setting, [0, 1, 2], train_bases(setting, [0, 1, 2]))
        curves = {name: np.stack([result.curves[name].values for result in results]) for name in results[0].curves}
        steps = {name: curve.steps for name, curve in results[0].curves.items()}
        found[dial("transformer", q)] = Records(steps, curves)
    return found
