"""Does RL lose the ability, or only the access?

Question
    RL stops beginning solutions that the base still began. If it is handed the first step of one, can it finish?
Claim
    What is lost is access, not ability: handed the first step of an abandoned solution, the RL policy completes it no
    worse than its base did, and better than chance.
Source
    "Locked at the Entrance, Open Inside", arXiv 2608.29188 (known here from notes on it, not from the paper itself): on
    Countdown, giving a first step that the policy would not choose raises completion from 0.018 to 0.212.
Sweep
    ChainReach with an MLP; GRPO from its usual base, for a short and a long time, and long at three times the learning
    rate; long in a harder world (m = 61, 30 % of the prompts trained on). There the policy sees the value that it has
    reached and not how it came there: what follows an abandoned first step is also practised from other starts, so
    that ability could hardly be lost. So also a world in which it sees its own tokens instead (m = 13, chains of 3):
    nothing else leads to where an abandoned step leads; also at three times the learning rate, and at that for three
    times as long. Its base learns the train prompts by heart and nothing about held-out ones, so only the former are
    judged there. Controls: an entropy bonus, NSR, and RAFT (supervised
    fine-tuning on its own right responses).
Measure
    The probe ``first_steps``, exact. A first token is abandoned if the base gave it at least half of the uniform
    probability, some right response begins with it, and the policy now gives it less than a tenth of what the base
    did; the other ones that the base used are kept. Completion: the chance of a right response once the first token
    is given, mean over such tokens of up to 256 prompts; by the policy, by its base on the same tokens, and by
    uniformly random tokens.
Rule of judgement
    Written before the first run of this file. Decided by 95 % intervals over seeds, paired. In each condition:
    supported if the completion of abandoned steps by RL less that by the base lies above -0.05, and less that by
    random tokens above 0.05; refuted if either lies below: then the ability is lost, too. As a whole: refuted if one
    condition of plain GRPO refutes, supported if all support, else undecided. Kept steps and the controls are judged
    beside it.
    What was changed after a result had been seen stands in AMENDMENTS, and in every report.
What a student should see
    GRPO gives up almost half of the first steps that its base used, and when it is handed one of them it completes it
    three times as often as the base (0.56 against 0.18 on held-out prompts), as well as those it kept; an entropy bonus
    or RAFT gives up far fewer and succeeds no less. But there the rest is practised from other starts: where it is
    not, abandoned steps gain little (0.17 to 0.25) while kept ones gain much (0.31 to 0.89). And with fast and long
    training they fall below the base's 0.17, to 0.14, where chance is 0.08: within the margin of the rule, so access
    goes first, and the ability after it, slowly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from toybed import plotting
from toybed.agents.config import Learning, Setting, Spec, Supervised
from toybed.stats import mean_interval, mean_of_found
from toybed.study import Outcome, Records, Study, Verdict, above, all_of, below, headline, number, register, tally

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.float64]

NOT_WORSE = -0.05  # completion less the base's: above this it is still there
ABOVE_CHANCE = 0.05  # completion less that of random tokens
TAUGHT_LESS = 0.05  # what kept steps gain more than abandoned ones
FEWER = 0.02  # of the used first steps
FAR = 3  # times the updates, in the world of histories
ENOUGH = 0.01  # of the used first steps: fewer abandoned ones are too few to judge

CONDITIONS = {
    ("short", "train"): "short training, train prompts",
    ("short", "test"): "short training, held-out prompts",
    ("grpo", "train"): "long training, train prompts",
    ("grpo", "test"): "long training, held-out prompts",
    ("fast", "train"): "three times the learning rate, train prompts",
    ("fast", "test"): "three times the learning rate, held-out prompts",
    ("hard", "train"): "the harder world, train prompts",
    ("hard", "test"): "the harder world, held-out prompts",
    ("history", "train"): "the world of histories, train prompts",
    ("history_fast", "train"): "the world of histories at three times the learning rate, train prompts",
    ("history_far", "train"): "the world of histories at three times the learning rate and length, train prompts",
}
CONTROLS = {
    "bonus": ("An entropy bonus", Spec("grpo", {"entropy_coefficient": 0.05})),
    "nsr": ("NSR", Spec("nsr")),
    "raft": ("RAFT", Spec("raft")),
}
UPDATES = {"quick": (80, 100), "standard": (100, 240), "full": (100, 480)}  # short and long

CLAIM = (
    "What is lost is access, not ability: handed the first step of an abandoned solution, the RL policy completes it "
    "no worse than its base did, and better than chance."
)
RULE = (
    "refuted if one condition of plain GRPO refutes it (ability is lost, too), supported if all do, else undecided; "
    "shown is the condition in which least is left"
)
AMENDMENTS = (
    "Short training was 50 updates at the standard size, in which 0.3 % of the first steps were abandoned: too few to "
    "judge, though they came out as supported. It is 100 updates now (quick: 80, and 100 for long), and where less "
    "than 1 % are abandoned a condition decides nothing.",
    "The world of histories turned out to be the only one in which abandoned steps gain less than kept ones. So "
    "it was added at three times the learning rate, too, among the conditions that decide. A look at longer runs there "
    "showed a loss, so three times as long was added in the same way, and a part, beside the claim, on whether what is "
    "abandoned is unlearnt with time. The margin of 0.05 was kept; there it is half of what the base has above chance.",
    "The estimate shown with the whole answer is that of the condition in which least is left; it was that of long "
    "training on held-out prompts.",
)


def arms(size: str) -> dict[str, Setting]:
    """GRPO by length, learning rate and world, and the controls."""
    short, long = UPDATES[size]
    demonstrator = {"noise": 0.35}
    grpo = Setting(
        policy=Spec("mlp", {"width": 64}),
        supervised=Supervised(demonstrator=demonstrator),
        learning=Learning(updates=long, prompts=16, measure_every=long // 4),
        probes=("first_steps",),
    )
    conditions = {
        "grpo": grpo,
        "short": grpo.with_learning(updates=short),
        "fast": grpo.with_learning(learning_rate=3 * grpo.learning.learning_rate),
        "hard": replace(grpo, world=Spec("chain_reach", {"modulus": 61, "train_share": 0.3})),
        "history": replace(
            grpo,
            world=Spec("chain_reach", {"modulus": 13, "length": 3, "view": "tokens"}),
            supervised=Supervised(steps=1000, demonstrator=demonstrator),
        ),
    }
    conditions["history_fast"] = replace(conditions["history"], learning=conditions["fast"].learning)
    conditions["history_far"] = conditions["history_fast"].with_learning(updates=FAR * long)
    return conditions | {arm: replace(grpo, objective=objective) for arm, (_, objective) in CONTROLS.items()}


# -- what is measured -----------------------------------------------------------------------------------------------
def completion(records: Records, which: str, split: str, who: str = "") -> Array:
    """Chance of a right response once a first step is given, at the end of each run, ``[n]``; NaN where there is none.

    Args:
        records: of an arm.
        which: "abandoned" or "kept" first steps.
        split: "train" or "test".
        who: "" the policy, "_start" its base, "_random" uniformly random tokens.
    """
    return records[f"completion_{which}{who}_{split}"][:, -1]


def gain(records: Records, which: str, split: str) -> Array:
    """Completion by the policy less that by its base, of the same first steps, ``[n]``."""
    return completion(records, which, split) - completion(records, which, split, "_start")


def abandoned(records: Records, split: str) -> Array:
    """Share of the used first steps that are abandoned at the end, ``[n]``."""
    return records[f"abandoned_{split}"][:, -1]


# -- judging --------------------------------------------------------------------------------------------------------
def judge(records: Mapping[str, Records]) -> tuple[Verdict, list[Verdict]]:
    """The whole answer and its parts."""
    parts = {condition: _still_able(records, *condition) for condition in CONDITIONS}
    listed = [*parts.values()]
    lost = [CONDITIONS[c] for c, part in parts.items() if part.outcome == "refuted"]
    least = min(parts, key=lambda condition: np.nan_to_num(parts[condition].estimate, nan=np.inf))
    told = "; ".join(
        f"{CONDITIONS[arm, split]}: {_told(records[arm], 'abandoned', split)}"
        for arm, split in dict.fromkeys([("grpo", "test"), least])
    )
    verdict = headline(
        CLAIM,
        parts=listed,
        shown=parts[least],
        rule=RULE,
        sentence=f"Of {len(listed)} conditions: {tally(listed)}. The ability is lost, too, with: "
        f"{'; '.join(lost) or 'none'}. Completion of abandoned steps, {told}.",
        records=records,
    )
    beside = [
        _taught_less(records, "grpo", "test"),
        _taught_less(records, "history", "train"),
        _unlearnt(records),
        *(_abandons_fewer(records, arm) for arm in CONTROLS),
    ]
    return verdict, listed + beside


def _told(records: Records, which: str, split: str) -> str:
    """Completion by base, policy and random tokens, in words."""
    base, now, chance = (mean_of_found(completion(records, which, split, w)) for w in ("_start", "", "_random"))
    return f"base {number(base)}, now {number(now)}, random {number(chance)}"


def _still_able(records: Mapping[str, Records], arm: str, split: str) -> Verdict:
    own = records[arm]
    interval = mean_interval(gain(own, "abandoned", split))
    chance = mean_interval(completion(own, "abandoned", split) - completion(own, "abandoned", split, "_random"))
    share = mean_of_found(abandoned(own, split))
    outcome: Outcome = all_of([above(interval, NOT_WORSE), above(chance, ABOVE_CHANCE)])
    return Verdict(
        f"GRPO still completes what it abandoned: {CONDITIONS[arm, split]}.",
        outcome if share >= ENOUGH else "undecided",
        *interval,
        rule=f"completion of abandoned first steps by RL less that by the base (shown) above {NOT_WORSE:g}, and less "
        f"that by random tokens above {ABOVE_CHANCE:g}: supported if both, refuted if one lies below; undecided "
        f"where less than {ENOUGH:.0%} are abandoned.",
        sentence=f"{number(share, '.1%')} of the used first steps are abandoned. Their "
        f"completion: {_told(own, 'abandoned', split)}; of kept ones: {_told(own, 'kept', split)}.",
    )


def _taught_less(records: Mapping[str, Records], arm: str, split: str) -> Verdict:
    kept, given_up = (gain(records[arm], which, split) for which in ("kept", "abandoned"))
    interval = mean_interval(kept - given_up)
    return Verdict(
        f"What RL teaches reaches kept first steps more than abandoned ones: {CONDITIONS[arm, split]}.",
        above(interval, TAUGHT_LESS),
        *interval,
        rule=f"gain in completion of kept first steps less that of abandoned ones: supported above {TAUGHT_LESS:g}, "
        "refuted below.",
        sentence=f"Kept ones gain {number(mean_of_found(kept), '+.2f')}, abandoned ones "
        f"{number(mean_of_found(given_up), '+.2f')}.",
    )


def _unlearnt(records: Mapping[str, Records]) -> Verdict:
    early, late = (gain(records[arm], "abandoned", "train") for arm in ("history_fast", "history_far"))
    interval = mean_interval(late - early)
    return Verdict(
        "Where no other prompt practises it, what is abandoned is unlearnt with time.",
        below(interval, 0.0),
        *interval,
        rule=f"completion of abandoned first steps less the base's, after {FAR} times the updates less after the usual "
        "number, in the world of histories at three times the learning rate: supported below 0, refuted above.",
        sentence=f"Against the base it goes from {number(mean_of_found(early), '+.3f')} to "
        f"{number(mean_of_found(late), '+.3f')}.",
    )


def _abandons_fewer(records: Mapping[str, Records], arm: str) -> Verdict:
    own = records[arm]
    interval = mean_interval(abandoned(records["grpo"], "test") - abandoned(own, "test"))
    return Verdict(
        f"{CONTROLS[arm][0]} abandons fewer first steps than GRPO.",
        above(interval, FEWER),
        *interval,
        rule=f"share abandoned by GRPO less its own, held-out prompts, long training, paired: supported above "
        f"{FEWER:g}, refuted below.",
        sentence=f"It abandons {number(mean_of_found(abandoned(own, 'test')), '.0%')}, GRPO "
        f"{number(mean_of_found(abandoned(records['grpo'], 'test')), '.0%')}. Completion of what it abandons: "
        f"{_told(own, 'abandoned', 'test')}. Held-out success {number(mean_of_found(own['reward_test'][:, -1]))}, "
        f"GRPO's {number(mean_of_found(records['grpo']['reward_test'][:, -1]))}.",
    )


# -- drawing --------------------------------------------------------------------------------------------------------
BASE, RL, CHANCE = plotting.COLOURS[0], plotting.COLOURS[1], plotting.COLOURS[7]
SHORT_NAMES = {
    "short": "GRPO, short",
    "grpo": "GRPO, long",
    "fast": "GRPO, fast",
    "hard": "GRPO, harder world",
    "history": "GRPO, histories",
    "history_fast": "GRPO, histories, fast",
    "history_far": "GRPO, histories, fast, 3x",
    "bonus": "entropy bonus",
    "nsr": "NSR",
    "raft": "RAFT",
}
ROWS = [*CONDITIONS, *((arm, "test") for arm in CONTROLS)]


def figure(records: Mapping[str, Records]) -> Figure:
    """Completion by base, RL and random tokens, of abandoned and of kept first steps, by condition."""
    with plotting.panels(2, width=5.2, height=4.6) as (page, axes):
        for each, which in zip(axes, ("abandoned", "kept"), strict=True):
            _draw_rows(each, records, which)
            each.set(title=f"{which.capitalize()} first steps", xlabel="chance of completion")
        axes[0].set_yticks([-float(i) for i in range(len(ROWS))], [_row_name(records, *row) for row in ROWS])
        axes[1].set_yticks([-float(i) for i in range(len(ROWS))], [])
    return page


def _row_name(records: Mapping[str, Records], arm: str, split: str) -> str:
    share = number(mean_of_found(abandoned(records[arm], split)), ".0%")
    return f"{SHORT_NAMES[arm]}, {'train' if split == 'train' else 'held-out'} ({share})"


def _draw_rows(axes: Axes, records: Mapping[str, Records], which: str) -> None:
    for i, (arm, split) in enumerate(ROWS):
        base, now, chance = (completion(records[arm], which, split, who) for who in ("_start", "", "_random"))
        axes.plot(now, np.full(len(now), -i), "o", color=RL, markersize=3, alpha=0.3, markeredgewidth=0)
        means = [mean_of_found(values) for values in (base, now, chance)]
        if not np.isfinite(means).all():
            axes.text(0.5, -i, "none", fontsize=8, va="center", color="#777777")
            continue
        axes.plot(means[:2], [-i, -i], color=RL, linewidth=1.2)
        axes.plot(means[0], -i, "o", color=BASE, markersize=5)
        axes.plot(means[1], -i, "o", color=RL, markersize=5)
        axes.plot(means[2], -i, "|", color=CHANCE, markersize=9, markeredgewidth=2)
        if i == 0:
            for text, x, colour in zip(("base", "RL"), means, (BASE, RL), strict=False):
                axes.text(x, 0.5, text, color=colour, fontsize=8, ha="center")
            axes.text(0.005, 0.5, "random", color="#777777", fontsize=8)
    axes.axhline(-len(CONDITIONS) + 0.5, color="#777777", linewidth=0.8)
    axes.set(xlim=(0, 1), ylim=(-len(ROWS) + 0.4, 1.1))
    axes.grid(axis="y", visible=False)


STUDY = register(
    Study(
        name="access_or_ability",
        question="Does RL lose the ability, or only the access?",
        claim=CLAIM,
        source="arXiv 2608.29188",
        rule=RULE,
        amendments=AMENDMENTS,
        arms=arms,
        seeds={"quick": 3, "standard": 8, "full": 20},
        judge=judge,
        figure=figure,
        caption=(
            "The chance of a right response once the first step is given, by the base (black) and by the policy after "
            "RL (blue, faint dots for seeds), for first steps that RL gave up (left) and kept "
            "(right); grey bar: random tokens. In brackets the share of the base's first steps that are abandoned."
        ),
    )
)
