"""The laws of entropy and reward against numpy.polyfit and against curves whose law is known.

Curves have at most 40 points of size 1 to 20 in float64. A least squares fit of such a curve is conditioned like
(spread of x)^-2; entropies are spread over at least 0.5 nats, so 1e-9 leaves four digits for rounding.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toybed.errors import ToybedError
from toybed.laws import FEATURES, LAWS, Law, extrapolation_error, fit, value_at

seeds = st.integers(0, 2**32 - 1)
FEATURE = {"exp": np.exp, "linear": lambda h: h}


def curve(seed: int, points: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """A falling entropy with noise in the reward."""
    random = np.random.default_rng(seed)
    entropy = np.linspace(2.0, 0.3, points) + 0.1 * random.normal(size=points)
    return entropy, 0.9 - 0.1 * np.exp(entropy) + 0.05 * random.normal(size=points)


@pytest.mark.parametrize("form", ["exp", "linear"])
@given(seed=seeds, points=st.integers(3, 40))
def test_fit_is_numpys(form: str, seed: int, points: int) -> None:
    entropy, reward = curve(seed, points)
    law = fit(entropy, reward, form)
    x = FEATURE[form](entropy)
    slope, intercept = np.polyfit(x, reward, 1)
    assert law.form == form
    assert law.a == pytest.approx(-slope, rel=1e-9, abs=1e-9)
    assert law.b == pytest.approx(intercept, rel=1e-9, abs=1e-9)
    residual = reward - (intercept + slope * x)
    assert law.rmse == pytest.approx(math.sqrt((residual**2).mean()), rel=1e-6, abs=1e-9)
    assert law.r2 == pytest.approx(1 - (residual**2).sum() / ((reward - reward.mean()) ** 2).sum(), abs=1e-8)
    np.testing.assert_allclose(law.predict(entropy), intercept + slope * x, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("form", ["exp", "linear"])
@given(a=st.floats(-2, 2), b=st.floats(-2, 2), seed=seeds)
def test_fit_recovers_a_law_without_noise(form: str, a: float, b: float, seed: int) -> None:
    entropy, _ = curve(seed)
    reward = b - a * FEATURE[form](entropy)
    law = fit(list(entropy), list(reward), form)
    assert law.a == pytest.approx(a, abs=1e-9) and law.b == pytest.approx(b, abs=1e-9)
    assert law.rmse < 1e-9
    if abs(a) > 0.01:
        assert law.r2 == pytest.approx(1.0, abs=1e-9)
        other = fit(entropy, reward, "linear" if form == "exp" else "exp")
        assert other.rmse > law.rmse
    assert extrapolation_error(entropy, reward, 10, form) < 1e-8


def test_the_ceiling_of_the_exponential_law() -> None:
    assert Law("exp", a=0.3, b=1.2, r2=1.0, rmse=0.0).predict(0.0) == pytest.approx(0.9)
    assert Law("linear", a=0.3, b=1.2, r2=1.0, rmse=0.0).predict([0.0, 2.0]).tolist() == pytest.approx([1.2, 0.6])
    assert Law("constant", a=0.0, b=0.7, r2=0.0, rmse=0.0).predict([[1.0, 2.0]]).tolist() == [[0.7, 0.7]]


def test_the_constant_law_predicts_no_further_change() -> None:
    """The last reward, not the mean. Rewards 0, 1, 5: errors -5, -4, 0, rmse = sqrt(41/3); mean 2, total 14."""
    law = fit([3.0, 2.0, 1.0], [0.0, 1.0, 5.0], "constant")
    assert (law.a, law.b) == (0.0, 5.0)
    assert law.rmse == pytest.approx(math.sqrt(41 / 3))
    assert law.r2 == pytest.approx(1 - 41 / 14)


def test_a_constant_reward_has_no_share_explained() -> None:
    for form in LAWS:
        law = fit([3.0, 2.0, 1.0], [0.5, 0.5, 0.5], form)
        assert math.isnan(law.r2)
        assert law.rmse == pytest.approx(0.0, abs=1e-15) and law.b == pytest.approx(0.5)


def test_a_constant_entropy_explains_nothing() -> None:
    law = fit([1.0, 1.0, 1.0], [0.0, 0.5, 1.0], "exp")
    assert law.a == 0.0 and law.b == 0.5
    assert law.r2 == pytest.approx(0.0, abs=1e-15)


@given(seed=seeds, early=st.integers(3, 19))
def test_extrapolation_error_looks_at_later_points_only(seed: int, early: int) -> None:
    entropy, reward = curve(seed)
    for form in ("exp", "linear"):
        x = FEATURE[form](entropy)
        slope, intercept = np.polyfit(x[:early], reward[:early], 1)
        expected = math.sqrt(((intercept + slope * x[early:] - reward[early:]) ** 2).mean())
        # Three points close together extrapolate a hundredfold: two digits more for rounding.
        assert extrapolation_error(entropy, reward, early, form) == pytest.approx(expected, rel=1e-7, abs=1e-7)
    expected = math.sqrt(((reward[early - 1] - reward[early:]) ** 2).mean())
    assert extrapolation_error(entropy, reward, early, "constant") == pytest.approx(expected, rel=1e-12)


def test_value_at_matched_reward() -> None:
    reward, entropy = [0.0, 0.4, 0.2, 0.6, 1.0], [2.0, 1.0, 0.8, 0.4, 0.1]
    assert value_at(0.2, reward, entropy) == pytest.approx(1.5)  # half of the first step
    assert value_at(0.4, reward, entropy) == 1.0  # a point
    assert value_at(0.5, reward, entropy) == pytest.approx(0.5)  # from 0.2 to 0.6: three quarters
    assert value_at(1.0, reward, entropy) == pytest.approx(0.1)
    assert value_at(0.0, reward, entropy) == 2.0 and value_at(-1.0, reward, entropy) == 2.0  # there from the start
    assert math.isnan(value_at(1.1, reward, entropy))  # never
    assert math.isnan(value_at(0.5, [], []))
    assert value_at(0.5, [math.nan, 0.4, 0.6], [3.0, 2.0, 1.0]) == pytest.approx(1.5)  # NaN reaches nothing


@given(seed=seeds)
def test_value_at_a_measured_reward_is_measured(seed: int) -> None:
    """Of a curve that rises everywhere, at every point of it."""
    random = np.random.default_rng(seed)
    reward = np.cumsum(random.uniform(0.01, 1, 10))
    value = random.normal(size=10)
    got = [value_at(target, reward, value) for target in reward]
    np.testing.assert_allclose(got, value, rtol=1e-12, atol=1e-12)
    middle = [value_at(target, reward, value) for target in (reward[1:] + reward[:-1]) / 2]
    np.testing.assert_allclose(middle, np.interp((reward[1:] + reward[:-1]) / 2, reward, value), rtol=1e-9, atol=1e-9)


def test_errors_say_what_is_allowed() -> None:
    with pytest.raises(ToybedError, match=r"^unknown law 'linaer': did you mean 'linear'\?$"):
        fit([1, 2, 3], [1, 2, 3], "linaer")
    with pytest.raises(ToybedError, match=r"at least 3 points, got 2"):
        fit([1, 2], [1, 2])
    with pytest.raises(ToybedError, match=r"entropy \(3,\) and reward \(4,\) must be curves of the same length"):
        fit([1, 2, 3], [1, 2, 3, 4])
    with pytest.raises(ToybedError, match=r"must be curves"):
        fit([[1, 2, 3]], [[1, 2, 3]])
    for bad in (math.nan, math.inf):
        with pytest.raises(ToybedError, match=r"not finite; leave diverged runs out"):
            fit([1, 2, bad], [1, 2, 3])
        with pytest.raises(ToybedError, match=r"not finite"):
            extrapolation_error([1, 2, 3, 4], [1, 2, 3, bad], 3)
    for early in (2, 5):
        with pytest.raises(ToybedError, match=rf"^early is {early}; allowed: 3 to 4, of 5 points$"):
            extrapolation_error([1, 2, 3, 4, 5], [1, 2, 3, 4, 5], early)


def test_every_law_can_be_fitted() -> None:
    assert set(LAWS) == {*FEATURES, "constant"}
    for form in LAWS:
        assert fit([1, 2, 3], [3, 2, 2], form).form == form
