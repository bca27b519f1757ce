# %% [markdown]
# # 9. Meta-learning a master
#
# A dialogue agent has a *master* that chooses an option (engage, focus, ...) for users of different types. Trained on
# all users jointly, it learns the option that is best on average, becomes certain of it, and cannot adapt any more: a
# policy without entropy has no gradient. Meta-learning (MAML) asks for something else: not what is best now, but what
# is best *after one step of adaptation* to the user at hand.
#
# Here the master is a single choice, everything is exact, and nothing is sampled.

# %%
import torch

from toybed.course import check, show
from toybed.measures.entropy import token_entropy
from toybed.plotting import COLOURS, label_ends, panels

REWARDS = torch.tensor(  # of four options, for users of three types: each has a favourite, all half-like the last one
    [[1.0, 0.0, 0.0, 0.5], [0.0, 1.0, 0.0, 0.5], [0.0, 0.0, 1.0, 0.5]], dtype=torch.float64
)

# %% [markdown]
# ## Exercise: adapt
#
# One step of the exact policy gradient for one user: `logits + rate * p * (R - J)`, with `p = softmax(logits)` and
# `J = sum_a p_a R_a`. It must stay differentiable: no `.detach()`, no `.item()`.


# %%
def adapt(logits, reward, rate):
    """The logits ``[V]`` after one policy-gradient step of size ``rate`` on a user's ``reward [V]``."""
    ...


check(adapt)

# %% [markdown]
# ## Exercise: what MAML maximises
#
# The mean over users of what each user's *adapted* policy earns from that user. The gradient flows through the
# adaptation.


# %%
def meta_objective(logits, rewards, rate):
    """Mean expected reward of the adapted policies; ``logits [V]``, ``rewards [U, V]`` of U users: one number."""
    ...


check(meta_objective)

# %% [markdown]
# ## Joint training and MAML
#
# Both by exact gradients, from the same start, with the same steps. `adapted` is what each is worth once it has adapted
# to a user by one step.

# %%
RATE = 10.0  # of the step by which a policy adapts


def earned(logits, adapts):
    """Mean expected reward over users, of the policy itself or of its adapted versions."""
    total = 0.0
    for reward in REWARDS:
        p = logits.softmax(-1)
        own = logits + RATE * p * (reward - (p * reward).sum()) if adapts else logits
        total = total + (own.softmax(-1) * reward).sum() / len(REWARDS)
    return total


def train(adapts, steps=400):
    """Maximise one of the two; entropy and adapted reward after each step."""
    logits = torch.tensor([0.1, 0.0, -0.1, 0.2], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.03)
    entropies, adapted = [], []
    for _ in range(steps):
        optimizer.zero_grad()
        (-earned(logits, adapts)).backward()
        optimizer.step()
        now = logits.detach()
        entropies.append(float(token_entropy(now.log_softmax(-1))))
        adapted.append(float(earned(now, adapts=True)))
    return logits.detach(), entropies, adapted


arms = {"joint": train(adapts=False), "MAML": train(adapts=True)}
for name, (logits, entropies, adapted) in arms.items():
    options = [round(float(x), 2) for x in logits.softmax(-1)]
    print(f"{name:6} options {options}, entropy {entropies[-1]:.2f} nats, adapted reward {adapted[-1]:.2f}")

with panels(2) as (figure, axes):
    for i, title in ((1, "Entropy of the master (nats)"), (2, "Reward after adaptation")):
        ends = {}
        for (name, arm), colour in zip(arms.items(), COLOURS[1:], strict=False):
            axes[i - 1].plot(arm[i], color=colour)
            ends[name] = (len(arm[i]), arm[i][-1], colour)
        axes[i - 1].set(title=title, xlabel="step")
        label_ends(axes[i - 1], ends)
    show(figure, "09_meta_learning_a_master")

# %% [markdown]
# Joint training ends with the option that everybody half-likes: the best single answer, and the end of adaptation. MAML
# keeps the favourites of all three users open, earns less *before* it adapts, and more after.

# %%
joint, maml = arms["joint"], arms["MAML"]
assert maml[1][-1] > joint[1][-1]
assert maml[2][-1] > joint[2][-1]
assert earned(maml[0], adapts=False) < earned(joint[0], adapts=False)

# %% [markdown]
# That is the idea, where gradients are exact and options differ from the start. It is not a result about dialogues:
# in the main condition of `toybed run dialogue_collapse` adaptation is sampled and sub-policies are learned at the same
# time, and there the master of MAML collapses, too. `toybed show dialogue_collapse` says what was tried since.
