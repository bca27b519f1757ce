"""Stored answers: their questions are found again, and what has changed since is said wherever an answer is shown."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import toybed
from toybed import answers, cli, reached, study
from toybed.store import Store
from toybed.study import Study

Capture = pytest.CaptureFixture[str]
EXAMPLE = Path(toybed.__file__).parent / "examples" / "own_question.py"
HELPER = "LEAST = 0.0\n\n\ndef least():\n    return LEAST\n\n\ndef other():\n    return 1\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A user's folder with a question, whose judge asks a module beside it, as the current one."""
    write("", "", folder=tmp_path)
    (tmp_path / "asked_help.py").write_text(HELPER, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr(study, "_OWN", {})
    forget()
    yield tmp_path
    forget()


def write(old: str, new: str, *, folder: Path | None = None) -> None:
    """The example of a question with a word changed, as a module ``asked``."""
    text = EXAMPLE.read_text(encoding="utf-8").replace("above(found, 0.0)", "above(found, least())")
    text = text.replace("updates=30", "updates=2").replace(
        "import toybed\n", "import toybed\nfrom asked_help import least\n"
    )
    assert old in text
    (folder or Path()).joinpath("asked.py").write_text(text.replace(old, new) if old else text, encoding="utf-8")
    forget()


def forget() -> None:
    """As in a new process: modules are read anew."""
    for name in ("asked", "asked_help"):
        sys.modules.pop(name, None)
    reached._module.cache_clear()
    importlib.invalidate_caches()


def answered(target: str = "asked:STUDY", store: str = "s.sqlite") -> dict[str, Any]:
    return toybed.ask(target, size="quick", store=store)


def report(*arguments: str) -> str:
    assert cli.main(["report", "--store", "s.sqlite", *arguments]) == 0
    return Path("report.html").read_text(encoding="utf-8")


# -- where a question is -----------------------------------------------------------------------------------------------
def test_an_answer_keeps_where_its_question_is_and_the_report_draws_its_figure(capsys: Capture) -> None:
    assert answered()["address"] == "asked:STUDY"
    forget()
    page = report()
    assert "<svg" in page
    assert "<code>toybed run asked:STUDY --quick</code>" in page
    assert "run again" not in page


def test_a_question_that_was_given_as_such_is_found_where_its_judge_is() -> None:
    from asked import STUDY  # type: ignore[import-not-found]

    assert toybed.ask(STUDY, size="quick")["address"] == "asked:STUDY"
    assert answers.address(study.get("entropy_law")) == "entropy_law"
    assert answers.address(replace(STUDY, name="another")) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "there is no module for asked:STUDY in this folder"),
        ("import sys\nimport toybed\nsys.exit(3)\n", "asked:STUDY ends the program when it is imported"),
        ("import toybed\n1 / 0\n", "cannot be imported: ZeroDivisionError"),
        ("import toybed\nfrom toybed.study import get\nSTUDY = get('sizes')\n", "is now the question &#39;sizes&#39;"),
        ("import toybed\nSTUDY = 3\n", "allowed: a toybed.study.Study"),
        ("import pathlib\npathlib.Path('run').touch()\n", "there is no module for asked:STUDY"),
    ],
)
def test_a_question_that_is_gone_is_still_listed_and_says_why_it_has_no_figure(text: str | None, said: str) -> None:
    sentence = answered()["sentence"]
    Path("asked.py").unlink()
    if text is not None:
        Path("asked.py").write_text(text, encoding="utf-8")
    forget()
    page = report()
    assert "<svg" not in page
    assert sentence in page
    assert f"No figure: its question is not found: {said}" in page or said in page
    assert not Path("run").exists()  # a store makes nobody run what is no question


def test_a_question_that_fails_now_says_with_what(capsys: Capture) -> None:
    answered()
    write("records.items(), plotting", "missing.items(), plotting")
    assert "No figure: its question fails with NameError: name &#39;missing&#39; is not defined." in report()
    write("return {", "return missing, {")
    assert "No figure: its question fails with NameError" in report()
    assert cli.main(["doctor", "--store", "s.sqlite"]) == 0
    assert "bonus_keeps: its question fails with NameError" in capsys.readouterr().out


