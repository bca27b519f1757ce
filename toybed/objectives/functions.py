"""A loss of one's own, written as one function, as an :class:`~toybed.objectives.objective.Objective`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from toybed.errors import ToybedError
from toybed.objectives.aggregation import token_mean
from toybed.objectives.batch import Batch
from toybed.objectives.catalogue import row
from toybed.objectives.objective import Objective

LossFunction = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""``(log_prob, log_prob_old, advantage, mask) -> loss``, of tensors ``[B, G, T]`` to one number."""


def from_function(function: LossFunction, *, advantage: str = "grpo", name: str = "") -> Objective:
    """An objective whose gradient is that of ``function(log_prob, log_prob_old, advantage, mask)``.

    The function is called for each stacked run alone, so that a run in a stack is the run alone. Its gradient becomes
    the coefficient where a token has an advantage, and a term of its own where it has none (a KL, say); what
    ``sampled_touched`` and ``sampled_clipped`` tell of it is therefore true. The loss's value is not the function's.

    Args:
        function: the loss, to be minimised, of tensors ``[B, G, T]``.
        advantage: the objective of the catalogue whose advantages it is given.
        name: for messages; by default the function's.

    Raises:
        ToybedError: the objective is unknown.
    """
    return Objective(
        advantage=row(advantage).advantage.build(),
        surrogate=partial(_coefficient, function=function),
        aggregate=token_mean,
        regularizers=(partial(_rest, function=function),),
        name=name or getattr(function, "__name__", "function"),
    )


def own_objective(thing: Any, name: str, **options: Any) -> Objective:
    """What a user has under ``module:name`` as an objective, with its hyper-parameters changed.

    Args:
        thing: an Objective, whose stages' parameters ``options`` changes, or a function, see :func:`from_function`.
        name: for messages.
        **options: of the one or the other; of a function also its own further keyword arguments.

    Raises:
        ToybedError: it is neither, or has no such option.
    """
    if isinstance(thing, Objective):
        return thing.with_parameters(**options) if options else thing
    if not callable(thing) or isinstance(thing, type):
        raise ToybedError(
            f"{name} is {thing!r}; allowed: an Objective, or a function (log_prob, log_prob_old, advantage, mask) -> "
            "loss"
        )
    advantage = options.pop("advantage", "grpo")
    return from_function(partial(thing, **options) if options else thing, advantage=advantage, name=name)


def _coefficient(log_ratio: Tensor, advantage: Tensor, batch: Batch, *, function: LossFunction) -> Tensor:
    """``c`` with ``-c A / n`` the function's gradient; 0 where a token has no advantage, n the number of tokens."""
    advantage = advantage.expand_as(log_ratio)
    gradient = _gradient(function, log_ratio + batch.log_prob_old, advantage, batch)
    return torch.where(advantage != 0, -gradient / torch.where(advantage != 0, advantage, 1.0), 0.0)


def _rest(log_prob: Tensor, batch: Batch, *, function: LossFunction, advantage: Tensor, **_: Any) -> Tensor:
    """The gradient of the tokens without an advantage."""
    advantage = advantage.expand_as(log_prob)
    gradient = _gradient(function, log_prob.detach(), advantage, batch)
    return torch.where(advantage == 0, gradient, 0.0) * log_prob


def _gradient(function: LossFunction, log_prob: Tensor, advantage: Tensor, batch: Batch) -> Tensor:
    """The function's gradient times the number of tokens, ``[..., B, G, T]``; 0 where there is no token."""
    shape = log_prob.shape[-3:]
    parts = (log_prob, batch.log_prob_old, advantage, batch.mask.expand_as(log_prob))
    runs = zip(*(part.reshape(-1, *shape) for part in parts), strict=True)
    found = torch.stack([_of_one_run(function, *run) for run in runs]).view_as(log_prob)
    return torch.where(batch.mask, found * batch.mask.sum((-3, -2, -1), keepdim=True), 0.0)


def _of_one_run(function: LossFunction, now: Tensor, old: Tensor, advantage: Tensor, mask: Tensor) -> Tensor:
    with torch.enable_grad():
        leaf = now.detach().clone().requires_grad_()
        value = function(leaf, old, advantage, mask)
        if not isinstance(value, Tensor) or value.numel() != 1 or not value.requires_grad:
            raise ToybedError(
                f"{getattr(function, '__name__', 'the loss')} returned {_kind(value)}; expected: one number that "
                "depends on log_prob, as a tensor"
            )
        [gradient] = torch.autograd.grad(value.reshape(()), leaf)
    return gradient


def _kind(value: Any) -> str:
    if not isinstance(value, Tensor):
        return f"a {type(value).__name__}"
    return f"a tensor {list(value.shape)}" + ("" if value.requires_grad else " without a gradient")
