"""The look of every figure: colour-blind-safe, labelled directly, quiet. Needs matplotlib, imported on first use."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
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
    "svg.fonttype": "path",
    "svg.hashsalt": "toybed",
}


@contextmanager
def panels(count: int, width: float = 3.7, height: float = 3.4) -> Iterator[tuple[Figure, list[Axes]]]:
    """A figure with ``count`` panels side by side, drawn in the house style."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    with matplotlib.rc_context(_STYLE):
        figure, axes = pyplot.subplots(1, count, figsize=(width * count, height), layout="constrained", squeeze=False)
        yield figure, list(axes[0])
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


def svg(figure: Figure) -> str:
    """The figure as an SVG element, for a page."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context(_STYLE):  # its salt makes the element names, and so the file, the same every time
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": "toybed"})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
