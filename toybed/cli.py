"""The command line: ``toybed list | run | show | compare | watch | report | check | course | doctor | ...``.

Only what computes imports torch, so that ``--help`` and ``list`` answer at once.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn, cast

import tyro
from tyro.conf import FlagCreatePairsOff, Positional, arg

from toybed.commands import verbs
from toybed.commands.verbs import STORE, cores
from toybed.errors import ToybedError, unknown

if TYPE_CHECKING:
    from toybed.store import Store


@dataclass(frozen=True)
class List:
    """List what there is: questions, objectives, worlds."""

    what: Positional[Literal["all", "questions", "objectives", "worlds"]] = "all"
    """Which of them."""
    json: bool = False
    """Print JSON."""
    debug: bool = False
    """Show the traceback of an error."""

    def __call__(self) -> None:  # noqa: D102
        from toybed.commands import listing

        listing.print_list(self.what, as_json=self.json)


@dataclass(frozen=True)
class Show:
    """Show one question, objective or world: what it is, where it comes from, its traps; or what was published."""

    name: Annotated[Positional[str], arg(metavar="NAME")]
    """Its name, as `toybed list` prints it, or module:name of your own; or the word claim."""
    number: Annotated[Positional[str | None], arg(metavar="N")] = None
    """Of a claim, as in `toybed show claim 1`: the figures that were published about it."""
    json: bool = False
    """Print JSON."""
    debug: bool = False
    """Show the traceback of an error."""

    def __call__(self) -> None:  # noqa: D102
        from toybed.commands import evidence, listing

        if self.name == "claim":
            evidence.print_claim(self.number, as_json=self.json)
        elif self.number is not None:
            raise ToybedError(f"{self.name!r} and {self.number!r}: give one name, or claim and a number")
        else:
            listing.print_entry(self.name, as_json=self.json)


@dataclass(frozen=True)
class Evidence:
    """Show the claims: the publications for and against each, what is not grounded, and what the toy says."""

    claim: Annotated[Positional[str | None], arg(metavar="N")] = None
    """The number of a claim; by default all of them."""
    store: Path = STORE
    """The file that `toybed run` wrote."""
    json: bool = False
    """Print JSON."""
    debug: bool = False
    """Show the traceback of an error."""

    def __call__(self) -> None:  # noqa: D102
        from toybed.commands import evidence

        evidence.print_evidence(self.claim, store=self.store, required=self.store != STORE, as_json=self.json)


@dataclass(frozen=True)
class Run:
    """Answer a question: make its runs, or those that the store does not have yet, and judge them."""

    name: Annotated[Positional[str], arg(metavar="QUESTION")]
    """The question, as `toybed list questions` prints it, or module:name of your own."""
    quick: bool = False
    """A small sweep for a first look (under 20 s); its verdict is often "undecided"."""
    full: bool = False
    """The size that a paper would use."""
    seeds: Annotated[int | None, arg(metavar="INT")] = None
    """Number of seeds in each arm; by default the size's own."""
    device: str = "cpu"
    """cpu or cuda."""
    workers: Annotated[int | None, arg(metavar="INT")] = None
    """Processes of this machine, one torch thread each; by default one a core."""
    cluster: Annotated[str | None, arg(metavar="ADDRESS")] = None
    """Instead: all cores of the Ray cluster at this address ("10.0.0.1:6379"; auto: the one of this machine)."""
    store: Path = STORE
    """The file that keeps what is finished; the same command continues where it was stopped."""
    report: Annotated[Path | None, arg(metavar="PATH")] = None
    """Also write the report to this file."""
    json: bool = False
    """Print the answer as one JSON object."""
    debug: bool = False
    """Show the traceback of an error."""

    def __call__(self) -> None:  # noqa: D102
        from toybed import answering, live, study
        from toybed.commands import listing
        from toybed.progress import Bar
        from toybed.store import Store

        question = study.get(self.name)
        size, workers = _size(self.quick, self.full), _workers(self.workers, self.cluster)
        answering.check_asked(
            question, size=size, seeds=self.seeds, device=self.device, workers=workers, cluster=self.cluster
        )
        if self.report is not None:
            from toybed.report.html import check_writable

            check_writable(self.report)
        with Store(self.store) as store:
            with Bar(quiet=self.json) as bar, live.Live(self.store, f"run {self.name}") as seen:
                result = answering.answer(
                    question,
                    store,
                    size=size,
                    seeds=self.seeds,
                    device=self.device,
                    workers=workers,
                    cluster=self.cluster,
                    progress=bar,
                    watch=seen,
                )
            if self.report is not None:
                _write_report(store, self.report)
        if self.json:
            print(json.dumps(result))
        else:
            listing.print_answer(result)
            if self.report is not None:
                print(f"report: {self.report}")


