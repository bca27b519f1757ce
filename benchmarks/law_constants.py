"""Whose constants are a and b of the entropy law?

Question
    If reward is bought with entropy, R = -a exp(H) + b, what sets the price a and the ceiling b - a: the algorithm, or
    the base policy and the data? And which ways of steering entropy leave the curve?
Claim
    a, b and the ceiling belong to base and data, not to the algorithm: five algorithms share GRPO's, other bases and
    other data have their own, and along all of them the law predicts the later reward from the early window.
Source
    Cui et al., arXiv 2505.22617: Fig. 6 (one curve for GRPO, RLOO, PRIME and REINFORCE++ from one base),
    Fig. 13 (four data sets, four curves), Fig. 5 (prediction), Sec. 4.1 (entropy bonus) and 4.5 (clip-higher). Learning
    rates, seeds, start temperature and adaptive entropy are asked here and were not published. Controllers:
    Skywork-OR1, arXiv 2505.22312, and TRL.
Sweep
    ChainReach with an MLP; GRPO from the usual base, and with one thing changed at a time: the algorithm, the learning
    rate, the base (the temperature at which it starts, its demonstrator's noise and habits, fewer supervised steps),
    the data (prompt split, modulus, length: with these the base, trained on them, changes too), what steers the
    entropy, and, as control, no base, with more updates since it begins at chance. Base, batches (32 prompts of 8
    responses, 4 optimiser steps on each) and updates are those of entropy_law.
Measure
    H: exact entropy in nats per token over the policy's rollouts on train prompts; R: exact success on held-out
    prompts. For each run R² of the law and of a straight line in H; the error with which both and "no further change"
    predict the rest from the first 15 % of the updates; a and b. The departure from GRPO's curve: root mean square of
    R less what the law that was fitted to the GRPO run of the same seed says at the arm's H.
Rule of judgement
    Written before the first run of this file. 95 % intervals over seeds, paired with GRPO's run of the seed. The same
    a: within 10 % of GRPO's (as in entropy_law); the same b and ceiling: within 0.05 of success; the same curve: a
    departure below 0.05. a moves with the base (the data) if its mean distance from GRPO's over those arms, |a / a_GRPO
    - 1|, exceeds that over the algorithms by more than 0.1. The claim is refuted if one of its six parts is, supported
    if all are, else undecided. Learning rates, seeds, the control and steering are judged beside it and do not decide.
What a student should see
    RLOO, REINFORCE++, REINFORCE and Dr. GRPO run along GRPO's curve (a within 7 %), MaxRL beside it (1.18), and other
    data have curves of their own (modulus 61: 0.46 of a). Of the base it is less what it looks like than what it knows
    that counts: cooled to temperature 0.6, without any learning, it is where GRPO's curve passes anyway (a 1.02), while
    one with a third of the supervised steps has another curve (0.56). The law breaks where entropy is held: under TRL's
    controller reward goes on rising at one entropy (R² 0.62) and ends 0.16 above GRPO's curve, as with a bonus of 0.1;
    clip-higher and Skywork's capped controller stay on it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from toybed.benchmarks.entropy_law import SAME_CONSTANT
from toybed.benchmarks.law_constants_figure import figure
from toybed.benchmarks.law_constants_sweep import ARMS, GROUPS, arms, present
from toybed.benchmarks.law_measures import (
    CONSTANTS,
    EARLY,
    PerRun,
    Values,
    chord_error,
    departure,
    error,
    over_arms,
    per_run,
    r2,
    ratio,
    ratio_in_common,
    surplus,
    variation,
)
from toybed.stats import Interval, mean_interval, mean_of_found
from toybed.study import (
    Records,
    Study,
    Verdict,
    above,
    all_of,
    below,
    headline,
    number,
    register,
    tally,
    within,
)

SAME_LEVEL = 0.05  # of success: within which two arms share b, or the ceiling
SAME_CURVE = 0.05  # of success: departure within which points lie on another arm's curve

CLAIM = (
    "The law's a, b and ceiling belong to base and data, not to the algorithm: algorithms share GRPO's, other bases "
    "and data have their own, and along all of them the law predicts the later reward."
)
RULE = "refuted if any of the six parts of the claim is refuted, supported if all are supported, else undecided"

AMENDMENTS = (
    "The first standard run had 5 seeds and batches of 16 prompts. Two runs of one seed and one base then differed in "
    "a by some 10 %, as much as seeds did, so that nearly every interval was wider than the tolerance and 5 of the 6 "
    "parts were undecided. It has 6 seeds and batches of 32 prompts now, as entropy_law has. No arm, rule or threshold "
    "was changed.",
    "The run without a base had as many updates as the others. In those it learns nothing (held-out success 0.03 to "
    "0.04), and there was nothing that a law could have fitted; it has 300 now.",
    "An entropy bonus of 0.003 was left out after it had been seen, to save time: it does nothing here.",
)


def judge(records: Mapping[str, Records]) -> tuple[Verdict, list[Verdict]]:
    """The whole answer, the parts of the claim, what is judged beside it, and a row for each arm."""
    claim = [
        _same_a(records, "algorithm", "The other algorithms, from the same base, share GRPO's a."),
        _same_levels(records),
        _one_curve(records),
        _moves(records, "base"),
        _moves(records, "data"),
        _predicts(records, "no further change", "constant"),
    ]
    beside = [
        _predicts(records, "a straight line in H", "linear"),
        _beats_chord(records),
        _same_a(records, "learning rate", "Half and twice the learning rate leave a where it is."),
        _same_over_seeds(records),
        _needs_base(records),
    ]
    rows = [_row(records, arm, group) for group in GROUPS for arm in present(records, group) if group != "control"]
    verdict = headline(
        CLAIM,
        parts=claim,
        shown=claim[0],
        rule=RULE,
        sentence=f"Of the claim's {len(claim)} parts: {tally(claim)}. {claim[0].sentence} {claim[3].sentence}",
        records=records,
    )
    return verdict, [*claim, *beside, *rows]


def _same_a(records: Mapping[str, Records], group: str, claim: str) -> Verdict:
    ratios = {arm: mean_interval(ratio(records, arm)) for arm in present(records, group)}
    worst = max(ratios, key=lambda arm: np.nan_to_num(abs(ratios[arm].estimate - 1), nan=np.inf))
    low, high = 1 - SAME_CONSTANT, 1 + SAME_CONSTANT
    return Verdict(
        claim,
        all_of([within(interval, low, high) for interval in ratios.values()]),
        *ratios[worst],
        rule=f"a over GRPO's, paired: supported if every interval lies in {low:.2f} to {high:.2f}, refuted if one lies "
        "outside; shown is the one that is furthest off.",
        sentence=f"a over GRPO's: {_listed(ratios)}.",
    )


def _same_levels(records: Mapping[str, Records]) -> Verdict:
    gaps: dict[str, Interval] = {}
    for arm in present(records, "algorithm"):
        for name in ("b", "ceiling"):
            measure = CONSTANTS[name]
            gap = per_run(records[arm], measure) - per_run(records["grpo"], measure)
            gaps[f"{ARMS[arm][0]} {name}"] = mean_interval(gap)
    worst = max(gaps.values(), key=lambda gap: np.nan_to_num(abs(gap.estimate), nan=np.inf))
    listed = ", ".join(f"{name} {number(gap.estimate, '+.3f')}" for name, gap in gaps.items())
    return Verdict(
        "They share its b and its ceiling b - a.",
        all_of([within(gap, -SAME_LEVEL, SAME_LEVEL) for gap in gaps.values()]),
        *worst,
        rule=f"b, and b - a, less GRPO's, paired: supported if every interval lies within {SAME_LEVEL} of success, "
        "refuted if one lies outside; shown is the one that is furthest off.",
        sentence=f"Less GRPO's: {listed}.",
    )


def _one_curve(records: Mapping[str, Records]) -> Verdict:
    found = {arm: mean_interval(departure(records, arm)) for arm in present(records, "algorithm")}
    worst = max(found.values(), key=lambda interval: np.nan_to_num(interval.estimate, nan=np.inf))
    return Verdict(
        "Their points lie on GRPO's curve.",
        all_of([below(interval, SAME_CURVE) for interval in found.values()]),
        *worst,
        rule=f"departure from the law of GRPO's run: supported if every interval lies below {SAME_CURVE} of success, "
        "refuted if one lies above; shown is the largest.",
        sentence=f"Departures: {_listed(found, '.3f')}; GRPO's own {_mean(departure(records, 'grpo'), '.3f')}.",
    )


def _moves(records: Mapping[str, Records], group: str) -> Verdict:
    """Is a further from GRPO's over the arms of the group than over the algorithms?"""
    distance = {
        g: over_arms(np.abs(ratio(records, arm) - 1) for arm in present(records, g)) for g in (group, "algorithm")
    }
    interval = mean_interval(distance[group] - distance["algorithm"])
    ratios = {arm: mean_interval(ratio(records, arm)) for arm in present(records, group)}
    return Verdict(
        f"Changing the {group} moves a, and more than changing the algorithm does.",
        above(interval, SAME_CONSTANT),
        *interval,
        rule=f"mean |a over GRPO's - 1| over the arms, less that over the algorithms, paired: supported above "
        f"{SAME_CONSTANT}, refuted below.",
        sentence=f"{group.capitalize()}: a over GRPO's {_listed(ratios)}; mean distance "
        f"{_mean(distance[group])} against {_mean(distance['algorithm'])} over the algorithms.",
    )


