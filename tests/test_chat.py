"""``toybed chat``: the dialogue as pure logic against the world itself, then the program around it."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from toybed import chat, cli
from toybed.chat.policy import measured, plan
from toybed.chat.record import summary
from toybed.chat.session import NAMES, Session, place_of
from toybed.envs import make
from toybed.envs import mi_dialogue_users as people
from toybed.envs.mi_dialogue import MIDialogue
from toybed.errors import ToybedError
from toybed.measures.entropy import token_entropy

Capture = pytest.CaptureFixture[str]
LEVELS = ("act", "option", "both")
ROLES = ("patient", "therapist")


def world(level: str, turns: int = 8) -> MIDialogue:
    env = make("mi_dialogue", level=level, turns=turns, n_types=0, held_out=0, see_counters=level == "act")
    assert isinstance(env, MIDialogue)
    return env


def some_policy(env: MIDialogue, seed: int = 3) -> torch.Tensor:
    """Uneven chances of all that is legal."""
    noise = torch.randn(len(env.contexts()), env.vocabulary, generator=torch.Generator().manual_seed(seed))
    return (env.uniform() + noise.double() * (env.uniform() > -1e8)).log_softmax(-1)


def session(level: str, play: str, *, turns: int = 8, user: int = 1, seed: int = 5) -> Session:
    env = world(level, turns)
    return Session(env, some_policy(env), play=play, user=user, seed=seed)


def drive(dialogue: Session, lines: Sequence[str]) -> None:
    """All of these lines, over and over, until the dialogue is over."""
    place = 0
    while dialogue.view().ask is not None:
        dialogue.give(lines[place % len(lines)])
        place += 1
        assert place < 500


# -- the dialogue and the world ----------------------------------------------------------------------------------------
def tokens(dialogue: Session) -> list[int]:
    """What was chosen, as the world's tokens."""
    chosen = [choice for turn in dialogue.turns for choice in turn.choices]
    return [dialogue.env.token_names.index(choice.taken) for choice in chosen]


@pytest.mark.parametrize("play", ROLES)
@pytest.mark.parametrize("level", LEVELS)
def test_a_dialogue_with_the_simulator_is_an_episode_of_the_world(level: str, play: str) -> None:
    """The same tokens and noise, stepped by the world itself, lead to the same state, field by field."""
    dialogue = session(level, play)
    noise = dialogue.state.noise
    drive(dialogue, ["auto"])
    env = dialogue.env
    state = env.reset(torch.tensor(1), noise)
    chosen = tokens(dialogue)
    assert len(chosen) == env.horizon
    for token in chosen:
        state = env.step(state, torch.tensor(token))
    for name, mine, theirs in zip(state._fields, dialogue.state, state, strict=True):
        assert torch.equal(mine, theirs), name
    assert dialogue.turns[-1].so_far == pytest.approx(float(env.reward(state)), abs=1e-6)


@pytest.mark.parametrize("level", LEVELS)
def test_answers_of_a_person_are_paid_as_the_world_pays(level: str) -> None:
    dialogue = session(level, "patient", turns=12)
    answers = ["negative", "positive feeling", "5", "1", "9", "share", "ch", "6", "new", "ch", "9", "sus"]
    for answer in answers:
        dialogue.give(answer)
    env, state = dialogue.env, dialogue.env.reset(torch.tensor(1))
    for turn in dialogue.turns:
        before = env.reward_vector(state)
        act, answer = people.ACTS.index(turn.act), people.ANSWERS.index(turn.answer)
        state = env.exchange(state, torch.tensor(act), torch.tensor(answer))
        paid = dict(zip(env.reward_names, (env.reward_vector(state) - before).tolist(), strict=True))
        assert {name: turn.paid.get(name, 0.0) for name in paid} == pytest.approx(paid, abs=1e-6)
        assert turn.so_far == pytest.approx(float(env.reward(state)), abs=1e-6)
        assert list(turn.counters.values()) == env.counters[state.counters].tolist()
    # By hand: 3 feelings .5 each, 3 of context 1 each, 3 of perspective 1.5 each, then 2.5, 2.45 and -.1.
    done = summary(env, dialogue.turns)
    assert done.paid == {"engage": 1.5, "focus": 3.0, "evoke": 4.5, "plan": 4.95, "harm": -0.1}
    assert done.reward == pytest.approx(sum(done.paid.values()))
    assert dialogue.view().ask is None


