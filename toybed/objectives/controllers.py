"""Controllers: what rewrites hyper-parameters between rollouts, from a measured entropy.

A controller is a frozen record; what changes is its *state*, a dict of tensors ``[S]`` with one value for each run. The
learner keeps the state (it can be pickled, and training resumed from it), calls :meth:`Controller.update` after each
rollout, and takes the loss with the parameters that it returns. A run's state never reads another run's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from toybed.errors import unknown
from toybed.objectives.batch import Scalar

State = dict[str, Tensor]
"""What a controller remembers of each run: name to ``[S]``."""

MEASURES = ("entropy", "surprisal")
SCALES = ("absolute", "initial")


class Controller(Protocol):
    """Steers hyper-parameters of an objective."""

    @property
    def sets(self) -> tuple[str, ...]:
        """The names of the parameters that it sets."""

    def begin(self, runs: int, device: torch.device | str = "cpu") -> State:
        """The state of ``runs`` runs before their first rollout."""

    def update(self, state: State, measures: Mapping[str, Tensor]) -> tuple[State, dict[str, Tensor]]:
        """The next state, and the parameters for the loss of this rollout, each ``[S, 1, 1, 1]``.

        Args:
            state: from :meth:`begin` or from the last call; it is not changed.
            measures: of the rollout, each ``[S]``: ``entropy``, the mean entropy of the visited positions, and
                ``surprisal``, the mean ``-log pi`` of the sampled tokens, its noisy stand-in.
        """


@dataclass(frozen=True)
class AdaptiveEntropy:
    """An entropy bonus that switches itself on below a target entropy.

    ``c <- clip(c + step, 0, cap)`` where ``H`` is below its target, ``clip(c - step, 0, cap)`` elsewhere; the loss gets
    ``c`` where H is below, 0 elsewhere

    ================  ===================  ====================================================================
    symbol            shape                meaning
    ================  ===================  ====================================================================
    H                 [S]                  ``watched``: "surprisal" of the sampled tokens, or "entropy"
    entropy_target    number               the target: in nats, or as a share of the run's first H
    target_scale      absolute, initial    what the target means
    coefficient_step  number               step of c
    coefficient_cap   number               largest c
    inclusive         bool                 below means ``H <= target``, not ``H < target``
    ================  ===================  ====================================================================

    Changes: ``entropy_coefficient``. c is a bounded integrator: entropy hovers about the target in a limit cycle.
    Default: Skywork-OR1 0.2 nats, step 1e-4, cap 0.005, strict, sampled surprisal, once a rollout. TRL 0.2 nats by
    default with 5.0 in its example, step 0.005, cap 1.0, inclusive, analytic entropy, once an optimiser step (here
    once a rollout). Both targets are a language model's; a toy states its own as a share of the entropy it starts with.
    Trap: one name, two controllers: TRL's cap is 200 times Skywork's. A target above what the policy starts with keeps
    the bonus on until c is at its cap.
    Limit: a cap or a target of 0: no bonus.
    Source: arXiv 2505.22312, Skywork-OR1 ``EntController``; TRL ``grpo_trainer.py``.

    Raises:
        ToybedError: ``watched`` or ``target_scale`` is none of those.
    """

    entropy_target: Scalar
    target_scale: str
    coefficient_step: Scalar
    coefficient_cap: Scalar
    inclusive: bool
    watched: str

    def __post_init__(self) -> None:
        check_option("watched", self.watched, MEASURES)
        check_option("target_scale", self.target_scale, SCALES)

    @property
    def sets(self) -> tuple[str, ...]:
        """The bonus's coefficient."""
        return ("entropy_coefficient",)

    def begin(self, runs: int, device: torch.device | str = "cpu") -> State:
        """No bonus yet, and no entropy seen."""
        return {"coefficient": torch.zeros(runs, device=device), "initial": unseen(runs, device)}

    def update(self, state: State, measures: Mapping[str, Tensor]) -> tuple[State, dict[str, Tensor]]:
        """One step of c; see :meth:`Controller.update`."""
        entropy = measures[self.watched]
        initial = first_seen(state["initial"], entropy)
        target = in_nats(self.entropy_target, self.target_scale, initial)
        below = entropy <= target if self.inclusive else entropy < target
        step = torch.where(below, 1.0, -1.0).to(entropy) * per_run(self.coefficient_step)
        coefficient = held(state["coefficient"].to(entropy) + step, 0.0, self.coefficient_cap)
        applied = torch.where(below, coefficient, 0.0)
        return {"coefficient": coefficient, "initial": initial}, {"entropy_coefficient": applied.view(-1, 1, 1, 1)}


