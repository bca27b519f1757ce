"""Does RL narrow what a policy can solve?

Question
    RL raises pass@1. Does the base still solve more prompts when both may try often: do their pass@k curves cross, at
    which k, and what does that depend on?
Claim
    RL narrows, whatever the learning rate: on held-out prompts GRPO ends above the base at pass@1 and below it at
    pass@256.
Source
    Yue et al., arXiv 2504.13837: base models overtake RL-trained ones at tens to hundreds of samples on every
    benchmark, and the boundary narrows as training goes on. Contested: ProRL, arXiv 2505.24864 (long RL with KL
    control, resets and many tasks expands it); arXiv 2506.14245 (it expands where the reasoning is checked, too).
    Remedies: KL-Cov (2505.22617), MaxRL (2602.02710), pass@k training (2508.10751), an entropy bonus.
Sweep
    ChainReach with m = 97 values, of whose prompts 30 % are trained on (quick: m = 61), an MLP and its usual base.
    GRPO at a third of the usual learning rate, at the usual one and at three times that, all for as many updates (and,
    beside the claim, at the smallest one for three times as many); the remedies at the usual one.
    For the generalisation gap GRPO on 70, 50 and 15 % of the prompts; for the size of the world m = 31 and 61, on 30 %.
Measure
    pass@k is exact: mean of 1 - (1 - p)^k over the success p of every prompt. Recorded at k = 1, 4, 16, 64 and 256, in
    between interpolated in log k; of larger k nothing is known. Loss at k: the base's pass@k less GRPO's. Crossing: the
    k at which the loss turns positive, for a run whose pass@1 is above its base's.
Rule of judgement
    Written before the first run of this file. Known then, from choosing sizes: that with m = 61 and width 96, in 100
    updates of 16 prompts, pass@256 fell from 1.00 to 0.89 at learning rate 3e-3 and not at 1e-3; and that a prototype
    with m = 97 lost pass@256 at 1e-3 in 240 updates. So learning rate and length matter, and no single one decides.
    All decisions are by 95 % intervals over seeds, paired. At each of the three learning rates: supported if
    the gain in pass@1 lies above 0 and the loss at k = 256 above 0.01 (one prompt in a hundred), refuted if either
    lies below; undecided where train success did not rise by half, which is too little training to tell. As a whole:
    refuted if one learning rate refutes, supported if all three support, else undecided. What the crossing depends on
    is judged beside it. Arms that learn at different speeds are compared at the highest train success both reached.
    What was changed after a result had been seen stands in AMENDMENTS, and in every report.
What a student should see
    Early in training GRPO gains at every k and loses nothing; a third of the usual learning rate is still there after
    240 updates, which refutes the claim as a whole. Trained further GRPO narrows at every rate, the more the larger
    the rate and the fewer the prompts it is trained on, and on these, too, if less: at the usual rate the base
    overtakes it at 32 samples with 30 % of the prompts, at 11 with 15 % and at 211 with 70 %. It need not be so:
    MaxRL, pass@k training and a small entropy bonus end with GRPO's pass@1 and nearly all of the base's pass@256,
    while KL-Cov changes little.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from toybed import plotting
from toybed.agents.config import Learning, Setting, Spec, Supervised
from toybed.benchmarks.pass_at_k_crossing_measures import KS, crossings, loss, matched, pass_at, told_crossing, typical
from toybed.stats import Interval, mean_interval, mean_of_found
from toybed.study import (
    Outcome,
    Records,
    Study,
    Verdict,
    above,
    all_of,
    headline,
    number,
    register,
    within,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.float64]

MEANT = 0.01  # of pass@256: a loss that is meant
TRAINED = 1.5  # times the base's train success: less is too little training to tell
TENS = (10.0, 256.0)  # where the crossing is published, as far as we can see
LONGER = 3  # times the updates, for the slow learning rate: as much rate times updates as the usual one has
EARLY = 1 / 3  # of the updates: what the end is compared with

RATES = {"slow": 3e-4, "grpo": 1e-3, "fast": 3e-3}
REMEDIES = {
    "bonus_weak": ("Entropy bonus .01", Spec("grpo", {"entropy_coefficient": 0.01})),
    "bonus_strong": ("Entropy bonus .05", Spec("grpo", {"entropy_coefficient": 0.05})),
    "kl_cov": ("KL-Cov", Spec("kl_cov")),
    "maxrl": ("MaxRL", Spec("maxrl")),
    "passk": ("Pass@k training", Spec("passk")),
}
WORLDS = {"grpo": "the large world", "m61": "m = 61", "m31": "m = 31"}
SHARES = {"share_15": 0.15, "grpo": 0.3, "share_50": 0.5, "share_70": 0.7}
UPDATES = {"quick": 40, "standard": 240, "full": 480}

CLAIM = (
    "RL narrows, whatever the learning rate: on held-out prompts GRPO ends above the base at pass@1 and below it at "
    "pass@256."
)
RULE = "refuted if one of the three learning rates refutes it, supported if all support it, else undecided"
AMENDMENTS = (
    "At the quick size nothing was lost, and parts that compare two losses read 'refuted'. Where neither loss is above "
    "0.01 such a part is undecided now. At the standard size that changed one answer: of the strong entropy bonus.",
    "At the standard size the slow learning rate refuted the claim. Its train success had risen 2.4-fold only, and "
    "at that point of its training GRPO at the usual rate had lost nothing, either. So an arm with the slow rate and 3 "
    "times the updates was added, judged beside the claim: the rule and the outcome are as they were.",
    "The arms with 50 % of the prompts and with m = 61 were run and not told; they are told now.",
)


def arms(size: str) -> dict[str, Setting]:
    """GRPO at three learning rates, the remedies, and GRPO in other worlds."""
    updates, quick = UPDATES[size], size == "quick"
    large = {"modulus": 61 if quick else 97}

    def world(**options: float) -> Spec:
        return Spec("chain_reach", {**large, "train_share": SHARES["grpo"], **options})

    grpo = Setting(
        world=world(),
        policy=Spec("mlp", {"width": 64}),
        supervised=Supervised(steps=300 if quick else 600, demonstrator={"noise": 0.35}),
        learning=Learning(updates=updates, measure_every=updates // 12, learning_rate=RATES["grpo"]),
    )
    rates = {arm: grpo.with_learning(learning_rate=rate) for arm, rate in RATES.items()}
    rates["slow_long"] = rates["slow"].with_learning(updates=LONGER * updates, measure_every=updates // 4)
    remedies = {arm: replace(grpo, objective=objective) for arm, (_, objective) in REMEDIES.items()}
    ends_only = grpo.with_learning(measure_every=updates // 2)  # of the other worlds only start and end are judged
    shares = {a: replace(ends_only, world=world(train_share=share)) for a, share in SHARES.items() if a != "grpo"}
    sizes = {f"m{m}": replace(ends_only, world=world(modulus=m)) for m in (31, 61)}
    return rates | remedies | shares | sizes


# -- judging --------------------------------------------------------------------------------------------------------
def judge(records: Mapping[str, Records]) -> tuple[Verdict, list[Verdict]]:
    """The whole answer and its parts."""
    deciding = {arm: _narrows(records, arm) for arm in RATES}
    later = _narrows_later(records)
    found = "; ".join(
        f"at {rate:g} pass@1 {number(_gain(records[arm]).estimate, '+.3f')}, pass@256 "
        f"{number(-deciding[arm].estimate, '+.3f')} ({deciding[arm].outcome})"
        for arm, rate in RATES.items()
    )
    verdict = headline(
        CLAIM,
        parts=[*deciding.values()],
        shown=deciding["grpo"],
        rule=RULE,
        sentence=f"Held-out change from the base, by learning rate: {found}. At {RATES['slow']:g}, "
        f"but {LONGER} times as long: pass@256 {number(-later.estimate, '+.3f')} ({later.outcome}).",
        records=records,
    )
    shares = {arm: f"{share:.0%} trained on" for arm, share in SHARES.items()}
    beside = [
        later,
        _crosses_at_tens(records),
        _less_on_train(records),
        _grows_with(records, "The loss grows with the generalisation gap", shares),
        _grows_with(records, "The loss grows with the size of the world", WORLDS),
        _grows_with_training(records),
        _rate_matters(records),
        *(_helps(records, arm) for arm in REMEDIES),
    ]
    return verdict, [*deciding.values(), *beside]


def _gain(records: Records) -> Interval:
    return mean_interval(-loss(records, 1)[:, -1])


def _mean(values: Array, form: str = ".3f") -> str:
    return number(mean_of_found(values), form)


def _narrows(records: Mapping[str, Records], arm: str) -> Verdict:
    own = records[arm]
    gain, interval = _gain(own), mean_interval(loss(own)[:, -1])
    train = own["reward_train"]
    rise = mean_of_found(train[:, -1]) / mean_of_found(train[:, 0])
    outcome: Outcome = all_of([above(gain, 0.0), above(interval, MEANT)]) if rise >= TRAINED else "undecided"
    return Verdict(
        f"At learning rate {RATES[arm]:g}, GRPO's held-out pass@1 ends above the base's and its pass@256 below.",
        outcome,
        *interval,
        rule=f"gain in pass@1 above 0 and loss of pass@256 (shown) above {MEANT:g}: supported if both, refuted if one "
        f"lies below; undecided where train success did not rise {TRAINED:g}-fold.",
        sentence=f"Train success rose {number(rise, '.1f')}-fold; held-out pass@1 changed by "
        f"{number(gain.estimate, '+.3f')} [{number(gain.low, '+.3f')}, {number(gain.high, '+.3f')}], pass@256 by "
        f"{number(-interval.estimate, '+.3f')}; {_mean(own['lost_test'][:, -1], '.1%')} of the prompts "
        f"fell below 1 in 1000. {told_crossing(own)}.",
    )


def _narrows_later(records: Mapping[str, Records]) -> Verdict:
    """The slow rate with as much learning (rate times updates) as the usual one."""
    part = _narrows({"slow": records["slow_long"]}, "slow")
    usual, slow = (mean_of_found(losses) for losses in matched(records["grpo"], records["slow_long"]))
    return replace(
        part,
        claim=f"Trained {LONGER} times as long, GRPO narrows at learning rate {RATES['slow']:g}, too.",
        sentence=f"{part.sentence} At the same train success it has lost {number(slow, '.3f')}, and GRPO at the usual "
        f"rate {number(usual, '.3f')}.",
    )


def _crosses_at_tens(records: Mapping[str, Records]) -> Verdict:
    interval = typical(crossings(records["grpo"]))
    return Verdict(
        "The curves cross at tens of samples or more, as published.",
        within(interval, *TENS),
        *interval,
        rule=f"geometric mean of the crossing k, over the runs that cross: supported if the interval lies in "
        f"{TENS[0]:g} to {TENS[1]:g}, refuted if outside; beyond {KS[-1]} we cannot see.",
        sentence=f"{told_crossing(records['grpo'])}.",
    )


def _difference(claim: str, one: Array, other: Array, what: str, sentence: str) -> Verdict:
    """A part that is supported where one loss is larger than another, paired; undecided where neither is meant."""
    interval = mean_interval(one - other)
    at_stake = max(mean_of_found(one), mean_of_found(other)) > MEANT
    return Verdict(
        claim,
        above(interval, MEANT) if at_stake else "undecided",
        *interval,
        rule=f"loss of pass@256 {what}, paired: supported above {MEANT:g}, refuted below; undecided where neither loss "
        f"is above {MEANT:g}.",
        sentence=sentence,
    )


def _less_on_train(records: Mapping[str, Records]) -> Verdict:
    held_out, train = (loss(records["grpo"], split=split)[:, -1] for split in ("test", "train"))
    return _difference(
        "On the prompts that were trained on the loss is smaller.",
        held_out,
        train,
        "on held-out prompts less that on train prompts",
        f"Held-out {_mean(held_out)}, train {_mean(train)}; on train {told_crossing(records['grpo'], 'train')}.",
    )


def _grows_with(records: Mapping[str, Records], claim: str, names: Mapping[str, str]) -> Verdict:
    """The first of the arms against the last; all are told."""
    losses = {arm: loss(records[arm])[:, -1] for arm in names}
    told = []
    for arm, name in names.items():
        gap = mean_of_found((records[arm]["reward_train"] - records[arm]["reward_test"])[:, -1])
        told.append(f"{name}: loss {_mean(losses[arm])}, gap {number(gap)}, {told_crossing(records[arm])}")
    first, *_, last = names
    return _difference(
        f"{claim}.",
        losses[first],
        losses[last],
        f"with {names[first]} less that with {names[last]}",
        f"By {'; '.join(told)} (gap: train less held-out pass@1).",
    )


def _grows_with_training(records: Mapping[str, Records]) -> Verdict:
    losses, steps = loss(records["grpo"]), records["grpo"].steps["pass@256_test"]
    early = int(np.abs(steps - EARLY * steps[-1]).argmin())
    return _difference(
        "The loss grows as training goes on.",
        losses[:, -1],
        losses[:, early],
        f"at the end less that after {EARLY:.0%} of the updates",
        f"After {steps[early]} updates it is {_mean(losses[:, early])}, after {steps[-1]} {_mean(losses[:, -1])}.",
    )


def _rate_matters(records: Mapping[str, Records]) -> Verdict:
    fast, slow = matched(records["fast"], records["slow"])
    return _difference(
        "A larger learning rate loses more at the same train success.",
        fast,
        slow,
        f"at {RATES['fast']:g} less that at {RATES['slow']:g}, at matched train success",
        f"It has lost {_mean(fast)}, the slow one {_mean(slow)}.",
    )


def _helps(records: Mapping[str, Records], arm: str) -> Verdict:
    name, grpo, own = REMEDIES[arm][0], records["grpo"], records[arm]
    of_grpo, of_own = matched(grpo, own)
    ends = {k: mean_of_found((pass_at(own, k) - pass_at(grpo, k))[:, -1]) for k in (KS[0], KS[-1])}
    return _difference(
        f"{name} loses less than GRPO at the same train success.",
        of_grpo,
        of_own,
        "by GRPO less that by the remedy, at matched train success",
        f"It has lost {_mean(of_own)} there, GRPO {_mean(of_grpo)}. At the "
        f"end its held-out pass@1 is {number(ends[KS[0]], '+.3f')} and its pass@256 {number(ends[KS[-1]], '+.3f')} "
        f"against GRPO's; {told_crossing(own)}.",
    )


# -- drawing --------------------------------------------------------------------------------------------------------
BASE, RL = plotting.COLOURS[0], plotting.COLOURS[1]
SHOWN = 0.12  # of the loss along training: more leaves the panel
HELD_OUT, TRAIN = plotting.COLOURS[1], plotting.COLOURS[2]


def figure(records: Mapping[str, Records]) -> Figure:
    """pass@k of base and GRPO; what is lost at k = 256 by share of prompts trained on, and along training."""
    with plotting.panels(3, width=4.1, height=3.7) as (page, (curves, shares, paths)):
        _draw_curves(curves, records["grpo"])
        _draw_shares(shares, records)
        _draw_paths(paths, records)
    return page


def _draw_curves(axes: Axes, grpo: Records) -> None:
    for split, style in (("test", "-"), ("train", (0, (3, 2)))):
        values = np.stack([pass_at(grpo, k, split)[:, [0, -1]] for k in KS])  # [K, n, start and end]
        for i, colour in enumerate((BASE, RL)):
            plotting.mean_line(axes, np.array(KS), values[..., i].T, colour, linestyle=style)
    crossed = typical(crossings(grpo)).estimate
    if np.isfinite(crossed):
        axes.axvline(crossed, color="#777777", linewidth=0.9, linestyle=(0, (1, 2)), zorder=0)
        axes.text(crossed * 1.15, 0.02, f"base overtakes\nat k = {crossed:.0f}", fontsize=8, color="#555555")
    axes.set_xscale("log", base=4)
    axes.set(title="Base and GRPO", xlabel="samples k", ylabel="pass@k", ylim=(0, 1.03))
    axes.set_xticks(KS, [str(k) for k in KS])
    axes.text(0.04, 0.95, "GRPO", color=RL, transform=axes.transAxes, fontsize=9, fontweight="bold")
    axes.text(0.04, 0.88, "base", color=BASE, transform=axes.transAxes, fontsize=9, fontweight="bold")
    axes.text(0.04, 0.80, "solid: held-out\ndashed: train", transform=axes.transAxes, fontsize=8, va="top")


def _draw_shares(axes: Axes, records: Mapping[str, Records]) -> None:
    x = np.array([*SHARES.values()]) * 100
    for row, (split, colour) in enumerate((("test", HELD_OUT), ("train", TRAIN))):
        found = [loss(records[arm], split=split)[:, -1] for arm in SHARES]
        for place, values in zip(x, found, strict=True):
            axes.plot(np.full(len(values), place), values, "o", color=colour, markersize=3, alpha=0.3)
        means = [mean_interval(values) for values in found]
        bars = np.array([(m.estimate - m.low, m.high - m.estimate) for m in means]).T
        axes.errorbar(x, [m.estimate for m in means], bars, color=colour, marker="o", markersize=4, capsize=3)
        name = "held-out prompts" if split == "test" else "train prompts"
        axes.text(0.45, 0.9 - 0.09 * row, name, color=colour, transform=axes.transAxes, fontweight="bold")
    axes.axhline(0, color="#555555", linewidth=0.8, zorder=0)
    axes.set(title="Loss and generalisation", xlabel="share of prompts trained on (%)", ylabel="pass@256 lost")
    axes.set_xticks(x)


def _draw_paths(axes: Axes, records: Mapping[str, Records]) -> None:
    arms = ("grpo", "slow_long", "fast", *REMEDIES)
    names = {arm: f"GRPO, rate {rate:g}" for arm, rate in RATES.items()} | {
        a: name for a, (name, _) in REMEDIES.items()
    }
    names["slow_long"] = f"{names['slow']}, {LONGER}x updates"
    ends = {}
    for arm, colour in zip(arms, plotting.COLOURS, strict=True):
        x, y = (plotting.sound_mean(v) for v in (records[arm]["reward_train"], loss(records[arm])))
        axes.plot(x, y, "-", color=colour, marker=".", markersize=4)
        beyond = f" (to {y[-1]:.2f})" if y[-1] > SHOWN else ""
        ends[names[arm] + beyond] = (float(x[-1]), min(float(y[-1]), SHOWN), colour)
    axes.axhline(0, color="#555555", linewidth=0.8, zorder=0)
    axes.set(title="Along training", xlabel="train success", ylabel="held-out pass@256 lost", ylim=(-SHOWN / 20, SHOWN))
    plotting.label_ends(axes, ends)


STUDY = register(
    Study(
        name="pass_at_k_crossing",
        question="Does RL narrow what a policy can solve?",
        claim=CLAIM,
        source="arXiv 2504.13837; contested by 2505.24864",
        rule=RULE,
        amendments=AMENDMENTS,
        arms=arms,
        seeds={"quick": 3, "standard": 6, "full": 20},
        judge=judge,
        figure=figure,
        caption=(
            "Left: pass@k of base and GRPO (learning rate 1e-3), held-out and train prompts, a faint line for each "
            "seed. Middle: the base's pass@256 less GRPO's at the end, by share of prompts trained on, with 95 % "
            "intervals. Right: the same on held-out prompts along training, against train success, mean over seeds."
        ),
    )
)
