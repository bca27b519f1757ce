"""For each world a setting in which policies learn something in seconds: where training and comparisons begin.

They are those of the questions in that world, shortened. A world of one's own gets what fits most.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from toybed.agents.config import Learning, Setting, Spec, Supervised
from toybed.envs import WORLDS, world_class
from toybed.own import is_own

_TABLE = Supervised(steps=150, learning_rate=0.1)


def _answer_bandit() -> Setting:
    return Setting(policy=Spec("tabular"), supervised=_TABLE, learning=Learning(updates=80, learning_rate=0.05))


def _plan_exec() -> Setting:
    return Setting(
        policy=Spec("mlp", {"width": 64}),
        supervised=Supervised(demonstrator={"execution": 0.75}),
        learning=Learning(updates=100),
    )


def _tool_search() -> Setting:
    return Setting(
        policy=Spec("tabular"),
        supervised=replace(_TABLE, demonstrator={"habit": 0.3}),
        learning=Learning(updates=100, learning_rate=0.15),
    )


def _belief_track() -> Setting:
    return Setting(
        policy=Spec("gru", {"width": 32}),
        supervised=Supervised(steps=150, demonstrations=128),
        learning=Learning(updates=60, learning_rate=3e-3, minibatches=2),
    )


def _mi_dialogue() -> Setting:
    return Setting(
        world=Spec("mi_dialogue", {"level": "act", "see_counters": True}),
        policy=Spec("tabular"),
        supervised=Supervised(steps=50, learning_rate=0.1, demonstrator={"noise": 0.3}),
        learning=Learning(updates=80, prompts=16, group=16, learning_rate=0.1),
    )


RECIPES: dict[str, Callable[[], Setting]] = {
    "answer_bandit": _answer_bandit,
    "chain_reach": Setting,
    "plan_exec": _plan_exec,
    "tool_search": _tool_search,
    "belief_track": _belief_track,
    "mi_dialogue": _mi_dialogue,
}


def recipe(world: Spec) -> Setting:
    """A setting in a world; the world's knobs are those of its recipe where none are given.

    Raises:
        ToybedError: there is no such world.
    """
    if world.name in RECIPES:
        setting = RECIPES[world.name]()
        return replace(setting, world=Spec(world.name, {**setting.world.options, **world.options}))
    from toybed.envs.core import TokenEnv

    shown = world_class(world.name)
    demonstrates = any(getattr(shown, way) is not getattr(TokenEnv, way) for way in ("demonstrator", "demonstrate"))
    return Setting(
        world=world,
        policy=Spec("mlp", {"width": 64}),
        supervised=Supervised() if demonstrates else None,
        learning=Learning(updates=100, learning_rate=1e-3 if demonstrates else 3e-3),
    )


def world_named(name: str) -> str:
    """A world's name as it is written in settings: ``ChainReach`` and ``toybed/ChainReach-v0`` are ``chain_reach``."""
    if is_own(name):
        return name
    plain = name.removeprefix("toybed/").removesuffix("-v0").replace("_", "").lower()
    return next((world for world in WORLDS if world.replace("_", "") == plain), name)
