"""Meta-learning: policies from which a few gradient steps on one task's own responses lead far.

A task is a prompt, which the policy need not see. Parameters carry the run axis S; policies of S runs that are adapted
to K tasks each carry S * K, the tasks of a run side by side, and neither rollout nor objective notices.

Sources: MAML, arXiv 1703.03400; DiCE, 1802.05098; ProMP, 1810.06784; Reptile, 1803.02999.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from toybed.agents.choices import Choices
from toybed.agents.companions import Companions
from toybed.agents.config import Adaptation, Learning, Meta, Spec
from toybed.agents.optimization import make_optimizer
from toybed.agents.policies import Policy, make_policy
from toybed.agents.rollout import Rollout, later_draws, response_choices, rollout, training_prompts
from toybed.envs.core import TokenEnv
from toybed.errors import ToybedError
from toybed.objectives import catalogue
from toybed.objectives.batch import Batch
from toybed.objectives.objective import Objective
from toybed.streams import Streams

GIVEN = frozenset({"entropy_old", "planning", "entropy", "log_probs", "generator"})
"""Optional inputs of an objective that there are on the way: no critic, no reference, no log-partition."""


class TaskStreams(Streams):
    """Streams of S runs for S * K adapted policies: each run draws for its K tasks at once."""

    def __init__(self, name: str, seeds: Sequence[int], tasks: int, device: torch.device | str = "cpu") -> None:
        super().__init__(name, seeds, device)
        self._tasks = tasks

    def __len__(self) -> int:
        return super().__len__() * self._tasks

    def uniform(self, shape: Sequence[int], runs: Sequence[bool] | None = None) -> Tensor:
        """Uniform numbers in [0, 1), float32 ``[S * K, *shape]``."""
        return super().uniform((self._tasks, *shape), runs).flatten(0, 1)


class Adapted:
    """The policies of S runs with other parameters than their own: those adapted to K tasks each.

    Args:
        shell: a policy of S * K runs; its own parameters are never read.
        parameters: by name, ``[S * K, ...]``, with gradient to what they were adapted from.
    """

    def __init__(self, shell: Policy, parameters: dict[str, Tensor]) -> None:
        self._call, self.parameters = _Call(shell), parameters

    @property
    def values(self) -> list[Tensor]:
        """The parameters in their order."""
        return list(self.parameters.values())

    def log_probs(self, observation: Tensor, legal: Tensor | None = None) -> Tensor:
        """As :meth:`~toybed.agents.policies.Policy.log_probs`."""
        result: Tensor = self._with("log_probs", observation, legal)
        return result

    def choices(self, observation: Tensor, legal: Tensor | None = None, *, shared_start: bool = False) -> Choices:
        """As :meth:`~toybed.agents.policies.Policy.choices`."""
        result: Choices = self._with("choices", observation, legal, shared_start=shared_start)
        return result

    def table(self, env: TokenEnv) -> Tensor:
        """As :meth:`~toybed.agents.policies.Policy.table`: ``[S * K, C, V]``."""
        result: Tensor = self._with("table", env)
        return result

    def moved(self, gradients: Sequence[Tensor], rate: float) -> Adapted:
        """One step of plain gradient descent."""
        steps = zip(self.parameters.items(), gradients, strict=True)
        return Adapted(self._call.policy, {name: value - rate * gradient for (name, value), gradient in steps})

    def _with(self, method: str, *args: Any, **options: Any) -> Any:
        own = {f"policy.{name}": value for name, value in self.parameters.items()}
        return functional_call(self._call, own, (method, *args), options)


class _Call(nn.Module):
    """Any method of a policy as a module's forward, which is all that ``torch.func`` calls."""

    def __init__(self, policy: Policy) -> None:
        super().__init__()
        self.policy = policy

    def forward(self, method: str, *args: Any, **options: Any) -> Any:
        return getattr(self.policy, method)(*args, **options)


