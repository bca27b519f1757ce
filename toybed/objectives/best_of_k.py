"""Advantages for the best of k responses: pass@k and max@k."""

from __future__ import annotations

from math import comb

import torch
from torch import Tensor

from toybed.errors import ToybedError
from toybed.measures.diversity import pass_at_k
from toybed.objectives.advantages import group_standardized, no_spread
from toybed.objectives.batch import Batch, Scalar, compares_group, per_token


@compares_group
def pass_at_k_standardized(batch: Batch, *, k: int, correct_above: Scalar, floor: Scalar) -> Tensor:
    """Pass@k training: what a response adds to the pass@k of the subsets that it is in, standardised.

    ``rho = 1 - C(G-c, k) / C(G, k)``, ``sigma = sqrt(rho (1 - rho))``;
    ``A_i = (1 - rho) / (sigma + floor)`` for a right response,
    ``A_i = (1 - rho - C(G-c-1, k-1) / C(G-1, k-1)) / (sigma + floor)`` for a wrong one

    =============  ===========  ============================================================
    symbol         shape        meaning
    =============  ===========  ============================================================
    c              [..., B]     responses of the group with ``R > correct_above``
    rho            [..., B]     share of the size-k subsets of the group that hold a right one
    sigma          [..., B]     standard deviation of that (Bernoulli, population)
    k              integer      subset size
    correct_above  number       threshold of a right response
    floor          number       added to sigma
    =============  ===========  ============================================================

    Changes: the mean over all subsets with the response in them of the subset's standardised reward. Prompts that a
    few of k tries solve are left alone; a right response weighs more the fewer there are. Entropy falls more slowly.
    Default: floor 1e-6 (RUCAIBox/Passk_Training ``passk_adv.py``). k = 4 and the threshold 0 are this catalogue's.
    Trap: sigma is the Bernoulli formula at the level of subsets, not a sample's standard deviation. verl's
    ``grpo_passk`` is another method: :func:`best_margin`. Without sigma the expected gradient is
    ``(G-k) / (G k) grad pass@k``.
    Limit: k = 1: GRPO with the population's standard deviation. Sums to zero over the group. Exactly 0 where c = 0,
    where ``G - c < k`` (every subset holds a right one), and so at k = G and, as no subset exists, at k > G and for a
    group of one.
    Source: arXiv 2508.10751; Passk_Training ``code/passk_adv.py`` (read in the code).
    """
    _check(k)
    reward = per_token(batch.reward, batch)
    group = reward.shape[-2]
    if k > group:
        return torch.zeros_like(reward)
    right = reward > correct_above
    count = right.sum(-2, keepdim=True)
    rho = pass_at_k(count, group, k)
    # C(G-c-1, k-1) / C(G-1, k-1): the other k-1 of a subset around a wrong response are wrong too.
    alone = 1 - pass_at_k(count, group - 1, k - 1) if k > 1 else torch.ones_like(rho)
    sigma = (rho * (1 - rho)).clamp(min=0).sqrt()
    undecided = (count > 0) & (group - count >= k)
    advantage = (1 - rho - torch.where(right, 0.0, alone)) / torch.where(undecided, sigma + floor, 1.0)
    return torch.where(undecided, advantage, 0.0).to(reward.dtype)


@compares_group
def best_margin(batch: Batch, *, by_std: bool, ddof: int, floor: Scalar) -> Tensor:
    """GRPO-pass@k (verl): only the best response of the group, by how much it beats the second.

    ``A_i = (R_i - R_second) / (std_j R_j + floor)`` for the best i, 0 for the others

    ========  ===========  ==========================================================
    symbol    shape        meaning
    ========  ===========  ==========================================================
    R_second  [..., B]     second-largest reward of the group
    std       [..., B]     with ``ddof`` removed; 1 without floor where not ``by_std``
    floor     number       added to the standard deviation
    ========  ===========  ==========================================================

    Changes: one response of a group at most gets gradient, and it is pushed up; nothing is pushed down.
    Default: by_std True, floor 1e-6, ddof 1 (verl ``compute_grpo_passk_outcome_advantage``).
    Trap: despite the name no k enters. Two right responses tie and leave the group without any gradient: with 0/1
    reward it learns only from groups with exactly one success.
    Limit: without std: :func:`max_at_k_marginal` with k = G. A group of one gets 0 (verl refuses it).
    Source: arXiv 2503.19595; verl (read in the code).
    """
    reward = per_token(batch.reward, batch)
    if reward.shape[-2] < 2:
        return torch.zeros_like(reward)
    best, second = reward.topk(2, dim=-2).values.split(1, dim=-2)
    margin = torch.where(reward == best, best - second, 0.0)
    if not by_std:
        return margin
    spread = (reward - reward.mean(-2, keepdim=True)).square().sum(-2, keepdim=True)
    std = (spread / max(reward.shape[-2] - ddof, 1)).sqrt()
    return torch.where(no_spread(reward), 0.0, margin / torch.where(no_spread(reward), 1.0, std + floor))


