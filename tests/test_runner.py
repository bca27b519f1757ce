"""The runner: nothing is lost or done twice, and how runs are packed changes no bit of them."""

from __future__ import annotations

import ast
import importlib.util
import itertools
import sqlite3
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from toybed import answering, runner, stacking, study
from toybed.agents.config import Adaptation, Curriculum, Imitation, Meta, Setting, Spec, Start, Supervised
from toybed.errors import ToybedError
from toybed.searching import Search
from toybed.stats import Interval
from toybed.store import Store
from toybed.study import (
    Outcome,
    Records,
    Run,
    Tuning,
    Verdict,
    above,
    all_of,
    below,
    headline,
    number,
    tally,
    within,
)


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
HORIZON = 1  # of its world, in tokens


class Counting:
    """A progress that keeps what it is told."""

    def __init__(self) -> None:
        self.begun: list[tuple[int, int, int]] = []
        self.updates = self.runs = 0
        self.seen: list[tuple[float, float]] = []

    def begin(self, runs: int, finished: int, updates: int, phase: str) -> None:
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
        return answering.answer(TINY, store, **{"size": "quick", "progress": progress or Counting(), **options})


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
    monkeypatch.setattr(stacking, "STACK_TOKENS", 1)
    answer(tmp_path / "s.sqlite")
    assert contents(tmp_path / "s.sqlite") == contents(whole)


@pytest.mark.parametrize("fit", [0, 1, 3, 1000])
@pytest.mark.parametrize("workers", [1, 2, 3, 7])
@pytest.mark.parametrize("seeds", [1, 2, 5])
def test_stacks_hold_each_run_once(fit: int, workers: int, seeds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacking, "STACK_TOKENS", fit * 16 * HORIZON)
    runs = [run for arm in TINY.runs("quick", seeds, "cpu").values() for run in arm]
    runs += [replace(run, setting=run.setting.with_learning(learning_rate=0.01)) for run in runs]
    stacks = stacking.split(runs, workers)
    packed = [run.id for stack in stacks for run in stack]
    assert sorted(packed) == sorted(run.id for run in runs)
    # 16 responses a run: never more than fit, but always one.
    assert all(1 <= len(stack) <= max(1, fit) for stack in stacks)
    # Runs of one program differ in nothing but seed and learning rate.
    for stack in stacks:
        assert len({str(run.setting.with_learning(learning_rate=1.0)) for run in stack}) == 1


# -- runs that continue others -----------------------------------------------------------------------------------------
GRPO = TINY.arms("quick")["mlp"]
LATER = replace(GRPO, objective=Spec("rloo"), start=Start(after=GRPO))


def sweep(path: Path, settings: Sequence[Setting], seeds: int = 2, **options: Any) -> list[list[Any]]:
    """Run settings and give each one's results."""
    runs = [[Run(setting, seed) for seed in range(seeds)] for setting in settings]
    with Store(path) as store:
        every = [run for arm in runs for run in arm]
        runner.run_sweep(every, store, **{"workers": 1, "progress": Counting(), **options})
        return [[store.run(run.id) for run in arm] for arm in runs]


def first(result: Any, name: str = "entropy_train") -> float:
    return float(result.curves[name].values[0])


def last(result: Any, name: str = "entropy_train") -> float:
    return float(result.curves[name].values[-1])


@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_that_continues_another_begins_where_that_ended(tmp_path: Path, workers: int) -> None:
    """Also where only the later one is asked for, and where the earlier one is in the store without its end."""
    both = sweep(tmp_path / "both.sqlite", [GRPO, LATER], workers=workers)
    for before, after in zip(*both, strict=True):
        assert first(after) == last(before)
        assert last(after) != last(before)
        assert first(after, "reward_test") == last(before, "reward_test")
    [alone] = sweep(tmp_path / "alone.sqlite", [LATER], workers=workers)
    assert [last(run) for run in alone] == [last(run) for run in both[1]]
    sweep(tmp_path / "later.sqlite", [GRPO])
    [later] = sweep(tmp_path / "later.sqlite", [LATER])
    assert [last(run) for run in later] == [last(run) for run in both[1]]


