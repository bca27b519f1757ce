"""The figure of ``ensembles``: two planes of pass@64 against pass@1, and entropies against the number of heads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from toybed import plotting
from toybed.benchmarks import mixtures
from toybed.benchmarks.ensembles_measures import MANY, mean_at, points
from toybed.benchmarks.ensembles_sweep import CHAIN, COUNTS, KINDS, LONG, SEARCH, TOOLS, World
from toybed.stats import mean_of_found
from toybed.study import Records

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLACK, BLUE, ORANGE, GREEN = plotting.COLOURS[:4]
GREY = "#777777"


def figure(records: Mapping[str, Records]) -> Figure:
    """pass@64 against pass@1 in both worlds, and entropies against the number of heads."""
    with plotting.panels(3, width=4.9, height=4.6) as (page, (tools, entropies, chain)):
        _draw_entropies(entropies, records)
        for axes, world in ((tools, TOOLS), (chain, CHAIN)):
            _draw_plane(axes, records, world)
    return page


def _draw_plane(axes: Axes, records: Mapping[str, Records], world: World) -> None:
    def place(arm: str) -> tuple[float, float]:
        return mean_at(records, arm, "reward", world), mean_at(records, arm, MANY, world)

    _draw_frontier(axes, records, world)
    before, many = (mean_of_found(records[world.single].at(f"{m}_{world.split}", 0)) for m in ("reward", MANY))
    named = {"base": (before, many)}
    axes.plot(*named["base"], "o", color=BLACK, markersize=5)
    for arm in (arm for arm in world.rivals if arm in records):
        axes.plot(*place(arm), "o", color=BLACK, markersize=5)
        named[_name(arm.removeprefix(world.prefix))] = place(arm)
    ladder = [arm for n in COUNTS if (arm := f"{world.prefix}heads_{n}") in records]
    credit = [world.ensemble(kind) for kind in KINDS if world.ensemble(kind) in records]
    for line in ([world.single, *ladder], credit):
        axes.plot(*np.array([place(arm) for arm in line]).T, "-", color=BLUE, linewidth=1, zorder=1)
    for arm in {*ladder, *credit}:
        axes.plot(*place(arm), "D", color=BLUE, markersize=5.5)
        named[_name(arm.removeprefix(world.prefix))] = place(arm)
    if world is TOOLS:  # heads given by the prompt have met these questions: their pass@1 here is of other meaning
        controls: tuple[str, ...] = (world.ensemble("apart"), "few", "heads_8_samples", "heads_8_long")
    else:
        controls = (world.ensemble("prompt"), world.ensemble("apart"))
    for arm in (arm for arm in controls if arm in records):
        axes.plot(*place(arm), "D", color=ORANGE, markersize=5, markerfacecolor="white")
        named[_name(arm.removeprefix(world.prefix))] = place(arm)
    axes.margins(x=0.08, y=0.08)
    left, right = axes.get_xlim()
    axes.set_xlim(left, right + 0.25 * (right - left))  # room for the names of the best
    which = "train questions" if world is TOOLS else "held-out prompts"
    axes.set(title=f"{world.name}, {which}", xlabel="pass@1", ylabel="pass@64")
    plotting.label_points(axes, {name: found for name, found in named.items() if np.isfinite(found).all()})


def _draw_frontier(axes: Axes, records: Mapping[str, Records], world: World) -> None:
    found = points(records, world)
    rewards = found[:, 0][np.isfinite(found[:, 0])]
    if not len(rewards):
        return
    grid = np.linspace(rewards.min(), rewards.max(), 60)
    lines = np.stack([mixtures.frontier(found, np.full(found.shape[-1], x)) for x in grid], 1)
    axes.plot(grid, plotting.sound_mean(lines), "-", color=GREY, linewidth=1.2, zorder=0)


def _name(arm: str) -> str:
    """An arm without its world, on the plane."""
    kind, _, rest = arm.partition("_")
    match kind:
        case "single":
            return {"": "one head", "set": "one, set", "half": "one, half", "passk": "one, pass@k"}[rest]
        case "bonus":
            return f"bonus {rest}"
        case "few":
            return "one, 1/8 samples"
    count, _, more = rest.partition("_")
    how = {"heads": "heads", "set": "set", "half": "half", "prompt": "by prompt", "apart": "apart"}
    longer = {"": "", "long": f", {LONG}x updates", "samples": f", {TOOLS.count}x samples"}
    return f"{count} {how[kind]}{longer[more]}"


def _draw_entropies(axes: Axes, records: Mapping[str, Records]) -> None:
    from toybed.envs import make  # with torch, which listing the questions does without

    tokens = make(SEARCH.name, **SEARCH.options).horizon  # of a response
    counts = (1, *COUNTS)
    ladder = ["single", *(f"heads_{n}" for n in COUNTS)]
    rows = {"mixture": ("mixture_entropy", BLUE), "head": ("head_entropy", ORANGE)}
    ends = {}
    for name, (measure, colour) in rows.items():
        values = np.stack([tokens * records[arm].at(f"{measure}_{TOOLS.split}", -1) for arm in ladder], 1)
        plotting.mean_line(axes, np.array(counts), values, colour, marker="o", markersize=4)
        ends[name] = (counts[-1], float(plotting.sound_mean(values)[-1]), colour)
    axes.plot(counts, np.log(counts), "--", color=GREY, linewidth=1)
    ends["log N"] = (counts[-1], float(np.log(counts[-1])), GREY)
    axes.set_xscale("log", base=2)
    axes.set_xticks(counts, [str(n) for n in counts])
    axes.set(title="ToolSearch, individual credit", xlabel="heads N", ylabel="entropy of a response, nats")
    plotting.label_ends(axes, ends)
