"""Which intervention keeps a policy exploring, and does it pay?

Question
    Many objectives promise to keep entropy. At equal rollouts, each at a learning rate of its own: which do, also at
    the same reward, and is what they keep worth anything on held-out prompts: more right answers within 256 tries, at
    what price in one try?
Claim
    Entropy that an objective keeps is breadth kept, at no price: over objectives, those with more entropy have more
    held-out pass@256, at the same reward and at the end, and at the end they have no less held-out pass@1.
Source
    arXiv 2505.22617 (Clip-Cov and KL-Cov: more entropy and better accuracy), arXiv 2503.14476 (clip-higher), arXiv
    2506.14758 (entropy-shaped advantage), arXiv 2506.01347 (negative samples keep pass@k), arXiv 2508.10751 (Pass@k
    training), arXiv 2508.07629 (GPPO), and the others by `toybed show NAME`. Every row of the catalogue that claims
    anything about entropy is here, those apart that this world cannot have (LEFT_OUT says why).
Sweep
    ChainReach with a wide gap between train and held-out prompts (m = 61, 30 % of the prompts), one supervised base for
    each seed, the same number of rollouts for all: dynamic sampling is off. The batch is cut into 1, 4, 8 or 16
    mini-batches, so that its last step is taken on data 0, 3, 7 or 15 steps old. The learning rate is chosen on seeds
    of its own by held-out reward at the end, for each objective at 4 steps a batch; at n steps it is that times
    sqrt(4 / n) (full size: chosen for each objective at each number of steps). GRPO runs at every rate, too.
Measure
    Exactly: entropy (nats per token, over own rollouts on train prompts), held-out pass@1 and pass@256, coverage,
    prompts lost (success below 1 in 1,000). They are compared at the end, that is at equal rollouts, and at the same
    reward: when success on train prompts is half of the way from the base to where GRPO of that seed ends.
Rule of judgement
    At 4 steps a batch, Spearman's rank correlation over objectives, of means over seeds, of entropy with held-out
    pass@256 at the same reward (supported above 0, refuted below), of both at the end (the same), and of entropy with
    held-out pass@1 at the end (supported above -0.2, refuted below: a price), with Fisher's interval for that many
    objectives; those that stay within 0.005 nats of GRPO are copies of it and do not count, nor do those of which most
    runs never reach the reward. The claim needs all three; coverage and other numbers of steps are judged beside it.
    Each objective is judged by itself, beside the claim: it keeps more than 0.05 nats above GRPO at the same reward and
    the same learning rate (mean over seeds, 95 % t interval, paired). Rates are chosen on the held-out prompts that are
    judged: other seeds take out the noise of sampling, not the choice's fit to these prompts. What was changed after a
    result had been seen stands in AMENDMENTS. The quick size has six objectives, too few for these correlations: it
    shows the ranking and leaves the claim undecided.
What a student should see
    Entropy and breadth go together almost in one order, and the more of both an objective keeps, the less it wins in
    one try. Most objectives *are* GRPO at the rate that suits them, several to the last digit, because with few updates
    a batch no clip is reached; those that act on fresh data (REPO-R, Clip-Cov, an entropy bonus, negative samples) part
    from it. What sets entropy first is the learning rate: compare two objectives at two rates and you have compared
    the rates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from toybed import laws, plotting
from toybed.benchmarks.interventions_sweep import (
    INTERVENTIONS,
    MAIN,
    RATES,
    STALENESS,
    arm,
    arms,
    candidates,
    final,
    same_rate,
)
from toybed.stats import (
    Array,
    correlation_interval,
    mean_interval,
    mean_of_found,
    probability_of_improvement,
    rank_correlation,
)
from toybed.study import MIN_RUNS, Records, Study, Tuning, Verdict, above, headline, number, register, tally

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PRICE = -0.2  # rank correlation of entropy with pass@1 below which entropy has a price
SMALLEST = 1e-6  # share of failures that is drawn as none
COPY = 0.005  # nats per token: an arm that stays within this of GRPO throughout counts as a copy of it
KEPT = 0.05  # nats per token above GRPO at the same reward
MATCHED = 0.5  # of GRPO's gain in success on train prompts: where policies are compared at the same reward

CLAIM = (
    "Entropy that an objective keeps is breadth kept, at no price: over objectives, those with more entropy have more "
    "held-out pass@256, at the same reward and at the end, and at the end they have no less held-out pass@1."
)
RULE = "refuted if one of the three correlations at 4 updates a batch is refuted, supported if all are, else undecided"
AMENDMENTS = (
    "The first version compared breadth at the end only, which a slow learner wins by having learned little, and "
    "entropies at 15 % success, which no run of the quick size reached. After that quick run, before any other, the "
    "comparison at the same reward was added to the claim, its level taken from GRPO's own gain, and correlations were "
    "averaged by their Fisher transform (their interval had left -1 to 1).",
    "The first standard run chose learning rates after 50 of 80 updates on 2 seeds. GRPO got 0.003 and most others "
    "0.001, at which they were better in every way, those included that are GRPO when no clip is reached: 16 of 32 "
    "seemed to keep entropy, and what kept it was the rate. Rates are now chosen at full length on 3 seeds, and each "
    "objective is compared with GRPO at its own rate. The claim's three correlations were supported before, and their "
    "rule is as it was.",
    "A review of that second run (correlations 0.95, 0.86 and -0.48; undecided) found that its intervals were over "
    "seeds alone, so that copies of GRPO in the list moved them, and that three objectives never reached the reward, "
    "which was not said. The correlations are now of means over seeds with an interval over objectives, copies are "
    "left out, the absent are named, a remedy that is never reached is undecided and no longer refuted, a fourth rate "
    "is tried, and measures are taken every 8 updates and not every 16. Coverage is judged beside it, since "
    "pass@256 is close to its ceiling. The thresholds of 0, -0.2 and 0.05 are as they were; what counts as a copy "
    "(0.005 nats) and that fewer than 8 objectives decide nothing were set with those runs in view. On these the "
    "review had found that without copies the price is refuted: it is this change that made the claim, undecided until "
    "then, refuted.",
    "DAPO was in the first standard run. Without its dynamic sampling its digits were those of clip-higher, and it was "
    "left out. The quick size was shortened three times, from 40 updates to 20, to stay under 20 s.",
)


def judge(records: Mapping[str, Records]) -> tuple[Verdict, list[Verdict]]:
    """The whole answer and its parts: the claim's, coverage, the same at other numbers of steps, and a ranking."""
    steps = sorted(_steps(records), key=lambda n: n != MAIN)
    law = [verdict for n in steps for verdict in _correlations(records, n)]
    objectives = [name for name in INTERVENTIONS if arm(name, MAIN) in records]
    ranked = sorted(objectives, key=lambda name: -mean_of_found(_end(records, name, "pass@256_test")))
    keeps = [_keeps(records, name) for name in ranked if name != "grpo"]
    matched, breadth, price = law[:3]
    copies = len(objectives) - len(distinct(records))
    verdict = headline(
        CLAIM,
        parts=law[:3],
        shown=matched,
        rule=RULE,
        sentence=(
            f"Of {len(objectives)} objectives {copies} stay GRPO. Over the others the rank correlation of entropy with "
            f"held-out pass@256 is {number(matched.estimate)} at the same reward and {number(breadth.estimate)} at the "
            f"end, with pass@1 {number(price.estimate)}. Of those judged at the same reward and rate: {tally(keeps)}."
        ),
        records=records,
    )
    return verdict, law + keeps


