"""From one head to all heads, with the memory of one or of a few.

`map_heads` takes any function of one head's arrays to the heads of a batch. `all_heads` is the
whole of an attention layer: at a million positions a (length, d_model) array of width 256 takes
1 GiB, so of the normed input, of queries, keys and values, and of all their gradients only one
head's exist at a time. A head's vectors are projected chunk by chunk, attend, and are added to the
output chunk by chunk, in place. The backward pass keeps x and what the heads chose. It projects
anew, and adds to one gradient of x in place, where autodiff would first make one for each head.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array, lax

from efftx.memory.loops import add_rows, as_in, fold_chunks, in_chunks, sums_for, zeros_after
from efftx.precision import as_forward
from efftx.shards import vary_alike
from efftx.validation import check_not_explicit, check_positive, describe, require

POSITIONS_AT_ONCE = 2**14  # that are normed and projected together


def map_heads(attend: Callable, *arrays, at_once: int = 1):
    r"""attend(\*arrays) for every leading index, as in (batch, n_heads, length, d).

    The leading axes are all but the last two of the first array. Every other array starts with the
    same axes, or with 1 where it is shared, and keeps whatever follows them: buckets
    (batch, n_heads, n_hashes, length), a mask (batch, 1, length), keys (batch, n_heads). Only
    ``at_once`` heads are worked on at a time, forward and backward, so the working memory stays
    that of ``at_once`` heads. What ``attend`` *keeps* for its backward pass is kept for all of
    them: O(length) for blocked, shared-QK and LSH attention; wrap others in ``jax.checkpoint``.

    No shape says which axis is which: of (batch, length, n_heads, d), as Flax and Haiku hold it,
    ``attend`` would get every position's heads as if they were a sequence. Move the axis first, or
    take :func:`efftx.models.lsh_attention_of_heads`.

    Raises ValueError for leading axes that do not fit and at_once < 1.
    """
    check_positive(at_once=at_once)
    require(
        len(arrays) >= 1 and arrays[0].ndim >= 2,
        "map_heads needs at least one array, the first of shape (…, length, d).",
    )
    check_not_explicit(arrays=arrays)
    leading = arrays[0].shape[:-2]
    for array in arrays[1:]:
        start = array.shape[: len(leading)]
        fits = len(start) == len(leading) and all(
            n in (1, n_first) for n, n_first in zip(start, leading, strict=True)
        )
        require(
            fits,
            f"the leading axes of each array must be {leading}, those of the first, or 1; "
            f"got {describe(array)}.",
        )
    flat = [_flatten_leading(array, leading) for array in arrays]
    # A batch of one would be a leading axis of 1, for which XLA finds slower loops on a CPU.
    batch_size = at_once if at_once > 1 else None
    results = lax.map(lambda one_head: attend(*one_head), flat, batch_size=batch_size)
    return jax.tree.map(lambda x: x.reshape(*leading, *x.shape[1:]), results)


def _flatten_leading(array, leading):
    rest = array.shape[len(leading) :]
    return jnp.broadcast_to(array, (*leading, *rest)).reshape(-1, *rest)


# A whole layer --------------------------------------------------------------------------------


def project(norm, w_in, x) -> tuple:
    """One head's q, k and v, or qk and v, each (length, d_head)."""
    normed = norm(x)
    return tuple(normed @ w for w in w_in)


def all_heads(attend: Callable, norm, x: Array, heads: tuple, given: tuple, key_mask=None):
    """Σ_heads attend(norm(x) w_in) w_out, and what each head chose.

    ``attend(vectors, key, replay, key_mask) -> (out, chosen)`` takes one head's vectors to
    (length, d_head). ``heads`` are w_in (n_heads, projections, d_model, d_head) and w_out (n_heads,
    d_head, d_model); ``given`` are keys and replay, with an entry for each head, or None.
    """
    return _all_heads(attend, *vary_alike((norm, x, heads, given, key_mask)))


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _all_heads(attend: Callable, norm, x, heads, given, key_mask):
    def add_head(y, head):
        (w_in, w_out), given = head
        out, chosen = attend(vectors_of(norm, w_in, x), *given, key_mask)
        add = lambda y, start, out: add_rows(y, start, out @ w_out)  # noqa: E731
        return fold_chunks(add, y, out, chunk_len=POSITIONS_AT_ONCE), chosen

    return lax.scan(add_head, zeros_after(x, x), (heads, given))


