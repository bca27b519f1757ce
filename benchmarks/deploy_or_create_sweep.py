"""The sweep of ``deploy_or_create``: how well the base executes, how often its habit is right, and what it lacks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from toybed.agents.config import Learning, Setting, Spec, Supervised

EXECUTIONS = (0.75, 0.9, 0.95, 0.97)  # how often the base's demonstrator executes right
WELL, BADLY = 0.97, 0.75
STAGES = 3  # of the usual world
SHARP = {"default": 0.95}  # a base that all but always plans the default,
MOSTLY = {"default_valid": 0.9}  # where that is right at nine of ten type-stages

SMALL = {"stages": 2, "values": 7}  # where a skill that is executed at random is right often enough to be found
TRIED = {"default": 0.4, "tries": 0.3}
KNOWN = {"default": 0.4, "rare": 0.3}  # the same plans as with one missing skill that is tried
LACKS = {
    "table_known": ("tabular", KNOWN),
    "table_lacks1": ("tabular", {**TRIED, "missing": 1}),
    "table_lacks3": ("tabular", {**TRIED, "missing": 3}),
    "mlp_known": ("mlp", KNOWN),
    "mlp_lacks1": ("mlp", {**TRIED, "missing": 1}),
}
"""Bases in the small world that know the skill of hard types, or lack the last skills; with their policy."""

UPDATES = {"quick": 60, "standard": 200, "full": 400}
READING_UPDATES = {"quick": 60, "standard": 120, "full": 240}  # of the transformer, which learns faster
QUICK = ("mlp_0.75", "mlp_0.97", "table_known", "table_lacks1")
"""The arms of the quick size."""
ONLY_FULL = ("mlp_0.95", "table_0.75", "table_0.9", "table_0.95", "table_0.97", "table_lacks3")
"""Arms of the full size only: a world for each seed leaves no time for them."""

RATES = {"mlp": (5e-3, 1e-3), "tabular": (0.1, 0.1), "transformer": (1e-2, 3e-3)}
"""Of supervised fine-tuning and of RL."""
OPTIONS = {"mlp": {"width": 64}, "tabular": {}, "transformer": {"width": 32, "layers": 1, "heads": 2}}
PROBES = {"mlp": ("hybrids", "steering"), "tabular": ("hybrids",), "transformer": ("sampled_hybrids",)}
READING = {"view": "tokens"}  # a transformer sees the problem and all tokens so far, at executions, too


def dial(policy: str, execution: float) -> str:
    """The name of an arm on the dial of execution, of "mlp", "table" or "transformer"."""
    return f"{policy}_{execution:g}"


def arms(size: str) -> dict[str, Setting]:
    """GRPO from every base, with the probes of hybrids and, of networks, of steering."""
    updates = UPDATES[size]
    every = {
        **{dial("mlp", q): _setting("mlp", updates, q) for q in EXECUTIONS},
        **{dial("table", q): _setting("tabular", updates, q) for q in EXECUTIONS},
        **{dial("transformer", q): _setting("transformer", READING_UPDATES[size], q, READING) for q in (BADLY, WELL)},
        "sharp": _setting("tabular", updates, WELL, MOSTLY, SHARP),
        "untried": _setting("mlp", updates, WELL, base={"missing": 3}),
        **{arm: _setting(policy, updates, WELL, SMALL, base) for arm, (policy, base) in LACKS.items()},
    }
    if size == "quick":
        return {arm: every[arm] for arm in QUICK}
    return {arm: setting for arm, setting in every.items() if size == "full" or arm not in ONLY_FULL}


def _setting(
    policy: str,
    updates: int,
    execution: float,
    world: Mapping[str, Any] | None = None,
    base: Mapping[str, Any] | None = None,
) -> Setting:
    supervised, rate = RATES[policy]
    return Setting(
        world=Spec("plan_exec", world or {}),
        policy=Spec(policy, OPTIONS[policy]),
        supervised=Supervised(learning_rate=supervised, demonstrator={"execution": execution, **(base or {})}),
        learning=Learning(updates=updates, prompts=48, learning_rate=rate, measure_every=updates // 10),
        probes=PROBES[policy],
    )
