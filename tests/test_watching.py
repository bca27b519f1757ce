"""``toybed watch``: reads a store while another program writes, shows what runs now, and disturbs nobody."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from toybed import live
from toybed.agents.config import Learning, Setting, Spec
from toybed.agents.results import Curve, RunResult
from toybed.cli import main
from toybed.commands import watching
from toybed.commands.watching import Watcher
from toybed.commands.watching_frame import Canvas, render
from toybed.store import Store
from toybed.study import Run

STEPS = np.array([0, 5, 10])


def setting(objective: str = "grpo", rate: float = 0.01) -> Setting:
    return Setting(objective=Spec(objective), learning=Learning(updates=10, learning_rate=rate))


def keep(store: Store, run: Run, reward: list[float], entropy: list[float]) -> None:
    curves = {
        "sampled_reward": Curve(STEPS, np.array(reward)),
        "sampled_entropy": Curve(STEPS, np.array(entropy)),
        "reward_test": Curve(STEPS, np.zeros(3)),
    }
    store.add_run(run.id, run.setting.config(), run.seed, RunResult(curves, None), {"code": "x"})


def shown(watcher: Watcher, width: int = 90, height: int = 24) -> str:
    console = Console(width=width, height=height, color_system=None)
    with console.capture() as captured:
        console.print(render(watcher.look(), console.size))
    return captured.get()


# -- the store ---------------------------------------------------------------------------------------------------------
def test_runs_of_one_setting_are_one_line_of_their_mean(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with Store(path) as store:  # which stays open: another program is writing
        for seed, reward in enumerate(([0.0, 0.2, 0.4], [0.2, 0.4, float("nan")])):
            keep(store, Run(setting(), seed), reward, [2.0, 1.0, 0.5])
        watcher = Watcher(path)
        [line] = watcher.look().lines
        assert (line.finished, line.running) == (2, 0)
        steps, values = line.curve("reward")
        assert steps == [0, 5, 10]
        np.testing.assert_allclose(values, [0.1, 0.3, 0.4])  # of a run that diverged, what is finite
        keep(store, Run(setting("rloo"), 0), [0.1, 0.1, 0.1], [1.0, 1.0, 1.0])
        keep(store, Run(setting("grpo", rate=0.5), 0), [0.1, 0.1, 0.1], [1.0, 1.0, 1.0])
        frame = watcher.look()
    assert frame.finished == 4
    assert watching.labels(frame.lines) == ["grpo, rate 0.5", "rloo, rate 0.01", "grpo, rate 0.01"]


def test_seeds_in_worlds_of_their_own_are_one_line(tmp_path: Path) -> None:
    with Store(tmp_path / "s.sqlite") as store:
        for seed in range(3):
            keep(store, Run(setting().in_world(seed), seed), [0.1, 0.2, 0.3], [1.0, 0.9, 0.8])
    [line] = Watcher(tmp_path / "s.sqlite").look().lines
    assert line.finished == 3


def test_a_second_look_reads_what_is_new_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, read = tmp_path / "s.sqlite", []
    monkeypatch.setattr(watching, "describe", lambda run, *rest: read.append(run) or describe(run, *rest))
    describe = watching.live.describe
    with Store(path) as store:
        keep(store, Run(setting(), 0), [0.0] * 3, [1.0] * 3)
        watcher = Watcher(path)
        watcher.look()
        watcher.look()
        keep(store, Run(setting(), 1), [0.0] * 3, [1.0] * 3)
        watcher.look()
    assert read == [Run(setting(), 0).id, Run(setting(), 1).id]


def test_a_store_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with Store(path) as store:
        keep(store, Run(setting(), 0), [0.0] * 3, [1.0] * 3)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    Watcher(path).look()
    assert path.read_bytes() == before["s.sqlite"]


# -- what runs now -----------------------------------------------------------------------------------------------------
def test_stacks_that_are_being_trained_are_seen_until_they_are_done(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(live, "EVERY", 0.0)
    path = tmp_path / "s.sqlite"
    runs, others = (tuple(Run(setting(name), seed) for seed in range(3)) for name in ("grpo", "rloo"))
    with live.Live(path, "run entropy_law") as seen:
        assert live.read(path) == []
        for update in range(1, 6):
            seen(runs, update, update / 10, 1.0)
        frame = Watcher(path).look()
        assert (frame.title, frame.progress) == ("run entropy_law", 0.5)
        [line] = frame.lines
        assert (line.running, line.finished, line.about["objective"]) == (3, 0, "grpo")
        assert line.curve("reward") == ([1, 2, 3, 4, 5], [0.1, 0.2, 0.3, 0.4, 0.5])
        seen(runs, 1, 0.7, 1.0)  # its worker died, and another began anew
        assert Watcher(path).look().lines[0].curve("reward") == ([1], [0.7])
        for update in range(2, 11):
            seen(runs, update, 0.5, 1.0)
        seen(others, 1, 0.5, 1.0)
        assert [line.about["objective"] for line in Watcher(path).look().lines] == ["rloo"]
    assert not live.live_file(path, os.getpid()).exists()
    assert Watcher(path).look().title is None


def test_long_curves_are_thinned_and_keep_their_end(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(live, "EVERY", 0.0)
    path, runs = tmp_path / "s.sqlite", (Run(setting().with_learning(updates=1000), 0),)
    with live.Live(path, "x") as seen:
        for update in range(1, 1000):
            seen(runs, update, 0.0, 0.0)
        points = live.read(path)[0].stacks[0].points
    assert points[-1][0] == 999
    assert live.POINTS <= len(points) <= 2 * live.POINTS


def test_what_a_dead_program_left_or_nobody_wrote_is_nothing(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    for text in (f'{{"process": {gone.stdout}, "title": "x", "stacks": []}}', "", "[]", '{"process": 1}', "{"):
        live.live_file(path, 1).write_text(text, encoding="utf-8")
        assert live.read(path) == []


def test_two_commands_that_work_for_one_store_are_both_seen(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(live, "EVERY", 0.0)
    path, here, there = tmp_path / "s.sqlite", os.getpid(), os.getppid()
    runs = {name: (Run(setting(name), 0),) for name in ("grpo", "rloo")}
    with live.Live(path, "run one") as one:
        with monkeypatch.context() as other_process:
            other_process.setattr(os, "getpid", lambda: there)
            other = live.Live(path, "run two")
        with other:
            one(runs["grpo"], 4, 0.1, 1.0)
            other(runs["rloo"], 2, 0.2, 1.0)
            assert {seen.process: seen.title for seen in live.read(path)} == {here: "run one", there: "run two"}
            frame = Watcher(path).look()
            assert set((frame.title or "").split("; ")) == {"run one", "run two"}
            assert frame.progress == pytest.approx(6 / (2 * setting().learning.updates))
            assert {line.about["objective"] for line in frame.lines} == {"grpo", "rloo"}
        assert [seen.title for seen in live.read(path)] == ["run one"]  # who ends takes away what is his
    assert list(tmp_path.iterdir()) == []


def test_what_was_left_by_the_killed_is_cleared_away(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    left = live.live_file(path, int(gone.stdout))
    left.write_text(f'{{"process": {gone.stdout}, "title": "x", "stacks": []}}', encoding="utf-8")
    with live.Live(path, "y"):
        assert not left.exists()


def test_a_folder_that_cannot_be_written_disturbs_nobody(tmp_path: Path) -> None:
    with live.Live(tmp_path / "no" / "s.sqlite", "x") as seen:
        seen((Run(setting(), 0),), 1, 0.0, 0.0)


# -- the frame ---------------------------------------------------------------------------------------------------------
def test_a_canvas_draws_the_diagonal() -> None:
    canvas = Canvas(3, 2)  # 6 by 8 dots
    canvas.line([0.0, 1.0], [0.0, 1.0], "red")
    rows = [row.plain for row in canvas.rows()]
    assert rows[0][0] == " "
    assert rows[1][2] == " "
    assert all(len(row) == 3 for row in rows)
    assert rows[0][2] != " "
    assert rows[1][0] != " "
    canvas.letter(1.0, 1.0, "a", "red")
    canvas.letter(1.0, 1.0, "b", "blue")
    assert canvas.rows()[0].plain.endswith("ba")


@pytest.mark.parametrize(("width", "height"), [(60, 16), (80, 24), (160, 50)])
def test_a_frame_fits_its_terminal_and_names_every_line(tmp_path: Path, width: int, height: int) -> None:
    path = tmp_path / "s.sqlite"
    with Store(path) as store:
        for i, name in enumerate(("grpo", "rloo", "kl_cov", "clip_cov")):
            keep(store, Run(setting(name), 0), [0.1 * i, 0.5, 0.9], [2.0, 1.0, 0.1 * i])
    text = shown(Watcher(path), width, height)
    assert all(name in text for name in ("grpo", "rloo", "kl_cov", "clip_cov", "4 runs finished", "10 updates"))
    lines = text.splitlines()
    assert len(lines) <= height
    assert max(map(len, lines)) <= width


def test_more_lines_than_colours_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with Store(path) as store:
        for i in range(12):
            keep(store, Run(setting(rate=1 + i), 0), [0.0] * 3, [0.0] * 3)
    text = shown(Watcher(path))
    assert "and 5 more" in text
    assert "rate 12" in text


# -- the command -------------------------------------------------------------------------------------------------------
def test_once_prints_a_frame_and_json_an_object(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Store("toybed.sqlite") as store:
        keep(store, Run(setting(), 0), [0.0, 0.1, 0.2], [2.0, 1.0, 0.5])
    assert main(["watch", "--once"]) == 0
    assert "grpo" in capsys.readouterr().out
    assert main(["watch", "--json"]) == 0
    [line] = json.loads(capsys.readouterr().out)["lines"]
    assert line["reward"] == {"updates": [0, 5, 10], "values": [0.0, 0.1, 0.2]}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--once"], "toybed.sqlite does not exist yet"), (["--every", "0"], "every is 0; allowed: at least 0.1")],
)
def test_a_wrong_input_is_one_line(tmp_path, monkeypatch, capsys, arguments, said) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["watch", *arguments]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert said in err


def test_ctrl_c_ends_it_without_a_word(tmp_path: Path) -> None:
    """As a program, waiting for a store that does not exist yet."""
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "toybed.cli", "watch", "--every", "0.1"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "COLUMNS": "80", "LINES": "24", "FORCE_COLOR": "1", "TERM": "xterm-256color"},
    ) as watched:
        assert watched.stdout is not None
        assert watched.stderr is not None
        seen = b""
        while b"Nothing to see" not in seen:
            seen += (part := watched.stdout.read1())
            assert part, seen + watched.stderr.read()
        time.sleep(0.2)  # it is between two looks now, or in one: both end alike
        watched.send_signal(signal.SIGINT)
        rest, said = watched.communicate()
    assert watched.returncode == 0
    assert b"Traceback" not in said + rest
    assert rest.endswith(b"\x1b[?25h\x1b[?1049l")  # the cursor is there again, and what was on the screen before
