"""The rule of `sizes` on records whose answer is known."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch
from judging import diverge
from numpy.typing import NDArray

from toybed.agents.policies import make_policy
from toybed.benchmarks import sizes
from toybed.envs import make
from toybed.plotting import svg
from toybed.study import Records, Verdict

Array = NDArray[np.float64]
SEEDS = 6
STEPS = np.arange(0, 201, 5)
CLAIM = [f"{part} {name}" for name in sizes.CONSTANTS for part in ("line", "miss", "null")]
Constants = Callable[[float], tuple[float, float]]
"""From a width to a and b."""


def along(width: float) -> tuple[float, float]:
    """a and b linear in log(width), nearly log(size): a from 0.05 to 0.17, b from 0.35 to 0.83."""
    doublings = np.log2(width / 16)
    return 0.05 + 0.03 * doublings, 0.35 + 0.12 * doublings


def arm(a: float, b: float, last: float = 0.2) -> Records:
    """Runs that follow the law exactly, with entropies and constants a little different for each seed."""
    seeds = np.arange(SEEDS)[:, None]
    h = last + (1.8 + 0.02 * seeds - last) * np.exp(-STEPS / 50)
    reward = b * (1 + 0.002 * seeds) - a * (1 + 0.004 * seeds) * np.exp(h)
    curves = {"entropy_train": h, "reward_test": reward, "reward_train": reward}
    return Records({name: STEPS for name in curves}, curves)


def house(sized: Constants = along, equal: Constants | None = lambda _: (0.1, 0.6)) -> dict[str, Records]:
    records = {f"width_{w}": arm(*sized(w)) for w in sizes.WIDTHS}
    if equal is not None:
        for width in sizes.WIDTHS:
            records[f"equal_{width}"] = arm(*equal(width))
            records[f"fast_{width}"] = arm(*sized(width))
    return records


def judged(records: Mapping[str, Records]) -> tuple[Verdict, dict[str, Verdict]]:
    verdict, parts = sizes.judge(records)
    controls = ["control a", "control ceiling", "rate"] if "equal_16" in records else []
    return verdict, dict(zip([*CLAIM, "window", *controls, *records], parts, strict=True))


def lost(records: Records) -> Records:
    for run in range(SEEDS):
        records = diverge(records, run, at=3 + run, wild=True)
    return records


def test_constants_along_a_line_support_the_claim() -> None:
    verdict, parts = judged(house())
    assert verdict.outcome == "supported"
    for name in CLAIM:
        assert parts[name].outcome == "supported", name
        assert parts[name].n == SEEDS
    assert abs(parts["miss ceiling"].estimate) < 0.05
    assert all(parts[arm].outcome == "supported" for arm in house())
    assert parts["control a"].outcome == "supported"
    assert parts["rate"].outcome == "supported"
    assert parts["rate"].estimate == pytest.approx(parts["miss ceiling"].estimate)


def test_a_ceiling_that_saturates_is_missed() -> None:
    """The largest is as the next smaller: the line overshoots, and "the same" is exact."""
    verdict, parts = judged(house(lambda width: along(min(width, 128))))
    for name in sizes.CONSTANTS:
        assert parts[f"miss {name}"].outcome == "refuted", name
        assert parts[f"miss {name}"].estimate > sizes.GOOD_PREDICTION
        assert parts[f"null {name}"].outcome == "refuted", name
    assert verdict.outcome == "refuted"


def test_constants_that_go_up_and_down_are_no_line() -> None:
    _, parts = judged(house(lambda width: (0.1 + 0.05 * (width in (32, 128)), 0.9)))
    assert parts["line a"].outcome == "refuted"
    assert parts["line a"].estimate < sizes.GOOD_LINE


def test_the_miss_is_relative_and_signed() -> None:
    """By hand: sizes one decade apart each, constants 1, 2, 3, 4 and then 4 where the line says 5."""
    found = np.array([1.0, 2.0, 3.0, 4.0, 4.0])[:, None]
    size = np.arange(5.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sizes, "LOG_SIZE", size)
        line, smaller = sizes.misses(found)
        assert line == pytest.approx(5 / 4 - 1)
        assert smaller == pytest.approx(0.0)
        assert sizes.slopes(found) == pytest.approx(0.8)
        assert sizes.line_r2(np.array([1.0, 2.0, 3.0, 4.0, 5.0])[:, None]) == pytest.approx(1.0)
        # Sum of squares 6.8 about the mean 2.8, of which the line explains 0.8^2 times 10.
        assert sizes.line_r2(found) == pytest.approx(6.4 / 6.8)


def test_a_size_that_matters_by_itself_refutes_the_control_and_nothing_else() -> None:
    verdict, parts = judged(house(equal=along))
    assert parts["control a"].outcome == "refuted"
    assert parts["control ceiling"].outcome == "refuted"
    assert verdict.outcome == "supported"


def test_the_common_window_undoes_what_unequal_spending_does() -> None:
    """One straight line in H for all: small policies spend less, so that the exponential's a differs, but not there."""
    records = {}
    for width, last in zip(sizes.WIDTHS, (1.2, 0.9, 0.6, 0.4, 0.2), strict=True):
        h = arm(1, 1, last)["entropy_train"]
        curves = {"entropy_train": h, "reward_test": 1 - 0.4 * h, "reward_train": 1 - 0.4 * h}
        records[f"width_{width}"] = Records({name: STEPS for name in curves}, curves)
    _, parts = judged(records)
    assert parts["window"].outcome == "supported"
    assert parts["window"].n == SEEDS
    assert abs(parts["window"].estimate) < 0.02


