"""Controllers that bring the entropy to a set-point: proportional-integral, steps, a band, a switch with memory.

They say which parameter they steer (``steered``), so that one controller serves a weight, a clip and a temperature.
The target may have a schedule: then it moves, and the controller follows it. As in ``controllers``, a record is frozen
and its state is a dict of tensors ``[S]``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from toybed.objectives.batch import Scalar
from toybed.objectives.controllers import (
    MEASURES,
    SCALES,
    State,
    check_option,
    first_seen,
    held,
    in_nats,
    per_run,
    starting_at,
    unseen,
)


@dataclass(frozen=True)
class ProportionalIntegral:
    """Answer an error of the entropy with a share of it, and with a share of all earlier errors.

    ``x = clip(rest + proportional e + integral sum e, least, most)``, with ``e = H - target`` and the sum over earlier
    rollouts

    ============  ======  ==================================================================
    symbol        shape   meaning
    ============  ======  ==================================================================
    x             [S]     the parameter named ``steered``
    H             [S]     ``watched``: "entropy" or "surprisal"
    target        number  ``entropy_target``, in nats or as a share of the run's first H
    rest          number  what x is without an error
    proportional  number  gain on the error, for each nat; its sign is that of x's effect on entropy, turned round
    integral      number  gain on the sum of earlier errors
    least, most   number  bounds of x
    ============  ======  ==================================================================

    Changes: the steered parameter. With an integral the error vanishes where entropy comes to rest and x is not at a
    bound; without one x can only differ from ``rest`` while there is an error, which therefore stays.
    Default: EntroPIC 1 and 0.01, target 0.1 nats, x in [-1, 1]. SCOPE-RL -1 and 0 about 1, target 0.5 nats, x in
    [0.8, 1.2]. Targets are a language model's; a toy states its own as a share of the entropy it starts with.
    Trap: only x is bounded. The sum goes on growing while x is at a bound, and must be unwound before x leaves it. The
    authors' code adds the errors up in every process and micro-batch, here it is once a rollout.
    Limit: gains of 0: x is ``rest``.
    Source: arXiv 2511.15248, EntroPIC ``dp_actor.py`` ``update_policy``; arXiv 2510.08141, SCOPE-RL's plugin.

    Raises:
        ToybedError: ``watched`` or ``target_scale`` is none of those.
    """

    steered: str
    entropy_target: Scalar
    target_scale: str
    rest: Scalar
    proportional: Scalar
    integral: Scalar
    least: Scalar
    most: Scalar
    watched: str

    def __post_init__(self) -> None:
        check_option("watched", self.watched, MEASURES)
        check_option("target_scale", self.target_scale, SCALES)

    @property
    def sets(self) -> tuple[str, ...]:
        """The parameter that it steers."""
        return (self.steered,)

    def begin(self, runs: int, device: torch.device | str = "cpu") -> State:
        """No error yet, and no entropy seen."""
        return {"errors": torch.zeros(runs, device=device), "initial": unseen(runs, device)}

    def update(self, state: State, measures: Mapping[str, Tensor]) -> tuple[State, dict[str, Tensor]]:
        """Answer this rollout's error; see :meth:`~toybed.objectives.controllers.Controller.update`."""
        entropy = measures[self.watched]
        initial, errors = first_seen(state["initial"], entropy), state["errors"].to(entropy)
        error = entropy - in_nats(self.entropy_target, self.target_scale, initial)
        answer = per_run(self.rest) + per_run(self.proportional) * error + per_run(self.integral) * errors
        value = held(answer, self.least, self.most)
        return {"errors": errors + error, "initial": initial}, {self.steered: value.view(-1, 1, 1, 1)}


@dataclass(frozen=True)
class Stepping:
    """Move a parameter by one step, up below the target entropy and down above it.

    ``x <- clip(x + step sign(target - H), least, most)``

    ===========  ======  ====================================================================
    symbol       shape   meaning
    ===========  ======  ====================================================================
    x            [S]     the parameter named ``steered``, ``start`` at first
    H            [S]     ``watched``: "entropy" or "surprisal"
    target       number  ``entropy_target``, in nats or as a share of the run's first H
    step         number  of x
    least, most  number  bounds of x
    ===========  ======  ====================================================================

    Changes: the steered parameter, which must be one that raises entropy when it is larger: an upper clip. x is a
    bounded integrator: entropy hovers about the target in a limit cycle, if x can hold it at all.
    Default: of an upper clip, 1.5 at least and at first, 4.0 at most, step 0.25, target 0.3 nats.
    Trap: a clip acts on stale updates only: with one update a batch nothing is steered.
    Limit: step 0: a constant parameter.
    Source: a port's README (MAI-style adaptive clip), by third-party description.

    Raises:
        ToybedError: ``watched`` or ``target_scale`` is none of those.
    """

    steered: str
    start: Scalar
    step: Scalar
    least: Scalar
    most: Scalar
    entropy_target: Scalar
    target_scale: str
    watched: str

    def __post_init__(self) -> None:
        check_option("watched", self.watched, MEASURES)
        check_option("target_scale", self.target_scale, SCALES)

    @property
    def sets(self) -> tuple[str, ...]:
        """The parameter that it steers."""
        return (self.steered,)

    def begin(self, runs: int, device: torch.device | str = "cpu") -> State:
        """The start value, and no entropy seen."""
        return starting_at(self.start, runs, device)

    def update(self, state: State, measures: Mapping[str, Tensor]) -> tuple[State, dict[str, Tensor]]:
        """One step of x; see :meth:`~toybed.objectives.controllers.Controller.update`."""
        entropy = measures[self.watched]
        initial = first_seen(state["initial"], entropy)
        direction = (in_nats(self.entropy_target, self.target_scale, initial) - entropy).sign()
        value = held(state["value"].to(entropy) + per_run(self.step) * direction, self.least, self.most)
        return {"value": value, "initial": initial}, {self.steered: value.view(-1, 1, 1, 1)}


