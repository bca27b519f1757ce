# %% [markdown]
# # 10. Shortcut or belief?
#
# Sally puts the ball into the basket and leaves. Anne moves it into the box. Where does Sally think that it is? Who
# answers "in the basket" may have followed Sally's belief; or may have learned that the answer is where the ball was
# *at first*. On many test questions both give the same answer, and then no score can tell them apart.

# %%
import torch

from toybed.course import check, show
from toybed.envs import make
from toybed.envs.belief_track_shortcuts import SHORTCUTS
from toybed.plotting import COLOURS, panels

# %% [markdown]
# ## Exercise: follow a belief
#
# Where does a1 think that a2 thinks ... that the object is? A chain of agents takes over what an event shows if *all*
# of them witness it. At first all are in the room. Events are triples:
#
# - `("move", who, place)`: the object is moved to a place. Who is in the room sees it.
# - `("leave", who, None)`: somebody leaves.
# - `("enter", who, None)`: somebody comes back, and all in the room see where the object is.


# %%
def belief(start, events, chain):
    """Where the agents of ``chain`` believe, one that the next, that the object is, which was at ``start`` at first."""
    ...


check(belief)

# %% [markdown]
# ## Exercise: which questions can tell?
#
# A question separates belief from the shortcuts only if the right answer is none of theirs.


# %%
def separates(answer, shortcuts):
    """Whether each question tells; ``answer [N]``, ``shortcuts [N, R]`` what R rules answer: bool ``[N]``."""
    ...


check(separates)

# %% [markdown]
# ## How far shortcuts get
#
# BeliefTrack has a bank of stories with questions, the right answers, and what each of seven rules would answer.
# Natural questions are drawn as stories come; directed ones are chosen so that three of the rules always fail.

# %%
world = make("belief_track", train_stories=64)
test = world.prompts("test")
stories = world.stories
print(world.describe(world.reset(test[-1])))
print(f"right: {int(stories.belief[test[-1], -1])}\n")

right = stories.shortcut[test] == stories.belief[test, -1:]  # [N, R]
asks = stories.order[test] > 0  # order 0 asks where it is
classes = {"natural": asks & ~stories.directed[test], "directed": asks & stories.directed[test]}
score = {name: right[chosen].double().mean(0) for name, chosen in classes.items()}
print(f"{'right answers of the rule':26}{'natural':>9}{'directed':>10}")
for i, rule in enumerate(SHORTCUTS):
    print(f"{rule:26}{score['natural'][i]:9.0%}{score['directed'][i]:10.0%}")

with panels(1, width=5.5, height=2.8) as (figure, (panel,)):
    places = torch.arange(len(SHORTCUTS)).numpy()
    for shift, (name, values), colour in zip((-0.2, 0.2), score.items(), COLOURS[1:], strict=False):
        panel.barh(places + shift, values.numpy(), height=0.38, color=colour, label=f"{name} questions")
    panel.set(title="How often a rule is right without following anybody", xlim=(0, 1))
    panel.set_yticks(places, [rule.replace("_", " ") for rule in SHORTCUTS])
    panel.invert_yaxis()
    panel.set_axisbelow(True)
    panel.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    show(figure, "10_shortcut_or_belief")

# %%
for rule in ("reality", "initial", "common_ground"):
    assert score["directed"][SHORTCUTS.index(rule)] == 0
    assert score["natural"][SHORTCUTS.index(rule)] > 0

# %% [markdown]
# A policy that has learned "where it is" scores well on natural questions, with no theory of mind at all. So
# do not ask how often it is right. Ask how often it is right *where its shortcuts are wrong*. And keep looking: the
# rule `first_departure`, which follows those asked about but forgets who came back, was not among the three, and does
# well on the directed questions.
#
# `toybed run belief_shortcuts` asks whether trained policies track beliefs, `toybed run shortcut_pressure` how many
# telling questions it takes before they do.
