"""The command line: what it prints, and one clear line with exit code 2 for every wrong input."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import torch

from toybed import cli, objectives, study
from toybed.agents.results import RunResult
from toybed.envs import WORLDS
from toybed.errors import ToybedError
from toybed.store import Store

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _own_signals() -> Iterator[None]:
    """The command line sets what a polite kill does; the test run keeps its own."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing is written by accident."""
    monkeypatch.chdir(tmp_path)


def refusal(capsys: Capture, *arguments: str) -> str:
    """The one line with which a command is refused."""
    assert cli.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("toybed: ")
    assert err.count("\n") == 1, err
    assert err.endswith("\n")
    return err


# -- list and show -----------------------------------------------------------------------------------------------------
NAMES = {"questions": set(study.studies()), "objectives": set(objectives.names()), "worlds": set(WORLDS)}


@pytest.mark.parametrize("what", [*NAMES])
def test_list_names_everything_of_a_kind(capsys: Capture, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert cli.main(["list", what]) == 0
    words = set(capsys.readouterr().out.split())
    assert words >= NAMES[what]  # whole, not cut or broken, in a terminal of the usual width


@pytest.mark.parametrize("arguments", [["list"], ["list", "all"]])
def test_list_alone_names_everything(capsys: Capture, arguments: list[str]) -> None:
    assert cli.main(arguments) == 0
    out = capsys.readouterr().out
    assert set(out.split()) >= set().union(*NAMES.values())
    assert "toybed show NAME" in out


@pytest.mark.parametrize("what", ["all", *NAMES])
def test_list_as_json(capsys: Capture, what: str) -> None:
    assert cli.main(["list", what, "--json"]) == 0
    tables = json.loads(capsys.readouterr().out)
    assert set(tables) == (set(NAMES) if what == "all" else {what})
    for kind, rows in tables.items():
        assert {row["name"] for row in rows} == NAMES[kind]


@pytest.mark.parametrize("name", sorted(set().union(*NAMES.values())))
def test_show_tells_of_every_name(capsys: Capture, name: str) -> None:
    assert cli.main(["show", name]) == 0
    out = capsys.readouterr().out
    assert name in out
    assert len(out.splitlines()) > 5
    assert cli.main(["show", name, "--json"]) == 0
    entry = json.loads(capsys.readouterr().out)
    assert entry["name"].split(":")[0] == name
    # Everything has a source or a text of its own, and no part is empty.
    assert entry.get("source") or entry.get("text")
    assert all(entry.get(part) for part in ("source", "stages") if name in NAMES["objectives"])
    assert all(entry.get(part) for part in ("claim", "rule", "source", "sizes") if name in NAMES["questions"])


# -- wrong input -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["run", "entropy_lwa"], ["unknown question 'entropy_lwa'", "'entropy_law'", "toybed list questions"]),
        (["show", "grop"], ["'grop'", "'grpo'", "toybed list"]),
        (["show", "entropy_lwa"], ["'entropy_lwa'", "'entropy_law'"]),
        (["show", "chain_raech"], ["'chain_raech'", "'chain_reach'"]),
        (["show", "grpo", "rloo"], ["'grpo' and 'rloo'", "one name"]),
        (["show", "claim"], ["which claim?", "1 to 11", "toybed evidence"]),
        (["show", "claim", "12"], ["unknown claim '12'", "1 to 11"]),
        (["show", "claim", "one"], ["unknown claim 'one'", "1 to 11"]),
        (["evidence", "0"], ["unknown claim '0'", "1 to 11"]),
        (["evidence", "grpo"], ["unknown claim 'grpo'"]),
        (["evidence", "--store", "no/such.sqlite"], ["no/such.sqlite does not exist", "toybed run"]),
        (["lst"], ["unknown command 'lst': did you mean 'list'? toybed --help shows all"]),
        (["--debug", "list"], ["unknown command '--debug'", "the nearest of 16 are", "toybed --help shows all"]),
        (["run", "zzz"], ["unknown question 'zzz': the nearest of", "toybed list questions shows all"]),
        (["list", "--zz"], ["allowed: --debug, --json"]),
        (["list", "--jsno"], ["unknown option '--jsno': did you mean '--json'? toybed list --help shows all"]),
        (["run", "--sedes=2", "entropy_law"], ["unknown option '--sedes': did you mean '--seeds'?"]),
        (["run", "entropy_law", "--name", "x"], ["unknown option '--name'", "toybed run --help"]),
        (["run", "entropy_law", "--quick", "--full"], ["--quick", "--full"]),
        (["run", "entropy_law", "--seeds", "0"], ["seeds is 0", "at least 1"]),
        (["run", "entropy_law", "--seeds", "-1"], ["seeds is -1", "at least 1"]),
        (["run", "entropy_law", "--workers", "0"], ["workers is 0", "at least 1"]),
        (["run", "entropy_law", "--workers", "-3"], ["workers is -3", "at least 1"]),
        (["run", "entropy_law", "--device", "tpu"], ["'tpu'", "cpu, cuda"]),
        (["findings", "--quik"], ["unknown option '--quik': did you mean '--quick'?"]),
        (["findings", "--quick", "--full"], ["--quick and --full: choose one"]),
        (["findings", "--cluster", "auto", "--workers", "2"], ["--cluster and --workers: choose one"]),
        (["findings", "--workers", "0"], ["workers is 0", "at least 1"]),
        (["merge", "all.sqlite"], ["nothing to take from"]),
        (["merge", "all.sqlite", "no/such.sqlite"], ["no/such.sqlite does not exist"]),
        (["report"], ["toybed.sqlite does not exist", "toybed run", "--store"]),
        (["report", "--json"], ["toybed.sqlite does not exist"]),
        (["report", "--store", "no/such.sqlite"], ["no/such.sqlite does not exist"]),
    ],
    ids=" ".join,
)
def test_a_wrong_input_is_one_line(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, arguments: list[str], parts: list[str]
) -> None:
    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("something was computed")

    monkeypatch.setattr("toybed.answering.run_sweep", forbidden)
    said = refusal(capsys, *arguments)
    for part in parts:
        assert part in said


