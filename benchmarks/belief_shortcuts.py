"""Is there a capacity threshold between a shortcut and belief tracking, under SFT and under RL?

Question
    Do small networks answer belief questions by a rule and large ones by following beliefs; where between them does it
    change, and is it the same whether they are trained on right answers or by RL on their own?
Claim
    Between shortcut and tracking there is a capacity threshold under SFT; RL from scratch stays with a shortcut at
    every size, and RL after SFT brings large policies further towards tracking.
Source
    arXiv 2504.01698 (RL on belief questions from 0.5B to 7B; read in its abstract and table): accuracy rises at every
    size, and SFT on answers matches RL. arXiv 2507.15788 and 2606.09092 (abstracts): small models fit a data set's
    statistics, and a shortcut may reach 99 %.
Sweep
    BeliefTrack with 6 events and 4 containers; orders 1 and 2 are trained, half of the train questions ask for a false
    belief, and 5 to 8 % are separable as it comes out. GRU of six widths, transformer of six sizes; each under SFT on
    right answers, RL (GRPO, answers only) from scratch, and RL from where a short SFT ends, all after as many updates
    of 256 questions. The short SFT of a size ends where it answers 0.85 of natural questions of the trained orders, as
    seen on seeds 1000 and 1001; one that has not got there after 600 steps (all but the GRU of 64) goes on from there.
Measure
    Separable accuracy: directed questions of the trained orders. They come in pairs about one story with different
    answers, so that what does not read the names is right in half at most. One rule reads all names and forgets only
    who comes back (first_departure): of these it answers nearly all, so that what is called tracking here is at least
    that rule, and not more. Agreement with each rule; accuracy by order and class; a linear probe of the belief in the
    hidden state, for directed questions fitted to other stories.
Rule of judgement
    Written before the first run. 95 % intervals over seeds; each part is supported where every named network lies on
    the claimed side of its threshold, refuted where one lies on the other. (1) SFT, smallest of each network: separable
    accuracy below 0.5; (2) SFT, largest: above 0.9; (3) RL from scratch, every size: below 0.5; (4) RL after SFT,
    largest: above its start; (5) under SFT one step between adjacent sizes carries more than half of the rise from
    smallest to largest. As a whole: refuted if one of the five is refuted, supported if all are, else undecided.
    Beside it: (4) at the smallest, and against as many more steps of SFT; accuracy rises with RL at every size; SFT is
    no more than 0.02 behind RL; orders 3 and 4 above 0.5; RL's answers agree above 0.9 with one named rule; accuracy on
    false beliefs is more than 0.2 above that on separable ones; the hidden state knows more than the answer says, and
    more than before training.
    What was changed after a result had been seen stands in AMENDMENTS, and in every report.
"""

from __future__ import annotations

from collections.abc import Mapping

from toybed.benchmarks.belief_shortcuts_beside import beside
from toybed.benchmarks.belief_shortcuts_figure import figure
from toybed.benchmarks.belief_shortcuts_measures import (
    LEAST_RISE,
    REGIMES,
    every,
    largest_step,
    listed,
    over_sizes,
    sizes_of,
    step_share,
)
from toybed.benchmarks.belief_shortcuts_sweep import arms
from toybed.benchmarks.belief_sweep import SEPARABLE, SHORTCUT, TRACKS, end, gain
from toybed.study import Records, Study, Verdict, headline, register

HALF = 0.5  # of the rise over all sizes

CLAIM = (
    "Between shortcut and tracking there is a capacity threshold under SFT; RL from scratch stays with a shortcut at "
    "every size, and RL after SFT brings large policies further towards tracking."
)
RULE = "refuted if one of the five deciding parts refutes it, supported if all support it, else undecided"
AMENDMENTS: tuple[str, ...] = ()


def judge(records: Mapping[str, Records]) -> tuple[Verdict, list[Verdict]]:
    """The whole answer and its parts."""
    scratch = _rl_from_scratch(records)
    deciding = [_small_sft(records), _large_sft(records), scratch, _rl_after_sft(records), _threshold(records)]
    verdict = headline(
        CLAIM,
        parts=deciding,
        shown=scratch,
        rule=RULE,
        sentence="Separable accuracy by size. "
        + " ".join(f"{label}: {listed(records, regime)}." for regime, label in REGIMES.items()),
        records=records,
    )
    return verdict, deciding + beside(records)


# -- the parts that decide ------------------------------------------------------------------------------------------
def _small_sft(records: Mapping[str, Records]) -> Verdict:
    found = {sizes[0]: end(records[f"{sizes[0]}/sft"], SEPARABLE) for sizes in sizes_of(records).values()}
    return every(
        found,
        "Under SFT the smallest policies answer by a shortcut.",
        SHORTCUT,
        over=False,
        what="separable accuracy of the smallest of each network",
    )


def _large_sft(records: Mapping[str, Records]) -> Verdict:
    found = {sizes[-1]: end(records[f"{sizes[-1]}/sft"], SEPARABLE) for sizes in sizes_of(records).values()}
    return every(
        found,
        "Under SFT the largest policies track beliefs.",
        TRACKS,
        over=True,
        what="separable accuracy of the largest of each network",
    )


def _rl_from_scratch(records: Mapping[str, Records]) -> Verdict:
    sizes = [size for group in sizes_of(records).values() for size in group]
    return every(
        {size: end(records[f"{size}/rl"], SEPARABLE) for size in sizes},
        "RL from scratch ends in a shortcut at every size.",
        SHORTCUT,
        over=False,
        what=f"separable accuracy of each of the {len(sizes)} sizes",
    )


def _rl_after_sft(records: Mapping[str, Records]) -> Verdict:
    found = {
        sizes[-1]: gain(records[f"{sizes[-1]}/sft_rl"], records[f"{sizes[-1]}/short"], SEPARABLE)
        for sizes in sizes_of(records).values()
    }
    return every(
        found,
        "RL after SFT raises the separable accuracy of the largest policies above where SFT left it.",
        0.0,
        over=True,
        what="separable accuracy after RL less that at its start, paired, of the largest of each network",
    )


def _threshold(records: Mapping[str, Records]) -> Verdict:
    found, where = {}, []
    for network, sizes in sizes_of(records).items():
        values = over_sizes(records, sizes, "sft")
        found[network] = step_share(values)
        where.append(f"{network} from {' to '.join(largest_step(values, sizes))}")
    return every(
        found,
        "Under SFT one step between adjacent sizes carries more than half of the rise.",
        HALF,
        over=True,
        what="share of the rise of separable accuracy, smallest to largest, in the step that is the largest in the "
        f"other seeds, of each network (no value where the rise is no more than {LEAST_RISE:g})",
        more=f" The largest step: {', '.join(where)}.",
    )


STUDY = register(
    Study(
        name="belief_shortcuts",
        question="Is there a capacity threshold between a shortcut and belief tracking, under SFT and under RL?",
        claim=CLAIM,
        source="arXiv 2504.01698; arXiv 2507.15788; arXiv 2606.09092",
        rule=RULE,
        amendments=AMENDMENTS,
        arms=arms,
        seeds={"quick": 3, "standard": 3, "full": 8},
        judge=judge,
        figure=figure,
        caption=(
            "A row for each network. Left: right answers to separable questions over size, by how it was trained. "
            "Middle: the same against agreement with common ground, the last place that all have seen; larger dots are "
            "larger networks. Right: what a linear map of the hidden state knows (solid) and what is answered (dashed)."
        ),
    )
)
