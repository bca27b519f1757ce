"""How well policies adapt: what they are worth to each task after some gradient steps on their own responses to it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from toybed.agents.config import Adaptation, Spec
from toybed.agents.maml import Adapter, TaskStreams
from toybed.agents.policies import Policy
from toybed.envs.core import ILLEGAL, Each, TokenEnv

REPEATS = 3  # adaptations to each task, on other responses


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
            Where the world has options, of the adapted policies, for both splits: ``adapted_dominant_share_...`` (the
            most frequent option's share of all choices), ``adapted_dominant_share_argmax_...`` (when they take their
            most probable option everywhere), ``adapted_information_type_...`` (of task and option, nats) and
            ``adapted_information_chance_...``: the same of groups in which each policy was adapted to another task, so
            what the luck of the few adaptations makes of it (in a split of fewer than three prompts part of the
            information itself); and ``adapted_option_p_w_o``: how often those of prompt p
            take option o in situation w.
        """
        task = self._task.expand(len(self._seeds), -1)
        streams = [TaskStreams(f"adaptation/{what}", self._seeds, len(self._task)) for what in ("rollout", "objective")]
        measures: dict[str, Tensor] = {}
        stages = self._adapter.adapt(self._adapter.spread(policy), task, *streams)
        for step, stage in enumerate(stages):
            # Nobody has adapted yet: one policy for all, and the repeats are alike.
            each = self._each(stage.table(self._env) if step else policy.table(self._env))
            worth = each.reward.mean(1)
            for split, chosen in self._splits():
                measures[f"adapted@{step * self._config.group}_{split}"] = worth[:, chosen].mean(1)
        measures |= {f"adapted_prompt_{p}": worth[:, p] for p in range(worth.shape[1])}
        if each.options is None:
            return measures
        last = stages[-1].table(self._env) if self._config.steps else policy.table(self._env)
        sure = self._each(_favourites(self._env, last)).options
        assert sure is not None
        return measures | self._of_options(each.options, sure)

    def _splits(self) -> list[tuple[str, Tensor]]:
        every = self._env.prompts()
        return [(split, torch.isin(every, self._env.prompts(split))) for split in ("train", "test")]

    def _each(self, table: Tensor) -> Each:
        """What policies do, by run, repeat and prompt: reward ``[S, R, P]``, options ``[S, R, P, W, O]``.

        Of one policy for each run, repeat and prompt, or of one for each run, with a single repeat.
        """
        prompts = self._env.n_prompts
        if len(table) == len(self._seeds):
            each = table[:, None, None].expand(-1, 1, prompts, *table.shape[1:])
        else:
            each = table.view(len(self._seeds), REPEATS, prompts, *table.shape[1:])
        return self._env.evaluate_each(each)

    def _of_options(self, options: Tensor, sure: Tensor) -> dict[str, Tensor]:
        measures = {}
        for split, chosen in self._splits():
            own = options[:, :, chosen].sum(-2)  # [S, R, P, O]
            measures[f"adapted_dominant_share_{split}"] = own.mean((1, 2)).amax(-1)
            measures[f"adapted_dominant_share_argmax_{split}"] = sure[:, :, chosen].sum(-2).mean((1, 2)).amax(-1)
            measures[f"adapted_information_type_{split}"] = _information(own.mean(1))
            # The r-th adaptations change places by r: every group has as many policies, of as many tasks as there are.
            mixed = torch.stack([part.roll(repeat, 1) for repeat, part in enumerate(own.unbind(1))], 1)
            measures[f"adapted_information_chance_{split}"] = _information(mixed.mean(1))
        means = options.mean(1)
        return measures | {
            f"adapted_option_{p}_{w}_{o}": means[:, p, w, o]
            for p in range(means.shape[1])
            for w in range(means.shape[2])
            for o in range(means.shape[3])
        }


def _favourites(env: TokenEnv, table: Tensor) -> Tensor:
    """The policies ``[..., C, V]`` with their most probable planning token wherever they plan."""
    sure = torch.full_like(table, ILLEGAL).scatter(-1, table.argmax(-1, keepdim=True), 0.0)
    return torch.where(env.plans_at(env.contexts())[:, None], sure, table)


def _information(by_task: Tensor) -> Tensor:
    """Of task and option, given each task's own shares ``[S, P, O]``; nats, ``[S]``."""
    return _entropy(by_task.mean(1)) - _entropy(by_task).mean(1)


def _entropy(chance: Tensor) -> Tensor:
    """``[..., n] -> [...]``, nats."""
    return -torch.xlogy(chance, chance).sum(-1)
