"""Learning a distribution: the policy is fitted to ``pi_ref exp(beta r)`` by a regression with a learned normaliser."""

from __future__ import annotations

import torch
from torch import Tensor

from toybed.objectives.advantages import group_standardized
from toybed.objectives.batch import Batch, Scalar, compares_group, needs


@compares_group
@needs("log_prob", "log_prob_ref", "log_z")
def flow_residual(
    batch: Batch,
    *,
    log_prob: Tensor,
    beta: Scalar,
    ddof: int,
    floor: Scalar,
    weight_low: Scalar | None,
    weight_high: Scalar | None,
) -> Tensor:
    """FlowRL: minus the residual of the flow balance, as an advantage that reads the current policy.

    ``delta_i = log Z + mean_t log pi_t - beta r_i - mean_t log pi_ref,t``, ``A_i = -2 w_i delta_i / |y_i|``; with
    ``c = 1`` and the sum over tokens its gradient is that of ``mean_i w_i delta_i^2``

    ===========  ==============  =============================================================================
    symbol       shape           meaning
    ===========  ==============  =============================================================================
    log Z        [..., B]        learned log-partition of each prompt, trained by :func:`log_partition_residual`
    r            [..., B, G]     reward standardised in its group, ``(R - mean) / (std + floor)`` with ``ddof``
    mean_t       [..., B, G]     over the tokens of the response
    w            [..., B, G]     ``prod_t pi_t / pi_old,t``, clipped to [weight_low, weight_high], no gradient
    beta         number          sharpness of the target
    ===========  ==============  =============================================================================

    Changes: a response is pushed up while it is less likely than the target wants, and down beyond that, also when it
    is right: entropy settles at that of the target, which is higher the smaller beta.
    Default: beta 15, ddof 1, floor 1e-6. Three weights go under one name: the paper's description clips to
    ``[1 - eps, 1 + eps]``; the authors' code computes that and then uses the product without any clip (None, None);
    verl-recipe caps it at 10. The toy takes the cap, so that a policy that moved far stays finite.
    Trap: r is standardised in the group, so the target moves as the success rate does; the length normalisation makes
    it ``pi_ref exp(beta |y| r)``.
    Limit: ``|y| = 1``, exact Z and w = 1: the gradient is ``2 grad KL(pi || pi*)``, ``pi* ~ pi_ref exp(beta r)``; zero
    there. A shift of r is absorbed by log Z. Equal rewards, and a group of one, have r = 0 and leave a pull toward the
    reference, not zero.
    Source: arXiv 2509.15207; FlowRL and verl-recipe ``flowrl_actor.py`` (read in the code).
    """
    length = batch.mask.sum(-1, keepdim=True).clamp(min=1)
    reference = batch.require("log_prob_ref", "flowrl")
    log_z = batch.require("log_z", "flowrl").detach()[..., None, None]
    drift = torch.where(batch.mask, log_prob - reference, 0.0).sum(-1, keepdim=True) / length
    delta = log_z + drift - beta * group_standardized(batch, ddof=ddof, floor=floor)
    weight = torch.where(batch.mask, log_prob - batch.log_prob_old, 0.0).sum(-1, keepdim=True).exp()
    if weight_low is not None:
        weight = weight.maximum(torch.as_tensor(weight_low, dtype=weight.dtype, device=weight.device))
    if weight_high is not None:
        weight = weight.minimum(torch.as_tensor(weight_high, dtype=weight.dtype, device=weight.device))
    return -2 * weight * delta / length


@needs("log_z")
def log_partition_residual(log_prob: Tensor, batch: Batch, *, advantage: Tensor, **_: object) -> Tensor:
    """FlowRL: trains log Z on the same residual, with the policy held.

    ``l_t = -A_i log Z * N / n``, whose mean over tokens is ``mean_i sg(2 w_i delta_i) log Z``: its gradient is that of
    ``mean_i w_i delta_i^2`` with respect to log Z

    ======  ===========  ==========================================================
    symbol  shape        meaning
    ======  ===========  ==========================================================
    A       [..., B, G]  the advantage of :func:`flow_residual`, ``-2 w delta / |y|``
    log Z   [..., B]     learned log-partition, with gradient
    N, n    [...]        tokens and responses of the run's mini-batch
    ======  ===========  ==========================================================

    Changes: log Z moves to where the residuals of its prompt average to zero, a learned baseline.
    Default: no parameter; the residual is that of the advantage.
    Trap: the value of this term is not the squared residual; only its gradient is meant. The authors do not detach the
    policy's hidden state under log Z; here the policy gets nothing from it.
    Limit: every delta = 0: no gradient.
    Source: arXiv 2509.15207; FlowRL ``flowrl_actor.py`` (read in the code), rewritten as a score-function loss.
    """
    responses = batch.mask.shape[-3] * batch.mask.shape[-2]
    tokens = batch.mask.sum((-3, -2, -1), keepdim=True)
    log_z = batch.require("log_z", "flowrl")[..., None, None]
    return (-advantage.detach() * log_z * tokens / responses).expand_as(log_prob)
