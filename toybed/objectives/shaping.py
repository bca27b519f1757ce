"""Advantages reshaped token by token: by planning masks, by entropy, by log-probability."""

from __future__ import annotations

import torch
from torch import Tensor

from toybed.objectives.advantages import group_centered, group_standardized
from toybed.objectives.batch import Batch, Scalar, compares_group, needs
from toybed.streams import Streams, draw_uniform


@compares_group
@needs("planning")
def planning_bonus(batch: Batch, *, alpha: Scalar) -> Tensor:
    """HICRA: planning tokens get a larger advantage, in the direction of none.

    ``A'_t = A_i + alpha |A_i|`` on planning tokens, ``A_i = R_i - mean_j R_j`` elsewhere

    ========  ==============  ============================
    symbol    shape           meaning
    ========  ==============  ============================
    planning  [..., B, G, T]  mask of planning tokens
    alpha     number          strength
    ========  ==============  ============================

    Changes: planning tokens of right responses are pushed up by ``1 + alpha``, those of wrong ones down by only
    ``1 - alpha``. Entropy over strategies is claimed to rise.
    Default: alpha 0.2 (two third-party write-ups and two ports). The authors' mask is strategic phrases of 3 to 5 words
    found by clustering; here the world names its planning tokens.
    Trap: for 0/1 reward, ``alpha |A|`` multiplies the expected gradient of its tokens by ``1 + alpha (1 - 2p)``: it
    amplifies prompts below one half and damps those above, wherever the mask is. Compare with
    :func:`random_planning_bonus` before crediting the mask.
    Limit: alpha = 0 or an empty mask: ``group_centered``. Signs are kept for alpha < 1; the sum over the group becomes
    positive. Equal rewards, and a group of one, give exactly 0.
    Source: arXiv 2509.03646, through third-party write-ups and ports only: the authors' repository holds a README.
    """
    return _raised(group_centered(batch), batch.require("planning", "hicra") & batch.mask, alpha)


@compares_group
@needs("planning", "generator")
def random_planning_bonus(batch: Batch, *, generator: torch.Generator | Streams, alpha: Scalar) -> Tensor:
    """HICRA's placebo: as many tokens of each response, drawn at random, get the bonus.

    ``A'_t = A_i + alpha |A_i|`` on n_i tokens drawn without replacement, n_i the number of planning tokens

    Symbols as in :func:`planning_bonus`. Changes: the same dose in every response, on tokens that mean nothing. What
    HICRA has over this is due to which tokens it takes.
    Default: alpha 0.2. The paper has such a placebo; that its draw is within the response is this catalogue's choice.
    Trap: drawn anew for every batch, once for all its optimiser steps.
    Limit: every token a planning token: HICRA itself.
    Source: arXiv 2509.03646, through third-party write-ups only.
    """
    mask = batch.mask
    count = (batch.require("planning", "hicra_random") & mask).sum(-1, keepdim=True)
    lottery = torch.where(mask, draw_uniform(generator, batch.log_prob_old), -1.0)
    # Place in the response's lottery: an argsort of an argsort; stable, so that ties fall alike on every machine.
    place = lottery.argsort(dim=-1, descending=True, stable=True).argsort(dim=-1)
    return _raised(group_centered(batch), (place < count) & mask, alpha)


@compares_group
@needs("entropy_old")
def entropy_bonus_shaped(batch: Batch, *, alpha: Scalar, kappa: Scalar, ddof: int, floor: Scalar) -> Tensor:
    """Entropy-shaped advantage: uncertain tokens get a larger advantage, bounded by the advantage itself.

    ``A'_t = A_i + min(alpha H_t, |A_i| / kappa)``, ``A_i = (R_i - mean_j R_j) / (std_j R_j + floor)``

    ===========  ==============  ================================================
    symbol       shape           meaning
    ===========  ==============  ================================================
    H            [..., B, G, T]  entropy of the sampling policy at the token, nats
    alpha        number          strength
    kappa        number          bound; signs are kept for kappa > 1
    ddof, floor                  of the base, ``group_standardized``
    ===========  ==============  ================================================

    Changes: uncertain tokens of right responses are pushed up more, of wrong ones down less. It is an exploration
    reward, not an entropy regulariser: the paper's own figure has the entropy at 0.17 against 0.34 for its baseline.
    Default: alpha 0.4 on GRPO, 0.1 on PPO; kappa 2 (arXiv 2506.14758), on clip-higher, token-mean and reward ±1.
    Trap: the authors add it in place during the actor's update, where with several epochs it would add up; here it is
    added once, from the entropy when the token was sampled. Ports use kappa = 1, or multiply by A.
    Limit: alpha = 0: ``group_standardized``. Zero where A = 0, so for equal rewards and a group of one; no bonus where
    H = 0. The sum over the group is positive.
    Source: arXiv 2506.14758 (its method was read).
    """
    advantage = group_standardized(batch, ddof=ddof, floor=floor)
    entropy = torch.where(batch.mask, batch.require("entropy_old", "entropy_shaped"), 0.0)
    return advantage + torch.minimum(alpha * entropy, advantage.abs() / kappa)


@compares_group
@needs("log_prob")
def log_prob_rescaled(batch: Batch, *, log_prob: Tensor, zeta: Scalar, ddof: int, floor: Scalar) -> Tensor:
    """REPO-R: unlikely tokens are pushed up more and down less, by their log-probability under the current policy.

    ``A'_t = A_i max(0, 1 - zeta log pi_t)`` where A > 0, ``A_i max(0, 1 + zeta log pi_t)`` where A < 0

    ===========  ==============  =====================================================
    symbol       shape           meaning
    ===========  ==============  =====================================================
    pi           [..., B, G, T]  current policy's probability of the token, no gradient
    zeta         number          strength; may be negative
    ddof, floor                  of the base, ``group_standardized``
    ===========  ==============  =====================================================

    Changes: takes the covariance of log-probability and advantage down. zeta > 0 raises entropy against its base,
    zeta < 0 lowers it; the factor never turns a sign.
    Default: the published zeta is set by a controller, which doubles it when entropy is below its first value, halves
    it above, and may turn its sign; 0.1 and the base (GRPO's advantage) are this catalogue's, not published values.
    Trap: reads the current policy, so it is computed anew at each optimiser step. The source also says that ratios in
    bf16 are biased upward, and that strictly on-policy RLOO in fp16 was its strongest baseline.
    Limit: zeta = 0: the base. Equal rewards, and a group of one, give exactly 0.
    Source: arXiv 2603.11682, through a third-party note and the header of an example only.
    """
    advantage = group_standardized(batch, ddof=ddof, floor=floor)
    now = torch.where(batch.mask, log_prob, 0.0)
    return advantage * (1 - advantage.sign() * zeta * now).clamp(min=0)


def _raised(advantage: Tensor, chosen: Tensor, alpha: Scalar) -> Tensor:
    return advantage + torch.where(chosen, alpha * advantage.abs(), 0.0)
