"""Laws that a policy-gradient objective should obey, for the catalogue and for yours.

    from toybed.testing import check_objective
    check_objective(my_loss)          # raises with the smallest counterexample of the first law that fails

``my_loss`` is an :class:`~toybed.objectives.objective.Objective`, or a function ``(log_prob, log_prob_old, advantage,
mask) -> loss`` of tensors ``[B, G, T]``. Cases are drawn and shrunk by hypothesis (``pip install toybed[test]``), in
float64, from small grids, so that a counterexample can be read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from hypothesis import HealthCheck, Phase, find, settings
from hypothesis import strategies as st
from hypothesis.errors import Flaky, NoSuchExample
from torch import Tensor

from toybed.envs.core import TokenEnv
from toybed.errors import ToybedError
from toybed.objectives.batch import Batch
from toybed.objectives.objective import Objective

Loss = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
EXACT = 1e-9  # float64 sums of at most a hundred terms of size below 1e3 round by less
SEED = 7  # of the generator that objectives draw from: the same draw in every evaluation of one case


@dataclass(frozen=True)
class Case:
    """One batch on which a law is tried: ``[B, G, T]`` tensors in float64, with everything that a stage may read.

    Attributes:
        batch: the sampled responses.
        log_prob: of the current policy.
        entropy: of the current policy, nats.
    """

    batch: Batch
    log_prob: Tensor
    entropy: Tensor

    def __str__(self) -> str:
        b = self.batch
        ratio = (self.log_prob - b.log_prob_old).exp()
        parts = {
            "reward": b.reward,
            "mask": b.mask.int(),
            "log_prob_old": b.log_prob_old,
            "ratio": torch.where(b.mask, ratio, 1.0),
        }
        return "\n".join(f"{name:13}{[_rounded(x) for x in value.tolist()]}" for name, value in parts.items())


def _rounded(value: Any) -> Any:
    return [_rounded(x) for x in value] if isinstance(value, list) else round(value, 3)


@dataclass(frozen=True)
class Subject:
    """What is tested, as one function of a case and of the leaf that is differentiated.

    Attributes:
        name: for messages.
        objective: the record, or None for a plain function.
        function: the plain function, or None.
    """

    name: str
    objective: Objective | None = None
    function: Loss | None = None

    def value(self, case: Case, log_prob: Tensor) -> Tensor:
        """The loss with ``log_prob`` in the place of the case's."""
        if self.function is not None:
            advantage = ADVANTAGE(case.batch).expand_as(log_prob).clone()
            return self.function(log_prob, case.batch.log_prob_old, advantage, case.batch.mask)
        assert self.objective is not None
        return record_loss(self.objective, log_prob, case.batch, case.entropy)

    def gradient(self, case: Case) -> Tensor:
        """Gradient of the loss with respect to ``log_prob``, ``[B, G, T]``."""
        leaf = case.log_prob.clone().requires_grad_()
        value = self.value(case, leaf)
        if not isinstance(value, Tensor) or value.ndim:
            shape = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise LawBroken(f"the loss of one run must be a single number (a 0-dimensional tensor), got {shape}")
        if not value.requires_grad:
            raise LawBroken("the loss does not depend on log_prob: is it detached, or was log_prob_old used instead?")
        (gradient,) = torch.autograd.grad(value, leaf, allow_unused=True)
        return torch.zeros_like(leaf) if gradient is None else gradient


def record_loss(objective: Objective, log_prob: Tensor, batch: Batch, entropy: Tensor) -> Tensor:
    """The loss of a record, with everything that its stages may need."""
    return objective.loss(
        log_prob,
        batch,
        entropy=entropy,
        log_probs=_vocabulary(log_prob) if "log_probs" in objective.needs else None,
        generator=torch.Generator().manual_seed(SEED),
    ).value


