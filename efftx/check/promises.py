"""What an answer does besides returning values: which arrays it makes, what it keeps and reads.

An answer in jax is traced, not run: its jaxpr names every array that it computes, loops and inner
functions included, and the compiler says how much working memory it takes. An answer in numpy is
run, and numpy counts its memory. Of an answer that is neither (one that asks jax for the value of a
number on the way) nothing is known, and ``None`` says so.
"""

import tracemalloc
from collections.abc import Callable, Iterator, Set
from math import prod

import jax
import jax.numpy as jnp
import numpy as np

from efftx.compiling import temporary_bytes


class NotMeasured(Exception):  # noqa: N818  (a learner reads it as a sentence)
    """An answer that is right, and that a promise cannot look into."""


VIEWS = {"reshape", "transpose", "squeeze", "expand_dims", "copy", "stop_gradient", "rev"}
TAKES = {"gather", "dynamic_slice", "slice"}  # they read what they return, and no more


def traced(answer: Callable, case: dict):
    """The jaxpr of the answer for these inputs, of which the arrays are unknown; None if it has to
    know them."""
    arrays, call = _by_arrays(answer, case)
    try:
        return jax.make_jaxpr(call)(*arrays.values()).jaxpr
    except jax.errors.JAXTypeError:
        return None


def arrays_made(
    answer: Callable, case: dict, *, views: bool = True
) -> list[tuple[int, ...]] | None:
    """The shapes of all arrays that a jax answer computes, its results included.

    Without ``views`` those are left out that have the numbers of another in another order.
    """
    jaxpr = traced(answer, case)
    return None if jaxpr is None else list(_shapes(jaxpr, frozenset() if views else VIEWS))


def _shapes(jaxpr, but: Set[str]) -> Iterator[tuple[int, ...]]:
    for equation in jaxpr.eqns:
        for inner in _inner(equation):
            yield from _shapes(inner, but)
        if equation.primitive.name not in but:
            yield from (v.aval.shape for v in equation.outvars if hasattr(v.aval, "shape"))


def operations(jaxpr) -> set[str]:
    """The names of all that a program does, in its loops and inner functions too."""
    inner = (operations(each) for equation in jaxpr.eqns for each in _inner(equation))
    return {equation.primitive.name for equation in jaxpr.eqns}.union(*inner)


def n_operations(jaxpr) -> int:
    """Of a program, and of the bodies of its loops and the functions in it."""
    inner = (each for equation in jaxpr.eqns for each in _inner(equation))
    return len(jaxpr.eqns) + sum(map(n_operations, inner))


def numbers_made(jaxpr) -> int:
    """How many numbers all arrays have that a program computes; in a loop, at each turn."""
    total = 0
    for equation in jaxpr.eqns:
        turns = equation.params.get("length", 1)
        total += turns * sum(map(numbers_made, _inner(equation)))
        total += sum(prod(v.aval.shape) for v in equation.outvars if hasattr(v.aval, "shape"))
    return total


def largest_array(answer: Callable, case: dict, width: int) -> int | None:
    """The size of the largest array of a jax answer of which an axis is ``width`` long."""
    shapes = arrays_made(answer, case)
    if shapes is None:
        return None
    return max((prod(shape) for shape in shapes if width in shape), default=0)


def most_held(
    answer: Callable, case: dict, counted: Callable[[tuple[int, ...]], bool] = bool
) -> int | None:
    """The most bytes that a jax answer holds at once, were it run line by line as it is written.

    Each array lives from where it is made until it is used for the last time; inputs do not count,
    nor does what is not ``counted``, by its shape. Unlike a compiler's plan this sees what a Python
    loop keeps in a list, which a compiler may throw away and compute again.
    """
    jaxpr = traced(answer, case)
    return None if jaxpr is None else _most_held(jaxpr, counted)


def _most_held(jaxpr, counted: Callable) -> int:
    until = {id(v): n for n, e in enumerate(jaxpr.eqns) for v in e.invars}
    until |= {id(v): len(jaxpr.eqns) for v in jaxpr.outvars}
    held: dict[int, int] = {}
    most = 0
    for n, equation in enumerate(jaxpr.eqns):
        made = {id(v): _bytes(v.aval, counted) for v in equation.outvars}
        inside = max((_most_held(inner, counted) for inner in _inner(equation)), default=0)
        most = max(most, sum(held.values()) + max(inside, sum(made.values())))
        held |= made
        held = {v: size for v, size in held.items() if until.get(v, n) > n}
    return most


