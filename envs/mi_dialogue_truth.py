"""What is exactly true in MIDialogue: by dynamic programming over counters, last acts and turns.

Functions of a world and of table policies ``[..., C, V]`` over its contexts. A user's answer depends on its type, the
half of the dialogue, the counters and the therapist's act; so all that must be known of the past are the counters and,
where acts are chosen from the last acts, these.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot, pad

from toybed.envs import mi_dialogue_users as people
from toybed.envs.core import ILLEGAL
from toybed.measures.entropy import token_entropy

if TYPE_CHECKING:
    from toybed.envs.mi_dialogue import MIDialogue

ANSWERS, ACTS = len(people.ANSWERS), len(people.ACTS)
MOVES = (tuple(u for u in range(ANSWERS) if not any(u in counted for counted in people.COUNTS)), *people.COUNTS)
"""The answers that leave the counters as they are, and those that each of the three counts."""


# -- one turn ----------------------------------------------------------------------------------------------------------
class Effects(NamedTuple):
    """What a turn does, for n things that a therapist may do in it, by type, half of the dialogue and counters.

    ``moves [K, 2, 175, 4, n]``: chance that no counter, or each of the three, goes up; ``paid [K, 2, 175, n, 5]``:
    expected reward by component.
    """

    moves: Tensor
    paid: Tensor


def effects(env: MIDialogue, level: str) -> Effects:
    """Of the choices of a level: each option's, or each act's."""
    chances = held(env, level)[1]
    answers = torch.einsum("na,khpau->khpnu", chances, env.tables.answers)[:, :, env.tables.situation]
    moves = torch.stack([answers[..., list(group)].sum(-1) for group in MOVES], -2)
    paid = torch.einsum("khcnu,cud->khcnd", answers, env.tables.points.double() / 100)
    return Effects(moves, paid)


def half(env: MIDialogue, turn: int) -> int:
    """Which half of the dialogue a turn is in, 0 or 1; of an odd number the middle turn is in the first."""
    return int(2 * turn >= env.turns)


def arrive(leaving: Tensor) -> Tensor:
    """Mass at the counters after a turn, ``[..., 175, n]``, from mass by its move, ``[..., 175, 4, n]``."""
    stay, *rises = leaving.unflatten(-3, people.SIZES).unbind(-2)
    for axis, mass in zip((-4, -3, -2), rises, strict=True):
        below = mass.narrow(axis, 0, mass.shape[axis] - 2)
        top = mass.narrow(axis, mass.shape[axis] - 2, 2).sum(axis, keepdim=True)  # at its end a counter stays
        stay = stay + torch.cat([torch.zeros_like(top), below, top], axis)
    return stay.flatten(-4, -2)


# -- a policy ----------------------------------------------------------------------------------------------------------
class Walk(NamedTuple):
    """What becomes of a policy with each of the K types of users.

    Attributes:
        paid: expected reward by component, ``[..., K, 5]``.
        entropy: of the response, nats, ``[..., K]``.
        choices: chance of being at these counters when the b-th option is chosen, and of each option then,
            ``[..., K, B, 175, 4]``; at the act level the same of acts, ``[..., K, T, 175, 13]``, or None where they are
            chosen from the last acts.
    """

    paid: Tensor
    entropy: Tensor
    choices: Tensor | None


def walk(env: MIDialogue, log_probs: Tensor) -> Walk:
    """Follow table policies ``[..., C, V]`` through all that may happen.

    One after the other: sums over a stack would round otherwise than those over one run, and be no faster.
    """
    return _one_by_one(log_probs, 2, lambda table: _walk(env, table))


def walk_each(env: MIDialogue, log_probs: Tensor) -> Walk:
    """The same with a policy for each type, ``[..., K, C, V]``: as fast as one, and not as K."""
    return _one_by_one(log_probs, 3, lambda tables: _walk(env, tables, each=True))


def _one_by_one(log_probs: Tensor, axes: int, follow: Callable[[Tensor], Walk]) -> Walk:
    lead = log_probs.shape[:-axes]
    done = [follow(part) for part in log_probs.flatten(0, -axes - 1)] if lead else [follow(log_probs)]
    paid, entropy, choices = zip(*done, strict=True)

    def stacked(parts: tuple[Tensor, ...]) -> Tensor:
        return torch.stack(parts).view(*lead, *parts[0].shape)

    return Walk(stacked(paid), stacked(entropy), None if choices[0] is None else stacked(choices))


def _walk(env: MIDialogue, log_probs: Tensor, *, each: bool = False) -> Walk:
    """Of one policy ``[C, V]``, or of one for each type, ``[K, C, V]``."""

    def mine(rows: Tensor) -> Tensor:
        """Of ``[K, 1 or K, ...]``, what each type's own policy does with that type, ``[K, ...]``."""
        types = torch.arange(len(rows), device=rows.device)
        return rows[types, types if rows.shape[1] > 1 else 0] if each else rows

    if env.level == "both":
        master, acts = split_table(env, log_probs)
        return _walk_by_last_acts(env, mine(master), mine(acts), env.hold)
    if env.level == "option" or env.see_counters:
        return _walk_by_counters(env, mine(_by_counters(env, log_probs)))
    types = env.n_prompts if env.see_type else 1
    only = log_probs.new_zeros(1, 1, people.N_COUNTERS, 1)  # one option, held to the end
    acts = mine(log_probs.unflatten(-2, (types, 1, ANSWERS + 1, ACTS + 1)))
    return _walk_by_last_acts(env, only, acts, env.turns)._replace(choices=None)


