"""BeliefTrack against a twin that simulates each agent's mind; its bank, observations and measures by plain loops."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
import torch

from toybed import train
from toybed.agents.config import Spec, Supervised
from toybed.agents.policies import make_policy
from toybed.agents.rollout import rollout
from toybed.agents.sampled_worth import sampled_worth
from toybed.envs import make
from toybed.envs.belief_track_events import (
    ENTER,
    LEAVE,
    MAX_ORDER,
    MOVE,
    NOOP,
    PEEK,
    TELL,
    all_beliefs,
    enact,
    replayed,
)
from toybed.envs.belief_track_shortcuts import SHORTCUTS
from toybed.errors import ToybedError
from toybed.streams import Streams

SMALL = {"train_stories": 200, "test_stories": 16, "events": 6}
ASYMMETRIC = (0.3, 0.2, 0.2, 0.1, 0.1, 0.1)


# -- minds -------------------------------------------------------------------------------------------------------------
class Mind:
    """What one agent thinks: where the object is, and what each agent thinks, to a depth.

    No witness sets of chains, no member masks: a mind that perceives an event lets the minds that it imagines perceive
    it, too, as far as it sees that their owners are there.
    """

    def __init__(self, agents, place, depth):
        self.place = place
        self.others = {a: Mind(agents, place, depth - 1) for a in range(agents)} if depth > 1 else {}

    def perceive(self, place, audience):
        """Something seen in company: everybody of the company is known to have seen it."""
        self.place = place
        for other in audience:
            if other in self.others:
                self.others[other].perceive(place, audience)

    def say(self, me, place, audience):
        """What I claim I need not believe; who hears it does, and thinks that I do."""
        for other in audience:
            if other in self.others:
                mind = self.others[other]
                mind.say(me, place, audience) if other == me else mind.perceive(place, audience)

    def asked(self, chain):
        return self.place if not chain else self.others[chain[0]].asked(chain[1:])


def minds_of(initial, events, agents):
    """The agents' minds after each event ``(kind, actor, place, hearer)``, as dicts from chain to belief."""
    here = set(range(agents))
    minds = [Mind(agents, initial, MAX_ORDER) for _ in range(agents)]
    chains = [chain for order in range(1, MAX_ORDER + 1) for chain in itertools.product(range(agents), repeat=order)]
    after = []
    for kind, actor, place, hearer in events:
        if kind == LEAVE:
            here.discard(actor)
        if kind == ENTER:
            here.add(actor)
        if kind in (MOVE, ENTER):
            for agent in here:
                minds[agent].perceive(place, here)
        if kind == PEEK:
            minds[actor].perceive(place, {actor})
        if kind == TELL:
            minds[hearer].perceive(place, {actor, hearer})
            minds[actor].say(actor, place, {actor, hearer})
        after.append({chain: minds[chain[0]].asked(chain[1:]) for chain in chains})
    return after


def test_beliefs_of_every_chain_are_those_of_simulated_minds():
    """To order 4, with peeks and true and false tells; 60 stories by 340 chains by 8 events."""
    random = np.random.default_rng(0)
    kinds = random.choice(6, size=(60, 8), p=ASYMMETRIC)
    story = enact(kinds, np.full_like(kinds, -1), 4, 5, random)
    found = [all_beliefs(story, order) for order in range(MAX_ORDER + 1)]
    lies = 0
    for row in range(60):
        events = list(zip(*(part[row].tolist() for part in story[1:5]), strict=True))
        for t, beliefs in enumerate(minds_of(int(story.initial[row]), events, 4)):
            for chain, place in beliefs.items():
                assert found[len(chain)][(row, t, *chain)] == place
        lies += sum(kind == TELL and place != story.object[row, t] for t, (kind, _, place, _) in enumerate(events))
    assert lies > 5, "no false claim was tried"
    assert np.array_equal(found[0], story.object)


def story_of(initial, events, agents=3):
    """One story from ``(kind, actor, place, hearer)``."""
    rows = np.array([events])
    return replayed(np.array([initial]), *(rows[..., i] for i in range(4)), agents)


def test_who_peeks_knows_and_nobody_knows_it_of_him():
    """In 2; A0 leaves, A1 moves it to 3, A0 peeks. By hand: A0 knows 3; A1 and A0 each think of the other: 2."""
    story = story_of(2, [(LEAVE, 0, 5, 3), (MOVE, 1, 3, 3), (PEEK, 0, 3, 3)])
    one, two = (all_beliefs(story, order)[0, -1] for order in (1, 2))
    assert one[0] == 3 and one[1] == 3
    assert two[1, 0] == 2 and two[0, 1] == 2


