"""The runner: nothing is lost or done twice, and how runs are packed changes no bit of them."""

from __future__ import annotations

import importlib.util
import itertools
import sqlite3
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from toybed import runner, study
from toybed.agents.config import Setting, Spec, Supervised
from toybed.errors import ToybedError
from toybed.stats import Interval
from toybed.store import Store
from toybed.study import Outcome, Records, Run, Verdict, above, all_of, within


def _tiny() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tiny_study", Path(__file__).with_name("tiny_study.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


TINY = _tiny().STUDY
ARMS = len(TINY.arms("quick"))


class Counting:
    """A progress that keeps what it is told."""

    def __init__(self) -> None:
        self.begun: list[tuple[int, int, int]] = []
        self.updates = self.runs = 0
        self.seen: list[tuple[float, float]] = []

    def begin(self, runs: int, finished: int, updates: int) -> None:
        self.begun.append((runs, finished, updates))

    def advance(self, updates: int, reward: float, entropy: float) -> None:
        self.updates += updates
        self.seen.append((reward, entropy))

    def finish(self, runs: int) -> None:
        self.runs += runs


class Interrupting(Counting):
    """Ctrl-C in the middle of a stack, after some are finished."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self._after = after

    def advance(self, updates: int, reward: float, entropy: float) -> None:
        super().advance(updates, reward, entropy)
        if self.updates > self._after:
            raise KeyboardInterrupt


def contents(path: Path) -> list[list[Any]]:
    """All that determines and makes up the runs, byte for byte; not how and when they were made."""
    with closing(sqlite3.connect(path)) as db:
        return [
            db.execute(query).fetchall()
            for query in (
                "SELECT id, config, seed, parameters FROM bases ORDER BY id",
                "SELECT id, config, seed, diverged_at FROM runs ORDER BY id",
                'SELECT run, name, steps, "values" FROM curves ORDER BY run, name',
            )
        ]


def answer(path: Path, progress: Counting | None = None, **options: Any) -> dict[str, Any]:
    with Store(path) as store:
        return runner.answer(TINY, store, **{"size": "quick", "progress": progress or Counting(), **options})


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which the question was answered without an interruption, by one process."""
    path = tmp_path_factory.mktemp("whole") / "s.sqlite"
    answer(path)
    return path


# -- nothing twice, nothing lost ---------------------------------------------------------------------------------------
def test_the_store_has_every_run_with_its_base(whole: Path) -> None:
    bases, runs, curves = contents(whole)
    assert len(runs) == 2 * ARMS
    assert {row[0] for row in curves} == {row[0] for row in runs}
    # One base for each seed and each of: tabular with a base, MLP with a base, tabular without.
    assert len(bases) == 2 * 3
    assert {row[0] for row in runs} == {run.id for arm in TINY.runs("quick", 2, "cpu").values() for run in arm}


def test_progress_hears_of_every_run_and_update(tmp_path: Path) -> None:
    progress = Counting()
    answer(tmp_path / "s.sqlite", progress, seeds=1)
    assert progress.begun == [(ARMS, 0, ARMS * 6)]
    assert progress.updates == ARMS * 6
    assert progress.runs == ARMS
    assert all(0 <= reward <= 1 and 0 <= entropy <= np.log(6) + 1e-6 for reward, entropy in progress.seen)


def test_the_second_time_nothing_is_computed(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: Any) -> None:
        raise AssertionError("a run was computed")

    monkeypatch.setattr(runner, "compute", forbidden)
    progress = Counting()
    first = contents(whole)
    again = answer(whole, progress)
    assert progress.begun == [(2 * ARMS, 2 * ARMS, 0)]
    assert (progress.updates, progress.runs) == (0, 0)
    assert contents(whole) == first
    assert again["outcome"] in ("supported", "undecided", "refuted")


