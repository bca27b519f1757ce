"""Does any schedule of entropy beat holding it fixed?

Question
    An entropy bonus trades success in one try for breadth: each fixed coefficient, or fixed target of an adaptive one,
    is a point of that trade. Is any schedule, controller, curriculum or meta-learned schedule worth more than the best
    of these, whatever one wants of the trade, or does it only pick another point of it?
Claim
    There is a way to change what acts on entropy along the run that lies outside the frontier of fixed coefficients and
    targets, and it does so in three worlds.
Source
    arXiv 2604.26326 (Entrocraft: a target that falls linearly beats fixed ones, pass@K +50 %, seen as an abstract);
    arXiv 2602.09782 (rise and fall, oscillation); arXiv 2602.11779 (TAMPO: an outer loop that learns the temperature);
    arXiv 2506.06632 (easy prompts first).
Sweep
    Three worlds: ChainReach with m = 97 and 30 % of the prompts, ToolSearch with retries, PlanExec. In each the same
    base, learning rate and number of rollouts for all arms. Fixed: six coefficients from 0 to one that costs much, and
    three targets (shares of the entropy at the start) held by an adaptive bonus. Against them: a bonus that falls,
    grows, rises and falls, stops half-way or oscillates, each on average the reference coefficient of its world; a
    target that falls; two controllers of the catalogue as they are, Entrocraft (whose target falls, too) and Entropic;
    two curricula at the reference; and a meta-learned bonus: five blocks, in multiples of a world's reference, learned
    by evolution strategies in worlds of the same kinds with other tables (of chains and searches with other knobs,
    too), from a constant on. The references are rough: they were set after trials of 0 to 0.3 on two to four other
    seeds, and that of plans was halved after the judged seeds had been seen (AMENDMENTS), where it was learned with
    twice as much.
Measure
    Exactly, at the end, on held-out prompts: pass@1, pass@64, and coverage@256 where responses can be listed (not in
    PlanExec). Each in units of how far apart the fixed arms lie in it. How far a schedule lies outside the frontier is
    its gain in a weighted mean of the three over the best fixed arm, in the weighting that favours it most: the signed
    distance from their convex hull, which is what mixing fixed arms is worth.
Rule of judgement
    Written before the first run. What is chosen is chosen on the other seeds: the weighting, and for the claim itself
    also the schedule, the one whose least distance over the three worlds is largest. So one test is made, however many
    schedules were tried. In each world the chosen one must beat every fixed arm, each by a 95 % interval over seeds,
    paired: supported if all lie above 0; shown is the one that reaches lowest. A world refutes if every schedule is
    inside: in no weighting does it gain more than 0.05 (a twentieth of what the choice among fixed arms is worth) over
    the fixed arm that is best on the other seeds, by intervals again. The claim is supported if all three worlds
    support it, refuted if one refutes it, else undecided. Each schedule is judged in the same way beside it, by
    itself: of these parts one in forty in each world may come out as supported by chance. What was changed after a
    result had been seen stands in AMENDMENTS.
What a student should see
    Nothing that is outside everywhere, and nothing that is far outside anywhere. Of eleven schedules nine are inside
    the frontier in at least one world; "rise and fall" and the falling target are inside in none and outside in all in
    none. What is won is won in the search with retries: the falling target lies outside there by 0.04 of the span of
    the fixed arms [0.01, 0.06], where the meta-learned bonus is inside. In long-range chains the same falling target
    has less of everything than the best fixed one (pass@64 0.83 against 0.97): it runs ahead of the entropy, which
    hardly ever falls below it, so that no bonus is paid; Entrocraft and Entropic as they are lie far inside. Curricula
    change next to nothing, but for the adaptive one, which costs a quarter of pass@1 in PlanExec. What was learned
    grows from 0.95 to 1.38 of the reference: against the published advice, and by little. PlanExec decides little with
    six seeds: a fixed coefficient of 0.015 helps three of them and destroys three, so that hardly anything can be told
    from it by an interval (the numbers of about 0.4 are gains over this one). The falling target has more pass@1 there
    than any fixed arm, 0.47 against 0.43 at most. And a first value matters more than a shape: schedules that started
    at 0.02 lost half of the seeds or all, whatever they fell to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from toybed.benchmarks.entropy_schedules_figure import figure
from toybed.benchmarks.entropy_schedules_measures import (
    favoured,
    gains,
    least,
    margins,
    most,
    spans,
)
from toybed.benchmarks.entropy_schedules_sweep import (
    ANNEALED,
    CHALLENGERS,
    MEASURES,
    PLACES,
    SCHOOLS,
    SEARCH,
    arms,
    fixed_arms,
    target_arms,
)
from toybed.stats import Array, Interval, best_on_others, mean_interval, mean_of_found
from toybed.study import MIN_RUNS, Outcome, Records, Study, Verdict, above, all_of, headline, number, register, tally

WORTH = 0.05  # of the span of the fixed arms: less is not worth a schedule
SHORT = {"reward_test": "pass@1", "pass@64_test": "pass@64", "coverage@256_test": "coverage@256"}

CLAIM = (
    "There is a way to change what acts on entropy along the run that lies outside the frontier of fixed coefficients "
    "and targets, and it does so in three worlds."
)
RULE = (
    "one schedule, chosen on the other seeds, beats every fixed arm in every world: supported if so in all three, "
    "refuted if in one world every schedule is inside, else undecided"
)
AMENDMENTS = (
    "The first standard run had a reference of 0.01 in PlanExec, too near to where a bonus destroys the policy: at a "
    "fixed 0.015 three of six seeds were lost, and schedules, which reach twice their mean, passed it. The claim was "
    "undecided in all three worlds; of eleven schedules nine were refuted, and in PlanExec three were inside. The "
    "reference there is 0.005 now, for schedules, curricula and the learned multiples; adaptive bonuses and how the "
    "schedule is learned are as they were. The name of the fixed arm that is hardest to tell from the schedule was "
    "added to what is told. The rule was not changed.",
)


# -- what is measured -----------------------------------------------------------------------------------------------
def known_measures(records: Mapping[str, Records], place: str) -> list[str]:
    """The measures that a world has."""
    return [name for name in MEASURES if name in records[present(records, fixed_arms(place))[0]].curves]


def present(records: Mapping[str, Records], names: Sequence[str]) -> list[str]:
    """Those arms that this size has."""
    return [name for name in names if name in records]


def worth(records: Mapping[str, Records], arm: str, measures: Sequence[str]) -> Array:
    """What an arm's runs are worth at the end, ``[M, n]``."""
    return np.stack([records[arm].at(name, -1) for name in measures])


