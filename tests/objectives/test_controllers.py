"""Controllers: against a twin with plain numbers, their bounds, their limit cycle, and inside the learner."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from toybed.agents.config import Learning
from toybed.agents.policies import make_policy
from toybed.agents.policy_gradient import PolicyGradient
from toybed.envs import make
from toybed.errors import ToybedError
from toybed.objectives import get, row
from toybed.objectives.controllers import AdaptiveEntropy, Controller, EntropyDoubling

STEERED = ("adaptive_entropy_skywork", "adaptive_entropy_trl", "adapo", "repo_r_steered")
entropies = st.lists(st.floats(0.0, 3.0), min_size=1, max_size=30)


def skywork(**changes: Any) -> AdaptiveEntropy:
    published = {"entropy_target": 0.2, "target_scale": "absolute"}
    return AdaptiveEntropy(**{**row("adaptive_entropy_skywork").controller.parameters, **published, **changes})  # type: ignore[union-attr]


def doubling(**changes: Any) -> EntropyDoubling:
    return EntropyDoubling(**{**row("adapo").controller.parameters, **changes})  # type: ignore[union-attr]


def follow(controller: Controller, history: Sequence[Sequence[float]]) -> list[dict[str, Tensor]]:
    """The parameters that a controller sets, for entropies ``[steps][S]``."""
    state, out = controller.begin(len(history[0])), []
    for entropy in history:
        seen = torch.tensor(entropy, dtype=torch.float64)
        state, values = controller.update(state, {"entropy": seen, "surprisal": seen})
        out.append(values)
    return out


def only(values: dict[str, Tensor]) -> list[float]:
    [value] = values.values()
    assert value.shape == (len(value), 1, 1, 1)
    return value.flatten().tolist()


def adaptive_twin(c: AdaptiveEntropy, history: Sequence[float]) -> list[float]:
    coefficient, out = 0.0, []
    for entropy in history:
        target = c.entropy_target * (history[0] if c.target_scale == "initial" else 1)
        below = entropy <= target if c.inclusive else entropy < target
        coefficient += c.coefficient_step if below else -c.coefficient_step
        coefficient = min(max(coefficient, 0.0), float(c.coefficient_cap))
        out.append(coefficient if below else 0.0)
    return out


@given(entropies, st.booleans(), st.sampled_from(["absolute", "initial"]), st.floats(0.0, 2.0))
def test_adaptive_entropy_twin(history: list[float], inclusive: bool, scale: str, target: float) -> None:
    controller = skywork(inclusive=inclusive, target_scale=scale, entropy_target=target, coefficient_cap=0.00035)
    got = [only(values)[0] for values in follow(controller, [[entropy] for entropy in history])]
    # Sums of thirty steps of 1e-4, each rounded: 30 * 30 * 1e-4 * 1.1e-16 < 1e-17.
    assert got == pytest.approx(adaptive_twin(controller, history), abs=1e-17)


def doubling_twin(c: EntropyDoubling, history: Sequence[float]) -> list[float]:
    value, out = float(c.start), []
    for entropy in history:
        if entropy < history[0]:
            value *= float(c.factor)
        elif entropy > history[0]:
            value /= float(c.factor)
        value = min(max(value, float(c.least)), float(c.most))
        out.append(value)
    return out


@given(entropies, st.floats(1.0, 3.0))
def test_doubling_twin(history: list[float], factor: float) -> None:
    # 0.25 and its doubles are exact in the state's float32 as well.
    controller = doubling(start=0.25, factor=factor, least=0.05, most=1.7)
    got = [only(values)[0] for values in follow(controller, [[entropy] for entropy in history])]
    assert got == pytest.approx(doubling_twin(controller, history), rel=1e-13)


def test_by_hand() -> None:
    """Skywork: up while below 0.2, down above it, never below 0; the bonus is off above the target, and at it."""
    history = [[0.3], [0.1], [0.1], [0.3], [0.2], [0.1]]
    expected = [0, 1e-4, 2e-4, 0, 0, 1e-4]  # inside: 0, 1e-4, 2e-4, 1e-4, 0, 1e-4
    assert [only(v)[0] for v in follow(skywork(), history)] == pytest.approx(expected, abs=1e-18)
    # TRL's comparison takes the target itself as below.
    inclusive = [only(v)[0] for v in follow(skywork(inclusive=True), history)]
    assert inclusive == pytest.approx([0, 1e-4, 2e-4, 0, 2e-4, 3e-4], abs=1e-18)
    # A share of the first entropy: 0.6 * 0.5 = 0.3.
    relative = skywork(entropy_target=0.5, target_scale="initial", coefficient_step=1.0, coefficient_cap=9.0)
    assert [only(v)[0] for v in follow(relative, [[0.6], [0.31], [0.29], [0.1]])] == [0.0, 0.0, 1.0, 2.0]
    # Doubling: kept at the first entropy, doubled below it, halved above it, held in its bounds.
    doubled = [
        only(v)[0] for v in follow(doubling(start=0.25, least=0.125, most=0.5), [[1.0], [0.9], [0.8], [1.0], [2.0]])
    ]
    assert doubled == [0.25, 0.5, 0.5, 0.5, 0.25]


@given(st.lists(st.floats(0.0, 3.0), min_size=1, max_size=200))
def test_bounded(history: list[float]) -> None:
    for values in follow(skywork(coefficient_step=0.3, coefficient_cap=0.7), [[h] for h in history]):
        assert 0 <= only(values)[0] <= 0.7
    for values in follow(doubling(start=0.25, least=0.03125, most=2.0), [[h] for h in history]):
        assert 0.03125 <= only(values)[0] <= 2.0


@given(st.lists(st.floats(0.2, 3.0), min_size=1, max_size=30))
def test_inactive_above_the_target(history: list[float]) -> None:
    assert all(only(values) == [0.0] for values in follow(skywork(), [[h] for h in history]))


def test_limit_cycle() -> None:
    """Entropy that falls by 0.01 a step and rises by 40 c: the controller holds it about its target, and never rests.

    Above the target c is 0 in the loss and entropy falls by 0.01. Below it entropy changes by 40 c - 0.01, at most by
    0.03 with the cap of 0.001, so it ends at most 0.03 above. Each step below adds 0.004 to 40 c: from any c the fall
    is over after three steps, which lose less than 0.01 + 0.006 + 0.002 after the 0.01 of crossing.
    """
    controller, entropy, path = skywork(coefficient_cap=0.001), 0.5, []
    state = controller.begin(1)
    for _ in range(400):
        seen = torch.tensor([entropy], dtype=torch.float64)
        state, values = controller.update(state, {"surprisal": seen})
        entropy += 40 * only(values)[0] - 0.01
        path.append(entropy)
    settled = path[100:]
    assert all(0.2 - 0.03 <= h <= 0.2 + 0.03 for h in settled)
    crossings = sum((a < 0.2) != (b < 0.2) for a, b in pairwise(settled))
    assert crossings > 10
    # A fixed point would be a coefficient that stays.
    assert len({round(h, 6) for h in settled[-40:]}) > 1


@given(st.lists(st.tuples(st.floats(0, 3), st.floats(0, 3), st.floats(0, 3)), min_size=1, max_size=20))
def test_a_run_in_a_stack_is_the_run_alone(history: list[tuple[float, float, float]]) -> None:
    factors = torch.tensor([1.5, 2.0, 3.0], dtype=torch.float64).view(3, 1, 1, 1)
    targets = torch.tensor([0.1, 0.9, 2.0], dtype=torch.float64).view(3, 1, 1, 1)
    makers = [
        lambda s: doubling(factor=factors if s is None else float(factors[s])),
        lambda s: skywork(entropy_target=targets if s is None else float(targets[s])),
    ]
    for maker in makers:
        together = [only(values) for values in follow(maker(None), history)]
        for s in range(3):
            single = [only(values)[0] for values in follow(maker(s), [[step[s]] for step in history])]
            assert single == [step[s] for step in together]


def test_a_run_that_diverges_leaves_the_others_alone() -> None:
    history = [[0.5, 0.5], [float("nan"), 0.1], [float("nan"), 0.1]]
    for controller in (skywork(), doubling()):
        both = [only(values)[1] for values in follow(controller, history)]
        assert both == [only(values)[0] for values in follow(controller, [[h[1]] for h in history])]


def test_pure_picklable_and_resumable() -> None:
    first, later = torch.tensor([0.5, 0.1]), torch.tensor([0.1, 0.3])
    for controller in (skywork(), doubling()):
        begun = controller.begin(2)
        before = {name: value.clone() for name, value in begun.items()}
        state, _ = controller.update(begun, {"entropy": first, "surprisal": first})
        for name, value in begun.items():
            assert torch.equal(value.nan_to_num(-1), before[name].nan_to_num(-1))
        copied, saved = pickle.loads(pickle.dumps((controller, state)))
        assert copied == controller
        seen = {"entropy": later, "surprisal": later}
        assert only(copied.update(saved, seen)[1]) == only(controller.update(state, seen)[1])


def test_an_unknown_measure_or_scale_is_an_error() -> None:
    with pytest.raises(ToybedError, match="surprisal"):
        skywork(watched="surprise")
    with pytest.raises(ToybedError, match="target_scale"):
        skywork(target_scale="relative")
    with pytest.raises(ToybedError, match="entropy"):
        doubling(watched="entropie")


# In the learner -------------------------------------------------------------------------------------------------------


def learner(name: str, seeds: list[int], **overrides: Any) -> PolicyGradient:
    env = make("chain_reach", length=3)
    config = Learning(prompts=8, group=4, minibatches=2, learning_rate=0.05)
    return PolicyGradient(env, make_policy("tabular", env, seeds), get(name, **overrides), config, seeds)


@pytest.mark.parametrize("name", STEERED)
def test_the_learner_is_steered(name: str) -> None:
    training, controller = learner(name, [0, 1]), get(name).controller
    assert controller is not None
    state = controller.begin(2)
    for _ in range(4):
        measured = training.update()
        state, expected = controller.update(state, measured)
        for parameter, value in expected.items():
            assert torch.equal(measured[f"controlled_{parameter}"], value.flatten())
            # What the next loss is taken with.
            bound = [
                stage.keywords[parameter]
                for stage in (
                    training.objective.advantage,
                    training.objective.surrogate,
                    *training.objective.regularizers,
                )
                if parameter in getattr(stage, "keywords", {})
            ]
            assert len(bound) == 1 and torch.equal(bound[0], value)
    assert training.controller_state is not None
    for key, value in state.items():
        assert torch.equal(training.controller_state[key], value)
    assert not bool(training.diverged.any())


@pytest.mark.parametrize("name", STEERED)
def test_a_stacked_learner_is_each_alone(name: str) -> None:
    together = learner(name, [3, 4])
    singles = [learner(name, [seed]) for seed in (3, 4)]
    for _ in range(3):
        measured = together.update()
        for s, single in enumerate(singles):
            for key, value in single.update().items():
                # A norm is a long sum, whose order may depend on how many runs are stacked; it clips nothing here.
                tolerance = 1e-5 if key == "grad_norm" else 0.0
                torch.testing.assert_close(measured[key][s : s + 1], value, rtol=tolerance, atol=0)


def test_a_learner_goes_on_from_a_saved_state() -> None:
    training, other = learner("adaptive_entropy_trl", [0]), learner("adaptive_entropy_trl", [0])
    for _ in range(3):
        training.update()
    other.controller_state = pickle.loads(pickle.dumps(training.controller_state))
    assert other.controller_state is not None and training.controller_state is not None
    seen = {"entropy": torch.tensor([0.1])}
    controller = training.objective.controller
    assert controller is not None
    again, once = (controller.update(each.controller_state, seen)[1] for each in (other, training))  # type: ignore[arg-type]
    assert only(again) == only(once)


def test_an_objective_without_a_controller_reports_none() -> None:
    training = learner("grpo", [0])
    assert training.controller_state is None
    assert not [name for name in training.update() if name.startswith("controlled_")]


def test_controllers_name_a_parameter_of_their_row() -> None:
    for name in STEERED:
        controller = get(name).controller
        assert controller is not None
        seen = {"entropy": torch.ones(1), "surprisal": torch.ones(1)}
        _, values = controller.update(controller.begin(1), seen)
        get(name).with_parameters(**values)
