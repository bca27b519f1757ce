"""Discrete soft actor-critic: a policy that is as random as its critics' values allow, learned from a replay.

Sources: arXiv 1812.05905 (SAC), 1910.07207 (for discrete actions), 1801.01290 (twin critics and their targets).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from toybed.agents.config import Learning, Soft, Spec
from toybed.agents.optimization import CRITIC_LOST, StackedAdam, StackedOptimizer, make_optimizer
from toybed.agents.policies import Policy, flat_parameters, load_flat, make_policy
from toybed.agents.policy_gradient import scheduled_kinds
from toybed.agents.replay import Cutter, Replay, Transitions
from toybed.agents.rollout import Rollout, draw_prompts, later_draws, rollout, training_prompts
from toybed.envs.core import TokenEnv
from toybed.errors import ToybedError, unknown
from toybed.measures.entropy import token_entropy
from toybed.streams import Streams


class Losses(NamedTuple):
    """Of one batch of transitions, all from the parameters as they are.

    Attributes:
        actor: ``[S]``.
        critics: ``[2 S]``, of all first critics, then of all second ones.
        surplus: entropy above the target (where there is none, above 0), nats, by kind of token, ``[S, K]``.
        q: mean value of the tokens that were taken, of the lower critic, ``[S]``.
    """

    actor: Tensor
    critics: Tensor
    surplus: Tensor
    q: Tensor


class SoftActorCritic:
    """Trains S policies in one world by discrete soft actor-critic.

    With the soft value ``V(s) = sum_v pi(v|s) [min_i Q_i(s, v) - alpha log pi(v|s)]`` over legal tokens, critic i has
    the loss ``mean [Q_i(s, v) - r - discount V'(s')]^2 / 2``, V' being that of the targets, which follow the critics
    slowly, and the policy ``mean_s sum_v pi(v|s) [alpha log pi(v|s) - min_i Q_i(s, v)]``. What a state is worth is
    read off what is *observed*: where observations hide something (the user's type, or the counters from a sub-policy)
    the critics know an average. A temperature that is learned follows ``log alpha -= rate (H - target)``: gradient
    descent on SAC's loss for it, without Adam, which a linear loss does not need.

    Every kind of token ("planning", "execution") has a temperature of its own and can be trained by itself. By default
    a kind's transitions lead to the next token of the same kind (``Soft.bootstrap``). In MIDialogue with
    ``level="both"`` the master then sees one transition for an option: its acts' rewards, and the counters after them.
    Token by token that world is a Markov decision process as well, but not in what is observed: after an option comes
    an act, which does not see the counters, and a master whose option is worth what follows it would be blind to them.
    With ``level="option"`` a token is an option, and the two are the same. A replay holds what other kinds did when
    they were other policies; a small one forgets that sooner.

    Critics are of the policy's kind of network, with weights of their own. In a table both start at 0 and stay the
    same.

    Args:
        env: the world.
        policy: the S policies, trained in place.
        spec: their name and options.
        learning: ``prompts * group`` episodes in an update, the policy's ``learning_rate`` and ``max_grad_norm``.
        soft: everything else.
        seeds: the runs' root seeds; sampling, the replay and the critics' weights have streams of their own.
        learning_rate: of the policy, one for each run, ``[S]``, in the place of the config's.
        stage: how many runs came before this one, which it continues: its random numbers are others than theirs.

    Attributes:
        critics: both critics, a policy of 2 S runs, whose logits are Q.
        targets: what follows them.
        log_temperature: ``[S, K]``, by kind of token.
    """

    def __init__(
        self,
        env: TokenEnv,
        policy: Policy,
        spec: Spec,
        learning: Learning,
        soft: Soft,
        seeds: list[int],
        *,
        learning_rate: Tensor | None = None,
        stage: int = 0,
    ) -> None:
        self.env, self.policy, self.learning, self.soft = env, policy, learning, soft
        later = later_draws(learning, stage)
        self.critics, self.targets = (_twins(spec, env, seeds, later) for _ in range(2))
        self._cutter = Cutter(env, soft.discount, soft.bootstrap)
        self._replay = Replay(soft.replay)
        self._sampling = Streams(f"rollout{later}", seeds, env.device)
        self._drawing = Streams(f"replay{later}", seeds, env.device)
        self._pool = training_prompts(env, learning, seeds)
        self._kinds = scheduled_kinds(env, learning)
        self._rate = (
            torch.as_tensor(learning.learning_rate, device=env.device) if learning_rate is None else learning_rate
        )
        self._optimizers: dict[frozenset[str], tuple[StackedOptimizer, StackedAdam]] = {}
        self._updates = 0
        kinds = len(self._cutter.kinds)
        self.log_temperature = torch.full((policy.runs, kinds), math.log(soft.temperature), device=env.device)

    @property
    def diverged(self) -> Tensor:
        """Runs whose policy or critics met a loss or gradient that is not finite, bool ``[S]``."""
        policy, critics = self._lost
        return policy | critics

    @property
    def cause(self) -> Tensor:
        """Why, as an index into :data:`~toybed.agents.optimization.CAUSES`, ``[S]``."""
        policy, critics = self._lost
        cause = torch.zeros_like(policy, dtype=torch.int64)
        for actor, _ in self._optimizers.values():
            cause = torch.where(actor.diverged, actor.cause, cause)
        return torch.where(critics & ~policy, CRITIC_LOST, cause)

    @property
    def _lost(self) -> tuple[Tensor, Tensor]:
        policy = torch.zeros(self.policy.runs, dtype=torch.bool, device=self.env.device)
        critics = policy
        for actor, critic in self._optimizers.values():
            policy = policy | actor.diverged
            first, second = critic.diverged.view(2, -1)
            critics = critics | first | second
        return policy, critics

    def update(self, *, measure: bool = True, kinds: frozenset[str] | None = None) -> dict[str, Tensor]:
        """Collect episodes, then take the gradient steps.

        Args:
            measure: not read: all measures are free here.
            kinds: which kinds of tokens are trained, None: those of the schedule, or all. The others' states count in
                no loss. In a table their rows do not move, not by Adam's memory either: every choice of kinds has an
                optimiser of its own. In a network that they share they move along.

        Returns:
            Measures, each ``[S]``: ``reward`` and ``entropy`` of the episodes; ``temperature``, mean over an episode's
            tokens (and ``temperature_x`` of each kind x, where there are more than one); ``critic_loss``, ``q`` (mean
            of the lower critic's value of what was done) and ``grad_norm`` of the policy, means over the steps.

        Raises:
            ToybedError: the world has no token of such a kind.
        """
        scheduled = next(self._kinds)
        if kinds is None and scheduled is not None:
            kinds = frozenset({scheduled})
        chosen = self._checked(kinds)
        sample = self._collect()
        self._updates += 1
        count, size = self.soft.steps, self.soft.batch
        batches = self._replay.draw(self._drawing.uniform((count * size,)))
        steps = []
        for start in range(0, count * size, size):
            part = slice(start, start + size)
            batch = Transitions(*(None if x is None else x[:, part] for x in batches))  # type: ignore[arg-type]
            steps.append(self._step(batch, chosen))
        measured = {"reward": sample.reward.mean((1, 2)), "entropy": sample.entropy.mean((1, 2, 3))}
        measured |= {name: torch.stack([step[name] for step in steps], 1).mean(1) for name in steps[0]}
        return measured | self._temperatures()

    def losses(self, batch: Transitions, trained: Tensor) -> Losses:
        """What is made small, on transitions of which some count, ``trained`` bool ``[S, N]``."""
        target = batch.reward + batch.discount * self._value(batch)
        q = self._twice(self.critics, batch.observation)
        taken = q.gather(-1, batch.token[None, :, :, None].expand(2, -1, -1, -1)).squeeze(-1)
        lower = q.detach().amin(0)
        log_probs = self.policy.log_probs(batch.observation, batch.legal)
        alpha = self._temperature(batch.kind)
        actor = (log_probs.exp() * (alpha[..., None] * log_probs - lower)).sum(-1)
        return Losses(
            actor=_mean(actor, trained),
            critics=_mean((taken - target).square() / 2, trained).flatten(),
            surplus=self._surplus(log_probs.detach(), batch, trained),
            q=_mean(taken.detach().amin(0), trained),
        )

    def _collect(self) -> Rollout:
        prompt = draw_prompts(self._pool, self.learning.prompts, self._sampling)
        sample = rollout(self.env, self.policy, prompt, self.learning.group, self._sampling, stepwise=True)
        self._replay.add(self._cutter.cut(sample))
        return sample

    def _step(self, batch: Transitions, chosen: frozenset[str]) -> dict[str, Tensor]:
        """One gradient step of critics, policy and temperature, and what it did, each ``[S]``."""
        learned = torch.tensor([kind in chosen for kind in self._cutter.kinds], device=self.env.device)
        loss = self.losses(batch, learned[batch.kind])
        actor, critic = self._optimizers_of(chosen)
        critic.step(loss.critics)
        norm = torch.zeros_like(loss.q)
        if self._updates > self.soft.warmup:
            norm = actor.step(loss.actor)
            if self.soft.target_entropy is not None:
                self.log_temperature = self.log_temperature - self.soft.temperature_rate * loss.surplus
        with torch.no_grad():
            for there, here in zip(self.targets.parameters(), self.critics.parameters(), strict=True):
                there.lerp_(here, self.soft.target_rate)
        critic_loss = loss.critics.detach().view(2, -1)
        return {"critic_loss": (critic_loss[0] + critic_loss[1]) / 2, "q": loss.q, "grad_norm": norm}

    @torch.no_grad()
    def _value(self, batch: Transitions) -> Tensor:
        """The targets' soft value of what follows, ``[S, N]``."""
        alpha = self._temperature(batch.following_kind)
        log_probs = self.policy.log_probs(batch.following, batch.following_legal)
        lower = self._twice(self.targets, batch.following).amin(0)
        return (log_probs.exp() * (lower - alpha[..., None] * log_probs)).sum(-1)

    def _temperature(self, kind: Tensor) -> Tensor:
        """Of tokens of these kinds, ``[S, N]``."""
        return self.log_temperature.exp().gather(1, kind)

    @staticmethod
    def _twice(critics: Policy, observation: Tensor) -> Tensor:
        """What both critics say, ``[S, N, F]`` to ``[2, S, N, V]``."""
        return critics(torch.cat([observation, observation])).unflatten(0, (2, -1))

    def _surplus(self, log_probs: Tensor, batch: Transitions, trained: Tensor) -> Tensor:
        """By how much the entropy is above its target, mean over the trained tokens of each kind, ``[S, K]``."""
        words = log_probs.shape[-1] if batch.legal is None else batch.legal.sum(-1)
        target = (self.soft.target_entropy or 0.0) * torch.as_tensor(words, device=log_probs.device).log()
        kinds = torch.arange(len(self._cutter.kinds), device=log_probs.device)[:, None]
        counted = (batch.kind[:, None] == kinds) & trained[:, None]
        return _mean((token_entropy(log_probs) - target)[:, None].expand_as(counted), counted)

    def _temperatures(self) -> dict[str, Tensor]:
        now, names = self.log_temperature.exp(), self._cutter.kinds
        measured = {"temperature": now[:, self._cutter.kind].mean(1)}
        if len(names) > 1:
            measured |= {f"temperature_{name}": now[:, k] for k, name in enumerate(names)}
        return measured

    def _checked(self, kinds: frozenset[str] | None) -> frozenset[str]:
        there = self._cutter.kinds
        for kind in sorted(kinds or ()):
            if kind not in there:
                raise unknown(f"kind of token in {type(self.env).__name__}", kind, there)
        if kinds is not None and not kinds:
            raise ToybedError(f"kinds is empty; allowed: some of {', '.join(there)}, or None for all")
        return frozenset(there) if kinds is None else kinds

    def _optimizers_of(self, kinds: frozenset[str]) -> tuple[StackedOptimizer, StackedAdam]:
        """Of the policy and of the critics, when these kinds are trained."""
        if kinds not in self._optimizers:
            most = self.learning.max_grad_norm
            self._optimizers[kinds] = (
                make_optimizer(self.policy, self.learning, self._rate),
                StackedAdam(self.critics, self.soft.critic_rate, most),
            )
        return self._optimizers[kinds]


def _twins(spec: Spec, env: TokenEnv, seeds: Sequence[int], later: str) -> Policy:
    """Two networks for each run as one policy of 2 S runs, with weights of their own."""
    first, second = (
        make_policy(spec.name, env, seeds, stream=f"critic/{number}{later}", **spec.options) for number in (1, 2)
    )
    both = make_policy(spec.name, env, [*seeds, *seeds], **spec.options)
    load_flat(both, torch.cat([flat_parameters(first), flat_parameters(second)]))
    return both


def _mean(value: Tensor, counted: Tensor) -> Tensor:
    """Mean over the last axis of what counts, 0 where nothing does: ``[..., N]`` to ``[...]``."""
    return torch.where(counted, value, 0.0).sum(-1) / counted.sum(-1).clamp(min=1)
