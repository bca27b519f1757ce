"""What determines a training run, as plain records that need no torch to be read, compared or hashed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

from toybed.errors import ToybedError, unknown


def _at_least(config: object, least: int, *names: str) -> None:
    for name in names:
        if getattr(config, name) < least:
            raise ToybedError(f"{type(config).__name__}: {name} is {getattr(config, name)}; allowed: at least {least}")


@dataclass(frozen=True)
class Spec:
    """A thing by name, with options: ``Spec("chain_reach", {"modulus": 61})``."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Supervised:
    """Supervised fine-tuning on responses of the world's demonstrator to train prompts.

    Args:
        steps: optimiser steps.
        demonstrations: responses in a step; each is drawn fresh.
        learning_rate: of Adam.
        demonstrator: options of :meth:`~toybed.envs.core.TokenEnv.demonstrator`.
        right_only: learn from the responses with full reward only, as from traces that a verifier has passed.
        before: what the policy was fine-tuned on before this, or None. The optimiser starts anew.
    """

    steps: int = 300
    demonstrations: int = 256
    learning_rate: float = 5e-3
    demonstrator: Mapping[str, Any] = field(default_factory=dict)
    right_only: bool = False
    before: Supervised | None = None

    def __post_init__(self) -> None:
        _at_least(self, 0, "steps")
        _at_least(self, 1, "demonstrations")

    @property
    def stages(self) -> tuple[Supervised, ...]:
        """The fine-tunings in their order, this one last."""
        return (self,) if self.before is None else (*self.before.stages, self)


OPTIMIZERS = ("adam", "adamw", "sgd")
FORMATS = ("fp32", "bf16")
"""Number formats of weights: float32, and bfloat16, its upper 16 bits."""

ORDERS = ("easy_first", "hard_first", "mixed", "adaptive")


@dataclass(frozen=True)
class Curriculum:
    """Which train prompts are drawn when.

    How hard a prompt is says the world (:meth:`~toybed.envs.core.TokenEnv.difficulty`).

    Args:
        order: "easy_first": the easiest share of the prompts, more of them as the run goes on. "hard_first": the
            hardest. "mixed": all alike, as without a curriculum. "adaptive": those that are neither solved nor out of
            reach, by each run's own rewards.
        start: the share at the start of a run.
        full: progress, in [0, 1], from which on all prompts are drawn; before, the share grows at constant speed.
        band: of "adaptive": recent mean rewards between which a prompt counts fully; one that was not drawn yet does.
        outside: of "adaptive": how much any other counts, against 1.
        memory: of "adaptive": what a prompt's recent reward keeps of what it was when it is drawn again.

    Source: growing shares, arXiv 1903.09848 (with a square root in the place of the constant speed); bands of pass
    rates, common in reinforcement learning of language models (DAPO, arXiv 2503.14476, keeps those strictly between
    none and all right).
    """

    order: str = "easy_first"
    start: float = 0.2
    full: float = 0.5
    band: tuple[float, float] = (0.1, 0.9)
    outside: float = 0.1
    memory: float = 0.5

    def __post_init__(self) -> None:
        if self.order not in ORDERS:
            raise unknown("order of Curriculum", self.order, ORDERS)
        for name in ("start", "full"):
            if not 0 < getattr(self, name) <= 1:
                raise ToybedError(f"Curriculum: {name} is {getattr(self, name)}; allowed: above 0, to 1")
        if not self.band[0] <= self.band[1]:
            raise ToybedError(f"Curriculum: band is {self.band}; allowed: the lower one first")
        if not 0 < self.outside <= 1:
            raise ToybedError(f"Curriculum: outside is {self.outside}; allowed: above 0, to 1")
        if not 0 <= self.memory < 1:
            raise ToybedError(f"Curriculum: memory is {self.memory}; allowed: 0, to below 1")

    def share(self, progress: float) -> float:
        """The share of the prompts that are drawn at a progress in [0, 1], where they are drawn by difficulty."""
        return self.start + (1 - self.start) * min(progress / self.full, 1.0)


