"""What ``toybed chat`` prints, readable without colour."""

from __future__ import annotations

from collections.abc import Mapping
from math import exp

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from toybed.agents.config import Setting
from toybed.chat.policy import Trained
from toybed.chat.record import NOTE, summary
from toybed.chat.session import NAMES, Choice, Place, Session, Turn, View
from toybed.envs import mi_dialogue_users as people
from toybed.envs.mi_dialogue import MIDialogue

REWARD = (
    "Reward: 0.5 for each of the patient's first 3 feelings (they raise rapport); from rapport 3 on 1 for information "
    "or a medical question (context); from context 3 on, too, 1.5 for change talk or new understanding (perspective); "
    "once all three are at 3, 2.5 for change talk and 2.45 for a medical question (plan); -0.1 for sustain talk (harm)."
)
ENTROPY = "Entropy: 0 where the policy is sure, log n where it takes any of n choices equally often."
FEW, TOP = 4, 3  # so many choices are all shown with their probability; of more, so many, and the one that was taken


# -- before ------------------------------------------------------------------------------------------------------------
def warning() -> Text:
    """That the patient is invented."""
    return Text("Motivational interviewing with a toy policy. ", style="bold").append(NOTE + "\n", style="not bold")


def what_is_trained(setting: Setting, seed: int) -> Text:
    """One line about the training."""
    weight = setting.objective.options.get("entropy_coefficient")
    bonus = "" if weight is None else f" with entropy coefficient {weight:g}"
    return Text(
        f"Training a therapist (a table; level {setting.world.options['level']}): demonstrations, then "
        f"{setting.learning.updates} updates of {setting.objective.name}{bonus}, seed {seed}."
    )


def what_it_is_worth(policy: Trained) -> Text:
    """How good it is, against the exact optimum."""
    expected, optimum, random = (_mean(each) for each in (policy.expected, policy.optimum, policy.random))
    way = (expected - random) / (optimum - random)
    return Text(
        f"Its expected return, over the three types of patients, is {expected:.2f}; random choices earn {random:.2f} "
        f"and the optimum is {optimum:.2f}{_bound(policy.env)}. So it went {way:.0%} of the way. "
        f"Mean entropy of a choice: {policy.entropy:.2f} nats, as if between {exp(policy.entropy):.1f} equal ones.\n"
    )


def introduction(env: MIDialogue, play: str, user: str) -> RenderableType:
    """Whom the person plays, what there is to type, and what is paid."""
    hold = f" An option is held for {env.hold} turns." if env.level != "act" else ""
    who = "is hidden, and told at the end" if user == "surprise" else f"is {user}"
    if play == "patient":
        role = (
            f"You are the patient, for {env.turns} turns; the policy is the therapist.{hold} `auto` lets the simulator "
            f"answer for you, whose type {who}."
        )
    else:
        role = (
            f"You are the therapist, for {env.turns} turns; the simulator is the patient, whose type {who}.{hold} "
            "Beside your choice stands what the policy would have done. `auto` lets the policy choose."
        )
    typed = (
        "Type the number or the beginning of a name. `?` shows the list again, `undo` takes back your last choice, "
        "`quit` ends."
    )
    kinds = ["answer"] if play == "patient" else [kind for kind in ("option", "act") if env.level in (kind, "both")]
    return Group(Text(role), Text(REWARD), Text(ENTROPY), Text(typed + "\n"), *(choices(kind) for kind in kinds))


