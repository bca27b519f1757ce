"""The sweep of ``reversibility``: two collapsed policies, what is tried on them, and the controls."""

from __future__ import annotations

from dataclasses import replace

from toybed.agents.config import Setting, Spec, Start, Supervised

TEMPERATURES = (1.25, 1.5, 1.75, 2.0, 2.5, 3.0)
KEEPS = (0.9, 0.75, 0.6, 0.45, 0.3, 0.15)  # share of the way from the base to the collapsed policy
SHARPENED = (0.8, 0.6, 0.4, 0.3, 0.2, 0.1)  # temperatures of the base
DOSES = (3, 6, 12, 24)  # updates with the opposite advantage
RELEARN_AFTER = 12
UPDATES = {"quick": 80, "standard": 120, "full": 150}
SLOW, SLOWER = 1e-3, ("passk", "maxrl", "nsr")  # a second learning rate, and who gets it
SECOND = "wide_"  # arms of the second collapse: more prompts to learn from, more pass@1 won

OBJECTIVES = {
    "entropy_0.03": Spec("grpo", {"entropy_coefficient": 0.03}),
    "entropy_0.1": Spec("grpo", {"entropy_coefficient": 0.1}),
    "passk": Spec("passk"),
    "maxrl": Spec("maxrl"),
    "nsr": Spec("nsr"),
}
FREE = {
    "temperature": ("Temperature", tuple(f"temperature_{t:g}" for t in TEMPERATURES)),
    "interpolation": ("Interpolation", tuple(f"keep_{k:g}" for k in KEEPS)),
}
TRAINED = {
    "entropy": ("Entropy bonus", ("entropy_0.03", "entropy_0.1")),
    "passk": ("Pass@k training", ("passk", "passk_slow")),
    "maxrl": ("MaxRL", ("maxrl", "maxrl_slow")),
    "nsr": ("Negative samples", ("nsr", "nsr_slow")),
    "opposite": ("Opposite advantage", tuple(f"opposite_{n}" for n in DOSES)),
    "relearn": ("Opposite, then GRPO", ("relearn",)),
}
REMEDIES = {**FREE, **TRAINED}
TWINS = {
    "goes_on": "GRPO",
    "entropy_0.1": "the entropy bonus of 0.1",
    "passk": "pass@k training",
    "maxrl": "MaxRL",
    "nsr": "negative samples",
}


def arms(size: str) -> dict[str, Setting]:
    """The settings of the sweep: the collapsed policy, what follows it, and the controls."""
    updates = UPDATES[size]
    base = Setting(
        world=Spec("chain_reach", {"modulus": 61, "train_share": 0.3}),
        policy=Spec("mlp", {"width": 64}),
        supervised=Supervised(steps=400, demonstrations=256, demonstrator={"noise": 0.35}),
    )
    fierce = base.with_learning(
        updates=updates, prompts=16, group=8, minibatches=4, learning_rate=3e-3, measure_every=updates // 4
    )
    first = _free(fierce) | _going_on(fierce) | _trained(fierce)
    if size == "quick":
        return first
    wide = replace(base, world=Spec("chain_reach", {"modulus": 61, "train_share": 0.7})).with_learning(
        updates=300, prompts=32, group=8, minibatches=4, learning_rate=2e-3, measure_every=75
    )
    second = _free(wide) | _going_on(wide) | {"entropy_0.1": _after(wide, OBJECTIVES["entropy_0.1"])}
    return first | _twins(fierce) | {SECOND + arm: setting for arm, setting in second.items()}


def _after(collapsed: Setting, objective: Spec) -> Setting:
    return replace(collapsed, objective=objective, start=Start(after=collapsed))


def _free(collapsed: Setting) -> dict[str, Setting]:
    """What is had without further training; and the base at low temperatures."""
    still = collapsed.with_learning(updates=0)
    starts = {f"temperature_{t:g}": Start(after=collapsed, temperature=t) for t in TEMPERATURES}
    starts |= {f"keep_{k:g}": Start(after=collapsed, keep=k) for k in KEEPS}
    starts |= {f"base_{t:g}": Start(temperature=t) for t in SHARPENED}
    return {"collapsed": collapsed, **{arm: replace(still, start=start) for arm, start in starts.items()}}


def _going_on(collapsed: Setting) -> dict[str, Setting]:
    """The control: GRPO for as many updates again, and that flattened."""
    on = _after(collapsed, collapsed.objective)
    still = on.with_learning(updates=0)
    flat = {f"goes_on_{t:g}": replace(still, start=Start(after=on, temperature=t)) for t in TEMPERATURES}
    return {"goes_on": on, **flat}


def _trained(collapsed: Setting) -> dict[str, Setting]:
    """What follows the collapsed policy for as many updates again, or for fewer."""
    slow = {arm: _after(collapsed, OBJECTIVES[arm]).with_learning(learning_rate=SLOW) for arm in SLOWER}
    opposite = {n: _after(collapsed, Spec("grpo_opposite")).with_learning(updates=n, measure_every=n) for n in DOSES}
    relearn = replace(collapsed, start=Start(after=opposite[RELEARN_AFTER]))
    return {
        **{arm: _after(collapsed, objective) for arm, objective in OBJECTIVES.items()},
        **{f"{arm}_slow": setting for arm, setting in slow.items()},
        **{f"opposite_{n}": setting for n, setting in opposite.items()},
        "relearn": relearn.with_learning(updates=collapsed.learning.updates - RELEARN_AFTER),
    }


def _twins(collapsed: Setting) -> dict[str, Setting]:
    """The same remedies from the base, for all the updates."""
    long = collapsed.with_learning(updates=2 * collapsed.learning.updates)
    return {f"{arm}_from_base": replace(long, objective=OBJECTIVES.get(arm, Spec("grpo"))) for arm in TWINS}
