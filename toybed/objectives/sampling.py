"""Before the five stages: which groups are worth a gradient."""

from __future__ import annotations

import torch
from torch import Tensor


def mixed_outcomes(reward: Tensor, *, resample: bool) -> Tensor:
    """DAPO's dynamic sampling: keep the groups whose responses did not all get the same reward.

    ``keep_b = 1[max_i R_bi > min_i R_bi]``, ``reward [..., B, G] -> bool [..., B]``

    Changes: all-right and all-wrong groups have no advantage; others are sampled in their place (the learner tries up
    to ten more batches), so that the number of prompts behind each gradient stays constant. Costs extra rollouts.
    Limit: ``resample`` False keeps every group, for comparisons at equal rollouts.
    Trap: TRL's ``dapo`` is only an aggregation and has none of this.
    Source: arXiv 2503.14476; verl-recipe ``dapo/``.
    """
    mixed = reward.amax(-1) > reward.amin(-1)
    return mixed if resample else torch.ones_like(mixed)
