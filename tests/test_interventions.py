"""The judge of ``interventions`` on records whose answer is known, and what its sweep promises."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from toybed import objectives, study
from toybed.agents.config import Setting
from toybed.benchmarks import interventions as question
from toybed.benchmarks import interventions_sweep as sweep
from toybed.study import Records

STUDY = question.STUDY
STEPS = np.arange(0, 101, 20)
NAMES = tuple(sweep.INTERVENTIONS)[:12]
RATE = 1e-3


def records(
    entropy: float, breadth: float, reward: float, *, runs: int = 4, seed: int = 0, half: float = 0.0
) -> Records:
    """Runs that go in a straight line of success from 0.1 to ``reward``, with these ends of the other curves.

    ``half`` is added to entropy half of the way, and fades to both ends.
    """
    random = np.random.default_rng(seed)
    way = np.linspace(0, 1, len(STEPS))
    bump = half * 4 * way * (1 - way)

    def line(start: float, end: float) -> np.ndarray:
        return start + (end + 1e-4 * random.standard_normal((runs, 1)) - start) * way

    curves = {
        "reward_train": line(0.1, reward),
        "reward_test": line(0.08, reward - 0.05),
        "entropy_train": line(2.0, entropy) + bump,
        "pass@256_test": line(1.0, breadth) + 0.1 * bump,
        "coverage@256_test": line(0.2, 0.2 * breadth),
        "lost_test": line(0.0, 1 - breadth),
    }
    setting = Setting().with_learning(learning_rate=RATE)
    return Records({name: STEPS for name in curves}, curves, setting=setting)


def every(slope: float = 1.0, price: float = 0.0, half: float = 0.0, **options: int) -> dict[str, Records]:
    """Objectives of rising final entropy: breadth rises with it by ``slope``, success falls by ``price``."""
    found = {}
    for steps in sweep.STALENESS:
        for i, name in enumerate(NAMES):
            kept = 0.1 * i
            found[sweep.arm(name, steps)] = records(
                1.0 + kept, 0.9 + 0.1 * slope * kept, 0.4 - price * kept, seed=i, half=half * i, **options
            )
    found[sweep.same_rate(RATE)] = found[sweep.arm("grpo", 4)]
    return found


def outcomes(found: Mapping[str, Records]) -> list[str]:
    verdict, parts = STUDY.judge(found)
    assert verdict.outcome == study.all_of([part.outcome for part in parts[:3]])
    return [part.outcome for part in parts[:3]]


def test_breadth_that_comes_with_entropy_at_no_price_supports_the_claim() -> None:
    """Half of the way the objective with more entropy has more breadth, too; success is 1e-4 apart at random."""
    found = every(price=-0.05)
    assert outcomes(found) == ["supported", "supported", "supported"]
    verdict, parts = STUDY.judge(found)
    # All objectives in one order, with Fisher's interval for that many.
    assert verdict.estimate == pytest.approx(1)
    assert verdict.n == len(NAMES)
    json.dumps([part.as_dict() for part in parts])


def test_a_price_refutes_it_and_so_does_entropy_that_is_no_breadth() -> None:
    assert outcomes(every(price=0.2)) == ["supported", "supported", "refuted"]
    assert outcomes(every(slope=-1.0, price=-0.05))[:2] == ["refuted", "refuted"]


def test_the_same_reward_is_half_of_grpos_gain_of_the_same_seed() -> None:
    found = every()
    grpo, other = sweep.arm("grpo", 4), sweep.arm(NAMES[3], 4)
    level = 0.1 + 0.5 * (found[grpo]["reward_train"][:, -1] - found[grpo]["reward_train"][:, 0])
    got = question.at_same_reward(found, NAMES[3], "entropy_train")
    for run, target in enumerate(level):
        expected = np.interp(target, found[other]["reward_train"][run], found[other]["entropy_train"][run])
        assert got[run] == pytest.approx(expected)
    slow = {**found, other: records(1.5, 0.95, 0.15)}  # it never gets there
    assert np.isnan(question.at_same_reward(slow, NAMES[3], "entropy_train")).all()


def test_each_objective_is_judged_against_grpo_at_the_same_reward() -> None:
    _, parts = STUDY.judge(every(price=0.0))
    ranking = parts[4 * len(sweep.STALENESS) :]
    assert len(ranking) == len(NAMES) - 1
    # Sorted by breadth, which rises with the number of the objective; half of the way it keeps half of 0.1 i nats.
    expected = [0.05 * i for i in range(len(NAMES) - 1, 0, -1)]
    assert [part.estimate for part in ranking] == pytest.approx(expected, abs=2e-3)
    assert [part.outcome for part in ranking[:8]] == ["supported"] * 8
    assert "P(better) 1.00" in ranking[0].sentence


def test_copies_of_grpo_and_those_who_never_get_there_do_not_count() -> None:
    found = every(price=-0.05)
    copy, slow = (sweep.arm(name, 4) for name in NAMES[4:6])
    found[copy] = found[sweep.arm("grpo", 4)]
    found[slow] = records(1.9, 1.0, 0.12)
    assert NAMES[4] not in question.distinct(found)
    verdict, parts = STUDY.judge(found)
    assert verdict.n == len(NAMES) - 2
    assert f"Without {sweep.INTERVENTIONS[NAMES[5]][0]}" in parts[0].sentence
    assert parts[1].n == len(NAMES) - 1  # at the end it is there
    [twin] = [part for part in parts if part.claim.startswith(sweep.INTERVENTIONS[NAMES[4]][0])]
    assert twin.outcome == "undecided"
    assert "digit for digit" in twin.sentence


def test_a_rate_at_the_edge_of_those_tried_is_said() -> None:
    found = every()
    edge = max(sweep.RATES)
    name = sweep.arm(NAMES[3], 4)
    found[name] = replace(found[name], setting=Setting().with_learning(learning_rate=edge))
    found[sweep.same_rate(edge)] = found[sweep.arm("grpo", 4)]
    _, parts = STUDY.judge(found)
    assert sum("at the edge" in part.sentence for part in parts) == 1


def test_other_numbers_of_steps_are_judged_beside_the_claim() -> None:
    found = every(price=-0.05)
    for i, name in enumerate(NAMES):
        found[sweep.arm(name, 16)] = records(1.0 + 0.1 * i, 0.9 - 0.01 * i, 0.4, seed=i)
    verdict, parts = STUDY.judge(found)
    assert verdict.outcome == "supported"
    late = [part for part in parts if "16 updates" in part.claim]
    assert [part.outcome for part in late[:2]] == ["refuted", "refuted"]


@pytest.mark.parametrize("runs", [1, 2])
def test_too_few_seeds_decide_nothing(runs: int) -> None:
    assert outcomes(every(price=0.2, runs=runs)) == ["undecided"] * 3


def spoil(found: Records, *runs: int) -> Records:
    curves = {name: values.copy() for name, values in found.curves.items()}
    for values in curves.values():
        values[list(runs), -1] = np.nan
    return replace(found, curves=curves, causes=("its loss was not finite",) * len(runs))


def test_diverged_runs_are_left_out_and_said() -> None:
    found = every(price=-0.05)
    found[sweep.arm(NAMES[2], 4)] = spoil(found[sweep.arm(NAMES[2], 4)], 0)
    found[sweep.arm(NAMES[5], 4)] = spoil(found[sweep.arm(NAMES[5], 4)], 0, 1, 2, 3)
    verdict, parts = STUDY.judge(found)
    assert "5 runs diverged (its loss was not finite)" in verdict.sentence
    assert verdict.outcome == "supported"  # seven objectives are left, in the same order
    [lost] = [part for part in parts if sweep.INTERVENTIONS[NAMES[5]][0] in part.claim]
    assert (lost.outcome, lost.n) == ("undecided", 0)


def test_all_of_grpo_diverged_crashes_nothing() -> None:
    found = every()
    for steps in sweep.STALENESS:
        found[sweep.arm("grpo", steps)] = spoil(found[sweep.arm("grpo", steps)], 0, 1, 2, 3)
    verdict, _ = STUDY.judge(found)
    assert verdict.outcome in ("undecided", "refuted", "supported")
    question.figure(found)


def test_the_frontier_is_what_no_other_beats_in_both() -> None:
    places = {"a": (0.1, 1.0), "b": (0.2, 0.9), "c": (0.15, 0.8), "d": (0.3, 0.5), "e": (0.2, 0.85)}
    assert question.frontier(places) == ["a", "b", "d"]
    assert question.frontier({"one": (0.0, 0.0)}) == ["one"]


# -- the sweep ---------------------------------------------------------------------------------------------------------
def test_every_row_that_claims_something_about_entropy_is_in_the_sweep_or_has_a_reason() -> None:
    swept = {spec.name for _, spec in sweep.INTERVENTIONS.values()}
    plain = ("falls", "falls fast", "as its base")
    claiming = {name for name in objectives.names() if objectives.row(name).entropy not in plain}
    assert not swept & set(sweep.LEFT_OUT)
    assert claiming <= swept | set(sweep.LEFT_OUT)
    assert set(sweep.LEFT_OUT) <= claiming


@pytest.mark.parametrize("size", study.SIZES)
def test_all_arms_have_the_same_rollouts_and_bases(size: str) -> None:
    assert STUDY.tuning is not None
    tried = STUDY.tuning.candidates(size)
    assert set(tried) == {sweep.arm(name, n) for name in sweep.chosen(size) for n in sweep.STALENESS}
    settings = {arm: STUDY.tuning.final(size, arm, options["0.001"]) for arm, options in tried.items()}
    assert len({str(setting.base_config()) for setting in settings.values()}) == 1
    sizes = {(s.learning.updates, s.learning.prompts, s.learning.group, s.learning.epochs) for s in settings.values()}
    assert sizes == {(sweep.UPDATES[size], 16, 8, 1)}
    for arm, setting in settings.items():
        objective, steps = arm.split("/")
        assert setting.learning.minibatches == int(steps)
        assert setting.objective == sweep.INTERVENTIONS[objective][1]
        expected = 1e-3 if size == "full" else 1e-3 * (4 / int(steps)) ** 0.5
        assert setting.learning.learning_rate == pytest.approx(expected)
        assert not objectives.get(setting.objective.name, **setting.objective.options).keep_group or (
            setting.objective.options["resample"] is False
        )


def test_trials_are_shared_but_in_the_full_size() -> None:
    assert STUDY.tuning is not None
    for size in ("quick", "standard"):
        runs = STUDY.tuning.runs(size, "cpu")
        ids = {run.id for options in runs.values() for some in options.values() for run in some}
        assert len(ids) == len(sweep.chosen(size)) * len(sweep.RATES) * STUDY.tuning.seeds[size]


def test_the_figure_draws() -> None:
    page = question.figure(every())
    assert len(page.axes) == 2
    labels = {text.get_text() for text in page.axes[0].texts}
    assert {"GRPO", "base", *(sweep.INTERVENTIONS[name][0] for name in NAMES)} <= labels
