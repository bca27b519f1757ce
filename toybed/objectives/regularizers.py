"""Stage 4: what is added to the policy's loss, token by token.

A function maps ``(log_prob, batch, *, advantage, entropy)`` to a per-token loss ``[..., B, G, T]`` that already holds
its coefficient; the gradient flows through ``log_prob`` or ``entropy``. Regularisers are averaged over the tokens of
the run's mini-batch whatever the aggregator of the policy's term, so that a coefficient means the same in every row
(an entropy bonus that inherits the policy's normaliser shrinks with the length; TRL issue 6140).
"""

from __future__ import annotations

import torch
from torch import Tensor

from toybed.errors import ToybedError, unknown
from toybed.measures.covariance import token_covariance
from toybed.objectives.batch import HOW_TO_GET, Batch, Scalar, needs
from toybed.objectives.weights import top_tokens


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


@needs("log_prob_ref")
def kl_reference(log_prob: Tensor, batch: Batch, *, kl_coefficient: Scalar, kl_estimator: str, **_: object) -> Tensor:
    """A penalty for leaving the reference policy, by one of Schulman's three estimators.

    ``l_t = kl_coefficient * k(d_t)``, ``d = log pi - log pi_ref``; ``k1 = d``, ``k2 = d^2/2``, ``k3 = exp(-d) - 1 + d``

    Changes: anchors the policy to the reference. On-policy, differentiated as a loss: k1 has zero expected gradient;
    k2 has the exact gradient of KL(pi || ref); k3 that of KL(ref || pi), the *forward* divergence, which covers mass
    and by itself resists collapse.
    Default: verl 0.001 where it is on (off by default); TRL 0.
    Trap: "GRPO with the k3 loss" is not reverse KL; k1 as a loss does nothing.
    Source: arXiv 2402.03300 eq. 4; verl ``kl_penalty_forward``, TRL (k3 only).
    """
    log_ratio = torch.where(batch.mask, log_prob - batch.require("log_prob_ref", "kl_reference"), 0.0)
    if kl_estimator == "k1":
        divergence = log_ratio
    elif kl_estimator == "k2":
        divergence = log_ratio.square() / 2
    elif kl_estimator == "k3":
        divergence = torch.exp(-log_ratio) - 1 + log_ratio
    else:
        raise unknown("kl_estimator", kl_estimator, ("k1", "k2", "k3"))
    return kl_coefficient * divergence


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
    count = (batch.mask.sum((-3, -2, -1), keepdim=True) * share).ceil().clamp(min=1)
    selected = top_tokens(torch.where(batch.mask, covariance, -torch.inf), count)
    log_ratio = torch.where(batch.mask, log_prob - batch.log_prob_old, 0.0)
    return torch.where(selected, penalty * log_ratio.abs(), 0.0)
