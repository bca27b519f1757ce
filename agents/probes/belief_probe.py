"""Can the belief that is asked for be read off a network's hidden state, event by event, by a linear map?"""

from __future__ import annotations

import torch
from torch import Tensor

from toybed.agents.policies import Policy
from toybed.agents.sequences import SequencePolicy
from toybed.envs.belief_track import BeliefTrack
from toybed.envs.core import TokenEnv, sample_of
from toybed.errors import ToybedError

FITTED = 2048
"""Train stories that the probe is fitted to, a fixed sample."""

ROWS = 1024
"""Stories that are read at once."""

RIDGE = 1e-3
"""Penalty of the squared weights, in units of the mean square of a hidden number, summed over stories."""


@torch.no_grad()
def belief_probe(env: TokenEnv, policy: Policy, start: Policy) -> dict[str, Tensor]:
    """Accuracy of the belief asked for, as a linear map says it from the hidden state; each ``[S]``.

    After each event one-hot beliefs are regressed on the hidden state there and a constant, by ridge regression; the
    largest output is the probe's answer. At the last event this is the form of the policy's own head, fitted anew.

    Returns:
        ``probe_natural``: natural test questions of the trained orders, mean over events, fitted to train stories.
        ``probe_event{t}``: directed test questions of the trained orders, after event t (1 to T), the same fit;
        ``probe_separable`` is the last of them.
        ``probe_directed``: the same after the last event, fitted to directed questions about the other half of their
        stories: train stories can be answered by a rule, and what is fitted to them may learn it; these cannot.

    Raises:
        ToybedError: the world is not BeliefTrack with whole stories, or the policy keeps no state of what it read.
    """
    if not isinstance(env, BeliefTrack) or env.view != "story":
        raise ToybedError('belief_probe reads whole stories; allowed with belief_track and view="story"')
    if not isinstance(policy, SequencePolicy):
        raise ToybedError("belief_probe reads the state after each event; allowed policies: gru, transformer")
    stories, prompt = env.stories, env.prompts("test")
    trained = torch.isin(stories.order[prompt], torch.tensor(env.orders, device=prompt.device))
    directed = stories.directed[prompt]
    groups = (sample_of(env.prompts("train"), FITTED), prompt[trained & ~directed], prompt[trained & directed])
    fit, natural, apart = ((_states(env, policy, rows), stories.belief[rows]) for rows in groups)
    runs = [_of_run(env, *(group for x, y in (fit, natural, apart) for group in (x[s], y))) for s in range(policy.runs)]
    return {name: torch.tensor([run[name] for run in runs]) for name in runs[0]}


def _states(env: BeliefTrack, policy: SequencePolicy, prompt: Tensor) -> Tensor:
    """Hidden states after each event and a constant, ``[S, N, T, width + 1]``, in float64."""
    observation = env.observe(env.reset(prompt))
    parts = [policy.hidden(part.expand(policy.runs, *part.shape)) for part in observation.split(ROWS)]
    after = torch.cat(parts, 1)[:, :, -env.events :].double()  # the first frame holds the question
    return torch.cat([after, torch.ones_like(after[..., :1])], -1)


def _of_run(
    env: BeliefTrack, fit: Tensor, told: Tensor, natural: Tensor, belief: Tensor, apart: Tensor, right: Tensor
) -> dict[str, float]:
    """One run: states ``[N, T, width + 1]`` and beliefs ``[N, T]`` of three groups."""
    maps = [ridge(fit[:, t], told[:, t], env.containers) for t in range(env.events)]
    by_event = [_accuracy(apart[:, t] @ maps[t], right[:, t]) for t in range(env.events)]
    found = {f"probe_event{t + 1}": value for t, value in enumerate(by_event)}
    on_natural = [_accuracy(natural[:, t] @ maps[t], belief[:, t]) for t in range(env.events)]
    states, answers = apart[:, -1], right[:, -1]
    half = torch.arange(len(states)) // 2 % 2 == 0  # both questions about a story in one half
    halves = [(half, ~half), (~half, half)]
    crossed = [
        _accuracy(states[seen] @ ridge(states[other], answers[other], env.containers), answers[seen])
        for seen, other in halves
    ]
    return found | {
        "probe_natural": sum(on_natural) / len(on_natural),
        "probe_separable": by_event[-1],
        "probe_directed": sum(crossed) / len(crossed),
    }


def ridge(states: Tensor, label: Tensor, classes: int) -> Tensor:
    """Weights ``[D, classes]`` of one-hot labels ``[N]`` on ``states [N, D]``, whose last column is 1.

    They minimise ``sum |one_hot - states W|² + RIDGE N m |W|²``, with m the mean square of a hidden number; the
    constant's row is not penalised.
    """
    hidden = states[:, :-1]
    # A dead network has m = 0: a floor far below any live one keeps the system solvable.
    penalty = torch.full_like(states[0], RIDGE * len(states) * float(hidden.square().mean().clamp(min=1e-12)))
    penalty[-1] = 0
    target = torch.nn.functional.one_hot(label, classes).to(states.dtype)
    return torch.linalg.solve(states.T @ states + torch.diag(penalty), states.T @ target)


def _accuracy(score: Tensor, label: Tensor) -> float:
    return float((score.argmax(-1) == label).double().mean())
