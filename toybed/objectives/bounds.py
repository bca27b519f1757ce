"""Surrogates whose bounds read more than a token's ratio: its probability, its entropy, or the whole mini-batch.

As in ``surrogates``, a function returns the coefficient ``c [..., B, G, T]`` of ``-c_t A_t grad log pi(token_t)``.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from toybed.errors import unknown
from toybed.objectives.batch import Batch, Scalar, needs
from toybed.objectives.surrogates import as_like, bounded, bounded_value, scored, valued
from toybed.objectives.weights import ascending

NEARLY_ZERO = 1e-8  # added to the probability of "any other token", as in verl


@scored
def total_variation_mask(
    log_ratio: Tensor, advantage: Tensor, batch: Batch, *, mask_low: Scalar, mask_high: Scalar, ratio_cap: Scalar
) -> Tensor:
    """DPPO-TV: drop tokens by how far their probability has moved, not by their ratio.

    ``c = min(rho, ratio_cap) 1[p - p_old <= mask_high]`` where A > 0, and ``1[p - p_old >= -mask_low]`` where A <= 0

    =========  ==============  =================================================
    symbol     shape           meaning
    =========  ==============  =================================================
    p, p_old   [..., B, G, T]  probability of the token, now and when sampled
    rho        [..., B, G, T]  p / p_old
    mask_low   number          largest fall of the probability
    mask_high  number          largest rise of the probability
    ratio_cap  number          largest importance weight
    =========  ==============  =================================================

    Changes: rare tokens are almost never dropped, however large their ratio; common ones are dropped after a smaller
    change of ratio than in PPO.
    Default: 0.2 / 0.2 and a cap of 20. verl reuses its ``clip_ratio``, 0.2, where no threshold is set.
    Trap: a token that rises from 1e-4 to 1e-2 has a ratio of 100 and a change of 0.01: it keeps its gradient, and the
    cap alone bounds it. INTELLECT's earlier IPO masks both sides whatever the sign of A.
    Limit: thresholds of 1 (or more) and no cap: importance-weighted policy gradient.
    Source: arXiv 2602.04879; verl ``compute_policy_loss_dppo_tv``, prime-rl's default loss (without the cap).
    """
    change = torch.where(batch.mask, batch.log_prob_old, 0.0).exp() * torch.expm1(log_ratio)
    kept = torch.where(advantage > 0, change <= mask_high, change >= -mask_low)
    return _capped(log_ratio, kept, ratio_cap)


@scored
def binary_kl_mask(
    log_ratio: Tensor, advantage: Tensor, batch: Batch, *, mask_low: Scalar, mask_high: Scalar, ratio_cap: Scalar
) -> Tensor:
    """DPPO-KL: drop tokens by the divergence between "this token" and "any other", then and now.

    ``c = min(rho, ratio_cap)``, 0 where ``A > 0, p > p_old, KL > mask_high`` or ``A <= 0, p < p_old, KL > mask_low``,
    with ``KL = p_old log(p_old / p) + (1 - p_old) log((1 - p_old) / (1 - p))``

    Symbols as in :func:`total_variation_mask`, the thresholds in nats. Changes: as there.
    Default: 0.05 / 0.05 and a cap of 20 (the authors' script; verl reuses its ``clip_ratio``).
    Trap: 1e-8 is added to the probability of "any other token", as in verl: it decides where p is 1 to rounding.
    Limit: infinite thresholds and no cap: importance-weighted policy gradient.
    Source: arXiv 2602.04879; verl ``compute_policy_loss_dppo_kl``.
    """
    old = torch.where(batch.mask, batch.log_prob_old, 0.0).clamp(max=0.0)
    now = (old + log_ratio).clamp(max=0.0)
    others_old, others = (-torch.expm1(x) + NEARLY_ZERO for x in (old, now))
    divergence = old.exp() * (old - now) + (others_old - NEARLY_ZERO) * (others_old / others).log()
    kept = torch.where(
        advantage > 0, (divergence <= mask_high) | (log_ratio <= 0), (divergence <= mask_low) | (log_ratio >= 0)
    )
    return _capped(log_ratio, kept, ratio_cap)


def _entropy_bounds(
    batch: Batch,
    *,
    clip_low: Scalar,
    clip_high: Scalar,
    uncertain_clip_low: Scalar,
    uncertain_clip_high: Scalar,
    clip_split: float,
) -> tuple[Tensor, Tensor]:
    certain = certain_tokens(batch, clip_split)
    like = batch.log_prob_old
    low = torch.where(certain, as_like(1 - clip_low, like), as_like(1 - uncertain_clip_low, like))
    high = torch.where(certain, as_like(1 + clip_high, like), as_like(1 + uncertain_clip_high, like))
    return low, high


def _entropy_value(
    log_ratio: Tensor, advantage: Tensor, batch: Batch, *, dual_clip: Scalar | None, **bounds: Scalar
) -> Tensor:
    return bounded_value(log_ratio.exp(), advantage, *_entropy_bounds(batch, **bounds), dual_clip)  # type: ignore[arg-type]


@needs("entropy_old")
@valued(_entropy_value)
def entropy_split_clip(
    log_ratio: Tensor,
    advantage: Tensor,
    batch: Batch,
    *,
    clip_low: Scalar,
    clip_high: Scalar,
    uncertain_clip_low: Scalar,
    uncertain_clip_high: Scalar,
    clip_split: float,
    dual_clip: Scalar | None,
) -> Tensor:
    """Archer: PPO's clip, wider for the tokens of a response at which the policy was uncertain.

    PPO's c with ``clip_low / clip_high`` where ``H_t <= q``, with the ``uncertain_`` clips elsewhere; q is the
    ``clip_split`` quantile of H over the tokens of the response

    ===================  ==============  ==================================================
    symbol               shape           meaning
    ===================  ==============  ==================================================
    H_t                  [..., B, G, T]  entropy when sampled, ``batch.entropy_old``
    q                    [..., B, G, 1]  linearly interpolated quantile, response by response
    clip_split           number          share of a response's tokens that are "certain"
    uncertain_clip_low   number          clip below 1 of the others
    uncertain_clip_high  number          clip above 1 of the others
    ===================  ==============  ==================================================

    Other symbols as in :func:`~toybed.objectives.surrogates.ppo_clip`. Changes: forking tokens may move further before
    they lose their gradient, so entropy falls more slowly there.
    Default: 0.2 / 0.2 below and 0.5 / 0.5 above the 80 % quantile, dual clip 10 (ArcherCodeR's scripts).
    Trap: in the code the variable ``high_entropy_mask`` holds the *low*-entropy tokens; the logic is consistent. A
    response of one token is "certain" throughout, whatever its entropy. The code takes the entropy of the current
    policy, here it is that of sampling: equal at the first update.
    Limit: equal clips: PPO.
    Source: arXiv 2507.15778; ArcherCodeR.
    """
    low, high = _entropy_bounds(
        batch,
        clip_low=clip_low,
        clip_high=clip_high,
        uncertain_clip_low=uncertain_clip_low,
        uncertain_clip_high=uncertain_clip_high,
        clip_split=clip_split,
    )
    return bounded(log_ratio.exp(), advantage, low, high, dual_clip)


def certain_tokens(batch: Batch, split: float) -> Tensor:
    """Tokens whose entropy is at most the ``split`` quantile of their own response's, bool ``[..., B, G, T]``."""
    entropy = batch.require("entropy_old", "a split by entropy")
    # As torch.nanquantile with NaN outside the mask, in half of its time.
    ordered = ascending(torch.where(batch.mask, entropy, torch.inf))
    position = split * (batch.mask.sum(-1, keepdim=True) - 1).clamp(min=0).to(entropy)
    below, above = (ordered.gather(-1, place.long()) for place in (position.floor(), position.ceil()))
    return batch.mask & (entropy <= below.lerp(above, position.frac()))


def _balanced_value(
    log_ratio: Tensor, advantage: Tensor, batch: Batch, *, dual_clip: Scalar | None, **search: float | str
) -> Tensor:
    low, high = balanced_bounds(log_ratio, advantage, batch, **search)  # type: ignore[arg-type]
    return bounded_value(log_ratio.exp(), advantage, low, high, dual_clip)


@valued(_balanced_value)
def balanced_clip(
    log_ratio: Tensor,
    advantage: Tensor,
    batch: Batch,
    *,
    low_start: float,
    low_end: float,
    low_step: float,
    high_start: float,
    high_end: float,
    high_step: float,
    balance: Scalar,
    first: str,
    dual_clip: Scalar | None,
) -> Tensor:
    """BAPO: PPO's clip with bounds searched in each mini-batch, until positive tokens weigh enough.

    PPO's c with bounds ``(low, high)``: the first of a fixed path of bounds at which
    ``sum_{A>=0} min(rho, high) A >= balance * sum_{A<0} max(rho, low) |A|``, or the path's end

    ============  ==============  ===================================================================
    symbol        shape           meaning
    ============  ==============  ===================================================================
    rho           [..., B, G, T]  pi / pi_old of the token
    low, high     [..., 1, 1, 1]  bounds of the ratio (absolute, not epsilons), one pair for each run
    low_...       number          ``low`` goes from ``low_start`` to ``low_end`` in steps of ``low_step``
    high_...      number          the same for ``high``
    balance       number          target of positive over negative contribution
    first         low, high       which bound moves first; the other moves once it is at its end
    dual_clip     number or None  as in PPO; the search ignores it
    ============  ==============  ===================================================================

    Changes: raising ``low`` drops pushed-down tokens sooner, raising ``high`` keeps rising ones longer; both slow the
    fall of entropy. Sums are over the tokens of the run's mini-batch, so the result depends on its size.
    Default: [0.6, 0.8] and [1.2, 2.0], steps of 0.05, balance 1, low first, dual clip 3 (the code's YAML). Its example
    script has [0.8, 0.95] and balance 0.5; the README's ranges are [0.6, 0.9] and [1.2, 3.0].
    Trap: the paper, as third parties describe it, raises ``high`` first and takes the positive *share*, weighted by
    probability, with a target of 0.4 (share r is balance ``r / (1 - r)``); the code does neither.
    Limit: balance 0: PPO with the start bounds. At ratio 1 the search changes nothing in the gradient.
    Source: arXiv 2510.18927; WooooDyy/BAPO ``recipe/bapo/policy_loss.py``.
    """
    low, high = balanced_bounds(
        log_ratio,
        advantage,
        batch,
        low_start=low_start,
        low_end=low_end,
        low_step=low_step,
        high_start=high_start,
        high_end=high_end,
        high_step=high_step,
        balance=balance,
        first=first,
    )
    return bounded(log_ratio.exp(), advantage, low, high, dual_clip)


def balanced_bounds(
    log_ratio: Tensor,
    advantage: Tensor,
    batch: Batch,
    *,
    low_start: float,
    low_end: float,
    low_step: float,
    high_start: float,
    high_end: float,
    high_step: float,
    balance: Scalar,
    first: str,
) -> tuple[Tensor, Tensor]:
    """The bounds that :func:`balanced_clip` finds for each run, ``low`` and ``high`` ``[..., 1, 1, 1]``.

    Symbols as there.
    """
    if first not in ("low", "high"):
        raise unknown("first", first, ("low", "high"))
    lows, highs = (
        _grid(*steps, log_ratio) for steps in ((low_start, low_end, low_step), (high_start, high_end, high_step))
    )
    n_low, n_high = len(lows), len(highs)
    step = torch.arange(n_low + n_high - 1, device=log_ratio.device)
    # Along the path one bound moves to its end, then the other.
    if first == "low":
        at_low, at_high = step.clamp(max=n_low - 1), (step - n_low + 1).clamp(min=0)
    else:
        at_low, at_high = (step - n_high + 1).clamp(min=0), step.clamp(max=n_high - 1)
    ratio = torch.where(batch.mask, log_ratio, 0.0).exp()
    size = torch.where(batch.mask, advantage, 0.0)
    axes, bound = (-3, -2, -1), (-1, *(1,) * ratio.ndim)
    positive = (torch.minimum(ratio, highs.view(bound)) * size.clamp(min=0)).sum(axes, keepdim=True)
    negative = (torch.maximum(ratio, lows.view(bound)) * (-size).clamp(min=0)).sum(axes, keepdim=True)
    enough = positive[at_high] >= balance * negative[at_low]
    # Where nothing is enough the path's end is taken: argmax of the first True, with the end made True.
    found = (enough | (step == step[-1]).view(bound)).int().argmax(0)
    return lows[at_low[found]], highs[at_high[found]]


def _grid(start: float, end: float, step: float, like: Tensor) -> Tensor:
    """``start, start + step, ...`` and ``end``."""
    # A rounded quotient must not add a step: 0.2 / 0.05 is 4, not 4.000000000000001.
    count = math.ceil((end - start) / step - 1e-9)
    return as_like([min(start + i * step, end) for i in range(count)] + [end], like)  # type: ignore[arg-type]


def _capped(log_ratio: Tensor, kept: Tensor, ratio_cap: Scalar) -> Tensor:
    ratio = log_ratio.exp()
    return torch.where(kept, torch.minimum(ratio, as_like(ratio_cap, ratio)), 0.0)
