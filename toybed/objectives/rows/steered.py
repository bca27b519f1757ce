"""Objectives steered by a controller between steps."""

from __future__ import annotations

from toybed.objectives.catalogue import derive, register, stage
from toybed.objectives.rows.classics import DAPO, GRPO, TOKEN_MEAN
from toybed.objectives.rows.estimators import REPO_R

BONUS = stage("regularizers.entropy_bonus", entropy_coefficient=0.0)

ADAPTIVE = register(
    derive(
        GRPO,
        name="adaptive_entropy_skywork",
        title="Adaptive entropy, as in Skywork-OR1",
        year=2025,
        entropy="set-point",
        source="arXiv 2505.22312; Skywork-OR1 EntController, get_entropy_metric",
        verified="C",
        summary="an entropy bonus that grows while the surprisal of the samples is below a target, and is off above it",
        regularizers=(BONUS,),
        aggregate=TOKEN_MEAN,
        controller=stage(
            "controllers.AdaptiveEntropy",
            entropy_target=0.5,
            target_scale="initial",
            coefficient_step=1e-4,
            coefficient_cap=0.005,
            inclusive=False,
            watched="surprisal",
        ),
        published={"entropy_target": 0.2, "target_scale": "absolute"},
        traps=(
            "the target of 0.2 nats is a language model's; here it is half of the entropy at the start",
            "50 updates of the published step reach the cap: it is the cap that then sets the bonus",
            "groups without spread are left out of the authors' average; here they count",
        ),
        limits=("coefficient_cap 0 or entropy_target 0: grpo with token_mean",),
    )
)
register(
    derive(
        ADAPTIVE,
        name="adaptive_entropy_trl",
        title="Adaptive entropy, as in TRL",
        year=2026,
        entropy="set-point",
        source="TRL grpo_trainer.py, grpo_config.py",
        verified="C",
        summary="the same switch with a step 50 times and a cap 200 times as large, on the exact entropy",
        controller=stage(
            "controllers.AdaptiveEntropy",
            entropy_target=0.5,
            target_scale="initial",
            coefficient_step=0.005,
            coefficient_cap=1.0,
            inclusive=True,
            watched="entropy",
        ),
        published={"entropy_target": "0.2 by default, 5.0 in its example", "target_scale": "absolute"},
        traps=(
            "TRL steps the coefficient after each optimiser step, here it steps once a rollout",
            "at its cap of 1 the bonus outweighs the reward",
        ),
        limits=("coefficient_cap 0 or entropy_target 0: grpo with token_mean",),
    )
)
register(
    derive(
        DAPO,
        name="adapo",
        title="ADAPO",
        year=2026,
        entropy="set-point",
        source="arXiv 2603.11682, by third-party descriptions",
        verified="S",
        summary="DAPO whose upper clip doubles while entropy is below its first value and halves above it",
        controller=stage(
            "controllers.EntropyDoubling",
            steered="clip_high",
            start=0.28,
            factor=2.0,
            least=0.035,
            most=2.24,
            watched="entropy",
        ),
        traps=(
            "only third-party descriptions were read: the bounds, three doublings either way, are ours",
            "at ratio 1 a clip is inert: with one update a batch nothing is steered",
        ),
        limits=("factor 1: dapo",),
    )
)
register(
    derive(
        REPO_R,
        name="repo_r_steered",
        title="REPO-R with its controller",
        year=2026,
        entropy="set-point",
        source="arXiv 2603.11682, by third-party descriptions",
        verified="S",
        summary="REPO-R whose zeta doubles while entropy is below its first value and halves above it",
        controller=stage(
            "controllers.EntropyDoubling",
            steered="zeta",
            start=0.1,
            factor=2.0,
            least=0.0125,
            most=0.8,
            watched="entropy",
        ),
        traps=(
            "only third-party descriptions were read: the start and the bounds, three doublings either way, are ours",
            "they add that zeta may change its sign, which halving never does; how it does is not said",
        ),
        limits=("factor 1: repo_r with zeta = start",),
    )
)
