"""The therapist of MIDialogue whose dialogues serve as demonstrations: it climbs from phase to phase."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import one_hot, pad

from toybed.envs import mi_dialogue_users as people

if TYPE_CHECKING:
    from toybed.envs.mi_dialogue import MIDialogue


def mixed(env: MIDialogue, noise: float, master_noise: float) -> Tensor:
    """Log-probabilities ``[C, V]`` of the ladder with a share of random legal tokens; the second is of options held."""
    contexts = env.contexts()
    share = torch.full((len(contexts), 1), noise, dtype=torch.float64, device=env.device)
    if env.level == "both":
        share[env.masters] = master_noise
    return torch.lerp(_chances(env, contexts), env.uniform().exp(), share).clamp(min=1e-38).log()


def _chances(env: MIDialogue, contexts: Tensor) -> Tensor:
    """What the ladder does, ``[C, V]``."""
    options, acts = len(people.PHASES), len(people.ACTS)
    if env.level == "act" and not env.see_counters:
        return env.sub_policies[_signs().to(env.device)[contexts[:, -2]]]
    first = int(env.level == "both") + int(env.see_type)
    rapport, context, perspective = contexts[:, first : first + 3].unbind(1)
    number = (rapport * people.SIZES[1] + context) * people.SIZES[2] + perspective
    phase = people.phase().to(env.device)[number]
    if env.level == "act":
        return env.sub_policies[phase]
    option = one_hot(phase, options).double()
    if env.level == "option":
        return option
    acting = env.sub_policies[(contexts[:, 0] - 1).clamp(min=0)]
    return torch.where(env.masters[:, None], pad(option, (0, acts)), pad(acting, (options, 0)))


def _signs() -> Tensor:
    """The phase that the user's last act is a sign for, ``[10]``; the first entry is of no act at all."""
    sign = torch.zeros(len(people.ANSWERS) + 1, dtype=torch.int64)
    for phase, counted in enumerate(people.COUNTS, 1):
        sign[torch.tensor(counted) + 1] = phase
    return sign
