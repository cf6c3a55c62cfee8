"""What attention remembers of the positions read so far, so that it need not read them again.

A cache of one head is a pytree of arrays of shape (n_slots, …): keys, values, and what else belongs
to a position. Position p stands in slot p mod n_slots. With as many slots as positions this is
simply slot p; with fewer the newest positions take the places of the oldest, which is all that
local attention needs. The shapes never change, so a step is compiled once.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from efftx.attention.full import masked_softmax
from efftx.dtypes import at_least_float32


def filled(prompt: Any, n_slots: int) -> Any:
    """A cache that holds a prompt: each array is (length, …)."""

    def place(x):
        kept = jnp.arange(max(len(x) - n_slots, 0), len(x))
        empty = jnp.zeros((n_slots, *x.shape[1:]), x.dtype)
        return empty.at[kept % n_slots].set(x[kept], unique_indices=True)

    return jax.tree.map(place, prompt)


def with_next(cache: Any, position: Array, new: Any) -> Any:
    """The cache with one more position: each array of ``new`` is (1, …)."""

    def put(x, new):
        return lax.dynamic_update_slice_in_dim(x, new.astype(x.dtype), position % len(x), axis=0)

    return jax.tree.map(put, cache, new)


def positions_in(n_slots: int, newest: Array) -> Array:
    """(n_slots,): the position that stands in each slot; negative where none does."""
    return newest - (newest - jnp.arange(n_slots)) % n_slots


def attend_one(q: Array, k: Array, v: Array, allowed: Array) -> Array:
    """(1, d_value): the newest query (1, d_head) over the allowed of (n_slots, …) keys."""
    q_f, k_f, v_f = at_least_float32(q, k, v)
    return (masked_softmax(q_f @ k_f.T, allowed) @ v_f).astype(v.dtype)
