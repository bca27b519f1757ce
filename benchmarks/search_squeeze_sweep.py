"""The sweep of ``search_squeeze``: two bases, GRPO and its rivals from them, and supervised fine-tuning beside it."""

from __future__ import annotations

from dataclasses import replace

from toybed.agents.config import Learning, Setting, Spec, Supervised

WORLD = {"shift": "index"}  # the test split: the dominant tool has gone stale
TIED = {"dominant": 0.65}  # where the dominant tool is no better than a guessed specialist
RETRY = {"retry": True}  # a failed call may be followed by another: breadth within one response
RATE, SLOW = 0.15, 0.05
UPDATES = {"quick": 80, "standard": 300, "full": 600}

VARIED = Supervised(steps=150, learning_rate=0.1, demonstrator={"habit": 0.3})
NARROW = replace(VARIED, demonstrator={"habit": 0.9})
FINE_TUNED = {
    "sft_right": replace(VARIED, right_only=True, before=NARROW),
    "sft_all": replace(VARIED, before=NARROW),
    "sft_narrow": replace(NARROW, right_only=True, before=NARROW),
    "sft_narrow_varied": replace(NARROW, right_only=True, before=VARIED),
}
"""Supervised fine-tuning of the narrow base: on the right ones among varied demonstrations, on all of them, and on the
right ones among narrow ones; of the varied base on the right ones among narrow ones."""
EARLY = 24  # updates that are measured one by one

INTERVENTIONS = {
    "entropy_0.03": ("Entropy bonus .03", Spec("grpo", {"entropy_coefficient": 0.03})),
    "entropy_0.1": ("Entropy bonus .1", Spec("grpo", {"entropy_coefficient": 0.1})),
    "entropy_0.3": ("Entropy bonus .3", Spec("grpo", {"entropy_coefficient": 0.3})),
    "reference_kl": ("KL to the base .1", Spec("grpo", {"kl_coefficient": 0.1})),
    "clip_higher": ("Clip-higher", Spec("grpo", {"clip_high": 0.28})),
    "clip_cov": ("Clip-Cov", Spec("clip_cov")),
    "kl_cov": ("KL-Cov", Spec("kl_cov")),
    "gppo": ("GPPO", Spec("gppo")),
    "nsr": ("NSR", Spec("nsr")),
    "maxrl": ("MaxRL", Spec("maxrl")),
    "passk": ("Pass@k training", Spec("passk")),
    "pkpo": ("PKPO", Spec("pkpo")),
    "vpo_parallel": ("VPO, parallel", Spec("vpo_parallel")),
    "gdpo": ("GDPO", Spec("gdpo")),
}

QUICK = ("entropy_0.1", "clip_cov", "passk", "vpo_parallel")
"""The interventions of the quick size."""


def arms(size: str) -> dict[str, Setting]:
    """GRPO from both bases, what might keep it broad, supervised fine-tuning, and three other conditions."""
    updates = UPDATES[size]
    grpo = Setting(
        world=Spec("tool_search", WORLD),
        policy=Spec("tabular"),
        supervised=VARIED,
        learning=Learning(updates=updates, prompts=64, learning_rate=RATE, measure_every=updates // 20),
        probes=("trajectories",),
    )
    still = {arm: replace(grpo, supervised=config).with_learning(updates=0) for arm, config in FINE_TUNED.items()}
    early = grpo.with_learning(updates=EARLY, measure_every=1)
    return {
        "grpo": replace(grpo, probes=("trajectories", "start_mixtures")),
        "narrow_grpo": replace(grpo, supervised=NARROW),
        "early": early,
        "narrow_early": replace(early, supervised=NARROW),
        **still,
        "sft_right_grpo": replace(grpo, supervised=FINE_TUNED["sft_right"]),
        **{
            arm: replace(grpo, objective=INTERVENTIONS[arm][1]) for arm in (QUICK if size == "quick" else INTERVENTIONS)
        },
        "slow": grpo.with_learning(learning_rate=SLOW),
        "tied": replace(grpo, world=Spec("tool_search", {**WORLD, **TIED})),
        "retry": replace(grpo, world=Spec("tool_search", {**WORLD, **RETRY}), probes=()),
    }
