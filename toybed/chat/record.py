"""What is left of a dialogue: its summary, and all of it as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from toybed.chat.policy import Trained
from toybed.chat.session import Session, Turn
from toybed.envs import mi_dialogue_users as people
from toybed.envs.mi_dialogue import MIDialogue

NOTE = (
    "The patient is a simulator that was invented. It was estimated from nothing and is not clinical: nothing in it "
    "says anything about patients or therapy, and nothing here is advice."
)


@dataclass(frozen=True)
class Summary:
    """A dialogue, finished or not.

    Attributes:
        turns: that are over.
        reward: their return, and ``paid`` the same by component.
        used: how often what was chosen in which phase: options, or acts at the act level; by phase, then by name.
        entropy: mean entropy of the policy at the choices, nats, by kind of choice.
        share: mean share of the highest possible entropy, the same.
    """

    turns: int
    reward: float
    paid: dict[str, float]
    used: dict[str, dict[str, int]]
    entropy: dict[str, float]
    share: dict[str, float]


def summary(env: MIDialogue, turns: Sequence[Turn]) -> Summary:
    """What became of these turns."""
    choices = [(turn.phase, choice) for turn in turns for choice in turn.choices]
    counted = "act" if env.level == "act" else "option"
    used = {phase: Counter(c.taken for p, c in choices if p == phase and c.kind == counted) for phase in people.PHASES}
    kinds = {kind: [c for _, c in choices if c.kind == kind] for kind in ("option", "act")}
    return Summary(
        turns=len(turns),
        reward=turns[-1].so_far if turns else 0.0,
        paid={name: round(sum(turn.paid.get(name, 0.0) for turn in turns), 2) for name in env.reward_names},
        used={phase: dict(times) for phase, times in used.items() if times},
        entropy={kind: sum(c.entropy for c in made) / len(made) for kind, made in kinds.items() if made},
        share={kind: sum(c.share for c in made) / len(made) for kind, made in kinds.items() if made},
    )


def record(session: Session, policy: Trained, user: str, ended: str, facts: dict[str, Any]) -> dict[str, Any]:
    """The whole dialogue, as JSON has it."""
    env = session.env
    return {
        "note": NOTE,
        "play": session.play,
        "type": user,
        "level": env.level,
        **facts,
        "turns": env.turns,
        "hold": None if env.level == "act" else env.hold,
        "ended": ended,
        "policy": {
            "expected": policy.expected,
            "optimum": policy.optimum,
            "random": policy.random,
            "entropy": policy.entropy,
        },
        "dialogue": [asdict(turn) for turn in session.turns],
        "summary": asdict(summary(env, session.turns)),
    }