@dataclass(frozen=True)
class Learning:
    """How a policy is trained by policy gradient.

    Every update samples ``prompts * group`` responses and then takes ``epochs * minibatches`` optimiser steps on
    them. With one step in all, every ratio is 1 and most objectives are one and the same.

    Args:
        updates: rollout batches.
        prompts: prompts in a batch (B).
        group: responses for each prompt (G).
        epochs: passes over a batch.
        minibatches: parts of a batch, each a step; groups stay whole.
        learning_rate: of the optimiser.
        max_grad_norm: clip of each run's gradient norm.
        measure_every: updates between two exact measurements; the start and the end are always measured.
        schedule: kinds of tokens with a number of updates each, over and over: (("planning", 6), ("execution", 3))
            trains a master for six updates and then its sub-policies for three. Empty: all tokens, always. Tokens that
            are not trained now are to the objective as if they were not there.
        optimizer: one of :data:`OPTIMIZERS`: "adam", "adamw" (with decoupled weight decay) or "sgd" (no momentum). A
            critic has Adam.
        weight_decay: of "adamw" and "sgd": each step also takes ``learning_rate * weight_decay`` of each weight.
        weights: the policy's number format. "fp32"; or "bf16": the start and what each step makes of the weights are
            rounded to bf16, so that a step below half the spacing of bf16 is lost. Moments and gradients stay float32.
        train_on: the part of the train prompts that is trained on, as a range of a fixed, shuffled order: (0, 0.5) and
            (0.5, 1) have no prompt in common. Measures are still of all of them.
        replicate: runs that differ in it alone start from one base and draw other prompts, responses and
            demonstrations.
        curriculum: which train prompts are drawn when; None: all alike, always.
    """

    updates: int = 150
    prompts: int = 32
    group: int = 8
    epochs: int = 1
    minibatches: int = 4
    learning_rate: float = 1e-3
    max_grad_norm: float = 1.0
    measure_every: int = 5
    schedule: tuple[tuple[str, int], ...] = ()
    optimizer: str = "adam"
    weight_decay: float = 0.0
    weights: str = "fp32"
    train_on: tuple[float, float] = (0.0, 1.0)
    replicate: int = 0
    curriculum: Curriculum | None = None

    def __post_init__(self) -> None:
        _at_least(self, 0, "updates", "weight_decay", "replicate")
        if self.optimizer not in OPTIMIZERS:
            raise unknown("optimizer of Learning", self.optimizer, OPTIMIZERS)
        if self.weights not in FORMATS:
            raise unknown("number format of weights", self.weights, FORMATS)
        if self.optimizer == "adam" and self.weight_decay:
            raise ToybedError(
                f"Learning: weight_decay is {self.weight_decay} with adam; allowed: 0, or optimizer='adamw', which "
                "takes it off the weights and not into the moments"
            )
        if not 0 <= self.train_on[0] < self.train_on[1] <= 1:
            raise ToybedError(f"Learning: train_on is {self.train_on}; allowed: a range from 0 to 1, not empty")
        if any(count < 1 for _, count in self.schedule):
            raise ToybedError(f"Learning: schedule is {self.schedule}; allowed: at least 1 update of each kind")
        if not (self.learning_rate > 0 and self.max_grad_norm > 0):
            raise ToybedError(
                f"Learning: learning_rate is {self.learning_rate} and max_grad_norm {self.max_grad_norm}; "
                "allowed: above 0"
            )
        _at_least(self, 1, "prompts", "group", "epochs", "minibatches", "measure_every")
        if self.prompts % self.minibatches:
            raise ToybedError(f"Learning: {self.prompts} prompts do not divide into {self.minibatches} minibatches")


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
        _at_least(self, 0, "steps", "rate")
        _at_least(self, 1, "group")


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


SHARED_BY = ("response", "group", "prompt")


@dataclass(frozen=True)
class Heads:
    """A policy of several heads: which one acts is shown to it as the first entry of what it sees.

    In a network that is an embedding of the head's number, so the policy is conditioned on its head from the first
    layer on. In the field "multi-head" more often means a trunk in common with an output layer for each head, which is
    not built here; a network for each head is ("mlp_per_head").

    Args:
        count: heads; 1 is the policy without any.
        by: what has a head of its own. "response": drawn uniformly for each, so that a group compares the heads and
            samples are those of the mixture. "group": drawn with the prompt, so that no head is compared with
            another; samples are those of the mixture all the same. "prompt": given by the prompt's number, for good:
            as many parameters, and no mixture.
    """

    count: int = 1
    by: str = "response"

    def __post_init__(self) -> None:
        if type(self.count) is not int:
            raise ToybedError(f"Heads: count is {self.count!r}; allowed: a whole number of at least 1")
        _at_least(self, 1, "count")
        if self.by not in SHARED_BY:
            raise unknown("kind of heads", self.by, SHARED_BY)


BOOTSTRAPS = ("kind", "token")
"""Whose value a critic takes for what comes after a token, see :class:`Soft`."""