def all_heads_reference(attend: Callable, norm, x: Array, heads: tuple, given: tuple, key_mask):
    """The definition of :func:`all_heads`: a loop over heads; autodiff keeps everything of it."""
    total, all_chosen = jnp.zeros_like(x), []
    for head in range(len(heads[0])):
        w_in, w_out = (w[head] for w in heads)
        key, replay = jax.tree.map(lambda array, i=head: array[i], given)
        out, chosen = attend(project(norm, w_in, x), key, replay, key_mask)
        total, all_chosen = total + out @ w_out, [*all_chosen, chosen]
    return total, jax.tree.map(lambda *chosen: jnp.stack(chosen), *all_chosen)


def _forward(attend: Callable, norm, x, heads, given, key_mask):
    y, chosen = _all_heads(attend, norm, x, heads, given, key_mask)
    return (y, chosen), (norm, x, heads, (given[0], chosen), key_mask, y[-1, 0])


def _backward(attend: Callable, kept, cotangents):
    """Head by head: its gradients with its choices given, then on to w_in, the norm and x."""
    norm, x, heads, given, key_mask, last = kept
    g_y, _ = cotangents  # choices are integers

    def add_head(total, head):
        return _back_through_head(attend, norm, (x, g_y), total, head, key_mask)[:2]

    start = sums_for(norm, last), zeros_after(last, x)
    (g_norm, g_x), g_heads = lax.scan(add_head, start, (heads, given))
    return as_in(norm, g_norm), g_x, as_in(heads, g_heads), None, None


_all_heads.defvjp(*as_forward(_forward, _backward))


def undo_all_heads(attend: Callable, norm, x, heads, given: tuple, key_mask, *, streams) -> tuple:
    """What :func:`efftx.memory.undo_by_autodiff` does, of `all_heads`, each head attending once.

    ``streams`` are c, its gradient, and a sum of gradients of x. Returns c less the heads' sum, the
    sum of gradients with theirs added, both changed in place, and the gradients of norm and heads.
    """
    c, g_c, g_x = streams
    g_y = g_c.astype(x.dtype)

    def undo_head(state, head):
        c, total = state
        total, g_head, out = _back_through_head(attend, norm, (x, g_y), total, head, key_mask)
        take = lambda c, start, out: add_rows(c, start, -(out @ head[0][1]))  # noqa: E731
        return (fold_chunks(take, c, out, chunk_len=POSITIONS_AT_ONCE), total), g_head

    start = c, (sums_for(norm, x), g_x)
    (c, (g_norm, g_x)), g_heads = lax.scan(undo_head, start, (heads, given))
    return (c, g_x), (as_in(norm, g_norm), as_in(heads, g_heads))


def _back_through_head(attend: Callable, norm, x_and_g_y, total, head, key_mask) -> tuple:
    """The sums of gradients with one head's added, those of its weights, and what it returned."""
    (w_in, w_out), given = head
    x, g_y = x_and_g_y
    run = lambda vectors: attend(vectors, *given, key_mask)[0]  # noqa: E731
    out, pull_back = jax.vjp(run, vectors_of(norm, w_in, x))
    g_out = in_chunks(lambda start, g: g @ w_out.T, g_y, POSITIONS_AT_ONCE)
    (g_vectors,) = pull_back(g_out)
    total, g_w_in = _add_projection(total, norm, w_in, x, g_vectors)
    return total, (g_w_in, out.T @ g_y), out


def vectors_of(norm, w_in, x) -> tuple:
    return in_chunks(lambda start, x: project(norm, w_in, x), x, POSITIONS_AT_ONCE)


def _add_projection(total, norm, w_in, x, g_vectors):
    """The sums of the norm's and of x's gradients with one head's added, and that head's w_in's."""

    def add(sums, start, x, *g):
        *g_params, g_x = sums
        _, pull_back = jax.vjp(project, norm, w_in, x)
        *more, g_rows = pull_back(g)
        return *jax.tree.map(jnp.add, g_params, more), add_rows(g_x, start, g_rows)

    g_norm, g_x = total
    sums = fold_chunks(
        add, (g_norm, sums_for(w_in, x), g_x), x, *g_vectors, chunk_len=POSITIONS_AT_ONCE
    )
    g_norm, g_w_in, g_x = sums
    return (g_norm, g_x), g_w_in
