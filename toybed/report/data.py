"""The numbers in a figure: what each panel draws, by series, named as the figure names it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from toybed.report import artists
from toybed.report.artists import Point, Series, Span, hexed, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST = 120
"""Points of a series that are told; of more, every second, third, ... is."""

HUES = {
    "#000000": "black",
    "#0072b2": "blue",
    "#d55e00": "vermilion",
    "#009e73": "green",
    "#cc79a7": "purple",
    "#e69f00": "orange",
    "#56b4e9": "sky blue",
    "#999999": "grey",
}
"""Words for the palette's colours, for series that a figure names nowhere."""

Place = tuple[float, float]
Ticks = Mapping[str, Mapping[float, str]]


@dataclass(frozen=True)
class Label:
    """Words in the axes, their colour, and the place in the data that they stand for (None: none)."""

    text: str
    colour: str
    place: Place | None


@dataclass(frozen=True)
class Panel:
    """One pair of axes.

    Attributes:
        title, x, y: its labels.
        logarithmic, inverted: the axes, of "x" and "y", that are so.
        ticks: axis to the places that have names and not numbers.
        series: what is drawn.
    """

    title: str
    x: str
    y: str
    logarithmic: tuple[str, ...] = ()
    inverted: tuple[str, ...] = ()
    ticks: Ticks = field(default_factory=dict)
    series: tuple[Series, ...] = ()

    @property
    def intervals(self) -> bool:
        """Whether any point has one."""
        return any(point.spans for series in self.series for point in series.points)

    @property
    def named(self) -> bool:
        """Whether any point has a name."""
        return any(point.name for series in self.series for point in series.points)


def panels(figure: Figure) -> list[Panel]:
    """What each pair of axes of a figure draws; those that draw nothing are left out."""
    figure.draw_without_rendering()  # the names of ticks are known only then
    ticks = [_ticks(axes) for axes in figure.axes]
    # Panels side by side that share their rows name them once, at the left.
    shared = [{**_shared(axes, figure.axes, ticks), **own} for axes, own in zip(figure.axes, ticks, strict=True)]
    found = [_panel(axes, own) for axes, own in zip(figure.axes, shared, strict=True)]
    names: dict[str, set[str]] = {}
    for one in (one for panel in found for one in panel.series if one.name and one.line):
        names.setdefault(one.colour, set()).add(one.name)
    only = {colour: next(iter(known)) for colour, known in names.items() if len(known) == 1}
    return [_complete(panel, only) for panel in found if panel.series]


def _ticks(axes: Axes) -> Ticks:
    return {which: names for which in "xy" if (names := _named_ticks(axes, which))}


def _shared(axes: Axes, every: Sequence[Axes], ticks: Sequence[Ticks]) -> dict[str, Mapping[float, str]]:
    """The names of the rows of another panel that has the same rows, where this one names none."""
    if any(label.get_text() for label in axes.get_yticklabels()):
        return {}
    for other, names in zip(every, ticks, strict=True):
        if "y" in names and other.get_ylim() == axes.get_ylim() and {*axes.get_yticks()} <= {*other.get_yticks()}:
            return {"y": names["y"]}
    return {}


def _panel(axes: Axes, ticks: Ticks) -> Panel:
    turned = [which for which in "xy" if _complemented(axes, which)]
    found = [_named(one, _words(axes), ticks) for one in artists.series(axes)]
    return Panel(
        plain(axes.get_title("left") or axes.get_title()),
        plain(axes.get_xlabel()),
        plain(axes.get_ylabel()),
        tuple(w for w in "xy" if getattr(axes, f"get_{w}scale")() == "log" and w not in turned),
        tuple(w for w in "xy" if getattr(axes, f"{w}axis_inverted")() and w not in turned),
        ticks,
        tuple(replace(one, points=tuple(_turned(point, turned) for point in one.points)) for one in found),
    )


def _words(axes: Axes) -> list[Label]:
    labels = [Label(plain(text.get_text()), hexed(text.get_color()), _place(text)) for text in axes.texts]
    return [label for label in labels if label.text]


