"""Claims and published figures: the tables that come with the package, what readers refuse, and what is printed."""

from __future__ import annotations

import json
import re
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from toybed import cli, study
from toybed.errors import ToybedError
from toybed.llm import claims as of_claims
from toybed.llm import published as of_published
from toybed.llm.claims import STANCES, claims
from toybed.llm.published import HOW, Published, published
from toybed.store import Store

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is written by accident, and the test run keeps its own signals."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def printed(capsys: Capture, *arguments: str) -> str:
    """What a command prints, line breaks and runs of blanks as one blank."""
    assert cli.main(arguments) == 0
    return " ".join(capsys.readouterr().out.split())


def printed_json(capsys: Capture, *arguments: str) -> Any:
    assert cli.main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def numbers(value: float | int | str) -> list[float]:
    return [float(part) for part in str(value).split(" / ")]


# -- the tables that come with the package -----------------------------------------------------------------------------
def test_every_question_answers_a_claim_or_is_beside_them() -> None:
    assert claims().questions() == set(study.studies())


def test_there_are_eleven_claims_each_with_a_publication() -> None:
    assert [claim.number for claim in claims().claims] == list(range(1, 12))
    for claim in claims().claims:
        assert claims().about(claim)["supports"], claim.number


def test_every_figure_bears_on_a_claim_and_comes_from_a_publication_on_the_list() -> None:
    sources = {work.source for work in claims().publications}
    assert {figure.source for figure in published()} <= sources
    assert {figure.claim for figure in published()} == {claim.number for claim in claims().claims}


def test_a_figure_was_seen_and_stands_there_once() -> None:
    assert all(figure.seen != "none" for figure in published())  # what was not seen is no figure
    names = Counter((f.claim, f.quantity, f.model, f.task, f.source, f.place) for f in published())
    assert [name for name, times in names.items() if times > 1] == []


def test_figures_say_how_they_were_seen_in_one_place_only() -> None:
    words = re.compile(r"digitis|not found|secondary", re.IGNORECASE)
    texts = [text for f in published() for text in (f.quantity, str(f.value), f.unit, f.model, f.task)]
    assert [text for text in texts if words.search(text)] == []


def test_every_arxiv_number_that_is_mentioned_is_on_the_list() -> None:
    told = " ".join(text for claim in claims().claims for text in (*claim.corrections, *claim.not_grounded))
    assert set(re.findall(r"\d{4}\.\d{5}", told)) <= {work.source[6:] for work in claims().publications}


def test_the_wrong_and_loose_citations_are_corrected() -> None:
    """Claims 1 to 9 were all cited wrongly or loosely."""
    assert all(claim.corrections for claim in claims().claims[:9])
    assert "not search agents" in claims().named("2").corrections[0]
    assert "BASE" in claims().named("7").corrections[0]


def test_a_title_alone_grounds_nothing() -> None:
    assert {work.work for work in claims().publications if not work.grounded} == {"ProRL", "Spurious Rewards"}
    assert {work.how for work in claims().publications if not work.grounded} == {"title only"}


# -- own calculations and what was read off follow from the rows beside them -------------------------------------------
def rows(quantity: str, **of: str) -> list[Published]:
    return [f for f in published() if f.quantity.startswith(quantity) and of.items() <= vars(f).items()]


@pytest.mark.parametrize("model", ["Qwen2.5-7B", "Qwen2.5-32B"])
@pytest.mark.parametrize("method", ["GRPO", "Clip-higher", "Clip-Cov", "KL-Cov"])
def test_the_plain_means_are_those_of_the_columns(method: str, model: str) -> None:
    [columns] = rows(f"{method}: AIME24", model=model)
    [mean] = rows(f"{method}: plain mean", model=model)
    *seven, reported = numbers(columns.value)
    assert len(seven) == 7
    assert mean.value == pytest.approx(np.mean(seven), abs=0.0051)  # printed with two decimals
    assert mean.value != pytest.approx(reported, abs=0.051)  # and is not the average that was printed, to one decimal


