"""Schedules: hyper-parameters that change along a run, as plain records.

A schedule is a function of progress: 0 at a run's first update, 1 at its last. It stands in the place of a number:
``get("grpo", entropy_coefficient=Linear(0.02, 0.0))``, and so in ``Spec("grpo", {...})``. That holds for any number of
a row: a coefficient, a clip, a sampling temperature, and a target of the row's controller, which then moves.

Values may be tensors ``[S, 1, 1, 1]`` where the parameter may: each run of a stack then follows a schedule of its own,
and a population of schedules is one program. In a setting, which is kept as JSON, values are numbers. There a schedule
is a mapping with its ``kind`` (``{"kind": "linear", "start": 0.02, "end": 0.0}``), which may also be written as such.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from toybed.errors import ToybedError, unknown

if TYPE_CHECKING:
    from torch import Tensor

    from toybed.objectives.batch import Scalar


@runtime_checkable
class Schedule(Protocol):
    """A hyper-parameter along a run."""

    kind: str
    """Its name in JSON."""

    def __call__(self, progress: float) -> Scalar:
        """The value at ``progress`` in [0, 1]."""

    @property
    def turns(self) -> tuple[Scalar, ...]:
        """Values between the least and the largest of which it always is."""


def _kind(name: str) -> Any:
    return field(default=name, init=False, repr=False)


@dataclass(frozen=True)
class Constant:
    """``value``, throughout: a schedule to compare others with."""

    value: Scalar
    kind: str = _kind("constant")

    def __call__(self, progress: float) -> Scalar:
        """The value at a progress."""
        return self.value

    @property
    def turns(self) -> tuple[Scalar, ...]:
        """See :attr:`Schedule.turns`."""
        return (self.value,)


@dataclass(frozen=True)
class Linear:
    """``start + (end - start) p``: an anneal, or a rise, at constant speed."""

    start: Scalar
    end: Scalar
    kind: str = _kind("linear")

    def __call__(self, progress: float) -> Scalar:
        """The value at a progress."""
        return mix(self.start, self.end, progress)

    @property
    def turns(self) -> tuple[Scalar, ...]:
        """See :attr:`Schedule.turns`."""
        return (self.start, self.end)


@dataclass(frozen=True)
class Cosine:
    """``start + (end - start) (1 - cos(pi p)) / 2``: slow at both ends."""

    start: Scalar
    end: Scalar
    kind: str = _kind("cosine")

    def __call__(self, progress: float) -> Scalar:
        """The value at a progress."""
        return mix(self.start, self.end, (1 - math.cos(math.pi * progress)) / 2)

    @property
    def turns(self) -> tuple[Scalar, ...]:
        """See :attr:`Schedule.turns`."""
        return (self.start, self.end)


@dataclass(frozen=True)
class Rise:
    """From ``start`` to ``peak`` at progress ``at``, then to ``end``, both at constant speed.

    Raises:
        ToybedError: ``at`` is not between 0 and 1.
    """

    start: Scalar
    peak: Scalar
    end: Scalar
    at: float = 0.5
    kind: str = _kind("rise")

    def __post_init__(self) -> None:
        _inside("rise", self.at)

    def __call__(self, progress: float) -> Scalar:
        """The value at a progress."""
        if progress <= self.at:
            return mix(self.start, self.peak, progress / self.at)
        return mix(self.peak, self.end, (progress - self.at) / (1 - self.at))

    @property
    def turns(self) -> tuple[Scalar, ...]:
        """See :attr:`Schedule.turns`."""
        return (self.start, self.peak, self.end)


@dataclass(frozen=True)
class Step:
    """``before``, and from progress ``at`` on ``after``.

    Raises:
        ToybedError: ``at`` is not between 0 and 1.
    """

    before: Scalar
    after: Scalar
    at: float = 0.5
    kind: str = _kind("step")

    def __post_init__(self) -> None:
        _inside("step", self.at)

    def __call__(self, progress: float) -> Scalar:
        """The value at a progress."""
        return self.after if progress >= self.at else self.before

    @property
    def turns(self) -> tuple[Scalar, ...]:
        """See :attr:`Schedule.turns`."""
        return (self.before, self.after)


@dataclass(frozen=True)
class Oscillation:
    """``mean + amplitude (1 - decay p) sin(2 pi cycles p)``: with ``decay`` 1 it has come to rest at the end.

    Raises:
        ToybedError: ``cycles`` is not above 0, or ``decay`` not in [0, 1].
    """

    mean: Scalar
    amplitude: Scalar
    cycles: float = 3.0
    decay: float = 0.0
    kind: str = _kind("oscillation")

    def __post_init__(self) -> None:
        if not self.cycles > 0:
            raise ToybedError(f"schedule oscillation: cycles is {self.cycles}; allowed: above 0")
        if not 0 <= self.decay <= 1:
            raise ToybedError(f"schedule oscillation: decay is {self.decay}; allowed: 0 to 1")

    def __call__(self, progress: float) -> Scalar:
        """The value at a progress."""
        wave = (1 - self.decay * progress) * math.sin(2 * math.pi * self.cycles * progress)
        return mix(self.mean, self.mean + self.amplitude, wave)

    @property
    def turns(self) -> tuple[Scalar, ...]:
        """See :attr:`Schedule.turns`."""
        return (self.mean - self.amplitude, self.mean + self.amplitude)


@dataclass(frozen=True)
class Blocks:
    """K values, each for a K-th of the run: what can be learned about a schedule with K numbers.

    Where K divides the number of updates, every value holds for equally many of them.

    Raises:
        ToybedError: there is no value.
    """

    values: Sequence[Scalar]
    kind: str = _kind("blocks")

    def __post_init__(self) -> None:
        if not len(self.values):
            raise ToybedError("schedule blocks: there are no values; allowed: at least 1")
        object.__setattr__(self, "values", tuple(self.values))  # a list, as JSON has it, would not compare equal

    def __call__(self, progress: float) -> Scalar:
        """The value at a progress."""
        # The guard is for borders such as (6 / 9) * 3, which binary numbers miss by one rounding.
        return self.values[min(int(progress * len(self.values) + 1e-9), len(self.values) - 1)]

    @property
    def turns(self) -> tuple[Scalar, ...]:
        """See :attr:`Schedule.turns`."""
        return tuple(self.values)

    @staticmethod
    def population(values: Tensor) -> Blocks:
        """A schedule for each run of a stack: ``values [S, K]``, row s for run s."""
        return Blocks(tuple(column.view(-1, 1, 1, 1) for column in values.unbind(1)))


SCHEDULES: Mapping[str, type[Any]] = {
    "constant": Constant,
    "linear": Linear,
    "cosine": Cosine,
    "rise": Rise,
    "step": Step,
    "oscillation": Oscillation,
    "blocks": Blocks,
}
"""By their names in JSON."""


def read(value: Any) -> Any:
    """The schedule that a mapping with a ``kind`` says; any other value as it is.

    >>> read({"kind": "linear", "start": 1.0, "end": 0.0})(0.25)
    0.75

    Raises:
        ToybedError: the kind, or one of its fields, is unknown or missing.
    """
    if not isinstance(value, Mapping):
        return value
    given = dict(value)
    kind = given.pop("kind", None)
    if kind not in SCHEDULES:
        raise unknown("schedule", str(kind), SCHEDULES)
    allowed = [each.name for each in fields(SCHEDULES[kind]) if each.init]
    for name in given:
        if name not in allowed:
            raise unknown(f"field of the schedule {kind}", name, allowed)
    try:
        return SCHEDULES[kind](**given)
    except TypeError as error:
        raise ToybedError(f"schedule {kind} needs {', '.join(allowed)}; given: {', '.join(given) or 'none'}") from error


def mix(start: Scalar, end: Scalar, share: float) -> Scalar:
    """``start + (end - start) share``; tensors in float64, and rounded once: then they round as numbers do."""
    if isinstance(start, int | float) and isinstance(end, int | float):
        return start + (end - start) * share
    low, high = (x if isinstance(x, int | float) else x.double() for x in (start, end))
    mixed: Any = low + (high - low) * share
    return mixed.to((start if isinstance(end, int | float) else end).dtype)  # type: ignore[union-attr]


def _inside(kind: str, at: float) -> None:
    if not 0 < at < 1:
        raise ToybedError(f"schedule {kind}: at is {at}; allowed: above 0, below 1")
