"""The sweep of ``entropy_schedules``: three worlds, what is fixed in each, what changes on the way, what is learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from toybed.agents.config import Curriculum, Learning, Setting, Spec, Supervised
from toybed.benchmarks.schedule_search import Evolution, MetaSchedule
from toybed.searching import Search
from toybed.stats import Array
from toybed.study import Records

MEASURES = ("reward_test", "pass@64_test", "coverage@256_test")
UPDATES = {"quick": 24, "standard": 120, "full": 240}
LEARNED_IN = {"quick": 16, "standard": 80, "full": 160}
"""Updates of the runs in which the schedule is learned."""

BLOCKS = 5


@dataclass(frozen=True)
class Place:
    """A world with its policy, base and learning rate, and what its coefficients are.

    Attributes:
        name: in words.
        setting: everything but the objective, the number of updates aside.
        reference: the coefficient that schedules are multiples of, and that curricula have.
        coefficients: those of the frontier, from none to one that costs much of everything.
        adaptive: five steps of an adaptive bonus, and a tenth of its cap.
    """

    name: str
    setting: Setting
    reference: float
    coefficients: tuple[float, ...] = ()
    adaptive: float = 0.0


def _setting(world: Spec, policy: Spec, supervised: Supervised, rate: float) -> Setting:
    learning = Learning(prompts=16, group=8, minibatches=4, learning_rate=rate)
    return Setting(Spec("grpo"), world, policy, supervised, learning)


def _chains(steps: int, **knobs: Any) -> Setting:
    supervised = Supervised(steps=steps, demonstrator={"noise": 0.35})
    return _setting(Spec("chain_reach", {"train_share": 0.3, **knobs}), MLP, supervised, 3e-3)


def _search(**knobs: Any) -> Setting:
    supervised = Supervised(steps=150, learning_rate=0.1, demonstrator={"habit": 0.3})
    return _setting(Spec("tool_search", knobs), Spec("tabular"), supervised, 0.15)


def _plans(**knobs: Any) -> Setting:
    return _setting(Spec("plan_exec", knobs), MLP, Supervised(demonstrator={"execution": 0.75}), 1e-3)


MLP = Spec("mlp", {"width": 64, "embedding": 32})
PLACES = {
    "chains": Place("long-range chains", _chains(1600, modulus=97), 0.03, (0.0, 0.01, 0.03, 0.06, 0.1, 0.2), 0.03),
    "search": Place("a search with retries", _search(retry=True), 0.1, (0.0, 0.03, 0.1, 0.2, 0.4, 0.8), 0.1),
    "plans": Place("plans and their execution", _plans(), 0.005, (0.0, 0.002, 0.005, 0.01, 0.015, 0.02), 0.01),
}
"""Where schedules are judged."""

SCHOOLS = {
    "chains": Place("chains, another table", _chains(400, modulus=61, table_seed=1), 0.03),
    "search": Place("a search without retries", _search(questions=1024, table_seed=1), 0.1),
    "plans": Place("plans, other tables", _plans(table_seed=1), 0.01),
}
"""Where the schedule is learned: worlds that no schedule is judged in, of the same kinds."""

TARGETS = (0.25, 0.5, 0.75)
"""Shares of the entropy at the start that an adaptive bonus holds."""

COEFFICIENT_SCHEDULES: Mapping[str, tuple[str, dict[str, Any]]] = {
    "anneal": ("annealed bonus", {"kind": "linear", "start": 2.0, "end": 0.0}),
    "late": ("growing bonus", {"kind": "linear", "start": 0.0, "end": 2.0}),
    "rise": ("rise and fall", {"kind": "rise", "start": 0.0, "peak": 2.0, "end": 0.0}),
    "step": ("bonus, then none", {"kind": "step", "before": 2.0, "after": 0.0}),
    "oscillation": ("oscillating bonus", {"kind": "oscillation", "mean": 1.0, "amplitude": 1.0}),
}
"""In multiples of a world's reference, of which each is 1 on average."""

CHALLENGERS = {
    **{arm: words for arm, (words, _) in COEFFICIENT_SCHEDULES.items()},
    "target_anneal": "annealed target",
    "entrocraft": "Entrocraft",
    "entropic": "Entropic controller",
    "easy_first": "easy prompts first",
    "adaptive": "adaptive curriculum",
    "meta": "meta-learned bonus",
}
"""What is held against the frontier, in words."""

ANNEALED = ("target_anneal", "entrocraft")
"""Those that let a target fall, as in the published claim."""

QUICK = ("anneal", "target_anneal", "easy_first", "meta")
QUICK_FIXED = 2
"""At the quick size every second coefficient and target is left out."""

META = MetaSchedule(Evolution(BLOCKS), MEASURES)
QUICK_META = replace(META, evolution=replace(META.evolution, pairs=2))


def fixed_arms(place: str) -> tuple[str, ...]:
    """Names of the arms that make the frontier of a world."""
    return tuple(f"{place}/{arm}" for arm in (*_coefficients(place), *_targets()))


def coefficient_arms(place: str) -> tuple[str, ...]:
    """Those of them with a fixed coefficient, in its order."""
    return tuple(f"{place}/{arm}" for arm in _coefficients(place))


