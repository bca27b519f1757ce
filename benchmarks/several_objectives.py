"""Does a richer reward relax the entropy collapse, and is it the information or just more bits?

Question
    A reward for the outcome says one bit of a response at most. Paid for its steps too, judged by a verifier that errs,
    or paid for novelty: does a policy keep more entropy at the same success? And where it does, is that what the richer
    signal says, or just that it has more bits?
Claim
    A process reward leaves more entropy at equal held-out success than an outcome reward, and not only because it
    carries more bits: as many bits without information about the process, or as many bits of outcomes, do not.
Source
    Process rewards: arXiv 2305.20050, 2312.08935; components: GDPO, 2601.05242, VPO, 2605.22817; novelty: 2506.02355;
    sets: PKPO, 2505.15201. Noisy labels by class: Natarajan et al. 2013. A question of this project.
Sweep
    PlanExec (an MLP; six steps, plans and executions, each right or not) and ToolSearch (tables; three hops, each found
    or not), where an outcome is right if all steps are. All with GRPO, 16 prompts with 8 responses, one rate. Paid for:
    the outcome; the outcome and the share of right steps; the same with the steps of another response of the group
    (about as many bits, no information); the outcome, of groups so large (96 and 32) that an update has at least as
    many bits; the steps alone, which has the same optimum but is dense. Rivals that see components one by one: GDPO,
    and VPO in parallel (random preferences: the whole front). Paid for sets (PKPO, k = 4) and for novelty
    (unlikeliness). Slower by 3: outcome, process, shuffled. ChainReach: verifiers with Youden's J = TPR - FPR of 0.6
    and 0.3, each by failing right responses, by passing wrong ones, and both; PKPO and unlikeliness there, too.
    A potential over states is left out: with one advantage for a response it adds the same to all responses of a group,
    and GRPO is unchanged to the digit.
Measure
    Exact, on held-out prompts: success, entropy in nats per token over own rollouts, pass@64, share of right steps.
    "At equal success" is the first moment at which a run has half of the gain that the outcome's run of the same seed
    has in the end. Bits: entropy of a response's reward given prompt and base, exact.
Rule of judgement
    Written before the first run. 95 % intervals over seeds, paired. In each of the two worlds: entropy at equal success
    of outcome and process less that of the outcome above 0; less that of the shuffled process above 0; less that of as
    many bits of outcomes above 0. The claim is refuted if one of the six is refuted, supported if all are, else
    undecided. Beside it: whether the controls have the bits that they should; what more bits bring by themselves;
    success and pass@64 in the end; the steps alone; a slower rate; the rivals; sets and novelty; verifiers at equal J.
What a student should see
    The claim is refuted: a richer signal does not relax the collapse by being rich. In ToolSearch the process reward
    keeps *less* entropy at equal success than the outcome (-0.070 nats per token, at a third of the rate -0.070 as
    well), than shuffled steps (-0.065) and than as many bits of outcomes (-0.104); it ends with the same success (0.420
    and 0.417), less entropy (0.15 and 0.42) and less pass@64 (0.58 and 0.61). A likely reason, not measured: it pays
    every hop that is found, also on questions that stay unsolved, and so sharpens those, too. In PlanExec it is
    undecided against all three (+0.06, +0.14, -0.06): entropy falls by half before success moves at all, then it holds.
    What the information does buy is success, where outcomes are rare: 0.57 and not 0.40 in PlanExec, with pass@64 0.60
    and not 0.42. Bits alone buy nothing: shuffled steps, with 1.72 bits a response of which 0.16 are about it, end at
    0.36. But as many bits of outcomes, at twelve times the responses, do what the process does, and keep more entropy
    than the outcome in both worlds (+0.12 and +0.03).
    What keeps entropy is how the signal is used. VPO in parallel, from the same components as the weighted sum, ends in
    PlanExec with as much success (0.54), pass@64 0.94 for 0.60 and entropy 0.38 for 0.06; PKPO does it with the outcome
    alone, in all three worlds (+0.15, +0.04, +0.07 at equal success), though in ToolSearch both are slow. GDPO, which
    only rescales, does not; novelty among right responses is not told apart at equal success, and ends in ToolSearch
    with more coverage@256 (0.33 for 0.16; PKPO 0.49) and a little less success.
    Verifiers of equal J are not equal: at 0.6 one that fails right responses ends at 0.135 (a perfect one: 0.147), one
    that passes wrong ones at 0.086, since where few are right false passes outnumber the true ones. Noise leaves more
    entropy in the end because less is learned, and at equal success it leaves none: at J = 0.3 less (-0.06).
"""

