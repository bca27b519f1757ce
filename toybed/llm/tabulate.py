"""From series by key to the canonical table: which key fills which column, repeated steps, and what must be told."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from toybed.llm.frameworks import Framework, Key, recognise
from toybed.llm.gathering import Gathered, Reasons, Series
from toybed.llm.table import COLUMNS, Source, Table

Array = NDArray[np.float64]
Steps = NDArray[np.int64]

NAMED = "named by the user; what it measures is not known"


def table(run: Gathered, named: Mapping[str, str]) -> Table:
    """The table of a run.

    Args:
        run: what its files have.
        named: column to key, for those that the user chose.
    """
    framework = recognise(run.keys)
    notes: list[str] = [*run.remarks]
    updates = _updates_a_rollout(run)
    sources, columns = {}, {}
    for column in COLUMNS:
        chosen = _choose(run, framework, column, named, notes)
        if chosen is not None:
            source, key = chosen
            per = updates if run.clocks[key] == "update" else 1
            steps, values = _resolved(run.series[key], column, source.key, per, notes)
            if len(steps):
                sources[column], columns[column] = source, (steps, _as_share(column, values, source.key, notes))
    step = np.unique(np.concatenate([np.empty(0, dtype=np.int64), *(steps for steps, _ in columns.values())]))
    if updates > 1:
        notes.append(
            f"{updates} updates follow each rollout; steps count rollouts, and measures of updates are averaged"
        )
    notes += _what_is_missing(run, framework, sources)
    notes += [*_told("dropped", run.dropped), *_told("not used", run.faults), *_clocks(run, sources)]
    return Table(
        step,
        **{column: _spread(step, columns.get(column)) for column in COLUMNS},
        sources=sources,
        framework=framework.name,
        containers=run.containers,
        files=run.files,
        run=run.run,
        notes=tuple(dict.fromkeys(notes)),
        rows=run.rows,
        dropped=run.dropped.total,
        other=run.other,
    )


def _choose(
    run: Gathered, framework: Framework, column: str, named: Mapping[str, str], notes: list[str]
) -> tuple[Source, str] | None:
    """The key that fills a column: the user's, else the framework's best that has values."""
    if column in named:
        key = named[column]
        return (Source(key, NAMED), key) if key in run.series else None
    options: dict[str, Key] = {}
    for of in framework.columns.get(column, ()):
        for key in _by_points(run, framework, of):
            options.setdefault(key, of)
    if not options:
        return None
    (key, of), *others = options.items()
    # The same measure under another name is told; another measure of the same thing (a raw and a penalised reward) not.
    same = [other for other, theirs in others if theirs is of or column in ("entropy", "accuracy")]
    if same:
        more = f" and {len(same) - 3} more" if len(same) > 3 else ""
        notes.append(f"{column} is {key}; the log also has {', '.join(same[:3])}{more}, which is not used")
    return Source(key, of.meaning), key


def _by_points(run: Gathered, framework: Framework, of: Key) -> list[str]:
    """Keys of the log that match, those with most values first."""
    return sorted(framework.matching(of.pattern, run.series), key=lambda key: -len(run.series[key].steps))


def _resolved(series: Series, column: str, key: str, per: int, notes: list[str]) -> tuple[Steps, Array]:
    """Rising steps with one value each: later values win, and an earlier one stays where the later is nan."""
    steps, values = series.arrays
    sound = ~np.isnan(values)
    _tell_of_order(steps[sound], notes)
    if column in ("entropy", "reward"):
        _tell_of_gaps(np.unique(steps[sound]), notes)
    missing = np.setdiff1d(steps[~sound], steps[sound])
    if len(missing) and column in ("entropy", "reward"):  # a validation is sparse anyway
        notes.append(f"{column} ({key}) is nan at {len(missing)} steps, first at step {missing[0]}")
    steps, values = steps[sound], values[sound]
    backwards = np.unique(steps[::-1], return_index=True)[1]
    last = len(steps) - 1 - backwards
    steps, values = steps[last], values[last]
    if per == 1:
        return steps, values
    rollouts, place = np.unique(steps // per, return_inverse=True)
    return rollouts, np.bincount(place, weights=values) / np.bincount(place)


def _tell_of_order(steps: Steps, notes: list[str]) -> None:
    """Whether steps stand twice, and whether the run began again."""
    unique, counts = np.unique(steps, return_counts=True)
    twice = unique[counts > 1]
    if len(twice):
        notes.append(
            f"{len(twice)} steps stand more than once ({_range(twice)}): the later values count, blanks are filled "
            "from the earlier"
        )
    back = np.flatnonzero(np.diff(steps) < 0)
    if len(back):
        i = int(back[-1])
        times = "once" if len(back) == 1 else f"{len(back)} times"
        notes.append(f"the run was restarted {times}, last at step {steps[i + 1]} after step {steps[i]}")
        reached = int(steps[i + 1 :].max())
        if reached < steps.max():
            notes.append(f"steps after {reached} come from before the last restart: the log may hold two runs")
    if len(unique) and unique[0] > 1 and len(unique) > 1 and unique[0] > 2 * np.median(np.diff(unique)):
        notes.append(f"the log begins at step {unique[0]}: resumed, or its beginning is missing")


def _tell_of_gaps(steps: Steps, notes: list[str]) -> None:
    """Where a few steps are missing among regular ones: of a line whose mark is damaged only the gap is left."""
    between = np.diff(steps)
    if len(between) < 5:
        return
    gaps = np.flatnonzero(between > np.median(between))
    if 0 < len(gaps) <= len(between) / 5:
        many = "steps are missing once" if len(gaps) == 1 else f"steps are missing in {len(gaps)} places, first"
        notes.append(f"{many} between steps {steps[gaps[0]]} and {steps[gaps[0] + 1]}")


def _range(steps: Steps) -> str:
    return f"{steps[0]}" if len(steps) == 1 else f"{steps[0]} to {steps[-1]}"


def _as_share(column: str, values: Array, key: str, notes: list[str]) -> Array:
    """An accuracy in percent as a share."""
    if column != "accuracy" or not (np.nanmax(values) > 1.5 and np.nanmin(values) >= 0 and np.nanmax(values) <= 100):
        return values
    notes.append(f"{key} is in percent: divided by 100")
    return values / 100


def _spread(step: Steps, found: tuple[Steps, Array] | None) -> Array:
    """A column on all steps of the table, NaN where it has no value."""
    column = np.full(len(step), np.nan)
    if found is not None:
        column[np.searchsorted(step, found[0])] = found[1]
    return column


def _updates_a_rollout(run: Gathered) -> int:
    """How many updates follow a rollout, where the log counts both (slime): update = rollout x this + i."""
    last = {
        clock: max((max(s.steps) for key, s in run.series.items() if run.clocks[key] == clock), default=-1)
        for clock in ("update", "rollout")
    }
    # Rounded up: the last rollout's updates may not all be there yet.
    return max(1, -(-(last["update"] + 1) // (last["rollout"] + 1))) if last["rollout"] >= 0 else 1


def _what_is_missing(run: Gathered, framework: Framework, sources: Mapping[str, Source]) -> list[str]:
    notes = []
    if "entropy" not in sources:
        similar = [key for key in run.keys if "entrop" in key.lower()][:5]
        hint = f"; keys that may be it: {', '.join(similar)} (--column entropy=NAME)" if similar else ""
        notes.append(f"no entropy in this log. Likely cause: {framework.without_entropy}{hint}")
    if "reward" not in sources:
        cause = "supervised fine-tuning logs entropy too: is this a log of RL?"
        if not any("token_accuracy" in key for key in run.keys):
            cause = "--column reward=NAME names one, or give the file that has it too"
        notes.append(f"no reward in this log; {cause}")
    return notes


def _told(what: str, reasons: Reasons) -> list[str]:
    """One note for each fault."""
    unit = "entries" if what == "dropped" else "values"
    return [
        f"{count} {unit[:-3] + 'y' if unit == 'entries' and count == 1 else unit[:-1] if count == 1 else unit} {what}: "
        f"{reason} (first at {place})"
        for count, reason, place in reasons.found.values()
    ]


def _clocks(run: Gathered, sources: Mapping[str, Source]) -> list[str]:
    """Whether columns are joined by steps that may not count the same thing."""
    own = "W&B's own counter"
    used = {column: run.clocks[source.key] for column, source in sources.items()}
    if own in used.values() and set(used.values()) - {own}:
        on = ", ".join(column for column, clock in used.items() if clock == own)
        return [f"{on} is logged by W&B's own counter, other columns by the program's step: they may not match"]
    return []
