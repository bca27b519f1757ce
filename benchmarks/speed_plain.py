"""GRPO for one seed as people write it: what ``speed`` holds the stacked learner against.

``nn.Module`` from ready-made layers, ``Categorical``, ``torch.optim.Adam``, ``.item()`` logging. Each network is the
stacked policy's own, weight by weight, so that both do the same work.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Categorical

from toybed.agents.config import Learning
from toybed.agents.policies import MLPPolicy, Policy, TabularPolicy
from toybed.agents.sequences import GRUPolicy, SequencePolicy, TransformerPolicy
from toybed.envs.core import TokenEnv


class PlainPolicy(nn.Module, ABC):
    """One run's network.

    Attributes:
        memory: what a rollout in the making remembers; None at its start.
    """

    memory: Tensor | None = None

    @abstractmethod
    def next(self, observation: Tensor) -> Tensor:
        """Logits ``[N, V]`` of the next token after ``observation [N, F]``, in a rollout."""

    @abstractmethod
    def forward(self, observation: Tensor) -> Tensor:
        """Logits ``[N, T, V]`` at all positions of responses, from ``observation [N, T, F]``."""


class PlainTable(PlainPolicy):
    """A row of logits for each context."""

    def __init__(self, env: TokenEnv, stacked: TabularPolicy) -> None:
        super().__init__()
        self._index = env.context_index
        self.logits = nn.Embedding.from_pretrained(stacked.logits[0].detach().clone(), freeze=False)

    def next(self, observation: Tensor) -> Tensor:
        """Of the context."""
        return self(observation)

    def forward(self, observation: Tensor) -> Tensor:
        """Of the contexts."""
        logits: Tensor = self.logits(self._index(observation))
        return logits


class PlainMLP(PlainPolicy):
    """Embeddings, summed, and three linear layers."""

    def __init__(self, env: TokenEnv, stacked: MLPPolicy) -> None:
        super().__init__()
        tables = torch.split(stacked.embedding[0].detach(), list(env.observation_sizes))
        self.embeddings = nn.ModuleList(nn.Embedding.from_pretrained(t.clone(), freeze=False) for t in tables)
        weights = [(getattr(stacked, f"weight_{i}"), getattr(stacked, f"bias_{i}")) for i in range(3)]
        first, second, third = (linear(weight[0], bias[0, 0]) for weight, bias in weights)
        self.body = nn.Sequential(first, nn.GELU(), second, nn.GELU(), third)

    def next(self, observation: Tensor) -> Tensor:
        """Of the context."""
        return self(observation)

    def forward(self, observation: Tensor) -> Tensor:
        """Of the contexts."""
        embedded = [layer(observation[..., f]) for f, layer in enumerate(self.embeddings)]
        logits: Tensor = self.body(torch.stack(embedded).sum(0))
        return logits


class PlainSequence(PlainPolicy):
    """A network that reads the goal, the start, and the tokens chosen so far, entry by entry."""

    def __init__(self, env: TokenEnv, stacked: SequencePolicy) -> None:
        super().__init__()
        assert env.reading is not None
        sizes = env.reading.sizes
        self._last = torch.tensor(sizes) - 1
        self._before = len(sizes) - env.horizon
        tables = torch.split(stacked.embedding[0].detach(), list(sizes))
        self.embeddings = nn.ModuleList(nn.Embedding.from_pretrained(t.clone(), freeze=False) for t in tables)
        self.head = linear(stacked.weight_head[0], stacked.bias_head[0, 0])
        self._position = env.position

    def embed(self, observation: Tensor, first: int, last: int) -> Tensor:
        """Vectors of entries ``first`` to ``last``, ``[N, entries, embedding]``."""
        seen = torch.minimum(observation, self._last)
        return torch.stack([self.embeddings[f](seen[..., f]) for f in range(first, last)], 1)

    @abstractmethod
    def read(self, vectors: Tensor) -> Tensor:
        """What is known after each entry: ``[N, E, embedding]`` to ``[N, E, width]``."""

    def next(self, observation: Tensor) -> Tensor:
        """Of the history, read from its beginning."""
        seen = int(self._position(observation[:1])) + self._before + 1
        logits: Tensor = self.head(self.read(self.embed(observation, 0, seen))[:, -1])
        return logits

    def forward(self, observation: Tensor) -> Tensor:
        """From one pass over the last observation, which holds the others."""
        whole = observation[:, -1]
        logits: Tensor = self.head(self.read(self.embed(whole, 0, whole.shape[-1]))[:, self._before :])
        return logits


class PlainGRU(PlainSequence):
    """``nn.GRU``, which carries its units from token to token in a rollout."""

    def __init__(self, env: TokenEnv, stacked: GRUPolicy) -> None:
        super().__init__(env, stacked)
        width = stacked.weight_hidden.shape[1]
        self.gru = nn.GRU(stacked.embedding.shape[-1], width, batch_first=True)
        with torch.no_grad():
            for theirs, ours in (("ih", "input"), ("hh", "hidden")):
                getattr(self.gru, f"weight_{theirs}_l0").copy_(getattr(stacked, f"weight_{ours}")[0].T)
                getattr(self.gru, f"bias_{theirs}_l0").copy_(getattr(stacked, f"bias_{ours}")[0, 0])

    def read(self, vectors: Tensor) -> Tensor:
        """The units after each entry."""
        units: Tensor = self.gru(vectors)[0]
        return units

    def next(self, observation: Tensor) -> Tensor:
        """Of the history, of which only the entries that are new are read."""
        seen = int(self._position(observation[:1])) + self._before + 1
        first = 0 if self.memory is None else seen - 1
        units, self.memory = self.gru(self.embed(observation, first, seen), self.memory)
        logits: Tensor = self.head(units[:, -1])
        return logits


class PlainTransformer(PlainSequence):
    """``nn.TransformerEncoderLayer`` with a causal mask, without a cache."""

    def __init__(self, env: TokenEnv, stacked: TransformerPolicy) -> None:
        super().__init__(env, stacked)
        self.position = nn.Parameter(stacked.position[0, 0].detach().clone())
        self.layers = nn.ModuleList(encoder_layer(block) for block in stacked.blocks)
        self.norm = layer_norm(stacked.norm)

    def read(self, vectors: Tensor) -> Tensor:
        """The normalised vectors after each entry."""
        x = vectors + self.position[: vectors.shape[1]]
        mask = nn.Transformer.generate_square_subsequent_mask(vectors.shape[1])
        for layer in self.layers:
            x = layer(x, src_mask=mask, is_causal=True)
        normed: Tensor = self.norm(x)
        return normed


@torch.no_grad()
def linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    """``nn.Linear`` with the weight ``[inputs, outputs]`` and the bias of one run."""
    layer = nn.Linear(*weight.shape)
    layer.load_state_dict({"weight": weight.T, "bias": bias})
    return layer


@torch.no_grad()
def layer_norm(stacked: nn.Module) -> nn.LayerNorm:
    """``nn.LayerNorm`` with the gain and bias of run 0."""
    gain, bias = stacked.get_parameter("gain"), stacked.get_parameter("bias")
    layer = nn.LayerNorm(gain.shape[-1])
    layer.load_state_dict({"weight": gain[0, 0, 0], "bias": bias[0, 0, 0]})
    return layer


@torch.no_grad()
def encoder_layer(block: Any) -> nn.TransformerEncoderLayer:
    """``nn.TransformerEncoderLayer`` with the weights of run 0."""
    inputs, wide = block.get_parameter("up.weight").shape[1:]
    layer = nn.TransformerEncoderLayer(
        inputs, block.heads, wide, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    )
    state = {
        "self_attn.in_proj_": "qkv",
        "self_attn.out_proj.": "out",
        "linear1.": "up",
        "linear2.": "down",
    }
    found = {
        f"{theirs}{part}": block.get_parameter(f"{ours}.{part}")[0].T
        if part == "weight"
        else block.get_parameter(f"{ours}.{part}")[0, 0]
        for theirs, ours in state.items()
        for part in ("weight", "bias")
    }
    for theirs, ours in (("norm1", "norm_attention"), ("norm2", "norm_network")):
        found[f"{theirs}.weight"] = block.get_parameter(f"{ours}.gain")[0, 0, 0]
        found[f"{theirs}.bias"] = block.get_parameter(f"{ours}.bias")[0, 0, 0]
    layer.load_state_dict(found)
    return layer


PLAIN: dict[type[Policy], Callable[..., PlainPolicy]] = {
    TabularPolicy: PlainTable,
    MLPPolicy: PlainMLP,
    GRUPolicy: PlainGRU,
    TransformerPolicy: PlainTransformer,
}


def plain_policy(env: TokenEnv, stacked: Policy) -> PlainPolicy:
    """The network of run 0 of a stack, as people write it."""
    return PLAIN[type(stacked)](env, stacked)


def plain_loop(env: TokenEnv, stacked: Policy, config: Learning, seed: int) -> Callable[[], float]:
    """GRPO for one seed; returns a function that does one update and gives the batch's mean reward."""
    torch.manual_seed(seed)
    policy = plain_policy(env, stacked)
    optimizer = torch.optim.Adam(policy.parameters(), lr=config.learning_rate)
    pool = env.prompts("train")
    rows = config.prompts * config.group

    def update() -> float:
        prompt = pool[torch.randint(len(pool), (config.prompts,))].repeat_interleave(config.group)
        state = env.reset(prompt)
        policy.memory = None
        observations, tokens, log_probs = [], [], []
        with torch.no_grad():
            for _ in range(env.horizon):
                observation = env.observe(state)
                distribution = Categorical(logits=policy.next(observation))
                token = distribution.sample()
                observations.append(observation)
                tokens.append(token)
                log_probs.append(distribution.log_prob(token))
                state = env.step(state, token)
        reward = env.reward(state)
        groups = reward.view(config.prompts, config.group)
        advantage = ((groups - groups.mean(1, keepdim=True)) / (groups.std(1, keepdim=True) + 1e-6)).view(-1)
        observation, token, old = torch.stack(observations, 1), torch.stack(tokens, 1), torch.stack(log_probs, 1)
        for _ in range(config.epochs):
            for part in torch.arange(rows).chunk(config.minibatches):
                distribution = Categorical(logits=policy(observation[part]))
                ratio = (distribution.log_prob(token[part]) - old[part]).exp()
                a = advantage[part, None]
                loss = -torch.min(ratio * a, ratio.clamp(0.8, 1.2) * a).mean()
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(policy.parameters(), config.max_grad_norm)
                optimizer.step()
                _ = loss.item(), distribution.entropy().mean().item()
        return reward.mean().item()

    return update
