"""Can a collapsed policy be brought back?

Question
    GRPO has raised pass@1 and narrowed the policy: fewer of the distinct solutions are found. What brings them back,
    how much, and at what cost in pass@1: a temperature, weight interpolation with the base, an entropy bonus, steps
    with the opposite advantage, or further training with pass@k, MaxRL or negative samples?
Claim
    Some remedy brings back at least half of the coverage and of the pass@256 that GRPO cost, and keeps at least half of
    the pass@1 that it won.
    Half and half is no accident: whoever keeps the base and draws half of the responses from each of the two policies
    gets at least that (pass@1 is linear in the mixture, coverage and pass@k are concave), so a remedy has to beat it.
Source
    Partly reversible by weights of an earlier checkpoint: arXiv 2608.29188 (in Countdown, 37 % more coverage at no cost
    in pass@1). Remedies: pass@k training, arXiv 2508.10751; MaxRL, 2602.02710; negative samples, 2506.01347. Opposite
    advantage: a control of this project.
Sweep
    ChainReach, 61 values, an MLP. For each seed a base and GRPO from it: the collapsed policy. From that: temperatures,
    interpolations, and as many updates again of each trained remedy (of the opposite advantage a few, alone or followed
    by GRPO); the optimiser starts fresh, random numbers are drawn anew.
    Controls: GRPO goes on; the base at low temperatures (is what RL won more than sharpening?); each remedy from the
    base for all the updates (does the collapse leave a trace?), and GRPO so, which differs in optimiser and draws only.
    Two collapses: a fierce one (30 % of the prompts to train on, learning rate 3e-3), after which all is tried, and one
    in which GRPO wins more (70 %, 2e-3, twice the prompts a batch), after which the free remedies and an entropy bonus.
    The opposite advantage was also tried by hand at learning rates down to 1e-4: coverage fell at each.
    Left out: a KL to the reference and FlowRL, whose reference is here the policy that a run starts from, so the
    collapsed one.
Measure
    On held-out prompts, exact: pass@1, pass@256, and coverage@256, the share of a prompt's distinct solutions among
    256 samples. A remedy's shares: what came back of the lost coverage and pass@256, (x - collapsed) / (base -
    collapsed), and what is kept of the won pass@1, (x - base) / (collapsed - base). A share is a ratio of means over
    seeds, its interval that of (numerator - threshold * denominator), paired. The dose of a remedy (temperature, share
    of weights, coefficient, learning rate, updates) is chosen for each seed on the other seeds, by its smallest share.
Rule of judgement
    Written before the first run of this file. Of the remedy and dose chosen for each seed on the other seeds, each of
    the three shares is supported above one half and refuted below; the claim is refuted if one is refuted, supported if
    all are, else undecided (after both collapses: AMENDMENTS). Where GRPO did not for certain win pass@1 and lose both
    others, all is undecided.
    Beside it: the same of each remedy; whether GRPO's going on loses more; whether some trained remedy has more
    coverage than the free ones at its pass@1 (or at the highest of theirs, if it has more), free being every mixture of
    base, collapsed and further trained GRPO, their temperatures and interpolations (by the chord between two, the least
    that their mixture has: so this is refuted or undecided, and supported only above the pass@1 of all); whether a
    remedy ends in the same point without the collapse before it, within a fifth of what was lost and won; whether
    GRPO's pass@1 is above that of the base at any low temperature.
    What was changed after a result had been seen stands in AMENDMENTS, and in every report.
What a student should see
    The straight line of weights back to the base is worth more than a temperature: a part of the way (after the first
    collapse 70 % in most seeds, after the second 40 %) restores 105 and 73 % of the lost coverage, all of pass@256 and
    95 and 79 % of the won pass@1, where a temperature brings back 33 and 60 % of the coverage and keeps 35 and 48 % of
    the pass@1. Of further training only a strong entropy bonus passes the chords between such free remedies (half to
    all of the coverage, with half as much pass@1 again); pass@k training and MaxRL raise pass@1 and bring back a
    quarter of the coverage at most, negative samples nothing, and steps with the opposite advantage lose more of it.
    Prevention is better still: the same bonus from the base ends with more coverage, by 0.3 of the loss, and where GRPO
    had won less than a low temperature of the base gives (the first collapse), no remedy is as good as that
    temperature.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from toybed.benchmarks import mixtures
from toybed.benchmarks.reversibility_figure import figure
from toybed.benchmarks.reversibility_measures import (
    COVERAGE,
    HALF,
    MANY,
    ONE,
    SHARES,
    chosen,
    collapses,
    last,
    points,
    share,
    shares_of,
    whole,
)
from toybed.benchmarks.reversibility_sweep import (
    FREE,
    REMEDIES,
    SHARPENED,
    TEMPERATURES,
    TRAINED,
    TWINS,
    arms,
)
from toybed.stats import Interval, best_on_others, mean_interval, mean_of_found
from toybed.study import Records, Study, Verdict, above, all_of, below, headline, number, register, within

if TYPE_CHECKING:
    pass
SAME_SHARE = 0.2  # of what was lost or won: within it two policies count as the same

CLAIM = (
    "Collapse is reversible: some remedy brings back at least half of the coverage and of the pass@256 that GRPO cost, "
    "and keeps at least half of the pass@1 that it won."
)
RULE = (
    "after each of two collapses (quick: of one) three shares of the remedy chosen for each seed on the other seeds: "
    "refuted if one is refuted, supported if all are, else undecided"
)
AMENDMENTS = (
    "The first answer (8 seeds: supported, by interpolation) showed that GRPO had won less pass@1 (0.115) than a low "
    "temperature of the base gives (0.166). What is brought back should not be that of a poor run of RL only, so the "
    "claim now has to hold after a second collapse, too. On seeds of their own a few runs with more training prompts "
    "and smaller learning rates were made until GRPO passed every temperature of the base; no remedy was tried there.",
    "After the first answer: the temperatures of the base, which ended at 0.4 where pass@1 still rose, go down to 0.1; "
    "a part compares remedies with them; pass@k training, MaxRL and negative samples, refuted at the learning rate of "
    "the collapse, got a third of it as a second dose. None of this touches the rule.",
    "The rule said from the start that all is undecided where GRPO did not for certain cost pass@256; the first code "
    "let coverage refute alone, as a quick run showed. That run had 40 updates; quick has 80 now, and neither the "
    "second collapse nor the remedies from the base.",
    "Runs that continue another first repeated its random draws; they draw anew now. The entropy bonus had brought "
    "back 0.81 of the coverage after the first collapse, and 0.36 after the second; it brings back 1.01 and 0.49.",
    "From a review of another question: coverage above a chord between two rivals is no longer called supported, "
    "because their mixture has more than the chord; only a pass@1 above that of all rivals still is. This is of the "
    "two parts on trained remedies and on the sharpened base, and does not touch the rule.",
)


def judge(records: Mapping[str, Records]) -> tuple[Verdict, list[Verdict]]:
    """The whole answer and its parts."""
    worlds = collapses(records)
    found = {which: _best(world, which) for which, world in worlds.items()}
    deciding = [part for parts, _ in found.values() for part in parts]
    verdict = headline(
        CLAIM,
        parts=deciding,
        shown=min(deciding, key=lambda part: np.nan_to_num(part.estimate, nan=-np.inf)),
        rule=RULE,
        sentence=" ".join(sentence for _, sentence in found.values()),
        records=records,
    )
    beside = []
    for which, world in worlds.items():
        beside += [_costs(world, which), _more_than_sharpening(world, which), _going_on(world, which)]
        beside += [_remedy(world, key, which) for key, (_, doses) in REMEDIES.items() if doses[-1] in world]
        beside += [_trained_beats_free(world, which), _beats_the_base(world, which)]
    beside += [_no_trace(records, arm) for arm in TWINS if f"{arm}_from_base" in records]
    return verdict, [*deciding, *beside]


def _best(records: Mapping[str, Records], which: str) -> tuple[list[Verdict], str]:
    """The three deciding parts of one collapse, and a sentence on them."""
    names = {arm: name for name, doses in REMEDIES.values() for arm in doses if arm in records}
    best, shares = chosen(records, [*names], HALF)
    picked = ", ".join(f"{names[arm]} ({arm}) in {n}" for arm, n in Counter(best).most_common())
    parts = []
    for measure, values in zip(SHARES, shares, strict=True):
        interval = mean_interval(values)
        parts.append(
            Verdict(
                f"The best remedy after the {which} collapse: {SHARES[measure]}, at least half.",
                above(interval, HALF),
                *interval,
                rule=f"share, remedy and dose chosen on the other seeds: supported above {HALF:g}, refuted below.",
                sentence=f"{_with_ends(interval)}; chosen: {picked} of {len(best)} runs.",
            )
        )
    listed = ", ".join(f"{SHARES[m]} {number(part.estimate)}" for m, part in zip(SHARES, parts, strict=True))
    if np.isfinite(shares).any():
        return parts, f"Shares after the {which} collapse: {listed}, by {picked} of {len(best)} runs."
    return parts, f"It is not certain that the {which} collapse won pass@1 and cost coverage and pass@256."


def _with_ends(interval: Interval) -> str:
    if not interval.n:
        return "not known"
    return f"{interval.estimate:.2f} [{interval.low:.2f}, {interval.high:.2f}]"


def _mean(records: Mapping[str, Records], arm: str, measure: str) -> str:
    return number(mean_of_found(last(records, arm, measure)), ".3f")


def _costs(records: Mapping[str, Records], which: str) -> Verdict:
    intervals = {m: mean_interval(whole(records, m)) for m in SHARES}
    moved = (("pass@1", ONE), ("pass@256", MANY), ("coverage@256", COVERAGE), ("entropy", "entropy_test"))
    listed = ", ".join(f"{n} {_mean(records, 'base', m)} to {_mean(records, 'collapsed', m)}" for n, m in moved)
    return Verdict(
        f"The {which} collapse: GRPO wins pass@1 and costs pass@256 and coverage.",
        all_of([above(interval, 0.0) for interval in intervals.values()]),
        *intervals[COVERAGE],
        rule="paired changes, each supported above 0, refuted below; shown is the coverage lost.",
        sentence=f"On held-out prompts: {listed} nats per token.",
    )


def _more_than_sharpening(records: Mapping[str, Records], which: str) -> Verdict:
    lower = ["base", *(f"base_{t:g}" for t in SHARPENED)]
    reward, coverage = (np.stack([last(records, arm, m) for arm in lower]) for m in (ONE, COVERAGE))
    best = best_on_others(reward[:, None])
    runs = np.arange(len(best))
    interval = mean_interval(last(records, "collapsed", ONE) - reward[best, runs])
    return Verdict(
        f"What GRPO won in the {which} collapse is more than sharpening: no temperature of the base has its pass@1.",
        above(interval, 0.0),
        *interval,
        rule="held-out pass@1 of the collapsed policy less that of the base at the temperature chosen on the other "
        "seeds, paired: supported above 0, refuted below.",
        sentence=f"{number(interval.estimate, '+.3f')}; the base at its best temperature has pass@1 "
        f"{number(mean_of_found(reward[best, runs]), '.3f')}, coverage "
        f"{number(mean_of_found(coverage[best, runs]), '.3f')}.",
    )


def _remedy(records: Mapping[str, Records], key: str, which: str) -> Verdict:
    name, doses = REMEDIES[key]
    arms_chosen, shares = chosen(records, [arm for arm in doses if arm in records], HALF)
    intervals = [mean_interval(values) for values in shares]
    listed = ", ".join(f"{SHARES[m]} {_with_ends(i)}" for m, i in zip(SHARES, intervals, strict=True))
    dose = Counter(arms_chosen).most_common(1)[0][0]
    return Verdict(
        f"{name} after the {which} collapse: at least half of coverage and of pass@256 back, and half of pass@1 kept.",
        all_of([above(interval, HALF) for interval in intervals]),
        *min(intervals, key=lambda interval: np.nan_to_num(interval.estimate, nan=-np.inf)),
        rule=f"three shares, dose chosen on the other seeds, each supported above {HALF:g}, refuted below; shown is "
        "the smallest.",
        sentence=f"{listed}. With {dose}: pass@1 {_mean(records, dose, ONE)}, pass@256 {_mean(records, dose, MANY)}, "
        f"coverage {_mean(records, dose, COVERAGE)}.",
    )


def _going_on(records: Mapping[str, Records], which: str) -> Verdict:
    coverage, many, kept = (mean_interval(values) for values in shares_of(records, "goes_on", 0.0))
    return Verdict(
        f"Nothing returns by itself: GRPO going on after the {which} collapse loses more coverage.",
        below(coverage, 0.0),
        *coverage,
        rule="share of the lost coverage brought back: supported below 0, refuted above.",
        sentence=f"After as many updates again {number(coverage.estimate, '+.2f')} of the lost coverage and "
        f"{number(many.estimate, '+.2f')} of the lost pass@256 came back; pass@1 is at {number(kept.estimate)} of what "
        "was won.",
    )


def _excess(records: Mapping[str, Records], claim: str, candidates: Sequence[str], rivals: Sequence[str]) -> Verdict:
    """Coverage of the best candidate above the rivals and their chords at its pass@1, as a share of the loss."""
    reward, coverage = points(records, candidates).swapaxes(0, 1)
    offered = points(records, rivals)
    found = np.stack(
        [
            share(records, COVERAGE, mine - mixtures.frontier(offered, at), 0.0)
            for at, mine in zip(reward, coverage, strict=True)
        ]
    )
    best = best_on_others(found[:, None])
    runs = np.arange(len(best))
    interval = mean_interval(found[best, runs])
    means = sorted(((mean_of_found(e), arm) for arm, e in zip(candidates, found, strict=True)), reverse=True)
    listed = ", ".join(f"{arm} {mean:+.2f}" for mean, arm in means if np.isfinite(mean))
    return Verdict(
        claim,
        mixtures.more_than_mixtures(found[best, runs], offered, reward[best, runs]),
        *interval,
        rule="share of the lost coverage above the largest that the others, and chords between two, have at its pass@1 "
        "(or at the highest pass@1 of theirs), of the remedy chosen on the other seeds: refuted below 0, else "
        "undecided, since a mixture of two has more than their chord; supported above 0 only where in each run the "
        "pass@1 is above all of theirs.",
        sentence=f"Above or below it: {listed or 'not known'}.",
    )


def _trained_beats_free(records: Mapping[str, Records], which: str) -> Verdict:
    free = ["base", "collapsed", "goes_on", *(f"goes_on_{t:g}" for t in TEMPERATURES)]
    return _excess(
        records,
        f"After the {which} collapse some trained remedy has more coverage than the free ones at its pass@1.",
        candidates=[arm for _, doses in TRAINED.values() for arm in doses if arm in records],
        rivals=free + [arm for _, doses in FREE.values() for arm in doses],
    )


def _beats_the_base(records: Mapping[str, Records], which: str) -> Verdict:
    return _excess(
        records,
        f"The {which} collapse is worth it: some remedy has more coverage than the base, sharpened, at its pass@1.",
        candidates=[arm for _, doses in REMEDIES.values() for arm in doses if arm in records],
        rivals=["base", *(f"base_{t:g}" for t in SHARPENED)],
    )


def _no_trace(records: Mapping[str, Records], arm: str) -> Verdict:
    apart = {}
    for measure in (COVERAGE, ONE):
        change = last(records, arm, measure) - last(records, f"{arm}_from_base", measure)
        bound = SAME_SHARE if mean_of_found(change) > 0 else -SAME_SHARE  # the nearer one
        apart[measure] = mean_interval(share(records, measure, change, bound))
    return Verdict(
        f"With {TWINS[arm]} the first collapse leaves no trace: training ends where it does from the base.",
        all_of([within(interval, -SAME_SHARE, SAME_SHARE) for interval in apart.values()]),
        *apart[COVERAGE],
        rule=f"after the collapse less from the base, equal updates in all: coverage within {SAME_SHARE:g} of what was "
        "lost and pass@1 of what was won; refuted if one lies outside; shown is coverage.",
        sentence=f"Coverage differs by {_with_ends(apart[COVERAGE])} of the loss, pass@1 by {_with_ends(apart[ONE])} "
        "of what was won.",
    )


STUDY = register(
    Study(
        name="reversibility",
        question="Can a collapsed policy be brought back?",
        claim=CLAIM,
        source="arXiv 2608.29188; pass@k training: 2508.10751; MaxRL: 2602.02710; negative samples: 2506.01347",
        rule=RULE,
        amendments=AMENDMENTS,
        arms=arms,
        seeds={"quick": 3, "standard": 8, "full": 20},
        judge=judge,
        figure=figure,
        caption=(
            "Coverage against pass@1 of everything that was tried, means over seeds; up and to the right is better. "
            "Lines: interpolation and temperatures of the collapsed policy, updates with the opposite advantage; "
            "dashed, the base at low temperatures. Diamonds: further training for as many updates again, small at "
            "another dose (a bonus of 0.03 for 0.1, a larger learning rate); hollow, the same from the base. Right: "
            "shares with 95 % intervals, the dose chosen on the other seeds; an arrow lies further to the left; 2nd: "
            "after the second collapse."
        ),
    )
)