def test_the_ceilings_read_off_are_b_minus_a_and_so_is_their_fit() -> None:
    sizes = np.log([0.36, 1.31, 2.77, 6.53, 31.0])  # billions, without embeddings
    a, b, ceiling = (
        np.array([float(f.value) for f in rows(name, unit="fraction", task="math, GRPO")])
        for name in ("a (", "b (", "ceiling b - a")
    )
    assert ceiling == pytest.approx(b - a)
    for name, values in (("a", a), ("ceiling", ceiling)):
        [fit] = rows(f"log-linear fit of the read-off {name} over")
        assert fit.value == pytest.approx(np.corrcoef(sizes, values)[0, 1] ** 2, abs=0.0006)
    [extrapolated] = rows("32B ceiling extrapolated")
    told, read_off = map(float, str(extrapolated.value).split(" vs "))
    assert told == pytest.approx(np.polyval(np.polyfit(sizes[:4], ceiling[:4], 1), sizes[4]), abs=0.0006)
    assert read_off == ceiling[4]


def test_the_gap_of_vpo_is_that_of_the_curves() -> None:
    grpo, vpo = (
        numbers(rows(f"LiveCodeBench pass@k at k=1/2/3/5/10/20/30, {who}")[0].value) for who in ("GRPO", "VPO")
    )
    [gap] = rows("gap VPO - GRPO at pass@1 / @3 / @10 / @30")
    assert numbers(gap.value) == pytest.approx([vpo[i] - grpo[i] for i in (0, 2, 4, 6)])


def test_the_gains_over_grpo_are_those_of_the_averages() -> None:
    for model in ("Qwen2.5-7B", "Qwen2.5-32B"):
        gain = rows("headline gain", model=model)[0].value
        ours, theirs = (numbers(rows(f"{who}: AIME24", model=model)[0].value)[-1] for who in ("KL-Cov", "GRPO"))
        assert gain == pytest.approx(ours - theirs)


# -- what the readers refuse -------------------------------------------------------------------------------------------
FIGURE = {
    **{"claim": "1", "quantity": '"R2"', "value": "0.9", "unit": '""', "model": '""', "task": '""'},
    **{"source": '"arXiv:2505.22617"', "place": '""', "how": '"full text"'},
}
CLAIM = {
    **{"number": "1", "title": '"t"', "statement": '"s"', "questions": '["q"]'},
    **{"corrections": "[]", "not_grounded": "[]"},
}
WORK = {
    **{"source": '"arXiv:2505.22617"', "work": '"w"', "how": '"abstract"', "result": '"r"'},
    **{"supports": "[1]", "opposes": "[]", "limits": "[]"},
}
BESIDE = {"question": '"p"', "why": '"w"'}


def toml(kind: str, row: dict[str, str], **changes: str | None) -> str:
    """One row; a change to None leaves a field out."""
    lines = {**row, **changes}
    return f"[[{kind}]]\n" + "".join(f"{name} = {value}\n" for name, value in lines.items() if value is not None)


