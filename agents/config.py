"""What determines a training run, as plain records that need no torch to be read, compared or hashed.

How a policy learns where that is not plain policy gradient stands in :mod:`~toybed.agents.learners`; all are to be had
from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

from toybed.agents.learners import Adaptation as Adaptation
from toybed.agents.learners import Critique as Critique
from toybed.agents.learners import Imitation as Imitation
from toybed.agents.learners import Meta as Meta
from toybed.agents.learners import Soft as Soft
from toybed.agents.spec import Spec as Spec
from toybed.agents.spec import at_least
from toybed.errors import ToybedError, unknown


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
        at_least(self, 0, "steps")
        at_least(self, 1, "demonstrations")

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
        train_on: the part of the train prompts that is trained on, as a range of an order that is drawn by the run's
            seed alone: of one seed (0, 0.5) and (0.5, 1) have no prompt in common. Measures are still of all of them.
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
        at_least(self, 0, "updates", "weight_decay", "replicate")
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
        at_least(self, 1, "prompts", "group", "epochs", "minibatches", "measure_every")
        if self.prompts % self.minibatches:
            raise ToybedError(f"Learning: {self.prompts} prompts do not divide into {self.minibatches} minibatches")


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
        at_least(self, 1, "count")
        if self.by not in SHARED_BY:
            raise unknown("kind of heads", self.by, SHARED_BY)


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

    def in_world(self, table_seed: int) -> Self:
        """The setting in another world of its kind: the seed that draws the world is set, in the run before it, too."""
        world = Spec(self.world.name, {**self.world.options, "table_seed": table_seed})
        before = self.start.after
        after = None if before is None else before.in_world(table_seed)
        return replace(self, world=world, start=replace(self.start, after=after))

    def with_learning(self, **changes: Any) -> Self:
        """The setting with some of its learning changed."""
        return replace(self, learning=replace(self.learning, **changes))
