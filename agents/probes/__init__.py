"""Measurements that only some questions ask for, taken at the start and at the end of a run, by name.

A probe gets the world, the policies and those that the runs started with, and returns measures ``[S]`` by name; NaN
where a run has nothing to measure. Most read policies as tables ``[S, C, V]``; those of :data:`POLICY_PROBES` read the
policies themselves, their parameters or hidden states.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from torch import Tensor

from toybed.agents.policies import Policy
from toybed.envs.core import TokenEnv
from toybed.errors import unknown

Probe = Callable[[TokenEnv, Tensor, Tensor], dict[str, Tensor]]
PolicyProbe = Callable[[TokenEnv, Policy, Policy], dict[str, Tensor]]

PROBES = {
    "answer_search": "toybed.agents.probes.answer_search:answer_search",
    "best_answers": "toybed.agents.probes.best_answers:best_answers",
    "first_steps": "toybed.agents.probes.first_steps:first_steps",
    "trajectories": "toybed.agents.probes.trajectories:trajectories",
    "heads": "toybed.agents.probes.heads:heads",
    "hybrids": "toybed.agents.probes.hybrids:hybrids",
    "reward_bits": "toybed.agents.probes.reward_bits:reward_bits",
    "masters": "toybed.agents.probes.masters:masters",
    "start_mixtures": "toybed.agents.probes.start_mixtures:start_mixtures",
}
"""Where each probe of tables has its function, by name."""

POLICY_PROBES = {
    "told_story": "toybed.agents.probes.traces:told_story",
    "trace_use": "toybed.agents.probes.traces:trace_use",
    "steering": "toybed.agents.probes.steering:steering",
    "belief_probe": "toybed.agents.probes.belief_probe:belief_probe",
    "update_anatomy": "toybed.agents.probes.update_anatomy:update_anatomy",
}
"""Where each probe of policies has its function, by name."""


def get_probe(name: str) -> Probe:
    """The named probe of tables.

    Raises:
        ToybedError: there is none; the message has the nearest one.
    """
    probe: Probe = _find(name, PROBES)
    return probe


def get_policy_probe(name: str) -> PolicyProbe:
    """The named probe of policies.

    Raises:
        ToybedError: there is none; the message has the nearest one.
    """
    probe: PolicyProbe = _find(name, POLICY_PROBES)
    return probe


def _find(name: str, places: Mapping[str, str]) -> Any:
    if name not in places:
        raise unknown("probe", name, [*PROBES, *POLICY_PROBES])
    module, function = places[name].split(":")
    return getattr(import_module(module), function)
