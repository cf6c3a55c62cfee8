"""What is done with every public function: see tests/test_every_public_function.py.

A column takes a row and says whether it works, by an assertion. Each works on the same numbers, and
compares with what the function, or its twin, makes of them in float32 without any of this.
"""

import json
import sys
import warnings
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import PartitionSpec

from efftx.validation import NEEDS_AUTO

LENGTH = 3


def numbers(row, length=LENGTH, seed=0):
    """float64 arrays of numpy."""
    shapes = [tuple(length if n == "L" else n for n in shape) for shape in row.shapes]
    return [np.random.default_rng([seed, i]).normal(size=s) for i, s in enumerate(shapes)]


def arrays(row, dtype=jnp.float32, **which):
    return [jnp.asarray(x, dtype) for x in numbers(row, **which)]


def close(ours, theirs, tolerance=1e-5):
    """Of all leaves, by the largest difference, relative to numbers of about 1."""
    ours, theirs = map(jax.tree.leaves, (ours, theirs))
    assert len(ours) == len(theirs) > 0
    for one, other in zip(ours, theirs, strict=True):
        one, other = (np.asarray(x, np.float64) for x in (one, other))
        assert one.shape == other.shape
        assert np.isfinite(one).all(), "not finite"
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


def scalar(f):
    """A loss, not linear in what comes out."""
    return lambda *given: sum(jnp.sin(1.0 * y).sum() for y in jax.tree.leaves(f(*given)))


def first_order(row, f):
    return jax.grad(scalar(f), argnums=tuple(range(len(row.shapes))))


def second_order(row, f):
    """The gradient of the squared length of the gradient."""

    def penalty(*given):
        return sum((g**2).sum() for g in first_order(row, f)(*given))

    return jax.grad(penalty, argnums=tuple(range(len(row.shapes))))


@cache
def compiled_twin(row, order: int):
    """What computes the same in another way: its value, gradient, or gradient of the gradient.

    A reference has no twin: it is the others' twin. Its own gradients must be finite.
    """
    twin = row.twin or row.call
    f = (twin, first_order(row, twin), second_order(row, twin))[order]
    return jax.jit(f) if row.compiles else f


def right(row, order: int = 0, seed: int = 0):
    return compiled_twin(row, order)(*arrays(row, seed=seed))


def compiled(row, f=None):
    f = f or row.call
    return jax.jit(f) if row.compiles else f


def float32(row):
    close(row.call(*arrays(row)), right(row))


def jit(row):
    close(jax.jit(row.call)(*arrays(row)), right(row))


def bfloat16(row):
    close(compiled(row)(*arrays(row, jnp.bfloat16)), right(row), 0.1)


def float16(row):
    close(compiled(row)(*arrays(row, jnp.float16)), right(row), 0.01)


def length_1(row):
    def both(*given):
        ours = row.call(*given)
        return ours, row.twin(*given) if row.twin else ours

    close(*compiled(row, both)(*arrays(row, length=1)))


def vmap(row):
    examples = zip(*(arrays(row, seed=seed) for seed in (0, 1)), strict=True)
    ours = jax.jit(jax.vmap(row.call))(*map(jnp.stack, examples))
    close(ours, stacked(right(row, seed=seed) for seed in (0, 1)))


def stacked(trees):
    return jax.tree.map(lambda *x: jnp.stack(x), *trees)


def grad(row):
    theirs = right(row, 1)
    close(jax.jit(first_order(row, row.call))(*arrays(row)) if row.twin else theirs, theirs, 1e-4)


def grad_of_grad(row):
    theirs = right(row, 2)
    close(jax.jit(second_order(row, row.call))(*arrays(row)) if row.twin else theirs, theirs, 1e-3)


def x64(row):
    with jax.enable_x64(True):
        ours = compiled(row)(*arrays(row, jnp.float64))
    close(ours, right(row))


def numpy_input(row, dtype):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ours = row.call(*(x.astype(dtype) for x in numbers(row)))
    close(ours, right(row))


def numpy_float64(row):
    numpy_input(row, np.float64)


def numpy_float32(row):
    numpy_input(row, np.float32)


def shard_map(row):
    """The last array is split over two devices as a batch, all others are the same on both.

    So they are parameters, whose gradients are added up over the devices.
    """
    *shared, _ = arrays(row)
    examples = [arrays(row, seed=seed)[-1] for seed in (0, 1)]
    of_batch = jax.vmap(row.call, (None,) * len(shared) + (0,))

    def step(*given):
        def loss(*given):
            return lax.psum(scalar(of_batch)(*given), "batch")

        if not row.gradients:
            return of_batch(*given), ()
        return of_batch(*given), jax.grad(loss, argnums=tuple(range(len(given))))(*given)

    split, whole = PartitionSpec("batch"), PartitionSpec()
    specs = (whole,) * len(shared) + (split,)
    mesh = jax.make_mesh((2,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    results = split, specs if row.gradients else ()
    on_two = jax.jit(jax.shard_map(step, mesh=mesh, in_specs=specs, out_specs=results))
    ours = on_two(*shared, jnp.stack(examples))
    one_by_one = [compiled_twin(row, 0)(*shared, x) for x in examples]
    close(ours[0], stacked(one_by_one))
    if row.gradients:
        each = [compiled_twin(row, 1)(*shared, x) for x in examples]
        *of_shared, of_examples = zip(*each, strict=True)
        close(ours[1], (*map(sum, of_shared), jnp.stack(of_examples)), 1e-4)


def explicit(row):
    """On two devices along an Explicit axis: the same, or the sentence that asks for an Auto one.

    All arrays are spread by their first axis, by their last, or each alone by one of the two.
    """
    plain = arrays(row, length=4)
    right = row.call(*plain)
    mesh = jax.make_mesh((2,), ("devices",))
    for given in ways_to_spread(mesh, plain):
        try:
            ours = row.call(*given)
        except ValueError as refusal:
            assert NEEDS_AUTO in str(refusal), refusal  # noqa: PT017
        else:
            close(ours, right)


def ways_to_spread(mesh, plain):
    for axis in (0, -1):
        spread = [along(mesh, x, axis) for x in plain]
        yield spread
        for i in range(len(plain)):
            yield [*plain[:i], spread[i], *plain[i + 1 :]]


def along(mesh, x, axis: int):
    """By this axis, where two can share it; a single number is whole on each, for `like`."""
    if x.shape[axis] % 2 and x.size > 1:
        return x
    names = [None] * x.ndim
    names[axis] = "devices" if x.size > 1 else None
    return jax.device_put(x, jax.sharding.NamedSharding(mesh, PartitionSpec(*names)))


OF_ALL = (float32, bfloat16, float16, length_1, vmap, jit, x64)
OF_GRADIENTS = (grad, grad_of_grad)
# In a process of their own: on two devices, and where no checker of types refuses numpy's arrays.
APART = (numpy_float32, numpy_float64, shard_map, explicit)


def applies(column, row) -> bool:
    """Whether a row has this column."""
    if column is grad_of_grad and not row.second:
        return False
    return row.gradients or column not in OF_GRADIENTS


def outcome(column, row) -> str:
    """An error's name and what it says; "" where there is none."""
    try:
        column(row)
    except Exception as error:  # whatever it is, the test judges it
        return f"{type(error).__name__}: {error}"
    return ""


if __name__ == "__main__":
    from tests.public.table import ARRAYS

    found = {f"{n}-{c.__name__}": outcome(c, row) for n, row in ARRAYS.items() for c in APART}
    json.dump(found, sys.stdout)