def gained(records: Mapping[str, Records], place: str, arm: str) -> Array:
    """Gains of a schedule over the fixed arms of a world under every weighting, ``[W, A, n]``."""
    measures = known_measures(records, place)
    fixed = np.stack([worth(records, each, measures) for each in present(records, fixed_arms(place))])
    return gains(worth(records, f"{place}/{arm}", measures), fixed)


# -- judging --------------------------------------------------------------------------------------------------------
def judge(records: Mapping[str, Records]) -> tuple[Verdict, list[Verdict]]:
    """The whole answer and its parts: the chosen schedule by world, each schedule, and what learning was worth."""
    tried = [arm for arm in CHALLENGERS if all(f"{place}/{arm}" in records for place in PLACES)]
    every = {arm: {place: gained(records, place, arm) for place in PLACES} for arm in tried}
    inside = {place: [_outcome(every[arm][place])[0] for arm in tried].count("refuted") for place in PLACES}
    deciding = [_chosen(records, every, place, inside[place]) for place in PLACES]
    each = [_schedule(records, arm, own) for arm, own in every.items()]
    verdict = headline(
        CLAIM,
        parts=deciding,
        shown=min(deciding, key=lambda part: np.nan_to_num(part.low, nan=-np.inf)),
        rule=RULE,
        sentence=f"By world: {tally(deciding)}. Of {len(tried)} schedules, each in all three worlds: {tally(each)}. "
        f"Chosen on the other seeds: {_names(_choice(every), tried)}.",
        records=records,
    )
    learned = [_learned(records, school) for school in SCHOOLS if "meta" in tried]
    published = [_published(records, arm) for arm in ANNEALED if arm in tried]
    return verdict, [*deciding, *each, *learned, *published]


