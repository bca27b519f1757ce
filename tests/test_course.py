"""The course: lessons run, exercises are graded by messages that teach, and every known mistake is told apart."""

from __future__ import annotations

import ast
import inspect
import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from toybed.cli import main
from toybed.course import catalogue, check, grading, show, writing
from toybed.course.catalogue import exercises, lessons
from toybed.course.exercise import Exercise, as_tensor, shown
from toybed.course.grading import files_of, grade_file
from toybed.course.sheet import grades, needed
from toybed.errors import ToybedError
from toybed.plotting import panels

LESSONS = list(lessons().values())
EXERCISES = [(lesson, name) for lesson in LESSONS for name in lesson.holes]
PAGE = Path(catalogue.__file__).with_name("README.md").read_text(encoding="utf-8")
FIRST = LESSONS[0]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def exercise_of(lesson, name) -> Exercise:
    return lesson.exercise(name)


# -- the lessons -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("lesson", LESSONS, ids=lambda x: x.name)
def test_an_unsolved_lesson_runs_from_top_to_bottom(lesson, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("TOYBED_FIGURES", "figures")
    file, _ = writing.write(lesson, tmp_path)
    runpy.run_path(str(file), run_name="__main__")
    said = capsys.readouterr().out
    for name in lesson.holes:
        assert f"{name} returns nothing yet: fill in the hole" in said
    drawn = {path.stem for path in Path("figures").glob("*.png")}
    assert len(drawn) == lesson.source.count("show(figure")
    assert all(name.startswith(lesson.stem) for name in drawn)


def test_there_are_lessons_in_order_each_with_exercises():
    assert len(LESSONS) >= 10
    for number, lesson in enumerate(LESSONS, 1):
        assert lesson.stem.startswith(f"{number:02}_")
        assert lesson.title.startswith(f"{number}. ")
        assert lesson.holes
    assert len(exercises()) == len(EXERCISES)  # a function's name belongs to one lesson


def test_the_instructors_page_tells_of_every_lesson():
    assert {line.split("`")[1] for line in PAGE.splitlines() if line.startswith("| `")} == {x.stem for x in LESSONS}


# -- the exercises -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("lesson", "name"), EXERCISES, ids=[name for _, name in EXERCISES])
def test_the_hole_the_solution_and_the_inputs_have_the_same_arguments(lesson, name):
    exercise = exercise_of(lesson, name)
    arguments = list(inspect.signature(exercise.solution).parameters)
    assert [argument.arg for argument in lesson.holes[name].args.args] == arguments
    assert all(list(given) == arguments for given in exercise.inputs)
    assert ast.get_docstring(lesson.holes[name])


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda x: x.name)
def test_unsolved_exercises_fail_and_solved_ones_pass(lesson):
    unsolved = list(grades({"lesson": lesson.source}, list(lesson.holes)))
    assert [grade.name for grade in unsolved] == list(lesson.holes)
    for grade in unsolved:
        assert not grade.right
        assert "fill in the hole" in grade.message
        assert lesson.exercise(grade.name).hint in grade.message
    solved = list(grades({"lesson": lesson.solved()}, list(lesson.holes)))
    assert all(grade.right for grade in solved), [grade.message for grade in solved]


@pytest.mark.parametrize(("lesson", "name"), EXERCISES, ids=[name for _, name in EXERCISES])
def test_every_known_mistake_gets_its_own_message(lesson, name):
    exercise = exercise_of(lesson, name)
    assert len(exercise.mistakes) >= 4
    for message, mistake in exercise.mistakes.items():
        grade = exercise.grade(mistake)
        assert not grade.right
        assert grade.message.endswith(message)
        assert "expected  " in grade.message and "yours     " in grade.message
        assert f"with      {next(iter(exercise.inputs[0]))} = " in grade.message


