"""Settings that are learned before a sweep, generation after generation, from runs of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from toybed.agents.config import Setting
from toybed.study import FIRST_TUNING_SEED, Records, Run

Make = Callable[[list[Run], int], None]
"""Makes the runs of a generation, given its number."""


@dataclass(frozen=True)
class Search:
    """How settings are learned before the sweep, generation after generation.

    All runs of a generation are ordinary ones, so that a search which was stopped goes on where it was.

    Attributes:
        begin: size to the state before the first generation.
        ask: size, generation and state to candidates, by place (a world, say) and by label. Their runs draw by the
            generation's number (:attr:`~toybed.agents.config.Learning.replicate`), whatever they say themselves.
        tell: generation, state and the records of its candidates to the next state.
        final: size and last state to further arms of the sweep.
        generations: size to number of generations.
        bases: size to number of seeds; a generation has one of them, in turns, from 1000 on: no judged run has it.
    """

    begin: Callable[[str], Any]
    ask: Callable[[str, int, Any], Mapping[str, Mapping[str, Setting]]]
    tell: Callable[[int, Any, Mapping[str, Mapping[str, Records]]], Any]
    final: Callable[[str, Any], Mapping[str, Setting]]
    generations: Mapping[str, int]
    bases: Mapping[str, int]

    def runs(self, size: str, generation: int, state: Any, device: str) -> dict[str, dict[str, list[Run]]]:
        """The runs of a generation, by place and label."""
        seed = FIRST_TUNING_SEED + generation % self.bases[size]
        return {
            place: {
                label: [Run(setting.with_learning(replicate=generation), seed, device)]
                for label, setting in options.items()
            }
            for place, options in self.ask(size, generation, state).items()
        }

    def learn(
        self, size: str, device: str, load: Callable[[Sequence[Run]], Records], make: Make | None = None
    ) -> dict[str, Setting]:
        """The further arms of the sweep.

        Args:
            size, device: of the runs.
            load: the records of runs that have been made.
            make: None, where all have been.

        Raises:
            ToybedError: a run is missing.
        """
        state = self.begin(size)
        for generation in range(self.generations[size]):
            runs = self.runs(size, generation, state, device)
            if make is not None:
                make([run for options in runs.values() for each in options.values() for run in each], generation)
            found = {place: {label: load(each) for label, each in options.items()} for place, options in runs.items()}
            state = self.tell(generation, state, found)
        return dict(self.final(size, state))
