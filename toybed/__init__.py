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

Ten names to begin with: ``train``, ``compare``, ``ask`` and ``load``; ``objectives``, ``envs`` and ``agents``;
``measures``, ``stats`` and ``testing``. Importing this package imports none of its heavy dependencies; what a name
stands for is loaded when it is first used.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

__all__ = ["agents", "ask", "compare", "envs", "load", "measures", "objectives", "stats", "testing", "train"]

_FUNCTIONS = {
    "ask": "toybed.asking",
    "compare": "toybed.comparing",
    "load": "toybed.loading",
    "train": "toybed.agents.training",
}
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
    if name in _FUNCTIONS:
        return getattr(import_module(_FUNCTIONS[name]), name)
    raise AttributeError(f"module 'toybed' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
