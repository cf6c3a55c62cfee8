"""Layers and losses a chunk of positions at a time, so that their widest arrays never exist whole.

A feed-forward layer treats every position alike and by itself; so does a readout with its loss.
They may take the positions chunk by chunk, one after the other, in the same memory. The backward
pass does too: it keeps only what goes into a chunk, computes the chunk anew, and adds up the
gradients of the parameters.

Source: Kitaev, Kaiser & Levskaya 2020, arXiv 2001.04451, section 3.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Integer

from efftx.dtypes import sum_dtype
from efftx.memory.floats import floats, with_floats
from efftx.memory.loops import add_rows, as_in, fold_chunks, sums_for
from efftx.validation import (
    check_below,
    check_leaves,
    check_not_explicit,
    check_positive,
    check_vectors,
    describe,
    require,
)

Targets = Integer[Array | np.ndarray, "length"]


def map_chunks(f: Callable, params: Any, *arrays, chunk_len: int):
    r"""f(params, \*arrays) of an f that treats positions alike, chunk_len of them at a time.

    f gets the parameters (any pytree) and the same m rows of each array (or pytree of arrays),
    whose leading axis are the positions. It returns an array, or a pytree of them, of m rows. What
    is wide *inside* f, as the (m, d_ff) activations of a feed-forward layer, exists for one chunk
    only, forward and backward.
    The backward pass keeps the parameters and the arrays and nothing else; its price is that f is
    computed once more.

    Any length ≥ 1: the rest that does not fill a chunk is a shorter chunk, nothing is padded.
    Gradients of parameters in bfloat16 or float16 are added up in float32.

    Raises ValueError for chunk_len < 1, arrays of different lengths, and an f that does not return
    a row for each position. That f treats positions alike cannot be checked.
    """
    check_positive(chunk_len=chunk_len)
    check_leaves(params=params)
    length = check_arrays(arrays)
    chunk_len = min(chunk_len, length)
    check_rows(f, params, jax.tree.map(lambda x: x[:chunk_len], arrays), chunk_len)
    n_whole = length // chunk_len
    end = n_whole * chunk_len

    @jax.checkpoint  # else the float32 copies would be kept
    def run(params, arrays):
        summed = jax.tree.map(widened, params)  # in the dtype of what is summed up

        @partial(jax.checkpoint, prevent_cse=False)  # as its documentation says for loops
        def one(chunk):
            return f(jax.tree.map(like, summed, params), *chunk)

        cut = lambda x: x[:end].reshape(n_whole, chunk_len, *x.shape[1:])  # noqa: E731
        parts = [jax.tree.map(_join, lax.map(one, jax.tree.map(cut, arrays)))]
        if end < length:
            parts.append(one(jax.tree.map(lambda x: x[end:], arrays)))
        return jax.tree.map(lambda *rows: jnp.concatenate(rows), *parts)

    return run(params, arrays)


def map_chunks_reference(f: Callable, params: Any, *arrays, chunk_len: int):
    """The definition of :func:`map_chunks`: a loop over slices, which keeps all it computes."""
    check_not_explicit(arrays=arrays)
    starts = range(0, len(arrays[0]), chunk_len)
    parts = [f(params, *(x[start : start + chunk_len] for x in arrays)) for start in starts]
    return jax.tree.map(lambda *rows: jnp.concatenate(rows), *parts)


def undo_chunks(f: Callable, params: Any, x, *arrays, chunk_len: int, streams: tuple) -> tuple:
    r"""What :func:`efftx.memory.undo_by_autodiff` does of y = map_chunks(f, params, x, \*arrays).

    There it takes two evaluations of f and here one: each chunk is taken away again and gone back
    through at once. ``streams`` are c, its gradient, and a sum of gradients of x. Returns (c − y,
    the sum with the gradient of x added), both changed in place, and the gradients of params. What
    stands in ``arrays`` has no gradient: positions, choices to replay.
    """
    c, g_c, g_x = streams

    def undo(state, start, x, g, *arrays):
        c, g_x, g_params = state
        run = lambda p, x: f(with_floats(p, params), x, *arrays)  # noqa: E731
        y, pull_back = jax.vjp(run, floats(params), x)
        more, g_rows = pull_back(g.astype(y.dtype))
        g_params = jax.tree.map(lambda total, g: total + g, g_params, more)
        return add_rows(c, start, -y.astype(c.dtype)), add_rows(g_x, start, g_rows), g_params

    start = c, g_x, sums_for(floats(params), x)
    c, g_x, g_params = fold_chunks(undo, start, x, g_c, *arrays, chunk_len=chunk_len)
    return (c, g_x), as_in(floats(params), g_params)


def chunked_cross_entropy(
    readout: Callable,
    params: Any,
    x: Float[Array, "length d_model"],
    targets: Targets,
    *,
    chunk_len: int,
) -> Float[Array, "length"]:
    r"""−log p(target) of each position in nats, without the (length, vocab) matrix of logits.

    ``readout(params, x)`` gives the logits of some positions from their vectors. Their softmax
    turns them into p. Of logits and their gradients there is one (chunk_len, vocab) piece at a
    time. Computed in at least float32.

    Raises ValueError for chunk_len < 1, wrong shapes or dtypes, and, where their values are known
    (not under a trace), for targets outside the vocabulary.
    """
    check_vectors(x=x)
    check_leaves(params=params)
    check_targets(targets, jax.eval_shape(readout, params, x))
    f = partial(cross_entropy_reference, readout)
    return map_chunks(f, params, x, targets, chunk_len=chunk_len)


def cross_entropy_reference(
    readout: Callable, params: Any, x: Float[Array, "length d_model"], targets: Targets
) -> Float[Array, "length"]:
    """The definition of :func:`chunked_cross_entropy`, through all the logits at once.

    Takes O(length · vocab) memory; nothing is checked.
    """
    logits = widened(readout(params, x))
    chosen = jnp.take_along_axis(logits, jnp.int32(targets)[:, None], axis=1)[:, 0]
    return jax.nn.logsumexp(logits, axis=1) - chosen


def widened(x):
    """A floating array in the dtype in which its gradients are summed up."""
    return x.astype(sum_dtype(x.dtype)) if jnp.issubdtype(x.dtype, jnp.floating) else x


def like(x, original):
    return x if x.dtype == original.dtype else x.astype(original.dtype)


def _join(chunks):
    return chunks.reshape(-1, *chunks.shape[2:])


def check_arrays(arrays: tuple) -> int:
    """The length that all arrays share."""
    check_not_explicit(arrays=arrays)
    arrays = jax.tree.leaves(arrays)
    require(len(arrays) >= 1, "map_chunks needs at least one array to cut into chunks.")
    for array in arrays:
        require(
            getattr(array, "ndim", 0) >= 1 and len(array) >= 1,
            f"an array to cut into chunks must have at least one position; got {describe(array)}.",
        )
        require(
            len(array) == len(arrays[0]),
            "the arrays to cut into chunks must have the same length; "
            f"got {describe(arrays[0])} and {describe(array)}.",
        )
    return len(arrays[0])


def check_rows(f: Callable, params, chunk: tuple, n_rows: int) -> None:
    """f gives as many rows as it gets."""
    for result in jax.tree.leaves(jax.eval_shape(f, params, *chunk)):
        require(
            result.ndim >= 1 and n_rows == result.shape[0],
            f"f must return one row for each of the {n_rows} positions that it gets; "
            f"got {describe(result)}.",
        )


def check_targets(targets, logits) -> None:
    """Each target is a token of the vocabulary that the logits speak of."""
    length, vocab = logits.shape
    check_not_explicit(targets=targets)
    integer = hasattr(targets, "shape") and jnp.issubdtype(targets.dtype, jnp.integer)
    require(
        integer and targets.shape == (length,),
        f"targets must be ({length},) integers, one for each position; got {describe(targets)}.",
    )
    check_below("targets", targets, vocab, "vocab")
