"""What ``belief_shortcuts`` judges beside its claim: published findings, held-out orders, rules, and the probe."""

from __future__ import annotations

from collections.abc import Mapping

from toybed.benchmarks.belief_shortcuts_measures import all_sizes, every, listed, rule_of, sizes_of
from toybed.benchmarks.belief_sweep import ACCURACY, SEPARABLE, gain
from toybed.stats import mean_of_found
from toybed.study import Records, Verdict, number

HELD_OUT = 0.5  # separable accuracy on orders 3 and 4 above which tracking goes on to them
MATCHES = -0.02  # accuracy of SFT less that of RL, above which it is no worse
FLATTERS = 0.2  # accuracy on false-belief questions above that on separable ones
FOLLOWS = 0.9  # agreement with a rule


def beside(records: Mapping[str, Records]) -> list[Verdict]:
    """All of them."""
    return [
        _at_the_smallest(records),
        _more_than_sft(records),
        _everywhere(records),
        *_sft_matches(records),
        _held_out(records),
        _follows_a_rule(records),
        _false_beliefs(records),
        *_probe(records),
    ]


def _ends(records: Mapping[str, Records], place: int) -> list[str]:
    return [sizes[place] for sizes in sizes_of(records).values()]


def _at_the_smallest(records: Mapping[str, Records]) -> Verdict:
    return every(
        {size: gain(records[f"{size}/sft_rl"], records[f"{size}/short"], SEPARABLE) for size in _ends(records, 0)},
        "RL after SFT raises the separable accuracy of the smallest policies, too.",
        0.0,
        over=True,
        what="separable accuracy after RL less that at its start, paired, of the smallest of each network",
    )


def _more_than_sft(records: Mapping[str, Records]) -> Verdict:
    return every(
        {size: gain(records[f"{size}/sft_rl"], records[f"{size}/sft"], SEPARABLE) for size in _ends(records, -1)},
        "RL after SFT brings the largest policies further than as many more steps of SFT.",
        0.0,
        over=True,
        what="separable accuracy of SFT then RL less that of SFT, from one start, paired, of the largest of each "
        "network",
    )


def _everywhere(records: Mapping[str, Records]) -> Verdict:
    return every(
        {size: gain(records[f"{size}/sft_rl"], records[f"{size}/short"], ACCURACY) for size in all_sizes(records)},
        "RL raises accuracy on belief questions at every capacity.",
        0.0,
        over=True,
        what="accuracy on natural questions of the trained orders after RL less that of the policy that it started "
        "from, paired, at every size",
    )


def _sft_matches(records: Mapping[str, Records]) -> list[Verdict]:
    return [
        every(
            {size: gain(records[f"{size}/sft"], records[f"{size}/{regime}"], ACCURACY) for size in all_sizes(records)},
            f"SFT on answers matches {name} in accuracy at every capacity.",
            MATCHES,
            over=True,
            what=f"accuracy of SFT on natural questions of the trained orders less that of {name}, after as many "
            "updates, paired, at every size",
        )
        for regime, name in (("sft_rl", "SFT then RL"), ("rl", "RL from scratch"))
    ]


def _held_out(records: Mapping[str, Records]) -> Verdict:
    sizes = _ends(records, -1)
    return every(
        {size: records[f"{size}/sft"].at("separable_held_out", -1) for size in sizes},
        "What the largest policies learned by SFT goes on to orders that were not trained.",
        HELD_OUT,
        over=True,
        what="accuracy on directed questions of orders 3 and 4 after SFT, of the largest of each network",
        more=f" On natural ones: {listed(records, 'sft', 'accuracy_held_out')}.",
    )


def _follows_a_rule(records: Mapping[str, Records]) -> Verdict:
    rules = {size: rule_of(records[f"{size}/rl"]) for size in all_sizes(records)}
    told = ", ".join(f"{size} {rule} ({number(share)})" for size, (rule, share) in rules.items())
    return every(
        {size: records[f"{size}/rl"].at(f"agreement_{rules[size][0]}", -1) for size in _ends(records, -1)},
        "After RL from scratch the answers of the largest policies are those of one named rule.",
        FOLLOWS,
        over=True,
        what="agreement with the rule that answers agree with most, on natural and directed questions of the trained "
        "orders, of the largest of each network",
        more=f" The rule by size: {told}. Agreement of SFT on directed questions with first_departure: "
        f"{listed(records, 'sft', 'agreement_first_departure_directed')}.",
    )


def _false_beliefs(records: Mapping[str, Records]) -> Verdict:
    return every(
        {
            size: records[f"{size}/rl"].at("false_trained", -1) - records[f"{size}/rl"].at(SEPARABLE, -1)
            for size in _ends(records, -1)
        },
        "Accuracy on false-belief questions flatters a shortcut.",
        FLATTERS,
        over=True,
        what="accuracy on natural false-belief questions less that on separable ones, after RL from scratch, of the "
        "largest of each network",
        more=f" False-belief accuracy by size: {listed(records, 'rl', 'false_trained')}.",
    )


def _probe(records: Mapping[str, Records]) -> list[Verdict]:
    sizes = _ends(records, -1)
    runs = {size: records[f"{size}/rl"] for size in sizes}
    untrained = ", ".join(f"{size} {number(mean_of_found(runs[size].at('probe_directed', 0)))}" for size in sizes)
    return [
        every(
            {size: run.at("probe_directed", -1) - run.at(SEPARABLE, -1) for size, run in runs.items()},
            "After RL from scratch the hidden state knows beliefs that the answer does not use.",
            0.0,
            over=True,
            what="accuracy on directed questions of a linear map of the last hidden state, fitted to other directed "
            "questions, less that of the answer, of the largest of each network",
            more=f" Fitted to train stories: {listed(records, 'rl', 'probe_separable')}.",
        ),
        every(
            {size: run.at("probe_directed", -1) - run.at("probe_directed", 0) for size, run in runs.items()},
            "RL from scratch puts beliefs into the hidden state that were not there before.",
            0.0,
            over=True,
            what="accuracy of that map after RL less that of the untrained network, paired, of the largest of each "
            "network",
            more=f" Untrained: {untrained}. After SFT: {listed(records, 'sft', 'probe_directed')}.",
        ),
    ]
