"""``toybed compare``: paired, at equal rollouts, from the same bases; kept, drawn, and told in words."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from toybed import comparing, live, plotting, study
from toybed.agents.config import Learning, Setting, Spec
from toybed.agents.recipes import RECIPES, recipe, world_named
from toybed.cli import main
from toybed.commands import comparing_text
from toybed.comparing import MEASURES, Comparison, at_equal_rollouts, compare, differences
from toybed.envs import WORLDS
from toybed.errors import ToybedError
from toybed.stats import mean_interval
from toybed.store import Store
from toybed.study import Records, Run

SMALL = {"on": "answer_bandit", "seeds": 3, "updates": 4}
RANDOM = np.random.default_rng(0)
STEPS = np.array([0, 10, 20])


def made(reward, entropy=None, responses=None, **learning) -> Records:
    """Records of runs that nobody made: ``reward [n, 3]`` at updates 0, 10, 20."""
    reward = np.asarray(reward, dtype=float)
    curves = {
        "reward_train": reward,
        "reward_test": reward,
        "entropy_test": reward + 1 if entropy is None else np.asarray(entropy, dtype=float),
    }
    steps = dict.fromkeys(curves, STEPS)
    if responses is not None:
        curves["sampled_responses"] = np.asarray(responses, dtype=float)
        steps["sampled_responses"] = STEPS[1:]
    causes = ("a cause",) * int((~np.isfinite(reward)).any(1).sum())
    return Records(steps, curves, causes, Setting(learning=Learning(updates=20, prompts=4, group=8, **learning)))


# -- at equal rollouts -------------------------------------------------------------------------------------------------
def test_without_dynamic_sampling_the_end_is_the_end() -> None:
    reward = RANDOM.random((4, 3))
    ends, rollouts, updates = at_equal_rollouts({"a": made(reward), "b": made(1 - reward)})
    assert rollouts == 20 * 4 * 8
    assert updates == {"a": 20, "b": 20}
    np.testing.assert_array_equal(ends["a"]["reward_test"], reward[:, -1])
    np.testing.assert_array_equal(ends["b"]["entropy_test"], 2 - reward[:, -1])


def test_who_samples_twice_as_much_is_looked_at_in_the_middle() -> None:
    reward = np.array([[0.0, 0.4, 1.0]] * 3)
    twice = made(reward, responses=np.full((3, 2), 16.0))
    ends, rollouts, updates = at_equal_rollouts({"a": made(reward, responses=np.full((3, 2), 8.0)), "b": twice})
    assert rollouts == 640
    assert updates == {"a": 20, "b": 10}  # 640 responses of 16 to each of 4 prompts
    np.testing.assert_allclose(ends["a"]["reward_test"], 1.0)
    np.testing.assert_allclose(ends["b"]["reward_test"], 0.4)


def test_a_run_that_diverged_has_no_end_and_stops_nobody() -> None:
    reward = RANDOM.random((4, 3))
    lost = reward.copy()
    lost[1, 1:] = np.nan
    responses = np.full((4, 2), 8.0)
    responses[1] = np.nan
    ends, rollouts, _ = at_equal_rollouts({"a": made(reward), "b": made(lost, responses=responses)})
    assert rollouts == 640
    assert np.isnan(ends["b"]["reward_test"]).tolist() == [False, True, False, False]
    found = {d.measure: d for d in differences(ends)}
    assert found["reward_test"].n == 3


# -- what is told ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("gain", "told"),
    [
        ([0.1, 0.11, 0.09], "higher"),
        ([-0.1, -0.11, -0.09], "lower"),
        ([0.1, -0.1, 0.02], "not told apart"),
        ([0.0, 0.0, 0.0], "not told apart"),
        ([0.1, 0.1], "not told apart"),  # two runs decide nothing
    ],
)
def test_a_difference_is_paired_and_told_by_its_interval(gain: list[float], told: str) -> None:
    base = 10 * RANDOM.random(len(gain))  # what the seeds share is far larger than what differs
    ends = {"a": dict.fromkeys(MEASURES, base), "b": dict.fromkeys(MEASURES, base + np.array(gain))}
    for d in differences(ends):
        assert (d.objective, d.against, d.told) == ("b", "a", told)
        np.testing.assert_allclose([d.estimate, d.low, d.high], mean_interval(gain)[:3], atol=1e-12)


def synthetic(records: dict[str, Records]) -> Comparison:
    ends, rollouts, updates = at_equal_rollouts(records)
    return Comparison("chain_reach", True, records, ends, differences(ends), rollouts, updates, 1.0, None)


def test_the_picture_is_drawn_whatever_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    reward = RANDOM.random((3, 3))
    nothing = np.full((3, 3), np.nan)
    for records in (
        {"grpo": made(reward), "kl_cov": made(reward + 0.1)},
        {"grpo": made(reward[:1]), "kl_cov": made(reward[:1]), "rloo": made(reward[:1])},
        {"grpo": made(reward), "kl_cov": made(nothing)},
        {f"objective_{i}": made(reward + i) for i in range(10)},
    ):
        found = synthetic(records)
        assert "<svg" in plotting.svg(found.figure())
        comparing_text._print(found, Path("x.png"))
        assert json.dumps(found.as_dict(), allow_nan=False)
    said = capsys.readouterr().out
    assert "Diverged and left out: 3 of kl_cov" in said
    assert "have no pair of runs" in said
    assert "from 1 pair of runs, too few to decide; take --seeds 3" in said


# -- what is run -------------------------------------------------------------------------------------------------------
def test_the_arms_differ_in_objective_and_rate_alone() -> None:
    settings = comparing._settings(("grpo", Spec("grpo", {"clip_high": 0.28})), "ChainReach", 30, [0.001, 0.002])
    first, second = settings.values()
    assert list(settings) == ["grpo", "grpo clip_high=0.28"]
    assert second.learning.learning_rate == 0.002
    assert replace(second, objective=first.objective).with_learning(learning_rate=0.001) == first
    assert first.base_config() == second.base_config()


def test_a_comparison_has_its_runs_in_common_with_the_standard_question() -> None:
    asked = study.get("entropy_law").runs("standard", 6, "cpu")
    for arm, setting in comparing._settings(("grpo", "rloo"), "chain_reach", None, None).items():
        assert [Run(setting, seed).id for seed in range(6)] == [run.id for run in asked[arm]]


def test_a_comparison_is_kept_and_is_the_same_when_asked_again(tmp_path: Path) -> None:
    store = tmp_path / "s.sqlite"
    first = compare("grpo", "kl_cov", store=store, **SMALL)
    with Store(store) as kept:
        assert len(kept.finished()) == 6
    again = compare("grpo", "kl_cov", "rloo", store=store, **SMALL)
    with Store(store) as kept:
        assert len(kept.finished()) == 9
    assert again.differences[:2] == first.differences
    assert compare("grpo", "kl_cov", **SMALL).differences == first.differences  # nothing kept, the same numbers
    assert first.results().array("reward_test").shape == (6, 5)
    assert first.results().about[4] == {"objective": "kl_cov", "seed": 1}
    # From one base: they differ from the first update on, and not before.
    assert np.array_equal(first.records["grpo"]["reward_test"][:, 0], first.records["kl_cov"]["reward_test"][:, 0])


def test_who_watches_hears_of_every_update_of_every_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the runner, and as far as the file that another terminal reads."""
    monkeypatch.setattr(live, "EVERY", 0.0)
    store, heard, titles = tmp_path / "s.sqlite", Counter[str](), set()
    with live.Live(store, "a comparison") as seen:

        def watch(runs: Sequence[Run], update: int, reward: float, entropy: float) -> None:
            seen(runs, update, reward, entropy)
            heard.update({run.id: 1 for run in runs})
            [now] = live.read(store)
            titles.add(now.title)
            assert now.stacks[-1].points[-1] == (update, reward, entropy)

        compare("grpo", "rloo", store=store, watch=watch, **SMALL)
    assert titles == {"a comparison"}
    assert sorted(heard.values()) == [SMALL["updates"]] * 6
    assert not live.live_file(store, os.getpid()).exists()


