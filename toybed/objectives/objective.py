"""The Objective record: five stages, one loss.

    rewards --advantage--> A --surrogate--> c --weight--> w --regularizers--> --aggregate--> one number for each run

The surrogate is described by the coefficient that it puts on the score function, so that there is one code path and
the gradient is exact: ``loss_t = -w_t stop_gradient(c_t) A_t log pi(token_t)``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from toybed.errors import ToybedError
from toybed.objectives.aggregation import token_mean
from toybed.objectives.batch import HOW_TO_GET, Batch, needs_of
from toybed.objectives.weights import TokenWeight, every_token
from toybed.streams import Streams

Regularizer = Callable[..., Tensor]


@dataclass(frozen=True)
class Loss:
    """A loss and what it did.

    Attributes:
        value: one number for each run ``[...]``; its gradient is the objective's. The number itself is not a measure
            of progress: on-policy it is about zero while learning goes on.
        advantage: ``[..., B, G, T]`` or ``[..., B, G, 1]``.
        coefficient: what the surrogate put on the score function, ``[..., B, G, T]``.
        weight: what the weight stage gave each token, ``[..., B, G, T]``.
        mask: the batch's mask.
    """

    value: Tensor
    advantage: Tensor
    coefficient: Tensor
    weight: Tensor
    mask: Tensor
    _forward: Callable[[], Tensor] = field(repr=False)

    @property
    def touched(self) -> Tensor:
        """Tokens that got a gradient from the policy's term, bool ``[..., B, G, T]``."""
        return self.mask & (self.weight * self.coefficient * self.advantage != 0)

    @property
    def forward_value(self) -> Tensor:
        """The value that the paper prints for the policy's term, ``[...]``: a metric, nothing is differentiated."""
        return self._forward()


@dataclass(frozen=True)
class Objective:
    """What is optimised, as five stages.

    Args:
        advantage: ``batch -> A``, ``[..., B, G, T]`` or ``[..., B, G, 1]``.
        surrogate: ``(log_ratio, A, batch) -> c >= 0``, without gradient.
        aggregate: ``(per_token, mask, counted) -> [...]``; no default, its meaning is part of the objective.
        weight: ``batch, ... -> TokenWeight(weight, counted)``.
        regularizers: each ``(log_prob, batch, *, advantage, entropy) -> per-token loss``, averaged over tokens.
        keep_group: ``reward [..., B, G] -> bool [..., B]``, or None. Before the loss is taken, the learner samples
            other prompts in the place of groups that are not kept (dynamic sampling).
        name: for messages.
    """

    advantage: Callable[[Batch], Tensor]
    surrogate: Callable[[Tensor, Tensor, Batch], Tensor]
    aggregate: Callable[..., Tensor]
    weight: Callable[..., TokenWeight] = every_token
    regularizers: tuple[Regularizer, ...] = ()
    keep_group: Callable[[Tensor], Tensor] | None = None
    name: str = "objective"

    @property
    def needs(self) -> frozenset[str]:
        """Optional inputs that the stages read: fields of the batch, ``entropy``, ``generator``."""
        stages = (self.advantage, self.surrogate, self.weight, self.aggregate, *self.regularizers)
        return frozenset(name for stage in stages for name in needs_of(stage))

    def loss(
        self,
        log_prob: Tensor,
        batch: Batch,
        *,
        entropy: Tensor | None = None,
        generator: torch.Generator | Streams | None = None,
        advantage: Tensor | None = None,
    ) -> Loss:
        """The loss of each run, to be minimised.

        Args:
            log_prob: log-probability of the tokens under the current policy, with gradient, ``[..., B, G, T]``.
            batch: what was sampled.
            entropy: full-vocabulary entropy of the current policy, with gradient, where a stage needs it.
            generator: randomness, where a stage draws.
            advantage: computed before by ``self.advantage`` on the whole rollout batch, when this is a mini-batch
                of it; by default computed here.

        Raises:
            ToybedError: a shape does not fit, or an input that a stage needs is missing.
        """
        self._check(log_prob, batch, entropy, generator)
        if advantage is None:
            advantage = self.advantage(batch)
        advantage = advantage.detach()
        now = log_prob.detach()
        # Padding may hold anything; a ratio of 1 there keeps every later product finite.
        log_ratio = torch.where(batch.mask, now - batch.log_prob_old, 0.0)
        coefficient = self.surrogate(log_ratio, advantage, batch)
        weight, counted = self.weight(
            batch, advantage=advantage, log_prob=now, coefficient=coefficient, entropy=entropy, generator=generator
        )
        value = self.aggregate(-(weight * coefficient * advantage) * log_prob, batch.mask, counted)
        for regularizer in self.regularizers:
            extra = regularizer(log_prob, batch, advantage=advantage, entropy=entropy)
            value = value + token_mean(extra, batch.mask, batch.mask)

        def forward() -> Tensor:
            per_token = _paper_value(self.surrogate, log_ratio, advantage, batch, now)
            return self.aggregate(-weight * per_token, batch.mask, counted)

        return Loss(value, advantage, coefficient, weight, batch.mask, forward)

    def _check(
        self, log_prob: Tensor, batch: Batch, entropy: Tensor | None, generator: torch.Generator | Streams | None
    ) -> None:
        expected = tuple(batch.log_prob_old.shape)
        for name, value in (("log_prob", log_prob), ("entropy", entropy)):
            if value is not None and tuple(value.shape) != expected:
                raise ToybedError(
                    f"{self.name}: {name} has shape {list(value.shape)}; expected {list(expected)} [..., B, G, T]"
                )
        given: dict[str, object] = {"entropy": entropy, "generator": generator}
        for name in sorted(self.needs):
            if (given[name] if name in given else getattr(batch, name)) is None:
                where = name if name in given else f"batch.{name}"
                raise ToybedError(f"{self.name} needs {where}: {HOW_TO_GET[name]}")


def _paper_value(
    surrogate: Callable[..., Tensor], log_ratio: Tensor, advantage: Tensor, batch: Batch, log_prob: Tensor
) -> Tensor:
    function, options = (surrogate.func, surrogate.keywords) if isinstance(surrogate, partial) else (surrogate, {})
    value = getattr(function, "value", None)
    # A surrogate without a printed value is a score-function loss: its value is A log pi.
    return advantage * log_prob if value is None else value(log_ratio, advantage, batch, **options)