def _predicts(records: Mapping[str, Records], name: str, rival: str) -> Verdict:
    followers = _followers(records)
    gaps = {arm: per_run(records[arm], error("exp")) - per_run(records[arm], error(rival)) for arm in followers}
    interval = mean_interval(over_arms(gaps.values()))
    worse = [arm for arm in followers if mean_of_found(gaps[arm]) > 0]
    return Verdict(
        f"Fitted on the first {EARLY:.0%} of the updates, the law predicts the rest better than {name}.",
        below(interval, 0.0),
        *interval,
        rule=f"prediction error of the law less that of {name}, mean over GRPO and the arms of other algorithms, "
        "learning rates, bases and data, paired: supported below 0, refuted above.",
        sentence=f"{number(interval.estimate, '+.3f')} over {len(followers)} arms; worse in "
        f"{', '.join(_name(arm) for arm in worse) or 'none'}.",
    )


def _beats_chord(records: Mapping[str, Records]) -> Verdict:
    followers = _followers(records)
    errors = [over_arms(per_run(records[arm], m) for arm in followers) for m in (error("exp"), chord_error)]
    interval = mean_interval(errors[0] - errors[1])
    return Verdict(
        "The early window tells more than the base alone: it predicts better than the chord to certain success.",
        below(interval, 0.0),
        *interval,
        rule="prediction error of the law fitted early, less that of the one through the base's point and R = 1 at "
        "H = 0, which needs no RL; mean over the same arms, paired: supported below 0, refuted above.",
        sentence=f"The errors are {_mean(errors[0], '.3f')} and, of the chord, {_mean(errors[1], '.3f')}.",
    )


