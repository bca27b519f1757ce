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
    traces that a verifier passed, and on all; and GRPO after the former. SFT on narrow right ones, from both bases, is
    the control that tells SFT from the width of its data. Other controls: a third of the learning rate; a
    world in which the dominant tool is no better than a guessed specialist; one in which a failed call may be followed
    by another (5 calls for 3 hops), so that breadth pays within one response.
Measure
    All exact. Plan entropy: of the tools that one answer calls as long as every call hits, given the cue, in nats (at
    most 3 log 6 = 5.38). Distinct right and wrong trajectories: the expected number of different ones among 256
    samples, mean over questions. Pass@1 and pass@64 in distribution (train questions, of which a policy that sees only
    the cue can learn nothing by heart) and after a shift (test questions, where the dominant tool works in 15 % of the
    calls instead of 75 %). Intervals are over training seeds, on one bank of 4,096 questions: on another bank all
    values move together, the difference of two plans' pass@1 by about 0.015.
Rule of judgement
    Written before the first run of this file; known then were a prototype's numbers for GRPO, the entropy bonus and
    pass@k training. By 95 % intervals over seeds, paired. Five parts decide: GRPO from the varied base loses more than
    90 % of the plan entropy; pass@1 rises; pass@64 falls by more than 0.2; distinct wrong trajectories become fewer,
    from the varied base and from the narrow one; SFT on varied right demonstrations raises the narrow base's number of
    distinct right ones. Refuted if one is refuted, supported if all are, else undecided.
    Beside it: the same squeeze in the controls; whether GRPO reaches the exact optimum of pass@1 (within 0.02), whose
    plan entropy is 0; distinct right trajectories under RL and wrong ones under SFT; whether RL keeps at least half of
    the lead in pass@64 that varied demonstrations give over narrow ones, in distribution and after the shift; and for
    each intervention, at the dose named, whether it keeps breadth for free: pass@64 above GRPO's by 0.1 with pass@1 not
    below by 0.02, and more than GRPO has when some responses are its base's.
    What was changed after a result had been seen stands in AMENDMENTS, and in every report.
What a student should see
    RL squeezes whatever it is given; SFT takes the width of its demonstrations, and no more. Squeezing is right for
    pass@1, but GRPO squeezes onto the wrong plan. Breadth has a price that is known here, and some of it is free.
    GRPO turns 5.2 nats of plans into 0.02: pass@1 rises from 0.11 to 0.43, pass@64 falls from 0.93 to 0.44, right
    trajectories go the way of wrong ones. So it does at a third of the rate. SFT on varied right demonstrations triples
    the narrow base's right trajectories (and wrong ones); on narrow right ones it squeezes, both bases. Of the breadth
    that varied demonstrations gave, GRPO leaves little: 0.01 to 0.03 of the lead in pass@64 at the end, 0.04 at equal
    pass@1 on the way.
    The optimum of pass@1 (0.466) calls the specialist that the cue names at all hops, for whose sake all hops have to
    agree; hop by hop the dominant tool (0.75) looks better than a guessed specialist (0.66), and 0.75^3 = 0.42 is where
    GRPO stays. After the shift that is worth nothing. Where a failed call may be followed by another, the squeeze costs
    no pass@1 (0.83 of 0.84).
    An entropy bonus of 0.1 keeps 0.28 of pass@64 at GRPO's pass@1, Clip-Cov 0.12 and ends above it; MaxRL, pass@k
    training and PKPO, as dosed here, keep a third for 0.02 to 0.03 of pass@1. Clip-higher, KL-Cov, GPPO, NSR and GDPO
    end where GRPO does. One response in twenty from the base would add 0.1 to GRPO's pass@64 for nothing trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from toybed.benchmarks.search_squeeze_figure import figure
from toybed.benchmarks.search_squeeze_measures import (
    MANY,
    ONE,
    PLANS,
    RIGHT,
    WRONG,
    at_equal_reward,
    bayes,
    beyond_base,
    change,
    ends,
    optimum,
    share_lost,
)
from toybed.benchmarks.search_squeeze_sweep import INTERVENTIONS, RETRY, TIED, WORLD, arms
from toybed.stats import Interval, mean_interval, mean_of_found
from toybed.study import Records, Study, Verdict, above, all_of, below, headline, number, register

SQUEEZED = 0.9  # share of the plan entropy lost
FALLS = 0.2  # of pass@64
AT_OPTIMUM = 0.02  # of pass@1: within it an optimum counts as reached, and a loss as none
KEPT = 0.5  # of the lead in pass@64 of the varied base
BREADTH = 0.1  # of pass@64: more than this is breadth kept
SPLITS = {"train": "in distribution", "test": "after the shift"}

