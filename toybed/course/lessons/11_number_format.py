# %% [markdown]
# # 11. Is it the number format?
#
# After reinforcement learning most weights of a language model are *exactly* the same numbers as before, after
# supervised fine-tuning few are. Does RL find a small subnetwork? Before one believes in a finding, one asks what the
# instrument does. These weights are stored in bfloat16, which has 8 significant bits: a step that is too small for them
# is rounded away.

# %%
import torch

from toybed.agents.config import Setting, Spec, Supervised
from toybed.agents.training import train_bases, train_runs
from toybed.course import check, show
from toybed.measures.update_anatomy import changed, changed_in_bf16, to_bf16
from toybed.plotting import COLOURS, label_ends, panels

# %% [markdown]
# ## Exercise: how far apart are bfloat16 numbers?
#
# A number between `2^e` and `2^(e+1)` is one of 128 equally spaced ones: 8 significant bits are 7 after the first. So
# the spacing at w is `2^(floor(log2 |w|) - 7)`.


# %%
def bf16_spacing(weight):
    """The spacing of bfloat16 numbers at ``weight``, elementwise; no weight is 0."""
    ...


check(bf16_spacing)

# %% [markdown]
# ## Exercise: does a step survive?
#
# A weight that is a bfloat16 number takes a step, and the sum is rounded to bfloat16: `x.bfloat16()` rounds to the
# nearest, `x.bfloat16().float()` is a float32 number again. Is it another number than before?


# %%
def survives(weight, step):
    """Whether each weight changes: a bfloat16 number kept as float32 ``[N]``, like ``step``; bool ``[N]``."""
    ...


check(survives)

# %% [markdown]
# ## The share that changes
#
# Weights of a usual size, all moved by the same step. Whether they change is decided by half the spacing at each, hence
# by the *size* of the weight, and not by what the step is for.

# %%
weight = to_bf16(0.1 * torch.randn(20_000, generator=torch.Generator().manual_seed(0)))
steps = torch.logspace(-7, -1, 40)
with panels(1, width=4.4) as (figure, (panel,)):
    shares = {"bfloat16": changed_in_bf16, "float32": changed}
    ends = {}
    for (name, measure), colour in zip(shares.items(), (COLOURS[2], COLOURS[0]), strict=True):
        share = [float(measure(weight, weight + step).double().mean()) for step in steps]
        panel.semilogx(steps, share, color=colour)
        ends[name] = (float(steps[-1]), share[-1], colour)
    panel.set(title="Share of weights that change", xlabel="step", ylim=(0, 1.05))
    label_ends(panel, ends)
    show(figure, "11_number_format")

# %% [markdown]
# ## The same in training
#
# GRPO at two learning rates, from the same base and with the same random numbers. The weights are trained in float32;
# the second column only *looks* at them as bfloat16 would store them.

# %%
torch.set_num_threads(1)  # the networks are small
RATES = (1e-5, 1e-3)
setting = Setting(
    world=Spec("chain_reach", {"modulus": 13, "length": 3}),
    supervised=Supervised(steps=150, demonstrator={"noise": 0.35}),
).with_learning(updates=20, measure_every=20)
base = train_bases(setting, [0])
runs = train_runs(setting, [0, 0], base.repeat(2, axis=0), learning_rates=RATES)

start = torch.from_numpy(base[0])
seen = {}
print(f"{'learning rate':>14}{'changed':>10}{'in bfloat16':>13}{'reward':>9}")
for rate, run in zip(RATES, runs, strict=True):
    end = torch.from_numpy(run.parameters)
    exact, seen[rate] = (float(measure(start, end).double().mean()) for measure in (changed, changed_in_bf16))
    print(f"{rate:14g}{exact:10.1%}{seen[rate]:13.1%}{run.curves['reward_test'].values[-1]:9.2f}")

# %% [markdown]
# In float32 nearly all weights have changed at either rate: there is no small subnetwork. In bfloat16 it is a matter of
# how far the update moves them. Small learning rates, as RL has them, leave updates that *look* sparse.

# %%
assert seen[1e-5] < seen[1e-3]

# %% [markdown]
# The habit is the lesson: when a finding counts zeros, ask at which resolution they are zeros. `toybed run
# sparse_updates` goes on: the same length of update by other algorithms, the rank, the overlap between seeds.
