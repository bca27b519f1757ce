"""What is exactly true in ToolSearch: by backward recursion over the situations of one answer's search.

Functions of a world and of table policies ``[..., C, V]`` over its contexts. Outcomes are frozen, so that given the
question a search is a walk on a small graph: at each of its L calls a tool hits or misses, for certain.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from toybed.envs.core import ILLEGAL, Evaluation
from toybed.measures.entropy import token_entropy

if TYPE_CHECKING:
    from toybed.envs.tool_search import ToolSearch

MAX_ENTRIES = 2**22  # of a tensor in the recursion: questions are taken in parts


class Situation(NamedTuple):
    """Where one answer's search stands: hop, last result, tools that failed here, hops found, hop of the guess or -1.

    Tools and hops are bits.
    """

    hop: int
    last: int
    tried: int
    found: int
    guessed: int


SPOILED = Situation(-1, 0, 0, 0, -1)
"""What follows an illegal token."""


class Level(NamedTuple):
    """The n situations after t calls.

    ``row [n]`` in what is seen, ``hop [n]``, and the situation that follows each token when it hits and when it
    misses, ``hit`` and ``miss [n, V]``; the number of situations of the next level stands for "spoiled".
    """

    row: Tensor
    hop: Tensor
    hit: Tensor
    miss: Tensor


@dataclass(frozen=True)
class Graph:
    """One answer's search.

    Attributes:
        seen: what is seen besides the cue wherever a token is chosen, ``[R, F]``.
        sizes: entry f of it is below ``sizes[f]``.
        row: the row of what is seen, by its number in mixed radix.
        levels: after 0 .. L - 1 calls.
        found: which hops were found in each final situation, one bit each, ``[n]``.
        guessed: the hop at which the answer was guessed, ``[n]``; -1 where it was not.
    """

    seen: Tensor
    sizes: tuple[int, ...]
    row: Tensor
    levels: tuple[Level, ...]
    found: Tensor
    guessed: Tensor

    def row_of(self, seen: Sequence[Tensor]) -> Tensor:
        """The row of what is seen, given entry by entry; of what cannot be seen at a choice it is row 0."""
        return self.row[_number(seen, self.sizes)]


def build(env: ToolSearch) -> Graph:
    """The graph of one answer's search, by walking through it."""
    rows: dict[tuple[int, ...], int] = {}
    now, levels = {Situation(0, 0, 0, 0, -1): 0}, []
    for made in range(env.calls_per_answer):
        row = [rows.setdefault(_view(env, situation, made), len(rows)) for situation in now]
        pairs = [[_following(env, situation, token) for token in range(env.vocabulary)] for situation in now]
        following: dict[Situation, int] = {}
        for situation in itertools.chain.from_iterable(itertools.chain.from_iterable(pairs)):
            if situation != SPOILED:
                following.setdefault(situation, len(following))
        end = len(following)
        hit, miss = (torch.tensor([[following.get(p[way], end) for p in tokens] for tokens in pairs]) for way in (0, 1))
        hop = torch.tensor([situation.hop for situation in now])
        levels.append(Level(*(part.to(env.device) for part in (torch.tensor(row), hop, hit, miss))))
        now = following
    found, guessed = (
        torch.tensor([getattr(end, name) for end in now], device=env.device) for name in ("found", "guessed")
    )
    sizes = env.one_answer.observation_sizes[1:]
    seen = torch.tensor(list(rows), device=env.device)
    row_of = torch.zeros(prod(sizes), dtype=torch.int64, device=env.device)
    row_of[_number(seen.unbind(-1), sizes)] = torch.arange(len(rows), device=env.device)
    return Graph(seen, sizes, row_of, tuple(levels), found, guessed)


def _number(seen: Sequence[Tensor], sizes: tuple[int, ...]) -> Tensor:
    number = torch.zeros_like(seen[0])
    for value, size in zip(seen, sizes, strict=True):
        number = number * size + value
    return number


def _view(env: ToolSearch, situation: Situation, made: int) -> tuple[int, ...]:
    """What is seen of a situation besides the cue."""
    retry = (*(situation.tried >> tool & 1 for tool in range(env.tools)), made) if env.retry else ()
    return (situation.hop, situation.last, *retry)


def _following(env: ToolSearch, now: Situation, token: int) -> tuple[Situation, Situation]:
    """The situations after a token that hits and after one that misses."""
    if now.hop == env.hops:
        return (now, now) if token == 0 else (SPOILED, SPOILED)
    if token == env.tools:
        over = Situation(env.hops, 0, 0, now.found, now.hop)
        return over, over
    if now.tried == 2**env.tools - 1:  # no tool is left: a turn passes, unless the answer can be guessed
        return (now._replace(last=1),) * 2 if token == 0 and not env.guess else (SPOILED, SPOILED)
    if now.tried >> token & 1:
        return SPOILED, SPOILED
    hit = Situation(now.hop + 1, 2, 0, now.found | 1 << now.hop, -1)
    if env.retry:
        return hit, now._replace(last=1, tried=now.tried | 1 << token)
    return hit, now._replace(last=1, hop=now.hop + 1)