class Adapter:
    """Adapts the policies of S runs to K tasks each, by plain gradient descent on their own responses.

    ``theta_k <- theta_k - rate * grad L(theta_k; responses to task k)``

    Args:
        env: the world.
        policy: name and options of the policies.
        seeds: the S runs' root seeds.
        tasks: K.
        config: objective, steps and rate.

    Raises:
        ToybedError: the objective needs what there is not here, or the world names no tokens of the kind to learn from.
    """

    def __init__(self, env: TokenEnv, policy: Spec, seeds: Sequence[int], tasks: int, config: Adaptation) -> None:
        self.env, self.tasks, self.config = env, tasks, config
        self.objective = catalogue.get(config.objective.name, **config.objective.options)
        if "generator" in self.objective.needs:  # the steps are taken anew with the outer loss, and have to be the same
            raise ToybedError(
                f"{self.objective.name} draws at random; allowed in an adaptation: objectives that do not"
            )
        each = [seed for seed in seeds for _ in range(tasks)]
        self._shell = make_policy(policy.name, env, each, **policy.options)
        self._reader = Reader(env, self.objective, each, config.tokens)

    def spread(self, policy: Policy) -> Adapted:
        """The policies as they are, once for each task; their gradient is the sum over the tasks."""
        parameters = {
            name: value[:, None].expand(-1, self.tasks, *value.shape[1:]).flatten(0, 1)
            for name, value in policy.named_parameters()
        }
        return Adapted(self._shell, parameters)

    def sample(self, adapted: Adapted, task: Tensor, group: int, streams: Streams) -> Rollout:
        """``group`` responses of each adapted policy to its task; ``task [S, K]``."""
        return rollout(self.env, adapted.log_probs, task.flatten()[:, None], group, streams)

    def step(self, adapted: Adapted, sample: Rollout, *, sampling: str | None, draws: Streams) -> Adapted:
        """One step on a sample.

        Args:
            adapted: where it starts.
            sample: responses ``[S * K, 1, G, ...]``.
            sampling: how the step depends on where it starts, of :data:`~toybed.agents.config.SAMPLING`; None: it is
                taken as a constant (first order).
            draws: randomness, where the objective draws.
        """
        log_prob, loss = self._reader.loss(adapted, sample, draws)
        if sampling is None:
            return adapted.moved(torch.autograd.grad(loss.sum(), adapted.values), self.config.rate)
        (pull,) = torch.autograd.grad(loss.sum(), log_prob, retain_graph=True)
        # 1 in value: the step is the same, and its derivative knows that other parameters sample other responses.
        chance = relative_chance(log_prob, sampling)
        gradients = torch.autograd.grad(
            [loss.sum(), log_prob],
            adapted.values,
            [torch.ones_like(loss.sum()), pull * (chance - 1)],
            create_graph=True,
        )
        return adapted.moved(gradients, self.config.rate)

    def adapt(self, adapted: Adapted, task: Tensor, sampling_streams: Streams, draws: Streams) -> list[Adapted]:
        """Adapt, first order, and return the policies before, after one step, after two, ...

        Args:
            adapted: where it starts.
            task: ``[S, K]``.
            sampling_streams: randomness of the responses.
            draws: where the objective draws.
        """
        stages = [adapted]
        for _ in range(self.config.steps):
            sample = self.sample(stages[-1], task, self.config.group, sampling_streams)
            stages.append(self.step(stages[-1], sample, sampling=None, draws=draws))
        return stages


def relative_chance(log_prob: Tensor, sampling: str) -> Tensor:
    """How likely the responses are, relative to what they were when sampled: 1 in value, and with a gradient.

    "plain": 1 for good. What MAML's public code differentiates; its Hessian ignores that the responses were sampled.
    "surrogate": each token by itself, ``exp(l_t - stop_gradient(l_t))``: ProMP's low-variance curvature.
    "score": the whole response, ``exp(sum_t [l_t - stop_gradient(l_t)])``: DiCE's magic box. The derivative of the
    expected step is then unbiased for objectives that credit a response with its own reward less a baseline (REINFORCE,
    RLOO); a division by the group's std couples responses in a way that it does not follow.

    Args:
        log_prob: ``[..., G, T]``.
        sampling: one of the three.
    """
    if sampling == "plain":
        return torch.ones_like(log_prob)
    change = log_prob - log_prob.detach()
    return (change if sampling == "surrogate" else change.sum(-1, keepdim=True)).exp()


