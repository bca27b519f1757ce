"""What ``trace_collapse`` compares: the contrasts that decide, and those that stand beside the claim."""

from __future__ import annotations

from toybed.benchmarks.trace_collapse_measures import (
    ANSWER,
    GIVEN_CORRECT,
    LIKE_A_RULE,
    RIGHT,
    SEPARABLE,
    SILENT,
    TOLD,
    VALID,
    WRITTEN,
    Difference,
    Value,
    name_of,
)
from toybed.benchmarks.trace_collapse_sweep import LARGE, NETWORKS, SMALL, WIDTHS, arm

LOST = 0.05  # of the share of events after which the right belief is written
HELD = 0.03  # of the accuracy
USED = 0.05  # of the accuracy: what a trace is worth
ALL_BUT = 0.95  # of the events: nothing is skipped

SMALLEST, LARGEST = arm("full", SMALL), arm("full", LARGE)
TRACE = (WRITTEN, RIGHT, ANSWER)

DECIDING = {
    "small loses": Difference(
        "With memory, RL on answers empties the trace of the smallest policy.",
        first=Value(SMALLEST, VALID, "change"),
        test="below",
        threshold=-LOST,
        told=TRACE,
    ),
    "small holds": Difference(
        "With memory, the smallest policy's accuracy holds.",
        first=Value(SMALLEST, ANSWER, "change"),
        test="above",
        threshold=-HELD,
        told=(SEPARABLE,),
    ),
    "large keeps": Difference(
        "With memory, RL on answers leaves the trace of the largest policy.",
        first=Value(LARGEST, VALID, "change"),
        test="above",
        threshold=-LOST,
        told=TRACE,
    ),
    "direction": Difference(
        "With memory, the trace beside a right answer is better in the largest policy than in the smallest.",
        first=Value(LARGEST, GIVEN_CORRECT),
        second=Value(SMALLEST, GIVEN_CORRECT),
    ),
}


def _beside() -> dict[str, Difference]:
    widths = WIDTHS["full"]
    pairs = [(memory, width) for memory in NETWORKS for width in widths]
    found = {"direction of change": _direction_of_change()}
    found |= {
        f"{arm(m, w)} loses": Difference(
            f"RL on answers lowers the validity of the trace: {name_of(arm(m, w))}.",
            first=Value(arm(m, w), VALID, "change"),
            test="below",
            threshold=-LOST,
            told=TRACE,
        )
        for m, w in pairs
        if (m, w) not in (("full", SMALL), ("full", LARGE))
    }
    found |= {
        f"{arm(m, w)} gains": Difference(
            f"RL on answers raises the accuracy: {name_of(arm(m, w))}.",
            first=Value(arm(m, w), ANSWER, "change"),
            test="above",
            threshold=0.0,
            told=(SEPARABLE, LIKE_A_RULE),
        )
        for m, w in pairs
    }
    found |= {
        f"{w} needs": Difference(
            f"Where the trace is all there is, RL keeps it better than with memory: {w} units.",
            first=Value(arm("none", w), VALID, "change"),
            second=Value(arm("full", w), VALID, "change"),
            test="above",
            threshold=LOST,
        )
        for w in widths
    }
    for memory in NETWORKS:
        for width in (SMALL, LARGE):
            found |= _use(memory, width) | _payments(memory, width)
    return found | _controls()


def _direction_of_change() -> Difference:
    return Difference(
        "With memory, RL changes the trace beside a right answer for the better in the largest policy, compared with "
        "the smallest.",
        first=Value(LARGEST, GIVEN_CORRECT, "change"),
        second=Value(SMALLEST, GIVEN_CORRECT, "change"),
    )


def _use(memory: str, width: int) -> dict[str, Difference]:
    """Need not, or cannot: what the answer owes to the trace."""
    own = arm(memory, width)
    return {
        f"{own} owes": Difference(
            f"After RL the answer owes something to the trace: {name_of(own)}.",
            first=Value(own, ANSWER),
            second=Value(own, SILENT),
            test="above",
            threshold=USED,
        ),
        f"{own} reads": Difference(
            f"After RL a right trace, written for it, would make the answers better: {name_of(own)}.",
            first=Value(own, TOLD),
            second=Value(own, ANSWER),
            test="above",
            threshold=USED,
        ),
    }


def _payments(memory: str, width: int) -> dict[str, Difference]:
    """What a cost of writing and a pay for it do, compared with RL on answers from the same base."""
    own, cost, paid = (arm(memory, width, what) for what in ("", "cost", "paid"))
    name = name_of(own)
    return {
        f"{cost} empties": Difference(
            f"A cost of writing empties the trace: {name}.",
            first=Value(cost, VALID),
            second=Value(own, VALID),
            test="below",
            threshold=-LOST,
            told=(WRITTEN, ANSWER),
        ),
        f"{cost} holds": Difference(
            f"With that cost the accuracy holds: {name}.",
            first=Value(cost, ANSWER),
            second=Value(own, ANSWER),
            test="above",
            threshold=-HELD,
        ),
        f"{paid} keeps": Difference(
            f"Paying for the trace makes it better: {name}.",
            first=Value(paid, VALID),
            second=Value(own, VALID),
            test="above",
            threshold=LOST,
            told=(WRITTEN, ANSWER),
        ),
        f"{paid} answers": Difference(
            f"Paying for the trace makes the answers better, too: {name}.",
            first=Value(paid, ANSWER),
            second=Value(own, ANSWER),
            test="above",
            threshold=0.0,
            told=(SEPARABLE,),
        ),
    }


def _controls() -> dict[str, Difference]:
    sft, slow, never, dear = (arm("full", LARGE, what) for what in ("sft", "slow", "never", "never_cost"))
    return {
        "sft": Difference(
            "Fine-tuning that goes on leaves the trace as it was.",
            first=Value(sft, VALID, "change"),
            test="within",
            threshold=LOST,
            told=TRACE,
        ),
        "sft answers": Difference(
            "Fine-tuning that goes on is no worse than RL in accuracy.",
            first=Value(sft, ANSWER),
            second=Value(LARGEST, ANSWER),
            test="above",
            threshold=-HELD,
        ),
        "slow": Difference(
            "Slower RL does to the trace what faster RL does.",
            first=Value(slow, VALID, "change"),
            second=Value(LARGEST, VALID, "change"),
            test="within",
            threshold=LOST,
            told=TRACE,
        ),
        "never": Difference(
            "RL on answers does not find the skip if the base never skipped.",
            first=Value(never, WRITTEN),
            test="above",
            threshold=ALL_BUT,
            told=(ANSWER,),
        ),
        "never, cost": Difference(
            "So it is where writing costs.", first=Value(dear, WRITTEN), test="above", threshold=ALL_BUT, told=(ANSWER,)
        ),
    }


BESIDE = _beside()
