"""What a check says: each message names what came, what was expected, and where."""

import textwrap
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from efftx.validation import describe

TOLERANCE = 1e-4  # relative and absolute; float32 is exact to about 1e-6 here
MOST_SHOWN = 64  # entries of an array that are still printed
WIDTH = 92


class Difference(NamedTuple):
    """The first entry of a result that is wrong, and the arrays that it stands in."""

    name: str
    index: tuple[int, ...]
    got: np.ndarray
    wanted: np.ndarray


def first_difference(names: tuple, got: tuple, wanted: tuple) -> Difference | None:
    """Where the results differ first; None where they agree. None in ``wanted`` fits all."""
    for name, mine, right in zip(names, got, wanted, strict=True):
        wrong = np.zeros(()) if right is None else _differs(mine, right)
        if wrong.any():
            return Difference(name, tuple(int(i) for i in np.argwhere(wrong)[0]), mine, right)
    return None


def _differs(got: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    if not jnp.issubdtype(wanted.dtype, jnp.floating):
        return np.asarray(got != wanted)
    numbers = got.astype(np.float64), wanted.astype(np.float64)
    close = np.isclose(*numbers, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)
    return np.asarray(~close)


def not_a_function(name: str, answer) -> str:
    return f"Give the check the function itself, {name}, without calling it; got {form(answer)}."


def form(thing) -> str:
    """What a thing is, in a few words."""
    return f"an array, {describe(thing)}" if hasattr(thing, "shape") else describe(thing)


def not_written(name: str, error: NotImplementedError) -> str:
    """Says which function still is a stub: the one asked for, or one that it calls."""
    step = error.__traceback__
    while step.tb_next:
        step = step.tb_next
    stub = step.tb_frame.f_code.co_name
    subject = f"{name} is" if stub == name else f"{name} calls {stub}, which is"
    return wrap(
        f"{subject} not written yet. Replace the line `raise NotImplementedError(…)` in {stub} by "
        "code of your own, run that cell, and then this one again. The hints are there to be used."
    )


def broken_promise(name: str, missing: str) -> str:
    """The values are right, and that is not all that was asked for."""
    return f"✗ {name} returns the right values. But:\n{wrap(missing)}"


def slow(seconds: float) -> str:
    return wrap(
        f"It took {seconds:.0f} s. If a Python loop is the reason: jax runs each operation in it "
        "by itself, and lax.map or lax.scan run the loop as one program."
    )


def explain(name: str, complaint: str, case: dict, wrong: Difference) -> str:
    """The mistake, the first wrong entry, and the smallest input that shows it."""
    diagnosis = [wrap(complaint)] if complaint else []
    which = "the smallest input that shows it:" if complaint else "the smallest input that fails:"
    example = ["", _indent(_result(wrong)), "", f"It was called with {which}", inputs(case)]
    return "\n".join([f"✗ {name} is not right yet.", *diagnosis, *example])


def inputs(case: dict) -> str:
    """The inputs of a call, one below the other."""
    width = max(map(len, case))
    return _indent("\n".join(_named(name.ljust(width), value) for name, value in case.items()))


def _result(wrong: Difference) -> str:
    where = f"{wrong.name}[{', '.join(map(str, wrong.index))}]" if wrong.index else wrong.name
    got, wanted = wrong.got[wrong.index], wrong.wanted[wrong.index]
    text = f"{where}: got {_number(got)}, expected {_number(wanted)}"
    if wrong.got.size > MOST_SHOWN:
        return text
    if wrong.got.ndim == 2 and wrong.got.dtype == bool:
        return f"{text}\n\n{_compared(wrong)}"
    if wrong.got.ndim == 1:
        return f"{text}\n\n{_named('got     ', wrong.got)}\n{_named('expected', wrong.wanted)}"
    return text


def _compared(wrong: Difference) -> str:
    """One drawing of both masks, row = query, column = key."""
    marks = np.where(wrong.got, np.where(wrong.wanted, "■", "+"), np.where(wrong.wanted, "-", "·"))
    legend = "■ both allow it   + only yours allows it   - only yours leaves it out"
    return "\n".join([*map(" ".join, marks), legend])


def _named(name: str, value) -> str:
    """name = value, the rows of a matrix below each other."""
    if not isinstance(value, np.ndarray):
        return f"{name} = {value}"
    if value.size > MOST_SHOWN:
        return f"{name} = {describe(jnp.asarray(value))}"
    if value.dtype == bool:
        value = np.where(value, "■", "·")
    number = {"float_kind": lambda x: f"{x:.2f}", "numpystr": str}
    text = np.array2string(value, formatter=number, max_line_width=WIDTH - 12)
    return f"{name} = " + text.replace("\n\n", "\n").replace("\n", "\n" + " " * (len(name) + 3))


def _number(value) -> str:
    return f"{float(value):.5g}" if jnp.issubdtype(value.dtype, jnp.floating) else str(value)


def _indent(text: str) -> str:
    return textwrap.indent(text, "    ", lambda line: bool(line.strip()))


def wrap(text: str) -> str:
    return textwrap.fill(text, WIDTH, break_on_hyphens=False, break_long_words=False)
