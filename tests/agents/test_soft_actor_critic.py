"""Discrete soft actor-critic: against soft value iteration and plain-loop twins, and what it may not touch."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from toybed.agents.config import Learning, Soft, Spec
from toybed.agents.optimization import CAUSES, CRITIC_LOST
from toybed.agents.policies import flat_parameters, load_flat, make_policy
from toybed.agents.replay import Cutter, Replay, Transitions
from toybed.agents.rollout import draw_prompts, rollout
from toybed.agents.soft_actor_critic import SoftActorCritic
from toybed.envs import make
from toybed.envs.core import TokenEnv
from toybed.errors import ToybedError
from toybed.streams import Streams

LEADS = ((1, 2, 0), (0, 2, 1), (2, 0, 1))  # where a token leads from a node: from each node to every node
PAID = ((0.0, 0.3, 1.0), (0.6, -0.4, 0.1), (0.2, 0.8, -0.5))
ALLOWED = ((1, 1, 1), (1, 1, 0), (0, 1, 1))


class Spot(NamedTuple):
    """Node, tokens so far, reward so far and the episode's noise."""

    node: Tensor
    time: Tensor
    paid: Tensor
    noise: Tensor


@dataclass(frozen=True)
class Paths(TokenEnv):
    """T steps on a graph of three nodes; a prompt is the node to start from, the observation is node and time.

    With ``slip`` a token leads where the next one would, that often.
    """

    length: int = 3
    slip: float = 0.0
    scale: float = 1.0
    plan: tuple[int, ...] = ()

    @property
    def horizon(self) -> int:
        return self.length

    @property
    def vocabulary(self) -> int:
        return 3

    @property
    def observation_sizes(self) -> tuple[int, ...]:
        return (3, self.length)

    @property
    def n_prompts(self) -> int:
        return 3

    @property
    def noise(self) -> int:
        return self.length if self.slip else 0

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple("planning" if t in self.plan else "execution" for t in range(self.length))

    def reset(self, prompt: Tensor, noise: Tensor | None = None) -> Spot:
        if noise is None:
            noise = torch.ones(*prompt.shape, self.length)
        return Spot(prompt, torch.zeros_like(prompt), torch.zeros(prompt.shape), noise)

    def observe(self, state: Spot) -> Tensor:
        return torch.stack([state.node, state.time.clamp(max=self.length - 1)], -1)

    def step(self, state: Spot, token: Tensor) -> Spot:
        place = state.time.clamp(max=self.length - 1)[..., None]
        slips = state.noise.gather(-1, place).squeeze(-1) < self.slip
        node = torch.tensor(LEADS)[state.node, (token + slips) % 3]
        paid = state.paid + self.scale * torch.tensor(PAID)[state.node, token]
        return Spot(node, state.time + 1, paid, state.noise)

    def reward(self, state: Spot) -> Tensor:
        return state.paid

    def legal(self, state: Spot) -> Tensor:
        return torch.tensor(ALLOWED).bool()[state.node]

    def legal_at(self, observation: Tensor) -> Tensor:
        return torch.tensor(ALLOWED).bool()[observation[..., 0]]

    def prompts(self, split: str = "all") -> Tensor:
        return torch.arange(3)

    def solutions(self, prompt: Tensor) -> Tensor:
        raise ToybedError("not asked for")

    def optimum(self) -> float:
        raise ToybedError("not asked for")

    def random_baseline(self) -> float:
        raise ToybedError("not asked for")

    def demonstrator(self) -> Tensor:
        raise ToybedError("not asked for")


TABLE, NETWORK = Spec("tabular"), Spec("mlp", {"width": 8, "embedding": 4})
LEARNING = Learning(prompts=8, group=4, learning_rate=0.02)
SOFT = Soft(steps=4, batch=32, replay=500, critic_rate=0.05, target_rate=0.1)
LEVELS = Paths(length=5, slip=0.25, plan=(0, 3))


def learner(env=LEVELS, *, policy=TABLE, seeds=(0, 1), learning=LEARNING, soft=SOFT, **other):
    built = make_policy(policy.name, env, list(seeds), **policy.options)
    return SoftActorCritic(env, built, policy, learning, soft, list(seeds), **other)


