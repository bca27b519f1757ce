"""The judge of ``entropy_mechanism`` on curves whose answer is known by construction."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from judging import diverge
from numpy.typing import NDArray

from toybed.benchmarks import entropy_mechanism as mechanism
from toybed.benchmarks import entropy_mechanism_measures as measures
from toybed.envs.answer_bandit import AnswerBandit
from toybed.exact import entropy_flow, reward_gradient
from toybed.plotting import svg
from toybed.study import Records, Verdict

Array = NDArray[np.float64]
SEEDS, UPDATES = 6, 40
CLAIM = ("vanilla", "natural", "table", "network", "positive")
PARTS = (*CLAIM, "other table", "other network", "trend", "better", "stale", "sign")


def covariances(seed: int = 0, shift: float = 1.0) -> Array:
    """Noise about ``shift`` that is far above 0: between shift - 0.5 and shift + 0.5."""
    return shift + np.random.default_rng(seed).uniform(-0.5, 0.5, (SEEDS, UPDATES))


def noise(seed: int) -> Array:
    return np.random.default_rng(seed).normal(size=(SEEDS, UPDATES))


def arm(cov: Array, change: Array) -> Records:
    """A run whose entropy moves by ``change`` from 2 nats on."""
    entropy = np.concatenate([np.full((len(change), 1), 2.0), 2.0 + change.cumsum(1)], 1)
    steps = np.arange(UPDATES + 1)
    curves = {"sampled_covariance": cov, "entropy_train": entropy, "reward_train": np.ones_like(entropy) / 2}
    return Records({"sampled_covariance": steps[1:], "entropy_train": steps, "reward_train": steps}, curves)


def house(**other: Records) -> dict[str, Records]:
    """Entropy falls by a hundredth of the covariance at each update, in every arm."""
    cov = covariances()
    arms = {f"{where}_{name}": arm(cov, -0.01 * cov) for where in mechanism.POLICIES for name in mechanism.ARMS}
    return arms | other


def judged(records: Mapping[str, Records]) -> tuple[Verdict, dict[str, Verdict]]:
    verdict, parts = mechanism.judge(records)
    return verdict, dict(zip(PARTS, parts, strict=True))


def test_entropy_that_falls_by_the_covariance_supports_the_claim() -> None:
    verdict, parts = judged(house())
    assert verdict.outcome == "supported"
    for name in ("table", "network", "other table", "other network", "trend"):
        assert parts[name].outcome == "supported", name
        assert parts[name].estimate == pytest.approx(1.0), name
        assert parts[name].n == SEEDS
    assert parts["positive"].estimate == 1.0
    # Both correlations are 1: no difference is above or below 0.
    for name in ("better", "stale"):
        assert parts[name].outcome == "undecided"
        assert parts[name].estimate == pytest.approx(0.0)
    # All covariances are near 1 here, so this base is one that prefers right answers.
    assert parts["sign"].outcome == "refuted"
    assert "5 supported" in verdict.sentence


def test_entropy_that_rises_by_the_covariance_refutes_the_claim() -> None:
    cov = covariances()
    verdict, parts = judged(house(network_grpo_1=arm(cov, 0.01 * cov)))
    assert parts["network"].outcome == "refuted"
    assert parts["network"].estimate == pytest.approx(-1.0)
    assert parts["better"].outcome == "supported"
    assert parts["better"].estimate == pytest.approx(2.0)
    assert verdict.outcome == "refuted"


def test_entropy_that_does_not_heed_the_covariance_is_undecided() -> None:
    """Correlations of independent noise over 40 updates are about 1/sqrt(40) = 0.16 wide and centred on 0."""
    _, parts = judged(house(network_grpo_1=arm(covariances(), noise(1))))
    assert abs(parts["network"].estimate) < 0.3
    assert parts["network"].outcome == "undecided"


def test_the_correlation_is_by_run_and_not_over_all_runs() -> None:
    """Runs of different level, each of which moves against it: pooled they would correlate the other way."""
    level = 10.0 * np.arange(SEEDS)[:, None]
    cov = covariances(shift=0.0) + level
    change = 0.01 * (cov - level) - 0.01 * level
    _, parts = judged(house(network_grpo_1=arm(cov, change)))
    assert parts["network"].estimate == pytest.approx(-1.0)


def test_fading_together_is_not_prediction_beyond_the_trend() -> None:
    """Both fall along one cubic, with noises of their own: strongly correlated, and not at all without the trend."""
    time = np.linspace(-1, 1, UPDATES)
    fading = 3 - 2 * time + 0.2 * time**3
    records = house(network_grpo_1=arm(fading + 0.05 * noise(1), -fading + 0.05 * noise(2)))
    _, parts = judged(records)
    assert parts["network"].outcome == "supported"
    assert parts["network"].estimate > 0.99
    assert abs(parts["trend"].estimate) < 0.3
    assert parts["trend"].outcome == "undecided"


def test_the_trend_is_taken_away_whole_and_nothing_else() -> None:
    time = np.arange(UPDATES, dtype=float)
    np.testing.assert_allclose(measures.without_trend(1 + time - 0.3 * time**2 + 0.01 * time**3), 0, atol=1e-9)
    wiggle = np.cos(np.pi * time)
    left = measures.without_trend(wiggle + time)
    assert measures.correlation(left, wiggle) > 0.99


@pytest.mark.parametrize(("negative", "outcome"), [(0, "supported"), (1, "supported"), (3, "refuted")])
def test_positive_means_nearly_always(negative: int, outcome: str) -> None:
    """One of 40 updates is 2.5 %, three are 7.5 %; 5 % are allowed."""
    cov = covariances()
    cov[:, :negative] = -1.0
    verdict, parts = judged(house(network_grpo_1=arm(cov, -0.01 * cov)))
    assert parts["positive"].outcome == outcome
    assert parts["positive"].estimate == pytest.approx(1 - negative / UPDATES)
    assert verdict.outcome == outcome


def test_another_objective_without_prediction_does_not_decide_the_claim() -> None:
    cov = covariances()
    verdict, parts = judged(house(network_kl_cov_4=arm(cov, 0.01 * cov), table_rloo_1=arm(cov, 0.01 * cov)))
    for name in ("other table", "other network"):
        assert parts[name].outcome == "refuted"
        assert parts[name].estimate == pytest.approx(-1.0)
    assert "KL-Cov, 4 steps -1.00" in parts["other network"].sentence
    assert verdict.outcome == "supported"


def test_stale_data_that_hide_the_covariance_weaken_the_prediction() -> None:
    _, parts = judged(house(network_grpo_8=arm(covariances(), noise(1))))
    assert parts["stale"].outcome == "supported"


def test_a_base_that_prefers_wrong_answers_starts_below_zero() -> None:
    cov = covariances()
    cov[:, : mechanism.FIRST] = -0.5
    _, parts = judged(house(table_grpo_1=arm(cov, -0.01 * cov)))
    assert parts["sign"].outcome == "supported"
    assert parts["sign"].estimate == pytest.approx(0.5)
    assert f"{mechanism.FIRST * 0.005:+.3f} nats" in parts["sign"].sentence


def test_the_average_is_the_one_of_adam() -> None:
    """By hand: m = 0.1 * 1, over 0.1; m = 0.09 + 0.1 * 3 = 0.39, over 0.19; m = 0.351 + 0.2 = 0.551, over 0.271."""
    got = measures.remembered(np.array([1.0, 3.0, 2.0]), 0.9)
    np.testing.assert_allclose(got, [1.0, 0.39 / 0.19, 0.551 / 0.271])


def test_an_averaged_covariance_is_found_to_be_one() -> None:
    """Entropy that moves by Adam's average of the covariance: the newest batch shows sqrt(1 - 0.81) = 0.44 of it."""
    cov = covariances()
    change = np.stack([-0.01 * measures.remembered(c, measures.MEMORY) for c in cov])
    records = arm(cov, change)
    np.testing.assert_allclose(measures.correlations(records, steps=1), 1.0)
    # 6 runs of 40 updates: the mean correlation has an error of about 0.16 / sqrt(6) = 0.07; at the start the average
    # is over fewer batches, which shows more of the newest.
    assert 0.2 < measures.correlations(records).mean() < 0.75


