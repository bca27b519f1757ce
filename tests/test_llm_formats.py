"""Importers of logs: each format gives the rows that it was written from, whatever stands around them."""

from __future__ import annotations

import base64
import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from toybed.errors import ToybedError
from toybed.llm import COLUMNS, Table, frameworks, read
from toybed.llm.rows import number, whole


def _samples() -> ModuleType:
    spec = importlib.util.spec_from_file_location("llm_samples", Path(__file__).with_name("llm_samples.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules["llm_samples"] = module  # its dataclass looks its module up
    spec.loader.exec_module(module)
    return module


samples = _samples()
SAMPLES = samples.SAMPLES
LINES = [
    name
    for name, sample in SAMPLES.items()
    if "console" in sample.container or sample.container in ("CSV", "JSON, one object a line")
]


def one(path: Path | str, **columns: str) -> Table:
    [table] = read([path], columns)
    return table


def put(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def same(table: Table, rows: list[dict[str, float]], keys: object) -> None:
    assert table.step.tolist() == [row["step"] for row in rows]
    for column in COLUMNS:
        known = column in keys  # type: ignore[operator]
        expected = [row.get(column, np.nan) if known else np.nan for row in rows]
        np.testing.assert_array_equal(table.column(column), expected, err_msg=column)


# -- every format ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", SAMPLES)
def test_a_format_gives_its_rows(tmp_path: Path, name: str) -> None:
    sample, rows = SAMPLES[name], samples.rows()
    table = one(sample.write(tmp_path, rows))
    same(table, rows, sample.keys)
    assert table.containers == (sample.container,)
    assert table.framework == sample.framework
    assert {column: source.key for column, source in table.sources.items()} == dict(sample.keys)
    assert all(source.meaning for source in table.sources.values())
    assert table.dropped == 0
    assert not [note for note in table.notes if "prints no step" not in note]


@pytest.mark.parametrize("name", SAMPLES)
def test_the_name_of_a_file_does_not_matter(tmp_path: Path, name: str) -> None:
    path = SAMPLES[name].write(tmp_path, samples.rows())
    other = path.with_name("trainer_state.json" if "console" in name else "output.log")
    path.rename(other)
    assert one(other).framework == SAMPLES[name].framework


@pytest.mark.parametrize("name", LINES)
def test_junk_around_lines_changes_nothing(tmp_path: Path, name: str) -> None:
    """Colours, carriage returns, warnings and progress bars between the lines."""
    sample, rows = SAMPLES[name], samples.rows()
    path = sample.write(tmp_path, rows)
    junk = ["", "  ", "WARNING: something {happened}", "\x1b[2K 50%|█████     | 6/12 [00:01<00:01]\r", "{'a': [1, 2"]
    text = path.read_text(encoding="utf-8").splitlines()
    first, rest = (text[:1], text[1:]) if sample.container == "CSV" else ([], text)
    mixed = [*first, *(part for i, line in enumerate(rest) for part in (junk[i % len(junk)], f"\x1b[0m{line}\x1b[0m"))]
    table = one(put(tmp_path / "mixed", "\r\n".join(mixed)))
    if "console" in sample.container:
        assert table.dropped == 0
    if "verl" in sample.container:  # its last line is not trusted to be whole without a line end
        rows = [*rows[:-1], rows[-1]]
    same(table, rows, sample.keys)


@pytest.mark.parametrize("name", SAMPLES)
def test_a_restarted_run(tmp_path: Path, name: str) -> None:
    """The log of an aborted run before that of the run: later values count, blanks are filled from the earlier."""
    sample, rows = SAMPLES[name], samples.rows()
    if name == "trl_console":
        pytest.skip("its entries have no step, so that a restart cannot be seen")
    early = [row | {"entropy": 9.0, "accuracy": 0.125} for row in rows[:3]]
    if name in ("nemo_dump",):
        pytest.skip("an object has each step once")
    both = [*early, *rows]
    path = sample.write(tmp_path, both)
    table = one(path)
    expected = [early[i] | row if i < 3 else row for i, row in enumerate(rows)]
    same(table, expected, sample.keys)
    assert any("3 steps stand more than once (1 to 3)" in note for note in table.notes)
    assert any("restarted once, last at step 1 after step 3" in note for note in table.notes)


# -- numbers and steps -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (0.3, 0.3), (3, 3.0), ("0.3", 0.3), (" '0.2705' ", 0.2705), ("1e-06", 1e-6), ("np.float64(0.31)", 0.31),
        ("numpy.float32(2)", 2.0), ("tensor(0.5, device='cuda:0')", 0.5), ("float64(-1)", -1.0), ("inf", np.inf),
        (None, np.nan), ("null", np.nan), ("None", np.nan), ("nan", np.nan), ("NaN", np.nan), ("", np.nan),
    ],
)  # fmt: skip
def test_numbers_as_logs_write_them(raw: object, value: float) -> None:
    np.testing.assert_equal(number(raw), value)


@pytest.mark.parametrize("raw", [True, [1], {"a": 1}, "abc", "1_000", "0.3.1", "np.float64(", 10**400, b"1"])
def test_what_is_no_number(raw: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        number(raw)


@pytest.mark.parametrize(("raw", "step"), [(0, 0), ("12", 12), (12.0, 12), ("12/560", 12), ("1e3", 1000)])
def test_steps(raw: object, step: int) -> None:
    assert whole(raw) == step


@pytest.mark.parametrize("raw", [-1, 0.5, "a", None, True, float("inf"), float("nan"), 1e300, "", "/5"])
def test_what_is_no_step(raw: object) -> None:
    with pytest.raises(ValueError, match="no whole number from 0 on"):
        whole(raw)


# -- what the logs of one framework have of their own ------------------------------------------------------------------
def test_verl_prefers_the_entropy_that_is_named_so(tmp_path: Path) -> None:
    line = (
        "step:{} - actor/entropy_loss:0.9 - actor/entropy:0.5 - critic/rewards/mean:0.1 - critic/score/mean:0.2 - x:1\n"
    )
    table = one(put(tmp_path / "log", line.format(1) + line.format(2)))
    assert table.entropy.tolist() == [0.5, 0.5]
    assert table.reward.tolist() == [0.2, 0.2]
    assert any("also has actor/entropy_loss" in note for note in table.notes)


def test_the_last_number_of_a_line_that_may_be_cut_off_is_not_used(tmp_path: Path) -> None:
    text = "step:1 - critic/score/mean:0.25 - actor/entropy:0.5\nstep:2 - critic/score/mean:0.25 - actor/entropy:0.5"
    table = one(put(tmp_path / "log", text))
    np.testing.assert_array_equal(table.entropy, [0.5, np.nan])
    assert table.reward.tolist() == [0.25, 0.25]
    assert "line 2 is the last and has no line end: its last value is not used" in table.notes


def test_two_lines_that_ran_together_are_dropped(tmp_path: Path) -> None:
    text = "step:1 - actor/entropy:0.5 - critic/score/mean:0.1\n"
    table = one(put(tmp_path / "log", text + text.strip() + text.replace("step:1", "step:2")))
    assert table.step.tolist() == [1]
    assert table.dropped == 1
    assert any(
        "two rows stand in a line" in note or ("stands twice in a line" in note and f"{tmp_path / 'log'}:2" in note)
        for note in table.notes
    )


def test_slimes_updates_are_averaged_over_a_rollout(tmp_path: Path) -> None:
    out = []
    for rollout in range(3):
        out.append(f"rollout {rollout}: {{'rollout/raw_reward': {rollout / 4}}}")
        out += [f"step {2 * rollout + i}: {{'train/entropy_loss': {1 - rollout / 4 + i / 8}}}" for i in range(2)]
    table = one(put(tmp_path / "log", "\n".join(out[:-1]) + "\n"))  # the last update is missing
    assert table.step.tolist() == [0, 1, 2]
    assert table.entropy.tolist() == [1.0625, 0.8125, 0.5]
    assert any("2 updates follow each rollout" in note for note in table.notes)


def test_old_ppo_of_trl_has_an_entropy_of_tokens_and_one_of_sequences(tmp_path: Path) -> None:
    entries = [
        {"step": i, "objective/entropy": 80.0, "policy/entropy_avg": 0.5, "objective/scores": 0.1} for i in (1, 2)
    ]
    table = one(put(tmp_path / "log", json.dumps(entries)))
    assert (table.framework, table.entropy.tolist()) == ("TRL PPO or old RLOO", [0.5, 0.5])
    for entry in entries:
        del entry["policy/entropy_avg"]
    table = one(put(tmp_path / "log", json.dumps(entries)))
    assert table.entropy.tolist() == [80.0, 80.0]
    assert "per sequence" in table.sources["entropy"].meaning


def test_a_history_by_columns_as_pandas_writes_it(tmp_path: Path) -> None:
    dump = {
        "_step": {"0": 5, "1": 6},
        "actor/entropy": {"0": 0.5, "1": None},
        "critic/score/mean": {"0": 0.1, "1": 0.2},
    }
    table = one(put(tmp_path / "log", json.dumps(dump)))
    assert table.step.tolist() == [5, 6]
    np.testing.assert_array_equal(table.entropy, [0.5, np.nan])


def test_panels_of_wandb_are_joined_by_run_and_step(tmp_path: Path) -> None:
    a, b = "grpo - lr 1e-6", "dapo"
    entropy = put(
        tmp_path / "one",
        f'"Step","{a} - actor/entropy","{a} - actor/entropy__MIN","{b} - actor/entropy","{b} - actor/entropy__MAX"\n'
        '"1","0.5","0.1","0.75",""\n"2","0.25","","",""\n',
    )
    reward = put(
        tmp_path / "two", f'"Step","{b} - critic/score/mean","{a} - critic/score/mean"\n"1","0.1","0.2"\n"2","","0.4"\n'
    )
    first, second = read([entropy, reward])
    assert (first.run, second.run) == (a, b)
    assert (first.entropy.tolist(), first.reward.tolist()) == ([0.5, 0.25], [0.2, 0.4])
    assert (second.step.tolist(), second.entropy.tolist(), second.reward.tolist()) == ([1], [0.75], [0.1])
    assert first.files == (str(entropy), str(reward))
    assert not any("no entropy" in note or "no reward" in note for note in first.notes)


def test_two_files_of_prime_are_joined_and_two_runs_are_not(tmp_path: Path) -> None:
    trainer = put(tmp_path / "a", "".join(json.dumps({"step": i, "entropy/all/mean": 1 / i}) + "\n" for i in (1, 2)))
    actor = put(tmp_path / "b", "".join(json.dumps({"step": i, "reward/all/mean": i / 4}) + "\n" for i in (2, 1)))
    [table] = read([trainer, actor])
    assert (table.entropy.tolist(), table.reward.tolist()) == ([1.0, 0.5], [0.25, 0.5])
    [alone] = read([actor])
    assert any("no entropy in this log" in note and "give both files" in note for note in alone.notes)
    (tmp_path / "x").mkdir()
    whole_run = samples.tinker_jsonl(tmp_path / "x", samples.rows())
    assert len(read([whole_run, whole_run])) == 2


def test_a_column_that_the_user_names(tmp_path: Path) -> None:
    path = put(tmp_path / "log", "iteration,H,score\n1,0.5,0.1\n2,0.25,0.2\n")
    with pytest.raises(ToybedError, match=r":1: no column of steps among iteration, H, score; --column step=NAME"):
        read([path])
    table = one(path, step="iteration", entropy="H")
    assert (table.step.tolist(), table.entropy.tolist(), table.reward.tolist()) == ([1, 2], [0.5, 0.25], [0.1, 0.2])
    assert "not known" in table.sources["entropy"].meaning
    with pytest.raises(ToybedError, match="unknown column 'entorpy': did you mean 'entropy'"):
        read([path], {"entorpy": "H"})


REAL_EVENTS = (
    "SAAAAAAAAAD+kkidCUxvmvC2wdpBGg1icmFpbi5FdmVudDoyUi4KLHRlbnNvcmJvYXJkLnN1bW1hcnkud3JpdGVyLmV2ZW50X2ZpbGVfd3JpdGVy"
    "0SsdQCMAAAAAAAAAsJ93Qwn8dJrwtsHaQRABKhYKFAoNdHJhaW4vZW50cm9weRUAAIA/uKNvaSkAAAAAAAAAN/9fAAmjdZrwtsHaQRABKhwKGgoM"
    "dHJhaW4vcmV3YXJkQgoIARIAKgTNzMw9JQYjviAAAAAAAAAAKe2pUAl1eJrwtsHaQRABKhMKEQoKdHJhaW4vbG9zcxUAAIA/IUWeCyMAAAAAAAAA"
    "sJ93QwmaeJrwtsHaQRACKhYKFAoNdHJhaW4vZW50cm9weRUAAAA/gKOzqykAAAAAAAAAN/9fAAmyeJrwtsHaQRACKhwKGgoMdHJhaW4vcmV3YXJk"
    "QgoIARIAKgTNzEw+Ss1apiAAAAAAAAAAKe2pUAk5eZrwtsHaQRACKhMKEQoKdHJhaW4vbG9zcxUAAAA/64hG2A=="
)


def test_event_files_of_the_real_writer(tmp_path: Path) -> None:
    """Bytes that TensorBoard 2.21's own writer made: two steps of a scalar, a scalar kept as a tensor, and a loss."""
    table = one(put(tmp_path / "log", base64.b64decode(REAL_EVENTS)))
    assert table.step.tolist() == [1, 2]
    assert table.entropy.tolist() == [1.0, 0.5]
    np.testing.assert_array_equal(table.reward, np.array([0.1, 0.2], dtype=np.float32))
    assert (table.rows, table.dropped, table.other) == (4, 0, 3)  # the version of the file and two losses


def test_the_later_event_file_of_a_run_counts(tmp_path: Path) -> None:
    for name, steps, value in (("events.1", (1, 2, 3), 0.5), ("events.2", (3, 4), 0.25)):
        records = [samples.event(step, samples.summary("train/entropy", value)) for step in steps]
        put(tmp_path / name, b"".join(records))
    [table] = read([tmp_path])
    assert (table.step.tolist(), table.entropy.tolist()) == ([1, 2, 3, 4], [0.5, 0.5, 0.25, 0.25])


def test_names_that_anyone_may_choose_are_nobodys(tmp_path: Path) -> None:
    """They do not say which entropy it is; with a key that only TRL has they do."""
    table = one(put(tmp_path / "log", "step,entropy,reward,kl\n1,0.5,0.1,0\n2,0.25,0.2,0\n"))
    assert table.framework == "plain columns"
    assert table.sources["entropy"].meaning == frameworks.UNKNOWN
    table = one(put(tmp_path / "log", "step,entropy,reward,frac_reward_zero_std\n1,0.5,0.1,0\n2,0.25,0.2,0\n"))
    assert table.framework == "TRL"
    assert table.sources["entropy"].meaning.startswith(frameworks.SOFTMAX)


def test_accuracy_in_percent_is_a_share(tmp_path: Path) -> None:
    path = put(tmp_path / "log", "step,reward_avg,entropy_avg,eval_acc\n1,0,1,15.6\n2,0,1,\n3,0,1,41.6\n")
    table = one(path)
    np.testing.assert_allclose(table.accuracy, [0.156, np.nan, 0.416], rtol=1e-15)
    assert "eval_acc is in percent: divided by 100" in table.notes


# -- what cannot be read -----------------------------------------------------------------------------------------------
def test_missing_entropy_names_the_likely_cause(tmp_path: Path) -> None:
    causes = {
        "reward": {"reward": 0.5, "reward_std": 0.1}, "ppo_clip_ratio": {"reward": 0.5, "ppo_clip_ratio": 0.1},
        "verl": {"critic/score/mean": 0.1},
    }  # fmt: skip
    said = {}
    for name, values in causes.items():
        table = one(put(tmp_path / name, json.dumps({"step": 1, **values}) + "\n"))
        [said[name]] = [note for note in table.notes if note.startswith("no entropy in this log. Likely cause: ")]
    assert "0.20.0" in said["reward"]
    assert "Unsloth" in said["reward"]
    assert "entropy_coef" in said["ppo_clip_ratio"]
    assert "calculate_entropy" in said["verl"]


def test_a_log_of_fine_tuning_says_that_it_has_no_reward(tmp_path: Path) -> None:
    entry = {"step": 1, "entropy": 0.5, "mean_token_accuracy": 0.9}
    table = one(put(tmp_path / "log", json.dumps([entry, entry | {"step": 2}])))
    assert any("supervised fine-tuning" in note for note in table.notes)


def test_every_framework_has_a_cause_and_an_entropy() -> None:
    for framework in frameworks.FRAMEWORKS:
        assert framework.without_entropy
        assert framework.columns["entropy"]
        assert framework.columns["reward"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("hello\nworld\n", ":1: no log of a known format \\('hello'\\)"),
        ('{"log_history": [\n{"step": 1, "reward": 0.5},\n{"step": 2, "rew', ":3: no valid JSON .*cut off"),
        ('{"log_history": [1, "a"]}', ":1: an entry is a int, not an object"),
        ('{"a": 1}', "is an object without log_history"),
        ("step:1 - actor/entropy:abc - critic/score/mean:x - y:1\n", ":1: .* is 'abc|'x', no number"),
        ('{"step": -1, "entropy": 0.5}\n' * 2, ":1: the step '-1' is no whole number from 0 on; 2 such"),
        ("step,loss\n1,0.5\n2,0.25\n", "no measure that is known; its keys: step, loss; --column"),
        (b"\x00\x01\x02" * 100, "is no text and no TensorBoard event file"),
        ("Step 1: {'reward': \n rollout 1: {'rollout/raw_reward': ", "the dictionary is broken or cut off"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path: Path, text: str | bytes, said: str) -> None:
    path = put(tmp_path / "log", text)
    with pytest.raises(ToybedError, match=said) as error:
        read([path])
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_paths_that_hold_no_log(tmp_path: Path) -> None:
    with pytest.raises(ToybedError, match="does not exist"):
        read([tmp_path / "none"])
    with pytest.raises(ToybedError, match="is a folder without TensorBoard event files or MLflow metrics"):
        read([tmp_path])
    with pytest.raises(ToybedError, match="no log was given"):
        read([])


def test_a_mark_far_into_a_file_is_found(tmp_path: Path) -> None:
    text = "some warning that is repeated\n" * 20_000 + "step:1 - actor/entropy:0.5 - critic/score/mean:0.1 - x:1\n"
    table = one(put(tmp_path / "log", text))
    assert (table.entropy.tolist(), table.other) == ([0.5], 20_000)


def test_a_line_without_an_end_does_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("toybed.llm.lines.LONGEST", 1000)
    monkeypatch.setattr("toybed.llm.lines.CHUNK", 100)
    row = "step:{} - actor/entropy:0.5 - critic/score/mean:0.1 - x:1\n"
    table = one(
        put(tmp_path / "log", row.format(1) + row.format(2).strip() + " - y:" + "1" * 5000 + "\n" + row.format(3))
    )
    assert table.step.tolist() == [1, 3]
    assert any("the line is too long" in note and ":2)" in note for note in table.notes)


def test_a_dropped_line_is_counted_and_placed(tmp_path: Path) -> None:
    rows = [json.dumps({"step": i, "optim/entropy": 0.5, "env/all/reward/total": 0.1}) for i in range(4)]
    rows[2] = rows[2][:20]
    table = one(put(tmp_path / "log", "\n".join(rows) + "\n"))
    assert (table.rows, table.dropped, table.step.tolist()) == (3, 1, [0, 1, 3])
    assert any(
        note.startswith("1 entry dropped: no valid JSON") and f"{tmp_path / 'log'}:3" in note for note in table.notes
    )


def test_steps_that_are_missing_are_told(tmp_path: Path) -> None:
    """Of a line whose mark is damaged nothing is left but the gap."""
    text = "".join(f"step:{i} - actor/entropy:0.5 - critic/score/mean:0.1 - x:1\n" for i in range(12))
    table = one(put(tmp_path / "log", text.replace("step:7", "stxp:7")))
    assert "steps are missing once between steps 6 and 8" in table.notes
    assert not one(put(tmp_path / "log", text)).notes


def test_nan_in_a_column_is_told(tmp_path: Path) -> None:
    rows = [{"step": i, "actor/entropy": 0.5 if i < 2 else float("nan"), "critic/score/mean": 0.1} for i in range(4)]
    table = one(put(tmp_path / "log", "".join(json.dumps(row) + "\n" for row in rows)))
    np.testing.assert_array_equal(table.entropy, [0.5, 0.5, np.nan, np.nan])
    assert "entropy (actor/entropy) is nan at 2 steps, first at step 2" in table.notes
