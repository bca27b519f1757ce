"""What laws are tried on: subjects, and small batches that can be read."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from toybed.errors import ToybedError
from toybed.objectives.batch import Batch
from toybed.objectives.objective import Objective

Loss = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
SEED = 7  # of the generator that objectives draw from: the same draw in every evaluation of one case


class LawBroken(AssertionError):
    """A law does not hold on a case; the message says what was seen and what it usually means."""


@dataclass(frozen=True)
class Case:
    """One batch on which a law is tried: ``[B, G, T]`` tensors in float64, with everything that a stage may read.

    Attributes:
        batch: the sampled responses.
        log_prob: of the current policy.
        entropy: of the current policy, nats.
        order: another order of the prompts ``[B]`` and of the responses ``[G]``.
    """

    batch: Batch
    log_prob: Tensor
    entropy: Tensor
    order: tuple[Tensor, Tensor]

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

    @property
    def vectors(self) -> str:
        """Whether its rewards are drawn as numbers (""), as vectors ("vector"), or as sets of vectors ("set")."""
        return "" if self.objective is None else self.objective.takes_vectors

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


AXES = {"": (), "vector": (3,), "set": (2, 3)}
"""How many components, and answers before them, the reward of a response has at most."""
REWARDS = {
    "": "one number for each response, [B, G]",
    "vector": "1 to 3 components for each response, [B, G, D]",
    "set": "1 to 3 components for each of 1 or 2 answers of a response, [B, G, M, D]",
}
"""The same in words."""


@st.composite
def cases(draw: st.DrawFn, stale: bool = True, vectors: str = "") -> Case:
    """Small batches: 1 to 3 prompts, 2 to 4 responses of 1 to 4 tokens, values on a grid of quarters.

    Args:
        draw: hypothesis' own.
        stale: whether the policy has moved since sampling (else every ratio is 1).
        vectors: as in :attr:`Subject.vectors`; up to 3 components, and up to 2 answers.
    """
    shape = (draw(st.integers(1, 3)), draw(st.integers(2, 4)), draw(st.integers(1, 4)))
    parts = tuple(draw(st.integers(1, most)) for most in AXES[vectors])

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
        reward=grid(0, 4, (*shape[:2], *parts)),
        log_prob_ref=-grid(1, 12, shape),
        entropy_old=grid(1, 8, shape),
        planning=grid(0, 1, shape) > 0,
        source=(4 * grid(0, 2, shape[:2])).long(),
        value=grid(0, 4, shape),
        log_z=grid(-4, 4, shape[:1]),
        tempered=grid(0, 1, shape[:1]) > 0,
    )
    entropy = grid(1, 8, shape)
    prompts, responses = (torch.tensor(draw(st.permutations(range(n)))) for n in shape[:2])
    return Case(batch, log_prob, entropy, (prompts, responses))


def random_case(seed: int, vectors: str = "") -> Case:
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
        reward=(2 * draw(4, 4, *AXES[vectors])).floor(),
        log_prob_ref=-3 * draw(*shape),
        entropy_old=2 * draw(*shape),
        planning=draw(*shape) < 0.3,
        source=(3 * draw(4, 4)).long(),
        value=draw(*shape),
        log_z=draw(4),
        tempered=draw(4) < 0.5,
    )
    log_prob = (old + 1.5 * (draw(*shape) - 0.5)).clamp(max=-0.01)
    entropy = 2 * draw(*shape)
    return Case(batch, log_prob, entropy, (draw(4).argsort(), draw(4).argsort()))