def _vocabulary(log_prob: Tensor) -> Tensor:
    """A vocabulary of three around a token: the two others share what it leaves, 2 to 1, ``[..., 3]``."""
    rest = torch.log1p(-log_prob.exp().clamp(max=1 - 1e-6))
    return torch.stack([log_prob, rest + math.log(2 / 3), rest + math.log(1 / 3)], -1)


def _group_centered(batch: Batch) -> Tensor:
    from toybed.objectives.advantages import group_centered

    return group_centered(batch)


ADVANTAGE = _group_centered
"""The advantage that a plain function is given: reward less the group's mean."""


class LawBroken(AssertionError):
    """A law does not hold on a case; the message says what was seen and what it usually means."""


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


# -- cases -------------------------------------------------------------------------------------------------------------


@st.composite
def cases(draw: st.DrawFn, stale: bool = True) -> Case:
    """Small batches: 1 to 3 prompts, 2 to 4 responses of 1 to 4 tokens, values on a grid of quarters.

    Args:
        draw: hypothesis' own.
        stale: whether the policy has moved since sampling (else every ratio is 1).
    """
    shape = (draw(st.integers(1, 3)), draw(st.integers(2, 4)), draw(st.integers(1, 4)))

    def grid(low: int, high: int, shape: Sequence[int]) -> Tensor:
        count = int(torch.tensor(shape).prod())
        numbers = draw(st.lists(st.integers(low, high), min_size=count, max_size=count))
        return torch.tensor(numbers, dtype=torch.float64).view(*shape) / 4

    length = (grid(4, 4 * shape[2], shape[:2])).clamp(min=1).floor()
    old = -grid(1, 12, shape)
    move = grid(-6, 6, shape) if stale else torch.zeros(shape, dtype=torch.float64)
    # A little off the grid keeps ratios away from the bounds of clips, where a gradient has two values.
    log_prob = (old + torch.where(move != 0, move + 0.03, 0.0)).clamp(max=-0.02)
    batch = Batch(
        log_prob_old=old,
        mask=torch.arange(shape[2]) < length[..., None],
        reward=grid(0, 4, shape[:2]),
        log_prob_ref=-grid(1, 12, shape),
        entropy_old=grid(1, 8, shape),
        planning=grid(0, 1, shape) > 0,
        source=(4 * grid(0, 2, shape[:2])).long(),
        value=grid(0, 4, shape),
        log_z=grid(-4, 4, shape[:1]),
    )
    return Case(batch, log_prob, grid(1, 8, shape))


# -- laws --------------------------------------------------------------------------------------------------------------


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
    seen = subject.gradient(Case(dirty, garbage, case.entropy))
    if bool((seen[~mask] != 0).any()):
        raise LawBroken("padding gets a gradient: multiply or select by the mask before averaging")
    _close(seen[mask], subject.gradient(case)[mask], "what stands in the padding changes the gradient of real tokens")


def _mapped(case: Case, change: Callable[[Tensor], Tensor], least: int = 1) -> Case:
    """The case with every tensor changed that has at least ``least`` axes: 3 for those of tokens, 1 for all."""
    fields: dict[str, Any] = {
        name: value if value is None or value.ndim < least else change(value)
        for name, value in vars(case.batch).items()
    }
    return Case(Batch(**fields), change(case.log_prob), change(case.entropy))


def _padding_length(subject: Subject, case: Case) -> None:
    def longer(value: Tensor) -> Tensor:
        return torch.cat([value, torch.zeros_like(value[..., :1])], -1)

    seen = subject.gradient(_mapped(case, longer, least=3))[..., :-1]
    _close(seen, subject.gradient(case), "one more column of padding changes the gradient (is the denominator T?)")


