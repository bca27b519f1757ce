"""What ``toybed overlay`` prints: of each log its fits, its signature, what it cannot support, and the nearest toys."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from toybed import answering, study
from toybed.errors import ToybedError
from toybed.llm import read
from toybed.llm.compare import Overlay, overlay
from toybed.llm.figure import figure
from toybed.llm.nearest import Toy, toys
from toybed.llm.signature import Signature
from toybed.store import Store
from toybed.study import Study

SHARES = {
    "spent": "entropy lost, of that at the start",
    "gained": "reward won, of what was to win",
    "half_spent": "half of the loss after, of the run",
    "half_gained": "half of the gain after, of the run",
    "spent_at_half_gain": "loss gone at half the gain",
    "left_at_half_gain": "entropy left at half the gain",
    "r2": "R² of the exponential law",
}


def print_overlay(
    logs: Sequence[Path],
    *,
    question: str | None,
    columns: Sequence[str],
    store: Path,
    out: Path,
    as_json: bool,
) -> None:
    """Read logs, compare them with the toys in a store, print that and write a figure (not with JSON).

    Raises:
        ToybedError: a log cannot be read, there is no such question, or the store has none of its runs.
    """
    tables = read(logs, named(columns))
    found = _toys(store, question)
    overlays = [overlay(table, found) for table in tables]
    if as_json:
        print(json.dumps([of.as_dict() for of in overlays]))
        return
    console = Console(highlight=False)
    for of in overlays:
        _print(console, of)
    if not found:
        console.print(f"[dim]No toy runs to compare with in {store}: toybed run entropy_law makes some.[/dim]")
    _write(overlays, out)
    console.print(f"figure: {out}", soft_wrap=True)


def named(columns: Iterable[str]) -> dict[str, str]:
    """``entropy=NAME`` as column and key.

    Raises:
        ToybedError: one has no equals sign.
    """
    pairs = [column.partition("=") for column in columns]
    for column, equals, key in pairs:
        if not (column and equals and key):
            raise ToybedError(
                f"--column {column}{equals}{key}: give COLUMN=NAME, as in --column entropy=policy_entropy"
            )
    return {column: key for column, _, key in pairs}


def _toys(path: Path, name: str | None) -> list[Toy]:
    question = None if name is None else study.get(name)
    if not path.exists():
        if question is not None:
            raise ToybedError(
                f"store {path} does not exist; toybed run {question.name} makes it, --store names another"
            )
        return []
    with Store(path) as store:
        found = toys(store, None if question is None else _arms(question, store))
    if question is not None and not found:
        raise ToybedError(f"store {path} has no run of {question.name}; toybed run {question.name} makes them")
    return found


def _arms(question: Study, store: Store) -> dict[str, str]:
    """The settings of a question's runs as the store writes them, each with its arm; in each seed's own world."""
    arms: dict[str, str] = {}
    for size, seeds in question.seeds.items():
        for arm, runs in answering.runs_of(question, size, seeds, "cpu", store, partly=True).items():
            for run in runs if question.worlds else runs[:1]:
                arms.setdefault(json.dumps(run.setting.config(), sort_keys=True), f"{question.name}/{arm}")
    return arms


def _write(overlays: Sequence[Overlay], out: Path) -> None:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        figure(overlays).savefig(out, dpi=110)
    except (OSError, ValueError) as error:  # ValueError: a kind of picture that there is not
        raise ToybedError(f"figure {out} cannot be written ({error}); choose another with --out") from error


def _print(console: Console, of: Overlay) -> None:
    table = of.table
    dropped = f", {table.dropped} dropped" if table.dropped else ""
    steps = f"steps {table.step[0]} to {table.step[-1]}" if len(table) else "no steps"
    console.print(f"\n[bold]{of.name}[/bold]", soft_wrap=True)
    formats = " + ".join(dict.fromkeys(table.containers))
    console.print(Text(f"{table.framework}, {formats}: {table.rows} entries read{dropped}; {steps}"), soft_wrap=True)
    for column, source in table.sources.items():
        console.print(Text(f"  {column}: {source.key} ({source.meaning})"), soft_wrap=True)
    for note in (note for note in table.notes if note not in of.limits):
        console.print(Text(f"  note: {note}"), soft_wrap=True)
    for limit in of.limits:
        console.print(Text.assemble(("  cannot support: ", "yellow"), limit), soft_wrap=True)
    if of.signature is not None:
        console.print(_law_grid(of))
        console.print(_signature_grid(of.signature, of.near))


def _law_grid(of: Overlay) -> Grid:
    """Each law over the whole run, late, and as a prediction."""
    grid = Grid(title="reward as a law of entropy", title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in ("law", "a", "b", "R²", "R² without the first tenth", "error of the prediction"):
        grid.add_column(column, justify="left" if column == "law" else "right")
    names = {"exp": "-a exp(H) + b", "linear": "-a H + b", "constant": "no change"}
    for form, name in names.items():
        law = of.whole.laws[form] if of.whole else None
        late = of.late.laws[form] if of.late else None
        shown = form != "constant"
        grid.add_row(
            name,
            _number(law.a if law and shown else None),
            _number(law.b if law and shown else None),
            _number(law.r2 if law and shown else None),
            _number(late.r2 if late and shown else None),
            _number(of.errors[form] if of.errors else None),
        )
    return grid


def _signature_grid(own: Signature, near: Sequence[tuple[float, Toy]]) -> Grid:
    """The signature beside those of the nearest toys."""
    grid = Grid(title="signature", title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 1))
    grid.add_column("")
    grid.add_column("log", justify="right", style="bold")
    for i, _ in enumerate(near, 1):
        grid.add_column(f"toy {i}", justify="right")
    shown: Mapping[str, float | None] = own.as_dict()
    for name, words in SHARES.items():
        grid.add_row(words, _number(shown[name]), *(_number(toy.signature.as_dict()[name]) for _, toy in near))
    for i, (far, toy) in enumerate(near, 1):
        runs = f"{len(toy.curves)} runs, scatter {toy.scatter:.2f}" if len(toy.curves) > 1 else "1 run"
        grid.caption = f"{grid.caption or ''}toy {i}: {toy.label}, distance {far:.2f} ({runs})\n"
    grid.caption_justify = "left"
    return grid


def _number(value: float | None) -> str:
    return "-" if value is None or value != value else f"{value:.3f}"
