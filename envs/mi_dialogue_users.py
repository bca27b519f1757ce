"""The patients of MIDialogue: what they may say, what they answer to what, and what is made of their answers.

Every probability in this file is invented. None was estimated from recorded sessions, and none is a clinical statement:
the numbers were chosen once, so that each act of a therapist has a few likely answers and no sure one. The names of the
acts and the types, and the shape of the rules, follow the dialogue manager of arXiv 2506.19652 and its public code.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

PHASES = ("engage", "focus", "evoke", "plan")
"""The phases of a motivational interview, which are also the options of a master policy."""

TYPES = ("receptive", "resistant", "open")
"""The named users: hesitant at first and willing later, resistant to change, open to change."""

ANSWERS = (
    "share information",
    "change talk",
    "sustain talk",
    "negative feeling",
    "positive feeling",
    "new understanding",
    "greeting or closing",
    "backchannel",
    "ask a medical question",
)
"""What a user may do in a turn. The code's tenth, "unknown", is its classifier's way to give up, and is left out."""

INFORMATION, CHANGE, SUSTAIN, NEGATIVE, POSITIVE, UNDERSTANDING, GREETING, BACKCHANNEL, MEDICAL = range(9)

# An act, the phases it belongs to, and how often each answer follows where nothing disturbs, in hundredths. Invented.
_ACTS = (
    ("reflection", (0, 1, 2), (20, 8, 8, 18, 10, 16, 1, 17, 2)),
    ("ask for information", (1,), (58, 3, 8, 10, 5, 3, 1, 8, 4)),
    ("invite to shift outlook", (2,), (6, 22, 18, 6, 5, 34, 1, 6, 2)),
    ("ask about emotions", (0,), (12, 3, 6, 45, 22, 4, 1, 6, 1)),
    ("give a solution", (3,), (4, 28, 26, 6, 5, 8, 1, 10, 12)),
    ("plan with the patient", (3,), (6, 46, 16, 5, 6, 6, 1, 6, 8)),
    ("normalise or reassure", (0,), (12, 5, 8, 22, 25, 10, 1, 15, 2)),
    ("medical education", (1, 3), (5, 12, 12, 6, 3, 18, 1, 13, 30)),
    ("greeting or closing", (0, 3), (10, 2, 2, 5, 9, 2, 55, 14, 1)),
    ("backchannel", (0, 1, 2), (30, 7, 9, 17, 9, 6, 2, 18, 2)),
    ("ask for consent", (1, 3), (14, 9, 8, 5, 10, 6, 1, 35, 12)),
    ("acknowledge progress", (2, 3), (10, 24, 6, 4, 26, 12, 2, 14, 2)),
    ("empathic reaction", (0, 2), (14, 4, 6, 32, 16, 10, 1, 16, 1)),
)
ACTS = tuple(name for name, _, _ in _ACTS)
"""What the therapist may do in a turn: the 13 acts of the paper."""

PREMATURE = 0.12  # of `resist`: what a premature act adds to the weight of sustain talk, before weights are normalised
CLOSED = 4.0  # a resistant user has less than its share of change, understanding and information after a premature act
EAGER = ((CHANGE, 1.6), (UNDERSTANDING, 1.3))  # how much more often an open user answers so
SIZES = (7, 5, 5)
"""Rapport counts to 6, context and perspective to 4: a user's counters are one of 175."""
N_COUNTERS, N_COMPONENTS = 175, 5
COUNTS = ((NEGATIVE, POSITIVE), (INFORMATION, MEDICAL), (CHANGE, UNDERSTANDING))
"""The answers that each counter counts."""
ENOUGH = 3
"""From this count on the reward, and a therapist who climbs the ladder, go on to the next phase."""


class Tables(NamedTuple):
    """Everything that a turn needs, for K types of users.

    ``answers [K, 2, P, 13, 9]``: chance of each answer, by type, half of the dialogue, situation and act;
    ``situation [175]``: which of the P situations the counters mean; ``following [175, 9]``: the counters after an
    answer; ``points [175, 9, 5]``: what it is paid, in hundredths of reward, by component.
    """

    answers: Tensor
    situation: Tensor
    following: Tensor
    points: Tensor


def counters() -> Tensor:
    """Rapport, context and perspective of each number of the counters, ``[175, 3]``."""
    return torch.cartesian_prod(*(torch.arange(size) for size in SIZES))


def phase(need: tuple[int, ...] = (ENOUGH,) * 3) -> Tensor:
    """The phase that a user with these thresholds is in, for each number of the counters, ``[175]``.

    The first whose counter is below its threshold; "plan" where none is.
    """
    reached = counters() >= torch.tensor(need)
    return torch.cat([reached, torch.zeros(len(reached), 1, dtype=torch.bool)], 1).long().argmin(1)


