"""An exercise as its tests see it, and what its check says to an answer."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import pytest

from efftx.check import Check, CheckFailed
from efftx.check.edited import exchanged
from tests.check.sources import functions_of, run


@dataclass(frozen=True)
class Exercise:
    """Its checks by name, and what learners may hand in."""

    stem: str
    parts: dict[str, Check]  # each with a table of mistakes
    right: list  # (name, another way to be right)
    together: dict[str, Check] = field(default_factory=dict)  # what puts the parts together

    @property
    def checks(self) -> dict[str, Check]:
        return {**self.parts, **self.together}

    @cached_property
    def solution(self) -> str:
        return functions_of("solutions", self.stem)

    @cached_property
    def solved(self) -> dict:
        return run(self.solution)

    @cached_property
    def untouched(self) -> dict:
        return run(functions_of("exercises", self.stem))

    def edited(self, edits: dict[str, str]) -> dict:
        """The solution with a line or two changed."""
        return run(exchanged(self.solution, edits.items(), "the solution"))

    def said(self, name: str, answer: Callable) -> str:
        """What the check says to a wrong answer, on one line."""
        with pytest.raises(CheckFailed) as caught:
            self.checks[name](answer)
        assert "Traceback" not in str(caught.value)
        return " ".join(str(caught.value).split())