def _same_over_seeds(records: Mapping[str, Records]) -> Verdict:
    interval = variation(per_run(records["grpo"], CONSTANTS["a"]))
    return Verdict(
        "Seeds, each with a base of its own from the same recipe, share a.",
        below(interval, SAME_CONSTANT),
        *interval,
        rule=f"coefficient of variation of a over GRPO's seeds, with the interval of a normal sample's (chi-square): "
        f"supported below {SAME_CONSTANT}, refuted above.",
        sentence=f"a is {_mean(per_run(records['grpo'], CONSTANTS['a']), '.3f')}, and varies by "
        f"{number(interval.estimate, '.1%')}.",
    )


def _needs_base(records: Mapping[str, Records]) -> Verdict:
    fits = {arm: per_run(records[arm], r2("exp")) for arm in ("grpo", "random_init")}
    interval = mean_interval(fits["grpo"] - fits["random_init"])
    return Verdict(
        "Control: without a base the law fits worse.",
        above(interval, 0.0),
        *interval,
        rule="R² with the base less R² without, paired: supported above 0, refuted below.",
        sentence=f"{_described(records, 'random_init')} GRPO from the base: {_described(records, 'grpo')}",
    )


def _row(records: Mapping[str, Records], arm: str, group: str) -> Verdict:
    """One arm: does it share a where the claim says so, has it its own, or does it leave the curve?"""
    name = ARMS[arm][0]
    if group == "steering":
        interval = mean_interval(departure(records, arm))
        end = mean_of_found(surplus(records, arm))
        return Verdict(
            f"Steering ({name}) leaves GRPO's curve.",
            above(interval, SAME_CURVE),
            *interval,
            rule=f"departure from the law of GRPO's run: supported above {SAME_CURVE} of success, refuted below.",
            sentence=f"{_described(records, arm)} It ends {number(end, '+.3f')} from GRPO's law at its entropy.",
        )
    interval = mean_interval(ratio(records, arm))
    inside = within(interval, 1 - SAME_CONSTANT, 1 + SAME_CONSTANT)
    claim, outcome = f"{group.capitalize()} ({name}): the same a as GRPO's.", inside
    if group in ("base", "data"):
        claim = f"{group.capitalize()} ({name}): another a than GRPO's."
        opposite = {"supported": "refuted", "refuted": "supported", "undecided": "undecided"}
        outcome = opposite[inside]  # type: ignore[assignment]
    return Verdict(
        claim,
        outcome,
        *interval,
        rule=f"a over GRPO's, paired: the same within {SAME_CONSTANT:.0%}, another outside.",
        sentence=f"{_described(records, arm)} Over the entropies that both runs passed, a over GRPO's is "
        f"{_mean(ratio_in_common(records, arm))}; departure {_mean(departure(records, arm), '.3f')}, at the start "
        f"{_mean(surplus(records, arm, at=0), '+.3f')}.",
    )


