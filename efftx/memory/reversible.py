"""Reversible layers: activations are rebuilt on the way back instead of being stored.

The network has two streams. A *coupling* adds to one of them what a branch F computes from the
other, and exchanges the two, so that the next branch works on what has just been changed:

    (a, b) → (b, a + F(b))        and back:        (b, c) → (c − F(b), b)

F itself need not be invertible. Two couplings with F = attention and F = feed-forward are the
Reformer's block, y1 = x1 + Attention(x2), y2 = x2 + FeedForward(y1).

A branch is any ``F(params, x, key, extra, replay=None) -> (y, replay)`` with y of x's shape. It
draws its random numbers from ``key``. ``extra`` is what all branches may look at beside x. A
``replay`` is a pytree of integers, or None: choices that must not be made anew from a rebuilt x, as
the buckets of a hash. F chooses where it gets None, and elsewhere does what it did before.

On the way back F is evaluated twice: to take its y away again, and for its gradients. Who can do
both at once passes another ``undo``, with the parameters and results of `undo_by_autodiff`.

Sources: Gomez et al. 2017, arXiv 1707.04585; Kitaev, Kaiser & Levskaya 2020, arXiv 2001.04451,
section 3.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from efftx.dtypes import sum_dtype
from efftx.memory.branches import checked, layer_of, n_layers_of, open_branches
from efftx.memory.floats import floats, with_floats
from efftx.precision import as_forward
from efftx.validation import check_not_explicit

Stream = Float[Array, "*batch length d_model"]
Branches = tuple[Callable, ...]


def reversible_stack(
    branches: Branches,
    params: tuple,
    x1: Stream,
    x2: Stream,
    keys: Any = None,
    extra: Any = None,
    *,
    undo: Callable | None = None,
) -> tuple[Stream, Stream]:
    """All couplings of a deep network, in the memory of one: ``branches`` again and again.

    ``branches`` is the pattern that repeats. ``params`` and ``keys`` have an entry for each of
    them: a pytree of arrays with a leading axis of size n_layers (how often the pattern repeats)
    and as many keys; or None.

    The backward pass starts from the two results and goes down again. It takes each branch once, at
    the rebuilt x and with the same key and replay, both to undo it and for its gradients: those of
    the streams, of ``params`` and, added up over all branches, of ``extra``. It keeps the results,
    what was passed in, and the replays; let these have the narrowest type (``np.min_scalar_type``).

    The streams stay in the dtype in which they come. Pass float32: what is added in bfloat16 cannot
    be taken away again.

    The streams may be those of a batch, (batch, length, width), or have any leading axes. Branches
    get them whole. One that is written for an example is mapped *inside*:

        lambda p, x, key, extra, replay=None: jax.vmap(lambda x: one(p, x, key, extra))(x)

    (with a replay, ``jax.vmap(lambda x, r: one(p, x, key, extra, r))(x, replay)``; for random
    numbers that differ, split the key first). This takes the memory of as many positions in one
    example. ``jax.vmap`` around the stack takes far more: there the gradients of ``params`` exist
    once for each example, until they are added up.

    What branches close over is treated like ``extra``, and its gradients are right; but pass it as
    ``extra`` under ``jax.shard_map``, and with an ``undo`` of your own, which is not used then.

    Raises ValueError for streams that differ or are no vectors, for entries of ``params`` or
    ``keys`` that do not fit, for an ``extra`` of something else than arrays and numbers, and for a
    branch that returns something else than (y, replay) or a y of another shape.
    """
    params, streams, keys, extra = checked(branches, params, x1, x2, keys, extra)
    opened, extra = open_branches(branches, params, streams, keys, extra)
    undo = undo if undo and opened == branches else undo_by_autodiff
    return _stack((opened, undo), params, streams, keys, extra)


def reversible_forward(
    branches: Branches, params: tuple, x1: Stream, x2: Stream, keys: Any = None, extra: Any = None
) -> tuple[tuple[Stream, Stream], tuple]:
    """The two results of :func:`reversible_stack`, and the replays that undo it exactly.

    Autodiff stores everything of it; for gradients take the stack. Raises ValueError as that does.
    """
    params, streams, keys, extra = checked(branches, params, x1, x2, keys, extra)
    open_branches(branches, params, streams, keys, extra)
    return _run(branches, params, streams, keys, extra)


def reversible_inverse(
    branches: Branches,
    params: tuple,
    y1: Stream,
    y2: Stream,
    keys: Any = None,
    extra: Any = None,
    *,
    replay: tuple | None = None,
) -> tuple[Stream, Stream]:
    """x1 and x2, from the results of :func:`reversible_forward` and its replays.

    Equal up to rounding, which adds up from block to block. Without ``replay`` the branches choose
    anew, from what is rebuilt. Raises ValueError as :func:`reversible_stack`.
    """
    params, streams, keys, extra = checked(branches, params, y1, y2, keys, extra)
    open_branches(branches, params, streams, keys, extra)
    replay = (None,) * len(branches) if replay is None else replay

    def undo_block(streams, layer):
        for branch, p, key, chosen in reversed(list(zip(branches, *layer, strict=True))):
            b, c = streams
            streams = c - branch(p, b, key, extra, chosen)[0].astype(c.dtype), b
        return streams, None

    return lax.scan(undo_block, streams, (params, keys, replay), reverse=True)[0]


def reversible_stack_reference(
    branches: Branches, params: tuple, x1: Stream, x2: Stream, keys: Any = None, extra: Any = None
) -> tuple[Stream, Stream]:
    """The definition of :func:`reversible_stack`: a loop, of which autodiff stores everything.

    Raises ValueError as that does.
    """
    params, (a, b), keys, extra = checked(branches, params, x1, x2, keys, extra)
    for layer in range(n_layers_of(params, keys)):
        for branch, p, key in zip(branches, *layer_of((params, keys), layer), strict=True):
            a, b = b, a + branch(p, b, key, extra)[0].astype(a.dtype)
    return a, b


def _run(branches, params, streams, keys, extra):
    """Forward: the results, and what the branches chose."""

    def block(streams, layer):
        replay = []
        for branch, p, key in zip(branches, *layer, strict=True):
            a, b = streams
            y, chosen = branch(p, b, key, extra)
            streams = b, a + y.astype(a.dtype)
            replay.append(chosen)
        return streams, tuple(replay)

    return lax.scan(block, streams, (params, keys))


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _stack(how, params, streams, keys, extra):
    branches, _ = how
    return _run(branches, params, streams, keys, extra)[0]


def _stack_forward(how, params, streams, keys, extra):
    branches, _ = how
    results, replay = _run(branches, params, streams, keys, extra)
    return results, (params, results, keys, extra, replay)


def _stack_backward(how, kept, g_results):
    (branches, undo), (params, results, keys, extra, replay) = how, kept

    def undo_block(state, layer):
        g_layer = []
        for branch, *inputs in reversed(list(zip(branches, *layer, strict=True))):
            state, g_p = _undo(partial(undo, branch), state, extra, *inputs)
            g_layer.insert(0, g_p)
        return state, tuple(g_layer)

    g_extra = jax.tree.map(_zeros_at_least_float32, floats(extra))
    state = (results, g_results, g_extra)
    (_, g_streams, g_extra), g_params = lax.scan(
        undo_block, state, (params, keys, replay), reverse=True
    )
    g_extra = jax.tree.map(lambda g, x: g.astype(x.dtype), g_extra, floats(extra))
    return g_params, g_streams, None, g_extra


_stack.defvjp(*as_forward(_stack_forward, _stack_backward))


def _undo(undo, state, extra, p, key, replay):
    """One coupling back."""
    (b, c), (g_b, g_c), g_extra = state
    (a, g_b), g_p, g_seen = undo(p, b, (key, extra, replay), (c, g_c, g_b))
    g_extra = jax.tree.map(lambda total, g: total + g.astype(total.dtype), g_extra, g_seen)
    return ((a, b), (g_c, g_b), g_extra), g_p


def undo_by_autodiff(
    branch: Callable, params: Any, x: Stream, given: tuple, streams: tuple
) -> tuple[tuple[Stream, Stream], Any, Any]:
    r"""Undoes ``c = a + y`` with y = branch(params, x, \*given), and carries the gradients on.

    ``given`` are key, extra and replay; ``streams`` are c, its gradient, and a sum of gradients of
    x. Returns (a, the sum with the gradient through the branch added), the gradients of params, and
    those of extra; None in the place of what has none.
    """
    check_not_explicit(params=params, x=x, given=given, streams=streams)
    params, x, given, streams = jax.tree.map(jnp.asarray, (params, x, given, streams))
    (key, extra, replay), (c, g_c, g_x) = given, streams

    def run(p, x, seen):
        p, seen = with_floats((p, seen), (params, extra))
        return branch(p, x, key, seen, replay)[0]

    y, pull_back = jax.vjp(run, floats(params), x, floats(extra))
    g_params, g_through, g_extra = pull_back(g_c.astype(y.dtype))
    return (c - y.astype(c.dtype), g_x + g_through), g_params, g_extra


def _zeros_at_least_float32(x):
    """Where gradients of many layers are added up."""
    return jnp.zeros_like(x, sum_dtype(x.dtype))
