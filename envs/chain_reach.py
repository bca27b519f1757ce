"""ChainReach: reasoning as a chain of operations, with many right chains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from toybed.envs.core import MAX_ENUMERATED, Evaluation, Reading, TokenEnv, check_split
from toybed.errors import ToybedError

STYLE = (4.0, 3.0, 2.0, 1.5, 1.0, 0.7, 0.5, 0.3)
"""How much the demonstrator likes each operation: a pre-trained model has habits, and RL sharpens them."""


class ChainState(NamedTuple):
    """``value``, ``goal`` and ``time``, each int64 ``[...]``."""

    value: Tensor
    goal: Tensor
    time: Tensor


class ChainHistory(NamedTuple):
    """The state of the tokens view: ``value``, ``goal`` and ``time``, and ``seen [..., L + 1]``, the observation."""

    value: Tensor
    goal: Tensor
    time: Tensor
    seen: Tensor


@dataclass(frozen=True)
class ChainReach(TokenEnv):
    """Reach a goal value by a chain of operations.

    Description:
        Values live in the integers modulo a prime m. Each of V operations is a bijection ``x -> a x + b (mod m)``,
        drawn once from ``table_seed``. A prompt is a pair (start, goal); a response is exactly L operations.
    Action space:
        ``Discrete(V)``: the operation to apply.
    Observation:
        ``MultiDiscrete([m, m, L + 1])``: current value, goal, operations done. With ``view="tokens"`` instead
        ``MultiDiscrete([m, m, V + 1, ..., V + 1])``: goal, start, the operations chosen so far, and V for those to
        come, L - 1 of them (no choice follows the last). The policy then has to work out the current value itself.
    Reward:
        ``1[x_L = goal]``, at the end.
    Termination:
        After L operations, always.
    Knobs:
        ``modulus`` m (a prime; 13 to 97 are sensible), ``operations`` V (sensible: 4 to 16), ``length`` L (3 to 6),
        ``train_share`` of prompts in the train split (a smaller one leaves a larger gap to generalise over),
        ``table_seed``, and ``view``: "state" or "tokens", what the policy sees; nothing else depends on it.
    Optimum and random baseline:
        1 where every prompt has a solution (``V^L / m`` on average: 132 by default), and exactly ``1/m`` over all
        prompts: for each start the chances of the m goals add up to 1. A single prompt, or a split, differs a little.
    What it stands for in LLM training:
        A verifiable reasoning task with an exact count of distinct right answers: pass@1, pass@k, coverage, reward
        and entropy are all known without sampling noise.
    """

    modulus: int = 31
    operations: int = 8
    length: int = 4
    train_share: float = 0.7
    table_seed: int = 0
    view: str = "state"

    def __post_init__(self) -> None:
        m = self.modulus
        if m < 3 or any(m % d == 0 for d in range(2, int(m**0.5) + 1)):
            raise ToybedError(f"chain_reach: modulus is {m}; allowed: a prime of at least 3, so that operations invert")
        if not 2 <= self.operations <= m * (m - 1):
            raise ToybedError(f"chain_reach: operations is {self.operations}; allowed: 2 to {m * (m - 1)}")
        if not 1 <= self.length <= 16:
            raise ToybedError(f"chain_reach: length is {self.length}; allowed: 1 to 16")
        if not 1 <= round(self.train_share * m**2) < m**2:
            raise ToybedError(
                f"chain_reach: train_share is {self.train_share}; allowed: above 0 and below 1, with one of the {m**2} "
                "prompts at least on each side"
            )
        if self.view not in ("state", "tokens"):
            raise ToybedError(f"chain_reach: view is {self.view!r}; allowed: 'state' or 'tokens'")

    @property
    def horizon(self) -> int:
        return self.length

    @property
    def vocabulary(self) -> int:
        return self.operations

    @property
    def observation_sizes(self) -> tuple[int, ...]:
        if self.view == "tokens":
            return (self.modulus, self.modulus, *(self.operations + 1,) * (self.length - 1))
        return (self.modulus, self.modulus, self.length + 1)

    @property
    def reading(self) -> Reading | None:
        if self.view == "state":
            return None
        entries = range(len(self.observation_sizes))
        sizes = (self.modulus, self.modulus, *(self.operations,) * (self.length - 1))
        return Reading(tuple((entry,) for entry in entries), sizes)

    def position(self, observation: Tensor) -> Tensor:
        if self.view == "state":
            return observation[..., 2]
        return (observation[..., 2:] < self.operations).sum(-1)

    @property
    def n_prompts(self) -> int:
        return self.modulus**2

    # -- how it moves ----------------------------------------------------------------------------------------------
    def reset(self, prompt: Tensor, noise: Tensor | None = None) -> ChainState | ChainHistory:
        start, goal = prompt // self.modulus, prompt % self.modulus
        if self.view == "state":
            return ChainState(start, goal, torch.zeros_like(prompt))
        to_come = torch.full_like(prompt, self.operations)
        seen = torch.stack([goal, start, *(to_come,) * (self.length - 1)], -1)
        return ChainHistory(start, goal, torch.zeros_like(prompt), seen)

    def observe(self, state: ChainState | ChainHistory) -> Tensor:
        return state.seen if isinstance(state, ChainHistory) else torch.stack(state, -1)

    def step(self, state: ChainState | ChainHistory, token: Tensor) -> ChainState | ChainHistory:
        value = self._tables[0][state.value, token]
        if isinstance(state, ChainState):
            return ChainState(value, state.goal, state.time + 1)
        here = torch.arange(self.length + 1, device=self.device) == state.time[..., None] + 2
        seen = torch.where(here, token[..., None], state.seen)
        return ChainHistory(value, state.goal, state.time + 1, seen)

    def reward(self, state: ChainState | ChainHistory) -> Tensor:
        return ((state.value == state.goal) & (state.time == self.length)).float()

    def describe(self, state: ChainState | ChainHistory) -> str:
        value, goal, time = (int(part) for part in state[:3])
        return f"at {value}, goal {goal}, {self.length - time} of {self.length} operations left"

    # -- its truth -------------------------------------------------------------------------------------------------
    @cached_property
    def _tables(self) -> tuple[Tensor, Tensor]:
        """``next_value [m, V]``, and the prompts in the order in which the split takes them ``[m^2]``."""
        generator = torch.Generator().manual_seed(self.table_seed)
        a = torch.randint(1, self.modulus, (self.operations,), generator=generator)
        b = torch.randint(0, self.modulus, (self.operations,), generator=generator)
        if len(set(zip(a.tolist(), b.tolist(), strict=True))) < self.operations:
            # Two equal operations would count one chain twice: draw without replacement.
            pairs = torch.randperm(self.modulus * (self.modulus - 1), generator=generator)[: self.operations]
            a, b = pairs // self.modulus + 1, pairs % self.modulus
        next_value = (torch.arange(self.modulus)[:, None] * a + b) % self.modulus
        order = torch.randperm(self.modulus**2, generator=generator)
        return next_value.to(self.device), order.to(self.device)

    def prompts(self, split: str = "all") -> Tensor:
        check_split(split)
        order = self._tables[1]
        cut = round(self.train_share * self.n_prompts)
        part = {"train": order[:cut], "test": order[cut:], "all": order}[split]
        return part.sort().values

    def counts(self, weights: Sequence[float] | None = None) -> Tensor:
        """Weighted number of ways from a value to a goal, float64 ``[L + 1, m, m]`` (steps left, value, goal).

        ``N_0 = I``, ``N_{t+1}(x, g) = sum_j w_j N_t(op_j x, g)``; all weights 1 by default.
        """
        next_value = self._tables[0]
        weight = torch.ones(self.operations) if weights is None else torch.tensor(tuple(weights))
        weight = weight.to(self.device, torch.float64)
        ways = [torch.eye(self.modulus, dtype=torch.float64, device=self.device)]
        for _ in range(self.length):
            ways.append(torch.einsum("j,xjg->xg", weight, ways[-1][next_value]))
        return torch.stack(ways)

    def solutions(self, prompt: Tensor) -> Tensor:
        return self.counts()[-1].flatten()[prompt].round().long()

    def difficulty(self, prompt: Tensor) -> Tensor:
        return 1 - self.counts()[-1].flatten()[prompt] / self.operations**self.length

    def optimum(self) -> float:
        return float((self.solutions(self.prompts()) > 0).double().mean())

    def random_baseline(self) -> float:
        return 1.0 / self.modulus

    def contexts(self) -> Tensor:
        if self.view == "tokens":
            return self._histories()
        time, value, goal = torch.meshgrid(
            torch.arange(self.length, device=self.device),
            torch.arange(self.modulus, device=self.device),
            torch.arange(self.modulus, device=self.device),
            indexing="ij",
        )
        return torch.stack([value, goal, time], -1).flatten(0, -2)

    def context_index(self, observation: Tensor) -> Tensor:
        if self.view == "tokens":
            return self._history_index(observation)
        value, goal, time = observation.unbind(-1)
        return (time * self.modulus + value) * self.modulus + goal

    def demonstrator(self, style: Sequence[float] | None = STYLE, noise: float = 0.0) -> Tensor:
        """A solver with habits: it samples right chains in proportion to the product of ``style`` over its operations.

        ``pi(j | x, g, t) = (1 - noise) w_j N^w_{L-t-1}(op_j x, g) / N^w_{L-t}(x, g) + noise / V``; where no chain is
        right any more it is uniform. ``style=None`` weighs all right chains alike: its trajectory entropy is log N.

        Raises:
            ToybedError: ``style`` has not one positive weight for each operation.
        """
        if not 0 <= noise <= 1:
            raise ToybedError(f"chain_reach: noise is {noise}; allowed: 0 to 1")
        weights = [1.0] * self.operations if style is None else [float(w) for w in style]
        if style is STYLE and self.operations != len(STYLE):
            weights = [STYLE[j * len(STYLE) // self.operations] for j in range(self.operations)]
        if len(weights) != self.operations or min(weights) <= 0:
            raise ToybedError(f"chain_reach: style is {style}; allowed: {self.operations} positive weights, or None")
        ways = self.counts(weights)
        weight = torch.tensor(weights, dtype=torch.float64, device=self.device)
        # [t, x, j, g]: ways that are left after operation j at step t
        ahead = ways[:-1].flip(0)[:, self._tables[0]] * weight[:, None]
        total = ahead.sum(2, keepdim=True)
        uniform = torch.full_like(ahead, 1 / self.operations)
        solver = torch.where(total > 0, ahead / total.clamp(min=1e-300), uniform)
        mixed = (1 - noise) * solver + noise * uniform
        table = mixed.transpose(2, 3).reshape(-1, self.operations).clamp(min=1e-38).log().float()
        return table if self.view == "state" else table[self._state_of_history()]

    def evaluate(self, log_probs: Tensor) -> Evaluation:
        """Exact reward and sequence entropy on all prompts, by dynamic programming backwards in time.

        ``W_t(x, g) = sum_j pi(j | x, g, t) W_{t+1}(op_j x, g)``, and with ``H(pi)`` added at each step for entropy.
        In the tokens view the same over histories: as much work as the table has entries.
        """
        if self.view == "tokens":
            return self._evaluate_histories(log_probs)
        m, lead = self.modulus, log_probs.shape[:-2]
        log_pi = log_probs.view(*lead, self.length, m, m, self.operations)
        pi = log_pi.exp()
        step_entropy = -(pi * log_pi).sum(-1)
        reward = torch.eye(m, dtype=pi.dtype, device=pi.device).expand(*lead, m, m)
        entropy = torch.zeros_like(reward)
        for t in range(self.length - 1, -1, -1):
            reward = self._expect(pi[..., t, :, :, :], reward)
            entropy = step_entropy[..., t, :, :] + self._expect(pi[..., t, :, :, :], entropy)
        prompts = self.prompts()
        return Evaluation(reward.flatten(-2)[..., prompts], entropy.flatten(-2)[..., prompts])

    def _expect(self, pi: Tensor, value: Tensor) -> Tensor:
        """``sum_j pi[..., x, g, j] value[..., op_j x, g]``."""
        ahead = value[..., self._tables[0], :]  # [..., x, j, g]
        return torch.einsum("...xgj,...xjg->...xg", pi, ahead)

    # -- the tokens view: a tree of histories for each prompt ------------------------------------------------------
    # Histories of t tokens are numbered like a number in base V whose leading digit is the prompt: the children of
    # history h are h V, ..., h V + V - 1. Contexts are the numbers of t = 0, then those of t = 1, and so on.
    @property
    def _level_sizes(self) -> list[int]:
        """How many histories have t tokens, for t = 0 .. L - 1."""
        sizes = [self.n_prompts * self.operations**t for t in range(self.length)]
        if sum(sizes) > MAX_ENUMERATED:
            raise ToybedError(
                f'chain_reach: {sum(sizes)} histories of view="tokens" are too many to list (at most {MAX_ENUMERATED})'
            )
        return sizes

    @cached_property
    def _reached(self) -> tuple[Tensor, ...]:
        """The value after each history of t tokens, for t = 0 .. L - 1, each ``[m^2 V^t]``."""
        values = [torch.arange(self.n_prompts, device=self.device) // self.modulus]
        for _ in self._level_sizes[1:]:
            values.append(self._tables[0][values[-1]].flatten())
        return tuple(values)

    def _goals(self, time: int) -> Tensor:
        """The goal of each history of ``time`` tokens, ``[m^2 V^t]``."""
        goal = torch.arange(self.n_prompts, device=self.device) % self.modulus
        return goal.repeat_interleave(self.operations**time)

    def _histories(self) -> Tensor:
        """All contexts, ``[C, L + 1]`` with ``C = m^2 (1 + V + ... + V^(L-1))``."""
        levels = []
        for time, size in enumerate(self._level_sizes):
            number = torch.arange(size, device=self.device)
            digits = [number // self.operations**place % self.operations for place in reversed(range(time))]
            to_come = [torch.full_like(number, self.operations)] * (self.length - 1 - time)
            start = number // (self.operations**time * self.modulus)
            levels.append(torch.stack([self._goals(time), start, *digits, *to_come], -1))
        return torch.cat(levels)

    def _history_index(self, observation: Tensor) -> Tensor:
        goal, start, *tokens = observation.unbind(-1)
        number, first = start * self.modulus + goal, torch.zeros_like(goal)
        for token, size in zip(tokens, self._level_sizes[:-1], strict=True):
            chosen = token < self.operations
            number = torch.where(chosen, number * self.operations + token, number)
            first = torch.where(chosen, first + size, first)
        return first + number

    def _state_of_history(self) -> Tensor:
        """The context of the state view that each history leads to, ``[C]``."""
        m = self.modulus
        return torch.cat([(time * m + value) * m + self._goals(time) for time, value in enumerate(self._reached)])

    def _evaluate_histories(self, log_probs: Tensor) -> Evaluation:
        *_, last = self._reached
        worth = (self._tables[0][last] == self._goals(self.length - 1)[:, None]).flatten().to(log_probs.dtype)
        entropy = torch.zeros_like(worth)
        for log_pi in reversed(log_probs.split(self._level_sizes, -2)):  # [..., m^2 V^t, V]
            pi = log_pi.exp()
            # what lies ahead of a history: its V children stand side by side
            worth, entropy = (ahead.view(*ahead.shape[:-1], -1, self.operations) for ahead in (worth, entropy))
            worth, entropy = (pi * worth).sum(-1), (pi * (entropy - log_pi)).sum(-1)
        return Evaluation(worth, entropy)