@dataclass(frozen=True)
class Findings:
    """Score published findings against the toys: which agree, which disagree, and which cannot be decided."""

    quick: bool = False
    """Small sweeps for a first look; many findings are then undecided."""
    full: bool = False
    """The size that a paper would use."""
    workers: Annotated[int | None, arg(metavar="INT")] = None
    """Processes of this machine, one torch thread each; by default one a core."""
    cluster: Annotated[str | None, arg(metavar="ADDRESS")] = None
    """Instead: all cores of the Ray cluster at this address ("10.0.0.1:6379"; auto: the one of this machine)."""
    store: Path = STORE
    """The file that keeps runs; those that `toybed run` has made are not made again."""
    out: Path = Path("findings.png")
    """Where the figure goes."""
    json: bool = False
    """Print JSON, with the rules, and draw nothing."""
    debug: bool = False
    """Show the traceback of an error."""

    def __call__(self) -> None:  # noqa: D102
        from toybed.commands import scoreboard

        scoreboard.print_findings(
            size=_size(self.quick, self.full),
            store=self.store,
            workers=_workers(self.workers, self.cluster),
            cluster=self.cluster,
            out=self.out,
            as_json=self.json,
        )


@dataclass(frozen=True)
class Report:
    """Write all answers in a store as one HTML file."""

    store: Path = STORE
    """The file that `toybed run` wrote."""
    out: Path = Path("report.html")
    """Where the report goes."""
    figures: Annotated[Path | None, arg(metavar="DIR")] = None
    """Also write every figure as PNG into this folder, for slides."""
    json: bool = False
    """Print the answers as JSON and write nothing."""
    debug: bool = False
    """Show the traceback of an error."""

    def __call__(self) -> None:  # noqa: D102
        from toybed.answers import changed
        from toybed.store import Store

        if not self.store.exists():
            raise ToybedError(f"store {self.store} does not exist; `toybed run` makes one, --store names another")
        with Store(self.store) as store:
            if self.json:
                print(json.dumps([{**answer, "changed": changed(answer)} for answer in store.verdicts()]))
                return
            _write_report(store, self.out, self.figures)
        print(f"report: {self.out}")


@dataclass(frozen=True)
class Merge:
    """Copy what other stores have into one: runs and answers that machines made apart."""

    store: Annotated[Positional[Path], arg(metavar="STORE")]
    """The file that gets all; made if missing."""
    sources: Annotated[Positional[tuple[Path, ...]], arg(metavar="OTHER")] = ()
    """The files that it takes from, which are only read."""
    json: bool = False
    """Print JSON."""
    debug: bool = False
    """Show the traceback of an error."""

    def __call__(self) -> None:  # noqa: D102
        from toybed.commands import merging

        merging.print_merge(self.store, self.sources, as_json=self.json)


