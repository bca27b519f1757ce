"""Policies whose parameters carry the run axis S: one module holds S independent policies.

Parameters are ordinary ``nn.Parameter`` of shape ``[S, ...]``, so ``.to(device)``, ``state_dict`` and ``torch.optim``
work as everywhere. A run never reads another run's slice; on one CPU thread a run in a stack equals the same run alone
bit for bit.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property
from importlib import import_module
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from toybed.agents.choices import Choices, Distributions, first_rows
from toybed.envs.core import ILLEGAL, TokenEnv
from toybed.errors import ToybedError, unknown
from toybed.own import is_own, load
from toybed.streams import Streams

TABLE_ROWS = 2**14
"""Contexts that are tabulated at a time: those of many heads in many runs would fill the memory."""


LogProbs = Callable[[Tensor, Tensor | None], Tensor]
"""``(observation [S, B, G, F], legal [S, B, G, V] or None) -> log-probabilities [S, B, G, V]``."""

Chooses = Callable[[Tensor, Tensor | None], Choices]
"""``(observation [S, B, G, F], legal [S, B, G, V] or None) -> choices [S, B, G]``."""


class Policy(nn.Module):
    """A policy for each of S runs: observations to logits.

    Attributes:
        runs: S.
        trained: which parameters an optimiser may change, bool ``[S, D]`` in the order of :func:`flat_parameters`; None
            for all.
        world: whose contexts may be evaluated, each once, in the place of more positions than there are contexts; None
            where that is not the policy's way to read.
    """

    runs: int
    trained: Tensor | None = None
    world: TokenEnv | None = None

    @abstractmethod
    def forward(self, observation: Tensor) -> Tensor:
        """Logits ``[S, N, V]`` for ``observation [S, N, F]`` (int64)."""

    def log_probs(self, observation: Tensor, legal: Tensor | None = None) -> Tensor:
        """Log-probabilities of all tokens, for observations with any axes between S and F.

        Args:
            observation: ``[S, ..., F]``.
            legal: bool ``[S, ..., V]``, or None where all tokens may be used.

        Returns:
            ``[S, ..., V]``.
        """
        return normalise(self(observation.flatten(1, -2)).view(*observation.shape[:-1], -1), legal)

    def follow(self) -> LogProbs:
        """What gives :meth:`log_probs` of responses in the making, called before each of their tokens in turn.

        All responses begin together, and those of a group in one state; see :func:`toybed.agents.rollout.rollout`. Here
        nothing has to be remembered of the tokens before.
        """
        return self.log_probs

    def choosing(self, rows: int) -> Chooses:
        """What gives the choices of responses in the making, called before each of their tokens in turn.

        Args:
            rows: how many states of each run will be asked about in all.
        """
        table = self._tabulated(rows)
        return chooses_from(self.follow()) if table is None else table.at

    def response_log_probs(
        self, observation: Tensor, legal: Tensor | None = None, *, shared_start: bool = False
    ) -> Tensor:
        """Log-probabilities of all tokens at every position of whole responses, ``[S, B, G, T, V]``.

        Arguments are those of :meth:`choices`.
        """
        return self.choices(observation, legal, shared_start=shared_start).log_probs

    def choices(self, observation: Tensor, legal: Tensor | None = None, *, shared_start: bool = False) -> Choices:
        """The choices at every position ``[S, B, G, T]`` of whole responses; here position by position.

        A policy that reads histories does it in one pass: the last observation of a response holds the others.

        Args:
            observation: what was seen before each token, ``[S, B, G, T, F]``.
            legal: bool ``[S, B, G, T, V]``, or None where all tokens may be used.
            shared_start: the G responses of a group begin in one state: it is evaluated once and not G times.
        """
        runs, prompts, group, length = observation.shape[:4]
        table = self._tabulated(states(prompts, group, length, shared_start=shared_start))
        if table is not None:
            return table.at(observation)
        if not shared_start:
            return Choices(Distributions(self.log_probs(observation, legal)))

        def rows(value: Tensor) -> Tensor:
            """``[S, B + B G (T - 1), ...]``: the starts, then the rest, for one pass over both."""
            return torch.cat([value[:, :, :1, :1].flatten(1, 3), value[:, :, :, 1:].flatten(1, 3)], 1)

        log_probs = normalise(self(rows(observation)), None if legal is None else rows(legal))
        start, later = torch.arange(log_probs.shape[1], device=log_probs.device).tensor_split([prompts])
        row = torch.cat([start.view(prompts, 1, 1).expand(-1, group, 1), later.view(prompts, group, length - 1)], -1)
        return Choices(Distributions(log_probs), row.expand(runs, -1, -1, -1))

    def _tabulated(self, rows: int) -> _Table | None:
        """The choices in all contexts of the world, if there are no more of them than ``rows``."""
        if self.world is None or self._contexts is None or len(self._contexts) > rows:
            return None
        log_probs = normalise(self._context_logits(self._contexts), self._legal)
        return _Table(Distributions(log_probs), self.world)

    def _context_logits(self, contexts: Tensor) -> Tensor:
        """Logits ``[S, C, V]`` of all the world's ``contexts [C, F]``."""
        logits: Tensor = self(contexts.expand(self.runs, *contexts.shape))
        return logits

    @cached_property
    def _contexts(self) -> Tensor | None:
        """``[C, F]``; None where they cannot be listed, or are histories, which are more than any batch has states."""
        world = self.world
        return world.contexts() if world is not None and world.tabulated and world.reading is None else None

    @cached_property
    def _legal(self) -> Tensor | None:
        """Which tokens are legal in which context, ``[C, V]``; None where all are."""
        if self.world is None or self._contexts is None:
            return None
        return self.world.legal_at(self._contexts.expand(self.runs, *self._contexts.shape))

    @abstractmethod
    def output(self) -> tuple[nn.Parameter, ...]:
        """The parameters that make the logits, which are proportional to them."""

    @torch.no_grad()
    def flatten_logits(self, temperature: float) -> None:
        """Divide all logits by a temperature, for good: above 1 the policy gets flatter."""
        if temperature != 1:
            for parameter in self.output():
                parameter.div_(temperature)

    def table(self, env: TokenEnv) -> Tensor:
        """The policy as a table over the world's contexts, ``[S, C, V]``; without gradient."""
        with torch.no_grad():
            parts = env.contexts().split(TABLE_ROWS)
            return torch.cat(
                [self.log_probs(part.expand(self.runs, *part.shape), env.legal_at(part)) for part in parts], 1
            )


