"""What ``toybed findings`` prints and draws: published findings beside what the toys give."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table as Printed
from rich.text import Text

from toybed import findings, live, plotting, runner
from toybed.errors import ToybedError
from toybed.progress import Bar
from toybed.report.sections import Answers, Section, Table
from toybed.store import Store
from toybed.study import SIZES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLES = {"agrees": "green", "disagrees": "red", "undecided": "yellow", "not tested": "dim"}
COLOURS = {
    "agrees": plotting.COLOURS[3],
    "disagrees": plotting.COLOURS[2],
    "undecided": plotting.COLOURS[7],
    "not tested": plotting.COLOURS[7],
}
FARTHEST = 8.0  # half-widths from the threshold; what lies beyond is drawn at the edge


def print_findings(*, size: str, store: Path, workers: int, cluster: str | None, out: Path, as_json: bool) -> None:
    """Make what runs the store lacks, judge all findings, print that and write the figure (not with JSON).

    Raises:
        ToybedError: the figure cannot be written; or the runs could not be made.
    """
    runner.check_workers(workers)
    started = time.perf_counter()
    with Store(store) as kept, Bar(quiet=as_json) as bar, live.Live(store, "findings") as seen:
        records, seeds = findings.make_records(size, kept, workers=workers, cluster=cluster, progress=bar, watch=seen)
    board = findings.board(records, seeds)
    board |= {"size": size, "seconds": round(time.perf_counter() - started, 2), "store": str(store)}
    if as_json:
        print(json.dumps(board))
        return
    print_board(board)
    write(board, out)
    print(f"figure: {out}")


def write(board: Mapping[str, Any], out: Path) -> None:
    """Write the figure of a board.

    Raises:
        ToybedError: it cannot be written.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        figure(board).savefig(out, dpi=110)
    except (OSError, ValueError) as error:  # ValueError: a kind of picture that there is not
        raise ToybedError(f"figure {out} cannot be written ({error}); choose another with --out") from error


# -- the table ---------------------------------------------------------------------------------------------------------
def print_board(board: Mapping[str, Any]) -> None:
    """One table of all findings, the orders, and the tally."""
    console = Console(highlight=False)
    table = Printed(box=None, pad_edge=False, padding=(0, 2, 1, 0), show_edge=False)
    table.add_column("", no_wrap=True)
    table.add_column("finding, and what was published", overflow="fold", ratio=1)
    table.add_column("what the toy gives", overflow="fold", ratio=1)
    for row in board["findings"]:
        word = Text(row["judgement"], style=f"bold {STYLES[row['judgement']]}")
        table.add_row(word, _published(row), _given(row))
    console.print(table)
    for row in board["orders"]:
        console.print(order_text(row))
    counts = ", ".join(f"{count} {word}" for word, count in board["tally"].items() if count)
    console.print(f"\n[bold]Of {len(board['findings'])} findings: {counts}.[/bold]")
    console.print(
        "[dim]Intervals are 95 % over seeds (of tau: a bootstrap, which with so few is narrow). Explanations were "
        f"written after the runs and are no results. Size {board['size']}, {board['seconds']:.0f} s; runs are kept in "
        f"{escape(board['store'])}. Rules: --json.[/dim]"
    )


def _published(row: Mapping[str, Any]) -> Text:
    return Text.assemble(
        (row["id"], "bold"),
        f"\n{row['statement']}",
        (f"\npublished: {row['published']} ({row['source']}; seen: {row['seen']})", "dim"),
    )


def _given(row: Mapping[str, Any]) -> Text:
    text = Text()
    for part in row["parts"]:
        text.append(f"{part['what']}: ")
        text.append(f"{interval_text(part)}", "bold")
        if part["n"] != row.get("seeds"):
            text.append(f" (n = {part['n']})")
        text.append(f" {part['judgement']}\n", STYLES[part["judgement"]])
    if "question" in row:
        text.append(f"{row['world']}, {row['seeds']} seeds; runs of {row['question']}", "dim")
    if row["note"]:
        text.append(f"\nnote: {row['note']}", "dim")
    if row["explanation"]:
        text.append(f"\nexplanation: {row['explanation']}", "italic")
    return text


def interval_text(part: Mapping[str, Any]) -> str:
    """``0.12 [0.1, 0.14]`` with three digits, or a dash where no run has a value."""
    if part["estimate"] is None:
        return "-"
    return f"{part['estimate']:.3g} [{part['low']:.3g}, {part['high']:.3g}]"


def order_text(row: Mapping[str, Any]) -> Text:
    """An order of objectives: the judgement, Kendall's tau, and both sides' values."""
    text = Text(f"\nThe order of {row['objectives']} objectives by {row['quantity']}: ", "bold")
    text.append(row["judgement"], f"bold {STYLES[row['judgement']]}")
    if row["tau"] is None:
        return text
    text.append(
        f"\nKendall's tau of published and toy {row['tau']:.2f} [{row['low']:.2f}, {row['high']:.2f}] over "
        f"{row['pairs']} pairs within {len(row['tables'])} tables; {row['p']:.1%} of all shuffled orders have one as "
        "large\n"
    )
    for table in row["tables"]:
        both = zip(table["objectives"], table["values"], table["toy"], strict=True)
        listed = ", ".join(f"{name} {there:g} / {here:.3g}" for name, there, here in both)
        text.append(f"  {table['source']}, {table['of']}: {listed}; tau {table['tau']:.2f}\n", "dim")
    return text