def split_table(env: MIDialogue, log_probs: Tensor) -> tuple[Tensor, Tensor]:
    """The master ``[..., 1 or K, B, 175, 4]`` and the sub-policies ``[..., 1, 4, 10, 14, 13]`` of ``level="both"``."""
    options = len(people.PHASES)
    cut = log_probs.shape[-2] - options * (ANSWERS + 1) * (ACTS + 1)
    acts = log_probs[..., cut:, options:].unflatten(-2, (1, options, ANSWERS + 1, ACTS + 1))
    return _by_counters(env, log_probs[..., :cut, :options]), acts


def _by_counters(env: MIDialogue, log_probs: Tensor) -> Tensor:
    """``[..., 1 or K, n, 175, V]`` from rows that run over types, counters and choices so far."""
    types = env.n_prompts if env.see_type else 1
    return log_probs.unflatten(-2, (types, people.N_COUNTERS, -1)).transpose(-3, -2)


def held(env: MIDialogue, level: str) -> tuple[int, Tensor]:
    """For how many turns a choice is held, and what is chosen from, as chances of acts ``[n, 13]``."""
    if level == "option":
        return env.hold, env.sub_policies
    return 1, torch.eye(ACTS, dtype=torch.float64, device=env.device)


def _walk_by_counters(env: MIDialogue, log_pi: Tensor) -> Walk:
    """Choices from the counters and the number of choices so far, ``log_pi [..., 1 or K, n, 175, V]``."""
    hold, turn_of = held(env, env.level)[0], Effects(*(part.to(log_pi.dtype) for part in env.effects))
    pi, entropy_here = log_pi.exp(), token_entropy(log_pi)
    here = log_pi.new_zeros(*log_pi.shape[:-4], env.n_prompts, people.N_COUNTERS)
    here[..., 0] = 1
    entropy, paid = 0 * here[..., 0], 0 * here[..., : people.N_COMPONENTS]
    choices = []
    for start in range(0, env.turns, hold):
        choice = start // hold
        entropy = entropy + (here * entropy_here[..., choice, :]).sum(-1)
        mass = here[..., None] * pi[..., choice, :, :]
        choices.append(mass)
        for turn in range(start, start + hold):
            when = half(env, turn)
            paid = paid + torch.einsum("...kcn,kcnd->...kd", mass, turn_of.paid[:, when])
            mass = arrive(mass[..., None, :] * turn_of.moves[:, when])
        here = mass.sum(-1)
    return Walk(paid, entropy, torch.stack(choices, -3))


def _walk_by_last_acts(env: MIDialogue, master: Tensor, acts: Tensor, hold: int) -> Walk:
    """A master that sees counters, and sub-policies that see the last acts.

    ``mass[o, c, a]`` is the chance that option o is held, that the counters are c, and that act a is taken now. The
    acts of the turn before need not be in it: the user's answer and the next act are taken in one step.
    """
    ahead = _Ahead(env, acts)
    pi, entropy_of_options = master.exp(), token_entropy(master)
    spoken = [master.new_zeros(()), master.new_zeros(())]
    entropy = master.new_zeros(())
    mass, choices = ahead.start, []
    for turn in range(env.turns):
        when = half(env, turn)
        if turn:
            mass = ahead.step(mass, half(env, turn - 1))
        if turn % hold == 0:  # all options have come the same way: what they say next is weighed by the master
            here = mass[..., 0, :, :ACTS].sum(-1)
            block = turn // hold
            choices.append(here[..., None] * pi[..., block, :, :])
            entropy = entropy + (here * entropy_of_options[..., block, :]).sum(-1)
            mass = mass * pi[..., block, :, :].transpose(-2, -1)[..., None]
        entropy = entropy + mass[..., ACTS].sum((-2, -1))
        mass = mass[..., :ACTS]
        now = mass.sum(-3)
        spoken[when] = spoken[when] + now
        if (turn + 1) % hold == 0:
            mass = now[..., None, :, :].expand_as(mass)
    reward = env.effects.paid.to(acts.dtype)
    paid = [torch.einsum("...kca,kcad->...kd", now, reward[:, when]) for when, now in enumerate(spoken) if now.ndim]
    return Walk(sum(paid[1:], paid[0]), entropy, torch.stack(choices, -3))


