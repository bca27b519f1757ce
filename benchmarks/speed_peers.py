"""Other people's programs, for ``speed --peers``: each does work A, or what is nearest to it, where it is installed.

Each is given its best: no dictionary of single environments for Stable-Baselines3, one jitted program for JAX, no
logging for TRL. What they do more or less than work A is said with each.
"""

from __future__ import annotations

import importlib.util
import io
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

from toybed.agents.config import Learning
from toybed.envs.core import TokenEnv

Found = dict[str, float] | str
"""Milliseconds a seed-update by policy, or why there are none."""


def installed(*modules: str) -> Callable[[Callable[..., dict[str, float]]], Callable[..., Found]]:
    """Mark what needs these modules: where they are missing, it says so."""

    def mark(measure: Callable[..., dict[str, float]]) -> Callable[..., Found]:
        def found(*args: Any) -> Found:
            missing = [module for module in modules if importlib.util.find_spec(module) is None]
            return f"not installed: {', '.join(missing)}" if missing else measure(*args)

        return found

    return mark


@installed("stable_baselines3")
def stable_baselines(env: TokenEnv, learning: Learning, budget: float) -> dict[str, float]:
    """PPO with as many tokens and passes, by a vectorised world; it trains a critic, too."""
    import numpy as np
    import torch
    from gymnasium.spaces import Discrete, MultiDiscrete
    from stable_baselines3 import PPO
    from stable_baselines3.common.vec_env import VecEnv

    class World(VecEnv):
        """All episodes at once, begun again together."""

        def __init__(self, count: int) -> None:
            self.pool, self.state, self.action = env.prompts("train"), None, torch.zeros(count).long()
            super().__init__(count, MultiDiscrete(list(env.observation_sizes)), Discrete(env.vocabulary))

        def reset(self) -> Any:
            self.state = env.reset(self.pool[torch.randint(len(self.pool), (self.num_envs,))])
            self.time = 0
            return env.observe(self.state).numpy()

        def step_async(self, actions: Any) -> None:
            self.action = torch.from_numpy(actions)

        def step_wait(self) -> Any:
            self.state = env.step(self.state, self.action)
            self.time += 1
            over = self.time == env.horizon
            reward = env.reward(self.state).numpy() if over else np.zeros(self.num_envs, np.float32)
            seen = env.observe(self.state).numpy()
            infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
            if over:
                infos = [{"terminal_observation": row} for row in seen]
                seen = self.reset()
            return seen, reward, np.full(self.num_envs, over), infos

        def close(self) -> None: ...

        def get_attr(self, name: str, indices: Any = None) -> list[Any]:
            return [getattr(self, name, None)] * self.num_envs

        def set_attr(self, name: str, value: Any, indices: Any = None) -> None: ...

        def env_method(self, name: str, *args: Any, indices: Any = None, **options: Any) -> list[Any]:
            return []

        def env_is_wrapped(self, wrapper: Any, indices: Any = None) -> list[bool]:
            return [False] * self.num_envs

    rows = learning.prompts * learning.group
    tokens = rows * env.horizon
    model = PPO(
        "MlpPolicy",
        World(rows),
        n_steps=env.horizon,
        batch_size=tokens // learning.minibatches,
        n_epochs=learning.epochs,
        learning_rate=learning.learning_rate,
        policy_kwargs={"net_arch": [64, 64]},
        device="cpu",
    )
    return {"mlp": _per_update(lambda count: model.learn(count * tokens, reset_num_timesteps=False), budget)}


