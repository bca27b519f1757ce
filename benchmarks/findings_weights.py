"""Published findings about the sparsity of updates."""

from __future__ import annotations

from toybed.benchmarks.sparse_updates_measures import BF16, overlaps
from toybed.findings import Arms, Array, Contrast, Part, register

NEARLY_FULL, SAME_RANK = 0.95, 0.02  # of the full rank, as in sparse_updates


def more_unchanged(records: Arms, arm: str, rival: str, measure: str = BF16, rival_measure: str = BF16) -> Array:
    """Share of unchanged weights, an arm's less a rival's, ``[n]``."""
    return records[rival].at(rival_measure, -1) - records[arm].at(measure, -1)


def beyond_chance(records: Arms) -> Array:
    """Share of one run's changed weights that another run from its base changed, too, less chance's, ``[n]``."""
    found = overlaps(records["again"], records["grpo"])
    return found["one_sided"] - found["chance"]


register(
    Contrast(
        "sparse-by-precision",
        "sparse_updates",
        ("pure", "master", "grpo", "grpo_fast"),
        (
            Part(
                "unchanged weights, bf16 less fp32 storage",
                lambda r: more_unchanged(r, "pure", "master", BF16, "changed_fp32"),
            ),
            Part("unchanged in bf16, low less high learning rate", lambda r: more_unchanged(r, "grpo", "grpo_fast")),
        ),
    ),
    Contrast(
        "rl-sparser-than-sft",
        "sparse_updates",
        ("grpo", "sft"),
        (Part("unchanged weights in bf16, GRPO less SFT", lambda r: more_unchanged(r, "grpo", "sft")),),
    ),
    Contrast(
        "same-subnetwork",
        "sparse_updates",
        ("grpo", "again"),
        (Part("overlap of two runs' changed weights less chance's, by layer", beyond_chance),),
    ),
    Contrast(
        "sparse-but-full-rank",
        "sparse_updates",
        ("grpo",),
        (
            Part("rank over full rank", lambda r: r["grpo"].at("rank_bf16", -1), "above", NEARLY_FULL),
            Part(
                "rank less that of a shuffled support",
                lambda r: r["grpo"].at("rank_bf16", -1) - r["grpo"].at("shuffled_rank_bf16", -1),
                "within",
                SAME_RANK,
            ),
        ),
    ),
)