@pytest.mark.parametrize(("lesson", "name"), EXERCISES, ids=[name for _, name in EXERCISES])
def test_strange_answers_are_told_and_do_not_crash(lesson, name):
    exercise = exercise_of(lesson, name)
    for answer in ("a word", {}, [1, [2]], float("nan"), torch.full((2, 3), torch.nan), object(), torch.zeros(0)):
        grade = exercise.grade(lambda *_, answer=answer: answer)
        assert not grade.right
        assert grade.message.startswith(f"{name} is not right yet")

    def raises(*_):
        raise KeyError("no such")

    said = exercise.grade(raises).message
    assert "it raises KeyError: 'no such'" in said
    assert "test_course.py, line" in said and 'raise KeyError("no such")' in said


def test_a_float32_answer_and_a_list_are_right():
    entropy = FIRST.exercise("entropy")
    assert entropy.grade(lambda p: entropy.solution(p.float())).right
    shares = lessons()["covariance_law"].exercise("token_shares")
    assert shares.grade(lambda x, a: shares.solution(x, a).tolist()).right


def test_a_students_function_may_change_what_it_is_given():
    shares = lessons()["covariance_law"].exercise("token_shares")

    def in_place(log_prob, advantage):
        log_prob -= log_prob.mean()
        advantage -= advantage.mean()
        return log_prob.mul_(advantage)

    assert shares.grade(in_place).right
    assert shares.grade(shares.solution).right


def test_what_is_not_finite_hides_no_known_mistake():
    # In bits, and not a number where a probability is 0: two mistakes, and the one that is seen first is told.
    said = FIRST.exercise("entropy").grade(lambda p: -(p * p.log2()).sum()).message
    assert said.endswith("`torch.log`, not `torch.log2`.")
    said = FIRST.exercise("entropy").grade(lambda p: -(p * p.log()).sum()).message
    assert "right on 3 of 4 inputs" in said
    assert "0 log 0 has to be 0" in said
    said = lessons()["four_averages"].exercise("token_mean").grade(lambda loss, mask: loss.mean() * torch.nan).message
    assert "not finite" in said


def test_values_are_shown_short():
    assert shown(torch.tensor([1 / 3, 2.0])) == "[0.333333, 2.0]"
    assert shown(torch.zeros(100)) == "(a tensor [100])"
    assert shown(True) == "True"
    assert shown("word") == "'word'"
    assert as_tensor({}) is None


# -- in a notebook -----------------------------------------------------------------------------------------------------
def test_check_says_whether_a_function_is_right(capsys):
    def entropy(p):
        return -torch.xlogy(p, p).sum()

    check(entropy)
    assert capsys.readouterr().out == "entropy is right on all 4 inputs.\n"
    with pytest.raises(ToybedError, match="unknown exercise 'entrop': did you mean 'entropy'"):
        check(type("f", (), {"__name__": "entrop"})())


def test_a_figure_is_saved_only_if_asked_for(monkeypatch, tmp_path):
    with panels(1) as (figure, _):
        monkeypatch.delenv("TOYBED_FIGURES", raising=False)
        show(figure, "picture")
        assert list(tmp_path.iterdir()) == []
        monkeypatch.setenv("TOYBED_FIGURES", "a/b")
        show(figure, "picture")
    assert Path("a/b/picture.png").read_bytes().startswith(b"\x89PNG")


# -- written out -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("lesson", LESSONS, ids=lambda x: x.name)
def test_a_notebook_holds_the_same_code_and_text(lesson, tmp_path):
    file, _ = writing.write(lesson, tmp_path, notebooks=True)
    book = json.loads(file.read_text(encoding="utf-8"))
    kinds = [cell["cell_type"] for cell in book["cells"]]
    assert kinds[0] == "markdown" and "code" in kinds
    assert len({cell["id"] for cell in book["cells"]}) == len(kinds)
    code = "\n".join(writing.code_of(file.read_text(encoding="utf-8"), "it"))
    assert ast.dump(ast.parse(code)) == ast.dump(ast.parse(lesson.source))
    assert not any(line.startswith("#  ") or line == "#" for cell in book["cells"] for line in cell["source"])


