"""The judge of ``ensembles`` on end points whose answer is known by construction."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from judging import diverge

from toybed.agents.config import Heads, Learning, Setting, Spec, Supervised
from toybed.agents.probes.start_mixtures import SHARES
from toybed.agents.training import train_bases, train_runs
from toybed.benchmarks import ensembles, mixtures
from toybed.benchmarks.ensembles_measures import MANY, excess
from toybed.benchmarks.ensembles_sweep import CHAIN, COUNTS, HALF, SET, TOOLS, WORLDS, World, arms
from toybed.envs import make
from toybed.plotting import svg
from toybed.study import Records, Verdict

SEEDS = 5
SPREAD = 0.004 * (np.arange(SEEDS) - 2)  # of the seeds, around the mean
BASE = {"reward": 0.1, MANY: 0.9, "entropy": 1.7}
SINGLE = {"reward": 0.43, MANY: 0.45, "entropy": 0.1, "information": 0.0}
ENSEMBLE = {"reward": 0.43, MANY: 0.75, "entropy": 0.12, "information": 1.5}
SIZES = ("quick", "standard", "full")


def arm(reward: float, many: float, entropy: float = 0.1, information: float = 0.0) -> Records:
    """Runs that begin at the base and end here, on both splits; with the base mixed in they lie on the chord."""
    ends = {"reward": reward, MANY: many, "entropy": entropy, "head_information": information}
    ends |= {"head_entropy": entropy, "mixture_entropy": entropy + information / 3}
    ends |= {"reward_fresh": reward, "success_best_head": reward + 0.01, "success_worst_head": reward - 0.01}
    for name, share in itertools.product(("reward", MANY), SHARES):
        ends[f"{name}_start_{share:g}"] = share * BASE[name] + (1 - share) * ends[name]
    curves = {}
    for (name, end), split in itertools.product(ends.items(), ("train", "test")):
        curves[f"{name}_{split}"] = np.stack([np.full(SEEDS, BASE.get(name, 0.0)), end + SPREAD], 1)
    return Records({name: np.array([0, 100]) for name in curves}, curves)


def place(**changes: float) -> Records:
    """An ensemble's, but for what is changed."""
    return arm(*({**ENSEMBLE, **changes}[name] for name in ("reward", MANY, "entropy", "information")))


def house(size: str = "standard", **other: Records) -> dict[str, Records]:
    """Heads do in both worlds what the claim says; nothing else does, and where the tool is known they do not help."""
    records = dict.fromkeys(arms(size), arm(*SINGLE.values()))
    for count, many in zip(COUNTS, (0.55, 0.65, 0.75), strict=True):
        records[f"heads_{count}"] = place(**{MANY: many})
    for world in WORLDS:
        for kind in ("heads", "half", "small_own", "apart", "set"):
            if world.ensemble(kind) in records:
                records[world.ensemble(kind)] = place(**({MANY: 0.85, "reward": 0.3} if kind == "set" else {}))
    for name in ("heads_8_long", "heads_8_samples"):
        if name in records:
            records[name] = place()
    return records | other


def judged(records: Mapping[str, Records]) -> tuple[Verdict, dict[str, Verdict]]:
    """The verdict, and its parts by their claim."""
    verdict, parts = ensembles.judge(records)
    found = {part.claim: part for part in parts}
    assert len(found) == len(parts)
    return verdict, found


def part(parts: Mapping[str, Verdict], *words: str) -> Verdict:
    (found,) = (p for claim, p in parts.items() if all(word in claim for word in words))
    return found


def deciding(records: Mapping[str, Records], world: World) -> list[str]:
    return [p.outcome for p in ensembles.judge(records)[1][:8] if p.claim.startswith(world.name)]


