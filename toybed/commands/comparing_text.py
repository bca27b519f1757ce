"""``toybed compare``: the answer in words and numbers, and its picture in a file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from toybed import live
from toybed.comparing import Comparison, Difference, compare
from toybed.errors import ToybedError
from toybed.progress import Bar
from toybed.stats import Interval, mean_interval
from toybed.study import MIN_RUNS

PICTURE = Path("compare.png")
WORDS = {"reward_test": "held-out {reward}", "entropy_test": "entropy, nats per token"}


def print_comparison(
    objectives: Sequence[str],
    *,
    on: str,
    seeds: int,
    updates: int | None,
    rates: Sequence[float] | None,
    figure: Path | None,
    device: str,
    workers: int,
    store: Path,
    as_json: bool,
) -> None:
    """Compare, print, and draw.

    Raises:
        ToybedError: a wrong input, or the picture cannot be written.
    """
    picture = figure if figure is not None or as_json else PICTURE
    if picture is not None:
        _check_picture(picture)
    with Bar(quiet=as_json) as bar, live.Live(store, f"compare {' '.join(objectives)}") as seen:
        found = compare(
            *objectives,
            on=on,
            seeds=seeds,
            updates=updates,
            rates=rates,
            store=store,
            device=device,
            workers=workers,
            progress=bar,
            watch=seen,
        )
    if picture is not None:
        found.figure().savefig(picture, dpi=110)
    if as_json:
        print(json.dumps({**found.as_dict(), "figure": None if picture is None else str(picture)}))
    else:
        _print(found, picture)


def _check_picture(picture: Path) -> None:
    """Better before the runs than after them."""
    from matplotlib.backend_bases import FigureCanvasBase

    allowed = FigureCanvasBase.get_supported_filetypes()
    if picture.suffix.lstrip(".").lower() not in allowed:
        raise ToybedError(
            f"figure {picture}: allowed are files that end in {', '.join(f'.{a}' for a in sorted(allowed))}"
        )
    if not picture.absolute().parent.is_dir():
        raise ToybedError(f"figure {picture} cannot be written (no folder {picture.parent}); choose another file")


def _print(found: Comparison, picture: Path | None) -> None:
    console = Console(highlight=False)
    first = next(iter(found.records))
    words = {m: text.format(reward="success" if found.binary else "reward") for m, text in WORDS.items()}
    *others, last = list(found.records)[1:]
    against = f"{', '.join(others)} and {last}" if others else last
    console.print(f"\n[bold]{escape(against)} against {escape(first)}[/bold] on {escape(found.world)}")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("objective", "learning rate", "updates", *words.values()):
        table.add_column(column, no_wrap=column == "objective")
    for name, ends in found.ends.items():
        values = [_text(mean_interval(ends[m])) for m in words]
        table.add_row(escape(name), f"{found.rates[name]:g}", f"{found.updates[name]:.0f}", *values)
    console.print(table)
    console.print()
    for d in found.differences:
        console.print(_sentence(d, words[d.measure]), soft_wrap=True)
    console.print(Text(_notes(found), style="dim"), soft_wrap=True)
    console.print(f"[dim]figure: {escape(str(picture))}[/dim]", soft_wrap=True)


def _sentence(d: Difference, measure: str) -> str:
    if d.n == 0:
        return f"{escape(d.objective)} and {escape(d.against)} have no pair of runs that both ended well: {measure}"
    if d.n < MIN_RUNS:
        return (
            f"{escape(d.objective)} minus {escape(d.against)}, {measure}: {d.estimate:+.3f} from {d.n} "
            f"{'pair' if d.n == 1 else 'pairs'} of runs, too few to decide; take --seeds {MIN_RUNS} or more"
        )
    colour = "yellow" if d.told == "not told apart" else "green"
    interval = f"{d.estimate:+.3f} [{d.low:+.3f}, {d.high:+.3f}]"
    return (
        f"[bold {colour}]{d.told:14}[/]  {measure}: {escape(d.objective)} minus {escape(d.against)} is {interval}, "
        f"n = {d.n}"
    )


def _notes(found: Comparison) -> str:
    """What a reader has to know of the comparison."""
    notes = [
        f"Paired by seed, from the same base policies, at {found.rollouts:,} responses a run; 95 % intervals "
        "over seeds (Student's t)."
    ]
    if lost := {name: r.diverged for name, r in found.records.items() if r.diverged}:
        notes.append("Diverged and left out: " + ", ".join(f"{count} of {name}" for name, count in lost.items()) + ".")
    rates = set(found.rates.values())
    if len(rates) == 1:
        notes.append("One learning rate for all: another may suit one of them better (--rate takes one for each).")
    kept = "" if found.store is None else f"; kept in {found.store}"
    return " ".join(notes) + f" {found.seconds:.0f} s{kept}."


def _text(interval: Interval) -> str:
    if not interval.n:
        return "-"
    return f"{interval.estimate:.3f} [{interval.low:.3f}, {interval.high:.3f}]"
