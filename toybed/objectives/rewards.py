"""Before the advantage: rewards shaped by length or by divergence from the reference, or made of components.

Each function maps a batch to a reward ``[..., B, G]``. Dynamic sampling looks at the reward as the world gave it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from toybed.errors import unknown
from toybed.measures.divergence import SAMPLED_KL
from toybed.objectives.batch import Batch, Scalar, needs, per_token, takes_vectors
from toybed.objectives.vector_rewards import answer_sets, weighted_sum


def overlong_penalty(batch: Batch, *, max_length: int | None, cache: int) -> Tensor:
    """DAPO: responses that come close to the longest length allowed lose reward, linearly.

    ``R'_i = R_i + min(0, (max_length - cache - |y_i|) / cache)``; ``R'_i = R_i`` where cache = 0

    ==========  ===========  =============================================================================
    symbol      shape        meaning
    ==========  ===========  =============================================================================
    |y|         [..., B, G]  tokens of the response
    max_length  integer      longest response, L_max; None means the padded length T
    cache       integer      length of the ramp, L_c: the penalty is 0 at L_max - L_c and -1 at L_max; 0 is off
    ==========  ===========  =============================================================================

    Changes: long responses are pushed down whatever their outcome. Entropy: as its base.
    Default: published 20480 and 4096 (arXiv 2503.14476, verl-recipe ``dapo/``). The toy's None and 0 leave the reward
    alone: its responses are short and end by the rules of their world.
    Trap: the reward is no longer 0/1, which is why dynamic sampling looks at the accuracy and not at this. It goes on
    below -1 for a response longer than L_max, which generation rules out.
    Limit: no response longer than L_max - L_c: the identity.
    Source: arXiv 2503.14476; verl ``reward_manager/dapo.py`` (read in the code).
    """
    reward = per_token(batch.reward, batch).squeeze(-1)
    if cache <= 0:
        return reward
    longest = batch.mask.shape[-1] if max_length is None else max_length
    return reward + (longest - cache - batch.mask.sum(-1).to(reward.dtype)).clamp(max=0) / cache


def negated(batch: Batch) -> Tensor:
    """The reward with its sign turned: what paid is unlearned.

    ``R'_i = -R_i``, with ``R [..., B, G]``

    Changes: an advantage that is odd in the reward turns its sign, and nothing else: right responses are pushed down.
    Entropy: the covariance of log-probability and advantage turns its sign with it, so entropy rises at first.
    Default: none; a control that asks what taking the steps back, one by one, brings back.
    Trap: it does not retrace the path: the samples are the present policy's, and pushing down what is likely spreads
    mass over all the rest, right and wrong.
    Limit: twice is the identity.
    Source: a control of this project.
    """
    return -per_token(batch.reward, batch).squeeze(-1)


@takes_vectors("set")
def weighted_components(batch: Batch, *, reward_weights: Sequence[float] | None) -> Tensor:
    """A number made of the components, by fixed weights; of several answers the best one counts.

    ``R'_i = max_m w . r_im``

    ==============  =================  ======================================================
    symbol          shape              meaning
    ==============  =================  ======================================================
    r               [..., B, G, M, D]  reward vector of each of the M answers in response i
    reward_weights  [D] or None        w; None weighs all components 1/D
    ==============  =================  ======================================================

    Changes: an objective for numbers learns from the components, a denser signal than the number of the world; which
    of them an answer has is lost. Entropy: as its base, and later, since a group is silent less often.
    Default: 1/D each, the mean of the preferences of VPO.
    Trap: a fixed trade-off: two answers with the same sum are one and the same.
    Limit: one component of one answer: the identity.
    Source: the scalarisation of the baselines in arXiv 2605.22817 (their weights were not seen in print).
    """
    return weighted_sum(answer_sets(batch), reward_weights).amax(-1)


@needs("log_prob_ref")
def kl_in_reward(batch: Batch, *, kl_in_reward_coefficient: Scalar, kl_in_reward_estimator: str) -> Tensor:
    """The divergence of the sampling policy from the reference, taken from the reward of the response.

    ``R'_i = R_i - beta sum_t k(d_t)``, ``d = log pi_old - log pi_ref``;
    ``k1 = d``, ``k2 = d^2/2``, ``k3 = exp(-d) - 1 + d``

    ========================  ==============  =======================================
    symbol                    shape           meaning
    ========================  ==============  =======================================
    pi_ref                    [..., B, G, T]  reference policy
    kl_in_reward_coefficient  number          beta
    kl_in_reward_estimator    k1, k2 or k3    estimator; the sum is over the response
    ========================  ==============  =======================================

    Changes: every token of a response answers for the divergence of the whole response, through the baseline and the
    standard deviation of the advantage. With k1 the expected gradient is that of KL(pi || pi_ref), the reverse one.
    Default: beta 0.05 and k1 (TRL ``rloo_trainer.py``).
    Trap: in the loss, k1 has no expected gradient and k3 has that of the forward divergence; place and estimator are
    not interchangeable. After a division by the group's std, beta means something else in every group.
    Limit: beta = 0, or the policy at its reference: the identity.
    Source: arXiv 2402.14740; TRL ``rloo_trainer.py`` (read in the code).
    """
    log_ratio = torch.where(batch.mask, batch.log_prob_old - batch.require("log_prob_ref", "kl_in_reward"), 0.0)
    if kl_in_reward_estimator not in SAMPLED_KL:
        raise unknown("kl_in_reward_estimator", kl_in_reward_estimator, SAMPLED_KL)
    penalty = kl_in_reward_coefficient * SAMPLED_KL[kl_in_reward_estimator](log_ratio).sum(-1, keepdim=True)
    return (per_token(batch.reward, batch) - penalty).squeeze(-1)
