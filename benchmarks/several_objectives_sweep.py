"""The sweep of ``several_objectives``: what a response is paid for, in which world, and how well it is judged."""

from __future__ import annotations

from dataclasses import dataclass, replace

from toybed.agents.config import Learning, Setting, Spec, Supervised

GROUP = 8
UPDATES = {"quick": 60, "standard": 200, "full": 400}
SLOWER = 3.0  # by which the rate is divided, to see whether the answer is the rate's
POINTS = 20  # measurements along a run


@dataclass(frozen=True)
class Paid:
    """A world whose responses have right and wrong steps.

    Attributes:
        title: in print.
        weights: of the reward's components: 1 for the outcome, 1 for all steps together.
        kept: the component that is the outcome.
        more: responses in a group that bring at least as many bits an update by their outcome as 8 do with their steps,
            of the base, as its exact numbers are before any training (``bits_*_train``).
        setting: of a run that is paid for the outcome.
    """

    title: str
    weights: tuple[float, ...]
    kept: int
    more: int
    setting: Setting


PLAN = Paid(
    "PlanExec",
    (1.0, 0.5, 0.5),
    0,
    96,
    Setting(
        world=Spec("plan_exec"),
        policy=Spec("mlp", {"width": 64}),
        supervised=Supervised(demonstrator={"execution": 0.9, "default": 0.75}),
        learning=Learning(prompts=16, group=GROUP, learning_rate=1e-3),
        probes=("reward_bits",),
    ),
)
SEARCH = Paid(
    "ToolSearch",
    (1 / 3, 1 / 3, 1 / 3, 1.0),
    -1,
    32,
    Setting(
        world=Spec("tool_search"),
        policy=Spec("tabular"),
        supervised=Supervised(steps=150, learning_rate=0.1, demonstrator={"habit": 0.3}),
        learning=Learning(prompts=16, group=GROUP, learning_rate=0.03),
        probes=("reward_bits",),
    ),
)
STEPWISE = {"plan": PLAN, "search": SEARCH}
CHAIN = Setting(
    world=Spec("chain_reach", {"modulus": 61, "train_share": 0.3}),
    policy=Spec("mlp", {"width": 64, "embedding": 32}),
    supervised=Supervised(steps=400, demonstrator={"noise": 0.35}),
    learning=Learning(prompts=16, group=GROUP, learning_rate=1e-3),
)
TITLES = {"plan": PLAN.title, "search": SEARCH.title, "chain": "ChainReach"}

CHANNELS = {
    "0.6": {"fails": (0.6, 0.0), "both": (0.8, 0.2), "passes": (1.0, 0.4)},
    "0.3": {"fails": (0.3, 0.0), "both": (0.65, 0.35), "passes": (1.0, 0.7)},
}
"""By Youden's J: verifiers that fail right responses, that err both ways, that pass wrong ones, as (TPR, FPR)."""

BROADER = {"pkpo": Spec("pkpo"), "unlikeliness": Spec("unlikeliness")}
"""Paid for the set of answers, and for novelty."""

NAMES = {
    "outcome": "outcome",
    "process": "outcome and process",
    "shuffled": "shuffled process",
    "more": "outcome, as many bits",
    "dense": "process alone",
    "gdpo": "GDPO",
    "vpo_parallel": "VPO in parallel",
    "pkpo": "PKPO",
    "unlikeliness": "unlikeliness",
    "process_slow": "outcome and process, slower",
    "outcome_slow": "outcome, slower",
    "shuffled_slow": "shuffled process, slower",
    **{f"{kind}_{j}": f"J = {j}, {kind}" for j, kinds in CHANNELS.items() for kind in kinds},
}
QUICK = ("outcome", "process", "shuffled", "more")


def arms(size: str) -> dict[str, Setting]:
    """``world/credit``: every credit in the worlds with steps, every verifier in ChainReach."""
    found = {f"{world}/{credit}": s for world, paid in STEPWISE.items() for credit, s in _credits(paid).items()}
    found |= {f"chain/{credit}": setting for credit, setting in _verifiers().items()}
    updates = UPDATES[size]
    if size == "quick":
        judged = ("outcome", "fails_0.6", "passes_0.6")
        found = {
            arm: setting
            for arm, setting in found.items()
            if arm.split("/")[1] in (judged if arm.startswith("chain") else QUICK)
        }
    return {
        arm: setting.with_learning(updates=updates, measure_every=updates // POINTS) for arm, setting in found.items()
    }


def _credits(paid: Paid) -> dict[str, Setting]:
    start, weights = paid.setting, paid.weights
    steps_alone = tuple(0.0 if i == paid.kept % len(weights) else w for i, w in enumerate(weights))
    objectives = {
        "outcome": Spec("grpo"),
        "process": Spec("grpo_components", {"reward_weights": weights}),
        "shuffled": Spec("grpo_shuffled", {"reward_weights": weights, "kept": paid.kept}),
        "dense": Spec("grpo_components", {"reward_weights": steps_alone}),
        "gdpo": Spec("gdpo", {"reward_weights": weights}),
        "vpo_parallel": Spec("vpo_parallel"),
        **BROADER,
    }
    found = {credit: replace(start, objective=objective) for credit, objective in objectives.items()}
    found["more"] = found["outcome"].with_learning(group=paid.more)
    slow = start.learning.learning_rate / SLOWER
    return found | {f"{c}_slow": found[c].with_learning(learning_rate=slow) for c in ("outcome", "process", "shuffled")}


def _verifiers() -> dict[str, Setting]:
    found = {credit: replace(CHAIN, objective=spec) for credit, spec in {"outcome": Spec("grpo"), **BROADER}.items()}
    for j, kinds in CHANNELS.items():
        for kind, (true_positive, false_positive) in kinds.items():
            options = {"true_positive": true_positive, "false_positive": false_positive}
            found[f"{kind}_{j}"] = replace(CHAIN, objective=Spec("grpo_noisy", options))
    return found
