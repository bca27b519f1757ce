"""Every named objective, as a row of stages.

A row is data: each stage names its function and gives every parameter, so that two objectives can be compared stage
by stage, a run can be named by the hash of what determines it, and the table can be printed without importing torch.
:func:`get` turns a row into an :class:`~toybed.objectives.objective.Objective`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from toybed.errors import ToybedError, unknown

if TYPE_CHECKING:
    from toybed.objectives.objective import Objective

STAGES = ("advantage", "surrogate", "weight", "regularizers", "aggregate", "keep_group")


@dataclass(frozen=True)
class Stage:
    """A function of ``toybed.objectives`` by name, with all its parameters spelled out."""

    function: str
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def source(self) -> Callable[..., Any]:
        """The function itself, without its parameters."""
        module, name = self.function.split(".")
        function: Callable[..., Any] = getattr(import_module(f"toybed.objectives.{module}"), name)
        return function

    def build(self) -> Callable[..., Any]:
        """The function with its parameters bound."""
        return partial(self.source, **self.parameters) if self.parameters else self.source

    def stackable(self, parameter: str) -> bool:
        """Whether the parameter may be a tensor ``[S, 1, 1, 1]`` with one value for each stacked run."""
        annotation = inspect.signature(self.source).parameters[parameter].annotation
        return str(annotation).startswith("Scalar")

    def __str__(self) -> str:
        arguments = ", ".join(f"{name}={value}" for name, value in self.parameters.items())
        return f"{self.function.split('.')[1]}({arguments})" if arguments else self.function.split(".")[1]


def stage(function: str, **parameters: Any) -> Stage:
    """Shorthand: ``stage("surrogates.ppo_clip", clip_low=0.2, clip_high=0.2)``."""
    return Stage(function, parameters)


@dataclass(frozen=True)
class Row:
    """One objective: its stages, where it comes from, and what to know about it.

    Attributes:
        name: the key of the catalogue.
        title: its name in print.
        year: of first publication.
        entropy: its effect on entropy as one reads of it: "falls", "falls fast", "falls slower", "set-point".
        source: paper and code in which its formula was read.
        verified: C read in the named code, P in the paper's text, D derived and checked numerically.
        summary: one line.
        parent: the row of which this is a variation; the difference is shown by :meth:`changed`.
        published: parameters as published, where the toy takes other values (with the reason in the stage's text).
        traps: what goes wrong in practice.
        limits: what it equals at the edge of its parameters.
    """

    name: str
    title: str
    year: int
    entropy: str
    source: str
    verified: str
    summary: str
    advantage: Stage
    surrogate: Stage
    aggregate: Stage
    weight: Stage = Stage("weights.every_token")
    regularizers: tuple[Stage, ...] = ()
    keep_group: Stage | None = None
    parent: str | None = None
    published: Mapping[str, Any] = field(default_factory=dict)
    traps: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()

    def stages(self) -> dict[str, tuple[Stage, ...]]:
        """Stage name to the functions in it: one, or none to several for ``regularizers`` and ``keep_group``."""
        values = {name: getattr(self, name) for name in STAGES}
        return {name: v if isinstance(v, tuple) else (v,) if v else () for name, v in values.items()}

    def parameters(self) -> dict[str, Any]:
        """All hyper-parameters with their values; a name occurs once in a row."""
        return {k: v for stages in self.stages().values() for s in stages for k, v in s.parameters.items()}

    def changed(self) -> tuple[str, ...]:
        """The stages in which this row differs from its parent (all, where it has none)."""
        if self.parent is None:
            return STAGES
        mine, theirs = self.stages(), row(self.parent).stages()
        return tuple(name for name in STAGES if mine[name] != theirs[name])

    def override(self, **values: Any) -> Row:
        """The row with other hyper-parameters; those of :data:`OPTIONAL` add their regulariser where it is missing.

        Raises:
            ToybedError: a name is not a parameter of this row.
        """
        result = self
        for name in sorted(set(values) & set(OPTIONAL) - set(result.parameters())):
            result = replace(result, regularizers=(*result.regularizers, OPTIONAL[name]))
        allowed = result.parameters()
        for name in values:
            if name not in allowed:
                raise unknown(f"parameter of {self.name}", name, {*allowed, *OPTIONAL})
        for name, stages in result.stages().items():
            changed = tuple(
                replace(s, parameters={k: values.get(k, v) for k, v in s.parameters.items()}) for s in stages
            )
            if changed != stages:
                stages_now: Any = changed if name == "regularizers" else changed[0]
                result = replace(result, **{name: stages_now})
        return result

    def build(self) -> Objective:
        """The Objective record with its parameters bound."""
        from toybed.objectives.objective import Objective

        return Objective(
            advantage=self.advantage.build(),
            surrogate=self.surrogate.build(),
            aggregate=self.aggregate.build(),
            weight=self.weight.build(),
            regularizers=tuple(stage.build() for stage in self.regularizers),
            keep_group=self.keep_group.build() if self.keep_group else None,
            name=self.name,
        )


OPTIONAL: dict[str, Stage] = {
    "entropy_coefficient": stage("regularizers.entropy_bonus", entropy_coefficient=0.0),
    "kl_coefficient": stage("regularizers.kl_reference", kl_coefficient=0.0, kl_estimator="k3"),
}
"""Regularisers that any row takes: ``get("grpo", entropy_coefficient=0.01)``."""

_ROWS: dict[str, Row] = {}


def register(new: Row) -> Row:
    """Add a row to the catalogue.

    Raises:
        ToybedError: the name is taken, or a parameter name occurs in two stages.
    """
    if new.name in _ROWS:
        raise ToybedError(f"objective {new.name!r} is already registered")
    every = [k for stages in new.stages().values() for s in stages for k in s.parameters]
    if len(every) != len(set(every)):
        raise ToybedError(f"objective {new.name!r} uses a parameter name in two stages: {sorted(every)}")
    _ROWS[new.name] = new
    return new


def derive(parent: Row, **changes: Any) -> Row:
    """A row that differs from its parent in the given fields; what is said *about* the parent is not inherited."""
    own = {f.name for f in fields(Row)} - set(STAGES) - {"parent"}
    about: dict[str, Any] = {"published": {}, "traps": (), "limits": ()}
    missing = own - set(changes) - set(about)
    if missing:
        raise ToybedError(f"a row derived from {parent.name!r} must say its own {', '.join(sorted(missing))}")
    return replace(parent, parent=parent.name, **{**about, **changes})


def names() -> tuple[str, ...]:
    """All names, in the order of the catalogue."""
    return tuple(_ROWS)


def row(name: str) -> Row:
    """The row of that name.

    Raises:
        ToybedError: there is none; the message has the nearest one.
    """
    if name not in _ROWS:
        raise unknown("objective", name, _ROWS, "toybed list objectives shows all")
    return _ROWS[name]


def get(name: str, **overrides: Any) -> Objective:
    """The named objective, with hyper-parameters overridden.

    >>> get("ppo", clip_high=0.28).name
    'ppo'

    Raises:
        ToybedError: the name or a parameter is unknown.
    """
    return row(name).override(**overrides).build()


GROUP_STD = stage("advantages.group_standardized", ddof=1, floor=1e-6)
CLIP = stage("surrogates.ppo_clip", clip_low=0.2, clip_high=0.2, dual_clip=None)
TOKEN_MEAN = stage("aggregation.token_mean")

REINFORCE = register(
    Row(
        name="reinforce",
        title="REINFORCE",
        year=1992,
        entropy="falls",
        source="Williams 1992; verl compute_policy_loss_reinforce",
        verified="C",
        summary="the reward times the score function; everything else is a variation on this",
        advantage=stage("advantages.outcome", baseline=0.0),
        surrogate=stage("surrogates.score_function"),
        aggregate=stage("aggregation.seq_mean_token_sum"),
        traps=("no ratio: after the first update on a batch its gradient is biased",),
    )
)
RLOO = register(
    derive(
        REINFORCE,
        name="rloo",
        title="RLOO",
        year=2024,
        entropy="falls",
        source="arXiv 2402.14740; verl, TRL rloo_trainer.py",
        verified="C",
        summary="REINFORCE with the mean of the other responses as baseline",
        advantage=stage("advantages.leave_one_out"),
        traps=("TRL's trainer of this name clips the ratio of the whole sequence and puts a KL into the reward",),
        limits=("G/(G-1) times dr_grpo's advantage",),
    )
)
PPO = register(
    derive(
        REINFORCE,
        name="ppo",
        title="PPO-clip, outcome reward",
        year=2017,
        entropy="falls fast",
        source="arXiv 1707.06347; verl compute_policy_loss_vanilla",
        verified="C",
        summary="clipped ratio; the reward whitened over the batch in the place of a critic",
        advantage=stage("advantages.batch_whitened", floor=1e-8),
        surrogate=CLIP,
        aggregate=TOKEN_MEAN,
        traps=(
            "at ratio 1 the clip is inert: with one update a batch this is whitened REINFORCE",
            "verl's loss of this name has a dual clip of 3 always on; here it is off",
        ),
        limits=("GAE with V = 0, gamma = lambda = 1", "clips to infinity: importance-weighted policy gradient"),
    )
)
GRPO = register(
    derive(
        PPO,
        name="grpo",
        title="GRPO",
        year=2024,
        entropy="falls fast",
        source="arXiv 2402.03300; verl compute_grpo_outcome_advantage, TRL grpo_trainer.py",
        verified="C",
        summary="PPO's clip on rewards standardised within the group of one prompt; no critic",
        advantage=GROUP_STD,
        aggregate=stage("aggregation.seq_mean_token_mean"),
        traps=(
            "the paper adds a k3 KL to the reference (kl_coefficient=...); verl and TRL have it off by default",
            "libraries disagree on the floor of the std (1e-4 to 1e-9) and on the aggregation (verl: token_mean)",
            "the loss is about zero on-policy while the gradient is not",
        ),
        limits=("times the group's std: dr_grpo's advantage", "at ratio 1: REINFORCE with the same advantage"),
    )
)
register(
    derive(
        GRPO,
        name="dr_grpo",
        title="Dr. GRPO",
        year=2025,
        entropy="falls fast",
        source="arXiv 2503.20783; understand-r1-zero train_zero_math.py",
        verified="C",
        summary="GRPO without the division by the std and without the division by the response's length",
        advantage=stage("advantages.group_centered"),
        aggregate=stage("aggregation.seq_mean_token_sum_norm", budget=None),
        published={"budget": 3000},
        traps=("verl forgot the mean over responses until 2026: its learning rates differ by the batch size",),
        limits=("(G-1)/G times rloo in expectation",),
    )
)
register(
    derive(
        GRPO,
        name="dapo",
        title="DAPO",
        year=2025,
        entropy="falls slower",
        source="arXiv 2503.14476; verl-recipe dapo/",
        verified="C",
        summary="clip-higher, every token weighs alike, and groups without spread are sampled anew",
        surrogate=stage("surrogates.ppo_clip", clip_low=0.2, clip_high=0.28, dual_clip=10.0),
        aggregate=TOKEN_MEAN,
        keep_group=stage("sampling.mixed_outcomes"),
        traps=(
            "dynamic sampling costs rollouts: compare at equal rollouts, not at equal updates",
            "the soft penalty for overlong responses is left out: responses here have one length",
            "TRL's 'dapo' is only the aggregation",
        ),
        limits=("equal clips and no dynamic sampling: grpo with token_mean", "for A < 0 independent of clip_high"),
    )
)
register(
    derive(
        GRPO,
        name="clip_cov",
        title="Clip-Cov",
        year=2025,
        entropy="falls slower",
        source="arXiv 2505.22617; Entropy-Mechanism-of-RL, verl compute_policy_loss_clip_cov",
        verified="C, P",
        summary="a few tokens, drawn among those of high covariance, lose their gradient",
        surrogate=stage("surrogates.ppo_clip", clip_low=1.0, clip_high=1.0, dual_clip=None),
        weight=stage("weights.drop_covariant", share=0.02, cov_low=0.96, cov_high=1.0, cov_scale="quantile"),
        aggregate=TOKEN_MEAN,
        published={"share": 2e-4, "cov_low": 1.0, "cov_high": 5.0, "cov_scale": "absolute"},
        traps=(
            "the authors' scripts widen the clip to [0, 2] as well, as this row does: set clip_low=clip_high=0.2 to "
            "change one thing at a time",
            "published bounds are for a vocabulary of 1e5 and std-normalised advantages",
        ),
        limits=("no candidates: grpo with token_mean and the same clip",),
    )
)
register(
    derive(
        GRPO,
        name="kl_cov",
        title="KL-Cov",
        year=2025,
        entropy="falls slower",
        source="arXiv 2505.22617; Entropy-Mechanism-of-RL, verl compute_policy_loss_kl_cov",
        verified="C, P",
        summary="the tokens of highest covariance are pulled back to where they were sampled; nothing is clipped",
        surrogate=stage("surrogates.importance_weighted"),
        regularizers=(stage("regularizers.covariance_penalty", share=0.02, penalty=1.0),),
        aggregate=TOKEN_MEAN,
        published={"share": 2e-3, "penalty": 1.0},
        traps=(
            "inert on the first update after sampling: |log ratio| has no gradient at ratio 1",
            "units slip between ports: per cent in the authors' code, a fraction in verl, 20 % in SkyRL",
        ),
        limits=(
            "share to 0 (one token is always selected), penalty = 0: importance-weighted policy gradient, not PPO",
        ),
    )
)
register(
    derive(
        GRPO,
        name="gppo",
        title="GPPO",
        year=2025,
        entropy="falls slower (claimed)",
        source="arXiv 2508.07629; KlearReasoner compute_gppo_loss",
        verified="C",
        summary="clipped tokens keep a gradient, of the clip's size",
        surrogate=stage("surrogates.gradient_preserving_clip", clip_low=0.2, clip_high=0.28, dual_clip=3.0),
        aggregate=TOKEN_MEAN,
        traps=("the dual-clip branch of the authors' code still has zero gradient, against its README",),
        limits=("PPO inside the clip; CE-GPPO with both coefficients 1",),
    )
)