@dataclass(frozen=True)
class Overlay:
    """Lay logs of language models beside the toys: the law's fit, a signature in shares, the nearest toy runs."""

    logs: Annotated[Positional[tuple[Path, ...]], arg(metavar="LOG")]
    """Files or folders that TRL, verl, OpenRLHF, prime-rl, NeMo-RL, slime, tinker, ms-swift, W&B, TensorBoard or MLflow
    wrote, or CSV: recognised by content, parts of one run joined by step."""
    with_: Annotated[str | None, arg(name="with", metavar="QUESTION")] = None
    """Compare with the runs of this question only; by default with all in the store."""
    column: Annotated[tuple[str, ...], arg(metavar="COLUMN=NAME")] = ()
    """Keys for columns that are not recognised: entropy=NAME reward=NAME step=NAME."""
    store: Path = STORE
    """The file that `toybed run` wrote."""
    out: Path = Path("overlay.png")
    """Where the figure goes."""
    json: bool = False
    """Print JSON and draw nothing."""
    debug: bool = False
    """Show the traceback of an error."""

    def __call__(self) -> None:  # noqa: D102
        from toybed.commands import overlaying

        overlaying.print_overlay(
            self.logs,
            question=self.with_,
            columns=self.column,
            store=self.store,
            out=self.out,
            as_json=self.json,
        )


@dataclass(frozen=True)
class Check:
    """Check your own objective against the laws, or grade the course's exercises, with messages that teach."""

    target: Annotated[Positional[str | None], arg(metavar="MODULE:NAME|FILE|LESSON")] = None
    """An Objective or a function (log_prob, log_prob_old, advantage, mask) -> loss, as module:name; or a lesson, by its
    file or name. By default all lessons in this folder."""
    examples: int = 60
    """Cases tried for each law."""
    json: bool = False
    """Print JSON."""
    debug: bool = False
    """Show the traceback of an error."""

    def __call__(self) -> int:  # noqa: D102
        from toybed.course import printing

        if self.target is None or printing.means_a_lesson(self.target):
            return printing.print_grades(self.target, as_json=self.json)
        from toybed.commands import checking

        return checking.print_check(self.target, examples=self.examples, as_json=self.json)


@dataclass(frozen=True)
class Mutants:
    """Show the deliberately wrong objectives, and which law catches each."""

    full: bool = False
    """Try every law on every mutant (minutes), not only the one that is expected to catch it."""
    json: bool = False
    """Print JSON."""
    debug: bool = False
    """Show the traceback of an error."""

    def __call__(self) -> int:  # noqa: D102
        from toybed.commands import checking

        return checking.print_mutants(full=self.full, as_json=self.json)


@dataclass(frozen=True)
class Course:
    """List the lessons of the course, or write them into a folder; `toybed check` grades their exercises."""

    to: Annotated[Path | None, arg(metavar="DIR")] = None
    """Write the lessons there, as scripts whose cells begin with `# %%`; a file that is there already is kept."""
    notebooks: bool = False
    """Write Jupyter notebooks."""
    solved: bool = False
    """For instructors: with the holes filled in."""
    json: bool = False
    """Print JSON."""
    debug: bool = False
    """Show the traceback of an error."""

    def __call__(self) -> None:  # noqa: D102
        from toybed.course import printing

        if self.to is not None:
            printing.print_written(self.to, notebooks=self.notebooks, solved=self.solved, as_json=self.json)
        elif self.notebooks or self.solved:
            raise ToybedError("--notebooks and --solved say how lessons are written; add where to: --to DIR")
        else:
            printing.print_lessons(as_json=self.json)


