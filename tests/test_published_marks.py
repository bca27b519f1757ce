"""What was published, drawn in the figures of questions: numbers are those of the table, marks are on the page."""

from __future__ import annotations

import re

import matplotlib.pyplot as pyplot
import numpy as np
import pytest

from toybed import plotting
from toybed.benchmarks import deploy_or_create_figure, entropy_law, sparse_updates_figure
from toybed.errors import ToybedError
from toybed.llm.published import published, value_of


def numbers(quantity: str, source: str) -> list[float]:
    """All numbers of the rows of that quantity."""
    rows = [row for row in published() if row.quantity == quantity and row.source == source]
    assert rows, quantity
    return [float(part) for row in rows for part in re.findall(r"[\d.]+", str(row.value))]


def test_a_value_is_found_by_quantity_and_source() -> None:
    assert value_of("entropy spent by step 200 of 2400", "arXiv:2505.22617") == 73
    with pytest.raises(ToybedError, match="gives no number for 'functional form'"):
        value_of("functional form", "arXiv:2505.22617")
    with pytest.raises(ToybedError, match="gives no number"):
        value_of("entropy spent by step 200 of 2400", "arXiv:2503.14476")


def test_the_shares_drawn_are_published_at_these_shares_of_the_run() -> None:
    for progress, names in entropy_law.PUBLISHED_AT.items():
        for name in names:
            step, of = map(int, re.findall(r"\d+", name))
            assert step / of == pytest.approx(progress)
            assert 0 < value_of(name, entropy_law.SOURCE) <= 100


def test_the_overlaps_drawn_are_published() -> None:
    found = sparse_updates_figure.PUBLISHED_OVERLAP
    seed = numbers("overlap, seed only (o1/o2) vs random", "arXiv:2505.11711")
    data = numbers("overlap, data only vs random", "arXiv:2505.11711")
    every = numbers("overlap, seed+data+algorithm vs random", "arXiv:2505.11711")
    # Each row: both one-sided overlaps, then both levels of chance; the first of either is drawn.
    assert found["other random numbers"] == (seed[0], seed[2])
    assert found["other prompts"] == (data[0], data[2])
    assert found["all three"] == (every[0], every[2])
    assert numbers("bf16-aware sparsity range RL / SFT", "arXiv:2511.08567")[:2] == [36.0, 92.0]
    assert sparse_updates_figure.PUBLISHED_UNCHANGED == (36.0, 92.0)


def test_the_steering_drawn_is_published() -> None:
    share, recovered = deploy_or_create_figure.PUBLISHED
    assert numbers("gap recovered (maximum), tokens steered", "arXiv:2510.07364") == [100 * recovered, 100 * share]


def test_shares_of_a_change() -> None:
    np.testing.assert_allclose(entropy_law.shares_of_change(np.array([2.0, 1.0, 0.0])), [0, 0.5, 1])
    assert np.isnan(entropy_law.shares_of_change(np.array([2.0, 1.0, 2.0]))).all()


def test_marks_have_their_source_on_the_page() -> None:
    with plotting.panels(1) as (page, (axes,)):
        plotting.published_points(axes, [(0.2, 0.3), (0.5, 0.9)], "arXiv 1")
        plotting.published_band(axes, 0.1, 0.4, "arXiv 2")
    assert [text.get_text().replace("\n", " ") for text in axes.texts] == ["published, arXiv 1", "published, arXiv 2"]
    assert plotting.svg(page).startswith("<svg")
    pyplot.close(page)
