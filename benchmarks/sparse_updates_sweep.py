"""The sweep of ``sparse_updates``: number formats, rates, widths, optimisers, algorithms, repetitions, subnetworks."""

from __future__ import annotations

from dataclasses import replace

from toybed.agents.config import Imitation, Learning, Setting, Spec, Start, Supervised

RL = {
    "grpo": "GRPO",
    "reinforce": "REINFORCE",
    "rloo": "RLOO",
    "dr_grpo": "Dr. GRPO",
    "ppo": "PPO",
    "dapo": "DAPO",
    "gspo": "GSPO",
}
"""The RL algorithms, arms at the low rate; ``<name>_fast`` is each at the high one, ``<name>_between`` between them."""
SLOW, FAST = 1e-5, 1e-3  # an update that is sparse in bf16, and one that learns
SLOWER, BETWEEN, FASTER = 1e-6, 1e-4, 3e-3
PURE_RATE = 2e-4  # in pure bf16, for long: sparse, and it learns
PURE_RATES = {"pure_slow": SLOW, "pure_between": BETWEEN, "pure_fast": FAST}
SGD_RATE = 2e-3  # moves the weights about as far as Adam does at the low rate
DECAY = 0.1
UPDATES = {"quick": 24, "standard": 60, "full": 60}
LONG = {"quick": 48, "standard": 400, "full": 400}
WIDTHS = {"quick": (32, 96), "standard": (32, 256), "full": (16, 512)}
POINTS = 6  # measurements along a run
HALVES = ((0.0, 0.5), (0.5, 1.0))
OTHER = "ppo"  # the algorithm that GRPO's subnetwork is compared with
SUBNETWORKS = ("changed", "shuffled", "matched", "unchanged")

ON_THE_CURVE = ("slower", "grpo", "between", "grpo_fast", "faster")
"""GRPO with Adam, by rate: the curve of changed weights over the update's size that all else is held against."""
RATES = {"": SLOW, "_between": BETWEEN, "_fast": FAST}
"""How the arm of an algorithm ends at each rate."""


def arms(size: str) -> dict[str, Setting]:
    """All settings."""
    updates = UPDATES[size]
    grpo = Setting(
        policy=Spec("mlp", {"width": 64}),
        supervised=Supervised(demonstrator={"noise": 0.35}),
        learning=Learning(
            updates=updates, prompts=16, group=8, minibatches=4, learning_rate=SLOW, measure_every=updates // POINTS
        ),
        start=Start(weights="bf16"),
        probes=("update_anatomy",),
        probes_on_the_way=True,
    )
    return _algorithms(grpo) | _formats(grpo) | _again(grpo) | _long(grpo, LONG[size]) | _widths(grpo, WIDTHS[size])


def _algorithms(grpo: Setting) -> dict[str, Setting]:
    """RL and SFT at equal rates and steps, at three rates; GRPO at the one between is of :func:`_formats`."""
    slow = {name: replace(grpo, objective=Spec(name)) for name in RL}
    slow |= {
        "sft": replace(grpo, learner=Imitation()),
        "sft_habit": replace(grpo, learner=Imitation({"noise": 0.35})),
        "raft": replace(grpo, objective=Spec("raft")),
    }
    fast = {f"{name}_fast": slow[name].with_learning(learning_rate=FAST) for name in (*RL, "sft")}
    between = {
        f"{name}_between": slow[name].with_learning(learning_rate=BETWEEN) for name in (*RL, "sft") if name != "grpo"
    }
    return slow | between | fast


def _formats(grpo: Setting) -> dict[str, Setting]:
    """GRPO at other rates, in pure bf16, and with other optimisers."""
    rates = {"slower": SLOWER, "between": BETWEEN, "faster": FASTER}
    return {
        **{arm: grpo.with_learning(learning_rate=rate) for arm, rate in rates.items()},
        **{arm: grpo.with_learning(learning_rate=rate, weights="bf16") for arm, rate in PURE_RATES.items()},
        "sgd": grpo.with_learning(optimizer="sgd", learning_rate=SGD_RATE),
        "adamw": grpo.with_learning(optimizer="adamw", weight_decay=DECAY),
    }


def _again(grpo: Setting) -> dict[str, Setting]:
    """From the same base with other random numbers, other data, another algorithm; and subnetworks alone."""
    first, second = HALVES
    other = replace(grpo, objective=Spec(OTHER))
    return {
        "again": grpo.with_learning(replicate=1),
        "half": grpo.with_learning(train_on=first),
        "other_half": grpo.with_learning(train_on=second),
        "all_other": other.with_learning(train_on=second, replicate=1),
        **{part: replace(grpo, start=Start(after=grpo, weights="bf16", trains=part)) for part in SUBNETWORKS},
    }


def _long(grpo: Setting, updates: int) -> dict[str, Setting]:
    """The same in pure bf16, at a higher rate and for longer; and that in float32."""
    pure = grpo.with_learning(updates=updates, measure_every=updates // POINTS, learning_rate=PURE_RATE, weights="bf16")
    twins = {f"pure_{name}": replace(pure, learning=_like(pure, each)) for name, each in _again(grpo).items()}
    twins["pure_all_other"] = replace(twins["pure_all_other"], objective=Spec(OTHER))
    for part in SUBNETWORKS:
        twins[f"pure_{part}"] = replace(pure, start=Start(after=pure, weights="bf16", trains=part))
    return {
        "pure": pure,
        "pure_sft": replace(pure, learner=Imitation()),
        "master": pure.with_learning(weights="fp32"),
        **twins,
    }


def _like(pure: Setting, other: Setting) -> Learning:
    """The learning of ``pure`` on the data and with the random numbers of another setting."""
    return replace(pure.learning, train_on=other.learning.train_on, replicate=other.learning.replicate)


def _widths(grpo: Setting, widths: tuple[int, int]) -> dict[str, Setting]:
    return {
        arm: replace(grpo, policy=Spec("mlp", {"width": width}))
        for arm, width in zip(("narrow", "wide"), widths, strict=True)
    }


KEPT = (
    *("grpo", OTHER, "sft", "again", "half", "other_half", "all_other", "changed"),
    *("pure", "pure_sft", "pure_again", "pure_half", "pure_other_half", "pure_all_other", "pure_changed"),
)
"""Arms whose weights are compared one by one."""
