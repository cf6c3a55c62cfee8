"""How an answer is checked: against the right one, then against wrong ones that have a name.

A ``Check`` holds the right function, inputs to try it on from small to large, and a table of
mistakes: for each, what to say and a function that makes it. An answer that does the same on every
input has made the same mistake. Any other wrong answer is met with the smallest input that shows
the difference.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np

from efftx.check import progress, words
from efftx.check.forms import WrongForm, converted
from efftx.check.promises import NotMeasured

Promise = Callable[[Callable], str]
SEED = 8  # the same inputs at every run, so that a message changes only when the answer does
Mistakes = dict[str, Callable | list[Callable]]  # a list where there are several ways to make one
SLOW = 5  # seconds
STUB = "your turn"  # begins the message of a stub; jax raises NotImplementedErrors of its own


class CheckFailed(AssertionError):  # noqa: N818  (it is read by learners, as a sentence)
    """An answer is not right yet. Jupyter shows the message alone, without a traceback."""

    def _render_traceback_(self) -> list[str]:
        """IPython shows these lines instead of a traceback."""
        return str(self).splitlines()


@contextmanager
def asking(name: str, what: str) -> Iterator[None]:
    """A learner's function runs: a stub is met kindly, an error is told what it was called with."""
    try:
        yield
    except NotImplementedError as error:
        if not str(error).startswith(STUB):
            raise
        raise CheckFailed(words.not_written(name, error)) from None
    except Exception as error:
        error.add_note(f"The check had called {name} with{what}")
        raise


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
    mistakes: Mistakes = field(default_factory=dict)  # what to say: who makes it
    # What besides values was asked for, as bytes: takes the answer and says what is missing, or
    # nothing. It raises `NotMeasured` of an answer that it cannot look into.
    promise: Promise | None = None
    exact: tuple[str, ...] = ()  # names of results whose dtype counts too
    # Where the answer makes or changes a function: what is called with the inputs in its place,
    # its gradient say. Answers and mistakes are seen through it, and so is the promise.
    seen: Callable[[Callable], Callable] | None = None

    def __call__(self, answer: Callable) -> None:
        if not callable(answer):
            raise CheckFailed(words.not_a_function(self.name, answer))
        # Else GPUs and TPUs would round the factors of a product to three digits.
        with jax.default_matmul_precision("highest"):
            self._judge(self.seen(answer) if self.seen else answer)
        progress.keep(self)

    def _judge(self, answer: Callable) -> None:
        cases = list(self.cases(np.random.default_rng(SEED)))
        began = time.perf_counter()
        wanted = [self.outcome(self.right, case) for case in cases]
        got = self._answers(answer, cases, wanted)
        for case, mine, right in zip(cases, got, wanted, strict=False):
            if wrong := words.first_difference(self.returns, mine, right):
                complaint = self._recognise(got, cases[: len(got)]).format(*wrong.index)
                raise CheckFailed(words.explain(self.name, complaint, case, wrong))
        seconds = time.perf_counter() - began
        print(f"✓ {self.name} is right on {len(cases)} random inputs. {self._kept(answer)}")
        if seconds > SLOW:
            print(words.slow(seconds))

    def _answers(self, answer: Callable, cases: list, wanted: list) -> list:
        """What the answer makes of the cases. It may fail at one of them, with an error of its own
        or a wrong shape: if it was wrong before, that is said instead, and its name looked for.
        """
        got: list = []
        for case, right in zip(cases, wanted, strict=True):
            try:
                got.append(self._ask(answer, case, right))
            except Exception:
                before = zip(got, wanted, strict=False)
                if any(words.first_difference(self.returns, *pair) for pair in before):
                    return got
                raise
        return got

    def _kept(self, answer: Callable) -> str:
        """The praise, where the promise is kept, or could not be looked at."""
        try:
            missing = self.promise(answer) if self.promise else ""
        except NotMeasured as reason:
            return f"{reason}"
        if missing:
            raise CheckFailed(words.broken_promise(self.name, missing))
        return self.praise

    def outcome(self, function: Callable, case: dict) -> tuple[np.ndarray | None, ...]:
        """What the right answer, or a mistake, makes of a case."""
        with np.errstate(all="ignore"):  # some mistakes divide 0 by 0, on purpose
            result = function(*case.values())
        return self._arrays(result)

    def of_mistake(self, mistake: Callable, case: dict) -> tuple[np.ndarray | None, ...]:
        """What a mistake makes of a case, seen as an answer is seen."""
        return self.outcome(self.seen(mistake) if self.seen else mistake, case)

    def _recognise(self, got: list, cases: list[dict]) -> str:
        """The message of the mistake that gives this outcome on every case, if there is one."""
        for message, ways in self.mistakes.items():
            for mistake in ways if isinstance(ways, list) else [ways]:
                made = (self.of_mistake(mistake, case) for case in cases)
                pairs = zip(got, made, strict=True)
                if all(words.first_difference(self.returns, *pair) is None for pair in pairs):
                    return message
        return ""

    def _ask(self, answer: Callable, case: dict, wanted: tuple) -> tuple[np.ndarray, ...]:
        """What the answer makes of a case, as numpy arrays of the wanted kind and shape."""
        inputs = [jnp.asarray(x) if isinstance(x, np.ndarray) else x for x in case.values()]
        with asking(self.name, f"\n{words.inputs(case)}"):
            result = answer(*inputs)
        try:
            return converted(self.name, self.returns, result, wanted, self.exact)
        except WrongForm as problem:
            raise CheckFailed(f"{problem}\n\nIt was called with\n{words.inputs(case)}") from None

    def _arrays(self, result) -> tuple[np.ndarray | None, ...]:
        results = result if len(self.returns) > 1 else (result,)
        return tuple(None if x is None else np.asarray(x) for x in results)
