"""Advantages that differ in how much prompts of different difficulty weigh, and in what a response is held against."""

from __future__ import annotations

import torch
from torch import Tensor

from toybed.objectives.advantages import group_centered, no_spread
from toybed.objectives.batch import Batch, Scalar, compares_group, per_token


@compares_group
def spread_share_scaled(batch: Batch, *, f_norm: Scalar) -> Tensor:
    """GPG: centred rewards, scaled up by the share of groups that have any spread.

    ``A_i = alpha (R_i - mean_j R_j) / f_norm``, ``alpha = B / (B - M)``

    ========  ==========  ==========================================================
    symbol    shape       meaning
    ========  ==========  ==========================================================
    B         number      groups in the run's batch
    M         [...]       groups whose rewards are all equal
    f_norm    number      1, or a standard deviation
    ========  ==========  ==========================================================

    Changes: as ``dr_grpo``, and groups without a signal no longer dilute the gradient of the others.
    Default: f_norm 1 (AMAP-ML/GPG).
    Trap: verl has another alpha under this name, see :func:`nonzero_share_scaled`. Alpha is that of the batch in which
    the advantage is computed, here the rollout batch.
    Limit: every group has spread: ``group_centered``. Adding groups of equal rewards leaves the sum of the losses over
    the others, divided by the number of groups, as it was. No group with spread: exactly zero.
    Source: AMAP-ML/GPG ``gpg_trainer.py`` (read in the code).
    """
    groups = batch.reward.shape[-2]
    with_spread = (~no_spread(per_token(batch.reward, batch))).sum((-3, -2, -1), keepdim=True)
    return group_centered(batch) * groups / with_spread.clamp(min=1) / f_norm


@compares_group
def nonzero_share_scaled(batch: Batch, *, f_norm: Scalar) -> Tensor:
    """GPG as verl has it: centred rewards, divided by the share of responses whose reward is not zero.

    ``A_i = alpha (R_i - mean_j R_j) / f_norm``, ``alpha = N / #{i: R_i != 0}``, N responses in the run's batch

    Symbols as in :func:`spread_share_scaled`. Changes: for 0/1 reward alpha is one over the batch's success rate: a
    MaxRL for the whole batch, which speeds up as long as little succeeds.
    Default: f_norm 1 (verl).
    Trap: not the authors' alpha; depends on where zero lies (a reward of ±1 gives alpha = 1) and on all-right groups.
    Limit: no reward is zero: ``group_centered``. A group of one gets 0 here, its raw reward times alpha in verl.
    Source: verl ``compute_gpg_outcome_advantage`` (read in the code).
    """
    reward = per_token(batch.reward, batch)
    responses = reward.shape[-3] * reward.shape[-2]
    nonzero = (reward != 0).sum((-3, -2, -1), keepdim=True)
    return group_centered(batch) * responses / nonzero.clamp(min=1) / f_norm


@compares_group
def mean_normalized(batch: Batch, *, floor: Scalar) -> Tensor:
    """MaxRL: centred rewards, divided by the group's mean.

    ``A_i = (R_i - m) / (m + floor)``, ``m = mean_j R_j``; 0 where m = 0

    ========  ===========  ============================================
    symbol    shape        meaning
    ========  ===========  ============================================
    R         [..., B, G]  reward of response i, not negative
    m         [..., B]     mean of the group: its success rate
    floor     number       added to the mean
    ========  ===========  ============================================

    Changes: a prompt that succeeds rarely weighs like ``1/p``: the gradient is that of ``log p``, maximum likelihood
    of success. Hard prompts keep moving, and entropy falls more slowly on them.
    Default: floor 1e-6 (tajwarfahim/maxrl).
    Trap: ``log p = -sum_k (1-p)^k / k``, and this centred form, with zeros where nothing succeeded, has the gradient
    of the series cut at order G - 1, not G. In the authors' repository ``advantage_type="maxrl"`` of another estimator
    is GRPO divided by the mean. Groups whose mean is negative get 0 here; the formula is not meant for them.
    Limit: 0/1 reward with c of G right: ``(G-c)/c`` and -1. G = 2: REINFORCE's weight. Large G: ``grad log p``. A group
    of one, or of equal rewards, gets exactly 0 (the authors' code gives R/1e-6 for a group of one).
    Source: arXiv 2602.02710; maxrl ``compute_maxrl_outcome_advantage``, prime-rl ``max_rl.py`` (read in the code).
    """
    reward = per_token(batch.reward, batch)
    mean = reward.mean(-2, keepdim=True)
    positive = mean > 0
    # Centred by group_centered, so that equal rewards give exactly zero.
    return torch.where(positive, group_centered(batch) / torch.where(positive, mean + floor, 1.0), 0.0)