def _outcome(gained: Array) -> tuple[Outcome, Interval]:
    """Whether a schedule is outside the frontier (supported), inside (refuted), and the interval that says so."""
    (_, outside), inside = least(favoured(gained)), most(gained)
    if outside.n < MIN_RUNS:
        return "undecided", outside
    if outside.low > 0:
        return "supported", outside
    return ("refuted", inside) if inside.high < WORTH else ("undecided", outside)


def _choice(every: Mapping[str, Mapping[str, Array]]) -> Array:
    """For each run the schedule whose least distance over the worlds is largest on the other runs, ``[n]``."""
    worst = [np.min([margins(own) for own in places.values()], 0) for places in every.values()]
    return np.argmax(worst, 0)


def _names(choice: Array, tried: Sequence[str]) -> str:
    counts = {CHALLENGERS[tried[i]]: int((choice == i).sum()) for i in dict.fromkeys(choice.tolist())}
    return ", ".join(f"{name} ({count} of {len(choice)})" for name, count in counts.items())


def _chosen(
    records: Mapping[str, Records], every: Mapping[str, Mapping[str, Array]], place: str, inside: int
) -> Verdict:
    choice = _choice(every)
    own = np.stack([favoured(places[place]) for places in every.values()])  # [challengers, A, n]
    hardest, interval = least(own[choice, :, np.arange(len(choice))].T)
    outcome: Outcome = "supported" if above(interval, 0.0) == "supported" else "undecided"
    if inside == len(every) and outcome != "supported":
        outcome = "refuted"
    return Verdict(
        f"A schedule lies outside the frontier of fixed arms: {PLACES[place].name}.",
        outcome,
        *interval,
        rule="gain of the schedule chosen on the other seeds, in the weighting that favours it there, over the fixed "
        "arm that is hardest to beat, in spans of the fixed arms: supported if it lies above 0 over each of them, "
        f"refuted if every schedule by itself gains less than {WORTH} in every weighting.",
        sentence=f"Hardest to tell it from: {present(records, fixed_arms(place))[hardest].split('/')[1]}. {inside} of "
        f"{len(every)} schedules are inside. {_spans(records, place)}",
    )


def _spans(records: Mapping[str, Records], place: str) -> str:
    """How far apart the fixed arms lie, in words."""
    measures = known_measures(records, place)
    fixed = np.stack([worth(records, each, measures) for each in present(records, fixed_arms(place))])
    told = ", ".join(f"{SHORT[name]} {span:.3f}" for name, span in zip(measures, spans(fixed), strict=True))
    return f"The fixed arms span {told}."


def _schedule(records: Mapping[str, Records], arm: str, every: Mapping[str, Array]) -> Verdict:
    """One schedule by itself, in all worlds."""
    found = {place: _outcome(own) for place, own in every.items()}
    outcome = all_of([each for each, _ in found.values()])
    decisive = [interval for each, interval in found.values() if each == outcome]
    told = "; ".join(
        f"{PLACES[place].name}: {each} ({_told(interval)}), {_points(records, place, arm)}"
        for place, (each, interval) in found.items()
    )
    return Verdict(
        f"Outside the frontier in all worlds: {CHALLENGERS[arm]}.",
        outcome,
        *min(decisive, key=lambda each: np.nan_to_num(each.low, nan=-np.inf)),
        rule="as for the claim, of this schedule alone: supported if outside in all worlds, refuted if inside in one; "
        "shown is the lowest interval that decided so.",
        sentence=f"{told}.{_values(records, arm)}",
    )