class _Table(NamedTuple):
    """The choices in all contexts of a world."""

    among: Distributions
    world: TokenEnv

    def at(self, observation: Tensor, legal: Tensor | None = None) -> Choices:
        """Those at ``observation [S, ..., F]``; what is legal there is in the table."""
        return Choices(self.among, self.world.context_index(observation))


def states(prompts: int, group: int, length: int, *, shared_start: bool) -> int:
    """How many states a run's responses pass through, whose groups may begin in one state."""
    return prompts * (1 + group * (length - 1)) if shared_start else prompts * group * length


class TabularPolicy(Policy):
    """One logit for each context and token: the policy of the theorems.

    Args:
        env: the world.
        streams: the S runs (nothing is drawn: all logits start at 0, the uniform policy).
    """

    def __init__(self, env: TokenEnv, streams: Streams) -> None:
        super().__init__()
        self.runs = len(streams)
        self.world, self._index = env, env.context_index
        contexts = len(env.contexts())
        self.first_row: Tensor
        self.logits = nn.Parameter(torch.zeros(self.runs, contexts, env.vocabulary, device=env.device))
        self.register_buffer("first_row", first_rows(self.runs, contexts, env.device), persistent=False)

    def forward(self, observation: Tensor) -> Tensor:
        """Logits ``[S, N, V]`` for ``observation [S, N, F]``."""
        row = self._index(observation)
        # Half the time of functional.embedding, whose gradient looks for padding.
        return self.logits.flatten(0, 1).index_select(0, (row + self.first_row).flatten()).view(*row.shape, -1)

    def _context_logits(self, contexts: Tensor) -> Tensor:
        return self.logits

    def output(self) -> tuple[nn.Parameter, ...]:
        """The table itself."""
        return (self.logits,)

    @torch.no_grad()
    def set_table(self, log_probs: Tensor) -> None:
        """Make every run the given policy, ``[C, V]`` or ``[S, C, V]``."""
        self.logits.copy_(log_probs.expand_as(self.logits))


