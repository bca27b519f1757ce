"""What is there to gain for a master, given the sub-policies that there are?"""

from __future__ import annotations

from torch import Tensor

from toybed.envs.core import TokenEnv
from toybed.envs.mi_dialogue import MIDialogue
from toybed.errors import ToybedError


def masters(env: TokenEnv, table: Tensor, start: Tensor) -> dict[str, Tensor]:
    """The most that a master which knows the type could earn with these sub-policies: ``best_master`` for both splits.

    An upper bound, see :meth:`~toybed.envs.mi_dialogue.MIDialogue.best_master`. Where it is no more than what the
    policy earns, options do the same, and neither adaptation nor exploration of the master can gain anything.

    Raises:
        ToybedError: the world has no master and sub-policies that are learned.
    """
    if not isinstance(env, MIDialogue):
        raise ToybedError(f"masters is a probe of mi_dialogue; {type(env).__name__} has no master and sub-policies")
    worth = env.best_master(table)
    return {f"best_master_{split}": worth[:, env.prompts(split)].mean(1) for split in ("train", "test")}
