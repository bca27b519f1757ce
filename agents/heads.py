"""Policies of several heads: a view of a world that shows the policy which head it acts as."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, wraps
from typing import Any, Self

import torch
from torch import Tensor, nn

from toybed.agents.config import Heads
from toybed.agents.policies import MLPPolicy, Policy
from toybed.envs.core import ILLEGAL, Evaluation, Reading, TokenEnv, check_split
from toybed.envs.views import View
from toybed.errors import ToybedError
from toybed.streams import Streams


class HeadedState(tuple[Tensor, ...]):
    """The head that acts, int64 ``[...]``, and then the parts of the world's own state."""

    def __new__(cls, *parts: Tensor) -> Self:
        """From its parts one by one, as a world's own state."""
        return super().__new__(cls, parts)


def with_heads(env: TokenEnv, heads: Heads) -> TokenEnv:
    """The world as a policy of several heads sees it; with one head, the world.

    Raises:
        ToybedError: several heads, in a world whose contexts cannot be listed.
    """
    if heads.count > 1 and not env.tabulated:
        raise ToybedError(f"{env.title} cannot be listed, so that heads are not measured there; allowed: heads=1")
    return env if heads.count == 1 else Headed(env, heads, device=env.device)


@dataclass(frozen=True)
class Headed(View):
    """A world whose observation begins with the number of the head that acts; the rest is the world's own.

    A table has then a part for each head, and a network an embedding of the head's number, as a language model has a
    token for it. Who acts when is said by :class:`~toybed.agents.config.Heads`. With ``by="group"`` a prompt is
    numbered ``head * P + question``, so that there are N P of them.

    What is true of a policy here is true of the policy that its users meet, who do not choose the head: reward,
    response probabilities and what follows from them (pass@k of independent samples, coverage) are those of the
    mixture. The entropy is the mean over heads of each head's own, as a language model's is given its prompt: with
    the entropy of the mixture it makes two measures, and the probe ``heads`` takes both.

    Args:
        env: the world.
        heads: how many, and who acts when.
    """

    heads: Heads

    # -- what it is ------------------------------------------------------------------------------------------------
    @property
    def observation_sizes(self) -> tuple[int, ...]:
        """The number of heads, then the world's."""
        return (self.heads.count, *self.env.observation_sizes)

    @property
    def reading(self) -> Reading | None:
        """The number of the head, then what the world shows."""
        if (reading := self.env.reading) is None:
            return None
        later = tuple(tuple(entry + 1 for entry in frame) for frame in reading.frames)
        return Reading(((0,), *later), (self.heads.count, *reading.sizes))

    def position(self, observation: Tensor) -> Tensor:
        """As the world's."""
        return self.env.position(observation[..., 1:])

    @property
    def n_prompts(self) -> int:
        """The world's; where a prompt says which head acts, as many for each."""
        return self.env.n_prompts * (self.heads.count if self.heads.by == "group" else 1)

    @property
    def noise(self) -> int:
        """The world's, and before it the number that draws a response's head."""
        return self.env.noise + (self.heads.by == "response")

    # -- how it moves ----------------------------------------------------------------------------------------------
    def reset(self, prompt: Tensor, noise: Tensor | None = None) -> HeadedState:
        """The first state.

        Raises:
            ToybedError: the head is drawn for each response, and nothing was drawn.
        """
        if self.heads.by == "response":
            if noise is None:
                raise ToybedError(f"{self.heads.count} heads, drawn for each response, need their noise at reset")
            head = (noise[..., 0] * self.heads.count).long().clamp(max=self.heads.count - 1)
            noise = noise[..., 1:] if self.env.noise else None
        else:
            head = prompt // self.env.n_prompts if self.heads.by == "group" else prompt % self.heads.count
        return HeadedState(head, *self.env.reset(self.question(prompt), noise))

    def question(self, prompt: Tensor) -> Tensor:
        """The world's own prompt."""
        return prompt % self.env.n_prompts

    def observe(self, state: HeadedState) -> Tensor:
        """The head, then what the world shows."""
        return torch.cat([state[0][..., None], self.env.observe(self._own(state))], -1)

    def step(self, state: HeadedState, token: Tensor) -> HeadedState:
        """As the world steps; the head stays."""
        return HeadedState(state[0], *self.env.step(self._own(state), token))

    def reward(self, state: HeadedState) -> Tensor:
        """As the world's."""
        return self.env.reward(self._own(state))

    def reward_vector(self, state: HeadedState) -> Tensor:
        """As the world's."""
        return self.env.reward_vector(self._own(state))

    def legal(self, state: HeadedState) -> Tensor | None:
        """As the world's."""
        return self.env.legal(self._own(state))

    def legal_at(self, observation: Tensor) -> Tensor | None:
        """As the world's."""
        return self.env.legal_at(observation[..., 1:])

    def plans_at(self, observation: Tensor) -> Tensor:
        """As the world's."""
        return self.env.plans_at(observation[..., 1:])

    def describe(self, state: HeadedState) -> str:
        """The head, then what the world says."""
        return f"head {int(state[0])}: {self.env.describe(self._own(state))}"

    @cached_property
    def _state(self) -> type[Any]:
        return type(self.env.reset(torch.zeros((), dtype=torch.int64, device=self.device)))

    def _own(self, state: HeadedState) -> Any:
        return self._state(*state[1:])

    # -- its truth -------------------------------------------------------------------------------------------------
    def prompts(self, split: str = "all") -> Tensor:
        """The world's; where a prompt says which head acts, once for each."""
        check_split(split)
        own = self.env.prompts(split)
        if self.heads.by != "group":
            return own
        return torch.cat([own + head * self.env.n_prompts for head in range(self.heads.count)])

    def solutions(self, prompt: Tensor) -> Tensor:
        """As the world's."""
        return self.env.solutions(self.question(prompt))

    def difficulty(self, prompt: Tensor) -> Tensor:
        """As the world's."""
        return self.env.difficulty(self.question(prompt))

    def optimum(self) -> float:
        """As the world's: heads reach no more."""
        return self.env.optimum()

    def random_baseline(self) -> float:
        """As the world's."""
        return self.env.random_baseline()

    @property
    def demonstrator(self) -> Callable[..., Tensor]:  # has the options of the world's own
        """The world's, for every head."""

        @wraps(self.env.demonstrator)
        def alike(*args: Any, **style: Any) -> Tensor:
            return self.env.demonstrator(*args, **style).repeat(self.heads.count, 1)

        return alike

    @cached_property
    def _contexts(self) -> Tensor:
        return self.env.contexts()

    def contexts(self) -> Tensor:
        """The world's, for one head after the other."""
        count, own = self.heads.count, self._contexts
        head = torch.arange(count, device=self.device).repeat_interleave(len(own))[:, None]
        return torch.cat([head, own.repeat(count, 1)], -1)

    def context_index(self, observation: Tensor) -> Tensor:
        """The row in :meth:`contexts`."""
        return observation[..., 0] * len(self._contexts) + self.env.context_index(observation[..., 1:])

    def tables(self, log_probs: Tensor) -> Tensor:
        """Each head's table over the world's own contexts: ``[..., N C, V]`` to ``[..., N, C, V]``."""
        return log_probs.unflatten(-2, (self.heads.count, -1))

    def shares(self, question: Tensor) -> Tensor:
        """How often each head answers each of the world's own prompts: ``[P]`` to ``[N, P]``, float64."""
        count = self.heads.count
        if self.heads.by != "prompt":
            return torch.full((count, len(question)), 1 / count, dtype=torch.float64, device=self.device)
        return (question % count == torch.arange(count, device=self.device)[:, None]).double()

    def enumerate_responses(self, log_probs: Tensor, prompt: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probability of every response under the mixture, and its reward."""
        tables, question = self.tables(log_probs), self.question(prompt)
        share = self.shares(question).log().clamp(min=ILLEGAL).to(log_probs.dtype)[..., None]
        total, reward = self.env.enumerate_responses(tables[..., 0, :, :], question)
        total = total + share[0]
        for head in range(1, self.heads.count):
            log_prob, _ = self.env.enumerate_responses(tables[..., head, :, :], question)
            log_prob = log_prob + share[head]
            # Not logaddexp: its vector and its scalar code round differently, so that a stack would not be the run.
            total = torch.maximum(total, log_prob) + (-(total - log_prob).abs()).exp().log1p()
        return total, reward

    def evaluate(self, log_probs: Tensor) -> Evaluation:
        """Exact reward of the mixture, and the mean over heads of the entropy of each."""
        each = self.env.evaluate(self.tables(log_probs))
        shares = self.shares(self.env.prompts())

        def mean(value: Tensor) -> Tensor:
            # Head by head: what a reduction rounds may depend on how many runs are stacked.
            mixed = torch.zeros_like(value[..., 0, :])
            for part, share in zip(value.unbind(-2), shares.to(value.dtype), strict=True):
                mixed = mixed + part * share
            return mixed.repeat(*(1,) * (mixed.ndim - 1), self.n_prompts // self.env.n_prompts)

        return Evaluation(mean(each.reward), mean(each.entropy))

    def measures(self, log_probs: Tensor) -> dict[str, Tensor]:
        """The world's, means over the heads, each on all prompts."""
        of_heads = self.env.measures(self.tables(log_probs))
        return {name: torch.stack(value.unbind(-1)).mean(0) for name, value in of_heads.items()}


def check_no_heads(env: TokenEnv, who: str) -> None:
    """Raise a ToybedError if the policies in this world have heads."""
    if isinstance(env, Headed):
        raise ToybedError(f"{who} takes policies without heads, and these have {env.heads.count}; allowed: heads=1")


class MLPPerHead(Policy):
    """A network for each head, and nothing that they share; as slow as so many networks.

    Args:
        env: a world with heads; in any other there is one network.
        streams: the initial weights' randomness, one stream for each run.
        options: of each :class:`~toybed.agents.policies.MLPPolicy`.
    """

    def __init__(self, env: TokenEnv, streams: Streams, **options: int) -> None:
        super().__init__()
        self.runs = len(streams)
        self.world = env
        self._headed = isinstance(env, Headed)
        own, count = (env.env, env.heads.count) if isinstance(env, Headed) else (env, 1)
        self.networks = nn.ModuleList(MLPPolicy(own, streams, **options) for _ in range(count))

    def forward(self, observation: Tensor) -> Tensor:
        """Logits ``[S, N, V]`` for ``observation [S, N, F]``, each by the network of its head."""
        own = observation[..., 1:] if self._headed else observation
        first, *others = (network(own) for network in self.networks)
        logits: Tensor = first
        for number, of_head in enumerate(others, 1):
            # Chosen one by one: each network gets a gradient that lies in memory as its logits do, also in a stack.
            logits = torch.where(observation[..., :1] == number, of_head, logits)
        return logits

    def output(self) -> tuple[nn.Parameter, ...]:
        """Weights and biases of all last layers."""
        networks = (network for network in self.networks if isinstance(network, MLPPolicy))
        return tuple(part for network in networks for part in network.output())
