"""A schedule that is learned by differentiating through the run, beside the same by evolution strategies.

Where a run is short and its gradients are exact (a world small enough to enumerate, a policy that is a table), the
worth of its last policy is a differentiable function of the K values of its schedule. There both ways of learning a
schedule can be compared: ``python -m toybed.benchmarks.schedule_unrolled`` does it. They agree (0.948, where the best
fixed coefficient is worth 0.930): a strong bonus in the first quarter of the run and next to none after it. But nothing
there has to be explored, sampled or generalised; whether schedules pay where it has to be is another question
(``entropy_schedules``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from toybed.benchmarks.schedule_search import Evolution, centered_ranks
from toybed.envs.answer_bandit import AnswerBandit
from toybed.envs.core import TokenEnv
from toybed.measures.diversity import coverage
from toybed.objectives.schedules import Blocks
from toybed.stats import Array


@dataclass(frozen=True)
class UnrolledRun:
    """Gradient ascent on the mean expected reward plus a scheduled entropy bonus, all of it exact.

    ``theta <- theta + rate grad (J(theta) + c_t H(theta))``, J and H (nats per token) means over the train prompts.

    Attributes:
        env: a tabulated world with rewards of 0 or 1.
        start: logits ``[C, V]``, float64.
        steps: T of them.
        rate: of a step.
        samples: k of the coverage in :meth:`worth`.
    """

    env: TokenEnv
    start: Tensor
    steps: int = 12
    rate: float = 10.0
    samples: int = 16

    def end(self, coefficients: Tensor) -> Tensor:
        """The last logits ``[C, V]``, differentiable in the coefficients of the schedule's blocks, ``[K]``."""
        train = torch.isin(self.env.prompts(), self.env.prompts("train"))
        schedule = Blocks(tuple(coefficients))
        logits = self.start.clone().requires_grad_()
        for step in range(self.steps):
            exact = self.env.evaluate(torch.log_softmax(logits, -1))
            bonus = schedule(step / max(self.steps - 1, 1)) * exact.entropy / self.env.horizon
            value = (exact.reward + bonus)[train].mean()
            (uphill,) = torch.autograd.grad(value, logits, create_graph=True)
            logits = logits + self.rate * uphill
        return logits

    def worth(self, coefficients: Tensor) -> Tensor:
        """Mean of pass@1 and of coverage in k samples, over the test prompts, at the end of the run."""
        prompts = self.env.prompts("test")
        log_probs = torch.log_softmax(self.end(coefficients), -1)
        log_prob, reward = self.env.enumerate_responses(log_probs[None], prompts)
        right = reward == 1
        success = torch.where(right, log_prob.exp(), 0.0).sum(-1)
        return (success.mean() + coverage(log_prob, right, self.samples).mean()) / 2


def by_gradient(run: UnrolledRun, start: Tensor, steps: int = 60, rate: float = 0.1) -> Tensor:
    """Logarithms of the coefficients ``[K]`` after Adam on the worth of the run, differentiated through all of it."""
    logs = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([logs], rate, maximize=True)
    for _ in range(steps):
        (logs.grad,) = torch.autograd.grad(run.worth(logs.exp()), logs)
        optimizer.step()
    return logs.detach()


def by_evolution(worth: Callable[[Array], float], evolution: Evolution, start: Array, generations: int) -> Array:
    """The centre ``[K]`` after that many generations, with no gradient asked for."""
    center = start
    for generation in range(generations):
        points = evolution.candidates(generation, center)
        center = evolution.step(generation, center, centered_ranks(np.array([worth(x) for x in points])))
    return center


def small_run() -> UnrolledRun:
    """The case that is compared: an answer bandit whose base rarely gives the right answers."""
    env = AnswerBandit(prompt_count=4, answers=8, correct=3, rank=3)
    return UnrolledRun(env, env.demonstrator().double())


def compare(run: UnrolledRun, blocks: int = 4) -> dict[str, tuple[Array, float]]:
    """Coefficients ``[K]`` and what they are worth: the best fixed one of a fine grid, and what is learned from it."""

    def worth(logs: Array) -> float:
        return float(run.worth(torch.from_numpy(np.exp(logs))).detach())

    grid = [np.full(blocks, log) for log in np.linspace(-6.0, 1.0, 29)]
    fixed = max(grid, key=worth)
    found = {
        "best fixed": fixed,
        "by gradient": by_gradient(run, torch.from_numpy(fixed)).numpy(),
        "by evolution": by_evolution(worth, Evolution(blocks, pairs=4, spread=0.3, rate=0.3, limit=8.0), fixed, 60),
    }
    return {name: (np.exp(logs), worth(logs)) for name, logs in found.items()}


def main() -> None:
    """Print the comparison."""
    torch.set_num_threads(1)
    for name, (coefficients, worth) in compare(small_run()).items():
        print(f"{name:14}{worth:.4f}  coefficients {'  '.join(f'{c:.4f}' for c in coefficients)}")


if __name__ == "__main__":
    main()
