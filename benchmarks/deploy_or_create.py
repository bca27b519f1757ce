"""Does RL create skills, or deploy those that the base has?

Question
    What RL gained: is it when to use which skill, or how to carry it out? How much of it does the base recover if it is
    told the plans, or steered by directions in its hidden units; and what of skills that it lacks altogether?
Claim
    RL teaches a base that executes well when to use its skills, not how: with RL's plans the base recovers most of the
    gain, as far as it executes right (q^D for D executions), and with RL's executions all but nothing; directions in
    its hidden units do as plans do. Where RL creates a skill that the base lacks altogether, no plan recovers it.
Source
    "Base models know how to reason, thinking models learn when", arXiv 2510.07364 (abstract, and notes on it): steering
    recovers up to 91 % of the gap between base and thinking model at 12 % of the tokens; 56 to 82 % in other pairs;
    and 13 to 14 of 21 points with untargeted vectors, too.
Sweep
    PlanExec; GRPO from bases whose demonstrator executes right with 0.75, 0.9, 0.95 and 0.97, in an MLP (shared
    parameters, what is judged) and in tables (a control). Bases that never plan three of their skills, and would
    execute them at random ("untried"). In a small world (2 stages, 7 values), where a guess is right often enough to be
    found out, tables and MLPs whose base plans the skill of hard types with 0.3, and knows it, or lacks it; or lacks
    three. And a base in tables that all but always plans its habit, where that is mostly right ("sharp").
Measure
    The share of RL's gain in success on held-out prompts that is recovered; all exact. The probe ``hybrids``: RL's
    plans carried out by the base, and the reverse; contexts handed to RL in the order of KL(RL || base), against the
    share of tokens that fall into them. The probe ``steering``: a direction for each skill, the mean difference of
    hidden units (RL less base) on problems of other types, added to the base's units where RL would plan that skill.
    Controls: random directions of the same norm, the same ones at shuffled places, one untargeted direction at every
    plan; each of these at its own best strength and layer, chosen on train prompts.
Rule of judgement
    Thresholds were set before the first run (for what trial runs changed see AMENDMENTS). Decided by 95 % intervals
    over seeds, each part on its own. MLPs: RL's plans recover above 0.85 at 0.97 and below 0.6 at 0.75; RL's executions
    below 0.1 at both; at every level the recovered share less q^D lies within 0.05 of 0, q being the base's measured
    execution; at 0.97 steering recovers above 0.5, and above each of the three controls by 0.1. Tables in the small
    world: on hard types, whose skill the base lacks, RL's plans recover below 0.5. The whole is refuted if one part is,
    supported if all are, else undecided. Beside it: tables; the first layer alone, the base's own gradient, and
    directions that stay on; whether 0.15 of the tokens recover 0.8; and whether RL creates anything.
    That what is recovered follows q^D, and that a skill executed at chance recovers next to nothing, follows from the
    world, where an execution does not see the problem; what is measured is how far training leaves q as it was.
    Steering is judged in the better of two layers. Intervals are over training seeds, in one drawn world.
    What was changed after a result had been seen stands in AMENDMENTS, and in every report.
What a student should see
    With RL's plans the base recovers 0.38, 0.71, 0.85 and 0.91 of the gain where it executes right with 0.75, 0.9,
    0.95 and 0.97; q^D says 0.40, 0.72, 0.85 and 0.90. With RL's executions it recovers 0.07 at 0.75 and 0.01 at
    0.97. So "RL teaches when" is a statement about the base: it is as true as the base executes well. Steered by a
    direction for each skill it recovers 0.82, with the gradient that it has by itself 0.91 (in the second layer,
    where a direction is a vector added to the logits), in the first layer 0.53, with a wide spread over seeds; at
    shuffled places, in random directions or in one direction for all 0.05 at most, and 0.06 where directions stay
    on while skills are carried out. A few tokens are not enough: 0.15 of them recover 0.53, for 0.8 it takes 0.40:
    here half of all tokens are plans, and how many they are in a language model is a matter of how long an
    execution is. Where tables learn a skill that the base lacks, its plans alone recover 0.02 on the problems that
    need it (0.94 if the base knows it). But where skills that the base lacks are never tried RL creates nothing,
    and all that it gains is deployment (0.91 recovered). Nor does a network create the skill that tables do, where
    it is tried; there ordinary problems push the same parameters, and four of six networks lose the hard problems
    even if their base knows the skill.
"""

from __future__ import annotations

from collections.abc import Mapping

from toybed.benchmarks import deploy_or_create_measures as measures
from toybed.benchmarks import deploy_or_create_parts as parts
from toybed.benchmarks.deploy_or_create_figure import figure
from toybed.benchmarks.deploy_or_create_sweep import BADLY, EXECUTIONS, WELL, arms, dial
from toybed.stats import mean_of_found
from toybed.study import Records, Study, Verdict, headline, number, register, tally

