"""The sweep of ``two_phases``: bases, policies, and who raises planning tokens how much."""

from __future__ import annotations

from dataclasses import replace

from toybed.agents.config import Learning, Setting, Spec, Supervised

LEVELS = {"75": 0.75, "95": 0.95}  # how often the base executes right
DEFAULT, SHARP = 0.75, 0.95  # how often it plans the default
ALPHAS = (0.2, 0.5)
RIVALS = {
    "plain": "no bonus",
    "placebo": "as many random tokens",
    "reweighted": "difficulty weights on all tokens",
}
BONUSES = {
    "planning_0.003": {"planning_entropy_coefficient": 0.003},
    "planning_0.01": {"planning_entropy_coefficient": 0.01},
    "all_0.003": {"entropy_coefficient": 0.003},
    "all_0.01": {"entropy_coefficient": 0.01},
}
UPDATES = {"quick": 80, "standard": 240, "full": 600}
FEW_TYPES = 4
MLP, TABLES = Spec("mlp", {"width": 64}), Spec("tabular")
TABLES_RATE, SGD_RATE = 0.03, 30.0  # of Adam and of SGD, for logits that share nothing


def arms(size: str) -> dict[str, Setting]:
    """GRPO by base and policy, HICRA with its controls, and entropy bonuses."""
    found: dict[str, Setting] = {}
    for level in LEVELS:
        grpo = setting(size, level)
        found |= {f"grpo_{level}": grpo, f"sharp_{level}": setting(size, level, SHARP)}
        found |= {f"tables_{level}": in_tables(grpo), f"tables_sharp_{level}": in_tables(found[f"sharp_{level}"])}
        found |= _raised(grpo, level, ALPHAS[-1:] if size == "quick" else ALPHAS)
        if size != "quick":
            found |= {f"{name}_{level}": _plain(grpo, **options) for name, options in BONUSES.items()}
    if size == "quick":
        kept = {"grpo_95", *(arm for arm in found if arm.endswith("_75") and arm != "tables_sharp_75")}
        return {arm: each for arm, each in found.items() if arm in kept}
    return found | _controls(found["grpo_75"])


def setting(size: str, level: str, default: float = DEFAULT) -> Setting:
    """GRPO with shared parameters, from a base that executes and plans like that."""
    return Setting(
        objective=Spec("grpo"),
        world=Spec("plan_exec"),
        policy=MLP,
        supervised=Supervised(demonstrator={"execution": LEVELS[level], "default": default}),
        learning=Learning(updates=UPDATES[size], prompts=32, group=8, minibatches=4, measure_every=4),
    )


def in_tables(other: Setting) -> Setting:
    """The same without shared parameters, at the learning rates of tables."""
    assert other.supervised is not None
    supervised = replace(other.supervised, learning_rate=0.05)
    return replace(other, policy=TABLES, supervised=supervised).with_learning(learning_rate=TABLES_RATE)


def _plain(grpo: Setting, **options: float) -> Setting:
    """What HICRA is built on: advantages that are centred and not divided by a standard deviation."""
    return replace(grpo, objective=Spec("hicra", {"alpha": 0.0, **options}))


def _raised(grpo: Setting, level: str, alphas: tuple[float, ...]) -> dict[str, Setting]:
    """HICRA and what it is held against, each at every strength."""
    found = {f"plain_{level}": _plain(grpo)}
    names = {"hicra": "hicra", "placebo": "hicra_random", "reweighted": "difficulty_weighted"}
    for alpha in alphas:
        for arm, name in names.items():
            found[f"{arm}_{alpha:g}_{level}"] = replace(grpo, objective=Spec(name, {"alpha": alpha}))
    return found


def _controls(grpo: Setting) -> dict[str, Setting]:
    """Other learning rates; few types, so that plans are practised as often as executions; HICRA in tables.

    In tables Adam gives each logit a step of its own size, whatever the scale of its gradient; SGD does not.
    """
    few = replace(grpo, world=Spec("plan_exec", {"types": FEW_TYPES}))
    rate = grpo.learning.learning_rate
    tables = in_tables(grpo)
    sgd = tables.with_learning(optimizer="sgd", learning_rate=SGD_RATE)
    raised = {
        f"{prefix}_{arm}": each
        for prefix, start in (("tables", tables), ("sgd", sgd))
        for arm, each in _raised(start, "75", ALPHAS[-1:]).items()
        if not arm.startswith("plain")
    }
    return {
        "few_75": few,
        "slow_75": grpo.with_learning(learning_rate=rate / 3),
        "fast_75": grpo.with_learning(learning_rate=3 * rate),
        **raised,
    }