def following() -> Tensor:
    """The counters after each answer: every counter counts its answers, and stops at its end."""
    step = torch.zeros(len(ANSWERS), 3, dtype=torch.int64)
    for place, counted in enumerate(COUNTS):
        step[list(counted), place] = 1
    after = torch.minimum(counters()[:, None] + step, torch.tensor(SIZES) - 1)
    return (after[..., 0] * SIZES[1] + after[..., 1]) * SIZES[2] + after[..., 2]


def repertoire() -> Tensor:
    """Which acts belong to which phase, bool ``[4, 13]``."""
    return torch.tensor([[place in phases for _, phases, _ in _ACTS] for place in range(len(PHASES))])


def answer_chances(resist: float) -> Tensor:
    """What a user answers, ``[2 (resistant, open), 4 (phase), 13, 9]``.

    An act is premature in a phase when it belongs only to later ones.
    """
    base = torch.tensor([row for _, _, row in _ACTS], dtype=torch.float64) / 100
    first = repertoire().long().argmax(0)
    premature = first > torch.arange(len(PHASES))[:, None]  # [4, 13]
    weight = base.expand(2, len(PHASES), -1, -1).clone()
    weight[..., SUSTAIN] += PREMATURE * resist * premature.double()
    for answer, factor in EAGER:
        weight[1, ..., answer] *= factor
    for answer in (CHANGE, UNDERSTANDING, INFORMATION):
        weight[0, ..., answer] = torch.where(premature, weight[0, ..., answer] / CLOSED, weight[0, ..., answer])
    return weight / weight.sum(-1, keepdim=True)


def mixtures(n_types: int, table_seed: int) -> Tensor:
    """How much of each named user there is in every type, ``[3 + n_types, 3]``: the named ones, then others.

    The others are uniform on the triangle between the named ones.
    """
    generator = torch.Generator().manual_seed(table_seed)
    drawn = -torch.rand(n_types, len(TYPES), generator=generator, dtype=torch.float64).clamp(min=1e-12).log()
    return torch.cat([torch.eye(len(TYPES), dtype=torch.float64), drawn / drawn.sum(1, keepdim=True)])


def users(mixture: Tensor, need: tuple[tuple[int, ...], ...], resist: float) -> tuple[Tensor, Tensor]:
    """``answers [K, 2, P, 13, 9]`` and ``situation [175]`` of the types with these mixtures, ``[K, 3]``.

    A mixed user answers every turn as one of the named ones, each as often as its share says. Counters that put all
    three of these into the same phases are one situation.
    """
    phases, situation = torch.stack([phase(each) for each in need]).unique(dim=1, return_inverse=True)  # [3, P]
    chances = answer_chances(resist)
    closed, eager = (chances[manner][phases] for manner in (0, 1))  # [3, P, 13, 9]
    first = torch.stack([closed[0], closed[1], eager[2]])
    second = torch.stack([eager[0], closed[1], eager[2]])  # receptive users come round
    halves = torch.stack([first, second], 1)
    return torch.einsum("kn,nhpau->khpau", mixture, halves), situation


def points(kind: str, gated: bool) -> Tensor:
    """What each answer is paid at each number of the counters, in hundredths, int64 ``[175, 9, 5]``.

    Components: the four phases, and harm. See the class for the rules.
    """
    rapport, context, perspective = counters().unbind(1)
    met, informed = rapport >= ENOUGH, context >= ENOUGH
    ready = met & informed & (perspective >= ENOUGH)
    focus = (met if gated else torch.ones_like(met)) & (context < SIZES[1] - 1)
    evoke = (met & informed if gated else torch.ones_like(met)) & (perspective < SIZES[2] - 1)
    paid = torch.zeros(len(rapport), len(ANSWERS), len(PHASES) + 1, dtype=torch.int64)
    for feeling in (NEGATIVE, POSITIVE):
        paid[:, feeling, 0] = 50 * (rapport < ENOUGH)
    paid[:, INFORMATION, 1] = 100 * focus
    paid[:, MEDICAL, 1] = 100 * (focus & ~ready)
    paid[:, CHANGE, 2] = 150 * (evoke & ~ready)
    paid[:, UNDERSTANDING, 2] = 150 * evoke
    if kind == "code":
        paid[:, CHANGE, 3] = 250 * ready
        paid[:, MEDICAL, 3] = 245 * ready
        paid[:, SUSTAIN, 4] = -10
    else:
        paid[:, [CHANGE, MEDICAL], 3] = 200 * ready[:, None]
        paid[:, CHANGE, 2] += 5
        paid[:, SUSTAIN, 4] = -5
    return paid
