"""A question is a record: what is asked, the claim that can be false, the sweep, the measure, and a rule written first.

``benchmarks`` register their studies by being imported; nothing else keeps a list.
"""

from __future__ import annotations

import ast
import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

import toybed
from toybed.agents.config import Setting
from toybed.errors import ToybedError, unknown
from toybed.own import code_of, is_own, load, targets_in
from toybed.stats import Interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from toybed.searching import Search

Outcome = Literal["supported", "refuted", "undecided"]
SIZES = ("quick", "standard", "full")

DETERMINING = ("objectives", "measures", "envs", "agents", "own.py", "seeding.py", "streams.py")
"""The code that determines a run's numbers, within the package."""


@cache
def code_version() -> str:
    """A hash of what determines a run beside its setting: our code (not its comments, docstrings and layout), and the
    versions of torch and numpy, whose kernels round differently."""
    root = Path(toybed.__file__).parent
    digest = hashlib.sha256(f"torch {version('torch')}, numpy {version('numpy')}".encode())
    for part in DETERMINING:
        path = root / part
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(file.relative_to(root).as_posix().encode())
            digest.update(ast.dump(without_docstrings(file.read_text(encoding="utf-8"))).encode())
    return digest.hexdigest()[:16]


def without_docstrings(source: str) -> ast.Module:
    """The code of a module, with neither comments nor docstrings nor layout in it."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [x for x in body if not _is_text(x)]  # type: ignore[attr-defined]
    return tree


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


@dataclass(frozen=True)
class Run:
    """One setting, one seed, one kind of device: everything that determines its numbers."""

    setting: Setting
    seed: int
    device: str = "cpu"

    @property
    def id(self) -> str:
        """The run's name: a hash of its configuration, seed, device and the code's version."""
        return _hash("run", self.setting.config(), self.seed, self.device)

    @property
    def base_id(self) -> str:
        """The name of its base policy."""
        return _hash("base", self.setting.base_config(), self.seed, self.device)

    @property
    def end_id(self) -> str:
        """The name of the policy with which it ends, where another run starts from that."""
        return _hash("end", self.setting.config(), self.seed, self.device)

    @property
    def before(self) -> Run | None:
        """The run that it continues."""
        after = self.setting.start.after
        return None if after is None else Run(after, self.seed, self.device)


def _hash(kind: str, config: Mapping[str, Any], seed: int, device: str) -> str:
    own = {target: code_of(target) for target in targets_in(config)}
    text = json.dumps([kind, config, seed, device, code_version(), *([own] if own else [])], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


@dataclass(frozen=True)
class Parameters:
    """The policies of all runs of one arm as numbers.

    Attributes:
        start, end: parameters before and after, ``[n, D]``; the start as it is before a temperature or rounding
            (:class:`~toybed.agents.config.Start`), the end of a run that diverged as NaN.
        sizes: how many each tensor of the policy has, D in all.
    """

    start: NDArray[np.float32]
    end: NDArray[np.float32]
    sizes: tuple[int, ...]


@dataclass(frozen=True)
class Records:
    """The curves of all runs of one arm, for judging: arrays ``[n, points]``, runs in the order of their seeds.

    Attributes:
        steps: measure name to the updates at which it was measured, ``[points]``.
        curves: measure name to values ``[n, points]``; a diverged run's are NaN from its divergence on.
        causes: why runs diverged, one entry for each that did.
        setting: what was run, by the first seed; None in records that no run made.
        parameters: of the policies, where the question asked for them (:attr:`Study.keeps`).
    """

    steps: Mapping[str, NDArray[np.int64]]
    curves: Mapping[str, NDArray[np.float64]]
    causes: tuple[str, ...] = ()
    setting: Setting | None = None
    parameters: Parameters | None = None

    @property
    def diverged(self) -> int:
        """How many of the n runs diverged."""
        return len(self.causes)

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        if name not in self.curves:
            raise unknown("measure", name, self.curves)
        return self.curves[name]

    @property
    def sound(self) -> NDArray[np.bool_]:
        """Which runs did not diverge, ``[n]``."""
        return np.asarray(np.isfinite(self["reward_train"]).all(1))

    def at(self, name: str, place: int) -> NDArray[np.float64]:
        """A measure at its first (0) or last (-1) point, ``[n]``; NaN, at both, for a run that diverged."""
        return np.where(self.sound, self[name][:, place], np.nan)

    def per_run(self, measure: Callable[..., float], *curves: NDArray[np.float64]) -> NDArray[np.float64]:
        """The measure of each run from its rows of the curves ``[n, points]``; NaN for a run that diverged, ``[n]``."""
        rows = zip(self.sound, *curves, strict=True)
        return np.array([measure(*row) if sound else np.nan for sound, *row in rows])


@dataclass(frozen=True)
class Verdict:
    """The answer to a question, or to one part of it.

    Attributes:
        claim: the sentence that can be false.
        outcome: "supported", "refuted" or "undecided".
        estimate, low, high: of the measure, with a 95 % interval (NaN where no run has a value).
        n: runs behind it.
        rule: how the outcome follows from the interval; fixed before the runs were made.
        sentence: the finding in words.
    """

    claim: str
    outcome: Outcome
    estimate: float
    low: float
    high: float
    n: int
    rule: str
    sentence: str

    def as_dict(self) -> dict[str, Any]:
        """For JSON, which has no NaN: a missing number is None."""
        return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in asdict(self).items()}


WIDER_INTERVALS = (
    "Intervals were percentile bootstraps over seeds at first. Those cover 85 % with 6 runs and 76 % with 3, not 95 %; "
    "they are Student's t intervals now, which are wider. No threshold was changed."
)
"""An amendment that the first questions share."""

MIN_RUNS = 3
"""Fewer runs than this decide nothing: the interval of one run has no width, and that of two is a guess."""


def above(interval: Interval, threshold: float) -> Outcome:
    """Supported where the whole interval lies above the threshold, refuted where it lies below, else undecided."""
    if interval.n < MIN_RUNS:
        return "undecided"
    if interval.low > threshold:
        return "supported"
    return "refuted" if interval.high < threshold else "undecided"


def below(interval: Interval, threshold: float) -> Outcome:
    """Supported where the whole interval lies below the threshold, refuted where it lies above, else undecided."""
    return above(Interval(-interval.estimate, -interval.high, -interval.low, interval.n), -threshold)


def within(interval: Interval, low: float, high: float) -> Outcome:
    """Supported where the interval lies inside the band, refuted where it lies outside, else undecided."""
    if interval.n < MIN_RUNS:
        return "undecided"
    if low <= interval.low and interval.high <= high:
        return "supported"
    return "refuted" if interval.high < low or interval.low > high else "undecided"


def all_of(outcomes: Sequence[Outcome]) -> Outcome:
    """A claim of several parts: refuted if one is refuted, supported if all are, else undecided."""
    if "refuted" in outcomes:
        return "refuted"
    return "supported" if all(o == "supported" for o in outcomes) else "undecided"


def headline(
    claim: str,
    *,
    parts: Sequence[Verdict],
    shown: Verdict,
    rule: str,
    sentence: str,
    records: Mapping[str, Records],
) -> Verdict:
    """The whole answer, which says how many runs diverged.

    Args:
        claim: of the question.
        parts: those that decide, by :func:`all_of`.
        shown: the part whose estimate, interval and n stand for the whole, if it came out as the whole did; else the
            first that did stands for it: an interval is not shown beside an outcome that another one decided.
        rule: how the parts make the whole, in words.
        sentence: the finding.
        records: all arms.
    """
    causes = [cause for arm in records.values() for cause in arm.causes]
    runs = "run" if len(causes) == 1 else "runs"
    why = "; ".join(sorted(set(causes)))
    note = f" {len(causes)} {runs} diverged ({why}), left out of every mean." if causes else ""
    outcome = all_of([part.outcome for part in parts])
    decisive = next((part for part in (shown, *parts) if part.outcome == outcome), shown)
    return replace(decisive, claim=claim, outcome=outcome, rule=rule, sentence=sentence + note)


def tally(parts: Sequence[Verdict]) -> str:
    """How the parts came out: ``3 supported, 1 undecided``."""
    counts = Counter(part.outcome for part in parts)
    return ", ".join(f"{counts[o]} {o}" for o in get_args(Outcome) if counts[o])


def number(value: float, form: str = ".2f") -> str:
    """A number in a sentence; where no run has one, "not known"."""
    return format(value, form) if math.isfinite(value) else "not known"


@dataclass(frozen=True)
class Tuning:
    """How settings are chosen before the sweep, on seeds of their own.

    Attributes:
        candidates: size to arm to candidates, by a label each ("0.001").
        seeds: size to number of seeds; they are numbered from 1000 on, so that no judged run has one of them.
        score: what is made large, of the records of a candidate: one number for each run, ``[n]``; a run that diverged
            counts as the lowest. The best mean wins, the first of equals, also where all diverged.
        final: the setting of the sweep, from size, arm and chosen candidate. Arms may share their candidates.
    """

    candidates: Callable[[str], Mapping[str, Mapping[str, Setting]]]
    seeds: Mapping[str, int]
    score: Callable[[Records], NDArray[np.float64]]
    final: Callable[[str, str, Setting], Setting]

    def runs(self, size: str, device: str, *, worlds: bool = False) -> dict[str, dict[str, list[Run]]]:
        """All runs of the choice, by arm and candidate; each seed in a world of its own, or all in one."""
        seeds = range(FIRST_TUNING_SEED, FIRST_TUNING_SEED + self.seeds[size])
        return {
            arm: {label: _runs_of(setting, seeds, device, worlds) for label, setting in options.items()}
            for arm, options in self.candidates(size).items()
        }

    def best(self, records: Mapping[str, Records]) -> str:
        """The label of the best of an arm's candidates."""
        scores = {
            label: np.nan_to_num(np.where(r.sound, self.score(r), -np.inf), nan=-np.inf).mean()
            for label, r in records.items()
        }
        return max(scores, key=lambda label: scores[label])


