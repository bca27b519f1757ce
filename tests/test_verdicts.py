"""The README's verdicts are those of the record, and the record is of the questions as they stand."""

from __future__ import annotations

import runpy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

import toybed
from toybed import study, verdict_table
from toybed.agents.config import Setting
from toybed.errors import ToybedError
from toybed.searching import Search
from toybed.study import Study, Tuning
from toybed.verdict_table import MARKS, SIZE, VerdictTable, read, table, updated, with_table

ROOT = Path(__file__).parents[1]
RECORD = read(ROOT / "benchmarks" / "verdicts.json")
STUDY: Study = runpy.run_path(str(Path(__file__).with_name("tiny_study.py")))["STUDY"]
TINY = replace(STUDY, seeds={**STUDY.seeds, SIZE: 1}, arms=lambda size: {"grpo": first_arm()})


def fingerprint(question: Study) -> str:
    return question.fingerprint(SIZE)


def first_arm(**learning: object) -> Setting:
    return STUDY.arms("quick")["grpo"].with_learning(**learning)


# -- the record and the README -----------------------------------------------------------------------------------------
def test_every_question_is_in_the_record() -> None:
    missing = sorted(set(study.studies()) - set(RECORD))
    assert not missing, f"run `toybed run NAME` for each of these, and `python -m toybed.verdict_table`: {missing}"
    assert list(RECORD) == list(study.studies())


@pytest.mark.parametrize("name", RECORD)
def test_a_verdict_is_of_the_question_as_it_stands(name: str) -> None:
    current = RECORD[name]["fingerprint"] == fingerprint(study.get(name))
    assert current, f"{name} was changed: run `toybed run {name}` and `python -m toybed.verdict_table`"


def test_the_table_of_the_readme_is_that_of_the_record() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert with_table(text, RECORD) == text, "run `python -m toybed.verdict_table`"


# -- what a fingerprint tells apart ------------------------------------------------------------------------------------
def tuned(**changes: object) -> Study:
    tuning = Tuning(
        candidates=lambda size: {"tuned": {"slow": first_arm(learning_rate=0.01), "fast": first_arm()}},
        seeds={SIZE: 1},
        score=lambda records: records["reward_train"][:, -1],
        final=lambda size, arm, setting: setting.with_learning(updates=7),
    )
    return replace(TINY, tuning=replace(tuning, **changes))


def searched(**changes: object) -> Study:
    search = Search(
        begin=lambda size: 0.01,
        ask=lambda size, generation, state: {"here": {"one": first_arm(learning_rate=state)}},
        tell=lambda generation, state, found: state,
        final=lambda size, state: {"learned": first_arm(learning_rate=state)},
        generations={SIZE: 2},
        bases={SIZE: 1},
    )
    return replace(TINY, search=replace(search, **changes))


CHANGED = {
    "question": (TINY, replace(TINY, question="Another?")),
    "claim": (TINY, replace(TINY, claim="Another.")),
    "rule": (TINY, replace(TINY, rule="supported above 1, refuted below")),
    "amendments": (TINY, replace(TINY, amendments=("The threshold was 2.",))),
    "an arm": (TINY, replace(TINY, arms=lambda size: {"grpo": first_arm(learning_rate=0.051)})),
    "an arm's name": (TINY, replace(TINY, arms=lambda size: {"rloo": first_arm()})),
    "one arm more": (TINY, replace(TINY, arms=lambda size: {"grpo": first_arm(), "too": first_arm()})),
    "seeds": (TINY, replace(TINY, seeds={**TINY.seeds, SIZE: 9})),
    "worlds": (TINY, replace(TINY, worlds=True)),
    "tuning": (TINY, tuned()),
    "a candidate": (tuned(), tuned(candidates=lambda size: {"tuned": {"slow": first_arm(learning_rate=0.02)}})),
    "what it becomes": (tuned(), tuned(final=lambda size, arm, setting: setting.with_learning(updates=8))),
    "tuning seeds": (tuned(), tuned(seeds={SIZE: 2})),
    "generations": (searched(), searched(generations={SIZE: 3})),
    "its begin": (searched(), searched(begin=lambda size: 0.02)),
}


@pytest.mark.parametrize("what", CHANGED)
def test_a_change_of_the_question_changes_its_fingerprint(what: str) -> None:
    before, after = CHANGED[what]
    assert fingerprint(before) != fingerprint(after)


def test_what_decides_no_answer_of_that_size_changes_nothing() -> None:
    other = replace(TINY, caption="Another.", source="elsewhere", seeds={**TINY.seeds, "full": 99})
    assert fingerprint(other) == fingerprint(TINY)
    last_digit = replace(TINY, arms=lambda size: {"grpo": first_arm(learning_rate=0.05 * (1 + 1e-15))})
    assert fingerprint(last_digit) == fingerprint(TINY)


# -- from a store ------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the answer to the tiny question."""
    path = tmp_path_factory.mktemp("kept") / "kept.sqlite"
    toybed.ask(TINY, size=SIZE, store=path)
    return path