def test_a_good_row_is_read() -> None:
    content = toml("figure", FIGURE) + toml("figure", FIGURE, value='"one curve"', source='"a blog"', how='"blog"')
    first, second = of_published.read(content, "t")
    assert (first.value, first.seen) == (0.9, "paper")
    assert (second.value, second.seen) == ("one curve", "secondary")
    table = of_claims.read(toml("claim", CLAIM) + toml("publication", WORK) + toml("beside", BESIDE), "t")
    assert table.claims[0].questions == ("q",)
    assert table.about(table.claims[0]) == {"supports": [table.publications[0]], "opposes": [], "limits": []}
    assert table.questions() == {"q", "p"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (toml("figure", FIGURE, valeu="1"), "t, figure 1: unknown field 'valeu': did you mean 'value'?"),
        (toml("figure", FIGURE, source=None), "t, figure 1: no source"),
        (toml("figure", FIGURE) + toml("figure", FIGURE, source='""'), "t, figure 2: source is empty"),
        (toml("figure", FIGURE, quantity='""'), "t, figure 1: quantity is empty"),
        (toml("figure", FIGURE, unit=None), "t, figure 1: no unit"),
        (toml("figure", FIGURE, claim='"1"'), "t, figure 1: claim is '1'; allowed: a whole number"),
        (toml("figure", FIGURE, claim="true"), "t, figure 1: claim is True; allowed: a whole number"),
        (toml("figure", FIGURE, value="nan"), "t, figure 1: value is nan; allowed: a number or a whole number or text"),
        (toml("figure", FIGURE, value="[1]"), "t, figure 1: value is [1]"),
        (
            toml("figure", FIGURE, source='"2505.22617"'),
            "t, figure 1: source is '2505.22617'; allowed: arXiv:NNNN.NNNNN",
        ),
        (toml("figure", FIGURE, source='"arxiv:2505.22617"'), "source is 'arxiv:2505.22617'"),
        (toml("figure", FIGURE, source='"arXiv:2505.2261"'), "source is 'arXiv:2505.2261'"),
        (toml("figure", FIGURE, how='"abstrcat"'), "unknown way of seeing 'abstrcat': did you mean 'abstract'?"),
        (toml("figures", FIGURE), "t: unknown table 'figures': did you mean 'figure'?"),
        ("figure = 3", "t: write [[figure]]"),
        ("figure = [3]", "t: write [[figure]]"),
        ("[[figure", "t: "),
    ],
)
def test_a_wrong_table_of_figures_is_one_line(content: str, said: str) -> None:
    with pytest.raises(ToybedError) as error:
        of_published.read(content, "t")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (toml("claim", CLAIM, number="2"), "t: claims have the numbers [2]; allowed: 1, 2, ..."),
        (toml("claim", CLAIM, questions='"q"'), "t, claim 1: questions is 'q'; allowed: a list, each text"),
        (toml("claim", CLAIM, questions="[3]"), "t, claim 1: questions is [3]"),
        (toml("claim", CLAIM, questions='["q", "q"]'), "t: question of claim 1 q stands there 2 times"),
        (toml("claim", CLAIM) + toml("beside", BESIDE, question='"q"'), "q answers claim 1 and is not beside"),
        (toml("beside", BESIDE) + toml("beside", BESIDE), "p stands there 2 times"),
        (toml("claim", CLAIM) + toml("publication", WORK, supports="[]"), "t, publication 1: it bears on no claim"),
        (toml("claim", CLAIM) + toml("publication", WORK, limits="[2]"), "unknown claim 2: allowed: 1 to 1"),
        (toml("claim", CLAIM) + toml("publication", WORK, opposes="[1]"), "claim 1 stands there 2 times"),
        (toml("claim", CLAIM) + 2 * toml("publication", WORK), "publication arXiv:2505.22617 stands there 2 times"),
        (toml("claim", CLAIM) + toml("publication", WORK, how='"x"'), "t, publication 1: unknown way of seeing"),
    ],
)
def test_a_wrong_table_of_claims_is_one_line(content: str, said: str) -> None:
    with pytest.raises(ToybedError) as error:
        of_claims.read(content, "t")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


