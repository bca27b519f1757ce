"""The course: lessons as percent scripts, with exercises that are graded by messages that teach.

``toybed course --to DIR`` writes the lessons out, ``toybed check`` grades what was filled in. A lesson itself uses two
functions of this package: :func:`check` grades a function on the spot, :func:`show` shows a figure.
"""

from importlib import import_module
from typing import Any

__all__ = ["check", "show"]


def __getattr__(name: str) -> Any:
    if name in __all__:  # they need torch and matplotlib, which a list of lessons does not
        return getattr(import_module(f"{__name__}.classroom"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
