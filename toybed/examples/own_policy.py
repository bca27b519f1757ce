"""A policy of your own: any nn.Module, written for one run; toybed makes as many copies as there are seeds."""

import torch
from torch import nn

import toybed


class Net(nn.Module):
    """Entry f of an observation is a whole number below ``sizes[f]``; there are ``vocabulary`` tokens."""

    def __init__(self, sizes, vocabulary, width=32):
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(size, width) for size in sizes)
        self.rest = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, vocabulary))

    def forward(self, observation):
        """Logits ``[N, V]`` for ``observation [N, F]``."""
        entries = observation.unbind(-1)
        return self.rest(torch.stack([table(entry) for table, entry in zip(self.tables, entries, strict=True)]).sum(0))


if __name__ == "__main__":
    results = toybed.train("grpo", world="answer_bandit", policy=Net, learning_rate=0.01, seeds=2)
    print(results.array("reward_test")[:, -1])
