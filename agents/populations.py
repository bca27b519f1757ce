"""Runs that differ in the values of their schedules train in one program: a population of schedules.

In the program a schedule of blocks has tensors for values, with one entry for each run. A run alone is a population of
one, so that its numbers are those that it has in any other.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from toybed.agents.spec import Spec
from toybed.objectives import catalogue
from toybed.objectives.objective import Objective
from toybed.objectives.schedules import Blocks


def population(specs: Sequence[Spec], device: str = "cpu") -> Objective | None:
    """The objective of a stack of runs, each with blocks of its own; None where they have none.

    Args:
        specs: the objective of each run, alike but for the values of their blocks.
        device: where the values go.

    Raises:
        ToybedError: a value is not allowed.
    """
    names = specs[0].blocks
    if not names:
        return None
    for spec in specs:
        catalogue.get(spec.name, **spec.options)  # values in tensors are not checked any more
    values = {name: torch.tensor([spec.blocks[name] for spec in specs], device=device) for name in names}
    blocks = {name: Blocks.population(value.float()) for name, value in values.items()}
    return catalogue.get(specs[0].name, **{**specs[0].options, **blocks})
