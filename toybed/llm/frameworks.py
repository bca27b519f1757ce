"""What the keys of each framework mean: which of them fill a column of the table, and which entropy it is.

Keys were read in the sources of the frameworks or seen in their logs; where neither was possible the meaning says "not
checked". Keys stand in order of preference: raw scores before rewards that a KL penalty has changed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from toybed.llm.table import COLUMNS

SOFTMAX = "full-vocabulary entropy at the sampling temperature, mean over response tokens"
SOFTMAX_1 = "full-vocabulary entropy at temperature 1, mean over response tokens"
SURPRISAL = "mean of -log π over the sampled tokens: an estimate, noisier than the entropy of the whole distribution"
SEQUENCE = "sum of -log π over a response: nats per sequence, not per token"
UNKNOWN = "not known: the log does not say how it was computed"

RAW = "mean raw reward"
REFERENCE = "to the reference policy"
OLD = "to the policy that sampled"


@dataclass(frozen=True)
class Key:
    """A key, as a pattern that the whole key must match, and what it means."""

    pattern: str
    meaning: str


@dataclass(frozen=True)
class Framework:
    """The keys of a framework.

    Attributes:
        name: as a reader knows it.
        columns: column to its keys, the best first.
        marks: pattern of keys that no other framework has.
        without_entropy: the likely cause where the log has no entropy.
    """

    name: str
    columns: Mapping[str, tuple[Key, ...]]
    without_entropy: str
    marks: str = "(?!)"
    _match: dict[str, re.Pattern[str]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def matching(self, pattern: str, keys: Iterable[str]) -> list[str]:
        """Those keys that match a pattern, in their order."""
        compiled = self._match.setdefault(pattern, re.compile(pattern))
        return [key for key in keys if compiled.fullmatch(key)]

    def fit(self, keys: Iterable[str]) -> tuple[int, int]:
        """How well it explains keys: columns that they fill, and marks among them."""
        known = list(keys)
        filled = sum(any(self.matching(k.pattern, known) for k in of) for of in self.columns.values())
        return filled, len(self.matching(self.marks, known))


def _keys(*pairs: tuple[str, str]) -> tuple[Key, ...]:
    return tuple(Key(*pair) for pair in pairs)


def _columns(**columns: tuple[Key, ...]) -> dict[str, tuple[Key, ...]]:
    return {name: columns[name] for name in COLUMNS if name in columns}


_TRL_VALIDATION = _keys(
    (r"eval[_/]rewards/.*(acc|correct).*/mean", "mean reward of that function on the evaluation prompts"),
    (r"eval[_/]reward", "mean reward on the evaluation prompts"),
    (r"eval[_/]rewards/.*(?<!/std)", "reward of that function on the evaluation prompts"),
)
_TRL_BODY = {
    "reward": _keys((r"(train/)?reward", "mean reward of the batch, the weighted sum of the reward functions")),
    "accuracy": _TRL_VALIDATION,
    "kl": _keys((r"(train/)?kl", f"{REFERENCE}; only where beta is not 0")),
    "clip_fraction": _keys(
        (r"(train/)?clip_ratio/region_mean", "share of tokens that the clip touches"),
        (r"(train/)?clip_ratio", "share of tokens that the clip touches"),
    ),
    "response_length": _keys(
        (r"(train/)?completions/mean_length", "tokens"), (r"(train/)?completion_length", "tokens")
    ),
}

FRAMEWORKS = (
    # First, so that names that anyone may choose are nobody's unless some other key is.
    Framework(
        "plain columns",
        _columns(
            entropy=_keys((r"(policy_|mean_|train_)?entropy(_mean)?", UNKNOWN)),
            reward=_keys((r"(train_|mean_)?(reward|score)(_mean)?", "not known")),
            accuracy=_keys((r"(eval_|val_|test_)?(accuracy|acc)|pass@1", "not known")),
            kl=_keys((r"kl|kl_divergence", "not known")),
            clip_fraction=_keys((r"clip_fraction|clip_frac|clipfrac", "not known")),
            response_length=_keys((r"(mean_)?response_length|completion_length", "tokens")),
        ),
        "no column has a name that is known as entropy: --column entropy=NAME names one",
    ),
    Framework(
        "TRL",
        _columns(entropy=_keys((r"(train/)?entropy", f"{SOFTMAX}, of the policy being updated")), **_TRL_BODY),
        "TRL logs it from 0.20.0 (July 2025) on, and Unsloth's trainer leaves it out",
        marks=r"(train/)?(completions/.*|completion_length|frac_reward_zero_std|reward_std|clip_ratio/(low|high)_.*)",
    ),
    Framework(
        "TRL PPO or old RLOO",
        _columns(
            entropy=_keys(
                (r"(train/)?policy/entropy_avg", f"{SOFTMAX}, during the update"),
                (r"(train/)?objective/entropy", SEQUENCE),
            ),
            reward=_keys(
                (r"(train/)?objective/scores", RAW),
                (r"(train/)?objective/rlhf_reward", "reward after the KL penalty"),
            ),
            kl=_keys(
                (r"(train/)?objective/kl", f"{REFERENCE}, sum over the sequence"),
                (r"(train/)?policy/approxkl_avg", OLD),
            ),
            clip_fraction=_keys((r"(train/)?policy/clipfrac_avg", "share of tokens that the clip touches")),
        ),
        "its PPO trainer logs policy/entropy_avg and objective/entropy; this file has neither",
        marks=r"(train/)?(objective|policy|val)/.*(rlhf|avg|eos|scores).*",
    ),
    Framework(
        "verl",
        _columns(
            entropy=_keys(
                (r"actor/entropy", f"{SOFTMAX}, of the policy that sampled"),
                (
                    r"actor/entropy_loss",
                    f"{SOFTMAX}; the entropy itself despite its name, in old versions during the update",
                ),
            ),
            reward=_keys(
                (r"critic/score/mean", RAW),
                (r"critic/rewards/mean", "reward after the KL penalty in the reward"),
                (r"reward/overall", f"{RAW} (EasyR1, not checked)"),
            ),
            accuracy=_keys(
                (r"val-core/.*/acc/mean(@|_at_)\d+", "mean accuracy of several answers to each validation prompt"),
                (r"val-core/.*/reward/mean(@|_at_)\d+", "mean reward of several answers to each validation prompt"),
                (r"val/test_score/.*", "mean score on the validation prompts"),
                (r"val-core/.*", "validation"),
                (r"val/reward_score", "validation reward (EasyR1, not checked)"),
            ),
            kl=_keys(
                (r"actor/kl_loss", f"{REFERENCE}, in the loss"),
                (r"actor/reward_kl_penalty", f"{REFERENCE}, in the reward"),
                (r"critic/kl", f"{REFERENCE}, in the reward"),
                (r"actor/ppo_kl", OLD),
            ),
            clip_fraction=_keys(
                (r"actor/pg_clipfrac", "share of tokens that the clip touches"),
                (r"actor/pg_clipfrac_higher", "share of tokens that the upper clip touches (EasyR1, not checked)"),
            ),
            response_length=_keys((r"response_length/mean", "tokens")),
        ),
        "verl leaves it out where the old log-probs are bypassed, unless calculate_entropy=True",
        marks=r"(actor|critic|timing_s|timing|val-core|val-aux|response_length|perf)/.*",
    ),
    Framework(
        "OpenRLHF",
        _columns(
            entropy=_keys((r"(train/)?entropy_loss", f"{SOFTMAX_1} (the entropy itself despite its name)")),
            reward=_keys((r"(train/)?reward", RAW), (r"(train/)?return", "reward with the KL penalty")),
            accuracy=_keys(
                (r"(eval/)?eval_.*_pass1", "pass@1 on the evaluation prompts"),
                (r"(eval/)?eval_.*_pass\d+", "pass@k on the evaluation prompts"),
            ),
            kl=_keys((r"(train/)?kl", REFERENCE), (r"(train/)?ppo_kl", OLD)),
            clip_fraction=_keys((r"(train/)?ppo_clip_ratio", "share of tokens that the clip touches")),
            response_length=_keys((r"(train/)?response_length", "tokens")),
        ),
        "OpenRLHF logs it from 0.8.0 on, and only if --entropy_loss_coef (now --actor.entropy_coef) is given; 0 means "
        "log only",
        marks=r"(train/)?(ppo_clip_ratio|ppo_kl|policy_loss|actor_lr|act_loss|total_length)",
    ),
    Framework(
        "prime-rl",
        _columns(
            entropy=_keys((r"entropy/all/mean", SOFTMAX), (r"entropy/mean", SOFTMAX), (r"Entropy", SOFTMAX)),
            reward=_keys(
                (r"reward/mean", RAW),
                (r"reward/all/mean", RAW),
                (r"train/agg/.*reward/mean", RAW),
                (r"train/.*reward/mean", f"{RAW} of that environment"),
                (r"Reward", RAW),
            ),
            accuracy=_keys((r"eval/.*avg@\d+", "mean of several answers to each evaluation prompt")),
            kl=_keys(*((key, "between trainer and sampler") for key in (r"mismatch_kl/(all/)?mean", "Mismatch KL"))),
            clip_fraction=_keys((r"is_masked/(all/)?mean", "share of tokens that are masked (not checked)")),
            response_length=_keys(
                (r"decode_len/all/mean", "tokens"),
                (r"completion_len/(all/)?mean", "tokens"),
                (r"(.*/)?num_output_tokens/mean", "tokens"),
                (r"seq_len/(all/)?mean", "tokens, with the prompt"),
            ),
        ),
        "the orchestrator logs the reward and the trainer the entropy: give both files",
        marks=r"(mismatch_kl|is_masked|decode_len|num_output_tokens)/.*|train/agg/.*|Mismatch KL|Trainable",
    ),
    Framework(
        "ms-swift",
        _columns(entropy=_keys((r"entropy/mean", SOFTMAX)), **_TRL_BODY),
        "it is logged as entropy/mean; this file has no such key",
        marks=r"global_step/max_steps|entropy/threshold",
    ),
    Framework(
        "NeMo-RL",
        _columns(
            entropy=_keys(
                (
                    r"train/approx_entropy",
                    f"{SURPRISAL}; weighted by importance, so it blows up when trainer and sampler differ",
                )
            ),
            reward=_keys((r"train/reward", RAW)),
            accuracy=_keys((r"validation/accuracy", "accuracy on the validation prompts")),
            kl=_keys((r"train/kl_penalty", REFERENCE), (r"train/gen_kl_error", "between trainer and sampler")),
            response_length=_keys((r"train/mean_gen_tokens_per_sample", "tokens")),
        ),
        "NeMo-RL logs train/approx_entropy from 0.3.0 (May 2025) on, and not on the console",
        marks=r"train/(approx_entropy|gen_kl_error|policy_kl_error|probs_ratio.*|mean_gen_tokens_per_sample)",
    ),
    Framework(
        "slime",
        _columns(
            entropy=_keys((r"train/entropy_loss", f"{SOFTMAX} (the entropy itself despite its name)")),
            reward=_keys((r"rollout/raw_reward", RAW)),
            accuracy=_keys((r"eval/(?!step$)[^/]*", "mean score on that evaluation set")),
            kl=_keys((r"train/kl_loss", REFERENCE), (r"train/ppo_kl", OLD)),
            clip_fraction=_keys((r"train/pg_clipfrac", "share of tokens that the clip touches")),
            response_length=_keys((r"rollout/response_len/mean", "tokens"), (r"rollout/response_lengths", "tokens")),
        ),
        "newer versions print no training line on the console: take its W&B or TensorBoard log",
        marks=r"rollout/.*|train/(pg_clipfrac|pg_loss|ppo_kl)|passrate/.*|zero_std/.*",
    ),
    Framework(
        "tinker-cookbook",
        _columns(
            entropy=_keys((r"optim/entropy", SURPRISAL)),
            reward=_keys((r"env/all/reward/total", RAW)),
            accuracy=_keys(
                (r"test/env/all/.*(correct|acc).*", "share of right answers on the test prompts"),
                (r"test/env/all/reward/total", "mean reward on the test prompts"),
            ),
            kl=_keys((r"optim/kl_sample_train_v1", OLD), (r"optim/kl_sample_train_v2", OLD)),
            response_length=_keys((r"env/all/ac_tokens_per_turn", "tokens of a turn")),
        ),
        "it is logged as optim/entropy; this file has no such key",
        marks=r"(optim|env|test/env|progress)/.*",
    ),
    Framework(
        "reasoning-from-scratch",
        _columns(
            entropy=_keys((r"entropy_avg", SOFTMAX_1)),
            reward=_keys((r"reward_avg", RAW)),
            accuracy=_keys((r"eval_acc", "accuracy on the evaluation prompts")),
            kl=_keys((r"kl_avg|kl_loss", REFERENCE)),
            response_length=_keys((r"avg_response_len", "tokens")),
        ),
        "its scripts log entropy_avg from section 7.3 on",
        marks=r"reward_avg|avg_response_len|adv_avg|tokens_per_sec",
    ),
)

_ANY = re.compile("|".join(f"(?:{k.pattern})" for f in FRAMEWORKS for of in f.columns.values() for k in of))
_MOST_KEYS = 100_000


class Keys:
    """Which keys are kept, and which there were; remembers them, as logs repeat the same few."""

    def __init__(self, named: Iterable[str] = ()) -> None:
        self.seen: dict[str, bool] = {}
        self._named = frozenset(named)

    def __call__(self, key: str) -> bool:
        """Whether a key is kept."""
        known = self.seen.get(key)
        if known is None:
            known = key in self._named or _ANY.fullmatch(key) is not None
            if len(self.seen) < _MOST_KEYS:
                self.seen[key] = known
        return known


def recognise(keys: Iterable[str]) -> Framework:
    """The framework that explains keys best: by its marks first, then by the columns that they fill."""
    known = list(keys)
    best: Callable[[Framework], tuple[bool, int, int]] = lambda f: (f.fit(known)[1] > 0, *f.fit(known))  # noqa: E731
    return max(FRAMEWORKS, key=best)
