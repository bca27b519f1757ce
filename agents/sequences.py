"""Policies that read the response's history as a sequence, in one causal pass: a GRU and a transformer.

Both keep the run axis S: parameters are ``[S, ...]``, and on one CPU thread a run in a stack is the run alone bit for
bit. Hence some choices that are not about speed: widths are multiples of 4, nothing is summed along S, and
``torch.sigmoid``, whose vector and scalar code round differently, is given whole vectors only.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from toybed.agents.choices import Choices, Distributions, first_rows
from toybed.agents.policies import (
    LogProbs,
    Policy,
    check_width,
    linear,
    normalise,
    summed_rows,
    uniform_weights,
)
from toybed.envs.core import TokenEnv
from toybed.errors import ToybedError
from toybed.streams import Streams

Memory = tuple[Tensor, ...]
"""What a reader remembers of the frames that it has read, each ``[S, N, ...]``."""

VECTOR = 64
"""A multiple of the numbers that any processor's vector code takes at a time."""

TABLE_ROWS = 4096
"""Histories that are read at a time when a policy is tabulated; more no longer fit the cache."""


class SequencePolicy(Policy):
    """What the two have in common: a vector for each value of each entry, a causal reader of frames, a linear head.

    Args:
        env: a world whose observation is a sequence (:attr:`~toybed.envs.core.TokenEnv.reading`).
        streams: the initial weights' randomness, one stream for each run.
        name: of the policy, for errors.
        width: numbers that are known after each frame.
        embedding: length of an entry's vector.

    Raises:
        ToybedError: the width is no multiple of 4, or the world shows no history.
    """

    def __init__(self, env: TokenEnv, streams: Streams, *, name: str, width: int, embedding: int) -> None:
        super().__init__()
        if env.reading is None:
            raise ToybedError(
                f"{name} reads the response's history, which {env.title} does not show; "
                'allowed: a world that does, such as chain_reach with view="tokens"'
            )
        check_width(name, width)
        if embedding < 1:
            raise ToybedError(f"{name}: embedding is {embedding}; allowed: at least 1")
        self.runs = len(streams)
        self._frames, self._sizes = env.reading
        self._before_first = len(self._frames) - env.horizon  # the frame after which the first token is chosen
        self._position = env.position
        self.embedding = nn.Parameter(uniform_weights(streams, (sum(self._sizes), embedding), 3**0.5))
        self.weight_head = nn.Parameter(uniform_weights(streams, (width, env.vocabulary), width**-0.5))
        self.bias_head = nn.Parameter(uniform_weights(streams, (1, env.vocabulary), width**-0.5))
        self.first_row: Tensor
        self.last_value: Tensor
        sizes = torch.tensor(self._sizes, device=env.device)
        first_row = first_rows(self.runs, sum(self._sizes), env.device)[..., None] + sizes.cumsum(0) - sizes
        self.register_buffer("first_row", first_row, persistent=False)
        self.register_buffer("last_value", sizes - 1, persistent=False)

    @abstractmethod
    def vectors(self) -> Tensor:
        """A vector for each value of each entry, run after run, ``[S * rows, ...]``."""

    @abstractmethod
    def read(self, frames: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
        """Read further frames.

        Args:
            frames: of each the sum of the :meth:`vectors` of its entries, ``[S, N, E, ...]``.
            memory: what is remembered of the frames before these; empty where there were none.

        Returns:
            What is known after each frame, ``[S, N, E, width]``, which depends on frames up to it alone; and what is
            to be remembered of all.
        """

    def forward(self, observation: Tensor) -> Tensor:
        """Logits ``[S, N, V]`` of the next token, for histories ``[S, N, F]`` of any lengths."""
        known = self._before_first + self._position(observation)
        hidden = self.hidden(observation, int(known.max()) + 1)
        last = known[..., None, None].expand(-1, -1, 1, hidden.shape[-1])
        return linear(self.bias_head, hidden.gather(2, last).squeeze(2), self.weight_head)

    def choices(self, observation: Tensor, legal: Tensor | None = None, *, shared_start: bool = False) -> Choices:
        """The choices at every position ``[S, B, G, T]``, from one pass over the last observation."""
        if shared_start and observation.shape[3] == 1:  # nothing parts the responses before their only token
            alone = self.choices(observation[:, :, :1], None if legal is None else legal[:, :, :1]).log_probs
            return Choices(Distributions(alone.expand(-1, -1, observation.shape[2], -1, -1)))
        hidden = self.hidden(observation[..., -1, :].flatten(1, -2))[:, :, self._before_first :]
        logits = linear(self.bias_head, hidden.flatten(1, 2), self.weight_head)
        return Choices(Distributions(normalise(logits.view(*observation.shape[:-1], -1), legal)))

    def hidden(self, observation: Tensor, frames: int | None = None) -> Tensor:
        """What is known after each of the first ``frames`` frames (all): ``[S, N, F]`` to ``[S, N, frames, width]``."""
        return self.read(self._summed(self.vectors(), observation, slice(frames)), ())[0]

    def _summed(self, vectors: Tensor, observation: Tensor, part: slice) -> Tensor:
        """The sums of the vectors of some frames, ``[S, N, E, ...]``."""
        frames = self._frames[part]
        entries = [entry for frame in frames for entry in frame]
        # What is to come is read as some value, after everything that anyone asks for.
        rows = torch.minimum(observation[..., entries], self.last_value[entries]) + self.first_row[..., entries]
        return summed_rows(vectors, rows, tuple(len(frame) for frame in frames))

    def follow(self) -> LogProbs:
        """A reader that remembers what it has read, so that each token costs its own frames and not all before it."""
        vectors, memory, read = self.vectors(), Memory(), 0

        def log_probs(observation: Tensor, legal: Tensor | None = None) -> Tensor:
            nonlocal memory, read
            seen = observation.flatten(1, -2)
            last = max(self._before_first + 1, read + 1)
            # Responses that shared their first state go ways of their own now.
            memory = tuple(part.repeat_interleave(seen.shape[1] // part.shape[1], 1) for part in memory)
            hidden, memory = self.read(self._summed(vectors, seen, slice(read, last)), memory)
            read = last
            logits = linear(self.bias_head, hidden[:, :, -1], self.weight_head)
            return normalise(logits.view(*observation.shape[:-1], -1), legal)

        return log_probs

    def output(self) -> tuple[nn.Parameter, ...]:
        """Weights and biases of the head."""
        return (self.weight_head, self.bias_head)

    @torch.no_grad()
    def table(self, env: TokenEnv) -> Tensor:
        """The policy as a table over the world's contexts, ``[S, C, V]``; without gradient."""
        parts = env.contexts().split(TABLE_ROWS)
        return torch.cat([self.log_probs(part.expand(self.runs, -1, -1), env.legal_at(part)) for part in parts], 1)


class GRUPolicy(SequencePolicy):
    """One layer of gated recurrent units (arXiv 1406.1078, in cuDNN's form, as ``torch.nn.GRU`` has it).

    ``r, z = sigmoid(W_r x + U_r h), sigmoid(W_z x + U_z h)``, ``n = tanh(W_n x + r * U_n h)``,
    ``h' = (1 - z) n + z h``, biases left out; h begins at 0, and the logits are linear in h.

    Args:
        env: a world whose observation is a sequence.
        streams: the initial weights' randomness, one stream for each run.
        width: units.
        embedding: length of the vector of an entry's value.
    """

    def __init__(self, env: TokenEnv, streams: Streams, *, width: int = 64, embedding: int = 48) -> None:
        super().__init__(env, streams, name="gru", width=width, embedding=embedding)
        bound = width**-0.5  # torch's own rule, for all four
        self.weight_input = nn.Parameter(uniform_weights(streams, (embedding, 3 * width), bound))
        self.bias_input = nn.Parameter(uniform_weights(streams, (1, 3 * width), bound))
        self.weight_hidden = nn.Parameter(uniform_weights(streams, (width, 3 * width), bound))
        self.bias_hidden = nn.Parameter(uniform_weights(streams, (1, 3 * width), bound))
        leading = {frame[0] for frame in self._frames}
        rows = [float(entry in leading) for entry, size in enumerate(self._sizes) for _ in range(size)]
        self.leads: Tensor  # 1 on the rows of each frame's first entry, which bring the input's bias
        self.register_buffer("leads", torch.tensor(rows, device=env.device)[:, None], persistent=False)

    def vectors(self) -> Tensor:
        """What each value adds to the gates: the input's weights are applied to the few vectors, not to their uses."""
        return torch.baddbmm(self.bias_input * self.leads, self.embedding, self.weight_input).flatten(0, 1)

    def read(self, frames: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
        """The units after each frame, ``[S, N, E, width]``, of which the last are remembered."""
        hidden, after = memory[0] if memory else None, []
        for given in frames.unbind(2):
            hidden = self._step(given, hidden)
            after.append(hidden)
        return torch.stack(after, 2), (after[-1],)

    def _step(self, given: Tensor, hidden: Tensor | None) -> Tensor:
        if hidden is None:
            kept = self.bias_hidden.expand_as(given)
            hidden = torch.zeros_like(given[..., : self.bias_hidden.shape[-1] // 3])
        else:
            kept = torch.baddbmm(self.bias_hidden, hidden, self.weight_hidden)
        after: Tensor = _Gates.apply(given, kept, hidden)
        return after


class TransformerPolicy(SequencePolicy):
    """A decoder as language models have it, small: pre-norm blocks of causal attention and a GELU network.

    ``x = e_f[o_f] + p_f``; in each block ``x += attention(norm(x))`` and ``x += W_2 gelu(W_1 norm(x) + b_1) + b_2``;
    the logits are linear in ``norm(x)``.

    Args:
        env: a world whose observation is a sequence.
        streams: the initial weights' randomness, one stream for each run.
        width: length of x.
        layers: blocks.
        heads: of the attention; each reads ``width / heads`` numbers, a multiple of 4.
        expansion: units of a block's network, in multiples of ``width``.
    """

    def __init__(
        self, env: TokenEnv, streams: Streams, *, width: int = 64, layers: int = 2, heads: int = 2, expansion: int = 2
    ) -> None:
        super().__init__(env, streams, name="transformer", width=width, embedding=width)
        for name, value in (("layers", layers), ("heads", heads), ("expansion", expansion)):
            if value < 1:
                raise ToybedError(f"transformer: {name} is {value}; allowed: at least 1")
        if width % (4 * heads):
            raise ToybedError(
                f"transformer: width {width} gives {heads} heads {width / heads:g} numbers each; "
                "allowed: multiples of 4, so that a run alone is the run in a stack"
            )
        # Frames already differ by their vectors: positions begin at 0, where they do not drown them.
        self.position = nn.Parameter(torch.zeros(self.runs, 1, len(self._frames), width, device=env.device))
        self.blocks = nn.ModuleList(_Block(streams, width, heads, expansion, env.device) for _ in range(layers))
        self.norm = _Norm(self.runs, width, env.device)

    def vectors(self) -> Tensor:
        """The embeddings."""
        return self.embedding.flatten(0, 1)

    def read(self, frames: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
        """The normalised x after each frame, ``[S, N, E, width]``; of each block keys and values are remembered."""
        before = memory[0].shape[2] if memory else 0
        x = frames + self.position[:, :, before : before + frames.shape[2]]
        kept: Memory = ()
        for number, block in enumerate(self.blocks):
            x, own = block(x, memory[2 * number : 2 * number + 2])
            kept += own
        return self.norm(x), kept


class _Linear(nn.Module):
    """A linear map of the last axis, ``[S, N, E, inputs]`` to ``[S, N, E, outputs]``, for each run its own."""

    def __init__(self, streams: Streams, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(uniform_weights(streams, (inputs, outputs), inputs**-0.5))
        self.bias = nn.Parameter(uniform_weights(streams, (1, outputs), inputs**-0.5))

    def forward(self, x: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, x.flatten(1, 2), self.weight).view(*x.shape[:3], -1)


class _Norm(nn.Module):
    """Layer norm of the last axis of ``[S, N, E, width]``, with a gain and a bias for each run."""

    def __init__(self, runs: int, width: int, device: str) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(runs, 1, 1, width, device=device))
        self.bias = nn.Parameter(torch.zeros(runs, 1, 1, width, device=device))

    def forward(self, x: Tensor) -> Tensor:
        return torch.addcmul(self.bias, functional.layer_norm(x, x.shape[-1:]), self.gain)


class _Block(nn.Module):
    """Causal attention and a network of one hidden layer, each added to what it read; ``[S, N, E, width]``."""

    def __init__(self, streams: Streams, width: int, heads: int, expansion: int, device: str) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention, self.norm_network = (_Norm(len(streams), width, device) for _ in range(2))
        self.qkv, self.out = _Linear(streams, width, 3 * width), _Linear(streams, width, width)
        self.up, self.down = (
            _Linear(streams, width, expansion * width),
            _Linear(streams, expansion * width, width),
        )

    def forward(self, x: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
        query, *own = self.qkv(self.norm_attention(x)).chunk(3, -1)
        if memory:
            own = [torch.cat(pair, 2) for pair in zip(memory, own, strict=True)]
        x = x + self.out(self._attend(query, *own))
        return x + self.down(functional.gelu(self.up(self.norm_network(x)))), tuple(own)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Each entry's mixture of the entries up to it: ``[S, N, E, width]``, the last of those of key and value."""
        query, key, value = (self._by_head(part) for part in (query, key, value))
        entries, known = query.shape[3], key.shape[3]
        score = torch.matmul(query, key.mT) * query.shape[-1] ** -0.5
        if entries > 1:
            ahead = torch.ones(entries, known, dtype=torch.bool, device=query.device).triu(1 + known - entries)
            score = score.masked_fill(ahead, -torch.inf)
        # torch's softmax takes five times as long on so short rows.
        weight = (score - score.detach().amax(-1, keepdim=True)).exp()
        weight = weight / weight.sum(-1, keepdim=True)
        return torch.matmul(weight, value).transpose(2, 3).flatten(3)

    def _by_head(self, part: Tensor) -> Tensor:
        """``[S, N, E, width]`` to ``[S, N, heads, E, width / heads]``."""
        return part.unflatten(-1, (self.heads, -1)).transpose(2, 3)


class _Gates(torch.autograd.Function):
    """``h'`` from what is given by the input and kept of the units, each ``[S, N, 3 width]``, and ``h [S, N, width]``.

    The gradient is written out: as operations of their own the gates cost three times as many, and a step of a toy
    costs as much as it has operations. It cannot be differentiated again.
    """

    @staticmethod
    def forward(ctx: Any, given: Tensor, kept: Tensor, hidden: Tensor) -> Tensor:
        width = hidden.shape[-1]
        gates, padded = _whole_vectors(given[..., : 2 * width])
        torch.add(given[..., : 2 * width], kept[..., : 2 * width], out=gates)
        padded.sigmoid_()
        reset, update = gates.chunk(2, -1)
        # tanh(x) as 2 / (1 + exp(-2 x)) - 1: within 1e-7, in a fifth of the time.
        new, padded = _whole_vectors(hidden)
        torch.mul(reset, kept[..., 2 * width :], out=new).add_(given[..., 2 * width :])
        padded.mul_(2).sigmoid_().mul_(2).sub_(1)
        ctx.save_for_backward(gates, new, kept, hidden)
        return torch.lerp(new, hidden, update)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        gates, new, kept, hidden = ctx.saved_tensors
        width = hidden.shape[-1]
        reset, update = gates.chunk(2, -1)
        of_given, of_kept = gradient.new_empty(kept.shape), gradient.new_empty(kept.shape)
        of_hidden = gradient * update
        of_new = torch.ops.aten.tanh_backward(gradient - of_hidden, new)
        of_given[..., 2 * width :] = of_new
        torch.mul(of_new, reset, out=of_kept[..., 2 * width :])
        of_gates = torch.cat([of_new * kept[..., 2 * width :], gradient * (hidden - new)], -1)
        of_gates = torch.ops.aten.sigmoid_backward(of_gates, gates)
        of_given[..., : 2 * width] = of_gates
        of_kept[..., : 2 * width] = of_gates
        return of_given, of_kept, of_hidden


def _whole_vectors(like: Tensor) -> tuple[Tensor, Tensor]:
    """An empty tensor of that shape, and it as a row with zeros after it up to a whole vector.

    What is left after the last whole vector is taken number by number, by code that rounds otherwise: a number's
    logistic would depend on where in the tensor it lies.
    """
    count = like.numel()
    padded = like.new_empty(-(-count // VECTOR) * VECTOR)
    if count < len(padded):
        padded[count:] = 0
    return padded[:count].view(like.shape), padded