class Reader:
    """Makes an objective's loss of sampled responses, with gradient.

    Args:
        env: the world.
        objective: the loss.
        seeds: one for each policy of the stack.
        tokens: of which kind tokens are learned from, or "all".

    Raises:
        ToybedError: the objective needs what there is not here, or the world names no tokens of that kind.
    """

    def __init__(self, env: TokenEnv, objective: Objective, seeds: Sequence[int], tokens: str) -> None:
        for name in sorted(objective.needs - GIVEN):
            raise ToybedError(f"{objective.name} needs {name}, which there is not when a policy adapts to a task")
        for stage in ("controller", "keep_group", "sampling", "schedules"):
            if getattr(objective, stage):
                raise ToybedError(f"{objective.name} has the stage {stage}, which meta-learning does not follow")
        if tokens not in ("all", *env.kinds):
            kinds = ", ".join(sorted(set(env.kinds)))
            raise ToybedError(f"Adaptation: tokens is {tokens!r}; allowed in {type(env).__name__}: all, {kinds}")
        self._env, self._objective = env, objective
        self._companions = Companions(env, objective, Learning(), seeds, None)
        self._learned = torch.tensor([tokens in ("all", kind) for kind in env.kinds], device=env.device)

    def loss(self, policy: Adapted, sample: Rollout, draws: Streams) -> tuple[Tensor, Tensor]:
        """Log-probabilities of the tokens ``[S, B, G, T]`` and the loss ``[S]``."""
        choices = response_choices(self._env, policy, sample.observation, sample.legal)
        log_prob = choices.log_prob(sample.token)
        needs = self._objective.needs
        loss = self._objective.loss(
            log_prob,
            self._batch(sample),
            entropy=choices.entropy if "entropy" in needs else None,
            log_probs=choices.log_probs if "log_probs" in needs else None,
            generator=draws,
        )
        return log_prob, loss.value

    def _batch(self, sample: Rollout) -> Batch:
        batch = Batch(
            log_prob_old=sample.log_prob,
            mask=self._learned.expand_as(sample.log_prob),
            reward=self._companions.reward(sample),
            entropy_old=sample.entropy,
        )
        return self._companions.complete(batch, sample)


