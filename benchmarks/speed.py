"""How fast are stacked runs? ``python -m toybed.benchmarks.speed`` prints ratios measured in one run.

Works A and B are GRPO in ChainReach (13 values, 16 operations, 8 tokens): two full-batch steps on 16 prompts x 16
responses (2,048 tokens) an update, or on 4 x 8 (256 tokens). In each, for a table, an MLP, a GRU and a transformer:

``plain``
    a single-seed loop as people write it, with the same network (:mod:`~toybed.benchmarks.speed_plain`);
``S = 1``
    this project's learner, one seed at a time;
``S = 4, ...``
    S seeds in one program;
``floor``
    what this machine would need if an update were matrix products at the peak of our shapes, and the optimiser's
    passes over the parameters at the speed of a copy: nobody can be faster without doing less work.

One torch thread. Rounds are interleaved and medians are compared, because machines drift; ratios under 1.15 are ties.
Before anything is timed two gates are passed: a run alone is the run in its stack, bit for bit, and the plain loop's
network gives the stacked one's logits. No number here is asserted by a test.

``--peers`` adds other people's programs where they are installed (extra ``peers``); ``--objectives`` times the losses.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch
import tyro
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from toybed.agents.config import Learning
from toybed.agents.policies import Policy, flat_parameters, make_policy
from toybed.agents.policy_gradient import PolicyGradient
from toybed.benchmarks.speed_peers import PEERS
from toybed.benchmarks.speed_plain import plain_loop, plain_policy
from toybed.envs import make
from toybed.envs.core import TokenEnv
from toybed.errors import ToybedError
from toybed.executors import Processes
from toybed.objectives import catalogue
from toybed.objectives.batch import Batch
from toybed.streams import Streams

WORLD = {"modulus": 13, "operations": 16, "length": 8}
BASE = Learning(epochs=2, minibatches=1)
WORKS = {"A": replace(BASE, prompts=16, group=16), "B": replace(BASE, prompts=4, group=8)}
POLICIES: dict[str, dict[str, Any]] = {
    "tabular": {},
    "mlp": {"width": 64, "embedding": 64},
    "gru": {"width": 64, "embedding": 64},
    "transformer": {"width": 64, "layers": 2},
}
MOST_TOKENS = 2**17  # in a stack: larger ones are slower, and would fill the memory of a laptop
ADAM_ACCESSES = 16  # of a number for each parameter and step: gradient, moments and step, read and written


@dataclass(frozen=True)
class Speed:
    """Compare stacked runs with one-at-a-time runs and with plain loops, in one run."""

    policies: tuple[str, ...] = tuple(POLICIES)
    """Which policies."""
    works: tuple[Literal["A", "B"], ...] = ("A", "B")
    """Which works."""
    stacks: tuple[int, ...] = (1, 4, 16, 64, 256)
    """How many seeds are stacked."""
    seconds: float = 0.5
    """How long each way is timed in a round."""
    rounds: int = 3
    """Interleaved rounds; medians are compared."""
    processes: int = 0
    """Also: so many processes at once, each with a stack of 4, against one."""
    peers: bool = False
    """Also: other people's programs, those that are installed."""
    objectives: bool = False
    """Instead: the time of one loss and gradient of every objective of the catalogue, as a multiple of GRPO's."""
    json: bool = False
    """Print one JSON object."""


# -- the work ------------------------------------------------------------------------------------------------------
def world(policy: str) -> TokenEnv:
    """ChainReach as the policy reads it."""
    return make("chain_reach", **WORLD, view="tokens" if policy in ("gru", "transformer") else "state")


def make_learner(policy: str, work: str, seeds: list[int]) -> PolicyGradient:
    """A learner of these seeds, from fresh policies."""
    env = world(policy)
    stacked = make_policy(policy, env, seeds, **POLICIES[policy])
    return PolicyGradient(env, stacked, catalogue.get("grpo"), WORKS[work], seeds)


def check(policy: str, work: str) -> None:
    """The gates.

    Raises:
        ToybedError: a run in a stack is not the run alone, or the plain loop has another network.
    """
    ends = []
    for seeds in ([5], [3, 4, 5]):
        learner = make_learner(policy, work, seeds)
        for _ in range(3):
            learner.update()
        ends.append(flat_parameters(learner.policy)[-1])
    if not torch.equal(*ends):
        raise ToybedError(f"speed: a {policy} in a stack is not the {policy} alone")
    env, stacked = learner.env, make_policy(policy, world(policy), [5], **POLICIES[policy])
    difference = (plain_logits(env, stacked) - stacked_logits(env, stacked)).abs().max()
    if difference > 1e-4:  # float32 sums of 64 terms through a few layers: 1e-6
        raise ToybedError(f"speed: the plain {policy} is another network: its logits differ by {difference:.2g}")