def test_dynamic_sampling_is_charged_for_what_it_samples() -> None:
    found = compare("grpo", "dapo", on="answer_bandit", seeds=3, updates=10)
    assert found.rollouts == 10 * 32 * 8
    assert found.updates["grpo"] == 10
    assert found.updates["dapo"] < 10


def test_every_world_has_a_recipe_that_runs() -> None:
    assert set(RECIPES) == set(WORLDS)
    for world in WORLDS.values():
        assert world_named(world.gym_id) == world_named(world.gym_id.split("/")[1].split("-")[0]) == world.name
        assert recipe(Spec(world.name)).world.name == world.name
    assert world_named("grid:World") == "grid:World"
    assert recipe(Spec("mi_dialogue", {"level": "option"})).world.options["level"] == "option"
    own = recipe(Spec("toybed.examples.own_world:Spell"))
    assert own.supervised is None


# -- the command -------------------------------------------------------------------------------------------------------
COMMAND = ("compare", "grpo", "rloo", "--on", "AnswerBandit", "--seeds", "3", "--updates", "3", "--workers", "1")


def test_the_command_answers_and_draws(tmp_path, monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(COMMAND) == 0
    out = capsys.readouterr().out
    assert "rloo against grpo on answer_bandit" in out
    assert "rloo minus grpo is" in out
    assert "figure: compare.png" in out
    assert Path("compare.png").read_bytes().startswith(b"\x89PNG")
    assert main([*COMMAND, "--figure", "mine.svg"]) == 0
    assert "<svg" in Path("mine.svg").read_text(encoding="utf-8")
    assert {p.name for p in tmp_path.iterdir()} == {"compare.png", "mine.svg", "toybed.sqlite"}


def test_the_command_as_json(tmp_path, monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*COMMAND, "--json", "--rate", "0.05", "0.1"]) == 0
    out, err = capsys.readouterr()
    answer = json.loads(out)
    assert err == ""
    assert {name: each["learning_rate"] for name, each in answer["objectives"].items()} == {"grpo": 0.05, "rloo": 0.1}
    assert {d["measure"] for d in answer["differences"]} == set(MEASURES)
    assert answer["rollouts"] == 3 * 32 * 8
    assert answer["figure"] is None
    assert not Path("compare.png").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["grpo"], "1 objective to compare; allowed: two or more"),
        (["grpo", "grpo"], "'grpo' stands there twice"),
        (["grpo", "kl_kov"], "unknown objective 'kl_kov': did you mean 'kl_cov'?"),
        (["grpo", "rloo", "--on", "ChainReech"], "unknown world 'ChainReech'"),
        (["grpo", "rloo", "--seeds", "0"], "seeds is 0"),
        (["grpo", "rloo", "--workers", "0"], "workers 0"),
        (["grpo", "rloo", "--updates", "-1"], "updates is -1"),
        (["grpo", "rloo", "--rate", "0.1", "0.2", "0.3"], "3 learning rates for 2 objectives"),
        (["grpo", "rloo", "--rate", "-0.1"], "learning_rate is -0.1"),
        (["grpo", "hicra", "--on", "answer_bandit"], "hicra needs planning tokens"),
        (["grpo", "rloo", "--figure", "no/such.png"], "no folder no"),
        (["grpo", "rloo", "--figure", "x.xyz"], "allowed are files that end in"),
        (["grpo", "nowhere_at_all:x"], "no module 'nowhere_at_all'"),
        (["grpo", "rloo", "--device", "tpu"], "allowed: cpu, cuda"),
    ],
    ids=lambda x: " ".join(x) if isinstance(x, list) else "",
)
def test_a_wrong_input_is_one_line(tmp_path, monkeypatch, capsys, arguments: list[str], said: str) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["compare", "--workers", "1", "--updates", "1", "--seeds", "1", *arguments]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert said in err


def test_two_are_needed_in_python_too() -> None:
    with pytest.raises(ToybedError, match="0 objective"):
        compare()
