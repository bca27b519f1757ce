"""What ``vector_rewards`` compares: the contrasts that decide, and those that stand beside the claim."""

from __future__ import annotations

from toybed.benchmarks.vector_rewards_measures import BUDGETS, COUNTS, ArmPair
from toybed.benchmarks.vector_rewards_sweep import CONFLICT, MOST, NEARLY

MANY, FEW = "best@48", "best@6"
APART = 0.1  # of the L1 distance, which is at most 4
SAME = 0.01  # of best@n

LATER = tuple(f"best@{n}" for n in COUNTS)
DECIDING = {
    "one": ArmPair("VPO is behind GRPO at one answer.", "vpo", "grpo", "best@1", "below", told=("right@1",)),
    "many": ArmPair("VPO is ahead of GRPO at 48 answers.", "vpo", "grpo", MANY, told=(*LATER, "right@48")),
    "grows": ArmPair("Its lead grows from 6 to 48 answers.", "vpo", "grpo", MANY, since=FEW),
    "spread": ArmPair(
        "It keeps the spread of its base in reward space, of which GRPO loses most.",
        *("vpo", "grpo", "spread"),
        threshold=APART,
        starts=True,
    ),
    "conflict": ArmPair(
        "Where components conflict, the preferences bring what the same sets under one fixed preference do not.",
        *("vpo", "multi_rlvr", MANY),
        common=CONFLICT,
        told=("best@3",),
    ),
    "nearly": ArmPair(
        "Where components nearly agree, the preferences bring nothing.",
        *("vpo", "multi_rlvr", MANY, "within", SAME, NEARLY),
        told=("best@3",),
    ),
}
BESIDE = {
    "right, one": ArmPair("VPO has fewer right answers than GRPO at one.", "vpo", "grpo", "right@1", "below"),
    "three": ArmPair("VPO has overtaken GRPO at 3 answers.", "vpo", "grpo", "best@3", told=("right@3", "right@6")),
    "right": ArmPair("VPO also has more right answers than GRPO at 48.", "vpo", "grpo", "right@48"),
    "base": ArmPair("VPO is ahead of its base at 48 answers.", "vpo", "base_set", MANY, told=(*LATER, "spread")),
    "collinear": ArmPair(
        "Where all components are equal, VPO is not ahead of GRPO at 48 answers.",
        *("vpo", "grpo", MANY, "below", SAME, 1.0),
        told=("best@1",),
    ),
    "components": ArmPair(
        "What the components add: GRPO on their mean is ahead of GRPO on the number.",
        *("grpo_mean", "grpo", MANY),
        told=("best@1", "right@1", "spread"),
    ),
    "set": ArmPair(
        "What the set adds: Multi-RLVR (best) is ahead of GRPO on the mean.",
        *("multi_rlvr", "grpo_mean", MANY),
        told=("best@1", "best@3", "spread"),
    ),
    "set of numbers": ArmPair(
        "The set adds as much without components: GRPO on sets is ahead of GRPO.",
        *("grpo_set", "grpo", MANY),
        told=("best@1", "spread"),
    ),
    "preferences": ArmPair(
        "What the preferences add, components as found: VPO is ahead of Multi-RLVR (best).",
        *("vpo", "multi_rlvr", MANY),
        told=("best@3", "spread"),
    ),
    "most conflict": ArmPair(
        "What the preferences add where components conflict as much as they can: VPO is ahead of Multi-RLVR (best).",
        *("vpo", "multi_rlvr", MANY),
        common=MOST,
        told=("best@3",),
    ),
    "sum": ArmPair(
        "VPO is ahead of Multi-RLVR that adds its answers up.",
        *("vpo", "multi_rlvr_sum", MANY),
        told=("best@1", "spread"),
    ),
    "pkpo": ArmPair("VPO is ahead of PKPO on the number.", "vpo", "pkpo", MANY, told=("best@1", "best@24", "spread")),
    "max@k": ArmPair(
        "VPO is ahead of max@k on the weighted reward (PKPO on the mean).",
        *("vpo", "pkpo_vector", MANY),
        told=("best@1", "best@3", "best@24", "spread"),
    ),
    "max@k, as many": ArmPair(
        "VPO is ahead of max@k that is trained for as many answers as a set has (k = 3).",
        *("vpo", "pkpo_vector_3", MANY),
        told=(*LATER, "spread"),
    ),
    "max@k, as many, three": ArmPair("So it is at three answers.", "vpo", "pkpo_vector_3", "best@3"),
    "places": ArmPair(
        "Under one fixed preference, too, a set of three is ahead of max@k of three independent answers.",
        *("multi_rlvr", "pkpo_vector_3", MANY),
        told=("best@1", "best@3", "spread"),
    ),
    "group": ArmPair(
        "Max@k for the best of the whole group (k = 24) is ahead of that for the best of three.",
        *("pkpo_vector_24", "pkpo_vector_3", MANY),
        told=("best@1", "best@3", "best@24", "spread"),
    ),
    "max@k, conflict": ArmPair(
        "The same where components conflict.", "vpo", "pkpo_vector", MANY, common=CONFLICT, told=("best@24",)
    ),
    "parallel": ArmPair(
        "True sets are ahead of VPO's credit on parallel answers.",
        *("vpo", "vpo_parallel", MANY),
        told=("best@1", "best@3", "best@24", "spread"),
    ),
    "parallel, preferences": ArmPair(
        "What the preferences add to the credit on parallel answers, components as found.",
        *("vpo_parallel", "parallel_mean", MANY),
        threshold=SAME,
        told=("best@1", "best@24", "spread"),
    ),
    "parallel, conflict": ArmPair(
        "What the preferences add to the credit on parallel answers where components conflict.",
        *("vpo_parallel", "parallel_mean", MANY),
        common=CONFLICT,
        told=("best@24",),
    ),
    "parallel, nearly": ArmPair(
        "What the preferences add to the credit on parallel answers where components nearly agree: nothing.",
        *("vpo_parallel", "parallel_mean", MANY, "within", SAME, NEARLY),
        told=("best@24",),
    ),
    "gdpo": ArmPair("GDPO is ahead of GRPO at 48 answers.", "gdpo", "grpo", MANY, told=("best@1", "right@1", "spread")),
    "gdpo, mean": ArmPair(
        "Standardising each component adds to GRPO on their mean, at one answer.",
        "gdpo",
        "grpo_mean",
        "best@1",
        threshold=SAME,
    ),
    "evolution": ArmPair(
        "Evolutionary search solves more hard questions with VPO than with GRPO.",
        *("vpo", "grpo", "evolution_solved@128"),
        told=tuple(f"evolution_solved@{n}" for n in BUDGETS),
    ),
    "best of n": ArmPair(
        "So does the best of as many independent answers.",
        *("vpo", "grpo", "best_of_solved@128"),
        told=tuple(f"best_of_solved@{n}" for n in BUDGETS),
    ),
    "evolution, sets": ArmPair(
        "Evolutionary search solves more with VPO than with Multi-RLVR (best).",
        *("vpo", "multi_rlvr", "evolution_solved@128"),
        told=tuple(f"evolution_value@{n}" for n in BUDGETS),
    ),
    "fast, one": ArmPair(
        "At three times the learning rate, too, VPO is behind GRPO at one answer.",
        *("vpo_fast", "grpo_fast", "best@1", "below"),
    ),
    "fast, many": ArmPair(
        "At three times the learning rate, too, VPO is ahead of GRPO at 48 answers.",
        *("vpo_fast", "grpo_fast", MANY),
        told=(FEW, "spread"),
    ),
    "fast, conflict": ArmPair(
        "At three times the learning rate, too, preferences bring something where components conflict.",
        *("vpo_fast", "multi_rlvr_fast", MANY),
        common=CONFLICT,
    ),
}
