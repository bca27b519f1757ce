"""Advantages token by token: discounted returns, a critic's generalised advantages, whitening over the batch.

The reward of a response is paid at its last token; what stands outside the mask is skipped, as if it were not there.
"""

from __future__ import annotations

import torch
from torch import Tensor

from toybed.measures.moments import masked_mean
from toybed.objectives.advantages import group_centered, whiten
from toybed.objectives.batch import Batch, Scalar, compares_group, needs, per_token
from toybed.objectives.surrogates import as_like


def discounted_whitened(batch: Batch, *, gamma: Scalar, floor: Scalar) -> Tensor:
    """REINFORCE++ (verl): discounted return of each token, whitened over all tokens of the batch.

    ``G_t = gamma^(last - t) R_i``, ``A_t = (G_t - mean G) / sqrt(var G + floor)``

    ==========  ==============  ===========================================================
    symbol      shape           meaning
    ==========  ==============  ===========================================================
    R           [..., B, G]     reward of response i, paid at its last token
    gamma       number          discount of each token
    mean, var   [..., 1, 1, 1]  over the tokens of the run's batch, with Bessel's correction
    floor       number          added to the variance
    ==========  ==============  ===========================================================

    Changes: every token gets gradient; with gamma < 1 early tokens less. Prompts of every difficulty share one
    baseline, so that easy prompts are pushed up and hard ones down throughout. Entropy falls.
    Default: gamma 1, floor 1e-8 (verl ``compute_reinforce_plus_plus_outcome_advantage``, ``masked_whiten``).
    Trap: whitening over tokens lets long responses move the mean and the variance more; invariant to ``R -> aR + b``
    of the whole batch, not of a prompt. The KL to the reference is separate here; OpenRLHF has it in the reward, see
    :func:`discounted_whitened_with_kl`.
    Limit: gamma = 1: ``batch_whitened``, the row ``ppo``. Zero where all rewards of the batch are equal (gamma = 1).
    Source: arXiv 2501.03262; verl (read in the code).
    """
    return _whitened(_lambda_returns(token_rewards(batch), batch.mask, gamma), batch.mask, floor)


@needs("log_prob_ref")
def discounted_whitened_with_kl(
    batch: Batch, *, gamma: Scalar, floor: Scalar, token_kl_coefficient: Scalar, token_kl_bound: Scalar
) -> Tensor:
    """REINFORCE++ (OpenRLHF): as verl's, with a k1 KL to the reference taken from the reward of each token.

    ``r_t = R_i 1[t last] - token_kl_coefficient * clip(log pi_old - log pi_ref, -bound, bound)``,
    ``G_t = sum_{k >= t} gamma^(k-t) r_k``, ``A_t = (G_t - mean G) / sqrt(var G + floor)``

    ====================  ==============  ==================================================
    symbol                shape           meaning
    ====================  ==============  ==================================================
    R, gamma, mean, var                   as in :func:`discounted_whitened`
    pi_ref                [..., B, G, T]  reference policy
    token_kl_coefficient  number          beta
    token_kl_bound        number          the KL estimate of a token is clipped to this size
    ====================  ==============  ==================================================

    Changes: a token also answers for the divergence that comes after it, which holds the policy at the reference and
    slows the fall of entropy.
    Default: coefficient 0.01, bound 10 (OpenRLHF, its initial KL coefficient and ``compute_approx_kl``).
    Trap: the KL is whitened together with the reward, so its weight depends on the spread of the rewards: where all
    rewards of the batch are equal, the KL alone fills the variance of 1.
    Limit: coefficient 0: :func:`discounted_whitened`.
    Source: arXiv 2501.03262; OpenRLHF ``experience_maker.py`` (read in the code).
    """
    divergence = torch.where(batch.mask, batch.log_prob_old - batch.require("log_prob_ref", "reinforce_pp_kl"), 0.0)
    bound = torch.as_tensor(token_kl_bound, dtype=divergence.dtype, device=divergence.device)
    reward = token_rewards(batch) - token_kl_coefficient * divergence.minimum(bound).maximum(-bound)
    return _whitened(_lambda_returns(reward, batch.mask, gamma), batch.mask, floor)


@compares_group
def group_centered_whitened(batch: Batch, *, floor: Scalar) -> Tensor:
    """REINFORCE++-baseline: the reward less its group's mean, then whitened over all tokens of the batch.

    ``D_i = R_i - mean_j R_j``, ``A_t = (D_i - mean D) / sqrt(var D + floor)``, moments over the batch's tokens

    Symbols as in :func:`discounted_whitened`; ``mean_j`` is over the group. Changes: as GRPO, but one standard
    deviation for the batch in the place of one for each group: prompts with more spread weigh more.
    Default: floor 1e-8 (verl ``masked_whiten``).
    Trap: whitening over tokens centres once more. With unequal lengths group sums are not zero, and responses of a
    group with equal rewards get a small advantage, all the same.
    Limit: equal lengths: ``dr_grpo``'s advantage over the batch's standard deviation; a group of one has D = 0. Zero
    where the rewards are equal in every group.
    Source: arXiv 2501.03262; verl ``compute_reinforce_plus_plus_baseline_outcome_advantage`` (read in the code).
    """
    return _whitened(group_centered(batch).expand_as(batch.log_prob_old), batch.mask, floor)


