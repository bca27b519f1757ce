"""Which key of an entry is its step, and what that counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from toybed.llm.rows import Dropped, Item, Other, Row, Wanted, flat, whole

STEPS = {
    "step": "",
    "global_step/max_steps": "",
    "train/global_step": "",
    "trainer/global_step": "",
    "training/global_step": "",
    "global_step": "",
    "eval/global_step": "",
    "train/step": "update",
    "rollout/step": "rollout",
    "eval/step": "rollout",
    "progress/batch": "",
    "Step": "",
    "_step": "W&B's own counter",
}
"""Keys in order of preference, and what each counts: "" is the program's usual step; W&B's ``_step`` counts calls."""


def step_key(keys: Mapping[str, Any]) -> str | None:
    """The best key that an entry has a step under, or None."""
    return next((key for key in STEPS if keys.get(key) not in (None, "")), None)


def entry(line: int, found: Any, wanted: Wanted, step: str | None = None) -> Item:
    """The row of one entry: an object of keys and values.

    Args:
        line: where it stands.
        found: what was parsed.
        wanted: which keys are kept.
        step: the key of the step, where the user names one.
    """
    if not isinstance(found, dict):
        return Dropped(line, f"an entry is a {type(found).__name__}, not an object of keys and values")
    if isinstance(found.get("log_history"), list):  # ms-swift ends with the whole history once more
        return Other()
    values = dict(flat(found))
    kept = {key: value for key, value in values.items() if wanted(key)}
    key = step or step_key(values)
    if key is None or key not in values:
        return Dropped(line, "no step") if kept else Other()
    try:
        return Row(line, whole(values[key]), kept, STEPS.get(key, ""))
    except ValueError as error:
        return Dropped(line, str(error))
