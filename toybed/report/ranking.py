"""Objectives side by side: those that were run under the same conditions, with what they reach and keep at the end."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from toybed import plotting
from toybed.report.sections import Section, Table
from toybed.stats import Interval, mean_interval
from toybed.study import Records, Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIRST = "interventions"
"""The question that is asked for a ranking; where it is not answered, the ranking of most objectives comes first."""

FEWEST = 3
"""Different objectives that make a ranking."""

SUCCESS, ENTROPY = "reward_test", "entropy_train"

TEXT = (
    "Objectives that differ in nothing but themselves and their learning rate, in the order of their held-out success "
    "at the end; entropy is in nats per token, over the policy's own rollouts on train prompts. Intervals are 95 % t "
    "intervals over seeds, each objective by itself: where a question judges a difference, it pairs the seeds, and its "
    "verdict says more than two intervals that overlap. A ranking belongs to its world, its length and its rates. In "
    "interventions these were chosen on other seeds, but by success on the same held-out prompts: it flatters them all."
)


@dataclass(frozen=True)
class Row:
    """An objective at a learning rate: what it reached and kept, and where its runs are.

    Attributes:
        objective, rate: what was run.
        success, entropy: at the end, over the runs that did not diverge.
        diverged: how many did.
        arms: of the question, as it names them.
        run: the id of the first of its runs.
    """

    objective: str
    rate: float
    success: Interval
    entropy: Interval
    diverged: int
    arms: str
    run: str


@dataclass(frozen=True)
class Ranking:
    """Arms under the same conditions, the most successful first."""

    question: str
    conditions: str
    rows: tuple[Row, ...]


def ranking(
    question: str, size: str, records: Mapping[str, Records], runs: Mapping[str, Sequence[Run]]
) -> Ranking | None:
    """The largest group of a question's arms that differ in objective and learning rate alone; None if it is too small.

    Args:
        question, size: for the heading.
        records: arm to its curves.
        runs: arm to its runs.
    """
    groups: dict[str, list[str]] = {}
    for arm, found in records.items():
        if found.setting is not None and {SUCCESS, ENTROPY} <= set(found.curves):
            groups.setdefault(_conditions(found), []).append(arm)
    best = max(groups.values(), key=lambda arms: _different(records, arms), default=[])
    if _different(records, best) < FEWEST:
        return None
    # Arms may be the same runs, as where a choice ended at a setting that is an arm of its own.
    same: dict[str, list[str]] = {}
    for arm in best:
        same.setdefault(runs[arm][0].id, []).append(arm)
    rows = [_row(arms, records[arms[0]], runs[arms[0]]) for arms in same.values()]
    ordered = sorted(rows, key=lambda row: -np.nan_to_num(row.success.estimate, nan=-np.inf))
    setting = records[best[0]].setting
    assert setting is not None
    learning = setting.learning
    conditions = (
        f"{question}, size {size}: {setting.world.name}, {setting.policy.name}, {learning.updates} updates of "
        f"{learning.prompts} × {learning.group} responses in {learning.minibatches} steps"
    )
    return Ranking(question, conditions, tuple(ordered))


def _conditions(records: Records) -> str:
    """Everything about a setting but the objective and the learning rate."""
    assert records.setting is not None
    config = dict(records.setting.with_learning(learning_rate=1.0).config())
    config.pop("objective")
    return json.dumps(config, sort_keys=True)


def _objective(records: Records) -> str:
    assert records.setting is not None
    spec = records.setting.objective
    options = ", ".join(f"{name} = {value}" for name, value in sorted(spec.options.items()))
    return f"{spec.name} ({options})" if options else spec.name


def _different(records: Mapping[str, Records], arms: Sequence[str]) -> int:
    return len({_objective(records[arm]) for arm in arms})


def _row(arms: Sequence[str], records: Records, runs: Sequence[Run]) -> Row:
    success, entropy = (mean_interval(records.at(name, -1)) for name in (SUCCESS, ENTROPY))
    rate = runs[0].setting.learning.learning_rate
    return Row(_objective(records), rate, success, entropy, records.diverged, ", ".join(arms), runs[0].id)


def section(found: Sequence[Ranking]) -> Section | None:
    """The section of the report: the first ranking with a figure, the others folded."""
    if not found:
        return None
    ordered = sorted(found, key=lambda one: (one.question != FIRST, -len({row.objective for row in one.rows})))
    tables = tuple(_table(one, folded=i > 0) for i, one in enumerate(ordered))
    caption = (
        f"{ordered[0].conditions}. Each point is an objective at its learning rate, with 95 % intervals over seeds; up "
        "and to the right is more success with more entropy kept."
    )
    return Section("objectives", "Objectives, ranked", TEXT, tables, figure(ordered[0]), caption)


def _table(found: Ranking, *, folded: bool) -> Table:
    columns = (
        "objective",
        "learning rate",
        "held-out success [95 %]",
        "final entropy [95 %]",
        "n",
        "diverged",
        "arm and run",
    )
    rows = tuple(
        (
            row.objective,
            f"{row.rate:g}",
            _interval(row.success),
            _interval(row.entropy),
            str(row.success.n),
            str(row.diverged),
            f"{row.arms}; first run {row.run}",
        )
        for row in found.rows
    )
    return Table(found.conditions, columns, rows, folded)


def _interval(found: Interval) -> str:
    return f"{found.estimate:.3f} [{found.low:.3f}, {found.high:.3f}]" if np.isfinite(found.estimate) else "-"


def figure(found: Ranking) -> Figure:
    """Held-out success against final entropy."""
    blue = plotting.COLOURS[1]
    with plotting.panels(1, width=7.4, height=4.2) as (drawn, (axes,)):
        places = {}
        for row in found.rows:
            (x, left, right, _), (y, low, high, _) = row.entropy, row.success
            if not np.isfinite([x, y]).all():
                continue
            axes.plot([left, right], [y, y], color=blue, linewidth=0.9, alpha=0.6)
            axes.plot([x, x], [low, high], color=blue, linewidth=0.9, alpha=0.6)
            axes.plot(x, y, "o", color=blue, markersize=4, label="objectives")
            name = row.objective if row.objective not in places else f"{row.objective}, rate {row.rate:g}"
            places[name] = (x, y)
        axes.set(title="Objectives", xlabel="final entropy (nats per token)", ylabel="held-out success")
        plotting.label_points(axes, places)
    return drawn
