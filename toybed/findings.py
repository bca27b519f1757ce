"""Published findings as contrasts that are measured and judged: agrees, disagrees, undecided.

A contrast names a question, the arms of it that are needed, and what is measured of their records, one number for each
seed. Its rule is written before it is measured. ``benchmarks`` register contrasts by being imported, as they do
questions. Arms are those of the questions, so their runs are in the store where the question was answered.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from toybed import answering, runner, study
from toybed.agents.config import Setting
from toybed.errors import ToybedError
from toybed.llm.published_findings import Finding, Findings, Order, findings
from toybed.seeding import named_generator
from toybed.stats import LEVEL, RESAMPLES, Interval, mean_interval
from toybed.store import Store
from toybed.study import MIN_RUNS, Outcome, Records, Study, above, all_of, below, within

Array = NDArray[np.float64]
Arms = Mapping[str, Records]
Judgement = Literal["agrees", "disagrees", "undecided", "not tested"]
Side = Literal["above", "below", "within"]
JUDGEMENTS: tuple[Judgement, ...] = ("agrees", "disagrees", "undecided", "not tested")
IN_WORDS: Mapping[Outcome, Judgement] = {"supported": "agrees", "refuted": "disagrees", "undecided": "undecided"}
CHANCE = 0.05  # an order that so few shuffled ones match is no accident


@dataclass(frozen=True)
class Part:
    """One number of each run, and where the finding says that it lies.

    Attributes:
        what: is measured, in words.
        measure: of the records of all arms of the contrast, ``[n]``.
        side: "above" or "below" a threshold, or "within" it on both sides of 0.
        at: the threshold.
    """

    what: str
    measure: Callable[[Arms], Array]
    side: Side = "above"
    at: float = 0.0

    @property
    def rule(self) -> str:
        """How it is judged, in words."""
        where = f"within {self.at:g} of 0" if self.side == "within" else f"{self.side} {self.at:g}"
        other = {"above": "below", "below": "above", "within": "outside"}[self.side]
        return f"agrees where the whole interval lies {where}, disagrees where it lies {other}"

    def outcome(self, interval: Interval) -> Outcome:
        """What an interval makes of it."""
        if self.side == "within":
            return within(interval, -self.at, self.at)
        return (above if self.side == "above" else below)(interval, self.at)

    def margin(self, estimate: float) -> float:
        """How far an estimate lies on the claimed side of the threshold, of a band from its nearer edge."""
        if self.side == "within":
            return self.at - abs(estimate)
        return estimate - self.at if self.side == "above" else self.at - estimate

    def judge(self, records: Arms) -> dict[str, Any]:
        """Its row: what, rule, judgement, the interval, and the margin of the estimate, None where unknown."""
        interval = mean_interval(self.measure(records))
        row = {"what": self.what, "rule": self.rule, "judgement": IN_WORDS[self.outcome(interval)]}
        numbers = {**interval._asdict(), "margin": self.margin(interval.estimate)}
        return row | {name: value if np.isfinite(value) else None for name, value in numbers.items()}


def no_arms(size: str) -> Mapping[str, Setting]:
    """The further arms of a contrast that has none."""
    return {}


@dataclass(frozen=True)
class Contrast:
    """How a toy answers a finding: disagrees if one part does, agrees if all do, else undecided.

    Attributes:
        finding: its id.
        question: whose arms, seeds and sizes are taken.
        arms: of the question; each exists at every size.
        parts: what is measured.
        own: further arms, from the size.
        note: in what the toy's contrast is another one than the published.
    """

    finding: str
    question: str
    arms: tuple[str, ...]
    parts: tuple[Part, ...]
    own: Callable[[str], Mapping[str, Setting]] = no_arms
    note: str = ""


@dataclass(frozen=True)
class Ranked:
    """An objective of the published orders, as an arm.

    Attributes:
        question, arm: whose; the arm may be one of ``own``.
        accuracy, entropy: the measures at the end that stand for these.
        own: as of a :class:`Contrast`.
    """

    question: str
    arm: str
    accuracy: str = "reward_test"
    entropy: str = "entropy_train"
    own: Callable[[str], Mapping[str, Setting]] = no_arms


_CONTRASTS: dict[str, Contrast] = {}
_RANKED: dict[str, Ranked] = {}


def register(*contrasts: Contrast) -> None:
    """Add contrasts.

    Raises:
        ToybedError: one is for a finding that has one.
    """
    for contrast in contrasts:
        if contrast.finding in _CONTRASTS:
            raise ToybedError(f"finding {contrast.finding!r} has a contrast already")
        _CONTRASTS[contrast.finding] = contrast


def register_ranked(ranked: Mapping[str, Ranked]) -> None:
    """Add objectives of the published orders, by their name there."""
    _RANKED.update(ranked)


def contrasts() -> dict[str, Contrast]:
    """All contrasts by finding."""
    study.studies()  # imports the benchmarks
    return dict(_CONTRASTS)


def ranked() -> dict[str, Ranked]:
    """The arms that stand for the objectives of the published orders."""
    study.studies()
    return dict(_RANKED)


# -- the runs ----------------------------------------------------------------------------------------------------------
def needed() -> dict[str, Study]:
    """The questions with only those arms that some contrast or order reads, and with the further ones."""
    parts: dict[str, list[tuple[tuple[str, ...], Callable[[str], Mapping[str, Setting]]]]] = {}
    for contrast in contrasts().values():
        parts.setdefault(contrast.question, []).append((contrast.arms, contrast.own))
    for each in ranked().values():
        parts.setdefault(each.question, []).append(((each.arm,), each.own))
    return {name: _only(study.get(name), many) for name, many in parts.items()}


def _only(question: Study, parts: Sequence[tuple[tuple[str, ...], Callable[[str], Mapping[str, Setting]]]]) -> Study:
    names = {arm for arms, _ in parts for arm in arms}
    further = tuple(dict.fromkeys(own for _, own in parts))

    def arms(size: str) -> dict[str, Setting]:
        kept = {arm: setting for arm, setting in question.arms(size).items() if arm in names}
        return kept | {arm: setting for own in further for arm, setting in own(size).items()}

    tuning = question.tuning
    if tuning is not None:
        every = tuning.candidates
        tuning = replace(tuning, candidates=lambda size: {a: c for a, c in every(size).items() if a in names})
    return replace(question, arms=arms, tuning=tuning, keeps=tuple(arm for arm in question.keeps if arm in names))


def make_records(
    size: str,
    store: Store,
    *,
    workers: int,
    cluster: str | None = None,
    progress: runner.Progress,
    watch: runner.Watch | None = None,
) -> tuple[dict[str, Arms], dict[str, int]]:
    """The records of all arms by question, and the number of seeds; what the store lacks is run.

    Raises:
        ToybedError: there is no worker; or the runs could not be made.
    """
    records: dict[str, Arms] = {}
    seeds = {}
    for name, question in needed().items():
        seeds[name] = question.seeds[size]
        answering.make_runs(
            question,
            store,
            size=size,
            seeds=seeds[name],
            device="cpu",
            workers=workers,
            cluster=cluster,
            progress=progress,
            phase=name,
            watch=watch,
        )
        records[name] = answering.load_records(question, size, seeds[name], "cpu", store)
    return records, seeds


class MissingArm(ToybedError):
    """The runs of an arm are missing."""


class Kept(dict[str, Records]):
    """Those arms of a question whose runs are all there; whoever asks for another one is told."""

    def __missing__(self, arm: str) -> Records:
        raise MissingArm(f"the runs of its arm {arm} are missing")


def kept_records(size: str, store: Store) -> tuple[dict[str, Arms], dict[str, int]]:
    """The same of those arms whose runs are all in the store; nothing is run."""
    records: dict[str, Arms] = {}
    seeds = {}
    for name, question in needed().items():
        found = answering.load_records(question, size, question.seeds[size], "cpu", store, partly=True)
        if found:
            records[name], seeds[name] = Kept(found), question.seeds[size]
    return records, seeds


# -- the board ---------------------------------------------------------------------------------------------------------
def board(records: Mapping[str, Arms], seeds: Mapping[str, int], table: Findings | None = None) -> dict[str, Any]:
    """What there is to say: a row for each finding, how many agree, and the orders where all runs are there."""
    table = findings() if table is None else table
    rows = [finding_row(finding, records, seeds) for finding in table.findings]
    counts = Counter(row["judgement"] for row in rows)
    whole = all(each.arm in records.get(each.question, ()) for each in ranked().values())
    quantities = ("accuracy", "entropy") if whole else ()
    return {
        "findings": rows,
        "orders": [order_row(quantity, table.orders, records) for quantity in quantities],
        "tally": {word: counts[word] for word in JUDGEMENTS},
    }


def finding_row(finding: Finding, records: Mapping[str, Arms], seeds: Mapping[str, int]) -> dict[str, Any]:
    """A finding with what the toy gives."""
    row = asdict(finding)
    if finding.id not in contrasts():
        return row | {"judgement": "not tested", "parts": [], "note": "no contrast was written for it"}
    contrast = contrasts()[finding.id]
    if contrast.question not in records:
        return row | {"judgement": "not tested", "parts": [], "note": f"the runs of {contrast.question} are missing"}
    arms = records[contrast.question]
    try:
        _ = [arms[arm] for arm in contrast.arms]
        parts = [part.judge(arms) for part in contrast.parts]
    except MissingArm as error:
        return row | {"judgement": "not tested", "parts": [], "note": str(error)}
    back = {word: outcome for outcome, word in IN_WORDS.items()}
    judgement = IN_WORDS[all_of([back[part["judgement"]] for part in parts])]
    return row | {
        "judgement": judgement,
        "parts": parts,
        "question": contrast.question,
        "seeds": seeds[contrast.question],
        "note": contrast.note,
    }


# -- orders ------------------------------------------------------------------------------------------------------------
def order_row(quantity: str, orders: Sequence[Order], records: Mapping[str, Arms]) -> dict[str, Any]:
    """Kendall's tau of the published orders of one quantity with the toy's.

    Pairs are those within a publication's table; concordant less discordant ones, over all. The interval is a bootstrap
    over seeds, p the share of all ways to shuffle the toy's objectives (those that are ranked together) with a tau as
    large.
    """
    own = [order for order in orders if order.quantity == quantity]
    groups: dict[tuple[str, ...], list[Order]] = {}
    for order in own:
        groups.setdefault(order.objectives, []).append(order)
    values = {objectives: toy_values(objectives, quantity, records) for objectives in groups}
    pairs = sum(len(order.values) * (len(order.values) - 1) // 2 for order in own)
    n = min(each.shape[1] for each in values.values())
    row = {"quantity": quantity, "n": n, "pairs": pairs, "objectives": len({name for key in groups for name in key})}
    row["rule"] = (
        f"agrees where less than {CHANCE:g} of all shuffled orders have a tau as large, disagrees where less than "
        f"{CHANCE:g} have one as small"
    )
    if n == 0:
        return row | {"judgement": "undecided", "tau": None, "tables": []}
    tau = sum(_score(groups[key], values[key].mean(1)) for key in groups) / pairs
    low, high = _bootstrap(groups, values, pairs)
    p, p_reverse = _permutation(groups, values, tau, pairs)
    tables = [
        {**asdict(order), "toy": values[order.objectives].mean(1).tolist(), "tau": _tau(order, values)} for order in own
    ]
    found = {"tau": tau, "low": low, "high": high, "p": p, "p_reverse": p_reverse, "tables": tables}
    return row | {"judgement": judge_order(p, p_reverse, n), **found}


def judge_order(p: float, p_reverse: float, n: int) -> Judgement:
    """Agrees, disagrees or undecided, from the shares of shuffled orders that are as extreme on either side."""
    if n < MIN_RUNS:
        return "undecided"
    return "agrees" if p < CHANCE else "disagrees" if p_reverse < CHANCE else "undecided"


def toy_values(objectives: Sequence[str], quantity: str, records: Mapping[str, Arms]) -> Array:
    """What each objective ends with, ``[objectives, n]``; only seeds of which no run diverged."""
    arms = [ranked()[name] for name in objectives]
    ends = np.stack([records[arm.question][arm.arm].at(getattr(arm, quantity), -1) for arm in arms])
    return ends[:, np.isfinite(ends).all(0)]


def _signs(values: Sequence[float] | Array) -> Array:
    """The sign of each pair's difference, ``[pairs]``."""
    found = np.asarray(values, dtype=float)
    first, second = np.triu_indices(len(found), 1)
    return np.sign(found[first] - found[second])


