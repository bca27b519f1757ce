"""Errors that a user can act on: one line that names what was given and what is allowed."""

from collections.abc import Iterable
from difflib import get_close_matches


class ToybedError(ValueError):
    """A wrong input or an unusable file. The command line prints it as one line and exits with code 2."""


FEW = 12
"""Choices that an error names all; of more, where a hint says how to see them, those that are nearest."""
NEAREST = 4


def unknown(kind: str, name: str, allowed: Iterable[str], hint: str = "") -> ToybedError:
    """The error for a name that is not among those allowed, with the nearest valid one.

    >>> print(unknown("objective", "grop", ["grpo", "rloo"], "toybed list objectives shows all"))
    unknown objective 'grop': did you mean 'grpo'? toybed list objectives shows all
    """
    choices = sorted(allowed)
    lower = {choice.lower(): choice for choice in choices}  # whoever writes GRPO means grpo
    close = get_close_matches(name.lower(), lower, n=1, cutoff=0.5)
    if close:
        guess = f"did you mean {lower[close[0]]!r}?"
    elif len(choices) <= FEW or not hint:  # without a hint nothing else shows them
        guess = f"allowed: {', '.join(choices) or 'none'}."
    else:
        near = sorted(lower[each] for each in get_close_matches(name.lower(), lower, n=NEAREST, cutoff=0.0))
        guess = f"the nearest of {len(choices)} are {', '.join(near)}."
    return ToybedError(f"unknown {kind} {name!r}: {guess} {hint}".rstrip())
