"""One dialogue of a person with a trained policy: a line in, what has happened and what is asked next out.

Nothing here prints or reads, and nothing is drawn on the way: the luck of every turn is drawn from the seed at the
start. So the same seed and lines give the same dialogue, and after ``undo`` other words meet the same luck.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from math import log
from typing import NamedTuple

import torch
from torch import Tensor

from toybed.envs import mi_dialogue_users as people
from toybed.envs.mi_dialogue import Dialogue, MIDialogue
from toybed.errors import ToybedError
from toybed.measures.entropy import token_entropy
from toybed.seeding import named_generator

COMMANDS = ("auto", "undo", "quit")
NAMES = {"option": people.PHASES, "act": people.ACTS, "answer": people.ANSWERS}
"""What there is to choose from, by the kind of the choice; an answer is the patient's."""


@dataclass(frozen=True)
class Choice:
    """A therapist's choice, beside what the policy thinks of it.

    Attributes:
        kind: "option" or "act".
        chances: the policy's probability of everything that may be chosen here, by name.
        entropy: of these, nats.
        share: the entropy as a share of the highest possible, the logarithm of how many there are.
        taken: what was chosen.
        by: "policy" or "person".
    """

    kind: str
    chances: dict[str, float]
    entropy: float
    share: float
    taken: str
    by: str


@dataclass(frozen=True)
class Turn:
    """A turn that is over.

    Attributes:
        turn: its number, from 1.
        phase: the first whose counter was below 3 when it began.
        option: that was held; None at the act level.
        act, answer: what the therapist and the patient did.
        answered_by: "simulator" or "person".
        choices: that were made in it; none where an option that is held does the act.
        counters: rapport, context and perspective after it.
        paid: the reward of this turn by component; components that are 0 are left out.
        reward: of this turn.
        so_far: of the dialogue up to its end.
    """

    turn: int
    phase: str
    option: str | None
    act: str
    answer: str
    answered_by: str
    choices: tuple[Choice, ...]
    counters: dict[str, int]
    paid: dict[str, float]
    reward: float
    so_far: float


class Place(NamedTuple):
    """Where the dialogue is: the number of the turn that is open, what is held and counted, the reward so far."""

    turn: int
    phase: str
    option: str | None
    counters: dict[str, int]
    so_far: float


class View(NamedTuple):
    """What there is to show after a line.

    Attributes:
        place: where the dialogue is.
        ask: what the person is to choose now, "option", "act" or "answer"; None when the dialogue is over.
        choices: those that were made already in the turn that is open.
        act: what the therapist does in it, where that is known.
        turns: those that ended with this line.
        chosen: a choice of the person that ended no turn, or None.
        message: one line about the input, or None.
        listing: whether the list of choices was asked for.
        back: whether the line went back.
    """

    place: Place
    ask: str | None
    choices: tuple[Choice, ...] = ()
    act: str | None = None
    turns: tuple[Turn, ...] = ()
    chosen: Choice | None = None
    message: str | None = None
    listing: bool = False
    back: bool = False


class Moment(NamedTuple):
    """All that ``undo`` goes back to: the world's state, choices of the turn that is open, and turns that are over."""

    state: Dialogue
    choices: tuple[Choice, ...]
    turns: tuple[Turn, ...]


