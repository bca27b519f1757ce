"""Worth from samples against exact worth, in a world that has both: ChainReach as if it could not be listed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from toybed import train
from toybed.agents.config import Heads, Learning, Setting, Spec, Supervised
from toybed.agents.meter import Meter
from toybed.agents.policies import make_policy
from toybed.agents.sampled_worth import RESPONSES, sampled_worth
from toybed.agents.supervised import fine_tune
from toybed.agents.training import train_bases, train_runs
from toybed.envs.chain_reach import ChainReach
from toybed.envs.core import TokenEnv
from toybed.errors import ToybedError
from toybed.streams import Streams


class Unlisted(ChainReach):
    """ChainReach whose contexts are not to be listed, with a measure of its own."""

    @property
    def tabulated(self):
        """Not so."""
        return False

    def demonstrate(self, noise: float = 0.0):
        """The solver with all chains alike."""
        table = self.demonstrator(style=None, noise=noise)
        return lambda observation: table[self.context_index(observation)]

    def measure_answers(self, prompt, state, answer):
        """How likely the right last token is, and how many answers there were."""
        right = self._tables[0][state.value] == state.goal[..., None]
        assert (state.goal == prompt[:, None] % self.modulus).all()
        return {
            "right": (answer * right).sum(-1).mean((1, 2)),
            "answers": answer.new_full((len(answer),), answer[0, ..., 0].numel()),
        }


def world(view="tokens", length=3):
    return Unlisted(modulus=7, operations=3, length=length, view=view)


def some_policy(env, seeds=(0, 1)):
    policy = make_policy("mlp", env, seeds, width=16)
    fine_tune(env, policy, Supervised(steps=30, demonstrations=64, demonstrator={"noise": 0.3}), Streams("d", seeds))
    return policy


@pytest.mark.parametrize("view", ["state", "tokens"])
def test_samples_estimate_the_exact_worth_without_bias(view):
    """Means over many independent measurements, each within 5 standard errors of the exact value: of 8 comparisons one
    fails by chance with probability below 1e-5."""
    env = world(view)
    policy = some_policy(env)
    exact = TokenEnv.evaluate(env, policy.table(env).double())
    prompt = env.prompts("test")
    draws = [sampled_worth(env, policy, prompt, (2 * i, 2 * i + 1)) for i in range(100)]
    for name in ("reward", "entropy"):
        estimates = torch.stack([getattr(draw, name).double().mean(1) for draw in draws])
        error = estimates.std(0) / len(draws) ** 0.5
        truth = getattr(exact, name)[:, torch.isin(env.prompts(), prompt)].mean(1)
        assert (error > 0).all()
        assert ((estimates.mean(0) - truth).abs() < 5 * error + 1e-6).all()


def test_one_token_is_summed_over_and_nothing_is_sampled():
    env = world(length=1)
    policy = some_policy(env)
    exact = env.evaluate(policy.table(env))
    worth = sampled_worth(env, policy, env.prompts(), (5, 6))
    assert worth.answer.shape == (2, 49, 1, 3)
    assert torch.allclose(worth.reward, exact.reward, rtol=0, atol=1e-6)
    assert torch.allclose(worth.entropy, exact.entropy, rtol=0, atol=1e-5)


def test_a_run_in_a_stack_is_measured_as_alone_and_twice_alike():
    env = world()
    policy, alone = some_policy(env), some_policy(env, (1,))
    both = [sampled_worth(env, policy, env.prompts(), (0, 1)) for _ in range(2)]
    assert torch.equal(both[0].reward, both[1].reward)
    assert torch.equal(both[0].reward[1:], sampled_worth(env, alone, env.prompts(), (1,)).reward)


def test_the_meter_takes_the_worlds_own_measures_from_samples():
    env = world()
    policy = some_policy(env)
    meter = Meter(env, policy, seeds=(0, 1))
    finite = meter.measure(0, {})
    meter.measure_more(0)
    first, second = meter.results(np.array([-1, -1]), np.array([0, 0]))
    assert finite.all()
    assert first.curves["answers"].values[0] == len(env.prompts("test")) * RESPONSES
    # right answers are all that is paid: the two measures are one
    for run in (first, second):
        assert run.curves["right"].values[0] == pytest.approx(run.curves["reward_test"].values[0], abs=1e-6)
        assert not any(name.startswith(("pass@", "coverage", "lost")) for name in run.curves)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter[1] = torch.nan
    assert meter.measure(1, {}).tolist() == [True, False]


def test_success_of_one_token_has_a_pass_at_k():
    env = world(length=1)
    meter = Meter(env, some_policy(env), seeds=(0, 1))
    meter.measure(0, {})
    assert "pass@16_test" in meter.results(np.array([-1, -1]), np.array([0, 0]))[0].curves


def test_heads_are_refused_where_contexts_cannot_be_listed(monkeypatch):
    monkeypatch.setattr("toybed.agents.training.make", lambda name, **knobs: world())
    setting = Setting(supervised=None, heads=Heads(2), learning=Learning(updates=1, prompts=4, minibatches=1))
    with pytest.raises(ToybedError, match="Unlisted cannot be listed, so that heads are not measured there"):
        train_bases(setting, [0])


def test_training_in_such_a_world_and_a_wrong_option_of_its_demonstrator(monkeypatch):
    monkeypatch.setattr("toybed.agents.training.make", lambda name, **knobs: world())
    setting = Setting(
        policy=Spec("gru", {"width": 16}),
        supervised=Supervised(steps=5, demonstrations=32, demonstrator={"noise": 0.2}),
        learning=Learning(updates=2, prompts=8, group=4, minibatches=2),
    )
    (run,) = train_runs(setting, [0], train_bases(setting, [0]))
    assert np.isfinite(run.curves["right"].values).all()
    with pytest.raises(ToybedError, match="unknown option of Unlisted's demonstrator 'style': allowed: noise"):
        train("grpo", seeds=1, supervised=Supervised(demonstrator={"style": None}))


def test_a_run_is_measured_in_a_stack_as_alone(monkeypatch):
    """Bit for bit, also where prompts are read in several parts."""
    monkeypatch.setattr("toybed.agents.sampled_worth.ROWS", 5 * RESPONSES)
    env, seeds = world(), (3, 4, 5)
    prompt = env.prompts("test")
    assert len(prompt) > 5
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        stack = sampled_worth(env, make_policy("gru", env, seeds, width=8), prompt, seeds)
        for run, seed in enumerate(seeds):
            alone = sampled_worth(env, make_policy("gru", env, [seed], width=8), prompt, [seed])
            for name in ("reward", "entropy", "answer"):
                assert torch.equal(getattr(stack, name)[run], getattr(alone, name)[0]), name
    finally:
        torch.set_num_threads(threads)
