"""Small logs of every format, written from the same rows as each program writes them."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

Rows = Sequence[Mapping[str, float]]

COLUMNS = ("entropy", "reward", "accuracy", "kl", "clip_fraction", "response_length")


def rows(count: int = 12, first: int = 1) -> list[dict[str, float]]:
    """Entries with every column, the accuracy at each fourth only.

    All numbers are multiples of 1/32, which a float32 and five decimals hold exactly.
    """
    made = []
    for i in range(count):
        row = {
            "step": first + i,
            "entropy": 2 - i / 16,
            "reward": i / 16,
            "kl": i / 8,
            "clip_fraction": 0.0625 * (i % 3),
        }
        row["response_length"] = 100.0 + i
        if i % 4 == 0:
            row["accuracy"] = 0.25 + i / 32
        made.append(row)
    return made


def renamed(row: Mapping[str, float], names: Mapping[str, str], step: str | None = "step") -> dict[str, float]:
    """A row under a program's keys."""
    out: dict[str, float] = {} if step is None else {step: int(row["step"])}
    return out | {names[column]: row[column] for column in COLUMNS if column in row and column in names}


TRL = {
    "entropy": "entropy",
    "reward": "reward",
    "accuracy": "eval_reward",
    "kl": "kl",
    "clip_fraction": "clip_ratio/region_mean",
    "response_length": "completions/mean_length",
}
VERL = {
    "entropy": "actor/entropy",
    "reward": "critic/score/mean",
    "accuracy": "val-core/openai/gsm8k/acc/mean@8",
    "kl": "actor/kl_loss",
    "clip_fraction": "actor/pg_clipfrac",
    "response_length": "response_length/mean",
}
OLD_VERL = VERL | {
    "entropy": "actor/entropy_loss",
    "accuracy": "val/test_score/openai/gsm8k",
    "kl": "critic/kl",
}
OPENRLHF = {
    "entropy": "entropy_loss",
    "reward": "reward",
    "accuracy": "eval_math_pass1",
    "kl": "kl",
    "clip_fraction": "ppo_clip_ratio",
    "response_length": "response_length",
}
PRIME = {
    "entropy": "entropy/all/mean",
    "reward": "reward/all/mean",
    "accuracy": "eval/aime/avg@32",
    "kl": "mismatch_kl/all/mean",
    "clip_fraction": "is_masked/mean",
    "response_length": "decode_len/all/mean",
}
NEMO = {
    "entropy": "train/approx_entropy",
    "reward": "train/reward",
    "accuracy": "validation/accuracy",
    "kl": "train/kl_penalty",
    "response_length": "train/mean_gen_tokens_per_sample",
}
SLIME = {
    "entropy": "train/entropy_loss",
    "reward": "rollout/raw_reward",
    "accuracy": "eval/aime",
    "kl": "train/kl_loss",
    "clip_fraction": "train/pg_clipfrac",
    "response_length": "rollout/response_len/mean",
}
TINKER = {
    "entropy": "optim/entropy",
    "reward": "env/all/reward/total",
    "accuracy": "test/env/all/correct",
    "kl": "optim/kl_sample_train_v1",
    "response_length": "env/all/ac_tokens_per_turn",
}
SWIFT = TRL | {"entropy": "entropy/mean"}


def trainer_state(folder: Path, data: Rows) -> Path:
    """TRL's trainer_state.json, with evaluations as entries of their own and the summary at the end."""
    history: list[dict[str, float | None]] = []
    for row in data:
        train = renamed({k: v for k, v in row.items() if k != "accuracy"}, TRL)
        history.append(train | {"loss": 0.0, "epoch": 0.1, "grad_norm": None})
        if "accuracy" in row:
            history.append({"step": row["step"], "eval_reward": row["accuracy"], "eval_loss": 0.0})
    history.append({"step": data[-1]["step"], "train_runtime": 12.5})
    return _write(folder / "state", json.dumps({"global_step": len(data), "log_history": history}, indent=2))


def log_history(folder: Path, data: Rows) -> Path:
    """The same, the list alone, on one line."""
    state = json.loads(trainer_state(folder, data).read_text())
    return _write(folder / "history", json.dumps(state["log_history"]))


