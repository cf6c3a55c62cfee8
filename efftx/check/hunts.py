"""Bug hunts: the learner writes a test, and the check is the test of that test.

A hunt has a module whose functions are sound. Broken ones are edits of its text, each with a
sentence of what is wrong with it; so are other sound ones, which do the same in another way. A test
is right if it accuses every broken one and spares every sound one.
"""

import inspect
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType

import jax
import numpy as np

from efftx.check import progress
from efftx.check.core import CheckFailed, asking
from efftx.check.edited import exchanged
from efftx.check.words import form, not_a_function, wrap

Edits = list[tuple[str, str]]  # what is taken out of the module's text, what is put in


@dataclass(frozen=True)
class Hunt:
    """Calling it with a test prints one line, or raises ``CheckFailed`` with what slipped through.

    In the messages the sentences stand behind "This one got away:" and "The sound one that".
    """

    name: str  # of the test to write
    module: ModuleType
    function: str  # of the module: it is given to the test
    broken: dict[str, Edits]  # "it …": what it does wrong
    sound: dict[str, Edits] = field(default_factory=dict)  # "…s …": what it does otherwise

    @property
    def suspect(self) -> Callable:
        """A broken one, to experiment with."""
        return self.implementation(next(iter(self.broken.values())))

    def implementation(self, edits: Edits) -> Callable:
        """The function of the module, with these edits in its text."""
        code = exchanged(inspect.getsource(self.module), edits, self.module.__name__)
        names: dict = {"__name__": "an implementation"}
        exec(code, names)
        return names[self.function]

    def __call__(self, test: Callable) -> None:
        if not callable(test):
            raise CheckFailed(not_a_function(self.name, test))
        with jax.default_matmul_precision("highest"):
            self._spares_the_sound(test)
            got_away = [says for says, one in self.broken.items() if not self._raised(test, one)]
        n_broken, n_all = len(self.broken), len(self.broken) + len(self.sound) + 1
        if got_away:
            found = f"It exposes {n_broken - len(got_away)} of {n_broken} broken ones."
            raise CheckFailed(self._not_yet(f"This one got away: {got_away[0]}. {found}"))
        found = f"it exposes all {n_broken} broken ones."
        print(f"✓ {self.name} is right on {n_all} implementations: {found}")
        progress.keep(self)

    def _spares_the_sound(self, test: Callable) -> None:
        for says, edits in {"": [], **self.sound}.items():
            if error := self._raised(test, edits):
                which = f"a sound one, which {says}" if says else "the sound one"
                raise CheckFailed(
                    self._not_yet(f"Your test accuses {which}: {reason(test, error)}")
                )

    def _not_yet(self, text: str) -> str:
        return f"✗ {self.name} is not right yet.\n{wrap(text)}"

    def _raised(self, test: Callable, edits: Edits) -> AssertionError | None:
        """What the test says against an implementation."""
        which = "the sound implementation" if not edits else "an implementation"
        try:
            with (
                np.errstate(all="ignore"),  # some broken ones divide 0 by 0, on purpose
                asking(self.name, f" {which} of {self.function}."),
            ):
                result = test(self.implementation(edits))
        except CheckFailed:  # a stub
            raise
        except AssertionError as accusation:
            return accusation
        if result is not None:
            raise CheckFailed(
                self._not_yet(
                    f"It returned {form(result)}. A test says nothing if all is well, and raises "
                    "AssertionError if not: use `assert`."
                )
            )
        return None


def reason(test: Callable, error: AssertionError) -> str:
    """The words of an assertion; or the line that it stands in, where that is known."""
    if str(error):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.line for frame in frames if frame.line and frame.line.startswith("assert")]
    return (
        lines[-1] if lines else "an assertion without words. Give it some: `assert x == y, text`."
    )
