# %% [markdown]
# # 12. Find the bug
#
# A wrong objective raises no error. It trains, reward often rises, and the paper gets written. The libraries of the
# field have had a mask that came too late, a denominator that counted padding, a ratio upside down. This lesson finds
# such bugs by *laws*: properties that every policy-gradient loss should have, tried on small random batches.
#
# It needs hypothesis (`pip install "toybed[course]"`).

# %%
import torch

from toybed.course import check
from toybed.mutants import MUTANTS
from toybed.testing import LAWS, examine, likenesses, subject_of

# %% [markdown]
# ## Four laws
#
# toybed has more. At ratio 1 a loss is the plain policy gradient. Padding has no influence: not its content, and not
# its length. The batch written twice has the same gradient (it is a mean, not a sum).

# %%
laws = {law.name: law for law in LAWS}
FOUR = ("on_policy", "padding_content", "padding_length", "twice")
for name in FOUR:
    print(f"{name:16} {laws[name].statement}")

# %% [markdown]
# ## Find the bug
#
# Here is a loss that somebody wrote. Read it, and say what is wrong, before you run the cell. (There is more than one
# thing.)


# %%
def somebodys_loss(log_prob, log_prob_old, advantage, mask):
    """PPO's clipped loss?"""
    ratio = torch.exp(log_prob - log_prob_old)
    clipped = ratio.clamp(0.8, 1.2)
    value = torch.maximum(ratio * advantage, clipped * advantage)
    return -(value * mask).mean()


subject = subject_of(somebodys_loss)
for name in FOUR:
    finding = examine(laws[name], subject, examples=20, shrink=False)
    print(f"{name:16} {'holds' if finding.holds else finding.message}")

# %% [markdown]
# The laws see the denominator. They do not see the other bug, because a policy gradient with an odd clip is one all
# the same. What does see it is a comparison with known objectives: a loss that is meant to be PPO, and is none that is
# known, deserves a second look.

# %%
nearest = likenesses(subject)[0]
print(f"nearest: {nearest.name}, with gradients {nearest.distance:.0%} apart")
assert nearest.distance > 1e-6

# %% [markdown]
# ## Exercise: write it right
#
# PPO's clipped loss, averaged over the tokens of the batch. What stands in the padding is garbage: it may be infinite.
# Graded is the gradient with respect to `log_prob`.


# %%
def ppo_loss(log_prob, log_prob_old, advantage, mask):
    """PPO's loss with a clip of 0.2, token-mean; all arguments ``[B, G, T]``, the mask is bool: one number."""
    ...


check(ppo_loss)

# %% [markdown]
# When it passes, let the laws try it as well: `toybed check MODULE:NAME` does that with any loss of yours, and says
# which known objective it coincides with.
#
# ## The museum
#
# Deliberately wrong objectives, each a bug that really occurred, and the law that catches each. Guess the law from the
# story, then look. `toybed mutants` shows all of them.

# %%
for name in ("ratio_inverted", "no_mask", "penalty_on_the_wrong_tokens", "sum_for_mean"):
    mutant = MUTANTS[name]
    finding = examine(laws[mutant.law], mutant.subject, examples=20, shrink=False)
    print(f"{name}: {mutant.story}\n    caught by `{mutant.law}`: {finding.message}\n")
    assert not finding.holds
