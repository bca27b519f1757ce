"""How a policy learns where that is not plain policy gradient, as records that need no torch to be read or compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from toybed.agents.spec import Spec, at_least
from toybed.errors import ToybedError, unknown

SAMPLING = ("plain", "surrogate", "score")
"""How an adaptation's derivative treats the sampling, see :func:`toybed.agents.maml.relative_chance`."""


@dataclass(frozen=True)
class Adaptation:
    """How a policy adapts to one task, a prompt: plain gradient descent on its own responses.

    Args:
        objective: of these steps: one that neither draws at random nor keeps a state, and needs no critic or reference.
        steps: how many; each samples anew.
        group: responses for a step.
        rate: step size.
        tokens: of which kind tokens are learned from ("planning": a master adapts and its sub-policies do not), or
            "all".
    """

    objective: Spec = Spec("rloo")
    steps: int = 1
    group: int = 16
    rate: float = 0.5
    tokens: str = "all"

    def __post_init__(self) -> None:
        at_least(self, 0, "steps", "rate")
        at_least(self, 1, "group")


@dataclass(frozen=True)
class Meta:
    """Meta-learning: which gradient the parameters before adaptation get.

    Args:
        method: "maml"; "fomaml", which takes the inner steps as constants; or "reptile", which moves towards where
            they led.
        adaptation: the inner steps.
        sampling: of "maml", one of :data:`SAMPLING`.
        only_adapted: the outer loss, too, is of the tokens that the adaptation learns from only.
    """

    method: str = "maml"
    adaptation: Adaptation = Adaptation()
    sampling: str = "surrogate"
    only_adapted: bool = False

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("method", self.method, ("maml", "fomaml", "reptile")),
            ("sampling", self.sampling, SAMPLING),
        ):
            if value not in allowed:
                raise unknown(f"{name} of Meta", value, allowed)


BOOTSTRAPS = ("kind", "token")
"""Whose value a critic takes for what comes after a token, see :class:`Soft`."""


@dataclass(frozen=True)
class Soft:
    """Discrete soft actor-critic: how its critics learn, and how much entropy is worth.

    Of :class:`~toybed.agents.config.Learning` it reads ``prompts * group``, the episodes of an update,
    ``learning_rate``, the policy's, and ``max_grad_norm``, of policy and critics; ``epochs`` and ``minibatches`` are
    not read.

    Args:
        discount: of a reward, for each token that it comes later.
        temperature: what a nat of entropy is worth, in units of reward; where it is learned, its start.
        target_entropy: None holds the temperature; else it is learned, for each run and kind of token, so that the
            policy's entropy becomes this share of the logarithm of the number of legal tokens.
        temperature_rate: step size of the temperature's logarithm, for each nat by which the entropy is off. Where it
            outruns the policy, which is as slow as its own rate, the temperature falls to nothing or swings.
        replay: transitions that each run keeps, the newest ones; a transition is a token.
        batch: transitions for a gradient step, drawn uniformly with replacement.
        steps: gradient steps in an update.
        target_rate: how far the targets follow the critics with each step.
        critic_rate: of the critics' Adam.
        warmup: updates at the start in which only the critics learn: a policy that can do something already is not
            led astray by critics that know nothing yet.
        bootstrap: "kind": what comes after a token is worth what the critics say of the *next token of its kind*, and
            the rewards on the way are summed. So each kind of token is a learner in a world to which the others belong,
            and an option that is held for some acts is one transition of a semi-Markov decision process. "token": it is
            worth what they say of the next token, whatever its kind. In a world with one kind the two are the same.
    """

    discount: float = 0.99
    temperature: float = 0.1
    target_entropy: float | None = None
    temperature_rate: float = 0.003
    replay: int = 50_000
    batch: int = 256
    steps: int = 8
    target_rate: float = 0.02
    critic_rate: float = 3e-3
    warmup: int = 0
    bootstrap: str = "kind"

    def __post_init__(self) -> None:
        at_least(self, 0, "warmup")
        at_least(self, 1, "replay", "batch", "steps")
        for name in ("temperature", "temperature_rate", "critic_rate"):
            if not getattr(self, name) > 0:
                raise ToybedError(f"Soft: {name} is {getattr(self, name)}; allowed: above 0")
        if not 0 <= self.discount <= 1:
            raise ToybedError(f"Soft: discount is {self.discount}; allowed: 0 to 1")
        if not 0 < self.target_rate <= 1:
            raise ToybedError(f"Soft: target_rate is {self.target_rate}; allowed: above 0, to 1")
        if self.target_entropy is not None and not 0 < self.target_entropy < 1:
            raise ToybedError(
                f"Soft: target_entropy is {self.target_entropy}; allowed: between 0 and 1, or None for a temperature "
                "that is not learned"
            )
        if self.bootstrap not in BOOTSTRAPS:
            raise unknown("bootstrap of Soft", self.bootstrap, BOOTSTRAPS)