class MetaGradient:
    """Trains S policies so that they adapt well: the outer loop.

    ``L(theta) = mean_k L_outer(theta_k; responses of theta_k)`` with ``theta_k`` adapted to task k from ``theta``. The
    outer steps of an update (``epochs``) adapt anew from where theta has come to, on the same responses, as ProMP does;
    with the objective "ppo" that is ProMP.

    Args:
        env: the world.
        policy: the S policies, trained in place.
        spec: their name and options.
        objective: of the outer loss.
        learning: ``prompts`` tasks in an update, drawn from the train prompts without replacement, ``group`` responses
            to each after adaptation, ``epochs`` outer steps; ``minibatches`` is not read.
        meta: the method and the adaptation.
        seeds: the runs' root seeds.
        learning_rate: one for each run, ``[S]``, in the place of the config's.
        stage: how many runs came before this one, which it continues: its random numbers are others than theirs.

    Raises:
        ToybedError: an objective needs what there is not here; more tasks are wanted than there are train prompts.
    """

    def __init__(
        self,
        env: TokenEnv,
        policy: Policy,
        spec: Spec,
        objective: Objective,
        learning: Learning,
        meta: Meta,
        seeds: list[int],
        *,
        learning_rate: Tensor | None = None,
        stage: int = 0,
    ) -> None:
        self._pool = training_prompts(env, learning, seeds)
        if learning.schedule:
            raise ToybedError("Learning: meta-learning follows no schedule; allowed: (), and tokens of the adaptation")
        if learning.prompts > self._pool.shape[1]:
            raise ToybedError(
                f"{learning.prompts} tasks in an update; allowed: at most {self._pool.shape[1]} train prompts"
            )
        self.env, self.policy, self.learning, self.meta = env, policy, learning, meta
        tasks = learning.prompts
        self._adapter = Adapter(env, spec, seeds, tasks, meta.adaptation)
        each = [seed for seed in seeds for _ in range(tasks)]
        self._outer = Reader(env, objective, each, meta.adaptation.tokens if meta.only_adapted else "all")
        rate = learning.learning_rate if learning_rate is None else learning_rate
        self._optimizer = make_optimizer(policy, learning, rate)
        later = later_draws(learning, stage)
        self._choosing = Streams(f"tasks{later}", seeds, env.device)
        self._sampling = TaskStreams(f"rollout{later}", seeds, tasks, env.device)
        self._drawing = TaskStreams(f"objective{later}", seeds, tasks, env.device)

    @property
    def diverged(self) -> Tensor:
        """Runs that met a loss or gradient that is not finite, bool ``[S]``."""
        return self._optimizer.diverged

    @property
    def cause(self) -> Tensor:
        """Why, as an index into :data:`~toybed.agents.optimization.CAUSES`, ``[S]``."""
        return self._optimizer.cause

    def update(self, *, measure: bool = True) -> dict[str, Tensor]:
        """Sample, adapt, sample, and the outer steps.

        Args:
            measure: not read: all measures are free here.

        Returns:
            Measures of the responses, each ``[S]``: ``reward`` and ``entropy`` before adaptation, ``adapted_reward``
            and ``adapted_entropy`` after it, and ``grad_norm``, mean over the outer steps.
        """
        order = self._choosing.uniform(self._pool.shape[1:]).argsort(-1)
        task = self._pool.gather(1, order[:, : self.learning.prompts])
        adapted, inner = self._adapter.spread(self.policy), []
        for _ in range(self.meta.adaptation.steps):
            inner.append(self._adapter.sample(adapted, task, self.meta.adaptation.group, self._sampling))
            adapted = self._adapter.step(adapted, inner[-1], sampling=None, draws=self._drawing)
        outer = self._adapter.sample(adapted, task, self.learning.group, self._sampling)
        norms = [self._optimizer.step(self.loss(inner, outer)) for _ in range(self.learning.epochs)]
        first = inner[0] if inner else outer
        measured = {"reward": first.reward, "entropy": first.entropy}
        measured |= {"adapted_reward": outer.reward, "adapted_entropy": outer.entropy}
        means = {
            name: value.flatten(1).mean(1).view(-1, self.learning.prompts).mean(1) for name, value in measured.items()
        }
        return {**means, "grad_norm": torch.stack(norms, 1).mean(1)}

    def loss(self, inner: Sequence[Rollout], outer: Rollout) -> Tensor:
        """The outer loss of each run, mean over its tasks, ``[S]``, on responses that were sampled before.

        Of Reptile it is the loss whose gradient is the mean of ``theta - theta_k``.
        """
        start = adapted = self._adapter.spread(self.policy)
        sampling = self.meta.sampling if self.meta.method == "maml" else None
        for sample in inner:
            adapted = self._adapter.step(adapted, sample, sampling=sampling, draws=self._drawing)
        if self.meta.method == "reptile":
            moves = zip(start.values, adapted.values, strict=True)
            pulled = [(here * (here - there).detach()).flatten(1).sum(1) for here, there in moves]
            value = torch.stack(pulled).sum(0)
        else:
            value = self._outer.loss(adapted, outer, self._drawing)[1]
        return value.view(-1, self.learning.prompts).mean(1)
