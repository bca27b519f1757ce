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
ONE_VALID = 1  # plan for each type and stage, as there is one right execution for each plan and value
ALL_BASES = ("grpo", "single")  # arms that are run from every base at every size but the quick one
ONLY_FULL = (
    "tables_sharp",
    "tables_hicra",
    "tables_placebo",
    "tables_reweighted",
    "sgd",
    "planning_0.003",
    "all_0.003",
)
"""How the names of arms begin that are run at the full size only; so are all but :data:`ALL_BASES` from the base of
0.95. A world for each seed leaves time for so many."""
QUICK = ("grpo_75", "single_75", "tables_75", "plain_75", "hicra_0.5_75", "placebo_0.5_75", "reweighted_0.5_75")
"""The arms of the quick size: from one base, since each seed makes bases of its own."""
MLP, TABLES = Spec("mlp", {"width": 64}), Spec("tabular")
TABLES_RATE, SGD_RATE = 0.03, 30.0  # of Adam and of SGD, for logits that share nothing


def arms(size: str) -> dict[str, Setting]:
    """GRPO by base, policy and world, HICRA with its controls, and entropy bonuses."""
    found: dict[str, Setting] = {}
    for level in LEVELS:
        grpo = setting(size, level)
        found |= {f"grpo_{level}": grpo, f"single_{level}": _in_world(grpo, nvalid=ONE_VALID)}
        found |= {f"sharp_{level}": setting(size, level, SHARP), f"tables_{level}": in_tables(grpo)}
        found[f"tables_sharp_{level}"] = in_tables(found[f"sharp_{level}"])
        found |= _raised(grpo, level, ALPHAS)
        found |= {f"{name}_{level}": _plain(grpo, **options) for name, options in BONUSES.items()}
    found |= _controls(found["grpo_75"])
    return {arm: each for arm, each in found.items() if _is_run(arm, size)}


def _is_run(arm: str, size: str) -> bool:
    """Whether a size has the arm."""
    if size == "quick":
        return arm in QUICK
    name, level = arm.rsplit("_", 1)
    return size == "full" or (not name.startswith(ONLY_FULL) and (level == "75" or name in ALL_BASES))


def setting(size: str, level: str, default: float = DEFAULT) -> Setting:
    """GRPO with shared parameters, from a base that executes and plans like that."""
    return Setting(
        objective=Spec("grpo"),
        world=Spec("plan_exec"),
        policy=MLP,
        supervised=Supervised(demonstrator={"execution": LEVELS[level], "default": default}),
        learning=Learning(updates=UPDATES[size], prompts=32, group=8, minibatches=4, measure_every=4),
    )


def _in_world(other: Setting, **knobs: float) -> Setting:
    return replace(other, world=Spec(other.world.name, {**other.world.options, **knobs}))


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
        "few_75": _in_world(grpo, types=FEW_TYPES),
        "slow_75": grpo.with_learning(learning_rate=rate / 3),
        "fast_75": grpo.with_learning(learning_rate=3 * rate),
        **raised,
    }
