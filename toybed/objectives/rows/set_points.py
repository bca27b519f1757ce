"""Objectives that bring the entropy to a set-point: by weights, clips, temperatures, or what is left out."""

from __future__ import annotations

from toybed.objectives.catalogue import derive, register, stage
from toybed.objectives.rows.classics import GRPO, TOKEN_MEAN
from toybed.objectives.schedules import Linear

DUAL_CLIP = stage("surrogates.ppo_clip", clip_low=0.2, clip_high=0.2, dual_clip=3.0)

register(
    derive(
        GRPO,
        name="entropic",
        title="EntroPIC",
        year=2025,
        entropy="set-point",
        source="arXiv 2511.15248; yk7333/EntroPIC compute_policy_loss_entropic, dp_actor.py update_policy",
        verified="C",
        summary="right responses weigh 1 + alpha and wrong ones 1 - alpha; alpha by proportional-integral control",
        surrogate=DUAL_CLIP,
        regularizers=(stage("steering.polarity", alpha=0.0, probability_above=0.5),),
        aggregate=TOKEN_MEAN,
        controller=stage(
            "set_points.ProportionalIntegral",
            steered="alpha",
            entropy_target=0.5,
            target_scale="initial",
            rest=0.0,
            proportional=1.0,
            integral=0.01,
            least=-1.0,
            most=1.0,
            watched="entropy",
        ),
        published={"entropy_target": 0.1, "target_scale": "absolute", "probability_above": 0.95},
        traps=(
            "the authors weigh tokens with a probability above 0.95, which a toy has once it has collapsed; here "
            "0.5, chosen after a look at the bandit",
            "over all tokens it does not steer: on-policy, with rewards of 0 and 1, its expected gradient is grpo's "
            "times 1 + alpha (1 - 2p) for a prompt with success p",
            "the sum of errors is not bounded: it winds up while alpha is at its bound",
            "where every response is right there is no advantage to weigh: solved prompts are not steered",
        ),
        limits=("gains of 0: grpo with token_mean and a dual clip of 3",),
    )
)
register(
    derive(
        GRPO,
        name="mai_clip",
        title="MAI-style adaptive clip",
        year=2026,
        entropy="set-point",
        source="a port's README, by third-party description",
        verified="S",
        summary="an upper clip that takes a step up while entropy is below a target and one down above it",
        surrogate=stage("surrogates.ppo_clip", clip_low=0.6, clip_high=1.5, dual_clip=None),
        controller=stage(
            "set_points.Stepping",
            steered="clip_high",
            start=1.5,
            step=0.25,
            least=1.5,
            most=4.0,
            entropy_target=0.5,
            target_scale="initial",
            watched="entropy",
        ),
        published={"entropy_target": 0.3, "target_scale": "absolute"},
        traps=(
            "only a third-party description was read; aggregation and advantage are grpo's",
            "its bounds are so wide that few ratios reach them: then it is unclipped grpo, and steers nothing",
        ),
        limits=("step 0: grpo with its clips",),
    )
)
register(
    derive(
        GRPO,
        name="flexible_clip",
        title="Flexible entropy control, oscillatory decay",
        year=2026,
        entropy="set-point",
        source="arXiv 2602.09782 and the authors' own summary",
        verified="P, S; the slopes of the clips by third-party description",
        summary="clips that read a token's probability, switched to raise entropy at a floor and to lower it at a lid",
        surrogate=stage(
            "steering.probability_clip",
            clip_low=0.2,
            clip_high=0.2,
            low_base=0.3,
            low_slope=-0.13,
            high_base=0.5,
            high_slope=-0.25,
            boost=0.0,
            suppress=0.0,
            dual_clip=None,
        ),
        controller=stage(
            "set_points.Hysteresis",
            raising="boost",
            lowering="suppress",
            entropy_low=0.2,
            entropy_high=Linear(1.0, 0.2),
            target_scale="initial",
            watched="entropy",
        ),
        traps=(
            "a clip acts on stale updates only: with one update a batch nothing is steered",
            "it slows entropy's fall; nothing makes it rise where few tokens are clipped",
            "increase-then-decrease and decrease-increase-decrease are schedules of boost and suppress",
        ),
        limits=("neither boost nor suppress: grpo",),
    )
)
IMITATION = derive(
    GRPO,
    name="aepo",
    title="AEPO, arbitrary entropy",
    year=2025,
    entropy="set-point",
    source="arXiv 2510.08141; 597358816/AEPO ray_trainer.py fit",
    verified="C",
    summary="right responses of a quarter of the groups, sampled hotter below a target entropy and colder above it",
    advantage=stage("steering.tempered_imitation", ddof=1, floor=1e-6, imitated_by="advantage", imitated_above=0.05),
    weight=stage("steering.without_tempered_failures"),
    aggregate=TOKEN_MEAN,
    sampling=stage("sampling.tempered", sampling_temperature=1.0, tempered_share=0.25),
    controller=stage(
        "set_points.Band",
        steered="sampling_temperature",
        below=1.2,
        within=1.2,
        above=0.8,
        entropy_low=0.5,
        entropy_high=0.5,
        target_scale="initial",
        watched="entropy",
    ),
    published={"entropy_low": 0.5, "entropy_high": 0.5, "target_scale": "absolute"},
    traps=(
        "old log-probabilities are taken at temperature 1: the mismatch with the sampling is the mechanism",
        "the authors sample the tempered quarter in addition to the batch; here it is part of the batch",
        "it can raise entropy only as far as there are several right responses to a prompt",
        "a group of right responses alone has no advantage: where prompts are solved nothing is steered any more",
    ),
    limits=("tempered_share 0: grpo with token_mean",),
)
register(IMITATION)
register(
    derive(
        IMITATION,
        name="scope_rl",
        title="SCOPE-RL",
        year=2026,
        entropy="set-point",
        source="arXiv 2510.08141, later version, by third-party descriptions; its axolotl plugin's temperature",
        verified="C, S; the temperature in code, the rest by third-party descriptions",
        summary="AEPO whose temperature follows the error of the entropy, and which imitates every right response",
        advantage=stage("steering.tempered_imitation", ddof=1, floor=1e-6, imitated_by="reward", imitated_above=0.0),
        controller=stage(
            "set_points.ProportionalIntegral",
            steered="sampling_temperature",
            entropy_target=0.5,
            target_scale="initial",
            rest=1.0,
            proportional=-1.0,
            integral=0.0,
            least=0.8,
            most=1.2,
            watched="entropy",
        ),
        published={"entropy_target": 0.5, "target_scale": "absolute", "tempered_share": 1 / 64},
        traps=(
            "1/64 of the groups is less than one of a toy's batch, which takes AEPO's quarter",
            "without an integral an error stays: that at which the temperature holds the entropy",
        ),
        limits=("tempered_share 0: grpo with token_mean", "entropy at its target: temperature 1"),
    )
)
REJECTION = register(
    derive(
        GRPO,
        name="entrocraft",
        title="Entrocraft",
        year=2026,
        entropy="set-point",
        source="arXiv 2604.26326 algorithm 1; lblaoke/entrocraft core_algos.py",
        verified="P, C",
        summary="right responses are left out while entropy is below a band, and wrong ones while it is above",
        weight=stage("steering.rejection", drift=0.0, rejected_by="advantage"),
        aggregate=TOKEN_MEAN,
        controller=stage(
            "set_points.Band",
            steered="drift",
            below=-1.0,
            within=0.0,
            above=1.0,
            entropy_low=Linear(0.6 / 0.7, 0.4 / 0.7),
            entropy_high=Linear(1.0, 0.5 / 0.7),
            target_scale="initial",
            watched="entropy",
        ),
        published={
            "entropy_low": "0.6 to 0.4 nats, linearly",
            "entropy_high": "0.7 to 0.5 nats, linearly",
            "target_scale": "absolute",
        },
        traps=(
            "the published band is given as shares of its first upper end",
            "a wrong response that is rare lowers entropy when it is pushed down: late in a run all of them are",
            "the authors' code gives the responses that it keeps their plain reward, the paper the group's advantage",
        ),
        limits=("a band that holds every entropy: grpo with token_mean",),
    )
)
register(
    derive(
        REJECTION,
        name="entrocraft_covariance",
        title="Entrocraft by covariance",
        year=2026,
        entropy="set-point",
        source="this project, after arXiv 2604.26326 and the entropy change of arXiv 2505.22617",
        verified="D",
        summary="responses are left out by their share of the predicted entropy change, not by their advantage's sign",
        weight=stage("steering.rejection", drift=0.0, rejected_by="covariance"),
        traps=("the prediction is of a natural-gradient step on a table; networks share parameters",),
        limits=("a band that holds every entropy: grpo with token_mean",),
    )
)
