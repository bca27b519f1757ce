"""toybed: a small-scale testbed with toy policies for the study of policy-entropy collapse.

Axes
----
Written once, here, and used in every docstring and shape comment:

======  ===========================================================
``S``   runs stacked (seeds, and hyper-parameters that are numbers)
``B``   prompts
``G``   responses for each prompt (the group)
``T``   tokens of a response
``V``   vocabulary
``D``   reward components
======  ===========================================================

Objectives take tensors ``[..., B, G, T]``: all leading axes are free. Entropy is in nats per token unless a
name says "sequence".

Importing this package imports none of its heavy dependencies; sub-packages are loaded when they are first used.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_SUBMODULES = (
    "agents",
    "benchmarks",
    "course",
    "envs",
    "laws",
    "llm",
    "measures",
    "objectives",
    "runner",
    "stats",
    "store",
    "study",
    "testing",
)


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return import_module(f"{__name__}.{name}")
    if name == "train":
        return import_module(f"{__name__}.agents.training").train
    raise AttributeError(f"module 'toybed' has no attribute {name!r}")
