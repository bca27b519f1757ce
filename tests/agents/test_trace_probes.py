"""The probes of traces in BeliefTrack, against plain loops that walk through one story at a time.

Tolerance: float32 policies. A log-probability of about 2 in size rounds by less than 1e-6 whatever the shape of the
batch, so a chance, and a mean of chances, by less than 1e-5; one story misplaced among 16 would show as about 1e-2.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from toybed.agents.policies import make_policy
from toybed.agents.probes import get_policy_probe
from toybed.agents.probes.traces import the_story
from toybed.envs import make
from toybed.errors import ToybedError

SMALL = {"view": "trace", "events": 6, "train_stories": 64, "test_stories": 16}
RUNS = 2
CLOSE = 1e-5
VIEWS = [("gru", {}), ("gru", {"orders": (2,)}), ("mlp", {"memory": "none"})]


def sharp(name, env):
    """Policies that are far from uniform."""
    policy = make_policy(name, env, range(RUNS), width=8)
    policy.flatten_logits(0.1)
    return policy


def chances(env, policy, state, run):
    """One run's chance of every token in one state, as numbers."""
    seen = env.observe(state).expand(RUNS, 1, -1)
    with torch.no_grad():
        logits = policy(seen)[run, 0].double().tolist()
    weight = [math.exp(x) if ok else 0.0 for x, ok in zip(logits, env.legal(state).tolist(), strict=True)]
    return [w / sum(weight) for w in weight]


def answered(env, policy, run, number, trace):
    """The chance of the right answer once the trace has been written."""
    state = env.reset(torch.tensor(number))
    for token in trace:
        state = env.step(state, torch.tensor(token))
    return chances(env, policy, state, run)[int(env.stories.belief[number, -1])]


@pytest.mark.parametrize(("name", "knobs"), VIEWS, ids=str)
def test_what_a_trace_is_good_for_is_that_of_single_stories(name, knobs):
    env = make("belief_track", **SMALL, **knobs)
    policy = sharp(name, env)
    found = get_policy_probe("trace_use")(env, policy, policy)
    for run in range(RUNS):
        groups = {}
        for number in env.prompts("test").tolist():
            if int(env.stories.order[number]) not in env.orders:
                continue
            kind = "separable" if env.stories.directed[number] else "accuracy"
            belief = env.stories.belief[number].tolist()
            for way, trace in (("silent", [env.containers] * env.events), ("told", belief)):
                groups.setdefault(f"{kind}_{way}", []).append(answered(env, policy, run, number, trace))
        assert set(groups) == set(found)
        for measure, values in groups.items():
            assert float(found[measure][run]) == pytest.approx(np.mean(values), abs=CLOSE), measure


def test_without_memory_a_trace_of_skips_leaves_nothing_of_the_story():
    """Question and who is there at the end are all that is left: no policy beats the best guess from these."""
    env = make("belief_track", **SMALL, memory="none")
    policy = sharp("mlp", env)
    found = get_policy_probe("trace_use")(env, policy, policy)
    prompt = [n for n in env.prompts("test").tolist() if int(env.stories.order[n]) in env.orders]
    for directed in (False, True):
        rows = [n for n in prompt if bool(env.stories.directed[n]) == directed]
        seen = {}
        for number in rows:  # what is left to see: the question, and who is there at the end
            key = (*env.stories.query[number].tolist(), *env.stories.present[number, -1].tolist())
            seen.setdefault(key, []).append(int(env.stories.belief[number, -1]))
        best = sum(max(np.bincount(answers)) for answers in seen.values()) / len(rows)
        measure = "separable_silent" if directed else "accuracy_silent"
        assert (found[measure] <= best + CLOSE).all()


@pytest.mark.parametrize(("name", "knobs"), VIEWS, ids=str)
def test_a_story_is_told_token_by_token(name, knobs):
    env = make("belief_track", **SMALL, **knobs)
    policy = sharp(name, env)
    found = get_policy_probe("told_story")(env, policy, policy)
    assert len(found) == 2 * env.horizon
    for run in range(RUNS):
        state = env.reset(torch.tensor(the_story(env)))
        for t in range(env.horizon):
            chance = chances(env, policy, state, run)
            token = int(found[f"story_token_{t}"][run])
            assert found[f"story_chance_{t}"][run] == pytest.approx(max(chance), abs=CLOSE)
            assert chance[token] == pytest.approx(max(chance), abs=CLOSE)
            state = env.step(state, torch.tensor(token))
        assert int(state.answer[()]) < env.containers


def test_the_story_is_a_directed_one_of_order_2_and_needs_no_train_stories():
    env = make("belief_track", **SMALL)
    story = the_story(env)
    assert env.stories.directed[story] and int(env.stories.order[story]) == 2
    other = make("belief_track", **{**SMALL, "train_stories": 16, "memory": "none"})
    twin = the_story(other)
    assert story - env.train_stories == twin - other.train_stories
    for part in ("query", "initial", "events", "present", "belief"):
        assert torch.equal(getattr(env.stories, part)[story], getattr(other.stories, part)[twin])


@pytest.mark.parametrize("probe", ["trace_use", "told_story"])
def test_where_nothing_is_written_there_is_nothing_to_probe(probe):
    for env in (make("belief_track", **{**SMALL, "view": "stream"}), make("chain_reach", modulus=5, length=2)):
        policy = make_policy("mlp", env, range(RUNS), width=8)
        with pytest.raises(ToybedError, match='allowed: belief_track with view="trace"'):
            get_policy_probe(probe)(env, policy, policy)
