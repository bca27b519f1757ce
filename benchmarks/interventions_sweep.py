"""The sweep of ``interventions``: which objectives, at which staleness and learning rates."""

from __future__ import annotations

from collections.abc import Sequence

from toybed.agents.config import Setting, Spec, Supervised

MAIN = 4  # steps a batch at which the claim is judged
STALENESS = (1, 4, 8, 16)

INTERVENTIONS = {
    "grpo": ("GRPO", Spec("grpo")),
    "clip_higher": ("Clip-higher", Spec("grpo", {"clip_high": 0.28})),
    "entropy_bonus": ("Entropy bonus", Spec("grpo", {"entropy_coefficient": 0.01})),
    "clip_cov": ("Clip-Cov", Spec("clip_cov")),
    "kl_cov": ("KL-Cov", Spec("kl_cov")),
    "forking_tokens": ("80/20", Spec("forking_tokens", {"resample": False})),
    "archer": ("Archer", Spec("archer")),
    "entropy_shaped": ("Entropy-shaped", Spec("entropy_shaped")),
    "repo_r": ("REPO-R", Spec("repo_r")),
    "repo_r_steered": ("REPO-R, steered", Spec("repo_r_steered")),
    "adapo": ("ADAPO", Spec("adapo", {"resample": False})),
    "adaptive_skywork": ("Adaptive (Skywork)", Spec("adaptive_entropy_skywork")),
    "adaptive_trl": ("Adaptive (TRL)", Spec("adaptive_entropy_trl")),
    "nsr": ("NSR", Spec("nsr")),
    "w_reinforce": ("W-REINFORCE", Spec("w_reinforce")),
    "passk": ("Pass@k training", Spec("passk")),
    "pkpo": ("PKPO", Spec("pkpo")),
    "maxrl": ("MaxRL", Spec("maxrl")),
    "qae": ("QAE", Spec("qae")),
    "grpo_kl": ("GRPO + KL", Spec("grpo_kl")),
    "rloo_kl": ("RLOO + KL", Spec("rloo_kl")),
    "flowrl": ("FlowRL", Spec("flowrl")),
    "gppo": ("GPPO", Spec("gppo")),
    "ce_gppo": ("CE-GPPO", Spec("ce_gppo")),
    "cispo": ("CISPO", Spec("cispo")),
    "sapo": ("SAPO", Spec("sapo")),
    "gmpo": ("GMPO", Spec("gmpo")),
    "bapo": ("BAPO", Spec("bapo")),
    "dppo_tv": ("DPPO-TV", Spec("dppo_tv")),
    "dppo_kl": ("DPPO-KL", Spec("dppo_kl")),
    "dro": ("DRO", Spec("dro")),
    "lp_reg": ("Lp-Reg", Spec("lp_reg")),
}
LEFT_OUT = {
    "dapo": "without its dynamic sampling it is clip-higher here: one length for all, no dual clip reached",
    "critique_grpo": "needs critiques, which this world does not give",
    "sft": "needs demonstrations in the batch; the base is made of them",
    "hicra": "needs planning tokens",
    "vpo": "needs vector rewards",
    "vpo_parallel": "needs vector rewards",
    "pkpo_vector": "needs vector rewards",
    "half_credit": "half grpo, half the limit of pkpo at k = G; made for policies of several heads, see ensembles",
    "grpo_opposite": "a control that makes the policy worse on purpose",
    "unlikeliness": "came after this question was answered: see several_objectives",
    "cispo_verl": "another library's bounds for cispo",
    "cispo_trl": "another library's bounds for cispo",
    "forking_tokens_trl": "another library's denominator for forking_tokens",
    "qae_interpolated": "another reading of the quantile of qae",
    **dict.fromkeys(
        (
            "entropic",
            "mai_clip",
            "flexible_clip",
            "aepo",
            "scope_rl",
            "entrocraft",
            "entrocraft_covariance",
        ),
        "holds a target that it is given, and came after this question was answered: a matter of schedules and targets",
    ),
}
"""Rows of the catalogue that claim something about entropy and are not in the sweep."""

QUICK = ("grpo", "entropy_bonus", "clip_cov", "kl_cov", "nsr", "passk")
RATES = (3e-4, 1e-3, 3e-3, 1e-2)
UPDATES = {"quick": 20, "standard": 80, "full": 200}


def arm(objective: str, steps: int) -> str:
    """The name of an arm: ``grpo/4`` is GRPO with 4 steps a batch, at the learning rate that suits it best."""
    return f"{objective}/{steps}"


def same_rate(rate: float) -> str:
    """The name of GRPO's arm with 4 steps a batch at a given learning rate."""
    return f"grpo@{rate:g}"


def arms(size: str) -> dict[str, Setting]:
    """GRPO at every learning rate that may be chosen: against this an objective is judged at its own rate."""
    return {same_rate(rate): _setting(size, "grpo", MAIN, rate, tuning=False) for rate in RATES}


def chosen(size: str) -> Sequence[str]:
    """The objectives of a size."""
    return QUICK if size == "quick" else tuple(INTERVENTIONS)


def _setting(size: str, objective: str, steps: int, rate: float, *, tuning: bool) -> Setting:
    updates = UPDATES[size]
    base = Supervised(steps=120 if size == "quick" else 400, demonstrations=256, demonstrator={"noise": 0.35})
    setting = Setting(
        objective=INTERVENTIONS[objective][1],
        world=Spec("chain_reach", {"modulus": 61, "train_share": 0.3}),
        policy=Spec("mlp", {"width": 64, "embedding": 32}),
        supervised=base,
    )
    return setting.with_learning(
        updates=updates,
        prompts=16,
        group=8,
        minibatches=steps,
        learning_rate=rate,
        measure_every=updates if tuning else max(updates // 10, 4),
    )


def candidates(size: str) -> dict[str, dict[str, Setting]]:
    """The learning rates that are tried, for each arm. Arms at other numbers of steps share the trial at 4."""
    tried = {}
    for objective in chosen(size):
        for steps in STALENESS:
            at = steps if size == "full" else MAIN
            tried[arm(objective, steps)] = {
                f"{rate:g}": _setting(size, objective, at, rate, tuning=True) for rate in RATES
            }
    return tried


def final(size: str, name: str, tried: Setting) -> Setting:
    """The setting of an arm, from the trial that won."""
    objective, steps = name.split("/")
    rate = tried.learning.learning_rate
    if size != "full":
        rate *= (MAIN / int(steps)) ** 0.5
    return _setting(size, objective, int(steps), rate, tuning=False)
