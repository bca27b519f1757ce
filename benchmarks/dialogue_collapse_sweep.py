"""The sweep of ``dialogue_collapse``: six ways to train a master with its sub-policies, in many conditions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from toybed.agents.config import Adaptation, Learning, Meta, Setting, Soft, Spec, Start, Supervised

WORLD = {
    "level": "both",
    "resist": 20.0,
    "need": ((3, 3, 3), (6, 4, 4), (0, 0, 0)),
    "n_types": 3,  # mixtures, all held out; the named types are those to train on
    "held_out": 3,
}
"""Users who need as different things as the world can make them need."""

NAMED = ("receptive", "resistant", "open")
METHODS = {
    "joint": "joint training",
    "bonus": "entropy bonus on the master",
    "maml": "MAML",
    "fomaml": "first-order MAML",
    "reptile": "Reptile",
    "soft": "soft actor-critic",
}
META = ("maml", "fomaml", "reptile")
EPISODES = 20  # for a step of adaptation; in training, too
STEPS = 2  # of adaptation, when it is measured
FINE = (4, 5)  # episodes and steps of the finer curve
ALTERNATING = (("planning", 6), ("execution", 3))
PRETRAINED = Supervised(
    steps=150, demonstrations=128, learning_rate=0.01, demonstrator={"noise": 0.0, "master_noise": 1.0}
)
UPDATES = {"quick": 40, "standard": 120, "full": 300}

RATES = (0.01, 0.03)
SOFT_RATES = (0.001, 0.003)  # of soft actor-critic: an actor that is faster than its critics commits too soon
SOFT = Soft(target_entropy=0.2)
INNER_RATES = (0.3, 3.0)
COEFFICIENTS = (0.003, 0.01)
GAIN = 10.0  # so many times faster than at the master's rate a table learns
LONG = 3  # times the updates at a third of the rate, in one condition; in another a master of a third of the rate
INNER_FACTOR = 10.0  # by which the inner rate is changed in two conditions

CONDITIONS: dict[str, tuple[str, tuple[str, ...]]] = {
    "main": ("", tuple(METHODS)),
    "fine": (" (4 episodes a step)", ("joint", "bonus", "maml")),
    "fixed": ("Fixed specialists as sub-policies", ("joint", "bonus", "maml")),
    "pretrained": ("Sub-policies pre-trained as specialists", ("joint", "maml")),
    "long": ("Three times the updates at a third of the rate", ("joint", "bonus", "maml")),
    "slow_master": ("A master that learns at a third of the rate", ("joint", "maml")),
    "alternating": ("Master and sub-policies trained alternately", ("joint", "bonus")),
    "weak_need": ("Users who differ less", ("joint", "maml")),
    "one_turn": ("An option for each turn", ("joint", "maml")),
    "inner_low": ("A tenth of the inner rate", ("maml",)),
    "inner_high": ("Ten times the inner rate", ("maml",)),
}
"""What is changed, in print, and the methods that are tried there."""

OWN_RATES = ("main", "fixed")
"""The conditions in which methods choose their rates; in the others they have those of the main one."""

QUICK = ("joint/main", "bonus/main", "maml/main", "joint/fixed", "maml/fixed", "visible")
"""The arms of the quick size."""


def arm(method: str, condition: str = "main") -> str:
    """The name of an arm."""
    return f"{method}/{condition}"


def names(size: str) -> tuple[str, ...]:
    """All arms of a size; with fixed specialists, too, methods choose their rates, else in the main condition."""
    if size == "quick":
        return QUICK
    swept = [arm(method, condition) for condition, (_, methods) in CONDITIONS.items() for method in methods]
    return (*swept, "visible", *(f"only_{name}" for name in NAMED))


def _trained(method: str, size: str, rate: float, inner: float, coefficient: float) -> Setting:
    """How a method trains in the main condition: 120 episodes an update, those of the inner steps included."""
    setting = Setting(
        objective=Spec("grpo", {"planning_entropy_coefficient": coefficient} if method == "bonus" else {}),
        world=Spec("mi_dialogue", WORLD),
        policy=Spec("hierarchical", {"gain": GAIN}),
        supervised=None,
        learning=Learning(
            updates=UPDATES[size],
            prompts=len(NAMED),
            group=2 * EPISODES,
            minibatches=1,
            learning_rate=rate,
            measure_every=UPDATES[size],
        ),
    )
    if method == "soft":
        return replace(setting, learner=SOFT)
    if method not in META:
        return setting
    # Reptile only moves to where the inner steps lead: they have to train sub-policies as well, and there is no outer
    # batch; one response is sampled for the record.
    steps, group = (2, 1) if method == "reptile" else (1, EPISODES)
    return replace(setting, learner=Meta(method, replace(adaptation(method, inner), steps=steps))).with_learning(
        group=group
    )


def adaptation(method: str, inner: float) -> Adaptation:
    """How a policy adapts when that is measured; Reptile's with all tokens, as it was trained."""
    tokens = "all" if method == "reptile" else "planning"
    return Adaptation(Spec("grpo"), STEPS, EPISODES, inner, tokens)