# -- expectations ------------------------------------------------------------------------------------------------------
Running = Callable[[Tensor, Level], Tensor]
"""``(log_pi [..., C, n, V], level) -> [X, ..., C, n]``: what is collected where a token is chosen."""


def expect(
    env: ToolSearch, log_probs: Tensor, works: Tensor, cue: Tensor, final: Tensor, running: Running | None = None
) -> Tensor:
    """Expected values of X quantities for each answer to each of Q questions: ``[X, ..., M, Q]``.

    ``value_t(q, s) = running(s) + sum_v pi(v | cue, s) [w value_{t+1}(q, s after a hit) + (1 - w) (... a miss)]``

    Args:
        env: the world.
        log_probs: a table over its contexts, ``[..., C, V]``.
        works: ``w [Q, H, K]``, the chance that a tool finds a hop: 0 or 1 where outcomes are frozen.
        cue: ``[Q]``.
        final: the quantities in each final situation, ``[X, Q, n]``.
        running: collected on the way.
    """
    table = log_probs.unflatten(-2, (env.set_size, env.clusters, -1))
    # A guess is no call and nothing is called when the search is over: neither hits.
    chance = pad(works.to(table.dtype), (0, env.vocabulary - env.tools, 0, 1))
    lead = table.shape[:-3]
    widest = max(level.row.numel() for level in env.graph.levels)
    size = max(MAX_ENTRIES // (len(final) * lead.numel() * widest * env.vocabulary), 1)
    parts = []
    for part in torch.arange(len(cue), device=cue.device).split(size):
        value = final[:, part].to(table.dtype).view(len(final), *(1,) * len(lead), len(part), -1)
        for level in reversed(env.graph.levels):
            log_pi = table[..., level.row, :]  # [..., M, C, n, V]
            w, after = chance[part][:, level.hop], pad(value, (0, 1))
            ahead = w * after[..., level.hit] + (1 - w) * after[..., level.miss]
            value = (log_pi.exp()[..., cue[part], :, :] * ahead).sum(-1)
            if running is not None:
                value = value + running(log_pi, level)[..., cue[part], :]
        parts.append(value[..., 0])
    return torch.cat(parts, -1)


def right_answer(env: ToolSearch, known: Tensor) -> Tensor:
    """Chance that the answer is right in each final situation, ``known [Q, H + 1]`` to ``[Q, n]``."""
    graph, every = env.graph, 2**env.hops - 1
    first = graph.guessed.clamp(min=0)
    guess = torch.where(graph.guessed < 0, 0, every & ~((1 << first) - 1))
    by_heart = torch.where(graph.guessed < 0, 1.0, known.double()[:, first])
    return by_heart * ((graph.found | guess) == every)


def any_right(success: Tensor) -> Tensor:
    """Chance that one of M independent answers is right, ``[..., M, Q]`` to ``[..., Q]``."""
    return success[..., 0, :] if success.shape[-2] == 1 else 1 - (1 - success).prod(-2)


def evaluate(env: ToolSearch, log_probs: Tensor) -> Evaluation:
    """Exact reward and sequence entropy on all questions."""

    def entropies(log_pi: Tensor, level: Level) -> Tensor:
        entropy = token_entropy(log_pi)
        return torch.stack([torch.zeros_like(entropy), entropy])

    bank = env.bank
    right = right_answer(env, bank.known)
    final = torch.stack([right, torch.zeros_like(right)])
    reward, entropy = expect(env, log_probs, bank.works, bank.cue, final, entropies)
    return Evaluation(any_right(reward), entropy.sum(-2))


def success_if_redrawn(env: ToolSearch, log_probs: Tensor, split: str = "train") -> tuple[Tensor, Tensor]:
    """Expected success on a fresh question of each kind (cluster, cue), ``[..., C^2]``, and its share ``[C^2]``.

    Outcomes are drawn anew for every answer. For one answer the mean is pass@1 without the bank's sampling error; and
    ``1 - (1 - success)^k`` is what pass@k would be without frozen outcomes, where diversity is worth nothing.
    """
    chance, rho = env.chances(split)
    cluster, cue = (x.flatten() for x in torch.meshgrid(*(torch.arange(env.clusters),) * 2, indexing="ij"))
    works = chance[cluster][:, None].expand(-1, env.hops, -1)
    by_heart = env.by_heart ** torch.arange(env.hops, -1, -1, dtype=torch.float64)
    right = right_answer(env, by_heart.to(env.device).expand(len(cue), -1))
    success = any_right(expect(env, log_probs, works, cue.to(env.device), right[None])[0])
    share = (rho * (cluster == cue) + (1 - rho) / env.clusters) / env.clusters
    return success, share.to(env.device)


def mixed(found: Tensor, common: float) -> Tensor:
    """Reward vectors ``[..., D]`` of components as found: ``(1 - common) found + common mean(found)``."""
    return found if common == 0 else (1 - common) * found + common * found.mean(-1, keepdim=True)


def outcome_rewards(env: ToolSearch) -> Tensor:
    """The reward vectors of the 2^D outcomes, in their order, float64 ``[2^D, D]``: bit d is component d as found."""
    bits = torch.arange(env.hops + 1, device=env.device)
    outcome = torch.arange(2 ** len(bits), device=env.device)
    return mixed(((outcome[:, None] >> bits) & 1).double(), env.common)


def outcomes(env: ToolSearch, log_probs: Tensor, prompt: Tensor | None = None) -> Tensor:
    """Chance of every outcome of each answer, ``[..., M, P, 2^D]``; :func:`outcome_rewards` has their vectors."""
    bank, chosen = env.bank, env.prompts() if prompt is None else prompt
    right = right_answer(env, bank.known[chosen])
    found, last = env.graph.found, 2**env.hops
    each = [(found == mask % last) * (right if mask >= last else 1 - right) for mask in range(2 * last)]
    return expect(env, log_probs, bank.works[chosen], bank.cue[chosen], torch.stack(each)).movedim(0, -1)


def best_of_k(env: ToolSearch, log_probs: Tensor, weights: Sequence[float], k: int) -> Tensor:
    """Expected best ``w . r`` among the answers of k responses, exactly: ``[..., P]``.

    ``E max = sum_v v [F(v) - F(v-)]`` with ``F(v) = (prod_m P(w . r_m <= v))^k`` over the 2^D outcomes, whose vectors
    are those of the world's ``common``.
    """
    rewards = outcome_rewards(env)
    value, order = (rewards @ torch.tensor(list(weights), dtype=torch.float64, device=env.device)).sort()
    below = outcomes(env, log_probs)[..., order].cumsum(-1).clamp(max=1).prod(-3) ** k
    # Equal values need no care: the sum of their steps is the step of their class.
    steps = torch.diff(below, prepend=torch.zeros_like(below[..., :1]))
    return (steps * value.to(steps)).sum(-1)


def count_solutions(env: ToolSearch) -> Tensor:
    """Number of responses with full reward, int64 ``[P]``: every legal token is taken once, and not with a chance."""
    once = torch.zeros(len(env.contexts()), env.vocabulary, dtype=torch.float64, device=env.device)
    if (legal := env.legal_at(env.contexts())) is not None:
        once = once.masked_fill(~legal, ILLEGAL)
    right = right_answer(env, env.bank.known)
    final = torch.stack([right, torch.ones_like(right)])
    counts, every = expect(env, once, env.bank.works, env.bank.cue, final)[:, 0]
    return (every**env.set_size - (every - counts) ** env.set_size).round().long()


# -- strategies ------------------------------------------------------------------------------------------------------
def plan_entropy(env: ToolSearch, log_probs: Tensor) -> Tensor:
    """Entropy of the plan for one answer given the cue, nats, mean over answers and train questions: ``[...]``."""
    return _of_plans(env, log_probs, lambda log_pi, level: token_entropy(log_pi)[None])[0]


def effective_tools(env: ToolSearch, log_probs: Tensor) -> Tensor:
    """``exp`` of the entropy of how often each tool stands in a plan, over train questions and answers: ``[...]``."""

    def calls(log_pi: Tensor, level: Level) -> Tensor:
        return (log_pi.exp()[..., : env.tools] * (level.hop < env.hops)[:, None]).movedim(-1, 0)

    used = _of_plans(env, log_probs, calls)
    share = used / used.sum(0)
    return (-torch.xlogy(share, share).sum(0)).exp()


def _of_plans(env: ToolSearch, log_probs: Tensor, running: Running) -> Tensor:
    """What is collected by one answer when every call hits, mean over answers and train questions: ``[X, ...]``."""
    share = torch.bincount(env.bank.cue[env.prompts("train")], minlength=env.clusters).to(log_probs.dtype)
    works = torch.ones(env.clusters, env.hops, env.tools, device=env.device)
    nothing = torch.zeros(env.tools, env.clusters, len(env.graph.found), device=env.device)
    collected = expect(env, log_probs, works, torch.arange(env.clusters, device=env.device), nothing, running)
    return (collected.mean(-2) * (share / share.sum())).sum(-1)