def test_more_seeds_make_only_the_new_runs(tmp_path: Path, whole: Path) -> None:
    path = tmp_path / "s.sqlite"
    answer(path, seeds=1)
    progress = Counting()
    answer(path, progress, seeds=2)
    assert progress.begun == [(2 * ARMS, ARMS, ARMS * 6)]
    assert progress.updates == ARMS * 6
    assert contents(path) == contents(whole)


@pytest.mark.parametrize("after", [0, 20, 50])
def test_an_interrupted_sweep_ends_as_one_that_was_not(tmp_path: Path, whole: Path, after: int) -> None:
    path = tmp_path / "s.sqlite"
    with pytest.raises(KeyboardInterrupt):
        answer(path, Interrupting(after))
    kept = {row[0] for row in contents(path)[1]}
    assert len(kept) < 2 * ARMS
    assert bool(kept) == (after > 0)
    progress = Counting()
    answer(path, progress)
    assert progress.begun == [(2 * ARMS, len(kept), (2 * ARMS - len(kept)) * 6)]
    assert contents(path) == contents(whole)


# -- packing changes nothing -------------------------------------------------------------------------------------------
def test_two_workers_make_the_same_bytes(tmp_path: Path, whole: Path) -> None:
    result = answer(tmp_path / "s.sqlite", workers=2)
    assert contents(tmp_path / "s.sqlite") == contents(whole)
    with Store(whole) as store:
        [kept] = store.verdicts()
    same = ("outcome", "estimate", "low", "high", "n", "sentence")
    assert [result[name] for name in same] == [kept[name] for name in same]


def test_every_run_alone_makes_the_same_bytes(tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "STACK_RESPONSES", 1)
    answer(tmp_path / "s.sqlite")
    assert contents(tmp_path / "s.sqlite") == contents(whole)


@pytest.mark.parametrize("responses", [1, 16, 48, 10_000])
@pytest.mark.parametrize("workers", [1, 2, 3, 7])
@pytest.mark.parametrize("seeds", [1, 2, 5])
def test_stacks_hold_each_run_once(responses: int, workers: int, seeds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "STACK_RESPONSES", responses)
    runs = [run for arm in TINY.runs("quick", seeds, "cpu").values() for run in arm]
    stacks = runner._stacks(runs, workers, None)
    packed = [run.id for stack in stacks for run in stack.runs()]
    assert sorted(packed) == sorted(run.id for run in runs)
    # 16 responses a run: never more than fit, but always one.
    assert all(1 <= len(stack.seeds) <= max(1, responses // 16) for stack in stacks)


# -- wrong input -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": 0}, "seeds is 0; allowed: at least 1"),
        ({"seeds": -2}, "seeds is -2; allowed: at least 1"),
        ({"workers": 0}, "workers is 0; allowed: at least 1"),
        ({"device": "tpu"}, "device is 'tpu'; allowed: cpu, cuda"),
        ({"size": "huge"}, "unknown size 'huge'"),
    ],
)
def test_a_wrong_argument_is_named_before_anything_is_made(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ToybedError) as caught:
        answer(tmp_path / "s.sqlite", **options)
    assert str(caught.value).startswith(message)
    assert contents(tmp_path / "s.sqlite") == [[], [], []]


def test_cuda_where_there_is_none_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ToybedError, match=r"device is 'cuda', but torch finds no CUDA device.*allowed.*cpu"):
        answer(tmp_path / "s.sqlite", device="cuda")


def test_a_wrong_objective_in_an_arm_is_named(tmp_path: Path) -> None:
    """The question is wrong here, not the user; the message must still name what is wrong."""
    bad = {"grpo": replace(TINY.arms("quick")["grpo"], objective=Spec("grop"))}
    with Store(tmp_path / "s.sqlite") as store, pytest.raises(ToybedError, match=r"'grop'.*'grpo'"):
        runner.answer(replace(TINY, arms=lambda size: bad), store, size="quick", progress=Counting())


