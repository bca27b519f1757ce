"""What ``dialogue_collapse`` judges beside the claim: rivals, conditions, adaptation and headroom."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from toybed.benchmarks.dialogue_collapse_measures import BUDGET, SHARE, TEST, TRAIN, gain, information, mean_at, room_of
from toybed.benchmarks.dialogue_collapse_parts import collapses, opening, present, prevents, title
from toybed.benchmarks.dialogue_collapse_sweep import CONDITIONS, EPISODES, FINE, METHODS, NAMED, STEPS, arm
from toybed.stats import mean_interval, mean_of_found
from toybed.study import Outcome, Records, Verdict, above, all_of, below, number


def beside(records: Mapping[str, Records]) -> list[Verdict]:
    """All of it, where its arms were run: at the quick size not all are."""
    found = [_bonus_helps(records, "main")]
    if arm("soft") in records:
        found += [collapses(records, "main", "soft")[0], _critic_earns(records)]
    found += [_rival(records, method) for method in present(records) if method not in ("joint", "maml")]
    found += [_adapts(records, method) for method in present(records)]
    found += [_headroom(records, method) for method in ("joint", "bonus", "maml")]
    found.append(_visible(records))
    if f"only_{NAMED[0]}" in records:
        found.append(_own_policies(records))
    for condition in CONDITIONS:
        if condition not in ("main", "fine"):
            found += _of_condition(records, condition)
    return found


def _rival(records: Mapping[str, Records], method: str, condition: str = "main") -> Verdict:
    mine, rival = arm("maml", condition), arm(method, condition)
    more = gain(records, mine, rival)
    share = f"adapted_{SHARE}_train"
    return Verdict(
        f"{opening(condition)}MAML earns more than {METHODS[method]}, both adapted.",
        above(more, 0.0),
        *more,
        rule="adapted return with held-out types, MAML's less the rival's, paired: supported above 0, refuted below.",
        sentence=f"Return {mean_at(records, mine, TEST)} and {mean_at(records, rival, TEST)}, dominant share "
        f"{mean_at(records, mine, share)} and {mean_at(records, rival, share)}, information "
        f"{number(mean_of_found(information(records, mine)), '.3f')} and "
        f"{number(mean_of_found(information(records, rival)), '.3f')}; the rival's rates: {_rates(records[rival])}.",
    )


def _rates(records: Records) -> str:
    """What was chosen for an arm."""
    if records.setting is None or records.setting.start.after is None or records.setting.adaptation is None:
        return "not known"
    trained = records.setting.start.after
    bonus = trained.objective.options.get("planning_entropy_coefficient")
    return f"{trained.learning.learning_rate:g}, inner {records.setting.adaptation.rate:g}" + (
        "" if bonus is None else f", bonus {bonus:g}"
    )


def _adapts(records: Mapping[str, Records], method: str) -> Verdict:
    name, fine = arm(method), arm(method, "fine")
    gained = mean_interval(records[name].at(TEST, -1) - records[name].at("adapted@0_test", -1))
    shown = _curve(records, name, EPISODES, STEPS)
    if fine in records:
        shown += f"; by steps of {FINE[0]} {_curve(records, fine, *FINE)}"
    return Verdict(
        f"{title(method)}: {BUDGET} episodes of adaptation pay with held-out types.",
        above(gained, 0.0),
        *gained,
        rule="return after adaptation less before, paired: supported above 0, refuted below.",
        sentence=f"Return by episodes: {shown}. Rates chosen: {_rates(records[name])}.",
    )


def _curve(records: Mapping[str, Records], name: str, group: int, steps: int) -> str:
    return ", ".join(f"{n} {mean_at(records, name, f'adapted@{n}_test')}" for n in range(0, group * steps + 1, group))


def _headroom(records: Mapping[str, Records], method: str) -> Verdict:
    name = arm(method)
    room = mean_interval(records[name].at("best_master_test", -1) - records[name].at("adapted@0_test", -1))
    part = mean_of_found(records[name].at("best_master_test", -1))
    return Verdict(
        f"{title(method)}: no master could earn a tenth more with the learned sub-policies.",
        "supported" if below(mean_interval(room_of(records, name)), 0.0) == "supported" else "undecided",
        *room,
        rule="an upper bound on what a master can earn that knows the type less the return with held-out types: "
        "supported where that less a tenth of the return is below 0, else undecided, as a bound proves no more.",
        sentence=f"At most {number(part)} where {mean_at(records, name, 'adapted@0_test')} is earned.",
    )


def _visible(records: Mapping[str, Records]) -> Verdict:
    more = gain(records, "visible", arm("joint"), "reward_train")
    return Verdict(
        "A master that sees the type earns more on train types than one that does not.",
        above(more, 0.0),
        *more,
        rule="return of joint training with the type visible to the master less without, paired: supported above 0, "
        "refuted below.",
        sentence=f"{mean_at(records, 'visible', 'reward_train')} and {mean_at(records, arm('joint'), 'reward_train')}; "
        f"dominant share {mean_at(records, 'visible', SHARE)}, information of type and option "
        f"{mean_at(records, 'visible', 'information_type', '.3f')}.",
    )


def _own_policies(records: Mapping[str, Records]) -> Verdict:
    own = np.stack([records[f"only_{name}"].at("reward_train", -1) for name in NAMED]).mean(0)
    more = mean_interval(own - records[arm("maml")].at(TRAIN, -1))
    meta = arm("maml")
    each = ", ".join(
        f"{name} {mean_at(records, f'only_{name}', 'reward_train')} ({mean_at(records, meta, f'adapted_prompt_{k}')})"
        for k, name in enumerate(NAMED)
    )
    return Verdict(
        "Policies of their own from scratch earn more with the named types than adapted MAML.",
        above(more, 0.0),
        *more,
        rule="mean return of three policies, each trained with one type for all the episodes, less adapted MAML's on "
        "these types, paired: supported above 0, refuted below.",
        sentence=f"Own policy (adapted MAML): {each}.",
    )


def _of_condition(records: Mapping[str, Records], condition: str) -> list[Verdict]:
    methods = present(records, condition)
    found = []
    if "joint" in methods:
        found.append(_one_option(records, condition, "joint"))
    if "maml" in methods:
        found.append(_second_half(records, condition))
    if "bonus" in methods:
        found.append(_bonus_helps(records, condition))
        if "maml" in methods:
            found.append(_rival(records, "bonus", condition))
    return found


def _one_option(records: Mapping[str, Records], condition: str, method: str) -> Verdict:
    share, tells = collapses(records, condition, method)
    return Verdict(
        f"{share.claim[:-1]}, whatever the type.",
        all_of([share.outcome, tells.outcome]),
        *(share.estimate, share.low, share.high, share.n),
        rule="the first half of the claim, both parts; shown is the dominant share.",
        sentence=f"{share.sentence} Information {tells.sentence}",
    )


def _second_half(records: Mapping[str, Records], condition: str) -> Verdict:
    parts = prevents(records, condition)
    outcomes: list[Outcome] = [part.outcome for part in parts]
    earned = parts[-1]
    return Verdict(
        f"{opening(condition)}MAML keeps the master variable, tells types apart and earns more.",
        all_of(outcomes),
        *(earned.estimate, earned.low, earned.high, earned.n),
        rule="the second half of the claim, all three parts; shown is the gain in return.",
        sentence=f"Variable: {outcomes[0]}, differs: {outcomes[1]}, earns more: {outcomes[2]}. "
        + " ".join(part.sentence for part in parts),
    )


def _bonus_helps(records: Mapping[str, Records], condition: str) -> Verdict:
    mine, plain = arm("bonus", condition), arm("joint", condition)
    more = gain(records, mine, plain)
    share = f"adapted_{SHARE}_train"
    return Verdict(
        f"{opening(condition)}The entropy bonus on the master pays.",
        above(more, 0.0),
        *more,
        rule="adapted return with held-out types, with the bonus less without, paired: supported above 0, refuted "
        "below.",
        sentence=f"Return {mean_at(records, mine, TEST)} and {mean_at(records, plain, TEST)}, dominant share "
        f"{mean_at(records, mine, share)} and {mean_at(records, plain, share)}.",
    )


def _critic_earns(records: Mapping[str, Records]) -> Verdict:
    more = gain(records, arm("soft"), arm("joint"))
    return Verdict(
        "Soft actor-critic earns more than policy gradient.",
        above(more, 0.0),
        *more,
        rule="adapted return with held-out types, soft actor-critic's less joint training's, paired: supported above "
        "0, refuted below.",
        sentence=f"Return {mean_at(records, arm('soft'), TEST)} and {mean_at(records, arm('joint'), TEST)}; before "
        f"adaptation {mean_at(records, arm('soft'), 'adapted@0_test')} and "
        f"{mean_at(records, arm('joint'), 'adapted@0_test')}. Rates {_rates(records[arm('soft')])}. Critics, target of "
        "entropy and old episodes are not told apart.",
    )
