"""Where a learner's batches come from: which prompts, at what temperature, and which groups are sampled anew."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from toybed.agents.config import Learning
from toybed.agents.curriculum import PromptDraw
from toybed.agents.policies import Policy
from toybed.agents.rollout import Rollout, rollout
from toybed.envs.core import TokenEnv
from toybed.objectives.objective import Objective
from toybed.streams import Streams

MAX_RESAMPLES = 10  # DAPO's cap on extra generations for one batch


class Sampler:
    """Samples the batches of S policies in one world.

    Args:
        env: the world.
        policy: the S policies.
        config: sizes of a batch, and the curriculum.
        seeds: the runs' root seeds.
        later: what tells the streams of a run apart from those of the runs that it continues.

    Attributes:
        prompts: what draws the prompts.
    """

    def __init__(self, env: TokenEnv, policy: Policy, config: Learning, seeds: Sequence[int], later: str) -> None:
        self._env, self._policy, self._config = env, policy, config
        self._streams = Streams(f"rollout{later}", seeds, env.device)
        self.prompts = PromptDraw(env, config, seeds)

    def sample(self, objective: Objective, progress: float) -> tuple[Rollout, Tensor, Tensor]:
        """A batch, the share of groups without spread as first sampled ``[S]``, and rollouts taken ``[S]``.

        With dynamic sampling, groups that the objective does not keep are replaced by kept ones of further rollouts;
        what is still missing after ten is left as it was first sampled. Each run draws only while it needs more.

        Args:
            objective: says which groups are kept, and at what temperature they are sampled.
            progress: of the run, in [0, 1].
        """
        sample = self._rollout(None, objective, progress)
        spread = sample.reward.amax(-1) == sample.reward.amin(-1)
        zero_groups = spread.float().mean(1)
        rounds = torch.ones_like(zero_groups)
        keep = objective.keep_group
        if keep is not None:
            kept = keep(sample.reward)
            for _ in range(MAX_RESAMPLES):
                wanting = ~kept.all(1)
                if not bool(wanting.any()):
                    break
                rounds = rounds + wanting.float()
                fresh = self._rollout(wanting.tolist(), objective, progress)
                sample, kept = fill(sample, kept, fresh, keep(fresh.reward) & wanting[:, None])
        return sample, zero_groups, rounds

    def _rollout(self, runs: list[bool] | None, objective: Objective, progress: float) -> Rollout:
        prompt = self.prompts.draw(self._config.prompts, self._streams, runs, progress)
        group = self._config.group
        if objective.sampling is None:
            sample = rollout(self._env, self._policy, prompt, group, self._streams, runs)
        else:
            temperature, tempered = (x.to(self._env.device) for x in objective.sampling(prompt.shape[1]))
            sample = rollout(
                self._env,
                self._policy,
                prompt,
                group,
                self._streams,
                runs,
                temperature=temperature.expand(prompt.shape),
            )
            sample = sample._replace(tempered=tempered.expand(prompt.shape))
        self.prompts.learn(sample, runs)
        return sample


def fill(old: Rollout, kept: Tensor, fresh: Rollout, useful: Tensor) -> tuple[Rollout, Tensor]:
    """Put useful fresh groups into the places of groups that are not kept.

    Args:
        old: the batch so far.
        kept: ``[S, B]``, its groups that stay.
        fresh: another batch.
        useful: ``[S, B]``, its groups that may move in.
    """
    # Sort places by "free first" and fresh groups by "useful first"; the n-th free place takes the n-th useful group.
    place = (~kept).int().argsort(dim=1, descending=True, stable=True)
    donor = useful.int().argsort(dim=1, descending=True, stable=True)
    moves = (~kept).gather(1, place) & useful.gather(1, donor)
    source = torch.zeros_like(place).scatter(1, place, donor)
    taken = torch.zeros_like(kept).scatter(1, place, moves)

    def move(a: Tensor, b: Tensor) -> Tensor:
        index = source.view(*source.shape, *(1,) * (b.ndim - 2)).expand_as(b)
        return torch.where(taken.view(*taken.shape, *(1,) * (a.ndim - 2)), b.gather(1, index), a)

    parts = (None if a is None or b is None else move(a, b) for a, b in zip(old, fresh, strict=True))
    return Rollout(*parts), kept | taken  # type: ignore[arg-type]
