"""The Objective record: five stages, one loss.

    rewards --advantage--> A --surrogate--> c --weight--> w --regularizers--> --aggregate--> one number for each run

The surrogate is described by the coefficient that it puts on the score function, so that there is one code path and
the gradient is exact: ``loss_t = -w_t stop_gradient(c_t) A_t log pi(token_t)``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from toybed.errors import ToybedError
from toybed.objectives.aggregation import token_mean
from toybed.objectives.batch import HOW_TO_GET, Batch, does_compare_group, needs_of, vectors_of
from toybed.objectives.controllers import Controller
from toybed.objectives.schedules import Schedule
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
    def clipped(self) -> Tensor:
        """Tokens with an advantage to which the surrogate gives no gradient, bool ``[..., B, G, T]``."""
        return self.mask & (self.advantage != 0) & (self.coefficient == 0)

    @property
    def forward_value(self) -> Tensor:
        """The value that the paper prints for the policy's term, ``[...]``: a metric, nothing is differentiated."""
        return self._forward()


@dataclass(frozen=True)
class Objective:
    """What is optimised, as five stages; three more come before them, where data are made.

    Args:
        advantage: ``batch -> A``, ``[..., B, G, T]`` or ``[..., B, G, 1]``. One that is marked with
            ``needs("log_prob")`` or ``needs("generator")`` gets these by keyword.
        surrogate: ``(log_ratio, A, batch) -> c >= 0``, without gradient.
        aggregate: ``(per_token, mask, counted) -> [...]``; no default, its meaning is part of the objective.
        weight: ``(batch, *, advantage, log_prob, coefficient, entropy, generator) -> TokenWeight(weight, counted)``;
            takes what it needs and ``**_``.
        regularizers: each ``(log_prob, batch, *, advantage, entropy, log_probs) -> per-token loss``, averaged over the
            tokens; takes what it needs and ``**_``.
        shape_reward: ``batch -> reward``, applied once before the advantage (penalties, KL in the reward); or None. One
            that is marked with ``needs("generator")`` gets it by keyword.
        sampling: ``prompts -> (temperature [..., B], tempered bool [B])``, or None. At what temperature the learner
            samples the group of each of B prompts, and for which of them that is its own.
        keep_group: ``reward [..., B, G] -> bool [..., B]``, or None. Before the loss is taken, the learner samples
            other prompts in the place of groups that are not kept (dynamic sampling).
        controller: rewrites hyper-parameters between rollouts, or None. The learner calls it; its values reach the
            stages through :meth:`with_parameters`.
        schedules: by name the hyper-parameters that follow a schedule. The learner asks for them with :meth:`at`.
        name: for messages.

    Raises:
        ToybedError: a parameter has a schedule and is set by the controller.
    """

    advantage: Callable[..., Tensor]
    surrogate: Callable[[Tensor, Tensor, Batch], Tensor]
    aggregate: Callable[..., Tensor]
    weight: Callable[..., TokenWeight] = every_token
    regularizers: tuple[Regularizer, ...] = ()
    shape_reward: Callable[..., Tensor] | None = None
    sampling: Callable[[int], tuple[Tensor, Tensor]] | None = None
    keep_group: Callable[[Tensor], Tensor] | None = None
    controller: Controller | None = None
    schedules: Mapping[str, Schedule] = field(default_factory=dict)
    name: str = "objective"

    def __post_init__(self) -> None:
        for name in set(self.schedules) & set(() if self.controller is None else self.controller.sets):
            raise ToybedError(f"{self.name}: {name} has a schedule, and the controller sets it; allowed: one of these")

    @property
    def needs(self) -> frozenset[str]:
        """Optional inputs that the stages read: fields of the batch, ``entropy``, ``log_probs``, ``generator``."""
        stages = (self.advantage, self.surrogate, self.weight, self.aggregate, self.shape_reward, *self.regularizers)
        return frozenset(name for stage in stages for name in needs_of(stage)) - {"log_prob"}

    @property
    def takes_vectors(self) -> str:
        """Whether it is made for vector rewards: "vector", "set" (M answers, too), or "" if for numbers.

        The stage that sees the reward first says so: what shapes it, else the advantage.
        """
        return vectors_of(self.shape_reward) or vectors_of(self.advantage)

    @property
    def parameters(self) -> dict[str, Any]:
        """The hyper-parameters that are bound in the stages, by name."""
        stages = (*(getattr(self, f.name) for f in fields(self)), *self.regularizers)
        return {k: v for stage in stages if isinstance(stage, partial) for k, v in stage.keywords.items()}

    def advantages(
        self,
        batch: Batch,
        *,
        log_prob: Tensor | None = None,
        generator: torch.Generator | Streams | None = None,
        check: bool = True,
    ) -> Tensor:
        """The advantages of a whole rollout batch, without gradient: rewards shaped, then the advantage stage.

        Args:
            batch: what was sampled.
            log_prob: under the current policy; that of sampling by default.
            generator: randomness, where a stage draws.
            check: whether values are looked at, too. A learner of stacked runs does not ask for it: there one run's
                NaN is that run's own end, and not an error of all.

        Raises:
            ToybedError: a group of one where responses are compared; a value that is not finite, or a response
                without a token.
        """
        if does_compare_group(self.advantage) and batch.log_prob_old.shape[-2] < 2:
            raise ToybedError(
                f"{self.name}: batch.reward has groups of 1 response; allowed: at least 2, because the advantage "
                "compares the responses of a group"
            )
        if check:
            self._check_values(batch, log_prob)
        batch = self.shaped(batch, generator=generator)
        given = {"log_prob": batch.log_prob_old if log_prob is None else log_prob.detach(), "generator": generator}
        wanted = {name: given[name] for name in needs_of(self.advantage) if name in given}
        return self.advantage(batch, **wanted).detach()

    def shaped(self, batch: Batch, *, generator: torch.Generator | Streams | None = None) -> Batch:
        """The batch with the reward that the advantage is taken of: penalties, a KL.

        Raises:
            ToybedError: the stage draws, and there is no generator.
        """
        if self.shape_reward is None:
            return batch
        if "generator" not in needs_of(self.shape_reward):
            return replace(batch, reward=self.shape_reward(batch))
        if generator is None:
            raise ToybedError(f"{self.name} needs generator: {HOW_TO_GET['generator']}")
        return replace(batch, reward=self.shape_reward(batch, generator=generator))

    def loss(
        self,
        log_prob: Tensor,
        batch: Batch,
        *,
        entropy: Tensor | None = None,
        log_probs: Tensor | None = None,
        generator: torch.Generator | Streams | None = None,
        advantage: Tensor | None = None,
    ) -> Loss:
        """The loss of each run, to be minimised.

        Args:
            log_prob: log-probability of the tokens under the current policy, with gradient, ``[..., B, G, T]``.
            batch: what was sampled.
            entropy: full-vocabulary entropy of the current policy, with gradient, where a stage needs it.
            log_probs: log-probabilities of the whole vocabulary ``[..., B, G, T, V]``, where a stage needs them.
            generator: randomness, where a stage draws.
            advantage: computed before by :meth:`advantages` on the whole rollout batch, when this is a mini-batch of
                it; by default computed here. An advantage that reads the current policy is computed here always.

        Raises:
            ToybedError: a shape does not fit, or an input that a stage needs is missing; or, where the advantage is
                computed here, as :meth:`advantages` does.
        """
        self._check(log_prob, batch, {"entropy": entropy, "log_probs": log_probs, "generator": generator})
        now = log_prob.detach()
        if advantage is None or "log_prob" in needs_of(self.advantage):
            advantage = self.advantages(batch, log_prob=now, generator=generator, check=advantage is None)
        advantage = advantage.detach()
        # Padding may hold anything; a ratio of 1 there keeps every later product finite.
        log_ratio = torch.where(batch.mask, now - batch.log_prob_old, 0.0)
        coefficient = self.surrogate(log_ratio, advantage, batch)
        weight, counted = self.weight(
            batch, advantage=advantage, log_prob=now, coefficient=coefficient, entropy=entropy, generator=generator
        )
        value = self.aggregate(-(weight * coefficient * advantage) * log_prob, batch.mask, counted)
        for regularizer in self.regularizers:
            extra = regularizer(log_prob, batch, advantage=advantage, entropy=entropy, log_probs=log_probs)
            value = value + token_mean(extra, batch.mask, batch.mask)

        def forward() -> Tensor:
            per_token = _paper_value(self.surrogate, log_ratio, advantage, batch, now)
            return self.aggregate(-weight * per_token, batch.mask, counted)

        return Loss(value, advantage, coefficient, weight, batch.mask, forward)

    def at(self, progress: float) -> Objective:
        """The objective with the hyper-parameters that its schedules have at a progress in [0, 1]."""
        if not self.schedules:
            return self
        return self.with_parameters(**{name: schedule(progress) for name, schedule in self.schedules.items()})

    def with_parameters(self, **values: Any) -> Objective:
        """The objective with some hyper-parameters changed, wherever in its stages or its controller they are bound.

        Values may be tensors ``[S, 1, 1, 1]``. This is how controllers and schedules act between steps.

        Raises:
            ToybedError: no stage has a parameter of that name.
        """
        used: set[str] = set()

        def rebind(stage: Any) -> Any:
            if isinstance(stage, partial):
                own = set(stage.keywords)
            elif stage is self.controller and is_dataclass(stage):
                own = {f.name for f in fields(stage)}
            else:
                return stage
            mine = {name: value for name, value in values.items() if name in own}
            used.update(mine)
            if not isinstance(stage, partial):
                return replace(stage, **mine)
            return partial(stage.func, **{**stage.keywords, **mine})

        changed: dict[str, Any] = {f.name: rebind(getattr(self, f.name)) for f in fields(self)}
        changed["regularizers"] = tuple(rebind(stage) for stage in self.regularizers)
        if missing := set(values) - used:
            raise ToybedError(f"{self.name} has no parameter {sorted(missing)[0]!r} to change")
        return Objective(**changed)

    def _check(self, log_prob: Tensor, batch: Batch, given: dict[str, Any]) -> None:
        expected = tuple(batch.log_prob_old.shape)
        for name, value in (("log_prob", log_prob), ("entropy", given["entropy"])):
            if value is not None and tuple(value.shape) != expected:
                raise ToybedError(
                    f"{self.name}: {name} has shape {list(value.shape)}; expected {list(expected)} [..., B, G, T]"
                )
        for name in sorted(self.needs):
            if (given[name] if name in given else getattr(batch, name)) is None:
                where = name if name in given else f"batch.{name}"
                raise ToybedError(f"{self.name} needs {where}: {HOW_TO_GET[name]}")

    def _check_values(self, batch: Batch, log_prob: Tensor | None) -> None:
        """Refuse what would spread through a mean without a trace: NaN, infinity, a response without a token."""
        if bool((empty := ~batch.mask.any(-1)).any()):
            raise ToybedError(
                f"{self.name}: batch.mask has no token in response {_place(empty)} [..., B, G]; allowed: at least one "
                "in each"
            )
        fields_read = ["log_prob_old", *(name for name in sorted(self.needs) if hasattr(batch, name))]
        given = {f"batch.{name}": getattr(batch, name) for name in ("reward", *fields_read)} | {"log_prob": log_prob}
        for name, value in given.items():
            # A sum of finite numbers is finite, and costs a tenth of looking at each: most batches end here.
            if value is None or not value.is_floating_point() or bool(torch.isfinite(value.sum())):
                continue
            bad = ~torch.isfinite(value)
            if value.shape == batch.mask.shape:  # padding may hold anything
                bad = bad & batch.mask
            if bool(bad.any()):
                raise ToybedError(f"{self.name}: {name} is {float(value[bad][0])} at {_place(bad)}; allowed: finite")


def _place(found: Tensor) -> list[int]:
    """The index of the first true entry."""
    place: list[int] = found.nonzero()[0].tolist()
    return place


def _paper_value(
    surrogate: Callable[..., Tensor], log_ratio: Tensor, advantage: Tensor, batch: Batch, log_prob: Tensor
) -> Tensor:
    function, options = (surrogate.func, surrogate.keywords) if isinstance(surrogate, partial) else (surrogate, {})
    value = getattr(function, "value", None)
    # A surrogate without a printed value is a score-function loss: its value is A log pi.
    return advantage * log_prob if value is None else value(log_ratio, advantage, batch, **options)
