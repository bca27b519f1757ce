"""How logs are written: a table of file formats, each recognised by content."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from toybed.errors import ToybedError
from toybed.llm import console, delimited, documents, events
from toybed.llm.lines import Head, head, lines
from toybed.llm.rows import Items, Wanted

HEAD = 1 << 18
"""Bytes by which a file is recognised; a console log may say much before its first row, so its marks are looked for in
all of it."""

Reader = Callable[[Path, Wanted, str | None], Items]


@dataclass(frozen=True)
class Format:
    """A way to write a log into a file.

    Attributes:
        name: in words.
        looks_like: how much the head of a file looks like it, from 0 (not at all) to 1 (proven).
        read: every unit of a file; the last argument is the key of the step where the user names one.
        mark: of a row among other text, where the format has one.
    """

    name: str
    looks_like: Callable[[Head], float]
    read: Reader
    mark: re.Pattern[str] | None = None


def _without_step(read: Callable[[Path, Wanted], Items]) -> Reader:
    """A reader of a format that has its steps in one place."""
    return lambda path, wanted, _: read(path, wanted)


def _console(name: str, mark: re.Pattern[str], read: Callable[[Path, Wanted], Items]) -> Format:
    return Format(name, console.looks_like(mark), _without_step(read), mark)


def _plain(parse: console.Parser) -> Callable[[Path, Wanted], Items]:
    """A reader of lines whose parser remembers nothing."""
    return partial(console.read, make=lambda: parse)


FORMATS = (
    Format("TensorBoard event file", events.looks_like, _without_step(events.read)),
    Format("JSON, one object a line", documents.looks_like_lines, documents.read_lines),
    Format("JSON document", documents.looks_like_document, documents.read),
    _console("verl console", console.VERL, _plain(console.verl)),
    _console("OpenRLHF console", console.OPENRLHF, _plain(console.openrlhf)),
    _console("slime console", console.SLIME, _plain(console.slime)),
    _console("prime-rl console", console.PRIME, _plain(console.prime)),
    _console("TRL console", console.TRL, console.read_trl),
    Format("CSV", delimited.looks_like, delimited.read),
)
"""The file formats; of those that look equally likely the first is taken."""


def recognise(path: Path) -> Format:
    """The format of a file.

    Raises:
        ToybedError: it is none of those known, empty, or cannot be read.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(HEAD)
    except OSError as error:
        raise ToybedError(f"{path} cannot be read ({error.strerror})") from error
    if not raw.strip():
        raise ToybedError(f"{path} is empty")
    start = head(raw, whole=len(raw) < HEAD)
    found = max(FORMATS, key=lambda form: form.looks_like(start))
    if found.looks_like(start) > 0:
        return found
    if b"\0" in raw:
        raise ToybedError(f"{path} is no text and no TensorBoard event file")
    later = _later(path) if len(raw) == HEAD else None
    if later is None:
        first = start.lines[0][:60] if start.lines else ""
        raise ToybedError(
            f"{path}:1: no log of a known format ({first!r}); known: {', '.join(f.name for f in FORMATS)}"
        )
    return later


def _later(path: Path) -> Format | None:
    """The console format whose mark comes first in a file."""
    marked = [form for form in FORMATS if form.mark is not None]
    for line in lines(path):
        for form in marked:
            if form.mark is not None and form.mark.search(line.text):
                return form
    return None