FIRST_TUNING_SEED = 1000


def _runs_of(setting: Setting, seeds: Iterable[int], device: str, worlds: bool) -> list[Run]:
    return [Run(setting.in_world(seed) if worlds else setting, seed, device) for seed in seeds]


@dataclass(frozen=True)
class Study:
    """A question with everything that is needed to answer it.

    Attributes:
        name: the word on the command line.
        question, claim: the claim is a sentence that can be false.
        source: where the claim was published.
        rule: how the parts make the whole outcome.
        amendments: what was changed in question or rule after a result had been seen, and why; shown with every answer.
        arms: size to named settings.
        seeds: size to number of seeds.
        judge: arms' records to the headline verdict and its parts.
        figure: arms' records to one figure.
        caption: what the figure shows, in words.
        tuning: how further arms get their settings, or None.
        search: how further arms learn theirs, or None.
        keeps: arms of which the judge gets the parameters, at the start and at the end.
        worlds: each seed has a world of its own, drawn by that seed (the knob ``table_seed`` of every world): its base
            policy is made there, and all arms meet it there, so that they can be paired. Intervals over seeds are then
            over worlds, too. Else all runs are in the world that the arms name, and an interval says nothing of others.
            A judge reads from :attr:`Records.setting`, which is that of the first seed, what is the same in all worlds.
    """

    name: str
    question: str
    claim: str
    source: str
    rule: str
    amendments: tuple[str, ...]
    arms: Callable[[str], Mapping[str, Setting]]
    seeds: Mapping[str, int]
    judge: Callable[[Mapping[str, Records]], tuple[Verdict, list[Verdict]]]
    figure: Callable[[Mapping[str, Records]], Figure]
    caption: str
    tuning: Tuning | None = None
    search: Search | None = None
    keeps: tuple[str, ...] = ()
    worlds: bool = False

    def __post_init__(self) -> None:
        if self.search is not None and self.worlds:
            raise ToybedError(
                f"question {self.name!r}: a search learns in the worlds that it names; allowed: worlds=False"
            )

    def trials(self, size: str, device: str) -> dict[str, dict[str, list[Run]]]:
        """All runs by which settings are chosen, by arm and candidate."""
        return {} if self.tuning is None else self.tuning.runs(size, device, worlds=self.worlds)

    def runs(
        self, size: str, seeds: int, device: str, tuned: Mapping[str, Setting] | None = None
    ) -> dict[str, list[Run]]:
        """All runs, by arm; the arms share their seeds, so that they can be paired.

        Args:
            size, seeds, device: what is run.
            tuned: the arms whose setting was chosen or learned, with that.
        """
        if size not in SIZES:
            raise unknown("size", size, SIZES)
        arms = {**self.arms(size), **(tuned or {})}
        return {arm: _runs_of(setting, range(seeds), device, self.worlds) for arm, setting in arms.items()}

    def fingerprint(self, size: str) -> str:
        """A hash of what is asked at a size: claim, rule with its amendments, number of seeds, worlds and arms.

        The code that makes the runs and judges them is not in it: an engine made faster asks nothing else.
        """
        return digest([*self.asked(size).values(), self.seeds[size]])

    def asked(self, size: str) -> dict[str, str]:
        """The same in its parts, a hash each: ``claim``, ``rule``, ``arms`` (without the number of seeds)."""
        return {
            "claim": digest([self.question, self.claim]),
            "rule": digest([self.rule, *self.amendments]),
            "arms": digest([self.worlds, *self._sweep(size)]),
        }

    def _sweep(self, size: str) -> Iterator[Any]:
        """The settings of all arms as JSON: chosen ones with all candidates, learned ones as their search begins."""
        yield _configs(self.arms(size))
        if self.tuning is not None:
            final = self.tuning.final
            for arm, options in self.tuning.candidates(size).items():
                yield arm, _configs(options), _configs({k: final(size, arm, each) for k, each in options.items()})
            yield self.tuning.seeds[size]
        if self.search is not None:
            search, state = self.search, self.search.begin(size)
            yield _configs(search.final(size, state))
            yield {place: _configs(options) for place, options in search.ask(size, 0, state).items()}
            yield search.generations[size], search.bases[size]


