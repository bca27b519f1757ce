"""The figure of ``search_squeeze``: where everything ends, how plans are lost, what RL and SFT do to trajectories."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from toybed import plotting
from toybed.benchmarks.search_squeeze_measures import MANY, ONE, PLANS, RIGHT, WRONG, ends, front
from toybed.benchmarks.search_squeeze_sweep import INTERVENTIONS, WORLD
from toybed.stats import mean_of_found
from toybed.study import Records

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLACK, BLUE, RED, GREEN, PINK, ORANGE, SKY, GREY = plotting.COLOURS
NAMES = {
    **{arm: name for arm, (name, _) in INTERVENTIONS.items()},
    "grpo": "GRPO",
    "narrow_grpo": "GRPO, narrow base",
}
LINES = {"grpo": BLACK, "narrow_grpo": GREY, "entropy_0.1": BLUE, "passk": RED, "vpo_parallel": GREEN}
BESIDE = 0.012  # of pass@1 and pass@64: what ends so near GRPO shares its label


def figure(records: Mapping[str, Records]) -> Figure:
    """Where everything ends in pass@1 and pass@64; how plans are lost; what RL and SFT do to right and wrong ones."""
    with plotting.panels(3, width=4.6, height=4.3) as (page, axes):
        _draw_plane(axes[0], records)
        _draw_plans(axes[1], records)
        _draw_kinds(axes[2], records)
    return page


def _place(records: Records, where: int) -> tuple[float, float]:
    """Mean pass@1 and pass@64 in distribution at the start (0) or at the end (1)."""
    one, many = (mean_of_found(ends(records, f"{m}_train")[where]) for m in (ONE, MANY))
    return one, many


def _draw_plane(axes: Axes, records: Mapping[str, Records]) -> None:
    best = front(**WORLD)
    axes.plot(*best.T, color=GREY, linewidth=1.2)
    places = {"best for pass@1": (best[-1, 0], best[-1, 1]), "best for pass@64": (best[0, 0], best[0, 1])}
    grpo, beside = _place(records["grpo"], 1), []
    for arm in ("grpo", "narrow_grpo", *(arm for arm in INTERVENTIONS if arm in records)):
        place = _place(records[arm], 1)
        if not np.isfinite(place).all():
            continue
        axes.plot(*place, "o", color=BLACK if "grpo" in arm else BLUE, markersize=4)
        if arm != "grpo" and np.abs(np.subtract(place, grpo)).max() < BESIDE:
            beside.append(NAMES[arm])
        else:
            places[NAMES[arm]] = place
    for name, arm in (("varied base", "grpo"), ("narrow base", "narrow_grpo")):
        place = _place(records[arm], 0)
        if np.isfinite(place).all():
            places[name] = place
            axes.plot(*place, "s", color=RED, markersize=5)
    axes.set(title="What breadth costs", xlabel="pass@1", ylabel="pass@64", xlim=(0.05, 0.58), ylim=(0.3, 1.0))
    if beside:
        axes.text(0.06, 0.31, "beside GRPO: " + ",\n".join(_folded(beside)), fontsize=6.5, color="#555555")
    plotting.label_points(axes, places, fontsize=6.5)


def _folded(names: list[str]) -> list[str]:
    return [", ".join(names[i : i + 3]) for i in range(0, len(names), 3)]


def _draw_plans(axes: Axes, records: Mapping[str, Records]) -> None:
    last = {}
    for arm, colour in LINES.items():
        own = records[arm]
        plotting.mean_line(axes, own.steps[PLANS], own[PLANS], colour)
        last[NAMES[arm]] = (float(own.steps[PLANS][-1]), float(plotting.sound_mean(own[PLANS])[-1]), colour)
    axes.set(title="Plans are lost", xlabel="updates", ylabel="plan entropy, nats", ylim=(-0.1, 5.5))
    plotting.label_ends(axes, last)


def _draw_kinds(axes: Axes, records: Mapping[str, Records]) -> None:
    narrow, varied = records["narrow_grpo"], records["grpo"]
    arrows = (
        ("RL", varied, varied, BLACK, 0.6),
        ("RL", narrow, narrow, BLACK, 0.5),
        ("SFT, varied right", narrow, records["sft_right"], GREEN, 0.7),
        ("SFT, all varied", narrow, records["sft_all"], ORANGE, 0.55),
        ("SFT, narrow right", varied, records["sft_narrow_varied"], BLUE, 0.75),
    )
    for text, start, end, colour, way in arrows:
        x, y = (mean_of_found(ends(start, f"{m}_train")[0]) for m in (WRONG, RIGHT))
        to_x, to_y = (mean_of_found(ends(end, f"{m}_train")[1]) for m in (WRONG, RIGHT))
        if not np.isfinite([x, y, to_x, to_y]).all():
            continue
        axes.annotate("", (to_x, to_y), (x, y), arrowprops={"arrowstyle": "->", "color": colour, "linewidth": 1.6})
        axes.plot([x, to_x], [y, to_y], ".", color=colour, markersize=3)
        axes.annotate(
            text,
            (x + way * (to_x - x), y + way * (to_y - y)),
            (5, -9),
            textcoords="offset points",
            color=colour,
            fontsize=8,
        )
    axes.set(
        title="Right and wrong trajectories",
        xlabel="distinct wrong ones among 256 samples",
        ylabel="distinct right ones among 256 samples",
    )
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
