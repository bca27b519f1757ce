"""The rule of `held_entropy` on records whose answer is known."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import pytest
from judging import diverge

from toybed.agents.config import Supervised
from toybed.agents.training import train_bases, train_runs
from toybed.benchmarks import held_entropy, held_entropy_sweep
from toybed.benchmarks import held_entropy_measures as measures
from toybed.plotting import svg
from toybed.study import Records, Verdict

SEEDS = 5
STEPS = np.arange(0, 201, 10)
WHOLE = (held_entropy_sweep.BONUS, held_entropy_sweep.NONE, *held_entropy_sweep.arms("standard"))


def arm(level: float, gain: float) -> Records:
    """Entropy goes from 2 to that share of it by the middle; pass@1 from 0.1 up by that gain; seeds differ a little."""
    seeds = 1 + 0.01 * np.arange(SEEDS)[:, None]
    progress = np.minimum(STEPS / 100, 1.0)[None]
    entropy = 2 * seeds * (1 + (level - 1) * progress)
    reward = 0.1 * seeds + gain * seeds * STEPS / 200
    curves = {"entropy_train": entropy, "entropy_test": entropy, "reward_train": reward, "reward_test": reward}
    for name in ("pass@256_test", "coverage@256_test", "distinct_right@256_test", "distinct_wrong@256_test"):
        curves[name] = (0.5 + 0.1 * level * progress) * seeds
    return Records({name: STEPS for name in curves}, curves)


def house(lead: Records | None = None, bonus: Records | None = None) -> dict[str, Records]:
    """GRPO halves its entropy; all controllers but the lead do nearly so, too."""
    records = {name: arm(0.45, 0.2) for name in WHOLE}
    records[held_entropy_sweep.LEAD] = records["search_lead"] = lead or arm(1.02, 0.1)
    records[held_entropy_sweep.BONUS] = bonus or arm(1.2, 0.05)
    return records | {name: arm(target, 0.15) for name, target in held_entropy_sweep.LOWER.items()}


def judged(records: Mapping[str, Records]) -> tuple[Verdict, dict[str, Verdict]]:
    verdict, parts = held_entropy.judge(records)
    by_claim = {part.claim: part for part in parts}
    assert len(by_claim) == len(parts)
    return verdict, by_claim


def some(parts: Mapping[str, Verdict], start: str, *words: str) -> Verdict:
    """The one part whose claim starts so and has these words."""
    (found,) = (p for claim, p in parts.items() if claim.startswith(start) and all(word in claim for word in words))
    return found


def test_entropy_that_is_held_while_reward_rises_supports_the_claim() -> None:
    verdict, parts = judged(house())
    assert verdict.outcome == "supported"
    assert [part.outcome for part in list(parts.values())[:3]] == ["supported"] * 3
    assert verdict.estimate == pytest.approx(0.1 * 1.02)  # mean seed factor 1.02
    assert "Of 13 controllers 1 hold: Adaptive (TRL)." in verdict.sentence
    paid = some(parts, "Adaptive (TRL) pays nothing")
    assert (paid.outcome, paid.estimate) == ("refuted", pytest.approx(0.5))
    assert some(parts, "Adaptive (TRL) stays nearer", "The fixed bonus").outcome == "supported"
    assert some(parts, "Adaptive (TRL) at 0.75 holds").outcome == "supported"
    assert some(parts, "EntroPIC holds").outcome == "refuted"
    assert some(parts, "EntroPIC: held-out").n == 0


def test_reward_that_falls_where_entropy_is_held_refutes_the_claim() -> None:
    verdict, _ = judged(house(arm(1.0, -0.05)))
    assert verdict.outcome == "refuted"
    assert verdict.high < 0


def test_entropy_that_is_not_held_refutes_the_claim_and_no_gain_counts() -> None:
    verdict, parts = judged(house(arm(0.8, 0.2)))
    assert verdict.outcome == "refuted"
    assert verdict.estimate == pytest.approx(0.2)  # the distance decided, and it is what is shown
    assert some(parts, "Adaptive (TRL): held-out reward rises").n == 0


def test_gains_of_both_signs_leave_it_undecided() -> None:
    lead = arm(1.0, 0.0)
    signs = np.array([1, -1, 1, -1, 0])[:, None] * 0.05 * STEPS / 200
    curves = {**lead.curves, "reward_test": lead["reward_test"] + signs}
    verdict, _ = judged(house(dataclasses.replace(lead, curves=curves)))
    assert verdict.outcome == "undecided"


def test_held_is_at_or_above_the_start() -> None:
    """A run that doubles its entropy is held, though it is far from its target; one at 0.94 is short by 0.06."""
    assert measures.held(arm(2.0, 0.1)).all()
    assert measures.distance(arm(2.0, 0.1)) == pytest.approx(1.0)
    assert measures.held(arm(0.96, 0.1)).all()
    assert not measures.held(arm(0.94, 0.1)).any()


def test_the_distance_is_the_mean_over_the_second_half() -> None:
    """Against a plain loop, on a course without pattern."""
    entropy = 1 + np.random.default_rng(3).random((SEEDS, len(STEPS)))
    base = arm(1.0, 0.1)
    found = dataclasses.replace(base, curves={**base.curves, "entropy_train": entropy})
    for run, value in enumerate(measures.distance(found, 0.75)):
        later = [abs(h / entropy[run, 0] - 0.75) for step, h in zip(STEPS, entropy[run], strict=True) if step >= 100]
        assert value == pytest.approx(sum(later) / len(later))


def test_a_share_of_no_gain_is_no_number() -> None:
    assert np.isnan(measures.shares(arm(1.0, 0.1), arm(1.0, -0.1))).all()
    assert measures.shares(arm(1.0, 0.1), arm(0.5, 0.4)) == pytest.approx(0.25)


@pytest.mark.parametrize("name", ["grpo", held_entropy_sweep.LEAD, "bonus", "entropic", "search_lead", "lead_75"])
def test_a_diverged_run_is_told_and_never_averaged(name: str) -> None:
    records = house()
    wanted, parts_wanted = judged(records)
    verdict, parts = judged({**records, name: diverge(records[name], 2, at=12, wild=True)})
    assert "1 run diverged" in verdict.sentence
    assert verdict.outcome == wanted.outcome
    for claim, part in parts.items():
        assert part.outcome == parts_wanted[claim].outcome, claim
        assert part.n in (0, SEEDS - 1, SEEDS)
        assert "nan" not in part.sentence


def test_a_lead_that_diverged_altogether_decides_nothing() -> None:
    records = house()
    lost = diverge(records[held_entropy_sweep.LEAD], range(SEEDS), at=12, wild=True)
    verdict, parts = judged({**records, held_entropy_sweep.LEAD: lost})
    assert verdict.outcome == "undecided"
    assert all("nan" not in part.sentence for part in (verdict, *parts.values()))
    assert svg(held_entropy.figure({**records, held_entropy_sweep.LEAD: lost})).startswith("<svg")


def test_two_seeds_decide_nothing() -> None:
    records = {
        name: dataclasses.replace(found, curves={m: v[:2] for m, v in found.curves.items()})
        for name, found in house().items()
    }
    verdict, parts = judged(records)
    assert {part.outcome for part in (verdict, *parts.values())} == {"undecided"}


def test_the_figure_can_be_drawn_of_every_size() -> None:
    records = house()
    assert svg(held_entropy.figure(records)).startswith("<svg")
    small = {name: records[name] for name in (*held_entropy_sweep.arms("quick"), held_entropy_sweep.BONUS)}
    assert svg(held_entropy.figure(small)).startswith("<svg")
    assert judged(small)[0].outcome == "supported"


@pytest.mark.parametrize("size", ["quick", "standard", "full"])
def test_the_arms_differ_in_the_objective_alone(size: str) -> None:
    arms = held_entropy_sweep.arms(size)
    tried = held_entropy_sweep.candidates(size)[held_entropy_sweep.BONUS]
    first = arms[held_entropy_sweep.NONE]
    search = {name for name in held_entropy_sweep.SEARCH.values() if name in arms}
    assert (size == "quick") == (not search)
    for setting in (*(arms[name] for name in arms if name not in search), *tried.values()):
        assert dataclasses.replace(setting, objective=first.objective) == first
    for name, arm_name in held_entropy_sweep.SEARCH.items():
        if arm_name in arms:
            assert arms[arm_name].objective == arms[name].objective
            assert dataclasses.replace(arms[arm_name], objective=first.objective) == arms["search_grpo"]


def test_a_run_has_every_measure_that_is_read() -> None:
    """Tiny runs of the lead in both worlds and of two others, judged."""
    small = Supervised(steps=2, demonstrations=8, demonstrator={"noise": 0.35})
    arms = held_entropy_sweep.arms("standard")
    records = {}
    for name in ("grpo", held_entropy_sweep.LEAD, *held_entropy_sweep.LOWER, *held_entropy_sweep.SEARCH.values()):
        setting = arms[name].with_learning(updates=2, measure_every=1)
        if name not in held_entropy_sweep.SEARCH.values():
            setting = dataclasses.replace(setting, supervised=small)
        results = train_runs(setting, [0, 1], train_bases(setting, [0, 1]))
        names = results[0].curves
        records[name] = Records(
            {m: np.asarray(names[m].steps) for m in names},
            {m: np.array([r.curves[m].values for r in results]) for m in names},
        )
    verdict, parts = judged(records)
    assert {part.outcome for part in (verdict, *parts.values())} == {"undecided"}
    assert all("not known" not in part.sentence for part in parts.values())
