"""Curricula and tempered groups: what is drawn, what is recorded, and that nothing moves where there are none."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from toybed.agents.choices import choose
from toybed.agents.config import Curriculum, Heads, Learning, Setting, Soft, Spec
from toybed.agents.curriculum import PromptDraw
from toybed.agents.heads import with_heads
from toybed.agents.policies import make_policy
from toybed.agents.policy_gradient import PolicyGradient
from toybed.agents.rollout import rollout, temper
from toybed.agents.training import train
from toybed.envs import make
from toybed.envs.core import TokenEnv
from toybed.errors import ToybedError
from toybed.measures.entropy import token_entropy
from toybed.objectives import get
from toybed.streams import Streams

CHAIN = make("chain_reach", modulus=13, length=3)
POOL = CHAIN.prompts("train")
HARD = CHAIN.difficulty(POOL)


def learner(seeds: list[int], env: TokenEnv = CHAIN, name: str = "grpo", **changes: Any) -> PolicyGradient:
    own = {field: changes.pop(field) for field in ("curriculum",) if field in changes}
    config = Learning(updates=6, prompts=8, group=4, minibatches=2, learning_rate=0.05, **own)
    return PolicyGradient(env, make_policy("tabular", env, seeds), get(name, **changes), config, seeds)


def table(training: PolicyGradient) -> Tensor:
    return training.policy.table(training.env)


# Difficulty -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("world", [CHAIN, make("answer_bandit", prompt_count=5), make("tool_search")])
def test_difficulty_is_what_random_tokens_lack(world: TokenEnv) -> None:
    """A world's own rule, where it has one, is the general one."""
    own, general = (
        rule(world.prompts("train")) for rule in (world.difficulty, lambda p: TokenEnv.difficulty(world, p))
    )
    torch.testing.assert_close(own, general, rtol=0, atol=1e-12)
    assert own.dtype == torch.float64


def test_difficulty_of_a_chain_is_its_share_of_wrong_responses() -> None:
    prompt = POOL[:7]
    assert torch.equal(CHAIN.difficulty(prompt), 1 - CHAIN.solutions(prompt).double() / 8**3)
    headed = with_heads(CHAIN, Heads(3, by="group"))
    assert torch.equal(headed.difficulty(prompt + CHAIN.n_prompts), CHAIN.difficulty(prompt))


# What is drawn --------------------------------------------------------------------------------------------------------


def drawn(curriculum: Curriculum | None, progress: float, count: int = 400, seeds: tuple[int, ...] = (0, 1)) -> Tensor:
    return PromptDraw(CHAIN, Learning(curriculum=curriculum), seeds).draw(
        count, Streams("rollout", seeds), None, progress
    )


@pytest.mark.parametrize("order", ["easy_first", "hard_first"])
@pytest.mark.parametrize("progress", [0.0, 0.2, 0.5, 1.0])
def test_only_the_share_of_the_moment_is_drawn(order: str, progress: float) -> None:
    """By a sorted list: the easiest (hardest) share, ties with the last of them included, all alike."""
    curriculum = Curriculum(order, start=0.2, full=0.5)
    share = 0.2 + 0.8 * min(progress / 0.5, 1.0)
    assert curriculum.share(progress) == pytest.approx(share)
    ranked = sorted(HARD.tolist(), reverse=order == "hard_first")
    border = ranked[round(share * len(ranked)) - 1]
    allowed = HARD.le(border) if order == "easy_first" else HARD.ge(border)
    weights = PromptDraw(CHAIN, Learning(curriculum=curriculum), [0]).weights(progress)
    assert weights is not None and torch.equal(weights[0] > 0, allowed) and set(weights[0].tolist()) <= {0.0, 1.0}
    assert bool(torch.isin(drawn(curriculum, progress), POOL[allowed]).all())


def test_all_that_may_be_drawn_are_drawn_alike() -> None:
    """Counts of 40,000 draws: each is within 6 standard deviations of its mean, but with a chance below 1e-6.

    A normal deviate is beyond 6 with a chance of 2e-9; there are about 120 prompts and two runs.
    """
    curriculum = Curriculum("easy_first", start=0.3)
    weights = PromptDraw(CHAIN, Learning(curriculum=curriculum), [0, 1]).weights(0.0)
    assert weights is not None
    allowed = POOL[weights[0] > 0]
    sample, p = drawn(curriculum, 0.0, 40_000), 1 / len(allowed)
    for run in sample:
        counts = torch.bincount(run, minlength=CHAIN.n_prompts)[allowed].double()
        assert float(((counts - 40_000 * p) / (40_000 * p * (1 - p)) ** 0.5).abs().max()) < 6