def test_who_is_told_believes_it_and_thinks_that_the_speaker_does():
    """In 2; A1 leaves, A0 moves it to 3 and tells A1 "4". By hand, A2 was there and heard nothing of it."""
    story = story_of(2, [(LEAVE, 1, 5, 3), (MOVE, 0, 3, 3), (TELL, 0, 4, 1)])
    one, two = (all_beliefs(story, order)[0, -1] for order in (1, 2))
    assert one.tolist() == [3, 4, 3]
    assert two[0, 1] == 4 and two[1, 0] == 4
    assert two[2, 1] == 2 and two[2, 0] == 3


def test_played_out_events_are_possible_and_follow_from_what_is_told():
    random = np.random.default_rng(1)
    kinds = random.choice(6, size=(300, 9), p=ASYMMETRIC)
    wanted = random.integers(-1, 3, size=kinds.shape)
    story = enact(kinds, wanted, 3, 4, random)
    again = replayed(*story[:5], 3)
    assert np.array_equal(again.present, story.present) and np.array_equal(again.object, story.object)
    for row in range(300):
        here, thing = {0, 1, 2}, story.initial[row]
        for t in range(9):
            kind, actor, place, hearer = (int(part[row, t]) for part in story[1:5])
            assert kind in (kinds[row, t], NOOP)
            if kind == NOOP:
                assert (actor, place, hearer) == (3, 4, 3)
                continue
            assert wanted[row, t] in (-1, actor)
            assert (actor in here) == (kind in (MOVE, LEAVE)) or kind == TELL
            assert (hearer < 3 and hearer != actor) if kind == TELL else hearer == 3
            if kind == MOVE:
                assert place != thing
                thing = place
            assert place == (4 if kind == LEAVE else thing) or kind == TELL
            here = here - {actor} if kind == LEAVE else here | {actor} if kind == ENTER else here
            assert set(np.flatnonzero(story.present[row, t])) == here
            assert story.object[row, t] == thing


# -- the bank ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("separable", "mix"), [(None, ASYMMETRIC), (0.25, (0.35, 0.25, 0.2, 0.0, 0.0, 0.2)), (0.0, ASYMMETRIC)]
)
def test_shares_of_the_train_questions_are_exact_and_questions_are_well_formed(separable, mix):
    env = make("belief_track", **SMALL, separable=separable, mix=mix, orders=(0, 1, 2), false_belief=0.5)
    stories = env.stories
    trained = stories.order[:200]
    assert [int((trained == k).sum()) for k in range(5)] == [66, 67, 67, 0, 0]
    for order in (1, 2):
        rows = torch.arange(200)[trained == order]
        assert int(stories.false[rows].sum()) == round(0.5 * len(rows))
        if separable is not None:
            assert int(stories.separable[rows].sum()) == round(separable * len(rows))
        assert (stories.directed[rows] <= stories.separable[rows]).all()
    assert not stories.false[stories.order == 0].any()
    for order, *chain in stories.query.tolist():
        assert all(name < 4 for name in chain[:order]) and chain[order:] == [4] * (4 - order)
        assert all(a != b for a, b in itertools.pairwise(chain[:order]))
        assert len(set(chain[:order])) < 4, "somebody is left out"
    assert len(env.prompts("train")) == 200 and len(env.prompts("test")) == 16 * 9


@pytest.mark.parametrize("events", [6, 8])
def test_directed_questions_come_in_pairs_that_no_rule_answers_without_the_names(events):
    env = make("belief_track", train_stories=16, test_stories=200, events=events)
    stories = env.stories
    assert stories.separable[stories.directed].all()
    for order in range(1, 5):
        rows = (stories.directed & (stories.order == order)).nonzero().flatten()
        assert len(rows) == 200
        one, other = rows[::2], rows[1::2]
        assert torch.equal(stories.events[one], stories.events[other])
        assert torch.equal(stories.initial[one], stories.initial[other])
        assert (stories.belief[one, -1] != stories.belief[other, -1]).all()
        right = stories.belief[rows, -1]
        for name, answers in zip(SHORTCUTS, stories.shortcut[rows].T, strict=True):
            share = float((answers == right).float().mean())
            if name in ("reality", "initial", "common_ground"):
                assert share == 0
            elif "agent" in name:  # they read one name, which is all that there is to read at order 1
                assert share == 1 if order == 1 else 0.2 < share < 0.8
            else:
                assert 0.2 < share <= 0.5