@pytest.fixture
def checkout(tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch) -> VerdictTable:
    """The command in a folder with a README, where the tiny question is the only one."""
    monkeypatch.setattr(verdict_table, "study", SimpleNamespace(studies=lambda: {"tiny": TINY}))
    readme = tmp_path / "README.md"
    readme.write_text("before\n" + MARKS[0] + "an old table\n" + MARKS[1] + "after\n", encoding="utf-8")
    return VerdictTable(store=kept, record=tmp_path / "verdicts.json", readme=readme)


def test_answers_become_a_record_and_a_table(checkout: VerdictTable) -> None:
    checkout()
    rows = read(checkout.record)
    text = checkout.readme.read_text(encoding="utf-8")
    assert text == "before\n" + MARKS[0] + table(rows) + MARKS[1] + "after\n"
    one = rows["tiny"]
    assert (one["outcome"], one["n"], one["seeds"], one["worlds"]) == ("undecided", 1, 1, 1)  # one run decides nothing
    assert one["code"] == study.code_version()
    assert one["shown"] == {"claim": "GRPO's reward rises.", "rule": "supported above 0, refuted below"}
    shown = f"GRPO's reward rises: {one['estimate']:.3f} [{one['low']:.3f}, {one['high']:.3f}]"
    line = f"| `toybed run tiny` | Does reward rise in a tiny world? | **undecided** | {shown} | 1 |"
    assert line in text.splitlines()
    assert "Of 1 claims, at standard size: 0 supported, 0 refuted, 1 undecided." in text.splitlines()
    checkout()
    assert checkout.readme.read_text(encoding="utf-8") == text


def test_a_store_that_lacks_answers_is_refused_and_nothing_is_written(
    checkout: VerdictTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = {name: replace(TINY, name=name) for name in ("one", "tiny", "two")}
    monkeypatch.setattr(verdict_table, "study", SimpleNamespace(studies=lambda: every))
    before = checkout.readme.read_text(encoding="utf-8")
    with pytest.raises(ToybedError, match=r"no answer of standard size to .*: one, two; `toybed run NAME` makes one"):
        checkout()
    assert checkout.readme.read_text(encoding="utf-8") == before
    assert not checkout.record.exists()


@pytest.mark.parametrize(
    "changed",
    [
        replace(TINY, claim="Another."),
        replace(TINY, rule="supported above 1, refuted below"),
        replace(TINY, seeds={**TINY.seeds, SIZE: 2}),
        replace(TINY, arms=lambda size: {"grpo": first_arm(learning_rate=0.051)}),
        replace(TINY, worlds=True),
        tuned(),
        searched(),
    ],
    ids=["claim", "rule", "seeds", "arm", "worlds", "tuning", "search"],
)
def test_an_answer_to_the_question_as_it_was_is_none(changed: Study, kept: Path) -> None:
    with pytest.raises(ToybedError, match="as they stand now: tiny;"):
        updated({}, kept, [changed])


def test_an_answer_of_another_size_is_none(tmp_path: Path) -> None:
    path = tmp_path / "quick.sqlite"
    toybed.ask(TINY, size="quick", seeds=1, store=path)
    with pytest.raises(ToybedError, match="as they stand now: tiny;"):
        updated({}, path, [TINY])


def test_a_question_without_an_answer_keeps_its_row_unless_it_was_changed(kept: Path) -> None:
    other = replace(TINY, name="other")
    row = {"fingerprint": fingerprint(other), "outcome": "refuted"}
    rows = updated({"other": row, "gone": row}, kept, [other, TINY])
    assert list(rows) == ["other", "tiny"]
    assert rows["other"] == row
    with pytest.raises(ToybedError, match="as they stand now: other;"):
        updated({"other": row}, kept, [replace(other, amendments=("The threshold was 2.",)), TINY])


def test_a_table_says_what_an_interval_is_over_and_what_is_not_known() -> None:
    row = {**next(iter(RECORD.values())), "question": "a | b?", "shown": {"claim": "It is so."}, "worlds": 6, "n": 5}
    text = table({"some": {**row, "estimate": None, "low": None, "high": None}})
    assert text.splitlines()[-1].endswith("| It is so: - | 5 worlds |")
    assert r"| a \| b? |" in text


@pytest.mark.parametrize(
    "text",
    ["no marks", MARKS[0] + "one", MARKS[1] + MARKS[0], 2 * (MARKS[0] + MARKS[1]), MARKS[0] + MARKS[0] + MARKS[1]],
)
def test_a_text_without_one_place_for_the_table_is_refused(text: str) -> None:
    with pytest.raises(ToybedError, match="once each and in this order"):
        with_table(text, {})


@pytest.mark.parametrize("what", ["store", "readme"])
def test_a_file_that_does_not_exist_is_named(checkout: VerdictTable, what: str, tmp_path: Path) -> None:
    with pytest.raises(ToybedError, match=r"nowhere does not exist; "):
        replace(checkout, **{what: tmp_path / "nowhere"})()
    assert not (tmp_path / "nowhere").exists()


def test_the_command_tells_an_error_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["verdict_table", "--store", "none.sqlite"])
    assert verdict_table.main() == 2
    told = capsys.readouterr().err
    assert told.startswith("toybed: none.sqlite does not exist") and told.count("\n") == 1