def choices(kind: str) -> RenderableType:
    """The list of what may be chosen, in as many columns as fit."""
    table = Table.grid(padding=(0, 3, 0, 0))
    cells = [f"{place:2} {name}" for place, name in enumerate(NAMES[kind], 1)]
    rows = -(-len(cells) // 3)
    for row in range(rows):
        table.add_row(*cells[row::rows])
    return Group(Text(f"{kind}s", style="bold"), table)


# -- on the way --------------------------------------------------------------------------------------------------------
def prompt(view: View) -> Text:
    """What is asked."""
    held = f" (option {view.place.option})" if view.ask == "act" and view.place.option else ""
    return Text(f"your {view.ask}{held}> ", style="bold")


def reply(session: Session, view: View) -> RenderableType:
    """What a line has brought."""
    parts: list[RenderableType] = []
    if view.message is not None:
        parts.append(Text(view.message, style="yellow"))
    if view.listing and view.ask is not None:
        parts.append(choices(view.ask))
    parts += [_turn_ends(session, turn) for turn in view.turns]
    if view.chosen is not None:
        parts.append(_compared(view.chosen))
    if view.ask is not None and (view.turns or view.back):
        parts.append(turn_begins(session, view))
    return Group(*parts)


def turn_begins(session: Session, view: View) -> RenderableType:
    """Where the dialogue is, and what the therapist did if that is the policy."""
    place = view.place
    title = Text(f"\nTurn {place.turn} of {session.env.turns}", style="bold").append(_where(place), style="not bold")
    parts: list[RenderableType] = [title]
    if session.play == "patient":
        parts += _therapist(session, view)
    return Group(*parts)


def _where(place: Place) -> str:
    counters = ", ".join(f"{name} {count}" for name, count in place.counters.items())
    return f", phase {place.phase} · {counters} · reward {place.so_far:.2f}"


def _therapist(session: Session, view: View) -> list[RenderableType]:
    """What the policy does, and how sure it was."""
    place, env = view.place, session.env
    held = ""
    if place.option is not None:
        now = (place.turn - 1) % env.hold + 1
        held = f" (option {place.option}, turn {now} of {env.hold})"
    said = Text(f"therapist: {view.act}", style="cyan").append(held, style="not bold default")
    if not view.choices:
        return [said, _faint("the option is held: its acts are drawn uniformly, no choice of the policy")]
    return [said, *(_faint(_thought(choice)) for choice in view.choices)]


def _thought(choice: Choice) -> str:
    """Entropy and probabilities of a choice."""
    ranked = sorted(choice.chances.items(), key=lambda item: -item[1])
    shown = (
        ranked if len(ranked) <= FEW else [item for item in ranked if item in ranked[:TOP] or item[0] == choice.taken]
    )
    listed = [f"{name} {chance:.2f}" for name, chance in shown]
    if len(shown) < len(ranked):
        others = [chance for item in ranked if item not in shown for chance in item[1:]]
        listed.append(f"{len(others)} others {sum(others):.2f}")
    return f"{choice.kind}: entropy {_entropy(choice.entropy, choice.share, len(ranked))} · {', '.join(listed)}"


def _entropy(entropy: float, share: float, count: int) -> str:
    return f"{entropy:.2f} nats, {share:.0%} of log {count}"


def _turn_ends(session: Session, turn: Turn) -> RenderableType:
    """What was said, and what it was paid."""
    earned = f"  {turn.reward:+.2f}" if turn.paid else "  no reward"
    if turn.paid:
        earned += f" ({', '.join(turn.paid)})"
    if session.play == "patient":
        who = "you" if turn.answered_by == "person" else "simulator, for you"
        return Text(f"{who}: {turn.answer}", style="green").append(earned, style="not bold default")
    lines: list[RenderableType] = [_compared(choice) for choice in turn.choices if _of_this_line(session, choice)]
    lines.append(Text(f"{_actor(session, turn)}: {turn.act}", style="cyan"))
    lines.append(Text(f"patient: {turn.answer}", style="green").append(earned, style="not bold default"))
    return Group(*lines)


def _actor(session: Session, turn: Turn) -> str:
    if session.env.level == "option":
        return f"turn {turn.turn}"
    return "policy, for you" if turn.choices[-1].by == "policy" else "you"


def _of_this_line(session: Session, choice: Choice) -> bool:
    """At level "both" an option was compared when it was chosen, a line before the turn's act."""
    return not (session.env.level == "both" and choice.kind == "option")


def _compared(choice: Choice) -> RenderableType:
    """A choice of the person beside what the policy would have done."""
    chance = choice.chances[choice.taken]
    mine = f" · yours {chance:.2f}" if choice.by == "person" else f" · it takes {choice.taken}"
    return _faint(f"the policy's {_thought(choice)}{mine}")


def _faint(words: str) -> RenderableType:
    return Padding(Text(words, style="dim"), (0, 0, 0, 3))


# -- after -------------------------------------------------------------------------------------------------------------
def farewell(session: Session, policy: Trained, user: str, ended: str) -> RenderableType:
    """The summary."""
    done = summary(session.env, session.turns)
    parts: list[RenderableType] = [
        Text(f"\nSummary: {done.turns} of {session.env.turns} turns ({ended})", style="bold")
    ]
    parts.append(Text(f"the simulated patient's type: {user}"))
    paid = "".join(f", {name} {value:.2f}" for name, value in done.paid.items())
    parts.append(Text(f"return: {done.reward:.2f}{paid.replace(',', ' =', 1)}"))
    if done.used:
        parts.append(_usage(session.env, done.used))
    for kind, entropy in done.entropy.items():
        share = _entropy(entropy, done.share[kind], len(NAMES[kind]))
        parts.append(Text(f"mean entropy of the policy's {kind}s: {share}"))
    if session.play == "therapist":
        parts.append(_standing(session, policy, user, done.reward))
    else:
        parts.append(_simulated(policy, user))
    return Group(*parts)


def _usage(env: MIDialogue, used: Mapping[str, Mapping[str, int]]) -> RenderableType:
    kind = "act" if env.level == "act" else "option"
    names = [name for name in NAMES[kind] if any(name in times for times in used.values())]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(f"{kind}s chosen in phase")
    for phase in people.PHASES:
        table.add_column(phase, justify="right")
    for name in names:
        table.add_row(name, *(str(used.get(phase, {}).get(name, "-")) for phase in people.PHASES))
    return table


def _standing(session: Session, policy: Trained, user: str, reward: float) -> RenderableType:
    """The person's return beside those of the policy, the optimum and random choices."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(f"patient: {user}")
    table.add_column("return", justify="right")
    table.add_column("")
    whole = len(session.turns) == session.env.turns
    table.add_row("you", f"{reward:.2f}", "one dialogue" if whole else f"{len(session.turns)} turns only")
    table.add_row("the policy", f"{policy.expected[user]:.2f}", "expected, exact")
    table.add_row("optimum", f"{policy.optimum[user]:.2f}", f"expected, exact{_bound(policy.env)}")
    table.add_row("random choices", f"{policy.random[user]:.2f}", "expected, exact")
    return table


def _simulated(policy: Trained, user: str) -> Text:
    return Text(
        f"when the simulator ({user}) answers, this policy's expected return is {policy.expected[user]:.2f}; random "
        f"choices earn {policy.random[user]:.2f}, the optimum is {policy.optimum[user]:.2f}{_bound(policy.env)}"
    )


def _bound(env: MIDialogue) -> str:
    """What the optimum is of."""
    bound = ", and bounds this level from above" if env.level == "both" else ""
    return f" (of one who knows the type and sees the counters{bound})"


def _mean(by_type: Mapping[str, float]) -> float:
    return sum(by_type.values()) / len(by_type)
