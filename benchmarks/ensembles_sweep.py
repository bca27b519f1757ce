"""The sweep of ``ensembles``: heads, their credit, and the controls, in two worlds."""

from __future__ import annotations

from dataclasses import dataclass, replace

from toybed.agents.config import Heads, Learning, Setting, Spec, Supervised

COUNTS = (2, 4, 8)
KINDS = {"heads": "individual", "half": "half-and-half", "set": "set"}
"""Ensembles by their credit."""
SET, HALF = Spec("grpo_passk"), Spec("half_credit")
SEARCH = Spec("tool_search", {"shift": "index"})
BONUSES = {"": (0.1, 0.2, 0.4, 0.8), "chain_": (0.03, 0.1)}
LONG = 4  # times the updates
UPDATES = {"quick": 120, "standard": 300, "full": 600}
SMALL_UPDATES = 100
CHAIN_UPDATES = {"quick": 60, "standard": 200, "full": 400}


@dataclass(frozen=True)
class World:
    """Where the claim is judged.

    Attributes:
        prefix: of the names of its arms.
        name: in print.
        split: of the prompts on which it is judged.
        count: heads of the ensemble.
        gain: of pass@64, that is meant.
        rivals: single policies; mixtures of two of them are what an ensemble has to beat.
    """

    prefix: str
    name: str
    split: str
    count: int
    gain: float
    rivals: tuple[str, ...]

    @property
    def single(self) -> str:
        """The arm of the policy without heads."""
        return f"{self.prefix}single"

    def ensemble(self, kind: str = "heads") -> str:
        """The arm of the policy with heads, by credit or control."""
        return f"{self.prefix}{kind}_{self.count}"


def _rivals(prefix: str) -> tuple[str, ...]:
    others = ("single", "single_set", "single_half", "single_passk", *(f"bonus_{c:g}" for c in BONUSES[prefix]))
    return tuple(prefix + name for name in others)


TOOLS = World("", "ToolSearch", "train", 8, 0.1, _rivals(""))
CHAIN = World("chain_", "ChainReach", "test", 4, 0.05, _rivals("chain_"))
WORLDS = (TOOLS, CHAIN)


def arms(size: str) -> dict[str, Setting]:
    """The settings of both worlds."""
    return _tools(size) | {CHAIN.prefix + name: setting for name, setting in _chain(size).items()}


def _tools(size: str) -> dict[str, Setting]:
    updates = UPDATES[size]
    single = Setting(
        world=SEARCH,
        policy=Spec("tabular"),
        supervised=Supervised(steps=150, learning_rate=0.1, demonstrator={"habit": 0.3}),
        # One step a batch: the arms differ in heads and advantages, not in what they do with stale samples.
        learning=Learning(
            updates=updates, prompts=64, group=8, minibatches=1, learning_rate=0.15, measure_every=updates // 3
        ),
        probes=("heads", "start_mixtures"),
    )
    many = _with(single, TOOLS.count)
    known = Spec("tool_search", {**single.world.options, "rho": 1.0})
    found = {f"heads_{count}": _with(single, count) for count in COUNTS}
    found |= _compared(single, TOOLS) | {"known_single": replace(single, world=known)}
    found["known_heads_8"] = replace(many, world=known)
    # As many responses as one of eight heads gives.
    found["few"] = single.with_learning(prompts=single.learning.prompts // TOOLS.count)
    if size != "quick":
        # As many responses for each head as the policy without heads has.
        found["heads_8_samples"] = many.with_learning(prompts=TOOLS.count * single.learning.prompts)
        found["heads_8_long"] = many.with_learning(updates=LONG * updates, measure_every=LONG * updates // 3)
    return found


def _chain(size: str) -> dict[str, Setting]:
    quick = size == "quick"
    updates = CHAIN_UPDATES[size]
    single = Setting(
        world=Spec("chain_reach", {"modulus": 31 if quick else 61, "train_share": 0.5}),
        policy=Spec("mlp", {"width": 64}),
        supervised=Supervised(steps=200 if quick else 400, demonstrator={"noise": 0.35}),
        learning=Learning(
            updates=updates, prompts=32, group=8, minibatches=4, learning_rate=3e-3, measure_every=updates // 2
        ),
        probes=("heads", "start_mixtures"),
    )
    if quick:
        return {"single": single, "heads_4": _with(single, CHAIN.count)}
    return _compared(single, CHAIN) | {f"small_{name}": setting for name, setting in _small_chain(single).items()}


def _small_chain(large: Setting) -> dict[str, Setting]:
    """A smaller world, in which each head can have as many demonstrations and samples as a policy without heads."""
    one = replace(large, world=Spec("chain_reach", {**large.world.options, "modulus": 31}), probes=("heads",))
    one = replace(one, policy=Spec("mlp", {"width": 32})).with_learning(
        updates=SMALL_UPDATES, measure_every=SMALL_UPDATES
    )
    assert one.supervised is not None
    taught = replace(one.supervised, demonstrations=CHAIN.count * one.supervised.demonstrations)
    many = _with(one, CHAIN.count).with_learning(prompts=CHAIN.count * one.learning.prompts)
    shared = replace(many, supervised=taught)
    return {
        "single": one,
        "heads_4": shared,
        "own_4": replace(shared, policy=replace(shared.policy, name="mlp_per_head")),
    }


def _compared(single: Setting, world: World) -> dict[str, Setting]:
    """The policy without heads, the ensemble, each with every credit, and the controls of both worlds."""
    many, count = _with(single, world.count), world.count
    bonuses = {f"bonus_{c:g}": Spec("grpo", {"entropy_coefficient": c}) for c in BONUSES[world.prefix]}
    credits = {"single_set": SET, "single_half": HALF, "single_passk": Spec("passk")}
    return {
        "single": single,
        **{arm: replace(single, objective=objective) for arm, objective in (credits | bonuses).items()},
        f"heads_{count}": many,
        f"set_{count}": replace(many, objective=SET),
        f"half_{count}": replace(many, objective=HALF),
        f"prompt_{count}": _with(single, count, "prompt"),
        f"apart_{count}": _with(single, count, "group"),
    }


def _with(setting: Setting, count: int, by: str = "response") -> Setting:
    return replace(setting, heads=Heads(count, by))
