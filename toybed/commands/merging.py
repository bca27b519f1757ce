"""Stores that were filled apart, on machines without a file system or network in common, become one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from toybed.errors import ToybedError
from toybed.store import Store


def print_merge(into: Path, sources: Sequence[Path], *, as_json: bool) -> None:
    """Copy all that the sources have and the first lacks, and say how much that was.

    Raises:
        ToybedError: a source does not exist, is the first itself, or cannot be read.
    """
    if not sources:
        raise ToybedError("merge: nothing to take from; name the store that gets all, then those that it takes from")
    for source in sources:
        if not source.is_file():
            raise ToybedError(f"store {source} does not exist")
        if into.exists() and source.samefile(into):
            raise ToybedError(f"store {source} is named twice; name the store that gets all first, then the others")
    with Store(into) as store:
        added = [store.take(source) for source in sources]
    if as_json:
        print(json.dumps({"store": str(into), "runs": dict(zip(map(str, sources), added, strict=True))}))
        return
    for source, runs in zip(sources, added, strict=True):
        print(f"{source}: {runs} {'run' if runs == 1 else 'runs'} taken")
