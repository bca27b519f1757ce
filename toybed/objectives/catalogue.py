"""The catalogue: every named objective is a row of stages, and the rows stand in ``toybed.objectives.rows``.

A row is data: each stage names its function and gives every parameter, so that two objectives can be compared stage
by stage, a run can be named by the hash of what determines it, and the table can be printed without importing torch.
:func:`get` turns a row into an :class:`~toybed.objectives.objective.Objective`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from toybed.errors import ToybedError, unknown
from toybed.objectives import schedules
from toybed.objectives.schedules import Schedule
from toybed.own import is_own, load

if TYPE_CHECKING:
    from toybed.objectives.objective import Objective

STAGES = (
    "advantage",
    "surrogate",
    "weight",
    "regularizers",
    "aggregate",
    "shape_reward",
    "sampling",
    "keep_group",
    "controller",
)


@dataclass(frozen=True)
class Stage:
    """A function of ``toybed.objectives`` by name, with all its parameters spelled out."""

    function: str
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def source(self) -> Callable[..., Any]:
        """The function itself, without its parameters."""
        module, name = self.function.split(".")
        function: Callable[..., Any] = getattr(import_module(f"toybed.objectives.{module}"), name)
        return function

    def build(self) -> Callable[..., Any]:
        """The function with its parameters bound; those with a schedule, to their first value."""
        first = {k: v(0.0) if isinstance(v, Schedule) else v for k, v in self.parameters.items()}
        return partial(self.source, **first) if first else self.source

    def stackable(self, parameter: str) -> bool:
        """Whether the parameter may be a tensor ``[S, 1, 1, 1]`` with one value for each stacked run."""
        annotation = inspect.signature(self.source).parameters[parameter].annotation
        return str(annotation).startswith("Scalar")

    def __str__(self) -> str:
        arguments = ", ".join(f"{name}={value}" for name, value in self.parameters.items())
        return f"{self.function.split('.')[1]}({arguments})" if arguments else self.function.split(".")[1]


def stage(function: str, **parameters: Any) -> Stage:
    """Shorthand: ``stage("surrogates.ppo_clip", clip_low=0.2, clip_high=0.2)``."""
    return Stage(function, parameters)


@dataclass(frozen=True)
class Row:
    """One objective: its stages, where it comes from, and what to know about it.

    Attributes:
        name: the key of the catalogue.
        title: its name in print.
        year: of first publication.
        entropy: its effect on entropy as one reads of it: "falls", "falls fast", "falls slower", "set-point".
        source: paper and code in which its formula was read.
        verified: C read in the named code, P in the paper's text, D derived and checked numerically.
        summary: one line.
        parent: the row of which this is a variation; the difference is shown by :meth:`changed`.
        published: parameters as published, where the toy takes other values (with the reason in the stage's text).
        traps: what goes wrong in practice.
        limits: what it equals at the edge of its parameters.
    """

    name: str
    title: str
    year: int
    entropy: str
    source: str
    verified: str
    summary: str
    advantage: Stage
    surrogate: Stage
    aggregate: Stage
    weight: Stage = Stage("weights.every_token")
    regularizers: tuple[Stage, ...] = ()
    shape_reward: Stage | None = None
    sampling: Stage | None = None
    keep_group: Stage | None = None
    controller: Stage | None = None
    parent: str | None = None
    published: Mapping[str, Any] = field(default_factory=dict)
    traps: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()

    def stages(self) -> dict[str, tuple[Stage, ...]]:
        """Stage name to the functions in it: one, or none to several for those that a row may lack."""
        values = {name: getattr(self, name) for name in STAGES}
        return {name: v if isinstance(v, tuple) else (v,) if v else () for name, v in values.items()}

    def parameters(self) -> dict[str, Any]:
        """All hyper-parameters with their values; a name occurs once in a row."""
        return {k: v for stages in self.stages().values() for s in stages for k, v in s.parameters.items()}

    def changed(self) -> tuple[str, ...]:
        """The stages in which this row differs from its parent (all, where it has none)."""
        if self.parent is None:
            return STAGES
        mine, theirs = self.stages(), row(self.parent).stages()
        return tuple(name for name in STAGES if mine[name] != theirs[name])

    def override(self, **values: Any) -> Row:
        """The row with other hyper-parameters; those of :data:`OPTIONAL` add their stage where it is missing.

        A number may be given as a :class:`~toybed.objectives.schedules.Schedule`, or as the mapping that it is in JSON.

        Raises:
            ToybedError: a name is not a parameter of this row.
        """
        result = self
        values = {name: schedules.read(value) for name, value in values.items()}
        for name in sorted(set(values) & set(OPTIONAL) - set(result.parameters())):
            place, added = OPTIONAL[name]
            whole: Any = (*result.regularizers, added) if place == "regularizers" else added
            result = replace(result, **{place: whole})
        allowed = result.parameters()
        for name in values:
            if name not in allowed:
                raise unknown(f"parameter of {self.name}", name, {*allowed, *OPTIONAL})
            _check_value(self.name, name, values[name], allowed[name])
        for name, stages in result.stages().items():
            changed = tuple(
                replace(s, parameters={k: values.get(k, v) for k, v in s.parameters.items()}) for s in stages
            )
            # By name: a value may be a tensor, which has no single truth value.
            if set(values) & {k for s in stages for k in s.parameters}:
                stages_now: Any = changed if name == "regularizers" else changed[0]
                result = replace(result, **{name: stages_now})
        return result

    def build(self) -> Objective:
        """The Objective record with its parameters bound."""
        from toybed.objectives.objective import Objective

        return Objective(
            advantage=self.advantage.build(),
            surrogate=self.surrogate.build(),
            aggregate=self.aggregate.build(),
            weight=self.weight.build(),
            regularizers=tuple(stage.build() for stage in self.regularizers),
            shape_reward=self.shape_reward.build() if self.shape_reward else None,
            sampling=self.sampling.build() if self.sampling else None,
            keep_group=self.keep_group.build() if self.keep_group else None,
            controller=self.controller.build()() if self.controller else None,
            schedules={k: v for k, v in self.parameters().items() if isinstance(v, Schedule)},
            name=self.name,
        )


OPTIONAL: dict[str, tuple[str, Stage]] = {
    "entropy_coefficient": ("regularizers", stage("regularizers.entropy_bonus", entropy_coefficient=0.0)),
    "planning_entropy_coefficient": (
        "regularizers",
        stage("regularizers.planning_entropy_bonus", planning_entropy_coefficient=0.0),
    ),
    "kl_coefficient": ("regularizers", stage("regularizers.kl_reference", kl_coefficient=0.0, kl_estimator="k3")),
    "sampling_temperature": (
        "sampling",
        stage("sampling.tempered", sampling_temperature=1.0, tempered_share=1.0),
    ),
}
"""Stages that any row takes, and where they go: ``get("grpo", entropy_coefficient=0.01)``."""

_SIZES = ("clip", "share", "floor", "coefficient", "penalty", "temperature")
"""Parameters with one of these in their name are sizes: they are not negative."""


def _check_value(row_name: str, name: str, value: Any, default: Any) -> None:
    """Refuse a text in the place of a number and a negative size; tensors are left to those who build them."""
    number = isinstance(default, int | float | Schedule) and not isinstance(default, bool)
    if isinstance(value, Schedule):
        if not number:
            raise ToybedError(f"{row_name}: {name} is {default!r} by default; only numbers have a schedule")
        for turn in value.turns:
            _check_value(row_name, name, turn, default)
    if number and isinstance(value, str):
        raise ToybedError(f"{row_name}: {name} is {value!r}; allowed: a number")
    if any(size in name for size in _SIZES) and isinstance(value, int | float) and not value >= 0:
        raise ToybedError(f"{row_name}: {name} is {value}; allowed: at least 0")


_ROWS: dict[str, Row] = {}


def register(new: Row) -> Row:
    """Add a row to the catalogue.

    Raises:
        ToybedError: the name is taken, or a parameter name occurs in two stages.
    """
    if new.name in _ROWS:
        raise ToybedError(f"objective {new.name!r} is already registered")
    every = [k for stages in new.stages().values() for s in stages for k in s.parameters]
    if len(every) != len(set(every)):
        raise ToybedError(f"objective {new.name!r} uses a parameter name in two stages: {sorted(every)}")
    _ROWS[new.name] = new
    return new


def derive(parent: Row, **changes: Any) -> Row:
    """A row that differs from its parent in the given fields; what is said *about* the parent is not inherited."""
    own = {f.name for f in fields(Row)} - set(STAGES) - {"parent"}
    about: dict[str, Any] = {"published": {}, "traps": (), "limits": ()}
    missing = own - set(changes) - set(about)
    if missing:
        raise ToybedError(f"a row derived from {parent.name!r} must say its own {', '.join(sorted(missing))}")
    return replace(parent, parent=parent.name, **{**about, **changes})


def names() -> tuple[str, ...]:
    """All names, in the order of the catalogue."""
    _load()
    return tuple(_ROWS)


def row(name: str) -> Row:
    """The row of that name.

    Raises:
        ToybedError: there is none; the message has the nearest one.
    """
    _load()
    if name not in _ROWS:
        raise unknown("objective", name, _ROWS, "toybed list objectives shows all")
    return _ROWS[name]


def get(name: str, **overrides: Any) -> Objective:
    """The named objective, with hyper-parameters overridden.

    >>> get("ppo", clip_high=0.28).name
    'ppo'

    Args:
        name: of the catalogue; or ``module:name``, an Objective or a function of one's own.
        **overrides: hyper-parameters; of one's own, see :func:`~toybed.objectives.functions.own_objective`.

    Raises:
        ToybedError: the name or a parameter is unknown.
    """
    if is_own(name):
        from toybed.objectives.functions import own_objective

        return own_objective(load(name), name, **overrides)
    return row(name).override(**overrides).build()


def _load() -> None:
    """Import the rows, in the order in which they are listed."""
    for module in ("classics", "estimators", "rewards", "surrogates", "tokens", "steered", "set_points", "mixed"):
        import_module(f"toybed.objectives.rows.{module}")
