"""Critiques of responses in PlanExec: exact by construction, and made worse by degrees and by noise.

A critique is data beside the response. The world never shows it: a learner that wants one has to ask for it, and a
policy that is measured cannot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from toybed.errors import ToybedError, unknown

if TYPE_CHECKING:
    from toybed.envs.plan_exec import PlanExec

DEGREES = ("none", "number", "indicative", "located", "full")
"""From least to most, but that a number and a yes or no say different things."""

DRAWS = 4
"""Uniform numbers for a critique: whether and where it misplaces, whether its fix is wrong, which fix."""

UNTOLD = -1


class Critique(NamedTuple):
    """What is said of each response, each part ``[...]``; ``UNTOLD`` (-1) stands for what is not.

    Attributes:
        share: "number": the share of right tokens.
        right: "indicative" and beyond: 1 where the whole response is right, 0 where it is not.
        place: "located" and beyond: the first failing token's place, T where none fails.
        planning: "full": 1 where the token at that place is a plan, 0 where an execution; untold where none fails.
        fix: "full": a right token for that place, after what was written before it; untold where none fails.
    """

    share: Tensor
    right: Tensor
    place: Tensor
    planning: Tensor
    fix: Tensor


class Judged(NamedTuple):
    """The truth of responses token by token.

    ``right [..., T]`` bool, of a plan whether it is valid, of an execution whether it is what the plan before it makes
    of the value before that; and ``choices [..., T, V]`` bool, all tokens that would be right there.
    """

    right: Tensor
    choices: Tensor


def judged(env: PlanExec, prompt: Tensor, tokens: Tensor) -> Judged:
    """Judge responses ``tokens [..., T]`` to ``prompt [...]``: each token after what was written before it."""
    state, choices = env.reset(prompt), []
    vocabulary = torch.arange(env.vocabulary, device=tokens.device)
    valid = pad(env.tables.valid, (0, env.values))  # [Z, D, V]
    for time, token in enumerate(tokens.unbind(-1)):
        if time % 2 == 0:
            choices.append(valid[state.kind, time // 2])
        else:
            solution = env.skills + env.tables.skill[state.plan - 1, state.value]
            choices.append(vocabulary == solution[..., None])
        state = env.step(state, token)
    allowed = torch.stack(choices, -2)
    return Judged(allowed.gather(-1, tokens[..., None]).squeeze(-1), allowed)


def critique(
    env: PlanExec,
    prompt: Tensor,
    tokens: Tensor,
    degree: str = "full",
    *,
    noise: float = 0.0,
    uniform: Tensor | None = None,
) -> Critique:
    """A critique of each response ``tokens [..., T]`` to ``prompt [...]``.

    With probability ``noise`` a critique says something else than the truth of what its degree says, any of it alike:
    another share; the other of yes and no; another place, so that a right response may be called wrong; and, at another
    time, for the place that it names a token that is wrong there.

    Args:
        env: the world.
        prompt: ``[...]``.
        tokens: ``[..., T]``.
        degree: one of :data:`DEGREES`.
        noise: 0 to 1.
        uniform: numbers in [0, 1), ``[..., 4]``; None draws nothing: there is no noise, and of right fixes it names the
            first.

    Raises:
        ToybedError: the degree is unknown, the noise is out of range, or there is noise and nothing is drawn.
    """
    _check(degree, noise, uniform)
    if uniform is None:
        uniform = torch.zeros(*tokens.shape[:-1], DRAWS, device=tokens.device)
    length, truth = tokens.shape[-1], judged(env, prompt, tokens)
    misplaced, where, wrong_fix, which = uniform.unbind(-1)
    misplaced = misplaced < noise
    count = truth.right.sum(-1)
    first = truth.right.long().cummin(-1).values.sum(-1)  # of the first failing token; T where none fails
    said_count, place = (torch.where(misplaced, _other(x, where, length + 1), x) for x in (count, first))
    untold = torch.full_like(count, UNTOLD)
    said = Critique(untold.float(), untold, untold, untold, untold)
    if degree == "number":
        return said._replace(share=said_count / length)
    if degree == "indicative":
        return said._replace(right=((count == length) ^ misplaced).long())
    if degree == "none":
        return said
    said = said._replace(right=(place == length).long(), place=place)
    return said if degree == "located" else _with_fix(env, said, truth, wrong_fix < noise, which)


def _check(degree: str, noise: float, uniform: Tensor | None) -> None:
    if degree not in DEGREES:
        raise unknown("degree of critique", degree, DEGREES)
    if not 0 <= noise <= 1:
        raise ToybedError(f"critique: noise is {noise}; allowed: 0 to 1")
    if noise > 0 and uniform is None:
        raise ToybedError(f"critique: noise is {noise}, and nothing is drawn: pass uniform=..., [..., {DRAWS}] numbers")


def _with_fix(env: PlanExec, said: Critique, truth: Judged, wrong: Tensor, which: Tensor) -> Critique:
    """A located critique with the kind of the failing token and a fix, which is wrong itself where ``wrong [...]``."""
    length = truth.right.shape[-1]
    place = said.place.clamp(max=length - 1)[..., None]
    choices = truth.choices.gather(-2, place[..., None].expand(*place.shape, env.vocabulary)).squeeze(-2)
    planning = place.squeeze(-1) % 2 == 0
    fix = _chosen(torch.where(wrong[..., None], ~choices & env.legal_tokens(planning), choices), which)
    fails = said.place < length
    return said._replace(planning=torch.where(fails, planning.long(), UNTOLD), fix=torch.where(fails, fix, UNTOLD))


def followed(tokens: Tensor, said: Critique) -> Tensor:
    """The responses ``[..., T]`` with the fix of each full critique in its place; all other tokens as they were."""
    here = torch.arange(tokens.shape[-1], device=tokens.device) == said.place[..., None]
    return torch.where(here & (said.fix != UNTOLD)[..., None], said.fix[..., None], tokens)


def _other(value: Tensor, uniform: Tensor, count: int) -> Tensor:
    """Another of ``count`` values than ``value [...]``, all alike."""
    step = 1 + (uniform * (count - 1)).long().clamp(max=count - 2)
    return (value + step) % count


def _chosen(choices: Tensor, uniform: Tensor) -> Tensor:
    """One of the tokens of ``choices [..., V]`` (bool, at least one), all alike: ``[...]``."""
    number = choices.sum(-1)
    rank = torch.minimum((uniform * number).long(), number - 1)
    return (choices.cumsum(-1) <= rank[..., None]).sum(-1)
