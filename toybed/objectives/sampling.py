"""Before the five stages: how groups are sampled, and which of them are worth a gradient."""

from __future__ import annotations

import torch
from torch import Tensor

from toybed.errors import ToybedError
from toybed.objectives.batch import Scalar


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


def tempered(prompts: int, *, sampling_temperature: Scalar, tempered_share: float) -> tuple[Tensor, Tensor]:
    """Sample a share of the groups at a temperature of their own, and the others at 1.

    ``pi_T(v | s) ~ pi(v | s)^(1/T)`` for ``floor(tempered_share B)`` of the B prompts, evenly spread over the batch

    ====================  ======  ==================================================================
    symbol                shape   meaning
    ====================  ======  ==================================================================
    sampling_temperature  number  T, above 0
    tempered_share        number  share of the groups that are sampled at T
    ====================  ======  ==================================================================

    Changes: which responses there are to learn from: above 1 rarer ones. Log-probabilities, entropy and surprisal are
    recorded at temperature 1, that is of the policy that is trained and measured, and not of the one that sampled. At
    ratio 1 the expected step is ``E_{pi_T}[A grad log pi]``: the mismatch is the mechanism. An importance weight
    ``pi / pi_T`` would take out just what the temperature puts in.
    Default: any row takes it (``sampling_temperature=...``), then with a share of 1. AEPO a quarter, SCOPE-RL 1/64.
    Trap: verl and TRL divide the logits by the rollout's temperature in the loss as well: they train and log pi_T.
    Surprisal is not an estimate of entropy at another temperature than 1.
    Limit: T = 1, or a share of 0: the same tokens, bit for bit.
    Source: arXiv 2510.08141; 597358816/AEPO ``ray_trainer.py`` ``fit``, ``_compute_old_log_probs``.

    Returns:
        The temperature of each group, ``[..., B]``, and which of them are sampled at T, bool ``[B]``.

    Raises:
        ToybedError: the temperature, where it is a number, is not above 0, or the share not in [0, 1].
    """
    if not isinstance(sampling_temperature, Tensor) and not sampling_temperature > 0:
        raise ToybedError(f"sampling_temperature is {sampling_temperature}; allowed: above 0")
    if not 0 <= tempered_share <= 1:
        raise ToybedError(f"tempered_share is {tempered_share}; allowed: 0 to 1")
    # Every prompt at which one more of the share is full; the guard is for shares that binary numbers miss.
    full = (torch.arange(prompts + 1, device="cpu").double() * tempered_share + 1e-9).floor()
    own = full.diff() > 0
    value = sampling_temperature
    temperature = value.flatten(-3) if isinstance(value, Tensor) else torch.tensor(float(value), device="cpu")
    return torch.where(own.to(temperature.device), temperature, 1.0), own
