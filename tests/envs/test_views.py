"""The worlds of several runs as one: each run's part is what its own world says of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from toybed.envs import make
from toybed.envs.core import TokenEnv
from toybed.envs.views import Worlds, by_run
from toybed.errors import ToybedError

NAMES = ("plan_exec", "chain_reach", "tool_search", "answer_bandit")


def worlds(name: str) -> Worlds:
    return Worlds.of([make(name, table_seed=seed) for seed in (1, 2, 3)])


def parts(state: Any) -> tuple[torch.Tensor, ...]:
    return tuple(state)


@pytest.mark.parametrize("name", NAMES)
def test_a_response_is_that_of_each_world(name: str) -> None:
    together = worlds(name)
    generator = torch.Generator().manual_seed(0)
    prompt = together.prompts("train")[:, :5].unsqueeze(-1).expand(-1, -1, 2)
    noise = torch.rand(*prompt.shape, together.noise, generator=generator) if together.noise else None
    token = torch.randint(together.vocabulary, (together.horizon, *prompt.shape), generator=generator)
    whole = together.reset(prompt, noise)
    alone = [env.reset(prompt[s], None if noise is None else noise[s]) for s, env in enumerate(together.each)]
    for tokens in token:
        for s, env in enumerate(together.each):
            assert torch.equal(together.observe(whole)[s], env.observe(alone[s]))
            legal, own = together.legal(whole), env.legal(alone[s])
            assert (legal is None) == (own is None)
            assert legal is None or own is None or torch.equal(legal[s], own)
        whole = together.step(whole, tokens)
        alone = [env.step(state, tokens[s]) for s, (env, state) in enumerate(zip(together.each, alone, strict=True))]
    for s, env in enumerate(together.each):
        assert all(torch.equal(a[s], b) for a, b in zip(parts(whole), parts(alone[s]), strict=True))
        assert torch.equal(together.reward(whole)[s], env.reward(alone[s]))
        if env.reward_names:
            assert torch.equal(together.reward_vector(whole)[s], env.reward_vector(alone[s]))


OF_PROMPTS: dict[str, Callable[[TokenEnv, torch.Tensor], torch.Tensor]] = {
    "difficulty": lambda env, prompt: env.difficulty(prompt),
    "solutions": lambda env, prompt: env.solutions(prompt),
}


@pytest.mark.parametrize("what", OF_PROMPTS)
def test_what_is_true_of_prompts_is_asked_of_each_world(what: str) -> None:
    together, ask = (
        Worlds.of([make("chain_reach", modulus=11, table_seed=seed) for seed in (1, 2, 3)]),
        OF_PROMPTS[what],
    )
    prompt = together.prompts("test")
    assert len({tuple(ask(env, env.prompts("test")).tolist()) for env in together.each}) > 1
    for s, env in enumerate(together.each):
        assert torch.equal(prompt[s], env.prompts("test"))
        assert torch.equal(ask(together, prompt)[s], ask(env, prompt[s]))


def test_each_run_is_shown_what_its_own_world_demonstrates() -> None:
    together = worlds("plan_exec")
    seen = together.contexts().expand(3, -1, -1)
    shown = together.demonstrate(execution=0.9)(seen)
    for s, env in enumerate(together.each):
        assert torch.equal(shown[s], env.demonstrate(execution=0.9)(seen[s]))
    legal = together.legal_at(seen)
    assert legal is not None
    assert torch.equal(legal[1], together.each[1].legal_at(seen[1]))  # type: ignore[arg-type]


@pytest.mark.parametrize("ask", ["optimum", "random_baseline", "demonstrator"])
def test_what_there_is_for_each_world_is_not_asked_of_all(ask: str) -> None:
    with pytest.raises(ToybedError, match="of its own; ask it"):
        getattr(worlds("plan_exec"), ask)()


def test_worlds_of_other_shapes_are_refused() -> None:
    with pytest.raises(ToybedError, match="differ in more than what was drawn"):
        Worlds.of([make("plan_exec"), make("plan_exec", types=5)])


def test_of_one_world_a_function_is_called_once() -> None:
    env, value = make("plan_exec"), torch.arange(3)
    assert by_run(env, lambda world, its: (world, its), value) == (env, value)


def test_they_move_to_another_device_together() -> None:
    moved = worlds("plan_exec").on("meta")
    assert {env.device for env in (moved, moved.env, *moved.each)} == {"meta"}