class MLPPolicy(Policy):
    """Two hidden layers over learned embeddings; contexts share parameters, so the policy generalises.

    ``logits = W_2 gelu(W_1 gelu(W_0 sum_f e_f[o_f] + b_0) + b_1) + b_2``, with ``e_f`` a vector for each value of entry
    f of the observation.

    Args:
        env: the world.
        streams: the initial weights' randomness, one stream for each run.
        width: units of each hidden layer.
        embedding: length of the vectors e_f.
        outputs: numbers for each observation; by default one for each token.
    """

    def __init__(
        self, env: TokenEnv, streams: Streams, *, width: int = 128, embedding: int = 48, outputs: int | None = None
    ) -> None:
        super().__init__()
        check_width("mlp", width)
        self.world = env
        if embedding < 1:
            raise ToybedError(f"mlp: embedding is {embedding}; allowed: at least 1")
        self.runs = len(streams)
        outputs = env.vocabulary if outputs is None else outputs
        sizes = env.observation_sizes
        rows = sum(sizes)
        # torch's own rules: U(-1/sqrt(fan_in), +) for linear layers, variance 1 for embeddings.
        self.embedding = nn.Parameter(uniform_weights(streams, (rows, embedding), 3**0.5))
        self.weight_0 = nn.Parameter(uniform_weights(streams, (embedding, width), embedding**-0.5))
        self.bias_0 = nn.Parameter(uniform_weights(streams, (1, width), embedding**-0.5))
        self.weight_1 = nn.Parameter(uniform_weights(streams, (width, width), width**-0.5))
        self.bias_1 = nn.Parameter(uniform_weights(streams, (1, width), width**-0.5))
        self.weight_2 = nn.Parameter(uniform_weights(streams, (width, outputs), width**-0.5))
        self.bias_2 = nn.Parameter(uniform_weights(streams, (1, outputs), width**-0.5))
        self.first_row: Tensor
        starts = torch.tensor([sum(sizes[:f]) for f in range(len(sizes))], device=env.device)
        self.register_buffer("first_row", first_rows(self.runs, rows, env.device)[..., None] + starts, persistent=False)

    def forward(self, observation: Tensor) -> Tensor:
        """Logits ``[S, N, V]`` for ``observation [S, N, F]``."""
        return self.onward(self.units(observation))

    def units(self, observation: Tensor, layer: int = 0) -> Tensor:
        """The units of the first hidden layer (``layer`` 0) or the second (1), ``[S, N, width]``."""
        rows = observation + self.first_row
        # W_0 is applied to the few embeddings, not to the many observations that sum them.
        table = torch.bmm(self.embedding, self.weight_0).flatten(0, 1)
        first = functional.gelu(summed_rows(table, rows, rows.shape[-1:]).squeeze(2) + self.bias_0)
        return self._second(first) if layer else first

    def onward(self, units: Tensor, layer: int = 0) -> Tensor:
        """Logits ``[S, N, V]`` from the units of a hidden layer on, ``[S, N, width]``."""
        return linear(self.bias_2, units if layer else self._second(units), self.weight_2)

    def _second(self, first: Tensor) -> Tensor:
        return functional.gelu(torch.baddbmm(self.bias_1, first, self.weight_1))

    def output(self) -> tuple[nn.Parameter, ...]:
        """Weights and biases of the last layer."""
        return (self.weight_2, self.bias_2)


POLICIES = {
    "tabular": "toybed.agents.policies:TabularPolicy",
    "mlp": "toybed.agents.policies:MLPPolicy",
    "hierarchical": "toybed.agents.hierarchy:HierarchicalPolicy",
    "mlp_per_head": "toybed.agents.heads:MLPPerHead",
    "gru": "toybed.agents.sequences:GRUPolicy",
    "transformer": "toybed.agents.sequences:TransformerPolicy",
}
"""Where each policy's class is, by name."""


def make_policy(name: str, env: TokenEnv, seeds: Sequence[int], *, stream: str = "policy", **options: Any) -> Policy:
    """The named policy for runs of the given seeds, on the world's device.

    Args:
        name: one of :data:`POLICIES`; or ``module:name``, a module of one's own
            (:class:`~toybed.agents.modules.ModulePolicy`).
        env: the world.
        seeds: the runs' root seeds.
        stream: name of the initial weights' randomness: networks of one run that are to differ have streams of their
            own.
        **options: of the policy's class.

    Raises:
        ToybedError: the name is unknown, an option is out of range, or the policy cannot read this world.
    """
    streams = Streams(stream, seeds, env.device)
    if is_own(name):
        from toybed.agents.modules import own_policy

        return own_policy(load(name, "policy"), name, env, streams, **options)
    if name not in POLICIES:
        raise unknown("policy", name, POLICIES)
    module, class_name = POLICIES[name].split(":")
    policy: Policy = getattr(import_module(module), class_name)(env, streams, **options)
    return policy


def chooses_from(log_probs: LogProbs) -> Chooses:
    """Choices position by position, from log-probabilities."""
    return lambda observation, legal: Choices(Distributions(log_probs(observation, legal)))


