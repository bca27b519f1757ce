"""What a user brings along by the name ``module:name``, and what it must not break: names of runs, bits, gradients."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import toybed
from toybed import cli, objectives, own, study
from toybed.agents.config import Learning, Setting, Spec
from toybed.agents.modules import ModulePolicy
from toybed.agents.policies import flat_parameters, load_flat, make_policy
from toybed.agents.training import spec_of, train
from toybed.envs import WORLDS, make, world_class
from toybed.envs.chain_reach import ChainReach
from toybed.errors import ToybedError
from toybed.objectives.functions import from_function
from toybed.streams import Streams
from toybed.study import Run
from toybed.testing import check_objective, check_token_env

FILES = {
    "brought": """
import torch
from brought_help import scale

def pg(log_prob, log_prob_old, advantage, mask):
    ratio = torch.where(mask, log_prob - log_prob_old, 0.0).exp()
    return -scale * torch.where(mask, ratio * advantage, 0.0).sum() / mask.sum()

number = 3
""",
    "brought_help": "scale = 1.0\n",
    "brought_broken": "1 / 0\n",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with modules of a user, as the current one."""
    for name, text in FILES.items():
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    own._code.cache_clear()
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("brought")]:
        del sys.modules[name]


# -- names -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("brought", "does not name an objective; write module:name"),
        ("brought:", "does not name"),
        ("brought:nothing", "module 'brought' has no 'nothing'"),
        ("nowhere_at_all:x", "no module 'nowhere_at_all'"),
        ("brought_broken:x", "cannot be imported: ZeroDivisionError"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_a_name_that_leads_nowhere_says_why(target: str, said: str) -> None:
    with pytest.raises(ToybedError, match=said):
        own.load(target)


def test_a_thing_has_the_name_by_which_it_is_found() -> None:
    assert own.load(own.name_of(ChainReach)) is ChainReach
    with pytest.raises(ToybedError, match="cannot be imported by a name"):
        own.name_of(lambda: None)


def test_a_world_is_written_as_the_name_of_its_own_and_its_knobs() -> None:
    spec = spec_of(ChainReach(modulus=11))
    assert spec.name == "chain_reach"
    assert make(spec.name, **spec.options) == ChainReach(modulus=11)
    assert spec_of("chain_reach") == Spec("chain_reach")


# -- names of runs -----------------------------------------------------------------------------------------------------
def _id(objective: str) -> str:
    own._code.cache_clear()
    return Run(Setting(objective=Spec(objective)), 0).id


def test_a_run_is_named_by_the_users_code_and_what_it_imports_beside_it(folder: Path) -> None:
    first = _id("brought:pg")
    assert _id("brought:pg") == first
    own_file, help_file = folder / "brought.py", folder / "brought_help.py"
    own_file.write_text(FILES["brought"] + "# a comment\n", encoding="utf-8")
    assert _id("brought:pg") == first
    own_file.write_text(FILES["brought"].replace("number = 3", "number = 4"), encoding="utf-8")
    assert _id("brought:pg") != first
    own_file.write_text(FILES["brought"], encoding="utf-8")
    help_file.write_text("scale = 2.0\n", encoding="utf-8")
    assert _id("brought:pg") != first
    help_file.write_text(FILES["brought_help"], encoding="utf-8")
    assert _id("brought:pg") == first


@pytest.mark.usefixtures("folder")
def test_whatever_is_brought_into_a_setting_is_in_the_name() -> None:
    plain = Setting(learning=Learning(updates=1))
    for setting in (
        Setting(world=Spec("brought:pg")),
        Setting(policy=Spec("brought:pg")),
        Setting(probes=("brought:pg",)),
    ):
        assert list(own.targets_in(setting.config())) == ["brought:pg"]
    assert list(own.targets_in(plain.config())) == []


# -- objectives --------------------------------------------------------------------------------------------------------
def clipped(log_prob: Tensor, log_prob_old: Tensor, advantage: Tensor, mask: Tensor) -> Tensor:
    """PPO's loss, mean over tokens: the toybed's ``ppo_clip`` with ``token_mean``."""
    ratio = torch.where(mask, log_prob - log_prob_old, 0.0).exp()
    value = torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)
    return -torch.where(mask, value, 0.0).sum() / mask.sum()