def test_a_third_continues_a_second(tmp_path: Path) -> None:
    third = replace(LATER, start=Start(after=LATER))
    second, later = sweep(tmp_path / "s.sqlite", [LATER, third])
    assert [first(run) for run in later] == [last(run) for run in second]


def test_the_way_between_start_and_end(tmp_path: Path) -> None:
    """keep = 0 is the earlier run's start and keep = 1 its end; between them it is neither."""
    settings = [replace(GRPO, start=Start(after=GRPO, keep=keep)) for keep in (0.0, 0.5, 1.0)]
    before, none, half, whole = sweep(tmp_path / "s.sqlite", [GRPO, *settings])
    for b, n, h, w in zip(before, none, half, whole, strict=True):
        assert first(n) == first(b)
        assert first(w) == last(b)
        assert first(h) not in (first(n), first(w))


def test_a_temperature_flattens_the_start_and_only_that(tmp_path: Path) -> None:
    cold, same, hot = sweep(tmp_path / "s.sqlite", [replace(GRPO, start=Start(temperature=t)) for t in (0.5, 1.0, 2.0)])
    [plain] = sweep(tmp_path / "s.sqlite", [GRPO])
    assert [last(run) for run in same] == [last(run) for run in plain]
    for c, s, h in zip(cold, same, hot, strict=True):
        assert first(c) < first(s) < first(h)


def test_what_continues_a_diverged_run_is_diverged_from_its_start(tmp_path: Path) -> None:
    """Its parameters were finite when they froze: nobody is to go on from there as if nothing had happened."""
    lost = replace(GRPO, objective=Spec("dro")).with_learning(learning_rate=1e38, max_grad_norm=1e38)
    before, after = sweep(tmp_path / "s.sqlite", [lost, replace(GRPO, start=Start(after=lost))])
    for b, a in zip(before, after, strict=True):
        assert b.diverged_at is not None
        assert (a.diverged_at, a.cause) == (0, "its policy was not finite")
        assert np.isnan(a.curves["reward_train"].values).all()


def test_a_later_run_draws_other_numbers_than_the_one_before(tmp_path: Path) -> None:
    """With a learning rate of next to nothing both sample from one policy; equal draws would be equal rewards."""
    still = GRPO.with_learning(learning_rate=1e-30, measure_every=1)
    both = sweep(tmp_path / "s.sqlite", [still, replace(still, start=Start(after=still))])
    for before, after in zip(*both, strict=True):
        one, two = (run.curves["sampled_surprisal"].values for run in (before, after))
        assert not np.array_equal(one, two)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Start(after=replace(GRPO, start=Start(temperature=2.0)), keep=0.5),
            "of a run that started at another temperature; allowed there: 1",
        ),
        (lambda: Start(keep=0.5), "of a run that is not named"),
        (lambda: Start(after=GRPO, keep=1.5), "keep is 1.5; allowed: 0 to 1"),
        (lambda: Start(temperature=0.0), "temperature is 0.0; allowed: above 0"),
        (
            lambda: replace(GRPO, policy=Spec("tabular"), start=Start(after=GRPO)),
            "has its world, policy, heads and supervised",
        ),
    ],
)
def test_a_start_that_makes_no_sense_is_named(make: Any, message: str) -> None:
    with pytest.raises(ToybedError, match=message):
        make()


# -- subnetworks, and parameters for the judge -------------------------------------------------------------------------
FULL = GRPO.with_learning(learning_rate=1e-3)


def ends(path: Path, setting: Setting, seeds: int = 2) -> tuple[Any, Any]:
    """Parameters at the start and at the end of each run."""
    kept = replace(TINY, arms=lambda size: {"only": setting}, keeps=("only",))
    with Store(path) as store:
        runs = kept.runs("quick", seeds, "cpu")["only"]
        keep = {run.end_id for run in runs}
        runner.run_sweep(runs, store, workers=1, progress=Counting(), keep=keep)
        found = answering.load_records(kept, "quick", seeds, "cpu", store)["only"].parameters
    assert found is not None
    assert sum(found.sizes) == found.start.shape[1] == found.end.shape[1]
    return found.start, found.end


