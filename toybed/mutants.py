"""Objectives that are wrong on purpose, each a bug that the field's libraries really had.

A law that no mutant breaks proves nothing, and a mutant that no law breaks shows a hole: a test holds that every law
kills a mutant and that every mutant is killed. For teaching, they are a box of bugs to find: ``toybed mutants``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from toybed.objectives import catalogue, weights
from toybed.objectives.batch import Batch, per_token, takes_vectors
from toybed.objectives.vector_rewards import answer_sets
from toybed.objectives.weights import TokenWeight
from toybed.testing import Subject, subject_of


@dataclass(frozen=True)
class Mutant:
    """A wrong objective.

    Attributes:
        name: a word for tables.
        law: the law that is expected to kill it (others may too).
        story: what is wrong, and where it happened or how it happens.
        make: the wrong objective or plain function.
    """

    name: str
    law: str
    story: str
    make: Callable[[], Any]

    @property
    def subject(self) -> Subject:
        """The mutant as the laws see it."""
        return subject_of(self.make(), self.name)


MUTANTS: dict[str, Mutant] = {}


def _mutant(law: str, story: str) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    def add(make: Callable[[], Any]) -> Callable[[], Any]:
        name = make.__name__.strip("_")
        MUTANTS[name] = Mutant(name, law, story, make)
        return make

    return add


def _grpo(**stages: Any) -> Any:
    """GRPO with some of its stages replaced."""
    return replace(catalogue.get("grpo"), **stages)


def _standardized(reward: Tensor, axes: tuple[int, ...], floor: float) -> Tensor:
    centered = reward - reward.mean(axes, keepdim=True)
    return centered / (centered.square().mean(axes, keepdim=True).sqrt() + floor)


# -- advantages --------------------------------------------------------------------------------------------------------


@_mutant("finite", "no floor under the std: a group of equal rewards is 0/0 (NVIDIA-NeMo/RL#4161, UniRL#335)")
def _std_without_floor() -> Any:
    return _grpo(advantage=lambda batch: _standardized(per_token(batch.reward, batch), (-2,), 0.0))


@_mutant(
    "equal_rewards",
    "centred with a rounded mean: equal rewards leave rounding, which a tiny floor blows up to a signal",
)
def _rounding_as_signal() -> Any:
    def advantage(batch: Batch) -> Tensor:
        reward = per_token(batch.reward, batch)
        mean = reward.mean(-2, keepdim=True) * (1 + 1e-12)
        return (reward - mean) / ((reward - mean).square().mean(-2, keepdim=True).sqrt() + 1e-15)

    return _grpo(advantage=advantage)


@_mutant("stacked", "standardised over all leading axes: runs of a stack leak into each other")
def _std_over_runs() -> Any:
    def advantage(batch: Batch) -> Tensor:
        reward = per_token(batch.reward, batch)
        return _standardized(reward, tuple(range(reward.ndim)), 1e-6)

    return _grpo(advantage=advantage)


@_mutant("pure", "running mean of rewards kept inside the loss: the same batch gives another gradient the second time")
def _hidden_state() -> Any:
    seen: list[Tensor] = []

    def advantage(batch: Batch) -> Tensor:
        seen.append(batch.reward.mean())
        return per_token(batch.reward, batch) - torch.stack(seen).mean() - 0.01 * len(seen)

    return _grpo(advantage=advantage)


@_mutant(
    "pure", "shaped in place: with several epochs over the batch the entropy bonus adds up (2506.14758's inserted code)"
)
def _in_place_advantage() -> Any:
    def loss(log_prob: Tensor, log_prob_old: Tensor, advantage: Tensor, mask: Tensor) -> Tensor:
        log_prob_old.sub_(0.01)
        return _ppo(log_prob, log_prob_old, advantage, mask)

    return loss


@_mutant("improves", "advantages of the wrong sign: reward is minimised")
def _wrong_sign() -> Any:
    return _grpo(advantage=lambda batch: per_token(batch.reward.mean(-1, keepdim=True) - batch.reward, batch))


@_mutant("order", "baseline is the first response's reward, not the group's mean: the order of responses matters")
def _first_as_baseline() -> Any:
    return _grpo(advantage=lambda batch: per_token(batch.reward - batch.reward[..., :1], batch) * 1.0)


@_mutant("order", "baseline is the mean of a response's two neighbours: backwards it is the same, in another order not")
def _neighbours_as_baseline() -> Any:
    def advantage(batch: Batch) -> Tensor:
        before, after = batch.reward.roll(1, -1), batch.reward.roll(-1, -1)
        return per_token(batch.reward - (before + after) / 2, batch)

    return _grpo(advantage=advantage)


@_mutant("equal_rewards", "a singleton-style fallback gives equal rewards their raw reward (verl's group of one)")
def _raw_reward_if_equal() -> Any:
    def advantage(batch: Batch) -> Tensor:
        reward = per_token(batch.reward, batch)
        spread = reward.amax(-2, keepdim=True) > reward.amin(-2, keepdim=True)
        return torch.where(spread, reward - reward.mean(-2, keepdim=True), reward)

    return _grpo(advantage=advantage)


# -- vector rewards ----------------------------------------------------------------------------------------------------


@_mutant("components", "reward weights zipped with the components in the order of another list (names sorted, say)")
def _weights_by_place() -> Any:
    @takes_vectors("vector")
    def advantage(batch: Batch) -> Tensor:
        reward = answer_sets(batch).squeeze(-2)
        score = (reward / torch.arange(1, reward.shape[-1] + 1, dtype=reward.dtype)).sum(-1)
        return _standardized(per_token(score, batch), (-2,), 1e-6)

    return _grpo(advantage=advantage)


@_mutant("component_shift", "sets filled up with answers of reward 0, which beat every negative one (VPO's own code)")
def _padded_with_zeros() -> Any:
    @takes_vectors("set")
    def advantage(batch: Batch) -> Tensor:
        best = answer_sets(batch).mean(-1).amax(-1).clamp(min=0)
        return _standardized(per_token(best, batch), (-2,), 1e-6)

    return _grpo(advantage=advantage)


@_mutant("one_component", "the last axis is summed whatever it is: of a number that is the group")
def _sums_the_last_axis() -> Any:
    @takes_vectors("vector")
    def advantage(batch: Batch) -> Tensor:
        score = batch.reward.sum(-1).reshape(*batch.mask.shape[:-2], -1, 1)
        return score - score.mean(-2, keepdim=True)

    return _grpo(advantage=advantage)


@_mutant("answers", "only the first answer of a set is looked at")
def _first_answer_only() -> Any:
    @takes_vectors("set")
    def advantage(batch: Batch) -> Tensor:
        first = answer_sets(batch)[..., 0, :].mean(-1)
        return _standardized(per_token(first, batch), (-2,), 1e-6)

    return _grpo(advantage=advantage)


# -- surrogates --------------------------------------------------------------------------------------------------------


def _ppo(log_prob: Tensor, log_prob_old: Tensor, advantage: Tensor, mask: Tensor) -> Tensor:
    """PPO's clip as a plain function, right."""
    ratio = torch.where(mask, log_prob - log_prob_old, 0.0).exp()
    value = torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)
    return -torch.where(mask, value, 0.0).sum() / mask.sum()


