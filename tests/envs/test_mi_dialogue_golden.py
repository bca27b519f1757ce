"""Numbers of MIDialogue that are known by hand, and those of its default users. A change of any is a new version."""

from __future__ import annotations

import pytest
import torch

from toybed.envs import make
from toybed.envs import mi_dialogue_users as people

INFORMATION, CHANGE, SUSTAIN, NEGATIVE, POSITIVE, UNDERSTANDING, GREETING, BACKCHANNEL, MEDICAL = range(9)
NAMED = {"n_types": 0, "held_out": 0}


def paid(env, answers):
    """What each answer of a dialogue is paid, as ``(component, reward)``."""
    state, result = env.reset(torch.tensor(0)), []
    for answer in answers:
        before = env.reward_vector(state)
        state = env.exchange(state, torch.tensor(0), torch.tensor(answer))
        steps = [(i, round(float(x), 6)) for i, x in enumerate(env.reward_vector(state) - before) if abs(x) > 1e-6]
        result.append(steps[0] if steps else None)
        assert len(steps) <= 2
    return result


# A dialogue in which everything happens: information too early (counted, not paid); four feelings (three are paid);
# information and a medical question until context is at 4 (the first one made it 1); understanding and change talk
# until all counters are at 3; then plans, and an understanding while perspective is below 4; sustain talk; the rest.
STORY = (
    INFORMATION,
    NEGATIVE,
    CHANGE,
    POSITIVE,
    NEGATIVE,
    NEGATIVE,
    INFORMATION,
    MEDICAL,
    UNDERSTANDING,
    INFORMATION,
    INFORMATION,
    UNDERSTANDING,
    UNDERSTANDING,
    CHANGE,
    UNDERSTANDING,
    MEDICAL,
    SUSTAIN,
    GREETING,
    BACKCHANNEL,
)


def test_the_reward_of_the_code_by_hand():
    env = make("mi_dialogue", level="act", reward_source="code")
    assert paid(env, STORY) == [
        None,  # counters 0, 1, 0
        (0, 0.5),
        None,  # change talk too early: 1, 1, 1
        (0, 0.5),
        (0, 0.5),
        None,  # 4, 1, 1: the fourth feeling
        (1, 1.0),
        (1, 1.0),  # 4, 3, 1
        (2, 1.5),  # 4, 3, 2
        (1, 1.0),  # 4, 4, 2
        None,  # context has come to its end
        (2, 1.5),  # 4, 4, 3: from here on all are at 3
        (2, 1.5),  # 4, 4, 4
        (3, 2.5),
        None,
        (3, 2.45),
        (4, -0.1),
        None,
        None,
    ]


def test_the_reward_of_the_text_by_hand():
    env = make("mi_dialogue", level="act", reward_source="text")
    expected = [None, (0, 0.5), (2, 0.05), (0, 0.5), (0, 0.5), None, (1, 1.0), (1, 1.0), (2, 1.5), (1, 1.0), None]
    # Change talk when all are met: .05 for itself, which is seen first, and 2 for the phase.
    expected += [(2, 1.5), (2, 1.5), (2, 0.05), None, (3, 2.0), (4, -0.05), None, None]
    assert paid(env, STORY) == expected
    state = env.reset(torch.tensor(0))
    for answer in STORY:
        state = env.exchange(state, torch.tensor(0), torch.tensor(answer))
    assert env.reward_vector(state).tolist() == pytest.approx([1.5, 3, 4.6, 4, -0.05], abs=1e-6)
    assert float(env.reward(state)) == pytest.approx(13.05, abs=1e-6)


def test_dense_rewards_do_not_wait_for_the_phases_before():
    env = make("mi_dialogue", level="act", gated=False)
    early = (INFORMATION, CHANGE, UNDERSTANDING, MEDICAL, CHANGE, NEGATIVE, MEDICAL, NEGATIVE, NEGATIVE, CHANGE)
    expected = [(1, 1.0), (2, 1.5), (2, 1.5), (1, 1.0), (2, 1.5), (0, 0.5), (1, 1.0), (0, 0.5), (0, 0.5), (3, 2.5)]
    assert paid(env, early) == expected


