"""The parts of ``deploy_or_create``: each claim with its rule, and what was found."""

from __future__ import annotations

from toybed.benchmarks import deploy_or_create_measures as measures
from toybed.benchmarks.deploy_or_create_sweep import BADLY, WELL
from toybed.stats import mean_interval, mean_of_found
from toybed.study import Records, Verdict, above, all_of, below, number, within

WELL_RECOVERED, BADLY_RECOVERED = 0.85, 0.6
MOST_OF_IT = 0.5  # where nothing of it follows from the world
REVERSE = 0.1
NEAR = 0.05  # of q^D
STEERED = 0.5
BETTER = 0.1  # than a control
CONTROLS = ("random", "shuffled", "untargeted")
FEW, MOST = 0.15, 0.8  # of the tokens, of the gain
CREATION = 0.5
MADE = 0.5  # success on hard types


def mean_share(records: Records, measure: str) -> float:
    """The mean share of RL's gain that is recovered by a measure of success; NaN where none is."""
    return mean_of_found(measures.recovered(records, measure))


def plans_enough(records: Records, policy: str) -> Verdict:
    """RL's plans, carried out by a base that executes well."""
    interval = mean_interval(measures.recovered(records, "hybrid_planning"))
    return Verdict(
        f"A base that executes well recovers most of RL's gain with RL's plans ({policy}).",
        above(interval, WELL_RECOVERED),
        *interval,
        rule=f"recovered share, plans of RL and executions of a base of {WELL:g}: supported above {WELL_RECOVERED:g}, "
        "refuted below.",
        sentence=_success(records, "hybrid_planning"),
    )


def plans_not_enough(records: Records, policy: str) -> Verdict:
    """RL's plans, carried out by a base that executes badly."""
    interval = mean_interval(measures.recovered(records, "hybrid_planning"))
    return Verdict(
        f"A base that executes badly does not ({policy}).",
        below(interval, BADLY_RECOVERED),
        *interval,
        rule=f"the same with a base of {BADLY:g}: supported below {BADLY_RECOVERED:g}, refuted above.",
        sentence=_success(records, "hybrid_planning"),
    )


def _success(records: Records, measure: str) -> str:
    base, end = (mean_of_found(records.at("reward_test", place)) for place in (0, -1))
    hybrid = mean_of_found(records.at(measure, -1))
    return f"Held-out success: base {number(base, '.3f')}, hybrid {number(hybrid, '.3f')}, RL {number(end, '.3f')}."


def read_plans(records: Records) -> Verdict:
    """RL's plans, carried out by a base whose executions see the problem."""
    interval = mean_interval(measures.recovered(records, "hybrid_planning"))
    own, hybrid = records.at("exec_accuracy", 0), records.at("hybrid_planning_accuracy", -1)
    return Verdict(
        "A transformer that executes well recovers most of RL's gain with RL's plans.",
        above(interval, MOST_OF_IT),
        *interval,
        rule=f"recovered share, plans of RL and executions of a base of {WELL:g}, which see the problem: supported "
        f"above {MOST_OF_IT:g}, refuted below.",
        sentence=f"{_success(records, 'hybrid_planning')} The base executes {number(mean_of_found(own), '.3f')} of its "
        f"own plans right, of RL's {number(mean_of_found(hybrid), '.3f')}.",
    )


def executions(records: Records, execution: float, policy: str) -> Verdict:
    """The base's plans, carried out by RL."""
    interval = mean_interval(measures.recovered(records, "hybrid_execution"))
    return Verdict(
        f"With RL's executions of its own plans a base of {execution:g} recovers all but nothing ({policy}).",
        below(interval, REVERSE),
        *interval,
        rule=f"recovered share, plans of the base and executions of RL: supported below {REVERSE:g}, refuted above.",
        sentence=_success(records, "hybrid_execution"),
    )


def law(records: Records, execution: float, policy: str) -> Verdict:
    """What RL's plans recover against q^D."""
    found, law = measures.recovered(records, "hybrid_planning"), measures.law(records)
    interval = mean_interval(found - law)
    own, hybrid = records.at("exec_accuracy", 0), records.at("hybrid_planning_accuracy", -1)
    return Verdict(
        f"What a base of {execution:g} recovers is q^D ({policy}).",
        within(interval, -NEAR, NEAR),
        *interval,
        rule=f"recovered share with RL's plans less q^D, q the share of right executions in the base's own responses: "
        f"supported within {NEAR:g} of 0, refuted outside.",
        sentence=f"Recovered {number(mean_of_found(found), '.3f')}; q^D {number(mean_of_found(law), '.3f')}, and with "
        f"the success of base and RL {number(mean_of_found(measures.whole_law(records)), '.3f')}. The base executes "
        f"{number(mean_of_found(own), '.3f')} of its own plans right, of RL's {number(mean_of_found(hybrid), '.3f')}.",
    )


def steered(records: Records, how: str, claim: str) -> Verdict:
    """Steering in one way, e.g. "targeted" or "targeted_first"."""
    interval = mean_interval(measures.recovered(records, f"steered_{how}"))
    ceiling = mean_share(records, "hybrid_planning")
    layers = [number(mean_share(records, f"steered_{how.split('_')[0]}_{layer}")) for layer in ("first", "second")]
    return Verdict(
        claim,
        above(interval, STEERED),
        *interval,
        rule=f"recovered share of a base of {WELL:g}: supported above {STEERED:g}, refuted below.",
        sentence=f"In the first hidden layer {layers[0]}, in the second {layers[1]}; with RL's plans themselves "
        f"{number(ceiling)}.",
    )