def _steps(records: Mapping[str, Records]) -> list[int]:
    return [n for n in STALENESS if arm("grpo", n) in records]


def _end(records: Mapping[str, Records], objective: str, measure: str, steps: int = MAIN) -> Array:
    return records[arm(objective, steps)].at(measure, -1)


def at_same_reward(records: Mapping[str, Records], objective: str, measure: str, steps: int = MAIN) -> Array:
    """The measure when success on train prompts is half of the way from the base to GRPO's end, ``[n]``.

    NaN for a run that never gets there, or diverged.
    """
    return _at_level(records[arm(objective, steps)], _level(records[arm("grpo", steps)]), measure)


def _level(grpo: Records) -> Array:
    """Half of the way of each run, ``[n]``; NaN where it diverged."""
    reward = grpo["reward_train"]
    return np.where(grpo.sound, reward[:, 0] + MATCHED * (reward[:, -1] - reward[:, 0]), np.nan)


def _at_level(found: Records, level: Array, measure: str) -> Array:
    curves = zip(found.sound & np.isfinite(level), level, found["reward_train"], found[measure], strict=True)
    return np.array([laws.value_at(target, r, v) if sound else np.nan for sound, target, r, v in curves])


def distinct(records: Mapping[str, Records], steps: int = MAIN) -> list[str]:
    """GRPO, and the objectives whose entropy parts from it by more than a copy's would, each at its own rate."""
    found = [name for name in INTERVENTIONS if arm(name, steps) in records]
    grpo = records[arm("grpo", steps)]["entropy_train"]
    gaps = {name: np.abs(records[arm(name, steps)]["entropy_train"] - grpo) for name in found}
    return [name for name in found if name == "grpo" or not (np.nan_to_num(gaps[name], nan=np.inf) < COPY).all()]