def bf16(weights: Any) -> Any:
    import torch

    return torch.tensor(weights).bfloat16().float().numpy()


def test_a_subnetwork_is_trained_from_where_the_run_that_found_it_started(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    start, end = ends(path, FULL)
    changed = bf16(start) != bf16(end)
    assert 0.05 < changed.mean() < 0.95
    for which, trained in (("changed", changed), ("unchanged", ~changed)):
        _, own = ends(path, replace(FULL, start=Start(after=FULL, trains=which)))
        assert (own == start)[~trained].all()
        assert (own != start)[trained].mean() > 0.9  # some entries have no gradient


def test_a_part_has_the_random_numbers_of_the_whole(tmp_path: Path) -> None:
    """With a learning rate of next to nothing both sample from one policy, so equal draws are equal rewards."""
    still = GRPO.with_learning(learning_rate=1e-30, measure_every=1)
    both = sweep(tmp_path / "s.sqlite", [still, replace(still, start=Start(after=still, trains="unchanged"))])
    for whole, part in zip(*both, strict=True):
        one, two = (run.curves["sampled_surprisal"].values for run in (whole, part))
        np.testing.assert_array_equal(one, two)


def test_a_replicate_has_the_base_and_not_the_random_numbers(tmp_path: Path) -> None:
    still = GRPO.with_learning(learning_rate=1e-30, measure_every=1)
    both = sweep(tmp_path / "s.sqlite", [still, still.with_learning(replicate=1)])
    for one, two in zip(*both, strict=True):
        assert first(one) == first(two)
        assert not np.array_equal(*(run.curves["sampled_surprisal"].values for run in (one, two)))


def test_nobody_trains_the_subnetwork_of_a_diverged_run(tmp_path: Path) -> None:
    lost = replace(GRPO, objective=Spec("dro")).with_learning(learning_rate=1e38, max_grad_norm=1e38)
    part = replace(GRPO, start=Start(after=lost, trains="changed"))
    for result in sweep(tmp_path / "s.sqlite", [part])[0]:
        assert (result.diverged_at, result.cause) == (0, "its policy was not finite")


def test_parameters_are_kept_where_the_question_asks_and_made_again_where_they_were_not(tmp_path: Path) -> None:
    def mlp_only(*keeps: str) -> Any:
        return replace(TINY, arms=lambda size: {name: TINY.arms(size)[name] for name in ("grpo", "mlp")}, keeps=keeps)

    with Store(tmp_path / "s.sqlite") as store:
        answering.answer(mlp_only(), store, size="quick", progress=Counting())
        assert all(r.parameters is None for r in answering.load_records(mlp_only(), "quick", 2, "cpu", store).values())
        with pytest.raises(ToybedError, match="lacks the parameters"):
            answering.load_records(mlp_only("mlp"), "quick", 2, "cpu", store)
        progress = Counting()
        answering.answer(mlp_only("mlp"), store, size="quick", progress=progress)
        assert progress.begun == [(4, 2, 2 * 6)]
        records = answering.load_records(mlp_only("mlp"), "quick", 2, "cpu", store)
        assert records["grpo"].parameters is None
        kept = records["mlp"].parameters
        assert kept is not None
        runs = mlp_only().runs("quick", 2, "cpu")["mlp"]
        bases = [store.base(run.base_id) for run in runs]
    np.testing.assert_array_equal(kept.start, bases)
    assert np.isfinite(kept.end).all()
    assert (kept.end != kept.start).any(1).all()
    again = Counting()
    with Store(tmp_path / "s.sqlite") as store:
        answering.answer(mlp_only("mlp"), store, size="quick", progress=again)
    assert again.updates == 0


# -- learning rates in one program, and their choice -------------------------------------------------------------------
@pytest.mark.parametrize("objective", ["grpo", "ppo_gae", "flowrl", "grpo_kl", "adaptive_entropy_trl"])
def test_runs_with_other_learning_rates_share_a_program_and_no_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, objective: str
) -> None:
    one = replace(GRPO, objective=Spec(objective))
    settings = [one.with_learning(learning_rate=rate) for rate in (0.003, 0.01, 0.03)]
    together = sweep(tmp_path / "together.sqlite", settings)
    monkeypatch.setattr(stacking, "STACK_TOKENS", 1)
    apart = sweep(tmp_path / "apart.sqlite", settings)
    ends = [[last(run) for run in arm] for arm in together]
    assert ends == [[last(run) for run in arm] for arm in apart]
    assert len({end for arm in ends for end in arm}) == 6


