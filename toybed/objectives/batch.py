"""The tensors that the stages of an objective read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor

from toybed.errors import ToybedError, unknown

Scalar = float | Tensor
"""A hyper-parameter: a number, or one value for each stacked run as a tensor ``[S, 1, 1, 1]``.

A parameter of a stage that is annotated with this name may differ between the runs of one stack.
"""

HOW_TO_GET = {
    "log_prob_ref": "log-probabilities of the sampled tokens under the reference policy, computed once after sampling",
    "entropy_old": "full-vocabulary entropy of the sampling policy at each position, recorded while sampling",
    "entropy": "full-vocabulary entropy of the current policy at each position: pass loss(..., entropy=...)",
    "log_probs": "log-probabilities of the whole vocabulary under the current policy: pass loss(..., log_probs=...)",
    "value": "the critic's value of each position when it was sampled, [..., B, G, T]",
    "log_z": "the learned log-partition of each prompt, [..., B], with gradient",
    "generator": "a torch.Generator, or toybed.streams.Streams for stacked runs: pass loss(..., generator=...)",
    "planning": "a mask [..., B, G, T] of planning tokens, which the world names by its token kinds",
    "tempered": "a mask [..., B] of the prompts whose groups were sampled at a temperature of their own",
    "source": "an integer [..., B, G]: 0 sampled on-policy, 1 refined after a critique, 2 demonstration",
}

_Function = TypeVar("_Function", bound=Callable[..., Any])


def needs(*names: str) -> Callable[[_Function], _Function]:
    """Mark a stage as reading an optional field of the batch (or ``entropy``, ``generator``)."""

    def mark(function: _Function) -> _Function:
        function.needs = names  # type: ignore[attr-defined]
        return function

    return mark


def needs_of(stage: object) -> tuple[str, ...]:
    """The optional inputs that a stage reads, looking through :func:`functools.partial`."""
    while isinstance(stage, partial):
        stage = stage.func
    return tuple(getattr(stage, "needs", ()))


def compares_group(function: _Function) -> _Function:
    """Mark an advantage that compares the responses of a group: with a single one it would be zero throughout."""
    function.compares_group = True  # type: ignore[attr-defined]
    return function


def does_compare_group(stage: object) -> bool:
    """Whether a stage is marked with :func:`compares_group`, looking through :func:`functools.partial`."""
    while isinstance(stage, partial):
        stage = stage.func
    return getattr(stage, "compares_group", False)


VECTORS = ("vector", "set")
"""What :func:`takes_vectors` says."""


def takes_vectors(kind: str) -> Callable[[_Function], _Function]:
    """Mark a stage that reads rewards as made for vectors: a learner gives it the world's components, not the number.

    Of an objective it is the first such stage that counts: what shapes the reward, else the advantage.

    Args:
        kind: "vector" for one vector a response, ``[..., B, G, D]``; "set" for one for each of its M answers too,
            ``[..., B, G, M, D]``.

    Raises:
        ToybedError: it is another.
    """
    if kind not in VECTORS:
        raise unknown("kind of reward", kind, VECTORS)

    def mark(function: _Function) -> _Function:
        function.takes_vectors = kind  # type: ignore[attr-defined]
        return function

    return mark


def vectors_of(stage: object) -> str:
    """What :func:`takes_vectors` marked a stage with, through :func:`functools.partial`; "" if it takes a number."""
    while isinstance(stage, partial):
        stage = stage.func
    return getattr(stage, "takes_vectors", "")


@dataclass(frozen=True)
class Batch:
    """Responses sampled for groups of prompts, as an objective sees them.

    =================  ========================================  =================================================
    field              shape                                     meaning
    =================  ========================================  =================================================
    ``log_prob_old``   ``[..., B, G, T]``                        log-probability of each token when it was sampled
    ``mask``           ``[..., B, G, T]`` bool                   which positions hold a token of the response
    ``reward``         ``[..., B, G]``, ``[..., B, G, D]``,      verified reward of a response: a number, D components,
                       or ``[..., B, G, M, D]``                  or D components of each of its M answers
    ``log_prob_ref``   ``[..., B, G, T]``, optional              under the reference policy
    ``entropy_old``    ``[..., B, G, T]``, optional              entropy (nats) when sampled
    ``planning``       ``[..., B, G, T]`` bool, optional         planning tokens
    ``source``         ``[..., B, G]`` int, optional             0 on-policy, 1 refined, 2 demonstration
    ``value``          ``[..., B, G, T]``, optional              a critic's values when sampled
    ``log_z``          ``[..., B]``, optional                    learned log-partition of each prompt, with gradient
    ``tempered``       ``[..., B]`` bool, optional               groups that were sampled at a temperature of their own
    =================  ========================================  =================================================

    Raises:
        ToybedError: a shape does not fit; the message names the field and the expected shape.
    """

    log_prob_old: Tensor
    mask: Tensor
    reward: Tensor
    log_prob_ref: Tensor | None = None
    entropy_old: Tensor | None = None
    planning: Tensor | None = None
    source: Tensor | None = None
    value: Tensor | None = None
    log_z: Tensor | None = None
    tempered: Tensor | None = None

    def __post_init__(self) -> None:
        tokens = tuple(self.log_prob_old.shape)
        if len(tokens) < 3:
            raise ToybedError(f"batch.log_prob_old has shape {list(tokens)}; expected [..., B, G, T]")
        for name in ("mask", "log_prob_ref", "entropy_old", "planning", "value"):
            value = getattr(self, name)
            if value is not None and tuple(value.shape) != tokens:
                raise ToybedError(
                    f"batch.{name} has shape {list(value.shape)}; expected {list(tokens)} as log_prob_old has"
                )
        if self.mask.dtype != torch.bool:
            raise ToybedError(f"batch.mask has dtype {self.mask.dtype}; expected torch.bool")
        responses = tokens[:-1]
        extra = self.reward.ndim - len(responses)
        if tuple(self.reward.shape[: len(responses)]) != responses or extra > 2:
            raise ToybedError(
                f"batch.reward has shape {list(self.reward.shape)}; expected {list(responses)} or those and a D"
            )

    def require(self, name: str, by: str) -> Tensor:
        """An optional field, or an error that says who needs it and how to get it."""
        value: Tensor | None = getattr(self, name)
        if value is None:
            raise ToybedError(f"{by} needs batch.{name}: {HOW_TO_GET[name]}")
        return value

    def prompts(self, start: int, stop: int) -> Batch:
        """The mini-batch of prompts ``start:stop``; groups stay whole."""
        parts: dict[str, Any] = {}
        for field in fields(self):
            value: Tensor | None = getattr(self, field.name)
            if value is not None:
                axis = self.log_prob_old.ndim - 3
                parts[field.name] = value.narrow(axis, start, stop - start)
        return replace(self, **parts)


def per_token(value: Tensor, batch: Batch) -> Tensor:
    """Broadcast a per-response value ``[..., B, G]`` to tokens as ``[..., B, G, 1]``."""
    if tuple(value.shape) != tuple(batch.log_prob_old.shape[:-1]):
        raise ToybedError(
            f"a scalar reward [..., B, G] is needed here, got {list(value.shape)}; weigh the D components first"
        )
    return value.unsqueeze(-1)
