"""A master that plans and sub-policies that carry out, each with parameters of its own."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from toybed.agents.policies import MLPPolicy, Policy, TabularPolicy
from toybed.envs.core import TokenEnv
from toybed.errors import ToybedError
from toybed.streams import Streams


class HierarchicalPolicy(Policy):
    """A network that chooses planning tokens (options), and a table that chooses all others.

    The table has rows of its own for each option wherever the world shows which one is held: it is all sub-policies.
    A policy "tabular" is a hierarchy of tables already.

    Args:
        env: a world that shows where planning tokens are chosen (``plans_at``).
        streams: the initial weights' randomness, one stream for each run.
        width, embedding: of the master, as in :class:`~toybed.agents.policies.MLPPolicy`.
        gain: the table's logits are so many times its parameters. Adam moves every parameter by about its rate, so this
            is how many times faster than a lone table the sub-policies learn, at the rate that suits the master.

    Raises:
        ToybedError: the gain is not above 0; the world does not show where planning tokens are chosen.
    """

    def __init__(
        self, env: TokenEnv, streams: Streams, *, width: int = 32, embedding: int = 16, gain: float = 1.0
    ) -> None:
        super().__init__()
        if not gain > 0:
            raise ToybedError(f"hierarchical: gain is {gain}; allowed: above 0")
        env.plans_at(env.contexts()[:1])  # refuses a world without
        self.runs = len(streams)
        self.world = env
        self._plans_at = env.plans_at
        self.master = MLPPolicy(env, streams, width=width, embedding=embedding)
        self.subs = TabularPolicy(env, streams)
        self._gain = gain

    def forward(self, observation: Tensor) -> Tensor:
        """Logits ``[S, N, V]`` for ``observation [S, N, F]``."""
        planning = self._plans_at(observation)[..., None]
        return torch.where(planning, self.master(observation), self._gain * self.subs(observation))

    def output(self) -> tuple[nn.Parameter, ...]:
        """The master's last layer and the table."""
        return (*self.master.output(), *self.subs.output())