def trl_console(folder: Path, data: Rows) -> Path:
    """TRL's console under transformers 5: strings of four digits, after a progress bar, no step."""
    out = []
    for row in data:
        train = renamed({k: v for k, v in row.items() if k != "accuracy"}, TRL, step=None)
        out.append(
            "\r  8%|▊         | 1/12 [00:01<00:12]\r" + str({"loss": "0.1"} | {k: f"{v:.6g}" for k, v in train.items()})
        )
        if "accuracy" in row:
            out.append(str({"eval_loss": 0.5, "eval_reward": row["accuracy"], "epoch": 0.5}))
    out.append(str({"train_runtime": "12.5", "epoch": "1"}))
    return _write(folder / "output", "\n".join(out) + "\n")


def old_verl_console(folder: Path, data: Rows) -> Path:
    """verl before 0.5: four decimals here, colours, steps from the start, validation on lines of its own."""
    out = ["Started a local Ray instance.", "\x1b[36m(main_task pid=1)\x1b[0m {'actor': {'clip_ratio': 0.2,"]
    for row in data:
        prefix = "\x1b[36m(main_task pid=1)\x1b[0m "
        train = renamed({k: v for k, v in row.items() if k != "accuracy"}, OLD_VERL, step=None)
        pairs = " - ".join(
            f"{key}:{value:.4f}" for key, value in ({"actor/lr(1e-4)": 0.0} | train | {"timing/gen": 1}).items()
        )
        out.append(f"{prefix}step:{row['step']} - {pairs}")
        if "accuracy" in row:
            out.append(f"{prefix}step:{row['step']} - {OLD_VERL['accuracy']}:{row['accuracy']:.5f}")
    return _write(folder / "old", "\n".join(out) + "\n")


def verl_console(folder: Path, data: Rows) -> Path:
    """verl from 0.5 on under NumPy 2, with the step among its keys and a progress bar behind a line."""
    out = []
    for row in data:
        pairs = {"training/global_step": row["step"], "actor/lr": 1e-06, **renamed(row, VERL, step=None), "perf/x": 1}
        line = " - ".join(
            f"{key}:np.float64({value})" if key in VERL.values() else f"{key}:{value}" for key, value in pairs.items()
        )
        out.append(f"(TaskRunner pid=7) step:{row['step']} - {line}")
        out.append("Training Progress:   8%|▊         | 1/12 [00:01<00:12, 1.00s/it]")
    return _write(folder / "new", "\n".join(out) + "\n")


def verl_jsonl(folder: Path, data: Rows) -> Path:
    """verl's file logger."""
    return _lines(folder / "verl", [{"step": int(row["step"]), "data": renamed(row, VERL, step=None)} for row in data])


def openrlhf_console(folder: Path, data: Rows) -> Path:
    """OpenRLHF from 0.8 on."""
    out = []
    for row in data:
        train = renamed({k: v for k, v in row.items() if k != "accuracy"}, OPENRLHF, step=None)
        out.append(
            f"2025-06-01 12:00:00.1 INFO ppo.py:1 ✨ Global step {row['step']}: { ({'policy_loss': 0.0} | train)!r}"
        )
        if "accuracy" in row:
            metrics = {OPENRLHF["accuracy"]: row["accuracy"]}
            out.append(f"✨ Evaluation completed in 0:00:12, global_step {row['step']}, eval_metrics: {metrics!r}")
    return _write(folder / "openrlhf", "\n".join(out) + "\n")


def prime_console(folder: Path, data: Rows) -> Path:
    """prime-rl's trainer and orchestrator in one file, the first half of the lines in the older style."""
    out = []
    for i, row in enumerate(data):
        colon = ":" if i < len(data) // 2 else ""
        start = f"12:00:00 SUCCESS Step {row['step']} | "
        measures = f"Loss{colon} 0.01 | Entropy{colon} {row['entropy']:.4f} | Mismatch KL{colon} {row['kl']:.4f}"
        out.append(f"{start}Time: 3.20s | {measures}")
        out.append(f"{start}3.2s | Reward{colon} {row['reward']:.4f} | Seq. Length{colon} 120.0 tokens/sample")
    return _write(folder / "prime", "\n".join(out) + "\n")


