"""How everything in a report was made: what all answers share, and what some do not."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from toybed.report.sections import Section, Table
from toybed.store import Store
from toybed.study import code_version

TEXT = (
    "Versions, machine and store. A run is named by a hash of its setting, its seed and the code that determines its "
    "numbers; the same command in the same version makes the same runs."
)


def section(store: Store, answers: Sequence[Mapping[str, Any]]) -> Section:
    """What the answers of a store share, and a table of what differs between them."""
    names = list(dict.fromkeys(name for answer in answers for name in answer["manifest"]))
    values = {name: [_text(answer["manifest"].get(name)) for answer in answers] for name in names}
    shared = [(name, found[0]) for name, found in values.items() if len({*found}) == 1]
    differing = [name for name, found in values.items() if len({*found}) > 1]
    runs = len(store.finished())
    about = [
        ("store", store.path.name),
        ("runs in the store", str(runs)),
        ("answers", str(len(answers))),
        ("code of this report", code_version()),
    ]
    tables = [Table("Shared by all answers" if shared else "The store", ("what", "value"), (*about, *shared))]
    rows = tuple(
        (answer["study"], answer["size"], str(answer["seeds"]), str(answer.get("seconds", "")), *cells)
        for answer, *cells in zip(answers, *(values[name] for name in differing), strict=True)
    )
    columns = ("question", "size", "seeds", "seconds of the last call", *differing)
    tables.append(Table("Answer by answer", columns, rows, folded=True))
    return Section("manifest", "Manifest", TEXT, tuple(tables))


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
