# %% [markdown]
# # 3. Four ways to average
#
# An objective gives every token a loss. Training needs one number, so the losses are averaged, and there are four ways
# in use to do that. While all responses are of one length they differ by a factor at most. Responses of language
# models are not, and then these are four different objectives, often under the same name.

# %%
import torch

from toybed.course import check, show
from toybed.objectives import aggregation
from toybed.plotting import COLOURS, panels

# %% [markdown]
# Losses stand in a rectangle `[N, T]`: N responses, padded to T tokens. A mask says which positions hold a token. What
# stands in the padding means nothing, and may be anything.
#
# ## Exercise: every token weighs alike
#
# `token-mean`: the mean over all tokens of the batch (DAPO, verl's default).


# %%
def token_mean(loss, mask):
    """Mean over all tokens; ``loss [N, T]``, ``mask [N, T]`` bool: one number."""
    ...


check(token_mean)

# %% [markdown]
# ## Exercise: every response weighs alike
#
# `seq-mean-token-mean`: first the mean over each response's own tokens, then the mean over responses (GRPO as
# published).


# %%
def sequence_mean(loss, mask):
    """Mean over responses of their means over tokens; ``loss [N, T]``, ``mask [N, T]`` bool: one number."""
    ...


check(sequence_mean)

# %% [markdown]
# ## What one token weighs
#
# Two wrong responses, of 4 and of 16 tokens, all with advantage -1. The weight of a token is the size of the loss's
# derivative with respect to that token's own loss.

# %%
WAYS = {
    "token-mean": aggregation.token_mean,
    "seq-mean-token-mean": aggregation.seq_mean_token_mean,
    "seq-mean-token-sum": aggregation.seq_mean_token_sum,
    "seq-mean-token-sum / L": lambda *arguments: aggregation.seq_mean_token_sum_norm(*arguments, budget=16),
}
lengths = torch.tensor([4, 16])
mask = (torch.arange(16) < lengths[:, None])[None]  # [B, G, T] with one prompt


def weights(average, mask):
    """What each token weighs under an average, ``[B, G, T]``."""
    losses = torch.ones(mask.shape, dtype=torch.float64, requires_grad=True)
    return torch.autograd.grad(average(losses, mask, mask), losses)[0]


print(f"{'':24}{'a token of the short':>22}{'of the long one':>18}{'short in all':>14}{'long in all':>13}")
table = {name: weights(average, mask)[0] for name, average in WAYS.items()}
for name, weight in table.items():
    short, long = weight
    print(f"{name:24}{short[0]:22.4f}{long[0]:18.4f}{short.sum():14.3f}{long.sum():13.3f}")

with panels(2, width=3.9, height=2.6) as (figure, axes):
    for panel, title, values in (
        (axes[0], "A token's weight, long : short", [w[1, 0] / w[0, 0] for w in table.values()]),
        (axes[1], "The response's weight, long : short", [w[1].sum() / w[0].sum() for w in table.values()]),
    ):
        panel.barh(list(table), [float(v) for v in values], color=COLOURS[1])
        panel.set_axisbelow(True)
        panel.axvline(1, color="#000000", linewidth=0.8)
        panel.set_title(title, fontsize=9)
        panel.invert_yaxis()
    axes[1].tick_params(labelleft=False)
    show(figure, "03_four_averages")

# %% [markdown]
# Only `seq-mean-token-mean` makes a token of a long response weigh less. A wrong response is then punished less for
# each token, the longer it is; a right one is rewarded less for each token, the longer it is. So wrong answers may grow
# and right ones shrink, without anyone having asked for it. That is the bias which Dr. GRPO names.

# %%
short, long = table["seq-mean-token-mean"][:, 0]
assert torch.isclose(short / long, torch.tensor(4.0, dtype=torch.float64))  # 16 tokens over 4
for name in ("token-mean", "seq-mean-token-sum", "seq-mean-token-sum / L"):
    assert table[name][0, 0] == table[name][1, 0]

# %% [markdown]
# With equal lengths all four agree up to a constant:

# %%
full = torch.ones(1, 5, 16, dtype=torch.bool)
first, *others = (weights(average, full) for average in WAYS.values())
for other in others:
    factor = other / first
    assert torch.allclose(factor, factor[0, 0, 0].expand_as(factor), rtol=1e-12)
    print(f"factor to token-mean at equal lengths: {float(factor[0, 0, 0]):.3g}")
