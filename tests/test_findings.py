"""The scoreboard: its table, rules on known values, what contrasts measure, orders, and what is printed and drawn."""

from __future__ import annotations

import dataclasses
import itertools
import json
import signal
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from judging import diverge
from scipy.stats import kendalltau

from toybed import answering, cli, findings, runner, study
from toybed.agents.config import Setting, Spec
from toybed.benchmarks import (
    findings_agents,
    findings_breadth,
    findings_law,
    findings_remedies,
    findings_weights,
    law_constants_sweep,
    sparse_updates_sweep,
    two_phases,
)
from toybed.benchmarks.trace_collapse_sweep import arms as trace_arms
from toybed.benchmarks.vector_rewards_measures import last
from toybed.benchmarks.vector_rewards_sweep import arms as vector_arms
from toybed.commands import scoreboard
from toybed.errors import ToybedError
from toybed.findings import Contrast, Part, Ranked
from toybed.llm import published_findings
from toybed.llm.published_findings import Finding, Findings, Order
from toybed.plotting import svg
from toybed.progress import Bar
from toybed.store import Store
from toybed.study import SIZES, Records

SHARED = Path(__file__).resolve().parent.parent.parent / "shared" / "findings.toml"
SEEDS = 5
SPREAD = np.array([-0.02, -0.01, 0.0, 0.01, 0.02])


@pytest.fixture(autouse=True)
def _apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is written by accident, and the test run keeps its own signals."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def records(**curves: Any) -> Records:
    """Runs with these curves ``[points]``, alike but for a small spread; measured every 10 updates."""
    found = {name: np.asarray(curve, float)[None] + 0 * SPREAD[:, None] for name, curve in curves.items()}
    found.setdefault("reward_train", np.zeros((SEEDS, 2)))
    return Records({name: 10 * np.arange(v.shape[1]) for name, v in found.items()}, found)


# -- the table ---------------------------------------------------------------------------------------------------------
@pytest.mark.skipif(not SHARED.exists(), reason="the shared findings lie beside the checkout, and not here")
def test_every_shared_finding_is_there_word_for_word() -> None:
    shared = tomllib.loads(SHARED.read_text(encoding="utf-8"))["finding"]
    own = {finding.id: dataclasses.asdict(finding) for finding in published_findings.findings().findings}
    assert [row["id"] for row in shared] == list(own)
    for row in shared:
        assert {name: own[row["id"]][name] for name in row} == row


def row(**other: Any) -> str:
    fields = dict.fromkeys((f.name for f in dataclasses.fields(Finding)), "x") | {"claim": 1, "seen": "paper"} | other
    return "[[finding]]\n" + "\n".join(f"{name} = {json.dumps(value)}" for name, value in fields.items()) + "\n"


def order_text(**other: Any) -> str:
    fields = {"quantity": "accuracy", "of": "x", "objectives": ["a", "b"], "values": [1.0, 2.0]}
    fields |= {"source": "arXiv:2505.22617", "place": "x", "how": "full text"} | other
    return "[[order]]\n" + "\n".join(f"{name} = {json.dumps(value)}" for name, value in fields.items()) + "\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (row(seen="papr"), "did you mean 'paper'"),
        (row() + row(), "stands there 2 times"),
        (row(claim="1"), "a whole number"),
        (row(statement=""), "statement is empty"),
        (order_text(quantity="reward"), "unknown quantity 'reward'"),
        (order_text(values=[1.0]), "2 objectives and 1 values"),
        (order_text(how="seen"), "unknown way of seeing"),
        (order_text(source="arxiv 1"), "allowed: arXiv:NNNN.NNNNN"),
    ],
)
def test_a_wrong_row_is_named(text: str, words: str) -> None:
    with pytest.raises(ToybedError, match=words):
        published_findings.read(text, "test.toml")


def test_an_explanation_may_be_empty() -> None:
    assert published_findings.read(row(explanation=""), "test.toml").findings[0].explanation == ""


# -- the contrasts -----------------------------------------------------------------------------------------------------
CONTRASTS = findings.contrasts()


def test_each_finding_has_a_contrast_and_each_contrast_a_finding() -> None:
    assert set(CONTRASTS) == {finding.id for finding in published_findings.findings().findings}