# -- toybed show claim N -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("number", [claim.number for claim in claims().claims])
def test_show_tells_of_every_figure(capsys: Capture, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    figures = [figure for figure in published() if figure.claim == number]
    monkeypatch.setenv("COLUMNS", "2000")  # nothing is broken over lines, so that it can be looked for
    out = printed(capsys, "show", "claim", str(number))
    for figure in figures:
        assert figure.quantity in out
        assert f"{figure.value} {figure.unit}".strip() in out
        assert figure.how in out
        assert figure.source in out
    entry = printed_json(capsys, "show", "claim", str(number))
    assert entry["name"] == f"claim {number}"
    assert [(row["quantity"], row["value"]) for row in entry["figures"]] == [(f.quantity, f.value) for f in figures]
    assert all(row["seen"] == HOW[row["how"]] for row in entry["figures"])


def test_show_fits_the_usual_terminal(capsys: Capture) -> None:
    assert cli.main(["show", "claim", "1"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert "…" not in out


# -- toybed evidence ---------------------------------------------------------------------------------------------------
ANSWER = {
    **{
        "study": "entropy_law",
        "question": "?",
        "claim": "It fits.",
        "outcome": "refuted",
        "rule": "r",
        "sentence": "No.",
    },
    **{"estimate": 0.5, "low": 0.25, "high": 0.75, "n": 6, "size": "standard", "seeds": 6, "device": "cpu"},
    **{"parts": [], "store": "s"},
}


def filled(path: str | Path, *changes: dict[str, Any]) -> None:
    with Store(path) as store:
        for change in changes:
            answer = {**ANSWER, **change}
            store.set_verdict(answer["study"], answer["size"], answer)


def test_without_a_store_nothing_was_run_yet_and_none_is_made(capsys: Capture, tmp_path: Path) -> None:
    out = printed(capsys, "evidence")
    for name in study.studies():
        assert f"{name} not run yet: toybed run {name}" in out
    assert "no question answers it yet" not in out, "every claim has a question by now"
    assert list(tmp_path.iterdir()) == []


def test_an_empty_store_is_none(capsys: Capture) -> None:
    filled("toybed.sqlite")
    assert "entropy_law not run yet: toybed run entropy_law" in printed(capsys, "evidence", "1")


def test_everything_that_is_known_of_a_claim_is_told(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "2000")
    out = printed(capsys, "evidence")
    for claim in claims().claims:
        for text in (claim.title, claim.statement, *claim.corrections, *claim.not_grounded):
            assert text in out
    for work in claims().publications:
        assert f"{work.source} {work.work}" in out
        assert work.result in out
    assert out.count("[not grounded (title only)]") == 2
    for label in (*STANCES.values(), "corrected", "not grounded", "toy"):
        assert label in out


def test_the_answers_of_a_store_are_told_all_of_them(capsys: Capture) -> None:
    few = {"seeds": 3, "n": 2, "size": "quick", "outcome": "undecided", "estimate": None, "low": None, "high": None}
    filled("toybed.sqlite", {}, few, {"study": "ensembles", "outcome": "supported", "device": "cuda"})
    out = printed(capsys, "evidence")
    first = "entropy_law refuted 0.500 [0.250, 0.750] n = 6, size standard, 6 seeds It fits."
    assert first in out
    assert "entropy_law undecided - n = 2, size quick, 3 seeds" in out
    assert out.index(first) < out.index("entropy_law undecided")  # most seeds first
    assert "ensembles supported 0.500 [0.250, 0.750] n = 6, size standard, 6 seeds, cuda" in out
    assert "entropy_law not run yet" not in out
    assert "sizes not run yet: toybed run sizes" in out


def test_one_claim_alone(capsys: Capture) -> None:
    filled("other.sqlite", {"study": "sizes"}, {"study": "ensembles"})
    out = printed(capsys, "evidence", "1", "--store", "other.sqlite")
    assert "sizes refuted" in out
    assert "Claim 2" not in out
    assert "ensembles" not in out


def test_evidence_as_json(capsys: Capture) -> None:
    filled("toybed.sqlite", {})
    told = printed_json(capsys, "evidence")
    assert [entry["number"] for entry in told["claims"]] == list(range(1, 12))
    assert {entry["question"] for entry in told["beside"]} == {entry.question for entry in claims().beside}
    first = told["claims"][0]
    assert [work["source"] for work in first["for"]] == ["arXiv:2505.22617", "arXiv:2608.02867"]
    assert first["for"][0]["seen"] == "paper"
    assert [work["work"] for work in first["limits"] if not work["grounded"]] == ["ProRL", "Spurious Rewards"]
    toys = {toy["question"]: toy["answers"] for toy in first["toy"]}
    assert toys["sizes"] == []
    [answer] = toys["entropy_law"]
    assert answer.pop("changed").startswith("may be of an older rule; run again: toybed run entropy_law")
    assert answer == {name: ANSWER[name] for name in answer}
    assert {"outcome", "estimate", "low", "high", "n", "size", "seeds", "claim"} <= set(answer)