def flat_parameters(policy: Policy) -> Tensor:
    """All parameters of each run in one row: ``[S, D]``, a copy without gradient."""
    return torch.cat([p.detach().flatten(1) for p in policy.parameters()], 1)


@torch.no_grad()
def load_flat(policy: Policy, flat: Tensor) -> None:
    """Set the parameters from rows made by :func:`flat_parameters`."""
    start = 0
    for p in policy.parameters():
        size = p[0].numel()
        p.copy_(flat[:, start : start + size].view_as(p))
        start += size


def summed_rows(table: Tensor, rows: Tensor, counts: tuple[int, ...]) -> Tensor:
    """Sums of rows of a table: of the first ``counts[0]`` entries of ``rows``, of the next ``counts[1]``, and so on.

    Args:
        table: ``[R, width]``.
        rows: ``[S, N, F]``.
        counts: how many entries each of the E sums has; F in all.

    Returns:
        ``[S, N, E, width]``.
    """
    summed: Tensor = _SummedRows.apply(table, rows, counts)
    return summed


class _SummedRows(torch.autograd.Function):
    """``embedding_bag`` with a gradient of its own.

    That of torch sorts the rows of all runs together, so that a run's sums would round differently in a stack than
    alone.
    """

    @staticmethod
    def forward(ctx: Any, table: Tensor, rows: Tensor, counts: tuple[int, ...]) -> Tensor:
        ctx.save_for_backward(rows)
        ctx.table_shape, ctx.counts = table.shape, counts
        flat = rows.flatten(0, 1)
        if len(set(counts)) == 1:
            summed = functional.embedding_bag(flat.view(-1, counts[0]), table, mode="sum")
        else:
            ends = torch.tensor(counts, device=rows.device).cumsum(0)
            first = torch.arange(0, flat.numel(), flat.shape[1], device=rows.device)[:, None]
            starts = (first + ends - torch.tensor(counts, device=rows.device)).flatten()
            summed = functional.embedding_bag(flat.flatten(), table, starts, mode="sum")
        return summed.view(*rows.shape[:2], len(counts), -1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (rows,) = ctx.saved_tensors
        gradient, flat = gradients[0].flatten(0, 1), rows.flatten(0, 1)
        total = gradient.new_zeros(ctx.table_shape)
        if set(ctx.counts) == {1}:
            return total.index_add(0, flat.flatten(), gradient.flatten(0, 1)), None, None
        sums = [number for number, count in enumerate(ctx.counts) for _ in range(count)]
        for entry, number in zip(flat.unbind(1), sums, strict=True):
            total = total.index_add(0, entry, gradient[:, number])
        return total, None, None


def normalise(logits: Tensor, legal: Tensor | None) -> Tensor:
    """Log-probabilities ``[..., V]`` of ``logits [..., V]``, among the tokens that are ``legal [..., V]``."""
    if legal is not None:
        logits = logits.masked_fill(~legal, ILLEGAL)
    return torch.log_softmax(logits, -1)


def linear(bias: Tensor, units: Tensor, weight: Tensor) -> Tensor:
    """``units [S, N, W] @ weight [S, W, V] + bias [S, 1, V]``, for any V, with a run's bits alone those in a stack.

    Where V is no multiple of 4, torch multiplies one pair of matrices by another kernel than two or more, and by
    another where a run's N V logits do not begin on 16 bytes; each rounds in its own way. So a lone run is multiplied
    there as one of two, and rows are filled up to a multiple of 4. (Logits filled up to a multiple of 4 would do as
    well, but change the bits of stacks that had no fault.)
    """
    runs, rows = units.shape[:2]
    if weight.shape[-1] % 4 == 0:
        return torch.baddbmm(bias, units, weight)
    if rows % 4:
        units = functional.pad(units, (0, 0, 0, -rows % 4))
    copies = (each.expand(max(runs, 2), -1, -1) for each in (bias, units, weight))
    return torch.baddbmm(*copies)[:runs, :rows]


def check_width(policy: str, width: int) -> None:
    """Raise a ToybedError unless ``width`` is a multiple of 4.

    Rows that do not start on 16 bytes are multiplied by other kernels in a stack than alone, which round otherwise.
    """
    if width < 4 or width % 4:
        raise ToybedError(
            f"{policy}: width is {width}; allowed: multiples of 4, so that a run alone is the run in a stack"
        )


def uniform_weights(streams: Streams, shape: tuple[int, ...], bound: float) -> Tensor:
    """Initial weights ``[S, *shape]``, uniform in ``[-bound, bound)``."""
    return (streams.uniform(shape) * 2 - 1) * bound
