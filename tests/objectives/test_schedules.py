"""Schedules: their shapes, their JSON, and what an objective and a learner make of them."""

from __future__ import annotations

import json
import math
import pickle
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from toybed.agents.config import Learning, Setting, Spec
from toybed.agents.policies import make_policy
from toybed.agents.policy_gradient import PolicyGradient
from toybed.envs import make
from toybed.errors import ToybedError
from toybed.objectives import get, row
from toybed.objectives.schedules import (
    SCHEDULES,
    Blocks,
    Constant,
    Cosine,
    Linear,
    Oscillation,
    Rise,
    Schedule,
    Step,
    read,
)
from toybed.study import Run

EVERY: tuple[Any, ...] = (
    Constant(0.3),
    Linear(1.0, 0.2),
    Cosine(1.0, 0.2),
    Rise(0.1, 0.7, 0.2, at=0.25),
    Step(0.5, 0.1, at=0.75),
    Oscillation(0.5, 0.25, cycles=2.0, decay=1.0),
    Blocks((0.4, 0.1, 0.3)),
)
each = pytest.mark.parametrize("schedule", EVERY, ids=lambda schedule: schedule.kind)
progress = st.floats(0.0, 1.0)


def twin(schedule: Any, p: float) -> float:
    """The same in plain words, one kind after the other."""
    match schedule:
        case Constant(value=value):
            return value
        case Linear(start=start, end=end):
            return (1 - p) * start + p * end
        case Cosine(start=start, end=end):
            return end + (start - end) * math.cos(math.pi * p / 2) ** 2
        case Rise(start=start, peak=peak, end=end, at=at):
            return start + (peak - start) * p / at if p < at else end + (peak - end) * (1 - p) / (1 - at)
        case Step(before=before, after=after, at=at):
            return before if p < at else after
        case Oscillation(mean=mean, amplitude=amplitude, cycles=cycles, decay=decay):
            return mean + amplitude * (1 - decay * p) * math.sin(2 * math.pi * cycles * p)
        case Blocks(values=values):
            return values[sum(p * len(values) + 1e-9 >= border for border in range(1, len(values)))]
    raise AssertionError


@each
@given(p=progress)
def test_twin(schedule: Any, p: float) -> None:
    # A few roundings of numbers up to 1.
    assert schedule(p) == pytest.approx(twin(schedule, p), abs=1e-14)


@each
@given(p=progress)
def test_it_stays_between_its_turns(schedule: Any, p: float) -> None:
    assert min(schedule.turns) - 1e-15 <= schedule(p) <= max(schedule.turns) + 1e-15


def test_every_kind_is_tried() -> None:
    assert [schedule.kind for schedule in EVERY] == list(SCHEDULES)
    assert all(isinstance(schedule, Schedule) for schedule in EVERY)


def test_ends() -> None:
    """Where a run begins and where it ends."""
    for fall in (Linear(0.9, 0.3), Cosine(0.9, 0.3)):
        assert fall(0.0) == 0.9
        assert fall(1.0) == pytest.approx(0.3, abs=1e-16)
        assert fall(0.5) == pytest.approx(0.6, abs=1e-15)
    assert (Rise(0.0, 1.0, 0.5)(0.5), Rise(0.0, 1.0, 0.5)(1.0)) == (1.0, 0.5)
    assert Step(1.0, 2.0)(0.5) == 2.0
    assert Oscillation(0.5, 0.2, decay=1.0)(1.0) == pytest.approx(0.5)


@given(st.integers(1, 12), st.integers(1, 12))
def test_blocks_hold_for_equally_many_updates(blocks: int, each_of: int) -> None:
    """K blocks and K m updates: value k for updates k m to k m + m - 1, whatever the roundings of i / (n - 1)."""
    updates = blocks * each_of
    schedule = Blocks(tuple(range(blocks)))
    got = [schedule(i / max(updates - 1, 1)) for i in range(updates)]
    assert got == [k for k in range(blocks) for _ in range(each_of)]


@each
@given(p=progress)
def test_each_run_of_a_stack_has_its_own(schedule: Any, p: float) -> None:
    """The same schedule with tensors gives each run what numbers would: rounded once, to the tensor's type."""
    numbers = [name for name in schedule.__dataclass_fields__ if name not in ("kind", "at", "cycles", "decay")]

    def scaled(factor: float | torch.Tensor) -> dict[str, Any]:
        own: dict[str, Any] = {}
        for name in numbers:
            value = getattr(schedule, name)
            own[name] = tuple(factor * x for x in value) if name == "values" else factor * value
        return own

    rest = {n: getattr(schedule, n) for n in ("at", "cycles", "decay") if n in schedule.__dataclass_fields__}
    factors = (0.5, 1.0, 4.0)  # powers of two: scaling rounds nothing
    stacked = type(schedule)(**scaled(torch.tensor(factors, dtype=torch.float64).view(3, 1, 1, 1)), **rest)
    alone = [type(schedule)(**scaled(factor), **rest)(p) for factor in factors]
    assert stacked(p).flatten().tolist() == alone