def test_cuda_where_there_is_none(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "torch finds no CUDA device" in refusal(capsys, "run", "entropy_law", "--device", "cuda")


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_stores_are_merged(capsys: Capture, tmp_path: Path, options: list[str]) -> None:
    for name in ("a", "b"):
        with Store(tmp_path / f"{name}.sqlite") as store:
            store.add_run(name, {}, 0, RunResult({}, None), {})
    assert cli.main(["merge", "all.sqlite", "a.sqlite", "b.sqlite", *options]) == 0
    said = capsys.readouterr().out
    if options:
        assert json.loads(said) == {"store": "all.sqlite", "runs": {"a.sqlite": 1, "b.sqlite": 1}}
    else:
        assert said == "a.sqlite: 1 run taken\nb.sqlite: 1 run taken\n"
    with Store(tmp_path / "all.sqlite") as store:
        assert store.finished() == {"a", "b"}
    assert "named twice" in refusal(capsys, "merge", "a.sqlite", "b.sqlite", "a.sqlite")


def test_nothing_is_made_for_a_wrong_input(capsys: Capture, tmp_path: Path) -> None:
    refusal(capsys, "run", "entropy_lwa")
    refusal(capsys, "run", "entropy_law", "--device", "tpu")
    refusal(capsys, "run", "entropy_law", "--quick", "--full")
    for verb in (["run", "entropy_law"], ["findings"]):
        refusal(capsys, *verb, "--workers", "0")
    for wrong in (
        ["--seeds", "0"],
        ["--seeds", "1001"],
        ["--cluster", "auto", "--device", "cuda"],
        ["--workers", "-1"],
    ):
        refusal(capsys, "run", "entropy_law", *wrong)
        refusal(capsys, "run", "toybed.examples.own_question:STUDY", *wrong, "--report", "r.html")
    refusal(capsys, "report")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "verb", [["run", "entropy_law", "--quick"], ["report"], ["evidence"]], ids=["run", "report", "evidence"]
)
def test_a_store_that_cannot_be_used(capsys: Capture, tmp_path: Path, verb: list[str]) -> None:
    damaged, newer = tmp_path / "damaged.sqlite", tmp_path / "newer.sqlite"
    damaged.write_bytes(b"not a database at all" * 100)
    with closing(sqlite3.connect(newer)) as db:
        db.execute("PRAGMA user_version = 99")
        db.execute("CREATE TABLE new (x)")
        db.commit()
    before = damaged.read_bytes(), newer.read_bytes()
    said = refusal(capsys, *verb, "--store", str(damaged))
    assert "damaged.sqlite" in said
    assert "--store" in said
    said = refusal(capsys, *verb, "--store", str(newer))
    assert "newer.sqlite" in said
    assert "99" in said
    assert (damaged.read_bytes(), newer.read_bytes()) == before


