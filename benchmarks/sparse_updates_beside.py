"""What ``sparse_updates`` judges beside its claim: SFT at equal steps, ranks, overlaps, subnetworks, and more."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from toybed.benchmarks.sparse_updates_measures import (
    BF16,
    Array,
    alike,
    changed_at_gain,
    gain,
    off_the_curve,
    overlaps,
    part_of,
    share,
    within_reach,
)
from toybed.benchmarks.sparse_updates_sweep import DECAY, FAST, OTHER, PURE_RATE, PURE_RATES, RL, SLOW, SUBNETWORKS
from toybed.stats import Interval, mean_interval, mean_of_found
from toybed.study import Outcome, Records, Verdict, above, all_of, below, number, within

SAME = 0.05  # between changed shares
FULL_RANK, SAME_RANK = 0.95, 0.02
FAR_BELOW, LOWER = 0.5, 0.05  # of the effective rank
HALF = 0.5  # of the weights: what changed more has little to differ in
BEYOND_CHANCE = 1.2  # times the overlap of chance
RECOVERED = 0.9  # of the gain
RANKS = ("rank", "effective_rank", "top_energy")


def beside(records: Mapping[str, Records]) -> list[Verdict]:
    """The parts that do not decide."""
    return [
        _sparser(records, "grpo", "sft", f"at equal rate ({SLOW:g}) and steps"),
        _sparser(records, "pure", "pure_sft", f"in pure bf16, at equal rate ({PURE_RATE:g}) and steps"),
        _sparser_at_gain(records, "grpo", "sft", f"at equal gain in reward (rate {SLOW:g})"),
        _sparser_at_gain(records, "pure", "pure_sft", f"at equal gain in reward (pure bf16, rate {PURE_RATE:g})"),
        _as_sparse(records, "sft_habit", "SFT on data of the base's own kind"),
        _as_sparse(records, "raft", "SFT on its own right responses (RAFT)"),
        _tolerance(records),
        _optimiser(records, "sgd", "SGD"),
        _optimiser(records, "adamw", f"AdamW with a decay of {DECAY:g}"),
        _wider(records),
        _longer(records),
        _pure_learns(records),
        _within_reach(records),
        *(part for arm in ("grpo", "pure") for part in _ranks(records, arm)),
        *_overlaps(records),
        *(part for prefix in ("", "pure_") for part in _subnetworks(records, prefix)),
    ]


# -- RL and SFT ---------------------------------------------------------------------------------------------
def _sparser(records: Mapping[str, Records], rl: str, sft: str, where: str) -> Verdict:
    interval = mean_interval(records[sft].at(BF16, -1) - records[rl].at(BF16, -1))
    return Verdict(
        f"RL leaves more weights unchanged than SFT: {where}.",
        above(interval, 0.0),
        *interval,
        rule="changed share in bf16 of SFT on the solver less that of GRPO: supported above 0, refuted below.",
        sentence=f"SFT changes {share(records[sft], BF16)} for a gain of "
        f"{number(mean_of_found(gain(records[sft])), '.4f')}, GRPO {share(records[rl], BF16)} for "
        f"{number(mean_of_found(gain(records[rl])), '.4f')}.",
    )


def _sparser_at_gain(records: Mapping[str, Records], rl: str, sft: str, where: str) -> Verdict:
    wanted = np.fmin(gain(records[rl]), gain(records[sft]))
    shares = [changed_at_gain(records[arm], wanted) for arm in (sft, rl)]
    interval = mean_interval(shares[0] - shares[1])
    return Verdict(
        f"RL leaves more weights unchanged than SFT: {where}.",
        above(interval, 0.0),
        *interval,
        rule="the same, each when it first has the gain that both have in the end: supported above 0, refuted below.",
        sentence=f"At a gain of {number(mean_of_found(wanted), '.4f')} SFT has changed "
        f"{number(mean_of_found(shares[0]), '.1%')}, GRPO {number(mean_of_found(shares[1]), '.1%')}.",
    )


def _as_sparse(records: Mapping[str, Records], arm: str, who: str) -> Verdict:
    interval = mean_interval(records[arm].at(BF16, -1) - records["grpo"].at(BF16, -1))
    return Verdict(
        f"{who} is at least as sparse as GRPO.",
        below(interval, SAME),
        *interval,
        rule=f"changed share in bf16 less that of GRPO, at the rate {SLOW:g}: supported below {SAME:g}, refuted above.",
        sentence=f"It changes {share(records[arm], BF16)}, SFT on the solver {share(records['sft'], BF16)}.",
    )


# -- tolerance, optimiser, width, learning -------------------------------------------------------------------
def _tolerance(records: Mapping[str, Records]) -> Verdict:
    own = records["grpo"]
    interval = mean_interval(own.at("changed_tolerance", -1) - own.at(BF16, -1))
    opposite: dict[Outcome, Outcome] = {"supported": "refuted", "refuted": "supported", "undecided": "undecided"}
    differs = opposite[within(interval, -SAME, SAME)]
    return Verdict(
        "A tolerance of 1e-5 on float32 weights does not say what changes in bf16.",
        differs,
        *interval,
        rule=f"share beyond the tolerance less the changed share in bf16, GRPO at {SLOW:g}: supported where they "
        f"differ by more than {SAME:g}, refuted where by less.",
        sentence=f"{share(own, 'changed_tolerance')} move by more than 1e-5, {share(own, 'changed_relative')} by more "
        f"than 0.001 of themselves, {share(own, BF16)} change in bf16 ({share(own, 'changed_bf16_tolerance')} "
        "by more than 1e-5, as the paper counts).",
    )


def _optimiser(records: Mapping[str, Records], arm: str, name: str) -> Verdict:
    interval = mean_interval(off_the_curve(records, arm))
    return Verdict(
        f"{name} changes as many weights as Adam at the same size of update.",
        within(interval, -SAME, SAME),
        *interval,
        rule=f"changed share less that of GRPO's curve with Adam over the update's size: supported within {SAME:g}, "
        "refuted outside.",
        sentence=f"It changes {share(records[arm], BF16)} in bf16, {share(records[arm], 'changed_fp32')} in float32.",
    )


def _wider(records: Mapping[str, Records]) -> Verdict:
    narrow, wide = records["narrow"], records["wide"]
    interval = mean_interval(wide.at(BF16, -1) - narrow.at(BF16, -1))
    return Verdict(
        "At the same rate and steps a wider network changes a larger share of its weights.",
        above(interval, 0.0),
        *interval,
        rule="changed share in bf16 of the widest less that of the narrowest: supported above 0, refuted below.",
        sentence=f"{_width(wide)} units: {share(wide, BF16)}; {_width(records['grpo'])}: "
        f"{share(records['grpo'], BF16)}; {_width(narrow)}: {share(narrow, BF16)}. Wider layers have smaller weights.",
    )


def _longer(records: Mapping[str, Records]) -> Verdict:
    own = records["grpo"]
    early, last = own.at(BF16, 1), own.at(BF16, -1)
    interval = mean_interval(last - early)
    return Verdict(
        "At the same rate more steps change more weights.",
        above(interval, SAME),
        *interval,
        rule=f"changed share in bf16 at the end less that after a sixth of the updates, GRPO at {SLOW:g}: supported "
        f"above {SAME:g}, refuted below.",
        sentence=f"{number(mean_of_found(early), '.1%')}, then {number(mean_of_found(last), '.1%')}.",
    )


def _width(records: Records) -> str:
    return "?" if records.setting is None else str(records.setting.policy.options["width"])


def _pure_learns(records: Mapping[str, Records]) -> Verdict:
    master, pure = gain(records["grpo"]), gain(records["pure_slow"])
    interval = part_of(pure, master, 0.5)
    return Verdict(
        "At a rate that leaves most weights unchanged in bf16, float32 masters learn and pure bf16 does not.",
        below(interval, 0.5),
        *interval,
        rule=f"gain in reward in pure bf16 as a share of that with float32 masters, at the rate {SLOW:g}: supported "
        "below 0.5, refuted above.",
        sentence=f"Gains {number(mean_of_found(pure), '.4f')} and {number(mean_of_found(master), '.4f')}; pure bf16 "
        f"changes {share(records['pure_slow'], BF16)}, and at {FAST:g} {share(records['pure_fast'], BF16)}.",
    )


def _within_reach(records: Mapping[str, Records]) -> Verdict:
    rates = {**PURE_RATES, "pure": PURE_RATE}
    base = records["grpo"]
    shares = {arm: within_reach(base, rate) for arm, rate in rates.items()}
    intervals = {arm: mean_interval(records[arm].at(BF16, -1) - each) for arm, each in shares.items()}
    worst = max(intervals, key=lambda arm: np.nan_to_num(abs(intervals[arm].estimate), nan=-1))
    told = (
        f"{rate:g}: {share(records[arm], BF16)} changed, {number(mean_of_found(shares[arm]), '.1%')} within reach"
        for arm, rate in sorted(rates.items(), key=lambda item: item[1])
    )
    return Verdict(
        "In pure bf16 the weights change that one step of the learning rate can move.",
        all_of([within(interval, -SAME, SAME) for interval in intervals.values()]),
        *intervals[worst],
        rule=f"changed share less that of the weights of which half a spacing is no more than the rate, at "
        f"{len(rates)} rates: supported if all lie within {SAME:g}, refuted if one lies outside; shown is the "
        "farthest.",
        sentence="; ".join(told) + ".",
    )


# -- rank ----------------------------------------------------------------------------------------------------
def _ranks(records: Mapping[str, Records], arm: str) -> list[Verdict]:
    own = records[arm]
    rank, effective, top = (own.at(f"{name}_bf16", -1) for name in RANKS)
    shuffled_rank, shuffled_effective, shuffled_top = (own.at(f"shuffled_{name}_bf16", -1) for name in RANKS)
    told = (
        f"{share(own, BF16)} of the weights changed. Rank {_mean(rank)}, shuffled {_mean(shuffled_rank)}; effective "
        f"rank {_mean(effective)}, shuffled {_mean(shuffled_effective)}; energy in the largest tenth of the singular "
        f"values {_mean(top)}, shuffled {_mean(shuffled_top)}."
    )
    update = f"GRPO's update, {'in pure bf16' if arm == 'pure' else 'rounded to bf16'},"

    def verdict(claim: str, value: Array, what: str, side: Callable[[Interval, float], Outcome], at: float) -> Verdict:
        interval = mean_interval(value)
        rule = f"{what}, mean over matrices: supported {side.__name__} {at:g}, refuted on the other side."
        return Verdict(f"{update} {claim}.", side(interval, at), *interval, rule=rule, sentence=told)

    lower, more = shuffled_effective - effective, rank - shuffled_rank
    places = "the same entries in shuffled places"
    return [
        verdict("is of full rank", rank, "rank over full rank", above, FULL_RANK),
        verdict(f"has no more rank than {places}", more, "rank less that of a shuffled support", below, SAME_RANK),
        verdict("has an effective rank far below the full one", effective, "effective rank", below, FAR_BELOW),
        verdict(
            f"has a lower effective rank than {places}", lower, "that of a shuffled support less its own", above, LOWER
        ),
    ]


def _mean(values: Array) -> str:
    return number(mean_of_found(values))


# -- overlap -------------------------------------------------------------------------------------------------
def _overlaps(records: Mapping[str, Records]) -> list[Verdict]:
    slow, pure = f"float32 masters, rate {SLOW:g}", f"pure bf16, rate {PURE_RATE:g}"
    other = RL[OTHER]
    return [
        _overlap(records, "again", "grpo", f"from other random numbers ({slow})"),
        _overlap(records, "other_half", "half", f"from other prompts ({slow})"),
        _overlap(records, OTHER, "grpo", f"by {other} from the same random numbers ({slow})"),
        _overlap(records, "all_other", "half", f"by {other} from other prompts and random numbers ({slow})"),
        _overlap(records, "sft", "grpo", f"by SFT ({slow})"),
        _overlap(records, "again", "grpo", f"from other random numbers ({slow})", by_exponent=True),
        _overlap(records, "pure_again", "pure", f"from other random numbers ({pure})"),
        _overlap(records, "pure_other_half", "pure_half", f"from other prompts ({pure})"),
        _overlap(records, "pure_all_other", "pure_half", f"by {other} from other prompts and random numbers ({pure})"),
        _overlap(records, "pure_sft", "pure", f"by SFT ({pure})"),
        _overlap(records, "pure_again", "pure", f"from other random numbers ({pure})", by_exponent=True),
    ]


def _overlap(
    records: Mapping[str, Records], first: str, second: str, what: str, *, by_exponent: bool = False
) -> Verdict:
    found = overlaps(records[first], records[second], by_exponent=by_exponent)
    stricter = mean_of_found(overlaps(records[first], records[second], by_exponent=True)["ratio"])
    interval = mean_interval(found["ratio"])
    density = mean_of_found(found["density"])
    known = "tensor and spacing of bf16" if by_exponent else "tensor"
    beyond = ", beyond what small weights explain" if by_exponent else ""
    return Verdict(
        f"The same weights change {what}{beyond}.",
        above(interval, BEYOND_CHANCE) if density < HALF else "undecided",
        *interval,
        rule=f"one-sided overlap in bf16 over that of chance, which knows each weight's {known}: supported above "
        f"{BEYOND_CHANCE:g}, refuted below; undecided where one of the two changed half of the weights or more.",
        sentence=f"Overlap {number(mean_of_found(found['one_sided']), '.1%')}, by chance "
        f"{number(mean_of_found(found['chance']), '.1%')}; at most {number(density, '.1%')} changed. Jaccard "
        f"{_mean(found['jaccard'])} against {_mean(found['jaccard_chance'])}. Times the chance that knows each "
        f"weight's spacing: {number(stricter)}.",
    )


# -- the subnetwork alone --------------------------------------------------------------------------------------
def _subnetworks(records: Mapping[str, Records], prefix: str) -> list[Verdict]:
    full = records["pure" if prefix else "grpo"]
    where = f"pure bf16, rate {PURE_RATE:g}" if prefix else f"float32 masters, rate {SLOW:g}"
    won = {part: gain(records[prefix + part]) for part in SUBNETWORKS}
    recovered = part_of(won["changed"], gain(full), RECOVERED)
    shares = ", ".join(
        f"{name} {number(part_of(won[part], gain(full), RECOVERED).estimate, '.0%')}"
        for part, name in (
            ("changed", "the subnetwork"),
            ("shuffled", "a shuffled one"),
            ("matched", "a matched one"),
            ("unchanged", "all the rest"),
        )
    )
    same = mean_of_found(alike(records[f"{prefix}changed"], full))
    told = (
        f"The full run gains {number(mean_of_found(gain(full)), '.4f')} and changes {share(full, BF16)}. Of its gain: "
        f"{shares}. The subnetwork's run ends with {number(same, '.1%')} of the full run's weights, in bf16."
    )
    return [
        Verdict(
            f"Training only the subnetwork recovers the full run ({where}).",
            above(recovered, RECOVERED),
            *recovered,
            rule=f"gain in reward of the subnetwork's run, with the same random numbers, as a share of the full run's: "
            f"supported above {RECOVERED:g}, refuted below.",
            sentence=told,
        ),
        *(
            _more_than(won["changed"], won[other], gain(full), f"{what} ({where})", told)
            for other, what in OTHERS.items()
        ),
    ]


OTHERS = {
    "shuffled": "as many weights in shuffled places of each tensor",
    "matched": "as many weights of the same tensor and spacing of bf16",
}


def _more_than(own: Array, other: Array, full: Array, what: str, told: str) -> Verdict:
    more = part_of(own - other, full, 0.0)
    return Verdict(
        f"The subnetwork learns more than {what}.",
        above(more, 0.0),
        *more,
        rule="gain of the subnetwork's run less that of the other's, as a share of the full run's: supported above 0, "
        "refuted below.",
        sentence=told,
    )
