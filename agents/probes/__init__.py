"""Measurements that only some questions ask for, taken at the start and at the end of a run, by name.

A probe gets the world, the policies and those that the runs started with, and returns measures ``[S]`` by name; NaN
where a run has nothing to measure. Most read policies as tables ``[S, C, V]``; those of :data:`POLICY_PROBES` read the
policies themselves, their parameters or hidden states, and so does a probe of one's own, named ``module:name``. Those
of :data:`DRAWING` also get the runs' root seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from torch import Tensor

from toybed.errors import unknown
from toybed.own import is_own, load

Probe = Callable[..., dict[str, Tensor]]
"""Of the world, policies and starts: tables ``[S, C, V]``; and ``seeds=``, where it draws."""
PolicyProbe = Callable[..., dict[str, Tensor]]
"""The same of the policies themselves."""

PROBES = {
    "answer_search": "toybed.agents.probes.answer_search:answer_search",
    "best_answers": "toybed.agents.probes.best_answers:best_answers",
    "covariance_tail": "toybed.agents.probes.covariance_tail:covariance_tail",
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
    "sampled_hybrids": "toybed.agents.probes.sampled_hybrids:sampled_hybrids",
    "steering": "toybed.agents.probes.steering:steering",
    "belief_probe": "toybed.agents.probes.belief_probe:belief_probe",
    "update_anatomy": "toybed.agents.probes.update_anatomy:update_anatomy",
}
"""Where each probe of policies has its function, by name."""


DRAWING = frozenset({"hybrids", "sampled_hybrids", "steering", "update_anatomy"})
"""Probes with controls that are drawn, for each run by its own seed: an interval over seeds is one over draws, too."""


def get_probe(name: str) -> Probe:
    """The named probe of tables.

    Raises:
        ToybedError: there is none; the message has the nearest one.
    """
    probe: Probe = _find(name, PROBES)
    return probe


def get_policy_probe(name: str) -> PolicyProbe:
    """The named probe of policies; ``module:name`` is a function of one's own.

    Raises:
        ToybedError: there is none; the message has the nearest one.
    """
    probe: PolicyProbe = load(name, "probe") if is_own(name) else _find(name, POLICY_PROBES)
    return probe


def reads_policies(name: str) -> bool:
    """Whether a probe reads policies, and not tables: one of one's own always does."""
    return name in POLICY_PROBES or is_own(name)


def _find(name: str, places: Mapping[str, str]) -> Any:
    if name not in places:
        raise unknown("probe", name, [*PROBES, *POLICY_PROBES])
    module, function = places[name].split(":")
    return getattr(import_module(module), function)
