"""Sections of the report beside the questions': whoever has something to tell about a store adds one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from toybed.store import Store

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Table:
    """A table of words.

    Attributes:
        caption: what it shows.
        columns: their names.
        rows: as many cells each; an outcome or a judgement ("supported", "agrees", ...) is shown as one.
        folded: whether it is shown on request only.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    folded: bool = False


@dataclass(frozen=True)
class Section:
    """What a section says; everything is text, and escaped where it is shown.

    Attributes:
        name: the section's id in the page, of letters, digits and hyphens.
        title: its heading.
        text: a paragraph.
        tables: below it.
        figure, caption: below the paragraph, where there is one.
    """

    name: str
    title: str
    text: str
    tables: tuple[Table, ...] = ()
    figure: Figure | None = None
    caption: str = ""


Answers = Sequence[Mapping[str, Any]]
"""The store's verdicts, as :meth:`toybed.store.Store.verdicts` gives them."""

Make = Callable[[Store, Answers], Section | None]
"""What makes a section from a store and its answers; None where there is nothing to tell."""

_ADDED: list[Make] = []


def add(make: Make) -> Make:
    """Have a section in every report from now on, after those that were added before."""
    _ADDED.append(make)
    return make


def remove(make: Make) -> None:
    """Have it no longer."""
    _ADDED.remove(make)


def added(store: Store, answers: Answers) -> Iterator[Section]:
    """The sections that were added, as far as they have something to tell."""
    for make in _ADDED:
        section = make(store, answers)
        if section is not None:
            yield section
