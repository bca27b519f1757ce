"""What ``ensembles`` judges beside the claim: heads, credit, rivals and controls."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np

from toybed.benchmarks.ensembles_measures import COST, MANY, excess, gained, mean_at, place, with_ends
from toybed.benchmarks.ensembles_sweep import CHAIN, COUNTS, KINDS, LONG, TOOLS, WORLDS, World
from toybed.stats import mean_interval, mean_of_found
from toybed.study import Records, Verdict, above, all_of, below, number

NO_HELP = 0.05  # of pass@64: within it an ensemble did not help


def beside(records: Mapping[str, Records]) -> list[Verdict]:
    """All of it, where its arms were run: at the quick size not all are."""
    found = [_more_heads(records), _no_help(records)]
    for world in WORLDS:
        found += [_outside(records, world, kind) for kind in KINDS if world.ensemble(kind) in records]
        if world.ensemble("set") in records:
            found += [_credit(records, world), _parameters(records, world), _luck(records, world)]
    if f"{CHAIN.prefix}small_single" in records:
        found.append(_networks(records))
    found += [_starved(records), _shifted(records)]
    if "heads_8_samples" in records:
        found += [_samples(records), _lasts(records)]
    return found


def _more_heads(records: Mapping[str, Records]) -> Verdict:
    ladder = ["single", *(f"heads_{count}" for count in COUNTS)]
    steps = [gained(records, b, a, f"{MANY}_{TOOLS.split}") for a, b in pairwise(ladder)]
    places = "; ".join(f"{n}: {place(records, arm, TOOLS)}" for n, arm in zip((1, *COUNTS), ladder, strict=True))
    return Verdict(
        "ToolSearch: each doubling of the heads adds to pass@64.",
        all_of([above(step, 0.0) for step in steps]),
        *min(steps, key=lambda step: np.nan_to_num(step.estimate, nan=np.inf)),
        rule="three paired differences, each supported above 0, refuted below; shown is the smallest.",
        sentence=f"pass@1 and pass@64 by heads: {places}.",
    )


def _no_help(records: Mapping[str, Records]) -> Verdict:
    gain = gained(records, "known_heads_8", "known_single", f"{MANY}_{TOOLS.split}")
    information = mean_at(records, "known_heads_8", "head_information", TOOLS)
    return Verdict(
        "ToolSearch: where the cue names the best tool, an ensemble does not help.",
        below(gain, NO_HELP),
        *gain,
        rule=f"pass@64 of 8 heads less that of one, cue always right, paired: supported below {NO_HELP:g}, refuted "
        "above.",
        sentence=f"pass@1 and pass@64 {place(records, 'known_heads_8', TOOLS)}, of one head "
        f"{place(records, 'known_single', TOOLS)}; head information {number(information)} nats.",
    )


def _outside(records: Mapping[str, Records], world: World, kind: str) -> Verdict:
    beyond, outcome = excess(records, world, world.ensemble(kind))
    interval = mean_interval(beyond)
    return Verdict(
        f"{world.name}: {world.count} heads with {KINDS[kind]} credit have more than single policies and their "
        "mixtures.",
        outcome,
        *interval,
        rule="pass@64 above the most that rivals (one head with each credit or bonus, each with the base mixed in, and "
        "chords between two of these) have at its pass@1: refuted below 0, else undecided, since a mixture of two has "
        "more than their chord; supported above 0 only where in each run the pass@1 is above all rivals'.",
        sentence=f"pass@1 and pass@64 {place(records, world.ensemble(kind), world)}: {with_ends(interval)} pass@64, "
        "which is the most that it may be.",
    )


def _credit(records: Mapping[str, Records], world: World) -> Verdict:
    interval = gained(records, world.ensemble("set"), world.ensemble(), f"{MANY}_{world.split}")
    cost = gained(records, world.ensemble("set"), world.ensemble(), f"reward_{world.split}")
    places = "; ".join(
        f"{KINDS[kind]} {place(records, world.ensemble(kind), world)}, with one head {place(records, arm, world)}"
        for kind, arm in (
            ("heads", world.single),
            ("half", f"{world.prefix}single_half"),
            ("set", f"{world.prefix}single_set"),
        )
    )
    return Verdict(
        f"{world.name}: set credit gives the ensemble more pass@64 than individual credit, and less pass@1.",
        all_of([above(interval, 0.0), below(cost, 0.0)]),
        *interval,
        rule="paired differences of set and individual credit, pass@64 (shown) above 0 and pass@1 below: supported if "
        "both, refuted if one is refuted.",
        sentence=f"pass@1 and pass@64: {places}.",
    )


def _parameters(records: Mapping[str, Records], world: World) -> Verdict:
    arm = world.ensemble("prompt")
    # A head that is given by the prompt has met each train question of its own again and again.
    reward, which = ("reward_fresh", "fresh questions") if world is TOOLS else ("reward", "held-out prompts")
    interval = gained(records, arm, world.single, f"{MANY}_{world.split}")
    return Verdict(
        f"{world.name}: as many parameters without a choice do not do it.",
        below(interval, world.gain),
        *interval,
        rule="pass@64 with the head given by the prompt less that of one head, paired: supported below "
        f"{world.gain:g}, refuted above.",
        sentence=f"pass@1 on {which}, and pass@64: {place(records, arm, world, reward)}, one head "
        f"{place(records, world.single, world, reward)}.",
    )


def _luck(records: Mapping[str, Records], world: World) -> Verdict:
    arm = world.ensemble("apart")
    interval = gained(records, world.ensemble(), arm, f"{MANY}_{world.split}")
    return Verdict(
        f"{world.name}: heads that are compared in a group differ more than heads that learn apart.",
        above(interval, 0.0),
        *interval,
        rule="pass@64 with heads mixed in each group less that with one head a group, paired: supported above 0, "
        "refuted below.",
        sentence=f"pass@1 and pass@64 apart {place(records, arm, world)} (head information "
        f"{number(mean_at(records, arm, 'head_information', world))}), together "
        f"{place(records, world.ensemble(), world)} "
        f"({number(mean_at(records, world.ensemble(), 'head_information', world))}).",
    )


def _networks(records: Mapping[str, Records]) -> Verdict:
    one, shared, own = (f"{CHAIN.prefix}small_{name}" for name in ("single", "heads_4", "own_4"))
    gain = gained(records, own, one, f"{MANY}_{CHAIN.split}")
    lost = mean_of_found(records[one].at(f"{MANY}_{CHAIN.split}", 0)) - mean_at(records, one, MANY, CHAIN)
    ends = "; ".join(
        f"{name} {place(records, arm, CHAIN)} ({number(mean_at(records, arm, 'head_information', CHAIN))} nats)"
        for name, arm in (("networks", own), ("a trunk in common", shared), ("one head", one))
    )
    return Verdict(
        "ChainReach: heads with networks of their own, and as many samples for each as for one, solve more at pass@64.",
        above(gain, CHAIN.gain) if lost > CHAIN.gain else "undecided",
        *gain,
        rule=f"in a smaller world, pass@64 less that of one head, paired: supported above {CHAIN.gain:g}, refuted "
        f"below; undecided where one head lost less than {CHAIN.gain:g} of its base's.",
        sentence=f"pass@1, pass@64 and head information: {ends}.",
    )


def _samples(records: Mapping[str, Records]) -> Verdict:
    gain = gained(records, "heads_8_samples", "single", f"{MANY}_{TOOLS.split}")
    shared = gained(records, "heads_8", "single", f"{MANY}_{TOOLS.split}")
    ends = "; ".join(
        f"{name} {place(records, arm, TOOLS)} ({number(mean_at(records, arm, 'head_information', TOOLS))} nats)"
        for name, arm in (
            ("as many for each", "heads_8_samples"),
            ("as many in all", "heads_8"),
            ("one head", "single"),
        )
    )
    return Verdict(
        "ToolSearch: heads with as many samples each as one policy has solve more at pass@64.",
        above(gain, TOOLS.gain),
        *gain,
        rule=f"pass@64 of 8 heads with 8 times the prompts less that of one head, paired: supported above "
        f"{TOOLS.gain:g}, refuted below.",
        sentence=f"{with_ends(gain)}, where as many samples in all gain {with_ends(shared)}; pass@1, pass@64 and "
        f"head information: {ends}.",
    )


def _starved(records: Mapping[str, Records]) -> Verdict:
    interval = gained(records, "few", "single", f"reward_{TOOLS.split}")
    return Verdict(
        "ToolSearch: for the pass@1 of one policy an eighth of the samples is enough.",
        above(interval, -COST),
        *interval,
        rule=f"pass@1 of one head with an eighth of the prompts less that with all: supported above -{COST:g}, refuted "
        "below.",
        sentence=f"pass@1 and pass@64 {place(records, 'few', TOOLS)}, with all {place(records, 'single', TOOLS)}, of "
        f"8 heads {place(records, 'heads_8', TOOLS)}.",
    )


def _shifted(records: Mapping[str, Records]) -> Verdict:
    gain, reward = (gained(records, "heads_8", "single", f"{m}_test") for m in (MANY, "reward"))
    told = "; ".join(
        f"{name} {number(mean_of_found(records[arm].at(f'{MANY}_test', -1)), '.3f')}"
        for name, arm in (("8 heads", "heads_8"), ("set credit", "set_8"), ("one head", "single"))
    )
    return Verdict(
        "ToolSearch: when the dominant index has gone stale, the ensemble solves more at pass@64.",
        above(gain, TOOLS.gain),
        *gain,
        rule=f"pass@64 on the shifted questions less that of one head, paired: supported above {TOOLS.gain:g}, refuted "
        "below.",
        sentence=f"pass@64: {told}; pass@1 of 8 heads {with_ends(reward)} against one.",
    )


def _lasts(records: Mapping[str, Records]) -> Verdict:
    gain = gained(records, "heads_8_long", "single", f"{MANY}_{TOOLS.split}")
    return Verdict(
        f"ToolSearch: the difference lasts, {LONG} times the updates later.",
        above(gain, TOOLS.gain),
        *gain,
        rule=f"pass@64 of 8 heads after {LONG} times the updates less that of one head: supported above "
        f"{TOOLS.gain:g}, refuted below.",
        sentence=f"pass@1 and pass@64 {place(records, 'heads_8_long', TOOLS)}; head information "
        f"{number(mean_at(records, 'heads_8_long', 'head_information', TOOLS))} nats, entropy a token "
        f"{number(mean_at(records, 'heads_8_long', 'entropy', TOOLS), '.3f')}.",
    )
