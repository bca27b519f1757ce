# %% [markdown]
# # 8. Pass@k and coverage
#
# pass@1 is the chance that one sample is right. pass@k is the chance that at least one of k is: what a policy *can*
# do, if one may try often and has a verifier. Coverage is the share of the distinct solutions that k samples find.
# Reinforcement learning raises pass@1. Whether it raises the others is another question.

# %%
from math import comb

import torch

import toybed
from toybed.agents.config import Spec
from toybed.course import check, show
from toybed.measures.diversity import pass_at_k_exact
from toybed.plotting import COLOURS, label_ends, panels

# %% [markdown]
# ## Exercise: pass@k from n samples
#
# n samples were drawn, c of them are right. What is pass@k? Draw k of the n without putting back: the chance that all
# of them are wrong is `C(n - c, k) / C(n, k)`. This estimate is right on average, for every k up to n.


# %%
def estimated_pass_at_k(n, c, k):
    """Unbiased estimate of pass@k from n samples of which c are right; ``math.comb(a, b)`` is C(a, b)."""
    ...


check(estimated_pass_at_k)

# %% [markdown]
# The obvious estimate `1 - (1 - c/n)^k` is not: it is too low on average. We can see that without sampling, since c is
# binomial.

# %%
n, k, success = 16, 8, 0.1
chances = [comb(n, c) * success**c * (1 - success) ** (n - c) for c in range(n + 1)]
obvious = sum(chance * (1 - (1 - c / n) ** k) for c, chance in enumerate(chances))
unbiased = sum(chance * (1 - comb(n - c, k) / comb(n, k)) for c, chance in enumerate(chances))
truth = float(pass_at_k_exact(torch.tensor(success, dtype=torch.float64), k))
print(f"pass@{k} is {truth:.4f}; on average the obvious estimate says {obvious:.4f}, the unbiased one {unbiased:.4f}")
assert abs(unbiased - truth) < 1e-12  # seventeen terms below 1
assert obvious < truth

# %% [markdown]
# ## Exercise: coverage
#
# Where the probability of every solution is known, the expected share of them that k samples find is exact.


# %%
def coverage(solution_probs, k):
    """Expected share of the solutions found in k samples; ``solution_probs [N]`` are their probabilities."""
    ...


check(coverage)

# %% [markdown]
# ## Sharpening, and training
#
# ChainReach has many right chains for a prompt, and toybed counts them all: the measures below are exact. GRPO is
# trained on three prompts in ten, and measured on the others.

# %%
WORLD = Spec("chain_reach", {"modulus": 31, "length": 3, "train_share": 0.3})
run = toybed.train("grpo", seeds=1, updates=60, measure_every=60, prompts=16, world=WORLD, learning_rate=3e-3)[0]

KS = (1, 4, 16, 64, 256)
NAMES = ["reward_test", *(f"pass@{k}_test" for k in KS[1:])]
base, trained = ([float(run.curves[name].values[i]) for name in NAMES] for i in (0, -1))
covered = [float(run.curves["coverage@256_test"].values[i]) for i in (0, -1)]

print(f"{'k':>10}{'base':>8}{'trained':>9}")
for k, before, after in zip(KS, base, trained, strict=True):
    print(f"{k:10}{before:8.3f}{after:9.3f}")
print(f"coverage of the solutions in 256 samples: base {covered[0]:.3f}, trained {covered[1]:.3f}")

with panels(1, width=4.4) as (figure, (panel,)):
    ends = {}
    for name, values, colour in (("base", base, COLOURS[0]), ("trained", trained, COLOURS[2])):
        panel.semilogx(KS, values, marker="o", color=colour)
        ends[name] = (KS[-1], values[-1], colour)
    panel.set(title="pass@k on held-out prompts", xlabel="k", ylim=(0, 1.05))
    panel.set_xticks(KS, [str(k) for k in KS])
    panel.minorticks_off()
    label_ends(panel, ends)
    show(figure, "08_pass_at_k")

# %% [markdown]
# Where the curves cross, the base overtakes the trained policy: below that k it is the better one, above it the base.
# The trained policy gives more of its mass to what paid in training, and has less for everything else. Does it have to
# be so, and does a rate, an entropy bonus or another objective change it? `toybed run pass_at_k_crossing` asks with
# enough seeds; it need not be so.
