"""The probe of hybrids against plain loops over tokens, and its laws; all in float64."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor

from toybed.agents.config import Heads
from toybed.agents.heads import with_heads
from toybed.agents.probes import get_probe
from toybed.agents.probes.hybrids import SHARES, held_out_success, needed, prefixes, reached, token_shares
from toybed.envs import make
from toybed.envs.core import ILLEGAL
from toybed.envs.plan_exec import PlanExec
from toybed.errors import ToybedError

hybrids = get_probe("hybrids")
SMALL = PlanExec(types=4, stages=2, skills=3, values=4, nvalid=1, hard_frac=0.25, train_share=0.5)


def random_tables(env: PlanExec, runs: int, seed: int) -> Tensor:
    """Any policies: float64 ``[runs, C, V]``."""
    contexts = env.contexts()
    noise = torch.randn(runs, len(contexts), env.vocabulary, generator=torch.Generator().manual_seed(seed)).double()
    return (2 * noise).masked_fill(~env.legal_at(contexts), ILLEGAL).log_softmax(-1)


def looped(env: PlanExec, table: np.ndarray, touched: set[int]) -> tuple[float, float]:
    """Success on test prompts and share of tokens in ``touched`` contexts, response by response."""
    success, share = 0.0, 0.0
    prompts = env.prompts("test").tolist()
    valid, skill = env.tables.valid.tolist(), env.tables.skill.tolist()
    for prompt, *plans in product(prompts, *[range(env.skills)] * env.stages):
        kind, start = divmod(prompt, env.values)
        for writes in product(range(env.values), repeat=env.stages):
            value, chance, right, met = start, 1.0, True, 0
            for stage, (plan, written) in enumerate(zip(plans, writes, strict=True)):
                rows = (kind * env.stages + stage, env.types * env.stages + plan * env.values + value)
                chance *= np.exp(table[rows[0], plan] + table[rows[1], env.skills + written])
                right &= valid[kind][stage][plan] and skill[plan][value] == written
                met += sum(row in touched for row in rows)
                value = written
            success += chance * right / len(prompts)
            share += chance * met / env.horizon / len(prompts)
    return success, share


def test_each_hybrid_has_the_success_and_the_touched_tokens_of_its_own_responses() -> None:
    before, after = (random_tables(SMALL, 2, seed) for seed in (0, 1))
    count = before.shape[1]
    order = torch.stack([torch.randperm(count, generator=torch.Generator().manual_seed(s)) for s in (2, 3)])[:, :7]
    reward, share = prefixes(SMALL, before, after, order)
    assert reward.shape == share.shape == (2, 8)
    for run, n in product(range(2), range(8)):
        taken = set(order[run, :n].tolist())
        table = np.array([(after if row in taken else before)[run, row].tolist() for row in range(count)])
        expected = looped(SMALL, table, taken)
        # Sums of some 1e4 terms in another order.
        assert (float(reward[run, n]), float(share[run, n])) == pytest.approx(expected, rel=1e-10, abs=1e-14)


def test_the_probe_says_what_the_loops_say() -> None:
    env = SMALL
    before, after = (random_tables(env, 1, seed) for seed in (0, 1))
    found = {name: float(value) for name, value in hybrids(env, after, before, seeds=[0]).items()}
    cut = env.types * env.stages
    first, second = before[0].numpy(), after[0].numpy()
    planning, execution = np.concatenate([second[:cut], first[cut:]]), np.concatenate([first[:cut], second[cut:]])
    # The world's own measures of the hybrid are float64 here, too.
    assert found["hybrid_planning"] == pytest.approx(looped(env, planning, set())[0], rel=1e-10)
    assert found["hybrid_execution"] == pytest.approx(looped(env, execution, set())[0], rel=1e-10)
    hard = env.hard_types / env.types
    parts = hard * found["hybrid_planning_hard"] + (1 - hard) * found["hybrid_planning_ordinary"]
    assert found["hybrid_planning"] == pytest.approx(parts, rel=1e-10)
    divergence = [float(np.sum(np.exp(q) * (q - p))) for p, q in zip(first, second, strict=True)]
    order = sorted(range(len(divergence)), key=lambda row: -divergence[row])
    curve = [
        looped(env, np.array([(second if r in order[:n] else first)[r] for r in range(len(order))]), set(order[:n]))
        for n in range(len(order) + 1)
    ]
    for s in SHARES:
        within = 0
        while within + 1 < len(curve) and curve[within + 1][1] <= s:
            within += 1
        assert found[f"touched@{s:g}"] == pytest.approx(curve[within][0], rel=1e-10)


def test_all_tokens_are_chosen_somewhere() -> None:
    share = token_shares(SMALL, random_tables(SMALL, 3, 0))
    assert torch.allclose(share.sum(-1), torch.ones(3, dtype=torch.float64), rtol=0, atol=1e-12)
    assert torch.allclose(share[:, : SMALL.types * SMALL.stages].sum(-1), torch.full((3,), 0.5).double(), atol=1e-12)


def executing(env: PlanExec, table: Tensor, accuracy: float) -> Tensor:
    """The table's plans with executions that are right with one chance, whatever plan and value."""
    wrong = torch.full((env.skills, env.values, env.values), (1 - accuracy) / (env.values - 1), dtype=torch.float64)
    chance = wrong.scatter(-1, env.tables.skill[..., None], accuracy).flatten(0, 1)
    changed = table.clone()
    changed[..., env.types * env.stages :, env.skills :] = chance.log()
    return changed


