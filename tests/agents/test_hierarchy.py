"""Masters and sub-policies: whose parameters a token moves, and schedules that train one kind after the other."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from toybed.agents.config import Learning
from toybed.agents.policies import flat_parameters, make_policy
from toybed.agents.policy_gradient import PolicyGradient, scheduled_kinds
from toybed.envs import make
from toybed.errors import ToybedError
from toybed.objectives import get
from toybed.streams import Streams

KNOBS = {"level": "both", "turns": 4, "hold": 2, "n_types": 0, "held_out": 0}
ENV = make("mi_dialogue", **KNOBS)
LEARNING = Learning(prompts=4, group=6, epochs=1, minibatches=2, learning_rate=0.05)
WIDTH = {"width": 8, "embedding": 4}


def learner(policy="hierarchical", seeds=(0, 1), objective="grpo", **learning):
    options = WIDTH if policy in ("hierarchical", "mlp") else {}
    built = make_policy(policy, ENV, list(seeds), **options)
    return PolicyGradient(ENV, built, get(objective), replace(LEARNING, **learning), list(seeds))


def moved(policy, before):
    """Which rows of a table over contexts are not what they were, ``[S, C]``."""
    return (policy.table(ENV) != before).any(-1)


def test_a_hierarchy_is_its_master_and_its_sub_policies():
    policy = make_policy("hierarchical", ENV, [0, 1], **WIDTH)
    with torch.no_grad():
        policy.subs.logits.copy_(torch.randn(policy.subs.logits.shape, generator=torch.Generator().manual_seed(0)))
    table, contexts = policy.table(ENV), ENV.contexts()
    planning, legal = ENV.plans_at(contexts), ENV.legal_at(contexts)
    each = contexts.expand(2, *contexts.shape)
    assert torch.equal(table[:, planning], policy.master.log_probs(each, legal)[:, planning])
    assert torch.equal(table[:, ~planning], policy.subs.log_probs(each, legal)[:, ~planning])
    assert 0 < int(planning.sum()) < len(planning)


def test_a_gain_makes_the_sub_policies_faster_and_leaves_the_master_alone():
    """One step of Adam moves each parameter by its rate at most: so many times further the logits of the table."""
    plain, fast = (learner(), PolicyGradient(ENV, _with_gain(5.0), get("grpo"), LEARNING, [0, 1]))
    planning = ENV.plans_at(ENV.contexts())
    assert torch.equal(plain.policy.table(ENV), fast.policy.table(ENV))
    for each in (plain, fast):
        each.config = replace(LEARNING, minibatches=1)
        each.update()
    # Gradients of the table are five times as large, and what is clipped is the norm of both: only directions agree.
    assert torch.allclose(plain.policy.subs.logits, fast.policy.subs.logits, atol=1e-4)
    logits = [each.policy(ENV.contexts().expand(2, -1, -1))[:, ~planning] for each in (plain, fast)]
    assert torch.allclose(5 * logits[0], logits[1], atol=5e-4)
    with pytest.raises(ToybedError, match="hierarchical: gain is 0; allowed: above 0"):
        make_policy("hierarchical", ENV, [0], gain=0)


def _with_gain(gain):
    return make_policy("hierarchical", ENV, [0, 1], gain=gain, **WIDTH)


@pytest.mark.parametrize("policy", ["hierarchical", "tabular"])
@pytest.mark.parametrize("kind", ["planning", "execution"])
def test_a_schedule_trains_one_kind_and_leaves_the_other_as_it_is(policy, kind):
    """Also later, when moments of an optimiser that had seen the other kind would still move it."""
    other = {"planning": "execution", "execution": "planning"}[kind]
    trained = learner(policy, schedule=((kind, 3), (other, 2)))
    planning = ENV.plans_at(ENV.contexts())
    for update in range(10):
        now = kind if update % 5 < 3 else other
        before = trained.policy.table(ENV)
        trained.update()
        mine = planning if now == "planning" else ~planning
        changed = moved(trained.policy, before)
        assert not changed[:, ~mine].any()
        assert changed[:, mine].any(1).all()


def test_a_joint_schedule_trains_both():
    trained = learner()
    before = trained.policy.table(ENV)
    trained.update()
    planning = ENV.plans_at(ENV.contexts())
    changed = moved(trained.policy, before)
    assert changed[:, planning].any() and changed[:, ~planning].any()


def test_tokens_that_are_not_trained_are_to_the_objective_as_if_they_were_not_there():
    """The gradient of the master's step is that of the same loss on planning tokens alone."""
    trained = learner("tabular", schedule=(("planning", 1),), minibatches=1)
    sample, *_ = trained._sample()
    batch = trained._batch(sample, "planning")
    kinds = torch.tensor([kind == "planning" for kind in ENV.kinds])
    assert torch.equal(batch.mask, kinds.expand_as(batch.mask))
    log_prob = sample.log_prob.clone().requires_grad_()
    whole = get("grpo").loss(log_prob, batch).value.sum()
    (gradient,) = torch.autograd.grad(whole, log_prob)
    alone = sample.log_prob[..., kinds].clone().requires_grad_()
    part = replace(
        batch,
        log_prob_old=sample.log_prob[..., kinds],
        mask=batch.mask[..., kinds],
        entropy_old=sample.entropy[..., kinds],
    )
    (expected,) = torch.autograd.grad(get("grpo").loss(alone, part).value.sum(), alone)
    assert (gradient[..., ~kinds] == 0).all()
    torch.testing.assert_close(gradient[..., kinds], expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("schedule", [(), (("planning", 1), ("execution", 2))])
def test_a_run_in_a_stack_is_the_run_alone_bit_for_bit(schedule):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        together, alone = (learner(seeds=seeds, schedule=schedule) for seeds in ((3, 4, 5), (4,)))
        for _ in range(4):
            together.update(), alone.update()
    finally:
        torch.set_num_threads(threads)
    for a, b in zip(together.policy.parameters(), alone.policy.parameters(), strict=True):
        assert torch.equal(a[1], b[0])


def test_a_run_that_diverges_is_marked_whichever_optimiser_saw_it():
    trained = learner("tabular", schedule=(("planning", 1), ("execution", 1)))
    trained.update()
    with torch.no_grad():
        trained.policy.logits[1] = torch.nan
    trained.update()
    assert trained.diverged.tolist() == [False, True]
    assert trained.cause.tolist()[0] == 0 and trained.cause.tolist()[1] > 0
    kept = flat_parameters(trained.policy)[0]
    trained.update()
    assert torch.isfinite(flat_parameters(trained.policy)[0]).all()
    assert not torch.equal(flat_parameters(trained.policy)[0], kept)


def test_a_temperature_flattens_master_and_sub_policies():
    policy = make_policy("hierarchical", ENV, [0], **WIDTH)
    with torch.no_grad():
        policy.subs.logits.normal_(generator=torch.Generator().manual_seed(0))
    logits = policy(ENV.contexts()[None])
    policy.flatten_logits(2.0)
    torch.testing.assert_close(policy(ENV.contexts()[None]), logits / 2, rtol=1e-5, atol=1e-6)


def test_kinds_come_in_the_order_of_the_schedule():
    kinds = scheduled_kinds(ENV, Learning(schedule=(("planning", 2), ("execution", 1))))
    assert [next(kinds) for _ in range(5)] == ["planning", "planning", "execution", "planning", "planning"]
    assert next(scheduled_kinds(ENV, Learning())) is None


def test_bad_input_is_named():
    with pytest.raises(ToybedError, match=r"schedule names 'plan'; allowed in MIDialogue: execution, planning"):
        learner(schedule=(("plan", 1),))
    with pytest.raises(ToybedError, match=r"Learning: schedule is .*; allowed: at least 1 update of each kind"):
        Learning(schedule=(("planning", 0),))
    with pytest.raises(ToybedError, match="ChainReach does not show which tokens are planning tokens"):
        make_policy("hierarchical", make("chain_reach"), [0])


def test_initial_masters_differ_by_seed_and_not_by_stack():
    together = make_policy("hierarchical", ENV, [3, 4], **WIDTH)
    alone = make_policy("hierarchical", ENV, [4], **WIDTH)
    assert torch.equal(flat_parameters(together)[1], flat_parameters(alone)[0])
    assert not torch.equal(flat_parameters(together)[0], flat_parameters(together)[1])
    assert Streams("policy", [3, 4]).uniform((1,)).shape == (2, 1)
