"""Surrogates that pool the ratio over a response: one weight for all its tokens.

As in ``surrogates``, a function returns the coefficient ``c [..., B, G, T]`` of ``-c_t A_t grad log pi(token_t)``.
GSPO clips after pooling, GMPO before; VESPO pools by the product and lets a smooth gate do the clipping.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from toybed.objectives.batch import Batch, Scalar
from toybed.objectives.surrogates import as_like, clip_value, ppo_clip, scored, valued

SMALLEST_PRODUCT, LARGEST_PRODUCT = math.log(1e-8), 20.0  # TRL's bounds of the sum of log-ratios


def _sequence_clip_value(
    log_ratio: Tensor, advantage: Tensor, batch: Batch, *, clip_low: Scalar, clip_high: Scalar
) -> Tensor:
    pooled, mean = _token_average(log_ratio, batch), _token_average(advantage, batch)
    return clip_value(pooled, mean, batch, clip_low=clip_low, clip_high=clip_high)


@valued(_sequence_clip_value)
def sequence_clip(log_ratio: Tensor, advantage: Tensor, batch: Batch, *, clip_low: Scalar, clip_high: Scalar) -> Tensor:
    """GSPO: PPO's clip on the ratio of the whole response, per token.

    ``c = s 1[s not clipped]``, ``s = exp(mean_t log rho_t)``; clipped where ``A >= 0, s > 1 + clip_high`` or
    ``A < 0, s < 1 - clip_low``

    =========  ==============  ===============================================================
    symbol     shape           meaning
    =========  ==============  ===============================================================
    rho_t      [..., B, G, T]  pi / pi_old of the token
    s          [..., B, G, 1]  geometric mean of the ratios of response i
    A          [..., B, G, 1]  its advantage: where tokens differ in it, the sign of their mean
    clip_low   number          epsilon below 1, of the mean
    clip_high  number          epsilon above 1, of the mean
    =========  ==============  ===============================================================

    Changes: all tokens of a response keep or lose their gradient together; entropy falls.
    Default: published 3e-4 / 4e-4, 4 mini-batches (TRL's paper index), for responses of thousands of tokens, whose
    mean log-ratio is tiny. A toy's response has a handful: its mean is smaller than a token's log-ratio by about
    ``1/sqrt(T)``, which from PPO's 0.2 / 0.28 gives 0.1 / 0.14 at T = 4.
    Trap: with an aggregation that sums tokens it re-weighs responses by length (TRL warns). verl (August 2026) forces
    seq-mean-token-mean; the released 0.9.1 follows the configured mode and clamps log s at 10, with no lower clamp.
    Limit: responses of one token: :func:`~toybed.objectives.surrogates.ppo_clip`. Advantages constant in a response:
    :func:`sequence_token_clip`.
    Source: arXiv 2507.18071; verl, TRL, OpenRLHF (which differentiates the pooled ratio: the same gradient).
    """
    pooled, mean = _token_average(log_ratio, batch), _token_average(advantage, batch)
    return ppo_clip(pooled, mean, batch, clip_low=clip_low, clip_high=clip_high).expand_as(log_ratio)


def _sequence_token_value(
    log_ratio: Tensor, advantage: Tensor, batch: Batch, *, clip_low: Scalar, clip_high: Scalar
) -> Tensor:
    pooled = _token_average(log_ratio, batch)
    return clip_value(pooled, advantage, batch, clip_low=clip_low, clip_high=clip_high)


@valued(_sequence_token_value)
def sequence_token_clip(
    log_ratio: Tensor, advantage: Tensor, batch: Batch, *, clip_low: Scalar, clip_high: Scalar
) -> Tensor:
    """GSPO-token: the response's ratio, clipped token by token by the sign of the token's own advantage.

    ``c_t = s 1[s not clipped for A_t]``, from the ratio ``sg(s) pi_t / sg(pi_t)``

    Symbols as in :func:`sequence_clip`, with ``A_t [..., B, G, T]``. Changes: as GSPO; where advantages differ in a
    response, its tokens may differ in clip status.
    Limit: advantages constant in a response: :func:`sequence_clip`.
    Source: arXiv 2507.18071; verl ``compute_policy_loss_gspo``, TRL ``experimental/gspo_token``.
    """
    pooled = _token_average(log_ratio, batch)
    return ppo_clip(pooled, advantage, batch, clip_low=clip_low, clip_high=clip_high).expand_as(log_ratio)


def _geometric_value(
    log_ratio: Tensor, advantage: Tensor, batch: Batch, *, log_clip_low: Scalar, log_clip_high: Scalar
) -> Tensor:
    mean = _token_average(advantage, batch)
    clipped = _one_sided(log_ratio, mean, log_clip_low, log_clip_high)
    return _token_average(clipped, batch).exp() * mean


@valued(_geometric_value)
def geometric_clip(
    log_ratio: Tensor, advantage: Tensor, batch: Batch, *, log_clip_low: Scalar, log_clip_high: Scalar
) -> Tensor:
    """GMPO: clip each token's log-ratio on one side, then take the geometric mean.

    ``c_t = rho_geo 1[token t not clipped]``, ``rho_geo = exp(mean_t clipped log rho_t)``; ``log rho_t`` is clipped
    to at most ``log_clip_high`` where A >= 0, to at least ``-log_clip_low`` where A < 0

    =============  ==============  ==========================================================
    symbol         shape           meaning
    =============  ==============  ==========================================================
    rho_t          [..., B, G, T]  pi / pi_old of the token
    rho_geo        [..., B, G, 1]  geometric mean of the clipped ratios of response i
    A              [..., B, G, 1]  its advantage: the mean, where tokens differ in it
    log_clip_low   number          bound of ``-log rho``
    log_clip_high  number          bound of ``log rho``
    =============  ==============  ==========================================================

    Changes: one wild token neither swings the weight of a response nor drops it; clipped tokens alone lose their
    gradient. The wide bounds let entropy fall more slowly.
    Default: 0.4 / 0.4, std-normalised advantages, mean over responses (callsys/GMPO, verl, TRL).
    Trap: verl's ``clip_ratio`` is a bound of the *logarithm* here, so a reused 0.2 is half the intended width. verl
    averages token advantages silently; the root ``1/|y|`` is essential.
    Limit: responses of one token: PPO with ``clip_low = 1 - exp(-0.4)``, ``clip_high = exp(0.4) - 1``. No clip: GSPO
    without clip.
    Source: arXiv 2507.20673; callsys/GMPO, verl ``compute_policy_loss_geo_mean``, TRL; the form of c derived.
    """
    mean = _token_average(advantage, batch)
    clipped = _one_sided(log_ratio, mean, log_clip_low, log_clip_high)
    return torch.where(clipped == log_ratio, _token_average(clipped, batch).exp(), 0.0)


@scored
def product_gate(
    log_ratio: Tensor,
    advantage: Tensor,
    batch: Batch,
    *,
    power_positive: Scalar,
    decay_positive: Scalar,
    power_negative: Scalar,
    decay_negative: Scalar,
) -> Tensor:
    """VESPO: a smooth gate on the likelihood ratio of the whole response.

    ``c = phi(W) = W^k exp(lambda (1 - W))``, ``W = prod_t rho_t``

    ========  ==============  ==============================================================
    symbol    shape           meaning
    ========  ==============  ==============================================================
    W         [..., B, G, 1]  product (not mean) of the ratios of response i
    k         number          ``power_positive`` where A >= 0, ``power_negative`` elsewhere
    lambda    number          ``decay_positive`` where A >= 0, ``decay_negative`` elsewhere
    ========  ==============  ==============================================================

    Changes: all tokens of a response share a weight that peaks at ``W = k / lambda`` and fades on both sides: right
    responses fade once they have risen, wrong ones once they have fallen.
    Default: (k, lambda) = (2, 3) where A >= 0, (3, 2) where A < 0 (TRL).
    Trap: a product over T tokens leaves 1 exponentially faster than GSPO's mean. ``phi'(1) = k - lambda``: at W = 1
    the weight of the positive side falls, that of the negative side rises. The sum of logarithms is held in
    [log 1e-8, 20], as in TRL (which holds each token's in ±20 too), so nothing overflows.
    Limit: k = lambda = 0: REINFORCE; one token: a function of its ratio alone.
    Source: arXiv 2602.10693; TRL ``get_gamma_weights``.
    """
    total = torch.where(batch.mask, log_ratio, 0.0).sum(-1, keepdim=True)
    total = total.clamp(SMALLEST_PRODUCT, LARGEST_PRODUCT)
    positive = advantage >= 0
    power = torch.where(positive, as_like(power_positive, total), as_like(power_negative, total))
    decay = torch.where(positive, as_like(decay_positive, total), as_like(decay_negative, total))
    return (power * total - decay * torch.expm1(total)).exp().expand_as(log_ratio)


def _one_sided(log_ratio: Tensor, advantage: Tensor, log_clip_low: Scalar, log_clip_high: Scalar) -> Tensor:
    """The log-ratio, held on the side to which the advantage pushes."""
    down = torch.maximum(log_ratio, -as_like(log_clip_low, log_ratio))
    up = torch.minimum(log_ratio, as_like(log_clip_high, log_ratio))
    return torch.where(advantage >= 0, up, down)


def _token_average(value: Tensor, batch: Batch) -> Tensor:
    """Mean over the tokens of each response: ``[..., B, G, T]`` or ``[..., B, G, 1]`` to ``[..., B, G, 1]``."""
    if value.shape[-1] == 1:
        return value
    tokens = batch.mask.sum(-1, keepdim=True).clamp(min=1)
    return torch.where(batch.mask, value, 0.0).sum(-1, keepdim=True) / tokens
