"""Does reward still rise with entropy held at its start?

Question
    Controllers promise to hold entropy at a level that is given. Which do, in a network and not in a bandit? And where
    it is held at its start: does held-out reward rise all the same, how much of GRPO's gain is left, and is what is
    held breadth?
Claim
    A controller holds entropy at its starting level through training, and held-out reward still rises: reward need not
    be paid in entropy.
Source
    arXiv 2511.05993 (AIME24 rises with entropy held at or above its level before RL; from its abstract), arXiv
    2511.15248 (EntroPIC) and arXiv 2604.26326 (Entrocraft): entropy held at a level; arXiv 2507.14843: token entropy
    may rise while the entropy of answers falls.
Sweep
    ChainReach (m = 61, 30 % of the prompts), a supervised base for each seed, batches of 16 prompts with 8 responses,
    cut into four, so that clips see stale updates. GRPO without control; eleven objectives with a controller, each
    with its target at the entropy of its first batch and its other options as in the catalogue, AEPO and SCOPE-RL also
    with all groups tempered (thirteen arms); the one that holds best in a bandit, TRL's adaptive bonus (the lead, named
    before the first run), also at 0.75 and 0.5 of the start; a fixed entropy bonus, of seven that one which stays
    nearest to the start, chosen on seeds of its own. One learning rate for all. Check: the lead and GRPO with tables in
    ToolSearch.
Measure
    Exact entropy in nats per token over own rollouts on train prompts, as a share of its start; exact held-out pass@1,
    pass@256, coverage@256, and the expected number of different right and wrong responses among 256. A response has a
    fixed number of tokens, so that in ChainReach the sum of the tokens' entropies *is* the entropy of the response
    given its prompt: it cannot be held while that narrows, but the right responses among them can narrow.
Rule of judgement
    Written before the first run. 95 % intervals over seeds. The claim has three parts, all of the lead: its mean
    absolute distance from the target over the second half is below 0.1 of the first entropy; it is smaller than GRPO's,
    paired; and held-out reward at the end less that at the start is above 0, in the runs that are held at or above
    their start (mean shortfall over the second half at most 0.05 of the first entropy). Beside it: the same for every
    controller and for the bonus; the share of GRPO's gain that is left (above 0.9: nothing is paid); held-out pass@256
    and coverage@256 against GRPO (above 0); entropy on held-out prompts held (distance below 0.1); different right
    responses not narrowed (end over start less 1, above -0.1); the lead nearer to its target than the bonus, and its
    reward higher; each lower target held, and its reward above that with the higher one; the check.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from toybed.benchmarks.held_entropy_figure import figure
from toybed.benchmarks.held_entropy_measures import (
    HELD,
    SHORT,
    beyond,
    course,
    distance,
    gain_held,
    held,
    shares,
)
from toybed.benchmarks.held_entropy_sweep import (
    BONUS,
    CONTROLLERS,
    LEAD,
    LOWER,
    NONE,
    SEARCH,
    arms,
    candidates,
    final,
)
from toybed.stats import mean_interval, mean_of_found
from toybed.study import Records, Study, Tuning, Verdict, above, below, headline, number, register

PAID = 0.9  # of GRPO's gain: with more than this left nothing is paid
NARROWED = -0.1  # relative change of the number of different right responses

CLAIM = (
    "A controller holds entropy at its starting level through training, and held-out reward still rises: reward need "
    "not be paid in entropy."
)
RULE = "refuted if one of the first three parts is refuted, supported if all three are, else undecided"
AMENDMENTS = (
    "The first run, of the quick size, started from a base with 120 supervised steps: nearly uniform (2.00 of 2.08 "
    "nats), so that GRPO itself learned nothing and lost 4 % of its entropy, and nothing was put to the test. The "
    "quick size has the standard base now, a higher rate and two bonuses in the place of seven. After a look at GRPO "
    "alone on other seeds the standard size got 200 updates and not 120, so that GRPO loses more than a third of its "
    "entropy, and 5 seeds and not 6, to stay as short as it was. No rule or threshold was changed.",
)


def judge(records: Mapping[str, Records]) -> tuple[Verdict, list[Verdict]]:
    """The whole answer; the lead's three parts; what is paid and what is held; the rivals; the check."""
    claim = [_holds(records, LEAD), _nearer(records, LEAD, NONE), _learns(records, LEAD)]
    left = _left(records, LEAD)
    holding = [title(name) for name in _present(records) if _holds(records, name).outcome == "supported"]
    verdict = headline(
        CLAIM,
        parts=claim,
        shown=claim[2],
        rule=RULE,
        sentence=(
            f"{title(LEAD)} stays within {number(claim[0].estimate, '.3f')} of the first entropy; held-out reward "
            f"changes by {number(claim[2].estimate, '+.3f')}, {number(left.estimate)} of GRPO's gain. Of "
            f"{len(_present(records))} controllers {len(holding)} hold: {', '.join(holding) or 'none'}."
        ),
        records=records,
    )
    beside = [left, *_breadth(records), *_bonus(records), *_lower(records)]
    ranking = [part(records, name) for name in _present(records) if name != LEAD for part in (_holds, _learns)]
    return verdict, [*claim, *beside, *ranking, *_check(records)]


