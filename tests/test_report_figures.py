"""The report's figures: their numbers read back, their colours in light and dark, what is said of them; rankings."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from toybed import plotting
from toybed.agents.config import Setting, Spec
from toybed.commands.listing import interval_text
from toybed.report import ranking
from toybed.report.artists import Point, Span
from toybed.report.data import MOST, Panel, panels
from toybed.report.figures import NIGHT, READABLE, WHITE, Palette, contrast, in_dark, in_light, svg
from toybed.stats import mean_interval
from toybed.study import Records, Run


def drawn(draw: Callable[..., Any], count: int = 1) -> Figure:
    with plotting.panels(count) as (figure, axes):
        draw(*axes)
    return figure


def read(draw: Callable[[Axes], Any]) -> Panel:
    [panel] = panels(drawn(draw))
    return panel


# -- the numbers in a figure -------------------------------------------------------------------------------------------
def test_a_mean_is_told_and_the_single_runs_behind_it_are_not() -> None:
    runs = np.array([[1.0, 3.0, 5.0], [3.0, 5.0, 9.0]])

    def draw(axes: Axes) -> None:
        plotting.mean_line(axes, np.array([0, 10, 20]), runs, "#0072B2")
        plotting.label_ends(axes, {"GRPO": (20, 7.0, "#0072B2")})
        axes.set(title="Entropy", xlabel="updates", ylabel="nats")

    panel = read(draw)
    assert (panel.title, panel.x, panel.y) == ("Entropy", "updates", "nats")
    [series] = panel.series
    assert (series.name, series.colour, series.line, series.dashed) == ("GRPO", "#0072b2", True, False)
    assert series.points == (Point(0, 2), Point(10, 4), Point(20, 7))


def test_lines_have_the_name_that_their_colour_has_in_another_panel_unless_it_has_two() -> None:
    def draw(left: Axes, right: Axes) -> None:
        for axes in (left, right):
            for height, colour in ((1, "#0072B2"), (2, "#D55E00")):
                axes.plot([0, 1], [height, height + 0.5], color=colour)
        plotting.label_ends(right, {"GRPO": (1, 1.5, "#0072B2"), "RLOO": (1, 2.5, "#D55E00")})
        left.plot([0, 1], [5, 5.5], "--", color="#D55E00")

    names = [[series.name for series in panel.series] for panel in panels(drawn(draw, 2))]
    assert names == [["GRPO", "RLOO", "vermilion broken line"], ["GRPO", "RLOO"]]


def test_a_marker_on_a_piece_of_line_has_it_as_its_interval() -> None:
    def draw(axes: Axes) -> None:
        axes.plot([1, 3], [0, 0], color="#0072B2")
        axes.plot(2, 0, "o", color="#0072B2")
        axes.plot([5, 5], [-1, 4], color="#D55E00")
        axes.plot([4, 7], [2, 2], color="#D55E00")
        axes.plot(5, 2, "s", color="#D55E00")
        axes.plot([0, 9], [3, 3], color="#009E73")  # on which nothing stands: a line

    blue, red, green = read(draw).series
    assert blue.points == (Point(2, 0, "", (Span("x", 1, 3),)),)
    assert set(red.points[0].spans) == {Span("x", 4, 7), Span("y", -1, 4)}
    assert green.line
    assert green.points == (Point(0, 3), Point(9, 3))


def test_error_bars_and_bars_have_their_intervals() -> None:
    def draw(errors: Axes, bars: Axes) -> None:
        errors.errorbar([1, 2], [3, 4], ([1, 1], [2, 2]), color="#0072B2", marker="o", capsize=3)
        bars.bar(0, 2.0, color="#D55E00", label="alone")
        bars.plot([0, 0], [1.5, 2.5], color="black")

    first, second = panels(drawn(draw, 2))
    [series] = first.series
    assert series.points == (Point(1, 3, "", (Span("y", 2, 5),)), Point(2, 4, "", (Span("y", 3, 6),)))
    [bar] = second.series
    assert (bar.name, bar.line) == ("alone", False)
    assert bar.points == (Point(0, 2, "alone" if bar.points[0].name else "", (Span("y", 1.5, 2.5),)),)


def test_rows_and_points_have_the_names_that_are_written_beside_them() -> None:
    def draw(axes: Axes) -> None:
        axes.plot(0.3, 0, "o", color="#0072B2")
        axes.plot(0.4, -1, "o", color="#0072B2")
        axes.set_yticks([0, -1], ["first", "second"])

    panel = read(draw)
    assert panel.named
    assert [point.name for point in panel.series[0].points] == ["first", "second"]

    def plane(axes: Axes) -> None:
        places = {"GRPO": (1.0, 2.0), "RLOO": (2.0, 1.0)}
        for place in places.values():
            axes.plot(*place, "o", color="#777777")
        plotting.label_points(axes, places)

    [series] = read(plane).series
    assert [point.name for point in series.points] == ["GRPO", "RLOO"]


def test_an_axis_of_failures_that_is_labelled_by_successes_is_told_as_successes() -> None:
    def draw(axes: Axes) -> None:
        axes.plot([0.1, 0.2], [0.01, 0.03], "o", color="#777777")
        axes.set_yscale("log")
        axes.set_ylim(0.003, 0.2)
        axes.set_yticks([0.1, 0.03, 0.01], ["0.9", "0.97", "0.99"])
        axes.minorticks_off()
        axes.invert_yaxis()

    panel = read(draw)
    assert [point.y for point in panel.series[0].points] == pytest.approx([0.99, 0.97])
    assert panel.logarithmic == panel.inverted == ()


def test_scales_are_told() -> None:
    def draw(axes: Axes) -> None:
        axes.plot([1, 10, 100], [1, 2, 3])
        axes.set_xscale("log")
        axes.invert_yaxis()

    panel = read(draw)
    assert (panel.logarithmic, panel.inverted) == (("x",), ("y",))


def test_what_is_drawn_in_no_data_is_no_data() -> None:
    def draw(full: Axes, empty: Axes) -> None:
        full.plot([0, 1], [2, np.nan])
        full.axhline(1)
        full.axvline(0.5)
        empty.axhline(3)
        empty.plot([], [])

    [panel] = panels(drawn(draw, 2))
    assert [series.points for series in panel.series] == [(Point(0, 2),)]


def test_of_long_series_some_points_are_told_and_the_others_counted() -> None:
    count = 5 * MOST + 1
    [series] = read(lambda axes: axes.plot(range(count), range(count))).series
    assert len(series.points) <= MOST
    assert len(series.points) + series.left_out == count
    assert series.points[0] == Point(0, 0)


# -- its colours -------------------------------------------------------------------------------------------------------
COLOURS = st.integers(0, 0xFFFFFF).map(lambda value: f"#{value:06x}")


@given(COLOURS)
def test_words_can_be_read_in_light_and_hues_in_dark(colour: str) -> None:
    """Greys are turned round instead, so that a grid stays faint."""
    if colour != WHITE:
        assert contrast(in_light(colour, words=True), WHITE) >= READABLE
    channels = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    if max(channels) - min(channels) > 8:
        assert contrast(in_dark(colour, words=False), NIGHT) >= READABLE
    assert contrast(in_dark(colour, words=True), NIGHT) >= READABLE


def test_colours_as_they_are_known() -> None:
    """Contrasts from the definition: black on white is 21, a colour on itself 1; #777777 on white is 4.48."""
    assert contrast("#000000", WHITE) == pytest.approx(21)
    assert contrast("#123456", "#123456") == 1
    assert contrast("#777777", WHITE) == pytest.approx(4.48, abs=0.005)
    assert in_dark(WHITE, words=False) == NIGHT
    assert contrast(in_dark("#000000", words=False), NIGHT) > 12
    assert in_light("#e69f00", words=False) == "#e69f00"
    for colour in plotting.COLOURS:  # 3 is what WCAG asks of lines
        assert contrast(in_dark(colour.lower(), words=False), NIGHT) > 3


