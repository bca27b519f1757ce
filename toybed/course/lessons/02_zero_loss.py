# %% [markdown]
# # 2. The loss is zero, but the policy learns
#
# In supervised learning the loss says how well it goes. In reinforcement learning of language models it does not: on
# fresh samples the printed policy loss is zero at *every* update, while the policy learns. This lesson shows why, and
# what to watch instead.

# %%
import torch

import toybed
from toybed.course import check, show
from toybed.envs import make
from toybed.objectives import Batch
from toybed.plotting import COLOURS, panels

# %% [markdown]
# ## Exercise: GRPO's advantage
#
# For each prompt a group of G responses is sampled. A response is judged by its group alone:
#
#     A_i = (R_i - mean R) / (std R + floor)
#
# with the standard deviation of a sample, which divides by `G - 1` (Bessel's correction). The floor keeps a group of
# equal rewards at 0.


# %%
def group_advantage(reward, floor):
    """Advantages ``[B, G]`` of rewards ``[B, G]``: B prompts, a group of G responses for each."""
    ...


check(group_advantage)

# %% [markdown]
# ## Exercise: the printed loss
#
# What a log shows as policy loss is, without a clip, `-mean(rho A)`, with the ratio `rho = pi / pi_old` between the
# policy now and the one that sampled. Given are log-probabilities.


# %%
def printed_loss(log_prob, log_prob_old, advantage):
    """The policy loss of N tokens, all arguments ``[N]``: one number."""
    ...


check(printed_loss)

# %% [markdown]
# ## Training, with the loss in view
#
# A bandit of 16 prompts with 16 answers, three of them right, and a table of logits as policy. Each update samples a
# group of 8 answers for each prompt and takes one step on them: strictly on-policy, so every ratio is 1.

# %%
world = make("answer_bandit", prompt_count=16)
objective = toybed.objectives.get("grpo")
logits = world.demonstrator().double().requires_grad_()
optimizer = torch.optim.Adam([logits], lr=0.05)
random = torch.Generator().manual_seed(0)
prompts = torch.arange(16)[:, None].expand(16, 8)  # [B, G]

seen = {"printed loss": [], "gradient norm": [], "groups with a spread": [], "reward (exact)": []}
for _ in range(100):
    log_probs = logits.log_softmax(-1)
    answers = torch.multinomial(log_probs.detach().exp(), 8, replacement=True, generator=random)
    log_prob = log_probs.gather(1, answers)[..., None]  # [B, G, T] with T = 1
    batch = Batch(
        log_prob_old=log_prob.detach(),
        mask=torch.ones_like(log_prob, dtype=torch.bool),
        reward=world.rewards()[prompts, answers].double(),
    )
    loss = objective.loss(log_prob, batch)
    optimizer.zero_grad()
    loss.value.backward()
    optimizer.step()
    seen["printed loss"].append(float(loss.forward_value))
    seen["gradient norm"].append(float(logits.grad.norm()))
    seen["groups with a spread"].append(float((batch.reward.std(-1) > 0).double().mean()))
    seen["reward (exact)"].append(float(world.evaluate(log_probs.detach()).reward.mean()))

with panels(4, width=2.4, height=2.4) as (figure, axes):
    for panel, (name, curve), colour in zip(axes, seen.items(), COLOURS[1:5], strict=True):
        panel.plot(curve, color=colour)
        panel.set(title=name[0].upper() + name[1:], xlabel="update")
    axes[0].set_ylim(-1, 1)
    show(figure, "02_zero_loss")

# %% [markdown]
# The loss is zero because advantages add up to zero in every group, and all ratios are 1. Its *gradient* is not: it
# raises the log-probability of what was better than its group, and lowers that of the rest,
#
#     grad = -mean(A grad log pi)
#
# It is zero only where no group has a spread any more: all right, or all wrong.
#
# A sum of 128 advantages, each at most `(G - 1) / sqrt(G) < 2.5` in size, rounds by less than 1e-12 in float64.

# %%
assert max(abs(value) for value in seen["printed loss"]) < 1e-12
for norm, spread in zip(seen["gradient norm"], seen["groups with a spread"], strict=True):
    assert (norm > 0) == (spread > 0)
assert seen["reward (exact)"][-1] > seen["reward (exact)"][0]
print(f"reward from {seen['reward (exact)'][0]:.2f} to {seen['reward (exact)'][-1]:.2f}, printed loss 0 throughout")

# %% [markdown]
# So do not read the loss. Read reward, entropy, the norm of the gradient, and how many groups still have a spread.
# (With responses of unequal lengths the printed loss need not be zero either: lesson 3. With several steps on the same
# samples ratios leave 1: lesson 4.)