def _score(orders: Iterable[Order], toy: Array) -> float:
    """Concordant less discordant pairs."""
    return float(sum(_signs(order.values) @ _signs(toy) for order in orders))


def _tau(order: Order, values: Mapping[tuple[str, ...], Array]) -> float:
    toy = values[order.objectives].mean(1)
    return _score([order], toy) / len(_signs(toy))


def _bootstrap(
    groups: Mapping[tuple[str, ...], list[Order]], values: Mapping[tuple[str, ...], Array], pairs: int
) -> tuple[float, float]:
    """Percentiles of tau over resampled seeds."""
    random = named_generator(0, "orders")
    total = np.zeros(RESAMPLES)
    for key, orders in groups.items():
        n = values[key].shape[1]
        for i, drawn in enumerate(random.integers(n, size=(RESAMPLES, n))):
            total[i] += _score(orders, values[key][:, drawn].mean(1))
    low, high = np.quantile(total / pairs, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _permutation(
    groups: Mapping[tuple[str, ...], list[Order]], values: Mapping[tuple[str, ...], Array], tau: float, pairs: int
) -> tuple[float, float]:
    """Shares of all shuffles of the toy's objectives with a tau at least, and at most, as large; exact."""
    total = np.zeros(1)
    for key, orders in groups.items():
        means = values[key].mean(1)
        scores = np.array([_score(orders, means[list(order)]) for order in itertools.permutations(range(len(key)))])
        total = (total[:, None] + scores).ravel()
    slack = 1e-9
    return float((total >= tau * pairs - slack).mean()), float((total <= tau * pairs + slack).mean())