def test_a_store_that_cannot_be_written(capsys: Capture, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    said = refusal(capsys, "run", "entropy_law", "--quick", "--store", "file/s.sqlite")
    assert "file/s.sqlite cannot be written" in said


def test_a_report_of_a_store_without_answers(capsys: Capture) -> None:
    Store("toybed.sqlite").__exit__()
    assert "holds no answer yet" in refusal(capsys, "report")
    assert not Path("report.html").exists()
    assert cli.main(["report", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_debug_shows_where_an_error_comes_from() -> None:
    with pytest.raises(ToybedError, match="entropy_lwa"):
        cli.main(["run", "entropy_lwa", "--debug"])


def test_an_interruption_says_how_to_continue(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr("toybed.answering.run_sweep", interrupt)
    assert cli.main(["run", "entropy_law"]) == 130
    err = capsys.readouterr().err
    assert "the same command continues" in err
    assert err.count("\n") == 1


# -- as a program ------------------------------------------------------------------------------------------------------
def program(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "toybed.cli", *arguments], capture_output=True, text=True)


@pytest.mark.parametrize(
    "arguments",
    [["run"], ["show"], ["evidence", "1", "2"], ["list", "quesitons"], ["run", "entropy_law", "--seeds", "x"]],
)
def test_a_command_that_cannot_be_read_ends_with_2(capsys: Capture, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    assert "help" in err


def test_who_comes_in_is_told_what_to_do_first(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert cli.main([]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert max(map(len, out.splitlines())) <= 80
    # A command for each of three kinds of people, and each of them exists.
    for verb in re.findall(r"toybed (\w+)", out.split(".", 1)[1]):
        assert verb in cli.COMMANDS
    assert sum(line.startswith("To ") for line in out.splitlines()) == 3


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_shell_can_complete_every_command_and_option(capsys: Capture, shell: str) -> None:
    assert cli.main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert set(cli.COMMANDS) <= set(re.findall(r"\w+", script))
    assert "quick" in script
    assert cli.main(["completion", shell, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["script"] == script
    assert f"toybed completion {shell} >" in told["install"]


def test_bash_reads_the_completion_and_completes() -> None:
    if (bash := shutil.which("bash")) is None:
        pytest.skip("no bash here")
    script = program("completion", "bash").stdout
    ask = "COMP_WORDS=(toybed comp); COMP_CWORD=1; COMP_LINE='toybed comp'; COMP_POINT=11; cur=comp"
    name = re.search(r"complete .*-F (\S+) toybed", script)
    assert name is not None
    lines = f'{script}\n{ask}\n{name.group(1)} toybed comp toybed\nprintf "%s\\n" "${{COMPREPLY[@]}}"\n'
    done = subprocess.run([bash, "--norc"], input=lines, capture_output=True, text=True)
    assert {word.strip() for word in done.stdout.split("\n")} >= {"compare", "completion"}, done.stderr


@pytest.mark.parametrize("arguments", [["-h"], ["--help"]], ids=["-h", "--help"])
def test_help_names_every_command(capsys: Capture, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert not ended.value.code
    out, err = capsys.readouterr()
    assert err == ""
    assert set(cli.COMMANDS) <= set(re.findall(r"\w+", out))


@pytest.mark.parametrize("verb", cli.COMMANDS)
def test_every_option_in_the_help_is_known(capsys: Capture, verb: str) -> None:
    with pytest.raises(SystemExit):
        cli.main([verb, "--help"])
    shown = set(re.findall("--[a-z][a-z-]*", capsys.readouterr().out))
    assert {"--help", "--json", "--debug"} <= shown
    for option in shown:
        with pytest.raises(SystemExit):  # with the help, or because an option lacks its value
            cli.main([verb, option, "--help"])
        assert "unknown" not in capsys.readouterr().err


def test_a_wrong_name_ends_the_program_with_2_and_no_traceback() -> None:
    done = program("run", "entropy_lwa")
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    done = program("run", "entropy_lwa", "--debug")
    assert done.returncode != 0
    assert "Traceback" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--help"],
        ["completion", "bash"],
        ["run", "--help"],
        ["compare", "--help"],
        ["watch", "--help"],
        ["doctor", "--help"],
        ["chat", "--help"],
        ["overlay", "--help"],
        ["evidence", "--help"],
        ["evidence"],
        ["show", "claim", "1"],
        ["list"],
        ["list", "--json"],
        ["run", "entropy_lwa"],
    ],
)
def test_what_computes_nothing_imports_nothing_heavy(arguments: list[str]) -> None:
    script = (
        "import sys\nfrom toybed import cli\n"
        "try:\n    cli.main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "print('heavy:', *sorted({'torch', 'scipy', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1].rstrip() == "heavy:", done.stderr


def test_a_reader_that_stops_early_is_no_error() -> None:
    """``toybed list | head -1``."""
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "toybed.cli", "list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as done:
        assert done.stdout is not None
        assert done.stderr is not None
        done.stdout.close()
        said = done.stderr.read().decode()
    assert "Traceback" not in said
