"""What ``toybed show module:name`` tells of an objective, a world or a question of one's own."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from functools import partial
from typing import Any

from toybed import objectives
from toybed.envs.core import TokenEnv
from toybed.errors import ToybedError
from toybed.objectives.catalogue import STAGES
from toybed.objectives.objective import Objective
from toybed.own import load
from toybed.study import Study

Entry = dict[str, Any]


def entry(target: str, question: Callable[[str], Entry], reads: Callable[[Objective], list[str]]) -> Entry:
    """The entry of what lies at ``module:name``.

    Args:
        target: where it is.
        question: makes the entry of a question, given its name.
        reads: tells what an objective needs besides the usual.

    Raises:
        ToybedError: there is nothing, or it is none of these; or it fails when it is looked at.
    """
    thing = load(target, "question, objective or world")
    try:
        if isinstance(thing, Study):
            return {**question(target), "to do": [f"toybed run {target} --quick", f"toybed run {target}"]}
        if isinstance(thing, type) and issubclass(thing, TokenEnv):
            return _world(target, thing)
        if isinstance(thing, Objective) or inspect.isroutine(thing):
            return _objective(target, thing, reads)
    except ToybedError:
        raise
    except Exception as error:  # whatever a user's code does
        raise ToybedError(f"{target} fails with {type(error).__name__}: {error}") from error
    raise ToybedError(
        f"{target} is a {type(thing).__name__}; allowed: a Study, an Objective, a loss function, a class derived "
        "from toybed.envs.core.TokenEnv"
    )


def _world(target: str, found: type[TokenEnv]) -> Entry:
    world = found()
    knobs = {f.name: f.default for f in fields(found) if f.default is not MISSING and f.name != "device"}
    return {
        "name": target,
        "text": inspect.getdoc(found) or "",
        "knobs": [f"{name}={value!r}" for name, value in knobs.items()],
        "size": f"{world.horizon} tokens of {world.vocabulary}, {len(world.prompts())} prompts",
        "reward": f"{world.optimum():.4g} at best, {world.random_baseline():.4g} by chance",
        "to do": [f"toybed compare grpo rloo --on {target}"],
    }


def _objective(target: str, thing: Any, reads: Callable[[Objective], list[str]]) -> Entry:
    objective = objectives.get(target)
    told: Entry = {"name": target}
    if isinstance(thing, Objective):
        stages = _stages(objective)
        nearest, theirs = _nearest(objective.name, stages)
        told["stages, * marks what differs from the nearest of the catalogue"] = [
            f"{' ' if stages[part] == theirs[part] else '*'} {part}: {stages[part]}" for part in STAGES
        ]
        told[f"differs from {nearest}"] = [
            f"{part}: {theirs[part]} -> {stages[part]}" for part in STAGES if stages[part] != theirs[part]
        ]
    else:
        told["text"] = inspect.getdoc(thing) or ""
        told["gradient"] = f"that of {inspect.signature(thing)}, given the advantages of grpo"
    told["reads besides log-probabilities, mask and reward"] = reads(objective)
    told["to do"] = [f"toybed check {target}", f"toybed compare grpo {target}"]
    return told


def _nearest(own: str, stages: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """The name and stages of the row of the catalogue that has most in common; of equals the one of the same name."""
    rows = {name: _stages(objectives.get(name)) for name in objectives.names()}
    best = max(rows, key=lambda name: (sum(rows[name][part] == stages[part] for part in STAGES), name == own))
    return best, rows[best]


def _stages(objective: Objective) -> dict[str, str]:
    values = {part: getattr(objective, part) for part in STAGES}
    return {
        part: " + ".join(map(_words, value if isinstance(value, tuple) else (value,) if value else ())) or "none"
        for part, value in values.items()
    }


def _words(stage: Any) -> str:
    """``ppo_clip(clip_high=0.2, clip_low=0.2)``, or a class's name."""
    if isinstance(stage, partial):
        arguments = ", ".join(f"{name}={value}" for name, value in sorted(stage.keywords.items()))
        return f"{_words(stage.func)}({arguments})"
    return str(getattr(stage, "__name__", type(stage).__name__))
