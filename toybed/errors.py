"""Errors that a user can act on: one line that names what was given and what is allowed."""

from collections.abc import Iterable
from difflib import get_close_matches


class ToybedError(ValueError):
    """A wrong input or an unusable file. The command line prints it as one line and exits with code 2."""


def unknown(kind: str, name: str, allowed: Iterable[str], hint: str = "") -> ToybedError:
    """The error for a name that is not among those allowed, with the nearest valid one.

    >>> print(unknown("objective", "grop", ["grpo", "rloo"], "toybed list objectives shows all"))
    unknown objective 'grop': did you mean 'grpo'? toybed list objectives shows all
    """
    choices = sorted(allowed)
    close = get_close_matches(name, choices, n=1, cutoff=0.5)
    guess = f"did you mean {close[0]!r}?" if close else f"allowed: {', '.join(choices) or 'none'}."
    return ToybedError(f"unknown {kind} {name!r}: {guess} {hint}".rstrip())
