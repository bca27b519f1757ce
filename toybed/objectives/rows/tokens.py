"""Objectives that choose among tokens: by covariance, entropy or probability; and the pull toward a reference."""

from __future__ import annotations

from toybed.objectives.catalogue import derive, register, stage
from toybed.objectives.rows.classics import DAPO, GRPO, TOKEN_MEAN

register(
    derive(
        GRPO,
        name="clip_cov",
        title="Clip-Cov",
        year=2025,
        entropy="falls slower",
        source="arXiv 2505.22617; Entropy-Mechanism-of-RL, verl compute_policy_loss_clip_cov",
        verified="C, P",
        summary="a few tokens, drawn among those of high covariance, lose their gradient",
        surrogate=stage("surrogates.ppo_clip", clip_low=1.0, clip_high=1.0, dual_clip=None),
        weight=stage("weights.drop_covariant", share=0.02, cov_low=0.96, cov_high=1.0, cov_scale="quantile"),
        aggregate=TOKEN_MEAN,
        published={"share": 2e-4, "cov_low": 1.0, "cov_high": 5.0, "cov_scale": "absolute"},
        traps=(
            "the authors' scripts widen the clip to [0, 2] as well, as this row does: set clip_low=clip_high=0.2 to "
            "change one thing at a time",
            "published bounds are for a vocabulary of 1e5 and std-normalised advantages",
        ),
        limits=("no candidates: grpo with token_mean and the same clip",),
    )
)
register(
    derive(
        GRPO,
        name="kl_cov",
        title="KL-Cov",
        year=2025,
        entropy="falls slower",
        source="arXiv 2505.22617; Entropy-Mechanism-of-RL, verl compute_policy_loss_kl_cov",
        verified="C, P",
        summary="the tokens of highest covariance are pulled back to where they were sampled; nothing is clipped",
        surrogate=stage("surrogates.importance_weighted"),
        regularizers=(stage("regularizers.covariance_penalty", share=0.02, penalty=1.0),),
        aggregate=TOKEN_MEAN,
        published={"share": 2e-3, "penalty": 1.0},
        traps=(
            "inert on the first update after sampling: |log ratio| has no gradient at ratio 1",
            "units slip between ports: per cent in the authors' code, a fraction in verl, 20 % in SkyRL",
        ),
        limits=(
            "share to 0 (one token is always selected), penalty = 0: importance-weighted policy gradient, not PPO",
        ),
    )
)
FORKING_TOKENS = register(
    derive(
        DAPO,
        name="forking_tokens",
        title="80/20 forking tokens",
        year=2025,
        entropy="falls slower",
        source="arXiv 2506.01939; Beyond-the-80-20-Rule-RLVR get_global_entropy_top_mask",
        verified="C, P",
        summary="DAPO on the fifth of the tokens at which the policy is most uncertain",
        weight=stage("weights.keep_uncertain", uncertain_share=0.2, count_dropped=False),
        traps=(
            "the average is over the kept tokens: TRL's port divides by all (forking_tokens_trl)",
            "dynamic sampling costs rollouts, as in dapo: compare at equal rollouts, not at equal updates",
        ),
        limits=("uncertain_share 1: dapo",),
    )
)
register(
    derive(
        FORKING_TOKENS,
        name="forking_tokens_trl",
        title="80/20 forking tokens, as in TRL",
        year=2025,
        entropy="falls slower",
        source="TRL grpo_trainer.py get_high_entropy_mask",
        verified="C",
        summary="the same fifth of the tokens, averaged over all tokens: a fifth of the gradient",
        weight=stage("weights.keep_uncertain", uncertain_share=0.2, count_dropped=True),
        traps=(
            "compare at rescaled learning rates",
            "TRL itself has no dynamic sampling; here only the average differs",
        ),
        limits=("uncertain_share times forking_tokens, up to the rounding of the number kept",),
    )
)
register(
    derive(
        GRPO,
        name="archer",
        title="Archer",
        year=2025,
        entropy="falls slower",
        source="arXiv 2507.15778; ArcherCodeR dp_actor.py and scripts",
        verified="C",
        summary="uncertain tokens of a response have a wide clip and no KL, the others a narrow clip and a KL",
        surrogate=stage(
            "bounds.entropy_split_clip",
            clip_low=0.2,
            clip_high=0.2,
            uncertain_clip_low=0.5,
            uncertain_clip_high=0.5,
            clip_split=0.8,
            dual_clip=10.0,
        ),
        regularizers=(
            stage(
                "regularizers.kl_reference_certain",
                kl_coefficient=0.001,
                kl_coefficient_uncertain=0.0,
                kl_estimator="k3",
                kl_split=0.8,
            ),
        ),
        aggregate=TOKEN_MEAN,
        traps=(
            "the split is taken twice, for the clip and for the KL: change clip_split and kl_split together",
            "in the code the variable high_entropy_mask holds the low-entropy tokens",
        ),
        limits=("equal clips and equal KL coefficients: dual-clip GRPO with a KL averaged apart",),
    )
)
register(
    derive(
        GRPO,
        name="lp_reg",
        title="Lp-Reg",
        year=2025,
        entropy="falls slower",
        source="arXiv 2510.03222, by third-party descriptions; clip of Lp-Reg-dev recipe/lp_reg",
        verified="S",
        summary="unlikely but sensible tokens of wrong responses are pulled toward the policy without its noise",
        surrogate=stage("surrogates.ppo_clip", clip_low=1.0, clip_high=9.0, dual_clip=None),
        regularizers=(stage("regularizers.proxy_divergence", low_share=0.05, noise_floor=0.02, proxy_coefficient=1.0),),
        aggregate=TOKEN_MEAN,
        published={"low_share": "0.005 to 0.01"},
        traps=(
            "only third-party descriptions of the method were read; the authors' development code differs from them",
            "the clip is widened to [0, 10] as well, so two things change against grpo",
        ),
        limits=("noise_floor 0 or proxy_coefficient 0: grpo with token_mean and a clip of [0, 10]",),
    )
)
register(
    derive(
        GRPO,
        name="grpo_kl",
        title="GRPO with the paper's KL",
        year=2024,
        entropy="falls slower",
        source="arXiv 2402.03300 eq. 4; verl kl_loss_coef, TRL beta",
        verified="C, D",
        summary="GRPO with k3 to the reference policy as a loss, which is the forward divergence",
        regularizers=(stage("regularizers.kl_reference", kl_coefficient=0.001, kl_estimator="k3"),),
        traps=(
            "k3 as a loss covers the reference's mass: it resists collapse by itself and is no reverse KL",
            "kl_estimator=k1 does nothing in expectation; k2, k3+ and k3_ratio are the reverse KL",
        ),
        limits=("kl_coefficient 0: grpo",),
    )
)
