"""The sweep of ``belief_shortcuts``: twelve networks, each under SFT, RL, and SFT then RL."""

from __future__ import annotations

from dataclasses import dataclass, replace

from toybed.agents.config import Imitation, Learning, Setting, Spec, Start
from toybed.benchmarks.belief_sweep import world

WORLD = world(containers=4, events=6, test_stories=128, train_stories=2**17)
"""Smaller stories than the default, so that a policy of 64 units learns within a thousand steps what it can, and more
of them: with 16,384 it learns them by heart (0.98 of them right, 0.89 of others)."""

BATCH, GROUP = 256, 8
RATE = 5e-3


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
        *(_gru(width, MOST) for width in (4, 8, 16, 24, 32)),
        _gru(64, 525),
        *(_transformer(width, layers, MOST) for width, layers in ((8, 1), (16, 1), (16, 2), (24, 1), (24, 2), (32, 2))),
    ]
)
IN_QUICK = ("gru_4", "gru_32", "transformer_8x1", "transformer_24x1")
LATER = {"quick": 60, "standard": 400, "full": 2000}
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
        learning=Learning(prompts=BATCH, group=GROUP, minibatches=1, learning_rate=RATE),
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
