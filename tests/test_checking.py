"""``toybed check`` and ``toybed mutants``, as a student would use them."""

from __future__ import annotations

import json

import pytest

from toybed import mutants
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
