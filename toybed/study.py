"""A question is a record: what is asked, the claim that can be false, the sweep, the measure, and a rule written first.

``benchmarks`` register their studies by being imported; nothing else keeps a list.
"""

from __future__ import annotations

import ast
import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

import toybed
from toybed.agents.config import Setting
from toybed.errors import ToybedError, unknown
from toybed.stats import Interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Outcome = Literal["supported", "refuted", "undecided"]
SIZES = ("quick", "standard", "full")

_DETERMINING = ("objectives", "measures", "envs", "agents", "seeding.py", "streams.py")
"""The code that determines a run's numbers, within the package."""


@cache
def code_version() -> str:
    """A hash of the code that determines a run: comments, docstrings and layout do not change it."""
    root = Path(toybed.__file__).parent
    digest = hashlib.sha256()
    for part in _DETERMINING:
        path = root / part
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(file.relative_to(root).as_posix().encode())
            digest.update(_without_docstrings(file.read_text(encoding="utf-8")).encode())
    return digest.hexdigest()[:16]


def _without_docstrings(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [x for x in body if not _is_text(x)]  # type: ignore[attr-defined]
    return ast.dump(tree)


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
        """The name of the base policy that it starts from."""
        return _hash("base", self.setting.base_config(), self.seed, self.device)


def _hash(kind: str, config: Mapping[str, Any], seed: int, device: str) -> str:
    text = json.dumps([kind, config, seed, device, code_version()], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


@dataclass(frozen=True)
class Records:
    """The curves of all runs of one arm, for judging: arrays ``[n, points]``, runs in the order of their seeds.

    Attributes:
        steps: measure name to the updates at which it was measured, ``[points]``.
        curves: measure name to values ``[n, points]``; a diverged run's are NaN from its divergence on.
        diverged: how many of the n runs diverged.
    """

    steps: Mapping[str, NDArray[np.int64]]
    curves: Mapping[str, NDArray[np.float64]]
    diverged: int

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        if name not in self.curves:
            raise unknown("measure", name, self.curves)
        return self.curves[name]

    @property
    def sound(self) -> NDArray[np.bool_]:
        """Which runs did not diverge, ``[n]``."""
        return np.asarray(np.isfinite(self["reward_train"]).all(1))


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

    def runs(self, size: str, seeds: int, device: str) -> dict[str, list[Run]]:
        """All runs, by arm; the arms share their seeds, so that they can be paired."""
        if size not in SIZES:
            raise unknown("size", size, SIZES)
        return {arm: [Run(setting, s, device) for s in range(seeds)] for arm, setting in self.arms(size).items()}


_STUDIES: dict[str, Study] = {}


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
    return dict(_STUDIES)


def get(name: str) -> Study:
    """The named question.

    Raises:
        ToybedError: there is none; the message has the nearest one.
    """
    known = studies()
    if name not in known:
        raise unknown("question", name, known, "toybed list questions shows all")
    return known[name]
