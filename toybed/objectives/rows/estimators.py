"""Objectives that differ in the advantage: how rewards of a group become credit."""

from __future__ import annotations

from toybed.objectives.catalogue import derive, register, stage
from toybed.objectives.rows.classics import DR_GRPO, GRPO, PPO, REINFORCE, TOKEN_MEAN

SCORE = stage("surrogates.score_function")

# Whitened over the batch ---------------------------------------------------------------------------------------------

REINFORCE_PP = register(
    derive(
        PPO,
        name="reinforce_pp",
        title="REINFORCE++",
        year=2025,
        entropy="falls",
        source="arXiv 2501.03262; verl compute_reinforce_plus_plus_outcome_advantage",
        verified="C",
        summary="PPO's clip on discounted returns, whitened over all tokens of the batch; no critic, no groups",
        advantage=stage("returns.discounted_whitened", gamma=1.0, floor=1e-8),
        traps=(
            "prompts of every difficulty share one baseline: easy ones are pushed up and hard ones down throughout",
            "OpenRLHF has a KL in the reward of each token under this name: reinforce_pp_kl",
        ),
        limits=("gamma = 1: ppo",),
    )
)
register(
    derive(
        REINFORCE_PP,
        name="reinforce_pp_kl",
        title="REINFORCE++ with KL in the token's reward",
        year=2025,
        entropy="falls",
        source="arXiv 2501.03262; OpenRLHF experience_maker.py",
        verified="C",
        summary="REINFORCE++ as OpenRLHF has it: a k1 KL to the reference is taken from each token's reward",
        advantage=stage(
            "returns.discounted_whitened_with_kl",
            gamma=1.0,
            floor=1e-8,
            token_kl_coefficient=0.01,
            token_kl_bound=10.0,
        ),
        traps=("the KL is whitened with the reward: where all rewards are equal, it alone fills the variance",),
        limits=("token_kl_coefficient = 0: reinforce_pp",),
    )
)
register(
    derive(
        REINFORCE_PP,
        name="reinforce_pp_baseline",
        title="REINFORCE++-baseline",
        year=2025,
        entropy="falls",
        source="arXiv 2501.03262; verl compute_reinforce_plus_plus_baseline_outcome_advantage",
        verified="C",
        summary="the group's mean is subtracted, and one standard deviation serves the batch",
        advantage=stage("returns.group_centered_whitened", floor=1e-8),
        traps=("whitening over tokens centres again: with unequal lengths group sums are not zero",),
        limits=("equal lengths: dr_grpo's advantage over the batch's standard deviation",),
    )
)
register(
    derive(
        PPO,
        name="ppo_gae",
        title="PPO with a critic",
        year=2017,
        entropy="falls fast",
        source="arXiv 1707.06347, 1506.02438; verl compute_gae_advantage_return",
        verified="C",
        summary="PPO's clip on generalised advantage estimates of a learned critic, whitened over the batch",
        advantage=stage("returns.gae", gamma=1.0, lam=1.0, floor=1e-8),
        traps=("the critic has a loss of its own (returns.value_loss), on returns that are not whitened",),
        limits=("V = 0 and gamma = lam = 1: ppo", "lam = 0: the one-step TD error"),
    )
)

# Difficulty ----------------------------------------------------------------------------------------------------------