def beats_controls(records: Records, layer: str = "", where: str = "in the better of both layers") -> Verdict:
    """Steering against its three controls; ``layer`` is "" or "_first"."""
    own = measures.recovered(records, f"steered_targeted{layer}")
    controls = {name: measures.recovered(records, f"steered_{name}{layer}") for name in CONTROLS}
    intervals = {name: mean_interval(own - found) for name, found in controls.items()}
    least = min(intervals, key=lambda name: intervals[name].low)
    shown = ", ".join(f"{name} {number(mean_of_found(found))}" for name, found in controls.items())
    return Verdict(
        f"It is the direction, its place and its target that do so, {where}.",
        all_of([above(interval, BETTER) for interval in intervals.values()]),
        *intervals[least],
        rule=f"recovered share less that of random directions, of shuffled places and of one untargeted direction, "
        f"paired: supported if all three lie above {BETTER:g}, refuted if one lies below; shown is the least.",
        sentence=f"Targeted {number(mean_of_found(own))}; {shown}.",
    )


def must_be_off(records: Records) -> Verdict:
    """Steering at plans against directions that are always on."""
    on, routed = (measures.recovered(records, f"steered_{how}") for how in ("held", "targeted"))
    interval = mean_interval(routed - on)
    return Verdict(
        "A direction that stays on while its skill is carried out does worse.",
        above(interval, BETTER),
        *interval,
        rule=f"recovered share of directions at plans only, less that of directions that stay on, paired: supported "
        f"above {BETTER:g}, refuted below.",
        sentence=f"Always on {number(mean_of_found(on))}, at plans only {number(mean_of_found(routed))}.",
    )


def few(records: Records, name: str) -> Verdict:
    """A few tokens handed to RL."""
    interval = mean_interval(measures.recovered(records, f"touched@{FEW:g}"))
    control = mean_share(records, f"touched_shuffled@{FEW:g}")
    share = mean_of_found(records.at("touched_for_most", -1))
    return Verdict(
        f"Few tokens are enough, {name}.",
        above(interval, MOST),
        *interval,
        rule=f"recovered share with {FEW:g} of the tokens handed to RL, in the order of KL(RL || base): supported "
        f"above {MOST:g}, refuted below.",
        sentence=f"In any order {number(control)}. For {MOST:g} of the gain {number(share)} of the tokens are needed; "
        "half of all tokens are plans.",
    )


def lacked(records: Records) -> Verdict:
    """RL's plans on hard types, whose skill the base lacks."""
    interval = mean_interval(measures.recovered_hard(records))
    whole = mean_share(records, "hybrid_planning")
    return Verdict(
        "A skill that the base lacks is not recovered by RL's plans.",
        below(interval, CREATION),
        *interval,
        rule=f"recovered share on hard types, in tables whose base lacks their skill: supported below {CREATION:g}, "
        "refuted above; runs in which RL does not solve hard types are left out.",
        sentence=f"On hard types {_hard(records)}. Over all types {number(whole)} is recovered.",
    )


def _hard(records: Records) -> str:
    names = {"base": ("success_hard", 0), "hybrid": ("hybrid_planning_hard", -1), "RL": ("success_hard", -1)}
    return ", ".join(
        f"{name} {number(mean_of_found(records.at(measure, place)), '.3f')}" for name, (measure, place) in names.items()
    )


def known(records: Records) -> Verdict:
    """RL's plans on hard types, whose skill the base knows."""
    interval = mean_interval(measures.recovered_hard(records))
    return Verdict(
        "The same skill is recovered where the base knows it.",
        above(interval, WELL_RECOVERED),
        *interval,
        rule=f"recovered share on hard types, in tables whose base plans their skill as often, and knows it: supported "
        f"above {WELL_RECOVERED:g}, refuted below.",
        sentence=f"On hard types {_hard(records)}.",
    )


def untried(records: Records) -> Verdict:
    """RL's plans, where the base lacks skills that it never plans."""
    interval = mean_interval(measures.recovered(records, "hybrid_planning"))
    return Verdict(
        "Where the base lacks skills that it never plans, all that RL gains is deployment.",
        above(interval, WELL_RECOVERED),
        *interval,
        rule=f"recovered share with RL's plans, of a base that lacks three skills: supported above {WELL_RECOVERED:g}, "
        "refuted below.",
        sentence=f"{_success(records, 'hybrid_planning')} On hard types {_hard(records)}.",
    )


def creates(records: Records, name: str) -> Verdict:
    """What RL gains on hard types."""
    interval = mean_interval(measures.created(records))
    return Verdict(
        f"RL learns to solve hard types, {name}.",
        above(interval, MADE),
        *interval,
        rule=f"success on hard types at the end less at the start: supported above {MADE:g}, refuted below.",
        sentence=f"On hard types {_hard(records)}; held-out success in all "
        f"{number(mean_of_found(records.at('reward_test', -1)), '.3f')}.",
    )
