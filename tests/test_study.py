"""Worlds of their own: which setting each seed gets, and that its runs are made there."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from toybed import answering, cli, stacking, study
from toybed.agents.config import Setting, Start
from toybed.agents.training import train_bases, train_runs
from toybed.commands import listing
from toybed.store import Store
from toybed.study import FIRST_TUNING_SEED, Run, Tuning


def _tiny() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tiny_study_of_worlds", Path(__file__).with_name("tiny_study.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


ONE = _tiny().STUDY
OWN = replace(ONE, worlds=True)
SEEDS = 3
GRPO: Setting = ONE.arms("quick")["mlp"]


class Silent:
    """A progress that tells nobody."""

    def begin(self, runs: int, finished: int, updates: int, phase: str) -> None: ...

    def advance(self, updates: int, reward: float, entropy: float) -> None: ...

    def finish(self, runs: int) -> None: ...


def drawn_by(run: Run) -> Any:
    return run.setting.world.options.get("table_seed")


def made(path: Path, question: study.Study, **options: Any) -> tuple[dict[str, Any], Mapping[str, study.Records]]:
    """The answer and the records of a question, quick, with SEEDS seeds."""
    with Store(path) as store:
        result = answering.answer(question, store, size="quick", seeds=SEEDS, progress=Silent(), **options)
        return result, answering.load_records(question, "quick", SEEDS, "cpu", store)


# -- settings ----------------------------------------------------------------------------------------------------------
def test_each_seed_gets_the_world_that_it_draws_and_nothing_else_changes() -> None:
    own, one = OWN.runs("quick", SEEDS, "cpu"), ONE.runs("quick", SEEDS, "cpu")
    for arm, runs in own.items():
        assert [(run.seed, drawn_by(run)) for run in runs] == [(seed, seed) for seed in range(SEEDS)]
        for there, here in zip(runs, one[arm], strict=True):
            assert drawn_by(here) is None
            assert replace(there.setting, world=here.setting.world) == here.setting
            assert {**there.setting.world.options, "table_seed": None} == {
                **here.setting.world.options,
                "table_seed": None,
            }


def test_arms_are_paired_in_one_world_and_on_one_base() -> None:
    runs = OWN.runs("quick", SEEDS, "cpu")
    bases = [[run.base_id for run in runs[arm]] for arm in ("grpo", "rloo", "kl_cov")]
    assert bases[0] == bases[1] == bases[2]
    assert len(set(bases[0])) == SEEDS


def test_the_run_that_another_continues_is_in_the_same_world() -> None:
    later = replace(GRPO, start=Start(after=replace(GRPO, start=Start(after=GRPO))))
    question = replace(OWN, arms=lambda size: {"grpo": GRPO, "later": later})
    runs = question.runs("quick", SEEDS, "cpu")
    for first, run in zip(runs["grpo"], runs["later"], strict=True):
        assert run.before is not None
        assert run.before.before == first
        assert run.base_id == run.before.base_id == first.base_id


def test_settings_are_chosen_in_worlds_that_no_judged_run_has() -> None:
    tuning = Tuning(
        candidates=lambda size: {"tuned": {str(x): GRPO.with_learning(learning_rate=x) for x in (0.01, 0.1)}},
        seeds={"quick": 2},
        score=lambda records: records["reward_train"][:, -1],
        final=lambda size, arm, setting: setting,
    )
    trials = replace(OWN, tuning=tuning).trials("quick", "cpu")["tuned"]
    for runs in trials.values():
        assert [(run.seed, drawn_by(run)) for run in runs] == [
            (s, s) for s in (FIRST_TUNING_SEED, 1 + FIRST_TUNING_SEED)
        ]
    assert {
        drawn_by(run) for runs in replace(ONE, tuning=tuning).trials("quick", "cpu")["tuned"].values() for run in runs
    } == {None}
    assert ONE.trials("quick", "cpu") == {}


def test_the_chosen_setting_is_run_in_the_worlds_of_the_judged_seeds(tmp_path: Path) -> None:
    tuning = Tuning(
        candidates=lambda size: {"tuned": {str(x): GRPO.with_learning(learning_rate=x) for x in (1e-9, 0.1)}},
        seeds={"quick": 2},
        score=lambda records: records["reward_train"][:, -1],
        final=lambda size, arm, setting: setting,
    )
    question = replace(OWN, arms=lambda size: {"grpo": GRPO}, tuning=tuning)
    with Store(tmp_path / "s.sqlite") as store:
        answering.answer(question, store, size="quick", seeds=SEEDS, progress=Silent())
        [(label, setting)] = answering.tuned(question, "quick", "cpu", store).values()
        assert setting == GRPO.with_learning(learning_rate=float(label))  # of no world yet


# -- runs --------------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Mapping[str, study.Records]]:
    return made(tmp_path_factory.mktemp("own") / "s.sqlite", OWN)


def test_runs_of_an_arm_share_a_program_whatever_their_worlds() -> None:
    """So they do where no two are in one world; that they keep their bits is tested with populations."""
    runs = [run for arm in OWN.runs("quick", SEEDS, "cpu").values() for run in arm]
    for stack in stacking.split(runs, workers=1):
        assert len({drawn_by(run) for run in stack}) == SEEDS == len(stack)


@pytest.mark.parametrize("arm", ["grpo", "mlp", "no_base"])
def test_a_run_is_the_run_of_its_seed_in_its_world(
    own: tuple[dict[str, Any], Mapping[str, study.Records]], arm: str
) -> None:
    """Seed 0 draws the world that is there by default; the others' differ from what they would be in it."""
    _, records = own
    for seed in range(SEEDS):
        setting = ONE.arms("quick")[arm].in_world(seed)
        [alone] = train_runs(setting, [seed], train_bases(setting, [seed]))
        here = ONE.arms("quick")[arm]
        [in_one] = train_runs(here, [seed], train_bases(here, [seed]))
        for name, curve in alone.curves.items():
            np.testing.assert_array_equal(records[arm][name][seed], curve.values)
        same = [np.array_equal(in_one.curves[name].values, curve.values) for name, curve in alone.curves.items()]
        assert all(same) if seed == 0 else not all(same)


