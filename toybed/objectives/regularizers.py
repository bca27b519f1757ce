"""Stage 4: what is added to the policy's loss, token by token.

A function maps ``(log_prob, batch, *, advantage, entropy, log_probs)`` to a per-token loss ``[..., B, G, T]`` that
already holds its coefficient; the gradient flows through ``log_prob``, ``entropy`` or ``log_probs``. Regularisers are
averaged over the tokens of the run's mini-batch whatever the aggregator of the policy's term, so that a coefficient
means the same in every row (an entropy bonus that inherits the policy's normaliser shrinks with the length; TRL issue
6140).
"""

from __future__ import annotations

import torch
from torch import Tensor

from toybed.errors import ToybedError, unknown
from toybed.measures.covariance import token_covariance
from toybed.measures.divergence import SAMPLED_KL
from toybed.objectives.batch import HOW_TO_GET, Batch, Scalar, needs
from toybed.objectives.bounds import certain_tokens
from toybed.objectives.surrogates import as_like
from toybed.objectives.weights import share_of_tokens, top_tokens


@needs("entropy")
def entropy_bonus(
    log_prob: Tensor, batch: Batch, *, entropy: Tensor | None, entropy_coefficient: Scalar, **_: object
) -> Tensor:
    """Reward the entropy of the policy itself.

    ``l_t = -entropy_coefficient * H_t``

    ========  ==============  ===================================================
    symbol    shape           meaning
    ========  ==============  ===================================================
    H         [..., B, G, T]  full-vocabulary entropy of the current policy, nats
    ========  ==============  ===================================================

    Changes: pushes every position toward uniform, whatever its advantage; no gradient at uniform or when
    deterministic.
    Default: verl 0 now and 0.001 in older versions (inherited silently by work built on it). In arXiv 2505.22617
    1e-3 does nothing, 5e-3 is stable, 1e-2 explodes, for a vocabulary of 1e5.
    Source: Williams and Peng 1991; verl, TRL.
    """
    if entropy is None:
        raise ToybedError(f"entropy_bonus needs entropy: {HOW_TO_GET['entropy']}")
    return -entropy_coefficient * entropy


@needs("entropy", "planning")
def planning_entropy_bonus(
    log_prob: Tensor, batch: Batch, *, entropy: Tensor | None, planning_entropy_coefficient: Scalar, **_: object
) -> Tensor:
    """Reward the entropy of the policy where it plans, and nowhere else.

    ``l_t = -planning_entropy_coefficient * N H_t / N_p`` on the N_p planning tokens, 0 elsewhere, so that the average
    is over planning tokens

    ========  ==============  ===================================================
    symbol    shape           meaning
    ========  ==============  ===================================================
    H         [..., B, G, T]  full-vocabulary entropy of the current policy, nats
    N         number          tokens of the run's mini-batch, N_p of them planning
    ========  ==============  ===================================================

    Changes: pushes a master policy toward uniform, whatever its advantage, and leaves its sub-policies alone. Where
    options do the same, and a master's gradient is noise, it is all that moves the master.
    Default: none in print; SAC's target entropy for a discrete master (arXiv 1910.07207) has the same end.
    Limit: every token a planning token: :func:`entropy_bonus`.
    Source: a control of this project, for the master of arXiv 2506.19652.
    """
    if entropy is None:
        raise ToybedError(f"planning_entropy_bonus needs entropy: {HOW_TO_GET['entropy']}")
    planning = batch.require("planning", "planning_entropy_bonus") & batch.mask
    # Counts in the type of the loss: an integer times a number would be rounded to float32.
    total, count = (x.sum((-3, -2, -1), keepdim=True).to(entropy) for x in (batch.mask, planning))
    scale = planning_entropy_coefficient * total / count.clamp(min=1)
    return torch.where(planning, -scale * entropy, 0.0)


KL_ESTIMATORS = (*SAMPLED_KL, "k3+", "k3_ratio")


@needs("log_prob_ref")
def kl_reference(log_prob: Tensor, batch: Batch, *, kl_coefficient: Scalar, kl_estimator: str, **_: object) -> Tensor:
    """A penalty for leaving the reference policy, by one of Schulman's three estimators or two mixtures of them.

    ``l_t = kl_coefficient * k(d_t)``, ``d = log pi - log pi_ref``; ``k1 = d``, ``k2 = d^2/2``,
    ``k3 = exp(-d) - 1 + d``; ``k3+``: the value of k3 with the gradient of k2; ``k3_ratio``: ``rho k3``, with the
    gradient through rho too

    Changes: anchors the policy to the reference. On-policy, differentiated as a loss: k1 has zero expected gradient;
    k2, ``k3+`` and ``k3_ratio`` have the exact gradient of KL(pi || ref); k3 that of KL(ref || pi), the *forward*
    divergence, which covers mass and by itself resists collapse.
    Default: verl 0.001 where it is on (off by default); TRL 0.
    Trap: "GRPO with the k3 loss" is not reverse KL; k1 as a loss does nothing. ``log rho`` is held in ±20 in
    ``k3_ratio`` (no gradient beyond), where two exponentials multiply; verl holds d in ±20 and k3 in ±10, here they
    are free.
    Source: arXiv 2402.03300 eq. 4; verl ``kl_penalty_forward`` (``k3+`` is its name), TRL (k3, and ``k3_ratio`` as
    ``use_bias_correction_kl``).
    """
    return kl_coefficient * _divergence(log_prob, batch, kl_estimator, "kl_reference")


