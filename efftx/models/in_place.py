"""Chunk by chunk into one array: how the models keep whole activations few.

A result of (length, d_model) is written chunk by chunk into the array that it ends in, and sums are
added to in place. Where autodiff would make an array of gradients of its own, there is a custom
one that does the same.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array, lax


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def map_rows(f: Callable, chunk_len: int, params, key, x: Array) -> Array:
    """f(params, key, start, rows) of each chunk of rows of x, which begins at ``start``.

    f treats rows alike. What is wide inside it exists for one chunk only, forward and backward; the
    backward pass keeps params, key and x, and computes f anew.
    """
    return in_chunks(partial(f, params, key), x, chunk_len)


def map_rows_forward(f, chunk_len, params, key, x):
    y = map_rows(f, chunk_len, params, key, x)
    return y, (params, key, x, y[-1, 0])


def map_rows_backward(f, chunk_len, kept, g_y):
    params, key, x, last = kept

    def add(state, start, x, g):
        g_params, g_x = state
        _, pull_back = jax.vjp(lambda params, x: f(params, key, start, x), params, x)
        more, g_rows = pull_back(g)
        return jax.tree.map(jnp.add, g_params, more), put_rows(g_x, start, g_rows)

    start = sums_for(params), zeros_after(last, x)
    g_params, g_x = fold_chunks(add, start, x, g_y, chunk_len=chunk_len)
    return as_in(params, g_params), None, g_x


map_rows.defvjp(map_rows_forward, map_rows_backward)


def undo_rows(f: Callable, chunk_len: int, params, key, x: Array, streams: tuple) -> tuple:
    """What :func:`efftx.memory.undo_by_autodiff` does, of `map_rows`, with one evaluation of f.

    ``streams`` are c, its gradient, and a sum of gradients of x. Returns c less the rows, the sum
    with their gradient added, both changed in place, and the gradients of params.
    """
    c, g_c, g_x = streams

    def undo(state, start, x, g):
        c, g_x, g_params = state
        y, pull_back = jax.vjp(lambda params, x: f(params, key, start, x), params, x)
        more, g_rows = pull_back(g.astype(y.dtype))
        g_params = jax.tree.map(jnp.add, g_params, more)
        return add_rows(c, start, -y), add_rows(g_x, start, g_rows), g_params

    start = c, g_x, sums_for(params)
    c, g_x, g_params = fold_chunks(undo, start, x, g_c, chunk_len=chunk_len)
    return (c, g_x), as_in(params, g_params)


def in_chunks(f: Callable, x: Array, chunk_len: int):
    """f(start, rows) of each chunk of rows: an array, or several, of as many rows as x."""
    shapes = jax.eval_shape(f, 0, x)

    def write(results, start, rows):
        return jax.tree.map(lambda r, new: put_rows(r, start, new), results, f(start, rows))

    empty = jax.tree.map(partial(zeros_after, x[-1, 0]), shapes)
    return fold_chunks(write, empty, x, chunk_len=chunk_len)


def fold_chunks(f: Callable, state, *arrays, chunk_len: int):
    """state ← f(state, start, *rows) for each chunk of rows, the last one shorter if need be."""
    length, size = len(arrays[0]), min(chunk_len, len(arrays[0]))

    def one(i, state):
        rows = (lax.dynamic_slice_in_dim(x, i * size, size) for x in arrays)
        return f(state, i * size, *rows)

    state = lax.fori_loop(0, length // size, one, state)
    end = length // size * size
    return f(state, end, *(x[end:] for x in arrays)) if end < length else state


def put_rows(x, start, rows):
    return lax.dynamic_update_slice_in_dim(x, rows, start, 0)


def add_rows(x, start, rows):
    return put_rows(x, start, lax.dynamic_slice_in_dim(x, start, len(rows)) + rows)


def zeros_after(number: Array, like) -> Array:
    """Zeros of this shape and dtype that cannot be there before ``number`` is.

    XLA sets constants aside long before they are used: at a million positions, gigabytes of zeros
    that wait. So these are computed, from the end of what has to come first; if that was NaN, so
    are they.
    """
    zero = jnp.minimum(jnp.abs(number), 0).astype(like.dtype)
    return jnp.broadcast_to(zero, like.shape)


def sums_for(params):
    """Zeros to add up gradients of many chunks in, at least float32."""
    return jax.tree.map(lambda w: jnp.zeros(w.shape, jnp.promote_types(w.dtype, "float32")), params)


def as_in(params, gradients):
    """The gradients in the parameters' dtypes."""
    return jax.tree.map(lambda w, g: g.astype(w.dtype), params, gradients)
