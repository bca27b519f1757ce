# %% [markdown]
# # 5. The covariance law
#
# Which tokens spend the entropy? For a softmax policy there is an answer to first order (arXiv 2505.22617): when the
# logits move by `dz`, entropy changes by
#
#     dH = -Cov( log p_a, dz_a )        over a ~ p
#
# The *natural* policy gradient moves them by `rate * A_a`. So its entropy changes by `-rate * Cov(log p, A)`: tokens
# that are likely *and* better than average spend it. Clip-Cov and KL-Cov (lesson 7) act on exactly these tokens.

# %%
import numpy as np
import torch

import toybed
from toybed.course import check, show
from toybed.measures.covariance import covariance
from toybed.plotting import COLOURS, panels

# %% [markdown]
# ## Exercise: the law
#
# The covariance of two functions of a, under a ~ p, is `E[(f - E f)(g - E g)]`, all expectations weighted by p.


# %%
def entropy_change(p, advantage, rate):
    """Change of entropy in a natural-gradient step, to first order; ``p`` and ``advantage`` are ``[V]``: one number."""
    ...


check(entropy_change)

# %% [markdown]
# ## How good is it?
#
# To first order means: the error shrinks with the *square* of the rate. On a logarithmic scale that is a line of slope
# 2. Here real natural-gradient steps from random policies, with random rewards.

# %%
random = torch.Generator().manual_seed(0)
rates = torch.logspace(-4, -1, 13, dtype=torch.float64)
with panels(1, width=4.2) as (figure, (panel,)):
    for _ in range(5):
        logits = torch.randn(8, dtype=torch.float64, generator=random)
        reward = torch.rand(8, dtype=torch.float64, generator=random)
        p = logits.softmax(-1)
        advantage = reward - (p * reward).sum()
        law = -((p * p.log() * advantage).sum())  # A has mean 0 under p, so the mean of log p cancels
        moved = (logits + rates[:, None] * advantage).softmax(-1)
        errors = (torch.special.entr(moved).sum(-1) - torch.special.entr(p).sum() - rates * law).abs()
        slope = float((errors[-1] / errors[0]).log() / (rates[-1] / rates[0]).log())
        assert abs(slope - 2) < 0.2  # the next term of the series, at a rate of 0.1, moves it by that little
        panel.loglog(rates, errors, color=COLOURS[1], linewidth=1)
    panel.set(title="Error of the law (nats)", xlabel="rate")
    show(figure, "05_covariance_law_error")

# %% [markdown]
# ## Exercise: each token's share
#
# A batch has no p, only sampled tokens with their log-probabilities and advantages. Their covariance is the mean of
#
#     (log p_t - mean log p) (A_t - mean A)
#
# which gives every token a share of its own.


# %%
def token_shares(log_prob, advantage):
    """Each token's share of the covariance; arguments and result are ``[N]``."""
    ...


check(token_shares)

# %%
log_prob = torch.tensor([-0.1, -0.2, -3.0, -1.0], dtype=torch.float64)
advantage = torch.tensor([1.0, -1.0, 0.5, -0.5], dtype=torch.float64)
whole = covariance(log_prob.view(1, 1, -1), advantage.view(1, 1, -1), torch.ones(1, 1, 4, dtype=torch.bool))
print(
    f"covariance of four tokens: {float(whole):+.3f} (positive: a step on them costs entropy; negative: it raises it)"
)

# %% [markdown]
# ## In training
#
# Does the covariance of a sampled batch tell how much entropy the next update costs? A table policy in a bandit, plain
# gradient steps. The law is one of natural-gradient steps, and the batch is a sample, so that it need not fit.

# %%
runs = toybed.train(
    "rloo",
    seeds=4,
    updates=120,
    measure_every=1,
    world="answer_bandit",
    policy="tabular",
    supervised=None,
    optimizer="sgd",
    learning_rate=3.0,
    max_grad_norm=100.0,
)
cost = np.concatenate([-np.diff(run.curves["entropy_train"].values) for run in runs])
told = np.concatenate([run.curves["sampled_covariance"].values for run in runs])
assert len(cost) == len(told)
print(f"correlation of covariance and entropy spent, over {len(cost)} updates: {np.corrcoef(told, cost)[0, 1]:.2f}")
early = np.arange(len(cost)) % (len(cost) // len(runs)) < 20
print(f"the same over the first 20 updates of each run: {np.corrcoef(told[early], cost[early])[0, 1]:.2f}")

with panels(1, width=4.2) as (figure, (panel,)):
    panel.scatter(told, cost, s=6, color=COLOURS[2], alpha=0.5, linewidths=0)
    panel.set(title="Entropy spent in an update (nats)", xlabel="Cov(log p, A) of its batch")
    show(figure, "05_covariance_law_training")

# %% [markdown]
# Much of the correlation is a common trend: both shrink along a run. Within a short stretch of updates less is left.
# In a table every logit moves by itself, as the law supposes. In a network parameters are shared, and the law is a
# heuristic: `toybed run entropy_mechanism` measures how much of it is left.
