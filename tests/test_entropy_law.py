"""The judge of ``entropy_law`` on curves whose answer is known by construction."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
import pytest
from judging import diverge
from numpy.typing import NDArray

from toybed.benchmarks import entropy_law
from toybed.plotting import svg
from toybed.study import Records, Verdict

Array = NDArray[np.float64]
Law = Callable[[Array], Array]
SEEDS = 6
STEPS = np.arange(0, 151, 5)
PARTS = (
    "fits",
    "constant",
    "linear",
    "same a",
    "base",
    "remedies a",
    *(f"keeps {arm}" for arm in entropy_law.REMEDIES),
)


def exponential(h: Array) -> Array:
    """R = 1.1 - 0.2 exp(H): 0.204 at H = 1.5, and 0.88 at H = 0.1."""
    return 1.1 - 0.2 * np.exp(h)


def line(h: Array) -> Array:
    return 1.0 - 0.5 * h


def entropies(seeds: int = SEEDS) -> Array:
    """Falling curves ``[n, points]``, a little different for each seed."""
    start = 1.5 + 0.02 * np.arange(seeds)[:, None]
    return 0.1 + (start - 0.1) * np.exp(-STEPS / 40)


def arm(h: Array, reward: Array, train: Array | None = None) -> Records:
    curves = {"entropy_train": h, "reward_test": reward, "reward_train": reward if train is None else train}
    curves["pass@16_test"] = np.clip(curves["reward_test"] + 0.05, 0, 1)
    return Records({name: STEPS for name in curves}, curves)


def no_law(h: Array) -> Array:
    """Reward that first falls and then rises while entropy falls: no function of H of that form."""
    return np.broadcast_to(0.3 + 0.2 * np.cos(STEPS / 12), h.shape)


def house(law: Law = exponential, **other: Records) -> dict[str, Records]:
    """Records of every arm: all follow the law, but for the control without a base."""
    h = entropies()
    arms: dict[str, Records] = {name: arm(h, law(h)) for name in entropy_law.NAMES}
    arms["random_init"] = arm(h, no_law(h))
    return arms | other


def judged(records: Mapping[str, Records]) -> tuple[Verdict, dict[str, Verdict]]:
    verdict, parts = entropy_law.judge(records)
    return verdict, dict(zip(PARTS, parts, strict=True))


def without(records: Records, run: int) -> Records:
    return dataclasses.replace(records, curves={n: np.delete(v, run, 0) for n, v in records.curves.items()})


def test_curves_that_follow_the_law_support_it() -> None:
    verdict, parts = judged(house())
    assert verdict.outcome == "supported"
    for name in ("fits", "constant", "linear", "same a", "base", "remedies a"):
        assert parts[name].outcome == "supported", name
        assert parts[name].n == SEEDS
    assert parts["fits"].estimate == pytest.approx(1.0)
    assert parts["same a"].estimate == pytest.approx(1.0)
    # The law's own error is 0, so the difference is the rival's error, with a minus.
    assert parts["constant"].high < parts["constant"].estimate + 1 < 1
    assert "5 supported" in verdict.sentence


def test_a_straight_line_in_entropy_refutes_the_law() -> None:
    verdict, parts = judged(house(line))
    assert parts["linear"].outcome == "refuted"
    assert parts["linear"].low > 0
    assert verdict.outcome == "refuted"


def test_reward_that_no_longer_moves_refutes_a_prediction() -> None:
    """From the early window on nothing changes: the constant predicts without an error, the law cannot do better."""
    h = entropies()
    early = int(np.count_nonzero(entropy_law.EARLY * STEPS[-1] >= STEPS))
    reward = exponential(h)
    reward[:, early:] = reward[:, early - 1 : early]
    _, parts = judged(house(grpo=arm(h, reward)))
    assert parts["constant"].outcome == "refuted"


def test_curves_without_a_law_refute_the_fit() -> None:
    h = entropies()
    verdict, parts = judged(house(grpo=arm(h, no_law(h))))
    assert parts["fits"].outcome == "refuted"
    assert verdict.outcome == "refuted"


def test_another_constant_refutes_that_it_is_shared() -> None:
    h = entropies()
    twice = arm(h, 1.3 - 0.4 * np.exp(h))
    verdict, parts = judged(house(rloo=twice))
    assert parts["same a"].outcome == "refuted"
    assert parts["same a"].estimate == pytest.approx(2.0)
    assert verdict.outcome == "refuted"
    # Of a remedy it is a finding of its own and does not touch the law.
    verdict, parts = judged(house(kl_cov=twice))
    assert parts["remedies a"].outcome == "refuted"
    assert parts["remedies a"].estimate == pytest.approx(2.0)
    assert verdict.outcome == "supported"


def test_a_law_without_a_base_refutes_that_it_needs_one() -> None:
    h = entropies()
    good = arm(h, exponential(h))
    noise = 0.02 * np.sin(np.arange(len(STEPS)) * 2.0)
    worse = arm(h, exponential(h) + noise)
    verdict, parts = judged(house(grpo=worse, random_init=good))
    assert parts["base"].outcome == "refuted"
    assert parts["base"].high < 0
    assert verdict.outcome == "refuted"


def test_entropy_held_at_the_same_reward_is_kept() -> None:
    h = entropies()
    verdict, parts = judged(house(clip_cov=arm(h + 0.3, exponential(h))))
    assert parts["keeps clip_cov"].outcome == "supported"
    assert parts["keeps clip_cov"].estimate == pytest.approx(0.3)
    assert parts["keeps clip_cov"].n == SEEDS
    for name in ("kl_cov", "clip_higher", "entropy_bonus"):
        assert parts[f"keeps {name}"].outcome == "refuted"  # the same as GRPO
        assert parts[f"keeps {name}"].estimate == pytest.approx(0.0)
    assert verdict.outcome == "supported"


def test_entropy_is_compared_at_matched_reward_and_not_at_the_same_time() -> None:
    """An arm that learns half as fast has more entropy at every moment, and the same at every reward."""
    start = 1.5 + 0.02 * np.arange(SEEDS)[:, None]
    slow = 0.1 + (start - 0.1) * np.exp(-STEPS / 60)
    _, parts = judged(house(clip_cov=arm(slow, exponential(slow))))
    assert parts["keeps clip_cov"].outcome == "refuted"
    assert abs(parts["keeps clip_cov"].estimate) < 0.01  # what linear interpolation between points leaves


@pytest.mark.parametrize(("reached", "outcome"), [(0, "undecided"), (2, "undecided"), (3, "supported")])
def test_arms_that_do_not_reach_the_matched_reward_are_undecided(reached: int, outcome: str) -> None:
    h = entropies()
    reward = exponential(h)
    low = reward.copy()
    low[reached:] = np.minimum(low[reached:], entropy_law.MATCHED_REWARD - 0.05)
    _, parts = judged(house(clip_cov=arm(h + 0.3, reward, low)))
    part = parts["keeps clip_cov"]
    assert part.outcome == outcome
    assert part.n == reached
    if outcome == "undecided":
        assert f"{reached} of {SEEDS}" in part.sentence
        assert np.isnan([part.estimate, part.low, part.high]).all()


@pytest.mark.parametrize("name", ["grpo", "rloo", "clip_cov", "random_init"])
def test_a_diverged_run_is_told_and_never_averaged(name: str) -> None:
    records = house()
    hurt = {**records, name: diverge(records[name], 2, at=20, wild=True)}
    verdict, parts = judged(hurt)
    # Every other arm loses its partner of the same seed where two are compared, and nothing else changes: so the
    # answer is that of the same records in which the diverged run never was.
    gone = {**records, name: dataclasses.replace(records[name])}
    gone = {arm_name: without(found, 2) for arm_name, found in gone.items()}
    _, expected = judged(gone)
    for part_name, part in parts.items():
        assert part.outcome == expected[part_name].outcome
        # The arms are made alike, so that leaving out one pair or one run gives the same mean to the last digits only
        # where the part reads the diverged arm; elsewhere it has all its runs.
        assert part.n in (SEEDS, SEEDS - 1)
        if part.n == SEEDS - 1:
            assert part.estimate == pytest.approx(expected[part_name].estimate)
        assert np.isfinite(part.estimate)
    assert "1 run" in verdict.sentence
    assert "diverged" in verdict.sentence


@pytest.mark.parametrize("name", ["grpo", "rloo", "clip_cov", "random_init"])
def test_no_sentence_says_nan_because_of_one_diverged_run(name: str) -> None:
    records = house()
    verdict, parts = judged({**records, name: diverge(records[name], 2, at=20, wild=True)})
    for part in (verdict, *parts.values()):
        assert "nan" not in part.sentence, part.sentence


@pytest.mark.parametrize("name", ["grpo", "rloo", "clip_cov", "random_init"])
def test_an_arm_that_diverged_altogether_leaves_its_parts_undecided(name: str) -> None:
    records = house()
    for run in range(SEEDS):
        records[name] = diverge(records[name], run, at=3 + run, wild=True)
    verdict, parts = judged(records)
    assert f"{SEEDS} runs diverged" in verdict.sentence
    assert all("nan" not in part.sentence for part in (verdict, *parts.values()))
    reads = {
        "grpo": set(PARTS),
        "rloo": {"same a"},
        "clip_cov": {"keeps clip_cov"},
        "random_init": {"base"},
    }[name]
    assert {part.outcome for part_name, part in parts.items() if part_name in reads} == {"undecided"}
    assert verdict.outcome in ("undecided", "supported")


@pytest.mark.parametrize("name", ["grpo", "rloo", "clip_cov"])
@pytest.mark.parametrize("runs", [1, SEEDS])
def test_the_figure_can_be_drawn_when_runs_diverged(name: str, runs: int) -> None:
    records = house()
    for run in range(runs):
        records[name] = diverge(records[name], run, at=3 + run)
    assert svg(entropy_law.figure(records)).startswith("<svg")


def test_the_arms_differ_in_what_the_question_asks_and_nothing_else() -> None:
    for size in ("quick", "standard", "full"):
        arms = entropy_law.arms(size)
        assert set(arms) == set(entropy_law.NAMES)
        grpo = arms["grpo"]
        for name, setting in arms.items():
            changed = {
                field.name
                for field in dataclasses.fields(setting)
                if getattr(setting, field.name) != getattr(grpo, field.name)
            }
            expected = {"grpo": set(), "random_init": {"supervised"}}.get(name, {"objective"})
            assert changed == expected, name
        # With a single step on each batch most objectives would be one and the same.
        assert grpo.learning.epochs * grpo.learning.minibatches > 1
