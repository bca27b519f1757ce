"""The parts of ``dialogue_collapse``'s claim, in any of its conditions."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from toybed.benchmarks.dialogue_collapse_measures import ARGMAX, SHARE, TEST, TRAIN, gain, information, mean_at
from toybed.benchmarks.dialogue_collapse_sweep import CONDITIONS, METHODS, arm
from toybed.stats import mean_interval, mean_of_found
from toybed.study import Records, Verdict, above, all_of, below, number

DOMINANT = 0.8  # share of one option
TELLS_TYPES = 0.05  # nats, of at most log 3 = 1.10
LESS = 0.2  # of the dominant share


def present(records: Mapping[str, Records], condition: str = "main") -> list[str]:
    """The methods that were tried in a condition."""
    return [method for method in METHODS if arm(method, condition) in records]


def collapses(records: Mapping[str, Records], condition: str, method: str = "joint") -> list[Verdict]:
    """The two parts of the first half, of a method."""
    name, where = arm(method, condition), opening(condition)
    sampled, sure = (mean_interval(records[name].at(measure, -1)) for measure in (SHARE, ARGMAX))
    tells = mean_interval(records[name].at("information_type", -1))
    return [
        Verdict(
            f"{where}{title(method)}: the master takes one dominant option.",
            all_of([above(sampled, DOMINANT), above(sure, DOMINANT)]),
            *min(sampled, sure, key=lambda interval: np.nan_to_num(interval.estimate, nan=np.inf)),
            rule=f"dominant share before adaptation, sampled and by argmax: supported if both are above {DOMINANT:g}, "
            "refuted if one is below; shown is the smaller.",
            sentence=f"Sampled {number(sampled.estimate)}, argmax {number(sure.estimate)}; runs: "
            f"{_runs(records, name)}; return {mean_at(records, name, 'reward_train')} on train types.",
        ),
        Verdict(
            f"{where}{title(method)}: it does so whatever the user's type.",
            below(tells, TELLS_TYPES),
            *tells,
            rule=f"information of type and option before adaptation, nats: supported below {TELLS_TYPES:g}, refuted "
            "above.",
            sentence=f"{number(tells.estimate, '.3f')} nats; of what the master sees and its option "
            f"{mean_at(records, name, 'information_state')}.",
        ),
    ]


def title(method: str) -> str:
    """A method at the start of a sentence."""
    return METHODS[method][0].upper() + METHODS[method][1:]


def _runs(records: Mapping[str, Records], name: str) -> str:
    """Each run's dominant share."""
    return " ".join(number(share) for share in records[name].at(SHARE, -1))


def opening(condition: str) -> str:
    """A condition before a claim; nothing for the main one."""
    return f"{CONDITIONS[condition][0]}. " if CONDITIONS[condition][0] else ""


def prevents(records: Mapping[str, Records], condition: str, other: str = "joint/main") -> list[Verdict]:
    """The three parts of the second half."""
    mine, theirs = arm("maml", condition), arm("joint", condition)
    theirs = theirs if theirs in records else other
    where, share = opening(condition), f"adapted_{SHARE}_train"
    less = gain(records, theirs, mine, share)
    more = mean_interval(information(records, mine) - information(records, theirs))
    earned = gain(records, mine, theirs)
    return [
        Verdict(
            f"{where}MAML keeps the adapted master variable.",
            above(less, LESS),
            *less,
            rule="adapted dominant share of joint training less MAML's, train types, paired: supported above "
            f"{LESS:g}, refuted below.",
            sentence=f"MAML {mean_at(records, mine, share)}, joint training {mean_at(records, theirs, share)} (argmax "
            f"{mean_at(records, mine, f'adapted_{ARGMAX}_train')} and "
            f"{mean_at(records, theirs, f'adapted_{ARGMAX}_train')}); MAML before adaptation: {_runs(records, mine)}.",
        ),
        Verdict(
            f"{where}With MAML the adapted master differs more between types.",
            above(more, 0.0),
            *more,
            rule="information of type and option in adapted policies, less luck's, MAML's less joint training's, nats, "
            "paired: supported above 0, refuted below.",
            sentence=f"MAML {number(mean_of_found(information(records, mine)), '.3f')}, joint training "
            f"{number(mean_of_found(information(records, theirs)), '.3f')} nats.",
        ),
        Verdict(
            f"{where}Adapted MAML earns more than the adapted joint policy with held-out types.",
            above(earned, 0.0),
            *earned,
            rule="adapted return with held-out types, MAML's less joint training's, paired: supported above 0, refuted "
            "below.",
            sentence=f"MAML {mean_at(records, mine, TEST)}, joint training {mean_at(records, theirs, TEST)}; with "
            f"train types {mean_at(records, mine, TRAIN)} and {mean_at(records, theirs, TRAIN)}.",
        ),
    ]