def test_each_finding_is_tested_in_the_world_that_it_names() -> None:
    for finding in published_findings.findings().findings:
        question = findings.needed()[CONTRASTS[finding.id].question]
        arms = [*question.arms("standard").values()]
        if question.tuning is not None:
            arms += [s for options in question.tuning.candidates("standard").values() for s in options.values()]
        assert {setting.world.name for setting in arms} == {finding.world}, finding.id


@pytest.mark.parametrize("size", SIZES)
def test_every_arm_that_is_read_exists(size: str) -> None:
    needed = findings.needed()
    for contrast in CONTRASTS.values():
        question = needed[contrast.question]
        there = set(question.arms(size)) | set(question.tuning.candidates(size) if question.tuning else ())
        assert there >= {*contrast.arms, *contrast.own(size)}, contrast.finding
    for ranked in findings.ranked().values():
        assert ranked.arm in needed[ranked.question].arms(size)


def test_every_ranked_objective_is_an_arm() -> None:
    names = {name for order in published_findings.findings().orders for name in order.objectives}
    assert names == set(findings.ranked())


def test_further_arms_are_the_same_runs_as_those_of_the_questions() -> None:
    """Where a question has such an arm at the standard size, its run is found in the store."""
    remedies = findings_remedies.own("standard")
    theirs = law_constants_sweep.arms("standard")
    same = {"trl": "trl", "trl_high": "trl_high", "bonus_03": "bonus_03", "bonus_1": "bonus_1"}
    pairs = [(remedies[mine], theirs[other]) for mine, other in same.items()]
    pairs += [(findings_law.own("standard")["reinforce_pp"], theirs["reinforce_pp"])]
    plans = two_phases.arms("standard")
    pairs += [(s, plans[arm]) for arm, s in findings_agents.own_plans("standard").items() if arm in plans]
    pairs += [(s, trace_arms("standard")[arm]) for arm, s in findings_agents.own_traces("standard").items()]
    pairs += [(s, vector_arms("standard")[arm]) for arm, s in findings_breadth.own_vectors("standard").items()]
    assert len(pairs) == 11
    for mine, other in pairs:
        assert mine.config() == other.config()


def test_a_second_contrast_for_a_finding_is_refused() -> None:
    with pytest.raises(ToybedError, match="has a contrast already"):
        findings.register(CONTRASTS["law-predicts"])


def test_only_the_weights_that_are_compared_are_kept() -> None:
    assert set(findings.needed()["sparse_updates"].keeps) == {"grpo", "again", "pure", "sft"}
    assert set(sparse_updates_sweep.KEPT) > {"grpo", "again", "pure", "sft"}


# -- rules -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("side", "at", "center", "judgement"),
    [
        ("above", 0.0, 1.0, "agrees"),
        ("above", 0.0, -1.0, "disagrees"),
        ("above", 0.0, 0.001, "undecided"),
        ("above", 2.0, 1.0, "disagrees"),
        ("below", 0.0, -1.0, "agrees"),
        ("below", 0.0, 1.0, "disagrees"),
        ("below", 0.0, 0.001, "undecided"),
        ("within", 0.1, 0.0, "agrees"),
        ("within", 0.1, 0.09, "undecided"),
        ("within", 0.1, -0.5, "disagrees"),
        ("within", 0.01, 0.0, "undecided"),
    ],
)
def test_a_part_is_judged_by_its_interval(side: Any, at: float, center: float, judgement: str) -> None:
    """The half-width is t(0.975, 4) * 0.0158 / sqrt(5) = 2.776 * 0.00707 = 0.0196."""
    part = Part("x", lambda _: center + SPREAD, side, at)
    found = part.judge({})
    assert found["judgement"] == judgement
    assert found["high"] - found["low"] == pytest.approx(2 * 0.0196, rel=0.01)
    # A positive margin lies on the published side.
    if judgement != "undecided":
        assert (found["margin"] > 0) == (judgement == "agrees")


