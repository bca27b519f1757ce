"""Which objectives differ at all on fresh data?

Question
    With one optimiser step on each rollout batch the policy that learns is the policy that sampled: every ratio is 1.
    Which of the objectives that differ from GRPO in clip, gate or ratio then still differ from it?
Claim
    At ratio 1 every clip, gate, ratio level and bound is GRPO itself, and so is KL-Cov; what chooses tokens (Clip-Cov,
    80/20), weighs prompts otherwise (RLOO) or adds a gradient of its own (an entropy bonus) is not.
Source
    Derived: the surrogate's coefficient on the score function is 1 at ratio 1 (design notes on objectives, sections 2
    and 4; PPO: Schulman et al., arXiv 1707.06347). It decides what a comparison of objectives can show: the papers take
    4 to 16 steps on a batch.
Sweep
    ChainReach with an MLP from its usual base. Every arm has the same seeds, base and random draws. Fresh: 1 step on
    each batch. Stale, the contrast: 4 steps. A batch has 16 prompts of 8 responses of 4 tokens, all of one length, so
    that the aggregations differ by a constant at most.
    Adam removes a constant factor of the gradient. So does a clip by norm where it always or never binds; here it
    never does. LUSPO (sums over the 4 tokens) and TRL's CISPO (caps every weight at 0.2) are GRPO up to such a factor.
    80/20 also samples groups without spread anew, so its batches are not GRPO's.
Measure
    The largest difference of the exact entropy (train prompts, nats per token) from that of the GRPO run of the same
    seed, over the measured updates. Sums in another order round differently, and learning makes the rounding grow; so
    the runs are short.
Rule of judgement
    Written before the first run of this file. The same: the 95 % interval of the mean over seeds lies below
    1e-3 nats; different: above it. (Entropy falls by some 0.1 nats in the fresh runs, so that is a hundredth of what
    happens; rounding begins at 1e-7.) An arm's part is supported if it does what theory says of it, refuted if it does
    the opposite. The claim as a whole: refuted if one arm's part is refuted, supported if all are, else undecided. That
    they part on stale data is judged beside it and does not decide it.
What a student should see
    On fresh data most objectives of the last years take the same step, because each differs from GRPO in what it does
    with a ratio, and the ratio is 1. Take four steps on each batch, and they part. So a comparison that does not say
    how stale its updates are compares nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from toybed import plotting
from toybed.agents.config import Setting, Spec
from toybed.stats import mean_interval, mean_of_found
from toybed.study import WIDER_INTERVALS, Records, Study, Verdict, above, below, headline, number, register

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SAME_WITHIN = 1e-3  # nats per token
STALE_STEPS = 4

SAME = {
    "clip_higher": ("Clip-higher", Spec("grpo", {"clip_high": 0.28})),
    "dual_clip": ("Dual clip", Spec("dual_clip")),
    "is_pg": ("No clip", Spec("is_pg")),
    "dro": ("DRO", Spec("dro")),
    "cispo": ("CISPO", Spec("cispo")),
    "cispo_verl": ("CISPO, verl", Spec("cispo_verl")),
    "sapo": ("SAPO", Spec("sapo")),
    "gspo": ("GSPO", Spec("gspo")),
    "gspo_token": ("GSPO-token", Spec("gspo_token")),
    "gmpo": ("GMPO", Spec("gmpo")),
    "gppo": ("GPPO", Spec("gppo")),
    "ce_gppo": ("CE-GPPO", Spec("ce_gppo")),
    "dppo_tv": ("DPPO-TV", Spec("dppo_tv")),
    "dppo_kl": ("DPPO-KL", Spec("dppo_kl")),
    "bapo": ("BAPO", Spec("bapo")),
    "vespo": ("VESPO", Spec("vespo")),
    "kl_cov": ("KL-Cov", Spec("kl_cov")),
}
SCALED = {
    "luspo": ("LUSPO", Spec("luspo")),
    "cispo_trl": ("CISPO, TRL", Spec("cispo_trl")),
}
OTHER = {
    "rloo": ("RLOO", Spec("rloo")),
    "clip_cov": ("Clip-Cov", Spec("clip_cov", {"clip_low": 0.2, "clip_high": 0.2})),
    "entropy_bonus": ("Entropy bonus", Spec("grpo", {"entropy_coefficient": 0.01})),
    "forking_tokens": ("80/20", Spec("forking_tokens")),
}
ARMS = {**SAME, **SCALED, **OTHER}
UPDATES = {"quick": 8, "standard": 12, "full": 20}

CLAIM = (
    "On fresh data, at ratio 1, every clip, gate, ratio level and bound is GRPO itself, and so is KL-Cov; RLOO, "
    "Clip-Cov, an entropy bonus and 80/20 are not."
)
RULE = "refuted if the part of one objective is refuted, supported if all are supported, else undecided"

AMENDMENTS = (
    "The quick size had 4 updates. Differences grow with updates, and in 4 RLOO's had not reached the bound, which "
    'made the quick answer "refuted" where the standard one was "supported". It has 8 now (RLOO is "undecided" there). '
    "Bound, rule and the standard size are as they were.",
    WIDER_INTERVALS,
)


def arms(size: str) -> dict[str, Setting]:
    """The settings of the sweep: ``grpo``, ``gppo``, ..., and each again as ``grpo_stale``, ..."""
    grpo = Setting().with_learning(
        updates=UPDATES[size],
        prompts=16,
        group=8,
        minibatches=1,
        max_grad_norm=1e6,  # never binds: a norm is about 1
        measure_every=4 if size == "quick" else 2,
    )
    fresh = {"grpo": grpo, **{arm: replace(grpo, objective=objective) for arm, (_, objective) in ARMS.items()}}
    return fresh | {f"{arm}_stale": setting.with_learning(epochs=STALE_STEPS) for arm, setting in fresh.items()}


def judge(records: Mapping[str, Records]) -> tuple[Verdict, list[Verdict]]:
    """The whole answer and its parts."""
    parts = {arm: _arm(records, arm) for arm in ARMS}
    alike = [parts[arm] for arm in (*SAME, *SCALED)]
    furthest = max(alike, key=lambda part: np.nan_to_num(part.estimate, nan=np.inf))
    verdict = headline(
        CLAIM, parts=[*parts.values()], shown=furthest, rule=RULE, sentence=_sentence(parts), records=records
    )
    return verdict, [*parts.values(), _stale_parts(records)]


def _sentence(parts: Mapping[str, Verdict]) -> str:
    def named(group: Mapping[str, tuple[str, Spec]]) -> str:
        against = [name for arm, (name, _) in group.items() if parts[arm].outcome != "supported"]
        return f" (not so, or not decided: {', '.join(against)})" if against else ""

    alike = {**SAME, **SCALED}
    same, other = (sum(parts[arm].outcome == "supported" for arm in group) for group in (alike, OTHER))
    return (
        f"{same} of {len(alike)} objectives that should be GRPO at ratio 1 are{named(alike)}; "
        f"{other} of {len(OTHER)} that should not be are not{named(OTHER)}."
    )


def _arm(records: Mapping[str, Records], arm: str) -> Verdict:
    name = ARMS[arm][0]
    interval = mean_interval(differences(records, arm))
    stale = mean_of_found(differences(records, f"{arm}_stale"))
    if arm in OTHER:
        claim, outcome = f"{name} is not GRPO, even at ratio 1.", above(interval, SAME_WITHIN)
    else:
        extra = ", up to a factor that Adam removes" if arm in SCALED else ""
        claim, outcome = f"{name} is GRPO at ratio 1{extra}.", below(interval, SAME_WITHIN)
    return Verdict(
        claim,
        outcome,
        *interval,
        rule=f"largest difference of entropy from GRPO's, mean over seeds: the same if below {SAME_WITHIN:g} nats per "
        "token, different if above.",
        sentence=f"It differs by {number(interval.estimate, '.2g')} nats; with {STALE_STEPS} steps a batch, by "
        f"{number(stale, '.2g')}.",
    )


def _stale_parts(records: Mapping[str, Records]) -> Verdict:
    """Share of the objectives with GRPO's gradient at ratio 1 that leave it on stale data."""
    found = np.stack([differences(records, f"{arm}_stale") for arm in SAME])  # [arms, n]
    sound = np.isfinite(found).all(0)
    share = np.where(sound, (found > SAME_WITHIN).mean(0), np.nan)
    interval = mean_interval(share)
    stays = [SAME[arm][0] for arm, values in zip(SAME, found, strict=True) if mean_of_found(values) < SAME_WITHIN]
    return Verdict(
        f"With {STALE_STEPS} steps on a batch most of those that are GRPO at ratio 1 leave it.",
        above(interval, 0.5),
        *interval,
        rule=f"share of them whose largest difference is above {SAME_WITHIN:g} nats per token, mean over seeds: "
        "supported above one half, refuted below.",
        sentence=f"The share is {number(interval.estimate, '.2g')}; still within: {', '.join(stays) or 'none'}.",
    )


