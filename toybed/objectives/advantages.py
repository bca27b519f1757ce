"""Stage 1: rewards become advantages.

Every function maps a :class:`~toybed.objectives.batch.Batch` to advantages ``[..., B, G, 1]`` (one for each
response) or ``[..., B, G, T]``. Nothing here carries a gradient. The number of degrees of freedom and the floor of
every standard deviation are arguments, because libraries differ in them under one name.
"""

from __future__ import annotations

import torch
from torch import Tensor

from toybed.measures.moments import masked_mean
from toybed.objectives.batch import Batch, Scalar, compares_group, per_token


def outcome(batch: Batch, *, baseline: Scalar = 0.0) -> Tensor:
    """REINFORCE: the reward less a constant.

    ``A_i = R_i - b``

    ========  ===========  ==============================================
    symbol    shape        meaning
    ========  ===========  ==============================================
    R         [..., B, G]  reward of response i
    b         number       ``baseline``
    ========  ===========  ==============================================

    Changes: every token of a response gets the same advantage; a constant b changes the variance of the gradient,
    not its expectation.
    Default: b = 0, the textbook form.
    Trap: without a baseline a 0/1 reward never pushes a wrong answer down; only the normalisation of the softmax does.
    Source: Williams 1992; verl ``compute_policy_loss_reinforce``.
    """
    return per_token(batch.reward, batch) - baseline


@compares_group
def group_centered(batch: Batch) -> Tensor:
    """Dr. GRPO: the reward less the mean of its group.

    ``A_i = R_i - mean_j R_j``

    Changes: removes the prompt's difficulty from the advantage; sums to zero over the group.
    Limit: ``(G-1)/G`` times :func:`leave_one_out`; exactly zero where all rewards of a group are equal.
    Trap: biased by ``(G-1)/G`` against the true policy gradient, because R_i is part of its own baseline.
    Source: arXiv 2503.20783; understand-r1-zero ``train_zero_math.py``.
    """
    reward = per_token(batch.reward, batch)
    centered = reward - reward.mean(-2, keepdim=True)
    return torch.where(no_spread(reward), 0.0, centered)


@compares_group
def leave_one_out(batch: Batch) -> Tensor:
    """RLOO: the reward less the mean of the *other* responses of its group.

    ``A_i = R_i - mean_{j != i} R_j = G/(G-1) (R_i - mean_j R_j)``

    Changes: as :func:`group_centered`, and unbiased.
    Trap: a group of one has no other response; its advantage is 0 here, where verl returns the raw reward.
    Source: arXiv 2402.14740; verl, TRL ``rloo_trainer.py``.
    """
    group = batch.reward.shape[-1]
    return group_centered(batch) * (group / max(group - 1, 1))


@compares_group
def group_standardized(batch: Batch, *, ddof: int, floor: Scalar) -> Tensor:
    """GRPO: centred and divided by the standard deviation of the group.

    ``A_i = (R_i - mean_j R_j) / (std_j R_j + floor)``

    ========  ===========  ====================================================
    symbol    shape        meaning
    ========  ===========  ====================================================
    std       [..., B, 1]  with ``ddof`` degrees of freedom removed
    floor     number       added to the standard deviation
    ========  ===========  ====================================================

    Changes: prompts of every difficulty weigh alike once they have any spread; invariant to ``R -> aR + b``, a > 0.
    Default: ddof 1 (Bessel) in verl, TRL, OpenRLHF; floor 1e-6 verl, 1e-4 TRL, 1e-8 understand-r1-zero, 1e-9 OpenRLHF.
    Trap: for G = 2 and 0/1 reward Bessel gives ±0.707 and the population form ±1. The "difficulty bias"
    ``1/sqrt(p(1-p))`` is a large-G limit: at G = 4 the expected weight is almost flat in p.
    Limit: exactly zero where all rewards of a group are equal (also for a group of one, where verl returns A = R).
    Source: arXiv 2402.03300; verl ``compute_grpo_outcome_advantage``.
    """
    reward = per_token(batch.reward, batch)
    group = reward.shape[-2]
    centered = reward - reward.mean(-2, keepdim=True)
    variance = centered.square().sum(-2, keepdim=True) / max(group - ddof, 1)
    # Equal rewards differ from their mean by rounding; divided by a floor of 1e-6 that rounding would be a signal.
    return torch.where(no_spread(reward), 0.0, centered / (variance.sqrt() + floor))


def batch_whitened(batch: Batch, *, floor: Scalar) -> Tensor:
    """PPO without a critic, REINFORCE++: whitened over all tokens of the batch.

    ``A_i = (R_i - mean R) / sqrt(var R + floor)``, moments over the tokens of the run's batch

    ========  ============  ====================================================
    symbol    shape         meaning
    ========  ============  ====================================================
    mean      [..., 1,1,1]  over all tokens, so a long response counts more often
    var       [..., 1,1,1]  with Bessel's correction, as in verl's masked whitening
    floor     number        added to the variance
    ========  ============  ====================================================

    Changes: easy prompts get positive and hard prompts negative advantage throughout; group sums are not zero.
    Default: floor 1e-8, verl ``masked_whiten``.
    Limit: PPO's GAE advantage with V = 0 and gamma = lambda = 1; zero where all rewards of the batch are equal.
    Source: arXiv 1707.06347 (whitening is the implementations'), arXiv 2501.03262; verl.
    """
    return whiten(per_token(batch.reward, batch).expand_as(batch.log_prob_old), batch.mask, floor)


def whiten(value: Tensor, mask: Tensor, floor: Scalar) -> Tensor:
    """Centre and scale values ``[..., B, G, T]`` over the tokens of each run: mean 0, variance 1 (Bessel).

    Exactly zero where all values are equal. What stands outside the mask is neither read nor meant to be used.
    """
    centered = value - masked_mean(value, mask)
    tokens = mask.sum((-3, -2, -1), keepdim=True)
    # The factors one after the other: a quotient of two counts would be float32 whatever the values are.
    variance = masked_mean(centered.square(), mask) * tokens / (tokens - 1).clamp(min=1)
    top = torch.where(mask, value, -torch.inf).amax((-3, -2, -1), keepdim=True)
    bottom = torch.where(mask, value, torch.inf).amin((-3, -2, -1), keepdim=True)
    return torch.where(top == bottom, 0.0, centered / (variance + floor).sqrt())


def no_spread(reward: Tensor) -> Tensor:
    """Groups ``[..., B, 1, 1]`` in which all rewards are equal: their advantage is exactly zero, not rounding."""
    return reward.amax(-2, keepdim=True) == reward.amin(-2, keepdim=True)
