"""Objectives that choose among tokens: by covariance."""

from __future__ import annotations

from toybed.objectives.catalogue import derive, register, stage
from toybed.objectives.rows.classics import GRPO, TOKEN_MEAN

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
