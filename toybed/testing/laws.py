"""The laws: properties of a policy-gradient objective, each checked on one case."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from toybed.objectives.batch import Batch
from toybed.testing.cases import ADVANTAGE, SEED, Case, LawBroken, Subject, record_loss

EXACT = 1e-9  # float64 sums of at most a hundred terms of size below 1e3 round by less


@dataclass(frozen=True)
class Law:
    """A property that is checked on one case.

    Attributes:
        name: a word for tables.
        statement: the property as a sentence.
        check: raises :class:`LawBroken` where it does not hold.
        applies: to which subjects; by default to all.
        breaks: rows of the catalogue that break it on purpose (a test holds that they do).
    """

    name: str
    statement: str
    check: Callable[[Subject, Case], None]
    applies: Callable[[Subject], bool] = lambda subject: True
    breaks: tuple[str, ...] = ()


def _close(seen: Tensor, expected: Tensor, what: str) -> None:
    if not torch.allclose(seen, expected, rtol=EXACT, atol=EXACT):
        worst = (seen - expected).abs().argmax()
        raise LawBroken(
            f"{what}: gradient {float(seen.flatten()[worst]):.6g} where {float(expected.flatten()[worst]):.6g} was "
            f"expected, at token {int(worst)} of the flattened batch"
        )


def _finite(subject: Subject, case: Case) -> None:
    for name, shift in (("", 0.0), (" at a ratio of exp(40)", 40.0), (" at a ratio of exp(-40)", -40.0)):
        gradient = subject.gradient(replace(case, log_prob=case.log_prob + shift))
        if not torch.isfinite(gradient).all():
            raise LawBroken(f"a gradient is not finite{name}: is something divided by zero, or infinity times zero?")


def _pure(subject: Subject, case: Case) -> None:
    before = [x.clone() for x in vars(case.batch).values() if x is not None]
    state = torch.random.get_rng_state()
    first = subject.gradient(case)
    if not torch.equal(state, torch.random.get_rng_state()):
        raise LawBroken("it draws from torch's global generator: take a generator as an argument instead")
    if not all(
        torch.equal(a, b) for a, b in zip(before, [x for x in vars(case.batch).values() if x is not None], strict=True)
    ):
        raise LawBroken("it changes its inputs in place: a second epoch over the same batch would see other numbers")
    if not torch.equal(first, subject.gradient(case)):
        raise LawBroken("called twice on the same batch, it gives two different gradients: it keeps a state")


def _padding_content(subject: Subject, case: Case) -> None:
    mask = case.batch.mask
    garbage = torch.where(mask, case.log_prob, -77.0)
    dirty = replace(case.batch, log_prob_old=torch.where(mask, case.batch.log_prob_old, -3.0))
    seen = subject.gradient(replace(case, batch=dirty, log_prob=garbage))
    if bool((seen[~mask] != 0).any()):
        raise LawBroken("padding gets a gradient: multiply or select by the mask before averaging")
    _close(seen[mask], subject.gradient(case)[mask], "what stands in the padding changes the gradient of real tokens")


def _mapped(case: Case, change: Callable[[Tensor], Tensor], least: int = 1) -> Case:
    """The case with every tensor changed that has at least ``least`` axes: 3 for those of tokens, 1 for all."""
    fields: dict[str, Any] = {
        # The third axis of a reward is not one of tokens.
        name: value if value is None or min(value.ndim, 2 if name == "reward" else 3) < least else change(value)
        for name, value in vars(case.batch).items()
    }
    return replace(case, batch=Batch(**fields), log_prob=change(case.log_prob), entropy=change(case.entropy))


def _padding_length(subject: Subject, case: Case) -> None:
    def longer(value: Tensor) -> Tensor:
        return torch.cat([value, torch.zeros_like(value[..., :1])], -1)

    seen = subject.gradient(_mapped(case, longer, least=3))[..., :-1]
    _close(seen, subject.gradient(case), "one more column of padding changes the gradient (is the denominator T?)")


def _order(subject: Subject, case: Case) -> None:
    expected = subject.gradient(case)
    # Backwards too: most orders of a few responses are near the identity, and that one is never.
    backwards = tuple(torch.arange(n).flip(0) for n in case.log_prob.shape[:2])
    for order in (case.order, backwards):
        seen = subject.gradient(_mapped(case, partial(_reordered, order=order)))
        prompts, responses = (x.tolist() for x in order)
        _close(
            _reordered(seen, [x.argsort() for x in order]),
            expected,
            f"with prompts in the order {prompts} and responses in the order {responses} the same token gets another "
            "gradient",
        )


def _reordered(value: Tensor, order: Sequence[Tensor]) -> Tensor:
    """Prompts and responses in another order: entry i is the one that stood at ``order[i]``."""
    prompts, responses = order
    return value[prompts][:, responses] if value.ndim > 1 else value[prompts]


def _twice(subject: Subject, case: Case) -> None:
    def doubled(value: Tensor) -> Tensor:
        return torch.cat([value, value])

    seen = subject.gradient(_mapped(case, doubled))
    prompts = len(case.log_prob)
    _close(
        seen[:prompts] + seen[prompts:],
        subject.gradient(case),
        "the same prompts twice do not give the same total gradient (a sum where a mean should be? the learning rate "
        "would depend on the batch size)",
    )


def _equal_rewards(subject: Subject, case: Case) -> None:
    reward = case.batch.reward
    # Equal vectors: their own components may differ.
    equal = torch.full_like(reward, 0.75) if not subject.vectors else reward[:1, :1].expand_as(reward).clone()
    same = replace(case.batch, reward=equal)
    gradient = subject.gradient(replace(case, batch=same))
    if bool((gradient[same.mask] != 0).any()):
        raise LawBroken("all rewards are equal and yet there is a gradient: rounding divided by a tiny std?")


def _sign(subject: Subject, case: Case) -> None:
    gradient = subject.gradient(case)
    advantage = _advantage(subject, case)
    wrong = case.batch.mask & (gradient * advantage > EXACT)
    if bool(wrong.any()):
        raise LawBroken("a token with positive advantage is pushed down (or one with negative advantage up)")


def _on_policy(subject: Subject, case: Case) -> None:
    fresh = replace(case, log_prob=case.batch.log_prob_old.clone())
    gradient = subject.gradient(fresh)
    advantage = _advantage(subject, fresh)
    mask = case.batch.mask
    # -grad / A is the weight of a token; it may depend on the length of the response, and on nothing else.
    used = mask & (advantage.abs() > 1e-6)
    weight = torch.where(used, -gradient / torch.where(used, advantage, 1.0), 0.0)
    if bool((weight[used] <= 0).any()):
        raise LawBroken(
            "at ratio 1 a token with an advantage gets no gradient: nothing is clipped before the first step"
        )
    length = mask.sum(-1, keepdim=True).expand_as(mask)
    for size in length.unique():
        same = weight[used & (length == size)]
        if len(same) and not torch.allclose(same, same[0].expand_as(same), rtol=1e-7, atol=EXACT):
            raise LawBroken(
                "at ratio 1 two tokens of equally long responses have different weights: not a policy gradient"
            )


def _advantage(subject: Subject, case: Case) -> Tensor:
    if subject.objective is None:
        return ADVANTAGE(case.batch).expand_as(case.log_prob)
    generator = torch.Generator().manual_seed(SEED)
    return subject.objective.advantages(case.batch, log_prob=case.log_prob, generator=generator).expand_as(
        case.log_prob
    )


def _stacked(subject: Subject, case: Case) -> None:
    assert subject.objective is not None
    other = replace(
        case, batch=replace(case.batch, reward=1 - case.batch.reward), log_prob=case.batch.log_prob_old - 0.1
    )

    def both(a: Tensor, b: Tensor) -> Tensor:
        return torch.stack([a, b])

    pairs = zip(vars(case.batch).items(), vars(other.batch).values(), strict=True)
    fields: dict[str, Any] = {k: None if a is None else both(a, b) for (k, a), b in pairs}
    batch = Batch(**fields)
    leaf = both(case.log_prob, other.log_prob).requires_grad_()
    value = record_loss(subject.objective, leaf, batch, both(case.entropy, other.entropy))
    (gradient,) = torch.autograd.grad(value.sum(), leaf)
    for run, alone in enumerate((case, other)):
        _close(gradient[run], subject.gradient(alone), "a run in a stack gets another gradient than alone")


def _improves(subject: Subject, case: Case) -> None:
    """A bandit is made of the case: its first group's responses are the answers, of which pairs are sampled."""
    assert subject.objective is not None
    # Of vectors the first component alone: what a step on several should raise is a matter of taste.
    reward = case.batch.reward[0].flatten(1)[:, 0] if subject.vectors else case.batch.reward[0]
    old = case.batch.log_prob_old[0, :, 0]
    pairs = torch.cartesian_prod(torch.arange(len(reward)), torch.arange(len(reward)))[:, None, :]  # [M, 1, 2]
    leaf = old.clone().requires_grad_()
    log_prob = torch.log_softmax(leaf, -1)[pairs][..., None]  # [M, 1, 2, 1]
    fixed = log_prob.detach()
    batch = Batch(
        log_prob_old=fixed,
        mask=torch.ones_like(fixed, dtype=torch.bool),
        reward=reward[pairs],
        log_prob_ref=fixed,
        entropy_old=torch.ones_like(fixed),
        planning=torch.ones_like(fixed, dtype=torch.bool),
        source=torch.zeros_like(pairs),
        value=torch.zeros_like(fixed),
        log_z=torch.zeros_like(fixed[:, :, 0, 0]),
        tempered=torch.zeros_like(fixed[:, :, 0, 0], dtype=torch.bool),
    )
    batch = replace(batch, reward=_as_component(subject, batch.reward))
    value = record_loss(subject.objective, log_prob, batch, torch.ones_like(fixed))
    chance = fixed.sum((1, 2, 3)).exp()
    (step,) = torch.autograd.grad((chance * value).sum(), leaf)
    (uphill,) = torch.autograd.grad((torch.softmax(leaf, -1) * reward).sum(), leaf)
    if float(step @ uphill) > EXACT:
        raise LawBroken(
            f"its exact expected step lowers the expected reward of a bandit with rewards {reward.tolist()} "
            f"(slope {-float(step @ uphill):.4g}): is a sign turned round?"
        )


