"""What arrays must be alike in, so that loops work under ``jax.shard_map``.

There the type of an array says over which axes of the mesh its values differ from device to device.
A loop's carry must leave a turn with the type with which it came, and the gradients of a
``jax.custom_vjp`` must have the types of its arguments. So whatever takes part in such a loop is
made to vary over the same axes first. Of an array that did not, autodiff then adds up the gradients
of all devices.
"""

from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp

from efftx.dtypes import holds_keys


def vary_alike(tree: Any) -> Any:
    """The same arrays, each varying over every axis that one of them varies over.

    Zeros that are made of them with ``jnp.zeros_like`` do so, too. Outside of ``jax.shard_map``
    nothing is done.
    """
    if not jax.sharding.get_abstract_mesh().manual_axes:
        return tree
    each = [jnp.zeros_like(x, shape=(), dtype=bool) for x in map(_data, jax.tree.leaves(tree))]
    never = reduce(jnp.logical_or, each)
    return jax.tree.map(lambda x: jnp.where(never, x, x), tree)


def _data(x):
    """The numbers of a typed key; of no other array can they differ from itself."""
    return jax.random.key_data(x) if holds_keys(x) else x
