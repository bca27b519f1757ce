"""Published findings about breadth: coverage, lost first steps, fine-tuning beside RL, and sets of answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from toybed import laws
from toybed.agents.config import Setting
from toybed.benchmarks import search_squeeze_sweep as search
from toybed.benchmarks import vector_rewards_sweep as vectors
from toybed.benchmarks.access_or_ability import completion
from toybed.benchmarks.search_squeeze_measures import RIGHT, WRONG
from toybed.benchmarks.vector_rewards_measures import last
from toybed.findings import Arms, Array, Contrast, Part, Ranked, register, register_ranked
from toybed.study import Records

ONE, COVERAGE = "reward_test", "coverage@256_test"
RIGHT_TRAIN, WRONG_TRAIN = f"{RIGHT}_train", f"{WRONG}_train"
NOTHING = 0.01  # of best@48: "brings nothing" where components agree


def own_search(size: str) -> Mapping[str, Setting]:
    """From the varied base: RL measured at each step, and fine-tuning that goes on with right ones; the narrow base."""
    early = search.arms(size)["early"]
    on = replace(search.VARIED, right_only=True, before=search.VARIED)
    return {
        "rl_way": replace(early, probes_on_the_way=True),
        "sft_on": replace(early, supervised=on).with_learning(updates=0),
        "narrow": replace(early, supervised=search.NARROW).with_learning(updates=0),
    }


def own_vectors(size: str) -> Mapping[str, Setting]:
    """VPO where all components are equal, which the quick size of the question leaves out."""
    equal = vectors.arm_at("vpo", 1.0)
    return {equal: replace(vectors.arms("standard")[equal], learning=vectors.arms(size)["vpo"].learning)}


def change(records: Records, measure: str) -> Array:
    """A measure at the end less at the start, ``[n]``."""
    return records.at(measure, -1) - records.at(measure, 0)


def coverage_ratio(records: Arms) -> Array:
    """Distinct right trajectories after SFT over those of RL when it first has SFT's pass@1, ``[n]``.

    NaN where RL never has it.
    """
    sft, rl = records["sft_on"], records["rl_way"]
    rows = zip(sft.at("reward_train", -1), rl["reward_train"], rl[RIGHT_TRAIN], strict=True)
    matched = np.array([laws.value_at(*row) for row in rows])
    return sft.at(RIGHT_TRAIN, -1) / matched


def lead(records: Arms, measure: str, common: float = 0.0) -> Array:
    """VPO less GRPO, ``[n]``."""
    return last(records, "vpo", measure, common) - last(records, "grpo", measure, common)


def _completion(records: Arms, who: str = "") -> Array:
    return completion(records["grpo"], "abandoned", "test", who)


register(
    Contrast(
        "pass1-up-coverage-down",
        "access_or_ability",
        ("grpo",),
        (
            Part("held-out pass@1, end less start", lambda r: change(r["grpo"], ONE)),
            Part("coverage of distinct solutions, end less start", lambda r: change(r["grpo"], COVERAGE), "below"),
        ),
    ),
    Contrast(
        "locked-at-the-entrance",
        "access_or_ability",
        ("grpo",),
        (
            Part(
                "completion of abandoned steps, given less alone", lambda r: _completion(r) - _completion(r, "_alone")
            ),
            Part(
                "completion of abandoned steps, policy less random tokens",
                lambda r: _completion(r) - _completion(r, "_random"),
            ),
        ),
        note="the first part follows from what counts as abandoned; the second, added here, asks for ability",
    ),
    Contrast(
        "sft-diverse-keeps-coverage",
        "search_squeeze",
        (),
        (Part("distinct right trajectories, SFT over RL at its pass@1", coverage_ratio, "above", 1.0),),
        own_search,
        note="from one base, fine-tuning that goes on with the right ones among varied demonstrations",
    ),
    Contrast(
        "rl-squeezes-sft-expands",
        "search_squeeze",
        ("grpo", "sft_right"),
        (
            Part(
                "distinct wrong trajectories, GRPO's end less start", lambda r: change(r["grpo"], WRONG_TRAIN), "below"
            ),
            Part(
                "distinct right trajectories, SFT's end less start",
                lambda r: r["sft_right"].at(RIGHT_TRAIN, -1) - r["narrow"].at(RIGHT_TRAIN, 0),
            ),
        ),
        own_search,
    ),
    Contrast(
        "vpo-crosses",
        "vector_rewards",
        ("vpo", "grpo"),
        (
            Part("best@1, VPO less GRPO", lambda r: lead(r, "best@1"), "below"),
            Part("best@24, VPO less GRPO", lambda r: lead(r, "best@24")),
            Part("that at 24 answers less that at 3", lambda r: lead(r, "best@24") - lead(r, "best@3")),
        ),
        note="24 is the recorded number of answers that is nearest to the published 30",
    ),
    Contrast(
        "vpo-diversity",
        "vector_rewards",
        ("vpo", "grpo"),
        (Part("L1 distance of two answers' rewards, VPO less GRPO", lambda r: lead(r, "spread")),),
    ),
    Contrast(
        "vpo-needs-conflict",
        "vector_rewards",
        ("vpo", vectors.arm_at("vpo", vectors.CONFLICT), "grpo"),
        (
            Part(
                "lead at 48 answers, components in conflict less equal ones",
                lambda r: lead(r, "best@48", vectors.CONFLICT) - lead(r, "best@48", 1.0),
            ),
            Part("lead at 48 answers where components are equal", lambda r: lead(r, "best@48", 1.0), "below", NOTHING),
        ),
        own_vectors,
    ),
)
ANSWERS = "best@24_common_0_test"
register_ranked(
    {
        name: Ranked("vector_rewards", arm, accuracy=ANSWERS)
        for name, arm in (
            ("grpo_answers", "grpo"),
            ("max_at_k", "pkpo_vector"),
            ("multi_rlvr", "multi_rlvr"),
            ("vpo", "vpo"),
        )
    }
)
