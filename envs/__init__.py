"""The worlds: small enough to know their own truth. Each is registered with gymnasium as ``toybed/<Name>-v0``.

``gymnasium.make("toybed.envs:toybed/ChainReach-v0")`` works without importing this package first.
Any change of reward, observation or dynamics raises the version.
"""

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from toybed.errors import ToybedError, unknown
from toybed.own import is_own, load

if TYPE_CHECKING:
    from toybed.envs.core import TokenEnv

if __name__ != "toybed.envs":
    raise ImportError(
        f"import this package as toybed.envs, not as {__name__}: it would be a second copy of every class"
    )


@dataclass(frozen=True)
class World:
    """One line about a world, readable without importing torch."""

    name: str
    entry: str
    gym_id: str
    summary: str

    @property
    def env_class(self) -> Any:
        """The world's class."""
        module, name = self.entry.split(":")
        return getattr(import_module(module), name)


WORLDS = {
    world.name: world
    for world in (
        World(
            "answer_bandit",
            "toybed.envs.answer_bandit:AnswerBandit",
            "toybed/AnswerBandit-v0",
            "one token answers one prompt: closed forms for every objective",
        ),
        World(
            "chain_reach",
            "toybed.envs.chain_reach:ChainReach",
            "toybed/ChainReach-v0",
            "reasoning: a chain of operations takes a start to a goal, with many right chains, all counted",
        ),
        World(
            "plan_exec",
            "toybed.envs.plan_exec:PlanExec",
            "toybed/PlanExec-v0",
            "which skill to use and carrying it out are different tokens; hard problems need a rarely used skill",
        ),
        World(
            "tool_search",
            "toybed.envs.tool_search:ToolSearch",
            "toybed/ToolSearch-v0",
            "a search agent: which tools work is hidden, so that one strategy is best once and many are best at pass@k",
        ),
        World(
            "belief_track",
            "toybed.envs.belief_track:BeliefTrack",
            "toybed/BeliefTrack-v0",
            "theory of mind: who believes that who believes where an object is, and the rules that imitate the answer",
        ),
        World(
            "mi_dialogue",
            "toybed.envs.mi_dialogue:MIDialogue",
            "toybed/MIDialogue-v0",
            "a dialogue with users of different types (invented, not clinical): acts, options held for turns, or both",
        ),
    )
}


def world_class(name: str) -> Any:
    """The class of the named world, or of one's own, ``module:name``.

    Raises:
        ToybedError: there is none of that name, or it is no world.
    """
    if not is_own(name):
        if name not in WORLDS:
            raise unknown("world", name, WORLDS, "toybed list worlds shows all")
        return WORLDS[name].env_class
    from toybed.envs.core import TokenEnv

    found = load(name, "world")
    if not (isinstance(found, type) and issubclass(found, TokenEnv)):
        raise ToybedError(f"{name} is {found!r}; allowed: a class derived from toybed.envs.core.TokenEnv")
    return found


def make(name: str, **knobs: Any) -> "TokenEnv":
    """The named world, with its knobs; ``module:name`` is a :class:`~toybed.envs.core.TokenEnv` of one's own.

    Raises:
        ToybedError: the name or a knob is unknown, or a knob is out of range.
    """
    env_class = world_class(name)
    allowed = env_class.__dataclass_fields__
    for knob in knobs:
        if knob not in allowed:
            raise unknown(f"knob of {name}", knob, allowed)
    world: TokenEnv = env_class(**knobs)
    return world


def _register() -> None:
    from gymnasium.envs.registration import register

    for world in WORLDS.values():
        register(
            id=world.gym_id,
            entry_point="toybed.envs.adapters:make_gym_env",
            vector_entry_point="toybed.envs.adapters:make_gym_vector_env",
            kwargs={"world": world.name},
        )


_register()
