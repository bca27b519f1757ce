"""MIDialogue against something slower and more obvious: its rules told in plain Python, all paths, Monte Carlo."""

from __future__ import annotations

import functools
import itertools
import math

import numpy as np
import pytest
import torch
from torch.nn.functional import pad

from toybed.envs import make
from toybed.envs import mi_dialogue_users as people
from toybed.envs.core import ILLEGAL
from toybed.errors import ToybedError
from toybed.exact import groups

# Monte Carlo comparisons ask |z| < 4.5: under the normal law a right program fails one of them with 6.8e-6.
Z = 4.5
FEELINGS, CONTEXT, PERSPECTIVE = (
    ("negative feeling", "positive feeling"),
    ("share information",),
    ("new understanding",),
)
MIXED = {"n_types": 2, "held_out": 1, "table_seed": 3}
LEVELS = [
    {"level": "act"},
    {"level": "act", "see_type": True},
    {"level": "act", "see_counters": True},
    {"level": "act", "see_counters": True, "see_type": True, "gated": False},
    {"level": "option", "reward_source": "text"},
    {"level": "option", "see_type": True},
    {"level": "both"},
    {"level": "both", "see_type": True, "reward_source": "text", "gated": False},
]


def random_table(env, seed=0, scale=1.5):
    shape = (len(env.contexts()), env.vocabulary)
    logits = torch.from_numpy(np.random.default_rng(seed).normal(scale=scale, size=shape))
    legal = env.legal_at(env.contexts())
    return (logits if legal is None else logits.masked_fill(~legal, ILLEGAL)).log_softmax(-1)


# -- the rules, as one would tell them ---------------------------------------------------------------------------------
def plain_answers(env, user, half, counters, act):
    """The chances of the nine answers."""
    _, phases, row = people._ACTS[act]
    result = np.zeros(9)
    for name, share in enumerate(env.mixture[user].tolist()):
        phase = next((i for i in range(3) if counters[i] < env.need[name][i]), 3)
        premature = min(phases) > phase
        is_open = name == 2 or (name == 0 and half == 1)
        weight = dict(zip(people.ANSWERS, (x / 100 for x in row), strict=True))
        if premature:
            weight["sustain talk"] += 0.12 * env.resist
        if is_open:
            weight["change talk"] *= 1.6
            weight["new understanding"] *= 1.3
        elif premature:
            for answer in ("change talk", "new understanding", "share information"):
                weight[answer] /= 4
        values = np.array(list(weight.values()))
        result += share * values / values.sum()
    return result


def plain_turn(env, counters, answer):
    """The counters after an answer, and the five components that are paid for it, in hundredths."""
    rapport, context, perspective = counters
    name, paid = people.ANSWERS[answer], [0, 0, 0, 0, 0]
    all_met = min(counters) > 2
    may_focus, may_evoke = rapport > 2 or not env.gated, (rapport > 2 and context > 2) or not env.gated
    code = env.reward_source == "code"
    if name in FEELINGS:
        paid[0] = 50 if rapport < 3 else 0
        rapport = min(rapport + 1, 6)
    if name in (*CONTEXT, "ask a medical question"):
        if name == "ask a medical question" and all_met:
            paid[3] = 245 if code else 200
        elif may_focus and context < 4:
            paid[1] = 100
        context = min(context + 1, 4)
    if name in (*PERSPECTIVE, "change talk"):
        if name == "change talk" and all_met:
            paid[3] = 250 if code else 200
        elif may_evoke and perspective < 4:
            paid[2] = 150
        if name == "change talk" and not code:
            paid[2] += 5
        perspective = min(perspective + 1, 4)
    if name == "sustain talk":
        paid[4] = -10 if code else -5
    return (rapport, context, perspective), paid


def drawn(chances, uniform):
    total = 0.0
    for place, chance in enumerate(chances):
        total += chance
        if uniform < total:
            return place
    return len(chances) - 1


def plain_dialogue(env, user, noise, tokens):
    """Counters, components and last acts after a legal response."""
    counters, paid, said, heard, turn, acts = (0, 0, 0), np.zeros(5, dtype=int), 0, 0, 0, []
    for time, token in enumerate(tokens):
        if env.level == "act":
            acts = [token]
        elif env.level == "option":
            first = env.turns + turn
            acts = [drawn(env.sub_policies[token].tolist(), u) for u in noise[first : first + env.hold]]
        else:
            acts = [] if time % (env.hold + 1) == 0 else [token - 4]
        for act in acts:
            half = 1 if turn >= env.turns / 2 else 0
            answer = drawn(plain_answers(env, user, half, counters, act), noise[turn])
            counters, more = plain_turn(env, counters, answer)
            paid, said, heard, turn = paid + more, act + 1, answer + 1, turn + 1
    return counters, paid, said, heard