@pytest.mark.parametrize("values", [[1.0, 1.1], [np.nan] * 5, [1.0, np.nan, np.nan, np.nan, 1.2]])
def test_fewer_than_three_runs_decide_nothing(values: list[float]) -> None:
    assert Part("x", lambda _: np.array(values)).judge({})["judgement"] == "undecided"


def board_of(*parts: Part, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    contrast = Contrast("x", "entropy_law", (), parts)
    monkeypatch.setattr(findings, "_CONTRASTS", {"x": contrast})
    table = published_findings.read(row(id="x"), "test.toml")
    return findings.finding_row(table.findings[0], {"entropy_law": {}}, {"entropy_law": SEEDS})


@pytest.mark.parametrize(
    ("centers", "judgement"),
    [
        ((1, 1), "agrees"),
        ((1, -1), "disagrees"),
        ((1, 0), "undecided"),
        ((0, -1), "disagrees"),
    ],
)
def test_a_finding_needs_all_its_parts(centers: Any, judgement: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [Part("x", lambda _, c=c: c + SPREAD) for c in centers]
    assert board_of(*parts, monkeypatch=monkeypatch)["judgement"] == judgement


def test_a_finding_without_a_contrast_is_counted_openly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(findings, "_CONTRASTS", {})
    table = published_findings.read(row(id="x"), "test.toml")
    monkeypatch.setattr(findings, "order_row", lambda *_: {})
    board = findings.board({}, {}, table)
    assert board["tally"] == {"agrees": 0, "disagrees": 0, "undecided": 0, "not tested": 1}
    assert "no contrast" in board["findings"][0]["note"]


# -- measures ----------------------------------------------------------------------------------------------------------
def test_what_is_spent_early_is_read_between_points() -> None:
    """Over 120 updates, a twelfth is 10: measured there is 0.7 of a fall from 1 to 0."""
    own = records(h=[1.0, 0.3, *[0.0] * 11])
    assert findings_law.spent_early(own, "h") == pytest.approx(0.7 - 1 / 12)
    still = findings_law.spent_early(records(h=[1.0, 0.5, 1.0]), "h")
    assert np.isnan(still).all()
    assert np.isnan(findings_law.spent_early(diverge(records(h=[1.0, 0.5, 0.0]), 2, at=-1), "h")).sum() == 1


def test_the_lowest_third() -> None:
    own = records(sampled_covariance=[3.0, 3.0, 1.0, 0.0, 2.0, 2.0])
    assert findings_law.lowest_third(own) == pytest.approx(0.5)


def test_distance_from_a_target_over_the_second_half() -> None:
    own = records(entropy_train=[2.0, 9.0, 1.5, 0.5])
    assert findings_remedies.off_target(own, 0.5) == pytest.approx(0.5)


@pytest.mark.parametrize(("late", "held"), [(1.9, True), (1.7, False)])
def test_a_gain_counts_where_entropy_was_held(late: float, held: bool) -> None:
    own = records(entropy_train=[2.0, 0.1, late, late], reward_test=[0.2, 0.9, 0.3, 0.6])
    found = findings_remedies.gain_while_held(own)
    assert (found == pytest.approx(0.4)) if held else np.isnan(found).all()


def test_the_best_is_chosen_on_the_other_seeds() -> None:
    a = Records({}, {"reward_train": np.zeros((3, 2)), "x": np.array([[0, 1.0], [0, 5.0], [0, 5.0]])})
    b = Records({}, {"reward_train": np.zeros((3, 2)), "x": np.array([[0, 4.0], [0, 4.0], [0, 4.0]])})
    # Seed 0 has a from the others (5 against 4); seeds 1 and 2 have b (3 against 4).
    assert findings_remedies.best_of({"a": a, "b": b}, ["a", "b"], "x").tolist() == [1.0, 4.0, 4.0]


def test_coverage_is_compared_when_rl_first_has_sfts_success() -> None:
    name = findings_breadth.RIGHT_TRAIN
    rl = records(reward_train=[0.1, 0.3, 0.4], **{name: [9.0, 5.0, 1.0]})
    sft = records(reward_train=[0.2, 0.2], **{name: [14.0, 14.0]})
    assert findings_breadth.coverage_ratio({"sft_on": sft, "rl_way": rl}) == pytest.approx(2.0)
    better = records(reward_train=[0.5, 0.5], **{name: [14.0, 14.0]})
    assert np.isnan(findings_breadth.coverage_ratio({"sft_on": better, "rl_way": rl})).all()


def test_more_unchanged_is_less_changed() -> None:
    arms = {"a": records(changed_bf16=[0, 0.3]), "b": records(changed_bf16=[0, 0.9], changed_fp32=[0, 1.0])}
    assert findings_weights.more_unchanged(arms, "a", "b") == pytest.approx(0.6)
    assert findings_weights.more_unchanged(arms, "a", "b", "changed_bf16", "changed_fp32") == pytest.approx(0.7)


# -- orders ------------------------------------------------------------------------------------------------------------
def ordered(*values: list[float], names: str = "abcd") -> tuple[Order, ...]:
    return tuple(
        Order("accuracy", f"table {i}", tuple(names[: len(v)]), tuple(v), "x", "x", "full text")
        for i, v in enumerate(values)
    )


def toys(monkeypatch: pytest.MonkeyPatch, spread: float = 0.0, n: int = 5, **means: float) -> dict[str, Any]:
    """Arms of one question that end with these means."""
    monkeypatch.setattr(findings, "_RANKED", {name: Ranked("q", name) for name in means})
    random = np.random.default_rng(0)
    ends = {name: mean + spread * random.standard_normal(n) for name, mean in means.items()}
    return {
        "q": {
            name: Records({}, {"reward_train": np.zeros((n, 2)), "reward_test": np.stack([end, end], 1)})
            for name, end in ends.items()
        }
    }


def test_the_same_order_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    found = findings.order_row("accuracy", ordered([1, 2, 3, 4]), toys(monkeypatch, a=0.1, b=0.2, c=0.3, d=0.4))
    assert (found["judgement"], found["tau"], found["low"], found["high"]) == ("agrees", 1.0, 1.0, 1.0)
    assert found["p"] == pytest.approx(1 / 24)
    assert found["p_reverse"] == 1.0
    assert (found["pairs"], found["objectives"], found["n"]) == (6, 4, 5)


def test_the_opposite_order_disagrees(monkeypatch: pytest.MonkeyPatch) -> None:
    found = findings.order_row("accuracy", ordered([4, 3, 2, 1]), toys(monkeypatch, a=0.1, b=0.2, c=0.3, d=0.4))
    assert (found["judgement"], found["tau"]) == ("disagrees", -1.0)


def test_three_objectives_can_decide_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """One order in six is the published one: that is more than one in twenty."""
    found = findings.order_row("accuracy", ordered([1, 2, 3]), toys(monkeypatch, a=0.1, b=0.2, c=0.3))
    assert (found["judgement"], found["tau"], found["p"]) == ("undecided", 1.0, pytest.approx(1 / 6))


@pytest.mark.parametrize("toy", [*itertools.permutations([0.1, 0.2, 0.3, 0.4])])
def test_tau_against_scipy(toy: tuple[float, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    published = [1.0, 3.0, 2.0, 4.0]
    arms = toys(monkeypatch, **dict(zip("abcd", toy, strict=True)))
    found = findings.order_row("accuracy", ordered(published), arms)
    assert found["tau"] == pytest.approx(kendalltau(published, toy).statistic)
    assert found["tables"][0]["tau"] == pytest.approx(found["tau"])


def test_tables_of_the_same_objectives_are_shuffled_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice the same table is no more evidence than once."""
    arms = toys(monkeypatch, a=0.1, b=0.2, c=0.3)
    once, twice = (findings.order_row("accuracy", ordered(*[[1, 2, 3]] * k), arms) for k in (1, 2))
    assert once["p"] == twice["p"] == pytest.approx(1 / 6)
    assert (once["pairs"], twice["pairs"]) == (3, 6)


def test_noise_between_seeds_widens_the_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    arms = toys(monkeypatch, spread=1.0, a=0.1, b=0.2, c=0.3, d=0.4)
    found = findings.order_row("accuracy", ordered([1, 2, 3, 4]), arms)
    assert found["low"] < found["high"]
    assert found["low"] <= found["tau"] <= found["high"]
    assert found == findings.order_row("accuracy", ordered([1, 2, 3, 4]), arms)  # the same every time


@pytest.mark.parametrize("n", [1, 2])
def test_an_order_of_too_few_runs_is_undecided(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    arms = toys(monkeypatch, n=n, a=0.1, b=0.2, c=0.3, d=0.4)
    assert findings.order_row("accuracy", ordered([1, 2, 3, 4]), arms)["judgement"] == "undecided"


def test_an_order_without_sound_runs_is_undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    arms = toys(monkeypatch, a=0.1, b=0.2)
    nothing = np.full((5, 2), np.nan)
    arms["q"]["a"] = Records({}, {"reward_train": nothing, "reward_test": nothing})
    found = findings.order_row("accuracy", ordered([1, 2]), arms)
    assert (found["judgement"], found["tau"], found["n"]) == ("undecided", None, 0)
    assert "undecided" in scoreboard.order_text(found).plain


# -- what is printed and drawn -----------------------------------------------------------------------------------------
def whole(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A board with every judgement, a part far off, one without a number and one without a width."""
    parts = {
        "agrees": (Part("up", lambda _: 1 + SPREAD), Part("far", lambda _: 1e4 + SPREAD)),
        "disagrees": (Part("down", lambda _: -1 + SPREAD),),
        "undecided": (Part("no number", lambda _: np.full(5, np.nan)), Part("no width", lambda _: np.zeros(5))),
    }
    monkeypatch.setattr(
        findings, "_CONTRASTS", {name: Contrast(name, "entropy_law", (), own) for name, own in parts.items()}
    )
    text = "".join(row(id=name, claim=i, explanation=f"because {i}") for i, name in enumerate([*parts, "missing"], 1))
    table = dataclasses.replace(published_findings.read(text, "test.toml"), orders=ordered([1, 2, 3, 4]))
    arms = toys(monkeypatch, a=0.1, b=0.2, c=0.3, d=0.4) | {"entropy_law": {}}
    rows = [findings.finding_row(finding, arms, {"entropy_law": 5}) for finding in table.findings]
    board = {"findings": rows, "orders": [findings.order_row("accuracy", table.orders, arms)]}
    board["tally"] = dict.fromkeys(findings.JUDGEMENTS, 1)
    return board | {"size": "quick", "seconds": 1.0, "store": "here.sqlite"}


def test_the_table_tells_all(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    scoreboard.print_board(whole(monkeypatch))
    out = " ".join(capsys.readouterr().out.split())
    for words in ("agrees", "disagrees", "undecided", "not tested", "because 1", "because 2", "here.sqlite"):
        assert words in out
    assert "Of 4 findings: 1 agrees, 1 disagrees, 1 undecided, 1 not tested." in out
    assert "Kendall's tau" in out


def test_the_figure_can_be_drawn_with_anything_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    board = whole(monkeypatch)
    assert svg(scoreboard.figure(board)).startswith("<svg")
    assert svg(scoreboard.figure(board | {"findings": board["findings"][-1:]})).startswith("<svg")


@pytest.mark.parametrize(
    ("part", "place"),
    [
        ({"estimate": 3.0, "low": 2.0, "high": 4.0, "margin": 3.0}, (3.0, 2.0, 4.0)),
        ({"estimate": -3.0, "low": -3.5, "high": -2.5, "margin": 2.0}, (4.0, 3.0, 5.0)),
        ({"estimate": 0.0, "low": 0.0, "high": 0.0, "margin": 1.0}, None),
        ({"estimate": None, "low": None, "high": None, "margin": None}, None),
    ],
)
def test_where_a_part_stands(part: dict[str, Any], place: Any) -> None:
    assert scoreboard.standing(part) == place


def test_a_figure_that_cannot_be_written_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file" / "x.png", tmp_path / "x.nothing"):
        with pytest.raises(ToybedError, match="choose another with --out"):
            scoreboard.write(whole(monkeypatch), out)


# -- a tiny real run ---------------------------------------------------------------------------------------------------
def tiny(setting: Setting, updates: int = 3) -> Setting:
    """The same with few updates on few prompts, from a base of two steps."""
    start = setting.start
    if start.after is not None:
        start = dataclasses.replace(start, after=tiny(start.after))
    supervised = setting.supervised
    if supervised is not None:
        before = supervised.before
        shorter = None if before is None else dataclasses.replace(before, steps=2, demonstrations=8)
        supervised = dataclasses.replace(supervised, steps=2, demonstrations=8, before=shorter)
    learning = setting.learning
    learning = dataclasses.replace(
        learning, updates=min(learning.updates, updates), measure_every=1, prompts=learning.minibatches
    )
    return dataclasses.replace(setting, start=start, supervised=supervised, learning=learning)


class Silent:
    """A progress that nobody hears of."""

    def begin(self, *_: Any) -> None: ...

    def advance(self, *_: Any) -> None: ...

    def finish(self, *_: Any) -> None: ...


SMALL = ("access_or_ability", "entropy_law", "entropy_mechanism", "search_squeeze", "sparse_updates", "two_phases")
"""Questions of which the board makes runs of its own, or reads measures that no judge of the question reads. Of the
others it reads what their own tests hold against tiny runs."""


@pytest.mark.parametrize("name", SMALL)
def test_a_tiny_real_run_records_every_measure_that_is_read(name: str, tmp_path: Path) -> None:
    question = findings.needed()[name]
    # The law needs three points in its early window.
    arms = {arm: tiny(s, 20 if arm == "grpo" else 3) for arm, s in question.arms("quick").items()}
    small = dataclasses.replace(question, arms=lambda _: arms, seeds=dict.fromkeys(SIZES, 1))
    with Store(tmp_path / "tiny.sqlite") as store:
        answering.make_runs(small, store, size="quick", seeds=1, device="cpu", workers=1, progress=Silent())
        made = answering.load_records(small, "quick", 1, "cpu", store)
    for contrast in CONTRASTS.values():
        for part in contrast.parts if contrast.question == name else ():
            assert part.measure(made).shape == (1,), contrast.finding
    for each in findings.ranked().values():
        if each.question == name:
            assert made[each.arm].at(each.accuracy, -1).shape == (1,)


def test_the_best_answers_are_ranked_by_what_the_question_reads() -> None:
    arms = {"grpo": records(**{findings_breadth.ANSWERS: [0.1, 0.7]})}
    assert last(arms, "grpo", "best@24") == pytest.approx(0.7)


def test_the_command_runs_what_is_missing_and_then_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    question = study.get("entropy_mechanism")
    few = dataclasses.replace(
        question,
        arms=lambda size: {"table_grpo_1": tiny(question.arms(size)["table_grpo_1"])},
        seeds=dict.fromkeys(SIZES, 3),
    )
    part = Part("reward, end less start", lambda r: r["table_grpo_1"].at("reward_train", -1))
    monkeypatch.setattr(study, "_STUDIES", {**study.studies(), "entropy_mechanism": few})
    contrast = Contrast("x", "entropy_mechanism", ("table_grpo_1",), (part,))
    monkeypatch.setattr(findings, "_CONTRASTS", {"x": contrast})
    names = ("table_grpo_1", "again")
    monkeypatch.setattr(
        findings, "_RANKED", {n: Ranked("entropy_mechanism", "table_grpo_1", "reward_train") for n in names}
    )
    orders = tuple(Order(q, "x", names, (1.0, 2.0), "x", "x", "full text") for q in ("accuracy", "entropy"))
    table = Findings(published_findings.read(row(id="x"), "test.toml").findings, orders)
    monkeypatch.setattr(findings, "findings", lambda: table)
    assert cli.main(["findings", "--quick", "--workers", "1", "--json"]) == 0
    board = json.loads(capsys.readouterr().out)
    assert board["findings"][0]["parts"][0]["n"] == 3
    assert board["findings"][0]["seeds"] == 3
    assert (board["size"], board["store"]) == ("quick", "toybed.sqlite")
    monkeypatch.setattr("toybed.runner._train", None)  # all runs are there
    assert cli.main(["findings", "--quick", "--workers", "1"]) == 0
    out = capsys.readouterr().out
    assert "Of 1 findings" in out
    assert Path("findings.png").stat().st_size > 1000


# -- in the report -----------------------------------------------------------------------------------------------------
def test_a_report_has_the_findings_whose_runs_are_there_and_none_without(tmp_path, monkeypatch) -> None:
    """Of one question; the others' findings are said to wait."""
    with Store(tmp_path / "s.sqlite") as store:
        assert scoreboard.section(store, []) is None
        monkeypatch.setattr(findings, "kept_records", lambda size, _: kept if size == "quick" else ({}, {}))
        contrast = next(c for c in CONTRASTS.values() if c.question == "search_squeeze")
        monkeypatch.setattr(
            findings, "finding_row", lambda finding, records, seeds: told(finding, contrast, records, seeds)
        )
        made = {"search_squeeze": {}}
        kept = (made, {"search_squeeze": 3})
        section = scoreboard.section(store, [])
    assert section is not None
    assert "37 wait for runs" in section.text
    [table] = section.tables
    assert [row[0] for row in table.rows] == ["agrees"]
    assert section.figure is not None


def told(finding, contrast, records, seeds):
    """As a row is made, of one contrast whose measure is known."""
    row = vars(finding) | {"note": "", "parts": [], "judgement": "not tested"}
    if finding.id != contrast.finding:
        return row
    part = {"what": "a difference", "rule": "above 0", "judgement": "agrees", "n": 3}
    part |= {"estimate": 1.0, "low": 0.5, "high": 1.5, "margin": 1.0}
    return row | {"judgement": "agrees", "parts": [part], "question": contrast.question, "seeds": 3}


def test_findings_whose_runs_are_missing_are_not_judged() -> None:
    board = findings.board({}, {})
    assert board["tally"]["not tested"] == len(board["findings"])
    assert all(row["note"].endswith("are missing") for row in board["findings"])
    assert board["orders"] == []


def test_only_the_findings_that_need_a_missing_arm_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    question = study.get("entropy_mechanism")
    setting = tiny(question.arms("quick")["table_grpo_1"])
    names = ("a", "b", "own")
    arms = {name: dataclasses.replace(setting, objective=Spec(o)) for name, o in zip(names, ORDER, strict=True)}
    asked = dataclasses.replace(
        question, arms=lambda size: arms if size == "quick" else {}, seeds=dict.fromkeys(SIZES, 3)
    )
    monkeypatch.setattr(study, "_STUDIES", {**study.studies(), "entropy_mechanism": asked})
    read = {"one": ("a",), "other": ("b",), "both": ("a", "b"), "further": ("own",), "unread": ()}
    contrasts = {
        name: Contrast(name, "entropy_mechanism", tuple({*needs} - {"own"}), (_reads(needs),), own=_further(arms))
        for name, needs in read.items()
    }
    monkeypatch.setattr(findings, "_CONTRASTS", contrasts)
    monkeypatch.setattr(findings, "_RANKED", {name: Ranked("entropy_mechanism", "b") for name in ("x", "y")})
    table = published_findings.read("".join(row(id=name) for name in read), "test.toml")
    monkeypatch.setattr(findings, "findings", lambda: table)
    with Store(tmp_path / "s.sqlite") as store:
        runs = asked.runs("quick", 3, "cpu")
        runner.run_sweep([*runs["a"], *runs["b"][:2]], store, progress=Bar(quiet=True))
        board = findings.board(*findings.kept_records("quick", store))
        section = scoreboard.section(store, [])
    judged = {row["id"]: bool(row["parts"]) for row in board["findings"]}
    assert judged == {"one": True, "other": False, "both": False, "further": False, "unread": True}
    notes = {row["id"]: row["note"] for row in board["findings"]}
    assert notes["both"] == "the runs of its arm b are missing"
    assert notes["further"] == "the runs of its arm own are missing"
    assert board["orders"] == []
    assert section is not None
    assert "size quick" in section.text and "3 wait for runs" in section.text


ORDER = ("grpo", "rloo", "dr_grpo")


def _further(arms: dict[str, Setting]) -> Any:
    return lambda size: {"own": arms["own"]}


def _reads(arms: tuple[str, ...]) -> Part:
    return Part("reward", lambda r: sum((r[arm].at("reward_train", -1) for arm in arms), np.ones(3)))