def test_one_turn_by_hand():
    """At the start nobody is past "engage", so that the best act asks about emotions.

    It is paid ``.5 (.45 + .22) - .1 * .06 = .329``; an open user's weights add up to 1.03, for its change talk has
    .048 and its understanding .052. "Plan with the patient" is premature: sustain talk has the weight .16 + .72 in a
    total of 1.285 (closed: .06 / 4 + .46 / 4 + .88 + .05 + .06 + .06 / 4 + .01 + .06 + .08) or 2.014 (open: .06 + .736
    + .88 + .05 + .06 + .078 + .01 + .06 + .08).
    """
    env = make("mi_dialogue", level="act", turns=1, see_type=True, see_counters=True, **NAMED)
    assert env.optima().tolist() == pytest.approx([0.329, 0.329, 0.329 / 1.03], rel=1e-12)
    table = torch.full((len(env.contexts()), 13), -1e9, dtype=torch.float64)
    table[:, people.ACTS.index("plan with the patient")] = 0.0
    closed, is_open = (0.055 - 0.088) / 1.285, (0.055 - 0.088) / 2.014
    assert env.evaluate(table).reward.tolist() == pytest.approx([closed, closed, is_open], rel=1e-12)


def test_the_acts_are_the_papers():
    assert len(people.ACTS) == 13 and len(people.ANSWERS) == 9
    assert people.counters().shape == (175, 3)
    assert torch.equal(people.answer_chances(6.0).sum(-1).round(decimals=12), torch.ones(2, 4, 13).double())
    every = people.repertoire()
    assert every.any(0).all(), "every act belongs somewhere"
    assert every.sum(1).tolist() == [6, 5, 5, 6]


@pytest.mark.parametrize(
    ("level", "optima", "random"),
    [
        ("act", (19.8331, 14.6667, 20.0350), 3.2085),
        ("option", (7.9178, 5.7051, 7.9764), 3.2831),
        ("both", (19.8331, 14.6667, 20.0350), 3.2085),
    ],
)
def test_optima_and_random_baseline_of_the_default_users(level, optima, random):
    """By dynamic programming; the plain recursion and the samples of test_mi_dialogue_oracle.py check the program."""
    env = make("mi_dialogue", level=level, **NAMED)
    assert env.optima().tolist() == pytest.approx(optima, abs=5e-5)
    assert env.random_baseline() == pytest.approx(random, abs=5e-5)


def test_reference_policies_at_the_option_level():
    env = make("mi_dialogue", **NAMED)
    assert env.optimum() == pytest.approx(7.1998, abs=5e-5)
    assert float(env.best_for_all().worth.mean()) == pytest.approx(6.9654, abs=5e-5)
    ladder = env.evaluate(env.demonstrator().double()).reward
    assert ladder.tolist() == pytest.approx([7.8724, 5.2604, 7.7225], abs=5e-5)
    for option, worth in enumerate((4.1459, 2.5609, 3.4305, 0.7469)):
        table = torch.full((875, 4), -1e9, dtype=torch.float64)
        table[:, option] = 0.0
        assert float(env.evaluate(table).reward.mean()) == pytest.approx(worth, abs=5e-5)


def test_the_best_options_along_the_ladder():
    env = make("mi_dialogue", see_type=True, **NAMED)
    chosen = env.optimal_policy().argmax(-1).view(3, 7, 5, 5, 5)
    after_two = [chosen[:, r, c, p, 2].tolist() for r, c, p in ((0, 0, 0), (3, 0, 0), (3, 3, 0), (3, 3, 3))]
    receptive, resistant, is_open = zip(*after_two, strict=True)
    assert receptive == is_open == (0, 1, 2, 3)
    assert resistant == (0, 0, 0, 0)
    assert chosen[1, 5, 4, 4].tolist() == [3] * 5, "once its own thresholds are met it is brought to plan"
