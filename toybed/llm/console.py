"""What frameworks print: one line a step, among everything else that a program says.

A parser gets one line and gives the unit that it is; a line with the mark of a row that cannot be read is dropped, not
passed over. Prefixes (a time, ``(TaskRunner pid=1)``), colour codes and progress bars around a row do not matter.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from toybed.llm.lines import Head, Line, lines
from toybed.llm.rows import Dropped, Item, Items, Other, Remark, Row, Wanted

Parser = Callable[[Line, Wanted], Item]

VERL = re.compile(r"(?<![\w/.-])step:(\d+) - (?=[^\s:]+:)")
OPENRLHF = re.compile(r"(?:Global step |global_step )(\d+)(?::|, eval_metrics:) (?=\{)")
SLIME = re.compile(r"(?<![\w/])(step|rollout|eval) (\d+): (?=\{)")
PRIME = re.compile(r"(?<![\w/])Step (\d+) \|(?:\s|$)")
TRL = re.compile(r"\{(?:[^{}]*, )?'(?:loss|reward|eval_\w+)': ")

_OTHER = Other()
_VALUE = r"""(?:[\w.]+\([^()]*\)|'[^']*'|"[^"]*"|\[[^\[\]]*\]|[^,{}\[\]()'"\s]+)"""
_PAIR = re.compile(rf"""\s*(?:'([^']*)'|"([^"]*)")\s*:\s*({_VALUE})\s*([,}}])""")
_PRIME_PAIR = re.compile(r"^([A-Z][A-Za-z /.]*?):? (-?[\d.]+(?:e[+-]?\d+)?|nan)\b")


def verl(line: Line, wanted: Wanted) -> Item:
    """``step:12 - actor/entropy:0.31 - critic/score/mean:np.float64(0.5) ...``."""
    found = _mark(VERL, line)
    if not isinstance(found, re.Match):
        return found
    pairs = line.text[found.end() :].split(" - ")
    if not line.ended:
        pairs.pop()  # the file ends within the line: its last number may lack digits
    values: dict[str, str] = {}
    for pair in pairs:
        key, colon, value = pair.rpartition(":")
        if not colon or not wanted(key):
            continue
        if key in values:
            return Dropped(line.number, f"{key} stands twice in a line: two lines ran together")
        values[key] = value.split(maxsplit=1)[0] if value.strip() else ""
    return _row(line, found.group(1), values)


def openrlhf(line: Line, wanted: Wanted) -> Item:
    """``Global step 12: {'reward': 0.5, ...}`` and ``..., global_step 12, eval_metrics: {...}``."""
    found = _mark(OPENRLHF, line)
    if not isinstance(found, re.Match):
        return found
    return _row(line, found.group(1), _pairs(line.text, found.end(), wanted))


def slime(line: Line, wanted: Wanted) -> Item:
    """``step 12: {'train/entropy_loss': ...}``, ``rollout 3: {'rollout/raw_reward': ...}``, ``eval 3: {...}``."""
    found = _mark(SLIME, line)
    if not isinstance(found, re.Match):
        return found
    clock = "update" if found.group(1) == "step" else "rollout"
    return _row(line, found.group(2), _pairs(line.text, found.end(), wanted), clock)


def prime(line: Line, wanted: Wanted) -> Item:
    """``Step 12 | Time: 3.2s | Reward: 0.5000 | ...``, later without colons; trainer and orchestrator print alike."""
    found = _mark(PRIME, line)
    if not isinstance(found, re.Match):
        return found
    cells = line.text[found.end() :].split(" | ")
    if not line.ended:
        cells.pop()
    pairs = [pair for cell in cells if (pair := _PRIME_PAIR.match(cell.strip()))]
    values = {pair.group(1): pair.group(2) for pair in pairs if wanted(pair.group(1))}
    return _row(line, found.group(1), values)


class Trl:
    """``{'loss': 0.1, 'reward': 0.5, 'epoch': 0.1}``: no step, so entries are numbered; evaluations get the last."""

    def __init__(self) -> None:
        self._step = 0

    def __call__(self, line: Line, wanted: Wanted) -> Item:
        """The next line."""
        found = _mark(TRL, line)
        if not isinstance(found, re.Match):
            return found
        values = _pairs(line.text, found.start(), wanted, always=("step", "eval_loss", "eval_reward", "eval_runtime"))
        if not (isinstance(values, dict) and any(key.startswith("eval_") for key in values)):
            self._step += 1
        if isinstance(values, dict) and "step" in values:
            return _row(line, values.pop("step"), values)
        return _row(line, str(self._step), values)


def _mark(mark: re.Pattern[str], line: Line) -> re.Match[str] | Item:
    """The mark of the row in a line, if it has one."""
    found = mark.search(line.text)
    if found is None:
        return _OTHER
    if mark.search(line.text, found.end()):
        return Dropped(line.number, "two rows stand in a line: a line end was lost")
    return found


def _pairs(text: str, start: int, wanted: Wanted, always: tuple[str, ...] = ()) -> dict[str, str] | str:
    """Keys and raw values of a printed dictionary that begins with the brace at ``start``; a reason if it is broken."""
    values: dict[str, str] = {}
    place = start + 1
    while found := _PAIR.match(text, place):
        key = found.group(1) or found.group(2) or ""
        if wanted(key) or key in always:
            values[key] = found.group(3)
        place = found.end()
        if found.group(4) == "}":
            return values
    return f"the dictionary is broken or cut off at {text[place : place + 20]!r}"


def _row(line: Line, step: str, values: dict[str, str] | str, clock: str = "") -> Item:
    if line.cut:
        return Dropped(line.number, "the line is too long")
    if isinstance(values, str):
        return Dropped(line.number, values)
    if not step.isdecimal() or len(step) > 15:
        return Dropped(line.number, f"the step {step[:20]!r} is no whole number from 0 on")
    return Row(line.number, int(step), values, clock)


def read(path: Path, wanted: Wanted, make: Callable[[], Parser]) -> Items:
    """Every line of a file, with a parser of its own."""
    parse = make()
    for line in lines(path):
        item = parse(line, wanted)
        yield item
        if not line.ended and isinstance(item, Row) and parse in (verl, prime):
            yield Remark(f"line {line.number} is the last and has no line end: its last value is not used")


def read_trl(path: Path, wanted: Wanted) -> Items:
    """TRL's console, whose entries have no step."""
    yield Remark("the console of TRL prints no step: its entries are numbered from 1, one for each logging step")
    yield from read(path, wanted, Trl)


def looks_like(mark: re.Pattern[str]) -> Callable[[Head], float]:
    """How much a text looks like a console log with this mark of a row: any line that has it will do."""
    return lambda start: 0.8 if any(mark.search(line) for line in start.lines) else 0.0
