"""toybed from Python: ten names, light to import; results as arrays and frames; what a user brings, by example."""

from __future__ import annotations

import ast
import runpy
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import toybed
from toybed.agents.results import Curve, Results, RunResult
from toybed.errors import ToybedError
from toybed.store import Store

EXAMPLES = sorted(path for path in Path(toybed.__file__).parent.glob("examples/*.py") if path.stem != "__init__")


# -- ten names ---------------------------------------------------------------------------------------------------------
def test_there_are_ten_names_and_each_is_there() -> None:
    names = [name for name in dir(toybed) if not name.startswith("__")]
    assert sorted(names) == sorted(toybed.__all__)
    assert len(names) == 10
    assert {"train", "compare", "load", "objectives", "envs"} <= set(names)
    for name in names:
        assert getattr(toybed, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = toybed.trian


def test_importing_it_imports_nothing_heavy() -> None:
    script = (
        "import sys, toybed\n"
        "from toybed import objectives, stats\n"
        "objectives.names()\n"
        "print(*sorted({'torch', 'scipy', 'matplotlib', 'gymnasium', 'pandas', 'rich', 'tyro'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "", done.stderr


# -- results -----------------------------------------------------------------------------------------------------------
def made() -> Results:
    steps = np.array([0, 10])
    runs = [
        RunResult({"a": Curve(steps, np.array([x, x + 1])), "end": Curve(steps[1:], np.array([x]))}, None)
        for x in (1.0, 2.0)
    ]
    return Results(runs, [{"seed": 7}, {"seed": 8}])


def test_results_are_a_list_and_arrays() -> None:
    results = made()
    assert len(results) == 2
    assert results.names == ("a", "end")
    assert results.steps("a").tolist() == [0, 10]
    assert results.array("a").tolist() == [[1, 2], [2, 3]]
    with pytest.raises(ToybedError, match="unknown measure 'b'"):
        results.array("b")
    other = RunResult({"a": Curve(np.array([0, 9]), np.zeros(2))}, None)
    with pytest.raises(ToybedError, match="measured at different updates"):
        Results([*results, other]).array("a")
    with pytest.raises(ToybedError, match="there is no run"):
        Results([]).array("a")


def test_results_as_a_frame() -> None:
    pandas = pytest.importorskip("pandas", reason="a data frame needs pandas")
    frame = made().frame()
    assert list(frame.columns) == ["seed", "update", "a", "end"]
    assert frame["seed"].tolist() == [7, 7, 8, 8]
    assert frame["a"].tolist() == [1, 2, 2, 3]
    assert pandas.isna(frame["end"]).tolist() == [True, False, True, False]
    assert len(Results([]).frame()) == 0


def test_without_pandas_a_frame_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ToybedError, match="pip install pandas"):
        made().frame()


def test_a_store_is_loaded_without_being_touched(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    compared = toybed.compare("grpo", "rloo", on="answer_bandit", seeds=3, updates=2, store=path)
    before = path.read_bytes()
    loaded = toybed.load(path)
    assert path.read_bytes() == before
    assert len(loaded) == 6
    assert {about["world"] for about in loaded.about} == {"answer_bandit"}
    rloo = loaded.select(objective="rloo")
    assert [about["seed"] for about in rloo.about] == [0, 1, 2]
    np.testing.assert_array_equal(rloo.array("reward_test"), compared.records["rloo"]["reward_test"])
    assert rloo.configs[0]["objective"]["name"] == "rloo"
    assert len(loaded.select(objective="rloo", seed=1)) == 1
    with pytest.raises(ToybedError, match="unknown column 'objectiv': did you mean 'objective'"):
        loaded.select(objectiv="rloo")


def test_what_is_no_store_is_not_loaded(tmp_path: Path) -> None:
    with pytest.raises(ToybedError, match=r"no\.sqlite does not exist"):
        toybed.load(tmp_path / "no.sqlite")
    (tmp_path / "text.sqlite").write_text("no database " * 100, encoding="utf-8")
    with pytest.raises(ToybedError, match=r"text\.sqlite cannot be read"):
        toybed.load(tmp_path / "text.sqlite")


def test_a_question_is_answered_from_python(tmp_path: Path) -> None:
    from toybed.examples.own_question import STUDY

    path = tmp_path / "s.sqlite"
    answer = toybed.ask(STUDY, size="quick", store=path)
    assert answer["outcome"] in ("supported", "refuted", "undecided")
    assert answer["n"] == 3
    with Store(path) as store:
        assert [verdict["study"] for verdict in store.verdicts()] == ["bonus_keeps"]
    again = toybed.ask("toybed.examples.own_question:STUDY", size="quick", store=path)
    assert again["estimate"] == answer["estimate"]


# -- examples ----------------------------------------------------------------------------------------------------------
def code_lines(source: str) -> int:
    """Lines that are neither blank, nor a comment alone, nor a docstring."""
    tree, texts = ast.parse(source), set[int]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) is not None:
            texts |= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    lines = enumerate(source.splitlines(), 1)
    return sum(bool(line.strip()) and not line.strip().startswith("#") and n not in texts for n, line in lines)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_short_and_runs(path: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    assert code_lines(path.read_text(encoding="utf-8")) < 30
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(path), run_name="__main__")
    assert capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_every_example_is_told_of() -> None:
    told = import_module("toybed.examples").__doc__ or ""
    assert all(f"``{path.stem}``" in told for path in EXAMPLES)


def test_what_is_brought_goes_together(tmp_path: Path, monkeypatch) -> None:
    """A world, a policy, an objective and a probe of one's own, in one run, and with workers through the store."""
    from toybed.examples import own_objective, own_policy, own_probe, own_world

    results = toybed.train(
        own_objective.narrow_clip,
        world=own_world.Spell(),
        policy=own_policy.Net,
        probes=[own_probe.favourites],
        updates=3,
        seeds=2,
    )
    assert results.array("favourite").shape == (2, 2)
    own = "toybed.examples.own_objective:narrow_clip"
    compared = toybed.compare(
        "grpo", own, on="toybed.examples.own_world:Spell", updates=2, seeds=3, workers=2, store=tmp_path / "s.sqlite"
    )
    assert set(compared.records) == {"grpo", own}
    assert np.isfinite(compared.ends[own]["reward_test"]).all()


# -- other people's learners -------------------------------------------------------------------------------------------
def test_stable_baselines_learns_in_a_world_of_toybed() -> None:
    """PPO as it comes, on one prompt with two of four answers right: chance is 0.5.

    8,192 steps are 32 updates. That a learner which works stays below 0.8 on 200 fresh episodes is not to be seen: the
    optimum is 1, and at a true success of 0.95 fewer than 160 of 200 has probability below 1e-12 (binomial).
    """
    sb3 = pytest.importorskip("stable_baselines3", reason="needs Stable-Baselines3: pip install stable-baselines3")
    import gymnasium

    knobs = {"prompt_count": 1, "answers": 4, "correct": 2, "rank": 2}
    env = gymnasium.make("toybed.envs:toybed/AnswerBandit-v0", **knobs)
    model = sb3.PPO("MlpPolicy", env, n_steps=256, batch_size=64, learning_rate=0.003, seed=0, device="cpu")
    model.learn(8192)
    rewards = []
    for episode in range(200):
        observation, _ = env.reset(seed=episode)
        action, _ = model.predict(observation, deterministic=False)
        rewards.append(env.step(int(action))[1])
    assert np.mean(rewards) > 0.8
