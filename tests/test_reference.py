"""The reference of the Python side: every docstring can be read, and pages lead to what a user looks for."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import pdoc
import pytest

from toybed import reference
from toybed.errors import ToybedError


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reference")
    reference.build(folder)  # raises where pdoc warns of anything
    return folder


def test_there_is_a_page_for_every_module_but_questions_and_lessons(pages: Path) -> None:
    for module in reference.modules():
        assert (pages / f"{module.__name__.replace('.', '/')}.html").is_file(), module.__name__
    assert not (pages / "toybed" / "benchmarks.html").exists()


def test_the_first_names_are_explained_on_the_first_page(pages: Path) -> None:
    first = re.sub(r"<[^>]+>", "", (pages / "toybed.html").read_text())
    assert "Train in this process, on one thread" in first


def test_what_pdoc_warns_of_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def warn(*_: object, **__: object) -> None:
        warnings.warn("a docstring that nobody can read", stacklevel=1)

    monkeypatch.setattr(pdoc, "pdoc", warn)
    with pytest.raises(ToybedError, match="1 things, of which the first is: a docstring that nobody can read"):
        reference.build(tmp_path)
