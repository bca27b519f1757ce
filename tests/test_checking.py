"""``toybed check`` and ``toybed mutants``, as a student would use them."""

from __future__ import annotations

import json

import pytest

from toybed import mutants, testing
from toybed.cli import main

STUDENT = '''
import torch

def kl_cov(log_prob, log_prob_old, advantage, mask):
    """A student's KL-Cov: the penalty is on the least covariant token."""
    log_ratio = torch.where(mask, log_prob - log_prob_old, 0.0)
    covariance = ((log_prob - log_prob[mask].mean()) * (advantage - advantage[mask].mean())).detach()
    chosen = torch.where(mask, covariance, torch.inf).flatten().argmin()
    penalty = log_ratio.abs().flatten()[chosen]
    return (penalty - torch.where(mask, log_ratio.exp() * advantage, 0.0).sum()) / mask.sum()

def importance(log_prob, log_prob_old, advantage, mask):
    ratio = torch.where(mask, log_prob - log_prob_old, 0.0).exp()
    return -torch.where(mask, ratio * advantage, 0.0).sum() / mask.sum()
'''


@pytest.fixture
def homework(tmp_path, monkeypatch):
    (tmp_path / "homework_losses.py").write_text(STUDENT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.usefixtures("homework")
def test_a_right_loss_holds_and_is_named(capsys):
    assert main(["check", "homework_losses:importance", "--examples", "15"]) == 0
    said = capsys.readouterr().out
    assert "broken" not in said
    assert "coincides with is_pg" in said


@pytest.mark.usefixtures("homework")
def test_a_wrong_kl_cov_is_told_what_is_wrong(capsys):
    assert main(["check", "homework_losses:kl_cov", "--examples", "15"]) == 1
    said = capsys.readouterr().out
    assert "smallest counterexample" in said
    assert "published objectives that break this on purpose" in said
    assert "coincides with no known objective; the nearest" in said
    assert "a token with ratio" in said


@pytest.mark.usefixtures("homework")
def test_json_is_one_object(capsys):
    main(["check", "homework_losses:importance", "--examples", "10", "--json"])
    result = json.loads(capsys.readouterr().out)
    assert "is_pg" in result["same as"]
    assert {law["law"] for law in result["laws"]} >= {"finite", "pure", "order"}


VECTORS = """
import dataclasses
import toybed
from toybed.objectives.batch import takes_vectors

def unmarked(batch):
    worst = batch.reward.amin(-1)
    return (worst - worst.mean(-1, keepdim=True)).unsqueeze(-1)

grpo = toybed.objectives.get("grpo")
forgotten = dataclasses.replace(grpo, advantage=unmarked, name="forgotten")
max_at_2 = toybed.objectives.get("pkpo_vector", k=2)
"""


def test_an_objective_for_vectors_is_told_on_what_it_was_tried(capsys, tmp_path, monkeypatch):
    (tmp_path / "vector_losses.py").write_text(VECTORS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("toybed.testing.checking.LAWS", testing.LAWS[:1])  # the words are asked for, not the laws
    assert main(["check", "vector_losses:max_at_2", "--examples", "10"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "tried on rewards of 1 to 3 components for each of 1 or 2 answers of a response, [B, G, M, D]" in said
    assert "takes_vectors" not in said
    assert main(["check", "vector_losses:forgotten", "--examples", "10"]) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "tried on rewards of one number for each response, [B, G]" in said
    assert "mark that with @takes_vectors('vector')" in said


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("homework_losses", "write module:name"),
        ("no_such_module_here:loss", "no module 'no_such_module_here'"),
        ("homework_losses:nothing", "has no 'nothing'"),
        ("homework_losses:torch", "is a module; allowed: an Objective, or a function"),
    ],
)
@pytest.mark.usefixtures("homework")
def test_a_target_that_is_none_is_one_line(target, message, capsys):
    assert main(["check", target]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert len(said.strip().splitlines()) == 1


def test_mutants_are_listed_with_what_kills_them(capsys, monkeypatch):
    few = dict(list(mutants.MUTANTS.items())[:3])
    monkeypatch.setattr(mutants, "MUTANTS", few)
    assert main(["mutants", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [entry["name"] for entry in listed] == list(few)
    assert all(entry["killed by"] for entry in listed)
    main(["mutants"])
    assert "0/0" in capsys.readouterr().out


@pytest.mark.usefixtures("homework")
def test_a_loss_that_is_turned_round_is_called_a_negative(capsys, tmp_path):
    (tmp_path / "turned_round.py").write_text(
        "def loss(log_prob, log_prob_old, advantage, mask):\n"
        "    return (log_prob * advantage * mask).sum() / mask.sum()\n"
    )
    assert main(["check", "turned_round:loss", "--examples", "10"]) == 1
    said = capsys.readouterr().out
    assert "it is the negative of gpg" in said
    assert "coincides" not in said


@pytest.mark.usefixtures("homework")
def test_what_cannot_be_compared_keeps_what_the_laws_found(capsys, tmp_path):
    (tmp_path / "two_arguments.py").write_text("def loss(log_prob, mask):\n    return log_prob.sum()\n")
    assert main(["check", "two_arguments:loss", "--examples", "5"]) == 1
    said = capsys.readouterr().out
    assert "raises TypeError" in said
    assert "could not be compared" in said


@pytest.mark.usefixtures("homework")
def test_a_module_that_cannot_be_imported_is_one_line(capsys, tmp_path):
    (tmp_path / "half_written.py").write_text("def loss(:\n")
    assert main(["check", "half_written:loss"]) == 2
    assert "module 'half_written' cannot be imported: SyntaxError" in capsys.readouterr().err
    assert main(["check", "homework_losses:kl_cov", "--examples", "0"]) == 2
    assert "examples is 0; allowed: at least 1" in capsys.readouterr().err