@pytest.mark.parametrize("play", ROLES)
@pytest.mark.parametrize("level", LEVELS)
def test_what_is_shown_of_a_choice_is_in_the_policys_table(level: str, play: str) -> None:
    dialogue = session(level, play)
    noise = dialogue.state.noise
    drive(dialogue, ["2", "3", "auto"] if play == "patient" else ["1", "auto", "4"])
    env, table = dialogue.env, some_policy(dialogue.env)
    if play == "patient":  # the world's own steps do not know a person's answers
        answers = iter(turn.answer for turn in dialogue.turns)
    state = env.reset(torch.tensor(1), noise)
    for turn in dialogue.turns:
        for choice in turn.choices:
            held = 0 if choice.kind == "option" else people.PHASES.index(turn.option or "engage") + 1
            row = table[env.context_index(env.observe(state._replace(option=torch.tensor(held))))]
            assert choice.entropy == pytest.approx(float(token_entropy(row)), abs=1e-9)
            assert choice.share == pytest.approx(choice.entropy / math.log({"option": 4, "act": 13}[choice.kind]))
            assert sum(choice.chances.values()) == pytest.approx(1)
            names = env.token_names
            assert choice.chances == pytest.approx({n: float(row[names.index(n)].exp()) for n in choice.chances})
        said = next(answers) if play == "patient" else turn.answer
        act, answer = people.ACTS.index(turn.act), people.ANSWERS.index(said)
        state = env.exchange(state, torch.tensor(act), torch.tensor(answer))


@pytest.mark.parametrize("level", LEVELS)
def test_choices_are_made_where_they_are_due(level: str) -> None:
    dialogue = session(level, "patient")
    drive(dialogue, ["auto"])
    kinds = [[choice.kind for choice in turn.choices] for turn in dialogue.turns]
    first, later = {"act": (["act"], ["act"]), "option": (["option"], []), "both": (["option", "act"], ["act"])}[level]
    assert kinds == [first if number % 4 == 0 else later for number in range(8)]
    held = [turn.option for turn in dialogue.turns]
    assert held == [None] * 8 if level == "act" else held == [held[0]] * 4 + [held[4]] * 4


@pytest.mark.parametrize(
    ("level", "asked"), [("act", ["act"] * 8), ("option", ["option"] * 2), ("both", ["option", *["act"] * 4] * 2)]
)
def test_a_therapist_is_asked_what_the_level_chooses(level: str, asked: list[str]) -> None:
    dialogue = session(level, "therapist")
    seen = []
    while (ask := dialogue.view().ask) is not None:
        seen.append(ask)
        dialogue.give("1")
    assert seen == asked
    assert {choice.by for turn in dialogue.turns for choice in turn.choices} == {"person"}
    assert {turn.answered_by for turn in dialogue.turns} == {"simulator"}


def test_a_policys_choices_have_its_chances() -> None:
    """4,000 first acts. Each count is binomial: 6 deviations off in one of 13 happens with less than 1e-7."""
    env = world("act", 1)
    table = some_policy(env)
    runs = [Session(env, table, play="patient", user=0, seed=seed).view().act for seed in range(4000)]
    chances = table[0].exp()
    for name, chance in zip(people.ACTS, chances.tolist(), strict=True):
        spread = math.sqrt(len(runs) * chance * (1 - chance))
        assert abs(runs.count(name) - len(runs) * chance) < 6 * spread + 1


# -- what a person types -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", NAMES)
def test_a_choice_is_named_by_number_name_or_beginning(kind: str) -> None:
    for place, name in enumerate(NAMES[kind]):
        assert place_of(str(place + 1), kind) == place
        assert place_of(name, kind) == place
    assert place_of("sh", "answer") == 0
    assert place_of("ask", "answer") == 8


@pytest.mark.parametrize(
    "word", ["s", "0", "10", "-1", "", "foo", "1.5", "٣", "9" * 5000, "share information now", "?!"]
)
@pytest.mark.parametrize("play", ROLES)
def test_a_wrong_word_is_one_line_and_changes_nothing(play: str, word: str) -> None:
    dialogue = session("both", play)
    before = dialogue.view()
    if play == "therapist" and word == "s":
        word = "e"  # engage, evoke
    after = dialogue.give(word)
    assert after.message is not None
    assert "\n" not in after.message
    assert "allowed: 1 to" in after.message or "several: 1 " in after.message
    assert after._replace(message=None) == before


def test_a_near_miss_is_told_what_was_meant() -> None:
    assert "did you mean 'change talk'?" in str(session("act", "patient").give("chnage talk").message)
    with pytest.raises(ToybedError, match="1 share information, 3 sustain talk"):
        place_of("s", "answer")


def test_case_and_spaces_do_not_matter() -> None:
    dialogue = session("act", "patient")
    dialogue.give("  Change   TALK \n")
    assert dialogue.turns[-1].answer == "change talk"


def test_the_list_is_shown_on_demand_and_changes_nothing() -> None:
    dialogue = session("act", "patient")
    before = dialogue.view()
    assert dialogue.give("?") == before._replace(listing=True)


