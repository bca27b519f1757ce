"""What a policy may choose, position by position: distributions over tokens, of which many positions may share one.

A table in a small world has fewer distributions than a batch has positions, and the responses of a group begin alike:
each distribution is normalised, summed up for sampling and differentiated once, however many positions read it.
"""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from toybed.measures.entropy import token_entropy


class Distributions:
    """Distributions over tokens, and what follows from them, computed when it is first asked for.

    Args:
        log_probs: of each of S runs, ``[S, ..., V]``.
    """

    def __init__(self, log_probs: Tensor) -> None:
        self.log_probs = log_probs

    @cached_property
    def entropy(self) -> Tensor:
        """In nats, ``[S, ...]``."""
        return token_entropy(self.log_probs, self._probs)

    @cached_property
    def cumulative(self) -> Tensor:
        """Cumulative probabilities, ``[S, ..., V]``."""
        return self._probs.cumsum(-1)

    @cached_property
    def _probs(self) -> Tensor:
        return self.log_probs.exp()


class Choices:
    """The distribution at each of some positions.

    Args:
        among: the distributions.
        row: which of R distributions ``[S, R, V]`` each position has, int64 ``[S, ...]``; None where each position has
            the one in its own place.
    """

    def __init__(self, among: Distributions, row: Tensor | None = None) -> None:
        self._among, self._row = among, row

    @property
    def log_probs(self) -> Tensor:
        """Log-probabilities of all tokens, ``[S, ..., V]``."""
        return self._rows_of(self._among.log_probs)

    @property
    def entropy(self) -> Tensor:
        """In nats, ``[S, ...]``."""
        return self._among.entropy if self._row is None else _pick(self._among.entropy, self._row)

    def log_prob(self, token: Tensor) -> Tensor:
        """The log-probability of each token ``[S, ...]``; a position may be an axis of 1 over several tokens."""
        log_probs = self._among.log_probs
        if self._row is None:
            return choose(log_probs.expand(*token.shape, -1), token)
        return _pick(log_probs, self._row * log_probs.shape[-1] + token)

    def sample(self, uniform: Tensor) -> Tensor:
        """Tokens ``[S, ...]`` for numbers in [0, 1), ``[S, ...]``, of which several may share a position."""
        return draw(self._rows_of(self._among.cumulative), uniform)

    def _rows_of(self, values: Tensor) -> Tensor:
        """``[S, ..., V]`` from ``values [S, R, V]``."""
        if self._row is None:
            return values
        runs, rows, words = values.shape
        row = (self._row.flatten(1) + first_rows(runs, rows, values.device)).flatten()
        return values.flatten(0, 1).index_select(0, row).view(*self._row.shape, words)


def choose(log_probs: Tensor, token: Tensor) -> Tensor:
    """The log-probability of each token: ``[..., V]`` and ``[...]`` to ``[...]``."""
    return log_probs.gather(-1, token[..., None]).squeeze(-1)


def draw(cumulative: Tensor, uniform: Tensor) -> Tensor:
    """Inverse-CDF sampling: cumulative probabilities ``[..., V]`` and numbers ``[...]`` in [0, 1) to tokens ``[...]``.

    Tenfold cheaper than ``torch.multinomial`` here, and each run uses numbers of its own stream.
    """
    # Scaled by the last entry, which rounding leaves near 1: the draw always falls on a token with mass.
    return (uniform[..., None] * cumulative[..., -1:] >= cumulative).sum(-1)


def first_rows(runs: int, rows: int, device: torch.device | str) -> Tensor:
    """Where each run's rows begin when the run axis is flattened away, ``[S, 1]``."""
    return (torch.arange(runs, device=device) * rows)[:, None]


def _pick(values: Tensor, place: Tensor) -> Tensor:
    """The number at each place of a run's own: ``values [S, ...]`` and ``place [S, ...]`` to the latter's shape."""
    return values.flatten(1).gather(1, place.flatten(1)).view(place.shape)