def _divergence(log_prob: Tensor, batch: Batch, estimator: str, by: str) -> Tensor:
    """The estimate for each token, 0 outside the mask."""
    d = torch.where(batch.mask, log_prob - batch.require("log_prob_ref", by), 0.0)
    if estimator in SAMPLED_KL:
        return SAMPLED_KL[estimator](d)
    k3 = SAMPLED_KL["k3"](d)
    if estimator == "k3+":
        k2 = SAMPLED_KL["k2"](d)
        return k2 - k2.detach() + k3.detach()
    if estimator == "k3_ratio":
        log_ratio = torch.where(batch.mask, log_prob - batch.log_prob_old, 0.0)
        return log_ratio.clamp(-20.0, 20.0).exp() * k3
    raise unknown("kl_estimator", estimator, KL_ESTIMATORS)


@needs("log_prob_ref", "entropy_old")
def kl_reference_certain(
    log_prob: Tensor,
    batch: Batch,
    *,
    kl_coefficient: Scalar,
    kl_coefficient_uncertain: Scalar,
    kl_estimator: str,
    kl_split: float,
    **_: object,
) -> Tensor:
    """Archer: the penalty for leaving the reference, averaged apart over certain and over uncertain tokens.

    ``l_t = N kl_coefficient k(d_t) / N_c`` on the N_c certain tokens, ``N kl_coefficient_uncertain k(d_t) / N_u``
    on the N_u others, so that each average over its own tokens gets its own coefficient

    =========  ==============  ==============================================================================
    symbol     shape           meaning
    =========  ==============  ==============================================================================
    k(d_t)     [..., B, G, T]  as in :func:`kl_reference`
    N          number          tokens of the run's mini-batch, N = N_c + N_u
    kl_split   number          certain: at most this quantile of the entropies of the token's own response
    =========  ==============  ==============================================================================

    Changes: anchors what the policy already knows; forking tokens are free.
    Default: 0.001 and 0, k3, split at 0.8 (ArcherCodeR's scripts).
    Trap: with few certain tokens the pull on each is large, because the average is over them alone.
    Limit: all tokens certain (kl_split 1): :func:`kl_reference`.
    Source: arXiv 2507.15778; ArcherCodeR ``dp_actor.py``.
    """
    divergence = _divergence(log_prob, batch, kl_estimator, "kl_reference_certain")
    certain = certain_tokens(batch, kl_split)
    # Counts in the type of the loss: an integer times a number would be rounded to float32.
    total, count = (x.sum((-3, -2, -1), keepdim=True).to(divergence) for x in (batch.mask, certain))
    inside = kl_coefficient * total / count.clamp(min=1)
    outside = kl_coefficient_uncertain * total / (total - count).clamp(min=1)
    return torch.where(certain, inside * divergence, torch.where(batch.mask, outside * divergence, 0.0))