@_mutant("sign", "the ratio upside down: exp(old - new)")
def _ratio_inverted() -> Any:
    def loss(log_prob: Tensor, log_prob_old: Tensor, advantage: Tensor, mask: Tensor) -> Tensor:
        ratio = torch.where(mask, log_prob_old - log_prob, 0.0).exp()
        value = torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)
        return -torch.where(mask, value, 0.0).sum() / mask.sum()

    return loss


@_mutant("on_policy", "log_prob_old in the place of log_prob: nothing is learned and no error is raised")
def _old_for_new() -> Any:
    return lambda log_prob, log_prob_old, advantage, mask: -(log_prob_old * advantage * mask).sum() / mask.sum()


@_mutant("on_policy", "the current log-probability is detached: the gradient is zero")
def _detached_ratio() -> Any:
    return lambda log_prob, log_prob_old, advantage, mask: _ppo(log_prob.detach(), log_prob_old, advantage, mask)


@_mutant("sign", "the coefficient is not detached: every token's gradient carries a factor 1 + log-probability")
def _coefficient_with_gradient() -> Any:
    def loss(log_prob: Tensor, log_prob_old: Tensor, advantage: Tensor, mask: Tensor) -> Tensor:
        ratio = torch.where(mask, log_prob - log_prob_old, 0.0).exp()
        return -torch.where(mask, ratio * advantage * log_prob, 0.0).sum() / mask.sum()

    return loss