def with_kl(log_prob: Tensor, log_prob_old: Tensor, advantage: Tensor, mask: Tensor) -> Tensor:
    """The same with k3 to the sampling policy, which moves tokens without an advantage, too."""
    back = torch.where(mask, log_prob_old - log_prob, 0.0)
    penalty = torch.where(mask, back.exp() - 1 - back, 0.0).sum() / mask.sum()
    return clipped(log_prob, log_prob_old, advantage, mask) + 0.1 * penalty


@pytest.mark.parametrize("function", [clipped, with_kl])
@pytest.mark.parametrize("lead", [(), (3,)])
def test_the_gradient_is_the_functions_own(random_batch, function, lead) -> None:
    """Against autograd on the function itself, run by run; rewards of 0 and 1 leave whole groups without advantage."""
    batch, log_prob, entropy = random_batch(5, (4, 3, 5), lead, rewards=(0.0, 1.0))
    mine = from_function(function)
    loss = mine.loss(log_prob, batch, entropy=entropy)
    [gradient] = torch.autograd.grad(loss.value.sum(), log_prob)
    advantage = mine.advantages(batch).expand_as(log_prob)
    leaf = log_prob.detach().clone().requires_grad_()
    whole = [x.reshape(-1, 4, 3, 5) for x in (leaf, batch.log_prob_old, advantage, batch.mask)]
    expected = torch.autograd.grad(sum(function(*run) for run in zip(*whole, strict=True)), leaf)[0]
    # float64: -g n / A, times A, over n: four roundings of values up to about 1.
    torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=1e-15)
    assert (advantage == 0).any()


def test_what_the_clip_keeps_from_a_gradient_is_told(random_batch) -> None:
    batch, log_prob, entropy = random_batch(5)
    same = objectives.get("grpo")
    theirs, mine = (o.loss(log_prob, batch, entropy=entropy) for o in (same, from_function(clipped)))
    assert torch.equal(mine.clipped, theirs.clipped)
    assert torch.equal(mine.touched, theirs.touched)
    assert mine.clipped.any()


def test_a_function_as_an_objective_obeys_the_laws() -> None:
    check_objective(from_function(clipped), examples=10)


@pytest.mark.usefixtures("folder")
def test_a_function_is_found_by_its_name_and_refused_with_a_reason(random_batch) -> None:
    assert objectives.get("brought:pg").name == "brought:pg"
    with pytest.raises(ToybedError, match="allowed: an Objective, or a function"):
        objectives.get("brought:number")
    batch, log_prob, _ = random_batch(1)
    for bad, said in ((lambda *_: 3.0, "a float"), (lambda p, *_: p.detach().sum(), "without a gradient")):
        with pytest.raises(ToybedError, match=said):
            from_function(bad).loss(log_prob, batch)


# -- policies ----------------------------------------------------------------------------------------------------------
class Odd(nn.Module):
    """Of sizes that are no multiples of anything: parts of a stack of it are not aligned."""

    def __init__(self, sizes: tuple[int, ...], vocabulary: int, width: int = 7) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(size, width) for size in sizes)
        self.rest = nn.Sequential(nn.Linear(width, 5), nn.Tanh(), nn.Linear(5, vocabulary))

    def forward(self, observation: Tensor) -> Tensor:
        return self.rest(sum(t(entry) for t, entry in zip(self.tables, observation.unbind(-1), strict=True)))


class Dropping(Odd):
    def __init__(self, sizes: tuple[int, ...], vocabulary: int) -> None:
        super().__init__(sizes, vocabulary)
        self.drop = nn.Dropout(0.1)


