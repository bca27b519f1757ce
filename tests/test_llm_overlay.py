"""A log beside the toys: signatures against slow twins and by hand, what a log cannot support, and the command."""

from __future__ import annotations

import json
import math
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toybed import cli, laws, study
from toybed.agents.config import Setting, Spec
from toybed.agents.results import Curve as Measured
from toybed.agents.results import RunResult
from toybed.commands import overlaying
from toybed.llm import Source, Table, read
from toybed.llm.compare import overlay
from toybed.llm.frameworks import SEQUENCE, SOFTMAX, SURPRISAL
from toybed.llm.nearest import described, distance, nearest, toys
from toybed.llm.signature import (
    Curve,
    Signature,
    curve,
    directions,
    exploded,
    limits,
    moved,
    prediction_errors,
    shares,
    signature,
    smoothed,
    straightness,
)
from toybed.store import Store

LOGS = Path(__file__).resolve().parents[2] / "shared" / "llm_runs"
Capture = pytest.CaptureFixture[str]
seeds = st.integers(0, 2**32 - 1)


@pytest.fixture(autouse=True)
def _apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is written by accident, and the test run keeps its own signals."""
    monkeypatch.chdir(tmp_path)
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def made(entropy: np.ndarray, reward: np.ndarray, meaning: str = SOFTMAX) -> Table:
    """A table as a reader gives it."""
    n = len(entropy)
    none = np.full(n, np.nan)
    sources = {"entropy": Source("h", meaning), "reward": Source("r", "raw")}
    sources = {
        name: of for name, of in sources.items() if np.isfinite({"entropy": entropy, "reward": reward}[name]).any()
    }
    return Table(
        np.arange(n), entropy, reward, none, none, none, none, sources, "TRL", ("CSV",), ("log",), "", (), n, 0, 0
    )  # fmt: skip


def falling(points: int = 60, low: float = 0.2, high: float = 2.0, seed: int | None = None) -> Curve:
    """A run on an exponential law."""
    entropy = np.linspace(high, low, points)
    reward = 0.9 - 0.1 * np.exp(entropy)
    if seed is not None:
        reward = reward + 0.01 * np.random.default_rng(seed).normal(size=points)
    return Curve(np.arange(points, dtype=float), entropy, reward)


def told(of: Curve, meaning: str = SOFTMAX) -> str:
    table = made(of.entropy, of.reward, meaning)
    return " | ".join(limits(table, curve(table.step, table.entropy, table.reward))[1])


# -- measures ----------------------------------------------------------------------------------------------------------
@given(seed=seeds, points=st.integers(1, 30), window=st.integers(1, 9))
def test_smoothing_is_a_mean_of_what_there_is(seed: int, points: int, window: int) -> None:
    values = np.random.default_rng(seed).normal(size=points)
    window = min(window, points)
    after = (window - 1) // 2
    before = window - 1 - after
    expected = [values[max(0, i - before) : i + after + 1].mean() for i in range(points)]
    # Sums of at most 9 numbers of order 1.
    np.testing.assert_allclose(smoothed(values, window), expected, atol=1e-14)


def test_a_signature_by_hand() -> None:
    """H falls by 1 from 2 in 10 equal steps, reward rises by 0.4 from 0.2 in the first 5 and stays; the window is 1."""
    entropy = np.linspace(2, 1, 11)
    reward = np.minimum(0.2 + 0.08 * np.arange(11), 0.6)
    found = signature(Curve(np.arange(11.0) * 10 + 5, entropy, reward))
    assert found.spent == pytest.approx(0.5)
    assert found.gained == pytest.approx(0.5)
    assert found.half_spent == pytest.approx(0.5)
    assert found.half_gained == pytest.approx(0.25)
    assert found.spent_at_half_gain == pytest.approx(0.25)
    assert found.left_at_half_gain == pytest.approx(1.75 / 2)
    assert found.r2 == pytest.approx(laws.fit(entropy, reward).r2)


@given(scale=st.floats(0.1, 10), stretch=st.integers(1, 1000), seed=seeds)
def test_a_signature_has_no_units(scale: float, stretch: int, seed: int) -> None:
    """Neither the unit of entropy nor the length of the run changes a share (R² of the exponential law aside)."""
    of = falling(seed=seed)
    other = signature(Curve(of.step * stretch + 7, of.entropy * scale, of.reward))
    own = signature(of)
    for name in ("spent", "gained", "half_spent", "half_gained", "spent_at_half_gain", "left_at_half_gain"):
        # A crossing of a half is found between two points of a slope of about 1 / 60: rounding grows by that.
        assert getattr(other, name) == pytest.approx(getattr(own, name), rel=1e-9), name


def test_shares_go_from_nothing_to_all() -> None:
    spent, gained = shares(falling(points=9))
    assert (spent[0], spent[-1]) == pytest.approx((0, 1))
    assert (gained[0], gained[-1]) == pytest.approx((0, 1))
    assert (np.diff(gained) > 0).all()


def test_what_moves_and_what_does_not() -> None:
    flat = np.tile([0.4, 0.6], 50)
    assert not moved(flat, 5)
    assert moved(flat + np.linspace(0, 1, 100), 5)
    assert directions(falling()) == (True, True)
    of = falling()
    assert directions(Curve(of.step, of.entropy[::-1], of.reward[::-1])) == (False, False)


@given(seed=seeds)
def test_prediction_errors_are_those_of_a_plain_loop(seed: int) -> None:
    of = falling(seed=seed)
    early = 21  # 36 % of 60, down
    errors = prediction_errors(of)
    scale = np.ptp(smoothed(of.reward, 3))
    for form, feature in laws.FEATURES.items():
        slope, base = np.polyfit(feature(of.entropy[:early]), of.reward[:early], 1)
        rest = base + slope * feature(of.entropy[early:]) - of.reward[early:]
        assert errors[form] == pytest.approx(math.sqrt((rest**2).mean()) / scale, rel=1e-6)
    rest = of.reward[early - 3 : early].mean() - of.reward[early:]
    assert errors["constant"] == pytest.approx(math.sqrt((rest**2).mean()) / scale)


def test_how_straight_an_exponential_is() -> None:
    """Over d nats exp is 1 + x + x²/2: with x even over d, the quadratic has d²/60 of the variance of the line."""
    for d in (0.2, 0.4):
        rest = 1 - straightness(falling(points=2001, low=0.0, high=d))
        # The next term of the series is of relative order d.
        assert rest == pytest.approx(d**2 / 60, rel=d)
    assert straightness(falling(low=0.0, high=0.7)) > 0.98 > straightness(falling(low=0.0, high=1.5))


# -- what a log cannot support -----------------------------------------------------------------------------------------
def test_a_run_on_the_law_supports_all() -> None:
    assert told(falling()) == ""


def test_a_narrow_range_of_entropy_does_not_tell_exponential_from_line() -> None:
    assert "H spans 0.50 nats" in told(falling(low=0.2, high=0.7))
    assert "cannot be told from a straight one" in told(falling(low=0.2, high=0.7))


@pytest.mark.parametrize(
    ("entropy", "says"),
    [
        ([0.2, *[11.0] * 29], True),
        ([1.0, *[0.5] * 20, np.inf, *[0.5] * 5], True),
        (np.linspace(0.5, 1.4, 30), False),
        ([*[0.3] * 28, 9.0, 9.0], False),  # a late outlier is none
        ([0.1, *[0.4] * 29], False),  # four times nearly nothing
    ],
)
def test_explosions(entropy: list[float], says: bool) -> None:
    h = np.array(entropy)
    assert exploded(h) is says
    can, reasons = limits(made(h, np.linspace(0, 1, len(h))), curve(np.arange(len(h)), h, np.linspace(0, 1, len(h))))
    assert can is not says
    assert any("entropy explodes" in reason for reason in reasons) is says


def test_too_few_points() -> None:
    assert "9 points with entropy and reward: too few for a fit" in told(falling(points=9))
    assert overlay(made(falling(9).entropy, falling(9).reward), []).whole is None
    assert "too few to predict" in told(falling(points=15))
    of = falling()
    late = np.where(of.step < 40, 0.3 - 0.1 * of.entropy / 2, 0.3 - 0.1 * of.entropy[21] / 2)  # it stops to change
    assert "no better than no change" in told(Curve(of.step, of.entropy, np.where(of.step < 21, late, late[20])))
    found = overlay(made(falling(15).entropy, falling(15).reward), [])
    assert found.whole is not None
    assert found.errors is None


def test_runs_that_pay_nothing_or_buy_nothing() -> None:
    of = falling(low=1.0)
    assert "nothing is paid" in told(Curve(of.step, of.entropy[::-1], of.reward))
    assert "nothing is bought" in told(Curve(of.step, of.entropy, of.reward[::-1]))
    assert "reward is the same at all points" in told(Curve(of.step, of.entropy, np.full(60, 0.5)))


def test_a_fit_that_is_the_transient() -> None:
    """Six points on a line, then noise around one place."""
    random = np.random.default_rng(0)
    entropy = np.concatenate([np.linspace(2, 0.5, 6), 0.5 + 0.01 * random.normal(size=54)])
    reward = np.concatenate([np.linspace(0, 0.8, 6), 0.8 + 0.01 * random.normal(size=54)])
    said = told(Curve(np.arange(60.0), entropy, reward))
    assert "much of the fit is the run's first tenth" in said


@pytest.mark.parametrize(("entropy", "reward", "what"), [(400.0, 0.5, "entropy"), (1.0, 1e200, "reward")])
def test_numbers_that_no_fit_can_take(entropy: float, reward: float, what: str) -> None:
    of = falling()
    entropies, rewards = of.entropy.copy(), of.reward.copy()
    entropies[3], rewards[3] = entropy, reward
    assert f"{what} has values above" in told(Curve(of.step, entropies, rewards))


def test_which_entropy_it_is_is_told() -> None:
    assert "estimate from sampled tokens" in told(falling(), SURPRISAL)
    assert "summed over responses" in told(falling(), SEQUENCE)


def test_no_entropy() -> None:
    table = made(np.full(20, np.nan), np.linspace(0, 1, 20))
    found = overlay(table, [])
    assert (found.whole, found.signature, len(found.curve)) == (None, None, 0)


# -- toys --------------------------------------------------------------------------------------------------------------
def keep(store: Store, name: str, setting: Setting, of: Curve, seed: int = 0) -> None:
    steps = of.step.astype(np.int64)
    curves = {
        "sampled_entropy": Measured(steps, of.entropy),
        "sampled_reward": Measured(steps, of.reward),
        "reward_test": Measured(steps[:2], of.reward[:2]),
    }
    store.add_run(name, setting.config(), seed, RunResult(curves, None), {})


GRPO, RLOO = Setting(), Setting(objective=Spec("rloo", {"clip_low": 0.3}))


def stored(path: Path) -> Path:
    """A store with a run like :func:`falling`, two that learn less, and one that diverged."""
    half = falling(low=1.5)
    broken = Curve(half.step, np.where(half.step > 9, np.nan, half.entropy), half.reward)
    with Store(path) as store:
        keep(store, "a", GRPO, falling())
        keep(store, "b", RLOO, half)
        keep(store, "c", RLOO, half, seed=1)
        keep(store, "d", Setting(objective=Spec("ppo")), broken)
    return path


def test_the_store_gives_curves_by_name(tmp_path: Path) -> None:
    with Store(stored(tmp_path / "s.sqlite")) as store:
        found = list(store.curves(["sampled_entropy", "no_such"]))
    assert [json.loads(config)["objective"]["name"] for config, _ in found] == ["grpo", "rloo", "rloo", "ppo"]
    assert all(set(curves) == {"sampled_entropy"} for _, curves in found)
    np.testing.assert_array_equal(found[0][1]["sampled_entropy"].values, falling().entropy)


def test_the_nearest_toy_is_the_one_that_did_the_same(tmp_path: Path) -> None:
    with Store(stored(tmp_path / "s.sqlite")) as store:
        found = toys(store)
        arms = {json.dumps(RLOO.config(), sort_keys=True): "question/rloo"}
        [only] = toys(store, arms)
    assert [len(toy.curves) for toy in found] == [1, 2]  # the diverged one is left out
    ranked = nearest(signature(falling()), found)
    assert [toy.label.split(",")[0] for _, toy in ranked] == ["grpo", "rloo(clip_low=0.3)"]
    assert ranked[0][0] == 0.0 < ranked[1][0]
    assert math.isnan(found[0].scatter)  # of one run
    assert found[1].scatter == 0  # of equal runs
    assert (only.label, only.signature.spent) == ("question/rloo", pytest.approx(signature(falling(low=1.5)).spent))


def test_distance_needs_four_shares() -> None:
    nan = math.nan
    one = Signature(0.5, 0.5, 0.5, 0.5, nan, nan, 0.9)
    assert distance(one, one) == 0
    assert distance(one, Signature(0.6, 0.6, 0.6, 0.4, 0.1, 0.1, 0.8)) == pytest.approx(0.1)
    assert distance(one, Signature(0.5, 0.5, nan, nan, 0.5, 0.5, 0.9)) == math.inf
    assert nearest(one, []) == []


def test_a_setting_in_words() -> None:
    assert described(GRPO.config()) == "grpo, chain_reach, mlp"
    assert described(Setting(supervised=None).config()) == "grpo, chain_reach, mlp, no base"


# -- the command -------------------------------------------------------------------------------------------------------
def log(path: Path, of: Curve) -> Path:
    rows = zip(of.step, of.entropy, of.reward, strict=True)
    path.write_text("step,entropy,reward\n" + "".join(f"{int(s)},{h},{r}\n" for s, h, r in rows), encoding="utf-8")
    return path


def test_overlay_prints_and_draws(capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    path, store = log(tmp_path / "run.txt", falling(seed=0)), stored(tmp_path / "s.sqlite")
    assert cli.main(["overlay", str(path), "--store", str(store), "--out", "made/o.png"]) == 0
    out = capsys.readouterr().out
    for part in ("run.txt", "plain columns, CSV: 60 entries read; steps 0 to 59", "-a exp(H) + b", "toy 1: grpo"):
        assert part in out
    assert "which entropy it logs is not known" in out
    assert Path("made/o.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["made", "run.txt", "s.sqlite"]


def test_overlay_as_json(capsys: Capture, tmp_path: Path) -> None:
    path, store = log(tmp_path / "run", falling(seed=0)), stored(tmp_path / "s.sqlite")
    broken = log(tmp_path / "broken", Curve(np.arange(30.0), np.r_[0.2, np.full(29, 11.0)], np.zeros(30)))
    assert cli.main(["overlay", str(path), str(broken), "--store", str(store), "--json"]) == 0

    def constant(name: str) -> float:
        raise AssertionError(f"{name} is no JSON")

    found, exploding = json.loads(capsys.readouterr().out, parse_constant=constant)
    assert found["laws"]["whole"]["exp"]["a"] == pytest.approx(0.1, abs=0.01)
    assert found["columns"]["entropy"]["key"] == "entropy"
    assert [near["runs"] for near in found["nearest"]] == [1, 2]
    assert exploding["laws"] == {"whole": None, "without the first tenth": None}
    assert "entropy explodes" in exploding["cannot support"][0]
    assert not Path("overlay.png").exists()


def test_overlay_with_a_question(capsys: Capture, tmp_path: Path) -> None:
    from toybed import study

    path = log(tmp_path / "run", falling(seed=0))
    with Store(tmp_path / "s.sqlite") as store:
        keep(store, "a", study.get("entropy_law").arms("quick")["clip_cov"], falling())
        keep(store, "b", Setting(objective=Spec("gspo")), falling())
    assert cli.main(["overlay", str(path), "--with", "entropy_law", "--store", "s.sqlite", "--json"]) == 0
    [found] = json.loads(capsys.readouterr().out)
    assert [near["toy"] for near in found["nearest"]] == ["entropy_law/clip_cov"]


def test_overlay_without_a_store_says_how_to_make_one(capsys: Capture, tmp_path: Path) -> None:
    assert cli.main(["overlay", str(log(tmp_path / "run", falling()))]) == 0
    assert "toybed run entropy_law makes some" in capsys.readouterr().out
    assert Path("overlay.png").exists()


def test_every_kind_of_log_can_be_drawn(capsys: Capture, tmp_path: Path) -> None:
    no_reward = tmp_path / "a"
    no_reward.write_text("step,entropy\n1,0.5\n2,0.25\n", encoding="utf-8")
    no_entropy = tmp_path / "b"
    no_entropy.write_text("step,reward\n" + "".join(f"{i},0.5\n" for i in range(30)), encoding="utf-8")
    flat = log(tmp_path / "c", Curve(np.arange(30.0), np.zeros(30), np.ones(30)))
    assert cli.main(["overlay", *map(str, (flat, no_reward)), "--out", "one.svg"]) == 0
    assert cli.main(["overlay", str(no_entropy)]) == 0
    assert "no entropy in this log" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "no log was given"),
        (["none"], "none does not exist"),
        (["log", "--column", "entropy"], "give COLUMN=NAME"),
        (["log", "--column", "entorpy=h"], "unknown column 'entorpy': did you mean 'entropy'?"),
        (["log", "--with", "entropy_lwa"], "unknown question 'entropy_lwa': did you mean 'entropy_law'?"),
        (["log", "--with", "entropy_law"], "store toybed.sqlite does not exist; toybed run entropy_law makes it"),
        (["log", "--wiht", "entropy_law"], "unknown option '--wiht': did you mean '--with'?"),
        (["log", "--out", "x.abc"], "figure x.abc cannot be written"),
    ],
    ids=" ".join,
)
def test_a_wrong_input_is_one_line(capsys: Capture, tmp_path: Path, arguments: list[str], said: str) -> None:
    log(tmp_path / "log", falling())
    assert cli.main(["overlay", *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


# -- real logs ---------------------------------------------------------------------------------------------------------
@pytest.mark.skipif(not LOGS.is_dir(), reason="the real logs are not part of the project (shared/llm_runs)")
@pytest.mark.parametrize(
    ("name", "fitted", "said"),
    [
        ("ppo_gsm8k_qwen2.5-0.5b.log", True, "H spans 0.35 nats"),
        ("7_3_plus_tracking_metrics.csv", False, "entropy explodes"),
        ("7_4_plus_clip_ratio_metrics.csv", True, "entropy does not fall from start to end"),
        ("grpo_qwen2.5-7b_broken.json", False, "entropy explodes, to 11.5 from 0.20"),
        ("trainer_state_no_entropy.json", False, "no entropy in this log"),
    ],
)
def test_real_logs(name: str, fitted: bool, said: str) -> None:
    [path] = LOGS.glob(f"*/{name}")
    [table] = read([path])
    found = overlay(table, [])
    assert (found.whole is not None) is fitted
    assert any(said in limit for limit in found.limits)
    if name.startswith("ppo"):  # four such runs have R² of 0.89 to 0.95
        assert found.whole is not None
        assert 0.89 < found.whole.laws["exp"].r2 < 0.95
        assert found.whole.laws["exp"].r2 - found.whole.laws["linear"].r2 < 0.01


def test_the_runs_of_a_question_are_known_in_the_world_of_each_seed(tmp_path: Path) -> None:
    question = study.get("two_phases")
    with Store(tmp_path / "empty.sqlite") as store:
        arms = overlaying._arms(question, store)
    for run in question.runs("quick", question.seeds["quick"], "cpu")["grpo_75"]:
        assert arms[json.dumps(run.setting.config(), sort_keys=True)] == "two_phases/grpo_75"