def target_arms(place: str) -> tuple[str, ...]:
    """Those of them with a fixed target, in its order."""
    return tuple(f"{place}/{arm}" for arm in _targets())


def _coefficients(place: str) -> dict[str, float]:
    return {f"bonus_{c:g}": c for c in PLACES[place].coefficients}


def _targets() -> dict[str, float]:
    return {f"target_{t:g}": t for t in TARGETS}


def arms(size: str) -> dict[str, Setting]:
    """All that is not learned: the fixed arms and the challengers of each world, ``world/arm``."""
    found: dict[str, Setting] = {}
    for name, place in PLACES.items():
        base = _sized(place, UPDATES[size])
        every = {
            **_thinned({arm: bonus(base, c) for arm, c in _coefficients(name).items()}, size),
            **_thinned({arm: _target(base, place.adaptive, t) for arm, t in _targets().items()}, size),
            **_challengers(base, place, size),
        }
        found |= {f"{name}/{arm}": setting for arm, setting in every.items()}
    for name, school in SCHOOLS.items():
        found[f"school_{name}/reference"] = _scheduled(school, np.ones(BLOCKS), LEARNED_IN[size])
    return found


def _thinned(settings: dict[str, Setting], size: str) -> dict[str, Setting]:
    step = QUICK_FIXED if size == "quick" else 1
    return dict([*settings.items()][::step])


def _sized(place: Place, updates: int) -> Setting:
    return place.setting.with_learning(updates=updates, measure_every=updates)


def bonus(setting: Setting, coefficient: float | dict[str, Any]) -> Setting:
    """GRPO with an entropy bonus, fixed or scheduled."""
    return replace(setting, objective=Spec("grpo", {"entropy_coefficient": coefficient}))


def _target(setting: Setting, adaptive: float, target: float | dict[str, Any]) -> Setting:
    """A bonus that is switched and adapted to hold a target."""
    own = {"entropy_target": target, "coefficient_step": adaptive / 5, "coefficient_cap": 10 * adaptive}
    return replace(setting, objective=Spec("adaptive_entropy_trl", own))


def _challengers(base: Setting, place: Place, size: str) -> dict[str, Setting]:
    fixed = bonus(base, place.reference)
    every = {
        **{arm: bonus(base, multiplied(shape, place.reference)) for arm, (_, shape) in COEFFICIENT_SCHEDULES.items()},
        "target_anneal": _target(base, place.adaptive, {"kind": "linear", "start": 0.9, "end": 0.3}),
        "entrocraft": replace(base, objective=Spec("entrocraft")),
        "entropic": replace(base, objective=Spec("entropic")),
        "easy_first": fixed.with_learning(curriculum=Curriculum("easy_first")),
        "adaptive": fixed.with_learning(curriculum=Curriculum("adaptive")),
    }
    return {arm: setting for arm, setting in every.items() if size != "quick" or arm in QUICK}


def multiplied(shape: Mapping[str, Any], factor: float) -> dict[str, Any]:
    """A schedule with all its values multiplied."""
    values = ("start", "end", "peak", "before", "after", "mean", "amplitude")
    return {name: value * factor if name in values else value for name, value in shape.items()}


# -- what is learned ------------------------------------------------------------------------------------------------
def _scheduled(place: Place, multiples: Array, updates: int) -> Setting:
    values = [float(place.reference * multiple) for multiple in multiples]
    return bonus(_sized(place, updates), {"kind": "blocks", "values": values})


def _meta(size: str) -> MetaSchedule:
    return QUICK_META if size == "quick" else META


def ask(size: str, generation: int, centers: Sequence[Array]) -> dict[str, dict[str, Setting]]:
    """The candidates of a generation in each of the worlds where the schedule is learned."""
    candidates = _meta(size).candidates(generation, centers)
    return {
        name: {str(i): _scheduled(school, each, LEARNED_IN[size]) for i, each in enumerate(candidates)}
        for name, school in SCHOOLS.items()
    }


def tell(generation: int, centers: tuple[Array, ...], found: Mapping[str, Mapping[str, Records]]) -> tuple[Array, ...]:
    """The centres and the next one."""
    candidates = len(next(iter(found.values())))
    meta = replace(META, evolution=replace(META.evolution, pairs=candidates // 2))
    return meta.tell(generation, centers, {place: [*options.values()] for place, options in found.items()})


def final(size: str, centers: Sequence[Array]) -> dict[str, Setting]:
    """The learned schedule in the worlds where it is judged, and, on seeds it did not see, where it was learned."""
    multiples = META.result(centers)
    return {
        **{f"{name}/meta": _scheduled(place, multiples, UPDATES[size]) for name, place in PLACES.items()},
        **{f"school_{name}/meta": _scheduled(each, multiples, LEARNED_IN[size]) for name, each in SCHOOLS.items()},
    }


SEARCH = Search(
    begin=lambda size: META.begin(),
    ask=ask,
    tell=tell,
    final=final,
    generations={"quick": 2, "standard": 12, "full": 40},
    bases={"quick": 1, "standard": 2, "full": 4},
)
