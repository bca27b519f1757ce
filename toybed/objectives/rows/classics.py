"""The objectives from which all others are derived, and their best-known variants."""

from __future__ import annotations

from toybed.objectives.catalogue import Row, derive, register, stage

GROUP_STD = stage("advantages.group_standardized", ddof=1, floor=1e-6)
CLIP = stage("surrogates.ppo_clip", clip_low=0.2, clip_high=0.2, dual_clip=None)
TOKEN_MEAN = stage("aggregation.token_mean")

REINFORCE = register(
    Row(
        name="reinforce",
        title="REINFORCE",
        year=1992,
        entropy="falls",
        source="Williams 1992; verl compute_policy_loss_reinforce",
        verified="C",
        summary="the reward times the score function; everything else is a variation on this",
        advantage=stage("advantages.outcome", baseline=0.0),
        surrogate=stage("surrogates.score_function"),
        aggregate=stage("aggregation.seq_mean_token_sum"),
        traps=("no ratio: after the first update on a batch its gradient is biased",),
    )
)
RLOO = register(
    derive(
        REINFORCE,
        name="rloo",
        title="RLOO",
        year=2024,
        entropy="falls",
        source="arXiv 2402.14740; verl, TRL rloo_trainer.py",
        verified="C",
        summary="REINFORCE with the mean of the other responses as baseline",
        advantage=stage("advantages.leave_one_out"),
        traps=("TRL's trainer of this name clips the ratio of the whole sequence and puts a KL into the reward",),
        limits=("G/(G-1) times dr_grpo's advantage",),
    )
)
PPO = register(
    derive(
        REINFORCE,
        name="ppo",
        title="PPO-clip, outcome reward",
        year=2017,
        entropy="falls fast",
        source="arXiv 1707.06347; verl compute_policy_loss_vanilla",
        verified="C",
        summary="clipped ratio; the reward whitened over the batch in the place of a critic",
        advantage=stage("advantages.batch_whitened", floor=1e-8),
        surrogate=CLIP,
        aggregate=TOKEN_MEAN,
        traps=(
            "at ratio 1 the clip is inert: with one update a batch this is whitened REINFORCE",
            "verl's loss of this name has a dual clip of 3 always on; here it is off",
        ),
        limits=("GAE with V = 0, gamma = lambda = 1", "clips to infinity: importance-weighted policy gradient"),
    )
)
GRPO = register(
    derive(
        PPO,
        name="grpo",
        title="GRPO",
        year=2024,
        entropy="falls fast",
        source="arXiv 2402.03300; verl compute_grpo_outcome_advantage, TRL grpo_trainer.py",
        verified="C",
        summary="PPO's clip on rewards standardised within the group of one prompt; no critic",
        advantage=GROUP_STD,
        aggregate=stage("aggregation.seq_mean_token_mean"),
        traps=(
            "the paper adds a k3 KL to the reference (kl_coefficient=...); verl and TRL have it off by default",
            "libraries disagree on the floor of the std (1e-4 to 1e-9) and on the aggregation (verl: token_mean)",
            "the loss is about zero on-policy while the gradient is not",
        ),
        limits=("times the group's std: dr_grpo's advantage", "at ratio 1: REINFORCE with the same advantage"),
    )
)
DR_GRPO = register(
    derive(
        GRPO,
        name="dr_grpo",
        title="Dr. GRPO",
        year=2025,
        entropy="falls fast",
        source="arXiv 2503.20783; understand-r1-zero train_zero_math.py",
        verified="C",
        summary="GRPO without the division by the std and without the division by the response's length",
        advantage=stage("advantages.group_centered"),
        aggregate=stage("aggregation.seq_mean_token_sum_norm", budget=None),
        published={"budget": 3000},
        traps=("verl forgot the mean over responses until 2026: its learning rates differ by the batch size",),
        limits=("(G-1)/G times rloo in expectation",),
    )
)
DAPO = register(
    derive(
        GRPO,
        name="dapo",
        title="DAPO",
        year=2025,
        entropy="falls slower",
        source="arXiv 2503.14476; verl-recipe dapo/",
        verified="C",
        summary="clip-higher, every token weighs alike, groups without spread are sampled anew, overlong is penalised",
        surrogate=stage("surrogates.ppo_clip", clip_low=0.2, clip_high=0.28, dual_clip=10.0),
        aggregate=TOKEN_MEAN,
        keep_group=stage("sampling.mixed_outcomes", resample=True),
        shape_reward=stage("rewards.overlong_penalty", max_length=None, cache=0),
        published={"max_length": 20480, "cache": 4096},
        traps=(
            "dynamic sampling costs rollouts: compare at equal rollouts, not at equal updates",
            "the soft penalty for overlong responses is off at cache = 0: responses here end by the world's rules",
            "TRL's 'dapo' is only the aggregation",
        ),
        limits=(
            "equal clips, no dynamic sampling and no penalty: grpo with token_mean",
            "for A < 0 independent of clip_high",
        ),
    )
)