@compares_group
def difficulty_weighted(batch: Batch, *, alpha: Scalar) -> Tensor:
    """HICRA's other half: hard prompts weigh more and easy ones less, on every token and in both directions.

    ``A_i = (1 + alpha (1 - 2m)) (R_i - m)``, ``m = mean_j R_j``

    ======  ===========  ==================================================
    symbol  shape        meaning
    ======  ===========  ==================================================
    R       [..., B, G]  reward of response i, 0 or 1
    m       [..., B]     mean of the group: its success rate
    alpha   number       strength; prompts weigh from 1 - alpha to 1 + alpha
    ======  ===========  ==================================================

    Changes: as ``group_centered``, with a weight for each prompt. The sum over the group stays zero.
    Default: alpha 0.2, HICRA's.
    Trap: for 0/1 reward ``A + alpha |A| = (1 + alpha (1 - 2m)) A + 2 alpha m (1 - m)``: beside this weight HICRA's
    bonus is a constant of the group, which favours nothing but pushes up whatever was sampled.
    Limit: alpha = 0: ``group_centered``. Equal rewards, and a group of one, give exactly 0.
    Source: a control of this project, for arXiv 2509.03646.
    """
    mean = per_token(batch.reward, batch).mean(-2, keepdim=True)
    return (1 + alpha * (1 - 2 * mean)) * group_centered(batch)


@compares_group
def quantile_standardized(batch: Batch, *, quantile: Scalar, ddof: int, floor: Scalar) -> Tensor:
    """QAE: the reward less a quantile of its group, divided by the group's standard deviation.

    ``A_i = (R_i - Q) / (std_j R_j + floor)``, ``Q = min{ r in group: F(r) >= quantile }``

    ========  ==============  ================================================================
    symbol    shape           meaning
    ========  ==============  ================================================================
    F         function        share of the group's rewards that are at most r (right-continuous)
    quantile  number          K, in (0, 1)
    std       [..., B, 1]     with ``ddof`` degrees of freedom removed
    floor     number          added to the standard deviation
    ========  ==============  ================================================================

    Changes: with 0/1 reward one class alone gets gradient: the successes of a hard prompt (success rate at most
    ``1 - K``), the failures of an easy one. A larger K leaves more prompts to the failures, which keeps entropy; a
    smaller one more to the successes, which spends it.
    Default: K = 0.4 (the authors' README; 0.6 where entropy collapses early); ddof 1 and floor 1e-6 are verl's.
    Trap: the one-line change of a library takes an interpolated quantile, which is another estimator:
    :func:`interpolated_quantile_standardized`. The group's sum is not zero.
    Limit: K = 0.5 and odd G: the median. A group of one, or of equal rewards, gets exactly 0.
    Source: arXiv 2509.22611: its README and abstract were read, and third-party descriptions, not its code.
    """
    reward = per_token(batch.reward, batch)
    group = reward.shape[-2]
    # K G is exact up to rounding, where K = 0.4 may be a little more than 2/5: 1e-4 keeps that from the next rank.
    rank = (torch.as_tensor(quantile, dtype=torch.float64, device=reward.device) * group - 1e-4).ceil().long() - 1
    return _above(reward, _ordered(reward, rank.clamp(0, group - 1)), ddof, floor)


@compares_group
def interpolated_quantile_standardized(batch: Batch, *, quantile: Scalar, ddof: int, floor: Scalar) -> Tensor:
    """QAE by the one-line change: as :func:`quantile_standardized`, with a linearly interpolated quantile.

    ``A_i = (R_i - Q) / (std_j R_j + floor)``, Q between the two order statistics around ``quantile * (G - 1)``

    Symbols as in :func:`quantile_standardized`. Changes: where Q falls between 0 and 1, both classes get gradient, and
    the gate that the paper argues with is gone.
    Default: as there.
    Trap: at G = 8, K = 0.4 and 5 right the baseline is 0.8, where the paper's is 1.
    Limit: K (G - 1) whole: an order statistic. A group of one, or of equal rewards, gets exactly 0.
    Source: what ``torch.quantile`` gives in the place of the mean; third-party descriptions only.
    """
    reward = per_token(batch.reward, batch)
    group = reward.shape[-2]
    position = torch.as_tensor(quantile, dtype=reward.dtype, device=reward.device) * (group - 1)
    lower = position.floor().clamp(0, max(group - 2, 0))
    low, high = (_ordered(reward, (lower + step).long().clamp(max=group - 1)) for step in (0, 1))
    return _above(reward, low + (position - lower) * (high - low), ddof, floor)


def _ordered(reward: Tensor, rank: Tensor) -> Tensor:
    """The order statistic of that rank (from 0), a number or ``[..., 1, 1, 1]``, of each group: ``[..., B, 1, 1]``."""
    index = rank.expand(*reward.shape[:-2], 1, 1)
    return reward.sort(dim=-2).values.gather(-2, index)


def _above(reward: Tensor, baseline: Tensor, ddof: int, floor: Scalar) -> Tensor:
    """``(R - baseline) / (std + floor)``, exactly zero for groups of equal rewards."""
    spread = (reward - reward.mean(-2, keepdim=True)).square().sum(-2, keepdim=True)
    std = (spread / max(reward.shape[-2] - ddof, 1)).sqrt()
    equal = no_spread(reward)
    return torch.where(equal, 0.0, (reward - baseline) / torch.where(equal, 1.0, std + floor))