class Session:
    """A dialogue between a person and a policy, or between a person and the simulated patient.

    Args:
        env: the world, in which the policy does not see the patient's type.
        log_probs: the policy, a table ``[C, V]`` over the world's contexts.
        play: "patient": the policy is the therapist; "therapist": the simulator is the patient.
        user: the number of the simulated patient's type.
        seed: of all luck: of the patient's answers, of the policy's choices, of the acts of a fixed option.
    """

    def __init__(self, env: MIDialogue, log_probs: Tensor, *, play: str, user: int, seed: int) -> None:
        self.env, self.play = env, play
        self._log_probs = log_probs.double()
        noise = named_generator(seed, "chat/patient").random(env.noise)
        self._luck = named_generator(seed, "chat/therapist").random((env.turns, 2))
        start = env.reset(torch.tensor(user), torch.from_numpy(noise))
        self._history = [self._settle(Moment(start, (), ()))]
        self._stopped = False

    @property
    def state(self) -> Dialogue:
        """The world's own state."""
        return self._history[-1].state

    @property
    def turns(self) -> tuple[Turn, ...]:
        """Those that are over."""
        return self._history[-1].turns

    def view(self) -> View:
        """What there is to show before the first line."""
        moment = self._history[-1]
        ask = None if self._stopped else self._next(moment)
        act = self._act(moment) if ask == "answer" else None
        return View(_place(self.env, moment.state), ask, moment.choices, None if act is None else people.ACTS[act])

    def give(self, line: str) -> View:
        """Take a line of the person: the number or an unambiguous beginning of a choice, or a command.

        ``?`` asks for the list; ``auto`` lets the policy or the simulator choose; ``undo`` takes back the last choice;
        ``quit`` ends the dialogue.
        """
        word, asked = " ".join(line.split()).lower(), self.view().ask
        if asked is None:
            return self.view()._replace(message="the dialogue is over")
        if word == "?":
            return self.view()._replace(listing=True)
        if word == "quit":
            self._stopped = True
            return self.view()
        if word == "undo":
            return self._undo()
        try:
            taken = None if word == "auto" else place_of(word, asked)
        except ToybedError as error:
            return self.view()._replace(message=str(error))
        return self._go(asked, taken)

    def _undo(self) -> View:
        if len(self._history) == 1:
            return self.view()._replace(message="there is nothing to undo yet")
        self._history.pop()
        return self.view()._replace(message=f"undone: back in turn {int(self.state.turn) + 1}", back=True)

    def _go(self, asked: str, taken: int | None) -> View:
        before = self._history[-1]
        done = self._do(before, asked, taken)
        self._history.append(self._settle(done))
        chosen = done.choices[-1] if len(done.choices) > len(before.choices) else None
        turns = self.turns[len(before.turns) :]
        return self.view()._replace(turns=turns, chosen=None if turns else chosen)

    # -- how it moves ----------------------------------------------------------------------------------------------
    def _next(self, moment: Moment) -> str | None:
        """What is to be chosen next, by whomever; None after the last turn."""
        level, state = self.env.level, moment.state
        if int(state.turn) == self.env.turns:
            return None
        if level != "act" and int(state.option) == 0:
            return "option"
        if level != "option" and not any(choice.kind == "act" for choice in moment.choices):
            return "act"
        return "answer"

    def _settle(self, moment: Moment) -> Moment:
        """Go on until the person has to choose, or to the end."""
        mine = ("answer",) if self.play == "patient" else ("option", "act")
        while (kind := self._next(moment)) is not None and kind not in mine:
            moment = self._do(moment, kind, None)
        return moment

    def _do(self, moment: Moment, kind: str, taken: int | None) -> Moment:
        """Make a choice of this kind: the one ``taken``, or that of the policy or the simulator."""
        if kind == "answer":
            return self._turned(moment, taken)
        choice = self._choice(moment.state, kind, taken)
        if kind == "option":
            held = torch.tensor(people.PHASES.index(choice.taken) + 1)
            moment = moment._replace(state=moment.state._replace(option=held))
        return moment._replace(choices=(*moment.choices, choice))

    def _choice(self, state: Dialogue, kind: str, taken: int | None) -> Choice:
        names, row = NAMES[kind], self._row(state, kind)
        chances = row.exp()
        drawn = _fall(chances, self._luck[int(state.turn), int(kind == "act")]) if taken is None else taken
        entropy = float(token_entropy(row))
        return Choice(
            kind=kind,
            chances=dict(zip(names, chances.tolist(), strict=True)),
            entropy=entropy,
            share=entropy / log(len(names)),
            taken=names[drawn],
            by="policy" if taken is None else "person",
        )

    def _row(self, state: Dialogue, kind: str) -> Tensor:
        """The policy's log-probabilities of all that may be chosen here, ``[n]``."""
        row = self._log_probs[self.env.context_index(self.env.observe(state))]
        first = len(people.PHASES) if self.env.level == "both" and kind == "act" else 0
        return row[first : first + len(NAMES[kind])]

    def _act(self, moment: Moment) -> int:
        """What the therapist does in the turn that is open."""
        if self.env.level != "option":
            return people.ACTS.index(moment.choices[-1].taken)
        state = moment.state
        # As the world has it: the second half of an episode's noise is that of the fixed sub-policies.
        luck = float(state.noise[self.env.turns + int(state.turn)])
        return _fall(self.env.sub_policies[int(state.option) - 1], luck)

    def _turned(self, moment: Moment, answer: int | None) -> Moment:
        """The turn with this answer, or with the simulator's."""
        env, state = self.env, moment.state
        act = torch.tensor(self._act(moment))
        said = env.respond(state, act).heard - 1 if answer is None else torch.tensor(answer)
        after = env.exchange(state, act, said)
        ends = env.level != "act" and int(after.turn) % env.hold == 0
        after = after._replace(time=state.time + len(moment.choices), option=torch.tensor(0) if ends else state.option)
        before, place = _place(env, state), _place(env, after)
        points = (after.points - state.points).tolist()
        turn = Turn(
            turn=before.turn,
            phase=before.phase,
            option=before.option,
            act=people.ACTS[int(act)],
            answer=people.ANSWERS[int(said)],
            answered_by="simulator" if answer is None else "person",
            choices=moment.choices,
            counters=place.counters,
            paid={name: paid / 100 for name, paid in zip(env.reward_names, points, strict=True) if paid},
            reward=sum(points) / 100,
            so_far=place.so_far,
        )
        return Moment(after, (), (*moment.turns, turn))


def place_of(word: str, kind: str) -> int:
    """The number, from 0, of what a person named by its number from 1 or by an unambiguous beginning.

    Raises:
        ToybedError: it is none, or more than one.
    """
    names = NAMES[kind]
    found = [
        place for place, name in enumerate(names) if word in (name, str(place + 1)) or (word and name.startswith(word))
    ]
    if len(found) == 1:
        return found[0]
    if found:
        fitting = ", ".join(f"{place + 1} {names[place]}" for place in found)
        raise ToybedError(f"{word!r} is the beginning of several: {fitting}")
    close = get_close_matches(word, names, n=1, cutoff=0.5)
    guess = f"did you mean {close[0]!r}? " if close else ""
    allowed = f"1 to {len(names)}, the beginning of a name, {', '.join(COMMANDS)}; ? lists all"
    raise ToybedError(f"{word!r} is no {kind}: {guess}allowed: {allowed}")


def _fall(chances: Tensor, luck: float) -> int:
    """What a number in [0, 1) falls on, given chances ``[n]``."""
    return int((luck >= chances.cumsum(-1)).sum().clamp(max=len(chances) - 1))


def _place(env: MIDialogue, state: Dialogue) -> Place:
    rapport, context, perspective = env.counters[state.counters].tolist()
    option = int(state.option)
    return Place(
        turn=int(state.turn) + 1,
        phase=people.PHASES[int(people.phase()[state.counters])],
        option=people.PHASES[option - 1] if option else None,
        counters={"rapport": rapport, "context": context, "perspective": perspective},
        so_far=int(state.points.sum()) / 100,
    )