def prime_jsonl(folder: Path, data: Rows) -> Path:
    """prime-rl's file monitor, both programs in one file."""
    out: list[dict[str, float]] = []
    for row in data:
        both = renamed(row, PRIME)
        trainer = {key: both[key] for key in ("step", PRIME["entropy"], PRIME["kl"], PRIME["clip_fraction"])}
        out += [trainer | {"time": 1.5}, {key: both[key] for key in both if key == "step" or key not in trainer}]
    return _lines(folder / "metrics", out)


def nemo_dump(folder: Path, data: Rows) -> Path:
    """NeMo-RL's dump of event files: steps are keys."""
    dump: dict[str, dict[str, float]] = {"timing/train/total": {str(row["step"]): 1.0 for row in data}}
    for row in data:
        for key, value in renamed(row, NEMO, step=None).items():
            dump.setdefault(key, {})[str(row["step"])] = value
    return _write(folder / "dump", json.dumps(dump, indent=2))


def slime_console(folder: Path, data: Rows) -> Path:
    """slime with one update for each rollout."""
    out = []
    for row in data:
        keys = renamed(row, SLIME, step=None)
        for word, prefix in (("rollout", "rollout/"), ("step", "train/"), ("eval", "eval/")):
            of = {key: value for key, value in keys.items() if key.startswith(prefix)}
            if of:
                out.append(f"[2025-09-01 12:00:00] train.py:1 - {word} {row['step']}: {of!r}")
        out.append(f"perf {row['step']}: {{'perf/time': 1.5}}")
    return _write(folder / "slime", "\n".join(out) + "\n")


def tinker_jsonl(folder: Path, data: Rows) -> Path:
    """tinker-cookbook."""
    return _lines(folder / "tinker", [renamed(row, TINKER) for row in data])


def swift_jsonl(folder: Path, data: Rows) -> Path:
    """ms-swift: the step is "12/560", and the last line holds the whole history again."""
    out: list[object] = []
    for row in data:
        out.append(
            renamed(row, SWIFT, step=None) | {"global_step/max_steps": f"{row['step']}/560", "elapsed_time": "1m"}
        )
    return _lines(folder / "swift", [*out, {"log_history": out, "best_metric": None}])


def wandb_csv(folder: Path, data: Rows) -> Path:
    """W&B's run.history() of a TRL run as pandas writes it."""
    keys = {column: f"train/{TRL[column]}" for column in COLUMNS} | {"accuracy": "eval/reward"}
    header = ["", "_step", "_runtime", "train/global_step", *keys.values()]
    out = [",".join(header)]
    for i, row in enumerate(data):
        cells = [i, 3 * i, 1.5 * i, row["step"], *(row.get(column, "") for column in COLUMNS)]
        out.append(",".join(map(str, cells)))
    return _write(folder / "wandb", "\n".join(out) + "\n")


def wandb_json(folder: Path, data: Rows) -> Path:
    """The same as JSON records with NaN between clocks, and verl's keys on W&B's own counter."""
    out = [{"_step": int(row["step"]), **{VERL[c]: row.get(c, float("nan")) for c in COLUMNS}} for row in data]
    return _write(folder / "wandb-json", json.dumps(out))


def tensorboard(folder: Path, data: Rows) -> Path:
    """An event directory of an HF trainer: each tag an event of its own."""
    events = [event(0, b"")]
    for row in data:
        for column in COLUMNS:
            if column in row:
                key = "eval/reward" if column == "accuracy" else f"train/{TRL[column]}"
                events.append(event(int(row["step"]), summary(key, row[column])))
        events.append(event(int(row["step"]), summary("train/loss", 0.5)))
    path = folder / "runs"
    path.mkdir(exist_ok=True)
    (path / "events").write_bytes(b"".join(events))
    return path


def mlflow(folder: Path, data: Rows) -> Path:
    """A run of MLflow's file store with verl's keys; metrics of data sets have five fields."""
    run = folder / "mlruns" / "1" / "abc"
    for row in data:
        for key, value in renamed(row, VERL, step=None).items():
            path = run / "metrics" / key.replace("@", "_at_")
            path.parent.mkdir(parents=True, exist_ok=True)
            more = " name digest" if key == VERL["kl"] else ""
            with path.open("a", encoding="utf-8") as file:
                file.write(f"1700000000000 {value} {row['step']}{more}\n")
    (run / "metrics" / "perf").write_text("1700000000000 1.0 1\n", encoding="utf-8")
    return run


