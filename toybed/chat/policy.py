"""The policy that a person talks with: trained on the spot, and its exact worth with each type of patient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from toybed.agents.config import Learning, Setting, Spec, Supervised
from toybed.agents.policies import Policy, load_flat, make_policy
from toybed.agents.policy_gradient import PolicyGradient
from toybed.agents.training import train_bases, train_runs
from toybed.envs import make
from toybed.envs.mi_dialogue import MIDialogue
from toybed.errors import ToybedError
from toybed.objectives import catalogue
from toybed.progress import Bar

BASE = Supervised(steps=50, learning_rate=0.1, demonstrator={"noise": 0.3})
RATE = 0.1  # of a table's logits


@dataclass(frozen=True)
class Trained:
    """A policy and what it is worth, exactly.

    Attributes:
        env: its world, with the three named types of patients.
        log_probs: the table ``[C, V]``, float64.
        expected: its expected return with each type, by name.
        optimum: the best attainable with each type, by one who knows the type and sees the counters.
        random: of random choices, the same.
        entropy: of its choices, nats, on average over choices and types.
    """

    env: MIDialogue
    log_probs: Tensor
    expected: dict[str, float]
    optimum: dict[str, float]
    random: dict[str, float]
    entropy: float


def plan(
    *, level: str, turns: int, objective: str, updates: int, seed: int, entropy_coefficient: float | None
) -> Setting:
    """What will be trained.

    Raises:
        ToybedError: a value is not allowed, or the learner cannot train this objective here.
    """
    if seed < 0:
        raise ToybedError(f"seed is {seed}; allowed: at least 0")
    if level != "act" and turns % MIDialogue.hold:
        raise ToybedError(
            f"turns is {turns}; allowed at level {level}: multiples of {MIDialogue.hold}, for which an option is held"
        )
    knobs: dict[str, Any] = {"level": level, "turns": turns, "n_types": 0, "held_out": 0}
    if level == "act":
        knobs["see_counters"] = True
    weight = {} if entropy_coefficient is None else {"entropy_coefficient": entropy_coefficient}
    setting = Setting(
        objective=Spec(objective, weight),
        world=Spec("mi_dialogue", knobs),
        policy=Spec("tabular"),
        supervised=BASE,
        learning=Learning(updates=updates, prompts=16, group=16, learning_rate=RATE, measure_every=max(updates, 1)),
    )
    env, build = _world(setting), catalogue.get(objective, **weight)
    policy, reference = (make_policy("tabular", env, [seed]) for _ in range(2))
    PolicyGradient(env, policy, build, setting.learning, [seed], reference)  # which refuses what it cannot train
    return setting


def trained(setting: Setting, seed: int, bar: Bar) -> Trained:
    """Train the policy and measure it.

    Raises:
        ToybedError: the training diverged.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # so that the same seed is the same policy, bit for bit
    try:
        env, policy = _world(setting), _train(setting, seed, bar)
        return measured(env, policy.table(env)[0])
    finally:
        torch.set_num_threads(threads)


def _train(setting: Setting, seed: int, bar: Bar) -> Policy:
    bar.begin(1, 0, setting.learning.updates, "training")
    bases = train_bases(setting, [seed])
    [result] = train_runs(setting, [seed], bases, report=lambda _, r, h: bar.advance(1, r, h))
    bar.finish(1)
    if result.diverged_at is not None or result.parameters is None:
        raise ToybedError(
            f"the training diverged at update {result.diverged_at} ({result.cause}); take another objective, another "
            "seed, a smaller entropy coefficient or fewer updates"
        )
    policy = make_policy("tabular", _world(setting), [seed])
    load_flat(policy, torch.from_numpy(result.parameters)[None])
    return policy


def measured(env: MIDialogue, log_probs: Tensor) -> Trained:
    """A table policy ``[C, V]`` with its worth."""
    table = log_probs.double()
    done, names = env.evaluate(table), [env.type_name(user) for user in range(env.n_prompts)]

    def by_type(worth: Tensor) -> dict[str, float]:
        return dict(zip(names, worth.tolist(), strict=True))

    return Trained(
        env=env,
        log_probs=table,
        expected=by_type(done.reward),
        optimum=by_type(env.optima()),
        random=by_type(env.evaluate(env.uniform()).reward),
        entropy=float(done.entropy.mean()) / env.horizon,
    )


def _world(setting: Setting) -> MIDialogue:
    return cast(MIDialogue, make(setting.world.name, **setting.world.options))
