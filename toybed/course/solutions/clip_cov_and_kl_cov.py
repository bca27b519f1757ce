"""Lesson 7: which tokens KL-Cov chooses, and its loss."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from toybed.course.exercise import exercise


def _t(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _shares(log_prob: Tensor, a: Tensor) -> Tensor:
    return (log_prob - log_prob.mean()) * (a - a.mean())


def _top(value: Tensor, count: int) -> Tensor:
    chosen = torch.zeros(len(value), dtype=torch.bool)
    chosen[value.topk(count).indices] = True
    return chosen


def _choose(score: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor, float], Tensor]:
    return lambda log_prob, a, share: _top(score(log_prob, a), math.ceil(share * len(log_prob)))


_LOG_PROB = _t(-0.1, -0.2, -3.0, -1.0, -0.05, -2.5, -0.6, -1.4)
_A = _t(1.0, -1.0, -0.9, 0.5, 0.3, 1.2, -0.4, -0.2)


@exercise(
    inputs=[
        {"log_prob": _LOG_PROB, "advantage": _A, "share": 0.25},
        {"log_prob": _LOG_PROB, "advantage": _A, "share": 0.3},
        {"log_prob": _LOG_PROB, "advantage": _A + 2.0, "share": 0.2},
        {"log_prob": _LOG_PROB[:5], "advantage": -_A[:5], "share": 0.3},
    ],
    hint="Each token's share of the covariance, as in lesson 5; then `topk(math.ceil(share * N)).indices`, set to True "
    "in a mask of False.",
    mistakes={
        "Those are the *lowest*: they raise entropy. A common slip when the method is ported.": (
            _choose(lambda x, a: -_shares(x, a))
        ),
        "Those are the largest in size. A covariance far below zero raises entropy; the sign matters.": (
            _choose(lambda x, a: _shares(x, a).abs())
        ),
        "Nothing is centred: log p is always negative, so that likely and good tokens come out low.": (
            _choose(lambda x, a: x * a)
        ),
        "The advantages are not centred.": _choose(lambda x, a: (x - x.mean()) * a),
        "The log-probabilities are not centred.": _choose(lambda x, a: x * (a - a.mean())),
        "Those are the likeliest tokens; what is better than average counts as well.": _choose(lambda x, a: x),
        "One too few: ceil(share N) rounds up, and at least one token is chosen.": (
            lambda x, a, share: _top(_shares(x, a), math.floor(share * len(x)))
        ),
        "share is a fraction here, not per cent: 0.25 is a quarter. (The authors' code has per cent, verl a fraction; "
        "one port chose a hundred times as many tokens for that reason.)": (
            lambda x, a, share: _top(_shares(x, a), math.ceil(share / 100 * len(x)))
        ),
    },
)
def kl_cov_tokens(log_prob: Tensor, advantage: Tensor, share: float) -> Tensor:
    """The tokens of highest covariance."""
    covariance = (log_prob - log_prob.mean()) * (advantage - advantage.mean())
    count = math.ceil(share * len(log_prob))
    chosen = torch.zeros(len(log_prob), dtype=torch.bool)
    chosen[covariance.topk(count).indices] = True
    return chosen


_OLD = _t(-1.0, -0.5, -2.0, -0.1)
_NEW = _t(-0.7, -0.9, -2.5, -0.1)
_ADVANTAGE = _t(1.5, -0.5, -0.5, 0.7)
_CHOSEN = torch.tensor([True, True, False, False])


def _rho_a(new: Tensor, old: Tensor, a: Tensor) -> Tensor:
    return (new - old).exp() * a


@exercise(
    inputs=[
        {"log_prob": _OLD, "log_prob_old": _OLD, "advantage": _ADVANTAGE, "chosen": _CHOSEN, "penalty": 1.0},
        {"log_prob": _NEW, "log_prob_old": _OLD, "advantage": _ADVANTAGE, "chosen": _CHOSEN, "penalty": 1.0},
        {"log_prob": _NEW, "log_prob_old": _OLD, "advantage": _ADVANTAGE, "chosen": ~_CHOSEN, "penalty": 0.5},
    ],
    hint="log rho = log_prob - log_prob_old; for each token -rho A, plus penalty |log rho| if chosen; then the mean.",
    mistakes={
        "The penalty is log rho without its size: then a token is pushed down, wherever it is, and not back.": (
            lambda new, old, a, chosen, penalty: (-_rho_a(new, old, a) + penalty * chosen * (new - old)).mean()
        ),
        "All tokens are pulled back; only the chosen ones should be.": (
            lambda new, old, a, chosen, penalty: (-_rho_a(new, old, a) + penalty * (new - old).abs()).mean()
        ),
        "The chosen tokens lose their policy gradient: that is Clip-Cov's way. KL-Cov keeps it, and adds a pull.": (
            lambda new, old, a, chosen, penalty: torch.where(
                chosen, penalty * (new - old).abs(), -_rho_a(new, old, a)
            ).mean()
        ),
        "The penalty is subtracted. A loss is minimised: a penalty has a plus.": (
            lambda new, old, a, chosen, penalty: (-_rho_a(new, old, a) - penalty * chosen * (new - old).abs()).mean()
        ),
        "The policy's term has the wrong sign: a loss is minimised, so it is -rho A.": (
            lambda new, old, a, chosen, penalty: (_rho_a(new, old, a) + penalty * chosen * (new - old).abs()).mean()
        ),
        "The penalty is |rho - 1|, and should be |log rho|.": (
            lambda new, old, a, chosen, penalty: (
                -_rho_a(new, old, a) + penalty * chosen * ((new - old).exp() - 1).abs()
            ).mean()
        ),
        "That is the square of log rho (k2, but for the half). The code of KL-Cov takes its size, a pull of one "
        "strength however far the token has gone.": (
            lambda new, old, a, chosen, penalty: (-_rho_a(new, old, a) + penalty * chosen * (new - old) ** 2).mean()
        ),
        "The penalty is averaged over the chosen tokens alone. It is divided by all N, like the rest.": (
            lambda new, old, a, chosen, penalty: (
                -_rho_a(new, old, a).mean() + penalty * (new - old).abs()[chosen].mean()
            )
        ),
    },
)
def kl_cov_loss(log_prob: Tensor, log_prob_old: Tensor, advantage: Tensor, chosen: Tensor, penalty: float) -> Tensor:
    """KL-Cov's loss."""
    log_ratio = log_prob - log_prob_old
    per_token = -log_ratio.exp() * advantage + penalty * chosen * log_ratio.abs()
    return per_token.mean()
