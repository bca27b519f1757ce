"""Writes the report from a store: verdicts as they were given, figures drawn anew from the curves."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from toybed import plotting, runner, study
from toybed.errors import ToybedError
from toybed.listing import interval_text
from toybed.store import Store


def write(store: Store, out: Path) -> None:
    """Write one HTML file, figures inline, that needs no network.

    Raises:
        ToybedError: the store holds no answer, or the file cannot be written.
    """
    answers = [_section(answer, store) for answer in store.verdicts()]
    if not answers:
        raise ToybedError(f"store {store.path} holds no answer yet; toybed run QUESTION makes one")
    # Loading from the package and escaping everything: a store may come from somebody else.
    pages = Environment(loader=PackageLoader("toybed.report", "."), autoescape=True, undefined=StrictUndefined)
    pages.filters["interval"] = interval_text
    text = pages.get_template("report.html.j2").render(answers=answers)
    partial = out.with_name(out.name + ".part")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, out)
    except OSError as error:
        raise ToybedError(f"report {out} cannot be written ({error.strerror}); choose another file") from error


def _section(answer: dict[str, Any], store: Store) -> dict[str, Any]:
    """An answer with its figure, or with the reason why there is none."""
    question = study.get(answer["study"])
    try:
        records = runner.load_records(question, answer["size"], answer["seeds"], answer["device"], store)
    except ToybedError:
        # Runs are named by the code that made them, so a figure of an older version cannot be found again.
        figure, note = Markup(""), "Its runs were made by another version of the code: run it again for the figure."
    else:
        figure, note = (
            Markup(plotting.svg(question.figure(records))),
            question.caption,
        )  # our own drawing, not the store's
    size = "" if answer["size"] == "standard" else f" --{answer['size']}"
    seeds = "" if answer["seeds"] == question.seeds[answer["size"]] else f" --seeds {answer['seeds']}"
    command = f"toybed run {answer['study']}{size}{seeds}"
    return {**answer, "figure": figure, "caption": note, "source": question.source, "command": command}
