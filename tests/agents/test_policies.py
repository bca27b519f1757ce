"""Runs are an axis: a run in a stack is the same run alone, bit for bit, and never notices its neighbours."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

from toybed.agents.choices import choose
from toybed.agents.config import Learning, Supervised
from toybed.agents.optimization import StackedAdam
from toybed.agents.policies import Policy, flat_parameters, linear, load_flat, make_policy, summed_rows
from toybed.agents.policy_gradient import PolicyGradient
from toybed.agents.rollout import draw_prompts, response_log_probs, rollout
from toybed.agents.supervised import fine_tune
from toybed.envs.chain_reach import ChainReach, ChainState
from toybed.errors import ToybedError
from toybed.measures.entropy import token_entropy
from toybed.objectives import catalogue
from toybed.streams import Streams

ENV = ChainReach(modulus=7, operations=3, length=3)
TOKENS = replace(ENV, view="tokens")
SEEDS = (11, 5, 2, 8, 23)
LEARNING = Learning(updates=3, prompts=6, group=4, epochs=2, minibatches=3, learning_rate=1e-2)
POLICIES = {
    "tabular": {},
    "mlp": {"width": 20, "embedding": 12},
    "gru": {"width": 20, "embedding": 12},
    "transformer": {"width": 24, "heads": 2},
}
# large enough for many rows in a table, small enough to list all histories
WIDE_TOKENS = ChainReach(modulus=13, length=3, view="tokens")
# dapo samples groups anew, clip_cov draws a lottery in its loss; both regularisers need inputs of their own.
OBJECTIVES = {
    "grpo": {},
    "dapo": {},
    "clip_cov": {},
    "kl_cov": {},
    "grpo with bonus and KL": {"entropy_coefficient": 0.02, "kl_coefficient": 0.05},
    "clip_cov with bonus and KL": {"entropy_coefficient": 0.02, "kl_coefficient": 0.05},
}


def world(policy_name, env=ENV):
    """The view of a world that a policy can read."""
    return replace(env, view="tokens") if policy_name in ("gru", "transformer") else env


@dataclass(frozen=True)
class Trace:
    """Everything that a run shows, each ``[S, ...]`` or a list of such."""

    initial: torch.Tensor
    table: torch.Tensor
    sft_losses: torch.Tensor
    tuned: torch.Tensor
    measures: list[dict[str, torch.Tensor]]
    final: torch.Tensor
    diverged: torch.Tensor


def train(policy_name, objective_name, seeds, poison=None, learning=LEARNING, env=None, options=None):
    """Initialise, fine-tune a little, then take a few updates; ``poison`` (run, value) spoils one run in between."""
    env = world(policy_name) if env is None else env
    options = POLICIES[policy_name] if options is None else options
    policy, reference = (make_policy(policy_name, env, seeds, **options) for _ in range(2))
    initial, table = flat_parameters(policy), policy.table(env)
    losses = fine_tune(
        env, policy, Supervised(steps=4, demonstrations=16, learning_rate=0.05), Streams("demonstrations", seeds)
    )
    tuned = flat_parameters(policy)
    load_flat(reference, tuned)
    if poison is not None:
        run, value = poison
        spoiled = tuned.clone()
        spoiled[run] = value
        load_flat(policy, spoiled)
    name = objective_name.split(" ")[0]
    objective = catalogue.get(name, **OBJECTIVES.get(objective_name, {}))
    learner = PolicyGradient(env, policy, objective, learning, list(seeds), reference)
    measures = [learner.update() for _ in range(learning.updates)]
    return Trace(initial, table, losses.T, tuned, measures, flat_parameters(policy), learner.diverged.clone())


@cache
def alone(policy_name, objective_name, seed):
    return train(policy_name, objective_name, (seed,))


def assert_same_run(stack, run, single):
    for name in ("initial", "table", "sft_losses", "tuned", "final", "diverged"):
        assert torch.equal(getattr(stack, name)[run], getattr(single, name)[0]), name
    for update, (many, one) in enumerate(zip(stack.measures, single.measures, strict=True)):
        assert many.keys() == one.keys()
        for name in many:
            assert torch.equal(many[name][run], one[name][0]), (update, name)


# -- a run in a stack --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("runs", [2, 5])
@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("policy", POLICIES)
def test_a_run_in_a_stack_is_the_run_alone_bit_for_bit(policy, objective, runs):
    stack = train(policy, objective, SEEDS[:runs])
    for run in range(runs):
        assert_same_run(stack, run, alone(policy, objective, SEEDS[run]))
    assert not stack.diverged.any()
    # the comparison is not of things that stand still
    assert (stack.final - stack.tuned).abs().amax(1).min() > 1e-3
    if objective == "dapo":
        responses = torch.stack([measure["responses"] for measure in stack.measures])
        assert (responses > LEARNING.group).any(), "no group was sampled anew: dynamic sampling was not tested"


@pytest.mark.parametrize("policy", ["mlp", "gru", "transformer"])
@pytest.mark.parametrize("objective", ["dapo", "clip_cov"])
def test_a_run_in_a_stack_is_the_run_alone_at_the_default_size(objective, policy):
    """The kernels that torch picks depend on the sizes: these are the sizes of the published runs."""
    learning, env = Learning(updates=2), ChainReach() if policy == "mlp" else WIDE_TOKENS
    stack = train(policy, objective, SEEDS[:3], learning=learning, env=env, options={})
    single = train(policy, objective, SEEDS[1:2], learning=learning, env=env, options={})
    assert_same_run(stack, 1, single)


@pytest.mark.parametrize("rows", [48, 7])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        *(("mlp", {"width": width, "embedding": 7}) for width in (4, 8, 20, 36, 128)),
        *(("gru", {"width": width, "embedding": 7}) for width in (4, 8, 20, 36, 64)),
        *(("transformer", {"width": w, "heads": h}) for w, h in ((4, 1), (8, 2), (20, 1), (36, 3), (64, 2), (64, 4))),
    ],
)
def test_independence_holds_at_every_allowed_width(name, options, rows):
    """A slice of a stack may begin at an address that no vector instruction likes; the same run alone does not."""
    env = world(name)

    def gradients(seeds, observation):
        policy = make_policy(name, env, seeds, **options)
        loss = -policy.log_probs(observation)[..., 0].mean(1)
        return torch.autograd.grad(loss.sum(), list(policy.parameters()))

    random = np.random.default_rng(0)
    observation = env.contexts()[torch.from_numpy(random.integers(len(env.contexts()), size=(5, rows)))]
    stack = gradients(SEEDS, observation)
    for run in range(5):
        single = gradients(SEEDS[run : run + 1], observation[run : run + 1])
        for number, (many, one) in enumerate(zip(stack, single, strict=True)):
            assert torch.equal(many[run], one[0]), f"parameter {number} of run {run}"


@pytest.mark.parametrize("words", [1, 2, 3, 4, 5, 6, 7, 10, 13, 19, 31])
def test_logits_of_any_vocabulary_are_a_runs_own_bits(words):
    """Values and gradients, at every size of stack and place in it, for rows that fill 16 bytes and that do not."""
    random = np.random.default_rng(0)

    def draw(*shape):
        return torch.from_numpy(random.standard_normal((8, *shape), dtype=np.float32))

    def found(runs, numbers, slope):
        bias, units, weight = (x[runs].clone().requires_grad_() for x in numbers)
        logits = linear(bias, units, weight)
        return logits.detach(), *torch.autograd.grad((logits * slope[runs]).sum(), (bias, units, weight))

    for rows, width in ((1, 8), (3, 64), (7, 12), (50, 64), (96, 64), (150, 128)):
        numbers, slope = (draw(1, words), draw(rows, width), draw(width, words)), draw(rows, words)
        stack = found(slice(0, 8), numbers, slope)
        torch.testing.assert_close(stack[0], torch.baddbmm(*numbers))
        for first, runs in ((0, 1), (3, 1), (7, 1), (1, 2), (5, 3)):
            part = found(slice(first, first + runs), numbers, slope)
            for many, few in zip(stack, part, strict=True):
                assert torch.equal(many[first : first + runs], few), (rows, width, first, runs)


@pytest.mark.parametrize("policy", ["mlp", "gru", "transformer"])
@pytest.mark.parametrize("words", [5, 7])
def test_a_run_in_a_stack_is_the_run_alone_where_words_do_not_fill_16_bytes(policy, words):
    env = world(policy, replace(ENV, operations=words))
    stack = train(policy, "grpo", SEEDS[:3], env=env)
    for run in range(3):
        assert_same_run(stack, run, train(policy, "grpo", SEEDS[run : run + 1], env=env))


@pytest.mark.parametrize("policy", POLICIES)
def test_the_place_in_the_stack_does_not_matter(policy):
    forward, backward = train(policy, "dapo", SEEDS), train(policy, "dapo", SEEDS[::-1])
    assert torch.equal(forward.final, backward.final.flip(0))


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("objective", ["dapo", "clip_cov"])
def test_the_same_command_twice_is_the_same(policy, objective):
    one, two = train(policy, objective, SEEDS[:2]), train(policy, objective, SEEDS[:2])
    for run in range(2):
        assert torch.equal(one.final[run], two.final[run])
        assert torch.equal(one.sft_losses[run], two.sft_losses[run])
    for here, there in zip(one.measures, two.measures, strict=True):
        assert all(torch.equal(here[name], there[name]) for name in here)


@pytest.mark.parametrize("policy", POLICIES)
def test_different_seeds_are_different_runs(policy):
    trace = train(policy, "grpo", SEEDS)
    for one in range(5):
        for two in range(one):
            assert not torch.equal(trace.final[one], trace.final[two])
            assert not torch.equal(trace.sft_losses[one], trace.sft_losses[two])
            if policy != "tabular":  # a table starts at the uniform policy, whatever the seed
                assert not torch.equal(trace.initial[one], trace.initial[two])
    if policy == "tabular":
        assert not trace.initial.any()


def test_seeds_beyond_32_bits_are_their_own():
    near, far = (flat_parameters(make_policy("mlp", ENV, [seed], width=8)) for seed in (1, 1 + 2**32))
    assert not torch.equal(near, far)


# -- divergence --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("value", [float("inf"), float("nan")])
@pytest.mark.parametrize("objective", ["grpo", "dapo", "clip_cov", "kl_cov", "grpo with bonus and KL"])
@pytest.mark.parametrize("policy", POLICIES)
def test_a_diverged_run_is_marked_and_its_neighbours_never_notice(policy, objective, value):
    stack = train(policy, objective, SEEDS[:3], poison=(1, value))
    assert stack.diverged.tolist() == [False, True, False]
    for run in (0, 2):
        assert_same_run(stack, run, alone(policy, objective, SEEDS[run]))
    assert torch.equal(stack.final[1].isnan(), torch.full_like(stack.final[1], value).isnan())
    assert stack.final[1].isfinite().sum() == 0, "a diverged run stays where it was"


def test_a_run_whose_loss_is_not_finite_keeps_the_parameters_of_before():
    policy = make_policy("mlp", ENV, SEEDS[:3], width=8, embedding=3)
    optimizer = StackedAdam(policy, 0.1, max_grad_norm=1.0)
    observation = ENV.contexts().expand(3, -1, -1)
    before = flat_parameters(policy)
    optimizer.step(policy(observation).square().mean((1, 2)))
    between = flat_parameters(policy)
    assert (between != before).any(1).all()
    for poison in (float("nan"), float("inf")):
        factor = torch.tensor([1.0, poison, 1.0])
        norm = optimizer.step(policy(observation).square().mean((1, 2)) * factor)
        assert norm[[0, 2]].isfinite().all()
    optimizer.step(policy(observation).square().mean((1, 2)))  # once diverged, it stays where it was
    after = flat_parameters(policy)
    assert optimizer.diverged.tolist() == [False, True, False]
    # a loss that is not finite, though its gradient is
    optimizer.step(policy(observation).square().mean((1, 2)) + torch.tensor([torch.inf, 0.0, 0.0]))
    assert optimizer.diverged.tolist() == [True, True, False]
    assert torch.equal(flat_parameters(policy)[:2], after[:2])
    assert torch.equal(after[1], between[1])
    assert (after != between).any(1).tolist() == [True, False, True]


# -- parameters --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", POLICIES)
def test_flat_parameters_come_back(name):
    source = make_policy(name, world(name), [1, 2], **POLICIES[name])
    with torch.no_grad():
        for p in source.parameters():
            p.copy_(torch.arange(p.numel()).view_as(p))
    flat = flat_parameters(source)
    assert flat.shape == (2, sum(p[0].numel() for p in source.parameters()))
    assert not flat.requires_grad
    target = make_policy(name, world(name), [3, 4], **POLICIES[name])
    load_flat(target, flat)
    for a, b in zip(source.parameters(), target.parameters(), strict=True):
        assert torch.equal(a, b)
    assert torch.equal(flat_parameters(target), flat)
    flat.zero_()
    assert flat_parameters(source).any(), "the rows are a copy"


@pytest.mark.parametrize("name", POLICIES)
def test_parameters_carry_the_run_axis_and_survive_a_state_dict(name):
    env = world(name)
    source, target = (make_policy(name, env, seeds, **POLICIES[name]) for seeds in ([1, 2, 3], [4, 5, 6]))
    assert all(p.shape[0] == 3 for p in source.parameters())
    with torch.no_grad():
        next(iter(source.parameters())).add_(1.0)
    target.load_state_dict(source.state_dict())
    assert torch.equal(target.table(env), source.table(env))


@pytest.mark.parametrize("name", POLICIES)
def test_the_gradient_of_one_run_stays_in_that_run(name):
    env = world(name)
    policy = make_policy(name, env, [1, 2, 3], **POLICIES[name])
    policy.log_probs(env.contexts().expand(3, -1, -1))[1, :, 0].sum().backward()
    for p in policy.parameters():
        assert p.grad[1].any()
        assert not p.grad[[0, 2]].any()


@pytest.mark.parametrize("counts", [(4,), (2, 2), (1, 1, 1, 1), (1, 3), (2, 1, 1)])
def test_summed_rows_are_the_sums_of_rows_and_so_is_their_gradient_and_its_gradient(counts):
    random = torch.Generator().manual_seed(0)
    table = torch.randn(7, 3, generator=random, dtype=torch.float64, requires_grad=True)
    rows = torch.randint(7, (2, 5, 4), generator=random)
    expected = torch.stack([part.sum(-2) for part in table[rows].split(counts, -2)], -2)
    assert torch.allclose(summed_rows(table, rows, counts), expected, rtol=0, atol=1e-14)
    assert torch.autograd.gradcheck(lambda t: summed_rows(t, rows, counts), table)
    assert torch.autograd.gradgradcheck(lambda t: summed_rows(t, rows, counts), table)


def test_the_mlp_is_its_formula():
    policy = make_policy("mlp", ENV, [1, 2], width=12, embedding=4)
    table = policy.table(ENV).double()
    sizes = np.cumsum([0, *ENV.observation_sizes[:-1]])
    for run in range(2):
        p = {name: value[run].detach().double() for name, value in policy.named_parameters()}
        for row, observation in enumerate(ENV.contexts().tolist()):
            hidden = sum(p["embedding"][start + entry] for start, entry in zip(sizes, observation, strict=True))
            for layer in (0, 1):
                hidden = nn.functional.gelu(hidden @ p[f"weight_{layer}"] + p[f"bias_{layer}"][0])
            expected = torch.log_softmax(hidden @ p["weight_2"] + p["bias_2"][0], -1)
            # float32 sums of at most 9 products of size 1 in three layers
            assert torch.allclose(table[run, row], expected, rtol=0, atol=1e-5)


def test_a_table_holds_what_it_is_set_to():
    policy = make_policy("tabular", ENV, [1, 2])
    target = ENV.demonstrator(noise=0.2)
    policy.set_table(target)
    # log_softmax of normalised float32 log-probabilities
    assert torch.allclose(policy.table(ENV), target.expand(2, -1, -1), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", POLICIES)
def test_observations_may_have_any_axes_between_the_run_and_the_entries(name):
    env = world(name)
    policy = make_policy(name, env, [1, 2], **POLICIES[name])
    contexts = env.contexts()[-24:].expand(2, 24, -1)
    flat = policy.log_probs(contexts)
    folded = policy.log_probs(contexts.reshape(2, 2, 3, 4, -1))
    assert torch.equal(folded.reshape(2, 24, -1), flat)


def test_an_unknown_policy_names_the_nearest_and_a_width_has_a_floor():
    with pytest.raises(ToybedError, match="unknown policy 'tabula': did you mean 'tabular'"):
        make_policy("tabula", ENV, [0])
    for name in ("mlp", "gru", "transformer"):
        for width in (0, 33, 50):
            with pytest.raises(ToybedError, match=f"{name}: width is {width}; allowed: multiples of 4"):
                make_policy(name, world(name), [0], width=width)


# -- legal tokens ------------------------------------------------------------------------------------------------------
class Restricted(ChainReach):
    """ChainReach in which the operation numbered like the current value (mod V) may not be used."""

    def legal(self, state):
        return torch.arange(self.operations) != (state.value % self.operations)[..., None]

    def legal_at(self, observation):
        """The same from an observation ``[..., F]``."""
        if self.view == "state":
            return self.legal(ChainState(*observation.unbind(-1)))
        goal, start, *tokens = observation.unbind(-1)
        state = ChainState(start, goal, torch.zeros_like(goal))
        for token in tokens:
            after = self.step(state, token.clamp(max=self.operations - 1))
            state = ChainState(torch.where(token < self.operations, after.value, state.value), goal, after.time)
        return self.legal(state)


RESTRICTED = Restricted(modulus=7, operations=3, length=3)


@pytest.mark.parametrize("name", POLICIES)
def test_illegal_tokens_get_no_mass(name):
    env = world(name, RESTRICTED)
    policy = make_policy(name, env, [1, 2], **POLICIES[name])
    observation = env.contexts().expand(2, -1, -1)
    legal = env.legal_at(observation)
    log_probs = policy.log_probs(observation, legal)
    assert (log_probs.exp()[~legal] == 0).all()
    # a softmax of 3 float32 numbers
    assert torch.allclose(log_probs.exp().sum(-1), torch.ones(()), rtol=0, atol=1e-6)
    logits = policy(observation)
    expected = logits[legal].view(2, -1, 2).log_softmax(-1)
    assert torch.allclose(log_probs[legal].view(2, -1, 2), expected, rtol=0, atol=1e-6)
    entropy = token_entropy(log_probs)
    assert torch.allclose(entropy, -(expected.exp() * expected).sum(-1), rtol=0, atol=1e-6)
    entropy.sum().backward()
    assert all(p.grad.isfinite().all() for p in policy.parameters())


@pytest.mark.parametrize("objective", ["grpo", "dapo", "clip_cov", "grpo with bonus and KL"])
@pytest.mark.parametrize("name", POLICIES)
def test_a_world_with_illegal_tokens_is_learned_in_without_using_them(name, objective):
    env = world(name, RESTRICTED)
    policy, reference = (make_policy(name, env, SEEDS[:2], **POLICIES[name]) for _ in range(2))
    chosen = catalogue.get(objective.split(" ")[0], **OBJECTIVES[objective])
    learner = PolicyGradient(env, policy, chosen, LEARNING, list(SEEDS[:2]), reference)
    for _ in range(3):
        learner.update()
    assert not learner.diverged.any()
    streams = Streams("check", SEEDS[:2])
    sample = rollout(env, policy, draw_prompts(env.prompts(), 50, streams), 8, streams)
    assert sample.legal.shape == (2, 50, 8, 3, 3)
    assert torch.equal(sample.legal, env.legal_at(sample.observation))
    assert sample.legal.gather(-1, sample.token[..., None]).all()
    recomputed = policy.log_probs(sample.observation, sample.legal)
    shared = response_log_probs(env, policy, sample.observation, sample.legal)
    # the same float32 network on batches of other shapes; -1e9 of illegal tokens is the same number
    assert torch.allclose(shared, recomputed, rtol=1e-6, atol=2e-6)
    assert torch.allclose(choose(recomputed, sample.token), sample.log_prob, rtol=0, atol=2e-6)


# -- the optimiser -----------------------------------------------------------------------------------------------------
class Weights(Policy):
    """Bare parameters ``[S, 3, 4]`` and ``[S, 5]``."""

    def __init__(self, runs: int) -> None:
        super().__init__()
        self.runs = runs
        random = np.random.default_rng(1)
        self.a = nn.Parameter(torch.from_numpy(random.normal(size=(4, 3, 4))[:runs].astype(np.float32)))
        self.b = nn.Parameter(torch.from_numpy(random.normal(size=(4, 5))[:runs].astype(np.float32)))


STEPS = 25
RATE = 0.01


def slopes(step):
    """Gradients of step ``step``: some far above the clip, some below."""
    random = np.random.default_rng(100 + step)
    scale = 10.0 ** random.uniform(-2, 1, size=(4, 1))
    a, b = random.normal(size=(4, 3, 4)) * scale[..., None], random.normal(size=(4, 5)) * scale
    return torch.from_numpy(a.astype(np.float32)), torch.from_numpy(b.astype(np.float32))


def linear_loss(policy, step, runs=slice(None)):
    """A loss whose gradient is ``slopes(step)`` wherever the parameters are: errors do not feed on themselves."""
    a, b = (slope[runs] for slope in slopes(step))
    return (policy.a * a).sum((1, 2)) + (policy.b * b).sum(1)


def test_stacked_adam_is_torchs_adam_and_clip_for_each_run():
    """Against ``clip_grad_norm_`` and ``torch.optim.Adam`` on each run alone, in float32.

    Tolerance: the first moment is a sum of slopes of at most max|g|, the root of the second at least
    sqrt(1 - 0.999) max|g| = 0.03 max|g|: a step's quotient carries some 10 roundings of 2^-24, made up to 30 times
    larger, times the rate 0.01: 2e-7; storing a parameter of size 2 rounds by 1.2e-7. Over 25 steps: below 1e-5.
    The movement is of order rate * sqrt(steps), 1e-2 and more.
    """
    policy = Weights(4)
    start = flat_parameters(policy)
    stacked = StackedAdam(policy, RATE, max_grad_norm=1.0)
    singles = [[nn.Parameter(p.detach()[run].clone()) for p in policy.parameters()] for run in range(4)]
    optimizers = [torch.optim.Adam(parameters, lr=RATE, foreach=False) for parameters in singles]
    clipped = set()
    for step in range(STEPS):
        norm = stacked.step(linear_loss(policy, step))
        for run, (parameters, optimizer) in enumerate(zip(singles, optimizers, strict=True)):
            for p, slope in zip(parameters, slopes(step), strict=True):
                p.grad = slope[run].clone()
            expected = nn.utils.clip_grad_norm_(parameters, 1.0)
            clipped.add(bool(expected > 1))
            # a float32 norm of 17 numbers
            assert float(norm[run]) == pytest.approx(float(expected), rel=1e-5)
            optimizer.step()
    expected = torch.stack([torch.cat([p.detach().flatten() for p in parameters]) for parameters in singles])
    assert clipped == {True, False}
    assert torch.allclose(flat_parameters(policy), expected, rtol=0, atol=1e-5)
    assert (flat_parameters(policy) - start).abs().median() > 1e-2


def test_a_learning_rate_for_each_run_is_that_rate_alone():
    rates = torch.tensor([1e-3, 1e-2, 0.0, 0.3])
    policy = Weights(4)
    start = flat_parameters(policy)
    stacked = StackedAdam(policy, rates, max_grad_norm=1.0)
    for step in range(STEPS):
        stacked.step(linear_loss(policy, step))
    for run, rate in enumerate(rates.tolist()):
        single = Weights(4)
        alone_optimizer = StackedAdam(single, rate, max_grad_norm=1.0)
        for step in range(STEPS):
            alone_optimizer.step(linear_loss(single, step))
        assert torch.equal(flat_parameters(policy)[run], flat_parameters(single)[run])
    assert torch.equal(flat_parameters(policy)[2], start[2])


def test_learning_rates_may_differ_within_a_stack_of_the_learner():
    rates = torch.tensor([1e-3, 3e-2])

    def final(seeds, rate):
        policy = make_policy("mlp", ENV, seeds, **POLICIES["mlp"])
        learner = PolicyGradient(ENV, policy, catalogue.get("grpo"), LEARNING, list(seeds))
        learner._optimizers = {None: StackedAdam(policy, rate, LEARNING.max_grad_norm)}
        for _ in range(3):
            learner.update()
        return flat_parameters(policy)

    together = final(SEEDS[:2], rates)
    for run in range(2):
        assert torch.equal(together[run], final(SEEDS[run : run + 1], float(rates[run]))[0])


@pytest.mark.parametrize(
    ("name", "parameter", "values"),
    [("grpo", "entropy_coefficient", (0.0, 0.1)), ("kl_cov", "penalty", (0.0, 5.0)), ("grpo", "clip_low", (0.01, 0.9))],
)
def test_hyper_parameters_may_differ_within_a_stack(name, parameter, values):
    def final(seeds, value):
        policy = make_policy("tabular", ENV, seeds)
        objective = catalogue.get(name, **{parameter: 0.5}).with_parameters(**{parameter: value})
        learner = PolicyGradient(ENV, policy, objective, LEARNING, list(seeds))
        for _ in range(3):
            learner.update()
        return flat_parameters(policy)

    together = final(SEEDS[:2], torch.tensor(values).view(2, 1, 1, 1))
    for run, value in enumerate(values):
        assert torch.equal(together[run], final(SEEDS[run : run + 1], value)[0])
    assert not torch.equal(together[1], final(SEEDS[1:2], values[0])[0])


def test_the_catalogue_takes_a_value_for_each_run():
    rates = torch.tensor([0.1, 0.3]).view(2, 1, 1, 1)
    policy = make_policy("tabular", ENV, SEEDS[:2])
    objective = catalogue.get("grpo", clip_low=rates)
    learner = PolicyGradient(ENV, policy, objective, LEARNING, list(SEEDS[:2]))
    assert learner.update()["reward"].shape == (2,)


def test_a_kl_needs_a_reference():
    policy = make_policy("tabular", ENV, [0])
    with pytest.raises(ToybedError, match="grpo needs a reference policy: pass reference="):
        PolicyGradient(ENV, policy, catalogue.get("grpo", kl_coefficient=0.1), LEARNING, [0])
