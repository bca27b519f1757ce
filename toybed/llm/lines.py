"""Lines of a text file of any size, in bounded memory."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from toybed.errors import ToybedError

CHUNK = 1 << 20
LONGEST = 1 << 24
"""Bytes of a line; what is longer is cut off and marked. The last line of ms-swift holds the whole history."""

_ENDS = re.compile(rb"[\r\n]")
_ANSI = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]{0,1000}\x07|[()][A-Za-z0-9]|[=>])")


class Line(NamedTuple):
    """A piece of text between line ends; a carriage return ends one too, as progress bars use it.

    Attributes:
        number: of the line, counted from 1; pieces between carriage returns share it.
        text: without colour codes and surrounding blanks; what is no UTF-8 is marked by U+FFFD.
        ended: False where the file ends without a line end: it may have been cut off here.
        cut: True where it was longer than :data:`LONGEST`.
    """

    number: int
    text: str
    ended: bool = True
    cut: bool = False


def lines(path: Path) -> Iterator[Line]:
    """All pieces that are not blank.

    Raises:
        ToybedError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            number, rest, cut = 1, b"", False
            while raw := file.readline(CHUNK):
                if raw.endswith(b"\n") and b"\r" not in raw and not rest and not cut:  # nearly every line
                    if text := _text(raw, number):
                        yield Line(number, text)
                    number += 1
                    continue
                *pieces, rest = _ENDS.split(rest + raw)
                for piece in pieces:
                    if text := _text(piece, number):
                        yield Line(number, text, cut=cut)
                    cut = False
                if len(rest) > LONGEST:
                    rest, cut = rest[:CHUNK], True
                number += raw.endswith(b"\n")
            if text := _text(rest, number):
                yield Line(number, text, ended=False, cut=cut)
    except OSError as error:
        raise ToybedError(f"{path} cannot be read ({error.strerror})") from error


def _text(raw: bytes, number: int) -> str:
    text = raw.decode("utf-8", "replace")
    if "\x1b" in text:
        text = _ANSI.sub("", text)
    return (text.removeprefix("\ufeff") if number == 1 else text).strip()


class Head(NamedTuple):
    """The beginning of a file, by which it is recognised.

    Attributes:
        raw: the bytes.
        text: the same, decoded.
        lines: its whole lines that are not blank, without colour codes.
    """

    raw: bytes
    text: str
    lines: tuple[str, ...]


def head(raw: bytes, whole: bool) -> Head:
    """The head from its bytes.

    Args:
        raw: the first bytes of a file.
        whole: whether they are all of it; if not, the last line is left out, as it may be cut.
    """
    text = _ANSI.sub("", raw.decode("utf-8-sig", "replace"))
    pieces = re.split(r"[\r\n]", text)
    return Head(raw, text, tuple(piece.strip() for piece in (pieces if whole else pieces[:-1]) if piece.strip()))
