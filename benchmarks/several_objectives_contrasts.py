"""What ``several_objectives`` compares: the contrasts that decide, and those that stand beside the claim."""

from __future__ import annotations

from toybed.benchmarks.several_objectives_measures import COVERAGE, ENTROPY, MANY, SUCCESS, Contrast
from toybed.benchmarks.several_objectives_sweep import BROADER, CHANNELS, NAMES, STEPWISE

SAME = 0.02  # of success: less than this is no difference
SLOW = "outcome_slow"


def _deciding(world: str) -> list[Contrast]:
    return [
        Contrast(
            "paid for the process too, a policy keeps more entropy at equal success.", world, "process", "outcome"
        ),
        Contrast("as many bits that say nothing of the process keep less.", world, "process", "shuffled"),
        Contrast("as many bits of outcomes keep less.", world, "process", "more"),
    ]


def _beside(world: str) -> list[Contrast]:
    """What more bits bring by themselves; what the process is worth; a slower rate; the rivals."""
    pays = "paid for the process too, a policy ends with more"
    return [
        Contrast("bits that say nothing keep entropy, at equal success.", world, "shuffled", "outcome"),
        Contrast("more bits of outcomes keep entropy, at equal success.", world, "more", "outcome"),
        Contrast(f"{pays} success.", world, "process", "outcome", SUCCESS, None),
        Contrast(f"{pays} success than with as many bits of outcomes.", world, "process", "more", SUCCESS, None),
        Contrast(f"{pays} pass@64.", world, "process", "outcome", MANY, None),
        Contrast(
            "the process alone leads to as much success as both.",
            *(world, "dense", "process", SUCCESS, None, "within", SAME),
        ),
        Contrast("the process alone keeps as much entropy as both, or more.", world, "dense", "process"),
        *_slower(world),
        *_rivals(world),
    ]


def _slower(world: str) -> list[Contrast]:
    own = "process_slow"
    return [
        Contrast("at a third of the rate the process keeps entropy, too.", world, own, "outcome_slow", ENTROPY, SLOW),
        Contrast("at a third of the rate it keeps more than shuffled.", world, own, "shuffled_slow", ENTROPY, SLOW),
    ]


def _rivals(world: str) -> list[Contrast]:
    """Component by component, and the whole front, against the weighted sum."""
    found = []
    for rival in ("gdpo", "vpo_parallel"):
        name = NAMES[rival]
        found += [
            Contrast(f"{name} keeps more entropy than the weighted sum, at equal success.", world, rival, "process"),
            Contrast(f"{name} ends with more right steps.", world, rival, "process", "steps_right_test", None),
            Contrast(f"{name} ends with more success.", world, rival, "process", SUCCESS, None),
            Contrast(f"{name} ends with more pass@64.", world, rival, "process", MANY, None),
        ]
    return found


def _broader(world: str) -> list[Contrast]:
    """Paid for sets and for novelty, against the outcome."""
    return [
        contrast
        for own in BROADER
        for contrast in (
            Contrast(f"{NAMES[own]} keeps more entropy than GRPO, at equal success.", world, own, "outcome"),
            Contrast(f"{NAMES[own]} has more pass@64 than GRPO, at equal success.", world, own, "outcome", MANY),
        )
    ]


def _covering(world: str) -> list[Contrast]:
    """The same in the number of different right responses, where these can be listed."""
    return [
        Contrast(f"{NAMES[own]} ends with more coverage@256 than GRPO.", world, own, "outcome", COVERAGE, None)
        for own in BROADER
    ]


def _verifiers(j: str) -> list[Contrast]:
    """Verifiers of one J that err in different ways, and what erring does by itself."""
    fails, both, passes = (f"{kind}_{j}" for kind in CHANNELS[j])
    return [
        Contrast(
            f"a verifier with J = {j} leaves more entropy at equal success.", "chain", both, "outcome", ENTROPY, both
        ),
        Contrast(
            f"at J = {j} passing wrong responses leaves more entropy at equal success than failing right ones.",
            *("chain", passes, fails, ENTROPY, passes),
        ),
        Contrast(
            f"at J = {j} it does not matter to success how a verifier errs.",
            *("chain", fails, passes, SUCCESS, None, "within", SAME),
        ),
        Contrast(f"a verifier with J = {j} leads to less success.", "chain", both, "outcome", SUCCESS, None, "below"),
    ]


DECIDING = tuple(contrast for world in STEPWISE for contrast in _deciding(world))
BESIDE = (
    *(contrast for world in STEPWISE for contrast in _beside(world)),
    *(contrast for world in (*STEPWISE, "chain") for contrast in _broader(world)),
    *(contrast for world in ("search", "chain") for contrast in _covering(world)),
    *(contrast for j in CHANNELS for contrast in _verifiers(j)),
)
