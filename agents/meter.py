"""Measurements of stacked policies along a run, and what becomes of them: curves."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from toybed.agents.adaptation import AdaptationMeter
from toybed.agents.optimization import CAUSES
from toybed.agents.policies import Policy, flat_parameters, load_flat
from toybed.agents.probes import DRAWING, Probe, get_policy_probe, get_probe, reads_policies
from toybed.agents.results import Curve, RunResult
from toybed.agents.sampled_worth import sampled_worth
from toybed.envs.core import MAX_ENUMERATED, Evaluation, TokenEnv, sample_of
from toybed.errors import ToybedError
from toybed.measures.diversity import coverage, pass_at_k_exact

PASS_AT = (4, 16, 64, 256)
COVERAGE_AT = (16, 256)
COVERAGE_PROMPTS = 128
SPLITS_MEASURED = ("train", "test")
SAMPLED_PROMPTS = 1024
"""Train prompts that are measured in a world that is not tabulated; of its test prompts all are."""

LOST_BELOW = 1e-3


class Meter:
    """Collects measurements of S policies in one world.

    Args:
        env: the world.
        policy: the S policies, as they start.
        probes: names of :data:`~toybed.agents.probes.PROBES` and of :data:`~toybed.agents.probes.POLICY_PROBES` to
            take at the start and at the end.
        adaptation: adapts the policies to every task, at the start and at the end; or None.
        start: the policies as they start, in a copy that is not trained: what probes of policies compare with.
        seeds: the runs' root seeds: in a world that is not tabulated what is measured is sampled, and some probes draw.

    Raises:
        ToybedError: a probe is unknown, or one of policies has no start to compare with.
    """

    def __init__(
        self,
        env: TokenEnv,
        policy: Policy,
        probes: Sequence[str] = (),
        adaptation: AdaptationMeter | None = None,
        start: Policy | None = None,
        seeds: Sequence[int] = (),
    ) -> None:
        self._env, self._policy, self._adaptation, self._start_policy = env, policy, adaptation, start
        self._policy_probes = [self._given(get_policy_probe, name, seeds) for name in probes if reads_policies(name)]
        self._probes = [self._given(get_probe, name, seeds) for name in probes if not reads_policies(name)]
        if self._policy_probes and start is None:
            raise ToybedError("Meter: probes of policies compare with the start: pass start=..., a copy of the policy")
        self._start = policy.table(env) if self._probes else None
        self._seeds = seeds
        self._points: dict[str, list[tuple[int, NDArray[np.float64]]]] = {}

    @staticmethod
    def _given(get: Callable[[str], Probe], name: str, seeds: Sequence[int]) -> Probe:
        """A probe that has the seeds, if it draws."""
        probe = get(name)
        return partial(probe, seeds=seeds) if name in DRAWING else probe

    def measure(self, update: int, sampled: dict[str, Tensor]) -> NDArray[np.bool_]:
        """Reward, entropy (nats per token) and pass@k on both splits, the world's own measures, the last batch's.

        All are exact in a world that is tabulated; in others :mod:`~toybed.agents.sampled_worth` says how they are
        estimated. Pass@k and ``lost`` (share of prompts that are all but never solved) only where rewards are 0 or 1
        and each prompt's success is known exactly.

        Returns:
            Which runs still have a finite policy, bool ``[S]``.
        """
        worth, own = self._worth()
        exact = self._env.tabulated or self._env.horizon == 1
        for split, (reward, entropy) in worth.items():
            success = reward.double()
            self._add(f"reward_{split}", update, success.mean(1))
            self._add(f"entropy_{split}", update, entropy.double().mean(1) / self._env.horizon)
            if self._env.binary_reward and exact:
                for k in PASS_AT:
                    self._add(f"pass@{k}_{split}", update, pass_at_k_exact(success, k).mean(1))
                self._add(f"lost_{split}", update, (success < LOST_BELOW).double().mean(1))
        for name, value in own.items():
            self._add(name, update, value.double())
        for name, value in sampled.items():
            self._add(f"sampled_{name}", update, value.double())
        finite = torch.stack([torch.isfinite(reward).all(1) for reward, _ in worth.values()]).all(0)
        return np.asarray(finite.cpu().numpy())

    def _worth(self) -> tuple[dict[str, Evaluation], dict[str, Tensor]]:
        """Worth on the prompts of both splits, each ``[S, P]``, and the world's own measures, each ``[S]``."""
        env = self._env
        if env.tabulated:
            table = self._policy.table(env)
            whole, everything = env.evaluate(table), env.prompts()
            parts = {split: torch.isin(everything, env.prompts(split)) for split in SPLITS_MEASURED}
            return {
                split: Evaluation(whole.reward[:, part], whole.entropy[:, part]) for split, part in parts.items()
            }, env.measures(table)
        train, test = sample_of(env.prompts("train"), SAMPLED_PROMPTS), env.prompts("test")
        seen, unseen = (sampled_worth(env, self._policy, prompt, self._seeds) for prompt in (train, test))
        worth = {"train": Evaluation(seen.reward, seen.entropy), "test": Evaluation(unseen.reward, unseen.entropy)}
        return worth, env.measure_answers(test, unseen.state, unseen.answer)

    def measure_more(self, update: int) -> None:
        """What is measured at the start and at the end only, because it takes its time: coverage, probes, adaptation.

        ``coverage@k_test``: the expected share of a prompt's distinct solutions among k samples, over a fixed sample of
        128 test prompts that have one. Left out where a prompt has too many responses to enumerate, or rewards are
        not 0 or 1.
        """
        env = self._env
        if env.tabulated and env.binary_reward and env.vocabulary**env.horizon <= MAX_ENUMERATED:
            self._measure_coverage(update, self._policy.table(env))
        self.probe(update)
        if self._adaptation is not None:
            for name, value in self._adaptation.measure(self._policy).items():
                self._add(name, update, value.double())

    def probe(self, update: int) -> None:
        """The probes alone."""
        env = self._env
        for probe in self._probes:
            assert self._start is not None
            for name, value in probe(env, self._policy.table(env), self._start).items():
                self._add(name, update, value.double())
        for probe_policy in self._policy_probes:
            assert self._start_policy is not None
            for name, value in probe_policy(env, self._policy, self._start_policy).items():
                self._add(name, update, value.double())

    def _measure_coverage(self, update: int, table: Tensor) -> None:
        env = self._env
        prompts = env.prompts("test")
        prompts = sample_of(prompts[env.solutions(prompts) > 0], COVERAGE_PROMPTS)
        shares: dict[int, list[Tensor]] = {k: [] for k in COVERAGE_AT}
        for chunk in prompts.split(max(MAX_ENUMERATED // (env.vocabulary**env.horizon * len(table)), 1)):
            log_prob, reward = env.enumerate_responses(table, chunk)
            for k in COVERAGE_AT:
                shares[k].append(coverage(log_prob, reward == 1, k))
        for k in COVERAGE_AT:
            self._add(f"coverage@{k}_test", update, torch.cat(shares[k], 1).double().mean(1))

    def results(self, diverged_at: NDArray[np.int64], cause: NDArray[np.int64]) -> list[RunResult]:
        """One result for each run: its curves, NaN from the update on in which it diverged (-1: it did not)."""
        results = []
        for run, (diverged, why) in enumerate(zip(diverged_at.tolist(), cause.tolist(), strict=True)):
            curves = {}
            for name, points in self._points.items():
                steps = np.array([step for step, _ in points])
                values = np.array([value[run] for _, value in points])
                if diverged >= 0:
                    values = np.where(steps >= diverged, math.nan, values)
                curves[name] = Curve(steps, values)
            results.append(RunResult(curves, diverged, CAUSES[why]) if diverged >= 0 else RunResult(curves, None))
        return results

    def _add(self, name: str, update: int, value: Tensor) -> None:
        self._points.setdefault(name, []).append((update, value.cpu().numpy()))


class MeterOfEach:
    """Measures stacked policies that are in worlds of their own: each by a meter of its own, as a policy alone.

    Args:
        policy: the S policies.
        alone: of each run a policy alone, and its meter.
    """

    def __init__(self, policy: Policy, alone: Sequence[tuple[Policy, Meter]]) -> None:
        self._policy, self._alone = policy, alone

    def measure(self, update: int, sampled: dict[str, Tensor]) -> NDArray[np.bool_]:
        """As :meth:`Meter.measure`."""
        finite = [
            meter.measure(update, {name: value[run : run + 1] for name, value in sampled.items()})
            for run, meter in enumerate(self._meters())
        ]
        return np.concatenate(finite)

    def measure_more(self, update: int) -> None:
        """As :meth:`Meter.measure_more`."""
        for meter in self._meters():
            meter.measure_more(update)

    def probe(self, update: int) -> None:
        """The probes alone."""
        for meter in self._meters():
            meter.probe(update)

    def results(self, diverged_at: NDArray[np.int64], cause: NDArray[np.int64]) -> list[RunResult]:
        """As :meth:`Meter.results`."""
        parts = zip(self._alone, np.split(diverged_at, len(diverged_at)), np.split(cause, len(cause)), strict=True)
        return [result for (_, meter), at, why in parts for result in meter.results(at, why)]

    def _meters(self) -> Iterator[Meter]:
        """Each meter in turn, when its policy is what it has come to be."""
        parameters = flat_parameters(self._policy)
        for run, (policy, meter) in enumerate(self._alone):
            load_flat(policy, parameters[run : run + 1])
            yield meter
