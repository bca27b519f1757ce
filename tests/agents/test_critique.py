"""Learning from critiques: refinements against a plain loop, their place in a group, and that no policy sees them."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from toybed.agents.config import Critique, Learning, Setting, Spec, Supervised
from toybed.agents.critique import LEFT_OUT, CritiqueGradient
from toybed.agents.learners import DEGREES
from toybed.agents.policies import load_flat, make_policy
from toybed.agents.policy_gradient import PolicyGradient
from toybed.agents.refinement import read, refine, solutions
from toybed.agents.rollout import Rollout, response_log_probs, rollout
from toybed.agents.training import train_bases, train_runs
from toybed.envs import make
from toybed.envs import plan_exec_critiques as critiques
from toybed.errors import ToybedError
from toybed.objectives import catalogue
from toybed.streams import Streams

ENV = make("plan_exec", types=5, stages=2, skills=4, values=5, nvalid=2, hard_frac=0.4, table_seed=2)
LENGTH = ENV.horizon
SEEDS = [0, 1]
TINY = Setting(
    objective=Spec("critique_grpo"),
    world=Spec("plan_exec", {"types": 5, "stages": 2, "skills": 4, "values": 8, "nvalid": 2, "hard_frac": 0.4}),
    policy=Spec("mlp", {"width": 16}),
    supervised=Supervised(steps=20, demonstrations=32),
    learning=Learning(updates=2, prompts=4, group=5, minibatches=2, measure_every=1),
    learner=Critique(refined=2, rounds=3),
)


def random_policy(runs=2, scale=1.5):
    policy = make_policy("tabular", ENV, range(runs))
    random = np.random.default_rng(5)
    policy.set_table(torch.from_numpy(random.normal(0, scale, policy.logits.shape)).float())
    return policy


def able_policy():
    """One that is right now and then."""
    policy = random_policy()
    policy.set_table(ENV.demonstrator(execution=0.8, default=0.4, rare=0.3))
    return policy


def sampled(policy, group=3, prompts=None):
    prompt = (ENV.prompts() if prompts is None else prompts).expand(policy.runs, -1)
    return rollout(ENV, policy, prompt, group, Streams("sampled", range(policy.runs)))


def draws(critique, sample, name="refinement"):
    shape = (critique.rounds + 1, LENGTH + 1 + critiques.DRAWS, *sample.token.shape[1:3])
    return Streams(name, range(len(sample.prompt))).uniform(shape)


def learner(critique, objective="critique_grpo", group=5, policy=None, **learning):
    policy = random_policy() if policy is None else policy
    config = Learning(prompts=6, minibatches=2, group=group, **learning)
    return CritiqueGradient(ENV, policy, catalogue.get(objective), config, SEEDS, None, critique)


# -- refinements, one by one ------------------------------------------------------------------------------------------
def plain_attempt(table, prompt, tokens, said, degree, comply, uniform):
    """One attempt in plain words: ``table [C, V]`` of probabilities, ``uniform [T + 1]``."""
    located = degree in ("located", "full")
    place = int(said.place) if located else 0
    state, chosen = ENV.reset(torch.tensor(prompt)), []
    for time in range(LENGTH):
        chance = table[int(ENV.context_index(ENV.observe(state)))].copy()
        if located and time == place:
            chance[tokens[time]] = 0
        ladder = np.cumsum(chance / chance.sum())
        token = int((uniform[time] >= ladder).sum())
        if time < place:
            token = tokens[time]
        elif degree == "full" and time == place and uniform[LENGTH] < comply:
            token = int(said.fix)
        chosen.append(token)
        state = ENV.step(state, torch.tensor(token))
    return chosen


def plain_refinement(table, prompt, tokens, critique, uniform):
    """The response in the end and the attempts; ``uniform [rounds + 1, T + 5]``."""

    def criticised(response, row):
        place = torch.tensor(prompt), torch.tensor(response)
        rest = torch.from_numpy(row[LENGTH + 1 :])
        return critiques.critique(ENV, *place, critique.degree, noise=critique.noise, uniform=rest)

    said, attempts = criticised(tokens, uniform[-1]), 0
    for row in uniform[:-1]:
        if int(said.right) == 1 or float(said.share) == 1:
            break
        attempt = plain_attempt(table, prompt, tokens, said, critique.degree, critique.comply, row)
        answer = criticised(attempt, row)
        attempts += 1
        if critique.degree != "number" or float(answer.share) >= float(said.share):
            tokens, said = attempt, answer
    return tokens, attempts


@pytest.mark.parametrize("noise", [0.0, 0.3])
@pytest.mark.parametrize("degree", critiques.DEGREES)
def test_refinements_are_those_of_a_plain_loop(degree, noise):
    """Exactly, but for a draw within float32's rounding (1e-7) of a step: 30 responses of 12 draws, 4e-5 in all."""
    policy, critique = random_policy(1), Critique(degree, rounds=3, noise=noise, comply=0.6)
    sample = sampled(policy, group=2, prompts=ENV.prompts()[3:18])
    uniform = draws(critique, sample)
    tokens, attempts = refine(ENV, policy, critique, sample.prompt, sample.token, uniform)
    table = policy.table(ENV)[0].double().exp().numpy()
    for b in range(tokens.shape[1]):
        for g in range(tokens.shape[2]):
            mine = uniform[0, :, :, b, g].numpy()
            given = int(sample.prompt[0, b]), sample.token[0, b, g].tolist()
            expected = plain_refinement(table, *given, critique, mine)
            assert (tokens[0, b, g].tolist(), int(attempts[0, b, g])) == expected