DEGREES = ("none", "number", "indicative", "located", "full", "solution")
"""What may be said of a response that is to be refined, from least to most, see :class:`Critique`."""
KEPT = ("right", "all")
TAKEN_FOR = ("refined", "demonstration")


@dataclass(frozen=True)
class Critique:
    """Policy gradient on groups in which some responses were refined after a critique, as Critique-GRPO has it.

    Of the G responses of a group the policy samples ``G - refined`` by itself; as many of these as are to be refined,
    those with the lowest reward, are then refined, each up to ``rounds`` times, as long as its critique calls it wrong.
    Refined ones are learned from as what they are without the critique: responses to the prompt. A critique is seen
    by nobody but the one who refines.

    Args:
        degree: what a critique says, and so what the refiner can do. "none": nothing, so he tries afresh, and the last
            attempt counts. "number", the share of right tokens: afresh, and the better one of two stays. "indicative",
            right or wrong: afresh, until it is called right. "located", the first token that fails: he keeps what is
            before it, draws another token in its place, and goes on from there. "full", also a right token for that
            place: he takes it with a chance ``comply``, else he draws as if it was located, and goes on from there.
            "solution" is no critique, but the control for it: instead of a refinement there is a right response, drawn
            once for each prompt uniformly from all solutions, whatever the policy says.
        refined: how many of a group are refined (n).
        rounds: of critique and refinement, at most; each is a response that is sampled.
        noise: the chance that a critique says something else than the truth.
        comply: the chance that a fix is taken.
        keep: "right": refinements that are not right in the end are left out: they get no gradient and move nobody's
            baseline. "all": they count as the wrong responses they are.
        taken_for: what an objective that reads the source of responses takes them for: "refined", or "demonstration".
    """

    degree: str = "full"
    refined: int = 1
    rounds: int = 6
    noise: float = 0.0
    comply: float = 0.8
    keep: str = "right"
    taken_for: str = "refined"

    def __post_init__(self) -> None:
        at_least(self, 1, "refined", "rounds")
        for name in ("noise", "comply"):
            if not 0 <= getattr(self, name) <= 1:
                raise ToybedError(f"Critique: {name} is {getattr(self, name)}; allowed: 0 to 1")
        for name, allowed in (("degree", DEGREES), ("keep", KEPT), ("taken_for", TAKEN_FOR)):
            if getattr(self, name) not in allowed:
                raise unknown(f"{name} of Critique", getattr(self, name), allowed)


@dataclass(frozen=True)
class Imitation:
    """Goes on by supervised fine-tuning, in the place of RL: it has the same curves, and the same start as RL has.

    An update draws ``prompts`` train prompts with ``group`` responses each, as RL does, but from the world's
    demonstrator; on these it takes ``epochs * minibatches`` steps of maximum likelihood. The objective is not read.

    Args:
        demonstrator: options of :meth:`~toybed.envs.core.TokenEnv.demonstrator`.
        right_only: learn from the responses with full reward only.
    """

    demonstrator: Mapping[str, Any] = field(default_factory=dict)
    right_only: bool = False
