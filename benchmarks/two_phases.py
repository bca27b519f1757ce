"""Does RL learn to execute first and then to plan, and does it pay to amplify planning tokens?

Question
    Is the entropy of execution tokens gone before that of planning tokens; do strategies then grow more diverse while
    token entropy falls, and in what sense; is that order the learner's or its base's; and is what HICRA wins due to the
    tokens that it amplifies?
Claim
    Learning has two phases: executing is learned before planning, in skill and in entropy, and then strategies, taken
    over all problems, grow more diverse while token entropy goes on falling.
Source
    arXiv 2509.03646 (read in title, abstract and third-party notes). What rises there is the semantic entropy of
    strategic phrases over a corpus, so over problems; it is not the token entropy of planning. Phases are absent in
    some of its models. Its table for HICRA: AIME24 18.8 against 14.6 with a placebo and 16.0 with an entropy bonus.
Sweep
    PlanExec, each seed in a world of its own: skills, valid plans and held-out values are drawn anew. A plan is chosen
    from type and stage, and executed from plan and value. GRPO with four steps on a batch, so with stale samples, in an
    MLP that shares all parameters, from bases that execute right with 0.75 or 0.95 and plan the default with 0.75; the
    same with one valid plan a stage in the place of two, so that a plan has one right answer as an execution has.
    Controls, from the base of 0.75: tables, which share nothing between plans and executions; a base that plans the
    default with 0.95, so that planning entropy is the smaller one from the start; four types, so that a plan is
    practised as often as an execution; a third and three times the learning rate.
    HICRA with alpha 0.2 (published) and 0.5 in the MLP, held against the same without a bonus, against its placebo (as
    many random tokens of each response) and against plain difficulty weights on all tokens, 1 + alpha (1 - 2m), which
    is what the bonus does to the expected gradient (OBJECTIVES, fact 4); and against entropy bonuses on planning tokens
    or on all. At the full size also from the base of 0.95, and in tables against placebo and weights, by Adam and SGD.
    In language models less than a tenth of the tokens plan. Here half do, so the placebo reaches half of the planning
    tokens, and its distance from HICRA is about half of that from no bonus at all.
Measure
    Exact, from the policy's own responses to held-out prompts. Execution entropy: of a value given plan and value at
    hand. Planning entropy given the problem: of a plan given type and stage, the policy's token entropy there; over
    problems: given the stage alone. Strategy entropy: of all plans of a response together, given the problem or over
    problems (nats per response). What a strategy tells of its problem is the difference of these two, their mutual
    information. The later phase is from the measurement at which three quarters of the execution entropy are gone to
    the end; token entropy is the mean over all tokens of a response. Skills: the shares of right executions and of
    valid plans in the policy's own responses.
Rule of judgement
    95 % intervals over seeds, which are worlds, too; paired; each supported where the interval lies on the claimed side
    of its threshold, refuted where it lies on the other. From each of the two bases, in the MLP: (1) the update at
    which half of the run's gain in valid plans is gained less that at which half of its gain in right executions is,
    above 0; (2) with one valid plan a stage, the update at which half of the planning entropy given the problem is gone
    less that at which half of the execution entropy is, above 0 (what never comes counts as the last update; runs in
    which neither comes are left out); (3) the planning entropy over problems at the end less its minimum on the way
    above 0.1; (4) in the later phase the strategy entropy over problems changes by more than 0, and the token entropy
    by less than 0. As a whole: refuted if one of the eight is refuted, supported if all are, else undecided.
    Beside it: in the later phase mutual information rises and strategy entropy given the problem falls (both); the
    planning entropy given the problem only falls: its largest rise over any earlier value lies below 0.05; the order in
    entropies with two valid plans, and in skills with one; (2) to (4) in tables, at other learning rates and with an
    entropy bonus of 0.01 on planning tokens, with two valid plans; (2) with every other base and world, and whether a
    base that plans more sharply shortens the distance.
    HICRA less each rival, mean over the bases that were run, in held-out success and in strategy entropy over problems
    at the end: above 0; HICRA less entropy bonus, each at the dose that is best on the other seeds: above 0; in tables,
    in success, HICRA less placebo and less difficulty weights within 0.02 by Adam and above 0 by SGD.
    What was changed after a result had been seen stands in AMENDMENTS, and in every report.
What a student should see
    In eight worlds the first phase is there where two plans a stage are valid, and not certain where one is; the second
    is not there. With two, half of the gain in right executions is had after 4 and 7 updates (bases of 0.75 and 0.95)
    and half of that in valid plans after 45: distances of 40 [17, 63] and 37 [11, 64]. In entropies they are 18 [3, 34]
    and 22 [8, 35], in single worlds from 1 to 46. With one valid plan they are 5 [-5, 14] and 9 [-2, 19] in entropy,
    and 2 [-0.2, 4] and 6 [-2, 14] in skill, undecided: planning collapses there within 10 to 15 updates onto few plans,
    right or wrong, and success stays at 0.16 and 0.19. So a part of the order, in networks, is that a planner may keep
    two valid plans apart while an execution has one right value. In tables the distance is 95 [82, 107]. It does not
    shorten for certain from a base that plans sharply (43 [-1, 87]); with four types it is 13, at three times the rate
    5 and no longer certain.
    Then, with shared parameters, planning collapses: strategy entropy over problems goes from 2.8 to 1.2 and 1.4 nats;
    in the later phase it changes by -0.6 [-1.4, 0.1] and -0.5 [-1.0, 0.03], where token entropy falls. Planning entropy
    over problems, 0.95 at the start, comes back by 0.09 [-0.01, 0.20] and 0.13 [0.01, 0.25] from a minimum below 0.4.
    Success ends at 0.31 and 0.37 of the 0.75 that can be had, from 0.13 to 0.53 by world. What does rise, by 0.8 and
    1.0 nats, is what a strategy tells of its problem: given the problem, strategies grow less diverse. A rise over
    problems is no exploration. Nor does planning entropy given the problem only fall: in some worlds it first rises, by
    0.3 on average. In tables planning entropy over problems rises from 0.9 to 1.3 nats, most of it before the later
    phase, and success comes to 0.73.
    An entropy bonus of 0.01 on planning tokens mends the MLP: success 0.72, planning entropy over problems 1.4. (By the
    rule its strategies fall in the later phase, because that phase begins on a spike; from their minimum they rise by
    0.9.) The same bonus on all tokens makes the policy random in every world. HICRA wins 0.07 [0.01, 0.14] of success
    over no bonus with alpha 0.5, nothing certain with 0.2, and nothing certain over its placebo or over plain
    difficulty weights, which do as well without looking at tokens.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from toybed.benchmarks.two_phases_figure import figure
from toybed.benchmarks.two_phases_hicra import hicra_parts
from toybed.benchmarks.two_phases_measures import (
    ACCURACY,
    EXECUTION,
    HALF,
    PLANNING,
    PLANNING_ALL,
    STRATEGY,
    STRATEGY_ALL,
    TOKEN,
    Array,
    base_of,
    entropy_lag,
    half_gained,
    half_gone,
    largest_rise,
    later_change,
    later_routing,
    levels,
    mean_of,
    rise,
    skill_lag,
)
from toybed.benchmarks.two_phases_sweep import arms
from toybed.stats import mean_interval
from toybed.study import Records, Study, Verdict, above, all_of, below, headline, number, register, tally

RISE = 0.1  # nats by which planning entropy over problems has to rise
ONLY_FALLS = 0.05  # nats: a rise of less is none

CLAIM = (
    "Learning has two phases: executing is learned before planning, in skill and in entropy, and then strategies, "
    "taken over all problems, grow more diverse while token entropy goes on falling."
)
RULE = (
    "order of the skills, order of the entropies where one plan is valid, rise of planning entropy over problems, and "
    "strategy against token entropy in the later phase, with shared parameters from two bases: refuted if one of the "
    "eight is refuted, supported if all are, else undecided"
)
AMENDMENTS = (
    "A first quick run had planning entropy over problems fall by half before it rose, with strategy entropy below its "
    "start at the end. So the rise and the strategies are judged at a third and at three times the learning rate, too, "
    "beside the claim (at first the order alone was), and it is told how far strategy entropy rises from its minimum.",
    "A first standard run had 300 updates. It had HICRA succeed with 0.46 where an entropy bonus of 0.01 on planning "
    "tokens had 0.70. So the three parts are judged with that bonus, too, beside the claim; it is told how strategy "
    "entropy changes from half of the execution entropy gone on, because in tables it rose early. 240 updates are "
    "enough and keep the time.",
    "When the learner had SGD, after that run, HICRA was held against placebo and difficulty weights in tables by SGD, "
    "too; its learning rate was chosen on two seeds of their own, from runs without a bonus. By Adam the difficulty "
    "weights joined the placebo.",
    "A review then ran the MLP's main arm in other worlds, and with one valid plan a stage: the distance between the "
    "entropies was 27 updates in the world that all seeds had shared and 9 and 42 in two others, the later phase lost "
    "0 to 1.6 nats of strategies, and with one valid plan the distance in entropy was 7 [0, 15] and in skills 22 [9, "
    "34]. So each seed has a world of its own now, and the claim's first half is judged by the order of the skills, "
    "and by that of the entropies where one plan is valid: a planner may keep two valid plans apart, while an "
    "execution has one right value, so that planning entropy need not go to zero. The order of the entropies with two "
    "valid plans, which decided before (supported from both bases), stands beside the claim. To keep the time, HICRA "
    "and the controls are run from one base, and tables by SGD, sharp plans in tables and the small bonuses at the "
    "full size only. All this was written before the first run in more than one world.",
)

ORDERS = {
    "grpo": "",
    "single": ", with one valid plan a stage",
    "tables": ", in tables",
    "sharp": ", from a base that plans sharply",
    "tables_sharp": ", in tables from a base that plans sharply",
    "few": ", with four types",
    "slow": ", at a third of the learning rate",
    "fast": ", at three times the learning rate",
    "planning_0.01": ", with an entropy bonus on planning tokens",
}
WHOLE, OTHERS = ("tables", "slow", "fast", "planning_0.01"), ("sharp", "tables_sharp", "few")
"""Conditions beside the claim in which all three of its parts are judged, and those in which the order is."""


def judge(records: Mapping[str, Records]) -> tuple[Verdict, list[Verdict]]:
    """The whole answer and its parts."""
    deciding = [part for level in levels(records, "grpo", "single") for part in _deciding(records, level)]
    beside = [part for level in levels(records, "grpo") for part in _in_what_sense(records, level)]
    beside += [part for arm in WHOLE for level in levels(records, arm) for part in _phases(records, arm, level)]
    beside += [_order(records, arm, level) for arm in OTHERS for level in levels(records, arm)]
    beside += [_follows_the_base(records, arm, level) for arm in ("", "tables_") for level in _sharp(records, arm)]
    against, besides = hicra_parts(records)
    beside += [*against, *besides]
    lags = "; ".join(f"{base_of(level)}: {_gained(records[f'grpo_{level}'])}" for level in levels(records, "grpo"))
    verdict = headline(
        CLAIM,
        parts=deciding,
        shown=deciding[0],
        rule=RULE,
        sentence=f"{tally(deciding)}. Updates until half of the gain in skill, {lags}. HICRA against no bonus, its "
        f"placebo and difficulty weights: {tally(against)}.",
        records=records,
    )
    return verdict, deciding + beside


def _sharp(records: Mapping[str, Records], prefix: str) -> list[str]:
    return levels(records, f"{prefix}sharp", "tables" if prefix else "grpo")


def _when(own: Records) -> str:
    """When half of either entropy is gone, in words."""
    return ", ".join(
        f"{name} {mean_of(half_gone(own, measure), '.0f')}{_never(half_gone(own, measure))}"
        for name, measure in (("execution", EXECUTION), ("planning", PLANNING))
    )


def _gained(own: Records) -> str:
    """When half of either skill is gained, in words."""
    return ", ".join(
        f"{name} {mean_of(half_gained(own, measure), '.0f')}{_never(half_gained(own, measure))}"
        for name, measure in (("executions", "exec_accuracy"), ("plans", "plan_validity"))
    )


def _never(values: Array) -> str:
    """How many of the runs never came there, in brackets."""
    never = int(np.isposinf(values).sum())
    return f" (never in {never} of {len(values)} runs)" if never else ""


# -- phases ---------------------------------------------------------------------------------------------------------
def _deciding(records: Mapping[str, Records], level: str) -> list[Verdict]:
    """The four parts of the claim from one base: two of the first phase, two of the second."""
    own = records[f"grpo_{level}"]
    return [
        _skills(own, "grpo", level),
        _order(records, "single", level),
        _rises(records, "grpo", level),
        _diverge(records, "grpo", level),
    ]


def _phases(records: Mapping[str, Records], arm: str, level: str) -> list[Verdict]:
    """Order, rise, and strategies against tokens: the three parts of the claim in one condition."""
    return [_order(records, arm, level), _rises(records, arm, level), _diverge(records, arm, level)]


def _order(records: Mapping[str, Records], arm: str, level: str) -> Verdict:
    own = records[f"{arm}_{level}"]
    interval = mean_interval(entropy_lag(own))
    starts = (mean_of(own.at(measure, 0)) for measure in (EXECUTION, PLANNING))
    return Verdict(
        f"Half of the execution entropy is gone before half of the planning entropy{ORDERS[arm]}, {base_of(level)}.",
        above(interval, 0.0),
        *interval,
        rule="updates from half of the execution entropy gone to half of the planning entropy given the problem gone, "
        "what never comes counted as the last update, runs in which neither comes left out: supported above 0, refuted "
        "below.",
        sentence=f"{_when(own)}. At the start {' and '.join(starts)} nats; at the end "
        f"{mean_of(own.at(EXECUTION, -1))} and {mean_of(own.at(PLANNING, -1))}; success "
        f"{mean_of(own.at(ACCURACY, 0))} to {mean_of(own.at(ACCURACY, -1))}.",
    )


def _rises(records: Mapping[str, Records], arm: str, level: str) -> Verdict:
    own = records[f"{arm}_{level}"]
    interval = mean_interval(rise(own, PLANNING_ALL))
    low = own.per_run(lambda curve: float(curve.min()), own[PLANNING_ALL])
    return Verdict(
        f"Planning entropy over problems rises after its minimum{ORDERS[arm]}, {base_of(level)}.",
        above(interval, RISE),
        *interval,
        rule=f"its value at the end less its minimum on the way, nats: supported above {RISE:g}, refuted below.",
        sentence=f"From {mean_of(own.at(PLANNING_ALL, 0))} to {mean_of(low)} and at the end "
        f"{mean_of(own.at(PLANNING_ALL, -1))}.",
    )


def _diverge(records: Mapping[str, Records], arm: str, level: str) -> Verdict:
    own = records[f"{arm}_{level}"]
    strategies, tokens = (mean_interval(later_change(own, measure)) for measure in (STRATEGY_ALL, TOKEN))
    return Verdict(
        "In the later phase strategy entropy over problems rises while token entropy falls"
        f"{ORDERS[arm]}, {base_of(level)}.",
        all_of([above(strategies, 0.0), below(tokens, 0.0)]),
        *strategies,
        rule="changes from when three quarters of the execution entropy are gone to the end: of strategy entropy "
        "(shown) above 0 and of token entropy below 0: supported if both, refuted if one lies on the other side.",
        sentence=f"Strategy entropy over problems changes by {number(strategies.estimate, '+.2f')} nats per response, "
        f"token entropy by {number(tokens.estimate, '+.3f')} nats per token. Counted from half of the execution "
        f"entropy gone, strategy entropy changes by {mean_of(later_change(own, STRATEGY_ALL, HALF), '+.2f')}; from its "
        f"minimum in the whole run it rises by {mean_of(rise(own, STRATEGY_ALL))}.",
    )


def _in_what_sense(records: Mapping[str, Records], level: str) -> list[Verdict]:
    """What rises, what only falls, the order in entropy where plans may differ, and in skills where they may not."""
    own, single = records[f"grpo_{level}"], records.get(f"single_{level}")
    skills = [] if single is None else [_skills(single, "single", level)]
    return [_routing(own, level), _only_falls(own, level), _order(records, "grpo", level), *skills]


def _routing(own: Records, level: str) -> Verdict:
    routing, given = mean_interval(later_routing(own)), mean_interval(later_change(own, STRATEGY))
    return Verdict(
        "What rises is what a strategy tells of its problem; given the problem, strategies grow less diverse: "
        f"{base_of(level)}.",
        all_of([above(routing, 0.0), below(given, 0.0)]),
        *routing,
        rule="changes in the later phase: of mutual information of problem and strategy (shown) above 0 and of "
        "strategy entropy given the problem below 0: supported if both, refuted if one lies on the other side.",
        sentence=f"Mutual information changes by {number(routing.estimate, '+.2f')} nats per response, strategy "
        f"entropy given the problem by {number(given.estimate, '+.2f')}, over problems by "
        f"{mean_of(later_change(own, STRATEGY_ALL), '+.2f')}.",
    )


def _only_falls(own: Records, level: str) -> Verdict:
    interval = mean_interval(largest_rise(own, PLANNING))
    return Verdict(
        f"Planning entropy given the problem only falls: {base_of(level)}.",
        below(interval, ONLY_FALLS),
        *interval,
        rule=f"its largest rise over any earlier value, nats: supported below {ONLY_FALLS:g}, refuted above.",
        sentence=f"From {mean_of(own.at(PLANNING, 0))} to {mean_of(own.at(PLANNING, -1))} nats, its largest rise on "
        f"the way {number(interval.estimate)}.",
    )


def _skills(own: Records, arm: str, level: str) -> Verdict:
    interval = mean_interval(skill_lag(own))
    told = ", ".join(
        f"{name} {mean_of(own.at(measure, 0))} to {mean_of(own.at(measure, -1))}, half of it at update "
        f"{mean_of(half_gained(own, measure), '.0f')}"
        for name, measure in (("right executions", "exec_accuracy"), ("valid plans", "plan_validity"))
    )
    return Verdict(
        "Half of the gain in right executions comes before half of that in valid plans"
        f"{ORDERS[arm]}, {base_of(level)}.",
        above(interval, 0.0),
        *interval,
        rule="updates from half of the run's gain in right executions to half of its gain in valid plans, no gain "
        "counted as the last update: supported above 0, refuted below.",
        sentence=f"{told[0].upper()}{told[1:]}.",
    )


def _follows_the_base(records: Mapping[str, Records], prefix: str, level: str) -> Verdict:
    flat, sharp = (records[f"{arm}_{level}"] for arm in ("tables" if prefix else "grpo", f"{prefix}sharp"))
    interval = mean_interval(entropy_lag(flat) - entropy_lag(sharp))
    return Verdict(
        f"A base that plans sharply shortens the distance of the phases{', in tables' if prefix else ''}: "
        f"{base_of(level)}.",
        above(interval, 0.0),
        *interval,
        rule="updates between half of either entropy gone, from the usual base less from the sharp one, paired: "
        "supported above 0, refuted below.",
        sentence=f"{mean_of(entropy_lag(flat), '+.0f')} updates from the usual base, "
        f"{mean_of(entropy_lag(sharp), '+.0f')} from the sharp one.",
    )


STUDY = register(
    Study(
        name="two_phases",
        question="Does RL learn to execute first and then to plan, and does it pay to amplify planning tokens?",
        claim=CLAIM,
        source="arXiv 2509.03646 (title, abstract and third-party notes)",
        rule=RULE,
        amendments=AMENDMENTS,
        worlds=True,
        arms=arms,
        seeds={"quick": 3, "standard": 8, "full": 20},
        judge=judge,
        figure=figure,
        caption=(
            "Top: entropies along training, mean and single seeds: of an execution (orange), of a plan given its "
            "problem (blue) and over problems (green); dashed: three quarters of the execution entropy are gone, the "
            "later phase begins. Below, left: updates from half of the execution entropy gone to half of the planning "
            "entropy gone (black), and from half of the gain in right executions to half of that in valid plans "
            "(blue), by base, policy, world and learning rate; each seed is a world of its own. Middle and right: "
            "HICRA less its rivals at the end, and an entropy bonus on planning tokens less none, in success and in "
            "strategy entropy over problems. Intervals are 95 %."
        ),
    )
)
