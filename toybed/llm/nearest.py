"""Which toy runs did most nearly what a run of a language model did."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np

from toybed.llm.signature import FEWEST, Curve, Signature, curve, signature
from toybed.store import Store

MEASURES = (("sampled_entropy", "sampled_reward"), ("entropy_train", "reward_train"))
"""What is compared: of the sampled batch, as logs of language models have it, else the exact values."""

FEWEST_SHARES = 4  # of the signature that both runs must have


@dataclass(frozen=True)
class Toy:
    """The runs of one setting.

    Attributes:
        label: its arm in the question, or what it is.
        config: the setting.
        curves: of its runs, by seed.
        signature: the mean of theirs.
        scatter: mean distance of its runs from that; toys that differ in distance by less are not told apart.
    """

    label: str
    config: Mapping[str, Any]
    curves: tuple[Curve, ...]
    signature: Signature
    scatter: float


def toys(store: Store, arms: Mapping[str, str] | None = None) -> list[Toy]:
    """The settings in a store that have runs which did not diverge.

    Args:
        store: with runs.
        arms: setting as JSON to label, for the settings that are wanted; None takes all.
    """
    names = [name for pair in MEASURES for name in pair]
    groups: dict[str, list[Curve]] = {}
    for config, curves in store.curves(names):
        pair = next((pair for pair in MEASURES if all(name in curves for name in pair)), None)
        if pair is None or not (arms is None or config in arms):
            continue
        entropy, reward = (curves[name] for name in pair)
        steps, i, j = np.intersect1d(entropy.steps, reward.steps, return_indices=True)
        both = curve(steps, entropy.values[i], reward.values[j])
        if len(both) == len(steps) >= FEWEST:  # a diverged run has values that are not finite
            groups.setdefault(config, []).append(both)
    return [_toy(config, found, arms) for config, found in groups.items()]


def _toy(config: str, curves: list[Curve], arms: Mapping[str, str] | None) -> Toy:
    signatures = [signature(of) for of in curves]
    values = np.array([astuple(of) for of in signatures])
    known = np.isfinite(values)
    mean = Signature(*map(float, np.where(known, values, 0).sum(0) / np.where(known.any(0), known.sum(0), np.nan)))
    scatter = float(np.mean([distance(of, mean) for of in signatures])) if len(curves) > 1 else float("nan")
    setting = json.loads(config)
    label = arms[config] if arms else described(setting)
    return Toy(label, setting, tuple(curves), mean, scatter)


def described(config: Mapping[str, Any]) -> str:
    """A setting in a few words: objective, world, policy, and what differs in them from the catalogue."""
    parts = []
    for name in ("objective", "world", "policy"):
        spec = config.get(name) or {}
        options = ", ".join(f"{key}={value}" for key, value in sorted(spec.get("options", {}).items()))
        parts.append(f"{spec.get('name', '?')}{f'({options})' if options else ''}")
    parts += [] if config.get("supervised") else ["no base"]
    parts += ["a learner of its own"] if config.get("learner") else []
    return ", ".join(parts)


def distance(one: Signature, two: Signature) -> float:
    """Root mean square difference of the shares that both have; infinite where these are fewer than four."""
    difference = np.array(astuple(one)) - np.array(astuple(two))
    found = difference[np.isfinite(difference)]
    return float(np.sqrt(np.mean(found**2))) if len(found) >= FEWEST_SHARES else float("inf")


def nearest(to: Signature, among: list[Toy], count: int = 5) -> list[tuple[float, Toy]]:
    """The settings whose mean signature is nearest, with their distance."""
    ranked = sorted(((distance(to, toy.signature), i) for i, toy in enumerate(among)))
    return [(far, among[i]) for far, i in ranked[:count] if np.isfinite(far)]
