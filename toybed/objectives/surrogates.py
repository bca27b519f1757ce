"""Stage 3: log-ratio and advantage become the coefficient that the surrogate puts on the score function.

Every surrogate of the field has a gradient of the form ``-c_t A_t grad log pi(token_t)`` with ``c_t >= 0``. A
function here returns ``c [..., B, G, T]`` from the detached ``log_ratio = log pi - log pi_old`` and the advantage;
:class:`~toybed.objectives.objective.Objective` turns it into a loss in one code path. What the paper prints as its
objective's *value* is attached as ``.value`` (a metric; no gradient is taken from it).

At ratio 1 (the first update after sampling) all of these agree: c = 1, unless a bound of their own excludes 1. The
surrogates that pool the ratio over a response stand in ``sequence_surrogates``, those whose bounds read more than the
ratio in ``bounds``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

from toybed.objectives.batch import Batch, Scalar

_Function = TypeVar("_Function", bound=Callable[..., Any])


def valued(value: Callable[..., Tensor]) -> Callable[[_Function], _Function]:
    """Attach the paper's per-token objective value (to be maximised) to a surrogate."""

    def attach(function: _Function) -> _Function:
        function.value = value  # type: ignore[attr-defined]
        return function

    return attach


def scored(function: _Function) -> _Function:
    """Attach ``c A log pi`` as the value, for papers that print a weighted score-function loss."""

    def value(log_ratio: Tensor, advantage: Tensor, batch: Batch, **options: Any) -> Tensor:
        log_prob = torch.where(batch.mask, log_ratio + batch.log_prob_old, 0.0)
        return function(log_ratio, advantage, batch, **options) * advantage * log_prob

    function.value = value  # type: ignore[attr-defined]
    return function


def _ratio_value(log_ratio: Tensor, advantage: Tensor, batch: Batch) -> Tensor:
    return log_ratio.exp() * advantage


def bounded_value(ratio: Tensor, advantage: Tensor, low: Scalar, high: Scalar, dual_clip: Scalar | None) -> Tensor:
    """PPO's value ``min(rho A, clip(rho, low, high) A)``, at least ``dual_clip A`` where A < 0."""
    clipped = torch.minimum(torch.maximum(ratio, as_like(low, ratio)), as_like(high, ratio))
    value = torch.minimum(ratio * advantage, clipped * advantage)
    if dual_clip is not None:
        value = torch.where(advantage < 0, torch.maximum(value, dual_clip * advantage), value)
    return value


def bounded(ratio: Tensor, advantage: Tensor, low: Scalar, high: Scalar, dual_clip: Scalar | None) -> Tensor:
    """PPO's coefficient with absolute bounds: the ratio, 0 where it is past the bound that the sign of A looks at."""
    inside = torch.where(advantage >= 0, ratio <= high, ratio >= low)
    if dual_clip is not None:
        inside = inside & ((advantage >= 0) | (ratio <= dual_clip))
    return torch.where(inside, ratio, 0.0)


def clip_value(
    log_ratio: Tensor,
    advantage: Tensor,
    batch: Batch,
    *,
    clip_low: Scalar,
    clip_high: Scalar,
    dual_clip: Scalar | None = None,
) -> Tensor:
    """What PPO prints for each token."""
    return bounded_value(log_ratio.exp(), advantage, 1 - clip_low, 1 + clip_high, dual_clip)


def score_function(log_ratio: Tensor, advantage: Tensor, batch: Batch) -> Tensor:
    """REINFORCE: no ratio at all.

    ``c = 1``

    Changes: stale tokens count as if they were fresh; biased after the first update on a batch.
    Source: Williams 1992; verl ``compute_policy_loss_reinforce``; GPG, arXiv 2504.02546.
    """
    return torch.ones_like(log_ratio)


@valued(_ratio_value)
def importance_weighted(log_ratio: Tensor, advantage: Tensor, batch: Batch) -> Tensor:
    """Importance-weighted policy gradient: the ratio, never clipped.

    ``c = rho = pi / pi_old``

    Changes: unbiased per token on stale data, with unbounded variance.
    Limit: ``ppo_clip`` with both clips infinite. KL-Cov uses this off its selected tokens.
    Source: arXiv 2505.22617 (KL-Cov listing).
    """
    return log_ratio.exp()