@dataclass(frozen=True)
class EntropyDoubling:
    """Hold the entropy at its first value by doubling a parameter below it and halving it above.

    ``x <- clip(x * factor, least, most)`` where ``H < H_0``, ``clip(x / factor, least, most)`` where ``H > H_0``

    =============  ======  ==========================================================================
    symbol         shape   meaning
    =============  ======  ==========================================================================
    x              [S]     the parameter named ``steered``, ``start`` at first
    H, H_0         [S]     ``watched``: "entropy" or "surprisal", now and at the run's first rollout
    factor         number  above 1
    least, most    number  bounds of x
    =============  ======  ==========================================================================

    Changes: the steered parameter, which must be one that raises entropy when it is larger: ``zeta`` of REPO-R,
    ``clip_high`` of ADAPO.
    Default: factor 2, as described; the bounds are ours, three doublings either way, because a product has none.
    Trap: read in third-party descriptions only. They add that zeta "may flip sign"; how is not said, and it is left
    out. A parameter that acts after a delay overshoots: x grows until the entropy is back.
    Limit: factor 1: a constant parameter.
    Source: arXiv 2603.11682, by third-party descriptions.

    Raises:
        ToybedError: ``watched`` is no measure.
    """

    steered: str
    start: Scalar
    factor: Scalar
    least: Scalar
    most: Scalar
    watched: str

    def __post_init__(self) -> None:
        check_option("watched", self.watched, MEASURES)

    @property
    def sets(self) -> tuple[str, ...]:
        """The parameter that it steers."""
        return (self.steered,)

    def begin(self, runs: int, device: torch.device | str = "cpu") -> State:
        """The start value, and no entropy seen."""
        return starting_at(self.start, runs, device)

    def update(self, state: State, measures: Mapping[str, Tensor]) -> tuple[State, dict[str, Tensor]]:
        """Double, halve or keep; see :meth:`Controller.update`."""
        entropy = measures[self.watched]
        initial = first_seen(state["initial"], entropy)
        value, factor = state["value"].to(entropy), per_run(self.factor)
        moved = torch.where(entropy < initial, value * factor, torch.where(entropy > initial, value / factor, value))
        moved = held(moved, self.least, self.most)
        return {"value": moved, "initial": initial}, {self.steered: moved.view(-1, 1, 1, 1)}


def check_option(name: str, given: str, allowed: tuple[str, ...]) -> None:
    """Raise a ToybedError unless ``given`` is one of those allowed."""
    if given not in allowed:
        raise unknown(name, given, allowed)


def starting_at(start: Scalar, runs: int, device: torch.device | str) -> State:
    """The state of a controller that moves a parameter from its ``start`` on, and has seen no entropy."""
    value = torch.as_tensor(per_run(start), dtype=torch.get_default_dtype(), device=device)
    return {"value": value.expand(runs).clone(), "initial": unseen(runs, device)}


def unseen(runs: int, device: torch.device | str) -> Tensor:
    """The first entropy of runs that have not had one, ``[S]``."""
    return torch.full((runs,), torch.nan, device=device)


def first_seen(initial: Tensor, entropy: Tensor) -> Tensor:
    """The first entropy of each run: the one remembered, or this one where none is."""
    return torch.where(initial.isnan(), entropy, initial.to(entropy))


def per_run(value: Scalar) -> Scalar:
    """A hyper-parameter ``[S, 1, 1, 1]`` as ``[S]``; a number stays one."""
    return value.flatten() if isinstance(value, Tensor) else value


def in_nats(target: Scalar, scale: str, initial: Tensor) -> Scalar:
    """A target in nats, or as a share of each run's first entropy ``[S]``."""
    return per_run(target) * (initial if scale == "initial" else 1.0)


def held(value: Tensor, low: Scalar, high: Scalar) -> Tensor:
    """Values ``[S]`` within bounds."""
    bounds = (torch.as_tensor(per_run(bound), dtype=value.dtype, device=value.device) for bound in (low, high))
    least, most = bounds
    return torch.minimum(torch.maximum(value, least), most)
