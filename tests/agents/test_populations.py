"""Runs that differ in numbers of their objective train in one program, and each has in it the numbers it has alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from toybed.agents.config import (
    Adaptation,
    Critique,
    Curriculum,
    Heads,
    Imitation,
    Learning,
    Meta,
    Setting,
    Soft,
    Spec,
    Start,
    Supervised,
)
from toybed.agents.populations import of_each, population
from toybed.agents.training import train_bases
from toybed.errors import ToybedError
from toybed.objectives.schedules import Blocks
from toybed.stacking import Stack, compute, split
from toybed.study import Run

WORLD = Spec("answer_bandit", {"prompt_count": 6, "answers": 5, "correct": 2, "rank": 2})
LEARNING = Learning(updates=6, prompts=4, group=4, minibatches=2, learning_rate=0.1, measure_every=3)
BASE = Setting(Spec("grpo"), WORLD, Spec("tabular"), Supervised(steps=2, demonstrations=8), LEARNING)


def with_blocks(
    *values: float, name: str = "grpo", parameter: str = "entropy_coefficient", **options: object
) -> Setting:
    blocks = {"kind": "blocks", "values": list(values)}
    return replace(BASE, objective=Spec(name, {parameter: blocks, **options}))


def with_numbers(name: str, **options: object) -> Setting:
    return replace(BASE, objective=Spec(name, options))


POPULATIONS = {
    "bonus": [with_blocks(0.3, 0.0), with_blocks(0.01, 0.07), with_blocks(0.1, 0.1)],
    "target": [
        with_blocks(*values, name="adaptive_entropy_trl", parameter="entropy_target")
        for values in ((0.9, 0.2), (0.3, 0.7), (0.1, 1 / 3))
    ],
    "temperature": [with_blocks(*values, parameter="sampling_temperature") for values in ((1.3, 0.7), (1.0, 1.1))],
    "clip": [with_blocks(*values, parameter="clip_high") for values in ((0.3, 0.1), (0.2, 0.7))],
    "number": [with_numbers("grpo", entropy_coefficient=value) for value in (0, 0.01, 1 / 3)],
    "two numbers": [with_numbers("ppo", clip_low=low, clip_high=0.5 - low) for low in (0.1, 0.2)],
    "number of a controller": [with_numbers("adaptive_entropy_trl", entropy_target=value) for value in (0.2, 0.7)],
    "number of the sampling": [with_numbers("grpo", sampling_temperature=value) for value in (0.7, 1.3)],
    "number of the weight": [with_numbers("difficulty_weighted", alpha=value) for value in (0.0, 0.2, 0.5)],
    "share of the tokens": [with_numbers("clip_cov", share=value) for value in (0.1, 0.4)],
    "number and blocks": [
        with_blocks(0.3, 0.1, clip_high=0.3),
        with_blocks(0.1, 0.2, clip_high=0.2),
    ],
}


@pytest.mark.parametrize("settings", POPULATIONS.values(), ids=POPULATIONS.keys())
def test_a_run_in_a_population_is_the_run_alone(settings: list[Setting]) -> None:
    runs = [Run(setting, seed) for setting in settings for seed in (3, 4)]
    (part,) = split(runs, 1)
    assert part == runs
    starts = np.concatenate([train_bases(run.setting, [run.seed]) for run in runs])
    together, _ = compute(Stack(tuple(runs), starts), lambda *_: None)
    for i, run in enumerate(runs):
        (alone,), _ = compute(Stack((run,), starts[i : i + 1]), lambda *_: None)
        assert alone.curves.keys() == together[i].curves.keys()
        for name, curve in alone.curves.items():
            np.testing.assert_array_equal(curve.values, together[i].curves[name].values, err_msg=name)


def test_its_values_are_followed() -> None:
    """Each run's own: 0.3 for the first half of the updates, 0 for the second."""
    runs = tuple(Run(setting, 3) for setting in POPULATIONS["bonus"])
    starts = np.concatenate([train_bases(run.setting, [run.seed]) for run in runs])
    results, _ = compute(Stack(runs, starts), lambda *_: None)
    seen = [result.curves["sampled_scheduled_entropy_coefficient"].values for result in results]
    np.testing.assert_allclose(seen, [[0.3, 0.0], [0.01, 0.07], [0.1, 0.1]], rtol=1e-6)


def test_runs_that_differ_in_more_have_programs_of_their_own() -> None:
    settings = [
        with_blocks(0.3, 0.0),
        with_blocks(0.1, 0.2),
        with_blocks(0.1, 0.2, 0.3),
        with_blocks(0.1, 0.2, clip_high=0.3),
        BASE,
        with_numbers("grpo", entropy_coefficient=0.1),
        with_numbers("ppo", entropy_coefficient=0.1),
    ]
    parts = split([Run(setting, 3) for setting in settings], 1)
    assert [[settings.index(run.setting) for run in part] for part in parts] == [[0, 1], [2], [3], [4], [5], [6]]


@pytest.mark.parametrize("order", [1, -1])
def test_an_option_that_is_none_is_no_number(order: int) -> None:
    settings = [with_numbers("grpo", dual_clip=value) for value in (None, 3.0, 4.0)][::order]
    parts = split([Run(setting, 3) for setting in settings], 1)
    assert sorted([len(part) for part in parts]) == [1, 2]
    assert population([settings[order != 1 and 2]]) is None  # alone, it has no numbers of its own


