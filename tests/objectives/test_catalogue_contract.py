"""What every row of the catalogue promises, and what a user sees who asks for something that is not there."""

from __future__ import annotations

import inspect
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from toybed.errors import ToybedError
from toybed.objectives import get, names, row
from toybed.objectives.batch import HOW_TO_GET, Batch, needs, needs_of
from toybed.objectives.catalogue import OPTIONAL, STAGES, Row, Stage, derive, register, stage
from toybed.objectives.objective import Loss, Objective

NAMES = names()
FIRST = ("reinforce", "rloo", "ppo", "grpo", "dr_grpo", "dapo", "gppo", "clip_cov", "kl_cov")
each_row = pytest.mark.parametrize("name", NAMES)
TRIVIAL = {"every_token"}  # says in its one line all that there is to say
EVIDENCE = {"C", "P", "S", "D", "U"}
REWARD_AXES: dict[str, tuple[int, ...]] = {}
"""Rows whose reward has more axes than ``[B, G]``, with the sizes of these."""


def all_stages(name: str) -> list[Stage]:
    """The row's stages, with the regularisers that any row takes."""
    return [s for stages in row(name).stages().values() for s in stages] + [part for _, part in OPTIONAL.values()]


def evaluate(name: str, random_batch: Any, generator: torch.Generator | None = None, seed: int = 0) -> Loss:
    """The row's loss on a random batch, given everything that a stage can ask for."""
    draw = random_batch(seed, (3, 4, 5))
    numbers = torch.Generator().manual_seed(seed)
    size = draw.log_prob.shape
    reward = torch.rand((*size[:-1], *REWARD_AXES.get(name, ())), generator=numbers, dtype=torch.float64)
    batch = replace(
        draw.batch,
        reward=reward,
        value=torch.rand(size, generator=numbers, dtype=torch.float64),
        log_z=torch.rand(size[:1], generator=numbers, dtype=torch.float64),
        tempered=torch.arange(size[0]) % 2 == 0,
    )
    log_probs = torch.randn((*size, 3), generator=numbers, dtype=torch.float64).log_softmax(-1)
    generator = torch.Generator().manual_seed(5) if generator is None else generator
    return get(name).loss(draw.log_prob, batch, entropy=draw.entropy, log_probs=log_probs, generator=generator)


# What is written down -----------------------------------------------------------------------------------------------


def test_the_first_rows_are_there() -> None:
    assert set(FIRST) <= set(NAMES)
    assert len(NAMES) == len(set(NAMES))


@each_row
def test_row_builds(name: str) -> None:
    objective = get(name)
    assert isinstance(objective, Objective)
    assert objective.name == name == row(name).name


@each_row
def test_row_says_what_it_is(name: str) -> None:
    entry = row(name)
    for field in ("title", "entropy", "source", "verified", "summary"):
        text = getattr(entry, field)
        assert text == text.strip() and len(text) > 0, field
        assert "\n" not in text, field
    codes = set(entry.verified.split(";")[0].replace(",", " ").split())  # what follows is a remark
    assert codes and codes <= EVIDENCE
    assert 1980 <= entry.year <= 2030
    assert entry.traps and all(entry.traps)
    assert all(entry.limits)  # there may be none: not every row becomes another one at an edge


@each_row
def test_stage_functions_are_documented(name: str) -> None:
    for part in all_stages(name):
        text = inspect.getdoc(part.source) or ""
        assert text.split("\n")[0].endswith("."), part.function
        assert "Source:" in text or part.source.__name__ in TRIVIAL, part.function


@each_row
def test_every_parameter_is_spelled_out(name: str) -> None:
    """A default that is not in the row would be a meaning that is hidden; one that no function has, a typing error."""
    for part in all_stages(name):
        signature = inspect.signature(part.source).parameters
        assert set(part.parameters) <= set(signature), part.function
        hidden = {p.name for p in signature.values() if p.default is not p.empty} - set(part.parameters)
        assert not hidden, part.function