@needs("value")
def gae(batch: Batch, *, gamma: Scalar, lam: Scalar, floor: Scalar) -> Tensor:
    """PPO with a critic: generalised advantage estimates, whitened over all tokens of the batch.

    ``delta_t = r_t + gamma V_{t+1} - V_t``, ``A_t = sum_k (gamma lam)^k delta_{t+k}``, then whitened

    ========  ==============  ======================================================================
    symbol    shape           meaning
    ========  ==============  ======================================================================
    r         [..., B, G, T]  the reward at the response's last token, 0 before
    V         [..., B, G, T]  the critic's value when the token was sampled; 0 after the last token
    gamma     number          discount
    lam       number          lambda: 1 trusts the return (variance), 0 the critic (bias)
    floor     number          added to the variance
    ========  ==============  ======================================================================

    Changes: credit goes to the tokens after which the critic expects more. Entropy falls fast.
    Default: gamma = lam = 1 and floor 1e-8 (verl); TRL's experimental PPO has lam 0.95.
    Trap: whitening subtracts the batch's mean, which a good critic has taken out already; the critic is to be trained
    on :func:`gae_returns`, which are not whitened.
    Limit: lam = gamma = 1: return-to-go less V, whitened; V = 0 besides: ``batch_whitened``; lam = 0: the one-step TD
    error. Groups do not enter, so a group of one is like any other; equal rewards give zero only where V is constant.
    Source: arXiv 1506.02438, 1707.06347; verl ``compute_gae_advantage_return`` (read in the code).
    """
    value = _value(batch)
    returns = _lambda_returns(token_rewards(batch), batch.mask, gamma, value, lam)
    return _whitened(returns - value, batch.mask, floor)


@needs("value")
def gae_returns(batch: Batch, *, gamma: Scalar, lam: Scalar) -> Tensor:
    """What the critic is trained toward: ``A_t + V_t`` before whitening, ``[..., B, G, T]``; 0 outside the mask.

    Symbols as in :func:`gae`. Limit: lam = gamma = 1: the reward of the response at each of its tokens.
    Source: verl ``compute_gae_advantage_return``.
    """
    returns = _lambda_returns(token_rewards(batch), batch.mask, gamma, _value(batch), lam)
    return torch.where(batch.mask, returns, 0.0)


def value_loss(value: Tensor, value_old: Tensor, returns: Tensor, mask: Tensor, *, clip: Scalar | None) -> Tensor:
    """The critic's loss of each run, ``[...]``: squared error, with PPO's clip of the value's move.

    ``1/2 mean_t max( (V - ret)^2, (V_c - ret)^2 )``, ``V_c = V_old + clip(V - V_old, -c, c)``

    ========  ==============  =======================================================
    symbol    shape           meaning
    ========  ==============  =======================================================
    V         [..., B, G, T]  ``value``, of the critic now, with gradient
    V_old     [..., B, G, T]  ``value_old``, when the tokens were sampled
    ret       [..., B, G, T]  ``returns``, from :func:`gae_returns`
    c         number or None  ``clip``; None leaves the squared error alone
    ========  ==============  =======================================================

    Changes: nothing of the policy. Where the clipped error is the larger one, a value gets no gradient: it has moved
    far enough toward the return already, or past it.
    Default: verl 0.5; TRL's experimental PPO 0.2 with the loss times 0.1.
    Limit: clip to infinity, or None: half the mean squared error.
    Source: arXiv 1707.06347 (the clip is the implementations'); verl ``compute_value_loss`` (read in the code).
    """
    error = (value - returns).square()
    if clip is not None:
        bound = torch.as_tensor(clip, dtype=value.dtype, device=value.device)
        clipped = value_old + (value - value_old).minimum(bound).maximum(-bound)
        error = error.maximum((clipped - returns).square())
    return masked_mean(error, mask)[..., 0, 0, 0] / 2


def token_rewards(batch: Batch) -> Tensor:
    """The reward at the last token of each response and 0 elsewhere, ``[..., B, G, T]``."""
    mask = batch.mask
    count = mask.cumsum(-1)
    last = mask & (count == count[..., -1:])
    return torch.where(last, per_token(batch.reward, batch), 0.0)


def _value(batch: Batch) -> Tensor:
    return torch.where(batch.mask, batch.require("value", "gae"), 0.0)


def _whitened(value: Tensor, mask: Tensor, floor: Scalar) -> Tensor:
    return torch.where(mask, whiten(value, mask, floor), 0.0)


def _lambda_returns(
    reward: Tensor, mask: Tensor, gamma: Scalar, value: Tensor | None = None, lam: Scalar = 1.0
) -> Tensor:
    """``L_t = r_t + gamma C_{t+1}``, ``C_t = (1 - lam) V_t + lam L_t``, over the masked tokens, ``[..., B, G, T]``.

    L less V is the generalised advantage estimate; without a critic lam is 1 and L the discounted return. C is what a
    token hands to the one before it; a column that is not in a response's mask hands on what came after it, and what L
    is there is not to be used.
    """
    gamma, lam = as_like(gamma, reward), as_like(lam, reward)
    later, found = torch.zeros_like(reward[..., :1]), []
    rewards, inside, critic = _columns(reward), _columns(mask), () if value is None else _columns((1 - lam) * value)
    for t in reversed(range(len(rewards))):
        found.append(rewards[t] + gamma * later)
        handed = critic[t] + lam * found[-1] if critic else found[-1]
        later = torch.where(inside[t], handed, later)
    return torch.stack(found[::-1]).squeeze(-1).movedim(0, -1).contiguous()


def _columns(value: Tensor) -> tuple[Tensor, ...]:
    """T columns ``[..., B, G, 1]``, each contiguous: arithmetic on strided ones takes twice the time."""
    return value.movedim(-1, 0).contiguous().unsqueeze(-1).unbind()