def legal_tokens(env, random, count):
    tokens = random.integers(env.vocabulary, size=(count, env.horizon))
    if env.level == "both":
        planning = np.array([kind == "planning" for kind in env.kinds])
        tokens = np.where(planning, tokens % 4, 4 + tokens % 13)
    return tokens


@pytest.mark.parametrize("knobs", LEVELS, ids=str)
def test_dialogues_are_those_of_the_rules(knobs):
    env = make("mi_dialogue", **MIXED, **knobs, turns=12, hold=3, need=((3, 2, 4), (5, 3, 3), (1, 0, 1)), resist=3)
    random = np.random.default_rng(0)
    count = 150
    user = torch.from_numpy(random.integers(env.n_prompts, size=count))
    noise = torch.from_numpy(random.random((count, env.noise), dtype=np.float32))
    tokens = legal_tokens(env, random, count)
    state = env.reset(user, noise)
    for t in range(env.horizon):
        state = env.step(state, torch.from_numpy(tokens[:, t]))
    seen = set()
    for i in range(count):
        counters, paid, said, heard = plain_dialogue(env, int(user[i]), noise[i].tolist(), tokens[i].tolist())
        assert tuple(env.counters[state.counters[i]].tolist()) == counters
        assert state.points[i].tolist() == paid.tolist()
        assert (int(state.said[i]), int(state.heard[i])) == (said, heard)
        seen |= {place for place, value in enumerate(paid) if value}
    assert seen >= {0, 1, 2, 4}, "every component but the last phase's is paid to somebody"
    assert torch.allclose(env.reward_vector(state).sum(-1), env.reward(state), rtol=0, atol=1e-5)  # float32, size 10
    assert torch.equal(env.reward(state), state.points.sum(-1).float() / 100)


def test_without_noise_everybody_does_the_median():
    env = make("mi_dialogue", level="option")
    state = env.reset(torch.tensor(1))
    assert (state.noise == 0.5).all()
    after = env.step(state, torch.tensor(3))
    assert (after.counters, *plain_dialogue(env, 1, [0.5] * 40, [3])[2:]) == (after.counters, after.said, after.heard)


def test_what_is_seen_and_allowed_at_the_hierarchical_level():
    env = make("mi_dialogue", level="both", see_type=True, turns=4, hold=2, **MIXED)
    assert env.kinds == ("planning", "execution", "execution") * 2 and env.horizon == 6
    state = env.reset(torch.tensor(2))
    seen = [env.observe(state).tolist()]
    assert env.legal(state).tolist() == [True] * 4 + [False] * 13
    for token in (1, 4 + 3, 4 + 0):
        state = env.step(state, torch.tensor(token))
        seen.append(env.observe(state).tolist())
        assert bool(env.legal(state)[0]) == (len(seen) == 4)
    # Of an open user at noise 1/2: "ask about emotions" brings a negative feeling (.12 + .048 + .06 + .45 is above half
    # of 1.03), and so does "reflection" (.20 + .128 + .08 + .18 is above half of 1.096).
    assert seen[0] == [0, 2, 0, 0, 0, 0, 0, 0], "the master sees type, counters and number of options"
    assert seen[1] == [2, 0, 0, 0, 0, 0, 0, 0], "the sub-policy the option and the last acts, of which there are none"
    assert seen[2] == [2, 0, 0, 0, 0, 0, 4, 4]
    assert seen[3] == [0, 2, 2, 0, 0, 1, 0, 0]


def test_an_illegal_token_spoils_the_response():
    env = make("mi_dialogue", level="both", turns=2, hold=1, n_types=0, held_out=0)
    for tokens, spoiled in (([0, 7, 0, 7], False), ([0, 7, 0, 0], True), ([7, 7, 0, 7], True)):
        state = env.reset(torch.tensor(0))
        for token in tokens:
            state = env.step(state, torch.tensor(token))
        assert (float(env.reward(state)) == 0) == spoiled
        assert bool((env.reward_vector(state) == 0).all()) == spoiled


