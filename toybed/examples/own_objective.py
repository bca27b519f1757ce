"""An objective of your own: a loss as one function, or one of the five stages replaced."""

import dataclasses

import torch

import toybed


def narrow_clip(log_prob, log_prob_old, advantage, mask):
    """PPO's loss with a narrow clip; tensors ``[B, G, T]`` to one number."""
    ratio = torch.where(mask, log_prob - log_prob_old, 0.0).exp()
    gain = torch.minimum(ratio * advantage, ratio.clamp(0.95, 1.05) * advantage)
    return -torch.where(mask, gain, 0.0).sum() / mask.sum()


def soft_gate(log_ratio, advantage, batch):
    """A surrogate is the coefficient on the score function: here stale tokens fade out."""
    return log_ratio.exp() / (1 + 4 * log_ratio**2)


gated = dataclasses.replace(toybed.objectives.get("grpo"), surrogate=soft_gate, name="gated")

if __name__ == "__main__":
    for mine in (narrow_clip, gated):
        results = toybed.train(mine, world="answer_bandit", policy="tabular", learning_rate=0.1)
        print(results.about[0]["objective"], results.array("reward_test")[:, -1])