def test_a_true_critique_that_is_always_followed_ends_right():
    """Each attempt makes the right beginning one token longer at least, so as many as there are tokens suffice."""
    policy, critique = random_policy(), Critique(rounds=LENGTH, comply=1.0)
    sample = sampled(policy)
    tokens, attempts = refine(ENV, policy, critique, sample.prompt, sample.token, draws(critique, sample))
    each = sample.prompt[..., None].expand(tokens.shape[:-1])
    failing = critiques.critique(ENV, each, sample.token).place
    assert (read(ENV, policy, sample.prompt, tokens).reward == 1).all()
    assert (attempts <= LENGTH - failing).all()
    assert (attempts[failing == LENGTH] == 0).all()


def test_a_located_critique_keeps_what_was_right():
    policy, critique = random_policy(), Critique("located", rounds=2)
    sample = sampled(policy)
    tokens, _ = refine(ENV, policy, critique, sample.prompt, sample.token, draws(critique, sample))
    each = sample.prompt[..., None].expand(tokens.shape[:-1])
    before = critiques.critique(ENV, each, sample.token).place
    after = critiques.critique(ENV, each, tokens).place
    assert (after >= before).all()
    kept = torch.arange(LENGTH) < before[..., None]
    assert (tokens[kept] == sample.token[kept]).all()


def test_a_full_critique_that_nobody_follows_is_a_located_one():
    policy = random_policy()
    sample = sampled(policy)
    both = [Critique(degree, rounds=3, comply=0.0, noise=0.2) for degree in ("full", "located")]
    a, b = (refine(ENV, policy, c, sample.prompt, sample.token, draws(c, sample)) for c in both)
    assert torch.equal(a[0], b[0])
    assert torch.equal(a[1], b[1])


def test_a_token_that_the_policy_is_sure_of_can_be_left():
    policy = random_policy()
    policy.set_table(torch.where(torch.arange(ENV.vocabulary) % ENV.skills == 1, 200.0, 0.0)[None, None])
    critique = Critique("located", rounds=1)
    sample = sampled(policy)
    tokens, attempts = refine(ENV, policy, critique, sample.prompt, sample.token, draws(critique, sample))
    place = critiques.critique(ENV, sample.prompt[..., None].expand(tokens.shape[:-1]), sample.token).place
    at = place.clamp(max=LENGTH - 1)[..., None]
    changed = (tokens.gather(-1, at) != sample.token.gather(-1, at)).squeeze(-1)
    assert (attempts == 1).any()
    assert torch.equal(changed, attempts == 1)
    assert not bool(read(ENV, policy, sample.prompt, tokens).entropy.isnan().any())


