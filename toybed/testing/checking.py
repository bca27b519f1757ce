"""Trying the laws on an objective: the smallest case on which one is broken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, Phase, find, settings
from hypothesis.errors import Flaky, NoSuchExample

from toybed.errors import ToybedError
from toybed.testing.cases import Case, LawBroken, Subject, cases, subject_of
from toybed.testing.laws import LAWS, Law


@dataclass(frozen=True)
class Finding:
    """What a law found: nothing (it holds), or a message and the smallest case on which it is broken."""

    law: Law
    message: str | None
    case: Case | None

    @property
    def holds(self) -> bool:
        """Whether no counterexample was found."""
        return self.message is None


def broken(law: Law, subject: Subject, case: Case) -> str | None:
    """How the law is broken on the case, or None."""
    try:
        law.check(subject, case)
    except LawBroken as error:
        return str(error)
    except ToybedError as error:
        return f"it refuses a valid batch: {error}"
    except Exception as error:
        return f"it raises {type(error).__name__}: {error}"
    return None


def examine(law: Law, subject: Subject, examples: int = 60, shrink: bool = True) -> Finding:
    """Look for the smallest case on which the law is broken.

    Args:
        law: one of :data:`LAWS`.
        subject: from :func:`subject_of`.
        examples: how many cases are tried before the law is said to hold.
        shrink: whether to look for the smallest counterexample, or to be content with any.
    """
    chosen = settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        phases=(Phase.generate, Phase.shrink) if shrink else (Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    seen: list[tuple[str, Case]] = []

    def fails(case: Case) -> bool:
        message = broken(law, subject, case)
        if message is not None:
            seen.append((message, case))
        return message is not None

    try:
        find(cases(vectors=subject.vectors), fails, settings=chosen)
    except NoSuchExample:
        return Finding(law, None, None)
    except Flaky:
        # What depends on more than the batch cannot be reproduced, let alone shrunk; that it happened is enough.
        pass
    return Finding(law, *seen[-1])


def findings(thing: Any, examples: int = 60) -> list[Finding]:
    """What every law that applies says about an objective or a plain function."""
    subject = subject_of(thing)
    return [examine(law, subject, examples) for law in LAWS if law.applies(subject)]


def check_objective(thing: Any, *, examples: int = 60, except_for: Sequence[str] = ()) -> None:
    """Raise unless every law holds; for use in a test of your own.

    Args:
        thing: an :class:`~toybed.objectives.objective.Objective`, or a function ``(log_prob, log_prob_old, advantage,
            mask) -> loss`` of tensors ``[B, G, T]``.
        examples: cases tried for each law.
        except_for: names of laws that the objective breaks on purpose.

    Raises:
        LawBroken: with the message and the smallest counterexample of the first law that fails.
    """
    for finding in findings(thing, examples):
        if not finding.holds and finding.law.name not in except_for:
            raise LawBroken(f"{finding.law.name}: {finding.message}\nsmallest counterexample:\n{finding.case}")