def test_tensors_are_rounded_once() -> None:
    start, end = torch.tensor([0.1, 0.7]).view(2, 1, 1, 1), torch.tensor([0.3, 0.2]).view(2, 1, 1, 1)
    got = Linear(start, end)(1 / 3)
    for s in range(2):
        exact = float(start[s]) + (float(end[s]) - float(start[s])) / 3
        assert got.dtype == torch.float32 and got[s].item() == torch.tensor(exact, dtype=torch.float32).item()


def test_a_population_is_a_table_of_values() -> None:
    table = torch.tensor([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]])
    schedule = Blocks.population(table)
    for place, p in enumerate((0.0, 0.5, 1.0)):
        assert schedule(p).shape == (2, 1, 1, 1)
        assert torch.equal(schedule(p).flatten(), table[:, place])


# JSON -----------------------------------------------------------------------------------------------------------------


@each
def test_a_schedule_survives_json_and_pickle(schedule: Any) -> None:
    config = Spec("grpo", {"entropy_coefficient": schedule})
    kept = json.loads(json.dumps(Setting(objective=config).config()))["objective"]["options"]["entropy_coefficient"]
    assert kept["kind"] == schedule.kind
    assert read(kept) == schedule
    assert pickle.loads(pickle.dumps(schedule)) == schedule
    assert get("grpo", entropy_coefficient=kept).schedules == {"entropy_coefficient": schedule}


def test_a_schedule_is_part_of_a_runs_name() -> None:
    """Also where two kinds have the same numbers; and it does not matter how it was written down."""

    def name(value: Any) -> str:
        return Run(Setting(objective=Spec("grpo", {"entropy_coefficient": value})), 0, "cpu").id

    fall = Linear(0.02, 0.0)
    written = {"kind": "linear", "start": 0.02, "end": 0.0}
    assert name(fall) == name(written)
    assert len({name(fall), name(Cosine(0.02, 0.0)), name(Linear(0.02, 0.01)), name(0.02)}) == 4


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"kind": "liner", "start": 1.0, "end": 0.0}, "unknown schedule 'liner': did you mean 'linear'?"),
        ({"start": 1.0}, "unknown schedule 'None'"),
        ({"kind": "linear", "start": 1.0, "stop": 0.0}, "unknown field of the schedule linear 'stop'"),
        ({"kind": "linear", "start": 1.0}, "schedule linear needs start, end; given: start"),
        ({"kind": "blocks", "values": []}, "schedule blocks: there are no values"),
        ({"kind": "step", "before": 1.0, "after": 0.0, "at": 1.0}, "schedule step: at is 1.0"),
        ({"kind": "oscillation", "mean": 1.0, "amplitude": 0.1, "cycles": 0}, "schedule oscillation: cycles is 0"),
        ({"kind": "oscillation", "mean": 1.0, "amplitude": 0.1, "decay": 2}, "schedule oscillation: decay is 2"),
    ],
)
def test_what_is_wrong_is_said(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ToybedError) as error:
        get("grpo", entropy_coefficient=given)
    assert str(error.value).startswith(message)


# In an objective ------------------------------------------------------------------------------------------------------


def test_an_objective_follows_its_schedules() -> None:
    objective = get("dapo", clip_high=Linear(0.3, 0.1), entropy_coefficient=Step(0.02, 0.0))
    assert objective.parameters["clip_high"] == 0.3 and objective.parameters["entropy_coefficient"] == 0.02
    later = objective.at(1.0)
    assert later.parameters["clip_high"] == pytest.approx(0.1) and later.parameters["entropy_coefficient"] == 0.0
    assert later.at(0.0).parameters == objective.parameters
    assert get("dapo").at(0.5) is not None and not get("dapo").schedules


def test_a_target_moves() -> None:
    """The parameter of a controller may have a schedule as any other."""
    objective = get("adaptive_entropy_trl", entropy_target=Linear(0.8, 0.4))
    controller = objective.at(0.5).controller
    assert controller is not None and controller.entropy_target == pytest.approx(0.6)  # type: ignore[attr-defined]
    assert row("adaptive_entropy_trl").controller is not None


