"""Stage 5: per-token losses become one number for each run.

Each function maps ``per_token [..., B, G, T]`` with its ``mask`` to ``[...]``. ``counted`` is the mask that the
denominator counts (it differs from ``mask`` where a weight stage drops tokens from the average as well). With
responses of equal length all four agree up to a constant; with unequal lengths they are different objectives, a
large and silent source of difference between libraries.
"""

from __future__ import annotations

import torch
from torch import Tensor


def token_mean(per_token: Tensor, mask: Tensor, counted: Tensor) -> Tensor:
    """Every token of the mini-batch weighs alike.

    ``sum m l / sum m``

    Changes: a long response weighs more than a short one.
    Trap: a micro-batch's mean is not the batch's unless token counts are equal; scale with the counts when splitting.
    Source: DAPO arXiv 2503.14476; verl's default; TRL ``dapo``.
    """
    return _masked(per_token, mask).sum((-3, -2, -1)) / counted.sum((-3, -2, -1)).clamp(min=1)


def seq_mean_token_mean(per_token: Tensor, mask: Tensor, counted: Tensor) -> Tensor:
    """Every response weighs alike.

    ``mean_i ( sum_t m l / |y_i| )``

    Changes: a token of a long response weighs less; long wrong answers are punished less for each token.
    Source: original GRPO arXiv 2402.03300, GSPO, SAPO; TRL ``grpo``.
    """
    return (_masked(per_token, mask).sum(-1) / counted.sum(-1).clamp(min=1)).mean((-2, -1))


def seq_mean_token_sum(per_token: Tensor, mask: Tensor, counted: Tensor) -> Tensor:
    """The log-probability of the whole response: the policy gradient of the textbook.

    ``mean_i ( sum_t m l )``

    Source: sequence REINFORCE, RLOO arXiv 2402.14740.
    """
    return _masked(per_token, mask).sum(-1).mean((-2, -1))


def seq_mean_token_sum_norm(per_token: Tensor, mask: Tensor, counted: Tensor, *, budget: int | None) -> Tensor:
    """The sum over tokens divided by a constant, so that no response's own length matters.

    ``mean_i ( sum_t m l ) / L``

    ========  =======  ===========================================================================
    symbol    shape    meaning
    ========  =======  ===========================================================================
    L         number   ``budget``, the generation budget; None means the padded length T
    ========  =======  ===========================================================================

    Default: the authors' L is ``generate_max_length`` = 3000; a toy's is its horizon T.
    Trap: with ``budget=None`` the loss depends on padding. verl before 2026 forgot the mean over responses, so its
    learning rates differ by the batch size.
    Source: Dr. GRPO arXiv 2503.20783; TRL ``dr_grpo``.
    """
    return seq_mean_token_sum(per_token, mask, counted) / (per_token.shape[-1] if budget is None else budget)


def _masked(per_token: Tensor, mask: Tensor) -> Tensor:
    # where, not a product: padding may hold anything, infinities too.
    return torch.where(mask, per_token, 0.0)
