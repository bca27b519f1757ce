"""Critiques of PlanExec: true by construction, as much as their degree says, wrong as often as their noise says."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import toybed
from toybed.envs import make
from toybed.envs.plan_exec_critiques import DEGREES, DRAWS, UNTOLD, critique, followed, judged
from toybed.errors import ToybedError

ENV = make("plan_exec", types=5, stages=2, skills=4, values=5, nvalid=2, hard_frac=0.4, table_seed=2)
LENGTH = ENV.horizon


def every_legal_response():
    """All legal responses to all prompts: ``prompt [N]`` and ``tokens [N, T]``."""
    plans, values = range(ENV.skills), range(ENV.skills, ENV.vocabulary)
    rows = list(itertools.product(range(ENV.n_prompts), *([plans, values] * ENV.stages)))
    table = torch.tensor(rows)
    return table[:, 0], table[:, 1:]


PROMPT, TOKENS = every_legal_response()


def plain_judgement(prompt, tokens):
    """For each token whether it is right, and all that would be, in plain words."""
    skill, valid = ENV.tables.skill.tolist(), ENV.tables.valid.tolist()
    kind, value = divmod(prompt, ENV.values)
    right, choices = [], []
    for stage in range(ENV.stages):
        plan, written = tokens[2 * stage : 2 * stage + 2]
        choices.append([p for p in range(ENV.skills) if valid[kind][stage][p]])
        choices.append([ENV.skills + skill[plan][value]])
        right += [plan in choices[-2], written in choices[-1]]
        value = written - ENV.skills
    return right, choices


def test_what_is_said_is_true_of_every_response():
    said = {degree: critique(ENV, PROMPT, TOKENS, degree) for degree in DEGREES}
    truth = judged(ENV, PROMPT, TOKENS)
    for row in range(0, len(PROMPT), 7):
        right, choices = plain_judgement(int(PROMPT[row]), TOKENS[row].tolist())
        assert truth.right[row].tolist() == right
        assert [one.nonzero().flatten().tolist() for one in truth.choices[row]] == choices
        place = right.index(False) if False in right else LENGTH
        assert float(said["number"].share[row]) == pytest.approx(sum(right) / LENGTH, rel=1e-7)
        assert int(said["indicative"].right[row]) == all(right)
        assert (int(said["located"].right[row]), int(said["located"].place[row])) == (all(right), place)
        full = said["full"]
        assert (int(full.right[row]), int(full.place[row])) == (all(right), place)
        assert int(full.planning[row]) == (UNTOLD if all(right) else place % 2 == 0)
        assert int(full.fix[row]) == (UNTOLD if all(right) else choices[place][0])


def test_a_critique_calls_right_what_the_world_pays():
    state = ENV.reset(PROMPT)
    for token in TOKENS.unbind(-1):
        state = ENV.step(state, token)
    assert torch.equal(critique(ENV, PROMPT, TOKENS, "indicative").right, ENV.reward(state).long())


def test_a_degree_says_its_own_and_no_more():
    told = {
        "none": set(),
        "number": {"share"},
        "indicative": {"right"},
        "located": {"right", "place"},
        "full": {"right", "place", "planning", "fix"},
    }
    uniform = torch.rand(len(PROMPT), DRAWS, generator=torch.Generator().manual_seed(0))
    for degree, noise in itertools.product(DEGREES, (0.0, 0.5)):
        said = critique(ENV, PROMPT, TOKENS, degree, noise=noise, uniform=uniform)
        assert {name for name, part in said._asdict().items() if (part != UNTOLD).any()} == told[degree]


def test_following_full_critiques_makes_any_response_right():
    random = torch.Generator().manual_seed(0)
    env = make("plan_exec")
    prompt = env.prompts().repeat(4)
    tokens = torch.randint(env.vocabulary, (len(prompt), env.horizon), generator=random)  # illegal ones, too
    places = []
    for _ in range(env.horizon):
        said = critique(env, prompt, tokens, uniform=torch.rand(len(prompt), DRAWS, generator=random))
        places.append(said.place)
        tokens = followed(tokens, said)
    state = env.reset(prompt)
    for token in tokens.unbind(-1):
        state = env.step(state, token)
    assert (env.reward(state) == 1).all()
    # A fix leaves what is before it as it was: the first failing token moves on.
    assert all(((b > a) | (a == env.horizon)).all() for a, b in itertools.pairwise(places))


def test_of_several_valid_plans_each_is_named_alike():
    ordinary = make("plan_exec", nvalid=4, hard_frac=0.0)
    tokens = torch.tensor([5, *[6] * 5])  # the rare skill, valid nowhere here
    choices = ordinary.tables.valid[0, 0].nonzero().flatten().tolist()
    grid = torch.zeros(400, DRAWS)
    grid[:, 3] = (torch.arange(400) + 0.5) / 400
    said = critique(ordinary, torch.zeros(400, dtype=torch.int64), tokens.expand(400, -1), uniform=grid)
    assert torch.bincount(said.fix).nonzero().flatten().tolist() == choices
    assert torch.bincount(said.fix)[choices].tolist() == [100] * 4


@pytest.mark.parametrize("noise", [0.0, 0.2, 1.0])
def test_noise_makes_critiques_wrong_as_often_as_it_says(noise):
    # A grid in the place of draws: 20 numbers for whether, LENGTH or LENGTH + 1 equal parts for where.
    places, grid = LENGTH, torch.cartesian_prod(*[(torch.arange(n) + 0.5) / n for n in (20, LENGTH, 20)])
    uniform = torch.cat([grid, torch.full((len(grid), 1), 0.3)], 1)
    for row in range(0, len(PROMPT), 97):
        prompt, tokens = PROMPT[row].expand(len(grid)), TOKENS[row].expand(len(grid), -1)
        truth = judged(ENV, PROMPT[row], TOKENS[row])
        true = {degree: critique(ENV, prompt, tokens, degree) for degree in DEGREES}
        said = {degree: critique(ENV, prompt, tokens, degree, noise=noise, uniform=uniform) for degree in DEGREES}
        for degree, name in (("number", "share"), ("indicative", "right"), ("located", "place"), ("full", "place")):
            wrong = getattr(said[degree], name) != getattr(true[degree], name)
            assert float(wrong.double().mean()) == pytest.approx(noise, abs=1e-12)
        # Whatever is wrongly named is named alike: each other place, the end of a right response among them.
        named = torch.bincount(said["located"].place, minlength=places + 1).tolist()
        other = [count for place, count in enumerate(named) if place != int(true["located"].place[0])]
        assert other == [noise * len(grid) / LENGTH] * LENGTH
        # A fix is of the place that is named, of its kind, and right there unless the noise says otherwise.
        full = said["full"]
        fails = full.place < LENGTH
        assert torch.equal(full.fix == UNTOLD, ~fails) and torch.equal(full.right == 1, ~fails)
        place, fix = full.place[fails], full.fix[fails]
        assert torch.equal(fix < ENV.skills, place % 2 == 0) and torch.equal(full.planning[fails], 1 - place % 2)
        if len(fix):
            assert float((~truth.choices[place, fix]).double().mean()) == pytest.approx(noise, abs=1e-12)


def test_critiques_have_free_leading_axes():
    rows = torch.arange(24) * 211
    uniform = torch.rand(24, DRAWS, generator=torch.Generator().manual_seed(1))
    flat = critique(ENV, PROMPT[rows], TOKENS[rows], noise=0.4, uniform=uniform)
    folded = critique(
        ENV, PROMPT[rows].view(2, 3, 4), TOKENS[rows].view(2, 3, 4, -1), noise=0.4, uniform=uniform.view(2, 3, 4, -1)
    )
    single = critique(ENV, PROMPT[rows[5]], TOKENS[rows[5]], noise=0.4, uniform=uniform[5])
    for a, b, c in zip(flat, folded, single, strict=True):
        assert torch.equal(a, b.flatten()) and torch.equal(a[5], c)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"degree": "locate"}, "unknown degree of critique 'locate': did you mean 'located'"),
        ({"noise": 1.5, "uniform": torch.zeros(DRAWS)}, "noise is 1.5; allowed: 0 to 1"),
        ({"noise": 0.5}, "nothing is drawn: pass uniform"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ToybedError, match=message):
        critique(ENV, PROMPT[0], TOKENS[0], **options)


# -- what must never happen: a critique that is seen where policies are measured ---------------------------------------
@pytest.mark.parametrize("view", ["state", "tokens"])
@pytest.mark.parametrize("degree", DEGREES)
def test_no_observation_changes_by_a_critique(view, degree):
    env = replace(ENV, view=view)
    rows = torch.from_numpy(np.random.default_rng(0).integers(len(PROMPT), size=200))
    prompt, tokens = PROMPT[rows], TOKENS[rows]
    kept = prompt.clone(), tokens.clone()

    def trace(after):
        state = env.reset(prompt)
        seen = [env.observe(state)]
        for token in tokens.unbind(-1):
            after()
            state = env.step(state, token)
            seen.append(env.observe(state))
        return torch.stack(seen)

    alone = trace(lambda: None)
    assert torch.equal(alone, trace(lambda: critique(env, prompt, tokens, degree)))
    assert torch.equal(prompt, kept[0]) and torch.equal(tokens, kept[1])
    # An observation has no entry but the problem's and the response's own.
    assert len(env.observation_sizes) == (4 if view == "state" else 1 + env.horizon)


def test_nothing_that_shows_or_measures_asks_for_a_critique():
    root = Path(toybed.__file__).parent
    shows = ["envs/core.py", "envs/adapters.py", "envs/plan_exec.py", "envs/plan_exec_truth.py"]
    measures = ["envs/plan_exec_tokens.py", "agents/meter.py", "agents/sampled_worth.py", "agents/policies.py"]
    for path in (*shows, *measures):
        assert "plan_exec_critiques" not in (root / path).read_text(encoding="utf-8"), path