def _order(subject: Subject, case: Case) -> None:
    def flipped(value: Tensor) -> Tensor:
        return value.flip(0, 1) if value.ndim > 1 else value.flip(0)

    turned = _mapped(case, flipped)
    _close(
        flipped(subject.gradient(turned)),
        subject.gradient(case),
        "the order of prompts and responses changes the gradient",
    )


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
    same = replace(case.batch, reward=torch.full_like(case.batch.reward, 0.75))
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
    reward, old = case.batch.reward[0], case.batch.log_prob_old[0, :, 0]
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
    )
    value = record_loss(subject.objective, log_prob, batch, torch.ones_like(fixed))
    chance = fixed.sum((1, 2, 3)).exp()
    (step,) = torch.autograd.grad((chance * value).sum(), leaf)
    (uphill,) = torch.autograd.grad((torch.softmax(leaf, -1) * reward).sum(), leaf)
    if float(step @ uphill) > EXACT:
        raise LawBroken(
            f"its exact expected step lowers the expected reward of a bandit with rewards {reward.tolist()} "
            f"(slope {-float(step @ uphill):.4g}): is a sign turned round?"
        )


def _record(subject: Subject) -> bool:
    return subject.objective is not None


LAWS = (
    Law("finite", "gradients are finite, even where the policy has moved far", _finite),
    Law("pure", "it draws nothing global, changes no input and keeps no state", _pure),
    Law("padding_content", "what stands in padding does not matter", _padding_content),
    Law("padding_length", "how much padding there is does not matter", _padding_length, breaks=("dr_grpo",)),
    Law("order", "the order of prompts and of responses does not matter", _order, breaks=("clip_cov", "kl_cov")),
    Law("twice", "the same prompts twice give the same gradient", _twice, breaks=("ppo", "clip_cov", "kl_cov")),
    Law("equal_rewards", "equal rewards give exactly no gradient", _equal_rewards, breaks=("reinforce", "kl_cov")),
    Law("sign", "a token is pushed the way of its advantage", _sign, breaks=("kl_cov",)),
    Law("on_policy", "at ratio 1 it is a policy gradient: tokens weigh alike", _on_policy, breaks=("clip_cov",)),
    Law(
        "improves", "its expected step on fresh samples does not lower the expected reward", _improves, applies=_record
    ),
    Law("stacked", "a run in a stack is the run alone", _stacked, applies=_record, breaks=("clip_cov",)),
)


# -- checking ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Finding:
    """What a law found: nothing (it holds), or a message and the smallest case on which it is broken."""

    law: Law
    message: str | None
    case: Case | None

    @property
    def holds(self) -> bool:
        """Whether no counterexample was found."""
        return self.message is None


def subject_of(thing: Any, name: str = "") -> Subject:
    """Wrap an objective or a plain function.

    Raises:
        ToybedError: it is neither.
    """
    if isinstance(thing, Subject):
        return thing
    if isinstance(thing, Objective):
        return Subject(name or thing.name, objective=thing)
    if callable(thing):
        return Subject(name or getattr(thing, "__name__", "loss"), function=thing)
    raise ToybedError(
        f"{name or thing!r} is a {type(thing).__name__}; allowed: an Objective, or a function "
        "(log_prob, log_prob_old, advantage, mask) -> loss"
    )


def broken(law: Law, subject: Subject, case: Case) -> str | None:
    """How the law is broken on the case, or None."""
    try:
        law.check(subject, case)
    except LawBroken as error:
        return str(error)
    except ToybedError as error:
        return f"it refuses a valid batch: {error}"
    except Exception as error:
        return f"it raises {type(error).__name__}: {error}"
    return None


