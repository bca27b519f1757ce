"""Is there a capacity threshold between a shortcut and belief tracking, under SFT and under RL?

Question
    Where does A think that B thinks the object is? A policy that answers may track who saw what, or follow a rule that
    pays nearly as well. Which of the two is it, at which size, and does that depend on SFT or RL?
Claim
    Between shortcut and tracking there is a capacity threshold under SFT; RL from scratch stays with a shortcut at
    every size, and RL after SFT brings large policies further towards tracking.
Source
    arXiv 2504.01698: RL on answers raises accuracy at every size from 0.5B to 7B, and SFT matches it. arXiv 2507.15788:
    what small models learn there does not carry over. arXiv 2606.09092: some of these data sets are answered by
    shortcuts, up to 99 %.
Sweep
    BeliefTrack (6 events, 4 agents, 4 containers, 131,072 train stories, half of the beliefs false), GRUs of 4 to 64
    units and transformers of 8x1 to 32x2 (width x layers). From one initialisation of each seed: SFT until natural
    questions of the trained orders are at about 0.85 (``short``; the most steps where a size does not get there), then
    as many updates of SFT (``sft``) or of GRPO on answers (``sft_rl``); and GRPO for all of these updates (``rl``).
    Steps and rate were chosen on seeds 1000 and 1001 by loss and accuracy on natural questions.
Measure
    Exactly, as answers are one token: accuracy on directed, *separable* questions of the trained orders, which come in
    pairs about one story so that no rule is right in more than half without reading the names; accuracy on natural
    ones; agreement with each named rule; and a linear probe of the belief in the hidden state, ``belief_probe``.
Rule of judgement
    Written before the first run of this file. 95 % intervals over seeds, paired where two arms are compared. Five parts
    decide, each for both networks; refuted if one refutes, supported if all support. A shortcut is below 0.5 on
    separable questions. Tracking is above 0.9 there *and* above 0.93 on natural ones: the rule "where it was when the
    first of those asked about left" (``first_departure``) answers all separable ones with 6 events, and 0.91 of
    natural ones. The intervals are over training seeds: there is one bank of stories. What was changed after a result
    had been seen stands in AMENDMENTS.
What a student should see
    Under SFT the GRU goes from 0.24 of the separable questions at 4 units to 0.53 at 32 and 0.85 at 64, which is more
    than any rule without names but short of tracking; half of the rise is in the last step. No transformer gets past
    0.35 in as many steps. RL from scratch follows common ground (0.97 to 0.99 of its answers at the largest GRUs): it
    is right on 0.95 of the false-belief questions and on 0.01 of the separable ones, so that false-belief accuracy
    says nothing of tracking. A probe of its hidden state reads no more belief than of an untrained network; after SFT
    it reads 0.92. RL after SFT is not better than more SFT. Three seeds and one bank of questions: many parts stay
    undecided, and small transformers under RL have hardly learned in this time.
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
from toybed.benchmarks.belief_sweep import ACCURACY, SEPARABLE, SHORTCUT, TRACKS, gain
from toybed.study import Records, Study, Verdict, headline, register

HALF = 0.5  # of the rise over all sizes
BEYOND_RULES = 0.93  # natural accuracy that no rule has which answers separable questions: first_departure has 0.91

CLAIM = (
    "Between shortcut and tracking there is a capacity threshold under SFT; RL from scratch stays with a shortcut at "
    "every size, and RL after SFT brings large policies further towards tracking."
)
RULE = "refuted if one of the five deciding parts refutes it, supported if all support it, else undecided"
AMENDMENTS = (
    "A first standard run, of 16,384 train stories, was stopped at three quarters and never looked at, when runs on "
    "other seeds had shown that networks learn so few stories by heart. Before the run that is shown there were more, "
    "tracking also asked for natural accuracy above 0.93, the transformers had a rate of 0.005 in "
    "the place of 0.003 and other sizes, of which none has 48 units.",
)


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
    found = {sizes[0]: records[f"{sizes[0]}/sft"].at(SEPARABLE, -1) for sizes in sizes_of(records).values()}
    return every(
        found,
        "Under SFT the smallest policies answer by a shortcut.",
        SHORTCUT,
        over=False,
        what="separable accuracy of the smallest of each network",
    )


def _large_sft(records: Mapping[str, Records]) -> Verdict:
    found = {
        f"{sizes[-1]} {name}": records[f"{sizes[-1]}/sft"].at(measure, -1) - least
        for sizes in sizes_of(records).values()
        for name, measure, least in (("separable", SEPARABLE, TRACKS), ("natural", ACCURACY, BEYOND_RULES))
    }
    return every(
        found,
        "Under SFT the largest policies track beliefs.",
        0.0,
        over=True,
        what=f"separable accuracy less {TRACKS:g}, and natural accuracy less {BEYOND_RULES:g}, of the largest of each "
        "network",
    )


def _rl_from_scratch(records: Mapping[str, Records]) -> Verdict:
    sizes = [size for group in sizes_of(records).values() for size in group]
    return every(
        {size: records[f"{size}/rl"].at(SEPARABLE, -1) for size in sizes},
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
        caption="A row for each network. Left: accuracy on separable questions of the trained orders over size (points "
        "are runs). Middle: the same against agreement with common ground; a larger dot is a larger network. Right: "
        "what a linear map reads from the last hidden state (full lines), and what is answered (broken).",
    )
)
