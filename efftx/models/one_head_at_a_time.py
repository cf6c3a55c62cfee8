"""From layer norm to output through all heads, in the memory of one head.

At a million positions a (length, d_model) array of width 256 takes 1 GiB. So of the normed input,
of queries, keys and values, and of all their gradients only one head's exist at a time: a head's
vectors are projected chunk by chunk, attend, and are added to the output chunk by chunk, in place.
The backward pass keeps x and what the heads chose. It projects anew, and adds to one gradient of x
in place, where autodiff would first make one for each head.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array, lax

from efftx.models.in_place import add_rows, as_in, fold_chunks, in_chunks, sums_for, zeros_after

POSITIONS_AT_ONCE = 2**14  # that are normed and projected together


def project(norm, w_in, x) -> tuple:
    """One head's q, k and v, or qk and v, each (length, d_head)."""
    normed = norm(x)
    return tuple(normed @ w for w in w_in)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def all_heads(attend: Callable, norm, x: Array, heads: tuple, keys, replay):
    """Σ_heads attend(norm(x) w_in) w_out, and what each head chose.

    ``attend(vectors, key, replay) -> (out, chosen)`` takes one head's vectors to (length, d_head).
    ``heads`` are w_in (n_heads, projections, d_model, d_head) and w_out (n_heads, d_head, d_model);
    ``keys`` and ``replay`` have an entry for each head, or are None.
    """

    def add_head(y, head):
        (w_in, w_out), key, chosen = head
        out, chosen = attend(vectors_of(norm, w_in, x), key, chosen)
        add = lambda y, start, out: add_rows(y, start, out @ w_out)  # noqa: E731
        return fold_chunks(add, y, out, chunk_len=POSITIONS_AT_ONCE), chosen

    return lax.scan(add_head, zeros_after(x[-1, 0], x), (heads, keys, replay))


def all_heads_reference(attend: Callable, norm, x: Array, heads: tuple, keys, replay):
    """The definition of :func:`all_heads`: a loop over heads; autodiff keeps everything of it."""
    total, all_chosen = jnp.zeros_like(x), []
    for head in range(len(heads[0])):
        w_in, w_out = (w[head] for w in heads)
        key, given = jax.tree.map(lambda array, i=head: array[i], (keys, replay))
        out, chosen = attend(project(norm, w_in, x), key, given)
        total, all_chosen = total + out @ w_out, [*all_chosen, chosen]
    return total, jax.tree.map(lambda *chosen: jnp.stack(chosen), *all_chosen)


def forward(attend: Callable, norm, x, heads, keys, replay):
    y, chosen = all_heads(attend, norm, x, heads, keys, replay)
    return (y, chosen), (norm, x, heads, keys, chosen, y[-1, 0])


def backward(attend: Callable, kept, cotangents):
    """Head by head: its gradients with its choices given, then on to w_in, the norm and x."""
    norm, x, heads, keys, chosen, last = kept
    g_y, _ = cotangents  # choices are integers

    def add_head(total, head):
        return back_through_head(attend, norm, x, g_y, total, head)[:2]

    start = sums_for(norm), zeros_after(last, x)
    (g_norm, g_x), g_heads = lax.scan(add_head, start, (heads, keys, chosen))
    return as_in(norm, g_norm), g_x, as_in(heads, g_heads), None, None


all_heads.defvjp(forward, backward)


def undo_all_heads(attend: Callable, norm, x, heads, choices, streams: tuple) -> tuple:
    """What :func:`efftx.memory.undo_by_autodiff` does, of `all_heads`, each head attending once.

    ``choices`` are keys and replay, ``streams`` c, its gradient, and a sum of gradients of x.
    Returns c less the heads' sum, the sum of gradients with theirs added, both changed in place,
    and the gradients of norm and heads.
    """
    c, g_c, g_x = streams
    g_y = g_c.astype(x.dtype)

    def undo_head(state, head):
        c, total = state
        total, g_head, out = back_through_head(attend, norm, x, g_y, total, head)
        take = lambda c, start, out: add_rows(c, start, -(out @ head[0][1]))  # noqa: E731
        return (fold_chunks(take, c, out, chunk_len=POSITIONS_AT_ONCE), total), g_head

    start = c, (sums_for(norm), g_x)
    (c, (g_norm, g_x)), g_heads = lax.scan(undo_head, start, (heads, *choices))
    return (c, g_x), (as_in(norm, g_norm), as_in(heads, g_heads))


def back_through_head(attend: Callable, norm, x, g_y, total, head) -> tuple:
    """The sums of gradients with one head's added, those of its weights, and what it returned."""
    (w_in, w_out), key, given = head
    run = lambda vectors: attend(vectors, key, given)[0]  # noqa: E731
    out, pull_back = jax.vjp(run, vectors_of(norm, w_in, x))
    g_out = in_chunks(lambda start, g: g @ w_out.T, g_y, POSITIONS_AT_ONCE)
    (g_vectors,) = pull_back(g_out)
    total, g_w_in = add_projection(total, norm, w_in, x, g_vectors)
    return total, (g_w_in, out.T @ g_y), out


def vectors_of(norm, w_in, x) -> tuple:
    return in_chunks(lambda start, x: project(norm, w_in, x), x, POSITIONS_AT_ONCE)


def add_projection(total, norm, w_in, x, g_vectors):
    """The sums of the norm's and of x's gradients with one head's added, and that head's w_in's."""

    def add(sums, start, x, *g):
        *g_params, g_x = sums
        _, pull_back = jax.vjp(project, norm, w_in, x)
        *more, g_rows = pull_back(g)
        return *jax.tree.map(jnp.add, g_params, more), add_rows(g_x, start, g_rows)

    g_norm, g_x = total
    sums = fold_chunks(
        add, (g_norm, sums_for(w_in), g_x), x, *g_vectors, chunk_len=POSITIONS_AT_ONCE
    )
    g_norm, g_w_in, g_x = sums
    return (g_norm, g_x), g_w_in