# -- users -------------------------------------------------------------------------------------------------------------
def test_a_mixture_of_one_is_that_user_and_mixtures_are_mixed():
    need = ((3, 3, 3), (5, 3, 3), (1, 1, 1))
    corners = torch.eye(3, dtype=torch.float64)
    answers, _ = people.users(torch.cat([corners, torch.tensor([[0.5, 0.25, 0.25]], dtype=torch.float64)]), need, 6.0)
    alone = [people.users(corners[k : k + 1], need, 6.0)[0][0] for k in range(3)]
    for k in range(3):
        assert torch.equal(answers[k], alone[k])
    assert torch.allclose(answers[3], 0.5 * alone[0] + 0.25 * alone[1] + 0.25 * alone[2], rtol=0, atol=1e-15)
    assert torch.allclose(answers.sum(-1), torch.ones(()).double(), rtol=0, atol=1e-14)
    # A receptive user begins as a resistant one would with its thresholds, and ends as an open one would.
    same = people.users(corners, ((3, 3, 3),) * 3, 6.0)[0]
    assert torch.equal(same[0, 0], same[1, 0]) and torch.equal(same[0, 1], same[2, 1])


def test_mixtures_come_from_the_seed_and_more_of_them_keep_the_first():
    few, many, other = people.mixtures(3, 0), people.mixtures(9, 0), people.mixtures(3, 1)
    assert torch.equal(few, many[:6]) and not torch.equal(few, other)
    assert torch.allclose(many.sum(1), torch.ones(()).double()) and (many >= 0).all()


@pytest.mark.parametrize(("n_types", "held_out"), [(0, 0), (4, 0), (4, 1), (4, 4)])
def test_held_out_types_are_the_last(n_types, held_out):
    env = make("mi_dialogue", n_types=n_types, held_out=held_out)
    every, train, test = (env.prompts(split).tolist() for split in ("all", "train", "test"))
    assert every == list(range(3 + n_types))
    if held_out:
        assert train + test == every and len(test) == held_out
    else:
        assert train == test == every


def test_premature_acts_hurt_resistant_users_most():
    """In what they cost: the chance of an answer that some counter counts, before and after the phase is reached."""
    env = make("mi_dialogue", n_types=0, held_out=0)
    answers, situation = env.tables.answers, env.tables.situation
    useful = [u for counted in people.COUNTS for u in counted]
    early, late = situation[0], situation[-1]
    for act in (1, 2, 4, 5):  # of focus, evoke, plan and plan
        lost = [float((answers[k, 0, late, act] - answers[k, 0, early, act])[useful].sum()) for k in range(3)]
        assert lost[1] == pytest.approx(lost[0]) and lost[1] > lost[2] > 0  # receptive is resistant in the first half


@pytest.mark.parametrize("level", ["act", "option"])
def test_more_resistance_lowers_returns(level):
    worlds = [make("mi_dialogue", level=level, **MIXED, resist=resist) for resist in (0, 2, 6, 12)]
    optima = torch.stack([env.optima() for env in worlds])
    # Who knows a named user need not do premature acts; with a mixed user they cannot be avoided.
    assert (optima.diff(dim=0) <= 1e-12).all() and (optima[:, 3:].diff(dim=0) < 0).all()
    baselines = [env.random_baseline() for env in worlds]
    assert baselines == sorted(baselines, reverse=True)
    ladder = [float(env.evaluate(env.demonstrator().double()).reward.mean()) for env in worlds]
    assert ladder == sorted(ladder, reverse=True)


def test_higher_thresholds_and_gates_lower_the_optimum():
    easy = make("mi_dialogue", need=((1, 1, 1),) * 3).optima()
    hard = make("mi_dialogue", need=((4, 3, 3),) * 3).optima()
    gated, dense = (make("mi_dialogue", gated=gated).optima() for gated in (True, False))
    assert (hard < easy).all() and (gated < dense).all()