# -- the report --------------------------------------------------------------------------------------------------------
def section(store: Store, answers: Answers) -> Section | None:
    """The findings in a report, of the size of which most can be tested; None where none can."""
    boards = [(findings.board(*findings.kept_records(size, store)), size) for size in reversed(SIZES)]
    board, size = max(boards, key=lambda each: len(_tested(each[0])))
    return _told(board, size) if _tested(board) else None


def _tested(board: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [row for row in board["findings"] if row["parts"]]


def _told(board: Mapping[str, Any], size: str) -> Section:
    tested = _tested(board)
    missing = len(board["findings"]) - len(tested)
    counts = ", ".join(f"{count} {word}" for word, count in board["tally"].items() if count)
    table = Table(
        "Published findings beside what the toys give",
        ("judgement", "finding, and what was published", "what the toy gives"),
        tuple((row["judgement"], _published(row).plain, _given(row).plain) for row in tested),
    )
    orders = tuple((order_text(row).plain.strip(),) for row in board["orders"])
    return Section(
        "findings",
        "Published findings in the toys",
        f"Of {len(board['findings'])} findings: {counts}; size {size}. A finding agrees where the whole interval lies "
        "where the publication says, and disagrees where it lies on the other side. Explanations were written after "
        "the runs and are no results." + (f" {missing} wait for runs: toybed findings." if missing else ""),
        (table, Table("Orders of objectives", ("published against toy",), orders)) if orders else (table,),
        figure({**board, "findings": tested}),
        "How far each part of a finding lies from its threshold, in half-widths of its 95 % interval; to the right: "
        "as published.",
    )


# -- the picture -------------------------------------------------------------------------------------------------------
def figure(board: Mapping[str, Any]) -> Figure:
    """A row for each part of each finding: how far from its threshold, on the side that was published or the other."""
    rows = [(row, part) for row in board["findings"] for part in row["parts"] or [None]]
    with plotting.panels(1, width=9.5, height=0.19 * len(rows) + 1.6) as (page, (axes,)):
        for y, (_, part) in enumerate(rows):
            if part is not None:
                _draw(axes, -y, part)
        _label(axes, rows)
        axes.axvline(0, color="#555555", linewidth=0.9, zorder=0)
        counts = ", ".join(f"{n} {word}" for word, n in board["tally"].items() if n)
        axes.set(
            title=f"Published findings in the toys: {counts}",
            xlabel="distance from the threshold in half-widths of the 95 % interval; to the right: as published",
            xlim=(-FARTHEST - 0.4, FARTHEST + 0.4),
            ylim=(-len(rows) + 0.2, 0.9),
        )
        axes.grid(axis="y", visible=False)
    return page


def standing(part: Mapping[str, Any]) -> tuple[float, float, float] | None:
    """Estimate and ends of an interval as distances from its threshold in half-widths, positive as published.

    None where there is no interval. Of "within" it is the distance from the nearer edge of the band.
    """
    if part["estimate"] is None or not part["high"] > part["low"]:
        return None
    half = (part["high"] - part["low"]) / 2
    signed = part["margin"] / half
    return signed, signed - 1, signed + 1


def _draw(axes: Axes, y: float, part: Mapping[str, Any]) -> None:
    place = standing(part)
    colour = COLOURS[part["judgement"]]
    if place is None:
        axes.text(0, y, "no interval", fontsize=6.5, va="center", ha="center", color="#777777")
        return
    center, low, high = np.clip(place, -FARTHEST, FARTHEST)
    axes.plot([low, high], [y, y], color=colour, linewidth=1.6, solid_capstyle="butt")
    beyond = abs(place[0]) > FARTHEST
    axes.plot(center, y, (">" if center > 0 else "<") if beyond else "o", color=colour, markersize=4.5)


def _label(axes: Axes, rows: Sequence[tuple[Mapping[str, Any], Mapping[str, Any] | None]]) -> None:
    """Findings on the left, the numbers on the right, a line between claims."""
    claim = None
    for y, (row, part) in enumerate(rows):
        first = y == 0 or rows[y - 1][0]["id"] != row["id"]
        if row["claim"] != claim:
            axes.axhline(-y + 0.5, color="#bbbbbb", linewidth=0.6, zorder=0)
            claim = row["claim"]
        if first:
            words: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "va": "center", "fontsize": 7}
            colour = COLOURS[row["judgement"]]
            axes.text(-0.01, -y, f"{row['claim']}  {row['id']}", ha="right", color=colour, weight="bold", **words)
        if part is not None:
            text = f"{interval_text(part)}  {part['what']}"
            axes.text(1.01, -y, text, color="#333333", fontsize=6.5, va="center", transform=axes.get_yaxis_transform())
    axes.set_yticks([])
