"""What all records of a setting are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from toybed.errors import ToybedError


def at_least(config: object, least: int, *names: str) -> None:
    """Raise a ToybedError if a field of a record is below the least that is allowed."""
    for name in names:
        if getattr(config, name) < least:
            raise ToybedError(f"{type(config).__name__}: {name} is {getattr(config, name)}; allowed: at least {least}")


@dataclass(frozen=True)
class Spec:
    """A thing by name, with options: ``Spec("chain_reach", {"modulus": 61})``."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def blocks(self) -> dict[str, list[float]]:
        """The values of the options that are schedules of blocks."""
        schedules = {name: value for name, value in self.options.items() if _kind(value) == "blocks"}
        return {name: list(x["values"] if isinstance(x, Mapping) else x.values) for name, x in schedules.items()}


def _kind(value: Any) -> Any:
    return value.get("kind") if isinstance(value, Mapping) else getattr(value, "kind", None)
