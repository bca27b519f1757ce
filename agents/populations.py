"""Runs that differ in the numbers of their objective, or in what was drawn in their world, train in one program.

In the program such a number is a tensor with one entry for each run, and a schedule of blocks has tensors for values. A
run alone is a population of one, so that its numbers are those that it has in any other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from toybed.agents.config import Critique, Imitation, Meta, Setting
from toybed.agents.spec import Spec
from toybed.objectives import catalogue
from toybed.objectives.objective import Objective
from toybed.objectives.schedules import Blocks
from toybed.own import is_own


def of_each(setting: Setting) -> dict[str, Any]:
    """What may differ between the objectives of runs in one program, by name: numbers, and lists of blocks.

    A number may, if its stage takes one for each run. Meta-learning takes none: it has a policy for each task. Only
    what a setting names counts: a default that is written out makes another program than one that is not.
    """
    spec = setting.objective
    if is_own(spec.name) or isinstance(setting.learner, Meta):
        return spec.blocks
    stages = catalogue.row(spec.name).override(**spec.options).stages().values()
    numbers = {
        name: spec.options[name]
        for stage in (each for several in stages for each in several)
        for name in stage.parameters
        if type(spec.options.get(name)) in (int, float) and stage.stackable(name)
    }
    return spec.blocks | numbers


def shape_of(setting: Setting) -> dict[str, Any]:
    """The setting's JSON without what may differ between runs of one program: equal where runs may share one."""
    config = setting.with_learning(learning_rate=1.0).config()
    # Something that no option can be: an option that is None, or a schedule, is no number.
    blank = {name: {"each": _count(value)} for name, value in of_each(setting).items()}
    config["objective"]["options"] = {**config["objective"]["options"], **blank}
    if _worlds_stack(setting):
        config["world"]["options"] = {**config["world"]["options"], "table_seed": None}
    # The parameters with which a run starts are handed to the program: of those before it counts how many there were.
    config["start"] = {**config["start"], "after": setting.start.stage, "keep": None}
    return config


def _count(value: float | list[float]) -> str:
    return f"{len(value)} blocks" if isinstance(value, list) else "number"


def worlds_of(settings: Sequence[Setting]) -> list[Spec] | None:
    """The world of each run of a stack; None where all are in one."""
    worlds = [setting.world for setting in settings]
    return None if all(world == worlds[0] for world in worlds) else worlds


def _worlds_stack(setting: Setting) -> bool:
    """Whether runs in other worlds, drawn by other seeds, may share its program."""
    plain = setting.learner is None or isinstance(setting.learner, Critique | Imitation)
    own = is_own(setting.world.name) or is_own(setting.policy.name)  # which may read anything of one world
    return plain and setting.adaptation is None and setting.heads.count == 1 and not own


def population(settings: Sequence[Setting], device: str = "cpu") -> Objective | None:
    """The objective of a stack of runs, each with numbers of its own; None where they have none.

    Args:
        settings: of each run, of one :func:`shape_of`.
        device: where the numbers go.

    Raises:
        ToybedError: a value is not allowed.
    """
    each = [of_each(setting) for setting in settings]
    assert all(values.keys() == each[0].keys() for values in each), "runs of one program have the same numbers"
    if not each[0]:
        return None
    for setting in settings:
        catalogue.get(setting.objective.name, **setting.objective.options)  # values in tensors are not checked any more
    together = {name: _together([values[name] for values in each], device) for name in each[0]}
    spec: Spec = settings[0].objective
    options: Mapping[str, Any] = {**spec.options, **together}
    return catalogue.get(spec.name, **options)


def _together(values: Sequence[Any], device: str) -> Tensor | Blocks:
    table = torch.tensor(values, dtype=torch.float32, device=device)
    return table.view(-1, 1, 1, 1) if table.ndim == 1 else Blocks.population(table)