def test_lines_keep_the_palettes_colours_apart_in_the_dark() -> None:
    """No two of the eight become the same."""
    assert len({in_dark(colour.lower(), words=False) for colour in plotting.COLOURS}) == len(plotting.COLOURS)


# -- the element -------------------------------------------------------------------------------------------------------
def element(name: str = "f", palette: Palette | None = None) -> str:
    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], "o-", color="#E69F00")
        axes.text(0, 0, "words & <more>", color="#E69F00")

    return str(svg(drawn(draw), name, "A <title>", "What it & shows", palette or Palette()))


def test_a_figure_says_what_it_is() -> None:
    root = ElementTree.fromstring(element())
    space = "{http://www.w3.org/2000/svg}"
    assert root.get("role") == "img"
    assert root.get("aria-labelledby") == "f-title f-desc"
    assert [(child.get("id"), child.text) for child in root[:2]] == [
        ("f-title", "A <title>"),
        ("f-desc", "What it & shows"),
    ]
    assert "words & <more>" in {text.text for text in root.iter(f"{space}text")}
    assert "width" not in root.attrib  # it is as wide as the page


def test_ids_belong_to_their_figure_and_all_that_are_meant_are_there() -> None:
    text = element("one") + element("two")
    identities = re.findall(r' id="([^"]*)"', text)
    assert len(identities) == len(set(identities))
    meant = re.findall(r'href="#([^"]*)"', text) + re.findall(r"url\(#([^)]*)\)", text)
    assert meant
    assert set(meant) <= set(identities)


def test_every_colour_is_a_variable_that_the_page_defines() -> None:
    palette = Palette()
    text = element(palette=palette)
    assert not re.search("#[0-9a-fA-F]{6}", text)
    used = set(re.findall(r"var\((--[kt][0-9a-f]{6})\)", text))
    for dark in (False, True):
        rules = dict(rule.split(":") for rule in str(palette.rules(dark=dark)).split(";"))
        assert used <= set(rules)
        assert all(re.fullmatch("#[0-9a-f]{6}", value) for value in rules.values())
    assert {"--ke69f00", "--te69f00"} <= used  # the line keeps its colour, the words are darkened


