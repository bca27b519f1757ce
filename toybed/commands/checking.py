"""``toybed check`` and ``toybed mutants``: the laws, for people."""

from __future__ import annotations

import json
from importlib import import_module
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from toybed.errors import ToybedError
from toybed.own import load

SAME = 1e-6  # relative distance of gradients below which two objectives are one
IF_COMPONENTS = (
    "if its advantage reads the components of a reward vector, mark that with @takes_vectors('vector'), or 'set' where "
    "a response has several answers (toybed.objectives.batch): then it is tried on such, and a learner gives it such"
)
NEAREST = 3  # rows of the catalogue that are named where none coincides


def _testing() -> Any:
    try:
        return import_module("toybed.testing")
    except ModuleNotFoundError as error:
        raise ToybedError(f"checking needs {error.name}: pip install 'toybed[test]'") from error


def print_check(target: str, *, examples: int, as_json: bool) -> int:
    """Print what the laws say about an objective; 1 if one is broken, else 0."""
    if examples < 1:
        raise ToybedError(f"examples is {examples}; allowed: at least 1")
    testing = _testing()
    subject = testing.subject_of(load(target), target)
    findings = testing.findings(subject, examples)
    try:
        near = testing.likenesses(subject)
    except Exception:  # a loss that cannot be differentiated is like no other; the laws have said why
        near = []
    same = [likeness for likeness in near if likeness.distance < SAME]
    failed = [finding for finding in findings if not finding.holds]
    if as_json:
        laws = [{"law": f.law.name, "holds": f.holds, "message": f.message} for f in findings]
        print(json.dumps({"target": target, "laws": laws, "same as": {x.name: x.scale for x in same}}))
        return int(bool(failed))
    console = Console(highlight=False)
    if subject.objective is not None:
        console.print(Text(f"tried on rewards of {testing.REWARDS[subject.vectors]}", style="dim"), soft_wrap=True)
    for finding in findings:
        mark = "[green]holds[/green]  " if finding.holds else "[red]broken[/red] "
        console.print(f"{mark} [bold]{finding.law.name:16}[/bold] {finding.law.statement}")
    for finding in failed:
        console.print(f"\n[bold red]{finding.law.name}[/bold red]")
        console.print(Text(str(finding.message)), soft_wrap=True)
        if finding.law.breaks:
            console.print(
                f"[dim]published objectives that break this on purpose: {', '.join(finding.law.breaks)}[/dim]"
            )
        console.print(Text(f"smallest counterexample:\n{finding.case}"), soft_wrap=True)
    if failed and subject.objective is not None and not subject.vectors:
        console.print(Text(f"\n{IF_COMPONENTS}", style="dim"), soft_wrap=True)
    console.print()
    if subject.function is not None and near:
        console.print("[dim]compared with the advantage that it is given; what makes one is not looked at[/dim]")
    for likeness in same:
        factor = "" if abs(likeness.scale - 1) < SAME else f", times {likeness.scale:.4g}"
        word = "coincides with" if likeness.scale > 0 else "[red]is the negative of[/red]"
        console.print(f"it {word} [bold]{likeness.name}[/bold]{factor}")
    if not near:
        console.print("it could not be compared with known objectives: its gradient cannot be taken")
    elif not same:
        console.print(
            "it coincides with no known objective; the nearest, by the distance of gradients on stale batches:"
        )
        for likeness in near[:NEAREST]:
            console.print(Text(f"  {likeness.name} ({likeness.distance:.0%}): {likeness.difference}"), soft_wrap=True)
    return int(bool(failed))


def print_mutants(*, full: bool, as_json: bool) -> int:
    """Print the mutants and what catches them; 1 if one survives."""
    testing = _testing()
    mutants = import_module("toybed.mutants").MUTANTS.values()
    killers: dict[str, list[str]] = {}
    for mutant in mutants:
        laws = [law for law in testing.LAWS if law.applies(mutant.subject) and (full or law.name == mutant.law)]
        killers[mutant.name] = [law.name for law in laws if not testing.examine(law, mutant.subject, 30).holds]
    survivors = [name for name, laws in killers.items() if not laws]
    if as_json:
        print(json.dumps([{"name": m.name, "story": m.story, "killed by": killers[m.name]} for m in mutants]))
        return int(bool(survivors))
    table = Table(box=None, pad_edge=False)
    for column in ("mutant", "killed by", "what is wrong"):
        table.add_column(column, overflow="fold", no_wrap=column == "mutant")
    for mutant in mutants:
        table.add_row(
            f"[bold]{mutant.name}[/bold]", ", ".join(killers[mutant.name]) or "[red]none[/red]", Text(mutant.story)
        )
    Console(highlight=False).print(table)
    return int(bool(survivors))