def test_a_bank_has_variety():
    """Of directed questions of order 2 with 8 events no two stories are alike, and answers are spread over containers:
    200 from 5, each within 5 standard errors (.03) of 1/5."""
    env = make("belief_track", train_stories=16, test_stories=400)
    rows = env.stories.directed & (env.stories.order == 2)
    told = torch.cat([env.stories.initial[rows][:, None], env.stories.events[rows].flatten(1)], 1)
    assert len(told.unique(dim=0)) == 200
    shares = env.stories.belief[rows, -1][::2].bincount(minlength=5) / 200
    assert ((shares - 0.2).abs() < 5 * 0.03).all()


def test_shortcuts_by_plain_loops():
    env = make("belief_track", **SMALL, mix=ASYMMETRIC)
    bank = env.bank
    for row in range(0, env.n_prompts, 7):
        events = list(zip(*(part[row].tolist() for part in bank.story[1:5]), strict=True))
        initial = int(bank.story.initial[row])
        beliefs = minds_of(initial, events, 4)[-1]
        chain = tuple(int(a) for a in bank.chain[row] if a < 4)
        place = before = common = initial
        here = set(range(4))
        for kind, actor, shown, _ in events:
            here = here - {actor} if kind == LEAVE else here | {actor} if kind == ENTER else here
            if kind == MOVE:
                before, place = place, shown
            if kind in (MOVE, ENTER) and len(here) == 4:
                common = shown
        expected = {
            "reality": place,
            "initial": initial,
            "first_agent": beliefs[chain[:1]] if chain else place,
            "last_agent": beliefs[chain[-1:]] if chain else place,
            "common_ground": common,
            "previous": before,
        }
        answer = beliefs[chain] if chain else place
        assert dict(zip(SHORTCUTS, bank.shortcut[:, row].tolist(), strict=True)) == expected
        assert bank.belief[row, -1] == answer
        assert bank.false[row] == (answer != place)
        assert bank.separable[row] == (answer not in (place, initial, common))


# -- what is seen ------------------------------------------------------------------------------------------------------
def test_views_show_events_one_by_one_and_without_memory_only_the_present():
    env = make("belief_track", **SMALL, view="trace")
    blind = make("belief_track", **SMALL, view="trace", memory="none")
    whole = make("belief_track", **SMALL)
    prompt = torch.tensor([3, 250])
    story = whole.observe(whole.reset(prompt))
    tokens = torch.tensor([[2, 5, 0, 0, 5, 1, 4], [5, 5, 1, 3, 4, 0, 2]])
    state, moment = env.reset(prompt), blind.reset(prompt)
    for t in range(7):
        seen, now = env.observe(state), blind.observe(moment)
        shown = min(t + 1, 6)
        assert torch.equal(seen[:, : 6 + 4 * shown], story[:, : 6 + 4 * shown])
        hidden = seen[:, 6 + 4 * shown : 30].unflatten(1, (-1, 4))
        assert (hidden == torch.tensor([6, 4, 5, 4])).all()
        assert torch.equal(seen[:, 30 : 30 + t], tokens[:, :t]) and (seen[:, 30 + t :] == 6).all()
        assert torch.equal(now[:, :5], story[:, :5])
        event = story[:, 6 + 4 * t : 10 + 4 * t] if t < 6 else torch.tensor([[6, 4, 5, 4]] * 2)
        assert torch.equal(now[:, 5:9], event)
        assert torch.equal(now[:, -1], story[:, 5] if t == 0 else tokens[:, t - 1])
        for row in range(2):
            present = whole.bank.story.present[prompt[row], min(t, 5)]
            assert now[row, 9:13].tolist() == present.astype(int).tolist()
        state, moment = env.step(state, tokens[:, t]), blind.step(moment, tokens[:, t])
    assert state.answer.tolist() == [4, 2] and torch.equal(state.written, tokens[:, :6])


def test_legal_tokens_by_view():
    trace, stream = (make("belief_track", **SMALL, view=view) for view in ("trace", "stream"))
    state = trace.reset(torch.tensor(0))
    assert make("belief_track", **SMALL).legal(state) is None
    assert trace.legal(state).tolist() == [True] * 6
    assert stream.legal(state).tolist() == [False] * 5 + [True]
    for _ in range(6):
        state = trace.step(state, torch.tensor(5))
    assert trace.legal(state).tolist() == stream.legal(state).tolist() == [True] * 5 + [False]