@each_row
def test_no_parameter_name_occurs_twice(name: str) -> None:
    every = [parameter for part in all_stages(name) for parameter in part.parameters]
    own = [p for part in all_stages(name)[: -len(OPTIONAL)] for p in part.parameters]
    assert len(own) == len(set(own))
    assert row(name).parameters().keys() == set(own)
    assert set(every) - set(own) <= {p for _, part in OPTIONAL.values() for p in part.parameters}


@each_row
def test_published_values_name_parameters(name: str) -> None:
    entry = row(name)
    assert set(entry.published) <= set(entry.parameters())
    # Where sources disagree a published value is told in words; the others can be set.
    told = {k for k, v in entry.published.items() if isinstance(v, str) and not isinstance(entry.parameters()[k], str)}
    get(name, **{k: v for k, v in entry.published.items() if k not in told})


@each_row
def test_parent_and_changed_stages(name: str) -> None:
    entry = row(name)
    if entry.parent is None:
        assert entry.changed() == STAGES
        return
    parent = row(entry.parent)
    assert NAMES.index(entry.parent) < NAMES.index(name)
    differing = tuple(s for s in STAGES if getattr(entry, s) != getattr(parent, s))
    assert entry.changed() == differing
    assert differing, "a row that changes nothing is its parent"


# Overriding ---------------------------------------------------------------------------------------------------------


@each_row
def test_override_changes_that_parameter_and_no_other(name: str) -> None:
    entry = row(name)
    before = entry.parameters()
    for parameter, value in before.items():
        other = "something else" if isinstance(value, str) else 0.123
        changed = entry.override(**{parameter: other})
        assert changed.parameters() == {**before, parameter: other}
    assert row(name) is entry and entry.parameters() == before
    assert entry.override() == entry
    assert entry.override(**before) == entry


@each_row
def test_optional_regularizers_are_added(name: str) -> None:
    entry = row(name)
    wanted = {
        "entropy_coefficient": 0.01,
        "planning_entropy_coefficient": 0.03,
        "kl_coefficient": 0.02,
        "kl_estimator": "k1",
    }
    changed = entry.override(**wanted)
    assert changed.parameters() == {**entry.parameters(), **wanted}
    assert {"entropy", "log_prob_ref", "planning"} <= changed.build().needs


@each_row
def test_unknown_parameter_names_the_nearest(name: str) -> None:
    with pytest.raises(ToybedError) as error:
        get(name, entropy_coeficient=0.1)
    assert str(error.value) == (
        f"unknown parameter of {name} 'entropy_coeficient': did you mean 'entropy_coefficient'?"
    )


@pytest.mark.parametrize(
    ("wrong", "nearest"), [("grop", "grpo"), ("GRPO", "grpo"), ("klcov", "kl_cov"), ("clip-cov", "clip_cov")]
)
def test_unknown_objective_names_the_nearest(wrong: str, nearest: str) -> None:
    for function in (get, row):
        with pytest.raises(ToybedError) as error:
            function(wrong)
        message = str(error.value)
        assert message.startswith(f"unknown objective {wrong!r}: ")
        assert message.endswith("toybed list objectives shows all")
        assert "\n" not in message
        assert f"did you mean {nearest!r}?" in message


def test_registering_a_name_again_is_an_error() -> None:
    with pytest.raises(ToybedError, match=r"objective 'grpo' is already registered"):
        register(row("grpo"))


def test_registering_a_parameter_twice_is_an_error() -> None:
    twice = replace(row("grpo"), name="not_a_row", weight=stage("weights.drop_covariant", clip_low=0.1))
    with pytest.raises(ToybedError, match=r"'not_a_row' uses a parameter name in two stages.*clip_low"):
        register(twice)
    assert "not_a_row" not in names()


