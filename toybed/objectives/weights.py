"""Stage 2: which tokens count, and how much.

A function returns ``(weight, counted)``: the weight of each token in the numerator and the mask that the denominator
counts. Selections are made over the whole mini-batch of each run, without a gradient.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from toybed.errors import ToybedError
from toybed.measures.covariance import token_covariance
from toybed.objectives.batch import HOW_TO_GET, Batch, Scalar, needs
from toybed.streams import Streams, draw_uniform


class TokenWeight(NamedTuple):
    """Weight ``[..., B, G, T]`` of each token, and the mask that the denominator counts."""

    weight: Tensor
    counted: Tensor


def every_token(batch: Batch, **_: object) -> TokenWeight:
    """Every token of a response counts once."""
    return TokenWeight(batch.mask.to(batch.log_prob_old.dtype), batch.mask)


@needs("generator")
def drop_covariant(
    batch: Batch,
    *,
    advantage: Tensor,
    log_prob: Tensor,
    coefficient: Tensor,
    generator: torch.Generator | Streams,
    share: Scalar,
    cov_low: Scalar,
    cov_high: Scalar,
    cov_scale: str,
    **_: object,
) -> TokenWeight:
    """Clip-Cov: drop the gradient of a few tokens, drawn at random among those of high covariance.

    ``Cov_t = (log pi_t - mean log pi)(A_t - mean A)``; candidates ``cov_low < Cov_t < cov_high`` that the surrogate
    has not clipped; of them ``max(floor(share N), 1)`` are drawn uniformly and get weight 0

    ============  ==================  ===============================================================================
    symbol        shape               meaning
    ============  ==================  ===============================================================================
    N             number              tokens of the run's mini-batch
    share         number              share of all tokens that is dropped
    cov_low/high  number              bounds of the covariance: absolute, or as quantiles of the mini-batch's values
    cov_scale     absolute, quantile  what the bounds mean
    ============  ==================  ===============================================================================

    Changes: the tokens that spend most entropy get no gradient, so entropy falls more slowly. Acts at ratio 1 too.
    Default: published share 2e-4 and bounds [1, 5] (arXiv 2505.22617, its code). Those bounds were tuned for 1e5
    words and millions of tokens; there, 1 lies between the mean of the top 2 % (1.385) and of the top 20 % (0.351) of
    covariances. The toy takes the same place as a quantile, 0.96, no upper bound, and a share of 0.02.
    Trap: the denominator still counts the dropped tokens; at least one token is dropped; the authors' scripts also
    widen PPO's clip to [0, 2], so two things change at once.
    Limit: no candidates: the surrogate alone.
    Source: arXiv 2505.22617; Entropy-Mechanism-of-RL and verl ``compute_policy_loss_clip_cov``.
    """
    covariance = token_covariance(log_prob, advantage, batch.mask)
    if cov_scale == "quantile":
        low, high = _quantiles(covariance, batch.mask, cov_low, cov_high)
        # The largest value is inside: a quantile of 1 means "no upper bound".
        inside = (covariance > low) & (covariance <= high)
    else:
        inside = (covariance > cov_low) & (covariance < cov_high)
    candidates = inside & batch.mask & (coefficient > 0)
    count = (token_product(batch.mask, share) * (1 + 1e-6)).floor().clamp(min=1)
    lottery = torch.where(candidates, draw_uniform(generator, log_prob), -1.0)
    dropped = top_tokens(lottery, count) & candidates
    return TokenWeight((batch.mask & ~dropped).to(log_prob.dtype), batch.mask)


@needs("entropy")
def keep_uncertain(
    batch: Batch, *, entropy: Tensor | None, uncertain_share: Scalar, count_dropped: bool, **_: object
) -> TokenWeight:
    """80/20: only the tokens at which the policy is most uncertain get a gradient.

    ``w_t = 1`` on the ``ceil(uncertain_share N)`` tokens of highest entropy, 0 elsewhere

    ===============  ==============  ==========================================================================
    symbol           shape           meaning
    ===============  ==============  ==========================================================================
    N                number          tokens of the run's mini-batch
    entropy          [..., B, G, T]  of the current policy at each position
    uncertain_share  number          share of tokens kept
    count_dropped    bool            whether the denominator counts the dropped tokens
    ===============  ==============  ==========================================================================

    Changes: the tokens between forks keep their probabilities, as far as they share no parameters with the forks.
    Default: 0.2, the denominator counts the kept tokens (arXiv 2506.01939 eq. 6 and the authors' code).
    Trap: TRL's port divides by *all* tokens, which shrinks the gradient about fivefold, and leaves a KL unmasked. The
    selection is over a mini-batch: the authors' over a micro-batch of one rank, TRL's over all ranks.
    Limit: uncertain_share 1: every token. Only the order of entropies matters.
    Source: arXiv 2506.01939; Beyond-the-80-20-Rule-RLVR ``get_global_entropy_top_mask``; TRL.
    """
    if entropy is None:
        raise ToybedError(f"keep_uncertain needs entropy: {HOW_TO_GET['entropy']}")
    candidates = torch.where(batch.mask, entropy.detach(), -torch.inf)
    kept = top_tokens(candidates, share_of_tokens(batch.mask, uncertain_share)) & batch.mask
    return TokenWeight(kept.to(batch.log_prob_old.dtype), batch.mask if count_dropped else kept)


def share_of_tokens(mask: Tensor, share: Scalar) -> Tensor:
    """``ceil(share N)`` of each run's N tokens, ``[..., 1, 1, 1]``."""
    return (token_product(mask, share) * (1 - 1e-6)).ceil()


def token_product(mask: Tensor, share: Scalar) -> Tensor:
    """``share N`` in float64, to be rounded with a guard of 1e-6 of itself.

    A share is a decimal that binary numbers miss: in float32 0.3 of 50 is 15.000001, whose ceiling is 16.
    """
    return mask.sum((-3, -2, -1), keepdim=True).double() * share


def top_tokens(value: Tensor, count: Tensor) -> Tensor:
    """Mask of the ``count [..., 1, 1, 1]`` largest values of each run's mini-batch ``[..., B, G, T]``.

    Ties go to the earlier token, on every machine; fewer than one token selects none.
    """
    flat, wanted = value.flatten(-3), count.flatten(-3).long()
    last = (wanted - 1).clamp(min=0, max=flat.shape[-1] - 1)
    border = ascending(flat).gather(-1, (flat.shape[-1] - 1 - last).expand(*flat.shape[:-1], 1))
    higher, equal = flat > border, flat == border
    room = wanted - higher.sum(-1, keepdim=True)
    return (higher & (wanted > 0) | equal & (equal.cumsum(-1) <= room)).view_as(value)


def ascending(value: Tensor) -> Tensor:
    """The values, without gradient, in ascending order along the last axis."""
    if value.device.type == "cpu":  # ten times as fast as torch's sort, which moves the places along with the values
        return torch.from_numpy(np.sort(value.detach().numpy(), axis=-1))
    return value.detach().sort(dim=-1).values


def _quantiles(value: Tensor, mask: Tensor, *shares: Scalar) -> list[Tensor]:
    """Quantiles ``[..., 1, 1, 1]`` (lower value, no interpolation) of each run's tokens, by one sort."""
    ordered = ascending(torch.where(mask, value, torch.inf).flatten(-3))
    last = mask.sum((-3, -2, -1), keepdim=True).flatten(-3) - 1

    def at(share: Scalar) -> Tensor:
        index = last * (share.flatten(-3) if isinstance(share, Tensor) else share)
        return ordered.gather(-1, index.long().clamp(min=0))[..., None, None]

    return [at(share) for share in shares]