def _histories(env: TokenEnv) -> Tensor:
    """What is seen before each token of some responses, ``[1, 4, 1, T, F]``."""
    state = env.reset(torch.arange(4)[None, :, None])
    seen = []
    for t in range(env.horizon):
        seen.append(env.observe(state))
        state = env.step(state, (torch.arange(4)[None, :, None] * 5 + t) % env.vocabulary)
    return torch.stack(seen, -2)


@torch.no_grad()
def stacked_logits(env: TokenEnv, policy: Policy) -> Tensor:
    """Log-probabilities ``[4, T, V]`` of a stack of one."""
    return policy.response_log_probs(_histories(env))[0, :, 0]


@torch.no_grad()
def plain_logits(env: TokenEnv, policy: Policy) -> Tensor:
    """The same by the network of the plain loop."""
    return plain_policy(env, policy)(_histories(env)[0, :, 0]).log_softmax(-1)


# -- the machine ---------------------------------------------------------------------------------------------------
def machine() -> dict[str, float]:
    """GFLOP/s of the matrix products of our shapes, and GB/s of a copy that does not fit the cache."""
    a, b, big = torch.randn(8, 2048, 64), torch.randn(8, 64, 64), torch.randn(2**25)
    out, other = torch.empty(8, 2048, 64), torch.empty(2**25)
    product = _fastest(lambda: torch.bmm(a, b, out=out))
    copy = _fastest(lambda: other.copy_(big))
    return {"gflops": 2 * 8 * 2048 * 64 * 64 / product / 1e9, "gbytes": 2 * 4 * 2**25 / copy / 1e9}


def _fastest(work: Callable[[], Any], times: int = 20) -> float:
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def floor(policy: str, work: str, limits: dict[str, float]) -> float:
    """Milliseconds of a seed-update on a perfect program."""
    learner = make_learner(policy, work, [0])
    with FlopCounterMode(display=False) as counter:
        learner.update()
    steps = WORKS[work].epochs * WORKS[work].minibatches
    moved = flat_parameters(learner.policy).numel() * 4 * ADAM_ACCESSES * steps
    return 1e3 * (counter.get_total_flops() / limits["gflops"] + moved / limits["gbytes"]) / 1e9


# -- timing --------------------------------------------------------------------------------------------------------
def measure(policy: str, work: str, config: Speed) -> dict[str, float]:
    """Milliseconds for each seed and update by way of doing it; medians over interleaved rounds."""
    learning = WORKS[work]
    tokens = learning.prompts * learning.group * WORLD["length"]
    env = world(policy)
    ways: dict[str, tuple[int, Callable[[], Any]]] = {
        "plain": (1, plain_loop(env, make_policy(policy, env, [0], **POLICIES[policy]), learning, 0))
    }
    for size in config.stacks:
        if size * tokens <= MOST_TOKENS:
            ways[f"S={size}"] = (size, make_learner(policy, work, list(range(size))).update)
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for _, update in ways.values():
        update()  # the first call of anything is slow
    for _ in range(config.rounds):
        for way, (size, update) in ways.items():
            seconds[way].append(_each(update, config.seconds) / size)
    return {way: 1e3 * statistics.median(times) for way, times in seconds.items()}


def _each(update: Callable[[], Any], budget: float) -> float:
    """Seconds of one update, from as many as fit the budget."""
    started, count = time.perf_counter(), 0
    while not count or time.perf_counter() - started < budget:
        update()
        count += 1
    return (time.perf_counter() - started) / count


def _at_work(task: tuple[str, str, float], report: Any) -> float:
    """Seed-updates a second of a stack of 4, in a process of its own."""
    torch.set_num_threads(1)
    update = make_learner(task[0], task[1], [0, 1, 2, 3]).update
    update()
    return 4 / _each(update, task[2])


def measure_processes(policy: str, work: str, config: Speed) -> float:
    """How many times as much so many processes do as one."""
    totals = []
    for count in (1, config.processes):
        with Processes(_at_work, count) as executor:
            tasks = [(policy, work, 4 * config.seconds)] * count
            executor_results = executor.run(tasks, lambda *_: None)
            totals.append(sum(result for _, result in executor_results))
    return totals[1] / totals[0]


