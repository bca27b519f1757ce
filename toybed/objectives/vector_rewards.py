"""Advantages of vector-valued rewards, and of responses that hold a set of answers.

A reward of D components is ``[..., B, G, D]``; one for each of a response's M answers ``[..., B, G, M, D]``. A scalar
reward ``[..., B, G]`` is one component of one answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor

from toybed.errors import ToybedError, unknown
from toybed.objectives.advantages import no_spread, whiten
from toybed.objectives.batch import Batch, Scalar, compares_group, needs, takes_vectors
from toybed.streams import Streams, draw_uniform


@takes_vectors("vector")
@compares_group
def component_standardized(
    batch: Batch, *, reward_weights: Sequence[float] | None, ddof: int, floor: Scalar, whitening_floor: Scalar
) -> Tensor:
    """GDPO: each reward component is standardised within the group, then they are added and whitened.

    ``Z_id = (R_id - mean_j R_jd) / (std_j R_jd + floor)``, ``Y_i = sum_d w_d Z_id``,
    ``A_i = (Y_i - mean Y) / sqrt(var Y + whitening_floor)``, the last moments over all tokens of the batch

    ===============  ==============  ==============================================
    symbol           shape           meaning
    ===============  ==============  ==============================================
    R                [..., B, G, D]  reward components
    w                [D] or None     ``reward_weights``; None weighs all components 1
    std              [..., B, 1, D]  with ``ddof`` degrees of freedom removed
    floor            number          added to the standard deviation
    whitening_floor  number          added to the variance over tokens
    ===============  ==============  ==============================================

    Changes: a component of small scale counts as much as one of large scale, where GRPO on the sum lets the large one
    drown it. Entropy as GRPO.
    Default: weights 1, ddof 1, floor 1e-6, whitening floor 1e-8 (verl).
    Trap: whitening is over tokens, so lengths enter, and a group without spread gets a small advantage, minus the
    batch's mean. TRL whitens over responses.
    Limit: D = 1: whitened GRPO. Invariant to an affine change of any component. Components with equal rewards give
    exactly 0, as does a group of one; a batch in which all do gives 0.
    Source: arXiv 2601.05242; verl ``compute_gdpo_outcome_advantage``, TRL (read in the code).
    """
    reward = components(batch, "gdpo")
    centered = reward - reward.mean(-2, keepdim=True)
    std = (centered.square().sum(-2, keepdim=True) / max(reward.shape[-2] - ddof, 1)).sqrt()
    equal = no_spread(reward)
    # [..., B, G, D] against a floor of [S, 1, 1, 1]: both have the run axis first and three more.
    standard = torch.where(equal, 0.0, centered / torch.where(equal, 1.0, std + floor))
    total = (standard * _weights(reward_weights, standard, fill=1.0)).sum(-1, keepdim=True)
    whitened = whiten(total.expand_as(batch.log_prob_old), batch.mask, whitening_floor)
    return torch.where(batch.mask, whitened, 0.0)


@takes_vectors("set")
@compares_group
@needs("generator")
def best_of_set(
    batch: Batch, *, generator: torch.Generator | Streams, draws: int, concentration: int, floor: Scalar
) -> Tensor:
    """VPO: the expected best answer of a set under random preferences, standardised within the group.

    ``S_i = 1/K sum_k max_m w_k . r_im``, ``w_k ~ Dirichlet(concentration)`` shared by the group;
    ``A_i = (S_i - mean_j S_j) / (std_j S_j + floor)``, 0 where the std is below ``floor``

    =============  =================  ========================================================================
    symbol         shape              meaning
    =============  =================  ========================================================================
    r              [..., B, G, M, D]  reward vector of each of the M answers in response i
    w              [..., B, K, D]     preferences: K = ``draws`` for each prompt, the same for all its responses
    concentration  integer            of the Dirichlet law; 1 is uniform over the simplex
    std            [..., B, 1]        of the population
    floor          number             added to the standard deviation, and its least value
    =============  =================  ========================================================================

    Changes: a response is paid for answers that are best for *someone*: a set of specialists beats a set of copies.
    Every token of the response gets the same advantage.
    Default: 100 draws, concentration 1, floor 1e-6 (authors' ``vpo/utils/vpo.py``). Concentrations are integers here
    (a Gamma variate is then a sum of exponentials).
    Trap: the authors' walkthrough draws inside the loop over responses, which adds noise to the comparison; their code
    draws once for the group, as here. They remove duplicate answers and pad with rows of zeros: for rewards that are
    not negative that changes nothing, for others a zero beats them. A response that cannot be parsed enters with 0.
    Limit: D = 1: GRPO, population std, on the best answer. M = 1: the expectation is the mean of the components. An
    added answer never lowers S; duplicates are neutral. Equal rewards, and a group of one, give exactly 0.
    Source: arXiv 2605.22817; authors' ``vpo/utils/vpo.py`` and ``docs/`` (read in the code).
    """
    reward = answer_sets(batch)
    value = expected_best(reward, draw_preferences(generator, reward, draws, concentration))
    return _standardized(value.unsqueeze(-1), floor)


@takes_vectors("vector")
@compares_group
@needs("generator")
def marginal_best(batch: Batch, *, generator: torch.Generator | Streams, draws: int, concentration: int) -> Tensor:
    """A variant of VPO for parallel samples: what a response adds to the expected best of its group.

    ``A_i = 1/K sum_k [ max_j w_k . r_j - max_{j != i} w_k . r_j ]``, ``w_k ~ Dirichlet(concentration)``

    ======  ==============  ===========================================================
    symbol  shape           meaning
    ======  ==============  ===========================================================
    r       [..., B, G, D]  reward vector of response i: the group is the set of answers
    w       [..., B, K, D]  preferences, as in :func:`best_of_set`
    ======  ==============  ===========================================================

    Changes: only responses that are best under some preference are pushed, up, by their margin. Nothing is pushed
    down, and nothing is standardised (as in PKPO, of which this is the case k = G for vector rewards).
    Default: 100 draws, concentration 1, as in :func:`best_of_set`.
    Trap: this is not the published method, which samples one set in one response.
    Limit: D = 1: :func:`~toybed.objectives.best_of_k.max_at_k_marginal` with k = G. Two equal responses at the top get
    0 both; equal rewards, and a group of one, give exactly 0.
    Source: the leave-one-out of arXiv 2505.15201 on the scalarisation of arXiv 2605.22817; published by neither.
    """
    reward = components(batch, "vpo_parallel")
    if reward.shape[-2] < 2:
        return torch.zeros_like(reward[..., :1])
    preference = draw_preferences(generator, reward.unsqueeze(-2), draws, concentration)
    scores = (reward @ preference.transpose(-1, -2)).unbind(-2)  # G times [..., B, K]
    best, second = scores[0], torch.full_like(scores[0], -torch.inf)
    # The two largest by a pass over the group, in a quarter of the time of topk, which is slow along such an axis.
    for score in scores[1:]:
        second = second.maximum(best.minimum(score))
        best = best.maximum(score)
    # Whatever is not the single best is at most the second: its margin is not positive.
    return torch.stack([(score - second).clamp(min=0).mean(-1) for score in scores], -1).unsqueeze(-1)


@takes_vectors("set")
@compares_group
def fixed_scalarization(
    batch: Batch, *, reward_weights: Sequence[float] | None, over_answers: str, floor: Scalar
) -> Tensor:
    """Multi-RLVR: the same sets of answers under one fixed preference, standardised within the group.

    ``S_i = max_m w . r_im`` ("best") or ``sum_m w . r_im`` ("sum"); ``A_i = (S_i - mean_j S_j) / (std_j S_j + floor)``,
    0 where the std is below ``floor``

    ============  =================  ======================================================
    symbol        shape              meaning
    ============  =================  ======================================================
    r             [..., B, G, M, D]  reward vector of each of the M answers in response i
    w             [D] or None        ``reward_weights``; None weighs all components 1/D
    over_answers  best or sum        how the answers of a set are pooled
    floor         number             added to the std of the population, and its least value
    ============  =================  ======================================================

    Changes: one direction of the reward space is paid for: a set of copies of its best answer is optimal.
    Default: "best", which differs from VPO in the preferences alone; floor 1e-6 as there.
    Trap: the sources disagree. The authors' documents describe this baseline once as a sum over answers, a third party
    as the best of the set. Both are here.
    Limit: M = 1: GRPO, population std, on the weighted reward. Equal rewards, and a group of one, give exactly 0.
    Source: the baseline of arXiv 2605.22817, in its documents; the pooling is ambiguous there.
    """
    reward = answer_sets(batch)
    score = weighted_sum(reward, reward_weights)
    if over_answers not in ("best", "sum"):
        raise unknown("over_answers", over_answers, ("best", "sum"))
    value = score.amax(-1) if over_answers == "best" else score.sum(-1)
    return _standardized(value.unsqueeze(-1), floor)


def answer_sets(batch: Batch) -> Tensor:
    """The reward as ``[..., B, G, M, D]``: a vector is a set of one answer, a number a vector of one component."""
    reward = batch.reward
    missing = batch.log_prob_old.ndim + 1 - reward.ndim
    return reward[(..., *(None,) * missing)] if missing == 2 else reward.unsqueeze(-2) if missing == 1 else reward


def weighted_sum(reward: Tensor, reward_weights: Sequence[float] | None) -> Tensor:
    """The components ``[..., D]`` under fixed weights ``[D]``, 1/D each where there are none: ``[...]``."""
    return (reward * _weights(reward_weights, reward, fill=1 / reward.shape[-1])).sum(-1)


def expected_best(reward: Tensor, preference: Tensor) -> Tensor:
    """Mean over the preferences ``[..., B, K, D]`` of the best answer in ``[..., B, G, M, D]``: ``[..., B, G]``."""
    preference = preference.transpose(-1, -2)
    # One product for each of the M answers: with G and M as batch axes it is thousands of tiny products.
    return reduce(torch.maximum, (answer @ preference for answer in reward.unbind(-2))).mean(-1)  # of [..., B, G, K]


def draw_preferences(generator: torch.Generator | Streams, reward: Tensor, draws: int, concentration: int) -> Tensor:
    """Preferences over the components of ``reward [..., B, G, M, D]``, one set for each prompt: ``[..., B, K, D]``."""
    if draws < 1 or concentration < 1:
        raise ToybedError(f"draws is {draws} and concentration {concentration}; allowed: integers of at least 1")
    shape = (*reward.shape[:-3], draws, concentration, reward.shape[-1])
    uniform = draw_uniform(generator, torch.empty(shape, dtype=torch.float32, device=reward.device))
    # A Gamma(n) variate is a sum of n exponentials; the floor keeps a row of zeros, of probability 2^-24D, finite.
    gamma = (-torch.log1p(-uniform.to(reward.dtype))).sum(-2).clamp(min=torch.finfo(torch.float32).tiny)
    return gamma / gamma.sum(-1, keepdim=True)


def components(batch: Batch, by: str) -> Tensor:
    """The reward as one vector for each response, ``[..., B, G, D]``.

    Raises:
        ToybedError: a response has several answers; the message names who asked.
    """
    reward = answer_sets(batch)
    if reward.shape[-2] != 1:
        raise ToybedError(f"{by} needs one reward vector [..., B, G, D] a response, got {list(batch.reward.shape)}")
    return reward.squeeze(-2)


def _weights(weights: Sequence[float] | None, like: Tensor, *, fill: float) -> Tensor:
    count = like.shape[-1]
    if weights is not None and len(weights) != count:
        raise ToybedError(f"reward_weights has {len(weights)} numbers; the reward has {count} components")
    return torch.tensor([fill] * count if weights is None else list(weights), dtype=like.dtype, device=like.device)


def _standardized(value: Tensor, floor: Scalar) -> Tensor:
    """``[..., B, G, 1]`` centred over the group, by the population's std plus floor; 0 where the std is below floor."""
    centered = value - value.mean(-2, keepdim=True)
    std = centered.square().mean(-2, keepdim=True).sqrt()
    silent = no_spread(value) | (std < floor)
    return torch.where(silent, 0.0, centered / torch.where(silent, 1.0, std + floor))
