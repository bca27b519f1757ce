"""The canonical table of a run of a language model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

COLUMNS = ("entropy", "reward", "accuracy", "kl", "clip_fraction", "response_length")
"""The measures of a table, in this order; the step comes first."""


@dataclass(frozen=True)
class Source:
    """Where a column comes from.

    Attributes:
        key: the name in the log.
        meaning: what its program means by it.
    """

    key: str
    meaning: str


@dataclass(frozen=True, eq=False)
class Table:
    """One run: a measure is NaN at the steps where the log has no value of it.

    Attributes:
        step: the program's own count, rising, ``[n]``.
        entropy: nats per token unless ``sources["entropy"].meaning`` says otherwise, ``[n]``.
        reward: of the training batch, before a KL penalty where the log has both, ``[n]``.
        accuracy: of the validation, a share where it is one, ``[n]``; sparse in most logs.
        kl: ``[n]``; from which policy to which, ``sources["kl"].meaning`` says.
        clip_fraction: share of tokens that the clip touches, ``[n]``.
        response_length: tokens, ``[n]``.
        sources: the key behind each column that the log has.
        framework: whose keys they are.
        containers: how the files are written, one of :data:`toybed.llm.formats.FORMATS` each.
        files: that were read.
        run: its name, where a file holds several runs.
        notes: what a reader should know: repeated steps, resumed runs, dropped lines with counts, missing measures.
        rows: entries that were read, of all files.
        dropped: entries that could not be used, each kind named in the notes.
        other: lines, points or records that are no entries of metrics, or of measures that a table does not hold.
    """

    step: NDArray[np.int64]
    entropy: NDArray[np.float64]
    reward: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    kl: NDArray[np.float64]
    clip_fraction: NDArray[np.float64]
    response_length: NDArray[np.float64]
    sources: Mapping[str, Source]
    framework: str
    containers: tuple[str, ...]
    files: tuple[str, ...]
    run: str
    notes: tuple[str, ...]
    rows: int
    dropped: int
    other: int

    def column(self, name: str) -> NDArray[np.float64]:
        """One of :data:`COLUMNS`, ``[n]``."""
        values: NDArray[np.float64] = getattr(self, name)
        return values

    def __len__(self) -> int:
        return len(self.step)
