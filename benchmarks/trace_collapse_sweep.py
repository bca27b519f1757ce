"""The sweep of ``trace_collapse``: memory, size, and what is paid beside the answer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from toybed.agents.config import Imitation, Learning, Setting, Spec, Supervised

WORLD: dict[str, Any] = {"view": "trace", "train_stories": 8192, "test_stories": 64}
NETWORKS = {
    "full": Spec("gru", {"embedding": 16}),
    "none": Spec("mlp", {"embedding": 32}),
}
"""The network by memory: one that carries the story in its units, and one that knows only what it wrote last."""
WIDTHS = {"quick": (8, 64), "standard": (8, 16, 32, 64), "full": (8, 16, 32, 64, 128)}
SMALL, LARGE = 8, 64  # the sizes that are compared, at every size of the study
SKIP = 0.4  # the chance that a demonstration does not write a belief
COST = 0.1  # of a trace without gaps, where it costs
STEPS = {"full": {"quick": 120, "standard": 400, "full": 800}, "none": {"quick": 100, "standard": 300, "full": 600}}
UPDATES = {"quick": 40, "standard": 160, "full": 400}
RATE, SLOWER = 3e-3, 1e-3

PAID = {"": (1.0, 0.0, 0.0), "cost": (1.0, 0.0, COST), "paid": (1.0, 1.0, 0.0)}
"""Weights of: the answer is right, share of the events with the right belief written, minus the share with any."""


def arm(memory: str, width: int, what: str = "") -> str:
    """An arm's name: ``full_64`` is RL on answers with memory and 64 units, ``full_64_cost`` pays for brevity, too."""
    return "_".join([memory, str(width), *([what] if what else [])])


def arms(size: str) -> dict[str, Setting]:
    """RL on answers at every width; at two also with a cost, and with the trace paid; and the controls.

    A quick look has no controls, and no pay for the trace. Controls, at 64 units with memory: fine-tuning goes on in
    the place of RL ("sft"), RL at a lower rate ("slow"), and RL from a base that never saw a skip, without a cost
    ("never") and with one ("never_cost").
    """
    found: dict[str, Setting] = {}
    payments = ("", "cost") if size == "quick" else PAID
    for memory in NETWORKS:
        for width in WIDTHS[size]:
            found |= _paid(size, memory, width, payments if width in (SMALL, LARGE) else ("",))
    if size == "quick":
        return found
    own = found[arm("full", LARGE)]
    found[arm("full", LARGE, "sft")] = replace(own, learner=Imitation(demonstrator={"skip": SKIP}))
    found[arm("full", LARGE, "slow")] = own.with_learning(learning_rate=SLOWER)
    for what in ("", "cost"):
        setting = found[arm("full", LARGE, what)]
        assert setting.supervised is not None
        never = replace(setting, supervised=replace(setting.supervised, demonstrator={}))
        found[arm("full", LARGE, "never_cost" if what else "never")] = never
    return found


def _paid(size: str, memory: str, width: int, whats: Iterable[str]) -> dict[str, Setting]:
    """One policy under several payments: all start from one base, and GRPO standardises the weighted reward."""
    updates, network = UPDATES[size], NETWORKS[memory]
    setting = Setting(
        world=Spec("belief_track", {**WORLD, "memory": memory}),
        policy=Spec(network.name, {**network.options, "width": width}),
        supervised=Supervised(steps=STEPS[memory][size], demonstrations=128, demonstrator={"skip": SKIP}),
        learning=Learning(updates=updates, prompts=32, group=8, learning_rate=RATE, measure_every=updates),
        probes=("told_story", "trace_use"),
    )
    return {
        arm(memory, width, what): replace(setting, objective=Spec("multi_rlvr", {"reward_weights": PAID[what]}))
        for what in whats
    }
