"""What is optimised: pure functions of tensors, composed from five stages.

``names()`` lists the catalogue, ``get(name, **hyper_parameters)`` builds an objective, ``row(name)`` is its entry.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from toybed.objectives.catalogue import Row, Stage, get, names, register, row

if TYPE_CHECKING:
    from toybed.objectives.batch import Batch
    from toybed.objectives.functions import from_function
    from toybed.objectives.objective import Loss, Objective

__all__ = ["Batch", "Loss", "Objective", "Row", "Stage", "from_function", "get", "names", "register", "row"]

# These need torch, which the catalogue does not: they are loaded on first use.
_LAZY = {"Batch": "batch", "Loss": "objective", "Objective": "objective", "from_function": "functions"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