class _Ahead:
    """From the acts of one turn to those of the next, for sub-policies ``acts [..., 1 or K, O, 10, 14, 13]``.

    Acts have a 14th column: the entropy of the choice among them.
    """

    def __init__(self, env: MIDialogue, acts: Tensor) -> None:
        wide = torch.cat([acts.exp(), token_entropy(acts)[..., None]], -1)
        wide = wide.expand(*wide.shape[:-5], env.n_prompts, *wide.shape[-4:])
        # [..., K, O, 175, 14]: at the start all counters are 0.
        self.start = pad(wide[..., 0, 0, :][..., None, :], (0, 0, 0, people.N_COUNTERS - 1))
        later, answers = wide[..., 1:, 1:, :], env.tables.answers.to(wide.dtype)
        by_move = [
            torch.einsum("khpau,...kouaw->...khopaw", answers[..., list(group)], later[..., list(group), :, :])
            for group in MOVES
        ]
        self._next = torch.stack(by_move, -2).flatten(-2)  # [..., K, 2, O, P, 13, 4 * 14]
        # A step is one product for each situation: counters are taken in its order, and put back.
        order = env.tables.situation.argsort(stable=True)
        self._order, self._back = order, order.argsort()
        self._sizes = torch.bincount(env.tables.situation).tolist()

    def step(self, mass: Tensor, when: int) -> Tensor:
        """``[..., K, O, 175, 13]`` in a half of the dialogue to ``[..., K, O, 175, 14]`` in the next turn."""
        parts = mass.index_select(-2, self._order).split(self._sizes, -2)
        following = self._next.select(-5, when).unbind(-3)
        leaving = torch.cat([part @ table for part, table in zip(parts, following, strict=True)], -2)
        return arrive(leaving.index_select(-2, self._back).unflatten(-1, (len(MOVES), ACTS + 1)))


# -- what a master does ------------------------------------------------------------------------------------------------
def measures(env: MIDialogue, log_probs: Tensor) -> dict[str, Tensor]:
    """See :meth:`~toybed.envs.mi_dialogue.MIDialogue.measures`."""
    done = walk(env, log_probs)
    total = done.paid.sum(-1)
    result = {f"reward_{name}": total[..., k] for k, name in enumerate(people.TYPES)}
    train = env.prompts("train")
    paid = done.paid[..., train, :].mean(-2)
    result |= {f"paid_{name}": paid[..., d] for d, name in enumerate(env.reward_names)}
    if env.level == "act" or done.choices is None:
        return result
    favourite = walk(env, favourites(env, log_probs)).choices
    assert favourite is not None
    return result | _of_options(env, done.choices[..., train, :, :, :], favourite[..., train, :, :, :])


def favourites(env: MIDialogue, log_probs: Tensor) -> Tensor:
    """The policy whose master always takes its most probable option; sub-policies stay as they are."""
    options = len(people.PHASES)
    best_option = log_probs[..., :options].argmax(-1, keepdim=True)
    sure = torch.full_like(log_probs, ILLEGAL).scatter(-1, best_option, 0.0)
    return torch.where(env.masters[:, None], sure, log_probs)


def _of_options(env: MIDialogue, choices: Tensor, favourite: Tensor) -> dict[str, Tensor]:
    """Measures of ``choices [..., K, B, 175, 4]`` on the train types, and of those of the favourites."""
    joint, sure = (each / (each.shape[-4] * env.blocks) for each in (choices, favourite))
    by_type, marginal = joint.sum((-3, -2)), joint.sum((-4, -3, -2))
    seen = joint if env.see_type else joint.sum(-4)
    entropy = _entropy(marginal)
    in_phase = by_phase(env, choices).mean(-3)
    return {
        "dominant_share": marginal.amax(-1),
        "dominant_share_argmax": sure.sum((-4, -3, -2)).amax(-1),
        "option_entropy": entropy,
        "information_type": _information(by_type, entropy, (-2, -1)),
        "information_state": _information(seen, entropy, (-4, -3, -2, -1) if env.see_type else (-3, -2, -1)),
    } | {
        f"{option}_in_{name}": in_phase[..., p, o]
        for p, name in enumerate(people.PHASES)
        for o, option in enumerate(people.PHASES)
    }


def by_phase(env: MIDialogue, choices: Tensor) -> Tensor:
    """Of ``choices [..., K, B, 175, 4]`` each option's share in each phase of the ladder, ``[..., K, 4, 4]``."""
    phase = one_hot(people.phase().to(env.device), len(people.PHASES)).to(choices.dtype)
    return torch.einsum("...kbco,cp->...kpo", choices, phase) / env.blocks


def _entropy(chance: Tensor) -> Tensor:
    """``[..., n] -> [...]``, nats."""
    return -torch.xlogy(chance, chance).sum(-1)


def _information(joint: Tensor, entropy: Tensor, axes: tuple[int, ...]) -> Tensor:
    """``I(X; option) = H(option) + H(X) - H(X, option)``; axes of ``joint`` are those of X, then the options."""
    both = -torch.xlogy(joint, joint).sum(axes)
    of_x = joint.sum(-1)
    return entropy - torch.xlogy(of_x, of_x).sum(tuple(axis + 1 for axis in axes[:-1])) - both
