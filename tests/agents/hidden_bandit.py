"""A world for tests of meta-learning: which answers pay depends on the task, and the policy does not see the task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from toybed.envs.core import TokenEnv


class HiddenState(NamedTuple):
    """Task, tokens so far (as digits) and their number."""

    task: Tensor
    written: Tensor
    time: Tensor


@dataclass(frozen=True)
class HiddenBandit(TokenEnv):
    """T tokens of V; ``paid[task][response]`` for each of the V^T responses; the observation is the position alone."""

    paid: tuple[tuple[float, ...], ...] = ((1.0, 0.0, 0.4), (0.0, 1.0, 0.4))
    words: int = 3
    length: int = 1
    train: int = 2

    @property
    def horizon(self) -> int:
        return self.length

    @property
    def vocabulary(self) -> int:
        return self.words

    @property
    def observation_sizes(self) -> tuple[int, ...]:
        return (self.length,)

    @property
    def kinds(self) -> tuple[str, ...]:
        return ("planning", *("execution",) * (self.length - 1))

    @property
    def n_prompts(self) -> int:
        return len(self.paid)

    def reset(self, prompt: Tensor, noise: Tensor | None = None) -> HiddenState:
        return HiddenState(prompt, torch.zeros_like(prompt), torch.zeros_like(prompt))

    def observe(self, state: HiddenState) -> Tensor:
        return state.time.clamp(max=self.length - 1)[..., None]

    def step(self, state: HiddenState, token: Tensor) -> HiddenState:
        return HiddenState(state.task, state.written * self.words + token, state.time + 1)

    def reward(self, state: HiddenState) -> Tensor:
        paid = torch.tensor(self.paid)[state.task, state.written.clamp(max=self.words**self.length - 1)]
        return torch.where(state.time == self.length, paid, 0.0)

    def prompts(self, split: str = "all") -> Tensor:
        every = torch.arange(self.n_prompts)
        return {"train": every[: self.train], "test": every[self.train :], "all": every}[split]

    def solutions(self, prompt: Tensor) -> Tensor:
        return (torch.tensor(self.paid)[prompt] == 1).sum(-1)

    def optimum(self) -> float:
        return float(torch.tensor(self.paid).mean(0).max())

    def random_baseline(self) -> float:
        return float(torch.tensor(self.paid).mean())

    def demonstrator(self) -> Tensor:
        return torch.zeros(self.length, self.words).log_softmax(-1)
