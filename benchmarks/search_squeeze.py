"""Does RL squeeze a search agent onto one strategy, and does supervised fine-tuning widen it?

Question
    A search agent can call many tools, and which of them work is hidden. What do RL and supervised fine-tuning (SFT) do
    to the number of strategies that it uses, right ones and wrong ones? Is squeezing what pass@1 asks for? And does
    breadth that was taught by varied demonstrations survive RL?
Claim
    RL squeezes, SFT expands: GRPO leaves few of a search agent's strategies (plan entropy, distinct wrong trajectories
    and pass@64 fall while pass@1 rises); SFT on varied right demonstrations adds distinct right ones.
Source
    "RL Squeezes, SFT Expands", arXiv 2509.21128 (abstract): RL lowers the number of unique incorrect trajectories, SFT
    raises that of unique correct ones. It studies models that reason about mathematics; no paper with these measures
    was found for search agents, of which arXiv 2512.04220 reports another failure.
Sweep
    ToolSearch with a table policy. Two bases: SFT on varied demonstrations (the dominant tool in 30 % of the calls) and
    on narrow ones (90 %). From both GRPO; from the varied one objectives that might keep it broad, at equal rollouts
    and learning rate. From the narrow one also SFT on varied demonstrations: on the right ones among them, as from
    traces that a verifier passed, and on all; and GRPO after the former. Controls: a third of the learning rate; a
    world in which the dominant tool is no better than a guessed specialist; one in which a failed call may be followed
    by another (5 calls for 3 hops), so that breadth pays within one response.
Measure
    All exact. Plan entropy: of the tools that one answer calls as long as every call hits, given the cue, in nats (at
    most 3 log 6 = 5.38). Distinct right and wrong trajectories: the expected number of different ones among 256
    samples, mean over questions. Pass@1 and pass@64 in distribution (train questions, of which a policy that sees only
    the cue can learn nothing by heart) and after a shift (test questions, where the dominant tool works in 15 % of the
    calls instead of 75 %).
Rule of judgement
    Written before the first run of this file; known then were a prototype's numbers for GRPO, the entropy bonus and
    pass@k training. By 95 % intervals over seeds, paired. Five parts decide: GRPO from the varied base loses more than
    90 % of the plan entropy; pass@1 rises; pass@64 falls by more than 0.2; distinct wrong trajectories become fewer,
    from the varied base and from the narrow one; SFT on varied right demonstrations raises the narrow base's number of
    distinct right ones. Refuted if one is refuted, supported if all are, else undecided.
    Beside it: the same squeeze in the controls; whether GRPO reaches the exact optimum of pass@1 (within 0.02), whose
    plan entropy is 0; distinct right trajectories under RL and wrong ones under SFT; whether RL keeps at least half of
    the lead in pass@64 that varied demonstrations give over narrow ones, in distribution and after the shift; and for
    each intervention whether it keeps breadth for free: pass@64 above GRPO's by 0.1 with pass@1 not below by 0.02.
    What was changed after a result had been seen stands in AMENDMENTS, and in every report.
What a student should see
    GRPO turns 5.2 nats of plans into one plan (0.02), pass@1 rises from 0.11 to 0.43 and pass@64 falls from 0.93 to
    0.44; so it does at a third of the rate, and where a second call is allowed. Right trajectories go the way of wrong
    ones. SFT on right demonstrations triples the right ones, and wrong ones as well; on all demonstrations wrong ones
    grow sixfold. Nothing of that breadth survives GRPO, in distribution or after the shift.
    Squeezing is right for pass@1, but GRPO squeezes onto the wrong plan: its optimum (0.466) calls the specialist that
    the cue names at all hops, for whose sake all hops have to agree; hop by hop the dominant tool (0.75) looks better
    than a guessed specialist (0.66), and 0.75^3 = 0.42 is where GRPO stays. After the shift that is worth nothing.
    Breadth has an exact price, and some is free: an entropy bonus of 0.1 keeps 0.28 of pass@64 at GRPO's pass@1, MaxRL,
    pass@k training and PKPO lie on the best possible curve at 0.02 to 0.03 of pass@1, while clip-higher, KL-Cov, GPPO,
    NSR and GDPO end where GRPO does.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from toybed import plotting
from toybed.benchmarks.search_squeeze_sweep import INTERVENTIONS, TIED, WORLD, arms
from toybed.stats import Interval, mean_interval, mean_of_found
from toybed.study import Records, Study, Verdict, above, all_of, below, headline, number, register

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.float64]

SQUEEZED = 0.9  # share of the plan entropy lost
FALLS = 0.2  # of pass@64
AT_OPTIMUM = 0.02  # of pass@1: within it an optimum counts as reached, and a loss as none
KEPT = 0.5  # of the lead in pass@64 of the varied base
BREADTH = 0.1  # of pass@64: more than this is breadth kept
BEST_KS = (1, 2, 4, 8, 16, 64)

ONE, MANY = "reward", "pass@64"
RIGHT, WRONG = "distinct_right@256", "distinct_wrong@256"
PLANS = "plan_entropy"
SPLITS = {"train": "in distribution", "test": "after the shift"}

CLAIM = (
    "RL squeezes, SFT expands: GRPO leaves few of a search agent's strategies (plan entropy, distinct wrong "
    "trajectories and pass@64 fall while pass@1 rises); SFT on varied right demonstrations adds distinct right ones."
)
RULE = "refuted if one of the parts that decide is refuted, supported if all are supported, else undecided"
AMENDMENTS: tuple[str, ...] = ()


# -- what is measured -----------------------------------------------------------------------------------------------
def ends(records: Records, measure: str) -> tuple[Array, Array]:
    """A measure at the start and at the end of each run, ``[n]`` twice; NaN at both for a run that diverged."""
    values = np.where(records.sound[:, None], records[measure], np.nan)
    return values[:, 0], values[:, -1]


def change(records: Records, measure: str) -> Array:
    """End less start of each run, ``[n]``."""
    start, end = ends(records, measure)
    return end - start


def squeezed(records: Records) -> Array:
    """The share of the plan entropy that is lost, ``[n]``."""
    start, end = ends(records, PLANS)
    return 1 - end / start


@cache
def best_at_k(k: int, **knobs: Any) -> tuple[float, float]:
    """Pass@1 and pass@64 of the best table policy for pass@k on the train questions: exact, by ascent for k > 1."""
    from toybed.envs import make
    from toybed.measures.diversity import pass_at_k_exact

    world: Any = make("tool_search", **knobs)
    success = world.evaluate(world.best_at_k(k, "train").table).reward[world.prompts("train")]
    return float(success.mean()), float(pass_at_k_exact(success, 64).mean())


# -- judging --------------------------------------------------------------------------------------------------------
def judge(records: Mapping[str, Records]) -> tuple[Verdict, list[Verdict]]:
    """The whole answer and its parts."""
    deciding = [
        _squeezes(records["grpo"], "GRPO from the varied base"),
        _pays(records["grpo"]),
        _narrows(records["grpo"], "GRPO from the varied base"),
        _fewer_wrong(records),
        _more_right(records),
    ]
    own = records["grpo"]
    verdict = headline(
        CLAIM,
        parts=deciding,
        shown=deciding[0],
        rule=f"{RULE}; shown is the share of the plan entropy lost",
        sentence=f"GRPO: plan entropy {_moved(own, PLANS)} nats, pass@1 {_moved(own, f'{ONE}_train')}, pass@64 "
        f"{_moved(own, f'{MANY}_train')}, distinct wrong trajectories {_moved(own, f'{WRONG}_train', '.1f')}; SFT: "
        f"distinct right ones {_from_narrow(records, 'sft_right', f'{RIGHT}_train')}.",
        records=records,
    )
    beside = [
        _optimal(records["grpo"], "", **WORLD),
        _optimal(records["tied"], " where the dominant tool is no better than a guessed specialist", **WORLD, **TIED),
        _squeezes(records["slow"], "GRPO at a third of the learning rate"),
        _narrows(records["slow"], "GRPO at a third of the learning rate"),
        _squeezes(records["tied"], "GRPO where the dominant tool is no better than a guessed specialist"),
        _squeezes(records["retry"], "GRPO where a failed call may be followed by another"),
        _fewer_right(records),
        _more_wrong(records),
        *(_keeps_lead(records, "grpo", "SFT on varied demonstrations", split) for split in SPLITS),
        *(_keeps_lead(records, "sft_right_grpo", "SFT on varied right demonstrations", split) for split in SPLITS),
        *(_free(records, arm) for arm in INTERVENTIONS if arm in records),
    ]
    return verdict, deciding + beside


def _moved(records: Records, measure: str, form: str = ".2f") -> str:
    start, end = (number(mean_of_found(values), form) for values in ends(records, measure))
    return f"{start} to {end}"


def _from_narrow(records: Mapping[str, Records], arm: str, measure: str, form: str = ".2f") -> str:
    """A measure of the narrow base and of what SFT made of it."""
    start, end = ends(records["narrow_grpo"], measure)[0], ends(records[arm], measure)[1]
    return f"{number(mean_of_found(start), form)} to {number(mean_of_found(end), form)}"


def _squeezes(records: Records, who: str) -> Verdict:
    interval = mean_interval(squeezed(records))
    return Verdict(
        f"{who} loses more than 90 % of the plan entropy.",
        above(interval, SQUEEZED),
        *interval,
        rule=f"share of the plan entropy lost: supported above {SQUEEZED:g}, refuted below.",
        sentence=f"Plan entropy {_moved(records, PLANS)} nats, effective tools {_moved(records, 'effective_tools')}.",
    )


def _pays(records: Records) -> Verdict:
    interval = mean_interval(change(records, f"{ONE}_train"))
    return Verdict(
        "GRPO from the varied base raises pass@1.",
        above(interval, 0.0),
        *interval,
        rule="change of pass@1 in distribution: supported above 0, refuted below.",
        sentence=f"Pass@1 {_moved(records, f'{ONE}_train')} in distribution, {_moved(records, f'{ONE}_test')} after "
        "the shift.",
    )


def _narrows(records: Records, who: str) -> Verdict:
    interval = mean_interval(-change(records, f"{MANY}_train"))
    return Verdict(
        f"{who} lowers pass@64 by more than {FALLS:g}.",
        above(interval, FALLS),
        *interval,
        rule=f"loss of pass@64 in distribution: supported above {FALLS:g}, refuted below.",
        sentence=f"Pass@64 {_moved(records, f'{MANY}_train')} in distribution, {_moved(records, f'{MANY}_test')} after "
        "the shift.",
    )


def _fewer_wrong(records: Mapping[str, Records]) -> Verdict:
    bases = {"varied": records["grpo"], "narrow": records["narrow_grpo"]}
    intervals = {base: mean_interval(change(own, f"{WRONG}_train")) for base, own in bases.items()}
    listed = "; ".join(f"from the {base} base {_moved(own, f'{WRONG}_train', '.1f')}" for base, own in bases.items())
    return Verdict(
        "GRPO lowers the number of distinct wrong trajectories, from the varied base and from the narrow one.",
        all_of([below(interval, 0.0) for interval in intervals.values()]),
        *_nearest_to_zero(intervals.values()),
        rule="change of the distinct wrong trajectories among 256 samples, in distribution: supported if both lie "
        "below 0, refuted if one lies above; shown is the smaller change.",
        sentence=f"Distinct wrong trajectories {listed}.",
    )


def _nearest_to_zero(intervals: Any) -> Interval:
    nearest: Interval = min(intervals, key=lambda interval: np.nan_to_num(abs(interval.estimate), nan=-np.inf))
    return nearest


def _sft_effect(records: Mapping[str, Records], arm: str, measure: str) -> Interval:
    return mean_interval(ends(records[arm], measure)[1] - ends(records["narrow_grpo"], measure)[0])


def _more_right(records: Mapping[str, Records]) -> Verdict:
    interval = _sft_effect(records, "sft_right", f"{RIGHT}_train")
    return Verdict(
        "SFT on varied right demonstrations raises the narrow base's number of distinct right trajectories.",
        above(interval, 0.0),
        *interval,
        rule="distinct right trajectories among 256 samples after SFT less those of the narrow base, in distribution, "
        "paired: supported above 0, refuted below.",
        sentence=f"Distinct right trajectories {_from_narrow(records, 'sft_right', f'{RIGHT}_train')} (on all "
        f"demonstrations {_from_narrow(records, 'sft_all', f'{RIGHT}_train')}); pass@1 "
        f"{_from_narrow(records, 'sft_right', f'{ONE}_train')}, pass@64 "
        f"{_from_narrow(records, 'sft_right', f'{MANY}_train')}.",
    )


def _fewer_right(records: Mapping[str, Records]) -> Verdict:
    interval = mean_interval(change(records["grpo"], f"{RIGHT}_train"))
    return Verdict(
        "GRPO from the varied base lowers the number of distinct right trajectories, too.",
        below(interval, 0.0),
        *interval,
        rule="change of the distinct right trajectories among 256 samples, in distribution: supported below 0, refuted "
        "above.",
        sentence=f"Distinct right trajectories from the varied base {_moved(records['grpo'], f'{RIGHT}_train')}, from "
        f"the narrow one {_moved(records['narrow_grpo'], f'{RIGHT}_train')}.",
    )


def _more_wrong(records: Mapping[str, Records]) -> Verdict:
    interval = _sft_effect(records, "sft_right", f"{WRONG}_train")
    return Verdict(
        "SFT on varied right demonstrations raises the number of distinct wrong trajectories as well.",
        above(interval, 0.0),
        *interval,
        rule="distinct wrong trajectories among 256 samples after SFT less those of the narrow base, in distribution, "
        "paired: supported above 0, refuted below.",
        sentence=f"Distinct wrong trajectories {_from_narrow(records, 'sft_right', f'{WRONG}_train', '.1f')} (on all "
        f"demonstrations {_from_narrow(records, 'sft_all', f'{WRONG}_train', '.1f')}).",
    )


def _optimal(records: Records, where: str, **knobs: Any) -> Verdict:
    optimum, many = best_at_k(1, **knobs)
    interval = mean_interval(optimum - ends(records, f"{ONE}_train")[1])
    return Verdict(
        f"Squeezing is what pass@1 asks for: GRPO reaches its optimum{where}.",
        below(interval, AT_OPTIMUM),
        *interval,
        rule=f"exact optimum of pass@1 in distribution less GRPO's: supported below {AT_OPTIMUM:g}, refuted above. The "
        "optimum is one plan for each cue: its plan entropy is 0.",
        sentence=f"The optimum's pass@1 is {optimum:.3f} and its pass@64 {many:.3f}; GRPO's "
        f"{number(mean_of_found(ends(records, f'{ONE}_train')[1]), '.3f')} and "
        f"{number(mean_of_found(ends(records, f'{MANY}_train')[1]), '.3f')}, with a plan entropy of "
        f"{number(mean_of_found(ends(records, PLANS)[1]))} nats.",
    )


def _keeps_lead(records: Mapping[str, Records], arm: str, taught: str, split: str) -> Verdict:
    """Whether RL keeps at least half of what varied demonstrations are ahead in pass@64 of narrow ones."""
    measure = f"{MANY}_{split}"
    mine, narrow = (ends(records[name], measure) for name in (arm, "narrow_grpo"))
    before, after = mine[0] - narrow[0], mine[1] - narrow[1]
    lead = mean_interval(before)
    # A ratio of means; its interval holds KEPT exactly when that of after - KEPT * before holds 0.
    share = KEPT + (after - KEPT * before) / lead.estimate if lead.low > 0 else np.full(len(before), np.nan)
    interval = mean_interval(share)
    return Verdict(
        f"Breadth taught by {taught} survives GRPO {SPLITS[split]}: half of its lead in pass@64 over narrow ones is "
        "kept.",
        above(interval, KEPT),
        *interval,
        rule=f"lead after GRPO as a share of the lead before, paired: supported above {KEPT:g}, refuted below; "
        "undecided where there is no certain lead before.",
        sentence=f"The lead goes from {number(mean_of_found(before), '+.3f')} to "
        f"{number(mean_of_found(after), '+.3f')}; pass@64 ends at {number(mean_of_found(mine[1]))} and "
        f"{number(mean_of_found(narrow[1]))}.",
    )


def _free(records: Mapping[str, Records], arm: str) -> Verdict:
    name, own, grpo = INTERVENTIONS[arm][0], records[arm], records["grpo"]
    gain, cost = (mean_interval(ends(own, f"{m}_train")[1] - ends(grpo, f"{m}_train")[1]) for m in (MANY, ONE))
    listed = ", ".join(
        f"{label} {number(mean_of_found(ends(own, measure)[1]))}"
        for label, measure in (
            ("pass@1", f"{ONE}_train"),
            ("pass@64", f"{MANY}_train"),
            ("after the shift pass@64", f"{MANY}_test"),
            ("plan entropy", PLANS),
        )
    )
    return Verdict(
        f"{name} keeps breadth for free.",
        all_of([above(gain, BREADTH), above(cost, -AT_OPTIMUM)]),
        *gain,
        rule=f"pass@64 in distribution less GRPO's (shown) above {BREADTH:g} and pass@1 less GRPO's above "
        f"{-AT_OPTIMUM:g}: supported if both, refuted if one lies below.",
        sentence=f"{listed}; pass@1 against GRPO's {number(cost.estimate, '+.3f')}.",
    )


# -- drawing --------------------------------------------------------------------------------------------------------
BLACK, BLUE, RED, GREEN, PINK, ORANGE, SKY, GREY = plotting.COLOURS
SHORT_NAMES = {
    **{arm: name for arm, (name, _) in INTERVENTIONS.items()},
    "grpo": "GRPO",
    "narrow_grpo": "GRPO, narrow base",
    "sft_right": "SFT on right ones",
    "sft_all": "SFT on all",
}
LINES = {"grpo": BLACK, "narrow_grpo": GREY, "entropy_0.1": BLUE, "passk": RED, "vpo_parallel": GREEN}


def figure(records: Mapping[str, Records]) -> Figure:
    """Where everything ends in pass@1 and pass@64; how plans are lost; what RL and SFT do to right and wrong ones."""
    with plotting.panels(3, width=4.4, height=4.2) as (page, axes):
        _draw_plane(axes[0], records)
        _draw_plans(axes[1], records)
        _draw_kinds(axes[2], records)
    return page


def _draw_plane(axes: Axes, records: Mapping[str, Records]) -> None:
    best = np.array([best_at_k(k, **WORLD) for k in BEST_KS])
    axes.plot(*best.T, color=GREY, linewidth=1.2)
    places = {"best for pass@1": tuple(best[0]), "best for pass@64": tuple(best[-1])}
    for arm in ("grpo", "narrow_grpo", *(arm for arm in INTERVENTIONS if arm in records)):
        x, y = (mean_of_found(ends(records[arm], f"{m}_train")[1]) for m in (ONE, MANY))
        if np.isfinite([x, y]).all():
            places[SHORT_NAMES[arm]] = (x, y)
            axes.plot(x, y, "o", color=BLACK if "grpo" in arm else BLUE, markersize=4)
    for name, arm in (("varied base", "grpo"), ("narrow base", "narrow_grpo")):
        x, y = (mean_of_found(ends(records[arm], f"{m}_train")[0]) for m in (ONE, MANY))
        if np.isfinite([x, y]).all():
            places[name] = (x, y)
            axes.plot(x, y, "s", color=RED, markersize=5)
    axes.set(title="What breadth costs", xlabel="pass@1", ylabel="pass@64", xlim=(0.05, 0.55), ylim=(0.35, 1.0))
    plotting.label_points(axes, places, fontsize=6.5)


def _draw_plans(axes: Axes, records: Mapping[str, Records]) -> None:
    last = {}
    for arm, colour in LINES.items():
        own = records[arm]
        plotting.mean_line(axes, own.steps[PLANS], own[PLANS], colour)
        last[SHORT_NAMES[arm]] = (float(own.steps[PLANS][-1]), float(plotting.sound_mean(own[PLANS])[-1]), colour)
    axes.set(title="Plans are lost", xlabel="updates", ylabel="plan entropy, nats", ylim=(-0.1, 5.5))
    plotting.label_ends(axes, last)


def _draw_kinds(axes: Axes, records: Mapping[str, Records]) -> None:
    narrow, varied = records["narrow_grpo"], records["grpo"]
    arrows = (
        ("RL", varied, varied, BLACK),
        ("RL", narrow, narrow, BLACK),
        ("SFT, right ones", narrow, records["sft_right"], GREEN),
        ("SFT, all", narrow, records["sft_all"], ORANGE),
    )
    for text, start, end, colour in arrows:
        x, y = (mean_of_found(ends(start, f"{m}_train")[0]) for m in (WRONG, RIGHT))
        to_x, to_y = (mean_of_found(ends(end, f"{m}_train")[1]) for m in (WRONG, RIGHT))
        if not np.isfinite([x, y, to_x, to_y]).all():
            continue
        axes.annotate("", (to_x, to_y), (x, y), arrowprops={"arrowstyle": "->", "color": colour, "linewidth": 1.6})
        axes.plot([x, to_x], [y, to_y], ".", color=colour, markersize=3)
        axes.annotate(
            text,
            ((x + to_x) / 2, (y + to_y) / 2),
            (4, -9),
            textcoords="offset points",
            color=colour,
            fontsize=8,
        )
    axes.set(
        title="Right and wrong trajectories",
        xlabel="distinct wrong ones among 256 samples",
        ylabel="distinct right ones among 256 samples",
    )
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)


STUDY = register(
    Study(
        name="search_squeeze",
        question="Does RL squeeze a search agent onto one strategy, and does SFT widen it?",
        claim=CLAIM,
        source="arXiv 2509.21128",
        rule=RULE,
        amendments=AMENDMENTS,
        arms=arms,
        seeds={"quick": 3, "standard": 8, "full": 20},
        judge=judge,
        figure=figure,
        caption=(
            "Left: pass@64 against pass@1 in distribution at the end of training (dots), of the two bases (squares), "
            "and of the best table policies for pass@k (grey). Middle: entropy of the tools that one answer calls. "
            "Right: what GRPO and SFT do to the number of distinct right and wrong trajectories."
        ),
    )
)