@_mutant(
    "finite", "exp of an unbounded ratio times a zero: infinity times zero far from the sampling policy (float32 habit)"
)
def _overflow() -> Any:
    def surrogate(log_ratio: Tensor, advantage: Tensor, batch: Batch) -> Tensor:
        huge = (20 * log_ratio).exp()
        return huge / (1 + huge)

    return _grpo(surrogate=surrogate)


@_mutant("on_policy", "CISPO capped at 0.2 only where the advantage is positive (TRL's bound, read as one-sided)")
def _cap_on_one_sign() -> Any:
    def surrogate(log_ratio: Tensor, advantage: Tensor, batch: Batch) -> Tensor:
        ratio = log_ratio.exp()
        return torch.where(advantage > 0, ratio.clamp(max=0.2), ratio)

    return _grpo(surrogate=surrogate)


@_mutant("on_policy", "the dual clip on the wrong sign, with a strict bound of 1: good tokens get nothing at ratio 1")
def _dual_clip_on_good_tokens() -> Any:
    def surrogate(log_ratio: Tensor, advantage: Tensor, batch: Batch) -> Tensor:
        ratio = log_ratio.exp()
        return torch.where((advantage > 0) & (ratio >= 1), 0.0, ratio)

    return _grpo(surrogate=surrogate)


@_mutant(
    "padding_content", "sequence ratio summed, not averaged, over padded positions too (GSPO with a forgotten mask)"
)
def _sequence_ratio_over_padding() -> Any:
    def loss(log_prob: Tensor, log_prob_old: Tensor, advantage: Tensor, mask: Tensor) -> Tensor:
        ratio = (log_prob - log_prob_old).mean(-1, keepdim=True).exp()
        return -(ratio * advantage * mask).sum() / mask.sum()

    return loss


# -- weights and masks -------------------------------------------------------------------------------------------------


@_mutant("pure", "tokens dropped by torch's global generator inside the loss (verl's Clip-Cov)")
def _global_randomness() -> Any:
    def weight(batch: Batch, **_: object) -> TokenWeight:
        return TokenWeight(batch.mask * (torch.rand(batch.mask.shape) > 0.02), batch.mask)

    return _grpo(weight=weight)


@_mutant("sign", "the covariance is not detached: it is minimised itself (Entropy-Mechanism-of-RL#9)")
def _covariance_with_gradient() -> Any:
    def loss(log_prob: Tensor, log_prob_old: Tensor, advantage: Tensor, mask: Tensor) -> Tensor:
        covariance = (log_prob - log_prob[mask].mean()) * (advantage - advantage[mask].mean())
        weighted = (1 - covariance) * (log_prob - log_prob_old).exp() * advantage
        return -torch.where(mask, weighted, 0.0).sum() / mask.sum()

    return loss


@_mutant(
    "padding_content", "the selected tokens are the *least* covariant: topk without the sign (a common port of KL-Cov)"
)
def _penalty_on_the_wrong_tokens() -> Any:
    def loss(log_prob: Tensor, log_prob_old: Tensor, advantage: Tensor, mask: Tensor) -> Tensor:
        covariance = ((log_prob - log_prob.mean()) * (advantage - advantage.mean())).detach()
        lowest = covariance.flatten().topk(1, largest=False).indices
        penalty = torch.zeros_like(covariance).flatten()
        penalty[lowest] = 1.0
        change = (log_prob - log_prob_old).abs() * penalty.view_as(covariance)
        return ((change - (log_prob - log_prob_old).exp() * advantage) * mask).sum() / mask.sum()

    return loss