def test_two_workers_make_the_same(tmp_path: Path, own: tuple[dict[str, Any], Mapping[str, study.Records]]) -> None:
    _, records = made(tmp_path / "s.sqlite", OWN, workers=2)
    for arm, each in records.items():
        for name, values in each.curves.items():
            np.testing.assert_array_equal(values, own[1][arm][name])


def test_a_run_continues_the_one_of_its_world_and_its_parameters_are_kept(tmp_path: Path) -> None:
    settings = {
        "grpo": ONE.arms("quick")["grpo"],
        "mlp": GRPO,
        "later": replace(GRPO, start=Start(after=GRPO)),
        "part": replace(GRPO, start=Start(after=GRPO, trains="changed")),
    }
    question = replace(OWN, arms=lambda size: settings, keeps=("mlp", "later"))
    _, records = made(tmp_path / "s.sqlite", question)
    np.testing.assert_array_equal(records["later"]["reward_test"][:, 0], records["mlp"]["reward_test"][:, -1])
    np.testing.assert_array_equal(records["part"]["reward_test"][:, 0], records["mlp"]["reward_test"][:, 0])
    first, later = (records[arm].parameters for arm in ("mlp", "later"))
    assert first is not None
    assert later is not None
    np.testing.assert_array_equal(later.start, first.end)


# -- words -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("question", "worlds"), [(OWN, SEEDS), (ONE, 1)])
def test_an_answer_says_in_how_many_worlds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], question: study.Study, worlds: int
) -> None:
    result, _ = made(tmp_path / "s.sqlite", replace(question, arms=lambda size: {"grpo": ONE.arms(size)["grpo"]}))
    assert result["worlds"] == worlds
    listing.print_answer(result)
    assert ("each in a world of its own" in " ".join(capsys.readouterr().out.split())) == (worlds > 1)


def test_lists_and_entries_say_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for question, told in ((OWN, "one a seed"), (ONE, "one")):
        monkeypatch.setitem(study._STUDIES, "tiny", question)
        [row] = [row for row in listing._questions() if row["name"] == "tiny"]
        assert row["worlds"] == told
        cli.main(["show", "tiny"])
        assert ("each in a world of its own" in " ".join(capsys.readouterr().out.split())) == (question is OWN)


# -- what is asked -----------------------------------------------------------------------------------------------------
def _longer(size: str) -> dict[str, Setting]:
    return {arm: setting.with_learning(updates=99) for arm, setting in ONE.arms(size).items()}


CHOSEN = replace(
    ONE,
    tuning=Tuning(
        lambda size: {"grpo": {"0.1": GRPO}},
        {"quick": 1, "standard": 1, "full": 1},
        lambda records: records.at("reward_train", -1),
        lambda size, arm, setting: setting,
    ),
)


@pytest.mark.parametrize(
    ("one", "other", "part"),
    [
        (ONE, replace(ONE, claim="Another."), "claim"),
        (ONE, replace(ONE, rule="supported above 1"), "rule"),
        (ONE, replace(ONE, amendments=("The rule said less.",)), "rule"),
        (ONE, replace(ONE, arms=_longer), "arms"),
        (ONE, OWN, "arms"),
        (ONE, CHOSEN, "arms"),
        (CHOSEN, replace(CHOSEN, tuning=replace(CHOSEN.tuning, seeds={"quick": 2})), "arms"),
        (CHOSEN, replace(CHOSEN, tuning=replace(CHOSEN.tuning, candidates=lambda size: {})), "arms"),
        (CHOSEN, replace(CHOSEN, tuning=replace(CHOSEN.tuning, final=lambda *_: ONE.arms("full")["grpo"])), "arms"),
    ],
)
def test_a_change_of_what_is_asked_is_seen_in_the_fingerprint(one: study.Study, other: study.Study, part: str) -> None:
    before, after = one.asked("quick"), other.asked("quick")
    assert [name for name in before if before[name] != after[name]] == [part]
    assert one.fingerprint("quick") != other.fingerprint("quick")


def test_the_fingerprint_knows_size_and_seeds_but_not_who_judges_and_draws() -> None:
    assert ONE.fingerprint("quick") != ONE.fingerprint("standard")
    assert replace(ONE, seeds={"quick": 9}).fingerprint("quick") != ONE.fingerprint("quick")
    same = replace(ONE, judge=lambda records: ONE.judge(records), caption="Other words.")
    assert same.fingerprint("quick") == ONE.fingerprint("quick")


def test_every_question_has_a_fingerprint_of_its_own_at_each_size_and_always_the_same() -> None:
    found = [question.fingerprint(size) for question in study.studies().values() for size in study.SIZES]
    assert len(set(found)) == len(found)
    assert found == [question.fingerprint(size) for question in study.studies().values() for size in study.SIZES]
