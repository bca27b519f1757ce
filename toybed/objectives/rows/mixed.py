"""Objectives that learn from more than on-policy samples: demonstrations, refinements, preferences, a target."""

from __future__ import annotations

from toybed.objectives.catalogue import derive, register, stage
from toybed.objectives.rows.classics import DR_GRPO, REINFORCE, TOKEN_MEAN

register(
    derive(
        REINFORCE,
        name="flowrl",
        title="FlowRL",
        year=2025,
        entropy="goes to the target's",
        source="arXiv 2509.15207; FlowRL, verl-recipe flowrl_actor.py",
        verified="C, D",
        summary="the policy is fitted to the reference tilted by the reward, with a learned normaliser for each prompt",
        advantage=stage("matching.flow_residual", beta=15.0, ddof=1, floor=1e-6, weight_low=None, weight_high=10.0),
        regularizers=(stage("matching.log_partition_residual"),),
        published={"weight_low": None, "weight_high": None},
        traps=(
            "three importance weights go under this name: clipped to 1 ± eps (paper), none of it (the authors' code), "
            "capped at 10 (verl-recipe)",
            "the reward is standardised in the group, so the target moves as the success rate does",
        ),
        limits=("one token, exact Z: twice the gradient of KL(pi || pi_ref exp(beta r) / Z)",),
    )
)
register(
    derive(
        DR_GRPO,
        name="critique_grpo",
        title="Critique-GRPO",
        year=2025,
        entropy="rises (claimed)",
        source="arXiv 2506.03106; critique-GRPO compute_token_on_off_policy_loss",
        verified="C",
        summary="groups with a response refined after a critique, whose tokens weigh most where they are within reach",
        surrogate=stage("guidance.refinement_shaped", gamma=0.1),
        traps=(
            "sampled rows are not clipped",
            "the authors divide by a constant length and not by the number of responses: their learning rates differ",
            "their scripts add an entropy bonus of 0.001 (entropy_coefficient=0.001)",
        ),
        limits=("no refined rows: dr_grpo without its clip",),
    )
)
register(
    derive(
        REINFORCE,
        name="sft",
        title="Supervised fine-tuning",
        year=2022,
        entropy="goes to the data's",
        source="OpenRLHF, prime-rl",
        verified="C",
        summary="the log-probability of demonstrations; other rows leave the average",
        advantage=stage("guidance.demonstrated"),
        weight=stage("polarity.acting_rows"),
        aggregate=TOKEN_MEAN,
        traps=("a mean over tokens lets long demonstrations weigh more",),
    )
)
register(
    derive(
        REINFORCE,
        name="raft",
        title="RAFT, rejection fine-tuning",
        year=2023,
        entropy="falls fast",
        source="OpenRLHF, prime-rl",
        verified="C, D",
        summary="supervised fine-tuning on one's own right responses",
        advantage=stage("polarity.successes", correct_above=0.0, normalizer="group"),
        traps=("sharpens fast when it is iterated", "over all successes of the batch, easy prompts weigh more"),
        limits=("normalizer none: reinforce with 0/1 reward", "large G: the gradient of log p, as maxrl"),
    )
)
register(
    derive(
        REINFORCE,
        name="dpo",
        title="DPO on groups",
        year=2023,
        entropy="falls",
        source="arXiv 2305.18290; OpenRLHF DPOLoss",
        verified="C",
        summary="the best response of a group against its worst, by the margin over the reference",
        advantage=stage("guidance.preference_margin", beta=0.1),
        traps=("both log-probabilities may fall while the margin grows",),
        limits=("G = 2: the textbook's pair", "beta to 0: half of beta times the difference of log-probabilities"),
    )
)
