"""The judge of ``architecture`` on curves whose answer is known by construction."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import pytest
from judging import diverge
from numpy.typing import NDArray

from toybed.agents.config import Setting
from toybed.benchmarks import architecture
from toybed.benchmarks import architecture_sweep as sweep
from toybed.benchmarks.entropy_law import MATCHED_REWARD
from toybed.errors import ToybedError
from toybed.plotting import svg
from toybed.stats import Interval
from toybed.study import FIRST_TUNING_SEED, Records, Verdict

Array = NDArray[np.float64]
SEEDS = 6
STEPS = np.arange(0, 101, 5)
CONCLUSIONS = ("law", *sweep.INTERVENTIONS, "breadth")
NUMBERS = ("a", "ceiling", "entropy", *(f"size {arm}" for arm in sweep.INTERVENTIONS), "size breadth")
KEPT = {"entropy_bonus": 0.15, "clip_cov": 0.1, "kl_cov": 0.08}


def arm(*, kept: float = 0.0, a: float = 0.25, b: float = 1.25, lost: float = 0.2, seeds: int = SEEDS) -> Records:
    """Runs that follow R = -a exp(H) + b, with ``kept`` nats more at each reward, and lose held-out pass@16 with it."""
    at_base = np.log((b - 0.4) / a)
    h = 0.05 + (at_base - 0.05) * np.exp(-STEPS / (20 + np.arange(seeds)[:, None]))
    reward = b - a * np.exp(h)
    curves = {
        "entropy_train": h + kept * np.linspace(0.98, 1.02, seeds)[:, None],
        "reward_train": reward,
        "pass@16_test": 0.7 - lost * (reward - reward[:, :1]) / (0.8 - reward[:, :1]),
    }
    return Records({name: STEPS for name in curves}, curves)


def house(*networks: str, **other: Records) -> dict[str, Records]:
    """Records of all arms of the networks (by default of all), alike; ``mlp__grpo=...`` puts another there."""
    records = {}
    for network in networks or tuple(sweep.EVERY):
        records[f"{network}/grpo"] = arm()
        records |= {f"{network}/{name}": arm(kept=kept) for name, kept in KEPT.items()}
    return records | {name.replace("__", "/"): value for name, value in other.items()}


def judged(records: Mapping[str, Records]) -> tuple[Verdict, dict[str, Verdict]]:
    verdict, parts = architecture.judge(records)
    beside = [name for name in sweep.BESIDE if f"{name}/grpo" in records]
    return verdict, dict(zip([*CONCLUSIONS, *NUMBERS, *beside], parts, strict=True))


def test_networks_that_are_alike_support_the_claim_and_all_that_stands_beside_it() -> None:
    verdict, parts = judged(house())
    assert verdict.outcome == "supported"
    assert {part.outcome for part in parts.values()} == {"supported"}
    assert parts["law"].estimate == pytest.approx(1.0)
    for name, kept in KEPT.items():
        assert parts[name].estimate == pytest.approx(kept)
        assert parts[name].n == SEEDS
        assert parts[f"size {name}"].estimate == pytest.approx(0.0)
    assert parts["breadth"].estimate == pytest.approx(0.2, abs=0.01)
    assert parts["a"].estimate == pytest.approx(0.0)


def test_an_intervention_that_costs_entropy_in_one_network_refutes() -> None:
    verdict, parts = judged(house(gru__clip_cov=arm(kept=-0.1)))
    assert parts["clip_cov"].outcome == "refuted"
    assert parts["clip_cov"].estimate == pytest.approx(-0.1)  # the network that differs is the one shown
    assert verdict.outcome == "refuted"
    assert {parts[name].outcome for name in CONCLUSIONS if name != "clip_cov"} == {"supported"}


def test_an_intervention_that_costs_entropy_in_every_network_is_a_shared_answer() -> None:
    other = {f"{network}__kl_cov": arm(kept=-0.1) for network in sweep.NETWORKS}
    verdict, parts = judged(house(**other))
    assert parts["kl_cov"].outcome == "supported"
    assert verdict.outcome == "supported"


def test_an_effect_that_is_not_resolved_in_one_network_is_undecided() -> None:
    noisy = arm()
    curves = dict(noisy.curves)
    curves["entropy_train"] = curves["entropy_train"] + 0.05 * np.array([1, -1, 1, -1, 1, -1])[:, None]
    verdict, parts = judged(house(transformer__entropy_bonus=dataclasses.replace(noisy, curves=curves)))
    assert parts["entropy_bonus"].outcome == "undecided"
    assert verdict.outcome == "undecided"


def test_a_network_without_the_law_refutes() -> None:
    records = arm()
    # Success first stands still while entropy falls, and then rises while it stands still.
    curves = dict(records.curves)
    curves["entropy_train"] = np.broadcast_to(np.interp(STEPS, [0, 50, 100], [1.2, 0.1, 0.1]), (SEEDS, len(STEPS)))
    curves["reward_train"] = np.broadcast_to(np.interp(STEPS, [0, 50, 100], [0.4, 0.4, 0.9]), (SEEDS, len(STEPS)))
    verdict, parts = judged(house(transformer__grpo=dataclasses.replace(records, curves=curves)))
    assert parts["law"].outcome == "refuted"
    assert verdict.outcome == "refuted"


def test_a_network_that_loses_no_breadth_refutes() -> None:
    verdict, parts = judged(house(gru__grpo=arm(lost=0.0)))
    assert parts["breadth"].outcome == "refuted"
    assert parts["breadth"].estimate == pytest.approx(0.0)
    assert parts["size breadth"].outcome == "refuted"
    assert parts["size breadth"].estimate == pytest.approx(-0.2, abs=0.01)
    assert verdict.outcome == "refuted"


def test_numbers_of_their_own_do_not_decide() -> None:
    """Twice the MLP's a, and each intervention as far above its own GRPO as there."""
    twice = {"a": 0.5, "b": 1.5}
    other = {f"gru__{name}": arm(kept=kept, **twice) for name, kept in {"grpo": 0.0, **KEPT}.items()}
    verdict, parts = judged(house(**other))
    assert parts["a"].outcome == "refuted"
    assert parts["a"].estimate == pytest.approx(1.0)  # so much more than the MLP's, as a share of it
    assert parts["entropy"].outcome == "refuted"
    assert parts["entropy"].estimate == pytest.approx(np.log(0.7 / 0.5) - np.log(0.45 / 0.25), abs=0.01)
    assert parts["ceiling"].outcome == "supported"
    assert {parts[f"size {name}"].outcome for name in KEPT} == {"supported"}
    assert verdict.outcome == "supported"