def _told(interval: Interval) -> str:
    return str(interval) if interval.n else "not known"


def _points(records: Mapping[str, Records], place: str, arm: str) -> str:
    own = records[f"{place}/{arm}"]
    names = known_measures(records, place)
    return ", ".join(f"{SHORT[name]} {number(mean_of_found(own.at(name, -1)), '.3f')}" for name in names)


def _values(records: Mapping[str, Records], arm: str) -> str:
    """The learned schedule, in words."""
    if arm != "meta":
        return ""
    place = next(iter(PLACES))
    multiples = learned_multiples(records, place)
    return f" In multiples of the reference: {', '.join(f'{m:.2f}' for m in multiples)}." if multiples else ""


def learned_multiples(records: Mapping[str, Records], place: str) -> list[float]:
    """The blocks of the learned schedule in multiples of a world's reference; none in records that no run made."""
    setting = records[f"{place}/meta"].setting
    blocks = {} if setting is None else setting.objective.blocks
    return [value / PLACES[place].reference for values in blocks.values() for value in values]


def _learned(records: Mapping[str, Records], school: str) -> Verdict:
    """Whether learning was worth anything where it was done."""
    own, constant = (records[f"school_{school}/{arm}"] for arm in ("meta", "reference"))
    names = [name for name in MEASURES if name in own.curves]
    differences = {name: own.at(name, -1) - constant.at(name, -1) for name in names}
    interval = mean_interval(np.mean([*differences.values()], 0))
    told = ", ".join(f"{SHORT[name]} {number(mean_of_found(d), '+.3f')}" for name, d in differences.items())
    return Verdict(
        f"Where it was learned, the schedule is worth more than the constant that it began with: "
        f"{SCHOOLS[school].name}.",
        above(interval, 0.0),
        *interval,
        rule="mean of the measures by the learned schedule less that by the constant, fresh seeds, paired: supported "
        "above 0, refuted below.",
        sentence=f"{told}.",
    )


def _published(records: Mapping[str, Records], arm: str) -> Verdict:
    """The published claim as it stands: against the best fixed target."""
    place, names = "chains", MEASURES[:2]
    targets = present(records, target_arms(place))
    values = np.stack([worth(records, each, names) for each in targets])
    best = best_on_others(values)
    against = values[best, :, np.arange(values.shape[-1])].T
    first, many = (mean_interval(row) for row in worth(records, f"{place}/{arm}", names) - against)
    return Verdict(
        f"A falling target has more pass@1 and more pass@64 than the best fixed target: {CHALLENGERS[arm]}.",
        all_of([above(first, 0.0), above(many, 0.0)]),
        *many,
        rule="held-out pass@1 and pass@64 (shown) less those of the fixed target that is best on the other seeds "
        f"(in the lower of the two), paired, {PLACES[place].name}: supported if both lie above 0, refuted if one lies "
        "below.",
        sentence=f"Pass@1 differs by {_told(first)}, pass@64 by {_told(many)}.",
    )


STUDY = register(
    Study(
        name="entropy_schedules",
        question="Does any schedule of entropy beat holding it fixed?",
        claim=CLAIM,
        source="arXiv 2604.26326 (abstract), 2602.09782, 2602.11779, 2506.06632",
        rule=RULE,
        amendments=AMENDMENTS,
        arms=arms,
        seeds={"quick": 3, "standard": 6, "full": 20},
        judge=judge,
        figure=figure,
        caption=(
            "Held-out pass@1 against pass@64 at the end, by world: fixed coefficients (line, from none on), fixed "
            "targets (squares) and what changes along the run (named; bars are 95 % intervals). Last: the learned "
            "schedule."
        ),
        search=SEARCH,
    )
)