def test_runs_that_start_elsewhere_share_a_program_if_as_many_came_before() -> None:
    before = [with_numbers("grpo", clip_high=0.2), with_numbers("ppo")]
    after = [replace(BASE, start=Start(after=each, keep=keep)) for each in before for keep in (1.0, 0.5)]
    later = replace(BASE, start=Start(after=after[0]))
    parts = split([Run(setting, 3) for setting in (BASE, *after, later)], 1)
    assert [[run.setting for run in part] for part in parts] == [[BASE], after, [later]]


def test_only_numbers_that_a_stage_takes_for_each_run_may_differ() -> None:
    """``k`` is a number of samples, and ``floor`` has one for each run; a text or a switch is neither."""
    setting = with_numbers("passk", k=2, floor=1e-4)
    assert of_each(setting) == {"floor": 1e-4}
    meta = Meta(adaptation=Adaptation(objective=Spec("grpo"), steps=1, group=4, rate=0.1))
    assert of_each(replace(setting, learner=meta)) == {}


def test_a_record_counts_like_its_json() -> None:
    own = Spec("grpo", {"entropy_coefficient": Blocks((0.3, 0.0)), "clip_high": 0.3})
    assert own.blocks == with_blocks(0.3, 0.0).objective.blocks == {"entropy_coefficient": [0.3, 0.0]}
    assert Spec("grpo", {"entropy_coefficient": {"kind": "constant", "value": 0.1}}).blocks == {}


def test_without_numbers_of_its_own_there_is_no_population() -> None:
    assert population([BASE]) is None


def test_a_value_that_is_not_allowed_is_refused() -> None:
    with pytest.raises(ToybedError, match="entropy_coefficient"):
        population([with_blocks(0.1, 0.2), with_blocks(0.1, -0.2)])
    with pytest.raises(ToybedError, match="clip_high"):
        population([with_numbers("grpo", clip_high=value) for value in (0.2, -0.2)])


PLANS = Setting(
    Spec("hicra", {"alpha": 0.2}),
    Spec("plan_exec", {"types": 4, "values": 5, "stages": 2}),
    Spec("mlp", {"width": 8}),
    Supervised(steps=3, demonstrations=8),
    Learning(updates=4, prompts=4, group=4, minibatches=2, learning_rate=0.01, measure_every=2),
)
IN_WORLDS = {
    "table": replace(PLANS, policy=Spec("tabular")),
    "network, and probes of its start": replace(PLANS, probes=("hybrids",)),
    "steering": replace(PLANS, probes=("steering",)),
    "transformer": replace(
        PLANS,
        world=Spec("plan_exec", {"types": 4, "values": 5, "stages": 2, "view": "tokens"}),
        policy=Spec("transformer", {"width": 8, "layers": 1}),
        probes=("sampled_hybrids",),
    ),
    "critiques": replace(PLANS, objective=Spec("critique_grpo"), learner=Critique(refined=1, noise=0.25)),
    "solutions": replace(PLANS, objective=Spec("critique_grpo"), learner=Critique(refined=1, degree="solution")),
    "imitation": replace(PLANS, learner=Imitation(demonstrator={"execution": 0.9})),
    "sampled anew": replace(PLANS, objective=Spec("dapo")),
    "part of the prompts": PLANS.with_learning(train_on=(0.5, 1.0)),
    "easy ones first": PLANS.with_learning(curriculum=Curriculum("easy_first", start=0.2, full=0.5)),
    "noise of the world": replace(
        PLANS, world=Spec("tool_search", {}), objective=Spec("grpo"), policy=Spec("tabular"), supervised=None
    ),
    "chains": replace(PLANS, world=Spec("chain_reach", {"modulus": 11}), objective=Spec("ppo_gae")),
}


@pytest.mark.parametrize("setting", IN_WORLDS.values(), ids=IN_WORLDS.keys())
def test_a_run_among_other_worlds_is_the_run_alone(setting: Setting) -> None:
    """From its base on, in all that is measured and in its parameters, bit for bit."""
    runs = [Run(setting.in_world(seed), seed) for seed in (3, 4, 5)]
    (part,) = split(runs, 1)
    assert part == runs
    starts = compute(Stack(tuple(runs), None), lambda *_: None)
    together, _ = compute(Stack(tuple(runs), starts, keep=True), lambda *_: None)
    for i, run in enumerate(runs):
        np.testing.assert_array_equal(compute(Stack((run,), None), lambda *_: None)[0], starts[i])
        (alone,), _ = compute(Stack((run,), starts[i : i + 1], keep=True), lambda *_: None)
        assert alone.curves.keys() == together[i].curves.keys()
        for name, curve in alone.curves.items():
            np.testing.assert_array_equal(curve.values, together[i].curves[name].values, err_msg=name)
        np.testing.assert_array_equal(alone.parameters, together[i].parameters)
    assert len({result.curves["entropy_test"].values.tobytes() for result in together}) == 3


def test_who_takes_part_in_no_stack_of_worlds() -> None:
    """Soft actor-critics, heads and policies of one's own do not know of it; four runs in a world need no others."""
    own = Spec("toybed.examples.own_policy:Net")
    settings = [replace(PLANS, learner=Soft()), replace(PLANS, heads=Heads(2)), replace(PLANS, policy=own)]
    for setting in settings:
        assert len(split([Run(setting.in_world(seed), seed) for seed in (3, 4)], 1)) == 2
    runs = [Run(PLANS.in_world(world), seed) for world in (0, 1) for seed in range(4)]
    assert [len(part) for part in split(runs, 1)] == [4, 4]