def test_the_exact_walk_is_that_of_the_exact_module() -> None:
    """The first step's prediction is ``entropy_flow`` of the exact gradient, and the step is that far."""
    env = AnswerBandit(prompt_count=1, rank=4)
    logits = env.demonstrator().double()
    # The base is stored in float32: both sides start from the same rounded numbers.
    walk = measures.exact_walk(4, natural=False)
    flow = entropy_flow(env, logits, -reward_gradient(env, logits))
    assert walk.vanilla[0] == pytest.approx(float(flow) * measures.SMALL_STEP, rel=1e-9)
    p = logits.softmax(-1)
    advantage = env.rewards().double() - (p * env.rewards().double()).sum(-1, keepdim=True)
    natural = measures.exact_walk(4, natural=True)
    assert natural.natural[0] == pytest.approx(float(entropy_flow(env, logits, -advantage)) * 0.1, rel=1e-9)
    after = torch.log_softmax(logits + 0.1 * advantage, -1)
    seen = env.evaluate(after).entropy - env.evaluate(torch.log_softmax(logits, -1)).entropy
    assert natural.seen[0] == pytest.approx(float(seen), rel=1e-9)


@pytest.mark.parametrize("natural", [False, True])
def test_the_exact_walks_leave_the_base_and_change_the_sign(natural: bool) -> None:
    """A correlation near 1 would say little of a walk that hardly moves: from rank 8 entropy rises and then falls."""
    walk = measures.exact_walk(8, natural=natural)
    assert walk.seen.max() > 0
    assert len(walk.seen) == measures.WALK
    if natural:
        assert walk.seen.min() < 0