def test_a_derived_row_must_speak_for_itself() -> None:
    with pytest.raises(ToybedError, match=r"derived from 'grpo' must say its own .*source"):
        derive(row("grpo"), name="not_a_row")


def test_a_derived_row_does_not_inherit_what_is_said_about_its_parent() -> None:
    about = {field: "said" for field in ("name", "title", "entropy", "source", "verified", "summary")}
    child: Row = derive(row("dr_grpo"), year=2026, **about)
    assert child.parent == "dr_grpo"
    assert not child.published and not child.traps and not child.limits
    assert child.changed() == ()


# What a loss needs --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["log_prob_ref", "entropy", "generator"])
@pytest.mark.parametrize("name", FIRST)
def test_a_missing_input_is_named(random_batch: Any, name: str, field: str) -> None:
    """The objective, the field, and how to get it, in one line."""
    draw = random_batch(0)
    options = {"log_prob_ref": {"kl_coefficient": 0.1}, "entropy": {"entropy_coefficient": 0.1}}.get(field, {})
    objective = get(name, **options)
    given = {"entropy": draw.entropy, "generator": torch.Generator()}
    batch = draw.batch
    if field == "generator" and name != "clip_cov":
        assert "generator" not in objective.needs
        objective.loss(draw.log_prob, batch)
        return
    assert field in objective.needs
    if field == "log_prob_ref":
        batch = replace(batch, log_prob_ref=None)
    else:
        del given[field]
    with pytest.raises(ToybedError) as error:
        objective.loss(draw.log_prob, batch, **given)
    where = "batch.log_prob_ref" if field == "log_prob_ref" else field
    assert str(error.value) == f"{name} needs {where}: {HOW_TO_GET[field]}"
    assert "\n" not in str(error.value)


@each_row
def test_every_need_says_how_it_is_met(name: str) -> None:
    every = {need for part in all_stages(name) for need in needs_of(part.build())}
    assert every - {"log_prob"} <= set(HOW_TO_GET)
    assert get(name).needs <= every


def test_own_stage_may_need_something_too(random_batch: Any) -> None:
    @needs("log_prob_ref")
    def mine(batch: Batch) -> torch.Tensor:
        return batch.reward.unsqueeze(-1)

    draw = random_batch(0)
    objective = replace(get("reinforce"), advantage=mine, name="mine")
    with pytest.raises(ToybedError, match=r"^mine needs batch.log_prob_ref: "):
        objective.loss(draw.log_prob, replace(draw.batch, log_prob_ref=None))
    assert torch.isfinite(objective.loss(draw.log_prob, draw.batch).value)


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("log_prob", (3, 4, 6), "grpo: log_prob has shape [3, 4, 6]; expected [3, 4, 5] [..., B, G, T]"),
        ("log_prob", (4, 5), "grpo: log_prob has shape [4, 5]; expected [3, 4, 5] [..., B, G, T]"),
        ("entropy", (3, 4, 1), "grpo: entropy has shape [3, 4, 1]; expected [3, 4, 5] [..., B, G, T]"),
    ],
)
def test_wrong_shape_of_a_loss_input(random_batch: Any, name: str, given: Any, message: str) -> None:
    draw = random_batch(0, (3, 4, 5))
    inputs = {"log_prob": draw.log_prob, "entropy": draw.entropy, name: torch.zeros(given)}
    with pytest.raises(ToybedError) as error:
        get("grpo").loss(inputs["log_prob"], draw.batch, entropy=inputs["entropy"])
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("field", "value", "pattern"),
    [
        ("log_prob_old", torch.zeros(4, 5), r"log_prob_old has shape \[4, 5\]; expected \[..., B, G, T\]"),
        ("mask", torch.ones(3, 4, 6).bool(), r"mask has shape \[3, 4, 6\]; expected \[3, 4, 5\]"),
        ("mask", torch.ones(3, 4, 5), r"mask has dtype torch.float32; expected torch.bool"),
        ("reward", torch.zeros(3, 3), r"reward has shape \[3, 3\]; expected \[3, 4\]"),
        ("reward", torch.zeros(3), r"reward has shape \[3\]; expected \[3, 4\]"),
        ("log_prob_ref", torch.zeros(3, 4), r"log_prob_ref has shape \[3, 4\]; expected \[3, 4, 5\]"),
        ("entropy_old", torch.zeros(5), r"entropy_old has shape \[5\]; expected \[3, 4, 5\]"),
        ("planning", torch.ones(1, 4, 5).bool(), r"planning has shape \[1, 4, 5\]; expected \[3, 4, 5\]"),
    ],
)
def test_wrong_shape_in_a_batch(random_batch: Any, field: str, value: torch.Tensor, pattern: str) -> None:
    batch = random_batch(0, (3, 4, 5)).batch
    with pytest.raises(ToybedError, match=rf"^batch\.{pattern}") as error:
        replace(batch, **{field: value})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", FIRST)
