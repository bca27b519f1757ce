"""TensorBoard event files, read without TensorBoard: its records are few and fixed, and its own reader takes seconds to
import and thins out what it reads.

A record is length (8 bytes), checksum of these, data, checksum of the data; the data is a protocol buffer ``Event``
with ``step`` (field 2) and ``summary`` (5), whose values (1) have ``tag`` (1), ``simple_value`` (2) or ``tensor`` (8).
Source: tensorflow/core/lib/io/record_writer, tensorflow/core/util/event.proto, summary.proto, tensor.proto.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from toybed.errors import ToybedError
from toybed.llm.lines import Head
from toybed.llm.rows import Dropped, Item, Items, Other, Row, Wanted

LARGEST = 1 << 26
"""Bytes of a record; a longer one is damage (images and graphs are smaller)."""

MOST_LAYOUTS = 10_000

_FLOAT, _DOUBLE = 1, 2  # DataType of a tensor
_SCALAR = b"\x15"  # before a simple_value
_OTHER = Other()


def read(path: Path, wanted: Wanted) -> Items:
    """Every record of a file."""
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            line, scalars = 0, Scalars(wanted)
            while header := file.read(12):
                line += 1
                length = _length(header)
                data = file.read(length + 4) if length is not None else b""
                if length is None or len(data) < length + 4:
                    left = size - file.tell() + len(data) + len(header)
                    yield Dropped(line, f"the file is damaged or cut off here; its last {left} bytes cannot be read")
                    return
                yield _record(line, data, scalars)
    except OSError as error:
        raise ToybedError(f"{path} cannot be read ({error.strerror})") from error


class Scalars:
    """Events, of which most hold one scalar that nobody wants: those are known by the bytes before the number.

    These bytes, without time and step, are the same at every step; what comes behind them is the number alone.
    """

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._unwanted: set[bytes] = set()

    def parse(self, data: bytes) -> tuple[int, dict[str, float]]:
        """Step and wanted values of a record without its checksum."""
        start = 9  # after the time
        if data[start] == 0x10:  # the step, which is left out where it is 0
            start += 1
            while data[start] & 128:
                start += 1
            start += 1
        layout = data[start:-4]
        if layout in self._unwanted:
            return 0, {}
        step, values = _event(memoryview(data), self._wanted)
        if not values and layout[-1:] == _SCALAR and len(self._unwanted) < MOST_LAYOUTS:
            self._unwanted.add(layout)
        return step, values


def _record(line: int, data: bytes, scalars: Scalars) -> Item:
    """The row of a record; its checksum is tested only if it holds something wanted, as that takes longest."""
    try:
        step, values = scalars.parse(data[:-4])
    except (ValueError, IndexError, struct.error):
        return Dropped(line, "the record is damaged")
    if not values:
        return _OTHER
    if _masked(crc(data[:-4])) != int.from_bytes(data[-4:], "little"):
        return Dropped(line, "the record's checksum is wrong")
    if not 0 <= step < 1 << 53:
        return Dropped(line, f"the step {step} is no whole number from 0 on")
    return Row(line, step, values)


def _event(data: memoryview, wanted: Wanted) -> tuple[int, dict[str, float]]:
    step, values = 0, {}
    for number, value in _fields(data):
        if number == 2 and isinstance(value, int):
            step = value - (1 << 64) if value >> 63 else value
        elif number == 5 and isinstance(value, memoryview):
            for inner, summary in _fields(value):
                if inner == 1 and isinstance(summary, memoryview):
                    values.update(_value(summary, wanted))
    return step, values


def _value(data: memoryview, wanted: Wanted) -> dict[str, float]:
    """Tag and number of one value; nothing where it is no number or not wanted."""
    tag, found = "", None
    for number, value in _fields(data):
        if number == 1 and isinstance(value, memoryview):
            tag = bytes(value).decode("utf-8", "replace")
            if not wanted(tag):
                return {}
        elif number == 2 and isinstance(value, bytes):
            found = float(struct.unpack("<f", value)[0])
        elif number == 8 and isinstance(value, memoryview):
            found = _tensor(value)
    return {} if found is None or not tag else {tag: found}


def _tensor(data: memoryview) -> float | None:
    """The number in a tensor of one element, kept as its type's bytes or as a list of that type."""
    kind, raw = 0, None
    for number, value in _fields(data):
        if number == 1 and isinstance(value, int):
            kind = value
        elif number in (4, 5, 6):
            raw = bytes(value) if not isinstance(value, int) else None
    form = {_FLOAT: "<f", _DOUBLE: "<d"}.get(kind)
    if form is None or raw is None or len(raw) != struct.calcsize(form):
        return None
    return float(struct.unpack(form, raw)[0])


def _fields(data: memoryview) -> Iterator[tuple[int, int | bytes | memoryview]]:
    """Number and value of each field: an int, 4 or 8 bytes, or a view of what has a length."""
    place, end = 0, len(data)
    while place < end:
        head, place = _varint(data, place)
        number, wire = head >> 3, head & 7
        if wire == 0:
            value, place = _varint(data, place)
            yield number, value
            continue
        if wire == 2:
            size, place = _varint(data, place)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise ValueError("no known wire type")
        if place + size > end:
            raise ValueError("a field is longer than its record")
        yield number, data[place : place + size] if wire == 2 else bytes(data[place : place + size])
        place += size


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    value = data[place]
    if value < 128:
        return value, place + 1
    value, shift = value & 127, 7
    for last in range(place + 1, place + 10):
        byte = data[last]
        value |= (byte & 127) << shift
        if byte < 128:
            return value, last + 1
        shift += 7
    raise ValueError("a number is too long")


@lru_cache(maxsize=4096)
def _length(header: bytes) -> int | None:
    """The length that a record's first 12 bytes give, or None where they are no beginning of a record."""
    if len(header) < 12:
        return None
    length = int.from_bytes(header[:8], "little")
    sound = _masked(crc(header[:8])) == int.from_bytes(header[8:], "little")
    return length if sound and length <= LARGEST else None


def _crc_table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return tuple(table)


_CRC = _crc_table()


def crc(data: bytes) -> int:
    """CRC-32C (Castagnoli), as the records have it."""
    value = 0xFFFFFFFF
    for byte in data:
        value = _CRC[(value ^ byte) & 0xFF] ^ value >> 8
    return value ^ 0xFFFFFFFF


def _masked(value: int) -> int:
    return ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF


def looks_like(start: Head) -> float:
    """1 where the file begins with a record, as its checksum proves."""
    return 1.0 if _length(start.raw[:12]) is not None else 0.0


def looks_like_file(path: Path) -> bool:
    """The same of a file in a folder."""
    try:
        with path.open("rb") as file:
            return _length(file.read(12)) is not None
    except OSError:
        return False


def runs(folder: Path) -> dict[str, list[Path]]:
    """Every folder below that holds event files, by its path from here ("" for this one): each is a run.

    Files of one run follow each other by the time in their names: at equal steps the later one counts.
    """
    found: dict[str, list[Path]] = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        if looks_like_file(path):
            name = path.parent.relative_to(folder).as_posix()
            found.setdefault("" if name == "." else name, []).append(path)
    return found