def _adapted(trained: Setting, how: Adaptation) -> Setting:
    """What is measured: the end of a training, and how it adapts."""
    probes = ("masters",) if trained.world.options["level"] == "both" else ()
    after = replace(trained, start=Start(after=trained), learner=None, adaptation=how, probes=probes)
    return after.with_learning(updates=0)


def candidates(size: str) -> dict[str, dict[str, Setting]]:
    """The rates, and of the bonus the coefficients, that are tried for each arm: those of its method."""
    tried = {arm(method, own): _tried(method, size, own) for own in OWN_RATES for method in CONDITIONS[own][1]}
    return {name: tried[_chosen_as(name)] for name in names(size)}


def _chosen_as(name: str) -> str:
    """The arm with which an arm's rates are chosen."""
    method, _, condition = name.partition("/")
    return arm(method, condition if condition in OWN_RATES else "main") if condition else arm("joint")


def _tried(method: str, size: str, condition: str) -> dict[str, Setting]:
    quick = size == "quick"
    own = SOFT_RATES if method == "soft" else RATES
    rates, inner_rates = (own[-1:], INNER_RATES[-1:]) if quick else (own, INNER_RATES)
    coefficients = COEFFICIENTS[-1:] if quick or method != "bonus" else COEFFICIENTS
    return {
        f"{rate:g}, inner {inner:g}" + (f", bonus {c:g}" if method == "bonus" else ""): _adapted(
            _changed(_trained(method, size, rate, inner, c), condition), adaptation(method, inner)
        )
        for rate in rates
        for c in coefficients
        for inner in inner_rates
    }


def final(size: str, name: str, tried: Setting) -> Setting:
    """The setting of an arm, from the trial that won."""
    trained, how = tried.start.after, tried.adaptation
    assert trained is not None and how is not None
    if name == "visible":
        return _adapted(_in_world(trained, see_type=True), replace(how, steps=0))
    if name.startswith("only_"):
        return _adapted(_in_world(trained, only=NAMED.index(name.removeprefix("only_"))), replace(how, steps=0))
    condition = name.split("/")[1]
    if condition == "fine":
        return _adapted(trained, replace(how, group=FINE[0], steps=FINE[1]))
    if condition.startswith("inner"):
        rate = how.rate * (INNER_FACTOR if condition == "inner_high" else 1 / INNER_FACTOR)
        assert isinstance(trained.learner, Meta)
        slower = replace(trained.learner, adaptation=replace(trained.learner.adaptation, rate=rate))
        return _adapted(replace(trained, learner=slower), replace(how, rate=rate))
    return _adapted(_changed(trained, condition), how)


def _changed(trained: Setting, condition: str) -> Setting:
    """The training of the main condition in another one."""
    match condition:
        case "pretrained":
            return replace(trained, supervised=PRETRAINED)
        case "fixed":
            return _in_world(trained, level="option")
        case "long":
            updates, rate = LONG * trained.learning.updates, trained.learning.learning_rate / LONG
            return trained.with_learning(updates=updates, measure_every=updates, learning_rate=rate)
        case "slow_master":  # sub-policies are as fast as they were
            slower = trained.with_learning(learning_rate=trained.learning.learning_rate / LONG)
            return replace(slower, policy=Spec("hierarchical", {"gain": GAIN * LONG}))
        case "alternating":
            return trained.with_learning(schedule=ALTERNATING)
        case "weak_need":
            return _in_world(trained, resist=6.0, need=((3, 3, 3), (5, 3, 3), (1, 1, 1)))
        case "one_turn":
            return _in_world(trained, hold=1)
    return trained


def _in_world(trained: Setting, **knobs: Any) -> Setting:
    return replace(trained, world=Spec("mi_dialogue", {**trained.world.options, **knobs}))
