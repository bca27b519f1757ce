"""From a setting and seeds to curves: the base policy, the learner, and exact measurements on the way.

Everything that determines a run's numbers is below this line of the house; the store names a run by the hash of its
configuration and of this code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from toybed.agents.adaptation import AdaptationMeter
from toybed.agents.config import Critique, Heads, Imitation, Learning, Setting, Soft, Spec
from toybed.agents.critique import CritiqueGradient
from toybed.agents.heads import with_heads
from toybed.agents.imitation import Imitator
from toybed.agents.maml import MetaGradient
from toybed.agents.meter import Meter, MeterOfEach
from toybed.agents.optimization import POLICY_LOST
from toybed.agents.policies import POLICIES, Policy, flat_parameters, load_flat, make_policy
from toybed.agents.policy_gradient import PolicyGradient
from toybed.agents.recipes import recipe
from toybed.agents.results import Results, RunResult
from toybed.agents.soft_actor_critic import SoftActorCritic
from toybed.agents.subnetworks import trained_entries
from toybed.agents.supervised import fine_tune
from toybed.envs import WORLDS, make
from toybed.envs.core import TokenEnv
from toybed.envs.views import Worlds
from toybed.errors import ToybedError, unknown
from toybed.measures.update_anatomy import to_bf16
from toybed.objectives import catalogue
from toybed.objectives.functions import from_function
from toybed.objectives.objective import Objective
from toybed.own import name_of
from toybed.streams import Streams

Report = Callable[[int, float, float], None]
"""Called after each update with its number and the mean reward and entropy of the samples."""


def train_bases(
    setting: Setting, seeds: Sequence[int], device: str = "cpu", *, worlds: Sequence[Spec] | None = None
) -> NDArray[np.float32]:
    """The base policies of these seeds: initialised, and fine-tuned where the setting says so.

    Args:
        setting: world, policy, and how it is fine-tuned.
        seeds: root seeds of the S runs.
        device: "cpu" or "cuda".
        worlds: one for each run, in the place of the setting's; see :class:`~toybed.envs.views.Worlds`.

    Returns:
        Parameters of each, ``[S, D]``.
    """
    env = _world(setting, device, worlds)
    policy = make_policy(setting.policy.name, env, seeds, **setting.policy.options)
    if setting.supervised is not None:
        fine_tune(env, policy, setting.supervised, Streams("demonstrations", seeds, device))
    return flat_parameters(policy).cpu().numpy()


def train_runs(
    setting: Setting,
    seeds: Sequence[int],
    bases: NDArray[np.float32],
    *,
    device: str = "cpu",
    objective: Objective | None = None,
    learning_rates: Sequence[float] | None = None,
    found: NDArray[np.float32] | None = None,
    worlds: Sequence[Spec] | None = None,
    report: Report | None = None,
) -> list[RunResult]:
    """Train one stack of runs, one for each seed, from their base policies.

    Args:
        setting: what is trained.
        seeds: root seeds of the S runs.
        bases: the parameters that they start from, ``[S, D]``: from :func:`train_bases`, or of the run that this one
            continues. The temperature and the rounding of ``setting.start`` are applied here.
        device: "cpu" or "cuda".
        learning_rates: one for each run, in the place of the setting's.
        objective: in the place of the setting's, for one that is not in the catalogue.
        found: where the runs ended, ``[S, D]``, that say which entries are trained (``setting.start.trains``).
        worlds: one for each run, in the place of the setting's; see :class:`~toybed.envs.views.Worlds`.
        report: called after each update.
    """
    env = _world(setting, device, worlds)
    policy, reference = (make_policy(setting.policy.name, env, seeds, **setting.policy.options) for _ in range(2))
    for each in (policy, reference):
        load_flat(each, torch.from_numpy(bases).to(device))
        each.flatten_logits(setting.start.temperature)
        if "bf16" in (setting.start.weights, setting.learning.weights):
            load_flat(each, to_bf16(flat_parameters(each)))
    if found is not None:
        policy.trained = trained_entries(
            setting.start.trains, policy, flat_parameters(reference), torch.from_numpy(found).to(device), seeds
        )
    if objective is None:
        objective = catalogue.get(setting.objective.name, **setting.objective.options)
    rates = None if learning_rates is None else torch.tensor(learning_rates, device=device)
    learner = _learner(setting, env, policy, objective, list(seeds), reference, rates)
    meter = _meter(setting, env, policy, reference, list(seeds))
    # A base or an earlier run that came to grief left parameters that are not finite.
    lost = ~meter.measure(0, {})
    diverged_at, cause = np.where(lost, 0, -1), np.where(lost, POLICY_LOST, 0)
    meter.measure_more(0)
    for update in range(1, setting.learning.updates + 1):
        due = update % setting.learning.measure_every == 0 or update == setting.learning.updates
        sampled = learner.update(measure=due)
        fresh = learner.diverged.cpu().numpy() & (diverged_at < 0)
        diverged_at[fresh] = update
        cause[fresh] = learner.cause.cpu().numpy()[fresh]
        if due:
            # A last step can leave parameters that no later loss gets to see.
            lost = ~meter.measure(update, sampled) & (diverged_at < 0)
            if setting.probes_on_the_way and update < setting.learning.updates:
                meter.probe(update)
            diverged_at[lost] = update
            cause[lost] = POLICY_LOST
        if report is not None:
            report(update, _mean(sampled["reward"]), _mean(sampled["entropy"]))
    if setting.learning.updates:
        meter.measure_more(setting.learning.updates)
    parameters = flat_parameters(policy).cpu().numpy()
    results = meter.results(diverged_at, cause)
    return [replace(result, parameters=row) for result, row in zip(results, parameters, strict=True)]


OF_SETTING = ("world", "policy", "heads", "supervised", "learner", "adaptation", "probes", "probes_on_the_way")


def train(
    objective: str | Objective | Callable[..., Tensor] = "grpo",
    *,
    seeds: int | Sequence[int] = 4,
    device: str = "cpu",
    **changes: Any,
) -> Results:
    """Train in this process, on one thread, and return the curves: the short way, without a store.

    >>> results = train("grpo", seeds=2, updates=2)
    >>> results.array("reward_test").shape
    (2, 2)

    Args:
        objective: a name of the catalogue, an :class:`~toybed.objectives.objective.Objective` of your own, or a
            function ``(log_prob, log_prob_old, advantage, mask) -> loss``.
        seeds: how many, or which.
        device: "cpu" or "cuda".
        **changes: fields of :class:`~toybed.agents.config.Setting` (:data:`OF_SETTING`) or of
            :class:`~toybed.agents.config.Learning` (``updates``, ``group``, ...). A world may be given as it is, a
            policy as the class of a module, probes as functions. In another world than the usual one the base policy is
            that of the world's :func:`~toybed.agents.recipes.recipe`; ``supervised=None`` is none.

    Raises:
        ToybedError: a name is unknown or a value not allowed.
    """
    chosen = list(range(seeds)) if isinstance(seeds, int) else list(seeds)
    if not chosen:
        raise ToybedError(f"seeds is {seeds}; allowed: at least 1")
    setting = setting_of(changes)
    if isinstance(objective, str):
        objective = catalogue.get(objective)
    build = objective if isinstance(objective, Objective) else from_function(objective)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # on more, a run in a stack is not bitwise the run alone
    try:
        runs = train_runs(setting, chosen, train_bases(setting, chosen, device), device=device, objective=build)
    finally:
        torch.set_num_threads(threads)
    return Results(runs, [{"objective": build.name, "seed": seed} for seed in chosen])


def setting_of(changes: Mapping[str, Any]) -> Setting:
    """The setting that :func:`train`'s keywords describe.

    Raises:
        ToybedError: a keyword is unknown or a value not allowed.
    """
    own = {name: value for name, value in changes.items() if name in OF_SETTING}
    learning = {name: value for name, value in changes.items() if name not in OF_SETTING}
    allowed = [field.name for field in fields(Learning)]
    for name in learning:
        if name not in allowed:
            raise unknown("argument of train", name, [*allowed, *OF_SETTING, "device", "seeds"])
    if "heads" in own and not isinstance(own["heads"], Heads):
        own["heads"] = Heads(own["heads"])
    if "probes" in own:
        own["probes"] = tuple(probe if isinstance(probe, str) else name_of(probe) for probe in own["probes"])
    own |= {name: spec_of(own[name]) for name in ("world", "policy") if name in own}
    if "world" in own and "supervised" not in own:
        own["supervised"] = recipe(own["world"]).supervised
    return Setting(**own).with_learning(**learning)


def spec_of(thing: str | Spec | TokenEnv | type) -> Spec:
    """A world or a policy as it is written into a setting: a name, a Spec, a world, or a class that can be imported.

    Raises:
        ToybedError: the class cannot be imported by a name.
    """
    if isinstance(thing, Spec | str):
        return thing if isinstance(thing, Spec) else Spec(thing)
    cls, options = (thing, {}) if isinstance(thing, type) else (type(thing), _knobs(thing))
    name = name_of(cls)
    known = {entry: own for own, entry in POLICIES.items()} | {world.entry: world.name for world in WORLDS.values()}
    return Spec(known.get(name, name), options)


def _knobs(world: TokenEnv) -> dict[str, Any]:
    return {knob.name: getattr(world, knob.name) for knob in fields(world) if knob.init and knob.name != "device"}


def tensor_sizes(setting: Setting) -> tuple[int, ...]:
    """How many parameters each tensor of a policy of this setting has, in the order in which they are laid out."""
    policy = make_policy(setting.policy.name, _world(setting, "cpu"), [0], **setting.policy.options)
    return tuple(p[0].numel() for p in policy.parameters())


class Learner(Protocol):
    """What trains a stack of policies, update by update."""

    @property
    def diverged(self) -> Tensor:
        """Runs that came to grief, bool ``[S]``."""

    @property
    def cause(self) -> Tensor:
        """Why, as an index into :data:`~toybed.agents.optimization.CAUSES`, ``[S]``."""

    def update(self, *, measure: bool = True) -> dict[str, Tensor]:
        """One update, and what was measured, each ``[S]``: ``reward`` and ``entropy`` among it."""


def _learner(
    setting: Setting,
    env: TokenEnv,
    policy: Policy,
    objective: Objective,
    seeds: list[int],
    reference: Policy,
    rates: Tensor | None,
) -> Learner:
    learning, stage = setting.learning, setting.start.stage
    if setting.learner is None:
        return PolicyGradient(env, policy, objective, learning, seeds, reference, learning_rate=rates, stage=stage)
    if isinstance(setting.learner, Soft):
        return SoftActorCritic(
            env, policy, setting.policy, learning, setting.learner, seeds, learning_rate=rates, stage=stage
        )
    if isinstance(setting.learner, Critique):
        return CritiqueGradient(
            env, policy, objective, learning, seeds, reference, setting.learner, learning_rate=rates, stage=stage
        )
    if isinstance(setting.learner, Imitation):
        return Imitator(env, policy, learning, setting.learner, seeds, learning_rate=rates, stage=stage)
    return MetaGradient(
        env, policy, setting.policy, objective, learning, setting.learner, seeds, learning_rate=rates, stage=stage
    )


def _world(setting: Setting, device: str, worlds: Sequence[Spec] | None = None) -> TokenEnv:
    each = [make(world.name, **world.options).on(device) for world in worlds or (setting.world,)]
    return with_heads(each[0], setting.heads) if worlds is None else Worlds.of(each)


def _meter(setting: Setting, env: TokenEnv, policy: Policy, reference: Policy, seeds: list[int]) -> Meter | MeterOfEach:
    if not isinstance(env, Worlds):
        adaptation = None
        if setting.adaptation is not None:
            adaptation = AdaptationMeter(env, setting.policy, seeds, setting.adaptation)
        return Meter(env, policy, setting.probes, adaptation, start=reference, seeds=seeds)

    def alone(run: int) -> tuple[Policy, Meter]:
        own, start = (
            make_policy(setting.policy.name, env.each[run], seeds[run : run + 1], **setting.policy.options)
            for _ in range(2)
        )
        for each, stacked in ((own, policy), (start, reference)):
            load_flat(each, flat_parameters(stacked)[run : run + 1])
        return own, Meter(env.each[run], own, setting.probes, start=start, seeds=seeds[run : run + 1])

    return MeterOfEach(policy, [alone(run) for run in range(len(seeds))])


def _mean(value: Tensor) -> float:
    return float(value.nanmean())
