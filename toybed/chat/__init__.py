"""``toybed chat``: a dialogue in the terminal between a person and a trained policy."""

from __future__ import annotations

import json
import sys
from io import TextIOWrapper
from typing import TextIO

from rich.console import Console
from rich.text import Text

from toybed.chat import text
from toybed.chat.policy import plan, trained
from toybed.chat.record import record
from toybed.chat.session import Session
from toybed.envs import mi_dialogue_users as people
from toybed.progress import Bar
from toybed.seeding import named_generator

FINISHED, QUIT, NO_MORE, INTERRUPTED = "finished", "quit", "end of input", "interrupted"
"""How a dialogue ends."""


def chat(
    *,
    play: str,
    user: str,
    level: str,
    objective: str,
    updates: int,
    seed: int,
    turns: int,
    entropy_coefficient: float | None,
    as_json: bool,
) -> None:
    """Train a policy, then talk with it.

    Args:
        play: whom the person plays, "patient" or "therapist".
        user: the simulated patient's type, or "surprise": it is drawn, and told at the end.
        level, turns: of the world.
        objective, updates, entropy_coefficient: of the training; None leaves the objective's own coefficient.
        seed: of all luck.
        as_json: one object on standard output, and all else on standard error.

    Raises:
        ToybedError: a value is not allowed, or the training diverged.
    """
    setting = plan(
        level=level,
        turns=turns,
        objective=objective,
        updates=updates,
        seed=seed,
        entropy_coefficient=entropy_coefficient,
    )
    console = Console(stderr=as_json, highlight=False)
    console.print(text.warning())
    console.print(text.what_is_trained(setting, seed))
    with Bar(quiet=as_json) as bar:
        policy = trained(setting, seed, bar)
    console.print(text.what_it_is_worth(policy))
    who = drawn_type(seed) if user == "surprise" else user
    console.print(text.introduction(policy.env, play, "surprise" if user == "surprise" else who))
    session = Session(policy.env, policy.log_probs, play=play, user=people.TYPES.index(who), seed=seed)
    if isinstance(sys.stdin, TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")  # bytes that are no text are one more wrong input
    ended = talk(session, sys.stdin, console)
    console.print(text.farewell(session, policy, who, ended))
    if as_json:
        facts = {"objective": objective, "entropy_coefficient": entropy_coefficient, "updates": updates, "seed": seed}
        print(json.dumps(record(session, policy, who, ended, facts), allow_nan=False))


def drawn_type(seed: int) -> str:
    """The type that a surprise is."""
    return people.TYPES[int(named_generator(seed, "chat/type").integers(len(people.TYPES)))]


def talk(session: Session, lines: TextIO, console: Console) -> str:
    """Ask and answer until the dialogue is over; returns how it ended."""
    view = session.view()
    console.print(text.turn_begins(session, view))
    try:
        while view.ask is not None:
            line = _read(lines, console, text.prompt(view))
            if not line:
                console.print()
                return NO_MORE
            view = session.give(line)
            console.print(text.reply(session, view))
    except KeyboardInterrupt:
        console.print()
        return INTERRUPTED
    return FINISHED if len(session.turns) == session.env.turns else QUIT


def _read(lines: TextIO, console: Console, prompt: Text) -> str:
    """The next line; empty at the end of the input."""
    console.print(prompt, end="")
    line = lines.readline()
    if line and not lines.isatty():
        console.print(Text(line.rstrip("\n")))  # a terminal shows what is typed, a pipe does not
    return line