def examine(law: Law, subject: Subject, examples: int = 60, shrink: bool = True) -> Finding:
    """Look for the smallest case on which the law is broken.

    Args:
        law: one of :data:`LAWS`.
        subject: from :func:`subject_of`.
        examples: how many cases are tried before the law is said to hold.
        shrink: whether to look for the smallest counterexample, or to be content with any.
    """
    chosen = settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        phases=(Phase.generate, Phase.shrink) if shrink else (Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    seen: list[tuple[str, Case]] = []

    def fails(case: Case) -> bool:
        message = broken(law, subject, case)
        if message is not None:
            seen.append((message, case))
        return message is not None

    try:
        find(cases(), fails, settings=chosen)
    except NoSuchExample:
        return Finding(law, None, None)
    except Flaky:
        # What depends on more than the batch cannot be reproduced, let alone shrunk; that it happened is enough.
        pass
    return Finding(law, *seen[-1])


def findings(thing: Any, examples: int = 60) -> list[Finding]:
    """What every law that applies says about an objective or a plain function."""
    subject = subject_of(thing)
    return [examine(law, subject, examples) for law in LAWS if law.applies(subject)]


def check_objective(thing: Any, *, examples: int = 60, except_for: Sequence[str] = ()) -> None:
    """Raise unless every law holds; for use in a test of your own.

    Args:
        thing: an :class:`~toybed.objectives.objective.Objective`, or a function ``(log_prob, log_prob_old, advantage,
            mask) -> loss`` of tensors ``[B, G, T]``.
        examples: cases tried for each law.
        except_for: names of laws that the objective breaks on purpose.

    Raises:
        LawBroken: with the message and the smallest counterexample of the first law that fails.
    """
    for finding in findings(thing, examples):
        if not finding.holds and finding.law.name not in except_for:
            raise LawBroken(f"{finding.law.name}: {finding.message}\nsmallest counterexample:\n{finding.case}")


# -- which known objective is it? --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Likeness:
    """How near a subject is to a row of the catalogue.

    Attributes:
        name: the row.
        distance: norm of the difference of gradients over the row's own, after the best common scale; 0 is equal.
        scale: that scale: the subject's gradient is ``scale`` times the row's.
        difference: the token on which they differ most, in words.
    """

    name: str
    distance: float
    scale: float
    difference: str


def likenesses(thing: Any, count: int = 12) -> list[Likeness]:
    """Every row of the catalogue that can be compared, the nearest first.

    Gradients are compared on ``count`` stale batches, the same every time. A plain function is given the advantage of
    :data:`ADVANTAGE`, and so are the rows it is compared with.
    """
    from toybed.objectives import catalogue

    subject = subject_of(thing)
    batches = [random_case(seed) for seed in range(count)]
    mine = [subject.gradient(case) for case in batches]
    result = []
    for name in catalogue.names():
        known = catalogue.get(name)
        rival = subject_of(replace(known, advantage=ADVANTAGE) if subject.objective is None else known)
        theirs = [rival.gradient(case) for case in batches]
        if any(bool((gradient != 0).any()) for gradient in theirs):
            result.append(_likeness(name, mine, theirs, batches))
    return sorted(result, key=lambda likeness: likeness.distance)


def _likeness(name: str, mine: list[Tensor], theirs: list[Tensor], batches: list[Case]) -> Likeness:
    a, b = (torch.cat([g.flatten() for g in each]) for each in (mine, theirs))
    scale = float((a @ b) / (b @ b).clamp(min=1e-300))
    gap = [(g - scale * h).abs() for g, h in zip(mine, theirs, strict=True)]
    distance = float(torch.cat([g.flatten() for g in gap]).norm() / (abs(scale) * b.norm()).clamp(min=1e-300))
    worst = max(range(len(gap)), key=lambda i: float(gap[i].max()))
    case, place = batches[worst], int(gap[worst].argmax())
    ratio = float((case.log_prob - case.batch.log_prob_old).exp().flatten()[place])
    advantage = float(ADVANTAGE(case.batch).expand_as(case.log_prob).flatten()[place])
    own, known = (float(each[worst].flatten()[place]) for each in (mine, theirs))
    words = (
        f"a token with ratio {ratio:.2f} and advantage {advantage:+.2f}: gradient {own:+.4f}, "
        f"{name} has {scale * known:+.4f}"
    )
    return Likeness(name, distance, scale, words)


def random_case(seed: int) -> Case:
    """A stale batch of 4 prompts, 4 responses and up to 6 tokens, off every grid."""
    random = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=random, dtype=torch.float64)

    shape = (4, 4, 6)
    old = -3 * draw(*shape)
    length = 1 + (6 * draw(4, 4)).floor()
    batch = Batch(
        log_prob_old=old,
        mask=torch.arange(6) < length[..., None],
        reward=(2 * draw(4, 4)).floor(),
        log_prob_ref=-3 * draw(*shape),
        entropy_old=2 * draw(*shape),
        planning=draw(*shape) < 0.3,
        source=(3 * draw(4, 4)).long(),
        value=draw(*shape),
        log_z=draw(4),
    )
    log_prob = (old + 1.5 * (draw(*shape) - 0.5)).clamp(max=-0.01)
    return Case(batch, log_prob, 2 * draw(*shape))


