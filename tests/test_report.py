"""The report: one file that needs no network, says all that a reader must know, and escapes what it was given."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import re
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from toybed import answering, plotting, study
from toybed.errors import ToybedError
from toybed.llm.claims import claims
from toybed.llm.published import published
from toybed.progress import Bar
from toybed.report import html, manifests, sections
from toybed.searching import Search
from toybed.store import Store


def _tiny() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tiny_study", Path(__file__).with_name("tiny_study.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TINY = _tiny().STUDY
ONE_ARM = replace(TINY, arms=lambda size: {"grpo": TINY.arms(size)["grpo"]})


class Page(HTMLParser):
    """What a browser would load, run and show."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.handlers: list[str] = []
        self.words = ""
        self.styles = ""
        self._style = self._script = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.words += " "
        self.tags.append(tag)
        self._style, self._script = tag == "style", tag == "script"
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "srcset", "data", "action", "poster"):
                self.loads.append(value or "")
            if name.startswith("on"):
                self.handlers.append(name)
            if name == "style":
                self.styles += value or ""

    def handle_endtag(self, tag: str) -> None:
        self.words += " "
        self._style = self._script = False

    def handle_data(self, data: str) -> None:
        if self._style:
            self.styles += data
        elif not self._script:
            self.words += data

    @property
    def text(self) -> str:
        return " ".join(self.words.split())


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    known = study.studies()
    monkeypatch.setattr(study, "_STUDIES", {**known, "tiny": ONE_ARM})


@pytest.fixture
def store(tmp_path: Path) -> Any:
    """A store in which the tiny question was answered."""
    with Store(tmp_path / "s.sqlite") as opened:
        with Bar(quiet=True) as bar:
            answering.answer(ONE_ARM, opened, size="quick", progress=bar)
        yield opened


def page(store: Store, out: Path) -> Page:
    html.write(store, out)
    return Page(out.read_text(encoding="utf-8"))


def change(store: Store, **fields: Any) -> None:
    """Give the kept answer other fields."""
    [answer] = store.verdicts()
    store.set_verdict("tiny", "quick", {**answer, **fields})


# -- what it says ------------------------------------------------------------------------------------------------------
def test_it_says_what_was_asked_found_and_how(store: Store, tmp_path: Path) -> None:
    change(store, outcome="refuted", sentence="It does not.", parts=[
        {"claim": "A part.", "outcome": "undecided", "estimate": 0.12345, "low": -0.5, "high": 0.75, "n": 17,
         "rule": "supported above 0.25", "sentence": "Not settled."},
        {"claim": "An empty part.", "outcome": "undecided", "estimate": None, "low": None, "high": None, "n": 0,
         "rule": "as before", "sentence": "Nobody got there."},
    ])  # fmt: skip
    [answer] = store.verdicts()
    shown = page(store, tmp_path / "r.html").text
    for expected in (
        TINY.question,
        TINY.claim,
        TINY.rule,
        TINY.source,
        TINY.caption,
        "refuted",
        "It does not.",
        "A part.",
        "Not settled.",
        "0.123 [-0.500, 0.750]",
        " 17 ",
        "supported above 0.25",
        "Nobody got there.",
        "toybed run tiny --quick",
        "2 seeds in each arm",
        str(answer["manifest"]["torch"]),
        str(answer["manifest"]["code"]),
    ):
        assert expected in shown, expected
    assert " nan" not in shown.lower()


def test_worlds_of_their_own_are_told(store: Store, tmp_path: Path) -> None:
    change(store, worlds=2)
    assert "2 seeds in each arm, each in a world of its own, size quick" in page(store, tmp_path / "r.html").text


def test_it_has_a_figure_drawn_from_the_curves(store: Store, tmp_path: Path) -> None:
    assert "svg" in page(store, tmp_path / "r.html").tags


