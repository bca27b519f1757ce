"""Does the covariance of log-probability and advantage drive entropy?

Question
    Does the covariance of log-probability and advantage, as a batch shows it, predict how much entropy the policy's
    next step costs? In a table, for which the theorem holds, and in a network; for several objectives; with stale data.
Claim
    It does exactly in a table without sampling noise; on sampled batches it predicts the entropy change of each update
    in a table and in a network; and in a network that starts from a trained base it stays positive.
Source
    Cui et al., "The Entropy Mechanism of Reinforcement Learning for Reasoning Language Models", arXiv 2505.22617:
    theorem 1 (vanilla gradient), theorem 2 (natural gradient), Fig. 8 (the covariance and the entropy difference of
    each step match, and the covariance is "always positive": 0.017 at its peak, 0.002 late).
Sweep
    AnswerBandit with a table, supervised on the bandit's Zipf law, and ChainReach with an MLP from its usual base. In
    each: GRPO with 1, 4 and 8 optimiser steps on each batch (epochs of one mini-batch), RLOO with 1, Clip-Cov and
    KL-Cov with 4 (with 1 KL-Cov is GRPO). A batch has 128 responses.
    Beside it, without sampling: exact gradient steps of the two theorems on AnswerBandits of several difficulties.
Measure
    At each update: the covariance over the tokens of its batch, before its steps, and the change of the exact entropy
    on train prompts, nats per token. For each run the correlation over updates of minus the covariance with the change.
    Two things stand between them even where the lemma holds. The batch samples a few of the prompts. And Adam moves by
    an average of its last ten gradients or so: of a noise that is new at each update the newest batch can show at most
    a correlation of sqrt(1 - 0.9^2) = 0.44. So the correlation with the covariance averaged as Adam averages is told
    beside it.
    A correlation over a whole run may come from both fading together; so it is also taken of what a cubic in the
    update's number leaves of both.
Rule of judgement
    Written before the first run of this file. The exact parts: a correlation above 0.99 in each of the worlds (the
    design notes' threshold at a small step). The sampled parts: published is that the curves match by eye, so the
    mean correlation over seeds has to be above 0, by its 95 % interval. "Always positive": in more than 95 %
    of the updates, which leaves one in twenty to the noise of batches that are a sixteenth of the paper's.
    The claim as a whole: refuted if one of its five parts is, supported if all are, else undecided. What is said of
    objectives, staleness, trend, table against network and the sign is judged beside it and does not decide it.
What a student should see
    In a table the covariance of log-probability and advantage is the entropy's change, to the digit. From a sampled
    batch it is a noisy guess of it, and in a network, where one context's step moves all others, it explains a part
    only. It stays positive nearly always: that is why entropy falls.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from toybed import plotting
from toybed.agents.config import Setting, Spec, Supervised
from toybed.benchmarks import entropy_mechanism_measures as measures
from toybed.stats import Interval, mean_interval, mean_of_found
from toybed.study import WIDER_INTERVALS, Records, Study, Verdict, above, all_of, headline, number, register, tally

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

EXACT = 0.99  # correlation that the theorems must show at a small step
POSITIVE = 0.95  # share of the updates with a positive covariance
FIRST = 5  # updates that are the start of a run
RANKS = (1, 2, 4, 8)  # of the first right answer in the base: the worlds of the exact walks

POLICIES = ("table", "network")
ARMS = {
    "grpo_1": ("GRPO, 1 step", Spec("grpo"), 1),
    "grpo_4": ("GRPO, 4 steps", Spec("grpo"), 4),
    "grpo_8": ("GRPO, 8 steps", Spec("grpo"), 8),
    "rloo_1": ("RLOO, 1 step", Spec("rloo"), 1),
    "clip_cov_4": ("Clip-Cov, 4 steps", Spec("clip_cov", {"clip_low": 0.2, "clip_high": 0.2}), 4),
    "kl_cov_4": ("KL-Cov, 4 steps", Spec("kl_cov"), 4),
}
OTHERS = tuple(arm for arm in ARMS if arm != "grpo_1")
UPDATES = {"quick": 20, "standard": 60, "full": 150}

CLAIM = (
    "The covariance of log-probability and advantage predicts the entropy change of each update, exactly in a table "
    "without sampling, on sampled batches in a table and in a network, and in a network from a trained base it stays "
    "positive."
)
RULE = "refuted if one of the five parts of the claim is refuted, supported if all are supported, else undecided"

AMENDMENTS = (WIDER_INTERVALS,)


def arms(size: str) -> dict[str, Setting]:
    """The settings of the sweep: ``table_grpo_1``, ..., ``network_kl_cov_4``."""
    network = Setting().with_learning(
        updates=UPDATES[size], prompts=16, group=8, minibatches=1, learning_rate=1e-3, measure_every=1
    )
    table = replace(
        network,
        world=Spec("answer_bandit"),
        policy=Spec("tabular"),
        supervised=Supervised(steps=200, learning_rate=0.1),
        # A logit of a table is seen by one prompt in 64 only; 0.05 is the rate at which the learner's own tests train.
        learning=replace(network.learning, learning_rate=0.05),
    )
    return {
        f"{where}_{arm}": replace(setting, objective=objective).with_learning(epochs=steps)
        for where, setting in (("table", table), ("network", network))
        for arm, (_, objective, steps) in ARMS.items()
    }


def judge(records: Mapping[str, Records]) -> tuple[Verdict, list[Verdict]]:
    """The whole answer and its parts."""
    claim = [
        _theorem(natural=False),
        _theorem(natural=True),
        *(_predicts(records, where) for where in POLICIES),
        _stays_positive(records),
    ]
    beside = [
        *(_others(records, where) for where in POLICIES),
        _beyond_trend(records),
        _weaker(
            records,
            "table_grpo_1",
            "network_grpo_1",
            "The lemma is about tables: it predicts better there than in a network.",
        ),
        _weaker(
            records,
            "network_grpo_1",
            "network_grpo_8",
            "In a network, 8 steps on a batch in the place of 1 weaken the prediction.",
        ),
        _sign_of_the_base(records),
    ]
    table, network = claim[2:4]
    verdict = headline(
        CLAIM,
        parts=claim,
        shown=network,
        rule=RULE,
        sentence=f"Of the claim's {len(claim)} parts: {tally(claim)}. Update by update the correlation is "
        f"{number(table.estimate)} in the table and {number(network.estimate)} in the network under GRPO with one step "
        "a batch.",
        records=records,
    )
    return verdict, claim + beside


def _theorem(*, natural: bool) -> Verdict:
    walks = [measures.exact_walk(rank, natural) for rank in RANKS]
    name, form, other = ("natural", "A", "p A") if natural else ("vanilla", "p A", "A")
    own = np.array([measures.correlation(w.natural if natural else w.vanilla, w.seen) for w in walks])
    crossed = np.array([measures.correlation(w.vanilla if natural else w.natural, w.seen) for w in walks])
    interval = Interval(float(own.mean()), float(own.min()), float(own.max()), len(own))
    return Verdict(
        f"Without sampling, a {name}-gradient step of a table changes entropy by -eta Cov(log p, {form}).",
        above(interval, EXACT),
        *interval,
        rule=f"correlation over {measures.WALK} exact steps of {measures.SMALL_STEP}, in bandits whose first right "
        f"answer has rank {', '.join(map(str, RANKS))}: supported if above {EXACT} in all, refuted if in none; shown "
        "is the range.",
        sentence=f"The lowest is {own.min():.4f}; with Cov(log p, {other}) in its place, {crossed.min():.2f}.",
    )


def _predicts(records: Mapping[str, Records], where: str) -> Verdict:
    arm = f"{where}_grpo_1"
    interval = mean_interval(measures.correlations(records[arm]))
    averaged = mean_of_found(measures.correlations(records[arm], steps=1))
    return Verdict(
        f"On sampled batches of a {where}, the covariance predicts the entropy change of each update of GRPO.",
        above(interval, 0.0),
        *interval,
        rule="correlation over updates of minus the covariance with the change, mean over seeds, one step a batch: "
        "supported above 0, refuted below.",
        sentence=f"It is {number(interval.estimate)}; with the covariance averaged as Adam averages gradients, "
        f"{number(averaged)}.",
    )


def _stays_positive(records: Mapping[str, Records]) -> Verdict:
    arm = records["network_grpo_1"]
    interval = mean_interval(measures.positive_share(arm))
    others = ", ".join(
        f"{ARMS[a][0]} {number(mean_of_found(measures.positive_share(records[f'network_{a}'])))}" for a in OTHERS
    )
    mean = mean_of_found(arm.per_run(lambda cov: float(cov.mean()), arm["sampled_covariance"]))
    return Verdict(
        "In a network from a trained base the covariance stays positive under GRPO.",
        above(interval, POSITIVE),
        *interval,
        rule=f"share of updates whose batch has a positive covariance: supported above {POSITIVE}, refuted below.",
        sentence=f"The share is {number(interval.estimate)} and the mean covariance {number(mean, '.4f')}; shares of "
        f"the others: {others}.",
    )


def _others(records: Mapping[str, Records], where: str) -> Verdict:
    found = {arm: measures.correlations(records[f"{where}_{arm}"]) for arm in OTHERS}
    intervals = {arm: mean_interval(values) for arm, values in found.items()}
    worst = min(intervals, key=lambda arm: np.nan_to_num(intervals[arm].estimate, nan=-2.0))
    listed = ", ".join(f"{ARMS[arm][0]} {number(interval.estimate)}" for arm, interval in intervals.items())
    return Verdict(
        f"In a {where} it predicts under the other objectives and with stale data too.",
        all_of([above(interval, 0.0) for interval in intervals.values()]),
        *intervals[worst],
        rule="the same correlation: supported if above 0 in every arm, refuted if below in one; shown is the lowest.",
        sentence=f"Correlations: {listed}.",
    )


def _beyond_trend(records: Mapping[str, Records]) -> Verdict:
    arm = records["network_grpo_1"]
    interval = mean_interval(measures.correlations(arm, trend=False))
    averaged = mean_of_found(measures.correlations(arm, steps=1, trend=False))
    return Verdict(
        "In the network the covariance tells more than that both fade together: it predicts beyond the trend.",
        above(interval, 0.0),
        *interval,
        rule="the correlation of what a cubic in the update's number leaves, under GRPO: supported above 0, refuted "
        "below.",
        sentence=f"It is {number(interval.estimate)}; averaged as Adam averages, {number(averaged)}.",
    )


def _weaker(records: Mapping[str, Records], strong: str, weak: str, claim: str) -> Verdict:
    interval = mean_interval(measures.correlations(records[strong]) - measures.correlations(records[weak]))
    return Verdict(
        claim,
        above(interval, 0.0),
        *interval,
        rule="difference of the two correlations under GRPO, mean over seeds: supported above 0, refuted below.",
        sentence=f"The difference is {number(interval.estimate, '+.3f')}.",
    )


def _sign_of_the_base(records: Mapping[str, Records]) -> Verdict:
    """The bandit's right answers have ranks 4 to 6: log p is -2.8 on them and -2.4 on average, so Cov < 0 at first."""
    arm = records["table_grpo_1"]
    interval = mean_interval(arm.per_run(lambda cov: -float(cov[:FIRST].mean()), arm["sampled_covariance"]))
    change = mean_of_found(arm.per_run(lambda dh: float(dh[:FIRST].sum()), measures.changes(arm)))
    return Verdict(
        "The sign is the base's: where it prefers wrong answers (the table) the covariance starts below 0.",
        above(interval, 0.0),
        *interval,
        rule=f"minus the mean covariance of the first {FIRST} updates under GRPO: supported above 0, refuted below.",
        sentence=f"Entropy changes by {number(change, '+.3f')} nats in these updates.",
    )


