"""Writes the report from a store: verdicts as they were given, figures drawn anew from the curves."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

import toybed
from toybed import answering, study
from toybed.answers import changes, command, explained, question_of
from toybed.commands import scoreboard
from toybed.commands.listing import interval_text, worlds_text
from toybed.errors import ToybedError
from toybed.report import literature, manifests, ranking, sections
from toybed.report.artists import Point
from toybed.report.data import Panel, panels
from toybed.report.figures import Palette, svg
from toybed.store import Store

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LIBRARY = "chart-4.6.1.umd.min.js"
"""Chart.js as it was published, embedded in each report."""


def write(store: Store, out: Path, figures: Path | None = None) -> None:
    """Write one HTML file, figures inline, that needs no network.

    Args:
        store: whose answers are reported.
        out: the file.
        figures: a folder that gets every figure as ``STUDY-SIZE.png`` too.

    Raises:
        ToybedError: the store holds no answer, or the file cannot be written.
    """
    answers = store.verdicts()
    if not answers:
        raise ToybedError(f"store {store.path} holds no answer yet; toybed run QUESTION makes one")
    text = _page(store, answers, figures)
    check_writable(out)
    partial = _partial(out)
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, out)


def check_writable(out: Path) -> None:
    """Raise a ToybedError unless a report can be written there: better before a long run than after it."""
    try:
        if out.is_dir():
            raise IsADirectoryError(0, "it is a folder")
        out.parent.mkdir(parents=True, exist_ok=True)
        _partial(out).touch()
        _partial(out).unlink()
    except OSError as error:
        raise ToybedError(f"report {out} cannot be written ({error.strerror}); choose another file") from error


def _partial(out: Path) -> Path:
    return out.with_name(out.name + ".part")


# -- the page ----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Drawn:
    """A figure in the page: the SVG (empty where there is none), what it shows in words, and its numbers."""

    svg: Markup
    caption: str
    panels: list[Panel]


def _page(store: Store, answers: list[dict[str, Any]], figures: Path | None) -> str:
    palette, rankings = Palette(), []
    told = []
    for number, answer in enumerate(answers):
        entry, ranked = _answer(answer, f"q{number}", store, palette, figures)
        told.append(entry)
        rankings += [ranked] if ranked else []
    beside = [
        ranking.section(rankings),
        scoreboard.section(store, answers),
        *sections.added(store, answers),
        literature.section(answer["study"] for answer in answers),
        manifests.section(store, answers),
    ]
    shown = [_section(section, palette) for section in beside if section is not None]
    scripts = [_script(f"vendor/{LIBRARY}"), _script("report.js")]
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            answers=told,
            sections=shown,
            palette=palette,
            style=Markup(_resource("style.css")),
            scripts=scripts,
            policy=Markup(" ".join(map(_hash, scripts))),
            version=toybed.__version__,
        )
    )


def _environment() -> Environment:
    # Loading from the package and escaping everything: a store may come from somebody else.
    pages = Environment(
        loader=PackageLoader("toybed.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters |= {
        "interval": interval_text,
        "worlds": worlds_text,
        "how_seen": literature.how_seen,
        "exact": _exact,
        "told": _told,
        "ticks": lambda panel: json.dumps({w: sorted(names.items()) for w, names in panel.ticks.items()}),
        "lower_first": lambda text: text[:1].lower() + text[1:],
        "upper_first": lambda text: text[:1].upper() + text[1:],
    }
    pages.tests["number_like"] = lambda word: re.fullmatch(r"[-+.,\[\] \de]+", word) is not None
    return pages


def _exact(point: Point) -> str:
    """A point for the charts: x and y, and of each interval its axis, low and high."""
    spans = [f" {span.axis} {span.low:.6g} {span.high:.6g}" for span in point.spans]
    return f"{point.x:.6g} {point.y:.6g}{''.join(spans)}"


def _told(point: Point, axis: str, ticks: Mapping[str, Mapping[float, str]]) -> str:
    """A coordinate for readers: the name of its place or the number, and its interval."""
    value = getattr(point, axis)
    intervals = [f" [{span.low:.4g}, {span.high:.4g}]" for span in point.spans if span.axis == axis]
    return ticks.get(axis, {}).get(value, f"{value:.4g}") + "".join(intervals)


def _resource(name: str) -> str:
    return resources.files("toybed.report").joinpath(name).read_text(encoding="utf-8")


def _script(name: str) -> Markup:
    """A script of ours or of the library; without the address of its source map, which a browser might ask for."""
    return Markup(re.sub(r"(?m)^//# sourceMappingURL=.*\n?", "", _resource(name)))


def _hash(script: str) -> str:
    """The script as the page's policy names it: nothing else may run, whatever a store says."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"'sha256-{digest}'"


# -- its parts ---------------------------------------------------------------------------------------------------------
def _answer(
    answer: Mapping[str, Any], name: str, store: Store, palette: Palette, figures: Path | None
) -> tuple[dict[str, Any], ranking.Ranking | None]:
    """An answer with what its question says of itself, its figure or why there is none, and its ranking."""
    entry = {"tuned": {}, **answer, "source": "", "amendments": (), "command": "", "published": ()}
    entry |= {"id": "-".join(_word(answer[part]) for part in ("study", "size", "seeds", "device"))}
    entry |= {"changed": changes(answer)}
    try:
        question = question_of(answer)
        entry |= {"source": question.source, "amendments": question.amendments}
        entry |= {"command": command(answer, question), "published": literature.about(question.name)}
        figure, ranked = _made(answer, question, store)
    except ToybedError as error:
        return {**entry, "figure": Drawn(Markup(""), f"No figure: {error}.", [])}, None
    if figures is not None:
        _save(figure, figures / f"{answer['study']}-{answer['size']}.png")
    entry["figure"] = _drawn(figure, name, question.question, question.caption, palette)
    return entry, ranked


def _made(answer: Mapping[str, Any], question: study.Study, store: Store) -> tuple[Figure, ranking.Ranking | None]:
    """The figure of an answer and its ranking, from the runs.

    Raises:
        ToybedError: it cannot be drawn; the message says why.
    """
    asked = (answer["size"], answer["seeds"], answer["device"])
    with explained(question):
        try:
            records = answering.load_records(question, *asked, store)
            runs = answering.runs_of(question, *asked, store)
        except ToybedError as error:
            # Runs are named by the code that made them: those of another version cannot be found.
            reason = "its runs were made by another version of the code, or of other arms; run it again"
            raise ToybedError(reason) from error
        ranked = ranking.ranking(question.name, answer["size"], records, runs)
        return question.figure(records), ranked


def _word(value: object) -> str:
    """A part of an id: a store's words may hold anything."""
    return re.sub(r"[^A-Za-z0-9_]", "_", str(value))


def _drawn(figure: Figure, name: str, title: str, caption: str, palette: Palette) -> Drawn:
    found = panels(figure)
    for series in (series for panel in found for series in panel.series):
        palette.variable(series.colour, words=False)  # the charts use them, too
    return Drawn(svg(figure, name, title, caption, palette), caption, found)


def _section(section: sections.Section, palette: Palette) -> dict[str, Any]:
    figure = section.figure
    drawn = None if figure is None else _drawn(figure, f"s-{section.name}", section.title, section.caption, palette)
    return {
        "name": section.name,
        "title": section.title,
        "text": section.text,
        "tables": section.tables,
        "figure": drawn,
    }


def _save(figure: Figure, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=110)
    except OSError as error:
        raise ToybedError(f"figures cannot be written into {path.parent} ({error.strerror})") from error