@installed("jax")
def jax_program(env: TokenEnv, learning: Learning, budget: float) -> dict[str, float]:
    """GRPO in one jitted program in the manner of PureJaxRL: scans within scans, ``vmap`` over 1, 4 and 16 seeds.

    The best of the three counts. Compiling is not timed. The MLP's embeddings are summed, as ours are.
    """
    import jax
    import jax.numpy as jnp
    import numpy as np

    start, goal, _ = env.reset(env.prompts("train"))
    pool = jnp.asarray(np.stack([start.numpy(), goal.numpy()], 1))
    following = jnp.asarray(_following(env))
    length, width = env.horizon, 64

    def fresh(key: Any) -> Any:
        shapes = [*[(size, width) for size in env.observation_sizes], (width, width), (width, width)]
        keys = jax.random.split(key, len(shapes) + 1)
        weights = [jax.random.normal(k, shape) * shape[0] ** -0.5 for k, shape in zip(keys, shapes, strict=False)]
        last = jax.random.normal(keys[-1], (width, env.vocabulary)) * width**-0.5
        return [*weights, last, *(jnp.zeros(n) for n in (width, width, env.vocabulary))]

    def logits(p: Any, value: Any, aim: Any, when: Any) -> Any:
        x = jax.nn.gelu((p[0][value] + p[1][aim] + p[2][when]) @ p[3] + p[6], approximate=False)
        return jax.nn.gelu(x @ p[4] + p[7], approximate=False) @ p[5] + p[8]

    def update(carry: Any, _: Any) -> Any:
        p, first, second, steps, key = carry
        key, ask, act = jax.random.split(key, 3)
        prompt = pool[jax.random.randint(ask, (learning.prompts,), 0, len(pool))].repeat(learning.group, 0)
        aim = prompt[:, 1]

        def token(value: Any, each: Any) -> Any:
            when, k = each
            said = jax.nn.log_softmax(logits(p, value, aim, jnp.full_like(value, when)))
            chosen = jax.random.categorical(k, said)
            return following[value, chosen], (value, chosen, jnp.take_along_axis(said, chosen[:, None], 1)[:, 0])

        at, (seen, chosen, old) = jax.lax.scan(token, prompt[:, 0], (jnp.arange(length), jax.random.split(act, length)))
        reward = (at == aim).astype(jnp.float32).reshape(learning.prompts, learning.group)
        centred = reward - reward.mean(1, keepdims=True)
        advantage = (centred / (reward.std(1, ddof=1, keepdims=True) + 1e-6)).reshape(-1)
        when = jnp.broadcast_to(jnp.arange(length)[:, None], seen.shape)

        def loss(p: Any) -> Any:
            said = jax.nn.log_softmax(logits(p, seen, aim[None].repeat(length, 0), when))
            ratio = jnp.exp(jnp.take_along_axis(said, chosen[..., None], -1)[..., 0] - old)
            return -jnp.minimum(ratio * advantage, ratio.clip(0.8, 1.2) * advantage).mean()

        def step(carry: Any, _: Any) -> Any:
            p, first, second, steps = carry
            g = jax.grad(loss)(p)
            norm = jnp.sqrt(sum((x**2).sum() for x in g))
            g = [x * jnp.minimum(1.0, learning.max_grad_norm / (norm + 1e-6)) for x in g]
            steps = steps + 1
            first = [0.9 * m + 0.1 * x for m, x in zip(first, g, strict=True)]
            second = [0.999 * m + 0.001 * x**2 for m, x in zip(second, g, strict=True)]
            rate = learning.learning_rate * jnp.sqrt(1 - 0.999**steps) / (1 - 0.9**steps)
            p = [w - rate * m / (jnp.sqrt(v) + 1e-8) for w, m, v in zip(p, first, second, strict=True)]
            return (p, first, second, steps), None

        (p, first, second, steps), _ = jax.lax.scan(step, (p, first, second, steps), None, learning.epochs)
        return (p, first, second, steps, key), reward.mean()

    found = []
    for seeds in (1, 4, 16):
        train = jax.jit(jax.vmap(lambda carry: jax.lax.scan(update, carry, None, 10)))
        keys = jax.random.split(jax.random.key(0), seeds)
        p = jax.vmap(fresh)(keys)
        zeros = [jnp.zeros_like(w) for w in p]
        carry = (p, zeros, zeros, jnp.zeros(seeds), keys)
        carry, _ = jax.block_until_ready(train(carry))
        found.append(_per_update(partial(_again, train, carry), budget) / 10 / seeds)
    return {"mlp": min(found)}


def _again(train: Callable[[Any], Any], carry: Any, count: int) -> None:
    """Ten updates from the same start, waited for."""
    for _ in range(count):
        train(carry)[1].block_until_ready()


def _following(env: TokenEnv) -> Any:
    """Which value follows each value by each operation, ``[m, V]``."""
    import torch

    sizes = env.observation_sizes
    values = torch.arange(sizes[0])
    state = env.reset(values * sizes[1])  # start: value, goal: 0
    return torch.stack([env.step(state, torch.full_like(values, v))[0] for v in range(env.vocabulary)], 1).numpy()


@installed("trl", "transformers", "datasets")
def trl_trainer(env: TokenEnv, learning: Learning, budget: float) -> dict[str, float]:
    """``GRPOTrainer`` on a random Llama (2 layers, width 64) with as many responses and tokens; no task is learned."""
    import datasets
    import transformers
    import trl
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = [f"w{number}" for number in range(env.vocabulary + 2)]
    plain = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token=words[0]))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=plain, pad_token=words[-1], eos_token=words[-2], unk_token=words[0]
    )
    model = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=len(words),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=32,
        )
    )
    rows = learning.prompts * learning.group
    ends: list[float] = []

    class Clock(transformers.TrainerCallback):
        """When each optimiser step ended."""

        def on_step_end(self, *_: Any, **__: Any) -> None:
            ends.append(time.perf_counter())

    updates = 2 + max(2, round(budget / 0.2))
    # It has much to say that is of no interest here.
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        config = trl.GRPOConfig(
            output_dir=str(Path(folder)),
            per_device_train_batch_size=rows,
            num_generations=learning.group,
            num_iterations=learning.epochs,
            max_completion_length=env.horizon,
            beta=0.0,
            max_steps=updates * learning.epochs,
            report_to=[],
            save_strategy="no",
            logging_steps=10**6,
            disable_tqdm=True,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            generation_kwargs={"min_new_tokens": env.horizon},
        )
        prompts = [
            {"prompt": f"{words[i % env.vocabulary]} {words[i // env.vocabulary]}"} for i in range(env.vocabulary)
        ]
        trainer = trl.GRPOTrainer(
            model=model,
            reward_funcs=lambda completions, **_: [float(text.startswith("w1")) for text in completions],
            args=config,
            train_dataset=datasets.Dataset.from_list(prompts * 4),
            processing_class=tokenizer,
            callbacks=[Clock()],
        )
        trainer.train()
    first = 2 * learning.epochs - 1  # what is first is slow
    return {"transformer": 1e3 * (ends[-1] - ends[first]) / (len(ends) - 1 - first) * learning.epochs}


def _per_update(train: Callable[[int], Any], budget: float) -> float:
    """Milliseconds of one of the updates that a function does so many of; the first is not timed."""
    train(1)
    started, count = time.perf_counter(), 0
    while not count or time.perf_counter() - started < budget:
        train(1)
        count += 1
    return 1e3 * (time.perf_counter() - started) / count


PEERS: dict[str, Callable[[TokenEnv, Learning, float], Found]] = {
    "Stable-Baselines3, PPO": stable_baselines,
    "JAX, in the manner of PureJaxRL": jax_program,
    "TRL, GRPOTrainer": trl_trainer,
}
