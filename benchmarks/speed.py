"""How fast are stacked runs? ``python -m toybed.benchmarks.speed`` prints ratios measured in one run.

Three ways to train the same number of seeds of the standard GRPO run (ChainReach, MLP, 32 prompts x 8 responses, 4
optimiser steps a batch), one torch thread, from one supervised base:

``stacked``
    this project's learner, all seeds in one program (in stacks as the runner makes them, where that is said);
``one at a time``
    the same learner, a stack of one, seed after seed;
``plain loop``
    a single-seed loop as people write it: ``nn.Module``, ``Categorical``, ``torch.optim.Adam``, ``.item()`` logging.

Rounds are interleaved and medians are compared, because machines drift; ratios under 1.15 are ties. No number here is
asserted by a test. That the plain loop does the same work is checked, though: the reward that it reaches in the timed
updates is printed beside the others', and a loop that learned something else would show.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
import tyro
from torch import Tensor, nn
from torch.distributions import Categorical

from toybed.agents.config import Learning, Setting
from toybed.agents.policies import MLPPolicy, flat_parameters, load_flat
from toybed.agents.policy_gradient import PolicyGradient
from toybed.agents.supervised import fine_tune
from toybed.envs import make
from toybed.objectives import catalogue
from toybed.objectives.batch import Batch
from toybed.runner import STACK_RESPONSES
from toybed.streams import Streams


@dataclass(frozen=True)
class Speed:
    """Compare stacked runs with one-at-a-time runs and with plain loops, in one run."""

    seeds: int = 32
    """How many runs are trained."""
    updates: int = 10
    """Rollout batches timed in a round, after one that is not."""
    rounds: int = 3
    """Interleaved rounds; medians are compared."""
    objectives: bool = False
    """Instead: the time of one loss and gradient of every objective of the catalogue, as a multiple of GRPO's."""
    json: bool = False
    """Print one JSON object."""


class PlainPolicy(nn.Module):
    """The same network as ``MLPPolicy``, for one run, from ready-made layers."""

    def __init__(self, sizes: tuple[int, ...], vocabulary: int, width: int = 128, embedding: int = 48) -> None:
        super().__init__()
        self.embeddings = nn.ModuleList(nn.Embedding(size, embedding) for size in sizes)
        self.body = nn.Sequential(
            nn.Linear(embedding, width), nn.GELU(), nn.Linear(width, width), nn.GELU(), nn.Linear(width, vocabulary)
        )

    def forward(self, observation: Tensor) -> Tensor:
        """Logits ``[N, V]`` for ``observation [N, F]``."""
        summed = torch.stack([layer(observation[:, f]) for f, layer in enumerate(self.embeddings)]).sum(0)
        logits: Tensor = self.body(summed)
        return logits

    @torch.no_grad()
    def load(self, base: MLPPolicy) -> None:
        """Take over the parameters of a stack of one."""
        sizes = [layer.num_embeddings for layer in self.embeddings if isinstance(layer, nn.Embedding)]
        for layer, rows in zip(self.embeddings, torch.split(base.embedding[0], sizes), strict=True):
            layer.load_state_dict({"weight": rows})
        weights = ((base.weight_0, base.bias_0), (base.weight_1, base.bias_1), (base.weight_2, base.bias_2))
        linear = [layer for layer in self.body if isinstance(layer, nn.Linear)]
        for layer, (weight, bias) in zip(linear, weights, strict=True):
            layer.load_state_dict({"weight": weight[0].T, "bias": bias[0, 0]})


def make_base() -> MLPPolicy:
    """One base policy, as the standard run has it."""
    setting = Setting()
    assert setting.supervised is not None
    env = make(setting.world.name)
    policy = MLPPolicy(env, Streams("policy", [0]))
    fine_tune(env, policy, setting.supervised, Streams("demonstrations", [0]))
    return policy


def plain_loop(base: MLPPolicy, seed: int, updates: int) -> Callable[[], float]:
    """GRPO for one seed as people write it; returns a function that trains and gives the last batch's reward."""
    torch.manual_seed(seed)
    env, config = make("chain_reach"), Learning()
    policy = PlainPolicy(env.observation_sizes, env.vocabulary)
    policy.load(base)
    optimizer = torch.optim.Adam(policy.parameters(), lr=config.learning_rate)
    pool = env.prompts("train")
    rows = config.prompts * config.group

    def update() -> float:
        prompt = pool[torch.randint(len(pool), (config.prompts,))].repeat_interleave(config.group)
        state = env.reset(prompt)
        observations, tokens, log_probs = [], [], []
        with torch.no_grad():
            for _ in range(env.horizon):
                observation = env.observe(state)
                distribution = Categorical(logits=policy(observation))
                token = distribution.sample()
                observations.append(observation)
                tokens.append(token)
                log_probs.append(distribution.log_prob(token))
                state = env.step(state, token)
        reward = env.reward(state)
        groups = reward.view(config.prompts, config.group)
        advantage = ((groups - groups.mean(1, keepdim=True)) / (groups.std(1, keepdim=True) + 1e-6)).view(-1)
        observation, token, old = torch.stack(observations, 1), torch.stack(tokens, 1), torch.stack(log_probs, 1)
        for part in torch.arange(rows).chunk(config.minibatches):
            logits = policy(observation[part].flatten(0, 1)).view(len(part), env.horizon, -1)
            distribution = Categorical(logits=logits)
            ratio = (distribution.log_prob(token[part]) - old[part]).exp()
            a = advantage[part, None]
            loss = -torch.min(ratio * a, ratio.clamp(0.8, 1.2) * a).mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(policy.parameters(), config.max_grad_norm)
            optimizer.step()
            _ = loss.item(), distribution.entropy().mean().item()
        return reward.mean().item()

    return _repeat(update, updates)


