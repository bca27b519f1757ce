"""A frame of ``toybed watch``: two charts of braille dots side by side, and a line of text for each curve."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import ConsoleDimensions, Group
from rich.table import Table
from rich.text import Text

from toybed.commands.watching import Frame, Line, labels

COLOURS = ("default", "blue", "red", "green", "magenta", "yellow", "cyan")
"""As the terminal's own theme has them, so that they are seen on dark and on light."""
MARKS = "abcdefg"
"""The letter at a curve's end: not everybody tells colours apart."""
LEFT = 7  # columns for the numbers of the vertical axis
DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""The bits of a braille character, by row and column."""


def render(frame: Frame, size: ConsoleDimensions) -> Group:
    """The frame for a terminal of that size."""
    shown = frame.lines[: len(COLOURS)]
    head = Text.assemble(("toybed watch  ", "bold"), _status(frame), no_wrap=True, overflow="ellipsis")
    if not shown:
        waiting = f"\nNothing to see in {frame.store} yet. Start toybed run or toybed compare in another terminal."
        return Group(head, Text(waiting))
    width = max((size.width - 2) // 2, 24)
    height = min(max(size.height - len(shown) - 7, 6), 24)
    charts = Table.grid(padding=(0, 1))
    charts.add_row(
        chart("reward of the batch", shown, "reward", width, height),
        chart("entropy of the batch, nats per token", shown, "entropy", width, height),
    )
    return Group(head, Text(), charts, Text(), _legend(shown, len(frame.lines) - len(shown)))


def _status(frame: Frame) -> Text:
    runs = "run" if frame.finished == 1 else "runs"
    done = f"{frame.finished} {runs} finished in {frame.store.name}"
    if frame.title is None:
        return Text(f"{done} · nothing is running", style="dim")
    share = "" if frame.progress is None else f", these {frame.progress:.0%} done"
    return Text.assemble((f"{frame.title}{share}", "bold green"), (f" · {done}", "dim"))


def _legend(lines: Sequence[Line], hidden: int) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("", "objective", "reward", "entropy", "running", "finished"):
        table.add_column(column, justify="left" if column in ("", "objective") else "right", overflow="ellipsis")
    for mark, colour, name, line in zip(MARKS, COLOURS, labels(lines), lines, strict=False):
        newest = [f"{values[-1]:.3f}" if (values := line.curve(m)[1]) else "-" for m in ("reward", "entropy")]
        cells = (name, *newest, str(line.running or ""), str(line.finished or ""))
        table.add_row(Text(mark, style=f"bold {colour}"), *(Text(cell, style=colour) for cell in cells))
    if hidden:
        table.add_row("", Text(f"and {hidden} more, heard of before these", style="dim"))
    return table


def chart(title: str, lines: Sequence[Line], measure: str, width: int, height: int) -> Text:
    """Curves from 0 on upwards, each in its colour, with its letter where it ends; ``height`` rows beside the axis."""
    curves = [line.curve(measure) for line in lines]
    last = max((steps[-1] for steps, _ in curves if steps), default=1)
    values = [v for _, found in curves for v in found]
    low, high = min([0.0, *values]), max([1e-9, *values])
    canvas = Canvas(width - LEFT, height)
    for (steps, found), colour in zip(curves, COLOURS, strict=False):
        canvas.line([step / last for step in steps], [(v - low) / (high - low) for v in found], colour)
    for (steps, found), mark, colour in zip(curves, MARKS, COLOURS, strict=False):
        if steps:
            canvas.letter(steps[-1] / last, (found[-1] - low) / (high - low), mark, colour)
    text = Text(f"{title[:width]}\n", style="bold", no_wrap=True)
    for row, content in enumerate(canvas.rows()):
        number = {0: high, height - 1: low}.get(row)
        text.append(" " * (LEFT - 1) if number is None else f"{number:{LEFT - 1}.2f}", style="not bold dim")
        text.append("│", style="not bold dim").append_text(content).append("\n")
    text.append(f"{'0':>{LEFT}}{f'{last} updates':>{width - LEFT}}", style="not bold dim")
    return text


class Canvas:
    """Dots, two by four in a character; a character has one colour, that of the last line through it."""

    def __init__(self, width: int, height: int) -> None:
        self._width, self._height = width, height
        self._bits = [[0] * width for _ in range(height)]
        self._colours = [[""] * width for _ in range(height)]
        self._letters: dict[tuple[int, int], str] = {}

    def line(self, x: Sequence[float], y: Sequence[float], colour: str) -> None:
        """A line through points in [0, 1] times [0, 1], y upwards."""
        places = [
            (round(a * (2 * self._width - 1)), round((1 - b) * (4 * self._height - 1)))
            for a, b in zip(x, y, strict=True)
        ]
        for (x0, y0), (x1, y1) in zip(places, places[1:] or places, strict=False):
            count = max(abs(x1 - x0), abs(y1 - y0), 1)
            for i in range(count + 1):
                self._dot(round(x0 + (x1 - x0) * i / count), round(y0 + (y1 - y0) * i / count), colour)

    def letter(self, x: float, y: float, mark: str, colour: str) -> None:
        """A letter in the place of the dots there; beside it where another letter stands."""
        column, row = round(x * (self._width - 1)), round((1 - y) * (self._height - 1))
        while (row, column) in self._letters and column > 0:
            column -= 1
        self._letters[row, column] = mark
        self._colours[row][column] = colour

    def rows(self) -> list[Text]:
        """The rows from above."""
        return [self._row(row) for row in range(self._height)]

    def _row(self, row: int) -> Text:
        text = Text(style="not bold")
        for column, bits in enumerate(self._bits[row]):
            mark = self._letters.get((row, column))
            style = f"{'bold ' if mark else ''}{self._colours[row][column]}".strip()
            text.append(mark or (chr(0x2800 + bits) if bits else " "), style=style or None)
        return text

    def _dot(self, x: int, y: int, colour: str) -> None:
        self._bits[y // 4][x // 2] |= DOTS[y % 4][x % 2]
        self._colours[y // 4][x // 2] = colour