def test_a_vector_reward_must_be_weighed_first(random_batch: Any, name: str) -> None:
    draw = random_batch(0, (3, 4, 5))
    batch = replace(draw.batch, reward=torch.zeros(3, 4, 2))
    with pytest.raises(ToybedError, match=r"scalar reward .* got \[3, 4, 2\]"):
        get(name).loss(draw.log_prob, batch, generator=torch.Generator())


# Randomness and imports ---------------------------------------------------------------------------------------------


@each_row
def test_no_global_randomness(random_batch: Any, name: str) -> None:
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002
    loss = evaluate(name, random_batch)
    loss.value.sum().backward()
    assert torch.equal(torch.get_rng_state(), torch_before)
    numpy_after = np.random.get_state()  # noqa: NPY002
    assert numpy_after[2:] == numpy_before[2:]
    np.testing.assert_array_equal(numpy_after[1], numpy_before[1])


@each_row
def test_the_same_seed_is_the_same_loss(random_batch: Any, name: str) -> None:
    one, two = (evaluate(name, random_batch, torch.Generator().manual_seed(9)) for _ in range(2))
    assert torch.equal(one.value, two.value)
    assert torch.equal(one.weight, two.weight)
    assert torch.isfinite(one.value).all() and torch.isfinite(one.forward_value).all()


def test_another_seed_drops_other_tokens(random_batch: Any) -> None:
    """Of 15 candidates one is dropped: that eight seeds agree has a chance of 15^-7 = 6e-9."""
    draw = random_batch(0, (4, 4, 5), equal_lengths=True)
    objective = get("clip_cov", cov_low=0.8)
    dropped = {
        int((loss.weight == 0).flatten().nonzero()[0])
        for seed in range(8)
        for loss in [objective.loss(draw.log_prob, draw.batch, generator=torch.Generator().manual_seed(seed))]
    }
    assert len(dropped) > 1


def test_listing_the_catalogue_does_not_import_torch() -> None:
    program = (
        "import sys, toybed.objectives as o\n"
        "rows = [o.row(name) for name in o.names()]\n"
        "assert all(r.parameters() is not None and r.changed() is not None and r.stages() for r in rows)\n"
        "print(len(rows), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(len(NAMES)), "False"]


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("grpo", {"clip_low": -0.1}, "grpo: clip_low is -0.1; allowed: at least 0"),
        ("grpo", {"clip_high": "wide"}, "grpo: clip_high is 'wide'; allowed: a number"),
        ("clip_cov", {"share": float("nan")}, "clip_cov: share is nan; allowed: at least 0"),
        ("grpo", {"entropy_coefficient": -1}, "grpo: entropy_coefficient is -1; allowed: at least 0"),
    ],
)
def test_values_that_make_no_sense_are_refused(name, overrides, message):
    with pytest.raises(ToybedError, match=message):
        get(name, **overrides)