# -- expectations ------------------------------------------------------------------------------------------------------
def paths(env, table, user):
    """Everything that may happen: ``(chance, chance of the tokens, points, choices)``, in plain Python.

    ``choices``: number, counters and option, as they were chosen.
    """
    contexts = {tuple(row): i for i, row in enumerate(env.contexts().tolist())}
    chance_of = table.exp().tolist()
    subs = env.sub_policies.tolist()
    types = [user] if env.see_type else []

    def policy(counters, turn, option, heard, said):
        number = turn // (1 if env.level == "act" else env.hold)
        if env.level == "act":
            seen = [*types, *counters, turn] if env.see_counters else [*types, heard, said]
        elif env.level == "option":
            seen = [*types, *counters, number]
        elif option:
            seen = [option, *(0 for _ in types), 0, 0, 0, 0, heard, said]
        else:
            seen = [0, *types, *counters, number, 0, 0]
        return chance_of[contexts[tuple(seen)]]

    @functools.cache
    def answers(half, counters, act):
        return plain_answers(env, user, half, counters, act).tolist()

    def go(turn, counters, heard, said, option, chance, token_chance, paid, choices):
        if turn == env.turns:
            yield chance, token_chance, paid, choices
            return
        starts = turn % env.hold == 0 and env.level != "act"
        ways = [(option, 1.0)]
        if starts:
            shares = policy(counters, turn, 0, heard, said)[:4]
            ways = [(o + 1, share) for o, share in enumerate(shares)]
        for held, share in ways:
            made = [*choices, (turn // env.hold, counters, held - 1)] if starts else choices
            if env.level == "option":
                acts, token = subs[held - 1], False
            else:
                acts, token = policy(counters, turn, held, heard, said)[-13:], True
            for act, act_share in enumerate(acts):
                if not share * act_share:
                    continue
                for answer, likely in enumerate(answers(int(2 * turn >= env.turns), counters, act)):
                    after, more = plain_turn(env, counters, answer)
                    yield from go(
                        turn + 1,
                        after,
                        answer + 1,
                        act + 1,
                        held,
                        chance * share * act_share * likely,
                        token_chance * share * (act_share if token else 1),
                        [a + b for a, b in zip(paid, more, strict=True)],
                        made,
                    )

    yield from go(0, (0, 0, 0), 0, 0, 0, 1.0, 1.0, [0] * 5, [])


SOON = {"need": ((1, 1, 1), (2, 1, 1), (0, 1, 1)), "n_types": 1, "held_out": 0}  # phases change within two turns


@pytest.mark.parametrize(
    ("knobs", "hold"),
    [(knobs, hold) for knobs in LEVELS for hold in (1, 2) if hold == 1 or knobs["level"] != "act"],
    ids=str,
)
def test_evaluation_and_measures_are_sums_over_paths(knobs, hold):
    env = make("mi_dialogue", **SOON, **knobs, turns=2, hold=hold)
    table = random_table(env)
    if knobs["level"] == "both":  # of 13 acts each context keeps 4, others than its neighbours: fewer paths
        row, act = torch.arange(len(table))[:, None], torch.arange(13)
        kept = pad((act * 5 + row * 7) % 13 < 4, (4, 0), value=True)
        table = table.masked_fill(~kept, ILLEGAL).log_softmax(-1)
    exact, measures = env.evaluate(table), env.measures(table)
    joint, paid = np.zeros((4, env.blocks, 4, 4)), np.zeros(5)  # type, number, phase, option
    seen = {}
    for user in range(4):
        total = reward = entropy = 0.0
        for chance, token_chance, points, choices in paths(env, table, user):
            total += chance
            reward += chance * sum(points) / 100
            entropy -= chance * math.log(token_chance)
            paid += chance * np.array(points) / 100 / 4
            for number, counters, option in choices:
                phase = next((i for i in range(3) if counters[i] < 3), 3)
                joint[user, number, phase, option] += chance / (4 * env.blocks)
                key = (user if env.see_type else 0, number, counters)
                seen.setdefault(key, np.zeros(4))[option] += chance / (4 * env.blocks)
        # float64, sums of at most 4e4 numbers
        assert total == pytest.approx(1, abs=1e-11)
        assert float(exact.reward[user]) == pytest.approx(reward, abs=1e-10)
        assert float(exact.entropy[user]) == pytest.approx(entropy, abs=1e-9)
        if user < 3:
            assert float(measures[f"reward_{people.TYPES[user]}"]) == pytest.approx(reward, abs=1e-10)
    for name, value in zip(env.reward_names, paid, strict=True):
        assert float(measures[f"paid_{name}"]) == pytest.approx(value, abs=1e-10)
    if knobs["level"] == "act":
        return

    def entropy_of(chances):
        return -sum(p * math.log(p) for p in np.ravel(chances) if p > 0)

    marginal = joint.sum((0, 1, 2))
    expected = {
        "dominant_share": marginal.max(),
        "option_entropy": entropy_of(marginal),
        "information_type": entropy_of(marginal) + math.log(4) - entropy_of(joint.sum((1, 2))),
        "information_state": entropy_of(marginal)
        - sum(row.sum() * entropy_of(row / row.sum()) for row in seen.values()),
    }
    for (p, phase), (o, option) in itertools.product(enumerate(people.PHASES), enumerate(people.PHASES)):
        expected[f"{option}_in_{phase}"] = joint.sum((0, 1))[p, o]
    for name, value in expected.items():
        assert float(measures[name]) == pytest.approx(value, abs=1e-10), name


@pytest.mark.parametrize("knobs", LEVELS, ids=str)
def test_evaluation_is_what_sampling_shows(knobs):
    """Reward and entropy, 4 types, 3 policies, 8 levels: 192 comparisons, a right program fails with 1.3e-3."""
    env = make("mi_dialogue", n_types=1, held_out=1, table_seed=4, **knobs)
    count, random = 1500, np.random.default_rng(7)
    for table in (env.uniform(), env.demonstrator(noise=0.2).double(), random_table(env)):
        exact = env.evaluate(table)
        user = env.prompts().repeat_interleave(count)
        state = env.reset(user, torch.from_numpy(random.random((len(user), env.noise), dtype=np.float32)))
        surprise = torch.zeros(len(user), dtype=torch.float64)
        for _ in range(env.horizon):
            log_probs = table[env.context_index(env.observe(state))]
            token = torch.from_numpy((log_probs.numpy() + random.gumbel(size=log_probs.shape)).argmax(-1))
            surprise -= log_probs.gather(-1, token[:, None])[:, 0]
            state = env.step(state, token)
        for sampled, expected in ((env.reward(state).double(), exact.reward), (surprise, exact.entropy)):
            sampled = sampled.view(-1, count)
            error = (sampled.mean(1) - expected).abs()
            assert (error < Z * sampled.std(1) / math.sqrt(count) + 1e-9).all()


@pytest.mark.parametrize("knobs", LEVELS, ids=str)
def test_evaluation_and_measures_have_free_leading_axes(knobs):
    env = make("mi_dialogue", turns=4, hold=2, n_types=0, held_out=0, **knobs)
    tables = torch.stack([random_table(env, seed) for seed in range(6)]).view(2, 3, -1, env.vocabulary)
    exact, measures = env.evaluate(tables), env.measures(tables)
    assert exact.reward.shape == exact.entropy.shape == (2, 3, 3)
    for i, j in itertools.product(range(2), range(3)):
        alone, measured = env.evaluate(tables[i, j]), env.measures(tables[i, j])
        assert torch.allclose(alone.reward, exact.reward[i, j], rtol=0, atol=1e-13)
        assert torch.allclose(alone.entropy, exact.entropy[i, j], rtol=0, atol=1e-12)
        assert set(measured) == set(measures)
        for name, value in measured.items():
            assert value.shape == () and float(value) == pytest.approx(float(measures[name][i, j]), abs=1e-12)


@pytest.mark.parametrize("knobs", [{"level": "option"}, {"level": "both"}], ids=str)
def test_options_of_a_policy_for_each_type_are_those_of_each_alone(knobs):
    """By phase they add to 1 for each type, and over the train types to what is measured of one policy for all."""
    env = make("mi_dialogue", **MIXED, turns=6, hold=3, **knobs)
    tables = torch.stack([random_table(env, seed) for seed in range(env.n_prompts)])
    each = env.evaluate_each(tables)
    alone = [env.evaluate_each(table.expand(env.n_prompts, *table.shape)) for table in tables]
    for k, other in enumerate(alone):
        torch.testing.assert_close(each.options[k], other.options[k])
        torch.testing.assert_close(each.reward[k], env.evaluate(tables[k]).reward[k])
    torch.testing.assert_close(each.options.sum((-2, -1)), torch.ones(env.n_prompts, dtype=torch.float64))
    measured = env.measures(tables[0])
    by_phase = alone[0].options[env.prompts("train")].mean(0)
    for p, phase in enumerate(people.PHASES):
        for o, option in enumerate(people.PHASES):
            torch.testing.assert_close(by_phase[p, o], measured[f"{option}_in_{phase}"])


def test_one_type_alone_can_be_trained_on():
    env, every = (make("mi_dialogue", **MIXED, only=only) for only in (1, None))
    assert env.prompts("train").tolist() == [1]
    assert torch.equal(env.prompts("test"), every.prompts("test"))
    table = random_table(env)
    assert torch.equal(env.evaluate(table).reward, every.evaluate(table).reward)
    own = sum(env.measures(table)[f"paid_{name}"] for name in env.reward_names)
    torch.testing.assert_close(own, env.evaluate(table).reward[1])


@pytest.mark.parametrize("level", ["act", "option", "both"])
def test_a_dialogue_of_one_turn_and_of_an_odd_number(level):
    for turns in (1, 3):
        env = make("mi_dialogue", level=level, turns=turns, hold=1, n_types=0, held_out=0)
        assert env.evaluate(env.uniform()).reward.shape == (3,)
        assert env.random_baseline() <= env.optimum()


@pytest.mark.parametrize("level", ["option", "both"])
def test_sub_policies_of_ones_own(level):
    """Rows that always do one act make of options what acts are; lists are taken, as JSON gives them."""
    acts = [3, 1, 2, 5]
    subs = [[float(place == act) for place in range(13)] for act in acts]
    knobs = {"turns": 6, "n_types": 0, "held_out": 0, "see_type": True}
    env = make("mi_dialogue", level=level, subs=subs, hold=1, **knobs)
    assert env == make("mi_dialogue", level=level, subs=tuple(map(tuple, subs)), hold=1, **knobs)
    assert isinstance(hash(env), int)
    among = make("mi_dialogue", level="act", see_counters=True, **knobs)
    phase = people.phase().repeat(3).repeat_interleave(6)  # contexts run over types, counters, turns
    same = torch.full((len(phase), 13), ILLEGAL, dtype=torch.float64)
    same.scatter_(1, torch.tensor(acts)[phase][:, None], 0.0)
    ladder = env.evaluate(env.demonstrator().double()).reward
    assert torch.allclose(ladder, among.evaluate(same).reward, rtol=0, atol=1e-5)  # a float32 table


# -- the optimum -------------------------------------------------------------------------------------------------------
def plain_optimum(env, level, user):
    """By recursion with memory, option by option and turn by turn."""
    chances = np.eye(13).tolist() if level == "act" else env.sub_policies.tolist()
    hold = 1 if level == "act" else env.hold

    @functools.cache
    def answers(half, counters, act):
        return plain_answers(env, user, half, counters, act).tolist()

    @functools.cache
    def value(turn, counters, held):
        if turn == env.turns:
            return 0.0
        if turn % hold == 0 and held is None:
            return max(value(turn, counters, way) for way in range(len(chances)))
        worth = 0.0
        for act, share in enumerate(chances[held]):
            if share:
                for answer, likely in enumerate(answers(int(2 * turn >= env.turns), counters, act)):
                    after, paid = plain_turn(env, counters, answer)
                    ahead = value(turn + 1, after, None if (turn + 1) % hold == 0 else held)
                    worth += share * likely * (sum(paid) / 100 + ahead)
        return worth

    return value(0, (0, 0, 0), None)


@pytest.mark.parametrize("knobs", [{"reward_source": "text"}, {"gated": False, "need": ((1, 2, 1),) * 3}])
@pytest.mark.parametrize("level", ["act", "option"])
def test_the_optimum_is_that_of_a_plain_recursion(level, knobs):
    env = make("mi_dialogue", level=level, turns=9, hold=3, n_types=1, held_out=0, **knobs)
    for user in range(4):
        assert float(env.optima()[user]) == pytest.approx(plain_optimum(env, level, user), rel=1e-12)


@pytest.mark.parametrize("level", ["act", "option"])
def test_the_optimum_is_attained_by_its_own_policy_and_exceeded_by_none(level):
    """In samples, too: 4 types, a right program fails with 3e-5."""
    env = make("mi_dialogue", level=level, see_type=True, see_counters=level == "act", n_types=1, held_out=0)
    best = env.optimal_policy()
    assert torch.allclose(env.evaluate(best).reward, env.optima(), rtol=1e-12)
    others = [env.demonstrator().double(), env.uniform(), *(random_table(env, seed, 4.0) for seed in range(5))]
    constant = torch.full_like(best, ILLEGAL)
    for token in range(env.vocabulary):
        others.append(constant.clone().index_fill_(1, torch.tensor([token]), 0.0))
    assert (env.evaluate(torch.stack(others)).reward <= env.optima() + 1e-9).all()
    random, count = np.random.default_rng(2), 2000
    state = env.reset(
        env.prompts().repeat_interleave(count),
        torch.from_numpy(random.random((4 * count, env.noise), dtype=np.float32)),
    )
    for _ in range(env.horizon):
        state = env.step(state, best[env.context_index(env.observe(state))].argmax(-1))
    sampled = env.reward(state).double().view(4, count)
    assert ((sampled.mean(1) - env.optima()).abs() < Z * sampled.std(1) / math.sqrt(count)).all()


def test_levels_bound_one_another():
    """Acts may do what any option does, and a master that knows less earns no more."""
    act, option, both = (make("mi_dialogue", level=level, **MIXED) for level in ("act", "option", "both"))
    assert (option.optima() < act.optima()).all()
    assert torch.equal(both.optima(), act.optima())
    for seed in range(4):
        table = random_table(both, seed, 3.0)
        bound = both.best_master(table)
        assert (both.evaluate(table).reward <= bound).all() and (bound <= act.optima() + 1e-9).all()


def test_the_best_master_over_fixed_specialists_is_the_optimum_of_the_option_level():
    both, option = (make("mi_dialogue", level=level, **MIXED) for level in ("both", "option"))
    # float32 rows of the demonstrator: relative errors of 1e-7 a turn
    assert torch.allclose(both.best_master(both.demonstrator().double()), option.optima(), rtol=1e-5)
    tables = torch.stack([both.demonstrator().double(), both.uniform()])
    bound = both.best_master(tables)
    assert bound.shape == (2, 5)
    assert torch.allclose(bound[1], both.evaluate(both.uniform()).reward, rtol=1e-12), "options that are all alike"


def test_the_best_master_is_reached_where_there_is_one_choice():
    """With one option in a dialogue there is nothing to see before it is chosen."""
    env = make("mi_dialogue", level="both", turns=5, hold=5, **MIXED)
    table = random_table(env, 1)
    each = []
    for option in range(4):
        constant = table.clone()
        constant[env.masters] = ILLEGAL
        constant[env.masters, option] = 0.0
        each.append(env.evaluate(constant).reward)
    assert torch.allclose(env.best_master(table), torch.stack(each).amax(0), rtol=1e-12)


def table_for_all(env, choice):
    """The policy of choices ``[1, n, 175]`` in a world that shows counters and not the type."""
    chosen = choice[0].T.flatten()
    return torch.full((len(chosen), env.vocabulary), ILLEGAL, dtype=torch.float64).scatter(1, chosen[:, None], 0.0)


@pytest.mark.parametrize("split", ["train", "all"])
@pytest.mark.parametrize("level", ["act", "option"])
def test_the_best_policy_for_all_is_worth_what_it_says_and_no_single_change_improves_it(level, split):
    env = make("mi_dialogue", level=level, see_counters=level == "act", turns=6, hold=2, **MIXED)
    best, prompts = env.best_for_all(split), env.prompts(split)
    table = table_for_all(env, best.choice)
    assert torch.allclose(env.evaluate(table).reward, best.worth, rtol=1e-12)
    assert (best.worth <= env.optima() + 1e-12).all()
    mean = float(best.worth[prompts].mean())
    random = np.random.default_rng(0)
    changed = table.expand(100, -1, -1).clone()
    rows = torch.from_numpy(random.integers(len(table), size=100))
    changed[torch.arange(100), rows] = ILLEGAL
    changed[torch.arange(100), rows, torch.from_numpy(random.integers(env.vocabulary, size=100))] = 0.0
    assert (env.evaluate(changed).reward[:, prompts].mean(1) <= mean + 1e-10).all()
    assert mean >= float(env.evaluate(env.demonstrator().double()).reward[prompts].mean()) - 1e-9


def test_knowing_the_type_pays_because_one_state_asks_for_different_options():
    """At rapport 3 a resistant user wants more engaging, and the others something else."""
    env = make("mi_dialogue", n_types=0, held_out=0, see_type=True)
    chosen = env.optimal_policy().argmax(-1).view(3, 7, 5, 5, 5)  # type, counters, options so far
    assert (chosen[1, 3, 0, 0] == 0).all() and (chosen[[0, 2], 3, 0, 0] == 1).all()
    assert env.optimum() > float(env.best_for_all().worth.mean()) + 0.2


# -- for measures and learners -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("level", ["option", "both"])
def test_shares_of_policies_that_are_known(level):
    env = make("mi_dialogue", level=level, n_types=0, held_out=0)
    constant = env.uniform()
    uniform = env.measures(constant)
    constant[env.masters] = ILLEGAL
    constant[env.masters, 2] = 0.0
    fixed = env.measures(constant)
    for name, expected in (("dominant_share", 0.25), ("option_entropy", math.log(4))):
        assert float(uniform[name]) == pytest.approx(expected, abs=1e-12)
    assert float(uniform["dominant_share_argmax"]) == pytest.approx(1), "by accident: ties go to the first option"
    for name, expected in (("dominant_share", 1), ("dominant_share_argmax", 1), ("option_entropy", 0)):
        assert float(fixed[name]) == pytest.approx(expected, abs=1e-12)
    for measures in (uniform, fixed):
        for name in ("information_type", "information_state"):
            assert float(measures[name]) == pytest.approx(0, abs=1e-12)


def test_a_master_that_has_one_option_for_each_type_has_all_the_information():
    env = make("mi_dialogue", n_types=0, held_out=0, see_type=True)
    table = torch.full((len(env.contexts()), 4), ILLEGAL, dtype=torch.float64)
    table.scatter_(1, env.contexts()[:, :1], 0.0)
    measures = env.measures(table)
    for name in ("information_type", "information_state", "option_entropy"):
        assert float(measures[name]) == pytest.approx(math.log(3), abs=1e-12)


@pytest.mark.parametrize("knobs", LEVELS, ids=str)
def test_the_demonstrator_mixes_its_ladder_with_what_is_legal(knobs):
    env = make("mi_dialogue", turns=4, hold=2, **MIXED, **knobs)
    clean, noisy = env.demonstrator().double().exp(), env.demonstrator(noise=0.3).double().exp()
    assert torch.allclose(noisy, 0.7 * clean + 0.3 * env.uniform().exp(), rtol=0, atol=1e-6)  # float32 tables
    assert torch.allclose(clean.sum(-1), torch.ones(()).double(), rtol=0, atol=1e-6)
    if knobs["level"] == "both":
        masters = env.masters
        half = env.demonstrator(noise=0.0, master_noise=1.0).double().exp()
        assert torch.allclose(half[masters], env.uniform().exp()[masters], atol=1e-6)
        assert torch.equal(half[~masters], clean[~masters])
    for wrong in ({"noise": 1.5}, {"master_noise": -0.1}):
        with pytest.raises(ToybedError, match=r"mi_dialogue: (noise|master_noise) is .*; allowed: 0 to 1"):
            env.demonstrator(**wrong)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"level": "acts"}, "level is 'acts'; allowed: act, option, both"),
        ({"reward_source": "paper"}, "reward_source is 'paper'; allowed: code, text"),
        ({"hold": 3}, "hold is 3; allowed: divisors of 20"),
        ({"resist": -1}, "resist is -1; allowed: 0 to 100"),
        ({"only": 9}, "only is 9; allowed: 0 to 8, or None"),
        ({"held_out": 7}, "held_out is 7; allowed: 0 to 6"),
        ({"n_types": 62}, "n_types is 62; allowed: 0 to 61"),
        ({"need": ((7, 3, 3),) * 3}, r"need is .*; allowed: three rows .* to at most \[6, 4, 4\]"),
        ({"need": ((3, 3),) * 3}, r"need is .*; allowed: three rows"),
        ({"subs": ((0.5, 0.5),) * 4}, "subs must be 4 rows"),
        ({"subs": ((0.1,) * 13,) * 4}, "subs must be 4 rows"),
        ({"level": "act", "subs": ((1 / 13,) * 13,) * 4}, r'subs are of .*; allowed at level="act": None'),
    ],
)
def test_wrong_knobs_are_refused(knobs, message):
    with pytest.raises(ToybedError, match=f"mi_dialogue: {message}"):
        make("mi_dialogue", **knobs)