@pytest.mark.parametrize("curriculum", [None, Curriculum("mixed")])
def test_without_an_order_the_draw_is_what_it_was(curriculum: Curriculum | None) -> None:
    uniform = Streams("rollout", [0, 1]).uniform((400,))
    expected = POOL[(uniform * len(POOL)).long().clamp(max=len(POOL) - 1)]
    assert torch.equal(drawn(curriculum, 0.3), expected)


@pytest.mark.parametrize("order", ["easy_first", "hard_first", "adaptive"])
def test_a_curriculum_takes_as_many_numbers_and_runs_do_not_meet(order: str) -> None:
    together = drawn(Curriculum(order), 0.1)
    for s in (0, 1):
        assert torch.equal(drawn(Curriculum(order), 0.1, seeds=(s,))[0], together[s])
    streams, plain = Streams("rollout", [0]), Streams("rollout", [0])
    PromptDraw(CHAIN, Learning(curriculum=Curriculum(order)), [0]).draw(5, streams, None, 0.1)
    plain.uniform((5,))
    assert torch.equal(streams.uniform((3,)), plain.uniform((3,)))


def adaptive_twin(draw: list[list[int]], reward: list[list[float]], memory: float) -> dict[int, float]:
    rate: dict[int, float] = {}
    for prompts, rewards in zip(draw, reward, strict=True):
        for prompt in set(prompts):
            here = [r for p, r in zip(prompts, rewards, strict=True) if p == prompt]
            mean = sum(here) / len(here)
            rate[prompt] = memory * rate[prompt] + (1 - memory) * mean if prompt in rate else mean
    return rate


def test_an_adaptive_curriculum_remembers_rates() -> None:
    """Against a dictionary, run by run; what is within the band or unseen weighs 1, the rest ``outside``."""
    curriculum = Curriculum("adaptive", band=(0.2, 0.8), outside=0.25, memory=0.5)
    draw = PromptDraw(CHAIN, Learning(curriculum=curriculum), [0, 1])
    seen: list[tuple[Tensor, Tensor]] = []
    policy = make_policy("tabular", CHAIN, [0, 1])
    policy.set_table(CHAIN.demonstrator(noise=0.3))
    streams = Streams("rollout", [0, 1])
    for _ in range(6):
        sample = rollout(CHAIN, policy, draw.draw(64, streams, None, 0.0), 4, streams)
        draw.learn(sample, None)
        seen.append((sample.prompt, sample.reward.mean(-1)))
    weights = draw.weights(0.5)
    assert weights is not None
    for s in (0, 1):
        rate = adaptive_twin([p[s].tolist() for p, _ in seen], [r[s].tolist() for _, r in seen], 0.5)
        for place, prompt in enumerate(POOL.tolist()):
            assert bool(draw.state["seen"][s, place]) == (prompt in rate)
            if prompt in rate:
                assert float(draw.state["rate"][s, place]) == pytest.approx(rate[prompt], abs=1e-12)
            inside = prompt not in rate or 0.2 <= rate[prompt] <= 0.8
            assert float(weights[s, place]) == (1.0 if inside else 0.25)
    assert 0.25 in weights.unique().tolist()


def test_runs_that_do_not_draw_learn_nothing() -> None:
    draw = PromptDraw(CHAIN, Learning(curriculum=Curriculum("adaptive")), [0, 1])
    sample = rollout(CHAIN, make_policy("tabular", CHAIN, [0, 1]), POOL[:6].expand(2, -1), 4, Streams("x", [0, 1]))
    draw.learn(sample, [False, True])
    assert draw.state["seen"].sum(1).tolist() == [0, 6]


# In the learner -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["easy_first", "adaptive"])
def test_a_stacked_curriculum_is_each_run_alone_and_resumable(order: str) -> None:
    together = learner([3, 4], curriculum=Curriculum(order))
    singles = [learner([seed], curriculum=Curriculum(order)) for seed in (3, 4)]
    for update in range(6):
        if update == 3:
            together = pickle.loads(pickle.dumps(together))
        together.update()
        for alone in singles:
            alone.update()
    for s, alone in enumerate(singles):
        assert torch.equal(table(together)[s], table(alone)[0])


def test_mixed_is_no_curriculum_bit_for_bit() -> None:
    plain, mixed = learner([3]), learner([3], curriculum=Curriculum("mixed"))
    for _ in range(3):
        a, b = plain.update(), mixed.update()
        assert set(b) - set(a) == {"difficulty"}
    assert torch.equal(table(plain), table(mixed))


