"""The sweep of ``belief_shortcuts``: twelve networks, each under SFT, RL, and SFT then RL."""

from __future__ import annotations

from dataclasses import dataclass, replace

from toybed.agents.config import Imitation, Learning, Setting, Spec, Start
from toybed.benchmarks.belief_sweep import world

WORLD = world(containers=4, events=6, test_stories=128)
"""Smaller stories than the default, so that a policy of 64 units learns within a thousand steps what it can."""

BATCH, GROUP = 256, 8
RATES = {"gru": 5e-3, "transformer": 3e-3}


@dataclass(frozen=True)
class Network:
    """One size of one architecture, and the SFT steps after which RL takes over from it."""

    policy: Spec
    short: int


def _gru(width: int, short: int) -> tuple[str, Network]:
    return f"gru_{width}", Network(Spec("gru", {"width": width}), short)


def _transformer(width: int, layers: int, short: int) -> tuple[str, Network]:
    return f"transformer_{width}x{layers}", Network(Spec("transformer", {"width": width, "layers": layers}), short)


MOST = 600
"""SFT steps of a size that does not reach 0.85 on natural questions of the trained orders within as many."""

NETWORKS = dict(
    [
        *(_gru(width, short) for width, short in ((4, MOST), (8, MOST), (16, MOST), (24, MOST), (32, MOST), (64, 450))),
        *(_transformer(*size) for size in ((8, 1, MOST), (16, 1, MOST), (16, 2, MOST), (32, 1, MOST), (32, 2, MOST))),
        _transformer(48, 2, MOST),
    ]
)
IN_QUICK = ("gru_4", "gru_32", "transformer_8x1", "transformer_32x1")
LATER = {"quick": 60, "standard": 400, "full": 4000}
"""Updates after the short SFT, of RL and of SFT alike."""


def arms(size: str) -> dict[str, Setting]:
    """The settings by ``<size>/<regime>``: ``short``, and from its end ``sft`` and ``sft_rl``; ``rl`` from scratch."""
    found: dict[str, Setting] = {}
    for name in IN_QUICK if size == "quick" else NETWORKS:
        found |= {f"{name}/{regime}": setting for regime, setting in _regimes(NETWORKS[name], size).items()}
    return found


def _regimes(network: Network, size: str) -> dict[str, Setting]:
    later = LATER[size]
    short = min(network.short, 2 * later)
    rl = Setting(
        world=WORLD,
        policy=network.policy,
        supervised=None,
        learning=Learning(prompts=BATCH, group=GROUP, minibatches=1, learning_rate=RATES[network.policy.name]),
        probes=("belief_probe",),
    )
    # Its demonstrator answers one question one way: a second demonstration would be the first.
    sft = replace(rl, learner=Imitation()).with_learning(group=1)
    begun = Start(after=_lasting(sft, short))
    return {
        "short": _lasting(sft, short),
        "sft": replace(_lasting(sft, later), start=begun),
        "rl": _lasting(rl, short + later),
        "sft_rl": replace(_lasting(rl, later), start=begun),
    }


def _lasting(setting: Setting, updates: int) -> Setting:
    """That many updates, measured at both ends alone."""
    return setting.with_learning(updates=updates, measure_every=updates)
