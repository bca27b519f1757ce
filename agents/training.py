"""From a setting and seeds to curves: the base policy, the learner, and exact measurements on the way.

Everything that determines a run's numbers is below this line of the house; the store names a run by the hash of its
configuration and of this code.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from toybed.agents.config import Learning, Setting, Spec
from toybed.agents.policies import Policy, flat_parameters, load_flat, make_policy
from toybed.agents.policy_gradient import PolicyGradient
from toybed.agents.supervised import fine_tune
from toybed.envs import make
from toybed.envs.core import MAX_ENUMERATED, TokenEnv
from toybed.errors import ToybedError, unknown
from toybed.measures.diversity import coverage, pass_at_k_exact
from toybed.objectives import catalogue
from toybed.objectives.objective import Objective
from toybed.streams import Streams

PASS_AT = (4, 16, 64, 256)
COVERAGE_AT = (16, 256)
LOST_BELOW = 1e-3

Report = Callable[[int, float, float], None]
"""Called after each update with its number and the mean reward and entropy of the samples."""


@dataclass(frozen=True)
class Curve:
    """A measure along one run: ``steps`` (updates done) and ``values``, both ``[points]``."""

    steps: NDArray[np.int64]
    values: NDArray[np.float64]


@dataclass(frozen=True)
class RunResult:
    """One run.

    Attributes:
        curves: measure name to curve; values after a divergence are NaN.
        diverged_at: the update in which a loss or gradient was not finite, or None.
    """

    curves: dict[str, Curve]
    diverged_at: int | None


def train_bases(setting: Setting, seeds: Sequence[int], device: str = "cpu") -> NDArray[np.float32]:
    """The base policies of these seeds: initialised, and fine-tuned where the setting says so.

    Returns:
        Parameters of each, ``[S, D]``.
    """
    env = make(setting.world.name, **setting.world.options).on(device)
    policy = make_policy(setting.policy.name, env, seeds, **setting.policy.options)
    if setting.supervised is not None:
        fine_tune(env, policy, setting.supervised, Streams("demonstrations", seeds, device))
    return flat_parameters(policy).cpu().numpy()


def train_runs(
    setting: Setting,
    seeds: Sequence[int],
    bases: NDArray[np.float32],
    *,
    device: str = "cpu",
    objective: Objective | None = None,
    report: Report | None = None,
) -> list[RunResult]:
    """Train one stack of runs, one for each seed, from their base policies.

    Args:
        setting: what is trained.
        seeds: root seeds of the S runs.
        bases: their starting parameters, ``[S, D]``, from :func:`train_bases`.
        device: "cpu" or "cuda".
        objective: in the place of the setting's, for one that is not in the catalogue.
        report: called after each update.
    """
    env = make(setting.world.name, **setting.world.options).on(device)
    policy, reference = (make_policy(setting.policy.name, env, seeds, **setting.policy.options) for _ in range(2))
    for each in (policy, reference):
        load_flat(each, torch.from_numpy(bases).to(device))
    if objective is None:
        objective = catalogue.get(setting.objective.name, **setting.objective.options)
    learner = PolicyGradient(env, policy, objective, setting.learning, list(seeds), reference)
    meter = _Meter(env, policy)
    diverged_at = np.full(len(seeds), -1)
    meter.measure(0, {})
    meter.measure_coverage(0)
    for update in range(1, setting.learning.updates + 1):
        sampled = learner.update()
        fresh = learner.diverged.cpu().numpy() & (diverged_at < 0)
        diverged_at[fresh] = update
        if update % setting.learning.measure_every == 0 or update == setting.learning.updates:
            # A last step can leave parameters that no later loss gets to see.
            lost = ~meter.measure(update, sampled) & (diverged_at < 0)
            diverged_at[lost] = update
        if report is not None:
            report(update, _mean(sampled["reward"]), _mean(sampled["entropy"]))
    if setting.learning.updates:
        meter.measure_coverage(setting.learning.updates)
    return meter.results(diverged_at)


class _Meter:
    """Collects exact measurements of S policies in one world."""

    def __init__(self, env: TokenEnv, policy: Policy) -> None:
        self._env, self._policy = env, policy
        everything = env.prompts()
        self._splits = {split: torch.isin(everything, env.prompts(split)) for split in ("train", "test")}
        self._points: dict[str, list[tuple[int, NDArray[np.float64]]]] = {}

    def measure(self, update: int, sampled: dict[str, Tensor]) -> NDArray[np.bool_]:
        """Exact reward, entropy (nats per token) and pass@k on both splits, and what the last batch showed.

        Returns:
            Which runs still have a finite policy, bool ``[S]``.
        """
        exact = self._env.evaluate(self._policy.table(self._env))
        for split, chosen in self._splits.items():
            success = exact.reward[:, chosen].double()
            self._add(f"reward_{split}", update, success.mean(1))
            self._add(f"entropy_{split}", update, exact.entropy[:, chosen].double().mean(1) / self._env.horizon)
            for k in PASS_AT:
                self._add(f"pass@{k}_{split}", update, pass_at_k_exact(success, k).mean(1))
            self._add(f"lost_{split}", update, (success < LOST_BELOW).double().mean(1))
        for name, value in sampled.items():
            self._add(f"sampled_{name}", update, value.double())
        finite: NDArray[np.bool_] = torch.isfinite(exact.reward).all(1).cpu().numpy()
        return finite

    def measure_coverage(self, update: int) -> None:
        """Expected share of a test prompt's distinct solutions among k samples: by enumeration, so not often.

        Left out where a prompt has too many responses to enumerate.
        """
        env, table = self._env, self._policy.table(self._env)
        responses = env.vocabulary**env.horizon
        if responses > MAX_ENUMERATED:
            return
        prompts = env.prompts("test")
        prompts = prompts[env.solutions(prompts) > 0]
        shares: dict[int, list[Tensor]] = {k: [] for k in COVERAGE_AT}
        for chunk in prompts.split(max(MAX_ENUMERATED // (responses * len(table)), 1)):
            log_prob, reward = env.enumerate_responses(table, chunk)
            for k in COVERAGE_AT:
                shares[k].append(coverage(log_prob, reward == 1, k))
        for k in COVERAGE_AT:
            self._add(f"coverage@{k}_test", update, torch.cat(shares[k], 1).double().mean(1))

    def results(self, diverged_at: NDArray[np.int64]) -> list[RunResult]:
        """One result for each run."""
        results = []
        for run, diverged in enumerate(diverged_at.tolist()):
            curves = {}
            for name, points in self._points.items():
                steps = np.array([step for step, _ in points])
                values = np.array([value[run] for _, value in points])
                if diverged >= 0:
                    values = np.where(steps >= diverged, math.nan, values)
                curves[name] = Curve(steps, values)
            results.append(RunResult(curves, diverged if diverged >= 0 else None))
        return results

    def _add(self, name: str, update: int, value: Tensor) -> None:
        self._points.setdefault(name, []).append((update, value.cpu().numpy()))


def train(
    objective: str | Objective = "grpo", *, seeds: int | Sequence[int] = 4, device: str = "cpu", **changes: Any
) -> list[RunResult]:
    """Train in this process, on one thread, and return the curves: the short way, without a store.

    >>> results = train("grpo", seeds=2, updates=2)
    >>> sorted(results[0].curves)[:2]
    ['coverage@16_test', 'coverage@256_test']

    Args:
        objective: a name of the catalogue, or an :class:`~toybed.objectives.objective.Objective` of your own.
        seeds: how many, or which.
        device: "cpu" or "cuda".
        **changes: fields of :class:`~toybed.agents.config.Setting` (``world``, ``policy``, ``supervised``) or of
            :class:`~toybed.agents.config.Learning` (``updates``, ``group``, ...).

    Raises:
        ToybedError: a name is unknown or a value not allowed.
    """
    chosen = list(range(seeds)) if isinstance(seeds, int) else list(seeds)
    if not chosen:
        raise ToybedError(f"seeds is {seeds}; allowed: at least 1")
    own: dict[str, Any] = {name: changes.pop(name) for name in ("world", "policy", "supervised") if name in changes}
    allowed = [field.name for field in fields(Learning)]
    for name in changes:
        if name not in allowed:
            raise unknown("argument of train", name, [*allowed, "world", "policy", "supervised", "device", "seeds"])
    named: dict[str, Any] = {name: Spec(value) if isinstance(value, str) else value for name, value in own.items()}
    setting = Setting(**named).with_learning(**changes)
    build = objective if isinstance(objective, Objective) else catalogue.get(objective)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # on more, a run in a stack is not bitwise the run alone
    try:
        return train_runs(setting, chosen, train_bases(setting, chosen, device), device=device, objective=build)
    finally:
        torch.set_num_threads(threads)


def _mean(value: Tensor) -> float:
    return float(value.nanmean())