# -- worlds ------------------------------------------------------------------------------------------------------------


def check_token_env(env: TokenEnv, *, episodes: int = 64, seed: int = 0) -> None:
    """Raise unless a world keeps the contract of :class:`~toybed.envs.core.TokenEnv`.

    Args:
        env: the world; small enough to enumerate if its exact values are to be checked.
        episodes: random episodes that are walked.
        seed: of these episodes.

    Raises:
        LawBroken: what does not hold, in one line.
    """
    random = torch.Generator().manual_seed(seed)
    contexts = env.contexts()
    _require(
        torch.equal(env.context_index(contexts), torch.arange(len(contexts))),
        "context_index(contexts()) is not 0, 1, 2, ...: a table policy would read the wrong rows",
    )
    train, test, every = (env.prompts(split) for split in ("train", "test", "all"))
    _require(bool(torch.isin(torch.cat([train, test]), every).all()), "a split has prompts that 'all' has not")
    _require(
        len(env.kinds) == env.horizon, f"kinds has {len(env.kinds)} entries; expected one for each of the T tokens"
    )
    prompt = every[torch.randint(len(every), (episodes,), generator=random)]
    noise = torch.rand(episodes, env.noise, generator=random) if env.noise else None
    tokens = torch.randint(env.vocabulary, (env.horizon, episodes), generator=random)
    state, again = env.reset(prompt, noise), env.reset(prompt, noise)
    single = env.reset(prompt[0], None if noise is None else noise[0])
    _require(bool((env.reward(state) == 0).all()), "reward is not 0 before the first token")
    sizes = torch.tensor(env.observation_sizes)
    for token in tokens:
        observation = env.observe(state)
        _require(observation.dtype == torch.int64, f"observe gives {observation.dtype}; expected int64")
        _require(
            bool(((observation >= 0) & (observation < sizes)).all()), "an observation is outside observation_sizes"
        )
        _require(
            torch.equal(observation, env.observe(again)), "the same prompt, noise and tokens give other observations"
        )
        _require(
            torch.equal(observation[0], env.observe(single)), "an episode alone differs from the same one in a batch"
        )
        state, again, single = env.step(state, token), env.step(again, token), env.step(single, token[0])
    _require(torch.equal(env.reward(state), env.reward(again)), "the same prompt, noise and tokens give other rewards")
    _require(
        torch.isclose(env.reward(state)[0], env.reward(single)), "an episode alone has another reward than in a batch"
    )
    uniform = torch.full((len(contexts), env.vocabulary), -float(torch.tensor(float(env.vocabulary)).log()))
    exact = float(env.evaluate(uniform).reward.double().mean())
    _require(
        abs(exact - env.random_baseline()) < 1e-4,
        f"random_baseline() is {env.random_baseline():.5f}, but the uniform policy is worth {exact:.5f}",
    )
    _require(env.random_baseline() <= env.optimum() + 1e-9, "optimum() is below random_baseline()")


def _require(holds: bool | Tensor, message: str) -> None:
    if not bool(holds):
        raise LawBroken(message)
