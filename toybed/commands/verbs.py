"""Verbs of the command line that stand at the door: ``compare``, ``watch``, ``doctor``, ``completion``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

STORE = Path("toybed.sqlite")


def cores() -> int:
    """The cores that this process may use: a container may have been given fewer than the machine has."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        return os.cpu_count() or 1


@dataclass(frozen=True)
class Compare:
    """Compare objectives in one world, paired by seed, at equal rollouts: held-out success, entropy, a picture."""

    objectives: Annotated[Positional[tuple[str, ...]], arg(metavar="OBJECTIVE")]
    """Two or more, as `toybed list objectives` prints them, or module:name of your own; the first is compared with."""
    on: Annotated[str, arg(metavar="WORLD")] = "chain_reach"
    """The world, as `toybed list worlds` prints it (ChainReach and chain_reach are one), or module:name of your own."""
    seeds: Annotated[int, arg(metavar="INT")] = 6
    """Runs of each; they share their base policies. Fewer than 3 decide nothing."""
    updates: Annotated[int | None, arg(metavar="INT")] = None
    """Of each run; by default what is usual in the world."""
    rate: Annotated[tuple[float, ...], arg(metavar="FLOAT")] = ()
    """Learning rate of all, or one for each; by default what is usual in the world, for all."""
    figure: Annotated[Path | None, arg(metavar="FILE")] = None
    """Where the picture goes; by default compare.png, and none with --json."""
    device: str = "cpu"
    """cpu or cuda."""
    workers: Annotated[int | None, arg(metavar="INT")] = None
    """Processes of this machine, one torch thread each; by default one a core."""
    store: Path = STORE
    """The file that keeps the runs: asked again, the same comparison is there at once."""
    json: bool = False
    """Print JSON."""
    debug: bool = False
    """Show the traceback of an error."""

    def __call__(self) -> None:  # noqa: D102
        from toybed.commands import comparing_text

        comparing_text.print_comparison(
            self.objectives,
            on=self.on,
            seeds=self.seeds,
            updates=self.updates,
            rates=self.rate or None,
            figure=self.figure,
            device=self.device,
            workers=cores() if self.workers is None else self.workers,
            store=self.store,
            as_json=self.json,
        )


@dataclass(frozen=True)
class Watch:
    """Watch a running sweep from a second terminal: entropy and reward by objective, as they come. Ctrl-C ends it."""

    store: Path = STORE
    """The file to which `toybed run` or `toybed compare` writes; it is only read."""
    every: Annotated[float, arg(metavar="SECONDS")] = 1.0
    """Time between two looks."""
    once: bool = False
    """Print what there is and end."""
    json: bool = False
    """Print what there is as JSON and end."""
    debug: bool = False
    """Show the traceback of an error."""

    def __call__(self) -> None:  # noqa: D102
        from toybed.commands import watching

        watching.watch(self.store, every=self.every, once=self.once, as_json=self.json)


@dataclass(frozen=True)
class Doctor:
    """Look at this machine and the store: versions, threads, device, disk, unfinished work, and a fix for each."""

    store: Path = STORE
    """The file that `toybed run` wrote."""
    json: bool = False
    """Print JSON."""
    debug: bool = False
    """Show the traceback of an error."""

    def __call__(self) -> int:  # noqa: D102
        from toybed.commands import doctor

        return doctor.print_checkup(self.store, as_json=self.json)


@dataclass(frozen=True)
class Completion:
    """Print what makes a shell complete toybed's commands and options; --json says where it goes."""

    shell: Positional[Literal["bash", "zsh"]]
    """Your shell."""
    json: bool = False
    """Print JSON: the script, and the command that installs it."""
    debug: bool = False
    """Show the traceback of an error."""

    def __call__(self) -> None:  # noqa: D102
        from toybed.commands import front

        front.print_completion(self.shell, as_json=self.json)