@pytest.mark.parametrize("play", ROLES)
@pytest.mark.parametrize("level", LEVELS)
def test_undo_goes_back_and_other_words_meet_the_same_luck(level: str, play: str) -> None:
    dialogue, other = (session(level, play, turns=12) for _ in range(2))
    start = dialogue.view()
    dialogue.give("2")
    dialogue.give("3")
    dialogue.give("undo")
    dialogue.give("undo")
    assert dialogue.view() == start
    assert dialogue.give("undo").message == "there is nothing to undo yet"
    drive(dialogue, ["auto"])
    drive(other, ["auto"])
    assert dialogue.turns == other.turns


def test_quit_ends_and_nothing_follows() -> None:
    dialogue = session("act", "patient")
    dialogue.give("1")
    assert dialogue.give("QUIT").ask is None
    assert dialogue.give("1").message == "the dialogue is over"
    assert len(dialogue.turns) == 1


@pytest.mark.parametrize("play", ROLES)
def test_the_same_seed_and_words_are_the_same_dialogue(play: str) -> None:
    def turns(seed: int) -> Any:
        dialogue = session("both", play, seed=seed)
        drive(dialogue, ["1", "auto", "4", "auto"])
        return dialogue.turns

    assert turns(5) == turns(5)
    assert len({str(turns(seed)) for seed in range(4)}) > 1


# -- looking back ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("level", LEVELS)
def test_the_summary_counts_every_choice_in_its_phase(level: str) -> None:
    dialogue = session(level, "patient", turns=12)
    drive(dialogue, ["4", "1", "auto", "2"])
    done = summary(dialogue.env, dialogue.turns)
    kind = "act" if level == "act" else "option"
    chosen = [(turn.phase, c.taken) for turn in dialogue.turns for c in turn.choices if c.kind == kind]
    assert sum(sum(times.values()) for times in done.used.values()) == len(chosen)
    for phase, name in chosen:
        assert done.used[phase][name] == chosen.count((phase, name))
    for kind in done.entropy:
        entropies = [c.entropy for turn in dialogue.turns for c in turn.choices if c.kind == kind]
        assert done.entropy[kind] == pytest.approx(sum(entropies) / len(entropies))
    assert set(done.entropy) == {"act": {"act"}, "option": {"option"}, "both": {"option", "act"}}[level]


def test_a_dialogue_without_a_turn_has_a_summary() -> None:
    done = summary(world("both"), ())
    assert (done.turns, done.reward, done.used, done.entropy) == (0, 0.0, {}, {})


@pytest.mark.parametrize("level", LEVELS)
def test_the_policys_worth_is_the_worlds(level: str) -> None:
    env = world(level)
    worth = measured(env, some_policy(env))
    assert [*worth.expected] == [*worth.optimum] == [*worth.random] == [*people.TYPES]
    assert sum(worth.optimum.values()) / 3 == pytest.approx(env.optimum())
    assert sum(worth.random.values()) / 3 == pytest.approx(env.random_baseline())
    assert all(worth.expected[name] < worth.optimum[name] for name in people.TYPES)
    assert measured(env, env.uniform()).expected == pytest.approx(worth.random)


def test_the_rewards_that_are_explained_are_the_worlds() -> None:
    paid = people.points("code", True).sum(-1)

    def at(rapport: int, context: int, perspective: int, answer: int) -> int:
        return int(paid[(rapport * 5 + context) * 5 + perspective, answer])

    assert [at(r, 0, 0, people.NEGATIVE) for r in range(5)] == [50, 50, 50, 0, 0]
    assert [at(r, 0, 0, people.INFORMATION) for r in range(5)] == [0, 0, 0, 100, 100]
    assert [at(3, c, 0, people.CHANGE) for c in range(5)] == [0, 0, 0, 150, 150]
    assert [at(3, 3, 3, a) for a in (people.CHANGE, people.MEDICAL, people.SUSTAIN)] == [250, 245, -10]


# -- the program -------------------------------------------------------------------------------------------------------
@pytest.fixture
def say(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[str, str]]:
    """Run the command with these lines as its input; what it printed. Training is a few updates at most."""

    def run(lines: str, *arguments: str) -> tuple[str, str]:
        monkeypatch.setattr("sys.stdin", io.StringIO(lines))
        assert cli.main(["chat", "--updates", "1", "--turns", "4", *arguments]) == 0
        out, err = capsys.readouterr()
        return " ".join(out.split()), err  # without the breaks of lines

    return run


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("play", ROLES)
def test_a_dialogue_in_the_terminal(say: Any, play: str, level: str) -> None:
    out, err = say("auto\n" * 8, "--play", play, "--level", level, "--type", "resistant")
    assert err == ""
    assert out.startswith("Motivational interviewing")
    assert "invented" in out.split("Training")[0]
    assert "not clinical" in out.split("Training")[0]
    for part in ("optimum is", "random choices earn", "Turn 1 of 4, phase engage", "nats", "4 of 4 turns (finished)"):
        assert part in out
    assert ("return: " in out) and ("type: resistant" in out)
    if play == "therapist":
        assert "you" in out.split("Summary")[1]
        assert "expected, exact" in out