def test_difficulty_rises_and_falls_as_the_order_says() -> None:
    """At the start: all drawn prompts are on one side of the pool's median; the mean is reported."""
    for order, sign in (("easy_first", -1), ("hard_first", 1)):
        measured = learner([1, 2], curriculum=Curriculum(order, start=0.2)).update()
        assert bool((sign * (measured["difficulty"] - HARD.median()) > 0).all())


def test_a_setting_holds_a_curriculum_and_schedules() -> None:
    results = train(
        "grpo", seeds=2, updates=2, prompts=4, group=2, minibatches=1, measure_every=1, supervised=None,
        world=Spec("chain_reach", {"modulus": 13}), curriculum=Curriculum("adaptive"),
    )  # fmt: skip
    assert "sampled_difficulty" in results[0].curves
    with pytest.raises(ToybedError, match="Soft follows no curriculum"):
        Setting(learner=Soft(), learning=Learning(curriculum=Curriculum()))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"order": "easy"}, "easy_first"),
        ({"start": 0.0}, "start is 0.0"),
        ({"full": 1.5}, "full is 1.5"),
        ({"band": (0.9, 0.1)}, "band is"),
        ({"outside": 0.0}, "outside is 0.0"),
        ({"memory": 1.0}, "memory is 1.0"),
    ],
)
def test_what_is_not_allowed(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ToybedError, match=message):
        Curriculum(**wrong)


# Temperature ----------------------------------------------------------------------------------------------------------


def test_a_temperature_of_one_is_none_bit_for_bit() -> None:
    log_probs = torch.randn(5, 7, 8, generator=torch.Generator().manual_seed(0)).log_softmax(-1)
    assert torch.equal(temper(log_probs, torch.ones(5, 7, 1)), log_probs)
    plain, tempered = learner([3]), learner([3], sampling_temperature=1.0)
    for _ in range(3):
        plain.update(), tempered.update()
    assert torch.equal(table(plain), table(tempered))


@pytest.mark.parametrize("heat", [0.01, 0.5, 2.0, 50.0])
def test_temper_is_the_softmax_of_divided_logits(heat: float) -> None:
    logits = torch.randn(6, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    got = temper(logits.log_softmax(-1), torch.tensor(heat, dtype=torch.float64)).exp()
    torch.testing.assert_close(got / got.sum(-1, keepdim=True), (logits / heat).softmax(-1), rtol=1e-10, atol=1e-14)
    # An illegal token has no mass at any temperature, and a likely one always has some.
    illegal = logits.masked_fill(torch.arange(8) < 3, -1e9).log_softmax(-1).float()
    mass = temper(illegal, torch.tensor(heat)).exp()
    assert bool((mass[:, :3] == 0).all()) and bool((mass.sum(-1) > 0).all())


def test_groups_are_sampled_at_their_temperature_and_recorded_at_one() -> None:
    """Frequencies of 40,000 answers to one prompt: each within 6 standard deviations (chance below 1e-7)."""
    env = make("answer_bandit", prompt_count=2)
    policy = make_policy("tabular", env, [0])
    policy.set_table(env.demonstrator())
    heat = torch.tensor([[2.0, 0.5]])
    sample = rollout(env, policy, torch.tensor([[0, 1]]), 40_000, Streams("rollout", [0]), temperature=heat)
    log_probs = policy.table(env)[0]
    for b in (0, 1):
        expected = (log_probs[b].double() / heat[0, b]).softmax(-1)
        counts = torch.bincount(sample.token[0, b, :, 0], minlength=16).double()
        deviation = (counts - 40_000 * expected) / (40_000 * expected * (1 - expected)).sqrt()
        assert float(deviation.abs().max()) < 6
        assert torch.equal(
            sample.log_prob[0, b, :, 0], choose(log_probs[b].expand(40_000, -1), sample.token[0, b, :, 0])
        )
        torch.testing.assert_close(sample.entropy[0, b, :, 0], token_entropy(log_probs[b]).expand(40_000))


def test_the_learner_says_which_groups_were_tempered() -> None:
    training = learner([0, 1], name="aepo")
    training.update()
    sample, _, _ = training._sample()
    assert sample.tempered is not None and sample.tempered.tolist() == [[False, False, False, True] * 2] * 2
    assert training._batch(sample).tempered is sample.tempered


def test_a_row_that_reads_the_mask_needs_the_stage() -> None:
    bare = replace(get("aepo"), sampling=None, controller=None)
    with pytest.raises(ToybedError, match="aepo needs groups at a temperature"):
        PolicyGradient(CHAIN, make_policy("tabular", CHAIN, [0]), bare, Learning(prompts=4, group=2), [0])