class Frozen(Odd):
    def __init__(self, sizes: tuple[int, ...], vocabulary: int) -> None:
        super().__init__(sizes, vocabulary)
        self.tables.requires_grad_(False)


class Short(Odd):
    def forward(self, observation: Tensor) -> Tensor:
        return super().forward(observation)[:, :-1]


def test_a_module_gives_each_run_what_it_gives_alone() -> None:
    """Against the module called by hand with each run's parameters."""
    env = make("chain_reach", modulus=7)
    policy = make_policy(own.name_of(Odd), env, [4, 9, 2])
    assert isinstance(policy, ModulePolicy)
    observation = env.contexts()[:50].expand(3, -1, -1)
    logits = policy(observation)
    flat = flat_parameters(policy)
    for run in range(3):
        alone = Odd(env.observation_sizes, env.vocabulary)
        nn.utils.vector_to_parameters(flat[run], alone.parameters())
        assert torch.equal(logits[run], alone(observation[run]))
    # Seeds make the weights, in any stack, and torch's own generator is left as it was.
    state = torch.get_rng_state()
    again = flat_parameters(make_policy(own.name_of(Odd), env, [2]))
    assert torch.equal(again[0], flat[2])
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(flat[0], flat[1])
    other = make_policy(own.name_of(Odd), env, [1, 1, 1])
    load_flat(other, flat)
    assert torch.equal(flat_parameters(other), flat)


def test_a_module_in_a_stack_is_the_module_alone_bit_for_bit() -> None:
    settings = {"world": make("chain_reach", modulus=7), "policy": Odd, "updates": 4, "prompts": 4, "group": 4}
    stack = train("grpo", seeds=[3, 5, 8], **settings)
    for place, seed in enumerate((3, 5, 8)):
        [alone] = train("grpo", seeds=[seed], **settings)
        assert set(alone.curves) == set(stack[place].curves)
        for name, curve in alone.curves.items():
            assert np.array_equal(curve.values, stack[place].curves[name].values, equal_nan=True), name
        assert np.array_equal(alone.parameters, stack[place].parameters)


@pytest.mark.parametrize(
    ("module", "said"),
    [(Dropping, "Dropout"), (Frozen, "float32 parameters that are all trained"), (nn.Identity, "has no parameter")],
)
def test_a_module_that_would_break_the_rules_is_refused(module: type[nn.Module], said: str) -> None:
    env = make("answer_bandit")
    with pytest.raises(ToybedError, match=said):
        ModulePolicy(env, Streams("policy", [0]), lambda: module(env.observation_sizes, env.vocabulary))


def test_a_module_with_the_wrong_shape_or_temperature_is_refused() -> None:
    env = make("answer_bandit")
    policy = make_policy(own.name_of(Short), env, [0])
    with pytest.raises(ToybedError, match=r"gave \[64, 15\]; expected logits \[64, 16\]"):
        policy.table(env)
    with pytest.raises(ToybedError, match="allowed: temperature 1"):
        policy.flatten_logits(2.0)
    with pytest.raises(ToybedError, match=r"allowed: a class derived from torch\.nn\.Module"):
        make_policy("toybed.stats:iqm", env, [0])


# -- worlds, probes, questions -----------------------------------------------------------------------------------------
def test_the_example_of_a_world_keeps_the_contract() -> None:
    check_token_env(make("toybed.examples.own_world:Spell"))
    assert world_class("chain_reach") is WORLDS["chain_reach"].env_class
    with pytest.raises(ToybedError, match="allowed: a class derived from"):
        make("toybed.stats:Interval")


def twice(env, policy, start) -> dict[str, Tensor]:
    """A probe: how much more reward than the start."""
    now, before = (env.evaluate(each.table(env)).reward.double().mean(-1) for each in (policy, start))
    return {"gained": now - before}


