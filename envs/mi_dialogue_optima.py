"""The best that can be done in MIDialogue: by dynamic programming for one type of user, by ascent for all at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from toybed.envs import mi_dialogue_truth as truth
from toybed.envs import mi_dialogue_users as people

if TYPE_CHECKING:
    from toybed.envs.mi_dialogue import MIDialogue


class Best(NamedTuple):
    """The best return of each type, ``[K]``, and the choice that reaches it, ``[K, n, 175]``."""

    worth: Tensor
    choice: Tensor


def best(env: MIDialogue, level: str) -> Best:
    """The optimum of a therapist who knows the type and sees counters and turn; for "both" that of the act level."""
    held = _Held(env, level)
    value, choices = held.nothing, []
    for place in reversed(range(held.count)):
        value, choice = held.worth(place, value).max(-1)
        choices.append(choice)
    return Best(value[:, 0], torch.stack(choices[::-1], 1))


def best_for_all(env: MIDialogue, level: str, split: str = "all") -> Best:
    """A policy that sees counters and turn but not the type: the best for a split's types that ascent finds.

    It climbs from the ladder and from each type's optimum: each choice in turn is made the best one for the types as
    they arrive there, given all other choices. The mean return never falls; where it ends no single place can be
    improved. So this is a lower bound of what one policy for all can earn, and with :func:`best` it says what there is
    to gain by telling types apart.

    Returns:
        Its worth for each of the K types, not only the split's; the choice is the same for all, ``[1, n, 175]``.
    """
    held = _Held(env, level)
    starts = list(best(env, level).choice)
    if level == "option":
        starts.append(people.phase().to(env.device).expand(held.count, -1))
    found = [_climb(held, env.prompts(split), start) for start in starts]
    return max(found, key=lambda each: float(each.worth[env.prompts(split)].mean()))


def _climb(held: _Held, prompts: Tensor, choice: Tensor) -> Best:
    worth, before = held.nothing[:, 0], None
    while before is None or not torch.equal(choice, before):
        before, (_, here) = choice, held.follow(choice)
        value, places = held.nothing, []
        for place in reversed(range(held.count)):
            ahead = held.worth(place, value)
            arriving = here[prompts, place, :, None]
            # Where nobody can arrive the choice does not matter: that of the average user.
            merit = (torch.where(arriving.sum(0) > 0, arriving, 1.0) * ahead[prompts]).sum(0)
            kept = merit.gather(-1, choice[place, :, None])[:, 0]
            better = merit.max(-1)
            chosen = torch.where(better.values > kept + 1e-12, better.indices, choice[place])
            value = ahead.gather(-1, chosen[None, :, None].expand(len(ahead), -1, 1))[..., 0]
            places.append(chosen)
        choice, worth = torch.stack(places[::-1]), value[:, 0]
    return Best(worth, choice[None])


class _Held:
    """Choices that are held for some turns, and what they lead to, for all types of users.

    ``count`` choices in a dialogue; ``nothing [K, 175]`` is what the end is worth.
    """

    def __init__(self, env: MIDialogue, level: str) -> None:
        self._hold, chances = truth.held(env, level)
        self._env, self._ways = env, len(chances)
        turn_of = truth.effects(env, level)
        self._moves, self._paid = turn_of.moves, turn_of.paid.sum(-1)
        self._above = env.tables.following[:, [group[0] for group in truth.MOVES]].T  # [4, 175]
        self.count = env.turns // self._hold
        self.nothing = self._paid.new_zeros(env.n_prompts, people.N_COUNTERS)

    def _turns(self, place: int) -> list[int]:
        """The half that each turn of a choice is in."""
        first = place * self._hold
        return [truth.half(self._env, turn) for turn in range(first, first + self._hold)]

    def worth(self, place: int, value: Tensor) -> Tensor:
        """What each way is worth at the ``place``-th choice, ``[K, 175, n]``, if it is ``value [K, 175]`` after it."""
        ahead = value[..., None].expand(-1, -1, self._ways)
        for when in reversed(self._turns(place)):
            after = torch.stack([ahead[:, above] for above in self._above], -2)  # [K, 175, 4, n]
            ahead = self._paid[:, when] + (self._moves[:, when] * after).sum(-2)
        return ahead

    def follow(self, choice: Tensor) -> tuple[Tensor, Tensor]:
        """The worth ``[K]`` of choices ``[n, 175]``, and where users arrive on the way, ``[K, n, 175]``."""
        here = torch.zeros_like(self.nothing)
        here[:, 0] = 1
        worth, seen = 0 * here[:, 0], []
        for place in range(self.count):
            seen.append(here)
            mass = here[..., None] * one_hot(choice[place], self._ways)
            for when in self._turns(place):
                worth = worth + (mass * self._paid[:, when]).sum((-2, -1))
                mass = truth.arrive(mass[..., None, :] * self._moves[:, when])
            here = mass.sum(-1)
        return worth, torch.stack(seen, 1)


def best_master(env: MIDialogue, log_probs: Tensor) -> Tensor:
    """What a master can make of a table's sub-policies (``level="both"``) at most, type by type, ``[..., K]``.

    Of a master that knows the type and sees counters, number of options *and the last acts*. Where acts do not depend
    on the last acts that is the optimum of the option level; else no master that sees less exceeds it.
    """
    _, acts = truth.split_table(env, log_probs)
    pi = acts.exp()
    begin, later = pi[..., 0, 0, :], pi[..., 1:, 1:, :].flatten(-3, -2)  # [..., 1, O, 13], [..., 1, O, 9 * 13, 13]
    answers = env.tables.answers[:, :, env.tables.situation].to(pi.dtype).transpose(-1, -2)  # [K, 2, 175, 9, 13]
    reward = env.effects.paid.sum(-1).to(pi.dtype)
    after = (env.tables.following * truth.ANSWERS + torch.arange(truth.ANSWERS, device=env.device)).flatten()
    size = (*pi.shape[:-5], env.n_prompts, len(people.PHASES), people.N_COUNTERS)
    value = pi.new_zeros(*size, truth.ANSWERS, truth.ACTS)
    for turn in reversed(range(env.turns)):
        when = truth.half(env, turn)
        ahead = value.flatten(-3, -2).index_select(-2, after).unflatten(-2, (people.N_COUNTERS, truth.ANSWERS))
        acting = reward[:, when, None] + (answers[:, when, None] * ahead).sum(-2)  # [..., K, O, 175, 13]
        if turn == 0:
            return (acting[..., 0, :] * begin).sum(-1).amax(-1)
        value = (acting @ later.transpose(-1, -2)).unflatten(-1, (truth.ANSWERS, truth.ACTS))
        if turn % env.hold == 0:
            value = value.amax(-4, keepdim=True).expand_as(value)
    raise AssertionError("a dialogue has a turn")
