"""Stages that a controller steers by a parameter made for it: each is inert at that parameter's neutral value."""

from __future__ import annotations

import torch
from torch import Tensor

from toybed.errors import unknown
from toybed.measures.covariance import token_covariance
from toybed.objectives.advantages import group_standardized
from toybed.objectives.batch import Batch, Scalar, compares_group, needs, per_token
from toybed.objectives.surrogates import as_like, bounded, bounded_value, valued
from toybed.objectives.weights import TokenWeight

LOG_RATIO_BOUND = 20.0  # the authors': beyond it a ratio has no gradient


def polarity(
    log_prob: Tensor, batch: Batch, *, advantage: Tensor, alpha: Scalar, probability_above: Scalar, **_: object
) -> Tensor:
    """EntroPIC: weigh what is pushed up by ``1 + alpha`` and what is pushed down by ``1 - alpha``.

    ``l_t = -alpha (N / N_p) rho_t |A_t|`` on the N_p tokens with ``pi_t > probability_above``, 0 elsewhere

    =================  ==============  ==================================================================
    symbol             shape           meaning
    =================  ==============  ==================================================================
    rho                [..., B, G, T]  pi / pi_old of the token, with gradient
    N                  number          tokens of the run's mini-batch, N_p of them more likely than that
    alpha              number          in [-1, 1]; set by a controller
    probability_above  number          which tokens are weighed
    =================  ==============  ==================================================================

    Changes: alpha below 0 takes from right responses and adds to wrong ones, which raises entropy where both are
    likely; above 0 the reverse. Added to a policy's loss ``-rho A`` over all tokens it is the paper's
    ``(1 + alpha) J_+ - (1 - alpha) J_-``.
    Default: 0.95 (the authors' code): most tokens of a language model are that sure. Those of a toy are not until it
    has collapsed, so it takes 0.5: more likely than all others together.
    Trap: averaged over the N_p tokens alone, so that few sure tokens weigh as much as all others; never clipped. Over
    all tokens nothing is steered: with group-centred 0/1 rewards and on-policy ``E[|A| grad log pi]`` is
    ``(1 - 2p) E[A grad log pi]`` for a prompt with success p, so that alpha changes its step's length only, and below 0
    speeds up what is solved already.
    Limit: alpha 0: nothing. On-policy, over all tokens and with ``token_mean``: the weights above, exactly.
    Source: arXiv 2511.15248; EntroPIC ``compute_policy_loss_entropic``.
    """
    likely = batch.mask & (log_prob.detach() > as_like(probability_above, log_prob).log())
    total, count = (x.sum((-3, -2, -1), keepdim=True).to(log_prob.dtype) for x in (batch.mask, likely))
    log_ratio = torch.where(batch.mask, log_prob - batch.log_prob_old, 0.0)
    ratio = log_ratio.clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND).exp()
    return torch.where(likely, -alpha * (total / count.clamp(min=1)) * ratio * advantage.abs(), 0.0)


REJECTED_BY = ("advantage", "covariance")


def rejection(batch: Batch, *, advantage: Tensor, drift: Scalar, rejected_by: str, **_: object) -> TokenWeight:
    """Entrocraft: leave responses out that would move entropy the wrong way.

    ``w = 1`` and counted where ``drift s_i >= 0``, 0 and not counted elsewhere; ``s_i = A_i``, or the response's mean
    of ``(log pi_old - mean log pi_old)(A - mean A)``

    ===========  =====================  ==================================================================
    symbol       shape                  meaning
    ===========  =====================  ==================================================================
    drift        number                 1: entropy is too high; -1: it is too low; 0: it is where it should be
    s            [..., B, G, 1]         by how much the response is expected to lower entropy
    rejected_by  advantage, covariance  what s is
    ===========  =====================  ==================================================================

    Changes: by "advantage" only wrong responses are learned from while entropy is too low, and only right ones while
    it is too high. By "covariance", the first-order entropy change of a natural-gradient step on a softmax, right
    responses that are rare and wrong ones that are common are kept to raise it.
    Default: "advantage", the authors' algorithm 1.
    Trap: it rests on sampled responses being likely. A wrong response that is rare is kept to raise entropy and lowers
    it; late in a run those are all wrong responses there are. The authors' code gives the responses it keeps their
    plain reward, not the group's advantage, as the paper's algorithm does and this function.
    By "covariance": a sampled response's own step has a second term that this leaves out, ``A sum p^2 (log p + H)``.
    Limit: drift 0: every token. Nothing left: the loss is 0.
    Source: arXiv 2604.26326 algorithm 1; lblaoke/entrocraft ``core_algos.py``. Covariance: arXiv 2505.22617.

    Raises:
        ToybedError: ``rejected_by`` is neither.
    """
    if rejected_by not in REJECTED_BY:
        raise unknown("rejected_by", rejected_by, REJECTED_BY)
    advantage = advantage.expand_as(batch.log_prob_old)
    if rejected_by == "covariance":
        signal = token_covariance(torch.where(batch.mask, batch.log_prob_old, 0.0), advantage, batch.mask)
    else:
        signal = torch.where(batch.mask, advantage, 0.0)
    kept = batch.mask & (drift * signal.sum(-1, keepdim=True) >= 0)
    return TokenWeight(kept.to(batch.log_prob_old.dtype), kept)


IMITATED_BY = ("advantage", "reward")


