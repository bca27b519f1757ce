"""The figure of ``held_entropy``: entropy and reward along training, and what each arm ends with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from toybed import plotting
from toybed.benchmarks.held_entropy_measures import HELD, course
from toybed.benchmarks.held_entropy_sweep import BONUS, CONTROLLERS, LEAD, LOWER, NONE
from toybed.stats import mean_interval
from toybed.study import Records

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DRAWN = {
    NONE: ("GRPO", plotting.COLOURS[1]),
    LEAD: ("TRL", plotting.COLOURS[2]),
    "lead_75": ("TRL at 0.75", plotting.COLOURS[5]),
    "lead_50": ("TRL at 0.5", plotting.COLOURS[4]),
    BONUS: ("fixed bonus", plotting.COLOURS[3]),
}
OTHERS = "#999999"
ALIKE = 0.06  # share of the first entropy: a point as near to GRPO's is not named by itself


def figure(records: Mapping[str, Records]) -> Figure:
    """Entropy and held-out pass@1 along training, and where every arm ends."""
    with plotting.panels(3, width=4.2, height=3.8) as (page, axes):
        _draw_course(axes[0], records, "entropy_train", "Entropy", "share of its start")
        axes[0].axhspan(1 - HELD, 1 + HELD, color="#eeeeee", zorder=0)
        _draw_course(axes[1], records, "reward_test", "Held-out reward", "pass@1")
        _draw_ends(axes[2], records)
    return page


def _draw_course(axes: Axes, records: Mapping[str, Records], measure: str, title: str, label: str) -> None:
    ends = {}
    for name in (*(n for n in CONTROLLERS if n not in DRAWN), *DRAWN):
        if name not in records:
            continue
        values, steps = records[name][measure], records[name].steps[measure]
        shown = plotting.sound_mean(values / values[:, :1] if measure.startswith("entropy") else values)
        words, colour = DRAWN.get(name, ("", OTHERS))
        axes.plot(steps, shown, color=colour, linewidth=1.6 if words else 0.7, zorder=3 if words else 2)
        if words:
            ends[words] = (float(steps[-1]), float(shown[-1]), colour)
    axes.set(title=title, xlabel="updates", ylabel=label)
    plotting.label_ends(axes, ends)


def _draw_ends(axes: Axes, records: Mapping[str, Records]) -> None:
    places, lows = {}, {}
    axes.axvspan(1 - HELD, 1 + HELD, color="#eeeeee", zorder=0)
    for name in (NONE, *CONTROLLERS, *LOWER, BONUS):
        if name not in records:
            continue
        x = mean_interval(course(records[name]).mean(1))
        y = mean_interval(records[name].at("reward_test", -1))
        if not np.isfinite(x.estimate + y.estimate):
            continue
        words, colour = DRAWN.get(name, ("", OTHERS))
        error = [[[v.estimate - v.low], [v.high - v.estimate]] for v in (x, y)]
        axes.errorbar(x.estimate, y.estimate, error[1], error[0], fmt="o", color=colour, markersize=4, linewidth=0.8)
        words = words or CONTROLLERS[name].title
        places[words], lows[words] = (x.estimate, y.estimate), y.low
    axes.set(title="Where each ends", xlabel="entropy, share of its start", ylabel="held-out pass@1")
    axes.margins(0.16)
    plotting.label_points(axes, _named(places, lows), unnamed=places.values())


def _named(places: Mapping[str, tuple[float, float]], lows: Mapping[str, float]) -> dict[str, tuple[float, float]]:
    """Where each name stands: those that end where GRPO does are only counted in its, below all their intervals."""
    if "GRPO" not in places:
        return dict(places)
    x, _ = places["GRPO"]
    alike = {name for name, place in places.items() if abs(place[0] - x) < ALIKE}
    together = f"GRPO and {len(alike) - 1} more" if len(alike) > 1 else "GRPO"
    return {n: place for n, place in places.items() if n not in alike} | {together: (x, min(lows[n] for n in alike))}