from __future__ import annotations

from collections.abc import Mapping

from toybed.benchmarks.several_objectives_contrasts import BESIDE, DECIDING
from toybed.benchmarks.several_objectives_figure import figure
from toybed.benchmarks.several_objectives_measures import bits
from toybed.benchmarks.several_objectives_sweep import GROUP, STEPWISE, arms
from toybed.stats import mean_interval, mean_of_found
from toybed.study import Records, Study, Verdict, above, headline, number, register

CLAIM = (
    "A process reward leaves more entropy at equal held-out success than an outcome reward, and not only because it "
    "carries more bits: as many bits without information about the process, or as many bits of outcomes, do not."
)
RULE = (
    "in PlanExec and in ToolSearch, at equal success: more entropy than paid for the outcome, than paid for shuffled "
    "steps, and than paid for as many bits of outcomes. Refuted if one of the six is refuted, supported if all are, "
    "else undecided; shown is the difference to the outcome in PlanExec"
)
AMENDMENTS = (
    "Added beside the claim after the first standard run: coverage@256 of PKPO and unlikeliness. Question, claim, "
    "rule, arms and thresholds are as before it.",
)


def judge(records: Mapping[str, Records]) -> tuple[Verdict, list[Verdict]]:
    """The whole answer; the six parts of the claim; the controls' bits; what stands beside."""
    parts = [contrast.judge(records) for contrast in DECIDING]
    gaps = [
        f"{paid.title}: {', '.join(number(part.estimate, '+.3f') for part in parts[3 * i : 3 * i + 3])}"
        for i, paid in enumerate(STEPWISE.values())
    ]
    verdict = headline(
        CLAIM,
        parts=parts,
        shown=parts[0],
        rule=RULE,
        sentence="Nats per token of outcome and process above outcome, shuffled process and as many bits of outcomes, "
        f"at equal success. {'; '.join(gaps)}.",
        records=records,
    )
    controls = [part for world in STEPWISE for part in _controls(records, world)]
    return verdict, [*parts, *controls, *(c.judge(records) for c in BESIDE if c.made(records))]


def _controls(records: Mapping[str, Records], world: str) -> list[Verdict]:
    """Whether the controls carry as many bits as the process reward, of the base."""
    found = {signal: bits(records, world, signal) for signal in ("outcome", "process", "shuffled", "told")}
    more = STEPWISE[world].more
    listed = "A response brings {} bits by its outcome, {} with its steps, {} with another's, of which {} are about it."
    sentence = listed.format(*(number(mean_of_found(values)) for values in found.values()))
    pairs = (
        ("with shuffled steps a reward has at least as many bits.", found["shuffled"] - found["process"]),
        (
            "a larger group has at least as many bits by its outcomes.",
            more / GROUP * found["outcome"] - found["process"],
        ),
    )
    parts = []
    for claim, values in pairs:
        interval = mean_interval(values)
        parts.append(
            Verdict(
                f"{STEPWISE[world].title}: {claim}",
                above(interval, 0.0),
                *interval,
                rule="bits of the control, for each of 8 responses, less those of the process reward, of the base: "
                "supported above 0, refuted below.",
                sentence=sentence,
            )
        )
    return parts


STUDY = register(
    Study(
        name="several_objectives",
        question="Does a richer reward relax the entropy collapse, and is it the information or just more bits?",
        claim=CLAIM,
        source="arXiv 2305.20050, 2312.08935, 2601.05242, 2605.22817, 2506.02355, 2505.15201",
        rule=RULE,
        amendments=AMENDMENTS,
        arms=arms,
        seeds={"quick": 3, "standard": 6, "full": 20},
        judge=judge,
        figure=figure,
        caption=(
            "Left and middle: held-out entropy against held-out success along training, means over seeds, by what is "
            "paid for; the dotted line is where policies are compared. Right: where "
            "each ends in ChainReach, by Youden's J of the verifier and by how it errs, with 95 % intervals."
        ),
    )
)
