"""TokenEnv: a world as pure functions over a state of tensors, with its own truth.

The leading axes of a state are free, so the same functions serve one episode (gymnasium), a batch of environments
(gymnasium's vector API) and stacked runs of groups of responses ``[S, B, G]``, without a Python loop over episodes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from toybed.errors import ToybedError, unknown
from toybed.measures.entropy import token_entropy

SPLITS = ("train", "test", "all")
MAX_ENUMERATED = 2**22
ILLEGAL = -1e9  # of an illegal token's log-probability: finite, so that p log p is 0 and not NaN


class Evaluation(NamedTuple):
    """What a policy is worth, exactly, prompt by prompt.

    Attributes:
        reward: expected reward, ``[..., P]``.
        entropy: entropy of the response in nats *per sequence*, ``[..., P]``; divided by the horizon it is the mean
            token entropy over the policy's own rollouts (chain rule), which is what logs of language models show.
    """

    reward: Tensor
    entropy: Tensor


class Reading(NamedTuple):
    """How a policy that reads sequences reads an observation: frame by frame, causally.

    Token t of T is chosen after frame ``len(frames) - T + t``; frames after that one are not read there.

    Attributes:
        frames: groups of entries that are read at once, in their order.
        sizes: how many values of each entry can be read; those above stand for what is still to come.
    """

    frames: tuple[tuple[int, ...], ...]
    sizes: tuple[int, ...]


class Each(NamedTuple):
    """What a policy for each prompt is worth, exactly.

    Attributes:
        reward: expected reward of each on its own prompt, ``[..., P]``.
        options: how often it takes each option in each of W situations that the world tells apart, as shares of all
            its choices on that prompt, ``[..., P, W, O]``; None in a world without.
    """

    reward: Tensor
    options: Tensor | None


@dataclass(frozen=True)
class TokenEnv(ABC):
    """A world in which a response is a short sequence of tokens.

    Sub-classes are frozen dataclasses whose fields are the world's knobs. A state is a ``NamedTuple`` of tensors. All
    randomness enters at :meth:`reset` as ``noise``; everything after is a function of state and token.
    """

    device: str = field(default="cpu", kw_only=True, compare=False, repr=False)

    # -- what it is ------------------------------------------------------------------------------------------------
    @property
    def title(self) -> str:
        """The world's name in messages; a view of another world gives that one's."""
        return type(self).__name__

    @property
    @abstractmethod
    def horizon(self) -> int:
        """Tokens in a response (T); every response has this length."""

    @property
    @abstractmethod
    def vocabulary(self) -> int:
        """Number of tokens (V)."""

    @property
    @abstractmethod
    def observation_sizes(self) -> tuple[int, ...]:
        """An observation is a vector of F integers; entry f is below ``observation_sizes[f]``."""

    @property
    def reading(self) -> Reading | None:
        """How the observation is read as a sequence; None where it hides the response's own tokens."""
        return None

    def position(self, observation: Tensor) -> Tensor:
        """How many tokens have been chosen at ``observation [..., F]``, ``[...]``, where there is a :attr:`reading`."""
        raise ToybedError(f"{self.title} does not show how many tokens have been chosen")

    @property
    def tabulated(self) -> bool:
        """Whether the contexts can be listed. A policy is then a table, and what it is worth is known exactly.

        Where not, :meth:`contexts` raises, and what a policy is worth is estimated from sampled responses
        (:func:`toybed.agents.sampled_worth.sampled_worth`).
        """
        return True

    @property
    @abstractmethod
    def n_prompts(self) -> int:
        """Prompts are numbered ``0 .. n_prompts - 1``."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kind of token at each of the T positions ("execution", "planning", ...)."""
        return ("execution",) * self.horizon

    def plans_at(self, observation: Tensor) -> Tensor:
        """Whether the token that is chosen at ``observation [..., F]`` is a planning token, bool ``[...]``.

        A hierarchical policy has a network of its own for these.
        """
        raise ToybedError(f"{type(self).__name__} does not show which tokens are planning tokens")

    @property
    def noise(self) -> int:
        """How many uniform numbers an episode draws at its start; 0 for a deterministic world."""
        return 0

    @property
    def tokens_decide(self) -> bool:
        """Whether noise touches the reward at most, so that responses and their noise-free rewards can be listed."""
        return True

    @property
    def binary_reward(self) -> bool:
        """Whether a response's reward is 0 or 1. If not, its mean is no success rate, and there is no pass@k."""
        return True

    @property
    def reward_names(self) -> tuple[str, ...]:
        """The D components of the reward vector; empty where the reward is one number."""
        return ()

    @property
    def set_size(self) -> int:
        """Answers in a response (M), each with a reward vector of its own."""
        return 1

    # -- how it moves ----------------------------------------------------------------------------------------------
    @abstractmethod
    def reset(self, prompt: Tensor, noise: Tensor | None = None) -> Any:
        """The first state for ``prompt [...]`` (int64); ``noise [..., self.noise]``, None for the noise-free world."""

    @abstractmethod
    def observe(self, state: Any) -> Tensor:
        """What the policy sees, ``[..., F]`` int64."""

    @abstractmethod
    def step(self, state: Any, token: Tensor) -> Any:
        """The state after ``token [...]``. A finished state may be stepped too; nobody reads the result."""

    @abstractmethod
    def reward(self, state: Any) -> Tensor:
        """The reward collected so far, ``[...]``; the reward of one step is the difference of two states'."""

    def reward_vector(self, state: Any) -> Tensor:
        """The components collected so far, ``[..., D]``, or ``[..., M, D]`` in a world whose ``set_size`` is above 1.

        :meth:`reward` is one number all the same: the components under the world's own fixed weights.
        """
        raise ToybedError(f"{self.title} has no reward vector: its reward is one number")

    def legal(self, state: Any) -> Tensor | None:
        """Which tokens may come next, bool ``[..., V]``; at least one. None where all always may.

        Policies give an illegal token no mass. :meth:`step` takes one all the same, and the response has no reward.
        """
        return None

    def legal_at(self, observation: Tensor) -> Tensor | None:
        """The same from what is seen, ``[..., F]``: a world that overrides one of the two overrides both."""
        return None

    def describe(self, state: Any) -> str:
        """One line about a single state, for people."""
        return f"observation {self.observe(state).tolist()}, reward so far {float(self.reward(state)):g}"

    # -- its truth -------------------------------------------------------------------------------------------------
    @abstractmethod
    def prompts(self, split: str = "all") -> Tensor:
        """Prompt numbers of ``"train"``, ``"test"`` or ``"all"``, ``[P]``."""

    @abstractmethod
    def solutions(self, prompt: Tensor) -> Tensor:
        """Number of distinct responses with full reward, int64 ``[...]``; a world without a full reward raises."""

    @abstractmethod
    def optimum(self) -> float:
        """The best attainable mean reward over all prompts."""

    @abstractmethod
    def random_baseline(self) -> float:
        """The mean reward of uniformly random legal tokens over all prompts."""

    def difficulty(self, prompt: Tensor) -> Tensor:
        """How hard each prompt is, float64 ``[...]``: larger is harder. What curricula go by.

        Here what uniformly random legal tokens lack of a reward of 1, exactly: where rewards are 0 or 1 their chance
        to be wrong.

        Raises:
            ToybedError: the world is not tabulated, and has not said how hard its prompts are.
        """
        if not self.tabulated:
            raise ToybedError(f"{self.title} does not say how hard its prompts are: it has no curricula")
        every = self.prompts()
        success = torch.zeros(self.n_prompts, dtype=torch.float64, device=self.device)
        return 1 - success.scatter(0, every, self.evaluate(self.uniform()).reward)[prompt]

    def demonstrator(self, *args: Any, **style: Any) -> Tensor:
        """Log-probabilities ``[C, V]`` over :meth:`contexts` of a policy whose responses serve as demonstrations."""
        raise ToybedError(f"{self.title} has no demonstrator that is a table")

    def demonstrate(self, *args: Any, **style: Any) -> Callable[[Tensor], Tensor]:
        """The demonstrator as a function from observations ``[..., F]`` to log-probabilities ``[..., V]``.

        A world that is not tabulated has this one only, and names its options here.
        """
        table = self.demonstrator(*args, **style)
        return lambda observation: table[self.context_index(observation)]

    def score(self, reward: Tensor) -> Tensor:
        """Reward on the world's own scale: 0 for random tokens, 1 for the optimum."""
        return (reward - self.random_baseline()) / (self.optimum() - self.random_baseline())

    def contexts(self) -> Tensor:
        """All C observations at which a token is chosen, ``[C, F]``: the states of a table policy."""
        grids = torch.meshgrid(*(torch.arange(n, device=self.device) for n in self.observation_sizes), indexing="ij")
        return torch.stack([grid.flatten() for grid in grids], -1)

    def uniform(self) -> Tensor:
        """The policy of random legal tokens: log-probabilities over :meth:`contexts`, float64 ``[C, V]``."""
        contexts = self.contexts()
        logits = torch.zeros(len(contexts), self.vocabulary, dtype=torch.float64, device=self.device)
        legal = self.legal_at(contexts)
        return (logits if legal is None else logits.masked_fill(~legal, ILLEGAL)).log_softmax(-1)

    def context_index(self, observation: Tensor) -> Tensor:
        """The row in :meth:`contexts` of each observation: ``[..., F] -> [...]``."""
        index = torch.zeros_like(observation[..., 0])
        for position, size in enumerate(self.observation_sizes):
            index = index * size + observation[..., position]
        return index

    def enumerate_responses(self, log_probs: Tensor, prompt: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probability and noise-free reward of every response to every prompt.

        Responses are in lexicographic order of their tokens. An illegal token leads nowhere useful: the policy gives
        it no mass.

        Args:
            log_probs: a policy as a table over :meth:`contexts`, ``[..., C, V]``.
            prompt: ``[P]``.

        Returns:
            ``log_prob [..., P, N]`` and ``reward [P, N]`` with ``N = V^T``.

        Raises:
            ToybedError: a prompt has more than 4 million responses, or their rewards depend on noise.
        """
        check_listable(self)
        responses = self.vocabulary**self.horizon
        if responses > MAX_ENUMERATED:
            raise ToybedError(
                f"{self.title}: {responses} responses are too many to enumerate (at most {MAX_ENUMERATED})"
            )
        tokens = torch.arange(self.vocabulary, device=self.device)
        state = self.reset(prompt[:, None])
        total = torch.zeros((*log_probs.shape[:-2], len(prompt), 1), dtype=log_probs.dtype, device=self.device)
        # Prefix by prefix: a tree of V^T leaves has few inner nodes, so shared beginnings are walked once.
        for _ in range(self.horizon):
            context = self.context_index(self.observe(state))
            total = (total[..., None] + log_probs[..., context, :]).flatten(-2)
            branches = (part.repeat_interleave(self.vocabulary, 1) for part in state)
            state = self.step(type(state)(*branches), tokens.repeat(context.shape[1]).expand(len(prompt), -1))
        return total, self.reward(state)

    def evaluate(self, log_probs: Tensor) -> Evaluation:
        """Exact reward and entropy of a table policy ``[..., C, V]`` on all prompts; here by enumeration."""
        log_prob, reward = self.enumerate_responses(log_probs, self.prompts())
        return Evaluation((log_prob.exp() * reward).sum(-1), token_entropy(log_prob))

    def measures(self, log_probs: Tensor) -> dict[str, Tensor]:
        """What else is exactly known of a policy ``[..., C, V]`` in this world: ``[...]`` by name; here nothing."""
        return {}

    def measure_answers(self, prompt: Tensor, state: Any, answer: Tensor) -> dict[str, Tensor]:
        """What else samples say of a policy in a world that is not tabulated: ``[S]`` by name; here nothing.

        Args:
            prompt: all test prompts, ``[P]``.
            state: before the last token of sampled responses, axes ``[S, P, G]``.
            answer: probabilities of that token, ``[S, P, G, V]``.
        """
        return {}

    def evaluate_each(self, log_probs: Tensor) -> Each:
        """What policies are worth that are made for one prompt each, exactly: ``[..., P, C, V]`` for all P prompts."""
        reward = self.evaluate(log_probs).reward
        return Each(reward.diagonal(dim1=-2, dim2=-1), None)

    def on(self, device: str) -> Self:
        """The same world with its tables on another device."""
        return replace(self, device=device)


def check_listable(env: TokenEnv) -> None:
    """Raise a ToybedError where a response's tokens do not decide its reward."""
    if not env.tokens_decide:
        raise ToybedError(
            f"{type(env).__name__}: responses cannot be listed: noise decides what becomes of their tokens"
        )


def sample_of(prompts: Tensor, count: int) -> Tensor:
    """At most ``count`` of the prompts ``[P]``, the same ones every time, in their order."""
    if len(prompts) <= count:
        return prompts
    chosen = torch.randperm(len(prompts), generator=torch.Generator().manual_seed(0))[:count]
    return prompts[chosen.sort().values.to(prompts.device)]


def check_split(split: str) -> None:
    """Raise a ToybedError unless ``split`` is one of the three."""
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