def digest(value: Any) -> str:
    """A short hash of what JSON would hold; of numbers nine digits, since the last may be another machine's."""
    rounded = json.loads(json.dumps(value), parse_float=lambda digits: f"{float(digits):.9g}")
    return hashlib.sha256(json.dumps(rounded, sort_keys=True).encode()).hexdigest()[:16]


def _configs(settings: Mapping[str, Setting]) -> dict[str, Any]:
    return {name: setting.config() for name, setting in settings.items()}


_STUDIES: dict[str, Study] = {}
_OWN: dict[str, Study] = {}
"""Questions of a user by ``module:name``, as they were asked for."""


def register(study: Study) -> Study:
    """Add a question.

    Raises:
        ToybedError: the name is taken.
    """
    if study.name in _STUDIES:
        raise ToybedError(f"question {study.name!r} is already registered")
    _STUDIES[study.name] = study
    return study


def studies() -> dict[str, Study]:
    """All questions by name."""
    import_module("toybed.benchmarks")
    return dict(sorted(_STUDIES.items()))


def get(name: str) -> Study:
    """The named question; ``module:name`` is a :class:`Study` of one's own.

    Raises:
        ToybedError: there is none; the message has the nearest one.
    """
    if is_own(name):
        return _own_study(name)
    known = studies()
    if name not in known:
        raise unknown("question", name, known, "toybed list questions shows all")
    return known[name]


def _own_study(name: str) -> Study:
    found = load(name, "question")
    if not isinstance(found, Study):
        raise ToybedError(f"{name} is a {type(found).__name__}; allowed: a toybed.study.Study")
    if found.name in studies() and _STUDIES[found.name] is not found:
        raise ToybedError(f"{name}: a question has the name {found.name!r} already; give yours another")
    _OWN[name] = found
    return found


def place_of(question: Study) -> str | None:
    """The name by which :func:`get` has found a question, or would; None where there is none."""
    return next((name for name, known in (_STUDIES | _OWN).items() if known is question), None)