def test_a_probe_is_measured_at_both_ends() -> None:
    results = train("grpo", world="answer_bandit", policy="tabular", probes=[twice], updates=3, seeds=2)
    gained, reward = results.array("gained"), results.array("reward_train")
    assert gained.shape == (2, 2)
    np.testing.assert_allclose(gained[:, -1], reward[:, -1] - reward[:, 0], atol=1e-6)  # rewards in float32


def test_a_question_is_found_by_its_name() -> None:
    from toybed.examples.own_question import STUDY

    assert study.get("toybed.examples.own_question:STUDY") is STUDY
    with pytest.raises(ToybedError, match=r"allowed: a toybed\.study\.Study"):
        study.get("toybed.stats:iqm")


@pytest.mark.usefixtures("folder")
def test_a_question_may_not_take_the_name_of_another() -> None:
    text = "from dataclasses import replace\nfrom toybed import study\n"
    text += "STUDY = replace(study.get('entropy_law'), question='Another?')\n"
    Path("brought_question.py").write_text(text, encoding="utf-8")
    with pytest.raises(ToybedError, match="a question has the name 'entropy_law' already"):
        study.get("brought_question:STUDY")


def test_train_takes_the_base_of_the_worlds_recipe_and_no_unknown_word() -> None:
    assert len(toybed.train(world="tool_search", policy="tabular", updates=1, prompts=4, minibatches=1, seeds=1)) == 1
    with pytest.raises(ToybedError, match="unknown argument of train 'grop': did you mean 'group'"):
        toybed.train(grop=8)


# -- shown -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "lines"),
    [
        (
            "own_question:STUDY",
            ["claim: With an entropy bonus", "quick: 3 seeds in each of 2 arms", "toybed run {} --quick"],
        ),
        (
            "own_objective:gated",
            ["differs from grpo", "surrogate: ppo_clip(clip_high=0.2, clip_low=0.2, dual_clip=None) -> soft_gate"],
        ),
        (
            "own_objective:narrow_clip",
            ["PPO's loss with a narrow clip", "that of (log_prob, log_prob_old, advantage, mask)", "toybed check {}"],
        ),
        ("own_world:Spell", ["3 tokens of 3, 27 prompts", "1 at best, 0.03704 by chance", "compare grpo rloo --on {}"]),
    ],
)
def test_what_is_ones_own_is_shown(name: str, lines: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    target = f"toybed.examples.{name}"
    assert cli.main(["show", target]) == 0
    told = capsys.readouterr().out
    for line in (f"name: {target}", *lines):
        assert line.format(target) in told
    assert cli.main(["show", target, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == target


def test_the_stages_that_are_shown_are_those_that_differ(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the rows themselves, written as one's own: nothing differs from the row."""
    text = "from toybed import objectives\nmine = objectives.get('kl_cov')\n"
    text += "softer = objectives.get('kl_cov', entropy_coefficient=0.1)\n"
    (folder / "brought_stages.py").write_text(text, encoding="utf-8")
    for name, changed in (("mine", []), ("softer", ["regularizers"])):
        assert cli.main(["show", f"brought_stages:{name}", "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert [line.split(":")[0] for line in told["differs from kl_cov"]] == changed


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("toybed.examples.own_policy:Net", "is a type; allowed: a Study, an Objective, a loss function"),
        ("toybed.examples.own_policy:torch", "is a module; allowed"),
        ("brought_world:Broken", "brought_world:Broken fails with ZeroDivisionError"),
        ("brought_nowhere:x", "no module 'brought_nowhere'"),
    ],
)
def test_what_cannot_be_shown_says_why(
    folder: Path, target: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "from toybed.examples.own_world import Spell\n\nclass Broken(Spell):\n"
    text += "    def optimum(self):\n        return 1 / 0\n"
    (folder / "brought_world.py").write_text(text, encoding="utf-8")
    assert cli.main(["show", target]) == 2
    assert said in capsys.readouterr().err
