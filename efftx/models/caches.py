"""What attention remembers of the positions read so far, so that it need not read them again.

A cache is a pytree of arrays of shape (n_heads, n_slots, …): keys, values, and what else belongs to
a position. Position p stands in slot p mod n_slots. With as many slots as positions this is simply
slot p; with fewer the newest positions take the places of the oldest, which is all that local
attention needs. The shapes never change, so a step is compiled once.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from efftx.attention.full import at_least_float32, masked_softmax, unit_keys


def keys_and_values(vectors) -> tuple[Array, Array]:
    """From q, k and v, or qk and v, of every head: what later queries compare with and take."""
    *_, k, v = vectors
    return (unit_keys(k) if len(vectors) == 2 else k), v


def filled(vectors: Any, n_slots: int) -> Any:
    """A cache that holds a prompt: each array is (n_heads, length, …)."""

    def place(x):
        kept = jnp.arange(max(x.shape[1] - n_slots, 0), x.shape[1])
        empty = jnp.zeros((x.shape[0], n_slots, *x.shape[2:]), x.dtype)
        return empty.at[:, kept % n_slots].set(x[:, kept], unique_indices=True)

    return jax.tree.map(place, vectors)


def with_next(cache: Any, position: Array, vectors: Any) -> Any:
    """The cache with one more position: each array of ``vectors`` is (n_heads, 1, …)."""

    def put(x, new):
        slot = position % x.shape[1]
        return lax.dynamic_update_slice_in_dim(x, new.astype(x.dtype), slot, axis=1)

    return jax.tree.map(put, cache, vectors)


def positions_in(n_slots: int, newest: Array) -> Array:
    """(n_slots,): the position that stands in each slot; negative where none does."""
    return newest - (newest - jnp.arange(n_slots)) % n_slots


def look_up(vectors, k: Array, v: Array, position: Array, reachable: Array | bool = True) -> Array:
    """(n_heads, 1, d_value): attention of the newest position, which the cache holds already.

    ``reachable`` broadcasts to (n_heads, n_slots). With q, k and v this is softmax(q·k/√d) v over
    the keys up to the query's own; with qk and v, softmax(q·k/‖k‖) v over those before it, and its
    own value if there are none.
    """
    shared = len(vectors) == 2
    at = positions_in(k.shape[1], position)
    allowed = (at >= 0) & (at < position if shared else True) & reachable
    scale = 1 if shared else vectors[0].shape[-1] ** -0.5
    (q,) = at_least_float32(vectors[0])
    out = attend_one(q * scale, k, v, jnp.broadcast_to(allowed, k.shape[:2]))
    return jnp.where(allowed.any(-1)[..., None, None], out, vectors[-1]) if shared else out


def attend_one(q: Array, k: Array, v: Array, allowed: Array) -> Array:
    """(n_heads, 1, d_value): one query of each head (n_heads, 1, d_head) over its allowed keys."""
    q_f, k_f, v_f = at_least_float32(q, k, v)
    weights = masked_softmax(jnp.einsum("hqd,hsd->hqs", q_f, k_f), allowed[:, None])
    return jnp.einsum("hqs,hsd->hqd", weights, v_f).astype(v.dtype)
