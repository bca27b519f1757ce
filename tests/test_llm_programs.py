"""Importers against what real programs write here; each is skipped where its program is not installed.

``pip install trl datasets mlflow-skinny tensorboard`` brings them.
"""

from __future__ import annotations

import importlib.util
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from toybed.llm import COLUMNS, read


def needs(*modules: str) -> pytest.MarkDecorator:
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


@needs("trl", "datasets")
def test_grpo_of_trl(tmp_path: Path) -> None:
    """Its state and its console hold the same run, up to the four digits that the console prints."""
    with (tmp_path / "console").open("w") as console:
        command = [sys.executable, str(Path(__file__).with_name("grpo_run.py")), str(tmp_path)]
        subprocess.run(command, stdout=console, stderr=subprocess.STDOUT, check=True, timeout=300)
    [state] = read([tmp_path / "trainer_state.json"])
    [console_log] = read([tmp_path / "console"])
    history = json.loads((tmp_path / "trainer_state.json").read_text())["log_history"]
    assert state.framework == console_log.framework == "TRL"
    assert state.step.tolist() == console_log.step.tolist() == list(range(1, 9))
    assert state.entropy.tolist() == [entry["entropy"] for entry in history if "entropy" in entry]
    assert state.rows == len(history)
    assert state.dropped == console_log.dropped == 0
    # A random model of eleven words is nearly uniform.
    assert state.entropy[0] == pytest.approx(math.log(11), abs=0.05)
    assert np.isfinite(state.accuracy).sum() == 2
    for column in COLUMNS:
        # Four digits: an error of at most half a unit of the fourth.
        np.testing.assert_allclose(console_log.column(column), state.column(column), rtol=5e-4, err_msg=column)


@needs("mlflow")
def test_the_file_store_of_mlflow(tmp_path: Path) -> None:
    script = f"""
import mlflow
mlflow.set_tracking_uri({(tmp_path / "mlruns").as_uri()!r})
with mlflow.start_run():
    for step in range(5):
        values = {{"actor/entropy": 1 - step / 8, "critic/score/mean": step / 8, "val-core/x/acc/mean_at_4": 0.5}}
        mlflow.log_metrics(values, step=step)
"""
    environment = {"MLFLOW_ALLOW_FILE_STORE": "true", "PATH": ""}
    subprocess.run([sys.executable, "-c", script], check=True, timeout=300, cwd=tmp_path, env=environment)
    [table] = read([tmp_path / "mlruns"])
    assert (table.framework, table.step.tolist()) == ("verl", list(range(5)))
    assert table.entropy.tolist() == [1 - step / 8 for step in range(5)]
    assert table.sources["accuracy"].key == "val-core/x/acc/mean_at_4"
    assert table.dropped == 0


@needs("tensorboard")
def test_event_files_of_the_installed_writer(tmp_path: Path) -> None:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path / "run")) as writer:
        for step in range(5):
            writer.add_scalar("actor/entropy", 1 - step / 8, step)
            writer.add_scalar("critic/score/mean", step / 8, step, new_style=True)
    [table] = read([tmp_path / "run"])
    assert table.entropy.tolist() == [1 - step / 8 for step in range(5)]
    assert table.reward.tolist() == [step / 8 for step in range(5)]
    assert table.dropped == 0