def tuning(rates: Sequence[float], score: str = "reward_train") -> Tuning:
    return Tuning(
        candidates=lambda size: {"tuned": {str(rate): GRPO.with_learning(learning_rate=rate) for rate in rates}},
        seeds={"quick": 2, "standard": 2, "full": 2},
        score=lambda records: records[score][:, -1],
        final=lambda size, arm, setting: setting.with_learning(updates=3, measure_every=1),
    )


def test_the_best_candidate_is_run_on_other_seeds(tmp_path: Path) -> None:
    study_ = replace(TINY, tuning=tuning([1e-9, 0.1]))
    with Store(tmp_path / "s.sqlite") as store:
        progress = Counting()
        result = answering.answer(study_, store, size="quick", progress=progress)
        assert result["tuned"] == {"tuned": "0.1"}
        assert [begun[0] for begun in progress.begun] == [4, 2 * (ARMS + 1)]
        records = answering.load_records(study_, "quick", 2, "cpu", store)["tuned"]
        assert records.steps["reward_train"].tolist() == [0, 1, 2, 3]
        won = study_.tuning.final("quick", "tuned", GRPO.with_learning(learning_rate=0.1))
        chosen = [Run(won, seed) for seed in (0, 1)]
        kept = [store.run(run.id).curves["reward_train"].values for run in chosen]
        np.testing.assert_array_equal(records["reward_train"], kept)
        again = Counting()
        assert answering.answer(study_, store, size="quick", progress=again)["tuned"] == result["tuned"]
        assert again.updates == 0


def test_a_candidate_that_diverges_loses_and_of_equals_the_first_wins() -> None:
    choice = tuning([1.0])
    good, lost = records([[0.1, 0.2]]), records([[0.1, np.nan]], diverged=1)
    assert choice.best({"lost": lost, "good": good}) == "good"
    assert choice.best({"one": good, "two": good}) == "one"
    half = records([[0.1, 0.9], [0.1, np.nan]], diverged=1)
    assert choice.best({"half": half, "good": good}) == "good"


def searching(generations: int) -> Search:
    """Halve or double a rate, whichever gives more reward: 0.001, then what won."""

    def ask(size: str, generation: int, rates: tuple[float, ...]) -> dict[str, dict[str, Setting]]:
        options = {word: rates[-1] * factor for word, factor in (("half", 0.5), ("twice", 2.0))}
        return {"here": {word: GRPO.with_learning(learning_rate=rate) for word, rate in options.items()}}

    def tell(
        generation: int, rates: tuple[float, ...], found: Mapping[str, Mapping[str, Records]]
    ) -> tuple[float, ...]:
        worth = {word: each["reward_train"][0, -1] for word, each in found["here"].items()}
        return (*rates, rates[-1] * (2.0 if worth["twice"] > worth["half"] else 0.5))

    return Search(
        begin=lambda size: (0.001,),
        ask=ask,
        tell=tell,
        final=lambda size, rates: {"found": GRPO.with_learning(learning_rate=rates[-1])},
        generations=dict.fromkeys(study.SIZES, generations),
        bases=dict.fromkeys(study.SIZES, 2),
    )