def _with_reward(case: Case, reward: Tensor) -> Case:
    return replace(case, batch=replace(case.batch, reward=reward))


def _components(subject: Subject, case: Case) -> None:
    seen = subject.gradient(_with_reward(case, case.batch.reward.flip(-1)))
    _close(seen, subject.gradient(case), "with the components of the reward in another order")


def _answers(subject: Subject, case: Case) -> None:
    seen = subject.gradient(_with_reward(case, case.batch.reward.flip(-2)))
    _close(seen, subject.gradient(case), "with the answers of a response in another order")


def _component_shift(subject: Subject, case: Case) -> None:
    reward = case.batch.reward
    shift = -1.25 * torch.arange(1, reward.shape[-1] + 1, dtype=reward.dtype)
    _close(
        subject.gradient(_with_reward(case, reward + shift)),
        subject.gradient(case),
        f"with {shift.tolist()} added to the components of every reward",
    )


def _one_component(subject: Subject, case: Case) -> None:
    number = case.batch.reward.flatten(2)[..., 0]
    alone = _as_component(subject, number)
    what = f"with rewards {list(alone.shape)} of one component instead of the same numbers {list(number.shape)}"
    expected = subject.gradient(_with_reward(case, alone))
    try:
        seen = subject.gradient(_with_reward(case, number))
    except Exception as error:  # whatever a stage does that counts on another shape
        raise LawBroken(f"{what}: it raises {type(error).__name__}: {error}; {READS_ALL} reads every shape") from error
    _close(expected, seen, f"{what} ({READS_ALL} reads every shape)")