@pytest.mark.parametrize("size", SIZES)
def test_heads_that_collapse_apart_support_the_claim(size: str) -> None:
    verdict, parts = judged(house(size))
    assert verdict.outcome == "supported"
    assert verdict.n == SEEDS
    assert verdict.estimate == pytest.approx(0.3)
    assert [deciding(house(size), world) for world in WORLDS] == [["supported"] * 4] * 2
    for words in (("doubling",), ("names the best tool",), ("gone stale",), ("eighth",)):
        assert part(parts, *words).outcome == "supported", words
    if size != "quick":
        for world in WORLDS:
            assert part(parts, world.name, "parameters").outcome == "supported"
            assert part(parts, world.name, "set credit gives").outcome == "supported"
            assert part(parts, world.name, "learn apart").outcome == "undecided"  # they are the same to the digit
        for words in ("lasts", "networks", "as many samples each"):
            assert part(parts, words).outcome == "supported", words


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.name)
@pytest.mark.parametrize(
    ("which", "changed"),
    [
        (0, {"reward": 0.39}),
        (1, {MANY: 0.46}),
        (2, {"entropy": 0.6}),  # lost 1.1 of its 1.7, less than nine tenths of 1.6
        (3, {"information": 0.3}),
    ],
)
def test_each_of_the_four_parts_can_refute_the_claim(world: World, which: int, changed: dict[str, float]) -> None:
    records = house(**{world.ensemble(): place(**changed)})
    outcomes = ["supported"] * 4
    outcomes[which] = "refuted"
    assert deciding(records, world) == outcomes
    verdict, parts = judged(records)
    assert verdict.outcome == "refuted"
    assert verdict.estimate == [*parts.values()][4 * WORLDS.index(world) + which].estimate


@pytest.mark.parametrize(
    ("which", "changed"), [(0, {"reward": 0.41}), (1, {MANY: 0.55}), (3, {"information": 0.5 * np.log(8)})]
)
def test_an_end_right_at_its_threshold_is_undecided(which: int, changed: dict[str, float]) -> None:
    # The pairs of a difference spread alike: a little more of it decides nothing for a mean at the threshold.
    records = house(heads_8=place(**changed))
    for name in ("reward_train", f"{MANY}_train", "head_information_train"):
        records["heads_8"].curves[name][:, 1] += SPREAD
    assert deciding(records, TOOLS)[which] == "undecided"
    assert judged(records)[0].outcome == "undecided"


def test_where_the_single_policy_did_not_collapse_there_is_nothing_to_separate() -> None:
    records = house(single=arm(0.43, 0.85, entropy=1.2))
    assert deciding(records, TOOLS)[1:3] == ["undecided", "undecided"]
    assert judged(records)[0].outcome == "undecided"


def test_what_mixing_gives_is_the_rival() -> None:
    """A single policy that has the ensemble's point leaves nothing above the rivals; nor does one that dominates it."""
    for name, point, outcome in (("single_set", (0.43, 0.75), "undecided"), ("bonus_0.2", (0.5, 0.9), "refuted")):
        _, parts = judged(house(**{name: arm(*point)}))
        assert part(parts, "ToolSearch", "individual credit have more").outcome == outcome
    # The chord between (0.1, 0.9), the base, and (0.5, 0.7) passes pass@1 0.43 at 0.735.
    chord, _ = excess(house(**{"bonus_0.2": arm(0.5, 0.7)}), TOOLS, "heads_8")
    assert chord == pytest.approx(0.75 - 0.735, abs=0.02)


def test_what_lies_above_a_chord_does_not_lie_above_the_mixture() -> None:
    """Far above all chords is undecided; only what has more pass@1 than every rival in every run is above them."""
    above, outcome = excess(house(), TOOLS, "heads_8")
    assert above == pytest.approx(0.75 - 0.45, abs=0.02)
    assert outcome == "undecided"
    _, parts = judged(house())
    assert part(parts, "ToolSearch", "individual credit have more").outcome == "undecided"
    assert excess(house(heads_8=place(reward=0.5)), TOOLS, "heads_8")[1] == "supported"
    one_meets = house(heads_8=place(reward=0.5))
    one_meets["bonus_0.1"] = dataclasses.replace(one_meets["bonus_0.1"], curves={**one_meets["bonus_0.1"].curves})
    rewards = one_meets["bonus_0.1"].curves["reward_train"].copy()
    rewards[0, 1] = 0.6
    one_meets["bonus_0.1"].curves["reward_train"] = rewards
    assert excess(one_meets, TOOLS, "heads_8")[1] == "undecided"


def test_a_chord_is_less_than_the_mixture_that_it_stands_for() -> None:
    """Two policies, two prompts, each of which one of them solves: the chord is .5, half and half is nearly 1."""
    success = np.array([[0.5, 0.0], [0.0, 0.5]])
    solved = (1 - (1 - success) ** 64).mean(1)
    points = np.stack([success.mean(1), solved], 1)[..., None]
    assert mixtures.frontier(points, np.array([0.25])) == pytest.approx(0.5)
    assert (1 - (1 - success.mean(0)) ** 64).mean() > 0.999


