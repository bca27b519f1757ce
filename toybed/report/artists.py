"""What matplotlib has drawn in a pair of axes, read back as series of points."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

FAINT = 0.35
"""Lines as pale as this, or paler, are the single runs behind a mean: they are drawn and not told."""

NONE = ("None", "none", "", " ", None)
"""How matplotlib says that a line has no marker, or no stroke."""


@dataclass(frozen=True)
class Span:
    """An interval along an axis, "x" or "y"."""

    axis: str
    low: float
    high: float


@dataclass(frozen=True)
class Point:
    """One point.

    Attributes:
        x, y: its place in the data.
        name: where the figure names it.
        spans: the intervals that are drawn around it, one for an axis at most.
    """

    x: float
    y: float
    name: str = ""
    spans: tuple[Span, ...] = ()


@dataclass(frozen=True)
class Series:
    """Points of one look.

    Attributes:
        name: from the legend, from a label in the axes, or how it looks.
        colour: ``#rrggbb``.
        line: whether they are joined.
        dashed: whether the line is broken.
        points: in their order.
        left_out: how many points are not told.
    """

    name: str
    colour: str
    line: bool
    dashed: bool
    points: tuple[Point, ...]
    left_out: int = 0


@dataclass(frozen=True)
class Bar:
    """A piece of a line along an axis: an interval where a marker of its colour stands on it."""

    colour: str
    ends: NDArray[np.float64]

    def covers(self, x: float, y: float) -> bool:
        """Whether a point is on it."""
        low, high = self.ends.min(0), self.ends.max(0)
        return bool((low <= (x, y)).all() and ((x, y) <= high).all())


def series(axes: Axes) -> list[Series]:
    """All that is drawn in coordinates of the data, faint lines apart; single points of one look are one series."""
    bars = list(_bars(axes))
    tops = [(point.x, point.y) for one in bars for point in one.points]
    pieces = [Bar(hexed(line.get_color()), _places(line)) for line in axes.lines if _is_piece(line)]
    on_bars = [piece for piece in pieces if any(piece.covers(x, y) for x, y in tops)]
    told = [replace(one, points=tuple(_with_intervals(point, on_bars) for point in one.points)) for one in bars]
    return _merged([*_lines(axes, on_bars), *_scattered(axes), *told])


def plain(text: str) -> str:
    """A label in one line, without the marks of mathtext."""
    return " ".join(re.sub(r"\\[a-z]+|[${}]", "", text).split())


def hexed(colour: Any) -> str:
    """A colour as ``#rrggbb``."""
    from matplotlib.colors import to_hex

    return str(to_hex(colour))


def _lines(axes: Axes, taken: Sequence[Bar]) -> Iterator[Series]:
    """Lines and markers, markers with their intervals; pieces that are intervals, or taken already, are none."""
    caps, bars = _error_bars(axes)
    own = [line for line in axes.lines if _told(line, axes) and not any(line is cap for cap in caps)]
    pieces = [Bar(hexed(line.get_color()), _places(line)) for line in own if _is_piece(line)]
    marked = [line for line in own if line.get_marker() not in NONE]
    spots = [(hexed(line.get_color()), x, y) for line in marked for x, y in _places(line)]
    intervals = bars + [bar for bar in pieces if any(c == bar.colour and bar.covers(x, y) for c, x, y in spots)]
    for line in own:
        if _is_piece(line) and any(np.array_equal(bar.ends, _places(line)) for bar in (*intervals, *taken)):
            continue
        colour = hexed(line.get_color())
        near = [bar for bar in intervals if bar.colour == colour]
        points = tuple(_with_intervals(Point(float(x), float(y)), near) for x, y in _places(line))
        if points:
            style = str(line.get_linestyle())
            yield Series(_legend(line), colour, style not in NONE, style not in (*NONE, "-"), points)


def _told(line: Line2D, axes: Axes) -> bool:
    alpha = line.get_alpha()
    return line.get_visible() and line.get_transform() == axes.transData and (alpha is None or alpha > FAINT)


def _places(line: Line2D) -> NDArray[np.float64]:
    """Its finite points ``[n, 2]``."""
    data = np.asarray(line.get_xydata(), dtype=float)
    return data[np.isfinite(data).all(1)]


def _is_piece(line: Line2D) -> bool:
    data = _places(line)
    return len(data) == 2 and line.get_marker() in NONE and bool((data[0] == data[1]).any())


def _error_bars(axes: Axes) -> tuple[list[Line2D], list[Bar]]:
    """The caps of matplotlib's own error bars, which are no data, and the bars."""
    from matplotlib.container import ErrorbarContainer

    caps: list[Line2D] = []
    bars: list[Bar] = []
    for container in axes.containers:
        if isinstance(container, ErrorbarContainer):
            _, ends, collections = container.lines
            caps += ends
            for collection in collections:
                colour = hexed(collection.get_color()[0])
                bars += [
                    Bar(colour, np.asarray(piece)) for piece in collection.get_segments() if np.isfinite(piece).all()
                ]
    return caps, bars


def _with_intervals(point: Point, bars: Sequence[Bar]) -> Point:
    """The point with the intervals of the bars on which it stands, of each axis the first."""
    spans: dict[str, Span] = {}
    for bar in bars:
        if bar.covers(point.x, point.y):
            axis = "x" if bar.ends[0, 1] == bar.ends[1, 1] else "y"
            low, high = sorted(map(float, bar.ends[:, "xy".index(axis)]))
            spans.setdefault(axis, Span(axis, low, high))
    return replace(point, spans=tuple(spans.values()))


def _legend(artist: Any) -> str:
    """Its name in a legend; names that matplotlib makes up begin with an underscore."""
    name = str(artist.get_label())
    return "" if name.startswith("_") else plain(name)


def _scattered(axes: Axes) -> Iterator[Series]:
    from matplotlib.collections import PathCollection

    for collection in axes.collections:
        if isinstance(collection, PathCollection):
            places = np.asarray(collection.get_offsets(), dtype=float)
            points = tuple(Point(float(x), float(y)) for x, y in places if np.isfinite([x, y]).all())
            if points:
                yield Series(_legend(collection), hexed(collection.get_facecolor()[0]), False, False, points)


def _bars(axes: Axes) -> Iterator[Series]:
    """Bars as points: where they stand and how high each is, also in a stack."""
    from matplotlib.container import BarContainer

    for container in axes.containers:
        if isinstance(container, BarContainer):
            patches = [bar for bar in container.patches if np.isfinite(bar.get_height())]
            points = tuple(Point(float(bar.get_x() + bar.get_width() / 2), float(bar.get_height())) for bar in patches)
            if points:
                yield Series(_legend(container), hexed(patches[0].get_facecolor()), False, False, points)


def _merged(found: Sequence[Series]) -> list[Series]:
    together: dict[tuple[Any, ...], Series] = {}
    for i, one in enumerate(found):
        line = one.line and len(one.points) > 1
        key = (i,) if line else (one.colour, one.name)
        before = together.get(key)
        together[key] = replace(one, line=line, points=(before.points if before else ()) + one.points)
    return list(together.values())