def test_amendments_are_told(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    amended = replace(ONE_ARM, amendments=("The level was 85 % and is 80 % now.",))
    monkeypatch.setitem(study._STUDIES, "tiny", amended)
    shown = page(store, tmp_path / "r.html").text
    assert "Changed after a result was seen" in shown
    assert "The level was 85 % and is 80 % now." in shown


@pytest.mark.parametrize(
    ("fields", "command"),
    [
        ({}, "toybed run tiny --quick"),
        ({"seeds": 5}, "toybed run tiny --quick --seeds 5"),
        ({"size": "standard", "seeds": 2}, "toybed run tiny"),
        ({"size": "full", "seeds": 3}, "toybed run tiny --full"),
        ({"device": "cuda"}, "toybed run tiny --quick --device cuda"),
    ],
)
def test_the_command_makes_the_same_runs_again(
    store: Store, tmp_path: Path, fields: dict[str, Any], command: str
) -> None:
    change(store, **fields)
    html.write(store, tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert f"<code>{command}</code>" in text


def test_the_same_store_gives_the_same_file(store: Store, tmp_path: Path) -> None:
    html.write(store, tmp_path / "one.html")
    html.write(store, tmp_path / "two.html")
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()


# -- what it may not hold ----------------------------------------------------------------------------------------------
def test_it_needs_no_network(store: Store, tmp_path: Path) -> None:
    shown = page(store, tmp_path / "r.html")
    assert shown.loads != []
    assert [target for target in shown.loads if not target.startswith("#")] == []
    assert set(shown.tags).isdisjoint({"link", "iframe", "object", "embed", "img", "image", "base"})
    assert shown.handlers == []
    assert "@import" not in shown.styles
    assert "@font-face" not in shown.styles
    assert [url for url in re.findall(r"url\(([^)]*)\)", shown.styles) if not url.startswith("#")] == []


def test_links_within_the_page_have_a_target(store: Store, tmp_path: Path) -> None:
    html.write(store, tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    identities = re.findall(r'\bid="([^"]*)"', text)
    assert any(identity.startswith("tiny-quick-") for identity in identities)
    assert {target[1:] for target in Page(text).loads} <= set(identities)


def test_only_our_two_scripts_may_run(store: Store, tmp_path: Path) -> None:
    """The page's policy names them by their hashes, so that markup which slipped through would be dead."""
    html.write(store, tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert len(scripts) == 2
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    rules = dict(rule.strip().split(" ", 1) for rule in policy[1].split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"].split() == [f"'sha256-{digest}'" for digest in digests]
    assert "sourceMappingURL" not in text


def test_the_library_is_the_one_that_was_published() -> None:
    """Chart.js 4.6.1's own minified file, with its licence beside it."""
    folder = Path(html.__file__).parent / "vendor"
    digest = hashlib.sha256((folder / html.LIBRARY).read_bytes()).hexdigest()
    assert digest == "87364cc2b2a76a6684929e7d6b80b18a897794db38400caff1fcf1791c6925d2"
    assert "Permission is hereby granted" in (folder / "LICENSE-chart.js.md").read_text(encoding="utf-8")
    assert "Released under the MIT License" in (folder / html.LIBRARY).read_text(encoding="utf-8")[:300]


HOSTILE = "</td><script>alert('1')</script><img src=x onerror=\"alert(2)\"> & \"quoted\" 'too' {{ 7 * 6 }}"


def test_what_a_store_says_is_text_and_never_markup(store: Store, tmp_path: Path) -> None:
    [answer] = store.verdicts()
    part = {**answer["parts"][0], "claim": HOSTILE, "rule": HOSTILE, "sentence": HOSTILE}
    change(
        store,
        **dict.fromkeys(("question", "claim", "sentence", "rule", "outcome"), HOSTILE),
        parts=[part],
        manifest={HOSTILE: HOSTILE},
        tuned={HOSTILE: HOSTILE},
    )
    shown = page(store, tmp_path / "r.html")
    assert shown.tags.count("script") == 2
    assert "img" not in shown.tags
    assert shown.handlers == []
    # As many times as it was said, and as it was said.
    assert shown.text.count(HOSTILE) >= 9


def test_what_a_question_is_called_is_text_too(store: Store, tmp_path: Path) -> None:
    """A store from somebody else may name a question, a size and a device as it likes, and so may a file."""
    [answer] = store.verdicts()
    with Store(tmp_path / "<img src=x onerror=alert(1)>.sqlite") as other:
        other.set_verdict(HOSTILE, HOSTILE, {**answer, "study": HOSTILE, "size": HOSTILE, "device": HOSTILE})
        shown = page(other, tmp_path / "r.html")
    assert shown.tags.count("script") == 2
    assert "img" not in shown.tags
    assert shown.handlers == []
    assert "<img src=x onerror=alert(1)>.sqlite" in shown.text


def test_what_others_add_is_text_too(store: Store, tmp_path: Path) -> None:
    table = sections.Table(HOSTILE, (HOSTILE,), ((HOSTILE,), ("refuted",)))
    with plotting.panels(1) as (figure, [axes]):
        axes.plot([0, 1], [0, 1], label=HOSTILE)
        axes.set(title=HOSTILE[:30], xlabel=HOSTILE, yticks=[0, 1], yticklabels=["<b>'\"", "b"])
    made = sections.add(lambda *_: sections.Section("mine", HOSTILE, HOSTILE, (table,), figure, HOSTILE))
    try:
        shown = page(store, tmp_path / "r.html")
    finally:
        sections.remove(made)
    assert shown.tags.count("script") == 2
    assert "img" not in shown.tags
    assert shown.handlers == []
    assert "refuted" in shown.text


# -- the sections ------------------------------------------------------------------------------------------------------
def test_a_section_is_shown_while_it_is_added_and_has_something_to_tell(store: Store, tmp_path: Path) -> None:
    def found(of: Store, answers: Sequence[Any]) -> sections.Section | None:
        return sections.Section("scores", "Scores", f"{len(answers)} answers.") if of is store else None

    made = [sections.add(found), sections.add(lambda *_: None)]
    try:
        shown = page(store, tmp_path / "r.html")
    finally:
        for one in made:
            sections.remove(one)
    assert "Scores" in shown.text
    assert "1 answers." in shown.text
    assert "#scores" in shown.loads
    assert "Scores" not in page(store, tmp_path / "r.html").text


def test_what_was_published_stands_beside_the_questions_that_answer_a_claim(store: Store, tmp_path: Path) -> None:
    [answer] = store.verdicts()
    assert "Claim 1" not in page(store, tmp_path / "r.html").text  # the tiny question answers none
    store.set_verdict("entropy_law", "quick", {**answer, "study": "entropy_law"})
    shown = page(store, tmp_path / "r.html").text
    claim = claims().claims[0]
    for expected in (claim.statement, claim.corrections[0], claims().about(claim)["supports"][0].result, "full text"):
        assert expected in shown
    for figure in (figure for figure in published() if figure.claim == 1):
        assert figure.quantity in shown
        assert " ".join(str(figure.value).split()) in shown
    assert "Claim 2" not in shown


def test_the_manifest_tells_what_answers_share_and_what_differs(store: Store, tmp_path: Path) -> None:
    [answer] = store.verdicts()
    older = {**answer["manifest"], "numpy": "0.1"}
    store.set_verdict("tiny", "full", {**answer, "size": "full", "manifest": older})
    shared, each = manifests.section(store, store.verdicts()).tables
    assert ("python", answer["manifest"]["python"]) in shared.rows
    assert ("runs in the store", "2") in shared.rows
    assert ("store", "s.sqlite") in shared.rows
    assert "numpy" not in [name for name, _ in shared.rows]
    assert each.columns[-1] == "numpy"
    assert {row[-1] for row in each.rows} == {"0.1", answer["manifest"]["numpy"]}


# -- runs that cannot be found -----------------------------------------------------------------------------------------
def test_runs_of_another_version_of_the_code_are_told(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study, "code_version", lambda: "another version")
    shown = page(store, tmp_path / "r.html")
    assert "svg" not in shown.tags
    assert "made by another version of the code" in shown.text
    assert TINY.claim in shown.text  # the answer stands as it was given


def test_a_question_that_this_version_does_not_know_is_told(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(study._STUDIES, "tiny")
    shown = page(store, tmp_path / "r.html")
    assert "does not know the question" in shown.text
    assert TINY.claim in shown.text


# -- where it goes -----------------------------------------------------------------------------------------------------
def test_missing_folders_are_made_and_nothing_else_is_left(store: Store, tmp_path: Path) -> None:
    html.write(store, tmp_path / "a" / "b" / "r.html")
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["r.html"]


def test_figures_for_slides(store: Store, tmp_path: Path) -> None:
    html.write(store, tmp_path / "r.html", tmp_path / "slides")
    [png] = (tmp_path / "slides").iterdir()
    assert png.name == "tiny-quick.png"
    assert png.read_bytes().startswith(b"\x89PNG")


def test_a_file_that_cannot_be_written_is_named(store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    for out in (tmp_path / "file" / "r.html", tmp_path / "folder"):
        (tmp_path / "folder").mkdir(exist_ok=True)
        with pytest.raises(ToybedError, match=rf"report {re.escape(str(out))} cannot be written") as caught:
            html.write(store, out)
        assert "\n" not in str(caught.value)
    assert not [path for path in tmp_path.rglob("*.part")]
    assert (tmp_path / "file").read_text(encoding="utf-8") == "mine"


def test_a_folder_for_figures_that_cannot_be_written_is_named(store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    with pytest.raises(ToybedError, match="file"):
        html.write(store, tmp_path / "r.html", tmp_path / "file" / "slides")


def test_a_store_without_answers_is_named(tmp_path: Path) -> None:
    with Store(tmp_path / "empty.sqlite") as empty, pytest.raises(ToybedError, match=r"empty\.sqlite holds no answer"):
        html.write(empty, tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()


# -- labels ------------------------------------------------------------------------------------------------------------
GAP = 0.062  # of the axes' height, as label_ends says


def places(ends: list[float], low: float = 0.0, high: float = 1.0) -> list[float]:
    """Heights at which the labels of lines that end there are written, in the order of the lines."""
    axes = Figure().subplots()
    axes.set_ylim(low, high)
    plotting.label_ends(axes, {str(i): (10.0, y, "black") for i, y in enumerate(ends)})
    written = {text.get_text(): float(text.xyann[1]) for text in axes.texts}
    return [written[str(i)] for i in range(len(ends))]


@given(st.lists(st.floats(0, 1), max_size=15), st.sampled_from([(0.0, 1.0), (-3.0, 5.0), (0.2, 0.21)]))
def test_labels_keep_apart_within_the_axes_and_in_order(shares: list[float], limits: tuple[float, float]) -> None:
    """15 labels of a gap of 0.062 fit into the axes, so every one has a place."""
    low, high = limits
    span = high - low
    ends = [low + share * span for share in shares]
    found = places(ends, low, high)
    order = np.argsort(ends, kind="stable")
    heights = np.array(found)[order]
    assert (np.diff(heights) >= (GAP - 1e-9) * span).all()
    assert (heights >= low - 1e-9 * span).all()
    assert (heights <= high + 1e-9 * span).all()


@given(st.lists(st.floats(0, 1), max_size=12))
def test_labels_that_have_room_stay_at_their_lines(shares: list[float]) -> None:
    ordered = sorted(shares)
    if all(b - a >= GAP + 1e-9 for a, b in pairwise(ordered)):
        assert places(shares) == pytest.approx(shares)
    else:
        assert len(places(shares)) == len(shares)


def test_labels_of_lines_that_end_together_are_moved_down_from_the_top() -> None:
    assert places([1.0, 1.0, 1.0]) == pytest.approx([1 - 2 * GAP, 1 - GAP, 1.0])
    assert places([0.0, 0.0, 0.0]) == pytest.approx([0.0, GAP, 2 * GAP])


def test_a_line_without_an_end_does_not_disturb_the_others() -> None:
    """An arm of which every run diverged has no last value."""
    axes = Figure().subplots()
    axes.set_ylim(0, 1)
    ends = {"a": 0.5, "lost": float("nan"), "b": 0.5, "c": 0.5}
    plotting.label_ends(axes, {name: (10.0, y, "black") for name, y in ends.items()})
    heights = sorted(float(text.xyann[1]) for text in axes.texts if text.get_text() != "lost")
    assert len(heights) == 3
    assert (np.diff(heights) >= GAP - 1e-9).all()


def test_an_arm_that_was_learned_is_drawn_and_ranked(tmp_path: Path) -> None:
    """Its setting is in no list of arms: it is found by following the search."""
    first = TINY.arms("quick")["grpo"]
    search = Search(
        begin=lambda size: 0.01,
        ask=lambda size, generation, state: {"here": {"one": first.with_learning(learning_rate=state)}},
        tell=lambda generation, state, found: state,
        final=lambda size, state: {"learned": first.with_learning(learning_rate=state)},
        generations={"quick": 1},
        bases={"quick": 1},
    )
    question = replace(TINY, search=search)
    with Store(tmp_path / "s.sqlite") as store, Bar(quiet=True) as bar:
        answer = answering.answer(question, store, size="quick", seeds=2, progress=bar)
        _, ranked = html._made(answer, question, store)
    assert ranked is not None
    assert any("learned" in row.arms for row in ranked.rows)
