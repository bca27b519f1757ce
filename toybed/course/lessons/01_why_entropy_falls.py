# %% [markdown]
# # 1. What entropy is, and why it falls
#
# A policy that answers a prompt with one of V answers is a distribution p over them. Its entropy
# `H = -sum_a p_a log p_a`, in nats, says how undecided it is: `log V` where all answers are equally likely, 0 where it
# always gives the same one. `exp(H)` is the number of answers between which it effectively chooses.
#
# Here we train without any noise, by the *exact* policy gradient in a bandit, so that nothing but the algorithm can be
# to blame for what entropy does.

# %%
import torch

from toybed import exact
from toybed.course import check, show
from toybed.envs import make
from toybed.plotting import COLOURS, panels

# %% [markdown]
# ## Exercise: entropy
#
# An answer may have probability 0. It adds nothing to the sum (`0 log 0` is 0), but its logarithm is not finite.


# %%
def entropy(p):
    """Entropy in nats of the probabilities ``p [V]``: one number."""
    ...


check(entropy)

# %% [markdown]
# ## The exact policy gradient
#
# With logits z, `p = softmax(z)` and reward R, the expected reward is `J = sum_a p_a R_a`. Its gradient is
#
#     dJ/dz_a = p_a A_a,    with the advantage A_a = R_a - J
#
# A step of size `rate` along it moves the logits by `rate * p * A`. An answer moves in proportion to how often it is
# given: the rich get richer.


# %%
def train(logits, reward, rate=0.1, steps=1500):
    """Follow the exact policy gradient: expected reward and entropy after each step, ``[steps]`` each."""
    rewards, entropies = [], []
    for _ in range(steps):
        p = logits.softmax(-1)
        expected = (p * reward).sum()
        rewards.append(float(expected))
        entropies.append(float(torch.special.entr(p).sum()))
        logits = logits + rate * p * (reward - expected)
    return rewards, entropies


reward = torch.tensor([1.0, 0.0, 0.0, 0.0, 0.0], dtype=torch.float64)
likely = torch.tensor([0.5, 0.2, 0.1, 0.1, 0.1], dtype=torch.float64).log()
unlikely = torch.tensor([0.02, 0.68, 0.1, 0.1, 0.1], dtype=torch.float64).log()
curves = {"right answer likely": train(likely, reward), "right answer unlikely": train(unlikely, reward)}

with panels(2) as (figure, axes):
    for (name, values), colour in zip(curves.items(), COLOURS[1:3], strict=True):
        for panel, curve in zip(axes, values, strict=True):
            panel.plot(curve, color=colour, label=name)
    axes[0].set(title="Expected reward", xlabel="step")
    axes[1].set(title="Entropy (nats)", xlabel="step")
    axes[0].legend(frameon=False)
    show(figure, "01_why_entropy_falls")

# %% [markdown]
# Where the policy already prefers the right answer, entropy falls from the first step on. Where the right answer is
# unlikely, entropy first *rises*, while the favourite loses its place, and falls later. So entropy need not fall at
# once; but it does in the end, because reward is highest where one answer has everything.

# %%
falls, rises = curves["right answer likely"][1], curves["right answer unlikely"][1]
assert falls[1] < falls[0]
assert max(rises) > rises[0] and rises[-1] < max(rises)

# %% [markdown]
# ## Exercise: which way will it move?
#
# Since `dH/dz_a = -p_a (log p_a + H)`, a step of `rate * p * A` changes entropy, to first order, by
#
#     dH/d rate = -sum_a p_a^2 A_a (log p_a + H)
#
# A likely answer (`log p_a > -H`) that is better than average (`A_a > 0`) costs entropy.


# %%
def entropy_flow(p, reward):
    """Change of entropy for each unit of learning rate; ``p`` and ``reward`` are ``[V]``."""
    ...


check(entropy_flow)

# %% [markdown]
# The formula against a step that is really taken, and against toybed, which knows it in every world that it can
# enumerate. A central difference of width h is off by a multiple of h^2, and by rounding over h.

# %%
width = 1e-4
for start in (likely, unlikely):
    ahead = train(start, reward, rate=width, steps=2)[1][1]
    behind = train(start, reward, rate=-width, steps=2)[1][1]
    p = start.softmax(-1)
    advantage = reward - (p * reward).sum()
    formula = -(p**2 * advantage * (p.log() + torch.special.entr(p).sum())).sum()
    print(f"formula {formula:+.6f}, measured {(ahead - behind) / (2 * width):+.6f} nats for each unit of rate")
    assert abs(formula - (ahead - behind) / (2 * width)) < 1e-6

world = make("answer_bandit", prompt_count=1, answers=5, correct=1, rank=2)
logits = world.demonstrator().double()
p, paid = logits[0].exp(), world.rewards()[0].double()
advantage = paid - (p * paid).sum()
formula = -(p**2 * advantage * (p.log() + torch.special.entr(p).sum())).sum()
assert torch.isclose(formula, exact.entropy_flow(world, logits, -exact.reward_gradient(world, logits)))