CLAIM = (
    "RL squeezes, SFT expands: GRPO leaves few of a search agent's strategies (plan entropy, distinct wrong "
    "trajectories and pass@64 fall while pass@1 rises); SFT on varied right demonstrations adds distinct right ones."
)
RULE = "refuted if one of the parts that decide is refuted, supported if all are supported, else undecided"
AMENDMENTS = (
    "A review after the first answer found that the part on SFT follows from the width of its demonstrations. So SFT "
    "on narrow right ones was added, from both bases, and is judged beside the claim. The rule is as it was.",
    "The same review: an intervention was called free of cost where GRPO with one response in twenty from its base "
    "passes, too; it has to be beyond all such mixtures now (this turned no outcome). What survives of varied "
    "demonstrations was asked after the collapse alone; it is asked on the way now, too. With retry, where plans leave "
    "out what follows a miss, the entropy of all tokens is judged in the place of that of plans, and pass@1 beside it.",
    "The grey line of the figure joined the optima of pass@k, which is not the front of pass@1 and pass@64; it is now.",
)


# -- judging --------------------------------------------------------------------------------------------------------
def judge(records: Mapping[str, Records]) -> tuple[Verdict, list[Verdict]]:
    """The whole answer and its parts."""
    deciding = [
        _squeezes(records["grpo"], "GRPO from the varied base"),
        _pays(records["grpo"]),
        _narrows(records["grpo"], "GRPO from the varied base"),
        _fewer_wrong(records),
        _sft(records, "sft_right", "narrow_grpo", RIGHT),
    ]
    own = records["grpo"]
    verdict = headline(
        CLAIM,
        parts=deciding,
        shown=deciding[0],
        rule=f"{RULE}; shown is the share of the plan entropy lost",
        sentence=f"GRPO: plan entropy {_moved(own, PLANS)} nats, pass@1 {_moved(own, f'{ONE}_train')}, pass@64 "
        f"{_moved(own, f'{MANY}_train')}, distinct wrong trajectories {_moved(own, f'{WRONG}_train', '.1f')}; SFT: "
        f"distinct right ones {_tuned(records, 'sft_right', 'narrow_grpo', f'{RIGHT}_train')} on varied right "
        f"demonstrations, {_tuned(records, 'sft_narrow', 'narrow_grpo', f'{RIGHT}_train')} on narrow ones.",
        records=records,
    )
    beside = [
        _optimal(records["grpo"], "", **WORLD),
        _optimal(records["tied"], " where the dominant tool is no better than a guessed specialist", **WORLD, **TIED),
        _squeezes(records["slow"], "GRPO at a third of the learning rate"),
        _narrows(records["slow"], "GRPO at a third of the learning rate"),
        _squeezes(records["tied"], "GRPO where the dominant tool is no better than a guessed specialist"),
        *_with_retry(records["retry"]),
        _fewer_right(records),
        _sft(records, "sft_right", "narrow_grpo", WRONG),
        _sft(records, "sft_narrow", "narrow_grpo", RIGHT),
        _sft(records, "sft_narrow_varied", "grpo", RIGHT),
        _on_the_way(records),
        *(_keeps_lead(records, "grpo", "SFT on varied demonstrations", split) for split in SPLITS),
        *(_keeps_lead(records, "sft_right_grpo", "SFT on varied right demonstrations", split) for split in SPLITS),
        *(_free(records, arm) for arm in INTERVENTIONS if arm in records),
    ]
    return verdict, deciding + beside


def _moved(records: Records, measure: str, form: str = ".2f") -> str:
    start, end = (number(mean_of_found(values), form) for values in ends(records, measure))
    return f"{start} to {end}"


def _tuned(records: Mapping[str, Records], arm: str, base: str, measure: str, form: str = ".2f") -> str:
    """A measure of a base, which is where the arm ``base`` began, and of what SFT made of it."""
    start, end = ends(records[base], measure)[0], ends(records[arm], measure)[1]
    return f"{number(mean_of_found(start), form)} to {number(mean_of_found(end), form)}"


def _squeezes(records: Records, who: str) -> Verdict:
    interval = mean_interval(share_lost(records, PLANS))
    return Verdict(
        f"{who} loses more than 90 % of the plan entropy.",
        above(interval, SQUEEZED),
        *interval,
        rule=f"share of the plan entropy lost: supported above {SQUEEZED:g}, refuted below.",
        sentence=f"Plan entropy {_moved(records, PLANS)} nats, effective tools {_moved(records, 'effective_tools')}.",
    )


