"""The sweep of ``architecture``: policies with bases of about equal success, and what is trained from each."""

from __future__ import annotations

from dataclasses import dataclass, replace

from toybed.agents.config import Setting, Spec, Supervised


@dataclass(frozen=True)
class Network:
    """A policy with its base: after ``steps`` of supervised learning at ``rate`` all have about the same success.

    Attributes:
        label: in figures and sentences.
        policy: a name of ``toybed.agents.policies.POLICIES``.
        steps, rate: supervised.
        rates: of RL, to choose from; the quick size takes the middle one.
        view: of the world.
        factor: times the chosen rate.
    """

    label: str
    policy: str
    steps: int
    rate: float
    rates: tuple[float, float, float]
    view: str = "tokens"
    factor: float = 1.0

    @property
    def short(self) -> str:
        """The label for a narrow place."""
        return SHORT.get(self.label, self.label)


NETWORKS = {
    "mlp": Network("MLP", "mlp", 210, 5e-3, (3e-4, 1e-3, 3e-3)),
    "gru": Network("GRU", "gru", 180, 1e-2, (1e-3, 3e-3, 1e-2)),
    "transformer": Network("transformer", "transformer", 500, 3e-3, (1e-4, 3e-4, 1e-3)),
}
TABLE = Network("table", "tabular", 42, 5e-2, (3e-2, 1e-1, 3e-1))
BESIDE = {
    "table": TABLE,
    "table_slow": replace(TABLE, label="table at a third of its rate", factor=1 / 3),
    "state": replace(NETWORKS["mlp"], label="MLP with the state in view", steps=55, view="state"),
    "slow": replace(NETWORKS["mlp"], label="MLP at a third of its rate", factor=1 / 3),
    "fast": replace(NETWORKS["mlp"], label="MLP at three times its rate", factor=3.0),
}
EVERY = NETWORKS | BESIDE
SHORT = {
    BESIDE["table_slow"].label: "table, rate / 3",
    BESIDE["state"].label: "MLP, state",
    BESIDE["slow"].label: "MLP, rate / 3",
    BESIDE["fast"].label: "MLP, rate x 3",
}
QUICK = ("mlp", "gru", "table")
INTERVENTIONS = {
    "entropy_bonus": ("Entropy bonus", Spec("grpo", {"entropy_coefficient": 0.05})),
    "clip_cov": ("Clip-Cov", Spec("clip_cov", {"clip_low": 0.2, "clip_high": 0.2, "share": 0.1, "cov_low": 0.8})),
    "kl_cov": ("KL-Cov", Spec("kl_cov", {"share": 0.1})),
}
UPDATES = {"quick": 40, "standard": 100, "full": 200}
TUNING_UPDATES = {"quick": 1, "standard": 60, "full": 60}  # quick has nothing to choose from


def setting(size: str, network: str, objective: str, rate: float) -> Setting:
    """One arm."""
    own = EVERY[network]
    return Setting(
        objective=Spec("grpo") if objective == "grpo" else INTERVENTIONS[objective][1],
        world=Spec("chain_reach", {"modulus": 11, "operations": 4, "length": 3, "view": own.view}),
        policy=Spec(own.policy),
        supervised=Supervised(steps=own.steps, learning_rate=own.rate, demonstrator={"noise": 0.35}),
    ).with_learning(updates=UPDATES[size], learning_rate=rate, measure_every=4 if size == "quick" else 5)


def candidates(size: str) -> dict[str, dict[str, Setting]]:
    """The learning rates that are tried, with GRPO, for each arm; a network's arms share them."""
    tried: dict[str, dict[str, Setting]] = {}
    for n in QUICK if size == "quick" else EVERY:
        rates = EVERY[n].rates[1:2] if size == "quick" else EVERY[n].rates
        updates = TUNING_UPDATES[size]
        trials = {
            f"{rate:g}": setting(size, n, "grpo", rate).with_learning(updates=updates, measure_every=updates)
            for rate in rates
        }
        tried |= {f"{n}/{objective}": trials for objective in ("grpo", *INTERVENTIONS)}
    return tried


def final(size: str, name: str, tried: Setting) -> Setting:
    """The setting of an arm, from the trial that won."""
    network, objective = name.split("/")
    return setting(size, network, objective, tried.learning.learning_rate * EVERY[network].factor)
