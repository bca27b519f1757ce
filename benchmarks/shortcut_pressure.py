"""At which share of separable train questions does RL find tracking, and does keeping entropy help to get there?

Question
    RL on belief questions from scratch may end in a rule that pays as well as tracking. How many train questions have
    to tell the two apart before it leaves the rule; does SFT need as many; and do interventions that keep entropy help?
Claim
    Without separable train questions RL stays with a shortcut, with many of them it tracks, and at a share in between,
    where it does not track by itself, keeping entropy helps it to leave the shortcut.
Source
    A question of ours, after arXiv 2504.01698 (RL on belief questions) and 2606.09092 (a shortcut reaches 99 %, read in
    its abstract); the interventions' own sources stand in the catalogue.
Sweep
    BeliefTrack with 6 events and 4 containers, orders 1 and 2, half of the train questions of a false belief; a share
    of 0 to 0.4 of all of them separable (directed, in pairs). A GRU of 32 units from scratch: GRPO with four steps on a
    batch, so with stale samples, and SFT on right answers, after as many steps on as many questions. At a share of 0.1
    seven interventions at equal rollouts; and, to rule out other reasons, GRPO twice as long, at a third and at twice
    the learning rate, and with one step on a batch. Intervals are over training seeds: there is one bank of stories.
Measure
    Separable accuracy: directed test questions of the trained orders; a rule that does not read the names answers half
    of them at most. The share that it takes: where a run's separable accuracy first passes 0.5, between shares along a
    line; a run that never does counts as 0.5, the share of all false-belief questions.
Rule of judgement
    Written before the first run. 95 % intervals over seeds, paired. (1) At share 0 GRPO's separable accuracy lies below
    0.5; (2) at share 0.4 above 0.5; (3) at share 0.1, of the intervention that is best on the other seeds, less GRPO's:
    above 0.05. As a whole: refuted if one is refuted, supported if all are, else undecided.
    Beside it: each intervention less GRPO above 0.05; the share that GRPO takes less the share that SFT takes, above 0;
    at share 0.1 GRPO twice as long, slower, faster and on fresh samples less GRPO above 0.05; SFT at share 0 below 0.5.
    What was changed after a result had been seen stands in AMENDMENTS, and in every report.
What a student should see
    Pressure replaces one shortcut by another. At share 0 RL answers as common ground says (1.00) and is right on no
    separable question; from 0.1 to 0.4 it is right on exactly half of them, which is what a rule can have that never
    reads whom the question names. No intervention moves that by 0.05, nor does training twice as long, slower, faster
    or on fresh samples; an adaptive bonus keeps 0.70 nats and costs 0.11. SFT on as many questions gets to 0.62 at a
    share of 0.2 and to 0.91 at 0.4. That part (2) is undecided is due to a mean of 0.499 at a threshold of 0.5. One
    bank of questions and one size were tried.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from toybed.benchmarks.belief_sweep import SEPARABLE, SHORTCUT, gain
from toybed.benchmarks.shortcut_pressure_figure import figure
from toybed.benchmarks.shortcut_pressure_sweep import AT, INTERVENTIONS, SHARES, arms, rl, sft
from toybed.stats import Array, best_on_others, mean_interval, mean_of_found
from toybed.study import Outcome, Records, Study, Verdict, above, below, headline, number, register

HELPS = 0.05
NEVER = 0.5

CLAIM = (
    "Without separable train questions RL stays with a shortcut, with many of them it tracks, and at a share in "
    "between keeping entropy helps it to leave the shortcut."
)
RULE = (
    "shortcut at share 0, more than a shortcut at 0.4, and the best intervention's gain at 0.1: refuted if one is "
    "refuted, supported if all are, else undecided"
)
AMENDMENTS = (
    "A standard run of 16,384 train stories was stopped before any of its runs had ended, and begun anew with 32,768: "
    "so few are learned by heart. Nothing else was changed. Part (2) has its threshold where the best rule ends that "
    "does not read the names, and RL ended on that rule: the threshold stays, and the part is undecided.",
)
CONTROLS = {
    "longer": "twice as long",
    "slower": "at a third of the learning rate",
    "faster": "at twice the learning rate",
    "fresh": "with one step on a batch",
}


def judge(records: Mapping[str, Records]) -> tuple[Verdict, list[Verdict]]:
    """The whole answer and its parts."""
    shortcut = _level(records, rl(0.0), "At share 0 RL from scratch ends in a shortcut.", over=False)
    tracks = _level(records, rl(max(shares(records))), "At the largest share RL from scratch leaves it.", over=True)
    helped = _best(records)
    deciding = [shortcut, tracks, helped]
    found = ", ".join(
        f"{share:g}: {number(mean_of_found(records[rl(share)].at(SEPARABLE, -1)))} (SFT "
        f"{number(mean_of_found(records[sft(share)].at(SEPARABLE, -1)))})"
        for share in shares(records)
    )
    verdict = headline(
        CLAIM,
        parts=deciding,
        shown=helped,
        rule=RULE,
        sentence=f"Separable accuracy of RL from scratch by share of separable train questions: {found}. "
        + helped.sentence,
        records=records,
    )
    beside = [
        _level(records, sft(0.0), "At share 0 SFT ends in a shortcut, too.", over=False),
        _share_taken(records),
        *(_gain(records, name, f"At share {AT:g} {INTERVENTIONS[name][0]} helps.") for name in tried(records)),
        *(
            _gain(records, name, f"At share {AT:g} GRPO {label} gets further.")
            for name, label in CONTROLS.items()
            if name in records
        ),
    ]
    return verdict, deciding + beside


def shares(records: Mapping[str, Records]) -> list[float]:
    """The shares that were run."""
    return [share for share in SHARES if rl(share) in records]


def tried(records: Mapping[str, Records]) -> list[str]:
    """The interventions that were run."""
    return [name for name in INTERVENTIONS if name in records]


def share_taken(found: Array, at: Sequence[float]) -> Array:
    """Where each run first passes 0.5 of separable accuracy, along a line between shares; 0.5 where it never does.

    Args:
        found: separable accuracy by share and run, ``[shares, n]``; a run without a value at one of them has none.
        at: the shares, in their order.
    """
    taken = np.full(found.shape[1], NEVER)
    for run, values in enumerate(found.T):
        if not np.isfinite(values).all():
            taken[run] = np.nan
            continue
        over = np.flatnonzero(values > SHORTCUT)
        if len(over):
            first = over[0]
            before = max(first - 1, 0)
            rise = values[first] - values[before]
            part = (SHORTCUT - values[before]) / rise if rise > 0 else 0.0
            taken[run] = at[before] + part * (at[first] - at[before])
    return taken


def _level(records: Mapping[str, Records], arm: str, claim: str, *, over: bool) -> Verdict:
    interval = mean_interval(records[arm].at(SEPARABLE, -1))
    side = above if over else below
    return Verdict(
        claim,
        side(interval, SHORTCUT),
        *interval,
        rule=f"separable accuracy at the end: supported {'above' if over else 'below'} {SHORTCUT:g}, refuted on the "
        "other side",
        sentence=f"It is {number(interval.estimate, '.3f')}; false-belief accuracy is "
        f"{number(mean_of_found(records[arm].at('false_trained', -1)))}, agreement with common ground "
        f"{number(mean_of_found(records[arm].at('agreement_common_ground', -1)))}, with first_departure "
        f"{number(mean_of_found(records[arm].at('agreement_first_departure', -1)))}.",
    )


def _helps(values: Array) -> tuple[Outcome, tuple[float, float, float, int]]:
    interval = mean_interval(values)
    return above(interval, HELPS), interval


def _gain(records: Mapping[str, Records], name: str, claim: str) -> Verdict:
    outcome, interval = _helps(gain(records[name], records[rl(AT)], SEPARABLE))
    entropy = mean_of_found(records[name].at("entropy_train", -1))
    return Verdict(
        claim,
        outcome,
        *interval,
        rule=f"separable accuracy less GRPO's, paired: supported above {HELPS:g}, refuted below",
        sentence=f"{number(interval[0], '+.3f')}; entropy at the end {number(entropy, '.3f')} nats, GRPO's "
        f"{number(mean_of_found(records[rl(AT)].at('entropy_train', -1)), '.3f')}.",
    )


def _best(records: Mapping[str, Records]) -> Verdict:
    names = tried(records)
    values = np.stack([records[name].at(SEPARABLE, -1) for name in names])
    best = best_on_others(values[:, None])
    runs = np.arange(values.shape[1])
    outcome, interval = _helps(values[best, runs] - records[rl(AT)].at(SEPARABLE, -1))
    chosen = ", ".join(dict.fromkeys(INTERVENTIONS[names[i]][0] for i in best))
    return Verdict(
        f"At share {AT:g} the best intervention helps RL to leave the shortcut.",
        outcome,
        *interval,
        rule="separable accuracy of the intervention that is best on the other seeds less GRPO's, paired: supported "
        f"above {HELPS:g}, refuted below",
        sentence=f"The best on the other seeds ({chosen}) adds {number(interval[0], '+.3f')} at share {AT:g}.",
    )


def _share_taken(records: Mapping[str, Records]) -> Verdict:
    at = shares(records)
    taken = {
        name: share_taken(np.stack([records[arm(share)].at(SEPARABLE, -1) for share in at]), at)
        for name, arm in (("rl", rl), ("sft", sft))
    }
    interval = mean_interval(taken["rl"] - taken["sft"])
    return Verdict(
        "RL takes a larger share of separable questions than SFT.",
        above(interval, 0.0),
        *interval,
        rule="the share at which separable accuracy passes 0.5, RL's less SFT's, paired: supported above 0, refuted "
        "below",
        sentence=f"RL takes {number(mean_of_found(taken['rl']), '.3f')}, SFT "
        f"{number(mean_of_found(taken['sft']), '.3f')} ({NEVER:g}: never).",
    )


STUDY = register(
    Study(
        name="shortcut_pressure",
        question="At which share of separable train questions does RL find tracking, and does keeping entropy help?",
        claim=CLAIM,
        source="after arXiv 2504.01698 and 2606.09092",
        rule=RULE,
        amendments=AMENDMENTS,
        arms=arms,
        seeds={"quick": 3, "standard": 4, "full": 10},
        judge=judge,
        figure=figure,
        caption=(
            "Left: right answers to separable questions over the share of train questions that are separable, for RL "
            "and SFT from scratch, with every seed as a dot; below the dotted line a rule that does not read the names "
            "does as well. Right: the same at a share of 0.1, for what is said to keep entropy and for controls, "
            "against the entropy that is left."
        ),
    )
)