def _with_retry(records: Records) -> list[Verdict]:
    """The agent that may call again: what it does after a miss is no part of a plan."""
    lost, best = mean_interval(share_lost(records, "entropy_train")), bayes(**WORLD, **RETRY)
    gap = mean_interval(best - records.at("reward_fresh_train", -1))
    return [
        Verdict(
            "GRPO where a failed call may be followed by another loses more than 90 % of its entropy.",
            above(lost, SQUEEZED),
            *lost,
            rule=f"share of the entropy per token lost: supported above {SQUEEZED:g}, refuted below.",
            sentence=f"Entropy {_moved(records, 'entropy_train', '.3f')} nats per token; pass@64 in distribution "
            f"{_moved(records, f'{MANY}_train')}.",
        ),
        Verdict(
            "Where a failed call may be followed by another, the squeeze costs no pass@1.",
            below(gap, AT_OPTIMUM),
            *gap,
            rule="optimum of an agent that remembers all results less GRPO's pass@1, on fresh questions: supported "
            f"below {AT_OPTIMUM:g}, refuted above.",
            sentence=f"The optimum is {best:.3f}; pass@1 {_moved(records, 'reward_fresh_train', '.3f')}.",
        ),
    ]


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


SFT_CLAIMS = {
    ("sft_right", RIGHT): "SFT on varied right demonstrations raises the narrow base's number of distinct right ones.",
    ("sft_right", WRONG): "SFT on varied right demonstrations raises the number of distinct wrong trajectories, too.",
    ("sft_narrow", RIGHT): "SFT expands whatever it is shown: on narrow right demonstrations, too, the narrow base's "
    "number of distinct right trajectories rises.",
    ("sft_narrow_varied", RIGHT): "SFT on narrow right demonstrations raises the varied base's number of distinct "
    "right trajectories.",
}


def _sft(records: Mapping[str, Records], arm: str, base: str, measure: str) -> Verdict:
    """What SFT does to the number of distinct trajectories of one kind."""
    name, form = f"{measure}_train", ".1f" if measure == WRONG else ".2f"
    interval = mean_interval(ends(records[arm], name)[1] - ends(records[base], name)[0])
    kind = "wrong" if measure == WRONG else "right"
    also = f" (on all demonstrations {_tuned(records, 'sft_all', base, name, form)})" if arm == "sft_right" else ""
    others = ", ".join(
        f"{label} {_tuned(records, arm, base, m)}"
        for label, m in (("pass@1", f"{ONE}_train"), ("pass@64", f"{MANY}_train"), ("plan entropy", PLANS))
    )
    return Verdict(
        SFT_CLAIMS[arm, measure],
        above(interval, 0.0),
        *interval,
        rule=f"distinct {kind} trajectories among 256 samples after SFT less those before, in distribution, paired: "
        "supported above 0, refuted below.",
        sentence=f"Distinct {kind} trajectories {_tuned(records, arm, base, name, form)}{also}; {others}.",
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


def _on_the_way(records: Mapping[str, Records]) -> Verdict:
    level, varied, narrow = at_equal_reward(records["early"], records["narrow_early"])
    interval = mean_interval(varied - narrow)
    return Verdict(
        "On the way, at equal pass@1, GRPO from the varied base is ahead in pass@64 of GRPO from the narrow one.",
        above(interval, 0.0),
        *interval,
        rule="pass@64 in distribution when both first have the pass@1 that both reach in 24 updates, paired: supported "
        "above 0, refuted below.",
        sentence=f"At a pass@1 of {number(mean_of_found(level), '.3f')} pass@64 is {number(mean_of_found(varied))} and "
        f"{number(mean_of_found(narrow))}.",
    )


def _optimal(records: Records, where: str, **knobs: Any) -> Verdict:
    best, many = optimum(**knobs)
    interval = mean_interval(best - ends(records, f"{ONE}_train")[1])
    return Verdict(
        f"Squeezing is what pass@1 asks for: GRPO reaches its optimum{where}.",
        below(interval, AT_OPTIMUM),
        *interval,
        rule=f"exact optimum of pass@1 in distribution less GRPO's: supported below {AT_OPTIMUM:g}, refuted above. The "
        "optimum is one plan for each cue: its plan entropy is 0.",
        sentence=f"The optimum's pass@1 is {best:.3f} and its pass@64 {many:.3f}; GRPO's "
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
    gain, cost = (mean_interval(own.at(f"{m}_train", -1) - grpo.at(f"{m}_train", -1)) for m in (MANY, ONE))
    beyond = mean_interval(beyond_base(grpo, own))
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
        all_of([above(gain, BREADTH), above(cost, -AT_OPTIMUM), above(beyond, 0.0)]),
        *gain,
        rule=f"pass@64 in distribution less GRPO's (shown) above {BREADTH:g} and pass@1 less GRPO's above "
        f"{-AT_OPTIMUM:g}, and pass@64 above that of GRPO mixed with its base at the same pass@1: supported if all, "
        "refuted if one lies below.",
        sentence=f"{listed}; pass@1 against GRPO's {number(cost.estimate, '+.3f')}, pass@64 against the mixture's "
        f"{number(beyond.estimate, '+.3f')}.",
    )


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
            "and of the table policies that make most of a weighing of the two (grey). Middle: entropy of the tools "
            "that one answer calls. Right: what GRPO and SFT do to the number of distinct right and wrong trajectories."
        ),
    )
)
