"""What is said about one function of a student. Read without torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Grade:
    """What is said about one function.

    Attributes:
        name: of the function.
        right: whether it is right on every input.
        message: for the student; several lines where it is not right.
    """

    name: str
    right: bool
    message: str
