"""A schedule that is learned: K values, by evolution strategies over runs that are a population in one program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from toybed.seeding import named_generator
from toybed.stats import Array
from toybed.study import Records


@dataclass(frozen=True)
class Evolution:
    """Climb by comparing points around a centre: evolution strategies, antithetic, shaped by ranks.

    ``x <- clip(x + rate / (n sigma) sum_i u_i e_i, -limit, limit)`` with ``e_i`` standard normal in pairs of opposite
    sign, and ``u_i`` in [-1/2, 1/2] from the rank of what ``x + sigma e_i`` is worth.

    Attributes:
        dimensions: K, numbers in x.
        pairs: n / 2.
        spread: sigma.
        rate: of the step. On a slope it is about ``0.28 rate / sigma`` uphill (0.28 is the mean of the rank times the
            deviate, ``1 / (2 sqrt(pi))``), whatever the slope's size, and ``0.29 rate / (sigma sqrt(n))`` by chance
            in each of the K directions.
        limit: of each number.

    Source: arXiv 1703.03864, without its decay and its Adam.
    """

    dimensions: int
    pairs: int = 8
    spread: float = 0.5
    rate: float = 0.35
    limit: float = 3.0

    def deviates(self, generation: int) -> Array:
        """``e``, ``[n, K]``, the second half the first with its signs turned; the same whenever they are asked for."""
        random = named_generator(generation, "evolution")
        half = random.standard_normal((self.pairs, self.dimensions))
        return np.concatenate([half, -half])

    def candidates(self, generation: int, center: Array) -> Array:
        """The points to be compared, ``[n, K]``."""
        points: Array = np.clip(center + self.spread * self.deviates(generation), -self.limit, self.limit)
        return points

    def step(self, generation: int, center: Array, utility: Array) -> Array:
        """The next centre ``[K]``, from what the candidates are worth: ``utility [n]`` in [-1/2, 1/2]."""
        uphill = utility @ self.deviates(generation) / (2 * self.pairs * self.spread)
        moved: Array = np.clip(center + self.rate * uphill, -self.limit, self.limit)
        return moved


def centered_ranks(values: Array) -> Array:
    """Ranks of ``values [n]``, evenly from -1/2 to 1/2; equal values share theirs, one without a value is the lowest.

    >>> centered_ranks(np.array([3.0, 1.0, np.nan, 3.0])).round(2).tolist()
    [0.33, -0.17, -0.5, 0.33]
    """
    from scipy.stats import rankdata  # slow to import, and the command line imports this module to list questions

    ranks = rankdata(np.nan_to_num(values, nan=-np.inf))
    return np.asarray((ranks - 1) / (len(values) - 1) - 0.5)


@dataclass(frozen=True)
class MetaSchedule:
    """A schedule of K blocks, learned in some worlds for use in others.

    What is learned are logarithms: block b of the schedule is ``exp(x_b)`` times the coefficient that a world has for
    its reference, so that one schedule serves worlds in which entropy weighs differently. It begins with ``x = 0``, a
    fixed coefficient. A candidate is worth, in each world, the mean over measures of its centred rank among all
    candidates there: no world and no measure counts for more because its numbers are larger. The result is the mean of
    the second half of all centres, which moves less by chance than the last one.

    Attributes:
        evolution: of ``x``.
        measures: what is made large, at the end of a run.
    """

    evolution: Evolution
    measures: tuple[str, ...]

    def begin(self) -> tuple[Array, ...]:
        """The centres so far: the first one."""
        return (np.zeros(self.evolution.dimensions),)

    def candidates(self, generation: int, centers: Sequence[Array]) -> list[Array]:
        """What the coefficients of a world are to be multiplied with, ``[K]`` for each candidate."""
        return [*np.exp(self.evolution.candidates(generation, centers[-1]))]

    def tell(
        self, generation: int, centers: tuple[Array, ...], found: Mapping[str, Sequence[Records]]
    ) -> tuple[Array, ...]:
        """The centres and the next one.

        Args:
            generation: its number.
            centers: so far.
            found: by world, the records of each candidate, in their order.
        """
        utility = np.mean([self._utility(records) for records in found.values()], 0)
        return (*centers, self.evolution.step(generation, centers[-1], utility))

    def _utility(self, records: Sequence[Records]) -> Array:
        known = [name for name in self.measures if name in records[0].curves]
        ranks = [centered_ranks(np.array([each.at(name, -1).mean() for each in records])) for name in known]
        return np.asarray(np.mean(ranks, 0))

    def result(self, centers: Sequence[Array]) -> NDArray[np.float64]:
        """What the coefficients of a world are multiplied with, ``[K]``."""
        return np.exp(np.mean(centers[len(centers) // 2 :], 0))
