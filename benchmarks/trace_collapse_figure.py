"""The figure of ``trace_collapse``: what becomes of trace and answers by size, and one story told event by event."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from toybed import plotting
from toybed.benchmarks.trace_collapse_measures import ANSWER, SILENT, VALID
from toybed.benchmarks.trace_collapse_sweep import LARGE, SMALL, WIDTHS, WORLD, arm
from toybed.stats import mean_interval, mean_of_found
from toybed.study import Records

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from toybed.envs.belief_track import BeliefTrack

BLACK, BLUE, RED, GREEN, _, ORANGE, _, GREY = plotting.COLOURS
COLOURS = {"full": BLUE, "none": RED}
MARKS = {"cost": "x", "paid": "^"}
APART = {"full": 0.96, "none": 1.04}  # the two memories stand side by side at each width
TELLERS = tuple((memory, width) for memory in COLOURS for width in (SMALL, LARGE))


def figure(records: Mapping[str, Records]) -> Figure:
    """Validity and accuracy before and after RL by size, and the story."""
    with plotting.panels(3, width=4.9, height=4.2) as (page, axes):
        axes[0].get_gridspec().set_width_ratios([1.0, 1.0, 2.9])  # type: ignore[union-attr]
        _draw_sizes(axes[0], records, VALID)
        axes[0].set(title="The trace", ylabel="share of events with the right belief written")
        _draw_sizes(axes[1], records, ANSWER)
        axes[1].set(title="The answers", ylabel="accuracy, trained orders")
        _draw_story(axes[2], records)
    return page


# -- by size -----------------------------------------------------------------------------------------------------------
def _draw_sizes(axes: Axes, records: Mapping[str, Records], measure: str) -> None:
    for memory, colour in COLOURS.items():
        widths = [width for width in WIDTHS["full"] if arm(memory, width) in records]
        x = np.array(widths) * APART[memory]
        starts, ends = ([records[arm(memory, w)].at(measure, place) for w in widths] for place in (0, -1))
        means = np.array([[mean_of_found(values) for values in each] for each in (starts, ends)])
        axes.plot(x, means[1], "-", color=colour, linewidth=1.2)
        for place, intervals in zip(x, map(mean_interval, ends), strict=True):
            axes.plot([place, place], [intervals.low, intervals.high], "-", color=colour, linewidth=1, alpha=0.6)
        axes.plot(x, means[0], "o", color=colour, markersize=5, markerfacecolor="white")
        axes.plot(x, means[1], "o", color=colour, markersize=5)
        if measure == ANSWER:
            silent = [mean_of_found(records[arm(memory, w)].at(SILENT, -1)) for w in widths]
            axes.plot(x, silent, ":", color=colour, linewidth=1.2)
        _mark_payments(axes, records, memory, measure)
    widths = [width for width in WIDTHS["full"] if arm("full", width) in records]
    axes.set(xscale="log", xlabel="units", ylim=(0, 1.02), xlim=(0.75 * widths[0], 1.35 * widths[-1]))
    axes.set_xticks(widths, [str(width) for width in widths])
    axes.minorticks_off()


def _mark_payments(axes: Axes, records: Mapping[str, Records], memory: str, measure: str) -> None:
    for what, mark in MARKS.items():
        for width in (w for w in (SMALL, LARGE) if arm(memory, w, what) in records):
            value = mean_of_found(records[arm(memory, width, what)].at(measure, -1))
            axes.plot(width * APART[memory], value, mark, color=COLOURS[memory], markersize=5, alpha=0.8)


# -- the story ---------------------------------------------------------------------------------------------------------
def story_world() -> BeliefTrack:
    """The study's world as far as its test stories go, which do not depend on the train ones."""
    from toybed.envs.belief_track import BeliefTrack  # worlds need torch, and the command line lists questions without

    return BeliefTrack(**{**WORLD, "train_stories": 16})


def most_frequent(records: Records, measure: str, place: int) -> int | None:
    """The token that most runs wrote, the lowest of equals; None where no run is left."""
    values = records.at(measure, place)
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    tokens, counts = np.unique(values, return_counts=True)
    return int(tokens[counts.argmax()])


AGENTS_AT, ASKED_AT, POLICIES_AT, STEP = 0.26, 0.46, 0.56, 0.12


def _draw_story(axes: Axes, records: Mapping[str, Records]) -> None:
    from toybed.agents.probes.traces import the_story
    from toybed.envs.belief_track_events import all_beliefs
    from toybed.envs.belief_track_measures import asked, happening

    env = story_world()
    story = the_story(env)
    beliefs = all_beliefs(env.bank.story.take(np.array([story])), 1)[0]
    right = env.stories.belief[story].tolist()
    rows = env.events + 4
    axes.set(xlim=(0, 1), ylim=(-rows + 0.4, 0.6), title="One story: " + asked(env, story))
    axes.axis("off")
    _write_head(axes, env)
    axes.text(0, -2, f"at first it is in {int(env.stories.initial[story])}", fontsize=8)
    for t in range(env.events):
        y = -3.0 - t
        axes.text(0, y, happening(env, story, t), fontsize=8)
        for agent, belief in enumerate(beliefs[t].tolist()):
            axes.text(AGENTS_AT + 0.045 * agent, y, str(belief), fontsize=8, ha="center")
        axes.text(ASKED_AT, y, str(right[t]), fontsize=8, ha="center", fontweight="bold")
        _write_tokens(axes, records, env, t, right[t], y)
    y = -3.0 - env.events
    axes.text(0, y, "answer", fontsize=8, fontweight="bold")
    axes.text(ASKED_AT, y, str(right[-1]), fontsize=8, ha="center", fontweight="bold")
    _write_tokens(axes, records, env, env.events, right[-1], y)


def _write_head(axes: Axes, env: BeliefTrack) -> None:
    from toybed.envs.belief_track_measures import names

    style: Any = {"fontsize": 8, "color": "#555555", "ha": "center"}
    axes.text(AGENTS_AT + 0.0675, -0.1, "believed by", **style)
    for agent, name in enumerate(names(env.agents)):
        axes.text(AGENTS_AT + 0.045 * agent, -1, name, **style)
    axes.text(ASKED_AT, -0.1, "asked", **style)
    for i, (memory, width) in enumerate(TELLERS):
        if width == SMALL:
            text = "with memory" if memory == "full" else "without memory"
            axes.text(POLICIES_AT + (i + 0.5) * STEP, -0.1, text, **{**style, "color": COLOURS[memory]})
        axes.text(POLICIES_AT + i * STEP, -1, f"{width} units", **style)
    axes.axhline(-1.35, color="#777777", linewidth=0.6)


def _write_tokens(axes: Axes, records: Mapping[str, Records], env: BeliefTrack, t: int, right: int, y: float) -> None:
    """What base and policy write after event t, for each teller."""
    for i, (memory, width) in enumerate(TELLERS):
        x = POLICIES_AT + i * STEP
        for place, shift in ((0, -0.025), (-1, 0.025)):
            token = most_frequent(records[arm(memory, width)], f"story_token_{t}", place)
            if token is not None:
                text = "–" if token >= env.containers else str(token)
                colour = GREY if token >= env.containers else GREEN if token == right else ORANGE
                axes.text(x + shift, y, text, fontsize=8, ha="center", color=colour, fontweight="bold")
        axes.text(x, y, "→", fontsize=7, ha="center", color="#aaaaaa")