def _correlations(records: Mapping[str, Records], steps: int) -> list[Verdict]:
    """Of entropy with breadth, at the same reward and at the end, and with success at the end, over objectives."""
    objectives = distinct(records, steps)
    updates = f"{steps} update{'' if steps == 1 else 's'} a batch"
    verdicts = []
    for measure, of, least, claim in (
        ("pass@256_test", at_same_reward, 0.0, "At the same reward, {}, more entropy is more held-out pass@256."),
        ("pass@256_test", _end, 0.0, "At the end, {}, more entropy is more held-out pass@256."),
        ("reward_test", _end, PRICE, "At the end, {}, more entropy is no less held-out pass@1."),
        ("coverage@256_test", _end, 0.0, "At the end, {}, more entropy is more coverage."),
    ):
        x, y = (
            np.array([_mean_of_most(of(records, name, m, steps)) for name in objectives])
            for m in ("entropy_train", measure)
        )
        there = np.isfinite(x) & np.isfinite(y)
        enough = len(records[arm("grpo", steps)].sound) >= MIN_RUNS
        interval = correlation_interval(rank_correlation(x, y), int(there.sum()) if enough else 0)
        missing = [INTERVENTIONS[name][0] for name, found in zip(objectives, there, strict=True) if not found]
        absent = f" Without {', '.join(missing)}, of which most runs never get there." if missing else ""
        span = f"{y[there].min():.6g} to {y[there].max():.6g}" if there.any() else "not known"
        verdicts.append(
            Verdict(
                claim.format(updates),
                above(interval, least),
                *interval,
                rule="Spearman's rank correlation over objectives (copies of GRPO left out) of means over seeds, with "
                f"Fisher's interval for that many objectives: supported above {least:g}, refuted below.",
                sentence=f"The correlation is {number(interval.estimate)} over {interval.n} objectives, of values from "
                f"{span}.{absent}",
            )
        )
    return verdicts


def _mean_of_most(values: Array) -> float:
    """The mean over the runs that have a value; NaN where fewer than half do."""
    return mean_of_found(values) if np.isfinite(values).mean() >= 0.5 else np.nan


