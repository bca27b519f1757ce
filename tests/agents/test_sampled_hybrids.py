"""The probe of sampled hybrids: against exact worth where a policy sees no more than the state, and its laws."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from toybed.agents.policies import Policy, flat_parameters, load_flat, make_policy
from toybed.agents.probes import get_policy_probe
from toybed.agents.probes.hybrids import held_out_success
from toybed.agents.probes.sampled_hybrids import Hybrid
from toybed.agents.sampled_worth import RESPONSES, sampled_worth
from toybed.envs import make
from toybed.envs.core import ILLEGAL
from toybed.envs.plan_exec import PlanExec
from toybed.errors import ToybedError

sampled_hybrids = get_policy_probe("sampled_hybrids")
SMALL = PlanExec(types=5, stages=2, skills=3, values=4, nvalid=1, hard_frac=0.2, train_share=0.5)
TOKENS = replace(SMALL, view="tokens")
OPTIONS = {"width": 8, "layers": 1, "heads": 2}
RUNS = 64


class StatePolicy(Policy):
    """Policies in the tokens view that are tables of the state view: they see what was written, and do not use it."""

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.runs = len(table)
        self._table = table

    def forward(self, observation: Tensor) -> Tensor:
        kind, start, tokens = observation[..., 0], observation[..., 1], observation[..., 2:]
        written = (tokens < TOKENS.vocabulary).sum(-1)
        last = tokens.gather(-1, (written - 1).clamp(min=0)[..., None]).squeeze(-1)
        before = tokens.gather(-1, (written - 2).clamp(min=0)[..., None]).squeeze(-1) - SMALL.skills
        value = torch.where(written > 1, before, start)
        executing = SMALL.types * SMALL.stages + last * SMALL.values + value
        row = torch.where(written % 2 == 0, kind * SMALL.stages + written // 2, executing)
        return self._table.gather(1, row.flatten(1)[..., None].expand(-1, -1, TOKENS.vocabulary))

    def output(self) -> tuple[torch.nn.Parameter, ...]:
        return ()


def tables(seed: int) -> Tensor:
    contexts = SMALL.contexts()
    noise = torch.randn(1, len(contexts), SMALL.vocabulary, generator=torch.Generator().manual_seed(seed)).double()
    return (2 * noise).masked_fill(~SMALL.legal_at(contexts), ILLEGAL).log_softmax(-1)


def transformer(*seeds: int) -> Policy:
    return make_policy("transformer", TOKENS, seeds, **OPTIONS)


def test_hybrids_of_policies_that_read_the_state_alone_are_worth_what_the_tables_are() -> None:
    """Means of 64 runs, each of 10 prompts with 4 responses, their last token summed over.

    A response is worth between 0 and 1: the mean of n of them is off by more than t with a chance of at most
    2 exp(-2 n t^2) (Hoeffding). With n = 2,560 and t = 0.055 that is 4e-7.
    """
    after, before = tables(0), tables(1)
    plans = SMALL.plans_at(SMALL.contexts())[:, None]
    policies = [StatePolicy(table.expand(RUNS, -1, -1)) for table in (after, before)]
    found = sampled_hybrids(TOKENS, *policies, seeds=range(RUNS))
    assert RUNS * len(TOKENS.prompts("test")) * RESPONSES == 2560
    for name, table in (
        ("planning", torch.where(plans, after, before)),
        ("execution", torch.where(plans, before, after)),
    ):
        exact = float(held_out_success(SMALL, table))
        assert found[f"hybrid_{name}"].shape == (RUNS,)
        assert float(found[f"hybrid_{name}"].mean()) == pytest.approx(exact, abs=0.055)


def test_each_kind_of_token_is_chosen_by_its_own_policy() -> None:
    plans, executions = transformer(0), transformer(1)
    hybrid = Hybrid(TOKENS, plans, executions).follow()
    state, seen = TOKENS.reset(TOKENS.prompts("test").expand(1, -1)), 0
    for time in range(TOKENS.horizon):
        observation, legal = TOKENS.observe(state), TOKENS.legal(state)
        own = (plans if time % 2 == 0 else executions).log_probs(observation, legal)
        # Read in one go or frame by frame: sums of 8 terms of size 1 in float32 round to some 1e-7.
        assert torch.allclose(hybrid(observation, legal), own, rtol=0, atol=1e-5)
        state, seen = TOKENS.step(state, own.argmax(-1)), seen + 1
    assert seen == 4


def test_a_policy_that_has_not_moved_is_worth_what_it_is_measured_at() -> None:
    policy = transformer(0, 1)
    found = sampled_hybrids(TOKENS, policy, transformer(0, 1), seeds=[5, 6])
    own = sampled_worth(TOKENS, policy, TOKENS.prompts("test"), [5, 6]).reward.double().mean(1)
    assert torch.equal(found["hybrid_planning"], own)
    assert torch.equal(found["hybrid_execution"], own)
    assert set(found) == {f"hybrid_{kind}{what}" for kind in ("planning", "execution") for what in ("", "_accuracy")}


def test_a_run_in_a_stack_is_the_run_alone() -> None:
    policy, start = transformer(0, 1, 2), transformer(3, 4, 5)
    together = sampled_hybrids(TOKENS, policy, start, seeds=[5, 6, 7])
    for run in range(3):
        alone = transformer(run), transformer(run)
        for one, stack in zip(alone, (policy, start), strict=True):
            load_flat(one, flat_parameters(stack)[run : run + 1])
        for name, value in sampled_hybrids(TOKENS, *alone, seeds=[5 + run]).items():
            assert torch.equal(value, together[name][run : run + 1]), name


@pytest.mark.parametrize("env", [make("chain_reach", modulus=5, length=2, view="tokens"), SMALL], ids=["world", "view"])
def test_other_worlds_are_refused(env) -> None:
    policy = transformer(0)
    with pytest.raises(ToybedError, match='sampled_hybrids is a probe of plan_exec with view="tokens"'):
        sampled_hybrids(env, policy, policy, seeds=[0])