CLAIM = (
    "RL teaches a base that executes well when to use its skills, not how: with RL's plans, or steered by directions, "
    "it recovers most of the gain, as far as it executes right (q^D), and with RL's executions all but nothing; where "
    "RL creates a skill that the base lacks altogether, no plan recovers it."
)
RULE = (
    "refuted if one of its parts is (RL's plans, RL's executions and the law q^D in MLPs; steering at 0.97; the "
    "missing skill in tables), supported if all are, else undecided; shown is what RL's plans recover at 0.97"
)
AMENDMENTS = (
    "Trial runs on two seeds, which are among the judged ones, had been seen when the rule was written down. Its "
    "thresholds are older, but for the 0.1 by which steering has to beat its controls. They showed that shared "
    "parameters never solve hard types, whether the base knows their skill or lacks it. So creation is judged in "
    "tables, and in a small world, where a guess is right often enough to be found out; and on hard types alone, which "
    "need the missing skill: over all types what is recovered is a matter of how many of them are hard.",
    "In the trial the strengths of steering ended at 8 times the mean difference, and 8 was often the best; they end "
    "at 64 now. It had no choice of layer (the first recovered about 0.3, the second 0.8) and no gradient of the base.",
    "In the usual world half of all tokens are plans, so that few tokens cannot be enough. The sharp base, whose habit "
    "is mostly right, was added after that had been seen.",
    "The claim ended with 'a skill that it lacks altogether is created, and no plan recovers it'. No rule asked "
    "whether it is: in tables it is, in MLPs it is not, which stands beside the claim. The rule was not changed.",
)


def judge(records: Mapping[str, Records]) -> tuple[Verdict, list[Verdict]]:
    """The whole answer and its parts; of arms that a size leaves out there is none."""
    decisive = _decisive(records)
    well = records[dial("mlp", WELL)]
    recovered = {q: parts.mean_share(records[dial("mlp", q)], "hybrid_planning") for q in _levels(records)}
    steered, random = (number(parts.mean_share(well, f"steered_{how}")) for how in ("targeted", "random"))
    lacked = number(mean_of_found(measures.recovered_hard(records["table_lacks1"])))
    verdict = headline(
        CLAIM,
        parts=decisive,
        shown=decisive[0],
        rule=RULE,
        sentence=f"Of {len(decisive)} parts: {tally(decisive)}. With RL's plans the base recovers "
        f"{', '.join(f'{number(share)} at {q:g}' for q, share in recovered.items())}; steered {steered} (random "
        f"directions {random}); where it lacks the skill, {lacked}.",
        records=records,
    )
    return verdict, decisive + _beside(records)


def _levels(records: Mapping[str, Records]) -> list[float]:
    return [q for q in EXECUTIONS if dial("mlp", q) in records]


def _decisive(records: Mapping[str, Records]) -> list[Verdict]:
    well, badly = (records[dial("mlp", q)] for q in (WELL, BADLY))
    return [
        parts.plans_enough(well, "MLP"),
        parts.plans_not_enough(badly, "MLP"),
        *(parts.executions(records[dial("mlp", q)], q) for q in (WELL, BADLY)),
        *(parts.law(records[dial("mlp", q)], q) for q in _levels(records)),
        parts.steered(
            well, "targeted", "Directions in hidden units, added where RL plans their skill, do as plans do."
        ),
        parts.beats_controls(well),
        parts.lacked(records["table_lacks1"]),
    ]


def _beside(records: Mapping[str, Records]) -> list[Verdict]:
    """Controls and what else was found, as far as their arms are there."""
    well = records[dial("mlp", WELL)]
    found = [
        parts.steered(well, "targeted_first", "Directions in the first hidden layer alone do as plans do."),
        parts.steered(well, "gradient", "Directions that the base knows by itself, its own gradients, do as plans do."),
        parts.must_be_off(well),
        parts.few(well, "from the usual base"),
    ]
    if "sharp" in records:
        found.append(parts.few(records["sharp"], "from a base whose habit is mostly right, in tables"))
    if dial("table", WELL) in records:
        found.append(parts.plans_enough(records[dial("table", WELL)], "tables"))
        found.append(parts.plans_not_enough(records[dial("table", BADLY)], "tables"))
    found.append(parts.known(records["table_known"]))
    if "untried" in records:
        found.append(parts.untried(records["untried"]))
    return found + [parts.creates(records[arm], name) for arm, name in CREATING.items() if arm in records]


CREATING = {
    "table_lacks1": "in tables",
    "table_lacks3": "in tables that lack three skills",
    "mlp_known": "in an MLP whose base knows their skill",
    "mlp_lacks1": "in an MLP",
}

STUDY = register(
    Study(
        name="deploy_or_create",
        question="Does RL create skills, or deploy those that the base has?",
        claim=CLAIM,
        source="arXiv 2510.07364",
        rule=RULE,
        amendments=AMENDMENTS,
        arms=arms,
        seeds={"quick": 3, "standard": 6, "full": 20},
        judge=judge,
        figure=figure,
        caption=(
            "The share of RL's gain that the base recovers. First: with RL's plans (blue) or its executions (red), "
            "over how well it executes; filled: MLP, open: tables; grey: q^D. Second: against the share of tokens "
            "handed to RL (blue), or steered (green), in the order of KL(RL || base), and in any order (grey); star: "
            "published. Third: steered at all plans, by the first (open) and the second hidden layer (filled); dots "
            "are seeds. Fourth: success on hard types in the small world, where the base knows their skill or lacks it."
        ),
    )
)