def _keeps(records: Mapping[str, Records], objective: str) -> Verdict:
    """One line of the ranking."""
    own = records[arm(objective, MAIN)]
    assert own.setting is not None, "records of runs have their setting"
    rate = own.setting.learning.learning_rate
    grpo_there = records[same_rate(rate)]
    mine, grpo = (_at_level(found, _level(grpo_there), "entropy_train") for found in (own, grpo_there))
    matched = mean_interval(mine - grpo)
    same = np.array_equal(own["entropy_train"], grpo_there["entropy_train"])

    def gain(measure: str) -> Array:
        return _end(records, objective, measure) - _end(records, "grpo", measure)

    mine, grpo = (_end(records, name, "pass@256_test") for name in (objective, "grpo"))
    better = [values[np.isfinite(values)] for values in (mine, grpo)]
    chance = probability_of_improvement(*better) if all(map(len, better)) else np.nan
    entropy, one, many, cover, lost = (
        mean_of_found(gain(m))
        for m in ("entropy_train", "reward_test", "pass@256_test", "coverage@256_test", "lost_test")
    )
    twin = " At its rate it is GRPO, digit for digit: nothing that it changes is ever reached." if same else ""
    outermost = rate in (min(RATES), max(RATES))
    edge = " Its rate is at the edge of those tried: a better one may lie beyond." if outermost else ""
    return Verdict(
        f"{INTERVENTIONS[objective][0]} keeps more entropy than GRPO at the same reward.",
        "undecided" if same else above(matched, KEPT),
        *matched,
        rule=f"entropy at the same success on train prompts less that of GRPO at the same learning rate, at {MAIN} "
        f"updates a batch, paired: supported above {KEPT} nats per token, refuted below; undecided where nothing that "
        "it changes is ever reached.",
        sentence=f"At its best rate ({rate:g}) against GRPO at its own, at the end: {number(entropy, '+.2f')} nats, "
        f"held-out pass@1 {number(one, '+.3f')}, pass@256 {number(many, '+.4f')} (P(better) {number(chance)}), "
        f"coverage@256 {number(cover, '+.3f')}, prompts lost {number(100 * lost, '+.2f')} %.{twin}{edge}",
    )


def figure(records: Mapping[str, Records]) -> Figure:
    """One try against 256 tries, and the ranking at every staleness."""
    objectives = [name for name in INTERVENTIONS if arm(name, MAIN) in records]
    height = max(4.0, 0.17 * len(objectives) + 1.2)
    with plotting.panels(2, width=5.6, height=height) as (page, (plane, ranking)):
        _draw_plane(plane, records, objectives)
        _draw_ranking(ranking, records, objectives)
    return page


def _draw_plane(axes: Axes, records: Mapping[str, Records], objectives: Sequence[str]) -> None:
    start = records[arm("grpo", MAIN)]
    places = {"base": (float(start["reward_test"][:, 0].mean()), float(start["pass@256_test"][:, 0].mean()))}
    for name in objectives:
        x, y = (mean_of_found(_end(records, name, m)) for m in ("reward_test", "pass@256_test"))
        if np.isfinite(x + y):
            places[INTERVENTIONS[name][0]] = (x, y)
    best = frontier(places)
    shown = {name: (x, _failing(y)) for name, (x, y) in places.items()}
    axes.plot(*zip(*(shown[name] for name in best), strict=True), color=plotting.COLOURS[3], linewidth=1.0, zorder=1)
    own = {"base": plotting.COLOURS[2], "GRPO": plotting.COLOURS[1], **dict.fromkeys(best, plotting.COLOURS[3])}
    for name, (x, y) in shown.items():
        axes.plot(x, y, "o", color=own.get(name, "#777777"), markersize=5, zorder=2)
    _failing_axis(axes, "y", [y for _, y in shown.values()])
    axes.set(title=f"What each is worth, {MAIN} updates a batch", xlabel="held-out pass@1", ylabel="held-out pass@256")
    axes.margins(x=0.12)
    plotting.label_points(axes, shown)


def _failing(value: float) -> float:
    """Where pass@256 is drawn: by the logarithm of what fails, since most of it lies between 0.9 and 1."""
    return max(1 - value, SMALLEST)


