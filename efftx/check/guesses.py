"""Break it: a learner predicts how an experiment ends, runs it, and the outcome is the judge.

A ``Guess`` holds no answer. It holds the experiment, and runs it when a prediction is to be graded;
and it holds words for either side of the outcome, since what is instructive is *why* it came out
higher or lower. Being wrong costs nothing: the learner has seen the outcome and may say it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real

import jax
import numpy as np

from efftx.check import progress
from efftx.check.core import CheckFailed
from efftx.check.words import form, wrap

Outcome = float | int | str


@dataclass(frozen=True)
class Guess:
    """Calling it with a prediction prints one line, or raises ``CheckFailed`` with the reason.

    A number is right if it is the outcome, or within a factor of it. Where there are ``choices``,
    words or numbers from low to high, the prediction is one of them, and so is the outcome.
    """

    name: str  # of what is predicted
    unit: str  # "layers": what the number counts; "" where a choice needs none
    measured: Callable[[], Outcome]  # the experiment
    praise: str
    too_low: str  # what was overlooked by those who predict less
    too_high: str
    within: float | int = 1  # a factor; 1 where it must be the very number
    choices: tuple = ()

    def __call__(self, prediction) -> None:
        predicted = self.predicted(prediction)
        # Rounded factors, as on GPUs and TPUs, would end another experiment.
        with jax.default_matmul_precision("highest"):
            outcome = self.measured()
        both = f"predicted {self._said(predicted)}, measured {self._said(outcome)}"
        if side := self._side(predicted, outcome):
            lesson = self.too_low if side < 0 else self.too_high
            raise CheckFailed(
                f"✗ {self.name}: {both}.\n{wrap(lesson)}\n"
                "Being wrong costs nothing here. Change your picture, then the prediction."
            )
        print(wrap(f"✓ {self.name}: {both}. {self.praise}"))
        progress.keep(self)

    def predicted(self, prediction) -> Outcome:
        """The prediction as a plain number, or as one of the choices.

        Raises ``CheckFailed`` if there is none yet. The experiment's cell begins with this, so
        that nobody sees the outcome first.
        """
        if prediction is None or prediction is ...:
            raise CheckFailed(
                wrap(
                    f"✗ {self.name}: make a prediction first. Put {self._wanted()} in the place of "
                    "the dots. A wrong one costs nothing; none at all teaches nothing."
                )
            )
        value = plain(prediction)
        if value is None or (self.choices and value not in self.choices):
            raise CheckFailed(
                wrap(f"✗ {self.name}: predict {self._wanted()}; got {_came(prediction)}.")
            )
        if isinstance(value, str) and not self.choices:
            raise CheckFailed(
                wrap(f"✗ {self.name}: predict {self._wanted()}; got the text {value!r}.")
            )
        return value

    def _side(self, predicted: Outcome, outcome: Outcome) -> int:
        """-1 where the prediction is too low, 1 where it is too high, 0 where it is right."""
        if self.choices:
            places = self.choices.index(predicted), self.choices.index(outcome)
            return int(np.sign(places[0] - places[1]))
        bounds = sorted((outcome / self.within, outcome * self.within))
        room = 1e-6 * abs(float(outcome))  # of rounding
        return int(predicted > bounds[1] + room) - int(predicted < bounds[0] - room)

    def _wanted(self) -> str:
        if self.choices:
            return "one of " + ", ".join(map(repr, self.choices))
        return f"a number of {self.unit}"

    def _said(self, value: Outcome) -> str:
        if isinstance(value, str):
            return f"{value} {self.unit}".strip()
        rounded = value == int(value) or abs(value) >= 100
        return f"{value:,.0f} {self.unit}" if rounded else f"{value:.3g} {self.unit}"


def plain(prediction) -> Outcome | None:
    """A number of Python's for one of any kind, text as it is; None for what is neither."""
    if isinstance(prediction, str):
        return prediction
    if isinstance(prediction, bool | np.bool_):
        return None
    if hasattr(prediction, "shape"):  # of numpy or jax
        array = np.asarray(prediction)
        prediction = array.item() if array.size == 1 else None
    if isinstance(prediction, bool) or not isinstance(prediction, Real):
        return None
    return prediction if np.isfinite(prediction) else None


def _came(prediction) -> str:
    if isinstance(prediction, Real | np.generic | str):
        return repr(prediction)
    return form(prediction)
