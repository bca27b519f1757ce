"""Policies that read the response's history as a sequence, in one causal pass: a GRU and a transformer.

Both keep the run axis S: parameters are ``[S, ...]``, and on one CPU thread a run in a stack is the run alone bit for
bit. Hence some choices that are not about speed: widths are multiples of 4, nothing is summed along S, and there is no
``torch.sigmoid``, whose rounding depends on where in memory a number lies (its vector and its scalar code differ).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from toybed.agents.policies import Policy, check_width, first_rows, linear, normalise, uniform_weights
from toybed.envs.core import TokenEnv
from toybed.errors import ToybedError
from toybed.streams import Streams

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
    def read(self, frames: Sequence[Tensor]) -> Tensor:
        """What is known after each frame, ``[S, N, E, width]``; frame e depends on frames up to e alone.

        Args:
            frames: of each the rows of the flattened embeddings ``[S * rows, embedding]`` of its entries, whose vectors
                are summed: ``[S, N, entries]``.
        """

    def forward(self, observation: Tensor) -> Tensor:
        """Logits ``[S, N, V]`` of the next token, for histories ``[S, N, F]`` of any lengths."""
        known = self._before_first + self._position(observation)
        hidden = self.hidden(observation, int(known.max()) + 1)
        last = known[..., None, None].expand(-1, -1, 1, hidden.shape[-1])
        return linear(self.bias_head, hidden.gather(2, last).squeeze(2), self.weight_head)

    def response_log_probs(
        self, observation: Tensor, legal: Tensor | None = None, *, shared_start: bool = False
    ) -> Tensor:
        """Log-probabilities ``[S, B, G, T, V]`` at every position, from one pass over the last observation."""
        group = observation.shape[2]
        if shared_start and observation.shape[3] == 1:  # nothing parts the responses before their only token
            alone = self.response_log_probs(observation[:, :, :1], None if legal is None else legal[:, :, :1])
            return alone.expand(-1, -1, group, -1, -1)
        hidden = self.hidden(observation[..., -1, :].flatten(1, -2))[:, :, self._before_first :]
        logits = linear(self.bias_head, hidden.flatten(1, 2), self.weight_head)
        return normalise(logits.view(*observation.shape[:-1], -1), legal)

    def hidden(self, observation: Tensor, frames: int | None = None) -> Tensor:
        """What is known after each of the first ``frames`` frames (all): ``[S, N, F]`` to ``[S, N, frames, width]``."""
        # What is to come is read as some value, after everything that anyone asks for.
        entries = observation.shape[-1]
        rows = torch.minimum(observation, self.last_value[:entries]) + self.first_row[..., :entries]
        return self.read([rows[..., list(frame)] for frame in self._frames[:frames]])

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

    def read(self, frames: Sequence[Tensor]) -> Tensor:
        """The units after each frame, ``[S, N, E, width]``."""
        # The input's weights are applied to the few vectors, not to the many entries that use them.
        table = torch.baddbmm(self.bias_input * self.leads, self.embedding, self.weight_input).flatten(0, 1)
        hidden, after = None, []
        for rows in frames:
            hidden = self._step(_summed(table, rows), hidden)
            after.append(hidden)
        return torch.stack(after, 2)

    def _step(self, given: Tensor, hidden: Tensor | None) -> Tensor:
        if hidden is None:
            kept = self.bias_hidden.expand_as(given)
        else:
            kept = torch.baddbmm(self.bias_hidden, hidden, self.weight_hidden)
        (reset_x, update_x, new_x), (reset_h, update_h, new_h) = given.chunk(3, -1), kept.chunk(3, -1)
        new = torch.tanh(new_x + _sigmoid(reset_x + reset_h) * new_h)
        update = _sigmoid(update_x + update_h)
        return (1 - update) * new if hidden is None else torch.lerp(new, hidden, update)


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

    def read(self, frames: Sequence[Tensor]) -> Tensor:
        """The normalised x after each frame, ``[S, N, E, width]``."""
        vectors = self.embedding.flatten(0, 1)
        x = torch.stack([_summed(vectors, rows) for rows in frames], 2)
        x = x + self.position[:, :, : x.shape[2]]
        for block in self.blocks:
            x = block(x)
        normed: Tensor = self.norm(x)
        return normed


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
        self._heads = heads
        self.norm_attention, self.norm_network = (_Norm(len(streams), width, device) for _ in range(2))
        self.qkv, self.out = _Linear(streams, width, 3 * width), _Linear(streams, width, width)
        self.up, self.down = (
            _Linear(streams, width, expansion * width),
            _Linear(streams, expansion * width, width),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.out(self._attend(self.qkv(self.norm_attention(x))))
        added: Tensor = x + self.down(functional.gelu(self.up(self.norm_network(x))))
        return added

    def _attend(self, qkv: Tensor) -> Tensor:
        """Each entry's mixture of the entries up to it: ``[S, N, E, 3 width]`` to ``[S, N, E, width]``."""
        runs, rows, entries, _ = qkv.shape
        parts = qkv.view(runs, rows, entries, 3, self._heads, -1).permute(3, 0, 1, 4, 2, 5)
        query, key, value = parts.flatten(1, 3)  # each [S N heads, E, width / heads]
        ahead = torch.ones(entries, entries, dtype=torch.bool, device=qkv.device).triu(1)
        score = torch.bmm(query, key.mT) * query.shape[-1] ** -0.5
        mixed = torch.bmm(score.masked_fill(ahead, -torch.inf).softmax(-1), value)
        return mixed.view(runs, rows, self._heads, entries, -1).transpose(2, 3).flatten(3)


def _summed(table: Tensor, rows: Tensor) -> Tensor:
    """The sum of a frame's rows ``[S, N, entries]`` of ``table [R, width]``: ``[S, N, width]``."""
    found = table.index_select(0, rows.flatten()).view(*rows.shape, -1)
    return found.squeeze(2) if rows.shape[2] == 1 else found.sum(2)


def _sigmoid(x: Tensor) -> Tensor:
    """The logistic function, by way of one that rounds alike everywhere."""
    return torch.tanh(x * 0.5) * 0.5 + 0.5
