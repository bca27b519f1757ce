"""The sweep of ``critique_feedback``: GRPO, critiques by degree and by noise, and what each part of the method does."""

from __future__ import annotations

from dataclasses import replace

from toybed.agents.config import Critique, Learning, Setting, Spec, Supervised

HARD = 0.25  # share of types that are hard: the plateau of outcomes alone is 1 - HARD
GROUP, ROUNDS = 8, 6
RESPONSES = GROUP - 1 + ROUNDS  # at most, for a prompt
FAR = 4  # times the updates, as a control for the length of training
FASTER = 3  # times the learning rate
UNCLIPPED = 1e9  # a bound of the ratio that is never met

UPDATES = {"quick": 60, "standard": 160, "full": 480}
TABLE_UPDATES = {"quick": 60, "standard": 160, "full": 320}

NOISE = (0.1, 0.25, 0.5)
BONUS = 0.01  # nats of entropy, in units of reward

DR_GRPO = Spec("dr_grpo", {"clip_low": UNCLIPPED, "clip_high": UNCLIPPED})
SHAPED, IMITATION = Spec("critique_grpo"), Spec("sft")

QUICK = ("grpo", "far", "indicative", "full", "table_far", "table_full")
"""The arms of the quick size."""
ONLY_FULL = (
    *("sampled", "noise_0.1", "noise_0.25_longer", "noise_0.5_unshaped", "noise_0.5_all"),
    *("solution_unshaped", "solution_imitated"),
    *("table_grpo", "table_none", "table_indicative", "table_located", "table_noise_0.25"),
)
"""Arms of the full size only: a world for each seed leaves no time for them."""


def arms(size: str) -> dict[str, Setting]:
    """GRPO by length and learning rate, critiques by degree and noise, ablations; and tables, ``table_...``."""
    network = Setting(
        world=Spec("plan_exec", {"hard_frac": HARD}),
        policy=Spec("mlp", {"width": 64}),
        supervised=Supervised(),
        learning=_learning(UPDATES[size], 1e-3),
    )
    table = replace(
        network,
        policy=Spec("tabular"),
        supervised=Supervised(steps=150, learning_rate=0.1),
        learning=_learning(TABLE_UPDATES[size], 0.1),
    )
    every = {
        **_main(network),
        "slow": network.with_learning(learning_rate=network.learning.learning_rate / FASTER),
        "fast": network.with_learning(learning_rate=network.learning.learning_rate * FASTER),
        "sampled": replace(network, objective=DR_GRPO),
        "bonus": replace(network, objective=Spec("grpo", {"entropy_coefficient": BONUS})),
        **_noisy(network),
        **_ablations(network),
        **{f"table_{arm}": setting for arm, setting in _main(table).items() if arm != "solution"},
        "table_noise_0.25": refined(table, Critique(noise=0.25)),
    }
    left_out = () if size == "full" else ONLY_FULL
    return {arm: every[arm] for arm in (QUICK if size == "quick" else every) if arm not in left_out}


def refined(grpo: Setting, critique: Critique, objective: Spec = SHAPED) -> Setting:
    """Critique-GRPO with as many responses as GRPO at most."""
    return replace(grpo, objective=objective, learner=critique).with_learning(group=GROUP)


def _learning(updates: int, rate: float) -> Learning:
    return Learning(
        updates=updates, prompts=32, group=RESPONSES, learning_rate=rate, measure_every=max(updates // 20, 1)
    )


def _main(grpo: Setting) -> dict[str, Setting]:
    return {
        "grpo": grpo,
        "far": grpo.with_learning(updates=FAR * grpo.learning.updates),
        **{degree: refined(grpo, Critique(degree)) for degree in ("none", "indicative", "located")},
        "full": refined(grpo, Critique()),
        "solution": refined(grpo, Critique("solution")),
    }


def _noisy(grpo: Setting) -> dict[str, Setting]:
    """The full critique with noise; also with ratios, and at 0.25 with twice the attempts (19 responses)."""
    quarter, half = Critique(noise=0.25), Critique(noise=0.5)
    return {
        **{f"noise_{noise:g}": refined(grpo, Critique(noise=noise)) for noise in NOISE},
        "noise_0.25_unshaped": refined(grpo, quarter, DR_GRPO),
        "noise_0.25_longer": refined(grpo, replace(quarter, rounds=2 * ROUNDS)),
        "noise_0.5_unshaped": refined(grpo, half, DR_GRPO),
        "noise_0.5_all": refined(grpo, replace(half, keep="all")),
    }


def _ablations(grpo: Setting) -> dict[str, Setting]:
    """The full critique with one thing changed; and solutions that are imitated."""
    imitated = Critique(taken_for="demonstration")
    return {
        "unshaped": refined(grpo, Critique(), DR_GRPO),
        "all": refined(grpo, Critique(keep="all")),
        "imitated": refined(grpo, imitated, IMITATION),
        "solution_unshaped": refined(grpo, Critique("solution"), DR_GRPO),
        "solution_imitated": refined(grpo, replace(imitated, degree="solution"), IMITATION),
    }