def test_a_size_of_its_own_is_no_other_answer() -> None:
    verdict, parts = judged(house(transformer__clip_cov=arm(kept=0.3)))
    assert parts["size clip_cov"].outcome == "refuted"
    assert parts["size clip_cov"].estimate == pytest.approx(2.0)  # three times what it keeps in the MLP
    assert parts["clip_cov"].outcome == "supported"
    assert verdict.outcome == "supported"


def test_what_stands_beside_does_not_decide() -> None:
    verdict, parts = judged(house(table__grpo=arm(lost=0.0), fast__kl_cov=arm(kept=-0.2)))
    assert parts["table"].outcome == "refuted"
    assert parts["state"].outcome == "supported"
    assert parts["slow"].outcome == "supported"
    assert parts["fast"].outcome == "refuted"
    assert verdict.outcome == "supported"


def test_entropy_is_compared_at_the_same_success_and_not_at_the_same_time() -> None:
    """A network that learns half as fast has more entropy at every moment, and the same at every success."""
    slow = arm()
    times = np.linspace(0, 50, len(STEPS))
    curves = {name: np.stack([np.interp(times, STEPS, run) for run in values]) for name, values in slow.curves.items()}
    assert curves["entropy_train"][:, 4].mean() > slow["entropy_train"][:, 4].mean() + 0.1
    _, parts = judged(house(gru__grpo=dataclasses.replace(slow, curves=curves)))
    assert parts["entropy"].outcome == "supported"
    assert abs(parts["entropy"].estimate) < 0.01  # what lines between points leave


@pytest.mark.parametrize(("reached", "outcome"), [(0, "undecided"), (2, "undecided"), (3, "supported")])
def test_runs_that_do_not_reach_the_matched_success_are_undecided(reached: int, outcome: str) -> None:
    low = arm(kept=KEPT["kl_cov"])
    curves = {name: values.copy() for name, values in low.curves.items()}
    curves["reward_train"][reached:] = np.minimum(curves["reward_train"][reached:], MATCHED_REWARD - 0.05)
    verdict, parts = judged(house(gru__kl_cov=dataclasses.replace(low, curves=curves)))
    assert parts["kl_cov"].outcome == outcome
    assert verdict.outcome == outcome
    assert "nan" not in parts["kl_cov"].sentence


@pytest.mark.parametrize("seeds", [1, 2])
def test_too_few_seeds_decide_nothing(seeds: int) -> None:
    records = {name: arm(kept=KEPT.get(name.split("/")[1], 0.0), seeds=seeds) for name in house()}
    verdict, parts = judged(records)
    assert verdict.outcome == "undecided"
    assert {part.outcome for part in parts.values()} == {"undecided"}


@pytest.mark.parametrize("name", ["mlp/grpo", "gru/grpo", "transformer/kl_cov", "table/grpo", "slow/kl_cov"])
def test_a_diverged_run_is_told_and_never_averaged(name: str) -> None:
    records = house()
    verdict, parts = judged({**records, name: diverge(records[name], 2, at=5, wild=True)})
    _, before = judged(records)
    assert "1 run diverged" in verdict.sentence
    for part_name, part in parts.items():
        assert part.outcome == before[part_name].outcome, part_name
        assert part.n in (SEEDS, SEEDS - 1)
        assert part.estimate == pytest.approx(before[part_name].estimate, abs=0.01)
        assert "nan" not in part.sentence


