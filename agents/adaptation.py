"""How well policies adapt: what they are worth to each task after some gradient steps on their own responses to it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from toybed.agents.config import Adaptation, Spec
from toybed.agents.maml import Adapted, Adapter, TaskStreams
from toybed.agents.policies import Policy
from toybed.envs.core import TokenEnv

REPEATS = 8  # adaptations to each task, on other responses


class AdaptationMeter:
    """Adapts policies to every task of the world, train and held-out, and measures what became of them.

    The random numbers are the same each time and for every policy of a seed, so that policies can be paired.

    Args:
        env: the world; a task is a prompt.
        policy: name and options of the policies.
        seeds: the S runs' root seeds.
        config: the adaptation.
    """

    def __init__(self, env: TokenEnv, policy: Spec, seeds: Sequence[int], config: Adaptation) -> None:
        self._env, self._seeds, self._config = env, list(seeds), config
        self._task = env.prompts().repeat(REPEATS)
        self._adapter = Adapter(env, policy, seeds, len(self._task), config)

    def measure(self, policy: Policy) -> dict[str, Tensor]:
        """Exact worth along the adaptation, mean over tasks and repeats, each ``[S]``.

        Returns:
            ``adapted@n_train`` and ``adapted@n_test``: the reward of the policies that were adapted with n responses,
            each to its own task, for every step; the last one also prompt by prompt, as ``adapted_prompt_0`` and so on.
            Where the world has options: ``adapted_dominant_share_...`` (the most frequent option's share of all choices
            of the adapted policies) and ``adapted_information_type_...`` (of task and option, nats), for both splits.
        """
        task = self._task.expand(len(self._seeds), -1)
        streams = [TaskStreams(f"adaptation/{what}", self._seeds, len(self._task)) for what in ("rollout", "objective")]
        measures: dict[str, Tensor] = {}
        for step, stage in enumerate(self._adapter.adapt(self._adapter.spread(policy), task, *streams)):
            worth, options = self._worth(stage)
            for split, chosen in self._splits():
                measures[f"adapted@{step * self._config.group}_{split}"] = worth[:, chosen].mean(1)
        measures |= {f"adapted_prompt_{p}": worth[:, p] for p in range(worth.shape[1])}
        return measures if options is None else measures | self._of_options(options)

    def _splits(self) -> list[tuple[str, Tensor]]:
        every = self._env.prompts()
        return [(split, torch.isin(every, self._env.prompts(split))) for split in ("train", "test")]

    def _worth(self, adapted: Adapted) -> tuple[Tensor, Tensor | None]:
        """Reward ``[S, P]`` and options ``[S, P, O]`` of adapted policies, mean over repeats."""
        table = adapted.table(self._env)
        each = self._env.evaluate_each(table.view(len(self._seeds), REPEATS, -1, *table.shape[1:]))
        return each.reward.mean(1), None if each.options is None else each.options.mean(1)

    def _of_options(self, options: Tensor) -> dict[str, Tensor]:
        measures = {}
        for split, chosen in self._splits():
            by_task = options[:, chosen]  # [S, P, O]
            overall = by_task.mean(1)
            measures[f"adapted_dominant_share_{split}"] = overall.amax(-1)
            measures[f"adapted_information_type_{split}"] = _entropy(overall) - _entropy(by_task).mean(1)
        return measures


def _entropy(chance: Tensor) -> Tensor:
    """``[..., n] -> [...]``, nats."""
    return -torch.xlogy(chance, chance).sum(-1)