def test_given_responses_are_read_as_if_they_had_been_sampled():
    policy = make_policy("mlp", ENV, SEEDS, width=16)
    sample = sampled(policy)
    same = read(ENV, policy, sample.prompt, sample.token)
    for name in Rollout._fields:
        mine, theirs = getattr(same, name), getattr(sample, name)
        if mine is None:
            assert theirs is None
        elif mine.is_floating_point():
            # one pass over other shapes: a few roundings of float32 apart
            torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)
        else:
            assert torch.equal(mine, theirs)


def test_solutions_are_right_and_all_alike():
    """Each of a type's valid plans at a stage as often as the other: |z| < 4.5 in 6 such places, fails with 4e-5."""
    prompt = ENV.prompts().expand(400, -1)
    uniform = Streams("solutions", range(400)).uniform((prompt.shape[1], LENGTH * (1 + critiques.DRAWS)))
    tokens = solutions(ENV, prompt, uniform)
    truth = critiques.judged(ENV, prompt, tokens)
    assert truth.right.all()
    for kind in range(ENV.types - ENV.hard_types):
        for stage in range(ENV.stages):
            plans = tokens[:, ENV.values * kind : ENV.values * (kind + 1), 2 * stage].flatten()
            one, other = ENV.tables.valid[kind, stage].nonzero().flatten().tolist()
            count = (plans == one).sum()
            assert count + (plans == other).sum() == len(plans)
            assert abs(float(count) - len(plans) / 2) < 4.5 * math.sqrt(len(plans) / 4)


# -- their place in a group -------------------------------------------------------------------------------------------
def batch_of(critique, objective="critique_grpo"):
    trained = learner(critique, objective, policy=able_policy())
    sample, _, _ = trained._sample()
    return trained, sample, trained._batch(sample)


def test_the_worst_responses_are_refined_and_all_is_told():
    trained, sample, batch = batch_of(Critique("full", refined=2, rounds=LENGTH, comply=1.0))
    assert torch.equal(batch.source[..., :3], torch.zeros_like(batch.source[..., :3]))
    assert (batch.source[..., 3:] == 1).all()
    assert (batch.reward[..., 3:] == 1).all()
    assert batch.mask.all()
    own = trained._own(sample)
    assert own.token.shape[2] == 3
    assert torch.equal(own.prompt, sample.prompt)
    # with comply 1 and a true critique what is kept of a refined response is its right beginning
    worst = own.reward.argsort(dim=-1, stable=True)[..., :2]
    original = own.token.gather(2, worst[..., None].expand(-1, -1, -1, LENGTH))
    each = sample.prompt[..., None].expand(worst.shape)
    kept = torch.arange(LENGTH) < critiques.critique(ENV, each, original).place[..., None]
    assert (sample.token[:, :, 3:][kept] == original[kept]).all()


def test_what_is_left_out_moves_nothing():
    """Advantages of the kept rows are those of the group without the others, whose tokens have no gradient."""
    trained, sample, batch = batch_of(Critique("none", refined=2, rounds=1))
    left = batch.source == LEFT_OUT
    assert left.any()
    assert (~left[..., 3:]).any()
    raw = read(ENV, trained.policy, sample.prompt, sample.token).reward
    assert torch.equal(left[..., 3:], raw[..., 3:] < 1)
    advantage = trained.objective.advantages(batch, check=False).squeeze(-1)
    for s, b in np.ndindex(*left.shape[:2]):
        kept = raw[s, b][~left[s, b]].double()
        torch.testing.assert_close(advantage[s, b][~left[s, b]].double(), kept - kept.mean(), rtol=0, atol=1e-6)
    assert (advantage[left].abs() < 1e-6).all()
    assert not batch.mask[left].any()
    assert batch.mask[~left].all()


