"""The anatomy of updates against plain loops, known matrices and the counting of all placements."""

from __future__ import annotations

import itertools
import math
import struct

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from toybed.measures import update_anatomy as anatomy

CLOSE = {"rtol": 1e-12, "atol": 1e-12}


def bits(value: float) -> int:
    return int(struct.unpack("<I", struct.pack("<f", value))[0])


def number(pattern: int) -> float:
    return float(struct.unpack("<f", struct.pack("<I", pattern))[0])


def rounded(value: float) -> float:
    """To bf16 by its definition: the nearer of the two neighbours with 16 trailing zero bits, a tie to the even one."""
    low = bits(value) & 0xFFFF0000
    below, above = number(low), number(low + 0x10000)
    if abs(value - below) == abs(above - value):
        return above if low >> 16 & 1 else below
    return below if abs(value - below) < abs(above - value) else above


def spacing(value: float) -> float:
    """From a bf16 number to the next one away from 0."""
    low = bits(abs(value)) & 0xFFFF0000
    return number(low + 0x10000) - number(low)


def weights(count: int, seed: int = 0) -> Tensor:
    """Of all sizes that weights have, both signs, with powers of two and zeros among them."""
    random = np.random.default_rng(seed)
    values = random.normal(size=count) * 10.0 ** random.uniform(-4, 1, count)
    values[::50] = 2.0 ** random.integers(-9, 3, len(values[::50]))
    values[1::97] = 0
    return torch.tensor(values, dtype=torch.float32)


def test_rounding_is_that_of_the_definition() -> None:
    for value in (weight := weights(400)).tolist():
        assert float(anatomy.to_bf16(torch.tensor(value))) == rounded(value)
    ties = [number(bits(x) & 0xFFFF0000 | 0x8000) for x in weight.tolist() if x]
    assert anatomy.to_bf16(torch.tensor(ties)).tolist() == [rounded(x) for x in ties]


def test_the_spacing_is_the_step_to_the_next_number() -> None:
    weight = anatomy.to_bf16(weights(400))
    assert anatomy.bf16_ulp(weight).tolist() == [spacing(x) for x in weight.tolist()]
    # The smallest number of all is the step from 0.
    assert float(anatomy.bf16_ulp(torch.zeros(()))) == number(0x10000) == 2.0**-133


def test_the_shares_are_those_of_loops() -> None:
    start = weights(600)
    end = start + torch.where(torch.arange(600) % 3 == 0, 0.0, weights(600, 1) * 1e-3)
    pairs = [(a, b) for a, b in zip(start.tolist(), end.tolist(), strict=True)]
    assert anatomy.changed(start, end).tolist() == [a != b for a, b in pairs]
    assert anatomy.changed_in_bf16(start, end).tolist() == [rounded(a) != rounded(b) for a, b in pairs]
    # Differences are taken in float32, whose rounding at a threshold is no part of the definition: none lies near one.
    for tolerance, measure in ((1e-5, anatomy.changed_beyond), (1e-3, anatomy.changed_relatively)):
        scale = [1.0 if measure is anatomy.changed_beyond else max(abs(a), abs(b)) for a, b in pairs]
        moved = [abs(b - a) for a, b in pairs]
        clear = [abs(m - tolerance * s) > 1e-3 * tolerance * s for m, s in zip(moved, scale, strict=True)]
        expected = [m > tolerance * s for m, s in zip(moved, scale, strict=True)]
        found = measure(start, end).tolist()
        assert [f for f, c in zip(found, clear, strict=True) if c] == [
            e for e, c in zip(expected, clear, strict=True) if c
        ]
        assert 0 < sum(expected) < len(expected)
        assert sum(clear) > 500


@given(st.integers(0, 2**32 - 1), st.floats(-3, 3))
def test_what_moves_past_half_a_spacing_changes_but_for_powers_of_two_and_ties(seed: int, spacings: float) -> None:
    start = anatomy.to_bf16(weights(300, seed))
    ulp = anatomy.bf16_ulp(start)
    end = start + torch.tensor(spacings, dtype=torch.float32) * ulp
    half = (end.double() - start.double()).abs() == ulp.double() / 2
    power = torch.frexp(start).mantissa.abs() == 0.5
    plain = ~(half | power | (start == 0))
    past, changed = anatomy.moved_past_half_ulp(start, end), anatomy.changed_in_bf16(start, end)
    assert torch.equal(past[plain], changed[plain])
    # Towards 0 a power of two changes earlier, and never later: what is past half a spacing has changed there, too.
    assert bool(changed[power & ~half & past].all())


def test_a_power_of_two_changes_from_a_quarter_on_towards_0() -> None:
    one = torch.ones(3)
    end = one + torch.tensor([-0.3, -0.2, 0.3]) * anatomy.bf16_ulp(one)
    assert anatomy.changed_in_bf16(one, end).tolist() == [True, False, False]
    assert not anatomy.moved_past_half_ulp(one, end).any()


def test_a_rescaled_update_has_that_length_and_its_direction() -> None:
    start, delta = weights(300).view(2, 150), weights(300, 3).view(2, 150)
    end = anatomy.rescaled(start.double(), (start + delta).double(), 0.01)
    moved = end - start
    np.testing.assert_allclose(moved.norm(dim=1), 0.01 * start.double().norm(dim=1), rtol=1e-9)
    cosine = (moved * (start + delta - start)).sum(1) / moved.norm(dim=1) / (start + delta - start).double().norm(dim=1)
    np.testing.assert_allclose(cosine, 1, rtol=1e-6)
    assert anatomy.rescaled(start[:1], start[:1], 0.01).isnan().all()