def test_a_search_is_made_of_runs_that_are_kept(tmp_path: Path) -> None:
    searched = replace(TINY, search=searching(3))
    with Store(tmp_path / "s.sqlite") as store:
        progress = Counting()
        first = answering.answer(searched, store, size="quick", progress=progress)
        assert [begun[0] for begun in progress.begun] == [2, 2, 2, 2 * (ARMS + 1)]
        found = answering.learned(searched, "quick", "cpu", store)["found"]
        assert np.log2(found.learning.learning_rate / 0.001) in (-3, -1, 1, 3)
        loaded = answering.load_records(searched, "quick", 2, "cpu", store)
        assert loaded["found"].setting == found
        again = Counting()
        second = answering.answer(searched, store, size="quick", progress=again)
        assert again.updates == 0
        assert (first["estimate"], first["parts"]) == (second["estimate"], second["parts"])


def test_a_search_that_was_stopped_goes_on_where_it_was(tmp_path: Path) -> None:
    searched = replace(TINY, search=searching(3))
    with Store(tmp_path / "s.sqlite") as store, Store(tmp_path / "whole.sqlite") as whole:
        # Two runs of six updates are a generation: the second one is not finished.
        with pytest.raises(KeyboardInterrupt):
            answering.answer(searched, store, size="quick", progress=Interrupting(after=15))
        progress = Counting()
        answering.answer(searched, store, size="quick", progress=progress)
        assert progress.begun[0][1] == 2
        answering.answer(searched, whole, size="quick", progress=Counting())
        ends = [answering.learned(searched, "quick", "cpu", each)["found"] for each in (store, whole)]
        assert ends[0] == ends[1]


def test_generations_take_turns_with_bases_and_draw_anew() -> None:
    runs = [searching(4).runs("quick", g, (0.001,), "cpu")["here"]["half"][0] for g in range(4)]
    assert [run.seed for run in runs] == [1000, 1001, 1000, 1001]
    assert len({run.id for run in runs}) == 4
    assert len({run.base_id for run in runs}) == 2


# -- wrong input -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": 0}, "seeds is 0; allowed: at least 1"),
        ({"seeds": -2}, "seeds is -2; allowed: at least 1"),
        ({"seeds": 1001}, "seeds is 1001; allowed: at least 1, at most 1000"),
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
        answering.answer(replace(TINY, arms=lambda size: bad), store, size="quick", progress=Counting())


def test_records_of_a_missing_run_are_refused(tmp_path: Path) -> None:
    with Store(tmp_path / "s.sqlite") as store, pytest.raises(ToybedError, match="no run"):
        answering.load_records(TINY, "quick", 1, "cpu", store)


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
            "schedule": (("planning", 2),),
            "optimizer": "sgd",
            "weights": "bf16",
            "train_on": (0.0, 0.5),
            "replicate": 1,
            "curriculum": Curriculum(),
        }.items()
    },
    "weight_decay": BASE.with_learning(optimizer="adamw", weight_decay=0.1),
    "start's weights": replace(BASE, start=Start(weights="bf16")),
    "imitation": replace(BASE, learner=Imitation()),
    "probes on the way": replace(BASE, probes_on_the_way=True),
    "what is trained": replace(BASE, start=Start(after=BASE, trains="changed")),
    "learner": replace(BASE, learner=Meta()),
    "method": replace(BASE, learner=Meta(method="fomaml")),
    "inner steps": replace(BASE, learner=Meta(adaptation=Adaptation(steps=2))),
    "measured adaptation": replace(BASE, adaptation=Adaptation()),
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


def _code(source: str) -> str:
    return ast.dump(study.without_docstrings(source))


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
    assert _code(CODE.replace(old, new)) == _code(CODE)


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
    assert _code(CODE.replace(old, new)) != _code(CODE)


def test_a_function_of_words_only_can_be_hashed() -> None:
    assert _code('def f():\n    """Nothing."""') == _code('def f():\n    "None."')


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
        (0.1, 0.4, "supported"),
        (0.6, 0.9, "refuted"),
        (0.4, 0.5, "undecided"),  # it has to lie below, not on it
        (0.4, 0.6, "undecided"),
        (np.nan, np.nan, "undecided"),
    ],
)
def test_below(low: float, high: float, outcome: Outcome) -> None:
    assert below(interval(low, high), 0.5) == outcome
    assert below(interval(low, high)._replace(n=2), 0.5) == "undecided"


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