def test_head_by_prompt_is_held_against_fresh_questions_where_it_has_met_those_of_training() -> None:
    records = house()
    met = records["prompt_8"].curves | {"reward_train": np.full((SEEDS, 2), 0.987)}
    records["prompt_8"] = dataclasses.replace(records["prompt_8"], curves=met)
    _, parts = judged(records)
    sentence = part(parts, "ToolSearch", "parameters").sentence
    assert "pass@1 on fresh questions, and pass@64: 0.430 and 0.450" in sentence


@pytest.mark.parametrize(("many", "outcome"), [(0.5, "refuted"), (0.55, "undecided"), (0.6, "supported")])
def test_heads_with_samples_of_their_own_are_judged_beside_the_claim(many: float, outcome: str) -> None:
    records = house(heads_8_samples=place(**{MANY: many}))
    records["heads_8_samples"].curves[f"{MANY}_train"][:, 1] += SPREAD
    verdict, parts = judged(records)
    assert verdict.outcome == "supported"
    assert part(parts, "as many samples each").outcome == outcome


def test_credit_parameters_and_luck_are_judged_beside_the_claim() -> None:
    records = house(set_8=place(), prompt_8=place(), apart_8=place(**{MANY: 0.95}), known_heads_8=place())
    verdict, parts = judged(records)
    assert verdict.outcome == "supported"
    assert part(parts, "ToolSearch", "set credit gives").outcome == "undecided"
    assert part(parts, "ToolSearch", "parameters").outcome == "refuted"
    assert part(parts, "ToolSearch", "learn apart").outcome == "refuted"
    assert part(parts, "names the best tool").outcome == "refuted"


@pytest.mark.parametrize("name", ["single", "heads_8", "chain_small_own_4", "bonus_0.2"])
def test_a_diverged_run_is_told_and_left_out(name: str) -> None:
    records = house()
    verdict, parts = judged({**records, name: diverge(records[name], [2])})
    assert "1 run diverged" in verdict.sentence
    assert verdict.outcome == "supported"
    assert verdict.n == SEEDS - (name in ("single", "heads_8"))
    assert all("nan" not in p.sentence for p in (verdict, *parts.values()))


@pytest.mark.parametrize("runs", [[0, 1, 2], list(range(SEEDS))])
def test_too_few_runs_are_undecided(runs: list[int]) -> None:
    records = house()
    verdict, parts = judged({**records, "single": diverge(records["single"], runs)})
    assert verdict.outcome == "undecided"
    assert all("nan" not in p.sentence for p in (verdict, *parts.values()))


@pytest.mark.parametrize("size", ["quick", "standard"])
@pytest.mark.parametrize("name", ["single", "heads_8", "chain_heads_4", ""])
def test_the_figure_can_be_drawn_whatever_is_missing(size: str, name: str) -> None:
    records = house(size)
    for each in [name] if name else records:
        records[each] = diverge(records[each], [*range(SEEDS)])
    assert svg(ensembles.figure(records)).startswith("<svg")


# -- the sweep ---------------------------------------------------------------------------------------------------------
def differing(one: Setting, other: Setting) -> set[str]:
    return {f.name for f in dataclasses.fields(one) if getattr(one, f.name) != getattr(other, f.name)}