def test_what_has_no_meaning_here_is_refused():
    env = make("mi_dialogue", turns=2, hold=1, n_types=0, held_out=0)
    with pytest.raises(ToybedError, match="mi_dialogue has no solutions to count"):
        env.solutions(env.prompts())
    with pytest.raises(ToybedError, match="MIDialogue: responses cannot be listed"):
        env.enumerate_responses(env.uniform(), env.prompts())
    with pytest.raises(ToybedError, match="MIDialogue: responses cannot be listed"):
        groups(env, 2)
    with pytest.raises(ToybedError, match="level is 'acts'; allowed: act, option, both"):
        env.optima("acts")
    with pytest.raises(ToybedError, match="the optimal policy knows the type"):
        env.optimal_policy()
    with pytest.raises(ToybedError, match='best_master is of level="both"'):
        env.best_master(env.uniform())


def test_a_line_for_people_names_acts_and_hides_the_type():
    env, told = (make("mi_dialogue", level="act", see_type=see, n_types=1, held_out=0) for see in (False, True))
    state = env.step(env.reset(torch.tensor(3)), torch.tensor(3))
    line = env.describe(state)
    assert "therapist: ask about emotions, user: " in line and "turn 1 of 20" in line and "mixed" not in line
    assert told.describe(told.reset(torch.tensor(1))).startswith("user of type resistant, turn 0 of 20")
    shares = ", ".join(f"{share:.2f} {name}" for share, name in zip(env.mixture[3], people.TYPES, strict=True))
    assert told.describe(told.reset(torch.tensor(3))).startswith(f"user of type mixed ({shares})")
    both = make("mi_dialogue", level="both")
    assert both.token_names == people.PHASES + people.ACTS and both.vocabulary == 17
