"""What ``several_objectives`` compares: the contrasts that decide, and those that stand beside the claim."""

from __future__ import annotations

from toybed.benchmarks.several_objectives_measures import COVERAGE, ENTROPY, MANY, SUCCESS, WorldPair
from toybed.benchmarks.several_objectives_sweep import BROADER, CHANNELS, NAMES, STEPWISE

SAME = 0.02  # of success: less than this is no difference
SLOW = "outcome_slow"


def _deciding(world: str) -> list[WorldPair]:
    return [
        WorldPair(
            "paid for the process too, a policy keeps more entropy at equal success.", world, "process", "outcome"
        ),
        WorldPair("as many bits that say nothing of the process keep less.", world, "process", "shuffled"),
        WorldPair("as many bits of outcomes keep less.", world, "process", "more"),
    ]


def _beside(world: str) -> list[WorldPair]:
    """What more bits bring by themselves; what the process is worth; a slower rate; the rivals."""
    pays = "paid for the process too, a policy ends with more"
    return [
        WorldPair("bits that say nothing keep entropy, at equal success.", world, "shuffled", "outcome"),
        WorldPair("more bits of outcomes keep entropy, at equal success.", world, "more", "outcome"),
        WorldPair(f"{pays} success.", world, "process", "outcome", SUCCESS, None),
        WorldPair(f"{pays} success than with as many bits of outcomes.", world, "process", "more", SUCCESS, None),
        WorldPair(f"{pays} pass@64.", world, "process", "outcome", MANY, None),
        WorldPair(
            "the process alone leads to as much success as both.",
            *(world, "dense", "process", SUCCESS, None, "within", SAME),
        ),
        WorldPair("the process alone keeps as much entropy as both, or more.", world, "dense", "process"),
        *_slower(world),
        *_rivals(world),
    ]


def _slower(world: str) -> list[WorldPair]:
    own = "process_slow"
    return [
        WorldPair("at a third of the rate the process keeps entropy, too.", world, own, "outcome_slow", ENTROPY, SLOW),
        WorldPair("at a third of the rate it keeps more than shuffled.", world, own, "shuffled_slow", ENTROPY, SLOW),
    ]


def _rivals(world: str) -> list[WorldPair]:
    """Component by component, and the whole front, against the weighted sum."""
    found = []
    for rival in ("gdpo", "vpo_parallel"):
        name = NAMES[rival]
        found += [
            WorldPair(f"{name} keeps more entropy than the weighted sum, at equal success.", world, rival, "process"),
            WorldPair(f"{name} ends with more right steps.", world, rival, "process", "steps_right_test", None),
            WorldPair(f"{name} ends with more success.", world, rival, "process", SUCCESS, None),
            WorldPair(f"{name} ends with more pass@64.", world, rival, "process", MANY, None),
        ]
    return found


def _broader(world: str) -> list[WorldPair]:
    """Paid for sets and for novelty, against the outcome."""
    return [
        contrast
        for own in BROADER
        for contrast in (
            WorldPair(f"{NAMES[own]} keeps more entropy than GRPO, at equal success.", world, own, "outcome"),
            WorldPair(f"{NAMES[own]} has more pass@64 than GRPO, at equal success.", world, own, "outcome", MANY),
        )
    ]


def _covering(world: str) -> list[WorldPair]:
    """The same in the number of different right responses, where these can be listed."""
    return [
        WorldPair(f"{NAMES[own]} ends with more coverage@256 than GRPO.", world, own, "outcome", COVERAGE, None)
        for own in BROADER
    ]


def _verifiers(j: str) -> list[WorldPair]:
    """Verifiers of one J that err in different ways, and what erring does by itself."""
    fails, both, passes = (f"{kind}_{j}" for kind in CHANNELS[j])
    return [
        WorldPair(
            f"a verifier with J = {j} leaves more entropy at equal success.", "chain", both, "outcome", ENTROPY, both
        ),
        WorldPair(
            f"at J = {j} passing wrong responses leaves more entropy at equal success than failing right ones.",
            *("chain", passes, fails, ENTROPY, passes),
        ),
        WorldPair(
            f"at J = {j} it does not matter to success how a verifier errs.",
            *("chain", fails, passes, SUCCESS, None, "within", SAME),
        ),
        WorldPair(f"a verifier with J = {j} leads to less success.", "chain", both, "outcome", SUCCESS, None, "below"),
    ]


DECIDING = tuple(contrast for world in STEPWISE for contrast in _deciding(world))
BESIDE = (
    *(contrast for world in STEPWISE for contrast in _beside(world)),
    *(contrast for world in (*STEPWISE, "chain") for contrast in _broader(world)),
    *(contrast for world in ("search", "chain") for contrast in _covering(world)),
    *(contrast for j in CHANNELS for contrast in _verifiers(j)),
)