@pytest.mark.parametrize(("lines", "ended"), [("1\nquit\n", "quit"), ("1\n", "end of input"), ("1\n2", "end of input")])
def test_it_ends_with_a_summary_whatever_ends_it(say: Any, lines: str, ended: str) -> None:
    out, _ = say(lines, "--level", "act")
    assert f"of 4 turns ({ended})" in out
    assert "mean entropy of the policy's acts" in out


def test_an_interruption_ends_it_with_a_summary(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    class Impatient(io.StringIO):
        def readline(self, *_: Any) -> str:
            line = super().readline()
            if not line:
                raise KeyboardInterrupt
            return line

    monkeypatch.setattr("sys.stdin", Impatient("1\n2\n"))
    assert cli.main(["chat", "--updates", "0", "--turns", "4", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["ended"], told["summary"]["turns"]) == ("interrupted", 2)


def test_json_is_one_object_and_all_else_is_on_standard_error(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def told() -> Any:
        monkeypatch.setattr("sys.stdin", io.StringIO("4\nfoo\n?\n1\nundo\nauto\nnegative\nauto\n"))
        command = ["chat", "--json", "--updates", "1", "--turns", "4", "--entropy-coefficient", "0.01", "--seed", "7"]
        assert cli.main(command) == 0
        return capsys.readouterr()

    out, err = told()
    assert out.count("\n") == 1
    answer = json.loads(out)
    assert "your answer>" in err
    assert "not clinical" in err.split("Training")[0].replace("\n", " ")
    assert "not clinical" in answer["note"]
    assert [turn["answered_by"] for turn in answer["dialogue"]] == ["person", "simulator", "person", "simulator"]
    assert answer["summary"]["reward"] == pytest.approx(sum(turn["reward"] for turn in answer["dialogue"]))
    assert (answer["ended"], answer["seed"], answer["entropy_coefficient"]) == ("finished", 7, 0.01)
    assert answer["type"] in people.TYPES
    assert told() == (out, err)  # trained anew, and the same to the last digit


@pytest.mark.parametrize("play", ROLES)
def test_a_surprise_is_told_at_the_end_only(say: Any, play: str) -> None:
    out, _ = say("auto\n" * 5, "--play", play, "--type", "surprise")
    dialogue, end = out.split("Summary: ")
    dialogue = dialogue.split("You are the")[1]
    assert "hidden" in dialogue
    assert not [name for name in ("receptive", "resistant") if name in dialogue]
    assert f"type: {chat.drawn_type(0)}" in end


def test_every_type_may_be_the_surprise() -> None:
    assert {chat.drawn_type(seed) for seed in range(50)} == set(people.TYPES)


def test_without_colours_there_are_no_escapes(say: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "")
    monkeypatch.setenv("NO_COLOR", "1")
    out, err = say("auto\n" * 5, "--level", "act")
    assert "\x1b" not in out + err


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--objective", "grop"], ["'grop'", "'grpo'"]),
        (["--seed", "-1"], ["seed is -1", "at least 0"]),
        (["--updates", "-1"], ["updates is -1", "at least 0"]),
        (["--turns", "10"], ["turns is 10", "multiples of 4"]),
        (["--turns", "61", "--level", "act"], ["turns is 61", "1 to 60"]),
        (["--turns", "0"], ["turns is 0"]),
        (["--entropy", "1"], ["unknown option '--entropy'"]),
    ],
    ids=" ".join,
)
def test_a_wrong_option_is_one_line_before_anything_is_trained(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, arguments: list[str], parts: list[str]
) -> None:
    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("something was trained")

    monkeypatch.setattr("toybed.chat.trained", forbidden)
    assert cli.main(["chat", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    for part in parts:
        assert part in err


def test_an_objective_that_cannot_be_trained_here_is_refused() -> None:
    everything: dict[str, Any] = {"turns": 4, "updates": 1, "seed": 0, "entropy_coefficient": None}
    plan(level="both", objective="hicra", **everything)
    with pytest.raises(ToybedError, match="planning"):
        plan(level="act", objective="hicra", **everything)


def test_a_training_that_diverges_is_one_line(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    from toybed.chat import policy as chat_policy

    def lost(*arguments: Any, **named: Any) -> Any:
        return [replace(run, diverged_at=1, cause="loss") for run in honest(*arguments, **named)]

    honest = chat_policy.train_runs
    monkeypatch.setattr(chat_policy, "train_runs", lost)
    assert cli.main(["chat", "--updates", "1", "--turns", "4"]) == 2
    assert "the training diverged at update 1 (loss)" in capsys.readouterr().err
