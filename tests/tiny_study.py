"""A question small enough for tests.

``python tests/tiny_study.py run tiny ...`` is toybed's command line with this one question more; tests load the file as
a module and use ``STUDY`` without registering it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace

from matplotlib.figure import Figure

from toybed import plotting, stats, study
from toybed.agents.config import Learning, Setting, Spec, Supervised
from toybed.seeding import named_generator

UPDATES = {"quick": 6, "standard": 60, "full": 90}
MLP = Spec("mlp", {"width": 8, "embedding": 4})
OBJECTIVES = ("grpo", "rloo", "reinforce", "dr_grpo", "kl_cov")


def arms(size: str) -> dict[str, Setting]:
    """Objectives that draw and that do not, both policies, with and without a base."""
    learning = Learning(
        updates=UPDATES[size], prompts=4, group=4, minibatches=2, learning_rate=0.05, measure_every=UPDATES[size] // 3
    )
    world = Spec("answer_bandit", {"prompt_count": 8, "answers": 6, "correct": 2, "rank": 3})
    first = Setting(
        Spec("grpo"), world, Spec("tabular"), Supervised(steps=4, demonstrations=16, learning_rate=0.1), learning
    )
    named = {name: replace(first, objective=Spec(name)) for name in OBJECTIVES}
    return {**named, "mlp": replace(first, policy=MLP), "no_base": replace(first, supervised=None)}


def judge(records: Mapping[str, study.Records]) -> tuple[study.Verdict, list[study.Verdict]]:
    """Does GRPO's reward rise?"""
    reward = records["grpo"]["reward_train"]
    interval = stats.bootstrap(reward[:, -1] - reward[:, 0], named_generator(0, "tiny"))
    verdict = study.Verdict(
        claim="GRPO's reward rises.",
        outcome=study.above(interval, 0.0),
        estimate=interval.estimate,
        low=interval.low,
        high=interval.high,
        n=interval.n,
        rule="supported above 0, refuted below",
        sentence=f"It rises by {interval.estimate:.3f}.",
    )
    return verdict, [verdict]


def figure(records: Mapping[str, study.Records]) -> Figure:
    """GRPO's reward."""
    with plotting.panels(1) as (page, (axes,)):
        plotting.mean_line(axes, records["grpo"].steps["reward_train"], records["grpo"]["reward_train"], "black")
    return page


STUDY = study.Study(
    name="tiny",
    question="Does reward rise in a tiny world?",
    claim="GRPO's reward rises.",
    source="the test suite",
    rule="supported above 0, refuted below",
    amendments=(),
    arms=arms,
    seeds={"quick": 2, "standard": 2, "full": 3},
    judge=judge,
    figure=figure,
    caption="Reward against updates.",
)

if __name__ == "__main__":
    from toybed import cli

    study.register(STUDY)
    sys.exit(cli.main())