def measure_objectives(rounds: int) -> dict[str, float]:
    """Milliseconds of one loss and gradient with respect to log-probabilities, S=32, B=16, G=16, T=8; medians."""
    random = torch.Generator().manual_seed(0)
    shape = (32, 16, 16, 8)

    def draw(*sizes: int) -> Tensor:
        return torch.rand(*sizes, generator=random)

    distribution = torch.log_softmax(2 * draw(*shape, 16), -1)
    old, log_prob = distribution[..., 0], distribution[..., 0] + 0.2 * (draw(*shape) - 0.5)
    batch = Batch(
        log_prob_old=old,
        mask=torch.ones(shape, dtype=torch.bool),
        reward=(draw(*shape[:3]) < 0.4).float(),
        log_prob_ref=old - 0.1 * draw(*shape),
        entropy_old=2 * draw(*shape),
        planning=draw(*shape) < 0.3,
        source=(3 * draw(*shape[:3])).long(),
        value=draw(*shape),
        log_z=draw(*shape[:2]),
    )
    entropy, draws = 2 * draw(*shape), Streams("objective", range(shape[0]))
    seconds: dict[str, list[float]] = {name: [] for name in catalogue.names()}
    for _ in range(rounds + 1):
        for name in seconds:
            objective = catalogue.get(name)
            leaf = log_prob.clone().requires_grad_()
            started = time.perf_counter()
            loss = objective.loss(leaf, batch, entropy=entropy, log_probs=distribution, generator=draws)
            torch.autograd.grad(loss.value.sum(), leaf, allow_unused=True)
            seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(times[1:]) * 1e3 for name, times in seconds.items()}


def main() -> None:
    """Measure and print."""
    config = tyro.cli(Speed)
    torch.set_num_threads(1)
    if config.objectives:
        _print_objectives(config)
        return
    limits = machine()
    result: dict[str, Any] = {"config": asdict(config), "machine": limits, "works": {}}
    if not config.json:
        print(
            f"{limits['gflops']:.0f} GFLOP/s in products of our shapes, {limits['gbytes']:.0f} GB/s in copies, 1 thread"
        )
    for work in config.works:
        rows = result["works"][work] = {}
        for policy in config.policies:
            check(policy, work)
            rows[policy] = measure(policy, work, config) | {"floor": floor(policy, work, limits)}
            if config.processes > 1:
                rows[policy]["processes"] = measure_processes(policy, work, config)
        if not config.json:
            _print_work(work, rows, config)
    if config.peers:
        result["peers"] = {name: peer(world("mlp"), WORKS["A"], 4 * config.seconds) for name, peer in PEERS.items()}
        if not config.json:
            _print_peers(result)
    if config.json:
        print(json.dumps(result))


def _print_work(work: str, rows: dict[str, dict[str, float]], config: Speed) -> None:
    learning = WORKS[work]
    tokens = learning.prompts * learning.group * WORLD["length"]
    print(f"\nWork {work}, {tokens} tokens an update: times as fast as the plain loop (milliseconds a seed-update)")
    names = ["plain", *(f"S={size}" for size in config.stacks), "floor"]
    print(f"{'':12}" + "".join(f"{name:>16}" for name in names))
    for policy, row in rows.items():
        cells = [f"x{row['plain'] / row[n]:.2f} ({row[n]:.2f})" if n in row else "too large" for n in names]
        print(f"{policy:12}" + "".join(f"{cell:>16}" for cell in cells))
    if config.processes > 1:
        told = ", ".join(f"{policy} x{row['processes']:.2f}" for policy, row in rows.items())
        print(f"{config.processes} processes against one ({os.cpu_count()} cores): {told}")


def _print_peers(result: dict[str, Any]) -> None:
    best = {
        policy: min(ms for way, ms in row.items() if way.startswith("S="))
        for policy, row in result["works"].get("A", {}).items()
    }
    print("\nOther people's programs, work A: milliseconds a seed-update, and times as fast as it our best stack is")
    for name, found in result["peers"].items():
        if isinstance(found, str):
            print(f"{name:40}{found}")
            continue
        for policy, ms in found.items():
            ratio = f"x{ms / best[policy]:.2f}" if policy in best else "not timed"
            print(f"{name:40}{policy:12}{ms:10.2f}{ratio:>12}")


def _print_objectives(config: Speed) -> None:
    table = measure_objectives(5 * config.rounds)
    grpo = table["grpo"]
    if config.json:
        print(json.dumps({"ms": table, "of grpo": {name: ms / grpo for name, ms in table.items()}}))
        return
    print(f"{'one loss and gradient':28}{'ms':>8}{'of grpo':>9}")
    for name, ms in sorted(table.items(), key=lambda item: item[1]):
        print(f"{name:28}{ms:8.2f}{ms / grpo:9.2f}")


if __name__ == "__main__":
    main()