# -- objectives side by side -------------------------------------------------------------------------------------------
def arms(**changes: Setting) -> tuple[dict[str, Records], dict[str, list[Run]]]:
    """Records in which an arm's success at the end is 0.1, 0.2, ... more than its seed's hundredth."""
    records, runs = {}, {}
    for place, (name, setting) in enumerate(changes.items(), 1):
        end = place / 10 + np.arange(4) / 100
        curves = {key: np.stack([0 * end, end], 1) for key in ("reward_train", "reward_test", "entropy_train")}
        steps = {key: np.array([0, 10]) for key in curves}
        records[name] = Records(steps, curves, setting=setting)
        runs[name] = [Run(setting, seed) for seed in range(4)]
    return records, runs


def objective(name: str, rate: float = 0.001, **options: Any) -> Setting:
    return Setting(objective=Spec(name, options)).with_learning(learning_rate=rate)


def test_objectives_under_the_same_conditions_are_ranked() -> None:
    records, runs = arms(
        a=objective("grpo"),
        b=objective("rloo", rate=0.01),
        c=objective("grpo", clip_high=0.28),
        longer=objective("ppo").with_learning(updates=7),
    )
    found = ranking.ranking("q", "quick", records, runs)
    assert found is not None
    assert [row.objective for row in found.rows] == ["grpo (clip_high = 0.28)", "rloo", "grpo"]
    assert [row.rate for row in found.rows] == [0.001, 0.01, 0.001]
    assert found.rows[0].success == pytest.approx(mean_interval([0.3, 0.31, 0.32, 0.33]))
    assert found.rows[2].run == runs["a"][0].id
    section = ranking.section([found])
    assert section is not None
    assert section.tables[0].rows[0][2] == "0.315 [0.294, 0.336]"
    assert section.figure is not None
    assert len(panels(section.figure)[0].series[0].points) == 3


def test_two_objectives_are_no_ranking_and_neither_is_nothing() -> None:
    assert ranking.ranking("q", "quick", *arms(a=objective("grpo"), b=objective("rloo"))) is None
    assert ranking.ranking("q", "quick", {}, {}) is None
    assert ranking.section([]) is None


def test_the_same_runs_under_two_names_are_one_row() -> None:
    records, runs = arms(a=objective("grpo"), b=objective("rloo"), c=objective("ppo"), again=objective("grpo"))
    found = ranking.ranking("q", "quick", records, runs)
    assert found is not None
    assert [row.arms for row in found.rows] == ["c", "b", "a, again"]


def test_runs_that_diverged_are_counted_and_an_arm_without_any_other_comes_last() -> None:
    records, runs = arms(a=objective("grpo"), b=objective("rloo"), c=objective("ppo"))
    lost = np.full((4, 2), np.nan)
    curves = dict.fromkeys(records["c"].curves, lost)
    records["c"] = Records(records["c"].steps, curves, ("NaN",) * 4, records["c"].setting)
    found = ranking.ranking("q", "quick", records, runs)
    assert found is not None
    assert [row.objective for row in found.rows] == ["rloo", "grpo", "ppo"]
    section = ranking.section([found])
    assert section is not None
    assert section.tables[0].rows[-1][2:6] == ("-", "-", "0", "4")


def test_the_question_that_is_asked_for_a_ranking_comes_first() -> None:
    few = arms(a=objective("grpo"), b=objective("rloo"), c=objective("ppo"))
    many = arms(a=objective("grpo"), b=objective("rloo"), c=objective("ppo"), d=objective("dapo"))
    found = [ranking.ranking(name, "quick", *of) for name, of in (("other", few), ("q", many), ("interventions", few))]
    section = ranking.section([one for one in found if one])
    assert section is not None
    assert [table.caption.split(",")[0] for table in section.tables] == ["interventions", "q", "other"]
    assert [table.folded for table in section.tables] == [False, True, True]


# -- in words ----------------------------------------------------------------------------------------------------------
def test_an_interval_that_is_not_known_is_a_dash() -> None:
    """A rank correlation over three objectives has a value and no interval."""
    assert interval_text({"estimate": 0.5, "low": None, "high": None}) == "0.500 [-, -]"
    assert interval_text({"estimate": None, "low": None, "high": None}) == "-"
    assert interval_text({"estimate": 0.5, "low": 0.25, "high": 1.0}) == "0.500 [0.250, 1.000]"


def test_the_scripts_use_nothing_that_could_run_words_of_a_store() -> None:
    """Names and titles come from a store or a figure: the page's own script writes them as text alone."""
    text = Path(ranking.__file__).with_name("report.js").read_text(encoding="utf-8")
    for forbidden in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "Function("):
        assert forbidden not in text
