"""What the tests of judges share: a run that diverges."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from toybed.study import Records


def diverge(records: Records, runs: int | Sequence[int], at: int = 1, *, wild: bool = False) -> Records:
    """These runs have no value from their divergence on, and no parameters in the end.

    Args:
        records: of an arm.
        runs: their places.
        at: the first point without a value, in every curve.
        wild: before it they have values out of this world, whose changes are, too.
    """
    curves = {name: values.copy() for name, values in records.curves.items()}
    for values in curves.values():
        if wild:
            values[runs] = 1e6 * np.arange(1, values.shape[1] + 1) ** 2
        values[runs, at:] = np.nan
    parameters = records.parameters
    if parameters is not None:
        end = parameters.end.copy()
        end[runs] = np.nan
        parameters = dataclasses.replace(parameters, end=end)
    causes = (*records.causes, *("its loss was not finite",) * np.size(runs))
    return dataclasses.replace(records, curves=curves, causes=causes, parameters=parameters)
