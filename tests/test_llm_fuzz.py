"""Damaged logs: no crash but a clear error, and no silent loss: every unit of a file is read, dropped or no row.

TOYBED_FUZZ=10000 tries so many damaged files; the suite tries a few hundred.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import struct
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from toybed.errors import ToybedError
from toybed.llm import COLUMNS, Table, read
from toybed.llm.compare import overlay

POINTS = 12  # enough for a fit
TRIES = int(os.environ.get("TOYBED_FUZZ", "360"))


def _samples() -> ModuleType:
    if "llm_samples" not in sys.modules:
        spec = importlib.util.spec_from_file_location("llm_samples", Path(__file__).with_name("llm_samples.py"))
        assert spec is not None
        assert spec.loader is not None
        sys.modules["llm_samples"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules["llm_samples"])
    return sys.modules["llm_samples"]


samples = _samples()

MARKS = {
    "verl console": r"(?<![\w/.-])step:\d+ - [^\s:]+:",
    "OpenRLHF console": r"(Global step \d+: \{|global_step \d+, eval_metrics: \{)",
    "slime console": r"(?<![\w/])(step|rollout|eval) \d+: \{",
    "prime-rl console": r"(?<![\w/])Step \d+ \|(\s|$)",
}
"""What a row of a console log must have, written down once more."""
WRONG = [b"null", b"nan", b"-1", b"1e999", b'"x"', b"[1, 2]", b"{}", b"true", b"9" * 400, b"np.float64(0.5)", b"'"]
JUNK = [
    b"\x1b[31m",
    b"\r 50%|##   | 1/2\r",
    b"\n\n",
    b"Traceback (most recent call last):\n",
    b"\xff\xfe",
    b"\0",
    b"{",
    b'"',
]


# -- damage ------------------------------------------------------------------------------------------------------------
def damaged(data: bytes, other: bytes, random: np.random.Generator) -> bytes:
    """One to three kinds of damage, one after the other."""
    for _ in range(random.integers(1, 4)):
        data = KINDS[random.integers(len(KINDS))](data, other, random)
    return data


def cut(data: bytes, other: bytes, random: np.random.Generator) -> bytes:
    return data[: random.integers(len(data) + 1)]


def splice(data: bytes, other: bytes, random: np.random.Generator) -> bytes:
    """The beginning of one log and the end of another."""
    return data[: random.integers(len(data) + 1)] + other[random.integers(len(other) + 1) :]


def flip(data: bytes, other: bytes, random: np.random.Generator) -> bytes:
    changed = bytearray(data)
    for place in random.integers(len(data), size=random.integers(1, 6)) if data else ():
        changed[place] ^= 1 << random.integers(8)
    return bytes(changed)


def repeat(data: bytes, other: bytes, random: np.random.Generator) -> bytes:
    a, b = sorted(random.integers(len(data) + 1, size=2))
    return data[:b] + data[a:b] + data[b:]


def lose_lines(data: bytes, other: bytes, random: np.random.Generator) -> bytes:
    lines = data.splitlines(keepends=True)
    return b"".join(line for line in lines if random.random() < 0.8)


def insert(data: bytes, other: bytes, random: np.random.Generator) -> bytes:
    place = random.integers(len(data) + 1)
    return data[:place] + JUNK[random.integers(len(JUNK))] + data[place:]


def wrong_type(data: bytes, other: bytes, random: np.random.Generator) -> bytes:
    """One number becomes something else."""
    numbers = list(re.finditer(rb"-?\d+\.?\d*", data))
    if not numbers:
        return data
    found = numbers[random.integers(len(numbers))]
    return data[: found.start()] + WRONG[random.integers(len(WRONG))] + data[found.end() :]


KINDS = (cut, splice, flip, repeat, lose_lines, insert, wrong_type)


# -- what there was ----------------------------------------------------------------------------------------------------
def pieces(data: bytes) -> list[str]:
    """Texts between line ends that are not blank."""
    text = [piece.decode("utf-8", "replace") for piece in re.split(rb"[\r\n]", data)]
    plain = [re.sub(r"\x1b(\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]{0,1000}\x07|[()][A-Za-z0-9]|[=>])", "", x) for x in text]
    return [piece for i, piece in enumerate(plain) if (piece.removeprefix("\ufeff") if i == 0 else piece).strip()]


def records(data: bytes) -> int:
    """Records of an event file, the rest after the first damage as one."""
    place = count = 0
    while place < len(data):
        count += 1
        header = data[place : place + 12]
        length = struct.unpack("<Q", header[:8])[0] if len(header) == 12 else 0
        if len(header) < 12 or samples.masked(header[:8]) != header[8:] or place + length + 16 > len(data):
            return count
        place += length + 16
    return count


def units(table: Table, data: bytes) -> int:
    """How many units the file has, counted without the readers."""
    if table.containers[0].startswith("TensorBoard"):
        return records(data)
    if table.containers[0] != "JSON document":
        return len(pieces(data))
    document = json.loads(data.decode("utf-8-sig", "replace"))
    if isinstance(document, dict) and isinstance(document.get("log_history"), list):
        document = document["log_history"]
    return len(document) if isinstance(document, list) else sum(map(len, document.values()))


def check(table: Table, data: bytes) -> None:
    """Nothing is lost silently, and the table is one."""
    assert table.rows + table.dropped + table.other == units(table, data)
    if table.containers[0] in MARKS:
        mark = re.compile(MARKS[table.containers[0]])
        assert table.rows + table.dropped == sum(mark.search(piece) is not None for piece in pieces(data))
    assert (np.diff(table.step) > 0).all()
    assert set(table.sources) <= set(COLUMNS)
    for column in COLUMNS:
        assert table.column(column).shape == table.step.shape
        assert np.isnan(table.column(column)).all() == (column not in table.sources)
    json.dumps(overlay(table, []).as_dict(), allow_nan=False)
    if table.dropped:
        assert any(" dropped: " in note for note in table.notes)


NAMES = [name for name in samples.SAMPLES if name != "mlflow"]


@pytest.mark.parametrize("share", range(4))
def test_damaged_logs(tmp_path: Path, share: int) -> None:
    whole = {}
    for name in NAMES:
        (tmp_path / name).mkdir()
        path = samples.SAMPLES[name].write(tmp_path / name, samples.rows(POINTS))
        whole[name] = (path / "events" if path.is_dir() else path).read_bytes()
    path, good = tmp_path / "damaged", 0
    for i in range(share, TRIES, 4):
        random = np.random.default_rng(i)
        name, other = NAMES[i % len(NAMES)], NAMES[random.integers(len(NAMES))]
        data = damaged(whole[name], whole[other], random)
        path.write_bytes(data)
        try:
            tables = read([path])
        except ToybedError as error:
            assert str(path) in str(error), (i, name)
            assert "\n" not in str(error), (i, name)
            continue
        good += 1
        try:
            for table in tables:
                check(table, data)
        except AssertionError as error:
            raise AssertionError(f"try {i}, {name} spliced with {other}: {error}") from error
    assert good > TRIES / 4 / 4  # most damage leaves rows that can be read


def test_damaged_stores_of_mlflow(tmp_path: Path) -> None:
    for i in range(max(TRIES // 20, 1)):
        random = np.random.default_rng(i)
        folder = samples.mlflow(tmp_path / str(i), samples.rows(6))
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        path = files[random.integers(len(files))]
        path.write_bytes(damaged(path.read_bytes(), files[0].read_bytes(), random))
        try:
            [table] = read([folder])
        except ToybedError as error:
            assert "\n" not in str(error)
            continue
        assert table.rows + table.dropped + table.other == sum(len(pieces(path.read_bytes())) for path in files)
