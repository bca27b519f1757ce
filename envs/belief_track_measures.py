"""What samples say of a policy in BeliefTrack: accuracy by class of question, agreement with rules, its trace; and a
story told for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from toybed.envs.belief_track_events import ENTER, LEAVE, MAX_ORDER, MOVE, NOOP, PEEK, all_beliefs
from toybed.envs.belief_track_shortcuts import SHORTCUTS

if TYPE_CHECKING:
    from toybed.envs.belief_track import BeliefState, BeliefTrack


def measures(env: BeliefTrack, prompt: Tensor, state: BeliefState, answer: Tensor) -> dict[str, Tensor]:
    """``[S]`` by name; NaN where there is nothing to measure.

    Answers are summed over exactly: accuracies and agreements are chances, without error where there is no trace.

    ======================================  ==========================================================================
    ``accuracy_order{k}``                   natural questions of order k
    ``accuracy_trained``, ``_held_out``     means over the orders that were trained, and over the others but order 0
    ``congruent_...``, ``false_...``        the same, of natural questions whose belief is the truth, and is not
    ``separable_order{k}``, ``_trained``,   directed questions, which none of reality, initial and common_ground answers
    ``_held_out``
    ``agreement_{rule}``                    with each rule, on natural and directed questions of the trained orders
    ``agreement_{rule}_directed``           on the directed ones alone
    ``trace_written``                       share of the events after which a container was written (directed and
                                            natural questions of the trained orders, as all that follows)
    ``trace_validity``                      share after which the belief asked for was written
    ``trace_right``                         validity among what was written
    ``trace_right_given_correct``           the same, responses weighted by the chance of the right answer
    ``trace_validity_given_correct``        validity so weighted
    ``answer_entropy``                      of the answer after such a trace, nats
    ======================================  ==========================================================================

    Args:
        env: the world.
        prompt: all test prompts, ``[P]``.
        state: before the answer, axes ``[S, P, G]``.
        answer: its probabilities, ``[S, P, G, V]``.
    """
    stories = env.stories
    order, natural = stories.order[prompt], ~stories.directed[prompt]
    trained = torch.isin(order, torch.tensor(env.orders, device=order.device))
    held_out = ~trained & (order > 0)
    right = _chance_of(answer, stories.belief[prompt, -1])  # [S, P]
    false = stories.false[prompt]

    def mean(rows: Tensor, values: Tensor = right) -> Tensor:
        return values[:, rows].mean(1)

    found = {f"accuracy_order{k}": mean(natural & (order == k)) for k in range(MAX_ORDER + 1)}
    found |= {f"separable_order{k}": mean(~natural & (order == k)) for k in range(1, MAX_ORDER + 1)}
    for name, orders in (("trained", trained), ("held_out", held_out)):
        found |= {
            f"accuracy_{name}": mean(natural & orders),
            f"congruent_{name}": mean(natural & orders & ~false),
            f"false_{name}": mean(natural & orders & false),
            f"separable_{name}": mean(~natural & orders),
        }
    for rule, answers in zip(SHORTCUTS, stories.shortcut[prompt].T, strict=True):
        agreement = _chance_of(answer, answers)
        found[f"agreement_{rule}"] = mean(trained, agreement)
        found[f"agreement_{rule}_directed"] = mean(trained & ~natural, agreement)
    return found | (_of_trace(env, prompt, state, answer, trained) if env.view == "trace" else {})


def _chance_of(answer: Tensor, token: Tensor) -> Tensor:
    """The chance of each prompt's ``token [P]``, mean over responses: ``[S, P]``."""
    index = token[None, :, None, None].expand(*answer.shape[:3], 1)
    return answer.gather(-1, index).squeeze(-1).mean(2)


def _of_trace(env: BeliefTrack, prompt: Tensor, state: BeliefState, answer: Tensor, rows: Tensor) -> dict[str, Tensor]:
    belief = env.stories.belief[prompt][rows]  # [P, T]
    written = state.written[:, rows]
    wrote = (written < env.containers).to(answer.dtype)
    valid = (written == belief[None, :, None]).to(answer.dtype)
    token = belief[None, :, None, -1:].expand(*written.shape[:3], 1)
    correct = answer[:, rows].gather(-1, token)  # [S, P, G, 1]

    def total(values: Tensor) -> Tensor:
        return values.sum((1, 2, 3))

    return {
        "trace_written": wrote.mean((1, 2, 3)),
        "trace_validity": valid.mean((1, 2, 3)),
        "trace_right": total(valid) / total(wrote),
        "trace_right_given_correct": total(valid * correct) / total(wrote * correct),
        "trace_validity_given_correct": total(valid * correct) / total(correct.expand_as(valid)),
        "answer_entropy": torch.special.entr(answer[:, rows]).sum(-1).mean((1, 2)),
    }


# -- for people --------------------------------------------------------------------------------------------------------
def names(agents: int) -> str:
    """One letter for each agent."""
    return "ABCDEFGH"[:agents]


def asked(env: BeliefTrack, story: int) -> str:
    """The question in words."""
    chain = [names(env.agents)[a] for a in env.stories.query[story, 1:].tolist() if a < env.agents]
    if not chain:
        return "where is the object?"
    believer, *others = chain
    return f"where does {believer} think that {''.join(f'{other} thinks that ' for other in others)}the object is?"


def happening(env: BeliefTrack, story: int, event: int) -> str:
    """One event in words."""
    kind, actor, place, hearer = env.stories.events[story, event].tolist()
    letters = names(env.agents) + "-"
    who = letters[actor]
    return {
        MOVE: f"{who} moves it to {place}",
        LEAVE: f"{who} leaves",
        ENTER: f"{who} enters and sees it in {place}",
        PEEK: f"{who} peeks and sees it in {place}",
        NOOP: "nothing happens",
    }.get(kind, f"{who} tells {letters[hearer]} that it is in {place}")


def told(env: BeliefTrack, state: BeliefState) -> str:
    """The story so far, each agent's belief, and what was written: one line."""
    story, time = int(state.story), int(state.time)
    seen = env.events if env.view == "story" or time > env.events else min(time + 1, env.events)
    parts = [f"{asked(env, story)} at first in {int(env.stories.initial[story])}"]
    parts += [happening(env, story, event) for event in range(seen)]
    beliefs = all_beliefs(env.bank.story.take(np.array([story])), 1)[0, seen - 1]
    parts.append("now " + " ".join(f"{name}:{belief}" for name, belief in zip(names(env.agents), beliefs, strict=True)))
    if env.view != "story":
        tokens = state.written[:time].tolist()
        written = ["-" if token >= env.containers else str(token) for token in tokens]
        parts.append(" ".join(["written:", *(written or ["nothing"])]))
    if time == env.horizon:
        right = int(env.stories.belief[story, -1])
        parts.append(f"answer {int(state.answer)}, right {right}, reward {float(env.reward(state)):g}")
    return "; ".join(parts)