READS_ALL = "toybed.objectives.vector_rewards.answer_sets"


def _as_component(subject: Subject, number: Tensor) -> Tensor:
    """Numbers as what the subject is made for: vectors of one component, or sets of one such vector."""
    return number[(..., *(None,) * {"": 0, "vector": 1, "set": 2}[subject.vectors])]


def _record(subject: Subject) -> bool:
    return subject.objective is not None


LAWS = (
    Law("finite", "gradients are finite, even where the policy has moved far", _finite),
    Law("pure", "it draws nothing from torch's global generator, changes no input and keeps no state", _pure),
    Law("padding_content", "what stands in padding does not matter", _padding_content),
    Law(
        "padding_length",
        "how much padding there is does not matter",
        _padding_length,
        breaks=("dr_grpo", "hicra_random", "critique_grpo"),
    ),
    Law(
        "order",
        "the order of prompts and of responses does not matter",
        _order,
        breaks=(
            "hicra_random",
            "kl_cov",
            "forking_tokens",
            "forking_tokens_trl",
            "dpo",
            "vpo",
            "vpo_parallel",
            "grpo_shuffled",
        ),
    ),
    Law(
        "twice",
        "the same prompts twice give the same gradient",
        _twice,
        breaks=(
            "ppo",
            "reinforce_pp",
            "reinforce_pp_kl",
            "reinforce_pp_baseline",
            "ppo_gae",
            "hicra_random",
            "gdpo",
            "vpo",
            "vpo_parallel",
            "grpo_shuffled",
            "clip_cov",
            "kl_cov",
            "forking_tokens",
            "forking_tokens_trl",
        ),
    ),
    Law(
        "equal_rewards",
        "equal rewards give exactly no gradient",
        _equal_rewards,
        breaks=(
            "reinforce",
            "reinforce_pp_kl",
            "ppo_gae",
            "psr",
            "w_reinforce",
            "rloo_kl",
            "unlikeliness",
            "dro",
            "kl_cov",
            "archer",
            "grpo_kl",
            "flowrl",
            "sft",
            "raft",
            "scope_rl",
        ),
    ),
    Law("sign", "a token is pushed the way of its advantage", _sign, breaks=("kl_cov", "archer", "grpo_kl")),
    Law(
        "on_policy",
        "at ratio 1 it is a policy gradient: tokens of equally long responses weigh alike",
        _on_policy,
        breaks=("clip_cov", "forking_tokens", "forking_tokens_trl", "archer", "grpo_kl", "critique_grpo"),
    ),
    Law(
        "improves",
        "its expected step on fresh samples does not lower the expected reward",
        _improves,
        applies=_record,
        breaks=("grpo_opposite",),
    ),
    Law(
        "stacked",
        "a run in a stack is the run alone",
        _stacked,
        applies=_record,
        breaks=("hicra_random", "vpo", "vpo_parallel", "grpo_shuffled"),
    ),
    # Of objectives for vector rewards alone.
    Law(
        "components",
        "the order of the reward's components does not matter",
        _components,
        applies=lambda subject: bool(subject.vectors),
        breaks=("vpo", "vpo_parallel", "grpo_shuffled"),
    ),
    Law(
        "component_shift",
        "what is added to a component of all rewards does not matter",
        _component_shift,
        applies=lambda subject: bool(subject.vectors),
    ),
    Law(
        "one_component",
        "a reward vector of one component is a number",
        _one_component,
        applies=lambda subject: bool(subject.vectors),
    ),
    Law(
        "answers",
        "the order of a response's answers does not matter",
        _answers,
        applies=lambda subject: subject.vectors == "set",
    ),
)
