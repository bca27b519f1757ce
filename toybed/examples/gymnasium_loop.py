"""A world of toybed under a learner that knows gymnasium only: REINFORCE with a table, as written anywhere."""

import gymnasium
import numpy as np

env = gymnasium.make("toybed.envs:toybed/AnswerBandit-v0", prompt_count=8, answers=6)
random, logits = np.random.default_rng(0), np.zeros((8, 6))
rewards = []
for episode in range(3000):
    observation, _ = env.reset(seed=episode)
    done = False
    while not done:
        seen = logits[observation[0]]
        chances = np.exp(seen - seen.max()) / np.exp(seen - seen.max()).sum()
        action = random.choice(6, p=chances)
        observation_next, reward, terminated, truncated, _ = env.step(action)
        logits[observation[0]] += 0.3 * (reward - 0.5) * (np.eye(6)[action] - chances)
        observation, done = observation_next, terminated or truncated
    rewards.append(reward)
print(np.mean(rewards[:300]), np.mean(rewards[-300:]))