def test_the_size_is_the_number_of_parameters_without_embeddings() -> None:
    env = make("chain_reach")
    for width in (16, 64):
        policy = make_policy("mlp", env, [0], width=width)
        count = sum(p[0].numel() for name, p in policy.named_parameters() if name != "embedding")
        assert sizes.parameters(width) == count
    assert torch.is_tensor(policy.embedding)


@pytest.mark.parametrize("name", ["width_16", "width_256", "equal_64", "fast_16"])
def test_a_diverged_run_is_told_and_never_averaged(name: str) -> None:
    records = house()
    _, wanted = judged(records)
    verdict, parts = judged({**records, name: diverge(records[name], 2, at=20, wild=True)})
    assert "1 run diverged" in verdict.sentence
    for part_name, part in parts.items():
        assert part.outcome == wanted[part_name].outcome, part_name
        assert part.n in (SEEDS, SEEDS - 1)
        assert abs(part.estimate) < 10
        assert "nan" not in part.sentence


@pytest.mark.parametrize("name", ["width_16", "width_256", "equal_64", "fast_16"])
def test_a_size_that_diverged_altogether_decides_nothing(name: str) -> None:
    records = house()
    verdict, parts = judged({**records, name: lost(records[name])})
    assert f"{SEEDS} runs diverged" in verdict.sentence
    assert verdict.outcome == ("undecided" if name.startswith("width") else "supported")
    assert parts[name].outcome == "undecided"
    assert all("nan" not in part.sentence for part in (verdict, *parts.values()))


def test_two_seeds_decide_nothing() -> None:
    records = {
        name: dataclasses.replace(found, curves={m: v[:2] for m, v in found.curves.items()})
        for name, found in house().items()
    }
    verdict, parts = judged(records)
    assert {part.outcome for part in (verdict, *parts.values())} == {"undecided"}


@pytest.mark.parametrize("equal", [None, along])
def test_the_figure_can_be_drawn(equal: Constants | None) -> None:
    records = house(equal=equal)
    assert svg(sizes.figure(records)).startswith("<svg")
    for name in ("width_16", "width_256"):
        records[name] = lost(records[name])
    assert svg(sizes.figure(records)).startswith("<svg")


@pytest.mark.parametrize("size", ["quick", "standard", "full"])
def test_the_arms_differ_in_width_and_in_what_they_control(size: str) -> None:
    arms = sizes.arms(size)
    kinds = ["width"] if size == "quick" else ["width", "equal", "fast"]
    assert set(arms) == {f"{kind}_{w}" for kind in kinds for w in sizes.WIDTHS}
    assert len(sizes.WIDTHS) >= 5
    first = arms[f"width_{sizes.WIDTHS[0]}"]
    assert first.supervised is not None
    for name, setting in arms.items():
        kind, width = name.split("_")
        assert setting.policy.options == {"width": int(width)}
        assert setting.supervised is not None
        if kind == "equal":
            assert dataclasses.replace(setting.supervised, steps=first.supervised.steps) == first.supervised
            setting = dataclasses.replace(setting, supervised=first.supervised)
        if kind == "fast":
            assert setting.learning.learning_rate == 2 * first.learning.learning_rate
            setting = setting.with_learning(learning_rate=first.learning.learning_rate)
        assert dataclasses.replace(setting, policy=first.policy) == first
    study = sizes.STUDY
    assert all([run.seed for run in runs] == [0, 1, 2] for runs in study.runs(size, 3, "cpu").values())
