"""What ``architecture`` measures of a network's runs, and where its answers and numbers count as the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from toybed import laws
from toybed.benchmarks.architecture_sweep import INTERVENTIONS, Network
from toybed.benchmarks.entropy_law import GOOD_FIT, MATCHED_REWARD
from toybed.stats import Array, Interval, mean_interval
from toybed.study import Records

SAME_SHARE = 0.10  # relative difference within which the law's a, or what an intervention keeps, is that of the MLP
SAME_CEILING = 0.05  # of success
SAME_ENTROPY = 0.05  # nats per token
LOST = 0.02  # of held-out pass@16
SAME_LOSS = 0.05


def _along(records: Records, measure: Callable[[laws.Law], float]) -> Array:
    """Of the law fitted to a run: success on train prompts against entropy."""
    return records.per_run(lambda h, r: measure(laws.fit(h, r)), records["entropy_train"], records["reward_train"])


def _matched(records: Records, measure: str) -> Array:
    """The measure at 80 % success on train prompts; NaN for a run that never gets there."""
    return records.per_run(lambda r, v: laws.value_at(MATCHED_REWARD, r, v), records["reward_train"], records[measure])


def fit(records: Mapping[str, Records], network: str) -> Array:
    """R² of the law along GRPO, ``[n]``."""
    return _along(records[f"{network}/grpo"], lambda law: law.r2)


def slope(records: Mapping[str, Records], network: str) -> Array:
    """The law's a along GRPO, ``[n]``."""
    return _along(records[f"{network}/grpo"], lambda law: law.a)


def ceiling(records: Mapping[str, Records], network: str) -> Array:
    """The law's b - a along GRPO, success without entropy, ``[n]``."""
    return _along(records[f"{network}/grpo"], lambda law: law.b - law.a)


def entropy(records: Mapping[str, Records], network: str, arm: str = "grpo") -> Array:
    """Nats per token at 80 % success, ``[n]``."""
    return _matched(records[f"{network}/{arm}"], "entropy_train")


def kept(arm: str, records: Mapping[str, Records], network: str) -> Array:
    """Entropy at 80 % success above GRPO's, nats per token, ``[n]``."""
    return entropy(records, network, arm) - entropy(records, network)


def lost(records: Mapping[str, Records], network: str) -> Array:
    """The base's held-out pass@16 less GRPO's at 80 % success, ``[n]``."""
    grpo = records[f"{network}/grpo"]
    return np.asarray(grpo["pass@16_test"][:, 0] - _matched(grpo, "pass@16_test"))


Measure = Callable[[Mapping[str, Records], str], Array]
CONCLUSIONS: tuple[tuple[str, Measure, float], ...] = (
    (f"Along GRPO R² of the law is above {GOOD_FIT}", fit, GOOD_FIT),
    *(
        (f"{INTERVENTIONS[a][0]} keeps more entropy than GRPO at the same reward", partial(kept, a), 0.0)
        for a in INTERVENTIONS
    ),
    (f"Under GRPO held-out pass@16 falls by more than {LOST:g} until 80 % success", lost, LOST),
)
"""What is asked of each network, and the number above which the answer is yes."""
NUMBERS: tuple[tuple[str, Measure, float, bool], ...] = (
    ("The law's a", slope, SAME_SHARE, True),
    ("The law's ceiling b - a", ceiling, SAME_CEILING, False),
    ("GRPO's entropy at 80 % success", entropy, SAME_ENTROPY, False),
    *((f"What {INTERVENTIONS[a][0]} keeps above GRPO", partial(kept, a), SAME_SHARE, True) for a in INTERVENTIONS),
    ("What GRPO loses of held-out pass@16 until 80 % success", lost, SAME_LOSS, False),
)
"""Numbers that may be those of the MLP, how far off they may be, and whether that is a share of the MLP's."""


def present(records: Mapping[str, Records], names: Mapping[str, Network]) -> list[str]:
    """The networks that were run: at the quick size not all are."""
    return [n for n in names if f"{n}/grpo" in records]


def interval_of(values: Array) -> Interval:
    """Of the runs that have a value; without numbers where fewer than half have one."""
    found = int(np.isfinite(values).sum())
    return mean_interval(values) if found * 2 >= len(values) else Interval(np.nan, np.nan, np.nan, found)
