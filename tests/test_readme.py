"""The README's code runs as it stands, and its commands exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from toybed.cli import COMMANDS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=[block.split("\n")[0] for block in BLOCKS])
def test_code_runs(block, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scope: dict[str, object] = {"__name__": "readme"}
    exec(compile(block, "README.md", "exec"), scope)
    if "train(" in block:
        rewards = [float(line.split()[0]) for line in capsys.readouterr().out.splitlines()]
        assert len(rewards) == 2
        # Twenty updates from a base that solves a quarter of the prompts: an objective that does not learn shows.
        assert all(reward > 0.3 for reward in rewards)


def test_every_command_that_is_named_exists():
    named = set(re.findall(r"`(?:\.venv/bin/)?toybed (\w+)", README))
    assert {"list", "run", "show", "report", "check", "mutants", "course"} <= named <= set(COMMANDS)


def test_both_entrances_are_named():
    assert "make demo" in README
    assert "make test" in README
    assert (ROOT / "benchmarks" / "entropy_law.png").exists()
