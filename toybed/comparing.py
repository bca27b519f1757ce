"""Two objectives or more in one world: paired by seed, from the same base policies, at equal rollouts."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from toybed import answering, runner
from toybed.agents.config import Setting, Spec
from toybed.agents.recipes import recipe, world_named
from toybed.agents.results import Curve, Results, RunResult
from toybed.envs import make
from toybed.errors import ToybedError
from toybed.own import name_of
from toybed.progress import Bar
from toybed.stats import Array, Interval, mean_interval
from toybed.store import Store
from toybed.study import MIN_RUNS, Records, Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from toybed.runner import Progress, Watch

SEEDS = 6
POINTS = 30
"""Measurements along a run; as many as the standard questions have, so that runs in a store serve both."""
MEASURES = ("reward_test", "entropy_test")
"""What is compared at the end: held-out success (or reward), and entropy on the same prompts, in nats per token."""


@dataclass(frozen=True)
class Difference:
    """One measure of one objective minus that of the first, over seeds.

    Attributes:
        objective, against: the names.
        measure: one of :data:`MEASURES`.
        estimate, low, high, n: the paired difference with its 95 % interval (Student's t), and its runs.
        told: "higher" or "lower" where the whole interval lies on one side of 0, else "not told apart".
    """

    objective: str
    against: str
    measure: str
    estimate: float
    low: float
    high: float
    n: int
    told: str


@dataclass(frozen=True)
class Comparison:
    """The answer of :func:`compare`.

    Attributes:
        world: where it was.
        binary: whether rewards there are 0 or 1, so that their mean is a success rate.
        records: objective to the curves of its runs, ``[n, points]``, seeds in the same order.
        ends: objective and measure to the value of each run at equal rollouts, ``[n]``; NaN where it diverged.
        differences: each objective against the first, measure by measure.
        rollouts: responses that each run had sampled there.
        updates: objective to the updates that this took, on average.
        seconds: it took, in all.
        store: where the runs are kept; None where they are not.
    """

    world: str
    binary: bool
    records: Mapping[str, Records]
    ends: Mapping[str, Mapping[str, Array]]
    differences: tuple[Difference, ...]
    rollouts: int
    updates: Mapping[str, float]
    seconds: float
    store: str | None

    @property
    def rates(self) -> dict[str, float]:
        """Objective to learning rate."""
        return {name: _setting(r).learning.learning_rate for name, r in self.records.items()}

    def results(self) -> Results:
        """All runs in one list, with ``frame()`` for pandas."""
        runs, about = [], []
        for name, records in self.records.items():
            for seed in range(len(records["reward_test"])):
                curves = {m: Curve(records.steps[m], values[seed]) for m, values in records.curves.items()}
                runs.append(RunResult(curves, None if records.sound[seed] else -1))
                about.append({"objective": name, "seed": seed})
        return Results(runs, about)

    def frame(self) -> Any:
        """A pandas data frame: a row for each run and update."""
        return self.results().frame()

    def figure(self) -> Figure:
        """Both measures along the runs, and the differences with their intervals."""
        from toybed.commands.comparing_figure import draw

        return draw(self)

    def as_dict(self) -> dict[str, Any]:
        """For JSON, which has no NaN: a missing number is None."""
        objectives = {
            name: {
                "learning_rate": self.rates[name],
                "updates": self.updates[name],
                "diverged": self.records[name].diverged,
                **{measure: _plain(mean_interval(values)._asdict()) for measure, values in ends.items()},
            }
            for name, ends in self.ends.items()
        }
        return {
            "world": self.world,
            "objectives": objectives,
            "differences": [_plain(asdict(d)) for d in self.differences],
            "rollouts": self.rollouts,
            "seconds": round(self.seconds, 2),
            "store": self.store,
        }


def compare(
    *objectives: str | Spec | Any,
    on: str | Spec | Any = "chain_reach",
    seeds: int = SEEDS,
    updates: int | None = None,
    rates: float | Sequence[float] | None = None,
    store: str | Path | None = None,
    device: str = "cpu",
    workers: int = 1,
    progress: Progress | None = None,
    watch: Watch | None = None,
) -> Comparison:
    """Train objectives in one world from the same bases, and compare each with the first, paired by seed.

    >>> compare("grpo", "kl_cov", on="answer_bandit", seeds=3, updates=10).differences[1].measure
    'entropy_test'

    Args:
        *objectives: two or more: names of the catalogue, ``module:name`` of your own, Specs with hyper-parameters, or
            functions of a module.
        on: a world by name (``chain_reach`` or ``ChainReach``), ``module:name`` of your own, a Spec with knobs, an env.
        seeds: runs of each.
        updates: of each; by default those of the world's recipe (:mod:`toybed.agents.recipes`).
        rates: the learning rate of all, or one for each; by default that of the recipe for all.
        store: a file that keeps the runs, so that asking again is instant; None keeps nothing.
        device: "cpu" or "cuda".
        workers: processes; 1 is this one.
        progress, watch: hear of it, see :func:`toybed.runner.run_sweep`.

    Raises:
        ToybedError: a name is unknown or a value not allowed.
    """
    started = time.perf_counter()
    settings = _settings(objectives, on, updates, rates)
    if seeds < 1 or workers < 1:
        raise ToybedError(f"seeds is {seeds} and workers {workers}; allowed: at least 1")
    runs = {name: [Run(setting, seed, device) for seed in range(seeds)] for name, setting in settings.items()}
    every = [run for arm in runs.values() for run in arm]
    with Store(":memory:" if store is None else store) as kept:
        runner.run_sweep(every, kept, workers=workers, progress=progress or Bar(quiet=True), watch=watch)
        records = {name: answering.records(arm, kept) for name, arm in runs.items()}
    first = every[0].setting
    ends, rollouts, took = at_equal_rollouts(records)
    return Comparison(
        world=first.world.name,
        binary=make(first.world.name, **first.world.options).binary_reward,
        records=records,
        ends=ends,
        differences=differences(ends),
        rollouts=rollouts,
        updates=took,
        seconds=time.perf_counter() - started,
        store=None if store is None else str(store),
    )


def _settings(objectives: Sequence[Any], on: Any, updates: int | None, rates: Any) -> dict[str, Setting]:
    """Label to setting; everything but objective and rate is the same."""
    from toybed.agents.training import spec_of
    from toybed.objectives import get

    if len(objectives) < 2:
        raise ToybedError(f"{len(objectives)} objective to compare; allowed: two or more")
    chosen = [_objective(objective) for objective in objectives]
    labels = [_label(spec) for spec in chosen]
    if twice := next((label for label in labels if labels.count(label) > 1), None):
        raise ToybedError(f"{twice!r} stands there twice; allowed: each objective once")
    each = _rates(rates, len(chosen))
    setting = recipe(spec_of(world_named(on) if isinstance(on, str) else on))
    if updates is not None:
        setting = setting.with_learning(updates=updates)
    setting = setting.with_learning(measure_every=max(setting.learning.updates // POINTS, 1))
    make(setting.world.name, **setting.world.options)
    for spec in chosen:
        get(spec.name, **spec.options)
    named = {label: replace(setting, objective=spec) for label, spec in zip(labels, chosen, strict=True)}
    return {
        label: own if rate is None else own.with_learning(learning_rate=rate)
        for (label, own), rate in zip(named.items(), each, strict=True)
    }


def _objective(objective: Any) -> Spec:
    if isinstance(objective, Spec):
        return objective
    return Spec(objective if isinstance(objective, str) else name_of(objective))


def _label(spec: Spec) -> str:
    """``grpo``, ``grpo clip_high=0.28``, ``my_losses:my_loss``."""
    return " ".join([spec.name, *(f"{key}={value}" for key, value in spec.options.items())])


def _rates(rates: Any, count: int) -> list[float | None]:
    each = [rates] * count if rates is None or isinstance(rates, int | float) else list(rates)
    if len(each) == 1:
        each *= count
    if len(each) != count:
        raise ToybedError(f"{len(each)} learning rates for {count} objectives; allowed: one for all, or one for each")
    return each


def at_equal_rollouts(
    records: Mapping[str, Records],
) -> tuple[dict[str, dict[str, Array]], int, dict[str, float]]:
    """Each run's measures where every run had sampled as many responses as the one that sampled fewest in all.

    With dynamic sampling an update costs more responses than without; between measurements both are taken as straight.

    Returns:
        Objective and measure to ``[n]``, the responses, and objective to the mean number of updates.
    """
    sampled = {name: _sampled(r) for name, r in records.items()}
    rollouts = min(float(responses[:, -1].min()) for responses in sampled.values())
    ends: dict[str, dict[str, Array]] = {}
    took = {}
    for name, r in records.items():
        ends[name] = {
            m: np.array([np.interp(rollouts, *row) for row in zip(sampled[name], r[m], strict=True)]) for m in MEASURES
        }
        took[name] = float(np.mean([np.interp(rollouts, row, r.steps["reward_test"]) for row in sampled[name]]))
    return ends, round(rollouts), took


def _sampled(records: Records) -> Array:
    """Responses sampled by each run until each measurement, ``[n, points]``.

    A run that diverged has no count from there on; it is taken to have sampled as planned.
    """
    learning = _setting(records).learning
    steps = records.steps["reward_test"]
    planned = np.full((len(records["reward_test"]), len(steps) - 1), float(learning.group))
    measured = records.curves.get("sampled_responses", planned)
    each = np.where(np.isfinite(measured), measured, planned) * learning.prompts * np.diff(steps)
    return np.concatenate([np.zeros((len(each), 1)), each.cumsum(1)], 1)


def differences(ends: Mapping[str, Mapping[str, Array]]) -> tuple[Difference, ...]:
    """Each objective minus the first, run by run."""
    first, *others = ends
    return tuple(
        Difference(other, first, measure, *interval, _told(interval))
        for other in others
        for measure in MEASURES
        for interval in [mean_interval(ends[other][measure] - ends[first][measure])]
    )


def _told(interval: Interval) -> str:
    if interval.n < MIN_RUNS or not (interval.low > 0 or interval.high < 0):
        return "not told apart"
    return "higher" if interval.low > 0 else "lower"


def _setting(records: Records) -> Setting:
    assert records.setting is not None, "records that were loaded have their setting"
    return records.setting


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in values.items()}
