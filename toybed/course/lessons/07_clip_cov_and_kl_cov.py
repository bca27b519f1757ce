# %% [markdown]
# # 7. Clip-Cov and KL-Cov by hand
#
# The tokens of highest covariance spend the entropy (lesson 5), and they are few. Two remedies act on them alone
# (arXiv 2505.22617):
#
# - **Clip-Cov** takes a few of them, at random, and gives them no gradient.
# - **KL-Cov** takes the highest ones and pulls them back to where they were sampled, by a penalty on `|log rho|`.

# %%
import math
from dataclasses import replace

import torch

import toybed
from toybed.agents.config import Setting, Spec
from toybed.agents.training import train_bases, train_runs
from toybed.course import check, show
from toybed.objectives import Batch
from toybed.plotting import COLOURS, label_ends, mean_line, panels

# %% [markdown]
# ## Exercise: which tokens?
#
# Of N tokens choose the `math.ceil(share * N)` of highest covariance `(log p_t - mean log p)(A_t - mean A)`.


# %%
def kl_cov_tokens(log_prob, advantage, share):
    """Mask of the chosen tokens, bool ``[N]``; ``log_prob`` and ``advantage`` are ``[N]``, share is a fraction."""
    ...


check(kl_cov_tokens)

# %% [markdown]
# ## Exercise: the loss of KL-Cov
#
# `mean( -rho A + penalty * chosen * |log rho| )`, with `rho = pi / pi_old`. Nothing is clipped.


# %%
def kl_cov_loss(log_prob, log_prob_old, advantage, chosen, penalty):
    """The loss of N tokens: one number. ``chosen [N]`` is the mask from above."""
    ...


check(kl_cov_loss)

# %% [markdown]
# ## On fresh samples one of them does nothing
#
# The derivative of `|log rho|` at `rho = 1` is 0, so on the first step after sampling KL-Cov is inert, and the plain
# policy gradient. Clip-Cov drops tokens from the first step on.

# %%
random = torch.Generator().manual_seed(0)
old = -3 * torch.rand(4, 8, 5, dtype=torch.float64, generator=random)  # [B, G, T]
reward = torch.rand(4, 8, dtype=torch.float64, generator=random).round()
batch = Batch(log_prob_old=old, mask=torch.ones_like(old, dtype=torch.bool), reward=reward)


def gradient(name, log_prob, **options):
    """Gradient of an objective's loss with respect to the log-probabilities, ``[B, G, T]``."""
    leaf = log_prob.clone().requires_grad_()
    generator = torch.Generator().manual_seed(1)  # Clip-Cov draws
    toybed.objectives.get(name, **options).loss(leaf, batch, generator=generator).value.backward()
    return leaf.grad


stale = old + 0.1 * torch.randn(old.shape, dtype=torch.float64, generator=random)
for state, log_prob in (("fresh", old), ("stale", stale)):
    plain = gradient("kl_cov", log_prob, penalty=0.0)
    pulled = (gradient("kl_cov", log_prob) != plain).sum()
    dropped = ((gradient("clip_cov", log_prob) == 0) & (plain != 0)).sum()
    print(f"{state}: KL-Cov changes the gradient of {pulled} tokens of {old.numel()}, Clip-Cov drops {dropped}")

print(f"KL-Cov chooses a share of 0.02: {math.ceil(0.02 * old.numel())} tokens")
assert torch.equal(gradient("kl_cov", old), gradient("kl_cov", old, penalty=0.0))
assert not torch.equal(gradient("kl_cov", stale), gradient("kl_cov", stale, penalty=0.0))
assert bool((gradient("clip_cov", old) == 0).any())

# %% [markdown]
# ## What they do to a run
#
# ChainReach, a small reasoning world: four steps on each batch, so that ratios leave 1. All three start from the same
# base policies and draw the same random numbers. Reward on held-out prompts and entropy are exact.

# %%
torch.set_num_threads(1)  # the networks are small
setting = Setting(world=Spec("chain_reach", {"modulus": 13, "length": 3})).with_learning(
    updates=30, measure_every=5, learning_rate=3e-3
)
bases = train_bases(setting, [0, 1])
runs = {
    name: train_runs(replace(setting, objective=Spec(name)), [0, 1], bases) for name in ("grpo", "clip_cov", "kl_cov")
}

with panels(2) as (figure, axes):
    for panel, measure, title in (
        (axes[0], "entropy_train", "Entropy (nats per token)"),
        (axes[1], "reward_test", "Reward, held-out prompts"),
    ):
        ends = {}
        for (name, results), colour in zip(runs.items(), COLOURS, strict=False):
            steps = results[0].curves[measure].steps
            values = torch.tensor([list(run.curves[measure].values) for run in results]).numpy()
            mean_line(panel, steps, values, colour)
            ends[name] = (float(steps[-1]), float(values[:, -1].mean()), colour)
        panel.set(title=title, xlabel="update")
        label_ends(panel, ends)
    show(figure, "07_clip_cov_and_kl_cov")

# %% [markdown]
# Two seeds decide nothing. `toybed run entropy_law` and `toybed run interventions` ask the question with enough of
# them, and at equal rollouts. And mind what else changes: the row `clip_cov` also widens the clip, as the scripts of
# its authors do (`toybed show clip_cov`).