def test_plans_that_are_carried_out_by_another_are_worth_the_ratio_of_executions_to_the_power_of_stages() -> None:
    env = replace(SMALL, stages=3)
    after, before = (executing(env, random_tables(env, 2, seed), q) for seed, q in ((0, 0.99), (1, 0.8)))
    found = hybrids(env, after, before, seeds=[0, 1])
    for name, policy, ratio in (("planning", after, 0.8 / 0.99), ("execution", before, 0.99 / 0.8)):
        assert torch.allclose(found[f"hybrid_{name}"], ratio**3 * held_out_success(env, policy), rtol=1e-10, atol=0)
    assert torch.allclose(found["hybrid_planning_accuracy"], torch.full((2,), 0.8, dtype=torch.float64))


def test_a_policy_that_has_not_moved_recovers_nothing() -> None:
    table = random_tables(SMALL, 2, 0)
    found = hybrids(SMALL, table, table, seeds=[0, 1])
    own = held_out_success(SMALL, table)
    for name, value in found.items():
        if name.startswith(("touched@", "touched_shuffled@")) or name in ("hybrid_planning", "hybrid_execution"):
            assert torch.allclose(value, own, rtol=1e-12)
    assert found["touched_for_most"].isnan().all()


def test_a_share_of_tokens_is_never_exceeded() -> None:
    reward = torch.tensor([[0.0, 0.1, 0.2, 0.3, 0.9]], dtype=torch.float64)
    share = torch.tensor([[0.0, 0.1, 0.4, 0.2, 1.0]], dtype=torch.float64)
    # The third context lessens the share again; but on the way to it 0.4 was needed.
    for most, expected in ((0.05, 0.0), (0.1, 0.1), (0.3, 0.1), (0.4, 0.3), (0.99, 0.3), (1.0, 0.9)):
        assert float(reached(reward, share, most)) == expected
    assert float(needed(reward, share)) == 1.0  # 0.72 of success is had with the last one only
    assert float(needed(reward[:, :4], share[:, :4])) == 0.4
    assert needed(torch.zeros_like(reward), share).isnan().all()


def test_a_run_in_a_stack_is_the_run_alone() -> None:
    before, after = (random_tables(SMALL, 3, seed).float() for seed in (0, 1))
    together = hybrids(SMALL, after, before, seeds=[5, 6, 7])
    for run in range(3):
        alone = hybrids(SMALL, after[run : run + 1], before[run : run + 1], seeds=[5 + run])
        for name, value in alone.items():
            assert value.numpy().tobytes() == together[name][run : run + 1].numpy().tobytes(), name


def test_orders_without_a_reason_are_drawn_by_the_seed() -> None:
    """Two runs with one policy and one seed have the same ones; with another seed others."""
    before, after = (random_tables(SMALL, 1, seed).expand(3, -1, -1) for seed in (0, 1))
    found = hybrids(SMALL, after, before, seeds=[5, 5, 6])
    for name, value in found.items():
        assert torch.equal(value[0], value[1]) or bool(value.isnan().all()), name
        if not name.startswith("touched_shuffled"):
            assert torch.equal(value[0], value[2]) or bool(value.isnan().all()), name
    names = [f"touched_shuffled@{s:g}" for s in SHARES]
    assert any(not torch.equal(found[name][0], found[name][2]) for name in names)


@pytest.mark.parametrize(
    "env",
    [make("chain_reach", modulus=5, length=2), replace(SMALL, view="tokens"), with_heads(SMALL, Heads(2))],
    ids=["another world", "tokens", "heads"],
)
def test_other_worlds_are_refused(env) -> None:
    table = torch.zeros(1, 2, 2)
    with pytest.raises(ToybedError, match='hybrids is a probe of plan_exec with view="state"'):
        hybrids(env, table, table, seeds=[0])