def figure(records: Mapping[str, Records]) -> Figure:
    """The theorem without sampling, the network's updates one by one, and all correlations."""
    with plotting.panels(3) as (page, (theorem, updates, all_arms)):
        _draw_theorem(theorem)
        _draw_updates(updates, records["network_grpo_1"])
        _draw_correlations(all_arms, records)
    return page


def _draw_theorem(axes: Axes) -> None:
    ends = {}
    for rank, colour in zip(RANKS, plotting.COLOURS[1:], strict=False):
        walk, steps = measures.exact_walk(rank, natural=False), np.arange(1, measures.WALK + 1)
        axes.plot(steps, walk.seen * 1e3, color=colour, alpha=0.35, linewidth=4, solid_capstyle="butt")
        axes.plot(steps, walk.vanilla * 1e3, color=colour, linewidth=1, linestyle=(0, (4, 3)))
        ends[f"rank {rank}"] = (measures.WALK, float(walk.seen[-1] * 1e3), colour)
    axes.axhline(0, color="#555555", linewidth=0.8, zorder=0)
    axes.text(
        0.98, 0.97, "by rank of the first right answer", fontsize=8, ha="right", va="top", transform=axes.transAxes
    )
    axes.set(title="A table, exact gradient", xlabel="steps", ylabel="entropy change of a step (10⁻³ nats)")
    plotting.label_ends(axes, ends)


