"""Tables of facts in TOML that come with the package, read into frozen records and checked field by field."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import fields
from importlib import resources
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from toybed.errors import ToybedError, unknown

T = TypeVar("T")


def text(name: str) -> str:
    """A file of this package."""
    return resources.files("toybed.llm").joinpath(name).read_text(encoding="utf-8")


def parse(content: str, where: str, kinds: Collection[str]) -> dict[str, list[dict[str, Any]]]:
    """The rows of each kind, in their order.

    Args:
        content: TOML that holds arrays of tables and nothing else.
        where: its name, for errors.
        kinds: of rows.

    Raises:
        ToybedError: it is no TOML, or holds something else.
    """
    try:
        found = tomllib.loads(content)
    except tomllib.TOMLDecodeError as error:
        raise ToybedError(f"{where}: {error}") from error
    for kind, rows in found.items():
        if kind not in kinds:
            raise ToybedError(f"{where}: {unknown('table', kind, kinds)}")
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise ToybedError(f"{where}: write [[{kind}]], once for each row")
    return {kind: found.get(kind, []) for kind in kinds}


def record(row: Mapping[str, Any], of: type[T], where: str, may_be_empty: Collection[str] = ()) -> T:
    """A row as a record of a frozen dataclass; lists become tuples.

    Args:
        row: of a table.
        of: the dataclass.
        where: file, kind and number of the row, for errors.
        may_be_empty: the texts that may be "".

    Raises:
        ToybedError: a field is missing, empty, not known, or not of its type.
    """
    hints = get_type_hints(of)
    names = [field.name for field in fields(of)]  # type: ignore[arg-type]
    for name in row:
        if name not in names:
            raise ToybedError(f"{where}: {unknown('field', name, names)}")
    for name in names:
        if name not in row:
            raise ToybedError(f"{where}: no {name}")
        if row[name] == "" and name not in may_be_empty:
            raise ToybedError(f"{where}: {name} is empty")
        if not _fits(row[name], hints[name]):
            raise ToybedError(f"{where}: {name} is {row[name]!r}; allowed: {_words(hints[name])}")
    return of(**{name: tuple(value) if isinstance(value, list) else value for name, value in row.items()})


def _fits(value: object, hint: Any) -> bool:
    if get_origin(hint) is tuple:
        return isinstance(value, list) and all(_fits(item, get_args(hint)[0]) for item in value)
    if isinstance(value, bool) or (isinstance(value, float) and not math.isfinite(value)):
        return False
    return isinstance(value, hint)


def _words(hint: Any) -> str:
    """A type as a reader of the table knows it."""
    if get_origin(hint) is tuple:
        return f"a list, each {_words(get_args(hint)[0])}"
    names = {str: "text", int: "a whole number", float: "a number"}
    return " or ".join(names[kind] for kind in get_args(hint) or (hint,))