def episodes(env, seeds=(0, 1), stepwise=True):
    streams = Streams("test", seeds)
    policy = make_policy("tabular", env, list(seeds))
    return rollout(env, policy, draw_prompts(env.prompts(), 6, streams), 3, streams, stepwise=stepwise)


def disordered(trained, size=0.7):
    """Policy, critics and targets with random parameters, all of their own."""
    random = np.random.default_rng(5)
    with torch.no_grad():
        for network in (trained.policy, trained.critics, trained.targets):
            for parameter in network.parameters():
                parameter.copy_(torch.from_numpy(size * random.normal(size=parameter.shape)))
    return trained


# -- what is remembered ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("env", [LEVELS, Paths(), make("mi_dialogue", level="both", turns=4, hold=2)])
def test_the_reward_of_each_token_is_the_difference_of_two_states(env):
    sample, plain = episodes(env), episodes(env, stepwise=False)
    assert plain.paid is None
    assert all(a is b or torch.equal(a, b) for a, b in zip(sample[:-1], plain[:-1], strict=True))
    # float32 sums of at most 6 rewards below 3
    torch.testing.assert_close(sample.paid.sum(-1), sample.reward, rtol=0, atol=1e-5)
    if isinstance(env, Paths):
        expected = torch.tensor(PAID)[sample.observation[..., 0], sample.token]
        torch.testing.assert_close(sample.paid, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("bootstrap", ["kind", "token"])
def test_an_episode_is_cut_as_a_plain_loop_cuts_it(bootstrap):
    discount, env = 0.8, LEVELS
    sample, cutter = episodes(env), Cutter(env, 0.8, bootstrap)
    cut = cutter.cut(sample)
    for index in np.ndindex(*sample.token.shape):
        *episode, t = index
        got = Transitions(*(part.view(*sample.token.shape, *part.shape[2:])[index] for part in cut))
        later = [u for u in range(t + 1, 5) if bootstrap == "token" or env.kinds[u] == env.kinds[t]]
        end = later[0] if later else 5
        paid = sum(discount ** (u - t) * float(sample.paid[(*episode, u)]) for u in range(t, end))
        # at most five float32 products
        assert float(got.reward) == pytest.approx(paid, abs=1e-6)
        assert float(got.discount) == pytest.approx(discount ** (end - t) if later else 0.0)
        assert torch.equal(got.observation, sample.observation[index])
        assert torch.equal(got.legal, sample.legal[index])
        assert got.token == sample.token[index]
        assert cutter.kinds[got.kind] == env.kinds[t]
        if later:
            following = (*episode, end)
            assert torch.equal(got.following, sample.observation[following])
            assert torch.equal(got.following_legal, sample.legal[following])
            assert cutter.kinds[got.following_kind] == env.kinds[end]


def test_a_master_of_the_dialogue_has_one_transition_for_an_option():
    env = make("mi_dialogue", level="both", turns=6, hold=3)
    sample = episodes(env)
    cut = Cutter(env, 1.0, "kind").cut(sample)
    first = [part.view(2, 6, 3, 8, *part.shape[2:])[..., 0, :] for part in (cut.observation, cut.following)]
    assert (torch.stack(first)[..., 0] == 0).all()  # an option is to be chosen, in both
    reward = cut.reward.view(2, 6, 3, 8)
    torch.testing.assert_close(reward[..., 0], sample.paid[..., :4].sum(-1), rtol=0, atol=1e-5)
    torch.testing.assert_close(reward[..., 4], sample.paid[..., 4:].sum(-1), rtol=0, atol=1e-5)
    assert (cut.discount.view(2, 6, 3, 8)[..., [0, 4, 7]] == torch.tensor([1.0, 0.0, 0.0])).all()


@pytest.mark.parametrize("sizes", [(3, 3, 3, 3), (7, 7), (10, 1), (25, 4), (4, 25, 3)])
def test_the_replay_keeps_the_newest(sizes):
    replay, twin, number = Replay(10), [deque(maxlen=10), deque(maxlen=10)], 0
    for size in sizes:
        value = torch.arange(number, number + size) + torch.tensor([[0], [1000]])
        number += size
        replay.add(Transitions(value[..., None], None, value, value, value.float(), value.float(), value, None, value))
        for run, kept in enumerate(twin):
            kept.extend(value[run].tolist())
        assert len(replay) == len(twin[0])
        # one draw in the middle of each place
        drawn = replay.draw(((torch.arange(len(replay)) + 0.5) / len(replay)).expand(2, -1))
        for run, kept in enumerate(twin):
            assert sorted(drawn.token[run].tolist()) == list(kept)
        assert torch.equal(drawn.observation[..., 0], drawn.token)
        assert torch.equal(drawn.reward, drawn.token.float())
    ends = replay.draw(torch.tensor([[0.0, 1 - 2**-24], [0.0, 1 - 2**-24]]))
    assert len(set(ends.token[0].tolist())) == 2


def test_the_replay_is_drawn_from_evenly():
    """100 000 draws of 10: each count has a standard deviation of 95; five of them are missed with chance 1e-5."""
    replay, value = Replay(10), torch.arange(10)[None]
    replay.add(Transitions(value[..., None], None, value, value, value.float(), value.float(), value, None, value))
    counts = torch.bincount(replay.draw(Streams("test", [0]).uniform((100_000,))).token[0])
    assert ((counts - 10_000).abs() < 5 * 95).all()


# -- its losses --------------------------------------------------------------------------------------------------------
def twin_losses(trained, batch, counted, run):
    """By plain loops in float64: actor, both critics, surplus by kind and mean q of one run."""
    env = trained.env
    contexts = env.contexts()

    def rows(network):
        return network(contexts.expand(network.runs, -1, -1)).detach().double().numpy()

    logits, q, slow = (rows(network) for network in (trained.policy, trained.critics, trained.targets))
    runs = trained.policy.runs
    temperature = trained.log_temperature.exp().double().numpy()[run]

    def policy(context, legal):
        mass = {v: np.exp(logits[run, context, v]) for v in range(3) if legal[v]}
        return {v: each / sum(mass.values()) for v, each in mass.items()}

    def lower(values, context, v):
        return min(values[run, context, v], values[run + runs, context, v])

    actor, critics, surplus, taken = [], ([], []), {0: [], 1: []}, []
    for n in range(batch.token.shape[1]):
        if not counted[run, n]:
            continue
        here, there = (int(env.context_index(part[run, n])) for part in (batch.observation, batch.following))
        kind, token = int(batch.kind[run, n]), int(batch.token[run, n])
        pi, later = policy(here, batch.legal[run, n]), policy(there, batch.following_legal[run, n])
        alpha = temperature[kind]
        actor.append(sum(p * (alpha * np.log(p) - lower(q, here, v)) for v, p in pi.items()))
        after = temperature[int(batch.following_kind[run, n])]
        value = sum(p * (lower(slow, there, v) - after * np.log(p)) for v, p in later.items())
        target = float(batch.reward[run, n]) + float(batch.discount[run, n]) * value
        for i, losses in enumerate(critics):
            losses.append((q[run + i * runs, here, token] - target) ** 2 / 2)
        goal = (trained.soft.target_entropy or 0.0) * np.log(len(pi))
        surplus[kind].append(-sum(p * np.log(p) for p in pi.values()) - goal)
        taken.append(lower(q, here, token))
    means = [np.mean(each) if each else 0.0 for each in (actor, *critics, *surplus.values(), taken)]
    return np.array(means)


@pytest.mark.parametrize("policy", [TABLE, NETWORK])
@pytest.mark.parametrize("bootstrap", ["kind", "token"])
@pytest.mark.parametrize("kinds", [(0, 1), (0,), (1,)])
def test_the_losses_are_those_of_a_plain_loop(policy, bootstrap, kinds):
    """Of float32 means of at most 90 numbers of size 1 to 10: a relative error of 1e-5 is generous."""
    trained = disordered(learner(policy=policy, soft=replace(SOFT, bootstrap=bootstrap, target_entropy=0.4)))
    trained.log_temperature = torch.tensor([[-1.0, 0.3], [-2.0, 0.1]])
    batch = trained._cutter.cut(episodes(LEVELS))
    counted = torch.isin(batch.kind, torch.tensor(kinds))
    loss = trained.losses(batch, counted)
    for run in range(2):
        got = [loss.actor[run], loss.critics[run], loss.critics[2 + run], *loss.surplus[run], loss.q[run]]
        expected = twin_losses(trained, batch, counted, run)
        assert np.array([float(x.detach()) for x in got]) == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_illegal_tokens_and_other_kinds_have_no_gradient():
    trained = disordered(learner())
    batch = trained._cutter.cut(episodes(LEVELS))
    loss = trained.losses(batch, batch.kind == 1)
    (actor,) = torch.autograd.grad(loss.actor.sum(), [trained.policy.logits])
    (critics,) = torch.autograd.grad(loss.critics.sum(), [trained.critics.logits])
    contexts = LEVELS.contexts()
    of_kind = torch.tensor([kind == "planning" for kind in LEVELS.kinds])[contexts[:, 1]]
    learned = LEVELS.legal_at(contexts) & of_kind[:, None]
    for gradient in (actor, critics):
        assert (gradient[:, ~learned] == 0).all()
        assert (gradient[:, learned] != 0).any(0).float().mean() > 0.8


def test_nothing_follows_the_last_token():
    trained = disordered(learner())
    batch = trained._cutter.cut(episodes(LEVELS))
    before = trained.losses(batch, batch.discount == 0).critics
    others = trained.losses(batch, batch.discount > 0).critics
    with torch.no_grad():
        trained.targets.logits.fill_(1e6)
    assert torch.equal(trained.losses(batch, batch.discount == 0).critics, before)
    assert (trained.losses(batch, batch.discount > 0).critics > 1e3 * others).all()


def test_targets_follow_and_warmup_holds_the_policy_only():
    trained = learner(policy=NETWORK, soft=replace(SOFT, warmup=2, steps=1, target_entropy=0.5))
    start, slow, log_temperature = trained.policy, flat_parameters(trained.targets), trained.log_temperature
    first = flat_parameters(start)
    assert torch.equal(slow, flat_parameters(trained.critics))
    measured = trained.update()
    assert torch.equal(flat_parameters(trained.policy), first)
    assert torch.equal(trained.log_temperature, log_temperature)
    assert (measured["grad_norm"] == 0).all()
    expected = slow + 0.1 * (flat_parameters(trained.critics) - slow)
    torch.testing.assert_close(flat_parameters(trained.targets), expected, rtol=1e-5, atol=1e-7)
    assert not torch.equal(flat_parameters(trained.targets), slow)
    trained.update(), trained.update()
    assert not torch.equal(flat_parameters(trained.policy), first)
    assert not torch.equal(trained.log_temperature, log_temperature)


# -- that it learns ----------------------------------------------------------------------------------------------------
def soft_optimum(env, alpha, discount, bootstrap):
    """Q and policy ``[T, 3, 3]`` of soft value iteration, by plain loops in float64; illegal tokens are NaN and 0.

    With "kind" a token's value counts the entropy of its own kind only, and the tokens in between are the other kinds'
    best policies.
    """
    length = env.length
    q, pi = np.full((length, 3, 3), np.nan), np.zeros((length, 3, 3))

    def after(node, v):
        return ((LEADS[node][v], 1 - env.slip), (LEADS[node][(v + 1) % 3], env.slip))

    def worth(t, node, kind):
        """Of being at a node at time t, for a token of a kind that was chosen before."""
        if t == length:
            return 0.0
        tokens = [v for v in range(3) if ALLOWED[node][v]]
        if bootstrap == "token" or env.kinds[t] == kind:
            return alpha * np.log(sum(np.exp(q[t, node, v] / alpha) for v in tokens))
        return sum(pi[t, node, v] * decided(t, node, v, kind) for v in tokens)

    def decided(t, node, v, kind):
        return PAID[node][v] + discount * sum(p * worth(t + 1, there, kind) for there, p in after(node, v))

    for t in reversed(range(length)):
        for node in range(3):
            tokens = [v for v in range(3) if ALLOWED[node][v]]
            for v in tokens:
                q[t, node, v] = decided(t, node, v, env.kinds[t])
            mass = np.exp(q[t, node, tokens] / alpha)
            pi[t, node, tokens] = mass / mass.sum()
    return q, pi


def by_time(rows):
    """Rows ``[..., C, V]`` over contexts (node, time) as ``[..., T, 3, V]``."""
    return rows.unflatten(-2, (3, -1)).transpose(-3, -2)


@pytest.mark.parametrize(
    ("env", "bootstrap", "near"),
    [
        (Paths(), "token", 0.05),
        (Paths(plan=(0, 2)), "token", 0.05),
        (Paths(slip=0.25), "token", 0.15),
        (Paths(plan=(0, 2)), "kind", 0.15),
    ],
)
def test_a_table_comes_to_the_soft_optimum(env, bootstrap, near):
    """pi* = softmax(Q* / alpha) at alpha = 1, and Q*, in the mean of eight runs.

    Where nothing is drawn, Adam comes to rest within a few of its steps, of 0.02, of where the gradient is 0. Else what
    follows a token (after a slip, or another kind's token) is drawn, with a spread s below 0.6, and Q is off for two
    reasons. The replay holds 40 updates of 64 episodes; every policy here leaves each token more than 0.12 and a node
    is met by about a third, so that a pair has about 100 samples at least: s / 10 = 0.06. And Adam of rate r jitters
    with a variance r d / (2 h), where the slope h is a pair's share of the batch, 0.01 at the rarest, and the
    gradient's noise d is s sqrt(h / 128): 0.07. In all 0.1, of the mean of eight runs 0.035; 0.15 is more than four of
    these, a chance of 2e-5 for each of 21 pairs at most. A softmax moves by at most half of what its logits move.
    """
    soft = Soft(
        discount=0.9,
        temperature=1.0,
        replay=40 * 64 * env.length,
        batch=128,
        steps=8,
        target_rate=0.1,
        critic_rate=0.02,
        bootstrap=bootstrap,
    )
    learning = Learning(prompts=16, group=4, learning_rate=0.01)
    trained = learner(env, seeds=range(8), learning=learning, soft=soft)
    for _ in range(90):
        trained.update()
    q, pi = soft_optimum(env, 1.0, 0.9, bootstrap)
    legal = ~np.isnan(q)
    values = by_time(trained.critics.logits.detach()).double().mean(0).numpy()
    assert np.abs(values[legal] - q[legal]).max() < near
    table = by_time(trained.policy.table(env).exp()).double().mean(0).numpy()
    assert np.abs(table - pi).max() < near / 2


def bandit(soft, updates, rate=0.02):
    """One token with three rewards, from node 0 only where it matters."""
    env = Paths(length=1)
    learning = Learning(prompts=16, group=4, learning_rate=rate)
    trained = learner(env, seeds=range(4), learning=learning, soft=replace(SOFT, batch=64, steps=8, **soft))
    for _ in range(updates):
        measured = trained.update()
    log_probs = trained.policy.table(env)
    assert set(measured) == {"reward", "entropy", "temperature", "critic_loss", "q", "grad_norm"}
    assert all(value.shape == (4,) for value in measured.values())
    return trained, log_probs


def test_the_cold_limit_is_the_best_token_and_the_hot_limit_is_uniform():
    """Logits of a table move by about the rate a step: 60 * 8 * 0.02 = 9.6 apart are chances below 1e-3.

    At temperature 100 the policy is within 1.5 / 100 of uniform, as logarithms; 0.05 adds two rates of Adam.
    """
    _, cold = bandit({"temperature": 1e-3}, 60)
    paid = torch.tensor(PAID).masked_fill(~torch.tensor(ALLOWED).bool(), -1)
    assert (cold.exp().gather(-1, paid.argmax(-1).expand(4, -1)[..., None]) > 0.95).all()
    _, hot = bandit({"temperature": 100.0}, 60)
    legal = torch.tensor(ALLOWED).bool()
    uniform = -legal.sum(-1, keepdim=True).log().expand(-1, 3)[legal]
    assert (hot[:, legal] - uniform).abs().max() < 0.05


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_a_target_of_entropy_is_reached(share):
    """On average over states, as the temperature has no state: within 0.05 nats.

    The temperature settles where the mean surplus of a batch is 0; a batch of 64 has another mix of three nodes than
    the prompts, and rates of 0.05 leave log alpha off by a few hundredths.
    """
    trained, log_probs = bandit({"temperature": 0.3, "target_entropy": share, "temperature_rate": 0.05}, 100)
    legal = torch.tensor(ALLOWED).sum(-1)
    entropy = -(log_probs.exp() * log_probs).sum(-1)
    assert (entropy.mean(1) - share * legal.log().mean()).abs().max() < 0.05
    assert (trained.log_temperature.exp() != 0.3).all()


# -- runs are an axis --------------------------------------------------------------------------------------------------
DIALOGUE = make("mi_dialogue", level="both", turns=4, hold=2)


def trace(env, policy, seeds, *, poison=None, soft=SOFT, learning=LEARNING, **other):
    """Five updates, two of them of some kinds only; ``poison`` spoils one run's policy before."""
    trained = learner(env, policy=policy, seeds=seeds, soft=soft, learning=learning, **other)
    if poison is not None:
        spoiled = flat_parameters(trained.policy)
        spoiled[poison[0]] = poison[1]
        load_flat(trained.policy, spoiled)
    schedule = [None, None, frozenset({"planning"}), frozenset({"execution"}), None]
    measured = [trained.update(kinds=kinds) for kinds in schedule]
    critics = flat_parameters(trained.critics).view(2, len(seeds), -1).transpose(0, 1)
    return trained, measured, [flat_parameters(trained.policy), critics, trained.log_temperature]


@pytest.fixture(autouse=True)
def one_thread():
    """Bits are the same on one thread."""
    assert torch.get_num_threads() == 1


def assert_same_run(stack, run, single):
    for many, one in zip(stack[2], single[2], strict=True):
        assert torch.equal(many[run], one[0])
    for many, one in zip(stack[1], single[1], strict=True):
        assert many.keys() == one.keys()
        for name in many:
            assert torch.equal(many[name][run], one[name][0]), name


@pytest.mark.parametrize("env", [LEVELS, DIALOGUE])
@pytest.mark.parametrize("policy", [TABLE, NETWORK])
@pytest.mark.parametrize("change", [{}, {"target_entropy": 0.4, "bootstrap": "token", "replay": 100}])
def test_a_run_in_a_stack_is_the_run_alone_bit_for_bit(env, policy, change):
    seeds, soft = (11, 5, 2, 8, 23), replace(SOFT, **change)
    stack = trace(env, policy, seeds, soft=soft)
    for run in (1, 4):
        assert_same_run(stack, run, trace(env, policy, seeds[run : run + 1], soft=soft))
    again = trace(env, policy, seeds, soft=soft)
    assert all(torch.equal(a, b) for a, b in zip(stack[2], again[2], strict=True))
    final = stack[2][0]
    assert all(not torch.equal(final[i], final[j]) for i in range(5) for j in range(i))


def test_a_run_in_a_stack_is_the_run_alone_at_the_default_size():
    env = make("mi_dialogue", level="both")
    soft, learning = Soft(steps=2), Learning()
    stack = trace(env, Spec("mlp"), (3, 4, 5), soft=soft, learning=learning)
    assert_same_run(stack, 1, trace(env, Spec("mlp"), (4,), soft=soft, learning=learning))


def test_learning_rates_may_differ_and_a_stage_draws_other_numbers():
    rates = torch.tensor([1e-3, 5e-2])
    stack = trace(LEVELS, NETWORK, (3, 4), learning_rate=rates)
    for run in range(2):
        assert_same_run(stack, run, trace(LEVELS, NETWORK, (3 + run,), learning_rate=rates[run : run + 1]))
    later = trace(LEVELS, NETWORK, (3, 4), learning_rate=rates, stage=1)
    assert not torch.equal(later[1][0]["reward"], stack[1][0]["reward"])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("policy", [TABLE, NETWORK])
def test_a_diverged_run_is_marked_and_its_neighbours_never_notice(policy, value):
    seeds = (3, 4, 5)
    stack = trace(LEVELS, policy, seeds, poison=(1, value), soft=replace(SOFT, target_entropy=0.4))
    assert stack[0].diverged.tolist() == [False, True, False]
    assert CAUSES[stack[0].cause[1]] == "its loss was not finite"
    assert stack[2][1].isfinite().all()  # its critics stay where they were
    for run in (0, 2):
        single = trace(LEVELS, policy, seeds[run : run + 1], soft=replace(SOFT, target_entropy=0.4))
        assert_same_run(stack, run, single)


def test_a_lost_critic_is_named():
    """Rewards of 1e30 have squares that float32 does not hold."""
    trained = learner(replace(LEVELS, scale=1e30))
    trained.update()
    assert trained.diverged.all()
    assert trained.cause.tolist() == [CRITIC_LOST] * 2
    assert (trained.critics.logits == 0).all()


# -- kinds -------------------------------------------------------------------------------------------------------------
def test_other_kinds_rows_of_a_table_do_not_move():
    trained = learner()
    trained.update(), trained.update()  # Adam has a memory of all rows now
    planning = torch.tensor([kind == "planning" for kind in LEVELS.kinds])[LEVELS.contexts()[:, 1]]
    for kind, rows in (("planning", planning), ("execution", ~planning), ("planning", planning)):
        tables = (trained.policy.logits, trained.critics.logits)
        before = [table.detach().clone() for table in tables]
        trained.update(kinds=frozenset({kind}))
        for old, new in zip(before, tables, strict=True):
            assert torch.equal(new[:, ~rows], old[:, ~rows])
            assert (new[:, rows] != old[:, rows]).any()


def test_a_kind_that_is_not_trained_keeps_its_temperature():
    trained = learner(soft=replace(SOFT, target_entropy=0.5))
    measured = trained.update(kinds=frozenset({"planning"}))
    assert (measured["temperature_execution"] - SOFT.temperature).abs().max() < 1e-7
    assert ((measured["temperature_planning"] - SOFT.temperature).abs() > 1e-4).all()
    weighted = (2 * measured["temperature_planning"] + 3 * measured["temperature_execution"]) / 5
    torch.testing.assert_close(measured["temperature"], weighted)


def test_networks_of_one_run_have_weights_of_their_own():
    trained = learner(policy=NETWORK)
    first, second = flat_parameters(trained.critics).view(2, 2, -1)
    policy = flat_parameters(trained.policy)
    assert not any(torch.equal(a, b) for a, b in ((first, second), (first, policy), (second, policy)))
    again = make_policy("mlp", LEVELS, [0, 1], stream="policy", width=8, embedding=4)
    assert torch.equal(flat_parameters(again), policy)


# -- bad input ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"discount": 1.1}, "Soft: discount is 1.1; allowed: 0 to 1"),
        ({"temperature": 0.0}, "Soft: temperature is 0.0; allowed: above 0"),
        ({"temperature_rate": -1.0}, "Soft: temperature_rate is -1.0; allowed: above 0"),
        ({"critic_rate": float("nan")}, "Soft: critic_rate is nan; allowed: above 0"),
        ({"target_entropy": 1.0}, "Soft: target_entropy is 1.0; allowed: between 0 and 1, or None"),
        ({"target_rate": 0.0}, "Soft: target_rate is 0.0; allowed: above 0, to 1"),
        ({"replay": 0}, "Soft: replay is 0; allowed: at least 1"),
        ({"batch": 0}, "Soft: batch is 0; allowed: at least 1"),
        ({"steps": 0}, "Soft: steps is 0; allowed: at least 1"),
        ({"warmup": -1}, "Soft: warmup is -1; allowed: at least 0"),
        ({"bootstrap": "kinds"}, "unknown bootstrap of Soft 'kinds': did you mean 'kind'"),
    ],
)
def test_bad_values_are_named(change, message):
    with pytest.raises(ToybedError, match=message):
        Soft(**change)


def test_kinds_that_there_are_not_are_named():
    trained = learner()
    with pytest.raises(ToybedError, match="unknown kind of token in Paths 'plan'"):
        trained.update(kinds=frozenset({"plan"}))
    with pytest.raises(ToybedError, match="kinds is empty; allowed: some of execution, planning, or None for all"):
        trained.update(kinds=frozenset())