def test_reward_pays_the_answer_and_charges_what_was_written():
    env = make("belief_track", **SMALL, view="trace", length_cost=0.3)
    belief = env.stories.belief[7]
    state = env.reset(torch.tensor(7))
    for t in range(6):
        assert float(env.reward(state)) == 0
        state = env.step(state, belief[t] if t < 2 else (belief[t] + 1) % 5 if t == 2 else torch.tensor(5))
    right, wrong = (env.step(state, (belief[-1] + k) % 5) for k in (0, 1))
    assert float(env.reward(right)) == pytest.approx(1 - 0.3 * 3 / 6)
    assert float(env.reward(wrong)) == pytest.approx(-0.3 * 3 / 6)
    assert env.reward_vector(right).tolist() == pytest.approx([1, 2 / 6, -3 / 6])
    assert not env.binary_reward and make("belief_track", **SMALL).binary_reward


# -- who demonstrates, and rules as policies ---------------------------------------------------------------------------
def played(env, policy, prompt, group=1, seed=0):
    return rollout(env, lambda observation, legal: policy(observation), prompt[None], group, Streams("r", [seed]))


@pytest.mark.parametrize(
    "knobs", [{}, {"view": "stream"}, {"view": "trace"}, {"view": "trace", "memory": "none"}], ids=str
)
def test_the_demonstrator_is_always_right_and_writes_the_belief(knobs):
    env = make("belief_track", **SMALL, **knobs, mix=ASYMMETRIC)
    sample = played(env, env.demonstrate(), env.prompts())
    assert (sample.reward == 1).all()
    if env.view == "trace":
        assert torch.equal(sample.token[0, :, 0, :-1], env.stories.belief)


def test_the_demonstrator_skips_and_errs_as_often_as_it_says():
    """Shares of 34,400 and 2,400 draws: 5 standard errors are below .014 and .05."""
    env = make("belief_track", **{**SMALL, "train_stories": 600}, view="trace")
    sample = played(env, env.demonstrate(skip=0.4, noise=0.1), env.prompts("train"), group=8)
    skipped = (sample.token[..., :-1] == 5).float().mean()
    assert abs(float(skipped) - (0.9 * 0.4 + 0.1 / 6)) < 0.014
    assert abs(float(sample.reward.mean()) - (0.9 + 0.1 / 5)) < 0.05


def test_without_memory_the_demonstrator_knows_what_it_wrote_and_what_it_sees():
    env = make("belief_track", **SMALL, view="trace", memory="none")
    belief = env.stories.belief
    sample = played(env, env.demonstrate(skip=0.4), env.prompts("train"))
    bank = env.bank
    for row in range(200):
        known = True
        members = {int(a) for a in bank.chain[row] if a < 4}
        for t in range(6):
            kind, present = bank.story.kind[row, t], set(np.flatnonzero(bank.story.present[row, t]))
            known = known or (kind in (MOVE, ENTER) and members <= present)
            token = int(sample.token[0, row, 0, t])
            assert token in ((int(belief[row, t]), 5) if known else (5,))
            known = token != 5
        if known:
            assert float(sample.reward[0, row, 0]) == 1


@pytest.mark.parametrize("rule", SHORTCUTS)
def test_a_rule_as_a_policy_answers_by_the_rule(rule):
    env = make("belief_track", **SMALL, mix=ASYMMETRIC)
    sample = played(env, env.shortcut(rule), env.prompts())
    assert torch.equal(sample.token[0, :, 0, 0], env.stories.shortcut[:, SHORTCUTS.index(rule)])


# -- measures ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("knobs", [{}, {"view": "trace"}], ids=str)
def test_measures_by_plain_loops(knobs):
    env = make("belief_track", **SMALL, **knobs)
    policy = make_policy("mlp", env, [0, 1], width=16)
    prompt = env.prompts("test")
    worth = sampled_worth(env, policy, prompt, [0, 1])
    found = env.measure_answers(prompt, worth.state, worth.answer)
    stories, chance = env.stories, worth.answer.double()
    for run in range(2):
        groups: dict[str, list[float]] = {}
        written, valid, correct = [], [], []
        for place, number in enumerate(prompt.tolist()):
            order, right = int(stories.order[number]), int(stories.belief[number, -1])
            directed, trained = bool(stories.directed[number]), order in env.orders
            mine = float(chance[run, place, :, right].mean())
            kind = "separable" if directed else "accuracy"
            groups.setdefault(f"{kind}_order{order}", []).append(mine)
            if order:
                name = "trained" if trained else "held_out"
                groups.setdefault(f"{kind}_{name}", []).append(mine)
                if not directed:
                    false = "false" if stories.false[number] else "congruent"
                    groups.setdefault(f"{false}_{name}", []).append(mine)
            if trained:
                for rule, answer in zip(SHORTCUTS, stories.shortcut[number].tolist(), strict=True):
                    agreement = float(chance[run, place, :, answer].mean())
                    groups.setdefault(f"agreement_{rule}", []).append(agreement)
                    if directed:
                        groups.setdefault(f"agreement_{rule}_directed", []).append(agreement)
                for response in range(chance.shape[2]):
                    for t in range(6):
                        token = int(worth.state.written[run, place, response, t])
                        written.append(token < 5)
                        valid.append(token == int(stories.belief[number, t]))
                        correct.append(float(chance[run, place, response, right]))
        if env.view == "trace":
            w, v, c = (np.array(x, dtype=float) for x in (written, valid, correct))
            shares = {"trace_written": w.mean(), "trace_validity": v.mean(), "trace_right": v.sum() / w.sum()}
            shares["trace_right_given_correct"] = (v * c).sum() / (w * c).sum()
            shares["trace_validity_given_correct"] = (v * c).sum() / c.sum()
            groups |= {name: [share] for name, share in shares.items()}
        assert set(groups) == set(found)
        for name, values in groups.items():
            # Sums of some thousand float32 chances: an error of 1e-5 at most, where one answer misplaced gives 1e-3.
            assert float(found[name][run]) == pytest.approx(np.mean(values), abs=1e-5), name


