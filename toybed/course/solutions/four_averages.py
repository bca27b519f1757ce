"""Lesson 3: two of the ways in which losses of tokens become one number."""

from __future__ import annotations

import torch
from torch import Tensor

from toybed.course.exercise import exercise


def _input(lengths: list[int], garbage: float) -> dict[str, Tensor]:
    """Losses 0.5, 1.5, ... of responses of these lengths, with garbage in the padding."""
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    loss = torch.arange(mask.numel(), dtype=torch.float64).view(mask.shape) + 0.5
    return {"loss": torch.where(mask, loss, garbage), "mask": mask}


INPUTS = [_input([2, 2], 0.0), _input([1, 3], 0.0), _input([4, 1, 2], 100.0), _input([1, 2], torch.inf)]

_PADDED = "The padding is counted: divide by the number of tokens (the sum of the mask), not by that of positions."
_READ = "What stands in the padding is added in. Select first: `torch.where(mask, loss, 0.0)`."


def _sums(loss: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask, loss, 0.0).sum(-1)


def _sequence_mean(loss: Tensor, mask: Tensor) -> Tensor:
    return (_sums(loss, mask) / mask.sum(-1)).mean()


def _token_mean(loss: Tensor, mask: Tensor) -> Tensor:
    return _sums(loss, mask).sum() / mask.sum()


@exercise(
    inputs=INPUTS,
    hint="The sum of the losses where the mask is true, over the number of places where it is. Select with "
    "`torch.where` rather than multiply: infinity times 0 is not a number.",
    mistakes={
        _READ: lambda loss, mask: loss.sum() / mask.sum(),
        _PADDED: lambda loss, mask: torch.where(mask, loss, 0.0).mean(),
        "That is loss.mean(), as if there were no padding. Use the mask.": lambda loss, mask: loss.mean(),
        "That is the other one, seq-mean-token-mean: there responses weigh alike, and tokens do not.": _sequence_mean,
        "That is seq-mean-token-sum: it is divided by the number of responses, not by that of tokens.": (
            lambda loss, mask: _sums(loss, mask).mean()
        ),
        "That is the sum; divide by the number of tokens.": lambda loss, mask: _sums(loss, mask).sum(),
    },
)
def token_mean(loss: Tensor, mask: Tensor) -> Tensor:
    """Every token weighs alike."""
    return torch.where(mask, loss, 0.0).sum() / mask.sum()


@exercise(
    inputs=INPUTS,
    hint="For each response the sum over its tokens over their number, `mask.sum(-1)`; then the mean over responses.",
    mistakes={
        _READ: lambda loss, mask: (loss.sum(-1) / mask.sum(-1)).mean(),
        _PADDED: lambda loss, mask: torch.where(mask, loss, 0.0).mean(-1).mean(),
        "That is the other one, token-mean: take the mean of each response first.": _token_mean,
        "That is seq-mean-token-sum: divide each response's sum by its own length.": (
            lambda loss, mask: _sums(loss, mask).mean()
        ),
        "The means of the responses are added up; take their mean.": (
            lambda loss, mask: (_sums(loss, mask) / mask.sum(-1)).sum()
        ),
    },
)
def sequence_mean(loss: Tensor, mask: Tensor) -> Tensor:
    """Every response weighs alike."""
    means = torch.where(mask, loss, 0.0).sum(-1) / mask.sum(-1)
    return means.mean()
