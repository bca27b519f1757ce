"""The sweep of ``law_constants``: GRPO from the usual base, and with one thing changed at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from toybed.agents.config import Setting, Spec, Start, Supervised
from toybed.study import Records

UPDATES = {"quick": 30, "standard": 150, "full": 300}
WITHOUT_BASE = {"quick": 30, "standard": 300, "full": 600}  # updates: it learns nothing for the first hundred

GRPO = Setting()  # and with standard and full as many updates as entropy_law: these runs are then the same


def _algorithm(name: str, **options: float) -> Setting:
    return replace(GRPO, objective=Spec(name, options))


def _base(steps: int = 300, **demonstrator: object) -> Setting:
    return replace(GRPO, supervised=Supervised(steps=steps, demonstrator={"noise": 0.35, **demonstrator}))


def _world(**knobs: float) -> Setting:
    return replace(GRPO, world=Spec("chain_reach", knobs))


GROUPS: dict[str, dict[str, tuple[str, Setting]]] = {
    "algorithm": {
        "rloo": ("RLOO", _algorithm("rloo")),
        "reinforce_pp": ("REINFORCE++", _algorithm("reinforce_pp")),
        "reinforce": ("REINFORCE", _algorithm("reinforce")),
        "dr_grpo": ("Dr. GRPO", _algorithm("dr_grpo")),
        "maxrl": ("MaxRL", _algorithm("maxrl")),
    },
    "learning rate": {
        "slow": ("half the rate", GRPO.with_learning(learning_rate=5e-4)),
        "fast": ("twice the rate", GRPO.with_learning(learning_rate=2e-3)),
    },
    "base": {
        "sharp": ("temperature 0.6", replace(GRPO, start=Start(temperature=0.6))),
        "flat": ("temperature 1.5", replace(GRPO, start=Start(temperature=1.5))),
        "exact": ("noise 0.1", _base(noise=0.1)),
        "noisy": ("noise 0.6", _base(noise=0.6)),
        "no_habits": ("no habits", _base(style=None)),
        "short_sft": ("100 SFT steps", _base(steps=100)),
    },
    "data": {
        "few_prompts": ("35 % of prompts", _world(train_share=0.35)),
        "small_world": ("modulus 17", _world(modulus=17)),
        "large_world": ("modulus 61", _world(modulus=61)),
        "short_chains": ("3 operations", _world(length=3)),
    },
    "steering": {
        "clip_higher": ("clip-higher 1.0", _algorithm("grpo", clip_high=1.0)),
        "bonus_01": ("bonus 0.01", _algorithm("grpo", entropy_coefficient=0.01)),
        "bonus_03": ("bonus 0.03", _algorithm("grpo", entropy_coefficient=0.03)),
        "bonus_1": ("bonus 0.1", _algorithm("grpo", entropy_coefficient=0.1)),
        "skywork": ("Skywork, to half", _algorithm("adaptive_entropy_skywork")),
        "trl": ("TRL, to half", _algorithm("adaptive_entropy_trl")),
        "trl_high": ("TRL, to 80 %", _algorithm("adaptive_entropy_trl", entropy_target=0.8)),
    },
    "control": {"random_init": ("no base", replace(GRPO, supervised=None))},
}
ARMS = {arm: entry for group in GROUPS.values() for arm, entry in group.items()}
QUICK = ("rloo", "maxrl", "fast", "sharp", "few_prompts", "trl_high", "random_init")


def arms(size: str) -> dict[str, Setting]:
    """The settings of the sweep, by arm; the quick size has one or two of each group."""
    chosen = {"grpo": GRPO, **{arm: s for arm, (_, s) in ARMS.items() if size != "quick" or arm in QUICK}}
    # The early window has to hold a few points.
    every = 2 if size == "quick" else 5
    updates = {arm: (WITHOUT_BASE if arm == "random_init" else UPDATES)[size] for arm in chosen}
    return {arm: s.with_learning(updates=updates[arm], measure_every=every) for arm, s in chosen.items()}


def present(records: Mapping[str, Records], group: str) -> list[str]:
    """The arms of a group that were run: at the quick size not all are."""
    return [arm for arm in GROUPS[group] if arm in records]