@pytest.mark.parametrize("size", SIZES)
def test_the_arms_differ_in_what_the_question_asks_and_nothing_else(size: str) -> None:
    found = arms(size)
    for world in WORLDS:
        single = found[world.single]
        assert single.heads == Heads() and single.objective == Spec("grpo")
        own = {
            a: s
            for a, s in found.items()
            if a.startswith("chain_") == (world is CHAIN) and "known" not in a and "small" not in a
        }
        for name, setting in own.items():
            kind, _, rest = name.removeprefix(world.prefix).partition("_")
            if kind in ("heads", "set", "half", "prompt", "apart"):
                assert setting.heads.count == int(rest.split("_")[0])
                expected = {"prompt": "prompt", "apart": "group"}.get(kind, "response")
                assert setting.heads.by == expected
            changed = {"heads": {"heads"}, "set": {"heads", "objective"}, "half": {"heads", "objective"}}
            changed |= {"prompt": {"heads"}, "apart": {"heads"}, "few": {"learning"}}
            changed |= {"bonus": {"objective"}, "single": {"objective"} if rest else set()}
            more = {"learning"} if rest.endswith(("long", "samples")) else set()
            assert differing(single, setting) == changed[kind] | more
        for kind, credit in (("set", SET), ("half", HALF)):
            if world.ensemble(kind) in found:
                assert (
                    found[world.ensemble(kind)].objective == found[f"{world.prefix}single_{kind}"].objective == credit
                )
        assert size == "quick" or set(world.rivals) <= set(found)
    assert differing(found["known_single"], found["single"]) == {"world"}
    assert differing(found["known_single"], found["known_heads_8"]) == {"heads"}
    if size != "quick":
        one, shared, own = (found[f"chain_small_{name}"] for name in ("single", "heads_4", "own_4"))
        assert differing(shared, own) == {"policy"} and shared.policy.options == own.policy.options
        assert differing(one, shared) == {"heads", "supervised", "learning"}
        assert one.supervised is not None and shared.supervised is not None
        assert shared.supervised.demonstrations == 4 * one.supervised.demonstrations
        assert shared.learning == dataclasses.replace(one.learning, prompts=4 * one.learning.prompts)
        samples, many = found["heads_8_samples"].learning, found["heads_8"].learning
        assert samples == dataclasses.replace(many, prompts=TOOLS.count * many.prompts)
    few, all_of_them = found["few"].learning, found["single"].learning
    assert few.prompts * TOOLS.count == all_of_them.prompts
    assert few == dataclasses.replace(all_of_them, prompts=few.prompts)
    assert ensembles.STUDY.seeds[size] >= 3


def tiny_records(world: World, spec: Spec) -> Records:
    setting = dataclasses.replace(
        arms("quick")[world.ensemble()],
        world=spec,
        supervised=Supervised(steps=2, demonstrations=8),
        learning=Learning(updates=2, prompts=4, group=4, minibatches=2, measure_every=1),
    )
    results = train_runs(setting, [0, 1, 2], train_bases(setting, [0, 1, 2]))
    curves = {name: np.stack([result.curves[name].values for result in results]) for name in results[0].curves}
    return Records({name: curve.steps for name, curve in results[0].curves.items()}, curves)


def test_a_run_records_every_measure_that_is_read() -> None:
    tools = tiny_records(TOOLS, Spec("tool_search", {"questions": 16, "hops": 2, "shift": "index"}))
    chain = tiny_records(CHAIN, Spec("chain_reach", {"modulus": 5, "operations": 3, "length": 2}))
    records = {name: chain if name.startswith(CHAIN.prefix) else tools for name in arms("standard")}
    verdict, parts = ensembles.judge(records)
    assert all("nan" not in p.sentence for p in (verdict, *parts))
    assert svg(ensembles.figure(records)).startswith("<svg")


# -- what could be had ------------------------------------------------------------------------------------------------
def test_two_well_chosen_plans_are_worth_what_the_file_says() -> None:
    """The best plan for each cue, and beside it that which adds most to pass@64, drawn alike: all of ToolSearch."""
    env = make("tool_search", shift="index")
    prompts = env.prompts("train")
    plans = torch.tensor([*itertools.product(range(env.tools), repeat=env.hops)])
    works = env.bank.works[prompts]  # [Q, H, K]
    right = torch.stack([works[:, hop][:, plans[:, hop]] for hop in range(env.hops)]).all(0).double()  # [Q, plans]
    one = many = 0.0
    for cue in range(env.clusters):
        mine = right[env.bank.cue[prompts] == cue]
        best = mine[:, mine.sum(0).argmax(), None]
        pairs = (best + mine) / 2
        solved = 1 - (1 - pairs) ** 64
        chosen = solved.sum(0).argmax()
        one, many = one + float(pairs[:, chosen].sum()), many + float(solved[:, chosen].sum())
    assert one / len(prompts) == pytest.approx(0.446, abs=5e-4)
    assert many / len(prompts) == pytest.approx(0.699, abs=5e-4)
    best_of_all = env.best_mixture_at_k(64)
    assert 0.969 < best_of_all.worth <= best_of_all.bound < 0.9695