def _draw_updates(axes: Axes, records: Records) -> None:
    cov, change = (x[records.sound] for x in (records["sampled_covariance"], measures.changes(records)))
    parts = np.array_split(np.arange(cov.shape[1]), 3)
    for part, colour, name in zip(parts, plotting.COLOURS[1:], ("first", "second", "last"), strict=False):
        x, y = cov[:, part].ravel(), change[:, part].ravel() * 1e3
        axes.plot(x, y, "o", color=colour, markersize=2.8, alpha=0.6, markeredgewidth=0, label=f"{name} third")
    for line in (axes.axhline, axes.axvline):
        line(0, color="#555555", linewidth=0.8, zorder=0)
    axes.legend(fontsize=8, frameon=False, handletextpad=0.1, loc="upper right")
    axes.set(
        title="A network, update by update",
        xlabel="covariance in the update's batch",
        ylabel="entropy change (10⁻³ nats)",
    )


def _draw_correlations(axes: Axes, records: Mapping[str, Records]) -> None:
    rows = {arm: -float(i) for i, arm in enumerate(ARMS)}
    for where, colour, shift in zip(POLICIES, plotting.COLOURS[1:], (0.14, -0.14), strict=False):
        for arm, y in rows.items():
            interval = mean_interval(measures.correlations(records[f"{where}_{arm}"]))
            averaged = mean_of_found(measures.correlations(records[f"{where}_{arm}"], steps=ARMS[arm][2]))
            axes.plot([interval.low, interval.high], [y + shift] * 2, color=colour, linewidth=1.6)
            axes.plot(interval.estimate, y + shift, "o", color=colour, markersize=5)
            axes.plot(averaged, y + shift, "o", color=colour, markersize=5, markerfacecolor="white")
            if y == 0 and np.isfinite(interval.estimate):
                axes.text(interval.estimate, y + shift + 0.12, where, color=colour, fontsize=8, ha="center")
    axes.axvline(0, color="#555555", linewidth=0.8, zorder=0)
    axes.set(
        title="Correlation over updates",
        xlabel="of -covariance with the entropy change",
        yticks=list(rows.values()),
        ylim=(-len(rows) + 0.2, 0.6),
        xlim=(min(-0.1, axes.get_xlim()[0]), 1.04),
    )
    axes.set_yticklabels([ARMS[arm][0] for arm in rows])
    axes.grid(axis="y", visible=False)


STUDY = register(
    Study(
        name="entropy_mechanism",
        question="Does the covariance of log-probability and advantage drive entropy?",
        claim=CLAIM,
        source="arXiv 2505.22617 (theorems 1 and 2, Fig. 8)",
        rule=RULE,
        amendments=AMENDMENTS,
        arms=arms,
        seeds={"quick": 3, "standard": 6, "full": 20},
        judge=judge,
        figure=figure,
        caption=(
            "Left: the change of entropy at each step of an exact gradient walk, seen (broad) and predicted (dashed), "
            "for bases that rank the first right answer 1st to 8th. Middle: each update of GRPO in the network, all "
            "seeds. Right: the correlation over updates, mean over seeds with its interval; hollow, with the "
            "covariance averaged as Adam averages gradients."
        ),
    )
)
