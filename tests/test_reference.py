"""The reference of the Python side. ``make reference``, which continuous integration runs, builds all of it."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import pdoc
import pytest

from toybed import reference
from toybed.errors import ToybedError


def test_a_page_explains_what_a_module_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one module with named tuples, whose types pdoc does not find by itself."""
    [module] = [module for module in reference.modules() if module.__name__ == "toybed.envs.chain_reach"]
    monkeypatch.setattr(reference, "modules", lambda: [module])
    build = pdoc.pdoc
    monkeypatch.setattr(pdoc, "pdoc", lambda *names, **options: build(*names[1:], **options))
    reference.build(tmp_path)
    page = re.sub(r"<[^>]+>", "", (tmp_path / "toybed/envs/chain_reach.html").read_text())
    assert "Reach a goal value by a chain of operations" in page
    assert "ChainState" in page


def test_questions_and_lessons_are_read_as_text() -> None:
    names = {module.__name__ for module in reference.modules()}
    assert {"toybed.envs.core", "toybed.objectives.objective", "toybed.stats"} <= names
    assert not any(name.startswith(("toybed.benchmarks", "toybed.course", "toybed.examples")) for name in names)


def test_what_pdoc_warns_of_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def warn(*_: object, **__: object) -> None:
        warnings.warn("a docstring that nobody can read", stacklevel=1)

    monkeypatch.setattr(pdoc, "pdoc", warn)
    with pytest.raises(ToybedError, match="1 things, of which the first is: a docstring that nobody can read"):
        reference.build(tmp_path)