def _described(records: Mapping[str, Records], arm: str) -> str:
    """The arm's row of the table."""

    def of(measure: PerRun) -> str:
        return _mean(per_run(records[arm], measure), ".3f")

    return (
        f"R² {of(r2('exp'))} (line {of(r2('linear'))}); error ahead {of(error('exp'))} (line "
        f"{of(error('linear'))}, no change {of(error('constant'))}); a {of(CONSTANTS['a'])}, b {of(CONSTANTS['b'])}."
    )


def _followers(records: Mapping[str, Records]) -> list[str]:
    """The arms along which the law is claimed."""
    return ["grpo", *(arm for g in ("algorithm", "learning rate", "base", "data") for arm in present(records, g))]


def _name(arm: str) -> str:
    return "GRPO" if arm == "grpo" else ARMS[arm][0]


def _listed(intervals: Mapping[str, Interval], form: str = ".2f") -> str:
    return ", ".join(f"{_name(arm)} {number(interval.estimate, form)}" for arm, interval in intervals.items())


def _mean(values: Values, form: str = ".2f") -> str:
    return number(mean_of_found(values), form)


STUDY = register(
    Study(
        name="law_constants",
        question="Whose constants are a and b of the entropy law?",
        claim=CLAIM,
        source="arXiv 2505.22617 (Fig. 5, 6, 13; Sec. 4)",
        rule=RULE,
        amendments=AMENDMENTS,
        arms=arms,
        seeds={"quick": 3, "standard": 6, "full": 20},
        judge=judge,
        figure=figure,
        caption=(
            "Left: held-out success against entropy along GRPO, mean over seeds, from each base (the right end) on, "
            "with the law fitted to it. Right: a over that of the GRPO run from the usual base with the same seed, "
            "mean and 95 % interval over seeds, by what was changed; grey, within 10 %; open circles, where the law "
            "does not fit."
        ),
    )
)