def _complemented(axes: Axes, which: str) -> bool:
    """Whether an axis shows failures and is labelled by successes: its ticks say 1 less their place."""
    axis = getattr(axes, f"{which}axis")
    said = [
        (float(place), label.get_text())
        for place, label in zip(axis.get_ticklocs(), axis.get_ticklabels(), strict=True)
    ]
    try:
        pairs = [(place, float(text)) for place, text in said if text]
    except ValueError:  # words, or numbers as mathtext writes them
        return False
    places, values = np.array(pairs).reshape(-1, 2).T
    if not len(places) or not np.allclose(1 - places, values, atol=1e-9):
        return False
    return not np.allclose(places, values) or bool(getattr(axes, f"{which}axis_inverted")())


def _turned(point: Point, axes: Sequence[str]) -> Point:
    """The point with successes in the place of failures."""
    for which in axes:
        spans = [s if s.axis != which else Span(which, 1 - s.high, 1 - s.low) for s in point.spans]
        point = Point(
            1 - point.x if which == "x" else point.x,
            1 - point.y if which == "y" else point.y,
            point.name,
            tuple(spans),
        )
    return point


def _complete(panel: Panel, names: Mapping[str, str]) -> Panel:
    """Lines with the names that lines of their colour have in other panels, and no more points than are told."""
    named = [
        replace(one, name=names[one.colour])
        if one.line and not one.dashed and not one.name and one.colour in names
        else one
        for one in panel.series
    ]
    return replace(panel, series=tuple(_thinned(one) for one in _distinct(named)))


def _named_ticks(axes: Axes, which: str) -> dict[float, str]:
    """Places of an axis whose labels are words."""
    axis = getattr(axes, f"{which}axis")
    texts = [plain(label.get_text()) for label in axis.get_ticklabels()]
    names = {float(place): text for place, text in zip(axis.get_ticklocs(), texts, strict=True) if text}
    return names if any(re.search("[A-Za-z]", text) for text in names.values()) else {}


def _place(text: Any) -> Place | None:
    """What an annotation points at, or where a text stands; None where that is no place in the data."""
    place = getattr(text, "xy", text.get_position())
    in_data = getattr(text, "xycoords", "data") == "data"
    return (float(place[0]), float(place[1])) if in_data and all(np.isreal(part) for part in place) else None


def _named(one: Series, labels: Sequence[Label], ticks: Ticks) -> Series:
    """With a name, and with names for single points, from the words in the axes."""
    if one.line:
        last = one.points[-1]
        candidates = [label.text for label in labels if label.colour == one.colour and _same(label.place, last)]
    else:
        names = [_point_name(point, labels, ticks) for point in one.points]
        points = tuple(replace(point, name=name) for point, name in zip(one.points, names, strict=True))
        one, candidates = replace(one, points=points), []
    taken = {point.name for point in one.points}
    hued = [t.text for t in labels if t.colour == one.colour and t.colour != "#000000" and t.text not in taken]
    if len(set(hued)) == 1:
        candidates.append(hued[0])
    if len(one.points) == 1:
        candidates.append(one.points[0].name)
    return replace(one, name=one.name or next(iter(candidates), ""))


def _point_name(point: Point, labels: Sequence[Label], ticks: Ticks) -> str:
    """What a label says of exactly this place; else the name of the tick beside which it stands."""
    for label in labels:
        if _same(label.place, point):
            return label.text
    for which, names in ticks.items():
        place = getattr(point, which)
        near = min(names, key=lambda tick: abs(tick - place))
        if abs(near - place) < 0.45:  # rows and groups are one apart; what is dodged stays nearer than half
            return names[near]
    return ""


def _same(place: Place | None, point: Point) -> bool:
    return place is not None and bool(np.allclose(place, (point.x, point.y), rtol=1e-9, atol=1e-12))


def _distinct(found: Sequence[Series]) -> Iterator[Series]:
    """With names for those that the figure names nowhere, and a number after a name that comes again."""
    seen: dict[str, int] = {}
    for one in found:
        name = one.name or _look(one)
        seen[name] = seen.get(name, 0) + 1
        yield replace(one, name=name if seen[name] == 1 else f"{name} ({seen[name]})")


def _look(one: Series) -> str:
    form = ("broken line" if one.dashed else "line") if one.line else "points"
    grey = one.colour[1:3] == one.colour[3:5] == one.colour[5:7]
    return f"{HUES.get(one.colour, 'grey' if grey else one.colour)} {form}"


def _thinned(one: Series) -> Series:
    kept = one.points[:: -(-len(one.points) // MOST)]
    return replace(one, points=kept, left_out=len(one.points) - len(kept))
