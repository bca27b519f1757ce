"""A policy of one's own: any ordinary ``nn.Module``, written for one run, becomes a policy of S stacked runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd

from toybed.agents.policies import Policy
from toybed.envs.core import TokenEnv
from toybed.errors import ToybedError
from toybed.streams import Streams


class ModulePolicy(Policy):
    """S copies of a module, each with parameters of its own, which is called for one run after the other.

    The module is ordinary: ``Net(sizes, vocabulary, **options)`` with ``forward(observation [N, F]) -> logits [N, V]``.
    Entry f of an observation is a whole number below ``sizes[f]``; V is ``vocabulary``.

    A run in a stack is the run alone, bit for bit, because each run's rows and parameters pass through the module
    by themselves, from memory of their own. That holds for a module that is a function of its parameters and input: one
    with dropout or batch statistics is refused. It costs a call for each run, where the policies of toybed make
    one for all.

    Args:
        env: the world.
        streams: where each run's initial weights come from: the module is made once for each run, with torch's own
            generator seeded from the run's stream, and put back afterwards.
        build: makes a module.

    Raises:
        ToybedError: the module has no parameter, or one that is not trained, or it is not a function.
    """

    def __init__(self, env: TokenEnv, streams: Streams, build: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.runs = len(streams)
        modules = [_seeded(build, seed) for seed in _seeds(streams)]
        _check(modules[0])
        self._vocabulary = env.vocabulary
        self._names = [name for name, _ in modules[0].named_parameters()]
        # In a tuple, so that its parameters are not taken for the policy's.
        self._module = (modules[0].to(env.device),)
        each = zip(*(module.parameters() for module in modules), strict=True)
        self.stacked = nn.ParameterList(
            nn.Parameter(torch.stack([p.detach() for p in ps]).to(env.device)) for ps in each
        )

    def forward(self, observation: Tensor) -> Tensor:
        """Logits ``[S, N, V]`` for ``observation [S, N, F]``."""
        # Copies: a part of a stack may begin where other kernels are used, which round otherwise.
        runs = zip(*(parameter.unbind() for parameter in self.stacked), strict=True)
        return torch.stack(
            [self._logits([p.clone() for p in ps], seen) for ps, seen in zip(runs, observation, strict=True)]
        )

    def _logits(self, parameters: Sequence[Tensor], observation: Tensor) -> Tensor:
        [module] = self._module
        logits = functional_call(module, dict(zip(self._names, parameters, strict=True)), (observation.contiguous(),))
        expected = (len(observation), self._vocabulary)
        if not isinstance(logits, Tensor) or tuple(logits.shape) != expected:
            found = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise ToybedError(f"{type(module).__name__}: forward gave {found}; expected logits {list(expected)} [N, V]")
        return logits

    def output(self) -> tuple[nn.Parameter, ...]:
        """Not known of a module.

        Raises:
            ToybedError: always.
        """
        raise ToybedError(
            f"{type(self._module[0]).__name__}: a start at another temperature needs to know which parameters make the "
            "logits; allowed: temperature 1, or a class derived from toybed.agents.policies.Policy"
        )


def own_policy(found: Any, name: str, env: TokenEnv, streams: Streams, **options: Any) -> Policy:
    """The policy that a user has under ``module:name``: a class derived from Policy, or an ordinary module's.

    Raises:
        ToybedError: it is neither.
    """
    if isinstance(found, type) and issubclass(found, Policy):
        policy: Policy = found(env, streams, **options)
        return policy
    if isinstance(found, type) and issubclass(found, nn.Module):
        return ModulePolicy(env, streams, partial(found, env.observation_sizes, env.vocabulary, **options))
    raise ToybedError(f"{name} is {found!r}; allowed: a class derived from torch.nn.Module")


def _seeds(streams: Streams) -> list[int]:
    """32 bits for each run, which is what torch's generator reads of a seed."""
    halves = (streams.uniform((2,)).double().cpu() * 2**16).long()
    return [int(high) << 16 | int(low) for high, low in halves]


def _seeded(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def _check(module: nn.Module) -> None:
    title = type(module).__name__
    for part in module.modules():
        if isinstance(part, _DropoutNd | _NormBase):
            raise ToybedError(
                f"{title} has a {type(part).__name__}: its output is no function of parameters and input; allowed: "
                "modules without dropout or batch statistics (nn.LayerNorm is)"
            )
    parameters = list(module.parameters())
    if not parameters:
        raise ToybedError(f"{title} has no parameter to train")
    if not all(p.requires_grad and p.dtype == torch.float32 for p in parameters):
        raise ToybedError(f"{title}: allowed: float32 parameters that are all trained; constants are buffers")
