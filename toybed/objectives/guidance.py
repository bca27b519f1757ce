"""Learning from what the policy did not sample for itself: refinements, demonstrations, preferences."""

from __future__ import annotations

import torch
from torch import Tensor

from toybed.objectives.batch import Batch, Scalar, compares_group, needs, per_token

REFINED, DEMONSTRATION = 1, 2  # values of batch.source


@needs("source")
def refinement_shaped(log_ratio: Tensor, advantage: Tensor, batch: Batch, *, gamma: Scalar) -> Tensor:
    """Critique-GRPO: unclipped ratios on sampled responses, a bounded weight on refined ones.

    ``c = rho`` on sampled rows, ``c = gamma pi / (pi + gamma)^2`` on rows refined after a critique

    ======  ==============  ===================================================================
    symbol  shape           meaning
    ======  ==============  ===================================================================
    rho     [..., B, G, T]  pi / pi_old
    pi      [..., B, G, T]  probability of the token under the current policy, without critique
    gamma   number          the probability at which a refined token weighs most
    source  [..., B, G]     1 marks refined rows
    ======  ==============  ===================================================================

    Changes: ``c`` is the derivative of ``pi / (pi + gamma)`` by ``log pi``: it peaks at ``pi = gamma`` (1/4) and
    vanishes for tokens that the policy would never or always say, so that a refinement moves what is within reach.
    Entropy is claimed to rise.
    Default: gamma 0.1 (critique-GRPO ``compute_token_on_off_policy_loss`` and its script).
    Trap: sampled rows have no clip at all. A refined row changes the baseline of its group. Its ``log_prob_old``
    cancels here but must be finite.
    Limit: no refined rows: ``importance_weighted``.
    Source: arXiv 2506.03106; zhangxy-2019/critique-GRPO (read in the code).
    """
    refined = (batch.require("source", "critique_grpo") == REFINED).unsqueeze(-1)
    probability = _probability(log_ratio, batch)
    return torch.where(refined, gamma * probability / (probability + gamma).square(), log_ratio.exp())


def _refinement_value(log_ratio: Tensor, advantage: Tensor, batch: Batch, *, gamma: Scalar) -> Tensor:
    refined = (batch.require("source", "critique_grpo") == REFINED).unsqueeze(-1)
    probability = _probability(log_ratio, batch)
    return advantage * torch.where(refined, probability / (probability + gamma), log_ratio.exp())


refinement_shaped.value = _refinement_value  # type: ignore[attr-defined]


def _probability(log_ratio: Tensor, batch: Batch) -> Tensor:
    return torch.where(batch.mask, log_ratio + batch.log_prob_old, 0.0).exp()


@needs("source")
def demonstrated(batch: Batch) -> Tensor:
    """Supervised fine-tuning: demonstrations are imitated, whatever their reward.

    ``A_i = 1`` on demonstration rows, 0 elsewhere

    ======  ===========  ==========================
    symbol  shape        meaning
    ======  ===========  ==========================
    source  [..., B, G]  2 marks demonstration rows
    ======  ===========  ==========================

    Changes: only demonstrations get gradient, all upward. The minimiser is the demonstrations' conditional law, so
    entropy goes to that of the data: it may rise.
    Default: no parameter.
    Trap: a mean over tokens lets long demonstrations weigh more, a mean over responses does not; say which. Rows that
    are no demonstrations have to leave the denominator too (``acting_rows``).
    Limit: the policy's own right responses as demonstrations: RAFT. No demonstration: 0.
    Source: OpenRLHF, prime-rl (read in the code).
    """
    return (batch.require("source", "sft") == DEMONSTRATION).unsqueeze(-1).to(batch.log_prob_old.dtype)


@compares_group
@needs("log_prob", "log_prob_ref")
def preference_margin(batch: Batch, *, log_prob: Tensor, beta: Scalar) -> Tensor:
    """DPO: the best response of a group against its worst, as an advantage that reads the current policy.

    ``A_w = beta sigma(-beta Delta) n / P``, ``A_l = -A_w``, 0 for the others,
    ``Delta = (l_w - l_l) - (l_w,ref - l_l,ref)``

    ======  ===========  ======================================================================
    symbol  shape        meaning
    ======  ===========  ======================================================================
    w, l    [..., B]     the first of the best-rewarded responses, and of the worst-rewarded ones
    l_i     [..., B, G]  log-probability of response i, summed over its tokens; under pi and pi_ref
    beta    number       inverse temperature of the preference
    n       number       responses of the run's mini-batch
    P       [...]        prompts in it with a pair, that is with unequal rewards
    ======  ===========  ======================================================================

    With ``c = 1`` and ``mean_i sum_t`` its gradient is that of ``-log sigma(beta Delta)``, averaged over the P prompts.

    Changes: the winner is pushed up and the loser down until their margin over the reference is about 1/beta. Both
    log-probabilities may fall meanwhile. Entropy falls.
    Default: beta 0.1, the usual one of the libraries, not read in a source.
    Trap: computed anew at each optimiser step, for the weight depends on the policy. On sampled groups this is online
    DPO with the verifier as judge; the textbook case is G = 2 with a fixed pair.
    Limit: beta to 0: A = beta/2 (1, -1). Adding a constant of the prompt to both log-probabilities changes nothing.
    Equal rewards, and a group of one, make no pair: exactly 0.
    Source: arXiv 2305.18290; OpenRLHF ``DPOLoss`` (read in the code; its label smoothing and IPO are left out).
    """
    reward = per_token(batch.reward, batch)
    best, worst = reward.amax(-2, keepdim=True), reward.amin(-2, keepdim=True)
    pair = best > worst
    reference = batch.require("log_prob_ref", "dpo")
    gain = torch.where(batch.mask, log_prob - reference, 0.0).sum(-1, keepdim=True)
    winner, loser = (_first(reward == edge).to(reward.dtype) for edge in (best, worst))
    sign = (winner - loser) * pair
    margin = (sign * gain).sum(-2, keepdim=True)
    responses = reward.shape[-3] * reward.shape[-2]
    pairs = pair.sum((-3, -2, -1), keepdim=True).clamp(min=1)
    # Not torch.sigmoid: it rounds with the place of a number in memory, and so with the stack.
    return beta / (1 + torch.exp(beta * margin)) * sign * responses / pairs


def _first(chosen: Tensor) -> Tensor:
    """The first true response of each group ``[..., B, G, 1]``."""
    return chosen & (chosen.cumsum(-2) == 1)
