"""Published findings about the entropy law and what drives entropy, as contrasts of runs of our questions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from toybed.agents.config import Setting, Spec
from toybed.benchmarks import entropy_mechanism_measures as mechanism
from toybed.benchmarks.entropy_law import arms
from toybed.benchmarks.law_measures import departure, error, per_run, r2
from toybed.findings import Arms, Array, Contrast, Part, register
from toybed.study import Records

EARLY = 1 / 12  # of the updates
SAME_FIT = 0.05  # of R2: the larger of the two published medians, +0.005 and -0.05
SAME_CURVE = 0.05  # of success, as in law_constants; the publication shows one curve and gives no number
HEAVY = 10.0  # times the mean: an order of magnitude is ">> 1"


def own(size: str) -> Mapping[str, Setting]:
    """A third algorithm from the same base; and the base itself, whose tokens are looked at."""
    grpo = arms(size)["grpo"]
    return {
        "reinforce_pp": replace(grpo, objective=Spec("reinforce_pp")),
        "tail": replace(grpo, probes=("covariance_tail",)).with_learning(updates=0),
    }


def spent_early(records: Records, measure: str) -> Array:
    """Share of a measure's whole change that is reached at a twelfth of the updates, less a twelfth, ``[n]``."""
    steps = records.steps[measure]

    def share(curve: Array) -> float:
        whole = curve[-1] - curve[0]
        return float((np.interp(EARLY * steps[-1], steps, curve) - curve[0]) / whole - EARLY) if whole else np.nan

    return records.per_run(share, records[measure])


def lowest_third(records: Records) -> Array:
    """The covariance of the batches, mean over that third of the run in which it is lowest, ``[n]``."""
    return records.per_run(
        lambda cov: float(min(part.mean() for part in np.array_split(cov, 3))), records["sampled_covariance"]
    )


def _gap(first: str, second: str) -> Part:
    what = f"error ahead of the law less that of {'no further change' if second == 'constant' else second}"
    return Part(what, lambda r: per_run(r["grpo"], error(first)) - per_run(r["grpo"], error(second)), "below")


def _distance(arm: str, name: str) -> Part:
    what = f"distance of {name}'s points from GRPO's law, rms"
    return Part(what, lambda r: departure(r, arm), "below", SAME_CURVE)


def _r2(records: Arms, arm: str, form: str = "exp") -> Array:
    return per_run(records[arm], r2(form))


def _tail(records: Arms) -> Array:
    return records["tail"].at("covariance_top", 0) / records["tail"].at("covariance_all", 0)


register(
    Contrast(
        "early-spend",
        "entropy_law",
        ("grpo",),
        (
            Part(
                "share of the entropy's fall at 1/12 of the run, less 1/12",
                lambda r: spent_early(r["grpo"], "entropy_train"),
            ),
            Part("share of the gain at 1/12 of the run, less 1/12", lambda r: spent_early(r["grpo"], "reward_test")),
        ),
        note="asks whether more is spent by then than an even share, and not whether it is three quarters",
    ),
    Contrast("law-predicts", "entropy_law", ("grpo",), (_gap("exp", "constant"),)),
    Contrast(
        "exp-not-distinguishable",
        "entropy_law",
        ("grpo",),
        (Part("R² of exp(H) less that of H", lambda r: _r2(r, "grpo") - _r2(r, "grpo", "linear"), "within", SAME_FIT),),
    ),
    Contrast(
        "law-constants-not-algorithm",
        "entropy_law",
        ("grpo", "rloo"),
        (_distance("rloo", "RLOO"), _distance("reinforce_pp", "REINFORCE++")),
        own,
        note="a distance has no sign: about 0 is below 0.05 of success",
    ),
    Contrast(
        "covariance-drives",
        "entropy_mechanism",
        ("network_grpo_1",),
        (
            Part("correlation of predicted and seen change", lambda r: mechanism.correlations(r["network_grpo_1"])),
            Part("mean covariance in its lowest third", lambda r: lowest_third(r["network_grpo_1"])),
        ),
    ),
    Contrast(
        "covariance-heavy-tail",
        "entropy_law",
        (),
        (Part("mean covariance of the top 2 % of tokens over that of all", _tail, "above", HEAVY),),
        own,
        note="of the base, as the publication's table is of training step 1; exact, over all responses; 10 times is "
        "our reading of >> 1, and for most of the covariance to lie in 2 % of the tokens it would be 25 times",
    ),
    Contrast(
        "clip-higher-breaks-law",
        "entropy_law",
        ("grpo", "clip_higher"),
        (Part("R² of the law, clip-higher less GRPO", lambda r: _r2(r, "clip_higher") - _r2(r, "grpo"), "below"),),
    ),
)
