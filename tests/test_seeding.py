"""Random streams by name: what one purpose or one run draws never depends on what another one does."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest

from toybed.seeding import named_generator
from toybed.streams import Streams, draw_uniform

seeds = st.integers(0, 2**64 - 1)
stream_names = st.text(min_size=0, max_size=12)


def draws(seed: int, name: str, count: int = 4) -> list[int]:
    return named_generator(seed, name).integers(2**63, size=count).tolist()


@given(seed=seeds, name=stream_names, others=st.lists(stream_names, max_size=4))
def test_a_stream_does_not_depend_on_the_others(seed: int, name: str, others: list[str]) -> None:
    expected = draws(seed, name)
    for other in others:
        named_generator(seed, other).random(3)
    assert draws(seed, name) == expected


@given(seed=seeds, names=st.lists(stream_names, min_size=2, max_size=5, unique=True))
def test_other_names_are_other_streams(seed: int, names: list[str]) -> None:
    """Four numbers of 63 bits agree by chance with probability 2^-252."""
    every = [tuple(draws(seed, name)) for name in names]
    assert len(set(every)) == len(names)


@given(several=st.lists(seeds, min_size=2, max_size=5, unique=True), name=stream_names)
def test_other_seeds_are_other_streams(several: list[int], name: str) -> None:
    every = [tuple(draws(seed, name)) for seed in several]
    assert len(set(every)) == len(several)


@given(seed=st.integers(0, 2**31), bit=st.integers(32, 100))
def test_high_bits_of_the_seed_count(seed: int, bit: int) -> None:
    """torch's own CPU generator takes only the low 32."""
    assert draws(seed, "rollout") != draws(seed + 2**bit, "rollout")
    assert draws(1, "rollout") != draws(1 + 2**32, "rollout")


def test_a_seed_is_not_a_name_and_a_name_is_not_a_prefix() -> None:
    pairs = [(1, "2"), (2, "1"), (12, ""), (1, "a"), (1, "ab"), (1, "b"), (0, ""), (0, "\0")]
    every = [tuple(draws(*pair)) for pair in pairs]
    assert len(set(every)) == len(pairs)


def test_streams_do_not_overlap() -> None:
    """64-bit draws of 40 streams, 500 each: 2e8 pairs meet by chance with probability 2e8 / 2^64 = 1e-11."""
    every = [
        named_generator(seed, name).integers(2**64, size=500, dtype=np.uint64) for seed in range(20) for name in "ab"
    ]
    assert len(np.unique(np.concatenate(every))) == 40 * 500


def test_neighbouring_seeds_are_unrelated() -> None:
    """Correlation of 1000 draws has standard deviation 0.032; 0.19 is six of them (2e-9 for each of 45 pairs)."""
    table = np.array([named_generator(seed, "rollout").random(1000) for seed in range(10)])
    correlation = np.corrcoef(table)
    assert all(abs(correlation[i, j]) < 0.19 for i, j in itertools.combinations(range(10), 2))


def test_the_numbers_are_fixed_for_good() -> None:
    """A stored result is named by its seed, so the stream of a seed must not change with a version. Recorded once.

    NumPy promises this of its bit generators (not of ``Generator``'s methods).
    """
    bits = named_generator(3, "rollout").bit_generator
    assert type(bits).__name__ == "Philox"
    assert bits.random_raw(2).tolist() == [16753776013540402147, 4930757255084563935]


# Stacked runs --------------------------------------------------------------------------------------------------------


@given(several=st.lists(seeds, min_size=1, max_size=4), steps=st.integers(1, 3), data=st.data())
def test_a_run_draws_the_same_alone_and_in_a_stack(several: list[int], steps: int, data: Any) -> None:
    shape = data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
    stack = Streams("rollout", several)
    assert len(stack) == len(several)
    together = [stack.uniform(shape) for _ in range(steps)]
    for s, seed in enumerate(several):
        alone = Streams("rollout", [seed])
        for step in range(steps):
            one = alone.uniform(shape)
            assert one.shape == (1, *shape) and one.dtype == torch.float32
            assert torch.equal(one[0], together[step][s])


@given(several=st.lists(seeds, min_size=1, max_size=4, unique=True), data=st.data())
def test_runs_that_do_not_draw_do_not_move(several: list[int], data: Any) -> None:
    who = data.draw(st.lists(st.booleans(), min_size=len(several), max_size=len(several)))
    stack, reference = Streams("tokens", several), Streams("tokens", several)
    first = stack.uniform((3,), who)
    after = stack.uniform((3,))
    expected = [reference.uniform((3,)), reference.uniform((3,))]
    for s, drew in enumerate(who):
        if drew:
            assert torch.equal(first[s], expected[0][s]) and torch.equal(after[s], expected[1][s])
        else:
            assert (first[s] == 0).all() and torch.equal(after[s], expected[0][s])


def test_one_number_for_each_run() -> None:
    numbers = Streams("tokens", [0, 1]).uniform(())
    assert torch.equal(numbers, Streams("tokens", [0, 1]).uniform((1,))[:, 0])


def test_names_part_the_streams_of_a_stack() -> None:
    one, two = Streams("tokens", [0, 1]).uniform((8,)), Streams("rollout", [0, 1]).uniform((8,))
    assert not (one == two).all(-1).any()
    assert not torch.equal(one[0], one[1])


def test_numbers_are_uniform() -> None:
    """Kolmogorov-Smirnov: of a uniform sample the p-value is below 1e-6 with a chance of 1e-6."""
    numbers = Streams("tokens", [7]).uniform((100, 100)).double().flatten()
    assert ((numbers >= 0) & (numbers < 1)).all()
    assert kstest(numbers.numpy(), "uniform").pvalue > 1e-6


def test_draw_uniform_takes_both_kinds_of_randomness() -> None:
    like = torch.zeros(2, 3, 4, 5, dtype=torch.float64)
    streams = draw_uniform(Streams("tokens", [4, 5]), like)
    assert torch.equal(streams, Streams("tokens", [4, 5]).uniform((3, 4, 5)))
    one, two = (draw_uniform(torch.Generator().manual_seed(1), like) for _ in range(2))
    assert torch.equal(one, two)
    assert one.shape == streams.shape == like.shape
    assert not torch.equal(one, draw_uniform(torch.Generator().manual_seed(2), like))


def test_global_randomness_is_left_alone() -> None:
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002
    generator = torch.Generator().manual_seed(0)
    draw_uniform(generator, torch.zeros(3, 1, 1, 1))
    Streams("tokens", [1, 2]).uniform((5,))
    named_generator(1, "rollout").random()
    after = np.random.get_state()  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), torch_before)
    assert after[2:] == numpy_before[2:]
    np.testing.assert_array_equal(after[1], numpy_before[1])


@pytest.mark.parametrize("name", ["rollout", "planung", "größe", "対話"])
def test_any_text_is_a_name(name: str) -> None:
    assert draws(0, name) == draws(0, name) != draws(0, name + " ")