@dataclass(frozen=True)
class Chat:
    """Talk with a trained policy, as patient or therapist (invented, not clinical); see its entropy at each turn."""

    play: Literal["patient", "therapist"] = "patient"
    """Whom you play; the policy or the simulator is the other."""
    type: Literal["receptive", "resistant", "open", "surprise"] = "surprise"
    """The simulated patient; a surprise is told at the end."""
    level: Literal["act", "option", "both"] = "both"
    """What the therapist chooses: acts, options with fixed acts, or both."""
    objective: str = "grpo"
    """What the policy is trained with, as `toybed list objectives` prints it."""
    updates: int = 100
    """How long it is trained; 0 leaves it as the demonstrations made it."""
    entropy_coefficient: Annotated[float | None, arg(metavar="FLOAT")] = None
    """Of an entropy bonus; by default the objective's own."""
    seed: int = 0
    """Of all luck: the same seed and the same input are the same dialogue."""
    turns: int = 20
    """Length of the dialogue; unless the level is act, a multiple of the 4 turns for which an option is held."""
    json: bool = False
    """Print the whole dialogue as one JSON object at the end, and prompts on standard error."""
    debug: bool = False
    """Show the traceback of an error."""

    def __call__(self) -> None:  # noqa: D102
        from toybed.chat import chat

        chat(
            play=self.play,
            user=self.type,
            level=self.level,
            objective=self.objective,
            updates=self.updates,
            seed=self.seed,
            turns=self.turns,
            entropy_coefficient=self.entropy_coefficient,
            as_json=self.json,
        )


def _size(quick: bool, full: bool) -> str:
    if quick and full:
        raise ToybedError("--quick and --full: choose one, or neither for the standard size")
    return "quick" if quick else "full" if full else "standard"


def _workers(workers: int | None, cluster: str | None) -> int:
    """Processes of this machine; of a cluster they are not asked for."""
    if cluster is not None and workers is not None:
        raise ToybedError("--cluster and --workers: choose one; of a cluster all cores are used")
    return cores() if workers is None else workers


def _write_report(store: Store, out: Path, figures: Path | None = None) -> None:
    from toybed.report.html import write

    write(store, out, figures)


COMMANDS: dict[str, Any] = {
    "list": List,
    "run": Run,
    "compare": verbs.Compare,
    "watch": verbs.Watch,
    "show": Show,
    "evidence": Evidence,
    "findings": Findings,
    "report": Report,
    "merge": Merge,
    "overlay": Overlay,
    "check": Check,
    "mutants": Mutants,
    "course": Course,
    "chat": Chat,
    "doctor": verbs.Doctor,
    "completion": verbs.Completion,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """The entry point: 0 when all went well, 1 where a check found something, 2 for a wrong input, 130."""
    signal.signal(signal.SIGTERM, _interrupt)
    # One torch thread a process, also where answers are judged and drawn: on a busy machine two are ten times slower.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given:
        from toybed.commands import front

        front.print_welcome()
        return 0
    try:
        return _command(given)() or 0
    except ToybedError as error:
        if "--debug" in given[1:]:
            raise
        print(f"toybed: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        kept = given[:1] in (["run"], ["compare"], ["findings"])
        then = "; what is finished is kept, and the same command continues from there" if kept else ""
        print(f"toybed: stopped{then}", file=sys.stderr)
        return 130


def _command(given: list[str]) -> Callable[[], int | None]:
    """The command that was asked for; help ends the program.

    Raises:
        ToybedError: there is no such command, or it has no such option.
    """
    verb, *rest = given
    config = (FlagCreatePairsOff,)
    if verb in ("-h", "--help") or verb.startswith("--tyro-"):  # tyro prints completions for a shell
        description = "Ask questions about policy-entropy collapse and get answers with an interval, in a minute."
        tyro.extras.subcommand_cli_from_dict(
            COMMANDS, prog="toybed", description=description, args=[verb, *rest], config=config
        )
    if verb not in COMMANDS:
        raise unknown("command", verb, COMMANDS, "toybed --help shows all")
    # Before tyro reads them: an option that it does not know would pass for a name, or be a box of many lines.
    options = [
        f"--{field.name.rstrip('_').replace('_', '-')}"
        for field in fields(COMMANDS[verb])
        if "Positional" not in str(field.type)
    ]
    for option in (word.split("=")[0] for word in rest if word.startswith("--")):
        if option not in ("--help", *options):
            raise unknown("option", option, options, f"toybed {verb} --help shows all")
    return cast(Callable[[], int | None], tyro.cli(COMMANDS[verb], prog=f"toybed {verb}", args=rest, config=config))


def _interrupt(*_: object) -> NoReturn:
    """A polite kill ends the run as Ctrl-C does."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
