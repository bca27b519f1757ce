"""What HICRA wins in ``two_phases``, and over whom: the parts that stand beside the claim."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from toybed.benchmarks.two_phases_measures import (
    ACCURACY,
    STRATEGY_ALL,
    Array,
    base_of,
    best_dose,
    gain,
    levels,
    mean_of,
)
from toybed.benchmarks.two_phases_sweep import ALPHAS, BONUSES, RIVALS
from toybed.stats import mean_interval
from toybed.study import Records, Verdict, above, within

NO_DIFFERENCE = 0.02  # of success
MEASURES = {ACCURACY: ("succeeds more", ".3f"), STRATEGY_ALL: ("keeps more strategy entropy over problems", ".2f")}


def hicra_parts(records: Mapping[str, Records]) -> tuple[list[Verdict], list[Verdict]]:
    """HICRA against no bonus, its placebo and difficulty weights with shared parameters; and what stands beside."""
    alphas = [alpha for alpha in ALPHAS if levels(records, f"hicra_{alpha:g}")]
    against = [_raised(records, alpha, rival, measure) for measure in MEASURES for alpha in alphas for rival in RIVALS]
    bonuses = [name for name in BONUSES if levels(records, name)]
    beside = [_bonus(records, [f"hicra_{alpha:g}" for alpha in alphas], bonuses)] if alphas and bonuses else []
    for alpha in (alpha for alpha in ALPHAS if f"tables_hicra_{alpha:g}_75" in records):
        for rival in ("placebo", "reweighted"):
            beside += [_in_tables(records, rival, alpha), _by_sgd(records, rival, alpha)]
    return against, beside


def _rival(rival: str, alpha: float) -> str:
    return rival if rival == "plain" else f"{rival}_{alpha:g}"


def _raised(records: Mapping[str, Records], alpha: float, rival: str, measure: str) -> Verdict:
    arm, other = f"hicra_{alpha:g}", _rival(rival, alpha)
    interval = mean_interval(gain(records, arm, other, measure))
    does, form = MEASURES[measure]
    ends = {
        level: [mean_of(records[f"{each}_{level}"].at(measure, -1), form) for each in (arm, other)]
        for level in levels(records, arm, other)
    }
    told = "; ".join(f"{base_of(level)}: {' against '.join(values)}" for level, values in ends.items())
    return Verdict(
        f"HICRA with alpha {alpha:g} {does} than with {RIVALS[rival]}.",
        above(interval, 0.0),
        *interval,
        rule="difference at the end on held-out prompts, mean over the bases that were run, paired: supported above 0, "
        "refuted below.",
        sentence=f"{told[0].upper()}{told[1:]}.",
    )


def _bonus(records: Mapping[str, Records], doses: list[str], bonuses: list[str]) -> Verdict:
    (mine, own), (theirs, rival) = best_dose(records, doses), best_dose(records, bonuses)
    interval = mean_interval(own - rival)
    picked = (", ".join(f"{arm} in {n}" for arm, n in Counter(best).most_common()) for best in (mine, theirs))
    entropies = (
        mean_of(gain(records, Counter(best).most_common(1)[0][0], "plain", STRATEGY_ALL), "+.2f")
        for best in (mine, theirs)
    )
    return Verdict(
        "HICRA succeeds more than an entropy bonus, each at its best dose.",
        above(interval, 0.0),
        *interval,
        rule="success at the end on held-out prompts, mean over bases, dose chosen for each seed on the others, "
        "paired: supported above 0, refuted below.",
        sentence=f"{mean_of(own, '.3f')} against {mean_of(rival, '.3f')}; chosen {' of runs, against '.join(picked)}. "
        f"Strategy entropy over problems against no bonus: {' and '.join(entropies)}.",
    )


def _in_tables(records: Mapping[str, Records], rival: str, alpha: float) -> Verdict:
    ends, told = _ends(records, "tables", rival, alpha)
    interval = mean_interval(ends)
    return Verdict(
        f"In tables HICRA with alpha {alpha:g} does as well as with {RIVALS[rival]}: Adam undoes the scale.",
        within(interval, -NO_DIFFERENCE, NO_DIFFERENCE),
        *interval,
        rule=f"success at the end, {base_of('75')}, paired: supported within {NO_DIFFERENCE:g}, refuted outside.",
        sentence=told,
    )


def _by_sgd(records: Mapping[str, Records], rival: str, alpha: float) -> Verdict:
    ends, told = _ends(records, "sgd", rival, alpha)
    interval = mean_interval(ends)
    return Verdict(
        f"In tables trained by SGD, which undoes no scale, HICRA with alpha {alpha:g} succeeds more than with "
        f"{RIVALS[rival]}.",
        above(interval, 0.0),
        *interval,
        rule=f"success at the end, {base_of('75')}, paired: supported above 0, refuted below.",
        sentence=told,
    )


def _ends(records: Mapping[str, Records], prefix: str, rival: str, alpha: float) -> tuple[Array, str]:
    """Success of HICRA less that of a rival at the end, ``[n]``, and both in words."""
    mine, other = (records[f"{prefix}_{name}_{alpha:g}_75"].at(ACCURACY, -1) for name in ("hicra", rival))
    return mine - other, f"{mean_of(mine, '.3f')} against {mean_of(other, '.3f')}."
