"""What the written trace of a policy in BeliefTrack is good for, and what it says of one story, event by event."""

from __future__ import annotations

import torch
from torch import Tensor

from toybed.agents.choices import choose
from toybed.agents.policies import Policy
from toybed.envs.belief_track import BeliefState, BeliefTrack
from toybed.envs.core import TokenEnv
from toybed.errors import ToybedError

ORDER = 2  # of the question about the story that is told


def trace_use(env: TokenEnv, policy: Policy, start: Policy) -> dict[str, Tensor]:
    """How well each policy answers when its trace is written for it, exact: nothing is sampled.

    Returns:
        On test questions of the trained orders, natural ones (``accuracy``) and directed ones (``separable``), the
        chance of the right answer, ``[S]``: ``accuracy_silent`` and ``separable_silent``, after a trace of skips;
        ``accuracy_told`` and ``separable_told``, after one with the belief asked for after every event.

    Raises:
        ToybedError: the world has no trace.
    """
    world = traced_world(env, "trace_use")
    stories, prompt = world.stories, world.prompts("test")
    prompt = prompt[torch.isin(stories.order[prompt], torch.tensor(world.orders, device=world.device))]
    directed, belief = stories.directed[prompt], stories.belief[prompt]
    traces = {"silent": torch.full_like(belief, world.containers), "told": belief}
    measures = {}
    for name, trace in traces.items():
        right = _answers(world, policy, _written(world, prompt, trace)).exp()
        right = choose(right, belief[:, -1].expand(policy.runs, -1)).double()
        measures[f"accuracy_{name}"] = right[:, ~directed].mean(1)
        measures[f"separable_{name}"] = right[:, directed].mean(1)
    return measures


def told_story(env: TokenEnv, policy: Policy, start: Policy) -> dict[str, Tensor]:
    """What each policy writes after each event of :func:`the_story`, always its most likely token, and answers.

    Returns:
        ``story_token_<t>``, the token after event t (from 0; C is a skip, and ``story_token_<T>`` is the answer), and
        ``story_chance_<t>``, its probability; each ``[S]``.

    Raises:
        ToybedError: the world has no trace, or no story of that order.
    """
    world = traced_world(env, "told_story")
    state = world.reset(torch.full((policy.runs, 1), the_story(world), device=world.device))
    measures = {}
    with torch.no_grad():
        for t in range(world.horizon):
            chance, token = policy.log_probs(world.observe(state), world.legal(state)).exp().max(-1)
            measures[f"story_token_{t}"] = token[:, 0].double()
            measures[f"story_chance_{t}"] = chance[:, 0].double()
            state = world.step(state, token)
    return measures


def the_story(env: BeliefTrack) -> int:
    """The number of the story that is told: the first directed one with a question of order 2.

    Directed, because there no common rule is right: the belief asked for is neither the truth, nor where the object was
    at first, nor what everybody saw last.
    """
    prompt = env.prompts("test")
    of_kind = (env.stories.order[prompt] == ORDER) & env.stories.directed[prompt]
    return int(prompt[of_kind][0])


def traced_world(env: TokenEnv, by: str) -> BeliefTrack:
    """The world as what it has to be, or an error."""
    if not isinstance(env, BeliefTrack) or env.view != "trace":
        raise ToybedError(f'the probe {by} reads a written trace; allowed: belief_track with view="trace"')
    return env


def _written(env: BeliefTrack, prompt: Tensor, trace: Tensor) -> BeliefState:
    """The states ``[P]`` before the answer, with that trace ``[P, T]``."""
    state = env.reset(prompt)
    for token in trace.unbind(-1):
        state = env.step(state, token)
    return state


@torch.no_grad()
def _answers(env: BeliefTrack, policy: Policy, state: BeliefState) -> Tensor:
    """Log-probabilities of the answers in states ``[P]``: ``[S, P, V]``."""
    observation, legal = env.observe(state), env.legal(state)
    assert legal is not None  # an answer may not be a skip
    runs = policy.runs
    return policy.log_probs(observation.expand(runs, -1, -1), legal.expand(runs, -1, -1))
