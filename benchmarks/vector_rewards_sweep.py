"""The sweep of ``vector_rewards``: who learns from what, at equal answers, and how far the components agree."""

from __future__ import annotations

from toybed.agents.config import Learning, Setting, Spec, Supervised

ANSWERS, SET = 24, 3  # of every policy to a prompt, and of one response that is a set
COMMONS = {"quick": (-2.0, 0.0, 0.9), "standard": (-4.0, -2.0, -1.0, 0.0, 0.5, 0.9, 1.0)}
CONFLICT, MOST, NEARLY = -2.0, -4.0, 0.9  # in conflict, as much as can be, and nearly one and the same
UPDATES = {"quick": 80, "standard": 300, "full": 600}
RATE, FASTER = 0.05, 0.15

OBJECTIVES = {
    "grpo": Spec("grpo"),
    "grpo_mean": Spec("multi_rlvr"),  # of one answer: GRPO on the mean of the components
    "pkpo": Spec("pkpo"),
    "pkpo_vector": Spec("pkpo_vector"),
    "pkpo_vector_3": Spec("pkpo_vector", {"k": SET}),  # for the best of as many answers as a set has
    "pkpo_vector_24": Spec("pkpo_vector", {"k": ANSWERS}),  # and of as many as a group has, as VPO in parallel
    "gdpo": Spec("gdpo"),
    "vpo_parallel": Spec("vpo_parallel"),
    "grpo_set": Spec("grpo"),
    "multi_rlvr": Spec("multi_rlvr"),
    "multi_rlvr_sum": Spec("multi_rlvr", {"over_answers": "sum"}),
    "vpo": Spec("vpo"),
}
SETS = ("grpo_set", "multi_rlvr", "multi_rlvr_sum", "vpo")  # a response is a set of answers
SWEPT = ("gdpo", "vpo_parallel", "vpo")  # who sees more of the components than their mean
FAST = ("grpo", "multi_rlvr", "vpo", f"vpo_{CONFLICT:g}")  # also at the faster rate


def arm_at(arm: str, common: float) -> str:
    """The arm's name in the world of that ``common``: whoever sees the mean alone is the same run in all of them."""
    return f"{arm}_{common:g}" if arm in SWEPT and common else arm


def arms(size: str) -> dict[str, Setting]:
    """Every objective on the components as found, those that see more than the mean for every ``common``."""
    found: dict[str, Setting] = {}
    for arm, objective in OBJECTIVES.items():
        for common in COMMONS.get(size, COMMONS["standard"]) if arm in SWEPT else (0.0,):
            found[arm_at(arm, common)] = _setting(size, objective, SET if arm in SETS else 1, common)
    fast = {} if size == "quick" else {f"{arm}_fast": found[arm].with_learning(learning_rate=FASTER) for arm in FAST}
    return found | fast


def _setting(size: str, objective: Spec, answers: int, common: float) -> Setting:
    knobs = ({"set_size": answers} if answers > 1 else {}) | ({"common": common} if common else {})
    updates = UPDATES[size]
    return Setting(
        objective=objective,
        world=Spec("tool_search", knobs),
        policy=Spec("tabular"),
        supervised=Supervised(steps=150, learning_rate=0.1, demonstrator={"habit": 0.3}),
        learning=Learning(
            updates=updates,
            prompts=16,
            group=ANSWERS // answers,
            minibatches=4,
            learning_rate=RATE,
            measure_every=updates // 4,
        ),
        probes=("best_answers", "answer_search"),
    )