def title(name: str) -> str:
    """An arm in words."""
    if name in CONTROLLERS:
        return CONTROLLERS[name].title
    named = {NONE: "GRPO", BONUS: "The fixed bonus", **{arm: f"{title(LEAD)} at {t:g}" for arm, t in LOWER.items()}}
    return named.get(name) or f"In ToolSearch {title({arm: own for own, arm in SEARCH.items()}[name])}"


def _present(records: Mapping[str, Records]) -> list[str]:
    return [name for name in CONTROLLERS if name in records]


def _holds(records: Mapping[str, Records], name: str) -> Verdict:
    target = LOWER.get(name, 1.0)
    found = records[name]
    interval = mean_interval(distance(found, target))
    level = mean_of_found(course(found).mean(1))
    end = mean_of_found(course(found)[:, -1])
    return Verdict(
        f"{title(name)} holds entropy at {target:g} of its start.",
        below(interval, HELD),
        *interval,
        rule="mean absolute distance from the target over the second half, as a share of the first entropy: supported "
        f"below {HELD:g}, refuted above.",
        sentence=f"Entropy is {number(level, '.3f')} of its start over the second half and {number(end, '.3f')} at "
        f"the end; {int(held(found).sum())} of {len(found.sound)} runs are held at or above their start.",
    )


def _nearer(records: Mapping[str, Records], name: str, rival: str) -> Verdict:
    own, other = distance(records[name]), distance(records[rival])
    interval = mean_interval(own - other)
    return Verdict(
        f"{title(name)} stays nearer to the start than {title(rival)}.",
        below(interval, 0.0),
        *interval,
        rule="distance less that of the other, paired: supported below 0, refuted above.",
        sentence=f"{number(mean_of_found(own), '.3f')} against {number(mean_of_found(other), '.3f')} of the first "
        "entropy.",
    )


def _learns(records: Mapping[str, Records], name: str) -> Verdict:
    found = records[name]
    interval = mean_interval(gain_held(found))
    first, last = (mean_of_found(found.at("reward_test", place)) for place in (0, -1))
    return Verdict(
        f"{title(name)}: held-out reward rises where entropy is held at or above its start.",
        above(interval, 0.0),
        *interval,
        rule="held-out pass@1 at the end less that at the start, in runs whose mean shortfall of entropy over the "
        f"second half is at most {SHORT:g} of its start: supported above 0, refuted below.",
        sentence=f"{int(held(found).sum())} of {len(found.sound)} runs are held. Over all runs pass@1 goes from "
        f"{number(first, '.3f')} to {number(last, '.3f')}{_worth(records, name)}",
    )


def _worth(records: Mapping[str, Records], name: str) -> str:
    if name in SEARCH.values():
        return "."
    share, many, cover = (
        mean_of_found(values)
        for values in (
            shares(records[name], records[NONE]),
            beyond(records, name, "pass@256_test"),
            beyond(records, name, "coverage@256_test"),
        )
    )
    return (
        f", {number(share)} of GRPO's gain; against GRPO pass@256 {number(many, '+.4f')}, coverage@256 "
        f"{number(cover, '+.3f')}."
    )


def _left(records: Mapping[str, Records], name: str, none: str = NONE) -> Verdict:
    interval = mean_interval(shares(records[name], records[none]))
    own, whole = (mean_of_found(records[arm].at("reward_test", -1)) for arm in (name, none))
    return Verdict(
        f"{title(name)} pays nothing: more than {PAID:g} of GRPO's gain is left.",
        above(interval, PAID),
        *interval,
        rule=f"gain in held-out pass@1 as a share of GRPO's, paired: supported above {PAID:g}, refuted below.",
        sentence=f"Held-out pass@1 ends at {number(own, '.3f')}, that of GRPO at {number(whole, '.3f')}.",
    )


