"""Writes the report from a store: verdicts as they were given, figures drawn anew from the curves."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from toybed import plotting, runner, study
from toybed.errors import ToybedError
from toybed.listing import interval_text, worlds_text
from toybed.store import Store


def write(store: Store, out: Path, figures: Path | None = None) -> None:
    """Write one HTML file, figures inline, that needs no network.

    Args:
        store: whose answers are reported.
        out: the file.
        figures: a folder that gets every figure as ``STUDY-SIZE.png`` too.

    Raises:
        ToybedError: the store holds no answer, or the file cannot be written.
    """
    answers = [_section(answer, store, figures) for answer in store.verdicts()]
    if not answers:
        raise ToybedError(f"store {store.path} holds no answer yet; toybed run QUESTION makes one")
    # Loading from the package and escaping everything: a store may come from somebody else.
    pages = Environment(loader=PackageLoader("toybed.report", "."), autoescape=True, undefined=StrictUndefined)
    pages.filters |= {"interval": interval_text, "worlds": worlds_text}
    text = pages.get_template("report.html.j2").render(answers=answers)
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


def _section(answer: dict[str, Any], store: Store, figures: Path | None) -> dict[str, Any]:
    """An answer with what its question says of itself, and its figure, or the reason why there is none."""
    question = study.studies().get(answer["study"])
    section = {**answer, "source": "", "amendments": (), "figure": Markup(""), "command": ""}
    if question is None:
        return {**section, "caption": "This version of toybed does not know the question: no figure."}
    size = "" if answer["size"] == "standard" else f" --{answer['size']}"
    device = "" if answer["device"] == "cpu" else f" --device {answer['device']}"
    seeds = "" if answer["seeds"] == question.seeds[answer["size"]] else f" --seeds {answer['seeds']}"
    section |= {"source": question.source, "amendments": question.amendments}
    section["command"] = f"toybed run {answer['study']}{size}{seeds}{device}"
    try:
        records = runner.load_records(question, answer["size"], answer["seeds"], answer["device"], store)
    except ToybedError:
        # Runs are named by the code that made them: those of another version cannot be found.
        return {**section, "caption": "Its runs were made by another version of the code: run it again for the figure."}
    figure = question.figure(records)
    if figures is not None:
        try:
            figures.mkdir(parents=True, exist_ok=True)
            figure.savefig(figures / f"{answer['study']}-{answer['size']}.png", dpi=110)
        except OSError as error:
            raise ToybedError(f"figures cannot be written into {figures} ({error.strerror})") from error
    return {**section, "figure": Markup(plotting.svg(figure)), "caption": question.caption}
