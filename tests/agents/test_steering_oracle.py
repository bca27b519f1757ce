"""The probe of steering against plain loops, and its laws."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor

from toybed.agents.policies import MLPPolicy, flat_parameters, load_flat, make_policy, normalise
from toybed.agents.probes import get_policy_probe
from toybed.agents.probes import steering as steering_module
from toybed.agents.probes.hybrids import SHARES, held_out_success
from toybed.agents.probes.steering import (
    LAYERS,
    STRENGTHS,
    Moved,
    best,
    directions,
    how_moved,
    skill_gradients,
)
from toybed.envs.plan_exec import PlanExec
from toybed.errors import ToybedError

steering = get_policy_probe("steering")
SMALL = PlanExec(types=5, stages=2, skills=4, values=4, nvalid=2, hard_frac=0.2)
PLANS = SMALL.types * SMALL.stages
WAYS = ("targeted", "gradient", "random", "shuffled", "untargeted", "held")


def mlp(*seeds: int) -> MLPPolicy:
    policy = make_policy("mlp", SMALL, seeds, width=8, embedding=8)
    assert isinstance(policy, MLPPolicy)
    return policy


def any_moved() -> Moved:
    random = torch.Generator().manual_seed(0)
    by = torch.randn(2, SMALL.types, SMALL.stages, 4, generator=random, dtype=torch.float64)
    return Moved(by, torch.randint(SMALL.skills, by.shape[:3], generator=random))


def test_from_either_layer_on_the_logits_are_the_policys() -> None:
    policy = mlp(0, 1)
    contexts = SMALL.contexts().expand(2, -1, -1)
    for layer in (0, 1):
        assert torch.equal(policy.onward(policy.units(contexts, layer), layer), policy(contexts))


def test_directions_are_means_over_the_other_types_that_plan_the_skill() -> None:
    moved = any_moved()
    found = directions(moved, SMALL.skills)
    for run, kind, skill in product(range(2), range(SMALL.types), range(SMALL.skills)):
        rows = [
            moved.by[run, other, stage]
            for other, stage in product(range(SMALL.types), range(SMALL.stages))
            if other != kind and moved.plan[run, other, stage] == skill
        ]
        expected = torch.stack(rows).mean(0) if rows else torch.zeros(4, dtype=torch.float64)
        assert torch.allclose(found[run, kind, skill], expected, rtol=0, atol=1e-12)


def test_a_direction_never_sees_the_type_that_it_is_used_on() -> None:
    moved = any_moved()
    changed = Moved(moved.by.clone(), moved.plan.clone())
    changed.by[:, 2] += 7
    changed.plan[:, 2] = 1
    before, after = (directions(each, SMALL.skills) for each in (moved, changed))
    assert torch.allclose(before[:, 2], after[:, 2], rtol=0, atol=1e-12)
    assert not torch.allclose(before[:, 1], after[:, 1])


@pytest.mark.parametrize("layer", [0, 1])
def test_gradients_are_slopes_of_the_mean_log_probability(layer: int) -> None:
    policy = mlp(0, 1).double()
    found = skill_gradients(SMALL, policy, layer)
    contexts = SMALL.contexts()[:PLANS].expand(2, -1, -1)
    units, step = policy.units(contexts, layer).detach(), 1e-5

    def mean_log_prob(added: Tensor) -> Tensor:
        return normalise(policy.onward(units + added, layer), SMALL.legal_at(contexts)).mean(1)[:, : SMALL.skills]

    slopes = torch.zeros_like(found)
    for unit in range(units.shape[-1]):
        one = torch.zeros(units.shape[-1], dtype=torch.float64)
        one[unit] = step
        slopes[..., unit] = ((mean_log_prob(one) - mean_log_prob(-one)) / (2 * step)).detach()
    # Central differences are off by step^2 times a third derivative (1e-10), and by 1e-16 / step of rounding (1e-11).
    assert torch.allclose(found, slopes / slopes.norm(dim=-1, keepdim=True), rtol=0, atol=1e-7)


def test_units_that_are_moved_as_rl_moved_them_do_as_rl_does() -> None:
    start, policy = mlp(0, 1), mlp(0, 1)
    with torch.no_grad():
        policy.embedding += torch.randn(policy.embedding.shape, generator=torch.Generator().manual_seed(0))
    by = how_moved(SMALL, policy, start, 0).by.flatten(1, 2)[:, None]
    rest = torch.zeros(2, 1, SMALL.skills * SMALL.values, 8)
    table = steering_module._table(SMALL, start, 0, torch.cat([by, rest], 2))[:, 0]
    expected = torch.cat([policy.table(SMALL)[:, :PLANS], start.table(SMALL)[:, PLANS:]], 1).double()
    # Only the embeddings differ, which come before the first layer. In float32, with logits below 10.
    assert torch.allclose(table.exp(), expected.exp(), rtol=0, atol=1e-4)


def test_the_plan_that_a_direction_is_chosen_by_is_the_likeliest_of_the_trained_policy() -> None:
    start, policy = mlp(0, 1), mlp(2, 3)
    plan = how_moved(SMALL, policy, start, 0).plan.flatten(1)
    assert torch.equal(plan, policy.table(SMALL)[:, :PLANS, : SMALL.skills].argmax(-1))


@torch.no_grad()
def test_of_all_strengths_the_best_on_train_prompts_is_taken() -> None:
    start = mlp(0, 1)
    added = torch.randn(2, 3, SMALL.types, SMALL.stages, 8, generator=torch.Generator().manual_seed(0))
    found = best(SMALL, start, 1, added, None)
    contexts = SMALL.contexts()
    units = start.units(contexts.expand(2, -1, -1), 1)
    for run in range(2):
        scores = []
        for strength in STRENGTHS:
            draws = []
            for draw in range(3):
                moved = units.clone()
                moved[run, :PLANS] += strength * added[run, draw].flatten(0, 1)
                draws.append(normalise(start.onward(moved, 1).double(), SMALL.legal_at(contexts))[run])
            worth = SMALL.evaluate(torch.stack(draws)).reward
            scores.append([float(worth[:, SMALL.prompts(split)].mean()) for split in ("train", "test")])
        chosen = max(range(len(scores)), key=lambda i: scores[i][0])
        assert float(found.strength[run]) == STRENGTHS[chosen]
        # Executions are the start's own; float32 units, float64 from the logits on.
        assert float(found.learned[run]) == pytest.approx(scores[chosen][0], rel=1e-5)
        assert float(found.success[run]) == pytest.approx(scores[chosen][1], rel=1e-5)


def test_random_directions_have_the_norms_of_those_that_they_replace_and_shuffled_ones_are_the_same_set() -> None:
    moved = any_moved()
    ways = steering_module._ways(SMALL, moved, torch.zeros(2, SMALL.skills, 4, dtype=torch.float64), [0, 1])
    targeted, random, shuffled = (ways[how][0] for how in ("targeted", "random", "shuffled"))
    assert torch.allclose(random.norm(dim=-1), targeted.norm(dim=-1).expand(random.shape[:-1]), atol=1e-9)
    assert not torch.allclose(random[:, 0], random[:, 1])
    vectors = directions(moved, SMALL.skills)
    for run, draw in product(range(2), range(shuffled.shape[1])):
        counts = [0] * SMALL.skills
        for kind, stage in product(range(SMALL.types), range(SMALL.stages)):
            used = shuffled[run, draw, kind, stage]
            matches = [skill for skill in range(SMALL.skills) if torch.equal(used, vectors[run, kind, skill])]
            assert matches
            counts[matches[0]] += 1
        # Skills that no other type plans look alike: all are zero.
        if bool((vectors[run].norm(dim=-1) > 0).all()):
            assert counts == torch.bincount(moved.plan[run].flatten(), minlength=SMALL.skills).tolist()
    held = ways["held"][1]
    assert held is not None
    assert torch.allclose(held[:, 0], vectors.mean(1))


def test_a_policy_that_has_not_moved_steers_nowhere() -> None:
    policy, start = mlp(0, 1), mlp(0, 1)
    found = steering(SMALL, policy, start, seeds=[0, 1])
    own = held_out_success(SMALL, start.table(SMALL).double())
    names = {f"steered_{how}{layer}" for how in WAYS for layer in ("", *(f"_{name}" for name in LAYERS))}
    names |= {f"steered@{s:g}" for s in SHARES}
    assert set(found) == names | {f"strength_{name}" for name in LAYERS}
    for name in names:
        assert torch.allclose(found[name], own, rtol=1e-5), name


def test_each_way_takes_the_better_layer_on_train_prompts() -> None:
    start, policy = mlp(0, 1), mlp(2, 3)
    found = steering(SMALL, policy, start, seeds=[0, 1])
    for how in WAYS:
        both = torch.stack([found[f"steered_{how}_{name}"] for name in LAYERS])
        assert bool((found[f"steered_{how}"] == both).any(0).all())
    ways = [
        steering_module._ways(
            SMALL, how_moved(SMALL, policy, start, layer), skill_gradients(SMALL, start, layer), [0, 1]
        )
        for layer in (0, 1)
    ]
    with torch.no_grad():
        tried = [best(SMALL, start, layer, *ways[layer]["targeted"]) for layer in (0, 1)]
    later = tried[1].learned > tried[0].learned
    assert torch.equal(found["steered_targeted"], torch.where(later, tried[1].success, tried[0].success))
    # At all plans: what is steered to begin with is half of all tokens.
    assert torch.allclose(found["steered@0.5"], found["steered_targeted"], rtol=1e-9)


def test_a_run_in_a_stack_is_the_run_alone() -> None:
    start, policy = mlp(0, 1, 2), mlp(3, 4, 5)
    together = steering(SMALL, policy, start, seeds=[5, 6, 7])
    for run in range(3):
        alone = mlp(run), mlp(run)
        for one, stack in zip(alone, (policy, start), strict=True):
            load_flat(one, flat_parameters(stack)[run : run + 1])
        for name, value in steering(SMALL, *alone, seeds=[5 + run]).items():
            assert torch.equal(value, together[name][run : run + 1]), name


def test_controls_are_drawn_by_the_seed() -> None:
    """Two runs that are alike have the same random directions and places by one seed, others by another."""
    moved = any_moved()
    alike = Moved(*(each[:1].expand(3, *each.shape[1:]) for each in moved))
    slopes = torch.zeros(3, SMALL.skills, 4, dtype=torch.float64)
    ways = steering_module._ways(SMALL, alike, slopes, [5, 5, 6])
    for how, (added, _) in ways.items():
        assert torch.equal(added[0], added[1]), how
        assert torch.equal(added[0], added[2]) == (how not in ("random", "shuffled")), how


def test_other_policies_are_refused() -> None:
    table = make_policy("tabular", SMALL, [0])
    with pytest.raises(ToybedError, match="steering is a probe of policies mlp; TabularPolicy has no hidden layers"):
        steering(SMALL, table, table, seeds=[0])
