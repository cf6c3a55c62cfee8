"""How an answer is checked: against the right one, then against wrong ones that have a name.

A ``Check`` holds the right function, inputs to try it on from small to large, and a table of
mistakes: for each, what to say and a function that makes it. An answer that does the same on every
input has made the same mistake. Any other wrong answer is met with the smallest input that shows
the difference.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np

from efftx.check import words

SEED = 8  # the same inputs at every run, so that a message changes only when the answer does
STUB = "your turn"  # begins the message of a stub; jax raises NotImplementedErrors of its own


class CheckFailed(AssertionError):  # noqa: N818  (it is read by learners, as a sentence)
    """An answer is not right yet. Jupyter shows the message alone, without a traceback."""

    def _render_traceback_(self) -> list[str]:
        """IPython shows these lines instead of a traceback."""
        return str(self).splitlines()


@dataclass(frozen=True)
class Check:
    """Calling it with an answer prints one line, or raises ``CheckFailed`` with an explanation.

    The functions take a case's values in order: ``right`` and the mistakes get numpy arrays, the
    answer gets jax arrays. They return one array, or a tuple of as many as ``returns`` names.
    A mistake may return None for an array that it says nothing about. In its message {0} and {1}
    stand for the index of the first wrong entry, a query and a key. The first that fits is named.
    """

    name: str  # of the function to write
    returns: tuple[str, ...]  # names of the arrays that it returns
    right: Callable
    cases: Callable[[np.random.Generator], Iterable[dict]]  # inputs by name, the smallest first
    praise: str
    mistakes: dict[str, Callable] = field(default_factory=dict)  # what to say: who makes it

    def __call__(self, answer: Callable) -> None:
        if not callable(answer):
            raise CheckFailed(words.not_a_function(self.name, answer))
        cases = list(self.cases(np.random.default_rng(SEED)))
        # Else GPUs and TPUs would round the factors of a product to three digits.
        with jax.default_matmul_precision("highest"):
            wanted = [self.outcome(self.right, case) for case in cases]
            got = [self._ask(answer, *pair) for pair in zip(cases, wanted, strict=True)]
        for case, mine, right in zip(cases, got, wanted, strict=True):
            if wrong := words.first_difference(self.returns, mine, right):
                complaint = self._recognise(got, cases).format(*wrong.index)
                raise CheckFailed(words.explain(self.name, complaint, case, wrong))
        print(f"✓ {self.name} is right on {len(cases)} random inputs. {self.praise}")

    def outcome(self, function: Callable, case: dict) -> tuple[np.ndarray | None, ...]:
        """What the right answer, or a mistake, makes of a case."""
        with np.errstate(all="ignore"):  # some mistakes divide 0 by 0, on purpose
            result = function(*case.values())
        return self._arrays(result)

    def _recognise(self, got: list, cases: list[dict]) -> str:
        """The message of the mistake that gives this outcome on every case, if there is one."""
        for message, mistake in self.mistakes.items():
            pairs = zip(got, (self.outcome(mistake, case) for case in cases), strict=True)
            if all(words.first_difference(self.returns, *pair) is None for pair in pairs):
                return message
        return ""

    def _ask(self, answer: Callable, case: dict, wanted: tuple) -> tuple[np.ndarray, ...]:
        """What the answer makes of a case, as numpy arrays of the wanted kind and shape."""
        inputs = [jnp.asarray(x) if isinstance(x, np.ndarray) else x for x in case.values()]
        try:
            result = answer(*inputs)
        except NotImplementedError as error:
            if not str(error).startswith(STUB):
                raise
            raise CheckFailed(words.not_written(self.name, error)) from None
        except Exception as error:
            error.add_note(f"The check had called {self.name} with\n{words.inputs(case)}")
            raise
        if problem := words.wrong_form(self.name, self.returns, result, wanted):
            raise CheckFailed(f"{problem}\n\nIt was called with\n{words.inputs(case)}")
        return self._arrays(result)

    def _arrays(self, result) -> tuple[np.ndarray | None, ...]:
        results = result if len(self.returns) > 1 else (result,)
        return tuple(None if x is None else np.asarray(x) for x in results)