def stacked(base: MLPPolicy, seeds: list[int], updates: int) -> Callable[[], float]:
    """GRPO for a stack of seeds by this project's learner."""
    setting = Setting()
    env = make(setting.world.name)
    policy = MLPPolicy(env, Streams("policy", seeds))
    load_flat(policy, flat_parameters(base).expand(len(seeds), -1))
    learner = PolicyGradient(env, policy, catalogue.get("grpo"), setting.learning, seeds)
    return _repeat(lambda: float(learner.update()["reward"].mean()), updates)


def _repeat(update: Callable[[], float], updates: int) -> Callable[[], float]:
    update()  # the first call of anything is slow

    def train() -> float:
        reward = 0.0
        for _ in range(updates):
            reward = update()
        return reward

    return train


def measure(config: Speed) -> dict[str, dict[str, float]]:
    """Milliseconds for each seed and update, median over rounds, and the mean reward that was reached."""
    base, every = make_base(), list(range(config.seeds))
    learning = Learning()
    size = max(1, STACK_RESPONSES // (learning.prompts * learning.group))
    ways: dict[str, Callable[[], list[Callable[[], float]]]] = {
        f"stacked, {config.seeds} together": lambda: [stacked(base, every, config.updates)],
        f"stacked, by {size} (the runner's)": lambda: [
            stacked(base, every[i : i + size], config.updates) for i in range(0, config.seeds, size)
        ],
        "one at a time": lambda: [stacked(base, [seed], config.updates) for seed in every],
        "plain loop": lambda: [plain_loop(base, seed, config.updates) for seed in every],
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    rewards: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(config.rounds):
        for name, prepare in ways.items():
            trainers = prepare()
            started = time.perf_counter()
            rewards[name] += [train() for train in trainers]
            seconds[name].append(time.perf_counter() - started)
    unit = 1e3 / config.seeds / config.updates
    return {
        name: {"ms": statistics.median(seconds[name]) * unit, "reward": statistics.mean(rewards[name])} for name in ways
    }


def measure_objectives(rounds: int) -> dict[str, float]:
    """Milliseconds of one loss and gradient with respect to log-probabilities, S=32, B=16, G=16, T=8; medians."""
    random = torch.Generator().manual_seed(0)
    shape = (32, 16, 16, 8)

    def draw(*sizes: int) -> Tensor:
        return torch.rand(*sizes, generator=random)

    distribution = torch.log_softmax(2 * draw(*shape, 16), -1)
    old, log_prob = distribution[..., 0], distribution[..., 0] + 0.2 * (draw(*shape) - 0.5)
    batch = Batch(
        log_prob_old=old,
        mask=torch.ones(shape, dtype=torch.bool),
        reward=(draw(*shape[:3]) < 0.4).float(),
        log_prob_ref=old - 0.1 * draw(*shape),
        entropy_old=2 * draw(*shape),
        planning=draw(*shape) < 0.3,
        source=(3 * draw(*shape[:3])).long(),
        value=draw(*shape),
        log_z=draw(*shape[:2]),
    )
    entropy, draws = 2 * draw(*shape), Streams("objective", range(shape[0]))
    seconds: dict[str, list[float]] = {name: [] for name in catalogue.names()}
    for _ in range(rounds + 1):
        for name in seconds:
            objective = catalogue.get(name)
            leaf = log_prob.clone().requires_grad_()
            started = time.perf_counter()
            loss = objective.loss(leaf, batch, entropy=entropy, log_probs=distribution, generator=draws)
            torch.autograd.grad(loss.value.sum(), leaf, allow_unused=True)
            seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(times[1:]) * 1e3 for name, times in seconds.items()}


def main() -> None:
    """Measure and print."""
    config = tyro.cli(Speed)
    torch.set_num_threads(1)
    if config.objectives:
        table = measure_objectives(5 * config.rounds)
        grpo = table["grpo"]
        if config.json:
            print(json.dumps({"ms": table, "of grpo": {name: ms / grpo for name, ms in table.items()}}))
            return
        print(f"{'one loss and gradient':28}{'ms':>8}{'of grpo':>9}")
        for name, ms in sorted(table.items(), key=lambda item: item[1]):
            print(f"{name:28}{ms:8.2f}{ms / grpo:9.2f}")
        return
    result = measure(config)
    plain = result["plain loop"]["ms"]
    for way in result.values():
        way["of plain loop"] = way["ms"] / plain
    if config.json:
        print(json.dumps({"config": asdict(config), "ways": result}))
        return
    print(f"{'':32}{'ms a seed-update':>18}{'of plain loop':>16}{'reward':>9}")
    for name, way in result.items():
        print(f"{name:32}{way['ms']:18.2f}{way['of plain loop']:16.2f}{way['reward']:9.3f}")


if __name__ == "__main__":
    main()