@needs("log_probs")
def proxy_divergence(
    log_prob: Tensor,
    batch: Batch,
    *,
    advantage: Tensor,
    log_probs: Tensor | None,
    low_share: Scalar,
    noise_floor: Scalar,
    proxy_coefficient: Scalar,
    **_: object,
) -> Tensor:
    """Lp-Reg: shield unlikely tokens that are not noise, by a pull toward the policy without its noise.

    ``l_t = proxy_coefficient * KL(proxy || pi)`` at tokens with ``A_t < 0`` that are among the ``ceil(low_share N)``
    least likely of the mini-batch and kept by the proxy, 0 elsewhere; ``proxy = pi 1[pi >= noise_floor max pi]``,
    renormalised, without gradient

    =================  ================  =======================================================
    symbol             shape             meaning
    =================  ================  =======================================================
    pi                 [..., B,G,T, V]   current policy at the position, ``log_probs``
    N                  number            tokens of the run's mini-batch
    low_share          number            share of tokens that count as unlikely
    noise_floor        number            kappa: below this share of the largest probability is noise
    proxy_coefficient  number            beta
    =================  ================  =======================================================

    Changes: moves probability at these positions from noise to all kept tokens alike,
    ``grad l = -grad log pi(kept)``; rare but sensible tokens survive being sampled in wrong responses.
    Default: low_share 0.005 to 0.01, noise_floor 0.02, beta 1. A mini-batch of the toy has some hundred tokens; it
    takes a share of 0.05.
    Trap: read in third-party descriptions only, which leave open whether the proxy is built on pi or pi_old; here on
    pi. The authors' development code (Lp-Reg-dev, read) differs: proxy on pi_old, k3 at the sampled token in the place
    of the sum over the vocabulary, and the share taken among tokens with A < 0, none if that is a single one.
    Limit: noise_floor 0: the proxy is the policy and the penalty 0.
    Source: arXiv 2510.03222, by third-party descriptions.
    """
    if log_probs is None:
        raise ToybedError(f"proxy_divergence needs log_probs: {HOW_TO_GET['log_probs']}")
    chosen = log_prob.detach()
    unlikely = top_tokens(torch.where(batch.mask, -chosen, -torch.inf), share_of_tokens(batch.mask, low_share))
    at = unlikely & batch.mask & (advantage < 0)
    # Few tokens are left: the vocabulary is looked at for them alone, rows [n, V] of [..., B, G, T, V].
    words, floor = log_probs[at], as_like(noise_floor, chosen).expand_as(chosen)[at]
    largest = words.detach().amax(-1)
    kept = (words.detach() - largest.unsqueeze(-1)).exp() >= floor.unsqueeze(-1)
    # KL(proxy || pi) is -log of the mass of what is kept, with its gradient, where the set is held fixed.
    divergence = -torch.where(kept, words, -torch.inf).logsumexp(-1)
    sensible = (chosen[at] - largest).exp() >= floor
    return proxy_coefficient * torch.zeros_like(chosen).masked_scatter(at, torch.where(sensible, divergence, 0.0))


def quadratic_log_ratio(log_prob: Tensor, batch: Batch, *, log_ratio_coefficient: Scalar, **_: object) -> Tensor:
    """DRO: a spring toward the policy that sampled.

    ``l_t = log_ratio_coefficient * (log rho_t)^2 / 2``

    =====================  ==============  ============================
    symbol                 shape           meaning
    =====================  ==============  ============================
    rho_t                  [..., B, G, T]  pi / pi_old of the token
    log_ratio_coefficient  number          beta
    =====================  ==============  ============================

    Changes: every stale token, the more the further it has moved, on both sides alike. With the score function,
    ``-(A log pi - beta (log rho)^2 / 2)`` on one sample is stationary at ``log rho = A / beta``.
    Default: none, verl requires a positive one; 0.05 is the value of its test, at which the spring stops a token of
    A = 1 only at a log-ratio of 20.
    Trap: inert at ratio 1, as every pull toward pi_old: with one update a batch this is REINFORCE.
    Limit: 0: REINFORCE.
    Source: verl ``compute_policy_loss_dro``.
    """
    log_ratio = torch.where(batch.mask, log_prob - batch.log_prob_old, 0.0)
    return log_ratio_coefficient * log_ratio.square() / 2


def covariance_penalty(
    log_prob: Tensor, batch: Batch, *, advantage: Tensor, share: Scalar, penalty: Scalar, **_: object
) -> Tensor:
    """KL-Cov: pull the tokens of highest covariance back to where they were sampled.

    ``l_t = penalty * |log rho_t|`` on the ``ceil(share N)`` tokens of highest
    ``Cov_t = (log pi_t - mean log pi)(A_t - mean A)``, 0 elsewhere

    ========  ==============  ======================================================
    symbol    shape           meaning
    ========  ==============  ======================================================
    rho       [..., B, G, T]  pi / pi_old
    N         number          tokens of the run's mini-batch
    share     number          share of tokens selected (at least one)
    penalty   number          beta
    ========  ==============  ======================================================

    Changes: a pull of constant size toward pi_old on the tokens that spend most entropy.
    Default: published share 2e-3 (7B) or 2e-4 (32B), beta 1 (arXiv 2505.22617); verl's default beta is 0.1. The toy
    takes 0.02: a mini-batch here has some hundred tokens, and 2e-4 of them is less than one.
    Trap: the paper writes a KL divergence, the code has |log rho|. At ratio 1 its gradient is zero, so on strictly
    on-policy data KL-Cov is inert. SkyRL's default is 20 % of tokens, 100 times the paper's.
    Source: arXiv 2505.22617; Entropy-Mechanism-of-RL and verl ``compute_policy_loss_kl_cov``.
    """
    covariance = token_covariance(log_prob.detach(), advantage, batch.mask)
    count = share_of_tokens(batch.mask, share).clamp(min=1)
    selected = top_tokens(torch.where(batch.mask, covariance, -torch.inf), count)
    log_ratio = torch.where(batch.mask, log_prob - batch.log_prob_old, 0.0)
    return torch.where(selected, penalty * log_ratio.abs(), 0.0)