@valued(clip_value)
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
    return bounded(log_ratio.exp(), advantage, 1 - clip_low, 1 + clip_high, dual_clip)


@valued(clip_value)
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
    Default: 0.2 / 0.28, dual clip 3, token-mean (Klear ``compute_gppo_loss``).
    Trap: the README says that gradients never vanish; the code keeps the dual-clip branch, whose gradient is zero.
    Limit: PPO inside the clip; CE-GPPO with both its coefficients 1.
    Source: arXiv 2508.07629; KlearReasoner.
    """
    ratio = log_ratio.exp()
    kept = torch.where(
        advantage >= 0,
        torch.minimum(ratio, as_like(1 + clip_high, ratio)),
        torch.maximum(ratio, as_like(1 - clip_low, ratio)),
    )
    if dual_clip is not None:
        kept = torch.where((advantage < 0) & (ratio > dual_clip), 0.0, kept)
    return kept


def _scaled_ratio(
    ratio: Tensor, advantage: Tensor, clip_low: Scalar, clip_high: Scalar, beta_low: Scalar, beta_high: Scalar
) -> Tensor:
    """The ratio, replaced by ``beta (1 -+ clip)`` where PPO would clip it."""
    kept = torch.where((advantage < 0) & (ratio < 1 - clip_low), as_like(beta_low * (1 - clip_low), ratio), ratio)
    return torch.where((advantage > 0) & (ratio > 1 + clip_high), as_like(beta_high * (1 + clip_high), ratio), kept)


def _scaled_value(
    log_ratio: Tensor,
    advantage: Tensor,
    batch: Batch,
    *,
    clip_low: Scalar,
    clip_high: Scalar,
    beta_low: Scalar,
    beta_high: Scalar,
    dual_clip: Scalar | None,
) -> Tensor:
    value = _scaled_ratio(log_ratio.exp(), advantage, clip_low, clip_high, beta_low, beta_high) * advantage
    if dual_clip is not None:
        value = torch.where(advantage < 0, torch.maximum(value, dual_clip * advantage), value)
    return value


@valued(_scaled_value)
def gradient_scaled_clip(
    log_ratio: Tensor,
    advantage: Tensor,
    batch: Batch,
    *,
    clip_low: Scalar,
    clip_high: Scalar,
    beta_low: Scalar,
    beta_high: Scalar,
    dual_clip: Scalar | None,
) -> Tensor:
    """CE-GPPO: GPPO with a coefficient on each of the two kept gradients.

    ``c = rho`` inside, ``beta_high (1 + clip_high)`` where ``A > 0, rho > 1 + clip_high``,
    ``beta_low (1 - clip_low)`` where ``A < 0, rho < 1 - clip_low``, and 0 where ``A < 0, rho > dual_clip``

    =========  ==============  ================================================================
    symbol     shape           meaning
    =========  ==============  ================================================================
    rho        [..., B, G, T]  pi / pi_old of the token
    beta_low   number          the paper's beta_1: what is left of the push down on rare tokens
    beta_high  number          the paper's beta_2: what is left of the pull up on risen tokens
    =========  ==============  ================================================================

    Other symbols as in :func:`ppo_clip`. Changes: tokens that PPO drops are pushed at a rate of choice. A larger
    beta_high or a smaller beta_low leaves more entropy.
    Default: 0.75 / 1 with clips 0.2 / 0.2 and a dual clip of 10 (the authors' script for 7B; 0.5 / 1 for 1.5B; the
    function's own default is 0.25 / 1).
    Trap: the value on clipped tokens is ``beta (1 -+ clip) A``, so "the forward pass is unchanged" holds for beta = 1
    only. The clip-higher line of the scripts is commented out.
    Limit: both betas 1: :func:`gradient_preserving_clip`; both 0: :func:`ppo_clip`.
    Source: arXiv 2509.20712; CE-GPPO ``compute_gppo_loss_general_beta``.
    """
    ratio = log_ratio.exp()
    kept = _scaled_ratio(ratio, advantage, clip_low, clip_high, beta_low, beta_high)
    if dual_clip is not None:
        kept = torch.where((advantage < 0) & (ratio > dual_clip), 0.0, kept)
    return kept


@scored
def clipped_weight(
    log_ratio: Tensor, advantage: Tensor, batch: Batch, *, weight_low: Scalar, weight_high: Scalar
) -> Tensor:
    """CISPO: the score function with a clipped importance weight; no token is dropped.

    ``c = clip(rho, weight_low, weight_high)``

    ============  ==============  ====================================
    symbol        shape           meaning
    ============  ==============  ====================================
    rho           [..., B, G, T]  pi / pi_old of the token
    weight_low    number          least weight; 0 means no lower bound
    weight_high   number          largest weight, of either sign of A
    ============  ==============  ====================================

    Changes: rare tokens that PPO would clip keep their gradient, at a bounded weight; entropy falls more slowly.
    Default: bounds 0 and 5 (ScaleRL, which recommends 4 to 8; SkyRL's 1 + 4 is the same). verl: 0.8 and 1.2.
    Trap: TRL's ``epsilon_high`` is the *absolute* bound and falls back to ``epsilon`` = 0.2, so that an unset option
    caps every weight at 0.2, the weights of fresh tokens too (a fifth of the gradient). One option name, three
    meanings. TRL reports the cap as clipping for A > 0 only, though it acts for both signs.
    Limit: both bounds 1: REINFORCE; 0 and infinity: :func:`importance_weighted`.
    Source: arXiv 2506.13585; verl, TRL, SkyRL; bound of ScaleRL.
    """
    ratio = log_ratio.exp()
    return torch.minimum(torch.maximum(ratio, as_like(weight_low, ratio)), as_like(weight_high, ratio))


def _temperature(advantage: Tensor, tau_positive: Scalar, tau_negative: Scalar) -> Tensor:
    return torch.where(advantage > 0, as_like(tau_positive, advantage), as_like(tau_negative, advantage))


def _gate_value(
    log_ratio: Tensor, advantage: Tensor, batch: Batch, *, tau_positive: Scalar, tau_negative: Scalar
) -> Tensor:
    tau = _temperature(advantage, tau_positive, tau_negative)
    return 4 / tau / (1 + torch.exp(-tau * (log_ratio.exp() - 1))) * advantage


@valued(_gate_value)
def soft_gate(
    log_ratio: Tensor, advantage: Tensor, batch: Batch, *, tau_positive: Scalar, tau_negative: Scalar
) -> Tensor:
    """SAPO: a smooth gate in the place of the clip.

    ``c = rho sech^2(tau (rho - 1) / 2)``, the derivative of ``(4 / tau) sigmoid(tau (rho - 1))``

    ============  ==============  ===============================
    symbol        shape           meaning
    ============  ==============  ===============================
    rho           [..., B, G, T]  pi / pi_old of the token
    tau_positive  number          temperature tau where A > 0
    tau_negative  number          temperature tau where A <= 0
    ============  ==============  ===============================

    Changes: every token keeps some gradient; it fades as the ratio leaves 1 on either side. A larger tau fades it
    faster, so a larger tau_negative lets go of pushed-down tokens sooner.
    Default: 1.0 / 1.05, seq-mean-token-mean forced (verl, TRL).
    Trap: the gate is ``2 / tau`` at ratio 1, so the value is not comparable with PPO's; its derivative there is 1.
    Unlike PPO's clip it also damps tokens that move *against* the advantage.
    Limit: tau to 0: :func:`importance_weighted` (the value diverges, the gradient does not).
    Source: arXiv 2511.20347; verl, TRL.
    """
    ratio = log_ratio.exp()
    x = _temperature(advantage, tau_positive, tau_negative) * (ratio - 1)
    # sech^2(x/2) = 4 e / (1 + e)^2 with e = exp(-|x|): no overflow, and exactly 1 at ratio 1. (Not by torch.sigmoid,
    # which rounds with the place of a number in memory: a run in a stack would not be the run alone.)
    e = torch.exp(-x.abs())
    return ratio * (4 * e / (1 + e).square())


def as_like(value: Scalar, like: Tensor) -> Tensor:
    """The number as a tensor of the other one's type and device."""
    return torch.as_tensor(value, dtype=like.dtype, device=like.device)
