"""ToolSearch: which tool to call at each hop of a search, when only some tools work and no prompt says which."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from toybed.envs import tool_search_optima as optima
from toybed.envs import tool_search_truth as truth
from toybed.envs.core import ILLEGAL, Evaluation, TokenEnv, check_split
from toybed.errors import ToybedError

STALE = 0.15
"""How often the dominant index still works on the test split once it has gone stale."""
NO_RESULT, MISS, HIT = 0, 1, 2


class SearchState(NamedTuple):
    """A search, each part ``[...]``.

    ``question`` and ``time`` (tokens so far); of the present answer ``hop`` (H: it is over), ``last`` result and
    ``tried`` (a bit for each tool that failed at this hop); ``found``, a bit for each component of each answer's
    reward; ``spoiled``: an illegal token was used. All int64 but the last, which is bool.
    """

    question: Tensor
    time: Tensor
    hop: Tensor
    last: Tensor
    tried: Tensor
    found: Tensor
    spoiled: Tensor


class Bank(NamedTuple):
    """The questions: hidden ``cluster [Q]``, visible ``cue [Q]``, and their outcomes, drawn once.

    ``works [Q, H, K]`` bool: which tools find the hop; ``known [Q, H + 1]`` bool: whether hop h and all after it are
    known by heart.
    """

    cluster: Tensor
    cue: Tensor
    works: Tensor
    known: Tensor


@dataclass(frozen=True)
class ToolSearch(TokenEnv):
    """Find all hops of a question by calling tools.

    Description:
        A question belongs to a hidden one of C clusters and shows a cue, which is the cluster with probability
        ``rho`` and else uniform. It has H hops. Which of the K tools find a hop is drawn once for the question and
        never again, ``works[h, k] ~ Bernoulli(P[cluster, k])``, so that all responses to a prompt search the same
        world: tool 0 is the dominant index, tool c + 1 is the specialist of cluster c, tool K - 1 is weak. A prompt
        is the number of a question in a bank. Without ``retry`` every hop gets one call. With it, a failed call may be
        followed by another tool at the same hop, as long as the budget of ``calls`` lasts. With ``set_size`` M a
        response gives M answers, one search after the other; no search sees what became of those before it.
    Action space:
        ``Discrete(K)``: the tool to call; with ``guess`` one more, which ends the search at once and answers from
        memory. With ``retry`` a tool that has failed at this hop may not be called there again. When the search is
        over, only token 0 may follow, until the T tokens are full. An illegal token spoils the response: no reward.
    Observation:
        ``MultiDiscrete([C, H + 1, 3])``: cue, hop (H when the search is over), last result (0 none, 1 miss, 2 hit).
        With ``retry`` then ``[2] * K`` (tools that failed at this hop) and ``[calls + 1]`` (calls made); with M > 1
        then ``[M]`` (answers given).
    Reward:
        ``1[all hops were found]`` or, for a guess, ``1[all before it were found, the others are known by heart]``;
        of M answers the best one counts. As a vector of D = H + 1 components for each answer:
        ``r = (hop 1 found, ..., hop H found, answer right)``, of which the last is the number. With ``common`` c each
        component holds a share of their mean: ``r'_d = (1 - c) r_d + c mean(r)``. At 0 they are as found; at 1 they are
        one and the same; below 0 each is paid at the cost of the others. The mean of the components and the number are
        those of c = 0, so whatever learns from these alone is the same run for every c.
    Termination:
        After ``T = M H`` tokens, with ``retry`` after ``calls``.
    Knobs:
        ``clusters`` C, ``tools`` K (at least C + 2), ``hops`` H, ``rho``; ``dominant``, ``specialist`` (on its own
        cluster), ``other`` (a specialist on another cluster) and ``weak``: how often a tool works. ``retry`` and
        ``calls``; ``guess`` and ``by_heart`` (how often a hop is known by heart); ``set_size`` M; ``questions`` in the
        bank, ``train_share``, ``table_seed``. ``common`` c, from -4 to 1: of D independent components of equal variance
        it makes the correlation ``(2 c - c^2) / (D (1 - c)^2 + 2 c - c^2)``, down to nearly -1 / (D - 1). ``shift``:
        what has changed in the test split: "none", "index" (the dominant tool works only 15 % of the time) or "cue" (it
        says nothing). Questions are drawn with common random numbers: a shift, or a higher chance of working, changes
        only what it must.
    Optimum and random baseline:
        Without ``retry``: of the best policy that sees what the observation shows, on this bank, exactly; near
        ``.625 * .9^3 + .375 * .25^3 = .461`` by default (the cue's specialist at every hop; this bank's own is .465).
        With ``retry``: the Bayes-adaptive optimum, of an agent that remembers all results, on fresh questions: .839
        for 5 calls. It is no bound on a policy that is fitted to the bank. Random: uniform over legal tokens on this
        bank, near ``.425^3 = .077``.
    What it stands for in LLM training:
        A search agent: each turn calls a tool, only the final answer is paid, and which strategy works is a hidden
        property of the question. One strategy for all is optimal for pass@1, so squeezing is right there, and wrong
        for pass@k and after a shift: a world in which diversity has an exact price.
    """

    clusters: int = 4
    tools: int = 6
    hops: int = 3
    rho: float = 0.5
    dominant: float = 0.75
    specialist: float = 0.9
    other: float = 0.25
    weak: float = 0.15
    retry: bool = False
    calls: int = 5
    guess: bool = False
    by_heart: float = 0.3
    set_size: int = 1
    common: float = 0.0
    questions: int = 4096
    train_share: float = 0.5
    shift: str = "none"
    table_seed: int = 0

    def __post_init__(self) -> None:
        for name, low, high in (
            ("clusters", 1, 8),
            ("tools", self.clusters + 2, 10),
            ("hops", 1, 5),
            ("calls", self.hops if self.retry else 1, 8),
            ("set_size", 1, 1 if self.retry else 4),
            ("questions", 2, 2**20),
        ):
            if not low <= getattr(self, name) <= high:
                because = ", with retry" if self.retry and name in ("calls", "set_size") else ""
                raise ToybedError(f"tool_search: {name} is {getattr(self, name)}; allowed: {low} to {high}{because}")
        for name in ("rho", "dominant", "specialist", "other", "weak", "by_heart"):
            if not 0 <= getattr(self, name) <= 1:
                raise ToybedError(f"tool_search: {name} is {getattr(self, name)}; allowed: 0 to 1")
        if not -4 <= self.common <= 1:
            raise ToybedError(f"tool_search: common is {self.common}; allowed: -4 to 1")
        if not 1 <= round(self.train_share * self.questions) < self.questions:
            raise ToybedError(
                f"tool_search: train_share is {self.train_share}; allowed: above 0 and below 1, with one of the "
                f"{self.questions} questions at least on each side"
            )
        if self.shift not in ("none", "index", "cue"):
            raise ToybedError(f"tool_search: shift is {self.shift!r}; allowed: 'none', 'index', 'cue'")

    @property
    def calls_per_answer(self) -> int:
        """Tokens of one answer: H, or the budget of calls."""
        return self.calls if self.retry else self.hops

    @property
    def horizon(self) -> int:
        return self.set_size * self.calls_per_answer

    @property
    def vocabulary(self) -> int:
        return self.tools + int(self.guess)

    @property
    def observation_sizes(self) -> tuple[int, ...]:
        retry = (*(2,) * self.tools, self.calls + 1) if self.retry else ()
        return (self.clusters, self.hops + 1, 3, *retry, *((self.set_size,) if self.set_size > 1 else ()))

    @property
    def n_prompts(self) -> int:
        return self.questions

    @property
    def kinds(self) -> tuple[str, ...]:
        return ("tool",) * self.horizon

    @property
    def reward_names(self) -> tuple[str, ...]:
        return (*(f"hop_{h + 1}" for h in range(self.hops)), "answer")

    # -- how it moves ----------------------------------------------------------------------------------------------
    def reset(self, prompt: Tensor, noise: Tensor | None = None) -> SearchState:
        zero = torch.zeros_like(prompt)
        return SearchState(prompt, zero, zero, zero, zero, zero, zero.bool())

    def observe(self, state: SearchState) -> Tensor:
        seen = [self.bank.cue[state.question], state.hop, state.last]
        if self.retry:
            seen += [*((state.tried >> tool) & 1 for tool in range(self.tools)), state.time]
        if self.set_size > 1:
            seen.append((state.time // self.hops).clamp(max=self.set_size - 1))
        return torch.stack(seen, -1)

    def legal(self, state: SearchState) -> Tensor | None:
        return self.legal_at(self.observe(state)) if self.retry or self.guess else None

    def legal_at(self, observation: Tensor) -> Tensor | None:
        if not (self.retry or self.guess):
            return None
        legal = (observation[..., 1:2] < self.hops).repeat_interleave(self.vocabulary, -1)
        if self.retry:
            legal[..., : self.tools] &= observation[..., 3 : 3 + self.tools] == 0
        legal[..., 0] |= ~legal.any(-1)
        return legal

    def step(self, state: SearchState, token: Tensor) -> SearchState:
        question, hop = state.question, state.hop
        legal, searching, call = self.legal(state), hop < self.hops, token < self.tools
        here = hop.clamp(max=self.hops - 1)
        hit = searching & call & self.bank.works[question, here, token.clamp(max=self.tools - 1)]
        guess = searching & ~call
        after = torch.where(guess, self.hops, hop + (hit if self.retry else searching))
        # The answer is right when no bit of this answer's hops is missing; a guess fills in those that it knows.
        answer = state.time // self.calls_per_answer
        first = answer * (self.hops + 1)
        found = state.found | (hit.long() << (first + here))
        all_hops = 2**self.hops - 1
        known = torch.where(guess & self.bank.known[question, hop], all_hops & ~((1 << hop) - 1), 0)
        right = searching & (after == self.hops) & (((found >> first) | known) & all_hops == all_hops)
        found = found | (right.long() << (first + self.hops))
        last = torch.where(searching, torch.where(guess, NO_RESULT, torch.where(hit, HIT, MISS)), state.last)
        failed = state.tried | (1 << token.clamp(max=self.tools - 1))
        tried = torch.where(searching & call & ~hit, failed, 0) if self.retry else state.tried
        time = state.time + 1
        again = (time % self.calls_per_answer == 0) & (time < self.horizon)  # the next answer starts from nothing
        after, last, tried = (torch.where(again, 0, part) for part in (after, last, tried))
        illegal = False if legal is None else ~legal.gather(-1, token[..., None]).squeeze(-1)
        return SearchState(question, time, after, last, tried, found, state.spoiled | illegal)

    def reward_vector(self, state: SearchState) -> Tensor:
        bits = torch.arange(self.set_size * (self.hops + 1), device=state.found.device)
        found = (((state.found * ~state.spoiled)[..., None] >> bits) & 1).float()
        vector = truth.mixed(found.unflatten(-1, (self.set_size, self.hops + 1)), self.common)
        return vector.squeeze(-2) if self.set_size == 1 else vector

    def reward(self, state: SearchState) -> Tensor:
        answers = sum(2 ** (self.hops + m * (self.hops + 1)) for m in range(self.set_size))
        return ((state.found & answers) * ~state.spoiled != 0).float()

    def describe(self, state: SearchState) -> str:
        cue, hop, time = int(self.bank.cue[state.question]), int(state.hop), int(state.time)
        answer = min(time // self.calls_per_answer, self.set_size - 1)
        set_note = f"answer {answer + 1} of {self.set_size}, " if self.set_size > 1 else ""
        place = "search over" if hop == self.hops else f"hop {hop + 1} of {self.hops}"
        result = ("no result yet", "last call missed", "last call hit")[int(state.last)]
        failed = [str(tool) for tool in range(self.tools) if int(state.tried) >> tool & 1]
        tried = f", tools {' '.join(failed)} failed here" if failed else ""
        paid = f"{self.horizon - time} tokens left, reward {float(self.reward(state)):g}"
        return f"question {int(state.question)} (cue {cue}): {set_note}{place}, {result}{tried}, {paid}"

    # -- its tables ------------------------------------------------------------------------------------------------
    def chances(self, split: str = "train") -> tuple[Tensor, float]:
        """How often each tool works on each cluster's hops, ``[C, K]``, and rho, for questions of a split's kind."""
        moved = self.shift if split == "test" else "none"
        chance = torch.full((self.clusters, self.tools), self.other, dtype=torch.float64)
        chance[:, 0] = STALE if moved == "index" else self.dominant
        chance[:, 1 : self.clusters + 1].fill_diagonal_(self.specialist)
        chance[:, -1] = self.weak
        return chance.to(self.device), 0.0 if moved == "cue" else self.rho

    @cached_property
    def bank(self) -> Bank:
        """The questions, train first, then test."""
        generator = torch.Generator().manual_seed(self.table_seed)
        uniform = torch.rand(self.questions, 3, generator=generator, dtype=torch.float64)
        luck = torch.rand(self.questions, self.hops, self.tools, generator=generator, dtype=torch.float64)
        memory = torch.rand(self.questions, self.hops, generator=generator, dtype=torch.float64) < self.by_heart
        cluster, other = (uniform[:, :2] * self.clusters).long().unbind(-1)
        cues, works = [], []
        cut = len(self.prompts("train"))
        for split, part in (("train", slice(0, cut)), ("test", slice(cut, None))):
            chance, rho = self.chances(split)
            cues.append(torch.where(uniform[part, 2] < rho, cluster[part], other[part]))
            works.append(luck[part] < chance.cpu()[cluster[part], None])
        known = torch.cat([memory.flip(-1).cummin(-1).values.flip(-1), torch.ones(self.questions, 1).bool()], -1)
        return Bank(*(part.to(self.device) for part in (cluster, torch.cat(cues), torch.cat(works), known)))

    def prompts(self, split: str = "all") -> Tensor:
        check_split(split)
        cut = round(self.train_share * self.questions)
        first, last = {"train": (0, cut), "test": (cut, self.questions), "all": (0, self.questions)}[split]
        return torch.arange(first, last, device=self.device)

    @cached_property
    def one_answer(self) -> ToolSearch:
        """The same world with one answer in a response."""
        return self if self.set_size == 1 else replace(self, set_size=1)

    @cached_property
    def as_found(self) -> ToolSearch:
        """The same world with the components as found."""
        return self if self.common == 0 else replace(self, common=0.0)

    @cached_property
    def graph(self) -> truth.Graph:
        """Every situation of one answer's search, and what follows each token."""
        return truth.build(self)

    # Contexts are numbered by answer, then cue, then what is seen of the search: each answer's rows stand together.
    def contexts(self) -> Tensor:
        seen = self.graph.seen
        rows = torch.cat([torch.cat([torch.full_like(seen[:, :1], c), seen], 1) for c in range(self.clusters)])
        if self.set_size == 1:
            return rows
        return torch.cat([torch.cat([rows, torch.full_like(rows[:, :1], m)], 1) for m in range(self.set_size)])

    def context_index(self, observation: Tensor) -> Tensor:
        cue, *seen = observation.unbind(-1)
        answer = seen.pop() if self.set_size > 1 else torch.zeros_like(cue)
        return (answer * self.clusters + cue) * len(self.graph.seen) + self.graph.row_of(seen)

    # -- its truth -------------------------------------------------------------------------------------------------
    @cached_property
    def _solutions(self) -> Tensor:
        return truth.count_solutions(self)

    def solutions(self, prompt: Tensor) -> Tensor:
        return self._solutions[prompt]

    def optimum(self, split: str = "all") -> float:
        """The best attainable mean reward over a split's prompts; see the class."""
        return optima.optimum(self, split)

    def random_baseline(self) -> float:
        return float(self.evaluate(self.uniform()).reward.mean())

    def demonstrator(self, habit: float = 0.3, guesses: float = 0.05) -> Tensor:
        """A searcher with a habit: it calls the dominant index with probability ``habit``, else any other tool alike.

        ``habit`` 0.3 gives varied demonstrations, 0.9 narrow ones. With ``guess`` it answers from memory with
        probability ``guesses`` at each turn. Where tools have failed or the search is over, what is left is
        renormalised.

        Raises:
            ToybedError: a share is not between 0 and 1.
        """
        for name, value in (("habit", habit), ("guesses", guesses)):
            if not 0 <= value <= 1:
                raise ToybedError(f"tool_search: {name} is {value}; allowed: 0 to 1")
        chance = torch.full((self.tools,), (1 - habit) / (self.tools - 1), dtype=torch.float64, device=self.device)
        chance[0] = habit
        if self.guess:
            chance = torch.cat([chance * (1 - guesses), chance.new_tensor([guesses])])
        # A tiny floor, so that something is left where all that has a chance is illegal.
        logits = chance.clamp(min=1e-38).log().expand(len(self.contexts()), -1)
        legal = self.legal_at(self.contexts())
        return (logits if legal is None else logits.masked_fill(~legal, ILLEGAL)).log_softmax(-1).float()

    def evaluate(self, log_probs: Tensor) -> Evaluation:
        """Exact reward and sequence entropy on all questions, backwards through the situations of a search."""
        return truth.evaluate(self, log_probs)

    def measures(self, log_probs: Tensor) -> dict[str, Tensor]:
        """Plans and fresh questions, all exact.

        ``plan_entropy``: of the tools that one answer calls as long as every call hits, given the cue, nats (with K
        tools and H hops at most H log K); what a policy does after a miss is not in it. ``effective_tools``: ``exp`` of
        the entropy of how often a plan calls each tool, over cues and answers, too. ``reward_fresh_train`` and
        ``reward_fresh_test``: reward on a fresh question of the split's kind, without this bank's sampling error; only
        for one answer, since those of a set share a question's outcomes.
        """
        result = {
            "plan_entropy": truth.plan_entropy(self, log_probs),
            "effective_tools": truth.effective_tools(self, log_probs),
        }
        for split in ("train", "test") if self.set_size == 1 else ():
            success, share = truth.success_if_redrawn(self, log_probs, split)
            result[f"reward_fresh_{split}"] = (success * share).sum(-1)
        return result

    def outcomes(self, log_probs: Tensor, prompt: Tensor | None = None) -> Tensor:
        """Chance of every outcome of each answer, ``[..., M, P, 2^D]``: bit d of the last index is component d.

        To all questions, or to those of ``prompt [P]``. Components as found; :meth:`outcome_rewards` has their vectors.
        """
        return truth.outcomes(self, log_probs, prompt)

    def outcome_rewards(self) -> Tensor:
        """The reward vector of every outcome, under the world's ``common``, float64 ``[2^D, D]``."""
        return truth.outcome_rewards(self)

    def best_at_k(self, k: int, split: str = "train", one: float = 0.0) -> optima.BestAtK:
        """The best table policy for pass@k on a split's questions, and its worth; for k > 1 by numeric ascent.

        With ``one`` above 0 for ``(1 - one) pass@k + one pass@1``: from 0 to 1 the front of the two.
        """
        return optima.best_at_k(self, k, split, one)

    def best_mixture_at_k(self, k: int, split: str = "train") -> optima.BestMixture:
        """The optimum of pass@k on a split's questions over all distributions of plans, with its proof, a bound."""
        return optima.best_mixture_at_k(self, k, split)