def test_records_of_a_missing_run_are_refused(tmp_path: Path) -> None:
    with Store(tmp_path / "s.sqlite") as store, pytest.raises(ToybedError, match="no run"):
        runner.load_records(TINY, "quick", 1, "cpu", store)


# -- the name of a run -------------------------------------------------------------------------------------------------
BASE = Setting()
OTHERS: dict[str, Setting] = {
    "objective": replace(BASE, objective=Spec("rloo")),
    "its options": replace(BASE, objective=Spec("grpo", {"clip_high": 0.3})),
    "world": replace(BASE, world=Spec("answer_bandit")),
    "its knobs": replace(BASE, world=Spec("chain_reach", {"modulus": 31})),
    "policy": replace(BASE, policy=Spec("tabular")),
    "its size": replace(BASE, policy=Spec("mlp", {"width": 64})),
    "no base": replace(BASE, supervised=None),
    "base": replace(BASE, supervised=Supervised(steps=299, demonstrator={"noise": 0.35})),
    "demonstrator": replace(BASE, supervised=Supervised(demonstrator={"noise": 0.36})),
    **{
        name: BASE.with_learning(**{name: value})
        for name, value in {
            "updates": 151,
            "prompts": 64,
            "group": 4,
            "epochs": 2,
            "minibatches": 2,
            "learning_rate": 2e-3,
            "max_grad_norm": 0.5,
            "measure_every": 10,
        }.items()
    },
}


def test_every_part_of_a_run_is_in_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [Run(BASE, 0), Run(BASE, 1), Run(BASE, 0, "cuda"), *(Run(setting, 0) for setting in OTHERS.values())]
    names = [run.id for run in runs]
    monkeypatch.setattr(study, "code_version", lambda: "another version")
    names.append(Run(BASE, 0).id)
    assert len(set(names)) == len(names)
    assert set(BASE.with_learning().learning.__dataclass_fields__) <= set(OTHERS)  # no field of Learning is forgotten


def test_the_same_run_has_the_same_name() -> None:
    assert Run(Setting(), 3).id == Run(Setting(), 3).id
    one, two = ({"modulus": 31, "horizon": 4}, {"horizon": 4, "modulus": 31})
    assert (
        Run(replace(BASE, world=Spec("chain_reach", one)), 0).id
        == Run(replace(BASE, world=Spec("chain_reach", two)), 0).id
    )


def test_arms_that_differ_after_the_base_share_it() -> None:
    shared = {name for name, setting in OTHERS.items() if Run(setting, 0).base_id == Run(BASE, 0).base_id}
    differ = {"world", "its knobs", "policy", "its size", "no base", "base", "demonstrator"}
    assert shared == set(OTHERS) - differ
    assert Run(BASE, 0).base_id != Run(BASE, 1).base_id