def test_without_a_kept_refinement_it_is_dr_grpo_without_its_clip():
    """On the sampled rows; the mean is over all rows of the group, so it is shorter by their share."""
    trained, sample, batch = batch_of(Critique("indicative", refined=2, rounds=1, noise=0.0))
    nothing = batch.source.clamp(max=0)
    nothing[..., 3:] = LEFT_OUT
    reward = batch.reward.clone()
    reward[..., 3:] = reward[..., :3].mean(-1, keepdim=True)
    mask = (nothing >= 0)[..., None].expand_as(batch.mask)
    empty = replace(batch, source=nothing, mask=mask, reward=reward)
    log_probs = response_log_probs(ENV, trained.policy, sample.observation, sample.legal)
    log_prob = log_probs.gather(-1, sample.token[..., None]).squeeze(-1)
    parts = (getattr(batch, f.name) for f in fields(batch))
    own = type(batch)(*(None if x is None else x[:, :, :3] for x in parts))
    plain = catalogue.get("dr_grpo", clip_low=1e9, clip_high=1e9)
    advantage = trained.objective.advantages(empty, check=False)
    assert bool((advantage != 0).any())
    for policy_moved in (0.0, 0.3):
        moved = policy_moved * torch.sin(torch.arange(log_prob.numel())).view_as(log_prob)
        now = (log_prob + moved).detach().requires_grad_()
        mine = torch.autograd.grad(trained.objective.loss(now, empty, advantage=advantage).value.sum(), now)[0]
        theirs = torch.autograd.grad(plain.loss(now[:, :, :3], own).value.sum(), now)[0]
        torch.testing.assert_close(mine, theirs * (3 / 5), rtol=1e-5, atol=1e-7)


def test_all_refinements_can_be_kept_and_be_demonstrations():
    _, _, batch = batch_of(Critique("none", refined=1, rounds=1, keep="all"))
    assert (batch.source[..., 4] == 1).all()
    assert batch.mask.all()
    trained, sample, batch = batch_of(Critique("full", taken_for="demonstration", rounds=8), "sft")
    advantage = trained.objective.advantages(batch).squeeze(-1)
    assert torch.equal(advantage == 1, batch.source == 2)
    assert torch.equal(
        batch.source[..., 4] == 2, read(ENV, trained.policy, sample.prompt, sample.token).reward[..., 4] == 1
    )


def test_a_number_is_right_or_wrong_where_wrong_ones_are_left_out():
    """Both try afresh until all is right, and what is not right in the end is left out: bit for bit the same."""
    a, b = (learner(Critique(degree, rounds=3)) for degree in ("number", "indicative"))
    for trained in (a, b):
        for _ in range(3):
            trained.update()
    assert torch.equal(a.policy.table(ENV), b.policy.table(ENV))


def test_responses_are_counted():
    policy = random_policy()
    for degree, least, most in (("none", 3 + 2 * 4, 3 + 2 * 4), ("full", 3, 3 + 2 * 4), ("solution", 3, 3)):
        measured = learner(Critique(degree, refined=2, rounds=4), policy=policy).update()
        assert ((measured["responses"] >= least) & (measured["responses"] <= most)).all()
    assert torch.equal(measured["refined_right"], torch.ones(2, dtype=torch.float64))


def test_measures_of_a_batch_are_of_what_the_policy_sampled_itself():
    """The first batch of a learner with critiques has the same responses as one without, of the smaller group."""
    plain = PolicyGradient(
        ENV, random_policy(), catalogue.get("dr_grpo"), Learning(prompts=6, minibatches=2, group=3), SEEDS
    ).update()
    for degree in ("full", "solution"):
        mine = learner(Critique(degree, refined=2)).update()
        for name in ("reward", "entropy", "surprisal"):
            # means of the same numbers, which lie in memory otherwise: summed in another order
            torch.testing.assert_close(mine[name], plain[name], rtol=1e-6, atol=0)


