"""What an off-policy learner remembers: episodes cut into transitions, and the newest of them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from toybed.agents.rollout import Rollout
from toybed.envs.core import TokenEnv


class Transitions(NamedTuple):
    """Tokens and what came of them.

    ===================  ============  ===============================================================================
    field                shape         meaning
    ===================  ============  ===============================================================================
    ``observation``      [S, N, F]     what the policy saw
    ``legal``            [S, N, V]     which tokens were allowed; None where all were
    ``token``            [S, N]        what it chose
    ``kind``             [S, N]        the token's kind, an index into ``Cutter.kinds``
    ``reward``           [S, N]        reward until the following decision, discounted
    ``discount``         [S, N]        of the value of the following decision; 0 where there is none
    ``following``        [S, N, F]     what the policy saw then; where there is none, of no meaning
    ``following_legal``  [S, N, V]     which tokens were allowed then
    ``following_kind``   [S, N]        the kind of the token that was chosen then
    ===================  ============  ===============================================================================
    """

    observation: Tensor
    legal: Tensor | None
    token: Tensor
    kind: Tensor
    reward: Tensor
    discount: Tensor
    following: Tensor
    following_legal: Tensor | None
    following_kind: Tensor


class Cutter:
    """Cuts the episodes of a world into transitions, one for each token.

    Args:
        env: the world.
        discount: for each token that passes.
        bootstrap: whether what follows a token is the next "token" or the next one of its "kind"; see
            :class:`~toybed.agents.config.Soft`.

    Attributes:
        kinds: the kinds of tokens that there are.
        kind: of each of the T positions, an index into ``kinds``.
    """

    def __init__(self, env: TokenEnv, discount: float, bootstrap: str) -> None:
        self.kinds = tuple(sorted(set(env.kinds)))
        self.kind = torch.tensor([self.kinds.index(kind) for kind in env.kinds], device=env.device)
        length = env.horizon
        self._following = torch.arange(length, device=env.device)
        self._discount = torch.zeros(length, device=env.device)
        self._weight = torch.zeros(length, length, device=env.device)
        for here, kind in enumerate(env.kinds):
            later = [t for t in range(here + 1, length) if bootstrap == "token" or env.kinds[t] == kind]
            end = later[0] if later else length
            for t in range(here, end):
                self._weight[here, t] = discount ** (t - here)
            if later:
                self._following[here], self._discount[here] = end, discount ** (end - here)

    def cut(self, sample: Rollout) -> Transitions:
        """The transitions of episodes with the reward of each token, in their order, ``N = B * G * T``."""
        assert sample.paid is not None
        # Not a product of matrices, which would round with the number of rows.
        reward = (sample.paid[..., None, :] * self._weight).sum(-1)
        legal = sample.legal
        return Transitions(
            observation=sample.observation.flatten(1, 3),
            legal=None if legal is None else legal.flatten(1, 3),
            token=sample.token.flatten(1, 3),
            kind=self.kind.expand_as(sample.token).flatten(1, 3),
            reward=reward.flatten(1, 3),
            discount=self._discount.expand_as(sample.paid).flatten(1, 3),
            following=sample.observation[..., self._following, :].flatten(1, 3),
            following_legal=None if legal is None else legal[..., self._following, :].flatten(1, 3),
            following_kind=self.kind[self._following].expand_as(sample.token).flatten(1, 3),
        )


class Replay:
    """The newest transitions of each run: a ring that is written in place.

    Args:
        capacity: how many of each run.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._kept: Transitions | None = None
        self._written = 0

    def __len__(self) -> int:
        """How many there are of each run."""
        return min(self._written, self._capacity)

    def add(self, new: Transitions) -> None:
        """Write over the oldest; of more than there is room for, the last ones stay."""
        if self._kept is None:
            self._kept = Transitions(
                *(None if x is None else x.new_zeros(len(x), self._capacity, *x.shape[2:]) for x in new)  # type: ignore[arg-type]
            )
        count = new.token.shape[1]
        numbers = torch.arange(max(count - self._capacity, 0), count, device=new.token.device)
        places = (numbers + self._written) % self._capacity
        for old, fresh in zip(self._kept, new, strict=True):
            if old is not None and fresh is not None:
                old[:, places] = fresh[:, numbers]
        self._written += count

    def draw(self, uniform: Tensor) -> Transitions:
        """Transitions at random, uniformly with replacement: those that numbers ``[S, N]`` in [0, 1) fall on."""
        assert self._kept is not None
        place = (uniform * len(self)).long().clamp(max=len(self) - 1)
        run = torch.arange(len(place), device=place.device)[:, None]
        return Transitions(*(None if x is None else x[run, place] for x in self._kept))  # type: ignore[arg-type]