@dataclass(frozen=True)
class Soft:
    """Discrete soft actor-critic: how its critics learn, and how much entropy is worth.

    Of :class:`Learning` it reads ``prompts * group``, the episodes of an update, ``learning_rate``, the policy's, and
    ``max_grad_norm``, of policy and critics; ``epochs`` and ``minibatches`` are not read.

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
        _at_least(self, 0, "warmup")
        _at_least(self, 1, "replay", "batch", "steps")
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
        _at_least(self, 1, "refined", "rounds")
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


TRAINED = ("all", "changed", "unchanged", "shuffled", "matched")


@dataclass(frozen=True)
class Start:
    """The policy with which a run starts, where that is not simply its base, and what of it is trained.

    Args:
        after: start where the run of this setting, of the same seed, ended; None is the base.
        keep: how far to go from that run's own start (0) to its end (1), along a straight line of parameters.
        temperature: the logits are divided by it: above 1 the policy starts flatter than it was, below 1 sharper.
        weights: "bf16" rounds the parameters to bf16 at the start, so that a run in "fp32" and one in "bf16" (of
            :class:`Learning`) start from the same policy.
        trains: other than "all", the run starts where ``after`` *started*, has its random numbers, and trains some
            entries only, the others stay: "changed", those that ``after`` changed, once start and end are rounded to
            bf16; "unchanged", all others; "shuffled", as many as it changed in each tensor, anywhere in it; "matched",
            as many as it changed of each tensor and each spacing of bf16, so of weights about as large.

    Only the parameters go on. The optimiser's moments, a controller, a critic and partitions begin anew; a KL to the
    reference is to this start, and not to the base; random numbers are drawn anew.
    """

    after: Setting | None = None
    keep: float = 1.0
    temperature: float = 1.0
    weights: str = "fp32"
    trains: str = "all"

    def __post_init__(self) -> None:
        if self.weights not in FORMATS:
            raise unknown("number format of a start", self.weights, FORMATS)
        if self.trains not in TRAINED:
            raise unknown("part that is trained", self.trains, TRAINED)
        if not 0 <= self.keep <= 1:
            raise ToybedError(f"Start: keep is {self.keep}; allowed: 0 to 1")
        if not self.temperature > 0:
            raise ToybedError(f"Start: temperature is {self.temperature}; allowed: above 0")
        if self.after is None and self.keep != 1:
            raise ToybedError(f"Start: keep is {self.keep}, of a run that is not named: say after which setting")
        if self.trains != "all" and self.after is None:
            raise ToybedError(f"Start: trains is {self.trains!r}, by a run that is not named: say after which setting")
        if self.trains != "all" and self.keep != 1:
            raise ToybedError(f"Start: keep is {self.keep} and trains {self.trains!r}; allowed together: keep=1")
        needs_its_start = self.after is not None and (self.keep != 1 or self.trains != "all")
        if needs_its_start and self.after is not None and self.after.start.temperature != 1:
            raise ToybedError(
                f"Start: keep is {self.keep} and trains {self.trains!r}, of a run that started at another temperature; "
                "allowed there: 1 and 'all'"
            )

    @property
    def stage(self) -> int:
        """How many runs come before, whose random numbers are not to be drawn again."""
        return 0 if self.after is None else self.after.start.stage + (self.trains == "all")


@dataclass(frozen=True)
class Setting:
    """Everything about a run but its seed.

    Args:
        objective: a name of the catalogue with overridden hyper-parameters.
        world: a name of ``toybed.envs`` with knobs.
        policy: "tabular", "mlp", "mlp_per_head", "hierarchical", "gru" or "transformer", with options.
        supervised: how the base policy is made; None trains from the random initialisation.
        learning: how it is trained from there.
        start: another start than the base. World, policy, heads and supervised are then those of the run it continues.
        probes: names of ``toybed.agents.probes`` that are measured at the start and at the end.
        probes_on_the_way: they are also measured whenever else something is.
        learner: None is policy gradient; :class:`Critique` is, on groups with refined responses; :class:`Meta` learns
            how to adapt; :class:`Soft` is an actor-critic and :class:`Imitation` goes on with supervised fine-tuning,
            which read no objective.
        adaptation: measured at the start and at the end: what the policy is worth to each task once it has adapted so.
        heads: how many heads the policy has. A table has a part for each; a network tells them apart by an embedding,
            or there is one for each ("mlp_per_head").
    """

    objective: Spec = Spec("grpo")
    world: Spec = Spec("chain_reach")
    policy: Spec = Spec("mlp")
    supervised: Supervised | None = Supervised(demonstrator={"noise": 0.35})
    learning: Learning = Learning()
    start: Start = Start()
    probes: tuple[str, ...] = ()
    heads: Heads = Heads()
    learner: Meta | Soft | Critique | Imitation | None = None
    adaptation: Adaptation | None = None
    probes_on_the_way: bool = False

    def __post_init__(self) -> None:
        before = self.start.after
        if before is not None and before.base_config() != self.base_config():
            raise ToybedError("Setting: a run that continues another has its world, policy, heads and supervised")
        if self.learner is not None and self.learning.curriculum is not None:
            raise ToybedError(f"Setting: {type(self.learner).__name__} follows no curriculum; allowed: None")

    def config(self) -> dict[str, Any]:
        """The setting as JSON would hold it."""
        return asdict(self)

    def base_config(self) -> dict[str, Any]:
        """The part that determines the base policy: runs that agree in it start from the same parameters."""
        config = self.config()
        return {name: config[name] for name in ("world", "policy", "heads", "supervised")}

    def with_learning(self, **changes: Any) -> Self:
        """The setting with some of its learning changed."""
        return replace(self, learning=replace(self.learning, **changes))
