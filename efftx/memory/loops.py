"""Loops over chunks of rows that write and add in place: how whole activations stay few.

A result of (length, width) is written chunk by chunk into the array that it ends in, and sums are
added to where they lie.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array, lax

from efftx.dtypes import sum_dtype


def fold_chunks(f: Callable, state, *arrays, chunk_len: int):
    """state ← f(state, start, *rows) for each chunk of rows, the last one shorter if need be.

    What is cut into rows are arrays, or pytrees of them, all of the first's length.
    """
    length, size = len(arrays[0]), min(chunk_len, len(arrays[0]))

    def one(i, state):
        cut = lambda x: lax.dynamic_slice_in_dim(x, i * size, size)  # noqa: E731
        return f(state, i * size, *jax.tree.map(cut, arrays))

    state = lax.fori_loop(0, length // size, one, state)
    end = length // size * size
    rest = jax.tree.map(lambda x: x[end:], arrays)
    return f(state, end, *rest) if end < length else state


def in_chunks(f: Callable, x: Array, chunk_len: int):
    """f(start, rows) of each chunk of rows: an array, or several, of as many rows as x."""
    shapes = jax.eval_shape(f, 0, x)

    def write(results, start, rows):
        return jax.tree.map(lambda r, new: put_rows(r, start, new), results, f(start, rows))

    empty = jax.tree.map(partial(zeros_after, x), shapes)
    return fold_chunks(write, empty, x, chunk_len=chunk_len)


def put_rows(x, start, rows):
    return lax.dynamic_update_slice_in_dim(x, rows, start, 0)


def add_rows(x, start, rows):
    return put_rows(x, start, lax.dynamic_slice_in_dim(x, start, len(rows)) + rows)


def zeros_after(first: Array, like) -> Array:
    """Zeros of this shape and dtype that cannot be there before the last of ``first`` is.

    XLA sets constants aside long before they are used: at a million positions, gigabytes of zeros
    that wait. So these are computed, from the end of what has to come first, whatever number it is.
    On several devices they also vary where ``first`` does, as the carry of a loop must.
    """
    last = lax.index_in_dim(first.reshape(-1), first.size - 1, keepdims=False)
    size = jnp.where(jnp.isnan(last), 0, jnp.abs(last))
    zero = jnp.minimum(size, 0).astype(like.dtype)
    return jnp.broadcast_to(zero, like.shape)


def sums_for(params, first: Array):
    """Zeros to add up gradients of many chunks in, at least float32."""

    def zeros(w):
        return zeros_after(first, jax.ShapeDtypeStruct(w.shape, sum_dtype(w.dtype)))

    return jax.tree.map(zeros, params)


def as_in(params, gradients):
    """The gradients in the parameters' dtypes."""
    return jax.tree.map(lambda w, g: g.astype(w.dtype), params, gradients)