@_mutant("on_policy", "20 % of tokens selected where 0.2 % was meant, and dropped for good (SkyRL's unit slip)")
def _share_a_hundredfold() -> Any:
    def weight(batch: Batch, *, log_prob: Tensor, **_: object) -> TokenWeight:
        count = (batch.mask.sum((-3, -2, -1), keepdim=True) * 0.2).ceil()
        dropped = weights.top_tokens(torch.where(batch.mask, log_prob, -torch.inf), count)
        return TokenWeight((batch.mask & ~dropped).to(log_prob.dtype), batch.mask)

    return _grpo(weight=weight)


@_mutant("padding_content", "no mask at all: padding is trained on")
def _no_mask() -> Any:
    return lambda log_prob, log_prob_old, advantage, mask: -((log_prob - log_prob_old).exp() * advantage).mean()


# -- aggregation -------------------------------------------------------------------------------------------------------


@_mutant("twice", "a sum over responses called a mean: the gradient grows with the batch (verl's Dr. GRPO until 2026)")
def _sum_for_mean() -> Any:
    return _grpo(aggregate=lambda x, mask, counted: torch.where(mask, x, 0.0).sum((-3, -2, -1)) / x.shape[-1])


@_mutant("padding_length", "the denominator counts padding: longer padding, smaller gradient")
def _padding_in_the_denominator() -> Any:
    return _grpo(aggregate=lambda x, mask, counted: torch.where(mask, x, 0.0).mean((-3, -2, -1)))


@_mutant("finite", "the mask multiplies after the exponential: garbage in padding is infinity times zero")
def _mask_too_late() -> Any:
    def loss(log_prob: Tensor, log_prob_old: Tensor, advantage: Tensor, mask: Tensor) -> Tensor:
        return -((20 * (log_prob - log_prob_old)).exp() * advantage * mask).sum() / mask.sum()

    return loss


@_mutant("stacked", "the denominator counts the tokens of all runs: a run's learning rate depends on its neighbours")
def _tokens_of_all_runs() -> Any:
    return _grpo(aggregate=lambda x, mask, counted: torch.where(mask, x, 0.0).sum((-3, -2, -1)) / mask.sum())


@_mutant("order", "each response divided by the length of the first one")
def _length_of_the_first() -> Any:
    def aggregate(x: Tensor, mask: Tensor, counted: Tensor) -> Tensor:
        return (torch.where(mask, x, 0.0).sum(-1) / mask[..., :1, :1, :].sum(-1)).mean((-2, -1))

    return _grpo(aggregate=aggregate)


@_mutant("on_policy", "the last token's loss only (an off-by-one slice of shifted log-probabilities)")
def _last_token_only() -> Any:
    def weight(batch: Batch, **_: object) -> TokenWeight:
        last = batch.mask & ~torch.nn.functional.pad(batch.mask, (0, 1))[..., 1:]
        return TokenWeight(last.to(batch.log_prob_old.dtype), batch.mask)

    return _grpo(weight=weight)


# -- regularisers ------------------------------------------------------------------------------------------------------


@_mutant(
    "equal_rewards",
    "k1 to the reference with the wrong sign: good tokens are pushed off the reference, whatever their reward",
)
def _kl_with_a_wrong_sign() -> Any:
    def away(log_prob: Tensor, batch: Batch, **_: object) -> Tensor:
        return -0.1 * (log_prob - batch.require("log_prob_ref", "mutant"))

    return _grpo(regularizers=(away,))


@_mutant(
    "twice", "an unnormalised regulariser: summed over tokens while the policy's term is a mean (TRL#6140, inverted)"
)
def _penalty_summed() -> Any:
    def loss(log_prob: Tensor, log_prob_old: Tensor, advantage: Tensor, mask: Tensor) -> Tensor:
        penalty = torch.where(mask, (log_prob - log_prob_old).square(), 0.0).sum()
        return _ppo(log_prob, log_prob_old, advantage, mask) + penalty

    return loss