def test_a_story_is_told_for_people():
    env = make("belief_track", **SMALL, view="trace")
    state = env.reset(torch.tensor(230))
    text = env.describe(state)
    assert re.match(r"where (does [A-D] think that .*)?(is )?the object is\?|where is the object\?", text)
    assert "at first in" in text and "now A:" in text
    for _ in range(6):
        state = env.step(state, torch.tensor(5))
    text = env.describe(env.step(state, torch.tensor(1)))
    assert "written: - - - - - -" in text and "answer 1, right" in text


# -- what is refused, and that it trains -------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"agents": 3}, "agents is 3; allowed: 4 to 8"),
        ({"test_stories": 15}, "test_stories is 15; allowed: even"),
        ({"mix": (0.5, 0.5)}, "allowed: 6 chances that sum to 1"),
        ({"orders": (1, 5)}, "allowed: some of 0 to 4, each once"),
        ({"orders": ()}, "allowed: some of 0 to 4, each once"),
        ({"false_belief": 1.2}, "false_belief is 1.2; allowed: 0 to 1"),
        ({"separable": 0.7}, "separable is 0.7; allowed: None, or 0 to the share of false beliefs, 0.5"),
        ({"view": "storey"}, "did you mean 'story'"),
        ({"memory": "none"}, 'allowed with view="trace"'),
        ({"length_cost": -1}, "length_cost is -1; allowed: 0 to 1"),
    ],
)
def test_bad_knobs_are_refused_in_one_line(knobs, message):
    with pytest.raises(ToybedError, match=re.escape(message)):
        make("belief_track", **knobs)


def test_what_cannot_be_made_or_listed_is_refused():
    still = make("belief_track", **SMALL, mix=(0.0, 0.5, 0.3, 0.0, 0.0, 0.2))
    with pytest.raises(ToybedError, match="leave no false belief of order 1"):
        _ = still.bank
    env = make("belief_track", **SMALL, view="trace")
    with pytest.raises(ToybedError, match="stories are not listed as contexts"):
        make_policy("tabular", env, [0])
    with pytest.raises(ToybedError, match="unknown shortcut 'realty'"):
        env.shortcut("realty")
    with pytest.raises(ToybedError, match='allowed with view="story"'):
        env.shortcut("reality")
    with pytest.raises(ToybedError, match=re.escape("skip is 1.5; allowed: 0 to 1")):
        env.demonstrate(skip=1.5)


@pytest.mark.parametrize(
    ("policy", "knobs"),
    [
        (Spec("gru", {"width": 16}), {"view": "story"}),
        (Spec("transformer", {"width": 16}), {"view": "trace"}),
        (Spec("gru", {"width": 16}), {"view": "stream"}),
        (Spec("mlp", {"width": 16}), {"view": "trace", "memory": "none"}),
    ],
    ids=str,
)
def test_every_view_trains(policy, knobs):
    runs = train(
        "grpo",
        seeds=2,
        world=Spec("belief_track", {**SMALL, **knobs}),
        policy=policy,
        supervised=Supervised(steps=20, demonstrations=64, demonstrator={"noise": 0.1}),
        updates=2,
        prompts=16,
        group=4,
    )
    for run in runs:
        assert run.diverged_at is None
        assert np.isfinite(run.curves["separable_trained"].values).all()
        assert ("trace_written" in run.curves) == (knobs["view"] == "trace")