@compares_group
@needs("tempered")
def tempered_imitation(batch: Batch, *, ddof: int, floor: Scalar, imitated_by: str, imitated_above: Scalar) -> Tensor:
    """AEPO and SCOPE-RL: right responses of tempered groups are imitated; other groups get GRPO's advantage.

    ``A_i = 1[x_i > imitated_above]`` in groups that were sampled at a temperature of their own, ``a_i`` elsewhere;
    a_i is the reward standardised within the group, x_i is a_i or the reward itself

    ==============  ==================  ==================================================================
    symbol          shape               meaning
    ==============  ==================  ==================================================================
    a               [..., B, G, 1]      as :func:`~toybed.objectives.advantages.group_standardized`
    imitated_by     advantage, reward   what x is
    imitated_above  number              which responses are imitated
    ==============  ==================  ==================================================================

    Changes: pulls the policy towards ``pi_T`` among right responses: above temperature 1 that raises entropy, as far
    as there are several right ones to a prompt, and below it lowers it. Expected reward does not fall by it.
    Default: AEPO's code the advantage above 0.05, so that a group without spread has nothing to imitate; SCOPE-RL
    every rewarded response.
    Trap: by "advantage" it ends where the prompts are solved: then no group has any spread.
    Limit: no group tempered: GRPO.
    Source: arXiv 2510.08141; 597358816/AEPO ``ray_trainer.py`` ``fit``.

    Raises:
        ToybedError: ``imitated_by`` is neither.
    """
    if imitated_by not in IMITATED_BY:
        raise unknown("imitated_by", imitated_by, IMITATED_BY)
    standard = group_standardized(batch, ddof=ddof, floor=floor)
    right = (standard if imitated_by == "advantage" else per_token(batch.reward, batch)) > imitated_above
    tempered = batch.require("tempered", "tempered_imitation")[..., None, None]
    return torch.where(tempered, right.to(standard.dtype), standard)


@needs("tempered")
def without_tempered_failures(batch: Batch, *, advantage: Tensor, **_: object) -> TokenWeight:
    """AEPO: responses of tempered groups that are not imitated leave the average.

    ``w_t = 1`` and counted, but 0 and not counted in tempered groups where ``A = 0``

    Changes: the average is over the rows that the authors' batch has.
    Trap: how many these are changes from batch to batch; the authors take at most 60 of them, below the target half.
    Limit: no group tempered: ``every_token``.
    Source: 597358816/AEPO ``ray_trainer.py`` ``_select_by_advantage``.
    """
    tempered = batch.require("tempered", "without_tempered_failures")[..., None, None]
    kept = batch.mask & (~tempered | (advantage != 0))
    return TokenWeight(kept.to(batch.log_prob_old.dtype), kept)


def _probability_bounds(
    log_ratio: Tensor,
    batch: Batch,
    *,
    clip_low: Scalar,
    clip_high: Scalar,
    low_base: Scalar,
    low_slope: Scalar,
    high_base: Scalar,
    high_slope: Scalar,
    boost: Scalar,
    suppress: Scalar,
) -> tuple[Tensor, Tensor]:
    chance = (torch.where(batch.mask, batch.log_prob_old, 0.0) + log_ratio).clamp(max=0.0).exp()
    low = clip_low + suppress * (low_base + low_slope * chance - clip_low)
    high = clip_high + boost * (high_base + high_slope * chance - clip_high)
    return 1 - low, 1 + high


def _probability_value(
    log_ratio: Tensor, advantage: Tensor, batch: Batch, *, dual_clip: Scalar | None, **bounds: Scalar
) -> Tensor:
    return bounded_value(log_ratio.exp(), advantage, *_probability_bounds(log_ratio, batch, **bounds), dual_clip)


@valued(_probability_value)
def probability_clip(
    log_ratio: Tensor,
    advantage: Tensor,
    batch: Batch,
    *,
    clip_low: Scalar,
    clip_high: Scalar,
    low_base: Scalar,
    low_slope: Scalar,
    high_base: Scalar,
    high_slope: Scalar,
    boost: Scalar,
    suppress: Scalar,
    dual_clip: Scalar | None,
) -> Tensor:
    """Flexible entropy control: PPO's clip, wider for unlikely tokens, mixed in to raise or to lower entropy.

    PPO's c with ``high = clip_high + boost (high_base + high_slope p - clip_high)`` and
    ``low = clip_low + suppress (low_base + low_slope p - clip_low)``

    =========  ==============  ==================================================================
    symbol     shape           meaning
    =========  ==============  ==================================================================
    p          [..., B, G, T]  probability of the token under the current policy
    high, low  [..., B, G, T]  clips above and below 1
    boost      number          0 to 1: how much of the upper clip depends on p; raises entropy
    suppress   number          0 to 1: the same of the lower clip; lowers entropy
    =========  ==============  ==================================================================

    Other symbols as in :func:`~toybed.objectives.surrogates.ppo_clip`. Changes: ``boost`` lets unlikely tokens of right
    responses rise further and holds likely ones back; ``suppress`` lets unlikely tokens of wrong responses fall
    further and spares likely ones.
    Default: 0.2 / 0.2; 0.5 - 0.25 p above and 0.3 - 0.13 p below (by third-party description of the paper).
    Trap: at ratio 1 nothing is clipped, so with one update a batch nothing is steered.
    Limit: boost and suppress 0: PPO. ``rho <= 1 + base + slope p`` is ``rho (1 - slope p_old) <= 1 + base``.
    Source: arXiv 2602.09782 sections 4 and 5, in the authors' own summary.
    """
    low, high = _probability_bounds(
        log_ratio,
        batch,
        clip_low=clip_low,
        clip_high=clip_high,
        low_base=low_base,
        low_slope=low_slope,
        high_base=high_base,
        high_slope=high_slope,
        boost=boost,
        suppress=suppress,
    )
    return bounded(log_ratio.exp(), advantage, low, high, dual_clip)
