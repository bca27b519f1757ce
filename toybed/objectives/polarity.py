"""Learning from right and from wrong responses separately."""

from __future__ import annotations

import torch
from torch import Tensor

from toybed.errors import unknown
from toybed.objectives.batch import Batch, Scalar, per_token
from toybed.objectives.weights import TokenWeight


def signed_outcome(batch: Batch, *, positive: Scalar, negative: Scalar, correct_above: Scalar) -> Tensor:
    """PSR, NSR, W-REINFORCE: one constant for right responses, another for wrong ones.

    ``A_i = positive`` where ``R_i > correct_above``, else ``-negative``

    =============  ======  ==============================
    symbol         shape   meaning
    =============  ======  ==============================
    positive       number  weight of right responses
    negative       number  weight of wrong responses
    correct_above  number  threshold of a right response
    =============  ======  ==============================

    Changes: PSR (1, 0) pushes right responses up and nothing down: entropy falls fast. NSR (0, 1) pushes wrong ones
    down, which spreads their probability over all others: entropy is kept. W-REINFORCE (0.1, 1) is both.
    Default: 1/0, 0/1 and 0.1/1 (arXiv 2506.01347, RLVR-Decomposed). The threshold 0 serves 0/1 and ±1 rewards.
    Trap: on-policy, all three have one and the same expected gradient up to its length, for ``E[grad log pi] = 0``:
    ``E[r grad] = -E[(1-r) grad]``. What differs between them comes from sampling noise, stale updates with clipping,
    Adam, lengths and denominators. The authors' scripts inherit an entropy bonus of 0.001 in all arms.
    Limit: (1, 1): REINFORCE with reward ±1. Not zero where all rewards are equal, nor for a group of one.
    Source: arXiv 2506.01347; RLVR-Decomposed ``compute_psr_nsr_outcome_advantage`` (read in the code).
    """
    right = per_token(batch.reward, batch) > correct_above
    plus, minus = (torch.as_tensor(x, dtype=batch.reward.dtype, device=right.device) for x in (positive, negative))
    return torch.where(right, plus, -minus)


def successes(batch: Batch, *, correct_above: Scalar, normalizer: str) -> Tensor:
    """RAFT, rejection fine-tuning, expert iteration: imitate one's own right responses.

    ``A_i = 1[R_i > correct_above] * N / c``, with ``N / c`` by ``normalizer``

    =============  ==========================  =====================================================
    symbol         shape                       meaning
    =============  ==========================  =====================================================
    correct_above  number                      threshold of a right response
    normalizer     "group", "batch" or "none"  c right ones of N: in the group, in the run's batch; 1
    =============  ==========================  =====================================================

    Changes: only right responses get gradient, all upward; sharpens fast when it is iterated. "group": each prompt
    with a success weighs alike. "batch": each success weighs alike, as supervised fine-tuning on a file of them does.
    Default: "group", whose expectation for a large group is ``grad log p``, the limit of MaxRL.
    Trap: "batch" is a ratio of two sums over all prompts: an easy prompt brings more successes and weighs more.
    Limit: "none": REINFORCE with 0/1 reward. "group" on 0/1 reward: MaxRL without its centring. Nothing right: 0. A
    group of one gets 1 where it is right. Equal rewards do not give zero.
    Source: OpenRLHF, prime-rl (rejection sampling; read in the code); the identities were checked by enumeration.
    """
    right = (per_token(batch.reward, batch) > correct_above).to(batch.reward.dtype)
    if normalizer == "none":
        return right
    if normalizer not in ("group", "batch"):
        raise unknown("normalizer", normalizer, ("group", "batch", "none"))
    axes = (-2,) if normalizer == "group" else (-3, -2)
    total = right.shape[-2] * (1 if normalizer == "group" else right.shape[-3])
    return right * (total / right.sum(axes, keepdim=True).clamp(min=1))


def acting_rows(batch: Batch, *, advantage: Tensor, **_: object) -> TokenWeight:
    """PSR, NSR, supervised fine-tuning: responses without an advantage leave the average altogether.

    ``w_t = 1`` and counted where some token of the response has ``A != 0``; 0 and not counted elsewhere

    ========  =================================  =====================================
    symbol    shape                              meaning
    ========  =================================  =====================================
    A         [..., B, G, T] or [..., B, G, 1]   advantage
    ========  =================================  =====================================

    Changes: with ``token_mean`` the average is over the tokens of the rows that are kept, so the gradient does not
    shrink as such rows become rare.
    Trap: aggregators that take a mean over responses still count the dropped ones. NSR is therefore not W-REINFORCE
    with weight 0 on right responses: the scale differs by the share of wrong tokens.
    Limit: every row acts: ``every_token``. No row acts: the loss is 0.
    Source: RLVR-Decomposed ``ray_trainer.py``, which takes the other rows out of the batch (read in the code).
    """
    acts = batch.mask & (advantage != 0).any(-1, keepdim=True)
    return TokenWeight(acts.to(batch.log_prob_old.dtype), acts)
