"""The look of every figure: colour-blind-safe, labelled directly, quiet. Needs matplotlib, imported on first use."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999")
"""Okabe and Ito's palette: told apart with every common form of colour blindness."""

_STYLE: Any = {
    "figure.dpi": 110,
    "font.size": 9,
    "font.family": "sans-serif",
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
    "svg.fonttype": "none",
    "svg.hashsalt": "toybed",
}


@contextmanager
def panels(count: int, width: float = 3.7, height: float = 3.4) -> Iterator[tuple[Figure, list[Axes]]]:
    """A figure with ``count`` panels side by side, drawn in the house style."""
    with grid(1, count, width, height) as (figure, axes):
        yield figure, axes[0]


@contextmanager
def grid(rows: int, columns: int, width: float = 2.4, height: float = 1.4) -> Iterator[tuple[Figure, list[list[Axes]]]]:
    """A figure with panels in rows and columns, each of that size, drawn in the house style."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    with matplotlib.rc_context(_STYLE):
        size = (width * columns, height * rows)
        figure, axes = pyplot.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False)
        yield figure, [list(row) for row in axes]
        pyplot.close(figure)


def mean_line(axes: Axes, x: NDArray[Any], y: NDArray[np.float64], colour: str, **style: Any) -> None:
    """The mean over runs ``y [n, points]``, with every run as a faint line behind it."""
    for run in y:
        axes.plot(x, run, color=colour, alpha=0.18, linewidth=0.7)
    axes.plot(x, sound_mean(y), color=colour, **style)


def sound_mean(y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the runs ``[n, points]`` that did not diverge, ``[points]``; NaN where none is left."""
    sound = y[np.isfinite(y).all(1)]
    return sound.mean(0) if len(sound) else np.full(y.shape[1], np.nan)


def label_ends(axes: Axes, ends: Mapping[str, tuple[float, float, str]]) -> None:
    """Write each line's name beside its end, ``name -> (x, y, colour)``, moved apart where they would touch."""
    low, high = axes.get_ylim()
    gap = 0.062 * (high - low)
    order = sorted((name for name in ends if np.isfinite(ends[name][1])), key=lambda name: ends[name][1])
    places: list[float] = []
    for name in order:
        y = ends[name][1]
        places.append(max(y, places[-1] + gap) if places else y)
    overflow = max(places[-1] - high, 0.0) if places else 0.0
    for i in range(len(places) - 1, -1, -1):
        ceiling = high if i == len(places) - 1 else places[i + 1] - gap
        places[i] = min(places[i], ceiling) if overflow else places[i]
    for name, y in zip(order, places, strict=True):
        x, end, colour = ends[name]
        axes.annotate(
            name,
            (x, end),
            xytext=(1.03, y),
            textcoords=axes.get_yaxis_transform(),
            color=colour,
            va="center",
            fontsize=8,
            annotation_clip=False,
        )


def label_points(
    axes: Axes,
    places: Mapping[str, tuple[float, float]],
    fontsize: float = 7,
    unnamed: Iterable[tuple[float, float]] = (),
) -> None:
    """Write each point's name, ``name -> (x, y)``, beside it: in the nearest free place, with a thin line if far.

    Places of ``unnamed`` points are not free either.

    Call it when everything else is drawn and the limits are set: places are looked for on the page as it will be.
    """
    from matplotlib.transforms import Bbox

    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()
    scale = figure.dpi / 72
    points = {name: axes.transData.transform(place) for name, place in places.items()}
    drawn = [*points.values(), *(axes.transData.transform(place) for place in unnamed)]
    taken = [Bbox.from_bounds(x - 3 * scale, y - 3 * scale, 6 * scale, 6 * scale) for x, y in drawn]
    inside = axes.get_window_extent()
    angles = np.arange(0, 2 * np.pi, np.pi / 8)
    for name, point in points.items():
        text = axes.annotate(name, places[name], xytext=(0, 0), textcoords="offset points", fontsize=fontsize)
        size = text.get_window_extent()
        best: tuple[float, Bbox, tuple[float, float]] | None = None
        for distance in (5, 10, 16, 24, 34, 46, 60, 80):
            for angle in angles:
                # The label's nearest edge stands at that distance from the point.
                dx = np.cos(angle) * distance * scale - (size.width if np.cos(angle) < -0.3 else 0)
                dx -= size.width / 2 if abs(np.cos(angle)) <= 0.3 else 0
                dy = np.sin(angle) * distance * scale - size.height / 2
                box = Bbox.from_bounds(point[0] + dx, point[1] + dy, size.width, size.height)
                overlaps = sum(box.overlaps(other) for other in taken)
                outside = not (
                    inside.x0 <= box.x0 and box.x1 <= inside.x1 and inside.y0 <= box.y0 and box.y1 <= inside.y1
                )
                cost = distance + 200 * overlaps + 100 * outside
                if best is None or cost < best[0]:
                    best = (cost, box, (dx / scale, dy / scale))
        assert best is not None
        taken.append(best[1])
        text.set_position(best[2])
        text.set_verticalalignment("bottom")
        if np.hypot(*(best[1].get_points().mean(0) - point)) > 12 * scale + size.width / 2:
            axes.annotate(
                "",
                places[name],
                xytext=(best[2][0] + size.width / scale / 2, best[2][1] + size.height / scale / 2),
                textcoords="offset points",
                arrowprops={"arrowstyle": "-", "linewidth": 0.4, "color": "#999999", "shrinkA": 4, "shrinkB": 2},
            )


PUBLISHED = "#7a3b8f"
"""What was published about language models; no line of a toy has this colour."""


def published_points(
    axes: Axes, points: Sequence[tuple[float, float]], source: str, offset: tuple[float, float] = (6, -3)
) -> None:
    """Stars where a publication about language models has its values, the source in small print beside the first.

    Only for axes whose units are the same there and in a toy: shares, ratios, counts.

    Args:
        axes: drawn on.
        points: places, at least one.
        source: told after the word "published".
        offset: of the words from the first point, in points of type.
    """
    x, y = zip(*points, strict=True)
    axes.plot(x, y, "*", color=PUBLISHED, markersize=9, markeredgecolor="white", markeredgewidth=0.5, zorder=4)
    axes.annotate(
        f"published,\n{source}", points[0], xytext=offset, textcoords="offset points", fontsize=6.5, color=PUBLISHED
    )


def published_band(axes: Axes, low: float, high: float, source: str) -> None:
    """A band over the range of y that publications about language models have, the source in small print in it.

    Args:
        axes: drawn on; units as for :func:`published_points`.
        low, high: the range.
        source: told after the word "published".
    """
    axes.axhspan(low, high, color=PUBLISHED, alpha=0.10, linewidth=0, zorder=0)
    axes.annotate(
        f"published, {source}",
        (0.985, low),
        xycoords=axes.get_yaxis_transform(),
        xytext=(0, 2),
        textcoords="offset points",
        fontsize=6.5,
        color=PUBLISHED,
        ha="right",
    )


def svg(figure: Figure) -> str:
    """The figure as an SVG element, for a page."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context(_STYLE):  # its salt makes the element names, and so the file, the same every time
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": "toybed"})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
