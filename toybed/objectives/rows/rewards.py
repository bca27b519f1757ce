"""Objectives for vector rewards and sets of answers, and shaped rewards."""

from __future__ import annotations

from toybed.objectives.catalogue import derive, register, stage
from toybed.objectives.rows.classics import GRPO, RLOO, TOKEN_MEAN
from toybed.objectives.rows.estimators import PKPO

register(
    derive(
        GRPO,
        name="gdpo",
        title="GDPO",
        year=2026,
        entropy="falls",
        source="arXiv 2601.05242; verl compute_gdpo_outcome_advantage, TRL",
        verified="C",
        summary="each reward component is standardised by itself before they are added and whitened",
        advantage=stage(
            "vector_rewards.component_standardized", reward_weights=None, ddof=1, floor=1e-6, whitening_floor=1e-8
        ),
        aggregate=TOKEN_MEAN,
        traps=("whitening is over tokens in verl and over responses in TRL; here over tokens",),
        limits=("one component: whitened grpo with token_mean",),
    )
)
VPO = register(
    derive(
        GRPO,
        name="vpo",
        title="VPO",
        year=2026,
        entropy="diversity in reward space",
        source="arXiv 2605.22817; authors' vpo/utils/vpo.py",
        verified="C",
        summary="a response holds a set of answers and is paid for its best one under random preferences",
        advantage=stage("vector_rewards.best_of_set", draws=100, concentration=1, floor=1e-6),
        surrogate=stage("surrogates.ppo_clip", clip_low=0.2, clip_high=0.2, dual_clip=3.0),
        aggregate=TOKEN_MEAN,
        traps=(
            "the authors add a k3 KL of 0.001 to the reference (kl_coefficient=0.001)",
            "the preferences are drawn once for a prompt, not once for a response",
        ),
        limits=("D = 1, or one and the same answer: grpo with the population's std on the best answer",),
    )
)
register(
    derive(
        VPO,
        name="vpo_parallel",
        title="VPO on parallel samples (variant)",
        year=2026,
        entropy="diversity in reward space",
        source="a variant: the scalarisation of arXiv 2605.22817 with the leave-one-out of arXiv 2505.15201",
        verified="D",
        summary="a response is paid for what it adds to the best of its group under random preferences",
        advantage=stage("vector_rewards.marginal_best", draws=100, concentration=1),
        traps=("not the published method", "two equal responses at the top get nothing, both"),
        limits=("D = 1: pkpo's advantage with k = G",),
    )
)
register(
    derive(
        VPO,
        name="multi_rlvr",
        title="Multi-RLVR",
        year=2026,
        entropy="falls",
        source="the baseline of arXiv 2605.22817, in the authors' docs/",
        verified="C, S",
        summary="VPO's sets of answers under one fixed preference",
        advantage=stage("vector_rewards.fixed_scalarization", reward_weights=None, over_answers="best", floor=1e-6),
        traps=("the sources disagree on whether the answers of a set are summed or the best one counts",),
        limits=("M = 1: grpo with the population's std on the weighted reward",),
    )
)
register(
    derive(
        PKPO,
        name="pkpo_vector",
        title="Max@k on the weighted reward",
        year=2026,
        entropy="falls slower",
        source="arXiv 2505.15201 on the scalarisation of arXiv 2605.22817, whose baseline Max-at-K it stands for",
        verified="D",
        summary="PKPO on the components under fixed weights: the best of k parallel answers, one preference",
        shape_reward=stage("rewards.weighted_components", reward_weights=None),
        traps=(
            "the paper's estimator of max@k and its weights were not seen; these are PKPO's and 1/D",
            "k = 4 is this catalogue's",
        ),
        limits=("D = 1: pkpo", "k = G: vpo_parallel where all components are equal"),
    )
)
register(
    derive(
        RLOO,
        name="rloo_kl",
        title="RLOO with KL in the reward",
        year=2024,
        entropy="falls slower",
        source="arXiv 2402.14740; TRL rloo_trainer.py",
        verified="C",
        summary="RLOO whose reward pays for the divergence from the reference over the whole response",
        shape_reward=stage("rewards.kl_in_reward", kl_in_reward_coefficient=0.05, kl_in_reward_estimator="k1"),
        traps=(
            "TRL besides clips the ratio of the whole sequence at 0.2; that is left out here",
            "k1 in the reward has the gradient of the reverse KL; k1 in the loss has none",
        ),
        limits=("kl_in_reward_coefficient = 0: rloo",),
    )
)
register(
    derive(
        GRPO,
        name="grpo_opposite",
        title="GRPO against its reward (control)",
        year=2024,
        entropy="rises at first",
        source="a control of this project: arXiv 2402.03300 with the reward's sign turned",
        verified="D",
        summary="GRPO that unlearns what pays: does taking the steps back bring back what was lost?",
        shape_reward=stage("rewards.negated"),
        traps=("it makes the policy worse, on purpose", "it does not retrace the path by which the policy came"),
        limits=("with the reward's sign turned in the world: grpo",),
    )
)
register(
    derive(
        GRPO,
        name="grpo_components",
        title="GRPO on the weighted components",
        year=2024,
        entropy="falls",
        source="arXiv 2402.03300 on a weighted sum, as reward functions are added in TRL and verl",
        verified="D",
        summary="GRPO paid for every component of the reward under fixed weights: outcome and process, say",
        shape_reward=stage("rewards.weighted_components", reward_weights=None),
        traps=("a component of large scale drowns the others: gdpo standardises each by itself",),
        limits=("one component of one answer: grpo",),
    )
)
register(
    derive(
        GRPO,
        name="grpo_shuffled",
        title="GRPO on shuffled components (control)",
        year=2024,
        entropy="falls",
        source="a control of this project: arXiv 2402.03300 on components that belong to other responses",
        verified="D",
        summary="grpo_components with all components but one dealt anew within the group: as many bits, no information",
        shape_reward=stage("signals.shuffled_components", reward_weights=None, kept=0),
        traps=("say by kept which component is the outcome; with one component it is grpo_components",),
        limits=("D = 1, or a group of equal vectors: grpo_components",),
    )
)
register(
    derive(
        GRPO,
        name="grpo_noisy",
        title="GRPO with a noisy verifier",
        year=2024,
        entropy="falls",
        source="arXiv 2402.03300 on rewards with label noise that depends on the class (Natarajan et al. 2013)",
        verified="D",
        summary="GRPO whose verifier fails some right responses and passes some wrong ones",
        shape_reward=stage("signals.noisy_verifier", true_positive=1.0, false_positive=0.0),
        traps=("the perfect verifier is the default: say how it errs",),
        limits=("true_positive = 1, false_positive = 0: grpo",),
    )
)
register(
    derive(
        GRPO,
        name="unlikeliness",
        title="Unlikeliness reward",
        year=2025,
        entropy="falls slower (claimed)",
        source="arXiv 2506.02355",
        verified="S, D",
        summary="right responses are paid more, the less likely they were among their group",
        shape_reward=stage("signals.unlikeliness", rank_penalty=0.25),
        traps=("a group of right responses only has a gradient, too: from the likely ones to the rare ones",),
        limits=("rank_penalty = 0: grpo",),
    )
)
