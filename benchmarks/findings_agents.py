"""Published findings about dialogue, theory of mind, steering, critiques and plans."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from toybed.agents.config import Imitation, Setting, Spec
from toybed.benchmarks import two_phases_sweep as phases
from toybed.benchmarks.critique_feedback_measures import HARD_TYPES, difference
from toybed.benchmarks.deploy_or_create_measures import recovered
from toybed.benchmarks.deploy_or_create_sweep import WELL, dial
from toybed.benchmarks.dialogue_collapse_measures import SHARE, TEST, information
from toybed.benchmarks.trace_collapse_measures import ANSWER, GIVEN_CORRECT, Value
from toybed.benchmarks.trace_collapse_sweep import LARGE, SKIP, SMALL, arm
from toybed.benchmarks.trace_collapse_sweep import arms as trace_arms
from toybed.benchmarks.two_phases_measures import ACCURACY, STRATEGY_ALL, TOKEN, entropy_lag, gain, later_change
from toybed.findings import Contrast, Part, Ranked, Side, register, register_ranked

TELLS_NOTHING, DOMINANT = 0.05, 0.8  # nats, and of one option: as in dialogue_collapse
MATCHES = -0.03  # of accuracy: what is lost less than this matches
STEERED = 0.5  # of the gap
ALPHA = 0.2  # as published
SMALLEST, LARGEST, TUNED = arm("full", SMALL), arm("full", LARGE), arm("full", LARGE, "sft")
JOINT, MAML = "joint/main", "maml/main"
STEERABLE = dial("mlp", WELL)
BASES = tuple(f"grpo_{level}" for level in phases.LEVELS)


def own_traces(size: str) -> Mapping[str, Setting]:
    """Fine-tuning that goes on, which the quick size of the question leaves out."""
    return {TUNED: replace(trace_arms(size)[LARGEST], learner=Imitation(demonstrator={"skip": SKIP}))}


def own_plans(size: str) -> Mapping[str, Setting]:
    """GRPO from both bases, and HICRA and its placebo at the published strength from one: not every size has them."""
    raised = {
        f"{name}_{ALPHA:g}_75": replace(phases.setting(size, "75"), objective=Spec(objective, {"alpha": ALPHA}))
        for name, objective in (("hicra", "hicra"), ("placebo", "hicra_random"))
    }
    return {f"grpo_{level}": phases.setting(size, level) for level in phases.LEVELS} | raised


def _base(name: str) -> str:
    return f"base executing {phases.LEVELS[name.removeprefix('grpo_')]:g}"


def _hard(rival: str, words: str) -> Part:
    what = f"success on hard types, full critique less {words}"
    return Part(what, lambda r: difference(r, "full", rival, HARD_TYPES))


def _lag(base: str) -> Part:
    what = f"updates to half the entropy gone, planning less execution, {_base(base)}"
    return Part(what, lambda r: entropy_lag(r[base]))


def _later(base: str, words: str, measure: str, side: Side) -> Part:
    what = f"{words} entropy, change in the later phase, {_base(base)}"
    return Part(what, lambda r: later_change(r[base], measure), side)


register(
    Contrast(
        "dialogue-collapse",
        "dialogue_collapse",
        (JOINT,),
        (
            Part(
                "information of type and option", lambda r: r[JOINT].at("information_type", -1), "within", TELLS_NOTHING
            ),
            Part("share of the dominant option", lambda r: r[JOINT].at(SHARE, -1), "above", DOMINANT),
        ),
        note="by policy gradient; the source uses soft actor-critic",
    ),
    Contrast(
        "maml-keeps-variability",
        "dialogue_collapse",
        (JOINT, MAML),
        (
            Part(
                "information of type and option, MAML less joint",
                lambda r: information(r, MAML) - information(r, JOINT),
            ),
            Part("adapted return, MAML less joint training", lambda r: r[MAML].at(TEST, -1) - r[JOINT].at(TEST, -1)),
        ),
        note="by policy gradient; the source uses soft actor-critic",
    ),
    Contrast(
        "tom-accuracy-everywhere",
        "trace_collapse",
        (SMALLEST, LARGEST),
        tuple(
            Part(f"accuracy, end less start, {size} units", Value(name, ANSWER, "change").read)
            for name, size in ((SMALLEST, SMALL), (LARGEST, LARGE))
        ),
    ),
    Contrast(
        "tom-trace-collapses-small",
        "trace_collapse",
        (SMALLEST, LARGEST),
        (
            Part(
                "right beliefs written beside a right answer, large less small",
                lambda r: Value(LARGEST, GIVEN_CORRECT).read(r) - Value(SMALLEST, GIVEN_CORRECT).read(r),
            ),
        ),
    ),
    Contrast(
        "tom-sft-matches-rl",
        "trace_collapse",
        (LARGEST,),
        (
            Part(
                "accuracy, SFT less RL",
                lambda r: Value(TUNED, ANSWER).read(r) - Value(LARGEST, ANSWER).read(r),
                "above",
                MATCHES,
            ),
        ),
        own_traces,
        note="SFT goes on with demonstrations that write the trace, too; there is none on answers alone",
    ),
    Contrast(
        "routing-recovers",
        "deploy_or_create",
        (STEERABLE,),
        (
            Part("share of the gap recovered", lambda r: recovered(r[STEERABLE], "steered_targeted"), "above", STEERED),
            Part(
                "that less the share of an untargeted direction",
                lambda r: recovered(r[STEERABLE], "steered_targeted") - recovered(r[STEERABLE], "steered_untargeted"),
            ),
        ),
        note="steered at all plans, which are half of the tokens here",
    ),
    Contrast(
        "critique-climbs",
        "critique_feedback",
        ("grpo", "indicative", "full"),
        (_hard("indicative", "indicative"), _hard("grpo", "none")),
    ),
    Contrast(
        "two-phases",
        "two_phases",
        (),
        tuple(_lag(base) for base in BASES),
        own_plans,
        note="with two valid plans a stage against one right execution, which two_phases no longer lets decide: with "
        "one valid plan the order is uncertain there, in entropy and in skill",
    ),
    Contrast(
        "semantic-entropy-rises",
        "two_phases",
        (),
        tuple(
            part
            for base in BASES
            for part in (_later(base, "strategy", STRATEGY_ALL, "above"), _later(base, "token", TOKEN, "below"))
        ),
        own_plans,
    ),
    Contrast(
        "hicra-beats-placebo",
        "two_phases",
        (),
        (
            Part(
                "accuracy, HICRA less its placebo",
                lambda r: gain(r, f"hicra_{ALPHA:g}", f"placebo_{ALPHA:g}", ACCURACY),
            ),
        ),
        own_plans,
        note="from the base that executes right with 0.75 (a first quick run, undecided, was from both); half of all "
        "tokens plan here, so that the placebo reaches half of them, too",
    ),
)
register_ranked(
    {
        "hicra": Ranked("two_phases", f"hicra_{ALPHA:g}_75", own=own_plans),
        "placebo": Ranked("two_phases", f"placebo_{ALPHA:g}_75", own=own_plans),
        "grpo_plans": Ranked("two_phases", "grpo_75"),
    }
)
