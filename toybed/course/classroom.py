"""What a lesson calls: :func:`check` grades a function where it stands, :func:`show` shows a figure."""

from __future__ import annotations

import io
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toybed.course.catalogue import exercises
from toybed.errors import unknown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FOLDER = "TOYBED_FIGURES"
"""The environment variable that names the folder into which a script saves its figures; without it, it saves none."""


def check(function: Any) -> None:
    """Say whether the student's function is right; if not, on which input, and what is likely to be wrong.

    Raises:
        ToybedError: no exercise has the function's name.
    """
    name, known = getattr(function, "__name__", repr(function)), exercises()
    if name not in known:
        raise unknown("exercise", name, known, "an exercise is known by its function's name")
    print(known[name].exercise(name).grade(function).message)


def show(figure: Figure, name: str) -> None:
    """Show a figure in a notebook; as a script save it as ``name.png`` if ``TOYBED_FIGURES`` names a folder."""
    if "ipykernel" in sys.modules:
        notebook = import_module("IPython.display")
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=150)
        width = round(figure.get_size_inches()[0] * 100)
        notebook.display(notebook.Image(data=buffer.getvalue(), width=width))
    elif os.environ.get(FOLDER):
        folder = Path(os.environ[FOLDER])
        folder.mkdir(parents=True, exist_ok=True)
        figure.savefig(folder / f"{name}.png", dpi=150)
