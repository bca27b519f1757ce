"""Measurements that only some questions ask for, taken at the start and at the end of a run, by name.

A probe gets the world, the policies as tables ``[S, C, V]`` and those that the runs started with, and returns measures
``[S]`` by name; NaN where a run has nothing to measure.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from torch import Tensor

from toybed.envs.core import TokenEnv
from toybed.errors import unknown

Probe = Callable[[TokenEnv, Tensor, Tensor], dict[str, Tensor]]

PROBES = {
    "answer_search": "toybed.agents.probes.answer_search:answer_search",
    "best_answers": "toybed.agents.probes.best_answers:best_answers",
    "first_steps": "toybed.agents.probes.first_steps:first_steps",
    "trajectories": "toybed.agents.probes.trajectories:trajectories",
    "heads": "toybed.agents.probes.heads:heads",
    "masters": "toybed.agents.probes.masters:masters",
    "start_mixtures": "toybed.agents.probes.start_mixtures:start_mixtures",
}
"""Where each probe's function is, by name."""


def get_probe(name: str) -> Probe:
    """The named probe.

    Raises:
        ToybedError: there is none; the message has the nearest one.
    """
    if name not in PROBES:
        raise unknown("probe", name, PROBES)
    module, function = PROBES[name].split(":")
    probe: Probe = getattr(import_module(module), function)
    return probe