def _bytes(aval, counted: Callable) -> int:
    if not hasattr(aval, "shape") or not counted(aval.shape):
        return 0
    return prod(aval.shape) * aval.dtype.itemsize


def held_at_once(
    answer: Callable, case: dict, what: str, counted: Callable[[tuple[int, ...]], bool] = bool
) -> int:
    """`most_held` of a jax answer, `numpy_memory` of one in numpy.

    Raises `NotMeasured` of any other: "``what`` was not measured: …".
    """
    held = most_held(answer, case, counted)
    held = numpy_memory(answer, case) if held is None else held
    if held is None:
        raise NotMeasured(
            f"{what} was not measured: jax cannot trace it, and it is not numpy alone."
        )
    return held


def compiled_memory(answer: Callable, case: dict) -> int | None:
    """Bytes that a jax answer takes beyond its inputs and results, as a CPU's compiler plans it."""
    if traced(answer, case) is None:
        return None
    arrays, call = _by_arrays(answer, case)
    return temporary_bytes(call, *arrays.values())


def numpy_memory(answer: Callable, case: dict) -> int | None:
    """Bytes that an answer in numpy takes at once beyond its inputs and results, as it is run."""
    answer(*case.values())  # what is made once and kept is no part of it
    tracemalloc.start()
    try:
        results = jax.tree.leaves(answer(*case.values()))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    if not all(isinstance(x, np.ndarray | np.generic) for x in results):
        return None  # jax, or Python, had a hand in it
    return peak - sum(x.nbytes for x in results)


def numbers_read(answer: Callable, case: dict, name: str) -> int | None:
    """How many numbers of an input the answer reads.

    Slices and gathers read what they take, every other operation reads the whole array. What is
    read in a loop counts at each turn.
    """
    jaxpr = traced(answer, case)
    if jaxpr is not None:
        arrays, _ = _by_arrays(answer, case)
        return _read(jaxpr, jaxpr.invars[list(arrays).index(name)])
    seen = case[name].view(_Watched)
    seen.read = read = []
    answer(*{**case, name: seen}.values())
    return sum(read) or None


def _read(jaxpr, variable) -> int:
    total = 0
    for equation in jaxpr.eqns:
        for position, operand in enumerate(equation.invars):
            if operand is not variable:
                continue
            primitive = equation.primitive.name
            if primitive in VIEWS:
                total += _read(jaxpr, equation.outvars[0])
            elif primitive in TAKES and position == 0:
                total += prod(equation.outvars[0].aval.shape)
            elif (inner := _inner_of_call(equation, position)) is not None:
                total += _read(*inner) * equation.params.get("length", 1)
            else:
                total += prod(variable.aval.shape)
    return total


def _inner_of_call(equation, position: int):
    """The function that an equation calls with this operand whole, and its name for it there."""
    inners = list(_inner(equation))
    if len(inners) != 1 or len(inners[0].invars) != len(equation.invars):
        return None
    if equation.primitive.name == "scan" and position >= equation.params["num_consts"]:
        return None  # a carry, or rows that the loop reads one by one
    return inners[0], inners[0].invars[position]


def _inner(equation) -> Iterator:
    """The jaxprs among an equation's parameters: bodies of loops, branches, inner functions."""
    for value in jax.tree.leaves(
        list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns") or hasattr(x, "jaxpr")
    ):
        if hasattr(value, "eqns"):
            yield value
        elif hasattr(value, "jaxpr"):
            yield value.jaxpr


class _Watched(np.ndarray):
    """An array of numpy that notes how many of its numbers are read."""

    read: list

    def __getitem__(self, index):
        taken = np.asarray(self)[index]
        self.read.append(taken.size)
        return taken

    def __array_ufunc__(self, function, method, *inputs, **options):
        return getattr(function, method)(*map(self._plain, inputs), **options)

    def __array_function__(self, function, types, args, options):
        plain = jax.tree.map(self._plain, (args, options), is_leaf=lambda x: x is self)
        return function(*plain[0], **plain[1])

    def _plain(self, x):
        if x is self:
            self.read.append(self.size)
            return np.asarray(self)
        return x


def _by_arrays(answer: Callable, case: dict) -> tuple[dict, Callable]:
    """The arrays among the inputs, as jax's; and the answer as a function of these alone."""
    arrays = {n: jnp.asarray(x) for n, x in case.items() if isinstance(x, np.ndarray)}
    return arrays, lambda *values: answer(
        *{**case, **dict(zip(arrays, values, strict=True))}.values()
    )