GPG = register(
    derive(
        DR_GRPO,
        name="gpg",
        title="GPG",
        year=2025,
        entropy="falls",
        source="AMAP-ML/GPG gpg_trainer.py",
        verified="C",
        summary="centred rewards and no ratio; scaled up by the share of groups that have a spread",
        advantage=stage("difficulty.spread_share_scaled", f_norm=1.0),
        surrogate=SCORE,
        aggregate=TOKEN_MEAN,
        traps=(
            "verl's alpha of this name is another one: gpg_verl",
            "the authors may sample again until half of the groups have a spread; that is left out",
        ),
        limits=("every group has spread: REINFORCE with dr_grpo's advantage",),
    )
)
register(
    derive(
        GPG,
        name="gpg_verl",
        title="GPG as verl has it",
        year=2025,
        entropy="falls",
        source="verl compute_gpg_outcome_advantage",
        verified="C",
        summary="centred rewards over the batch's success rate: for 0/1 reward a MaxRL of the whole batch",
        advantage=stage("difficulty.nonzero_share_scaled", f_norm=1.0),
        traps=("not the authors' alpha; depends on where the zero of the reward lies",),
        limits=("no reward is zero: REINFORCE with dr_grpo's advantage",),
    )
)
register(
    derive(
        GRPO,
        name="maxrl",
        title="MaxRL",
        year=2026,
        entropy="falls slower on hard prompts",
        source="arXiv 2602.02710; maxrl compute_maxrl_outcome_advantage, prime-rl max_rl.py",
        verified="C, D",
        summary="divided by the group's mean in the place of its std: maximum likelihood of success",
        advantage=stage("difficulty.mean_normalized", floor=1e-6),
        aggregate=TOKEN_MEAN,
        traps=(
            "centred with zeros at no success, it targets order G - 1 of the series of log p, not G",
            "needs rewards that are not negative",
            "surrogate and aggregation are the base's (PPO's clip, token_mean): only the advantage was read",
        ),
        limits=("G = 2: REINFORCE's weight", "large G: the gradient of log p"),
    )
)
QAE = register(
    derive(
        GRPO,
        name="qae",
        title="QAE",
        year=2025,
        entropy="set by the quantile",
        source="arXiv 2509.22611 (README and abstract; third-party descriptions)",
        verified="S",
        summary="a quantile in the place of the group's mean: hard prompts learn from successes, easy from failures",
        advantage=stage("difficulty.quantile_standardized", quantile=0.4, ddof=1, floor=1e-6),
        traps=("an interpolated quantile is another estimator: qae_interpolated",),
        limits=("0/1 reward: exactly one of the two classes has an advantage",),
    )
)
register(
    derive(
        QAE,
        name="qae_interpolated",
        title="QAE with an interpolated quantile",
        year=2025,
        entropy="falls slower",
        source="arXiv 2509.22611 with torch.quantile in the place of the mean (third-party descriptions)",
        verified="S, D",
        summary="QAE by the one-line change: between two order statistics both classes keep an advantage",
        advantage=stage("difficulty.interpolated_quantile_standardized", quantile=0.4, ddof=1, floor=1e-6),
        traps=("not what the paper argues with: at G = 8 and 5 right the baseline is 0.8",),
    )
)

# Right and wrong apart -----------------------------------------------------------------------------------------------

PSR = register(
    derive(
        PPO,
        name="psr",
        title="Positive sample reinforcement",
        year=2025,
        entropy="falls fast",
        source="arXiv 2506.01347; RLVR-Decomposed compute_psr_nsr_outcome_advantage",
        verified="C, D",
        summary="PPO's clip on right responses only; the others leave the average",
        advantage=stage("polarity.signed_outcome", positive=1.0, negative=0.0, correct_above=0.0),
        weight=stage("polarity.acting_rows"),
        traps=(
            "on-policy its expected gradient has the direction of nsr's and w_reinforce's: only noise, stale updates "
            "and denominators tell them apart",
            "the authors' scripts inherit an entropy bonus of 0.001 (entropy_coefficient=0.001)",
        ),
        limits=("ratio 1 and equal lengths T: 1/T of raft with normalizer batch",),
    )
)
register(
    derive(
        PSR,
        name="nsr",
        title="Negative sample reinforcement",
        year=2025,
        entropy="kept (claimed)",
        source="arXiv 2506.01347; RLVR-Decomposed compute_psr_nsr_outcome_advantage",
        verified="C, D",
        summary="PPO's clip on wrong responses only; the others leave the average",
        advantage=stage("polarity.signed_outcome", positive=0.0, negative=1.0, correct_above=0.0),
        traps=(
            "not w_reinforce with positive = 0: that one divides by all tokens",
            "the authors' scripts inherit an entropy bonus of 0.001 (entropy_coefficient=0.001)",
        ),
    )
)
register(
    derive(
        PSR,
        name="w_reinforce",
        title="Weighted REINFORCE",
        year=2025,
        entropy="falls slower (claimed)",
        source="arXiv 2506.01347; RLVR-Decomposed compute_psr_nsr_outcome_advantage",
        verified="C, D",
        summary="right responses weigh a tenth of wrong ones; all rows stay in the average",
        advantage=stage("polarity.signed_outcome", positive=0.1, negative=1.0, correct_above=0.0),
        weight=stage("weights.every_token"),
        traps=("on-policy its expected gradient is (1 + positive) times REINFORCE's: the weight is a learning rate",),
        limits=("positive = 1: REINFORCE with reward ±1 under PPO's clip",),
    )
)

# The best of k -------------------------------------------------------------------------------------------------------

