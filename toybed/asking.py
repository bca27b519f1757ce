"""``toybed.ask``: a question answered from Python, as ``toybed run`` does it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from toybed import answering, study
from toybed.progress import Bar
from toybed.store import Store
from toybed.study import Study


def ask(
    question: str | Study,
    *,
    size: str = "standard",
    seeds: int | None = None,
    store: str | Path | None = None,
    device: str = "cpu",
    workers: int = 1,
) -> dict[str, Any]:
    """Make the runs of a question, or those that the store lacks, and judge it.

    Args:
        question: its name, ``module:name`` of your own, or a :class:`~toybed.study.Study`.
        size: "quick", "standard" or "full".
        seeds: in each arm; by default the size's own.
        store: a file that keeps what is finished; None keeps nothing.
        device: "cpu" or "cuda".
        workers: processes; 1 is this one.

    Returns:
        The answer as ``toybed run --json`` prints it: ``outcome``, ``estimate``, ``low``, ``high``, ``n``, ``parts``...

    Raises:
        ToybedError: a name is unknown or a value not allowed.
    """
    asked = study.get(question) if isinstance(question, str) else question
    answering.check_asked(asked, size=size, seeds=seeds, device=device, workers=workers)
    with Store(":memory:" if store is None else store) as kept, Bar(quiet=True) as silent:
        return answering.answer(asked, kept, size=size, seeds=seeds, device=device, workers=workers, progress=silent)
