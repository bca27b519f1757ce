"""Stage 3: log-ratio and advantage become the coefficient that the surrogate puts on the score function.

Every surrogate of the field has a gradient of the form ``-c_t A_t grad log pi(token_t)`` with ``c_t >= 0``. A
function here returns ``c [..., B, G, T]`` from the detached ``log_ratio = log pi - log pi_old`` and the advantage;
:class:`~toybed.objectives.objective.Objective` turns it into a loss in one code path. What the paper prints as its
objective's *value* is attached as ``.value`` (a metric; no gradient is taken from it).

At ratio 1 (the first update after sampling) all of these but nothing else agree: c = 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

from toybed.objectives.batch import Batch, Scalar

_Function = TypeVar("_Function", bound=Callable[..., Any])


def _valued(value: Callable[..., Tensor]) -> Callable[[_Function], _Function]:
    """Attach the paper's per-token objective value (to be maximised) to a surrogate."""

    def attach(function: _Function) -> _Function:
        function.value = value  # type: ignore[attr-defined]
        return function

    return attach


def _ratio_value(log_ratio: Tensor, advantage: Tensor, batch: Batch) -> Tensor:
    return log_ratio.exp() * advantage


def _clip_value(
    log_ratio: Tensor,
    advantage: Tensor,
    batch: Batch,
    *,
    clip_low: Scalar,
    clip_high: Scalar,
    dual_clip: Scalar | None = None,
) -> Tensor:
    ratio = log_ratio.exp()
    clipped = torch.minimum(torch.maximum(ratio, _as(1 - clip_low, ratio)), _as(1 + clip_high, ratio))
    value = torch.minimum(ratio * advantage, clipped * advantage)
    if dual_clip is not None:
        value = torch.where(advantage < 0, torch.maximum(value, dual_clip * advantage), value)
    return value


def score_function(log_ratio: Tensor, advantage: Tensor, batch: Batch) -> Tensor:
    """REINFORCE: no ratio at all.

    ``c = 1``

    Changes: stale tokens count as if they were fresh; biased after the first update on a batch.
    Source: Williams 1992; verl ``compute_policy_loss_reinforce``; GPG, arXiv 2504.02546.
    """
    return torch.ones_like(log_ratio)


@_valued(_ratio_value)
def importance_weighted(log_ratio: Tensor, advantage: Tensor, batch: Batch) -> Tensor:
    """Importance-weighted policy gradient: the ratio, never clipped.

    ``c = rho = pi / pi_old``

    Changes: unbiased per token on stale data, with unbounded variance.
    Limit: ``ppo_clip`` with both clips infinite. KL-Cov uses this off its selected tokens.
    Source: arXiv 2505.22617 (KL-Cov listing).
    """
    return log_ratio.exp()


@_valued(_clip_value)
def ppo_clip(
    log_ratio: Tensor,
    advantage: Tensor,
    batch: Batch,
    *,
    clip_low: Scalar,
    clip_high: Scalar,
    dual_clip: Scalar | None = None,
) -> Tensor:
    """PPO's clip, with separate bounds and an optional dual clip.

    ``c = rho 1[A >= 0, rho <= 1 + clip_high] + rho 1[A < 0, rho >= 1 - clip_low]``,
    and 0 where ``A < 0, rho > dual_clip``

    ==========  ==============  =====================================================
    symbol      shape           meaning
    ==========  ==============  =====================================================
    rho         [..., B, G, T]  pi / pi_old of the token
    clip_low    number          epsilon below 1
    clip_high   number          epsilon above 1 ("clip-higher" where it is larger)
    dual_clip   number or None  c_0 > 1: caps the ratio of tokens with A < 0
    ==========  ==============  =====================================================

    Changes: tokens that already moved the wanted way by more than the clip get no gradient. A larger clip_high lets
    unlikely tokens rise further and slows the fall of entropy.
    Default: 0.2 / 0.2 (arXiv 1707.06347, verl, TRL); DAPO 0.2 / 0.28. Dual clip: verl 3 always on, DAPO scripts 10,
    TRL off (its ``delta`` is the same function).
    Trap: at ratio 1 nothing is clipped, so with one update a batch every clip is inert.
    Source: arXiv 1707.06347, 1912.09729, 2503.14476; verl, TRL.
    """
    ratio = log_ratio.exp()
    inside = torch.where(advantage >= 0, ratio <= 1 + clip_high, ratio >= 1 - clip_low)
    if dual_clip is not None:
        inside = inside & ((advantage >= 0) | (ratio <= dual_clip))
    return torch.where(inside, ratio, 0.0)


@_valued(_clip_value)
def gradient_preserving_clip(
    log_ratio: Tensor,
    advantage: Tensor,
    batch: Batch,
    *,
    clip_low: Scalar,
    clip_high: Scalar,
    dual_clip: Scalar | None = None,
) -> Tensor:
    """GPPO: PPO's clip in value, but clipped tokens keep a gradient of the clip's size.

    ``c = rho`` inside, ``1 + clip_high`` where ``A >= 0, rho > 1 + clip_high``, ``1 - clip_low`` where
    ``A < 0, rho < 1 - clip_low``, and 0 where ``A < 0, rho > dual_clip``

    Symbols as in :func:`ppo_clip`. Changes: tokens that PPO drops go on being pushed, at a bounded rate.
    Default: 0.2 / 0.28, token-mean (Klear ``compute_gppo_loss``).
    Trap: the README says that gradients never vanish; the code keeps the dual-clip branch, whose gradient is zero.
    Limit: PPO inside the clip; CE-GPPO with both its coefficients 1.
    Source: arXiv 2508.07629; KlearReasoner.
    """
    ratio = log_ratio.exp()
    kept = torch.where(
        advantage >= 0,
        torch.minimum(ratio, _as(1 + clip_high, ratio)),
        torch.maximum(ratio, _as(1 - clip_low, ratio)),
    )
    if dual_clip is not None:
        kept = torch.where((advantage < 0) & (ratio > dual_clip), 0.0, kept)
    return kept


def _as(value: Scalar, like: Tensor) -> Tensor:
    return torch.as_tensor(value, dtype=like.dtype, device=like.device)
