"""The README and its guides: their code runs as it stands, their commands and links exist, their output is real."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

import toybed
from toybed import testing
from toybed.cli import COMMANDS, main
from toybed.course import writing
from toybed.course.catalogue import lessons
from toybed.llm.published_findings import findings

ROOT = Path(__file__).parents[1]
TEXTS = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
}
README = TEXTS["README.md"]
BLOCKS = [(name, block) for name, text in TEXTS.items() for block in re.findall(r"```python\n(.*?)```", text, re.S)]
LINKS = [
    (name, *link.partition("#")[::2])
    for name, text in TEXTS.items()
    for link in re.findall(r"\]\(([^)\s]+)\)", text)
    if not link.startswith("https://")
]


def in_one_line(text: str) -> str:
    """Without line breaks, which depend on the width of a terminal."""
    return " ".join(text.split())


# -- code --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("name", "block"), BLOCKS, ids=[f"{name}: {code.splitlines()[0]}" for name, code in BLOCKS])
def test_code_runs(name, block, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scope: dict[str, object] = {"__name__": "readme"}
    exec(compile(block, name, "exec"), scope)
    if "train(" in block:
        rewards = [float(line.split()[0]) for line in capsys.readouterr().out.splitlines()]
        assert len(rewards) == 2
        # Twenty updates from a base that solves a quarter of the prompts: an objective that does not learn shows.
        assert all(reward > 0.3 for reward in rewards)


@pytest.mark.parametrize("fixed", [False, True])
def test_the_loss_of_the_readme_breaks_one_law_until_it_is_mended(fixed):
    [code] = [block for name, block in BLOCKS if name == "README.md"]
    scope: dict[str, object] = {"__name__": "my_losses"}
    exec(code.replace(".mean()", ".sum() / mask.sum()") if fixed else code, scope)
    subject = testing.subject_of(scope["my_loss"], "my_losses:my_loss")
    [law] = [law for law in testing.LAWS if law.name == "padding_length"]
    assert testing.examine(law, subject, shrink=False).holds == fixed  # the smallest case takes too long to find
    assert f"\nbroken  {law.name:16} {law.statement}\n" in README
    assert f"\npublished objectives that break this on purpose: {', '.join(law.breaks)}\n" in README


# -- commands ----------------------------------------------------------------------------------------------------------
def test_every_command_that_is_named_exists():
    named = set(re.findall(r"`(?:\.venv/bin/)?toybed (\w+)", "\n".join(TEXTS.values())))
    assert {"list", "run", "show", "report", "check", "mutants", "course"} <= named <= set(COMMANDS)


def test_both_entrances_are_named():
    assert "make demo" in README
    assert "make test" in README


def a_wrong_lesson(folder: Path) -> None:
    """The lesson on clipping, with both bounds on every token."""
    file, _ = writing.write(lessons()["who_gets_the_gradient"], folder)
    text = file.read_text(encoding="utf-8")
    hole = text.index("    ...\n", text.index("def clipped_coefficient"))
    wrong = "    return ratio * (ratio >= 1 - low) * (ratio <= 1 + high)\n"
    file.write_text(text[:hole] + wrong + text[hole + len("    ...\n") :], encoding="utf-8")


EXAMPLES = {"toybed evidence 7": lambda folder: None, "toybed check 04_who_gets_the_gradient.py": a_wrong_lesson}
"""Those that are fast and the same everywhere, and what they need in the folder in which they run."""


@pytest.mark.parametrize("command", EXAMPLES)
def test_an_example_prints_what_stands_below_it(command, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    EXAMPLES[command](tmp_path)
    [shown] = re.findall(rf"^```\n\$ {re.escape(command)}\n(.*?)```", "\n".join(TEXTS.values()), re.S | re.M)
    main(shlex.split(command)[1:])
    printed = in_one_line(capsys.readouterr().out)
    expected = ".*".join(re.escape(part) for part in re.split(r" *\.\.\. *", in_one_line(shown)))
    assert re.fullmatch(expected, printed), printed


# -- what is said ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("name", "path", "anchor"), LINKS, ids=[f"{name}: {to}#{at}" for name, to, at in LINKS])
def test_a_link_leads_somewhere(name, path, anchor):
    target = (ROOT / name).parent / path if path else ROOT / name
    assert target.resolve().is_relative_to(ROOT) and target.exists()
    if anchor:
        headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.M)
        assert anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readme_leads_to_every_guide():
    assert {path for name, path, _ in LINKS if name == "README.md"} >= set(TEXTS) - {"README.md"}


def test_what_is_counted_is_that_many():
    assert f"{len(findings().findings)} published findings" in TEXTS["docs/evidence.md"]
    assert len(lessons()) == 12 and "Twelve lessons" in README and "Twelve lessons" in TEXTS["docs/teaching.md"]


def test_the_version_to_cite_is_this_one():
    assert f"version = {{{toybed.__version__}}}" in README
    assert f"\nversion: {toybed.__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