def plain_csv(folder: Path, data: Rows) -> Path:
    """A CSV with the table's own names, quoted, with semicolons."""
    out = [";".join(f'"{name}"' for name in ("step", *COLUMNS))]
    out += [";".join([str(row["step"]), *(str(row.get(column, "")) for column in COLUMNS)]) for row in data]
    return _write(folder / "plain", "\n".join(out) + "\n")


@dataclass(frozen=True)
class Sample:
    """How one format is written, and what reading it must give."""

    write: Callable[[Path, Rows], Path]
    container: str
    framework: str
    keys: Mapping[str, str]


def _hf(names: Mapping[str, str]) -> dict[str, str]:
    return {column: "eval/reward" if column == "accuracy" else f"train/{key}" for column, key in names.items()}


SAMPLES = {
    "trainer_state": Sample(trainer_state, "JSON document", "TRL", TRL),
    "log_history": Sample(log_history, "JSON document", "TRL", TRL),
    "trl_console": Sample(trl_console, "TRL console", "TRL", TRL),
    "old_verl_console": Sample(old_verl_console, "verl console", "verl", OLD_VERL),
    "verl_console": Sample(verl_console, "verl console", "verl", VERL),
    "verl_jsonl": Sample(verl_jsonl, "JSON, one object a line", "verl", VERL),
    "openrlhf_console": Sample(openrlhf_console, "OpenRLHF console", "OpenRLHF", OPENRLHF),
    "prime_console": Sample(
        prime_console, "prime-rl console", "prime-rl", {"entropy": "Entropy", "reward": "Reward", "kl": "Mismatch KL"}
    ),
    "prime_jsonl": Sample(prime_jsonl, "JSON, one object a line", "prime-rl", PRIME),
    "nemo_dump": Sample(nemo_dump, "JSON document", "NeMo-RL", NEMO),
    "slime_console": Sample(slime_console, "slime console", "slime", SLIME),
    "tinker_jsonl": Sample(tinker_jsonl, "JSON, one object a line", "tinker-cookbook", TINKER),
    "swift_jsonl": Sample(swift_jsonl, "JSON, one object a line", "ms-swift", SWIFT),
    "wandb_csv": Sample(wandb_csv, "CSV", "TRL", _hf(TRL)),
    "wandb_json": Sample(wandb_json, "JSON document", "verl", VERL),
    "tensorboard": Sample(tensorboard, "TensorBoard event directory", "TRL", _hf(TRL)),
    "mlflow": Sample(mlflow, "MLflow file store", "verl", VERL | {"accuracy": VERL["accuracy"].replace("@", "_at_")}),
    "plain_csv": Sample(plain_csv, "CSV", "plain columns", {column: column for column in COLUMNS}),
}


# -- event files, written bit by bit -----------------------------------------------------------------------------------
def crc32c(data: bytes) -> int:
    """CRC-32C, bit by bit."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
    return value ^ 0xFFFFFFFF


def masked(data: bytes) -> bytes:
    """The checksum of a record as TensorFlow writes it."""
    value = crc32c(data)
    return struct.pack("<I", (((value >> 15) | (value << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


def record(data: bytes) -> bytes:
    """One record."""
    length = struct.pack("<Q", len(data))
    return length + masked(length) + data + masked(data)


def varint(value: int) -> bytes:
    """A number of a protocol buffer."""
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def sized(field: int, data: bytes) -> bytes:
    """A field with a length."""
    return varint(field << 3 | 2) + varint(len(data)) + data


def summary(tag: str, value: float) -> bytes:
    """One scalar."""
    return sized(1, sized(1, tag.encode()) + varint(2 << 3 | 5) + struct.pack("<f", value))


def event(step: int, of: bytes) -> bytes:
    """One event: time, step, summary."""
    return record(varint(1 << 3 | 1) + struct.pack("<d", 1.7e9) + varint(2 << 3) + varint(step) + sized(5, of))


def _write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def _lines(path: Path, objects: Sequence[object]) -> Path:
    return _write(path, "".join(json.dumps(x) + "\n" for x in objects))
