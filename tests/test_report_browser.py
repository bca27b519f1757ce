"""The report in a real browser: nothing asked of a network, nothing complained of, readable everywhere.

Opt-in, because it needs Chromium (on Debian: the package chromium) and half a minute: TOYBED_BROWSER=1 pytest
tests/test_report_browser.py
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from toybed import answering, plotting, study
from toybed.progress import Bar
from toybed.report import html, sections
from toybed.store import Store


def _module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


browser = _module("browser")
pytestmark = pytest.mark.skipif(
    browser.program() is None or os.environ.get("TOYBED_BROWSER") != "1",
    reason="opt-in: needs chromium (Debian's package of that name) and TOYBED_BROWSER=1",
)

HOSTILE = "</td></script><script>window.hacked=1</script><img src='http://127.0.0.1:9/x' onerror='window.hacked=2'>"


def _beside(*_: object) -> sections.Section:
    """All that a chart can have: lines, intervals, names, log axes; and words that would like to be markup."""
    with plotting.panels(2) as (figure, (lines, rows)):
        lines.plot([1, 10, 100], [0.1, 0.4, 0.9], color="#0072B2", label=HOSTILE)
        lines.set(xscale="log", title="Lines", xlabel="samples", ylabel="success")
        rows.plot([0.1, 0.5], [0, 0], color="#D55E00")
        rows.plot(0.3, 0, "o", color="#D55E00")
        rows.set_yticks([0, -1], ["a row", "<b>another</b>"])
    table = sections.Table(
        "A wide one", tuple(f"column {i}" for i in range(30)), (("a_word_without_an_end" * 5,) * 30,)
    )
    return sections.Section("beside", "Beside", HOSTILE, (table,), figure, "What is drawn beside")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    tiny = _module("tiny_study").STUDY
    study.studies()
    tiny = replace(tiny, arms=lambda size, arms=tiny.arms: {"grpo": arms(size)["grpo"]})
    sections.add(_beside)
    study._STUDIES["tiny"] = tiny
    try:
        with Store(folder / "s.sqlite") as store:
            with Bar(quiet=True) as bar:
                answer = answering.answer(tiny, store, size="quick", progress=bar)
            store.set_verdict("tiny", "quick", {**answer, "sentence": HOSTILE, "manifest": {HOSTILE: HOSTILE}})
            html.write(store, folder / "report.html")
    finally:
        sections.remove(_beside)
        del study._STUDIES["tiny"]
    return folder / "report.html"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with browser.browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


COMPLAINTS = ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled", "Network.loadingFailed")
LOOK = """document.querySelectorAll("figure button").forEach((button) => button.click());
new Promise((done) => setTimeout(() => done(document.querySelectorAll("canvas").length), 300))"""
"""Press all buttons and wait until the charts are laid out; how many there are."""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_nothing_is_complained_of_and_nothing_asked_of_a_network(page: Any, report: Path, dark: bool) -> None:
    page.open(report, dark=dark)
    assert page.value(LOOK) >= 3
    assert page.events(*COMPLAINTS) == []
    asked = [event["params"]["request"]["url"] for event in page.events("Network.requestWillBeSent")]
    assert asked == [report.resolve().as_uri()]
    assert page.value("typeof window.hacked") == "undefined"


def test_the_charts_hold_the_numbers_of_the_tables(page: Any, report: Path) -> None:
    page.open(report)
    page.value(LOOK)
    found = page.value(
        "Object.values(Chart.instances).filter(c => c.canvas.closest('#beside'))"
        ".map(c => c.data.datasets.map(d => [d.label, d.data.map(p => [p.x, p.y, p.spans])]))"
    )
    assert found[0] == [[HOSTILE, [[1, 0.1, {}], [10, 0.4, {}], [100, 0.9, {}]]]]
    assert found[1][0][1] == [[0.3, 0, {"x": [0.1, 0.5]}]]
    assert page.value("Object.values(Chart.instances).find(c => c.canvas.closest('#beside')).scales.x.type") == (
        "logarithmic"
    )


def test_series_can_be_chosen_and_axes_made_logarithmic(page: Any, report: Path) -> None:
    page.open(report)
    page.value(LOOK)
    chart = "Object.values(Chart.instances).find(c => c.canvas.closest('#beside'))"
    boxes = "document.querySelectorAll('#beside .chart')[0].querySelectorAll('input')"
    assert page.value(f"{chart}.scales.y.type") == "linear"
    page.value(f"{boxes}[0].click(), {boxes}[2].click()")
    assert page.value(f"{chart}.isDatasetVisible(0)") is False
    assert page.value(f"{chart}.scales.y.type") == "logarithmic"
    page.value("document.querySelector('#beside figure button').click()")
    assert page.value("document.querySelector('#beside .plot').hidden") is False


def test_without_scripts_figures_and_tables_are_there(page: Any, report: Path) -> None:
    page.open(report, scripts=False)
    assert page.value("document.querySelectorAll('button, canvas').length") == 0
    seen = page.value("[...document.querySelectorAll('.plot svg')].every(e => e.getBoundingClientRect().height > 100)")
    assert seen
    page.value("document.querySelectorAll('details').forEach(d => { d.open = true })")
    assert page.value("[...document.querySelectorAll('table.data')].every(e => e.getBoundingClientRect().height > 20)")
    assert page.events(*COMPLAINTS) == []


@pytest.mark.parametrize("width", [320, 390, 1280])
@pytest.mark.parametrize("closer", [False, True])
def test_the_page_does_not_scroll_sideways(page: Any, report: Path, width: int, closer: bool) -> None:
    page.open(report, width=width)
    page.value("document.querySelectorAll('details').forEach(d => { d.open = true })")
    if closer:
        page.value(LOOK)
    assert page.value("document.documentElement.scrollWidth") <= width


CONTRASTS = """(() => {
  const linear = (share) => share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  const light = (colour) => {
    const [r, g, b] = colour.match(/[\\d.]+/g).slice(0, 3).map((value) => linear(value / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = getComputedStyle(e).backgroundColor;
      if (!/, 0\\)$/.test(colour)) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const poor = [];
  const tags = "h1, h2, h3, p, td, th, a, summary, caption, figcaption, code, li, button, .outcome, svg text";
  for (const element of document.querySelectorAll(tags)) {
    const style = getComputedStyle(element);
    const own = light(element.matches("svg text") ? style.fill : style.color);
    const behind = light(ground(element));
    const contrast = (Math.max(own, behind) + 0.05) / (Math.min(own, behind) + 0.05);
    if (contrast < 4.5) poor.push([element.tagName, element.textContent.slice(0, 30), contrast]);
  }
  return poor;
})()"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_words_can_be_read(page: Any, report: Path, dark: bool) -> None:
    """WCAG's AA for small text, 4.5, of everything that is written, words in figures included."""
    page.open(report, dark=dark)
    assert page.value(CONTRASTS) == []


def test_on_paper_it_is_light_and_whole(page: Any, report: Path) -> None:
    page.open(report, dark=True, media="print")
    page.value(LOOK)  # what was looked at closer is the figure again
    assert page.value("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.value("[...document.querySelectorAll('.plot')].every(e => e.getBoundingClientRect().height > 50)")
    assert page.value("[...document.querySelectorAll('.charts')].every(e => e.getBoundingClientRect().height === 0)")
    assert page.call("Page.printToPDF", preferCSSPageSize=True)["data"]


def test_every_figure_has_words_for_those_who_do_not_see_it(page: Any, report: Path) -> None:
    page.open(report)
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    images = [node for node in nodes if node.get("role", {}).get("value") in ("image", "img") and not node["ignored"]]
    assert len(images) >= 2
    for image in images:
        assert image["name"]["value"]