@dataclass(frozen=True)
class Band:
    """One value of a parameter below a band of entropies, one above it, one within.

    ``x = below`` where ``H < low``, ``above`` where ``H > high``, ``within`` elsewhere

    ====================  ======  ==================================================================
    symbol                shape   meaning
    ====================  ======  ==================================================================
    x                     [S]     the parameter named ``steered``
    H                     [S]     ``watched``: "entropy" or "surprisal"
    low, high             number  ``entropy_low``, ``entropy_high``, in nats or as shares of the first H
    below, within, above  number  values of x
    ====================  ======  ==================================================================

    Changes: the steered parameter; nothing is remembered but the first entropy. Within the band it is inactive if
    ``within`` is the parameter's neutral value.
    Default: Entrocraft -1, 0, 1, of which responses are dropped, with a band that falls linearly from [0.6, 0.7] to
    [0.4, 0.5] nats. AEPO temperatures 1.2 at and below 0.5 nats and 0.8 above: a band of no width.
    Trap: entropy is what the last update left: a value that acts fast overshoots the band.
    Limit: all three values alike: a constant parameter.
    Source: arXiv 2604.26326 algorithm 1, entrocraft ``compute_grpo_range_outcome_advantage``; arXiv 2510.08141,
    AEPO ``ray_trainer.py``.

    Raises:
        ToybedError: ``watched`` or ``target_scale`` is none of those.
    """

    steered: str
    below: Scalar
    within: Scalar
    above: Scalar
    entropy_low: Scalar
    entropy_high: Scalar
    target_scale: str
    watched: str

    def __post_init__(self) -> None:
        check_option("watched", self.watched, MEASURES)
        check_option("target_scale", self.target_scale, SCALES)

    @property
    def sets(self) -> tuple[str, ...]:
        """The parameter that it steers."""
        return (self.steered,)

    def begin(self, runs: int, device: torch.device | str = "cpu") -> State:
        """No entropy seen."""
        return {"initial": unseen(runs, device)}

    def update(self, state: State, measures: Mapping[str, Tensor]) -> tuple[State, dict[str, Tensor]]:
        """Look where the entropy is; see :meth:`~toybed.objectives.controllers.Controller.update`."""
        entropy = measures[self.watched]
        initial = first_seen(state["initial"], entropy)
        low, high = (in_nats(x, self.target_scale, initial) for x in (self.entropy_low, self.entropy_high))
        below, within, above = (
            torch.as_tensor(per_run(x), dtype=entropy.dtype, device=entropy.device)
            for x in (self.below, self.within, self.above)
        )
        value = torch.where(entropy < low, below, torch.where(entropy > high, above, within)).expand_as(entropy)
        return {"initial": initial}, {self.steered: value.reshape(-1, 1, 1, 1)}


@dataclass(frozen=True)
class Hysteresis:
    """A switch between raising and lowering entropy, thrown at two thresholds and staying between them.

    ``s <- 1`` where ``H <= low``, ``0`` where ``H > high``, kept elsewhere; ``raising = s``, ``lowering = 1 - s``

    =========  ======  ====================================================================
    symbol     shape   meaning
    =========  ======  ====================================================================
    s          [S]     the mode: 1 raises entropy; 0 at first
    H          [S]     ``watched``: "entropy" or "surprisal"
    low, high  number  ``entropy_low``, ``entropy_high``, in nats or as shares of the first H
    =========  ======  ====================================================================

    Changes: the parameters named ``raising`` and ``lowering``, which are 1 where they act and 0 where not. Entropy
    swings between the thresholds; where these meet at the end of a run the swing has come to rest.
    Default: low 0.2 of the first entropy; high falls linearly from 1 to 0.2 of it ("oscillatory decay").
    Trap: how far entropy swings past a threshold is up to the speed of what is switched. The mode before the first
    crossing is not given; here it lowers, as entropy starts at the upper threshold.
    Limit: low = high: a switch without memory.
    Source: arXiv 2602.09782 section 4 and the authors' own summary of it.

    Raises:
        ToybedError: ``watched`` or ``target_scale`` is none of those.
    """

    raising: str
    lowering: str
    entropy_low: Scalar
    entropy_high: Scalar
    target_scale: str
    watched: str

    def __post_init__(self) -> None:
        check_option("watched", self.watched, MEASURES)
        check_option("target_scale", self.target_scale, SCALES)

    @property
    def sets(self) -> tuple[str, ...]:
        """The two parameters that it switches."""
        return (self.raising, self.lowering)

    def begin(self, runs: int, device: torch.device | str = "cpu") -> State:
        """Lowering, and no entropy seen."""
        return {"mode": torch.zeros(runs, device=device), "initial": unseen(runs, device)}

    def update(self, state: State, measures: Mapping[str, Tensor]) -> tuple[State, dict[str, Tensor]]:
        """Throw the switch or leave it; see :meth:`~toybed.objectives.controllers.Controller.update`."""
        entropy = measures[self.watched]
        initial = first_seen(state["initial"], entropy)
        low, high = (in_nats(x, self.target_scale, initial) for x in (self.entropy_low, self.entropy_high))
        mode = state["mode"].to(entropy)
        mode = torch.where(entropy <= low, 1.0, torch.where(entropy > high, 0.0, mode))
        values = {self.raising: mode.view(-1, 1, 1, 1), self.lowering: (1 - mode).view(-1, 1, 1, 1)}
        return {"mode": mode, "initial": initial}, values