@pytest.mark.parametrize("objective", ["critique_grpo", "dr_grpo", "dapo"])
def test_a_run_in_a_stack_is_the_run_alone(objective):
    setting = replace(TINY, objective=Spec(objective), learner=Critique(refined=2, rounds=3, noise=0.2))
    together = train_runs(setting, [3, 4, 5], train_bases(setting, [3, 4, 5]))
    alone = train_runs(setting, [4], train_bases(setting, [4]))[0]
    assert np.array_equal(together[1].parameters, alone.parameters)
    for name, curve in alone.curves.items():
        np.testing.assert_array_equal(together[1].curves[name].values, curve.values, err_msg=name)
    assert together[1].diverged_at is None


# -- nobody who is measured sees a critique ----------------------------------------------------------------------------
def test_what_is_measured_of_a_policy_does_not_know_of_critiques():
    """Of one and the same parameters everything exact is the same, whatever critique the learner has, or none."""
    bases = train_bases(TINY, SEEDS)
    learners = [None, *(Critique(degree, refined=2, noise=0.3) for degree in critiques.DEGREES)]
    curves = [
        train_runs(replace(TINY, objective=Spec("dr_grpo"), learner=each).with_learning(updates=0), SEEDS, bases)
        for each in learners
    ]
    for others in curves[1:]:
        for run, plain in zip(others, curves[0], strict=True):
            assert set(run.curves) == set(plain.curves)
            for name, curve in plain.curves.items():
                np.testing.assert_array_equal(run.curves[name].values, curve.values, err_msg=name)


def test_the_end_of_a_run_is_what_its_parameters_are_worth_in_a_world_without_critiques():
    result = train_runs(TINY, SEEDS, train_bases(TINY, SEEDS))
    world = make(TINY.world.name, **TINY.world.options)
    policy = make_policy("mlp", world, SEEDS, width=16)
    load_flat(policy, torch.from_numpy(np.stack([run.parameters for run in result])))
    reward = world.evaluate(policy.table(world)).reward[:, torch.isin(world.prompts(), world.prompts("test"))]
    worth = [run.curves["reward_test"].values[-1] for run in result]
    # float64 of the same float32 numbers: the mean is taken in another type
    np.testing.assert_allclose(reward.double().mean(1).numpy(), worth, rtol=1e-6)


def test_what_is_learned_from_shows_the_prompt_and_the_tokens_alone():
    """Observations and legal tokens of refined rows are those of their tokens, whatever was said on the way."""
    trained = learner(Critique("full", refined=2, noise=0.3, keep="all"))
    sample, _, _ = trained._sample()
    again = read(ENV, trained.policy, sample.prompt, sample.token)
    assert torch.equal(sample.observation, again.observation)
    assert torch.equal(sample.legal, again.legal)
    torch.testing.assert_close(sample.log_prob, again.log_prob, rtol=1e-5, atol=1e-5)  # without the critique
    assert sample.observation.shape[-1] == len(ENV.observation_sizes)


# -- bad input ---------------------------------------------------------------------------------------------------------
def test_degrees_are_the_worlds_and_solutions():
    assert list(DEGREES) == [*critiques.DEGREES, "solution"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"degree": "ful"}, "did you mean 'full'"),
        ({"keep": "wrong"}, "keep"),
        ({"taken_for": "sampled"}, "taken_for"),
        ({"noise": 1.5}, "noise is 1.5"),
        ({"comply": -0.1}, "comply is -0.1"),
        ({"rounds": 0}, "rounds is 0"),
        ({"refined": 0}, "refined is 0"),
    ],
)
def test_a_wrong_option_is_named(changes, message):
    with pytest.raises(ToybedError, match=message):
        Critique(**changes)


def test_what_cannot_be_refined_is_refused():
    with pytest.raises(ToybedError, match="ChainReach has no critiques"):
        setting = replace(TINY, world=Spec("chain_reach", {"modulus": 7, "length": 2}), supervised=None)
        train_runs(setting, [0], train_bases(setting, [0]))
    with pytest.raises(ToybedError, match="at most half"):
        learner(Critique(refined=3), group=5)
    with pytest.raises(ToybedError, match="reward vectors"):
        learner(Critique(), "gdpo")
    with pytest.raises(ToybedError, match=r"needs batch\.source"):
        PolicyGradient(ENV, random_policy(), catalogue.get("critique_grpo"), Learning(), SEEDS)
