"""The laws, over the whole catalogue and over the mutants."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from toybed import objectives
from toybed.envs import make
from toybed.mutants import MUTANTS
from toybed.objectives.batch import takes_vectors
from toybed.testing import (
    LAWS,
    LawBroken,
    broken,
    check_objective,
    check_token_env,
    examine,
    likenesses,
    random_case,
    subject_of,
)

EXAMPLES = 10  # of each law and row: the catalogue is large, and `toybed check` tries more


@pytest.mark.parametrize("name", objectives.names())
def test_the_catalogue_obeys_the_laws_or_breaks_them_as_it_says(name):
    subject = subject_of(objectives.get(name))
    for law in LAWS:
        if law.applies(subject) and name not in law.breaks:
            finding = examine(law, subject, EXAMPLES, shrink=False)
            assert finding.holds, f"{law.name}: {finding.message}\n{finding.case}"


BROKEN = [(law, name) for law in LAWS for name in law.breaks]


@pytest.mark.parametrize(("law", "name"), BROKEN, ids=[f"{name}-{law.name}" for law, name in BROKEN])
def test_what_a_row_breaks_on_purpose_it_breaks(law, name):
    """A list of exceptions that nobody checks would hide bugs: each must have a counterexample."""
    assert not examine(law, subject_of(objectives.get(name)), 200, shrink=False).holds


def test_there_are_mutants_for_every_law():
    assert len(MUTANTS) >= 25
    assert {mutant.law for mutant in MUTANTS.values()} == {law.name for law in LAWS}


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=list(MUTANTS))
def test_every_mutant_is_killed_by_its_law(mutant):
    law = next(law for law in LAWS if law.name == mutant.law)
    assert law.applies(mutant.subject)
    assert not examine(law, mutant.subject, 100, shrink=False).holds


def right_ppo(log_prob, log_prob_old, advantage, mask):
    ratio = torch.where(mask, log_prob - log_prob_old, 0.0).exp()
    value = torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)
    return -torch.where(mask, value, 0.0).sum() / mask.sum()


def test_a_right_loss_passes_and_is_recognised():
    check_objective(right_ppo, examples=20)
    nearest = likenesses(right_ppo)[0]
    assert nearest.distance < 1e-9
    # With the advantage given, PPO's loss is what these rows have in common: clip 0.2 on both sides and a token mean.
    same = {likeness.name for likeness in likenesses(right_ppo) if likeness.distance < 1e-9}
    assert "ppo" in same
    assert "grpo" not in same  # it averages over responses


def test_a_scaled_loss_is_recognised_with_its_factor():
    nearest = next(x for x in likenesses(lambda *a: 3 * right_ppo(*a)) if x.name == "ppo")
    assert nearest.distance < 1e-9
    assert nearest.scale == pytest.approx(3)


def test_a_record_is_recognised_by_its_own_advantage():
    same = [x.name for x in likenesses(objectives.get("rloo")) if x.distance < 1e-9]
    assert "rloo" in same
    assert "grpo" not in same


def test_a_wrong_loss_comes_back_with_a_message_and_a_small_case():
    def forgot_the_mask(log_prob, log_prob_old, advantage, mask):
        return -((log_prob - log_prob_old).exp() * advantage).mean()

    with pytest.raises(LawBroken, match="padding gets a gradient") as caught:
        check_objective(forgot_the_mask)
    assert "smallest counterexample" in str(caught.value)
    # One prompt, two responses, and one column of padding is all it takes.
    assert "reward       [[" in str(caught.value)
    check_objective(forgot_the_mask, except_for=("padding_content", "padding_length"), examples=20)


def test_a_loss_that_is_no_number_or_raises_is_told_so():
    case = random_case(0)
    law = LAWS[0]
    assert "single number" in str(broken(law, subject_of(lambda lp, old, a, m: lp * a), case))
    assert "raises KeyError" in str(broken(law, subject_of(lambda lp, old, a, m: {}["x"]), case))
    with pytest.raises(ValueError, match="allowed: an Objective, or a function"):
        subject_of(3)


@pytest.mark.parametrize(
    ("name", "axes"),
    [
        ("grpo", 2),
        ("gdpo", 3),
        ("vpo_parallel", 3),
        ("vpo", 4),
        ("multi_rlvr", 4),
        ("pkpo_vector", 4),
        ("grpo_shuffled", 3),
    ],
)
def test_an_objective_is_tried_on_the_rewards_that_it_is_made_for(name, axes):
    subject, seen = subject_of(objectives.get(name)), []
    look = dataclasses.replace(LAWS[0], check=lambda subject, case: seen.append(case.batch.reward.shape))
    assert examine(look, subject, 30).holds
    assert {len(shape) for shape in seen} == {axes}
    assert axes == 2 or {shape[-1] for shape in seen} == {1, 2, 3}
    own = {law.name for law in LAWS if law.applies(subject)} - {law.name for law in LAWS if law.applies(GRPO)}
    every = {"components", "component_shift", "one_component"}
    assert own == {2: set(), 3: every, 4: {*every, "answers"}}[axes]


GRPO = subject_of(objectives.get("grpo"))


def test_an_objective_for_vectors_is_recognised_on_vectors():
    names = {x.name: x.distance for x in likenesses(objectives.get("multi_rlvr"), count=3)}
    assert names["multi_rlvr"] < 1e-9 < 0.01 < names["vpo"]
    assert set(names) == {"multi_rlvr", "vpo", "pkpo_vector", "grpo_components"}, "the others cannot read sets"
    assert {x.name for x in likenesses(objectives.get("gdpo"), count=3)} == {
        "gdpo",
        "vpo",
        "vpo_parallel",
        "multi_rlvr",
        "pkpo_vector",
        "grpo_components",
        "grpo_shuffled",
    }
    numbers = {x.name for x in likenesses(objectives.get("pkpo"), count=3)}
    assert "grpo" in numbers and not numbers & {"gdpo", "vpo", "pkpo_vector"}, "of numbers there is nothing to weigh"


def told_by(advantage):
    """What each law says about GRPO with another advantage, on three random batches."""
    subject = subject_of(dataclasses.replace(objectives.get("grpo"), advantage=advantage))
    batches = [random_case(seed, subject.vectors) for seed in range(3)]
    laws = [law for law in LAWS if law.applies(subject)]
    return {law.name: next((m for case in batches if (m := broken(law, subject, case))), None) for law in laws}


def test_an_objective_that_reads_sets_alone_is_told_which_reader_takes_every_shape():
    @takes_vectors("set")
    def mine(batch):
        best = batch.reward.amax(-2).mean(-1)
        return (best - best.mean(-1, keepdim=True)).unsqueeze(-1)

    assert {law for law, message in told_by(mine).items() if message} == {"one_component"}

    @takes_vectors("vector")
    def other(batch):
        first = batch.reward.unflatten(2, (-1, 1))[..., 0, 0]
        return (first - first.mean(-1, keepdim=True)).unsqueeze(-1)

    told = told_by(other)["one_component"]
    assert "it raises" in str(told) and "answer_sets reads every shape" in str(told)


@pytest.mark.parametrize(
    "name", ["answer_bandit", "chain_reach", "tool_search", "plan_exec", "mi_dialogue", "belief_track"]
)
def test_worlds_keep_their_contract(name):
    check_token_env(make(name))


def test_worlds_with_illegal_tokens_and_sets_keep_their_contract():
    check_token_env(make("tool_search", questions=100, retry=True))
    check_token_env(make("tool_search", questions=100, guess=True, set_size=2))
    check_token_env(make("mi_dialogue", level="both", see_type=True))
    check_token_env(make("belief_track", train_stories=64, test_stories=8, view="stream"))
    check_token_env(make("belief_track", train_stories=64, test_stories=8, view="trace", length_cost=0.1))
    check_token_env(make("belief_track", train_stories=64, test_stories=8, view="trace", memory="none"))


@pytest.mark.parametrize("see_counters", [False, True])
def test_a_dialogue_of_acts_keeps_its_contract(see_counters):
    check_token_env(make("mi_dialogue", level="act", see_counters=see_counters))


def test_a_world_that_lies_is_caught():
    class Boaster(type(make("answer_bandit"))):
        def random_baseline(self):
            return 0.5

    with pytest.raises(LawBroken, match=r"the uniform policy is worth 0.18750"):
        check_token_env(Boaster())

    class Forgetful(type(make("chain_reach"))):
        def reset(self, prompt, noise=None):
            state = super().reset(prompt)
            return state._replace(goal=state.goal + self.modulus)

    with pytest.raises(LawBroken, match="outside observation_sizes"):
        check_token_env(Forgetful())


def test_the_stages_of_a_record_can_be_replaced_and_checked():
    mine = dataclasses.replace(objectives.get("grpo"), surrogate=lambda log_ratio, a, batch: log_ratio.exp() * -1)
    with pytest.raises(LawBroken, match=r"sign|improves|on_policy"):
        check_objective(mine, examples=20)
