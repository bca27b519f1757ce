"""Lesson 11: the spacing of bfloat16 numbers, and which steps survive it."""

from __future__ import annotations

import torch
from torch import Tensor

from toybed.course.exercise import exercise


def _t(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)


def _spacing(weight: Tensor, bits: int = 7) -> Tensor:
    return 2.0 ** (weight.abs().log2().floor() - bits)


@exercise(
    inputs=[{"weight": _t(1.0, 1.5, 3.0, 5.5)}, {"weight": _t(0.3, -0.3, 0.07)}, {"weight": _t(-1.9, 100.0)}],
    hint="weight.abs().log2().floor() is e; then 2.0 ** (e - 7).",
    mistakes={
        "That is half of it: 8 significant bits are 7 after the first one, which is always 1 and not stored. (Half the "
        "spacing is the step from which on a weight changes.)": lambda w: _spacing(w, 8),
        "That is the spacing of float32, which has 23 bits after the first.": lambda w: _spacing(w, 23),
        "That is the spacing of float16, which has 10 bits after the first. bfloat16 trades 3 of them for range.": (
            lambda w: _spacing(w, 10)
        ),
        "floor is missing: within a power of two the spacing is one and the same.": lambda w: w.abs() * 2.0**-7,
        "That rounds the logarithm; it has to be rounded *down*: 1.9 is between 1 and 2.": (
            lambda w: 2.0 ** (w.abs().log2().round() - 7)
        ),
        "The spacing of negative numbers is that of their size: take abs first.": lambda w: (
            2.0 ** (w.log2().floor() - 7)
        ),
    },
)
def bf16_spacing(weight: Tensor) -> Tensor:
    """Of bfloat16 numbers."""
    return 2.0 ** (weight.abs().log2().floor() - 7)


_WEIGHT = _t(1.5, 1.5, 1.5, 0.25, 0.25, -3.0, 0.01).bfloat16().float()


@exercise(
    inputs=[
        {"weight": _WEIGHT, "step": _t(0.003, 0.005, 0.009, 0.0005, 0.0012, 0.0, 0.000001)},
        {"weight": _WEIGHT, "step": torch.full_like(_WEIGHT, 1e-4)},
        {"weight": _WEIGHT[:3], "step": _t(-0.003, -0.005, -1e-9)},
    ],
    hint="Round weight + step to bfloat16 and back, and compare with `!=`.",
    mistakes={
        "The sum is not rounded: that is whether the float32 numbers differ.": lambda w, step: w + step != w,
        "A step of half the spacing is enough, because the sum is rounded to the *nearest* number.": (
            lambda w, step: step.abs() >= _spacing(w)
        ),
        "That is a tolerance of 1e-5, as the tool has which found the sparse updates: it does not know how large the "
        "weight is.": lambda w, step: step.abs() > 1e-5,
        "That is where it does *not* change.": lambda w, step: (w + step).bfloat16().float() == w,
        "Any step that is not zero counts as a change for you; a small one is rounded away.": lambda w, step: step != 0,
    },
)
def survives(weight: Tensor, step: Tensor) -> Tensor:
    """Whether the rounded sum is another number."""
    return (weight + step).bfloat16().float() != weight