CODE = '''
"""A module."""
import math

class Ball:
    """A ball."""

    radius: float = 1.0
    """In metres."""

    def area(self) -> float:
        """Its surface."""
        return 4 * math.pi * self.radius**2  # of a sphere
'''


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""A module."""', '"""Another text."""'),
        ('"""A module."""\n', ""),
        ('        """Its surface."""\n', ""),
        ('    """In metres."""\n', ""),
        ("  # of a sphere", ""),
        ("4 * math.pi * self.radius**2", "(4 * math.pi *\n            self.radius ** 2)"),
        ("\n    def area", "\n\n\n    # the area\n    def area"),
    ],
)
def test_words_and_layout_do_not_change_the_code_version(old: str, new: str) -> None:
    assert old in CODE
    assert study._without_docstrings(CODE.replace(old, new)) == study._without_docstrings(CODE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("4 *", "3 *"),
        ("radius: float = 1.0", "radius: float = 2.0"),
        ("def area", "def surface"),
        ("math.pi", "math.e"),
        ("**2", "**2.0"),
        ("        return 4", "        self.radius = 1\n        return 4"),
    ],
)
def test_code_changes_the_code_version(old: str, new: str) -> None:
    assert old in CODE
    assert study._without_docstrings(CODE.replace(old, new)) != study._without_docstrings(CODE)


def test_a_function_of_words_only_can_be_hashed() -> None:
    assert study._without_docstrings('def f():\n    """Nothing."""') == study._without_docstrings(
        'def f():\n    "None."'
    )


# -- judging -----------------------------------------------------------------------------------------------------------
def interval(low: float, high: float) -> Interval:
    return Interval((low + high) / 2, low, high, 5)


@pytest.mark.parametrize(
    ("low", "high", "outcome"),
    [
        (0.6, 0.9, "supported"),
        (0.1, 0.4, "refuted"),
        (0.4, 0.6, "undecided"),
        (0.5, 0.6, "undecided"),  # it has to lie above, not on it
        (0.4, 0.5, "undecided"),
        (np.nan, np.nan, "undecided"),
    ],
)
def test_above(low: float, high: float, outcome: Outcome) -> None:
    assert above(interval(low, high), 0.5) == outcome


@pytest.mark.parametrize(
    ("low", "high", "outcome"),
    [
        (0.95, 1.05, "supported"),
        (0.9, 1.1, "supported"),  # the band's ends belong to it
        (0.85, 1.0, "undecided"),
        (1.0, 1.2, "undecided"),
        (0.5, 2.0, "undecided"),
        (1.2, 1.3, "refuted"),
        (0.1, 0.8, "refuted"),
        (1.1, 1.3, "undecided"),
        (np.nan, np.nan, "undecided"),
    ],
)
def test_within(low: float, high: float, outcome: Outcome) -> None:
    assert within(interval(low, high), 0.9, 1.1) == outcome


def test_all_of_over_every_three_outcomes() -> None:
    outcomes: tuple[Outcome, ...] = ("supported", "refuted", "undecided")
    for three in itertools.product(outcomes, repeat=3):
        expected = "refuted" if "refuted" in three else "supported" if set(three) == {"supported"} else "undecided"
        assert all_of(three) == expected


def records(values: Sequence[Sequence[float]], diverged: int = 0) -> Records:
    reward = np.array(values)
    return Records({"reward_train": np.arange(reward.shape[1])}, {"reward_train": reward}, diverged)


def test_records_tell_which_runs_are_sound_and_name_a_missing_measure() -> None:
    found = records([[0.1, 0.2], [0.1, np.nan], [0.3, 0.4]], diverged=1)
    assert found.sound.tolist() == [True, False, True]
    with pytest.raises(ToybedError, match="unknown measure 'reward_trian': did you mean 'reward_train'"):
        found["reward_trian"]


def test_a_verdict_as_json_has_no_numbers_that_json_lacks() -> None:
    verdict = Verdict("c", "undecided", np.nan, -np.inf, 0.5, 0, "r", "s")
    assert verdict.as_dict() == {
        "claim": "c",
        "outcome": "undecided",
        "estimate": None,
        "low": None,
        "high": 0.5,
        "n": 0,
        "rule": "r",
        "sentence": "s",
    }


def test_a_diverged_run_is_counted_and_keeps_its_empty_places(tmp_path: Path, whole: Path) -> None:
    """A learning rate that no policy survives: the run is marked, stored, and the others go on."""
    wild = {"grpo": replace(TINY.arms("quick")["mlp"]).with_learning(learning_rate=1e38)}
    with Store(tmp_path / "s.sqlite") as store:
        runner.run_sweep([Run(wild["grpo"], 0)], store, workers=1, progress=Counting())
        found = runner.load_records(replace(TINY, arms=lambda size: wild), "quick", 1, "cpu", store)["grpo"]
    assert found.diverged == 1
    assert found.sound.tolist() == [False]
    assert np.isnan(found["reward_train"][0, -1])
    assert np.isfinite(found["reward_train"][0, 0])