def _breadth(records: Mapping[str, Records]) -> list[Verdict]:
    """What is held by the lead: breadth against GRPO, entropy elsewhere, right responses."""
    found = records[LEAD]
    elsewhere = mean_interval(distance(found, split="test"))
    start, end = (found.at("distinct_right@256_test", place) for place in (0, -1))
    wrong = [mean_of_found(found.at("distinct_wrong@256_test", place)) for place in (0, -1)]
    right = mean_interval(end / start - 1)
    return [
        *(_higher(records, LEAD, NONE, measure) for measure in ("pass@256_test", "coverage@256_test")),
        Verdict(
            f"{title(LEAD)} holds entropy on held-out prompts, too.",
            below(elsewhere, HELD),
            *elsewhere,
            rule=f"as on train prompts: supported below {HELD:g}, refuted above.",
            sentence=f"It is {number(mean_of_found(course(found, 'test').mean(1)), '.3f')} of its start there.",
        ),
        Verdict(
            f"{title(LEAD)}: the right responses do not narrow while entropy is held.",
            above(right, NARROWED),
            *right,
            rule="expected number of different right responses among 256 on held-out prompts, end over start less 1: "
            f"supported above {NARROWED:g}, refuted below.",
            sentence=f"{number(mean_of_found(start), '.1f')} to {number(mean_of_found(end), '.1f')} right ones, "
            f"{number(wrong[0], '.1f')} to {number(wrong[1], '.1f')} wrong ones; GRPO ends with "
            f"{number(mean_of_found(records[NONE].at('distinct_right@256_test', -1)), '.1f')} right ones.",
        ),
    ]


MEASURED = {"pass@256_test": "pass@256", "coverage@256_test": "coverage@256", "reward_test": "pass@1"}


def _higher(records: Mapping[str, Records], name: str, rival: str, measure: str) -> Verdict:
    interval = mean_interval(beyond(records, name, measure, rival))
    own, other = (mean_of_found(records[arm].at(measure, -1)) for arm in (name, rival))
    return Verdict(
        f"{title(name)} ends with more held-out {MEASURED[measure]} than {title(rival)}.",
        above(interval, 0.0),
        *interval,
        rule="difference at the end, paired: supported above 0, refuted below.",
        sentence=f"{number(own, '.4f')} against {number(other, '.4f')}.",
    )


def _bonus(records: Mapping[str, Records]) -> list[Verdict]:
    """Is it the controller, or just the bonus that it switches?"""
    if BONUS not in records:
        return []
    return [
        _holds(records, BONUS),
        _learns(records, BONUS),
        _nearer(records, LEAD, BONUS),
        _higher(records, LEAD, BONUS, "reward_test"),
    ]


def _lower(records: Mapping[str, Records]) -> list[Verdict]:
    names = [LEAD, *LOWER]
    return [
        part
        for higher, name in pairwise(names)
        for part in (_holds(records, name), _left(records, name), _higher(records, name, higher, "reward_test"))
    ]


def _check(records: Mapping[str, Records]) -> list[Verdict]:
    """The lead in ToolSearch."""
    none, lead = SEARCH[NONE], SEARCH[LEAD]
    if lead not in records:
        return []
    return [_holds(records, lead), _learns(records, lead), _left(records, lead, none)]


STUDY = register(
    Study(
        name="held_entropy",
        question="Does reward still rise with entropy held at its start?",
        claim=CLAIM,
        source="arXiv 2511.05993, 2511.15248, 2604.26326",
        rule=RULE,
        amendments=AMENDMENTS,
        arms=arms,
        seeds={"quick": 3, "standard": 5, "full": 20},
        judge=judge,
        figure=figure,
        caption=(
            "Left: entropy along training as a share of its start, mean over seeds. Middle: held-out pass@1. Right: "
            "what each ends with, entropy over the second half against held-out pass@1, with 95 % intervals; the band "
            "is what counts as held."
        ),
        tuning=Tuning(
            candidates=candidates,
            seeds={"quick": 1, "standard": 3, "full": 6},
            score=lambda records: -distance(records),
            final=final,
        ),
    )
)
