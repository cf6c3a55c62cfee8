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

On the way back F is evaluated twice: to take its y away again, and for its gradients. A branch that
can do both at once has a method ``undo``, with the parameters and results of `undo_by_autodiff`.

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

from efftx.memory.branches import checked_keys, layer_of, n_layers_of

Stream = Float[Array, "length d_model"]
Branches = tuple[Callable, ...]


def reversible_stack(
    branches: Branches, params: tuple, x1: Stream, x2: Stream, keys: Any = None, extra: Any = None
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

    Under ``jax.vmap`` the gradients of ``params`` exist once for each example, until they are added
    up. Where that is too much, let the branches take a batch, or add up gradients in a loop.

    Raises ValueError for streams that differ or are no vectors, for entries of ``params`` or
    ``keys`` that do not fit, and for a branch that returns something else than (y, replay) or a y
    of another shape.
    """
    keys = checked_keys(branches, params, x1, x2, keys, extra)
    return _stack(branches, params, (x1, x2), keys, extra)


def reversible_forward(
    branches: Branches, params: tuple, x1: Stream, x2: Stream, keys: Any = None, extra: Any = None
) -> tuple[tuple[Stream, Stream], tuple]:
    """The two results of :func:`reversible_stack`, and the replays that undo it exactly."""
    keys = checked_keys(branches, params, x1, x2, keys, extra)
    return _run(branches, params, (x1, x2), keys, extra)


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
    anew, from what is rebuilt.
    """
    keys = checked_keys(branches, params, y1, y2, keys, extra)
    replay = (None,) * len(branches) if replay is None else replay

    def undo_block(streams, layer):
        for branch, p, key, chosen in reversed(list(zip(branches, *layer, strict=True))):
            b, c = streams
            streams = c - branch(p, b, key, extra, chosen)[0].astype(c.dtype), b
        return streams, None

    return lax.scan(undo_block, (y1, y2), (params, keys, replay), reverse=True)[0]


def reversible_stack_reference(
    branches: Branches, params: tuple, x1: Stream, x2: Stream, keys: Any = None, extra: Any = None
) -> tuple[Stream, Stream]:
    """The definition of :func:`reversible_stack`: a loop, of which autodiff stores everything."""
    keys = (None,) * len(branches) if keys is None else keys
    a, b = x1, x2
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
def _stack(branches, params, streams, keys, extra):
    return _run(branches, params, streams, keys, extra)[0]


def _stack_forward(branches, params, streams, keys, extra):
    results, replay = _run(branches, params, streams, keys, extra)
    return results, (params, results, keys, extra, replay)


def _stack_backward(branches, kept, g_results):
    params, results, keys, extra, replay = kept

    def undo_block(state, layer):
        g_layer = []
        for branch, *inputs in reversed(list(zip(branches, *layer, strict=True))):
            state, g_p = _undo(branch, state, extra, *inputs)
            g_layer.insert(0, g_p)
        return state, tuple(g_layer)

    g_extra = jax.tree.map(_zeros_at_least_float32, _floats(extra))
    state = (results, g_results, g_extra)
    (_, g_streams, g_extra), g_params = lax.scan(
        undo_block, state, (params, keys, replay), reverse=True
    )
    g_extra = jax.tree.map(lambda g, x: g.astype(x.dtype), g_extra, _floats(extra))
    return g_params, g_streams, None, g_extra


_stack.defvjp(_stack_forward, _stack_backward)


def _undo(branch, state, extra, p, key, replay):
    """One coupling back."""
    (b, c), (g_b, g_c), g_extra = state
    undo = getattr(branch, "undo", partial(undo_by_autodiff, branch))
    (a, g_b), g_p, g_seen = undo(p, b, (key, extra, replay), (c, g_c, g_b))
    g_extra = jax.tree.map(lambda total, g: total + g.astype(total.dtype), g_extra, g_seen)
    return ((a, b), (g_c, g_b), g_extra), g_p


def undo_by_autodiff(
    branch: Callable, params: Any, x: Stream, given: tuple, streams: tuple
) -> tuple[tuple[Stream, Stream], Any, Any]:
    """Undoes ``c = a + y`` with y = branch(params, x, *given), and carries the gradients on.

    ``given`` are key, extra and replay; ``streams`` are c, its gradient, and a sum of gradients of
    x. Returns (a, the sum with the gradient through the branch added), the gradients of params, and
    those of extra; None in the place of what has none.
    """
    (key, extra, replay), (c, g_c, g_x) = given, streams

    def run(p, x, seen):
        p, seen = _with_floats((p, seen), (params, extra))
        return branch(p, x, key, seen, replay)[0]

    y, pull_back = jax.vjp(run, _floats(params), x, _floats(extra))
    g_params, g_through, g_extra = pull_back(g_c.astype(y.dtype))
    return (c - y.astype(c.dtype), g_x + g_through), g_params, g_extra


def _floats(tree):
    """The tree with None in the place of what has no gradient: integers, masks, keys."""
    return jax.tree.map(lambda x: x if jnp.issubdtype(x.dtype, jnp.inexact) else None, tree)


def _with_floats(changed, tree):
    """The tree with these floats in the place of its own."""
    return jax.tree.map(
        lambda x, own: own if x is None else x, changed, tree, is_leaf=lambda x: x is None
    )


def _zeros_at_least_float32(x):
    """Where gradients of many layers are added up."""
    return jnp.zeros(x.shape, jnp.promote_types(x.dtype, jnp.float32))
