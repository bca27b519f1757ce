"""AnswerBandit: one token answers one prompt. The analytic anchor."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from toybed.envs.core import TokenEnv, check_split
from toybed.errors import ToybedError


class BanditState(NamedTuple):
    """``prompt`` and ``answer`` (-1 before it is given), int64 ``[...]``; ``luck`` of the verifier, ``[...]``."""

    prompt: Tensor
    answer: Tensor
    luck: Tensor


@dataclass(frozen=True)
class AnswerBandit(TokenEnv):
    """Answer a prompt with one token.

    Description:
        P prompts, K answers, of which ``correct`` are right. The base policy is a Zipf law over a random order of the
        answers in which the first right one has rank ``rank``: the difficulty.
    Action space:
        ``Discrete(K)``: the answer.
    Observation:
        ``MultiDiscrete([P])``: the prompt.
    Reward:
        1 for a right answer, ``trap`` for one wrong answer (the base's favourite), else 0. With a noisy verifier a
        right answer is paid with probability ``true_positive`` and any other with probability ``false_positive``.
    Termination:
        After the one token.
    Knobs:
        ``prompt_count`` P, ``answers`` K, ``correct``, ``zipf`` (exponent), ``rank``, ``trap``, ``true_positive``,
        ``false_positive``, ``table_seed``.
    Optimum and random baseline:
        1, and ``(correct + trap) / K``, of the noise-free reward.
    What it stands for in LLM training:
        The last line of an answer, with everything before it stripped away: the closed forms of policy-gradient
        theory hold here exactly, so objectives can be tested against algebra. There is no generalisation: both splits
        are all prompts.
    """

    prompt_count: int = 64
    answers: int = 16
    correct: int = 3
    zipf: float = 1.0
    rank: int = 4
    trap: float = 0.0
    true_positive: float = 1.0
    false_positive: float = 0.0
    table_seed: int = 0

    def __post_init__(self) -> None:
        if self.prompt_count < 1:
            raise ToybedError(f"answer_bandit: prompt_count is {self.prompt_count}; allowed: at least 1")
        if self.answers < 2:
            raise ToybedError(f"answer_bandit: answers is {self.answers}; allowed: at least 2")
        if not 1 <= self.correct < self.answers:
            raise ToybedError(f"answer_bandit: correct is {self.correct}; allowed: 1 to {self.answers - 1}")
        if not 1 <= self.rank <= self.answers - self.correct + 1:
            raise ToybedError(
                f"answer_bandit: rank is {self.rank}; allowed: 1 to {self.answers - self.correct + 1}, "
                "so that every right answer has a place in the order"
            )
        if self.trap and self.rank == 1:
            raise ToybedError("answer_bandit: the trap is the base's favourite answer, so rank must be above 1")
        for name in ("trap", "true_positive", "false_positive"):
            if not 0 <= getattr(self, name) <= 1:
                raise ToybedError(f"answer_bandit: {name} is {getattr(self, name)}; allowed: 0 to 1")

    @property
    def horizon(self) -> int:
        return 1

    @property
    def vocabulary(self) -> int:
        return self.answers

    @property
    def observation_sizes(self) -> tuple[int, ...]:
        return (self.prompt_count,)

    @property
    def n_prompts(self) -> int:
        return self.prompt_count

    @property
    def kinds(self) -> tuple[str, ...]:
        return ("answer",)

    @property
    def noise(self) -> int:
        return int(self.true_positive < 1 or self.false_positive > 0)

    @property
    def binary_reward(self) -> bool:
        return self.trap in (0, 1)

    # -- how it moves ----------------------------------------------------------------------------------------------
    def reset(self, prompt: Tensor, noise: Tensor | None = None) -> BanditState:
        luck = torch.full(prompt.shape, -1.0, device=prompt.device) if noise is None else noise[..., 0]
        return BanditState(prompt, torch.full_like(prompt, -1), luck)

    def observe(self, state: BanditState) -> Tensor:
        return state.prompt[..., None]

    def step(self, state: BanditState, token: Tensor) -> BanditState:
        return state._replace(answer=token)

    def reward(self, state: BanditState) -> Tensor:
        truth = self.rewards()[state.prompt, state.answer.clamp(min=0)]
        chance = torch.where(truth == 1, self.true_positive, self.false_positive)
        noisy = (state.luck < chance).float()
        paid = torch.where(state.luck < 0, truth, noisy) if self.noise else truth
        return torch.where(state.answer < 0, 0.0, paid)

    def describe(self, state: BanditState) -> str:
        answer = int(state.answer)
        return f"prompt {int(state.prompt)}: " + ("no answer yet" if answer < 0 else f"answered {answer}")

    # -- its truth -------------------------------------------------------------------------------------------------
    @cached_property
    def _order(self) -> Tensor:
        """The answer at each rank of the base, ``[P, K]``."""
        generator = torch.Generator().manual_seed(self.table_seed)
        return torch.rand(self.prompt_count, self.answers, generator=generator).argsort(-1).to(self.device)

    @cached_property
    def _rewards(self) -> Tensor:
        by_rank = torch.zeros(self.answers, device=self.device)
        by_rank[0] = self.trap
        by_rank[self.rank - 1 : self.rank - 1 + self.correct] = 1.0
        return torch.zeros(self.prompt_count, self.answers, device=self.device).scatter(
            1, self._order, by_rank.expand(self.prompt_count, -1)
        )

    def rewards(self) -> Tensor:
        """The noise-free reward of every answer, ``[P, K]``."""
        return self._rewards

    def prompts(self, split: str = "all") -> Tensor:
        check_split(split)
        return torch.arange(self.prompt_count, device=self.device)

    def solutions(self, prompt: Tensor) -> Tensor:
        return torch.full_like(prompt, self.correct)

    def optimum(self) -> float:
        return 1.0

    def random_baseline(self) -> float:
        return (self.correct + self.trap) / self.answers

    def demonstrator(self, temperature: float = 1.0) -> Tensor:
        """The Zipf base: ``pi(answer of rank r) ~ r^(-zipf / temperature)``, log-probabilities ``[P, K]``."""
        if not temperature > 0:
            raise ToybedError(f"answer_bandit: temperature is {temperature}; allowed: above 0")
        ranks = torch.arange(1, self.answers + 1, device=self.device, dtype=torch.float64)
        by_rank = torch.log_softmax(-self.zipf / temperature * ranks.log(), -1).float()
        return torch.zeros_like(self._rewards).scatter(1, self._order, by_rank.expand(self.prompt_count, -1))

    def tilted(self, log_probs: Tensor, strength: float) -> Tensor:
        """``pi ~ exp(log_probs + strength * reward)``, normalised: two closed forms in one.

        With ``strength = eta t`` it is where natural policy gradient (mirror descent) of step eta arrives after t
        steps; with ``strength = 1 / beta`` it is the optimum of reward less beta times KL to ``log_probs``. Both keep
        the ratios among equally paid answers.
        """
        return torch.log_softmax(log_probs + strength * self.rewards().to(log_probs.dtype), -1)