@pytest.mark.parametrize("name", ["mlp/grpo", "gru/grpo", "transformer/kl_cov", "state/grpo", "fast/grpo"])
def test_an_arm_without_a_sound_run_leaves_its_parts_undecided(name: str) -> None:
    records = house()
    records[name] = diverge(records[name], range(SEEDS), at=5, wild=True)
    verdict, parts = judged(records)
    assert f"{SEEDS} runs diverged" in verdict.sentence
    assert all("nan" not in part.sentence for part in (verdict, *parts.values()))
    reads = {
        "mlp/grpo": set(parts),
        "gru/grpo": {*CONCLUSIONS, *NUMBERS},
        "transformer/kl_cov": {"kl_cov", "size kl_cov"},
        "state/grpo": {"state"},
        "fast/grpo": {"fast"},
    }[name]
    assert {part_name for part_name, part in parts.items() if part.outcome == "undecided"} == reads
    assert verdict.outcome == ("undecided" if reads & {*CONCLUSIONS} else "supported")


def test_the_quick_size_is_judged_over_the_networks_that_it_has() -> None:
    verdict, parts = judged(house(*sweep.QUICK))
    assert set(parts) == {*CONCLUSIONS, *NUMBERS, "table"}
    assert verdict.outcome == "supported"
    assert "transformer" not in verdict.sentence


@pytest.mark.parametrize(
    ("estimates", "side", "found"), [((1, -3, 2), None, -3), ((1, -3, 2), 1, 2), ((np.nan, 0.5), -1, 0.5)]
)
def test_the_furthest_interval_is_one_that_has_an_estimate(
    estimates: tuple[float, ...], side: int | None, found: float
) -> None:
    intervals = [Interval(value, value - 1, value + 1, 5) for value in estimates]
    assert architecture.furthest(intervals, side=side).estimate == found


@pytest.mark.parametrize("name", ["mlp/grpo", "gru/clip_cov", "table/grpo"])
@pytest.mark.parametrize("runs", [1, SEEDS])
def test_the_figure_can_be_drawn_when_runs_diverged(name: str, runs: int) -> None:
    records = house()
    records[name] = diverge(records[name], range(runs), at=5, wild=True)
    assert svg(architecture.figure(records)).startswith("<svg")


# -- the sweep ------------------------------------------------------------------------------------------------------
def settings_of(size: str) -> dict[str, Setting]:
    """All arms, with the first candidate of each."""
    return {
        name: sweep.final(size, name, next(iter(options.values()))) for name, options in sweep.candidates(size).items()
    }


@pytest.mark.parametrize("size", ["quick", "standard", "full"])
def test_arms_of_a_network_differ_in_what_the_question_asks_and_nothing_else(size: str) -> None:
    settings = settings_of(size)
    networks = sweep.QUICK if size == "quick" else tuple(sweep.EVERY)
    objectives = ("grpo", *sweep.INTERVENTIONS)
    assert set(settings) == {f"{n}/{objective}" for n in networks for objective in objectives}
    for name, found in settings.items():
        grpo = settings[f"{name.split('/')[0]}/grpo"]
        assert dataclasses.replace(found, objective=grpo.objective) == grpo
        assert (found.objective == grpo.objective) == name.endswith("/grpo")
        assert found.learning.updates == sweep.UPDATES[size]
        # With a single step on each batch KL-Cov would be GRPO without its clip.
        assert found.learning.epochs * found.learning.minibatches > 1


def test_networks_differ_in_policy_base_and_rate_and_see_the_same_world() -> None:
    settings = settings_of("standard")
    for network in ("gru", "transformer", "table"):
        assert settings[f"{network}/grpo"].world == settings["mlp/grpo"].world
    assert settings["state/grpo"].policy == settings["mlp/grpo"].policy
    assert len({settings[f"{network}/grpo"].policy.name for network in ("mlp", "gru", "transformer", "table")}) == 4
    for network, of in (("slow", "mlp"), ("fast", "mlp"), ("table_slow", "table")):
        other, own = settings[f"{network}/kl_cov"], settings[f"{of}/kl_cov"]
        assert other != own
        assert other.with_learning(learning_rate=own.learning.learning_rate) == own


def test_rates_are_chosen_with_grpo_on_seeds_of_their_own() -> None:
    tuning = architecture.STUDY.tuning
    assert tuning is not None
    trials = tuning.runs("standard", "cpu")
    for name, options in trials.items():
        network = name.split("/")[0]
        shared = {"slow": "mlp", "fast": "mlp", "table_slow": "table"}.get(network, network)
        assert options == trials[f"{shared}/grpo"]
        for label, runs in options.items():
            assert {run.setting.objective.name for run in runs} == {"grpo"}
            assert {run.setting.learning.learning_rate for run in runs} == {float(label)}
            assert min(run.seed for run in runs) >= FIRST_TUNING_SEED
    assert all(len(options) == 1 for options in tuning.runs("quick", "cpu").values())


def test_an_unknown_measure_is_named() -> None:
    with pytest.raises(ToybedError, match="pass@16_test"):
        records = house()
        bare = records["mlp/grpo"]
        curves = {name: values for name, values in bare.curves.items() if name != "pass@16_test"}
        architecture.judge(records | {"mlp/grpo": dataclasses.replace(bare, curves=curves)})
