"""The judge of shortcut_pressure on records with known answers, its arms, and a tiny real run."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from toybed.agents.training import train_bases, train_runs
from toybed.benchmarks.belief_sweep import SEPARABLE
from toybed.benchmarks.shortcut_pressure import judge, share_taken
from toybed.benchmarks.shortcut_pressure_figure import figure
from toybed.benchmarks.shortcut_pressure_sweep import AT, INTERVENTIONS, SHARES, arms, rl, sft
from toybed.study import Records

READ = (
    SEPARABLE,
    "false_trained",
    "agreement_common_ground",
    "agreement_first_departure",
    "entropy_train",
    "reward_train",
)


def arm(value, seeds=4, lost=()):
    """Records whose measures all end at ``value``, give or take 0.01 by seed; runs in ``lost`` diverged."""
    spread = 0.01 * (np.arange(seeds) - (seeds - 1) / 2)
    curve = np.stack([np.full(seeds, 0.2), value + spread], 1)
    curve[list(lost)] = np.nan
    steps = np.array([0, 600])
    return Records(dict.fromkeys(READ, steps), dict.fromkeys(READ, curve), ("its loss was not finite",) * len(lost))


def records(rl_at=(0.1, 0.2, 0.2, 0.4, 0.6, 0.8), sft_at=(0.2, 0.4, 0.6, 0.8, 0.9, 0.9), best=0.4, **more):
    found = {rl(share): arm(value, **more) for share, value in zip(SHARES, rl_at, strict=True)}
    found |= {sft(share): arm(value, **more) for share, value in zip(SHARES, sft_at, strict=True)}
    found |= {name: arm(best if name == "nsr" else 0.2, **more) for name in INTERVENTIONS}
    return found | {name: arm(0.2, **more) for name in ("longer", "slower", "faster", "fresh")}


def outcome(found, claim):
    (part,) = [part for part in judge(found)[1] if claim in part.claim]
    return part


def test_a_claim_that_holds_is_supported():
    verdict, parts = judge(records())
    assert verdict.outcome == "supported" and verdict.n == 4
    assert verdict.estimate == pytest.approx(0.2) and "NSR" in verdict.sentence
    assert [part.outcome for part in parts[:3]] == ["supported"] * 3
    assert outcome(records(), "NSR helps").outcome == "supported"
    assert outcome(records(), "KL-Cov helps").outcome == "refuted"
    assert outcome(records(), "twice as long").outcome == "refuted"


@pytest.mark.parametrize(
    "change",
    [
        {"rl_at": (0.7, 0.7, 0.7, 0.7, 0.8, 0.9), "best": 0.95},
        {"rl_at": (0.1, 0.1, 0.1, 0.1, 0.1, 0.1)},
        {"best": 0.2},
    ],
    ids=["tracks without", "never tracks", "nothing helps"],
)
def test_each_deciding_part_can_refute(change):
    assert judge(records(**change))[0].outcome == "refuted"


def test_few_runs_decide_nothing_and_diverged_ones_are_left_out():
    assert judge(records(seeds=2))[0].outcome == "undecided"
    verdict, _ = judge(records(seeds=5, lost=(1,)))
    assert verdict.n == 4 and verdict.outcome == "supported"
    assert "diverged (its loss was not finite), left out" in verdict.sentence
    assert judge(records(seeds=4, lost=(0, 1, 2, 3)))[0].outcome == "undecided"


def test_the_best_intervention_is_chosen_on_the_other_seeds():
    """Two arms that are alike but for one seed each: that seed's own luck does not choose for it."""
    found = records(best=0.2)
    for name, lucky in (("kl_cov", 0), ("nsr", 1)):
        curve = np.full((4, 2), 0.2)
        curve[lucky, 1] = 0.9
        found[name] = Records(found[name].steps, {**found[name].curves, SEPARABLE: curve})
    part = outcome(found, "best intervention")
    assert part.estimate == pytest.approx(0.0, abs=0.01)


def test_share_taken_by_hand():
    """Up from .2 to .8 between .1 and .2: passes .5 half-way, at .15. Never: .5. Over at once: the first share."""
    at = (0.0, 0.1, 0.2)
    found = np.array([[0.1, 0.1, 0.6, np.nan], [0.2, 0.2, 0.7, 0.9], [0.8, 0.3, 0.9, 0.9]])
    taken = share_taken(found, at)
    assert taken[:3] == pytest.approx([0.15, 0.5, 0.0]) and np.isnan(taken[3])
    part = outcome(records(), "larger share of separable questions than SFT")
    # RL: from .4 at .2 to .6 at .3, half-way; SFT: from .4 at .05 to .6 at .1, half-way.
    assert part.estimate == pytest.approx(0.25 - 0.075, abs=0.01) and part.outcome == "supported"


def test_arms_differ_in_nothing_but_what_is_asked():
    found = arms("standard")
    base = found[rl(AT)]
    assert set(found) == {arm(s) for s in SHARES for arm in (rl, sft)} | set(INTERVENTIONS) | {
        "longer",
        "slower",
        "faster",
        "fresh",
    }
    for name, setting in found.items():
        config, other = setting.config(), base.config()
        differs = {key for key in config if config[key] != other[key]}
        assert differs <= {"objective"} if name in INTERVENTIONS else differs <= {"world", "learner", "learning"}
        inside = {key for key in config["learning"] if config["learning"][key] != other["learning"][key]}
        assert inside <= {"updates", "measure_every", "learning_rate", "minibatches", "group"}
        assert {k: v for k, v in config["world"]["options"].items() if k != "separable"} == {
            k: v for k, v in other["world"]["options"].items() if k != "separable"
        }
    assert set(arms("quick")) <= set(found)


def test_the_figure_is_drawn_with_all_arms_and_with_lost_ones():
    for found in (records(), records(seeds=3, lost=(0, 1, 2))):
        assert isinstance(figure(found), Figure)
    quick = {name: each for name, each in records().items() if name in arms("quick")}
    assert judge(quick)[0].outcome == "refuted", "of the two that quick tries neither helps in these records"
    assert isinstance(figure(quick), Figure)


@pytest.mark.parametrize("name", [rl(AT), sft(AT), "bonus_0.05"])
def test_a_real_run_records_what_is_read(name):
    setting = arms("quick")[name].with_learning(updates=1, measure_every=1, prompts=8, minibatches=2)
    small = {**setting.world.options, "train_stories": 64, "test_stories": 8}
    setting = type(setting)(
        **{**vars(setting), "world": type(setting.world)("belief_track", small)}  # a small bank
    )
    (run,) = train_runs(setting, [0], train_bases(setting, [0]))
    assert all(np.isfinite(run.curves[measure].values).all() for measure in READ)