def max_at_k_marginal(batch: Batch, *, k: int) -> Tensor:
    """PKPO: what a response adds to the expected best of k, against the same draw without it.

    ``s_i = 1/C(G, k) sum_{I: i in I, |I| = k} [ max R(I) - max R(I without i) ]``; k = 1: ``R_i / G``

    ========  ===========  =============================================
    symbol    shape        meaning
    ========  ===========  =============================================
    R         [..., B, G]  graded reward
    k         integer      size of the subsets I of the group
    ========  ===========  =============================================

    In ascending order: ``s_(i) = 1/C(G, k) sum_{j < i} C(j-1, k-2) (R_(i) - R_(j))``, from which one sees ``s >= 0``.

    Changes: only responses that can be the best of k are pushed, up, by their margin over those below. Entropy falls
    more slowly than for k = 1, because a second-best answer keeps its share of the subsets.
    Default: the leave-one-out-minus-one form is the recommended one; k = 4 is this catalogue's.
    Trap: unbiased for the *sum* over the group; with a mean over responses the gradient is 1/G of max@k's. Do not
    standardise afterwards. At k = 1 there is no set without i, and the reward comes back raw, without a baseline, as
    in the ports that were read.
    Limit: k = 1: REINFORCE over G. k = G: the margin of the best over the second. 0/1 reward: positive on right
    responses only. Equal rewards: exactly 0 for k > 1. k > G: no subset exists, 0; so a group of one gets its reward at
    k = 1 and 0 else.
    Source: arXiv 2505.15201, checked against brute force; three third-party ports were read, no official code found.
    """
    _check(k)
    reward = per_token(batch.reward, batch)
    group = reward.shape[-2]
    if k > group:
        return torch.zeros_like(reward)
    if k == 1:
        return reward / group
    ordered, order = reward.squeeze(-1).sort(dim=-1)
    # C(j-1, k-2) with j from 1: in how many ways the k-2 others of I lie below j.
    ways = [comb(below, k - 2) / comb(group, k) for below in range(group)]
    weight = torch.tensor(ways, dtype=reward.dtype, device=reward.device)
    above = (ordered.unsqueeze(-1) - ordered.unsqueeze(-2)).tril(-1)
    marginal = (above * weight).sum(-1)
    return torch.zeros_like(marginal).scatter(-1, order, marginal).unsqueeze(-1)


@compares_group
def half_credit(batch: Batch, *, share: Scalar, ddof: int, floor: Scalar) -> Tensor:
    """Credit half for one's own reward and half for what one adds to the best of the group.

    ``A_i = [share (R_i - mean_j R_j) + (1 - share) (max_j R_j - max_{j != i} R_j)] / (std_j R_j + floor)``

    ========  ===========  =================================================================
    symbol    shape        meaning
    ========  ===========  =================================================================
    R         [..., B, G]  reward
    share     number       of the credit that is individual, 0 to 1
    std       [..., B]     of the group, with ``ddof`` degrees of freedom removed
    floor     number       added to the standard deviation
    ========  ===========  =================================================================

    Changes: a right response that is the only one of its group is pushed further up than one among many. With 0/1
    reward and share below 1 the other right ones keep ``share`` of GRPO's push, and so do the wrong ones.
    Default: share 0.5, ddof 1 and floor 1e-6 as in GRPO.
    Trap: does not sum to zero over the group: the set's part only pushes up. The two parts have one scale because one
    standard deviation divides both; before that a single success among G gets ``1 - 1/G`` from the one and 1 from the
    other.
    Limit: share = 1: :func:`~toybed.objectives.advantages.group_standardized`. share = 0: :func:`best_margin`, which
    for 0/1 reward is a constant times :func:`max_at_k_marginal` with k = G. Equal rewards, and a group of one: 0.
    Source: the two parts are those of arXiv 2402.03300 and 2505.15201; their mixture is this catalogue's, for policies
    whose heads answer as a set.
    """
    own = group_standardized(batch, ddof=ddof, floor=floor)
    return share * own + (1 - share) * best_margin(batch, by_std=True, ddof=ddof, floor=floor)


def _check(k: int) -> None:
    if k < 1:
        raise ToybedError(f"k is {k}; allowed: at least 1")
