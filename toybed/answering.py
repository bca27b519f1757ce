"""A question is answered: its runs are made, those first by which settings are chosen, and then they are judged."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from itertools import chain
from typing import Any

import numpy as np

from toybed import answers
from toybed.agents.config import Setting
from toybed.errors import ToybedError, unknown
from toybed.runner import Progress, Watch, check_device, check_workers, manifest, run_sweep
from toybed.searching import Make
from toybed.stacking import start_of
from toybed.store import Store
from toybed.study import FIRST_TUNING_SEED, SIZES, Parameters, Records, Run, Study


def check_asked(
    study: Study, *, size: str, seeds: int | None, device: str, workers: int, cluster: str | None = None
) -> int:
    """The number of seeds in each arm; better asked before a store is opened, and made, for it.

    Raises:
        ToybedError: a wrong argument.
    """
    if size not in SIZES:
        raise unknown("size", size, SIZES)
    if size not in study.seeds:
        raise unknown(f"size of {study.name}", size, study.seeds)
    count = study.seeds[size] if seeds is None else seeds
    if not 1 <= count <= FIRST_TUNING_SEED:
        raise ToybedError(f"seeds is {count}; allowed: at least 1, at most {FIRST_TUNING_SEED}")
    check_device(device, cluster)
    check_workers(workers)
    return count


def tuned(
    study: Study, size: str, device: str, store: Store, *, partly: bool = False
) -> dict[str, tuple[str, Setting]]:
    """Arm to label and setting of the candidate that won, from runs that are in the store.

    Args:
        study, size, device, store: what was run, and where it is.
        partly: leave out an arm of which a run is missing.

    Raises:
        ToybedError: a run is missing.
    """
    if study.tuning is None:
        return {}
    chosen = {}
    candidates = study.tuning.candidates(size)
    for arm, options in study.trials(size, device).items():
        with _without(partly):
            label = study.tuning.best({label: records(runs, store) for label, runs in options.items()})
            chosen[arm] = (label, study.tuning.final(size, arm, candidates[arm][label]))
    return chosen


def _without(partly: bool) -> AbstractContextManager[None]:
    """What is missing is left out, or an error."""
    return suppress(ToybedError) if partly else nullcontext()


def learned(study: Study, size: str, device: str, store: Store, make: Make | None = None) -> dict[str, Setting]:
    """The settings of the arms that a search learns; arguments as of :meth:`~toybed.searching.Search.learn`."""
    if study.search is None:
        return {}
    return study.search.learn(size, device, lambda runs: records(runs, store), make)


def load_records(
    study: Study, size: str, seeds: int, device: str, store: Store, *, partly: bool = False
) -> dict[str, Records]:
    """The records of all arms, for judging; ``partly``, of those arms whose runs are all there.

    Raises:
        ToybedError: a run is missing.
    """
    found = {}
    for arm, runs in runs_of(study, size, seeds, device, store, partly=partly).items():
        with _without(partly):
            found[arm] = records(runs, store, parameters=arm in study.keeps)
    return found


def runs_of(
    study: Study, size: str, seeds: int, device: str, store: Store, *, partly: bool = False
) -> dict[str, list[Run]]:
    """The runs of all arms, also of settings that were chosen or learned; ``partly``, where these are known.

    Raises:
        ToybedError: a run is missing by which a setting was chosen or learned.
    """
    settings = {arm: setting for arm, (_, setting) in tuned(study, size, device, store, partly=partly).items()}
    with _without(partly):
        settings |= learned(study, size, device, store)
    return study.runs(size, seeds, device, settings)


def records(runs: Sequence[Run], store: Store, *, parameters: bool = False) -> Records:
    """The curves of runs of one setting, and where asked for their parameters.

    Raises:
        ToybedError: a run is missing.
    """
    loaded = [store.run(run.id) for run in runs]
    first = loaded[0].curves
    return Records(
        steps={name: curve.steps for name, curve in first.items()},
        curves={name: np.stack([result.curves[name].values for result in loaded]) for name in first},
        causes=tuple(result.cause for result in loaded if result.cause is not None),
        setting=runs[0].setting,
        parameters=_parameters(runs, store) if parameters else None,
    )


def _parameters(runs: Sequence[Run], store: Store) -> Parameters:
    from toybed.agents.training import tensor_sizes

    ends = [store.base(run.end_id) for run in runs]
    if any(end is None for end in ends):
        raise ToybedError(f"store {store.path} lacks the parameters of a run; run the question again")
    starts = [start_of(store, run) for run in runs]
    return Parameters(np.stack(starts), np.stack([e for e in ends if e is not None]), tensor_sizes(runs[0].setting))


def make_runs(
    study: Study,
    store: Store,
    *,
    size: str,
    seeds: int,
    device: str,
    workers: int,
    cluster: str | None = None,
    progress: Progress,
    phase: str = "",
    watch: Watch | None = None,
) -> dict[str, tuple[str, Setting]]:
    """Make the runs of a question that the store lacks, those first by which settings are chosen and learned.

    Returns:
        As :func:`tuned`.

    Raises:
        ToybedError: there is no worker; or the runs could not be made.
    """
    check_workers(workers)

    def sweep(runs: Iterable[Run], phase: str, keep: Collection[str] = ()) -> None:
        run_sweep(
            list(runs),
            store,
            workers=workers,
            cluster=cluster,
            progress=progress,
            phase=phase,
            keep=keep,
            watch=watch,
        )

    if study.tuning is not None:
        options = (each for arm in study.trials(size, device).values() for each in arm.values())
        sweep(chain.from_iterable(options), f"{phase} tuning".lstrip())
    chosen = tuned(study, size, device, store)
    settings = {arm: setting for arm, (_, setting) in chosen.items()}
    settings |= learned(
        study, size, device, store, lambda runs, number: sweep(runs, f"{phase} generation {number + 1}".lstrip())
    )
    arms = study.runs(size, seeds, device, settings)
    keep = {run.end_id for arm in study.keeps for run in arms.get(arm, [])}
    sweep(chain.from_iterable(arms.values()), phase, keep)
    return chosen


def answer(
    study: Study,
    store: Store,
    *,
    size: str = "standard",
    seeds: int | None = None,
    device: str = "cpu",
    workers: int = 1,
    cluster: str | None = None,
    progress: Progress,
    watch: Watch | None = None,
) -> dict[str, Any]:
    """Run a question and judge it; the answer is kept in the store and returned as the command line prints it.

    Raises:
        ToybedError: a wrong argument; or the runs could not be made.
    """
    count = check_asked(study, size=size, seeds=seeds, device=device, workers=workers, cluster=cluster)
    started = time.perf_counter()
    chosen = make_runs(
        study,
        store,
        size=size,
        seeds=count,
        device=device,
        workers=workers,
        cluster=cluster,
        progress=progress,
        watch=watch,
    )
    verdict, parts = study.judge(load_records(study, size, count, device, store))
    result = {
        "study": study.name,
        **answers.about(study, size),
        "question": study.question,
        **verdict.as_dict(),
        "parts": [part.as_dict() for part in parts],
        "size": size,
        "seeds": count,
        "worlds": count if study.worlds else 1,
        "device": device,
        "tuned": {arm: label for arm, (label, _) in chosen.items()},
        "seconds": round(time.perf_counter() - started, 2),
        "store": str(store.path),
        "manifest": manifest(),
    }
    store.set_verdict(study.name, size, result)
    return result