# -- rank -------------------------------------------------------------------------------------------------------------
def slow_spectrum(delta: np.ndarray) -> dict[str, float]:
    sigma = np.linalg.svd(delta.astype(np.float64), compute_uv=False)
    most, share = len(sigma), sigma / sigma.sum()
    entropy = -sum(p * math.log(p) for p in share if p > 0)
    top = max(round(0.1 * most), 1)
    return {
        "rank": sum(s > max(delta.shape) * 2.0**-23 * sigma[0] for s in sigma) / most,
        "effective_rank": math.exp(entropy) / most,
        "top_energy": (sigma[:top] ** 2).sum() / (sigma**2).sum(),
    }


@pytest.mark.parametrize("shape", [(12, 30), (30, 12), (5, 5)])
def test_ranks_are_numpys(shape: tuple[int, int]) -> None:
    random = np.random.default_rng(shape)
    full = random.normal(size=shape)
    low = random.normal(size=(shape[0], 3)) @ random.normal(size=(3, shape[1]))
    sparse = np.where(random.random(shape) < 0.1, full, 0.0)
    found = anatomy.spectrum(torch.tensor(np.stack([full, low, sparse]), dtype=torch.float32))
    for place, matrix in enumerate((full, low, sparse)):
        expected = slow_spectrum(matrix.astype(np.float32))
        for name, value in expected.items():
            assert float(found[name][place]) == pytest.approx(value, rel=1e-9), name
    assert float(found["rank"][1]) == 3 / min(shape)


def test_ranks_of_known_matrices() -> None:
    known = torch.stack([torch.eye(20), torch.ones(20, 20), torch.zeros(20, 20)])
    found = anatomy.spectrum(known)
    np.testing.assert_allclose(found["rank"], [1, 1 / 20, np.nan], **CLOSE)
    np.testing.assert_allclose(found["effective_rank"][:1], 1, **CLOSE)
    # The other singular values of the matrix of ones are rounding: some 1e-15 of the first, 20 of them.
    np.testing.assert_allclose(found["effective_rank"][1], 1 / 20, rtol=1e-10)
    np.testing.assert_allclose(found["top_energy"], [2 / 20, 1, np.nan], **CLOSE)


def test_a_shuffled_support_has_the_same_entries_in_other_places() -> None:
    delta = weights(60).view(2, 5, 6)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(0))
    found = anatomy.shuffled_support(delta, order)
    for before, after in zip(delta, found, strict=True):
        assert sorted(before.flatten().tolist()) == sorted(after.flatten().tolist())
        assert after[1, 2] == before.flatten()[order[8]]
    assert not torch.equal(found, delta)


# -- overlap ----------------------------------------------------------------------------------------------------------
def test_overlap_is_that_of_sets_and_chance_the_mean_over_all_placements() -> None:
    random = np.random.default_rng(5)
    first, second = random.random((2, 3, 9)) < 0.5
    groups = np.array([0, 0, 0, 0, 7, 7, 7, 7, 7])
    found = anatomy.overlap(torch.tensor(first), torch.tensor(second), torch.tensor(groups))
    for run in range(3):
        a, b = (set(np.flatnonzero(mask[run])) for mask in (first, second))
        assert float(found["one_sided"][run]) == pytest.approx(len(a & b) / len(a))
        assert float(found["jaccard"][run]) == pytest.approx(len(a & b) / len(a | b))
        # Every way to place as many of the second's in each group.
        parts = [np.flatnonzero(groups == group) for group in (0, 7)]
        ways = [itertools.combinations(part, len(b & set(part))) for part in parts]
        sizes = [len(a & {*one, *two}) for one, two in itertools.product(*map(list, ways))]
        mean = float(np.mean(sizes))
        assert float(found["chance"][run]) == pytest.approx(mean / len(a))
        assert float(found["jaccard_chance"][run]) == pytest.approx(mean / (len(a) + len(b) - mean))


def test_with_one_group_chance_is_the_others_density_and_groups_of_one_leave_nothing_to_chance() -> None:
    random = np.random.default_rng(6)
    first, second = torch.tensor(random.random((2, 4, 50)) < 0.4)
    whole = anatomy.overlap(first, second, torch.zeros(50, dtype=torch.int64))
    np.testing.assert_allclose(whole["chance"], second.double().mean(1), **CLOSE)
    single = anatomy.overlap(first, second, torch.arange(50))
    np.testing.assert_allclose(single["chance"], single["one_sided"], **CLOSE)
    nothing = anatomy.overlap(torch.zeros_like(first), second, torch.arange(50))
    assert nothing["one_sided"].isnan().all()


def test_weights_are_grouped_by_tensor_and_by_spacing() -> None:
    start = torch.tensor([[1.0, 1.5, 2.0, 1.2, 0.3, 0.0], [4.0, 4.1, 7.9, -4.0, 4.0, 8.0]])
    assert anatomy.layers((3, 3)).tolist() == [0, 0, 0, 1, 1, 1]
    for values, groups in zip(start, anatomy.layers_and_exponents(start, (3, 3)), strict=True):
        ulps = anatomy.bf16_ulp(values).tolist()
        for i, j in itertools.combinations(range(6), 2):
            assert (groups[i] == groups[j]) == (i // 3 == j // 3 and ulps[i] == ulps[j])