def differences(records: Mapping[str, Records], arm: str) -> NDArray[np.float64]:
    """Largest difference of entropy from the GRPO run of the same seed and steps, ``[n]``; NaN where one diverged."""
    found, grpo = records[arm], records["grpo_stale" if arm.endswith("_stale") else "grpo"]
    largest = np.abs(found["entropy_train"] - grpo["entropy_train"]).max(1)
    return np.where(found.sound & grpo.sound, largest, np.nan)


FRESH, STALE = plotting.COLOURS[1], plotting.COLOURS[2]
SMALLEST = 1e-8  # nats: where a difference of exactly 0 is drawn
SHOWN = ("gppo", "gspo", "cispo", "sapo", "gmpo", "kl_cov", "clip_cov", "rloo")


def figure(records: Mapping[str, Records]) -> Figure:
    """How far each objective is from GRPO on fresh and on stale data, and the stale ones over time."""
    with plotting.panels(2, width=5.2, height=5.0) as (page, (distance, path)):
        _draw_distances(distance, records)
        _draw_paths(path, records)
    return page


def _draw_distances(axes: Axes, records: Mapping[str, Records]) -> None:
    rows = {arm: -float(i + (arm in SCALED) + 2 * (arm in OTHER)) for i, arm in enumerate(ARMS)}
    for suffix, colour, shift in (("", FRESH, 0.15), ("_stale", STALE, -0.15)):
        for arm, y in rows.items():
            values = differences(records, arm + suffix)
            values = np.maximum(values[np.isfinite(values)], SMALLEST)
            places = np.full(len(values), y + shift)
            axes.plot(values, places, "o", color=colour, markersize=3, alpha=0.35, markeredgewidth=0)
            if len(values):
                axes.plot(values.mean(), y + shift, "o", color=colour, markersize=4.5)
    axes.set_xscale("log")
    axes.minorticks_off()
    axes.axvline(SAME_WITHIN, color="#555555", linewidth=0.9, linestyle=(0, (4, 4)), zorder=0)
    axes.set(
        title="Distance from GRPO",
        xlabel="largest difference of entropy (nats per token)",
        xlim=(SMALLEST / 2, 1),
        xticks=[SMALLEST, 1e-6, 1e-4, 1e-2, 1],
        xticklabels=["0", "10⁻⁶", "10⁻⁴", "10⁻²", "1"],
        ylim=(min(rows.values()) - 0.8, 0.8),
        yticks=list(rows.values()),
    )
    axes.set_yticklabels([ARMS[arm][0] for arm in rows], fontsize=8)
    axes.grid(axis="y", visible=False)
    axes.text(2 * SMALLEST, 0.15, "1 step a batch", color=FRESH, fontsize=8, va="center")
    axes.text(
        SAME_WITHIN * 0.8, -0.15, f"{STALE_STEPS} steps a batch", color=STALE, fontsize=8, va="center", ha="right"
    )


