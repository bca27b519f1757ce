"""Curves as arrays, and with pandas as data frames: from training, from a comparison, from a store."""

import tempfile
from pathlib import Path

import toybed

with tempfile.TemporaryDirectory() as folder:
    store = Path(folder, "toybed.sqlite")
    comparison = toybed.compare("grpo", "kl_cov", on="answer_bandit", seeds=3, updates=20, store=store)
    for difference in comparison.differences:
        print(difference.measure, difference.told, difference.estimate, difference.low, difference.high)
    comparison.figure().savefig(Path(folder, "compare.png"))

    kept = toybed.load(store)  # every run in the store, with its curves
    grpo = kept.select(objective="grpo")
    print(grpo.steps("entropy_test"))  # [points]
    print(grpo.array("entropy_test").mean(0))  # [n, points], the mean over seeds
    print(kept.names)  # every measure
    try:
        frame = kept.frame()  # a row for each run and update
        print(frame.groupby(["objective", "update"])["entropy_test"].mean())
    except toybed.errors.ToybedError as error:
        print(error)
