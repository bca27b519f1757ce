"""The sweep of ``held_entropy``: which controllers, targets and fixed bonuses, and the world of the check."""

from __future__ import annotations

from dataclasses import dataclass, replace

from toybed.agents.config import Learning, Setting, Spec, Supervised
from toybed.benchmarks import search_squeeze_sweep

NONE = "grpo"
LEAD = "adaptive_trl"  # holds its target best in a bandit, to a thousandth of the first entropy
BONUS = "bonus"


@dataclass(frozen=True)
class Controlled:
    """An objective with a controller, and the options that put its target at the entropy of the start."""

    title: str
    objective: Spec


def _band(name: str, **options: object) -> Spec:
    return Spec(name, {"entropy_low": 1.0, "entropy_high": 1.0, **options})


def _target(name: str, share: float = 1.0, **options: object) -> Spec:
    return Spec(name, {"entropy_target": share, **options})


CONTROLLERS = {
    LEAD: Controlled("Adaptive (TRL)", _target("adaptive_entropy_trl")),
    "adaptive_skywork": Controlled("Adaptive (Skywork)", _target("adaptive_entropy_skywork")),
    "entropic": Controlled("EntroPIC", _target("entropic")),
    "entrocraft": Controlled("Entrocraft", _band("entrocraft")),
    "entrocraft_covariance": Controlled("Entrocraft by covariance", _band("entrocraft_covariance")),
    "aepo": Controlled("AEPO, a quarter", _band("aepo")),
    "aepo_all": Controlled("AEPO, all groups", _band("aepo", tempered_share=1.0)),
    "scope_rl": Controlled("SCOPE-RL, a quarter", _target("scope_rl")),
    "scope_rl_all": Controlled("SCOPE-RL, all groups", _target("scope_rl", tempered_share=1.0)),
    "mai_clip": Controlled("MAI-style clip", _target("mai_clip")),
    "flexible_clip": Controlled("Flexible clip", _band("flexible_clip")),
    "adapo": Controlled("ADAPO", Spec("adapo", {"resample": False})),
    "repo_r_steered": Controlled("REPO-R, steered", Spec("repo_r_steered")),
}
LOWER = {"lead_75": 0.75, "lead_50": 0.5}  # the lead's other targets, as shares of the first entropy
SEARCH = {NONE: "search_grpo", LEAD: "search_lead"}
"""The two arms of the check in ToolSearch."""

COEFFICIENTS = (0.003, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2)
QUICK_COEFFICIENTS = (0.03, 0.1)
QUICK = (LEAD, "entropic", "entrocraft_covariance", "scope_rl_all")
UPDATES = {"quick": 40, "standard": 200, "full": 400}
RATE = {"quick": 3e-3, "standard": 1e-3, "full": 1e-3}  # of the quick size: fast enough for GRPO to lose entropy
POINTS = 20  # measurements along a run


def arms(size: str) -> dict[str, Setting]:
    """No control, every controller with its target at the start, the lead's lower targets, and the check."""
    chosen = QUICK if size == "quick" else tuple(CONTROLLERS)
    found = {NONE: _setting(size, Spec("grpo"))}
    found |= {name: _setting(size, CONTROLLERS[name].objective) for name in chosen}
    found |= {name: _setting(size, _target("adaptive_entropy_trl", share)) for name, share in LOWER.items()}
    if size != "quick":
        found |= {arm: _search(size, found[name].objective) for name, arm in SEARCH.items()}
    return found


def _setting(size: str, objective: Spec) -> Setting:
    updates = UPDATES[size]
    return Setting(
        objective=objective,
        world=Spec("chain_reach", {"modulus": 61, "train_share": 0.3}),
        policy=Spec("mlp", {"width": 64, "embedding": 32}),
        supervised=Supervised(steps=400, demonstrator={"noise": 0.35}),
        learning=Learning(
            updates=updates, prompts=16, minibatches=4, learning_rate=RATE[size], measure_every=updates // POINTS
        ),
        probes=("trajectories",),
    )


def _search(size: str, objective: Spec) -> Setting:
    updates = UPDATES[size]
    return replace(
        _setting(size, objective),
        world=Spec("tool_search"),
        policy=Spec("tabular"),
        supervised=search_squeeze_sweep.VARIED,
        learning=Learning(
            updates=updates,
            prompts=64,
            learning_rate=search_squeeze_sweep.RATE,
            measure_every=updates // POINTS,
        ),
    )


def candidates(size: str) -> dict[str, dict[str, Setting]]:
    """The fixed entropy bonuses that are tried."""
    tried = QUICK_COEFFICIENTS if size == "quick" else COEFFICIENTS
    return {BONUS: {f"{c:g}": _setting(size, Spec("grpo", {"entropy_coefficient": c})) for c in tried}}


def final(size: str, name: str, tried: Setting) -> Setting:
    """The bonus that was chosen, as it was tried."""
    return tried