def test_what_has_no_schedule_is_refused() -> None:
    with pytest.raises(ToybedError, match="only numbers have a schedule"):
        get("adaptive_entropy_trl", watched=Constant(1.0))
    with pytest.raises(ToybedError, match="clip_high has a schedule, and the controller sets it"):
        get("adapo", clip_high=Linear(0.3, 0.1))
    with pytest.raises(ToybedError, match=r"clip_high is -0.1; allowed: at least 0"):
        get("grpo", clip_high=Linear(0.3, -0.1))
    with pytest.raises(ToybedError, match="unknown parameter of grpo 'clip_hgh'"):
        get("grpo", clip_hgh=Linear(0.3, 0.1))


# In the learner -------------------------------------------------------------------------------------------------------


def learner(seeds: list[int], name: str = "grpo", updates: int = 6, **overrides: Any) -> PolicyGradient:
    env = make("chain_reach", modulus=13, length=3)
    config = Learning(updates=updates, prompts=8, group=4, minibatches=2, learning_rate=0.05)
    return PolicyGradient(env, make_policy("tabular", env, seeds), get(name, **overrides), config, seeds)


def table(training: PolicyGradient) -> torch.Tensor:
    return training.policy.table(training.env)


def test_the_learner_follows_a_schedule() -> None:
    training = learner([0, 1], entropy_coefficient=Linear(0.5, 0.0), clip_high=Blocks((0.2, 0.3)))
    seen = [training.update() for _ in range(8)]
    for update, measured in enumerate(seen):
        p = min(update / 5, 1.0)  # two more updates than there should be keep the last value
        assert measured["scheduled_entropy_coefficient"].tolist() == pytest.approx([0.5 * (1 - p)] * 2)
        assert measured["scheduled_clip_high"].tolist() == pytest.approx([0.2 if update < 3 else 0.3] * 2)


def test_a_constant_schedule_is_the_number() -> None:
    plain, scheduled = learner([3], entropy_coefficient=0.02), learner([3], entropy_coefficient=Constant(0.02))
    for _ in range(4):
        plain.update(), scheduled.update()
    assert torch.equal(table(plain), table(scheduled))


def test_a_schedule_is_another_number_at_each_update() -> None:
    """By hand: the objective is given the values one after the other."""
    scheduled, by_hand = learner([3], entropy_coefficient=Linear(0.4, 0.0)), learner([3], entropy_coefficient=0.4)
    for update in range(6):
        by_hand.objective = by_hand.objective.with_parameters(entropy_coefficient=Linear(0.4, 0.0)(update / 5))
        by_hand.update(), scheduled.update()
    assert torch.equal(table(by_hand), table(scheduled))


@pytest.mark.parametrize("parameter", ["entropy_coefficient", "clip_high", "sampling_temperature"])
def test_a_population_of_schedules_is_each_run_alone(parameter: str) -> None:
    """Three runs with values of their own in one program; each is, bit for bit, the run alone."""
    values = torch.tensor([[0.3, 0.05], [0.1, 0.2], [1.0, 0.5]])
    together = learner([5, 6, 7], **{parameter: Blocks.population(values)})
    for _ in range(6):
        together.update()
    for s, seed in enumerate((5, 6, 7)):
        alone = learner([seed], **{parameter: Blocks.population(values[s : s + 1])})
        for _ in range(6):
            alone.update()
        assert torch.equal(table(alone)[0], table(together)[s])


def test_a_moving_target_is_followed_by_each_run() -> None:
    """A population of target schedules, under a controller."""
    targets = torch.tensor([[0.9, 0.1], [0.0, 2.0]])
    training = learner([1, 2], "adaptive_entropy_trl", entropy_target=Blocks.population(targets))
    seen = [training.update()["controlled_entropy_coefficient"].tolist() for _ in range(6)]
    # Entropy starts at its first value: above 0.9 and 0.1 of it at first, and below twice of it in the second half.
    assert [a > 0 for a, _ in seen][:1] == [False] and [b > 0 for _, b in seen] == [False] * 3 + [True] * 3


def test_a_learner_that_is_kept_goes_on_as_if_nothing_had_been() -> None:
    """Pickled in the middle of schedules, controller and curriculum state: bit for bit the uninterrupted run."""
    whole = learner([1, 2], "entrocraft")
    for _ in range(3):
        whole.update()
    kept = pickle.loads(pickle.dumps(whole))
    for _ in range(3):
        first, second = whole.update(), kept.update()
        for name, value in first.items():
            assert torch.equal(value, second[name]), name
    assert torch.equal(table(whole), table(kept))