def _failing_axis(axes: Axes, which: str, values: Sequence[float]) -> None:
    """Label an axis of failures, logarithmic and upside down, by successes."""
    getattr(axes, f"set_{which}scale")("log")
    low, high = (min(values) / 2, max(values) * 2) if values else (SMALLEST, 1.0)
    ticks = [tick for tick in (0.5, 0.3, 0.1, 0.03, 0.01, 1e-3, 1e-4, 1e-5, SMALLEST) if low <= tick <= high]
    getattr(axes, f"set_{which}lim")(low, high)
    getattr(axes, f"set_{which}ticks")(ticks, [f"{1 - tick:.7g}" for tick in ticks])
    axes.minorticks_off()
    getattr(axes, f"invert_{which}axis")()


def frontier(places: Mapping[str, tuple[float, float]]) -> list[str]:
    """Names of the points that no other beats in both coordinates, from left to right."""
    ordered = sorted(places, key=lambda name: places[name], reverse=True)
    best, top = [], -np.inf
    for name in ordered:
        if places[name][1] > top:
            best.append(name)
            top = places[name][1]
    return best[::-1]


def _draw_ranking(axes: Axes, records: Mapping[str, Records], objectives: Sequence[str]) -> None:
    ordered = sorted(objectives, key=lambda name: mean_of_found(_end(records, name, "entropy_train")))
    steps = _steps(records)
    colours = dict(zip(STALENESS, (plotting.COLOURS[i] for i in (1, 3, 5, 2)), strict=True))
    drawn: list[float] = []
    for row, name in enumerate(ordered):
        axes.axhline(row, color="#eeeeee", linewidth=0.6, zorder=0)
        for n in steps:
            value = _failing(mean_of_found(_end(records, name, "pass@256_test", n)))
            drawn.append(value)
            axes.plot(value, row, "o", color=colours[n], markersize=4)
    _failing_axis(axes, "x", [value for value in drawn if np.isfinite(value)])
    entropies = [mean_of_found(_end(records, name, "entropy_train")) for name in ordered]
    axes.set(
        title="The same, by updates a batch",
        xlabel="held-out pass@256",
        ylabel=f"by final entropy at {MAIN} (nats per token)",
        yticks=range(len(ordered)),
        ylim=(-0.8, len(ordered) + 0.6),
    )
    axes.set_yticklabels(
        [f"{INTERVENTIONS[name][0]}  {h:.2f}" for name, h in zip(ordered, entropies, strict=True)], fontsize=7
    )
    axes.grid(axis="y", visible=False)
    for i, n in enumerate(steps):
        axes.text(0.02 + 0.08 * i, 0.99, str(n), color=colours[n], transform=axes.transAxes, va="top", weight="bold")
    place = 0.03 + 0.08 * len(steps), 0.987
    axes.text(*place, "updates a batch", color="#555555", transform=axes.transAxes, va="top", fontsize=8)


STUDY = register(
    Study(
        name="interventions",
        question="Which intervention keeps a policy exploring, and does it pay?",
        claim=CLAIM,
        source="arXiv 2505.22617, 2503.14476, 2506.14758, 2506.01347, 2508.10751, 2508.07629 and others",
        rule=RULE,
        amendments=AMENDMENTS,
        arms=arms,
        seeds={"quick": 3, "standard": 4, "full": 20},
        judge=judge,
        figure=figure,
        caption=(
            "Left: what each objective is worth in one try and in 256, on held-out prompts, at 4 updates a batch; the "
            "line joins those that no other beats in both. Right: held-out pass@256 at 1, 4, 8 and 16 updates a batch, "
            "objectives in the order of their final entropy."
        ),
        tuning=Tuning(
            candidates=candidates,
            seeds={"quick": 1, "standard": 3, "full": 4},
            score=lambda records: records["reward_test"][:, -1],
            final=final,
        ),
    )
)
