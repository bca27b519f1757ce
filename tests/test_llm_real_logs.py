"""Importers against real logs of language models, where these lie beside the checkout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from toybed.llm import Table, read

LOGS = Path(__file__).resolve().parents[2] / "shared" / "llm_runs"

pytestmark = pytest.mark.skipif(not LOGS.is_dir(), reason="the real logs are not part of the project (shared/llm_runs)")


def log(name: str) -> Table:
    [path] = LOGS.glob(f"*/{name}")
    [table] = read([path])
    assert table.dropped == 0
    return table


def ends(values: np.ndarray) -> tuple[float, float]:
    found = values[np.isfinite(values)]
    return float(found[0]), float(found[-1])


def test_verl_console() -> None:
    """PPO on GSM8K: steps 0 to 60, three decimals, colours and prefixes."""
    table = log("ppo_gsm8k_qwen2.5-0.5b.log")
    assert table.framework == "verl"
    assert table.step.tolist() == list(range(61))
    assert ends(table.entropy) == (0.461, 0.173)
    assert ends(table.reward) == (0.012, 0.621)
    assert ends(table.accuracy) == (0.004, 0.478)
    assert np.isfinite(table.accuracy).sum() == 6
    assert {column: source.key for column, source in table.sources.items()} == {
        "entropy": "actor/entropy_loss",
        "reward": "critic/score/mean",
        "accuracy": "val/test_score/openai/gsm8k",
        "kl": "critic/kl",
        "clip_fraction": "actor/pg_clipfrac",
        "response_length": "response_length/mean",
    }


def test_a_csv_whose_first_run_was_aborted() -> None:
    """Steps 1 to 5 stand twice, with the same values of what a table holds; the evaluation is in percent."""
    table = log("7_3_plus_tracking_metrics.csv")
    assert table.step.tolist() == list(range(1, 501))
    assert table.rows == 505
    assert ends(table.entropy) == (1.329654, 2.614523)
    assert ends(table.accuracy) == pytest.approx((0.156, 0.33))
    assert any("5 steps stand more than once (1 to 5)" in note for note in table.notes)
    assert any("restarted once, last at step 1 after step 5" in note for note in table.notes)
    assert "temperature 1" in table.sources["entropy"].meaning


def test_a_csv_without_a_final_line_end() -> None:
    table = log("7_4_plus_clip_ratio_metrics.csv")
    assert ends(table.entropy) == (1.268579, 0.142097)
    assert ends(table.accuracy) == pytest.approx((0.156, 0.416))
    assert len(table) == 500
    assert any("no line end" in note for note in table.notes)


def test_a_dump_of_event_files() -> None:
    """A broken run: entropy explodes to 11.4 and reward is 0 after step 1."""
    table = log("grpo_qwen2.5-7b_broken.json")
    assert table.framework == "NeMo-RL"
    assert table.step.tolist() == list(range(1, 31))
    assert ends(table.entropy) == pytest.approx((0.2025, 11.3705), abs=1e-4)
    assert table.reward[0] > 0
    assert not table.reward[1:].any()
    assert "estimate" in table.sources["entropy"].meaning


def test_a_log_without_entropy() -> None:
    table = log("trainer_state_no_entropy.json")
    assert table.framework == "TRL"
    assert np.isnan(table.entropy).all()
    assert ends(table.reward) == pytest.approx((0.16875, 0.2375))
    assert table.sources["response_length"].key == "completion_length"
    [note] = table.notes
    assert "no entropy in this log" in note
    assert "0.20.0" in note