# -- what has changed --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("", "", ""),
        ('"""The whole answer, and its parts: here there is one."""', '"""The answer."""', ""),
        ("faint", "pale", ""),
        ("With an entropy bonus", "With a bonus", "answers another claim"),
        ("refuted if below", "refuted below", "judged by another rule"),
        (
            '"A3C, arXiv 1602.01783", RULE, ()',
            '"A3C, arXiv 1602.01783", RULE, ("It said less.",)',
            "judged by another rule",
        ),
        ("0.02}", "0.03}", "of other arms"),
        ("least()", "0.1", "judged by other code"),
    ],
)
def test_an_answer_says_what_its_question_has_changed_since(old: str, new: str, said: str) -> None:
    answer = answered()
    write(old, new)
    again = "toybed run asked:STUDY --quick"
    assert answers.changes(answer) == ((said, again) if said else ("", ""))
    assert answers.changed(answer) == (f"{said}; run again: {again}" if said else "")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("LEAST = 0.0", "LEAST = 0.1", "judged by other code"),
        ("return 1", "return 2", ""),
        ("LEAST =", "# so\nLEAST =", ""),
    ],
)
def test_what_the_judge_reaches_beside_it_counts_and_nothing_else(old: str, new: str, said: str) -> None:
    answer = answered()
    Path("asked_help.py").write_text(HELPER.replace(old, new), encoding="utf-8")
    forget()
    assert answers.changes(answer)[0] == said


def test_a_question_that_is_run_again_is_no_longer_marked() -> None:
    answered()
    write("least()", "0.1")
    assert answers.changed(answered()) == ""
    assert "other code" not in report()


def test_every_place_that_shows_an_answer_shows_the_mark(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    mark = "judged by another rule"
    known = study.get("entropy_law")
    own = study.get("asked:STUDY")
    small = replace(known, arms=own.arms, judge=own.judge, figure=own.figure)
    monkeypatch.setitem(study._STUDIES, "entropy_law", small)
    toybed.ask("entropy_law", size="quick", seeds=1, store="s.sqlite")
    for command in (["evidence"], ["evidence", "--json"], ["doctor"], ["report", "--json"]):
        for question, marked in ((small, False), (replace(small, rule="another"), True)):
            monkeypatch.setitem(study._STUDIES, "entropy_law", question)
            assert cli.main([*command, "--store", "s.sqlite"]) == 0
            told = capsys.readouterr().out
            assert (mark in told) == marked, command
            assert ("toybed run entropy_law --quick --seeds 1" in told) == marked, command
    assert report().count("Judged by another rule") == 2


def test_an_answer_of_an_older_toybed_may_be_of_an_older_rule(capsys: Capture) -> None:
    answered()
    with Store("s.sqlite") as store:
        [answer] = store.verdicts()
        del answer["asked"]
        store.set_verdict("bonus_keeps", "quick", answer)
        del answer["address"]
        answer["study"] = "sizes"
        store.set_verdict("sizes", "quick", answer)
    assert cli.main(["report", "--store", "s.sqlite", "--json"]) == 0
    marks = {answer["study"]: answer["changed"] for answer in json.loads(capsys.readouterr().out)}
    assert marks["bonus_keeps"] == "may be of an older rule; run again: toybed run asked:STUDY --quick"
    assert marks["sizes"] == "may be of an older rule; run again: toybed run sizes --quick"


# -- code --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("question", study.studies().values(), ids=study.studies())
def test_what_judges_a_question_is_read_with_its_thresholds_and_intervals(question: Study) -> None:
    file = Path(question.judge.__code__.co_filename).resolve()
    found: dict[tuple[Path, str], str] = {}
    reached._follow(file, "judge", found)
    names = {(path.name, name) for (path, name), text in found.items() if text}
    assert (file.name, "judge") in names
    assert ("study.py", "headline") in names
    assert {("stats.py", "mean_interval"), ("stats.py", "bootstrap")} & names
    assert "figure" not in {name for _, name in names}


def test_a_lambda_is_known_by_its_module_and_what_has_no_file_by_nothing() -> None:
    one = reached.code_reached(lambda: 1)
    assert one == reached.code_reached(lambda: 2) != ""
    assert reached.code_reached(eval("lambda: 1")) == reached.code_reached(print) == ""
    bound = {value: reached.code_reached(partial(_judged_by, value)) for value in (1, 2)}
    assert len({*bound.values(), reached.code_reached(_judged_by)}) == 3
    assert reached.code_reached(_Judge()) == reached.code_reached(_Judge.__call__) != ""


def _judged_by(threshold: float) -> bool:
    return threshold > 0


class _Judge:
    def __call__(self) -> bool:
        return _judged_by(1)


def test_an_answer_of_runs_by_other_code_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = {"study": "entropy_law", "size": "quick", "seeds": 3, "device": "cpu"}
    answer |= answers.about(study.get("entropy_law"), "quick")
    assert answers.changes(answer) == ("", "")
    monkeypatch.setattr(study, "code_version", lambda: "another")
    assert answers.changes(answer) == ("of runs by other code", "toybed run entropy_law --quick")


def test_a_size_that_a_question_no_longer_has_is_no_error_here() -> None:
    question = study.get("entropy_law")
    answer = {"study": "entropy_law", "size": "full", "seeds": 20, "device": "cpu"}
    gone = replace(question, seeds={"quick": 3})
    assert answers.command(answer, gone) == "toybed run entropy_law --full --seeds 20"