def test_a_notebook_is_valid(tmp_path):
    nbformat = pytest.importorskip("nbformat")
    for lesson in LESSONS:
        nbformat.validate(nbformat.from_dict(writing.notebook(lesson.source)))


def test_what_a_student_has_written_is_kept(tmp_path, capsys):
    assert main(["course", "--to", "lessons"]) == 0
    assert f"{len(LESSONS)} lessons written to lessons" in capsys.readouterr().out
    mine = Path("lessons", f"{FIRST.stem}.py")
    mine.write_text("# mine")
    Path("lessons", f"{LESSONS[1].stem}.py").unlink()
    assert main(["course", "--to", "lessons", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["written"] == [str(Path("lessons", f"{LESSONS[1].stem}.py"))]
    assert len(told["kept"]) == len(LESSONS) - 1
    assert mine.read_text() == "# mine"
    assert main(["course", "--to", "lessons", "--notebooks", "--solved"]) == 0
    assert "..." not in json.loads(Path("lessons", f"{FIRST.stem}.ipynb").read_text())["cells"]


def test_the_lessons_are_listed(capsys):
    assert main(["course"]) == 0
    said = capsys.readouterr().out
    assert all(lesson.stem in said for lesson in LESSONS)
    assert main(["course", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in listed] == [lesson.name for lesson in LESSONS]
    assert [row["exercises"] for row in listed] == [list(lesson.holes) for lesson in LESSONS]


def test_listing_and_writing_do_not_import_torch(tmp_path):
    program = (
        "import sys; from toybed.cli import main; main(['course', '--to', 'x']); main(['course']); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True).returncode == 0


# -- files graded ------------------------------------------------------------------------------------------------------
def test_only_what_a_function_needs_is_run():
    source = """
import math
import os
scale = 2.0
table = {}
table["x"] = scale
print("an experiment")
lost = 1 / 0

def helper(x):
    return x * table["x"] * math.pi

def wanted(x):
    return helper(x)
"""
    kept = [ast.unparse(node).splitlines()[0] for node in ast.parse(source).body if node in _needed(source)]
    assert kept == [
        "import math",
        "scale = 2.0",
        "table = {}",
        "table['x'] = scale",
        "def helper(x):",
        "def wanted(x):",
    ]


def _needed(source):
    tree = ast.parse(source)
    lines = {node.lineno for node in needed(tree.body, {"wanted"})}
    return type("in_lines", (), {"__contains__": lambda self, node: node.lineno in lines})()


def in_process(monkeypatch):
    """Grading without a process of its own, which takes two seconds to begin."""
    monkeypatch.setattr(grading, "_grade_apart", lambda parts, names, limit: list(grades(parts, names)))


def test_a_solved_file_and_a_notebook_with_holes_are_graded(tmp_path, capsys):
    lesson = lessons()["three_kl"]
    writing.write(lesson, tmp_path, solved=True)
    writing.write(FIRST, tmp_path, notebooks=True)
    assert main(["check", "--json"]) == 1
    first, second = json.loads(capsys.readouterr().out)
    assert first["file"] == f"{FIRST.stem}.ipynb"
    assert [(row["name"], row["right"]) for row in first["exercises"]] == [("entropy", False), ("entropy_flow", False)]
    assert [(row["name"], row["right"]) for row in second["exercises"]] == [("kl", True), ("k3", True)]


def test_the_messages_are_printed_and_counted(tmp_path, capsys, monkeypatch):
    in_process(monkeypatch)
    writing.write(lessons()["three_kl"], tmp_path, solved=True)
    assert main(["check", "three_kl"]) == 0
    assert "right    kl is right on all 3 inputs." in capsys.readouterr().out
    writing.write(FIRST, tmp_path, notebooks=True)
    assert main(["check"]) == 1
    said = capsys.readouterr().out
    assert "not yet  entropy returns nothing yet: fill in the hole" in said
    assert "2 of 4 exercises are right" in said


def test_what_goes_wrong_in_a_file_is_told_with_its_line(tmp_path):
    file = tmp_path / f"{FIRST.stem}.py"
    file.write_text(
        "import torch\n\n"
        "def entropy(p):\n    print('noise')\n    return p[10 ** 6]\n\n"
        "def entropy_flow(p, reward):\n    return p.sum(3)\n"
    )
    first, second = grade_file(file).grades
    assert "it raises IndexError" in first.message
    assert f"{FIRST.stem}.py, line 5: return p[10 ** 6]" in first.message
    assert f"{FIRST.stem}.py, line 8: return p.sum(3)" in second.message


def test_what_stands_around_a_function_can_be_wrong_too(tmp_path, monkeypatch):
    source = "scale = undefined_name\n\ndef entropy(p):\n    return scale * p\n"
    first, second = grades({"a.py": source}, ["entropy", "entropy_flow"])
    assert "a.py, line 1 raises NameError: name 'undefined_name' is not defined" in first.message
    assert "entropy_flow is missing" in second.message
    [grade] = grades({"a.py": "x = 1"}, ["entropy"])
    assert "there is no function `entropy`: keep its name" in grade.message
    file = tmp_path / f"{FIRST.stem}.py"
    file.write_text("def entropy(p):\n    return (p\n")
    [grade, _] = grade_file(file).grades
    assert f"{FIRST.stem}.py, line 2 is not Python ('(' was never closed): return (p" in grade.message


def test_a_loop_without_an_end_and_a_dead_process_are_told(tmp_path):
    file = tmp_path / f"{FIRST.stem}.py"
    file.write_text("def entropy(p):\n    while True:\n        pass\n\ndef entropy_flow(p, reward):\n    return 1\n")
    first, second = grade_file(file, limit=3).grades
    assert "has not ended after 3 seconds: is there a loop without an end?" in first.message
    assert "was not reached, because of entropy" in second.message
    file.write_text("import os\n\ndef entropy(p):\n    os._exit(3)\n")
    assert "its process ended with code 3" in grade_file(file).grades[0].message


def test_a_file_of_another_name_is_graded_by_the_functions_in_it(tmp_path, monkeypatch):
    in_process(monkeypatch)
    file = tmp_path / "homework.py"
    file.write_text("def kl(p, q):\n    return (q * (q.log() - p.log())).sum()\n")
    [grade] = grade_file(file).grades
    assert grade.message.endswith("The weights are those of the first: p.")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check"], "no lesson in this folder; toybed course --to DIR writes the lessons"),
        (["check", "zero_loss"], "no 02_zero_loss.py or .ipynb in this folder"),
        (["check", "zero_los"], "unknown lesson 'zero_los': did you mean 'zero_loss'?"),
        (["check", "nothing.py"], "no file nothing.py"),
        (["check", "empty.py"], "empty.py holds no exercise of the course"),
        (["check", "broken.py"], "broken.py, line 1 is not Python"),
        (["check", "broken.ipynb"], "broken.ipynb is not a notebook"),
        (["course", "--notebooks"], "add where to: --to DIR"),
        (["course", "--to", "empty.py"], "cannot write into empty.py: it is not a folder"),
    ],
)
def test_a_wrong_request_is_one_line(arguments, message, tmp_path, capsys):
    (tmp_path / "empty.py").write_text("x = 1\n")
    (tmp_path / "broken.py").write_text("x = (\n")
    (tmp_path / "broken.ipynb").write_text("{}")
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert message in said.err
    assert said.err.count("\n") == 1


def test_both_forms_of_a_lesson_are_graded(tmp_path):
    writing.write(FIRST, tmp_path)
    writing.write(FIRST, tmp_path, notebooks=True)
    assert [file.suffix for file in files_of("01_why_entropy_falls", tmp_path)] == [".py", ".ipynb"]
