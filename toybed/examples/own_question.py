"""A question of your own: a claim that can be false, and the rule of judgement, written before the runs."""

from dataclasses import replace

import toybed
from toybed import plotting, study
from toybed.agents.config import Learning, Setting, Spec
from toybed.stats import mean_interval

CLAIM = "With an entropy bonus of 0.02 GRPO ends with more entropy."
RULE = "supported if the paired difference lies above 0, refuted if below, else undecided"


def arms(size):
    """The settings; a size is "quick", "standard" or "full"."""
    learning = Learning(updates=30 if size == "quick" else 80, learning_rate=0.05)
    grpo = Setting(world=Spec("answer_bandit"), policy=Spec("tabular"), supervised=None, learning=learning)
    return {"grpo": grpo, "bonus": replace(grpo, objective=Spec("grpo", {"entropy_coefficient": 0.02}))}


def judge(records):
    """The whole answer, and its parts: here there is one."""
    gain = records["bonus"].at("entropy_test", -1) - records["grpo"].at("entropy_test", -1)
    found = mean_interval(gain)
    said = f"It has {found.estimate:+.3f} nats per token more."
    verdict = study.Verdict(CLAIM, study.above(found, 0.0), *found, rule=RULE, sentence=said)
    return verdict, [verdict]


def figure(records):
    """Entropy along the runs."""
    with plotting.panels(1) as (page, (axes,)):
        for (arm, each), colour in zip(records.items(), plotting.COLOURS, strict=False):
            plotting.mean_line(axes, each.steps["entropy_test"], each["entropy_test"], colour, label=arm)
        axes.legend()
    return page


SEEDS = {"quick": 3, "standard": 8, "full": 20}
ABOUT = ("bonus_keeps", "Does a bonus keep entropy?", CLAIM, "A3C, arXiv 1602.01783", RULE, ())
STUDY = study.Study(*ABOUT, arms, SEEDS, judge, figure, "Entropy against updates; each run faint.")

if __name__ == "__main__":
    answer = toybed.ask(STUDY, size="quick")
    print(answer["outcome"], answer["sentence"])
