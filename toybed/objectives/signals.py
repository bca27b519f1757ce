"""Before the advantage: rewards that tell more, or less, of a response than the world's number does.

Each function maps a batch to a reward ``[..., B, G]``, as those in :mod:`~toybed.objectives.rewards`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from toybed.errors import ToybedError
from toybed.objectives.batch import Batch, Scalar, needs, per_token, takes_vectors
from toybed.objectives.vector_rewards import components, weighted_sum
from toybed.streams import Streams, draw_uniform


@takes_vectors("vector")
@needs("generator")
def shuffled_components(
    batch: Batch, *, generator: torch.Generator | Streams, reward_weights: Sequence[float] | None, kept: int
) -> Tensor:
    """Components of which only one belongs to its response: the others are dealt anew within the group.

    ``R'_i = w_k r_ik + sum_{d != k} w_d r_{s(i) d}``, ``s`` a uniformly random order of the group's responses

    ==============  ==============  ===================================================================
    symbol          shape           meaning
    ==============  ==============  ===================================================================
    r               [..., B, G, D]  reward vector of each response
    k               integer         ``kept``, the component that stays; from the end where negative
    s               [..., B, G]     the order, one for each group, in which the others stay together
    reward_weights  [D] or None     w; None weighs all components 1/D
    ==============  ==============  ===================================================================

    Changes: the signal has the same components in the same frequencies, group by group, and about as many bits; of the
    response it says no more than the one that is kept. Entropy: as its base, and noise moves it besides.
    Default: weights 1/D each, the first component kept.
    Trap: a shuffled component has an expected advantage of zero and not none: its noise takes steps, and its spread
    makes the division by the group's std turn the kept component down.
    Limit: one component, or equal vectors: :func:`~toybed.objectives.rewards.weighted_components`.
    Source: a control of this project, a permutation of labels within strata.

    Raises:
        ToybedError: there is no such component, or a response has several answers.
    """
    reward = components(batch, "shuffled_components")
    count = reward.shape[-1]
    if not -count <= kept < count:
        raise ToybedError(f"kept is {kept}; allowed: {-count} to {count - 1}, a component of the reward")
    order = draw_uniform(generator, reward[..., 0]).argsort(-1)
    dealt = reward.gather(-2, order[..., None].expand_as(reward))
    stays = torch.arange(count, device=reward.device) == kept % count
    return weighted_sum(torch.where(stays, reward, dealt), reward_weights)


@needs("generator")
def noisy_verifier(
    batch: Batch, *, generator: torch.Generator | Streams, true_positive: Scalar, false_positive: Scalar
) -> Tensor:
    """A verifier that errs: it fails some right responses and passes some wrong ones.

    ``R'_i = 1 - R_i`` with chance ``1 - true_positive`` where ``R_i > 1/2``, ``false_positive`` elsewhere; else ``R_i``

    ==============  ===========  ====================================
    symbol          shape        meaning
    ==============  ===========  ====================================
    R               [..., B, G]  reward, 0 or 1
    true_positive   number       how often a right response is passed
    false_positive  number       how often a wrong response is passed
    ==============  ===========  ====================================

    Changes: the expected reward is ``false_positive + J R`` with Youden's ``J = true_positive - false_positive``, so
    the expected gradient without a division by the std is J times that of the true reward, whichever errors make up J.
    The noise about it is not the same: where few responses are right, false passes outnumber missed ones.
    Entropy: falls slower for each update, at the same reward not by itself.
    Default: 1 and 0, the perfect verifier, which leaves the reward alone.
    Trap: divided by the group's std it is no longer J times the gradient. J is no measure of bits: at equal J a
    verifier that never passes a wrong response says more where few are right. Each response is judged by itself, also
    one that occurs twice in a group.
    Limit: 1 and 0: the identity. Equal chances: the reward says nothing; J below 0: it is learned backwards.
    Source: label noise that depends on the class (Angluin and Laird 1988; Natarajan et al. 2013), on verified rewards.

    Raises:
        ToybedError: a chance is not in [0, 1].
    """
    reward = per_token(batch.reward, batch).squeeze(-1)
    for name, value in (("true_positive", true_positive), ("false_positive", false_positive)):
        if not isinstance(value, Tensor) and not 0 <= value <= 1:
            raise ToybedError(f"{name} is {value}; allowed: 0 to 1")
    # A tensor [S, 1, 1, 1] has an axis for tokens, which a reward has not.
    passed, failed = (v.squeeze(-1) if isinstance(v, Tensor) else v for v in (false_positive, true_positive))
    errs = torch.where(reward > 0.5, 1 - failed, passed) > draw_uniform(generator, reward)
    return torch.where(errs, 1 - reward, reward)


def unlikeliness(batch: Batch, *, rank_penalty: Scalar) -> Tensor:
    """Right responses are paid more, the less likely they were among their group.

    ``R'_i = R_i (1 - rank_penalty (G - rank_i) / G)``, ``rank_i = #{j: log pi(y_j) > log pi(y_i)}``

    ============  ===========  ====================================================
    symbol        shape        meaning
    ============  ===========  ====================================================
    R             [..., B, G]  reward
    log pi(y)     [..., B, G]  log-probability of the whole response when sampled
    rank          [..., B, G]  0 for the likeliest; equally likely ones share theirs
    rank_penalty  number       what the likeliest loses, as a share of its reward
    ============  ===========  ====================================================

    Changes: among right responses the rare ones are pushed up against the frequent ones, also where all are right and
    GRPO is silent. Entropy: falls slower.
    Default: 0.25, this catalogue's; a third party's code has 0.5.
    Trap: likelihood is of the whole response: with responses of several lengths the short ones count as likely. The
    paper takes several epochs on a batch besides. Third parties write ``1 + rank_penalty rank_i / (G - 1)``, which is
    the same up to a factor and another penalty.
    Limit: rank_penalty 0: the identity. A group of equally likely responses: a constant factor.
    Source: arXiv 2506.02355, its unlikeliness reward; of the paper only the abstract was read.
    """
    reward = per_token(batch.reward, batch).squeeze(-1)
    likely = torch.where(batch.mask, batch.log_prob_old, 0.0).sum(-1)
    rank = (likely[..., None, :] > likely[..., :, None]).sum(-1).to(reward.dtype)
    share = ((reward.shape[-1] - rank) / reward.shape[-1]).unsqueeze(-1)
    return reward * (1 - rank_penalty * share).squeeze(-1)