register(
    derive(
        GRPO,
        name="passk",
        title="Pass@k training",
        year=2025,
        entropy="falls slower",
        source="arXiv 2508.10751; RUCAIBox/Passk_Training code/passk_adv.py",
        verified="C, D",
        summary="a response's standardised share in the pass@k of the subsets of its group",
        advantage=stage("best_of_k.pass_at_k_standardized", k=4, correct_above=0.0, floor=1e-6),
        traps=(
            "k = G has no gradient at all, and k near G almost none",
            "verl's grpo_passk is another method",
        ),
        limits=("k = 1: grpo with the population's std",),
    )
)
register(
    derive(
        GRPO,
        name="grpo_passk",
        title="GRPO-pass@k (verl)",
        year=2025,
        entropy="falls",
        source="arXiv 2503.19595; verl compute_grpo_passk_outcome_advantage",
        verified="C",
        summary="only the best response of a group, by its margin over the second",
        advantage=stage("best_of_k.best_margin", by_std=True, ddof=1, floor=1e-6),
        traps=("with 0/1 reward only groups with exactly one success have a gradient", "no k enters"),
        limits=("without std: pkpo with k = G",),
    )
)
PKPO = register(
    derive(
        REINFORCE,
        name="pkpo",
        title="PKPO",
        year=2025,
        entropy="falls slower",
        source="arXiv 2505.15201 (three third-party ports)",
        verified="S, D",
        summary="what a response adds to the expected best of k: an unbiased gradient of max@k",
        advantage=stage("best_of_k.max_at_k_marginal", k=4),
        traps=(
            "a mean over responses makes the gradient 1/G of max@k's: it wants a larger learning rate",
            "do not standardise afterwards",
        ),
        limits=("k = 1: reinforce over G", "k = G: the best response's margin over the second"),
    )
)

register(
    derive(
        GRPO,
        name="half_credit",
        title="Half individual, half set credit",
        year=2026,
        entropy="falls slower",
        source="this catalogue; parts: arXiv 2402.03300, 2505.15201",
        verified="D",
        summary="half GRPO's advantage, half what a response adds to the best of its group",
        advantage=stage("best_of_k.half_credit", share=0.5, ddof=1, floor=1e-6),
        traps=("group sums are not zero: the set's part only pushes up",),
        limits=("share = 1: grpo", "share = 0: grpo_passk; for 0/1 reward a constant times pkpo with k = G"),
    )
)

# Token by token ------------------------------------------------------------------------------------------------------

HICRA = register(
    derive(
        GRPO,
        name="hicra",
        title="HICRA",
        year=2025,
        entropy="rises over strategies (claimed)",
        source="arXiv 2509.03646 (two third-party write-ups, two ports; the authors' repository has no code)",
        verified="S",
        summary="planning tokens get a larger advantage",
        advantage=stage("shaping.planning_bonus", alpha=0.2),
        traps=("the bonus amplifies hard prompts and damps easy ones wherever the mask is: compare with hicra_random",),
        limits=("alpha = 0 or an empty mask: grpo without the division by the std",),
    )
)
register(
    derive(
        HICRA,
        name="hicra_random",
        title="HICRA's placebo",
        year=2025,
        entropy="as its base",
        source="arXiv 2509.03646 (third-party write-ups)",
        verified="S",
        summary="as many tokens of each response, drawn at random, get HICRA's bonus",
        advantage=stage("shaping.random_planning_bonus", alpha=0.2),
        traps=("the draw within the response is this catalogue's choice",),
    )
)
register(
    derive(
        HICRA,
        name="difficulty_weighted",
        title="HICRA's difficulty weights",
        year=2026,
        entropy="as its base",
        source="this catalogue; a control for arXiv 2509.03646",
        verified="D",
        summary="what HICRA's bonus does to the expected gradient, on every token: hard prompts weigh more",
        advantage=stage("difficulty.difficulty_weighted", alpha=0.2),
        traps=("where most prompts are as hard it is a learning rate, which Adam undoes",),
        limits=("alpha = 0: grpo without the division by the std",),
    )
)
register(
    derive(
        GRPO,
        name="entropy_shaped",
        title="Entropy-shaped advantage",
        year=2025,
        entropy="lower than its base",
        source="arXiv 2506.14758",
        verified="P",
        summary="uncertain tokens get a larger advantage, at most half of it more",
        advantage=stage("shaping.entropy_bonus_shaped", alpha=0.4, kappa=2.0, ddof=1, floor=1e-6),
        surrogate=stage("surrogates.ppo_clip", clip_low=0.2, clip_high=0.28, dual_clip=None),
        aggregate=TOKEN_MEAN,
        traps=(
            "lowers entropy against its baseline in the paper's own figure: an exploration reward, not a regulariser",
            "the paper's reward is ±1; alpha is 0.1 on PPO",
            "the base is clip-higher; its bound is taken from DAPO",
        ),
        limits=("alpha = 0: grpo with clip-higher and token_mean",),
    )
)
REPO_R = register(
    derive(
        GRPO,
        name="repo_r",
        title="REPO-R",
        year=2026,
        entropy="set by zeta",
        source="arXiv 2603.11682 (third-party note)",
        verified="S",
        summary="unlikely tokens are pushed up more and down less, by the current log-probability",
        advantage=stage("shaping.log_prob_rescaled", zeta=0.1, ddof=1, floor=1e-6),
        traps=(
            "the published zeta is moved by a controller; 0.1 and the base are this catalogue's",
            "read in a third-party note only",
        ),
        limits=("zeta = 0: grpo",),
    )
)