def _draw_paths(axes: Axes, records: Mapping[str, Records]) -> None:
    ends = {}
    steps = records["grpo_stale"].steps["entropy_train"]
    for arm, colour in zip(SHOWN, plotting.COLOURS, strict=True):
        gap = records[f"{arm}_stale"]["entropy_train"] - records["grpo_stale"]["entropy_train"]
        plotting.mean_line(axes, steps, gap, colour)
        ends[ARMS[arm][0]] = (float(steps[-1]), float(plotting.sound_mean(gap)[-1]), colour)
    axes.axhline(0, color="#555555", linewidth=0.8, zorder=0)
    axes.set(title=f"{STALE_STEPS} steps a batch", xlabel="updates", ylabel="entropy less GRPO's (nats per token)")
    plotting.label_ends(axes, ends)


STUDY = register(
    Study(
        name="same_at_ratio_one",
        question="Which objectives differ at all on fresh data?",
        claim=CLAIM,
        source="derived; PPO's ratio: arXiv 1707.06347",
        rule=RULE,
        amendments=AMENDMENTS,
        arms=arms,
        seeds={"quick": 3, "standard": 4, "full": 10},
        judge=judge,
        figure=figure,
        caption=(
            "Left: the largest difference of each objective's entropy from that of the GRPO run with the same seed and "
            "draws, a faint dot for each seed; dashed, the bound within which two are the same. Groups from the top: "
            "GRPO at ratio 1; GRPO up to a factor; not GRPO. Right: entropy less GRPO's when each batch is used for 4 "
            "steps."
        ),
    )
)
