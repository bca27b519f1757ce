"""A world of your own: pure functions of a state with any leading axes. Here: say the digits of a number in base 3."""

from collections import namedtuple
from dataclasses import dataclass

import torch

import toybed
from toybed.envs.core import TokenEnv

State = namedtuple("State", "number said")  # said: a 1, then the digits so far, read as a number in base 3


@dataclass(frozen=True)
class Spell(TokenEnv):
    """Fields would be its knobs, ``digits: int = 3``; TokenEnv says what each method is."""

    horizon, vocabulary = 3, 3
    n_prompts, observation_sizes = 27, (27, 54)

    def reset(self, prompt, noise=None):
        return State(prompt, torch.ones_like(prompt))

    def observe(self, state):
        return torch.stack(torch.broadcast_tensors(*state), -1)

    def step(self, state, token):
        return State(state.number, 3 * state.said + token)

    def reward(self, state):
        return (state.said == state.number + 27).float()

    def prompts(self, split="all"):
        every = torch.arange(27, device=self.device)
        return {"all": every, "train": every[every % 4 > 0], "test": every[every % 4 == 0]}[split]

    def solutions(self, prompt):
        return torch.ones_like(prompt)

    def optimum(self):
        return 1.0

    def random_baseline(self):
        return 1 / 27


if __name__ == "__main__":
    print(toybed.train(world=Spell(), policy="tabular", learning_rate=0.1, seeds=2).array("reward_train")[:, -1])
