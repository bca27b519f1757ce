# %% [markdown]
# # 4. Who gets the gradient
#
# Sampling is expensive, so several optimiser steps are taken on one batch of samples. After the first step the policy
# is no longer the one that sampled: the samples are *stale*, and the ratio `rho = pi / pi_old` leaves 1. What an
# objective then does with a token can be said by one number, the coefficient c on its score function:
#
#     grad = -c A grad log pi(token)
#
# Clips, gates and caps are choices of c as a function of rho and of the sign of A.

# %%
import torch

import toybed
from toybed.course import check, show
from toybed.objectives import Batch
from toybed.plotting import COLOURS, label_ends, panels

# %% [markdown]
# ## Exercise: PPO's clip
#
# PPO maximises `min(rho A, clip(rho, 1 - low, 1 + high) A)`. Where the clip is active that is a constant and has no
# gradient; elsewhere the gradient of `rho A` is `rho A grad log pi`. Think about when the *minimum* picks the clipped
# one: it depends on the sign of A.


# %%
def clipped_coefficient(ratio, advantage, low, high):
    """PPO's coefficient c of each token; ``ratio`` and ``advantage`` are ``[N]``, ``low`` and ``high`` numbers."""
    ...


check(clipped_coefficient)

# %% [markdown]
# ## Exercise: one ratio for a whole response
#
# GSPO does not weigh tokens but responses. Its ratio is the geometric mean of the ratios of a response's tokens, so
# `exp` of the mean of their logarithms.


# %%
def sequence_ratio(log_ratio, mask):
    """GSPO's ratio of each response, ``[N]``; ``log_ratio [N, T]``, ``mask [N, T]`` bool."""
    ...


check(sequence_ratio)

# %% [markdown]
# ## The same at ratio 1
#
# Right after sampling every ratio is 1, and every surrogate has c = 1: with one step for each batch all of these are
# the same algorithm. A comparison that takes one step compares nothing.

# %%
NAMES = ("is_pg", "ppo", "cispo", "sapo", "gppo")
OPTIONS = {"cispo": {"weight_high": 1.7}}  # its cap; 5 by default, outside the picture


def coefficient(name, ratio, sign):
    """An objective's coefficients of single tokens of these ratios ``[N]``, all with advantage ``sign``."""
    log_ratio = ratio.log()[:, None, None]
    advantage = torch.full_like(log_ratio, sign)
    old = torch.full_like(log_ratio, -2.0)
    batch = Batch(log_prob_old=old, mask=torch.ones_like(old, dtype=torch.bool), reward=old[..., 0] * 0)
    return toybed.objectives.get(name, **OPTIONS.get(name, {})).surrogate(log_ratio, advantage, batch).flatten()


one = torch.ones(1, dtype=torch.float64)
for name in (*NAMES, "gspo", "gmpo"):
    for sign in (1.0, -1.0):
        assert torch.allclose(coefficient(name, one, sign), one, rtol=1e-12), name

# %% [markdown]
# ## And apart where samples are stale

# %%
ratio = torch.linspace(0.3, 2.2, 400, dtype=torch.float64)
with panels(2) as (figure, axes):
    for panel, sign, title in ((axes[0], 1.0, "A > 0"), (axes[1], -1.0, "A < 0")):
        ends = {}
        for name, colour in zip(NAMES, COLOURS, strict=False):
            c = coefficient(name, ratio, sign)
            panel.plot(ratio, c, color=colour, linestyle="--" if name == "gppo" else "-")
            ends[name] = (float(ratio[-1]), float(c[-1]), colour)
        panel.set(title=f"Coefficient c where {title}", xlabel="ratio")
        label_ends(panel, ends)
    show(figure, "04_who_gets_the_gradient")

# %% [markdown]
# PPO gives no gradient to a token that has already moved the wanted way by more than the clip, and full gradient to
# one that moved the *wrong* way, however far. CISPO caps c and never drops a token; SAPO fades it out; GPPO keeps the
# bound's gradient where PPO has none. The coefficient is what automatic differentiation says, too:

# %%
for sign in (1.0, -1.0):
    log_ratio = ratio.log().requires_grad_()
    rho = log_ratio.exp()
    value = torch.minimum(rho * sign, rho.clamp(0.8, 1.2) * sign).sum()
    (gradient,) = torch.autograd.grad(value, log_ratio)
    assert torch.allclose(gradient, sign * coefficient("ppo", ratio, sign), rtol=1e-12)

# %% [markdown]
# How many tokens the clip silences depends on how many steps are taken on a batch: none with one step, more with more.

# %%
BANDIT = {"world": "answer_bandit", "policy": "tabular", "supervised": None, "learning_rate": 0.05}
for epochs in (1, 2, 4, 8):
    runs = toybed.train("ppo", seeds=3, updates=20, minibatches=1, epochs=epochs, **BANDIT)
    share = [float(run.curves["sampled_clipped"].values[1:].mean()) for run in runs]
    print(f"{epochs} step(s) on a batch: {sum(share) / len(share):.1%} of the tokens clipped")
    assert epochs > 1 or max(share) == 0
