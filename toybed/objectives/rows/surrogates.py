"""Objectives that differ in the surrogate: who gets the gradient of stale data."""

from __future__ import annotations

from toybed.objectives.catalogue import derive, register, stage
from toybed.objectives.rows.classics import GRPO, TOKEN_MEAN

SEQ_MEAN_TOKEN_MEAN = stage("aggregation.seq_mean_token_mean")

register(
    derive(
        GRPO,
        name="is_pg",
        title="Importance-weighted policy gradient",
        year=2000,
        entropy="falls fast",
        source="arXiv 2505.22617 (the loss of KL-Cov off its selected tokens)",
        verified="C, P",
        summary="the ratio, never clipped: what the clipped surrogates are when their clips are infinite",
        surrogate=stage("surrogates.importance_weighted"),
        aggregate=TOKEN_MEAN,
        traps=("unbounded weights: one token can carry a mini-batch",),
        limits=("ppo's surrogate with infinite clips; sapo with tau to 0; cispo with bounds 0 and infinity",),
    )
)
register(
    derive(
        GRPO,
        name="dual_clip",
        title="GRPO with dual clip",
        year=2019,
        entropy="falls fast",
        source="arXiv 1912.09729, 2505.07291; verl compute_policy_loss_vanilla, TRL delta",
        verified="C, D",
        summary="tokens of wrong responses whose ratio has grown past 3 lose their gradient",
        surrogate=stage("surrogates.ppo_clip", clip_low=0.2, clip_high=0.2, dual_clip=3.0),
        traps=("verl has it always on at 3, DAPO's scripts at 10, TRL off: 'the same PPO' differs by this",),
        limits=("TRL's delta is this exactly, with dual_clip = delta", "dual_clip to infinity: grpo"),
    )
)
GSPO = register(
    derive(
        GRPO,
        name="gspo",
        title="GSPO",
        year=2025,
        entropy="falls",
        source="arXiv 2507.18071; verl compute_policy_loss_gspo, TRL, OpenRLHF",
        verified="C",
        summary="the ratio of the whole response, per token, is clipped: its tokens share one fate",
        surrogate=stage("sequence_surrogates.sequence_clip", clip_low=0.1, clip_high=0.14),
        aggregate=SEQ_MEAN_TOKEN_MEAN,
        published={"clip_low": 3e-4, "clip_high": 4e-4},
        traps=("the clip is of a mean of logarithms: PPO's 0.2 hardly ever acts on long responses",),
        limits=("responses of one token: grpo",),
    )
)
register(
    derive(
        GSPO,
        name="gspo_token",
        title="GSPO-token",
        year=2025,
        entropy="falls",
        source="arXiv 2507.18071; verl compute_policy_loss_gspo, TRL experimental/gspo_token",
        verified="C, D",
        summary="GSPO's ratio with an advantage for each token",
        surrogate=stage("sequence_surrogates.sequence_token_clip", clip_low=0.1, clip_high=0.14),
        published={"clip_low": 3e-4, "clip_high": 4e-4},
        traps=("with one advantage for each response, as here, it is gspo",),
        limits=("advantages constant in a response: gspo",),
    )
)
register(
    derive(
        GSPO,
        name="luspo",
        title="LUSPO",
        year=2026,
        entropy="falls",
        source="arXiv 2602.05261; TRL grpo_trainer.py",
        verified="C",
        summary="GSPO times the length of the response: every token weighs alike, whatever the response's length",
        aggregate=stage("aggregation.seq_mean_token_sum"),
        published={"clip_low": 3e-4, "clip_high": 4e-4},
        traps=("its gradient is about T times gspo's: compare at rescaled learning rates",),
        limits=("responses of one length: gspo times that length",),
    )
)
register(
    derive(
        GRPO,
        name="gmpo",
        title="GMPO",
        year=2025,
        entropy="falls slower",
        source="arXiv 2507.20673; callsys/GMPO, verl compute_policy_loss_geo_mean, TRL experimental/gmpo",
        verified="C, D",
        summary="token ratios are clipped on one side, then averaged geometrically over the response",
        surrogate=stage("sequence_surrogates.geometric_clip", log_clip_low=0.4, log_clip_high=0.4),
        aggregate=SEQ_MEAN_TOKEN_MEAN,
        traps=("its clips bound the logarithm of the ratio: 0.2 is half the intended width",),
        limits=("responses of one token: grpo with clips 1 - exp(-0.4), exp(0.4) - 1", "no clip: gspo without clip"),
    )
)
CISPO = register(
    derive(
        GRPO,
        name="cispo",
        title="CISPO, as in ScaleRL and SkyRL",
        year=2025,
        entropy="falls slower",
        source="arXiv 2506.13585; ScaleRL's bound; SkyRL (0 to 1 + 4)",
        verified="C",
        summary="the score function, weighted by the ratio capped at 5; no token is dropped",
        surrogate=stage("surrogates.clipped_weight", weight_low=0.0, weight_high=5.0),
        aggregate=TOKEN_MEAN,
        traps=(
            "three libraries mean three things by the same option: see cispo_verl and cispo_trl",
            "the bound that the paper itself used was not found in what was read",
        ),
        limits=("bounds 1 and 1: reinforce's surrogate", "bounds 0 and infinity: is_pg"),
    )
)
register(
    derive(
        CISPO,
        name="cispo_verl",
        title="CISPO, as in verl",
        year=2025,
        entropy="falls slower",
        source="verl compute_policy_loss_cispo",
        verified="C",
        summary="the weight is held in [0.8, 1.2], on both sides",
        surrogate=stage("surrogates.clipped_weight", weight_low=0.8, weight_high=1.2),
        traps=("close to REINFORCE: no weight is further than 0.2 from 1",),
        limits=("bounds 1 and 1: reinforce's surrogate",),
    )
)
register(
    derive(
        CISPO,
        name="cispo_trl",
        title="CISPO, as in TRL with epsilon_high unset",
        year=2025,
        entropy="falls slower",
        source="TRL grpo_trainer.py",
        verified="C",
        summary="the cap is absolute and falls back to epsilon = 0.2, so that every fresh token weighs 0.2",
        surrogate=stage("surrogates.clipped_weight", weight_low=0.0, weight_high=0.2),
        published={"weight_high": "epsilon_high, absolute; unset: epsilon = 0.2"},
        traps=("the coefficient at ratio 1 is 0.2, not 1: a fifth of the learning rate unless epsilon_high is set",),
        limits=("weight_high = 5: cispo",),
    )
)
register(
    derive(
        GRPO,
        name="sapo",
        title="SAPO",
        year=2025,
        entropy="falls slower",
        source="arXiv 2511.20347; verl compute_policy_loss_sapo, TRL",
        verified="C",
        summary="a smooth gate in the place of the clip, steeper for wrong responses",
        surrogate=stage("surrogates.soft_gate", tau_positive=1.0, tau_negative=1.05),
        aggregate=SEQ_MEAN_TOKEN_MEAN,
        traps=("its value is 2 / tau at ratio 1: not comparable with PPO's, while the gradient is",),
        limits=("tau to 0: is_pg's surrogate", "at ratio 1: REINFORCE with the same advantage"),
    )
)
GPPO = register(
    derive(
        GRPO,
        name="gppo",
        title="GPPO",
        year=2025,
        entropy="falls slower (claimed)",
        source="arXiv 2508.07629; KlearReasoner compute_gppo_loss",
        verified="C",
        summary="clipped tokens keep a gradient, of the clip's size",
        surrogate=stage("surrogates.gradient_preserving_clip", clip_low=0.2, clip_high=0.28, dual_clip=3.0),
        aggregate=TOKEN_MEAN,
        traps=("the dual-clip branch of the authors' code still has zero gradient, against its README",),
        limits=("PPO inside the clip; ce_gppo with both coefficients 1",),
    )
)
register(
    derive(
        GPPO,
        name="ce_gppo",
        title="CE-GPPO",
        year=2025,
        entropy="set by its two coefficients",
        source="arXiv 2509.20712; CE-GPPO compute_gppo_loss_general_beta",
        verified="C",
        summary="GPPO with a coefficient on the kept push down (0.75) and on the kept pull up (1)",
        surrogate=stage(
            "surrogates.gradient_scaled_clip",
            clip_low=0.2,
            clip_high=0.2,
            beta_low=0.75,
            beta_high=1.0,
            dual_clip=10.0,
        ),
        published={"beta_low": "0.75 (7B), 0.5 (1.5B), 0.25 (the function's default)"},
        traps=("the value on clipped tokens changes with the coefficients, against what is said of it",),
        limits=("coefficients 1: gppo with the same clips", "coefficients 0: PPO's gradient"),
    )
)
register(
    derive(
        GRPO,
        name="bapo",
        title="BAPO",
        year=2025,
        entropy="falls slower",
        source="arXiv 2510.18927; WooooDyy/BAPO recipe/bapo/policy_loss.py",
        verified="C, S",
        summary="the clip's bounds are moved in each mini-batch until right responses weigh as much as wrong ones",
        surrogate=stage(
            "bounds.balanced_clip",
            low_start=0.6,
            low_end=0.8,
            low_step=0.05,
            high_start=1.2,
            high_end=2.0,
            high_step=0.05,
            balance=1.0,
            first="low",
            dual_clip=3.0,
        ),
        aggregate=TOKEN_MEAN,
        traps=(
            "the paper is described as moving the upper bound first (first=high) and as using another ratio",
            "the bounds depend on the size of the mini-batch, and each mini-batch has its own",
        ),
        limits=("balance 0: PPO with the start bounds and dual clip 3", "at ratio 1 the search changes nothing"),
    )
)
DPPO_TV = register(
    derive(
        GRPO,
        name="dppo_tv",
        title="DPPO-TV",
        year=2026,
        entropy="falls slower",
        source="arXiv 2602.04879; verl compute_policy_loss_dppo_tv, prime-rl",
        verified="C",
        summary="a token is dropped once its probability, not its ratio, has moved too far",
        surrogate=stage("bounds.total_variation_mask", mask_low=0.2, mask_high=0.2, ratio_cap=20.0),
        aggregate=TOKEN_MEAN,
        traps=("rare tokens are almost never dropped; the cap of 20 alone bounds their weight",),
        limits=("thresholds of 1, no cap: is_pg",),
    )
)
register(
    derive(
        DPPO_TV,
        name="dppo_kl",
        title="DPPO-KL",
        year=2026,
        entropy="falls slower",
        source="arXiv 2602.04879; verl compute_policy_loss_dppo_kl",
        verified="C, S",
        summary="as dppo_tv, by the divergence between 'this token' and 'any other'",
        surrogate=stage("bounds.binary_kl_mask", mask_low=0.05, mask_high=0.05, ratio_cap=20.0),
        traps=("verl takes its thresholds from clip_ratio, which is 0.2 unless set",),
        limits=("infinite thresholds, no cap: is_pg",),
    )
)
register(
    derive(
        GRPO,
        name="vespo",
        title="VESPO",
        year=2026,
        entropy="falls",
        source="arXiv 2602.10693; TRL get_gamma_weights",
        verified="C",
        summary="a smooth gate on the product of the ratios of a response",
        surrogate=stage(
            "sequence_surrogates.product_gate",
            power_positive=2.0,
            decay_positive=3.0,
            power_negative=3.0,
            decay_negative=2.0,
        ),
        aggregate=TOKEN_MEAN,
        traps=("the product over tokens saturates fast with length", "the weight's slope at 1 differs in sign by A's"),
        limits=("powers and decays 0: reinforce's surrogate", "at ratio 1: REINFORCE with the same advantage"),
    )
)
register(
    derive(
        GRPO,
        name="dro",
        title="DRO",
        year=2025,
        entropy="falls slower on stale data",
        source="verl compute_policy_loss_dro",
        verified="C",
        summary="no ratio and no clip: the score function, with a spring toward the policy that sampled",
        surrogate=stage("surrogates.score_function"),
        regularizers=(stage("regularizers.quadratic_log_ratio", log_ratio_coefficient=0.05),),
        aggregate=TOKEN_MEAN,
        traps=("inert on fresh data", "verl has no default for its coefficient; 0.05 is the value of its test"),
        limits=("coefficient 0: REINFORCE with the same advantage",),
    )
)