@pytest.mark.parametrize("name", ["table_grpo_1", "network_grpo_1", "network_kl_cov_4"])
def test_a_diverged_run_is_told_and_never_averaged(name: str) -> None:
    records = house()
    verdict, parts = judged({**records, name: diverge(records[name], 2, at=20, wild=True)})
    assert verdict.outcome == "supported"
    assert "1 run diverged" in verdict.sentence
    for part in parts.values():
        assert "nan" not in part.sentence
        assert np.isfinite(part.estimate)
    # The part of the other objectives shows its lowest arm, of which there are many alike.
    assert name == "network_kl_cov_4" or SEEDS - 1 in [part.n for part in parts.values()]


@pytest.mark.parametrize("name", ["table_grpo_1", "network_grpo_1", "network_kl_cov_4"])
def test_an_arm_that_diverged_altogether_leaves_its_parts_undecided(name: str) -> None:
    records = house()
    for run in range(SEEDS):
        records[name] = diverge(records[name], run, at=3 + run, wild=True)
    verdict, parts = judged(records)
    reads = {
        "table_grpo_1": {"table", "better", "sign"},
        "network_grpo_1": {"network", "positive", "trend", "better", "stale"},
        "network_kl_cov_4": {"other network"},
    }[name]
    assert {parts[part].outcome for part in reads} == {"undecided"}
    assert all("nan" not in part.sentence for part in (verdict, *parts.values()))
    assert f"{SEEDS} runs diverged" in verdict.sentence
    assert svg(mechanism.figure(records)).startswith("<svg")


def test_entropy_that_stands_still_has_no_correlation() -> None:
    records = house(network_grpo_1=arm(covariances(), np.zeros((SEEDS, UPDATES))))
    verdict, parts = judged(records)
    assert parts["network"].outcome == "undecided"
    assert parts["network"].n == 0
    assert verdict.outcome == "undecided"


def test_the_figure_can_be_drawn() -> None:
    records = house()
    assert svg(mechanism.figure(records)).startswith("<svg")
    records["network_grpo_1"] = diverge(records["network_grpo_1"], 0, 5, wild=True)
    assert svg(mechanism.figure(records)).startswith("<svg")


def test_the_arms_differ_in_objective_and_steps_and_nothing_else() -> None:
    for size in ("quick", "standard", "full"):
        arms = mechanism.arms(size)
        assert len(arms) == 2 * len(mechanism.ARMS)
        for where in mechanism.POLICIES:
            first = arms[f"{where}_grpo_1"]
            for name, (_, objective, steps) in mechanism.ARMS.items():
                expected = dataclasses.replace(first, objective=objective).with_learning(epochs=steps)
                assert arms[f"{where}_{name}"] == expected
            assert first.learning.measure_every == 1  # the change of each update is what is asked
            assert first.learning.epochs * first.learning.minibatches == 1
