"""An exercise: a function to be filled in, the inputs on which it is tried, and the mistakes that are known."""

from __future__ import annotations

import copy
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from toybed.course.grade import Grade

RELATIVE, ABSOLUTE = 1e-5, 1e-7
"""An answer may differ by this much: float32 loses less in a sum of a few terms, and no known mistake hides in it."""
SHOWN = 40
"""A tensor with more entries is named by its shape."""

Function = Callable[..., Any]


def call(function: Function, given: Mapping[str, Any]) -> Any:
    """What the function returns; arguments by place, so that a student may rename them."""
    return function(*copy.deepcopy(list(given.values())))


@dataclass(frozen=True)
class Exercise:
    """A function that the student writes.

    Attributes:
        name: of the function.
        solution: a right one.
        inputs: what it is tried on: arguments by name, in their order.
        hint: what to say where the mistake is not a known one.
        mistakes: message to the wrong function that it is about.
        look: what of a function on an input is compared; by default what it returns.
    """

    name: str
    solution: Function
    inputs: Sequence[Mapping[str, Any]]
    hint: str
    mistakes: Mapping[str, Function]
    look: Callable[[Function, Mapping[str, Any]], Any] = call

    def grade(self, function: Function) -> Grade:
        """Try a student's function on all inputs."""
        answers = []
        for given in self.inputs:
            try:
                answer = self.look(function, given)
            except (Exception, SystemExit) as error:
                return self._wrong([f"it raises {type(error).__name__}: {error}{_place(error, function)}"], given)
            if answer is None or answer is ...:
                return Grade(
                    self.name,
                    False,
                    f"{self.name} returns nothing yet: fill in the hole, and end with `return`.\n  {self.hint}",
                )
            answers.append(answer)
        expected = [self.look(self.solution, given) for given in self.inputs]
        wrong = [i for i in range(len(answers)) if not same(answers[i], expected[i])]
        if not wrong:
            return Grade(self.name, True, f"{self.name} is right on all {len(answers)} inputs.")
        first = wrong[0]
        seen = [
            f"expected  {shown(expected[first])}",
            f"yours     {shown(answers[first])}",
            self.mistaken_for(answers) or _form(answers[first], expected[first]) or self.hint,
        ]
        return self._wrong(seen, self.inputs[first], len(answers) - len(wrong))

    def mistaken_for(self, answers: Sequence[Any]) -> str | None:
        """The message of the known mistake that gives these answers; None if there is none.

        If none gives all of them, one that does wherever they are finite: who forgets that 0 log 0 is 0 may have made
        another mistake, too.
        """
        finite = [i for i, answer in enumerate(answers) if _finite(answer)]
        if (message := self._gives(answers, range(len(answers)))) is not None:
            return message
        right = all(same(answers[i], self.look(self.solution, self.inputs[i])) for i in finite)
        return None if right else self._gives(answers, finite)

    def _gives(self, answers: Sequence[Any], places: Sequence[int]) -> str | None:
        for message, mistake in self.mistakes.items():
            if all(same(answers[i], self.look(mistake, self.inputs[i])) for i in places):
                return message
        return None

    def _wrong(self, lines: Sequence[str], given: Mapping[str, Any], right: int = 0) -> Grade:
        count = f" (right on {right} of {len(self.inputs)} inputs)" if right else ""
        arguments = ", ".join(f"{name} = {shown(value)}" for name, value in given.items())
        text = [f"{self.name} is not right yet{count}.", f"with      {arguments}", *lines]
        return Grade(self.name, False, "\n  ".join(text))


def exercise(
    *,
    inputs: Sequence[Mapping[str, Any]],
    hint: str,
    mistakes: Mapping[str, Function],
    look: Callable[[Function, Mapping[str, Any]], Any] = call,
) -> Callable[[Function], Exercise]:
    """Make a right function into an exercise; arguments as in :class:`Exercise`."""

    def make(solution: Function) -> Exercise:
        return Exercise(solution.__name__, solution, inputs, hint, mistakes, look)

    return make


def same(answer: Any, expected: Any) -> bool:
    """Whether two answers are equal, shape included, up to rounding; not a number equals itself."""
    a, b = as_tensor(answer), as_tensor(expected)
    if a is None or b is None or a.shape != b.shape:
        return False
    return torch.allclose(a, b, rtol=RELATIVE, atol=ABSOLUTE, equal_nan=True)


def _finite(answer: Any) -> bool:
    tensor = as_tensor(answer)
    return tensor is not None and bool(torch.isfinite(tensor).all())


def as_tensor(value: Any) -> Tensor | None:
    """A number, a tensor, an array or a nested sequence of numbers as float64; None for anything else."""
    try:
        tensor = value if isinstance(value, Tensor) else torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError):
        return None
    return tensor.detach().to(torch.float64)


def shown(value: Any) -> str:
    """A value as a message shows it: few digits, and only the shape of a large tensor."""
    tensor = None if isinstance(value, str) else as_tensor(value)
    if tensor is None:
        return repr(value)
    if tensor.numel() > SHOWN:
        return f"(a tensor {list(tensor.shape)})"
    plain = value if isinstance(value, bool | int) else value.tolist() if isinstance(value, Tensor) else tensor.tolist()
    return str(_rounded(plain))


def _rounded(value: Any) -> Any:
    if isinstance(value, list):
        return [_rounded(x) for x in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _form(answer: Any, expected: Any) -> str | None:
    """What is wrong with the kind of an answer, before its value."""
    a, b = as_tensor(answer), as_tensor(expected)
    assert b is not None
    if a is None:
        return f"It returns a {type(answer).__name__}; expected is {_kind(b)}."
    if a.shape != b.shape:
        return f"It returns {_kind(a)}; expected is {_kind(b)}. Which axis is summed or averaged over, and is it kept?"
    if not torch.isfinite(a).all() and torch.isfinite(b).all():
        return "Some of it is not finite: is something divided by zero, or the logarithm of zero taken?"
    return None


def _kind(tensor: Tensor) -> str:
    return f"a tensor {list(tensor.shape)}" if tensor.ndim else "one number"


def _place(error: BaseException, function: Function) -> str:
    """Where in the student's file an error was raised: the innermost line of it."""
    file = getattr(getattr(function, "__code__", None), "co_filename", None)
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    if not own:
        return ""
    place = "this cell" if "ipykernel" in own[-1].filename else Path(own[-1].filename).name
    return f"\n  at        {place}, line {own[-1].lineno}: {own[-1].line}"
