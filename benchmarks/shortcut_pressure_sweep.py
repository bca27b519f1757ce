"""The sweep of ``shortcut_pressure``: shares of separable train questions, and what keeps entropy at one of them."""

from __future__ import annotations

from dataclasses import replace

from toybed.agents.config import Imitation, Learning, Setting, Spec
from toybed.benchmarks.belief_sweep import world

SHARES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4)
"""Of the train questions, that are separable; half of all are false-belief ones throughout."""

AT = 0.1
"""The share at which the interventions are tried."""

INTERVENTIONS = {
    "bonus_0.01": ("entropy bonus 0.01", Spec("grpo", {"entropy_coefficient": 0.01})),
    "bonus_0.05": ("entropy bonus 0.05", Spec("grpo", {"entropy_coefficient": 0.05})),
    "held": ("adaptive bonus, half of the entropy", Spec("adaptive_entropy_trl", {"entropy_target": 0.5})),
    "clip_higher": ("clip-higher", Spec("grpo", {"clip_high": 0.28})),
    "kl_cov": ("KL-Cov", Spec("kl_cov")),
    "clip_cov": ("Clip-Cov", Spec("clip_cov")),
    "nsr": ("NSR", Spec("nsr")),
}
QUICK_SHARES, QUICK = (0.0, 0.1, 0.4), ("bonus_0.05", "kl_cov")
UPDATES = {"quick": 60, "standard": 600, "full": 2000}
RATE = 5e-3


def rl(share: float) -> str:
    """The arm of GRPO from scratch at a share."""
    return f"rl_{share:g}"


def sft(share: float) -> str:
    """The arm of SFT on right answers at a share."""
    return f"sft_{share:g}"


def arms(size: str) -> dict[str, Setting]:
    """The settings by name, all from the random initialisation."""
    quick, updates = size == "quick", UPDATES[size]
    found: dict[str, Setting] = {}
    for share in QUICK_SHARES if quick else SHARES:
        found[rl(share)] = _setting(share, updates)
        # Its demonstrator answers one question one way: a second demonstration would be the first.
        found[sft(share)] = replace(found[rl(share)], learner=Imitation()).with_learning(group=1)
    tried = _setting(AT, updates)
    for name in QUICK if quick else INTERVENTIONS:
        found[name] = replace(tried, objective=INTERVENTIONS[name][1])
    if not quick:
        found["longer"] = tried.with_learning(updates=2 * updates, measure_every=2 * updates)
        found["slower"] = tried.with_learning(learning_rate=RATE / 3)
        found["faster"] = tried.with_learning(learning_rate=RATE * 2)
        found["fresh"] = tried.with_learning(minibatches=1)
    return found


def _setting(share: float, updates: int) -> Setting:
    return Setting(
        world=world(containers=4, events=6, test_stories=128, train_stories=2**15, separable=share),
        policy=Spec("gru", {"width": 32}),
        supervised=None,
        learning=Learning(
            updates=updates, prompts=256, group=8, minibatches=4, learning_rate=RATE, measure_every=updates
        ),
    )