def test_a_headline_shows_a_part_that_came_out_as_the_whole() -> None:
    good, bad, open_ = (
        Verdict("part", outcome, estimate, estimate - 1, estimate + 1, 5, "rule", "sentence")
        for outcome, estimate in (("supported", 9.0), ("refuted", -9.0), ("undecided", 0.0))
    )
    for parts, outcome, estimate in (
        ([good, good], "supported", 9.0),
        ([good, bad, open_], "refuted", -9.0),
        ([good, open_], "undecided", 0.0),
    ):
        whole = headline("claim", parts=parts, shown=good, rule="all", sentence="so", records={})
        assert (whole.outcome, whole.estimate, whole.claim) == (outcome, estimate, "claim")


def test_all_of_over_every_three_outcomes() -> None:
    outcomes: tuple[Outcome, ...] = ("supported", "refuted", "undecided")
    for three in itertools.product(outcomes, repeat=3):
        expected = "refuted" if "refuted" in three else "supported" if set(three) == {"supported"} else "undecided"
        assert all_of(three) == expected


def records(values: Sequence[Sequence[float]], diverged: int = 0) -> Records:
    reward = np.array(values)
    causes = ("its loss was not finite",) * diverged
    return Records({"reward_train": np.arange(reward.shape[1])}, {"reward_train": reward}, causes)


def test_records_tell_which_runs_are_sound_and_name_a_missing_measure() -> None:
    found = records([[0.1, 0.2], [0.1, np.nan], [0.3, 0.4]], diverged=1)
    assert found.diverged == 1
    assert found.sound.tolist() == [True, False, True]
    with pytest.raises(ToybedError, match="unknown measure 'reward_trian': did you mean 'reward_train'"):
        found["reward_trian"]


def test_a_measure_of_each_run_leaves_out_the_diverged() -> None:
    found = records([[0.1, 0.2], [9.0, np.nan], [0.3, 0.5]], diverged=1)
    other = np.array([[1.0], [2.0], [3.0]])
    got = found.per_run(lambda reward, x: reward[1] - reward[0] + x[0], found["reward_train"], other)
    np.testing.assert_allclose(got, [1.1, np.nan, 3.2])
    with pytest.raises(ValueError, match="shorter"):
        found.per_run(lambda *_: 0.0, other[:2])


def part(outcome: Outcome, estimate: float = 0.0) -> Verdict:
    return Verdict("part", outcome, estimate, estimate - 1, estimate + 1, 5, "its rule", "its sentence")


@pytest.mark.parametrize(
    ("diverged", "note"), [((0, 0), ""), ((0, 1), " 1 run diverged"), ((2, 1), " 3 runs diverged")]
)
def test_the_headline_is_of_the_parts_and_tells_who_diverged(diverged: tuple[int, int], note: str) -> None:
    arms = {str(i): records([[0.1]], count) for i, count in enumerate(diverged)}
    parts = [part("supported", 1.0), part("undecided", 2.0)]
    got = headline("claim", parts=parts, shown=parts[1], rule="rule", sentence="Found.", records=arms)
    assert got.sentence.startswith(f"Found.{note}")
    assert got == Verdict("claim", "undecided", 2.0, 1.0, 3.0, 5, "rule", got.sentence)
    assert (got.sentence == "Found.") == (note == "")


def test_parts_are_counted_in_words() -> None:
    assert tally([part("undecided"), part("supported"), part("supported")]) == "2 supported, 1 undecided"
    assert tally([part("refuted")]) == "1 refuted"


def test_a_number_that_no_run_has_is_not_known() -> None:
    assert [number(0.1234), number(0.1234, "+.3f"), number(1e-5, ".2g")] == ["0.12", "+0.123", "1e-05"]
    assert number(float("nan"), "+.3f") == "not known"


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
        found = answering.load_records(replace(TINY, arms=lambda size: wild), "quick", 1, "cpu", store)["grpo"]
    assert found.diverged == 1
    assert found.sound.tolist() == [False]
    assert np.isnan(found["reward_train"][0, -1])
    assert np.isfinite(found["reward_train"][0, 0])
