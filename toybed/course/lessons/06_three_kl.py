# %% [markdown]
# # 6. Three estimates of a KL, and what they do as a loss
#
# A penalty for leaving a reference policy q is often added: the divergence `KL(p || q) = sum_a p_a log(p_a / q_a)`.
# With a vocabulary of 1e5 one does not sum; one takes an estimate from the sampled tokens, of which
# `d = log p - log q` is known:
#
#     k1 = d        k2 = d^2 / 2        k3 = exp(-d) - 1 + d
#
# As *values* two of them are right on average. As *losses* they do three different things, and one does nothing.

# %%
import torch

from toybed.course import check, show
from toybed.measures.divergence import SAMPLED_KL, kl_divergence
from toybed.plotting import COLOURS, label_ends, panels

# %% [markdown]
# ## Exercise: the divergence itself
#
# `KL(p || q)`: the expectation is over p, the first of the two.


# %%
def kl(p, q):
    """``KL(p || q)`` in nats of probabilities ``[V]``: one number."""
    ...


check(kl)

# %% [markdown]
# ## Exercise: k3


# %%
def k3(log_prob, log_prob_ref):
    """The estimate k3 of ``KL(p || q)`` from tokens sampled from p; arguments and result are ``[N]``."""
    ...


check(k3)

# %% [markdown]
# ## As values
#
# Small vocabulary, no sampling: we take the expectation over all tokens, with their probabilities.

# %%
p_logits = torch.tensor([1.0, 0.0, -1.0, 0.5], dtype=torch.float64)
p, q = p_logits.softmax(-1), torch.tensor([0.1, 0.4, 0.3, 0.2], dtype=torch.float64)
d = p.log() - q.log()
truth = kl_divergence(p.log(), q.log())
for name, estimate in SAMPLED_KL.items():
    mean = (p * estimate(d)).sum()
    deviation = (p * (estimate(d) - mean) ** 2).sum().sqrt()
    print(f"{name}: mean {mean:.4f}, deviation of one token {deviation:.4f}; truth {truth:.4f}")

assert torch.isclose((p * SAMPLED_KL["k1"](d)).sum(), truth)
assert torch.isclose((p * SAMPLED_KL["k3"](d)).sum(), truth)
assert not torch.isclose((p * SAMPLED_KL["k2"](d)).sum(), truth)
assert bool((SAMPLED_KL["k3"](d) >= 0).all())

grid = torch.linspace(-1.5, 1.5, 200, dtype=torch.float64)
with panels(1, width=4.4) as (figure, (panel,)):
    ends = {}
    for (name, estimate), colour in zip(SAMPLED_KL.items(), COLOURS[1:4], strict=True):
        panel.plot(grid, estimate(grid), color=colour)
        ends[name] = (float(grid[-1]), float(estimate(grid)[-1]), colour)
    panel.set(title="Estimate from one token", xlabel="d = log p - log q")
    label_ends(panel, ends)
    show(figure, "06_three_kl")

# %% [markdown]
# ## As losses
#
# The usual code samples tokens, *then* differentiates the estimate with respect to the log-probabilities, while the
# sampling stays as it was. In expectation that is this gradient:

# %%


def gradient_as_loss(estimate):
    """Expected gradient of the estimate as a loss on fresh samples: the weights p are those of sampling, and fixed."""
    logits = p_logits.clone().requires_grad_()
    log_p = logits.log_softmax(-1)
    (p * estimate(log_p - q.log())).sum().backward()
    return logits.grad


def true_gradient(divergence):
    """Gradient of a divergence, a function of ``log p`` and ``log q``, with respect to the logits."""
    logits = p_logits.clone().requires_grad_()
    divergence(logits.log_softmax(-1), q.log()).backward()
    return logits.grad


reverse = true_gradient(kl_divergence)
forward = true_gradient(lambda log_p, log_q: kl_divergence(log_q, log_p))
for name, estimate in SAMPLED_KL.items():
    print(f"{name} as a loss:  {[round(float(x), 4) for x in gradient_as_loss(estimate)]}")
print(f"grad KL(p || q): {[round(float(x), 4) for x in reverse]}")
print(f"grad KL(q || p): {[round(float(x), 4) for x in forward]}")

assert torch.allclose(gradient_as_loss(SAMPLED_KL["k1"]), torch.zeros(4, dtype=torch.float64), atol=1e-12)
assert torch.allclose(gradient_as_loss(SAMPLED_KL["k2"]), reverse, rtol=1e-9, atol=1e-12)
assert torch.allclose(gradient_as_loss(SAMPLED_KL["k3"]), forward, rtol=1e-9, atol=1e-12)

# %% [markdown]
# k1 as a loss is nothing: its gradient `E[grad log p]` is zero. k2, the biased value, has the gradient of
# `KL(p || q)`. k3, the value that everybody prints, has that of `KL(q || p)`: the *forward* divergence, which wants
# mass wherever the reference has some. So "GRPO with a KL penalty" in the k3 form resists collapse by itself, and is
# not what its formula in print says. In the reward, instead of the loss, k1 is right.
